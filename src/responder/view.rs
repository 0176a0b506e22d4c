//! The networks that a client may see (answers.md V1 to V4), each at one moment.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::settings::Upstream;
use crate::table::{Attachment, Clients, NameEntry, Network, Settings, Snapshot, SnapshotRef};
use crate::wire::Name;

use super::client::Client;
use super::host::{HostView, Search};

/// The client's networks in the order in which they are searched, one snapshot of each: the listener's first, if it is one
/// of them.
pub(super) struct View<'s> {
    seats: SmallVec<[VisibleNetwork<'s>; 4]>,
    /// The listener's network, where it is not the first of the view ([`Clients::Table`]).
    gateway: Option<ViewedSnapshot<'s>>,
    client: IpAddr,
    who: Who<'s>,
}

/// Who a client is (answers.md V1 to V3a).
enum Who<'s> {
    /// The endpoint that has the address on the listener's network.
    Endpoint,
    /// The endpoint that the listener is for, whatever address it asks from.
    Owner(Arc<Attachment>),
    /// An endpoint that has its address on another network of the table, and that network.
    Elsewhere(Arc<Attachment>, Arc<Network>),
    /// No endpoint, but certainly of the network that it sees: by a subnet of the table, or because it is on the link.
    Resident,
    /// No endpoint. Whether it may ask depends on its address.
    Stranger,
    /// Somebody who may ask nothing, whatever the list says.
    Nobody,
    /// Who asks the host view (answers.md V6), and what its question concerns.
    Host(Box<Search<'s>>),
}

/// A network of the view.
pub(super) struct VisibleNetwork<'s> {
    /// `None` for the listener's, which the client's [`Listener`](super::Listener) holds.
    network: Option<Arc<Network>>,
    snapshot: ViewedSnapshot<'s>,
    /// The rank of this network among those of the client (answers.md V1).
    priority: i32,
}

/// A snapshot that is read: the caller's, or one that was loaded for this query.
enum ViewedSnapshot<'s> {
    Lent(&'s Snapshot),
    Loaded(SnapshotRef),
}

impl Deref for ViewedSnapshot<'_> {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        match self {
            ViewedSnapshot::Lent(snapshot) => snapshot,
            ViewedSnapshot::Loaded(snapshot) => snapshot,
        }
    }
}

/// Whose upstreams a question is sent to (answers.md F2); a configured route comes before any.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpstreamScope {
    /// Those of the endpoint that asks.
    Endpoint,
    /// Those of the networks of its view.
    Networks,
    /// The host's.
    Host,
}

/// Lists of upstreams, in order; mostly none or one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpstreamLists(SmallVec<[Arc<[Upstream]>; 2]>);

impl Deref for UpstreamLists {
    type Target = [Arc<[Upstream]>];

    fn deref(&self) -> &[Arc<[Upstream]>] {
        &self.0
    }
}

impl FromIterator<Arc<[Upstream]>> for UpstreamLists {
    fn from_iter<I: IntoIterator<Item = Arc<[Upstream]>>>(lists: I) -> UpstreamLists {
        UpstreamLists(lists.into_iter().collect())
    }
}

