//! Both paths of the responder over the same queries: same verdict, same octets, and every reply belongs to its query.

use std::net::SocketAddr;
use std::sync::Arc;

use callsign::responder::{Client, Forward, Listener, Responder, ResponderOptions, Verdict};
use callsign::wire::{Query, ede, rcode};
use hickory_proto::op::{Message, MessageType};

/// A responder for either path. Both see every packet, so that they rotate alike.
pub struct Paths {
    fast: Responder,
    general: Responder,
    /// A buffer for either; what they held before differs, so that octets that are not written differ, too.
    out: [Vec<u8>; 2],
}

impl Paths {
    /// Two responders that were told the same.
    pub fn new(options: ResponderOptions) -> Paths {
        let options = Arc::new(options);
        Paths {
            fast: Responder::new(options.clone()),
            general: Responder::new(options),
            out: [vec![0; 65_535], vec![0; 65_535]],
        }
    }

    /// Holds both paths to what is promised of a packet, from that address at that listener.
    pub fn ask(&mut self, listener: &Listener, source: SocketAddr, tcp: bool, packet: &[u8]) {
        let client = if tcp { Client::tcp(listener, source, 300) } else { Client::udp(listener, source) };
        let [fast, general] = &mut self.out;
        let size = if tcp { 65_535 } else { 1232 };
        let (fast, general) = (&mut fast[..size], &mut general[..size]);
        // Nearly all replies are no longer than this.
        fast[..1232].fill(0xaa);
        general[..1232].fill(0x55);
        let verdicts =
            (self.fast.respond(packet, &client, fast), self.general.respond_general(packet, &client, general));
        match verdicts {
            (Verdict::Ignore, Verdict::Ignore) => {
                let is_reply = packet.get(2).is_some_and(|flags| flags & 0x80 != 0);
                assert!(packet.len() < 12 || is_reply || source.port() == 0, "ignored without a reason");
            }
            (Verdict::Reply(one), Verdict::Reply(other)) => {
                assert_eq!(fast[..one], general[..other], "the paths differ");
                is_sound(&fast[..one], packet, tcp);
            }
            (Verdict::Forward(one), Verdict::Forward(other)) => {
                assert_eq!(parts(&one), parts(&other), "the paths differ");
                assert_eq!(one.query.opcode(), 0);
                let len = one.fail(rcode::SERVFAIL, ede::NETWORK_ERROR, "no route to any upstream", fast);
                is_sound(&fast[..len], packet, tcp);
            }
            verdicts => panic!("the paths differ: {verdicts:?}"),
        }
    }
}

/// What makes a question to forward, in a form that can be compared.
fn parts<'f>(forward: &'f Forward<'_>) -> (impl std::fmt::Debug + PartialEq + use<'f>, &'f [u8]) {
    let Forward { query, aliases, preference, upstreams, edns, limit, .. } = forward;
    ((query.question_bytes(), query.edns(), aliases, preference, upstreams, edns, limit), forward.target())
}

/// What is true of every reply.
fn is_sound(reply: &[u8], packet: &[u8], tcp: bool) {
    let message = Message::from_vec(reply).unwrap_or_else(|error| panic!("undecodable: {error}: {reply:02x?}"));
    assert_eq!(message.metadata.message_type, MessageType::Response);
    assert_eq!(reply[..2], packet[..2], "the ID");
    assert_eq!(reply[2] & 0x79, packet[2] & 0x79, "opcode and RD");
    assert_eq!(reply[3] & 0x70, packet[3] & 0x10, "Z and AD are 0, CD is the query's");
    let query = Query::parse(packet);
    let edns = query.as_ref().ok().and_then(Query::edns);
    let limit = match edns {
        _ if tcp => 65_535,
        None if query.is_err() => 1232,
        Some(edns) => edns.udp_size().clamp(512, 1232),
        None => 512,
    };
    assert!(reply.len() <= limit.into(), "{} octets of {limit}", reply.len());
    match &query {
        Ok(query) => {
            assert_eq!(message.edns.is_some(), edns.is_some(), "an OPT if and only if the query had one");
            assert_eq!(message.queries.len(), 1);
            let question = query.question_bytes();
            assert_eq!(reply[12..12 + question.len()], *question);
        }
        Err(_) if message.edns.is_some() => {
            let question = 12..reply.len() - 11;
            // One question, if it can be repeated.
            assert_eq!((message.queries.len(), message.answers.len()), (usize::from(!question.is_empty()), 0));
            assert_eq!(reply[question.clone()], packet[question], "the question and an OPT");
        }
        Err(_) => assert_eq!(reply.len(), 12, "what could not be read is not repeated"),
    }
}
