//! What is known of the engine's networks and containers, and what is to be asked. No I/O and no clock: events and answers
//! go in, requests and changes of the table come out.
//!
//! Order is by a counter that each event and each request takes a number from. An answer that was asked for before an event
//! which contradicts it does not count; what the event is about is asked anew. So whatever is lost, doubled or late, after the
//! next full pass ([`State::reconcile`]) the state is that of the engine.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use crate::table::{Address, Clients, Endpoint, NetworkBuilder};

use super::events::{Event, What};
use super::model::{self, Inspection, Service, Summary};
use super::names::{Attachment, Condition, Container};
use super::network::{Interface, Kind, Network};
use super::pattern;
use super::swarm;

/// Inspections at a time: of containers that something happened to, and of those of a list. One waits while its container is
/// started or stopped, so the first are many.
const MAX_INSPECTIONS: usize = 64;
const MAX_LISTED: usize = 8;
/// Networks asked for at a time.
const MAX_NETWORKS: usize = 8;
/// What the name of an internal network's endpoints loses of its priority: Docker's resolver searches these last.
const INTERNAL_LAST: i32 = i32::MIN / 2;

/// How networks are to be served.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Serving {
    /// See [`super::DockerOptions::networks`].
    pub(super) patterns: Vec<String>,
    pub(super) listen: Vec<Address>,
    pub(super) domain: Option<String>,
    pub(super) hold: Option<Duration>,
    /// Names that networks of others have.
    pub(super) taken: BTreeSet<String>,
}

/// What is asked of the engine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ask {
    Networks,
    Containers,
    Network(String),
    /// With the services of other hosts.
    Services(String),
    Container(String),
}

/// A question to the engine, and when it was asked.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) ask: Ask,
    asked: u64,
}

/// What the engine says.
#[derive(Debug)]
pub(super) enum Answer {
    Networks(Vec<model::Network>),
    Containers(Vec<Summary>),
    Network(Box<model::Network>, Vec<Interface>),
    Container(Box<Inspection>),
    /// There is no such container or network.
    Gone,
    /// It did not say.
    Failed,
}

/// A network, and when what is known of it was asked.
#[derive(Debug)]
struct KnownNetwork {
    network: Network,
    asked: u64,
    /// In the table; `None` if another one has its name.
    served_as: Option<String>,
    services: BTreeMap<String, Service>,
}

#[derive(Debug)]
struct KnownContainer {
    container: Container,
    /// When the newest of what is known of it was asked.
    asked: u64,
    /// When the last event came that older answers contradict.
    changed: u64,
    /// Its entry in the last list, unless something happened since.
    summary: Option<u64>,
}

/// What is to be done to the table.
#[derive(Debug, Default)]
pub(super) struct Delta {
    /// Networks that are new, or have other settings: each with its name and its endpoints.
    pub(super) networks: Vec<(String, NetworkBuilder)>,
    /// Of other networks: the name, the endpoint's id, and the endpoint if it is there.
    pub(super) endpoints: BTreeMap<String, Vec<(String, Option<Endpoint>)>>,
    /// Names of networks that are gone.
    pub(super) removed: Vec<String>,
    /// What a person should know.
    pub(super) notices: Vec<String>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct State {
    serving: Serving,
    clock: u64,
    networks: BTreeMap<String, KnownNetwork>,
    by_name: BTreeMap<String, String>,
    containers: BTreeMap<String, KnownContainer>,
    /// Containers that give names to others.
    linking: BTreeSet<String>,
    /// Containers and networks that were removed, and when, as long as an older answer may come.
    gone: HashMap<String, u64>,

    lists: BTreeSet<Ask>,
    dirty_networks: BTreeSet<String>,
    dirty_services: BTreeSet<String>,
    dirty: BTreeSet<String>,
    /// Of a list, each with its entry.
    listed: BTreeMap<String, u64>,
    failed: BTreeSet<Ask>,
    in_flight: BTreeMap<u64, Ask>,

    renewed: BTreeSet<String>,
    touched: BTreeSet<(String, String)>,
    removed: Vec<String>,
    notices: Vec<String>,
}

impl State {
    pub(super) fn new(serving: Serving) -> State {
        State { serving, ..State::default() }
    }

