//! The table: all networks of a server, and which endpoint is on which of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::address_index::AddressIndex;
use super::attachment::{Attachment, Membership};
use super::error::TableError;
use super::feed::{Channel, Feed};
use super::hamt::{Hamt, Keyed, hash_of};
use super::network::Network;
use super::zones::Zones;

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
    members: Mutex<Members>,
    /// Of the networks whose clients are known at other gateways.
    pub(super) addresses: AddressIndex,
    pub(super) zones: Zones,
    pub(super) feed: Arc<Channel>,
}

#[derive(Debug, Default)]
struct Members {
    places: Hamt<Member>,
    /// How often a network was told of an id that another one has.
    join_epoch: u64,
}

/// Where an endpoint id is, by the id's hash alone: a copy of the id would be most of the registry. Should two ids ever
/// have one hash, each is looked for on the networks of both, and found on its own.
#[derive(Debug, Clone)]
struct Member {
    id: u64,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    One(Weak<Network>),
    Several(Arc<Membership>),
}

impl Keyed for Member {
    type Key = u64;

    fn key(&self) -> &u64 {
        &self.id
    }
}

impl Registry {
    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an endpoint is on a network, or is about to be. If its id is on another network already, the attachments
    /// of both are told. Said before its snapshot is shown, so that its view is whole at once, and again afterwards: of two
    /// networks that it comes to at the same time, the later one then finds the earlier one's attachment.
    pub(super) fn join(&self, attachment: &Attachment, network: &Weak<Network>) {
        // Another host's joins no views (answers.md V7).
        if attachment.is_remote() {
            return;
        }
        let id = attachment.endpoint().id();
        let hash = hash_of(id);
        let place = || Place::One(network.clone());
        let Members { places, join_epoch } = &mut *self.members();
        places.edit(
            &hash,
            || Some(Member { id: hash, place: place() }),
            |member| {
                if let Place::One(known) = &member.place {
                    match known.upgrade() {
                        _ if known.ptr_eq(network) => return true,
                        None => member.place = place(),
                        Some(other) => {
                            let membership = Arc::new(Membership::of([known.clone(), network.clone()]));
                            if let Some(there) = other.snapshot().member(id) {
                                there.join(membership.clone());
                            }
                            member.place = Place::Several(membership);
                        }
                    }
                }
                if let Place::Several(membership) = &member.place {
                    *join_epoch += 1;
                    membership.join(network);
                    attachment.join(membership.clone());
                }
                true
            },
        );
    }

    /// A number that changes whenever a network is told of an id that another one has.
    pub(super) fn join_epoch(&self) -> u64 {
        self.members().join_epoch
    }

    /// Notes that an endpoint id is no longer on a network.
    pub(super) fn leave(&self, id: &str, network: &Weak<Network>) {
        self.members().places.edit(
            &hash_of(id),
            || None,
            |member| match &member.place {
                Place::One(known) => !known.ptr_eq(network),
                Place::Several(membership) => !membership.leave(network),
            },
        );
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
        match self.networks.entry(name) {
            Entry::Occupied(entry) => Err(TableError::NetworkExists(entry.key().clone().into())),
            Entry::Vacant(entry) => {
                let network = Arc::new(network);
                // First: whoever finds it may change it at once, and the feed tells of that afterwards.
                network.settle(&self.registry);
                Ok(entry.insert(network).clone())
            }
        }
    }

