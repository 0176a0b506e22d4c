//! Who asks, and where.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use ipnet::IpNet;

use crate::table::{Network, Snapshot};

use super::host::HostView;

/// Where a network's clients send their queries: a socket's address, and the network that it serves.
#[derive(Debug)]
pub struct Listener {
    network: Arc<Network>,
    address: SocketAddr,
    neighbours: ArcSwap<Vec<IpNet>>,
    interfaces: ArcSwap<Vec<u32>>,
    host: HostAddresses,
    endpoint: Option<Box<str>>,
    view: Option<Arc<HostView>>,
}

/// The host's own addresses, which may ask at each of its listeners (answers.md V4). Clones are the same list: with an
/// interface for each of hundreds of networks, a list for each listener would be hundreds of thousands of addresses.
#[derive(Debug, Clone, Default)]
pub struct HostAddresses(Arc<ArcSwap<Vec<IpAddr>>>);

impl HostAddresses {
    /// Replaces the addresses, for all listeners that have a clone.
    pub fn set(&self, mut addresses: Vec<IpAddr>) {
        addresses.sort_unstable();
        addresses.dedup();
        addresses.shrink_to_fit();
        if **self.0.load() != addresses {
            self.0.store(Arc::new(addresses));
        }
    }

    /// True if the host has the address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.load().binary_search(&ip).is_ok()
    }
}

impl Listener {
    /// A listener of `network` at `address`.
    pub fn new(network: Arc<Network>, address: SocketAddr) -> Listener {
        Listener {
            network,
            address,
            neighbours: ArcSwap::default(),
            interfaces: ArcSwap::default(),
            host: HostAddresses::default(),
            endpoint: None,
            view: None,
        }
    }

    /// The same listener, for one endpoint alone: whatever its source address, a query counts as that endpoint's. For
    /// a socket inside a container's own network namespace, as Docker's at 127.0.0.11. While the network has no endpoint of
    /// this id, everybody is refused.
    pub fn of_endpoint(mut self, id: impl Into<Box<str>>) -> Listener {
        self.endpoint = Some(id.into());
        self
    }

    /// The id of the endpoint that it is for, if it is for one alone.
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// The same listener, where the host view is answered.
    pub(super) fn with_view(mut self, view: Arc<HostView>) -> Listener {
        self.view = Some(view);
        self
    }

    /// The host view, if that is what is answered here.
    pub fn host_view(&self) -> Option<&Arc<HostView>> {
        self.view.as_ref()
    }

    /// The same listener on a host with these addresses.
    pub fn with_host_addresses(mut self, host: HostAddresses) -> Listener {
        self.host = host;
        self
    }

    /// The same listener at another address: who is a neighbour there is not known yet.
    #[must_use]
    pub fn moved_to(&self, address: SocketAddr) -> Listener {
        Listener {
            endpoint: self.endpoint.clone(),
            view: self.view.clone(),
            ..Listener::new(self.network.clone(), address)
        }
    }

    /// The network whose names are answered here.
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// The address and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets who may ask besides the network's subnets and endpoints and the host, where the network has no list of its own:
    /// the subnet of the interface that carries the address (answers.md V4).
    pub fn set_neighbours(&self, neighbours: Vec<IpNet>) {
        if **self.neighbours.load() != neighbours {
            self.neighbours.store(Arc::new(neighbours));
        }
    }

    /// Sets the indices of the interfaces that carry the address: link-local clients may ask over these alone (answers.md
    /// V3a).
    pub fn set_interfaces(&self, interfaces: Vec<u32>) {
        if **self.interfaces.load() != interfaces {
            self.interfaces.store(Arc::new(interfaces));
        }
    }

    pub(super) fn is_host(&self, ip: IpAddr) -> bool {
        self.host.contains(ip)
    }

    pub(super) fn is_neighbour(&self, ip: IpAddr) -> bool {
        self.is_host(ip) || self.is_in_subnet(ip)
    }

    fn is_in_subnet(&self, ip: IpAddr) -> bool {
        self.neighbours.load().iter().any(|subnet| subnet.contains(&ip))
    }

    /// True if a link-local source came in over the interface that carries the address. That of IPv6 says so by its scope. A
    /// datagram over IPv4 does not; but the reply to one in the interface's subnet leaves by that interface.
    pub(super) fn is_on_link(&self, source: SocketAddr) -> bool {
        let ip = source.ip().to_canonical();
        match source {
            SocketAddr::V6(source) if ip.is_ipv6() => {
                let scope = source.scope_id();
                let is_own = matches!(self.address, SocketAddr::V6(own) if own.scope_id() == scope);
                scope != 0 && (is_own || self.interfaces.load().contains(&scope))
            }
            _ => self.is_in_subnet(ip),
        }
    }
}

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientTransport {
    /// In a datagram.
    Udp,
    /// Over a connection that is closed when it was idle for so long, in units of 100 ms (RFC 7828).
    Tcp {
        /// The idle timeout, in units of 100 ms.
        idle: u16,
    },
}

/// The sender of one query.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Client<'l> {
    /// Where the query arrived.
    pub listener: &'l Listener,
    /// Where it came from.
    pub source: SocketAddr,
    /// How it came.
    pub transport: ClientTransport,
    /// The time, in seconds since 1970, modulo 2^32. Only cookies look at it.
    pub now: u32,
    /// The listener's network at one moment, if the caller has loaded it; see [`Client::with_snapshot`].
    pub(super) snapshot: Option<&'l Snapshot>,
    /// Its question may wait; see [`Client::without_hold`].
    pub(super) hold: bool,
}

impl<'l> Client<'l> {
    /// A client that asks over UDP.
    pub fn udp(listener: &'l Listener, source: SocketAddr) -> Client<'l> {
        Client { listener, source, transport: ClientTransport::Udp, now: 0, snapshot: None, hold: true }
    }

    /// A client that asks over TCP; `idle` is the connection's idle timeout in units of 100 ms.
    pub fn tcp(listener: &'l Listener, source: SocketAddr, idle: u16) -> Client<'l> {
        Client { listener, source, transport: ClientTransport::Tcp { idle }, now: 0, snapshot: None, hold: true }
    }

    /// The same client at the given time, in seconds since 1970, modulo 2^32.
    pub fn with_time(mut self, now: u32) -> Client<'l> {
        self.now = now;
        self
    }

    /// The same client, which has waited long enough: its question is answered from the table as it is, and not by
    /// [`Verdict::Hold`](super::Verdict::Hold) (answers.md N11).
    pub fn without_hold(mut self) -> Client<'l> {
        self.hold = false;
        self
    }

    /// The same client, seeing the listener's network as it is in `snapshot`: a batch of queries that was received before
    /// it was loaded can share it (answers.md T7). Without one, each query loads its own.
    pub fn with_snapshot(mut self, snapshot: &'l Snapshot) -> Client<'l> {
        self.snapshot = Some(snapshot);
        self
    }

    /// The client's address; IPv4 in IPv6 form is taken as IPv4.
    pub fn ip(&self) -> IpAddr {
        self.source.ip().to_canonical()
    }

    pub(super) fn is_tcp(&self) -> bool {
        matches!(self.transport, ClientTransport::Tcp { .. })
    }
}
