//! The other hosts: what each has in the store, and what is shown of it when its keys go.
//!
//! ```text
//! host:  Live -> Missing (2 s) -> Lost (linger) -> gone;   Live -> Leaving -> gone
//!        many Missing at once -> Held (hold) -> Live | Lost
//! ```
//!
//! Without sockets and without clocks. The time here is that for which the store was followed: while it is away, nobody gets
//! lost, and nothing is forgotten.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::record::{EndpointRecord, HostRecord, Key, Keys, Place, Refusal};

/// A host whose keys are gone may be back in a moment.
const MISSING: Duration = Duration::from_secs(2);
/// Two hosts with one container: after so long it is no migration.
const MIGRATION: Duration = Duration::from_secs(60);
/// Hosts, and their endpoints: of one, of all, and the octets of one's values.
const MAX_HOSTS: usize = 1_000;
const MAX_OF_HOST: usize = 5_000;
const MAX_OF_ALL: usize = 200_000;
const MAX_OCTETS_OF_HOST: usize = 4 << 20;
/// Keys whose refusal was logged.
const MAX_LOGGED: usize = 1_000;
/// A sign of life is due after 10 TTLs, and missed after 30.
const BEATS_MISSED: u32 = 30;

/// Endpoints of one network: hosts and ids.
pub(super) type Ids = BTreeSet<(Arc<str>, Box<str>)>;
/// Endpoints by network.
pub(super) type Places = BTreeMap<Box<str>, Ids>;

/// How long things take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub ttl: Duration,
    pub hold: Duration,
    pub linger: Duration,
}

/// One thing in the store, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub revision: i64,
}

/// What happened to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Put(Item),
    Deleted { key: Vec<u8>, revision: i64 },
}

impl Event {
    pub(super) fn key(&self) -> &[u8] {
        match self {
            Event::Put(item) => &item.key,
            Event::Deleted { key, .. } => key,
        }
    }

    pub(super) fn revision(&self) -> i64 {
        match self {
            Event::Put(item) => item.revision,
            Event::Deleted { revision, .. } => *revision,
        }
    }
}

/// All other hosts.
#[derive(Debug)]
pub(super) struct Hosts {
    keys: Keys,
    times: Times,
    hosts: BTreeMap<Arc<str>, Host>,
    /// Endpoints in the store, of all hosts.
    total: usize,
    /// When hosts got lost, within the last TTL.
    losses: Vec<(Duration, Arc<str>)>,
    /// When our own lease was gone.
    own_loss: Option<Duration>,
    /// The time of the last call.
    now: Duration,
    /// What is shown differently now.
    changed: Places,
    /// On how many hosts each container is shown, by its hash.
    counts: HashMap<u64, u32, RandomState>,
    /// Those that are shown on several.
    twins: BTreeMap<Place, Twins>,
    refused: BTreeMap<Refusal, u64>,
    logged: BTreeSet<u64>,
    notices: Vec<String>,
    hasher: RandomState,
}

/// The hosts that show one container, and since when.
#[derive(Debug, Default)]
struct Twins {
    hosts: BTreeMap<Arc<str>, Duration>,
    /// True if it is no migration: the one that was seen last counts alone.
    is_settled: bool,
}

impl Twins {
    /// When it is no migration any more.
    fn due(&self) -> Option<Duration> {
        Some(*self.hosts.values().max()? + MIGRATION)
    }
}

/// How all that there is was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listing<'l> {
    /// At which revision.
    pub revision: i64,
    /// Keys of which the watch has said since it was begun that they are gone.
    pub deleted: &'l BTreeSet<Vec<u8>>,
    /// True if revisions from before mean nothing here: the store is another one, or an older one.
    pub is_other: bool,
}

/// One host.
#[derive(Debug, Default)]
pub(super) struct Host {
    record: Option<HostRecord>,
    /// That of its key.
    revision: i64,
    phase: Phase,
    /// Since when it is in this phase.
    since: Duration,
    /// The last sign of life.
    beat: Duration,
    endpoints: BTreeMap<Place, Slot>,
    /// Endpoints whose keys went without a word of the host's, and when.
    orphans: BTreeMap<Place, Duration>,
    /// Endpoints in the store, and the octets of their values.
    stored: usize,
    octets: usize,
    refused: u64,
    /// Why its own key is not read.
    trouble: Option<Refusal>,
}

