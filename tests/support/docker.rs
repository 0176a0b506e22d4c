//! Debian's Docker Engine on a [`Machine`]: a daemon with its own storage, network and processes, the command line, Compose,
//! and the engine's API. Any number of them run side by side; each ends with its machine, and leaves nothing.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::DEADLINE;
use super::client::{Client, Query, Reply};
use super::machine::{Machine, Network, Outside, addresses, at_port_53, becomes, of_getent, of_nslookup};
use super::process::{Finished, Process, Source, run};
use super::program::{Launch, Program};

/// The default bridge's gateway: what daemon.json names as `dns`.
pub const GATEWAY: &str = "172.17.0.1";

/// Where Docker's own resolver is in containers of user networks.
pub const EMBEDDED: &str = "127.0.0.11";

/// How long Compose may take, which starts Python and many containers.
const COMPOSE_DEADLINE: Duration = Duration::from_secs(120);

const SOCKET: &str = "/run/docker.sock";

/// Returns from the test, loudly, where there is no Docker, or the process is not root.
#[macro_export]
macro_rules! needs_docker {
    ($($program:literal),*) => {
        needs_root!(
            "ip", "unshare", "nsenter", "setpriv", "bash", "busybox", "getent", "dnsmasq", "iptables", "runc", "containerd",
            "/usr/bin/docker", "dockerd" $(, $program)*
        );
    };
}

/// Waits until a container resolves a name at a server to just these addresses, or to the error that is named:
/// `becomes_at!(web, GATEWAY, "db", ["172.17.0.3"])`. See [`Container::resolves`].
#[macro_export]
macro_rules! becomes_at {
    ($container:expr, $server:expr, $name:expr, $expected:expr) => {{
        let expected: Vec<String> = $expected.iter().map(|word| word.to_string()).collect();
        $crate::support::machine::becomes($name, expected, || $container.resolves($server, $name));
    }};
}

/// A Docker Engine, with the image `busybox`.
pub struct Docker<'a> {
    machine: Machine<'a>,
    /// Of the daemon: `nsenter`, which waits for it.
    daemon: Mutex<Option<Process>>,
    options: Vec<String>,
    group: Group,
}

