//! What the engine's answers change of what is known.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use crate::source::docker::model::{self, Inspection, Service, Summary};
use crate::source::docker::names::{self, Attachment, Condition, Container, Labelled};
use crate::source::docker::network::{Interface, Network};

use crate::table::relative_names;

use super::{Answer, Ask, Kind, KnownContainer, KnownNetwork, Request, State};

impl State {
    /// Takes in an answer.
    pub(in crate::source::docker) fn answer(&mut self, request: Request, answer: Answer) {
        let Request { ask, asked } = request;
        self.in_flight.remove(&asked);
        match (&ask, answer) {
            (_, Answer::Failed) => {
                if let Ask::Container(id) = &ask {
                    self.listed.remove(id);
                }
                if !matches!(ask, Ask::Summary(_)) {
                    self.failed.insert(ask);
                }
            }
            (Ask::Networks, Answer::Networks(list)) => self.apply_networks(list, asked),
            (Ask::Containers, Answer::Containers(list)) => self.apply_containers(&list, asked),
            (Ask::Summary(id), Answer::Containers(list)) if !self.is_gone(id, asked) => {
                if let Some(summary) = list.iter().find(|summary| summary.id == *id && summary.state == "created") {
                    self.apply_created(summary, asked);
                }
            }
            (Ask::Network(id), Answer::Network(network, interfaces)) if !self.is_gone(id, asked) => {
                self.apply_network(&network, &interfaces, asked);
            }
            (Ask::Services(id), Answer::Network(network, _)) => self.apply_services(id, network.services),
            (Ask::Network(id), Answer::Gone) => self.remove_network(id),
            (Ask::Container(id), Answer::Container(inspection)) if !self.is_gone(id, asked) => {
                self.apply_inspection(id, &inspection, asked);
            }
            (Ask::Container(id), Answer::Gone) if self.containers.get(id).is_none_or(|known| known.changed < asked) => {
                self.remove_container(id);
            }
            // Of what is gone by now, or not what was asked for.
            _ => {}
        }
        let oldest = self.in_flight.keys().next().copied();
        self.gone.retain(|_, removed| oldest.is_some_and(|oldest| oldest < *removed));
    }

    fn apply_networks(&mut self, list: Vec<model::Network>, asked: u64) {
        let listed: BTreeSet<String> = list.into_iter().map(|network| network.id).filter(|id| !id.is_empty()).collect();
        let is_gone = |(id, known): &(&String, &KnownNetwork)| known.asked < asked && !listed.contains(*id);
        let gone: Vec<String> = self.networks.iter().filter(is_gone).map(|(id, _)| id.clone()).collect();
        gone.iter().for_each(|id| self.remove_network(id));
        let here: Vec<String> = listed.into_iter().filter(|id| !self.is_gone(id, asked)).collect();
        self.dirty_networks.extend(here);
    }

