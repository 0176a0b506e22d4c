//! One network at one moment: names, addresses and endpoints together, never changed once made.

use std::borrow::Cow;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::wire::{MAX_NAME, Name, is_label_start};

use super::attachment::Attachment;
use super::endpoint::{Endpoint, Protocol, spellings};
use super::hamt::{Hamt, Keyed, hash_of};
use super::names::{NameEntry, NameIndex, key_of};
use super::origin::{HostOrigin, RefusedName};
use super::settings::Settings;

/// A network at one moment. A query sees exactly one of these a network (answers.md T7).
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(super) revision: u64,
    pub(super) settings: Arc<Settings>,
    pub(super) suffixes: Arc<[Suffix]>,
    pub(super) records: Arc<[super::Record]>,
    /// Records beside those: see [`Network::set_added_records`](super::Network::set_added_records).
    pub(super) added: Arc<[super::Record]>,
    /// Names of other hosts are not known yet: see [`Change::await_remote`](super::Change::await_remote).
    pub(super) awaits_remote: bool,
    pub(super) names: NameIndex,
    pub(super) v4: Hamt<Holders<Ipv4Addr>>,
    pub(super) v6: Hamt<Holders<Ipv6Addr>>,
    pub(super) endpoints: Hamt<Arc<Attachment>>,
}

/// What a name of the network may end in: the network's name, a domain, or both (answers.md N1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suffix {
    name: Name,
    /// True if unknown names below it belong to us: a domain, or below one (answers.md N5).
    ours: bool,
}

impl Suffix {
    /// The suffix.
    pub fn name(&self) -> &Name {
        &self.name
    }
}

/// The endpoints that hold an address. More than one is a mistake of the source, but not one to fail over.
#[derive(Debug, Clone)]
pub(super) struct Holders<A> {
    address: A,
    attachments: Attachments,
}

#[derive(Debug, Clone)]
enum Attachments {
    One(Arc<Attachment>),
    // Boxed, as it is seldom there, and most of this would be room for it.
    #[allow(clippy::box_collection)]
    Any(Box<Vec<Arc<Attachment>>>),
}

impl<A: Clone + Hash + Eq> Keyed for Holders<A> {
    type Key = A;

    fn key(&self) -> &A {
        &self.address
    }
}

impl<A> Holders<A> {
    pub(super) fn nobody(address: A) -> Holders<A> {
        Holders { address, attachments: Attachments::Any(Box::default()) }
    }

    pub(super) fn attachments(&self) -> &[Arc<Attachment>] {
        match &self.attachments {
            Attachments::One(attachment) => std::slice::from_ref(attachment),
            Attachments::Any(attachments) => attachments,
        }
    }

    /// The same address with one holder more.
    pub(super) fn add(&mut self, attachment: &Arc<Attachment>) {
        self.attachments = match self.attachments() {
            [] => Attachments::One(attachment.clone()),
            some => Attachments::Any(Box::new(some.iter().chain([attachment]).cloned().collect())),
        };
    }

    /// The same address without a holder; false if it was the last one.
    pub(super) fn remove(&mut self, attachment: &Arc<Attachment>) -> bool {
        let others = self.attachments().iter().filter(|holder| !Arc::ptr_eq(holder, attachment));
        self.attachments = Attachments::Any(Box::new(others.cloned().collect()));
        !self.attachments().is_empty()
    }
}

impl Keyed for Arc<Attachment> {
    type Key = str;

    fn key(&self) -> &str {
        self.endpoint().id()
    }
}

/// The octets of a service's name; mostly they take no memory of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceName(SmallVec<[u8; 16]>);

impl Deref for ServiceName {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// What a network knows of a name.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Found<'s> {
    /// The name has endpoints, records or an alias.
    Name {
        /// The entry.
        entry: &'s NameEntry,
        /// How it was found.
        how: Matched<'s>,
    },
    /// `_service._protocol.n`, where an endpoint called `n` offers such a port (answers.md T4).
    Service {
        /// The entry of `n`.
        entry: &'s NameEntry,
        /// The service or the port number, as octets without the underscore, lower case.
        service: ServiceName,
        /// The protocol.
        protocol: Protocol,
    },
    /// The name is only a parent of others (answers.md N6).
    Parent {
        /// True if it lies below a name that the network has: then it is ours, under a domain or not.
        is_below_name: bool,
    },
}

