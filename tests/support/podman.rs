//! Debian's Podman on a [`Machine`]: as an operator uses it, with the DNS server under test in `helper_binaries_dir`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::client::{Query, Reply};
use super::machine::{Machine, Network, addresses, at_port_53, of_getent, of_nslookup};
use super::process::{Finished, Process, run};

/// Where Debian has the netavark that its Podman was made for.
pub const NETAVARK: &str = "/usr/lib/podman/netavark";

/// Who calls Podman.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    Root,
    Unprivileged,
}

/// Podman on a machine.
pub struct Podman<'a> {
    machine: &'a Machine<'a>,
    user: User,
}

impl<'a> Podman<'a> {
    /// Podman of root, with the image `busybox`.
    pub fn new(machine: &'a Machine<'a>) -> Podman<'a> {
        Podman::of(machine, User::Root)
    }

    /// Podman of an ordinary user, with the image.
    pub fn rootless(machine: &'a Machine<'a>) -> Podman<'a> {
        // A storage of the user's own, where Podman has it unless it is told.
        fs::write(machine.file("/etc/containers/storage.conf"), "[storage]\ndriver = \"vfs\"\n").unwrap();
        Podman::of(machine, User::Unprivileged)
    }

    fn of(machine: &'a Machine<'a>, user: User) -> Podman<'a> {
        let podman = Podman { machine, user };
        let archive = machine.base().join("image.tar");
        let image = machine.base().join("image");
        machine.run(&["tar", "-C", text(&image), "-cf", text(&archive), "."]).expect_success();
        podman.run(&["import", "--quiet", text(&archive), "busybox"]);
        podman
    }

    /// A command of Podman.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.machine.command(if self.user == User::Root { "podman" } else { "setpriv" });
        if self.user == User::Unprivileged {
            command.args(["--reuid", "4000", "--regid", "4000", "--clear-groups", "podman"]);
            command.env("HOME", self.machine.base().join("home")).env("XDG_RUNTIME_DIR", "/run/user/4000");
        }
        command.args(words);
        command
    }

    /// `podman WORDS…`, which has to succeed; gives its output.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> String {
        self.try_run(words).expect_success().stdout.trim().to_owned()
    }

    /// `podman WORDS…`, however it ends.
    #[track_caller]
    pub fn try_run(&self, words: &[&str]) -> Finished {
        run(self.command(words))
    }

    /// A network whose gateway is the first address of `subnet`, such as `10.10.1.0/24`.
    #[track_caller]
    pub fn network(&self, name: &str, subnet: &str, options: &[&str]) {
        self.run(&[&["network", "create", "--subnet", subnet], options, &[name]].concat());
    }

    /// A container that sleeps, from `podman run -d --name NAME OPTIONS…`.
    #[track_caller]
    pub fn container(&self, name: &str, options: &[&str]) -> Container<'_> {
        let words = [&["run", "--detach", "--name", name], options, &["busybox", "sleep", "1000"]].concat();
        self.run(&words);
        self.running(name)
    }

    /// The same, not waited for: see [`running`](Self::running).
    pub fn spawn_container(&self, name: &str, options: &[&str]) -> Process {
        let words = [&["run", "--detach", "--name", name], options, &["busybox", "sleep", "1000"]].concat();
        Process::spawn(self.command(&words))
    }

    /// A container that runs.
    #[track_caller]
    pub fn running(&self, name: &str) -> Container<'_> {
        let inspected = self.run(&["inspect", "--format", "{{.ID}} {{.State.Pid}}", name]);
        // The server is where the bridges are: for a user that is not where Podman runs.
        if let [server] = self.machine.processes("aardvark-dns --config")[..] {
            self.machine.network_of(server).keep_bridge_addresses();
        }
        let (id, pid) = inspected.split_once(' ').expect("two words");
        let network = self.machine.network_of(pid.parse().expect("a process ID"));
        Container { name: name.to_owned(), id: id.to_owned(), network, podman: self }
    }

    /// The directory that netavark keeps for the DNS server.
    pub fn directory(&self) -> PathBuf {
        self.machine.file(match self.user {
            User::Root => "/run/containers/networks/aardvark-dns",
            User::Unprivileged => "/run/user/4000/containers/networks/aardvark-dns",
        })
    }

    /// The DNS server's process ID, if its file names one.
    pub fn server(&self) -> Option<u32> {
        fs::read_to_string(self.directory().join("aardvark.pid")).ok()?.parse().ok()
    }
}

/// A running container.
pub struct Container<'a> {
    name: String,
    /// Its id in full.
    pub id: String,
    /// Its network namespace.
    pub network: Network,
    podman: &'a Podman<'a>,
}

impl Container<'_> {
    /// The first 12 characters of its id.
    pub fn short_id(&self) -> &str {
        &self.id[..12]
    }

    /// The address that it has on a network: its first IPv4 one.
    #[track_caller]
    pub fn address_on(&self, network: &str) -> String {
        let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
        self.podman.run(&["inspect", "--format", &format, &self.name])
    }

    /// Runs a program in it, whatever comes of it.
    #[track_caller]
    pub fn exec(&self, words: &[&str]) -> Finished {
        self.podman.try_run(&[&["exec", &self.name], words].concat())
    }

    /// The DNS servers of its resolv.conf.
    #[track_caller]
    pub fn servers(&self) -> Vec<String> {
        let text = self.exec(&["cat", "/etc/resolv.conf"]).expect_success().stdout;
        text.lines().filter_map(|line| line.strip_prefix("nameserver ")).map(str::to_owned).collect()
    }

    /// The reply of the gateway `server` to a question that the container asks.
    #[track_caller]
    pub fn ask(&self, server: &str, name: &str, rtype: u16) -> Reply {
        self.network.ask(at_port_53(server), &Query::new(name, rtype).edns(1232))
    }

    /// The addresses that the container gets for `name` from the gateway `server`; `NXDOMAIN` and the like where there is
    /// an error instead.
    #[track_caller]
    pub fn resolves(&self, server: &str, name: &str) -> Vec<String> {
        let reply = self.ask(server, name, callsign::wire::rtype::A);
        if reply.status() == "NOERROR" { addresses(&reply) } else { vec![reply.status()] }
    }

    /// What glibc in the container makes of a name: its addresses, sorted, each once.
    #[track_caller]
    pub fn getent(&self, name: &str) -> Vec<String> {
        of_getent(&self.exec(&["getent", "ahosts", name]))
    }

    /// What busybox in the container makes of a name.
    #[track_caller]
    pub fn nslookup(&self, name: &str) -> Vec<String> {
        of_nslookup(&self.exec(&["nslookup", name]))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of this test's making")
}
