//! Forwarding, as far as the responder decides it: whether, and whose upstreams.

use callsign::responder::UpstreamScope;
use callsign::table::Network;
use hickory_proto::rr::RecordType::{self, A, AAAA, MX, PTR};

use crate::kit::{World, ask, blog, check, endpoint, named, shop};

const BLOCKED: &str = "[15 this network is internal: nothing is forwarded]";

#[test]
fn f1_what_no_rule_answers_is_forwarded() {
    let world = World::example();
    let client = world.client("shop", "10.10.1.3");
    for name in ["example.com", "nothere", "com", "foo.shop", "local", "x.local", "test", "home.arpa", "arpa"] {
        for rtype in [A, AAAA, MX, PTR, RecordType::Unknown(65_280)] {
            check(client.ask(name, rtype), &format!("forward: {name}"));
        }
    }
    check(client.ask("", RecordType::NS), "forward: .");
    // Strangers of a network that may forward may, too. RD or not is the upstream's to judge.
    check(world.client("shop", "10.10.1.200").ask("example.com", A), "forward: example.com");
    let packet = ask("example.com", A).with(|message| message.metadata.recursion_desired = false).packet();
    check(client.send(&packet), "forward: example.com");
}

#[test]
fn f1_a_client_is_internal_if_all_its_networks_are() {
    let vault = || {
        Network::builder("vault")
            .subnet("10.10.9.0/24")
            .internal(true)
            .endpoint(named("safe-1", &["10.10.9.2"], &["safe"]))
            .endpoint(named("shop-db-1", &["10.10.9.3"], &["store"]))
    };
    let cellar = || Network::builder("cellar").internal(true).endpoint(named("safe-1", &["10.10.8.2"], &["wine"]));
    let world = World::of([shop(), vault(), cellar()]);

    // On internal networks alone, be they two.
    let safe = world.client("vault", "10.10.9.2");
    check(safe.ask("wine", A), "NOERROR: wine A 10.10.8.2");
    check(safe.ask("example.com", A), &format!("NXDOMAIN (SOA example.com) {BLOCKED}"));
    assert!(!safe.ask("safe", A).reply().message.metadata.recursion_available);
    // On one that is not, as well: asked at either listener.
    check(world.client("vault", "10.10.9.3").ask("example.com", A), "forward: example.com");
    check(world.client("shop", "10.10.1.3").ask("example.com", A), "forward: example.com");
    assert!(world.client("vault", "10.10.9.3").ask("safe", A).reply().message.metadata.recursion_available);
    // No endpoint: the listener's network decides.
    check(world.client("vault", "10.10.9.77").ask("example.com", A), &format!("NXDOMAIN (SOA example.com) {BLOCKED}"));
    // It changes as the client's networks do.
    world.network("shop").detach("shop-db-1").unwrap();
    check(world.client("vault", "10.10.9.3").ask("example.com", A), &format!("NXDOMAIN (SOA example.com) {BLOCKED}"));
}

#[test]
fn f1_a_refused_question_of_any_type_or_class_says_why() {
    let world = World::of([shop().internal(true)]);
    let client = world.client("shop", "10.10.1.3");
    for (name, rtype) in [("example.com", MX), ("8.8.8.8.in-addr.arpa", PTR), ("com", RecordType::NS)] {
        check(client.ask(name, rtype), &format!("NXDOMAIN (SOA {name}) {BLOCKED}"));
    }
    check(client.ask("", A), &format!("NXDOMAIN (SOA ) {BLOCKED}"));
    check(client.send(&ask("example.com", A).without_edns().packet()), "NXDOMAIN (SOA example.com)");
    // An alias to a remote name: what it stands for may be told, the rest may not be asked for.
    check(
        client.ask("payments", A),
        &format!("NXDOMAIN: payments CNAME payments.dev.example.com (SOA payments.dev.example.com) {BLOCKED}"),
    );
    // What is answered here is answered as ever.
    check(client.ask("db", A), "NOERROR: db A 10.10.1.3");
    check(client.ask("nothere.internal", A), "NXDOMAIN (SOA internal)");
    check(client.ask("localhost", A), "NOERROR: localhost A 127.0.0.1");
    check(client.ask("host.docker.internal", A), "NOERROR: host.docker.internal A 10.10.1.1");
}

#[test]
fn f2_the_endpoints_own_upstreams_then_its_networks_then_the_hosts() {
    let world = World::of([
        shop()
            .upstream("10.0.0.1")
            .upstream("10.0.0.2:5353")
            .endpoint(endpoint("picky-1", &["10.10.1.30"]).upstream("9.9.9.9").build().unwrap())
            .endpoint(named("modest-1", &["10.10.1.31"], &[])),
        blog().upstream("10.0.0.3"),
        Network::builder("quiet")
            .subnet("10.10.3.0/24")
            .endpoint(named("lone-1", &["10.10.3.2"], &[]))
            .endpoint(endpoint("modest-1", &["10.10.3.31"]).upstream("9.9.9.8").build().unwrap()),
    ]);
    let upstreams = |network, source| {
        let forwarded = world.client(network, source).ask("example.com", A).forwarded();
        (forwarded.preference, forwarded.upstreams)
    };
    let networks = |upstreams: &[&str]| (UpstreamScope::Networks, upstreams.iter().map(|u| u.to_string()).collect());
    assert_eq!(upstreams("shop", "10.10.1.30"), (UpstreamScope::Endpoint, vec!["9.9.9.9:53".into()]));
    // Its own, said on another of its networks.
    assert_eq!(upstreams("shop", "10.10.1.31"), (UpstreamScope::Endpoint, vec!["9.9.9.8:53".into()]));
    // Joined in view order, which depends on where it asks.
    assert_eq!(upstreams("shop", "10.10.1.6"), networks(&["10.0.0.1:53", "10.0.0.2:5353", "10.0.0.3:53"]));
    assert_eq!(upstreams("blog", "10.10.2.6"), networks(&["10.0.0.3:53", "10.0.0.1:53", "10.0.0.2:5353"]));
    // One network's alone.
    assert_eq!(upstreams("shop", "10.10.1.3"), networks(&["10.0.0.1:53", "10.0.0.2:5353"]));
    assert_eq!(upstreams("shop", "10.10.1.200"), networks(&["10.0.0.1:53", "10.0.0.2:5353"]));
    assert_eq!(upstreams("quiet", "10.10.3.2"), (UpstreamScope::Host, vec![]));
}

#[test]
fn f2_an_alias_is_asked_for_by_its_target() {
    let world = World::of([shop().upstream("10.0.0.1")]);
    let forwarded = world.client("shop", "10.10.1.3").ask("PAYMENTS.internal", A).forwarded();
    assert_eq!(forwarded.target.to_string(), "payments.dev.example.com");
    assert_eq!(forwarded.upstreams, ["10.0.0.1:53"]);
}
