//! Who is asked: how each server is configured so that all do the same work, and started.
//!
//! Each has the local names, forwards the rest to the upstream, serves with one thread, logs no query and validates nothing.

use std::cell::RefCell;
use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use callsign::wire::message::Header;
use callsign::wire::rtype;

use crate::machine::Machine;
use crate::support::client::Query;
use crate::support::process::{Process, run};
use crate::support::{DEADLINE, free_port, needs};
use crate::workload::{LOCAL, NAMES, REMOTE, Workload, local_names};

/// The pause between two attempts to get a first answer.
const PAUSE: Duration = Duration::from_millis(20);

/// A server that is compared: one program, however it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Echo,
    Callsign,
    Knot,
    Unbound,
    Dnsmasq,
}

impl Peer {
    const ALL: [Peer; 5] = [Peer::Echo, Peer::Callsign, Peer::Knot, Peer::Unbound, Peer::Dnsmasq];

    /// The program, and what it is called with to tell its version.
    fn program(self) -> (PathBuf, Option<&'static str>) {
        match self {
            Peer::Echo => (std::env::current_exe().unwrap_or_default(), None),
            Peer::Callsign => (env!("CARGO_BIN_EXE_callsign").into(), Some("--version")),
            Peer::Knot => (needs::path("knotd"), Some("--version")),
            Peer::Unbound => (needs::path("unbound"), Some("-V")),
            Peer::Dnsmasq => (needs::path("dnsmasq"), Some("--version")),
        }
    }

    fn label(self) -> &'static str {
        match self {
            Peer::Echo => "UDP echo",
            Peer::Callsign => "callsign",
            Peer::Knot => "Knot DNS",
            Peer::Unbound => "Unbound",
            Peer::Dnsmasq => "dnsmasq",
        }
    }

    /// The label, and the version where the program tells one.
    fn name(self) -> String {
        let (program, argument) = self.program();
        let Some(argument) = argument else { return self.label().to_owned() };
        let mut command = Command::new(program);
        command.arg(argument);
        let said = run(command).stdout;
        let version = said.split([' ', '\n', ',']).find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
        format!("{} {}", self.label(), version.unwrap_or_default())
    }

    fn is_for(self, workload: Workload) -> bool {
        // Knot has no forwarding of its own.
        !(self == Peer::Knot && workload.is_forwarded()) && self.program().0.is_file()
    }
}

/// A server that runs; killed on drop.
#[derive(Debug)]
pub(crate) struct Server {
    peer: Peer,
    name: String,
    address: SocketAddr,
    process: Process,
}

impl Server {
    /// The program and its version.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// True if it is what the others are measured by.
    pub(crate) fn is_floor(&self) -> bool {
        self.peer == Peer::Echo
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The processor time that it has used.
    pub(crate) fn cpu_time(&self) -> Duration {
        self.process.cpu_time()
    }

    /// Waits until it answers a question for `name`; any other server than the echo with an address.
    fn wait(&self, name: &str) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.connect(self.address).expect("a connected socket");
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        let query = Query::new(name, rtype::A).bytes();
        let deadline = Instant::now() + DEADLINE;
        let mut reply = [0; 512];
        while Instant::now() < deadline {
            // Fails while nothing listens.
            if socket.send(&query).is_ok()
                && let Ok(len) = socket.recv(&mut reply)
                && let Some(header) = Header::read(&reply[..len])
                && header.rcode() == 0
                && (self.is_floor() || header.counts[1] > 0)
            {
                return;
            }
            // The peers have no other way in common to say that they are ready.
            std::thread::sleep(PAUSE);
        }
        panic!("no answer for {name} from {:?}", self.process);
    }
}

/// What servers are started with.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    directory: &'a Path,
    cores: [usize; 2],
    upstream: Option<Server>,
    versions: RefCell<Vec<(Peer, String)>>,
}

