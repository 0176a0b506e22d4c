//! Reading a server's state into the shapes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::forward::{CacheEntry, CacheState, UpstreamStatus};
use crate::responder::{HostAnswer, HostView};
use crate::server::{ListenerState, ListenerStatus, Server};
use crate::table::{NameEntry, NameTable, Network};
use crate::wire::{rcode, rrset, rtype};

use super::dnstap::{Dnstap, DnstapStatus};
use super::records::Said;
use super::shapes::{self, VERSION};
use super::{containers, time};

/// The networks with their listeners, by name.
pub(super) fn networks(server: &Server, status: &crate::server::Status) -> Vec<shapes::Network> {
    let mut listeners: BTreeMap<&str, Vec<shapes::Listener>> = BTreeMap::new();
    let of_networks = || status.listeners.iter().filter(|listener| !listener.is_host_view);
    for each in of_networks() {
        listeners.entry(&each.network).or_default().push(listener(each));
    }
    let received = |name: &str| {
        let own = of_networks().filter(|listener| listener.network == name);
        own.map(|listener| listener.queries).sum()
    };
    let mut networks: Vec<shapes::Network> = server.table().networks().iter().map(|each| network(each)).collect();
    for network in &mut networks {
        network.listeners = listeners.remove(&*network.name).unwrap_or_default();
        network.queries = received(&network.name);
    }
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    networks
}

fn listener(status: &ListenerStatus) -> shapes::Listener {
    let (address, error) = match &status.state {
        ListenerState::Listening(address) => (address.to_string(), None),
        ListenerState::Failed { error, .. } => (status.listen.clone(), Some(error.clone())),
    };
    shapes::Listener { address, transport: transport(status.tcp).to_owned(), listening: error.is_none(), error }
}

/// The host view.
pub(super) fn host_view(view: &HostView, status: &crate::server::Status) -> shapes::HostView {
    let own = || status.listeners.iter().filter(|listener| listener.is_host_view);
    shapes::HostView {
        domain: view.domain().to_string(),
        published: view.answer() == HostAnswer::Published,
        listeners: own().map(listener).collect(),
        queries: own().map(|listener| listener.queries).sum(),
    }
}

pub(super) fn transport(tcp: bool) -> &'static str {
    if tcp { "tcp" } else { "udp" }
}

fn network(network: &Network) -> shapes::Network {
    let snapshot = network.snapshot();
    shapes::Network {
        name: network.name().to_owned(),
        revision: snapshot.revision(),
        internal: snapshot.settings().internal,
        subnets: snapshot.settings().subnets.iter().map(ToString::to_string).collect(),
        listeners: Vec::new(),
        containers: snapshot.endpoint_count(),
        running: snapshot.endpoints().filter(|endpoint| endpoint.is_running()).count(),
        names: snapshot.names().count(),
        queries: 0,
    }
}

/// Whether an upstream answers; `None` where that is not known, as of one that was not needed yet.
pub(super) fn is_up(status: &UpstreamStatus) -> Option<bool> {
    let never_answered = status.replies == 0 && status.failures + status.late > 0;
    match status.well {
        true => Some(true),
        false => (status.demoted || never_answered).then_some(false),
    }
}

/// An upstream.
pub(super) fn upstream(status: &UpstreamStatus) -> shapes::Upstream {
    let state = match is_up(status) {
        Some(true) => "up",
        Some(false) => "down",
        None => "unknown",
    };
    shapes::Upstream {
        address: status.upstream.to_string(),
        state: state.to_owned(),
        rtt_ms: status.rtt.map(time::millis),
        queries: status.queries,
        replies: status.replies,
        failures: status.failures,
        late: status.late,
        timeouts: status.timeouts,
        repeats: status.repeats,
        connections: status.connections,
    }
}

/// An entry of the cache.
pub(super) fn cache_entry(entry: &CacheEntry) -> shapes::CacheEntry {
    let state = match entry.state {
        CacheState::Fresh => "fresh",
        CacheState::Failed => "failed",
        _ => "expired",
    };
    shapes::CacheEntry {
        name: entry.name.to_string(),
        rtype: rtype::mnemonic(entry.rtype),
        state: state.to_owned(),
        rcode: rcode::mnemonic(entry.rcode).into_owned(),
        ttl: entry.ttl,
        answers: entry.message.as_deref().map(|message| Said::read(message).answers).unwrap_or_default(),
        upstreams: entry.servers.iter().map(ToString::to_string).collect(),
    }
}