impl<'a> Docker<'a> {
    /// A daemon that gives callsign's address to its containers, as docs/docker.md says.
    #[track_caller]
    pub fn start(outside: &'a Outside) -> Docker<'a> {
        Docker::with(outside, &["--dns", GATEWAY])
    }

    /// A daemon with these options.
    #[track_caller]
    pub fn with(outside: &'a Outside, options: &[&str]) -> Docker<'a> {
        Docker::on(outside.docker_machine(), options)
    }

    /// A daemon like that of [`start`](Docker::start), on the host of the upstreams: a second node of a swarm.
    #[track_caller]
    pub fn start_beyond(outside: &'a Outside) -> Docker<'a> {
        Docker::on(outside.neighbouring_docker_machine(), &["--dns", GATEWAY])
    }

    #[track_caller]
    fn on(machine: Machine<'a>, options: &[&str]) -> Docker<'a> {
        let group = Group::new();
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let docker = Docker { machine, daemon: Mutex::default(), options, group };
        docker.start_daemon();
        docker.import("busybox", "image");
        docker
    }

    /// Makes an image of a directory of the machine.
    fn import(&self, image: &str, directory: &str) {
        let import = format!("tar -C {} -c . | docker import - {image}", self.machine.base().join(directory).display());
        self.machine.run(&["sh", "-c", &import]).expect_success();
    }

    /// Its machine.
    pub fn machine(&self) -> &Machine<'a> {
        &self.machine
    }

    /// Where the test, and a program outside the machine, finds a socket of the engine. (Not below /proc, where a confined
    /// program finds nothing of others.)
    pub fn socket(&self) -> PathBuf {
        self.machine.base().join("shared/docker.sock")
    }

    /// The same for DOCKER_HOST.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The directory of the control groups of its containers, where the kernel has any.
    pub fn group(&self) -> Option<PathBuf> {
        self.group.directory()
    }

    // The daemon.

    /// Starts the daemon, and waits until it answers.
    #[track_caller]
    pub fn start_daemon(&self) {
        let mut command = self.machine.command("dockerd");
        command.args([
            "--host",
            &format!("unix://{SOCKET}"),
            "--host",
            &self.host(),
            "--exec-root",
            "/run/docker",
            "--storage-driver",
            "vfs",
        ]);
        command.arg("--data-root").arg(self.machine.base().join("data")).arg("--cgroup-parent").arg(self.group.path());
        command.args(&self.options);
        let daemon = Process::spawn(command);
        for socket in [Path::new(SOCKET), &self.socket()] {
            daemon.wait_for(Source::Stderr, &format!("API listen on {}", socket.display()));
        }
        *self.daemon.lock().unwrap() = Some(daemon);
    }

    /// The daemon's process on its machine.
    pub fn daemon(&self) -> u32 {
        let file = self.machine.file("/run/docker.pid");
        fs::read_to_string(&file).ok().and_then(|pid| pid.trim().parse().ok()).expect("a daemon that runs")
    }

    /// Ends the daemon by `SIGTERM` or `SIGKILL`, and waits until it is gone. The containerd that it started ends, too, so that
    /// the next daemon can start its own; what runs in containers does not.
    #[track_caller]
    pub fn end_daemon(&self, signal: Signal) {
        let daemon = self.daemon();
        self.signal(daemon, signal);
        // Not a zombie either, for which the next daemon takes the old one to be running.
        becomes("dockerd is there", false, || self.machine.proc(daemon, "").exists());
        let containerd = self.machine.file("/run/docker/containerd/containerd.pid");
        if let Some(containerd) = fs::read_to_string(containerd).ok().and_then(|pid| pid.trim().parse::<u32>().ok()) {
            // It may be ending by itself just now: what counts is that it goes.
            self.machine.run(&["kill", "-TERM", &containerd.to_string()]);
            becomes("containerd is there", false, || self.machine.proc(containerd, "").exists());
        }
        *self.daemon.lock().unwrap() = None;
    }

    /// Sends a signal to a process of the machine.
    pub fn signal(&self, pid: u32, signal: Signal) {
        self.machine.run(&["kill", &format!("-{}", signal as i32), &pid.to_string()]).expect_success();
    }

    // The command line.

    /// `docker WORDS…`, which has to succeed; gives its output.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> String {
        self.try_run(words).expect_success().stdout.trim().to_owned()
    }

    /// `docker WORDS…`, however it ends.
    #[track_caller]
    pub fn try_run(&self, words: &[&str]) -> Finished {
        run(self.command(words))
    }

    /// A command of `docker`.
    pub fn command(&self, words: &[&str]) -> Command {
        // Where Debian has the client that belongs to the daemon.
        let mut command = self.machine.command("/usr/bin/docker");
        command.args(words);
        command
    }

    /// `docker-compose WORDS…` for the project of a file, which is written into a directory of that name.
    #[track_caller]
    pub fn project<'d>(&'d self, name: &str, file: &str) -> Project<'d, 'a> {
        let directory = self.machine.base().join(name);
        let outside = self.machine.file(&directory);
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("docker-compose.yml"), file).unwrap();
        Project { docker: self, directory }
    }

    /// A container that sleeps, from `docker run -d --name NAME OPTIONS…`.
    #[track_caller]
    pub fn container(&self, name: &str, options: &[&str]) -> Container<'_, 'a> {
        self.run(&[&["run", "--detach", "--init", "--name", name], options, &["busybox", "sleep", "1000"]].concat());
        self.running(name)
    }

