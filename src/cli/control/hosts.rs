//! `callsign hosts`: the other hosts, and the store that connects them.

use std::process::ExitCode;

use callsign::control::client::Call;
use callsign::control::shapes::{Hosts, RemoteHost, Store};

use super::arguments;
use super::text::{self, Cell, Style, Table, number};
use super::{show, state};
use crate::cli::NO;

pub(in crate::cli) fn run(arguments: &arguments::Hosts) -> ExitCode {
    show::<Hosts>(&arguments.target, &Call::get("/v1/hosts"), |hosts, style| {
        let Some(store) = &hosts.store else {
            return ("this server shares names with no other host: its configuration has no [store]\n".to_owned(), NO);
        };
        let mut text = format!("{} {}\n", style.bold(&store.host), self::store(store, style));
        if let Some(error) = store.claim_error.as_ref().or(store.error.as_ref()) {
            text.push_str(&format!("  {} {error}\n", style.bad("!")));
        }
        for conflict in &store.conflicts {
            text.push_str(&format!("  {} {conflict}\n", style.bad("!")));
        }
        text.push('\n');
        text.push_str(&table(&hosts.hosts, style));
        (text, 0)
    })
}

/// How a store stands, in a line.
pub(super) fn store(store: &Store, style: Style) -> String {
    let member = store.member.as_ref().map(|member| format!(" at {member}")).unwrap_or_default();
    let since = store.since.as_ref().map(|since| format!(" since {}", text::moment(since))).unwrap_or_default();
    let state = match &*store.state {
        "live" => style.good("live"),
        other => style.bad(other),
    };
    let claim = match &*store.claim {
        "claimed" => format!("publishes {} as {}", containers(store.published), store.host),
        "refused" => style.bad("publishes nothing"),
        _ => style.doubtful("publishes nothing yet"),
    };
    let hosts: Vec<String> =
        store.hosts.iter().filter(|(_, count)| **count > 0).map(|(state, count)| format!("{count} {state}")).collect();
    let hosts = if hosts.is_empty() { "no other hosts".to_owned() } else { format!("hosts: {}", hosts.join(", ")) };
    let remote = containers(store.remote_containers);
    format!("etcd {state}{member}{since}, revision {}; {claim}; {hosts}, {remote} served", store.revision)
}

fn containers(count: usize) -> String {
    let noun = if count == 1 { "container" } else { "containers" };
    format!("{} {noun}", number(count as u64))
}

fn table(hosts: &[RemoteHost], style: Style) -> String {
    let mut table = Table::new(style, &["host", "state", "for", "address", "networks", "containers", "remark"]);
    for host in hosts {
        let containers = match host.containers == host.served {
            true => host.containers.to_string(),
            false => format!("{} ({} served)", host.containers, host.served),
        };
        let refused = (host.refused > 0).then(|| format!("{} refused", number(host.refused)));
        let remark: Vec<String> = host.remark.iter().cloned().chain(refused).collect();
        table.row([
            host.name.clone().into(),
            state(&host.state, style),
            text::time(host.seconds).into(),
            host.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ").into(),
            host.networks.join(" ").into(),
            containers.into(),
            Cell::painted(&remark.join("; "), |text| style.doubtful(text)),
        ]);
    }
    if table.is_empty() { "no other hosts\n".to_owned() } else { table.text() }
}
