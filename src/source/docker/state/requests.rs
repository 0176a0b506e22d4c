//! What is to be asked of the engine, in which order, and how much at a time.

use std::collections::BTreeSet;

use crate::source::docker::network::GATEWAY_BRIDGE;

use super::{Ask, Kind, KnownContainer, Request, State};

/// Inspections at a time: of containers that something happened to, and of those of a list. One waits while its container is
/// started or stopped, so the first are many.
const MAX_INSPECTIONS: usize = 64;
const MAX_LISTED: usize = 8;
/// Networks asked for at a time.
const MAX_NETWORKS: usize = 8;

impl State {
    /// Begins a full pass: asks what there is, and of each thing what is not known to be as it was.
    pub(in crate::source::docker) fn reconcile(&mut self) {
        self.lists.extend([Ask::Networks, Ask::Containers]);
    }

    /// Asks for the services of overlay networks that containers of this host are on: no event tells of what happens elsewhere.
    /// False if there are none.
    pub(in crate::source::docker) fn poll_services(&mut self) -> bool {
        let overlays: BTreeSet<String> = self.overlays().map(str::to_owned).collect();
        if overlays.is_empty() {
            return false;
        }
        self.dirty_services.extend(overlays);
        self.ask_gateway_bridge();
        true
    }

    /// True if there are such networks.
    pub(in crate::source::docker) fn has_overlays(&self) -> bool {
        self.overlays().next().is_some()
    }

    fn overlays(&self) -> impl Iterator<Item = &str> {
        let overlays = self.networks.iter().filter(|(_, known)| known.network.kind == Kind::Overlay);
        overlays.map(|(id, _)| id.as_str()).filter(|id| {
            let is_on = |known: &KnownContainer| known.container.attachments.iter().any(|at| self.is_on(at, id));
            self.containers.values().any(is_on)
        })
    }

    /// Asks who is who on the bridge by which containers of overlay networks come: it has no events.
    pub(super) fn ask_gateway_bridge(&mut self) {
        let bridge = self.networks.iter().find(|(_, known)| known.network.kind == Kind::Identity);
        // Its making has none either; the engine takes the name for an id.
        self.dirty_networks.insert(bridge.map_or_else(|| GATEWAY_BRIDGE.to_owned(), |(id, _)| id.clone()));
    }

    /// Asks again what failed.
    pub(in crate::source::docker) fn retry(&mut self) {
        for ask in std::mem::take(&mut self.failed) {
            match ask {
                Ask::Networks | Ask::Containers => drop(self.lists.insert(ask)),
                Ask::Network(id) => drop(self.dirty_networks.insert(id)),
                // They are asked for again anyway, or inspected.
                Ask::Services(_) | Ask::Summary(_) => {}
                Ask::Container(id) => drop(self.dirty.insert(id)),
            }
        }
    }

    /// Notes that nothing will be heard of what is being asked.
    pub(in crate::source::docker) fn forsake(&mut self) {
        self.failed.extend(std::mem::take(&mut self.in_flight).into_values());
        self.gone.clear();
    }

    /// True if something failed.
    pub(in crate::source::docker) fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// True if nothing is to be asked, and nothing waited for: a full pass is done.
    pub(in crate::source::docker) fn is_settled(&self) -> bool {
        self.is_listed() && self.dirty.is_empty() && self.listed.is_empty() && self.in_flight.is_empty()
    }

    /// True if a full pass has all but the inspections of some containers.
    pub(in crate::source::docker) fn is_listed(&self) -> bool {
        self.lists.is_empty()
            && self.dirty_networks.is_empty()
            && self.created.is_empty()
            && self.in_flight.values().all(|ask| matches!(ask, Ask::Container(_) | Ask::Summary(_)))
            && !self.failed.iter().any(|ask| matches!(ask, Ask::Networks | Ask::Containers))
    }

    /// The next thing to ask, if there is one and not too much is being asked.
    pub(in crate::source::docker) fn poll(&mut self) -> Option<Request> {
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
        if let Some(id) = self.created.pop_first() {
            return Some(Ask::Summary(id));
        }
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
}
