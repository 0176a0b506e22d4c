//! What a network's files no longer say, or say differently, and when that is believed.
//!
//! Whoever rewrites a file writes its lines in the order that they had. So a reading that ends with the line that the file
//! ended with, or has a line that nobody knew, has seen all that there is to be written before it. There is one exception:
//! netavark takes no lock for rewriting, and another one may add its line in between, which is then written over. Therefore
//! such readings count when there were no others for a while.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long what is missing or different must have been so: whoever rewrites the file may be about to write it.
pub(super) const CONFIRMED: Duration = Duration::from_millis(25);
/// What every reading for so long has missed is believed to be gone in any case.
const LONGEST: Duration = Duration::from_secs(2);

/// What a reading has seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) now: Instant,
    /// True if there was no error.
    pub(super) is_read: bool,
    /// True if what is there ends with a line end.
    pub(super) is_ended: bool,
    /// True if nobody wrote to it meanwhile.
    pub(super) is_unmoved: bool,
    /// How long nobody had written to it before.
    pub(super) quiet: Duration,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct PendingRemovals {
    /// Containers that are missing or different, and since when.
    since: HashMap<u64, Instant>,
    /// What a file ends with: the id of its last line, and the fingerprint of all of that id's.
    last: Option<(u64, u64)>,
    /// Since when every reading has seen all.
    whole: Option<Instant>,
}

impl Seen {
    /// True if no line was half written, or written over while it was read.
    pub(super) fn is_still(&self) -> bool {
        self.is_read && self.is_ended && self.is_unmoved
    }

    fn is_at_rest(&self) -> bool {
        self.is_still() && self.quiet >= CONFIRMED
    }
}

impl PendingRemovals {
    /// True if a reading that got this for this id has read what the files ended with.
    pub(super) fn is_last(&self, fingerprint_of: impl FnOnce(u64) -> Option<u64>) -> bool {
        self.last.is_some_and(|(id, fingerprint)| fingerprint_of(id) == Some(fingerprint))
    }

    /// Takes note of a reading; `is_whole` if a line of it was the last one or a new one.
    pub(super) fn note(&mut self, seen: &Seen, is_whole: bool) {
        let is_whole = seen.is_read && seen.is_ended && (is_whole || seen.is_at_rest());
        self.whole = is_whole.then(|| self.whole.unwrap_or(seen.now));
    }

    /// Takes note of a reading that has found nothing.
    pub(super) fn note_nothing(&mut self) {
        self.whole = None;
    }

    /// True if it is believed that a container is missing or different, as the reading has seen it.
    pub(super) fn is_believed(&self, id: u64, seen: &Seen) -> bool {
        let since = self.since.get(&id).copied().unwrap_or(seen.now);
        let is_past = |since: Instant, time| seen.now.saturating_duration_since(since) >= time;
        let is_whole = self.whole.is_some_and(|whole| is_past(since.max(whole), CONFIRMED));
        seen.is_read && (seen.is_at_rest() || is_whole || is_past(since, LONGEST))
    }

    /// Takes note of what a reading leaves in doubt, and what the files ended with.
    pub(super) fn keep(&mut self, ids: impl Iterator<Item = u64>, last: Option<(u64, u64)>, seen: &Seen) {
        let before = std::mem::take(&mut self.since);
        self.since = ids.map(|id| (id, before.get(&id).copied().unwrap_or(seen.now))).collect();
        if self.whole.is_some() || self.since.is_empty() && seen.is_still() {
            self.last = last;
        }
    }

    /// True if a container was left in doubt.
    pub(super) fn has(&self, id: u64) -> bool {
        self.since.contains_key(&id)
    }

    /// True if nothing was.
    pub(super) fn is_empty(&self) -> bool {
        self.since.is_empty()
    }
}
