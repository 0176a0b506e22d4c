//! The store of answers, and what it has for a question.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use quick_cache::sync::{Cache as Store, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

use crate::settings::Upstream;
use crate::wire::message::Header;
use crate::wire::rcode;

use super::admission::{TtlBounds, admit};
use super::clock::Timestamp;
use super::entry::{Age, Answer, AnswerKind};
use super::key::{BuildHashed, Key, KeyHasher, KeyRef, Kind};

/// How long a failure is remembered: at first, and at most (RFC 9520 §3.2).
const FIRST_FAILURE: Duration = Duration::from_secs(1);
const LAST_FAILURE: Duration = Duration::from_secs(30);
/// A failure that comes so long after the last one was forgotten is a first one again.
const FAILURES_APART: Duration = Duration::from_secs(60);
/// The least size of a shard of the store, octets: several of the largest answers fit.
const SHARD: usize = 512 * 1024;
/// Octets that an entry is taken to need on average.
const USUAL_ENTRY: usize = 512;
/// What an entry takes besides what it owns: its places in the store's tables (which keep room for half as many ghosts, and
/// grow by doubling), and what the allocator adds to five boxes.
const OVERHEAD: usize = 2 * (size_of::<Key>() + size_of::<Entry>() + 21) + 5 * 16;
/// Kinds of questions whose answers may be given stale; see [`Cache::forget_stale`].
const KINDS: usize = 64;

/// A question that could not be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::forward) struct CachedFailure {
    /// The response code that was given.
    pub(in crate::forward) rcode: u16,
    /// What happened, for people.
    pub(in crate::forward) text: Box<str>,
    pub(super) until: Timestamp,
    lasts: Duration,
}

/// What is known under one key: the last answer, and the failure since.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    pub(super) answer: Option<Arc<Answer>>,
    pub(super) failed: Option<Arc<CachedFailure>>,
}

/// What the cache has for a question.
#[derive(Debug)]
pub(in crate::forward) enum Lookup {
    /// An answer within its TTL.
    Fresh(Arc<Answer>, Age),
    /// An answer past it, while asking is known to fail: to be given at once (RFC 8767 §5).
    Stale(Arc<Answer>),
    /// No answer, and asking is known to fail.
    Failed(Arc<CachedFailure>),
    /// An answer past its TTL: ask, and give it if that takes too long.
    Expired(Arc<Answer>),
    /// Nothing: ask.
    Nothing,
}

/// Octets of an entry.
#[derive(Debug, Clone)]
pub(super) struct Weight;

impl Weighter<Key, Entry> for Weight {
    fn weight(&self, key: &Key, entry: &Entry) -> u64 {
        let answer = entry.answer.as_ref().map_or(0, |answer| answer.size());
        let failed = entry.failed.as_ref().map_or(0, |failed| size_of::<CachedFailure>() + failed.text.len());
        (OVERHEAD + key.borrowed().name.len() + answer + failed) as u64
    }
}

/// How the cache behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::forward) struct CachePolicy {
    /// Octets; 0 turns it off.
    pub(in crate::forward) size: usize,
    pub(in crate::forward) clamp: TtlBounds,
    /// How long past its TTL an answer may be given.
    pub(in crate::forward) stale_for: Duration,
}

/// See the module.
#[derive(Debug)]
pub(in crate::forward) struct Cache {
    pub(super) store: Store<Key, Entry, Weight, BuildHashed, DefaultLifecycle<Key, Entry>>,
    kinds: RwLock<Vec<Kind>>,
    hasher: KeyHasher,
}

impl Cache {
    pub(in crate::forward) fn new(size: usize) -> Cache {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let options = OptionsBuilder::new()
            .shards((size / SHARD).clamp(1, 4 * cores))
            .estimated_items_capacity(size / USUAL_ENTRY)
            .weight_capacity(size as u64)
            .build();
        let store = match options {
            Ok(options) => Store::with_options(options, Weight, BuildHashed::default(), DefaultLifecycle::default()),
            // Both that it needs are given.
            Err(_) => Store::with(0, size as u64, Weight, BuildHashed::default(), DefaultLifecycle::default()),
        };
        Cache { store, kinds: RwLock::default(), hasher: KeyHasher::default() }
    }

    /// The key of a question. `name` is in wire form, lower case.
    pub(in crate::forward) fn key<'a>(&self, name: &'a [u8], kind: Kind, group: &'a Arc<[Upstream]>) -> KeyRef<'a> {
        self.hasher.key(name, kind, group)
    }

