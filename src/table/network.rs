//! A network: its name, the pointer to its present snapshot, and the one writer at a time that replaces it.

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use arc_swap::{ArcSwap, Guard};
use foldhash::fast::RandomState;

use super::attachment::Attachment;
use super::builder::{NetworkBuilder, gateways_of};
use super::endpoint::Endpoint;
use super::error::TableError;
use super::feed::Event;
use super::hamt::Keyed;
use super::name_table::Registry;
use super::names::key_of;
use super::record::Record;
use super::settings::Settings;
use super::snapshot::{Snapshot, zones_of};
use crate::settings::Address;
use crate::wire::Name;

/// A container network: a name and its present [`Snapshot`].
///
/// Readers take the snapshot and never wait. Writers take turns; each change, however large, is seen by queries whole or
/// not at all. So what runs within a change (the closures of [`change`](Network::change) and [`update`](Network::update), the
/// iterator of [`replace_all`](Network::replace_all)) must not change the same network by another call, nor remove it: that
/// would wait for its own turn for ever.
///
/// ```
/// use callsign::table::{Endpoint, Network};
///
/// let web = Network::builder("web").subnet("172.18.0.0/16").listen("172.18.0.1").build()?;
/// web.attach(Endpoint::builder("3f2a9c").address("172.18.0.2").names(["db", "database"]).build()?)?;
/// assert_eq!(web.snapshot().endpoint_count(), 1);
/// web.detach("3f2a9c")?;
/// # Ok::<(), callsign::table::TableError>(())
/// ```
#[derive(Debug)]
pub struct Network {
    name: Box<str>,
    /// The name as it stands in names (answers.md N1, N12), the one that programs ask for first.
    zones: Box<[Name]>,
    snapshot: ArcSwap<Snapshot>,
    writer: Mutex<Writer>,
    /// Set once, when the network joins a table.
    home: OnceLock<TableRef>,
}

/// A network's [`Snapshot`], as it was when it was asked for. Cheaper than an `Arc`, and not to be kept: its clone is an `Arc`.
#[derive(Debug)]
pub struct SnapshotRef(Guard<Arc<Snapshot>>);

impl Deref for SnapshotRef {
    type Target = Arc<Snapshot>;

    fn deref(&self) -> &Arc<Snapshot> {
        &self.0
    }
}

/// The table that a network belongs to, and the network's own place in it.
#[derive(Debug)]
struct TableRef {
    registry: Arc<Registry>,
    this: Weak<Network>,
}

#[derive(Debug, Default)]
struct Writer {
    removed: bool,
    /// What [`Network::to_builder`] gave, for a network that was built from it and is to replace the original.
    base: Option<Arc<Snapshot>>,
}

impl Network {
    /// Starts a network of the given name.
    pub fn builder(name: impl Into<String>) -> NetworkBuilder {
        NetworkBuilder::new(name.into())
    }

    pub(super) fn new(name: &str, snapshot: Snapshot, base: Option<Arc<Snapshot>>) -> Network {
        Network {
            name: name.into(),
            zones: zones_of(name).into_vec().into(),
            snapshot: ArcSwap::from_pointee(snapshot),
            writer: Mutex::new(Writer { removed: false, base }),
            home: OnceLock::new(),
        }
    }

    /// The network's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A builder with all that the network has now. A network that is built from it and given to
    /// [`replace_with`](Network::replace_with) replaces what was changed in the builder, and nothing else.
    ///
    /// ```
    /// use callsign::table::{Endpoint, Network};
    ///
    /// let web = Network::builder("web").listen("172.18.0.1").build()?;
    /// let changed = web.to_builder().domain("internal").ttl(30).build()?;
    /// web.attach(Endpoint::builder("3f2a9c").name("db").build()?)?;
    /// web.replace_with(&changed)?;
    /// assert_eq!(web.snapshot().settings().ttl, 30);
    /// assert_eq!(web.snapshot().endpoint_count(), 1, "db was attached meanwhile, and stays");
    /// # Ok::<(), callsign::table::TableError>(())
    /// ```
    pub fn to_builder(&self) -> NetworkBuilder {
        NetworkBuilder::from_snapshot(&self.name, self.snapshot.load_full())
    }

