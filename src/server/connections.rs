//! TCP connections: who is served, who waits, and who gives way (answers.md C).
//!
//! A connection has a seat while it is served. One that finds no seat waits unread, and an idle connection is asked to leave:
//! over a client's cap the longest-idle one of that client, over the server's cap the longest-idle one of the client that has
//! most. A connection counts as idle while we owe it no answer. One that has not asked yet, or only in part, does so after
//! [`GRACE`]: its query is probably on the way. So a flooder loses its own seats, and a large thread pool loses none that it
//! is using.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use tokio::sync::{Notify, oneshot};
use tracing::warn;

use super::client_key::ClientKey;
use super::rate::OncePerMinute;
use super::status::LimitsHit;
use super::stop::Stop;
use crate::settings::Limits;

/// Connections of one client that wait for a seat.
const MAX_WAITING_PER_CLIENT: usize = 256;
/// Connections that wait for a seat in all; over it, the client of which most wait loses the last that came.
const MAX_WAITING: usize = 1024;
/// How long a connection may take to ask something before it counts as idle.
const GRACE: Duration = Duration::from_secs(1);
/// A connection whose query has waited for longer gives way too where no connection of the server is idle.
const BUSY: Duration = Duration::from_secs(1);
/// How often a connection that waits looks for one that has become idle by the passing of time.
const LOOK: Duration = Duration::from_millis(250);
/// Octets of replies that clients do not take, in all and of one client.
const MAX_UNSENT: usize = 2 << 20;
const MAX_UNSENT_PER_CLIENT: usize = 256 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Arc<ArcSwap<Limits>>,
    state: Mutex<State>,
    /// How many wait: the same as in `state`, for connections that become idle.
    waiting: AtomicUsize,
    released: Notify,
    warned: OncePerMinute,
    start: Instant,
}

#[derive(Debug, Default)]
struct State {
    clients: HashMap<ClientKey, Connected, RandomState>,
    seated: usize,
    waiting: usize,
    /// Those with a seat that were asked to leave.
    leaving: usize,
    unsent: usize,
    /// Numbers the connections that wait.
    next: u64,
    hit: LimitsHit,
}

/// One client's connections.
#[derive(Debug, Default)]
struct Connected {
    seated: Vec<Arc<Place>>,
    waiting: VecDeque<(u64, oneshot::Sender<Arc<Place>>)>,
    leaving: usize,
    unsent: usize,
}

/// What is known of a connection with a seat.
#[derive(Debug)]
struct Place {
    /// The moment from which it counts as idle; [`NEVER`] while it is owed an answer.
    idle_from: AtomicU64,
    /// The moment from which it has been owed answers without a pause; [`NEVER`] while it is owed none.
    busy_from: AtomicU64,
    /// The moment from which its client has not taken a reply whole; [`NEVER`] while there is none.
    stalled_from: AtomicU64,
    /// Octets that its client has not taken. Changed under the lock of the registry.
    unsent: AtomicUsize,
    leave: Stop,
    /// Set before `leave`, or after it: what is owed is not waited for.
    cut: Stop,
}

/// Moments are milliseconds since the registry was made.
const NEVER: u64 = u64::MAX;

/// What becomes of a new connection.
#[derive(Debug)]
pub(super) enum Admission {
    Seated(Seat),
    Waiting(Waiting),
    /// Too many of this client wait.
    Refused,
}

/// The right to be served; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    connections: Arc<Connections>,
    client: ClientKey,
    place: Arc<Place>,
}

/// A place in the line for a seat; given up when dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    connections: Arc<Connections>,
    client: ClientKey,
    number: u64,
    granted: oneshot::Receiver<Arc<Place>>,
}

impl Connections {
    pub(super) fn new(limits: Arc<ArcSwap<Limits>>) -> Connections {
        Connections {
            limits,
            state: Mutex::default(),
            waiting: AtomicUsize::new(0),
            released: Notify::new(),
            warned: OncePerMinute::new(),
            start: Instant::now(),
        }
    }

    /// Decides on a new connection.
    pub(super) fn admit(self: &Arc<Connections>, client: ClientKey) -> Admission {
        let (mut state, limits) = (self.lock(), self.limits.load());
        let now = self.now();
        let own = state.clients.get(&client).map_or(0, |own| own.seated.len());
        let is_full = state.seated >= limits.tcp_connections;
        if own < limits.tcp_connections_per_client && !is_full {
            let place = state.seat(client, now);
            return Admission::Seated(Seat { connections: self.clone(), client, place });
        }
        let is_own = own >= limits.tcp_connections_per_client;
        self.warn(&state, client, is_own, &limits);
        let waiting = state.clients.get(&client).map_or(0, |own| own.waiting.len());
        if waiting >= MAX_WAITING_PER_CLIENT || state.waiting >= MAX_WAITING && !state.shorten_longest_line(waiting) {
            state.hit.tcp_connections_waiting += 1;
            return Admission::Refused;
        }
        *if is_own { &mut state.hit.tcp_connections_per_client } else { &mut state.hit.tcp_connections } += 1;
        let (grant, granted) = oneshot::channel();
        state.next += 1;
        state.waiting += 1;
        let number = state.next;
        state.clients.entry(client).or_default().waiting.push_back((number, grant));
        self.waiting.store(state.waiting, Ordering::Relaxed);
        state.make_room(client, now, &limits);
        Admission::Waiting(Waiting { connections: self.clone(), client, number, granted })
    }