    /// Sets how networks are served from here on.
    pub(super) fn configure(&mut self, serving: Serving) {
        if serving != self.serving {
            self.serving = serving;
            let ids: Vec<String> = self.networks.keys().cloned().collect();
            for id in ids {
                self.rename(&id);
            }
        }
    }

    /// Has every network made anew.
    pub(super) fn renew_all(&mut self) {
        self.renewed.extend(self.networks.keys().cloned());
    }

    /// Begins a full pass: asks what there is, and of each thing what is not known to be as it was.
    pub(super) fn reconcile(&mut self) {
        self.lists.extend([Ask::Networks, Ask::Containers]);
    }

    /// Asks for the services of overlay networks that containers of this host are on: no event tells of what happens elsewhere.
    /// False if there are none.
    pub(super) fn poll_services(&mut self) -> bool {
        let overlays: BTreeSet<String> = self.overlays().map(str::to_owned).collect();
        if overlays.is_empty() {
            return false;
        }
        self.dirty_services.extend(overlays);
        self.ask_gateway_bridge();
        true
    }

    /// True if there are such networks.
    pub(super) fn has_overlays(&self) -> bool {
        self.overlays().next().is_some()
    }

    fn overlays(&self) -> impl Iterator<Item = &str> {
        let overlays = self.networks.iter().filter(|(_, known)| known.network.kind == Kind::Overlay);
        overlays.map(|(id, _)| id.as_str()).filter(|id| {
            let is_on = |known: &KnownContainer| known.container.attachments.iter().any(|at| self.is_of(at, id));
            self.containers.values().any(is_on)
        })
    }

    /// Asks again what failed.
    pub(super) fn retry(&mut self) {
        for ask in std::mem::take(&mut self.failed) {
            match ask {
                Ask::Networks | Ask::Containers => drop(self.lists.insert(ask)),
                Ask::Network(id) => drop(self.dirty_networks.insert(id)),
                // They are asked for again anyway.
                Ask::Services(_) => {}
                Ask::Container(id) => drop(self.dirty.insert(id)),
            }
        }
    }

    /// True if something failed.
    pub(super) fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// True if nothing is to be asked, and nothing waited for: a full pass is done.
    pub(super) fn is_settled(&self) -> bool {
        self.lists.is_empty()
            && self.dirty_networks.is_empty()
            && self.dirty.is_empty()
            && self.listed.is_empty()
            && self.in_flight.is_empty()
            && !self.failed.iter().any(|ask| matches!(ask, Ask::Networks | Ask::Containers))
    }

    /// Takes in an event. What has an address no more loses it here and now.
    pub(super) fn event(&mut self, event: &Event) {
        self.clock += 1;
        match &event.what {
            What::Changed(id) => self.changed(id),
            What::Ended(id) => {
                if !self.is_old(id, event.time) {
                    self.take_off(id, None);
                }
                self.changed(id);
            }
            What::Disconnected { container, network } => {
                if !self.is_old(container, event.time) {
                    self.take_off(container, Some(network));
                }
                self.changed(container);
            }
            What::Removed(id) => {
                self.gone.insert(id.clone(), self.clock);
                self.remove_container(id);
            }
            What::Connected { container, network } => {
                if let Some(known) = self.containers.get_mut(container) {
                    known.changed = self.clock;
                }
                self.changed(container);
                self.dirty_networks.insert(network.clone());
                if self.networks.get(network).is_none_or(|known| known.network.kind == Kind::Overlay) {
                    self.ask_gateway_bridge();
                }
            }
            What::NetworkChanged(id) => drop(self.dirty_networks.insert(id.clone())),
            What::NetworkRemoved(id) => {
                self.gone.insert(id.clone(), self.clock);
                self.remove_network(id);
            }
        }
    }

    /// Asks who is who on the bridge by which containers of overlay networks come: it has no events.
    fn ask_gateway_bridge(&mut self) {
        let bridge = self.networks.iter().find(|(_, known)| known.network.kind == Kind::Identity);
        self.dirty_networks.extend(bridge.map(|(id, _)| id.clone()));
    }

