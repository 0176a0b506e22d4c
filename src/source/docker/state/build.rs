//! What the table is to have: networks and endpoints made of what is known.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::settings::Address;
use crate::source::docker::names::{Attachment, Condition, Container};
use crate::source::docker::network::Network;
use crate::source::docker::{pattern, swarm};
use crate::table::{Clients, Endpoint, EndpointState, NetworkBuilder};
use crate::wire::Name;

use super::{Kind, KnownNetwork, State};

/// What the name of an internal network's endpoints loses of its priority: Docker's resolver searches these last.
const INTERNAL_LAST: i32 = i32::MIN / 2;
/// What is left of Docker's own priorities, so that they stay apart from these.
const MAX_PRIORITY: i32 = i32::MAX / 4;

/// What is to be done to the table.
#[derive(Debug, Default)]
pub(in crate::source::docker) struct Delta {
    /// Networks that are new, or have other settings: each with its name and its endpoints.
    pub(in crate::source::docker) networks: Vec<(String, NetworkBuilder)>,
    /// Of other networks: the name, the endpoint's id, and the endpoint if it is there.
    pub(in crate::source::docker) endpoints: BTreeMap<String, Vec<(String, Option<Endpoint>)>>,
    /// Names of networks that are gone.
    pub(in crate::source::docker) removed: Vec<String>,
    /// What a person should know.
    pub(in crate::source::docker) notices: Vec<String>,
}

impl State {
    /// True if there is something to do to the table.
    pub(in crate::source::docker) fn has_changes(&self) -> bool {
        !self.changed_networks.is_empty()
            || !self.changed_endpoints.is_empty()
            || !self.removed.is_empty()
            || !self.notices.is_empty()
    }

    /// What has changed since this was last called.
    pub(in crate::source::docker) fn take_delta(&mut self) -> Delta {
        let changed_networks = std::mem::take(&mut self.changed_networks);
        let changed_endpoints = std::mem::take(&mut self.changed_endpoints);
        changed_networks.iter().for_each(|id| self.note_taken_addresses(id));
        let mut delta = Delta {
            removed: std::mem::take(&mut self.removed),
            notices: std::mem::take(&mut self.notices),
            ..Delta::default()
        };
        let members = self.members(&changed_networks);
        for id in &changed_networks {
            if let Some((name, builder)) = self.build(id, members.get(id.as_str()).map_or(&[], Vec::as_slice)) {
                delta.networks.push((name, builder));
            }
        }
        for (network, container) in changed_endpoints.iter().filter(|(network, _)| !changed_networks.contains(network))
        {
            let Some(known) = self.networks.get(network) else { continue };
            if let Some(name) = &known.served_as {
                let endpoint = self.endpoint(known, container);
                delta.endpoints.entry(name.clone()).or_default().push((container.clone(), endpoint));
            }
        }
        delta
    }

    /// The network that is called so in the table, whole.
    pub(in crate::source::docker) fn whole(&self, name: &str) -> Option<NetworkBuilder> {
        let (id, _) = self.networks.iter().find(|(_, known)| known.served_as.as_deref() == Some(name))?;
        let members = self.members(&BTreeSet::from([id.clone()]));
        Some(self.build(id, members.get(id.as_str()).map_or(&[], Vec::as_slice))?.1)
    }

    /// The containers of each of these networks.
    fn members(&self, networks: &BTreeSet<String>) -> BTreeMap<&str, Vec<&str>> {
        let mut members: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        if networks.is_empty() {
            return members;
        }
        for (id, known) in &self.containers {
            for network in known.container.attachments.iter().filter_map(|at| self.resolve(at)) {
                if networks.contains(network) {
                    members.entry(network).or_default().push(id);
                }
            }
        }
        members
    }

