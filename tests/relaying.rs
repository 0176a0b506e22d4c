//! An upstream's reply made into the client's (answers.md F3, H1, H4, H5): `forward::relay`, no sockets. What comes out is
//! read with hickory-proto, which had no part in writing it.

use callsign::forward::{Asked, AskedEdns, relay};
use callsign::wire::message::{Header, flag, records};
use callsign::wire::{Name, rcode, rtype};
use hickory_proto::op::Message;
use proptest::prelude::*;

const QUESTION: &[u8] = b"\x03wWw\x07example\x00\x00\x01\x00\x01";
/// What the upstream makes of the question's name: the same length, other case.
const ECHOED: &[u8] = b"\x03www\x07EXAMPLE\x00\x00\x01\x00\x01";

fn rr(owner: &[u8], rtype: u16, rdata: &[u8]) -> Vec<u8> {
    let fixed = [rtype, 1, 0, 300, rdata.len() as u16].map(u16::to_be_bytes);
    [owner, fixed.as_flattened(), rdata].concat()
}

/// An A record of the question's name.
fn a(last: u8) -> Vec<u8> {
    rr(b"\xc0\x0c", rtype::A, &[10, 0, 0, last])
}

fn opt(extended: u8, options: &[u8]) -> Vec<u8> {
    let len = (options.len() as u16).to_be_bytes();
    [&[0, 0, 41, 16, 0, extended, 0, 0x80, 0], &len[..], options].concat()
}

/// A reply with these records in its three sections.
fn reply(question: &[u8], flags: u16, sections: [&[Vec<u8>]; 3]) -> Vec<u8> {
    let counts = sections.map(|section| section.len() as u16);
    let header = [0xabcd, flag::QR | flags, 1, counts[0], counts[1], counts[2]].map(u16::to_be_bytes);
    [header.as_flattened(), question, &sections.concat().concat()].concat()
}

fn asked<'a>() -> Asked<'a> {
    Asked { id: 7, flags: flag::RD | flag::CD, question: QUESTION, limit: 1232, edns: None, aliases: &[] }
}

fn with_edns<'a>() -> Asked<'a> {
    Asked { edns: Some(AskedEdns { dnssec_ok: true, options: &[] }), ..asked() }
}

/// The client's reply, which is well-formed, within the limit, and for this client.
fn relayed(reply: &[u8], asked: &Asked<'_>) -> Vec<u8> {
    let mut out = vec![0xee; 3];
    relay(reply, asked, &mut out).unwrap();
    let header = Header::read(&out).unwrap();
    assert!(out.len() <= asked.limit);
    assert_eq!((header.id, header.counts[0], header.opcode()), (7, 1, 0));
    assert_eq!(&out[12..12 + asked.question.len()], asked.question, "the question as the client spelled it");
    assert!(header.has(flag::QR | flag::RA | flag::RD | flag::CD));
    let all = records(&out).map(|record| record.unwrap()).collect::<Vec<_>>();
    let end = all.last().map_or(12 + asked.question.len(), |record| record.range.end);
    assert_eq!(end, out.len(), "nothing behind the last record");
    let opts = all.iter().filter(|record| record.rtype == rtype::OPT).count();
    assert_eq!(opts, usize::from(asked.edns.is_some()), "an OPT if and only if the query had one (H4)");
    assert!(asked.edns.is_none() || all.last().unwrap().rtype == rtype::OPT);
    out
}

fn bits(message: &[u8]) -> u16 {
    Header::read(message).unwrap().flags
}

