//! `[[network]]`: what is said of a network as a whole.

use toml::Spanned;

use crate::table::{Address, Clients, HealthPolicy, Merge, Network, NetworkBuilder, ReverseNames};

use super::section::Section;
use super::shape::NETWORK;
use super::unique::Unique;
use super::{endpoint, record};

/// What must differ between the networks of a file.
pub(super) struct Neighbours {
    port: u16,
    names: Unique<String>,
    listeners: Unique<Address>,
}

impl Neighbours {
    /// No networks as yet; listen addresses without a port have this one.
    pub(super) fn new(port: u16) -> Neighbours {
        Neighbours { port, names: Unique::default(), listeners: Unique::default() }
    }
}

/// All networks.
pub(super) fn read(root: &Section<'_>, port: u16) -> Vec<Network> {
    let mut neighbours = Neighbours::new(port);
    root.tables("network", &NETWORK).iter().filter_map(|section| network(section, &mut neighbours)).collect()
}

fn network(section: &Section<'_>, neighbours: &mut Neighbours) -> Option<Network> {
    let name = section.required("name");
    let mut builder = Network::builder(name.as_ref().map_or("", |name| name.get_ref()));
    match &name {
        Some(name) if name.get_ref().is_empty() => {
            section.problem(&name.span(), format!("a network needs a name; write {}", section.example("name")));
        }
        Some(name) => {
            let line = section.line(&name.span());
            if let Err(known) = neighbours.names.add((*name.get_ref()).to_owned(), line) {
                let name_text = name.get_ref();
                let message = format!("there is a network {name_text:?} already (line {known}); write another name");
                section.problem(&name.span(), message);
            }
        }
        None => {}
    }
    builder = listen(section, builder, neighbours);
    builder = texts(section, builder);
    builder = policies(section, builder);
    for record in record::read(section) {
        builder = builder.record(record);
    }
    let endpoints = endpoint::read(section);
    for (endpoint, _) in &endpoints {
        builder = builder.endpoint(endpoint.clone());
    }
    let name = name.filter(|name| !name.get_ref().is_empty())?;
    // What is wrong with a part was told at its own place, and the part left out.
    let network = section.check("name", &name.span(), builder.build())?;
    let addresses = endpoints.iter().flat_map(|(_, addresses)| addresses);
    warn_of_strays(section, &network, addresses);
    Some(network)
}

fn listen(section: &Section<'_>, mut builder: NetworkBuilder, neighbours: &mut Neighbours) -> NetworkBuilder {
    let addresses = section.list("listen", str::parse::<Address>);
    for address in &addresses {
        let port = address.get_ref().port().unwrap_or(neighbours.port);
        let whole = address.get_ref().clone().with_port(port);
        if whole.ip().is_unspecified() || whole.ip().is_multicast() {
            // One socket for each gateway address: the kernel sends each reply from the address that was asked.
            let message = format!("{} is no gateway's address; write each one that containers ask", whole.ip());
            section.problem(&address.span(), message);
            continue;
        }
        if let Err(known) = neighbours.listeners.add(whole.clone(), section.line(&address.span())) {
            let message = format!("{whole} is listened on already (line {known}); write another address or port");
            section.problem(&address.span(), message);
        }
        // With its port, so that another port at a reload is another listener.
        builder = builder.listen(&whole.to_string());
    }
    if addresses.is_empty() {
        let message =
            format!("nobody can ask this network, as it listens nowhere; write {}", section.example("listen"));
        section.warning(section.at(), message);
    }
    builder
}

/// A way in which the table reads one text of a list.
type Add = fn(NetworkBuilder, &str) -> NetworkBuilder;

/// The keys whose values are lists of texts.
fn texts(section: &Section<'_>, mut builder: NetworkBuilder) -> NetworkBuilder {
    let lists: [(&str, Add); 5] = [
        ("subnets", |builder, text| builder.subnet(text)),
        ("gateways", |builder, text| builder.gateway(text)),
        ("domains", |builder, text| builder.domain(text)),
        ("allow", |builder, text| builder.allow(text)),
        ("upstreams", |builder, text| builder.upstream(text)),
    ];
    for (key, add) in lists {
        for text in section.list_of_some(key, "leave it out for the default", |text| alone(text, add)) {
            builder = add(builder, text.get_ref());
        }
    }
    if section.value("host_names").is_some() {
        // None at all turns them off (answers.md N10).
        let names = section.list("host_names", |text| alone(text, |builder, name| builder.host_names([name])));
        builder = builder.host_names(names.iter().map(Spanned::get_ref));
    }
    builder
}

/// The table's own reading of one text, alone, so that its error belongs to the text's line.
fn alone(text: &str, add: Add) -> Result<String, crate::table::TableError> {
    add(Network::builder("alone"), text).build().map(|_| text.to_owned())
}

fn policies(section: &Section<'_>, mut builder: NetworkBuilder) -> NetworkBuilder {
    if let Some(internal) = section.flag("internal") {
        builder = builder.internal(internal);
    }
    if let Some(ttl) = section.ttl("ttl") {
        builder = builder.ttl(ttl);
    }
    if let Some(ttl) = section.ttl("negative_ttl") {
        builder = builder.negative_ttl(ttl);
    }
    if let Some(clients) = section.choice("clients", &[("listener", Clients::Listener), ("table", Clients::Table)]) {
        builder = builder.clients(clients);
    }
    if let Some(merge) = section.choice("merge", &[("nearest", Merge::Nearest), ("all", Merge::All)]) {
        builder = builder.merge(merge);
    }
    let names = [("canonical", ReverseNames::Canonical), ("all", ReverseNames::All)];
    if let Some(names) = section.choice("ptr", &names) {
        builder = builder.reverse_names(names);
    }
    let policies =
        [("prefer", HealthPolicy::Prefer), ("ignore", HealthPolicy::Ignore), ("require", HealthPolicy::Require)];
    if let Some(policy) = section.choice("health", &policies) {
        builder = builder.health(policy);
    }
    builder
}

/// An address outside the network's subnets is served, and its reverse name too; mostly it is a slip of the pen.
fn warn_of_strays<'a>(
    section: &Section<'_>,
    network: &Network,
    addresses: impl Iterator<Item = &'a Spanned<std::net::IpAddr>>,
) {
    let snapshot = network.snapshot();
    let subnets = &snapshot.settings().subnets;
    for address in addresses {
        let ip = *address.get_ref();
        let mut of_family = subnets.iter().filter(|subnet| subnet.addr().is_ipv4() == ip.is_ipv4()).peekable();
        if of_family.peek().is_some() && !of_family.any(|subnet| subnet.contains(&ip)) {
            let message = format!("{ip} is in none of the subnets of {:?}; is it another network's?", network.name());
            section.warning(&address.span(), message);
        }
    }
}
