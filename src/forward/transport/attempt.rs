//! One server asked once, by whatever transport it has, and what may come of it.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::tcp::{self, NotConnected};
use super::udp::{UdpQuery, is_ours};
use super::{Connections, now};
use crate::forward::message::{Asker, Question};
use crate::settings::{Address, Transport};
use crate::wire::rcode;

/// Why a server is done with. `Display` is for the log: it may name paths, and quote certificates.
#[derive(Debug, thiserror::Error)]
pub(in crate::forward) enum AttemptError {
    /// It cannot be reached, did not prove who it is, or hung up.
    #[error("{}", said(.0))]
    Network(#[from] io::Error),
    /// It said that it cannot help; the reply says so to the client.
    #[error("answered {}", rcode::mnemonic(*.rcode))]
    Failed {
        /// The response code.
        rcode: u16,
        /// The whole message.
        reply: Arc<[u8]>,
    },
    /// Its reply makes no sense.
    #[error("sent a malformed reply")]
    Malformed,
}

impl AttemptError {
    /// What a client is told (answers.md H6): nothing that a path, a URL or a certificate says.
    pub(in crate::forward) fn brief(&self) -> &'static str {
        let error = match self {
            AttemptError::Network(error) => error,
            AttemptError::Failed { rcode, .. } => return failed(*rcode),
            AttemptError::Malformed => return "sent a malformed reply",
        };
        match error.kind() {
            _ if is_ours(error) => "not asked, out of sockets",
            ErrorKind::ConnectionRefused => "connection refused",
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "unreachable",
            ErrorKind::TimedOut => "timed out",
            // What the TLS library makes of a handshake that fails, for whatever reason.
            ErrorKind::InvalidData if is_not_connected(error) => "TLS handshake failed",
            _ => "connection failed",
        }
    }
}

fn failed(code: u16) -> &'static str {
    match code {
        rcode::SERVFAIL => "answered SERVFAIL",
        rcode::REFUSED => "answered REFUSED",
        rcode::NOTIMP => "answered NOTIMP",
        rcode::FORMERR => "answered FORMERR",
        _ => "answered with an error",
    }
}

/// What an error says to people: its own text where it has one, such as what is wrong with a certificate.
pub(super) fn said(error: &io::Error) -> String {
    match error.get_ref() {
        Some(cause) => cause.to_string(),
        None => error.kind().to_string(),
    }
}

/// True if no connection to the server could be made.
fn is_not_connected(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|cause| cause.is::<NotConnected>())
}

/// True if an error says that the server cannot be reached: all do that come for a datagram, and over a connection those of
/// making it. One that ended at work says nothing: that may be because of what was asked.
pub(in crate::forward) fn is_unreachable(error: &io::Error, is_datagram: bool) -> bool {
    is_datagram || is_not_connected(error)
}

/// A message that is the reply to what was asked.
#[derive(Debug)]
pub(in crate::forward) struct Received {
    /// As it came.
    pub(in crate::forward) message: Arc<[u8]>,
    /// When.
    pub(in crate::forward) at: Instant,
    /// There may be more of it than there was room for.
    pub(in crate::forward) cut: bool,
    /// The name was not spelled as it was sent: not to be trusted.
    pub(in crate::forward) respelled: bool,
    /// No connection had to be made for it, so that the time that it took says how fast the server is.
    pub(in crate::forward) reused: bool,
}

/// How one attempt goes.
#[derive(Debug, Clone, Copy)]
pub(in crate::forward) struct AttemptOptions {
    /// Over a connection, also where the server's transport begins with a datagram.
    pub(in crate::forward) connected: bool,
    /// With an OPT.
    pub(in crate::forward) edns: bool,
    /// With the name spelled at random, in a datagram.
    pub(in crate::forward) randomize_case: bool,
    /// Over a connection that was made later than this: an older one is taken to be dead.
    pub(in crate::forward) newer_than: Option<Instant>,
    /// Whose question it is; `None` for our own, and where nobody says.
    pub(in crate::forward) client: Option<Asker>,
}

impl AttemptOptions {
    /// With an OPT, in the way that the transport begins with.
    pub(in crate::forward) const USUAL: AttemptOptions =
        AttemptOptions { connected: false, edns: true, randomize_case: false, newer_than: None, client: None };
}

