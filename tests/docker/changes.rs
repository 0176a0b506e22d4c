//! Containers that come, go, fail and change their names and networks (docker.md §3).

use std::thread;

use serde_json::{Value, json};

use crate::support::docker::{Container, Docker, GATEWAY};
use crate::support::machine::{Outside, becomes};
use crate::{becomes_at, needs_docker, needs_root};

const NXDOMAIN: [&str; 1] = ["NXDOMAIN"];
const NO_ADDRESS: [&str; 0] = [];

/// A container that asks, and that is known.
fn asker<'d, 'a>(docker: &'d Docker<'a>, network: &str) -> Container<'d, 'a> {
    let asker = docker.container("asker", &["--network", network]);
    becomes_at!(asker, GATEWAY, "asker", [asker.address_on(network)]);
    asker
}

#[test]
fn d3_2_a_container_that_ends_in_whatever_way_keeps_its_name_and_loses_its_address() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    docker.run(&["network", "create", "n1"]);
    let _callsign = docker.serve();
    let asker = asker(&docker, "n1");
    let start = |name: &str| {
        let container = docker.container(name, &["--network", "n1", "--network-alias", "db"]);
        becomes_at!(asker, GATEWAY, name, [container.address_on("n1")]);
        becomes_at!(asker, GATEWAY, "db", [container.address_on("n1")]);
        container
    };
    start("stopped");
    docker.run(&["stop", "--time", "0", "stopped"]);
    let killed = start("killed");
    docker.machine().run(&["kill", "-KILL", &killed.pid.to_string()]).expect_success();
    becomes_at!(asker, GATEWAY, "db", NO_ADDRESS);
    let paused = start("paused");
    docker.run(&["pause", "paused"]);
    // Docker goes on answering, and so do we.
    assert_eq!(asker.resolves(GATEWAY, "paused"), [paused.address_on("n1")]);
    docker.run(&["unpause", "paused"]);
    docker.run(&["kill", "paused"]);
    for name in ["stopped", "killed", "paused", "db"] {
        becomes_at!(asker, GATEWAY, name, NO_ADDRESS);
        let reply = asker.ask(GATEWAY, name, callsign::wire::rtype::A);
        assert_eq!(reply.extended_errors(), [(0, format!("{name} is not running"))]);
    }
    // 3.4: the same, running again.
    docker.run(&["restart", "--time", "0", "stopped"]);
    becomes_at!(asker, GATEWAY, "stopped", [docker.running("stopped").address_on("n1")]);
    becomes_at!(asker, GATEWAY, "db", [docker.running("stopped").address_on("n1")]);
    docker.run(&["rm", "--force", "stopped", "killed", "paused"]);
    for name in ["stopped", "killed", "paused", "db"] {
        becomes_at!(asker, GATEWAY, name, NXDOMAIN);
    }
}

#[test]
fn d3_6_a_start_that_fails_before_the_network_leaves_nothing() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    let _callsign = docker.serve();
    let asker = asker(&docker, "bridge");
    docker.container("holder", &["--publish", "8080:80"]);
    becomes_at!(asker, GATEWAY, "holder", [docker.running("holder").address_on("bridge")]);
    let run = |words: &[&str]| {
        docker.try_run(&[&["run", "--publish", "8080:80"], words, &["busybox", "sleep", "9"]].concat())
    };
    let finished = run(&["--rm", "--name", "fails"]);
    assert!(finished.stderr.contains("port is already allocated"), "{finished:?}");
    becomes_at!(asker, GATEWAY, "fails", NXDOMAIN);
    // Without `--rm` the container is there, and was never running.
    let finished = run(&["--name", "stays"]);
    assert!(!finished.status.success(), "{finished:?}");
    becomes_at!(asker, GATEWAY, "stays", NO_ADDRESS);
    docker.run(&["rm", "stays"]);
    becomes_at!(asker, GATEWAY, "stays", NXDOMAIN);
    assert_eq!(asker.resolves(GATEWAY, "holder"), [docker.running("holder").address_on("bridge")]);
}

