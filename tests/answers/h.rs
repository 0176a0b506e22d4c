//! Header, EDNS, size.

use callsign::responder::ResponderOptions;
use callsign::table::{Health, HealthPolicy, Network, NetworkBuilder, Record};
use hickory_proto::rr::RecordType::{self, A, AAAA, MX, PTR, SRV, TXT};
use hickory_proto::rr::{Name, RData};

use crate::kit::{Ask, Asker, CLIENT_COOKIE, Reply, World, ask, blog, check, owner, shop};

/// The flag bits of a reply: `qr aa tc rd ra ad cd`, as dig writes them.
fn flags(reply: &Reply) -> String {
    let word = u16::from_be_bytes([reply.bytes[2], reply.bytes[3]]);
    let names = [(0x400, "aa"), (0x200, "tc"), (0x100, "rd"), (0x80, "ra"), (0x40, "z"), (0x20, "ad"), (0x10, "cd")];
    names.iter().filter(|(bit, _)| word & bit != 0).map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
}

fn with_flags(mut packet: Vec<u8>, flags: u16) -> Vec<u8> {
    let word = u16::from_be_bytes([packet[2], packet[3]]) & 0x7800 | flags;
    packet[2..4].copy_from_slice(&word.to_be_bytes());
    packet
}

#[test]
fn h1_flags_of_local_answers() {
    let world = World::of([shop(), blog().internal(true)]);
    let client = world.client("shop", "10.10.1.3");
    let internal = world.client("blog", "10.10.2.3");
    // Answers and negatives alike: authoritative.
    for name in [
        "db",
        "nothere.internal",
        "db.internal",
        "localhost",
        "x.onion",
        "_tcp.api",
        "worker",
        "3.1.10.10.in-addr.arpa",
    ] {
        let packet = ask(name, AAAA).packet();
        for (asked, expected) in
            [(0, "aa ra"), (0x100, "aa rd ra"), (0x10, "aa ra cd"), (0x130, "aa rd ra cd"), (0x20, "aa ra")]
        {
            assert_eq!(flags(&client.send(&with_flags(packet.clone(), asked)).reply()), expected, "{name} {asked:x}");
        }
        // All bits set that a query may have set, or may not: AA, TC, RD, RA, Z, AD, CD.
        assert_eq!(flags(&client.send(&with_flags(packet, 0x7f0)).reply()), "aa rd ra cd", "{name}");
    }
    // No RA where this client's questions are not forwarded; still authoritative where that is the answer.
    let packet = ask("site", A).packet();
    assert_eq!(flags(&internal.send(&packet).reply()), "aa rd");
    assert_eq!(flags(&internal.ask("example.com", A).reply()), "aa rd");
    assert_eq!(flags(&world.client("blog", "10.10.2.6").send(&packet).reply()), "aa rd ra");
    // Errors are no answers.
    assert_eq!(flags(&client.ask("db", RecordType::AXFR).reply()), "rd ra");
    assert_eq!(flags(&internal.ask("db", RecordType::AXFR).reply()), "rd");
    assert_eq!(flags(&world.client("shop", "8.8.8.8").ask("db", A).reply()), "rd");
    // A failure to forward is not ours to be authoritative about.
    let failed = client.ask("example.com", A).forwarded().failed;
    assert_eq!((flags(&failed).as_str(), failed.rcode()), ("rd ra", 2));
}

#[test]
fn h2_ttl_is_the_networks_and_zero_by_default() {
    let ttls = |client: &Asker<'_>, name: &str, rtype| -> Vec<u32> {
        let reply = client.ask(name, rtype).reply();
        let records = reply.message.answers.iter().chain(&reply.message.additionals);
        records.map(|record| record.ttl).collect()
    };
    for (world, ttl) in [
        (World::of([shop().alias("primary", "db").alias("self", "localhost")]), 0),
        (World::of([shop().alias("primary", "db").alias("self", "localhost").ttl(600)]), 600),
    ] {
        let client = world.client("shop", "10.10.1.3");
        assert_eq!(ttls(&client, "db", A), [ttl]);
        assert_eq!(ttls(&client, "web", A), [ttl; 2]);
        assert_eq!(ttls(&client, "api", AAAA), [ttl]);
        assert_eq!(ttls(&client, "primary", A), [ttl; 2]);
        assert_eq!(ttls(&client, "payments", RecordType::CNAME), [ttl]);
        assert_eq!(ttls(&client, "_http._tcp.api", SRV), [ttl; 3]);
        assert_eq!(ttls(&client, "3.1.10.10.in-addr.arpa", PTR), [ttl]);
        assert_eq!(ttls(&client, "host.docker.internal", A), [ttl]);
        assert_eq!(client.ask("payments", A).forwarded().aliases[0].2, ttl);
    }
    assert!(shop().ttl(1 << 31).build().is_err());
    assert!(shop().ttl((1 << 31) - 1).build().is_ok());
}

