//! 1 and 11: what one host has is found on the others, and how.

use std::time::Duration;

use callsign::table::{Port, Protocol, Reach, Sharing};
use hickory_proto::rr::RecordType;

use crate::bed::{Asking, Cluster, address_of, endpoint, network, routed, wait};
use crate::needs_root;
use crate::support::DEADLINE;

#[test]
fn a1_containers_of_another_host_are_found_by_their_own_addresses() {
    needs_root!("etcd", "etcdctl");
    let cluster = Cluster::of(1);
    let web = |id, address| endpoint(id, address, "web").build().unwrap();
    let a = cluster.host("host-a", vec![routed("shop", 1).endpoint(web("web-a", "10.88.1.10"))]);
    let queue = endpoint("queue-1", "10.88.2.12", "queue").port(Port::named("http", 8080, Protocol::Tcp));
    let b = cluster
        .host("host-b", vec![routed("shop", 2).endpoint(web("web-b", "10.88.2.10")).endpoint(queue.build().unwrap())]);
    a.expect("shop", "queue", "A 10.88.2.12");
    b.expect("shop", "web.host-a", "A 10.88.1.10");
    assert_eq!(a.ask("shop", "queue.internal"), "A 10.88.2.12");
    assert_eq!(a.ask("shop", "queue.host-b"), "A 10.88.2.12");
    assert_eq!(a.ask_for("shop", "12.2.88.10.in-addr.arpa", RecordType::PTR), "PTR queue.internal.");
    let srv = a.ask_for("shop", "_http._tcp.queue", RecordType::SRV);
    assert_eq!(srv, "A 10.88.2.12, SRV 0 1 8080 queue-1.host-b.internal.");
    // Each answers its own first.
    assert_eq!((a.ask("shop", "web"), b.ask("shop", "web")), ("A 10.88.1.10".into(), "A 10.88.2.10".into()));
    assert_eq!(a.ask("shop", "web.host-b"), "A 10.88.2.10");
    // The local one stops: the other host's within a second.
    let shop = a.network("shop");
    shop.update("web-a", |web| web.with_running(false)).unwrap();
    a.expect_within(Duration::from_secs(1), "shop", "web", "A 10.88.2.10");
    shop.update("web-a", |web| web.with_running(true)).unwrap();
    assert_eq!(a.ask("shop", "web"), "A 10.88.1.10", "at once: the store is not asked");
    // What ends over there is gone here.
    b.network("shop").detach("queue-1").unwrap();
    a.expect("shop", "queue.internal", "NXDOMAIN");
}

#[test]
fn a1_one_subnet_on_two_hosts_is_reached_through_published_ports() {
    needs_root!("etcd", "etcdctl");
    let cluster = Cluster::of(1);
    let edge = || network("edge", "10.89.0.0/24", "10.89.0.1", Sharing::new(Reach::Host));
    let port = Port::named("http", 8080, Protocol::Tcp).published_at(["0.0.0.0:30080".parse().unwrap()]);
    let loopback = Port::named("http", 8080, Protocol::Tcp).published_at(["127.0.0.1:30081".parse().unwrap()]);
    let a = cluster.host("host-a", vec![edge()]);
    let _b = cluster.host(
        "host-b",
        vec![
            edge()
                .endpoint(endpoint("api-2", "10.89.0.5", "api2").port(port).build().unwrap())
                .endpoint(endpoint("quiet", "10.89.0.6", "quiet").port(loopback).build().unwrap()),
        ],
    );
    let at_b = address_of("host-b");
    a.expect("edge", "api2", &format!("A {at_b}"));
    let srv = a.ask_for("edge", "_http._tcp.api2", RecordType::SRV);
    assert_eq!(srv, format!("A {at_b}, SRV 0 1 30080 api-2.host-b.internal."));
    let reverse = format!("{}.in-addr.arpa", at_b.split('.').rev().collect::<Vec<_>>().join("."));
    assert_eq!(
        a.ask_for("edge", &reverse, RecordType::PTR),
        "forwarded",
        "a host's address has no name of a container's"
    );
    let closed = a.ask("edge", "quiet");
    assert!(closed.starts_with("NODATA") && closed.contains("publishes no port"), "{closed}");
}

#[test]
fn a1_one_subnet_on_two_hosts_is_a_conflict_with_container() {
    needs_root!("etcd", "etcdctl");
    let cluster = Cluster::of(1);
    let bridge = || network("bridge", "172.17.0.0/16", "172.17.0.1", Sharing::new(Reach::Container));
    let a = cluster.host("host-a", vec![bridge()]);
    let _b = cluster.host("host-b", vec![bridge().endpoint(endpoint("web", "172.17.0.2", "web").build().unwrap())]);
    wait("the conflict is shown", DEADLINE, || !a.status().conflicts.is_empty());
    let status = a.status();
    assert!(status.conflicts[0].contains("share = \"host\""), "{:?}", status.conflicts);
    assert_eq!(a.ask("bridge", "web.internal"), "NXDOMAIN");
}