impl Found<'_> {
    /// True if all there is of it are endpoints, none of which is running (answers.md N7).
    pub(crate) fn is_stopped(&self) -> bool {
        match self {
            Found::Name { entry, .. } => entry.is_down() && entry.record_sets().is_empty(),
            Found::Service { entry, .. } => entry.is_down(),
            Found::Parent { .. } => false,
        }
    }

    /// True if a running endpoint carries it, by a name that is not a wildcard.
    pub(crate) fn is_running(&self) -> bool {
        match self {
            Found::Name { how: Matched::Wildcard, .. } | Found::Parent { .. } => false,
            Found::Name { entry, .. } | Found::Service { entry, .. } => entry.endpoints().any(Endpoint::answers),
        }
    }
}

/// How a name was matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Matched<'s> {
    /// As it stands.
    Whole,
    /// Without a suffix (answers.md N1).
    Without(&'s Suffix),
    /// By a wildcard (answers.md N4).
    Wildcard,
}

impl Snapshot {
    /// Notes that an endpoint has an address.
    pub(super) fn add_holder(&mut self, address: IpAddr, attachment: &Arc<Attachment>) {
        match address {
            IpAddr::V4(address) => add_holder(&mut self.v4, address, attachment),
            IpAddr::V6(address) => add_holder(&mut self.v6, address, attachment),
        }
    }

    /// Notes that an endpoint no longer has an address.
    pub(super) fn remove_holder(&mut self, address: IpAddr, attachment: &Arc<Attachment>) {
        match address {
            IpAddr::V4(v4) => self.v4.edit(&v4, || None, |holders| holders.remove(attachment)),
            IpAddr::V6(v6) => self.v6.edit(&v6, || None, |holders| holders.remove(attachment)),
        }
    }

    pub(super) fn new(
        revision: u64,
        network: &str,
        settings: Arc<Settings>,
        records: Arc<[super::Record]>,
        added: Arc<[super::Record]>,
    ) -> Snapshot {
        let mut names = NameIndex::default();
        for records in [&records, &added] {
            names.set_records(records, settings.ttl);
        }
        for record in records.iter().chain(added.iter()) {
            names.rebuild(record.name(), &settings);
        }
        let suffixes = suffixes_of(network, &settings.domains).into();
        Snapshot {
            revision,
            settings,
            suffixes,
            records,
            added,
            awaits_remote: false,
            names,
            v4: Hamt::default(),
            v6: Hamt::default(),
            endpoints: Hamt::default(),
        }
    }

    /// How many changes the network has seen; each change makes it larger.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What is said of the network as a whole.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The static records and aliases.
    pub fn records(&self) -> &[super::Record] {
        &self.records
    }

    /// The records that were added beside those.
    pub fn added_records(&self) -> &[super::Record] {
        &self.added
    }

    /// True while names of other hosts are not known yet (answers.md N8b).
    pub fn awaits_remote(&self) -> bool {
        self.awaits_remote
    }

