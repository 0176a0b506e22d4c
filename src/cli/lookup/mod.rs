//! `callsign lookup`: asks one server, and shows what it says.

mod ask;
mod search;

use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::process::ExitCode;
use std::time::Duration;

use callsign::table::Address;
use callsign::wire::{NameError, rtype};
use nix::net::if_::if_nametoindex;
use serde::Serialize;

use super::arguments;
use super::question::{Question, Rtype, Subject};
use super::reply::{Origin, Reply};
use super::{NO, USAGE, output};
use ask::Transport;
use search::Search;

/// Where the host keeps its name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The most name servers that the C library takes of it.
const MAX_SERVERS: usize = 3;

/// The document of `--json`.
#[derive(Debug, Serialize)]
struct Document {
    /// The one that is asked first.
    server: SocketAddr,
    /// One for each question.
    lookups: Vec<Lookup>,
}

/// One question and what came of it.
#[derive(Debug, Serialize)]
struct Lookup {
    name: String,
    /// The name for people.
    #[serde(skip)]
    shown: String,
    /// Who replied, or was asked last.
    server: SocketAddr,
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
    /// Where the answer is from, as far as the reply tells.
    origin: Option<Origin>,
    #[serde(flatten)]
    reply: Reply,
}

pub(super) fn run(arguments: &arguments::Lookup) -> ExitCode {
    let wanted = match Wanted::read(arguments) {
        Ok(wanted) => wanted,
        Err(message) => {
            return output::failure(arguments.json, &format!("{message}; see callsign lookup --help"), USAGE);
        }
    };
    let resolver = match &wanted.server {
        Some(address) => socket_address(address).map(|server| (vec![server], Search::none())),
        None => own_resolver(),
    };
    let (mut servers, search) = match resolver {
        Ok(resolver) => resolver,
        Err(message) => return output::failure(arguments.json, &message, NO),
    };
    let transport = if arguments.tcp { Transport::Tcp } else { Transport::Udp };
    let mut document = Document { server: servers[0], lookups: Vec::new() };
    let is_found = |lookup: &Lookup| lookup.reply.as_ref().is_some_and(|received| received.reply.is_positive());
    'search: for subject in wanted.subjects(&search) {
        for question in questions(&subject, wanted.rtype) {
            document.lookups.push(look_up(&mut servers, &question, transport));
            // Servers that say nothing once are not waited for a second time.
            if document.lookups.iter().any(|lookup| lookup.failure.is_some()) {
                break 'search;
            }
        }
        if document.lookups.iter().any(is_found) {
            break;
        }
    }
    let code = if document.lookups.iter().any(is_found) { 0 } else { NO };
    if arguments.json { output::json(&document, code) } else { show(&document, arguments.short, code) }
}

/// What the command line asks for.
struct Wanted {
    subject: Subject,
    /// The name as it was written: with a final dot it is whole.
    text: String,
    rtype: Option<Rtype>,
    server: Option<Address>,
}

impl Wanted {
    fn read(arguments: &arguments::Lookup) -> Result<Wanted, String> {
        let (servers, words): (Vec<&str>, Vec<&str>) =
            arguments.words.iter().map(String::as_str).partition(|word| word.starts_with('@'));
        let server = match (servers[..].first(), &arguments.server) {
            (Some(word), None) if servers.len() == 1 => {
                Some(word[1..].parse().map_err(|error| format!("{word}: {error}"))?)
            }
            (None, server) => server.clone(),
            _ => return Err("several servers are named; name one".to_owned()),
        };
        let words = match (&arguments.reverse, &words[..]) {
            (Some(_), []) => [None, None],
            (None, [name]) => [Some(*name), None],
            (None, [name, rtype]) => [Some(*name), Some(*rtype)],
            (None, []) => return Err("no name is given".to_owned()),
            (Some(_), [word, ..]) => return Err(format!("-x takes no name and no type, and {word:?} is given")),
            (None, [_, _, word, ..]) => return Err(format!("{word:?} is one word too many")),
        };
        let [name, rtype] = words;
        let subject = match (arguments.reverse, name) {
            (Some(address), _) => Subject::Address(address),
            (None, name) => name.unwrap_or_default().parse().map_err(|error: NameError| error.to_string())?,
        };
        let read = |word: &str| word.parse().map_err(|error| format!("{word:?}: {error}"));
        Ok(Wanted { subject, text: name.unwrap_or_default().to_owned(), rtype: rtype.map(read).transpose()?, server })
    }

