//! `callsign explain`: why a client gets its answer, of the server that runs, of a configuration file, or of Docker.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use callsign::control::client::Call;
use callsign::control::shapes::Explained;
use callsign::control::{Inquiry, World, explain, running};
use callsign::forward::Forwarder;
use callsign::responder::HOST_VIEW;
use callsign::source::config::Config;
use callsign::source::docker::ContainerStatus;
use callsign::table::{NameTable, Network};
use callsign::wire::rtype;

use super::control::text::Style;
use super::control::{Failure, ask, block_on, socket};
use super::host::{self, Hosts};
use super::question::Question;
use super::{NO, USAGE, arguments, check, docker, output};

pub(super) fn run(arguments: &arguments::Explain) -> ExitCode {
    let question = Question::new(&arguments.name, arguments.rtype, rtype::A);
    let mut inquiry = Inquiry {
        name: question.name().clone(),
        rtype: question.rtype(),
        from: arguments.from.clone(),
        network: arguments.network.clone(),
        note: None,
        called: None,
    };
    let explained = match place(arguments) {
        Place::Server => socket(&arguments.target).and_then(|socket| of_server(&socket, &inquiry, arguments.ask)),
        Place::File(path) | Place::Docker(path) => match docker::load(&path, arguments.docker) {
            Ok(config) if arguments.docker => of_docker(config, &mut inquiry, arguments.ask),
            Ok(config) => of_config(config, "file", &inquiry, arguments.ask).map_err(|(code, error)| {
                let is_name = inquiry.network.is_none() && inquiry.from.parse::<IpAddr>().is_err();
                let hint = if is_name { "; with --docker, --from may be a container of Docker's" } else { "" };
                (code, format!("{}: {error}{hint}", path.display()))
            }),
            Err(_) if arguments.config.is_none() && !arguments.docker && !path.exists() => Err((
                NO,
                format!(
                    "no server is running, and there is no {}; start one (callsign serve), or name a file with --config, \
                     or Docker with --docker",
                    path.display()
                ),
            )),
            Err(error) => return check::invalid(&path, &error, Vec::new(), arguments.target.json),
        },
    };
    match explained {
        Ok(explained) if arguments.target.json => output::json(&explained, 0),
        Ok(explained) => output::result(&show(&explained, Style::of_stdout()), 0),
        Err((code, message)) => output::failure(arguments.target.json, &message, code),
    }
}

/// What is explained.
enum Place {
    /// What this configuration would do.
    File(PathBuf),
    /// What it would do with Docker's networks of this moment.
    Docker(PathBuf),
    /// What a server does.
    Server,
}

fn place(arguments: &arguments::Explain) -> Place {
    let path = || arguments.config.as_deref().map_or_else(|| arguments::CONFIG.into(), arguments::or_stdin);
    if arguments.docker {
        Place::Docker(path())
    } else if arguments.config.is_some() || arguments.target.socket.is_none() && running().is_empty() {
        Place::File(path())
    } else {
        Place::Server
    }
}

fn of_server(socket: &Path, inquiry: &Inquiry, is_asked: bool) -> Result<Explained, Failure> {
    let call = Call::get("/v1/explain")
        .with("name", Some(inquiry.name.to_string()))
        .with("type", Some(rtype::mnemonic(inquiry.rtype)))
        .with("from", Some(&inquiry.from))
        .with("network", inquiry.network.as_ref())
        .with("ask", is_asked.then_some("yes"));
    ask(socket, &call).map(|(explained, _)| explained)
}

fn of_docker(mut config: Config, inquiry: &mut Inquiry, is_asked: bool) -> Result<Explained, Failure> {
    let docker = docker::ask(&mut config).map_err(|message| (NO, message))?;
    find_client(inquiry, &docker.containers, &config.networks).map_err(|message| (USAGE, message))?;
    let left_out = left_out(&inquiry.name.to_string(), &docker.containers, &config.networks);
    let mut explained = of_config(config, "docker", inquiry, is_asked)?;
    if let ("forwarded" | "failed" | "no_such_name" | "blocked", Some(left_out)) = (&*explained.result, left_out) {
        explained.cause =
            [explained.cause, Some(left_out)].into_iter().flatten().reduce(|one, more| format!("{one} {more}"));
    }
    Ok(explained)
}

