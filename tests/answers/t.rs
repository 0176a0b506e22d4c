//! Types.

use std::collections::BTreeMap;
use std::net::IpAddr;

use callsign::responder::{ClientIdentity, Explanation, Finding};
use callsign::table::{Health, Network, Port, Protocol, Record, ReverseNames};
use hickory_proto::rr::RecordType::{self, A, AAAA, ANY, CAA, CNAME, HTTPS, MX, NS, PTR, SOA, SRV, SVCB, TXT};

use crate::kit::{Asker, World, ask, blog, check, endpoint, named, owner, shop};

#[test]
fn t1_a_missing_family_is_no_data() {
    let world = World::of([shop().endpoint(named("six-1", &["fd00:10:1::6"], &["six"])).endpoint(named(
        "none-1",
        &[],
        &["none"],
    ))]);
    let client = world.client("shop", "10.10.1.3");
    check(client.ask("api", A), "NOERROR: api A 10.10.1.2");
    check(client.ask("api", AAAA), "NOERROR: api AAAA fd00:10:1::2");
    check(client.ask("db", AAAA), "NOERROR (SOA db)");
    check(client.ask("db.internal", AAAA), "NOERROR (SOA internal)");
    check(client.ask("six", A), "NOERROR (SOA six)");
    check(client.ask("six", AAAA), "NOERROR: six AAAA fd00:10:1::6");
    for rtype in [A, AAAA, ANY] {
        check(client.ask("none", rtype), "NOERROR (SOA none)");
    }
    // On an internal network the same.
    let world = World::of([shop().internal(true)]);
    check(world.client("shop", "10.10.1.3").ask("db", AAAA), "NOERROR (SOA db)");
}

/// How often each address came first.
fn firsts(addresses: impl IntoIterator<Item = Vec<IpAddr>>) -> BTreeMap<IpAddr, usize> {
    addresses.into_iter().fold(BTreeMap::new(), |mut count, addresses| {
        *count.entry(addresses[0]).or_default() += 1;
        count
    })
}

#[test]
fn t2_each_address_comes_first_equally_often() {
    for replicas in [2, 3, 5, 7] {
        let world =
            World::of([(1..=replicas).fold(Network::builder("net").subnet("10.0.0.0/8"), |network, number| {
                let (v4, v6) = (format!("10.0.0.{number}"), format!("fd00::{number}"));
                network.endpoint(named(&format!("r-{number}"), &[&v4, &v6], &["pool", "same"]))
            })]);
        let client = world.client("net", "10.0.0.1");
        // A and AAAA in turn, as glibc asks; another name of the same replicas in between.
        let (mut a, mut aaaa, mut same) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..replicas * 20 {
            a.push(client.ask("pool", A).addresses());
            aaaa.push(client.ask("pool", AAAA).addresses());
            same.push(client.ask("same", A).addresses());
        }
        for answers in [&a, &aaaa, &same] {
            assert!(answers.iter().all(|addresses| addresses.len() == replicas));
            let firsts = firsts(answers.clone());
            assert_eq!(firsts.len(), replicas);
            assert!(firsts.values().all(|&count| count == 20), "{firsts:?}");
        }
    }
}

#[test]
fn t2_many_names_in_turn_do_not_disturb_each_other() {
    let names = 200;
    let world = World::of([(0..names).fold(Network::builder("net").subnet("10.0.0.0/8"), |network, number| {
        let address = |replica: u8| format!("10.{replica}.{}.{}", number / 200, number % 200 + 1);
        network.endpoint(named(&format!("a-{number}"), &[&address(1)], &[&format!("n{number}")])).endpoint(named(
            &format!("b-{number}"),
            &[&address(2)],
            &[&format!("n{number}")],
        ))
    })]);
    let client = world.client("net", "10.1.0.1");
    let mut firsts = vec![[0; 2]; names];
    for _ in 0..8 {
        for (number, firsts) in firsts.iter_mut().enumerate() {
            let IpAddr::V4(first) = client.ask(&format!("n{number}"), A).addresses()[0] else { panic!() };
            firsts[usize::from(first.octets()[1]) - 1] += 1;
        }
    }
    let uneven = firsts.iter().filter(|counts| **counts != [4, 4]).count();
    assert_eq!(uneven, 0, "names of {names} whose addresses did not come first equally often");
}

