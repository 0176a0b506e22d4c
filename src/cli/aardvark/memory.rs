//! How the C library gives memory back to the system.
//!
//! A reading of a large directory needs megabytes for a moment. glibc takes blocks of that size from the system one by one,
//! and gives them back at once, until the first is freed: then it believes that they are wanted again and keeps the next
//! ones, between what stays, for good. A server that is read to for months would grow by what one reading needs.
#![allow(unsafe_code)]

/// The size from which a block is taken from the system by itself, octets; it is glibc's own first value.
#[cfg(target_env = "gnu")]
const BY_ITSELF: nix::libc::c_int = 128 * 1024;

/// Keeps that size where it is.
pub(super) fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets one number of the allocator, which takes it under its own lock; any value is allowed, and blocks that
    // were given out are freed as they were made.
    unsafe {
        nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, BY_ITSELF);
    }
}
