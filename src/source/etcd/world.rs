//! All that is known: the other hosts, our claim, and what of both is in the table. Without sockets; time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use crate::table::{Event as TableEvent, NameTable};

use super::host::{Event, Hosts, Item, Listing, Phase, Times};
use super::link::{Position, Reason};
use super::own::{Identity, Own, Standing};
use super::proto::{EventType, KeyValue, ResponseHeader, WatchResponse};
use super::publish::Publisher;
use super::record::{HostRecord, Keys};
use super::state_file::Saved;
use super::take::Taker;
use crate::settings::StoreOptions;
use crate::settings::{ClaimStatus, HostState, HostStatus, LinkStatus, StoreStatus};

/// See the module.
#[derive(Debug)]
pub(super) struct World {
    pub(super) keys: Keys,
    pub(super) own: Own,
    pub(super) position: Option<Position>,
    table: NameTable,
    hosts: Hosts,
    publisher: Publisher,
    taker: Taker,
    host: String,
    started: Instant,
    /// While the store is followed: since when; and for how long it was before.
    live_since: Option<Instant>,
    followed: Duration,
    link: LinkStatus,
    member: Option<String>,
    synced: Option<SystemTime>,
    is_from_file: bool,
    resyncs: BTreeMap<&'static str, u64>,
    /// Keys that are gone, since a full reading was begun.
    deleted: Option<BTreeSet<Vec<u8>>>,
    /// True if the state file is older than this.
    is_unsaved: bool,
    notices: Vec<String>,
    /// True if names of other hosts are not known, and are not waited for any longer.
    is_awaiting: bool,
}

/// What a message of the watch comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing, or what it said is in force.
    News,
    /// The watch stands.
    Created,
    /// Everything is to be read.
    List(Reason),
    /// The watch is over.
    Over(String),
}

impl World {
    pub(super) fn new(
        options: &StoreOptions,
        identity: Identity,
        table: &NameTable,
        random: u64,
        now: Instant,
    ) -> World {
        let keys = Keys::new(&options.prefix, &options.host);
        World {
            own: Own::new(keys.clone(), identity, options.ttl, random),
            position: None,
            table: table.clone(),
            hosts: Hosts::new(keys.clone(), times(options)),
            publisher: Publisher::new(keys.clone()),
            taker: Taker::new(&options.reserved),
            host: options.host.clone(),
            started: now,
            live_since: None,
            followed: Duration::ZERO,
            link: LinkStatus::Starting,
            member: None,
            synced: None,
            is_from_file: false,
            resyncs: BTreeMap::new(),
            deleted: None,
            is_unsaved: false,
            notices: Vec::new(),
            is_awaiting: false,
            keys,
        }
    }

    pub(super) fn configure(&mut self, options: &StoreOptions, now: Instant) {
        let since_start = self.since_start(now);
        self.hosts.set_times(times(options));
        self.own.set_ttl(options.ttl, since_start);
        self.taker.set_reserved(&options.reserved);
        let shared: Vec<Box<str>> = self.publisher.shared().keys().cloned().collect();
        shared.iter().for_each(|name| self.taker.take_all(name, &self.table, &mut self.hosts, self.publisher.shared()));
    }

