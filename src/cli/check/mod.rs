//! `callsign check`: whether a configuration file is valid, and what would be answered.

mod containers;
mod podman_networks;
mod show;

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use callsign::forward::Forwarder;
use callsign::settings::{self, Destination, Upstreams};
use callsign::source::config::{Config, ConfigError, PodmanConfig, Problem, ServerConfig, Surroundings};
use callsign::source::docker::ContainerStatus;
use callsign::source::podman;
use callsign::table::{NameEntry, Network, Settings, Snapshot};
use callsign::wire::{self, rrset, rtype};
use serde::{Serialize, Serializer};

use super::{NO, arguments, docker, output};

/// The document of `--json` for a valid file.
#[derive(Debug, Serialize)]
struct Document {
    /// `None` if there is none, and none is needed.
    file: Option<String>,
    valid: bool,
    warnings: Vec<Note>,
    /// Where questions go that no route, endpoint or network has servers of its own for.
    upstreams: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<HostView>,
    networks: Vec<Served>,
    /// With `--docker`: every container, and why it is left out where it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<Container>,
    routes: Vec<Route>,
}

/// The document of `--podman --json` for a valid file.
#[derive(Debug, Serialize)]
struct PodmanDocument {
    /// `None` without a file: the defaults hold.
    file: Option<String>,
    valid: bool,
    warnings: Vec<Note>,
    upstreams: Vec<String>,
    /// The networks that it says something of, as they are then, beside what Podman's files say; `*` is every network.
    networks: Vec<Served>,
    routes: Vec<Route>,
}

/// The document of `--json` for another one.
#[derive(Debug, Serialize)]
struct Invalid {
    file: String,
    valid: bool,
    errors: Vec<Note>,
    warnings: Vec<Note>,
}

/// The document of `--json --quiet` for a valid file.
#[derive(Debug, Serialize)]
struct Checked {
    file: String,
    valid: bool,
    warnings: Vec<Note>,
}

/// A problem or a warning.
#[derive(Debug, Serialize)]
struct Note {
    line: Option<usize>,
    message: String,
}

/// The host view.
#[derive(Debug, Serialize)]
struct HostView {
    listen: Vec<String>,
    domain: String,
    /// True if names answer where ports are published.
    published: bool,
    /// Who may ask; nobody named stands for the host.
    allow: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Served {
    name: String,
    listen: Vec<String>,
    subnets: Vec<String>,
    domains: Vec<String>,
    gateways: Vec<String>,
    internal: bool,
    upstreams: Vec<String>,
    /// Who may ask; nobody named stands for the network and the host.
    allow: Vec<String>,
    host_names: Vec<String>,
    policies: Policies,
    endpoints: usize,
    /// With `--docker`: why it has no listener of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_listener: Option<String>,
    names: Names,
}

/// One of Docker's containers.
#[derive(Debug, Serialize)]
struct Container {
    name: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    /// In the engine's words, and `unhealthy` or `starting`.
    state: String,
    /// Why it answers to less than it might; empty if it does not.
    left_out: Vec<String>,
}

/// The policies of a network, in the words of the file.
#[derive(Debug, Serialize)]
struct Policies {
    ttl: u32,
    negative_ttl: u32,
    clients: String,
    merge: String,
    ptr: String,
    health: String,
}

/// The names of a network. There may be a million: each is made when it is written.
#[derive(Debug)]
struct Names {
    snapshot: Arc<Snapshot>,
    /// By the endpoints' ids: what containers are called.
    holders: Arc<BTreeMap<String, String>>,
}

impl Names {
    fn all(&self) -> impl Iterator<Item = Name> {
        let mut entries: Vec<&NameEntry> = self.snapshot.names().collect();
        entries.sort_by(|a, b| a.name().labels().cmp(b.name().labels()));
        entries.into_iter().map(|entry| name(entry, &self.holders))
    }
}

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.all())
    }
}

#[derive(Debug, Serialize)]
struct Name {
    name: String,
    addresses: Vec<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
    /// The types of the static records.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    records: Vec<String>,
    /// False if endpoints carry the name and none of them is running.
    running: bool,
    /// With `--docker`: the containers that have the name, those left out of the answer among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Route {
    domain: String,
    /// `["system"]`, or addresses, or none.
    to: Vec<String>,
}

/// Why a container of Docker's is left out, or answers to less than it might.
pub(super) fn left_out(container: &ContainerStatus, networks: &[Network]) -> Vec<String> {
    containers::reasons(container, networks)
}

