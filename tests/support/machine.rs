//! A whole machine for programs that take it for theirs, as Podman does: with its own processes, `/run`, `/etc` and `/dev`,
//! on the host's network of a [`Lab`]. The daemons in it and what they mount end with it, also when a test fails or is killed.
//! Needs root, iproute2 and util-linux; see [`needs_root!`](crate::needs_root).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;

use super::client::{Client, Query, Reply};
use super::dnsmasq::Dnsmasq;
use super::netns::{Lab, Namespace};
use super::process::{Finished, Process, Source, run, run_with_input};
use super::{DEADLINE, needs};

/// Where the upstream of [`Outside`] is; a machine's resolv.conf names it.
pub const UPSTREAM: &str = "10.99.0.1";

/// The DNS server under test, which is installed as `aardvark-dns`: ours, or what `AARDVARK_DNS` names, to see whether a
/// test holds for another one.
fn program() -> PathBuf {
    std::env::var_os("AARDVARK_DNS").map_or_else(|| PathBuf::from(super::program::CALLSIGN), PathBuf::from)
}

/// A host's network and a network beyond it with a real upstream that counts what it is asked.
pub struct Outside {
    upstream: Namespace,
    lab: Lab,
}

impl Outside {
    /// The networks, with nobody in them yet.
    pub fn new() -> Outside {
        let lab = Lab::new();
        let upstream = lab.outside("upstream", "10.99.0.254/24", "10.99.0.1/24");
        // Containers that ask it themselves, past the gateway, are answered, too.
        upstream.configure("address add 10.99.0.2/24 dev eth0\nroute add default via 10.99.0.254");
        lab.host().set_resolv_conf(&format!("nameserver {UPSTREAM}\n"));
        Outside { upstream, lab }
    }

    /// The upstream that the host's resolv.conf names.
    pub fn upstream(&self) -> Dnsmasq<'_> {
        self.server(UPSTREAM, "192.0.2.80")
    }

    /// The host of the upstreams, which has a route to the machine's containers.
    pub fn neighbour(&self) -> &Namespace {
        &self.upstream
    }

    /// Another one, for those that are told of it.
    pub fn other_upstream(&self) -> Dnsmasq<'_> {
        self.server("10.99.0.2", "192.0.2.82")
    }

    fn server(&self, ip: &str, address: &str) -> Dnsmasq<'_> {
        Dnsmasq::start(Some(&self.upstream), at_port_53(ip), &[("www.example.com", address)])
    }

    /// A third one, on the cable alone, and its address with the zone that the host has for it.
    pub fn link_local_upstream(&self) -> (Process, &'static str) {
        self.upstream.configure("address add fe80::99/64 dev eth0 nodad");
        // The lab's first cable.
        self.lab.host().configure("address add fe80::1/64 dev link0 nodad");
        let mut dnsmasq = self.upstream.command("dnsmasq");
        dnsmasq.args([
            "--no-daemon",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--pid-file=",
            "--user=root",
        ]);
        dnsmasq.args([
            "--interface=eth0",
            "--bind-interfaces",
            "--local=/#/",
            "--host-record=www.example.com,192.0.2.99",
        ]);
        let dnsmasq = Process::spawn(dnsmasq);
        dnsmasq.wait_for(Source::Stderr, "started, version");
        (dnsmasq, "fe80::99%link0")
    }

    /// The host, as what is outside sees it.
    pub fn host(&self) -> &Namespace {
        self.lab.host()
    }

    /// The namespace that the upstreams are in.
    pub fn namespace(&self) -> &Namespace {
        &self.upstream
    }

    /// A machine for Podman on the host's network, with this netavark.
    pub fn machine(&self, netavark: &Path) -> Machine<'_> {
        let script = concat!(include_str!("machine_base.sh"), include_str!("machine.sh"));
        Machine::start(self.lab.host(), script, &[&program(), netavark])
    }

    /// A machine for Docker on the host's network.
    pub fn docker_machine(&self) -> Machine<'_> {
        Outside::docker_machine_on(self.lab.host())
    }

    /// A second one, on the network of the upstreams, at 10.99.0.1: a host that the first one reaches.
    pub fn neighbouring_docker_machine(&self) -> Machine<'_> {
        self.upstream.set_resolv_conf(&format!("nameserver {UPSTREAM}\n"));
        Outside::docker_machine_on(&self.upstream)
    }

    fn docker_machine_on(network: &Namespace) -> Machine<'_> {
        let script = concat!(include_str!("machine_base.sh"), include_str!("docker.sh"));
        Machine::start(network, script, &[])
    }
}