    /// The time of our own claim, which goes on whether the store is followed or not.
    pub(super) fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// The time of the other hosts, which goes on while the store is followed.
    fn followed(&self, now: Instant) -> Duration {
        self.followed + self.live_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Nothing is known of other hosts, and nobody waits for it: their names are not said to be nobody's meanwhile.
    pub(super) fn wait_no_longer(&mut self) {
        self.is_awaiting = true;
        self.tell_awaiting();
    }

    fn tell_awaiting(&self) {
        for (network, _) in self.publisher.shared().values() {
            // A network that is gone is asked for nothing.
            let _ = network.change(|change| change.await_remote(self.is_awaiting));
        }
    }

    fn known(&mut self) {
        if std::mem::take(&mut self.is_awaiting) {
            self.tell_awaiting();
        }
    }

    /// Notes what has happened in the table.
    pub(super) fn note(&mut self, event: TableEvent) {
        self.publisher.note(event);
    }

    /// True if [`publish`](World::publish) has something to do.
    pub(super) fn is_publish_due(&self) -> bool {
        self.publisher.is_due()
    }

    /// Where this host is reached.
    pub(super) fn set_addresses(&mut self, addresses: Vec<IpAddr>, now: Instant) {
        self.publisher.set_addresses(addresses);
        self.publish(now);
    }

    /// Takes over what has changed in the table.
    pub(super) fn publish(&mut self, now: Instant) {
        let since_start = self.since_start(now);
        let changed = self.publisher.publish(&self.table, &mut self.own, since_start);
        if self.is_awaiting && !changed.is_empty() {
            self.tell_awaiting();
        }
        for name in changed {
            self.taker.take_all(&name, &self.table, &mut self.hosts, self.publisher.shared());
        }
    }

    /// Shows what a state file has. Nothing is known of the store itself then.
    pub(super) fn restore(&mut self, saved: &Saved, now: Instant) {
        if saved.root != self.keys.root() {
            return;
        }
        let items: Vec<Item> = saved.items().into_iter().filter(|item| !self.keys.is_own(&item.key)).collect();
        let followed = self.followed(now);
        self.hosts.restore(&items, followed);
        self.position = Some(Position { cluster_id: saved.cluster_id, term: saved.term, revision: saved.revision });
        self.synced = Some(saved.time());
        self.is_from_file = true;
        self.take();
        self.known();
    }

    /// What a state file is to have, if it has something else.
    pub(super) fn take_unsaved(&mut self) -> Option<Saved> {
        let Position { cluster_id, term, revision } = self.position?;
        if !std::mem::take(&mut self.is_unsaved) {
            return None;
        }
        Some(Saved::new(self.keys.root(), cluster_id, term, revision, self.hosts.to_items()))
    }

    pub(super) fn is_unsaved(&self) -> bool {
        self.is_unsaved
    }

    /// It could not be written: it is to be tried again.
    pub(super) fn not_saved(&mut self) {
        self.is_unsaved = true;
    }

    /// True if the store was read once, by this run.
    pub(super) fn is_synced(&self) -> bool {
        self.synced.is_some() && !self.is_from_file
    }

    /// True if something is known of what there is: from the store, or from the file.
    pub(super) fn is_known(&self) -> bool {
        self.synced.is_some()
    }

    /// A full reading begins.
    pub(super) fn begin_list(&mut self) {
        self.deleted = Some(BTreeSet::new());
    }

    /// All that there is. Gives true if the watch, if there is one, has missed something.
    pub(super) fn listed(&mut self, kvs: Vec<KeyValue>, header: &ResponseHeader, reason: Reason, now: Instant) -> bool {
        let (own, others): (Vec<Item>, Vec<Item>) =
            kvs.into_iter().map(item).partition(|item| self.keys.is_own(&item.key));
        let reason = match self.position.map_or(Ok(()), |position| position.judge_store(header)) {
            Err(worse) => worse,
            Ok(()) => reason,
        };
        *self.resyncs.entry(reason.as_str()).or_default() += 1;
        let deleted = self.deleted.take().unwrap_or_default();
        let (followed, since_start) = (self.followed(now), self.since_start(now));
        let is_other = reason.is_other() || self.is_from_file;
        let how = Listing { revision: header.revision, deleted: &deleted, is_other };
        let is_news = self.hosts.list(&others, &how, followed);
        if reason.is_other() {
            self.own.start_over(since_start);
        }
        self.own.list(&own, header.revision, since_start);
        let known = self.position.filter(|_| !is_other);
        let revision = known.map_or(header.revision, |known| known.revision.max(header.revision));
        self.position = Some(Position { cluster_id: header.cluster_id, term: header.raft_term, revision });
        self.synced = Some(SystemTime::now());
        self.is_from_file = false;
        self.is_unsaved |= is_news;
        self.look_at_own(followed);
        self.take();
        self.known();
        is_news
    }

    /// What the watch said. `is_fresh`: all was read just before it was begun, so that it is believed however much has happened
    /// since.
    pub(super) fn heard(&mut self, message: WatchResponse, is_fresh: bool, now: Instant) -> Heard {
        let WatchResponse { header, created, canceled, compact_revision, cancel_reason, events } = message;
        if canceled {
            return match compact_revision {
                0 => Heard::Over(cancel_reason),
                _ => Heard::List(Reason::Compacted),
            };
        }
        let header = header.unwrap_or_default();
        let Some(position) = &mut self.position else { return Heard::List(Reason::Start) };
        if created {
            let judged = if is_fresh { position.judge_store(&header) } else { position.judge(&header) };
            if let Err(reason) = judged {
                return Heard::List(reason);
            }
            position.term = position.term.max(header.raft_term);
            return Heard::Created;
        }
        let known = position.revision;
        let mut events: Vec<Event> = events.into_iter().filter_map(event).collect();
        // A full reading was faster.
        events.retain(|event| event.revision() > known);
        let Some(last) = events.last().map(Event::revision) else { return Heard::News };
        position.revision = last;
        if let Some(deleted) = &mut self.deleted {
            for event in &events {
                match event {
                    Event::Deleted { key, .. } => drop(deleted.insert(key.clone())),
                    Event::Put(item) => drop(deleted.remove(&item.key)),
                }
            }
        }
        let (own, others): (Vec<Event>, Vec<Event>) =
            events.into_iter().partition(|event| self.keys.is_own(event.key()));
        let (followed, since_start) = (self.followed(now), self.since_start(now));
        self.own.observe(own, since_start);
        self.look_at_own(followed);
        self.hosts.apply(&others, followed);
        self.synced = Some(SystemTime::now());
        self.is_unsaved |= !others.is_empty();
        self.take();
        Heard::News
    }

    /// Lets the other hosts know if our own claim is lost: then their losses are not their fault.
    fn look_at_own(&mut self, followed: Duration) {
        if self.own.take_loss() {
            self.notices
                .push("this host's lease was gone although it was kept alive: everything is published anew".into());
            self.hosts.own_lost(followed);
        }
    }

    /// Puts into the table what is shown differently.
    fn take(&mut self) {
        let changed = self.hosts.take_changed();
        if !changed.is_empty() {
            self.taker.take(changed, &mut self.hosts, self.publisher.shared());
        }
    }

    /// Lets time pass.
    pub(super) fn tick(&mut self, now: Instant) {
        let followed = self.followed(now);
        self.look_at_own(followed);
        if self.live_since.is_some() {
            self.hosts.tick(followed);
        }
        self.take();
    }

    /// When [`tick`](World::tick) has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let since = self.live_since?;
        let deadline = self.hosts.deadline()?;
        Some(since + deadline.saturating_sub(self.followed))
    }

