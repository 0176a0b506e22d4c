//! A running server: what a signal brings.

use std::fs;
use std::net::UdpSocket;

use callsign::wire::rtype;
use nix::sys::wait::WaitStatus;

use crate::kit::{BLOG, Home, NOWHERE, SHOP, container, network, until};
use crate::support::client::Query;

#[test]
fn a_signal_brings_what_the_files_say() {
    let home = Home::new();
    home.configure(NOWHERE);
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    assert_eq!(home.ask(SHOP, "db").status(), "SERVFAIL", "nobody knows it");

    home.append("shop", &container("bbb222", "10.89.0.3", "db"));
    daemon.hang_up();
    until("db is known", || home.addresses(SHOP, "db") == ["10.89.0.3"]);

    home.write("shop", &format!("{SHOP}\n{}", container("bbb222", "10.89.0.3", "db")));
    daemon.hang_up();
    until("web is gone", || home.addresses(SHOP, "web").is_empty());
    assert_eq!(home.addresses(SHOP, "db"), ["10.89.0.3"]);

    home.write("blog", &network(BLOG, "10.90.0.2"));
    daemon.hang_up();
    until("the new network's gateway listens", || home.client(BLOG).connect().is_ok());
    assert_eq!(home.addresses(BLOG, "web"), ["10.90.0.2"]);

    home.remove("shop");
    daemon.hang_up();
    until("the old one's does not", || home.client(SHOP).connect().is_err());
    assert_eq!(home.addresses(BLOG, "web"), ["10.90.0.2"]);
}

#[test]
fn a_container_is_itself_at_every_gateway() {
    let home = Home::new();
    // The client's own address is a container's.
    let client = "127.0.0.9";
    home.configure(NOWHERE);
    home.write("shop", &format!("{SHOP}\n{}{}", container("ccc333", client, "me"), container("b", "10.89.0.3", "db")));
    home.write("blog", &network(BLOG, "10.90.0.2"));
    let _daemon = home.start();
    let asked = |gateway: &str, name: &str| {
        let client = home.client(gateway).from(client.parse().unwrap());
        client.udp(&Query::new(name, rtype::A)).addresses().len()
    };
    assert_eq!((asked(SHOP, "db"), asked(BLOG, "db")), (1, 1));
    assert_eq!((asked(SHOP, "web"), asked(BLOG, "web")), (0, 0), "not on that network, wherever it asks");
    assert_eq!(home.addresses(BLOG, "web").len(), 1, "an unknown client sees the listener's network");
}

#[test]
fn the_answers_are_podmans() {
    let home = Home::new();
    home.write("shop", &format!("{SHOP}\n{}", container("aaa111", "10.89.0.2", "web,www")));
    let _daemon = home.start();
    let reply = home.ask(SHOP, "web.dns.podman");
    assert_eq!(reply.answers(), ["web.dns.podman. 0 IN A 10.89.0.2"], "ttl = 0");
    let reverse = home.client(SHOP).udp(&Query::reverse("10.89.0.2".parse().unwrap()));
    let mut names = reverse.answers();
    names.sort();
    assert_eq!(names.len(), 2, "ptr = all: {names:?}");
    assert!(names[0].ends_with(" web.") && names[1].ends_with(" www."), "{names:?}");
    // MX.
    let mail = home.client(SHOP).udp(&Query::new("web", 15));
    assert_eq!((mail.status(), mail.authority().len()), ("NOERROR".to_owned(), 1), "no data, with SOA");
    assert_eq!(home.ask(SHOP, "nothere.dns.podman").status(), "NXDOMAIN");
}

#[test]
fn a_large_answer_is_cut_where_a_record_ends_and_whole_over_tcp() {
    let home = Home::new();
    let replicas = (1..=100).map(|last| container(&format!("id{last}"), &format!("10.89.1.{last}"), "web"));
    home.write("shop", &format!("{SHOP}\n{}", replicas.collect::<String>()));
    let _daemon = home.start();
    let query = Query::new("web", rtype::A);
    let cut = home.client(SHOP).udp(&query);
    assert!(cut.flags().contains("tc"), "{cut:?}");
    assert!((1..100).contains(&cut.addresses().len()) && cut.bytes.len() <= 512, "{cut:?}");
    assert_eq!(home.client(SHOP).tcp(&query).addresses().len(), 100);
    let long = home.client(SHOP).udp(&query.edns(1232));
    assert!(long.bytes.len() <= 1232 && long.addresses().len() > cut.addresses().len(), "{long:?}");
}

#[test]
fn a_gateway_that_is_taken_later_is_tried_again_and_ends_nothing() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    let taken = UdpSocket::bind((BLOG, home.port)).unwrap();
    home.write("blog", &network(BLOG, "10.90.0.2"));
    daemon.hang_up();
    until("TCP listens", || home.client(BLOG).connect().is_ok());
    assert_eq!(home.addresses(SHOP, "web"), ["10.89.0.2"]);
    drop(taken);
    let query = Query::new("web", rtype::A);
    let client = home.client(BLOG).timeout(std::time::Duration::from_millis(50));
    until("UDP listens, too", || client.udp_bytes(&query.bytes()).is_ok());
}

#[test]
fn the_file_of_a_network_that_is_no_more_costs_the_others_nothing() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    // Both want one gateway: the second cannot be served, what comes with it can.
    home.write("stale", &network(SHOP, "10.88.0.2"));
    home.write("blog", &network(BLOG, "10.90.0.2"));
    home.append("shop", &container("bbb222", "10.89.0.3", "db"));
    daemon.hang_up();
    until("blog is served", || home.client(BLOG).connect().is_ok());
    assert_eq!(home.addresses(SHOP, "web"), ["10.89.0.2"]);
    assert_eq!(home.addresses(SHOP, "db"), ["10.89.0.3"]);

    // And when the other one goes it is.
    home.remove("shop");
    daemon.hang_up();
    until("the gateway is the other network's", || {
        home.client(SHOP).connect().is_ok() && home.addresses(SHOP, "web") == ["10.88.0.2"]
    });
}

#[test]
fn a_second_start_of_the_same_directory_leaves_the_work_to_the_first() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    home.write("blog", &network(BLOG, "10.90.0.2"));
    // As a netavark does that could not read the pid file.
    home.run().expect_success();
    assert_eq!(fs::read_to_string(home.pid_file()).unwrap(), daemon.pid.to_string());
    until("the first one was told", || home.client(BLOG).connect().is_ok());
    home.remove("shop");
    home.remove("blog");
    daemon.hang_up();
    assert!(matches!(daemon.wait(), WaitStatus::Exited(_, 0)));
}

#[test]
fn an_idle_server_does_nothing() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    home.append("shop", &container("bbb222", "10.89.0.3", "db"));
    daemon.hang_up();
    until("db is known", || home.addresses(SHOP, "db") == ["10.89.0.3"]);
    let switches = || {
        let tasks = fs::read_dir(daemon.proc("task")).unwrap().flatten();
        let status = tasks.map(|task| fs::read_to_string(task.path().join("status")).unwrap());
        let waits = status.map(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
            line.trim().parse::<u64>().unwrap()
        });
        waits.sum::<u64>()
    };
    // Each wake-up of a thread ends in one.
    let asleep = || {
        let before = switches();
        std::thread::sleep(std::time::Duration::from_millis(500));
        switches() == before
    };
    until("half a second without one wake-up", asleep);
}
