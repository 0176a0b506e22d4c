//! Names.

use std::time::Duration;

use callsign::table::{
    Endpoint, EndpointState, Health, HealthPolicy, Merge, Network, NetworkBuilder, Port, Protocol, Record,
};
use hickory_proto::rr::RecordType::{self, A, AAAA, ANY, CNAME, MX, SRV, TXT};

use crate::kit::{Asker, World, ask_labels, blog, check, endpoint, named, shop};

fn world_of(endpoints: &[(&str, &str, &[&str])]) -> World {
    let network = Network::builder("net").subnet("10.0.0.0/16").domain("internal").domain("corp.example");
    World::of([endpoints
        .iter()
        .fold(network, |network, (id, address, names)| network.endpoint(named(id, &[address], names)))])
}

fn client(world: &World) -> Asker<'_> {
    world.client("net", "10.0.255.1")
}

/// Checks who answers for `name`: the last octet of the address, or what else came.
#[track_caller]
fn finds(client: &Asker<'_>, name: &str, expected: &str) {
    let text = client.ask(name, A).to_string();
    let text = text.replace(&format!("NOERROR: {} A ", name.to_lowercase()), "");
    assert_eq!(text, expected, "{name}");
}

#[test]
fn n1_a_name_bare_and_under_network_and_domains() {
    let world = world_of(&[("id-1", "10.0.0.1", &["web", "two.dots.here"])]);
    let client = client(&world);
    for base in ["web", "two.dots.here", "id-1"] {
        for suffix in ["", ".net", ".internal", ".corp.example", ".net.internal", ".net.corp.example"] {
            finds(&client, &format!("{base}{suffix}"), "10.0.0.1");
        }
        // The suffixes in another order, or one of them twice, are not the name.
        for suffix in [".internal.net", ".net.net", ".example", ".internal.corp.example"] {
            let name = format!("{base}{suffix}");
            let ours = name.ends_with(".corp.example");
            let expected = if ours { "NXDOMAIN (SOA corp.example)".into() } else { format!("forward: {name}") };
            finds(&client, &name, &expected);
        }
    }
    // Without a domain.
    let world = World::example();
    let client = world.client("blog", "10.10.2.3");
    check(client.ask("site.blog", A), "NOERROR: site.blog A 10.10.2.4");
    check(client.ask("site.internal", A), "forward: site.internal");
}

#[test]
fn n1_the_id_is_a_name() {
    let hash = "3F2A9C5d7e8b4f6a1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b";
    assert_eq!(hash.len(), 64);
    let not_a_hash = "zf2a9c5d7e8b4f6a1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8";
    let world =
        world_of(&[(hash, "10.0.0.1", &["web"]), (not_a_hash, "10.0.0.2", &[]), ("Dotted.Id-3", "10.0.0.3", &[])]);
    let client = client(&world);
    finds(&client, "3f2a9c5d7e8b", "10.0.0.1");
    finds(&client, "3F2a9c5D7e8b", "10.0.0.1");
    finds(&client, "3f2a9c5d7e8b.net.internal", "10.0.0.1");
    finds(&client, "3f2a9c5d7e8", "forward: 3f2a9c5d7e8");
    finds(&client, "3f2a9c5d7e8b4", "forward: 3f2a9c5d7e8b4");
    finds(&client, not_a_hash, "10.0.0.2");
    finds(&client, &not_a_hash[..12], &format!("forward: {}", &not_a_hash[..12]));
    finds(&client, "dotted.id-3", "10.0.0.3");
    // An id that is among the names, too, is still one name with one address.
    let world = world_of(&[("web", "10.0.0.1", &["web"])]);
    finds(&self::client(&world), "web", "10.0.0.1");
}

#[test]
fn n2_a_whole_match_wins_then_the_longest_rest() {
    let world = world_of(&[
        ("whole", "10.0.0.1", &["db.internal"]),
        ("bare", "10.0.0.2", &["db"]),
        ("rest-long", "10.0.0.3", &["web.net"]),
        ("rest-short", "10.0.0.4", &["web"]),
    ]);
    let client = client(&world);
    finds(&client, "db", "10.0.0.2");
    finds(&client, "db.internal", "10.0.0.1");
    finds(&client, "db.net", "10.0.0.2");
    finds(&client, "db.internal.internal", "10.0.0.1");
    finds(&client, "web.net", "10.0.0.3");
    // `web.net.internal` less `internal` is `web.net`; less `net.internal` it is `web`.
    finds(&client, "web.net.internal", "10.0.0.3");
    finds(&client, "web.net.net.internal", "10.0.0.3");
    finds(&client, "web.corp.example", "10.0.0.4");
    finds(&client, "web.net.corp.example", "10.0.0.3");
    world.network("net").detach("rest-long").unwrap();
    finds(&client, "web.net.internal", "10.0.0.4");
    finds(&client, "web.net.corp.example", "10.0.0.4");
    world.network("net").detach("whole").unwrap();
    finds(&client, "db.internal", "10.0.0.2");
}

#[test]
fn n3_several_endpoints_give_all_their_addresses_each_once() {
    let world = World::example();
    let client = world.client("shop", "10.10.1.3");
    check(client.ask("web", A), "NOERROR: web A 10.10.1.4, web A 10.10.1.5");
    // One more, with an address that is there already, and several of its own.
    world
        .network("shop")
        .attach(named("shop-web-3", &["10.10.1.5", "10.10.1.8", "10.10.1.8", "fd00:10:1::8"], &["web", "web"]))
        .unwrap();
    check(client.ask("web", A), "NOERROR: web A 10.10.1.4, web A 10.10.1.5, web A 10.10.1.8");
    check(client.ask("web", AAAA), "NOERROR: web AAAA fd00:10:1::8");
    world.network("shop").detach("shop-web-2").unwrap();
    check(client.ask("web", A), "NOERROR: web A 10.10.1.4, web A 10.10.1.5, web A 10.10.1.8");
    world.network("shop").detach("shop-web-3").unwrap();
    check(client.ask("web", A), "NOERROR: web A 10.10.1.4");
    // The id and another's name are one name, too.
    world.network("shop").attach(named("web", &["10.10.1.9"], &[])).unwrap();
    check(client.ask("web", A), "NOERROR: web A 10.10.1.4, web A 10.10.1.9");
}

