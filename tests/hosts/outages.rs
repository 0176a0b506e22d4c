//! 2 to 6, 9, 10: members, the cluster and hosts that die, hang or are cut off. Nothing needs a restart afterwards.

use std::time::{Duration, Instant};

use callsign::settings::{HostState, LinkStatus};
use nix::sys::signal::Signal;

use crate::bed::{Asking, Cluster, Host, TTL, address_of, endpoint, machine, routed, wait, wait_or};
use crate::needs_root;
use crate::support::DEADLINE;

/// How soon a change elsewhere is to be seen once that is possible again.
const SEEN: Duration = Duration::from_secs(6);

/// Three members, and two hosts that see each other; `host-b` has `queue`.
struct Two {
    // First, so that they end before the cluster.
    a: Host,
    b: Host,
    cluster: Cluster,
}

impl Two {
    fn of(members: usize) -> Two {
        let cluster = Cluster::of(members);
        let web = endpoint("web-1", "10.88.1.10", "web").build().unwrap();
        let a = cluster.host_with("host-a", vec![routed("shop", 1).endpoint(web)], |options| options.ttl = 2 * TTL);
        let queue = endpoint("queue-1", "10.88.2.12", "queue").build().unwrap();
        let b = cluster.host_with("host-b", vec![routed("shop", 2).endpoint(queue)], |options| options.ttl = 2 * TTL);
        a.settled().expect("shop", "queue", "A 10.88.2.12");
        b.settled().expect("shop", "web", "A 10.88.1.10");
        Two { a, b, cluster }
    }

    /// The member that a host is connected to.
    fn member_of(&self, host: &Host) -> usize {
        let member = host.status().member.unwrap();
        self.cluster.urls().iter().position(|url| *url == member).unwrap()
    }

    /// Asks for both names all the time while something happens.
    fn asking(&self) -> Asking {
        Asking::begin(&self.a, "shop", &[("queue", "A 10.88.2.12"), ("web", "A 10.88.1.10")])
    }

    /// A change on `host-b`, now.
    fn change(&self) {
        self.b.network("shop").attach(endpoint("new-1", "10.88.2.13", "new").build().unwrap()).unwrap();
    }

    #[track_caller]
    fn seen(&self, asking: Asking) {
        self.a.expect_within(SEEN, "shop", "new", "A 10.88.2.13");
        asking.end();
    }

    fn addresses(&self) -> Vec<String> {
        [&self.a, &self.b].map(|host| address_of(&host.name)).to_vec()
    }

    fn peers_of(&self, at: usize) -> Vec<String> {
        let members = self.cluster.members.iter().enumerate();
        members.filter(|(other, _)| *other != at).map(|(_, member)| member.address.clone()).collect()
    }
}

#[test]
fn a2_the_leader_is_killed() {
    needs_root!("etcd", "etcdctl");
    let mut two = Two::of(3);
    let leader = two.cluster.leader();
    let asking = two.asking();
    two.cluster.kill(leader);
    two.change();
    // An election takes a second or two.
    two.seen(asking);
}

#[test]
fn a2_the_connected_member_is_dropped_by_a_firewall() {
    needs_root!("etcd", "etcdctl");
    let two = Two::of(3);
    let asking = two.asking();
    let at = two.member_of(&two.a);
    two.cluster.drop_from(at, &two.addresses(), true);
    two.change();
    // Pings find it out after 4 s.
    two.seen(asking);
    assert_ne!(two.member_of(&two.a), at);
}

#[test]
fn a2_all_members_are_dropped_and_heal() {
    needs_root!("etcd", "etcdctl");
    let two = Two::of(3);
    let asking = two.asking();
    let addresses = two.addresses();
    (0..3).for_each(|at| two.cluster.drop_from(at, &addresses, true));
    wait("both notice", DEADLINE, || {
        [&two.a, &two.b].iter().all(|host| matches!(host.status().link, LinkStatus::Away { .. }))
    });
    two.change();
    // Local names do not wait for the store.
    assert_eq!(two.b.ask("shop", "new"), "A 10.88.2.13");
    (0..3).for_each(|at| two.cluster.drop_from(at, &addresses, false));
    two.seen(asking);
}

