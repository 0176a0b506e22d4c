//! Questions that are with upstreams at this moment: an identical one waits for the same answer instead of being asked too.
//!
//! That is cheaper, and it is what keeps an attacker from having many chances to guess the ID of one answer (a birthday
//! attack). A question that is asked is nobody's own: whoever stops waiting for it, first or last, ends it for nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;
use tokio::sync::watch;
use tokio::time::Instant;

use super::cache::Key;
use super::failure::Failure;
use crate::wire::{ede, rcode};

/// Questions that are asked again before their answers expire, at a time. They are a favour: beyond this they are not done.
const PREFETCHES: usize = 64;

/// What came of a question.
pub(super) type Outcome = Result<Arc<Vec<u8>>, Failure>;

/// Which questions are identical: key, and whether AD is asked for, which changes what upstreams say.
pub(super) type Which = (Key, bool);

/// A question that is being asked, as those see it who wait for it.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    /// When it was first asked.
    pub(super) started: Instant,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Flight {
    /// Waits for what comes of it.
    pub(super) async fn outcome(&mut self) -> Outcome {
        match self.outcome.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            // The runtime that it was asked on ended.
            _ => Err(Failure::new(rcode::SERVFAIL, ede::OTHER, "the question was given up")),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Flights {
    open: DashMap<Which, Flight, RandomState>,
    /// How many; the map's own count would look at all of its shards.
    count: AtomicUsize,
    prefetches: AtomicUsize,
}

/// What becomes of a question that wants to be asked.
pub(super) enum Joined<T> {
    /// It is the first: whoever holds the landing has to ask.
    First(Flight, Landing),
    /// It is asked already.
    Another(Flight),
    /// It was answered in the meantime.
    Known(T),
    /// There are too many.
    Full,
}

impl Flights {
    /// How many questions are being asked.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Joins the question that is asked already, or opens it. `known` looks once more for an answer before: one may have
    /// come since the caller looked. There are never more than `most`.
    pub(super) fn join<T>(
        self: &Arc<Flights>,
        which: Which,
        most: usize,
        known: impl FnOnce() -> Option<T>,
    ) -> Joined<T> {
        match self.open.entry(which) {
            Entry::Occupied(open) => Joined::Another(open.get().clone()),
            Entry::Vacant(vacant) => {
                if let Some(known) = known() {
                    return Joined::Known(known);
                }
                if self.count.fetch_add(1, Ordering::Relaxed) >= most {
                    self.count.fetch_sub(1, Ordering::Relaxed);
                    return Joined::Full;
                }
                let (sender, receiver) = watch::channel(None);
                let flight = Flight { started: Instant::now(), outcome: receiver };
                let which = vacant.key().clone();
                vacant.insert(flight.clone());
                Joined::First(flight, Landing { flights: self.clone(), which, sender, is_prefetch: false })
            }
        }
    }

    /// Opens the question ahead of need, unless it is asked already or too many are.
    pub(super) fn prefetch(self: &Arc<Flights>, which: Which, most: usize) -> Option<Landing> {
        let is_room = self.prefetches.fetch_add(1, Ordering::Relaxed) < PREFETCHES;
        if is_room && let Joined::First(_, mut landing) = self.join::<()>(which, most, || None) {
            landing.is_prefetch = true;
            return Some(landing);
        }
        self.prefetches.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

/// The end of a question: with an outcome, or dropped without one. Either way the next identical one is asked anew.
#[derive(Debug)]
pub(super) struct Landing {
    flights: Arc<Flights>,
    which: Which,
    sender: watch::Sender<Option<Outcome>>,
    is_prefetch: bool,
}

impl Landing {
    /// Which question it is.
    pub(super) fn which(&self) -> &Which {
        &self.which
    }

    /// Gives the outcome to all who wait.
    pub(super) fn land(self, outcome: Outcome) {
        self.sender.send_replace(Some(outcome));
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.flights.open.remove(&self.which);
        self.flights.count.fetch_sub(1, Ordering::Relaxed);
        if self.is_prefetch {
            self.flights.prefetches.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
