//! What several test programs share: real network namespaces, a DNS client, the program under test, and the programs of
//! others that it is tested with. Knows nothing of callsign's inside: it sees what a container or an operator sees.
//!
//! Nothing here sleeps. Whoever needs something to have happened waits for the line, the notification or the reply that
//! says so, and [`DEADLINE`] bounds every wait, so a failure is a panic with all the output and never a hang.

// Every test program compiles this module for itself and uses a part of it.
#![allow(dead_code, unreachable_pub)]

#[cfg(feature = "cli")]
pub mod booted;
pub mod browser;
#[cfg(feature = "encrypted")]
pub mod certificates;
pub mod cgroup;
pub mod client;
pub mod confined;
pub mod dnsmasq;
#[cfg(feature = "cli")]
pub mod docker;
#[cfg(feature = "encrypted")]
pub mod encrypted;
// Its answers are made with serde_json, which the program brings along.
#[cfg(feature = "cli")]
pub mod engine;
pub mod knot;
#[cfg(feature = "server")]
pub mod log;
#[cfg(feature = "cli")]
pub mod machine;
pub mod needs;
#[cfg(feature = "cli")]
pub mod netavark;
pub mod netns;
pub mod packets;
#[cfg(feature = "cli")]
pub mod podman;
pub mod process;
// The program is built with this feature only.
#[cfg(feature = "cli")]
pub mod program;
#[cfg(feature = "cli")]
pub mod socket_proxy;
pub mod sockets;
pub mod spoof;
pub mod troubleshooting;
pub mod unbound;
#[cfg(feature = "server")]
pub mod upstream;

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// How long anything may take that takes milliseconds on an idle machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A port that is free for UDP and TCP on each of `addresses`.
///
/// It lies below the range from which the kernel takes ports for outgoing sockets, so between this call and the bind of
/// the program that gets it no test's client can take it.
pub fn free_port(addresses: &[IpAddr]) -> u16 {
    const PORTS: RangeInclusive<u16> = 10_000..=29_999;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end() - PORTS.start();
    // Test programs that run at the same time start at different places, those with neighbouring ids among them.
    let start = (std::process::id().wrapping_mul(97) % u32::from(span)) as u16;
    let is_free = |port: u16| {
        addresses.iter().all(|&ip| {
            let address = SocketAddr::new(ip, port);
            UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()
        })
    };
    (0..span)
        .map(|_| PORTS.start() + (start + NEXT.fetch_add(1, Ordering::Relaxed) % span) % span)
        .find(|&port| is_free(port))
        .expect("one of 20,000 ports is free")
}