#[test]
fn a11_no_query_sees_neither_of_two_names_that_change_places() {
    needs_root!("etcd", "etcdctl");
    let cluster = Cluster::of(1);
    let (a, b) = (cluster.host("host-a", vec![routed("shop", 1)]), cluster.host("host-b", vec![routed("shop", 2)]));
    let shop = b.network("shop");
    let colour = |id: &str, name: &str, other: &str| {
        let address = if id == "one" { "10.88.2.1" } else { "10.88.2.2" };
        endpoint(id, address, name).name(other).build().unwrap()
    };
    shop.change(|change| {
        change.attach(colour("one", "live", "blue"));
        change.attach(colour("two", "next", "green"));
    })
    .unwrap();
    a.expect("shop", "live", "A 10.88.2.1");
    // A deployment: `live` and `next` change places, and whoever asks sees both all the time.
    let table = a.table.clone();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut wrong = Vec::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let shop = table.network("shop").unwrap();
                let snapshot = shop.snapshot();
                let of = |id: &str| snapshot.endpoint(id).map(|endpoint| endpoint.names()[0].to_string());
                let mut names = [of("host-b/one").unwrap_or_default(), of("host-b/two").unwrap_or_default()];
                names.sort();
                if names != ["live", "next"] {
                    wrong.push(names);
                }
            }
            wrong
        });
        for round in 0..20 {
            let (first, second) = if round % 2 == 0 { ("next", "live") } else { ("live", "next") };
            shop.change(|change| {
                change.attach(colour("one", first, "blue"));
                change.attach(colour("two", second, "green"));
            })
            .unwrap();
            a.expect("shop", "live", if second == "live" { "A 10.88.2.2" } else { "A 10.88.2.1" });
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let wrong = asking.join().unwrap();
        assert!(wrong.is_empty(), "{wrong:?}");
    });
}

#[test]
fn networks_that_come_later_are_filled_and_those_that_are_no_longer_shared_are_emptied() {
    needs_root!("etcd", "etcdctl");
    let cluster = Cluster::of(1);
    let db = endpoint("db-1", "10.88.2.3", "db").build().unwrap();
    let b = cluster.host("host-b", vec![routed("shop", 2).endpoint(db)]);
    b.settled();
    let a = cluster.host("host-a", Vec::new());
    a.settled();
    assert_eq!(a.status().hosts["host-b"].endpoints, 1);
    a.table.add(routed("shop", 1).build().unwrap()).unwrap();
    a.expect("shop", "db", "A 10.88.2.3");
    let accept = |pattern: &str| {
        let mut sharing = Sharing::new(Reach::Container);
        sharing.remote_subnets = vec!["10.88.0.0/16".parse().unwrap()];
        sharing.accept = vec![pattern.into()];
        a.network("shop").change(|change| change.settings(|settings| settings.sharing = Some(sharing.into()))).unwrap();
    };
    accept("host-c");
    a.expect("shop", "db.internal", "NXDOMAIN");
    accept("host-*");
    a.expect("shop", "db.internal", "A 10.88.2.3");
    a.network("shop").change(|change| change.settings(|settings| settings.sharing = None)).unwrap();
    a.expect("shop", "db.internal", "NXDOMAIN");
    // A network of another name here that is the same one there.
    let mut sharing = Sharing::new(Reach::Container);
    sharing.remote_subnets = vec!["10.88.0.0/16".parse().unwrap()];
    sharing.name = Some("shop".into());
    a.table.remove("shop").unwrap();
    a.table.add(network("store", "10.88.1.0/24", "10.88.1.1", sharing).build().unwrap()).unwrap();
    a.expect("store", "db", "A 10.88.2.3");
    // The network over there goes, with all its names.
    b.table.remove("shop").unwrap();
    a.expect("store", "db.internal", "NXDOMAIN");
}

#[test]
fn an_orderly_stop_withdraws_everything_at_once_and_a_start_brings_it_back() {
    needs_root!("etcd", "etcdctl");
    let cluster = Cluster::of(1);
    let shop = || routed("shop", 2).endpoint(endpoint("db-1", "10.88.2.3", "db").build().unwrap());
    let a = cluster.host("host-a", vec![routed("shop", 1)]);
    let b = cluster.host("host-b", vec![shop()]);
    a.expect("shop", "db", "A 10.88.2.3");
    let asking = Asking::begin(&a, "shop", &[("nobody.internal", "NXDOMAIN")]);
    let place = b.shut_down();
    a.expect_within(Duration::from_secs(1), "shop", "db.internal", "NXDOMAIN");
    assert!(!a.status().hosts.contains_key("host-b"), "{:#?}", a.status());
    assert!(!cluster.keys().iter().any(|key| key.contains("host-b")), "{:?}", cluster.keys());
    let _b = crate::bed::Host::start(place, &crate::bed::machine("host-b"), cluster.options("host-b"), vec![shop()]);
    a.expect("shop", "db.internal", "A 10.88.2.3");
    asking.end();
}
