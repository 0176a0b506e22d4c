//! Views.

use callsign::responder::{ClientIdentity, Finding};
use callsign::table::{Clients, EndpointState, Merge, Network, NetworkBuilder};
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
    assert_eq!(proxy.explain("db", A).client, ClientIdentity::Endpoint("proxy-1".into()));
    check(proxy.ask("site", A), "NOERROR: site A 10.10.2.4");
    // IPv4 in IPv6 form, as a socket for both families gives it, is IPv4.
    check(world.client("shop", "::ffff:10.10.1.6").ask("site", A), "NOERROR: site A 10.10.2.4");
    // The same address at another listener is nobody.
    let elsewhere = world.client("blog", "10.10.1.6").neighbours(&["10.0.0.0/8"]);
    assert_eq!(elsewhere.explain("db", A).client, ClientIdentity::Stranger);
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
        assert_eq!(stranger.explain("db", A).client, ClientIdentity::Stranger);
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
        assert_eq!(client(forbidden).explain("db", A).client, ClientIdentity::Forbidden);
        assert_eq!(client(forbidden).explain("db", A).rule.letter(), "V4");
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
    // But for a name of which nothing runs there (N7).
    check(world.client("shop", "10.10.1.6").ask("worker", AAAA), "NOERROR: worker AAAA fd00:10:2::9");
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
        let elsewhere = ClientIdentity::Elsewhere { id: "blog-only-1".into(), network: "blog".into() };
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
    // To a member of both the listener's comes first, whichever its address is on.
    assert_eq!(order(&world, "shop", "10.10.1.6"), ["shop", "blog"]);
    assert_eq!(order(&world, "shop", "10.10.2.6"), ["shop", "blog"]);
    assert_eq!(order(&world, "blog", "10.10.1.6"), ["blog", "shop"]);
    check(world.client("shop", "10.10.2.6").ask("db", A), "NOERROR: db A 10.10.1.3");
    check(world.client("shop", "10.10.2.6").ask("api", A), "NOERROR: api A 10.10.1.2");
}

#[test]
fn v2a_the_view_from_another_gateway_has_the_engines_order() {
    let known = |name, number, priority, internal| ranked(name, number, priority, internal).clients(Clients::Table);
    let world = World::of([
        known("asked", 0, 0, false).endpoint(named("proxy-1", &["10.20.0.66"], &[])),
        known("own", 1, -9, true),
        known("d", 3, 0, true),
        known("c", 4, 0, false),
        known("y", 8, i32::MAX, false),
        Network::builder("gateway").clients(Clients::Table),
    ]);
    assert_eq!(order(&world, "gateway", "10.20.1.6"), ["y", "asked", "c", "d", "own"]);
    assert_eq!(order(&world, "d", "10.20.1.6"), ["d", "y", "asked", "c", "own"]);
}

#[test]
fn v3_a_stranger_is_one_whichever_clients_are_known() {
    let world = known();
    for source in ["10.10.1.200", "10.10.1.1"] {
        let stranger = world.client("shop", source);
        assert_eq!(stranger.explain("db", A).client, ClientIdentity::Stranger);
        check(stranger.ask("db", A), "NOERROR: db A 10.10.1.3");
        check(stranger.ask("site", A), "forward: site");
    }
    // Neither does a network say who its clients are, nor is it told who others' are, unless it says so.
    assert_eq!(
        world.client("shop", "10.10.3.3").neighbours(&["10.10.0.0/16"]).explain("db", A).client,
        ClientIdentity::Stranger
    );
    check(world.client("lab", "10.10.2.9").neighbours(&["10.10.0.0/16"]).ask("db", A), "NOERROR: db A 10.10.3.3");
}

