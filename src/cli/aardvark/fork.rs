//! fork(2), the one system call that the program needs and that has no safe wrapper.
#![allow(unsafe_code)]

use std::fs;
use std::io;

use nix::unistd::ForkResult;

/// Makes a child of this process, which must have one thread.
///
/// # Errors
/// What the system said, or that there are several threads.
pub(super) fn fork() -> io::Result<ForkResult> {
    let threads = fs::read_dir("/proc/self/task").map_or(1, |threads| threads.count());
    if threads != 1 {
        return Err(io::Error::other(format!("{threads} threads run already")));
    }
    // SAFETY: only the calling thread lives on in the child, so a lock that another thread held would be held there for
    // ever, and memory that it was changing half changed. There is no other thread: that was just seen, and only this
    // thread could start one. So the child is a whole copy of this process and may do anything.
    Ok(unsafe { nix::unistd::fork() }?)
}