/// The SOA of a negative reply: owner, TTL, minimum, serial; its MNAME and RNAME must be the owner and hostmaster there.
#[track_caller]
fn soa(reply: &Reply) -> (String, u32, u32, u32) {
    let [record] = &reply.message.authorities[..] else { panic!("one SOA: {reply}") };
    let RData::SOA(data) = &record.data else { panic!("{record:?}") };
    assert_eq!(data.mname, record.name);
    let hostmaster = Name::from_labels([&b"hostmaster"[..]]).unwrap().append_name(&record.name);
    // A name of more than 255 octets could not be said.
    assert_eq!(data.rname, hostmaster.unwrap_or_else(|_| record.name.clone()));
    (owner(&record.name), record.ttl, data.minimum, data.serial)
}

#[test]
fn h3_every_negative_reply_has_its_soa() {
    let world = World::of([
        shop()
            .domain("deep.internal")
            .negative_ttl(30)
            .ttl(5)
            .alias("gone", "a.b.nothere.internal")
            .alias("empty", "db.deep.internal")
            .alias("bare", "db")
            .alias("dark", "abc.onion")
            .alias("first", "gone")
            .health(HealthPolicy::Require),
        Network::builder("vault").subnet("10.10.9.0/24").internal(true).negative_ttl(9).alias("far", "x.example.com"),
    ]);
    world.network("shop").update("shop-api-1", |api| api.with_health(Health::Unhealthy)).unwrap();
    let serial = world.network("shop").snapshot().revision() as u32;
    let client = world.client("shop", "10.10.1.3");
    for (name, rtype, rcode, zone) in [
        ("nothere.internal", A, 3, "internal"),
        ("NOTHERE.Deep.INTERNAL", A, 3, "deep.internal"),
        ("db.internal", AAAA, 0, "internal"),
        ("db.shop.deep.internal", AAAA, 0, "deep.internal"),
        ("db", AAAA, 0, "db"),
        ("db.shop", MX, 0, "db.shop"),
        ("internal", A, 0, "internal"),
        ("deep.internal", A, 0, "deep.internal"),
        ("_tcp.api", SRV, 0, "_tcp.api"),
        ("_http._tcp.api.internal", SRV, 0, "internal"),
        ("worker", A, 0, "worker"),
        ("api", A, 0, "api"),
        ("x.onion", A, 3, "x.onion"),
        ("localhost", MX, 0, "localhost"),
        ("9.1.10.10.in-addr.arpa", PTR, 3, "9.1.10.10.in-addr.arpa"),
        ("3.1.10.10.in-addr.arpa", A, 0, "3.1.10.10.in-addr.arpa"),
        ("1.10.10.in-addr.arpa", PTR, 0, "1.10.10.in-addr.arpa"),
        ("1.0.0.127.in-addr.arpa", A, 0, "1.0.0.127.in-addr.arpa"),
        ("host.docker.internal", AAAA, 0, "internal"),
        // Behind an alias it is about the target.
        ("gone", A, 3, "internal"),
        ("empty.internal", AAAA, 0, "deep.internal"),
        ("bare", AAAA, 0, "db"),
        ("dark", A, 3, "abc.onion"),
        ("first", A, 3, "internal"),
    ] {
        let reply = client.ask(name, rtype).reply();
        assert_eq!(reply.rcode(), rcode, "{name}");
        assert_eq!(soa(&reply), (zone.to_owned(), 30, 30, serial), "{name}");
    }
    let reply = world.client("vault", "10.10.9.1").ask("example.com", A).reply();
    assert_eq!(soa(&reply), ("example.com".to_owned(), 9, 9, 0));
    let reply = world.client("vault", "10.10.9.1").ask("far", A).reply();
    assert_eq!(soa(&reply).0, "x.example.com");
    // Positive replies have none, and errors neither.
    for (name, rtype) in [("db", A), ("localhost", A), ("db", RecordType::AXFR)] {
        assert!(client.ask(name, rtype).reply().message.authorities.is_empty());
    }
    // 0 s unless said otherwise.
    let world = World::example();
    let (_, ttl, minimum, _) = soa(&world.client("shop", "10.10.1.3").ask("nothere.internal", A).reply());
    assert_eq!((ttl, minimum), (0, 0));
}

