//! Who asks, and what they may have meant: for people who know containers by their names.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use callsign::responder::{Explanation, WhoAsks};
use callsign::source::docker::ContainerStatus;
use callsign::table::Network;
use callsign::wire::Name;

use crate::cli::arguments;

/// Digits of an id that tell containers apart.
const SHORT: usize = 12;

/// The address that is asked from: `--from` itself, or that of the container that it names.
pub(super) fn address(arguments: &arguments::Explain, containers: &[ContainerStatus]) -> Result<IpAddr, String> {
    let from = &arguments.from;
    if let Ok(address) = from.parse::<IpAddr>() {
        return Ok(address.to_canonical());
    }
    if !arguments.docker {
        return Err(format!("--from {from:?} is no address; with --docker it may be a container's name or id"));
    }
    let is_id = |container: &&ContainerStatus| from.len() >= 4 && container.id.starts_with(from.as_str());
    let by_name = containers.iter().find(|container| container.name == *from);
    let Some(container) = by_name.or_else(|| containers.iter().find(is_id)) else {
        let names = containers.iter().map(|container| container.name.as_str());
        let near = nearest(from, names).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        return Err(format!("Docker has no container {from:?}{near}"));
    };
    let is_meant = |network: &str| arguments.network.as_ref().is_none_or(|wanted| wanted == network);
    let addresses = || container.networks.iter().filter(|(network, _)| is_meant(network)).flat_map(|(_, ips)| ips);
    let asked = container.networks.iter().flat_map(|(_, ips)| ips);
    // On the network that is asked, if it is named and the container is on it.
    addresses().chain(asked).next().copied().ok_or_else(|| {
        format!(
            "container {} has no address: it is not running, is on no network that is served, or has the network of the host \
             or of another container, which to name instead",
            container.name
        )
    })
}

/// Where else the name is, and what is nearly it.
pub(super) fn hints(
    name: &Name,
    explanation: &Explanation,
    networks: &[Arc<Network>],
    containers: &[ContainerStatus],
) -> Vec<String> {
    let searched: BTreeSet<&str> = explanation.searched.iter().map(|searched| searched.network.as_str()).collect();
    let mut hints = Vec::new();
    let mut known = BTreeSet::new();
    for network in networks {
        let snapshot = network.snapshot();
        if searched.contains(network.name()) {
            known.extend(snapshot.names().map(|entry| entry.name().to_string()));
            continue;
        }
        let Some(holder) =
            snapshot.names().find(|entry| entry.name() == name).and_then(|entry| entry.endpoints().next())
        else {
            continue;
        };
        let holder = containers.iter().find(|container| container.id == holder.id());
        let project = holder.and_then(|holder| holder.project.as_ref());
        let project = project.map(|project| format!(" of project {project}")).unwrap_or_default();
        let mut hint = format!("{name} is a name{project} on network {}, which this client is not on", network.name());
        if let Some(id) = id_of(&explanation.client) {
            let client = containers.iter().find(|container| container.id == id);
            hint += &format!(
                ": `docker network connect {} {}` attaches it",
                network.name(),
                client.map_or(&id[..SHORT.min(id.len())], |client| &client.name)
            );
            // Docker's default bridge has no aliases.
            let own = client.and_then(|client| client.networks.first()).filter(|(network, _)| network != "bridge");
            if let (Some((own, _)), Some(holder)) = (own, holder) {
                hint += &format!("; `docker network connect --alias {name} {own} {}` brings {name} here", holder.name);
            }
        }
        hints.push(hint);
    }
    if hints.is_empty()
        && let Some(near) = nearest(&name.to_string(), known.iter().map(String::as_str))
    {
        hints.push(format!("did you mean {near}?"));
    }
    hints
}

fn id_of(client: &WhoAsks) -> Option<&str> {
    match client {
        WhoAsks::Endpoint(id) | WhoAsks::Elsewhere { id, .. } => Some(id),
        _ => None,
    }
}

/// The text that differs least, if that is not by much.
fn nearest<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = if text.len() < 5 { 1 } else { 2 };
    let near = known.map(|known| (distance(text, known), known)).filter(|(distance, _)| (1..=limit).contains(distance));
    near.min().map(|(_, known)| known)
}

/// The insertions, deletions and replacements that make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name() {
        assert_eq!(
            (distance("", ""), distance("db", "db"), distance("dbb", "db"), distance("web", "wbe")),
            (0, 0, 1, 2)
        );
        assert_eq!(nearest("wbe", ["web"].into_iter()), None, "two changes of three letters are another word");
        assert_eq!(nearest("we", ["web", "db"].into_iter()), Some("web"));
        assert_eq!(nearest("databse", ["database", "db"].into_iter()), Some("database"));
        assert_eq!(nearest("db", ["db"].into_iter()), None);
    }
}