#[test]
fn n4_a_wildcard_covers_what_has_no_name_of_its_own() {
    let world = world_of(&[("edge", "10.0.0.1", &["*.apps"]), ("own", "10.0.0.2", &["own.apps"])]);
    let client = client(&world);
    for suffix in ["", ".net", ".internal", ".net.corp.example"] {
        finds(&client, &format!("x.apps{suffix}"), "10.0.0.1");
        finds(&client, &format!("a.b.c.apps{suffix}"), "10.0.0.1");
        finds(&client, &format!("own.apps{suffix}"), "10.0.0.2");
        // The wildcard itself, literally.
        finds(&client, &format!("*.apps{suffix}"), "10.0.0.1");
        // The parent is not below itself. Under a domain it is ours, and exists.
        let domain = suffix.strip_prefix(".net.").or(suffix.strip_prefix('.')).filter(|domain| *domain != "net");
        let expected = match domain {
            Some(domain) => format!("NOERROR (SOA {domain})"),
            None => format!("forward: apps{suffix}"),
        };
        finds(&client, &format!("apps{suffix}"), &expected);
    }
    // Below a name there is a name in between.
    finds(&client, "x.own.apps", "forward: x.own.apps");
    finds(&client, "x.own.apps.internal", "NXDOMAIN (SOA internal)");
    finds(&client, "apps.example", "forward: apps.example");
    finds(&client, "xapps", "forward: xapps");
    // What the wildcard has no data for is NODATA.
    check(client.ask("x.apps.internal", AAAA), "NOERROR (SOA internal)");
    // It goes as it came.
    world.network("net").detach("edge").unwrap();
    finds(&client, "x.apps.internal", "NXDOMAIN (SOA internal)");
}

#[test]
fn n4_the_closest_encloser_decides() {
    // The example of RFC 4592 §2.2.1, in our words.
    let world = World::of([Network::builder("net")
        .subnet("10.0.0.0/16")
        .domain("internal")
        .endpoint(named("star", &["10.0.0.1"], &["*.example"]))
        .endpoint(named("sub-star", &["10.0.0.2"], &["sub.*.example"]))
        .endpoint(named("host1", &["10.0.0.3"], &["host1.example"]))
        .endpoint(named("deep", &["10.0.0.4"], &["deep.ent.example"]))
        .endpoint(
            endpoint("srv", &["10.0.0.5"])
                .name("srv.example")
                .port(Port::named("ssh", 22, Protocol::Tcp))
                .build()
                .unwrap(),
        )
        .endpoint(named("inner", &["10.0.0.6"], &["*.inner.example"]))
        .alias("aka.example", "elsewhere.test")]);
    let client = client(&world);
    finds(&client, "host3.example.internal", "10.0.0.1");
    finds(&client, "foo.bar.example.internal", "10.0.0.1");
    check(client.ask("host3.example.internal", MX), "NOERROR (SOA internal)");
    // No synthesis: the name exists, it or a part of it, as a record, as a parent, as an alias, or as a service's.
    check(client.ask("host1.example.internal", MX), "NOERROR (SOA internal)");
    finds(&client, "telnet.host1.example.internal", "NXDOMAIN (SOA internal)");
    finds(&client, "sub.*.example.internal", "10.0.0.2");
    finds(&client, "ghost.*.example.internal", "NXDOMAIN (SOA internal)");
    check(client.ask("ent.example.internal", A), "NOERROR (SOA internal)");
    finds(&client, "x.ent.example.internal", "NXDOMAIN (SOA internal)");
    finds(&client, "x.deep.ent.example.internal", "NXDOMAIN (SOA internal)");
    finds(&client, "x.aka.example.internal", "NXDOMAIN (SOA internal)");
    check(client.ask("_ssh._tcp.srv.example.internal", A), "NOERROR (SOA internal)");
    finds(&client, "_telnet._tcp.srv.example.internal", "NXDOMAIN (SOA internal)");
    // The closest wildcard, and no other.
    finds(&client, "x.inner.example.internal", "10.0.0.6");
    check(client.ask("inner.example.internal", A), "NOERROR (SOA internal)");
    finds(&client, "y.x.inner.example.internal", "10.0.0.6");
}

#[test]
fn n4_services_are_names_in_between() {
    let ssh = Port::named("ssh", 22, Protocol::Tcp);
    let world = World::of([Network::builder("net")
        .subnet("10.0.0.0/16")
        .domain("internal")
        .endpoint(endpoint("srv", &["10.0.0.5"]).name("srv").port(ssh).build().unwrap())
        .endpoint(named("star", &["10.0.0.6"], &["*.srv"]))]);
    let client = client(&world);
    finds(&client, "x.srv.internal", "10.0.0.6");
    finds(&client, "_udp.srv.internal", "10.0.0.6");
    // `_tcp.srv` exists, as the parent of `_ssh._tcp.srv`.
    finds(&client, "_telnet._tcp.srv.internal", "NXDOMAIN (SOA internal)");
    finds(&client, "x._ssh._tcp.srv.internal", "NXDOMAIN (SOA internal)");
}

