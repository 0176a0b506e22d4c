//! Forwarding: the default upstreams, the routes, the cache, and how long a query may take.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::wire::Name;

use super::{Order, Upstream};

/// The options of a forwarder: where queries go, and how long they may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardOptions {
    /// The time for one query, across all servers and attempts: an answer within it counts, and one that arrives up to
    /// 5 s later goes into the cache. Default: 4 s, because a stub resolver gives up after 5 s.
    pub timeout: Duration,
    /// How one of several servers is chosen. Default: as listed.
    pub order: Order,
    /// What clients hear when no server answers. Default: SERVFAIL.
    pub unanswered: Unanswered,
    /// Randomize the case of names in datagrams (0x20), which makes replies harder to forge; the client gets its own spelling
    /// back. A server that does not preserve the case is asked over TCP. Default: false.
    pub case_randomization: bool,
    /// The minimum time between checks of a followed resolv.conf, which is checked when a query arrives. Default: 1 s.
    pub recheck: Duration,
    /// The servers where no route, endpoint or network has its own. Default: those of `/etc/resolv.conf`.
    pub upstreams: Upstreams,
    /// Domains with servers of their own. Of two with the same domain the later one counts.
    pub routes: Vec<Route>,
    /// Octets that the cache may take; 0 turns it off. Default: 16 MiB.
    pub cache_size: usize,
    /// The minimum TTL in the cache, except for negative answers. Whole seconds. Default: 0.
    pub min_ttl: Duration,
    /// The maximum TTL in the cache. Whole seconds. Default: 1 day; RFC 8767 §4 recommends a cap of 7 days.
    pub max_ttl: Duration,
    /// How long past its TTL an answer may be given when upstreams do not answer (RFC 8767); 0 turns that off. Default: 1
    /// day.
    pub stale_for: Duration,
    /// How long upstreams may take before an answer past its TTL is given. Default: 1.8 s (RFC 8767 §5).
    pub stale_after: Duration,
    /// Distinct queries that may be in flight at a time; further ones fail at once. Those that only wait for a late answer
    /// count too, and give way to others, the oldest first. Default: 4,224, of which a server's clients may use 4,096.
    pub in_flight: usize,
}

const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for ForwardOptions {
    fn default() -> ForwardOptions {
        ForwardOptions {
            timeout: Duration::from_secs(4),
            order: Order::default(),
            unanswered: Unanswered::default(),
            case_randomization: false,
            recheck: Duration::from_secs(1),
            upstreams: Upstreams::default(),
            routes: Vec::new(),
            cache_size: 16 << 20,
            min_ttl: Duration::ZERO,
            max_ttl: A_DAY,
            stale_for: A_DAY,
            stale_after: Duration::from_millis(1800),
            in_flight: 4224,
        }
    }
}

/// What clients hear when no server answers, and there is no answer past its TTL either
/// ([`ForwardOptions::stale_for`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum Unanswered {
    /// SERVFAIL, with an extended error that says what each server did.
    #[default]
    ServFail,
    /// Nothing: each time the client repeats its query, upstreams are asked again, until it gives up.
    Silence,
}

/// The default servers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Upstreams {
    /// The first three name servers of a file in the form of resolv.conf(5), followed as it changes.
    System(PathBuf),
    /// These.
    List(Vec<Upstream>),
}

/// The host's own list of name servers.
pub(crate) const RESOLV_CONF: &str = "/etc/resolv.conf";

impl Default for Upstreams {
    fn default() -> Upstreams {
        Upstreams::System(RESOLV_CONF.into())
    }
}

impl From<Vec<Upstream>> for Upstreams {
    fn from(list: Vec<Upstream>) -> Upstreams {
        Upstreams::List(list)
    }
}

impl FromIterator<Upstream> for Upstreams {
    fn from_iter<I: IntoIterator<Item = Upstream>>(list: I) -> Upstreams {
        Upstreams::List(list.into_iter().collect())
    }
}

/// A domain whose queries go to servers of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The domain: it and all below it. The root stands for every name.
    pub domain: Name,
    /// Where its queries go.
    pub to: Destination,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Destination {
    /// To the default servers, whatever the endpoint or its networks prefer.
    System,
    /// To these, in order. Empty: nowhere, the names are blocked (NXDOMAIN, EDE 15).
    Servers(Arc<[Upstream]>),
}
