//! What other hosts have, put into the table: the endpoints of networks that this host shares, too.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::table::{Change, Endpoint, HostOrigin, NameTable, Network, Port, Reach, Sharing, Untaken};
use crate::wire::Name;

use super::host::{Hosts, Ids, Places, Shown};
use super::publish::SharedNetworks;
use super::record::{EndpointRecord, Place, PortRecord, Refusal};

/// Names that are nobody's (answers.md S).
const SPECIAL: [&str; 5] = ["localhost", "invalid", "onion", "alt", "arpa"];

/// What one host has on one network, as others call it.
type Part = (Box<str>, Arc<str>);

/// See the module.
#[derive(Debug)]
pub(super) struct Taker {
    /// Domains of which no name is taken, wherever it comes from.
    reserved: Vec<Name>,
    /// By network as others call it and host: what is in force, by id.
    in_force: BTreeMap<Part, BTreeSet<Box<str>>>,
    /// Endpoints whose addresses collide with what this host has, by network and host, and how.
    conflicts: BTreeMap<Part, BTreeMap<Box<str>, Untaken>>,
}

impl Taker {
    pub(super) fn new(reserved: &[Name]) -> Taker {
        let mut taker = Taker { reserved: Vec::new(), in_force: BTreeMap::new(), conflicts: BTreeMap::new() };
        taker.set_reserved(reserved);
        taker
    }

    pub(super) fn set_reserved(&mut self, reserved: &[Name]) {
        let special = SPECIAL.iter().filter_map(|name| name.parse().ok());
        self.reserved = special.chain(reserved.iter().cloned()).collect();
    }

    /// Endpoints in force, by host.
    pub(super) fn in_force_by_host(&self) -> BTreeMap<&str, usize> {
        let mut hosts = BTreeMap::new();
        for ((_, host), ids) in &self.in_force {
            *hosts.entry(&**host).or_default() += ids.len();
        }
        hosts
    }

    /// Endpoints in force.
    pub(super) fn in_force(&self) -> usize {
        self.in_force.values().map(BTreeSet::len).sum()
    }

    /// What is wrong between networks here and there, for people.
    pub(super) fn conflicts(&self) -> impl Iterator<Item = String> {
        self.conflicts.iter().filter_map(|((network, host), ids)| {
            let untaken = ids.values().next()?;
            let count = ids.len();
            Some(format!("network {network} of {host}: addresses of {count} of its endpoints are not taken: {untaken}"))
        })
    }

    /// Puts into the table what has changed: one change for each network.
    pub(super) fn take(&mut self, places: Places, hosts: &mut Hosts, shared: &SharedNetworks) {
        for (name, places) in places {
            if let Some((network, sharing)) = shared.get(&*name) {
                self.take_of(&name, network, sharing, places, hosts);
            }
        }
    }

    /// The same for all of a network: it is shared otherwise than before, or not any more.
    pub(super) fn take_all(&mut self, name: &str, table: &NameTable, hosts: &mut Hosts, shared: &SharedNetworks) {
        let known = self.in_force.iter().filter(|((network, _), _)| &**network == name);
        let known: Ids = known.flat_map(|((_, host), ids)| ids.iter().map(|id| (host.clone(), id.clone()))).collect();
        self.conflicts.retain(|(network, _), _| &**network != name);
        match shared.get(name) {
            Some((network, sharing)) => {
                let places = known.into_iter().chain(hosts.all_of(name)).collect();
                self.take_of(name, network, sharing, places, hosts);
            }
            None => self.in_force.retain(|(network, _), _| &**network != name),
        }
        // A network that is not shared any more, or under another name, has nothing of others.
        let is_shared = |network: &Arc<Network>| shared.values().any(|(shared, _)| Arc::ptr_eq(shared, network));
        for network in table.networks().into_iter().filter(|network| !is_shared(network)) {
            let remote: Vec<String> = network
                .snapshot()
                .endpoints()
                .filter(|endpoint| endpoint.is_remote())
                .map(|endpoint| endpoint.id().into())
                .collect();
            if !remote.is_empty() {
                // A network that is removed has none.
                let _ = network.change(|change| remote.iter().for_each(|id| detach(change, id)));
            }
        }
    }

    /// Takes everything from the table.
    pub(super) fn clear(&mut self, shared: &SharedNetworks) {
        for ((name, host), ids) in std::mem::take(&mut self.in_force) {
            if let Some((network, _)) = shared.get(&name) {
                let ids = ids.iter().map(|id| format!("{host}/{id}"));
                let _ = network.change(|change| ids.for_each(|id| detach(change, &id)));
            }
        }
        self.conflicts.clear();
    }

