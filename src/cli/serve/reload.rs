//! Putting a configuration into force: at the start, and over a running server at each reload. Docker is followed beside it.

use std::path::PathBuf;

use callsign::forward::ForwardOptions;
use callsign::server::{Applied, ListenerState, Server};
use callsign::source::config::{Config, ConfigError, NetworkPolicies, RouteConfig, ServerConfig, Watcher};
use callsign::source::docker::DockerOptions;
use tracing::{error, info, warn};

use super::super::{docker, settings};
use super::docker::Engine;
use super::supervisor;

/// Ports below this need a privilege.
const UNPRIVILEGED: u16 = 1024;

/// A server and the configuration that is in force.
pub(super) struct Service {
    server: Server,
    path: PathBuf,
    /// True if `--docker` asks for it.
    is_docker_asked: bool,
    docker: Option<Engine>,
    /// Names of the file's networks.
    networks: Vec<String>,
    settings: ServerConfig,
    routes: Vec<RouteConfig>,
}

impl Service {
    /// A server that has no networks yet.
    pub(super) fn new(server: Server, path: PathBuf, is_docker_asked: bool) -> Service {
        Service {
            server,
            path,
            is_docker_asked,
            docker: None,
            networks: Vec::new(),
            settings: ServerConfig::default(),
            routes: Vec::new(),
        }
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Puts the first configuration into force; the server was started with its settings.
    ///
    /// # Errors
    /// Why the networks were not taken.
    pub(super) async fn start(&mut self, config: Config) -> Result<(), String> {
        config.warnings.iter().for_each(|warning| warn!("{warning}"));
        if config.networks.is_empty() && config.docker.is_none() {
            warn!(config = %self.path.display(), "there is no network: nothing is answered until the file has one");
        }
        let docker = docker::options(&config);
        self.networks = names(&config);
        let applied = self.server.apply(config.networks).await.map_err(|error| error.to_string())?;
        self.follow(docker, config.additions).await;
        (self.settings, self.routes) = (config.server, config.routes);
        self.tell_of_networks(&applied.added);
        self.tell_of_privilege();
        Ok(())
    }

    /// Reads the file again. If it has an error nothing changes.
    pub(super) async fn reload(&mut self, reason: &str, watcher: Option<&Watcher>) {
        supervisor::reloading();
        let content = Config::content(&self.path);
        if let (Some(watcher), Ok(content)) = (watcher, &content) {
            watcher.note(content.clone());
        }
        let origin = self.path.display().to_string();
        let config = match content {
            Ok(content) => Config::from_octets(&content, &origin),
            Err(cause) => Err(ConfigError::unreadable(&origin, &cause)),
        };
        match config {
            Ok(config) => self.replace(docker::with_docker(config, self.is_docker_asked), reason).await,
            Err(error) => {
                error.problems().iter().for_each(|problem| error!("{problem}"));
                error!(reason, "not reloaded: the file has errors, so everything stays as it is");
            }
        }
        supervisor::ready(&self.server);
    }

    /// Follows Docker with these options, or no longer.
    async fn follow(&mut self, options: Option<DockerOptions>, additions: NetworkPolicies) {
        match (options, &mut self.docker) {
            (Some(options), Some(engine)) => engine.configure(options, additions),
            (Some(options), none) => *none = Some(Engine::new(options, additions)),
            (None, engine) => {
                let gone = engine.take().map(|engine| engine.served()).unwrap_or_default();
                if let Err(error) = self.server.update(Vec::new(), &gone).await {
                    error!(%error, "Docker's networks are still served");
                }
            }
        }
    }

    /// True while Docker's networks are read for the first time.
    pub(super) fn is_starting(&self) -> bool {
        self.docker.as_ref().is_some_and(Engine::is_starting)
    }

    /// Waits until something has happened in Docker; for ever where it is not followed. Cancelling it loses nothing.
    pub(super) async fn docker_changed(&mut self) {
        match &mut self.docker {
            Some(engine) => engine.changed().await,
            None => std::future::pending().await,
        }
    }

    /// Puts in force what has changed in Docker.
    pub(super) async fn read_docker(&mut self) {
        if let Some(engine) = &mut self.docker {
            let added = engine.read(&self.server).await;
            self.tell_of_networks(&added);
        }
    }

    async fn replace(&mut self, config: Config, reason: &str) {
        let options = (
            settings::forwarding(&config.server, &config.cache, &config.routes),
            settings::responder(&config.server),
            settings::limits(&config.server),
        );
        let (docker, names) = (docker::options(&config), names(&config));
        let Config { server, networks, additions, routes, warnings, .. } = config;
        let applied = match self.server.update(networks, &self.networks).await {
            Ok(applied) => applied,
            Err(error) => {
                error!(reason, %error, "not reloaded: everything stays as it is");
                return;
            }
        };
        self.networks = names;
        self.follow(docker, additions).await;
        warnings.iter().for_each(|warning| warn!("{warning}"));
        if server.workers != self.settings.workers {
            warn!("another number of workers takes a restart");
        }
        let is_changed = server != self.settings || routes != self.routes;
        if is_changed {
            let (forwarding, responder, limits): (ForwardOptions, _, _) = options;
            self.server.set_forwarding(forwarding);
            self.server.set_responder_options(responder);
            self.server.set_limits(limits);
            (self.settings, self.routes) = (server, routes);
        }
        tell_of_reload(reason, &applied, is_changed);
        self.tell_of_networks(&[&applied.added[..], &applied.changed[..]].concat());
    }

    /// One line for each of these networks.
    fn tell_of_networks(&self, names: &[String]) {
        let listeners = self.server.status().listeners;
        for network in names.iter().filter_map(|name| self.server.table().network(name)) {
            let own = || listeners.iter().filter(|listener| listener.network == network.name());
            let mut listen: Vec<String> = own()
                .filter_map(|listener| match listener.state {
                    ListenerState::Listening(address) => Some(address.to_string()),
                    _ => None,
                })
                .collect();
            listen.dedup();
            let endpoints = network.snapshot().endpoint_count();
            // Why a socket could not be bound was logged when it was tried.
            match own().filter(|listener| !matches!(listener.state, ListenerState::Listening(_))).count() {
                0 => info!(network = network.name(), listen = listen.join(" "), endpoints, "network is served"),
                missing if listen.is_empty() => {
                    warn!(network = network.name(), missing, endpoints, "network is not served yet: it listens nowhere")
                }
                missing => {
                    warn!(
                        network = network.name(),
                        listen = listen.join(" "),
                        missing,
                        endpoints,
                        "network is served in part"
                    )
                }
            }
        }
    }

    /// The most frequent reason why nothing can be bound, and what to do.
    fn tell_of_privilege(&self) {
        let denied = self.server.status().listeners.into_iter().find(|listener| match &listener.state {
            ListenerState::Failed { error, .. } => error.contains("Permission denied"),
            _ => false,
        });
        if let Some(listener) = denied {
            warn!(
                listen = listener.listen,
                "ports below {UNPRIVILEGED} need root or CAP_NET_BIND_SERVICE; or write port = 5300 in [server]"
            );
        }
    }
}

/// The networks of the file.
fn names(config: &Config) -> Vec<String> {
    config.networks.iter().map(|network| network.name().to_owned()).collect()
}

fn tell_of_reload(reason: &str, applied: &Applied, settings: bool) {
    let Applied { added, changed, removed, .. } = applied;
    if added.is_empty() && changed.is_empty() && removed.is_empty() && !settings {
        info!(reason, "reloaded: nothing changed");
    } else {
        info!(
            reason,
            added = added.join(" "),
            changed = changed.join(" "),
            removed = removed.join(" "),
            settings,
            "reloaded"
        );
    }
}
