//! Views.

use callsign::responder::{Finding, WhoAsks};
use callsign::table::{Clients, Merge, Network, NetworkBuilder};
use hickory_proto::rr::RecordType::{self, A, AAAA, ANY, PTR, SRV, TXT};

use crate::kit::{World, ask, blog, check, endpoint, named, shop};

/// A network with a proxy of the given priority, and `name` answered by an address that tells which network spoke.
fn ranked(network: &str, number: u8, priority: i32, internal: bool) -> NetworkBuilder {
    let address = |host: u8| format!("10.20.{number}.{host}");
    Network::builder(network)
        .internal(internal)
        .endpoint(endpoint("proxy-1", &[&address(6)]).priority(priority).build().unwrap())
        .endpoint(named("other", &[&address(9)], &["name"]))
}

/// The networks that a client finds `name` on, in the order in which they are searched.
fn order(world: &World, network: &str, source: &str) -> Vec<String> {
    world.client(network, source).explain("nothere", A).searched.into_iter().map(|found| found.network).collect()
}

#[test]
fn v1_a_client_is_its_address_at_a_listener() {
    let world = World::example();
    let proxy = world.client("shop", "10.10.1.6");
    assert_eq!(proxy.explain("db", A).client, WhoAsks::Endpoint("proxy-1".into()));
    check(proxy.ask("site", A), "NOERROR: site A 10.10.2.4");
    // IPv4 in IPv6 form, as a socket for both families gives it, is IPv4.
    check(world.client("shop", "::ffff:10.10.1.6").ask("site", A), "NOERROR: site A 10.10.2.4");
    // The same address at another listener is nobody.
    let elsewhere = world.client("blog", "10.10.1.6").neighbours(&["10.0.0.0/8"]);
    assert_eq!(elsewhere.explain("db", A).client, WhoAsks::Stranger);
    check(elsewhere.ask("api", A), "forward: api");
}

#[test]
fn v1_the_listeners_network_comes_first() {
    let world = World::example();
    check(world.client("shop", "10.10.1.6").ask("db", A), "NOERROR: db A 10.10.1.3");
    check(world.client("blog", "10.10.2.6").ask("db", A), "NOERROR: db A 10.10.2.3");
    // However low its priority.
    let world = World::of([ranked("low", 1, -5, true), ranked("high", 2, 5, false)]);
    check(world.client("low", "10.20.1.6").ask("name", A), "NOERROR: name A 10.20.1.9");
    assert_eq!(order(&world, "low", "10.20.1.6"), ["low", "high"]);
}

#[test]
fn v1_then_priority_then_not_internal_then_name() {
    let world = World::of([
        ranked("own", 1, 0, false),
        ranked("e", 2, 0, true),
        ranked("d", 3, 0, true),
        ranked("c", 4, 0, false),
        ranked("b", 5, 0, false),
        ranked("a", 6, -1, false),
        ranked("z", 7, 9, true),
        ranked("y", 8, i32::MAX, false),
        ranked("x", 9, i32::MIN, false),
    ]);
    assert_eq!(order(&world, "own", "10.20.1.6"), ["own", "y", "z", "b", "c", "d", "e", "a", "x"]);
}

#[test]
fn v1_the_view_follows_attach_and_detach() {
    let world = World::example();
    let (shop, blog) = (world.network("shop"), world.network("blog"));
    let client = world.client("shop", "10.10.1.6");
    check(client.ask("site", A), "NOERROR: site A 10.10.2.4");
    blog.detach("proxy-1").unwrap();
    check(client.ask("site", A), "forward: site");
    blog.attach(named("proxy-1", &["10.10.2.77"], &[])).unwrap();
    check(client.ask("site", A), "NOERROR: site A 10.10.2.4");
    shop.attach(named("proxy-1", &["10.10.1.66"], &[])).unwrap();
    check(client.ask("site", A), "forward: site");
    check(world.client("shop", "10.10.1.66").ask("site", A), "NOERROR: site A 10.10.2.4");
    world.table.remove("blog").unwrap();
    check(world.client("shop", "10.10.1.66").ask("site", A), "forward: site");
    // A network of the same name, without the endpoint, is another network.
    world.table.add(crate::kit::blog().build().unwrap()).unwrap();
    check(world.client("shop", "10.10.1.66").ask("site", A), "NOERROR: site A 10.10.2.4");
}