    /// A container that runs.
    #[track_caller]
    pub fn running(&self, name: &str) -> Container<'_, 'a> {
        let inspected = self.get(&format!("/containers/{name}/json"));
        let pid = inspected["State"]["Pid"].as_u64().filter(|&pid| pid != 0);
        let pid = pid.unwrap_or_else(|| panic!("{name} does not run: {inspected}"));
        let id = inspected["Id"].as_str().expect("an id").to_owned();
        Container { name: name.to_owned(), id, pid: pid as u32, docker: self }
    }

    // The API.

    /// `GET PATH`.
    ///
    /// # Panics
    /// If the answer is an error.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.request("GET", path, None).unwrap_or_else(|error| panic!("GET {path}: {error}"));
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// `POST PATH` with a body.
    ///
    /// # Panics
    /// If the answer is an error.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Value {
        let (status, body) =
            self.request("POST", path, Some(body)).unwrap_or_else(|error| panic!("POST {path}: {error}"));
        assert!((200..300).contains(&status), "POST {path}: {status} {body}");
        body
    }

    /// The status and the body of the answer to a request.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<(u16, Value)> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let body = body.filter(|body| !body.is_null()).map(Value::to_string).unwrap_or_default();
        // HTTP/1.0: the answer ends with the connection, in one piece.
        let head = "Host: docker\r\nContent-Type: application/json";
        write!(stream, "{method} /v1.41{path} HTTP/1.0\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let broken = || io::Error::new(ErrorKind::InvalidData, format!("no answer: {answer:?}"));
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
        let body =
            if body.trim().is_empty() { Value::Null } else { serde_json::from_str(body).map_err(|_| broken())? };
        Ok((status, body))
    }

    /// The address of a network's gateway, its first IPv4 one.
    #[track_caller]
    pub fn gateway(&self, network: &str) -> String {
        let subnets = self.get(&format!("/networks/{network}"));
        let configs = subnets["IPAM"]["Config"].as_array().expect("subnets").clone();
        let gateway = configs.iter().find_map(|config| config["Gateway"].as_str()).map(str::to_owned);
        gateway.unwrap_or_else(|| {
            let subnet = configs[0]["Subnet"].as_str().expect("a subnet");
            let first: Ipv4Addr = subnet.split('/').next().and_then(|ip| ip.parse().ok()).expect("an IPv4 subnet");
            Ipv4Addr::from(u32::from(first) + 1).to_string()
        })
    }

    // callsign.

    /// `callsign serve` with this configuration, on the host of this engine; see [`Launch`].
    pub fn launch<'l>(&'l self, config: &'l str) -> Launch<'l> {
        Program::with(config).inside(self.machine.network()).environment("DOCKER_HOST", self.host())
    }

    /// The same, started, with the engine as its source and nothing else said.
    #[track_caller]
    pub fn serve(&self) -> Program {
        self.launch("[docker]\n").start()
    }
}

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        self.machine.kill();
        self.group.remove();
    }
}

/// A project of docker-compose.
pub struct Project<'d, 'a> {
    docker: &'d Docker<'a>,
    directory: PathBuf,
}

impl Project<'_, '_> {
    /// `docker-compose WORDS…`, which has to succeed.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Finished {
        self.try_run(words).expect_success()
    }

    /// The same, however it ends.
    #[track_caller]
    pub fn try_run(&self, words: &[&str]) -> Finished {
        let mut command = self.docker.machine.command("docker-compose");
        command.arg("--project-directory").arg(&self.directory);
        command.arg("--file").arg(self.directory.join("docker-compose.yml")).args(words);
        Process::spawn(command).finish(COMPOSE_DEADLINE)
    }
}

/// A running container.
pub struct Container<'d, 'a> {
    name: String,
    /// Its id in full.
    pub id: String,
    /// Its first process, as its machine counts.
    pub pid: u32,
    docker: &'d Docker<'a>,
}

impl Container<'_, '_> {
    /// The first 12 characters of its id.
    pub fn short_id(&self) -> &str {
        &self.id[..12]
    }

    /// Its network namespace.
    pub fn network(&self) -> Network {
        self.docker.machine.network_of(self.pid)
    }

