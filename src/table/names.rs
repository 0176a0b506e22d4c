//! The forward names of a network: who carries each, and the records that they answer with, ready-made.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::wire::{Name, rrset, rtype};

use super::attachment::Attachment;
use super::endpoint::{Endpoint, EndpointState, Health};
use super::hamt::{Hamt, Keyed, hash_of};
use super::record::Record;
use super::settings::{HealthPolicy, Settings};
use super::sharing::Spread;

/// All forward names of one network.
#[derive(Debug, Clone, Default)]
pub(super) struct NameIndex {
    entries: Hamt<NameEntry>,
    /// How many of the names are wildcards.
    wildcards: usize,
}

/// One name of a network, without suffixes: its endpoints, its static records, and its A and AAAA records ready-made.
///
/// It lies in the map by value: what most queries ask for is found without following another pointer.
#[derive(Debug, Clone)]
pub struct NameEntry {
    name: Name,
    body: Body,
}

/// Why a name does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absence<'e> {
    /// Its endpoints are stopped (answers.md N7).
    Stopped,
    /// They were on this host, which is not reachable (answers.md N8b).
    Lost(&'e Name),
    /// They are reached at this host's addresses, and publish no port there (answers.md N8b).
    Closed(&'e Name),
}

/// What there is of a name.
#[derive(Debug, Clone)]
enum Body {
    /// Nothing: it is about to change.
    Empty,
    /// The common name: one endpoint, at most one IPv4 address that answers, nothing below it.
    Lone { owner: Arc<Attachment>, a: Option<[u8; rrset::A_LEN]> },
    /// Any other. Shared, so that the records stay where they are in memory when the map is copied.
    Full(Arc<Full>),
}

#[derive(Debug, Clone, Default)]
struct Full {
    owners: Vec<Arc<Attachment>>,
    statics: Option<Arc<Statics>>,
    /// How many names below this one have owners or records.
    children: u32,
    a: Box<[u8]>,
    aaaa: Box<[u8]>,
}

/// The static records of one name.
#[derive(Debug, Clone, Default)]
struct Statics {
    sets: Vec<RecordSet>,
    alias: Option<(Name, Option<u32>)>,
}

/// The static records of one name and type, as an [RRset](rrset).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordSet {
    /// The type.
    pub rtype: u16,
    /// The records.
    pub records: Box<[u8]>,
}

impl Keyed for NameEntry {
    type Key = [u8];

    fn key(&self) -> &[u8] {
        key_of(&self.name)
    }
}

/// Names are looked up without their root, so that a name with a suffix stripped is a slice of the whole.
pub(super) fn key_of(name: &Name) -> &[u8] {
    let wire = name.as_wire();
    &wire[..wire.len() - 1]
}

impl NameEntry {
    /// The name, without any suffix.
    pub fn name(&self) -> &Name {
        &self.name
    }

    fn full(&self) -> Option<&Full> {
        match &self.body {
            Body::Full(full) => Some(full),
            Body::Empty | Body::Lone { .. } => None,
        }
    }

    fn owners(&self) -> &[Arc<Attachment>] {
        match &self.body {
            Body::Empty => &[],
            Body::Lone { owner, .. } => std::slice::from_ref(owner),
            Body::Full(full) => &full.owners,
        }
    }

    fn statics(&self) -> Option<&Statics> {
        self.full()?.statics.as_deref()
    }

    fn children(&self) -> u32 {
        self.full().map_or(0, |full| full.children)
    }

    /// True if the name has endpoints or records of its own, and is not merely the parent of others (answers.md N6).
    pub fn is_own(&self) -> bool {
        match &self.body {
            Body::Empty => false,
            Body::Lone { .. } => true,
            Body::Full(full) => !full.owners.is_empty() || full.statics.is_some(),
        }
    }

    /// The endpoints that carry the name, in the order in which they were attached.
    pub fn endpoints(&self) -> impl Iterator<Item = &super::Endpoint> {
        self.owners().iter().map(|owner| owner.endpoint())
    }

