//! A real upstream: Debian's dnsmasq, which logs every query that it gets, so that a test can count them.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use callsign::wire::rtype;

use super::client::{Client, Query};
use super::needs;
use super::netns::{Namespace, command_in, work_in};
use super::process::{Process, Source};

/// A dnsmasq that knows the names it is given, and that no others exist; killed on drop.
pub struct Dnsmasq<'a> {
    process: Process,
    address: SocketAddr,
    place: Option<&'a Namespace>,
    fences: AtomicU32,
}

impl<'a> Dnsmasq<'a> {
    /// Starts it at `address`, inside `place` or in the test's own network, and waits until it answers. `records` are
    /// names with an address each: `&[("www.example.com", "192.0.2.80")]`.
    pub fn start(place: Option<&'a Namespace>, address: SocketAddr, records: &[(&str, &str)]) -> Dnsmasq<'a> {
        let mut command = command_in(place, "dnsmasq");
        configure(&mut command, address, records);
        let process = Process::spawn(command);
        // Written when its sockets are bound.
        process.wait_for(Source::Stderr, "started, version");
        Dnsmasq { process, address, place, fences: AtomicU32::new(0) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The queries it has got since its start, in order: `["A www.example.com"]`.
    ///
    /// Every query that it had received before this call is among them, and nothing has to be waited for to know it: the
    /// log is read up to a query that this call sends.
    pub fn queries(&self) -> Vec<String> {
        let fence = format!("fence-{}.invalid", self.fences.fetch_add(1, Ordering::Relaxed));
        work_in(self.place, || Client::new(self.address).udp(&Query::new(&fence, rtype::A)));
        self.process.wait_for(Source::Stderr, &fence);
        let lines = self.process.lines(Source::Stderr);
        lines.iter().filter_map(|line| logged_query(line)).filter(|query| !query.contains(" fence-")).collect()
    }
}

fn configure(command: &mut Command, address: SocketAddr, records: &[(&str, &str)]) {
    command.args(["--no-daemon", "--log-queries", "--log-facility=-", "--conf-file=/dev/null"]);
    command.args(["--no-resolv", "--no-hosts", "--no-poll", "--bind-interfaces", "--pid-file="]);
    command.arg(format!("--listen-address={}", address.ip())).arg(format!("--port={}", address.port()));
    if needs::is_root() {
        // Not the account of the package: it may be missing, and a network namespace is sandbox enough.
        command.arg("--user=root");
    }
    // All names are its own: an unknown one is NXDOMAIN, a type that is missing NODATA.
    command.arg("--local=/#/");
    for (name, address) in records {
        command.arg(format!("--host-record={name},{address}"));
    }
}

/// `A www.example.com` of `dnsmasq: query[A] www.example.com from 10.99.0.254`.
fn logged_query(line: &str) -> Option<String> {
    let (_, query) = line.split_once("query[")?;
    let (rtype, rest) = query.split_once("] ")?;
    let (name, _) = rest.rsplit_once(" from ")?;
    Some(format!("{rtype} {name}"))
}
