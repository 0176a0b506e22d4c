//! Sockets, workers, limits and a graceful stop: where responder and forwarder meet the clients.
//!
//! A [`Server`] owns a few worker threads. Each listen address of each network has one UDP and one TCP socket, served by
//! one of them; adding and removing networks touches no other network's sockets. Knows nothing of where names come from:
//! whoever runs the server fills its networks.

mod batch;
mod builder;
mod exchange;
mod host;
mod limits;
mod shared;
mod slot;
mod socket;
mod status;
mod tcp;
mod udp;
mod worker;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;

use crate::forward::ForwardOptions;
use crate::responder::ResponderOptions;
use crate::table::{Address, NameTable, Network, TableError};

pub use builder::ServerBuilder;
pub use host::neighbours;
pub use limits::Limits;
use shared::{Key, Shared};
use slot::Slot;
pub use socket::ReadySocket;
pub use status::{ListenerState, ListenerStatus, Status};
use worker::Worker;

/// Why a server could not be started or a network not be served. Sockets that cannot be bound are no error: they are tried
/// again, and [`Server::status`] tells of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A worker thread could not be started.
    #[error("cannot start a worker thread: {0}")]
    Worker(#[source] io::Error),
    /// The kernel gave no random octets for the cookie secret.
    #[error("no random octets from the kernel: {0}")]
    Random(String),
    /// The table does not take the network.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Two networks want one listen address.
    #[error("network \"{network}\" cannot listen on {address}: network \"{other}\" does")]
    AddressTaken {
        /// The network that came later.
        network: String,
        /// The address.
        address: String,
        /// The network that has it.
        other: String,
    },
    /// The server was shut down.
    #[error("the server was shut down")]
    Stopped,
}

/// What [`Server::apply`] did: names of networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// Networks that are new.
    pub added: Vec<String>,
    /// Networks whose endpoints, records or settings changed.
    pub changed: Vec<String>,
    /// Networks that are gone.
    pub removed: Vec<String>,
}

/// A running server.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use callsign::server::Server;
/// use callsign::table::{Endpoint, Network};
///
/// let server = Server::builder().port(0).start().await?;
/// let web = server.add_network(Network::builder("web").listen("127.0.0.1").build()?).await?;
/// web.attach(Endpoint::builder("3f2a9c").address("172.18.0.2").name("db").build()?)?;
/// for listener in server.status().listeners {
///     println!("{listener}");
/// }
/// server.shutdown().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Dropping it without [`shutdown`](Server::shutdown) stops it too, but drops the queries that wait for an upstream.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    workers: Mutex<Vec<Worker>>,
    handles: Vec<Handle>,
    /// Ready-made sockets that no network has asked for yet.
    ready: Mutex<Vec<ReadySocket>>,
    /// Counts slots, to spread them over the workers and to name those without a listen address.
    opened: AtomicUsize,
    /// Networks are added, changed and removed by one caller at a time.
    changing: tokio::sync::Mutex<()>,
}

impl Server {
    /// Starts a server.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// The networks. Adding or removing one here does not open or close its sockets: use the server's methods.
    pub fn table(&self) -> &NameTable {
        &self.shared.table
    }

    /// Adds a network and listens on its addresses. When this returns, each of its sockets is listening, or was tried and
    /// is tried again in the background: see [`Server::status`].
    ///
    /// # Errors
    /// [`ServerError::Table`] if there is a network of this name, [`ServerError::AddressTaken`], [`ServerError::Stopped`].
    pub async fn add_network(&self, network: Network) -> Result<Arc<Network>, ServerError> {
        self.add_network_at(network, Vec::new()).await
    }