#[test]
fn h3_the_soa_fits_with_the_longest_names() {
    let world = World::of([shop().internal(true)]);
    let client = world.client("shop", "10.10.1.3");
    // Up to 255 octets; from 245 on there is no room for `hostmaster` in front.
    for last in [49, 50, 51, 52, 60, 61] {
        let name = format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(last));
        let with_cookie = ask(&name, A).option(10, &CLIENT_COOKIE).packet_of_size(512);
        for packet in [with_cookie, ask(&name, A).without_edns().packet()] {
            assert_eq!(soa(&client.send(&packet).reply()).0, name);
        }
    }
}

#[test]
fn h4_an_opt_if_and_only_if_the_query_had_one() {
    let world = World::of([shop(), blog().internal(true)]);
    for (network, source, name, rtype) in [
        ("shop", "10.10.1.3", "db", A),
        ("shop", "10.10.1.3", "db", AAAA),
        ("shop", "10.10.1.3", "nothere.internal", A),
        ("shop", "10.10.1.3", "db", RecordType::AXFR),
        ("shop", "8.8.8.8", "db", A),
        ("blog", "10.10.2.3", "example.com", A),
    ] {
        let client = world.client(network, source);
        assert!(client.ask(name, rtype).reply().message.edns.is_some());
        assert!(client.send(&ask(name, rtype).without_edns().packet()).reply().message.edns.is_none());
    }
    let client = world.client("shop", "10.10.1.3");
    let opt = client.ask("db", A).reply().message.edns.unwrap();
    assert_eq!((opt.max_payload(), opt.version(), opt.options().options.len()), (1232, 0, 0));
    assert!(client.ask("example.com", A).forwarded().failed.message.edns.is_some());
    let forwarded = client.send(&ask("example.com", A).without_edns().packet()).forwarded();
    assert!(forwarded.failed.message.edns.is_none());
}

#[test]
fn h4_an_unknown_version_is_badvers() {
    let world = World::example();
    let client = world.client("shop", "10.10.1.3");
    for version in [1, 2, 255] {
        for name in ["db", "nothere.internal", "example.com"] {
            let reply = client.send(&ask(name, A).edns(|edns| _ = edns.set_version(version)).packet()).reply();
            assert_eq!((reply.rcode(), reply.bytes[3] & 15), (16, 0));
            assert_eq!(reply.message.edns.as_ref().unwrap().version(), 0);
            assert!(reply.message.all_sections().next().is_none());
            assert_eq!(flags(&reply), "rd ra");
        }
    }
    assert_eq!(explain_decision(&client, ask("db", A).edns(|edns| _ = edns.set_version(1))), "BADVERS");
}

fn explain_decision(client: &Asker<'_>, ask: Ask) -> String {
    client.explain_packet(&ask.packet()).decision
}

