//! A UDP socket that is waited for only to read, and two ways out for replies (answers.md L1).
//!
//! A socket that is watched for writing too, as tokio's own is, wakes its worker a second time for each reply: when the
//! reply has left and its room is free again. That nearly doubles what a single query costs. A reply is never waited for: what
//! the socket does not take is dropped.
//!
//! What fills a socket is mostly not the network. A datagram to an address on the link that nobody has waits in the kernel's
//! neighbor table for three seconds, and counts against the send buffer of its socket all that time: some 280 of them fill
//! the usual 208 KiB, which 100 spoofed queries a second do. A larger buffer helps little: without privilege it may have
//! twice the size, and with any size each such reply takes one of the 1,024 places of that table, which the replies to
//! everybody else need, too. So the buffer stays small, which bounds what spoofed queries take of the table, and a second
//! socket with the same address and a buffer of its own sends the replies that the first one has no room for, if the kernel
//! knows the way to their receiver, or did a while ago: a full neighbor table drops entries that are in use. It is made when
//! it is first needed.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tracing::{debug, warn};

use super::batch::{Others, send_others};
use super::rate::OncePerMinute;
use super::{neighbors, socket};

/// The pause after a second socket could not be made.
const RETRY: Duration = Duration::from_secs(1);

/// Octets of replies that wait for the end of a turn: beyond this they are sent at once.
const MAX_OUTBOX: usize = 64 * 1024;

/// Receivers that are remembered.
const MAX_KNOWN: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Datagrams {
    socket: AsyncFd<UdpSocket>,
    /// Whether a second socket can be made: not for one that was made in another network namespace.
    is_here: bool,
    second: Mutex<Second>,
    has_strays: AtomicBool,
    outbox: Mutex<Outbox>,
}

/// Replies that are sent together at the end of the turn in which they were made.
#[derive(Debug, Default)]
struct Outbox {
    replies: Others,
    /// Memory for the next ones, while those are sent.
    spare: Others,
    /// Who sends them, while somebody serves the socket.
    sender: Option<Waker>,
}

#[derive(Debug, Default)]
struct Second {
    socket: Option<UdpSocket>,
    /// Receivers that the way was known to: none that nobody has.
    known: HashSet<IpAddr, RandomState>,
    failed: Option<Instant>,
}

/// Says that something can be read, until it is told that nothing can any more.
pub(super) type Ready<'s> = AsyncFdReadyGuard<'s, UdpSocket>;

impl Datagrams {
    /// Takes a socket into the runtime. `is_here` if it is in the network namespace of this process.
    ///
    /// # Errors
    /// When the runtime cannot take it.
    pub(super) fn new(socket: UdpSocket, is_here: bool) -> io::Result<Datagrams> {
        socket.set_nonblocking(true)?;
        let socket = watched(socket)?;
        Ok(Datagrams {
            socket,
            is_here,
            second: Mutex::default(),
            has_strays: AtomicBool::new(false),
            outbox: Mutex::default(),
        })
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    /// Ready when something can be read. For one waiter: there is a place for one, which costs less than a list of them.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready<'_>>> {
        self.socket.poll_read_ready(context)
    }

    /// Sends a reply. False if there is no room for it now: it is to be dropped.
    pub(super) fn send(&self, reply: &[u8], receiver: SocketAddr) -> bool {
        send(self.socket.get_ref(), reply, receiver) || self.send_aside(reply, receiver)
    }

    /// Sends a reply at the end of this turn of the runtime's loop, together with others; at once if nobody serves the socket
    /// any more. False if there is no room for it now: it is to be dropped.
    pub(super) fn send_soon(&self, reply: &[u8], receiver: SocketAddr) -> bool {
        let mut outbox = super::lock(&self.outbox);
        if outbox.sender.is_none() || outbox.replies.len() >= MAX_OUTBOX {
            drop(outbox);
            return self.send(reply, receiver);
        }
        let is_first = outbox.replies.is_empty();
        outbox.replies.push(reply, receiver);
        // All that is woken by what the kernel has told comes before it.
        if is_first && let Some(sender) = &outbox.sender {
            sender.wake_by_ref();
        }
        true
    }