#[test]
fn n4_a_wildcard_under_a_domain_or_the_network_itself() {
    let world = world_of(&[
        ("all", "10.0.0.1", &["*.corp.example"]),
        ("net", "10.0.0.2", &["*.net"]),
        ("web", "10.0.0.3", &["web"]),
    ]);
    let client = client(&world);
    finds(&client, "anything.corp.example", "10.0.0.1");
    finds(&client, "web.corp.example", "10.0.0.3");
    finds(&client, "anything.net", "10.0.0.2");
    finds(&client, "web.net", "10.0.0.3");
    finds(&client, "x.web.net", "forward: x.web.net");
    finds(&client, "anything.internal", "NXDOMAIN (SOA internal)");
}

#[test]
fn n5_names_under_a_domain_are_ours() {
    let world = World::of([shop().domain("svc.cluster.example"), com()]);
    let client = world.client("shop", "10.10.1.3");
    for rtype in [A, AAAA, MX, SRV, TXT, ANY, RecordType::SOA, RecordType::Unknown(65_280)] {
        check(client.ask("nothere.internal", rtype), "NXDOMAIN (SOA internal)");
        check(client.ask("a.b.c.nothere.internal", rtype), "NXDOMAIN (SOA internal)");
        check(client.ask("x.svc.cluster.example", rtype), "NXDOMAIN (SOA svc.cluster.example)");
        check(client.ask("nothere.shop.internal", rtype), "NXDOMAIN (SOA internal)");
        // The domain is there.
        check(client.ask("internal", rtype), "NOERROR (SOA internal)");
        check(client.ask("shop.internal", rtype), "NOERROR (SOA internal)");
    }
    check(client.ask("NotHere.INTERNAL", A), "NXDOMAIN (SOA internal)");
    check(client.ask("cluster.example", A), "forward: cluster.example");
    check(client.ask("nothereinternal", A), "forward: nothereinternal");
    // One label, whose octets end like the domain in wire form.
    check(client.send(&ask_labels([&b"x\x08internal"[..]], A).packet()), "forward: x\\008internal");
    // Names that merely end in a network's name are not ours.
    check(client.ask("foo.shop", A), "forward: foo.shop");
    let client = world.client("com", "10.30.0.3");
    check(client.ask("foo.com", A), "forward: foo.com");
    check(client.ask("www.example.com", A), "forward: www.example.com");
    check(client.ask("web.com", A), "NOERROR: web.com A 10.30.0.3");
}

fn com() -> NetworkBuilder {
    Network::builder("com").subnet("10.30.0.0/24").endpoint(named("com-web-1", &["10.30.0.3"], &["web"]))
}

#[test]
fn n5_the_domains_of_the_whole_view_are_ours_and_no_others() {
    let world = World::of([shop(), blog().domain("blogs.example")]);
    check(world.client("shop", "10.10.1.6").ask("x.blogs.example", A), "NXDOMAIN (SOA blogs.example)");
    check(world.client("blog", "10.10.2.6").ask("x.internal", A), "NXDOMAIN (SOA internal)");
    check(world.client("shop", "10.10.1.3").ask("x.blogs.example", A), "forward: x.blogs.example");
    check(world.client("blog", "10.10.2.3").ask("x.internal", A), "forward: x.internal");
}

#[test]
fn n6_a_parent_is_no_data_where_it_is_ours() {
    let world = World::of([shop()
        .endpoint(named("deep-1", &["10.10.1.40"], &["a.b.c", "*.apps", "x.y.db"]))
        .record(Record::parse("_x._udp.static", "TXT", "hello", None).unwrap())
        .alias("far.away", "example.com")]);
    let client = world.client("shop", "10.10.1.3");
    for rtype in [A, AAAA, SRV, TXT, ANY] {
        // Below a name that an endpoint carries.
        for parent in ["_tcp.api", "_tcp.web", "y.db"] {
            check(client.ask(parent, rtype), &format!("NOERROR (SOA {parent})"));
            check(client.ask(&format!("{parent}.internal"), rtype), "NOERROR (SOA internal)");
            check(client.ask(&format!("{parent}.shop"), rtype), &format!("NOERROR (SOA {parent}.shop)"));
        }
        // Under a domain, and not outside.
        for parent in ["b.c", "c", "apps", "_udp.static", "static", "away"] {
            check(client.ask(&format!("{parent}.internal"), rtype), "NOERROR (SOA internal)");
            check(client.ask(&format!("{parent}.shop.internal"), rtype), "NOERROR (SOA internal)");
            check(client.ask(parent, rtype), &format!("forward: {parent}"));
            check(client.ask(&format!("{parent}.shop"), rtype), &format!("forward: {parent}.shop"));
        }
    }
    // No such service, no such protocol: nothing there, nothing above it.
    check(client.ask("_gopher._tcp.api.internal", SRV), "NXDOMAIN (SOA internal)");
    check(client.ask("_http._udp.api.internal", SRV), "NXDOMAIN (SOA internal)");
    check(client.ask("_udp.api.internal", SRV), "NXDOMAIN (SOA internal)");
    check(client.ask("_tcp.db.internal", SRV), "NXDOMAIN (SOA internal)");
    // The last child takes its parents along; the first child of another keeps them.
    world.network("shop").attach(named("deep-2", &["10.10.1.41"], &["z.c"])).unwrap();
    world.network("shop").detach("deep-1").unwrap();
    check(client.ask("b.c.internal", A), "NXDOMAIN (SOA internal)");
    check(client.ask("c.internal", A), "NOERROR (SOA internal)");
    world.network("shop").detach("deep-2").unwrap();
    check(client.ask("c.internal", A), "NXDOMAIN (SOA internal)");
}