#[test]
fn f3_records_come_back_byte_for_byte() {
    let pointer_in_unknown = rr(b"\xc0\x0c", 65_280, b"\xc0\x0c\xff\x00 not a pointer, perhaps");
    let odd_class = [b"\x01x\xc0\x10", &[0xff, 0x09, 0xfe, 0x01, 0xff, 0xff, 0xff, 0xff, 0, 0][..]].concat();
    let sections = [&[a(2), a(1), a(1), pointer_in_unknown][..], &[odd_class], &[rr(b"\0", 65_281, b"")]];
    let expected = sections.concat().concat();
    for upstream_opt in [None, Some(opt(0, &[0, 10, 0, 1, 9]))] {
        let additional = sections[2].iter().cloned().chain(upstream_opt).collect::<Vec<_>>();
        let upstream = reply(ECHOED, 0, [sections[0], sections[1], &additional]);
        assert_eq!(&relayed(&upstream, &asked())[12 + QUESTION.len()..], expected);
        let out = relayed(&upstream, &with_edns());
        let ours = [0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0];
        assert_eq!(&out[12 + QUESTION.len()..], [&expected[..], &ours].concat());
        assert_eq!(Header::read(&out).unwrap().counts, [1, 4, 1, 2]);
    }
}

#[test]
fn f3_records_behind_an_opt_in_the_middle_keep_their_meaning() {
    // The SRV target stands behind the OPT, and the last owner points to it; MX and the unknown type to what is before.
    let start = 12 + QUESTION.len() + opt(0, &[]).len();
    let target = (start + 2 + 10 + 6) as u8;
    let additional = [
        opt(0, &[]),
        rr(b"\xc0\x0c", rtype::SRV, b"\0\x01\0\x02\0\x35\x03Srv\xc0\x10"),
        rr(&[0xc0, target], rtype::A, &[10, 0, 0, 9]),
        rr(b"\xc0\x0c", 15, b"\0\x0a\x02mx\xc0\x10"),
        rr(b"\xc0\x0c", 65_280, b"\xc0\x0c"),
        rr(b"\xc0\x0c", rtype::SRV, b"short"),
    ];
    let out = relayed(&reply(ECHOED, 0, [&[], &[], &additional]), &with_edns());
    let rdata = records(&out).map(|record| out[record.unwrap().rdata()].to_vec()).collect::<Vec<_>>();
    assert_eq!(
        rdata[..5],
        [
            b"\0\x01\0\x02\0\x35\x03Srv\x07EXAMPLE\0".to_vec(),
            vec![10, 0, 0, 9],
            b"\0\x0a\x02mx\x07EXAMPLE\0".to_vec(),
            b"\xc0\x0c".to_vec(),
            b"short".to_vec(),
        ]
    );
    let whole = relayed(&reply(ECHOED, 0, [&[], &[], &additional[..4]]), &with_edns());
    let message = Message::from_vec(&whole).unwrap();
    let owners = message.additionals.iter().map(|record| record.name.to_string()).collect::<Vec<_>>();
    assert_eq!(owners, ["www.EXAMPLE.", "Srv.EXAMPLE.", "www.EXAMPLE."]);
}

#[test]
fn h1_the_header_is_ours() {
    let noise = flag::AA | flag::AD | 0x0040 | flag::OPCODE & 0x2000;
    let upstream = reply(ECHOED, noise | rcode::NXDOMAIN, [&[], &[], &[]]);
    assert_eq!(
        bits(&relayed(&upstream, &asked())),
        flag::QR | flag::RA | flag::RD | flag::CD | flag::AD | rcode::NXDOMAIN
    );
    let upstream = reply(ECHOED, flag::TC, [&[a(1)], &[], &[]]);
    assert_eq!(bits(&relayed(&upstream, &asked())) & (flag::TC | flag::AA | flag::AD), flag::TC);
    let mut out = Vec::new();
    relay(&upstream, &Asked { flags: 0, ..asked() }, &mut out).unwrap();
    assert_eq!(bits(&out), flag::QR | flag::RA | flag::TC);
}

#[test]
fn h4_an_extended_rcode_needs_an_opt() {
    // 23, BADCOOKIE.
    let upstream = reply(ECHOED, 7, [&[], &[], &[opt(1, &[])]]);
    assert_eq!(bits(&relayed(&upstream, &asked())) & flag::RCODE, rcode::SERVFAIL);
    let out = relayed(&upstream, &with_edns());
    assert_eq!((bits(&out) & flag::RCODE, out[out.len() - 6]), (7, 1));
}

