//! What is known of the engine's networks and containers, and what is to be asked. No I/O and no clock: events and answers
//! go in, requests and changes of the table come out.
//!
//! Order is by a counter that each event and each request takes a number from. An answer that was asked for before an event
//! which contradicts it does not count; what the event is about is asked anew. So whatever is lost, doubled or late, after the
//! next full pass ([`State::reconcile`]) the state is that of the engine.

mod answers;
mod build;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use crate::settings::Address;

use super::events::{Change, Event};
use super::model::{self, Inspection, Service, Summary};
use super::names::{Attachment, Condition, Container};
use super::network::{Interface, Kind, Network};

/// How networks are to be served.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Serving {
    /// These are as in [`super::DockerOptions`].
    pub(super) patterns: Vec<String>,
    pub(super) listen: Vec<Address>,
    pub(super) domain: Option<String>,
    pub(super) hold: Option<Duration>,
    pub(super) port: u16,
    pub(super) taken: BTreeSet<String>,
    pub(super) taken_addresses: BTreeMap<SocketAddr, String>,
}

/// What is asked of the engine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ask {
    Networks,
    Containers,
    Network(String),
    /// With the services of other hosts.
    Services(String),
    /// The list's entry of a container that was just created, which waits for nothing.
    Summary(String),
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
    /// False while all that is known is from lists and networks.
    is_inspected: bool,
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
    /// Containers that were just created.
    created: BTreeSet<String>,
    dirty: BTreeSet<String>,
    /// Of a list, each with its entry, and when the list was asked for.
    listed: BTreeMap<String, (u64, u64)>,
    failed: BTreeSet<Ask>,
    in_flight: BTreeMap<u64, Ask>,

    changed_networks: BTreeSet<String>,
    changed_endpoints: BTreeSet<(String, String)>,
    removed: Vec<String>,
    notices: Vec<String>,
    /// Notices that were given already.
    noted: BTreeSet<String>,
}

impl State {
    pub(super) fn new(serving: Serving) -> State {
        State { serving, ..State::default() }
    }

    /// Sets how networks are served from here on.
    pub(super) fn configure(&mut self, serving: Serving) {
        if serving != self.serving {
            self.serving = serving;
            self.noted.clear();
            let ids: Vec<String> = self.networks.keys().cloned().collect();
            for id in ids {
                self.rename(&id);
            }
        }
    }

    /// True if no network is known.
    pub(super) fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// Gives a notice to a person, once.
    pub(super) fn note(&mut self, notice: String) {
        if self.noted.insert(notice.clone()) {
            self.notices.push(notice);
        }
    }

    /// Has every network made anew.
    pub(super) fn rebuild_all(&mut self) {
        self.changed_networks.extend(self.networks.keys().cloned());
    }

