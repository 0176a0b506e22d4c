//! Who sees what, by the path of the query (docker.md §1).

use std::process::Command;
use std::time::Duration;

use callsign::wire::rtype;

use crate::support::client::{Client, Query, Reply};
use crate::support::docker::{Container, Docker, EMBEDDED, GATEWAY};
use crate::support::machine::{Outside, addresses, at_port_53, becomes};
use crate::support::process::{Source, run};
use crate::support::sockets::listening;
use crate::{becomes_at, needs_docker, needs_root};

const NXDOMAIN: [&str; 1] = ["NXDOMAIN"];
const NO_ADDRESS: [&str; 0] = [];

/// The reply that the host of the engine gets.
fn ask_from_host(outside: &Outside, server: &str, name: &str) -> Vec<String> {
    let query = Query::new(name, rtype::A).edns(1232);
    let reply = outside
        .host()
        .enter(|| Client::new(at_port_53(server)).timeout(Duration::from_secs(5)).udp_bytes(&query.bytes()));
    match reply.map(Reply::new) {
        Ok(reply) if reply.status() == "NOERROR" => addresses(&reply),
        Ok(reply) => vec![reply.status()],
        Err(error) => vec![error.kind().to_string()],
    }
}

/// A command in a container's network, with the programs of the machine that the tests run on.
fn in_network_of(container: &Container<'_, '_>, docker: &Docker<'_>, words: &[&str]) {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", docker.machine().proc(container.pid, "ns/net").display())).args(words);
    run(command).expect_success();
}

#[test]
fn d1_1_the_default_bridge_has_names() {
    needs_docker!();
    let outside = Outside::new();
    let upstream = outside.upstream();
    let docker = Docker::start(&outside);
    docker.run(&["network", "create", "n1"]);
    // One that is there before callsign, one that comes later.
    let first = docker.container("first", &[]);
    let _callsign = docker.serve();
    let second = docker.container("second", &["--hostname", "deux"]);
    let elsewhere = docker.container("elsewhere", &["--network", "n1"]);
    let address = second.address_on("bridge");
    for name in ["second", "deux", "SECOND", second.short_id(), "second.bridge"] {
        becomes_at!(first, GATEWAY, name, [&address]);
    }
    becomes_at!(second, GATEWAY, "first", [first.address_on("bridge")]);
    // As the resolvers of two C libraries see it.
    assert_eq!((first.getent("second"), first.nslookup("second")), (vec![address.clone()], vec![address.clone()]));
    assert_eq!(first.ask(GATEWAY, "second", rtype::AAAA).status(), "NOERROR");
    let name = first.network().ask(at_port_53(GATEWAY), &Query::reverse(address.parse().unwrap()));
    assert!(name.answers()[0].ends_with(" second."), "{name:?}");
    // Names of other networks do not exist, here or there.
    becomes_at!(elsewhere, GATEWAY, "elsewhere", [elsewhere.address_on("n1")]);
    for (container, name) in
        [(&first, "elsewhere"), (&first, "elsewhere.n1"), (&elsewhere, "first"), (&elsewhere, "second")]
    {
        assert_eq!(container.resolves(GATEWAY, name), NXDOMAIN, "{name}");
    }
    assert_eq!(first.getent("www.example.com"), ["192.0.2.80"]);
    assert!(upstream.queries().contains(&"A www.example.com".to_owned()));
}

