//! The host view: the names of every network, for the host itself (answers.md V6).
//!
//! It has no table of its own. A name is searched for on the networks that it ends in, as they are at that moment: a change
//! of any network is seen at once, and the view costs nothing until it is asked.

mod search;
mod write;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::settings::HOST_DOMAIN;
use crate::table::{Address, Clients, NameTable, Network, NetworkBuilder, TableError};
use crate::wire::Name;

pub(super) use search::Search;
pub(super) use write::HostDisposition;

/// What the host view is called where networks are listed.
pub const HOST_VIEW: &str = "host view";

/// What a name in the host view answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum HostAnswer {
    /// The containers' addresses, for hosts that can route to them.
    #[default]
    Containers,
    /// The addresses of the host that their ports are published on.
    Published,
}

/// The names of every network of some tables as `NAME.NETWORK.DOMAIN`, and of Compose services as `SERVICE.PROJECT.DOMAIN`, for
/// the host that the containers run on (answers.md V6). Clones are the same view.
///
/// ```
/// use std::sync::Arc;
/// use callsign::responder::{Client, HostView, Listener, Responder, ResponderOptions, Verdict};
/// use callsign::table::{Endpoint, NameTable, Network};
///
/// let table = NameTable::new();
/// let db = Endpoint::builder("shop-db-1").address("10.10.1.3").name("db").build()?;
/// table.add(Network::builder("shop").endpoint(db).build()?)?;
///
/// let view = HostView::builder().domain("test").table(&table).build()?;
/// let listener = Listener::of_host_view(Arc::new(view), "127.0.0.55:53".parse()?);
/// let client = Client::udp(&listener, "127.0.0.1:40000".parse()?);
/// let query = b"\xab\xcd\x01\0\0\x01\0\0\0\0\0\0\x02db\x04shop\x04test\0\0\x01\0\x01";
/// let mut out = [0; 1232];
/// let verdict = Responder::new(Arc::new(ResponderOptions::default())).respond(query, &client, &mut out);
/// let Verdict::Reply(len) = verdict else { panic!("the host view never forwards") };
/// assert!(out[..len].ends_with(&[10, 10, 1, 3]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct HostView {
    /// Stands for the view where a listener has a network: its settings, and no endpoints.
    network: Arc<Network>,
    domains: Arc<[Name]>,
    answer: HostAnswer,
    tables: Vec<NameTable>,
}

impl HostView {
    /// Starts a host view.
    pub fn builder() -> HostViewBuilder {
        HostViewBuilder {
            network: Network::builder(HOST_VIEW).clients(Clients::Table).internal(true).host_names([""; 0]),
            domain: None,
            answer: HostAnswer::default(),
            tables: Vec::new(),
        }
    }

    /// The domain that all names lie below.
    pub fn domain(&self) -> &Name {
        &self.domains[0]
    }

    /// Where it is to listen.
    pub fn listen(&self) -> Vec<Address> {
        self.network.snapshot().settings().listen.clone()
    }

    /// What a name answers.
    pub fn answer(&self) -> HostAnswer {
        self.answer
    }

    /// The same view, which sees the networks of `table` before those of its other tables.
    #[must_use]
    pub fn before(mut self, table: &NameTable) -> HostView {
        self.tables.retain(|known| !known.is_same(table));
        self.tables.insert(0, table.clone());
        self
    }

    /// The networks that it sees, in no particular order.
    pub fn networks(&self) -> Vec<Arc<Network>> {
        let all = self.tables.iter().flat_map(NameTable::networks);
        all.filter(|network| search::is_seen(network)).collect()
    }

    /// Networks of different tables that have one name: of a name that both have, the first one's answers.
    pub fn namesakes(&self) -> Vec<(Arc<Network>, Arc<Network>)> {
        let mut namesakes = Vec::new();
        for (index, table) in self.tables.iter().enumerate() {
            for network in table.networks() {
                let Some(zone) = network.zone() else { continue };
                let key = search::key_of(zone.as_wire());
                let first = self.tables[..index].iter().flat_map(|earlier| search::called(earlier, key)).next();
                namesakes.extend(first.map(|first| (first, network)));
            }
        }
        namesakes
    }
}

/// Collects a [`HostView`]; the first mistake is reported by [`build`](HostViewBuilder::build).
#[derive(Debug, Clone)]
pub struct HostViewBuilder {
    network: NetworkBuilder,
    domain: Option<String>,
    answer: HostAnswer,
    tables: Vec<NameTable>,
}

impl HostViewBuilder {
    /// Adds an address to listen on, such as `127.0.0.55`; the port, where none is given, is the server's.
    pub fn listen(mut self, address: &str) -> HostViewBuilder {
        self.network = self.network.listen(address);
        self
    }

    /// Sets the domain; `containers.internal` unless said otherwise.
    pub fn domain(mut self, domain: &str) -> HostViewBuilder {
        self.domain = Some(domain.to_owned());
        self
    }

    /// Sets what a name answers.
    pub fn answer(mut self, answer: HostAnswer) -> HostViewBuilder {
        self.answer = answer;
        self
    }

    /// Adds a subnet that may ask. The first one replaces the default, which is the host itself, by any of its addresses.
    pub fn allow(mut self, subnet: &str) -> HostViewBuilder {
        self.network = self.network.allow(subnet);
        self
    }

    /// Adds a table whose networks are seen. Of networks with one name, those of the table that was added first come first. A
    /// server adds its own before them.
    pub fn table(mut self, table: &NameTable) -> HostViewBuilder {
        self.tables.push(table.clone());
        self
    }

    /// The view.
    ///
    /// # Errors
    /// The first part that was not understood.
    pub fn build(self) -> Result<HostView, TableError> {
        let network = self.network.domain(self.domain.as_deref().unwrap_or(HOST_DOMAIN)).build()?;
        let domains = network.snapshot().settings().domains.clone().into();
        Ok(HostView { network: Arc::new(network), domains, answer: self.answer, tables: self.tables })
    }
}

impl super::Listener {
    /// A listener of the host view at `address`.
    pub fn of_host_view(view: Arc<HostView>, address: SocketAddr) -> super::Listener {
        let network = view.network.clone();
        super::Listener::new(network, address).with_view(view)
    }
}
