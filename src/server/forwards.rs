//! Queries that wait for upstreams, and who gives way when there are too many (answers.md L2).
//!
//! The places are shared in two steps, first between networks, then between the clients of a network. When all are taken, a
//! network that has fewer than another one takes a place from the network that has most, at once; so does a client of its
//! network. So a network whose clients ask for names that nobody answers starves itself alone, and so does a client.
//!
//! A query takes a place and gives it back without memory of its own: places, and what is counted of clients and networks,
//! are kept for the next one.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use slab::Slab;
use tokio::sync::Notify;

use crate::table::Network;

use super::client_key::ClientKey;
use super::status::LimitsHit;
use crate::settings::Limits;

/// A query that has waited for less than this does not give way to one of a client that has as many.
const MIN_WAIT: Duration = Duration::from_secs(1);
/// Queries that gave way and whose answers are still waited for, for the cache and for others that asked the same.
const MAX_LINGERING: usize = 64;
/// Shares of clients that have no query any more, beside those that have.
const MAX_IDLE_SHARES: usize = 1024;

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
    queries: Slab<Waiting>,
    shares: Slab<Share>,
    networks: Slab<NetworkTotal>,
    /// Queries of each client on all networks.
    clients: Slab<usize>,
    share_of: HashMap<(NetworkKey, ClientKey), usize, RandomState>,
    network_of: HashMap<NetworkKey, usize, RandomState>,
    client_of: HashMap<ClientKey, usize, RandomState>,
    /// Numbers queries in the order in which they came.
    next: u64,
    hit: LimitsHit,
}

/// A network, compared by identity: by its address, which no other one has as long as it has queries here.
type NetworkKey = usize;

/// What a network's clients have.
#[derive(Debug)]
struct NetworkTotal {
    count: usize,
    /// Its shares by how many queries they have; of those that have as many, the one with the oldest query is last. Kept from
    /// the first time that one has to give way, for as long as there are queries.
    by_count: Option<BTreeSet<(usize, Reverse<u64>, usize)>>,
}

/// What one client has on one network: a list, from the oldest query to the newest.
#[derive(Debug)]
struct Share {
    network: usize,
    client: usize,
    count: usize,
    oldest: Option<usize>,
    newest: Option<usize>,
}

/// One query.
#[derive(Debug)]
struct Waiting {
    /// Keeps the address from becoming another network's.
    _network: Arc<Network>,
    share: usize,
    number: u64,
    since: Instant,
    sockets: usize,
    older: Option<usize>,
    newer: Option<usize>,
    /// It had to give way, and is in no list any more.
    is_displaced: bool,
    /// Told when that happens.
    waker: Option<Waker>,
}

