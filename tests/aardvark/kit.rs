//! A directory as netavark keeps it, and the program under its other name.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use callsign::wire::rtype;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::client::{Client, Query, Reply};
use crate::support::process::{Finished, run};
use crate::support::program::CALLSIGN;
use crate::support::{DEADLINE, free_port};

/// Gateways of the tests' networks: any address of 127.0.0.0/8 is there without a privilege.
pub(crate) const SHOP: &str = "127.0.0.1";
pub(crate) const BLOG: &str = "127.0.0.2";

/// A podman.toml whose upstream refuses at once: no test asks the machine's.
pub(crate) const NOWHERE: &str = "[server]\nupstreams = [\"127.0.0.66:1\"]\n";

/// A line for a container, as netavark writes it.
pub(crate) fn container(id: &str, address: &str, names: &str) -> String {
    format!("{id} {address}  {names}\n")
}

/// The file of a network with one container called `web`.
pub(crate) fn network(gateway: &str, web: &str) -> String {
    format!("{gateway}\n{}", container("aaa111", web, "web"))
}

/// netavark's directory, and a port that is free.
#[derive(Debug)]
pub(crate) struct Home {
    place: TempDir,
    pub(crate) port: u16,
    environment: Vec<(&'static str, String)>,
    prefix: Vec<String>,
}

impl Home {
    pub(crate) fn new() -> Home {
        Home::of(Path::new(CALLSIGN))
    }

    /// With another program in its place.
    pub(crate) fn of(program: &Path) -> Home {
        static REAPER: OnceLock<()> = OnceLock::new();
        // The program forks: its child is ours when its parent has ended, and so its exit is to be seen.
        REAPER.get_or_init(|| set_child_subreaper(true).expect("a subreaper"));
        let place = TempDir::with_prefix("callsign-").unwrap();
        fs::create_dir(place.path().join("networks")).unwrap();
        symlink(program, place.path().join("aardvark-dns")).unwrap();
        let port = free_port(&[SHOP, BLOG].map(|ip| ip.parse::<IpAddr>().unwrap()));
        Home { place, port, environment: Vec::new(), prefix: Vec::new() }
    }

    /// With a variable in the program's environment.
    pub(crate) fn environment(mut self, name: &'static str, value: &str) -> Home {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// The program is started by these words.
    pub(crate) fn prefix(mut self, words: &[&str]) -> Home {
        self.prefix.extend(words.iter().map(|&word| word.to_owned()));
        self
    }

    /// A place for the test's own files.
    pub(crate) fn path(&self) -> &Path {
        self.place.path()
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.path().join("aardvark-dns")
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.path().join("networks")
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.directory().join("aardvark.pid")
    }

    /// Writes a network's file.
    pub(crate) fn write(&self, network: &str, text: &str) {
        fs::write(self.directory().join(network), text).unwrap();
    }

    /// Adds to a network's file, with one write as netavark does.
    pub(crate) fn append(&self, network: &str, text: &str) {
        let file = OpenOptions::new().append(true).open(self.directory().join(network));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn remove(&self, network: &str) {
        fs::remove_file(self.directory().join(network)).unwrap();
    }

    /// Writes podman.toml.
    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.config(), text).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path().join("podman.toml")
    }

    /// The program with these arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut words = self.prefix.iter();
        let mut command = match words.next() {
            Some(program) => {
                let mut command = Command::new(program);
                command.args(words).arg(self.program());
                command
            }
            None => Command::new(self.program()),
        };
        for name in ["RUST_LOG", "AARDVARK_NO_PROXY", "CALLSIGN_PODMAN_STRICT"] {
            command.env_remove(name);
        }
        command.env("CALLSIGN_PODMAN_CONFIG", self.config());
        // Its control socket is its own.
        command.env("CALLSIGN_RUNTIME_DIR", self.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).args(arguments);
        command
    }

    /// What netavark starts.
    pub(crate) fn run_command(&self) -> Command {
        let (directory, port) = (self.directory(), self.port.to_string());
        self.command(&["--config", directory.to_str().unwrap(), "-p", &port, "run"])
    }

    /// Starts it as netavark does: until its parent has ended and all have closed its standard error.
    #[track_caller]
    pub(crate) fn run(&self) -> Finished {
        run(self.run_command())
    }

    /// Starts it, and it has to serve then.
    #[track_caller]
    pub(crate) fn start(&self) -> Daemon {
        let finished = self.run().expect_success();
        assert_eq!((&*finished.stdout, &*finished.stderr), ("", ""));
        self.daemon()
    }

    /// The one that the pid file names.
    #[track_caller]
    pub(crate) fn daemon(&self) -> Daemon {
        let text = fs::read_to_string(self.pid_file()).unwrap();
        Daemon { pid: Pid::from_raw(text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))) }
    }

    /// A client at a gateway.
    pub(crate) fn client(&self, gateway: &str) -> Client {
        Client::new(SocketAddr::new(gateway.parse().unwrap(), self.port))
    }

    /// What a gateway says to an A query.
    #[track_caller]
    pub(crate) fn ask(&self, gateway: &str, name: &str) -> Reply {
        self.client(gateway).udp(&Query::new(name, rtype::A))
    }

    /// The same while servers come and go: nothing, where a query is lost with the one that it came to.
    pub(crate) fn addresses_if_any(&self, gateway: &str, name: &str) -> Vec<String> {
        let query = Query::new(name, rtype::A).bytes();
        match self.client(gateway).timeout(Duration::from_millis(100)).udp_bytes(&query) {
            Ok(reply) => Reply::new(reply).addresses().iter().map(ToString::to_string).collect(),
            Err(_) => Vec::new(),
        }
    }

    /// The addresses of a name at a gateway.
    #[track_caller]
    pub(crate) fn addresses(&self, gateway: &str, name: &str) -> Vec<String> {
        self.ask(gateway, name).addresses().iter().map(ToString::to_string).collect()
    }
}

/// A server in the background; killed on drop.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) pid: Pid,
}

impl Daemon {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid, signal).unwrap_or_else(|error| panic!("{signal} to {}: {error}", self.pid));
    }

    /// As netavark does after each change.
    pub(crate) fn hang_up(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// A file of its directory in /proc.
    pub(crate) fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.pid.to_string()).join(file)
    }

    /// Where its descriptors lead.
    pub(crate) fn descriptors(&self) -> Vec<(String, PathBuf)> {
        let open = fs::read_dir(self.proc("fd")).unwrap().flatten();
        open.map(|entry| (entry.file_name().into_string().unwrap(), fs::read_link(entry.path()).unwrap())).collect()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(self) -> WaitStatus {
        let (tell, told) = channel();
        let pid = self.pid;
        thread::spawn(move || tell.send(waitpid(pid, None)));
        let status = told.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("{pid} still runs"));
        status.unwrap_or_else(|error| panic!("waiting for {pid}: {error}"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail for one that was waited for.
        if kill(self.pid, Signal::SIGKILL).is_ok() {
            let _ = waitpid(self.pid, None);
        }
    }
}

/// Waits for something that only looking tells.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "still not: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
