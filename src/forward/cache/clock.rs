//! The time by which answers age.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A point in time: milliseconds since the clock was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(in crate::forward) struct Timestamp(u64);

impl Timestamp {
    /// The time since an earlier moment.
    pub(in crate::forward) fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The moment so much later.
    pub(in crate::forward) fn after(self, time: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// What tells the moment.
#[derive(Debug)]
pub(in crate::forward) struct Clock {
    start: Instant,
    /// Milliseconds by which a test has put it forward.
    ahead: AtomicU64,
}

impl Clock {
    pub(in crate::forward) fn new() -> Clock {
        Clock { start: Instant::now(), ahead: AtomicU64::new(0) }
    }

    pub(in crate::forward) fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// The same of a moment that is known.
    pub(in crate::forward) fn at(&self, now: Instant) -> Timestamp {
        Timestamp(self.ahead.load(Ordering::Relaxed)).after(now.saturating_duration_since(self.start))
    }

    pub(in crate::forward) fn put_forward(&self, time: Duration) {
        self.ahead.fetch_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
