//! Queries that wait for upstreams, and who gives way when there are too many (answers.md L2).
//!
//! The bound in all is shared in two steps: no network keeps more than half of it from another one, and within that the
//! client that has most gives way. So a network whose clients ask for names that nobody answers starves itself alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use tokio::sync::{Notify, oneshot};

use crate::table::Network;

use super::client_key::ClientKey;
use super::limits::Limits;

/// A query that has waited for less than this does not give way to a newer one of its own network.
const MIN_WAIT: Duration = Duration::from_secs(1);
/// Queries that gave way and whose answers are still waited for, for the cache and for others that asked the same.
const MAX_LINGERING: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    state: Mutex<State>,
    released: Notify,
    lingering: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    count: usize,
    clients: HashMap<ClientKey, usize, RandomState>,
    networks: HashMap<NetworkKey, NetworkShare, RandomState>,
    /// Numbers queries in the order in which they came.
    next: u64,
}

/// What one network's clients have.
#[derive(Debug, Default)]
struct NetworkShare {
    count: usize,
    clients: HashMap<ClientKey, BTreeMap<u64, Waiting>, RandomState>,
    /// The clients by how many queries they have here.
    by_count: BTreeSet<(usize, ClientKey)>,
}

/// One query.
#[derive(Debug)]
struct Waiting {
    since: Instant,
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
    /// A place for one more query of a client of a network; `None` if it has to be turned away.
    pub(super) fn admit(
        self: &Arc<Forwards>,
        network: &Arc<Network>,
        client: ClientKey,
        limits: &Limits,
    ) -> Option<Permit> {
        let network = NetworkKey(network.clone());
        let mut state = self.lock();
        if state.clients.get(&client).copied().unwrap_or(0) >= limits.forwards_per_client {
            return None;
        }
        if state.count >= limits.forwards {
            state.make_room(&network, limits.forwards)?;
        }
        let (give_way, displaced) = oneshot::channel();
        let number = state.add(&network, client, give_way);
        Some(Permit { forwards: self.clone(), network, client, number, displaced })
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
        // Dropping it takes back what was added here.
        (self.lingering.fetch_add(1, Ordering::Relaxed) < MAX_LINGERING).then_some(lingering)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        super::lock(&self.state)
    }
}

impl State {
    /// Lets one query give way to one of `network` when `most` wait. `None` if none has to.
    fn make_room(&mut self, network: &NetworkKey, most: usize) -> Option<()> {
        let half = most / 2;
        let own = self.networks.get(network).map_or(0, |share| share.count);
        let greedy = self.networks.iter().find(|(_, share)| share.count > half).map(|(key, _)| key.clone());
        let (from, min_wait) = match greedy {
            // Another network has more than its half, and this one less: that is made good at once.
            Some(greedy) if greedy != *network && own < half => (greedy, Duration::ZERO),
            // A network that has its half takes nothing from others.
            _ if own >= half && own > 0 => (network.clone(), MIN_WAIT),
            _ => {
                let most = self.networks.iter().max_by_key(|(_, share)| share.most());
                (most?.0.clone(), MIN_WAIT)
            }
        };
        let share = self.networks.get(&from)?;
        let &(_, client) = share.by_count.last()?;
        let (&number, oldest) = share.clients.get(&client)?.first_key_value()?;
        if oldest.since.elapsed() < min_wait {
            return None;
        }
        let displaced = self.remove(&from, client, number)?;
        // One that is just being answered needs no place any more either.
        let _ = displaced.give_way.send(());
        Some(())
    }

    fn add(&mut self, network: &NetworkKey, client: ClientKey, give_way: oneshot::Sender<()>) -> u64 {
        self.next += 1;
        self.count += 1;
        *self.clients.entry(client).or_default() += 1;
        let share = self.networks.entry(network.clone()).or_default();
        share.count += 1;
        let own = share.clients.entry(client).or_default();
        share.by_count.remove(&(own.len(), client));
        own.insert(self.next, Waiting { since: Instant::now(), give_way });
        share.by_count.insert((own.len(), client));
        self.next
    }

