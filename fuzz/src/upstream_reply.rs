//! Whatever comes while a question waits at an upstream: it is taken for the reply only if it is one, by an oracle that reads
//! it in its own way, and what is relayed of it is whole and fits.

use callsign::forward::{Asked, AskedEdns, Question, relay};
use callsign::wire::message::{HEADER, Header, flag, records};
use callsign::wire::rcode;
use hickory_proto::op::{Message, MessageType, OpCode};

const ID: u16 = 0x1234;
const QUESTION: &[u8] = b"\x03wWw\x07example\x00\x00\x01\x00\x01";

/// Takes an octet of bits. The rest is a datagram: as it is, or, as it would take a fuzzer long to find that out, behind the
/// right ID, or behind the right ID and question.
pub fn run(input: &[u8]) {
    let Some((&bits, rest)) = input.split_first() else { return };
    let message = match (bits & 3, rest.split_first_chunk::<8>()) {
        (1, _) => [&ID.to_be_bytes()[..], rest].concat(),
        (2 | 3, Some((head, behind))) => {
            let counts = [0, 1, 0, head[2] % 8, 0, head[3] % 8, 0, head[4] % 8];
            [&ID.to_be_bytes()[..], &[head[0] | 0x80, head[1]], &counts, QUESTION, behind].concat()
        }
        _ => rest.to_vec(),
    };
    let question = Question { question: QUESTION.to_vec(), flags: flag::RD, dnssec_ok: bits & 4 > 0 };
    let judged = question.judge(&message, ID);
    if let Ok(read) = Message::from_vec(&message) {
        // hickory refuses much that is relayed, but what it reads it reads rightly.
        let is_reply = (read.id, read.message_type, read.op_code) == (ID, MessageType::Response, OpCode::Query);
        let same = |asked: &hickory_proto::op::Query| {
            asked.name().to_string().eq_ignore_ascii_case("www.example.")
                && (u16::from(asked.query_type()), u16::from(asked.query_class())) == (1, 1)
        };
        let header = Header::read(&message).expect("hickory could read it");
        let is_unread = matches!(header.rcode(), rcode::FORMERR | rcode::SERVFAIL | rcode::NOTIMP | rcode::REFUSED);
        match read.queries.as_slice() {
            [] => assert_eq!(judged.is_some(), is_reply && is_unread),
            // A name that hickory follows a pointer for is no question that was sent.
            [asked] if !is_reply || !same(asked) => assert_eq!(judged, None),
            [_] => assert!(judged.is_some() || message[HEADER..].iter().take(13).any(|&octet| octet >= 0xc0)),
            _ => assert_eq!(judged, None),
        }
    }
    let Some(is_relayed) = judged else { return };
    let header = Header::read(&message).expect("a reply has a header");
    assert!(header.id == ID && header.has(flag::QR) && header.opcode() == 0);
    if header.counts[0] > 0 {
        assert!(message[HEADER..HEADER + QUESTION.len()].eq_ignore_ascii_case(QUESTION));
    }

    let edns = (bits & 8 > 0).then_some(AskedEdns { dnssec_ok: bits & 16 > 0, options: &[] });
    let limit = if bits & 32 > 0 { 65_535 } else { 512 };
    let asked = Asked { id: 9, flags: flag::RD, question: QUESTION, limit, edns, aliases: &[] };
    let mut out = Vec::new();
    if relay(&message, &asked, &mut out).is_err() {
        // Owners of records that are moved have to be names, which is not looked at before.
        assert!(!is_relayed || records(&message).flatten().any(|record| record.rtype == 41));
        return;
    }
    let header = Header::read(&out).expect("a header");
    assert!(out.len() <= limit && header.id == 9 && out[HEADER..].starts_with(QUESTION));
    assert!(records(&out).all(|record| record.is_ok()));
}
