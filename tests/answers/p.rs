//! Packets.

use callsign::wire::Name;
use hickory_proto::op::{Message, OpCode};
use hickory_proto::rr::{DNSClass, RecordType, RecordType::A};

use crate::kit::{Asker, Outcome, World, ask, ask_labels, check, named, shop};

const WEB_A: &[u8] = b"\x03api\x00\x00\x01\x00\x01";
const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";

/// A packet with ID abcd and RD, of the given counts and octets.
fn raw(counts: [u16; 4], rest: &[&[u8]]) -> Vec<u8> {
    let counts = counts.into_iter().flat_map(u16::to_be_bytes);
    [0xab, 0xcd, 1, 0].into_iter().chain(counts).chain(rest.concat()).collect()
}

#[test]
fn p1_short_packets_replies_and_port_zero_are_ignored() {
    let world = World::example();
    let client = world.client("shop", "10.10.1.3");
    let query = ask("api", A).packet();
    for len in 0..12 {
        check(client.send(&query[..len]), "ignored");
    }
    let mut reply = query.clone();
    reply[2] |= 0x80;
    check(client.send(&reply), "ignored");
    // A reply of any opcode, and one that could not be read further.
    reply[2] |= 0x28;
    check(client.send(&reply), "ignored");
    check(client.send(&reply[..12]), "ignored");
    let mut nobody = world.client("shop", "10.10.1.3");
    nobody.source.set_port(0);
    check(nobody.send(&query), "ignored");
    // Not even an error goes to port 0.
    check(nobody.send(&raw([0; 4], &[])), "ignored");
    check(client.send(&query), "NOERROR: api A 10.10.1.2");
}

#[test]
fn p2_other_opcodes_are_not_implemented_and_never_forwarded() {
    let world = World::example();
    let client = world.client("shop", "10.10.1.3");
    for opcode in 1..16_u8 {
        for name in ["api", "example.com"] {
            let mut packet = ask(name, A).packet();
            packet[2] |= opcode << 3;
            let reply = client.send(&packet).reply();
            assert_eq!((reply.rcode(), reply.message.answers.len()), (4, 0), "opcode {opcode}");
            assert_eq!(reply.bytes[2] >> 3 & 15, opcode);
            assert_eq!(reply.message.queries.len(), 1);
        }
    }
    // As NOTIFY and UPDATE really look: an answer in the one, prerequisites and updates in the other.
    let soa = b"\x03api\x00\x00\x06\x00\x01";
    let record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x0a\x00\x00\x01";
    for (opcode, counts, rest) in
        [(4, [1, 1, 0, 0], [&soa[..], record, b""]), (5, [1, 1, 1, 0], [&soa[..], record, record])]
    {
        let mut packet = raw(counts, &rest);
        packet[2] |= opcode << 3;
        check(client.send(&packet), "NOTIMP");
    }
    // DSO (opcode 6) has no question at all.
    let mut dso = raw([0; 4], &[]);
    dso[2] |= 6 << 3;
    check(client.send(&dso), "NOTIMP");
}

