//! Finding a name's place: on which networks of the view it is, whether it is special, or whether it is somebody else's.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::table::{Absence, Attachment, Found, Matched, Merge, NameEntry, Protocol, ServiceName, Snapshot};
use crate::wire::{Name, Query, is_below, reverse, rtype};

use super::explain::Trace;
use super::host::HostDisposition;
use super::special;
use super::view::View;
use super::{ResponderOptions, Rule};

/// More aliases than this in a row are taken for a loop (answers.md N9).
pub(super) const MAX_ALIASES: usize = 8;

/// Where a question is answered: the aliases on the way there, and the end of the way.
pub(super) struct Lookup<'v> {
    /// Owner, target, TTL in seconds.
    pub(super) aliases: Vec<(Name, Name, u32)>,
    pub(super) end: Disposition<'v>,
}

/// The place of one name.
pub(super) enum Disposition<'v> {
    /// Networks know it, in view order; more than one only where their answers are merged.
    Names(SmallVec<[Match<'v>; 4]>),
    /// A network knows it, and none of its endpoints there is running.
    Stopped(Match<'v>),
    /// The name is an alias, and the question is for the alias itself.
    Alias { target: &'v Name, ttl: u32 },
    /// `_service._protocol.n` on a network.
    Service { snapshot: &'v Snapshot, entry: &'v NameEntry, service: ServiceName, protocol: Protocol },
    /// An address of the view, by its reverse name.
    Reverse { snapshot: &'v Snapshot, holders: &'v [Arc<Attachment>] },
    /// The listener's gateway.
    Gateway,
    /// `localhost` or below.
    Localhost,
    /// A loopback address, by its reverse name.
    Loopback,
    /// It exists, but only as a parent of others.
    Parent,
    /// It is ours, and does not exist.
    Unknown,
    /// It is ours, and may be on another host: whose names are not known yet.
    NotReady,
    /// It would be forwarded, but this client's questions may not be.
    Blocked,
    /// An alias leads nowhere.
    AliasLoop,
    /// Somebody else's.
    Elsewhere,
    /// An end that only the host view has (answers.md V6). Boxed, so that the ends of all other queries are no larger for it.
    Host(Box<HostDisposition<'v>>),
}

impl Disposition<'_> {
    /// Why a name that is known does not answer.
    pub(super) fn rule_of_stopped(&self) -> Rule {
        let absence = match self {
            Disposition::Stopped(hit) => hit.entry.absence(),
            Disposition::Service { entry, .. } => entry.absence(),
            Disposition::Host(end) => end.absence(),
            _ => Absence::Stopped,
        };
        if absence == Absence::Stopped { Rule::N7 } else { Rule::N8b }
    }
}

/// A name on a network.
pub(super) struct Match<'v> {
    pub(super) entry: &'v NameEntry,
}

impl Match<'_> {
    /// True if nothing answers for the name because its endpoints are stopped (answers.md N7).
    pub(super) fn is_stopped(&self, rtype: u16) -> bool {
        let mut sets = self.entry.record_sets().iter();
        self.entry.is_down() && !sets.any(|set| set.rtype == rtype || rtype == rtype::ANY)
    }
}

impl<'v> Lookup<'v> {
    pub(super) fn elsewhere() -> Lookup<'v> {
        Lookup { aliases: Vec::new(), end: Disposition::Elsewhere }
    }

    /// That of a question which would be forwarded.
    pub(super) fn not_forwarded(view: &'v View<'_>) -> Lookup<'v> {
        let end = view.search().map_or(Disposition::Blocked, |search| search.outside());
        Lookup { aliases: Vec::new(), end }
    }
}

/// Finds the place of a question of class IN, through aliases.
pub(super) fn find<'v>(
    view: &'v View<'_>,
    query: &Query<'_>,
    options: &ResponderOptions,
    hosts: Option<&'v Snapshot>,
    trace: &mut impl Trace,
) -> Lookup<'v> {
    let mut aliases: Vec<(Name, Name, u32)> = Vec::new();
    loop {
        let end = match aliases.last() {
            Some((_, target, _)) => end_of(view, target.as_wire(), query.rtype(), options, hosts, trace),
            None => end_of(view, query.name(), query.rtype(), options, hosts, trace),
        };
        match end {
            Disposition::Alias { target, ttl } if !matches!(query.rtype(), rtype::CNAME | rtype::ANY) => {
                if aliases.len() == MAX_ALIASES {
                    return Lookup { aliases: Vec::new(), end: Disposition::AliasLoop };
                }
                let owner = aliases.last().map_or_else(|| query.to_name(), |(_, target, _)| target.clone());
                aliases.push((owner, target.clone(), ttl));
            }
            end => return Lookup { aliases, end },
        }
    }
}

