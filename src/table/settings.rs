//! What is said of a network as a whole, as against its endpoints.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::wire::Name;

use super::{Address, Sharing, Upstream};

/// Several networks of a client's view know a name (answers.md V5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Merge {
    /// The first network that knows it answers alone.
    #[default]
    Nearest,
    /// The addresses of each, in view order.
    All,
}

/// Whose clients are known at a network's gateway (answers.md V1 to V3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Clients {
    /// The network's own endpoints; everybody else is a stranger, who sees this network only.
    #[default]
    Listener,
    /// Those of every network of the table that has this setting, or [`Identify`](Clients::Identify): such an endpoint sees
    /// its own networks, whichever gateway it asks, and the listener's network only if it is on it. An unknown address in
    /// the subnet of such a network is a stranger of that network (answers.md V2a). Addresses must lead to one endpoint from
    /// everywhere, so the networks' subnets must not overlap.
    Table,
    /// The network only tells who a client is, as Docker's `docker_gwbridge` does: an endpoint that asks from its address
    /// here sees the other networks that its id is attached to. The network itself is part of no view, and strangers of it
    /// are refused.
    Identify,
}

impl Clients {
    /// True if the network's endpoints are known at the gateways of other networks.
    pub(crate) fn are_known_elsewhere(self) -> bool {
        self != Clients::Listener
    }
}

/// The names that a reverse look-up gives (answers.md T3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ReverseNames {
    /// The first name, with the network's first domain.
    #[default]
    Canonical,
    /// Every name, bare.
    All,
}

/// What an endpoint's health does to its addresses (answers.md N8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum HealthPolicy {
    /// Healthy endpoints if there are any, else all.
    #[default]
    Prefer,
    /// Health is not looked at.
    Ignore,
    /// Healthy endpoints or nothing.
    Require,
}

/// Everything about a network but its name and its endpoints. Made by [`NetworkBuilder`](super::NetworkBuilder), and edited
/// by [`Change::settings`](super::Change::settings).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The network's subnets: reverse names inside them are ours, and clients inside them may ask.
    pub subnets: Vec<IpNet>,
    /// Where the network's responder listens.
    pub listen: Vec<Address>,
    /// The addresses of the host as seen from the network; the listen addresses unless given.
    pub gateways: Vec<IpAddr>,
    /// The network's own domains: unknown names below them do not exist (answers.md N5).
    pub domains: Vec<Name>,
    /// True if nothing may be forwarded for clients of this network alone (answers.md F1).
    pub internal: bool,
    /// The network's upstreams; empty for the host's (answers.md F2).
    pub upstreams: Arc<[Upstream]>,
    /// Who may ask; `None` for the default (answers.md V4).
    pub allow: Option<Vec<IpNet>>,
    /// Names of the gateway (answers.md N10).
    pub host_names: Vec<Name>,
    /// TTL of positive answers, seconds (answers.md H2).
    pub ttl: u32,
    /// TTL of negative answers, seconds (answers.md H3).
    pub negative_ttl: u32,
    /// See [`Clients`].
    pub clients: Clients,
    /// See [`Merge`].
    pub merge: Merge,
    /// See [`ReverseNames`].
    pub reverse_names: ReverseNames,
    /// See [`HealthPolicy`].
    pub health: HealthPolicy,
    /// How long a question for the address of an endpoint that is about to run waits for it (answers.md N11); zero for not
    /// at all. At most [`MAX_HOLD`].
    pub hold: Duration,
    /// True if the network itself spans hosts, as an overlay does: its subnets are the same on all of them.
    pub spans_hosts: bool,
    /// How the network is shared with other hosts; `None` if it is not.
    pub sharing: Option<Arc<Sharing>>,
}

/// The longest [`Settings::hold`]: those who ask give up after 4 to 5 s (answers.md N11).
pub const MAX_HOLD: Duration = Duration::from_millis(3500);

impl Settings {
    /// Makes values beyond their bounds these bounds.
    pub(super) fn bound(&mut self) {
        for ttl in [&mut self.ttl, &mut self.negative_ttl] {
            *ttl = (*ttl).min(i32::MAX as u32);
        }
        self.hold = self.hold.min(MAX_HOLD);
    }

    /// The subnets whose unknown addresses are strangers of this network at every gateway (answers.md V2a).
    pub(crate) fn subnets_with_strangers(&self) -> &[IpNet] {
        if self.clients == Clients::Table { &self.subnets } else { &[] }
    }
}

/// The names of the gateway unless others are given (answers.md N10).
const HOST_NAMES: [&str; 3] = ["host.docker.internal", "gateway.docker.internal", "host.containers.internal"];

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            subnets: Vec::new(),
            listen: Vec::new(),
            gateways: Vec::new(),
            domains: Vec::new(),
            internal: false,
            upstreams: Arc::default(),
            allow: None,
            host_names: HOST_NAMES.iter().filter_map(|name| name.parse().ok()).collect(),
            ttl: 0,
            negative_ttl: 0,
            clients: Clients::default(),
            merge: Merge::default(),
            reverse_names: ReverseNames::default(),
            health: HealthPolicy::default(),
            hold: Duration::ZERO,
            spans_hosts: false,
            sharing: None,
        }
    }
}