    /// Removes a network and all its endpoints. Whoever still holds it finds nothing in it.
    ///
    /// # Errors
    /// [`TableError::NoNetwork`].
    pub fn remove(&self, name: &str) -> Result<(), TableError> {
        // It may wait for a change that looks at the table: nothing of the table is held meanwhile.
        let network = self.network(name).filter(|network| network.remove());
        let network = network.ok_or_else(|| TableError::NoNetwork(name.to_owned()))?;
        // Only now is there room for another one of that name, of which the feed tells afterwards.
        self.networks.remove_if(name, |_, known| Arc::ptr_eq(known, &network));
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

    /// True if the two are one table.
    pub(crate) fn is_same(&self, other: &NameTable) -> bool {
        Arc::ptr_eq(&self.networks, &other.networks)
    }

    /// Calls `visit` with each network, in no particular order.
    pub(crate) fn each(&self, mut visit: impl FnMut(&Arc<Network>)) {
        self.networks.iter().for_each(|entry| visit(entry.value()));
    }

    /// The networks whose name is `key`, or lies below it: wire form without the root, lower case.
    pub(crate) fn networks_called(&self, key: &[u8]) -> SmallVec<[Arc<Network>; 4]> {
        self.registry.zones.networks(key)
    }

    /// The networks that have endpoints of a Compose project: wire form without the root, lower case.
    pub(crate) fn networks_of_project(&self, key: &[u8]) -> SmallVec<[Arc<Network>; 4]> {
        self.registry.zones.of_project(key)
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
    fn an_endpoint_that_comes_and_goes_in_one_change_leaves_nothing_behind() {
        let table = NameTable::new();
        let network = table.add(Network::builder("shop").clients(Clients::Table).build().unwrap()).unwrap();
        network
            .change(|change| {
                change.attach(Endpoint::builder("web-1").address("10.0.0.2").build().unwrap());
                change.detach("web-1");
            })
            .unwrap();
        assert_eq!(table.registry.members().places.iter().count(), 0);
        assert_eq!(table.registry.addresses.len(), 0);
    }

    #[test]
    fn blocks_of_addresses_go_with_the_last_endpoint_in_them() {
        let table = NameTable::new();
        let endpoint = |host: u8| Endpoint::builder(host.to_string()).ip([10, 0, 0, host].into()).build().unwrap();
        let network = |clients| Network::builder("shop").clients(clients).endpoint(endpoint(1)).build().unwrap();
        let shop = table.add(network(Clients::Table)).unwrap();
        assert_eq!(table.registry.addresses.len(), 1);
        for host in 2..40 {
            shop.attach(endpoint(host)).unwrap();
        }
        for host in 2..40 {
            shop.attach(endpoint(host).with_running(false)).unwrap();
        }
        assert_eq!(table.registry.addresses.len(), 3);
        for host in 16..40 {
            shop.detach(&host.to_string()).unwrap();
        }
        assert_eq!(table.registry.addresses.len(), 1);
        shop.replace_with(&network(Clients::Identify)).unwrap();
        assert_eq!(table.registry.addresses.len(), 1);
        shop.replace_with(&network(Clients::Listener)).unwrap();
        assert_eq!(table.registry.addresses.len(), 0, "only networks with the policy cost anything");
        shop.replace_with(&network(Clients::Table)).unwrap();
        assert_eq!(table.registry.addresses.len(), 1);
        table.remove("shop").unwrap();
        assert_eq!(table.registry.addresses.len(), 0);
    }

    #[test]
    fn subnets_go_with_their_network_and_its_policy() {
        let table = NameTable::new();
        let network = |clients, subnets: &[&str]| {
            let network = Network::builder("shop").clients(clients);
            subnets.iter().fold(network, |network, subnet| network.subnet(subnet)).build().unwrap()
        };
        let subnets = || table.registry.addresses.subnets();
        let shop = table.add(network(Clients::Table, &["10.0.0.0/16", "fd00::/64", "10.0.0.0/16"])).unwrap();
        assert_eq!(subnets(), 2);
        for (clients, list, count) in [
            (Clients::Table, &["10.0.0.0/16", "10.1.0.0/16"][..], 2),
            (Clients::Identify, &["10.0.0.0/16"], 0),
            (Clients::Listener, &["10.0.0.0/16"], 0),
            (Clients::Table, &["10.0.0.0/16", "10.1.0.0/16", "10.1.0.0/24"], 3),
        ] {
            shop.replace_with(&network(clients, list)).unwrap();
            assert_eq!(subnets(), count, "{clients:?} {list:?}");
        }
        table.remove("shop").unwrap();
        assert_eq!(subnets(), 0);
    }
}
