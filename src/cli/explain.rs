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
    inquiry.from = client(&inquiry.from, &docker.containers).map_err(|message| (USAGE, message))?;
    of_config(config, "docker", inquiry, is_asked)
}

/// Who asks: the ID of the container that Docker calls so, else what was given.
fn client(from: &str, containers: &[ContainerStatus]) -> Result<String, String> {
    // Of addresses, and of names that only callsign gives, the table knows more.
    let Some(container) = containers.iter().find(|container| container.name == from || container.id == from) else {
        return Ok(from.to_owned());
    };
    if container.networks.iter().all(|(_, addresses)| addresses.is_empty()) {
        return Err(format!(
            "container {} has no address: it is not running, is on no network that is served, or has the network of the \
             host or of another container, which to name instead",
            container.name
        ));
    }
    Ok(container.id.clone())
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
    let world = World {
        table: &table,
        host_view,
        hosts: hosts.names(),
        forwarder: &forwarder,
        responder: Arc::new(config.server.settings.responder),
        listeners: Vec::new(),
        port,
        kind,
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
        let what = said.rcode.clone().or_else(|| said.error.clone()).unwrap_or_default();
        lines.push((
            "said",
            format!("{what} after {:.1} ms {}", said.ms, said.answers.join(", ")).trim_end().to_owned(),
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
