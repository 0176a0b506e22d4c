//! Datagrams by the batch: one system call to receive many, one to send their replies.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg, sendto};
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
    /// Datagrams that came last time; as many as can if there may have been more.
    last: usize,
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

impl Default for Batch {
    fn default() -> Batch {
        let headers = || MultiHeaders::preallocate(BATCH, None);
        Batch {
            queries: zeroed(),
            replies: Vec::new(),
            reply_size: 0,
            last: BATCH,
            received: Vec::with_capacity(BATCH),
            lengths: [0; BATCH],
            receivers: [None; BATCH],
            receive_v4: headers(),
            receive_v6: headers(),
            send: headers(),
        }
    }
}

impl Batch {
    /// Makes room for replies of at most so many octets.
    pub(super) fn make_room(&mut self, reply_size: usize) {
        if self.reply_size != reply_size {
            self.reply_size = reply_size;
            self.replies = vec![0; reply_size * BATCH];
        }
    }

    /// Receives what is there, at most a batch, and gives the number of datagrams, and whether there may be more of them.
    ///
    /// Where few come at a time it makes ready for few: else most of the work would be for those that do not come.
    pub(super) fn receive(&mut self, socket: &impl AsRawFd, is_v6: bool) -> io::Result<(usize, bool)> {
        let Batch { queries, received, receive_v4, receive_v6, .. } = self;
        let headers = if is_v6 { receive_v6 } else { receive_v4 };
        let is_full = match self.last {
            0..=1 => receive_up_to::<2>(socket, queries, headers, received)?,
            2..=4 => receive_up_to::<8>(socket, queries, headers, received)?,
            _ => receive_up_to::<BATCH>(socket, queries, headers, received)?,
        };
        let count = self.received.len();
        self.last = if is_full { BATCH } else { count };
        Ok((count, is_full))
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
            if let Some(receiver) = self.receivers[unsent.start].filter(|_| unsent.len() == 1) {
                let reply = &self.replies[unsent.start * self.reply_size..][..self.lengths[unsent.start]];
                match sendto(socket.as_raw_fd(), reply, &receiver, MsgFlags::MSG_DONTWAIT) {
                    Ok(_) => unsent.start += 1,
                    Err(Errno::EAGAIN) => return Err(io::ErrorKind::WouldBlock.into()),
                    Err(Errno::EINTR) => {}
                    Err(error) => {
                        debug!(error = %error, "a reply could not be sent");
                        unsent.start += 1;
                    }
                }
                continue;
            }
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

/// Replies to be sent together, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Others {
    octets: Vec<u8>,
    replies: Vec<(Range<usize>, SocketAddr)>,
}

impl Others {
    /// Adds one.
    pub(super) fn push(&mut self, reply: &[u8], receiver: SocketAddr) {
        let start = self.octets.len();
        self.octets.extend_from_slice(reply);
        self.replies.push((start..self.octets.len(), receiver));
    }

    /// True if there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.replies.is_empty()
    }

    /// Octets of them.
    pub(super) fn len(&self) -> usize {
        self.octets.len()
    }

    /// Forgets all of them, and keeps their memory for the next.
    pub(super) fn clear(&mut self) {
        self.octets.clear();
        self.replies.clear();
    }

    /// The reply and its receiver, if it is the only one.
    pub(super) fn only(&self) -> Option<(&[u8], SocketAddr)> {
        match &self.replies[..] {
            [(range, receiver)] => Some((self.octets(range), *receiver)),
            _ => None,
        }
    }

    fn octets(&self, range: &Range<usize>) -> &[u8] {
        &self.octets[range.clone()]
    }
}

/// Sends replies together, and gives those that the socket has no room for to `left`.
pub(super) fn send_others(socket: &impl AsRawFd, others: &Others, mut left: impl FnMut(&[u8], SocketAddr)) {
    let mut headers = MultiHeaders::preallocate(BATCH.min(others.replies.len()), None);
    let mut replies = &others.replies[..];
    while !replies.is_empty() {
        let some = &replies[..replies.len().min(BATCH)];
        let (mut buffers, mut receivers) = ([[IoSlice::new(&[])]; BATCH], [None; BATCH]);
        for (index, (range, receiver)) in some.iter().enumerate() {
            buffers[index] = [IoSlice::new(others.octets(range))];
            receivers[index] = Some(SockaddrStorage::from(*receiver));
        }
        let (buffers, receivers) = (&buffers[..some.len()], &receivers[..some.len()]);
        let result = sendmmsg(socket.as_raw_fd(), &mut headers, buffers, receivers, [], MsgFlags::MSG_DONTWAIT);
        let done = match result {
            Ok(sent) => sent.count().max(1),
            Err(Errno::EINTR) => 0,
            Err(Errno::EAGAIN) => {
                // It goes another way or nowhere, and those behind it are tried as before.
                let (range, receiver) = &some[0];
                left(others.octets(range), *receiver);
                1
            }
            Err(error) => {
                debug!(error = %error, "a reply could not be sent");
                1
            }
        };
        replies = &replies[done..];
    }
}

/// Receives at most so many. True if so many came, so that there may be more: a receive that is not full has found the socket
/// empty.
fn receive_up_to<const MOST: usize>(
    socket: &impl AsRawFd,
    queries: &mut [[u8; QUERY]; BATCH],
    headers: &mut MultiHeaders<SockaddrStorage>,
    received: &mut Vec<(usize, SockaddrStorage)>,
) -> io::Result<bool> {
    let Some(queries) = queries.first_chunk_mut::<MOST>() else { return Ok(false) };
    let mut buffers = queries.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
    let datagrams = recvmmsg(socket.as_raw_fd(), headers, buffers.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
    received.clear();
    for datagram in datagrams {
        // A datagram without a sender cannot be answered. Its place is kept, so that places stay those of buffers.
        let nobody = || SockaddrStorage::from(SocketAddr::from(([0, 0, 0, 0], 0)));
        received.push((datagram.bytes, datagram.address.unwrap_or_else(nobody)));
    }
    Ok(received.len() == MOST)
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
