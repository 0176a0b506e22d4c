//! What a container is called, where, and whether it is up: an inspection made into what the table needs. Pure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::source::seconds_of;
use crate::table::{Health, MAX_HOLD, Port, Protocol, relative_names};
use crate::wire::Name;

use super::events::nanoseconds;
use super::model::{self, Binding, Connected, Endpoint, Inspection, Labels, Summary};

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
const STACK: &str = "com.docker.stack.namespace";

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
    /// Made by `docker compose run`.
    pub(super) is_one_off: bool,
    /// The stack of `docker stack deploy` whose task it is.
    pub(super) stack: Option<String>,
    pub(super) condition: Condition,
    /// The engine's word for it: `exited`.
    pub(super) status: String,
    /// Whose network namespace it is in: `host`, `container:ID`, `none`, else its own.
    pub(super) network_mode: String,
    /// In ns since 1970; 0 if it was never started.
    pub(super) started: i64,
    pub(super) health: Health,
    pub(super) ports: Vec<Port>,
    pub(super) is_enabled: bool,
    pub(super) attachments: Vec<Attachment>,
    /// Names that this container gives to others.
    pub(super) links: Vec<Link>,
    /// What is wrong with its labels, for people.
    pub(super) problems: Vec<String>,
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
    /// True if it was ended before the container ever ran, as Compose does: when it is made anew its aliases may be others.
    pub(super) is_provisional: bool,
}

/// `--link TARGET:ALIAS`: on this network the container called `target` has this name, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) network_name: String,
    pub(super) target: String,
    pub(super) aliases: Vec<Name>,
}

