//! What the store is told: `[store]` of the configuration.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::wire::Name;

/// How names are shared with other hosts, through etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreOptions {
    /// The members of the cluster: `https://10.77.0.1:2379`. One is asked at a time.
    pub etcd: Vec<String>,
    /// The authorities that sign the members' certificates; `None` for the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key, in PEM; with etcd's own authentication its common name is the user.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A user of etcd's, and the file that holds the password.
    pub user: Option<(String, PathBuf)>,
    /// What all keys begin with, without the version: `/callsign`.
    pub prefix: String,
    /// This host's name: letters, digits, `-` and dots, in lower case.
    pub host: String,
    /// The addresses of this host where the others reach what it publishes; empty for the one from which etcd is reached.
    pub address: Vec<IpAddr>,
    /// How long this host counts after its last sign of life, 5 to 600 s.
    pub ttl: Duration,
    /// How long names are kept when many hosts vanish at once; at least twice the `ttl`.
    pub hold: Duration,
    /// How long names of a lost host are "not running" before they are unknown.
    pub linger: Duration,
    /// How long a start waits for the first reading.
    pub wait: Duration,
    /// Where the last known state is kept; `None` for nowhere.
    pub state: Option<PathBuf>,
    /// Domains of which no other host may have names: those of `[[forward]]`.
    pub reserved: Vec<Name>,
    /// Between two full readings; each is up to a fifth earlier or later.
    pub reconcile: Duration,
}

impl StoreOptions {
    /// What is usual, for a host with this name and these members.
    pub fn new(host: impl Into<String>, etcd: Vec<String>) -> StoreOptions {
        StoreOptions {
            etcd,
            ca: None,
            certificate: None,
            user: None,
            prefix: "/callsign".to_owned(),
            host: host.into(),
            address: Vec::new(),
            ttl: Duration::from_secs(30),
            hold: Duration::from_secs(60),
            linger: Duration::from_secs(300),
            wait: Duration::from_secs(5),
            state: None,
            reserved: Vec::new(),
            reconcile: Duration::from_secs(600),
        }
    }
}
