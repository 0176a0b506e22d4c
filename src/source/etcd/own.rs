//! This host: its claim to its name, and what it publishes.
//!
//! ```text
//! Unclaimed -> Claimed -> Doubtful (a write was not answered) -> Claimed | Unclaimed
//! Refused (the name is another machine's) -> Unclaimed, each TTL
//! ```
//!
//! Every write is one transaction that compares the revision of the host's key and rewrites it: a write that was given up and
//! comes late finds another revision, and does nothing.
//!
//! Without sockets and without clocks: [`Own::poll`] says what to ask of the store, [`Own::answer`] takes what it said.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::host::{Event, Item};
use super::record::{HostRecord, Keys, Refusal, SharedNetwork};

/// Endpoints of one write, and the octets of their values.
const MAX_WRITE: usize = 100;
const MAX_WRITE_OCTETS: usize = 1 << 20;
/// The pauses before the next attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// A claim that has lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(30);
/// Being taken over by the same machine twice within this time means that it is not the same.
const CLONED_WITHIN: Duration = Duration::from_secs(600);
/// Revisions of own writes that are remembered until the watch has shown them.
const MAX_REVISIONS: usize = 1_000;
/// A sign of life each so many TTLs.
const BEAT: u32 = 10;

/// Who this host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub machine: String,
    pub boot: String,
    pub instance: String,
}

/// What to ask of the store. One at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    /// Our host's key, as all members agree that it is.
    ReadHost,
    /// A lease.
    Grant,
    Write(Write),
    /// An older lease of ours, on which nothing hangs any more.
    Revoke(i64),
}

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    /// The revision that our host's key must have; 0 if there must be none.
    pub expected: i64,
    pub lease: i64,
    pub host: Vec<u8>,
    /// True if all endpoints that we had are to go.
    pub clears: bool,
    pub puts: Vec<(String, Vec<u8>)>,
    pub deletes: Vec<String>,
}

/// What the store said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Host(Option<Item>),
    Granted(i64),
    Written(i64),
    /// The revision is another one: our host's key as it is.
    Conflict(Option<Item>),
    NoLease,
    Revoked,
    /// Nothing, or that it cannot: a write may have been done, or be done later.
    Unknown,
    /// It does not let us.
    Denied(String),
}