#[test]
fn t2_answers_that_do_not_fit_are_rotated_too() {
    let world = World::of([(0..100_u8).fold(Network::builder("net").subnet("10.0.0.0/8"), |network, number| {
        network.endpoint(named(&format!("r-{number}"), &[&format!("10.0.0.{number}")], &["pool"]))
    })]);
    let client = world.client("net", "10.0.0.1");
    let packet = ask("pool", A).without_edns().packet();
    let firsts = firsts((0..100).map(|_| client.send(&packet).addresses()));
    assert_eq!(firsts.len(), 100);
}

fn reverse(address: &str) -> String {
    callsign::wire::reverse::name_of(address.parse().unwrap()).to_string()
}

#[test]
fn t3_an_address_has_its_endpoints_canonical_name() {
    let world = World::of([
        shop().endpoint(named("nameless-1", &["10.10.1.41"], &[])).endpoint(named(
            "star-1",
            &["10.10.1.42"],
            &["*.apps", "edge"],
        )),
        blog(),
    ]);
    let client = world.client("shop", "10.10.1.6");
    for (address, expected) in [
        ("10.10.1.3", "db.internal"),
        ("10.10.1.2", "api.internal"),
        ("fd00:10:1::2", "api.internal"),
        // No first name: the id. A wildcard is not a name of one address.
        ("10.10.1.41", "nameless-1.internal"),
        ("10.10.1.42", "edge.internal"),
        // Down, and still known.
        ("10.10.1.7", "worker.internal"),
        // On another network of the view, which has no domain.
        ("10.10.2.4", "site"),
    ] {
        let name = reverse(address);
        check(client.ask(&name, PTR), &format!("NOERROR: {name} PTR {expected}"));
        check(client.ask(&name.to_uppercase(), PTR), &format!("NOERROR: {name} PTR {expected}"));
        check(client.ask(&name, ANY), &format!("NOERROR: {name} PTR {expected}"));
        // The name is there: other types are NODATA.
        check(client.ask(&name, A), &format!("NOERROR (SOA {name})"));
        check(client.ask(&name, TXT), &format!("NOERROR (SOA {name})"));
    }
    // And the name gives the address.
    check(client.ask("db.internal", A), "NOERROR: db.internal A 10.10.1.3");
}

#[test]
fn t3_all_names_bare() {
    let world =
        World::of([shop().reverse_names(ReverseNames::All).endpoint(named("nameless-1", &["10.10.1.41"], &[]))]);
    let client = world.client("shop", "10.10.1.3");
    let name = reverse("10.10.1.3");
    check(client.ask(&name, PTR), &format!("NOERROR: {name} PTR database, {name} PTR db"));
    let name = reverse("10.10.1.41");
    check(client.ask(&name, PTR), &format!("NOERROR: {name} PTR nameless-1"));
}

#[test]
fn t3_unknown_addresses_of_known_subnets_do_not_exist() {
    let world = World::example();
    let client = world.client("shop", "10.10.1.3");
    for address in ["10.10.1.250", "10.10.1.0", "10.10.1.255", "fd00:10:1::bad"] {
        let name = reverse(address);
        for rtype in [PTR, A, TXT, ANY] {
            check(client.ask(&name, rtype), &format!("NXDOMAIN (SOA {name})"));
        }
    }
    // What is above them exists.
    check(client.ask("1.10.10.in-addr.arpa", PTR), "NOERROR (SOA 1.10.10.in-addr.arpa)");
    // Other subnets are somebody else's: outside the view, wider than ours, or not a reverse name of an address.
    let v6 = "d.a.b.ip6.arpa".to_owned();
    for name in [&reverse("10.10.2.4"), &reverse("8.8.8.8"), &reverse("fd00:10:2::1"), &v6] {
        check(client.ask(name, PTR), &format!("forward: {name}"));
    }
    for name in
        ["10.10.in-addr.arpa", "in-addr.arpa", "ip6.arpa", "300.1.10.10.in-addr.arpa", "03.1.10.10.in-addr.arpa"]
    {
        check(client.ask(name, PTR), &format!("forward: {name}"));
    }
    // The proxy sees both networks.
    let name = reverse("10.10.2.250");
    check(world.client("shop", "10.10.1.6").ask(&name, PTR), &format!("NXDOMAIN (SOA {name})"));
    // On an internal network nothing of it leaves.
    let world = World::of([shop().internal(true)]);
    let reply = world.client("shop", "10.10.1.3").ask(&reverse("8.8.8.8"), PTR).reply();
    assert_eq!((reply.rcode(), reply.extended_error().unwrap().0), (3, 15));
}

