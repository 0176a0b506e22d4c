//! The host's interfaces: who is a neighbour of a listen address (answers.md V3a, V4).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use crate::responder::{HostAddresses, Listener};
use crate::table::Network;

/// The addresses of the loopback interface of every host, in their order.
const LOOPBACK: [IpNet; 2] =
    [IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8)), IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128))];
/// Refused clients do not make us read the interfaces more often than this.
const INTERVAL: Duration = Duration::from_millis(100);

/// The addresses of the host's interfaces, as they were when last looked at.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// What all listeners share.
    addresses: HostAddresses,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// In the order of the addresses; `None` if they are to be read anew.
    interfaces: Option<Vec<Interface>>,
    /// When a refused client last made us read them.
    again: Option<Instant>,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Interface {
    /// The address, with the prefix length of its subnet.
    net: IpNet,
    /// The interface's index; 0 if it is not known.
    index: u32,
}

impl Interface {
    fn address(&self) -> IpAddr {
        self.net.addr()
    }
}

impl Host {
    /// The host's own addresses, which are kept up to date.
    pub(super) fn addresses(&self) -> &HostAddresses {
        &self.addresses
    }

    /// Tells a listener who its neighbours are, and over which interfaces link-local clients may ask.
    pub(super) fn introduce(&self, listener: &Listener) {
        self.with_interfaces(|interfaces| introduce(listener, interfaces));
    }

