//! Which network namespace a socket is in (answers.md F4): an address of another one is not ours, though it reads the same.

use std::os::fd::AsFd;

use nix::libc;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::GetStruct;
use socket2::{Domain, Socket, Type};

/// The cookie of a socket's network namespace: no two have the same as long as the machine runs. Linux 5.14 or later.
#[derive(Clone, Copy)]
struct NamespaceCookie;

nix::getsockopt_impl!(NamespaceCookie, libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, u64, GetStruct<u64>);

/// The namespace of a socket; `None` where the kernel does not tell.
pub(super) fn of(socket: &impl AsFd) -> Option<u64> {
    getsockopt(&socket.as_fd(), NamespaceCookie).ok()
}

/// The namespace of this thread.
pub(super) fn own() -> Option<u64> {
    of(&Socket::new(Domain::IPV4, Type::DGRAM, None).ok()?)
}
