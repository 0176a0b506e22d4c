//! What this host publishes: the endpoints of its shared networks, as the table has them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::table::{Endpoint, Event, NameTable, Network, Reach, Sharing};

use super::own::Own;
use super::record::{EndpointRecord, Keys, MAX_VALUE, PortRecord, SharedNetwork};

/// The shared networks, by the names that they have for other hosts.
pub(super) type SharedNetworks = BTreeMap<Box<str>, (Arc<Network>, Arc<Sharing>)>;

/// Follows the table.
#[derive(Debug)]
pub(super) struct Publisher {
    keys: Keys,
    shared: SharedNetworks,
    /// By network: the keys of what is published, by id.
    published: BTreeMap<Box<str>, BTreeMap<Box<str>, String>>,
    /// When each endpoint was first seen, in seconds since 1970.
    since: BTreeMap<String, u64>,
    /// What may have changed: networks as a whole, and endpoints of others.
    whole: BTreeSet<Box<str>>,
    some: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
    /// Networks may have come, gone, or be shared otherwise.
    is_new: bool,
    addresses: Vec<IpAddr>,
    notices: Vec<String>,
    told: BTreeSet<String>,
}

impl Publisher {
    pub(super) fn new(keys: Keys) -> Publisher {
        Publisher {
            keys,
            shared: SharedNetworks::new(),
            published: BTreeMap::new(),
            since: BTreeMap::new(),
            whole: BTreeSet::new(),
            some: BTreeMap::new(),
            is_new: true,
            addresses: Vec::new(),
            notices: Vec::new(),
            told: BTreeSet::new(),
        }
    }

    /// Where this host is reached.
    pub(super) fn set_addresses(&mut self, addresses: Vec<IpAddr>) {
        if self.addresses != addresses {
            self.addresses = addresses;
            self.is_new = true;
        }
    }

    /// Notes what has happened in the table.
    pub(super) fn note(&mut self, event: Event) {
        match event {
            Event::NetworkChanged { network, attached, detached, settings, .. } => {
                self.is_new |= settings;
                if !settings {
                    self.some.entry(network).or_default().extend(attached.into_iter().chain(detached));
                }
            }
            _ => self.is_new = true,
        }
    }

    /// True if something may have changed.
    pub(super) fn is_due(&self) -> bool {
        self.is_new || !self.whole.is_empty() || !self.some.is_empty()
    }

    /// The shared networks.
    pub(super) fn shared(&self) -> &SharedNetworks {
        &self.shared
    }

    /// Tells `own` what has changed. Gives the networks that are shared otherwise than before, by their names for other hosts.
    pub(super) fn publish(&mut self, table: &NameTable, own: &mut Own, now: Duration) -> BTreeSet<Box<str>> {
        let mut changed = BTreeSet::new();
        if std::mem::take(&mut self.is_new) {
            let shared = self.shared_of(table);
            let is_same = |name: &str| match (self.shared.get(name), shared.get(name)) {
                (Some((old, one)), Some((new, other))) => Arc::ptr_eq(old, new) && one == other,
                _ => false,
            };
            changed.extend(self.shared.keys().chain(shared.keys()).filter(|name| !is_same(name)).cloned());
            // Subnets are part of what is told, and of what is taken.
            let networks = shared.iter().map(|(name, (network, sharing))| {
                let subnets = network.snapshot().settings().subnets.clone();
                (name.to_string(), SharedNetwork { share: sharing.reach.into(), subnets })
            });
            own.describe(self.addresses.clone(), networks.collect());
            self.whole.extend(self.shared.keys().chain(shared.keys()).cloned());
            self.shared = shared;
        }
        for name in std::mem::take(&mut self.whole) {
            self.publish_all(&name, own, now);
        }
        for (network, ids) in std::mem::take(&mut self.some) {
            let shared = self.shared.iter().find(|(_, (shared, _))| shared.name() == &*network);
            let Some((name, (network, sharing))) = shared.map(|(name, shared)| (name.clone(), shared.clone())) else {
                continue;
            };
            let snapshot = network.snapshot().clone();
            for id in ids {
                let endpoint = snapshot.endpoint(&id).filter(|endpoint| !endpoint.is_remote());
                self.publish_one(&name, &sharing, &id, endpoint, own, now);
            }
        }
        changed
    }

    fn shared_of(&mut self, table: &NameTable) -> SharedNetworks {
        let mut shared = SharedNetworks::new();
        for network in table.networks() {
            let Some(sharing) = network.snapshot().settings().sharing.clone() else { continue };
            let name = sharing.name.as_deref().unwrap_or(network.name()).to_lowercase();
            match shared.get(&*name) {
                None => drop(shared.insert(name.into(), (network, sharing))),
                Some((first, _)) => {
                    let notice = format!(
                        "networks {} and {} are both shared as {name}; only the first is: give one another share_as",
                        first.name(),
                        network.name()
                    );
                    if self.told.insert(notice.clone()) {
                        self.notices.push(notice);
                    }
                }
            }
        }
        shared
    }