#[test]
fn h4_unknown_options_and_flags_are_passed_over() {
    let world = World::example();
    let client = world.client("shop", "10.10.1.3");
    // NSID, client subnet, keepalive (asked over UDP), padding, EDE (in a query), key tag, private, reserved.
    for (code, value) in [
        (3, &b""[..]),
        (8, b"\0\x01\x18\0\x0a\0\0"),
        (11, b""),
        (12, &[0; 100]),
        (15, b"\0\x0f"),
        (14, b"\x4f\x66"),
        (65_001, b"whatever"),
        (65_535, b""),
        (0, b"x"),
    ] {
        let reply = client.send(&ask("db", A).option(code, value).packet()).reply();
        assert_eq!(reply.to_string(), "NOERROR: db A 10.10.1.3", "option {code}");
        assert!(reply.message.edns.unwrap().options().options.is_empty(), "option {code}");
    }
    // Two of them, one twice.
    let reply = client.send(&ask("db", A).option(65_001, b"a").option(12, b"").option(65_001, b"b").packet()).reply();
    assert!(reply.message.edns.unwrap().options().options.is_empty());
    // All 16 flags: DO is copied, the rest are not.
    let mut packet = ask("db", A).packet();
    let at = packet.len() - 4;
    packet[at..at + 2].copy_from_slice(&[0xff, 0xff]);
    let reply = client.send(&packet).reply();
    let len = reply.bytes.len();
    assert_eq!(reply.bytes[len - 4..len - 2], [0x80, 0]);
    packet[at..at + 2].copy_from_slice(&[0x7f, 0xff]);
    let reply = client.send(&packet).reply();
    assert_eq!(reply.bytes[len - 4..len - 2], [0, 0]);
    // An extended rcode in a query means nothing.
    packet[at - 2] = 0xff;
    check(client.send(&packet), "NOERROR: db A 10.10.1.3");
}

/// `pool` with so many addresses of each family.
fn pool(addresses: usize) -> NetworkBuilder {
    let builder = (0..addresses).fold(callsign::table::Endpoint::builder("pool-1").name("pool"), |endpoint, number| {
        endpoint
            .ip(std::net::Ipv4Addr::from(0x0a00_0001 + number as u32).into())
            .ip(std::net::Ipv6Addr::from((0xfd << 120) + number as u128 + 1).into())
    });
    Network::builder("net").subnet("10.0.0.0/8").endpoint(builder.build().unwrap())
}

#[test]
fn h5_replies_fill_their_limit_and_no_more() {
    // Header 12 and question 10, records of 16 or 28, the OPT 11.
    let world = World::of([pool(5000)]);
    let udp = world.client("net", "10.0.0.1");
    for (size, limit) in [
        (None, 512),
        (Some(0), 512),
        (Some(511), 512),
        (Some(512), 512),
        (Some(513), 513),
        (Some(520), 520),
        (Some(1231), 1231),
        (Some(1232), 1232),
        (Some(1233), 1232),
        (Some(4096), 1232),
        (Some(65_535), 1232),
    ] {
        for (rtype, len) in [(A, 16), (AAAA, 28)] {
            let ask = ask("pool", rtype);
            let (packet, opt) = match size {
                Some(size) => (ask.packet_of_size(size), 11),
                None => (ask.without_edns().packet(), 0),
            };
            let reply = udp.send(&packet).reply();
            let fitting = (limit - 22 - opt) / len;
            assert_eq!(reply.message.answers.len(), fitting, "{rtype}, size {size:?}");
            assert_eq!(reply.bytes.len(), 22 + opt + fitting * len);
            assert!(reply.message.metadata.truncation && reply.message.authorities.is_empty());
            assert_eq!(reply.message.edns.is_some(), size.is_some(), "the OPT is kept");
        }
    }
    // What is forwarded has the same limits.
    let limit = |client: &Asker<'_>, packet: &[u8]| client.send(packet).forwarded().limit;
    assert_eq!(limit(&udp, &ask("x.test", A).without_edns().packet()), 512);
    assert_eq!(limit(&udp, &ask("x.test", A).packet_of_size(600)), 600);
    assert_eq!(limit(&udp, &ask("x.test", A).packet_of_size(4096)), 1232);
    assert_eq!(limit(&world.client("net", "10.0.0.1").tcp(), &ask("x.test", A).packet()), 65_535);
    // Over TCP the client's size says nothing.
    let tcp = world.client("net", "10.0.0.1").tcp();
    for packet in [ask("pool", A).packet_of_size(512), ask("pool", A).packet_of_size(65_535)] {
        let reply = tcp.send(&packet).reply();
        assert_eq!(reply.message.answers.len(), (65_535 - 22 - 11) / 16);
        assert_eq!(reply.bytes.len(), 22 + 11 + 4093 * 16);
        assert!(reply.message.metadata.truncation && reply.message.edns.is_some());
    }
}