    /// The endpoints that answer for the name: those that run, of them the healthy ones as the policy wants it, and of them
    /// this host's before other hosts' (answers.md N7, N8, N8b).
    pub(crate) fn serving(&self, settings: &Settings) -> impl Iterator<Item = &Arc<Attachment>> {
        let rank = self.least_rank();
        let answering = move || {
            let owners = self.owners().iter().filter(|owner| owner.endpoint().answers());
            owners.filter(move |owner| rank == 0 || self.rank(owner).is_none_or(|own| own == rank))
        };
        let is_healthy = |owner: &Arc<Attachment>| owner.endpoint().health() == Health::Healthy;
        let healthy_only = match settings.health {
            HealthPolicy::Ignore => false,
            HealthPolicy::Require => true,
            HealthPolicy::Prefer => answering().any(is_healthy),
        };
        let serving = move || answering().filter(move |owner| !healthy_only || is_healthy(owner));
        let is_local = |owner: &Arc<Attachment>| !owner.is_remote();
        let local_only = settings.spread() == Spread::Local && serving().any(is_local);
        serving().filter(move |owner| !local_only || is_local(owner))
    }

    /// How much of the name is the name of the host that has published an endpoint, in octets; `None` for one of this host.
    fn rank(&self, owner: &Attachment) -> Option<usize> {
        let host = owner.endpoint().origin()?.host();
        Some(if self.name.is_below(host) { host.as_wire().len() } else { 0 })
    }

    /// `NAME.HOST` is HOST's alone, however the containers of another host are called (answers.md N8b): the rank that another
    /// host's endpoint needs to answer.
    fn least_rank(&self) -> usize {
        self.owners().iter().filter_map(|owner| self.rank(owner)).max().unwrap_or(0)
    }

    /// Where the list of its endpoints lies in memory: it stays there as long as they do, if they are several.
    pub(crate) fn owners_at(&self) -> usize {
        self.owners().as_ptr() as usize
    }

    /// True if endpoints carry the name and none of them is running, or can be reached (answers.md N7, N8b).
    pub fn is_down(&self) -> bool {
        match &self.body {
            Body::Empty => false,
            // One that answers runs; its endpoint is not asked, as it lies far away.
            Body::Lone { a: Some(_), .. } => false,
            Body::Lone { .. } | Body::Full(_) => {
                !self.owners().is_empty() && !self.owners().iter().any(|owner| owner.endpoint().answers())
            }
        }
    }