fn end_of<'v>(
    view: &'v View<'_>,
    name: &[u8],
    rtype: u16,
    options: &ResponderOptions,
    hosts: Option<&'v Snapshot>,
    trace: &mut impl Trace,
) -> Disposition<'v> {
    if special::is_localhost(name) {
        trace.rule(Rule::S);
        return Disposition::Localhost;
    }
    if let Some(end) = in_reverse_tree(view, name, trace) {
        return end;
    }
    let (found, parent) = on_networks(view, name, rtype, trace);
    let settings = view.gateway().settings();
    let is_host_name =
        || !settings.gateways.is_empty() && settings.host_names.iter().any(|host| host.as_wire() == name);
    match found {
        Some((_, Matched::Wildcard)) if is_host_name() => {}
        Some((end, _)) => return end,
        None => {}
    }
    if is_host_name() {
        trace.rule(Rule::N10);
        return Disposition::Gateway;
    }
    if let Some(search) = view.search() {
        return search.end(name, rtype, trace);
    }
    let is_ours = view.domain_of(name).is_some();
    if parent.is_below_name || parent.is_known && is_ours {
        trace.rule(Rule::N6);
        return Disposition::Parent;
    }
    if is_ours {
        let above_host =
            !settings.gateways.is_empty() && settings.host_names.iter().any(|host| is_below(host.as_wire(), name));
        if !above_host && view.awaits_remote(name) {
            trace.rule(Rule::N8b);
            return Disposition::NotReady;
        }
        trace.rule(if above_host { Rule::N6 } else { Rule::N5 });
        return if above_host { Disposition::Parent } else { Disposition::Unknown };
    }
    if special::is_special(name) || options.never_forward.iter().any(|suffix| is_below(name, suffix.as_wire())) {
        trace.rule(if parent.is_known { Rule::N6 } else { Rule::S });
        return if parent.is_known { Disposition::Parent } else { Disposition::Unknown };
    }
    if !view.may_forward() {
        trace.rule(Rule::F1Internal);
        return Disposition::Blocked;
    }
    if let Some(end) = hosts.and_then(|hosts| in_hosts(hosts, name)) {
        trace.rule(Rule::N13);
        return end;
    }
    trace.rule(Rule::F1);
    Disposition::Elsewhere
}

/// A name or an address of the host's /etc/hosts (answers.md N13).
#[inline(never)]
fn in_hosts<'v>(hosts: &'v Snapshot, name: &[u8]) -> Option<Disposition<'v>> {
    if let Some(Found::Name { entry, .. }) = hosts.find_as_written(&name[..name.len() - 1]) {
        return Some(Disposition::Names(SmallVec::from_iter([Match { entry }])));
    }
    let prefix = reverse::prefix_of(name).filter(|prefix| prefix.prefix_len() == prefix.max_prefix_len())?;
    let holders = hosts.holders(prefix.addr());
    (!holders.is_empty()).then_some(Disposition::Reverse { snapshot: hosts, holders })
}

/// What is known of a name as a parent of others.
#[derive(Default)]
struct Parent {
    is_known: bool,
    /// It lies below a name of the view's.
    is_below_name: bool,
}

