//! What one client, one connection and all of them together may take.
//!
//! Over a limit a query is refused or a connection closed, at once; nobody else waits for it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;
use tokio::sync::Notify;

/// The limits of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// TCP connections in all.
    pub tcp_connections: usize,
    /// TCP connections of one client address.
    pub tcp_connections_per_client: usize,
    /// Queries of one TCP connection that wait for an upstream; the connection is not read while there are so many.
    pub tcp_queries_per_connection: usize,
    /// How long a TCP connection may be idle.
    pub tcp_idle: Duration,
    /// How long a message may take to arrive over TCP from its first octet on, and a reply to be taken.
    pub tcp_message: Duration,
    /// Queries that wait for an upstream, in all.
    pub forwards: usize,
    /// Queries of one client address that wait for an upstream.
    pub forwards_per_client: usize,
    /// How long a stop waits for queries that wait for an upstream.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            tcp_connections: 1024,
            tcp_connections_per_client: 64,
            tcp_queries_per_connection: 64,
            tcp_idle: Duration::from_secs(10),
            tcp_message: Duration::from_secs(5),
            forwards: 4096,
            forwards_per_client: 512,
            drain: Duration::from_millis(800),
        }
    }
}

/// Counts what is taken of the limits.
#[derive(Debug, Default)]
pub(super) struct Usage {
    limits: ArcSwap<Limits>,
    connections: Arc<Pool>,
    forwards: Arc<Pool>,
}

/// Things in use, in all and by client.
#[derive(Debug, Default)]
struct Pool {
    all: AtomicUsize,
    by_client: DashMap<IpAddr, usize, RandomState>,
    released: Notify,
}

/// A right to use one thing; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    pool: Arc<Pool>,
    client: IpAddr,
}

impl Usage {
    pub(super) fn new(limits: Limits) -> Usage {
        Usage { limits: ArcSwap::from_pointee(limits), ..Usage::default() }
    }

    pub(super) fn limits(&self) -> Arc<Limits> {
        self.limits.load_full()
    }

    pub(super) fn set_limits(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    /// The right to one more TCP connection.
    pub(super) fn connection(&self, client: IpAddr) -> Option<Permit> {
        let limits = self.limits.load();
        self.connections.take(client, limits.tcp_connections, limits.tcp_connections_per_client)
    }

    /// The right to one more query that waits for an upstream.
    pub(super) fn forward(&self, client: IpAddr) -> Option<Permit> {
        let limits = self.limits.load();
        self.forwards.take(client, limits.forwards, limits.forwards_per_client)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.all.load(Ordering::Relaxed)
    }

    pub(super) fn forwards(&self) -> usize {
        self.forwards.all.load(Ordering::Relaxed)
    }

    /// Waits until no query and no connection is left.
    pub(super) async fn drained(&self) {
        self.forwards.drained().await;
        self.connections.drained().await;
    }
}

impl Pool {
    fn take(self: &Arc<Pool>, client: IpAddr, most: usize, most_per_client: usize) -> Option<Permit> {
        let taken = self.all.fetch_add(1, Ordering::AcqRel);
        let is_free = taken < most && {
            let entry = self.by_client.entry(client);
            let own = if let Entry::Occupied(entry) = &entry { *entry.get() } else { 0 };
            if own < most_per_client {
                entry.insert(own + 1);
            }
            own < most_per_client
        };
        if is_free {
            return Some(Permit { pool: self.clone(), client });
        }
        self.release();
        None
    }

    fn release(&self) {
        if self.all.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.released.notify_waiters();
        }
    }

    async fn drained(&self) {
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            if self.all.load(Ordering::Acquire) == 0 {
                return;
            }
            released.await;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Entry::Occupied(mut own) = self.pool.by_client.entry(self.client) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
        self.pool.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_cannot_take_all_and_permits_come_back() {
        let usage = Usage::new(Limits { forwards: 3, forwards_per_client: 2, ..Limits::default() });
        let (greedy, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let first = usage.forward(greedy);
        let second = usage.forward(greedy);
        assert!(first.is_some() && second.is_some());
        assert!(usage.forward(greedy).is_none());
        let third = usage.forward(other);
        assert!(third.is_some());
        assert!(usage.forward(other).is_none(), "the limit in all");
        drop((first, second, third));
        assert_eq!(usage.forwards(), 0);
        assert!(usage.forwards.by_client.is_empty(), "clients that are gone take no memory");
        usage.set_limits(Limits { forwards_per_client: 0, ..Limits::default() });
        assert!(usage.forward(other).is_none());
        assert!(usage.forwards.by_client.is_empty(), "nor do those that get nothing");
    }
}
