//! Queries that wait for upstreams, and who gives way when there are too many (answers.md L2).
//!
//! The places are shared in two steps, first between networks, then between the clients of a network. When all are taken, a
//! network that has fewer than another one takes a place from the network that has most, at once; so does a client of its
//! network. So a network whose clients ask for names that nobody answers starves itself alone, and so does a client.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use tokio::sync::{Notify, oneshot};

use crate::table::Network;

use super::client_key::ClientKey;
use super::status::LimitsHit;
use crate::settings::Limits;

/// A query that has waited for less than this does not give way to one of a client that has as many.
const MIN_WAIT: Duration = Duration::from_secs(1);
/// Queries that gave way and whose answers are still waited for, for the cache and for others that asked the same.
const MAX_LINGERING: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Forwards {
    /// Sockets that the queries that wait may need together.
    sockets: usize,
    state: Mutex<State>,
    released: Notify,
    lingering: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    count: usize,
    /// Sockets that these queries may need.
    sockets: usize,
    clients: HashMap<ClientKey, usize, RandomState>,
    networks: HashMap<NetworkKey, NetworkShare, RandomState>,
    /// Numbers queries in the order in which they came.
    next: u64,
    hit: LimitsHit,
}

/// What one network's clients have.
#[derive(Debug, Default)]
struct NetworkShare {
    count: usize,
    clients: HashMap<ClientKey, BTreeMap<u64, Waiting>, RandomState>,
    /// The clients by how many queries they have here; of those that have as many, the one with the oldest query is last.
    by_count: BTreeSet<(usize, Reverse<u64>, ClientKey)>,
}

/// One query.
#[derive(Debug)]
struct Waiting {
    since: Instant,
    sockets: usize,
    give_way: oneshot::Sender<()>,
}

/// A network, compared by identity.
#[derive(Debug, Clone)]
struct NetworkKey(Arc<Network>);

impl PartialEq for NetworkKey {
    fn eq(&self, other: &NetworkKey) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for NetworkKey {}

impl Hash for NetworkKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// The place of one query among those that wait; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    forwards: Arc<Forwards>,
    network: NetworkKey,
    client: ClientKey,
    number: u64,
    displaced: oneshot::Receiver<()>,
}

/// The right to wait for an answer that no client waits for any more.
#[derive(Debug)]
pub(super) struct Lingering<'f>(&'f AtomicUsize);

impl Forwards {
    /// Places for queries that need no more than so many sockets together.
    pub(super) fn new(sockets: usize) -> Forwards {
        Forwards { sockets, state: Mutex::default(), released: Notify::new(), lingering: AtomicUsize::new(0) }
    }

    /// A place for one more query of a client of a network, which may need so many sockets; `None` if it has to be turned
    /// away.
    pub(super) fn admit(
        self: &Arc<Forwards>,
        network: &Arc<Network>,
        client: ClientKey,
        sockets: usize,
        limits: &Limits,
    ) -> Option<Permit> {
        let network = NetworkKey(network.clone());
        let mut state = self.lock();
        if state.clients.get(&client).copied().unwrap_or(0) >= limits.forwards_per_client {
            state.hit.forwards_per_client += 1;
            return None;
        }
        // Even one that needs more than there are is asked, when it is alone.
        let sockets = sockets.min(self.sockets);
        while state.count >= limits.forwards || state.sockets + sockets > self.sockets {
            if state.make_room(&network, client).is_none() {
                state.hit.forwards += 1;
                return None;
            }
            state.hit.forwards_displaced += 1;
        }
        let (give_way, displaced) = oneshot::channel();
        let number = state.add(&network, client, sockets, give_way);
        Some(Permit { forwards: self.clone(), network, client, number, displaced })
    }

    /// Adds how often limits were reached.
    pub(super) fn limits_hit(&self, all: &mut LimitsHit) {
        let LimitsHit { forwards, forwards_per_client, forwards_displaced, .. } = self.lock().hit;
        *all = LimitsHit { forwards, forwards_per_client, forwards_displaced, ..*all };
    }

    /// How many queries wait.
    pub(super) fn count(&self) -> usize {
        self.lock().count
    }

    /// Waits until none is left.
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

    /// The right to finish a query that gave way, unless many do already.
    pub(super) fn linger(&self) -> Option<Lingering<'_>> {
        let lingering = Lingering(&self.lingering);
        // Dropping it takes back what was added here. Each may have sockets to several servers.
        let most = MAX_LINGERING.min(self.sockets / 8);
        (self.lingering.fetch_add(1, Ordering::Relaxed) < most).then_some(lingering)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        super::lock(&self.state)
    }
}

