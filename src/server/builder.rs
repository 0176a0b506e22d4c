//! Starting a server.

use std::sync::{Arc, Mutex};
use std::thread::available_parallelism;
use std::time::Duration;

use crate::forward::{ForwardOptions, Forwarder, Route, Tap, Upstreams};
use crate::responder::ResponderOptions;

use super::observe::Observer;
use super::shared::Shared;
use super::socket::ReadySocket;
use super::worker::{OnStart, Worker};
use super::{Server, ServerError};
use crate::settings::{Limits, ServerSettings};

/// More workers than this are started only if they are asked for.
const DEFAULT_WORKERS: usize = 4;

/// Configures a [`Server`] and starts it. Every setting has a default.
#[derive(Debug, Default)]
pub struct ServerBuilder {
    port: Option<u16>,
    workers: Option<usize>,
    forward: ForwardOptions,
    limits: Limits,
    responder: ResponderOptions,
    ready: Vec<ReadySocket>,
    on_worker_start: Option<OnStart>,
    observer: Option<Arc<dyn Observer>>,
    tap: Option<Arc<dyn Tap>>,
}

impl ServerBuilder {
    /// Sets the port of listen addresses that name none; 53 unless said otherwise. 0 lets the kernel choose one for each
    /// address, the same for UDP and TCP.
    pub fn port(mut self, port: u16) -> ServerBuilder {
        self.port = Some(port);
        self
    }

    /// Sets the number of worker threads, at least 1. Default: one per core, at most 4.
    pub fn workers(mut self, workers: usize) -> ServerBuilder {
        self.workers = Some(workers.max(1));
        self
    }

    /// Sets the upstreams of networks that have none of their own; `/etc/resolv.conf` unless said otherwise.
    pub fn upstreams(mut self, upstreams: Upstreams) -> ServerBuilder {
        self.forward.upstreams = upstreams;
        self
    }

    /// Sets the routes: domains that are forwarded elsewhere.
    pub fn routes(mut self, routes: Vec<Route>) -> ServerBuilder {
        self.forward.routes = routes;
        self
    }

    /// Sets how long a query may wait for its upstreams in all. Default: 4 seconds.
    pub fn forward_timeout(mut self, timeout: Duration) -> ServerBuilder {
        self.forward.timeout = timeout;
        self
    }

    /// Sets everything that holds for all networks at once, as a configuration file says it.
    pub fn settings(self, settings: ServerSettings) -> ServerBuilder {
        self.forwarding(settings.forward).responder(settings.responder).limits(settings.limits)
    }

    /// Sets all that is said of forwarding at once.
    pub fn forwarding(mut self, options: ForwardOptions) -> ServerBuilder {
        self.forward = options;
        self
    }

    /// Sets the limits.
    pub fn limits(mut self, limits: Limits) -> ServerBuilder {
        self.limits = limits;
        self
    }

    /// Sets the responder's options. A cookie secret that is all zero is replaced by a random one.
    pub fn responder(mut self, options: ResponderOptions) -> ServerBuilder {
        self.responder = options;
        self
    }

    /// Shows all queries to an observer. While it is [off](Observer::is_on), and where there is none, a query costs the same.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> ServerBuilder {
        self.observer = Some(observer);
        self
    }

    /// Shows all messages to and from upstreams to a tap.
    pub fn tap(mut self, tap: Arc<dyn Tap>) -> ServerBuilder {
        self.tap = Some(tap);
        self
    }

    /// Hands in sockets that are ready-made, as a service manager does. Each is used for the listen address that it is
    /// bound to.
    pub fn sockets(mut self, sockets: Vec<ReadySocket>) -> ServerBuilder {
        self.ready = sockets;
        self
    }

    /// Calls `start` on each worker thread before that thread serves anything, with the worker's number from 1 on: to drop
    /// privileges, to set a priority, to pin it to a processor.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use callsign::server::Server;
    ///
    /// let builder = Server::builder().workers(2).on_worker_start(|number| println!("worker {number}"));
    /// builder.start().await?.shutdown().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The first sockets of a network are bound by the thread that adds the network, and those that could not be bound are
    /// tried again by a worker.
    pub fn on_worker_start(mut self, start: impl Fn(usize) + Send + Sync + 'static) -> ServerBuilder {
        self.on_worker_start = Some(OnStart::new(start));
        self
    }

    /// Starts the worker threads. The server has no networks yet.
    ///
    /// # Errors
    /// [`ServerError::Worker`], [`ServerError::Random`].
    pub async fn start(mut self) -> Result<Server, ServerError> {
        if self.responder.cookie_secret == [0; 16] {
            getrandom::fill(&mut self.responder.cookie_secret)
                .map_err(|error| ServerError::Random(error.to_string()))?;
        }
        let cores = available_parallelism().map_or(1, |cores| cores.get().min(DEFAULT_WORKERS));
        let count = self.workers.unwrap_or(cores);
        let start = |number| Worker::start(number, self.on_worker_start.clone());
        let workers: Vec<Worker> = (1..=count).map(start).collect::<Result<_, _>>().map_err(ServerError::Worker)?;
        let forwarder = Forwarder::new(self.forward);
        if let Some(tap) = self.tap {
            forwarder.set_tap(tap);
        }
        let mut shared = Shared::new(self.port.unwrap_or(53), forwarder, self.limits, self.responder);
        shared.observer = self.observer;
        Ok(Server {
            shared: Arc::new(shared),
            handles: workers.iter().map(|worker| worker.handle().clone()).collect(),
            workers: Mutex::new(workers),
            ready: Mutex::new(self.ready),
            host_view: Mutex::default(),
            opened: Default::default(),
            changing: Default::default(),
        })
    }
}
