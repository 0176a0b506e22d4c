//! What a container is called, where, and whether it is up: an inspection made into what the table needs. Pure.

use std::net::IpAddr;
use std::time::Duration;

use crate::source::parse_duration;
use crate::table::{Health, Port, Protocol, relative_name};
use crate::wire::Name;

use super::events::nanoseconds;
use super::model::{Connected, Endpoint, Inspection, Words};

/// The network where Docker has no DNS of its own.
const DEFAULT_BRIDGE: &str = "bridge";
/// Labels.
const ENABLE: &str = "callsign.enable";
const NAMES: &str = "callsign.names";
const PORTS: &str = "callsign.ports";
const HOLD: &str = "callsign.hold";
const SERVICE: &str = "com.docker.compose.service";
const PROJECT: &str = "com.docker.compose.project";
const NUMBER: &str = "com.docker.compose.container-number";
const ONE_OFF: &str = "com.docker.compose.oneoff";

/// Whether a container answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// It runs; it may be paused.
    Up,
    /// It does not run yet: created, or about to be started again.
    Pending,
    /// It was stopped, or has ended.
    Down,
}

/// A container, as far as names go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    /// Without the slash in front.
    pub(super) name: String,
    /// Of Compose.
    pub(super) project: Option<String>,
    pub(super) service: Option<String>,
    pub(super) condition: Condition,
    /// In ns since 1970; 0 if it was never started.
    pub(super) started: i64,
    pub(super) health: Health,
    pub(super) ports: Vec<Port>,
    pub(super) is_enabled: bool,
    pub(super) attachments: Vec<Attachment>,
    /// Names that this container gives to others.
    pub(super) links: Vec<Link>,
}

/// A container on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attachment {
    /// The network's id; empty before the container's first start.
    pub(super) network_id: String,
    pub(super) network_name: String,
    /// Of Docker's endpoint: another one at each start. Podman has none.
    pub(super) endpoint_id: String,
    /// None while it is not up.
    pub(super) addresses: Vec<IpAddr>,
    /// The first is the canonical one.
    pub(super) names: Vec<Name>,
    /// Docker's own order of several networks: higher first.
    pub(super) priority: i32,
    pub(super) gateways: Vec<IpAddr>,
}

/// `--link TARGET:ALIAS`: on this network the container called `target` has this name, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) network_name: String,
    pub(super) target: String,
    pub(super) alias: Name,
}

impl Container {
    /// What is known before a container's first inspection, from the network that it is on.
    pub(super) fn unseen(connected: &Connected) -> Container {
        Container {
            name: connected.name.clone(),
            project: None,
            service: None,
            condition: Condition::Pending,
            started: 0,
            health: Health::Healthy,
            ports: Vec::new(),
            is_enabled: true,
            attachments: Vec::new(),
            links: Vec::new(),
        }
    }

    pub(super) fn read(id: &str, inspection: &Inspection) -> Container {
        let Inspection { name, state, host_config, config, network_settings, .. } = inspection;
        let name = name.trim_start_matches('/').to_owned();
        let condition = match state.status.as_str() {
            _ if state.restarting => Condition::Pending,
            _ if state.running => Condition::Up,
            "created" => Condition::Pending,
            _ => Condition::Down,
        };
        let labels = &config.labels;
        let mut links = Vec::new();
        let attachments = network_settings.networks.iter().map(|(network, endpoint)| {
            let is_default = network == DEFAULT_BRIDGE;
            let given = if is_default { &host_config.links } else { &endpoint.links };
            links.extend(given.iter().filter_map(|link| Link::parse(network, link)));
            Attachment {
                network_id: endpoint.network_id.clone(),
                network_name: network.clone(),
                endpoint_id: endpoint.endpoint_id.clone(),
                // Of a container that died while the engine was away the address is still there (docker.md 3.25); one that
                // is being started for the first time has its address already.
                addresses: if condition == Condition::Down { Vec::new() } else { addresses(endpoint) },
                names: names_of(&name, id, endpoint, &config.hostname, labels, is_default),
                priority: endpoint.gw_priority.clamp(i32::MIN.into(), i32::MAX.into()) as i32,
                gateways: parsed([&endpoint.gateway, &endpoint.ipv6_gateway]),
            }
        });
        Container {
            attachments: attachments.collect(),
            project: labels.get(PROJECT).cloned(),
            service: labels.get(SERVICE).cloned(),
            condition,
            started: nanoseconds(&state.started_at).unwrap_or(0),
            health: match state.health.status.as_str() {
                "unhealthy" | "starting" => Health::Unhealthy,
                _ => Health::Healthy,
            },
            ports: ports(inspection),
            is_enabled: is_enabled(labels),
            links,
            name,
        }
    }
}

