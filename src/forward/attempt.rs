//! One server asked once, by whatever transport it has, and what may come of it.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Instant;

use super::query::Question;
use super::server::Server;
use super::{datagram, stream};
use crate::table::{Address, Transport};
use crate::wire::rcode;

/// Why a server is done with.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// It cannot be reached, did not prove who it is, or hung up.
    #[error("{}", said(.0))]
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

/// What an error says to people: its own text where it has one, such as what is wrong with a certificate.
fn said(error: &io::Error) -> String {
    match error.get_ref() {
        Some(cause) => cause.to_string(),
        None => error.kind().to_string(),
    }
}

/// A message that is the reply to what was asked.
#[derive(Debug)]
pub(super) struct Received {
    /// As it came.
    pub(super) message: Vec<u8>,
    /// There may be more of it than there was room for.
    pub(super) cut: bool,
    /// The name was not spelled as it was sent: not to be trusted.
    pub(super) respelled: bool,
    /// No connection had to be made for it, so that the time that it took says how fast the server is.
    pub(super) reused: bool,
}

/// How one attempt goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// Over a connection, also where the server's transport begins with a datagram.
    pub(super) connected: bool,
    /// With an OPT.
    pub(super) edns: bool,
    /// With the name spelled at random, in a datagram.
    pub(super) randomize_case: bool,
    /// Over a connection or from a socket that was made later than this: an older one is taken to be dead.
    pub(super) newer_than: Option<Instant>,
}

/// Asks once. Waits for the reply for ever; the caller ends the wait.
pub(super) async fn attempt(server: &Arc<Server>, question: &Question, manner: Manner) -> io::Result<Received> {
    match server.upstream.transport() {
        Transport::Plain if !manner.connected => {
            let to = socket_address(server.upstream.address())?;
            datagram::exchange(server, to, question, manner).await
        }
        Transport::Plain | Transport::Tcp => stream::exchange(server, question, manner).await,
        #[cfg(feature = "encrypted")]
        Transport::Tls | Transport::Https | Transport::Quic => stream::exchange(server, question, manner).await,
        #[cfg(not(feature = "encrypted"))]
        Transport::Tls | Transport::Https | Transport::Quic => {
            Err(io::Error::other("this build has no encrypted transports (feature `encrypted`)"))
        }
    }
}

/// The address to connect to. A zone is looked up each time: interfaces come and go, and get another index.
pub(super) fn socket_address(address: &Address) -> io::Result<SocketAddr> {
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
