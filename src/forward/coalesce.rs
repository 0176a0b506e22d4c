//! Questions that are with upstreams at this moment: an identical one waits for the same answer instead of being asked too.
//!
//! That is cheaper, and it is what keeps an attacker from having many chances to guess the ID of one answer (a birthday
//! attack). So nothing that a client may choose at will makes two questions different (answers.md F9): the key is name, type,
//! class, DO and CD, and the servers. RD is not part of it because upstreams are always asked to recurse; AD is not, and the
//! answer says what the upstream says to the one who asked first: who joins with AD gets AD=0 where that one did not want it.
//! Dropping one waiter never cancels the question for the others.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use dashmap::{DashMap, Entry};
use tokio::sync::oneshot;

use super::cache::{BuildHashed, CacheState, Key, KeyRef};
use super::failure::Failure;
use crate::wire::{ede, rcode};

/// Questions that are asked again before their answers expire, at a time. They are a favour: beyond this they are not done.
const PREFETCHES: usize = 64;
/// The most questions at a time whose late answers are waited for (answers.md F6).
const MAX_LATE: usize = 1000;

/// What came of a question.
pub(super) type Outcome = Result<Resolved, Failure>;

/// A reply, and where it is from.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    /// The message, for [`relay`](super::relay).
    pub(crate) message: Arc<[u8]>,
    /// Where it is from.
    pub(crate) from: ReplySource,
}

/// Where a reply is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplySource {
    /// The server at this place of the list that the question was chosen for.
    Upstream(usize),
    /// The cache.
    Cache(CacheState),
}

/// A question that is being asked, as those see it who wait for it.
#[derive(Debug)]
pub(super) struct Waiter {
    /// When it was first asked.
    pub(super) started: tokio::time::Instant,
    outcome: oneshot::Receiver<Outcome>,
}

impl Waiter {
    /// Waits for what comes of it.
    pub(super) async fn outcome(&mut self) -> Outcome {
        // Without one the runtime that it was asked on has ended.
        let given_up = |_| Err(Failure::new(rcode::SERVFAIL, ede::OTHER, "the question was given up"));
        (&mut self.outcome).await.unwrap_or_else(given_up)
    }
}

/// A question that is being asked, and who waits for it.
#[derive(Debug)]
struct Open {
    started: tokio::time::Instant,
    waiting: Vec<oneshot::Sender<Outcome>>,
}

impl Open {
    fn join(&mut self) -> Waiter {
        let (sender, outcome) = oneshot::channel();
        self.waiting.push(sender);
        Waiter { started: self.started, outcome }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    open: DashMap<Key, Open, BuildHashed>,
    /// How many; the map's own count would look at all of its shards.
    count: AtomicUsize,
    /// Questions whose time is over, and whose late answers are waited for.
    late: AtomicUsize,
    /// The same from the oldest on, some that are over among them. What is dropped ends the wait.
    oldest: Mutex<VecDeque<oneshot::Sender<()>>>,
    prefetches: AtomicUsize,
}

/// What becomes of a question that wants to be asked.
pub(super) enum Joined<T> {
    /// It is the first: whoever holds the leader has to ask.
    First(Leader),
    /// It is asked already.
    Another(Waiter),
    /// It was answered in the meantime.
    Known(T),
    /// There are too many.
    Full,
}

impl InFlight {
    /// How many questions are being asked.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Joins the question that is asked already, or opens it. `known` looks once more for an answer before: one may have
    /// come since the caller looked. There are never more than `most`, late ones included: of these the oldest gives way.
    pub(super) fn join<T>(
        self: &Arc<InFlight>,
        key: KeyRef<'_>,
        most: usize,
        now: Instant,
        known: impl FnOnce() -> Option<T>,
    ) -> Joined<T> {
        match self.open.entry(key.to_key()) {
            Entry::Occupied(mut open) => Joined::Another(open.get_mut().join()),
            Entry::Vacant(vacant) => {
                if let Some(known) = known() {
                    return Joined::Known(known);
                }
                let before = self.count.fetch_add(1, Ordering::Relaxed);
                if before + self.late.load(Ordering::Relaxed) >= most && (before >= most || !self.give_way()) {
                    self.count.fetch_sub(1, Ordering::Relaxed);
                    return Joined::Full;
                }
                let key = vacant.key().clone();
                vacant.insert(Open { started: now.into(), waiting: Vec::new() });
                Joined::First(Leader { in_flight: self.clone(), key, is_finished: false, is_prefetch: false })
            }
        }
    }

