//! What `benches/instructions` counts the instructions of: the same queries, the same number of times, in every run.
//!
//! Each input has a function of its own, which callgrind counts with all that it calls. Nothing in it may differ from run to
//! run: the hash seed and the cookie secret are fixed, and the buffers are aligned.
//!
//! With the argument `loop` queries go through a running server, and what its worker does is counted, from one window of
//! queries to the next.

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

/// Queries through a running server, one after the other: each waits for the reply to the one before. The upstream is played
/// by the same thread as the client, so that the server's only worker is the only other thread, and what it does between two
/// queries is the same in every run.
mod through {
    use std::net::UdpSocket;
    use std::sync::atomic::{AtomicBool, Ordering};

    use callsign::forward::ForwardOptions;
    use callsign::server::{ListenerState, ListenerStatus, Observed, Observer, Server};

    use super::*;

    /// Queries between two dumps, and how many such windows there are of each input.
    pub(super) const WINDOW: u16 = 100;
    const WINDOWS: u16 = 12;

    /// Callgrind writes what the thread that calls this has done since it last did (`--dump-before`).
    #[inline(never)]
    fn window_ends(input: &str) {
        black_box(input);
    }

    /// Is asked by the worker for each batch of queries, before it answers them, and wants to see none.
    #[derive(Debug, Default)]
    struct Marker(AtomicBool);

    impl Observer for Marker {
        fn is_on(&self) -> bool {
            if self.0.swap(false, Ordering::Relaxed) {
                window_ends("window");
            }
            false
        }

        fn observe(&self, _: &Observed<'_>) {}
    }

    struct Bed {
        client: UdpSocket,
        upstream: UdpSocket,
        marker: Arc<Marker>,
        reply: [u8; 1232],
    }

    impl Bed {
        /// Asks, and answers as the upstream if it is asked.
        fn ask(&mut self, query: &[u8], is_forwarded: bool) {
            self.client.send(query).expect("sent");
            if is_forwarded {
                let (len, from) = self.upstream.recv_from(&mut self.reply).expect("the query");
                let (question, mut answer) = (&self.reply[..len], Vec::with_capacity(len + 16));
                let end = 12 + question[12..].iter().position(|octet| *octet == 0).expect("a name") + 5;
                answer.extend_from_slice(&question[..2]);
                answer.extend_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 1]);
                answer.extend_from_slice(&question[12..end]);
                answer.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\x02\x58\0\x04\xc0\0\x02\x01");
                answer.extend_from_slice(OPT);
                self.upstream.send_to(&answer, from).expect("answered");
            }
            let len = self.client.recv(&mut self.reply).expect("a reply");
            assert!(len > query.len() && self.reply[..2] == query[..2] && self.reply[3] & 0xf == 0, "an answer");
        }

        fn run(&mut self, input: &str, is_forwarded: bool, query: impl Fn(u16) -> Vec<u8>) {
            for window in 0..=WINDOWS {
                for number in 0..WINDOW {
                    self.ask(&query(window * WINDOW + number), is_forwarded);
                }
                // What comes first of its kind is no measure.
                println!("{}", if window == 0 { "-" } else { input });
                // With the next query.
                self.marker.0.store(true, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn run() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let upstream = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let upstreams = vec![upstream.local_addr().expect("bound").to_string().parse().expect("an upstream")].into();
        let forwarding = ForwardOptions { upstreams, ..ForwardOptions::default() };
        let marker = Arc::new(Marker::default());
        let server = Server::builder().port(0).workers(1).forwarding(forwarding).observer(marker.clone());
        let server = runtime.block_on(server.start()).expect("started");
        let endpoint = |name: &str, last| Endpoint::builder(name).ip([127, 0, 0, last].into()).name(name).build();
        let shop = Network::builder("shop").subnet("127.0.0.0/8").domain("internal").listen("127.0.0.1");
        let shop =
            shop.endpoint(endpoint("web", 2).expect("an endpoint")).endpoint(endpoint("app", 3).expect("another"));
        let shop = runtime.block_on(server.add_network(shop.build().expect("a network"))).expect("added");
        let listening = |listener: &ListenerStatus| match listener.state {
            ListenerState::Listening(address) if !listener.tcp => Some(address),
            _ => None,
        };
        let address = server.status().listeners.iter().find_map(listening).expect("it listens");
        let client = UdpSocket::bind("127.0.0.3:0").expect("a socket");
        client.connect(address).expect("connected");
        let patience = Some(Duration::from_secs(20));
        client.set_read_timeout(patience).expect("set");
        upstream.set_read_timeout(patience).expect("set");
        let mut bed = Bed { client, upstream, marker, reply: [0; 1232] };
        bed.run("loop_local", false, |_| packet("web.internal", A, OPT));
        bed.run("loop_forwarded", true, |number| packet(&format!("n{number:05}.example.com"), A, OPT));
        bed.run("loop_cached", false, |_| packet("n00000.example.com", A, OPT));
        bed.ask(&packet("web.internal", A, OPT), false);
        drop(shop);
        runtime.block_on(server.shutdown());
    }
}

fn main() {
    callsign::table::fix_hash_seed();
    match std::env::args().nth(1).as_deref() {
        Some("loop") => {
            println!("{}", through::WINDOW);
            through::run();
        }
        _ => {
            run(&mut World::new());
            println!("{TIMES}");
        }
    }
}