    /// Changes the size; what does not fit goes.
    pub(in crate::forward) fn resize(&self, size: usize) {
        if self.store.capacity() != size as u64 {
            self.store.set_capacity(size as u64);
        }
    }

    /// Entries, and the octets that they take.
    pub(in crate::forward) fn size(&self) -> (usize, u64) {
        (self.store.len(), self.store.weight())
    }

    /// What there is for a question. `with_ad`: the AD bit of the answer matters (RFC 6840 §5.7).
    pub(in crate::forward) fn find(
        &self,
        key: KeyRef<'_>,
        with_ad: bool,
        rules: &CachePolicy,
        now: Timestamp,
    ) -> Lookup {
        if rules.size == 0 {
            return Lookup::Nothing;
        }
        let Some(Entry { answer, failed }) = self.store.get(&key) else { return Lookup::Nothing };
        let failed = failed.filter(|failed| now < failed.until);
        let answer = match answer.map(|answer| (answer.fresh(now), answer)) {
            // Better without AD than not at all.
            Some((Some(age), answer)) if answer.is_with_ad() || !with_ad || failed.is_some() => {
                return Lookup::Fresh(answer, age);
            }
            Some((_, answer)) if answer.is_usable_stale(now, rules.stale_for) => Some(answer),
            _ => None,
        };
        match (answer, failed) {
            (Some(answer), Some(_)) => Lookup::Stale(answer),
            (None, Some(failed)) => Lookup::Failed(failed),
            (Some(answer), None) => Lookup::Expired(answer),
            (None, None) => Lookup::Nothing,
        }
    }

    /// Takes note of an upstream's reply: keeps it, or forgets what it is newer than.
    pub(in crate::forward) fn replied(
        &self,
        key: KeyRef<'_>,
        reply: &[u8],
        with_ad: bool,
        rules: &CachePolicy,
        now: Timestamp,
    ) {
        if rules.size == 0 {
            return;
        }
        let Some(answer) = admit(reply, key, rules.clamp, with_ad, now) else {
            // Also one that is not kept, for want of an SOA or of a TTL, says that the name is gone.
            if Header::read(reply).is_some_and(|header| header.rcode() == rcode::NXDOMAIN) {
                self.forget_stale(key);
            }
            self.store.remove(&key);
            return;
        };
        match answer.kind() {
            AnswerKind::NoName => self.forget_stale(key),
            _ if self.knows(key.kind) => {}
            _ => answer.may_be_stale.store(false, Ordering::Relaxed),
        }
        self.store.insert(key.to_key(), Entry { answer: Some(Arc::new(answer)), failed: None });
    }

    /// Takes note that asking failed. Each failure in a row is remembered for twice as long (RFC 9520 §3.2).
    pub(in crate::forward) fn failed(
        &self,
        key: KeyRef<'_>,
        rcode: u16,
        text: &str,
        rules: &CachePolicy,
        now: Timestamp,
    ) {
        if rules.size == 0 {
            return;
        }
        let Entry { answer, failed } = self.store.get(&key).unwrap_or_default();
        let answer =
            answer.filter(|answer| answer.fresh(now).is_some() || answer.is_usable_stale(now, rules.stale_for));
        let in_a_row = failed.filter(|failed| now < failed.until.after(FAILURES_APART));
        let lasts = in_a_row.map_or(FIRST_FAILURE, |failed| (failed.lasts * 2).min(LAST_FAILURE));
        let failed = CachedFailure { rcode, text: text.into(), until: now.after(lasts), lasts };
        self.store.insert(key.to_key(), Entry { answer, failed: Some(Arc::new(failed)) });
    }

    /// No answer that is there for the name may be given past its TTL any more: the upstream said that there is no such
    /// name. Answers are looked for under every kind of question that was ever kept; there are few, and the answers to
    /// further ones are never given stale.
    fn forget_stale(&self, key: KeyRef<'_>) {
        for &kind in self.kinds.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(answer) = self.store.peek(&self.key(key.name, kind, key.group)).and_then(|entry| entry.answer) {
                answer.may_be_stale.store(false, Ordering::Relaxed);
            }
        }
    }

    /// Takes note of a kind of question. False if there were too many before it.
    fn knows(&self, kind: Kind) -> bool {
        if self.kinds.read().unwrap_or_else(PoisonError::into_inner).contains(&kind) {
            return true;
        }
        let mut kinds = self.kinds.write().unwrap_or_else(PoisonError::into_inner);
        let is_room = kinds.len() < KINDS;
        if is_room && !kinds.contains(&kind) {
            kinds.push(kind);
        }
        is_room || kinds.contains(&kind)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