#[test]
fn v4_a_known_client_may_ask_unless_the_list_says_otherwise() {
    let refused = "REFUSED [18 this client may not ask here]";
    check(known().client("shop", "10.10.2.4").ask("db", A), "NOERROR: db A 10.10.2.3");
    check(known().client("shop", "10.10.3.5").ask("db", A), refused);
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
    assert_eq!(upstreams("10.10.2.6"), ["10.0.1.53:53", "10.0.2.53:53"]);
    // Of a stranger there, as its network says.
    assert_eq!(upstreams("10.10.2.99"), ["10.0.2.53:53"]);
    let blocked = "NXDOMAIN (SOA example.com) [15 this network is internal: nothing is forwarded]";
    for source in ["10.10.2.4", "10.10.2.99"] {
        check(World::of([shop(), blog().internal(true)]).client("shop", source).ask("example.com", A), blocked);
    }
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
    let is_known = || matches!(guest.explain("db", A).client, ClientIdentity::Elsewhere { .. });
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

const REFUSED: &str = "REFUSED [18 this client may not ask here]";

/// `shop` and `blog` with their clients known everywhere, `ovl` without a gateway, and `gw`, by which clients on `ovl` are
/// known: `task-1` is on `ovl` and `blog`, `lone-1` on nothing else.
fn docker() -> World {
    World::of([
        shop().clients(Clients::Table),
        blog().clients(Clients::Table),
        Network::builder("ovl")
            .subnet("10.0.5.0/24")
            .clients(Clients::Table)
            .endpoint(endpoint("task-1", &["10.0.5.3"]).name("task").priority(-1).build().unwrap())
            .endpoint(named("db-1", &["10.0.5.4"], &["db", "only"])),
        Network::builder("gw")
            .subnet("172.19.0.0/16")
            .clients(Clients::Identify)
            .endpoint(named("task-1", &["172.19.0.5"], &["hidden"]))
            .endpoint(named("lone-1", &["172.19.0.6"], &["lone"])),
    ])
}

#[test]
fn v2a_a_network_that_only_identifies_is_part_of_no_view() {
    let world = docker();
    world.network("blog").attach(endpoint("task-1", &["10.10.2.7"]).priority(1).build().unwrap()).unwrap();
    // Whichever of its addresses it asks from.
    for source in ["172.19.0.5", "10.0.5.3", "10.10.2.7"] {
        let task = world.client("shop", source);
        let ClientIdentity::Elsewhere { id, .. } = task.explain("db", A).client else { panic!("{source}") };
        assert_eq!((id.as_str(), order(&world, "shop", source)), ("task-1", vec!["blog".into(), "ovl".into()]));
        check(task.ask("only", A), "NOERROR: only A 10.0.5.4");
        check(task.ask("db", A), "NOERROR: db A 10.10.2.3");
        for name in ["hidden", "lone", "hidden.gw", "lone-1", "6.0.19.172.in-addr.arpa", "api"] {
            check(task.ask(name, ANY), &format!("forward: {name}"));
        }
        check(task.ask("7.2.10.10.in-addr.arpa", PTR), "NOERROR: 7.2.10.10.in-addr.arpa PTR task-1");
    }
    assert_eq!(order(&world, "blog", "172.19.0.5"), ["blog", "ovl"]);
    // One that is on nothing else has nothing to see, and a stranger there neither, at any gateway and at its own.
    for source in ["172.19.0.6", "172.19.0.99"] {
        for network in ["shop", "gw"] {
            check(world.client(network, source).ask("db", A), REFUSED);
            check(world.client(network, source).ask("example.com", A), REFUSED);
            assert_eq!(world.client(network, source).explain("db", A).client, ClientIdentity::Forbidden);
        }
    }
    // Asked itself it answers those that it knows, with their own networks.
    check(world.client("gw", "172.19.0.5").ask("only", A), "NOERROR: only A 10.0.5.4");
    check(world.client("gw", "10.10.1.3").ask("api", A), "NOERROR: api A 10.10.1.2");
    check(world.client("gw", "172.19.0.5").ask("hidden", A), "forward: hidden");
    check(world.client("gw", "172.19.0.1").on_host(&["172.19.0.1"]).ask("db", A), REFUSED);
    // A list that lets everybody in lets in nobody that it has nothing for.
    let open = Network::builder("gw").clients(Clients::Identify).allow("0.0.0.0/0");
    check(World::of([open]).client("gw", "172.19.0.99").ask("db", A), REFUSED);
}

#[test]
fn v2a_an_endpoint_of_a_network_comes_before_one_that_is_only_identified() {
    let world = World::of([
        shop().clients(Clients::Table),
        blog().clients(Clients::Table).endpoint(named("right-1", &["10.7.0.2"], &[])),
        Network::builder("gw")
            .clients(Clients::Identify)
            .endpoint(endpoint("shop-db-1", &["10.7.0.2"]).priority(9).build().unwrap()),
    ]);
    for network in ["shop", "blog", "gw"] {
        check(world.client(network, "10.7.0.2").ask("db", A), "NOERROR: db A 10.10.2.3");
    }
}

#[test]
fn v2a_an_unknown_address_is_a_stranger_of_the_network_in_whose_subnet_it_lies() {
    let lab = Network::builder("lab").subnet("10.10.3.0/24").endpoint(named("lab-db-1", &["10.10.3.3"], &["db"]));
    let nested = Network::builder("nested").subnet("10.10.0.0/16").clients(Clients::Table).endpoint(named(
        "nested-db-1",
        &["10.10.200.3"],
        &["db"],
    ));
    let world =
        World::of([shop().clients(Clients::Table), blog().clients(Clients::Table).domain("blogs"), lab, nested]);
    let stranger = world.client("shop", "10.10.2.77");
    assert_eq!(stranger.explain("db", A).client, ClientIdentity::StrangerElsewhere { network: "blog".into() });
    assert!(stranger.explain("db", A).to_string().contains("in a subnet of network blog: it sees that network only"));
    check(stranger.ask("db", A), "NOERROR: db A 10.10.2.3");
    check(stranger.ask("site.blogs", A), "NOERROR: site.blogs A 10.10.2.4");
    check(stranger.ask("77.2.10.10.in-addr.arpa", PTR), "NXDOMAIN (SOA 77.2.10.10.in-addr.arpa)");
    // V2: nothing of the network that it asks.
    for name in ["api", "api.internal", "nothere.internal", "2.1.10.10.in-addr.arpa", "web.shop"] {
        check(stranger.ask(name, A), &format!("forward: {name}"));
    }
    // The longest prefix; that of a network that says nothing of its clients does not count.
    check(world.client("shop", "10.10.250.1").ask("db", A), "NOERROR: db A 10.10.200.3");
    check(world.client("shop", "10.10.3.99").ask("db", A), "NOERROR: db A 10.10.200.3");
    check(world.client("nested", "10.10.2.77").ask("api", A), "forward: api");
    // A network that its own clients ask only is as it was.
    check(world.client("lab", "10.10.2.77").ask("db", A), REFUSED);
    // Outside all of them: only the list of the listener's network can let it in.
    check(world.client("shop", "192.0.2.1").ask("db", A), REFUSED);
    let open = World::of([shop().clients(Clients::Table).allow("0.0.0.0/0"), blog().clients(Clients::Table)]);
    check(open.client("shop", "192.0.2.1").ask("db", A), "NOERROR: db A 10.10.1.3");
    check(open.client("shop", "10.10.2.77").ask("db", A), "NOERROR: db A 10.10.2.3");
    // It follows the table.
    world.table.remove("blog").unwrap();
    check(stranger.ask("db", A), "NOERROR: db A 10.10.200.3");
    world.table.remove("nested").unwrap();
    check(stranger.ask("db", A), REFUSED);
    world.table.add(blog().clients(Clients::Table).build().unwrap()).unwrap();
    check(stranger.ask("db", A), "NOERROR: db A 10.10.2.3");
    world.network("blog").replace_with(&blog().build().unwrap()).unwrap();
    check(stranger.ask("db", A), REFUSED);
}

#[test]
fn v2a_the_host_is_a_stranger_of_the_listeners_network_whichever_of_its_addresses_it_has() {
    let world = docker();
    for source in ["10.10.1.1", "10.10.2.1", "172.19.0.1", "192.0.2.7"] {
        let host = world.client("shop", source).on_host(&["10.10.1.1", "10.10.2.1", "172.19.0.1", "192.0.2.7"]);
        let explanation = host.explain("db", A);
        assert_eq!(explanation.client, ClientIdentity::Host);
        assert!(explanation.to_string().contains(&format!("{source} is an address of this host")), "{explanation}");
        check(host.ask("db", A), "NOERROR: db A 10.10.1.3");
        check(host.ask("site", A), "forward: site");
    }
}

#[test]
fn v2a_an_address_that_was_given_to_another_is_the_new_ones_and_nobodys_in_between() {
    let world = docker();
    let (shop, blog) = (world.network("shop"), world.network("blog"));
    let who = |network| world.client(network, "10.10.1.6").explain("db", A).client;
    let of_shop = || ClientIdentity::StrangerElsewhere { network: "shop".into() };
    assert_eq!(who("shop"), ClientIdentity::Endpoint("proxy-1".into()));
    // Stopped, it is nobody; whose address it was sees no more of its other network.
    shop.update("proxy-1", |proxy| proxy.with_running(false)).unwrap();
    assert_eq!((who("shop"), who("blog")), (ClientIdentity::Stranger, of_shop()));
    check(world.client("shop", "10.10.1.6").ask("site", A), "forward: site");
    // About to run it is itself: its first process may ask before anybody says that it runs.
    shop.update("proxy-1", |proxy| proxy.with_state(EndpointState::Starting)).unwrap();
    assert_eq!(who("shop"), ClientIdentity::Endpoint("proxy-1".into()));
    shop.update("proxy-1", |proxy| proxy.with_running(false)).unwrap();
    // The new one has it although the old one is still known, whichever of them came first.
    shop.attach(named("new-1", &["10.10.1.6"], &[])).unwrap();
    assert_eq!(who("shop"), ClientIdentity::Endpoint("new-1".into()));
    assert_eq!(who("blog"), ClientIdentity::Elsewhere { id: "new-1".into(), network: "shop".into() });
    shop.update("proxy-1", |proxy| proxy.with_health(callsign::table::Health::Unhealthy)).unwrap();
    assert_eq!(who("shop"), ClientIdentity::Endpoint("new-1".into()));
    // Both running, which is a mistake of the source: the one that came last.
    shop.update("proxy-1", |proxy| proxy.with_running(true)).unwrap();
    assert_eq!(who("shop"), ClientIdentity::Endpoint("proxy-1".into()));
    shop.detach("proxy-1").unwrap();
    shop.detach("new-1").unwrap();
    assert_eq!((who("shop"), who("blog")), (ClientIdentity::Stranger, of_shop()));
    blog.detach("proxy-1").unwrap();
}

#[test]
fn v2a_five_hundred_networks_know_their_strangers() {
    let network = |number: u16| {
        let [high, low] = number.to_be_bytes();
        Network::builder(format!("n{number}"))
            .subnet(&format!("10.{high}.{low}.0/24"))
            .clients(Clients::Table)
            .endpoint(named("db", &[&format!("10.{high}.{low}.2")], &[]))
    };
    let world = World::of((0..500).map(network));
    for number in (0..500_u16).step_by(7) {
        let [high, low] = number.to_be_bytes();
        let stranger = world.client("n499", &format!("10.{high}.{low}.200"));
        check(stranger.ask("db", A), &format!("NOERROR: db A 10.{high}.{low}.2"));
    }
    check(world.client("n499", "10.99.0.1").ask("db", A), REFUSED);
}

#[test]
fn v3a_a_link_local_source_is_a_stranger_and_only_over_the_listeners_interface() {
    for clients in [Clients::Listener, Clients::Table] {
        // Even if somebody says that an endpoint has the address.
        let spy = || named("spy-1", &["10.10.1.66", "fe80::5", "169.254.7.7"], &["spy"]);
        let world = World::of([shop().clients(clients).endpoint(spy()), blog().clients(clients).endpoint(spy())]);
        for source in ["fe80::5", "fe80::1234", "febf::1"] {
            let client = |interface| world.client("shop", source).interfaces(&[7]).over(interface);
            assert_eq!(client(7).explain("db", A).client, ClientIdentity::Stranger);
            check(client(7).ask("db", A), "NOERROR: db A 10.10.1.3");
            check(client(7).ask("site", A), "forward: site");
            // From another network's bridge, and from nowhere in particular.
            for interface in [8, 0] {
                assert_eq!(client(interface).explain("db", A).client, ClientIdentity::Forbidden);
                check(client(interface).ask("db", A), REFUSED);
                check(client(interface).neighbours(&["fe80::/64"]).ask("db", A), REFUSED);
            }
            check(world.client("shop", source).over(7).ask("db", A), REFUSED);
        }
        // Over IPv4 nothing says which interface it was, but that of the listener may be in that subnet.
        check(world.client("shop", "169.254.7.7").ask("db", A), REFUSED);
        let near = world.client("shop", "169.254.7.7").neighbours(&["169.254.0.0/16"]);
        assert_eq!(near.explain("db", A).client, ClientIdentity::Stranger);
        check(near.ask("db", A), "NOERROR: db A 10.10.1.3");
        check(near.ask("site", A), "forward: site");
        check(world.client("shop", "::ffff:169.254.7.7").ask("db", A), REFUSED);
    }
    // A list of its own does not open it to other links, and holds for this one.
    let world = World::of([shop().allow("::/0").allow("0.0.0.0/0"), blog().allow("fd00::/8")]);
    let client = |network, interface| world.client(network, "fe80::5").interfaces(&[7]).over(interface);
    check(client("shop", 7).ask("db", A), "NOERROR: db A 10.10.1.3");
    check(client("shop", 8).ask("db", A), REFUSED);
    check(client("blog", 7).ask("db", A), REFUSED);
    check(world.client("shop", "169.254.7.7").ask("db", A), REFUSED);
}
