//! The process's descriptors: how many there may be, and those that were open when the program was started.

use std::fs;
use std::os::fd::RawFd;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::close;
use tracing::debug;

/// The first descriptor behind standard input, output and error.
const FIRST: RawFd = 3;
/// Where /proc does not tell which are open, no more than this are tried.
const MOST: RawFd = 1 << 16;

/// Raises the limit of open descriptors as far as it may be. Each listener and each TCP client takes one; the customary soft
/// limit of 1024 is for programs that use select(2).
pub(super) fn raise_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) });
    if let Err(error) = raised {
        debug!(%error, "the limit of open files stays as it is");
    }
}

/// Closes every descriptor from 3 up. A daemon lives long: what it keeps open of its caller's pins mounts, sockets and pipes
/// that others wait for the end of. Call it before the program opens any of its own.
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
