//! What the listeners of a server have in common.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::forward::Forwarder;
use crate::responder::ResponderOptions;
use crate::table::{Address, NameTable};

use super::host::Host;
use super::limits::Usage;
use super::slot::Slot;
use super::status::ListenerState;

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
    pub(super) usage: Usage,
    pub(super) host: Host,
    /// The port of listen addresses that name none.
    pub(super) port: u16,
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
    responder: ArcSwap<ResponderOptions>,
}

impl Shared {
    pub(super) fn new(port: u16, forwarder: Forwarder, usage: Usage, responder: ResponderOptions) -> Shared {
        Shared {
            table: NameTable::new(),
            forwarder: Arc::new(forwarder),
            usage,
            host: Host::default(),
            port,
            slots: Mutex::default(),
            responder: ArcSwap::from_pointee(responder),
        }
    }

    /// The open slots.
    pub(super) fn slots(&self) -> MutexGuard<'_, HashMap<Key, Arc<Slot>>> {
        // Each change of the map is one insertion or removal: a panic leaves it whole.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the forwarder where we listen, so that it never asks ourselves (answers.md F4).
    pub(super) fn note_own_addresses(&self) {
        let own: Vec<SocketAddr> = self
            .slots()
            .values()
            .flat_map(|slot| slot.status())
            .filter_map(|listener| match listener.state {
                ListenerState::Listening(address) => Some(address),
                ListenerState::Failed { .. } => None,
            })
            .collect();
        self.forwarder.set_own_addresses(own);
    }

    pub(super) fn responder_options(&self) -> Guard<Arc<ResponderOptions>> {
        self.responder.load()
    }

    pub(super) fn set_responder_options(&self, options: ResponderOptions) {
        self.responder.store(Arc::new(options));
    }
}