/// What the networks of the view know of a name: the end, if one knows it as a name; and whether one knows it as a parent.
fn on_networks<'v>(
    view: &'v View<'_>,
    name: &[u8],
    rtype: u16,
    trace: &mut impl Trace,
) -> (Option<(Disposition<'v>, Matched<'v>)>, Parent) {
    let merge = view.own().settings().merge;
    let mut hits: SmallVec<[Match<'v>; 4]> = SmallVec::new();
    let mut first_match = Matched::Whole;
    let mut parent = Parent::default();
    // The first network where it is stopped, which gives way to what runs on a later one (answers.md N7).
    let mut stopped: Option<&'v Snapshot> = None;
    for seat in view.seats() {
        let snapshot = seat.snapshot();
        let found = snapshot.find(name);
        if trace.is_on() {
            trace.searched(seat, found.as_ref());
        }
        let Some(found) = found else { continue };
        if stopped.is_some() && merge == Merge::Nearest && !found.is_running() {
            continue;
        }
        match found {
            // Neither a wildcard nor an alias answers for what is stopped.
            Found::Name { entry, how }
                if stopped.is_some() && (how == Matched::Wildcard || entry.alias().is_some()) => {}
            Found::Name { entry, how } => {
                if let Some((target, ttl)) = entry.alias() {
                    let has_records = entry.record_sets().iter().any(|set| set.rtype == rtype);
                    if hits.is_empty() && !has_records {
                        trace.rule(Rule::N9);
                        let ttl = ttl.unwrap_or(snapshot.settings().ttl);
                        return (Some((Disposition::Alias { target, ttl }, how)), parent);
                    }
                }
                let hit = Match { entry };
                if hit.is_stopped(rtype) {
                    stopped.get_or_insert(snapshot);
                    continue;
                }
                if hits.is_empty() {
                    first_match = how;
                }
                hits.push(hit);
                if merge == Merge::Nearest {
                    break;
                }
            }
            Found::Service { entry, service, protocol } if hits.is_empty() => {
                if entry.is_down() {
                    stopped.get_or_insert(snapshot);
                    continue;
                }
                trace.rule(Rule::T4);
                return (Some((Disposition::Service { snapshot, entry, service, protocol }, Matched::Whole)), parent);
            }
            Found::Service { .. } => {}
            Found::Parent { is_below_name } => {
                parent.is_known = true;
                parent.is_below_name |= is_below_name;
            }
        }
    }
    if hits.is_empty() {
        return match stopped {
            None => (None, parent),
            Some(snapshot) => {
                let end = stopped_on(snapshot, name);
                trace.rule(end.as_ref().map_or(Rule::N7, |(end, _)| end.rule_of_stopped()));
                (end, parent)
            }
        };
    }
    trace.rule(match rtype {
        rtype::A | rtype::AAAA => Rule::T1,
        rtype::ANY => Rule::T6,
        _ => Rule::T5,
    });
    (Some((Disposition::Names(hits), first_match)), parent)
}

/// The end of a name that is stopped on a network. It is looked up again: rarely, and what most questions carry along
/// stays small.
#[cold]
fn stopped_on<'v>(snapshot: &'v Snapshot, name: &[u8]) -> Option<(Disposition<'v>, Matched<'v>)> {
    match snapshot.find(name)? {
        Found::Name { entry, how } => Some((Disposition::Stopped(Match { entry }), how)),
        Found::Service { entry, service, protocol } => {
            Some((Disposition::Service { snapshot, entry, service, protocol }, Matched::Whole))
        }
        Found::Parent { .. } => None,
    }
}

/// The reverse names that are ours: of known addresses, of unknown ones in known subnets, of the loopback (answers.md T3).
fn in_reverse_tree<'v>(view: &'v View<'_>, name: &[u8], trace: &mut impl Trace) -> Option<Disposition<'v>> {
    let prefix = reverse::prefix_of(name)?;
    let address = (prefix.prefix_len() == prefix.max_prefix_len()).then(|| prefix.addr());
    if let Some(address) = address {
        for seat in view.seats() {
            let holders = seat.snapshot().holders(address);
            if trace.is_on() {
                trace.address(seat, holders);
            }
            if !holders.is_empty() {
                trace.rule(Rule::T3);
                return Some(Disposition::Reverse { snapshot: seat.snapshot(), holders });
            }
        }
    }
    if view.seats().iter().any(|seat| matches!(seat.snapshot().find(name), Some(Found::Name { .. }))) {
        return None;
    }
    // Of the names above 1.0.0.127.in-addr.arpa, those of 127/8 begin with 127, too; of those above ::1's none ends in 1.
    if prefix.addr().is_loopback() {
        trace.rule(Rule::S);
        return Some(if address.is_some() { Disposition::Loopback } else { Disposition::Parent });
    }
    let mut subnets = view.seats().iter().flat_map(|seat| seat.snapshot().settings().all_subnets());
    if subnets.any(|subnet| subnet.contains(&prefix)) {
        trace.rule(Rule::T3);
        // A shorter prefix inside a subnet stands above addresses that may be known: it is a parent.
        return Some(if address.is_some() { Disposition::Unknown } else { Disposition::Parent });
    }
    None
}
