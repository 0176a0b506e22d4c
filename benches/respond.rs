//! One query, from octets to octets: what a worker does between `recvmmsg` and `sendmmsg`.
//!
//! `cargo bench --bench respond`, or once through each with `-- --test`.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use callsign::responder::{Client, Listener, Responder, ResponderOptions, Verdict};
use callsign::table::{Endpoint, NameTable, Network, NetworkBuilder, Port, Protocol};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const SIZES: [u32; 2] = [1_000, 100_000];

/// A network of so many endpoints, `n0` and on, each with a name and an address of its own.
fn network(name: &str, second: u8, size: u32) -> NetworkBuilder {
    (0..size).fold(Network::builder(name).subnet("10.0.0.0/8").domain("internal"), |network, number| {
        let address = Ipv4Addr::from(u32::from_be_bytes([10, second, 0, 0]) + number);
        let port = Port::named("http", 80, Protocol::Tcp);
        let endpoint =
            Endpoint::builder(format!("id-{number}")).ip(address.into()).name(format!("n{number}")).port(port);
        network.endpoint(endpoint.build().expect("an endpoint"))
    })
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

const NO_OPT: &[u8] = b"";
const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
const OPT_COOKIE: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\x0c\0\x0a\0\x088 octets";

fn respond(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("respond");
    for size in SIZES {
        let table = NameTable::new();
        let own = table.add(network("own", 1, size).build().expect("a network")).expect("added");
        let listener = Listener::new(own, SocketAddr::from(([10, 1, 0, 1], 53)));
        // A name from the middle, and the reverse name of its address.
        let middle = size / 2;
        let [a, b, c, d] = (u32::from_be_bytes([10, 1, 0, 0]) + middle).to_be_bytes();
        for (what, name, rtype, opt) in [
            ("a-hit", format!("n{middle}"), 1, NO_OPT),
            ("a-hit-edns", format!("n{middle}"), 1, OPT),
            ("a-hit-cookie", format!("n{middle}"), 1, OPT_COOKIE),
            ("a-hit-domain", format!("n{middle}.own.internal"), 1, NO_OPT),
            ("aaaa-nodata", format!("n{middle}"), 28, NO_OPT),
            ("ptr", format!("{d}.{c}.{b}.{a}.in-addr.arpa"), 12, NO_OPT),
            ("srv", format!("_http._tcp.n{middle}"), 33, NO_OPT),
            ("nxdomain", "nothere.internal".to_owned(), 1, NO_OPT),
            ("miss-to-forward", "www.example.com".to_owned(), 1, OPT),
        ] {
            let packet = packet(&name, rtype, opt);
            let client = Client::udp(&listener, SocketAddr::from(([10, 1, 0, 2], 40_000)));
            let mut responder = Responder::new(Arc::new(ResponderOptions::default()));
            let mut out = [0; 1232];
            let forwards = matches!(responder.respond(&packet, &client, &mut out), Verdict::Forward(_));
            assert_eq!(forwards, what == "miss-to-forward");
            group.bench_function(BenchmarkId::new(what, size), |bencher| {
                bencher.iter(|| match responder.respond(black_box(&packet), &client, &mut out) {
                    Verdict::Reply(len) => len,
                    verdict => drop_forward(verdict),
                });
            });
        }
    }
    group.finish();
}

fn drop_forward(verdict: Verdict<'_>) -> usize {
    black_box(verdict);
    0
}

/// The same question by a client of one network and of four.
fn views(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("respond-view");
    let table = NameTable::new();
    for number in 1..=4 {
        let network = network(&format!("net{number}"), number, 1000).build().expect("a network");
        let network = table.add(network).expect("added");
        let hub = Endpoint::builder("hub").ip(Ipv4Addr::new(10, number, 100, 1).into()).build().expect("an endpoint");
        network.attach(hub).expect("attached");
        if number < 3 {
            let pair = Endpoint::builder("pair").ip(Ipv4Addr::new(10, number, 100, 2).into()).build();
            network.attach(pair.expect("an endpoint")).expect("attached");
        }
        if number == 1 {
            let lone = Endpoint::builder("lone").ip(Ipv4Addr::new(10, number, 100, 3).into()).build();
            network.attach(lone.expect("an endpoint")).expect("attached");
        }
    }
    let listener = Listener::new(table.network("net1").expect("net1"), SocketAddr::from(([10, 1, 0, 1], 53)));
    for (networks, host) in [(1, 3), (2, 2), (4, 1)] {
        for (what, name) in [("a-hit", "n500"), ("nxdomain", "nothere.internal")] {
            let packet = packet(name, 1, NO_OPT);
            let client = Client::udp(&listener, SocketAddr::from(([10, 1, 100, host], 40_000)));
            let mut responder = Responder::new(Arc::new(ResponderOptions::default()));
            let mut out = [0; 1232];
            group.bench_function(BenchmarkId::new(what, networks), |bencher| {
                bencher.iter(|| match responder.respond(black_box(&packet), &client, &mut out) {
                    Verdict::Reply(len) => len,
                    verdict => drop_forward(verdict),
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, respond, views);
criterion_main!(benches);