impl Link {
    /// `/target:/container/alias` on the default bridge, `target:alias` elsewhere.
    fn parse(network: &str, text: &str) -> Option<Link> {
        let (target, alias) = text.split_once(':')?;
        let alias = alias.rsplit('/').next()?;
        Some(Link {
            network_name: network.to_owned(),
            target: target.trim_start_matches('/').to_owned(),
            alias: relative_name(alias).ok()?,
        })
    }
}

/// The addresses of an endpoint.
fn addresses(endpoint: &Endpoint) -> Vec<IpAddr> {
    parsed([&endpoint.ip_address, &endpoint.global_ipv6_address])
}

/// Those of these texts that are addresses, with a prefix length or without.
pub(super) fn parsed<'a>(texts: impl IntoIterator<Item = &'a String>) -> Vec<IpAddr> {
    let address = |text: &String| text.split('/').next()?.parse().ok();
    texts.into_iter().filter_map(address).filter(|address: &IpAddr| !address.is_unspecified()).collect()
}

/// All names on a network but the short id, which the table adds.
fn names_of(name: &str, id: &str, endpoint: &Endpoint, hostname: &str, labels: &Words, is_default: bool) -> Vec<Name> {
    let mut names: Vec<&str> = vec![name];
    if endpoint.dns_names.is_empty() {
        names.extend(endpoint.aliases.iter().map(String::as_str));
        names.push(hostname);
    } else {
        names.extend(endpoint.dns_names.iter().map(String::as_str));
        if is_default {
            names.extend(endpoint.aliases.iter().map(String::as_str));
            names.push(hostname);
        }
    }
    let short = id.get(..12).filter(|_| id.len() == 64).unwrap_or(id);
    names.retain(|name| *name != short);
    let mut of_compose = Vec::new();
    if let (Some(service), Some(project)) = (labels.get(SERVICE), labels.get(PROJECT))
        && !labels.get(ONE_OFF).is_some_and(|one_off| one_off.eq_ignore_ascii_case("true"))
    {
        if is_default {
            // Elsewhere Compose has made it an alias, where it is to be one.
            names.push(service);
        }
        of_compose.push(format!("{service}.{project}"));
        of_compose.extend(labels.get(NUMBER).map(|number| format!("{project}-{service}-{number}")));
    }
    let of_label = labels.get(NAMES).into_iter().flat_map(|names| names.split(','));
    let all = names.into_iter().chain(of_compose.iter().map(String::as_str)).chain(of_label.map(str::trim));
    let mut names: Vec<Name> = Vec::new();
    for name in all.filter(|name| !name.is_empty()) {
        match relative_name(name) {
            Ok(name) if names.contains(&name) => {}
            Ok(name) => names.push(name),
            Err(error) => tracing::debug!(container = id, %error, "not a name; left out"),
        }
    }
    names.shrink_to_fit();
    names
}

/// The exposed ports by number, and those of the label by name, too: `http=80, dns=53/udp`.
fn ports(inspection: &Inspection) -> Vec<Port> {
    let exposed = inspection.config.exposed_ports.keys().filter_map(|port| {
        let (number, protocol) = port_of(port)?;
        Some(Port::new(number, protocol))
    });
    let named = inspection.config.labels.get(PORTS).into_iter().flat_map(|ports| ports.split(',')).filter_map(|port| {
        let (name, port) = port.split_once('=')?;
        let (name, (number, protocol)) = (name.trim().trim_start_matches('_'), port_of(port.trim())?);
        let is_label = (1..=62).contains(&name.len()) && !name.contains('.');
        is_label.then(|| Port::named(name, number, protocol))
    });
    let mut ports: Vec<Port> = named.collect();
    // A named port answers by its number, too.
    for port in exposed {
        if !ports.iter().any(|known| (known.number(), known.protocol()) == (port.number(), port.protocol())) {
            ports.push(port);
        }
    }
    ports
}

/// `80`, `80/tcp`, `53/udp`.
fn port_of(text: &str) -> Option<(u16, Protocol)> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return None,
    };
    number.parse().ok().filter(|number| *number > 0).map(|number| (number, protocol))
}

/// False if a label says so.
pub(super) fn is_enabled(labels: &Words) -> bool {
    !labels
        .get(ENABLE)
        .is_some_and(|enable| matches!(enable.to_ascii_lowercase().as_str(), "false" | "0" | "no" | "off"))
}

/// What a network's label says of holding questions (answers.md N11).
pub(super) fn hold(labels: &Words) -> Option<Duration> {
    parse_duration(labels.get(HOLD)?)
}
