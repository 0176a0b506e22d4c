//! `callsign lookup`: asks one server, and shows what it says.

mod ask;

use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::process::ExitCode;
use std::time::Duration;

use callsign::table::Address;
use callsign::wire::rtype;
use nix::net::if_::if_nametoindex;
use serde::Serialize;

use super::arguments;
use super::question::{Question, Subject};
use super::reply::Reply;
use super::{NO, output};
use ask::Transport;

/// Where the host keeps its name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The document of `--json`.
#[derive(Debug, Serialize)]
struct Document {
    server: SocketAddr,
    /// One for each question.
    lookups: Vec<Lookup>,
}

/// One question and what came of it.
#[derive(Debug, Serialize)]
struct Lookup {
    name: String,
    #[serde(rename = "type")]
    rtype: String,
    /// Why there is no reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    #[serde(flatten)]
    reply: Option<Received>,
}

/// A reply, and how it came.
#[derive(Debug, Serialize)]
struct Received {
    transport: Transport,
    milliseconds: f64,
    #[serde(flatten)]
    reply: Reply,
}

pub(super) fn run(arguments: &arguments::Lookup) -> ExitCode {
    let server = match &arguments.server {
        Some(address) => socket_address(address),
        None => first_nameserver(),
    };
    let server = match server {
        Ok(server) => server,
        Err(message) => return output::fail(message, NO),
    };
    let transport = if arguments.tcp { Transport::Tcp } else { Transport::Udp };
    let mut document = Document { server, lookups: Vec::new() };
    for question in questions(arguments) {
        document.lookups.push(look_up(server, &question, transport));
        // A server that says nothing once is not waited for a second time.
        if document.lookups.iter().any(|lookup| lookup.failure.is_some()) {
            break;
        }
    }
    let is_found = |lookup: &Lookup| lookup.reply.as_ref().is_some_and(|received| received.reply.is_positive());
    let code = if document.lookups.iter().any(is_found) { 0 } else { NO };
    if arguments.json { output::json(&document, code) } else { show(&document, code) }
}

/// A name without a type is asked for its addresses of both families.
fn questions(arguments: &arguments::Lookup) -> Vec<Question> {
    let question = |default| Question::new(&arguments.name, arguments.rtype, default);
    match (&arguments.name, arguments.rtype) {
        (Subject::Name(_), None) => vec![question(rtype::A), question(rtype::AAAA)],
        _ => vec![question(rtype::A)],
    }
}

fn look_up(server: SocketAddr, question: &Question, transport: Transport) -> Lookup {
    let outcome = ask::ask(server, question, transport).and_then(|answer| {
        let reply = Reply::read(&answer.message).map_err(|error| format!("its reply is malformed: {error}"))?;
        let milliseconds = milliseconds(answer.took);
        Ok(Received { transport: answer.transport, milliseconds, reply })
    });
    let (reply, failure) = match outcome {
        Ok(received) => (Some(received), None),
        Err(failure) => (None, Some(failure)),
    };
    Lookup { name: question.name().to_string(), rtype: question.type_name(), failure, reply }
}

/// To a hundredth.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}

fn show(document: &Document, code: u8) -> ExitCode {
    let mut text = String::new();
    for Lookup { name, rtype, failure, reply } in &document.lookups {
        if let Some(failure) = failure {
            output::complain(format_args!("callsign: {name} {rtype}: {}: {failure}", document.server));
        }
        if let Some(Received { transport, milliseconds, reply }) = reply {
            // Writing to memory does not fail.
            let _ = writeln!(text, "{name} {rtype}: {reply}, {} over {transport}, {milliseconds} ms", document.server);
            for record in &reply.answers {
                let _ = writeln!(text, "  {record}");
            }
            for record in &reply.additional {
                let _ = writeln!(text, "  {record}  (additional)");
            }
            for error in &reply.errors {
                let _ = writeln!(text, "  error {error}");
            }
        }
    }
    output::result(&text, code)
}

/// The socket address of a server. Its zone is that of an interface of this host.
fn socket_address(address: &Address) -> Result<SocketAddr, String> {
    let port = address.port().unwrap_or(53);
    match (address.ip(), address.zone()) {
        (IpAddr::V6(ip), Some(zone)) => {
            let scope = zone.parse().or_else(|_| if_nametoindex(zone));
            let scope = scope.map_err(|_| format!("{address}: there is no interface {zone:?} here"))?;
            Ok(SocketAddrV6::new(ip, port, 0, scope).into())
        }
        (ip, _) => Ok(SocketAddr::new(ip, port)),
    }
}

/// The server that this host's own resolver asks first.
fn first_nameserver() -> Result<SocketAddr, String> {
    let octets = fs::read(RESOLV_CONF)
        .map_err(|error| format!("{RESOLV_CONF} cannot be read: {error}; name a server, as in --server 10.10.1.1"))?;
    let (file, _) = resolv_conf::Config::parse_with_errors(&octets);
    match file.nameservers.first() {
        Some(server) => {
            let text = server.to_string();
            socket_address(&text.parse().map_err(|error| format!("{RESOLV_CONF}: {error}"))?)
        }
        // As resolv.conf(5) says.
        None => Ok((Ipv4Addr::LOCALHOST, 53).into()),
    }
}