#[test]
fn p3_what_is_no_query_is_a_format_error() {
    let world = World::example();
    let client = world.client("shop", "10.10.1.3");
    let long_label = [&[64][..], &[b'x'; 64], b"\0\0\x01\0\x01"].concat();
    let long_name = [&[&[63][..], &[b'x'; 63]].concat().repeat(3), &[62][..], &[b'x'; 62], b"\0\0\x01\0\x01"].concat();
    assert_eq!(long_name.len(), 256 + 4);
    let record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x0a\x00\x00\x01";
    for (what, packet) in [
        ("no question", raw([0, 0, 0, 0], &[])),
        ("no question, but one in the packet", raw([0, 0, 0, 0], &[WEB_A])),
        ("two questions", raw([2, 0, 0, 0], &[WEB_A, WEB_A])),
        ("65,535 questions", raw([0xffff; 4], &[])),
        ("a label of 64", raw([1, 0, 0, 0], &[&long_label])),
        ("a name of 256", raw([1, 0, 0, 0], &[&long_name])),
        ("a pointer", raw([1, 0, 0, 0], &[b"\xc0\x0c\0\x01\0\x01"])),
        ("a pointer behind a label", raw([1, 0, 0, 0], &[b"\x01a\xc0\x0c\0\x01\0\x01"])),
        ("a pointer to itself", raw([1, 0, 0, 0], &[b"\xc0\x0d\0\x01\0\x01"])),
        ("a label type of its own", raw([1, 0, 0, 0], &[b"\x41a\0\0\x01\0\x01"])),
        ("no root", raw([1, 0, 0, 0], &[b"\x03api"])),
        ("no type", raw([1, 0, 0, 0], &[b"\x03api\0"])),
        ("half a class", raw([1, 0, 0, 0], &[&WEB_A[..8]])),
        ("an answer", raw([1, 1, 0, 0], &[WEB_A, record])),
        ("an answer only announced", raw([1, 1, 0, 0], &[WEB_A])),
        ("an authority", raw([1, 0, 1, 0], &[WEB_A, record])),
        ("two OPT", raw([1, 0, 0, 2], &[WEB_A, OPT, OPT])),
        ("two OPT with a record between", raw([1, 0, 0, 3], &[WEB_A, OPT, record, OPT])),
        ("an additional only announced", raw([1, 0, 0, 1], &[WEB_A])),
        ("65,535 additionals announced", raw([1, 0, 0, 0xffff], &[WEB_A, OPT])),
        ("half an OPT", raw([1, 0, 0, 1], &[WEB_A, &OPT[..7]])),
        ("an OPT that is shorter than it says", raw([1, 0, 0, 1], &[WEB_A, &OPT[..9], b"\0\x05"])),
    ] {
        let reply = client.send(&packet).reply();
        assert_eq!((reply.rcode(), &reply.bytes[..2]), (1, &[0xab, 0xcd][..]), "{what}");
        assert!(reply.message.answers.is_empty() && reply.message.authorities.is_empty(), "{what}");
    }
    // Nothing of this is odd: 63 octets in a label, 255 in a name, a record besides the OPT.
    let longest = [&[&[63][..], &[b'x'; 63]].concat().repeat(3), &[61][..], &[b'x'; 61], b"\0\0\x01\0\x01"].concat();
    assert_eq!(longest.len(), 255 + 4);
    assert!(matches!(client.send(&raw([1, 0, 0, 0], &[&longest])), Outcome::Forward(_)));
    check(client.send(&raw([1, 0, 0, 2], &[WEB_A, record, OPT])), "NOERROR: api A 10.10.1.2");
}

#[test]
fn p3_every_truncation_of_a_query_is_an_error_or_ignored() {
    let world = World::example();
    let client = world.client("shop", "10.10.1.3");
    let query = ask("api", A).option(10, b"8 octets").packet();
    for len in 0..query.len() {
        check(client.send(&query[..len]), if len < 12 { "ignored" } else { "FORMERR" });
    }
}

#[test]
fn p4_transfers_are_refused_and_meta_types_malformed() {
    let world = World::example();
    let client = world.client("shop", "10.10.1.3");
    for name in ["api", "internal", "nothere.internal", "example.com", ""] {
        for (rtype, expected) in [(252, "REFUSED"), (251, "REFUSED"), (41, "FORMERR"), (250, "FORMERR")]
            .map(|(n, e)| (RecordType::from(n), e))
        {
            check(client.send(&ask(name, rtype).packet()), expected);
            check(world.client("shop", "10.10.1.3").tcp().send(&ask(name, rtype).packet()), expected);
        }
    }
}