/// That a container has the name, and that callsign leaves it out altogether.
fn left_out(name: &str, containers: &[ContainerStatus], networks: &[Network]) -> Option<String> {
    let has_name = |container: &&ContainerStatus| {
        [Some(&container.name), container.service.as_ref()]
            .into_iter()
            .flatten()
            .any(|own| own.eq_ignore_ascii_case(name))
    };
    let is_served = |container: &ContainerStatus| {
        networks.iter().any(|network| network.snapshot().endpoint(&container.id).is_some())
    };
    let container = containers.iter().filter(has_name).find(|container| !is_served(container))?;
    let reasons = check::left_out(container, networks).join("; ");
    Some(format!("There is a container {}, which is left out: {reasons}.", container.name))
}

/// Puts in place of a container that Docker calls so whose queries its are: its own by its ID, those of the container whose
/// network it has, or the host's.
fn find_client(inquiry: &mut Inquiry, containers: &[ContainerStatus], networks: &[Network]) -> Result<(), String> {
    let find = |name: &str| containers.iter().find(|container| container.name == name || container.id == name);
    // Of addresses, beginnings of IDs, and names that only callsign gives, the table knows more.
    let Some(mut container) = find(&inquiry.from) else { return Ok(()) };
    // As many containers as there are may share a network one by way of the other.
    for _ in containers {
        let Some(owner) = container.network_mode.strip_prefix("container:") else { break };
        let Some(owner) = find(owner) else {
            return Err(format!("container {} has the network of {owner}, which is not there", container.name));
        };
        inquiry.note = Some(format!("{} has the network of container {}, and asks as that.", inquiry.from, owner.name));
        container = owner;
    }
    let name = &container.name;
    if !container.is_running {
        return Err(match &*container.status {
            "created" => format!("{name} was never started, so it asks nothing; start it: docker start {name}"),
            "restarting" => format!("{name} is being restarted, so it asks nothing now; see docker logs {name}"),
            status => format!("{name} is stopped ({status}), so it asks nothing; start it: docker start {name}"),
        });
    }
    match container.network_mode.as_str() {
        "none" => return Err(format!("{name} has no network (`--network none`), so it asks nothing")),
        "host" => {
            let bridge =
                networks.iter().filter(|network| inquiry.network.as_deref().unwrap_or("bridge") == network.name());
            let gateway = bridge.flat_map(|bridge| bridge.snapshot().settings().gateways.clone()).next();
            let gateway = gateway.ok_or_else(|| {
                format!("container {name} has the host's network; name the network that it asks with --network")
            })?;
            let note = format!("{name} has the host's network, so it asks as the host, {gateway}.");
            inquiry.note = Some(inquiry.note.take().map_or(note.clone(), |before| format!("{before} {note}")));
            inquiry.network.get_or_insert_with(|| "bridge".to_owned());
            inquiry.from = gateway.to_string();
            return Ok(());
        }
        _ => {}
    }
    let is_served = networks.iter().any(|network| network.snapshot().endpoint(&container.id).is_some());
    let address = container.networks.iter().flat_map(|(_, addresses)| addresses).next();
    inquiry.from = match address {
        Some(_) if is_served => container.id.clone(),
        // One that is left out asks as an address that nobody is known to have.
        Some(address) => {
            let reasons = check::left_out(container, networks).join("; ");
            let note = format!("{name} is left out ({reasons}), so it asks as {address}, which has no names.");
            inquiry.note = Some(inquiry.note.take().map_or(note.clone(), |before| format!("{before} {note}")));
            inquiry.called = Some(name.clone());
            address.to_string()
        }
        None => return Err(format!("{name} is on no network that callsign knows, so it asks nothing")),
    };
    Ok(())
}