    fn changed(&mut self, id: &str) {
        if let Some(known) = self.containers.get_mut(id) {
            known.summary = None;
        }
        self.listed.remove(id);
        self.dirty.insert(id.to_owned());
    }

    /// True if an event is of before the container's present start: it comes late.
    fn is_old(&self, id: &str, time: i64) -> bool {
        self.containers.get(id).is_some_and(|known| 0 < time && time < known.container.started)
    }

    /// Takes the container's addresses off: on one network, or on all of them because it has ended.
    fn take_off(&mut self, id: &str, network: Option<&str>) {
        let Some(mut known) = self.containers.remove(id) else { return };
        known.changed = self.clock;
        if network.is_none() {
            known.container.condition = Condition::Down;
        }
        for attachment in &mut known.container.attachments {
            if network.is_none_or(|network| self.is_of(attachment, network)) {
                attachment.addresses.clear();
            }
        }
        self.touch(id, &known.container);
        self.containers.insert(id.to_owned(), known);
    }

    fn remove_container(&mut self, id: &str) {
        self.dirty.remove(id);
        self.listed.remove(id);
        self.linking.remove(id);
        if let Some(known) = self.containers.remove(id) {
            self.touch(id, &known.container);
        }
    }

    fn remove_network(&mut self, id: &str) {
        self.dirty_networks.remove(id);
        self.dirty_services.remove(id);
        let Some(known) = self.networks.remove(id) else { return };
        self.removed.extend(known.served_as);
        let name = &known.network.name;
        if self.by_name.get(name).is_some_and(|known| known == id) {
            self.by_name.remove(name);
            // Another one of that name may have waited for it.
            let other = self.networks.iter().find(|(_, other)| other.network.name == *name).map(|(id, _)| id.clone());
            if let Some(other) = other {
                self.by_name.insert(name.clone(), other.clone());
                self.rename(&other);
            }
        }
    }

    /// Notes that a container's endpoints are to be made anew, and those that it gives names to.
    fn touch(&mut self, id: &str, container: &Container) {
        for attachment in &container.attachments {
            if let Some(network) = self.resolve(attachment) {
                self.touched.insert((network.to_owned(), id.to_owned()));
            }
        }
        for link in &container.links {
            let target = self.containers.iter().find(|(_, known)| known.container.name == link.target);
            if let (Some((target, _)), Some(network)) = (target, self.by_name.get(&link.network_name)) {
                self.touched.insert((network.clone(), target.clone()));
            }
        }
    }

    /// The network of an attachment: before a container's first start, and from Podman, its name alone is known.
    fn resolve(&self, attachment: &Attachment) -> Option<&str> {
        match self.networks.get_key_value(&attachment.network_id) {
            Some((id, _)) => Some(id),
            None => self.by_name.get(&attachment.network_name).map(String::as_str),
        }
    }

    fn is_of(&self, attachment: &Attachment, network: &str) -> bool {
        attachment.network_id == network || self.resolve(attachment) == Some(network)
    }

    /// The next thing to ask, if there is one and not too much is being asked.
    pub(super) fn poll(&mut self) -> Option<Request> {
        let ask = self.next_ask()?;
        self.clock += 1;
        self.in_flight.insert(self.clock, ask.clone());
        Some(Request { ask, asked: self.clock })
    }

    fn next_ask(&mut self) -> Option<Ask> {
        let is_asked = |ask: &Ask| self.in_flight.values().any(|asked| asked == ask);
        if let Some(list) = self.lists.iter().find(|list| !is_asked(list)).cloned() {
            self.lists.remove(&list);
            return Some(list);
        }
        let count = |kind: fn(&Ask) -> bool| self.in_flight.values().filter(|ask| kind(ask)).count();
        if count(|ask| matches!(ask, Ask::Network(_) | Ask::Services(_))) < MAX_NETWORKS {
            let network = self.dirty_networks.iter().find(|id| !is_asked(&Ask::Network((*id).clone()))).cloned();
            if let Some(id) = network {
                self.dirty_networks.remove(&id);
                return Some(Ask::Network(id));
            }
            let services = self.dirty_services.iter().find(|id| !is_asked(&Ask::Services((*id).clone()))).cloned();
            if let Some(id) = services {
                self.dirty_services.remove(&id);
                return Some(Ask::Services(id));
            }
        }
        let inspections = count(|ask| matches!(ask, Ask::Container(_)));
        // Those of one container one after the other.
        if inspections < MAX_INSPECTIONS {
            let dirty = self.dirty.iter().find(|id| !is_asked(&Ask::Container((*id).clone()))).cloned();
            if let Some(id) = dirty {
                self.dirty.remove(&id);
                return Some(Ask::Container(id));
            }
        }
        if inspections < MAX_LISTED {
            let listed = self.listed.keys().find(|id| !is_asked(&Ask::Container((*id).clone()))).cloned();
            // Its entry stays until the answer is there.
            return listed.map(Ask::Container);
        }
        None
    }