/// The place of one query among those that wait; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    forwards: Arc<Forwards>,
    query: usize,
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
        let mut state = self.lock();
        let share = state.share(network, client);
        let Share { network: of_network, client: of_client, .. } = state.shares[share];
        if state.clients[of_client] >= limits.forwards_per_client {
            state.hit.forwards_per_client += 1;
            return None;
        }
        // Even one that needs more than there are is asked, when it is alone.
        let sockets = sockets.min(self.sockets);
        while state.count >= limits.forwards || state.sockets + sockets > self.sockets {
            if state.make_room(of_network, share).is_none() {
                state.hit.forwards += 1;
                return None;
            }
            state.hit.forwards_displaced += 1;
        }
        let query = state.add(network, share, sockets);
        Some(Permit { forwards: self.clone(), query })
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
    /// What a client has on a network, if only nothing as yet.
    fn share(&mut self, network: &Arc<Network>, client: ClientKey) -> usize {
        let key = Arc::as_ptr(network) as NetworkKey;
        if let Some(&share) = self.share_of.get(&(key, client)) {
            return share;
        }
        if self.shares.len() >= self.count + MAX_IDLE_SHARES {
            self.forget_idle();
        }
        let of_network = *self
            .network_of
            .entry(key)
            .or_insert_with(|| self.networks.insert(NetworkTotal { count: 0, by_count: None }));
        let of_client = *self.client_of.entry(client).or_insert_with(|| self.clients.insert(0));
        let share = Share { network: of_network, client: of_client, count: 0, oldest: None, newest: None };
        let share = self.shares.insert(share);
        self.share_of.insert((key, client), share);
        share
    }

    /// Forgets clients and networks that have no query.
    fn forget_idle(&mut self) {
        let State { shares, networks, clients, share_of, network_of, client_of, .. } = self;
        share_of.retain(|_, share| shares[*share].count > 0);
        network_of.retain(|_, network| networks[*network].count > 0);
        client_of.retain(|_, client| clients[*client] > 0);
        shares.retain(|_, share| share.count > 0);
        networks.retain(|_, network| network.count > 0);
        clients.retain(|_, count| *count > 0);
    }

    /// Lets one query give way to one of `client`, the share of a client of `network`. `None` if none has to.
    fn make_room(&mut self, network: usize, client: usize) -> Option<()> {
        let (largest, most) = self.networks.iter().max_by_key(|(_, network)| network.count)?;
        let own = self.networks[network].count;
        // Compared as they are afterwards, so that two that are even do not take from each other for ever.
        let (from, min_wait) = if own + 1 < most.count {
            (largest, Duration::ZERO)
        } else if own > 0 {
            let has = self.shares[client].count;
            (network, if has + 1 < self.most_on(network) { Duration::ZERO } else { MIN_WAIT })
        } else {
            (largest, MIN_WAIT)
        };
        let &(_, _, share) = self.by_count(from).last()?;
        let oldest = self.shares[share].oldest?;
        if self.queries[oldest].since.elapsed() < min_wait {
            return None;
        }
        self.take_out(oldest);
        let displaced = &mut self.queries[oldest];
        displaced.is_displaced = true;
        // One that is just being answered needs no place any more either.
        if let Some(waker) = displaced.waker.take() {
            waker.wake();
        }
        Some(())
    }

    /// How many queries the client of a network has that has most.
    fn most_on(&mut self, network: usize) -> usize {
        self.by_count(network).last().map_or(0, |&(count, ..)| count)
    }

    /// A network's shares by how many queries they have.
    fn by_count(&mut self, network: usize) -> &BTreeSet<(usize, Reverse<u64>, usize)> {
        let State { networks, shares, queries, .. } = self;
        networks[network].by_count.get_or_insert_with(|| {
            let own = shares.iter().filter(|(_, share)| share.network == network);
            own.filter_map(|(index, share)| rank(queries, index, share)).collect()
        })
    }

    fn add(&mut self, network: &Arc<Network>, share: usize, sockets: usize) -> usize {
        self.next += 1;
        let (number, older) = (self.next, self.shares[share].newest);
        let query = self.queries.insert(Waiting {
            _network: network.clone(),
            share,
            number,
            since: Instant::now(),
            sockets,
            older,
            newer: None,
            is_displaced: false,
            waker: None,
        });
        if let Some(older) = older {
            self.queries[older].newer = Some(query);
        }
        self.change(share, 1, |share| {
            share.newest = Some(query);
            share.oldest.get_or_insert(query);
        });
        self.count += 1;
        self.sockets += sockets;
        query
    }

    /// Takes a query out of its client's list.
    fn take_out(&mut self, query: usize) {
        let Waiting { share, sockets, older, newer, .. } = self.queries[query];
        if let Some(older) = older {
            self.queries[older].newer = newer;
        }
        if let Some(newer) = newer {
            self.queries[newer].older = older;
        }
        self.change(share, -1, |share| {
            if share.oldest == Some(query) {
                share.oldest = newer;
            }
            if share.newest == Some(query) {
                share.newest = older;
            }
        });
        self.count -= 1;
        self.sockets -= sockets;
    }

    /// Changes what a client has on a network by one query, as the list says then.
    fn change(&mut self, share: usize, by: isize, change: impl FnOnce(&mut Share)) {
        let State { shares, networks, clients, queries, .. } = self;
        let own = &mut shares[share];
        let network = &mut networks[own.network];
        if let (Some(by_count), Some(before)) = (&mut network.by_count, rank(queries, share, own)) {
            by_count.remove(&before);
        }
        change(own);
        for count in [&mut own.count, &mut network.count, &mut clients[own.client]] {
            *count = count.saturating_add_signed(by);
        }
        if let (Some(by_count), Some(after)) = (&mut network.by_count, rank(queries, share, own)) {
            by_count.insert(after);
        }
        if network.count == 0 {
            network.by_count = None;
        }
    }
}