pub(super) fn run(arguments: &arguments::Check) -> ExitCode {
    if arguments.podman {
        let given = arguments.file.given();
        let path = given.clone().unwrap_or_else(|| arguments::PODMAN_CONFIG.into());
        // There need not be one; whoever names one means it to be there.
        let is_there = given.is_some() || path.exists();
        let config = if is_there { PodmanConfig::load(&path) } else { Ok(PodmanConfig::default()) };
        let config = config.map(|mut config| {
            let mut found = Found::new(std::mem::take(&mut config.warnings), config.surroundings());
            found.warnings.extend(podman_networks::missing(&config));
            found.warnings.sort_by_key(Problem::line);
            (config, found)
        });
        let file = is_there.then(|| path.display().to_string());
        let document = |config: &PodmanConfig, warnings| podman_document(file, config, warnings);
        return tell(arguments, &path, config, document, show::podman);
    }
    let path = arguments.file.path();
    let mut config = docker::load(&path, arguments.docker);
    let (mut containers, mut without_listener) = (Vec::new(), BTreeMap::new());
    if let (Ok(config), true) = (&mut config, arguments.docker) {
        match docker::ask(config) {
            Ok(docker) => {
                docker.notices.iter().for_each(output::complain);
                (containers, without_listener) = (docker.containers, docker.without_listener);
            }
            Err(message) => return output::failure(arguments.json, &message, NO),
        }
    }
    let config = config.map(|mut config| {
        config.warnings.extend(asks_itself(&config));
        let found = Found::new(std::mem::take(&mut config.warnings), config.surroundings());
        (config, found)
    });
    let file = Some(path.display().to_string()).filter(|_| !arguments.docker || path.exists());
    let document = |config: &Config, warnings| document(file, config, &containers, &without_listener, warnings);
    tell(arguments, &path, config, document, show::served)
}

