//! Where the table's networks have endpoints and subnets: how a client is found whose gateway is another network's.
//!
//! Endpoints have not one entry an address but one a block of sixteen neighbours, as addresses are handed out one after
//! the other: it stays small beside the networks themselves. Whether a network really has the address, its snapshot says.

use std::borrow::Borrow;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;
use ipnet::IpNet;
use smallvec::SmallVec;

use super::network::Network;

/// The last bits of an address that tell the neighbours of a block apart.
const BLOCK_BITS: u8 = 4;

/// The networks of each block, and of each subnet.
#[derive(Debug)]
pub(super) struct AddressIndex {
    blocks: NetworkRefs<IpNet>,
    subnets: NetworkRefs<IpNet>,
    /// How many subnets there are of each prefix length, IPv4 and IPv6: only those lengths are looked up.
    lengths: [Box<[AtomicU32]>; 2],
}

/// The networks that have something under a key, such as an address in a prefix.
#[derive(Debug)]
pub(super) struct NetworkRefs<K: Eq + Hash>(DashMap<K, SmallVec<[NetworkRef; 1]>, RandomState>);

/// A network, and how many things it has there.
#[derive(Debug)]
pub(super) struct NetworkRef {
    network: Weak<Network>,
    count: u32,
}

impl Default for AddressIndex {
    fn default() -> AddressIndex {
        let lengths = |longest: u8| (0..=longest).map(|_| AtomicU32::default()).collect();
        AddressIndex {
            blocks: NetworkRefs::default(),
            subnets: NetworkRefs::default(),
            lengths: [lengths(32), lengths(128)],
        }
    }
}

/// The block that an address is in.
fn block_of(address: IpAddr) -> IpNet {
    let full = IpNet::from(address);
    prefix(address, full.max_prefix_len() - BLOCK_BITS).unwrap_or(full)
}

/// The prefix of so many bits that an address is in.
fn prefix(address: IpAddr, len: u8) -> Option<IpNet> {
    IpNet::new(address, len).ok().map(|net| net.trunc())
}

impl AddressIndex {
    /// Notes that an endpoint of a network has an address.
    pub(super) fn join(&self, address: IpAddr, network: &Weak<Network>) {
        self.blocks.join(block_of(address), network);
    }

    /// Takes back one [`join`](AddressIndex::join).
    pub(super) fn leave(&self, address: IpAddr, network: &Weak<Network>) {
        self.blocks.leave(&block_of(address), network);
    }

    /// The networks that may have an endpoint with this address.
    pub(super) fn near(&self, address: IpAddr) -> SmallVec<[Arc<Network>; 4]> {
        self.blocks.at(&block_of(address))
    }

    /// Notes that a network has a subnet.
    pub(super) fn join_subnet(&self, subnet: IpNet, network: &Weak<Network>) {
        self.subnets.join(subnet, network);
        self.count_of(subnet).fetch_add(1, Ordering::Release);
    }

    /// Takes back one [`join_subnet`](AddressIndex::join_subnet).
    pub(super) fn leave_subnet(&self, subnet: IpNet, network: &Weak<Network>) {
        self.count_of(subnet).fetch_sub(1, Ordering::Release);
        self.subnets.leave(&subnet, network);
    }

    fn count_of(&self, subnet: IpNet) -> &AtomicU32 {
        &self.lengths[usize::from(subnet.addr().is_ipv6())][usize::from(subnet.prefix_len())]
    }

    /// The networks in whose subnets an address lies, those with the longest prefix first.
    pub(super) fn around(&self, address: IpAddr) -> impl Iterator<Item = Arc<Network>> {
        let lengths = self.lengths[usize::from(address.is_ipv6())].iter().enumerate().rev();
        lengths
            .filter(|(_, count)| count.load(Ordering::Acquire) > 0)
            .filter_map(move |(len, _)| prefix(address, len as u8))
            .flat_map(|subnet| self.subnets.at(&subnet))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.blocks.0.len()
    }

    #[cfg(test)]
    pub(super) fn subnets(&self) -> usize {
        let counted: u32 = self.lengths.iter().flatten().map(|count| count.load(Ordering::Acquire)).sum();
        assert_eq!(counted > 0, !self.subnets.0.is_empty());
        self.subnets.0.len()
    }
}

impl<K: Eq + Hash> Default for NetworkRefs<K> {
    fn default() -> NetworkRefs<K> {
        NetworkRefs(DashMap::default())
    }
}

impl<K: Eq + Hash + Clone> NetworkRefs<K> {
    pub(super) fn join(&self, key: K, network: &Weak<Network>) {
        let mut tenants = self.0.entry(key).or_default();
        match tenants.iter_mut().find(|tenant| tenant.network.ptr_eq(network)) {
            Some(tenant) => tenant.count += 1,
            None => tenants.push(NetworkRef { network: network.clone(), count: 1 }),
        }
    }

    pub(super) fn leave(&self, key: &K, network: &Weak<Network>) {
        if let Entry::Occupied(mut entry) = self.0.entry(key.clone()) {
            let tenants = entry.get_mut();
            if let Some(tenant) = tenants.iter_mut().find(|tenant| tenant.network.ptr_eq(network)) {
                tenant.count -= 1;
            }
            tenants.retain(|tenant| tenant.count > 0);
            if tenants.is_empty() {
                entry.remove();
            }
        }
    }

    pub(super) fn at<Q: ?Sized + Eq + Hash>(&self, key: &Q) -> SmallVec<[Arc<Network>; 4]>
    where
        K: Borrow<Q>,
    {
        let tenants = self.0.get(key);
        tenants.iter().flat_map(|tenants| tenants.iter()).filter_map(|tenant| tenant.network.upgrade()).collect()
    }
}
