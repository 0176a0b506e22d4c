//! The pools of servers that questions go to, one for each list, and the state of the servers in them.
//!
//! What is known of a server is shared by all pools that have it. A pool that was not used for ten minutes is forgotten when
//! a new one comes, and so are the servers that are in no other.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::sync::Notify;

use super::health::{Health, Timing};
use super::ranking::{self, Ranking, Servers};
use super::state::{UpstreamState, UpstreamStatus};
use crate::forward::transport::{Tap, TapSlot};
use crate::settings::{Order, Upstream};

/// A list that was not used for so long is forgotten.
const UNUSED: Duration = Duration::from_secs(600);
/// The most lists that are known at a time.
const MAX_POOLS: usize = 1024;

/// A list of servers.
#[derive(Debug)]
pub(in crate::forward) struct UpstreamPool {
    /// In the order of the list.
    pub(in crate::forward) servers: Box<[Arc<UpstreamState>]>,
    /// Told when something becomes known of a server, of whatever pool.
    pub(in crate::forward) changes: Arc<Notify>,
    /// Counts the questions.
    turn: AtomicUsize,
    /// When the last one came, in milliseconds since the pools' epoch.
    used: AtomicU64,
}

impl UpstreamPool {
    /// Ranks the servers for a question that comes now.
    pub(in crate::forward) fn rank(&self, order: Order, now: Instant) -> Ranking {
        ranking::rank(self, order, self.turn.fetch_add(1, Ordering::Relaxed), now)
    }
}

impl Servers for UpstreamPool {
    fn count(&self) -> usize {
        self.servers.len()
    }

    fn with<T>(&self, server: usize, look: impl FnOnce(&mut Health) -> T) -> T {
        self.servers[server].with(look)
    }

    fn timing(&self, server: usize) -> Timing {
        self.servers[server].timing()
    }
}

/// A list by what is in it. Hashed by its addresses alone, which cost little: the rest is compared.
#[derive(Debug, Clone, Eq)]
struct List(Arc<[Upstream]>);

impl PartialEq for List {
    fn eq(&self, other: &List) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Hash for List {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let bits = |server: &Upstream| match server.address().ip() {
            IpAddr::V4(v4) => v4.to_bits().into(),
            IpAddr::V6(v6) => v6.to_bits() as u64,
        };
        state.write_u64(self.0.iter().fold(0, |all, server| all.rotate_left(7) ^ bits(server)));
    }
}

/// All lists and all servers.
#[derive(Debug)]
pub(in crate::forward) struct UpstreamPools {
    epoch: Instant,
    changes: Arc<Notify>,
    pools: DashMap<List, Arc<UpstreamPool>, foldhash::fast::RandomState>,
    servers: Mutex<HashMap<Upstream, Weak<UpstreamState>, foldhash::fast::RandomState>>,
    tap: TapSlot,
}

impl Default for UpstreamPools {
    fn default() -> UpstreamPools {
        UpstreamPools {
            epoch: Instant::now(),
            changes: Arc::default(),
            pools: DashMap::default(),
            servers: Mutex::default(),
            tap: TapSlot::default(),
        }
    }
}

impl UpstreamPools {
    /// The pool of a list, for a question that comes now.
    pub(in crate::forward) fn of(&self, list: &Arc<[Upstream]>, now: Instant) -> Arc<UpstreamPool> {
        let now = now.saturating_duration_since(self.epoch).as_millis() as u64;
        let list = List(list.clone());
        if let Some(pool) = self.pools.get(&list) {
            pool.used.store(now, Ordering::Relaxed);
            return pool.clone();
        }
        self.forget(now);
        let servers = list.0.iter().map(|upstream| self.server(upstream)).collect();
        let changes = self.changes.clone();
        let pool = UpstreamPool { servers, changes, turn: AtomicUsize::new(0), used: AtomicU64::new(now) };
        self.pools.entry(list).or_insert_with(|| Arc::new(pool)).clone()
    }

    /// The same list as it is known already, so that equal lists take their memory once.
    pub(in crate::forward) fn known_list(&self, list: Arc<[Upstream]>) -> Arc<[Upstream]> {
        let list = List(list);
        match self.pools.get(&list) {
            Some(pool) => pool.key().0.clone(),
            None => list.0,
        }
    }

    /// Shows all messages to a tap, if there is none yet.
    pub(in crate::forward) fn set_tap(&self, tap: Arc<dyn Tap>) {
        let _ = self.tap.set(tap);
    }

    /// The state of every server of every list, each once.
    pub(in crate::forward) fn status(&self) -> Vec<UpstreamStatus> {
        let servers: Vec<_> = self.known().values().filter_map(Weak::upgrade).collect();
        let mut status: Vec<_> = servers.iter().map(|server| server.status()).collect();
        status.sort_by_cached_key(|status| status.upstream.to_string());
        status
    }

    fn server(&self, upstream: &Upstream) -> Arc<UpstreamState> {
        let mut servers = self.known();
        if let Some(server) = servers.get(upstream).and_then(Weak::upgrade) {
            return server;
        }
        let server = Arc::new(UpstreamState::new(upstream.clone(), self.changes.clone(), self.tap.clone()));
        servers.insert(upstream.clone(), Arc::downgrade(&server));
        server
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Upstream, Weak<UpstreamState>, foldhash::fast::RandomState>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room: what was not used for long goes, and at the limit the one that was not used for longest.
    fn forget(&self, now: u64) {
        let unused = UNUSED.as_millis() as u64;
        self.pools.retain(|_, pool| now.saturating_sub(pool.used.load(Ordering::Relaxed)) < unused);
        if self.pools.len() >= MAX_POOLS {
            let oldest = self.pools.iter().min_by_key(|entry| entry.used.load(Ordering::Relaxed));
            if let Some(list) = oldest.map(|entry| entry.key().clone()) {
                self.pools.remove(&list);
            }
        }
        self.known().retain(|_, server| server.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(hosts: std::ops::Range<u32>) -> Arc<[Upstream]> {
        let upstream = |host| Upstream::new(std::net::IpAddr::V4(std::net::Ipv4Addr::from_bits(host)).into());
        hosts.map(upstream).collect()
    }

    #[test]
    fn a_list_is_known_by_what_is_in_it_and_a_server_by_its_address() {
        let pools = UpstreamPools::default();
        let one = pools.of(&list(1..3), Instant::now());
        assert!(Arc::ptr_eq(&one, &pools.of(&list(1..3), Instant::now())));
        assert!(Arc::ptr_eq(&pools.known_list(list(1..3)), &pools.known_list(list(1..3))));
        let other = pools.of(&list(2..4), Instant::now());
        assert!(Arc::ptr_eq(&one.servers[1], &other.servers[0]));
        assert_eq!(pools.status().len(), 3);
    }

    #[test]
    fn lists_are_bounded_and_forgotten_servers_with_them() {
        let pools = UpstreamPools::default();
        for first in 0..MAX_POOLS as u32 + 100 {
            pools.of(&list(first * 2..first * 2 + 2), Instant::now());
        }
        assert_eq!(pools.pools.len(), MAX_POOLS);
        assert!(pools.known().len() <= 2 * MAX_POOLS + 2);
        pools.forget(u64::MAX);
        assert_eq!((pools.pools.len(), pools.status().len()), (0, 0));
    }
}
