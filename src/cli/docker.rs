//! What `--docker` and `[docker]` mean for a configuration: the one reading that `serve`, `check` and `explain` share.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use callsign::source::config::{Config, ConfigError, DockerConfig, Problem};
use callsign::source::docker::{self as source, ContainerStatus, DockerOptions, Publisher};
use callsign::table::Network;

use super::arguments;

/// Docker's resolver asks the next server after 4 s: an answer must be there before (answers.md F6).
const TIMEOUT: Duration = Duration::from_millis(3_500);

/// Reads the configuration. With `--docker` there need not be one at the usual place.
pub(super) fn load(path: &Path, is_asked: bool) -> Result<Config, ConfigError> {
    let config = if is_without_file(path, is_asked) { Config::default() } else { Config::load(path)? };
    Ok(with_docker(config, is_asked))
}

/// True if there is no configuration file, and `--docker` makes none necessary.
pub(super) fn is_without_file(path: &Path, is_asked: bool) -> bool {
    is_asked && path == Path::new(arguments::CONFIG) && !path.exists()
}

/// The same configuration with what Docker changes, if it is asked for or the file has `[docker]`.
pub(super) fn with_docker(mut config: Config, is_asked: bool) -> Config {
    if is_asked {
        config.docker.get_or_insert_default();
    }
    if config.docker.is_some() {
        if !config.server.has_timeout {
            config.server.settings.forward.timeout = TIMEOUT;
        }
    } else {
        config.warnings.append(&mut config.warnings_without_docker);
    }
    if config.store.as_ref().is_some_and(|store| store.host.is_empty()) {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        // Of one that is no host's name the store says what to write.
        config.name_host(host.trim());
    }
    config
}

/// What Docker has now, beside what the file says.
pub(super) struct Docker {
    pub(super) containers: Vec<ContainerStatus>,
    /// What a person should know.
    pub(super) notices: Vec<String>,
    /// Why networks have no listener of their own, by their names.
    pub(super) without_listener: BTreeMap<String, String>,
}

/// Asks Docker, and puts its networks behind those of the file.
pub(super) fn ask(config: &mut Config) -> Result<Docker, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start the runtime: {error}"))?;
    let additions = std::mem::take(&mut config.additions);
    let (additions, options) = (Arc::new(additions), options(config).unwrap_or_default());
    runtime.block_on(async {
        let mut docker = source::Docker::new(options);
        let template = additions.clone();
        docker.set_template(move |name, builder| template.apply(name, builder));
        let mut reading = docker.load().await.map_err(|error| format!("Docker does not answer: {error}"))?;
        reading.networks.sort_by(|one, other| one.name().cmp(other.name()));
        let exists = |name: &str| reading.networks.iter().any(|network| network.name() == name);
        config.warnings.extend(additions.unmatched(exists));
        config.warnings.extend(unmatched_patterns(config.docker.as_ref(), &docker));
        let reason = |network: &Network| {
            let name = network.name();
            Some((name.to_owned(), docker.why_no_listener(name)?))
        };
        let without_listener = reading.networks.iter().filter_map(reason).collect();
        config.networks.append(&mut reading.networks);
        let (port, publishers) = (config.server.port, docker.publishers(config.server.port));
        for network in &config.networks {
            let listen = network.snapshot().settings().listen.clone();
            let at = listen.iter().map(|address| SocketAddr::new(address.ip(), address.port().unwrap_or(port)));
            let texts = at.filter_map(|at| in_the_way(publishers.iter(), network.name(), at));
            config.warnings.extend(texts.map(|text| Problem::of("Docker", text)));
        }
        Ok(Docker { containers: docker.containers(), notices: reading.notices, without_listener })
    })
}

/// What to say of the container that has the port of a network's listener, if one does.
pub(super) fn in_the_way<'p>(
    mut publishers: impl Iterator<Item = &'p Publisher>,
    network: &str,
    at: SocketAddr,
) -> Option<String> {
    let publisher = publishers.find(|publisher| publisher.is_at(at))?;
    let port = at.port();
    Some(format!(
        "network {network:?} cannot listen on {at}: {publisher}; publish it on another address of the host only, as in \
         -p 192.0.2.1:{port}:{port}"
    ))
}

/// What to say of the patterns of `[docker]` that match none of Docker's networks.
pub(super) fn unmatched_patterns(config: Option<&DockerConfig>, docker: &source::Docker) -> Vec<Problem> {
    let unmatched = docker.unmatched_patterns();
    config.map(|config| config.unmatched(|pattern| unmatched.contains(&pattern))).unwrap_or_default()
}

/// Where the engine is, for people: its socket or address, or why there is none.
pub(super) fn socket(options: &DockerOptions) -> String {
    source::find_engine(options.socket.as_deref(), |name| std::env::var_os(name))
        .map_or_else(|error| error.to_string(), |address| address.to_string())
}

/// The options of the source, if Docker is followed. Networks of the file keep their names.
pub(super) fn options(config: &Config) -> Option<DockerOptions> {
    let docker = config.docker.as_ref()?;
    let mut options = DockerOptions::default();
    options.socket = docker.socket.clone();
    options.networks = docker.networks.clone();
    options.listen = docker.listen.clone();
    options.domain = docker.domain.clone();
    options.hold = docker.hold;
    options.taken = config.networks.iter().map(|network| network.name().to_owned()).collect();
    options.port = config.server.port;
    for network in &config.networks {
        for address in &network.snapshot().settings().listen {
            let at = SocketAddr::new(address.ip(), address.port().unwrap_or(config.server.port));
            options.taken_addresses.insert(at, network.name().to_owned());
        }
    }
    Some(options)
}