#[derive(Debug, Default)]
struct Slot {
    stored: Option<Arc<Known>>,
    shown: Option<Arc<Known>>,
}

/// What is known of an endpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub record: EndpointRecord,
    pub revision: i64,
    octets: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Phase {
    /// It has a key.
    #[default]
    Live,
    /// Its key is gone. It may be back.
    Missing,
    /// Its key is gone, with those of many others.
    Held(Duration),
    /// Its key is gone, and it stays away.
    Lost,
    /// It says that it stops.
    Leaving,
}

/// What is to be shown of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown<'h> {
    pub host: &'h HostRecord,
    pub known: &'h Known,
    pub is_lost: bool,
}

impl Hosts {
    pub(super) fn new(keys: Keys, times: Times) -> Hosts {
        Hosts {
            keys,
            times,
            hosts: BTreeMap::new(),
            total: 0,
            losses: Vec::new(),
            own_loss: None,
            now: Duration::ZERO,
            changed: BTreeMap::new(),
            counts: HashMap::default(),
            twins: BTreeMap::new(),
            refused: BTreeMap::new(),
            logged: BTreeSet::new(),
            notices: Vec::new(),
            hasher: RandomState::default(),
        }
    }

    pub(super) fn set_times(&mut self, times: Times) {
        self.times = times;
    }

    /// What one revision, or several in a row, did. Of our own keys nothing is to be said.
    pub(super) fn apply(&mut self, events: &[Event], now: Duration) {
        self.now = now;
        let mut rest = events;
        while let Some(first) = rest.first() {
            let revision = first.revision();
            let end = rest.iter().position(|event| event.revision() != revision).unwrap_or(rest.len());
            let (these, others) = rest.split_at(end);
            self.apply_revision(these);
            rest = others;
        }
        self.settle();
    }

    fn apply_revision(&mut self, events: &[Event]) {
        let parsed = |hosts: &mut Hosts, event: &Event| match hosts.keys.parse(event.key()) {
            Ok(key) => Some(key),
            Err(refusal) => {
                hosts.refuse(None, event.key(), refusal);
                None
            }
        };
        // Hosts first: whether a host has written itself tells what a deletion means.
        let mut written = BTreeSet::new();
        let mut endpoints = Vec::new();
        let mut lost = Vec::new();
        for event in events {
            match (parsed(self, event), event) {
                (Some(Key::Host(host)), Event::Put(item)) => {
                    self.put_host(&host, item);
                    written.insert(host);
                }
                // What a host says last is what counts: after the endpoints.
                (Some(Key::Host(host)), Event::Deleted { .. }) => lost.push(host),
                (Some(Key::Endpoint(host, place)), event) => endpoints.push((host, place, event)),
                (None, _) => {}
            }
        }
        for (host, place, event) in endpoints {
            match event {
                Event::Put(item) => self.put_endpoint(&host, place, item),
                Event::Deleted { .. } => self.delete_endpoint(&host, &place, written.contains(&host)),
            }
        }
        written.iter().for_each(|host| self.complete(host));
        lost.iter().for_each(|host| self.lose(host));
    }