type Receiving = Pin<Box<dyn Future<Output = io::Result<Received>> + Send>>;

/// A query that was sent to a server, and the wait for its reply. It waits for ever; dropping it ends the wait.
pub(in crate::forward) struct Attempt {
    /// The server's place in its list.
    pub(in crate::forward) server: usize,
    pub(in crate::forward) options: AttemptOptions,
    /// When it was first sent, and last.
    pub(in crate::forward) first_sent: Instant,
    pub(in crate::forward) sent: Instant,
    connections: Arc<Connections>,
    waiting: Waiting,
}

/// At what it waits.
#[expect(clippy::large_enum_variant, reason = "nearly all are datagrams, and none is to take memory of its own")]
enum Waiting {
    Datagram(UdpQuery),
    Connection(Receiving),
}

impl Attempt {
    /// Asks the server of this place, to which these connections are. `now` is the time.
    ///
    /// # Errors
    /// Those of the system, if a datagram cannot be sent.
    pub(in crate::forward) fn start(
        server: usize,
        connections: &Arc<Connections>,
        question: &Question,
        options: AttemptOptions,
        now: Instant,
    ) -> io::Result<Attempt> {
        connections.traffic.asked();
        let waiting = if connections.is_datagram() && !options.connected {
            let to = socket_address(connections.upstream.address())?;
            Waiting::Datagram(UdpQuery::send(connections, to, question, options, now)?)
        } else {
            Waiting::Connection(Box::pin(connected(connections.clone(), question.clone(), options)))
        };
        Ok(Attempt { server, options, first_sent: now, sent: now, connections: connections.clone(), waiting })
    }

    /// True if it is a datagram.
    pub(in crate::forward) fn is_datagram(&self) -> bool {
        matches!(self.waiting, Waiting::Datagram(_))
    }

    /// True if the datagram was sent more than once.
    pub(in crate::forward) fn is_repeated(&self) -> bool {
        self.sent > self.first_sent
    }

    /// Sends the same datagram again, out of the same socket.
    pub(in crate::forward) fn repeat(&mut self) -> io::Result<()> {
        let Waiting::Datagram(query) = &self.waiting else { return Ok(()) };
        self.connections.traffic.asked();
        self.sent = now();
        query.repeat(&self.connections.traffic)
    }

    /// The end of the wait.
    pub(in crate::forward) fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Received>> {
        let traffic = &self.connections.traffic;
        let ended = ready!(match &mut self.waiting {
            Waiting::Datagram(query) => query.poll_reply(traffic, context),
            Waiting::Connection(receiving) => receiving.as_mut().poll(context),
        });
        if let Ok(received) = &ended {
            let after = received.at.saturating_duration_since(self.sent);
            traffic.tap.reply(!self.is_datagram(), &received.message, after);
        }
        Poll::Ready(ended)
    }

    /// After its reply: the socket may serve another question.
    pub(in crate::forward) fn finish(self, now: Instant) {
        if !self.is_repeated()
            && let Waiting::Datagram(query) = self.waiting
        {
            query.recycle(&self.connections.sockets, now);
        }
    }
}

async fn connected(connections: Arc<Connections>, question: Question, options: AttemptOptions) -> io::Result<Received> {
    match connections.upstream.transport() {
        Transport::Plain | Transport::Tcp => tcp::exchange(&connections, &question, options).await,
        #[cfg(feature = "encrypted")]
        Transport::Tls | Transport::Https | Transport::Quic => tcp::exchange(&connections, &question, options).await,
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

    #[test]
    fn h6_a_client_hears_of_an_error_what_it_was_and_nothing_of_its_text() {
        let secret = "/etc/ssl/SECRET.pem: no certificate in it";
        for (kind, brief) in [
            (ErrorKind::Other, "connection failed"),
            (ErrorKind::InvalidData, "TLS handshake failed"),
            (ErrorKind::TimedOut, "timed out"),
        ] {
            let error = AttemptError::Network(io::Error::new(kind, NotConnected(secret.to_owned())));
            assert_eq!((error.brief(), error.to_string()), (brief, secret.to_owned()));
        }
        assert_eq!(AttemptError::Network(ErrorKind::ConnectionRefused.into()).brief(), "connection refused");
    }
}
