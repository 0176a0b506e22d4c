//! The host's interfaces: who is a neighbour of a listen address (answers.md V4).

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use crate::responder::HostAddresses;

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
    /// Each address with its subnet's prefix length, in the order of the addresses; `None` if they are to be read anew.
    interfaces: Option<Vec<IpNet>>,
    /// When a refused client last made us read them.
    again: Option<Instant>,
}

impl Host {
    /// The host's own addresses, which are kept up to date.
    pub(super) fn addresses(&self) -> &HostAddresses {
        &self.addresses
    }

    /// The subnets whose clients are neighbours of `listen`.
    pub(super) fn neighbours(&self, listen: SocketAddr) -> Vec<IpNet> {
        self.with_interfaces(|interfaces| near(listen.ip(), interfaces))
    }

    /// True if an address is on one of the host's interfaces.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        address.is_unspecified()
            || address.is_loopback()
            || self.with_interfaces(|interfaces| !at(address, interfaces).is_empty())
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

    fn with_interfaces<T>(&self, ask: impl FnOnce(&[IpNet]) -> T) -> T {
        let mut seen = self.lock();
        ask(seen.interfaces.get_or_insert_with(|| {
            let interfaces = interfaces();
            self.addresses.set(interfaces.iter().map(IpNet::addr).collect());
            interfaces
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who may ask at a listen address besides its network's own subnets and endpoints (answers.md V4), as things are now: the
/// subnet of the interface that carries the address, and the host's own addresses. A [`Server`](super::Server) sees to it by
/// itself; this is for those who drive a [`Responder`](crate::responder::Responder) the way a server does.
pub fn neighbours(listen: SocketAddr) -> Vec<IpNet> {
    let interfaces = interfaces();
    let host = interfaces.iter().map(|interface| IpNet::from(interface.addr()));
    let mut neighbours: Vec<IpNet> = near(listen.ip(), &interfaces).into_iter().chain(host).collect();
    neighbours.sort();
    neighbours.dedup();
    neighbours
}

/// The subnets of the interfaces that carry an address, and those of loopback: all of such a subnet is the host itself.
fn near(listen: IpAddr, interfaces: &[IpNet]) -> Vec<IpNet> {
    let loopback = interfaces.iter().filter(|interface| interface.addr().is_loopback());
    let mut subnets: Vec<IpNet> = at(listen, interfaces).iter().chain(loopback).map(IpNet::trunc).collect();
    subnets.sort();
    subnets.dedup();
    subnets.shrink_to_fit();
    subnets
}

/// The interfaces that have an address.
fn at(address: IpAddr, interfaces: &[IpNet]) -> &[IpNet] {
    let first = interfaces.partition_point(|interface| interface.addr() < address);
    let rest = &interfaces[first..];
    &rest[..rest.partition_point(|interface| interface.addr() == address)]
}

/// Each address of each interface, with the prefix length of its subnet, in the order of the addresses.
fn interfaces() -> Vec<IpNet> {
    // Without the list nobody but the networks' own subnets is let in: the safe side.
    let Ok(all) = getifaddrs() else { return Vec::new() };
    let mut interfaces: Vec<IpNet> = all
        .filter_map(|interface| {
            let address = ip_of(&interface.address?)?;
            let mask = interface.netmask.as_ref().and_then(ip_of);
            let full = IpNet::from(address);
            Some(mask.and_then(|mask| IpNet::with_netmask(address, mask).ok()).unwrap_or(full))
        })
        .collect();
    interfaces.sort_by_key(|interface| (interface.addr(), interface.prefix_len()));
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

    #[test]
    fn v4_neighbours_are_the_subnet_of_the_listen_address_and_the_host_itself() {
        let interfaces: Vec<IpNet> =
            ["127.0.0.1/8", "172.18.0.1/16", "192.0.2.7/24", "fd00::1/64"].map(|text| text.parse().unwrap()).into();
        let host = HostAddresses::default();
        host.set(interfaces.iter().map(IpNet::addr).collect());
        let subnets = near("172.18.0.1".parse().unwrap(), &interfaces);
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
        let bridges = (0..=255).map(|number| IpNet::new(IpAddr::from([10, 7, number, 1]), 24).unwrap());
        let interfaces: Vec<IpNet> = std::iter::once("127.0.0.1/8".parse().unwrap()).chain(bridges).collect();
        // In the order of the addresses, as they are read.
        let interfaces = [&interfaces[1..], &interfaces[..1]].concat();
        let near = near("10.7.3.1".parse().unwrap(), &interfaces);
        assert_eq!(near.iter().map(IpNet::to_string).collect::<Vec<_>>(), ["10.7.3.0/24", "127.0.0.0/8"]);
    }
}
