//! A swarm of two nodes, each with callsign beside it.

use crate::support::docker::{Container, Docker, GATEWAY};
use crate::support::machine::{Outside, becomes};
use crate::{becomes_at, needs_docker, needs_root};

/// The container of a service's task on a node.
fn task<'d, 'a>(docker: &'d Docker<'a>, service: &str) -> Container<'d, 'a> {
    let filter = format!("label=com.docker.swarm.service.name={service}");
    let names = || docker.run(&["ps", "--filter", &filter, "--format", "{{.Names}}"]);
    becomes(&format!("a task of {service} runs here"), 1, || names().lines().count());
    docker.running(&names())
}

/// The addresses of a service's tasks, as an engine has them.
fn addresses_of(docker: &Docker<'_>, service: &str) -> Vec<String> {
    let verbose = docker.get("/networks/ovl?verbose=true");
    let tasks = verbose["Services"][service]["Tasks"].as_array().cloned().unwrap_or_default();
    let mut addresses: Vec<String> =
        tasks.iter().filter_map(|task| task["EndpointIP"].as_str()).map(str::to_owned).collect();
    addresses.sort();
    addresses
}

#[test]
fn d4_2_services_and_tasks_are_known_on_a_manager_and_on_a_worker() {
    needs_docker!();
    let outside = Outside::new();
    let (manager, worker) = (Docker::start(&outside), Docker::start_beyond(&outside));
    manager.run(&["swarm", "init", "--advertise-addr", "10.99.0.254"]);
    let token = manager.run(&["swarm", "join-token", "--quiet", "worker"]);
    worker.run(&["swarm", "join", "--advertise-addr", "10.99.0.1", "--token", &token, "10.99.0.254:2377"]);
    manager.run(&["network", "create", "--driver", "overlay", "--attachable", "ovl"]);
    let nodes = [&manager, &worker];
    let _callsigns = nodes.map(Docker::serve);
    for (service, mode) in [("svc", "vip"), ("rr", "dnsrr")] {
        let options = ["--name", service, "--network", "ovl", "--mode", "global", "--endpoint-mode", mode];
        manager.run(&[&["service", "create", "--detach"], &options[..], &["busybox", "sleep", "1000"]].concat());
    }
    for node in nodes {
        let asker = task(node, "svc");
        for service in ["svc", "rr"] {
            becomes(&format!("tasks of {service}"), 2, || addresses_of(node, service).len());
            becomes_at!(asker, GATEWAY, &format!("tasks.{service}"), addresses_of(node, service));
        }
        let virtual_address = node.get("/networks/ovl?verbose=true")["Services"]["svc"]["VIP"].clone();
        becomes_at!(asker, GATEWAY, "svc", [virtual_address.as_str().unwrap()]);
        becomes_at!(asker, GATEWAY, "rr", addresses_of(node, "rr"));
    }
    // Each node's task by its name, on the other one.
    let (of_manager, of_worker) = (task(&manager, "rr"), task(&worker, "rr"));
    let name = |container: &Container<'_, '_>, node: &Docker<'_>| {
        node.run(&["inspect", "--format", "{{.Name}}", &container.id]).trim_start_matches('/').to_owned()
    };
    becomes_at!(of_manager, GATEWAY, &name(&of_worker, &worker), [of_worker.address_on("ovl")]);
    becomes_at!(of_worker, GATEWAY, &name(&of_manager, &manager), [of_manager.address_on("ovl")]);

    // A task of the worker is replaced: no event tells the manager.
    let before = of_worker.address_on("ovl");
    worker.run(&["kill", &of_worker.id]);
    becomes("the worker's task was replaced", true, || {
        let now = addresses_of(&manager, "rr");
        now.len() == 2 && !now.contains(&before)
    });
    becomes_at!(of_manager, GATEWAY, "rr", addresses_of(&manager, "rr"));
}
