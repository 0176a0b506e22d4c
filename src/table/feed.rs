//! The change feed: what happened to a table, in order, for whoever wants to follow it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Events that a follower may lag behind before it loses some.
const KEPT: usize = 4096;

/// Something that happened to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A network joined the table.
    NetworkAdded {
        /// Its name.
        network: Box<str>,
    },
    /// A network left the table, with all its endpoints.
    NetworkRemoved {
        /// Its name.
        network: Box<str>,
    },
    /// A network was changed. What came of the change counts, and each id is named once: an endpoint that was detached and
    /// attached again was replaced, one that was attached and detached again was never there.
    NetworkChanged {
        /// Its name.
        network: Box<str>,
        /// Its revision from here on.
        revision: u64,
        /// Ids of the endpoints that are new, or were replaced.
        attached: Vec<Box<str>>,
        /// Ids of the endpoints that are no longer there.
        detached: Vec<Box<str>>,
        /// True if its settings or static records changed.
        settings: bool,
    },
    /// The follower was too slow: this many events are gone. Read the table anew.
    Missed(u64),
}

/// Where the table's writers put their events.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    /// The number of the first event that is kept.
    first: u64,
    followers: usize,
    wakers: Vec<Waker>,
}

impl Channel {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the followers; the event is made only if there are any.
    pub(crate) fn push_with(&self, event: impl FnOnce() -> Event) {
        let mut state = self.lock();
        if state.followers == 0 {
            return;
        }
        let event = event();
        if state.events.len() == KEPT {
            state.events.pop_front();
            state.first += 1;
        }
        state.events.push_back(event);
        state.wakers.drain(..).for_each(Waker::wake);
        self.arrived.notify_all();
    }

    pub(crate) fn follow(self: &Arc<Channel>) -> Feed {
        let mut state = self.lock();
        state.followers += 1;
        Feed { next: state.first + state.events.len() as u64, channel: self.clone() }
    }
}

/// A follower's place in the change feed. It sees every event from the moment at which it was made, in order.
///
/// ```
/// use callsign::table::{Event, NameTable, Network};
///
/// let table = NameTable::new();
/// let mut feed = table.follow();
/// table.add(Network::builder("web").build()?)?;
/// assert_eq!(feed.try_next(), Some(Event::NetworkAdded { network: "web".into() }));
/// assert_eq!(feed.try_next(), None);
/// # Ok::<(), callsign::table::TableError>(())
/// ```
#[derive(Debug)]
pub struct Feed {
    channel: Arc<Channel>,
    next: u64,
}

impl Feed {
    fn take(next: &mut u64, state: &State) -> Option<Event> {
        if let Some(missed) = state.first.checked_sub(*next).filter(|&missed| missed > 0) {
            *next = state.first;
            return Some(Event::Missed(missed));
        }
        let event = state.events.get((*next - state.first) as usize)?.clone();
        *next += 1;
        Some(event)
    }

    /// The next event, if there is one.
    pub fn try_next(&mut self) -> Option<Event> {
        Feed::take(&mut self.next, &self.channel.lock())
    }

    /// Waits for the next event; `None` if none came in time.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Event> {
        let deadline = Instant::now() + timeout;
        let mut state = self.channel.lock();
        loop {
            if let Some(event) = Feed::take(&mut self.next, &state) {
                return Some(event);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            state = self.channel.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The next event, for any async runtime. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Event {
        poll_fn(|context| {
            let mut state = self.channel.lock();
            match Feed::take(&mut self.next, &state) {
                Some(event) => Poll::Ready(event),
                None => {
                    if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                        state.wakers.push(context.waker().clone());
                    }
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut state = self.channel.lock();
        state.followers -= 1;
        if state.followers == 0 {
            state.first += state.events.len() as u64;
            state.events.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(number: usize) -> Event {
        Event::NetworkAdded { network: number.to_string().into() }
    }

    #[test]
    fn a_slow_follower_is_told_what_it_missed() {
        let channel = Arc::new(Channel::default());
        channel.push_with(|| added(0));
        let mut feed = channel.follow();
        assert_eq!(feed.try_next(), None, "events from before are not its business");
        for number in 0..KEPT + 3 {
            channel.push_with(|| added(number));
        }
        assert_eq!(feed.try_next(), Some(Event::Missed(3)));
        assert_eq!(feed.try_next(), Some(added(3)));
    }

    #[test]
    fn a_waiting_follower_is_woken() {
        let channel = Arc::new(Channel::default());
        let mut feed = channel.follow();
        let writer = std::thread::spawn({
            let channel = channel.clone();
            move || channel.push_with(|| added(1))
        });
        assert_eq!(feed.next_timeout(Duration::from_secs(60)), Some(added(1)));
        writer.join().unwrap();
        assert_eq!(feed.next_timeout(Duration::ZERO), None);
    }
}