    /// True if an address is on one of the host's interfaces.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        address.is_unspecified()
            || address.is_loopback()
            || self.with_interfaces(|interfaces| interfaces.binary_search_by_key(&address, Interface::address).is_ok())
    }

    /// Has the interfaces read anew when next asked: whoever adds a network has perhaps just made its bridge.
    pub(super) fn forget(&self) {
        self.lock().interfaces = None;
    }

    /// Looks again because a client is refused: perhaps an address or an interface came. Gives the time at which it last did.
    pub(super) fn look_again(&self) -> Instant {
        let mut seen = self.lock();
        let now = Instant::now();
        match seen.again {
            Some(at) if now.duration_since(at) < INTERVAL => at,
            _ => {
                seen.interfaces = None;
                seen.again = Some(now);
                now
            }
        }
    }

    fn with_interfaces<T>(&self, ask: impl FnOnce(&[Interface]) -> T) -> T {
        let mut seen = self.lock();
        ask(seen.interfaces.get_or_insert_with(|| {
            let interfaces = interfaces();
            self.addresses.set(interfaces.iter().map(Interface::address).collect());
            interfaces
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener of `network` at `address` that knows the host's interfaces as they are now: who may ask there besides the
/// network's own subnets and endpoints (answers.md V3a, V4). A [`Server`](super::Server) sees to it by itself; this is for
/// those who drive a [`Responder`](crate::responder::Responder) the way a server does.
pub fn listener(network: Arc<Network>, address: SocketAddr) -> Listener {
    let (host, interfaces) = (HostAddresses::default(), interfaces());
    host.set(interfaces.iter().map(Interface::address).collect());
    let listener = Listener::new(network, address).with_host_addresses(host);
    introduce(&listener, &interfaces);
    listener
}

fn introduce(listener: &Listener, interfaces: &[Interface]) {
    listener.set_neighbours(near(listener.address(), interfaces));
    let mut indices: Vec<u32> = at(listener.address(), interfaces).map(|interface| interface.index).collect();
    indices.retain(|&index| index != 0);
    indices.dedup();
    indices.shrink_to_fit();
    listener.set_interfaces(indices);
}

/// The subnets of the interfaces that carry an address, and those of loopback: all of such a subnet is the host itself.
fn near(listen: SocketAddr, interfaces: &[Interface]) -> Vec<IpNet> {
    let loopback = interfaces.iter().filter(|interface| interface.address().is_loopback());
    let mut subnets: Vec<IpNet> =
        at(listen, interfaces).chain(loopback).map(|interface| interface.net.trunc()).collect();
    subnets.sort();
    subnets.dedup();
    subnets.shrink_to_fit();
    subnets
}

/// The interfaces that have an address; of one with a scope, the one that it names.
fn at(listen: SocketAddr, interfaces: &[Interface]) -> impl Iterator<Item = &Interface> {
    let address = listen.ip();
    let scope = match listen {
        SocketAddr::V6(v6) => v6.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    let first = interfaces.partition_point(|interface| interface.address() < address);
    let all = interfaces[first..].iter().take_while(move |interface| interface.address() == address);
    all.filter(move |interface| scope == 0 || interface.index == scope)
}

/// Each address of each interface, in the order of the addresses.
fn interfaces() -> Vec<Interface> {
    // Without the list, as where a service manager allows no netlink, nobody is let in but the networks' own subnets and who
    // is the host for sure: the safe side.
    let Ok(all) = getifaddrs() else { return LOOPBACK.map(|net| Interface { net, index: 0 }).to_vec() };
    let all: Vec<_> = all.collect();
    // Each interface has an entry of the link layer, too.
    let indices: HashMap<&str, u32> = all
        .iter()
        .filter_map(|interface| {
            let index = interface.address.as_ref()?.as_link_addr()?.ifindex();
            Some((interface.interface_name.as_str(), u32::try_from(index).ok()?))
        })
        .collect();
    let mut interfaces: Vec<Interface> = all
        .iter()
        .filter_map(|interface| {
            let address = ip_of(interface.address.as_ref()?)?;
            let mask = interface.netmask.as_ref().and_then(ip_of);
            let full = IpNet::from(address);
            let net = mask.and_then(|mask| IpNet::with_netmask(address, mask).ok()).unwrap_or(full);
            // An address with a label has another name than its interface (`eth0:1`).
            let name = interface.interface_name.split(':').next().unwrap_or_default();
            Some(Interface { net, index: indices.get(name).copied().unwrap_or_default() })
        })
        .collect();
    interfaces.sort_unstable();
    interfaces
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(v4.ip().into()),
        (_, Some(v6)) => Some(v6.ip().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_index(net: &str, index: u32) -> Interface {
        Interface { net: net.parse().unwrap(), index }
    }

    #[test]
    fn v3a_a_link_local_address_is_on_the_interface_of_its_scope_alone() {
        let interfaces = [("10.7.1.1/24", 7), ("10.7.2.1/24", 8), ("fe80::1/64", 7), ("fe80::1/64", 8)];
        let interfaces = interfaces.map(|(net, index)| at_index(net, index));
        let indices = |listen: SocketAddr| at(listen, &interfaces).map(|found| found.index).collect::<Vec<_>>();
        assert_eq!(indices("10.7.2.1:53".parse().unwrap()), [8]);
        assert_eq!(indices("[fe80::1%8]:53".parse().unwrap()), [8]);
        assert_eq!(indices("[fe80::2%8]:53".parse().unwrap()), [0; 0]);
    }

    #[test]
    fn v3a_the_kernels_interfaces_have_their_indices() {
        let loopback = nix::net::if_::if_nametoindex("lo").unwrap();
        let found = interfaces();
        assert!(found.contains(&at_index("127.0.0.1/8", loopback)), "{found:?}");
        assert!(found.iter().all(|interface| interface.index != 0), "{found:?}");
    }

    #[test]
    fn v4_neighbours_are_the_subnet_of_the_listen_address_and_the_host_itself() {
        let interfaces = ["127.0.0.1/8", "172.18.0.1/16", "192.0.2.7/24", "fd00::1/64"].map(|text| at_index(text, 1));
        let host = HostAddresses::default();
        host.set(interfaces.iter().map(Interface::address).collect());
        let subnets = near("172.18.0.1:53".parse().unwrap(), &interfaces);
        let is_in = |address: &str| {
            let address = address.parse().unwrap();
            host.contains(address) || subnets.iter().any(|subnet| subnet.contains(&address))
        };
        assert!(is_in("172.18.3.4"), "the bridge's subnet");
        assert!(is_in("127.0.0.5") && is_in("192.0.2.7") && is_in("fd00::1"), "the host");
        assert!(!is_in("192.0.2.8") && !is_in("fd00::2"), "other networks' neighbours are not this one's");
    }

    #[test]
    fn a_listener_keeps_no_list_of_the_hosts_other_interfaces() {
        let bridges = (0..=255).map(|number| at_index(&format!("10.7.{number}.1/24"), number + 2));
        let interfaces: Vec<Interface> = bridges.chain([at_index("127.0.0.1/8", 1)]).collect();
        let near = near("10.7.3.1:53".parse().unwrap(), &interfaces);
        assert_eq!(near.iter().map(IpNet::to_string).collect::<Vec<_>>(), ["10.7.3.0/24", "127.0.0.0/8"]);
    }
}