    /// Why a name does not answer that [is down](NameEntry::is_down).
    pub(crate) fn absence(&self) -> Absence<'_> {
        fn host_of(endpoint: &Endpoint) -> Option<&Name> {
            endpoint.origin().map(|origin| origin.host())
        }
        let mut closed = self.endpoints().filter(|endpoint| endpoint.is_running() && endpoint.is_closed());
        if let Some(host) = closed.find_map(host_of) {
            return Absence::Closed(host);
        }
        let lost = self.endpoints().filter(|endpoint| endpoint.is_lost()).find_map(host_of);
        match lost {
            Some(host) if self.endpoints().all(Endpoint::is_lost) => Absence::Lost(host),
            _ => Absence::Stopped,
        }
    }

    /// True if none of the name's endpoints answers yet and one of them is about to (answers.md N11).
    pub(crate) fn is_pending(&self, settings: &Settings) -> bool {
        let is_pending = |endpoint: &Endpoint| match endpoint.state() {
            _ if endpoint.is_lost() => false,
            EndpointState::Starting => true,
            EndpointState::Up => settings.health == HealthPolicy::Require && endpoint.health() == Health::Starting,
            EndpointState::Down => false,
        };
        self.a().is_empty()
            && self.aaaa().is_empty()
            && self.serving(settings).next().is_none()
            && self.owners().iter().any(|owner| is_pending(owner.endpoint()))
    }

    /// True if records or an alias have the name, which other hosts' endpoints do not get then.
    pub(super) fn has_records(&self) -> bool {
        self.statics().is_some()
    }

    /// The name's A records, as an [RRset](rrset): 16 octets each.
    pub fn a(&self) -> &[u8] {
        match &self.body {
            Body::Empty => &[],
            Body::Lone { a, .. } => a.as_ref().map_or(&[], |a| a.as_slice()),
            Body::Full(full) => &full.a,
        }
    }

    /// The name's AAAA records, as an [RRset](rrset): 28 octets each.
    pub fn aaaa(&self) -> &[u8] {
        self.full().map_or(&[], |full| &full.aaaa)
    }

    /// The name's other static records.
    pub fn record_sets(&self) -> &[RecordSet] {
        self.statics().map_or(&[], |statics| &statics.sets)
    }

    /// The name that this one stands for, and the alias' own TTL, while no endpoint carries it (answers.md N9).
    pub fn alias(&self) -> Option<(&Name, Option<u32>)> {
        let full = self.full()?;
        let (target, ttl) = full.statics.as_ref()?.alias.as_ref()?;
        full.owners.is_empty().then_some((target, *ttl))
    }

    fn full_mut(&mut self) -> &mut Full {
        match std::mem::replace(&mut self.body, Body::Empty) {
            Body::Empty => self.body = Body::Full(Arc::default()),
            Body::Lone { owner, a } => {
                let a = a.map_or_else(Box::default, Box::from);
                self.body = Body::Full(Arc::new(Full { owners: vec![owner], a, ..Full::default() }));
            }
            full @ Body::Full(_) => self.body = full,
        }
        let Body::Full(full) = &mut self.body else { unreachable!("it was made just now") };
        Arc::make_mut(full)
    }

    fn add_owner(&mut self, owner: &Arc<Attachment>) {
        match self.body {
            Body::Empty => self.body = Body::Lone { owner: owner.clone(), a: None },
            _ => self.full_mut().owners.push(owner.clone()),
        }
    }

    fn remove_owner(&mut self, owner: &Arc<Attachment>) {
        match &self.body {
            Body::Lone { owner: known, .. } if Arc::ptr_eq(known, owner) => self.body = Body::Empty,
            Body::Full(_) => self.full_mut().owners.retain(|known| !Arc::ptr_eq(known, owner)),
            Body::Empty | Body::Lone { .. } => {}
        }
    }

    /// Makes the address records anew (answers.md N3, N7, N8).
    fn rebuild(&mut self, settings: &Settings) {
        if let Some(a) = self.lone_record(settings)
            && let [owner] = self.owners()
        {
            self.body = Body::Lone { owner: owner.clone(), a };
            return;
        }
        let (mut a, mut aaaa) = (Vec::new(), Vec::new());
        for set in self.record_sets() {
            match set.rtype {
                rtype::A => a.extend_from_slice(&set.records),
                rtype::AAAA => aaaa.extend_from_slice(&set.records),
                _ => {}
            }
        }
        let mut seen: HashSet<IpAddr, RandomState> =
            [&a, &aaaa].into_iter().flat_map(|records| rrset::iter(records)).filter_map(rrset::address_of).collect();
        for owner in self.serving(settings) {
            for &address in owner.endpoint().addresses().iter().filter(|address| seen.insert(**address)) {
                let records = if address.is_ipv4() { &mut a } else { &mut aaaa };
                rrset::push_address(records, settings.ttl, address);
            }
        }
        if self.a() != a || self.aaaa() != aaaa {
            let full = self.full_mut();
            full.a = a.into();
            full.aaaa = aaaa.into();
        }
    }

    /// The A record of a name that is [`Body::Lone`], if it answers with one; `None` if the name is more than that.
    fn lone_record(&self, settings: &Settings) -> Option<Option<[u8; rrset::A_LEN]>> {
        let [owner] = self.owners() else { return None };
        if self.statics().is_some() || self.children() > 0 {
            return None;
        }
        let v4 = match owner.endpoint().addresses() {
            [] => return Some(None),
            [IpAddr::V4(v4)] => *v4,
            _ => return None,
        };
        let serves = self.serving(settings).next().is_some();
        Some(serves.then(|| rrset::a(settings.ttl, v4)))
    }
}

