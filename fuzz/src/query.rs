//! Queries: whatever octets a client sends, the responder does not panic, both of its paths come to the same verdict and the
//! same octets, it reads what hickory-proto reads, and every reply decodes and belongs to its query.
//!
//! The first octet chooses client and transport, the rest is the packet.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use callsign::responder::{Client, Forward, Listener, Responder, ResponderOptions, Verdict};
use callsign::table::{Endpoint, NameTable, Network, Port, Protocol, Record, TableError};
use callsign::wire::{Query, Rejected, ede, option, rcode};
use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::opt::EdnsOption;

/// The listener's network and the client's address there: endpoints of one network, of two, of an internal one, strangers
/// of an ordinary one and of an internal one, nobody who may ask.
const CLIENTS: [(&str, [u8; 4]); 8] = [
    ("shop", [10, 10, 1, 3]),
    ("shop", [10, 10, 1, 6]),
    ("blog", [10, 10, 2, 6]),
    ("vault", [10, 10, 9, 2]),
    ("vault", [10, 10, 9, 6]),
    ("shop", [10, 10, 1, 200]),
    ("vault", [10, 10, 9, 200]),
    ("blog", [192, 0, 2, 1]),
];
/// Set in the first octet for a query over TCP.
const TCP: u8 = 8;
/// Set in the first octet for a query from port 0.
const PORT_0: u8 = 16;

/// Takes the input as one query.
pub fn run(input: &[u8]) {
    thread_local!(static WORLD: RefCell<World> = RefCell::new(World::new().unwrap()));
    if let Some((&who, packet)) = input.split_first() {
        WORLD.with_borrow_mut(|world| world.ask(who, packet));
        agrees_with_hickory(packet);
    }
}

/// A populated table, and a responder for either path. Both see every packet, so that they rotate alike.
struct World {
    listeners: Vec<Listener>,
    fast: Responder,
    general: Responder,
    /// A buffer for either; what they held before differs, so that octets that are not written differ, too.
    out: [Vec<u8>; 2],
}

impl World {
    fn new() -> Result<World, TableError> {
        let http = || Port::named("http", 80, Protocol::Tcp);
        let many = (1..=200).fold(Endpoint::builder("many-1").name("many"), |endpoint, number| {
            endpoint.ip(Ipv4Addr::new(10, 10, 4, number).into())
        });
        let shop = Network::builder("shop")
            .subnet("10.10.1.0/24")
            .subnet("fd00:10:1::/64")
            .listen("10.10.1.1")
            .domain("internal")
            .domain("corp.example")
            .ttl(5)
            .endpoint(
                Endpoint::builder("api-1").address("10.10.1.2").address("fd00::2").name("api").port(http()).build()?,
            )
            .endpoint(Endpoint::builder("db-1").address("10.10.1.3").names(["db", "database"]).build()?)
            .endpoint(Endpoint::builder("web-1").address("10.10.1.4").name("web").port(http()).build()?)
            .endpoint(Endpoint::builder("web-2").address("10.10.1.5").name("web").port(http()).build()?)
            .endpoint(Endpoint::builder("proxy-1").address("10.10.1.6").name("proxy").build()?)
            .endpoint(Endpoint::builder("worker-1").address("10.10.1.7").name("worker").running(false).build()?)
            .endpoint(
                Endpoint::builder("edge-1").address("10.10.1.8").names(["*.apps", "a.b.c", "\\000\\255"]).build()?,
            )
            .endpoint(many.build()?)
            .alias("payments", "payments.dev.example.com")
            .alias("primary", "db.internal")
            .alias("loop", "loop.internal")
            .record(Record::parse("db", "TXT", &format!("\"{0}\" \"{0}\" \"{0}\"", "x".repeat(250)), None)?)
            .record(Record::parse("_ldap._tcp.dir", "SRV", "0 1 389 db", None)?);
        let blog = Network::builder("blog")
            .subnet("10.10.2.0/24")
            .endpoint(Endpoint::builder("blog-db-1").address("10.10.2.3").name("db").build()?)
            .endpoint(Endpoint::builder("proxy-1").address("10.10.2.6").name("proxy").build()?);
        let vault = Network::builder("vault")
            .subnet("10.10.9.0/24")
            .internal(true)
            .endpoint(Endpoint::builder("safe-1").address("10.10.9.2").name("safe").build()?)
            .endpoint(Endpoint::builder("proxy-1").address("10.10.9.6").name("proxy").priority(3).build()?);
        let table = NameTable::new();
        for network in [shop, blog, vault] {
            table.add(network.build()?)?;
        }
        let address = SocketAddr::from(([10, 10, 1, 1], 53));
        let listener = |(name, _)| Some(Listener::new(table.network(name)?, address));
        let mut options = ResponderOptions::default();
        options.version = Some("callsign".to_owned());
        let options = Arc::new(options);
        Ok(World {
            listeners: CLIENTS.into_iter().filter_map(listener).collect(),
            fast: Responder::new(options.clone()),
            general: Responder::new(options),
            out: [vec![0; 65_535], vec![0; 65_535]],
        })
    }

