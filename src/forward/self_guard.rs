//! Never to ourselves (answers.md F4): an upstream that is one of our own listeners would send every question round in a loop.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::transport::zone_index;
use crate::settings::Upstream;

/// Our own listeners, and which upstreams were logged for being one.
#[derive(Debug, Default)]
pub(super) struct SelfGuard {
    listeners: ArcSwap<Listeners>,
    warned: Mutex<HashSet<Upstream>>,
}

/// The addresses in the form that upstreams are compared with.
#[derive(Debug, Default)]
struct Listeners {
    /// By address and port, the scope IDs that it is ours in (0: any): a link-local address is ours on one interface and
    /// may be another host's on the next.
    exact: HashMap<(IpAddr, u16), Vec<u32>, foldhash::fast::RandomState>,
    /// Ports that a wildcard socket listens on: all of 127.0.0.0/8 is ours there.
    wildcard_ports: Vec<u16>,
}

impl SelfGuard {
    /// Replaces our own addresses.
    pub(super) fn replace(&self, own: Vec<SocketAddr>) {
        self.listeners.store(Arc::new(Listeners::new(own)));
        self.forget_warnings();
    }

    /// Lets each upstream that is one of our own be logged again.
    pub(super) fn forget_warnings(&self) {
        self.warned.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Those of `servers` that are our own listeners.
    pub(super) fn among(&self, servers: &[Upstream]) -> Vec<Upstream> {
        let listeners = self.listeners.load();
        servers.iter().filter(|server| listeners.have(server)).cloned().collect()
    }

    /// `servers` without those that are our own listeners, each of which is logged once.
    pub(super) fn filter(&self, servers: Arc<[Upstream]>) -> Arc<[Upstream]> {
        let listeners = self.listeners.load();
        if !servers.iter().any(|server| listeners.have(server)) {
            return servers;
        }
        let (own, others): (Vec<_>, Vec<_>) = servers.iter().cloned().partition(|server| listeners.have(server));
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        for server in own {
            if warned.insert(server.clone()) {
                tracing::warn!(
                    upstream = %server,
                    "upstream {server} is this server itself and is left out; name the resolvers to ask in `upstreams`, \
                     or a file that lists them in `resolv_conf` (in a container: the host's, mounted)"
                );
            }
        }
        others.into()
    }
}

impl Listeners {
    fn new(own: Vec<SocketAddr>) -> Listeners {
        let mut listeners = Listeners::default();
        for address in own {
            let scope = if let SocketAddr::V6(v6) = address { v6.scope_id() } else { 0 };
            listeners.add(address.ip(), address.port(), scope);
            if address.ip().is_unspecified() {
                listeners.wildcard_ports.push(address.port());
                for ip in host_addresses().filter(|ip| address.is_ipv6() || ip.is_ipv4()) {
                    listeners.add(ip, address.port(), 0);
                }
            }
        }
        listeners
    }

    fn add(&mut self, ip: IpAddr, port: u16, scope: u32) {
        self.exact.entry((ip.to_canonical(), port)).or_default().push(scope);
    }

    fn have(&self, server: &Upstream) -> bool {
        if server.dial().is_some() {
            // Asked from elsewhere, where the address is perhaps another host's.
            return false;
        }
        let address = server.address();
        let ip = address.reached();
        let Some(port) = address.port() else { return false };
        if ip.is_loopback() && self.wildcard_ports.contains(&port) {
            return true;
        }
        let Some(scopes) = self.exact.get(&(ip, port)) else { return false };
        match address.zone().and_then(|zone| zone_index(zone).ok()) {
            Some(zone) => scopes.iter().any(|&scope| scope == 0 || scope == zone),
            None => true,
        }
    }
}

/// The addresses of the host's interfaces.
fn host_addresses() -> impl Iterator<Item = IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    interfaces.filter_map(|interface| {
        let address = interface.address?;
        match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => Some(IpAddr::V4(v4.ip())),
            (_, Some(v6)) => Some(IpAddr::V6(v6.ip())),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(own: &[&str], upstream: &str) -> bool {
        let listeners = Listeners::new(own.iter().map(|text| text.parse().unwrap()).collect());
        listeners.have(&upstream.parse().unwrap())
    }

    #[test]
    fn f4_which_upstream_is_ourselves() {
        assert!(refused(&["127.0.0.1:53"], "127.0.0.1"));
        assert!(refused(&["127.0.0.1:53"], "0.0.0.0"));
        assert!(refused(&["[::1]:53"], "::"));
        assert!(refused(&["10.0.0.1:53"], "::ffff:10.0.0.1"));
        assert!(refused(&["0.0.0.0:53"], "127.0.0.53"));
        assert!(refused(&["[::]:53"], "127.0.0.1"));
        assert!(refused(&["[fe80::1%1]:53"], "fe80::1%1"));
        assert!(refused(&["[fe80::1%1]:53"], "fe80::1%lo"));
        assert!(!refused(&["[fe80::1%1]:53"], "fe80::1%2"));
        assert!(!refused(&["127.0.0.1:53"], "127.0.0.1:5300"));
        assert!(!refused(&["127.0.0.1:53"], "127.0.0.53"));
        assert!(!refused(&["0.0.0.0:53"], "192.0.2.1"));
    }
}