#[test]
fn n6_the_parents_of_a_dotted_name_elsewhere_are_forwarded() {
    let api = || named("api-1", &["10.10.1.40"], &["api.example.com"]);
    let world = World::of([shop().endpoint(api()), blog().internal(true).endpoint(api())]);
    let client = world.client("shop", "10.10.1.3");
    check(client.ask("api.example.com", A), "NOERROR: api.example.com A 10.10.1.40");
    for name in ["example.com", "com", "www.example.com", "x.api.example.com"] {
        check(client.ask(name, A), &format!("forward: {name}"));
        check(client.ask(name, SRV), &format!("forward: {name}"));
    }
    assert_eq!(client.explain("com", A).rule.letter(), "F1");
    let blocked = "NXDOMAIN (SOA com) [15 this network is internal: nothing is forwarded]";
    check(world.client("blog", "10.10.2.3").ask("com", A), blocked);
    // A domain of any network of the view makes it ours.
    let world = World::of([shop().endpoint(api()), blog().domain("example.com")]);
    check(world.client("shop", "10.10.1.6").ask("example.com", A), "NOERROR (SOA example.com)");
    check(world.client("shop", "10.10.1.3").ask("example.com", A), "forward: example.com");
}

#[test]
fn n6_a_service_is_found_where_a_record_lies_below_it() {
    let world = World::of([shop().record(Record::parse("note._http._tcp.api", "TXT", "below", None).unwrap())]);
    let client = world.client("shop", "10.10.1.3");
    assert_eq!(client.ask("_http._tcp.api", SRV).reply().message.answers.len(), 1);
    check(client.ask("_tcp.api", SRV), "NOERROR (SOA _tcp.api)");
}

#[test]
fn n6_parents_between_a_domain_and_a_networks_dotted_name() {
    let dotted = Network::builder("eu.shop").subnet("10.40.0.0/24").domain("internal");
    let world = World::of([dotted.endpoint(named("eu-db-1", &["10.40.0.3"], &["db"]))]);
    let client = world.client("eu.shop", "10.40.0.3");
    check(client.ask("db.eu.shop.internal", A), "NOERROR: db.eu.shop.internal A 10.40.0.3");
    check(client.ask("eu.shop.internal", A), "NOERROR (SOA internal)");
    check(client.ask("shop.internal", A), "NOERROR (SOA internal)");
    // Not under a domain.
    check(client.ask("eu.shop", A), "forward: eu.shop");
    check(client.ask("shop", A), "forward: shop");
    check(client.ask("x.shop.internal", A), "NXDOMAIN (SOA internal)");
}

#[test]
fn n7_a_stopped_endpoint_keeps_its_names() {
    let world = World::of([
        shop().endpoint(named("edge-1", &["10.10.1.50"], &["*.internal", "*.jobs"])).endpoint(
            endpoint("shop-job-1", &["10.10.1.51"])
                .names(["nightly.jobs"])
                .port(Port::named("http", 80, Protocol::Tcp))
                .running(false)
                .build()
                .unwrap(),
        ),
        blog().endpoint(named("blog-worker-1", &["10.10.2.7"], &["worker"])),
    ]);
    let client = world.client("shop", "10.10.1.3");
    let down = "[0 worker is not running]";
    for rtype in [A, AAAA, MX, ANY, TXT, CNAME] {
        check(client.ask("worker", rtype), &format!("NOERROR (SOA worker) {down}"));
        check(client.ask("worker.internal", rtype), &format!("NOERROR (SOA internal) {down}"));
        check(client.ask("WORKER.shop", rtype), &format!("NOERROR (SOA worker.shop) {down}"));
    }
    check(client.ask("shop-worker-1", A), "NOERROR (SOA shop-worker-1) [0 shop-worker-1 is not running]");
    check(client.send(&crate::kit::ask("worker", A).without_edns().packet()), "NOERROR (SOA worker)");
    // No wildcard answers for it.
    check(client.ask("nightly.jobs", A), "NOERROR (SOA nightly.jobs) [0 nightly.jobs is not running]");
    check(client.ask("other.jobs", A), "NOERROR: other.jobs A 10.10.1.50");
    check(
        client.ask("_http._tcp.nightly.jobs.internal", SRV),
        "NOERROR (SOA internal) [0 nightly.jobs is not running]",
    );
    // One of two is down: the other answers, and nothing is said.
    let network = world.network("shop");
    network.update("shop-web-1", |web| web.with_running(false)).unwrap();
    check(client.ask("web", A), "NOERROR: web A 10.10.1.5");
    check(client.ask("web", AAAA), "NOERROR (SOA web)");
    network.update("shop-web-2", |web| web.with_running(false)).unwrap();
    check(client.ask("web", A), "NOERROR (SOA web) [0 web is not running]");
    network.update("shop-worker-1", |worker| worker.with_running(true)).unwrap();
    check(client.ask("worker", A), "NOERROR: worker A 10.10.1.7");
    network.detach("shop-worker-1").unwrap();
    check(client.ask("worker", A), "forward: worker");
}

/// A network that holds questions for 2 s, with a db that is about to start.
fn starting(policy: HealthPolicy) -> World {
    let db = endpoint("shop-db-2", &["10.10.1.60"]).names(["db-2"]).state(EndpointState::Starting).build().unwrap();
    World::of([shop().hold(Duration::from_secs(2)).health(policy).endpoint(db)])
}

#[test]
fn n11_an_address_of_what_is_about_to_start_is_waited_for() {
    let world = starting(HealthPolicy::Prefer);
    let client = world.client("shop", "10.10.1.3");
    for (name, rtype) in [("db-2", A), ("db-2", AAAA), ("DB-2.shop", A), ("shop-db-2.internal", A)] {
        check(client.ask(name, rtype), "held for 2 s");
    }
    for rtype in [TXT, MX, ANY] {
        check(client.ask("db-2", rtype), "NOERROR (SOA db-2) [0 db-2 is not running]");
    }
    let waited = world.client("shop", "10.10.1.3").waited();
    check(waited.ask("db-2", A), "NOERROR (SOA db-2) [0 db-2 is not running]");
    world.network("shop").update("shop-db-2", |db| db.with_state(EndpointState::Up)).unwrap();
    check(client.ask("db-2", A), "NOERROR: db-2 A 10.10.1.60");
    check(client.ask("db-2", AAAA), "NOERROR (SOA db-2)");
}

