//! Networks and their gateways: listeners come and go with them (docker.md §2).

use std::sync::mpsc;
use std::thread;

use callsign::wire::rtype;

use crate::support::client::{Client, Query, Reply};
use crate::support::docker::{Docker, GATEWAY};
use crate::support::machine::{Outside, addresses, at_port_53, becomes};
use crate::support::process::Source;
use crate::support::program::CALLSIGN;
use crate::support::sockets::listening;
use crate::{becomes_at, needs_docker, needs_root};

#[test]
fn d2_2_a_network_that_is_removed_and_made_again_is_served_again() {
    needs_docker!();
    let outside = Outside::new();
    let docker = Docker::start(&outside);
    let callsign = docker.serve();
    let listeners = |gateway: &str| listening(callsign.pid(), format!("{gateway}:53").parse().unwrap()).len();
    for subnet in ["10.50.1.0/24", "10.50.1.0/24", "10.50.9.0/24"] {
        docker.run(&["network", "create", "--subnet", subnet, "n1"]);
        let gateway = docker.gateway("n1");
        let a = docker.container("a1", &["--network", "n1"]);
        becomes_at!(a, &gateway, "a1", [a.address_on("n1")]);
        becomes_at!(a, GATEWAY, "a1.n1", [a.address_on("n1")]);
        docker.run(&["rm", "--force", "a1"]);
        docker.run(&["network", "rm", "n1"]);
        becomes("sockets at the gateway of a network that is gone", 0, || listeners(&gateway));
    }
    assert_eq!(listeners(GATEWAY), 2, "UDP and TCP at the default bridge: {callsign:?}");
}

#[test]
fn d2_4_gateways_are_found_where_the_engine_does_not_name_them() {
    needs_docker!();
    let outside = Outside::new();
    let docker = Docker::start(&outside);
    let callsign = docker.serve();
    let networks = [
        ("auto1", &[][..]),
        ("given", &["--subnet", "10.50.6.0/24", "--gateway", "10.50.6.77"]),
        ("missing", &["--subnet", "10.50.7.0/24"]),
        ("bridged", &["--subnet", "10.50.8.0/24", "--opt", "com.docker.network.bridge.name=br-own"]),
    ];
    for (name, options) in networks {
        docker.run(&[&["network", "create"], options, &[name]].concat());
        let container = docker.container(&format!("in-{name}"), &["--network", name]);
        let inspected = docker.get(&format!("/containers/in-{name}/json"));
        let gateway = inspected["NetworkSettings"]["Networks"][name]["Gateway"].as_str().unwrap().to_owned();
        becomes_at!(container, &gateway, &format!("in-{name}"), [container.address_on(name)]);
    }
    // Before any container is on it: by the bridge's own address.
    docker.run(&["network", "create", "--subnet", "10.50.10.0/24", "empty"]);
    let sockets = || listening(callsign.pid(), "10.50.10.1:53".parse().unwrap()).len();
    becomes("sockets at the gateway of an empty network", 2, sockets);

    // Where the gateway of containers is another machine: the bridge's own address is asked.
    let options = ["--subnet", "10.80.0.0/24", "--aux-address", "DefaultGatewayIPv4=10.80.0.254", "dg"];
    docker.run(&[&["network", "create"], &options[..]].concat());
    let label = ["--label", "callsign.names=inspected"];
    let container = docker.container("in-dg", &[&["--network", "dg"], &label[..]].concat());
    becomes_at!(container, "10.80.0.1", "inspected", [container.address_on("dg")]);

    // IPv6, in both of a bridge's families.
    docker.run(&["network", "create", "--ipv6", "--subnet", "fd50:1::/64", "--subnet", "10.50.11.0/24", "six"]);
    let six = docker.container("in-six", &["--network", "six"]);
    let address = docker.get("/containers/in-six/json");
    let address = address["NetworkSettings"]["Networks"]["six"]["GlobalIPv6Address"].as_str().unwrap();
    becomes("AAAA", vec![address.to_owned()], || six.resolves_as("fd50:1::1", "in-six", rtype::AAAA));
    becomes_at!(six, "fd50:1::1", "in-six", [six.address_on("six")]);
}

