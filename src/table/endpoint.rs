//! Endpoints: what a container, a pod or a machine is to a network's names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use smallvec::SmallVec;

use crate::wire::{Name, NameError};

use super::error::FirstError;
use super::{HostOrigin, Reach, TableError, Upstream};

/// The transport of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// `_tcp`.
    Tcp,
    /// `_udp`.
    Udp,
    /// `_sctp`.
    Sctp,
}

impl Protocol {
    /// The label that stands for it in a service's name (RFC 2782).
    pub fn label(self) -> &'static [u8] {
        match self {
            Protocol::Tcp => b"_tcp",
            Protocol::Udp => b"_udp",
            Protocol::Sctp => b"_sctp",
        }
    }
}

/// A port that an endpoint offers: `_name._protocol.n` and `_number._protocol.n` answer SRV (answers.md T4).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Port {
    name: Option<Box<str>>,
    number: u16,
    protocol: Protocol,
    published: Box<[SocketAddr]>,
}

impl Port {
    /// A port without a service name.
    pub fn new(number: u16, protocol: Protocol) -> Port {
        Port { name: None, number, protocol, published: Box::default() }
    }

    /// A port with a service name, such as `http`; it is lower-cased.
    pub fn named(name: &str, number: u16, protocol: Protocol) -> Port {
        Port { name: Some(name.to_ascii_lowercase().into()), ..Port::new(number, protocol) }
    }

    /// The same port, published by the host at these addresses and ports: where it is reached from outside the network. The
    /// unspecified address stands for all addresses of the host.
    #[must_use]
    pub fn published_at(mut self, published: impl IntoIterator<Item = SocketAddr>) -> Port {
        self.published = published.into_iter().collect();
        self
    }

    /// Where the host publishes it.
    pub fn published(&self) -> &[SocketAddr] {
        &self.published
    }

    /// The same, as the host itself reaches it: all addresses are its loopback address.
    pub(crate) fn reached(&self) -> impl Iterator<Item = SocketAddr> {
        self.published.iter().map(|socket| match socket.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => SocketAddr::from((Ipv4Addr::LOCALHOST, socket.port())),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => SocketAddr::from((Ipv6Addr::LOCALHOST, socket.port())),
            _ => *socket,
        })
    }

    /// The service name.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The port number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The transport.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// True if `service` (a label without its underscore, lower case) is this port's name or number.
    pub(crate) fn is(&self, service: &[u8]) -> bool {
        self.name.as_deref().is_some_and(|name| name.as_bytes() == service)
            || std::str::from_utf8(service)
                .is_ok_and(|text| text.parse() == Ok(self.number) && !text.starts_with(['0', '+']))
    }
}

/// What is known of an endpoint's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Health {
    /// Healthy, or not checked.
    #[default]
    Healthy,
    /// Marked unhealthy: left out while a healthy endpoint has the same name (answers.md N8).
    Unhealthy,
    /// Checked, but not healthy so far. It counts as unhealthy; where [`HealthPolicy::Require`](super::HealthPolicy) leaves
    /// it out, a question for its name can wait for it (answers.md N11).
    Starting,
}

/// Whether an endpoint runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum EndpointState {
    /// It runs.
    #[default]
    Up,
    /// It is about to run: created, starting or restarting. It does not answer, but a question for its name can wait for it
    /// (answers.md N11).
    Starting,
    /// It is stopped. Its names stay known (answers.md N7).
    Down,
}

/// One endpoint of one network: an id, its addresses there, and the names it is found by.
///
/// ```
/// use callsign::table::Endpoint;
///
/// let db = Endpoint::builder("shop-db-1").address("10.10.1.3").names(["db", "database"]).build()?;
/// assert_eq!(db.names()[0].to_string(), "db");
/// # Ok::<(), callsign::table::TableError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    id: Box<str>,
    addresses: Addresses,
    names: Names,
    /// `None` for what is usual, which is [`Extra::default`].
    extra: Option<Box<Extra>>,
}

/// Addresses; the one that nearly every endpoint has needs no memory of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Addresses {
    One(IpAddr),
    Any(Box<[IpAddr]>),
}

/// Names; one, or the two that Podman's containers have, the name and the short id, need no memory of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Names {
    One([Name; 1]),
    Two([Name; 2]),
    Any(Box<[Name]>),
}

