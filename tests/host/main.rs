//! `callsign serve` and the host that it runs on: the host view (`[host]`), Podman's directory for it (`[podman]`), the host's
//! /etc/hosts (`[server] hosts`), and a resolv.conf that is systemd-resolved's stub.
//!
//! Those that need namespaces are skipped, loudly, without root.

#[path = "../support/mod.rs"]
mod support;

mod hosts_file;
mod podman;
mod resolved;
mod view;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use support::client::{Client, Query, Reply};

/// Where the host view is in these tests, unless a test says otherwise.
const HOST: &str = "127.0.0.55";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Asks the host view over UDP.
fn ask(listen: &str, port: u16, name: &str, rtype: u16) -> Reply {
    Client::new(SocketAddr::new(ip(listen), port)).udp(&Query::new(name, rtype).edns(1232))
}

/// What a name answers there: the data of its records, else the response code.
fn answers(listen: &str, port: u16, name: &str, rtype: u16) -> Vec<String> {
    let reply = ask(listen, port, name, rtype);
    let mut data: Vec<String> = reply
        .answers()
        .iter()
        .map(|record| record.split_whitespace().last().unwrap_or_default().trim_end_matches('.').to_owned())
        .collect();
    data.sort();
    if data.is_empty() { vec![reply.status()] } else { data }
}

/// Waits until something is so.
#[track_caller]
fn becomes<T: PartialEq + std::fmt::Debug>(expected: T, mut attempt: impl FnMut() -> T) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let found = attempt();
        if found == expected {
            return;
        }
        assert!(Instant::now() < deadline, "it is {found:?}, and not {expected:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