#[test]
fn d3_7_a_start_that_fails_in_runc_leaves_nothing() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    docker.run(&["network", "create", "n1"]);
    let _callsign = docker.serve();
    let asker = asker(&docker, "n1");
    // The address that it had for a moment is the next one's.
    for turn in 0..3 {
        let finished = docker.try_run(&["run", "--rm", "--name", "fails", "--network", "n1", "busybox", "/nosuch"]);
        assert!(finished.stderr.contains("no such file"), "{finished:?}");
        becomes_at!(asker, GATEWAY, "fails", NXDOMAIN);
        let name = format!("next{turn}");
        let next = docker.container(&name, &["--network", "n1"]);
        becomes_at!(asker, GATEWAY, &name, [next.address_on("n1")]);
        becomes_at!(next, GATEWAY, "asker", [asker.address_on("n1")]);
    }
}

#[test]
fn d3_9_a_doubled_disconnect_takes_nothing_else_away() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    docker.run(&["network", "create", "n1"]);
    docker.run(&["network", "create", "n2"]);
    let _callsign = docker.serve();
    let asker = asker(&docker, "n1");
    docker.run(&["network", "connect", "n2", "asker"]);
    docker.container("moves", &["--network", "n1"]);
    for turn in 0..5 {
        docker.run(&["network", "connect", "--alias", &format!("turn{turn}"), "n2", "moves"]);
        let moves = docker.running("moves");
        becomes_at!(asker, GATEWAY, "moves.n2", [moves.address_on("n2")]);
        becomes_at!(asker, GATEWAY, &format!("turn{turn}"), [moves.address_on("n2")]);
        // Two events of one; and on again at once, at another's old address.
        docker.run(&["network", "disconnect", "n2", "moves"]);
        let fills = format!("fills{turn}");
        let other = docker.container(&fills, &["--network", "n2"]);
        becomes_at!(asker, GATEWAY, "moves", [moves.address_on("n1")]);
        becomes_at!(asker, GATEWAY, "moves.n2", NXDOMAIN);
        becomes_at!(asker, GATEWAY, &format!("turn{turn}"), NXDOMAIN);
        becomes_at!(asker, GATEWAY, &fills, [other.address_on("n2")]);
    }
    // On a stopped container: one event, or none.
    docker.run(&["stop", "--time", "0", "moves"]);
    docker.run(&["network", "disconnect", "n1", "moves"]);
    docker.run(&["network", "connect", "n2", "moves"]);
    docker.run(&["start", "moves"]);
    becomes_at!(asker, GATEWAY, "moves", [docker.running("moves").address_on("n2")]);
}

#[test]
fn d3_10_a_renamed_container_has_its_new_name_alone() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    docker.run(&["network", "create", "n1"]);
    let _callsign = docker.serve();
    let asker = asker(&docker, "n1");
    let old = docker.container("old", &["--network", "n1", "--network-alias", "alias"]);
    becomes_at!(asker, GATEWAY, "old", [old.address_on("n1")]);
    docker.run(&["rename", "old", "new"]);
    for name in ["new", "alias"] {
        becomes_at!(asker, GATEWAY, name, [docker.running("new").address_on("n1")]);
    }
    becomes_at!(asker, GATEWAY, "old", NXDOMAIN);
    docker.run(&["stop", "--time", "0", "new"]);
    docker.run(&["rename", "new", "newer"]);
    becomes_at!(asker, GATEWAY, "newer", NO_ADDRESS);
    becomes_at!(asker, GATEWAY, "new", NXDOMAIN);
    // A stopped one never stands before a running one of the same name.
    let heir = docker.container("heir", &["--network", "n1", "--network-alias", "alias"]);
    becomes_at!(asker, GATEWAY, "alias", [heir.address_on("n1")]);
}

