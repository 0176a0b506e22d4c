//! Which networks a question to the host view is searched for on, and what they know of it.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::responder::Rule;
use crate::responder::explain::Trace;
use crate::responder::lookup::{Disposition, MAX_ALIASES, Match};
use crate::responder::view::VisibleNetwork;
use crate::table::{Clients, Found, NameEntry, NameTable, Network};
use crate::wire::{is_below, reverse};

use super::write::{HostDisposition, Zone};
use super::{HostAnswer, HostView};

/// What of the networks a question concerns. It is made before the question is answered, and keeps the networks as they were
/// then.
pub(in crate::responder) struct Search<'s> {
    host: &'s HostView,
    sought: Sought<'s>,
}

enum Sought<'s> {
    /// Neither below the domain nor an address of a network.
    Outside,
    /// A name below the domain, or that itself.
    Name {
        candidates: SmallVec<[Candidate<'s>; 2]>,
        /// True if it is the domain, or a network or project, or the parent of one.
        exists: bool,
        /// Octets of the domain.
        domain: usize,
    },
    /// An address that an endpoint has.
    Address(VisibleNetwork<'s>, IpAddr),
    /// In the subnet of a network: an address that nobody has, or the parent of addresses.
    Subnet { is_address: bool },
}

/// A network that may know a name, and as what: so many octets of the question's name.
struct Candidate<'s> {
    seat: VisibleNetwork<'s>,
    len: usize,
}

/// A name's wire form without its root.
pub(super) fn key_of(wire: &[u8]) -> &[u8] {
    &wire[..wire.len() - 1]
}

/// The networks of a table of this name: wire form without the root. Those that only identify are part of no view.
pub(super) fn called(table: &NameTable, key: &[u8]) -> impl Iterator<Item = Arc<Network>> {
    table.networks_called(key).into_iter().filter(move |network| network.is_called(key) && is_seen(network))
}

pub(super) fn is_seen(network: &Network) -> bool {
    network.snapshot().settings().clients != Clients::Identify
}

/// The networks in the order in which they are searched.
fn in_order(networks: impl Iterator<Item = Arc<Network>>) -> SmallVec<[VisibleNetwork<'static>; 2]> {
    let mut seats: SmallVec<[VisibleNetwork<'static>; 2]> = networks.map(VisibleNetwork::of).collect();
    seats.sort_by(|one, other| one.rank().cmp(&other.rank()));
    seats
}

/// Where each label of a name without root starts.
fn labels(key: &[u8]) -> impl Iterator<Item = usize> {
    let start = |at: usize| Some(at).filter(|&at| at < key.len());
    std::iter::successors(start(0), move |&at| start(at + 1 + usize::from(key[at])))
}

impl<'s> Search<'s> {
    /// Nothing is sought for a client that may not ask.
    pub(in crate::responder) fn nothing(host: &'s HostView) -> Search<'s> {
        Search { host, sought: Sought::Outside }
    }

    /// `name`: lower-cased wire form.
    pub(in crate::responder) fn of(host: &'s HostView, name: &[u8]) -> Search<'s> {
        let domain = host.domains.iter().find(|domain| is_below(name, domain.as_wire()));
        let sought = match (domain, reverse::prefix_of(name)) {
            (Some(domain), _) => by_name(host, name, domain.as_wire().len()),
            (None, Some(prefix)) => by_address(host, prefix),
            (None, None) => Sought::Outside,
        };
        Search { host, sought }
    }

    /// The end of a question that is none of the view's.
    pub(in crate::responder) fn outside(&self) -> Disposition<'_> {
        Disposition::Host(Box::new(HostDisposition::Outside(self.host)))
    }

    /// The networks that are searched for a name.
    pub(in crate::responder) fn seats(&self) -> impl Iterator<Item = &VisibleNetwork<'s>> {
        let candidates = match &self.sought {
            Sought::Name { candidates, .. } => &candidates[..],
            _ => &[],
        };
        candidates.iter().map(|candidate| &candidate.seat)
    }

    /// Where the question ends. `name` is the one that the search was made for.
    pub(in crate::responder) fn end<'v>(&'v self, name: &[u8], rtype: u16, trace: &mut impl Trace) -> Disposition<'v> {
        trace.rule(if matches!(self.sought, Sought::Outside) { Rule::V6Outside } else { Rule::V6 });
        match &self.sought {
            Sought::Outside => self.outside(),
            Sought::Name { candidates, exists, domain } => {
                self.named(candidates, *exists, &name[..name.len() - domain], rtype, trace)
            }
            Sought::Address(seat, address) => {
                let holders = seat.snapshot().holders(*address);
                if trace.is_on() {
                    trace.address(seat, holders);
                }
                Disposition::Host(Box::new(HostDisposition::Reverse { zone: self.zone(seat), holders }))
            }
            Sought::Subnet { is_address: true } => Disposition::Unknown,
            Sought::Subnet { is_address: false } => Disposition::Parent,
        }
    }

    fn named<'v>(
        &'v self,
        candidates: &'v [Candidate<'s>],
        mut exists: bool,
        key: &[u8],
        rtype: u16,
        trace: &mut impl Trace,
    ) -> Disposition<'v> {
        // The first that is stopped gives way to what runs elsewhere (answers.md N7).
        let mut stopped = None;
        for Candidate { seat, len } in candidates {
            let found = seat.snapshot().find_as_written(&key[..*len]);
            if trace.is_on() {
                trace.searched(seat, found.as_ref());
            }
            match found {
                None => {}
                Some(Found::Parent { .. }) => exists = true,
                Some(Found::Name { entry, .. }) => {
                    let hit = Match { entry };
                    if !hit.is_stopped(rtype) {
                        return self.known(seat, entry, rtype);
                    }
                    stopped.get_or_insert(Disposition::Stopped(hit));
                }
                Some(Found::Service { entry, service, protocol }) => {
                    let end = Box::new(HostDisposition::Service { zone: self.zone(seat), entry, service, protocol });
                    if !entry.is_down() {
                        return Disposition::Host(end);
                    }
                    stopped.get_or_insert(Disposition::Host(end));
                }
            }
        }
        if let Some(end) = &stopped {
            trace.rule(end.rule_of_stopped());
        }
        if let Some(stopped) = stopped {
            return stopped;
        }
        match exists {
            true => Disposition::Parent,
            false if candidates.iter().any(|candidate| candidate.seat.snapshot().awaits_remote()) => {
                trace.rule(Rule::N8b);
                Disposition::NotReady
            }
            false => Disposition::Unknown,
        }
    }

    /// The end of a name that a network knows.
    fn known<'v>(&'v self, seat: &'v VisibleNetwork<'s>, entry: &'v NameEntry, rtype: u16) -> Disposition<'v> {
        let mut entry = entry;
        let mut alias = None;
        // An alias of what is on the same network is that; any other is for the client to follow: nothing is forwarded here.
        for _ in 0..=MAX_ALIASES {
            let has_records = entry.record_sets().iter().any(|set| set.rtype == rtype);
            let Some((target, ttl)) = entry.alias().filter(|_| !has_records) else { break };
            alias = Some((target, ttl.unwrap_or(seat.snapshot().settings().ttl)));
            match seat.snapshot().find(target.as_wire()) {
                Some(Found::Name { entry: next, .. }) => entry = next,
                _ => break,
            }
        }
        match (entry.alias(), alias) {
            (Some(_), Some((target, ttl))) => Disposition::Host(Box::new(HostDisposition::Alias { target, ttl })),
            _ if self.host.answer == HostAnswer::Published && entry.endpoints().next().is_some() => {
                Disposition::Host(Box::new(HostDisposition::Published { zone: self.zone(seat), entry }))
            }
            _ => Disposition::Names(SmallVec::from_iter([Match { entry }])),
        }
    }

    fn zone<'v>(&'v self, seat: &'v VisibleNetwork<'s>) -> Zone<'v> {
        Zone { host: self.host, seat }
    }
}