    /// The endpoints, in no particular order.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().map(|attachment| attachment.endpoint())
    }

    /// How many endpoints there are.
    pub fn endpoint_count(&self) -> usize {
        self.endpoints.len()
    }

    /// The names without suffixes, in no particular order; those that are only parents of others are left out.
    pub fn names(&self) -> impl Iterator<Item = &NameEntry> {
        self.names.iter().filter(|entry| entry.is_own())
    }

    /// The endpoint with the given id.
    pub fn endpoint(&self, id: &str) -> Option<&Endpoint> {
        self.attachment(id).map(|attachment| attachment.endpoint())
    }

    pub(super) fn attachment(&self, id: &str) -> Option<&Arc<Attachment>> {
        self.endpoints.get(hash_of(id), id)
    }

    /// The endpoint of this host with the given id: what makes a client and its view (answers.md V1, V7).
    pub(crate) fn member(&self, id: &str) -> Option<&Arc<Attachment>> {
        self.attachment(id).filter(|attachment| !attachment.is_remote())
    }

    /// Why an endpoint of another host is not found by a name here, if it is not (answers.md N8b). The table leaves such names
    /// out by itself.
    pub fn refuses(&self, origin: &HostOrigin, name: &Name) -> Option<RefusedName> {
        let name = &*self.unqualified(name);
        let is_named = |reserved: &str| name.labels().last().is_some_and(|last| last == reserved.as_bytes());
        let is_gateway = |suffix: Option<&Name>| {
            let host_names = &self.settings.host_names;
            let whole = suffix.map_or_else(|| Some(name.clone()), |suffix| name.join(suffix).ok());
            whole.is_some_and(|whole| host_names.contains(&whole))
        };
        if name.is_wildcard() {
            Some(RefusedName::Wildcard)
        } else if is_named("localhost") || is_named("arpa") || name.labels().any(|label| label.starts_with(b"_")) {
            Some(RefusedName::Reserved)
        } else if self.names.get(key_of(name)).is_some_and(NameEntry::has_records) {
            Some(RefusedName::Record)
        } else if is_gateway(None) || self.suffixes.iter().any(|suffix| is_gateway(Some(&suffix.name))) {
            Some(RefusedName::Gateway)
        } else if self.settings.own_host().is_some_and(|own| name.is_below(own) && !origin.host().is_below(own)) {
            Some(RefusedName::OwnHost)
        } else {
            None
        }
    }

    /// A name without the network's suffixes. Another host's endpoint is found by that one: as it stands, `db.internal` would
    /// win over this host's `db` (answers.md N2).
    fn unqualified<'n>(&self, name: &'n Name) -> Cow<'n, Name> {
        let mut name = Cow::Borrowed(name);
        // The longest first, as it may end in a shorter one; and each as often as it is there.
        let rest_of = |name: &Name| {
            let rests = self.suffixes.iter().rev().filter_map(|suffix| strip(key_of(name), key_of(&suffix.name)));
            rests.filter(|rest| !rest.is_empty()).map(|rest| Name::from_checked(&[rest, &[0]].concat())).next()
        };
        while let Some(rest) = rest_of(&name) {
            name = Cow::Owned(rest);
        }
        name
    }

    /// The names by which an endpoint is found here, relative to the network: its own, its id, and `NAME.HOST` where hosts have
    /// names (answers.md N1, N8b).
    pub(super) fn names_of<'a>(&self, attachment: &'a Attachment) -> SmallVec<[Cow<'a, Name>; 4]> {
        let mut names = SmallVec::new();
        let mut push = |name: Cow<'a, Name>| {
            if !names.contains(&name) {
                names.push(name);
            }
        };
        let Some(origin) = attachment.endpoint().origin() else {
            attachment.all_names().map(Cow::Borrowed).for_each(&mut push);
            if let Some(host) = self.settings.own_host() {
                attachment.names_on(host).map(Cow::Owned).for_each(&mut push);
            }
            return names;
        };
        let of_host = attachment.names_on(origin.host()).map(Cow::Owned);
        let is_suffix = self.suffixes.iter().any(|suffix| suffix.name == *origin.host());
        for name in attachment.all_names().map(Cow::Borrowed).chain(of_host) {
            if self.refuses(origin, &name).is_some() {
                continue;
            }
            let is_of_host = name.is_below(origin.host()) && !is_suffix;
            push(match self.unqualified(&name) {
                Cow::Owned(unqualified) if !is_of_host => Cow::Owned(unqualified),
                _ => name,
            });
        }
        names
    }

    /// The endpoints that hold an address.
    pub(crate) fn holders(&self, address: IpAddr) -> &[Arc<Attachment>] {
        match address {
            IpAddr::V4(v4) => self.v4.get(hash_of(&v4), &v4).map_or(&[], Holders::attachments),
            IpAddr::V6(v6) => self.v6.get(hash_of(&v6), &v6).map_or(&[], Holders::attachments),
        }
    }

    /// The endpoint with an address on this network. Of several the one that was attached last counts, and one that is stopped
    /// after any that is not: an address may be given to another container while the one that had it is still known.
    pub fn endpoint_at(&self, address: IpAddr) -> Option<&Endpoint> {
        self.client_at(address).or(self.holders(address).last()).map(|attachment| attachment.endpoint())
    }

    /// The endpoint that asks from an address: one of this host that is not stopped, the last one attached of several
    /// (answers.md V2a, V7).
    /// One that is about to run counts: the first process of a container may ask before anybody says that it runs.
    pub(crate) fn client_at(&self, address: IpAddr) -> Option<&Arc<Attachment>> {
        self.holders(address).iter().rev().find(|attachment| attachment.endpoint().may_ask())
    }

    /// The longest domain of the network that `name` (lower-cased wire form) is or lies below.
    pub fn domain_of(&self, name: &[u8]) -> Option<&Name> {
        self.settings
            .domains
            .iter()
            .filter(|domain| crate::wire::is_below(name, domain.as_wire()))
            .max_by_key(|domain| domain.as_wire().len())
    }

    /// True if an entry is this network's.
    pub(crate) fn has(&self, entry: &NameEntry) -> bool {
        self.names.get(key_of(entry.name())).is_some_and(|own| std::ptr::eq(own, entry))
    }

    /// What the network knows of `name` (lower-cased wire form): rules N1, N2, N4, N6 and T4.
    pub fn find(&self, name: &[u8]) -> Option<Found<'_>> {
        let whole = &name[..name.len() - 1];
        let mut is_parent = false;
        for (key, how) in self.candidates(whole) {
            let entry = self.names.get(key);
            if let Some(entry) = entry.filter(|entry| entry.is_own()) {
                return if entry.is_down() {
                    self.find_running(whole, Found::Name { entry, how })
                } else {
                    Some(Found::Name { entry, how })
                };
            }
            match self.find_service(key) {
                Some(found) if found.is_stopped() => return self.find_running(whole, found),
                found @ Some(Found::Service { .. }) => return found,
                found => is_parent |= found.is_some() || entry.is_some(),
            }
        }
        if is_parent || self.is_suffix(whole) {
            return Some(Found::Parent { is_below_name: self.is_below_name(whole) });
        }
        if self.names.has_wildcards() { self.find_wildcard(whole) } else { None }
    }

    /// What the network has of a name as it is written, with no suffix taken off it: what the host view looks for, once it has
    /// taken off its own (answers.md V6). `key` is lower-cased wire form without the root.
    pub(crate) fn find_as_written(&self, key: &[u8]) -> Option<Found<'_>> {
        let entry = self.names.get(key);
        if let Some(entry) = entry.filter(|entry| entry.is_own()) {
            return Some(Found::Name { entry, how: Matched::Whole });
        }
        let parent = || entry.map(|_| Found::Parent { is_below_name: true });
        let found = self.find_service(key).or_else(parent);
        if found.is_none() && self.names.has_wildcards() { self.find_wildcard(key) } else { found }
    }

    /// What runs and is found by a shorter rest of a name that is stopped; else what was found of it (answers.md N7). It may have
    /// records, which are not stopped.
    #[cold]
    fn find_running<'s>(&'s self, whole: &[u8], found: Found<'s>) -> Option<Found<'s>> {
        if !found.is_stopped() {
            return Some(found);
        }
        let mut others = self.candidates(whole).filter_map(|(key, how)| match self.names.get(key) {
            Some(entry) if entry.is_own() => Some(Found::Name { entry, how }),
            _ => self.find_service(key),
        });
        others.find(Found::is_running).or(Some(found))
    }

    /// True if a name of the network's own stands above `whole`.
    fn is_below_name(&self, whole: &[u8]) -> bool {
        let ancestors = std::iter::successors(split_label(whole), |(_, rest)| split_label(rest));
        ancestors
            .flat_map(|(_, ancestor)| self.candidates(ancestor))
            .any(|(key, _)| self.names.get(key).is_some_and(NameEntry::is_own))
    }

    /// The name as it stands, and without each suffix that it has; the longest rest first.
    fn candidates<'n>(&self, whole: &'n [u8]) -> impl Iterator<Item = (&'n [u8], Matched<'_>)> {
        let stripped = self.suffixes.iter().filter_map(move |suffix| {
            let rest = strip(whole, key_of(&suffix.name)).filter(|rest| !rest.is_empty())?;
            Some((rest, Matched::Without(suffix)))
        });
        std::iter::once((whole, Matched::Whole)).chain(stripped)
    }

    /// True if `key` is a domain, the network's name while it is the parent of any name, or between a domain and a dotted
    /// name of the network below it.
    fn is_suffix(&self, key: &[u8]) -> bool {
        self.suffixes.iter().any(|suffix| match strip(key_of(&suffix.name), key) {
            Some([]) => suffix.ours || self.names.len() > 0,
            Some(_) => suffix.ours && self.settings.domains.iter().any(|domain| strip(key, key_of(domain)).is_some()),
            None => false,
        })
    }

    /// True if `key` is a name here, or the parent of one.
    fn exists(&self, key: &[u8]) -> bool {
        let is_known = |key| self.names.get(key).is_some() || self.find_service(key).is_some();
        self.is_suffix(key) || self.candidates(key).any(|(key, _)| is_known(key))
    }

    /// `_service._protocol.n` and its parent `_protocol.n`, from the ports of the endpoints called `n`.
    fn find_service(&self, key: &[u8]) -> Option<Found<'_>> {
        let (first, rest) = split_label(key)?;
        // A service may be called like a protocol: `_sctp._sctp.n`.
        if let Some(protocol) = protocol_of(first)
            && let Some(entry) = self.names.get(rest)
        {
            let offers =
                entry.endpoints().any(|endpoint| endpoint.ports().iter().any(|port| port.protocol() == protocol));
            return offers.then_some(Found::Parent { is_below_name: true });
        }
        let service = first.strip_prefix(b"_")?;
        let (second, rest) = split_label(rest)?;
        let protocol = protocol_of(second)?;
        let entry = self.names.get(rest)?;
        let offers = entry
            .endpoints()
            .any(|endpoint| endpoint.ports().iter().any(|port| port.protocol() == protocol && port.is(service)));
        offers.then(|| Found::Service { entry, service: ServiceName(service.into()), protocol })
    }

    /// The wildcard below the closest encloser, which is the nearest ancestor that exists (RFC 4592 §3.3.1).
    fn find_wildcard(&self, whole: &[u8]) -> Option<Found<'_>> {
        let mut wildcard = [0; MAX_NAME + 2];
        wildcard[..2].copy_from_slice(b"\x01*");
        let (_, mut ancestor) = split_label(whole)?;
        while !ancestor.is_empty() {
            if self.exists(ancestor) {
                let key = &mut wildcard[..2 + ancestor.len()];
                key[2..].copy_from_slice(ancestor);
                let entries = || self.candidates(key).filter_map(|(key, _)| self.names.get(key));
                let is_running = |entry: &&NameEntry| entry.endpoints().any(Endpoint::answers);
                return entries()
                    .find(is_running)
                    .or_else(|| entries().find(|entry| entry.is_own()))
                    .map(|entry| Found::Name { entry, how: Matched::Wildcard });
            }
            (_, ancestor) = split_label(ancestor)?;
        }
        None
    }
}

