//! What the forwarder counts. A worker writes to counters of its own, so that no two fight for a cache line; whoever reads
//! adds them up.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What a forwarder has done and has, as plain values. What is counted is counted since it was made.
///
/// A question that finds an answer is one of `hits`, `stale` and `cached_failures`; any other that is sent on is one of
/// `misses` and `coalesced`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Questions answered from the cache within the TTL.
    pub hits: u64,
    /// Questions for which upstreams were asked.
    pub misses: u64,
    /// Questions answered from the cache past the TTL (RFC 8767); some of them are misses too.
    pub stale: u64,
    /// Questions that waited for the answer to an identical one.
    pub coalesced: u64,
    /// Answers that were asked for again before they expired.
    pub prefetched: u64,
    /// Questions answered with a failure that was remembered (RFC 9520).
    pub cached_failures: u64,
    /// Questions that were turned down because too many were waiting.
    pub overloaded: u64,
    /// Answers and failures in the cache.
    pub entries: usize,
    /// Octets that they take.
    pub bytes: u64,
    /// Questions with upstreams at this moment.
    pub in_flight: usize,
}

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Hit,
    Miss,
    Stale,
    Coalesced,
    Prefetched,
    CachedFailure,
    Overloaded,
}

const EVENTS: usize = Event::Overloaded as usize + 1;
/// More threads than this share.
const STRIPES: usize = 16;

/// One thread's counters, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe([AtomicU64; EVENTS]);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct StripedCounters([Stripe; STRIPES]);

thread_local! {
    static STRIPE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The thread's stripe: threads take turns.
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    STRIPE.with(|own| match own.get() {
        Some(stripe) => stripe,
        None => {
            let stripe = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
            own.set(Some(stripe));
            stripe
        }
    })
}

impl StripedCounters {
    pub(super) fn count(&self, event: Event) {
        self.0[stripe()].0[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The sums; what is not counted but there is left at 0.
    pub(super) fn sums(&self) -> Counters {
        let sum = |event: Event| self.0.iter().map(|stripe| stripe.0[event as usize].load(Ordering::Relaxed)).sum();
        Counters {
            hits: sum(Event::Hit),
            misses: sum(Event::Miss),
            stale: sum(Event::Stale),
            coalesced: sum(Event::Coalesced),
            prefetched: sum(Event::Prefetched),
            cached_failures: sum(Event::CachedFailure),
            overloaded: sum(Event::Overloaded),
            ..Counters::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_count_apart_and_are_added_up() {
        let tally = StripedCounters::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * STRIPES {
                scope.spawn(|| (0..100).for_each(|_| tally.count(Event::Coalesced)));
            }
        });
        tally.count(Event::Overloaded);
        let expected = Counters { coalesced: 200 * STRIPES as u64, overloaded: 1, ..Counters::default() };
        assert_eq!(tally.sums(), expected);
    }
}