    /// Adds a network that is served at ready-made sockets, besides its listen addresses if it has any. For sockets that
    /// were made inside another network namespace, whose addresses mean nothing here.
    ///
    /// # Errors
    /// As [`Server::add_network`].
    pub async fn add_network_at(
        &self,
        network: Network,
        sockets: Vec<ReadySocket>,
    ) -> Result<Arc<Network>, ServerError> {
        let _turn = self.changing.lock().await;
        self.check_running()?;
        let listen = self.listen_of(&network);
        self.check_free(&network, &listen)?;
        let network = self.shared.table.add(network)?;
        self.shared.host.forget();
        for address in listen {
            self.open(&network, address);
        }
        for socket in sockets {
            let number = self.opened.fetch_add(1, Ordering::Relaxed);
            let slot = Slot::adopt(&self.shared, &network, socket, self.worker(number));
            self.shared.slots().insert(Key::Adopted(number), slot);
        }
        self.shared.note_own_addresses();
        Ok(network)
    }

    /// Removes a network and closes its sockets: when this returns nothing listens there. Queries that wait for an upstream
    /// are still answered.
    ///
    /// # Errors
    /// [`ServerError::Table`] if there is no such network.
    pub async fn remove_network(&self, name: &str) -> Result<(), ServerError> {
        let _turn = self.changing.lock().await;
        self.table().remove(name)?;
        self.close(|_, slot| slot.network().name() == name).await;
        Ok(())
    }

    /// Makes these the server's networks: what is new is added, what is gone removed, what differs changed in one step
    /// each. Sockets whose addresses stay are kept, also when they go from one network to another.
    ///
    /// # Errors
    /// [`ServerError::AddressTaken`] if two of the networks want one address, [`ServerError::Table`] if two have one name;
    /// nothing is changed then. [`ServerError::Stopped`].
    pub async fn apply(&self, networks: Vec<Network>) -> Result<Applied, ServerError> {
        let _turn = self.changing.lock().await;
        self.check_running()?;
        let mut wanted: HashMap<Key, (String, Address)> = HashMap::new();
        let mut names = Vec::new();
        for network in &networks {
            if names.contains(&network.name()) {
                return Err(TableError::NetworkExists(network.name().to_owned()).into());
            }
            names.push(network.name());
            for address in self.listen_of(network) {
                let key = Key::of(network.name(), &address);
                if let Some((other, _)) = wanted.insert(key, (network.name().to_owned(), address.clone())) {
                    return Err(taken(network.name(), &address, &other));
                }
            }
        }
        let mut applied = Applied::default();
        let gone: Vec<_> = self.table().networks().into_iter().filter(|old| !names.contains(&old.name())).collect();
        for network in networks {
            let name = network.name().to_owned();
            match self.table().network(&name) {
                Some(old) => {
                    let before = old.snapshot().revision();
                    if old.replace_with(&network)? > before {
                        applied.changed.push(name);
                    }
                }
                None => {
                    self.table().add(network)?;
                    applied.added.push(name);
                }
            }
        }
        self.shared.host.forget();
        let mut new = Vec::new();
        for (key, (name, address)) in &wanted {
            let network = self.table().network(name).ok_or_else(|| TableError::NoNetwork(name.clone()))?;
            let present = self.shared.slots().get(key).cloned();
            match present {
                Some(slot) if slot.network().name() == name => {}
                Some(slot) => slot.set_network(&network),
                None => new.push((network, address.clone())),
            }
        }
        // First the old sockets are closed: one of them may be in the way of a new one.
        self.close(|key, slot| match key {
            Key::Adopted(_) => gone.iter().any(|old| Arc::ptr_eq(&slot.network(), old)),
            _ => !wanted.contains_key(key),
        })
        .await;
        for (network, address) in new {
            self.open(&network, address);
        }
        for old in gone {
            self.table().remove(old.name())?;
            applied.removed.push(old.name().to_owned());
        }
        self.shared.note_own_addresses();
        Ok(applied)
    }

    /// Replaces where questions are forwarded to, for all queries from here on.
    pub fn set_forwarding(&self, options: ForwardOptions) {
        self.shared.forwarder.configure(options);
    }

