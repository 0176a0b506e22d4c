//! Special names.

use callsign::table::Network;
use hickory_proto::rr::RecordType::{self, A, AAAA, ANY, MX, PTR, TXT};

use crate::kit::{World, ask, check, named, shop};

#[test]
fn s_localhost_and_below() {
    // An endpoint of that name changes nothing.
    let world = World::of([shop().endpoint(named("evil-1", &["10.10.1.66"], &["localhost", "x.localhost"]))]);
    let client = world.client("shop", "10.10.1.3");
    for name in ["localhost", "LocalHost", "x.localhost", "a.b.localhost"] {
        let lower = name.to_lowercase();
        check(client.ask(name, A), &format!("NOERROR: {lower} A 127.0.0.1"));
        check(client.ask(name, AAAA), &format!("NOERROR: {lower} AAAA ::1"));
        for rtype in [MX, TXT, PTR, RecordType::HTTPS, RecordType::NS, RecordType::Unknown(65_280)] {
            check(client.ask(name, rtype), &format!("NOERROR (SOA {lower})"));
        }
        check(client.ask(name, ANY), &format!("NOERROR: {lower} A 127.0.0.1"));
    }
    let tcp = world.client("shop", "10.10.1.3").tcp();
    check(tcp.ask("localhost", ANY), "NOERROR: localhost A 127.0.0.1, localhost AAAA ::1");
    check(client.ask("xlocalhost", A), "forward: xlocalhost");
    check(client.ask("localhost.example", A), "forward: localhost.example");
}

#[test]
fn s_the_loopback_addresses_are_localhost() {
    let world = World::of([shop(), Network::builder("vault").subnet("10.10.9.0/24").internal(true)]);
    let v6 = format!("1.{}ip6.arpa", "0.".repeat(31));
    for client in [world.client("shop", "10.10.1.3"), world.client("vault", "10.10.9.2")] {
        for name in ["1.0.0.127.in-addr.arpa", "255.255.255.127.IN-ADDR.arpa", "0.0.0.127.in-addr.arpa", &v6] {
            let lower = name.to_lowercase();
            check(client.ask(name, PTR), &format!("NOERROR: {lower} PTR localhost"));
            check(client.ask(name, A), &format!("NOERROR (SOA {lower})"));
        }
        // What lies between is not asked elsewhere either.
        for name in ["0.0.127.in-addr.arpa", "127.in-addr.arpa"] {
            check(client.ask(name, PTR), &format!("NOERROR (SOA {name})"));
        }
    }
    let client = world.client("shop", "10.10.1.3");
    check(client.ask("1.0.0.128.in-addr.arpa", PTR), "forward: 1.0.0.128.in-addr.arpa");
    check(client.ask(&format!("2{}", &v6[1..]), PTR), &format!("forward: 2{}", &v6[1..]));
    // An endpoint that really is at such an address has its own name.
    world.network("shop").attach(named("loop-1", &["127.0.0.9"], &["loop"])).unwrap();
    check(client.ask("9.0.0.127.in-addr.arpa", PTR), "NOERROR: 9.0.0.127.in-addr.arpa PTR loop.internal");
}

#[test]
fn s_names_that_never_exist_are_not_asked_for() {
    let world = World::example();
    let client = world.client("shop", "10.10.1.3");
    for name in ["invalid", "x.invalid", "onion", "abc.Onion", "resolver.arpa", "_dns.resolver.arpa", "alt", "a.b.alt"]
    {
        for rtype in [A, AAAA, MX, RecordType::SVCB, ANY] {
            check(client.ask(name, rtype), &format!("NXDOMAIN (SOA {})", name.to_lowercase()));
        }
    }
    assert!(client.send(&ask("x.onion", A).packet()).reply().message.metadata.authoritative);
    // Not special: people run them upstream.
    for name in
        ["local", "printer.local", "x.test", "test", "home.arpa", "nas.home.arpa", "arpa", "xonion", "onion.com"]
    {
        check(client.ask(name, A), &format!("forward: {name}"));
    }
    check(world.client("blog", "10.10.2.3").ask("x.internal", A), "forward: x.internal");
}

#[test]
fn s_never_forward_adds_suffixes() {
    let world = World::with([shop().endpoint(named("lan-1", &["10.10.1.90"], &["nas.lan"]))], |options| {
        options.never_forward = vec!["lan".parse().unwrap(), "Corp.Example".parse().unwrap()];
    });
    let client = world.client("shop", "10.10.1.3");
    check(client.ask("tv.lan", A), "NXDOMAIN (SOA tv.lan)");
    check(client.ask("x.corp.EXAMPLE", MX), "NXDOMAIN (SOA x.corp.example)");
    check(client.ask("corp.example", A), "NXDOMAIN (SOA corp.example)");
    check(client.ask("xcorp.example", A), "forward: xcorp.example");
    // Known names are answered all the same, and their parents exist.
    check(client.ask("nas.lan", A), "NOERROR: nas.lan A 10.10.1.90");
    check(client.ask("lan", A), "NOERROR (SOA lan)");
}