#[test]
fn d3_12_an_unhealthy_container_is_left_out_while_a_healthy_one_is_there() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    docker.run(&["network", "create", "n1"]);
    let _callsign = docker.serve();
    let asker = asker(&docker, "n1");
    let health = ["--health-cmd", "cat /tmp/well", "--health-interval", "100ms", "--health-retries", "1"];
    let options = [&["--network", "n1", "--network-alias", "web", "--tmpfs", "/tmp"], &health[..]].concat();
    let (one, two) = (docker.container("one", &options), docker.container("two", &options));
    let (first, second) = (one.address_on("n1"), two.address_on("n1"));
    let well = |container: &Container<'_, '_>, well: bool| {
        container.exec(&["sh", "-c", if well { "echo >/tmp/well" } else { "busybox rm /tmp/well" }]).expect_success();
    };
    let mut both = vec![first.clone(), second.clone()];
    both.sort();
    becomes("neither is healthy: both", both.clone(), || asker.resolves(GATEWAY, "web"));
    well(&one, true);
    becomes("one is healthy", vec![first.clone()], || asker.resolves(GATEWAY, "web"));
    well(&two, true);
    becomes("both are healthy", both, || asker.resolves(GATEWAY, "web"));
    well(&one, false);
    becomes("two is healthy", vec![second], || asker.resolves(GATEWAY, "web"));
    assert_eq!(asker.resolves(GATEWAY, "one"), [first]);
}

#[test]
fn d3_17_a_one_off_that_is_attached_anew_is_never_its_service() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    docker.run(&["network", "create", "n1"]);
    let _callsign = docker.serve();
    let asker = asker(&docker, "n1");
    let db = docker.container("db1", &["--network", "n1", "--network-alias", "db"]).address_on("n1");
    becomes_at!(asker, GATEWAY, "db", [&db]);
    for turn in 0..10 {
        // As Compose does: created with the aliases of the service, then attached without.
        let name = format!("run{turn}");
        docker.run(&[
            "create",
            "--name",
            &name,
            "--network",
            "n1",
            "--network-alias",
            "db",
            "busybox",
            "sleep",
            "1000",
        ]);
        let container = json!({"Container": &name, "Force": false});
        thread::scope(|scope| {
            let starting = scope.spawn(|| {
                docker.post("/networks/n1/disconnect", &container);
                docker.post("/networks/n1/connect", &container);
                docker.post(&format!("/containers/{name}/start"), &Value::Null);
            });
            while !starting.is_finished() {
                assert_eq!(asker.resolves(GATEWAY, "db"), [db.as_str()], "{name}");
            }
        });
        becomes_at!(asker, GATEWAY, &name, [docker.running(&name).address_on("n1")]);
        assert_eq!(asker.resolves(GATEWAY, "db"), [db.as_str()], "{name}");
        docker.run(&["rm", "--force", &name]);
    }
}

/// A POST, whatever comes of it: in a burst the engine refuses some.
fn post(docker: &Docker<'_>, path: &str, body: Option<&Value>) {
    docker.request("POST", path, body).unwrap_or_else(|error| panic!("POST {path}: {error}"));
}

#[test]
fn d3_23_a_burst_of_3000_events_leaves_nothing_wrong() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    docker.run(&["network", "create", "n1"]);
    docker.run(&["network", "create", "n2"]);
    let _callsign = docker.serve();
    let asker = asker(&docker, "n1");
    docker.run(&["network", "connect", "n2", "asker"]);
    let ids: Vec<String> =
        (0..6).map(|number| docker.container(&format!("burst{number}"), &["--network", "n1"]).id).collect();
    // Two threads, three containers each: 2 × 3 × (400 renames + 60 connects, which are 1 event, and disconnects, 2 events).
    thread::scope(|scope| {
        for (worker, ids) in ids.chunks(3).enumerate() {
            let docker = &docker;
            scope.spawn(move || {
                for turn in 0..400 {
                    for (index, id) in ids.iter().enumerate() {
                        let number = worker * 3 + index;
                        post(docker, &format!("/containers/{id}/rename?name=burst{number}-{turn}"), None);
                        if turn % 20 < 3 {
                            let container = json!({"Container": id});
                            post(docker, "/networks/n2/connect", Some(&container));
                            post(docker, "/networks/n2/disconnect", Some(&container));
                        }
                    }
                }
            });
        }
    });
    for (number, id) in ids.iter().enumerate() {
        let name = format!("burst{number}-399");
        let burst = docker.running(id);
        becomes_at!(asker, GATEWAY, &name, [burst.address_on("n1")]);
        becomes_at!(burst, GATEWAY, "asker", [asker.address_on("n1")]);
        becomes_at!(asker, GATEWAY, &format!("{name}.n2"), NXDOMAIN);
        for old in ["", "-0", "-398"] {
            becomes_at!(asker, GATEWAY, &format!("burst{number}{old}"), NXDOMAIN);
        }
    }
}
