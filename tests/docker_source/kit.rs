//! An engine, a program that follows it, and those who ask. Each network is a part of 127.0.0.0/8, so that a container's
//! address is one that a test can ask from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

use callsign::wire::rtype;

pub(crate) use super::support::client::{Client, Query, Reply};
pub(crate) use super::support::engine::{Age, Container, Engine, eventually};
use super::support::free_port;
pub(crate) use super::support::process::{Finished, Source, run};
use super::support::program::{Program, callsign};

/// A number that no other engine of this test program has: the second octet of its networks.
pub(crate) fn prefix() -> u8 {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    // Two test programs may run at a time.
    let start = 10 + (std::process::id() % 2) as u8 * 120;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(number < 120, "too many engines for one test program");
    start + number
}

/// An engine and the program that follows it.
pub(crate) struct Bed {
    pub(crate) engine: Engine,
    pub(crate) program: Program,
    pub(crate) prefix: u8,
    pub(crate) port: u16,
}

impl Bed {
    /// An engine of an age, in which `fill` has been done when the program starts. What is forwarded is SERVFAIL.
    pub(crate) fn new(age: Age, fill: impl FnOnce(&Engine, u8)) -> Bed {
        Bed::with(age, "", fill)
    }

    /// The same with more lines behind `[docker]`.
    pub(crate) fn with(age: Age, lines: &str, fill: impl FnOnce(&Engine, u8)) -> Bed {
        let prefix = prefix();
        let engine = Engine::start(age, prefix);
        fill(&engine, prefix);
        let port = free_port(&[Ipv4Addr::LOCALHOST.into()]);
        let config = config(&engine, port, lines);
        let program = Program::with(&config).arguments(&["--log-level", "debug"]).start();
        Bed { engine, program, prefix, port }
    }

    /// `check --docker` of the program's file.
    pub(crate) fn check(&self) -> Finished {
        run(callsign(&["check", "--docker", self.program.config_path().to_str().unwrap()]))
    }

    /// The configuration with other lines.
    pub(crate) fn config(&self, lines: &str) -> String {
        config(&self.engine, self.port, lines)
    }

    /// An address on the network whose third octet is this.
    pub(crate) fn address(&self, network: u8, host: u8) -> String {
        format!("127.{}.{network}.{host}", self.prefix)
    }

    /// Asks at the gateway of a network, from an address.
    #[track_caller]
    pub(crate) fn ask(&self, network: u8, from: &str, name: &str, rtype: u16) -> Reply {
        let gateway: IpAddr = self.address(network, 1).parse().unwrap();
        let client = Client::new(SocketAddr::new(gateway, self.port)).from(from.parse().unwrap());
        client.udp(&Query::new(name, rtype).edns(1232))
    }

    /// Waits until a name is this at the gateway of a network, where nobody may listen yet.
    #[track_caller]
    pub(crate) fn becomes_at(&self, network: u8, from: &str, name: &str, wanted: &str) {
        let gateway = SocketAddr::new(self.address(network, 1).parse().unwrap(), self.port);
        let client = Client::new(gateway).from(from.parse().unwrap());
        eventually(&format!("{name} is {wanted} at {gateway}"), || {
            let reply = client.udp_bytes(&Query::new(name, rtype::A).edns(1232).bytes());
            reply.is_ok_and(|bytes| shown(&Reply::new(bytes)) == wanted)
        });
    }

    /// The addresses of a name, or the error code, as a container on the default bridge's gateway sees them.
    #[track_caller]
    pub(crate) fn look_up(&self, from: &str, name: &str) -> String {
        shown(&self.ask(0, from, name, rtype::A))
    }

    /// Waits until a name is this for a client.
    #[track_caller]
    pub(crate) fn becomes(&self, from: &str, name: &str, wanted: &str) {
        let mut seen = String::new();
        let deadline = std::time::Instant::now() + super::support::DEADLINE;
        while std::time::Instant::now() < deadline {
            seen = self.look_up(from, name);
            if seen == wanted {
                return;
            }
        }
        panic!("{name} is {seen:?} for {from}, not {wanted:?}; asked: {:?}", self.engine.requests());
    }
}

fn config(engine: &Engine, port: u16, lines: &str) -> String {
    format!("[server]\nport = {port}\nupstreams = [\"127.0.0.66:1\"]\n{}{lines}", engine.section())
}

/// Addresses in order, or what there is instead: `NXDOMAIN`, or `NODATA` and the extended errors.
pub(crate) fn shown(reply: &Reply) -> String {
    let mut addresses = reply.addresses();
    addresses.sort();
    match (reply.status().as_str(), &addresses[..]) {
        ("NOERROR", []) => {
            let errors: Vec<String> = reply.extended_errors().into_iter().map(|(_, text)| text).collect();
            format!("NODATA {}", errors.join(" ")).trim_end().to_owned()
        }
        ("NOERROR", addresses) => addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        (status, _) => status.to_owned(),
    }
}
