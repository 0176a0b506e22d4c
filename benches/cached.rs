//! What a question costs whose answer is in the cache: one of 1,000 names after the other, no sockets.
//!
//! `cargo bench --no-default-features --features server --bench cached`

use std::hint::black_box;
use std::sync::Arc;

use callsign::forward::{Asked, AskedEdns, ForwardOptions, Forwarder, Question};
use callsign::responder::{Client, Listener, Responder, ResponderOptions, Verdict};
use callsign::table::{NameTable, Network};
use callsign::wire::Name;
use callsign::wire::message::flag;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const NAMES: usize = 1000;

/// A query with a bare OPT.
fn packet(name: &Name) -> Vec<u8> {
    let header = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    [&header, name.as_wire(), &[0, 1, 0, 1], b"\0\0\x29\x04\xd0\0\0\0\0\0\0"].concat()
}

/// A forwarder that has the answers, and the names.
fn filled(addresses: u8) -> (Arc<Forwarder>, Vec<Name>) {
    let upstreams = vec!["192.0.2.53".parse().expect("an address")].into();
    let forwarder = Arc::new(Forwarder::new(ForwardOptions { upstreams, ..ForwardOptions::default() }));
    let names: Vec<Name> =
        (0..NAMES).map(|index| format!("host-{index}.example.com").parse().expect("a name")).collect();
    for name in &names {
        let question = [name.as_wire(), &[0, 1, 0, 1]].concat();
        let mut reply = vec![0, 7, 0x81, 0x80, 0, 1, 0, addresses, 0, 0, 0, 0];
        reply.extend_from_slice(&question);
        for last in 0..addresses {
            reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 1, 0, 0, 0, 4, 10, 0, 0, last]);
        }
        let choice = forwarder.choose(name.as_wire(), &[]);
        forwarder.take_reply(&Question { question, flags: flag::RD, dnssec_ok: false }, &choice, reply);
    }
    assert_eq!(forwarder.counters().entries, NAMES);
    (forwarder, names)
}

fn cached(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cached");
    group.throughput(Throughput::Elements(1));
    for addresses in [1, 10] {
        let (forwarder, names) = filled(addresses);
        let questions: Vec<_> = names.iter().map(|name| [name.as_wire(), &[0, 1, 0, 1]].concat()).collect();
        let mut turn = (0..NAMES).cycle();
        let mut out = [0; 1232];
        group.bench_function(format!("forwarder, {addresses} addresses"), |bencher| {
            bencher.iter(|| {
                let index = turn.next().unwrap_or_default();
                let name = names[index].as_wire();
                let choice = forwarder.choose(name, &[]);
                let edns = Some(AskedEdns { dnssec_ok: false, options: &[] });
                let question = &questions[index];
                let asked = Asked { id: 7, flags: flag::RD, question, limit: 1232, edns, aliases: &[] };
                assert!(forwarder.cached(name, &choice, &asked, black_box(&mut out)).is_some());
            });
        });
    }

    // The whole of what a worker does between the two system calls.
    let (forwarder, names) = filled(1);
    let packets: Vec<_> = names.iter().map(packet).collect();
    let table = NameTable::new();
    let network = Network::builder("web").subnet("10.10.1.0/24").build().expect("a network");
    let listener = Listener::new(table.add(network).expect("a new name"), ([10, 10, 1, 1], 53).into());
    let mut responder = Responder::new(Arc::new(ResponderOptions::default()));
    let mut turn = (0..NAMES).cycle();
    let mut out = [0; 1232];
    group.bench_function("packet to reply", |bencher| {
        bencher.iter(|| {
            let packet = &packets[turn.next().unwrap_or_default()];
            let client = Client::udp(&listener, ([10, 10, 1, 2], 4000).into());
            let Verdict::Forward(forward) = responder.respond(packet, &client, &mut out) else { return };
            let choice = forwarder.choose(forward.target(), &forward.upstreams);
            let asked = Asked {
                id: forward.query.header().id,
                flags: forward.query.header().flags,
                question: forward.query.question_bytes(),
                limit: forward.limit,
                edns: forward.edns.as_ref().map(|edns| AskedEdns { dnssec_ok: edns.dnssec_ok, options: &edns.options }),
                aliases: &forward.aliases,
            };
            assert!(forwarder.cached(forward.query.name(), &choice, &asked, black_box(&mut out)).is_some());
        });
    });
    group.finish();
}

criterion_group!(benches, cached);
criterion_main!(benches);
