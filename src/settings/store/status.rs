//! How the store stands, as plain values for whoever shows it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// How the store stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStatus {
    /// Whether it is followed.
    pub link: LinkStatus,
    /// The member that is asked, or was last.
    pub member: Option<String>,
    /// The revision up to which all is known; 0 while nothing is.
    pub revision: i64,
    /// The store's own name of the cluster.
    pub cluster_id: u64,
    /// When what is known was last known to be all that there is: now, while the store is followed.
    pub synced: Option<SystemTime>,
    /// True while what is known comes from the state file.
    pub is_from_file: bool,
    /// This host's name.
    pub host: String,
    /// What this host publishes.
    pub claim: ClaimStatus,
    /// Endpoints of this host that are in the store.
    pub published: usize,
    /// The other hosts, by name.
    pub hosts: BTreeMap<String, HostStatus>,
    /// Names are held because so many hosts vanished at once that the store is to blame.
    pub is_holding: bool,
    /// Networks whose setting collides with another host's, each with what to do.
    pub conflicts: Vec<String>,
    /// Endpoints of other hosts that are in force.
    pub remote_endpoints: usize,
    /// Values and names that were refused, by reason: `value`, `key`, `limit`, `address`, `name`, `accept`.
    pub refused: BTreeMap<&'static str, u64>,
    /// Full readings, by reason: `start`, `reconcile`, `compacted`, `gap`, `restored`, `cluster`.
    pub resyncs: BTreeMap<&'static str, u64>,
    /// Writes, by result: `done`, `lost`, `unknown`, `denied`.
    pub publishes: BTreeMap<&'static str, u64>,
    /// How long the last change of this host took until the store had it.
    pub propagation: Option<Duration>,
}

/// Whether the store is followed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkStatus {
    /// It was not reached yet.
    #[default]
    Starting,
    /// Every change is seen as it happens.
    Live {
        /// Since when.
        since: SystemTime,
    },
    /// It does not answer: what is known stays in force.
    Away {
        /// Since when.
        since: SystemTime,
        /// What the last attempt came to.
        error: String,
    },
}

/// What this host publishes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimStatus {
    /// Nothing yet.
    #[default]
    Unclaimed,
    /// Its networks and endpoints.
    Claimed {
        /// Its lease.
        lease: i64,
        /// The number of its last write.
        seq: u64,
    },
    /// A write was not answered: it may have happened.
    Doubtful,
    /// Nothing: another machine has this host's name.
    Refused {
        /// What is the matter, and what to do.
        reason: String,
    },
}

/// Another host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostStatus {
    /// How it is.
    pub state: HostState,
    /// For how long it has been so; not counting the time in which the store was away.
    pub since: Duration,
    /// Where what it publishes is reached.
    pub addresses: Vec<IpAddr>,
    /// Its callsign.
    pub version: String,
    /// Its shared networks.
    pub networks: Vec<String>,
    /// Its endpoints that are known here.
    pub endpoints: usize,
    /// Of these, in networks that this host has, and so in force.
    pub in_force: usize,
    /// Values and names of it that were refused.
    pub refused: u64,
    /// What a person should know of it.
    pub remark: Option<String>,
}

/// How another host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum HostState {
    /// It is there.
    Live,
    /// Its keys are gone; it may be back in a moment, so its names are answered.
    Missing,
    /// Its keys are gone, with those of many others: its names are answered, since the store is to blame.
    Held,
    /// It is lost: its names are known, and have no addresses.
    Lost,
    /// It says that it stops.
    Leaving,
}

impl HostState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            HostState::Live => "live",
            HostState::Missing => "missing",
            HostState::Held => "held",
            HostState::Lost => "lost",
            HostState::Leaving => "leaving",
        }
    }
}