#[test]
fn v2_a_name_outside_the_view_is_never_answered() {
    let secret = || {
        blog()
            .domain("blogs")
            .endpoint(
                endpoint("secret-1", &["10.10.2.50", "fd00:10:2::50"])
                    .names(["secret", "*.vault", "deep.under.secret"])
                    .port(callsign::table::Port::named("http", 80, callsign::table::Protocol::Tcp))
                    .build()
                    .unwrap(),
            )
            .alias("hidden", "hidden.example.com")
    };
    // The same world without the other network: nothing may differ.
    let (with, without) = (World::of([shop(), secret()]), World::of([shop()]));
    let names = [
        "secret",
        "SECRET",
        "secret.blog",
        "secret.blogs",
        "secret.blog.blogs",
        "secret-1",
        "site",
        "x.vault",
        "vault",
        "hidden",
        "blog",
        "blogs",
        "under.secret",
        "deep.under.secret",
        "_http._tcp.secret",
        "_80._tcp.secret",
        "_tcp.secret",
        "secret.internal",
        "secret.shop",
        "secret.blog.internal",
        "site.shop.internal",
        "50.2.10.10.in-addr.arpa",
        "2.10.10.in-addr.arpa",
        "0.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.0.1.0.0.0.0.d.f.ip6.arpa",
        // Known on both: each client sees its own alone.
        "db",
        "db.blog",
        "db.internal",
        "proxy",
    ];
    let types = [A, AAAA, PTR, SRV, ANY, TXT, RecordType::CNAME, RecordType::NS, RecordType::SOA, RecordType::HTTPS];
    for source in ["10.10.1.3", "10.10.1.200", "10.10.2.50"] {
        for (name, rtype) in names.into_iter().flat_map(|name| types.map(|rtype| (name, rtype))) {
            let packet = ask(name, rtype).packet();
            let outcome = |world: &World| {
                let client = world.client("shop", source).neighbours(&["10.10.2.0/24"]);
                let outcome = client.send(&packet);
                let text = outcome.to_string();
                let bytes = match outcome {
                    crate::kit::Outcome::Reply(reply) => reply.bytes,
                    _ => Vec::new(),
                };
                (text, bytes)
            };
            let (text, bytes) = outcome(&with);
            assert!(!text.contains("10.10.2.") && !text.contains("fd00:10:2:"), "{name} {rtype}: {text}");
            assert_eq!((&text, bytes), (&outcome(&without).0, outcome(&without).1), "{name} {rtype} from {source}");
        }
    }
    // Who may see it does.
    check(with.client("blog", "10.10.2.3").ask("secret", A), "NOERROR: secret A 10.10.2.50");
}

#[test]
fn v3_a_stranger_sees_only_the_listeners_network() {
    let world = World::example();
    for source in ["10.10.1.1", "10.10.1.200", "fd00:10:1::200"] {
        let stranger = world.client("shop", source);
        assert_eq!(stranger.explain("db", A).client, WhoAsks::Stranger);
        check(stranger.ask("db", A), "NOERROR: db A 10.10.1.3");
        check(stranger.ask("site", A), "forward: site");
        check(stranger.ask("4.2.10.10.in-addr.arpa", PTR), "forward: 4.2.10.10.in-addr.arpa");
    }
}

#[test]
fn v4_the_list_defaults_to_subnets_neighbours_and_endpoints() {
    let world = World::example();
    let refused = "REFUSED [18 this client may not ask here]";
    let client = |source| world.client("shop", source);
    for allowed in ["10.10.1.3", "10.10.1.254", "fd00:10:1::77", "::ffff:10.10.1.9"] {
        check(client(allowed).ask("db", A), "NOERROR: db A 10.10.1.3");
    }
    for forbidden in ["10.10.2.3", "127.0.0.1", "8.8.8.8", "fd00:10:2::1", "::1"] {
        check(client(forbidden).ask("db", A), refused);
        check(client(forbidden).ask("nothere.internal", A), refused);
        check(client(forbidden).ask("example.com", A), refused);
        check(client(forbidden).tcp().ask("localhost", A), refused);
        // Without an OPT there is no place for the extended error.
        check(client(forbidden).send(&ask("db", A).without_edns().packet()), "REFUSED");
        assert_eq!(client(forbidden).explain("db", A).client, WhoAsks::Forbidden);
        assert_eq!(client(forbidden).explain("db", A).rule, "V4");
    }
    // The interface's subnet and the host's own addresses, as the server finds them.
    check(client("127.0.0.1").neighbours(&["127.0.0.0/8", "192.168.7.0/24"]).ask("db", A), "NOERROR: db A 10.10.1.3");
    check(client("192.168.7.9").neighbours(&["127.0.0.0/8", "192.168.7.0/24"]).ask("db", A), "NOERROR: db A 10.10.1.3");
    // An endpoint whose address is in no subnet may ask, of course.
    world.network("shop").attach(named("far-1", &["172.30.0.9"], &["far"])).unwrap();
    check(client("172.30.0.9").ask("db", A), "NOERROR: db A 10.10.1.3");
}

