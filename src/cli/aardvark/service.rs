//! The directory and the server, joined: what the files say is what is served.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use callsign::control::Control;
use callsign::control::shapes::Reloaded;
use callsign::server::{ListenerState, ListenerStatus, Server};
use callsign::source::podman::{Directory, DirectoryReading};
use callsign::table::Network;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, error};

use super::arguments::Job;
use super::overrides::Overrides;
use crate::cli::host::Hosts;
use crate::cli::sandbox::Sandbox;
use crate::cli::steering::Steering;

/// Worker threads, unless podman.toml says otherwise. One answers more than 100,000 queries a second.
const WORKERS: usize = 2;
/// How long somebody who was asked to may take to leave a gateway, and the pause between two looks.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

/// A server and the directory that it follows.
#[derive(Debug)]
pub(super) struct Service {
    overrides: Overrides,
    server: Arc<Server>,
    steering: Arc<Steering>,
    directory: Directory,
    sandbox: Sandbox,
    hosts: Hosts,
    /// How many networks the directory has, with those that are half written.
    left: usize,
    /// When the directory is to be read without a signal: a file of it was half written.
    again: Option<Instant>,
}

impl Service {
    /// A server that has no networks yet.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) async fn start(job: &Job, steering: Arc<Steering>) -> Result<Service, String> {
        let overrides = Overrides::read(job);
        let sandbox = Sandbox::new((!job.no_sandbox).then(|| overrides.needs(job)));
        let worker_sandbox = sandbox.clone();
        let server = &overrides.config().server;
        let server = Server::builder()
            .port(job.port)
            .workers(server.workers.unwrap_or(WORKERS))
            .forwarding(overrides.forwarding())
            .limits(server.settings.limits.clone())
            .responder(server.settings.responder.clone())
            .on_worker_start(move |_| worker_sandbox.enter())
            .observer(steering.hub())
            .tap(steering.hub())
            .start()
            .await
            .map_err(|error| error.to_string())?;
        let directory = Directory::new(&job.directory).filter_domain(&job.domain).template(overrides.template());
        let (server, hosts) = (Arc::new(server), Hosts::default());
        let mut service = Service { overrides, server, steering, directory, sandbox, hosts, left: 0, again: None };
        if service.hosts.want(service.overrides.config().server.hosts) {
            service.server.set_hosts(service.hosts.names());
        }
        Ok(service)
    }

    /// Waits until /etc/hosts is to be looked at; for ever where it is not followed.
    pub(super) async fn hosts_due(&self) {
        self.hosts.due().await;
    }

    /// Puts in force what /etc/hosts says.
    pub(super) fn look_at_hosts(&mut self) {
        if self.hosts.look() {
            self.server.set_hosts(self.hosts.names());
        }
    }

    /// Reads the directory, and the settings, and puts what is new in force: when this returns queries see it.
    pub(super) async fn read(&mut self) {
        let is_renewed = self.overrides.read_again();
        let mut of_operation = Reloaded::default();
        if is_renewed {
            let server = &self.overrides.config().server;
            self.server.set_forwarding(self.overrides.forwarding());
            self.server.set_limits(server.settings.limits.clone());
            self.server.set_responder_options(server.settings.responder.clone());
            if self.hosts.want(server.hosts) {
                self.server.set_hosts(self.hosts.names());
            }
            self.directory.set_template(self.overrides.template());
            of_operation = self.steering.change(&self.server, &self.overrides.config().operation).await;
        }
        let reading = self.look();
        self.note(&reading, is_renewed, of_operation);
        if reading.networks.is_empty() && reading.removed.is_empty() {
            return;
        }
        if let Err(error) = self.server.update(reading.networks, &reading.removed).await {
            debug!(%error, "the networks do not go together; taking them one by one");
            self.take_apart(&reading.removed).await;
        }
    }

    /// Tells the control socket what a reading came to.
    fn note(&self, reading: &DirectoryReading, is_renewed: bool, of_operation: Reloaded) {
        let is_new = |name: &&str| self.server.table().network(name).is_none();
        let (added, changed): (Vec<&str>, Vec<&str>) = reading.networks.iter().map(Network::name).partition(is_new);
        let mut changed: Vec<String> =
            changed.into_iter().map(str::to_owned).chain(reading.changed.iter().cloned()).collect();
        changed.sort();
        changed.dedup();
        self.steering.note(Reloaded {
            added: added.into_iter().map(str::to_owned).collect(),
            changed,
            removed: reading.removed.clone(),
            settings: is_renewed,
            errors: self.overrides.mistakes().to_vec(),
            ..of_operation
        });
    }

    /// Opens the control socket, and confines the process: the start is done.
    pub(super) async fn open_control(&self) -> Option<Control> {
        self.steering.start(&self.server, "podman", &self.overrides.config().operation, &self.sandbox).await
    }

    /// Reads the directory.
    fn look(&mut self) -> DirectoryReading {
        let reading = self.directory.read(self.server.table());
        self.left = reading.left;
        self.again = reading.again.map(|after| Instant::now() + after);
        debug!(
            networks = reading.networks.len(),
            changed = reading.changed.len(),
            removed = reading.removed.len(),
            left = reading.left,
            "directory read"
        );
        reading
    }

    /// Takes each network by itself, after a change that was refused whole. One that cannot be served beside the others, as
    /// the file of a network that is no more may want the same gateway, is logged.
    async fn take_apart(&mut self, removed: &[String]) {
        // What was given and refused is given again so.
        self.directory.set_template(self.overrides.template());
        let reading = self.look();
        let gone: Vec<String> = removed.iter().chain(&reading.removed).cloned().collect();
        if let Err(error) = self.server.update(Vec::new(), &gone).await {
            error!("{error}; networks that are gone are still served");
        }
        for network in reading.networks {
            if let Err(error) = self.server.update(vec![network], &[]).await {
                error!("{error}; it is not served");
            }
        }
    }

    /// True if there is nothing to serve, and nothing half written that may come to be.
    pub(super) fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// True if some network is served.
    pub(super) fn is_serving(&self) -> bool {
        !self.server.table().networks().is_empty()
    }

    /// True if the directory is to be read again before long, without a signal.
    pub(super) fn is_unsure(&self) -> bool {
        self.again().is_some()
    }

    fn again(&self) -> Option<Instant> {
        self.again.into_iter().chain(self.overrides.again()).min()
    }

    /// Waits until then.
    pub(super) async fn wait(&self) {
        match self.again() {
            Some(again) => sleep_until(again).await,
            None => std::future::pending().await,
        }
    }

    /// Which sockets could not be bound, in the words that netavark's users know. Of a gateway that fails for UDP the TCP
    /// socket is not told of.
    pub(super) fn failures(&self) -> Vec<String> {
        let mut told = HashSet::new();
        let listeners = self.server.status().listeners;
        let failed = listeners.iter().filter_map(|listener| match &listener.state {
            ListenerState::Failed { error, .. } => Some((listener, error)),
            _ => None,
        });
        let first = failed.filter(|(listener, _)| told.insert(listener.listen.clone()));
        let message = |(listener, error): (&ListenerStatus, &String)| {
            let transport = if listener.tcp { "tcp" } else { "udp" };
            format!("failed to bind {transport} listener on {}: IO error: {error}", listener.listen)
        };
        first.map(message).collect()
    }

    /// Waits until all sockets are bound, which is tried again and again, but not for long.
    pub(super) async fn wait_for_sockets(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.failures().is_empty() && Instant::now() < deadline {
            sleep(PAUSE).await;
        }
    }

    /// Stops the server, after what was asked is answered.
    pub(super) async fn stop(&self) {
        self.server.shutdown().await;
    }
}