impl<'a> Stage<'a> {
    /// With `directory` for the servers' files.
    pub(crate) fn new(directory: &'a Path, machine: &Machine) -> Stage<'a> {
        let cores = [machine.server_core, machine.upstream_core];
        Stage { directory, cores, upstream: None, versions: RefCell::default() }
    }

    /// Starts the upstream if it is installed, and gives its address.
    pub(crate) fn upstream(&mut self) -> Option<SocketAddr> {
        if Peer::Knot.program().0.is_file() {
            self.upstream = Some(self.start(Peer::Knot, self.cores[1], Workload::Uncached));
        }
        self.upstream.as_ref().map(Server::address)
    }

    /// Starts the servers that are installed, for a workload.
    pub(crate) fn servers(&self, workload: Workload) -> Vec<Server> {
        let peers = Peer::ALL.into_iter().filter(|peer| peer.is_for(workload));
        peers.map(|peer| self.start(peer, self.cores[0], workload)).collect()
    }

    fn start(&self, peer: Peer, core: usize, workload: Workload) -> Server {
        let port = free_port(&[IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        let upstream = self.upstream.as_ref().map(Server::address);
        // `setpriv`: should this process be killed, the server is too. Both become the server, they are no parents of it.
        let mut command = needs::command("setpriv");
        command.args(["--pdeathsig", "KILL", "taskset", "--cpu-list", &core.to_string()]).arg(peer.program().0);
        self.configure(peer, port, upstream, workload, &mut command);
        let process = Process::spawn(command);
        let server = Server { peer, name: self.name(peer), address: (Ipv4Addr::LOCALHOST, port).into(), process };
        server.wait(&workload.first_name());
        server
    }

    fn name(&self, peer: Peer) -> String {
        let mut known = self.versions.borrow_mut();
        if let Some((_, name)) = known.iter().find(|(of, _)| *of == peer) {
            return name.clone();
        }
        known.push((peer, peer.name()));
        known[known.len() - 1].1.clone()
    }

    /// Writes a file in the directory.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.join(name);
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    fn configure(
        &self,
        peer: Peer,
        port: u16,
        upstream: Option<SocketAddr>,
        workload: Workload,
        command: &mut Command,
    ) {
        match peer {
            Peer::Echo => _ = command.arg(format!("--echo={port}")),
            Peer::Callsign => {
                let file = self.write(&format!("callsign-{port}.toml"), &callsign(port, upstream));
                command.args(["serve", "--config"]).arg(file);
            }
            Peer::Knot => {
                let directory = self.directory.join(format!("knot-{port}"));
                fs::create_dir(&directory).expect("a directory for knotd");
                let (local, remote) = zones();
                self.write("local.zone", &local);
                self.write("remote.zone", &remote);
                let file = self.write(&format!("knot-{port}.conf"), &knot(port, self.directory, &directory));
                command.arg("--config").arg(file);
            }
            Peer::Unbound => {
                let file = self.write(&format!("unbound-{port}.conf"), &unbound(port, upstream));
                command.args(["-d", "-p", "-c"]).arg(file);
            }
            Peer::Dnsmasq => {
                // Its default holds 150 names. More than what is asked for would do it wrong: with room for 10,000 a name
                // that is not cached costs it nearly three times as much.
                let cache = if workload.is_warm() { 2 * NAMES } else { 150 };
                command.arg(format!("--cache-size={cache}"));
                dnsmasq(port, upstream, &self.write("hosts", &hosts()), command);
            }
        }
    }
}

fn callsign(port: u16, upstream: Option<SocketAddr>) -> String {
    let upstreams = upstream.map(|address| format!("{:?}", address.to_string())).unwrap_or_default();
    let mut text = format!(
        "[server]\nport = {port}\nworkers = 1\nupstreams = [{upstreams}]\n\n\
         [[network]]\nname = \"peers\"\nlisten = [\"127.0.0.1\"]\nsubnets = [\"10.10.0.0/16\"]\ndomains = [\"{LOCAL}\"]\n"
    );
    for (name, address) in local_names() {
        let endpoint = format!("id = \"id-{name}\"\naddresses = [\"{address}\"]\nnames = [\"{name}\"]\n");
        write!(text, "\n[[network.endpoint]]\n{endpoint}").expect("a string takes it");
    }
    text
}

fn zones() -> (String, String) {
    let head = "@ 3600 SOA ns hostmaster 1 3600 600 86400 60\n@ 3600 NS ns\nns 3600 A 127.0.0.1\n";
    let local = local_names().map(|(name, address)| format!("{name} 3600 A {address}\n")).collect::<String>();
    (format!("{head}{local}"), format!("{head}* 3600 A 192.0.2.1\n"))
}

fn knot(port: u16, zones: &Path, own: &Path) -> String {
    let (zones, own) = (zones.display(), own.display());
    format!(
        "server:\n  listen: 127.0.0.1@{port}\n  rundir: {own}\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\n\
         database:\n  storage: {own}\n\
         log:\n  - target: stderr\n    any: warning\n\
         template:\n  - id: default\n    storage: {zones}\n    zonefile-sync: -1\n    journal-content: none\n\
         zone:\n  - domain: {LOCAL}\n    file: local.zone\n  - domain: {REMOTE}\n    file: remote.zone\n"
    )
}

fn unbound(port: u16, upstream: Option<SocketAddr>) -> String {
    let mut text = format!(
        "server:\n  interface: 127.0.0.1@{port}\n  do-ip6: no\n  num-threads: 1\n  module-config: iterator\n  \
         outgoing-range: 4096\n  num-queries-per-thread: 2048\n  do-not-query-localhost: no\n  \
         username: \"\"\n  chroot: \"\"\n  directory: \"\"\n  pidfile: \"\"\n  use-syslog: no\n  do-daemonize: no\n  \
         local-zone: \"{LOCAL}.\" static\n"
    );
    for (name, address) in local_names() {
        writeln!(text, "  local-data: \"{name}.{LOCAL}. 3600 A {address}\"").expect("a string takes it");
    }
    text.push_str("remote-control:\n  control-enable: no\n");
    if let Some(upstream) = upstream {
        let (ip, port) = (upstream.ip(), upstream.port());
        writeln!(text, "forward-zone:\n  name: \".\"\n  forward-addr: {ip}@{port}").expect("a string takes it");
    }
    text
}

fn hosts() -> String {
    local_names().map(|(name, address)| format!("{address} {name}.{LOCAL}\n")).collect()
}

fn dnsmasq(port: u16, upstream: Option<SocketAddr>, hosts: &Path, command: &mut Command) {
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-", "--pid-file="]);
    command.args(["--no-resolv", "--no-hosts", "--no-poll", "--bind-interfaces", "--listen-address=127.0.0.1"]);
    // Its default is 150, fewer than the questions that are asked at a time here.
    command.arg("--dns-forward-max=1000");
    command.arg(format!("--port={port}")).arg(format!("--addn-hosts={}", hosts.display()));
    if needs::is_root() {
        // Not the account of the package: it may be missing, and could not read the names.
        command.arg("--user=root");
    }
    if let Some(upstream) = upstream {
        command.arg(format!("--server={}#{}", upstream.ip(), upstream.port()));
    }
}