#[test]
fn t3_ttl_is_that_of_the_network_that_has_the_address() {
    let world = World::of([shop().ttl(5), blog().ttl(9)]);
    let client = world.client("shop", "10.10.1.6");
    let ttl = |name: &str, rtype| client.ask(name, rtype).reply().message.answers[0].ttl;
    assert_eq!(ttl(&reverse("10.10.1.3"), PTR), 5);
    assert_eq!(ttl("site", A), 9);
    assert_eq!(ttl(&reverse("10.10.2.4"), PTR), 9);
}

#[test]
fn t3_subnets_that_end_inside_an_octet() {
    let world =
        World::of([Network::builder("net").subnet("10.0.16.0/20").endpoint(named("a-1", &["10.0.17.1"], &["a"]))]);
    let client = world.client("net", "10.0.17.1");
    check(client.ask("9.31.0.10.in-addr.arpa", PTR), "NXDOMAIN (SOA 9.31.0.10.in-addr.arpa)");
    check(client.ask("9.32.0.10.in-addr.arpa", PTR), "forward: 9.32.0.10.in-addr.arpa");
    check(client.ask("31.0.10.in-addr.arpa", PTR), "NOERROR (SOA 31.0.10.in-addr.arpa)");
    check(client.ask("0.10.in-addr.arpa", PTR), "forward: 0.10.in-addr.arpa");
}

#[test]
fn t4_one_record_for_each_matching_port_with_its_address() {
    let world = World::of([shop().endpoint(
        endpoint("multi-1", &["10.10.1.43", "fd00:10:1::43"])
            .name("multi")
            .port(Port::named("HTTP", 8080, Protocol::Tcp))
            .port(Port::named("http", 8081, Protocol::Tcp))
            .port(Port::named("http", 8082, Protocol::Udp))
            .port(Port::new(9, Protocol::Sctp))
            .port(Port::named("sctp", 10, Protocol::Sctp))
            .port(Port::named("tcp", 11, Protocol::Udp))
            .build()
            .unwrap(),
    )]);
    let client = world.client("shop", "10.10.1.3");
    for (name, records) in [
        (
            "_http._tcp.api",
            "0 1 8080 shop-api-1.internal + shop-api-1.internal A 10.10.1.2, shop-api-1.internal AAAA fd00:10:1::2",
        ),
        (
            "_8080._tcp.api",
            "0 1 8080 shop-api-1.internal + shop-api-1.internal A 10.10.1.2, shop-api-1.internal AAAA fd00:10:1::2",
        ),
        (
            "_HTTP._TCP.api",
            "0 1 8080 shop-api-1.internal + shop-api-1.internal A 10.10.1.2, shop-api-1.internal AAAA fd00:10:1::2",
        ),
        (
            "_http._tcp.multi",
            "0 1 8080 multi-1.internal, _http._tcp.multi SRV 0 1 8081 multi-1.internal + multi-1.internal A 10.10.1.43, multi-1.internal AAAA fd00:10:1::43",
        ),
        (
            "_http._udp.multi",
            "0 1 8082 multi-1.internal + multi-1.internal A 10.10.1.43, multi-1.internal AAAA fd00:10:1::43",
        ),
        (
            "_9._sctp.multi",
            "0 1 9 multi-1.internal + multi-1.internal A 10.10.1.43, multi-1.internal AAAA fd00:10:1::43",
        ),
        // Services called like protocols.
        (
            "_sctp._sctp.multi",
            "0 1 10 multi-1.internal + multi-1.internal A 10.10.1.43, multi-1.internal AAAA fd00:10:1::43",
        ),
        (
            "_tcp._udp.multi",
            "0 1 11 multi-1.internal + multi-1.internal A 10.10.1.43, multi-1.internal AAAA fd00:10:1::43",
        ),
    ] {
        let lower = name.to_lowercase();
        check(client.ask(name, SRV), &format!("NOERROR: {lower} SRV {records}"));
        check(
            client.ask(&format!("{name}.internal"), SRV),
            &format!("NOERROR: {lower} SRV {records}").replace(&format!("{lower} "), &format!("{lower}.internal ")),
        );
    }
    check(
        client.ask("_http._tcp.web", SRV),
        "NOERROR: _http._tcp.web SRV 0 1 80 shop-web-1.internal, _http._tcp.web SRV 0 1 80 shop-web-2.internal \
         + shop-web-1.internal A 10.10.1.4, shop-web-2.internal A 10.10.1.5",
    );
    check(client.ask("_http._tcp.api", A), "NOERROR (SOA _http._tcp.api)");
    check(client.ask("_http._tcp.api", TXT), "NOERROR (SOA _http._tcp.api)");
    // Unknown services, and ports written otherwise, are not there.
    for name in
        ["_https._tcp.api", "_08080._tcp.api", "_+8080._tcp.api", "_8081._tcp.api", "_http._sctp.api", "http._tcp.api"]
    {
        check(client.ask(&format!("{name}.internal"), SRV), "NXDOMAIN (SOA internal)");
        check(client.ask(name, SRV), &format!("forward: {name}"));
    }
}

