//! Docker's networks, beside those of the file.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use callsign::server::{ListenerState, ListenerStatus, Server};
use callsign::source::config::{DockerConfig, NetworkPolicies};
use callsign::source::docker::{Activity, Docker, DockerOptions, Presence, Reading};
use callsign::table::{Address, Protocol};
use tracing::{debug, error, info, warn};

use crate::cli::docker::{in_the_way, unmatched_patterns};

/// The engine, and which of the server's networks are its own.
#[derive(Debug)]
pub(super) struct Engine {
    docker: Docker,
    options: DockerOptions,
    config: DockerConfig,
    additions: Arc<NetworkPolicies>,
    /// Names of networks.
    served: BTreeSet<String>,
    /// True if the networks have all been read once, and what is odd about them was logged.
    has_warned: bool,
    /// The containers that have a listener's port, as they were logged.
    in_the_way: BTreeSet<String>,
}

impl Engine {
    pub(super) fn new(options: DockerOptions, additions: NetworkPolicies, config: DockerConfig) -> Engine {
        let docker = Docker::new(options.clone());
        let mut engine = Engine {
            docker,
            options,
            config,
            additions: Arc::default(),
            served: BTreeSet::new(),
            has_warned: false,
            in_the_way: BTreeSet::new(),
        };
        engine.add(additions);
        engine
    }

    /// Puts other settings in force. True if they are others than before, those of the file's networks aside.
    pub(super) fn configure(
        &mut self,
        options: DockerOptions,
        additions: NetworkPolicies,
        config: DockerConfig,
    ) -> bool {
        let is_same_place = options.socket == self.options.socket;
        let mut own = options.clone();
        (own.taken, own.taken_addresses) = (self.options.taken.clone(), self.options.taken_addresses.clone());
        let is_changed = own != self.options || !additions.is_same(&self.additions);
        // What the file has now is no longer Docker's to remove.
        self.served.retain(|name| !options.taken.contains(name));
        if !is_same_place {
            info!(socket = super::super::docker::socket(&options), "Docker is followed at another socket");
        }
        self.docker.set_options(options.clone());
        (self.options, self.config) = (options, config);
        self.add(additions);
        self.has_warned = false;
        is_changed
    }

    /// Why a network of Docker's has no listener of its own; `None` if it has one.
    pub(super) fn why_no_listener(&self, network: &str) -> Option<String> {
        self.docker.why_no_listener(network)
    }

    /// Closes the listeners that the file's networks are to have from now on. Follow it up with
    /// [`configure`](Engine::configure), or with [`restore`](Engine::restore) if the file is not used after all.
    pub(super) async fn release(&mut self, server: &Server, options: &DockerOptions) {
        let is_wanted = |address: &Address| {
            let at = SocketAddr::new(address.ip(), address.port().unwrap_or(options.port));
            options.taken_addresses.contains_key(&at)
        };
        let listens = |name: &&String| {
            let network = server.table().network(name);
            network.is_some_and(|network| network.snapshot().settings().listen.iter().any(is_wanted))
        };
        let names: Vec<String> =
            self.served.iter().filter(|name| !options.taken.contains(*name)).filter(listens).cloned().collect();
        if names.is_empty() {
            return;
        }
        let mut released = self.options.clone();
        released.taken_addresses.extend(options.taken_addresses.clone());
        self.docker.set_options(released);
        let networks = names.iter().filter_map(|name| self.docker.network(name)).collect();
        if let Err(error) = server.update(networks, &[]).await {
            error!("{error}");
        }
    }

    /// Takes back what was [released](Engine::release).
    pub(super) fn restore(&mut self) {
        self.docker.set_options(self.options.clone());
    }

    fn add(&mut self, additions: NetworkPolicies) {
        self.additions = Arc::new(additions);
        let additions = self.additions.clone();
        self.docker.set_template(move |name, builder| additions.apply(name, builder));
    }

    /// True until all that the engine has was read once, or it was found to be away.
    pub(super) fn is_starting(&self) -> bool {
        self.docker.presence() == Presence::Starting
    }

    /// True while it answers, and all that it has was read.
    pub(super) fn is_connected(&self) -> bool {
        self.docker.presence() == Presence::Following
    }

    /// What following it comes to.
    pub(super) fn activity(&self) -> Arc<Activity> {
        self.docker.activity()
    }

