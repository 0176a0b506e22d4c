//! One query in a datagram to a server, its repeats, and its reply.
//!
//! # How hard it is to forge a reply
//!
//! An attacker who cannot see the query has to guess it. Each question that is asked of a server has one ID from the kernel's
//! CSPRNG (16 bits) and one socket of its own for as long as it waits, bound by the kernel to a port that it draws at random
//! from `net.ipv4.ip_local_port_range`: 28,232 ports where nobody changed it, 14.78 bits. That makes 2^30.78 combinations for
//! each question and server, however long the server takes. The socket is connected, so that the kernel drops whatever has
//! another source than the server's address and port. A socket is used for a few questions one after the other; see
//! [`udp_pool`](super::udp_pool) for why that changes nothing here.
//!
//! A question that is not answered is sent again out of the *same* socket with the *same* ID, so repeats add no combination
//! that would be right: there is one, and not one for each datagram. What patience costs is time: the window for guesses is as
//! long as the question lives (`timeout`), or 5 s more where a late answer is waited for (those are at most 1,000 at a time, and each
//! again 2^30.78). Where several servers are asked each has a socket and an ID of its own, and a forger has to choose whose
//! address to forge: the chances add up only for one who forges all of them. Identical questions of many clients do not
//! multiply anything: they are asked once. With `case_randomization` each letter of the name adds a bit.
//!
//! What does not match is counted and ignored, and the wait goes on: a wrong guess ends nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};

use super::attempt::{AttemptOptions, Received, said};
use super::random::random_u16;
use super::udp_pool::{PooledSocket, UdpPool};
use super::{Connections, Traffic, now};
use crate::forward::message::{Asker, Question, is_reply};
use crate::wire::message::HEADER;
use crate::wire::relay::UpstreamQuery;

/// Room for a datagram. We offer 1,232 octets; a server that sends more than fits here is asked over TCP.
const DATAGRAM: usize = 4096;

