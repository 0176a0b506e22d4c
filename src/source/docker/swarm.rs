//! Services of a swarm: what an overlay network's verbose inspection says of them becomes endpoints. Pure.
//!
//! `SERVICE` is the service's virtual address, or its tasks' addresses where it has none (`endpoint_mode: dnsrr`);
//! `tasks.SERVICE` is its tasks', and each task has its name. Tasks of this host are containers, whose endpoints get these
//! names; the others are known by this alone.

use std::collections::BTreeMap;

use crate::table::{Endpoint, relative_names};
use crate::wire::Name;

use super::model::{Service, Task};

/// The endpoints of services, but for the tasks of this host.
pub(super) fn endpoints(services: &BTreeMap<String, Service>, is_local: impl Fn(&str) -> bool) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    // Containers that are no task have none.
    for (name, service) in services.iter().filter(|(name, _)| !name.is_empty()) {
        if virtual_address(service).is_some() {
            endpoints.extend(Endpoint::builder(name).name(name).address(&service.vip).build().ok());
        }
        let remote = service.tasks.iter().filter(|task| !is_local(&task.endpoint_id));
        for task in remote.filter(|task| !task.name.is_empty()) {
            let builder = Endpoint::builder(&task.name)
                .name(&task.name)
                .names(names(name, service).iter().map(|name| name.to_string()));
            endpoints.extend(builder.address(&task.endpoint_ip).build().ok());
        }
    }
    endpoints
}

/// The names that a service gives to a task of this host.
pub(super) fn names_of_task(services: &BTreeMap<String, Service>, endpoint_id: &str) -> Vec<Name> {
    let is_it = |task: &Task| !endpoint_id.is_empty() && task.endpoint_id == endpoint_id;
    let own = services.iter().filter(|(name, service)| !name.is_empty() && service.tasks.iter().any(is_it));
    own.flat_map(|(name, service)| names(name, service)).collect()
}

/// What each task of a service is called, besides its own name.
fn names(name: &str, service: &Service) -> Vec<Name> {
    let of_service = Some(name.to_owned()).filter(|_| virtual_address(service).is_none());
    let names = of_service.into_iter().chain([format!("tasks.{name}")]);
    names.filter_map(|name| relative_names(&name).ok()).flatten().collect()
}

fn virtual_address(service: &Service) -> Option<std::net::IpAddr> {
    service.vip.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::docker::model::Network;

    const OVERLAY: &str = include_str!("../../../tests/docker_samples/swarm-network-verbose-worker.json");
    const LOCAL: &str = "9cbd11b006092ff8477f96ca90aef2a9656bf95df2f404b9454b9176962a68ac";

    #[test]
    fn services_and_tasks_of_all_hosts() {
        let network: Network = serde_json::from_str(OVERLAY).unwrap();
        let mut shown: Vec<String> = endpoints(&network.services, |endpoint| endpoint == LOCAL)
            .iter()
            .map(|endpoint| {
                let names: Vec<String> = endpoint.names().iter().map(ToString::to_string).collect();
                format!("{} {}", names.join(","), endpoint.addresses()[0])
            })
            .collect();
        shown.sort();
        assert_eq!(
            shown,
            [
                "rrsvc.1.814e6sz8neanzsf08qn6opwjs,rrsvc,tasks.rrsvc 10.0.1.5",
                "rrsvc.2.m61krf4c1v5tnwfv7brc2nibn,rrsvc,tasks.rrsvc 10.0.1.6",
                "vsvc 10.0.1.2",
                "vsvc.2.3a4ebyj1p9qc9medjtpymr51k,tasks.vsvc 10.0.1.4",
            ]
        );
        let names: Vec<String> = names_of_task(&network.services, LOCAL).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["tasks.vsvc"]);
        assert_eq!(names_of_task(&network.services, ""), []);
    }
}
