//! Collecting a network.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::endpoint::{Endpoint, relative_names};
use super::error::{FirstError, TableError};
use super::network::Network;
use super::record::Record;
use super::settings::{Clients, HealthPolicy, Merge, ReverseNames, Settings};
use super::snapshot::Snapshot;
use super::{Address, Upstream};

/// Collects a [`Network`]; the first mistake is reported by [`build`](NetworkBuilder::build).
#[derive(Debug, Clone)]
pub struct NetworkBuilder {
    name: String,
    settings: Settings,
    gateways_given: bool,
    upstreams: Vec<Upstream>,
    records: Vec<Record>,
    endpoints: Vec<Endpoint>,
    /// The network that this was before.
    base: Option<Arc<Snapshot>>,
    error: FirstError,
}

impl NetworkBuilder {
    pub(super) fn new(name: String) -> NetworkBuilder {
        NetworkBuilder {
            name,
            settings: Settings::default(),
            gateways_given: false,
            upstreams: Vec::new(),
            records: Vec::new(),
            endpoints: Vec::new(),
            base: None,
            error: FirstError::default(),
        }
    }

    /// All that a network has.
    pub(super) fn from_snapshot(name: &str, snapshot: Arc<Snapshot>) -> NetworkBuilder {
        let settings = (*snapshot.settings).clone();
        NetworkBuilder {
            gateways_given: settings.gateways != gateways_of(&settings.listen),
            upstreams: settings.upstreams.to_vec(),
            records: snapshot.records.to_vec(),
            endpoints: snapshot.endpoints().cloned().collect(),
            settings,
            base: Some(snapshot),
            ..NetworkBuilder::new(name.to_owned())
        }
    }

    /// Adds a subnet, such as `172.18.0.0/16`.
    pub fn subnet(mut self, subnet: &str) -> NetworkBuilder {
        let subnet = self.error.take(parse_subnet(subnet));
        self.settings.subnets.extend(subnet);
        self
    }

    /// Adds an address to listen on, such as `172.18.0.1`; the port, where none is given, is the server's.
    pub fn listen(mut self, address: &str) -> NetworkBuilder {
        let address = self.error.take(address.parse::<Address>());
        self.settings.listen.extend(address);
        self
    }

    /// Adds an address of the host as seen from the network, for the gateway's names. Without any, the listen addresses
    /// are taken.
    pub fn gateway(mut self, gateway: &str) -> NetworkBuilder {
        let ip = self.error.take(gateway.parse::<IpAddr>().map_err(|_| TableError::Ip(gateway.to_owned())));
        self.settings.gateways.extend(ip);
        self.gateways_given = true;
        self
    }

    /// Adds a domain of the network's own, such as `internal`.
    pub fn domain(mut self, domain: &str) -> NetworkBuilder {
        for domain in self.error.take(relative_names(domain)).into_iter().flatten() {
            if !self.settings.domains.contains(&domain) {
                self.settings.domains.push(domain);
            }
        }
        self
    }

    /// Says that nothing may be forwarded for clients of this network alone.
    pub fn internal(mut self, internal: bool) -> NetworkBuilder {
        self.settings.internal = internal;
        self
    }

    /// Adds an upstream of the network's own.
    pub fn upstream(mut self, upstream: &str) -> NetworkBuilder {
        let upstream = self.error.take(upstream.parse::<Upstream>());
        self.upstreams.extend(upstream);
        self
    }

    /// Adds upstreams of the network's own.
    pub fn upstreams(mut self, upstreams: impl IntoIterator<Item = Upstream>) -> NetworkBuilder {
        self.upstreams.extend(upstreams);
        self
    }

    /// Adds a subnet to those that may ask. The first one replaces the default (answers.md V4).
    pub fn allow(mut self, subnet: &str) -> NetworkBuilder {
        if let Some(subnet) = self.error.take(parse_subnet(subnet)) {
            self.settings.allow.get_or_insert_default().push(subnet);
        }
        self
    }

    /// Forgets the subnets that may ask: the default holds, or what is added from here on.
    pub fn without_allow(mut self) -> NetworkBuilder {
        self.settings.allow = None;
        self
    }

    /// Forgets the upstreams: the server's hold, or what is added from here on.
    pub fn without_upstreams(mut self) -> NetworkBuilder {
        self.upstreams.clear();
        self
    }

    /// Lets `name` stand for `target` while no endpoint is called `name` (answers.md N9).
    pub fn alias(mut self, name: &str, target: &str) -> NetworkBuilder {
        match self.error.take(Record::alias(name, target)) {
            Some(record) => self.record(record),
            None => self,
        }
    }