#[test]
fn d1_2_a_user_network_behind_dockers_resolver() {
    needs_docker!();
    let outside = Outside::new();
    let upstream = outside.upstream();
    let docker = Docker::start(&outside);
    docker.run(&["network", "create", "n1"]);
    docker.run(&["network", "create", "n2"]);
    let _callsign = docker.serve();
    let a = docker.container("a1", &["--network", "n1"]);
    let b = docker.container("b1", &["--network", "n1", "--network-alias", "bee", "--hostname", "hive"]);
    let c = docker.container("c2", &["--network", "n2"]);
    docker.container("stopped1", &["--network", "n1"]);
    docker.run(&["stop", "--time", "0", "stopped1"]);
    let address = b.address_on("n1");
    for name in ["b1", "bee", "hive", b.short_id(), "b1.n1", "B1.N1"] {
        becomes_at!(a, GATEWAY, name, [&address]);
    }
    becomes_at!(c, GATEWAY, "c2", [c.address_on("n2")]);
    becomes("stopped1", Vec::<String>::new(), || a.resolves(GATEWAY, "stopped1"));

    // What Docker's resolver does not answer comes to us, in the container's own name.
    let asked = upstream.queries().len();
    for rtype in [rtype::TXT, 65, rtype::SRV, rtype::NS] {
        let reply = a.ask(EMBEDDED, "b1", rtype);
        assert_eq!(
            (reply.status().as_str(), reply.answers().len(), reply.authority().len()),
            ("NOERROR", 0, 1),
            "{rtype}"
        );
        assert!(reply.flags().contains("aa"), "{reply:?}");
    }
    assert_eq!(a.resolves(EMBEDDED, "b1.N1"), [address.as_str()]);
    let stopped = a.ask(EMBEDDED, "stopped1", rtype::A);
    assert_eq!((stopped.status().as_str(), stopped.answers().len()), ("NOERROR", 0));
    assert_eq!(stopped.extended_errors(), [(0, "stopped1 is not running".to_owned())]);
    // Reverse names of the own subnet are nobody else's.
    let unused = Query::reverse("172.18.0.99".parse().unwrap()).edns(1232);
    let unused = a.network().ask(at_port_53(EMBEDDED), &unused);
    assert_eq!((unused.status().as_str(), unused.authority().len()), ("NXDOMAIN", 1));
    assert_eq!(a.resolves(EMBEDDED, "host.docker.internal"), [GATEWAY]);
    assert_eq!(upstream.queries()[asked..], Vec::<String>::new()[..], "names of ours went upstream");

    // And what is another network's is nobody's.
    for server in [GATEWAY, EMBEDDED] {
        for name in ["c2", "c2.n2", c.short_id()] {
            assert_eq!(a.resolves(server, name), NXDOMAIN, "{name} at {server}");
        }
    }
    assert_eq!(a.getent("www.example.com"), ["192.0.2.80"]);
    assert_eq!(a.nslookup("b1"), [address.as_str()]);
}

#[test]
fn d1_3_a_container_on_two_networks_sees_both() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    let _callsign = docker.serve();
    for network in ["n1", "n2"] {
        docker.run(&["network", "create", network]);
    }
    let one = docker.container("one", &["--network", "n1", "--network-alias", "db"]);
    let two = docker.container("two", &["--network", "n2", "--network-alias", "db"]);
    let both = docker.container("both", &["--network", "n2"]);
    becomes_at!(both, GATEWAY, "one", NXDOMAIN);
    docker.run(&["network", "connect", "n1", "both"]);
    becomes_at!(both, GATEWAY, "one", [one.address_on("n1")]);
    becomes_at!(both, GATEWAY, "two", [two.address_on("n2")]);
    // Docker's own order of the networks decides, except at a gateway of one of them.
    becomes_at!(both, GATEWAY, "db", [one.address_on("n1")]);
    becomes_at!(both, &docker.gateway("n1"), "db", [one.address_on("n1")]);
    becomes_at!(both, &docker.gateway("n2"), "db", [two.address_on("n2")]);
    becomes_at!(both, GATEWAY, "db.n2", [two.address_on("n2")]);
    becomes_at!(one, GATEWAY, "both", [both.address_on("n1")]);
    becomes_at!(two, GATEWAY, "both", [both.address_on("n2")]);
    becomes_at!(one, GATEWAY, "two", NXDOMAIN);
    // 1.12: whichever gateway it asks, each sees what it is attached to.
    becomes_at!(one, &docker.gateway("n2"), "both", [both.address_on("n1")]);
    becomes_at!(one, &docker.gateway("n2"), "two", NXDOMAIN);
    docker.run(&["network", "disconnect", "n1", "both"]);
    becomes_at!(both, GATEWAY, "one", NXDOMAIN);
    becomes_at!(both, GATEWAY, "db", [two.address_on("n2")]);
    becomes_at!(one, GATEWAY, "both", NXDOMAIN);
}

#[test]
fn d1_4_internal_networks_never_reach_the_upstream() {
    needs_docker!();
    let outside = Outside::new();
    let upstream = outside.upstream();
    let docker = Docker::start(&outside);
    docker.run(&["network", "create", "--internal", "nint"]);
    docker.run(&["network", "create", "n1"]);
    let _callsign = docker.serve();
    let safe = docker.container("safe", &["--network", "nint"]);
    let vault = docker.container("vault", &["--network", "nint"]);
    let a = docker.container("a1", &["--network", "n1"]);
    let mixed = docker.container("mixed", &["--network", "nint"]);
    docker.run(&["network", "connect", "n1", "mixed"]);
    let gateway = docker.gateway("nint");
    for server in [GATEWAY, &gateway] {
        becomes_at!(safe, server, "vault", [vault.address_on("nint")]);
        let reply = safe.ask(server, "www.example.com", rtype::A);
        assert_eq!((reply.status().as_str(), reply.extended_errors()[0].0), ("NXDOMAIN", 15), "{server}");
        becomes_at!(safe, server, "a1", NXDOMAIN);
    }
    assert_eq!(safe.resolves(EMBEDDED, "www.example.com"), NXDOMAIN);
    // 1.4b: engines of today give internal networks no default route; the own gateway is there all the same.
    in_network_of(&safe, &docker, &["ip", "route", "delete", "default"]);
    assert_eq!(safe.resolves(GATEWAY, "vault"), ["network unreachable"]);
    becomes_at!(safe, &gateway, "vault", [vault.address_on("nint")]);
    assert_eq!(upstream.queries(), Vec::<String>::new());

    // 1.5: with a normal network beside it, it sees both, and the world.
    becomes_at!(mixed, GATEWAY, "a1", [a.address_on("n1")]);
    becomes_at!(mixed, GATEWAY, "vault", [vault.address_on("nint")]);
    becomes_at!(mixed, GATEWAY, "www.example.com", ["192.0.2.80"]);
}

