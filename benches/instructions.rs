//! What `benches/instructions` counts the instructions of: the same queries, the same number of times, in every run.
//!
//! Each input has a function of its own, which callgrind counts with all that it calls. Nothing in it may differ from run to
//! run: the hash seed and the cookie secret are fixed, and the buffers are aligned.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use callsign::responder::{Client, Listener, Responder, ResponderOptions, Verdict};
use callsign::server::{Counted, Counting, Origin};
use callsign::table::{Endpoint, NameTable, Network, NetworkBuilder, Port, Protocol};

/// How often each input is asked. The script divides by it.
const TIMES: u32 = 1000;

const A: u8 = 1;
const PTR: u8 = 12;
const MX: u8 = 15;
const AAAA: u8 = 28;
const SRV: u8 = 33;

const NO_OPT: &[u8] = b"";
const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
const OPT_COOKIE: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\x0c\0\x0a\0\x088 octets";

/// A buffer whose place in a cache line does not depend on the environment.
#[repr(align(64))]
struct Buffer([u8; 1232]);

/// The networks, as two of their clients see them.
struct World {
    /// Holds the networks.
    _table: NameTable,
    listener: Listener,
    responder: Responder,
    out: Buffer,
}

impl World {
    fn new() -> World {
        let table = NameTable::new();
        let shop = (0..1000).fold(network("shop", 1), |network, number| {
            let [high, low] = u16::try_from(number + 256).expect("a small number").to_be_bytes();
            let endpoint = Endpoint::builder(format!("id-{number}"))
                .ip([10, 1, high, low].into())
                .name(format!("n{number}"))
                .port(Port::named("http", 80, Protocol::Tcp));
            network.endpoint(endpoint.build().expect("an endpoint"))
        });
        let replicas = (1..=8).fold(shop, |network, number| {
            let endpoint = Endpoint::builder(format!("web-{number}")).ip([10, 1, 128, number].into()).name("web");
            network.endpoint(endpoint.build().expect("an endpoint"))
        });
        let shop = table.add(replicas.build().expect("a network")).expect("added");
        let back = table.add(network("back", 2).build().expect("a network")).expect("added");
        for (network, second) in [(&shop, 1), (&back, 2)] {
            let hub = Endpoint::builder("hub").ip([10, second, 200, 1].into()).name("hub").build();
            network.attach(hub.expect("an endpoint")).expect("attached");
        }
        let db = Endpoint::builder("db").ip([10, 2, 0, 3].into()).name("db").build();
        back.attach(db.expect("an endpoint")).expect("attached");
        World {
            _table: table,
            listener: Listener::new(shop, SocketAddr::from(([10, 1, 0, 1], 53))),
            responder: Responder::new(Arc::new(ResponderOptions::default())),
            out: Buffer([0; 1232]),
        }
    }

    /// Asks so often, as the client with the address 10.1.`host`.
    #[inline(always)]
    fn ask(&mut self, packet: &[u8], host: [u8; 2]) {
        let snapshot = self.listener.network().snapshot();
        let client = Client::udp(&self.listener, SocketAddr::from(([10, 1, host[0], host[1]], 40_000)));
        let client = client.with_snapshot(&snapshot);
        for _ in 0..TIMES {
            let verdict = self.responder.respond(black_box(packet), &client, &mut self.out.0);
            black_box(&verdict);
        }
    }

    /// The same, counted as metrics are; the time that it took is given.
    #[inline(always)]
    fn ask_counted(&mut self, packet: &[u8], host: [u8; 2]) {
        let snapshot = self.listener.network().snapshot();
        let client = Client::udp(&self.listener, SocketAddr::from(([10, 1, host[0], host[1]], 40_000)));
        let client = client.with_snapshot(&snapshot);
        let counting = Counting::default();
        for _ in 0..TIMES {
            let (verdict, notes) = self.responder.respond_noting(black_box(packet), &client, &mut self.out.0);
            let Verdict::Reply(len) = verdict else { continue };
            counting.count(&Counted {
                rtype: notes.rtype,
                dnssec_ok: notes.dnssec_ok,
                query_len: packet.len(),
                reply: Some((len, u16::from(self.out.0[3] & 0xf))),
                origin: Origin::Local,
                duration: black_box(Duration::from_micros(3)),
            });
        }
    }

    /// The same, by the path that takes what is not common.
    #[inline(always)]
    fn ask_general(&mut self, packet: &[u8], host: [u8; 2]) {
        let snapshot = self.listener.network().snapshot();
        let client = Client::udp(&self.listener, SocketAddr::from(([10, 1, host[0], host[1]], 40_000)));
        let client = client.with_snapshot(&snapshot);
        for _ in 0..TIMES {
            let verdict = self.responder.respond_general(black_box(packet), &client, &mut self.out.0);
            black_box(&verdict);
        }
    }
}

fn network(name: &str, second: u8) -> NetworkBuilder {
    Network::builder(name).subnet(&format!("10.{second}.0.0/16")).domain("internal")
}

fn packet(name: &str, rtype: u8, opt: &[u8]) -> Vec<u8> {
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(!opt.is_empty())];
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, rtype, 0, 1]);
    packet.extend_from_slice(opt);
    packet
}

/// A client on the network alone, and one that is on both.
const LONE: [u8; 2] = [1, 7];
const HUB: [u8; 2] = [200, 1];

/// One function an input: its name is the input's, and `true` says that the reply is made here.
macro_rules! inputs {
    ($($input:ident: $ask:ident($name:expr, $rtype:expr, $opt:expr) by $host:expr => $replies:expr;)*) => {
        mod input {
            use super::*;

            $(
                #[inline(never)]
                pub(super) fn $input(world: &mut World, packet: &[u8]) {
                    // Unlike any other function, so that the compiler does not make one of two.
                    black_box(stringify!($input));
                    world.$ask(packet, $host);
                }
            )*
        }

        fn run(world: &mut World) {
            $(
                let query = packet($name, $rtype, $opt);
                let source = SocketAddr::from(([10, 1, $host[0], $host[1]], 40_000));
                let client = Client::udp(&world.listener, source);
                let verdict = world.responder.respond(&query, &client, &mut world.out.0);
                assert_eq!(matches!(verdict, Verdict::Reply(_)), $replies, stringify!($input));
                input::$input(world, &query);
            )*
        }
    };
}

inputs! {
    a: ask("n500", A, NO_OPT) by LONE => true;
    a_counted: ask_counted("n500", A, NO_OPT) by LONE => true;
    a_edns: ask("n500", A, OPT) by LONE => true;
    a_cookie: ask("n500", A, OPT_COOKIE) by LONE => true;
    a_in_domain: ask("n500.shop.internal", A, NO_OPT) by LONE => true;
    a_of_eight: ask("web", A, NO_OPT) by LONE => true;
    a_other_network: ask("db", A, NO_OPT) by HUB => true;
    a_general_path: ask_general("n500", A, OPT) by LONE => true;
    aaaa_nodata: ask("n500", AAAA, NO_OPT) by LONE => true;
    mx_nodata: ask("n500", MX, NO_OPT) by LONE => true;
    nxdomain: ask("nothere.internal", A, NO_OPT) by LONE => true;
    ptr: ask("244.2.1.10.in-addr.arpa", PTR, NO_OPT) by LONE => true;
    srv: ask("_http._tcp.n500", SRV, NO_OPT) by LONE => true;
    forward: ask("www.example.com", A, OPT) by LONE => false;
}

fn main() {
    callsign::table::fix_hash_seed();
    run(&mut World::new());
    println!("{TIMES}");
}