#[test]
fn t4_targets_resolve_to_the_addresses_beside_them() {
    let world = World::of([
        shop(),
        blog().endpoint(
            endpoint("Blog.Api-1", &["10.10.2.9"])
                .name("feed")
                .port(Port::named("rss", 81, Protocol::Tcp))
                .build()
                .unwrap(),
        ),
    ]);
    let client = world.client("shop", "10.10.1.6");
    for service in ["_http._tcp.web", "_http._tcp.api", "_rss._tcp.feed", "_81._tcp.feed.blog"] {
        let reply = client.ask(service, SRV).reply();
        assert!(!reply.message.additionals.is_empty());
        for record in &reply.message.additionals {
            let address = record.data.ip_addr().unwrap();
            assert_eq!(client.ask(&owner(&record.name), record.record_type()).addresses(), [address], "{service}");
        }
    }
}

#[test]
fn t4_health_and_stopped_endpoints() {
    let world = World::example();
    let network = world.network("shop");
    let client = world.client("shop", "10.10.1.3");
    let second = "NOERROR: _http._tcp.web SRV 0 1 80 shop-web-2.internal + shop-web-2.internal A 10.10.1.5";
    network.update("shop-web-1", |web| web.with_health(Health::Unhealthy)).unwrap();
    check(client.ask("_http._tcp.web", SRV), second);
    network.update("shop-web-1", |web| web.with_health(Health::Healthy).with_running(false)).unwrap();
    check(client.ask("_http._tcp.web", SRV), second);
    network.update("shop-web-2", |web| web.with_running(false)).unwrap();
    check(client.ask("_http._tcp.web", SRV), "NOERROR (SOA _http._tcp.web) [0 web is not running]");
    // A replica without the port is not among the targets.
    network.attach(named("shop-web-2", &["10.10.1.5"], &["web"])).unwrap();
    network.update("shop-web-1", |web| web.with_running(true)).unwrap();
    check(
        client.ask("_http._tcp.web", SRV),
        "NOERROR: _http._tcp.web SRV 0 1 80 shop-web-1.internal + shop-web-1.internal A 10.10.1.4",
    );
}

