//! One datagram to a server, and its reply.
//!
//! # How hard it is to forge a reply
//!
//! An attacker who cannot see the query has to guess it. Each query has an ID from the kernel's CSPRNG (16 bits) and a
//! socket of its own, bound by the kernel to a port that it draws at random from `net.ipv4.ip_local_port_range`: 28,232
//! ports where nobody changed it, 14.78 bits. That makes 2^30.78 combinations for one query. The socket is connected, so
//! that the kernel drops whatever has another source than the server's address and port.
//!
//! A question that is not answered is asked again, from a new socket with a new ID, at most 12 times of one server
//! (`policy`), and every one of these may be hit: 2^30.78 / 12 = 2^27.2, still above 2^26, for each server address that is
//! forged. Identical questions of many clients do not multiply this: they are asked once. With `case_randomization` each
//! letter of the name adds a bit.
//!
//! What does not match is counted and ignored, and the wait goes on: a wrong guess ends nothing.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use tokio::net::UdpSocket;

use super::attempt::Received;
use super::query::Question;
use super::server::Server;
use crate::wire::message::HEADER;

/// Room for a datagram. We offer 1,232 octets; a server that sends more than fits here is asked over TCP.
const DATAGRAM: usize = 4096;

/// One datagram there, and the first one back that is the reply to it.
pub(super) async fn exchange(
    server: &Server,
    to: SocketAddr,
    question: &Question,
    edns: bool,
    randomize_case: bool,
) -> io::Result<Received> {
    let id = random_id()?;
    let mut query = question.query(id, edns);
    let name = HEADER..HEADER + question.question.len().saturating_sub(4);
    if randomize_case {
        spell_at_random(&mut query[name.clone()])?;
    }
    let socket = socket(to)?;
    socket.send(&query)?;
    let socket = UdpSocket::from_std(socket)?;
    let mut message = Vec::with_capacity(DATAGRAM);
    loop {
        message.clear();
        socket.recv_buf(&mut message).await?;
        if !question.is_answered_by(&message, id) {
            server.mismatched();
            tracing::debug!(upstream = %to, len = message.len(), "a datagram that is not the reply; ignored");
            continue;
        }
        let cut = message.len() == DATAGRAM;
        let mut respelled = false;
        if randomize_case && message.get(name.clone()).is_some_and(|name| name.len() > 1) {
            // A server that changes the spelling, or somebody who does not know it: TCP tells.
            respelled = message.get(4..6) == Some(&[0, 1]) && message[name.clone()] != query[name.clone()];
            if respelled {
                server.mismatched();
            }
            restore(&mut message, &query[name.clone()], &question.question[..name.len()]);
        }
        return Ok(Received { message, cut, respelled, reused: true });
    }
}

/// A socket of its own, connected. The kernel chooses a random port as it connects.
fn socket(to: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM.nonblocking(), None)?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}

/// An ID that nobody can guess.
pub(super) fn random_id() -> io::Result<u16> {
    Ok(getrandom::u32()? as u16)
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