impl State {
    /// Lets one query give way to one of `client` in `network`. `None` if none has to.
    fn make_room(&mut self, network: &NetworkKey, client: ClientKey) -> Option<()> {
        let (largest, most) = self.networks.iter().max_by_key(|(_, share)| share.count)?;
        let own = self.networks.get(network);
        let (from, min_wait) = match own {
            // Compared as they are afterwards, so that two that are even do not take from each other for ever.
            _ if own.map_or(0, |share| share.count) + 1 < most.count => (largest.clone(), Duration::ZERO),
            Some(share) => {
                let has = share.clients.get(&client).map_or(0, BTreeMap::len);
                (network.clone(), if has + 1 < share.most() { Duration::ZERO } else { MIN_WAIT })
            }
            None => (largest.clone(), MIN_WAIT),
        };
        let share = self.networks.get(&from)?;
        let &(_, Reverse(number), client) = share.by_count.last()?;
        if share.clients.get(&client)?.get(&number)?.since.elapsed() < min_wait {
            return None;
        }
        let displaced = self.remove(&from, client, number)?;
        // One that is just being answered needs no place any more either.
        let _ = displaced.give_way.send(());
        Some(())
    }

    fn add(&mut self, network: &NetworkKey, client: ClientKey, sockets: usize, give_way: oneshot::Sender<()>) -> u64 {
        self.next += 1;
        self.count += 1;
        self.sockets += sockets;
        *self.clients.entry(client).or_default() += 1;
        let share = self.networks.entry(network.clone()).or_default();
        share.count += 1;
        let waiting = Waiting { since: Instant::now(), sockets, give_way };
        share.change(client, |own| own.insert(self.next, waiting));
        self.next
    }

    /// Takes a query out; `None` if it gave way before.
    fn remove(&mut self, network: &NetworkKey, client: ClientKey, number: u64) -> Option<Waiting> {
        let share = self.networks.get_mut(network)?;
        let waiting = share.change(client, |own| own.remove(&number))?;
        share.count -= 1;
        if share.count == 0 {
            self.networks.remove(network);
        }
        if let Some(count) = self.clients.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.clients.remove(&client);
            }
        }
        self.count -= 1;
        self.sockets -= waiting.sockets;
        Some(waiting)
    }
}

impl NetworkShare {
    /// How many queries the client has that has most.
    fn most(&self) -> usize {
        self.by_count.last().map_or(0, |&(count, ..)| count)
    }

    /// Changes what a client has here.
    fn change<T>(&mut self, client: ClientKey, change: impl FnOnce(&mut BTreeMap<u64, Waiting>) -> T) -> T {
        let place =
            |own: &BTreeMap<u64, Waiting>| own.keys().next().map(|&oldest| (own.len(), Reverse(oldest), client));
        let own = self.clients.entry(client).or_default();
        let before = place(own);
        let changed = change(own);
        let after = place(own);
        if own.is_empty() {
            self.clients.remove(&client);
        }
        if let Some(before) = before {
            self.by_count.remove(&before);
        }
        self.by_count.extend(after);
        changed
    }
}

