//! Docker's containers as `check --docker` shows them: of which service each is, what it does, and why it is left out.

use std::collections::BTreeMap;

use callsign::source::docker::ContainerStatus;
use callsign::table::{Health, Network};
use callsign::wire::rrset;

use super::Container;

/// What containers are called, by their ids.
pub(super) fn names(containers: &[ContainerStatus]) -> BTreeMap<String, String> {
    containers.iter().map(|container| (container.id.clone(), container.name.clone())).collect()
}

/// A container among the networks that are served.
pub(super) fn describe(container: &ContainerStatus, networks: &[Network]) -> Container {
    let ContainerStatus { id, name, project, service, .. } = container;
    let health = match container.health {
        Health::Unhealthy => ", unhealthy",
        Health::Starting => ", health check starting",
        _ => "",
    };
    Container {
        name: name.clone(),
        id: id.clone(),
        project: project.clone(),
        service: service.clone(),
        state: format!("{}{health}", container.status),
        left_out: reasons(container, networks),
    }
}

/// Why a container is left out, or answers to less than it might.
pub(super) fn reasons(container: &ContainerStatus, networks: &[Network]) -> Vec<String> {
    if !container.is_enabled {
        return vec!["its label callsign.enable says so".to_owned()];
    }
    if let Some(network) = foreign_network(&container.network_mode) {
        return vec![network];
    }
    let is_on = |network: &&Network| network.snapshot().endpoint(&container.id).is_some();
    if !networks.iter().any(|network| is_on(&network)) {
        let on: Vec<&str> = container.networks.iter().map(|(network, _)| network.as_str()).collect();
        return vec![match on[..] {
            [] => "it is on no network that callsign serves".to_owned(),
            _ => format!("it is on {} only, which `networks` in [docker] or a label leaves out", on.join(", ")),
        }];
    }
    let mut reasons = Vec::new();
    if !container.is_running {
        let why = if container.status == "created" { "it was never started" } else { "it does not run" };
        reasons.push(format!("{why}, so its names have no address"));
    }
    for network in networks {
        let names = unanswered(container, network);
        if !names.is_empty() {
            let names = names.join(", ");
            reasons.push(format!("it is unhealthy, so {names} on {} is answered without it", network.name()));
        }
    }
    if let (true, Some(service)) = (container.is_one_off, &container.service) {
        reasons.push(format!("it is a one-off (`docker compose run`), so it is not called {service}"));
    }
    reasons
}

/// What is said of a container without a network of its own.
fn foreign_network(mode: &str) -> Option<String> {
    match mode {
        "host" => Some("it has the host's network, and so no name and no address of its own".to_owned()),
        "none" => Some("it has no network".to_owned()),
        _ => mode.strip_prefix("container:").map(|other| {
            let other = other.get(..12).filter(|_| other.len() == 64).unwrap_or(other);
            format!("it has the network of container {other}, and so no address of its own")
        }),
    }
}

/// The names that a running container has on a network, and is left out of as it is not healthy.
fn unanswered(container: &ContainerStatus, network: &Network) -> Vec<String> {
    let snapshot = network.snapshot();
    let Some(endpoint) = snapshot.endpoint(&container.id).filter(|endpoint| endpoint.is_running()) else {
        return Vec::new();
    };
    if endpoint.health() == Health::Healthy {
        return Vec::new();
    }
    let is_answered = |name: &&callsign::table::NameEntry| {
        let mut given = [name.a(), name.aaaa()].into_iter().flat_map(rrset::iter).filter_map(rrset::address_of);
        given.any(|address| endpoint.addresses().contains(&address))
    };
    let has = |name: &&callsign::table::NameEntry| name.endpoints().any(|endpoint| endpoint.id() == container.id);
    let names = snapshot.names().filter(has).filter(|name| !is_answered(name));
    names.map(|name| name.name().to_string()).collect()
}
