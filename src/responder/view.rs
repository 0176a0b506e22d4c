//! The networks that a client may see (answers.md V1 to V4), each at one moment.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::Guard;
use smallvec::SmallVec;

use crate::table::{Attachment, Clients, Network, Snapshot, Upstream};
use crate::wire::Name;

use super::client::Client;

/// The client's networks in the order in which they are searched, one snapshot of each. That of its address comes first:
/// the listener's, mostly.
pub(super) struct View<'s> {
    seats: SmallVec<[Seat<'s>; 4]>,
    /// The listener's network, where it is not the first of the view ([`Clients::Table`]).
    gateway: Option<Held<'s>>,
    client: IpAddr,
    is_endpoint: bool,
}

/// A network of the view.
pub(super) struct Seat<'s> {
    /// `None` for the listener's, which the client's [`Listener`](super::Listener) holds.
    network: Option<Arc<Network>>,
    snapshot: Held<'s>,
    /// The rank of this network among those of the client (answers.md V1).
    priority: i32,
}

/// A snapshot that is read: the caller's, or one that was loaded for this query.
enum Held<'s> {
    Lent(&'s Snapshot),
    Loaded(Guard<Arc<Snapshot>>),
}

impl Deref for Held<'_> {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        match self {
            Held::Lent(snapshot) => snapshot,
            Held::Loaded(snapshot) => snapshot,
        }
    }
}

/// Whose upstreams a question is sent to (answers.md F2); a configured route comes before any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preference {
    /// Those of the endpoint that asks.
    Endpoint,
    /// Those of the networks of its view.
    Networks,
    /// The host's.
    Host,
}

impl<'s> View<'s> {
    pub(super) fn of(client: &Client<'s>) -> View<'s> {
        let own = client.listener.network();
        let ip = client.ip();
        let snapshot = client.snapshot.map_or_else(|| Held::Loaded(own.snapshot()), Held::Lent);
        if snapshot.settings().clients == Clients::Table
            && snapshot.holders(ip).is_empty()
            && let Some(first) = Seat::elsewhere(own, ip)
        {
            return View::from(first, Some(snapshot), ip, own);
        }
        View::from(Seat { network: None, snapshot, priority: 0 }, None, ip, own)
    }

    /// The view of a client whose address is, or would be, on the network of the first seat.
    fn from(first: Seat<'s>, gateway: Option<Held<'s>>, client: IpAddr, listener: &Network) -> View<'s> {
        let attachment = first.snapshot.holders(client).first().cloned();
        let mut seats: SmallVec<[Seat<'s>; 4]> = SmallVec::new();
        seats.push(first);
        if let Some(attachment) = &attachment {
            let id = attachment.endpoint().id();
            let own = seats[0].network.clone();
            attachment.other_networks(own.as_deref().unwrap_or(listener), |network| {
                let snapshot = network.snapshot();
                // The membership may be ahead of or behind the snapshot: what the snapshot says holds.
                if let Some(there) = snapshot.attachment(id) {
                    let priority = there.endpoint().priority();
                    seats.push(Seat { network: Some(network), snapshot: Held::Loaded(snapshot), priority });
                }
            });
            seats[1..].sort_unstable_by(|one, other| one.rank().cmp(&other.rank()));
        }
        View { seats, gateway, client, is_endpoint: attachment.is_some() }
    }

    /// The networks in order.
    pub(super) fn seats(&self) -> &[Seat<'s>] {
        &self.seats
    }

    /// The network of the client's address; the listener's, if it has none.
    pub(super) fn own(&self) -> &Snapshot {
        &self.seats[0].snapshot
    }

    /// The listener's network, which need not be one of the view.
    pub(super) fn gateway(&self) -> &Snapshot {
        self.gateway.as_ref().unwrap_or(&self.seats[0].snapshot)
    }

    /// The name of the network of the client's address, if that is not the listener's.
    pub(super) fn home(&self) -> Option<&str> {
        self.seats[0].name()
    }

    /// The endpoint that the client is.
    pub(super) fn endpoint(&self) -> Option<&Arc<Attachment>> {
        self.own().holders(self.client).first()
    }

    /// True if the client may ask here at all (answers.md V4).
    pub(super) fn is_allowed(&self, client: &Client<'_>) -> bool {
        let settings = self.gateway().settings();
        let contains = |list: &[ipnet::IpNet]| list.iter().any(|subnet| subnet.contains(&self.client));
        match &settings.allow {
            Some(list) => contains(list),
            None => self.is_endpoint || contains(&settings.subnets) || client.listener.is_neighbour(self.client),
        }
    }

    /// True if the client's questions may leave this server (answers.md F1).
    pub(super) fn may_forward(&self) -> bool {
        self.seats.iter().any(|seat| !seat.snapshot.settings().internal)
    }

    /// The longest domain of the view that `name` is or lies below (answers.md N5).
    pub(super) fn domain_of(&self, name: &[u8]) -> Option<&Name> {
        self.seats.iter().filter_map(|seat| seat.snapshot.domain_of(name)).max_by_key(|name| name.as_wire().len())
    }

    /// The upstreams that the client's questions go to if no route takes them (answers.md F2).
    pub(super) fn upstreams(&self) -> (Preference, SmallVec<[Arc<[Upstream]>; 2]>) {
        if let Some(attachment) = self.endpoint() {
            let id = attachment.endpoint().id();
            let own = self
                .seats
                .iter()
                .filter_map(|seat| seat.snapshot.attachment(id))
                .map(|attachment| attachment.endpoint().upstreams())
                .find(|upstreams| !upstreams.is_empty());
            if let Some(own) = own {
                return (Preference::Endpoint, SmallVec::from_iter([own.clone()]));
            }
        }
        let networks: SmallVec<_> = self
            .seats
            .iter()
            .map(|seat| &seat.snapshot.settings().upstreams)
            .filter(|upstreams| !upstreams.is_empty())
            .cloned()
            .collect();
        (if networks.is_empty() { Preference::Host } else { Preference::Networks }, networks)
    }
}

impl<'s> Seat<'s> {
    /// The network of an endpoint that asks at another network's gateway. If several have the address, which only a mistake
    /// in their subnets makes possible, it is the same one always.
    fn elsewhere(listener: &Network, client: IpAddr) -> Option<Seat<'s>> {
        let seats = listener.networks_near(client).filter_map(|network| {
            let snapshot = network.snapshot();
            let priority = snapshot.endpoint_at(client)?.priority();
            let is_known = snapshot.settings().clients == Clients::Table;
            is_known.then_some(Seat { network: Some(network), snapshot: Held::Loaded(snapshot), priority })
        });
        seats.min_by(|one, other| one.rank().cmp(&other.rank()))
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The lowest comes first: higher priority, then not internal, then the name (answers.md V1).
    fn rank(&self) -> (Reverse<i32>, bool, Option<&str>) {
        (Reverse(self.priority), self.snapshot.settings().internal, self.name())
    }

    /// The network's name; `None` for the listener's own.
    pub(super) fn name(&self) -> Option<&str> {
        self.network.as_ref().map(|network| network.name())
    }
}