impl NameIndex {
    pub(super) fn get(&self, key: &[u8]) -> Option<&NameEntry> {
        self.entries.get(hash_of(key), key)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &NameEntry> {
        self.entries.iter()
    }

    pub(super) fn has_wildcards(&self) -> bool {
        self.wildcards > 0
    }

    /// Lets `owner` carry `name`. False if the records are still to be made, by [`NameIndex::rebuild`].
    pub(super) fn add_owner(&mut self, name: &Name, owner: &Arc<Attachment>, settings: &Settings) -> bool {
        let mut is_made = false;
        self.edit(name, |entry| {
            is_made = matches!(entry.body, Body::Empty);
            entry.add_owner(owner);
            if is_made {
                entry.rebuild(settings);
            }
        });
        is_made
    }

    /// Takes `name` from `owner`. False if the records are still to be made, by [`NameIndex::rebuild`].
    pub(super) fn remove_owner(&mut self, name: &Name, owner: &Arc<Attachment>) -> bool {
        let mut is_made = false;
        self.edit(name, |entry| {
            entry.remove_owner(owner);
            is_made = matches!(entry.body, Body::Empty);
        });
        is_made
    }

    /// Gives names their static records; each record's name must be new to the index's statics.
    pub(super) fn set_records(&mut self, records: &[Record], ttl: u32) {
        for record in records {
            self.edit(record.name(), |entry| {
                let statics = Arc::make_mut(entry.full_mut().statics.get_or_insert_default());
                if record.rtype() == rtype::CNAME {
                    statics.alias = Name::from_wire(record.rdata()).ok().map(|target| (target, record.ttl()));
                    return;
                }
                let mut bytes = Vec::new();
                rrset::push(&mut bytes, record.rtype(), record.ttl().unwrap_or(ttl), &[record.rdata()]);
                match statics.sets.iter_mut().find(|set| set.rtype == record.rtype()) {
                    Some(set) => set.records = [&set.records, &bytes[..]].concat().into(),
                    None => statics.sets.push(RecordSet { rtype: record.rtype(), records: bytes.into() }),
                }
            });
        }
    }

    /// Makes the address records of a name anew.
    pub(super) fn rebuild(&mut self, name: &Name, settings: &Settings) {
        self.entries.modify(key_of(name), |entry| entry.rebuild(settings));
    }

    /// Changes the entry of a name and keeps the count of its ancestors' children and of wildcards right.
    fn edit(&mut self, name: &Name, change: impl FnOnce(&mut NameEntry)) {
        let (mut before, mut after) = (false, false);
        let new = |name: &Name| Some(NameEntry { name: name.clone(), body: Body::Empty });
        self.entries.edit(
            key_of(name),
            || new(name),
            |entry| {
                before = entry.is_own();
                change(entry);
                after = entry.is_own();
                after || entry.children() > 0
            },
        );
        if before == after {
            return;
        }
        if name.is_wildcard() {
            self.wildcards = if after { self.wildcards + 1 } else { self.wildcards - 1 };
        }
        let mut ancestor = name.parent();
        while let Some(parent) = ancestor.filter(|parent| !parent.is_root()) {
            self.entries.edit(
                key_of(&parent),
                || new(&parent),
                |entry| {
                    let children = &mut entry.full_mut().children;
                    *children = if after { *children + 1 } else { children.saturating_sub(1) };
                    entry.is_own() || entry.children() > 0
                },
            );
            ancestor = parent.parent();
        }
    }
}
