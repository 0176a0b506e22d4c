//! `[[network]]`: what is said of a network as a whole. One that has neither listeners nor subnets nor endpoints is no
//! network by itself: it adds to the network of that name that Docker has.

use toml::Spanned;

use crate::table::{Address, Network, NetworkBuilder};

use super::error::Problem;
use super::policy::{self, NetworkPolicies};
use super::section::Section;
use super::shape::NETWORK;
use super::unique::Unique;
use super::{Config, endpoint};

/// A section that has none of these adds to a network of Docker's.
const OF_A_NETWORK: [&str; 3] = ["listen", "subnets", "endpoint"];

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

/// All networks, and what is added to Docker's.
pub(super) fn read(root: &Section<'_>, config: &mut Config) {
    let mut neighbours = Neighbours::new(config.server.port);
    let mut additions = Vec::new();
    for section in root.tables("network", &NETWORK) {
        if OF_A_NETWORK.iter().any(|key| section.value(key).is_some()) {
            config.networks.extend(network(&section, &mut neighbours));
        } else {
            additions.extend(policy::read(&section, &mut neighbours.names, "Docker"));
            config.warnings_without_docker.push(unused(&section));
        }
    }
    config.additions = NetworkPolicies(additions);
}

/// What to say of an addition where Docker is not followed.
fn unused(section: &Section<'_>) -> Problem {
    let message = format!(
        "nobody can ask this network, as it listens nowhere; write {}, or [docker] if it adds to a network of Docker's",
        section.example("listen")
    );
    section.note(section.at(), message)
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
    builder = policy::steps(section).iter().fold(builder, |builder, step| step(builder));
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