    /// All that there is. Gives true if the watch had missed something.
    pub(super) fn list(&mut self, items: &[Item], how: &Listing<'_>, now: Duration) -> bool {
        self.now = now;
        let Listing { revision, deleted, is_other } = *how;
        // What the watch has said since is newer than the list.
        let is_open = |known: i64| is_other || known <= revision;
        let mut is_news = false;
        let mut seen: BTreeMap<Box<str>, BTreeSet<Place>> = BTreeMap::new();
        let mut hosts = BTreeSet::new();
        let mut endpoints = Vec::new();
        let mut rewritten = BTreeSet::new();
        for item in items {
            match self.keys.parse(&item.key) {
                Err(refusal) => self.refuse(None, &item.key, refusal),
                Ok(key) if deleted.contains(&item.key) => drop(key),
                Ok(Key::Host(name)) => {
                    let known = self.hosts.get(&*name).filter(|host| host.is_in_store());
                    if known.is_none_or(|host| is_open(host.revision) && host.differs(item)) {
                        is_news = true;
                        self.put_host(&name, item);
                        rewritten.insert(name.clone());
                    }
                    hosts.insert(name);
                }
                Ok(Key::Endpoint(name, place)) => endpoints.push((name, place, item)),
            }
        }
        for (name, place, item) in endpoints {
            let known = self.hosts.get(&*name).and_then(|host| host.endpoints.get(&place)?.stored.as_ref());
            if known.is_none_or(|known| is_open(known.revision) && known.differs(item)) {
                // What was refused is refused again, and is no news.
                is_news |= known.is_some() || self.put_endpoint_is_news(&name, &place, item);
                self.put_endpoint(&name, place.clone(), item);
            }
            seen.entry(name).or_default().insert(place);
        }
        let names: Vec<Arc<str>> = self.hosts.keys().cloned().collect();
        for name in names {
            let Some(host) = self.hosts.get(&name) else { continue };
            let none = BTreeSet::new();
            let seen = seen.get(&*name).unwrap_or(&none);
            let is_gone = |known: &Known| is_other || known.revision <= revision;
            let gone: Vec<Place> = host
                .endpoints
                .iter()
                .filter(|(place, slot)| !seen.contains(*place) && slot.stored.as_deref().is_some_and(is_gone))
                .map(|(place, _)| place.clone())
                .collect();
            let is_lost = host.is_in_store() && (is_other || host.revision <= revision) && !hosts.contains(&*name);
            is_news |= is_lost || !gone.is_empty();
            for place in gone {
                self.delete_endpoint(&name, &place, rewritten.contains(&*name));
            }
            if rewritten.contains(&*name) {
                self.complete(&name);
            }
            if is_lost {
                self.lose(&name);
            }
        }
        self.settle();
        is_news
    }

    /// True if an endpoint of the list is one that would be taken, and so should have been known.
    fn put_endpoint_is_news(&self, name: &str, place: &Place, item: &Item) -> bool {
        EndpointRecord::parse(&item.value).is_ok()
            && self
                .hosts
                .get(name)
                .is_none_or(|host| host.has_room(item.value.len()) || host.endpoints.contains_key(place))
    }

    /// What a state file says: shown until the store says otherwise.
    pub(super) fn restore(&mut self, items: &[Item], now: Duration) {
        let none = BTreeSet::new();
        self.list(items, &Listing { revision: i64::MAX, deleted: &none, is_other: true }, now);
        // Nothing of it is known to be in the store.
        for host in self.hosts.values_mut() {
            host.revision = 0;
        }
    }

    fn put_host(&mut self, name: &str, item: &Item) {
        if !self.hosts.contains_key(name) && self.hosts.len() >= MAX_HOSTS {
            return self.refuse(None, &item.key, Refusal::Limit);
        }
        let now = self.now;
        let record = HostRecord::parse(&item.value);
        let host = self.hosts.entry(name.into()).or_default();
        host.revision = item.revision;
        host.beat = now;
        match record {
            Ok(record) => {
                host.trouble = None;
                let is_leaving = record.leaving;
                host.record = Some(record);
                let phase = if is_leaving { Phase::Leaving } else { Phase::Live };
                // One that is back is shown as it was until it has told all.
                self.enter(name, phase);
                if is_leaving {
                    self.hide(name);
                }
            }
            Err(refusal) => {
                host.trouble = Some(refusal);
                if refusal == Refusal::Version {
                    host.record = None;
                    self.hide(name);
                }
                self.refuse(Some(name), &item.key, refusal);
            }
        }
    }

    /// Shows what a host has in the store, if it has told all.
    fn complete(&mut self, name: &str) {
        let Some((name, host)) = self.hosts.get_key_value(name) else { return };
        if !host.record.as_ref().is_some_and(|record| record.complete && !record.leaving) {
            return;
        }
        let is_same = |slot: &Slot| match (&slot.stored, &slot.shown) {
            (Some(stored), Some(shown)) => Arc::ptr_eq(stored, shown),
            (None, None) => true,
            _ => false,
        };
        let orphans = &host.orphans;
        let differing = host.endpoints.iter().filter(|(place, slot)| !is_same(slot) && !orphans.contains_key(*place));
        let differing: Vec<Place> = differing.map(|(place, _)| place.clone()).collect();
        let name = name.clone();
        for place in differing {
            self.show_stored(&name, &place);
        }
    }

