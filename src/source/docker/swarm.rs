//! Services of a swarm: what an overlay network's verbose inspection says of them becomes endpoints. Pure.
//!
//! `SERVICE` is the service's virtual address, or its tasks' addresses where it has none (`endpoint_mode: dnsrr`);
//! `tasks.SERVICE` is its tasks', and each task has its name. Tasks of this host are containers, whose endpoints get these
//! names; the others are known by this alone.
//!
//! A stack calls its services by the names of its file, `db`, and the engine by the stack's, too, `shop_db`. No answer of the
//! engine has the former, but the tasks of this host have a label that names their stack.

use std::collections::{BTreeMap, BTreeSet};

use crate::table::{Endpoint, relative_names};
use crate::wire::Name;

use super::model::{Service, Task};

/// The endpoints of services, but for the tasks of this host. `stacks`: those that have tasks on this host.
pub(super) fn endpoints(
    services: &BTreeMap<String, Service>,
    stacks: &BTreeSet<&str>,
    is_local: impl Fn(&str) -> bool,
) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    // Containers that are no task have none.
    for (name, service) in services.iter().filter(|(name, _)| !name.is_empty()) {
        let short = short_name(name, stacks);
        if virtual_address(service).is_some() {
            let builder = Endpoint::builder(name).name(name).names(short);
            endpoints.extend(builder.address(&service.vip).build().ok());
        }
        let remote = service.tasks.iter().filter(|task| !is_local(&task.endpoint_id));
        for task in remote.filter(|task| !task.name.is_empty()) {
            let builder = Endpoint::builder(&task.name)
                .name(&task.name)
                .names(names(name, short, service).iter().map(|name| name.to_string()));
            endpoints.extend(builder.address(&task.endpoint_ip).build().ok());
        }
    }
    endpoints
}

/// The names that a service gives to a task of this host, which may be of a stack.
pub(super) fn names_of_task(services: &BTreeMap<String, Service>, stack: Option<&str>, endpoint_id: &str) -> Vec<Name> {
    let is_it = |task: &Task| !endpoint_id.is_empty() && task.endpoint_id == endpoint_id;
    let own = services.iter().filter(|(name, service)| !name.is_empty() && service.tasks.iter().any(is_it));
    let stacks = stack.into_iter().collect();
    own.flat_map(|(name, service)| names(name, short_name(name, &stacks), service)).collect()
}

/// What a stack calls a service of its own: `db` for `shop_db`. Of `a` and `a_b`, `a_b_c` is the latter's.
fn short_name<'n>(name: &'n str, stacks: &BTreeSet<&str>) -> Option<&'n str> {
    let short = stacks.iter().filter_map(|stack| name.strip_prefix(stack)?.strip_prefix('_'));
    short.filter(|short| !short.is_empty()).min_by_key(|short| short.len())
}

/// What each task of a service is called, besides its own name.
fn names(name: &str, short: Option<&str>, service: &Service) -> Vec<Name> {
    let is_virtual = virtual_address(service).is_some();
    let names = [Some(name), short].into_iter().flatten().flat_map(|name| {
        let of_service = Some(name.to_owned()).filter(|_| !is_virtual);
        of_service.into_iter().chain([format!("tasks.{name}")])
    });
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
        let mut shown: Vec<String> = endpoints(&network.services, &BTreeSet::new(), |endpoint| endpoint == LOCAL)
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
        let names: Vec<String> =
            names_of_task(&network.services, None, LOCAL).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["tasks.vsvc"]);
        assert_eq!(names_of_task(&network.services, None, ""), []);
    }

    #[test]
    fn a_stack_has_the_names_of_its_file() {
        let stacks = BTreeSet::from(["a", "a_b", "shop"]);
        assert_eq!(short_name("shop_db", &stacks), Some("db"));
        assert_eq!((short_name("a_x", &stacks), short_name("a_b_c", &stacks)), (Some("x"), Some("c")));
        assert_eq!((short_name("blog_db", &stacks), short_name("shop_", &stacks)), (None, None));
        let network: Network =
            serde_json::from_str(&OVERLAY.replace("vsvc", "st_vsvc").replace("rrsvc", "st_rrsvc")).unwrap();
        let endpoints = endpoints(&network.services, &BTreeSet::from(["st"]), |endpoint| endpoint == LOCAL);
        let of = |wanted: &str| {
            let is_it = |endpoint: &&Endpoint| endpoint.names().iter().any(|name| name.to_string() == wanted);
            let mut addresses: Vec<String> =
                endpoints.iter().filter(is_it).map(|endpoint| endpoint.addresses()[0].to_string()).collect();
            addresses.sort();
            addresses
        };
        assert_eq!((of("vsvc"), of("tasks.vsvc")), (vec!["10.0.1.2".to_owned()], vec!["10.0.1.4".to_owned()]));
        assert_eq!(of("rrsvc"), ["10.0.1.5", "10.0.1.6"]);
        let names: Vec<String> =
            names_of_task(&network.services, Some("st"), LOCAL).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["tasks.st_vsvc", "tasks.vsvc"]);
    }
}