#[test]
fn t4_additional_addresses_only_where_they_fit() {
    let world = World::of([(0..40).fold(Network::builder("net").subnet("10.0.0.0/8"), |network, number| {
        network.endpoint(
            endpoint(&format!("replica-{number:03}"), &[&format!("10.0.0.{number}"), &format!("fd00::{number}")])
                .name("pool")
                .port(Port::named("http", 80, Protocol::Tcp))
                .build()
                .unwrap(),
        )
    })]);
    let udp = world.client("net", "10.0.0.1");
    // An SRV here takes 12 + 6 + 13 octets: 37 of 40 are cut off at 1,232.
    let reply = udp.ask("_http._tcp.pool", SRV).reply();
    assert!(reply.message.metadata.truncation && reply.message.additionals.is_empty());
    let reply = world.client("net", "10.0.0.1").tcp().ask("_http._tcp.pool", SRV).reply();
    assert!(!reply.message.metadata.truncation);
    assert_eq!((reply.message.answers.len(), reply.message.additionals.len()), (40, 80));
    // All SRV, and a part of the addresses: nothing that was asked for is missing, so no TC.
    for number in 20..40 {
        world.network("net").detach(&format!("replica-{number:03}")).unwrap();
    }
    let reply = udp.ask("_http._tcp.pool", SRV).reply();
    assert!(!reply.message.metadata.truncation);
    assert_eq!(reply.message.answers.len(), 20);
    assert!((1..40).contains(&reply.message.additionals.len()));
    assert!(reply.message.edns.is_some());
}

#[test]
fn t5_static_records_or_no_data() {
    let record = |name, rtype, value, ttl| Record::parse(name, rtype, value, ttl).unwrap();
    let world = World::of([shop()
        .ttl(3)
        .record(record("db", "TXT", "\"primary since May\"", None))
        .record(record("db", "TXT", "second", Some(60)))
        .record(record("db", "MX", "10 mail.example.com", None))
        .record(record("db", "CAA", "0 issue \"ca.example\"", None))
        .record(record("db", "A", "10.10.1.33", None))
        .record(record("db", "A", "10.10.1.3", Some(60)))
        .record(record("alone", "AAAA", "fd00:10:1::77", None))
        .record(record("alone", "TYPE65280", "\\# 2 0a0b", None))
        .record(record("zone.internal", "SOA", "ns. me. 1 2 3 4 5", None))
        .record(record("_ldap._tcp.dir", "SRV", "1 2 389 db", None))
        .record(record("_http._tcp.api", "SRV", "7 7 7 static", None))]);
    let client = world.client("shop", "10.10.1.3");
    check(client.ask("db", TXT), "NOERROR: db TXT primary since May, db TXT second");
    check(client.ask("db.shop.internal", MX), "NOERROR: db.shop.internal MX 10 mail.example.com");
    check(client.ask("db", CAA), "NOERROR: db CAA 0 issue \"ca.example\"");
    // Addresses join the endpoint's, each once.
    check(client.ask("db", A), "NOERROR: db A 10.10.1.3, db A 10.10.1.33");
    check(client.ask("alone", AAAA), "NOERROR: alone AAAA fd00:10:1::77");
    check(client.ask("alone", A), "NOERROR (SOA alone)");
    let reply = client.ask("alone", RecordType::Unknown(65_280)).reply();
    assert!(reply.bytes.windows(4).any(|octets| octets == [0, 2, 10, 11]));
    check(client.ask("zone.internal", SOA), "NOERROR: zone.internal SOA ns. me. 1 2 3 4 5");
    check(client.ask("_ldap._tcp.dir", SRV), "NOERROR: _ldap._tcp.dir SRV 1 2 389 db");
    // What is configured wins over what is made of ports.
    check(client.ask("_http._tcp.api", SRV), "NOERROR: _http._tcp.api SRV 7 7 7 static");
    let ttls: Vec<u32> = client.ask("db", TXT).reply().message.answers.iter().map(|record| record.ttl).collect();
    assert_eq!(ttls, [3, 60]);
    // Everything else is NODATA, types that nobody knows included.
    for rtype in [CNAME, NS, SOA, HTTPS, SVCB, PTR, SRV, RecordType::DS, RecordType::DNSKEY, RecordType::NULL] {
        check(client.ask("db", rtype), "NOERROR (SOA db)");
        check(client.ask("api.internal", rtype), "NOERROR (SOA internal)");
    }
    for number in [0, 3, 99, 128, 249, 253, 254, 1234, 65_280, 65_535] {
        check(client.ask("db", RecordType::from(number)), "NOERROR (SOA db)");
    }
}