#[test]
fn v4_a_list_of_its_own_replaces_the_default() {
    let world = World::of([shop().allow("10.10.1.3").allow("192.168.0.0/16")]);
    let refused = "REFUSED [18 this client may not ask here]";
    check(world.client("shop", "10.10.1.3").ask("db", A), "NOERROR: db A 10.10.1.3");
    check(world.client("shop", "192.168.9.9").ask("db", A), "NOERROR: db A 10.10.1.3");
    check(world.client("shop", "10.10.1.2").ask("db", A), refused);
    check(world.client("shop", "127.0.0.1").neighbours(&["127.0.0.0/8"]).ask("db", A), refused);
    // What cannot be read is refused too: a malformed query, another opcode, a transfer; header only.
    for packet in [
        &b"\0\x07\x01\0\0\0\0\0\0\0\0\0"[..],
        b"\0\x07\x28\0\0\0\0\0\0\0\0\0",
        b"\0\x07\0\0\0\x01\0\0\0\x01\0\0\x01x\0\0\xfb\0\x01",
    ] {
        check(world.client("shop", "10.10.1.2").send(packet), "REFUSED");
    }

    let world = World::of([shop().allow("0.0.0.0/0").allow("::/0")]);
    for anyone in ["8.8.8.8", "127.0.0.1", "2001:db8::1", "::ffff:8.8.8.8"] {
        check(world.client("shop", anyone).ask("db", A), "NOERROR: db A 10.10.1.3");
    }
}

#[test]
fn v5_nearest_lets_the_first_network_answer_alone() {
    let world = World::example();
    check(world.client("shop", "10.10.1.6").ask("db", A), "NOERROR: db A 10.10.1.3");
    // Alone, whatever it has of the type asked for.
    let v6 = named("blog-api-1", &["fd00:10:2::9"], &["db", "worker"]);
    world.network("blog").attach(v6).unwrap();
    check(world.client("shop", "10.10.1.6").ask("db", AAAA), "NOERROR (SOA db)");
    check(world.client("shop", "10.10.1.6").ask("worker", AAAA), "NOERROR (SOA worker) [0 worker is not running]");
    // A network that does not know it is passed over.
    check(world.client("blog", "10.10.2.6").ask("api", AAAA), "NOERROR: api AAAA fd00:10:1::2");
}

#[test]
fn v5_all_joins_the_addresses_in_view_order_each_once() {
    let join = |first: Merge, second: Merge| {
        World::of([
            shop().merge(first).endpoint(named("shop-db-2", &["10.10.1.33", "10.0.0.99"], &["db"])),
            blog().merge(second).endpoint(named("blog-db-2", &["10.0.0.99", "10.10.2.33"], &["db"])),
        ])
    };
    let world = join(Merge::All, Merge::Nearest);
    // Three of `shop`, of which one is on `blog` as well, then two of `blog`: in that order, rotated within.
    let mut first = [0; 3];
    let mut fourth = Vec::new();
    for _ in 0..6 {
        let addresses: Vec<String> =
            world.client("shop", "10.10.1.6").ask("db", A).addresses().iter().map(ToString::to_string).collect();
        let (shop, blog) = addresses.split_at(3);
        let known = ["10.10.1.3", "10.10.1.33", "10.0.0.99"];
        first[known.iter().position(|known| *known == shop[0]).expect("an address of shop first")] += 1;
        let mut shop = shop.to_vec();
        shop.sort();
        assert_eq!(shop, ["10.0.0.99", "10.10.1.3", "10.10.1.33"]);
        fourth.push(blog[0].clone());
        let mut blog = blog.to_vec();
        blog.sort();
        assert_eq!(blog, ["10.10.2.3", "10.10.2.33"]);
    }
    assert_eq!(first, [2, 2, 2], "rotated inside the group");
    assert!(fourth.contains(&"10.10.2.3".into()) && fourth.contains(&"10.10.2.33".into()), "{fourth:?}");
    // The policy is the listener's network's.
    assert_eq!(world.client("blog", "10.10.2.6").ask("db", A).addresses().len(), 3);
    assert_eq!(join(Merge::Nearest, Merge::All).client("shop", "10.10.1.6").ask("db", A).addresses().len(), 3);
    assert_eq!(join(Merge::Nearest, Merge::All).client("blog", "10.10.2.6").ask("db", A).addresses().len(), 5);
    // A client that is no endpoint has one network to join.
    assert_eq!(world.client("shop", "10.10.1.200").ask("db", A).addresses().len(), 3);
}