    /// Replaces the limits. What is above a lower limit already stays until it ends by itself.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.usage.set_limits(limits);
    }

    /// Replaces the responder's options. The cookie secret stays the server's own.
    pub fn set_responder_options(&self, options: ResponderOptions) {
        let cookie_secret = self.shared.responder_options().cookie_secret;
        self.shared.set_responder_options(ResponderOptions { cookie_secret, ..options });
    }

    /// What the server is doing now.
    pub fn status(&self) -> Status {
        let mut listeners: Vec<ListenerStatus> = self.shared.slots().values().flat_map(|slot| slot.status()).collect();
        listeners.sort_by(|a, b| (&a.network, &a.listen, a.tcp).cmp(&(&b.network, &b.listen, b.tcp)));
        Status {
            listeners,
            tcp_connections: self.shared.usage.connections(),
            forwards: self.shared.usage.forwards(),
            forwarding: self.shared.forwarder.counters(),
            upstreams: self.shared.forwarder.upstreams(),
        }
    }

    /// Lets the cache of upstream answers believe that so much time has passed. For tests.
    #[doc(hidden)]
    pub fn put_cache_clock_forward(&self, time: std::time::Duration) {
        self.shared.forwarder.put_cache_clock_forward(time);
    }

    /// Stops: takes nothing new, waits for queries that wait for an upstream as long as [`Limits::drain`] says, then ends
    /// all threads and closes all sockets.
    pub async fn shutdown(&self) {
        let _turn = self.changing.lock().await;
        let drain = self.shared.usage.limits().drain;
        let drained = async {
            self.close(|_, _| true).await;
            self.shared.usage.drained().await;
        };
        // Whoever is not done by then is cut off.
        let _ = tokio::time::timeout(drain, drained).await;
        let threads: Vec<_> = self.workers().drain(..).filter_map(|mut worker| worker.stop()).collect();
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        let _ = joined.await;
    }

    fn workers(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_running(&self) -> Result<(), ServerError> {
        if self.workers().is_empty() { Err(ServerError::Stopped) } else { Ok(()) }
    }

    fn worker(&self, number: usize) -> &Handle {
        &self.handles[number % self.handles.len()]
    }

    /// The listen addresses of a network, each once and with its port.
    fn listen_of(&self, network: &Network) -> Vec<Address> {
        let mut all: Vec<Address> = Vec::new();
        for address in &network.snapshot().settings().listen {
            let address = address.clone().with_port(address.port().unwrap_or(self.shared.port));
            if !all.contains(&address) {
                all.push(address);
            }
        }
        all
    }

    fn check_free(&self, network: &Network, listen: &[Address]) -> Result<(), ServerError> {
        let slots = self.shared.slots();
        for address in listen {
            if let Some(slot) = slots.get(&Key::of(network.name(), address)) {
                return Err(taken(network.name(), address, slot.network().name()));
            }
        }
        Ok(())
    }

    fn open(&self, network: &Arc<Network>, address: Address) {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let ready = self.take_ready(&address);
        let key = Key::of(network.name(), &address);
        let slot = Slot::open(&self.shared, network, address, ready, self.worker(number));
        self.shared.slots().insert(key, slot);
    }

    /// The ready-made sockets that are bound to an address.
    fn take_ready(&self, address: &Address) -> Vec<ReadySocket> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(wanted) = socket::resolve(address, self.shared.port) else { return Vec::new() };
        let (taken, left) = ready.drain(..).partition(|socket| socket.local_addr().is_ok_and(|bound| bound == wanted));
        *ready = left;
        taken
    }

    /// Closes the slots that are to go. All but their sockets' end is done before this first waits.
    async fn close(&self, is_to_go: impl Fn(&Key, &Slot) -> bool) {
        let gone: Vec<_> = self.shared.slots().extract_if(|key, slot| is_to_go(key, slot)).collect();
        gone.iter().for_each(|(_, slot)| slot.close());
        self.shared.note_own_addresses();
        for (_, slot) in gone {
            slot.closed().await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Slots and what they share hold each other; the workers end when they are dropped.
        self.shared.slots().clear();
    }
}

fn taken(network: &str, address: &Address, other: &str) -> ServerError {
    ServerError::AddressTaken { network: network.to_owned(), address: address.to_string(), other: other.to_owned() }
}