    /// Takes in an answer.
    pub(super) fn answer(&mut self, request: Request, answer: Answer) {
        let Request { ask, asked } = request;
        self.in_flight.remove(&asked);
        match (&ask, answer) {
            (_, Answer::Failed) => {
                if let Ask::Container(id) = &ask {
                    self.listed.remove(id);
                }
                self.failed.insert(ask);
            }
            (Ask::Networks, Answer::Networks(list)) => self.take_networks(list, asked),
            (Ask::Containers, Answer::Containers(list)) => self.take_containers(&list, asked),
            (Ask::Network(id), Answer::Network(network, interfaces)) => {
                if !self.is_gone(id, asked) {
                    self.take_network(id, &network, &interfaces, asked);
                }
            }
            (Ask::Services(id), Answer::Network(network, _)) => self.take_services(id, network.services),
            (Ask::Network(id), Answer::Gone) => self.remove_network(id),
            (Ask::Container(id), Answer::Container(inspection)) => {
                if !self.is_gone(id, asked) {
                    self.take_container(id, &inspection, asked);
                }
            }
            (Ask::Container(id), Answer::Gone) => {
                if self.containers.get(id).is_none_or(|known| known.changed < asked) {
                    self.remove_container(id);
                }
            }
            // Not what was asked for.
            _ => {}
        }
        let oldest = self.in_flight.keys().next().copied();
        self.gone.retain(|_, removed| oldest.is_some_and(|oldest| oldest < *removed));
    }

    fn is_gone(&self, id: &str, asked: u64) -> bool {
        self.gone.get(id).is_some_and(|removed| asked < *removed)
    }

    fn take_networks(&mut self, list: Vec<model::Network>, asked: u64) {
        let listed: BTreeSet<String> = list.into_iter().map(|network| network.id).filter(|id| !id.is_empty()).collect();
        let is_gone = |(id, known): &(&String, &KnownNetwork)| known.asked < asked && !listed.contains(*id);
        let gone: Vec<String> = self.networks.iter().filter(is_gone).map(|(id, _)| id.clone()).collect();
        gone.iter().for_each(|id| self.remove_network(id));
        let here: Vec<String> = listed.into_iter().filter(|id| !self.is_gone(id, asked)).collect();
        self.dirty_networks.extend(here);
    }

    fn take_containers(&mut self, list: &[Summary], asked: u64) {
        let listed: BTreeSet<&str> = list.iter().map(|summary| summary.id.as_str()).collect();
        let is_gone = |(id, known): &(&String, &KnownContainer)| {
            known.asked < asked && known.changed < asked && !listed.contains(id.as_str())
        };
        let gone: Vec<String> = self.containers.iter().filter(is_gone).map(|(id, _)| id.clone()).collect();
        gone.iter().for_each(|id| self.remove_container(id));
        for summary in list.iter().filter(|summary| !summary.id.is_empty()) {
            if self.is_gone(&summary.id, asked) {
                continue;
            }
            let hash = hash_of(summary);
            let is_same = |known: &KnownContainer| known.summary == Some(hash);
            if !self.containers.get(&summary.id).is_some_and(is_same) && !self.dirty.contains(&summary.id) {
                self.listed.insert(summary.id.clone(), hash);
            }
        }
    }