#[test]
fn d1_6_the_host_and_host_mode_see_the_listeners_network() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    docker.run(&["network", "create", "n1"]);
    let plain = docker.container("plain", &[]);
    let a = docker.container("a1", &["--network", "n1"]);
    let _callsign = docker.serve();
    let host = docker.container("host", &["--network", "host"]);
    becomes_at!(host, GATEWAY, "plain", [plain.address_on("bridge")]);
    becomes_at!(host, GATEWAY, "a1", NXDOMAIN);
    becomes_at!(host, GATEWAY, "www.example.com", ["192.0.2.80"]);
    // 1.13: the host, at any gateway.
    let gateway = docker.gateway("n1");
    becomes("a1 from the host", vec![a.address_on("n1")], || ask_from_host(&outside, &gateway, "a1"));
    assert_eq!(ask_from_host(&outside, &gateway, "plain"), NXDOMAIN);
    assert_eq!(ask_from_host(&outside, GATEWAY, "plain"), [plain.address_on("bridge")]);
    // 1.10: a container in another's network is that one.
    let guest = docker.container("guest", &["--network", "container:a1"]);
    becomes_at!(guest, GATEWAY, "a1", [a.address_on("n1")]);
    becomes_at!(guest, GATEWAY, "guest", NXDOMAIN);
    becomes_at!(guest, GATEWAY, "plain", NXDOMAIN);
}

#[test]
fn d1_7_overlay_clients_are_known_by_their_gateway_bridge() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    // The address of the host's end of the cable to the upstream.
    docker.run(&["swarm", "init", "--advertise-addr", "10.99.0.254"]);
    docker.run(&["network", "create", "--driver", "overlay", "--attachable", "ovl"]);
    docker.run(&["network", "create", "--driver", "overlay", "--attachable", "other"]);
    let _callsign = docker.serve();
    let me = docker.container("me", &["--network", "ovl"]);
    let you = docker.container("you", &["--network", "ovl", "--network-alias", "thou"]);
    let stranger = docker.container("stranger", &["--network", "other"]);
    for name in ["you", "thou", "you.ovl"] {
        becomes_at!(me, GATEWAY, name, [you.address_on("ovl")]);
    }
    becomes_at!(stranger, GATEWAY, "you", NXDOMAIN);
    becomes_at!(stranger, GATEWAY, "stranger", [stranger.address_on("other")]);
    // Through Docker's resolver, which keeps A for itself.
    assert_eq!(me.ask(EMBEDDED, "you", rtype::TXT).status(), "NOERROR");
    becomes_at!(me, EMBEDDED, "www.example.com", ["192.0.2.80"]);

    // Services: the virtual address, and the tasks.
    let create = ["service", "create", "--detach", "--name", "svc", "--network", "ovl", "--replicas", "2"];
    docker.run(&[&create[..], &["busybox", "sleep", "1000"]].concat());
    let tasks = || me.resolves(GATEWAY, "tasks.svc");
    becomes("the tasks of svc", 2, || tasks().iter().filter(|task| task.starts_with("10.0.")).count());
    let verbose = docker.get("/networks/ovl?verbose=true");
    let service = &verbose["Services"]["svc"];
    becomes_at!(me, GATEWAY, "svc", [service["VIP"].as_str().unwrap()]);
    let mut expected: Vec<_> = service["Tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["EndpointIP"].as_str().unwrap().to_owned())
        .collect();
    expected.sort();
    becomes("the tasks of svc", expected, tasks);
    becomes_at!(stranger, GATEWAY, "svc", NXDOMAIN);
}