    /// Shows an endpoint as it is in the store, or no longer.
    fn show_stored(&mut self, name: &Arc<str>, place: &Place) {
        let Some(host) = self.hosts.get_mut(name) else { return };
        let Some(slot) = host.endpoints.get_mut(place) else { return };
        let was_shown = slot.shown.is_some();
        slot.shown = slot.stored.clone();
        let is_shown = slot.shown.is_some();
        if !is_shown {
            host.endpoints.remove(place);
        }
        if was_shown || is_shown {
            self.note(name, place, was_shown, is_shown);
        }
    }

    /// Notes that what is shown of an endpoint has changed.
    fn note(&mut self, name: &Arc<str>, place: &Place, was_shown: bool, is_shown: bool) {
        self.changed.entry(place.network.clone()).or_default().insert((name.clone(), place.id.clone()));
        if is_shown == was_shown || !is_container(&place.id) {
            return;
        }
        let hash = self.hasher.hash_one(place);
        let count = self.counts.entry(hash).or_default();
        *count = if is_shown { *count + 1 } else { count.saturating_sub(1) };
        match *count {
            0 => drop(self.counts.remove(&hash)),
            1 => {}
            _ => self.find_twins(place),
        }
        if !is_shown && let Some(twins) = self.twins.get_mut(place) {
            twins.hosts.remove(name);
            // They may have been left out because of this one.
            for other in twins.hosts.keys() {
                self.changed.entry(place.network.clone()).or_default().insert((other.clone(), place.id.clone()));
            }
            if twins.hosts.len() < 2 {
                self.twins.remove(place);
            }
        }
    }

    /// Notes which hosts show a container.
    fn find_twins(&mut self, place: &Place) {
        let now = self.now;
        let shown = self.hosts.iter().filter(|(_, host)| host.shown(place).is_some());
        let names: Vec<Arc<str>> = shown.map(|(name, _)| name.clone()).collect();
        // Two containers may have one hash.
        if names.len() > 1 {
            let twins = self.twins.entry(place.clone()).or_default();
            names.into_iter().for_each(|name| _ = twins.hosts.entry(name).or_insert(now));
        }
    }

    fn put_endpoint(&mut self, name: &str, place: Place, item: &Item) {
        if !self.hosts.contains_key(name) {
            if self.hosts.len() >= MAX_HOSTS {
                return self.refuse(None, &item.key, Refusal::Limit);
            }
            // Its own key comes last when it has much to tell.
            let host = Host { since: self.now, beat: self.now, ..Host::default() };
            self.hosts.insert(name.into(), host);
        }
        let parsed = EndpointRecord::parse(&item.value);
        let Some(host) = self.hosts.get_mut(name) else { return };
        host.orphans.remove(&place);
        host.unstore(&place, &mut self.total);
        let parsed = parsed.and_then(|record| {
            let has_room = host.has_room(item.value.len()) && self.total < MAX_OF_ALL;
            if has_room { Ok(record) } else { Err(Refusal::Limit) }
        });
        let is_told = host.is_told();
        match parsed {
            Ok(record) => {
                let known = Arc::new(Known { record, revision: item.revision, octets: item.value.len() });
                host.stored += 1;
                host.octets += known.octets;
                self.total += 1;
                host.endpoints.entry(place.clone()).or_default().stored = Some(known);
            }
            Err(refusal) => self.refuse(Some(name), &item.key, refusal),
        }
        if is_told && let Some((name, _)) = self.hosts.get_key_value(name) {
            let name = name.clone();
            self.show_stored(&name, &place);
        }
    }

    /// `is_said`: the host has written itself in the same revision, so it is what the host wants.
    fn delete_endpoint(&mut self, name: &str, place: &Place, is_said: bool) {
        let now = self.now;
        let Some((name, _)) = self.hosts.get_key_value(name) else { return };
        let name = name.clone();
        let Some(host) = self.hosts.get_mut(&name) else { return };
        host.unstore(place, &mut self.total);
        if host.phase != Phase::Live || !host.is_told() {
            // What is shown of a host that is not there, or has not told all, stays as it is.
            return;
        }
        if is_said {
            self.show_stored(&name, place);
        } else if host.endpoints.get(place).is_some_and(|slot| slot.shown.is_some()) {
            host.orphans.entry(place.clone()).or_insert(now);
        }
    }

