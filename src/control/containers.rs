//! Containers by name, ID and address, over all networks of a table.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::spelling::edits;
use crate::table::{Endpoint, EndpointState, Health, NameTable, Network};

use super::shapes;

/// What a container is called: its canonical name, else its ID.
pub(super) fn name_of(endpoint: &Endpoint) -> String {
    endpoint.names().first().map_or_else(|| endpoint.id().to_owned(), ToString::to_string)
}

/// The host that a container is on, if it is not this one.
pub(super) fn host_of(endpoint: &Endpoint) -> Option<String> {
    endpoint.origin().map(|origin| origin.host().to_string())
}

/// What tells a container apart for people: its ID, or its name where the ID is an engine's 64 hex digits; and where it is.
pub(super) fn known_as(endpoint: &Endpoint) -> String {
    let id = endpoint.id();
    if let Some(host) = host_of(endpoint) {
        return format!("{} on {host}", name_of(endpoint));
    }
    let is_digest = id.len() == 64 && id.bytes().all(|octet| octet.is_ascii_hexdigit());
    if is_digest { name_of(endpoint) } else { id.to_owned() }
}

/// The Compose project of a container of Docker's: it is called `SERVICE.PROJECT` and `PROJECT-SERVICE-NUMBER`.
pub(super) fn project_of(endpoint: &Endpoint) -> Option<String> {
    let names: Vec<String> = endpoint.names().iter().map(ToString::to_string).collect();
    let (_, project) = names.iter().filter_map(|name| name.rsplit_once('.')).find(|(service, project)| {
        let numbered = format!("{project}-{service}-");
        names.iter().any(|name| name.starts_with(&numbered))
    })?;
    Some(project.to_owned())
}

/// A container in the shapes.
pub(super) fn shape(endpoint: &Endpoint) -> shapes::Container {
    shapes::Container {
        name: name_of(endpoint),
        id: endpoint.id().to_owned(),
        state: state(endpoint).to_owned(),
        host: host_of(endpoint),
    }
}

/// A container on a network in the shapes.
pub(super) fn attached(table: &NameTable, endpoint: &Endpoint) -> shapes::Attached {
    shapes::Attached {
        name: name_of(&with_names(table, endpoint.clone())),
        id: endpoint.id().to_owned(),
        state: state(endpoint).to_owned(),
        host: host_of(endpoint),
        addresses: endpoint.addresses().to_vec(),
        names: endpoint.names().iter().map(ToString::to_string).collect(),
    }
}

/// A container as it is where it has names: on a network that only tells who asks (answers.md V2a) it has none.
pub(super) fn with_names(table: &NameTable, endpoint: Endpoint) -> Endpoint {
    if !endpoint.names().is_empty() {
        return endpoint;
    }
    let elsewhere =
        table.networks().into_iter().filter_map(|network| network.snapshot().endpoint(endpoint.id()).cloned());
    let named = elsewhere.into_iter().find(|endpoint| !endpoint.names().is_empty());
    named.unwrap_or(endpoint)
}

/// How a container does, in a word.
fn state(endpoint: &Endpoint) -> &'static str {
    match endpoint.health() {
        _ if endpoint.is_lost() || endpoint.is_closed() => "unreachable",
        _ if endpoint.state() == EndpointState::Starting => "starting",
        _ if !endpoint.is_running() => "stopped",
        Health::Unhealthy => "unhealthy",
        _ => "up",
    }
}

/// A container with an address on a network.
#[derive(Debug, Clone)]
pub(super) struct Attached {
    pub(super) network: Arc<Network>,
    pub(super) endpoint: Endpoint,
}

/// The fewest digits of an ID that stand for it.
const FEWEST_DIGITS: usize = 4;

/// Every place of the container that somebody means by a name, an ID or the beginning of one. `lists`: the command that shows
/// which there are.
///
/// # Errors
/// There is none, or there are several; with what to write instead.
pub(super) fn find(table: &NameTable, wanted: &str, lists: &str) -> Result<Vec<Attached>, String> {
    let mut all = Vec::new();
    for network in table.networks() {
        let snapshot = network.snapshot();
        all.extend(
            snapshot.endpoints().map(|endpoint| Attached { network: network.clone(), endpoint: endpoint.clone() }),
        );
    }
    let is_called = |attached: &Attached| name_of(&attached.endpoint).eq_ignore_ascii_case(wanted);
    let has_id = |attached: &Attached| attached.endpoint.id() == wanted;
    let has_name = |attached: &Attached| {
        attached.endpoint.names().iter().any(|name| name.to_string().eq_ignore_ascii_case(wanted))
    };
    let is_beginning = |attached: &Attached| attached.endpoint.id().starts_with(wanted);
    let begins = |attached: &Attached| wanted.len() >= FEWEST_DIGITS && is_beginning(attached);
    let tests: [&dyn Fn(&Attached) -> bool; 4] = [&has_id, &is_called, &has_name, &begins];
    let matching = |remote: bool| {
        let of = |attached: &&Attached| attached.endpoint.is_remote() == remote;
        let found = tests.iter().map(|test| all.iter().filter(of).filter(|attached| test(attached)).cloned().collect());
        found.into_iter().find(|found: &Vec<Attached>| !found.is_empty())
    };
    let Some(found) = matching(false) else {
        // Who is on another host asks the callsign there.
        if let Some(Attached { endpoint, .. }) = matching(true).and_then(|mut found| found.pop()) {
            let host = host_of(&endpoint).unwrap_or_default();
            return Err(format!("{wanted:?} is on {host}, and asks the callsign there"));
        }
        let names = all.iter().flat_map(|attached| attached.endpoint.names()).map(ToString::to_string);
        let nearest = nearest(wanted, names);
        let hint = match nearest {
            Some(name) => format!("did you mean {name}?"),
            None if !wanted.is_empty() && all.iter().any(is_beginning) => {
                format!("an ID needs at least {FEWEST_DIGITS} digits")
            }
            None => format!("see `{lists}`"),
        };
        return Err(format!("there is no container {wanted:?}; {hint}"));
    };
    let found = match is_service(&found, wanted) {
        true => tasks_here(&all, wanted)?,
        false => found,
    };
    let several: BTreeMap<&str, String> =
        found.iter().map(|attached| (attached.endpoint.id(), known_as(&attached.endpoint))).collect();
    match several.len() {
        1 => {
            // Where it has no names, too: it may ask from there.
            let id = found[0].endpoint.id().to_owned();
            Ok(all.into_iter().filter(|attached| attached.endpoint.id() == id).collect())
        }
        count => {
            let which = several.into_values().collect::<Vec<_>>().join(", ");
            Err(format!("{wanted:?} is the name of {count} containers; write which one: {which}"))
        }
    }
}