#[test]
fn d1_8_networks_without_a_gateway_of_ours_are_named_once() {
    needs_docker!();
    let outside = Outside::new();
    let docker = Docker::start(&outside);
    // The host's end of the cable to the outside.
    docker.run(&[
        "network",
        "create",
        "--driver",
        "macvlan",
        "--opt",
        "parent=link0",
        "--subnet",
        "10.98.0.0/24",
        "mac",
    ]);
    // Its parent may be no other one's. Not every kernel can start a container on it.
    outside.host().configure("link add lan0 type bridge");
    let ipvlan = ["--driver", "ipvlan", "--opt", "parent=lan0", "--subnet", "10.97.0.0/24", "ipv"];
    docker.run(&[&["network", "create"], &ipvlan[..]].concat());
    let callsign = docker.serve();
    let plain = docker.container("plain", &[]);
    becomes_at!(plain, GATEWAY, "plain", [plain.address_on("bridge")]);
    let lines = callsign.lines(Source::Stderr);
    for (network, driver, gateway) in [("mac", "macvlan", "10.98.0.1"), ("ipv", "ipvlan", "10.97.0.1")] {
        let said = format!("network has no listener: {driver}: its containers do not reach this host by it");
        let is_said = |line: &&String| line.contains(&said) && line.contains(&format!("network={network:?}"));
        assert_eq!(lines.iter().filter(is_said).count(), 1, "{callsign:?}");
        assert_eq!(listening(callsign.pid(), at_port_53(gateway)), Vec::<String>::new(), "{network}");
    }
    // A container that is on one of them, too, asks by its other network, and is known there.
    docker.run(&["network", "connect", "mac", "plain"]);
    becomes_at!(plain, GATEWAY, "plain", [plain.address_on("bridge")]);
    becomes_at!(plain, GATEWAY, "plain.mac", [plain.address_on("mac")]);
}

#[test]
fn d10_3_a_stranger_is_one_of_the_network_that_its_address_is_in() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    docker.run(&["network", "create", "--subnet", "10.50.1.0/24", "n1"]);
    docker.run(&["network", "create", "--subnet", "10.50.2.0/24", "n2"]);
    docker.run(&["network", "create", "--internal", "--subnet", "10.50.3.0/24", "nint"]);
    let _callsign = docker.serve();
    let plain = docker.container("plain", &[]);
    let a = docker.container("a1", &["--network", "n1"]);
    let c = docker.container("c2", &["--network", "n2"]);
    let safe = docker.container("safe", &["--network", "nint"]);
    for (container, own, network) in
        [(&plain, "plain", "bridge"), (&a, "a1", "n1"), (&c, "c2", "n2"), (&safe, "safe", "nint")]
    {
        becomes_at!(container, GATEWAY, own, [container.address_on(network)]);
    }
    let stranger = |container: &Container<'_, '_>, from: &str, name: &str| {
        let query = Query::new(name, rtype::A).edns(1232);
        let client = Client::new(at_port_53(GATEWAY)).from(from.parse().unwrap());
        let reply = container.network().enter(|| client.udp(&query));
        if reply.status() == "NOERROR" { addresses(&reply) } else { vec![reply.status()] }
    };
    in_network_of(&a, &docker, &["ip", "address", "add", "10.50.1.200/24", "dev", "eth0"]);
    in_network_of(&safe, &docker, &["ip", "address", "add", "10.50.3.200/24", "dev", "eth0"]);
    assert_eq!(stranger(&a, "10.50.1.200", "a1"), [a.address_on("n1")]);
    for name in ["plain", "c2", "safe"] {
        assert_eq!(stranger(&a, "10.50.1.200", name), NXDOMAIN, "{name}");
    }
    assert_eq!(stranger(&a, "10.50.1.200", "www.example.com"), ["192.0.2.80"]);
    assert_eq!(stranger(&safe, "10.50.3.200", "safe"), [safe.address_on("nint")]);
    assert_eq!(stranger(&safe, "10.50.3.200", "www.example.com"), NXDOMAIN, "an internal network's stranger");

    // An address that another container had is the new one's, and in between nobody's.
    docker.run(&["network", "connect", "n1", "c2"]);
    let shared = c.address_on("n1");
    becomes("a1 for c2", vec![a.address_on("n1")], || stranger(&c, &shared, "a1"));
    docker.run(&["network", "disconnect", "n1", "c2"]);
    let next = docker.container("next", &["--network", "n1"]);
    assert_eq!(next.address_on("n1"), shared);
    becomes_at!(next, GATEWAY, "a1", [a.address_on("n1")]);
    becomes_at!(next, GATEWAY, "c2", NXDOMAIN);
    becomes_at!(a, GATEWAY, "next", [&shared]);
    becomes("no address", NO_ADDRESS.map(str::to_owned).to_vec(), || {
        docker.run(&["stop", "--time", "0", "next"]);
        a.resolves(GATEWAY, "next")
    });
}