#[test]
fn t6_any_is_one_rrset_over_udp_and_all_over_tcp() {
    let record = |name, rtype, value| Record::parse(name, rtype, value, None).unwrap();
    let world = World::of([shop()
        .record(record("api", "TXT", "hello"))
        .record(record("words", "TXT", "hello"))
        .record(record("words", "TXT", "again"))
        .record(record("words", "MX", "5 mail"))
        .endpoint(named("six-1", &["fd00:10:1::6"], &["six"]))
        .record(record("six", "MX", "5 mail"))]);
    let udp = world.client("shop", "10.10.1.3");
    let tcp = world.client("shop", "10.10.1.3").tcp();
    check(udp.ask("api", ANY), "NOERROR: api A 10.10.1.2");
    check(udp.ask("web", ANY), "NOERROR: web A 10.10.1.4, web A 10.10.1.5");
    check(udp.ask("six", ANY), "NOERROR: six AAAA fd00:10:1::6");
    check(udp.ask("words", ANY), "NOERROR: words TXT again, words TXT hello");
    check(tcp.ask("api", ANY), "NOERROR: api A 10.10.1.2, api AAAA fd00:10:1::2, api TXT hello");
    check(tcp.ask("six", ANY), "NOERROR: six AAAA fd00:10:1::6, six MX 5 mail");
    check(tcp.ask("words", ANY), "NOERROR: words MX 5 mail, words TXT again, words TXT hello");
    for client in [&udp, &tcp] {
        check(client.ask("nothere.internal", ANY), "NXDOMAIN (SOA internal)");
        check(client.ask("_tcp.api", ANY), "NOERROR (SOA _tcp.api)");
        check(client.ask("example.com", ANY), "forward: example.com");
        assert_eq!(client.ask("_http._tcp.api", ANY).reply().message.answers.len(), 1);
    }
}

/// Whether `db` answers, whether its address has the name `db`, and whether the address is a client's.
fn seen(client: &Asker<'_>) -> [bool; 3] {
    let name = reverse("10.10.1.3");
    [
        client.ask("db", A).to_string().contains("10.10.1.3"),
        client.ask(&name, PTR).to_string().contains("db.internal"),
        client.explain("db", A).client == ClientIdentity::Endpoint("shop-db-1".into()),
    ]
}

#[test]
fn t7_a_change_is_seen_whole() {
    let world = World::example();
    let network = world.network("shop");
    let client = world.client("shop", "10.10.1.3");
    assert_eq!(seen(&client), [true; 3]);
    network.detach("shop-db-1").unwrap();
    assert_eq!(seen(&client), [false; 3]);
    network.attach(named("shop-db-1", &["10.10.1.3"], &["db"])).unwrap();
    assert_eq!(seen(&client), [true; 3]);
    // A change that fails in its middle leaves nothing behind.
    assert!(network.detach("nobody").is_err());
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        network.change(|change| {
            change.detach("shop-db-1");
            panic!("in the middle");
        })
    }));
    assert!(failed.is_err());
    assert_eq!(seen(&client), [true; 3]);
    network.change(|change| _ = change.detach("shop-db-1")).unwrap();
    assert_eq!(seen(&client), [false; 3]);
}