#[test]
fn a2_the_leader_hangs() {
    needs_root!("etcd", "etcdctl");
    let two = Two::of(3);
    let leader = two.cluster.leader();
    let asking = two.asking();
    two.cluster.signal(leader, Signal::SIGSTOP);
    two.change();
    two.seen(asking);
    two.cluster.signal(leader, Signal::SIGCONT);
    // It is not believed when it wakes.
    two.b.network("shop").detach("new-1").unwrap();
    two.a.expect_within(SEEN, "shop", "new.internal", "NXDOMAIN");
}

#[test]
fn a2_the_quorum_is_lost() {
    needs_root!("etcd", "etcdctl");
    let mut two = Two::of(3);
    let asking = two.asking();
    two.cluster.kill(0);
    two.cluster.kill(1);
    wait("both notice", DEADLINE, || {
        [&two.a, &two.b].iter().all(|host| matches!(host.status().link, LinkStatus::Away { .. }))
    });
    two.change();
    two.cluster.start_all("existing");
    two.seen(asking);
}

#[test]
fn a2_a_member_is_cut_from_its_peers() {
    needs_root!("etcd", "etcdctl");
    let two = Two::of(3);
    let at = two.member_of(&two.a);
    let asking = two.asking();
    let own = [two.cluster.members[at].address.clone()];
    two.cluster.drop_from(at, &two.peers_of(at), true);
    (0..3).filter(|other| *other != at).for_each(|other| two.cluster.drop_from(other, &own, true));
    two.change();
    // Without `hasleader` a watch there would be silent and look healthy.
    wait_or(
        Duration::from_secs(12),
        || two.a.ask("shop", "new") == "A 10.88.2.13",
        || format!("{:#?}", two.a.status()),
    );
    assert_ne!(two.member_of(&two.a), at);
    asking.end();
}

#[test]
fn a3_etcd_is_gone_and_callsign_starts_again() {
    needs_root!("etcd", "etcdctl");
    let mut cluster = Cluster::of(1);
    let state = cluster.path().join("store.json");
    let options = |cluster: &Cluster| {
        let mut options = cluster.options("host-a");
        options.state = Some(state.clone());
        options
    };
    let queue = endpoint("queue-1", "10.88.2.12", "queue").build().unwrap();
    let b = cluster.host("host-b", vec![routed("shop", 2).endpoint(queue)]);
    let a = Host::start(cluster.place("host-a"), &machine("host-a"), options(&cluster), vec![routed("shop", 1)]);
    a.expect("shop", "queue", "A 10.88.2.12");
    b.settled();
    wait("the state is written", Duration::from_secs(60), || {
        std::fs::read_to_string(&state).is_ok_and(|text| text.contains("queue"))
    });
    let place = a.kill();
    cluster.kill(0);
    let a = Host::start(place, &machine("host-a"), options(&cluster), vec![routed("shop", 1)]);
    a.expect("shop", "queue", "A 10.88.2.12");
    let status = a.status();
    assert!(status.is_from_file && a.is_ready(), "{status:#?}");
    // And is followed again when it is back.
    cluster.start_all("existing");
    b.network("shop").detach("queue-1").unwrap();
    a.expect("shop", "queue.internal", "NXDOMAIN");
    assert!(!a.status().is_from_file);
}

#[test]
fn a3_without_a_state_file_a_start_waits_so_long_and_no_longer() {
    needs_root!("etcd", "etcdctl");
    let mut cluster = Cluster::of(1);
    cluster.kill(0);
    let web = endpoint("web-1", "10.88.1.10", "web").build().unwrap();
    let a = cluster.host_with("host-a", vec![routed("shop", 1).endpoint(web)], |options| {
        options.wait = Duration::from_millis(500);
    });
    assert_eq!(a.ask("shop", "web"), "A 10.88.1.10", "local names never wait");
    wait("it counts as ready", DEADLINE, || a.is_ready());
    assert!(matches!(a.status().link, LinkStatus::Away { .. } | LinkStatus::Starting));
}