    fn take_container(&mut self, id: &str, inspection: &Inspection, asked: u64) {
        let listed = self.listed.remove(id);
        let mut container = Container::read(id, inspection);
        let (changed, before) = match self.containers.remove(id) {
            // It was asked too early to know of what has happened since.
            Some(known) if asked < known.changed => {
                self.dirty.insert(id.to_owned());
                self.containers.insert(id.to_owned(), known);
                return;
            }
            Some(known) => (known.changed, Some(known.container)),
            None => (0, None),
        };
        if let Some(before) = &before {
            // An inspection does not have the gateway bridge.
            let identities = before.attachments.iter().filter(|at| self.is_identity(at));
            if container.condition != Condition::Down {
                container.attachments.extend(identities.cloned());
            }
        }
        for attachment in &container.attachments {
            let Some(network) = self.resolve(attachment).map(str::to_owned) else { continue };
            if let Some(known) = self.networks.get_mut(&network)
                && known.network.learn(&attachment.gateways)
            {
                self.renewed.insert(network);
            }
        }
        if container.links.is_empty() {
            self.linking.remove(id);
        } else {
            self.linking.insert(id.to_owned());
        }
        let is_other = before.as_ref() != Some(&container);
        let known = KnownContainer { container, asked, changed, summary: listed };
        if is_other {
            before.iter().for_each(|before| self.touch(id, before));
            let container = known.container.clone();
            self.containers.insert(id.to_owned(), known);
            self.touch(id, &container);
        } else {
            self.containers.insert(id.to_owned(), known);
        }
    }

    fn is_identity(&self, attachment: &Attachment) -> bool {
        let network = self.resolve(attachment).and_then(|id| self.networks.get(id));
        network.is_some_and(|known| known.network.kind == Kind::Identity)
    }

    fn take_network(&mut self, id: &str, model: &model::Network, interfaces: &[Interface], asked: u64) {
        let Some(mut network) = Network::read(model, interfaces) else { return self.remove_network(id) };
        match self.networks.get_mut(id) {
            Some(known) => {
                network.remember(&known.network);
                known.asked = asked;
                if known.network != network {
                    known.network = network;
                    self.renewed.insert(id.to_owned());
                }
            }
            None => {
                let name = network.name.clone();
                let kind = network.kind;
                if kind == Kind::Unreachable {
                    self.notices.push(format!(
                        "network {name:?} ({}): its containers do not reach this host by it, so callsign does not listen there",
                        network.driver
                    ));
                }
                self.by_name.entry(name).or_insert_with(|| id.to_owned());
                let known = KnownNetwork { network, asked, served_as: None, services: BTreeMap::new() };
                self.networks.insert(id.to_owned(), known);
                self.rename(id);
            }
        }
        self.take_connected(id, model, asked);
    }

    /// Takes in who is on a network, which is known before a container's first instruction.
    fn take_connected(&mut self, id: &str, model: &model::Network, asked: u64) {
        let is_identity = self.networks[id].network.kind == Kind::Identity;
        // Others are no containers: an overlay network's load balancer, a sandbox.
        let is_container = |id: &str| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        for (container_id, connected) in model.containers.iter().filter(|(id, _)| is_container(id)) {
            if self.is_gone(container_id, asked) {
                continue;
            }
            let addresses: Vec<IpAddr> = super::names::parsed([&connected.ipv4_address, &connected.ipv6_address]);
            let mut known = self.containers.remove(container_id).unwrap_or_else(|| {
                self.dirty.insert(container_id.clone());
                let container = Container::unseen(connected);
                KnownContainer { container, asked, changed: 0, summary: None }
            });
            if known.changed < asked && known.asked <= asked {
                let place = known.container.attachments.iter().position(|at| self.is_of(at, id));
                let attachment = match place {
                    Some(place) => &mut known.container.attachments[place],
                    None => {
                        let names = [&connected.name].into_iter().filter(|_| !is_identity);
                        known.container.attachments.push(Attachment {
                            network_id: id.to_owned(),
                            network_name: model.name.clone(),
                            endpoint_id: String::new(),
                            addresses: Vec::new(),
                            names: names.filter_map(|name| crate::table::relative_name(name).ok()).collect(),
                            priority: 0,
                            gateways: Vec::new(),
                        });
                        let last = known.container.attachments.len() - 1;
                        &mut known.container.attachments[last]
                    }
                };
                // One that went off stays so until it is another endpoint: a dead container is listed for a while.
                let is_off = place.is_some()
                    && attachment.addresses.is_empty()
                    && attachment.endpoint_id == connected.endpoint_id;
                if !is_off && attachment.addresses != addresses {
                    attachment.addresses = addresses;
                    attachment.endpoint_id = connected.endpoint_id.clone();
                    let container = known.container.clone();
                    self.touch(container_id, &container);
                }
            }
            self.containers.insert(container_id.clone(), known);
        }
        if is_identity {
            self.take_out_of(id, model, asked);
        }
    }

