//! Tables: whatever networks there are and whatever happens to them, both paths of the responder come to the same verdict and
//! the same octets.
//!
//! The input is a program: networks come, change and go, and queries of every kind are asked between, by every client, at
//! gateways of networks that are gone among them. Each octet decides one thing; where they end, everything is the first of
//! its kind. Any octets are a program, so that a few changed ones are mostly a similar program.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use callsign::responder::{Listener, ResponderOptions};
use callsign::table::{
    Clients, Endpoint, Health, HealthPolicy, Merge, NameTable, Network, Port, Protocol, Record, ReverseNames,
};

use super::paths::Paths;

const NETWORKS: [&str; 4] = ["red", "blue", "tic.tac", "lan"];
const IDS: [&str; 5] = ["e1", "e2", "e3", "b", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"];
const NAMES: [&str; 12] = ["a", "b", "c", "a.b", "x.a.b", "*.b", "*.a.b", "red", "lan", "b.red", "*.lan", "\\000\\255"];
const DOMAINS: [&str; 4] = ["lan", "corp.test", "b", "red"];
/// Whom aliases lead to: here, in a circle, elsewhere.
const TARGETS: [&str; 4] = ["a", "far", "b.corp.test", "www.example.com"];
/// What is asked for besides `NAMES`; with and without one of `SUFFIXES`.
const STEMS: [&str; 22] = [
    "y.x.a.b",
    "z.b",
    "*.b",
    "e1",
    "b.red",
    "0123456789ab",
    "nothere",
    "far",
    "text",
    "_http._tcp.a",
    "_tcp.a",
    "_ldap._tcp.dir",
    "host.docker.internal",
    "localhost",
    "x.onion",
    "version.bind",
    "2.1.0.10.in-addr.arpa",
    "3.2.0.10.in-addr.arpa",
    "9.3.0.10.in-addr.arpa",
    "1.0.10.in-addr.arpa",
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
    "",
];
const SUFFIXES: [&str; 8] = ["", "", "", "lan", "red", "tic.tac", "red.lan", "corp.test"];
const TYPES: [u16; 20] = [1, 1, 1, 1, 1, 28, 28, 12, 12, 33, 33, 16, 5, 6, 255, 255, 65, 252, 41, 61_000];
const SIZES: [u16; 8] = [1232, 512, 0, 511, 600, 1231, 4096, 65_535];

/// Records, read once: that takes longer than most steps.
static SHORT_TEXT: LazyLock<Record> = LazyLock::new(|| text(0));
static TEXT: LazyLock<Record> = LazyLock::new(|| text(120));
static LONG_TEXT: LazyLock<Record> = LazyLock::new(|| text(255));
static SERVICE: LazyLock<Record> =
    LazyLock::new(|| Record::parse("_ldap._tcp.dir", "SRV", "0 1 389 a", Some(9)).unwrap());

/// A TXT record of two strings of this length.
fn text(len: usize) -> Record {
    Record::parse("text", "TXT", &format!("\"{0}\" \"{0}\"", "x".repeat(len)), None).unwrap()
}

/// The octets of an input that count: some ten steps. A longer program finds nothing that several short ones do not, and
/// takes the time of as many.
const ENOUGH: usize = 160;

/// Takes the input as one program.
pub fn run(input: &[u8]) {
    Program::of(&input[..input.len().min(ENOUGH)]).run();
}

thread_local! {
    /// Made once, as its buffers and counts are more than most programs need; and again behind a program that failed.
    static PATHS: Cell<Option<Paths>> = const { Cell::new(None) };
}

fn options() -> ResponderOptions {
    let mut options = ResponderOptions::default();
    options.version = Some("callsign".to_owned());
    options
}

/// What happens to a table, and what is asked of it.
#[derive(Debug)]
pub struct Program(Vec<Step>);

/// Networks are told by their index in `NETWORKS`.
#[derive(Debug)]
enum Step {
    /// Adds it if it is not there, and else takes over settings, records and endpoints.
    Network(usize, Network),
    Remove(usize),
    Attach(usize, Endpoint),
    Detach(usize, &'static str),
    /// Makes it another one, mostly under another id.
    Update(usize, &'static str, Endpoint),
    Mark(usize, &'static str, bool, Health),
    ReplaceAll(usize, Vec<Endpoint>),
    Change(usize, Vec<Result<Endpoint, &'static str>>),
    Ask {
        at: usize,
        source: SocketAddr,
        tcp: bool,
        packet: Vec<u8>,
    },
}

impl Program {
    /// The program that the octets stand for.
    pub fn of(octets: &[u8]) -> Program {
        let mut octets = Octets(octets);
        // Making networks takes more time than all the rest: the others come by steps.
        let networks = octets.one_of(&[2, 1, 3, 2]);
        let mut steps: Vec<Step> = (0..networks).map(|at| Step::Network(at, octets.network(at))).collect();
        while !octets.0.is_empty() {
            steps.push(octets.step());
        }
        Program(steps)
    }

    /// Takes every step.
    pub fn run(self) {
        let paths = PATHS.take().unwrap_or_else(|| Paths::new(options()));
        let mut world = World { table: NameTable::new(), listeners: Default::default(), paths };
        for step in self.0 {
            world.take(step);
        }
        PATHS.set(Some(world.paths));
    }
}

struct World {
    table: NameTable,
    /// At each network's gateway, from when the network first came; one that is gone is there until it comes again.
    listeners: [Option<Listener>; NETWORKS.len()],
    paths: Paths,
}

impl World {
    fn take(&mut self, step: Step) {
        match step {
            Step::Network(at, network) => match self.network(at) {
                Some(known) => _ = known.replace_with(&network).unwrap(),
                None => {
                    let network = self.table.add(network).unwrap();
                    self.listeners[at] = Some(Listener::new(network, SocketAddr::from(([10, 0, at as u8, 1], 53))));
                }
            },
            Step::Remove(at) => _ = self.table.remove(NETWORKS[at]),
            Step::Attach(at, endpoint) => self.change(at, |network| _ = network.attach(endpoint).unwrap()),
            Step::Detach(at, id) => self.change(at, |network| _ = network.detach(id)),
            Step::Update(at, id, endpoint) => self.change(at, |network| _ = network.update(id, |_| endpoint)),
            Step::Mark(at, id, running, health) => self.change(at, |network| {
                _ = network.update(id, |endpoint| endpoint.with_running(running).with_health(health));
            }),
            Step::ReplaceAll(at, endpoints) => self.change(at, |network| _ = network.replace_all(endpoints).unwrap()),
            Step::Change(at, edits) => self.change(at, |network| {
                let make = |change: &mut callsign::table::Change<'_>| {
                    for edit in edits {
                        match edit {
                            Ok(endpoint) => change.attach(endpoint),
                            Err(id) => _ = change.detach(id),
                        }
                    }
                };
                network.change(make).unwrap();
            }),
            Step::Ask { at, source, tcp, packet } => {
                if let Some(listener) = &self.listeners[at] {
                    self.paths.ask(listener, source, tcp, &packet);
                }
            }
        }
    }

    fn network(&self, at: usize) -> Option<std::sync::Arc<Network>> {
        self.table.network(NETWORKS[at])
    }

    fn change(&self, at: usize, change: impl FnOnce(&Network)) {
        if let Some(network) = self.network(at) {
            change(&network);
        }
    }
}

/// What is left of the input.
struct Octets<'i>(&'i [u8]);

impl Octets<'_> {
    fn next(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.next()) % limit
    }

    /// True once in so many times.
    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Each of them or not, as the bits say: a quarter of them, mostly.
    fn some_of<T: Copy>(&mut self, of: &[T]) -> Vec<T> {
        let bits = u16::from_be_bytes([self.next(), self.next()]);
        let bits = bits & bits.rotate_left(5);
        of.iter().enumerate().filter(|(index, _)| bits >> index & 1 == 1).map(|(_, &one)| one).collect()
    }

    fn step(&mut self) -> Step {
        let (what, at) = (self.below(24), self.below(NETWORKS.len()));
        match what {
            0 => Step::Network(at, self.network(at)),
            1 => Step::Remove(at),
            2..6 => Step::Attach(at, self.endpoint(at)),
            6 => Step::Detach(at, self.one_of(&IDS)),
            7 => Step::Update(at, self.one_of(&IDS), self.endpoint(at)),
            8 => Step::Mark(at, self.one_of(&IDS), !self.one_in(3), self.health()),
            9 => Step::ReplaceAll(at, (0..self.below(6)).map(|_| self.endpoint(at)).collect()),
            10 => {
                let edit = |octets: &mut Self| {
                    if octets.one_in(3) { Err(octets.one_of(&IDS)) } else { Ok(octets.endpoint(at)) }
                };
                Step::Change(at, (0..self.below(5)).map(|_| edit(self)).collect())
            }
            _ => self.ask(at),
        }
    }

    fn network(&mut self, at: usize) -> Network {
        let mut network = Network::builder(NETWORKS[at])
            .subnet(&format!("10.0.{at}.0/24"))
            .subnet(&format!("fd00:0:{at}::/64"))
            .listen(&format!("10.0.{at}.1"))
            .internal(self.one_in(3))
            .ttl(self.below(3) as u32 * 300)
            .negative_ttl(self.below(2) as u32 * 7)
            .clients(self.one_of(&[Clients::Listener, Clients::Table, Clients::Table, Clients::Identify]))
            .merge(self.one_of(&[Merge::Nearest, Merge::All]))
            .reverse_names(self.one_of(&[ReverseNames::Canonical, ReverseNames::All]))
            .health(self.one_of(&[HealthPolicy::Prefer, HealthPolicy::Ignore, HealthPolicy::Require]));
        if !self.one_in(8) {
            network = network.allow("0.0.0.0/0").allow("::/0");
        }
        if self.one_in(4) {
            network = network.host_names(["host", "a"]);
        }
        if self.one_in(4) {
            network = network.upstream(self.one_of(&["192.0.2.53", "192.0.2.54:5300"]));
        }
        network = self.some_of(&DOMAINS).into_iter().fold(network, |network, domain| network.domain(domain));
        if self.one_in(2) {
            network = network.alias("far", self.one_of(&TARGETS)).alias("c", self.one_of(&TARGETS));
        }
        if self.one_in(2) {
            network = network.record(self.one_of(&[&*SHORT_TEXT, &*TEXT, &*LONG_TEXT]).clone()).record(SERVICE.clone());
        }
        (0..self.below(4)).fold(network, |network, _| network.endpoint(self.endpoint(at))).build().unwrap()
    }

    fn endpoint(&mut self, at: usize) -> Endpoint {
        let mut endpoint = Endpoint::builder(self.one_of(&IDS))
            .names(self.some_of(&NAMES))
            .running(!self.one_in(6))
            .health(self.health())
            .priority(self.below(3) as i32 - 1);
        // Now and then more than a datagram holds, without an OPT or at all.
        let many = match self.below(64) {
            61 | 62 => 40,
            63 => 80,
            _ => 0,
        };
        for host in 100..100 + many {
            endpoint = endpoint.ip(IpAddr::from([10, 0, at as u8, host]));
        }
        let addresses: Vec<_> = (2..6).map(|host| address(at, host)).chain([address(at, 0), address(at, 1)]).collect();
        for address in self.some_of(&addresses) {
            endpoint = endpoint.ip(address);
        }
        if self.one_in(3) {
            endpoint = endpoint.port(Port::named("http", 80 + u16::from(self.next()), Protocol::Tcp));
        }
        if self.one_in(6) {
            endpoint = endpoint.upstream("192.0.2.99");
        }
        endpoint.build().unwrap()
    }

    fn health(&mut self) -> Health {
        self.one_of(&[Health::Healthy, Health::Healthy, Health::Unhealthy])
    }

    /// A query that is whole, but mostly odd in one way or another; `query` has the broken ones.
    fn ask(&mut self, at: usize) -> Step {
        let from = if self.one_in(4) { self.below(NETWORKS.len()) } else { at };
        let ip = match self.below(10) {
            9 => [192, 0, 2, 1].into(),
            host => address(from, host as u8),
        };
        let source = SocketAddr::new(ip, 40_000);
        let tcp = self.one_in(4);
        let mut packet = vec![self.next(), 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        if self.one_in(8) {
            // RD, CD, AD, Z and RCODE; now and then an opcode; never QR.
            (packet[2], packet[3]) = (self.next() & if self.one_in(4) { 0x7f } else { 1 }, self.next());
        }
        self.push_name(&mut packet);
        packet.extend_from_slice(&self.one_of(&TYPES).to_be_bytes());
        packet.extend_from_slice(&[0, if self.one_in(12) { self.next() } else { 1 }]);
        for _ in 0..self.one_of(&[0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2]) {
            packet[11] += 1;
            self.push_additional(&mut packet);
        }
        Step::Ask { at, source, tcp, packet }
    }

    fn push_name(&mut self, packet: &mut Vec<u8>) {
        let stem = if self.one_in(2) { self.one_of(&NAMES[..9]) } else { self.one_of(&STEMS) };
        let name = [stem, self.one_of(&SUFFIXES)].join(".");
        let start = packet.len();
        for label in name.split('.').filter(|label| !label.is_empty()) {
            packet.push(label.len() as u8);
            packet.extend_from_slice(label.as_bytes());
        }
        if self.one_in(3) {
            let letters = packet[start..].iter_mut().filter(|octet| octet.is_ascii_lowercase());
            letters.for_each(|letter| *letter ^= u8::from(self.one_in(2)) << 5);
        }
        packet.push(0);
    }

    /// An OPT, or another record.
    fn push_additional(&mut self, packet: &mut Vec<u8>) {
        if self.one_in(8) {
            packet.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x0a\0\0\x01");
            return;
        }
        packet.extend_from_slice(&[0, 0, 41]);
        packet.extend_from_slice(&self.one_of(&SIZES).to_be_bytes());
        let version = u8::from(self.one_in(16));
        packet.extend_from_slice(&[0, version, self.one_of(&[0, 0x80]), 0]);
        let mut options = Vec::new();
        for _ in 0..self.one_of(&[0, 0, 0, 1, 1, 2]) {
            // Cookie, keepalive, padding, client subnet, one that nobody knows.
            let code = self.one_of(&[10_u16, 10, 11, 12, 8, 65_001]);
            let len = if self.one_in(8) { self.below(10) as u16 } else { self.one_of(&[8, 24]) };
            options.extend_from_slice(&code.to_be_bytes());
            options.extend_from_slice(&len.to_be_bytes());
            options.extend((0..len).map(|octet| octet as u8));
        }
        packet.extend_from_slice(&(options.len() as u16).to_be_bytes());
        packet.extend_from_slice(&options);
    }
}

/// An address of a network's subnets; the first one is in that of all.
fn address(at: usize, host: u8) -> IpAddr {
    match host {
        0 => [172, 16, 0, 9].into(),
        1 => [0xfd00, 0, at as u16, 0, 0, 0, 0, 1].into(),
        _ => [10, 0, at as u8, host].into(),
    }
}
