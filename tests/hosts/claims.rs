//! 7 and 8: writes that come late, and hosts that sleep, reboot, or have another's name.

use std::time::Duration;

use callsign::settings::{ClaimStatus, StoreOptions};
use callsign::source::etcd::Machine;
use nix::sys::signal::Signal;

use crate::bed::{Cluster, Host, TTL, address_of, endpoint, machine, routed, wait, wait_or};
use crate::needs_root;
use crate::support::DEADLINE;

#[test]
fn a7_a_write_that_was_given_up_never_comes_back() {
    needs_root!("etcd", "etcdctl");
    let cluster = Cluster::of(3);
    // Through a follower, which hands the write on to the leader that hangs.
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    let b = cluster.host_with("host-b", vec![routed("shop", 2)], |options| {
        options.ttl = Duration::from_secs(60);
        options.hold = Duration::from_secs(120);
        options.etcd = [follower, (leader + 2) % 3].map(|at| cluster.urls()[at].clone()).to_vec();
    });
    b.settled();
    let shop = b.network("shop");
    let key = "/callsign/v1/host-b/e/shop/zombie";
    let mut rounds = 0;
    while rounds < 3 {
        let leader = cluster.leader();
        cluster.signal(leader, Signal::SIGSTOP);
        shop.attach(endpoint("zombie", "10.88.2.66", "zombie").build().unwrap()).unwrap();
        wait("it is published", Duration::from_secs(30), || b.status().published == 1);
        // The container ends.
        shop.detach("zombie").unwrap();
        wait("it is withdrawn", Duration::from_secs(30), || b.status().published == 0);
        cluster.signal(leader, Signal::SIGCONT);
        // The old leader is part of the cluster again, and has done what it was asked, or not.
        wait("all agree", DEADLINE, || {
            cluster
                .etcdctl_at(leader, &["get", "", "--prefix", "--keys-only", "--consistency=l"])
                .contains("host-b/host")
        });
        assert!(!cluster.keys().contains(key), "the key is back");
        rounds += 1;
    }
    assert!(!cluster.keys().contains(key), "the key is back");
    assert!(matches!(b.status().claim, ClaimStatus::Claimed { .. }), "{:#?}", b.status());
}

#[test]
fn a8_a_reboot_takes_over_at_once_and_no_name_is_away_meanwhile() {
    needs_root!("etcd", "etcdctl");
    let cluster = Cluster::of(1);
    let shop = |id: &str| {
        let keeps = endpoint("keeps", "10.88.2.3", "keeps").build().unwrap();
        routed("shop", 2).endpoint(keeps).endpoint(endpoint(id, "10.88.2.4", id).build().unwrap())
    };
    let a = cluster.host("host-a", vec![routed("shop", 1)]);
    let long = |options: &mut StoreOptions| {
        options.ttl = Duration::from_secs(120);
        options.hold = Duration::from_secs(240);
    };
    let b = cluster.host_with("host-b", vec![shop("before")], long);
    a.expect("shop", "before", "A 10.88.2.4");
    b.settled();
    let asking = crate::bed::Asking::begin(&a, "shop", &[("keeps", "A 10.88.2.3")]);
    let place = b.kill();
    let mut options = cluster.options("host-b");
    long(&mut options);
    let rebooted = Machine::new(machine("host-b").id, "second");
    let b = Host::start(place, &rebooted, options, vec![shop("after")]);
    // Long before the lease of before ends.
    a.expect_within(Duration::from_secs(5), "shop", "after", "A 10.88.2.4");
    assert_eq!(a.ask("shop", "before.internal"), "NXDOMAIN");
    asking.end();
    b.settled();
    assert_eq!(cluster.etcdctl(&["lease", "list"]).lines().count(), 3, "a line for each host, and a heading");
}

#[test]
fn a8_another_machine_of_the_name_is_refused_and_says_where_the_first_one_is() {
    needs_root!("etcd", "etcdctl");
    let cluster = Cluster::of(1);
    let shop = |id: &str| routed("shop", 2).endpoint(endpoint(id, "10.88.2.4", id).build().unwrap());
    let first = cluster.host("host-b", vec![shop("first")]);
    let a = cluster.host("host-a", vec![routed("shop", 1)]);
    a.expect("shop", "first", "A 10.88.2.4");
    first.settled();
    let second =
        Host::start(cluster.place("other-c"), &machine("other"), cluster.options("host-b"), vec![shop("second")]);
    let reason = || match second.status().claim {
        ClaimStatus::Refused { reason } => reason,
        other => format!("{other:?}"),
    };
    wait_or(DEADLINE, || reason().contains(&address_of("host-b")), reason);
    assert_eq!(a.ask("shop", "second.internal"), "NXDOMAIN");
    // It reads all the same, and publishes when the name is free.
    first.shut_down();
    a.expect_within(TTL + DEADLINE, "shop", "second", "A 10.88.2.4");
}

#[test]
fn a8_machines_with_one_id_are_found_out() {
    needs_root!("etcd", "etcdctl");
    let cluster = Cluster::of(1);
    let one = cluster.host("host-b", vec![routed("shop", 2)]);
    one.settled();
    let other =
        Host::start(cluster.place("clone-c"), &machine("host-b"), cluster.options("host-b"), vec![routed("shop", 3)]);
    let refused = |host: &Host| matches!(host.status().claim, ClaimStatus::Refused { reason } if reason.contains("machine-id is not unique"));
    wait_or(DEADLINE, || refused(&one) || refused(&other), || format!("{:#?}{:#?}", one.status(), other.status()));
    // One of them goes on.
    wait("one publishes", DEADLINE, || {
        [&one, &other].iter().any(|host| matches!(host.status().claim, ClaimStatus::Claimed { .. }))
    });
}