    /// Adds a static record. A CNAME is an [alias](NetworkBuilder::alias).
    pub fn record(mut self, record: Record) -> NetworkBuilder {
        self.records.extend(record.with_a_labels());
        self
    }

    /// Sets the gateway's names; none turns them off (answers.md N10).
    pub fn host_names(mut self, names: impl IntoIterator<Item = impl AsRef<str>>) -> NetworkBuilder {
        let names: Result<Vec<_>, TableError> = names.into_iter().map(|name| relative_names(name.as_ref())).collect();
        if let Some(names) = self.error.take(names) {
            self.settings.host_names = names.into_iter().flatten().collect();
        }
        self
    }

    /// Sets the TTL of positive answers, seconds; 0 unless said otherwise.
    pub fn ttl(mut self, ttl: u32) -> NetworkBuilder {
        self.settings.ttl = self.error.take(check_ttl(ttl)).unwrap_or_default();
        self
    }

    /// Sets the TTL of negative answers, seconds; 0 unless said otherwise.
    pub fn negative_ttl(mut self, ttl: u32) -> NetworkBuilder {
        self.settings.negative_ttl = self.error.take(check_ttl(ttl)).unwrap_or_default();
        self
    }

    /// Sets whose clients are known at the network's gateway.
    pub fn clients(mut self, clients: Clients) -> NetworkBuilder {
        self.settings.clients = clients;
        self
    }

    /// Sets what happens when several networks of a client's view know a name.
    pub fn merge(mut self, merge: Merge) -> NetworkBuilder {
        self.settings.merge = merge;
        self
    }

    /// Sets the names that a reverse look-up gives.
    pub fn reverse_names(mut self, names: ReverseNames) -> NetworkBuilder {
        self.settings.reverse_names = names;
        self
    }

    /// Sets how long a question waits for an endpoint that is about to run, up to [`MAX_HOLD`](super::MAX_HOLD); zero, the
    /// default, for not at all (answers.md N11).
    pub fn hold(mut self, hold: std::time::Duration) -> NetworkBuilder {
        self.settings.hold = hold.min(super::MAX_HOLD);
        self
    }

    /// Says that the network itself spans hosts, as an overlay does.
    pub fn spans_hosts(mut self, spans: bool) -> NetworkBuilder {
        self.settings.spans_hosts = spans;
        self
    }

    /// Edits how the network is shared with other hosts; nothing comes of it where it is not.
    pub fn edit_sharing(mut self, edit: impl FnOnce(&mut super::Sharing)) -> NetworkBuilder {
        if let Some(sharing) = &mut self.settings.sharing {
            edit(Arc::make_mut(sharing));
        }
        self
    }

    /// Says that the network is shared with other hosts, and how (answers.md N8b).
    pub fn sharing(mut self, sharing: Option<super::Sharing>) -> NetworkBuilder {
        self.settings.sharing = sharing.map(Arc::new);
        self
    }

    /// Sets what an endpoint's health does to its addresses.
    pub fn health(mut self, policy: HealthPolicy) -> NetworkBuilder {
        self.settings.health = policy;
        self
    }

    /// Adds an endpoint that is there from the start.
    pub fn endpoint(mut self, endpoint: Endpoint) -> NetworkBuilder {
        self.endpoints.push(endpoint);
        self
    }

    /// The network.
    ///
    /// # Errors
    /// The first part that was not understood, [`TableError::NoNetworkName`] or [`TableError::NetworkName`].
    pub fn build(mut self) -> Result<Network, TableError> {
        self.error.into_result()?;
        if self.name.is_empty() {
            return Err(TableError::NoNetworkName);
        }
        if self.name.chars().any(char::is_control) {
            return Err(TableError::NetworkName(self.name));
        }
        if !self.gateways_given {
            self.settings.gateways = gateways_of(&self.settings.listen);
        }
        self.settings.upstreams = self.upstreams.into();
        let network = Network::new(
            &self.name,
            Snapshot::new(0, &self.name, Arc::new(self.settings), self.records.into(), Arc::default()),
            self.base,
        );
        network.replace_all(self.endpoints)?;
        Ok(network)
    }
}

/// The gateways of a network that names none.
pub(super) fn gateways_of(listen: &[Address]) -> Vec<IpAddr> {
    listen.iter().map(Address::ip).filter(|ip| !ip.is_unspecified()).collect()
}

/// A prefix; an address alone is a prefix of full length.
fn parse_subnet(text: &str) -> Result<IpNet, TableError> {
    text.parse::<IpNet>()
        .map(|subnet| subnet.trunc())
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| TableError::Subnet(text.to_owned()))
}

fn check_ttl(ttl: u32) -> Result<u32, TableError> {
    if ttl <= i32::MAX as u32 { Ok(ttl) } else { Err(TableError::Ttl(ttl)) }
}
