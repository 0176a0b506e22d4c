//! `[[network]]`: what is said of a network as a whole. One that has neither listeners nor subnets nor endpoints is no
//! network by itself: it adds to the network of that name that Docker has.

use std::net::IpAddr;

use toml::de::DeTable;

use crate::settings::Address;
use crate::table::{Network, NetworkBuilder};

use super::duplicate_check::DuplicateCheck;
use super::endpoint::Placed;
use super::error::Problem;
use super::lint::Servers;
use super::policy::{self, NetworkPolicies};
use super::schema::NETWORK;
use super::section::Section;
use super::split::Block;
use super::{Config, endpoint};

/// A section that has none of these adds to a network of Docker's.
const OF_A_NETWORK: [&str; 3] = ["listen", "subnets", "endpoint"];

/// What must differ between the networks of a file.
pub(super) struct Neighbours {
    port: u16,
    names: DuplicateCheck<String>,
    listeners: DuplicateCheck<Address>,
}

impl Neighbours {
    /// No networks as yet; listen addresses without a port have this one, and the listeners are those of other sections.
    fn new(port: u16, listeners: DuplicateCheck<Address>) -> Neighbours {
        Neighbours { port, names: DuplicateCheck::default(), listeners }
    }
}

/// All networks, and what is added to Docker's; `listeners` are those of other sections, `endpoints` are blocks that were split off, by network. `None` if one of them
/// cannot be read by itself.
pub(super) fn read(
    root: &Section<'_>,
    endpoints: &[Vec<Block<'_>>],
    listeners: DuplicateCheck<Address>,
    servers: &mut Servers,
    config: &mut Config,
) -> Option<()> {
    let mut neighbours = Neighbours::new(config.server.port, listeners);
    let sections = root.tables("network", &NETWORK);
    if !endpoints.is_empty() && sections.len() != endpoints.len() {
        return None;
    }
    let mut additions = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        let blocks = endpoints.get(index).map_or(&[][..], Vec::as_slice);
        if !blocks.is_empty() && section.value("endpoint").is_some() {
            return None;
        }
        if blocks.is_empty() && is_addition(section.raw()) {
            additions.extend(policy::read(section, &mut neighbours.names, "Docker"));
            config.warnings_without_docker.push(unused(section));
            continue;
        }
        let endpoints = endpoint::read(section, blocks, servers)?;
        config.networks.extend(network(section, endpoints, &mut neighbours));
    }
    config.additions = NetworkPolicies::new(additions);
    Some(())
}

/// True of a section that adds to a network of Docker's, and is none itself.
pub(super) fn is_addition(table: &DeTable<'_>) -> bool {
    !OF_A_NETWORK.iter().any(|key| table.contains_key(*key))
}

/// What to say of an addition where Docker is not followed.
fn unused(section: &Section<'_>) -> Problem {
    let message = format!(
        "nobody can ask this network, as it listens nowhere; write {}, or [docker] if it adds to a network of Docker's",
        section.example("listen")
    );
    section.note(section.at(), message)
}

fn network(section: &Section<'_>, endpoints: Vec<Placed>, neighbours: &mut Neighbours) -> Option<Network> {
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
    builder = policy::steps(section).iter().fold(builder, |builder, step| step(builder));
    let mut addresses = Vec::new();
    for (endpoint, placed) in endpoints {
        builder = builder.endpoint(endpoint);
        addresses.extend(placed);
    }
    let name = name.filter(|name| !name.get_ref().is_empty())?;
    // What is wrong with a part was told at its own place, and the part left out.
    let network = section.check("name", &name.span(), builder.build())?;
    warn_of_strays(section, &network, &addresses);
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

/// An address outside the network's subnets is served, and its reverse name too; mostly it is a slip of the pen.
fn warn_of_strays(section: &Section<'_>, network: &Network, addresses: &[(IpAddr, usize)]) {
    let snapshot = network.snapshot();
    let subnets = &snapshot.settings().subnets;
    for &(ip, line) in addresses {
        let mut of_family = subnets.iter().filter(|subnet| subnet.addr().is_ipv4() == ip.is_ipv4()).peekable();
        if of_family.peek().is_some() && !of_family.any(|subnet| subnet.contains(&ip)) {
            let message = format!("{ip} is in none of the subnets of {:?}; is it another network's?", network.name());
            section.warning_in(line, message);
        }
    }
}
