//! The timers of questions: many of them, of which hardly one ever runs out.
//!
//! One timer of the runtime serves all questions of a thread. It is set for the earliest of them, and left alone when that one
//! is answered before: to set one of the runtime's timers anew for each question would wake the runtime that sets it (it
//! writes to its own eventfd), twice.
//!
//! A hashed timing wheel (Varghese and Lauck, 1987): a list for each millisecond, and a lap of a second. What is due later than
//! in a lap stays in its list until the lap in which it is due.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use slab::Slab;
use tokio::runtime::{Handle, Id};
use tokio::time::sleep_until;

/// Lists of a lap, one for each millisecond.
const LAP: u64 = 1024;
/// No place.
const NONE: usize = usize::MAX;

/// The timer of one question.
#[derive(Debug)]
pub(in crate::forward) struct Timer {
    wheel: Arc<Wheel>,
    /// Its place in the wheel, once it was set.
    place: Option<usize>,
}

/// The timers of a thread of one runtime.
#[derive(Debug)]
struct Wheel {
    runtime: Id,
    epoch: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The first place of each list.
    lists: Box<[usize]>,
    places: Slab<Place>,
    /// What is due in this millisecond or before it has run out.
    done: u64,
    /// The millisecond for which the runtime's timer is set, if it is.
    set_for: Option<u64>,
    /// Sets the runtime's timer.
    driver: Option<Waker>,
}

#[derive(Debug)]
struct Place {
    /// When it is due, in milliseconds, and who is told; `None` when it has run out.
    due: Option<(u64, Waker)>,
    before: usize,
    behind: usize,
}

thread_local! {
    static WHEEL: RefCell<Option<Arc<Wheel>>> = const { RefCell::new(None) };
}

impl Timer {
    /// One that is not set yet, of the runtime that this is called in.
    pub(in crate::forward) fn new() -> Timer {
        Timer { wheel: Wheel::here(), place: None }
    }

    /// Ready at `at`, up to a millisecond later. Polled with another time it is set anew.
    pub(in crate::forward) fn poll(&mut self, at: Instant, context: &mut Context<'_>) -> Poll<()> {
        let tick = self.wheel.tick_after(at);
        let mut state = self.wheel.lock();
        if tick <= state.done {
            return Poll::Ready(());
        }
        let place =
            *self.place.get_or_insert_with(|| state.places.insert(Place { due: None, before: NONE, behind: NONE }));
        match &mut state.places[place].due {
            Some((due, waker)) if *due == tick => waker.clone_from(context.waker()),
            _ => {
                state.take_out(place);
                state.put_in(place, tick, context.waker().clone());
            }
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let mut state = self.wheel.lock();
            state.take_out(place);
            state.places.remove(place);
        }
    }
}

impl Wheel {
    /// That of this thread and of the runtime that it is in.
    fn here() -> Arc<Wheel> {
        let runtime = Handle::current().id();
        WHEEL.with_borrow_mut(|known| match known {
            Some(wheel) if wheel.runtime == runtime => wheel.clone(),
            _ => {
                let wheel = Arc::new(Wheel::new(runtime, super::now()));
                tokio::spawn(drive(wheel.clone()));
                known.insert(wheel).clone()
            }
        })
    }

    fn new(runtime: Id, epoch: Instant) -> Wheel {
        let lists = vec![NONE; LAP as usize].into();
        let state = State { lists, places: Slab::new(), done: 0, set_for: None, driver: None };
        Wheel { runtime, epoch, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first millisecond that is not before `at`.
    fn tick_after(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch);
        since.as_secs() * 1000 + u64::from(since.subsec_nanos().div_ceil(1_000_000))
    }

    fn tick_at(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch);
        since.as_secs() * 1000 + u64::from(since.subsec_millis())
    }
}

impl State {
    fn put_in(&mut self, place: usize, tick: u64, waker: Waker) {
        let list = &mut self.lists[(tick % LAP) as usize];
        let behind = std::mem::replace(list, place);
        self.places[place] = Place { due: Some((tick, waker)), before: NONE, behind };
        if behind != NONE {
            self.places[behind].before = place;
        }
        if self.set_for.is_none_or(|set_for| tick < set_for) {
            self.set_for = Some(tick);
            if let Some(driver) = &self.driver {
                driver.wake_by_ref();
            }
        }
    }

    /// Takes a place out of its list, and gives its waker, if it is in one.
    fn take_out(&mut self, place: usize) -> Option<Waker> {
        let Place { due, before, behind } = &mut self.places[place];
        let (tick, waker) = due.take()?;
        let (before, behind) = (*before, *behind);
        match before {
            NONE => self.lists[(tick % LAP) as usize] = behind,
            before => self.places[before].behind = behind,
        }
        if behind != NONE {
            self.places[behind].before = before;
        }
        Some(waker)
    }