#[test]
fn p4_an_incremental_transfer_as_it_really_comes() {
    let world = World::example();
    let client = world.client("shop", "10.10.1.3");
    // With the SOA that the client has, as an authority (RFC 1995 §3): an authority in any other query is malformed.
    let soa = b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00\x00\x16\x00\x00\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let question = |rtype| [&b"\x08internal\x00\x00"[..], &[rtype, 0, 1]].concat();
    check(client.send(&raw([1, 0, 1, 0], &[&question(251), soa])), "REFUSED");
    check(client.send(&raw([1, 0, 1, 1], &[&question(251), soa, OPT])), "REFUSED");
    check(client.send(&raw([1, 0, 2, 0], &[&question(251), soa, soa])), "FORMERR");
    check(client.send(&raw([1, 0, 1, 0], &[&question(252), soa])), "FORMERR");
    check(client.send(&raw([1, 0, 1, 0], &[&question(6), soa])), "FORMERR");
}

#[test]
fn p5_chaos_names_are_refused_unless_configured() {
    let names = ["version.bind", "VERSION.bind", "version.server", "hostname.bind", "id.server"];
    let send = |client: &Asker<'_>, name, rtype| client.send(&ask(name, rtype).class(DNSClass::CH).packet());

    let world = World::example();
    let client = world.client("shop", "10.10.1.3");
    for name in names {
        check(send(&client, name, RecordType::TXT), "REFUSED");
        check(send(&client, name, RecordType::ANY), "REFUSED");
    }
    // In class IN they are names like others.
    check(client.ask("version.bind", RecordType::TXT), "forward: version.bind");

    let world = World::with([shop()], |options| {
        options.version = Some("callsign 1".into());
        options.identity = Some("node7".into());
    });
    let client = world.client("shop", "10.10.1.3");
    for (name, text) in names.into_iter().zip(["callsign 1", "callsign 1", "callsign 1", "node7", "node7"]) {
        let reply = send(&client, name, RecordType::TXT).reply();
        let [answer] = &reply.message.answers[..] else { panic!("{reply}") };
        assert_eq!((answer.data.to_string(), answer.dns_class), (text.into(), DNSClass::CH));
        check(send(&client, name, A), "NOERROR");
    }
    let world = World::with([shop()], |options| options.version = Some("callsign 1".into()));
    check(send(&world.client("shop", "10.10.1.3"), "id.server", RecordType::TXT), "REFUSED");
}

#[test]
fn p5_other_classes_are_forwarded_where_forwarding_is_allowed() {
    let world = World::of([shop(), shop_named_vault()]);
    for class in [DNSClass::CH, DNSClass::HS, DNSClass::ANY, DNSClass::NONE, DNSClass::Unknown(65_280)] {
        // `db` and `localhost` mean nothing outside class IN.
        for name in ["db", "localhost", "example.com", "3.1.10.10.in-addr.arpa"] {
            let packet = ask(name, A).class(class).packet();
            let forwarded = world.client("shop", "10.10.1.3").send(&packet).forwarded();
            assert_eq!((forwarded.target, forwarded.aliases.len()), (name.parse().unwrap(), 0));
            let refused = world.client("vault", "10.10.9.2").send(&packet).reply();
            assert_eq!((refused.rcode(), refused.extended_error().unwrap().0), (3, 15), "{class}");
        }
    }
}

fn shop_named_vault() -> callsign::table::NetworkBuilder {
    callsign::table::Network::builder("vault").subnet("10.10.9.0/24").internal(true).endpoint(named(
        "safe-1",
        &["10.10.9.2"],
        &["db"],
    ))
}

