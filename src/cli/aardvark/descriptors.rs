//! The descriptors that were open when the program was started. A daemon lives long: what it keeps open of its caller's
//! pins mounts, sockets and pipes that others wait for the end of.

use std::fs;
use std::os::fd::RawFd;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::close;

/// The first descriptor behind standard input, output and error.
const FIRST: RawFd = 3;
/// Where /proc does not tell which are open, no more than this are tried.
const MOST: RawFd = 1 << 16;

/// Closes every descriptor from 3 up. Call it before the program opens any of its own.
pub(super) fn close_inherited() {
    for descriptor in inherited() {
        // Among them is the one that the list was read from, closed since.
        let _ = close(descriptor);
    }
}

fn inherited() -> Vec<RawFd> {
    match fs::read_dir("/proc/self/fd") {
        Ok(open) => open
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|&descriptor| descriptor >= FIRST)
            .collect(),
        Err(_) => {
            let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(MOST, |(soft, _)| soft.min(MOST as u64) as RawFd);
            (FIRST..limit).collect()
        }
    }
}
