//! `callsign status`: what the running servers do, and what is wrong.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use callsign::control::client::Call;
use callsign::control::shapes::{
    Confined, Listener, Network, ServerStatus, SilentSocket, Status, Statuses, Upstream, VERSION,
};

use super::arguments;
use super::text::{self, Cell, Style, Table, number};
use super::{Failure, block_on, fail, failure, sockets, state};
use crate::cli::{NO, output};

/// How long a server may take to say how it does.
const PATIENCE: Duration = Duration::from_secs(3);

pub(in crate::cli) fn run(arguments: &arguments::Status) -> ExitCode {
    let statuses = match statuses(arguments) {
        Ok(statuses) => statuses,
        Err((code, message)) => return fail(&arguments.target, message, code),
    };
    let Statuses { servers, silent, .. } = &statuses;
    let is_well = silent.is_empty() && servers.iter().all(|server| server.status.problems.is_empty());
    let code = if is_well { 0 } else { NO };
    if arguments.target.json {
        return output::json(&statuses, code);
    }
    let style = Style::of_stdout();
    let is_one = servers.len() + silent.len() == 1;
    if let ([], [only], true) = (&servers[..], &silent[..], is_one) {
        return fail(&arguments.target, &only.error, code);
    }
    let at = |socket: &str| if is_one { String::new() } else { format!("{}\n", style.dim(socket)) };
    let mut texts: Vec<String> =
        servers.iter().map(|server| format!("{}{}", at(&server.socket), show(&server.status, style))).collect();
    texts.extend(
        silent.iter().map(|silent| format!("{}\n  {} {}\n", style.dim(&silent.socket), style.bad("!"), silent.error)),
    );
    output::result(&texts.join("\n"), code)
}

/// What every server says, asked at once: one that hangs hides no other.
fn statuses(arguments: &arguments::Status) -> Result<Statuses, Failure> {
    let call = Call::get("/v1/status").within(PATIENCE);
    let sockets = sockets(&arguments.target)?;
    let answers = block_on(async {
        let asked: Vec<_> = sockets
            .into_iter()
            .map(|socket| {
                let call = call.clone();
                tokio::spawn(async move {
                    let answer = call.send::<Status>(&socket).await;
                    (socket.display().to_string(), answer.map_err(|error| failure(error).1))
                })
            })
            .collect();
        let mut answers = Vec::new();
        for task in asked {
            answers.extend(task.await);
        }
        answers
    })?;
    let mut all = Statuses { api: VERSION, servers: Vec::new(), silent: Vec::new() };
    for (socket, answer) in answers {
        match answer {
            Ok((status, _)) => all.servers.push(ServerStatus { socket, status }),
            Err(error) => all.silent.push(SilentSocket { socket, error }),
        }
    }
    let Some(wanted) = &arguments.network else { return Ok(all) };
    let mut known: Vec<String> =
        all.servers.iter().flat_map(|server| &server.status.networks).map(|network| network.name.clone()).collect();
    known.sort();
    all.servers.retain_mut(|server| {
        server.status.networks.retain(|network| network.name == *wanted);
        !server.status.networks.is_empty()
    });
    if all.servers.is_empty() && all.silent.is_empty() {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err((NO, format!("there is no network {wanted:?}; there is {known}")));
    }
    Ok(all)
}