impl From<SmallVec<[Name; 2]>> for Names {
    fn from(names: SmallVec<[Name; 2]>) -> Names {
        match names.into_inner() {
            Ok(two) => Names::Two(two),
            Err(mut names) if names.len() == 1 => Names::One([names.remove(0)]),
            Err(names) => Names::Any(names.into_vec().into()),
        }
    }
}

/// What few endpoints have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Extra {
    health: Health,
    state: EndpointState,
    ports: Box<[Port]>,
    priority: i32,
    upstreams: Arc<[Upstream]>,
    /// The id as a name as it is written, where [`Endpoint::id_name`] has it in A-labels.
    id_as_written: Option<Box<Name>>,
    project: Option<Name>,
    /// `None` for an endpoint of this host.
    origin: Option<Arc<HostOrigin>>,
    /// Its host is not reachable.
    lost: bool,
}

impl Default for Extra {
    fn default() -> Extra {
        Extra {
            health: Health::Healthy,
            state: EndpointState::Up,
            ports: Box::default(),
            priority: 0,
            upstreams: NO_UPSTREAMS.clone(),
            id_as_written: None,
            project: None,
            origin: None,
            lost: false,
        }
    }
}

static NO_UPSTREAMS: LazyLock<Arc<[Upstream]>> = LazyLock::new(Arc::default);

impl Endpoint {
    /// Starts an endpoint with the given id: what its runtime calls it, unique on its network.
    pub fn builder(id: impl Into<String>) -> EndpointBuilder {
        EndpointBuilder {
            endpoint: Endpoint {
                id: id.into().into(),
                addresses: Addresses::Any(Box::default()),
                names: Names::Any(Box::default()),
                extra: None,
            },
            extra: Extra::default(),
            addresses: SmallVec::new(),
            names: SmallVec::new(),
            ports: Vec::new(),
            upstreams: Vec::new(),
            error: FirstError::default(),
        }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its addresses on the network, each once.
    pub fn addresses(&self) -> &[IpAddr] {
        match &self.addresses {
            Addresses::One(address) => std::slice::from_ref(address),
            Addresses::Any(addresses) => addresses,
        }
    }

    /// Its names, each once, relative to the network; the first is the canonical one (answers.md T3).
    pub fn names(&self) -> &[Name] {
        match &self.names {
            Names::One(names) => names,
            Names::Two(names) => names,
            Names::Any(names) => names,
        }
    }

    /// The ports that it offers.
    pub fn ports(&self) -> &[Port] {
        self.extra.as_ref().map_or(&[], |extra| &extra.ports)
    }

    /// Its health.
    pub fn health(&self) -> Health {
        self.extra.as_ref().map_or(Health::Healthy, |extra| extra.health)
    }

    /// Whether it runs.
    pub fn state(&self) -> EndpointState {
        self.extra.as_ref().map_or(EndpointState::Up, |extra| extra.state)
    }

    /// False while it is known but does not run, or is on a host that is not reachable (answers.md N7, N8b).
    pub fn is_running(&self) -> bool {
        self.extra.as_ref().is_none_or(|extra| extra.state == EndpointState::Up && !extra.lost)
    }

    /// True if it runs, and there is a way to it: one that is reached at its host's addresses publishes a port there.
    pub(crate) fn answers(&self) -> bool {
        self.is_running() && !self.is_closed()
    }

    /// True if it is reached at its host's addresses only, and publishes no port there (answers.md N8b).
    pub(crate) fn is_closed(&self) -> bool {
        self.is_behind_host() && self.ports().iter().all(|port| port.published().is_empty())
    }

    /// The numbers by which one of its ports is reached at its addresses, each once: the port's own, or, at another host's
    /// addresses, those that it is published as (answers.md T4).
    pub(crate) fn numbers_of(&self, port: &Port) -> SmallVec<[u16; 2]> {
        if !self.is_behind_host() {
            return SmallVec::from_iter([port.number]);
        }
        let mut numbers: SmallVec<[u16; 2]> = port.published.iter().map(SocketAddr::port).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// True if its addresses are those of another host.
    pub(crate) fn is_behind_host(&self) -> bool {
        self.origin().is_some_and(|origin| origin.reach() == Reach::Host)
    }

    /// True if it is [down](EndpointState::Down), and not about to run.
    pub(crate) fn is_stopped(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.state == EndpointState::Down || extra.lost)
    }

    /// True if it may ask from its addresses: it is of this host, and not stopped (answers.md V2a, V7).
    pub(crate) fn may_ask(&self) -> bool {
        self.extra.as_ref().is_none_or(|extra| extra.state != EndpointState::Down && extra.origin.is_none())
    }

    /// The host that has published it, if that is another one than this (answers.md V7).
    pub fn origin(&self) -> Option<&Arc<HostOrigin>> {
        self.extra.as_ref()?.origin.as_ref()
    }

    /// True if another host has published it.
    pub fn is_remote(&self) -> bool {
        self.origin().is_some()
    }

    /// True if it is on a host that is not reachable (answers.md N8b).
    pub fn is_lost(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.lost)
    }