    /// The address that it has on a network now: the IPv4 one.
    #[track_caller]
    pub fn address_on(&self, network: &str) -> String {
        let inspected = self.docker.get(&format!("/containers/{}/json", self.id));
        let address = inspected["NetworkSettings"]["Networks"][network]["IPAddress"].as_str().unwrap_or_default();
        assert!(!address.is_empty(), "{} is not on {network}: {inspected}", self.name);
        address.to_owned()
    }

    /// Runs a program in it, whatever comes of it.
    #[track_caller]
    pub fn exec(&self, words: &[&str]) -> Finished {
        self.docker.try_run(&[&["exec", &self.name], words].concat())
    }

    /// The DNS servers of its resolv.conf.
    #[track_caller]
    pub fn servers(&self) -> Vec<String> {
        let text = self.exec(&["cat", "/etc/resolv.conf"]).expect_success().stdout;
        text.lines().filter_map(|line| line.strip_prefix("nameserver ")).map(str::to_owned).collect()
    }

    /// The reply of the DNS server at `server` to a question that the container asks.
    #[track_caller]
    pub fn ask(&self, server: &str, name: &str, rtype: u16) -> Reply {
        self.network().ask(at_port_53(server), &Query::new(name, rtype).edns(1232))
    }

    /// The same: an error where no reply comes within 5 s.
    pub fn try_ask(&self, server: &str, name: &str, rtype: u16) -> io::Result<Reply> {
        let client = Client::new(at_port_53(server)).timeout(Duration::from_secs(5));
        let query = Query::new(name, rtype).edns(1232).bytes();
        self.network().enter(|| client.udp_bytes(&query)).map(Reply::new)
    }

    /// The addresses that the container gets for `name` from `server`; `NXDOMAIN` and the like where there is an error
    /// instead, and the kind of error where there is no reply.
    pub fn resolves(&self, server: &str, name: &str) -> Vec<String> {
        self.resolves_as(server, name, callsign::wire::rtype::A)
    }

    /// The same of another type.
    pub fn resolves_as(&self, server: &str, name: &str, rtype: u16) -> Vec<String> {
        match self.try_ask(server, name, rtype) {
            Ok(reply) if reply.status() == "NOERROR" => addresses(&reply),
            Ok(reply) => vec![reply.status()],
            Err(error) => vec![error.kind().to_string()],
        }
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

/// The control group of a daemon's containers, which outlives the machine that it was made in. The kernel has one tree of
/// them for all machines.
struct Group {
    name: String,
}

impl Group {
    const PREFIX: &str = "callsign-docker-";

    fn new() -> Group {
        static GROUPS: AtomicU32 = AtomicU32::new(0);
        remove_abandoned_groups();
        let number = GROUPS.fetch_add(1, Ordering::Relaxed);
        Group { name: format!("{}{}-{number}", Group::PREFIX, std::process::id()) }
    }

    /// As the daemon is told of it.
    fn path(&self) -> String {
        format!("/{}", self.name)
    }

    fn directory(&self) -> Option<PathBuf> {
        group_tree().map(|tree| tree.join(&self.name))
    }

    /// Removes it with all below it, once its processes, which have been killed, are gone.
    fn remove(&self) {
        let Some(directory) = self.directory() else { return };
        let deadline = Instant::now() + DEADLINE;
        while directory.exists() && Instant::now() < deadline {
            remove_group(&directory);
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Where the test sees the tree of control groups.
fn group_tree() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    mounts.find_map(|words| (words.get(2) == Some(&"cgroup2")).then(|| PathBuf::from(words[1])))
}

/// Removes what is empty of a control group, the lowest first.
fn remove_group(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    // Busy as long as a process is in it.
    let _ = fs::remove_dir(directory);
}

/// Removes the groups of test programs that were killed.
fn remove_abandoned_groups() {
    let Some(tree) = group_tree() else { return };
    for entry in fs::read_dir(tree).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let pid = name.strip_prefix(Group::PREFIX).and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove_group(&entry.path());
        }
    }
}