#[test]
fn h5_tc_only_if_an_answer_was_left_out() {
    for (addresses, size, cut) in [
        // (512 - 22 - 11) / 16 = 29, and (512 - 22) / 16 = 30 without the OPT.
        (29, Some(512), false),
        (30, Some(512), true),
        (30, None, false),
        (31, None, true),
        // (1232 - 22 - 11) / 16 = 74.
        (74, Some(1232), false),
        (75, Some(1232), true),
        (74, Some(4096), false),
    ] {
        let world = World::of([pool(addresses)]);
        let ask = ask("pool", A);
        let packet = match size {
            Some(size) => ask.packet_of_size(size),
            None => ask.without_edns().packet(),
        };
        let reply = world.client("net", "10.0.0.1").send(&packet).reply();
        assert_eq!(reply.message.metadata.truncation, cut, "{addresses} addresses, size {size:?}");
        assert_eq!(reply.message.answers.len(), if cut { addresses - 1 } else { addresses });
        let reply = world.client("net", "10.0.0.1").tcp().send(&packet).reply();
        assert!(!reply.message.metadata.truncation && reply.message.answers.len() == addresses);
    }
}

#[test]
fn h5_options_take_their_room_and_a_large_record_is_left_out_whole() {
    let world = World::of([
        pool(100),
        shop()
            .record(Record::parse("big", "TXT", &format!("\"{0}\" \"{0}\" \"{0}\"", "x".repeat(250)), None).unwrap())
            .alias("long", "db")
            .alias("longer", "big"),
    ]);
    let packet = ask("pool", A).option(10, &CLIENT_COOKIE).packet_of_size(512);
    let reply = world.client("net", "10.0.0.1").send(&packet).reply();
    assert_eq!(reply.message.answers.len(), (512 - 22 - 11 - 28) / 16);
    assert!(reply.option(10).is_some());
    let client = world.client("shop", "10.10.1.3");
    check(client.send(&ask("big", TXT).without_edns().packet()), "NOERROR TC");
    assert_eq!(client.send(&ask("big", TXT).packet()).reply().message.answers.len(), 1);
    // The alias is told, its target's record did not fit.
    let reply = client.send(&ask("longer", TXT).without_edns().packet()).reply();
    assert_eq!(reply.to_string(), "NOERROR: longer CNAME big TC");
}

#[test]
fn h6_extended_errors_say_why_if_the_query_had_an_opt() {
    let world = World::of([shop().alias("narcissus", "narcissus"), blog().internal(true)]);
    for (network, source, name, code, text) in [
        ("shop", "8.8.8.8", "db", 18, "this client may not ask here"),
        ("blog", "10.10.2.3", "example.com", 15, "this network is internal: nothing is forwarded"),
        ("shop", "10.10.1.3", "worker", 0, "worker is not running"),
        ("shop", "10.10.1.3", "narcissus", 0, "aliases lead in a circle or are too many"),
    ] {
        let client = world.client(network, source);
        assert_eq!(client.ask(name, A).reply().extended_error(), Some((code, text.to_owned())));
        assert!(client.send(&ask(name, A).without_edns().packet()).reply().message.edns.is_none());
    }
    // Ours alone: a name that does not exist, or data that there is not, is no error of ours.
    let client = world.client("shop", "10.10.1.3");
    for (name, rtype) in [("db", A), ("db", AAAA), ("nothere.internal", A), ("x.onion", A), ("db", RecordType::AXFR)] {
        assert_eq!(client.ask(name, rtype).reply().extended_error(), None);
    }
    // A failure to forward, as the forwarder reports it.
    let failed = client.ask("example.com", A).forwarded().failed;
    assert_eq!(failed.extended_error(), Some((23, "no route".into())));
}

