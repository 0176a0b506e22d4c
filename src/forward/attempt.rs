//! One server asked once: the sockets.
//!
//! UDP from a fresh socket each time: bound to port 0, so that the port is as hard to guess as the ID (RFC 5452 §9.2), and
//! connected, so that the kernel drops what comes from elsewhere and ICMP errors end the wait at once.
//!
//! TCP is a plain two-octet-length exchange, not hickory's `DnsExchange`: that one takes no raw query, and passes on a
//! reply only if it can decode the data of every record in it, which a relay of unknown and odd types must not depend on
//! (hickory-net 0.26.3, `DnsMultiplexer::poll_next`: what does not decode is dropped and the question times out).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::{Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::query::{Meaning, Question, meaning};
use crate::table::{Address, Upstream};
use crate::wire::rcode;

/// Room for a datagram. We offer 1,232 octets; a server that sends more than fits here is asked over TCP.
const DATAGRAM: usize = 4096;

/// Why a server is done with.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// It cannot be reached, or hung up.
    #[error("{}", .0.kind())]
    Network(#[from] io::Error),
    /// It said that it cannot help; the reply says so to the client.
    #[error("answered {}", rcode::mnemonic(*.rcode))]
    Failed {
        /// The response code.
        rcode: u16,
        /// The whole message.
        reply: Vec<u8>,
    },
    /// Its reply makes no sense.
    #[error("sent a malformed reply")]
    Malformed,
}

/// Where a truncated reply is kept while the whole one is fetched over TCP: all that there is to say if that fails.
pub(super) type Truncated = Mutex<Option<Vec<u8>>>;

/// Asks `upstream` until it replies or fails; the caller ends the wait.
pub(super) async fn attempt(
    upstream: &Upstream,
    question: &Question,
    truncated: &Truncated,
) -> Result<Vec<u8>, Problem> {
    let to = socket_address(upstream.address())?;
    let mut edns = true;
    let mut tcp = false;
    loop {
        let reply = if tcp { over_tcp(to, question, edns).await? } else { over_udp(to, question, edns).await? };
        let full = !tcp && reply.len() == DATAGRAM;
        match meaning(&reply) {
            Meaning::NoEdns if edns => edns = false,
            Meaning::NoEdns => return Err(Problem::Failed { rcode: rcode::FORMERR, reply }),
            Meaning::Truncated { whole } if !tcp => {
                if whole && !full {
                    truncated.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reply);
                }
                tcp = true;
            }
            _ if full => tcp = true,
            Meaning::Truncated { whole: true } | Meaning::Final => return Ok(reply),
            Meaning::Truncated { whole: false } | Meaning::Malformed => return Err(Problem::Malformed),
            Meaning::Failed(rcode) => return Err(Problem::Failed { rcode, reply }),
        }
    }
}

/// One datagram there, and the first one back that is the reply to it.
async fn over_udp(to: SocketAddr, question: &Question, edns: bool) -> io::Result<Vec<u8>> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(to).await?;
    let id = random_id()?;
    socket.send(&question.query(id, edns)).await?;
    let mut datagram = vec![0; DATAGRAM];
    loop {
        let len = socket.recv(&mut datagram).await?;
        if question.is_answered_by(&datagram[..len], id) {
            datagram.truncate(len);
            return Ok(datagram);
        }
        tracing::debug!(upstream = %to, len, "a datagram that is not the reply; ignored");
    }
}

/// The same over a connection of its own (RFC 7766 §8).
async fn over_tcp(to: SocketAddr, question: &Question, edns: bool) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let id = random_id()?;
    let query = question.query(id, edns);
    let mut framed = (query.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(&query);
    stream.write_all(&framed).await?;
    loop {
        let len = stream.read_u16().await?;
        // At most 64 KiB, and only of a server that we chose to ask.
        let mut message = vec![0; usize::from(len)];
        stream.read_exact(&mut message).await?;
        if question.is_answered_by(&message, id) {
            return Ok(message);
        }
        tracing::debug!(upstream = %to, len, "a message that is not the reply; ignored");
    }
}

fn random_id() -> io::Result<u16> {
    Ok(getrandom::u32()? as u16)
}

/// The address to connect to. A zone is looked up each time: interfaces come and go, and get another index.
fn socket_address(address: &Address) -> io::Result<SocketAddr> {
    let port = address.port().unwrap_or(53);
    match (address.ip(), address.zone()) {
        (IpAddr::V6(ip), Some(zone)) => Ok(SocketAddrV6::new(ip, port, 0, zone_index(zone)?).into()),
        (ip, _) => Ok(SocketAddr::new(ip, port)),
    }
}

/// The index of an interface by its name, or of its decimal index.
pub(crate) fn zone_index(zone: &str) -> io::Result<u32> {
    match nix::net::if_::if_nametoindex(zone) {
        Ok(index) => Ok(index),
        Err(error) => zone.parse().map_err(|_| error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_a_name_or_an_index() {
        assert_eq!(zone_index("lo").unwrap(), 1);
        assert_eq!(zone_index("12").unwrap(), 12);
        assert!(zone_index("no-such-interface").is_err());
        let address = socket_address(&"[fe80::1%lo]:5300".parse().unwrap()).unwrap();
        assert_eq!(address, "[fe80::1%1]:5300".parse().unwrap());
    }
}