fn add_holder<A: Copy + Hash + Eq>(to: &mut Hamt<Holders<A>>, address: A, attachment: &Arc<Attachment>) {
    to.edit(
        &address,
        || Some(Holders::nobody(address)),
        |holders| {
            holders.add(attachment);
            true
        },
    );
}

/// The first label of a name without root, and the rest.
fn split_label(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&len, rest) = key.split_first()?;
    rest.split_at_checked(len as usize)
}

/// What is left of a name without root when a suffix without root is taken off; `None` if it is no suffix.
fn strip<'n>(name: &'n [u8], suffix: &[u8]) -> Option<&'n [u8]> {
    let cut = name.len().checked_sub(suffix.len())?;
    (name[cut..] == *suffix && is_label_start(name, cut)).then(|| &name[..cut])
}

fn protocol_of(label: &[u8]) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|protocol| protocol.label() == label)
}

/// A network's name as it stands in names: the spellings that can be asked for.
pub(super) fn zones_of(network: &str) -> SmallVec<[Name; 2]> {
    let mut zones =
        spellings(network).or_else(|_| network.parse().map(|name| SmallVec::from_iter([name]))).unwrap_or_default();
    zones.retain(|zone| !zone.is_root());
    zones
}

/// `w`, each `d`, and each `w.d`; the shortest first, so that the longest stripped name is tried first (answers.md N2).
fn suffixes_of(network: &str, domains: &[Name]) -> Vec<Suffix> {
    let own = zones_of(network);
    let mut suffixes: Vec<Suffix> = Vec::new();
    let mut add = |name: Name, ours| match suffixes.iter_mut().find(|suffix| suffix.name == name) {
        Some(known) => known.ours |= ours,
        None => suffixes.push(Suffix { name, ours }),
    };
    for domain in domains {
        add(domain.clone(), true);
    }
    for own in own {
        for domain in domains {
            if let Ok(both) = own.join(domain) {
                add(both, true);
            }
        }
        add(own, false);
    }
    suffixes.sort_by_key(|suffix| suffix.name.as_wire().len());
    suffixes
}