#[test]
fn h7_a_client_cookie_gets_a_server_cookie() {
    // The examples of RFC 9018, appendix A.
    let secret: [u8; 16] = 0xe5e973e5a6b2a43f48e7dc849e37bfcf_u128.to_be_bytes();
    let keyed = |options: &mut ResponderOptions| options.cookie_secret = secret;
    let anyone = || shop().allow("0.0.0.0/0").allow("::/0");
    let world = World::with([anyone(), blog()], keyed);
    let client_cookie = 0x2464c4abcf10c957_u64.to_be_bytes();
    let server_cookie = 0x010000005cf79f111f8130c3eee29480_u128.to_be_bytes();
    let fresh = [&client_cookie[..], &server_cookie].concat();
    let client = || world.client("shop", "198.51.100.100");
    let send = |client: &Asker<'_>, cookie: &[u8]| client.send(&ask("db", A).option(10, cookie).packet()).reply();

    let reply = send(&client().with_time(1_559_731_985), &client_cookie);
    assert_eq!(reply.option(10).unwrap(), fresh);
    assert_eq!(reply.to_string(), "NOERROR: db A 10.10.1.3");
    // It is kept while fresh, and renewed when old, foreign, or of another length.
    assert_eq!(send(&client().with_time(1_559_731_985 + 1799), &fresh).option(10).unwrap(), fresh);
    assert_ne!(send(&client().with_time(1_559_731_985 + 1800), &fresh).option(10).unwrap(), fresh);
    assert_ne!(
        send(&world.client("shop", "198.51.100.101").with_time(1_559_731_985), &fresh).option(10).unwrap(),
        fresh
    );
    for len in [16, 20, 31, 40] {
        let other = [&client_cookie[..], &vec![7; len - 8]].concat();
        let got = send(&client().with_time(1_559_731_985), &other).option(10).unwrap();
        assert_eq!(got, fresh, "a server cookie of {} octets is none of ours", len - 8);
    }
    // Appendix A.4: IPv6, and a secret that was replaced.
    let at_home = |secret: u128| World::with([anyone()], |options| options.cookie_secret = secret.to_be_bytes());
    let client_cookie = 0x22681ab97d52c298_u64.to_be_bytes();
    let old = [&client_cookie[..], &0x010000005cf7c57926556bd0934c72f8_u128.to_be_bytes()].concat();
    let new = [&client_cookie[..], &0x010000005cf7c609a6bb79d16625507a_u128.to_be_bytes()].concat();
    let from = |world: &World, now| {
        let client = world.client("shop", "2001:db8:220:1:59de:d0f4:8769:82b8").with_time(now);
        send(&client, &old).option(10).unwrap()
    };
    assert_eq!(from(&at_home(0xdd3bdf9344b678b185a6f5cb60fca715), 1_559_741_961), old);
    assert_eq!(from(&at_home(0x445536bcd2513298075a5d379663c962), 1_559_741_961), new);
}

#[test]
fn h7_cookies_on_every_reply_and_bad_ones_malformed() {
    let world = World::of([shop(), blog().internal(true)]);
    for (network, source, name, rtype) in [
        ("shop", "10.10.1.3", "db", AAAA),
        ("shop", "10.10.1.3", "nothere.internal", A),
        ("shop", "10.10.1.3", "db", RecordType::AXFR),
        ("shop", "8.8.8.8", "db", A),
        ("blog", "10.10.2.3", "example.com", A),
    ] {
        let client = world.client(network, source);
        let reply = client.send(&ask(name, rtype).option(10, &CLIENT_COOKIE).packet()).reply();
        let cookie = reply.option(10).unwrap();
        assert_eq!((&cookie[..8], cookie.len(), cookie[8]), (&CLIENT_COOKIE[..], 24, 1));
    }
    let client = world.client("shop", "10.10.1.3");
    let forwarded = client.send(&ask("example.com", A).option(10, &CLIENT_COOKIE).packet()).forwarded();
    assert_eq!(forwarded.failed.option(10).unwrap().len(), 24);
    for len in [0, 1, 7, 9, 15, 41, 60] {
        check(client.send(&ask("db", A).option(10, &vec![1; len]).packet()), "FORMERR");
    }
    // No cookie, no cookie.
    assert_eq!(client.ask("db", A).reply().option(10), None);
    // The first of two counts.
    let reply = client.send(&ask("db", A).option(10, &CLIENT_COOKIE).option(10, b"12345678").packet()).reply();
    assert_eq!(reply.option(10).unwrap()[..8], CLIENT_COOKIE);
    // Keepalive is for TCP (rule C); there it comes beside the cookie.
    let packet = ask("db", A).option(10, &CLIENT_COOKIE).option(11, b"").packet();
    assert_eq!(client.send(&packet).reply().option(11), None);
    let reply = world.client("shop", "10.10.1.3").tcp().send(&packet).reply();
    assert_eq!((reply.option(11), reply.option(10).unwrap().len()), (Some(vec![0, 100]), 24));
}

