//! A UDP socket of which the runtime hears only when something can be read.
//!
//! A socket that is watched for writing too, as tokio's own is, wakes its worker a second time for each reply: when the
//! reply has left and its room is free again. That nearly doubles what a single query costs. A reply that finds no room,
//! which is rare, waits on a descriptor of its own.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// See the module.
#[derive(Debug)]
pub(super) struct Datagrams(AsyncFd<UdpSocket>);

/// Says that something can be read, until it is told that nothing can any more.
pub(super) type Ready<'s> = AsyncFdReadyGuard<'s, UdpSocket>;

impl Datagrams {
    /// Takes a socket into the runtime.
    ///
    /// # Errors
    /// When the runtime cannot take it.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Datagrams> {
        socket.set_nonblocking(true)?;
        watched(socket, Interest::READABLE).map(Datagrams)
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }

    /// Ready when something can be read. For one waiter: there is a place for one, which costs less than a list of them.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready<'_>>> {
        self.0.poll_read_ready(context)
    }

    /// Sends a datagram, waiting for room if there is none.
    pub(super) async fn send_to(&self, datagram: &[u8], receiver: SocketAddr) -> io::Result<()> {
        let socket = self.0.get_ref();
        loop {
            match socket.send_to(datagram, receiver) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let waiting = watched(socket.try_clone()?, Interest::WRITABLE)?;
                    let _ = waiting.writable().await?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Has the runtime watch a socket for one thing.
// Deprecated as it takes types that may close or change their descriptor meanwhile. A `UdpSocket` does neither: it owns its
// descriptor, and nothing here takes it out. What is to be used instead is `unsafe`, which this library has nowhere.
#[allow(deprecated)]
fn watched(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    AsyncFd::with_interest(socket, interest)
}

impl AsFd for Datagrams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

impl AsRawFd for Datagrams {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
