//! Which networks are served: adding, replacing and removing them, and the sockets that come and go with that.
//!
//! What a change costs depends on the networks that it names, not on those that there are.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::settings::Address;
use crate::table::{Change, Network, TableError};

use super::shared::Key;
use super::slot::{Served, Slot};
use super::socket::{self, ReadySocket};
use super::{Server, ServerError};

/// What [`Server::update`] or [`Server::apply`] did: names of networks.
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

/// The listen addresses that a change asks for, each with the network that wants it.
type Wanted = HashMap<Key, (String, Address)>;

impl Server {
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
        let mut adopted = self.changing.lock().await;
        self.check_running()?;
        let listen = self.listen_of(&network);
        for address in &listen {
            if let Some(slot) = self.shared.slots().get(&Key::of(network.name(), address)) {
                return Err(taken(network.name(), address, slot.network().name()));
            }
        }
        let network = self.shared.table.add(network)?;
        self.shared.host.forget();
        for address in listen {
            self.open(network.name(), &network, address, None);
        }
        for socket in sockets {
            let (key, _) = self.adopt(&network, socket, None);
            adopted.entry(network.name().into()).or_default().push(key);
        }
        self.shared.note_own_addresses();
        Ok(network)
    }

    /// Changes a network in one step, as [`Network::change`] does; the sockets follow its listen addresses. When this returns,
    /// nothing listens on the removed addresses, and the new ones are listening or being retried.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use callsign::server::Server;
    /// use callsign::table::Network;
    ///
    /// let server = Server::builder().port(0).start().await?;
    /// let web = server.add_network(Network::builder("web").listen("127.0.0.1").build()?).await?;
    /// let another = "127.0.0.2".parse()?;
    /// server.change(&web, |change| change.settings(|settings| settings.listen.push(another))).await?;
    /// assert_eq!(server.status().listeners.len(), 4, "UDP and TCP at each");
    /// # server.shutdown().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ServerError::AddressTaken`], and nothing is changed; [`ServerError::Table`] if the network is not this server's;
    /// [`ServerError::Stopped`].
    pub async fn change(&self, network: &Arc<Network>, make: impl FnOnce(&mut Change<'_>)) -> Result<u64, ServerError> {
        let adopted = self.changing.lock().await;
        self.check_served(network)?;
        let name = network.name();
        let (mut old, mut wanted) = (Vec::new(), Vec::new());
        let revision = network.try_change(|change| {
            old = self.with_ports(change.listens_on());
            make(change);
            wanted = self.with_ports(change.listens_on());
            let slots = self.shared.slots();
            for address in &wanted {
                if let Some(slot) = slots.get(&Key::of(name, address))
                    && (slot.is_host_view() || slot.network().name() != name)
                {
                    return Err(taken(name, address, slot.network().name()));
                }
            }
            Ok(())
        })?;
        let handed_in = adopted.get(name).map_or(&[][..], |keys| keys);
        old.retain(|address| !wanted.contains(address));
        let unused = self.own_keys(name, &old).into_iter().filter(|key| !handed_in.contains(key)).collect();
        wanted.retain(|address| !self.shared.slots().contains_key(&Key::of(name, address)));
        // First the old sockets are closed: one of them may be in the way of a new one.
        self.shared.close(unused).await;
        self.open_all(wanted.into_iter().map(|address| (network.clone(), address)).collect());
        Ok(revision)
    }

    /// True if a network is one of this server's, which runs.
    pub(super) fn check_served(&self, network: &Arc<Network>) -> Result<(), ServerError> {
        self.check_running()?;
        let served = self.table().network(network.name()).is_some_and(|known| Arc::ptr_eq(&known, network));
        if served { Ok(()) } else { Err(TableError::NoNetwork(network.name().to_owned()).into()) }
    }

    /// Removes a network and closes its sockets: when this returns nothing listens there. Queries that wait for an upstream
    /// are still answered.
    ///
    /// # Errors
    /// [`ServerError::Table`] if there is no such network.
    pub async fn remove_network(&self, name: &str) -> Result<(), ServerError> {
        let mut adopted = self.changing.lock().await;
        let network = self.table().network(name).ok_or_else(|| TableError::NoNetwork(name.to_owned()))?;
        let mut slots = self.listen_keys(&network);
        slots.extend(adopted.remove(name).unwrap_or_default());
        self.table().remove(name)?;
        self.shared.close(slots).await;
        Ok(())
    }

    /// Adds these networks, or replaces those of the same names in one step each, and removes the networks that are named in
    /// `removed`. All others are not touched and cost nothing. A name in `removed` that there is no network of, or that one
    /// of `networks` has, is ignored.
    ///
    /// Sockets whose addresses stay are kept, also when an address goes from one network to another in the same update.
    ///
    /// # Errors
    /// [`ServerError::AddressTaken`] if two networks would have one address, [`ServerError::Table`] if two of these have one
    /// name; nothing is changed then. [`ServerError::Stopped`].
    pub async fn update(&self, networks: Vec<Network>, removed: &[String]) -> Result<Applied, ServerError> {
        let mut adopted = self.changing.lock().await;
        let gone: Vec<_> = removed.iter().filter_map(|name| self.table().network(name)).collect();
        let replaced = networks.iter().filter_map(|network| self.table().network(network.name()));
        let in_use = replaced.chain(gone.iter().cloned()).flat_map(|old| self.listen_keys(&old)).collect();
        self.replace(networks, gone, in_use, &mut adopted).await
    }

    /// Makes these the server's networks: an [update](Server::update) with all of them that removes what is not among them.
    ///
    /// # Errors
    /// As [`Server::update`].
    pub async fn apply(&self, networks: Vec<Network>) -> Result<Applied, ServerError> {
        let mut adopted = self.changing.lock().await;
        let slots: Vec<_> = {
            let slots = self.shared.slots();
            let of_networks = slots.iter().filter(|(_, slot)| !slot.is_host_view());
            of_networks.map(|(key, slot)| (key.clone(), slot.network())).collect()
        };
        // Those that somebody took out of the table by hand still have their sockets.
        let listened = slots.iter().map(|(_, network)| network.clone());
        let gone = self.table().networks().into_iter().chain(listened).collect();
        let handed_in: HashSet<Key> = adopted.values().flatten().cloned().collect();
        let in_use = slots.into_iter().map(|(key, _)| key).filter(|key| !handed_in.contains(key)).collect();
        self.replace(networks, gone, in_use, &mut adopted).await
    }

    /// Adds or replaces `networks` and removes those of `gone` that are not among them. Of the slots `in_use` those are closed
    /// that are not wanted any more.
    async fn replace(
        &self,
        networks: Vec<Network>,
        mut gone: Vec<Arc<Network>>,
        in_use: Vec<Key>,
        adopted: &mut Adopted,
    ) -> Result<Applied, ServerError> {
        self.check_running()?;
        let named: HashSet<String> = networks.iter().map(|network| network.name().to_owned()).collect();
        // Each once.
        let mut left = HashSet::new();
        gone.retain(|old| !named.contains(old.name()) && left.insert(old.name().to_owned()));
        let wanted = self.wanted(&networks, |name| named.contains(name) || left.contains(name))?;
        let mut unused: Vec<Key> = in_use.into_iter().filter(|key| !wanted.contains_key(key)).collect();
        // Sockets that were handed in stay with their network, and go with it.
        unused.extend(gone.iter().filter_map(|old| adopted.remove(old.name())).flatten());

        let mut applied = self.put(networks)?;
        let new = self.hand_over(wanted)?;
        // First the old sockets are closed: one of them may be in the way of a new one.
        self.shared.close(unused).await;
        self.open_all(new);
        for old in gone {
            if self.table().remove(old.name()).is_ok() {
                applied.removed.push(old.name().to_owned());
            }
        }
        Ok(applied)
    }

    /// The addresses that these networks want, if each can have its own: no other of them wants it, nor a network that this
    /// change is not about.
    fn wanted(&self, networks: &[Network], is_changing: impl Fn(&str) -> bool) -> Result<Wanted, ServerError> {
        let mut names = HashSet::new();
        let slots = self.shared.slots();
        let mut wanted = Wanted::new();
        for network in networks {
            if !names.insert(network.name()) {
                return Err(TableError::NetworkExists(network.name().to_owned()).into());
            }
            for address in self.listen_of(network) {
                let key = Key::of(network.name(), &address);
                if let Some(slot) = slots.get(&key)
                    && (slot.is_host_view() || !is_changing(slot.network().name()))
                {
                    return Err(taken(network.name(), &address, slot.network().name()));
                }
                if let Some((other, _)) = wanted.insert(key, (network.name().to_owned(), address.clone())) {
                    return Err(taken(network.name(), &address, &other));
                }
            }
        }
        Ok(wanted)
    }

    /// Puts networks into the table.
    fn put(&self, networks: Vec<Network>) -> Result<Applied, ServerError> {
        let mut applied = Applied::default();
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
        Ok(applied)
    }

    /// Lets the networks be answered at the addresses that are listened on already, and gives the others.
    fn hand_over(&self, wanted: Wanted) -> Result<Vec<(Arc<Network>, Address)>, ServerError> {
        let mut new = Vec::new();
        for (key, (name, address)) in wanted {
            let network = || self.table().network(&name).ok_or_else(|| TableError::NoNetwork(name.clone()));
            let present = self.shared.slots().get(&key).cloned();
            match present {
                Some(slot) if Arc::ptr_eq(&slot.network(), &network()?) => {}
                Some(slot) => slot.serve_instead(&network()?),
                None => new.push((network()?, address)),
            }
        }
        Ok(new)
    }

    /// The listen addresses of a network, each once and with its port.
    fn listen_of(&self, network: &Network) -> Vec<Address> {
        self.with_ports(&network.snapshot().settings().listen)
    }

    /// These addresses, each once and with its port.
    pub(super) fn with_ports(&self, listen: &[Address]) -> Vec<Address> {
        let mut all: Vec<Address> = Vec::new();
        for address in listen {
            let address = address.clone().with_port(address.port().unwrap_or(self.shared.port));
            if !all.contains(&address) {
                all.push(address);
            }
        }
        all
    }

    /// The slots at a network's listen addresses.
    fn listen_keys(&self, network: &Network) -> Vec<Key> {
        self.own_keys(network.name(), &self.listen_of(network))
    }

    /// The slots of a network at these addresses.
    fn own_keys(&self, name: &str, listen: &[Address]) -> Vec<Key> {
        let slots = self.shared.slots();
        let keys = listen.iter().map(|address| Key::of(name, address));
        let is_own = |slot: &Arc<Slot>| !slot.is_host_view() && slot.network().name() == name;
        keys.filter(|key| slots.get(key).is_some_and(is_own)).collect()
    }

    fn open_all(&self, new: Vec<(Arc<Network>, Address)>) {
        if !new.is_empty() {
            self.shared.host.forget();
            for (network, address) in new {
                self.open(network.name(), &network, address, None);
            }
            self.shared.note_own_addresses();
        }
    }

    /// Listens at an address for a network, perhaps for one endpoint of it alone, or for the host view. `name`: what that is
    /// called.
    pub(super) fn open(
        &self,
        name: &str,
        served: impl Into<Served>,
        address: Address,
        endpoint: Option<Box<str>>,
    ) -> Arc<Slot> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let ready = self.take_ready(&address);
        let key = Key::of(name, &address);
        let slot = Slot::open(&self.shared, served, (address, endpoint), ready, self.worker(number));
        self.shared.slots().insert(key, slot.clone());
        slot
    }

    /// Serves a socket that was handed in for a network.
    pub(super) fn adopt(
        &self,
        network: &Arc<Network>,
        socket: ReadySocket,
        endpoint: Option<Box<str>>,
    ) -> (Key, Arc<Slot>) {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let slot = Slot::adopt(&self.shared, network, (socket, endpoint), self.worker(number));
        let key = Key::Adopted(number);
        self.shared.slots().insert(key.clone(), slot.clone());
        (key, slot)
    }

    /// The ready-made sockets that are bound to an address.
    fn take_ready(&self, address: &Address) -> Vec<ReadySocket> {
        let mut ready = super::lock(&self.ready);
        let Ok(wanted) = socket::resolve(address, self.shared.port) else { return Vec::new() };
        let (taken, left) = ready.drain(..).partition(|socket| socket.local_addr().is_ok_and(|bound| bound == wanted));
        *ready = left;
        taken
    }
}

/// The slots that stay with their network whatever its listen addresses are: those of [`Server::listen`], and of sockets that
/// were handed in.
pub(super) type Adopted = HashMap<Box<str>, Vec<Key>>;

pub(super) fn taken(network: &str, address: &Address, other: &str) -> ServerError {
    ServerError::AddressTaken { network: network.to_owned(), address: address.to_string(), other: other.to_owned() }
}
