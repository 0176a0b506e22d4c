//! Networks by the names that the host view knows them by: their own, and those of the Compose projects of their endpoints
//! (answers.md V6).
//!
//! Keys are names in wire form without their root. A network with a dotted name stands under each of its ancestors, too: they
//! exist.

use std::sync::{Arc, Weak};

use smallvec::SmallVec;

use crate::wire::Name;

use super::address_index::NetworkRefs;
use super::names::key_of;
use super::network::Network;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Zones {
    networks: NetworkRefs<Box<[u8]>>,
    projects: NetworkRefs<Box<[u8]>>,
}

/// A name, and its ancestors but for the root.
fn lineage(name: &Name) -> impl Iterator<Item = Name> {
    let all = std::iter::successors(Some(name.clone()), Name::parent);
    all.take_while(|name| !name.is_root())
}

impl Zones {
    /// Notes that a network has a name.
    pub(super) fn join(&self, name: &Name, network: &Weak<Network>) {
        lineage(name).for_each(|name| self.networks.join(key_of(&name).into(), network));
    }

    /// Takes back one [`join`](Zones::join).
    pub(super) fn leave(&self, name: &Name, network: &Weak<Network>) {
        lineage(name).for_each(|name| self.networks.leave(&key_of(&name).into(), network));
    }

    /// Notes that a network has an endpoint of a project.
    pub(super) fn join_project(&self, project: &Name, network: &Weak<Network>) {
        self.projects.join(key_of(project).into(), network);
    }

    /// Takes back one [`join_project`](Zones::join_project).
    pub(super) fn leave_project(&self, project: &Name, network: &Weak<Network>) {
        self.projects.leave(&key_of(project).into(), network);
    }

    /// The networks whose name is `key` or lies below it.
    pub(super) fn networks(&self, key: &[u8]) -> SmallVec<[Arc<Network>; 4]> {
        self.networks.at(key)
    }

    /// The networks with endpoints of a project.
    pub(super) fn of_project(&self, key: &[u8]) -> SmallVec<[Arc<Network>; 4]> {
        self.projects.at(key)
    }
}
