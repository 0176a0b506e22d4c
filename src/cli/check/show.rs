//! The documents of `callsign check` as people read them.

use std::fmt::Write;

use super::{Document, Name, PodmanDocument, Policies, Route, Served, strings};
use crate::cli::arguments;

// Writing to memory does not fail: outcomes are dropped.

/// What would be served.
pub(super) fn served(document: &Document) -> String {
    let Document { file, networks, routes, upstreams, .. } = document;
    let mut text = String::new();
    let endpoints: usize = networks.iter().map(|network| network.endpoints).sum();
    let _ = writeln!(
        text,
        "{}: {}, {}, {}",
        file.as_ref().map_or_else(|| "no file, and none is needed".to_owned(), |file| format!("{file} is valid")),
        count(networks.len(), "network"),
        count(endpoints, "endpoint"),
        count(routes.len(), "route")
    );
    for served in networks {
        network(&mut text, &format!("network {}", served.name), served);
    }
    forwarding(&mut text, routes, upstreams);
    text
}

fn network(text: &mut String, title: &str, network: &Served) {
    let _ = writeln!(text, "\n{title}{}", if network.internal { " (internal)" } else { "" });
    let Policies { ttl, negative_ttl, clients, merge, ptr, health } = &network.policies;
    let policies =
        format!("ttl {ttl}, negative_ttl {negative_ttl}, clients {clients}, merge {merge}, ptr {ptr}, health {health}");
    for (what, values) in [
        ("listens", &network.listen),
        ("subnets", &network.subnets),
        ("domains", &network.domains),
        ("gateways", &network.gateways),
        ("host names", &network.host_names),
        ("upstreams", &network.upstreams),
        ("allow", &network.allow),
        ("policies", &vec![policies]),
    ] {
        if !values.is_empty() {
            let _ = writeln!(text, "  {what:<12}{}", values.join(", "));
        }
    }
    let width = network.names.iter().map(|name| name.name.len()).max().unwrap_or_default();
    for name in &network.names {
        let _ = writeln!(text, "    {:<width$}  {}", name.name, answers(name));
    }
}

/// What is said beside Podman's files.
pub(super) fn podman(document: &PodmanDocument) -> String {
    let PodmanDocument { file, networks, routes, upstreams, .. } = document;
    let mut text = match file {
        Some(file) => format!("{file} is valid: {}\n", count(routes.len(), "route")),
        None => format!("no file at {}: the defaults hold\n", arguments::PODMAN_CONFIG),
    };
    for served in networks {
        let title = match &*served.name {
            "*" => "settings of every network".to_owned(),
            name => format!("settings of network {name}"),
        };
        network(&mut text, &title, served);
    }
    forwarding(&mut text, routes, upstreams);
    text
}

fn forwarding(text: &mut String, routes: &[Route], upstreams: &[String]) {
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