#[test]
fn n11_what_was_stopped_answers_or_does_not_exist_is_not_waited_for() {
    let world = starting(HealthPolicy::Prefer);
    let client = world.client("shop", "10.10.1.3");
    check(client.ask("worker", A), "NOERROR (SOA worker) [0 worker is not running]");
    check(client.ask("nothere.internal", A), "NXDOMAIN (SOA internal)");
    // One of two replicas answers.
    let replica = endpoint("shop-web-3", &["10.10.1.61"]).names(["web"]).state(EndpointState::Starting);
    world.network("shop").attach(replica.build().unwrap()).unwrap();
    check(client.ask("web", AAAA), "NOERROR (SOA web)");
    // One of two was stopped, the other one restarts.
    let replica = endpoint("shop-worker-2", &["10.10.1.62"]).names(["worker"]).state(EndpointState::Starting);
    world.network("shop").attach(replica.build().unwrap()).unwrap();
    check(client.ask("worker", A), "held for 2 s");
}

#[test]
fn n11_off_by_default_and_never_longer_than_3_5_s() {
    let db = || endpoint("shop-db-2", &["10.10.1.60"]).names(["db-2"]).state(EndpointState::Starting).build().unwrap();
    let world = World::of([shop().endpoint(db())]);
    check(world.client("shop", "10.10.1.3").ask("db-2", A), "NOERROR (SOA db-2) [0 db-2 is not running]");
    let world = World::of([shop().hold(Duration::from_secs(60)).endpoint(db())]);
    check(world.client("shop", "10.10.1.3").ask("db-2", A), "held for 3.5 s");
}

#[test]
fn n11_a_first_health_check_is_waited_for_where_health_is_required() {
    for (policy, health, expected) in [
        (HealthPolicy::Require, Health::Starting, "held for 2 s"),
        (HealthPolicy::Require, Health::Unhealthy, "NOERROR (SOA db-2)"),
        (HealthPolicy::Prefer, Health::Starting, "NOERROR: db-2 A 10.10.1.60"),
    ] {
        let world = starting(policy);
        let start = |db: Endpoint| db.with_state(EndpointState::Up).with_health(health);
        world.network("shop").update("shop-db-2", start).unwrap();
        check(world.client("shop", "10.10.1.3").ask("db-2", A), expected);
    }
}

#[test]
fn n7_a_stopped_endpoint_never_shadows_a_running_one() {
    let http = || Port::named("http", 80, Protocol::Tcp);
    let stopped =
        |id: &str, name: &str| endpoint(id, &["10.10.1.70"]).name(name).port(http()).running(false).build().unwrap();
    let running = |id: &str, name: &str| endpoint(id, &["10.10.2.70"]).name(name).port(http()).build().unwrap();
    for merge in [Merge::Nearest, Merge::All] {
        // On a later network of the view; not by a wildcard, an alias or a parent there.
        let world = World::of([
            shop()
                .merge(merge)
                .endpoint(stopped("old-1", "job"))
                .endpoint(stopped("old-2", "one.jobs"))
                .endpoint(stopped("old-3", "aka")),
            blog()
                .merge(merge)
                .endpoint(running("new-1", "job"))
                .endpoint(running("new-2", "*.jobs"))
                .alias("aka", "elsewhere.example")
                .endpoint(running("new-3", "sub.old-1")),
        ]);
        let client = world.client("shop", "10.10.1.6");
        check(client.ask("job", A), "NOERROR: job A 10.10.2.70");
        check(client.ask("job", AAAA), "NOERROR (SOA job)");
        check(client.ask("_http._tcp.job", SRV), "NOERROR: _http._tcp.job SRV 0 1 80 new-1 + new-1 A 10.10.2.70");
        check(client.ask("one.jobs", A), "NOERROR (SOA one.jobs) [0 one.jobs is not running]");
        check(client.ask("two.jobs", A), "NOERROR: two.jobs A 10.10.2.70");
        check(client.ask("aka", A), "NOERROR (SOA aka) [0 aka is not running]");
        check(client.ask("old-1", A), "NOERROR (SOA old-1) [0 old-1 is not running]");
        assert_eq!(client.explain("aka", A).rule.letter(), "N7");
        // With neither running the first is told of.
        world.network("blog").update("new-1", |job| job.with_running(false)).unwrap();
        check(client.ask("job", A), "NOERROR (SOA job) [0 job is not running]");
        check(client.ask("_http._tcp.job", SRV), "NOERROR (SOA _http._tcp.job) [0 job is not running]");
    }
    // On the same network: by the same name, and by one that is found less a suffix.
    let world = World::of([shop()
        .endpoint(stopped("old-1", "job"))
        .endpoint(named("new-1", &["10.10.1.71"], &["job"]))
        .endpoint(stopped("old-2", "task.internal"))
        .endpoint(named("new-2", &["10.10.1.72"], &["task"]))
        .endpoint(stopped("old-3", "dead.internal"))
        .endpoint(stopped("old-4", "dead"))]);
    let client = world.client("shop", "10.10.1.3");
    check(client.ask("job", A), "NOERROR: job A 10.10.1.71");
    check(client.ask("job", AAAA), "NOERROR (SOA job)");
    check(client.ask("task.internal", A), "NOERROR: task.internal A 10.10.1.72");
    check(client.ask("dead.internal", A), "NOERROR (SOA internal) [0 dead.internal is not running]");
    world.network("shop").update("old-2", |task| task.with_running(true)).unwrap();
    check(client.ask("task.internal", A), "NOERROR: task.internal A 10.10.1.70");
    // By its address: that of the stopped one was given to the other.
    let world =
        World::of([shop().endpoint(named("new-1", &["10.10.1.70"], &["job"])).endpoint(stopped("old-1", "gone"))]);
    check(
        world.client("shop", "10.10.1.3").ask("70.1.10.10.in-addr.arpa", RecordType::PTR),
        "NOERROR: 70.1.10.10.in-addr.arpa PTR job.internal",
    );
}

