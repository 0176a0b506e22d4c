//! Putting a configuration into force: at the start, and over a running server at each reload. Docker is followed beside it.

use std::collections::BTreeSet;
use std::fs;
use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use callsign::control::shapes::Reloaded;
use callsign::server::{Applied, ListenerState, Server};
use callsign::settings::StoreOptions;
use callsign::source::config::{
    Config, ConfigError, DockerConfig, HostConfig, NetworkPolicies, PodmanDirectoryConfig, Problem, ServerConfig,
    Surroundings, Watcher,
};
use callsign::source::docker::DockerOptions;
use callsign::source::etcd::Store;
use callsign::source::file;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use super::super::docker;
use super::super::host::{self, Hosts};
use super::super::sandbox::UNPRIVILEGED;
use super::super::steering::Steering;
use super::docker::Engine;
use super::podman::Podman;
use super::systemd::Supervisor;

/// How long a file that is being written is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// A server and the configuration that is in force.
pub(super) struct Service {
    server: Arc<Server>,
    steering: Arc<Steering>,
    systemd: Supervisor,
    path: PathBuf,
    /// True if `--docker` asks for it.
    is_docker_asked: bool,
    docker: Option<Engine>,
    /// Names of the file's networks.
    networks: Vec<String>,
    settings: ServerConfig,
    podman: Option<Podman>,
    /// The host view that is answered.
    host: Option<HostConfig>,
    /// Networks of one name that were told of.
    namesakes: BTreeSet<(String, String)>,
    hosts: Hosts,
    /// Names of other hosts.
    store: Option<Store>,
}

/// What has changed outside the file.
pub(super) enum News {
    Docker,
    Podman,
    Hosts,
    Store,
}

impl Service {
    /// A server that has no networks yet.
    pub(super) fn new(server: Server, path: PathBuf, is_docker_asked: bool, steering: Arc<Steering>) -> Service {
        Service {
            server: Arc::new(server),
            steering,
            systemd: Supervisor::default(),
            path,
            is_docker_asked,
            docker: None,
            networks: Vec::new(),
            settings: ServerConfig::default(),
            podman: None,
            host: None,
            namesakes: BTreeSet::new(),
            hosts: Hosts::default(),
            store: None,
        }
    }

    pub(super) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Puts the first configuration into force; the server was started with its settings.
    ///
    /// # Errors
    /// Why the networks were not taken.
    pub(super) async fn start(&mut self, config: Config) -> Result<(), String> {
        tell_of_warnings(&config.warnings, config.surroundings());
        let docker = docker::options(&config);
        let is_empty = docker.is_none() && config.podman.is_none() && config.networks.is_empty();
        self.networks = names(&config);
        let applied = self.server.apply(config.networks).await.map_err(|error| error.to_string())?;
        self.follow(docker, config.additions, config.docker.unwrap_or_default()).await;
        self.follow_podman(config.podman);
        self.show_host(config.host).await?;
        if self.hosts.want(config.server.hosts) {
            self.server.set_hosts(self.hosts.names());
        }
        self.tell_if_empty(is_empty);
        self.settings = config.server;
        self.steering.note(Reloaded {
            added: applied.added.clone(),
            warnings: texts(&config.warnings),
            ..Reloaded::default()
        });
        self.tell_of_networks(&applied.added);
        self.tell_of_privilege();
        Ok(())
    }

    /// Tells the service manager that the start is done. True if some socket could not be bound.
    pub(super) fn settled(&mut self) -> bool {
        self.systemd.settled(&self.server);
        self.look()
    }

    /// Tells the service manager what is new of the sockets. True if some could not be bound.
    pub(super) fn look(&mut self) -> bool {
        self.systemd.look(&self.server)
    }

    /// Every socket is to be bound.
    ///
    /// # Errors
    /// One line for each that is not.
    pub(super) fn require_listeners(&self) -> Result<(), Vec<String>> {
        let listeners = self.server.status().listeners;
        let failed = listeners.iter().filter(|listener| !matches!(listener.state, ListenerState::Listening(_)));
        let failed: Vec<String> = failed.map(|listener| format!("--require-listen: {listener}")).collect();
        if failed.is_empty() { Ok(()) } else { Err(failed) }
    }