/// `ip` as the address of a DNS server.
pub fn at_port_53(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), 53)
}

/// A machine; its processes are killed on drop.
pub struct Machine<'a> {
    /// The mother of its first process, which dies with her.
    process: Process,
    /// Its first process.
    init: u32,
    network: &'a Namespace,
    base: TempDir,
}

impl<'a> Machine<'a> {
    fn start(network: &'a Namespace, script: &str, arguments: &[&Path]) -> Machine<'a> {
        let base = TempDir::with_prefix("callsign-").unwrap();
        let mut command = network.command("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["--uts", "--ipc", "bash", "-c", script, "machine"]);
        command.arg(base.path()).args(arguments);
        let process = Process::spawn(command);
        process.wait_for(Source::Stdout, "ready");
        let mother = process.pid();
        let children = format!("/proc/{mother}/task/{mother}/children");
        let init = fs::read_to_string(&children).unwrap_or_else(|error| panic!("{children}: {error}"));
        let init = init.trim().parse().unwrap_or_else(|error| panic!("{children}: {init:?}: {error}"));
        Machine { process, init, network, base }
    }

    /// Kills all its processes.
    pub fn kill(&mut self) {
        self.process.signal(nix::sys::signal::Signal::SIGKILL);
        self.process.wait_exit(DEADLINE);
    }

    /// A directory of the machine that its programs and image are in, and where there is room for more.
    pub fn base(&self) -> &Path {
        self.base.path()
    }

    /// A command of `program`, a name or a path, in the machine. It sees no variables of the test's environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = needs::command("nsenter");
        command.args([
            "--target",
            &self.init.to_string(),
            "--mount",
            "--net",
            "--pid",
            "--uts",
            "--ipc",
            "--wd=/",
            "--",
        ]);
        command.arg(program);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
        command
    }

    /// Runs a program in the machine to its end.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Finished {
        run(self.words(words))
    }

    /// [`run`](Self::run) with a standard input.
    #[track_caller]
    pub fn run_with_input(&self, words: &[&str], input: &str) -> Finished {
        run_with_input(self.words(words), input)
    }

    fn words(&self, words: &[&str]) -> Command {
        let (program, arguments) = words.split_first().expect("a program");
        let mut command = self.command(program);
        command.args(arguments);
        command
    }

    /// Where the test finds a file of the machine.
    pub fn file(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref().strip_prefix("/").expect("an absolute path");
        Path::new("/proc").join(self.init.to_string()).join("root").join(path)
    }

    /// What /proc says of a process of the machine: `proc(daemon, "fd")`.
    pub fn proc(&self, pid: u32, entry: &str) -> PathBuf {
        self.file(format!("/proc/{pid}/{entry}"))
    }

    /// The machine's own network.
    pub fn network(&self) -> &Namespace {
        self.network
    }

    /// The network of a process of the machine.
    pub fn network_of(&self, pid: u32) -> Network {
        Network { file: self.proc(pid, "ns/net"), held: None }
    }

    /// A network namespace of the machine, by the name that `ip netns` knows it by.
    pub fn network_named(&self, name: &str) -> Network {
        Network { file: self.file(Path::new("/run/netns").join(name)), held: None }
    }

