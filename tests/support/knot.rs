//! A real upstream: Debian's Knot DNS, an authoritative server with one zone.

use std::fs;
use std::net::IpAddr;

use tempfile::TempDir;

use super::netns::Namespace;
use super::process::{Process, Source};

/// A knotd; killed on drop.
pub struct Knot {
    _process: Process,
    _directory: TempDir,
}

impl Knot {
    /// Starts it inside `place` at port 53 of `ip` and waits until it serves the zone `domain`, which has `records`, lines
    /// of a zone file, besides its SOA and NS.
    pub fn start(place: &Namespace, ip: IpAddr, domain: &str, records: &[String]) -> Knot {
        let directory = TempDir::with_prefix("callsign-").unwrap();
        let path = directory.path().display();
        let zone = format!(
            "{domain} 300 IN SOA ns.{domain} root.{domain} 1 3600 600 86400 60\n{domain} 300 IN NS ns.{domain}\n\
             ns.{domain} 300 IN A {ip}\n{}\n",
            records.join("\n")
        );
        fs::write(directory.path().join("zone"), zone).unwrap();
        let config = format!(
            "server:\n  rundir: {path}\n  listen: {ip}@53\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
             database:\n  storage: {path}\n\
             log:\n  - target: stderr\n    any: info\n\
             zone:\n  - domain: {domain}\n    file: {path}/zone\n    zonefile-sync: -1\n    journal-content: none\n"
        );
        let file = directory.path().join("knot.conf");
        fs::write(&file, config).unwrap();
        let mut command = place.command("knotd");
        command.arg("--config").arg(&file);
        let process = Process::spawn(command);
        // The zone is loaded by then.
        process.wait_for(Source::Stderr, "server started");
        Knot { _process: process, _directory: directory }
    }
}