    /// Takes those off the gateway bridge that are not on it any more: no event and no inspection tells.
    fn take_out_of(&mut self, id: &str, model: &model::Network, asked: u64) {
        let is_left = |known: &KnownContainer, container: &str| {
            known.changed < asked
                && !model.containers.contains_key(container)
                && known.container.attachments.iter().any(|at| self.is_of(at, id))
        };
        let left: Vec<String> =
            self.containers.iter().filter(|(id, known)| is_left(known, id)).map(|(id, _)| id.clone()).collect();
        for container in left {
            if let Some(known) = self.containers.get_mut(&container) {
                known.container.attachments.retain(|at| at.network_id != id);
                self.touched.insert((id.to_owned(), container));
            }
        }
    }

    fn take_services(&mut self, id: &str, services: BTreeMap<String, Service>) {
        if let Some(known) = self.networks.get_mut(id)
            && known.services != services
        {
            known.services = services;
            self.renewed.insert(id.to_owned());
        }
    }

    /// Gives a network its name in the table: its own, unless somebody else has it.
    fn rename(&mut self, id: &str) {
        let Some(known) = self.networks.get(id) else { return };
        let name = &known.network.name;
        let is_first = self.by_name.get(name).is_some_and(|first| first == id);
        let served_as = if self.serving.taken.contains(name) {
            self.notices.push(format!(
                "the file has a network {name:?} of its own, so Docker's of that name is not served; leave out `listen`, \
                 `subnets` and endpoints there to add to Docker's"
            ));
            None
        } else if is_first {
            Some(name.clone())
        } else {
            // Older engines allow two networks of one name.
            Some(format!("{name}@{}", id.get(..12).unwrap_or(id)))
        };
        if served_as != known.served_as {
            self.removed.extend(known.served_as.clone());
        }
        self.renewed.insert(id.to_owned());
        if let Some(known) = self.networks.get_mut(id) {
            known.served_as = served_as;
        }
    }

    /// True if there is something to do to the table.
    pub(super) fn has_changes(&self) -> bool {
        !self.renewed.is_empty() || !self.touched.is_empty() || !self.removed.is_empty() || !self.notices.is_empty()
    }

    /// What has changed since this was last called.
    pub(super) fn take(&mut self) -> Delta {
        let renewed = std::mem::take(&mut self.renewed);
        let touched = std::mem::take(&mut self.touched);
        let mut delta = Delta {
            removed: std::mem::take(&mut self.removed),
            notices: std::mem::take(&mut self.notices),
            ..Delta::default()
        };
        let members = self.members(&renewed);
        for id in &renewed {
            if let Some((name, builder)) = self.build(id, members.get(id.as_str()).map_or(&[], Vec::as_slice)) {
                delta.networks.push((name, builder));
            }
        }
        for (network, container) in touched.iter().filter(|(network, _)| !renewed.contains(network)) {
            let Some(known) = self.networks.get(network) else { continue };
            if let Some(name) = &known.served_as {
                let endpoint = self.endpoint(known, container);
                delta.endpoints.entry(name.clone()).or_default().push((container.clone(), endpoint));
            }
        }
        delta
    }

