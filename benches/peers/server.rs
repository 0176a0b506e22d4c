//! Servers that run: started, waited for, and what they use.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use callsign::wire::message::Header;
use callsign::wire::rtype;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host;
use crate::machine::Machine;
use crate::peer::{Job, Peer, configure_upstream};
use crate::setup::Setup;
use crate::support::client::Query;
use crate::support::process::{Process, Source};
use crate::support::{free_port, needs};
use crate::tree;
use crate::workload::Workload;

/// The pause between two attempts to get a first answer: the peers have no other way in common to say that they are ready.
const PAUSE: Duration = Duration::from_millis(1);
/// How long a server may take to load a million names.
const READY: Duration = Duration::from_secs(90);
/// Where the upstream also listens, at port 53, for servers that can forward to no other.
const UPSTREAM_53: Ipv4Addr = Ipv4Addr::new(127, 53, 53, 53);

/// A server that runs; killed on drop.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) peer: Peer,
    pub(crate) setup: Setup,
    /// The program and its version.
    pub(crate) name: String,
    /// From its start to its first answer.
    pub(crate) start: Duration,
    addresses: Vec<SocketAddr>,
    process: Process,
    /// Of a server that has left `process`.
    daemon: Option<u32>,
}

impl Server {
    /// Where it listens.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    fn pid(&self) -> u32 {
        self.daemon.unwrap_or_else(|| self.process.pid())
    }

    /// The processor time that it has used.
    pub(crate) fn cpu_time(&self) -> Duration {
        tree::cpu_time(self.pid())
    }

    /// Its resident memory, MB.
    pub(crate) fn resident(&self) -> f64 {
        tree::resident(self.pid())
    }

    /// Its private memory, MB.
    pub(crate) fn private(&self) -> f64 {
        tree::private(self.pid())
    }

    /// What it has told last behind a label: callsign as a library does.
    pub(crate) fn told<T: FromStr>(&self, label: &str) -> Option<T> {
        self.process.lines(Source::Stdout).iter().rev().find_map(|line| line.strip_prefix(label)?.parse().ok())
    }

    /// The changes of its table so far, of a server that makes them itself.
    pub(crate) fn changes(&self) -> u64 {
        self.told(host::CHANGES).unwrap_or(0)
    }

    /// Waits until it answers a question for `name`; any other server than the echo with an address.
    fn wait(&self, name: &str) -> io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(self.addresses[self.addresses.len() - 1])?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        let query = Query::new(name, rtype::A).bytes();
        let deadline = Instant::now() + READY;
        let mut reply = [0; 512];
        while Instant::now() < deadline && tree::is_running(self.pid()) {
            // Fails while nothing listens.
            if socket.send(&query).is_ok()
                && let Ok(len) = socket.recv(&mut reply)
                && let Some(header) = Header::read(&reply[..len])
                && header.rcode() == 0
                && (self.peer == Peer::Echo || header.counts[1] > 0)
            {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        Err(io::Error::other(format!("no answer for {name} from {:?}", self.process)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon {
            // Fails if it has ended by itself.
            let _ = kill(Pid::from_raw(daemon as i32), Signal::SIGKILL);
        }
    }
}

/// What servers are started with.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    directory: &'a Path,
    machine: &'a Machine,
    upstream: Option<Server>,
    upstream_53: Option<IpAddr>,
    versions: RefCell<Vec<(Peer, String)>>,
    /// Servers that were started.
    started: RefCell<u32>,
}

impl<'a> Stage<'a> {
    /// With `directory` for the servers' files.
    pub(crate) fn new(directory: &'a Path, machine: &'a Machine) -> Stage<'a> {
        let (versions, started) = (RefCell::default(), RefCell::default());
        Stage { directory, machine, upstream: None, upstream_53: None, versions, started }
    }

    /// Starts the upstream. False if it is not installed.
    pub(crate) fn start_upstream(&mut self) -> bool {
        if Peer::Knot.program().is_none() {
            return false;
        }
        let is_free = UdpSocket::bind((UPSTREAM_53, 53)).is_ok() && TcpListener::bind((UPSTREAM_53, 53)).is_ok();
        self.upstream_53 = is_free.then_some(UPSTREAM_53.into());
        let setup = Setup { forwards: true, ..Setup::PLAIN };
        match self.run(Peer::Knot, &setup, &Workload::Uncached.first_name(), true) {
            Ok(server) => self.upstream = Some(server),
            Err(error) => panic!("the upstream: {error}"),
        }
        true
    }

    /// Starts a server for a workload. `None`, and said why, if it cannot be.
    pub(crate) fn start(&self, peer: Peer, setup: &Setup, workload: Workload) -> Option<Server> {
        peer.program()?;
        // It asks its upstreams at port 53 and no other.
        if peer == Peer::Aardvark && setup.forwards && self.upstream_53.is_none() {
            eprintln!("{}: not measured, as it asks port 53 and {UPSTREAM_53}:53 cannot be had", peer.label());
            return None;
        }
        let started = self.run(peer, setup, &workload.first_name(), false);
        started.inspect_err(|error| eprintln!("{}, {setup}: not measured: {error}", peer.label())).ok()
    }

    fn run(&self, peer: Peer, setup: &Setup, first_name: &str, is_upstream: bool) -> io::Result<Server> {
        let name = self.name(peer);
        let port = free_port(&setup.addresses());
        *self.started.borrow_mut() += 1;
        let directory = self.directory.join(format!("{}-{}", self.started.borrow(), port));
        fs::create_dir(&directory)?;
        let cores = match (is_upstream, setup.idle) {
            (true, _) => self.machine.upstream_core.to_string(),
            (_, true) => self.machine.all_cores(),
            _ => self.machine.server_core.to_string(),
        };
        // `setpriv`: should this process be killed, the server is too. Both become the server, they are no parents of it.
        let mut command = needs::command("setpriv");
        let program = peer.program().ok_or(io::ErrorKind::NotFound)?.0;
        command.args(["--pdeathsig", "KILL", "taskset", "--cpu-list", &cores]).arg(program);
        let upstream = self.upstream.as_ref().filter(|_| setup.forwards).map(|server| server.addresses[0]);
        let job = Job { setup, directory: &directory, port, upstream, upstream_53: self.upstream_53 };
        if is_upstream {
            configure_upstream(&job, &mut command)
        } else {
            peer.configure(&job, &mut command)
        }

        let addresses = setup.listen().into_iter().map(|address| (address, port).into()).collect();
        let begin = Instant::now();
        let mut process = Process::spawn(command);
        let daemon = match peer.pid_file() {
            // The process that was started ends when the one that it leaves behind is ready.
            Some(file) if process.wait_exit(READY).success() => {
                Some(fs::read_to_string(directory.join(file))?.trim().parse().map_err(io::Error::other)?)
            }
            Some(_) => return Err(io::Error::other(format!("{process:?}"))),
            None => None,
        };
        let mut server = Server { peer, setup: *setup, name, start: Duration::ZERO, addresses, process, daemon };
        server.wait(first_name)?;
        server.start = begin.elapsed();
        Ok(server)
    }

    fn name(&self, peer: Peer) -> String {
        let mut known = self.versions.borrow_mut();
        if let Some((_, name)) = known.iter().find(|(of, _)| *of == peer) {
            return name.clone();
        }
        known.push((peer, peer.name()));
        known[known.len() - 1].1.clone()
    }
}