/// True if what was found is a service of a swarm by its virtual address, and no container.
fn is_service(found: &[Attached], wanted: &str) -> bool {
    let has_name = |endpoint: &Endpoint, wanted: &str| {
        endpoint.names().iter().any(|name| name.to_string().eq_ignore_ascii_case(wanted))
    };
    let is_virtual = |attached: &Attached| {
        let Attached { network, endpoint } = attached;
        let snapshot = network.snapshot();
        let tasks = format!("tasks.{}", endpoint.id());
        snapshot.settings().spans_hosts
            && has_name(endpoint, wanted)
            && snapshot.endpoints().any(|other| has_name(other, &tasks))
    };
    found.iter().all(is_virtual)
}

/// The places of a service's tasks that are containers of this host.
fn tasks_here(all: &[Attached], service: &str) -> Result<Vec<Attached>, String> {
    let name = format!("tasks.{service}");
    let is_task = |attached: &&Attached| {
        attached.endpoint.names().iter().any(|other| other.to_string().eq_ignore_ascii_case(&name))
    };
    // Those of other hosts are called by their names, not by an ID.
    let is_here = |attached: &&Attached| known_as(&attached.endpoint) != attached.endpoint.id();
    let tasks: Vec<Attached> = all.iter().filter(is_task).filter(is_here).cloned().collect();
    match tasks[..] {
        [] => Err(format!(
            "{service:?} is a service of the swarm, none of whose tasks runs on this host; ask where one does"
        )),
        _ => Ok(tasks),
    }
}

/// The container that has an address, on this network or else on another one; as it is where it has names.
pub(super) fn at(table: &NameTable, network: Option<&Network>, address: IpAddr) -> Option<Attached> {
    let on = |network: &Network| network.snapshot().endpoint_at(address).cloned();
    let named = |endpoint| with_names(table, endpoint);
    if let Some(endpoint) = network.and_then(on) {
        let network = table.network(network?.name())?;
        return Some(Attached { network, endpoint: named(endpoint) });
    }
    table.networks().into_iter().find_map(|network| Some(Attached { endpoint: named(on(&network)?), network }))
}

/// The name that is spelled most like another one, if it is likely what was meant.
pub(super) fn nearest(wanted: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let near = known.filter_map(|word| Some((distance(wanted, &word)?, word)));
    near.filter(|(distance, _)| *distance > 0).min().map(|(_, word)| word)
}

/// The edits between two names; `None` if they are too many for a label: `web.shop` is no typo of `db.shop`.
fn distance(wanted: &str, word: &str) -> Option<usize> {
    if wanted.split('.').count() != word.split('.').count() {
        return None;
    }
    let of_label = |(wanted, word): (&str, &str)| {
        let limit = match wanted.len() {
            0 | 1 => 0,
            2 | 3 => 1,
            _ => 2,
        };
        Some(edits(wanted, word)).filter(|edits| *edits <= limit)
    };
    wanted.split('.').zip(word.split('.')).map(of_label).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near_in_every_label() {
        let near = |wanted: &str, known: &[&str]| nearest(wanted, known.iter().map(|name| (*name).to_owned()));
        assert_eq!(near("wbe", &["web", "db"]).as_deref(), Some("web"), "a swap is one edit");
        assert_eq!(near("dbb", &["web", "db"]).as_deref(), Some("db"));
        assert_eq!(near("databse", &["database", "db"]).as_deref(), Some("database"));
        assert_eq!(near("wbe.shop", &["db.shop", "web.shop"]).as_deref(), Some("web.shop"));
        assert_eq!(near("web.p", &["db.p"]), None);
        assert_eq!(near("web.p", &["web.q"]), None);
        assert_eq!(near("web", &["web.shop"]), None);
        assert_eq!(near("db", &["db"]), None);
    }
}