#[test]
fn a4_a_host_that_dies_is_known_as_lost_for_a_while() {
    needs_root!("etcd", "etcdctl");
    let cluster = Cluster::of(1);
    let queue = endpoint("queue-1", "10.88.2.12", "queue").build().unwrap();
    let a = cluster.host("host-a", vec![routed("shop", 1)]);
    let b = cluster.host("host-b", vec![routed("shop", 2).endpoint(queue)]);
    a.expect("shop", "queue", "A 10.88.2.12");
    b.settled();
    let died = Instant::now();
    b.kill();
    let lost = "NODATA (queue was on host-b, which is not reachable)";
    a.expect_within(TTL + Duration::from_secs(5), "shop", "queue", lost);
    // etcd looks at leases twice a second, and gives a TTL from the last sign of life.
    assert!(died.elapsed() < TTL + Duration::from_secs(4), "{:?}", died.elapsed());
    assert_eq!(a.status().hosts["host-b"].state, HostState::Lost);
    // It is never asked of the upstream before it is forgotten.
    let mut seen = Vec::new();
    wait("it is forgotten", DEADLINE, || {
        seen.push(a.ask("shop", "queue"));
        seen.last().is_some_and(|last| last == "forwarded")
    });
    assert!(seen[..seen.len() - 1].iter().all(|answer| answer == lost), "{seen:?}");
    assert!(a.status().hosts.is_empty());
}

/// Many hosts and one that asks for all of them.
fn many(cluster: &Cluster, count: usize) -> (Host, Vec<Host>) {
    let a = cluster.host("host-a", vec![routed("shop", 250)]);
    let others: Vec<Host> = (0..count)
        .map(|number| {
            let name = format!("many-{}", char::from(b'b' + number as u8));
            let shop = (1..=10).fold(routed("shop", number as u8), |shop, id| {
                let (address, own) = (format!("10.88.{number}.{id}"), format!("n{id}-{number}"));
                shop.endpoint(endpoint(&format!("c{id}"), &address, &own).build().unwrap())
            });
            cluster.host(&name, vec![shop])
        })
        .collect();
    wait_or(Duration::from_secs(40), || a.status().remote_endpoints == count * 10, || format!("{:#?}", a.status()));
    others.iter().for_each(|host| _ = host.settled());
    (a, others)
}

#[test]
fn a5_a_leader_that_wakes_and_revokes_all_leases_takes_no_name_away() {
    needs_root!("etcd", "etcdctl");
    let cluster = Cluster::of(3);
    let (a, others) = many(&cluster, 8);
    let names: Vec<(String, String)> =
        (0..8).map(|number| (format!("n1-{number}"), format!("A 10.88.{number}.1"))).collect();
    let names: Vec<(&str, &str)> = names.iter().map(|(name, answer)| (name.as_str(), answer.as_str())).collect();
    let leader = cluster.leader();
    let asking = Asking::begin(&a, "shop", &names);
    cluster.signal(leader, Signal::SIGSTOP);
    std::thread::sleep(TTL * 3 / 2);
    cluster.signal(leader, Signal::SIGCONT);
    // Whether it revokes them is its own matter (it mostly does): names are answered, and all is there in the end.
    std::thread::sleep(Duration::from_secs(4));
    wait_or(
        DEADLINE,
        || a.status().remote_endpoints == 80 && a.status().hosts.values().all(|host| host.state == HostState::Live),
        || format!("{:#?}", a.status()),
    );
    asking.end();
    assert_eq!(cluster.keys().len(), 9 + 80, "{:?}", others.len());
}

#[test]
fn a6_an_administrator_deletes_everything() {
    needs_root!("etcd", "etcdctl");
    let cluster = Cluster::of(1);
    let (a, _others) = many(&cluster, 6);
    let asking = Asking::begin(&a, "shop", &[("n1-0", "A 10.88.0.1"), ("n10-5", "A 10.88.5.10")]);
    for _ in 0..2 {
        cluster.etcdctl(&["del", "--prefix", "/callsign/"]);
        wait_or(Duration::from_secs(3), || cluster.keys().len() == 7 + 60, || format!("{:?}", cluster.keys()));
    }
    wait("all hosts are there", DEADLINE, || a.status().hosts.values().all(|host| host.state == HostState::Live));
    asking.end();
    // One key alone is put back, too.
    cluster.etcdctl(&["del", "/callsign/v1/many-b/e/shop/c1"]);
    wait("it is back", DEADLINE, || cluster.keys().contains("/callsign/v1/many-b/e/shop/c1"));
    assert_eq!(a.ask("shop", "n1-0"), "A 10.88.0.1");
}