    /// Reads the file again. If it has an error nothing changes. True if some socket could not be bound.
    pub(super) async fn reload(&mut self, reason: &str, watcher: Option<&Watcher>) -> bool {
        self.systemd.reloading();
        let content = settled(&self.path).await;
        if let Some(watcher) = watcher {
            watcher.note(content.as_ref().ok().cloned());
        }
        let origin = self.path.display().to_string();
        let config = match content {
            Err(_) if docker::is_without_file(&self.path, self.is_docker_asked) => Ok(Config::default()),
            Ok(content) => Config::from_octets(&content, &origin),
            Err(cause) => Err(ConfigError::unreadable(&origin, &cause)),
        };
        let mistake = match config {
            Ok(config) => self.replace(docker::with_docker(config, self.is_docker_asked), reason).await.err(),
            Err(error) => {
                error.problems().iter().for_each(|problem| error!("{problem}"));
                self.steering.note(Reloaded { errors: texts(error.problems()), ..Reloaded::default() });
                error!(reason, "not reloaded: the file has errors, so everything stays as it is");
                error.problems().first().map(Problem::to_string)
            }
        };
        self.systemd.reloaded(mistake, &self.server);
        self.look()
    }

    /// Follows Docker with these options, or no longer. True if that is something new.
    async fn follow(
        &mut self,
        options: Option<DockerOptions>,
        additions: NetworkPolicies,
        config: DockerConfig,
    ) -> bool {
        self.steering.set_docker(options.as_ref().map(docker::socket));
        let is_changed = match (options, &mut self.docker) {
            (Some(options), Some(engine)) => engine.configure(options, additions, config),
            (Some(options), none) => {
                *none = Some(Engine::new(options, additions, config));
                true
            }
            (None, None) => false,
            (None, engine) => {
                let gone = engine.take().map(|engine| engine.served()).unwrap_or_default();
                if let Err(error) = self.server.update(Vec::new(), &gone).await {
                    error!(%error, "Docker's networks are still served");
                }
                true
            }
        };
        self.steering.set_docker_activity(self.docker.as_ref().map(Engine::activity));
        is_changed
    }

    /// True while Docker's networks, or what other hosts have, are read for the first time.
    pub(super) fn is_starting(&self) -> bool {
        self.docker.as_ref().is_some_and(Engine::is_starting)
            || self.store.as_ref().is_some_and(|store| !store.is_ready())
    }

    /// Shares names with other hosts as these options say, or no longer.
    pub(super) async fn share(&mut self, options: Option<StoreOptions>) {
        let kept = match (&options, &mut self.store) {
            (Some(options), Some(store)) => match store.configure(options.clone()) {
                Ok(is_same) => is_same,
                Err(error) => {
                    error!("{error}; names are shared as before");
                    true
                }
            },
            (None, None) => true,
            _ => false,
        };
        if kept {
            return;
        }
        self.leave().await;
        let started = options.map(|options| Store::start(options, self.server.table())).transpose();
        match started {
            Ok(store) => {
                self.steering.set_store(store.as_ref().map(Store::view));
                self.store = store;
            }
            Err(error) => error!("{error}; names are not shared with other hosts"),
        }
    }

    /// Withdraws from other hosts what this one has published.
    pub(super) async fn leave(&mut self) {
        self.steering.set_store(None);
        if let Some(store) = self.store.take() {
            store.shutdown().await;
        }
    }

    /// Waits until something has changed that is followed. Cancelling it loses nothing.
    pub(super) async fn changed(&mut self) -> News {
        let Service { docker, podman, hosts, store, .. } = self;
        let docker = async {
            match docker {
                Some(engine) => engine.changed().await,
                None => pending().await,
            }
        };
        let podman = async {
            match podman {
                Some(podman) => podman.changed().await,
                None => pending().await,
            }
        };
        let store = async {
            match store {
                Some(store) if !store.is_ready() => store.ready().await,
                _ => pending().await,
            }
        };
        tokio::select! {
            () = store => News::Store,
            () = docker => News::Docker,
            () = podman => News::Podman,
            () = hosts.due() => News::Hosts,
        }
    }

