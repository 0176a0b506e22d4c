//! Other servers under our name, as /proc shows them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::NAME;

/// True for another process under our name that lives in the same network namespace: a server elsewhere serves none of the
/// containers here, and a number that was used again may be anybody's.
pub(super) fn is_beside_us(pid: Pid) -> bool {
    let network = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    pid != Pid::this()
        && words(pid)
            .first()
            .is_some_and(|program| Path::new(OsStr::from_bytes(program)).file_name() == Some(NAME.as_ref()))
        && network(&pid.to_string()).is_some_and(|theirs| Some(theirs) == network("self"))
}

/// Has the servers beside us that were started for a directory look at it, which a pid file should lead to and does not.
/// True if there is one.
pub(super) fn tell_servers_of(directory: &Path) -> bool {
    let directory = directory.as_os_str().as_bytes();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let others = processes.filter_map(|process| process.file_name().to_str()?.parse().ok()).map(Pid::from_raw);
    let servers = others
        .filter(|&pid| is_beside_us(pid) && words(pid).iter().any(|word| word == directory) && takes_the_signal(pid));
    servers.filter(|&pid| kill(pid, Signal::SIGHUP).is_ok()).count() > 0
}

/// The command line.
fn words(pid: Pid) -> Vec<Vec<u8>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|&octet| octet == 0).map(<[u8]>::to_vec).collect()
}

/// True for a server that is up: one that is starting, and whoever waits for that, would be ended by a SIGHUP.
fn takes_the_signal(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    caught.is_some_and(|set| set & 1 << (Signal::SIGHUP as u32 - 1) != 0)
}
