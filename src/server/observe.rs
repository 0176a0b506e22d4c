//! What is told of each query to who wants to see them.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::responder::Rule;
use crate::settings::Upstream;
use crate::wire::message::{self, Header};
use crate::wire::{Query, rtype};

use super::status::ListenerStatus;

/// Where an answer is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// The server's own tables.
    Local,
    /// The cache of upstream answers.
    Cache,
    /// The cache, past its TTL.
    Stale,
    /// An upstream that was asked for it, or could not be.
    Upstream,
    /// Nowhere: the client may not ask, or asks something that is not answered.
    Refused,
    /// Nowhere: there is no reply.
    Dropped,
}

impl Origin {
    /// All of them, in order.
    pub const ALL: [Origin; 6] =
        [Origin::Local, Origin::Cache, Origin::Stale, Origin::Upstream, Origin::Refused, Origin::Dropped];

    /// A word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Local => "local",
            Origin::Cache => "cache",
            Origin::Stale => "stale",
            Origin::Upstream => "upstream",
            Origin::Refused => "refused",
            Origin::Dropped => "dropped",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A query that was answered, or not.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Observed<'q> {
    /// The network whose listener was asked.
    pub network: &'q str,
    /// Where the query arrived.
    pub listener: SocketAddr,
    /// Where it came from.
    pub client: SocketAddr,
    /// The endpoint that asked, where the [listener](super::Listen::for_endpoint) says so.
    pub endpoint: Option<&'q str>,
    /// True if it came over TCP.
    pub tcp: bool,
    /// The query as it came.
    pub query: &'q [u8],
    /// The reply; `None` if there is none.
    pub reply: Option<&'q [u8]>,
    /// The rule that decided.
    pub rule: Rule,
    /// Where the answer is from.
    pub origin: Origin,
    /// The upstream whose answer it is, where that is known.
    pub upstream: Option<&'q Upstream>,
    /// From its arrival until its reply was made.
    pub duration: Duration,
}

/// Sees the queries of a server; see [`ServerBuilder::observer`](super::ServerBuilder::observer).
///
/// It is called on the worker threads, after the replies of a batch have been sent: it delays the next batch.
pub trait Observer: fmt::Debug + Send + Sync {
    /// False while there is nothing to see: then nothing is gathered for it. Asked for each batch of queries.
    fn is_on(&self) -> bool {
        true
    }

    /// Sees one query.
    fn observe(&self, query: &Observed<'_>);

    /// Called when a listener comes up, or fails and will be retried. Called also while the observer is [off](Observer::is_on),
    /// and perhaps by a call that adds or changes a network: it must not wait for another such call.
    fn listener(&self, listener: &ListenerStatus) {
        let _ = listener;
    }

    /// Sees that the server begins to stop.
    fn stopping(&self) {}
}

impl<'q> Observed<'q> {
    /// What was asked; `None` if the query could not be read.
    pub fn question(&self) -> Option<Query<'q>> {
        Query::parse(self.query).ok()
    }

    /// The response code with its upper bits, if there is a reply.
    pub fn rcode(&self) -> Option<u16> {
        let reply = self.reply?;
        let header = Header::read(reply)?;
        let opt = message::records(reply).flatten().find(|record| record.rtype == rtype::OPT);
        Some(opt.map_or(0, |opt| (opt.ttl >> 24) as u16) << 4 | header.rcode())
    }

    /// A query that got no reply yet, for tests and for those who make their own.
    pub fn new(network: &'q str, listener: SocketAddr, client: SocketAddr, query: &'q [u8]) -> Observed<'q> {
        Observed {
            network,
            listener,
            client,
            endpoint: None,
            tcp: false,
            query,
            reply: None,
            rule: Rule::default(),
            origin: Origin::Dropped,
            upstream: None,
            duration: Duration::ZERO,
        }
    }
}