#[test]
fn p6_the_question_comes_back_octet_for_octet() {
    let world = World::example();
    let client = world.client("shop", "10.10.1.3");
    for name in ["aPi", "API", "WEB", "Db.InTeRnAl", "NoThErE.internal", "WORKER", "LocalHost", "X.Onion"] {
        let packet = ask(name, A).without_edns().packet();
        let reply = client.send(&packet).reply();
        assert_eq!(reply.bytes[12..packet.len()], packet[12..], "{name}");
    }
    check(client.ask("aPI.iNTERNAL", A), "NOERROR: api.internal A 10.10.1.2");
    // The owner of an answer is spelled as the question was, not as the table has it: it is a pointer.
    let reply = client.send(&ask("aPi", A).without_edns().packet()).reply();
    assert_eq!(reply.bytes[12 + 9..][..2], [0xc0, 0x0c]);
}

#[test]
fn p6_errors_keep_the_question_where_there_is_one() {
    let world = World::example();
    let stranger = world.client("shop", "192.0.2.1");
    for packet in [ask("ApI", A).packet(), ask("aPI", RecordType::AXFR).packet()] {
        assert_eq!(stranger.send(&packet).reply().message.queries.len(), 1);
    }
    let client = world.client("shop", "10.10.1.3");
    let mut status = ask("ApI", A).with(|message: &mut Message| message.metadata.op_code = OpCode::Status).packet();
    assert_eq!(client.send(&status).reply().message.queries.len(), 1);
    status[2] &= !0x78;
    status[3] = 0;
    assert_eq!(client.send(&status).reply().message.queries.len(), 1);
}

#[test]
fn p7_a_name_is_octets() {
    let utf8 = "b\\195\\188cher";
    let world = World::of([shop()
        .endpoint(named("odd-1", &["10.10.1.20"], &["_under_score"]))
        .endpoint(named("odd-2", &["10.10.1.21"], &["with space"]))
        .endpoint(named("odd-3", &["10.10.1.22"], &["\\000nul"]))
        .endpoint(named("odd-4", &["10.10.1.23"], &[utf8]))
        .endpoint(named("odd-5", &["10.10.1.24"], &["xn--bcher-kva"]))
        .endpoint(named("odd-6", &["10.10.1.25"], &["dot\\.in"]))
        .endpoint(named("odd-7", &["10.10.1.26"], &["\\255\\192\\012"]))]);
    let client = world.client("shop", "10.10.1.3");
    let address = |label: &[u8]| match client.send(&ask_labels([label], A).packet()) {
        Outcome::Forward(_) => "forward".to_owned(),
        outcome => outcome.addresses().iter().map(ToString::to_string).collect(),
    };
    assert_eq!(address(b"_under_score"), "10.10.1.20");
    assert_eq!(address(b"_UNDER_score"), "10.10.1.20");
    assert_eq!(address(b"With Space"), "10.10.1.21");
    assert_eq!(address(b"\0NUL"), "10.10.1.22");
    assert_eq!(address("bücher".as_bytes()), "10.10.1.23");
    // Octets are converted by nobody (letters are: N12): UTF-8 and punycode of one word are two names; and only ASCII has a case.
    assert_eq!(address(b"xn--bcher-kva"), "10.10.1.24");
    assert_eq!(address(b"XN--BCHER-KVA"), "10.10.1.24");
    assert_eq!(address("BÜCHER".as_bytes()), "forward");
    assert_eq!(address(b"dot.in"), "10.10.1.25");
    check(client.ask("dot.in", A), "forward: dot.in");
    assert_eq!(address(b"\xff\xc0\x0c"), "10.10.1.26");
    // `@`, `[`, `{` and the back quote lie beside the letters and are none.
    assert_eq!(address(b"api@"), "forward");
    assert_eq!(address(b"ap\x49"), "10.10.1.2");
    assert_eq!(address(b"ap\x09"), "forward");
    let asked: Name = client.send(&ask_labels([&b"A\0.B"[..]], A).packet()).forwarded().target;
    assert_eq!(asked.as_wire(), b"\x04a\0.b\0");
}