    fn apply_containers(&mut self, list: &[Summary], asked: u64) {
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
                self.listed.insert(summary.id.clone(), (hash, asked));
            }
        }
    }

    /// Takes in that a container was created: its names wait for it from now on. Its inspection knows better.
    fn apply_created(&mut self, summary: &Summary, asked: u64) {
        let mut container = Container::created(summary);
        let known = self.containers.remove(&summary.id);
        let known = match known {
            Some(known) if known.is_inspected => known,
            Some(mut known) => {
                // It was connected meanwhile: the addresses are from its networks.
                for attachment in &mut container.attachments {
                    let network = self.resolve(attachment);
                    let at = known.container.attachments.iter().find(|at| self.resolve(at) == network);
                    if let (Some(_), Some(at)) = (network, at) {
                        *attachment = Attachment { names: std::mem::take(&mut attachment.names), ..at.clone() };
                    }
                }
                let is_new = |at: &&Attachment| {
                    let network = self.resolve(at);
                    !container.attachments.iter().any(|known| self.resolve(known) == network)
                };
                let others: Vec<Attachment> = known.container.attachments.iter().filter(is_new).cloned().collect();
                container.attachments.extend(others);
                known.container = container;
                known
            }
            None => KnownContainer { container, asked, changed: 0, summary: None, is_inspected: false },
        };
        let container = known.container.clone();
        self.containers.insert(summary.id.clone(), known);
        self.mark_endpoints(&summary.id, &container);
    }

    fn apply_inspection(&mut self, id: &str, inspection: &Inspection, asked: u64) {
        // One that was asked before the list does not stand for its entry.
        let listed = self.listed.get(id).filter(|(_, listed)| *listed < asked).map(|(hash, _)| *hash);
        if listed.is_some() {
            self.listed.remove(id);
        }
        let mut container = Container::read(id, inspection);
        let (changed, was_inspected, before) = match self.containers.remove(id) {
            // It was asked too early to know of what has happened since.
            Some(known) if asked < known.changed => {
                self.dirty.insert(id.to_owned());
                self.containers.insert(id.to_owned(), known);
                return;
            }
            Some(known) => (known.changed, known.is_inspected, Some(known.container)),
            None => (0, false, None),
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
                self.changed_networks.insert(network);
            }
        }
        // Its stack's services have other names from now on.
        if before.as_ref().and_then(|before| before.stack.as_ref()) != container.stack.as_ref() {
            self.changed_networks.extend(self.overlays_of(&container));
        }
        // Labels never change: said once.
        if !was_inspected || before.as_ref().is_some_and(|before| before.problems != container.problems) {
            let name = &container.name;
            self.notices.extend(container.problems.iter().map(|problem| format!("container {name}: {problem}")));
        }
        let is_linking = if container.links.is_empty() {
            self.linking.remove(id);
            false
        } else {
            self.linking.insert(id.to_owned())
        };
        // What it links to has its names from now on, although a list has told of the links before.
        let is_other = is_linking || before.as_ref() != Some(&container);
        let known = KnownContainer { container, asked, changed, summary: listed, is_inspected: true };
        if is_other {
            before.iter().for_each(|before| self.mark_endpoints(id, before));
            let container = known.container.clone();
            self.containers.insert(id.to_owned(), known);
            self.mark_endpoints(id, &container);
        } else {
            self.containers.insert(id.to_owned(), known);
        }
    }

    fn apply_network(&mut self, model: &model::Network, interfaces: &[Interface], asked: u64) {
        let id = model.id.as_str();
        let Some(mut network) = Network::read(model, interfaces) else {
            self.tell_of_no_network(model);
            return self.remove_network(id);
        };
        match self.networks.get_mut(id) {
            Some(known) => {
                network.remember(&known.network);
                known.asked = asked;
                if known.network != network {
                    known.network = network;
                    self.changed_networks.insert(id.to_owned());
                }
            }
            None => {
                let name = network.name.clone();
                let problems = names::problems(&model.labels, Labelled::Network);
                self.notices.extend(problems.iter().map(|problem| format!("network {name}: {problem}")));
                self.by_name.entry(name).or_insert_with(|| id.to_owned());
                let known = KnownNetwork { network, asked, served_as: None, services: BTreeMap::new() };
                self.networks.insert(id.to_owned(), known);
                self.rename(id);
            }
        }
        self.apply_connected(id, model, asked);
    }

    /// Says, once, of Docker's networks that are none.
    fn tell_of_no_network(&mut self, model: &model::Network) {
        let what = match model.driver.as_str() {
            "host" => "its containers have the host's network, and ask as the host",
            "null" => "its containers have no network, and ask nobody",
            _ => return,
        };
        if self.noted.insert(format!("{} {what}", model.name)) {
            tracing::info!(network = model.name, "no listener for this network: {what}");
        }
    }

    /// Takes in who is on a network, which is known before a container's first instruction.
    fn apply_connected(&mut self, id: &str, model: &model::Network, asked: u64) {
        let is_identity = self.networks[id].network.kind == Kind::Identity;
        // Others are no containers: an overlay network's load balancer, a sandbox.
        let is_container = |id: &str| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        for (container_id, connected) in model.containers.iter().filter(|(id, _)| is_container(id)) {
            if self.is_gone(container_id, asked) {
                continue;
            }
            let addresses: Vec<IpAddr> = names::parsed([&connected.ipv4_address, &connected.ipv6_address]);
            let mut known = self.containers.remove(container_id).unwrap_or_else(|| {
                self.dirty.insert(container_id.clone());
                let container = Container::unseen(connected);
                KnownContainer { container, asked, changed: 0, summary: None, is_inspected: false }
            });
            if known.changed < asked && known.asked <= asked {
                let place = known.container.attachments.iter().position(|at| self.is_on(at, id));
                let attachment = match place {
                    Some(place) => &mut known.container.attachments[place],
                    None => {
                        let names = [&connected.name].into_iter().filter(|_| !is_identity);
                        known.container.attachments.push(Attachment {
                            network_id: id.to_owned(),
                            network_name: model.name.clone(),
                            endpoint_id: String::new(),
                            addresses: Vec::new(),
                            names: names.filter_map(|name| relative_names(name).ok()).flatten().collect(),
                            priority: 0,
                            gateways: Vec::new(),
                            is_provisional: false,
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
                    self.mark_endpoints(container_id, &container);
                }
            }
            self.containers.insert(container_id.clone(), known);
        }
        if is_identity {
            self.detach_departed(id, model, asked);
        }
    }

    /// Takes those off the gateway bridge that are not on it any more: no event and no inspection tells.
    fn detach_departed(&mut self, id: &str, model: &model::Network, asked: u64) {
        let is_left = |known: &KnownContainer, container: &str| {
            known.changed < asked
                && !model.containers.contains_key(container)
                && known.container.attachments.iter().any(|at| self.is_on(at, id))
        };
        let left: Vec<String> =
            self.containers.iter().filter(|(id, known)| is_left(known, id)).map(|(id, _)| id.clone()).collect();
        for container in left {
            if let Some(known) = self.containers.get_mut(&container) {
                known.container.attachments.retain(|at| at.network_id != id);
                self.changed_endpoints.insert((id.to_owned(), container));
            }
        }
    }

    fn apply_services(&mut self, id: &str, services: BTreeMap<String, Service>) {
        if let Some(known) = self.networks.get_mut(id)
            && known.services != services
        {
            known.services = services;
            self.changed_networks.insert(id.to_owned());
        }
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
