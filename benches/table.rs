//! Changes to a network: an endpoint comes or goes, or a source loads everything at once.
//!
//! `cargo bench --bench table`, or once through each with `-- --test`.

use std::net::Ipv4Addr;

use callsign::table::{Endpoint, Network};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};

const SIZES: [u32; 2] = [1_000, 100_000];

fn endpoint(number: u32, names: impl IntoIterator<Item = String>) -> Endpoint {
    let address = Ipv4Addr::from(u32::from_be_bytes([10, 0, 0, 0]) + number);
    Endpoint::builder(format!("id-{number}")).ip(address.into()).names(names).build().expect("an endpoint")
}

fn endpoints(size: u32) -> Vec<Endpoint> {
    (0..size).map(|number| endpoint(number, [format!("n{number}")])).collect()
}

fn network(size: u32) -> Network {
    let network = Network::builder("net").subnet("10.0.0.0/8").domain("internal").build().expect("a network");
    network.replace_all(endpoints(size)).expect("loaded");
    network
}

fn change(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("change");
    for size in SIZES {
        let network = network(size);
        let newcomer = endpoint(size, ["web".to_owned(), "www".to_owned(), "shop.web".to_owned()]);
        group.bench_function(BenchmarkId::new("attach", size), |bencher| {
            let setup = || {
                // Not there the first time.
                let _ = network.detach(newcomer.id());
                newcomer.clone()
            };
            bencher.iter_batched(setup, |newcomer| network.attach(newcomer), BatchSize::PerIteration);
        });
        group.bench_function(BenchmarkId::new("detach", size), |bencher| {
            let setup = || network.attach(newcomer.clone());
            bencher.iter_batched(setup, |_| network.detach(newcomer.id()), BatchSize::PerIteration);
        });
        let mut healthy = false;
        group.bench_function(BenchmarkId::new("update", size), |bencher| {
            network.attach(newcomer.clone()).expect("attached");
            bencher.iter(|| {
                healthy = !healthy;
                network.update(newcomer.id(), |endpoint| endpoint.with_running(healthy))
            });
        });
    }
    group.finish();
}

fn load(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10);
    let empty = || Network::builder("net").subnet("10.0.0.0/8").build().expect("a network");
    for size in SIZES {
        let own_names = endpoints(size);
        group.bench_function(BenchmarkId::new("own-names", size), |bencher| {
            let setup = || (empty(), own_names.clone());
            let load = |(network, endpoints): (Network, Vec<Endpoint>)| {
                network.replace_all(endpoints).expect("loaded");
                network
            };
            bencher.iter_batched(setup, load, BatchSize::PerIteration);
        });
        // A source that starts over and finds everything as it was.
        let loaded = network(size);
        group.bench_function(BenchmarkId::new("again", size), |bencher| {
            bencher.iter_batched(|| own_names.clone(), |same| loaded.replace_all(same), BatchSize::PerIteration);
        });
    }
    // Replicas of one service: all under one name.
    let replicas: Vec<_> = (0..5_000).map(|number| endpoint(number, ["web".to_owned()])).collect();
    group.bench_function(BenchmarkId::new("one-name", 5_000), |bencher| {
        let setup = || (empty(), replicas.clone());
        bencher.iter_batched(
            setup,
            |(network, endpoints)| {
                network.replace_all(endpoints).expect("loaded");
                network
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, change, load);
criterion_main!(benches);
