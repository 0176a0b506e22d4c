//! Which networks have endpoints near an address: how a client is found whose gateway is another network's.
//!
//! Not one entry an address but one a block of sixteen neighbours, as addresses are handed out one after the other: it
//! stays small beside the networks themselves. Whether a network really has the address, its snapshot says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Weak};

use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::network::Network;

/// The networks of each block.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    blocks: DashMap<IpAddr, SmallVec<[Tenant; 1]>, RandomState>,
}

/// A network, and how many of its endpoints' addresses are in the block.
#[derive(Debug)]
struct Tenant {
    network: Weak<Network>,
    addresses: u32,
}

/// The first address of the block that an address is in.
fn block_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & !15).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !15).into(),
    }
}

impl Blocks {
    /// Notes that an endpoint of a network has an address.
    pub(super) fn join(&self, address: IpAddr, network: &Weak<Network>) {
        let mut tenants = self.blocks.entry(block_of(address)).or_default();
        match tenants.iter_mut().find(|tenant| tenant.network.ptr_eq(network)) {
            Some(tenant) => tenant.addresses += 1,
            None => tenants.push(Tenant { network: network.clone(), addresses: 1 }),
        }
    }

    /// Takes back one [`join`](Blocks::join).
    pub(super) fn leave(&self, address: IpAddr, network: &Weak<Network>) {
        if let Entry::Occupied(mut entry) = self.blocks.entry(block_of(address)) {
            let tenants = entry.get_mut();
            if let Some(tenant) = tenants.iter_mut().find(|tenant| tenant.network.ptr_eq(network)) {
                tenant.addresses -= 1;
            }
            tenants.retain(|tenant| tenant.addresses > 0);
            if tenants.is_empty() {
                entry.remove();
            }
        }
    }

    /// The networks that may have an endpoint with this address.
    pub(super) fn near(&self, address: IpAddr) -> SmallVec<[Arc<Network>; 4]> {
        let tenants = self.blocks.get(&block_of(address));
        tenants.iter().flat_map(|tenants| tenants.iter()).filter_map(|tenant| tenant.network.upgrade()).collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }
}