/// The place of a share among those of its network, if it has queries.
fn rank(queries: &Slab<Waiting>, index: usize, share: &Share) -> Option<(usize, Reverse<u64>, usize)> {
    share.oldest.map(|oldest| (share.count, Reverse(queries[oldest].number), index))
}

impl Permit {
    /// Waits until the query has to give way to another one.
    pub(super) fn displaced(&mut self) -> impl Future<Output = ()> + Send {
        poll_fn(|context| {
            let mut state = self.forwards.lock();
            let query = &mut state.queries[self.query];
            if query.is_displaced {
                return Poll::Ready(());
            }
            match &mut query.waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            Poll::Pending
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.forwards.lock();
        if !state.queries[self.query].is_displaced {
            state.take_out(self.query);
        }
        state.queries.remove(self.query);
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
        permit.forwards.lock().queries[permit.query].is_displaced
    }

    /// Lets all queries that wait have waited for so much longer.
    fn age(forwards: &Forwards, by: Duration) {
        for (_, waiting) in &mut forwards.lock().queries {
            waiting.since = waiting.since.checked_sub(by).unwrap();
        }
    }

    fn assert_empty(forwards: &Forwards) {
        let state = forwards.lock();
        assert_eq!((state.count, state.sockets, state.queries.len()), (0, 0, 0), "{state:?}");
        assert!(
            state.shares.iter().all(|(_, share)| share.count == 0 && share.oldest.or(share.newest).is_none()),
            "{state:?}"
        );
        assert!(
            state.networks.iter().all(|(_, network)| network.count == 0 && network.by_count.is_none()),
            "{state:?}"
        );
        assert!(state.clients.iter().all(|(_, count)| *count == 0), "{state:?}");
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
        let state = forwards.lock();
        assert_eq!(state.networks[state.network_of[&(Arc::as_ptr(&shop) as NetworkKey)]].count, 2);
        drop(state);
        drop((greedy, other, third));
        assert_empty(&forwards);
    }

    #[test]
    fn clients_that_have_no_query_are_forgotten_in_time() {
        let (forwards, shop, limits) = (forwards(), network("shop"), limits(8, 8));
        let kept = forwards.admit(&shop, client(1), 1, &limits).unwrap();
        for number in 0..3 * MAX_IDLE_SHARES as u32 {
            let other = ClientKey::of(std::net::Ipv4Addr::from_bits(0x0b00_0000 + number).into());
            drop(forwards.admit(&shop, other, 1, &limits).unwrap());
            let state = forwards.lock();
            let known = [state.share_of.len(), state.client_of.len(), state.shares.len(), state.clients.len()];
            assert!(known.iter().all(|known| *known <= MAX_IDLE_SHARES + 2), "{known:?}");
        }
        let own = forwards.admit(&shop, client(1), 1, &limits).unwrap();
        assert_eq!(forwards.count(), 2);
        drop((kept, own));
        assert_empty(&forwards);
    }

    #[tokio::test]
    async fn a_query_that_has_to_give_way_is_told() {
        let (forwards, shop, limits) = (forwards(), network("shop"), limits(2, 2));
        let mut greedy = [(); 2].map(|()| forwards.admit(&shop, client(1), 1, &limits).unwrap());
        let [first, second] = &mut greedy;
        let displaced = async {
            tokio::select! {
                biased;
                () = second.displaced() => panic!("the newer one"),
                () = first.displaced() => {}
            }
        };
        let other = async { forwards.admit(&shop, client(2), 1, &limits).unwrap() };
        let ((), other) = tokio::join!(displaced, other);
        drop((greedy, other));
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