#[test]
fn d2_5_a_gateway_whose_port_is_published_is_named_and_the_rest_is_served() {
    needs_docker!();
    let outside = Outside::new();
    let docker = Docker::start(&outside);
    docker.run(&["network", "create", "--subnet", "10.50.1.0/24", "n1"]);
    docker.container("pihole", &["--publish", "10.50.1.1:53:53/udp"]);
    let a = docker.container("a1", &["--network", "n1"]);
    let callsign = docker.serve();
    // By what Docker says: the sandbox hides whose the socket is.
    let said = "network \"n1\" cannot listen on 10.50.1.1:53: container pihole publishes port 53/udp on 10.50.1.1";
    callsign.wait_for(Source::Stderr, said);
    let check = docker.machine().run(&[CALLSIGN, "check", "--docker"]);
    assert!(check.stderr.contains(said), "{check:?}");
    becomes_at!(a, GATEWAY, "a1", [a.address_on("n1")]);
    // It takes the port as soon as it is free.
    docker.run(&["rm", "--force", "pihole"]);
    becomes_at!(a, "10.50.1.1", "a1", [a.address_on("n1")]);
    // From now on nobody else can have it, on all addresses; on another one they can.
    let finished = docker.try_run(&["run", "--publish", "53:53/udp", "busybox", "sleep", "9"]);
    assert!(finished.stderr.contains("address already in use"), "{finished:?}");
    docker.container("pihole", &["--publish", "10.99.0.254:53:53/udp"]);
    assert_eq!(a.resolves("10.50.1.1", "a1"), [a.address_on("n1")]);
}

#[test]
fn networks_and_containers_can_be_left_out() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    for network in ["shop_front", "shop_back", "blog"] {
        docker.run(&["network", "create", network]);
    }
    docker.run(&["network", "create", "--label", "callsign.enable=false", "shop_off"]);
    let config = "[docker]\nnetworks = [\"shop_*\", \"!shop_back\"]\n\n[[network]]\nname = \"shop_front\"\n\
                  aliases = { payments = \"www.example.com\" }\ndomains = [\"internal\"]\n";
    let callsign = docker.launch(config).start();
    let front = docker.container("web", &["--network", "shop_front", "--label", "callsign.names=www, *.apps"]);
    docker.container("hidden", &["--network", "shop_front", "--label", "callsign.enable=false"]);
    let gateway = docker.gateway("shop_front");
    let address = front.address_on("shop_front");
    for name in ["web", "www", "any.apps", "web.internal", "web.shop_front.internal"] {
        becomes_at!(front, &gateway, name, [&address]);
    }
    becomes_at!(front, &gateway, "payments", ["192.0.2.80"]);
    assert_eq!(front.resolves(&gateway, "hidden"), ["NXDOMAIN"]);
    for network in ["shop_back", "blog", "shop_off"] {
        let sockets = listening(callsign.pid(), format!("{}:53", docker.gateway(network)).parse().unwrap());
        assert_eq!(sockets, Vec::<String>::new(), "{network}");
    }
    // SRV: exposed ports by number, those of the label by name.
    let options = ["--network", "shop_front", "--expose", "5432", "--label", "callsign.ports=http=80"];
    let db = docker.container("db", &options);
    becomes_at!(front, &gateway, "db", [db.address_on("shop_front")]);
    for (name, port) in [("_5432._tcp.db", 5432), ("_http._tcp.db", 80)] {
        // Ports are known once the container was inspected: a little later than its address.
        let is_answered = || {
            let reply = front.ask(&gateway, name, rtype::SRV);
            reply.answers().iter().any(|record| record.contains(&format!(" 0 1 {port} ")))
        };
        becomes(name, true, is_answered);
    }
}

#[test]
fn n11_a_query_waits_for_a_container_that_is_about_to_run() {
    needs_docker!();
    let outside = Outside::new();
    let docker = Docker::start(&outside);
    docker.run(&["network", "create", "--label", "callsign.hold=3s", "patient"]);
    docker.run(&["network", "create", "hasty"]);
    let _callsign = docker.serve();
    for (network, waits) in [("patient", true), ("hasty", false)] {
        let (asker, late) = (format!("asker-{network}"), format!("late-{network}"));
        let a = docker.container(&asker, &["--network", network]);
        docker.run(&["create", "--name", &late, "--network", network, "busybox", "sleep", "1000"]);
        // It is known; other types of it are answered at once.
        becomes(&late, "NOERROR".to_owned(), || a.ask(GATEWAY, &late, rtype::TXT).status());
        let (asked, is_asked) = mpsc::channel();
        let answer = thread::scope(|scope| {
            let asking = scope.spawn(|| {
                a.network().enter(|| {
                    let socket = Client::new(at_port_53(GATEWAY)).udp_socket().unwrap();
                    socket.send(&Query::new(&late, rtype::A).edns(1232).bytes()).unwrap();
                    asked.send(()).unwrap();
                    let mut buffer = vec![0; 4096];
                    let len = socket.recv(&mut buffer).unwrap();
                    Reply::new(buffer[..len].to_vec())
                })
            });
            is_asked.recv().unwrap();
            docker.run(&["start", &late]);
            asking.join().unwrap()
        });
        let expected = if waits { vec![docker.running(&late).address_on(network)] } else { Vec::new() };
        assert_eq!((answer.status().as_str(), addresses(&answer)), ("NOERROR", expected), "{network}");
    }
}
