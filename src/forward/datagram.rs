//! One datagram to a server, and its reply.
//!
//! # How hard it is to forge a reply
//!
//! An attacker who cannot see the query has to guess it. Each query has an ID from the kernel's CSPRNG (16 bits) and a
//! socket of its own as long as it waits, bound by the kernel to a port that it draws at random from
//! `net.ipv4.ip_local_port_range`: 28,232 ports where nobody changed it, 14.78 bits. That makes 2^30.78 combinations for one
//! query. The socket is connected, so that the kernel drops whatever has another source than the server's address and port.
//! A socket is used for a few queries one after the other; see [`sockets`](super::sockets) for why that changes nothing here.
//!
//! A question that is not answered is asked again, from a new socket with a new ID, at most 12 times of one server
//! (`policy`), and every one of these may be hit: 2^30.78 / 12 = 2^27.2, still above 2^26, for each server address that is
//! forged. Identical questions of many clients do not multiply this: they are asked once. With `case_randomization` each
//! letter of the name adds a bit.
//!
//! What does not match is counted and ignored, and the wait goes on: a wrong guess ends nothing.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::Interest;

use super::attempt::{Manner, Received};
use super::query::Question;
use super::random::random_u16;
use super::server::{Server, now};
use super::sockets::Connected;
use crate::wire::message::HEADER;

/// Room for a datagram. We offer 1,232 octets; a server that sends more than fits here is asked over TCP.
const DATAGRAM: usize = 4096;

thread_local! {
    /// Where a thread receives what it then looks at, one datagram at a time.
    static RECEIVED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One datagram there, and the first one back that is the reply to it.
pub(super) async fn exchange(
    server: &Server,
    to: SocketAddr,
    question: &Question,
    manner: Manner,
) -> io::Result<Received> {
    let id = random_u16()?;
    let mut query = question.query(id, manner.edns);
    if manner.randomize_case {
        spell_at_random(&mut query[question.name_at()])?;
    }
    let connected = send(server, to, &query, manner)?;
    let mut strays = 0;
    let received = connected.socket.async_io(Interest::READABLE | Interest::ERROR, || {
        RECEIVED.with_borrow_mut(|datagram| {
            datagram.resize(DATAGRAM, 0);
            loop {
                let len = recv(connected.socket.as_raw_fd(), datagram, MsgFlags::MSG_DONTWAIT)?;
                if let Some(received) = examine(&datagram[..len], question, &query, id, manner) {
                    return Ok(received);
                }
                strays += 1;
                server.mismatched();
                tracing::debug!(upstream = %to, len, "a datagram that is not the reply; ignored");
            }
        })
    });
    let received = received.await?;
    if received.respelled {
        server.mismatched();
    } else if strays == 0 {
        // Where nobody guesses.
        server.sockets.put(connected, now());
    }
    Ok(received)
}

/// Sends a query from a socket that no other one waits at. What is asked again, or was not sent, has a new one.
fn send(server: &Server, to: SocketAddr, query: &[u8], manner: Manner) -> io::Result<Connected> {
    if manner.newer_than.is_none()
        && let Some(connected) = server.sockets.take(to, now())?
        && send_now(&connected, query).is_ok()
    {
        return Ok(connected);
    }
    let connected = Connected::new(to)?;
    send_now(&connected, query)?;
    Ok(connected)
}

fn send_now(connected: &Connected, query: &[u8]) -> io::Result<()> {
    Ok(nix::sys::socket::send(connected.socket.as_raw_fd(), query, MsgFlags::MSG_DONTWAIT).map(drop)?)
}

/// The reply, if a datagram is that.
fn examine(datagram: &[u8], question: &Question, query: &[u8], id: u16, manner: Manner) -> Option<Received> {
    if !question.is_answered_by(datagram, id) {
        return None;
    }
    let mut message = datagram.to_vec();
    let (cut, name) = (message.len() == DATAGRAM, question.name_at());
    let mut respelled = false;
    if manner.randomize_case && message.get(name.clone()).is_some_and(|name| name.len() > 1) {
        // A server that changes the spelling, or somebody who does not know it: TCP tells.
        respelled = message.get(4..6) == Some(&[0, 1]) && message[name.clone()] != query[name.clone()];
        restore(&mut message, &query[name.clone()], &question.question[..name.len()]);
    }
    Some(Received { message, cut, respelled, reused: true })
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
pub(super) fn is_ours(error: &io::Error) -> bool {
    let is_want = |errno: Errno| matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM);
    error.get_ref().is_some_and(|cause| cause.is::<OutOfSockets>())
        || error.raw_os_error().is_some_and(|errno| is_want(Errno::from_raw(errno)))
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
