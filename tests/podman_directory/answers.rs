//! What the containers of a directory are answered.

use callsign::table::Network;
use hickory_proto::rr::RecordType::{A, AAAA, HTTPS, MX, PTR, SRV, SVCB, TXT};

use crate::ask::{World, check};
use crate::kit::Kit;

/// Two networks with a database each, a proxy that is on both, and an internal one that the worker is on, too.
fn world() -> (Kit, World) {
    let mut kit = Kit::new();
    let id = |digit: &str| digit.repeat(64);
    let (db, proxy, worker) = (id("d"), id("a"), id("e"));
    kit.write(
        "front",
        format!(
            "10.89.0.1,fd89::1\n{db} 10.89.0.3  db,dddddddddddd\n{proxy} 10.89.0.4 fd89::4 Proxy,aaaaaaaaaaaa 9.9.9.9\n"
        ),
    );
    let (db, web) = (id("b"), id("c"));
    kit.write(
        "back",
        format!(
            "10.90.0.1 1.1.1.1\n{db} 10.90.0.3  db,bbbbbbbbbbbb\n{proxy} 10.90.0.4  proxy,aaaaaaaaaaaa 9.9.9.9\n\
            {worker} 10.90.0.5  worker\n{web} 10.90.0.6  web\n{} 10.90.0.7  web,only\n",
            id("f")
        ),
    );
    kit.write(
        "deep%int",
        format!("10.91.0.1 1.1.1.1\n{worker} 10.91.0.5  worker 8.8.8.8\n{} 10.91.0.6  vault\n", id("9")),
    );
    kit.settle();
    let mut world = World::of([]);
    world.table = kit.table.clone();
    (kit, world)
}

#[test]
fn names_aliases_and_short_ids_are_found_with_and_without_the_domain() {
    let (_kit, world) = world();
    let db = world.client("front", "10.89.0.3");
    for name in ["proxy", "PROXY", "proxy.dns.podman", "proxy.front", "proxy.front.dns.podman", "aaaaaaaaaaaa"] {
        let found = db.ask(name, A).reply().message;
        assert_eq!(found.answers.len(), 1, "{name}");
        assert_eq!((found.answers[0].data.to_string(), found.answers[0].ttl), ("10.89.0.4".to_owned(), 0), "{name}");
    }
    check(db.ask("proxy", AAAA), "NOERROR: proxy AAAA fd89::4");
    check(db.ask("db", AAAA), "NOERROR (SOA db)");
}

#[test]
fn a_name_on_several_networks_has_the_addresses_of_all_the_askers_own_first() {
    let (_kit, world) = world();
    for (network, source, first) in [("front", "10.89.0.4", "10.89.0.3"), ("back", "10.90.0.4", "10.90.0.3")] {
        for _ in 0..4 {
            let addresses = world.client(network, source).ask("db", A).addresses();
            assert_eq!(addresses.len(), 2);
            assert_eq!(addresses[0].to_string(), first);
        }
    }
    // Who is on one of them sees that one.
    check(world.client("front", "10.89.0.3").ask("db", A), "NOERROR: db A 10.89.0.3");
    check(world.client("front", "10.89.0.3").ask("web", A), "forward: web");
}

#[test]
fn addresses_take_turns_and_none_comes_twice() {
    let (mut kit, world) = world();
    let worker = world.client("back", "10.90.0.5");
    let first = || worker.ask("web", A).addresses()[0];
    let (one, two, three) = (first(), first(), first());
    assert!(one != two && one == three);
    kit.append("back", "dup 10.90.0.6  web\n");
    kit.settle();
    assert_eq!(worker.ask("web", A).addresses().len(), 2);
}

#[test]
fn every_name_is_given_in_reverse() {
    let (_kit, world) = world();
    let proxy = world.client("front", "10.89.0.4");
    let name = "3.0.89.10.in-addr.arpa";
    check(proxy.ask(name, PTR), &format!("NOERROR: {name} PTR db, {name} PTR dddddddddddd"));
    let name = "3.0.90.10.in-addr.arpa";
    check(proxy.ask(name, PTR), &format!("NOERROR: {name} PTR bbbbbbbbbbbb, {name} PTR db"));
    // An address of no network of the asker's: the files say nothing of subnets.
    check(world.client("front", "10.89.0.3").ask(name, PTR), &format!("forward: {name}"));
}

#[test]
fn a_known_name_has_no_data_of_other_types_and_the_soa_says_so() {
    let (_kit, world) = world();
    let client = world.client("front", "10.89.0.3");
    for rtype in [MX, TXT, HTTPS, SVCB, SRV] {
        check(client.ask("proxy", rtype), "NOERROR (SOA proxy)");
        check(client.ask("proxy.dns.podman", rtype), "NOERROR (SOA dns.podman)");
    }
    check(client.ask("nothere.dns.podman", A), "NXDOMAIN (SOA dns.podman)");
}

#[test]
fn what_nobody_knows_is_forwarded_also_without_a_dot() {
    let (_kit, world) = world();
    for name in ["nothere", "example.com", "web"] {
        check(world.client("front", "10.89.0.3").ask(name, A), &format!("forward: {name}"));
    }
}

