//! Overlay networks: services and tasks of all hosts, and who asks by way of the gateway bridge.

use serde_json::{Value, json};

use crate::kit::*;

#[test]
fn services_and_tasks_of_all_hosts_for_those_who_ask_by_the_gateway_bridge() {
    let bed = Bed::new(Age::Engine20, |engine, prefix| {
        engine.make_network("ovl", &format!("127.{prefix}.1."), |body: &mut Value| body["Driver"] = "overlay".into());
    });
    // No event tells of it.
    bed.engine.lose_events(true);
    bed.engine.network("docker_gwbridge", &format!("127.{}.2.", bed.prefix));
    bed.engine.lose_events(false);
    let (ovl, bridge) = (bed.engine.network_id("ovl"), bed.engine.network_id("docker_gwbridge"));
    let task = bed.engine.create(Container::new("web.1.snjsxiwddvp4sx9p2ap3hbytf").on("ovl", &[]));
    let client = bed.address(2, 7);
    bed.engine.begin_start(&task);
    bed.engine.set_gateway_address(&bridge, &task, &client);
    bed.engine.set_gateway_address(&bridge, "ingress-sbox", &bed.address(2, 8));
    bed.engine.finish_start(&task);
    let services = |rest: &str| {
        json!({
            "web": {"VIP": "10.0.1.2", "Ports": [], "Tasks": [
                {"Name": "web.1.snjsxiwddvp4sx9p2ap3hbytf", "EndpointID": bed.engine.endpoint_id(&task, &ovl), "EndpointIP": "x"},
                {"Name": "web.2.3a4ebyj1p9qc9medjtpymr51k", "EndpointID": "e2", "EndpointIP": rest},
            ]},
            "queue": {"VIP": "<nil>", "Tasks": [{"Name": "queue.1.m61krf", "EndpointID": "e3", "EndpointIP": "10.0.1.6"}]},
            "": {"VIP": "<nil>", "Tasks": [{"Name": "standalone", "EndpointID": "e4", "EndpointIP": "10.0.1.7"}]},
        })
    };
    bed.engine.set_services(&ovl, services("10.0.1.4"));
    let own = bed.address(1, 2);
    bed.becomes(&client, "web", "10.0.1.2");
    let tasks = |rest: &str| format!("{rest} {own}");
    assert_eq!(bed.look_up(&client, "tasks.web"), tasks("10.0.1.4"));
    assert_eq!(bed.look_up(&client, "web.2.3a4ebyj1p9qc9medjtpymr51k"), "10.0.1.4");
    assert_eq!(bed.look_up(&client, "queue"), "10.0.1.6");
    assert_eq!(bed.look_up(&client, "tasks.queue"), "10.0.1.6");
    // A task of another host is replaced: no event tells.
    bed.engine.set_services(&ovl, services("10.0.1.10"));
    bed.becomes(&client, "tasks.web", &tasks("10.0.1.10"));
    bed.engine.stop(&task);
    bed.becomes(&client, "web", "SERVFAIL");
}

#[test]
fn a_stack_has_the_names_of_its_file_on_hosts_that_run_a_task_of_it() {
    let bed = Bed::new(Age::Engine20, |engine, prefix| {
        engine.make_network("st_default", &format!("127.{prefix}.1."), |body: &mut Value| {
            body["Driver"] = "overlay".into()
        });
        engine.network("docker_gwbridge", &format!("127.{prefix}.2."));
    });
    let (network, bridge) = (bed.engine.network_id("st_default"), bed.engine.network_id("docker_gwbridge"));
    let api = Container::new("st_api.1.snjsxiwddvp4sx9p2ap3hbytf").label("com.docker.stack.namespace", "st");
    let api = bed.engine.run(api.on("st_default", &[]));
    let client = bed.address(2, 7);
    bed.engine.set_gateway_address(&bridge, &api, &client);
    let services = json!({
        "st_api": {"VIP": "<nil>", "Tasks": [
            {"Name": "st_api.1.snjsxiwddvp4sx9p2ap3hbytf", "EndpointID": bed.engine.endpoint_id(&api, &network), "EndpointIP": "x"},
        ]},
        "st_db": {"VIP": "10.0.3.2", "Tasks": [{"Name": "st_db.1.m61krf", "EndpointID": "e2", "EndpointIP": "10.0.3.3"}]},
        "other_cache": {"VIP": "10.0.3.8", "Tasks": []},
    });
    bed.engine.set_services(&network, services);
    let own = bed.address(1, 2);
    for (name, address) in [
        ("st_db", "10.0.3.2"),
        ("db", "10.0.3.2"),
        ("tasks.db", "10.0.3.3"),
        ("api", &own),
        ("tasks.api", &own),
        ("cache", "SERVFAIL"),
    ] {
        bed.becomes(&client, name, address);
    }
    // The service's name stands for its task here.
    for from in ["st_api", "api"] {
        let told = crate::support::program::callsign(&["explain", "db", "--from", from, "--socket"]);
        let mut told = told;
        told.arg(bed.program.control());
        let told = run(told).expect_success().stdout;
        assert!(told.starts_with("st_api.1.snjsxiwddvp4sx9p2ap3hbytf gets 10.0.3.2 for db.\n"), "{told}");
    }
    let mut of_db = crate::support::program::callsign(&["explain", "api", "--from", "st_db", "--socket"]);
    of_db.arg(bed.program.control());
    let told = run(of_db);
    assert!(
        told.stderr.contains("\"st_db\" is a service of the swarm, none of whose tasks runs on this host"),
        "{told:?}"
    );
    // Without a task here nothing tells of the stack.
    bed.engine.stop(&api);
    bed.engine.remove(&api);
    bed.becomes(&client, "db", "SERVFAIL");
}