    /// The rank of this network among those that the endpoint is attached to; higher comes first (answers.md V1).
    pub fn priority(&self) -> i32 {
        self.extra.as_ref().map_or(0, |extra| extra.priority)
    }

    /// Its own upstreams; empty for the network's (answers.md F2).
    pub fn upstreams(&self) -> &Arc<[Upstream]> {
        self.extra.as_ref().map_or(&NO_UPSTREAMS, |extra| &extra.upstreams)
    }

    /// The Compose project that it is part of: in the host view its names that end in this one's need no network's name behind
    /// them (answers.md V6).
    pub fn project(&self) -> Option<&Name> {
        self.extra.as_ref()?.project.as_ref()
    }

    /// The same endpoint with another health.
    pub fn with_health(self, health: Health) -> Endpoint {
        self.with(|extra| extra.health = health)
    }

    /// The same endpoint, on a host that is not reachable, or is again; nothing comes of it for an endpoint of this host.
    pub fn with_lost(self, lost: bool) -> Endpoint {
        self.with(|extra| extra.lost = lost && extra.origin.is_some())
    }

    /// The same endpoint, up or down.
    pub fn with_running(self, running: bool) -> Endpoint {
        self.with_state(up_or_down(running))
    }

    /// The same endpoint in another state.
    pub fn with_state(self, state: EndpointState) -> Endpoint {
        self.with(|extra| extra.state = state)
    }

    fn with(mut self, change: impl FnOnce(&mut Extra)) -> Endpoint {
        let mut extra = self.extra.take().map_or_else(Extra::default, |extra| *extra);
        change(&mut extra);
        self.extra = (extra != Extra::default()).then(|| Box::new(extra));
        self
    }

    /// The id as a name: its first 12 characters if it is 64 hex digits, else all of it; `None` if that is no name
    /// (answers.md N1). A label has at most 63 octets, so 64 hex digits in full can never be asked for.
    /// One with letters outside ASCII is given in A-labels, if it has any (answers.md N12). That of another host's endpoint
    /// has the host's name behind it (answers.md T4).
    pub(crate) fn id_name(&self) -> Option<Name> {
        let (id, origin) = match self.origin() {
            Some(origin) => (self.id.split_once('/')?.1, Some(origin)),
            None => (&*self.id, None),
        };
        let is_hash = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let text = if is_hash { &id[..12] } else { id };
        let name: Name = text.parse().ok()?;
        let name = if text.is_ascii() { name } else { name.a_labels().ok().flatten().unwrap_or(name) };
        let name = Some(name).filter(|name| !name.is_wildcard())?;
        origin.map_or(Some(name.clone()), |origin| name.join(origin.host()).ok())
    }

    /// The id as a name as it is written, where that is another one than [`id_name`](Endpoint::id_name).
    pub(crate) fn id_as_written(&self) -> Option<&Name> {
        self.extra.as_ref()?.id_as_written.as_deref()
    }
}

fn up_or_down(running: bool) -> EndpointState {
    if running { EndpointState::Up } else { EndpointState::Down }
}

/// Collects an [`Endpoint`]; the first mistake is reported by [`build`](EndpointBuilder::build).
#[derive(Debug, Clone)]
pub struct EndpointBuilder {
    endpoint: Endpoint,
    extra: Extra,
    addresses: SmallVec<[IpAddr; 1]>,
    names: SmallVec<[Name; 2]>,
    ports: Vec<Port>,
    upstreams: Vec<Upstream>,
    error: FirstError,
}