    fn build(&self, id: &str, members: &[&str]) -> Option<(String, NetworkBuilder)> {
        let known = self.networks.get(id)?;
        let name = known.served_as.clone()?;
        let network = &known.network;
        let clients = if network.kind == Kind::Identity { Clients::Identify } else { Clients::Table };
        let mut builder = crate::table::Network::builder(&name).clients(clients).internal(network.internal);
        builder = builder.spans_hosts(network.kind == Kind::Overlay);
        // The subnet of a network that does not reach the host may be the LAN's, whose machines are no strangers of it.
        for subnet in network.subnets.iter().filter(|_| network.kind != Kind::Unreachable) {
            builder = builder.subnet(&subnet.to_string());
        }
        let gateways = network.gateways();
        for gateway in &gateways {
            builder = builder.gateway(&gateway.to_string());
        }
        for address in self.listen(network, &gateways).iter().filter(|address| self.taken_by(address).is_none()) {
            builder = builder.listen(&address.to_string());
        }
        if self.is_served(network) {
            if let Some(domain) = &self.serving.domain {
                builder = builder.domain(domain);
            }
            if let Some(hold) = network.hold.or(self.serving.hold) {
                builder = builder.hold(hold);
            }
            let local = members.iter().filter_map(|container| self.endpoint(known, container));
            builder = local.fold(builder, NetworkBuilder::endpoint);
            if network.kind == Kind::Overlay {
                let is_local = |endpoint: &str| {
                    let here = members.iter().filter_map(|id| self.containers.get(*id));
                    here.flat_map(|known| &known.container.attachments).any(|at| at.endpoint_id == endpoint)
                };
                let stacks = members.iter().filter_map(|id| self.containers.get(*id)?.container.stack.as_deref());
                let remote = swarm::endpoints(&known.services, &stacks.collect(), is_local);
                builder = remote.into_iter().fold(builder, NetworkBuilder::endpoint);
            }
        }
        Some((name, builder))
    }

    /// Where a network's clients ask.
    fn listen(&self, network: &Network, gateways: &[IpAddr]) -> Vec<Address> {
        if !self.serving.listen.is_empty() {
            let is_own = |address: &&Address| {
                let ip = address.ip();
                network.contains(ip)
                    || network.is_default && !self.networks.values().any(|known| known.network.contains(ip))
            };
            return self.serving.listen.iter().filter(is_own).cloned().collect();
        }
        // The default bridge's gateway is the one that daemon.json names.
        let is_listened = self.is_served(network) || network.is_default && !self.is_excluded(network);
        if is_listened { gateways.iter().copied().map(Address::from).collect() } else { Vec::new() }
    }

    /// The network of the file that listens at an address.
    fn taken_by(&self, address: &Address) -> Option<&String> {
        let at = SocketAddr::new(address.ip(), address.port().unwrap_or(self.serving.port));
        self.serving.taken_addresses.get(&at)
    }

    /// Why the network that is called so in the table has no listener of its own, for people; `None` if it has one.
    pub(in crate::source::docker) fn why_no_listener(&self, name: &str) -> Option<String> {
        let known = self.networks.values().find(|known| known.served_as.as_deref() == Some(name))?;
        let network = &known.network;
        let gateways = network.gateways();
        let listen = self.listen(network, &gateways);
        if listen.iter().any(|address| self.taken_by(address).is_none()) {
            return None;
        }
        Some(match network.kind {
            _ if !listen.is_empty() => "the file's networks listen at its gateways".to_owned(),
            Kind::Identity => "it only tells which container of an overlay network asks".to_owned(),
            _ if !network.is_enabled => "left out by its label callsign.enable".to_owned(),
            _ if !self.is_served(network) => "left out by `networks` in [docker]".to_owned(),
            Kind::Overlay if network.internal => {
                "an internal overlay network: its containers cannot reach this host".to_owned()
            }
            Kind::Overlay => "an overlay network: its containers ask at other gateways".to_owned(),
            Kind::Unreachable => format!("{}: its containers do not reach this host by it", network.driver),
            Kind::Bridge if gateways.is_empty() => "its bridge has no address on this host".to_owned(),
            Kind::Bridge => "no address of `listen` in [docker] is on it".to_owned(),
        })
    }

    /// Says which addresses of a network are the file's.
    fn note_taken_addresses(&mut self, id: &str) {
        let Some(known) = self.networks.get(id) else { return };
        let Some(name) = &known.served_as else { return };
        let listen = self.listen(&known.network, &known.network.gateways());
        let taken = listen.iter().filter_map(|address| Some((address, self.taken_by(address)?)));
        let notices: Vec<String> = taken
            .map(|(address, other)| {
                format!(
                    "network {name:?} does not listen on {address}: network {other:?} of the file does; containers of {name} \
                     can ask at other gateways"
                )
            })
            .collect();
        notices.into_iter().for_each(|notice| self.note(notice));
    }

