//! What following an engine comes to, for whoever measures it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Counted while an engine is followed. See [`Docker::activity`](super::Docker::activity).
#[derive(Debug, Default)]
pub struct Activity {
    resyncs: AtomicU64,
    /// Microseconds, and one more; 0 while nothing is known.
    lag: AtomicU64,
}

impl Activity {
    /// How often all that the engine has was read, whether or not events told of changes.
    pub fn resyncs(&self) -> u64 {
        self.resyncs.load(Ordering::Relaxed)
    }

    /// How long it took from the oldest of the last events, by the engine's clock, until what it told was in force; `None`
    /// before the first one.
    pub fn lag(&self) -> Option<Duration> {
        self.lag.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_micros)
    }

    pub(super) fn resynced(&self) {
        self.resyncs.fetch_add(1, Ordering::Relaxed);
    }

    /// What happened at that time, in ns since 1970, is in force from now on.
    pub(super) fn caught_up(&self, happened: i64) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let happened = Duration::from_nanos(happened.unsigned_abs());
        let lag = u64::try_from(now.saturating_sub(happened).as_micros()).unwrap_or(u64::MAX - 1);
        self.lag.store(lag.saturating_add(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_from_the_event_until_now() {
        let activity = Activity::default();
        assert_eq!((activity.lag(), activity.resyncs()), (None, 0));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as i64;
        activity.caught_up(now - 3_000_000_000);
        let lag = activity.lag().unwrap();
        assert!((Duration::from_secs(3)..Duration::from_secs(30)).contains(&lag), "{lag:?}");
        // A clock that goes after ours.
        activity.caught_up(now + 60_000_000_000);
        assert_eq!(activity.lag(), Some(Duration::ZERO));
    }
}