#[test]
fn a10_what_was_compacted_meanwhile_is_read_anew() {
    needs_root!("etcd", "etcdctl");
    let two = Two::of(1);
    let asking = two.asking();
    let addresses = [address_of("host-a")];
    two.cluster.drop_from(0, &addresses, true);
    wait("it notices", DEADLINE, || matches!(two.a.status().link, LinkStatus::Away { .. }));
    two.change();
    let shop = two.b.network("shop");
    for round in 0..20 {
        let one = endpoint("busy", "10.88.2.50", &format!("busy{round}")).build().unwrap();
        shop.attach(one).unwrap();
        wait("it is written", DEADLINE, || {
            two.cluster.etcdctl(&["get", "/callsign/v1/host-b/e/shop/busy"]).contains(&format!("\"busy{round}\""))
        });
    }
    let text = two.cluster.etcdctl(&["endpoint", "status", "--write-out=fields"]);
    let revision = text.lines().find_map(|line| line.strip_prefix("\"Revision\" : ")).unwrap().trim().to_owned();
    two.cluster.etcdctl(&["compact", "--physical", &revision]);
    two.cluster.drop_from(0, &addresses, false);
    two.seen(asking);
    two.a.expect("shop", "busy19", "A 10.88.2.50");
    assert_eq!(two.a.status().resyncs.get("compacted"), Some(&1), "{:?}", two.a.status().resyncs);
}

#[test]
fn a10_a_catch_up_of_thousands_of_events_is_one_message() {
    needs_root!("etcd", "etcdctl");
    let cluster = Cluster::of(1);
    let a = cluster.host("host-a", vec![routed("shop", 1)]);
    let b = cluster.host("host-b", vec![routed("shop", 2)]);
    a.settled();
    b.settled();
    let addresses = [address_of("host-a")];
    cluster.drop_from(0, &addresses, true);
    wait("it notices", DEADLINE, || matches!(a.status().link, LinkStatus::Away { .. }));
    // 5,000 endpoints with long names: some 5 MB, beyond the 4 MiB that a client of gRPC takes by default.
    let filler = "a".repeat(60);
    let names: Vec<String> = (0..15).map(|number| format!("{filler}{number}")).collect();
    let endpoints = (0..4_000_u32).map(|id| {
        let address = format!("10.88.{}.{}", 16 + id / 250, id % 250 + 1);
        endpoint(&format!("c{id}"), &address, &format!("c{id}n")).names(&names).build().unwrap()
    });
    b.network("shop").replace_all(endpoints).unwrap();
    wait_or(Duration::from_secs(60), || b.status().published == 4_000, || format!("{:#?}", b.status()));
    cluster.drop_from(0, &addresses, false);
    wait_or(Duration::from_secs(30), || a.status().remote_endpoints == 4_000, || format!("{:#?}", a.status()));
    assert_eq!(a.ask("shop", "c3999n"), "A 10.88.31.250");
    assert_eq!(a.status().resyncs.len(), 1, "by the watch alone: {:?}", a.status().resyncs);
}

#[test]
fn a9_a_backup_is_restored_under_the_same_name() {
    needs_root!("etcd", "etcdctl");
    let mut two = Two::of(1);
    let backup = two.cluster.path().join("backup.db");
    two.cluster.etcdctl(&["snapshot", "save", backup.to_str().unwrap()]);
    two.change();
    two.b.network("shop").detach("queue-1").unwrap();
    two.a.expect("shop", "new", "A 10.88.2.13");
    two.a.expect("shop", "queue.internal", "NXDOMAIN");
    two.cluster.kill(0);
    let data = two.cluster.data(0);
    std::fs::remove_dir_all(&data).unwrap();
    let member = &two.cluster.members[0];
    let peer = format!("http://{}:2380", member.address);
    let restore = [
        "env",
        "ETCDCTL_API=3",
        "etcdctl",
        "snapshot",
        "restore",
        backup.to_str().unwrap(),
        "--name=m1",
        &format!("--initial-cluster=m1={peer}"),
        "--initial-cluster-token=test",
        &format!("--initial-advertise-peer-urls={peer}"),
        &format!("--data-dir={}", data.display()),
    ];
    member.namespace.run(&restore).expect_success();
    two.cluster.start_all("existing");
    // The backup has `queue` and not `new`: both hosts are right within 15 s.
    wait_or(
        Duration::from_secs(15),
        || {
            two.a.is_settled()
                && two.b.is_settled()
                && two.a.ask("shop", "queue.internal") == "NXDOMAIN"
                && two.a.ask("shop", "new") == "A 10.88.2.13"
                && two.cluster.keys().contains("/callsign/v1/host-b/e/shop/new-1")
        },
        || format!("{:#?}\n{:?}", two.a.status(), two.cluster.keys()),
    );
    assert!(two.a.status().resyncs.contains_key("restored"), "{:?}", two.a.status().resyncs);
}
