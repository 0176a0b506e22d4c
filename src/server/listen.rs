//! Listeners beside the listen addresses of networks: opened and closed one by one, perhaps for one endpoint alone.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use tokio::sync::Mutex;

use crate::settings::Address;
use crate::table::Network;

use super::change::{Adopted, taken};
use super::shared::{Key, Shared};
use super::slot::Slot;
use super::socket::ReadySocket;
use super::status::{ListenerState, ListenerStatus};
use super::{Server, ServerError};

/// Where [`Server::listen`] listens.
#[derive(Debug)]
pub struct Listen {
    place: Place,
    endpoint: Option<Box<str>>,
}

#[derive(Debug)]
enum Place {
    Address(Address),
    Socket(ReadySocket),
}

impl Listen {
    /// At an address, over UDP and TCP; the port, where none is given, is the server's.
    pub fn address(address: Address) -> Listen {
        Listen { place: Place::Address(address), endpoint: None }
    }

    /// At a socket that is bound already: perhaps in another network namespace, whose addresses mean nothing here.
    pub fn socket(socket: impl Into<ReadySocket>) -> Listen {
        Listen { place: Place::Socket(socket.into()), endpoint: None }
    }

    /// For one endpoint alone: whatever its source address, a query counts as that endpoint's. For a socket inside a
    /// container's own network namespace, as Docker's at 127.0.0.11. While the network has no endpoint of this id, everybody
    /// is refused there.
    pub fn for_endpoint(mut self, id: impl Into<String>) -> Listen {
        self.endpoint = Some(id.into().into());
        self
    }
}

/// A listener that [`Server::listen`] opened. Dropping the handle does not close it: [`close`](ListenerHandle::close) does, or
/// the end of its network or server.
#[derive(Debug)]
#[must_use = "a listener without its handle stays open as long as its network"]
pub struct ListenerHandle {
    server: Arc<Shared>,
    adopted: Arc<Mutex<Adopted>>,
    slot: Weak<Slot>,
    network: String,
    key: Key,
}

impl ListenerHandle {
    /// Where it listens; `None` if it does not, or not yet.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.status().into_iter().find_map(|status| match status.state {
            ListenerState::Listening(address) => Some(address),
            ListenerState::Failed { .. } => None,
        })
    }

    /// Its state, for each transport; nothing once it is closed.
    pub fn status(&self) -> Vec<ListenerStatus> {
        self.slot.upgrade().filter(|slot| !slot.stop().is_set()).map(|slot| slot.status()).unwrap_or_default()
    }

    /// Closes it: when this returns nothing listens there. Queries that wait for an upstream are still answered. If the future
    /// is dropped, it is closed nevertheless, once the future was polled.
    pub async fn close(self) {
        let ListenerHandle { server, adopted, slot, network, key } = self;
        let mut adopted = adopted.lock().await;
        if let Some(keys) = adopted.get_mut(&*network) {
            keys.retain(|known| *known != key);
        }
        // Another one may have come in its place, after its network was removed.
        let present = server.slots().get(&key).map(Arc::downgrade);
        if present.is_some_and(|present| present.ptr_eq(&slot)) {
            server.close(vec![key]).await;
        }
    }
}

impl Server {
    /// Listens for a network's clients at one more place. It stays until it is [closed](ListenerHandle::close) or its network
    /// goes, whatever [`update`](Server::update) and [`apply`](Server::apply) make of the network. When this returns it is
    /// listening, or was tried and is tried again in the background: an [observer](super::Observer::listener) hears of either.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use callsign::server::{Listen, Server};
    /// use callsign::table::{Endpoint, Network};
    ///
    /// let server = Server::builder().port(0).start().await?;
    /// let web = server.add_network(Network::builder("web").build()?).await?;
    /// web.attach(Endpoint::builder("3f2a9c").address("172.18.0.2").name("db").build()?)?;
    ///
    /// // On a real host the socket is made inside the container's network namespace, at 127.0.0.11:53.
    /// let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    /// let listener = server.listen(&web, Listen::socket(socket).for_endpoint("3f2a9c")).await?;
    /// println!("3f2a9c asks at {:?}", listener.local_addr());
    /// listener.close().await;
    /// # server.shutdown().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ServerError::AddressTaken`]; [`ServerError::Table`] if the network is not this server's; [`ServerError::Stopped`].
    pub async fn listen(&self, network: &Arc<Network>, listen: Listen) -> Result<ListenerHandle, ServerError> {
        let mut adopted = self.changing.lock().await;
        self.check_served(network)?;
        let Listen { place, endpoint } = listen;
        let (key, slot) = match place {
            Place::Address(address) => {
                let address = address.clone().with_port(address.port().unwrap_or(self.shared.port));
                let key = Key::of(network.name(), &address);
                if let Some(slot) = self.shared.slots().get(&key) {
                    return Err(taken(network.name(), &address, slot.network().name()));
                }
                self.shared.host.forget();
                (key, self.open(network.name(), network, address, endpoint))
            }
            Place::Socket(socket) => self.adopt(network, socket, endpoint),
        };
        self.shared.note_own_addresses();
        adopted.entry(network.name().into()).or_default().push(key.clone());
        Ok(ListenerHandle {
            server: self.shared.clone(),
            adopted: self.changing.clone(),
            slot: Arc::downgrade(&slot),
            network: network.name().to_owned(),
            key,
        })
    }
}