    /// Names of the networks that are served for it.
    pub(super) fn served(&self) -> Vec<String> {
        self.served.iter().cloned().collect()
    }

    /// Waits until there is something to [read](Engine::read). Cancelling it loses nothing.
    pub(super) async fn changed(&mut self) {
        self.docker.changed().await;
    }

    /// Puts in force what has changed, and gives the names of the networks that are new.
    pub(super) async fn read(&mut self, server: &Server) -> Vec<String> {
        let Reading { networks, removed, changed, notices, .. } = self.docker.read(server.table());
        notices.iter().for_each(|notice| warn!("{notice}"));
        debug!(networks = networks.len(), removed = removed.len(), changed = changed.len(), "Docker read");
        let removed: Vec<String> = removed.into_iter().filter(|name| self.served.remove(name)).collect();
        let mut added = Vec::new();
        if !networks.is_empty() || !removed.is_empty() {
            let names: Vec<String> = networks.iter().map(|network| network.name().to_owned()).collect();
            match server.update(networks, &removed).await {
                Ok(applied) => {
                    added = applied.added;
                    self.served.extend(names);
                }
                Err(error) => {
                    debug!(%error, "the networks do not go together; taking them one by one");
                    added = self.update_one_by_one(server, names, &removed).await;
                }
            }
        }
        if !self.has_warned && self.docker.presence() == Presence::Following {
            self.has_warned = true;
            self.warn(server);
        }
        self.tell_of_publishers(server);
        added
    }

    /// Logs, once each, which containers have the ports of listeners that could not be bound: the holder of a port is not to be
    /// seen from within a sandbox, but Docker says who publishes it.
    fn tell_of_publishers(&mut self, server: &Server) {
        let publishers = self.docker.publishers(self.options.port);
        if publishers.is_empty() {
            return self.in_the_way.clear();
        }
        let text = |listener: ListenerStatus| {
            let is_failed = matches!(listener.state, ListenerState::Failed { .. });
            let address: Address = listener.listen.parse().ok().filter(|_| is_failed)?;
            let at = SocketAddr::new(address.ip(), address.port().unwrap_or(self.options.port));
            let of_listener = if listener.tcp { Protocol::Tcp } else { Protocol::Udp };
            let publishers = publishers.iter().filter(|publisher| publisher.protocol == of_listener);
            in_the_way(publishers, &listener.network, at)
        };
        let told: BTreeSet<String> = server.status().listeners.into_iter().filter_map(text).collect();
        told.difference(&self.in_the_way).for_each(|text| warn!("{text}"));
        self.in_the_way = told;
    }

    /// Updates each network by itself, after an update of all of them was refused.
    async fn update_one_by_one(&mut self, server: &Server, names: Vec<String>, removed: &[String]) -> Vec<String> {
        if let Err(error) = server.update(Vec::new(), removed).await {
            error!("{error}; networks that are gone are still served");
        }
        let mut added = Vec::new();
        for name in names {
            let Some(network) = self.docker.network(&name) else { continue };
            match server.update(vec![network], &[]).await {
                Ok(applied) => {
                    added.extend(applied.added);
                    self.served.insert(name);
                }
                Err(error) => error!("{error}; it is not served"),
            }
        }
        added
    }

    /// Logs what will not work although nothing has failed.
    fn warn(&self, server: &Server) {
        for problem in unmatched_patterns(Some(&self.config), &self.docker) {
            warn!("{problem}");
        }
        for problem in self.additions.unmatched(|name| self.served.contains(name)) {
            warn!("{problem}");
        }
        let listeners =
            server.status().listeners.into_iter().filter(|listener| self.served.contains(&listener.network));
        let addresses = listeners.filter_map(|listener| match listener.state {
            ListenerState::Listening(address) => Some(address),
            _ => None,
        });
        // The server's own sockets are bound before the address is there; this one is not.
        let is_absent = |ip: &IpAddr| UdpSocket::bind((*ip, 0)).is_err();
        let absent: BTreeSet<IpAddr> = addresses.map(|address| address.ip()).filter(is_absent).collect();
        if !absent.is_empty() {
            let absent: Vec<String> = absent.iter().map(ToString::to_string).collect();
            warn!(
                "this machine has no interface with {}, so nothing can ask there; a callsign in a container needs \
                 `network_mode: host`",
                absent.join(", ")
            );
        }
    }
}
