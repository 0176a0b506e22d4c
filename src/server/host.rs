//! The host's interfaces: who is a neighbour of a listen address (answers.md V4).

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

/// Refused clients do not make us read the interfaces more often than this.
const INTERVAL: Duration = Duration::from_millis(100);

/// The addresses of the host's interfaces, as they were when last looked at.
#[derive(Debug, Default)]
pub(super) struct Host {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    interfaces: Option<Vec<IpNet>>,
    /// When a refused client last made us read them.
    again: Option<Instant>,
}

impl Host {
    /// The subnet of the interface that carries `listen`, and the host's own addresses.
    pub(super) fn neighbours(&self, listen: SocketAddr) -> Vec<IpNet> {
        neighbours_of(listen.ip(), self.lock().interfaces())
    }

    /// True if an address is on one of the host's interfaces.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        address.is_unspecified()
            || address.is_loopback()
            || self.lock().interfaces().iter().any(|subnet| subnet.addr() == address)
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
                *seen = Seen { interfaces: None, again: Some(now) };
                now
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn interfaces(&mut self) -> &[IpNet] {
        self.interfaces.get_or_insert_with(interfaces)
    }
}

/// Who may ask at a listen address besides its network's own subnets and endpoints (answers.md V4), as things are now: the
/// subnet of the interface that carries the address, and the host's own addresses. A [`Server`](super::Server) sees to it by
/// itself; this is for those who drive a [`Responder`](crate::responder::Responder) the way a server does.
pub fn neighbours(listen: SocketAddr) -> Vec<IpNet> {
    neighbours_of(listen.ip(), &interfaces())
}

fn neighbours_of(listen: IpAddr, interfaces: &[IpNet]) -> Vec<IpNet> {
    let mut neighbours: Vec<IpNet> = interfaces
        .iter()
        .map(|interface| {
            // All of a loopback subnet is the host itself.
            let is_near = interface.addr() == listen || interface.addr().is_loopback();
            if is_near { interface.trunc() } else { IpNet::from(interface.addr()) }
        })
        .collect();
    neighbours.sort();
    neighbours.dedup();
    neighbours
}

/// Each address of each interface, with the prefix length of its subnet.
fn interfaces() -> Vec<IpNet> {
    // Without the list nobody but the networks' own subnets is let in: the safe side.
    let Ok(all) = getifaddrs() else { return Vec::new() };
    all.filter_map(|interface| {
        let address = ip_of(&interface.address?)?;
        let mask = interface.netmask.as_ref().and_then(ip_of);
        let full = IpNet::from(address);
        Some(mask.and_then(|mask| IpNet::with_netmask(address, mask).ok()).unwrap_or(full))
    })
    .collect()
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
        let neighbours = neighbours_of("172.18.0.1".parse().unwrap(), &interfaces);
        let is_in =
            |address: &str| neighbours.iter().any(|subnet| subnet.contains(&address.parse::<IpAddr>().unwrap()));
        assert!(is_in("172.18.3.4"), "the bridge's subnet");
        assert!(is_in("127.0.0.5") && is_in("192.0.2.7") && is_in("fd00::1"), "the host");
        assert!(!is_in("192.0.2.8") && !is_in("fd00::2"), "other networks' neighbours are not this one's");
    }
}