/// What is wrong with a file that can be read.
struct Found {
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Found {
    fn new(warnings: Vec<Problem>, surroundings: Surroundings) -> Found {
        let mut warnings = [warnings, surroundings.warnings].concat();
        warnings.sort_by_key(Problem::line);
        Found { errors: surroundings.errors, warnings }
    }
}

/// Writes what is to be said of a file of either kind.
fn tell<C, D: Serialize>(
    arguments: &arguments::Check,
    path: &Path,
    config: Result<(C, Found), ConfigError>,
    document: impl FnOnce(&C, Vec<Note>) -> D,
    show: impl FnOnce(&D, &mut dyn Write) -> io::Result<()>,
) -> ExitCode {
    let (config, Found { errors, warnings }) = match config {
        Ok(config) => config,
        Err(error) => {
            let Surroundings { errors, warnings, .. } = error.surroundings();
            let mut problems = [error.problems(), &errors].concat();
            problems.sort_by_key(Problem::line);
            let error = ConfigError::of(problems).unwrap_or(error);
            return invalid(path, &error, warnings, arguments.json);
        }
    };
    if let Some(error) = ConfigError::of(errors) {
        return invalid(path, &error, warnings, arguments.json);
    }
    let code = if arguments.strict && !warnings.is_empty() { NO } else { 0 };
    if arguments.json && !arguments.quiet {
        return output::json(&document(&config, notes(&warnings)), code);
    }
    if arguments.json {
        return output::json(
            &Checked { file: path.display().to_string(), valid: true, warnings: notes(&warnings) },
            code,
        );
    }
    warn(&warnings);
    if arguments.quiet {
        return code.into();
    }
    let document = document(&config, Vec::new());
    output::written(code, |out| show(&document, out))
}

/// Writes what is wrong with a file that is not valid, and gives the exit code.
pub(super) fn invalid(path: &Path, error: &ConfigError, warnings: Vec<Problem>, is_json: bool) -> ExitCode {
    if is_json {
        let file = path.display().to_string();
        return output::json(
            &Invalid { file, valid: false, errors: notes(error.problems()), warnings: notes(&warnings) },
            NO,
        );
    }
    output::complain(error);
    warn(&warnings);
    NO.into()
}

fn warn(warnings: &[Problem]) {
    for warning in warnings {
        output::complain(format_args!("{warning} (a warning)"));
    }
}

fn notes(problems: &[Problem]) -> Vec<Note> {
    problems.iter().map(|problem| Note { line: problem.line(), message: problem.message().to_owned() }).collect()
}

/// That the default upstreams are the server itself, or among them: it asks nobody in a circle (answers.md F4).
fn asks_itself(config: &Config) -> Option<Problem> {
    let port = config.server.port;
    let forwarder = Forwarder::new(config.server.settings.forward.clone());
    let of_networks = config.networks.iter().flat_map(|network| network.snapshot().settings().listen.clone());
    let listen = of_networks.chain(config.host.iter().flat_map(|host| host.listen.clone()));
    let own = listen.map(|address| SocketAddr::new(address.ip(), address.port().unwrap_or(port)));
    forwarder.set_own_addresses(own.collect());
    let root = wire::Name::root();
    let own = forwarder.left_out(root.as_wire(), &[]);
    if own.is_empty() {
        return None;
    }
    let left = forwarder.choose(root.as_wire(), &[]).servers;
    let own = strings(&own).join(", ");
    let named = upstreams(&config.server).join(", ");
    let message = match strings(left.iter()).join(", ") {
        none if none.is_empty() => format!(
            "{named}: this is only callsign itself ({own}), so nobody is left to ask for names elsewhere; set `upstreams` in [server], or \
             `resolv_conf` to a file that names the resolvers to ask"
        ),
        others => format!("{named}: {own} is callsign itself, which is left out; {others} is asked"),
    };
    Some(Problem::of("upstreams", message))
}

fn document(
    file: Option<String>,
    config: &Config,
    containers: &[ContainerStatus],
    without_listener: &BTreeMap<String, String>,
    warnings: Vec<Note>,
) -> Document {
    let holders = Arc::new(containers::names(containers));
    Document {
        file,
        valid: true,
        warnings,
        upstreams: upstreams(&config.server),
        host: config.host.as_ref().map(|host| HostView {
            listen: strings(&host.listen),
            domain: host.domain.clone(),
            published: host.published,
            allow: host.allow.as_deref().map(strings).unwrap_or_default(),
        }),
        networks: config
            .networks
            .iter()
            .map(|network| served(network, &holders))
            .map(|served| match without_listener.get(&served.name) {
                // Nobody can ask there for the host.
                Some(why) => Served { no_listener: Some(why.clone()), host_names: Vec::new(), ..served },
                None => served,
            })
            .collect(),
        containers: containers.iter().map(|container| containers::describe(container, &config.networks)).collect(),
        routes: routes(&config.server),
    }
}

fn podman_document(file: Option<String>, config: &PodmanConfig, warnings: Vec<Note>) -> PodmanDocument {
    PodmanDocument {
        file,
        valid: true,
        warnings,
        upstreams: upstreams(&config.server),
        networks: config
            .networks
            .iter()
            .filter_map(|policy| podman_network(policy.name(), config))
            .map(|network| served(&network, &Arc::default()))
            .collect(),
        routes: routes(&config.server),
    }
}

/// A network that Podman's files say nothing of but its name.
fn podman_network(name: &str, config: &PodmanConfig) -> Option<Network> {
    let network = podman::defaults(Network::builder(name)).domain(podman::DOMAIN);
    // Each part of the file was read by the table already.
    config.apply(name, network).build().ok()
}

fn upstreams(server: &ServerConfig) -> Vec<String> {
    match &server.settings.forward.upstreams {
        Upstreams::List(list) => strings(list),
        Upstreams::System(path) => vec![path.display().to_string()],
        other => vec![format!("{other:?}")],
    }
}

fn routes(server: &ServerConfig) -> Vec<Route> {
    let route = |route: &settings::Route| Route {
        domain: route.domain.to_string(),
        to: match &route.to {
            Destination::System => vec!["system".to_owned()],
            Destination::Servers(servers) => strings(servers.iter()),
            other => vec![format!("{other:?}")],
        },
    };
    server.settings.forward.routes.iter().map(route).collect()
}

fn served(network: &Network, holders: &Arc<BTreeMap<String, String>>) -> Served {
    let snapshot = network.snapshot();
    let settings = snapshot.settings();
    let Settings { listen, subnets, domains, gateways, internal, upstreams, allow, host_names, .. } = settings;
    Served {
        name: network.name().to_owned(),
        listen: strings(listen),
        subnets: strings(subnets),
        domains: strings(domains),
        gateways: strings(gateways),
        internal: *internal,
        upstreams: strings(upstreams.iter()),
        allow: strings(allow.iter().flatten()),
        host_names: strings(host_names),
        policies: policies(settings),
        endpoints: snapshot.endpoint_count(),
        no_listener: None,
        names: Names { snapshot: Arc::clone(&snapshot), holders: Arc::clone(holders) },
    }
}

fn policies(settings: &Settings) -> Policies {
    // The variants have the names of the file's words.
    let word = |value: &dyn Debug| format!("{value:?}").to_lowercase();
    Policies {
        ttl: settings.ttl,
        negative_ttl: settings.negative_ttl,
        clients: word(&settings.clients),
        merge: word(&settings.merge),
        ptr: word(&settings.reverse_names),
        health: word(&settings.health),
    }
}

fn name(entry: &NameEntry, holders: &BTreeMap<String, String>) -> Name {
    let records = entry.record_sets().iter().map(|set| rtype::mnemonic(set.rtype));
    Name {
        name: entry.name().to_string(),
        addresses: [entry.a(), entry.aaaa()].into_iter().flat_map(rrset::iter).filter_map(rrset::address_of).collect(),
        alias: entry.alias().map(|(target, _)| target.to_string()),
        records: records.collect(),
        running: !entry.is_down(),
        containers: entry.endpoints().filter_map(|endpoint| holders.get(endpoint.id())).cloned().collect(),
    }
}

fn strings(values: impl IntoIterator<Item = impl Display>) -> Vec<String> {
    values.into_iter().map(|value| value.to_string()).collect()
}
