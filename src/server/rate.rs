//! Log lines that an attacker or a broken system could otherwise repeat without end.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The least time between two lines.
const INTERVAL: Duration = Duration::from_secs(60);

/// Lets one line a minute through.
#[derive(Debug, Default)]
pub(super) struct OncePerMinute {
    /// When the next line may come, milliseconds since [`START`]; 0 for the first.
    next: AtomicU64,
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl OncePerMinute {
    pub(super) const fn new() -> OncePerMinute {
        OncePerMinute { next: AtomicU64::new(0) }
    }

    /// True at most once a minute.
    pub(super) fn is_due(&self) -> bool {
        let now = START.elapsed().as_millis() as u64;
        let next = self.next.load(Ordering::Relaxed);
        let after = now + INTERVAL.as_millis() as u64;
        now >= next && self.next.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l4_one_line_a_minute() {
        let limit = OncePerMinute::new();
        assert!(limit.is_due());
        assert!(!limit.is_due());
        limit.next.store(0, Ordering::Relaxed);
        assert!(limit.is_due());
    }
}
