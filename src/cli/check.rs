//! `callsign check`: whether a configuration file is valid, and what would be answered.

use std::fmt::{Display, Write};
use std::net::IpAddr;
use std::process::ExitCode;

use callsign::source::config::{
    Config, ConfigError, PodmanConfig, Problem, RouteConfig, RouteTarget, ServerConfig, UpstreamsConfig,
};
use callsign::table::{NameEntry, Network, Settings};
use callsign::wire::{fragment, rtype};
use serde::Serialize;

use super::{NO, arguments, output};

/// The document of `--json` for a valid file.
#[derive(Debug, Serialize)]
struct Document {
    file: String,
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
    file: String,
    valid: bool,
    warnings: Vec<Note>,
    upstreams: Vec<String>,
    /// The networks that it says something of; `*` for every network.
    networks: Vec<String>,
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
    endpoints: usize,
    names: Vec<Name>,
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
        let told = PodmanConfig::load(&arguments.file);
        return tell(arguments, told, |config| &config.warnings, |config| podman_document(file, config), show_podman);
    }
    tell(arguments, Config::load(&arguments.file), |config| &config.warnings, |config| document(file, config), show)
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

fn document(file: String, config: &Config) -> Document {
    Document {
        file,
        valid: true,
        warnings: notes(&config.warnings),
        upstreams: upstreams(&config.server),
        networks: config.networks.iter().map(served).collect(),
        routes: routes(&config.routes),
    }
}

fn podman_document(file: String, config: &PodmanConfig) -> PodmanDocument {
    PodmanDocument {
        file,
        valid: true,
        warnings: notes(&config.warnings),
        upstreams: upstreams(&config.server),
        networks: config.networks.iter().map(|policy| policy.name().to_owned()).collect(),
        routes: routes(&config.routes),
    }
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
    let Settings { listen, subnets, domains, gateways, internal, upstreams, .. } = snapshot.settings();
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
        endpoints: snapshot.endpoint_count(),
        names,
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

fn show(document: &Document) -> String {
    let Document { file, networks, routes, upstreams, .. } = document;
    let mut text = String::new();
    let endpoints: usize = networks.iter().map(|network| network.endpoints).sum();
    // Writing to memory does not fail.
    let _ = writeln!(
        text,
        "{file} is valid: {}, {}, {}",
        count(networks.len(), "network"),
        count(endpoints, "endpoint"),
        count(routes.len(), "route")
    );
    for network in networks {
        let _ = writeln!(text, "\nnetwork {}{}", network.name, if network.internal { " (internal)" } else { "" });
        for (what, values) in [
            ("listens", &network.listen),
            ("subnets", &network.subnets),
            ("domains", &network.domains),
            ("gateways", &network.gateways),
            ("upstreams", &network.upstreams),
        ] {
            if !values.is_empty() {
                let _ = writeln!(text, "  {what:<10}{}", values.join(", "));
            }
        }
        let width = network.names.iter().map(|name| name.name.len()).max().unwrap_or_default();
        for name in &network.names {
            let _ = writeln!(text, "    {:<width$}  {}", name.name, answers(name));
        }
    }
    show_forwarding(&mut text, routes, upstreams);
    text
}

fn show_podman(document: &PodmanDocument) -> String {
    let PodmanDocument { file, networks, routes, upstreams, .. } = document;
    let mut text = format!("{file} is valid: {}\n", count(routes.len(), "route"));
    for network in networks {
        let _ = match &**network {
            "*" => writeln!(text, "\nsettings of every network"),
            name => writeln!(text, "\nsettings of network {name}"),
        };
    }
    show_forwarding(&mut text, routes, upstreams);
    text
}

fn show_forwarding(text: &mut String, routes: &[Route], upstreams: &[String]) {
    let _ = writeln!(text, "\nforwarded");
    let width = routes.iter().map(|route| route.domain.len()).max().unwrap_or_default().max("the rest".len());
    for route in routes {
        let to = if route.to.is_empty() { "nowhere: blocked".to_owned() } else { route.to.join(", ") };
        let _ = writeln!(text, "  {:<width$}  {to}", route.domain);
    }
    let _ = writeln!(text, "  {:<width$}  {}", "the rest", upstreams.join(", "));
}

fn answers(name: &Name) -> String {
    let mut parts: Vec<String> = strings(&name.addresses);
    parts.extend(name.alias.as_ref().map(|target| format!("alias of {target}")));
    parts.extend(name.records.iter().filter(|rtype| !matches!(&***rtype, "A" | "AAAA")).cloned());
    if !name.running {
        parts.push("not running".to_owned());
    } else if parts.is_empty() {
        parts.push("no address".to_owned());
    }
    parts.join(", ")
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
