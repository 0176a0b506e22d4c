//! The table: all networks of a server, and which endpoint is on which of them.

use std::sync::{Arc, Weak};

use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;

use super::attachment::Membership;
use super::blocks::Blocks;
use super::error::TableError;
use super::feed::{Channel, Event, Feed};
use super::network::Network;

/// The networks of a server, by name. Cheap to clone: the clones are the same table.
///
/// Networks of one table know when the same endpoint id is on several of them; that makes the endpoint's view
/// (answers.md V1).
#[derive(Debug, Clone, Default)]
pub struct NameTable {
    networks: Arc<DashMap<Box<str>, Arc<Network>, RandomState>>,
    registry: Arc<Registry>,
}

/// What the networks of a table share. They hold it, so it does not hold them: a table that is dropped would stay for ever.
#[derive(Debug, Default)]
pub(super) struct Registry {
    memberships: DashMap<Box<str>, Arc<Membership>, RandomState>,
    /// Of the networks whose clients are known at other gateways ([`Clients::Table`](super::Clients::Table)).
    pub(super) blocks: Blocks,
    pub(super) feed: Arc<Channel>,
}

impl Registry {
    /// Notes that an endpoint id is on a network. Join and leave of one id exclude each other by the map's lock.
    pub(super) fn join(&self, id: &str, network: &Weak<Network>) -> Arc<Membership> {
        let membership = self.memberships.entry(id.into()).or_default();
        membership.join(network);
        membership.clone()
    }

    pub(super) fn leave(&self, id: &str, network: &Weak<Network>) {
        if let Entry::Occupied(entry) = self.memberships.entry(id.into())
            && entry.get().leave(network)
        {
            entry.remove();
        }
    }
}

impl NameTable {
    /// An empty table.
    pub fn new() -> NameTable {
        NameTable::default()
    }

    /// Adds a network, with the endpoints that it has.
    ///
    /// # Errors
    /// [`TableError::NetworkExists`].
    pub fn add(&self, network: Network) -> Result<Arc<Network>, TableError> {
        let name: Box<str> = network.name().into();
        let network = match self.networks.entry(name.clone()) {
            Entry::Occupied(_) => return Err(TableError::NetworkExists(name.into())),
            Entry::Vacant(entry) => entry.insert(Arc::new(network)).clone(),
        };
        network.settle(&self.registry);
        self.registry.feed.push(Event::NetworkAdded { network: name });
        Ok(network)
    }

    /// Removes a network and all its endpoints. Whoever still holds it finds nothing in it.
    ///
    /// # Errors
    /// [`TableError::NoNetwork`].
    pub fn remove(&self, name: &str) -> Result<(), TableError> {
        let (_, network) = self.networks.remove(name).ok_or_else(|| TableError::NoNetwork(name.to_owned()))?;
        network.remove();
        Ok(())
    }

    /// The network of the given name.
    pub fn network(&self, name: &str) -> Option<Arc<Network>> {
        self.networks.get(name).map(|entry| entry.value().clone())
    }

    /// All networks, by name.
    pub fn networks(&self) -> Vec<Arc<Network>> {
        let mut all: Vec<_> = self.networks.iter().map(|entry| entry.value().clone()).collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// A place in the change feed, from now on.
    pub fn follow(&self) -> Feed {
        self.registry.feed.follow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Clients, Endpoint};

    #[test]
    fn a_table_that_is_dropped_takes_its_networks_with_it() {
        let table = NameTable::new();
        let endpoint = || Endpoint::builder("web-1").build().unwrap();
        let networks = ["shop", "blog"].map(|name| {
            let network = table.add(Network::builder(name).endpoint(endpoint()).build().unwrap()).unwrap();
            Arc::downgrade(&network)
        });
        drop(table);
        assert!(networks.iter().all(|network| network.upgrade().is_none()));
    }

    #[test]
    fn blocks_of_addresses_go_with_the_last_endpoint_in_them() {
        let table = NameTable::new();
        let endpoint = |host: u8| Endpoint::builder(host.to_string()).ip([10, 0, 0, host].into()).build().unwrap();
        let network = |clients| Network::builder("shop").clients(clients).endpoint(endpoint(1)).build().unwrap();
        let shop = table.add(network(Clients::Table)).unwrap();
        assert_eq!(table.registry.blocks.len(), 1);
        for host in 2..40 {
            shop.attach(endpoint(host)).unwrap();
        }
        for host in 2..40 {
            shop.attach(endpoint(host).with_running(false)).unwrap();
        }
        assert_eq!(table.registry.blocks.len(), 3);
        for host in 16..40 {
            shop.detach(&host.to_string()).unwrap();
        }
        assert_eq!(table.registry.blocks.len(), 1);
        shop.replace_with(&network(Clients::Listener)).unwrap();
        assert_eq!(table.registry.blocks.len(), 0, "only networks with the policy cost anything");
        shop.replace_with(&network(Clients::Table)).unwrap();
        assert_eq!(table.registry.blocks.len(), 1);
        table.remove("shop").unwrap();
        assert_eq!(table.registry.blocks.len(), 0);
    }
}
