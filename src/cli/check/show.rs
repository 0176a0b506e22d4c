//! The documents of `callsign check` as people read them.

use std::io::{self, Write};

use callsign::responder::HOST_VIEW;

use super::{Container, Document, HostView, Name, PodmanDocument, Policies, Route, Served, strings};
use crate::cli::arguments;

/// What would be served.
pub(super) fn served(document: &Document, out: &mut dyn Write) -> io::Result<()> {
    let Document { file, host, networks, containers, routes, upstreams, .. } = document;
    let endpoints: usize = networks.iter().map(|network| network.endpoints).sum();
    writeln!(
        out,
        "{}: {}, {}, {}",
        file.as_ref().map_or_else(|| "no file, and none is needed".to_owned(), |file| format!("{file} is valid")),
        count(networks.len(), "network"),
        count(endpoints, "endpoint"),
        count(routes.len(), "route")
    )?;
    if let Some(host) = host {
        host_view(out, host)?;
    }
    for served in networks {
        network(out, &format!("network {}", served.name), served)?;
    }
    if !containers.is_empty() {
        writeln!(out, "\ncontainers")?;
    }
    for container in containers {
        self::container(out, container)?;
    }
    forwarding(out, routes, upstreams)
}

fn host_view(out: &mut dyn Write, host: &HostView) -> io::Result<()> {
    writeln!(out, "\n{HOST_VIEW}")?;
    writeln!(out, "  listens     {}", host.listen.join(", "))?;
    writeln!(out, "  domain      {}", host.domain)?;
    writeln!(out, "  answers     {}", if host.published { "published ports" } else { "containers' addresses" })?;
    if !host.allow.is_empty() {
        writeln!(out, "  allow       {}", host.allow.join(", "))?;
    }
    Ok(())
}

fn network(out: &mut dyn Write, title: &str, network: &Served) -> io::Result<()> {
    writeln!(out, "\n{title}{}", if network.internal { " (internal)" } else { "" })?;
    let Policies { ttl, negative_ttl, clients, merge, ptr, health } = &network.policies;
    let policies =
        format!("ttl {ttl}, negative_ttl {negative_ttl}, clients {clients}, merge {merge}, ptr {ptr}, health {health}");
    for (what, values) in [
        ("listens", &network.listen),
        ("no listener", &network.no_listener.iter().cloned().collect()),
        ("subnets", &network.subnets),
        ("domains", &network.domains),
        ("gateways", &network.gateways),
        ("host names", &network.host_names),
        ("upstreams", &network.upstreams),
        ("allow", &network.allow),
        ("policies", &vec![policies]),
    ] {
        if !values.is_empty() {
            writeln!(out, "  {what:<12}{}", values.join(", "))?;
        }
    }
    let width = network.names.all().map(|name| name.name.len()).max().unwrap_or_default();
    for name in network.names.all() {
        writeln!(out, "    {:<width$}  {}", name.name, answers(&name))?;
    }
    Ok(())
}

fn container(out: &mut dyn Write, container: &Container) -> io::Result<()> {
    let Container { name, project, service, state, left_out, .. } = container;
    let of = match (service, project) {
        (Some(service), Some(project)) => format!(", service {service} of {project}"),
        _ => String::new(),
    };
    writeln!(out, "  {name}: {state}{of}")?;
    left_out.iter().try_for_each(|reason| writeln!(out, "    left out: {reason}"))
}

/// What is said beside Podman's files.
pub(super) fn podman(document: &PodmanDocument, out: &mut dyn Write) -> io::Result<()> {
    let PodmanDocument { file, networks, routes, upstreams, .. } = document;
    match file {
        Some(file) => writeln!(out, "{file} is valid: {}", count(routes.len(), "route"))?,
        None => writeln!(out, "no file at {}: the defaults hold", arguments::PODMAN_CONFIG)?,
    }
    for served in networks {
        let title = match &*served.name {
            "*" => "settings of every network".to_owned(),
            name => format!("settings of network {name}"),
        };
        network(out, &title, served)?;
    }
    forwarding(out, routes, upstreams)
}

fn forwarding(out: &mut dyn Write, routes: &[Route], upstreams: &[String]) -> io::Result<()> {
    writeln!(out, "\nforwarded")?;
    let width = routes.iter().map(|route| route.domain.len()).max().unwrap_or_default().max("the rest".len());
    for route in routes {
        let to = if route.to.is_empty() { "nowhere: blocked".to_owned() } else { route.to.join(", ") };
        writeln!(out, "  {:<width$}  {to}", route.domain)?;
    }
    writeln!(out, "  {:<width$}  {}", "the rest", upstreams.join(", "))
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
    let holders = &name.containers;
    let own = holders.is_empty() || *holders == [name.name.as_str()];
    if own { parts.join(", ") } else { format!("{} ({})", parts.join(", "), holders.join(", ")) }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
