//! Programs with large thread pools (answers.md C): no lookup fails because of how many there are at a time.

use callsign::wire::rtype;

use super::support::client::{Client, Query};
use super::support::netns::Lab;
use super::support::process::Source;
use super::support::program::Program;
use crate::needs_root;

/// A name with 40 addresses: without EDNS they are asked for again over TCP.
fn config() -> String {
    let addresses: Vec<String> = (1..=40).map(|number| format!("\"10.10.2.{number}\"")).collect();
    format!(
        r#"
[[network]]
name = "shop"
listen = ["10.10.0.1"]
subnets = ["10.10.0.0/16"]
domains = ["internal"]

  [[network.endpoint]]
  id = "db-1"
  addresses = [{}]
  names = ["db"]
"#,
        addresses.join(", ")
    )
}

#[test]
fn c_a_hundred_threads_of_getaddrinfo_over_tcp_lose_no_lookup() {
    needs_root!("python3");
    let lab = Lab::new();
    let shop = lab.bridge("shop", &["10.10.0.1/16"]);
    let api = lab.container("api", &[(&shop, &["10.10.1.2/16"])]);
    let _program = Program::with(&config()).inside(lab.host()).start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/getaddrinfo.py");
    let found = api.run(&["python3", script, "db.internal", "100", "5", "40"]).expect_success();
    assert_eq!(found.stdout.trim(), "500 found");
}

#[test]
fn c_a_client_over_its_cap_is_logged_once_a_minute_with_the_key() {
    needs_root!();
    let lab = Lab::new();
    let shop = lab.bridge("shop", &["10.10.0.1/16"]);
    let api = lab.container("api", &[(&shop, &["10.10.1.2/16"])]);
    let program = Program::with(&config()).inside(lab.host()).start();
    let server = "10.10.0.1:53".parse().unwrap();
    let connect = || api.enter(|| (0..100).map(|_| Client::new(server).connect().unwrap()).collect::<Vec<_>>());
    let _held = connect();
    let line = program.wait_for(Source::Stderr, "tcp_connections_per_client");
    assert!(line.contains("WARN") && line.contains("10.10.1.2"), "{line}");
    let _more = connect();
    // What it says of those, it says before it answers.
    api.enter(|| Client::new(server).udp(&Query::new("db", rtype::A)));
    let lines = program.lines(Source::Stderr);
    assert_eq!(lines.iter().filter(|line| line.contains("tcp_connections")).count(), 1, "{lines:?}");
}