#[test]
fn v5_all_and_aliases() {
    let world = World::of([shop().merge(Merge::All), blog().alias("api", "far.example.com").alias("lone", "site")]);
    let client = world.client("shop", "10.10.1.6");
    // Addresses cannot be joined with a name: what comes first decides.
    check(client.ask("api", A), "NOERROR: api A 10.10.1.2");
    check(client.ask("lone", A), "NOERROR: lone CNAME site, site A 10.10.2.4");
    world.network("blog").attach(named("pay-1", &["10.10.2.70"], &["payments"])).unwrap();
    check(client.ask("payments", A), "forward: payments > payments.dev.example.com");
}

#[test]
fn v5_all_joins_each_family_and_passes_over_what_is_down() {
    let world = World::of([
        shop().merge(Merge::All),
        blog().endpoint(named("blog-api-1", &["10.10.2.2", "fd00:10:2::2"], &["api"])).endpoint(named(
            "blog-worker-1",
            &["10.10.2.7"],
            &["worker"],
        )),
    ]);
    let client = world.client("shop", "10.10.1.6");
    check(client.ask("api", AAAA), "NOERROR: api AAAA fd00:10:1::2, api AAAA fd00:10:2::2");
    check(client.ask("api", A), "NOERROR: api A 10.10.1.2, api A 10.10.2.2");
    check(client.ask("site", A), "NOERROR: site A 10.10.2.4");
    // Down on one network, running on the next.
    check(client.ask("worker", A), "NOERROR: worker A 10.10.2.7");
    let found = client.explain("worker", A).searched;
    let [shop, blog] = &found[..] else { panic!("{found:?}") };
    assert!(
        matches!(&shop.finding, Finding::Name { endpoints, .. } if endpoints[..] == ["shop-worker-1 (not running)"])
    );
    assert!(matches!(&blog.finding, Finding::Name { endpoints, .. } if endpoints[..] == ["blog-worker-1"]));
}

/// `shop` and `blog`, whose clients are known at each other's gateway, and `lab`, whose are not.
fn known() -> World {
    let lab = Network::builder("lab").subnet("10.10.3.0/24").endpoint(named("lab-db-1", &["10.10.3.3"], &["db"]));
    World::of([shop().clients(Clients::Table), blog().clients(Clients::Table), lab])
}

#[test]
fn v1_a_known_client_sees_all_its_networks_whichever_gateway_it_asks() {
    let world = known();
    world.network("blog").attach(named("blog-only-1", &["10.10.2.9", "fd00:10:2::9"], &["only"])).unwrap();
    for source in ["10.10.2.9", "fd00:10:2::9", "::ffff:10.10.2.9"] {
        let guest = world.client("shop", source);
        let elsewhere = WhoAsks::Elsewhere { id: "blog-only-1".into(), network: "blog".into() };
        assert_eq!(guest.explain("db", A).client, elsewhere);
        check(guest.ask("db", A), "NOERROR: db A 10.10.2.3");
        check(guest.ask("site", A), "NOERROR: site A 10.10.2.4");
        // T3.
        check(guest.ask("4.2.10.10.in-addr.arpa", PTR), "NOERROR: 4.2.10.10.in-addr.arpa PTR site");
        check(guest.ask("99.2.10.10.in-addr.arpa", PTR), "NXDOMAIN (SOA 99.2.10.10.in-addr.arpa)");
        // V2: the listener's network is not one of its own.
        for name in ["api", "api.shop", "api.internal", "shop-api-1", "internal", "2.1.10.10.in-addr.arpa"] {
            check(guest.ask(name, ANY), &format!("forward: {name}"));
        }
        // N10: the gateway is the one that it asks.
        check(guest.ask("host.docker.internal", A), "NOERROR: host.docker.internal A 10.10.1.1");
    }
    // A member of both is first where its address is, whichever it asks.
    assert_eq!(order(&world, "shop", "10.10.1.6"), ["shop", "blog"]);
    assert_eq!(order(&world, "shop", "10.10.2.6"), ["blog", "shop"]);
    check(world.client("shop", "10.10.2.6").ask("db", A), "NOERROR: db A 10.10.2.3");
    check(world.client("shop", "10.10.2.6").ask("api", A), "NOERROR: api A 10.10.1.2");
}