    /// How many are served.
    pub(super) fn count(&self) -> usize {
        self.lock().seated
    }

    /// Adds how often limits were reached.
    pub(super) fn limits_hit(&self, all: &mut LimitsHit) {
        let LimitsHit { tcp_connections, tcp_connections_per_client, tcp_connections_waiting, .. } = self.lock().hit;
        *all = LimitsHit { tcp_connections, tcp_connections_per_client, tcp_connections_waiting, ..*all };
    }

    /// Waits until none is served.
    pub(super) async fn drained(&self) {
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            released.await;
        }
    }

    fn warn(&self, state: &State, client: ClientKey, is_own: bool, limits: &Limits) {
        if !self.warned.is_due() {
            return;
        }
        if is_own {
            let most = limits.tcp_connections_per_client;
            warn!(
                %client,
                "{client} wants more than {most} TCP connections: its idle ones are closed and new ones wait; raise \
                 tcp_connections_per_client in [server.limits] if it is to have more"
            );
        } else if let Some((client, own)) = state.clients.iter().max_by_key(|(_, own)| own.seated.len()) {
            let (most, has) = (limits.tcp_connections, own.seated.len());
            warn!(
                %client,
                "all {most} TCP connections are taken, {has} of them by {client}: idle ones of the clients that have most \
                 are closed; raise tcp_connections in [server.limits] if there are to be more"
            );
        }
    }

    /// A connection became idle while others wait.
    fn became_idle(&self, client: ClientKey) {
        let (mut state, limits) = (self.lock(), self.limits.load());
        let now = self.now();
        let is_waiting = |(_, own): &(&ClientKey, &Connected)| {
            !own.waiting.is_empty() && own.seated.len() < limits.tcp_connections_per_client
        };
        let other = state.clients.iter().find(is_waiting).map(|(&client, _)| client);
        for client in [Some(client), other].into_iter().flatten() {
            state.make_room(client, now, &limits);
        }
    }

    fn release(&self, client: ClientKey, place: &Arc<Place>) {
        let (mut state, limits) = (self.lock(), self.limits.load());
        state.free(client, place);
        while let Some(client) = state.next_in_line(&limits) {
            state.grant(client, self.now());
        }
        self.waiting.store(state.waiting, Ordering::Relaxed);
        if state.seated == 0 {
            self.released.notify_waiters();
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        super::lock(&self.state)
    }
}

impl State {
    fn seat(&mut self, client: ClientKey, now: u64) -> Arc<Place> {
        let place = Arc::new(Place {
            idle_from: AtomicU64::new(now + GRACE.as_millis() as u64),
            busy_from: AtomicU64::new(NEVER),
            stalled_from: AtomicU64::new(NEVER),
            unsent: AtomicUsize::new(0),
            leave: Stop::default(),
            cut: Stop::default(),
        });
        self.seated += 1;
        self.clients.entry(client).or_default().seated.push(place.clone());
        place
    }

    fn free(&mut self, client: ClientKey, place: &Arc<Place>) {
        let Some(own) = self.clients.get_mut(&client) else { return };
        let Some(index) = own.seated.iter().position(|other| Arc::ptr_eq(other, place)) else { return };
        own.seated.swap_remove(index);
        self.seated -= 1;
        if place.leave.is_set() {
            own.leaving -= 1;
            self.leaving -= 1;
        }
        let unsent = place.unsent.load(Ordering::Relaxed);
        own.unsent -= unsent;
        self.unsent -= unsent;
        self.forget_if_gone(client);
    }

    fn forget_if_gone(&mut self, client: ClientKey) {
        if self.clients.get(&client).is_some_and(|own| own.seated.is_empty() && own.waiting.is_empty()) {
            self.clients.remove(&client);
        }
    }

    /// The client that gets the next seat that is free: of those who may have one more, the one that has fewest.
    fn next_in_line(&self, limits: &Limits) -> Option<ClientKey> {
        if self.waiting == 0 || self.seated >= limits.tcp_connections {
            return None;
        }
        let may_have = |own: &Connected| own.seated.len() < limits.tcp_connections_per_client;
        let waiting = self.clients.iter().filter(|(_, own)| !own.waiting.is_empty() && may_have(own));
        waiting.min_by_key(|(_, own)| own.seated.len()).map(|(&client, _)| client)
    }