    /// Takes a query out; `None` if it gave way before.
    fn remove(&mut self, network: &NetworkKey, client: ClientKey, number: u64) -> Option<Waiting> {
        let share = self.networks.get_mut(network)?;
        let own = share.clients.get_mut(&client)?;
        let waiting = own.remove(&number)?;
        share.by_count.remove(&(own.len() + 1, client));
        if own.is_empty() {
            share.clients.remove(&client);
        } else {
            share.by_count.insert((own.len(), client));
        }
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
        Some(waiting)
    }
}

impl NetworkShare {
    /// How many queries the client has that has most.
    fn most(&self) -> usize {
        self.by_count.last().map_or(0, |&(count, _)| count)
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
        assert!(state.count == 0 && state.clients.is_empty() && state.networks.is_empty(), "{state:?}");
    }

    #[test]
    fn l2_a_client_has_its_share_on_all_networks_together_and_it_comes_back() {
        let forwards = Arc::<Forwards>::default();
        let (shop, blog, limits) = (network("shop"), network("blog"), limits(8, 2));
        let first = forwards.admit(&shop, client(1), &limits).unwrap();
        let second = forwards.admit(&blog, client(1), &limits).unwrap();
        assert!(forwards.admit(&shop, client(1), &limits).is_none());
        age(&forwards, MIN_WAIT);
        assert!(forwards.admit(&shop, client(1), &limits).is_none(), "however long its own have waited");
        let other = forwards.admit(&shop, client(2), &limits).unwrap();
        drop((first, second, other));
        assert_empty(&forwards);
    }

    #[test]
    fn l2_the_oldest_query_of_the_client_that_has_most_gives_way_after_a_second() {
        let forwards = Arc::<Forwards>::default();
        let (shop, limits) = (network("shop"), limits(4, 4));
        let mut greedy = [(); 3].map(|()| forwards.admit(&shop, client(1), &limits).unwrap());
        let mut modest = forwards.admit(&shop, client(2), &limits).unwrap();
        assert!(forwards.admit(&shop, client(3), &limits).is_none(), "none has waited for a second");
        age(&forwards, MIN_WAIT);
        let next = forwards.admit(&shop, client(3), &limits).unwrap();
        assert!(!is_displaced(&mut modest));
        assert_eq!(greedy.each_mut().map(is_displaced), [true, false, false]);
        assert_eq!(forwards.count(), 4);
        drop((greedy, modest, next));
        assert_empty(&forwards);
    }

    #[test]
    fn l2_no_network_keeps_more_than_half_from_another() {
        let forwards = Arc::<Forwards>::default();
        let (shop, blog, limits) = (network("shop"), network("blog"), limits(4, 4));
        // As long as nobody else wants any, all are one network's.
        let mut greedy: Vec<_> =
            (1..=4).map(|number| forwards.admit(&shop, client(number), &limits).unwrap()).collect();
        let mut other = [(); 2].map(|()| forwards.admit(&blog, client(9), &limits).unwrap());
        assert_eq!(greedy.iter_mut().filter_map(|permit| is_displaced(permit).then_some(())).count(), 2);
        // Each has its half: neither takes from the other, however long that has waited.
        age(&forwards, MIN_WAIT);
        let third = forwards.admit(&blog, client(9), &limits).unwrap();
        assert_eq!(other.each_mut().map(is_displaced), [true, false]);
        assert!(forwards.admit(&blog, client(8), &limits).is_some(), "the one that has waited");
        assert!(is_displaced(&mut other[1]));
        assert_eq!(forwards.lock().networks[&NetworkKey(shop.clone())].count, 2);
        drop((greedy, other, third));
        assert_empty(&forwards);
    }

    #[tokio::test]
    async fn what_lingers_is_bounded() {
        let forwards = Forwards::default();
        let lingering: Vec<_> = (0..MAX_LINGERING).map(|_| forwards.linger().unwrap()).collect();
        assert!(forwards.linger().is_none());
        drop(lingering);
        assert!(forwards.linger().is_some());
        forwards.drained().await;
    }
}