#[test]
fn v1_the_view_from_another_gateway_has_the_usual_order() {
    let known = |name, number, priority, internal| ranked(name, number, priority, internal).clients(Clients::Table);
    let world = World::of([
        known("asked", 0, 0, false).endpoint(named("proxy-1", &["10.20.0.66"], &[])),
        known("own", 1, -9, true),
        known("d", 3, 0, true),
        known("c", 4, 0, false),
        known("y", 8, i32::MAX, false),
        Network::builder("gateway").clients(Clients::Table),
    ]);
    assert_eq!(order(&world, "gateway", "10.20.1.6"), ["own", "y", "asked", "c", "d"]);
}

#[test]
fn v3_a_stranger_is_one_whichever_clients_are_known() {
    let world = known();
    for source in ["10.10.1.200", "10.10.1.1"] {
        let stranger = world.client("shop", source);
        assert_eq!(stranger.explain("db", A).client, WhoAsks::Stranger);
        check(stranger.ask("db", A), "NOERROR: db A 10.10.1.3");
        check(stranger.ask("site", A), "forward: site");
    }
    // Neither does a network say who its clients are, nor is it told who others' are, unless it says so.
    assert_eq!(
        world.client("shop", "10.10.3.3").neighbours(&["10.10.0.0/16"]).explain("db", A).client,
        WhoAsks::Stranger
    );
    check(world.client("lab", "10.10.2.9").neighbours(&["10.10.0.0/16"]).ask("db", A), "NOERROR: db A 10.10.3.3");
}

#[test]
fn v4_a_known_client_may_ask_unless_the_list_says_otherwise() {
    let refused = "REFUSED [18 this client may not ask here]";
    check(known().client("shop", "10.10.2.4").ask("db", A), "NOERROR: db A 10.10.2.3");
    check(known().client("shop", "10.10.2.5").ask("db", A), refused);
    let listed = World::of([shop().allow("10.10.2.4").clients(Clients::Table), blog().clients(Clients::Table)]);
    check(listed.client("shop", "10.10.2.4").ask("db", A), "NOERROR: db A 10.10.2.3");
    check(listed.client("shop", "10.10.2.3").ask("db", A), refused);
    check(listed.client("shop", "10.10.1.3").ask("db", A), refused);
}

#[test]
fn f1_f2_a_known_client_is_forwarded_for_as_its_own_networks_say() {
    let blog = || blog().clients(Clients::Table).upstream("10.0.2.53");
    let shop = || shop().clients(Clients::Table).upstream("10.0.1.53");
    let own = endpoint("own-1", &["10.10.2.8"]).upstream("10.0.8.53").build().unwrap();
    let world = World::of([shop(), blog().endpoint(own)]);
    let upstreams = |source| world.client("shop", source).ask("example.com", A).forwarded().upstreams;
    assert_eq!(upstreams("10.10.2.4"), ["10.0.2.53:53"]);
    assert_eq!(upstreams("10.10.2.8"), ["10.0.8.53:53"]);
    assert_eq!(upstreams("10.10.2.6"), ["10.0.2.53:53", "10.0.1.53:53"]);
    let blocked = "NXDOMAIN (SOA example.com) [15 this network is internal: nothing is forwarded]";
    check(World::of([shop(), blog().internal(true)]).client("shop", "10.10.2.4").ask("example.com", A), blocked);
    check(
        World::of([shop().internal(true), blog()]).client("shop", "10.10.2.4").ask("example.com", A),
        "forward: example.com",
    );
}

#[test]
fn t7_who_is_known_follows_every_change() {
    let world = known();
    let (shop, blog) = (world.network("shop"), world.network("blog"));
    let guest = world.client("shop", "10.10.2.4").neighbours(&["10.10.0.0/16"]);
    let is_known = || matches!(guest.explain("db", A).client, WhoAsks::Elsewhere { .. });
    assert!(is_known());
    blog.attach(named("blog-site-1", &["10.10.2.44"], &["site"])).unwrap();
    assert!(!is_known());
    blog.attach(named("late-1", &["10.10.2.4"], &[])).unwrap();
    assert!(is_known());
    blog.detach("late-1").unwrap();
    assert!(!is_known());
    blog.replace_all([named("blog-site-1", &["10.10.2.4"], &["site"])]).unwrap();
    assert!(is_known());
    blog.replace_with(&crate::kit::blog().build().unwrap()).unwrap();
    assert!(!is_known(), "the network no longer says so");
    blog.replace_with(&crate::kit::blog().clients(Clients::Table).build().unwrap()).unwrap();
    assert!(is_known());
    shop.replace_with(&crate::kit::shop().build().unwrap()).unwrap();
    assert!(!is_known(), "the network that is asked no longer says so");
    shop.replace_with(&crate::kit::shop().clients(Clients::Table).build().unwrap()).unwrap();
    world.table.remove("blog").unwrap();
    assert!(!is_known());
}