    fn grant(&mut self, client: ClientKey, now: u64) {
        let first = self.clients.get_mut(&client).and_then(|own| own.waiting.pop_front());
        let Some((_, grant)) = first else { return };
        self.waiting -= 1;
        let place = self.seat(client, now);
        if let Err(place) = grant.send(place) {
            // One that gives up takes itself out of the line first, so this cannot be.
            self.free(client, &place);
        }
    }

    /// Takes the last of the line of which most wait out of it, if that is longer than `own`.
    fn shorten_longest_line(&mut self, own: usize) -> bool {
        let longest = self.clients.iter_mut().max_by_key(|(_, other)| other.waiting.len());
        let Some((&client, other)) = longest.filter(|(_, other)| other.waiting.len() > own + 1) else { return false };
        other.waiting.pop_back();
        self.waiting -= 1;
        self.hit.tcp_connections_waiting += 1;
        self.forget_if_gone(client);
        true
    }

    /// Asks one connection to leave, so that one of `client` that waits gets its seat.
    fn make_room(&mut self, client: ClientKey, now: u64, limits: &Limits) {
        let Some(own) = self.clients.get(&client) else { return };
        if own.seated.len() >= limits.tcp_connections_per_client {
            if own.leaving < own.waiting.len()
                && let Some((_, place)) = own.longest_idle(now)
            {
                self.ask_to_leave(client, &place, false);
            }
        } else if self.seated >= limits.tcp_connections && self.leaving < self.waiting {
            let has = own.seated.len();
            if let Some((client, place, at_once)) = self.most_dispensable(has, now) {
                self.ask_to_leave(client, &place, at_once);
            }
        }
    }

    /// The longest-idle connection of the client that has most, of those that have more than `has`; where none of them is
    /// idle, the one that has been busy for longest. True if that is not to be waited for.
    fn most_dispensable(&self, has: usize, now: u64) -> Option<(ClientKey, Arc<Place>, bool)> {
        let larger = || self.clients.iter().filter(|(_, own)| own.seated.len() > has);
        let idle = larger().filter_map(|(client, own)| Some((own.seated.len(), client, own.longest_idle(now)?)));
        let idle = idle.max_by_key(|&(count, _, (since, _))| (count, std::cmp::Reverse(since)));
        if let Some((_, &client, (_, place))) = idle {
            return Some((client, place, false));
        }
        let busy = larger().filter_map(|(client, own)| Some((own.seated.len(), client, own.longest_busy(now)?)));
        let (_, &client, place) = busy.max_by_key(|&(count, ..)| count)?;
        Some((client, place, true))
    }

    fn ask_to_leave(&mut self, client: ClientKey, place: &Place, at_once: bool) {
        if at_once {
            place.cut.set();
        }
        if place.leave.is_set() {
            return;
        }
        let Some(own) = self.clients.get_mut(&client) else { return };
        own.leaving += 1;
        self.leaving += 1;
        place.leave.set();
    }

    /// Counts anew what the client of a connection has not taken, and gives that.
    fn count_unsent(&mut self, client: ClientKey, place: &Place, count: impl FnOnce(usize) -> usize) -> usize {
        let before = place.unsent.load(Ordering::Relaxed);
        let after = count(before);
        place.unsent.store(after, Ordering::Relaxed);
        self.unsent = self.unsent - before + after;
        if let Some(own) = self.clients.get_mut(&client) {
            own.unsent = own.unsent - before + after;
        }
        after
    }

    /// Ends the connection whose client has taken nothing for longest, for the room that its replies take. False if there is
    /// none, or if that is `own`.
    fn cut_longest_stalled(&mut self, own: &Arc<Place>) -> bool {
        let places = self.clients.iter().flat_map(|(client, own)| own.seated.iter().map(move |place| (client, place)));
        let stalled = places.filter(|(_, place)| place.unsent.load(Ordering::Relaxed) > 0 || Arc::ptr_eq(place, own));
        let since = |place: &Arc<Place>| (place.stalled_from.load(Ordering::Relaxed), Arc::ptr_eq(place, own));
        let longest = stalled.min_by_key(|(_, place)| since(place)).map(|(&client, place)| (client, place.clone()));
        let Some((client, place)) = longest.filter(|(_, place)| !Arc::ptr_eq(place, own)) else { return false };
        // Its task lets go of them as soon as it runs.
        self.count_unsent(client, &place, |_| 0);
        self.ask_to_leave(client, &place, true);
        true
    }
}

impl Connected {
    /// The connection that has been idle for longest, and since when; not one that leaves already.
    fn longest_idle(&self, now: u64) -> Option<(u64, Arc<Place>)> {
        self.longest(now, |place| &place.idle_from)
    }

