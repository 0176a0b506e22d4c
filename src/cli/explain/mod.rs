//! `callsign explain`: why a client gets its answer, computed from the configuration by the code that answers.

mod client;

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use callsign::forward::{Forwarder, Reason};
use callsign::responder::{Client, Explanation, Finding, Responder, Searched, Verdict, WhoAsks};
use callsign::source::config::Config;
use callsign::source::docker::ContainerStatus;
use callsign::table::{NameTable, Network};
use callsign::wire::rtype;
use callsign::{server, wire};
use serde::Serialize;

use super::question::Question;
use super::reply::Reply;
use super::{NO, USAGE, arguments, check, docker, output, settings};

/// The ID of the query, which nobody ever sees.
const ID: u16 = 1;
/// The port that the client asks from; any but 0 is the same.
const CLIENT_PORT: u16 = 50_000;

/// The document of `--json`.
#[derive(Debug, Serialize)]
struct Document {
    name: String,
    #[serde(rename = "type")]
    rtype: String,
    listener: SocketAddr,
    network: String,
    client: Asker,
    searched: Vec<Search>,
    /// Of answers.md.
    rule: &'static str,
    decision: String,
    /// Where the question goes, if it is forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    forward: Option<Forwarded>,
    /// The reply, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<Reply>,
    /// What the name may have been meant to be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hints: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Asker {
    address: IpAddr,
    /// `endpoint`, `host`, `stranger` or `forbidden`.
    is: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
}

#[derive(Debug, Serialize)]
struct Search {
    network: String,
    /// `nothing`, `name`, `service`, `parent` or `address`.
    found: &'static str,
    /// The same in words.
    text: String,
}

#[derive(Debug, Serialize)]
struct Forwarded {
    /// The name that is asked for: the question's, or the target of an alias.
    name: String,
    /// The rule that chose the servers.
    by: String,
    servers: Vec<String>,
    /// The last two for people.
    #[serde(skip)]
    text: String,
}

pub(super) fn run(arguments: &arguments::Explain) -> ExitCode {
    let path = arguments::or_stdin(&arguments.config);
    if !arguments.docker
        && let Err(message) = client::address(arguments, &[])
    {
        return output::failure(arguments.json, &message, USAGE);
    }
    let mut config = match docker::load(&path, arguments.docker) {
        Ok(config) => config,
        Err(error) => return check::invalid(&path, &error, Vec::new(), arguments.json),
    };
    let mut containers = Vec::new();
    if arguments.docker {
        match docker::ask(&mut config) {
            Ok(docker) => containers = docker.containers,
            Err(message) => return output::failure(arguments.json, &message, NO),
        }
    }
    match explain(arguments, config, &containers) {
        Ok((document, _)) if arguments.json => output::json(&document, 0),
        Ok((document, explanation)) => output::result(&show(&document, &explanation), 0),
        Err((code, message)) => output::failure(arguments.json, &message, code),
    }
}

type Failure = (u8, String);

fn explain(
    arguments: &arguments::Explain,
    config: Config,
    containers: &[ContainerStatus],
) -> Result<(Document, Explanation), Failure> {
    let options = settings::forwarding(&config.server, &config.cache, &config.routes);
    let responder = settings::responder(&config.server);
    let table = NameTable::new();
    for network in config.networks {
        table.add(network).map_err(|error| (NO, error.to_string()))?;
    }
    let networks = table.networks();
    let from = client::address(arguments, containers).map_err(|message| (USAGE, message))?;
    let network = network_of(arguments, &networks, from)?;
    let address = listen_address(&network, from, config.server.port);
    let listener = server::listener(network, address);

    let question = Question::new(&arguments.name, arguments.rtype, rtype::A);
    let packet = question.packet(ID);
    let client = Client::udp(&listener, SocketAddr::new(from, CLIENT_PORT));
    let mut out = [0; 4096];
    let (verdict, mut explanation) = Responder::new(Arc::new(responder)).explain(&packet, &client, &mut out);
    let forward = match &verdict {
        Verdict::Forward(forward) => {
            let forwarder = Forwarder::new(options);
            forwarder.set_own_addresses(networks.iter().flat_map(|network| own_addresses(network)).collect());
            let choice = forwarder.choose(forward.target(), &forward.upstreams);
            let name = wire::Name::from_wire(forward.target()).map_err(|error| (NO, error.to_string()))?;
            // The responder knows nothing of routes.
            explanation.decision = match (&choice.reason, forward.aliases.is_empty()) {
                (Reason::Blocked(_), _) => "NXDOMAIN: a route blocks it".to_owned(),
                (_, true) => "forwarded".to_owned(),
                (_, false) => format!("forwarded as {name}"),
            };
            Some(Forwarded {
                name: name.to_string(),
                by: choice.reason.to_string(),
                servers: choice.servers.iter().map(ToString::to_string).collect(),
                text: choice.to_string(),
            })
        }
        _ => None,
    };
    let reply = match &verdict {
        Verdict::Reply(len) => Some(Reply::read(&out[..*len]).map_err(|error| (NO, error))?),
        _ => None,
    };
    let mut hints = Vec::new();
    let is_nothing = |searched: &Searched| searched.finding == Finding::Nothing;
    // Of a client that may not ask nothing is searched.
    if !explanation.searched.is_empty() && explanation.searched.iter().all(is_nothing) {
        hints = client::hints(question.name(), &explanation, &networks, containers);
    }
    let document = Document {
        name: question.name().to_string(),
        rtype: question.type_name(),
        listener: address,
        network: explanation.network.clone(),
        client: asker(from, &explanation.client),
        searched: explanation.searched.iter().map(search).collect(),
        rule: explanation.rule,
        decision: explanation.decision.clone(),
        forward,
        reply,
        hints,
    };
    Ok((document, explanation))
}