impl<'s> View<'s> {
    /// The view of a client that asks for `name` (lower-cased wire form).
    pub(super) fn of(client: &Client<'s>, name: &[u8]) -> View<'s> {
        if let Some(id) = client.listener.endpoint() {
            return View::of_owner(client, id);
        }
        let listener = client.listener.network();
        let ip = client.ip();
        let snapshot =
            client.snapshot.map_or_else(|| ViewedSnapshot::Loaded(listener.snapshot()), ViewedSnapshot::Lent);
        let clients = snapshot.settings().clients;
        if is_link_local(ip) {
            if let Some(host) = client.listener.host_view() {
                return View::of_host(client, host, snapshot, name);
            }
            let is_near = clients != Clients::Identify && client.listener.is_on_link(client.source);
            return View::of_one(snapshot, ip, if is_near { Who::Resident } else { Who::Nobody });
        }
        match snapshot.client_at(ip) {
            // Most clients are on one network.
            Some(attachment) if clients != Clients::Identify && !attachment.is_shared() => {
                View::of_one(snapshot, ip, Who::Endpoint)
            }
            Some(attachment) if clients != Clients::Identify => {
                let attachment = attachment.clone();
                let mut view = View::of_one(snapshot, ip, Who::Endpoint);
                push_others(&mut view.seats, 1, &attachment, listener, listener);
                view
            }
            None if clients == Clients::Listener => View::of_one(snapshot, ip, Who::Stranger),
            own => {
                if let Some(host) = client.listener.host_view() {
                    return View::of_host(client, host, snapshot, name);
                }
                let own = own.cloned();
                View::of_table(client, own, snapshot, ip)
            }
        }
    }

    /// The view of the endpoint that the listener is for.
    #[cold]
    #[inline(never)]
    fn of_owner(client: &Client<'s>, id: &str) -> View<'s> {
        let listener = client.listener.network();
        let snapshot =
            client.snapshot.map_or_else(|| ViewedSnapshot::Loaded(listener.snapshot()), ViewedSnapshot::Lent);
        let Some(attachment) = snapshot.member(id).cloned() else {
            return View::of_one(snapshot, client.ip(), Who::Nobody);
        };
        let mut view = View::of_endpoint(attachment.clone(), None, snapshot, client.ip(), listener);
        if matches!(view.who, Who::Endpoint) {
            view.who = Who::Owner(attachment);
        }
        view
    }

    /// The host view (answers.md V6). Its own network has no endpoints: the networks that count depend on the question.
    #[inline(never)]
    fn of_host(client: &Client<'s>, host: &'s HostView, snapshot: ViewedSnapshot<'s>, name: &[u8]) -> View<'s> {
        let mut view = View::of_one(snapshot, client.ip(), Who::Host(Box::new(Search::nothing(host))));
        if view.is_allowed(client) {
            view.who = Who::Host(Box::new(Search::of(host, name)));
        }
        view
    }

    /// The view of a client that has its address on another network of the table than the listener's, if on any (answers.md
    /// V2a). `own` is the endpoint that has it on the listener's network, if that network only identifies.
    #[inline(never)]
    fn of_table(
        client: &Client<'s>,
        own: Option<Arc<Attachment>>,
        snapshot: ViewedSnapshot<'s>,
        ip: IpAddr,
    ) -> View<'s> {
        let listener = client.listener.network();
        let homes = listener.networks_near(ip).filter_map(|network| {
            let there = network.snapshot();
            let attachment = there.client_at(ip)?.clone();
            let priority = attachment.endpoint().priority();
            let is_known = there.settings().clients.are_known_elsewhere();
            is_known.then(|| {
                (
                    attachment,
                    VisibleNetwork { network: Some(network), snapshot: ViewedSnapshot::Loaded(there), priority },
                )
            })
        });
        // If several have the address, which only a mistake in their subnets makes possible, it is the same one always.
        let home = homes.min_by(|(_, one), (_, other)| {
            (one.only_identifies(), one.rank()).cmp(&(other.only_identifies(), other.rank()))
        });
        match (home, own) {
            (Some((_, seat)), Some(own)) if seat.only_identifies() => {
                return View::of_endpoint(own, None, snapshot, ip, listener);
            }
            (Some((attachment, seat)), _) => {
                return View::of_endpoint(attachment, Some(seat), snapshot, ip, listener);
            }
            (None, Some(own)) => return View::of_endpoint(own, None, snapshot, ip, listener),
            (None, None) => {}
        }
        // The host before the subnets: its address on any bridge lies in one. Docker's masquerading gives the host's own
        // questions the address of another bridge than the one that is asked.
        let has = |snapshot: &Snapshot| {
            snapshot.settings().subnets_with_strangers().iter().any(|subnet| subnet.contains(&ip))
        };
        if !has(&snapshot) && !client.listener.is_host(ip) {
            let around = listener.networks_around(ip).map(|network| (network.snapshot(), network));
            if let Some((there, network)) = around.into_iter().find(|(there, _)| has(there)) {
                let seat =
                    VisibleNetwork { network: Some(network), snapshot: ViewedSnapshot::Loaded(there), priority: 0 };
                return View {
                    seats: SmallVec::from_iter([seat]),
                    gateway: Some(snapshot),
                    client: ip,
                    who: Who::Resident,
                };
            }
        }
        let is_served = snapshot.settings().clients != Clients::Identify;
        View::of_one(snapshot, ip, if is_served { Who::Stranger } else { Who::Nobody })
    }

    /// The view of a client that has nothing to do with another network than the listener's.
    #[inline]
    fn of_one(snapshot: ViewedSnapshot<'s>, client: IpAddr, who: Who<'s>) -> View<'s> {
        let seat = VisibleNetwork { network: None, snapshot, priority: 0 };
        View { seats: SmallVec::from_iter([seat]), gateway: None, client, who }
    }

    /// The view of an endpoint: the networks that its id is attached to. `home` is that of its address, if it is not the
    /// listener's.
    fn of_endpoint(
        attachment: Arc<Attachment>,
        home: Option<VisibleNetwork<'s>>,
        gateway: ViewedSnapshot<'s>,
        client: IpAddr,
        listener: &Network,
    ) -> View<'s> {
        let id = attachment.endpoint().id();
        let mut seats: SmallVec<[VisibleNetwork<'s>; 4]> = SmallVec::new();
        let mut gateway = Some(gateway);
        let at_listener = |own: &Snapshot| {
            own.settings().clients != Clients::Identify && (home.is_none() || own.member(id).is_some())
        };
        if let Some(snapshot) = gateway.take_if(|own| at_listener(own)) {
            seats.push(VisibleNetwork { network: None, snapshot, priority: 0 });
        }
        let first = seats.len();
        let of_home = home.as_ref().and_then(|home| home.network.clone());
        if let Some(home) = home.filter(|home| !home.only_identifies()) {
            seats.push(home);
        }
        push_others(&mut seats, first, &attachment, of_home.as_deref().unwrap_or(listener), listener);
        match gateway {
            // An endpoint of networks that only identify: there is nothing to answer it with.
            Some(gateway) if seats.is_empty() => View::of_one(gateway, client, Who::Nobody),
            gateway => {
                let who = of_home.map_or(Who::Endpoint, |network| Who::Elsewhere(attachment, network));
                View { seats, gateway, client, who }
            }
        }
    }

    /// The networks in order.
    pub(super) fn seats(&self) -> &[VisibleNetwork<'s>] {
        &self.seats
    }

    /// The first network: the listener's, mostly.
    pub(super) fn own(&self) -> &Snapshot {
        &self.seats[0].snapshot
    }

    /// The listener's network, which need not be one of the view.
    pub(super) fn gateway(&self) -> &Snapshot {
        self.gateway.as_ref().unwrap_or(&self.seats[0].snapshot)
    }

    /// The name of the network that the client's address is on, or in whose subnet, if that is not the listener's.
    pub(super) fn home(&self) -> Option<&str> {
        match &self.who {
            Who::Endpoint | Who::Owner(_) | Who::Host(_) => None,
            Who::Elsewhere(_, home) => Some(home.name()),
            Who::Resident | Who::Stranger | Who::Nobody => self.seats[0].name(),
        }
    }

    /// The endpoint that the client is.
    pub(super) fn endpoint(&self) -> Option<&Arc<Attachment>> {
        match &self.who {
            Who::Endpoint => self.gateway().client_at(self.client),
            Who::Owner(attachment) | Who::Elsewhere(attachment, _) => Some(attachment),
            Who::Resident | Who::Stranger | Who::Nobody | Who::Host(_) => None,
        }
    }

    /// True if the client may ask here at all (answers.md V4).
    pub(super) fn is_allowed(&self, client: &Client<'_>) -> bool {
        let settings = self.gateway().settings();
        let has = |list: &[ipnet::IpNet], ip: &IpAddr| list.iter().any(|subnet| subnet.contains(ip));
        let contains = |list: &[ipnet::IpNet]| has(list, &self.client);
        match (&self.who, &settings.allow) {
            (Who::Nobody, _) => false,
            (Who::Owner(own), Some(list)) => own.endpoint().addresses().iter().any(|ip| has(list, ip)),
            (_, Some(list)) => contains(list),
            (Who::Endpoint | Who::Owner(_) | Who::Elsewhere(..) | Who::Resident, None) => true,
            (Who::Host(_), None) => self.client.is_loopback() || client.listener.is_host(self.client),
            (Who::Stranger, None) => contains(&settings.subnets) || client.listener.is_neighbour(self.client),
        }
    }

    /// True if the client's questions may leave this server (answers.md F1).
    pub(super) fn may_forward(&self) -> bool {
        self.seats.iter().any(|seat| !seat.snapshot.settings().internal)
    }

    /// What a question to the host view concerns, if this is one.
    pub(super) fn search(&self) -> Option<&Search<'s>> {
        match &self.who {
            Who::Host(search) => Some(search),
            _ => None,
        }
    }