#[test]
fn n7_static_records_of_a_stopped_name_are_no_error() {
    let record = |rtype, value| Record::parse("worker", rtype, value, None).unwrap();
    let world = World::of([shop().record(record("TXT", "owner=ops")).record(record("A", "10.10.1.99"))]);
    let client = world.client("shop", "10.10.1.3");
    check(client.ask("worker", TXT), "NOERROR: worker TXT owner=ops");
    check(client.ask("worker", A), "NOERROR: worker A 10.10.1.99");
    check(client.ask("worker", AAAA), "NOERROR (SOA worker) [0 worker is not running]");
}

fn health(policy: HealthPolicy) -> World {
    let replica = |number: u8| -> Endpoint {
        let address = format!("10.10.1.{}", 60 + number);
        endpoint(&format!("pool-{number}"), &[&address])
            .name("pool")
            .port(Port::named("http", 80, Protocol::Tcp))
            .build()
            .unwrap()
    };
    World::of([shop().health(policy).endpoint(replica(1)).endpoint(replica(2)).endpoint(replica(3))])
}

fn mark(world: &World, number: u8, health: Health) {
    world.network("shop").update(&format!("pool-{number}"), |pool| pool.with_health(health)).unwrap();
}

#[test]
fn n8_unhealthy_endpoints_are_left_out_while_one_is_healthy() {
    let world = health(HealthPolicy::default());
    let client = world.client("shop", "10.10.1.3");
    let all = "NOERROR: pool A 10.10.1.61, pool A 10.10.1.62, pool A 10.10.1.63";
    check(client.ask("pool", A), all);
    mark(&world, 1, Health::Unhealthy);
    check(client.ask("pool", A), "NOERROR: pool A 10.10.1.62, pool A 10.10.1.63");
    mark(&world, 2, Health::Unhealthy);
    check(client.ask("pool", A), "NOERROR: pool A 10.10.1.63");
    // Its own name is another name, and there none is healthy.
    check(client.ask("pool-1", A), "NOERROR: pool-1 A 10.10.1.61");
    mark(&world, 3, Health::Unhealthy);
    check(client.ask("pool", A), all);
    // A healthy one that is not running does not count.
    mark(&world, 3, Health::Healthy);
    world.network("shop").update("pool-3", |pool| pool.with_running(false)).unwrap();
    check(client.ask("pool", A), "NOERROR: pool A 10.10.1.61, pool A 10.10.1.62");
    mark(&world, 1, Health::Healthy);
    check(client.ask("pool", A), "NOERROR: pool A 10.10.1.61");
}

#[test]
fn n8_policies_ignore_and_require() {
    let world = health(HealthPolicy::Ignore);
    mark(&world, 1, Health::Unhealthy);
    check(
        world.client("shop", "10.10.1.3").ask("pool", A),
        "NOERROR: pool A 10.10.1.61, pool A 10.10.1.62, pool A 10.10.1.63",
    );

    let world = health(HealthPolicy::Require);
    let client = world.client("shop", "10.10.1.3");
    mark(&world, 1, Health::Unhealthy);
    check(client.ask("pool", A), "NOERROR: pool A 10.10.1.62, pool A 10.10.1.63");
    mark(&world, 2, Health::Unhealthy);
    mark(&world, 3, Health::Unhealthy);
    check(client.ask("pool", A), "NOERROR (SOA pool)");
    check(client.ask("pool.internal", A), "NOERROR (SOA internal)");
    check(client.ask("_http._tcp.pool", SRV), "NOERROR (SOA _http._tcp.pool)");
    check(client.ask("pool-1", A), "NOERROR (SOA pool-1)");
}

#[test]
fn n9_a_remote_alias_leads_upstream() {
    let world = World::of([shop().ttl(7)]);
    let client = world.client("shop", "10.10.1.3");
    for name in ["payments", "payments.shop", "payments.internal", "payments.shop.internal"] {
        for rtype in [A, AAAA, MX, TXT, SRV] {
            let forwarded = client.ask(name, rtype).forwarded();
            assert_eq!(forwarded.target.to_string(), "payments.dev.example.com");
            assert_eq!(forwarded.aliases, [(name.to_owned(), "payments.dev.example.com".to_owned(), 7)]);
        }
        // The alias itself is here.
        check(client.ask(name, CNAME), &format!("NOERROR: {name} CNAME payments.dev.example.com"));
        check(client.ask(name, ANY), &format!("NOERROR: {name} CNAME payments.dev.example.com"));
    }
}

#[test]
fn n9_only_while_no_endpoint_carries_the_name() {
    let world = World::example();
    let client = world.client("shop", "10.10.1.3");
    let network = world.network("shop");
    check(client.ask("payments", A), "forward: payments > payments.dev.example.com");
    network.attach(named("pay-1", &["10.10.1.70"], &["payments"])).unwrap();
    check(client.ask("payments", A), "NOERROR: payments A 10.10.1.70");
    check(client.ask("payments.internal", AAAA), "NOERROR (SOA internal)");
    check(client.ask("payments", CNAME), "NOERROR (SOA payments)");
    check(client.ask("payments", ANY), "NOERROR: payments A 10.10.1.70");
    // A stopped one carries it still.
    network.update("pay-1", |pay| pay.with_running(false)).unwrap();
    check(client.ask("payments", A), "NOERROR (SOA payments) [0 payments is not running]");
    network.attach(named("pay-1", &["10.10.1.70"], &["renamed"])).unwrap();
    check(client.ask("payments", A), "forward: payments > payments.dev.example.com");
    network.attach(named("payments", &["10.10.1.71"], &[])).unwrap();
    check(client.ask("payments", A), "NOERROR: payments A 10.10.1.71");
    network.detach("payments").unwrap();
    check(client.ask("payments", A), "forward: payments > payments.dev.example.com");
    network.replace_all([]).unwrap();
    check(world.client("shop", "10.10.1.3").ask("payments", A), "forward: payments > payments.dev.example.com");
}

