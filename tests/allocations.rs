//! The hot path takes nothing from the allocator: a query for a known name, or for one that does not exist, is answered in
//! the caller's buffer.

use std::net::SocketAddr;
use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use callsign::responder::{Client, Listener, Responder, ResponderOptions, Verdict};
use callsign::table::{Endpoint, Merge, NameTable, Network, NetworkBuilder, Port, Protocol};

const A: u8 = 1;
const PTR: u8 = 12;
const MX: u8 = 15;
const AAAA: u8 = 28;
const SRV: u8 = 33;
const ANY: u8 = 255;

/// What a query carries besides its question.
#[derive(Debug, Clone, Copy)]
enum Opt {
    None,
    Bare,
    Cookie,
    Many,
}

fn packet(name: &str, rtype: u8, opt: Opt) -> Vec<u8> {
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(!matches!(opt, Opt::None))];
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, rtype, 0, 1]);
    let cookie = b"\0\x0a\0\x088 octets";
    let options: &[&[u8]] = match opt {
        Opt::None => return packet,
        Opt::Bare => &[],
        Opt::Cookie => &[cookie],
        Opt::Many => &[cookie, b"\0\x0b\0\0", b"\0\x0c\0\x04\0\0\0\0"],
    };
    let options = options.concat();
    packet.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\x80\0\0");
    packet.push(options.len() as u8);
    packet.extend_from_slice(&options);
    packet
}

/// Four networks: `client` is on the first alone, `pair` on two, `hub` on all of them.
fn networks() -> [NetworkBuilder; 4] {
    let port = || Port::named("http", 80, Protocol::Tcp);
    let network = |number: u8| {
        let address = |host: u8| format!("10.10.{number}.{host}");
        let web = |host| {
            let id = format!("web-{number}-{host}");
            Endpoint::builder(id).address(&address(host)).address(&format!("fd00:{number}::{host}")).name("web")
        };
        Network::builder(format!("net{number}"))
            .subnet(&format!("10.10.{number}.0/24"))
            .listen(&address(1))
            .domain("internal")
            .endpoint(web(4).port(port()).build().unwrap())
            .endpoint(web(5).port(port()).build().unwrap())
            .endpoint(
                Endpoint::builder(format!("own-{number}"))
                    .address(&address(7))
                    .name(format!("own{number}"))
                    .build()
                    .unwrap(),
            )
            .endpoint(Endpoint::builder("hub").address(&address(9)).priority(number.into()).build().unwrap())
    };
    let endpoint = |id, address| Endpoint::builder(id).address(address).name(id).build().unwrap();
    [
        network(1)
            .endpoint(endpoint("client", "10.10.1.2"))
            .endpoint(endpoint("pair", "10.10.1.3"))
            .endpoint(Endpoint::builder("edge").address("10.10.1.6").name("*.apps").build().unwrap())
            .endpoint(Endpoint::builder("job").name("stopped").running(false).build().unwrap()),
        network(2).endpoint(endpoint("pair", "10.10.2.3")),
        network(3),
        network(4),
    ]
}

struct World {
    /// The networks are there as long as their table is.
    _table: NameTable,
    listener: Listener,
    responder: Responder,
    out: Vec<u8>,
}

impl World {
    fn of(networks: impl IntoIterator<Item = NetworkBuilder>) -> World {
        let table = NameTable::new();
        for network in networks {
            table.add(network.build().unwrap()).unwrap();
        }
        let listener = Listener::new(table.network("net1").unwrap(), "10.10.1.1:53".parse().unwrap());
        let responder = Responder::new(Arc::new(ResponderOptions::default()));
        World { _table: table, listener, responder, out: vec![0; 65_535] }
    }

