//! Queries as they come, as lines of JSON.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::mpsc;

use crate::responder::Rule;
use crate::server::{Origin, Server};
use crate::table::NameTable;
use crate::wire::rtype;

use super::hub::{Event, Filter, Watching};
use super::records::Said;
use super::shapes::{Query, Watched};
use super::{containers, look, time};

/// How often what came is sent.
const TICK: Duration = Duration::from_millis(50);
/// The same where more comes than is shown: to show more of what nobody can read would cost the server.
const FLOODED: Duration = Duration::from_millis(250);
/// Ticks between two lookups of the watched container's addresses.
const LOOKUP: u32 = 20;

/// Sends what is watched until the receiver is gone.
pub(super) async fn run(server: Arc<Server>, from: Option<String>, mut watching: Watching, body: mpsc::Sender<Bytes>) {
    let mut wait = TICK;
    for tick in 1_u32.. {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = body.closed() => return,
        }
        if let Some(from) = &from
            && tick % LOOKUP == 0
        {
            follow(server.table(), from, &watching.watcher.filter);
        }
        let mut lines = String::new();
        while let Ok(event) = watching.events.try_recv() {
            push(&mut lines, &Watched::Query(Box::new(query(&event, Some(server.table())))));
        }
        watching.watcher.go_on();
        let dropped = watching.watcher.take_dropped();
        wait = if dropped > 0 { FLOODED } else { TICK };
        if dropped > 0 {
            push(&mut lines, &Watched::Dropped { dropped });
        }
        // Where it is not taken, the connection ends it.
        if !lines.is_empty() && body.send(lines.into()).await.is_err() {
            return;
        }
    }
}

fn push(lines: &mut String, line: &Watched) {
    // Values of our own cannot fail to be written.
    lines.push_str(&serde_json::to_string(line).unwrap_or_default());
    lines.push('\n');
}

/// Looks up the addresses of the container that is watched: it may be started anew with others.
fn follow(table: &NameTable, from: &str, filter: &Filter) {
    if let (Some(addresses), Ok(found)) = (&filter.from, addresses(table, from)) {
        *addresses.write().unwrap_or_else(PoisonError::into_inner) = found;
    }
}

/// The addresses of a client, named by its address or its container.
pub(super) fn addresses(table: &NameTable, from: &str) -> Result<Vec<std::net::IpAddr>, String> {
    if let Ok(address) = from.parse() {
        return Ok(vec![address]);
    }
    let places = containers::find(table, from, "callsign names")?;
    Ok(places.iter().flat_map(|place| place.endpoint.addresses().to_vec()).collect())
}

/// The addresses of a client, to be followed.
pub(super) fn followed(table: &NameTable, from: &str) -> Result<RwLock<Vec<std::net::IpAddr>>, String> {
    addresses(table, from).map(RwLock::new)
}

/// A query in the shapes; with a table, its client is named.
pub(super) fn query(event: &Event, table: Option<&NameTable>) -> Query {
    let question = event.question();
    let said = event.reply.as_deref().map(Said::read);
    let container = table.and_then(|table| {
        let network = table.network(&event.network);
        containers::at(table, network.as_deref(), event.client.ip().to_canonical())
    });
    let answers = said.as_ref().map(|said| said.answers.clone()).unwrap_or_default();
    Query {
        time: time::rfc3339(event.at),
        network: event.network.to_string(),
        client: event.client,
        container: container.map(|place| containers::name_of(&place.endpoint)),
        transport: look::transport(event.tcp).to_owned(),
        name: question.as_ref().map_or_else(String::new, |(name, _)| name.to_string()),
        rtype: question.map_or_else(String::new, |(_, rtype)| rtype::mnemonic(rtype)),
        why: why(event, &answers, said.as_ref()),
        answers,
        rcode: said.map(|said| said.rcode),
        rule: event.rule.letter().to_owned(),
        from: event.origin.as_str().to_owned(),
        upstream: event.upstream.as_ref().map(ToString::to_string),
        ms: time::millis(event.duration),
    }
}

/// The rule's sentence, or a better one where the answer tells more.
fn why(event: &Event, answers: &[String], said: Option<&Said>) -> String {
    let rcode = said.map_or("", |said| &said.rcode);
    let sentence = match (event.rule, event.origin, rcode) {
        (Rule::T1, _, "NOERROR") if answers.is_empty() => "the container has no address of this kind",
        (Rule::T5, _, "NOERROR") if answers.is_empty() => "the name is known here, and has no record of this type",
        (Rule::F1, Origin::Local, _) => "not a container's name, and blocked by a route",
        (Rule::F1, Origin::Upstream, "NXDOMAIN") => "not a container's name, and the upstream does not know it",
        (Rule::F1, Origin::Upstream, "SERVFAIL") => "not a container's name, and no upstream could answer",
        (Rule::F1, Origin::Upstream, _) => "not a container's name: the upstream answered",
        (Rule::F1, Origin::Cache, "SERVFAIL") => "not a container's name, and no upstream could answer a moment ago",
        (Rule::F1, Origin::Cache, _) => "not a container's name: an upstream answered before",
        (Rule::F1, Origin::Stale, _) => "not a container's name: no upstream answers, so an old answer is given",
        (rule, ..) => rule.sentence(),
    };
    sentence.to_owned()
}