    /// The name as it stands in names; `None` if it is none that could be asked for.
    pub(crate) fn zone(&self) -> Option<&Name> {
        self.zones.first()
    }

    /// True if `key`, wire form without the root, is the network's name.
    pub(crate) fn is_called(&self, key: &[u8]) -> bool {
        self.zones.iter().any(|zone| key_of(zone) == key)
    }

    /// The present snapshot. Do not hold it across waiting: it keeps old data alive.
    pub fn snapshot(&self) -> SnapshotRef {
        SnapshotRef(self.snapshot.load())
    }

    /// Attaches an endpoint, or replaces the one with the same id, and gives the network's new revision.
    ///
    /// # Errors
    /// [`TableError::NetworkRemoved`].
    pub fn attach(&self, endpoint: Endpoint) -> Result<u64, TableError> {
        self.change(|change| change.attach(endpoint))
    }

    /// Replaces the endpoint with the given id by what `update` makes of it, which must not change this network itself.
    ///
    /// # Errors
    /// [`TableError::NoEndpoint`], [`TableError::NetworkRemoved`].
    pub fn update(&self, id: &str, update: impl FnOnce(Endpoint) -> Endpoint) -> Result<u64, TableError> {
        self.try_change(|change| {
            let old = change.next.endpoint(id).cloned().ok_or_else(|| self.no_endpoint(id))?;
            let new = update(old);
            if new.id() != id {
                change.detach(id);
            }
            change.attach(new);
            Ok(())
        })
    }

    /// Detaches the endpoint with the given id.
    ///
    /// # Errors
    /// [`TableError::NoEndpoint`], [`TableError::NetworkRemoved`].
    pub fn detach(&self, id: &str) -> Result<u64, TableError> {
        self.try_change(|change| change.detach(id).then_some(()).ok_or_else(|| self.no_endpoint(id)))
    }

    /// Replaces all endpoints of this host in one change, for a source that starts over. What is the same in both is not touched,
    /// and neither are other hosts' endpoints. The iterator must not change this network itself.
    ///
    /// # Errors
    /// [`TableError::NetworkRemoved`].
    pub fn replace_all(&self, endpoints: impl IntoIterator<Item = Endpoint>) -> Result<u64, TableError> {
        self.change(|change| change.replace_all(endpoints))
    }

