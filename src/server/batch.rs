//! Datagrams by the batch: one system call to receive many, one to send their replies.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use tracing::debug;

/// Datagrams a batch.
pub(super) const BATCH: usize = 32;
/// The longest query that is read whole, octets; a longer one is malformed to us. Not a power of two: the first octets of
/// all queries of a batch would fall into the same few places of the processor's cache.
const QUERY: usize = 4096 + 64;

/// The buffers of one worker, used for one socket at a time.
pub(super) struct Batch {
    queries: Box<[[u8; QUERY]; BATCH]>,
    /// One behind the other, each of `reply_size` octets.
    replies: Vec<u8>,
    reply_size: usize,
    /// Length and sender of each datagram that was received.
    received: Vec<(usize, SockaddrStorage)>,
    /// Length of each reply, and its receiver.
    lengths: [usize; BATCH],
    receivers: [Option<SockaddrStorage>; BATCH],
    // The kernel leaves the length of the last sender's address in these: one set for each address family.
    receive_v4: MultiHeaders<SockaddrStorage>,
    receive_v6: MultiHeaders<SockaddrStorage>,
    send: MultiHeaders<SockaddrStorage>,
}

/// Where the replies of a batch begin that are not sent yet, and where they end.
pub(super) type Unsent = Range<usize>;

impl Batch {
    /// Buffers for replies of at most so many octets.
    pub(super) fn new(reply_size: usize) -> Batch {
        let headers = || MultiHeaders::preallocate(BATCH, None);
        Batch {
            queries: zeroed(),
            replies: vec![0; reply_size * BATCH],
            reply_size,
            received: Vec::with_capacity(BATCH),
            lengths: [0; BATCH],
            receivers: [None; BATCH],
            receive_v4: headers(),
            receive_v6: headers(),
            send: headers(),
        }
    }

    /// Octets that a reply may have.
    pub(super) fn reply_size(&self) -> usize {
        self.reply_size
    }

    /// Receives what is there, at most a batch, and gives the number of datagrams.
    pub(super) fn receive(&mut self, socket: &impl AsRawFd, is_v6: bool) -> io::Result<usize> {
        let headers = if is_v6 { &mut self.receive_v6 } else { &mut self.receive_v4 };
        let mut buffers = self.queries.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let datagrams = recvmmsg(socket.as_raw_fd(), headers, buffers.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
        self.received.clear();
        for datagram in datagrams {
            // A datagram without a sender cannot be answered. Its place is kept, so that places stay those of buffers.
            let nobody = || SockaddrStorage::from(SocketAddr::from(([0, 0, 0, 0], 0)));
            self.received.push((datagram.bytes, datagram.address.unwrap_or_else(nobody)));
        }
        Ok(self.received.len())
    }

    /// Lets `answer` write the reply to each datagram that was received: it gets the datagram's place in the batch,
    /// the sender, the query and the buffer for the reply, and gives the reply's length.
    pub(super) fn answer(
        &mut self,
        mut answer: impl FnMut(usize, SocketAddr, &[u8], &mut [u8]) -> Option<usize>,
    ) -> Unsent {
        let mut count = 0;
        for (index, ((len, sender), query)) in self.received.iter().zip(self.queries.iter()).enumerate() {
            let Some(source) = socket_addr(sender) else { continue };
            let reply = &mut self.replies[count * self.reply_size..][..self.reply_size];
            if let Some(reply_len) = answer(index, source, &query[..*len], reply) {
                self.lengths[count] = reply_len;
                self.receivers[count] = Some(*sender);
                count += 1;
            }
        }
        0..count
    }

    /// Sends replies until all are sent or the socket takes no more, which is the error `WouldBlock`. A reply that cannot
    /// be sent to its receiver is passed over: others wait behind it.
    pub(super) fn send(&mut self, socket: &impl AsRawFd, unsent: &mut Unsent) -> io::Result<()> {
        while unsent.start < unsent.end {
            let mut buffers = [[IoSlice::new(&[])]; BATCH];
            for index in unsent.clone() {
                buffers[index] = [IoSlice::new(&self.replies[index * self.reply_size..][..self.lengths[index]])];
            }
            let receivers = &self.receivers[unsent.clone()];
            let result = sendmmsg(
                socket.as_raw_fd(),
                &mut self.send,
                &buffers[unsent.clone()],
                receivers,
                [],
                MsgFlags::MSG_DONTWAIT,
            );
            match result {
                Ok(sent) => unsent.start += sent.count().max(1),
                Err(Errno::EAGAIN) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(Errno::EINTR) => {}
                Err(error) => {
                    debug!(error = %error, "a reply could not be sent");
                    unsent.start += 1;
                }
            }
        }
        Ok(())
    }

    /// A datagram that was received.
    pub(super) fn query(&self, index: usize) -> &[u8] {
        &self.queries[index][..self.received[index].0]
    }

    /// A reply, sent or not.
    pub(super) fn reply(&self, index: usize) -> Option<(SocketAddr, &[u8])> {
        let receiver = socket_addr(self.receivers[index].as_ref()?)?;
        Some((receiver, &self.replies[index * self.reply_size..][..self.lengths[index]]))
    }
}

/// Buffers that are made where they stay: they are too large for the stack.
fn zeroed() -> Box<[[u8; QUERY]; BATCH]> {
    match vec![[0; QUERY]; BATCH].into_boxed_slice().try_into() {
        Ok(buffers) => buffers,
        Err(_) => unreachable!("the slice has the array's length"),
    }
}

fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(SocketAddrV4::from(*v4).into()),
        (_, Some(v6)) => Some(SocketAddrV6::from(*v6).into()),
        _ => None,
    }
}