#[test]
fn h6_extended_errors_are_passed_on_and_other_options_are_not() {
    let error = [0, 15, 0, 4, 0, 6, b'd', b's'];
    let upstream = reply(ECHOED, 2, [&[], &[], &[opt(0, &[&[0, 10, 0, 1, 9][..], &error, &[0, 8, 0, 0]].concat())]]);
    let ours = [0, 10, 0, 2, 1, 2];
    let client = Asked { edns: Some(AskedEdns { dnssec_ok: false, options: &ours }), ..asked() };
    let out = relayed(&upstream, &client);
    let expected = [&[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 14][..], &ours, &error].concat();
    assert_eq!(&out[12 + QUESTION.len()..], expected);
    // One that does not fit is left out; nothing else is for its sake.
    let small = Asked { limit: out.len() - 1, ..client };
    assert_eq!(relayed(&upstream, &small).len(), out.len() - error.len());
    assert_eq!(bits(&relayed(&upstream, &small)) & flag::TC, 0);
}

#[test]
fn h5_whole_records_are_left_out_from_the_last_and_tc_says_so_for_answers() {
    let answers = (0..40).map(a).collect::<Vec<_>>();
    let soa = rr(b"\xc0\x10", rtype::SOA, &[&b"\0\0"[..], &[0; 20]].concat());
    let upstream = reply(ECHOED, 0, [&answers, std::slice::from_ref(&soa), &[a(99), opt(0, &[])]]);
    let start = 12 + QUESTION.len();
    for (limit, counts, tc) in [
        (1232, [1, 40, 1, 2], 0),
        (start + 40 * 16 + 34 + 16 + 11, [1, 40, 1, 2], 0),
        (start + 40 * 16 + 34 + 16 + 10, [1, 40, 1, 1], 0),
        (start + 40 * 16 + 33 + 11, [1, 40, 0, 1], 0),
        (start + 40 * 16 + 11, [1, 40, 0, 1], 0),
        (start + 40 * 16 + 10, [1, 39, 0, 1], flag::TC),
        (512, [1, 29, 0, 1], flag::TC),
    ] {
        let out = relayed(&upstream, &Asked { limit, ..with_edns() });
        assert_eq!((Header::read(&out).unwrap().counts, bits(&out) & flag::TC), (counts, tc), "{limit}");
    }
    // A negative answer is its SOA.
    let upstream = reply(ECHOED, rcode::NXDOMAIN, [&[], &[soa], &[]]);
    let out = relayed(&upstream, &Asked { limit: start + 20, ..asked() });
    assert_eq!((Header::read(&out).unwrap().counts, bits(&out) & flag::TC), ([1, 0, 0, 0], flag::TC));
}

#[test]
fn f3_an_error_of_a_server_that_did_not_read_the_question_gets_the_question() {
    let mut upstream = reply(&[], rcode::REFUSED, [&[], &[], &[]]);
    upstream[5] = 0;
    let out = relayed(&upstream, &with_edns());
    assert_eq!((bits(&out) & flag::RCODE, Header::read(&out).unwrap().counts), (rcode::REFUSED, [1, 0, 0, 1]));
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

#[test]
fn n9_aliases_come_before_the_answer_for_their_target() {
    let target = b"\x06orders\x03dev\x07example\x00\x00\x01\x00\x01";
    let upstream = reply(
        target,
        flag::AD,
        [
            // A CNAME to host.dev.example, its address, and a type that nobody knows.
            &[
                rr(b"\xc0\x0c", rtype::CNAME, b"\x04host\xc0\x13"),
                rr(b"\xc0\x30", rtype::A, &[10, 0, 0, 1]),
                rr(b"\xc0\x13", 65_280, b"\xc0\x0c"),
            ],
            &[],
            &[opt(0, &[])],
        ],
    );
    let aliases = [(name("www.example"), name("orders.lab"), 5), (name("orders.lab"), name("orders.dev.example"), 6)];
    let out = relayed(&upstream, &Asked { aliases: &aliases, ..with_edns() });
    assert_eq!(bits(&out) & (flag::AA | flag::AD | flag::TC), flag::AA);
    let message = Message::from_vec(&out).unwrap();
    let text = message.answers.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        text,
        [
            "wWw.example. 5 IN CNAME orders.lab.",
            "orders.lab. 6 IN CNAME orders.dev.example.",
            "orders.dev.example. 300 IN CNAME host.dev.example.",
            "host.dev.example. 300 IN A 10.0.0.1",
            // C0 0C, as hickory shows it.
            "dev.example. 300 IN Unknown wAw=",
        ]
    );
    let start = 12 + QUESTION.len();
    let cut = relayed(&upstream, &Asked { aliases: &aliases, limit: start + 24, ..asked() });
    assert_eq!((Header::read(&cut).unwrap().counts, bits(&cut) & flag::TC), ([1, 1, 0, 0], flag::TC));
}

