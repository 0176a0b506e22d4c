//! A machine that real systemd has booted, with the network of a [`Namespace`]: Debian's bookworm (systemd 252), trixie (257) or
//! forky (258 or later), as `tests/roots` makes them. It is callsign's own program that is installed there. Its processes and
//! mounts end with it. Needs root and systemd-nspawn; see [`needs_booted!`](crate::needs_booted).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::needs;
use super::netns::Namespace;
use super::process::{Finished, Process};
use super::program::CALLSIGN;

/// How long a boot, or a program in the machine, may take on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(90);

/// Returns from the test, loudly, where the machine of this suite cannot be booted.
#[macro_export]
macro_rules! needs_booted {
    ($suite:expr) => {
        needs_root!("systemd-nspawn", "nsenter", "setpriv", "unshare", "ip", "dnsmasq");
        if !$crate::support::booted::is_there($suite) {
            return;
        }
    };
}

/// True if there is a root of this suite. In CI as root there has to be one.
pub fn is_there(suite: &str) -> bool {
    let root = root(suite);
    let is_there = root.is_dir();
    assert!(is_there || !needs::is_root_in_ci(), "{} is missing: tests/roots makes it", root.display());
    if !is_there {
        needs::skip("tests/roots, as root", &format!("systemd of {suite}"));
    }
    is_there
}

fn root(suite: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache");
    cache.unwrap_or_else(home).join("callsign/roots").join(suite)
}

/// A machine; killed on drop.
pub struct Booted {
    suite: String,
    base: TempDir,
    /// While it runs.
    process: Option<Process>,
    /// Its first process.
    leader: u32,
    group: PathBuf,
}

impl Booted {
    /// A machine that is not running yet.
    pub fn new(suite: &str) -> Booted {
        static MACHINES: AtomicU32 = AtomicU32::new(0);
        let number = MACHINES.fetch_add(1, Ordering::Relaxed);
        let group = group_tree().join(format!("callsign-booted-{}-{number}", std::process::id()));
        let base = TempDir::with_prefix("callsign-").unwrap();
        Booted { suite: suite.to_owned(), base, process: None, leader: 0, group }
    }

    /// Boots it on a network, and waits until it is up.
    #[track_caller]
    pub fn boot(&mut self, network: &Namespace) {
        let mut command = needs::command("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["bash", "-c", include_str!("booted.sh"), "booted"]).arg(root(&self.suite)).arg(self.base.path());
        command.arg(Path::new("/run/netns").join(network.name())).arg(&self.group).arg(CALLSIGN);
        let process = Process::spawn(command);
        let mother = process.pid();
        self.process = Some(process);
        // unshare, systemd-nspawn, systemd.
        let leader = self.wait("its first process", || child(child(mother)?).filter(|&pid| is_systemd(pid)));
        self.leader = leader;
        let running = || {
            let state = self.try_run(&["systemctl", "is-system-running"]).stdout;
            ["running", "degraded"].contains(&state.trim()).then_some(())
        };
        self.wait("a system that runs", running);
    }

    /// Ends all its processes at once, as when the power fails. What it has written stays.
    pub fn power_off(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::SIGKILL);
            process.wait_exit(PATIENCE);
        }
        let deadline = Instant::now() + PATIENCE;
        while self.group.exists() && Instant::now() < deadline {
            remove_group(&self.group);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs a program in it, however it ends.
    pub fn try_run(&self, words: &[&str]) -> Finished {
        let mut command = needs::command("nsenter");
        command.args(["--target", &self.leader.to_string(), "--all", "--root", "--wd", "--"]).args(words);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
        Process::spawn(command).finish(PATIENCE)
    }

    /// Runs a program in it, which has to succeed, and gives its output.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> String {
        self.try_run(words).expect_success().stdout
    }

    /// Writes a file before the first boot, or between two.
    pub fn prepare(&self, path: &str, text: &str) {
        let file = self.base.path().join("upper").join(path.trim_start_matches('/'));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    /// Writes a file, with its directories.
    pub fn write(&self, path: &str, text: &str) {
        let file = self.file(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    /// Where the test finds a file of the machine, while it runs.
    pub fn file(&self, path: &str) -> PathBuf {
        Path::new("/proc").join(self.leader.to_string()).join("root").join(path.trim_start_matches('/'))
    }

    /// Every file below /etc that was written or removed since it is there, and every directory that was made.
    pub fn files(&self) -> Vec<String> {
        fn visit(directory: &Path, base: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() && !path.is_symlink() {
                    visit(&path, base, found);
                }
                found.push(format!("/{}", path.strip_prefix(base).unwrap().display()));
            }
        }
        let (upper, mut found) = (self.base.path().join("upper"), Vec::new());
        visit(&upper, &upper, &mut found);
        let is_old = |path: &str| root(&self.suite).join(&path[1..]).is_dir();
        found.retain(|path| path.starts_with("/etc/") && !is_old(path));
        found.sort();
        found
    }

    #[track_caller]
    fn wait<T>(&self, what: &str, found: impl Fn() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = found() {
                return found;
            }
            assert!(Instant::now() < deadline, "{}: no {what}: {:?}", self.suite, self.process);
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process.take() {
            process.signal(Signal::SIGKILL);
        }
        // No panic in a drop: it may run in one.
        let deadline = Instant::now() + PATIENCE;
        while self.group.exists() && Instant::now() < deadline {
            remove_group(&self.group);
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The first child of a process.
fn child(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn is_systemd(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "systemd")
}

/// Where the test sees the unified tree of control groups.
fn group_tree() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    mounts
        .find_map(|words| (words.get(2) == Some(&"cgroup2")).then(|| PathBuf::from(words[1])))
        .expect("control groups")
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
