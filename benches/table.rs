//! The table at size: what a name takes, how long a network takes to load, what a change costs, and what looking a name up
//! costs among many.
//!
//! `cargo bench --bench table`, or once through each, smaller, with `-- --test`. Endpoints are as Podman has them: an id of
//! 64 hex digits, one address, a name, and the id's first twelve digits as another.

use std::fs;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use callsign::responder::{Client, Listener, Responder, ResponderOptions, Verdict};
use callsign::table::{Clients, Endpoint, NameTable, Network};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group};

/// Names of a network. Going once through the benchmarks is to be quick.
fn sizes() -> &'static [u32] {
    if is_test() { &[1_000, 10_000] } else { &[1_000, 100_000, 1_000_000] }
}

fn is_test() -> bool {
    !std::env::args().any(|argument| argument == "--bench")
}

/// Makes neighbouring numbers far ones (the finish of SplitMix64).
fn scatter(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from_be_bytes([10, 0, 0, 2]) + number)
}

/// A container with so many names: its own, aliases, and its short id.
fn container(number: u32, names: u32) -> Endpoint {
    let number = u64::from(number);
    let id: String = (1..5).map(|part| format!("{:016x}", scatter(number * 4 + part))).collect();
    let aliases = (2..names).map(|alias| format!("alias-{alias}-{number}"));
    let builder = Endpoint::builder(&*id).ip(address(number as u32).into()).name(format!("container-{number}"));
    builder.names(aliases).name(&id[..12]).build().expect("an endpoint")
}

/// A network in a table of its own, empty.
fn empty() -> Arc<Network> {
    let network = Network::builder("net").subnet("10.0.0.0/8").domain("internal").clients(Clients::Table);
    NameTable::new().add(network.build().expect("a network")).expect("added")
}

fn network(size: u32) -> Arc<Network> {
    let network = empty();
    network.replace_all((0..size / 2).map(|number| container(number, 2))).expect("loaded");
    network
}

fn change(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("change");
    group.sample_size(50);
    for &size in sizes() {
        let network = network(size);
        // Another one each time, as its names lie elsewhere in the table.
        let mut number = size;
        group.bench_function(BenchmarkId::new("attach", size), |bencher| {
            let setup = || {
                number += 1;
                container(number, 3)
            };
            bencher.iter_batched(setup, |newcomer| network.attach(newcomer), BatchSize::PerIteration);
        });
        let mut number = size / 2 + size;
        group.bench_function(BenchmarkId::new("detach", size), |bencher| {
            let setup = || {
                number += 1;
                let newcomer = container(number, 3);
                let id = newcomer.id().to_owned();
                network.attach(newcomer).expect("attached");
                id
            };
            bencher.iter_batched(setup, |id| network.detach(&id), BatchSize::PerIteration);
        });
        let newcomer = container(size / 2, 3);
        let mut running = false;
        network.attach(newcomer.clone()).expect("attached");
        group.bench_function(BenchmarkId::new("update", size), |bencher| {
            bencher.iter(|| {
                running = !running;
                network.update(newcomer.id(), |endpoint| endpoint.with_running(running))
            });
        });
    }
    group.finish();
}

fn load(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10);
    for &size in sizes() {
        let containers: Vec<Endpoint> = (0..size / 2).map(|number| container(number, 2)).collect();
        group.bench_function(BenchmarkId::new("anew", size), |bencher| {
            let load = |(network, containers): (Arc<Network>, Vec<Endpoint>)| {
                network.replace_all(containers).expect("loaded");
                network
            };
            bencher.iter_batched(|| (empty(), containers.clone()), load, BatchSize::PerIteration);
        });
        // A source that starts over and finds everything as it was.
        let loaded = network(size);
        group.bench_function(BenchmarkId::new("again", size), |bencher| {
            bencher.iter_batched(|| containers.clone(), |same| loaded.replace_all(same), BatchSize::PerIteration);
        });
    }
    // Replicas of one service: all under one name.
    let replica = |number| {
        let builder = Endpoint::builder(format!("id-{number}")).ip(address(number).into());
        builder.name("web").build().expect("an endpoint")
    };
    let replicas: Vec<_> = (0..5_000).map(replica).collect();
    group.bench_function(BenchmarkId::new("one-name", 5_000), |bencher| {
        let load = |(network, endpoints): (Arc<Network>, Vec<Endpoint>)| {
            network.replace_all(endpoints).expect("loaded");
            network
        };
        bencher.iter_batched(|| (empty(), replicas.clone()), load, BatchSize::PerIteration);
    });
    group.finish();
}

/// Names drawn at random from all of the table: what one name asked for again and again does not show.
fn lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lookup");
    for &size in sizes() {
        let network = network(size);
        let listener = Listener::new(network, SocketAddr::from(([10, 0, 0, 1], 53)));
        let client = Client::udp(&listener, SocketAddr::from(([10, 0, 0, 2], 40_000)));
        let mut responder = Responder::new(Arc::new(ResponderOptions::default()));
        let mut out = [0; 1232];
        let packet = |draw: u64| {
            let name = format!("container-{}", scatter(draw) % u64::from(size / 2));
            [b"\0\x07\x01\0\0\x01\0\0\0\0\0\0", &[name.len() as u8][..], name.as_bytes(), b"\0\0\x01\0\x01"].concat()
        };
        // So many that the table's entries, not the packets, are what the caches miss: these come one after the other.
        let packets: Vec<Vec<u8>> = (0..if is_test() { 1_000 } else { 200_000 }).map(packet).collect();
        let mut next = 0;
        group.bench_function(BenchmarkId::new("random-a", size), |bencher| {
            bencher.iter(|| {
                next = (next + 1) % packets.len();
                match responder.respond(black_box(&packets[next]), &client, &mut out) {
                    Verdict::Reply(len) => len,
                    verdict => panic!("known: {verdict:?}"),
                }
            });
        });
    }
    group.finish();
}

/// Resident memory, octets.
fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.as_deref().and_then(|text| text.split(' ').nth(1)).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * 4096
}

/// What a name takes, as the process grows by it; on a fresh heap, and so before anything else.
fn memory() {
    let size = if is_test() { 10_000 } else { 1_000_000 };
    let mut kept = Vec::new();
    for names in [2, 3] {
        let (before, start) = (resident(), Instant::now());
        let network = empty();
        network.replace_all((0..size / names).map(|number| container(number, names))).expect("loaded");
        let (time, grown) = (start.elapsed(), resident().saturating_sub(before));
        let each = grown as f64 / f64::from(size);
        println!("memory: {size} names, {names} an endpoint: {each:.0} octets a name; made and loaded in {time:.2?}");
        kept.push(network);
    }
    let before = resident();
    for round in 0..if is_test() { 2 } else { 5 } {
        // All of them others than before.
        let changed = |number| container(number, 2).with_running(round % 2 == 1);
        kept[0].replace_all((0..size / 2).map(changed)).expect("loaded");
    }
    let grown = (resident() as i64 - before as i64) / (1 << 20);
    println!("memory: loaded again with every endpoint changed, several times: {grown} MiB more");
}

criterion_group!(benches, change, load, lookup);

fn main() {
    memory();
    benches();
    Criterion::default().configure_from_args().final_summary();
}