#[test]
fn malformed_replies_are_an_error() {
    let good = reply(ECHOED, 0, [&[a(1)], &[], &[opt(0, &[])]]);
    for change in [
        (|message| message.truncate(11)) as fn(&mut Vec<u8>),
        |message| message.truncate(20),
        |message| message[5] = 2,
        |message| message[7] = 9,
        |message| message[6..12].fill(0xff),
        |message| message.truncate(message.len() - 1),
    ] {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(relay(&bad, &with_edns(), &mut Vec::new()).is_err());
    }
}

proptest! {
    #[test]
    fn no_bytes_of_an_upstream_do_harm(
        records in prop::collection::vec((0..4_usize, 0..60_u16, prop::collection::vec(any::<u8>(), 0..30)), 0..20),
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        (limit, edns, aliased) in (512..1400_usize, any::<bool>(), any::<bool>()),
    ) {
        let owners: [&[u8]; 4] = [b"\xc0\x0c", b"\0", b"\x01y\xc0\x10", b"\xc0\x1d"];
        let records = records.iter().map(|(owner, rtype, rdata)| rr(owners[*owner], *rtype, rdata)).collect::<Vec<_>>();
        let (answers, additional) = records.split_at(records.len() / 2);
        let mut upstream = reply(ECHOED, 0, [answers, &[], additional]);
        for (at, octet) in noise {
            let at = at.index(upstream.len());
            upstream[at] = octet;
        }
        let aliases = [(name("www.example"), name("orders.lab"), 5)];
        let aliases = if aliased { &aliases[..] } else { &[] };
        let client = Asked { limit, aliases, ..if edns { with_edns() } else { asked() } };
        if relay(&upstream, &client, &mut Vec::new()).is_ok() {
            relayed(&upstream, &client);
        }
    }
}

#[test]
fn h5_over_tcp_our_options_give_way_to_the_answer() {
    let cookie = [&[0, 10, 0, 24][..], &[7; 24]].concat();
    let edns = Some(AskedEdns { dnssec_ok: false, options: &cookie });
    // Header, question and a record's own fields are 43 octets; an OPT has 11, and with the cookie 39.
    let upstream = |data: usize| reply(QUESTION, 0, [&[rr(b"\xc0\x0c", 65_280, &vec![0; data])], &[], &[]]);
    let head = 12 + QUESTION.len() + 12;
    for (limit, octets, answers, has_cookie) in [
        (65_535, 65_535 - 39, 1, true),
        (65_535, 65_535 - 38, 1, false),
        (65_535, 65_535 - 11, 1, false),
        (65_535, 65_535 - 10, 0, false),
        // Over UDP it is cut, and asked for again over TCP.
        (1232, 1232 - 39, 1, true),
        (1232, 1232 - 38, 0, true),
    ] {
        let out = relayed(&upstream(octets - head), &Asked { limit, edns, ..asked() });
        let message = Header::read(&out).unwrap();
        assert_eq!((message.counts[1], message.has(flag::TC)), (answers, answers == 0), "{limit} {octets}");
        assert_eq!(out.ends_with(&cookie), has_cookie, "{limit} {octets}");
    }
}