    /// The key of a host is gone.
    fn lose(&mut self, name: &str) {
        let Some((name, host)) = self.hosts.get_key_value(name) else { return };
        let name = name.clone();
        let is_leaving = host.record.as_ref().is_none_or(|record| record.leaving);
        if is_leaving {
            self.forget(&name);
            return;
        }
        let is_live = host.phase == Phase::Live;
        if let Some(host) = self.hosts.get_mut(&name) {
            host.revision = 0;
            // They are part of the loss.
            host.orphans.clear();
        }
        if !is_live {
            return;
        }
        self.enter(&name, Phase::Missing);
        self.losses.push((self.now, name));
    }

    /// Our own lease is gone, or our keys are: if hosts are lost at the same time, it is not their fault.
    pub(super) fn own_lost(&mut self, now: Duration) {
        self.now = now;
        self.own_loss = Some(now);
        self.settle();
    }

    fn enter(&mut self, name: &str, phase: Phase) {
        let Some((name, host)) = self.hosts.get_key_value(name) else { return };
        if host.phase == phase {
            return;
        }
        let was_lost = host.phase == Phase::Lost;
        let name = name.clone();
        let Some(host) = self.hosts.get_mut(&name) else { return };
        (host.phase, host.since) = (phase, self.now);
        if was_lost != (phase == Phase::Lost) {
            for (place, _) in host.endpoints.iter().filter(|(_, slot)| slot.shown.is_some()) {
                self.changed.entry(place.network.clone()).or_default().insert((name.clone(), place.id.clone()));
            }
        }
    }

    /// Shows nothing of a host.
    fn hide(&mut self, name: &str) {
        let Some((name, host)) = self.hosts.get_key_value(name) else { return };
        let name = name.clone();
        let shown = host.endpoints.iter().filter(|(_, slot)| slot.shown.is_some());
        let shown: Vec<Place> = shown.map(|(place, _)| place.clone()).collect();
        if let Some(host) = self.hosts.get_mut(&name) {
            host.orphans.clear();
            host.endpoints.retain(|_, slot| {
                slot.shown = None;
                slot.stored.is_some()
            });
        }
        shown.iter().for_each(|place| self.note(&name, place, true, false));
    }

    fn forget(&mut self, name: &Arc<str>) {
        self.hide(name);
        if let Some(host) = self.hosts.remove(name) {
            self.total -= host.stored;
        }
        self.losses.retain(|(_, lost)| lost != name);
    }

    /// Decides whether hosts that were lost are to be held, and moves on those whose time is up.
    fn settle(&mut self) {
        let Times { ttl, hold, linger } = self.times;
        let now = self.now;
        self.losses.retain(|(when, _)| now.saturating_sub(*when) <= ttl);
        self.own_loss = self.own_loss.filter(|when| now.saturating_sub(*when) <= ttl);
        let hosts = &self.hosts;
        let is_away = |host: &Host| matches!(host.phase, Phase::Missing | Phase::Held(_) | Phase::Lost);
        let recent: Vec<(Duration, Arc<str>)> =
            self.losses.iter().filter(|(_, name)| hosts.get(name).is_some_and(is_away)).cloned().collect();
        // Of those that were there a TTL ago.
        let there = hosts.values().filter(|host| !is_away(host) && host.record.is_some()).count() + self.losses.len();
        // Those that are back count, too: each was lost.
        let mass = self.losses.iter().map(|(_, name)| name).collect::<BTreeSet<_>>().len();
        if mass > 2.max(there / 4) || self.own_loss.is_some() && mass > 0 {
            let hold = hold.max(2 * ttl);
            for (when, name) in &recent {
                if self.hosts.get(name).is_some_and(|host| matches!(host.phase, Phase::Missing | Phase::Lost)) {
                    self.enter(name, Phase::Held(*when + hold));
                }
            }
        }
        let names: Vec<Arc<str>> = self.hosts.keys().cloned().collect();
        for name in names {
            let Some(host) = self.hosts.get(&name) else { continue };
            let age = now.saturating_sub(host.since);
            let beat = now.saturating_sub(host.beat);
            match host.phase {
                Phase::Live if beat > BEATS_MISSED * host.ttl(ttl) => {
                    // Its lease lives, and nobody writes it: somebody else keeps it alive.
                    self.enter(&name, Phase::Lost);
                }
                Phase::Missing if age >= MISSING => self.enter(&name, Phase::Lost),
                Phase::Held(until) if now >= until => self.enter(&name, Phase::Lost),
                Phase::Lost if age >= linger => {
                    if host.revision > 0 {
                        // It is in the store still, and comes back with its next sign of life.
                        self.hide(&name);
                    } else {
                        self.forget(&name);
                    }
                }
                Phase::Live if host.record.is_none() && host.stored == 0 && host.trouble.is_none() => {
                    self.forget(&name);
                }
                _ => {}
            }
            self.drop_orphans(&name);
        }
        self.look_at_twins();
    }