#[test]
fn n9_an_alias_of_a_local_name() {
    let world = World::of([
        shop()
            .alias("primary", "db.internal")
            .alias("first", "second")
            .alias("second", "payments")
            .alias("gone", "nothere.internal")
            .alias("stopped", "worker")
            .alias("self", "localhost")
            .alias("onion", "x.onion")
            .alias("*.cdn", "web"),
        blog(),
    ]);
    let client = world.client("shop", "10.10.1.3");
    check(client.ask("primary", A), "NOERROR: db.internal A 10.10.1.3, primary CNAME db.internal");
    check(client.ask("primary", AAAA), "NOERROR: primary CNAME db.internal (SOA internal)");
    check(client.ask("gone", A), "NXDOMAIN: gone CNAME nothere.internal (SOA internal)");
    check(client.ask("stopped", A), "NOERROR: stopped CNAME worker (SOA worker) [0 worker is not running]");
    check(client.ask("self", A), "NOERROR: localhost A 127.0.0.1, self CNAME localhost");
    check(client.ask("onion", A), "NXDOMAIN: onion CNAME x.onion (SOA x.onion)");
    check(client.ask("x.cdn", A), "NOERROR: web A 10.10.1.4, web A 10.10.1.5, x.cdn CNAME web");
    // To an alias, and on upstream.
    let forwarded = client.ask("first.internal", A).forwarded();
    assert_eq!(
        forwarded.aliases.iter().map(|(owner, target, _)| format!("{owner} > {target}")).collect::<Vec<_>>(),
        ["first.internal > second", "second > payments", "payments > payments.dev.example.com"]
    );
    check(client.ask("first", CNAME), "NOERROR: first CNAME second");
    // The chain stands in the answer in its order, each owner the one before's target.
    world.network("shop").attach(named("pay-1", &["10.10.1.70"], &["payments"])).unwrap();
    let reply = client.ask("first", A).reply();
    let chain: Vec<String> = reply.message.answers.iter().map(|r| format!("{} {}", r.name, r.record_type())).collect();
    assert_eq!(chain, ["first. CNAME", "second. CNAME", "payments. A"]);
}

#[test]
fn n9_chains_of_eight_pass_and_nine_and_loops_fail() {
    let chain = |network: NetworkBuilder, prefix: &str, len: usize, last: &str| {
        (1..=len).fold(network, |network, number| {
            let target = if number == len { last.to_owned() } else { format!("{prefix}{}", number + 1) };
            network.alias(&format!("{prefix}{number}"), &target)
        })
    };
    let mut network = chain(shop(), "eight", 8, "db");
    network = chain(network, "nine", 9, "db");
    network = chain(network, "far", 8, "far.example.com");
    network = chain(network, "farther", 9, "far.example.com");
    network = chain(network, "circle", 3, "circle1");
    let world = World::of([network.alias("narcissus", "narcissus").alias("echo", "echo.internal")]);
    let client = world.client("shop", "10.10.1.3");

    let reply = client.ask("eight1", A).reply();
    assert_eq!((reply.rcode(), reply.message.answers.len()), (0, 9));
    assert_eq!(client.ask("far1", A).forwarded().aliases.len(), 8);
    assert_eq!(client.ask("nine2", A).reply().message.answers.len(), 9);
    for name in ["nine1", "farther1", "circle1", "circle3", "narcissus", "echo", "echo.internal"] {
        let reply = client.ask(name, A).reply();
        assert_eq!((reply.rcode(), reply.message.answers.len()), (2, 0), "{name}");
        assert!(!reply.message.metadata.authoritative && reply.message.authorities.is_empty(), "{name}");
        assert_eq!(reply.extended_error().unwrap().0, 0, "{name}");
    }
    check(client.ask("narcissus", CNAME), "NOERROR: narcissus CNAME narcissus");
}

#[test]
fn n10_the_gateways_names() {
    let names = ["host.docker.internal", "gateway.docker.internal", "host.containers.internal"];
    let world = World::of([
        blog(),
        Network::builder("both").subnet("10.5.0.0/16").gateway("10.5.0.1").gateway("fd00:5::1").listen("10.5.0.9:5300"),
        Network::builder("nowhere").subnet("10.6.0.0/16"),
    ]);
    for name in names {
        // The listen address, unless a gateway is given.
        check(world.client("blog", "10.10.2.3").ask(name, A), &format!("NOERROR: {name} A 10.10.2.1"));
        check(world.client("blog", "10.10.2.3").ask(name, AAAA), &format!("NOERROR (SOA {name})"));
        check(world.client("blog", "10.10.2.3").ask(name, MX), &format!("NOERROR (SOA {name})"));
        check(world.client("both", "10.5.0.2").ask(name, A), &format!("NOERROR: {name} A 10.5.0.1"));
        check(world.client("both", "10.5.0.2").ask(name, AAAA), &format!("NOERROR: {name} AAAA fd00:5::1"));
        check(world.client("nowhere", "10.6.0.2").ask(name, A), &format!("forward: {name}"));
    }
    check(
        world.client("blog", "10.10.2.3").ask("HOST.Docker.internal", A),
        "NOERROR: host.docker.internal A 10.10.2.1",
    );
}

#[test]
fn n10_the_listeners_network_names_its_gateway() {
    let world = World::example();
    check(
        world.client("shop", "10.10.1.6").ask("host.docker.internal", A),
        "NOERROR: host.docker.internal A 10.10.1.1",
    );
    check(
        world.client("blog", "10.10.2.6").ask("host.docker.internal", A),
        "NOERROR: host.docker.internal A 10.10.2.1",
    );
}