    /// Asks a few times, so that what is made once a thread is made, and counts the last time. Gives the reply's response
    /// code and number of answers; none if there is no reply.
    fn ask(&mut self, source: &str, packet: &[u8], tcp: bool) -> (Option<(u8, u8)>, AllocationInfo) {
        let source = SocketAddr::new(source.parse().unwrap(), 40_000);
        let client = match tcp {
            true => Client::tcp(&self.listener, source, 100),
            false => Client::udp(&self.listener, source),
        };
        let mut reply = None;
        let mut count = AllocationInfo::default();
        for _ in 0..3 {
            count = measure(|| {
                reply = match self.responder.respond(packet, &client, &mut self.out) {
                    Verdict::Reply(_) => Some((self.out[3] & 15, self.out[7])),
                    Verdict::Forward(_) | Verdict::Hold(_) | Verdict::Ignore => None,
                };
            });
        }
        (reply, count)
    }
}

#[test]
fn the_hot_path_allocates_nothing() {
    let mut world = World::of(networks());
    for source in ["10.10.1.2", "10.10.1.3", "10.10.1.9", "10.10.1.200"] {
        for opt in [Opt::None, Opt::Bare, Opt::Cookie, Opt::Many] {
            for (name, rtype, rcode, answers) in [
                ("own1", A, 0, 1),
                ("OWN1.internal", A, 0, 1),
                ("own1.net1.internal", A, 0, 1),
                ("client", A, 0, 1),
                ("web", A, 0, 2),
                ("web", AAAA, 0, 2),
                ("web", ANY, 0, 2),
                ("x.apps", A, 0, 1),
                ("own1", AAAA, 0, 0),
                ("own1.internal", MX, 0, 0),
                ("apps.internal", A, 0, 0),
                ("stopped", A, 0, 0),
                ("nothere.internal", A, 3, 0),
                ("7.1.10.10.in-addr.arpa", A, 0, 0),
                ("7.1.10.10.in-addr.arpa", PTR, 0, 1),
                ("9.1.10.10.in-addr.arpa", PTR, 0, 1),
                ("250.1.10.10.in-addr.arpa", PTR, 3, 0),
                ("_http._tcp.web", SRV, 0, 2),
                ("_tcp.web.internal", SRV, 0, 0),
                ("1.0.0.127.in-addr.arpa", PTR, 0, 1),
                ("localhost", A, 0, 1),
                ("host.docker.internal", A, 0, 1),
                ("x.onion", A, 3, 0),
            ] {
                for tcp in [false, true] {
                    let answers = if tcp && rtype == ANY { 4 } else { answers };
                    let (reply, count) = world.ask(source, &packet(name, rtype, opt), tcp);
                    assert_eq!(reply, Some((rcode, answers)), "{name} {rtype} from {source}, {opt:?}");
                    assert_eq!(count.count_total, 0, "{name} {rtype} from {source}, {opt:?}");
                }
            }
        }
    }
}

#[test]
fn names_of_other_networks_of_the_view_allocate_nothing() {
    let mut world = World::of(networks());
    for (source, name, rtype, answers) in [
        ("10.10.1.3", "own2", A, 1),
        ("10.10.1.3", "own2", AAAA, 0),
        ("10.10.1.9", "own2", A, 1),
        ("10.10.1.9", "own4", A, 1),
    ] {
        let (reply, count) = world.ask(source, &packet(name, rtype, Opt::Cookie), false);
        assert_eq!((reply, count.count_total), (Some((0, answers)), 0), "{name} from {source}");
    }
    // With the answers of all networks joined, too.
    let [first, second, third, fourth] = networks();
    let mut world = World::of([first.merge(Merge::All), second, third, fourth]);
    for (source, answers) in [("10.10.1.2", 2), ("10.10.1.3", 4), ("10.10.1.9", 8)] {
        let (reply, count) = world.ask(source, &packet("web", A, Opt::Bare), false);
        assert_eq!((reply, count.count_total), (Some((0, answers)), 0), "web from {source}");
    }
}

#[test]
fn a_question_to_forward_is_no_allocation() {
    let mut world = World::of(networks());
    for source in ["10.10.1.2", "10.10.1.9", "10.10.1.200"] {
        let (reply, count) = world.ask(source, &packet("www.example.com", A, Opt::Cookie), false);
        assert_eq!((reply, count.count_total), (None, 0), "from {source}");
    }
}