    fn drop_orphans(&mut self, name: &Arc<str>) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(name) else { return };
        let over = host.orphans.iter().filter(|(_, since)| now.saturating_sub(**since) >= MISSING);
        let over: Vec<Place> = over.map(|(place, _)| place.clone()).collect();
        for place in over {
            if let Some(host) = self.hosts.get_mut(name) {
                host.orphans.remove(&place);
            }
            self.show_stored(name, &place);
        }
    }

    /// One container on two hosts is a migration for a minute; then the younger record counts alone.
    fn look_at_twins(&mut self) {
        let due: Vec<Place> = self
            .twins
            .iter()
            .filter(|(_, twins)| !twins.is_settled && twins.due().is_some_and(|due| self.now >= due))
            .map(|(place, _)| place.clone())
            .collect();
        for place in due {
            let Some(twins) = self.twins.get_mut(&place) else { continue };
            twins.is_settled = true;
            let names: Vec<&str> = twins.hosts.keys().map(|name| &**name).collect();
            if self.logged.len() < MAX_LOGGED && self.logged.insert(self.hasher.hash_one((&place, "twin"))) {
                self.notices.push(format!(
                    "container {place} is published by {}; the one that was seen last counts: remove it on the others",
                    names.join(" and ")
                ));
            }
            for name in twins.hosts.keys() {
                self.changed.entry(place.network.clone()).or_default().insert((name.clone(), place.id.clone()));
            }
        }
    }

    /// Lets time pass.
    pub(super) fn tick(&mut self, now: Duration) {
        self.now = now;
        self.settle();
    }

    /// When [`tick`](Hosts::tick) has something to do; `None` for never.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let Times { ttl, linger, .. } = self.times;
        let hosts = self.hosts.values().flat_map(|host| {
            let phase = match host.phase {
                Phase::Live => Some(host.beat + BEATS_MISSED * host.ttl(ttl) + Duration::from_millis(1)),
                Phase::Missing => Some(host.since + MISSING),
                Phase::Held(until) => Some(until),
                Phase::Lost if host.has_shown() || host.revision == 0 => Some(host.since + linger),
                Phase::Lost | Phase::Leaving => None,
            };
            phase.into_iter().chain(host.orphans.values().map(|since| *since + MISSING))
        });
        let twins = self.twins.values().filter(|twins| !twins.is_settled).filter_map(Twins::due);
        hosts.chain(twins).min()
    }

    /// What is shown differently since the last call: by network, the hosts and the ids.
    pub(super) fn take_changed(&mut self) -> Places {
        std::mem::take(&mut self.changed)
    }

    /// What a person should know, since the last call.
    pub(super) fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// What is to be shown of an endpoint; `None` for nothing.
    pub(super) fn shown(&self, host: &str, place: &Place) -> Option<Shown<'_>> {
        let entry = self.hosts.get(host)?;
        let shown = entry.shown(place)?;
        let rank = |shown: &Shown<'_>| (!shown.is_lost, shown.known.record.since, shown.known.revision);
        let is_younger = |other: &Arc<str>| {
            let other = self.hosts.get(other).and_then(|other| other.shown(place));
            other.is_some_and(|other| rank(&other) > rank(&shown))
        };
        let twins = self.twins.get(place).filter(|twins| twins.is_settled);
        let is_older = twins.is_some_and(|twins| twins.hosts.keys().any(is_younger));
        (!is_older).then_some(shown)
    }

    /// All that is shown on a network: hosts and ids.
    pub(super) fn all_of(&self, network: &str) -> Ids {
        let of = |(name, host): (&Arc<str>, &Host)| -> Vec<_> {
            let here = host.endpoints.iter().filter(|(place, slot)| &*place.network == network && slot.shown.is_some());
            here.map(|(place, _)| (name.clone(), place.id.clone())).collect()
        };
        self.hosts.iter().flat_map(of).collect()
    }

    /// Each host.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Host)> {
        self.hosts.iter()
    }

    pub(super) fn refused(&self) -> &BTreeMap<Refusal, u64> {
        &self.refused
    }

    /// Counts something that was not taken, and says so once.
    pub(super) fn refuse(&mut self, host: Option<&str>, key: &[u8], refusal: Refusal) {
        *self.refused.entry(refusal).or_default() += 1;
        if let Some(host) = host.and_then(|host| self.hosts.get_mut(host)) {
            host.refused += 1;
        }
        // Of a limit once is enough.
        let what = if refusal == Refusal::Limit {
            self.hasher.hash_one((host, refusal))
        } else {
            self.hasher.hash_one((key, refusal))
        };
        if self.logged.len() < MAX_LOGGED && self.logged.insert(what) {
            self.notices.push(format!("{} is not taken: {refusal}", key.escape_ascii()));
        }
    }

    /// What is shown, as the store had it, for a state file.
    pub(super) fn to_items(&self) -> Vec<Item> {
        let mut items = Vec::new();
        for (name, host) in &self.hosts {
            let Some(record) = &host.record else { continue };
            if !host.has_shown() && host.revision == 0 || host.phase == Phase::Lost || host.phase == Phase::Leaving {
                continue;
            }
            let keys = self.keys.of_host(name);
            // It is whole, here.
            let record = HostRecord { complete: true, ..record.clone() };
            items.push(Item { key: keys.own_host().into_bytes(), value: record.to_value(), revision: host.revision });
            for (place, slot) in &host.endpoints {
                let Some(known) = &slot.shown else { continue };
                items.push(Item {
                    key: keys.own_endpoint(&place.network, &place.id).into_bytes(),
                    value: known.record.to_value(),
                    revision: known.revision,
                });
            }
        }
        items
    }
}