impl Container {
    /// What is known before a container's first inspection, from the network that it is on.
    pub(super) fn unseen(connected: &Connected) -> Container {
        Container {
            name: connected.name.clone(),
            project: None,
            service: None,
            is_one_off: false,
            stack: None,
            condition: Condition::Pending,
            status: String::new(),
            network_mode: String::new(),
            started: 0,
            health: Health::Healthy,
            ports: Vec::new(),
            is_enabled: true,
            attachments: Vec::new(),
            links: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// What is known of a container that was created and not started, from its entry in the list: an inspection waits until
    /// the start is through (docker.md 3.20). The list has no aliases; Compose's is the service's name, unless it is a one-off.
    pub(super) fn created(summary: &Summary) -> Container {
        let Summary { id, names, state, labels, host_config, network_settings, .. } = summary;
        let mut network_settings = network_settings.clone();
        for endpoint in network_settings.networks.values_mut() {
            endpoint.aliases.extend(labels.get(SERVICE).filter(|_| !is_one_off(labels)).cloned());
        }
        let inspection = Inspection {
            name: names.first().cloned().unwrap_or_default(),
            state: model::State { status: state.clone(), ..model::State::default() },
            host_config: host_config.clone(),
            config: model::Config { labels: labels.clone(), ..model::Config::default() },
            network_settings,
        };
        Container::read(id, &inspection)
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
                is_provisional: false,
            }
        });
        Container {
            attachments: attachments.collect(),
            project: labels.get(PROJECT).cloned(),
            service: labels.get(SERVICE).cloned(),
            is_one_off: is_one_off(labels),
            stack: labels.get(STACK).cloned(),
            condition,
            status: state.status.clone(),
            network_mode: host_config.network_mode.clone(),
            started: nanoseconds(&state.started_at).unwrap_or(0),
            health: match state.health.status.as_str() {
                "unhealthy" => Health::Unhealthy,
                "starting" => Health::Starting,
                _ => Health::Healthy,
            },
            ports: ports(inspection),
            is_enabled: is_enabled(labels),
            links,
            problems: problems(labels, Labelled::Container),
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
            aliases: relative_names(alias).ok()?.into_vec(),
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
fn names_of(name: &str, id: &str, endpoint: &Endpoint, hostname: &str, labels: &Labels, is_default: bool) -> Vec<Name> {
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
        && !is_one_off(labels)
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
        match relative_names(name) {
            Ok(spellings) => {
                for name in spellings {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
            }
            Err(error) => tracing::debug!(container = id, %error, "not a name; left out"),
        }
    }
    names.shrink_to_fit();
    names
}

/// The exposed and the published ports by number, and those of the label by name, too: `http=80, dns=53/udp`. Each with where
/// it is published.
fn ports(inspection: &Inspection) -> Vec<Port> {
    let published = &inspection.network_settings.ports;
    let numbers = inspection.config.exposed_ports.keys().chain(published.keys());
    let exposed = numbers.filter_map(|port| port_of(port).map(|(number, protocol)| Port::new(number, protocol)));
    let named =
        inspection.config.labels.get(PORTS).into_iter().flat_map(|ports| ports.split(',')).filter_map(named_port);
    let mut ports: Vec<Port> = named.collect();
    // A named port answers by its number, too.
    for port in exposed {
        if !ports.iter().any(|known| (known.number(), known.protocol()) == (port.number(), port.protocol())) {
            ports.push(port);
        }
    }
    for (key, bindings) in published.iter().filter(|(_, bindings)| !bindings.is_empty()) {
        let sockets: Vec<SocketAddr> = bindings.iter().filter_map(socket_of).collect();
        for port in ports.iter_mut().filter(|port| Some((port.number(), port.protocol())) == port_of(key)) {
            *port = port.clone().published_at(sockets.iter().copied());
        }
    }
    ports
}

/// Where a port is published; an engine that names no address means all of them.
fn socket_of(binding: &Binding) -> Option<SocketAddr> {
    let ip = match binding.host_ip.as_str() {
        "" => Ipv4Addr::UNSPECIFIED.into(),
        ip => ip.parse::<IpAddr>().ok()?,
    };
    let port = binding.host_port.parse().ok().filter(|port| *port > 0)?;
    Some(SocketAddr::new(ip, port))
}

/// `http=80`, `dns=53/udp`.
fn named_port(text: &str) -> Option<Port> {
    let (name, port) = text.split_once('=')?;
    let (name, (number, protocol)) = (name.trim().trim_start_matches('_'), port_of(port.trim())?);
    let is_label = (1..=62).contains(&name.len()) && !name.contains('.');
    is_label.then(|| Port::named(name, number, protocol))
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

fn is_one_off(labels: &Labels) -> bool {
    labels.get(ONE_OFF).is_some_and(|one_off| one_off.eq_ignore_ascii_case("true"))
}

/// False if a label says so.
pub(super) fn is_enabled(labels: &Labels) -> bool {
    !labels
        .get(ENABLE)
        .is_some_and(|enable| matches!(enable.to_ascii_lowercase().as_str(), "false" | "0" | "no" | "off"))
}

/// What has labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Labelled {
    Container,
    Network,
}

/// What is wrong with the labels that are ours, for people.
pub(super) fn problems(labels: &Labels, of: Labelled) -> Vec<String> {
    let ours = labels.iter().filter(|(label, _)| label.starts_with("callsign."));
    ours.flat_map(|(label, text)| problems_of(label, text, of)).collect()
}

fn problems_of(label: &str, text: &str, of: Labelled) -> Vec<String> {
    let wrong = |what: &str, example: &str| format!("label {label}: {what} (example: {label}={example})");
    // Of a list each part that is wrong is named, as the others hold.
    let each = |is_good: fn(&str) -> bool, what: &str, example: &str| {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let problem = |part| wrong(&format!("{part:?} is not {what} and is ignored"), example);
        parts.filter(|part| !is_good(part)).map(problem).collect()
    };
    match (label, of) {
        (ENABLE, _) if is_switch(text) => Vec::new(),
        (ENABLE, _) => vec![wrong(&format!("{text:?} is neither true nor false and is ignored"), "false")],
        (NAMES, Labelled::Container) => each(|name| relative_names(name).is_ok(), "a name", "www, *.web"),
        (PORTS, Labelled::Container) => {
            each(|port| named_port(port).is_some(), "a port with a name", "http=80, dns=53/udp")
        }
        (HOLD, Labelled::Network) => match seconds_of(text) {
            Some(seconds) if (0.0..=MAX_HOLD.as_secs_f64()).contains(&seconds) => Vec::new(),
            Some(seconds) if seconds > MAX_HOLD.as_secs_f64() => {
                let most = MAX_HOLD.as_secs_f64();
                vec![wrong(&format!("{text:?} is longer than a query may wait; {most} s is used"), "2s")]
            }
            _ => vec![wrong(&format!("{text:?} is not a time from 0s to 3.5s and is ignored"), "2s")],
        },
        (NAMES | PORTS, Labelled::Network) => {
            vec![format!("label {label} is one of containers and has no effect on a network")]
        }
        (HOLD, Labelled::Container) => {
            vec![format!("label {label} is one of networks and has no effect on a container; see docs/docker.md")]
        }
        _ => vec![format!("there is no label {label}; see docs/docker.md")],
    }
}

fn is_switch(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on" | "false" | "0" | "no" | "off")
}

/// What a network's label says of holding questions (answers.md N11).
pub(super) fn hold(labels: &Labels) -> Option<Duration> {
    let seconds = seconds_of(labels.get(HOLD)?)?;
    Duration::try_from_secs_f64(seconds).ok().map(|hold| hold.min(MAX_HOLD))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(text: &str) -> (Inspection, String) {
        let id: serde_json::Value = serde_json::from_str(text).unwrap();
        (serde_json::from_str(text).unwrap(), id["Id"].as_str().unwrap().to_owned())
    }

    fn read(text: &str) -> Container {
        let (inspection, id) = sample(text);
        Container::read(&id, &inspection)
    }

    /// With this JSON in place of that.
    fn changed(text: &str, from: &str, to: &str) -> Container {
        assert!(text.contains(from), "{from}");
        read(&text.replace(from, to))
    }

    fn names(attachment: &Attachment) -> Vec<String> {
        attachment.names.iter().map(ToString::to_string).collect()
    }

    const DB: &str = include_str!("../../../tests/docker_samples/inspect-compose-db.json");
    const WEB: &str = include_str!("../../../tests/docker_samples/inspect-compose-web.json");
    const JOB: &str = include_str!("../../../tests/docker_samples/inspect-compose-job.json");
    const STOPPED: &str = include_str!("../../../tests/docker_samples/inspect-stopped.json");
    const PODMAN: &str = include_str!("../../../tests/docker_samples/podman-inspect.json");

    #[test]
    fn a_service_of_compose() {
        let db = read(DB);
        let [back] = &db.attachments[..] else { panic!("{db:?}") };
        assert_eq!(
            names(back),
            ["proj_db_1", "database", "db.example.internal", "db", "dbhost", "db.proj", "proj-db-1"],
            "the container's name is the canonical one, and the short id is the table's"
        );
        assert_eq!(
            (back.network_name.as_str(), &back.addresses[..]),
            ("proj_back", &["172.21.0.2".parse().unwrap()][..])
        );
        assert_eq!((db.condition, db.health), (Condition::Up, Health::Unhealthy));
        assert_eq!(db.ports, [Port::new(5432, Protocol::Tcp)]);
        assert_eq!((db.project.as_deref(), db.service.as_deref()), (Some("proj"), Some("db")));
        assert_eq!(db.started, 1_795_545_619_543_133_967);
    }

    #[test]
    fn several_networks_and_labels() {
        let web = read(WEB);
        let networks: Vec<&str> = web.attachments.iter().map(|at| at.network_name.as_str()).collect();
        assert_eq!(networks, ["ext1", "proj_back", "proj_front"]);
        let all = ["proj_web_1", "web", "web.proj", "proj-web-1", "www", "web.local"];
        assert_eq!(names(&web.attachments[0]), all);
        assert_eq!(names(&web.attachments[1])[1..3], ["web", "api"]);
        let published = ["0.0.0.0:32769", "[::]:32769"].map(|socket| socket.parse::<SocketAddr>().unwrap());
        assert_eq!(
            web.ports,
            [
                Port::new(443, Protocol::Udp).published_at(published),
                Port::new(80, Protocol::Tcp).published_at(published)
            ]
        );
        let named =
            changed(WEB, "www, web.local\"", " *.web ,, a..b\", \"callsign.ports\": \"http=80, quic=443/udp, x=0, y\"");
        assert_eq!(
            names(&named.attachments[0]).last().map(String::as_str),
            Some("*.web"),
            "what is no name is left out"
        );
        assert_eq!(
            named.ports,
            [
                Port::named("http", 80, Protocol::Tcp).published_at(published),
                Port::named("quic", 443, Protocol::Udp).published_at(published)
            ]
        );
        let elsewhere = changed(WEB, "\"HostIp\": \"0.0.0.0\"", "\"HostIp\": \"\"");
        assert_eq!(elsewhere.ports, web.ports, "an engine that names no address means all");
        let disabled = changed(WEB, "\"callsign.names\": \"www, web.local\"", "\"callsign.enable\": \"false\"");
        assert!(web.is_enabled && !disabled.is_enabled);
    }

    #[test]
    fn the_default_bridge_has_the_names_that_docker_does_not_give() {
        let job = read(JOB);
        assert_eq!(names(&job.attachments[0]), ["the-job", "job", "job.proj", "proj-job-1"]);
        let one_off =
            changed(JOB, "\"com.docker.compose.oneoff\": \"False\"", "\"com.docker.compose.oneoff\": \"True\"");
        assert_eq!(names(&one_off.attachments[0]), ["the-job"], "docker.md 3.17: a one-off is not its service");
        let linked = changed(
            JOB,
            "\"Links\": null,\n  \"NetworkMode\"",
            "\"Links\": [\"/cdef:/the-job/ldb\"],\n  \"NetworkMode\"",
        );
        let alias = || "ldb".parse().unwrap();
        let link = |network: &str| Link {
            network_name: network.to_owned(),
            target: "cdef".to_owned(),
            aliases: vec![alias()],
        };
        assert_eq!(linked.links, [link("bridge")]);
        let text = WEB.replacen("\"Links\": null,\n    \"Aliases\"", "\"Links\": [\"cdef:ldb\"],\n    \"Aliases\"", 1);
        assert_eq!(read(&text).links, [link("ext1")]);
    }

    #[test]
    fn n7_what_does_not_run_has_names_and_no_address() {
        let stopped = read(STOPPED);
        assert_eq!((stopped.condition, names(&stopped.attachments[0])), (Condition::Down, vec!["stopped1".to_owned()]));
        assert_eq!(stopped.attachments[0].addresses, Vec::<IpAddr>::new());
        let dead = WEB
            .replace("\"Status\": \"running\"", "\"Status\": \"exited\"")
            .replace("\"Running\": true", "\"Running\": false");
        assert_eq!(
            read(&dead).attachments[0].addresses,
            Vec::<IpAddr>::new(),
            "docker.md 3.25: its address is still there when it died while the engine was away"
        );
        let restarting = changed(WEB, "\"Restarting\": false", "\"Restarting\": true");
        assert_eq!(restarting.condition, Condition::Pending);
        let created = STOPPED.replace("exited", "created");
        assert_eq!(read(&created).condition, Condition::Pending);
        let paused = changed(WEB, "\"Paused\": false", "\"Paused\": true");
        assert_eq!(paused.condition, Condition::Up, "docker.md 3.11");
    }

    #[test]
    fn n8_a_starting_container_is_not_healthy_yet() {
        for (status, health) in [
            ("starting", Health::Starting),
            ("unhealthy", Health::Unhealthy),
            ("healthy", Health::Healthy),
            ("none", Health::Healthy),
            ("", Health::Healthy),
        ] {
            assert_eq!(changed(DB, "\"unhealthy\"", &format!("{status:?}")).health, health, "{status}");
        }
    }

    #[test]
    fn newer_engines_give_all_names_themselves() {
        let dns_names = "\"DNSNames\": [\"proj_web_1\", \"web\", \"d730a23a3451\", \"given\"], \"GwPriority\": 5, \"Aliases\": [\"web\"]";
        let text = WEB.replacen("\"Aliases\": [\n     \"web\",\n     \"d730a23a3451\"\n    ]", dns_names, 1);
        assert_ne!(text, WEB);
        let web = read(&text);
        assert_eq!(
            names(&web.attachments[0]),
            ["proj_web_1", "web", "given", "web.proj", "proj-web-1", "www", "web.local"]
        );
        assert_eq!((web.attachments[0].priority, web.attachments[1].priority), (5, 0));
    }

    #[test]
    fn podman_7_3_what_it_says_differently() {
        let podman = read(PODMAN);
        let [attachment] = &podman.attachments[..] else { panic!("{podman:?}") };
        assert_eq!((podman.condition, podman.health), (Condition::Up, Health::Healthy));
        assert_eq!((attachment.network_id.as_str(), attachment.endpoint_id.as_str()), ("pn1", ""));
        assert_eq!(names(attachment), ["pe1n", "pea"]);
        let stopping = PODMAN.replace("\"running\"", "\"stopping\"").replace("\"Running\": true", "\"Running\": false");
        assert_eq!(read(&stopping).condition, Condition::Down);
    }

    #[test]
    fn labels_that_are_wrong_are_problems() {
        let problems = |label: &str, text: &str, of| problems(&Labels::from([(label.to_owned(), text.to_owned())]), of);
        use Labelled::{Container, Network};
        for (label, of, good, wrong, told) in [
            (
                ENABLE,
                Container,
                "False",
                "flase",
                "\"flase\" is neither true nor false and is ignored (example: callsign.enable=false)",
            ),
            (
                NAMES,
                Container,
                "www, *.web,",
                "www, bad..name",
                "\"bad..name\" is not a name and is ignored (example: callsign.names=www, *.web)",
            ),
            (
                PORTS,
                Container,
                "http=80, _dns=53/udp",
                "http:80",
                "\"http:80\" is not a port with a name and is ignored",
            ),
            (PORTS, Container, "x=9/sctp", "x=9, smtp=99999", "\"smtp=99999\" is not a port with a name"),
            (
                HOLD,
                Network,
                "2s",
                "2",
                "\"2\" is not a time from 0s to 3.5s and is ignored (example: callsign.hold=2s)",
            ),
            (HOLD, Network, "3.5s", "9s", "\"9s\" is longer than a query may wait; 3.5 s is used"),
        ] {
            assert_eq!(problems(label, good, of), Vec::<String>::new(), "{label}={good}");
            let [problem] = &problems(label, wrong, of)[..] else { panic!("{label}={wrong}") };
            assert!(problem.starts_with(&format!("label {label}: {told}")), "{problem}");
        }
        assert_eq!(
            problems(HOLD, "1s", Container),
            ["label callsign.hold is one of networks and has no effect on a container; see docs/docker.md"]
        );
        for label in [NAMES, PORTS] {
            let told = format!("label {label} is one of containers and has no effect on a network");
            assert_eq!(problems(label, "x", Network), [told]);
        }
        assert_eq!(problems("callsign.name", "x", Container), ["there is no label callsign.name; see docs/docker.md"]);
        assert_eq!(problems("com.example.hold", "x", Container), Vec::<String>::new());
    }

    #[test]
    fn n11_hold_by_label() {
        let label = |text: &str| hold(&Labels::from([(HOLD.to_owned(), text.to_owned())]));
        assert_eq!(label("2s"), Some(Duration::from_secs(2)));
        assert_eq!(label("500ms"), Some(Duration::from_millis(500)));
        assert_eq!((label("2"), label("-1s"), label("soon")), (None, None, None));
        assert_eq!(label("9s"), Some(MAX_HOLD));
    }
}