#[test]
fn p3_an_error_for_a_query_with_an_opt_has_the_question_and_an_opt() {
    let world = World::example();
    let client = world.client("shop", "10.10.1.3");
    let record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x0a\x00\x00\x01";
    let soa = b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00\x00\x16\x00\x00\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let dnssec = b"\0\0\x29\x02\0\0\0\x80\0\0\0";
    let ixfr = [&WEB_A[..WEB_A.len() - 4], &[0, 251, 0, 1]].concat();
    for (what, rcode, packet, has_do) in [
        ("two OPT", 1, raw([1, 0, 0, 2], &[WEB_A, OPT, OPT]), false),
        ("an answer", 1, raw([1, 1, 0, 1], &[WEB_A, record, dnssec]), true),
        ("two authorities", 1, raw([1, 0, 2, 1], &[WEB_A, record, record, OPT]), false),
        ("more records than there are", 1, raw([1, 0, 0, 9], &[WEB_A, dnssec]), true),
        ("an incremental transfer", 5, raw([1, 0, 1, 1], &[&ixfr, soa, OPT]), false),
    ] {
        let reply = client.send(&packet).reply();
        assert_eq!((reply.rcode(), reply.message.answers.len()), (rcode, 0), "{what}");
        let end = 12 + WEB_A.len();
        assert_eq!(reply.bytes[12..end], packet[12..end], "{what}");
        assert_eq!(reply.bytes.len(), end + 11, "{what}");
        let edns = reply.message.edns.as_ref().expect(what);
        assert_eq!((edns.max_payload(), edns.version(), edns.flags().dnssec_ok), (1232, 0, has_do), "{what}");
    }
    // A question that cannot be repeated: the OPT, and no question.
    for (what, packet) in [
        ("no question", raw([0, 0, 0, 1], &[OPT])),
        ("two questions", raw([2, 0, 0, 1], &[WEB_A, WEB_A, OPT])),
        ("two questions, the second with a pointer", raw([2, 0, 0, 1], &[WEB_A, b"\xc0\x0c\0\x1c\0\x01", OPT])),
        ("a pointer", raw([1, 0, 0, 1], &[b"\xc0\x0c\0\x01\0\x01", OPT])),
    ] {
        let reply = client.send(&packet).reply();
        assert_eq!((reply.rcode(), reply.message.queries.len(), reply.bytes.len()), (1, 0, 12 + 11), "{what}");
        assert_eq!(reply.message.edns.as_ref().expect(what).max_payload(), 1232, "{what}");
    }
    // One that may not ask is told no more.
    let stranger = world.client("shop", "8.8.8.8").send(&raw([1, 0, 0, 2], &[WEB_A, OPT, OPT])).reply();
    assert_eq!((stranger.rcode(), stranger.message.edns.is_some()), (5, true));
}

#[test]
fn p3_a_malformed_client_subnet_is_ignored() {
    let world = World::example();
    let client = world.client("shop", "10.10.1.3");
    for subnet in [
        &b""[..],
        b"\0",
        b"\0\x09\x18\0\x0a",
        b"\0\x01\xff\0\x0a\0\0",
        b"\0\x01\x18\x18",
        b"\0\x01\x08\0\x0a\0\0\0\0\0",
    ] {
        let ask = || ask("api", A).option(8, subnet);
        check(client.send(&ask().packet()), "NOERROR: api A 10.10.1.2");
        // The general way: behind another record, with a cookie.
        let packet = ask().option(10, b"8 octets").with(|message| {
            message.additionals.push(hickory_proto::rr::Record::from_rdata(
                hickory_proto::rr::Name::root(),
                0,
                hickory_proto::rr::RData::A(std::net::Ipv4Addr::new(10, 0, 0, 1).into()),
            ));
        });
        let reply = client.send(&packet.packet()).reply();
        assert_eq!(reply.option(10).map(|cookie| cookie.len()), Some(24), "{subnet:?}");
        assert_eq!(reply.option(8), None, "not echoed");
    }
}