    /// Puts in force what has changed.
    pub(super) async fn take_in(&mut self, news: News) {
        match news {
            News::Docker => {
                if let Some(engine) = &mut self.docker {
                    let added = engine.read(&self.server).await;
                    self.steering.note_docker(engine.is_connected());
                    self.tell_of_networks(&added);
                    if !added.is_empty() {
                        self.tell_of_namesakes();
                    }
                }
            }
            News::Podman => {
                if self.podman.as_mut().is_some_and(Podman::read) {
                    self.tell_of_namesakes();
                }
            }
            // It is looked at when the start is.
            News::Store => {}
            News::Hosts => {
                if self.hosts.look() {
                    self.server.set_hosts(self.hosts.names());
                }
            }
        }
    }

    /// Reads Podman's directory, another one, or none any more.
    fn follow_podman(&mut self, config: Option<PodmanDirectoryConfig>) {
        match (config, &mut self.podman) {
            (Some(config), Some(podman)) if podman.path() == config.directory => drop(podman.read()),
            (config, podman) => *podman = config.map(|config| Podman::new(&config.directory)),
        }
    }

    /// Answers this host view, or none.
    ///
    /// # Errors
    /// Why it is not answered.
    async fn show_host(&mut self, config: Option<HostConfig>) -> Result<(), String> {
        let tables = || self.podman.iter().map(Podman::table);
        let view = config.as_ref().map(|config| host::view(config, tables())).transpose()?;
        self.server.set_host_view(view).await.map_err(|error| error.to_string())?;
        if config != self.host
            && let Some(config) = &config
        {
            self.tell_of_host_view(config);
        }
        self.host = config;
        self.tell_of_namesakes();
        Ok(())
    }

    /// Takes the host view from the addresses that it is not to have any more: a network of the file may want one.
    async fn free_addresses(&mut self, wanted: Option<&HostConfig>) -> Result<(), String> {
        let Some(mut host) = self.host.clone() else { return Ok(()) };
        let before = host.listen.len();
        host.listen.retain(|address| wanted.is_some_and(|wanted| wanted.listen.contains(address)));
        if host.listen.len() == before {
            return Ok(());
        }
        let tables = self.podman.iter().map(Podman::table);
        let view = host::view(&host, tables)?;
        self.server.set_host_view(Some(view)).await.map_err(|error| error.to_string())
    }

    /// Says where the host view is answered.
    fn tell_of_host_view(&self, config: &HostConfig) {
        let listeners = self.server.status().listeners;
        let own = || listeners.iter().filter(|listener| listener.is_host_view);
        let failed = own().filter(|listener| !matches!(listener.state, ListenerState::Listening(_))).count();
        let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
        let (listen, domain) = (listen.join(" "), &config.domain);
        // Why a socket could not be bound was logged when it was tried.
        match failed {
            0 => info!(listen, domain, "host view is served"),
            missing => warn!(listen, domain, missing, "host view is served, but not on all of its sockets yet"),
        }
        if config.published && self.podman.is_some() {
            warn!(
                "Podman's directory does not say which ports are published: with `answer = \"published\"` its names have \
                 no addresses in the host view"
            );
        }
    }

    /// Says, once, of which networks of one name the host view prefers which.
    fn tell_of_namesakes(&mut self) {
        let Some(view) = self.server.host_view().filter(|_| self.podman.is_some()) else { return };
        let pairs = view.namesakes().into_iter();
        let pairs: BTreeSet<_> =
            pairs.map(|(first, second)| (first.name().to_owned(), second.name().to_owned())).collect();
        for (first, second) in pairs.difference(&self.namesakes) {
            let from = if self.networks.contains(first) { "the file" } else { "Docker" };
            warn!(
                "there is a network {first:?} of {from} and a network {second:?} of Podman: of a name that both have, the \
                 host view has the one of {from}"
            );
        }
        self.namesakes = pairs;
    }