/// What forwarding has come to.
pub(super) fn forwarding(counters: &crate::forward::Counters) -> shapes::Forwarding {
    shapes::Forwarding {
        hits: counters.hits,
        misses: counters.misses,
        stale: counters.stale,
        coalesced: counters.coalesced,
        prefetched: counters.prefetched,
        cached_failures: counters.cached_failures,
        overloaded: counters.overloaded,
        entries: counters.entries,
        bytes: counters.bytes,
    }
}

/// What is written as dnstap.
pub(super) fn dnstap(dnstap: &Dnstap) -> shapes::Dnstap {
    let DnstapStatus { connected, error, sent, dropped } = dnstap.status();
    shapes::Dnstap { target: dnstap.target().to_string(), connected, error, sent, dropped }
}

/// What is wrong, in words.
pub(super) fn problems(status: &shapes::Status) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(failed) = &status.source.failed {
        let error = failed.errors.first().map_or("", String::as_str);
        let more = match failed.errors.len() {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let at = failed.at.get(..19).unwrap_or(&failed.at).replace('T', " ");
        problems.push(format!("the configuration was not reloaded at {at} UTC: {error}{more}"));
    }
    if status.source.connected == Some(false) {
        let path = &status.source.path;
        problems.push(match status.source.read {
            Some(_) => format!("Docker does not answer at {path}; what was known of its containers is still served"),
            None => format!("Docker has not answered yet at {path}; its containers are not served"),
        });
    }
    let of_networks = status.networks.iter().map(|network| (format!("network {}", network.name), &network.listeners));
    let of_host = status.host_view.iter().map(|view| ("the host view".to_owned(), &view.listeners));
    for (what, listeners) in of_networks.chain(of_host) {
        for listener in listeners.iter().filter(|listener| !listener.listening) {
            let error = listener.error.as_deref().unwrap_or("not listening");
            problems.push(format!("{what} is not answered at {} ({}): {error}", listener.address, listener.transport));
        }
    }
    if let Some(shapes::Dnstap { target, connected: false, error: Some(error), .. }) = &status.dnstap {
        problems.push(format!("dnstap has no reader at {target}: {error}"));
    }
    problems.extend(status.store.iter().flat_map(super::hosts::problems));
    let down = status.upstreams.iter().filter(|upstream| upstream.state == "down");
    problems.extend(down.map(|upstream| format!("upstream {} does not answer", upstream.address)));
    problems
}

/// The names of all networks, or of one; `None` if there is none of that name.
pub(super) fn names(table: &NameTable, only: Option<&str>) -> Option<shapes::Names> {
    let networks = chosen(table, only)?;
    Some(shapes::Names { api: VERSION, networks: networks.iter().map(|network| network_names(network)).collect() })
}

fn network_names(network: &Network) -> shapes::NetworkNames {
    let snapshot = network.snapshot();
    let mut names: Vec<shapes::Name> = snapshot.names().map(name).collect();
    names.sort_by(|a, b| a.name.cmp(&b.name));
    shapes::NetworkNames {
        network: network.name().to_owned(),
        domains: snapshot.settings().domains.iter().map(ToString::to_string).collect(),
        names,
    }
}

/// The containers of all networks, or of one; `None` if there is none of that name.
pub(super) fn containers(table: &NameTable, only: Option<&str>) -> Option<shapes::Containers> {
    let networks = chosen(table, only)?;
    let networks = networks.iter().map(|network| {
        let snapshot = network.snapshot();
        let mut containers: Vec<shapes::Attached> =
            snapshot.endpoints().map(|endpoint| containers::attached(table, endpoint)).collect();
        containers.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        shapes::NetworkContainers { network: network.name().to_owned(), revision: snapshot.revision(), containers }
    });
    Some(shapes::Containers { api: VERSION, networks: networks.collect() })
}

/// All networks by name, or one; `None` if there is none of that name.
fn chosen(table: &NameTable, only: Option<&str>) -> Option<Vec<Arc<Network>>> {
    let mut networks = match only {
        Some(name) => vec![table.network(name)?],
        None => table.networks(),
    };
    networks.sort_by(|a, b| a.name().cmp(b.name()));
    Some(networks)
}

fn name(entry: &NameEntry) -> shapes::Name {
    let addresses = [entry.a(), entry.aaaa()].into_iter().flat_map(rrset::iter).filter_map(rrset::address_of);
    let others = entry.record_sets().iter().filter(|set| !matches!(set.rtype, rtype::A | rtype::AAAA));
    shapes::Name {
        name: entry.name().to_string(),
        addresses: addresses.collect(),
        alias: entry.alias().map(|(target, _)| target.to_string()),
        records: others.map(|set| rtype::mnemonic(set.rtype)).collect(),
        containers: entry.endpoints().map(containers::shape).collect(),
    }
}
