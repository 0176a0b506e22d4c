//! What the listeners of a server have in common.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};

use crate::forward::Forwarder;
use crate::responder::ResponderOptions;
use crate::settings::Address;
use crate::table::{NameTable, Snapshot};

use super::connections::Connections;
use super::datagrams::Datagrams;
use super::forwards::Forwards;
use super::holder::Holders;
use super::host::Host;
use super::observe::Observer;
use super::slot::Slot;
use super::status::LimitsHit;
use crate::settings::Limits;

/// Which slot is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// The one at a listen address: no two networks can have it.
    Listen(Address),
    /// The one of a network at an address whose port the kernel chose: several networks can have one.
    Chosen(String, Address),
    /// The n-th whose socket was handed in for a network.
    Adopted(usize),
}

impl Key {
    pub(super) fn of(network: &str, address: &Address) -> Key {
        match address.port() {
            Some(0) => Key::Chosen(network.to_owned(), address.clone()),
            _ => Key::Listen(address.clone()),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) table: NameTable,
    pub(super) forwarder: Arc<Forwarder>,
    limits: Arc<ArcSwap<Limits>>,
    pub(super) connections: Arc<Connections>,
    pub(super) forwards: Arc<Forwards>,
    /// Replies over UDP that could not be sent at once and were dropped (answers.md L1).
    pub(super) dropped: AtomicU64,
    /// The network namespace that the server's own sockets are in; `None` where the kernel does not tell.
    pub(super) namespace: Option<u64>,
    pub(super) host: Host,
    /// Who has the ports that cannot be bound.
    pub(super) holders: Holders,
    /// The port of listen addresses that name none.
    pub(super) port: u16,
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
    /// Sees queries.
    pub(super) observer: Option<Arc<dyn Observer>>,
    /// Set when the server begins to stop.
    pub(super) is_stopping: AtomicBool,
    /// Queries are counted by what they are.
    pub(super) is_counting: AtomicBool,
    /// Clients whose queries are neither counted nor observed.
    pub(super) hidden: HiddenClients,
    /// Queries that slots received which are closed.
    pub(super) received: AtomicU64,
    /// Held while the forwarder is told of our addresses: who is told last knows all of them.
    telling: Mutex<()>,
    /// UDP sockets that nobody listens at any more, open as long as queries wait whose replies go through them.
    leftovers: Mutex<Vec<Weak<Datagrams>>>,
    responder: ArcSwap<ResponderOptions>,
    hosts: ArcSwapOption<Snapshot>,
}

impl Shared {
    pub(super) fn new(port: u16, forwarder: Forwarder, limits: Limits, responder: ResponderOptions) -> Shared {
        let limits = Arc::new(ArcSwap::from_pointee(limits));
        Shared {
            table: NameTable::new(),
            forwarder: Arc::new(forwarder),
            connections: Arc::new(Connections::new(limits.clone())),
            limits,
            // The rest is for those that go on without a client.
            forwards: Arc::new(Forwards::new(crate::forward::most_sockets() / 2)),
            dropped: AtomicU64::new(0),
            namespace: super::namespace::own(),
            host: Host::default(),
            holders: Holders::default(),
            port,
            slots: Mutex::default(),
            observer: None,
            is_stopping: AtomicBool::new(false),
            is_counting: AtomicBool::new(false),
            hidden: HiddenClients::default(),
            received: AtomicU64::new(0),
            telling: Mutex::default(),
            leftovers: Mutex::default(),
            responder: ArcSwap::from_pointee(responder),
            hosts: ArcSwapOption::empty(),
        }
    }