// Writing to memory does not fail: outcomes are dropped.
fn show(status: &Status, style: Style) -> String {
    let mut text = String::new();
    let verdict = match status.problems.len() {
        0 => style.good("all is well"),
        1 => style.bad("something is wrong"),
        count => style.bad(&format!("{count} things are wrong")),
    };
    let _ = writeln!(text, "{}, {verdict}", style.bold(&format!("callsign {}", status.version)));
    for problem in &status.problems {
        let _ = writeln!(text, "  {} {problem}", style.bad("!"));
    }
    let source = &status.source;
    let read = source.read.as_deref().map(|read| format!(", read {}", text::moment(read))).unwrap_or_default();
    let connected = match source.connected {
        Some(true) => ", connected",
        Some(false) => ", not connected",
        None => "",
    };
    let _ = writeln!(text, "\nsource   {} {}{connected}{read}", source.kind, source.path);
    let _ = writeln!(text, "running  for {}, process {}", text::time(status.uptime_seconds), status.pid);
    let _ = writeln!(
        text,
        "queries  {} ({} a second), {} waiting for an upstream",
        number(status.queries),
        status.queries_per_second,
        number(status.waiting as u64)
    );
    if let Some(confined) = &status.confined {
        let _ = writeln!(text, "sandbox  {}", sandbox(confined));
    }
    let _ = writeln!(text, "cache    {} answers, {}", number(status.forwarding.entries as u64), hit_rate(status));
    if let Some(dnstap) = &status.dnstap {
        let state = if dnstap.connected { "connected" } else { "not connected" };
        let (sent, dropped) = (number(dnstap.sent), number(dnstap.dropped));
        let _ = writeln!(text, "dnstap   {}, {state}, {sent} messages written, {dropped} dropped", dnstap.target);
    }
    if let Some(store) = &status.store {
        let _ = writeln!(text, "store    {}", super::hosts::store(store, style));
    }
    if let Some(view) = &status.host_view {
        let listen = listens(&view.listeners, style).text();
        let _ = writeln!(text, "host     *.{} at {listen}, {} queries", view.domain, number(view.queries));
    }
    text.push('\n');
    text.push_str(&networks(&status.networks, style));
    if !status.upstreams.is_empty() {
        text.push('\n');
        text.push_str(&upstreams(&status.upstreams, style));
    }
    text
}

fn sandbox(confined: &Confined) -> String {
    let Confined { capabilities, no_new_privs, landlock } = confined;
    let capabilities = if capabilities.is_empty() { "no capability".to_owned() } else { capabilities.join(", ") };
    let no_new_privs = if *no_new_privs { "no_new_privs" } else { "new privileges possible" };
    let landlock = landlock.map_or_else(|| "no Landlock".to_owned(), |version| format!("Landlock {version}"));
    format!("{capabilities}, {no_new_privs}, {landlock}")
}

fn hit_rate(status: &Status) -> String {
    let forwarding = &status.forwarding;
    let answered = forwarding.hits + forwarding.stale + forwarding.cached_failures;
    let all = answered + forwarding.misses + forwarding.coalesced;
    match (answered * 100).checked_div(all) {
        Some(percent) => format!("{percent} % of {} forwarded queries answered from it", number(all)),
        None => "no forwarded queries yet".to_owned(),
    }
}

fn networks(networks: &[Network], style: Style) -> String {
    let mut table = Table::new(style, &["network", "listens on", "containers", "names", "queries"]);
    for network in networks {
        let name = if network.internal { format!("{} (internal)", network.name) } else { network.name.clone() };
        let stopped = network.containers - network.running.min(network.containers);
        let containers = match stopped {
            0 => network.containers.to_string(),
            _ => format!("{} ({stopped} stopped)", network.containers),
        };
        table.row([
            name.into(),
            listens(&network.listeners, style),
            containers.into(),
            number(network.names as u64).into(),
            number(network.queries).into(),
        ]);
    }
    if table.is_empty() { "no networks\n".to_owned() } else { table.text() }
}

/// The addresses of listeners, each once; those that are not served say so.
fn listens(listeners: &[Listener], style: Style) -> Cell {
    let mut addresses: Vec<String> = Vec::new();
    for listener in listeners.iter().filter(|listener| listener.listening) {
        if !addresses.contains(&listener.address) {
            addresses.push(listener.address.clone());
        }
    }
    let failed = listeners.iter().filter(|listener| !listener.listening).count();
    let text = match (addresses.is_empty(), failed) {
        (true, _) => "nowhere".to_owned(),
        (false, 0) => addresses.join(" "),
        (false, count) => format!("{} ({count} not bound)", addresses.join(" ")),
    };
    Cell::painted(&text, |text| if failed > 0 { style.bad(text) } else { text.to_owned() })
}

/// The table of upstreams.
pub(super) fn upstreams(upstreams: &[Upstream], style: Style) -> String {
    let mut table = Table::new(style, &["upstream", "state", "round trip", "queries", "failed", "late"]);
    for upstream in upstreams {
        table.row([
            upstream.address.clone().into(),
            state(&upstream.state, style),
            upstream.rtt_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms")).into(),
            number(upstream.queries).into(),
            number(upstream.failures + upstream.timeouts).into(),
            number(upstream.late).into(),
        ]);
    }
    table.text()
}