    /// The networks that are searched, in order; for the host view those that the name may be on.
    fn searched(&self) -> impl Iterator<Item = &VisibleNetwork<'s>> {
        self.seats.iter().chain(self.search().into_iter().flat_map(Search::seats))
    }

    /// True if a network lets questions wait for its endpoints (answers.md N11).
    #[inline]
    pub(super) fn holds(&self) -> bool {
        self.searched().any(|seat| !seat.snapshot.settings().hold.is_zero())
    }

    /// The settings of the network that has an entry.
    pub(super) fn settings_of(&self, entry: &NameEntry) -> Option<&Settings> {
        let own = self.searched().find(|seat| seat.snapshot.has(entry))?;
        Some(own.snapshot.settings())
    }

    /// The longest domain of the view that `name` is or lies below (answers.md N5).
    pub(super) fn domain_of(&self, name: &[u8]) -> Option<&Name> {
        self.seats.iter().filter_map(|seat| seat.snapshot.domain_of(name)).max_by_key(|name| name.as_wire().len())
    }

    /// True if a network of the view may yet hear of a name of its domains from other hosts (answers.md N8b).
    pub(super) fn awaits_remote(&self, name: &[u8]) -> bool {
        let mut snapshots = self.seats.iter().map(VisibleNetwork::snapshot);
        snapshots.any(|snapshot| snapshot.awaits_remote() && snapshot.domain_of(name).is_some())
    }

    /// The upstreams that the client's questions go to if no route takes them (answers.md F2).
    pub(super) fn upstreams(&self) -> (UpstreamScope, UpstreamLists) {
        if let Some(attachment) = self.endpoint() {
            let id = attachment.endpoint().id();
            let own = self
                .seats
                .iter()
                .filter_map(|seat| seat.snapshot.member(id))
                .map(|attachment| attachment.endpoint().upstreams())
                .find(|upstreams| !upstreams.is_empty());
            if let Some(own) = own {
                return (UpstreamScope::Endpoint, UpstreamLists::from_iter([own.clone()]));
            }
        }
        let networks: UpstreamLists = self
            .seats
            .iter()
            .map(|seat| &seat.snapshot.settings().upstreams)
            .filter(|upstreams| !upstreams.is_empty())
            .cloned()
            .collect();
        (if networks.is_empty() { UpstreamScope::Host } else { UpstreamScope::Networks }, networks)
    }
}

