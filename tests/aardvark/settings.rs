//! What is said beside the files: podman.toml and the environment.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use callsign::wire::rtype;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::kit::{Home, SHOP, container, network, until};
use crate::support::client::Query;
use crate::support::upstream::{Scripted, a};

/// An upstream whose every answer is this address.
async fn upstream(last: u8) -> Scripted {
    Scripted::start(move |query| vec![query.answer(&[a([192, 0, 2, last])])]).await
}

fn upstreams(servers: &[&Scripted]) -> String {
    let servers: Vec<String> = servers.iter().map(|server| format!("\"{}\"", server.address())).collect();
    format!("[server]\nupstreams = [{}]\n", servers.join(", "))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_is_forwarded_and_with_no_proxy_it_is_not() {
    let upstream = upstream(1).await;
    let home = Home::new();
    home.configure(&upstreams(&[&upstream]));
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    assert_eq!(home.addresses(SHOP, "www.example.com"), ["192.0.2.1"]);
    assert_eq!(home.addresses(SHOP, "nodots"), ["192.0.2.1"], "names without a dot, too");
    assert_eq!(home.ask(SHOP, "other.dns.podman").status(), "NXDOMAIN", "a domain of our own");
    drop(daemon);

    let asked = upstream.queries().len();
    for value in ["1", "0", ""] {
        let home = Home::new().environment("AARDVARK_NO_PROXY", value);
        home.configure(&(upstreams(&[&upstream]) + "[[network]]\nname = \"shop\"\ninternal = false\n"));
        home.write("shop", &network(SHOP, "10.89.0.2"));
        let _daemon = home.start();
        assert_eq!(home.ask(SHOP, "www.example.com").status(), "NXDOMAIN", "any value: {value:?}");
        assert_eq!(home.ask(SHOP, "nodots").status(), "NXDOMAIN");
        assert_eq!(home.addresses(SHOP, "web"), ["10.89.0.2"]);
    }
    assert_eq!(upstream.queries().len(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_internal_network_never_reaches_an_upstream() {
    let upstream = upstream(1).await;
    let home = Home::new();
    home.configure(&upstreams(&[&upstream]));
    home.write("shop%int", &(network(SHOP, "10.89.0.2")));
    let _daemon = home.start();
    assert_eq!(home.addresses(SHOP, "web"), ["10.89.0.2"]);
    assert_eq!(home.ask(SHOP, "www.example.com").status(), "NXDOMAIN");
    assert!(upstream.queries().is_empty());
}

/// Upstreams in order, the time divided by their number, and silence when none answers.
#[tokio::test(flavor = "multi_thread")]
async fn strict_forwards_as_the_program_did_that_is_replaced() {
    let (dead, alive) = (Scripted::silent().await, upstream(2).await);
    let home = Home::new().environment("CALLSIGN_PODMAN_STRICT", "1");
    home.configure(&(upstreams(&[&dead, &alive]) + "timeout = 1\n"));
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    for name in ["one.example", "two.example"] {
        let (asked, start) = (dead.queries().len(), Instant::now());
        assert_eq!(home.addresses(SHOP, name), ["192.0.2.2"]);
        assert!(start.elapsed() >= Duration::from_millis(490), "half of the time for the first: {:?}", start.elapsed());
        assert!(dead.queries().len() > asked, "asked first each time: it is not remembered that it is dead");
    }

    home.configure(&(upstreams(&[&dead]) + "timeout = 0.2\n"));
    daemon.hang_up();
    let query = Query::new("three.example", rtype::A);
    let client = home.client(SHOP).timeout(Duration::from_millis(1200));
    until("the settings are read", || client.udp_bytes(&query.bytes()).is_err());
    drop(daemon);

    let home = Home::new().environment("CALLSIGN_PODMAN_STRICT", "0");
    home.configure(&(upstreams(&[&dead]) + "timeout = 0.2\n"));
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let _daemon = home.start();
    assert_eq!(home.ask(SHOP, "three.example").status(), "SERVFAIL");
}

#[test]
fn settings_of_networks_hold_and_are_read_again_with_each_signal() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    // No file at all: the defaults.
    let daemon = home.start();
    let ttl = || home.ask(SHOP, "web").answers().concat();
    assert_eq!(ttl(), "web. 0 IN A 10.89.0.2");

    home.configure("[[network]]\nname = \"*\"\nttl = 60\n[[network.record]]\nname = \"note\"\ntype = \"A\"\nvalue = \"10.0.0.9\"\n");
    daemon.hang_up();
    until("the settings are read", || ttl() == "web. 60 IN A 10.89.0.2");
    assert_eq!(home.addresses(SHOP, "note"), ["10.0.0.9"]);

    // With a mistake: what held before holds.
    home.configure("[[network]]\nname = \"*\"\nttl = \"long\"\n");
    home.append("shop", &container("bbb222", "10.89.0.3", "db"));
    daemon.hang_up();
    until("the files are read", || home.addresses(SHOP, "db") == ["10.89.0.3"]);
    assert_eq!(ttl(), "web. 60 IN A 10.89.0.2");

    fs::remove_file(home.config()).unwrap();
    daemon.hang_up();
    until("the defaults hold", || ttl() == "web. 0 IN A 10.89.0.2");
}

#[test]
fn settings_with_a_mistake_keep_no_container_from_starting() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    for text in ["[[network]\n", "[server]\nport = 53\n", "\u{0}"] {
        home.configure(text);
        let _daemon = home.start();
        assert_eq!(home.ask(SHOP, "web").answers(), ["web. 0 IN A 10.89.0.2"]);
    }
}

/// What else may be at the path of the file, and that must neither be waited for nor read to its end.
fn put_no_file(path: &Path, what: &str) {
    let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
    match what {
        "a FIFO" => mkfifo(path, Mode::S_IRWXU).unwrap(),
        "a directory" => fs::create_dir(path).unwrap(),
        "a socket" => drop(UnixListener::bind(path).unwrap()),
        "a device" => symlink("/dev/zero", path).unwrap(),
        "too long" => fs::File::create(path).unwrap().set_len(1 << 40).unwrap(),
        other => panic!("{other}"),
    }
}

const NO_FILES: [&str; 5] = ["a FIFO", "a directory", "a socket", "a device", "too long"];

#[test]
fn settings_that_are_no_file_keep_no_container_from_starting() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    for what in NO_FILES {
        put_no_file(&home.config(), what);
        let _daemon = home.start();
        assert_eq!(home.ask(SHOP, "web").answers(), ["web. 0 IN A 10.89.0.2"], "{what}");
    }
}

#[test]
fn settings_that_become_no_file_leave_in_force_what_they_said() {
    let home = Home::new();
    home.configure("[[network]]\nname = \"*\"\nttl = 60\n");
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    for (number, what) in NO_FILES.into_iter().enumerate() {
        put_no_file(&home.config(), what);
        let name = format!("db{number}");
        home.append("shop", &container(&name, "10.89.0.3", &name));
        daemon.hang_up();
        until("the files are read", || home.addresses(SHOP, &name) == ["10.89.0.3"]);
        assert_eq!(home.ask(SHOP, "web").answers(), ["web. 60 IN A 10.89.0.2"], "{what}");
    }
}