    fn take_of(&mut self, name: &str, network: &Arc<Network>, sharing: &Sharing, places: Ids, hosts: &mut Hosts) {
        let snapshot = network.snapshot().clone();
        let (mut attached, mut detached) = (Vec::new(), Vec::new());
        let mut refusals = Vec::new();
        let mut origins: BTreeMap<(Arc<str>, bool, i64), Arc<HostOrigin>> = BTreeMap::new();
        let now = Instant::now();
        for (host, id) in places {
            let place = Place { network: name.into(), id };
            let mut conflict = None;
            let endpoint = hosts.shown(&host, &place).and_then(|shown| {
                let reach: Reach = shown.host.networks.get(name)?.share.into();
                let key = (host.clone(), reach == Reach::Host, shown.known.revision);
                let origin = match origins.get(&key) {
                    Some(origin) => origin.clone(),
                    None => {
                        let revision = u64::try_from(shown.known.revision).unwrap_or(0);
                        let origin = Arc::new(HostOrigin::new(&host, reach).ok()?.learned(revision, now));
                        origins.insert(key, origin.clone());
                        origin
                    }
                };
                if !sharing.accepts(&host) {
                    refusals.push((host.clone(), place.clone(), Refusal::Accept));
                    return None;
                }
                let mut refuse = |refusal| refusals.push((host.clone(), place.clone(), refusal));
                let takes = |address| snapshot.settings().takes(address);
                let (addresses, untaken) = match reach {
                    Reach::Host => (shown.host.addr.clone(), None),
                    _ => sieve(&shown, takes),
                };
                if let Some(untaken) = untaken {
                    refuse(Refusal::Address);
                    if untaken != Untaken::Outside {
                        conflict = Some(untaken);
                    }
                    if addresses.is_empty() {
                        return None;
                    }
                }
                let is_reserved =
                    |name: &Name| self.reserved.iter().any(|domain| name == domain || name.is_below(domain));
                let names = shown.known.record.n.iter().filter_map(|name| name.parse::<Name>().ok());
                let (others, names): (Vec<Name>, Vec<Name>) = names.partition(is_reserved);
                // The table leaves these out by itself, while its records and settings are what they are.
                if !others.is_empty() || names.iter().any(|name| snapshot.refuses(&origin, name).is_some()) {
                    refuse(Refusal::Name);
                }
                let mut endpoint = Endpoint::builder(&*place.id)
                    .origin(origin)
                    .names(names.iter().map(ToString::to_string))
                    .state(shown.known.record.s.into())
                    .health(shown.known.record.h.into());
                for address in &addresses {
                    endpoint = endpoint.ip(*address);
                }
                for port in ports(&shown.known.record, reach, &addresses) {
                    endpoint = endpoint.port(port);
                }
                let endpoint = endpoint.build();
                if endpoint.is_err() {
                    refuse(Refusal::Value);
                }
                Some(endpoint.ok()?.with_lost(shown.is_lost))
            });
            let key = (Box::from(name), host.clone());
            match conflict {
                Some(conflict) => {
                    _ = self.conflicts.entry(key.clone()).or_default().insert(place.id.clone(), conflict);
                }
                None => {
                    if let Some(ids) = self.conflicts.get_mut(&key) {
                        ids.remove(&place.id);
                    }
                }
            }
            let in_force = self.in_force.entry(key.clone()).or_default();
            match endpoint {
                Some(endpoint) => {
                    in_force.insert(place.id);
                    attached.push(endpoint);
                }
                None => {
                    in_force.remove(&place.id);
                    if in_force.is_empty() {
                        self.in_force.remove(&key);
                    }
                    detached.push(format!("{host}/{}", place.id));
                }
            }
        }
        // A network that was removed has nothing, and is noticed.
        let _ = network.change(|change| {
            detached.iter().for_each(|id| detach(change, id));
            attached.into_iter().for_each(|endpoint| change.attach(endpoint));
        });
        for (host, place, refusal) in refusals {
            hosts.refuse(Some(&host), format!("{place} of {host}").as_bytes(), refusal);
        }
    }
}

/// An endpoint of this host may have such an id, too.
fn detach(change: &mut Change<'_>, id: &str) {
    if change.endpoint(id).is_some_and(Endpoint::is_remote) {
        change.detach(id);
    }
}

/// The addresses that are taken, and why others are not.
fn sieve(
    shown: &Shown<'_>,
    takes: impl Fn(std::net::IpAddr) -> Result<(), Untaken>,
) -> (Vec<std::net::IpAddr>, Option<Untaken>) {
    let (mut addresses, mut untaken) = (Vec::new(), None);
    for &address in &shown.known.record.a {
        match takes(address) {
            Ok(()) => addresses.push(address),
            Err(reason) => untaken = Some(reason),
        }
    }
    (addresses, untaken)
}

fn ports(record: &EndpointRecord, reach: Reach, addresses: &[std::net::IpAddr]) -> Vec<Port> {
    let port = |PortRecord(name, number, transport, published): &PortRecord| {
        let port = match name {
            Some(name) => Port::named(name, *number, (*transport).into()),
            None => Port::new(*number, (*transport).into()),
        };
        match published {
            Some(published) if reach == Reach::Host => {
                port.published_at(addresses.iter().map(|address| SocketAddr::new(*address, *published)))
            }
            _ => port,
        }
    };
    record.p.iter().map(port).collect()
}