impl Permit {
    /// Waits until the query has to give way to another one.
    pub(super) async fn displaced(&mut self) {
        if (&mut self.displaced).await.is_err() {
            // It was removed without being displaced, which only the drop of this permit does.
            std::future::pending().await
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.forwards.lock();
        state.remove(&self.network, self.client, self.number);
        if state.count == 0 {
            self.forwards.released.notify_waiters();
        }
    }
}

impl Drop for Lingering<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str) -> Arc<Network> {
        Arc::new(Network::builder(name).build().unwrap())
    }

    fn client(number: u8) -> ClientKey {
        ClientKey::of([10, 0, 0, number].into())
    }

    fn limits(forwards: usize, forwards_per_client: usize) -> Limits {
        Limits { forwards, forwards_per_client, ..Limits::default() }
    }

    /// Places whose number the limits say: there is any number of sockets.
    fn forwards() -> Arc<Forwards> {
        Arc::new(Forwards::new(usize::MAX))
    }

    fn is_displaced(permit: &mut Permit) -> bool {
        permit.displaced.try_recv().is_ok()
    }

    /// Lets all queries that wait have waited for so much longer.
    fn age(forwards: &Forwards, by: Duration) {
        for share in forwards.lock().networks.values_mut() {
            let waiting = share.clients.values_mut().flat_map(BTreeMap::values_mut);
            waiting.for_each(|waiting| waiting.since = waiting.since.checked_sub(by).unwrap());
        }
    }

    fn assert_empty(forwards: &Forwards) {
        let state = forwards.lock();
        assert!(
            (state.count, state.sockets) == (0, 0) && state.clients.is_empty() && state.networks.is_empty(),
            "{state:?}"
        );
    }

    #[test]
    fn l2_a_client_has_its_share_on_all_networks_together_and_it_comes_back() {
        let forwards = forwards();
        let (shop, blog, limits) = (network("shop"), network("blog"), limits(8, 2));
        let first = forwards.admit(&shop, client(1), 1, &limits).unwrap();
        let second = forwards.admit(&blog, client(1), 1, &limits).unwrap();
        assert!(forwards.admit(&shop, client(1), 1, &limits).is_none());
        age(&forwards, MIN_WAIT);
        assert!(forwards.admit(&shop, client(1), 1, &limits).is_none(), "however long its own have waited");
        let other = forwards.admit(&shop, client(2), 1, &limits).unwrap();
        drop((first, second, other));
        assert_empty(&forwards);
    }

    #[test]
    fn l2_the_oldest_query_of_the_client_that_has_most_gives_way_after_a_second() {
        let forwards = forwards();
        let (shop, limits) = (network("shop"), limits(4, 4));
        let [mut second, mut first] =
            [2, 1].map(|number| [(); 2].map(|()| forwards.admit(&shop, client(number), 1, &limits).unwrap()));
        for number in [1, 2] {
            assert!(forwards.admit(&shop, client(number), 1, &limits).is_none(), "none has waited for a second");
        }
        age(&forwards, MIN_WAIT);
        let next = forwards.admit(&shop, client(1), 1, &limits).unwrap();
        assert_eq!(second.each_mut().map(is_displaced), [true, false], "of those that have as many, the oldest");
        assert_eq!(first.each_mut().map(is_displaced), [false; 2]);
        assert_eq!(forwards.count(), 4);
        drop((first, second, next));
        assert_empty(&forwards);
    }

    #[test]
    fn l2_a_client_that_has_fewer_than_another_takes_from_it_at_once() {
        let forwards = forwards();
        let (shop, limits) = (network("shop"), limits(6, 6));
        let mut greedy = [(); 5].map(|()| forwards.admit(&shop, client(1), 1, &limits).unwrap());
        let mut modest = forwards.admit(&shop, client(2), 1, &limits).unwrap();
        let mut next = [(); 2].map(|()| forwards.admit(&shop, client(3), 1, &limits).unwrap());
        assert_eq!(greedy.each_mut().map(is_displaced), [true, true, false, false, false]);
        // 3, 1 and 2: one more, and it would be the other's turn to take it back.
        assert!(forwards.admit(&shop, client(3), 1, &limits).is_none());
        assert!(!is_displaced(&mut modest) && next.iter_mut().all(|permit| !is_displaced(permit)));
        drop((greedy, modest, next));
        assert_empty(&forwards);
    }

    #[test]
    fn l2_a_third_network_takes_its_share_at_once_from_two_that_have_a_half_each() {
        let forwards = forwards();
        let (names, limits) = (["shop", "blog", "mail"].map(network), limits(12, 12));
        let mut greedy = Vec::new();
        for name in &names[..2] {
            greedy.extend((1..=6).map(|number| forwards.admit(name, client(number), 1, &limits).unwrap()));
        }
        let third: Vec<_> = (0..4).map(|_| forwards.admit(&names[2], client(9), 1, &limits).unwrap()).collect();
        assert!(forwards.admit(&names[2], client(9), 1, &limits).is_none(), "it has an even share");
        let displaced: Vec<_> = greedy.iter_mut().map(is_displaced).collect();
        let half = [true, true, false, false, false, false];
        assert_eq!(displaced, [half, half].concat(), "the oldest two of each");
        drop((greedy, third));
        assert_empty(&forwards);
    }

    #[test]
    fn l2_the_sockets_that_there_are_bound_what_one_client_has() {
        let (forwards, shop, limits) = (Arc::new(Forwards::new(6)), network("shop"), limits(100, 100));
        let mut greedy = [(); 2].map(|()| forwards.admit(&shop, client(1), 3, &limits).unwrap());
        assert!(forwards.admit(&shop, client(1), 1, &limits).is_none());
        let other = forwards.admit(&shop, client(2), 3, &limits).unwrap();
        assert_eq!(greedy.each_mut().map(is_displaced), [true, false]);
        drop((greedy, other));
        assert_empty(&forwards);
        let alone = forwards.admit(&shop, client(1), 9, &limits).expect("more servers than sockets");
        drop(alone);
        assert_empty(&forwards);
    }

    #[test]
    fn l2_no_network_keeps_more_than_half_from_another() {
        let forwards = forwards();
        let (shop, blog, limits) = (network("shop"), network("blog"), limits(4, 4));
        // As long as nobody else wants any, all are one network's.
        let mut greedy: Vec<_> =
            (1..=4).map(|number| forwards.admit(&shop, client(number), 1, &limits).unwrap()).collect();
        let mut other = [(); 2].map(|()| forwards.admit(&blog, client(9), 1, &limits).unwrap());
        assert_eq!(greedy.iter_mut().filter_map(|permit| is_displaced(permit).then_some(())).count(), 2);
        // Each has its half: neither takes from the other, however long that has waited.
        age(&forwards, MIN_WAIT);
        let third = forwards.admit(&blog, client(9), 1, &limits).unwrap();
        assert_eq!(other.each_mut().map(is_displaced), [true, false]);
        assert!(forwards.admit(&blog, client(8), 1, &limits).is_some(), "the one that has waited");
        assert!(is_displaced(&mut other[1]));
        assert_eq!(forwards.lock().networks[&NetworkKey(shop.clone())].count, 2);
        drop((greedy, other, third));
        assert_empty(&forwards);
    }

    #[tokio::test]
    async fn what_lingers_is_bounded() {
        let forwards = Forwards::new(usize::MAX);
        let lingering: Vec<_> = (0..MAX_LINGERING).map(|_| forwards.linger().unwrap()).collect();
        assert!(forwards.linger().is_none());
        drop(lingering);
        assert!(forwards.linger().is_some());
        forwards.drained().await;
    }
}
