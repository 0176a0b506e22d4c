//! The kernel's tables of sockets.

use std::fs;
use std::net::{IpAddr, SocketAddr};

/// The inodes of the sockets that listen at an IPv4 address, UDP's before TCP's, in the network namespace of a process, by
/// its ID or `self`. Each socket has one of its own.
pub fn listening(process: impl std::fmt::Display, address: SocketAddr) -> Vec<String> {
    let IpAddr::V4(ip) = address.ip() else { panic!("{address} is not IPv4") };
    // As the kernel prints it: the address as a number of this machine.
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port());
    let read = || {
        let of = |table: &str| {
            let text = fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap();
            let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            // Local address, and no peer: neither connections nor their remains.
            let listeners = lines.filter(|words| words[1] == local && words[2].ends_with(":0000"));
            let mut inodes: Vec<_> = listeners.map(|words| words[9].to_owned()).collect();
            inodes.sort_unstable();
            inodes.dedup();
            inodes
        };
        [of("udp"), of("tcp")].concat()
    };
    // The kernel gives the tables page by page: what comes and goes meanwhile makes it leave lines out, or repeat them.
    let mut last = read();
    loop {
        let now = read();
        if now == last {
            return now;
        }
        last = now;
    }
}