    /// True if a network's names are served. Of others it is known only whose subnets they are.
    fn is_served(&self, network: &Network) -> bool {
        network.kind == Kind::Identity
            || network.is_enabled && pattern::is_selected(&self.serving.patterns, &network.name)
    }

    fn is_excluded(&self, network: &Network) -> bool {
        !network.is_enabled || pattern::is_excluded(&self.serving.patterns, &network.name)
    }

    /// A container's endpoint on a network, if it has one there.
    fn endpoint(&self, known: &KnownNetwork, id: &str) -> Option<Endpoint> {
        let network = &known.network;
        let container = &self.containers.get(id)?.container;
        if !container.is_enabled || !self.is_served(network) {
            return None;
        }
        let attachment = container.attachments.iter().find(|at| self.is_on(at, &network.id))?;
        let mut builder = Endpoint::builder(id)
            .state(match container.condition {
                // Docker itself gives the address of a container that is being started.
                _ if !attachment.addresses.is_empty() && !attachment.is_provisional => EndpointState::Up,
                Condition::Up => EndpointState::Up,
                Condition::Pending => EndpointState::Starting,
                Condition::Down => EndpointState::Down,
            })
            .health(container.health)
            .priority(priority(network, attachment));
        builder = attachment.names.iter().cloned().fold(builder, |builder, name| builder.relative_name(name));
        let links =
            self.linking.iter().filter_map(|id| self.containers.get(id)).flat_map(|known| &known.container.links);
        let own = links.filter(|link| link.target == container.name && link.network_name == network.name);
        builder = own.flat_map(|link| &link.aliases).fold(builder, |builder, name| builder.relative_name(name.clone()));
        let services = swarm::names_of_task(&known.services, container.stack.as_deref(), &attachment.endpoint_id);
        builder = services.into_iter().fold(builder, |builder, name| builder.relative_name(name));
        builder = attachment.addresses.iter().fold(builder, |builder, address| builder.ip(*address));
        builder = container.ports.iter().cloned().fold(builder, |builder, port| builder.port(port));
        // A label may say anything.
        if let Some(project) = container.project.as_ref().filter(|project| project.parse::<Name>().is_ok()) {
            builder = builder.project(project);
        }
        let built = builder.build();
        built.inspect_err(|error| tracing::warn!(container = id, network = network.name, %error, "left out")).ok()
    }

    /// The names of all networks, as Docker has them.
    pub(in crate::source::docker) fn network_names(&self) -> impl Iterator<Item = &str> {
        self.networks.values().map(|known| known.network.name.as_str())
    }

    /// Every container that is known: its id, and what is known of it.
    pub(in crate::source::docker) fn containers(&self) -> impl Iterator<Item = (&str, &Container)> {
        self.containers.iter().map(|(id, known)| (id.as_str(), &known.container))
    }

    /// A container's attachments to networks of the table, each with the network's name there, in the order in which the
    /// container's queries search them. The gateway bridge is not searched, and comes last.
    pub(in crate::source::docker) fn in_order<'c>(
        &'c self,
        container: &'c Container,
    ) -> Vec<(&'c str, &'c Attachment)> {
        let order = |at| {
            let known = self.networks.get(self.resolve(at)?)?;
            let (network, name) = (&known.network, known.served_as.as_deref()?);
            Some((network.kind == Kind::Identity, Reverse(priority(network, at)), name, at))
        };
        let mut attachments: Vec<_> = container.attachments.iter().filter_map(order).collect();
        attachments.sort_by_key(|(is_identity, priority, name, _)| (*is_identity, *priority, *name));
        attachments.into_iter().map(|(_, _, name, at)| (name, at)).collect()
    }
}

/// Docker searches internal networks last, then goes by its gateway priority; equal ones are in the order of names.
fn priority(network: &Network, attachment: &Attachment) -> i32 {
    let order = if network.internal { INTERNAL_LAST } else { 0 };
    attachment.priority.clamp(-MAX_PRIORITY, MAX_PRIORITY) + order
}
