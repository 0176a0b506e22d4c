//! Docker's networks, beside those of the file.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;

use callsign::server::{ListenerState, Server};
use callsign::source::config::NetworkPolicies;
use callsign::source::docker::{Docker, DockerOptions, Presence, Reading};
use tracing::{debug, error, warn};

/// The engine, and which of the server's networks are its own.
#[derive(Debug)]
pub(super) struct Engine {
    docker: Docker,
    additions: Arc<NetworkPolicies>,
    /// Names of networks.
    served: BTreeSet<String>,
    /// True if the networks have all been read once, and what is odd about them was told.
    is_told: bool,
}

impl Engine {
    pub(super) fn new(options: DockerOptions, additions: NetworkPolicies) -> Engine {
        let docker = Docker::new(options);
        let mut engine = Engine { docker, additions: Arc::default(), served: BTreeSet::new(), is_told: false };
        engine.add(additions);
        engine
    }

    /// Puts other settings in force.
    pub(super) fn configure(&mut self, options: DockerOptions, additions: NetworkPolicies) {
        // What the file has now is no longer Docker's to remove.
        self.served.retain(|name| !options.taken.contains(name));
        self.docker.set_options(options);
        self.add(additions);
        self.is_told = false;
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
                    added = self.take_apart(server, names, &removed).await;
                }
            }
        }
        if !self.is_told && self.docker.presence() == Presence::Following {
            self.is_told = true;
            self.tell(server);
        }
        added
    }

    /// Takes each network by itself, after a change that was refused whole: one wants an address that a network of the file has.
    async fn take_apart(&mut self, server: &Server, names: Vec<String>, removed: &[String]) -> Vec<String> {
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

    /// Says what will not work although all is in order.
    fn tell(&self, server: &Server) {
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
                "this machine has no interface with {}, so nobody can ask there; a callsign in a container needs \
                 `network_mode: host`",
                absent.join(", ")
            );
        }
    }
}
