//! Looking into the cache, and taking things out of it, by name.

use std::sync::Arc;

use crate::settings::Upstream;
use crate::wire::Name;

use super::clock::Timestamp;
use super::entry::Answer;
use super::key::Key;
use super::store::{Cache, CachedFailure};

/// What is kept under a question.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheEntry {
    /// The name that was asked for.
    pub name: Name,
    /// The type.
    pub rtype: u16,
    /// What there is.
    pub state: CacheState,
    /// The response code.
    pub rcode: u16,
    /// Seconds until it expires; negative once it has.
    pub ttl: i64,
    /// The answer as a message with an ID of 0 and the TTLs that it came with; `None` for a failure.
    pub message: Option<Vec<u8>>,
    /// The servers that it is kept for.
    pub servers: Arc<[Upstream]>,
}

/// What there is of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheState {
    /// An answer within its TTL.
    Fresh,
    /// An answer past it, which is given only while asking fails.
    Expired,
    /// No answer, and asking is known to fail.
    Failed,
}

impl Cache {
    /// The first `limit` entries by name whose names, in lower-cased wire form, are wanted; and how many are wanted in all.
    pub(in crate::forward) fn entries(
        &self,
        limit: usize,
        is_wanted: impl Fn(&[u8]) -> bool,
        now: Timestamp,
    ) -> (Vec<CacheEntry>, usize) {
        let mut wanted: Vec<Key> =
            self.store.iter().map(|(key, _)| key).filter(|key| is_wanted(key.borrowed().name)).collect();
        let all = wanted.len();
        wanted.sort_unstable_by(|a, b| {
            let (a, b) = (a.borrowed(), b.borrowed());
            (a.name, a.kind.rtype).cmp(&(b.name, b.kind.rtype))
        });
        wanted.truncate(limit);
        (wanted.iter().filter_map(|key| self.entry(key, now)).collect(), all)
    }

    fn entry(&self, key: &Key, now: Timestamp) -> Option<CacheEntry> {
        let entry = self.store.peek(&key.borrowed())?;
        let key = key.borrowed();
        let name = Name::from_wire(key.name).ok()?;
        let failed = entry.failed.filter(|failed| now < failed.until);
        let (state, rcode, ttl, message) = match (entry.answer, failed) {
            (Some(answer), failed) => {
                let is_fresh = answer.fresh(now).is_some() && failed.is_none();
                let state = if is_fresh { CacheState::Fresh } else { CacheState::Expired };
                (state, answer.rcode(), answer.seconds_left(now), Some(answer.whole()))
            }
            (None, Some(failed)) => (CacheState::Failed, failed.rcode, seconds_left(&failed, now), None),
            (None, None) => return None,
        };
        Some(CacheEntry { name, rtype: key.kind.rtype, state, rcode, ttl, message, servers: key.group.clone() })
    }

    /// Takes out the entries whose names, in lower-cased wire form, are wanted out, and gives how many went.
    pub(in crate::forward) fn flush(&self, is_wanted: impl Fn(&[u8]) -> bool) -> usize {
        let before = self.store.iter().filter(|(key, _)| is_wanted(key.borrowed().name)).count();
        self.store.retain(|key, _| !is_wanted(key.borrowed().name));
        before
    }
}

impl Answer {
    fn rcode(&self) -> u16 {
        u16::from(self.message[3] & 0xf)
    }

    fn seconds_left(&self, now: Timestamp) -> i64 {
        i64::from(self.lifetime) - now.since(self.stored).as_secs() as i64
    }

    /// The message with its counts, which are not kept in it.
    fn whole(&self) -> Vec<u8> {
        let mut message = self.message.to_vec();
        for (place, count) in message[4..12].chunks_exact_mut(2).zip([1].into_iter().chain(self.counts)) {
            place.copy_from_slice(&count.to_be_bytes());
        }
        message
    }
}

fn seconds_left(failed: &CachedFailure, now: Timestamp) -> i64 {
    failed.until.since(now).as_secs() as i64
}