    /// What to ask for until there is an answer.
    fn subjects(&self, search: &Search) -> Vec<Subject> {
        match &self.subject {
            Subject::Name(name) => search.candidates(name, &self.text).into_iter().map(Subject::Name).collect(),
            Subject::Address(_) => vec![self.subject.clone()],
        }
    }
}

/// A name without a type is asked for its addresses of both families.
fn questions(subject: &Subject, rtype: Option<Rtype>) -> Vec<Question> {
    let question = |default| Question::new(subject, rtype, default);
    match (subject, rtype) {
        (Subject::Name(_), None) => vec![question(rtype::A), question(rtype::AAAA)],
        _ => vec![question(rtype::A)],
    }
}

/// Asks the servers one after the other until one has an answer, or says that there is none. Those that do not reply are left
/// out from here on, but for the last one.
fn look_up(servers: &mut Vec<SocketAddr>, question: &Question, transport: Transport) -> Lookup {
    let mut last = ask_one(servers[0], question, transport);
    let mut next = 1;
    while next < servers.len() && !last.is_settled() {
        let text = match (&last.failure, &last.reply) {
            (Some(failure), _) => failure.clone(),
            (None, reply) => reply.as_ref().map(|received| received.reply.status.clone()).unwrap_or_default(),
        };
        let (asked, other) = (last.server, servers[next]);
        output::complain(format_args!("callsign: {question}: {asked}: {text}; asking {other}"));
        if last.failure.is_some() {
            servers.remove(next - 1);
        } else {
            next += 1;
        }
        last = ask_one(other, question, transport);
    }
    last
}

fn ask_one(server: SocketAddr, question: &Question, transport: Transport) -> Lookup {
    let outcome = ask::ask(server, question, transport).and_then(|answer| {
        let reply = Reply::read(&answer.message).map_err(|error| format!("its reply is malformed: {error}"))?;
        let milliseconds = milliseconds(answer.took);
        Ok(Received { transport: answer.transport, milliseconds, origin: reply.origin(), reply })
    });
    let (reply, failure) = match outcome {
        Ok(received) => (Some(received), None),
        Err(failure) => (None, Some(failure)),
    };
    let (name, shown) = (question.name().to_string(), question.unicode_name());
    Lookup { name, shown, server, rtype: question.type_name(), failure, reply }
}

impl Lookup {
    /// False if the C library asks the next server.
    fn is_settled(&self) -> bool {
        let reply = self.reply.as_ref().map(|received| &received.reply);
        reply.is_some_and(|reply| !matches!(&*reply.status, "SERVFAIL" | "NOTIMP" | "REFUSED"))
    }
}

/// To a hundredth.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}

fn show(document: &Document, is_short: bool, code: u8) -> ExitCode {
    let mut text = String::new();
    // Writing to memory does not fail.
    for Lookup { shown, server, rtype, failure, reply, .. } in &document.lookups {
        if let Some(failure) = failure {
            output::complain(format_args!("callsign: {shown} {rtype}: {server}: {failure}"));
        }
        let Some(Received { transport, milliseconds, origin, reply }) = reply else { continue };
        if is_short {
            for record in &reply.answers {
                let _ = writeln!(text, "{}", record.data);
            }
            continue;
        }
        let _ = write!(text, "{shown} {rtype}: {reply}, {server} over {transport}, {milliseconds} ms");
        let _ = match origin {
            Some(origin) => writeln!(text, ", {origin}"),
            None => writeln!(text),
        };
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

/// The servers that this host's own resolver asks, in order, and its search list.
fn own_resolver() -> Result<(Vec<SocketAddr>, Search), String> {
    let octets = fs::read(RESOLV_CONF)
        .map_err(|error| format!("{RESOLV_CONF} cannot be read: {error}; name a server, as in @10.10.1.1"))?;
    let (file, _) = resolv_conf::Config::parse_with_errors(&octets);
    let servers = file.nameservers.iter().take(MAX_SERVERS).map(|server| {
        let address = server.to_string().parse().map_err(|error| format!("{RESOLV_CONF}: {error}"))?;
        socket_address(&address)
    });
    let mut servers = servers.collect::<Result<Vec<_>, String>>()?;
    if servers.is_empty() {
        // As resolv.conf(5) says.
        servers.push((Ipv4Addr::LOCALHOST, 53).into());
    }
    Ok((servers, Search::of(&file)))
}