#[test]
fn n10_an_endpoint_or_alias_that_carries_the_name_comes_first() {
    let world = World::of([
        shop()
            .endpoint(named("mock-1", &["10.10.1.80"], &["host.docker.internal"]))
            .endpoint(named("mock-2", &["10.10.1.81"], &["gateway.docker"]))
            .endpoint(named("star-1", &["10.10.1.82"], &["*.containers.internal"]))
            .alias("host.containers.internal", "db"),
        blog().endpoint(named("star-2", &["10.10.2.82"], &["*.docker.internal"])),
    ]);
    let client = world.client("shop", "10.10.1.3");
    check(client.ask("host.docker.internal", A), "NOERROR: host.docker.internal A 10.10.1.80");
    check(client.ask("gateway.docker.internal", A), "NOERROR: gateway.docker.internal A 10.10.1.81");
    check(client.ask("host.containers.internal", A), "NOERROR: db A 10.10.1.3, host.containers.internal CNAME db");
    // A wildcard does not carry a name that exists.
    check(
        world.client("blog", "10.10.2.3").ask("host.docker.internal", A),
        "NOERROR: host.docker.internal A 10.10.2.1",
    );
    check(world.client("blog", "10.10.2.3").ask("x.docker.internal", A), "NOERROR: x.docker.internal A 10.10.2.82");
}

#[test]
fn n10_host_names_are_configured_or_off() {
    let world = World::of([shop().host_names(["dock.er"]), blog().host_names([] as [&str; 0])]);
    check(world.client("shop", "10.10.1.3").ask("dock.er", A), "NOERROR: dock.er A 10.10.1.1");
    check(world.client("shop", "10.10.1.3").ask("host.docker.internal", A), "NXDOMAIN (SOA internal)");
    check(world.client("blog", "10.10.2.3").ask("host.docker.internal", A), "forward: host.docker.internal");
    // Where the domain is ours, the parent of a gateway's name exists.
    let world = World::example();
    check(world.client("shop", "10.10.1.3").ask("docker.internal", A), "NOERROR (SOA internal)");
    check(world.client("shop", "10.10.1.3").ask("x.docker.internal", A), "NXDOMAIN (SOA internal)");
}

/// What is found for a name whose octets are those of `text`.
fn found(client: &Asker<'_>, text: &str) -> String {
    match client.send(&ask_labels(text.split('.').map(str::as_bytes), A).packet()) {
        crate::kit::Outcome::Reply(reply) if reply.rcode() == 0 => {
            let addresses = reply.message.answers.iter().filter_map(|record| record.data.ip_addr());
            addresses.map(|address| address.to_string()).collect::<Vec<_>>().join(" ")
        }
        crate::kit::Outcome::Reply(reply) => callsign::wire::rcode::mnemonic(reply.rcode()).into_owned(),
        crate::kit::Outcome::Forward(forwarded) => format!("forward: {}", forwarded.target),
        other => other.to_string(),
    }
}

#[test]
fn n12_a_name_outside_ascii_is_found_in_a_labels_and_as_written() {
    let world = World::of([Network::builder("Küche")
        .subnet("10.0.0.0/16")
        .domain("größe.example")
        .endpoint(named("öl-1", &["10.0.0.1"], &["Bücher", "*.straße", "_http._tcp.日本"]))
        .alias("naïve", "bücher")
        .alias("far", "münchen.example")
        .record(Record::parse("crème", "A", "10.0.0.9", None).unwrap())
        .host_names(["gästehaus"])
        .gateway("10.0.255.254")]);
    let client = world.client("Küche", "10.0.255.1");
    for name in [
        "xn--bcher-kva",
        "XN--Bcher-KVA",
        "bücher",
        "xn--bcher-kva.xn--kche-0ra",
        "bücher.küche",
        "xn--bcher-kva.xn--gre-6ka8i.example",
        "bücher.größe.example",
        "xn--bcher-kva.xn--kche-0ra.xn--gre-6ka8i.example",
        "x.xn--strae-oqa",
        "x.straße",
        "_http._tcp.xn--wgv71a",
        "_http._tcp.日本",
        "xn--l-1-rna",
        "öl-1",
        "xn--nave-6pa",
        "naïve",
    ] {
        assert_eq!(found(&client, name), "10.0.0.1", "{name}");
    }
    for name in ["xn--crme-6oa", "crème"] {
        assert_eq!(found(&client, name), "10.0.0.9", "{name}");
    }
    for name in ["xn--gstehaus-0za", "gästehaus"] {
        assert_eq!(found(&client, name), "10.0.255.254", "{name}");
    }
    // What is asked elsewhere is asked in A-labels; what is answered for an address is one.
    check(client.ask("far", A), "forward: far > xn--mnchen-3ya.example");
    let reply = client.ask("1.0.0.10.in-addr.arpa", RecordType::PTR).reply();
    let pointer = b"\x0dxn--bcher-kva\x0dxn--gre-6ka8i\x07example\0";
    assert!(reply.bytes.windows(pointer.len()).any(|octets| octets == pointer), "{reply}");
    assert_eq!(found(&client, "nichts.xn--gre-6ka8i.example"), "NXDOMAIN");
    assert_eq!(found(&client, "nichts.größe.example"), "NXDOMAIN");
}

#[test]
fn n12_a_name_without_a_labels_is_an_error_that_says_so() {
    let name = "\u{e000}x";
    for error in [
        Endpoint::builder("a").name(name).build().err(),
        shop().domain(name).build().err(),
        shop().alias(name, "db").build().err(),
        shop().alias("db2", name).build().err(),
        shop().host_names([name]).build().err(),
        Record::parse(name, "A", "10.0.0.1", None).err(),
    ] {
        let text = error.expect("an error").to_string();
        assert!(text.contains("has no A-labels"), "{text}");
    }
}