    /// Opens the question ahead of need, unless it is asked already or too many are.
    pub(super) fn prefetch(self: &Arc<InFlight>, key: KeyRef<'_>, most: usize, now: Instant) -> Option<Leader> {
        let is_room = self.prefetches.fetch_add(1, Ordering::Relaxed) < PREFETCHES;
        if is_room && let Joined::First(mut leader) = self.join::<()>(key, most, now, || None) {
            leader.is_prefetch = true;
            return Some(leader);
        }
        self.prefetches.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// The right to wait for the late answer to a question that ends now. `None` if many do already, or if `most` questions
    /// are under way: questions that clients wait for come first.
    pub(super) fn linger(self: &Arc<InFlight>, leader: &Leader, most: usize) -> Option<LateWait> {
        let (place, displaced) = oneshot::channel();
        let lingering = LateWait { in_flight: self.clone(), key: leader.key.clone(), displaced };
        // Dropping it takes back what is added here.
        let late = self.late.fetch_add(1, Ordering::Relaxed);
        if late >= MAX_LATE || late + self.count() > most {
            return None;
        }
        let mut oldest = self.oldest();
        if oldest.len() > 2 * MAX_LATE {
            oldest.retain(|place| !place.is_closed());
        }
        oldest.push_back(place);
        drop(oldest);
        Some(lingering)
    }

    /// Ends the oldest wait for a late answer. False if there is none.
    fn give_way(&self) -> bool {
        let mut oldest = self.oldest();
        std::iter::from_fn(|| oldest.pop_front()).any(|place| place.send(()).is_ok())
    }

    fn oldest(&self) -> MutexGuard<'_, VecDeque<oneshot::Sender<()>>> {
        // Every change leaves it whole.
        self.oldest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wait for a late answer.
#[derive(Debug)]
pub(super) struct LateWait {
    in_flight: Arc<InFlight>,
    key: Key,
    displaced: oneshot::Receiver<()>,
}

impl LateWait {
    /// Which question it is.
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Waits until it has to give way to a question that a client waits for.
    pub(super) async fn displaced(&mut self) {
        let _ = (&mut self.displaced).await;
    }

    /// Gives the answer to those who wait for the same question, which was asked again meanwhile.
    pub(super) fn finish(self, outcome: &Outcome) {
        let waiting = self.in_flight.open.get_mut(&self.key).map(|mut open| std::mem::take(&mut open.waiting));
        for waiting in waiting.into_iter().flatten() {
            let _ = waiting.send(outcome.clone());
        }
    }
}

impl Drop for LateWait {
    fn drop(&mut self) {
        self.in_flight.late.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The end of a question: with an outcome, or dropped without one. Either way the next identical one is asked anew.
#[derive(Debug)]
pub(super) struct Leader {
    in_flight: Arc<InFlight>,
    key: Key,
    is_finished: bool,
    is_prefetch: bool,
}

impl Leader {
    /// Which question it is.
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// As [`Leader::wait`], if the answer may come without this question: late, to an earlier one (answers.md F6).
    pub(super) fn wait_for_late(&self) -> Option<Waiter> {
        if self.in_flight.late.load(Ordering::Relaxed) > 0 { self.wait() } else { None }
    }

    /// Waits for the outcome, like all others who want it.
    pub(super) fn wait(&self) -> Option<Waiter> {
        self.in_flight.open.get_mut(&self.key).map(|mut open| open.join())
    }

    /// Gives the outcome to all who wait.
    pub(super) fn finish(mut self, outcome: &Outcome) {
        for waiting in self.close() {
            // Whoever does not wait any more does not care.
            let _ = waiting.send(outcome.clone());
        }
    }

    fn close(&mut self) -> Vec<oneshot::Sender<Outcome>> {
        if std::mem::replace(&mut self.is_finished, true) {
            return Vec::new();
        }
        self.in_flight.count.fetch_sub(1, Ordering::Relaxed);
        if self.is_prefetch {
            self.in_flight.prefetches.fetch_sub(1, Ordering::Relaxed);
        }
        self.in_flight.open.remove(&self.key).map_or_else(Vec::new, |(_, open)| open.waiting)
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::super::cache::{Cache, Kind, QueryFlags};
    use super::*;

    fn join(in_flight: &Arc<InFlight>, name: &[u8], most: usize) -> Option<Leader> {
        let (kind, group) = (Kind { rtype: 1, class: 1, bits: QueryFlags::of(0, false) }, [].into());
        match in_flight.join::<()>(Cache::new(0).key(name, kind, &group), most, Instant::now(), || None) {
            Joined::First(leader) => Some(leader),
            _ => None,
        }
    }

    #[test]
    fn f6_late_waits_give_way_to_questions_the_oldest_first() {
        let in_flight = Arc::new(InFlight::default());
        let mut late = [b"\x01a\0", b"\x01b\0", b"\x01c\0"]
            .map(|name| in_flight.linger(&join(&in_flight, name, 4).unwrap(), 4).expect("there is room"));
        let is_displaced = |late: &mut LateWait| late.displaced.try_recv().is_ok();
        let first = join(&in_flight, b"\x01d\0", 4).unwrap();
        assert_eq!(late.each_mut().map(is_displaced), [false; 3]);
        let second = join(&in_flight, b"\x01e\0", 4).unwrap();
        assert_eq!(late.each_mut().map(is_displaced), [true, false, false]);
        // One that is over need not give way.
        let [first_late, second_late, third_late] = late;
        drop((first_late, second_late));
        let third = join(&in_flight, b"\x01f\0", 4).expect("three and one");
        let mut late = third_late;
        assert!(!is_displaced(&mut late));
        let fourth = join(&in_flight, b"\x01g\0", 4).expect("the last one gives way");
        assert!(is_displaced(&mut late));
        assert!(join(&in_flight, b"\x01h\0", 4).is_none(), "four are asked");
        drop((first, second, third, fourth, late));
        assert_eq!((in_flight.count(), in_flight.late.load(Ordering::Relaxed)), (0, 0));
        // No more than so many wait.
        let late: Vec<_> = (0..MAX_LATE)
            .map(|_| in_flight.linger(&join(&in_flight, b"\0", usize::MAX).unwrap(), usize::MAX))
            .collect();
        assert!(late.iter().all(Option::is_some));
        assert!(in_flight.linger(&join(&in_flight, b"\0", usize::MAX).unwrap(), usize::MAX).is_none());
    }
}