impl Known {
    /// True if the store has something else. One revision may mean two things, after a restored backup.
    fn differs(&self, item: &Item) -> bool {
        self.revision != item.revision
            || self.octets != item.value.len()
            || EndpointRecord::parse(&item.value).as_ref() != Ok(&self.record)
    }
}

impl Host {
    fn differs(&self, item: &Item) -> bool {
        self.revision != item.revision || HostRecord::parse(&item.value).ok() != self.record
    }

    pub(super) fn record(&self) -> Option<&HostRecord> {
        self.record.as_ref()
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn since(&self) -> Duration {
        self.since
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    pub(super) fn trouble(&self) -> Option<Refusal> {
        self.trouble
    }

    /// The endpoints that are shown.
    pub(super) fn endpoints(&self) -> usize {
        self.endpoints.values().filter(|slot| slot.shown.is_some()).count()
    }

    fn shown(&self, place: &Place) -> Option<Shown<'_>> {
        let known = self.endpoints.get(place)?.shown.as_deref()?;
        Some(Shown { host: self.record.as_ref()?, known, is_lost: self.phase == Phase::Lost })
    }

    fn has_shown(&self) -> bool {
        self.endpoints.values().any(|slot| slot.shown.is_some())
    }

    /// True if its key is known to be in the store, or was in the state file.
    fn is_in_store(&self) -> bool {
        self.record.is_some() && matches!(self.phase, Phase::Live | Phase::Leaving) || self.revision > 0
    }

    /// True if it has told all that it has.
    fn is_told(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.complete && !record.leaving)
    }

    fn has_room(&self, octets: usize) -> bool {
        self.stored < MAX_OF_HOST && self.octets + octets <= MAX_OCTETS_OF_HOST
    }

    fn unstore(&mut self, place: &Place, total: &mut usize) {
        let Some(slot) = self.endpoints.get_mut(place) else { return };
        if let Some(known) = slot.stored.take() {
            self.stored -= 1;
            self.octets -= known.octets;
            *total -= 1;
        }
        if slot.shown.is_none() {
            self.endpoints.remove(place);
        }
    }

    fn ttl(&self, own: Duration) -> Duration {
        let said = self.record.as_ref().and_then(|record| record.ttl);
        said.map_or(own, |ttl| Duration::from_secs(ttl.clamp(1, 3_600)))
    }
}

/// True if an id is that of a container, which is one wherever it is; others are what people chose on each host.
fn is_container(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