    /// # Errors
    /// Why everything stays as it is.
    async fn replace(&mut self, config: Config, reason: &str) -> Result<(), String> {
        let surroundings = config.surroundings();
        let (docker, names) = (docker::options(&config), names(&config));
        let is_empty = docker.is_none() && config.podman.is_none() && names.is_empty();
        let Config {
            server, networks, additions, docker: docker_config, operation, warnings, host, podman, store, ..
        } = config;
        self.free_addresses(host.as_ref()).await?;
        if let (Some(engine), Some(options)) = (&mut self.docker, &docker) {
            engine.release(&self.server, options).await;
        }
        let applied = match self.server.update(networks, &self.networks).await {
            Ok(applied) => applied,
            Err(error) => {
                let before = self.host.clone();
                if let Err(error) = self.show_host(before).await {
                    error!("{error}; the host view is not answered everywhere");
                }
                if let Some(engine) = &mut self.docker {
                    engine.restore();
                }
                self.steering.note(Reloaded { errors: vec![error.to_string()], ..Reloaded::default() });
                error!(reason, %error, "not reloaded: everything stays as it is");
                return Err(error.to_string());
            }
        };
        self.networks = names;
        let is_docker_changed = self.follow(docker, additions, docker_config.unwrap_or_default()).await;
        self.follow_podman(podman);
        let is_host_changed = host != self.host;
        let shown = self.show_host(host).await.err().map(|error| format!("{error}; the host view stays as it was"));
        if let Some(error) = &shown {
            error!("{error}");
        }
        self.steering.note_trouble("host", shown);
        if self.hosts.want(server.hosts) {
            self.server.set_hosts(self.hosts.names());
        }
        tell_of_warnings(&warnings, surroundings);
        if server.workers != self.settings.workers {
            warn!("changing `workers` requires a restart");
        }
        let is_changed = server != self.settings || is_host_changed;
        if is_changed {
            self.server.configure(server.settings.clone());
            self.settings = server;
        }
        self.share(store).await;
        let of_operation = self.steering.change(&self.server, &operation).await;
        tell_of_reload(reason, &applied, is_changed || is_docker_changed, &of_operation.operation);
        self.steering.note(Reloaded {
            added: applied.added.clone(),
            changed: applied.changed.clone(),
            removed: applied.removed.clone(),
            settings: is_changed || is_docker_changed,
            operation: of_operation.operation,
            warnings: texts(&warnings).into_iter().chain(of_operation.warnings).collect(),
            ..Reloaded::default()
        });
        self.tell_if_empty(is_empty);
        self.tell_of_networks(&[&applied.added[..], &applied.changed[..]].concat());
        Ok(())
    }

    /// A file without any network is valid, but mostly a mistake, or the first part of a file.
    fn tell_if_empty(&self, is_empty: bool) {
        if is_empty {
            warn!(config = %self.path.display(), "there is no network: nothing is answered until the file has one");
        }
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
            if let Some(why) = self.docker.as_ref().and_then(|engine| engine.why_no_listener(network.name())) {
                info!(network = network.name(), endpoints, "network has no listener: {why}");
                continue;
            }
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

fn texts(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(Problem::to_string).collect()
}

/// What this machine lacks is no reason not to serve the rest.
fn tell_of_warnings(warnings: &[Problem], surroundings: Surroundings) {
    let Surroundings { errors, warnings: more, .. } = surroundings;
    warnings.iter().chain(&errors).chain(&more).for_each(|warning| warn!("{warning}"));
}

/// The configuration at the start. A file that is empty may be about to be written.
///
/// # Errors
/// As [`docker::load`].
pub(super) async fn first(path: &Path, is_docker_asked: bool) -> Result<Config, ConfigError> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0) {
        // Why it cannot be read is told below.
        let _ = settled(path).await;
    }
    docker::load(path, is_docker_asked)
}

/// The content of the file once nobody has written to it for a moment.
///
/// # Errors
/// As [`Config::content`]; or somebody writes to it all the time.
async fn settled(path: &Path) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        while let Some(left) = file::unsettled(path) {
            if Instant::now() >= deadline {
                return Err(io::Error::other("it is still being written; it is read once that is done"));
            }
            sleep(left).await;
        }
        let content = Config::content(path)?;
        // Nobody has written to it while it was read.
        if file::unsettled(path).is_none() {
            return Ok(content);
        }
    }
}

/// The networks of the file.
fn names(config: &Config) -> Vec<String> {
    config.networks.iter().map(|network| network.name().to_owned()).collect()
}

fn tell_of_reload(reason: &str, applied: &Applied, settings: bool, operation: &[String]) {
    let Applied { added, changed, removed, .. } = applied;
    if added.is_empty() && changed.is_empty() && removed.is_empty() && !settings && operation.is_empty() {
        info!(reason, "reloaded: nothing changed");
    } else {
        info!(
            reason,
            added = added.join(" "),
            changed = changed.join(" "),
            removed = removed.join(" "),
            settings,
            operation = operation.join(" "),
            "reloaded"
        );
    }
}