#[test]
fn h5_the_size_of_replies_over_udp_can_be_set() {
    for (set, limit) in [(512, 512), (0, 512), (1000, 1000), (4096, 4096), (u16::MAX, 4096)] {
        let world = World::with([pool(500)], |options| options.udp_size = set);
        let world = World { udp_size: limit, ..world };
        let client = world.client("net", "10.0.0.1");
        for (asked, expected) in [(600, limit.min(600)), (u16::MAX, limit), (1, 512)] {
            let reply = client.send(&ask("pool", A).packet_of_size(asked)).reply();
            let fitting = (usize::from(expected) - 22 - 11) / 16;
            assert_eq!(reply.message.answers.len(), fitting, "{set} {asked}");
            assert!(reply.message.metadata.truncation);
        }
        let forwarded = client.send(&ask("x.test", A).packet_of_size(4096)).forwarded();
        assert_eq!(forwarded.limit, usize::from(limit));
        assert_eq!(client.send(&ask("x.test", A).without_edns().packet()).forwarded().limit, 512);
    }
}

#[test]
fn h5_an_answer_over_tcp_that_fits_without_a_cookie_goes_without_it() {
    // Header 12, question 9, record 12; 255 of each string's 256 octets are text.
    let world = |octets: usize| {
        let data = octets - 33;
        let strings = (0..data.div_ceil(256)).map(|index| "x".repeat((data - 256 * index).min(256) - 1));
        let text = strings.map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(" ");
        World::of([shop().record(Record::parse("big", "TXT", &text, None).unwrap())])
    };
    let ask_big = || ask("big", TXT).option(10, &CLIENT_COOKIE).packet();
    // Octets without an OPT, which has 11 and with the cookie 39.
    for (octets, answers, has_cookie) in
        [(65_496, 1, true), (65_497, 1, false), (65_510, 1, false), (65_524, 1, false), (65_525, 0, true)]
    {
        let reply = world(octets).client("shop", "10.10.1.3").tcp().send(&ask_big()).reply();
        assert_eq!((reply.message.answers.len(), reply.option(10).is_some()), (answers, has_cookie), "{octets}");
        assert_eq!(reply.message.metadata.truncation, answers == 0, "{octets}");
        assert!(reply.message.edns.is_some());
        if answers > 0 {
            assert_eq!(reply.bytes.len(), octets + if has_cookie { 39 } else { 11 });
        }
    }
}

#[test]
fn p5_the_identity_is_given_to_those_who_ask_for_it() {
    const NSID: u16 = 3;
    let world = World::with([shop()], |options| options.identity = Some("node7".into()));
    let client = world.client("shop", "10.10.1.3");
    for name in ["db", "nothere.internal", "localhost"] {
        assert_eq!(client.send(&ask(name, A).option(NSID, b"").packet()).reply().option(NSID), Some(b"node7".to_vec()));
        assert_eq!(client.ask(name, A).reply().option(NSID), None, "not asked for");
    }
    // With what is forwarded, too.
    let failed = client.send(&ask("example.com", A).option(NSID, b"").packet()).forwarded().failed;
    assert_eq!(failed.option(NSID), Some(b"node7".to_vec()));
    assert_eq!(
        World::example()
            .client("shop", "10.10.1.3")
            .send(&ask("db", A).option(NSID, b"").packet())
            .reply()
            .option(NSID),
        None
    );
    // A long one is left out before the question would be.
    let world = World::with([shop()], |options| options.identity = Some("n".repeat(255)));
    let name = format!("{0}.{0}.{0}.{1}.internal", "x".repeat(63), "x".repeat(50));
    let packet = ask(&name, A).option(NSID, b"").option(10, &CLIENT_COOKIE).packet_of_size(512);
    let reply = world.client("shop", "10.10.1.3").send(&packet).reply();
    assert_eq!((reply.rcode(), reply.message.queries.len(), reply.option(NSID)), (3, 1, None));
}