    fn ask(&mut self, who: u8, packet: &[u8]) {
        let client = usize::from(who) % CLIENTS.len();
        let listener = &self.listeners[client];
        let source = SocketAddr::from((CLIENTS[client].1, if who & PORT_0 == 0 { 40_000 } else { 0 }));
        let tcp = who & TCP != 0;
        let client = if tcp { Client::tcp(listener, source, 300) } else { Client::udp(listener, source) };

        let [fast, general] = &mut self.out;
        let size = if tcp { 65_535 } else { 1232 };
        let (fast, general) = (&mut fast[..size], &mut general[..size]);
        fast.fill(0xaa);
        general.fill(0x55);
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
        Some(edns) => edns.udp_size().clamp(512, 1232),
        None => 512,
    };
    assert!(reply.len() <= limit.into(), "{} octets of {limit}", reply.len());
    assert_eq!(message.edns.is_some(), edns.is_some(), "an OPT if and only if the query had one");
    match &query {
        Ok(query) => {
            assert_eq!(message.queries.len(), 1);
            let question = query.question_bytes();
            assert_eq!(reply[12..12 + question.len()], *question);
        }
        Err(_) => assert_eq!(reply.len(), 12, "what could not be read is not repeated"),
    }
}

/// Holds what we read to what hickory-proto reads.
fn agrees_with_hickory(packet: &[u8]) {
    let query = Query::parse(packet);
    // Before it looks at anything, hickory-proto makes room for as many questions as the header says.
    let is_query = packet.len() >= 12 && packet[2] & 0x80 == 0 && packet[4..10] == [0, 1, 0, 0, 0, 0];
    let oracle = if is_query { Message::from_vec(packet).ok() } else { None };
    let (query, oracle) = match (query, oracle) {
        (Ok(query), Some(oracle)) => (query, oracle),
        (Ok(query), None) => panic!("hickory-proto cannot read {query:?}"),
        (Err(rejected), Some(_)) => {
            assert_ne!(rejected, Rejected::Silently);
            return assert!(has_pointer(&packet[12..]), "rejected, but hickory-proto can read it");
        }
        (Err(_), None) => return,
    };
    let [question] = &oracle.queries[..] else { panic!("{:?}", oracle.queries) };
    let labels: Vec<_> = question.name.iter().map(<[u8]>::to_ascii_lowercase).collect();
    assert_eq!(query.to_name().labels().collect::<Vec<_>>(), labels);
    assert_eq!((query.rtype(), query.class()), (question.query_type.into(), question.query_class.into()));
    assert_eq!(query.header().id, oracle.metadata.id);
    let Some(edns) = query.edns() else { return assert!(oracle.edns.is_none()) };
    let known = oracle.edns.expect("an OPT");
    assert_eq!(edns.udp_size(), known.max_payload().max(512));
    assert_eq!((edns.version(), edns.dnssec_ok()), (known.version(), known.flags().dnssec_ok));
    let cookie = known.options().options.iter().find_map(|(code, value)| match value {
        EdnsOption::Unknown(_, value) if u16::from(*code) == option::COOKIE => Some(value),
        _ => None,
    });
    let valid = cookie.filter(|cookie| matches!(cookie.len(), 8 | 16..=40));
    assert_eq!(edns.cookie().map(|cookie| &cookie.client[..]), valid.map(|cookie| &cookie[..8]));
    assert_eq!(edns.has_bad_cookie(), cookie.is_some() && valid.is_none());
}

/// True if the name at the start of `question` holds a compression pointer, which a question's has no reason to.
fn has_pointer(mut question: &[u8]) -> bool {
    while let [len @ 1..=63, rest @ ..] = question {
        question = rest.get(usize::from(*len)..).unwrap_or_default();
    }
    question.first().is_some_and(|&len| len >= 0xc0)
}