    /// Lets all run out that is due, and gives those who are to be told.
    fn run_out(&mut self, now: u64, told: &mut Vec<Waker>) {
        // All lists once, however long the last look was ago.
        for tick in (self.done + 1).max((now + 1).saturating_sub(LAP))..=now {
            let mut place = self.lists[(tick % LAP) as usize];
            while place != NONE {
                let behind = self.places[place].behind;
                if self.places[place].due.as_ref().is_some_and(|&(due, _)| due <= now) {
                    told.extend(self.take_out(place));
                }
                place = behind;
            }
        }
        self.done = self.done.max(now);
    }

    /// When the next one is due.
    fn next(&self) -> Option<u64> {
        let mut later: Option<u64> = None;
        for tick in self.done + 1..=self.done + LAP {
            let mut place = self.lists[(tick % LAP) as usize];
            while place != NONE {
                match &self.places[place].due {
                    Some((due, _)) if *due == tick => return Some(tick),
                    Some((due, _)) => later = Some(later.map_or(*due, |later| later.min(*due))),
                    None => {}
                }
                place = self.places[place].behind;
            }
        }
        later
    }
}

/// Lets timers run out in time, as long as the runtime lives.
async fn drive(wheel: Arc<Wheel>) {
    let mut sleep = pin!(sleep_until(wheel.epoch.into()));
    let mut told = Vec::new();
    poll_fn(|context| {
        loop {
            let next = {
                let mut state = wheel.lock();
                state.run_out(wheel.tick_at(super::now()), &mut told);
                state.driver.get_or_insert_with(|| context.waker().clone()).clone_from(context.waker());
                state.set_for = state.next();
                state.set_for
            };
            // Not while the wheel is locked: what is told may be dropped by that, and its timer with it.
            told.drain(..).for_each(Waker::wake);
            let Some(tick) = next else { return Poll::<()>::Pending };
            let at = (wheel.epoch + Duration::from_millis(tick)).into();
            if sleep.deadline() != at {
                sleep.as_mut().reset(at);
            }
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    async fn run_out(timer: &mut Timer, at: Instant) {
        poll_fn(|context| timer.poll(at, context)).await;
    }

    fn waiting(wheel: &Wheel) -> usize {
        wheel.lock().places.iter().filter(|(_, place)| place.due.is_some()).count()
    }

    #[tokio::test]
    async fn timers_run_out_and_none_before_its_time() {
        let start = crate::forward::transport::now();
        let run = |after: Duration| async move {
            run_out(&mut Timer::new(), start + after).await;
            assert!(start.elapsed() >= after);
        };
        let [a, b, c, d, e] = [30, 10, 20, 10, 0].map(|after| run(after * MS));
        tokio::join!(a, b, c, d, e);
    }

    #[tokio::test]
    async fn a_timer_that_is_set_anew_or_dropped_leaves_nothing_behind() {
        let start = crate::forward::transport::now();
        let mut timer = Timer::new();
        let wheel = timer.wheel.clone();
        let mut context = Context::from_waker(Waker::noop());
        assert!(timer.poll(start + 5000 * MS, &mut context).is_pending());
        assert!(timer.poll(start + 5000 * MS, &mut context).is_pending());
        assert_eq!(waiting(&wheel), 1);
        run_out(&mut timer, start + 5 * MS).await;
        assert_eq!((waiting(&wheel), wheel.lock().places.len()), (0, 1));
        assert!(timer.poll(start + 5000 * MS, &mut context).is_pending());
        drop(timer);
        assert_eq!((waiting(&wheel), wheel.lock().places.len()), (0, 0));
        assert!(wheel.lock().lists.iter().all(|first| *first == NONE));
    }

    #[test]
    fn what_is_due_in_a_later_lap_waits_for_it() {
        let mut state =
            State { lists: vec![NONE; LAP as usize].into(), places: Slab::new(), done: 0, set_for: None, driver: None };
        let ticks = [LAP + 5, 5, 3 * LAP, 7, 5];
        for tick in ticks {
            let place = state.places.insert(Place { due: None, before: NONE, behind: NONE });
            state.put_in(place, tick, Waker::noop().clone());
        }
        let mut ran_out = |now| {
            let mut told = Vec::new();
            state.run_out(now, &mut told);
            (told.len(), state.next())
        };
        assert_eq!(ran_out(4), (0, Some(5)));
        assert_eq!(ran_out(5), (2, Some(7)));
        assert_eq!(ran_out(LAP + 4), (1, Some(LAP + 5)));
        // A look after laps finds all.
        assert_eq!(ran_out(10 * LAP), (2, None));
    }
}