/// The network whose listener the client asks: its own, if it is not told.
fn network_of(
    arguments: &arguments::Explain,
    networks: &[Arc<Network>],
    from: IpAddr,
) -> Result<Arc<Network>, Failure> {
    let names = |networks: &[&Arc<Network>]| {
        let names: Vec<&str> = networks.iter().map(|network| network.name()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let all: Vec<&Arc<Network>> = networks.iter().collect();
    let place =
        if arguments.docker { "Docker or of the file".to_owned() } else { arguments.config.display().to_string() };
    if let Some(name) = &arguments.network {
        let found = networks.iter().find(|network| network.name() == name).cloned();
        return found
            .ok_or_else(|| (USAGE, format!("there is no network {name:?} of {place}; there is {}", names(&all))));
    }
    let holders: Vec<_> =
        all.iter().copied().filter(|network| network.snapshot().endpoint_at(from).is_some()).collect();
    let contains =
        |network: &&Arc<Network>| network.snapshot().settings().subnets.iter().any(|subnet| subnet.contains(&from));
    let candidates = if holders.is_empty() { all.iter().copied().filter(contains).collect() } else { holders };
    match candidates[..] {
        [only] => Ok(only.clone()),
        [] => Err((
            USAGE,
            format!("{from} is on no network of {place}; name the one that it asks with --network: {}", names(&all)),
        )),
        _ => Err((
            USAGE,
            format!("{from} is on several networks; name the one that it asks with --network: {}", names(&candidates)),
        )),
    }
}

/// The listener that a client of this family would ask; one that is configured elsewhere stands for it if there is none.
fn listen_address(network: &Network, from: IpAddr, port: u16) -> SocketAddr {
    let unspecified: IpAddr = if from.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let all = own_addresses(network);
    let of_family = all.iter().find(|address| address.is_ipv4() == from.is_ipv4());
    of_family.or(all.first()).copied().unwrap_or(SocketAddr::new(unspecified, port))
}

fn own_addresses(network: &Network) -> Vec<SocketAddr> {
    let snapshot = network.snapshot();
    let listen = snapshot.settings().listen.iter();
    listen.map(|address| SocketAddr::new(address.ip(), address.port().unwrap_or(53))).collect()
}

fn asker(address: IpAddr, who: &WhoAsks) -> Asker {
    match who {
        WhoAsks::Endpoint(id) | WhoAsks::Elsewhere { id, .. } => {
            Asker { address, is: "endpoint", endpoint: Some(id.clone()) }
        }
        WhoAsks::Host => Asker { address, is: "host", endpoint: None },
        WhoAsks::Forbidden => Asker { address, is: "forbidden", endpoint: None },
        _ => Asker { address, is: "stranger", endpoint: None },
    }
}

fn search(searched: &Searched) -> Search {
    let found = match searched.finding {
        Finding::Name { .. } => "name",
        Finding::Service { .. } => "service",
        Finding::Parent => "parent",
        Finding::Address { .. } => "address",
        _ => "nothing",
    };
    Search { network: searched.network.clone(), found, text: searched.finding.to_string() }
}

fn show(document: &Document, explanation: &Explanation) -> String {
    let mut text = format!("{explanation}\n");
    // Writing to memory does not fail.
    if let Some(Forwarded { text: choice, .. }) = &document.forward {
        let _ = writeln!(text, "upstream  {choice}");
    }
    if let Some(reply) = &document.reply {
        for record in &reply.answers {
            let _ = writeln!(text, "answer    {record}");
        }
        for record in &reply.additional {
            let _ = writeln!(text, "besides   {record}");
        }
        for error in &reply.errors {
            let _ = writeln!(text, "error     {error}");
        }
    }
    for hint in &document.hints {
        let _ = writeln!(text, "hint      {hint}");
    }
    text
}