    /// The network that is called so in the table, whole.
    pub(super) fn whole(&self, name: &str) -> Option<NetworkBuilder> {
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
        let mut builder = crate::table::Network::builder(&name).clients(Clients::Table).internal(network.internal);
        for subnet in &network.subnets {
            builder = builder.subnet(&subnet.to_string());
        }
        let gateways = network.gateways();
        for gateway in &gateways {
            builder = builder.gateway(&gateway.to_string());
        }
        for address in self.listen(network, &gateways) {
            builder = builder.listen(&address);
        }
        if self.is_served(network) {
            if let Some(domain) = &self.serving.domain {
                builder = builder.domain(domain);
            }
            let local = members.iter().filter_map(|container| self.endpoint(known, container));
            builder = local.fold(builder, NetworkBuilder::endpoint);
            if network.kind == Kind::Overlay {
                let is_local = |endpoint: &str| {
                    let here = members.iter().filter_map(|id| self.containers.get(*id));
                    here.flat_map(|known| &known.container.attachments).any(|at| at.endpoint_id == endpoint)
                };
                let remote = swarm::endpoints(&known.services, is_local);
                builder = remote.into_iter().fold(builder, NetworkBuilder::endpoint);
            }
        }
        Some((name, builder))
    }

    /// Where a network's clients ask.
    fn listen(&self, network: &Network, gateways: &[IpAddr]) -> Vec<String> {
        if !self.serving.listen.is_empty() {
            let is_of = |subnets: &[ipnet::IpNet], ip: IpAddr| subnets.iter().any(|subnet| subnet.contains(&ip));
            let is_own = |address: &&Address| {
                let ip = address.ip();
                is_of(&network.subnets, ip)
                    || network.is_default && !self.networks.values().any(|known| is_of(&known.network.subnets, ip))
            };
            return self.serving.listen.iter().filter(is_own).map(ToString::to_string).collect();
        }
        // The default bridge's gateway is the one that daemon.json names.
        let is_listened = self.is_served(network) || network.is_default && !self.is_excluded(network);
        if is_listened { gateways.iter().map(ToString::to_string).collect() } else { Vec::new() }
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
        let attachment = container.attachments.iter().find(|at| self.is_of(at, &network.id))?;
        let order = if network.internal { INTERNAL_LAST } else { 0 };
        let mut builder = Endpoint::builder(id)
            .running(!attachment.addresses.is_empty() || container.condition == Condition::Up)
            .health(container.health)
            // Docker searches internal networks last, then goes by its gateway priority; equal ones are in the order of names.
            .priority((attachment.priority / 4).saturating_add(order));
        builder = attachment.names.iter().cloned().fold(builder, |builder, name| builder.relative_name(name));
        let links =
            self.linking.iter().filter_map(|id| self.containers.get(id)).flat_map(|known| &known.container.links);
        let own = links.filter(|link| link.target == container.name && link.network_name == network.name);
        builder = own.fold(builder, |builder, link| builder.relative_name(link.alias.clone()));
        let services = swarm::names_of_task(&known.services, &attachment.endpoint_id);
        builder = services.into_iter().fold(builder, |builder, name| builder.relative_name(name));
        builder = attachment.addresses.iter().fold(builder, |builder, address| builder.ip(*address));
        builder = container.ports.iter().cloned().fold(builder, |builder, port| builder.port(port));
        let built = builder.build();
        built.inspect_err(|error| tracing::warn!(container = id, network = network.name, %error, "left out")).ok()
    }

    /// Every container that is known: its id, and what is known of it.
    pub(super) fn containers(&self) -> impl Iterator<Item = (&str, &Container)> {
        self.containers.iter().map(|(id, known)| (id.as_str(), &known.container))
    }

    /// The name in the table of the network of an attachment.
    pub(super) fn served_as(&self, attachment: &Attachment) -> Option<&str> {
        self.networks.get(self.resolve(attachment)?)?.served_as.as_deref()
    }
}

/// What of a list's entry tells whether a container is as it was: not how long it is up.
fn hash_of(summary: &Summary) -> u64 {
    let mut hasher = DefaultHasher::new();
    let Summary { names, state, status, network_settings, .. } = summary;
    (names, state, status.split_once('(').map(|(_, rest)| rest.split(')').next())).hash(&mut hasher);
    for (name, endpoint) in &network_settings.networks {
        let model::Endpoint { aliases, dns_names, gw_priority, network_id, endpoint_id, .. } = endpoint;
        (name, aliases, dns_names, gw_priority, network_id, endpoint_id).hash(&mut hasher);
        (&endpoint.ip_address, &endpoint.global_ipv6_address).hash(&mut hasher);
    }
    hasher.finish()
}
