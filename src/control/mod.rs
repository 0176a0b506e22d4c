//! Inspecting and controlling a running server: HTTP/1.1 and JSON on a unix socket, described by `docs/openapi.json`.
//!
//! [`Control::start`] serves a [`Server`] beside its queries, on the runtime that it is called in, which should not be one of
//! the server's own. Whoever may open the socket may look; changing something takes root, the server's own user, or the
//! control group. What only the program can do, reading its configuration again or changing its log, it does as [`Host`].
//!
//! The [`Hub`] is the server's [`Observer`](crate::server::Observer): queries go through it to those who watch them, to the
//! query log and to dnstap; it is the forwarder's [`Tap`](crate::forward::Tap), too. Knows nothing of arguments, signals or configuration files.

mod added;
pub mod client;
mod containers;
mod coredns;
mod dnstap;
mod explain;
mod explain_host;
mod hosts;
mod http;
mod hub;
mod look;
mod metrics;
mod page;
mod peer;
mod query_log;
#[doc(hidden)]
pub mod rdata;
mod records;
mod routes;
pub mod shapes;
mod socket;
mod time;
mod watch;

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinHandle;

use crate::server::Server;
use crate::settings::StoreStatus;

pub use dnstap::{Dnstap, DnstapStatus, DnstapTarget};
pub use explain::{Inquiry, Outcome, World, explain};
#[doc(hidden)]
pub use http::parameters;
pub use hub::{Hub, Only};
pub use metrics::{Metrics, MetricsOptions};
pub use page::PageOptions;
#[doc(hidden)]
pub use page::{is_given, is_own};
pub use query_log::{QueryLog, QueryLogOptions};
pub use socket::{Place, directories, directory, running};

/// The description of the paths and shapes (OpenAPI 3.1), as `/v1/openapi.json` gives it.
pub const OPENAPI: &str = include_str!("../../docs/openapi.json");

/// This moment, as the shapes have it: RFC 3339, in UTC.
pub fn now() -> String {
    time::rfc3339(SystemTime::now())
}

/// What the program around the server knows and does.
pub trait Host: Send + Sync + 'static {
    /// Where the networks come from.
    fn source(&self) -> shapes::Source;

    /// When they were last read with success.
    fn last_sync(&self) -> Option<SystemTime>;

    /// What following the source has come to.
    fn source_activity(&self) -> SourceActivity;

    /// How many readings succeeded, and how many failed.
    fn reloads(&self) -> (u64, u64);

    /// Since when the program runs.
    fn started(&self) -> SystemTime;

    /// What of the configuration is not in force, and why: an address of the metrics that cannot be bound, a log that cannot
    /// be written. Nothing, unless said otherwise.
    fn problems(&self) -> Vec<String> {
        Vec::new()
    }

    /// True once the server is about to stop.
    fn is_stopping(&self) -> bool;

    /// Reads the source again.
    fn reload(&self) -> Pin<Box<dyn Future<Output = shapes::Reloaded> + Send + '_>>;

    /// What the process has given up. Nothing, unless said otherwise.
    fn confined(&self) -> Option<shapes::Confined> {
        None
    }

    /// How the store stands that connects this host with others. There is none, unless said otherwise.
    fn store(&self) -> Option<StoreStatus> {
        None
    }

    /// Sets the level of the log.
    ///
    /// # Errors
    /// What is wrong with it.
    fn set_log_level(&self, level: &str) -> Result<(), String>;
}

/// What following a source has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceActivity {
    /// How often all of it was read.
    pub resyncs: u64,
    /// How long the last change took to be in force, where the source says when it happened.
    pub lag: Option<Duration>,
}

/// What a control socket is started with.
#[derive(Debug)]
pub struct ControlOptions {
    /// Where it is.
    pub place: Place,
    /// The file of the names that are kept over a restart; `None` keeps none.
    pub state: Option<PathBuf>,
}

/// A control socket that is served. Dropping it ends that, and removes the socket.
#[derive(Debug)]
pub struct Control {
    socket: socket::Socket,
    tasks: Vec<JoinHandle<()>>,
}

/// What requests are answered from.
pub(in crate::control) struct State {
    reads: Reads,
    added: Arc<added::Names>,
    group: Option<String>,
}

/// What is read of a running server, by the control socket and by the page.
pub(in crate::control) struct Reads {
    server: Arc<Server>,
    host: Arc<dyn Host>,
    hub: Arc<Hub>,
    /// The last count of queries.
    sample: Mutex<Option<Sample>>,
}

/// A count of queries.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    queries: u64,
    /// Queries a second until then.
    rate: f64,
}

impl Reads {
    fn new(server: Arc<Server>, host: Arc<dyn Host>, hub: Arc<Hub>) -> Reads {
        Reads { server, host, hub, sample: Mutex::default() }
    }
}

impl Control {
    /// Opens the socket and serves it by tasks of this runtime.
    ///
    /// # Errors
    /// The socket cannot be made: another server has it, the group does not exist, the directory cannot be written to.
    pub fn start(
        server: Arc<Server>,
        host: Arc<dyn Host>,
        hub: Arc<Hub>,
        options: ControlOptions,
    ) -> io::Result<Control> {
        let ControlOptions { place, state } = options;
        let mut socket = socket::Socket::bind(&place)?;
        let listener = socket.listener.take().ok_or(io::ErrorKind::NotConnected)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        let added = Arc::new(added::Names::load(server.clone(), state));
        let reads = Reads::new(server, host, hub);
        let state = Arc::new(State { reads, added: added.clone(), group: place.group });
        let tasks = vec![tokio::spawn(added.keep()), tokio::spawn(http::serve(routes::Unix(listener), state))];
        Ok(Control { socket, tasks })
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.socket.path
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