#[test]
fn t7_a_network_takes_over_another_in_one_change() {
    let world = World::of([shop(), blog()]);
    let network = world.network("shop");
    let before = network.snapshot().revision();
    let other = Network::builder("other")
        .subnet("10.10.1.0/24")
        .domain("new.example")
        .ttl(9)
        .record(Record::parse("note", "TXT", "hello", None).unwrap())
        .endpoint(named("shop-db-1", &["10.10.1.3"], &["db", "database"]))
        .endpoint(named("proxy-1", &["10.10.1.6"], &["proxy"]))
        .endpoint(named("late-1", &["10.10.1.44"], &["late"]))
        .build()
        .unwrap();
    assert_eq!(network.replace_with(&other).unwrap(), before + 1);
    let client = world.client("shop", "10.10.1.6");
    // Its own name stays; settings, records and endpoints are the other's, old endpoints under the new settings.
    check(client.ask("db.shop.new.example", A), "NOERROR: db.shop.new.example A 10.10.1.3");
    assert_eq!(client.ask("db", A).reply().message.answers[0].ttl, 9);
    check(client.ask("db.other", A), "forward: db.other");
    check(client.ask("db.internal", A), "forward: db.internal");
    check(client.ask("note", TXT), "NOERROR: note TXT hello");
    check(client.ask("late", A), "NOERROR: late A 10.10.1.44");
    check(client.ask("payments", A), "forward: payments");
    for gone in ["api", "web", "worker", "shop-web-1"] {
        check(client.ask(gone, A), &format!("forward: {gone}"));
    }
    let name = reverse("10.10.1.4");
    check(client.ask(&name, PTR), &format!("NXDOMAIN (SOA {name})"));
    // The proxy is on both networks still, and the other network of its view is as it was.
    check(client.ask("site", A), "NOERROR: site A 10.10.2.4");
    check(world.client("blog", "10.10.2.6").ask("late", A), "NOERROR: late A 10.10.1.44");
    // Nothing new, no new revision.
    assert_eq!(network.replace_with(&other).unwrap(), before + 1);
}

fn explain(client: &Asker<'_>, name: &str, rtype: RecordType) -> (String, &'static str, String) {
    let Explanation { searched, rule, decision, .. } = client.explain(name, rtype);
    let searched: Vec<_> = searched.iter().map(|found| format!("{}: {}", found.network, found.finding)).collect();
    (searched.join("; "), rule.letter(), decision)
}

