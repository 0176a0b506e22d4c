//! `callsign check`: whether a configuration file is valid, and what would be answered.

mod show;

use std::fmt::{Debug, Display};
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use callsign::source::config::{
    Config, ConfigError, PodmanConfig, Problem, RouteConfig, RouteTarget, ServerConfig, UpstreamsConfig,
};
use callsign::source::podman;
use callsign::table::{NameEntry, Network, Settings};
use callsign::wire::{fragment, rtype};
use serde::Serialize;

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
    networks: Vec<Served>,
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
}

/// A problem or a warning.
#[derive(Debug, Serialize)]
struct Note {
    line: Option<usize>,
    message: String,
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
    names: Vec<Name>,
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
}

#[derive(Debug, Serialize)]
struct Route {
    domain: String,
    /// `["system"]`, or addresses, or none.
    to: Vec<String>,
}

pub(super) fn run(arguments: &arguments::Check) -> ExitCode {
    let file = arguments.file.display().to_string();
    if arguments.podman {
        // There need not be one; whoever names one means it to be there.
        let is_there = arguments.file != Path::new(arguments::PODMAN_CONFIG) || arguments.file.exists();
        let told = if is_there { PodmanConfig::load(&arguments.file) } else { Ok(PodmanConfig::default()) };
        let file = is_there.then_some(file);
        return tell(arguments, told, |config| &config.warnings, |config| podman_document(file, config), show::podman);
    }
    let mut config = docker::load(&arguments.file, arguments.docker);
    if let (Ok(config), true) = (&mut config, arguments.docker) {
        match docker::ask(config) {
            Ok(docker) => docker.notices.iter().for_each(output::complain),
            Err(message) => return output::fail(message, NO),
        }
    }
    let file = Some(file).filter(|_| !arguments.docker || arguments.file.exists());
    tell(arguments, config, |config| &config.warnings, |config| document(file, config), show::served)
}

/// Writes what is to be said of a file of either kind.
fn tell<C, D: Serialize>(
    arguments: &arguments::Check,
    config: Result<C, ConfigError>,
    warnings: impl Fn(&C) -> &Vec<Problem>,
    document: impl FnOnce(&C) -> D,
    show: impl FnOnce(&D) -> String,
) -> ExitCode {
    match config {
        Ok(config) if arguments.json => output::json(&document(&config), 0),
        Ok(config) => {
            for warning in warnings(&config) {
                output::complain(format_args!("{warning} (a warning)"));
            }
            output::result(&show(&document(&config)), 0)
        }
        Err(error) if arguments.json => {
            let file = arguments.file.display().to_string();
            output::json(&Invalid { file, valid: false, errors: notes(error.problems()) }, NO)
        }
        Err(error) => invalid(&error),
    }
}

fn invalid(error: &ConfigError) -> ExitCode {
    output::complain(error);
    NO.into()
}

fn notes(problems: &[Problem]) -> Vec<Note> {
    problems.iter().map(|problem| Note { line: problem.line(), message: problem.message().to_owned() }).collect()
}

fn document(file: Option<String>, config: &Config) -> Document {
    Document {
        file,
        valid: true,
        warnings: notes(&config.warnings),
        upstreams: upstreams(&config.server),
        networks: config.networks.iter().map(served).collect(),
        routes: routes(&config.routes),
    }
}

fn podman_document(file: Option<String>, config: &PodmanConfig) -> PodmanDocument {
    PodmanDocument {
        file,
        valid: true,
        warnings: notes(&config.warnings),
        upstreams: upstreams(&config.server),
        networks: config
            .networks
            .iter()
            .filter_map(|policy| podman_network(policy.name(), config))
            .map(|network| served(&network))
            .collect(),
        routes: routes(&config.routes),
    }
}

/// A network that Podman's files say nothing of but its name.
fn podman_network(name: &str, config: &PodmanConfig) -> Option<Network> {
    let network = podman::defaults(Network::builder(name)).domain(podman::DOMAIN);
    // Each part of the file was read by the table already.
    config.apply(name, network).build().ok()
}

fn upstreams(server: &ServerConfig) -> Vec<String> {
    match &server.upstreams {
        UpstreamsConfig::List(list) => strings(list),
        UpstreamsConfig::ResolvConf(path) => vec![path.display().to_string()],
    }
}

fn routes(routes: &[RouteConfig]) -> Vec<Route> {
    let route = |route: &RouteConfig| Route {
        domain: route.domain.to_string(),
        to: match &route.to {
            RouteTarget::System => vec!["system".to_owned()],
            RouteTarget::Servers(servers) => strings(servers),
        },
    };
    routes.iter().map(route).collect()
}

fn served(network: &Network) -> Served {
    let snapshot = network.snapshot();
    let settings = snapshot.settings();
    let Settings { listen, subnets, domains, gateways, internal, upstreams, allow, host_names, .. } = settings;
    let mut names: Vec<Name> = snapshot.names().map(name).collect();
    names.sort_by(|a, b| a.name.cmp(&b.name));
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
        names,
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

fn name(entry: &NameEntry) -> Name {
    let records = entry.record_sets().iter().map(|set| rtype::mnemonic(set.rtype));
    Name {
        name: entry.name().to_string(),
        addresses: [entry.a(), entry.aaaa()]
            .into_iter()
            .flat_map(fragment::iter)
            .filter_map(fragment::address_of)
            .collect(),
        alias: entry.alias().map(|(target, _)| target.to_string()),
        records: records.collect(),
        running: !entry.is_down(),
    }
}

fn strings(values: impl IntoIterator<Item = impl Display>) -> Vec<String> {
    values.into_iter().map(|value| value.to_string()).collect()
}