    /// The store is followed from now on.
    pub(super) fn live(&mut self, member: &str, now: Instant) {
        self.live_since.get_or_insert(now);
        self.member = Some(member.to_owned());
        if !matches!(self.link, LinkStatus::Live { .. }) {
            self.link = LinkStatus::Live { since: SystemTime::now() };
        }
    }

    /// The store is not followed any more. Gives true if it was until now.
    pub(super) fn away(&mut self, error: &str, now: Instant) -> bool {
        self.followed = self.followed(now);
        self.deleted = None;
        let was_live = self.live_since.take().is_some();
        if was_live {
            self.synced = Some(SystemTime::now());
        }
        let since_start = self.since_start(now);
        self.own.disconnected(since_start);
        let since = match &self.link {
            LinkStatus::Away { since, .. } => *since,
            _ => SystemTime::now(),
        };
        self.link = LinkStatus::Away { since, error: error.to_owned() };
        was_live
    }

    /// Takes everything of other hosts from the table.
    pub(super) fn clear(&mut self) {
        self.taker.clear(self.publisher.shared());
    }

    /// What a person should know, since the last call.
    pub(super) fn take_notices(&mut self) -> Vec<String> {
        let mut notices = std::mem::take(&mut self.notices);
        notices.extend(self.hosts.take_notices());
        notices.extend(self.own.take_notices());
        notices.extend(self.publisher.take_notices());
        notices
    }

    pub(super) fn status(&self, now: Instant) -> StoreStatus {
        let followed = self.followed(now);
        let claim = match self.own.standing() {
            Standing::Unclaimed => ClaimStatus::Unclaimed,
            Standing::Claimed { lease, seq } => ClaimStatus::Claimed { lease, seq },
            Standing::Doubtful => ClaimStatus::Doubtful,
            Standing::Refused(reason) => ClaimStatus::Refused { reason },
        };
        let position = self.position.unwrap_or_default();
        let mut status = StoreStatus {
            link: self.link.clone(),
            member: self.member.clone(),
            revision: position.revision,
            cluster_id: position.cluster_id,
            synced: if self.live_since.is_some() { Some(SystemTime::now()) } else { self.synced },
            is_from_file: self.is_from_file,
            host: self.host.clone(),
            claim,
            published: self.own.published(),
            conflicts: self.taker.conflicts().collect(),
            remote_endpoints: self.taker.in_force(),
            refused: self.hosts.refused().iter().map(|(refusal, count)| (refusal.as_str(), *count)).collect(),
            resyncs: self.resyncs.clone(),
            publishes: self.own.results().clone(),
            propagation: self.own.propagation(),
            ..StoreStatus::default()
        };
        let in_force = self.taker.in_force_by_host();
        for (name, host) in self.hosts.iter() {
            let state = match host.phase() {
                Phase::Live => HostState::Live,
                Phase::Missing => HostState::Missing,
                Phase::Held(_) => HostState::Held,
                Phase::Lost => HostState::Lost,
                Phase::Leaving => HostState::Leaving,
            };
            status.is_holding |= state == HostState::Held;
            let record = host.record();
            let of = |part: fn(&HostRecord) -> String| record.map(part).unwrap_or_default();
            status.hosts.insert(
                name.to_string(),
                HostStatus {
                    state,
                    since: followed.saturating_sub(host.since()),
                    addresses: record.map(|record| record.addr.clone()).unwrap_or_default(),
                    version: of(|record| record.version.clone()),
                    networks: record.map(|record| record.networks.keys().cloned().collect()).unwrap_or_default(),
                    endpoints: host.endpoints(),
                    in_force: in_force.get(&**name).copied().unwrap_or(0),
                    refused: host.refused(),
                    remark: host.trouble().map(|trouble| trouble.to_string()),
                },
            );
        }
        status
    }
}

fn times(options: &StoreOptions) -> Times {
    Times { ttl: options.ttl, hold: options.hold, linger: options.linger }
}

fn item(kv: KeyValue) -> Item {
    Item { key: kv.key, value: kv.value, revision: kv.mod_revision }
}

fn event(event: super::proto::Event) -> Option<Event> {
    let kv = event.kv?;
    Some(match EventType::try_from(event.kind).ok()? {
        EventType::Put => Event::Put(item(kv)),
        EventType::Delete => Event::Deleted { key: kv.key, revision: kv.mod_revision },
    })
}