#[test]
fn t_explanations_name_the_finding_and_the_rule() {
    let world = World::of([
        shop().endpoint(named("edge-1", &["10.10.1.50"], &["*.apps"])),
        blog().internal(true),
        Network::builder("vault").subnet("10.10.9.0/24").internal(true),
    ]);
    let client = world.client("shop", "10.10.1.6");
    for (name, rtype, searched, rule, decision) in [
        ("api", A, "shop: api, matched as it stands: shop-api-1", "T1", "NOERROR, 1 answer"),
        ("web.internal", A, "shop: web, matched without .internal: shop-web-1, shop-web-2", "T1", "NOERROR, 2 answers"),
        ("site", A, "shop: nothing; blog: site, matched as it stands: blog-site-1", "T1", "NOERROR, 1 answer"),
        ("db", AAAA, "shop: db, matched as it stands: shop-db-1", "T1", "NOERROR, no data of this type"),
        ("db", MX, "shop: db, matched as it stands: shop-db-1", "T5", "NOERROR, no data of this type"),
        ("db", ANY, "shop: db, matched as it stands: shop-db-1", "T6", "NOERROR, 1 answer"),
        ("x.apps", A, "shop: *.apps, matched by a wildcard: edge-1", "T1", "NOERROR, 1 answer"),
        ("apps", A, "shop: only names below it; blog: nothing", "F1", "forwarded to the host's upstreams"),
        ("apps.internal", A, "shop: only names below it; blog: nothing", "N6", "NOERROR, no data of this type"),
        (
            "worker",
            A,
            "shop: worker, matched as it stands: shop-worker-1 (not running); blog: nothing",
            "N7",
            "NOERROR, no data of this type",
        ),
        ("_http._tcp.api", SRV, "shop: a service of api", "T4", "NOERROR, 1 answer"),
        ("3.1.10.10.in-addr.arpa", PTR, "shop: the address of shop-db-1", "T3", "NOERROR, 1 answer"),
        ("9.1.10.10.in-addr.arpa", PTR, "shop: nothing; blog: nothing", "T3", "NXDOMAIN"),
        ("nothere.internal", A, "shop: nothing; blog: nothing", "N5", "NXDOMAIN"),
        ("host.docker.internal", A, "shop: nothing; blog: nothing", "N10", "NOERROR, 1 answer"),
        ("localhost", A, "", "S", "NOERROR, 1 answer"),
        ("x.onion", A, "shop: nothing; blog: nothing", "S", "NXDOMAIN"),
        ("example.com", A, "shop: nothing; blog: nothing", "F1", "forwarded to the host's upstreams"),
        (
            "payments",
            A,
            "shop: payments, matched as it stands: an alias of payments.dev.example.com; shop: nothing; blog: nothing",
            "F1",
            "forwarded as payments.dev.example.com to the host's upstreams",
        ),
        (
            "payments",
            CNAME,
            "shop: payments, matched as it stands: an alias of payments.dev.example.com",
            "N9",
            "NOERROR, 1 answer",
        ),
        ("api", RecordType::AXFR, "", "P4", "REFUSED"),
    ] {
        let expected = (searched.to_owned(), rule, decision.to_owned());
        assert_eq!(explain(&client, name, rtype), expected, "{name} {rtype}");
    }
    let refused = explain(&world.client("vault", "10.10.9.2"), "example.com", A);
    assert_eq!(refused, ("vault: nothing".into(), "F1", "NXDOMAIN".into()));

    let whole = client.explain("db", AAAA);
    assert_eq!((whole.network.as_str(), &whole.client), ("shop", &ClientIdentity::Endpoint("proxy-1".into())));
    assert_eq!(whole.question, Some(("db".into(), "AAAA".into())));
    assert!(matches!(&whole.searched[0].finding, Finding::Name { name, .. } if name == "db"));
    assert_eq!(
        whole.to_string(),
        "question  db AAAA\n\
         listener  192.0.2.53:53 of network shop\n\
         client    10.10.1.6 is endpoint proxy-1\n\
         searched  shop: db, matched as it stands: shop-db-1\n\
         decision  NOERROR, no data of this type (rule T1)"
    );
}

#[test]
fn t2_services_come_first_equally_often() {
    let port = |name, number| Port::named(name, number, Protocol::Tcp);
    let replica = |number: u8| {
        endpoint(&format!("r-{number}"), &[&format!("10.0.0.{number}")])
            .name("pool")
            .port(port("http", 80))
            .port(port("http", 8080))
            .port(port("metrics", 9100))
            .build()
            .unwrap()
    };
    let record = |target: &str| Record::parse("_ldap._tcp.dir", "SRV", &format!("0 1 389 {target}"), None).unwrap();
    let network = (1..=3).fold(Network::builder("net").subnet("10.0.0.0/8"), |network, number| {
        network.endpoint(replica(number)).record(record(&format!("dc{number}")))
    });
    let world = World::of([network]);
    let client = world.client("net", "10.0.0.1");
    let first = |name: &str| {
        let reply = client.ask(name, SRV).reply();
        let all: std::collections::BTreeSet<String> =
            reply.message.answers.iter().map(|srv| srv.data.to_string()).collect();
        assert_eq!(all.len(), reply.message.answers.len(), "each once");
        (reply.message.answers[0].data.to_string(), all.len())
    };
    // In turn, so that each has a count of its own.
    let mut firsts: [std::collections::BTreeMap<String, u32>; 3] = Default::default();
    for _ in 0..60 {
        let names = [("_http._tcp.pool", 6), ("_metrics._tcp.pool", 3), ("_ldap._tcp.dir", 3)];
        for (firsts, (name, count)) in firsts.iter_mut().zip(names) {
            let (first, all) = first(name);
            assert_eq!(all, count, "{name}");
            *firsts.entry(first).or_default() += 1;
        }
    }
    for (firsts, times) in firsts.iter().zip([10, 20, 20]) {
        assert_eq!(firsts.len() as u32 * times, 60);
        assert!(firsts.values().all(|&count| count == times), "{firsts:?}");
    }
}