    /// Takes in an event. What has an address no more loses it here and now.
    pub(super) fn event(&mut self, event: &Event) {
        self.clock += 1;
        match &event.change {
            Change::Created(id) => {
                self.created.insert(id.clone());
                self.changed(id);
            }
            Change::Changed(id) => self.changed(id),
            Change::Ended(id) => {
                if !self.is_old(id, event.time) {
                    self.clear_addresses(id, None);
                }
                self.changed(id);
            }
            Change::Disconnected { container, network } => {
                if !self.is_old(container, event.time) {
                    self.clear_addresses(container, Some(network));
                }
                self.changed(container);
            }
            Change::Removed(id) => {
                self.gone.insert(id.clone(), self.clock);
                self.remove_container(id);
            }
            Change::Connected { container, network } => {
                if let Some(known) = self.containers.get_mut(container) {
                    known.changed = self.clock;
                }
                self.changed(container);
                self.dirty_networks.insert(network.clone());
                if self.networks.get(network).is_none_or(|known| known.network.kind == Kind::Overlay) {
                    self.ask_gateway_bridge();
                }
            }
            Change::NetworkChanged(id) => drop(self.dirty_networks.insert(id.clone())),
            Change::NetworkRemoved(id) => {
                self.gone.insert(id.clone(), self.clock);
                self.remove_network(id);
                // One of the same id may have been made since: Podman's ids come of the names.
                self.dirty_networks.insert(id.clone());
            }
        }
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
    fn clear_addresses(&mut self, id: &str, network: Option<&str>) {
        let Some(mut known) = self.containers.remove(id) else { return };
        known.changed = self.clock;
        if network.is_none() {
            known.container.condition = Condition::Down;
        }
        for attachment in &mut known.container.attachments {
            if network.is_none_or(|network| self.is_on(attachment, network)) {
                attachment.addresses.clear();
                attachment.is_provisional |= known.container.condition == Condition::Pending;
            }
        }
        self.mark_endpoints(id, &known.container);
        self.containers.insert(id.to_owned(), known);
    }

    fn remove_container(&mut self, id: &str) {
        self.dirty.remove(id);
        self.created.remove(id);
        self.listed.remove(id);
        self.linking.remove(id);
        if let Some(known) = self.containers.remove(id) {
            self.mark_endpoints(id, &known.container);
            if known.container.stack.is_some() {
                self.changed_networks.extend(self.overlays_of(&known.container));
            }
        }
    }

    /// The overlay networks that a container is on.
    fn overlays_of(&self, container: &Container) -> Vec<String> {
        let networks = container.attachments.iter().filter_map(|at| self.resolve(at));
        let is_overlay = |id: &&str| self.networks.get(*id).is_some_and(|known| known.network.kind == Kind::Overlay);
        networks.filter(is_overlay).map(str::to_owned).collect()
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
    fn mark_endpoints(&mut self, id: &str, container: &Container) {
        for attachment in &container.attachments {
            if let Some(network) = self.resolve(attachment) {
                self.changed_endpoints.insert((network.to_owned(), id.to_owned()));
            }
        }
        for link in &container.links {
            let target = self.containers.iter().find(|(_, known)| known.container.name == link.target);
            if let (Some((target, _)), Some(network)) = (target, self.by_name.get(&link.network_name)) {
                self.changed_endpoints.insert((network.clone(), target.clone()));
            }
        }
    }

    /// The network of an attachment. Before a container's first start, and from Podman, its name alone is known, which Podman
    /// gives for the id, too. A network of another id is another one, whatever its name.
    fn resolve(&self, attachment: &Attachment) -> Option<&str> {
        let Attachment { network_id, network_name, .. } = attachment;
        match self.networks.get_key_value(network_id) {
            Some((id, _)) => Some(id),
            None if network_id.is_empty() || network_id == network_name => {
                self.by_name.get(network_name).map(String::as_str)
            }
            None => None,
        }
    }

    fn is_on(&self, attachment: &Attachment, network: &str) -> bool {
        attachment.network_id == network || self.resolve(attachment) == Some(network)
    }

    fn is_gone(&self, id: &str, asked: u64) -> bool {
        self.gone.get(id).is_some_and(|removed| asked < *removed)
    }

    fn is_identity(&self, attachment: &Attachment) -> bool {
        let network = self.resolve(attachment).and_then(|id| self.networks.get(id));
        network.is_some_and(|known| known.network.kind == Kind::Identity)
    }

    /// Gives a network its name in the table: its own, unless another network has it.
    fn rename(&mut self, id: &str) {
        let Some(known) = self.networks.get(id) else { return };
        let name = &known.network.name;
        if self.serving.taken.contains(name) {
            let notice = format!(
                "the file has a network {name:?} of its own, so Docker's of that name is not served; leave out `listen`, \
                 `subnets` and endpoints there to add to Docker's"
            );
            self.note(notice);
            return self.serve_as(id, None);
        }
        let is_first = self.by_name.get(name).is_some_and(|first| first == id);
        // Older engines allow two networks of one name.
        let name = if is_first { name.clone() } else { format!("{name}@{}", id.get(..12).unwrap_or(id)) };
        self.serve_as(id, Some(name));
    }

    fn serve_as(&mut self, id: &str, name: Option<String>) {
        let Some(known) = self.networks.get_mut(id) else { return };
        if name != known.served_as {
            self.removed.extend(known.served_as.take());
        }
        known.served_as = name;
        self.changed_networks.insert(id.to_owned());
    }
}
