//! An endpoint's attachment to a network, and the membership that ties the attachments of one endpoint together.

use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwap;

use crate::wire::Name;

use super::endpoint::Endpoint;
use super::network::Network;
use super::settings::Settings;

/// An endpoint on one network.
#[derive(Debug)]
pub(crate) struct Attachment {
    endpoint: Endpoint,
    /// Set once, when the attachment's network is in a table.
    membership: OnceLock<Arc<Membership>>,
}

/// The networks that one endpoint id is attached to.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    networks: ArcSwap<Vec<Weak<Network>>>,
}

impl Attachment {
    pub(super) fn new(endpoint: Endpoint) -> Attachment {
        Attachment { endpoint, membership: OnceLock::new() }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn join(&self, membership: Arc<Membership>) {
        // Joining again gives the same membership: the id's.
        let _ = self.membership.set(membership);
    }

    /// Calls `visit` with every other network that the endpoint may be attached to; its snapshot has the last word.
    pub(crate) fn other_networks(&self, own: &Network, mut visit: impl FnMut(Arc<Network>)) {
        let Some(membership) = self.membership.get() else { return };
        let networks = membership.networks.load();
        if networks.len() > 1 {
            networks
                .iter()
                .filter(|network| !std::ptr::eq(network.as_ptr(), own))
                .filter_map(Weak::upgrade)
                .for_each(&mut visit);
        }
    }

    /// The name of this endpoint alone: its id, else its first name; under the network's first domain if it has one.
    pub(crate) fn unique_name(&self, settings: &Settings) -> Option<Name> {
        let bare = self.endpoint.id_name().or_else(|| self.endpoint.names().first().cloned())?;
        Some(qualified(bare, settings))
    }

    /// The name that a reverse look-up gives: the first name, else the id; under the network's first domain if it has
    /// one (answers.md T3).
    pub(crate) fn canonical_name(&self, settings: &Settings) -> Option<Name> {
        let first = self.endpoint.names().iter().find(|name| !name.is_wildcard()).cloned();
        Some(qualified(first.or_else(|| self.endpoint.id_name())?, settings))
    }
}

fn qualified(name: Name, settings: &Settings) -> Name {
    settings.domains.first().and_then(|domain| name.join(domain).ok()).unwrap_or(name)
}

impl Membership {
    pub(super) fn join(&self, network: &Weak<Network>) {
        self.networks.rcu(|networks| {
            let mut networks = (**networks).clone();
            networks.retain(|known| known.strong_count() > 0 && !known.ptr_eq(network));
            networks.push(network.clone());
            networks
        });
    }

    /// True if no network is left.
    pub(super) fn leave(&self, network: &Weak<Network>) -> bool {
        self.networks.rcu(|networks| {
            let mut networks = (**networks).clone();
            networks.retain(|known| known.strong_count() > 0 && !known.ptr_eq(network));
            networks
        });
        self.networks.load().is_empty()
    }
}