/// How the claim stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    Unclaimed,
    Claimed { lease: i64, seq: u64 },
    Doubtful,
    Refused(String),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Own {
    keys: Keys,
    identity: Identity,
    ttl: Duration,
    addresses: Vec<IpAddr>,
    networks: BTreeMap<String, SharedNetwork>,
    /// By key: what is to be in the store, and what is.
    want: BTreeMap<String, Vec<u8>>,
    have: BTreeMap<String, Vec<u8>>,
    /// Keys in which they differ.
    dirty: BTreeSet<String>,
    state: State,
    /// True while something was asked and not answered.
    is_asking: bool,
    claim: Option<Claim>,
    /// Of what is asked, if it is a write.
    pending: Option<Pending>,
    /// Events since then that may be our own.
    stash: Vec<Event>,
    /// Revisions that our writes made.
    revisions: VecDeque<i64>,
    /// When we were taken over by our own machine.
    taken: Vec<Duration>,
    attempts: u32,
    random: u64,
    /// Of the last write, whatever came of it: each has another one, so that it is known by it.
    seq: u64,
    /// A lease that may live although its keys are gone.
    stale_lease: Option<i64>,
    /// Since when something is to be written.
    waiting_since: Option<Duration>,
    propagation: Option<Duration>,
    results: BTreeMap<&'static str, u64>,
    /// True if our claim was lost since the last question.
    was_lost: bool,
    notices: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// To be claimed, from then on.
    Unclaimed(Duration),
    /// To be claimed as soon as there is a lease: what our host's key is like.
    Granting(Seen),
    Claimed,
    /// To be looked at before the next write.
    Doubtful,
    /// Not to be claimed; `None` for never.
    Refused {
        reason: String,
        again: Option<Duration>,
    },
    /// We stop.
    Leaving,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    revision: i64,
    old_lease: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Claim {
    lease: i64,
    /// That of our host's key; what it was before the first write.
    revision: i64,
    seq: u64,
    beat: u64,
    beat_at: Duration,
    since: Duration,
    is_complete: bool,
    /// True if what our host's key says has changed.
    is_header_due: bool,
    /// The revision of its first write, which takes away what was there before; 0 until then.
    first: i64,
    old_lease: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pending {
    write: Write,
    seq: u64,
    is_complete: bool,
    beat: u64,
    begun: Duration,
}

impl Own {
    /// `random`: any number, another one for each host.
    pub(super) fn new(keys: Keys, identity: Identity, ttl: Duration, random: u64) -> Own {
        Own {
            keys,
            identity,
            ttl,
            addresses: Vec::new(),
            networks: BTreeMap::new(),
            want: BTreeMap::new(),
            have: BTreeMap::new(),
            dirty: BTreeSet::new(),
            state: State::Unclaimed(Duration::ZERO),
            is_asking: false,
            claim: None,
            pending: None,
            stash: Vec::new(),
            revisions: VecDeque::new(),
            taken: Vec::new(),
            attempts: 0,
            random: random | 1,
            seq: 0,
            stale_lease: None,
            waiting_since: None,
            propagation: None,
            results: BTreeMap::new(),
            was_lost: false,
            notices: Vec::new(),
        }
    }

    /// Publishes an endpoint like this from now on; `None` for no longer.
    pub(super) fn want(&mut self, key: String, value: Option<Vec<u8>>, now: Duration) {
        match value {
            Some(value) => drop(self.want.insert(key.clone(), value)),
            None => drop(self.want.remove(&key)),
        }
        self.compare(key);
        if !self.dirty.is_empty() {
            self.waiting_since.get_or_insert(now);
        }
    }

    /// What our host's key says of us.
    pub(super) fn describe(&mut self, addresses: Vec<IpAddr>, networks: BTreeMap<String, SharedNetwork>) {
        if (&self.addresses, &self.networks) != (&addresses, &networks) {
            (self.addresses, self.networks) = (addresses, networks);
            if let Some(claim) = &mut self.claim {
                claim.is_header_due = true;
            }
        }
    }

    pub(super) fn set_ttl(&mut self, ttl: Duration, now: Duration) {
        if self.ttl != ttl {
            self.ttl = ttl;
            // A lease keeps the TTL that it was granted with.
            if let Some(claim) = self.claim {
                self.stale_lease = Some(claim.lease);
                self.forget_claim();
                self.state = State::Unclaimed(now);
            }
        }
    }

    fn compare(&mut self, key: String) {
        if self.want.get(&key) == self.have.get(&key) {
            self.dirty.remove(&key);
        } else {
            self.dirty.insert(key);
        }
    }

    /// What to ask next, if nothing is asked.
    pub(super) fn poll(&mut self, now: Duration) -> Option<Call> {
        if self.is_asking {
            return None;
        }
        let call = match &self.state {
            State::Unclaimed(from) if now >= *from => Some(Call::ReadHost),
            State::Doubtful => Some(Call::ReadHost),
            State::Granting(_) => Some(Call::Grant),
            State::Refused { again: Some(again), .. } if now >= *again => Some(Call::ReadHost),
            State::Claimed => self.next_write(now).map(Call::Write).or_else(|| {
                let claim = self.claim.as_mut().filter(|claim| claim.is_complete)?;
                claim.old_lease.take().map(Call::Revoke)
            }),
            _ => None,
        };
        self.is_asking = call.is_some();
        call
    }

    /// When [`poll`](Own::poll) has something to ask, if nothing else happens.
    pub(super) fn deadline(&self) -> Option<Duration> {
        if self.is_asking {
            return None;
        }
        match &self.state {
            State::Unclaimed(from) => Some(*from),
            State::Refused { again, .. } => *again,
            State::Claimed => self.claim.map(|claim| claim.beat_at + BEAT * self.ttl),
            _ => None,
        }
    }

    fn next_write(&mut self, now: Duration) -> Option<Write> {
        let claim = self.claim?;
        let is_beat_due = now >= claim.beat_at + BEAT * self.ttl;
        if claim.is_complete && self.dirty.is_empty() && !claim.is_header_due && !is_beat_due {
            return None;
        }
        let (mut puts, mut deletes, mut octets) = (Vec::new(), Vec::new(), 0);
        // What was there before is deleted as a range, which cannot go together with puts into it.
        let clears = claim.first == 0;
        if !clears {
            // A name that moves is to be at both ends for a moment rather than at none.
            let is_put = |key: &&String| self.want.contains_key(*key);
            let (first, last): (Vec<&String>, Vec<&String>) = self.dirty.iter().partition(is_put);
            for key in first.into_iter().chain(last) {
                if puts.len() + deletes.len() >= MAX_WRITE || octets > MAX_WRITE_OCTETS {
                    break;
                }
                match self.want.get(key) {
                    Some(value) => {
                        octets += value.len();
                        puts.push((key.clone(), value.clone()));
                    }
                    None => deletes.push(key.clone()),
                }
            }
        }
        let is_last = puts.len() + deletes.len() == self.dirty.len();
        let is_complete = claim.is_complete || is_last;
        let beat = claim.beat + u64::from(is_beat_due);
        let host = HostRecord { seq: self.seq + 1, beat, complete: is_complete, ..self.record(claim.lease) };
        self.seq += 1;
        let write =
            Write { expected: claim.revision, lease: claim.lease, host: host.to_value(), clears, puts, deletes };
        self.pending = Some(Pending { write: write.clone(), seq: self.seq, is_complete, beat, begun: now });
        Some(write)
    }

    fn record(&self, lease: i64) -> HostRecord {
        HostRecord {
            v: HostRecord::VERSION,
            machine: self.identity.machine.clone(),
            boot: self.identity.boot.clone(),
            instance: self.identity.instance.clone(),
            lease,
            ttl: Some(self.ttl.as_secs()),
            addr: self.addresses.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            networks: self.networks.clone(),
            ..HostRecord::default()
        }
    }

    /// What the store said to what was asked.
    pub(super) fn answer(&mut self, answer: Answer, now: Duration) {
        self.is_asking = false;
        match answer {
            Answer::Host(item) => self.judge(item.as_ref(), now),
            Answer::Conflict(item) => {
                self.count("lost");
                self.judge(item.as_ref(), now);
            }
            Answer::Granted(lease) => {
                if let State::Granting(seen) = self.state {
                    self.claim(lease, seen, now);
                }
            }
            Answer::Written(revision) => self.written(revision, now),
            Answer::NoLease => {
                self.count("lost");
                self.pending = None;
                self.lose(now);
            }
            Answer::Revoked => {}
            Answer::Unknown => match self.state {
                State::Claimed if self.pending.is_some() => {
                    self.count("unknown");
                    self.state = State::Doubtful;
                }
                // The link has pauses of its own.
                State::Granting(_) | State::Unclaimed(_) => self.state = State::Unclaimed(now),
                State::Refused { again: Some(ref mut again), .. } => *again = now + FIRST_PAUSE,
                _ => {}
            },
            Answer::Denied(reason) => {
                self.count("denied");
                self.pending = None;
                self.give_up(reason, Some(now + self.ttl.min(MAX_PAUSE)));
            }
        }
        self.take_stash(now);
    }

    fn count(&mut self, result: &'static str) {
        *self.results.entry(result).or_default() += 1;
    }

    fn claim(&mut self, lease: i64, seen: Seen, now: Duration) {
        self.claim = Some(Claim {
            lease,
            revision: seen.revision,
            seq: 0,
            beat: 0,
            beat_at: now,
            since: now,
            is_complete: false,
            is_header_due: true,
            first: 0,
            old_lease: seen.old_lease.or(self.stale_lease.take()),
        });
        self.state = State::Claimed;
    }

    fn written(&mut self, revision: i64, now: Duration) {
        let (Some(pending), Some(claim)) = (self.pending.take(), &mut self.claim) else { return };
        self.state = State::Claimed;
        let Pending { write, seq, is_complete, beat, begun } = pending;
        if beat != claim.beat || claim.seq == 0 {
            claim.beat_at = now;
        }
        let was_complete = claim.is_complete;
        let first = if claim.first == 0 { revision } else { claim.first };
        *claim = Claim { revision, seq, beat, is_complete, first, is_header_due: false, ..*claim };
        if now.saturating_sub(claim.since) >= GOOD {
            self.attempts = 0;
        }
        if is_complete && !was_complete {
            claim.since = now;
        }
        let said = HostRecord::parse(&write.host).ok();
        if said.is_none_or(|said| said.addr != self.addresses || said.networks != self.networks) {
            claim.is_header_due = true;
        }
        self.count("done");
        self.revisions.push_back(revision);
        if self.revisions.len() > MAX_REVISIONS {
            self.revisions.pop_front();
        }
        if write.clears {
            self.have.clear();
            self.dirty = self.want.keys().cloned().collect();
        }
        for (key, value) in write.puts {
            self.have.insert(key.clone(), value);
            self.compare(key);
        }
        for key in write.deletes {
            self.have.remove(&key);
            self.compare(key);
        }
        if let Some(since) = self.waiting_since {
            self.propagation = Some(now.saturating_sub(since));
            self.waiting_since = (!self.dirty.is_empty()).then_some(begun);
        }
    }

    /// What our host's key is like decides what comes next.
    fn judge(&mut self, item: Option<&Item>, now: Duration) {
        if self.state == State::Leaving {
            return;
        }
        let Some(item) = item else {
            return match self.claim {
                // It was there, and is no more; or a first write was refused because something was there, and is no more.
                Some(_) => self.lose(now),
                None => self.state = State::Granting(Seen { revision: 0, old_lease: None }),
            };
        };
        match HostRecord::parse(&item.value) {
            Ok(record) if record.instance == self.identity.instance => self.judge_own(item, &record, now),
            Ok(record) if record.machine == self.identity.machine => {
                if self.claim.is_some_and(|claim| claim.first > 0) && self.is_cloned(now) {
                    return self.give_up(
                        "machine-id is not unique: another machine with this one's id has taken this host's name twice; give \
                         each its own with `systemd-machine-id-setup`, and its own `host` in [store]"
                            .to_owned(),
                        None,
                    );
                }
                self.forget_claim();
                let old_lease = (record.lease != 0).then_some(record.lease);
                self.state = State::Granting(Seen { revision: item.revision, old_lease });
            }
            Ok(record) => {
                let at: Vec<String> = record.addr.iter().map(ToString::to_string).collect();
                let at = if at.is_empty() { "an unknown address".to_owned() } else { at.join(", ") };
                self.give_up(
                    format!("the host at {at} has this host's name; give one of them another `host` in [store]"),
                    Some(now + self.ttl),
                );
            }
            Err(Refusal::Version) => self.give_up(
                "this host's key was written by another version of callsign; stop that one, or delete the key"
                    .to_owned(),
                Some(now + self.ttl),
            ),
            // It names no owner.
            Err(_) => {
                self.forget_claim();
                self.state = State::Granting(Seen { revision: item.revision, old_lease: None });
            }
        }
    }

    /// The key is ours. A write may have been given up that was done.
    fn judge_own(&mut self, item: &Item, record: &HostRecord, now: Duration) {
        match (self.claim, &self.pending) {
            (Some(claim), Some(pending)) if record.seq == pending.seq && record.lease == claim.lease => {
                self.written(item.revision, now);
            }
            (Some(claim), _) if record.seq == claim.seq && item.revision == claim.revision => {
                self.pending = None;
                self.state = State::Claimed;
            }
            // What came in between is not known: all is told again.
            _ => {
                self.forget_claim();
                let old_lease = (record.lease != 0).then_some(record.lease);
                self.state = State::Granting(Seen { revision: item.revision, old_lease });
            }
        }
    }

    fn is_cloned(&mut self, now: Duration) -> bool {
        self.taken.retain(|when| now.saturating_sub(*when) <= CLONED_WITHIN);
        self.taken.push(now);
        self.taken.len() >= 2
    }

    fn give_up(&mut self, reason: String, again: Option<Duration>) {
        self.forget_claim();
        let is_new = !matches!(&self.state, State::Refused { reason: known, .. } if *known == reason);
        if is_new {
            self.notices.push(format!("this host's names are not published: {reason}"));
        }
        self.state = State::Refused { reason, again };
    }

    fn forget_claim(&mut self) {
        self.claim = None;
        self.pending = None;
        self.have.clear();
        self.dirty = self.want.keys().cloned().collect();
    }

    /// Our keys are gone: everything again.
    fn lose(&mut self, now: Duration) {
        if self.state == State::Leaving {
            return;
        }
        if let Some(claim) = self.claim
            && claim.seq > 0
        {
            self.was_lost = true;
            self.stale_lease = Some(claim.lease);
            if now.saturating_sub(claim.since) >= GOOD {
                self.attempts = 0;
            }
        }
        self.forget_claim();
        if !self.dirty.is_empty() {
            self.waiting_since.get_or_insert(now);
        }
        self.retry(now);
    }

    fn retry(&mut self, now: Duration) {
        let longest = FIRST_PAUSE.saturating_mul(1 << self.attempts.min(10)).min(MAX_PAUSE);
        // The first within half a second, so that not all hosts come at once.
        let pause = longest.mul_f64(self.next_random());
        self.attempts += 1;
        self.state = State::Unclaimed(now + pause);
    }

    /// From 0 to 1 (xorshift64*): nobody gains by guessing it.
    fn next_random(&mut self) -> f64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The connection is gone: what was asked is not answered any more.
    pub(super) fn disconnected(&mut self, now: Duration) {
        if self.is_asking {
            self.answer(Answer::Unknown, now);
        }
    }

    /// What the store says of our lease.
    pub(super) fn kept_alive(&mut self, lease: i64, ttl: i64, now: Duration) {
        if ttl <= 0 && self.claim.is_some_and(|claim| claim.lease == lease) {
            self.lose(now);
        }
    }

    /// The lease to keep alive.
    pub(super) fn lease(&self) -> Option<i64> {
        self.claim.map(|claim| claim.lease)
    }

    /// What happened to our own keys.
    pub(super) fn observe(&mut self, events: impl IntoIterator<Item = Event>, now: Duration) {
        for event in events {
            if self.revisions.contains(&event.revision()) {
                continue;
            }
            if self.pending.is_some() {
                if self.stash.len() < MAX_REVISIONS {
                    self.stash.push(event);
                } else {
                    // More than can be told apart: the next full reading finds out.
                    self.stash.clear();
                }
                continue;
            }
            self.observe_foreign(event, now);
        }
    }

    fn take_stash(&mut self, now: Duration) {
        if self.pending.is_none() && !self.stash.is_empty() {
            let stash = std::mem::take(&mut self.stash);
            self.observe(stash, now);
        }
    }

    /// Somebody else has written our keys.
    fn observe_foreign(&mut self, event: Event, now: Duration) {
        let is_host = event.key() == self.keys.own_host().as_bytes();
        let Some(claim) = self.claim else {
            let is_refused = matches!(&self.state, State::Refused { again: Some(_), .. });
            if is_host && is_refused && matches!(event, Event::Deleted { .. }) && !self.is_asking {
                self.state = State::Unclaimed(now);
            }
            return;
        };
        if claim.first == 0 || event.revision() < if is_host { claim.revision } else { claim.first } {
            // From before our claim.
            return;
        }
        match event {
            Event::Deleted { .. } if is_host => self.lose(now),
            Event::Put(item) if is_host => {
                if self.is_asking {
                    self.state = State::Doubtful;
                } else {
                    self.judge(Some(&item), now);
                }
            }
            Event::Put(item) => {
                let Ok(key) = String::from_utf8(item.key) else { return };
                self.have.insert(key.clone(), item.value);
                self.compare(key);
            }
            Event::Deleted { key, .. } => {
                let Ok(key) = String::from_utf8(key) else { return };
                self.have.remove(&key);
                self.compare(key);
            }
        }
    }

    /// All of our keys, as they were at a revision.
    pub(super) fn list(&mut self, items: &[Item], revision: i64, now: Duration) {
        let Some(claim) = self.claim else { return };
        if self.is_asking || claim.seq == 0 || self.state != State::Claimed {
            return;
        }
        let own = self.keys.own_host();
        let host = items.iter().find(|item| item.key == own.as_bytes());
        match host {
            // It was read before our last write.
            _ if revision < claim.revision => {}
            Some(host) if host.revision == claim.revision => {
                let others = items.iter().filter(|item| item.key != own.as_bytes());
                self.have = others
                    .filter_map(|item| Some((String::from_utf8(item.key.clone()).ok()?, item.value.clone())))
                    .collect();
                let keys: BTreeSet<String> = self.have.keys().chain(self.want.keys()).cloned().collect();
                keys.into_iter().for_each(|key| self.compare(key));
            }
            host => self.judge(host, now),
        }
    }

    /// The store is another one, or an older one: revisions from before mean nothing.
    pub(super) fn start_over(&mut self, now: Duration) {
        self.revisions.clear();
        self.stash.clear();
        if self.claim.is_some() {
            self.forget_claim();
            self.state = State::Unclaimed(now);
        }
    }

    /// The last write, which says that we stop, and the lease to revoke behind it.
    pub(super) fn leave(&mut self) -> Option<(Write, i64)> {
        let claim = self.claim.filter(|claim| claim.seq > 0);
        self.state = State::Leaving;
        let claim = claim?;
        let host = HostRecord {
            seq: self.seq + 1,
            beat: claim.beat,
            complete: claim.is_complete,
            leaving: true,
            ..self.record(claim.lease)
        };
        let write = Write {
            expected: claim.revision,
            lease: claim.lease,
            host: host.to_value(),
            clears: false,
            puts: Vec::new(),
            deletes: Vec::new(),
        };
        Some((write, claim.lease))
    }

    pub(super) fn standing(&self) -> Standing {
        match (&self.state, self.claim) {
            (State::Refused { reason, .. }, _) => Standing::Refused(reason.clone()),
            (State::Doubtful, _) => Standing::Doubtful,
            (_, Some(Claim { lease, seq, .. })) if seq > 0 => Standing::Claimed { lease, seq },
            _ => Standing::Unclaimed,
        }
    }

    /// Endpoints that are in the store.
    pub(super) fn published(&self) -> usize {
        self.have.len()
    }

    /// How long the last change waited until the store had it.
    pub(super) fn propagation(&self) -> Option<Duration> {
        self.propagation
    }

    /// Writes, by what came of them.
    pub(super) fn results(&self) -> &BTreeMap<&'static str, u64> {
        &self.results
    }

    /// True if our claim was lost since the last call.
    pub(super) fn take_loss(&mut self) -> bool {
        std::mem::take(&mut self.was_lost)
    }

    pub(super) fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }
}

#[cfg(test)]
#[path = "own_tests.rs"]
mod tests;
