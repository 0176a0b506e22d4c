//! Queries: whatever octets a client sends, the responder does not panic, both of its paths come to the same verdict and the
//! same octets, it reads what hickory-proto reads, and every reply decodes and belongs to its query.
//!
//! The first octet chooses client and transport, the rest is the packet.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};

use callsign::responder::{Listener, ResponderOptions};
use callsign::table::{Endpoint, NameTable, Network, Port, Protocol, Record, TableError};
use callsign::wire::message::records;
use callsign::wire::{Query, Rejected, option};
use hickory_proto::op::Message;
use hickory_proto::rr::rdata::opt::EdnsOption;

use super::paths::Paths;

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

/// A populated table, and those who answer from it.
struct World {
    listeners: Vec<Listener>,
    paths: Paths,
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
        Ok(World { listeners: CLIENTS.into_iter().filter_map(listener).collect(), paths: Paths::new(options) })
    }

    fn ask(&mut self, who: u8, packet: &[u8]) {
        let client = usize::from(who) % CLIENTS.len();
        let source = SocketAddr::from((CLIENTS[client].1, if who & PORT_0 == 0 { 40_000 } else { 0 }));
        self.paths.ask(&self.listeners[client], source, who & TCP != 0, packet);
    }
}

/// Holds what we read to what hickory-proto reads.
fn agrees_with_hickory(packet: &[u8]) {
    let query = Query::parse(packet);
    // Before it looks at anything, hickory-proto makes room for as many questions as the header says.
    let is_query = packet.len() >= 12 && packet[2] & 0x80 == 0 && packet[4..10] == [0, 1, 0, 0, 0, 0];
    let oracle = if is_query { Message::from_vec(&without_client_subnet(packet)).ok() } else { None };
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

/// The packet with its client subnets as options that nobody knows: what is in them is not ours to judge.
fn without_client_subnet(packet: &[u8]) -> Vec<u8> {
    let mut copy = packet.to_vec();
    for opt in records(packet).flatten().filter(|record| record.rtype == 41) {
        let (mut at, end) = (opt.rdata().start, opt.range.end);
        while at + 4 <= end {
            if packet[at..at + 2] == [0, 8] {
                copy[at] = 0xff;
            }
            at += 4 + usize::from(u16::from_be_bytes([packet[at + 2], packet[at + 3]]));
        }
    }
    copy
}

/// True if the name at the start of `question` holds a compression pointer, which a question's has no reason to.
fn has_pointer(mut question: &[u8]) -> bool {
    while let [len @ 1..=63, rest @ ..] = question {
        question = rest.get(usize::from(*len)..).unwrap_or_default();
    }
    question.first().is_some_and(|&len| len >= 0xc0)
}