thread_local! {
    /// Where a thread receives what it then looks at, one datagram at a time.
    static RECEIVED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A query and the socket at which it waits.
#[derive(Debug)]
pub(super) struct UdpQuery {
    socket: PooledSocket,
    query: UpstreamQuery,
    /// Where its question section ends.
    question_end: usize,
    /// The name as the client spelled it, if the query spells it at random.
    name: Option<Box<[u8]>>,
    /// Something came that is not the reply.
    is_guessed_at: bool,
    _share: Option<Share>,
}

impl UdpQuery {
    /// Sends a query to a server from a socket that no other one waits at.
    pub(super) fn send(
        server: &Connections,
        to: SocketAddr,
        question: &Question,
        options: AttemptOptions,
        now: Instant,
    ) -> io::Result<UdpQuery> {
        let mut query = question.query(random_u16()?, options.edns);
        let mut name = None;
        if options.randomize_case {
            name = Some(question.name().into());
            spell_at_random(&mut query[question.name_at()])?;
        }
        let question_end = HEADER + question.question.len();
        let share = options.client.map(Share::take).transpose()?;
        let socket = connect_and_send(server, to, &query, now)?;
        server.traffic.tap.query(false, &query);
        Ok(UdpQuery { socket, query, question_end, name, is_guessed_at: false, _share: share })
    }

    /// Sends the same datagram again.
    pub(super) fn repeat(&self, traffic: &Traffic) -> io::Result<()> {
        traffic.tap.query(false, &self.query);
        self.socket.send(&self.query)
    }

    /// The first datagram back that is the reply.
    pub(super) fn poll_reply(&mut self, traffic: &Traffic, context: &mut Context<'_>) -> Poll<io::Result<Received>> {
        RECEIVED.with_borrow_mut(|buffer| {
            buffer.resize(DATAGRAM, 0);
            let mut guesses = 0;
            let UdpQuery { socket, query, question_end, name, .. } = self;
            let to = socket.to;
            let polled = socket.poll_receive(buffer, context, |datagram| {
                let received = examine(query, *question_end, name.as_deref(), datagram);
                guesses += u32::from(received.as_ref().is_none_or(|received| received.respelled));
                if received.is_none() {
                    let len = datagram.len();
                    tracing::debug!(upstream = %to, len, "a datagram that is not the reply; ignored");
                }
                received
            });
            (0..guesses).for_each(|_| traffic.mismatched());
            self.is_guessed_at |= guesses > 0;
            polled
        })
    }

    /// Keeps the socket for another question, where nobody guesses.
    pub(super) fn recycle(self, sockets: &Arc<UdpPool>, now: Instant) {
        if !self.is_guessed_at {
            sockets.put(self.socket, now);
        }
    }
}

/// The reply to a query, if a datagram is that. `name` as in [`UdpQuery`].
fn examine(query: &[u8], question_end: usize, name: Option<&[u8]>, datagram: &[u8]) -> Option<Received> {
    let id = u16::from_be_bytes([query[0], query[1]]);
    if !is_reply(datagram, id, &query[HEADER..question_end]) {
        return None;
    }
    let mut message: Arc<[u8]> = datagram.into();
    let cut = message.len() == DATAGRAM;
    let mut respelled = false;
    if let Some(asked) = name {
        let at = HEADER..HEADER + asked.len();
        let sent = &query[at.clone()];
        if asked.len() > 1 && message.len() >= at.end {
            // A server that changes the spelling, or somebody who does not know it: TCP tells.
            respelled = message.get(4..6) == Some(&[0, 1]) && message[at] != *sent;
            restore(Arc::make_mut(&mut message), sent, asked);
        }
    }
    Some(Received { message, at: now(), cut, respelled, reused: true })
}

fn connect_and_send(server: &Connections, to: SocketAddr, query: &[u8], now: Instant) -> io::Result<PooledSocket> {
    if let Some(socket) = server.sockets.take(to, now)?
        && socket.send(query).is_ok()
    {
        return Ok(socket);
    }
    let socket = PooledSocket::new(to, server.upstream.dial(), now)?;
    socket.send(query)?;
    Ok(socket)
}

/// The right to one more socket. Sockets to upstreams take three quarters of the descriptors that the process may have at
/// the most, whoever asks and whoever is silent: what is left is for its listeners, their connections, and its host.
#[derive(Debug)]
pub(super) struct Permit;

static OPEN: AtomicUsize = AtomicUsize::new(0);

static MOST: LazyLock<usize> = LazyLock::new(|| {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    usize::try_from(limit / 4 * 3).unwrap_or(usize::MAX)
});

/// How many sockets to upstreams the process may have.
pub(crate) fn most_sockets() -> usize {
    *MOST
}

/// True while so few sockets are open that some can be kept for answers that no client waits for.
pub(in crate::forward) fn has_ample_sockets() -> bool {
    OPEN.load(Ordering::Relaxed) < *MOST / 4
}

impl Permit {
    pub(super) fn take() -> io::Result<Permit> {
        // Made first, so that it is given back in either case.
        let permit = (OPEN.fetch_add(1, Ordering::Relaxed), Permit);
        if permit.0 < *MOST { Ok(permit.1) } else { Err(OutOfSockets.into()) }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A client's right to one more socket at which its question waits: it may have as many as are left. So one client has half of
/// them at the most, two have a third each, and something is left for the next one, however many names that nobody answers
/// are asked for.
#[derive(Debug)]
struct Share(Asker);

/// Sockets at which clients' questions wait.
#[derive(Debug, Default)]
struct InUse {
    count: usize,
    /// Those that have none are forgotten now and then.
    clients: HashMap<Asker, usize, RandomState>,
}

/// Clients without a socket that are remembered, so that their next one takes no memory.
const MAX_IDLE_CLIENTS: usize = 1024;

static IN_USE: LazyLock<Mutex<InUse>> = LazyLock::new(Mutex::default);

impl InUse {
    /// True if the client may have one more, of `most` in all.
    fn add(&mut self, client: Asker, most: usize) -> bool {
        if self.clients.len() >= self.count + MAX_IDLE_CLIENTS {
            self.clients.retain(|_, own| *own > 0);
        }
        let own = self.clients.entry(client).or_default();
        let may = *own < most.saturating_sub(self.count);
        if may {
            self.count += 1;
            *own += 1;
        }
        may
    }

    fn remove(&mut self, client: Asker) {
        if let Some(own) = self.clients.get_mut(&client) {
            self.count -= 1;
            *own -= 1;
        }
    }
}

impl Share {
    fn take(client: Asker) -> io::Result<Share> {
        let may = IN_USE.lock().unwrap_or_else(PoisonError::into_inner).add(client, *MOST);
        if may { Ok(Share(client)) } else { Err(OutOfSockets.into()) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        IN_USE.lock().unwrap_or_else(PoisonError::into_inner).remove(self.0);
    }
}

/// There is no socket left to ask with.
#[derive(Debug, thiserror::Error)]
#[error("no socket is left to ask with")]
struct OutOfSockets;

impl From<OutOfSockets> for io::Error {
    fn from(error: OutOfSockets) -> io::Error {
        io::Error::other(error)
    }
}

/// True if an error is this process' or this host's own want, and says nothing of the server.
pub(in crate::forward) fn is_ours(error: &io::Error) -> bool {
    let is_want = |errno: Errno| matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM);
    error.get_ref().is_some_and(|cause| cause.is::<OutOfSockets>())
        || error.raw_os_error().is_some_and(|errno| is_want(Errno::from_raw(errno)))
}

/// Logs an error that [`is_ours`], once a minute (answers.md L4).
pub(in crate::forward) fn warn_of_want(error: &io::Error) {
    const INTERVAL: Duration = Duration::from_secs(60);
    static WARNED: Mutex<Option<Instant>> = Mutex::new(None);
    let now = now();
    let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    if warned.is_none_or(|at| now.saturating_duration_since(at) >= INTERVAL) {
        *warned = Some(now);
        let (cause, most) = (said(error), *MOST);
        tracing::warn!(
            "upstreams cannot be asked: {cause}; at most {most} sockets are used for that, three quarters of the open files \
             that the process may have"
        );
    }
}

/// Gives each letter of a name in wire form a random case (draft-vixie-dnsext-dns0x20). Length octets are no letters.
fn spell_at_random(name: &mut [u8]) -> io::Result<()> {
    let mut random = [0; 255];
    getrandom::fill(&mut random)?;
    for (octet, random) in name.iter_mut().zip(random) {
        if octet.is_ascii_alphabetic() {
            *octet = *octet & !0x20 | random & 0x20;
        }
    }
    Ok(())
}

/// Puts the client's spelling of the name back where the server has written ours: in the question, and in owner names that
/// are written in full.
fn restore(message: &mut [u8], sent: &[u8], asked: &[u8]) {
    let owners: Vec<_> =
        crate::wire::message::records(message).map_while(Result::ok).map(|at| at.range.start).collect();
    for start in owners.into_iter().chain([HEADER]) {
        if let Some(name) = message.get_mut(start..start + sent.len())
            && name == sent
        {
            name.copy_from_slice(asked);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_bounded_and_their_lack_is_not_the_servers_fault() {
        assert!(*MOST > 0);
        let open = OPEN.load(Ordering::Relaxed);
        let permit = Permit::take().unwrap();
        assert!(OPEN.load(Ordering::Relaxed) > open);
        drop(permit);
        assert!(is_ours(&OutOfSockets.into()) && is_ours(&Errno::EMFILE.into()));
        assert!(!is_ours(&Errno::ECONNREFUSED.into()));
    }

    #[test]
    fn l4_a_client_has_no_more_sockets_than_are_left() {
        let fill = |in_use: &mut InUse, client| (0..1000).filter(|_| in_use.add(Asker::new(client), 100)).count();
        let mut in_use = InUse::default();
        assert_eq!([0, 1, 2].map(|client| fill(&mut in_use, client)), [50, 25, 13]);
        assert!(in_use.add(Asker::new(99), 100), "one that has none");
        for (client, count) in [(0, 50), (1, 25), (2, 13), (99, 1)] {
            (0..count).for_each(|_| in_use.remove(Asker::new(client)));
        }
        assert!(in_use.count == 0 && in_use.clients.values().all(|own| *own == 0));
        for greedy in [1, 2, 9, 20] {
            let mut in_use = InUse::default();
            for _ in 0..100 {
                (0..greedy).for_each(|client| _ = in_use.add(Asker::new(client), 100));
            }
            let even = 100 / (greedy + 1);
            assert!(in_use.clients.values().all(|own| own.abs_diff(even as usize) <= 1), "{greedy}: {in_use:?}");
            assert!(in_use.add(Asker::new(99), 100), "{greedy}: one that has none");
        }
    }

    #[test]
    fn the_spelling_is_random_and_can_be_restored() {
        let asked = b"\x20abcdefghijklmnopqrstuvwxyz-0123_\x02Us\x00";
        let mut sent = asked.to_vec();
        spell_at_random(&mut sent).unwrap();
        // Of 28 letters; all the same once in 2^28 runs.
        assert_ne!(&sent[..], asked);
        assert!(sent.eq_ignore_ascii_case(asked));
        let mut message = vec![0, 1, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0];
        message.extend_from_slice(&sent);
        message.extend_from_slice(&[0, 1, 0, 1]);
        message.extend_from_slice(&sent);
        message.extend_from_slice(&[0, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
        restore(&mut message, &sent, asked);
        assert_eq!(message.windows(asked.len()).filter(|name| name == asked).count(), 2);
    }
}