impl EndpointBuilder {
    /// Adds an address, as text.
    pub fn address(mut self, address: &str) -> EndpointBuilder {
        match self.error.take(address.parse().map_err(|_| TableError::Ip(address.to_owned()))) {
            Some(ip) => self.ip(ip),
            None => self,
        }
    }

    /// Adds an address.
    pub fn ip(mut self, ip: IpAddr) -> EndpointBuilder {
        let is_broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
        if ip.is_unspecified() || ip.is_multicast() || is_broadcast {
            self.error.take::<()>(Err(TableError::NoHost(ip)));
        } else if !self.addresses.contains(&ip) {
            self.addresses.push(ip);
        }
        self
    }

    /// Adds a name. It may have dots, and its first label may be `*`. One with letters outside ASCII is found in A-labels,
    /// which come first, and as it is written (answers.md N12).
    pub fn name(mut self, name: impl AsRef<str>) -> EndpointBuilder {
        for name in self.error.take(relative_names(name.as_ref())).into_iter().flatten() {
            if !self.names.contains(&name) {
                self.names.push(name);
            }
        }
        self
    }

    /// Adds a name that [`relative_names`] has given.
    #[cfg(any(feature = "docker", feature = "podman"))]
    pub(crate) fn relative_name(mut self, name: Name) -> EndpointBuilder {
        if !self.names.contains(&name) {
            self.names.push(name);
        }
        self
    }

    /// Adds names.
    pub fn names(self, names: impl IntoIterator<Item = impl AsRef<str>>) -> EndpointBuilder {
        names.into_iter().fold(self, EndpointBuilder::name)
    }

    /// Adds a port.
    pub fn port(mut self, port: Port) -> EndpointBuilder {
        self.ports.push(port);
        self
    }

    /// Sets the health.
    pub fn health(mut self, health: Health) -> EndpointBuilder {
        self.extra.health = health;
        self
    }

    /// Says whether it is up or down; up unless said otherwise.
    pub fn running(self, running: bool) -> EndpointBuilder {
        self.state(up_or_down(running))
    }

    /// Sets the state; [`EndpointState::Up`] unless said otherwise.
    pub fn state(mut self, state: EndpointState) -> EndpointBuilder {
        self.extra.state = state;
        self
    }

    /// Sets the rank of this network among the endpoint's; 0 unless said otherwise.
    pub fn priority(mut self, priority: i32) -> EndpointBuilder {
        self.extra.priority = priority;
        self
    }

    /// Sets the Compose project that it is part of; see [`Endpoint::project`].
    pub fn project(mut self, project: &str) -> EndpointBuilder {
        if let Some(project) = self.error.take(project.parse::<Name>().map_err(TableError::from)) {
            self.extra.project = Some(project).filter(|project| !project.is_root());
        }
        self
    }

    /// Adds an upstream of the endpoint's own.
    pub fn upstream(mut self, upstream: &str) -> EndpointBuilder {
        if let Some(upstream) = self.error.take(upstream.parse::<Upstream>()) {
            self.upstreams.push(upstream);
        }
        self
    }

    /// Says that another host has published it. Its id gets the host's name in front, as in `host-b/3f2a9c`. The addresses, if
    /// they are the [host's](Reach::Host), and those that ports are [published at](Port::published_at) are to be that host's as
    /// this one reaches them; the unspecified address is none.
    pub fn origin(mut self, origin: Arc<HostOrigin>) -> EndpointBuilder {
        self.extra.origin = Some(origin);
        self
    }

    /// The endpoint.
    ///
    /// # Errors
    /// The first part that was not understood, [`TableError::NoId`], or [`TableError::RemoteId`].
    pub fn build(mut self) -> Result<Endpoint, TableError> {
        std::mem::take(&mut self.error).into_result()?;
        if self.endpoint.id.is_empty() {
            return Err(TableError::NoId);
        }
        if let Some(origin) = self.extra.origin.clone() {
            return self.build_remote(&origin);
        }
        self.put_together()
    }