    fn longest_busy(&self, now: u64) -> Option<Arc<Place>> {
        self.longest(now.checked_sub(BUSY.as_millis() as u64)?, |place| &place.busy_from).map(|(_, place)| place)
    }

    fn longest(&self, until: u64, from: impl Fn(&Place) -> &AtomicU64) -> Option<(u64, Arc<Place>)> {
        let staying = self.seated.iter().filter(|place| !place.leave.is_set());
        let since = staying.map(|place| (from(place).load(Ordering::Relaxed), place));
        let (since, place) = since.min_by_key(|&(since, _)| since).filter(|&(since, _)| since <= until)?;
        Some((since, place.clone()))
    }
}

impl Waiting {
    /// Waits for a seat. `None` if the connection is to be closed: others of its client came in too great a number.
    pub(super) async fn seat(mut self) -> Option<Seat> {
        loop {
            match tokio::time::timeout(LOOK, &mut self.granted).await {
                Ok(Ok(place)) => {
                    let connections = self.connections.clone();
                    return Some(Seat { connections, client: self.client, place });
                }
                Ok(Err(_)) => return None,
                Err(_) => {
                    let (now, limits) = (self.connections.now(), self.connections.limits.load());
                    self.connections.lock().make_room(self.client, now, &limits);
                }
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.connections.lock();
        if let Some(own) = state.clients.get_mut(&self.client)
            && let Some(index) = own.waiting.iter().position(|&(number, _)| number == self.number)
        {
            own.waiting.remove(index);
            state.waiting -= 1;
            self.connections.waiting.store(state.waiting, Ordering::Relaxed);
            state.forget_if_gone(self.client);
        } else if let Ok(place) = self.granted.try_recv() {
            // A seat that came in the same moment.
            drop(state);
            drop(Seat { connections: self.connections.clone(), client: self.client, place });
        }
    }
}

impl Seat {
    /// Says that answers are owed.
    pub(super) fn set_busy(&self) {
        self.place.idle_from.store(NEVER, Ordering::Relaxed);
        let busy_from = &self.place.busy_from;
        let _ = busy_from.compare_exchange(NEVER, self.connections.now(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Says that no answer is owed; `is_asking` if part of a query is there already.
    pub(super) fn set_idle(&self, is_asking: bool) {
        let grace = if is_asking { GRACE.as_millis() as u64 } else { 0 };
        self.place.busy_from.store(NEVER, Ordering::Relaxed);
        self.place.idle_from.store(self.connections.now() + grace, Ordering::Relaxed);
        if self.connections.waiting.load(Ordering::Relaxed) > 0 {
            self.connections.became_idle(self.client);
        }
    }

    /// Tells when the connection has to give way.
    pub(super) fn notice(&self) -> Notice {
        Notice(self.place.clone())
    }

    /// Counts octets that the client has not taken yet. False if it leaves too many. What all leave is bounded too, and makes
    /// room by ending the connection whose client has taken nothing for longest.
    pub(super) fn hold(&mut self, octets: usize) -> bool {
        let mut state = self.connections.lock();
        let is_over = |own: &Connected| own.unsent + octets > MAX_UNSENT_PER_CLIENT;
        if self.place.cut.is_set() || state.clients.get(&self.client).is_none_or(is_over) {
            return false;
        }
        let stalled_from = &self.place.stalled_from;
        let _ = stalled_from.compare_exchange(NEVER, self.connections.now(), Ordering::Relaxed, Ordering::Relaxed);
        while state.unsent + octets > MAX_UNSENT {
            if !state.cut_longest_stalled(&self.place) {
                return false;
            }
        }
        state.count_unsent(self.client, &self.place, |unsent| unsent + octets);
        true
    }

    /// Takes back what [`hold`](Seat::hold) counted: the client has taken it.
    pub(super) fn taken(&mut self, octets: usize) {
        let mut state = self.connections.lock();
        // Of one that was cut meanwhile nothing is counted any more.
        let left = state.count_unsent(self.client, &self.place, |unsent| unsent.saturating_sub(octets));
        let stalled_from = if left > 0 { self.connections.now() } else { NEVER };
        self.place.stalled_from.store(stalled_from, Ordering::Relaxed);
    }
}

/// Tells when a connection has to give way.
#[derive(Debug)]
pub(super) struct Notice(Arc<Place>);

impl Notice {
    /// Waits until the connection has to give way: true if at once, false if after what it is owed. One that is leaving
    /// already hears only of the former.
    pub(super) async fn given(&self, is_leaving: bool) -> bool {
        tokio::select! {
            biased;
            () = self.0.cut.wait() => true,
            () = self.0.leave.wait(), if !is_leaving => false,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.release(self.client, &self.place);
    }
}
