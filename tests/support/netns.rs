//! Real network namespaces, as a container runtime makes them: a host with bridges and their gateway addresses, and
//! containers with an interface on one bridge or more. Needs root and iproute2; see [`needs_root!`](crate::needs_root).
//!
//! ```text
//!   outside (upstream) ---veth--- host: bridge shop 10.10.1.1 ---veth--- eth0 of container api
//!                                       bridge blog 10.10.2.1 ---veth--- eth0 of container db
//! ```
//!
//! Nothing of it touches the machine's own network: every interface is made inside a namespace of the lab.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns};

use super::needs;
use super::process::{Finished, Process, run, run_with_input};

const PREFIX: &str = "callsign";

/// One network namespace, with its own resolv.conf; removed on drop.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    fn create(name: String) -> Namespace {
        let namespace = Namespace { name };
        ip(&["netns", "add", &namespace.name]);
        // `ip netns exec` lays these over the machine's files, whose names and whose resolver daemons are not the lab's.
        fs::create_dir_all(namespace.etc()).unwrap();
        for (file, text) in [
            ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
            ("nsswitch.conf", "hosts: files dns\n"),
            ("resolv.conf", ""),
        ] {
            // It can be laid over a file that is there only.
            if Path::new("/etc").join(file).exists() {
                fs::write(namespace.etc().join(file), text).unwrap();
            }
        }
        namespace.configure("link set lo up");
        namespace
    }

    /// Its name for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Replaces the resolv.conf that programs inside see, whole.
    pub fn set_resolv_conf(&self, text: &str) {
        fs::write(self.etc().join("resolv.conf"), text).unwrap();
    }

    /// Replaces the hosts file that programs inside see, whole.
    pub fn set_hosts(&self, text: &str) {
        fs::write(self.etc().join("hosts"), text).unwrap();
    }

    /// A command of `program`, a name or a path, inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = needs::command("ip");
        command.args(["netns", "exec", &self.name]).arg(needs::path(program));
        command
    }

    /// Runs a program inside to its end: `run(&["dig", "+short", "db"])`.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Finished {
        run(self.words(words))
    }

    /// Starts a program inside.
    pub fn spawn(&self, words: &[&str]) -> Process {
        Process::spawn(self.words(words))
    }

    /// Does `work` in a thread whose sockets are inside. Files, resolv.conf among them, are the machine's.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = Path::new("/run/netns").join(&self.name);
        let file = fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Carries out commands of `ip`, one a line: `address add 10.0.0.1/8 dev eth0`.
    #[track_caller]
    pub fn configure(&self, commands: &str) {
        let mut batch = needs::command("ip");
        batch.args(["-netns", &self.name, "-batch", "-"]);
        run_with_input(batch, commands).expect_success();
    }

    fn words(&self, words: &[&str]) -> Command {
        let (program, arguments) = words.split_first().expect("a program");
        let mut command = self.command(program);
        command.args(arguments);
        command
    }

    fn etc(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// A command of `program` inside `place`, or in the test's own network.
pub fn command_in(place: Option<&Namespace>, program: &str) -> Command {
    match place {
        Some(namespace) => namespace.command(program),
        None => needs::command(program),
    }
}

/// Does `work` with sockets inside `place`, or in the test's own network.
pub fn work_in<T: Send>(place: Option<&Namespace>, work: impl FnOnce() -> T + Send) -> T {
    match place {
        Some(namespace) => namespace.enter(work),
        None => work(),
    }
}

/// A bridge of a lab's host.
#[derive(Debug, Clone)]
pub struct Bridge {
    name: String,
    gateways: Vec<IpAddr>,
}

impl Bridge {
    /// The gateway addresses, as given.
    pub fn gateways(&self) -> &[IpAddr] {
        &self.gateways
    }
}

/// A host of containers. Namespaces made with it are values of their own and may be dropped before it.
#[derive(Debug)]
pub struct Lab {
    id: String,
    host: Namespace,
    links: AtomicU32,
}

impl Lab {
    /// A host without bridges.
    pub fn new() -> Lab {
        static LABS: AtomicU32 = AtomicU32::new(0);
        remove_abandoned();
        let id = format!("{PREFIX}-{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        Lab { host: Namespace::create(format!("{id}-host")), id, links: AtomicU32::new(0) }
    }

    /// The host's namespace, where bridges are and where callsign runs.
    pub fn host(&self) -> &Namespace {
        &self.host
    }

    /// A bridge of the host with its gateway addresses: `bridge("shop", &["10.10.1.1/24", "fd00:10:1::1/64"])`.
    pub fn bridge(&self, name: &str, gateways: &[&str]) -> Bridge {
        // Without snooping, neighbour discovery reaches every port at once.
        self.host.configure(&format!(
            "link add {name} type bridge forward_delay 0 mcast_snooping 0\nlink set {name} up\n{}",
            addresses(name, gateways)
        ));
        let gateways = gateways.iter().map(|gateway| split_prefix(gateway)).collect();
        Bridge { name: name.to_owned(), gateways }
    }

    /// Removes a bridge and the host's ends of its containers' links.
    pub fn remove_bridge(&self, bridge: Bridge) {
        self.host.configure(&format!("link delete {}", bridge.name));
    }

    /// A container with an interface `eth0`, `eth1`, … on each of the bridges with the addresses given, default routes
    /// over the first, and a resolv.conf that names the first bridge's first gateway:
    /// `container("api", &[(&shop, &["10.10.1.2/24", "fd00:10:1::2/64"])])`.
    pub fn container(&self, name: &str, interfaces: &[(&Bridge, &[&str])]) -> Namespace {
        let container = Namespace::create(format!("{}-{name}", self.id));
        for (index, (bridge, own)) in interfaces.iter().enumerate() {
            self.connect(&container, &format!("eth{index}"), &format!("master {}", bridge.name));
            container.configure(&addresses(&format!("eth{index}"), own));
        }
        let (first, own) = interfaces.first().expect("a container is on a bridge");
        for gateway in first.gateways() {
            // A container that has no address of this family has no way to the gateway.
            if own.iter().any(|address| split_prefix(address).is_ipv4() == gateway.is_ipv4()) {
                container.configure(&format!("route add default via {gateway}"));
            }
        }
        container.set_resolv_conf(&format!("nameserver {}\n", first.gateways()[0]));
        container
    }

    /// A machine beyond the host, joined to it by a cable whose ends have the two addresses:
    /// `outside("upstream", "10.99.0.254/24", "10.99.0.1/24")`. The host forwards no packets: containers do not reach it.
    pub fn outside(&self, name: &str, of_host: &str, of_machine: &str) -> Namespace {
        let machine = Namespace::create(format!("{}-{name}", self.id));
        let end = self.connect(&machine, "eth0", "");
        self.host.configure(&addresses(&end, &[of_host]));
        machine.configure(&addresses("eth0", &[of_machine]));
        machine
    }

    /// A cable from the host to `interface` of `other`; gives the name of the host's end, which is up.
    fn connect(&self, other: &Namespace, interface: &str, settings: &str) -> String {
        let end = format!("link{}", self.links.fetch_add(1, Ordering::Relaxed));
        self.host.configure(&format!(
            "link add {end} type veth peer name {interface} netns {}\nlink set {end} {settings} up\n",
            other.name
        ));
        other.configure(&format!("link set {interface} up"));
        end
    }
}

/// The commands that give `interface` its addresses. Duplicate address detection would keep those of IPv6 unusable for a
/// second or two.
fn addresses(interface: &str, addresses: &[&str]) -> String {
    let command = |address: &&str| {
        let nodad = if split_prefix(address).is_ipv6() { " nodad" } else { "" };
        format!("address add {address} dev {interface}{nodad}\n")
    };
    addresses.iter().map(command).collect()
}

fn split_prefix(address: &str) -> IpAddr {
    let ip = address.split_once('/').map(|(ip, _)| ip).and_then(|ip| ip.parse().ok());
    ip.unwrap_or_else(|| panic!("{address}: write 10.10.1.2/24 or fd00:10:1::2/64"))
}

#[track_caller]
fn ip(words: &[&str]) -> Finished {
    let mut command = needs::command("ip");
    command.args(words);
    run(command).expect_success()
}

fn remove(name: &str) {
    // No panic in a drop: it may run in one.
    let _ = needs::command("ip").args(["netns", "delete", name]).output();
    let _ = fs::remove_dir_all(Path::new("/etc/netns").join(name));
}

/// Removes what test programs that were killed have left: namespaces named after processes that are no more.
fn remove_abandoned() {
    let Ok(names) = fs::read_dir("/run/netns") else { return };
    for name in names.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let mut parts = name.split('-');
        if parts.next() != Some(PREFIX) {
            continue;
        }
        let Some(pid) = parts.next().and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        if !Path::new(&format!("/proc/{pid}")).exists() {
            remove(&name);
        }
    }
}