/// The networks that a name below the domain may be on. The longest network's name counts first, as in the DNS; then come the
/// projects.
fn by_name<'s>(host: &HostView, name: &[u8], domain: usize) -> Sought<'s> {
    let key = &name[..name.len() - domain];
    let mut candidates = SmallVec::new();
    let mut exists = key.is_empty();
    for at in labels(key) {
        for table in &host.tables {
            if at == 0 {
                exists |= table.networks_called(key).iter().any(|network| is_seen(network));
            } else {
                let seats = in_order(called(table, &key[at..]));
                candidates.extend(seats.into_iter().map(|seat| Candidate { seat, len: at }));
            }
        }
    }
    for at in labels(key) {
        for table in &host.tables {
            let networks = table.networks_of_project(&key[at..]).into_iter().filter(|network| is_seen(network));
            if at == 0 {
                exists |= networks.count() > 0;
            } else {
                // An endpoint of a project carries the project's name behind its own.
                candidates.extend(in_order(networks).into_iter().map(|seat| Candidate { seat, len: key.len() }));
            }
        }
    }
    Sought::Name { candidates, exists, domain }
}

/// The network of an address; of several, one where who has it runs. Asked rarely, so there is no index: each network is asked.
fn by_address<'s>(host: &HostView, prefix: IpNet) -> Sought<'s> {
    let address = (prefix.prefix_len() == prefix.max_prefix_len()).then(|| prefix.addr());
    let mut is_in_subnet = false;
    for table in &host.tables {
        let mut holders: SmallVec<[VisibleNetwork<'static>; 2]> = SmallVec::new();
        table.each(|network| {
            let snapshot = network.snapshot();
            if snapshot.settings().clients == Clients::Identify {
                return;
            }
            is_in_subnet |= snapshot.settings().all_subnets().any(|subnet| subnet.contains(&prefix));
            if address.is_some_and(|address| !snapshot.holders(address).is_empty()) {
                holders.push(VisibleNetwork::of(network.clone()));
            }
        });
        let is_stopped =
            |seat: &VisibleNetwork<'_>| address.is_none_or(|address| seat.snapshot().client_at(address).is_none());
        let first = holders
            .into_iter()
            .min_by(|one, other| (is_stopped(one), one.rank()).cmp(&(is_stopped(other), other.rank())));
        if let (Some(seat), Some(address)) = (first, address) {
            return Sought::Address(seat, address);
        }
    }
    if is_in_subnet { Sought::Subnet { is_address: address.is_some() } } else { Sought::Outside }
}