    fn build_remote(mut self, origin: &HostOrigin) -> Result<Endpoint, TableError> {
        let id = std::mem::take(&mut self.endpoint.id);
        self.endpoint.id = format!("{}/{id}", origin.host()).into();
        let is_reached = |socket: &SocketAddr| !socket.ip().is_unspecified() && !socket.ip().is_loopback();
        for port in &mut self.ports {
            port.published = port.published.iter().copied().filter(is_reached).collect();
        }
        let endpoint = self.put_together()?;
        match endpoint.id_name() {
            Some(_) => Ok(endpoint),
            None => Err(TableError::RemoteId { host: origin.host().to_string(), id: id.into() }),
        }
    }

    fn put_together(self) -> Result<Endpoint, TableError> {
        let addresses = match self.addresses[..] {
            [address] => Addresses::One(address),
            _ => Addresses::Any(self.addresses.into_vec().into()),
        };
        let mut endpoint = self.endpoint;
        endpoint.addresses = addresses;
        endpoint.names = self.names.into();
        let written = if endpoint.id.is_ascii() { None } else { endpoint.id.parse::<Name>().ok() };
        let id_as_written = written.filter(|name| endpoint.id_name().is_some_and(|id| id != *name)).map(Box::new);
        Ok(endpoint.with(|extra| {
            *extra = Extra { ports: self.ports.into(), id_as_written, ..self.extra };
            if !self.upstreams.is_empty() {
                extra.upstreams = self.upstreams.into();
            }
        }))
    }
}

/// A name as people write it, in the spellings by which it is found: as it stands; and if it has letters outside ASCII in
/// A-labels before that (answers.md N12).
pub(crate) fn spellings(text: &str) -> Result<SmallVec<[Name; 2]>, NameError> {
    let name: Name = text.parse()?;
    let a_labels = if text.is_ascii() { None } else { name.a_labels()? };
    Ok(a_labels.into_iter().chain([name]).collect())
}

/// The [`spellings`] of a name of an endpoint, an alias or a record: any name but the root and a lone `*`.
pub(crate) fn relative_names(text: &str) -> Result<SmallVec<[Name; 2]>, TableError> {
    let names = spellings(text)?;
    for name in &names {
        match name.labels().count() {
            0 => return Err(NameError::EmptyLabel(text.to_owned()).into()),
            1 if name.is_wildcard() => return Err(TableError::LoneWildcard),
            _ => {}
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n1_the_id_is_a_name() {
        let id_name = |id: &str| Endpoint::builder(id).build().unwrap().id_name().map(|name| name.to_string());
        assert_eq!(id_name("Shop-db-1").as_deref(), Some("shop-db-1"));
        assert_eq!(id_name(&"3F2a9c".repeat(11)[..64]).as_deref(), Some("3f2a9c3f2a9c"));
        assert_eq!(id_name(&"x".repeat(64)), None);
    }

    #[test]
    fn n12_spellings_of_names_and_ids() {
        let build = |id: &str, name: &str| Endpoint::builder(id).name(name).build();
        let endpoint = build("Größe", "Bücher").unwrap();
        let names: Vec<&Name> = endpoint.names().iter().collect();
        assert_eq!(names, [&"xn--bcher-kva".parse().unwrap(), &"bücher".parse().unwrap()]);
        assert_eq!(endpoint.id_name(), "xn--gre-6ka8i".parse().ok());
        assert_eq!(endpoint.id_as_written(), "größe".parse().ok().as_ref());
        assert_eq!(endpoint.clone().with_running(false).id_as_written(), "größe".parse().ok().as_ref());
        // An id need not be a name.
        assert_eq!(build("\u{e000}", "web").unwrap().id_name(), "\u{e000}".parse().ok());
        let error = build("id", "\u{e000}").unwrap_err().to_string();
        assert!(error.contains("has no A-labels"), "{error}");
        assert_eq!(build("id", "＊"), Err(TableError::LoneWildcard), "the full-width asterisk");
    }

    #[test]
    fn the_first_mistake_is_reported() {
        let error = Endpoint::builder("a").address("172.18.0.300").name("a..b").build().unwrap_err();
        assert_eq!(error.to_string(), "\"172.18.0.300\" is not an IP address; write 172.18.0.2 or fd00::2");
        assert_eq!(Endpoint::builder("").build(), Err(TableError::NoId));
        assert_eq!(Endpoint::builder("a").name("*").build(), Err(TableError::LoneWildcard));
        assert!(Endpoint::builder("a").address("0.0.0.0").build().is_err());
    }
}