#[test]
fn a_containers_upstreams_replace_its_networks_which_replace_the_hosts() {
    let (_kit, world) = world();
    let upstreams =
        |network: &str, source: &str| world.client(network, source).ask("example.com", A).forwarded().upstreams;
    assert_eq!(upstreams("front", "10.89.0.3"), [""; 0], "the host's");
    assert_eq!(upstreams("back", "10.90.0.6"), ["1.1.1.1:53"]);
    assert_eq!(upstreams("back", "10.90.0.4"), ["9.9.9.9:53"]);
    // Those of the internal network do not count, also for who may forward by another one.
    assert_eq!(upstreams("deep", "10.91.0.5"), ["1.1.1.1:53"]);
}

#[test]
fn an_unknown_source_sees_the_listeners_network() {
    let (_kit, world) = world();
    for (source, subnet) in [("10.89.0.99", "10.89.0.0/24"), ("fd89::99", "fd89::/64")] {
        let stranger = world.client("front", source).neighbours(&[subnet]);
        check(stranger.ask("db", A), "NOERROR: db A 10.89.0.3");
        check(stranger.ask("web", A), "forward: web");
    }
}

#[test]
fn a_known_client_sees_all_its_networks_whichever_gateway_it_asks() {
    let (_kit, world) = world();
    // By its address on the other network, and at a gateway of a network that it is not on.
    for network in ["front", "back", "deep"] {
        let client = world.client(network, "10.90.0.4");
        check(client.ask("web", A), "NOERROR: web A 10.90.0.6, web A 10.90.0.7");
        check(client.ask("db", A), "NOERROR: db A 10.89.0.3, db A 10.90.0.3");
        check(client.ask("vault", A), "forward: vault");
    }
}

#[test]
fn an_internal_network_never_reaches_an_upstream() {
    let (_kit, world) = world();
    for source in ["10.91.0.6", "10.91.0.99"] {
        let client = world.client("deep", source).neighbours(&["10.91.0.0/24"]);
        let reply = client.ask("example.com", A).to_string();
        assert!(reply.starts_with("NXDOMAIN"), "{source}: {reply}");
    }
    check(world.client("deep", "10.91.0.6").ask("worker", A), "NOERROR: worker A 10.91.0.5");
}

#[test]
fn with_no_proxy_as_a_template_nothing_is_forwarded_anywhere() {
    let mut kit = Kit::with(|directory| directory.template(|_, network| network.internal(true)));
    kit.write("front", "10.89.0.1 9.9.9.9\nabc 10.89.0.2  db 8.8.8.8\n");
    kit.settle();
    let mut world = World::of([]);
    world.table = kit.table.clone();
    let client = world.client("front", "10.89.0.2");
    check(client.ask("db", A), "NOERROR: db A 10.89.0.2");
    assert!(client.ask("example.com", A).to_string().starts_with("NXDOMAIN"));
    assert!(
        kit.table.networks().iter().all(|network: &std::sync::Arc<Network>| network.snapshot().settings().internal)
    );
}

#[test]
fn v4_only_the_network_the_host_and_known_containers_may_ask() {
    let (_kit, world) = world();
    let refused = "REFUSED [18 this client may not ask here]";
    let front = |source| world.client("front", source).neighbours(&["10.89.0.0/24"]);
    check(front("10.89.0.77").ask("web", A), "forward: web");
    check(front("10.89.0.77").ask("proxy", A), "NOERROR: proxy A 10.89.0.4");
    // A machine with a route here, and an address of another network's bridge that no container has.
    for source in ["192.0.2.9", "10.90.0.99", "fd90::9"] {
        check(front(source).ask("proxy", A), refused);
        check(front(source).ask("example.com", A), refused);
    }
    // A container sees its own networks at any gateway.
    check(front("10.90.0.6").ask("only", A), "NOERROR: only A 10.90.0.7");
    check(front("10.90.0.6").ask("front", A), "forward: front");
    check(world.client("front", "192.0.2.7").on_host(&["192.0.2.7"]).ask("proxy", A), "NOERROR: proxy A 10.89.0.4");
}

#[test]
fn v3a_a_link_local_address_reads_names_over_its_own_bridge_alone() {
    let (_kit, world) = world();
    let client = |interface| world.client("front", "fe80::9").interfaces(&[7]).over(interface);
    check(client(7).ask("proxy", AAAA), "NOERROR: proxy AAAA fd89::4");
    check(client(7).ask("only", A), "forward: only");
    check(client(8).ask("proxy", AAAA), "REFUSED [18 this client may not ask here]");
}

#[test]
fn n12_a_container_is_found_in_a_labels_and_as_it_is_written() {
    let mut kit = Kit::new();
    kit.write("podman", "10.88.0.1\nabc 10.88.0.2  bücher,\u{e000},web\n");
    kit.settle();
    let snapshot = kit.table.network("podman").unwrap().snapshot().clone();
    let names = snapshot.endpoint("abc").unwrap().names();
    let expected = ["xn--bcher-kva", "bücher", "web"].map(|name| name.parse().unwrap());
    assert_eq!(names, expected);
    // It goes as one: what a later line no longer has is taken out in both spellings.
    kit.write("podman", "10.88.0.1\nabc 10.88.0.2  web\n");
    kit.settle();
    let snapshot = kit.table.network("podman").unwrap().snapshot().clone();
    assert_eq!(snapshot.endpoint("abc").unwrap().names(), ["web".parse().unwrap()]);
}
