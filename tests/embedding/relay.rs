//! A host with sockets of its own forwards, and finishes what it forwards, without an async runtime.

use std::sync::Arc;

use callsign::responder::{Client, Forward, Listener, Responder, ResponderOptions, Verdict};
use callsign::table::{NameTable, Network};
use callsign::wire::message::{Header, flag, records};
use callsign::wire::{Query, Rejected, rcode, rtype};

/// Lets a network with an alias decide on a query that it forwards.
fn forwarded(packet: &[u8], check: impl FnOnce(Forward<'_>)) {
    let network = Network::builder("shop").subnet("10.10.1.0/24").alias("pay", "pay.example.com");
    let shop = NameTable::new().add(network.build().unwrap()).unwrap();
    let listener = Listener::new(shop, "10.10.1.1:53".parse().unwrap());
    let client = Client::udp(&listener, "10.10.1.2:40000".parse().unwrap());
    let mut responder = Responder::new(Arc::new(ResponderOptions::default()));
    match responder.respond(packet, &client, &mut [0; 1232]) {
        Verdict::Forward(forward) => check(forward),
        other => panic!("not forwarded: {other:?}"),
    }
}

/// An upstream's reply to a query: an address record for the name that it asks for.
fn answered(query: &[u8]) -> Vec<u8> {
    let end = 12 + Query::parse(query).unwrap().question_bytes().len();
    let mut reply = query[..end].to_vec();
    reply[2] |= 0x80;
    (reply[7], reply[11]) = (1, 0);
    reply.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01");
    reply
}

#[test]
fn f3_a_reply_is_relayed_under_the_clients_own_header_and_question() {
    let mut packet = Query::build(7, &"www.example".parse().unwrap(), rtype::A);
    packet[13] = b'W';
    forwarded(&packet, |forward| {
        let sent = forward.upstream_query(0x2a2a);
        let query = Query::parse(&sent).unwrap();
        assert_eq!((query.header().id, query.to_name().to_string().as_str()), (0x2a2a, "www.example"));
        let mut out = vec![1, 2, 3];
        forward.relay(&answered(&sent), 0x2a2a, &mut out).unwrap();
        let header = Header::read(&out).unwrap();
        assert_eq!((header.id, header.rcode(), header.counts), (7, rcode::NOERROR, [1, 1, 0, 1]));
        assert!(header.has(flag::QR | flag::RA | flag::RD));
        assert_eq!(out[12..17], *b"\x03Www\x07", "as the client spelled it");
        assert!(records(&out).all(|record| record.is_ok()));
    });
}

#[test]
fn n9_an_alias_is_asked_for_its_target_and_relayed_behind_its_cname() {
    let packet = Query::build(7, &"pay".parse().unwrap(), rtype::A);
    forwarded(&packet, |forward| {
        let sent = forward.upstream_query(1);
        assert_eq!(Query::parse(&sent).unwrap().to_name().to_string(), "pay.example.com");
        let mut out = Vec::new();
        forward.relay(&answered(&sent), 1, &mut out).unwrap();
        let types: Vec<u16> = records(&out).map(|record| record.unwrap().rtype).collect();
        assert_eq!(types, [rtype::CNAME, rtype::A, rtype::OPT]);
        assert_eq!(out[12..17], *b"\x03pay\x00");
    });
}

#[test]
fn f3_what_is_not_the_reply_is_refused() {
    let packet = Query::build(7, &"www.example".parse().unwrap(), rtype::A);
    forwarded(&packet, |forward| {
        let sent = forward.upstream_query(9);
        let reply = answered(&sent);
        let refused = |reply: &[u8], id| forward.relay(reply, id, &mut Vec::new()).is_err();
        assert!(!refused(&reply, 9));
        assert!(refused(&reply, 8), "another ID");
        assert!(refused(&sent, 9), "a query");
        let other = forward_other();
        assert!(refused(&answered(&other), 9), "the reply to another question");
        assert!(refused(&reply[..reply.len() - 1], 9), "cut off");
    });
}

fn forward_other() -> Vec<u8> {
    Query::build(9, &"www.elsewhere".parse().unwrap(), rtype::A)
}

#[test]
fn a_rejected_packet_is_an_error_that_says_why() {
    let rejected: Box<dyn std::error::Error> = Box::new(Query::parse(&[0; 12]).unwrap_err());
    assert_eq!(rejected.to_string(), "malformed query");
    assert!(matches!(Query::parse(b""), Err(Rejected::Silently)));
}
