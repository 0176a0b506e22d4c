//! `[[network.endpoint]]`.

use std::net::{IpAddr, SocketAddr};

use toml::Spanned;
use toml::de::DeTable;

use crate::table::{Address, Endpoint, EndpointBuilder, EndpointState, Health, Port, Protocol, TableError};

use super::duplicate_check::DuplicateCheck;
use super::lint::{self, Servers};
use super::schema::{ENDPOINT, PORT};
use super::section::Section;
use super::split::Block;

/// The longest service name: a label has at most 63 octets, and one is its underscore.
const MAX_SERVICE: usize = 62;

/// An endpoint, and each of its addresses with its line.
pub(super) type Placed = (Endpoint, Vec<(IpAddr, usize)>);

/// The endpoints of a network: those of its own text, and of blocks that were split off. `None` if a block cannot be read by
/// itself.
pub(super) fn read(network: &Section<'_>, blocks: &[Block<'_>], servers: &mut Servers) -> Option<Vec<Placed>> {
    let mut ids = DuplicateCheck::default();
    let mut holders = DuplicateCheck::default();
    let mut endpoints = Vec::new();
    let mut take = |section: &Section<'_>| {
        lint::endpoint(section, servers);
        endpoints.extend(endpoint(section, &mut ids, &mut holders));
    };
    network.tables("endpoint", &ENDPOINT).iter().for_each(&mut take);
    for block in blocks {
        let text = network.text().piece(block.text, block.line);
        let (document, errors) = DeTable::parse_recoverable(block.text);
        // `[[network.endpoint]]`, alone: a list with one table in a table.
        let found = document.get_ref().get("network").and_then(|network| network.get_ref().as_table()?.get("endpoint"));
        let item = found.and_then(|found| found.get_ref().as_array()?.first());
        let (Some(item), true) = (item, errors.is_empty()) else { return None };
        take(&Section::of_item(&text, &ENDPOINT, item)?);
    }
    Some(endpoints)
}

fn endpoint(
    section: &Section<'_>,
    ids: &mut DuplicateCheck<String>,
    holders: &mut DuplicateCheck<IpAddr>,
) -> Option<Placed> {
    let id = section.required("id");
    let mut builder = Endpoint::builder(id.as_ref().map_or("", |id| id.get_ref()));
    if let Some(id) = &id
        && let Err(known) = ids.add((*id.get_ref()).to_owned(), section.line(&id.span()))
    {
        let message = format!("there is an endpoint {:?} already (line {known}); write another id", id.get_ref());
        section.problem(&id.span(), message);
    }
    let addresses = addresses(section, holders);
    for address in &addresses {
        builder = builder.ip(*address.get_ref());
    }
    let names = section.list("names", |text| alone(text, |builder, name| builder.name(name)));
    builder = builder.names(names.iter().map(Spanned::get_ref));
    for upstream in section.list("upstreams", |text| alone(text, |builder, upstream| builder.upstream(upstream))) {
        builder = builder.upstream(upstream.get_ref());
    }
    for port in section.tables("ports", &PORT).iter().filter_map(port) {
        builder = builder.port(port);
    }
    builder = state(section, builder);
    let id = id?;
    // What is wrong with a part was told at its own place, and the part left out.
    let addresses = addresses.iter().map(|address| (*address.get_ref(), section.line(&address.span()))).collect();
    Some((section.check("id", &id.span(), builder.build())?, addresses))
}

/// The addresses, each of which no endpoint has had before.
fn addresses(section: &Section<'_>, holders: &mut DuplicateCheck<IpAddr>) -> Vec<Spanned<IpAddr>> {
    let read = |text: &str| {
        let endpoint = Endpoint::builder("alone").address(text).build()?;
        endpoint.addresses().first().copied().ok_or_else(|| TableError::Ip(text.to_owned()))
    };
    let addresses = section.list("addresses", read);
    for address in &addresses {
        let ip = *address.get_ref();
        if let Err(known) = holders.add(ip, section.line(&address.span())) {
            let message = format!("{ip} is an endpoint's address already (line {known}); write another address");
            section.problem(&address.span(), message);
        }
    }
    addresses
}

/// The table's own reading of one text, alone, so that its error belongs to the text's line.
fn alone(text: &str, add: fn(EndpointBuilder, &str) -> EndpointBuilder) -> Result<String, TableError> {
    add(Endpoint::builder("alone"), text).build().map(|_| text.to_owned())
}

fn state(section: &Section<'_>, mut builder: EndpointBuilder) -> EndpointBuilder {
    let healths = [("healthy", Health::Healthy), ("unhealthy", Health::Unhealthy), ("starting", Health::Starting)];
    if let Some(health) = section.choice("health", &healths) {
        builder = builder.health(health);
    }
    let states = [("up", EndpointState::Up), ("starting", EndpointState::Starting), ("down", EndpointState::Down)];
    if let Some(state) = section.choice("state", &states) {
        builder = builder.state(state);
    }
    if let Some(priority) = section.number("priority") {
        builder = builder.priority(priority as i32);
    }
    builder
}

/// Where the host publishes a port: an address with a port.
fn published(text: &str) -> Result<SocketAddr, TableError> {
    let address: Address = text.parse()?;
    match address.port() {
        Some(port) if address.zone().is_none() => Ok(SocketAddr::new(address.ip(), port)),
        _ => Err(TableError::Published(text.to_owned())),
    }
}

fn port(section: &Section<'_>) -> Option<Port> {
    if section.value("port").is_none() {
        section.problem(section.at(), format!("this port has no number; write {}", section.example("port")));
    }
    let number = section.number("port");
    let protocols = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp), ("sctp", Protocol::Sctp)];
    let protocol = section.choice("protocol", &protocols).unwrap_or(Protocol::Tcp);
    let name = section.string("name");
    if let Some(name) = &name {
        let text = name.get_ref();
        if text.is_empty() || text.len() > MAX_SERVICE || text.contains('.') || text.starts_with('_') {
            let message = format!(
                "{text:?} is not a service's name; write {}, up to {MAX_SERVICE} octets without a dot, and no _ in front",
                section.example("name")
            );
            section.problem(&name.span(), message);
        }
    }
    let published = section.list("published", published);
    let number = number? as u16;
    let port = match name {
        Some(name) => Port::named(name.get_ref(), number, protocol),
        None => Port::new(number, protocol),
    };
    Some(port.published_at(published.into_iter().map(Spanned::into_inner)))
}