impl<'s> VisibleNetwork<'s> {
    /// A network as it is now.
    pub(super) fn of(network: Arc<Network>) -> VisibleNetwork<'static> {
        let snapshot = ViewedSnapshot::Loaded(network.snapshot());
        VisibleNetwork { network: Some(network), snapshot, priority: 0 }
    }

    /// The network's name as it stands in names.
    pub(super) fn zone(&self) -> Option<&Name> {
        self.network.as_ref()?.zone()
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// True if the network is part of no view ([`Clients::Identify`]).
    fn only_identifies(&self) -> bool {
        self.snapshot.settings().clients == Clients::Identify
    }

    /// The lowest comes first: higher priority, then not internal, then the name (answers.md V1).
    pub(super) fn rank(&self) -> (Reverse<i32>, bool, Option<&str>) {
        (Reverse(self.priority), self.snapshot.settings().internal, self.name())
    }

    /// The network's name; `None` for the listener's own.
    pub(super) fn name(&self) -> Option<&str> {
        self.network.as_ref().map(|network| network.name())
    }
}

/// Adds the other networks of an endpoint than `home`, which its address is on, and the listener's; and puts those from
/// `first` on in order.
fn push_others(
    seats: &mut SmallVec<[VisibleNetwork<'_>; 4]>,
    first: usize,
    attachment: &Attachment,
    home: &Network,
    listener: &Network,
) {
    attachment.other_networks(home, |network| {
        if std::ptr::eq(&*network, listener) {
            return;
        }
        let snapshot = network.snapshot();
        // The membership may be ahead of or behind the snapshot: what the snapshot says holds.
        if let Some(there) = snapshot.member(attachment.endpoint().id()) {
            let priority = there.endpoint().priority();
            let seat = VisibleNetwork { network: Some(network), snapshot: ViewedSnapshot::Loaded(snapshot), priority };
            if !seat.only_identifies() {
                seats.push(seat);
            }
        }
    });
    seats[first..].sort_unstable_by(|one, other| one.rank().cmp(&other.rank()));
}

/// True for fe80::/10 and 169.254/16, which say nothing of who asks: each link has them (answers.md V3a).
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
