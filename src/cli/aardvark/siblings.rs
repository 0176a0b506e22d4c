//! Other servers under our name, as /proc shows them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

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

/// True if every lock (flock(2)) on the file with this inode is held by another user: whoever may read a directory may lock
/// it. False where that cannot be told.
pub(super) fn is_locked_by_strangers(inode: u64) -> bool {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let mut holders = holders(&locks, inode).peekable();
    holders.peek().is_some() && holders.all(|pid| uid_of(pid).is_none_or(|uid| uid != Uid::current().as_raw()))
}

/// The processes that hold a lock on an inode, by a text as of /proc/locks (proc_locks(5)). One that waits has an arrow.
fn holders(locks: &str, inode: u64) -> impl Iterator<Item = i32> {
    locks.lines().filter_map(move |line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (kind, pid, file) = (fields.next()?, fields.nth(2)?, fields.next()?);
        let is_it = kind == "FLOCK" && file.rsplit(':').next()?.parse() == Ok(inode);
        pid.parse().ok().filter(|_| is_it)
    })
}

/// The user that a process runs as; `None` if it is gone, or hidden. Not by who owns its directory in /proc: that is root,
/// where a process does not let itself be dumped.
fn uid_of(pid: i32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_ascii_whitespace().next()?.parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holders_of_a_lock_are_those_of_its_inode() {
        let locks = "\
            1: FLOCK  ADVISORY  WRITE 812 00:1a:77 0 EOF\n\
            1: -> FLOCK  ADVISORY  WRITE 813 00:1a:77 0 EOF\n\
            2: POSIX  ADVISORY  WRITE 814 00:1a:77 0 EOF\n\
            3: FLOCK  ADVISORY  READ 815 00:1a:78 0 EOF\n";
        assert_eq!(holders(locks, 77).collect::<Vec<_>>(), [812]);
        assert_eq!(holders("nonsense\n1:\n", 77).count(), 0);
        assert_eq!(uid_of(std::process::id() as i32), Some(Uid::current().as_raw()));
    }
}