    /// Sends what [`send_soon`](Datagrams::send_soon) was given, and gives what there is no room for to `drop_reply`. Until the
    /// next call `sender` is told when there is more.
    pub(super) fn send_outbox(&self, sender: &Waker, drop_reply: impl FnMut()) {
        let mut outbox = super::lock(&self.outbox);
        outbox.sender.get_or_insert_with(|| sender.clone()).clone_from(sender);
        if !outbox.replies.is_empty() {
            self.send_all(outbox, drop_reply);
        }
    }

    /// Sends the same, for the last time: from here on replies are sent at once.
    pub(super) fn close_outbox(&self, drop_reply: impl FnMut()) {
        let mut outbox = super::lock(&self.outbox);
        outbox.sender = None;
        self.send_all(outbox, drop_reply);
    }

    fn send_all(&self, mut outbox: MutexGuard<'_, Outbox>, mut drop_reply: impl FnMut()) {
        let spare = std::mem::take(&mut outbox.spare);
        let mut replies = std::mem::replace(&mut outbox.replies, spare);
        drop(outbox);
        let mut left = |reply: &[u8], receiver| {
            if !self.send_aside(reply, receiver) {
                drop_reply();
            }
        };
        match replies.only() {
            Some((reply, receiver)) if send(self.socket.get_ref(), reply, receiver) => {}
            Some((reply, receiver)) => left(reply, receiver),
            None => send_others(self, &replies, left),
        }
        replies.clear();
        super::lock(&self.outbox).spare = replies;
    }

    /// Sends a reply that the socket has no room for by the other one, if the way to its receiver is known. False if not: it
    /// is to be dropped.
    pub(super) fn send_aside(&self, reply: &[u8], receiver: SocketAddr) -> bool {
        self.is_here
            && self.is_known(receiver)
            && self.with_second(|second| send(second, reply, receiver)).unwrap_or(false)
    }

    /// True if the way to a receiver is known, or was.
    fn is_known(&self, receiver: SocketAddr) -> bool {
        let is_known = neighbors::is_known(receiver).unwrap_or_else(|error| {
            debug!(%error, "the kernel was asked for a neighbor");
            false
        });
        let known = &mut super::lock(&self.second).known;
        if is_known && known.len() >= MAX_KNOWN {
            known.clear();
        }
        if is_known {
            known.insert(receiver.ip());
        }
        known.contains(&receiver.ip())
    }

    /// What came to the second socket before it was one for sending only; `None` for nothing.
    pub(super) fn strays(&self) -> Option<UdpSocket> {
        if !self.has_strays.swap(false, Ordering::Relaxed) {
            return None;
        }
        self.with_second(|second| second.try_clone().ok()).flatten()
    }

    fn with_second<T>(&self, work: impl FnOnce(&UdpSocket) -> T) -> Option<T> {
        let mut second = super::lock(&self.second);
        if second.socket.is_none() && second.failed.is_none_or(|at| at.elapsed() >= RETRY) {
            match socket::for_sending(self.socket.get_ref()) {
                Ok(socket) => {
                    self.has_strays.store(socket.is_some(), Ordering::Relaxed);
                    second.failed = socket.is_none().then(Instant::now);
                    second.socket = socket;
                }
                Err(error) => {
                    static WARNED: OncePerMinute = OncePerMinute::new();
                    if WARNED.is_due() {
                        warn!(%error, "no second socket for replies: while spoofed queries fill the first, replies are lost");
                    }
                    second.failed = Some(Instant::now());
                }
            }
        }
        second.socket.as_ref().map(work)
    }
}

/// False if the socket has no room.
fn send(socket: &UdpSocket, reply: &[u8], receiver: SocketAddr) -> bool {
    loop {
        match socket.send_to(reply, receiver) {
            Ok(_) => return true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                debug!(%error, %receiver, "a reply could not be sent");
                return true;
            }
        }
    }
}

/// Has the runtime watch a socket for something to read.
// Deprecated as it takes types that may close or change their descriptor meanwhile. A `UdpSocket` does neither: it owns its
// descriptor, and nothing here takes it out. What is to be used instead is `unsafe`, which this library has nowhere.
#[allow(deprecated)]
fn watched(socket: UdpSocket) -> io::Result<AsyncFd<UdpSocket>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

impl AsFd for Datagrams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}

impl AsRawFd for Datagrams {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
