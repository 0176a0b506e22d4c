//! The lists of servers that questions go to, each known once, and the servers in them.
//!
//! What is known of a server is shared by all lists that have it. A list that was not used for ten minutes is forgotten when
//! a new one comes, and so are the servers that are in no other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use dashmap::DashMap;

use super::health::Health;
use super::order::{self, Candidate, Order, Plan, Servers};
use super::server::{Server, UpstreamStatus};
use crate::table::Upstream;

/// A list that was not used for so long is forgotten.
const UNUSED: Duration = Duration::from_secs(600);
/// The most lists that are known at a time.
const MOST: usize = 1024;

/// A list of servers.
#[derive(Debug)]
pub(super) struct Group {
    /// In the order of the list.
    pub(super) servers: Box<[Arc<Server>]>,
    /// Counts the questions.
    turn: AtomicUsize,
    /// When the last one came, in milliseconds since the lists' epoch.
    used: AtomicU64,
}

impl Group {
    /// Plans a question that comes now.
    pub(super) fn plan(&self, order: Order, now: Instant) -> Plan {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        // Predictable is good enough to explore with: the last question of each 32.
        let random = (turn as u32).wrapping_add(1);
        order::plan(self, order, turn, random, now)
    }
}

impl Servers for Group {
    fn count(&self) -> usize {
        self.servers.len()
    }

    fn with<T>(&self, server: usize, look: impl FnOnce(&mut Health) -> T) -> T {
        self.servers[server].with(look)
    }

    fn candidate(&self, server: usize) -> Candidate {
        self.servers[server].candidate(server)
    }
}

/// All lists and all servers.
#[derive(Debug)]
pub(super) struct Groups {
    epoch: Instant,
    groups: DashMap<Arc<[Upstream]>, Arc<Group>, foldhash::fast::RandomState>,
    servers: Mutex<HashMap<Upstream, Weak<Server>, foldhash::fast::RandomState>>,
}

impl Default for Groups {
    fn default() -> Groups {
        Groups { epoch: Instant::now(), groups: DashMap::default(), servers: Mutex::default() }
    }
}

impl Groups {
    /// The group of a list.
    pub(super) fn of(&self, list: &Arc<[Upstream]>) -> Arc<Group> {
        let now = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(group) = self.groups.get(list) {
            group.used.store(now, Ordering::Relaxed);
            return group.clone();
        }
        self.forget(now);
        let servers = list.iter().map(|upstream| self.server(upstream)).collect();
        let group = Group { servers, turn: AtomicUsize::new(0), used: AtomicU64::new(now) };
        self.groups.entry(list.clone()).or_insert_with(|| Arc::new(group)).clone()
    }

    /// The state of every server of every list, each once.
    pub(super) fn status(&self) -> Vec<UpstreamStatus> {
        let servers: Vec<_> = self.known().values().filter_map(Weak::upgrade).collect();
        let mut status: Vec<_> = servers.iter().map(|server| server.status()).collect();
        status.sort_by_cached_key(|status| status.upstream.to_string());
        status
    }

    fn server(&self, upstream: &Upstream) -> Arc<Server> {
        let mut servers = self.known();
        if let Some(server) = servers.get(upstream).and_then(Weak::upgrade) {
            return server;
        }
        let server = Arc::new(Server::new(upstream.clone()));
        servers.insert(upstream.clone(), Arc::downgrade(&server));
        server
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Upstream, Weak<Server>, foldhash::fast::RandomState>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room: what was not used for long goes, and at the limit the one that was not used for longest.
    fn forget(&self, now: u64) {
        let unused = UNUSED.as_millis() as u64;
        self.groups.retain(|_, group| now.saturating_sub(group.used.load(Ordering::Relaxed)) < unused);
        if self.groups.len() >= MOST {
            let oldest = self.groups.iter().min_by_key(|entry| entry.used.load(Ordering::Relaxed));
            if let Some(list) = oldest.map(|entry| entry.key().clone()) {
                self.groups.remove(&list);
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
        let groups = Groups::default();
        let one = groups.of(&list(1..3));
        assert!(Arc::ptr_eq(&one, &groups.of(&list(1..3))));
        let other = groups.of(&list(2..4));
        assert!(Arc::ptr_eq(&one.servers[1], &other.servers[0]));
        assert_eq!(groups.status().len(), 3);
    }

    #[test]
    fn lists_are_bounded_and_forgotten_servers_with_them() {
        let groups = Groups::default();
        for first in 0..MOST as u32 + 100 {
            groups.of(&list(first * 2..first * 2 + 2));
        }
        assert_eq!(groups.groups.len(), MOST);
        assert!(groups.known().len() <= 2 * MOST + 2);
        groups.forget(u64::MAX);
        assert_eq!((groups.groups.len(), groups.status().len()), (0, 0));
    }
}
