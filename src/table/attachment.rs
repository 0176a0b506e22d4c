//! An endpoint's attachment to a network, and the membership that ties the attachments of one endpoint together.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwap;

use crate::wire::{MAX_NAME, Name};

use super::endpoint::Endpoint;
use super::network::Network;
use super::settings::Settings;

/// An endpoint on one network.
#[derive(Debug)]
pub(crate) struct Attachment {
    endpoint: Endpoint,
    /// The id as a name, where it is not one of the endpoint's names anyway, as Podman's short id is.
    own_id_name: Option<Box<Name>>,
    /// Set once, when the endpoint's id is known to be on a second network of the table: few are.
    membership: OnceLock<Arc<Membership>>,
}

/// The networks that one endpoint id is attached to, where they are several, or were.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    networks: ArcSwap<Vec<Weak<Network>>>,
}

impl Attachment {
    pub(super) fn new(endpoint: Endpoint) -> Attachment {
        let own_id_name = endpoint.id_name().filter(|id| !endpoint.names().contains(id)).map(Box::new);
        Attachment { own_id_name, endpoint, membership: OnceLock::new() }
    }

    /// True if another host has published the endpoint.
    pub(crate) fn is_remote(&self) -> bool {
        self.endpoint.is_remote()
    }

    /// The names that find this endpoint among those of all hosts: `NAME.HOST` (answers.md N8b).
    pub(super) fn names_on(&self, host: &Name) -> impl Iterator<Item = Name> {
        let names = self.endpoint.names().iter().filter(|name| !name.is_wildcard());
        // A name that is too long with the host's behind it is not found so.
        names.filter_map(move |name| name.join(host).ok())
    }

    /// The addresses whose reverse names are the endpoint's: not those of another host (answers.md T3).
    pub(super) fn held_addresses(&self) -> &[IpAddr] {
        if self.endpoint.is_behind_host() { &[] } else { self.endpoint.addresses() }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn join(&self, membership: Arc<Membership>) {
        // Joining again gives the same membership: the id's.
        let _ = self.membership.set(membership);
    }

    /// True if the endpoint's id is, or was, on a second network.
    pub(crate) fn is_shared(&self) -> bool {
        self.membership.get().is_some()
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

    /// Every name that the endpoint is found by: its names and its id (answers.md N1).
    pub(super) fn all_names(&self) -> impl Iterator<Item = &Name> {
        let names = self.endpoint.names();
        let written = self.endpoint.id_as_written().filter(|id| !names.contains(id));
        names.iter().chain(self.own_id_name.as_deref()).chain(written)
    }

    /// The id as a name, if it is one.
    fn id_name(&self) -> Option<&Name> {
        self.own_id_name.as_deref().or_else(|| {
            let id = self.endpoint.id_name()?;
            self.endpoint.names().iter().find(|name| **name == id)
        })
    }

    /// The name of this endpoint alone: its id, else its first name; under the network's first domain if it has one.
    pub(crate) fn unique_name<'a>(&'a self, settings: &'a Settings) -> Option<Qualified<'a>> {
        Some(Qualified::new(self.own_name()?, settings))
    }

    /// The name of this endpoint alone on its network: its id, else its first name.
    pub(crate) fn own_name(&self) -> Option<&Name> {
        self.id_name().or_else(|| self.endpoint.names().first())
    }

    /// The name that a reverse look-up gives: the first name, else the id; under the network's first domain if it has
    /// one (answers.md T3).
    pub(crate) fn canonical_name<'a>(&'a self, settings: &'a Settings) -> Option<Qualified<'a>> {
        Some(Qualified::new(self.bare_names().next()?, settings))
    }

    /// The names that a reverse look-up can give: the endpoint's, but for wildcards, else the id.
    pub(crate) fn bare_names(&self) -> impl Iterator<Item = &Name> {
        let mut names = self.endpoint.names().iter().filter(|name| !name.is_wildcard()).peekable();
        let id = if names.peek().is_none() { self.id_name() } else { None };
        names.chain(id)
    }
}

/// A name under its network's first domain, if it has one and the whole is not too long. Not put together: a reply is
/// written from the parts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Qualified<'a> {
    name: &'a Name,
    domain: Option<&'a Name>,
}

impl<'a> Qualified<'a> {
    fn new(name: &'a Name, settings: &'a Settings) -> Qualified<'a> {
        let fits = |domain: &&Name| name.as_wire().len() - 1 + domain.as_wire().len() <= MAX_NAME;
        Qualified { name, domain: settings.domains.first().filter(fits) }
    }

    /// The name without its root, and the domain or the root: together the wire form.
    pub(crate) fn parts(self) -> [&'a [u8]; 2] {
        let wire = self.name.as_wire();
        [&wire[..wire.len() - 1], self.domain.map_or(&[0], Name::as_wire)]
    }
}

impl Membership {
    pub(super) fn of(networks: [Weak<Network>; 2]) -> Membership {
        Membership { networks: ArcSwap::from_pointee(networks.into()) }
    }

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