/// What a server of this configuration would do, whose networks come from a source of this kind.
fn of_config(config: Config, kind: &str, inquiry: &Inquiry, is_asked: bool) -> Result<Explained, Failure> {
    let table = NameTable::new();
    for network in config.networks {
        table.add(network).map_err(|error| (NO, error.to_string()))?;
    }
    let podman = config.podman.as_ref().map(|podman| host::podman_table(&podman.directory));
    let host_view = config.host.as_ref().map(|config| host::view(config, [&table].into_iter().chain(&podman)));
    let host_view = host_view.transpose().map_err(|error| (NO, error))?.map(Arc::new);
    let mut hosts = Hosts::default();
    hosts.want(config.server.hosts);
    let port = config.server.port;
    let forwarder = Forwarder::new(config.server.settings.forward);
    let listen = |network: &Network| {
        let snapshot = network.snapshot();
        let addresses = snapshot.settings().listen.iter();
        addresses.map(|address| (address.ip(), address.port().unwrap_or(port)).into()).collect::<Vec<_>>()
    };
    forwarder.set_own_addresses(table.networks().iter().flat_map(|network| listen(network)).collect());
    let lists = if kind == "docker" { "callsign check --docker" } else { "callsign check" };
    let world = World {
        table: &table,
        host_view,
        hosts: hosts.names(),
        forwarder: &forwarder,
        responder: Arc::new(config.server.settings.responder),
        listeners: Vec::new(),
        port,
        kind,
        lists,
    };
    let outcome = explain(&world, inquiry).map_err(|error| (USAGE, error))?;
    if is_asked { block_on(outcome.ask(&forwarder)) } else { Ok(outcome.explained) }
}

// Writing to memory does not fail: outcomes are dropped.
fn show(explained: &Explained, style: Style) -> String {
    let conclusion = match &*explained.result {
        "answered" | "forwarded" => style.good(&explained.conclusion),
        _ => style.bad(&explained.conclusion),
    };
    let mut text = format!("{}\n", style.bold(&conclusion));
    for line in explained.cause.iter().chain(&explained.advice) {
        let _ = writeln!(text, "{line}");
    }
    let technical = &explained.technical;
    let of = if technical.network == HOST_VIEW { "the" } else { "network" };
    let mut lines: Vec<(&str, String)> = vec![
        ("question", format!("{} {}", explained.name, explained.rtype)),
        ("listener", format!("{} of {of} {}", technical.listener, technical.network)),
        ("client", format!("{} {}", explained.client.address, technical.client)),
    ];
    lines.extend(technical.searched.iter().map(|each| ("searched", format!("{}: {}", each.network, each.text))));
    lines.push(("decision", format!("{} (rule {})", technical.decision, technical.rule)));
    if let Some(forward) = &technical.forward {
        let servers = match (&forward.servers[..], &*explained.result) {
            ([], "blocked") => "blocked".to_owned(),
            ([], _) => "no upstream".to_owned(),
            (servers, _) => servers.join(", "),
        };
        lines.push(("upstream", format!("{}: {servers}", forward.by)));
    }
    if let Some(said) = &explained.upstream {
        let by = said.upstream.as_ref().map(|upstream| format!("{upstream}: ")).unwrap_or_default();
        let what = said.rcode.clone().or_else(|| said.error.clone()).unwrap_or_default();
        lines.push((
            "said",
            format!("{by}{what} after {:.1} ms {}", said.ms, said.answers.join(", ")).trim_end().to_owned(),
        ));
    }
    lines.extend(technical.answers.iter().map(|record| ("answer", record.clone())));
    lines.extend(technical.additional.iter().map(|record| ("besides", record.clone())));
    lines.extend(technical.errors.iter().map(|error| ("error", error.clone())));
    text.push('\n');
    for (what, line) in lines {
        let _ = writeln!(text, "{}  {line}", style.dim(&format!("{what:<8}")));
    }
    text
}