    fn publish_all(&mut self, name: &str, own: &mut Own, now: Duration) {
        let Some((network, sharing)) = self.shared.get(name).cloned() else {
            for key in self.published.remove(name).unwrap_or_default().into_values() {
                self.since.remove(&key);
                own.want(key, None, now);
            }
            return;
        };
        let snapshot = network.snapshot().clone();
        let known = self.published.get(name).into_iter().flat_map(BTreeMap::keys);
        let gone: Vec<Box<str>> =
            known.filter(|id| snapshot.endpoint(id).is_none_or(Endpoint::is_remote)).cloned().collect();
        for id in gone {
            self.publish_one(name, &sharing, &id, None, own, now);
        }
        for endpoint in snapshot.endpoints().filter(|endpoint| !endpoint.is_remote()) {
            self.publish_one(name, &sharing, endpoint.id(), Some(endpoint), own, now);
        }
    }

    fn publish_one(
        &mut self,
        name: &str,
        sharing: &Sharing,
        id: &str,
        endpoint: Option<&Endpoint>,
        own: &mut Own,
        now: Duration,
    ) {
        let key = self.keys.own_endpoint(name, id);
        let value = endpoint.and_then(|endpoint| {
            let since = *self.since.entry(key.clone()).or_insert_with(seconds);
            let value = record(endpoint, sharing.reach, &self.addresses, since).to_value();
            if value.len() <= MAX_VALUE {
                return Some(value);
            }
            let notice = format!("{id} on {name} has too many or too long names to be published");
            if self.told.len() < 1_000 && self.told.insert(notice.clone()) {
                self.notices.push(notice);
            }
            None
        });
        match value {
            Some(value) => {
                self.published.entry(name.into()).or_default().insert(id.into(), key.clone());
                own.want(key, Some(value), now);
            }
            None => {
                let ids = self.published.get_mut(name);
                if ids.is_some_and(|ids| ids.remove(id).is_some()) {
                    self.since.remove(&key);
                    own.want(key, None, now);
                }
            }
        }
    }

    /// What a person should know, since the last call.
    pub(super) fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn record(endpoint: &Endpoint, reach: Reach, addresses: &[IpAddr], since: u64) -> EndpointRecord {
    let names = endpoint.names().iter().filter(|name| !name.is_wildcard());
    let mut ports = Vec::new();
    for port in endpoint.ports() {
        let own = |published: Option<u16>| {
            PortRecord(port.name().map(Into::into), port.number(), port.protocol().into(), published)
        };
        if reach == Reach::Container {
            ports.push(own(None));
            continue;
        }
        // Where other hosts reach it: at this host's addresses, and not at its loopback.
        let is_open = |ip: IpAddr| ip.is_unspecified() || addresses.contains(&ip);
        let published: BTreeSet<u16> =
            port.published().iter().filter(|socket| is_open(socket.ip())).map(|socket| socket.port()).collect();
        ports.extend(published.into_iter().filter(|number| *number != 0).map(|number| own(Some(number))));
    }
    let record = EndpointRecord {
        n: names.map(|name| name.to_string().into()).collect(),
        // The container's own mean nothing elsewhere.
        a: if reach == Reach::Host { Box::default() } else { endpoint.addresses().into() },
        p: ports.into(),
        s: endpoint.state().into(),
        h: endpoint.health().into(),
        since,
    };
    record.bounded()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Port, Protocol};

    #[test]
    fn a_host_publishes_ports_at_its_own_address_only() {
        let port = |number, at: &[&str]| {
            Port::named("http", number, Protocol::Tcp).published_at(at.iter().map(|at| at.parse().unwrap()))
        };
        let endpoint = Endpoint::builder("api")
            .names(["api", "*.api"])
            .address("10.89.0.5")
            .port(port(8080, &["0.0.0.0:30080", "[::]:30080", "127.0.0.1:1"]))
            .port(port(8081, &["127.0.0.1:30081"]))
            .port(port(8082, &["10.77.0.11:30082", "10.78.0.1:30083"]))
            .port(port(8083, &[]))
            .build()
            .unwrap();
        let addresses = ["10.77.0.11".parse().unwrap()];
        let told = record(&endpoint, Reach::Host, &addresses, 1);
        let ports: Vec<_> = told.p.iter().map(|port| (port.1, port.3)).collect();
        assert_eq!(ports, [(8080, Some(30080)), (8082, Some(30082))]);
        assert_eq!((told.n.len(), told.a.len()), (1, 0), "no wildcard, no address of the container");
        let told = record(&endpoint, Reach::Container, &addresses, 1);
        assert_eq!(told.a[..], ["10.89.0.5".parse::<IpAddr>().unwrap()]);
        assert_eq!(
            told.p.iter().map(|port| (port.1, port.3)).collect::<Vec<_>>(),
            [8080, 8081, 8082, 8083].map(|port| (port, None))
        );
    }
}