    /// The processes of the machine whose command line has `text` in it.
    pub fn processes(&self, text: &str) -> Vec<u32> {
        let pids = fs::read_dir(self.file("/proc")).unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|&pid| command_line(&self.proc(pid, "cmdline")).contains(text)).collect()
    }

    /// True while there is such a process; one that has ended and was not waited for is none.
    pub fn is_alive(&self, pid: u32) -> bool {
        let stat = fs::read_to_string(self.proc(pid, "stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }
}

/// The words of a command line, a space between them.
pub fn command_line(file: &Path) -> String {
    let words = fs::read(file).unwrap_or_default();
    String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ")
}

/// A network namespace of a machine.
#[derive(Debug, Clone)]
pub struct Network {
    file: PathBuf,
    held: Option<Arc<File>>,
}

impl Network {
    /// Does `work` in a thread whose sockets are inside.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = self.held.clone().unwrap_or_else(|| Arc::new(self.open()));
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The same network, which stays when its last process is gone.
    pub fn hold(self) -> Network {
        Network { held: Some(Arc::new(self.open())), ..self }
    }

    fn open(&self) -> File {
        File::open(&self.file).unwrap_or_else(|error| panic!("{}: {error}", self.file.display()))
    }

    /// Keeps the addresses of the bridges inside as they are. A bridge that was given none takes the least of its ports', which
    /// changes as containers come and go, and for a while their neighbours send to one that is nobody's: old netavarks
    /// lose packets so, and a test could not tell them from those that a DNS server loses.
    pub fn keep_bridge_addresses(&self) {
        let mut command = needs::command("nsenter");
        command.arg(format!("--net={}", self.file.display())).args(["sh", "-c", KEEP_BRIDGE_ADDRESSES]);
        run(command).expect_success();
    }

    /// The reply of the DNS server at `server` to `query`, sent from inside over UDP.
    ///
    /// Netavark signals the server and does not wait until that listens on a new network: as long as nobody does, this
    /// does. A query that gets no answer is an error all the same.
    #[track_caller]
    pub fn ask(&self, server: SocketAddr, query: &Query) -> Reply {
        let deadline = Instant::now() + DEADLINE;
        let bytes = self.enter(|| {
            loop {
                let result = Client::new(server).udp_bytes(&query.bytes());
                let refused = result.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
                if !refused || Instant::now() > deadline {
                    return result;
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
        Reply::new(bytes.unwrap_or_else(|error| panic!("{query:?} to {server} over UDP: {error}")))
    }
}

/// A client of `server` with an address of this thread's network, for which it waits as long as the kernel looks whether
/// others have it.
#[track_caller]
pub fn client_from(source: SocketAddr, server: SocketAddr) -> Client {
    let deadline = Instant::now() + DEADLINE;
    while let Err(error) = UdpSocket::bind(source) {
        assert!(Instant::now() < deadline, "{source}: {error}");
        thread::sleep(Duration::from_millis(20));
    }
    Client::new(server).sent_from(source)
}

/// The link-local address of an interface of this thread's network, with the interface's scope.
#[track_caller]
pub fn link_local(interface: &str) -> SocketAddr {
    let all = getifaddrs().unwrap().filter(|found| found.interface_name == interface);
    let mut v6 = all.filter_map(|found| Some(SocketAddrV6::from(*found.address?.as_sockaddr_in6()?)));
    let found = v6.find(|found| found.ip().is_unicast_link_local() && found.scope_id() != 0);
    found.unwrap_or_else(|| panic!("{interface} has no link-local address")).into()
}

const KEEP_BRIDGE_ADDRESSES: &str = r#"
ip -oneline link show type bridge |
    sed -n 's/^[0-9]*: \([^:]*\):.*link\/ether \([^ ]*\) .*/link set \1 address \2/p' |
    ip -batch -
"#;

/// The addresses of a reply, sorted.
pub fn addresses(reply: &Reply) -> Vec<String> {
    let mut addresses = reply.addresses();
    addresses.sort();
    addresses.iter().map(IpAddr::to_string).collect()
}

/// The addresses that `getent ahosts NAME` found, sorted, each once.
pub fn of_getent(finished: &Finished) -> Vec<String> {
    sorted(finished.stdout.lines().filter_map(|line| line.split_whitespace().next()))
}

/// The addresses that busybox's `nslookup NAME` found, sorted, each once.
pub fn of_nslookup(finished: &Finished) -> Vec<String> {
    // The first block names the server, whose address has a port.
    let addresses = finished.stdout.lines().filter_map(|line| line.strip_prefix("Address: "));
    sorted(addresses.map(str::trim).filter(|address| !address.ends_with(":53")))
}

fn sorted<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut words: Vec<String> = words.map(str::to_owned).collect();
    words.sort();
    words.dedup();
    words
}

/// Waits until `attempt` gives what is expected. For what others do without saying when: netavark sends its signal and
/// does not wait for what comes of it.
///
/// # Panics
/// With the last that it gave, if that is something else all the time.
#[track_caller]
pub fn becomes<T: PartialEq + std::fmt::Debug>(what: &str, expected: T, mut attempt: impl FnMut() -> T) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let found = attempt();
        if found == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {found:?} for {DEADLINE:?}, not {expected:?}");
        thread::sleep(Duration::from_millis(2));
    }
}