    /// Makes several changes as one, to endpoints, settings and records: by the [`Change`] that `make` is given, and not by other calls of this network, which
    /// would wait for ever. What counts is what comes of them; if that is nothing, the revision stays.
    ///
    /// ```
    /// use callsign::table::{Endpoint, Network, Record};
    ///
    /// let web = Network::builder("web").build()?;
    /// let (db, note) = (Endpoint::builder("3f2a9c").name("db").build()?, Record::parse("db", "TXT", "primary", None)?);
    /// web.change(|change| {
    ///     change.attach(db);
    ///     change.add_record(note);
    ///     change.settings(|settings| settings.ttl = 30);
    /// })?;
    /// assert_eq!(web.snapshot().revision(), 1);
    /// # Ok::<(), callsign::table::TableError>(())
    /// ```
    ///
    /// # Errors
    /// [`TableError::NetworkRemoved`].
    pub fn change(&self, make: impl FnOnce(&mut Change<'_>)) -> Result<u64, TableError> {
        self.try_change(|change| {
            make(change);
            Ok(())
        })
    }

    /// Takes over settings, records and endpoints of another network, in one change. The name stays.
    ///
    /// If the other network was built from [`to_builder`](Network::to_builder), only what was changed in the builder is taken
    /// over: an endpoint that was attached, updated or detached here meanwhile is left as it is.
    ///
    /// # Errors
    /// [`TableError::NetworkRemoved`].
    pub fn replace_with(&self, other: &Network) -> Result<u64, TableError> {
        let base = other.lock().base.clone();
        let other = other.snapshot.load_full();
        self.change(|change| change.take_over(&other, base.as_deref()))
    }

    /// Makes these the records that the network has besides its own: what somebody adds while it is served. They stay when
    /// [`replace_with`](Network::replace_with) makes another network of it.
    ///
    /// # Errors
    /// [`TableError::NetworkRemoved`].
    pub fn set_added_records(&self, added: Vec<Record>) -> Result<u64, TableError> {
        self.change(|change| {
            let (settings, records) = (change.next.settings.clone(), change.next.records.clone());
            change.renew(settings, records, added.into());
        })
    }

    fn no_endpoint(&self, id: &str) -> TableError {
        TableError::NoEndpoint { network: self.name.to_string(), id: id.to_owned() }
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        // A writer that panicked left the old snapshot in place: nothing is half done.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change, unless `make` refuses it.
    pub(crate) fn try_change<E: From<TableError>>(
        &self,
        make: impl FnOnce(&mut Change<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let writer = self.lock();
        if writer.removed {
            return Err(TableError::NetworkRemoved(self.name.to_string()).into());
        }
        let old = self.snapshot.load_full();
        let join_epoch = self.home.get().map_or(0, |home| home.registry.join_epoch());
        let mut change = Change::new(&self.name, &old, self.home.get());
        make(&mut change)?;
        change.renew_if_pending();
        change.keep_what_came_of_it(&old);
        if !change.is_any(&old) {
            // An endpoint that came and went again has joined the registry, and its addresses have not.
            self.home.get().inspect(|home| home.leave(&change.left, &Marks::default()));
            return Ok(old.revision);
        }
        change.rebuild_touched();
        change.next.revision += 1;
        let Change { next, attached, renewed, left, came, went, settings_changed, .. } = change;
        let revision = next.revision;
        let Some(home) = self.home.get() else {
            self.snapshot.store(Arc::new(next));
            return Ok(revision);
        };
        home.join(&came);
        let subnets = settings_changed.then(|| next.settings.clone());
        subnets.inspect(|settings| home.join_subnets(settings));
        self.snapshot.store(Arc::new(next));
        // Once more, if another network may have come by meanwhile, and found the old snapshot's attachment.
        if home.registry.join_epoch() != join_epoch {
            attached.iter().chain(&renewed).for_each(|attachment| home.registry.join(attachment, &home.this));
        }
        home.leave(&left, &went);
        if settings_changed {
            home.leave_subnets(&old.settings);
        }
        home.registry.feed.push_with(|| Event::NetworkChanged {
            network: (*self.name).into(),
            revision,
            attached: ids(&attached).collect(),
            detached: ids(&left).filter(|id| old.attachment(id).is_some()).collect(),
            settings: settings_changed,
        });
        Ok(revision)
    }

    /// The other networks of the table that may have an endpoint with this address; their snapshots have the last word.
    pub(crate) fn networks_near(&self, address: IpAddr) -> impl Iterator<Item = Arc<Network>> {
        let near = self.home.get().map(|home| home.registry.addresses.near(address)).unwrap_or_default();
        near.into_iter().filter(|network| !std::ptr::eq(&**network, self))
    }

    /// The networks of the table in whose subnets an address lies, those with the longest prefix first; their snapshots have
    /// the last word.
    pub(crate) fn networks_around(&self, address: IpAddr) -> impl Iterator<Item = Arc<Network>> {
        self.home.get().into_iter().flat_map(move |home| home.registry.addresses.around(address))
    }

    /// Joins a table, before anybody else has the network: the endpoints' memberships become the table's.
    pub(super) fn settle(self: &Arc<Network>, registry: &Arc<Registry>) {
        self.lock().base = None;
        let _writer = self.lock();
        let this = Arc::downgrade(self);
        if self.home.set(TableRef { registry: registry.clone(), this: this.clone() }).is_err() {
            return;
        }
        let snapshot = self.snapshot.load();
        for attachment in snapshot.endpoints.iter() {
            registry.join(attachment, &this);
        }
        if let Some(home) = self.home.get() {
            home.join(&Marks::of(&snapshot));
            home.join_subnets(&snapshot.settings);
            self.zones.iter().for_each(|zone| registry.zones.join(zone, &this));
        }
        registry.feed.push_with(|| Event::NetworkAdded { network: (*self.name).into() });
    }

    /// Leaves its table: queries find nothing from here on, and changes are refused. False if it has left already.
    pub(super) fn remove(&self) -> bool {
        let mut writer = self.lock();
        if std::mem::replace(&mut writer.removed, true) {
            return false;
        }
        let old = self.snapshot.load_full();
        let left: Vec<Arc<Attachment>> = old.endpoints.iter().cloned().collect();
        let went = Marks::of(&old);
        let next = Snapshot::new(old.revision + 1, &self.name, old.settings.clone(), Arc::default(), Arc::default());
        self.snapshot.store(Arc::new(next));
        if let Some(home) = self.home.get() {
            home.leave(&left, &went);
            home.leave_subnets(&old.settings);
            self.zones.iter().for_each(|zone| home.registry.zones.leave(zone, &home.this));
            home.registry.feed.push_with(|| Event::NetworkRemoved { network: (*self.name).into() });
        }
        true
    }
}

/// The ids of endpoints.
fn ids(attachments: &[Arc<Attachment>]) -> impl Iterator<Item = Box<str>> {
    attachments.iter().map(|attachment| attachment.endpoint().id().into())
}

impl TableRef {
    /// Notes what the network's snapshot is about to have.
    fn join(&self, marks: &Marks) {
        marks.addresses.iter().for_each(|&address| self.registry.addresses.join(address, &self.this));
        marks.projects.iter().for_each(|project| self.registry.zones.join_project(project, &self.this));
    }

    /// Takes endpoints and what they were found by, which the network's snapshot no longer has, from the table's registry.
    fn leave(&self, endpoints: &[Arc<Attachment>], marks: &Marks) {
        for attachment in endpoints.iter().filter(|attachment| !attachment.is_remote()) {
            self.registry.leave(attachment.endpoint().id(), &self.this);
        }
        marks.addresses.iter().for_each(|&address| self.registry.addresses.leave(address, &self.this));
        marks.projects.iter().for_each(|project| self.registry.zones.leave_project(project, &self.this));
    }

    fn join_subnets(&self, settings: &Settings) {
        settings
            .subnets_with_strangers()
            .iter()
            .for_each(|&subnet| self.registry.addresses.join_subnet(subnet, &self.this));
    }

    fn leave_subnets(&self, settings: &Settings) {
        settings
            .subnets_with_strangers()
            .iter()
            .for_each(|&subnet| self.registry.addresses.leave_subnet(subnet, &self.this));
    }
}

/// What the table finds a network by, as its endpoints have it: each as often as an endpoint has it.
#[derive(Debug, Default)]
struct Marks {
    /// Addresses by which the endpoints are known at the gateways of other networks.
    addresses: Vec<IpAddr>,
    /// Compose projects.
    projects: Vec<Name>,
}

impl Marks {
    fn of(snapshot: &Snapshot) -> Marks {
        let mut marks = Marks::default();
        snapshot.endpoints().for_each(|endpoint| marks.add(endpoint, &snapshot.settings));
        marks
    }

    fn add(&mut self, endpoint: &Endpoint, settings: &Settings) {
        // Another host's is nobody's client, whatever the address (answers.md V7).
        if endpoint.is_remote() {
            return;
        }
        if settings.clients.are_known_elsewhere() {
            self.addresses.extend_from_slice(endpoint.addresses());
        }
        self.projects.extend(endpoint.project().cloned());
    }
}

/// Changes to a network that become visible together.
#[derive(Debug)]
pub struct Change<'n> {
    network: &'n str,
    next: Snapshot,
    /// Settings and records that the network is to have; made part of `next` once, at the end.
    pending: Option<Pending>,
    home: Option<&'n TableRef>,
    /// Names whose records are still to be made.
    touched: Vec<Name>,
    attached: Vec<Arc<Attachment>>,
    /// Endpoints that stayed as they are, under new settings.
    renewed: Vec<Arc<Attachment>>,
    /// What was detached; among it what this change had attached.
    left: Vec<Arc<Attachment>>,
    /// What the network is to be found by, and no longer.
    came: Marks,
    went: Marks,
    settings_changed: bool,
}

#[derive(Debug)]
struct Pending {
    settings: Settings,
    records: Vec<Record>,
}

impl<'n> Change<'n> {
    fn new(network: &'n str, old: &Snapshot, home: Option<&'n TableRef>) -> Change<'n> {
        Change {
            network,
            next: old.clone(),
            pending: None,
            home,
            touched: Vec::new(),
            attached: Vec::new(),
            renewed: Vec::new(),
            left: Vec::new(),
            came: Marks::default(),
            went: Marks::default(),
            settings_changed: false,
        }
    }

    /// Forgets what another part of the change undid: an endpoint that was detached and attached again is still there, one
    /// that was attached and detached again never was.
    fn keep_what_came_of_it(&mut self, old: &Snapshot) {
        let Change { next, attached, left, .. } = self;
        if left.is_empty() && next.endpoint_count() == old.endpoint_count() + attached.len() {
            // All of them are new: a network is being filled.
            return;
        }
        let present = |attachment: &Arc<Attachment>| next.attachment(attachment.endpoint().id());
        attached.retain(|attachment| present(attachment).is_some_and(|present| Arc::ptr_eq(present, attachment)));
        left.retain(|attachment| present(attachment).is_none());
        left.sort_by(|a, b| a.endpoint().id().cmp(b.endpoint().id()));
        left.dedup_by(|a, b| a.endpoint().id() == b.endpoint().id());
    }

    fn is_any(&self, old: &Snapshot) -> bool {
        let was_there = |attachment: &Arc<Attachment>| old.attachment(attachment.endpoint().id()).is_some();
        self.settings_changed || !self.attached.is_empty() || self.left.iter().any(was_there)
    }

    /// Attaches an endpoint, or replaces the one with the same id. An endpoint that is there already, just like this, is
    /// left alone.
    ///
    /// One of another host (with an [origin](super::HostOrigin)) never replaces one of this host.
    pub fn attach(&mut self, endpoint: Endpoint) {
        if let Some(old) = self.next.attachment(endpoint.id()) {
            if *old.endpoint() == endpoint || endpoint.is_remote() && !old.is_remote() {
                return;
            }
            self.take_out(&old.clone());
        }
        let attachment = self.insert(endpoint);
        self.attached.push(attachment);
    }

    /// Edits the network's settings. TTLs and [`hold`](Settings::hold) beyond their bounds count as these. Where the gateways
    /// are the listen addresses, they follow them.
    ///
    /// Sockets follow [`Settings::listen`] if the change is made by
    /// [`Server::change`](https://docs.rs/callsign/latest/callsign/server/struct.Server.html#method.change).
    pub fn settings(&mut self, edit: impl FnOnce(&mut Settings)) {
        let settings = &mut self.pending().settings;
        let gateways = settings.gateways.clone();
        let follow = gateways == gateways_of(&settings.listen);
        edit(settings);
        settings.bound();
        if follow && settings.gateways == gateways {
            settings.gateways = gateways_of(&settings.listen);
        }
    }

    /// Replaces the addresses to listen on; see [`settings`](Change::settings).
    pub fn listen(&mut self, addresses: impl IntoIterator<Item = Address>) {
        self.settings(|settings| settings.listen = addresses.into_iter().collect());
    }

    /// Adds a static record, beside those that the name has. A CNAME is an alias (answers.md N9).
    pub fn add_record(&mut self, record: Record) {
        self.pending().records.extend(record.with_a_labels());
    }

    /// Removes a static record, wherever it is there; false if it is nowhere.
    pub fn remove_record(&mut self, record: &Record) -> bool {
        let records = &mut self.pending().records;
        let before = records.len();
        for gone in record.clone().with_a_labels() {
            records.retain(|known| *known != gone);
        }
        records.len() < before
    }

    /// The static records, as changed so far.
    pub fn records(&self) -> &[Record] {
        self.pending.as_ref().map_or(&self.next.records, |pending| &pending.records)
    }

    /// The listen addresses, as changed so far.
    #[cfg(feature = "server")]
    pub(crate) fn listens_on(&self) -> &[Address] {
        &self.pending.as_ref().map_or(&*self.next.settings, |pending| &pending.settings).listen
    }

    fn pending(&mut self) -> &mut Pending {
        let Snapshot { settings, records, .. } = &self.next;
        self.pending.get_or_insert_with(|| Pending { settings: (**settings).clone(), records: records.to_vec() })
    }

    fn renew_if_pending(&mut self) {
        if let Some(Pending { settings, records }) = self.pending.take() {
            self.renew(settings.into(), records.into(), self.next.added.clone());
        }
    }

    /// Takes over what another network has, or only what it has differently from `base`.
    fn take_over(&mut self, other: &Snapshot, base: Option<&Snapshot>) {
        let Snapshot { settings, records, added, .. } = &self.next;
        let keeps = |is_same: fn(&Snapshot, &Snapshot) -> bool| base.is_some_and(|base| is_same(base, other));
        let settings = if keeps(|base, other| base.settings == other.settings) { settings } else { &other.settings };
        let records = if keeps(|base, other| base.records == other.records) { records } else { &other.records };
        self.renew(settings.clone(), records.clone(), added.clone());
        let Some(base) = base else { return self.replace_all(other.endpoints().cloned()) };
        let changed = other.endpoints().filter(|endpoint| base.endpoint(endpoint.id()) != Some(endpoint));
        changed.for_each(|endpoint| self.attach(endpoint.clone()));
        let gone = base.endpoints().filter(|endpoint| other.endpoint(endpoint.id()).is_none());
        gone.for_each(|endpoint| _ = self.detach(endpoint.id()));
    }

    /// Replaces settings and records, if they are others. The endpoints' records are made anew under them; their memberships
    /// stay.
    fn renew(&mut self, settings: Arc<Settings>, records: Arc<[Record]>, added: Arc<[Record]>) {
        if self.next.settings == settings && self.next.records == records && self.next.added == added {
            return;
        }
        let endpoints: Vec<Endpoint> = self.next.endpoints().cloned().collect();
        endpoints.iter().for_each(|endpoint| self.went.add(endpoint, &self.next.settings));
        let awaits_remote = self.next.awaits_remote;
        self.next =
            Snapshot { awaits_remote, ..Snapshot::new(self.next.revision, self.network, settings, records, added) };
        self.settings_changed = true;
        for endpoint in endpoints {
            let attachment = self.insert(endpoint);
            self.renewed.push(attachment);
        }
        // What this change attached before has another attachment now.
        for attachment in &mut self.attached {
            if let Some(present) = self.next.attachment(attachment.endpoint().id()) {
                *attachment = present.clone();
            }
        }
    }

    /// Says that the names of other hosts are not known yet, or are now. Until then a name of the network's domains that nobody has
    /// here is a failure, and not unknown (answers.md N8b). It stays when [`replace_with`](Network::replace_with) makes another
    /// network of this one.
    pub fn await_remote(&mut self, awaits: bool) {
        self.settings_changed |= self.next.awaits_remote != awaits;
        self.next.awaits_remote = awaits;
    }

    /// The endpoint with the given id, as changed so far.
    pub fn endpoint(&self, id: &str) -> Option<&Endpoint> {
        self.next.endpoint(id)
    }

    /// Detaches the endpoint with the given id; false if there is none.
    pub fn detach(&mut self, id: &str) -> bool {
        let Some(attachment) = self.next.attachment(id).cloned() else { return false };
        self.take_out(&attachment);
        self.left.push(attachment);
        true
    }

    /// Makes these the network's endpoints on this host. Of several with one id the last counts. Those of other hosts stay: see
    /// [`replace_host`](Change::replace_host).
    pub fn replace_all(&mut self, endpoints: impl IntoIterator<Item = Endpoint>) {
        self.replace(|old| !old.is_remote(), endpoints);
    }

    /// Makes these the network's endpoints on another host: those whose [origin](super::HostOrigin) it is.
    pub fn replace_host(&mut self, host: &Name, endpoints: impl IntoIterator<Item = Endpoint>) {
        let is_of = |endpoint: &Endpoint| endpoint.origin().is_some_and(|origin| origin.host() == host);
        self.replace(|old| is_of(old.endpoint()), endpoints.into_iter().filter(is_of));
    }

    /// Detaches all endpoints of another host.
    pub fn detach_host(&mut self, host: &Name) {
        self.replace_host(host, []);
    }

    /// Says that another host is not reachable, or is again. Its endpoints keep their names, and do not answer meanwhile
    /// (answers.md N8b).
    pub fn lose_host(&mut self, host: &Name, lost: bool) {
        let is_of = |endpoint: &&Endpoint| endpoint.origin().is_some_and(|origin| origin.host() == host);
        let changed: Vec<Endpoint> = self.next.endpoints().filter(is_of).cloned().collect();
        changed.into_iter().for_each(|endpoint| self.attach(endpoint.with_lost(lost)));
    }

    /// Replaces the endpoints that are meant.
    fn replace(&mut self, is_meant: impl Fn(&Arc<Attachment>) -> bool, endpoints: impl IntoIterator<Item = Endpoint>) {
        let old = self.next.endpoints.clone();
        let mut gone: HashSet<&str, RandomState> = old.iter().filter(|old| is_meant(old)).map(Keyed::key).collect();
        for endpoint in endpoints {
            gone.remove(endpoint.id());
            self.attach(endpoint);
        }
        for id in gone {
            self.detach(id);
        }
    }

    fn insert(&mut self, endpoint: Endpoint) -> Arc<Attachment> {
        let attachment = Arc::new(Attachment::new(endpoint));
        if let Some(home) = self.home {
            home.registry.join(&attachment, &home.this);
        }
        let all_names = self.next.names_of(&attachment);
        let Snapshot { names, settings, .. } = &mut self.next;
        for name in all_names {
            if !names.add_owner(&name, &attachment, settings) {
                self.touched.push(name.into_owned());
            }
        }
        self.came.add(attachment.endpoint(), settings);
        for &address in attachment.held_addresses() {
            self.next.add_holder(address, &attachment);
        }
        self.next.endpoints.insert(attachment.clone());
        attachment
    }

    fn take_out(&mut self, attachment: &Arc<Attachment>) {
        for name in self.next.names_of(attachment) {
            if !self.next.names.remove_owner(&name, attachment) {
                self.touched.push(name.into_owned());
            }
        }
        self.went.add(attachment.endpoint(), &self.next.settings);
        for &address in attachment.held_addresses() {
            self.next.remove_holder(address, attachment);
        }
        self.next.endpoints.remove(attachment.endpoint().id());
    }

    fn rebuild_touched(&mut self) {
        self.touched.sort_unstable();
        self.touched.dedup();
        for name in &self.touched {
            self.next.names.rebuild(name, &self.next.settings);
        }
    }
}