    /// The open slots.
    pub(super) fn slots(&self) -> MutexGuard<'_, HashMap<Key, Arc<Slot>>> {
        // Each change of the map is one insertion or removal: a panic leaves it whole.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes slots. All but their sockets' end is done before this first waits.
    pub(super) async fn close(&self, keys: Vec<Key>) {
        let gone: Vec<Arc<Slot>> = {
            let mut slots = self.slots();
            keys.iter().filter_map(|key| slots.remove(key)).collect()
        };
        if gone.is_empty() {
            return;
        }
        gone.iter().for_each(|slot| slot.close());
        self.note_own_addresses();
        for slot in gone {
            slot.closed().await;
            self.received.fetch_add(slot.received(), Ordering::Relaxed);
        }
    }

    /// Tells the forwarder where we listen, so that it never asks ourselves (answers.md F4).
    pub(super) fn note_own_addresses(&self) {
        let _turn = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let own: Vec<SocketAddr> = self.slots().values().flat_map(|slot| slot.addresses()).collect();
        self.forwarder.set_own_addresses(own);
    }

    /// Keeps in mind a socket that is no longer listened at.
    pub(super) fn leave(&self, socket: &Arc<Datagrams>) {
        let mut leftovers = self.leftovers.lock().unwrap_or_else(PoisonError::into_inner);
        leftovers.retain(|socket| socket.strong_count() > 0);
        leftovers.push(Arc::downgrade(socket));
    }

    /// A socket at this address that is no longer listened at but still open: no other could be bound there.
    pub(super) fn leftover(&self, address: SocketAddr) -> Option<std::net::UdpSocket> {
        let leftovers = self.leftovers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = leftovers.iter().filter_map(Weak::upgrade);
        let socket = open.find(|socket| socket.local_addr().is_ok_and(|bound| bound == address))?;
        socket.as_fd().try_clone_to_owned().ok().map(Into::into)
    }

    pub(super) fn is_counting(&self) -> bool {
        self.is_counting.load(Ordering::Relaxed)
    }

    /// The observer, if there is something to see for it.
    pub(super) fn watching(&self) -> Option<&Arc<dyn Observer>> {
        self.observer.as_ref().filter(|observer| observer.is_on())
    }

    pub(super) fn limits(&self) -> Arc<Limits> {
        self.limits.load_full()
    }

    pub(super) fn set_limits(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    /// How often limits were reached.
    pub(super) fn limits_hit(&self) -> LimitsHit {
        let mut hit = LimitsHit::default();
        self.connections.limits_hit(&mut hit);
        self.forwards.limits_hit(&mut hit);
        hit
    }

    /// Waits until no query and no connection is left.
    pub(super) async fn drained(&self) {
        self.forwards.drained().await;
        self.connections.drained().await;
    }

    pub(super) fn responder_options(&self) -> Guard<Arc<ResponderOptions>> {
        self.responder.load()
    }

    /// The names that are answered beside those of networks (answers.md N13).
    pub(super) fn hosts(&self) -> Option<Arc<Snapshot>> {
        self.hosts.load_full()
    }

    pub(super) fn set_hosts(&self, hosts: Option<Arc<Snapshot>>) {
        self.hosts.store(hosts);
        // Workers make their responders anew for other options alone.
        self.responder.store(Arc::new((**self.responder.load()).clone()));
    }

    pub(super) fn set_responder_options(&self, options: ResponderOptions) {
        self.responder.store(Arc::new(options));
    }
}

/// Clients that are our own; mostly there is none.
#[derive(Debug, Default)]
pub(super) struct HiddenClients {
    is_any: AtomicBool,
    clients: Mutex<Vec<SocketAddr>>,
}

impl HiddenClients {
    pub(super) fn add(&self, client: SocketAddr) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.push(client);
        self.is_any.store(true, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, client: SocketAddr) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.retain(|other| *other != client);
        self.is_any.store(!clients.is_empty(), Ordering::Relaxed);
    }

    pub(super) fn has(&self, client: SocketAddr) -> bool {
        self.is_any.load(Ordering::Relaxed)
            && self.clients.lock().unwrap_or_else(PoisonError::into_inner).contains(&client)
    }
}
