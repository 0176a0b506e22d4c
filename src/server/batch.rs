//! Datagrams by the batch: one system call to receive many, one to send their replies.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrLike, SockaddrStorage, recvmmsg, sendmmsg};

use crate::wire::reply::UDP_SIZE;

/// Datagrams a batch.
pub(super) const BATCH: usize = 32;
/// The longest query that is read whole, octets; a longer one is malformed to us.
const QUERY: usize = 4096;
const REPLY: usize = UDP_SIZE as usize;

/// The buffers of one worker, used for one socket at a time.
pub(super) struct Batch {
    queries: Box<[[u8; QUERY]; BATCH]>,
    replies: Box<[[u8; REPLY]; BATCH]>,
    /// Length and sender of what was received.
    received: Vec<(usize, SockaddrStorage)>,
    /// Length of each reply and its receiver; unused entries are `None`.
    to_send: [(usize, Option<SockaddrStorage>); BATCH],
    // The kernel leaves the length of the last sender's address in these: one set for each address family.
    receive_v4: MultiHeaders<SockaddrStorage>,
    receive_v6: MultiHeaders<SockaddrStorage>,
    send: MultiHeaders<SockaddrStorage>,
}

impl Batch {
    pub(super) fn new() -> Batch {
        let headers = || MultiHeaders::preallocate(BATCH, None);
        Batch {
            queries: Box::new([[0; QUERY]; BATCH]),
            replies: Box::new([[0; REPLY]; BATCH]),
            received: Vec::with_capacity(BATCH),
            to_send: [(0, None); BATCH],
            receive_v4: headers(),
            receive_v6: headers(),
            send: headers(),
        }
    }

    /// Receives what is there, at most a batch, and gives the number of datagrams.
    pub(super) fn receive(&mut self, socket: &impl AsRawFd, is_v6: bool) -> io::Result<usize> {
        self.received.clear();
        let headers = if is_v6 { &mut self.receive_v6 } else { &mut self.receive_v4 };
        let mut buffers = self.queries.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let datagrams = recvmmsg(socket.as_raw_fd(), headers, buffers.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
        // A datagram without a sender cannot be answered; it is passed on as empty, which is ignored.
        let unknown = SockaddrStorage::from(SocketAddr::from(([0, 0, 0, 0], 0)));
        self.received.extend(datagrams.map(|datagram| (datagram.bytes, datagram.address.unwrap_or(unknown))));
        Ok(self.received.len())
    }

    /// Lets `answer` write a reply to each datagram that was received: it gets the sender, the query and the buffer for the
    /// reply, and gives the reply's length.
    pub(super) fn answer(&mut self, mut answer: impl FnMut(SocketAddr, &[u8], &mut [u8]) -> Option<usize>) {
        self.to_send = [(0, None); BATCH];
        let buffers = self.queries.iter().zip(self.replies.iter_mut()).zip(&mut self.to_send);
        for ((len, sender), ((query, reply), to_send)) in self.received.iter().zip(buffers) {
            let Some(source) = socket_addr(sender) else { continue };
            if let Some(reply_len) = answer(source, &query[..*len], reply) {
                *to_send = (reply_len, Some(*sender));
            }
        }
        // Replies stand without gaps from here on.
        let mut next = 0;
        for index in 0..BATCH {
            if self.to_send[index].1.is_some() {
                if next != index {
                    self.to_send[next] = self.to_send[index].clone_out();
                    let (front, back) = self.replies.split_at_mut(index);
                    let len = self.to_send[next].0;
                    front[next][..len].copy_from_slice(&back[0][..len]);
                }
                next += 1;
            }
        }
        self.received.clear();
        self.pending = 0..next;
    }
}
