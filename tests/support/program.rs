//! The program `callsign` itself, started from a configuration in a directory of its own, and seen from outside: readiness
//! and reloads through sd_notify, its log, its exit.
//!
//! What is expected of it is systemd's protocol (`man sd_notify`): `READY=1` once every listener of the configuration is
//! bound or reported; on each reload, by SIGHUP or because the file changed, `RELOADING=1`, and `READY=1` when the new
//! configuration is in force or was refused; `STOPPING=1` at the start of a stop.

use std::fs;
use std::net::Shutdown;
use std::ops::{Deref, DerefMut};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::cgroup::Cgroup;
use super::needs;
use super::netns::{Namespace, command_in};
use super::process::{Mark, Process, Source};

/// The path of the program, which cargo has built for this test.
pub const CALLSIGN: &str = env!("CARGO_BIN_EXE_callsign");

/// A running `callsign serve --config FILE`; killed on drop. It derefs to its [`Process`].
#[derive(Debug)]
pub struct Program {
    process: Process,
    notify: UnixDatagram,
    directory: TempDir,
}

/// How to start the program; see [`Program::with`].
#[derive(Debug)]
pub struct Launch<'a> {
    config: &'a str,
    place: Option<&'a Namespace>,
    cgroup: Option<&'a Cgroup>,
    arguments: Vec<&'a str>,
    environment: Vec<(&'a str, String)>,
}

impl<'a> Launch<'a> {
    /// Inside a namespace.
    pub fn inside(mut self, namespace: &'a Namespace) -> Launch<'a> {
        self.place = Some(namespace);
        self
    }

    /// In a control group, from its first instruction on.
    pub fn within(mut self, cgroup: &'a Cgroup) -> Launch<'a> {
        self.cgroup = Some(cgroup);
        self
    }

    /// With further arguments behind `serve --config FILE`.
    pub fn arguments(mut self, arguments: &[&'a str]) -> Launch<'a> {
        self.arguments.extend(arguments);
        self
    }

    /// With a variable in its environment.
    pub fn environment(mut self, name: &'a str, value: impl Into<String>) -> Launch<'a> {
        self.environment.push((name, value.into()));
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// With its log, if it ends or does not become ready.
    #[track_caller]
    pub fn start(self) -> Program {
        let program = self.spawn();
        program.wait_for(Source::Notify, "READY=1");
        program
    }

    /// Starts it without waiting.
    pub fn spawn(self) -> Program {
        let directory = TempDir::with_prefix("callsign-").unwrap();
        let socket = directory.path().join("notify");
        let notify = UnixDatagram::bind(&socket).unwrap();
        fs::write(config_path(&directory), self.config).unwrap();
        let mut command = command_in(self.place, CALLSIGN);
        command.args(["serve", "--config"]).arg(config_path(&directory)).args(self.arguments);
        if let Some(cgroup) = self.cgroup {
            command = cgroup.command(&command);
        }
        // Its control socket and what it keeps are its own.
        command.env("CALLSIGN_RUNTIME_DIR", directory.path()).env("STATE_DIRECTORY", directory.path().join("state"));
        command.env("NOTIFY_SOCKET", &socket).envs(self.environment);
        let process = Process::spawn(command);
        follow_notifications(notify.try_clone().unwrap(), &process);
        Program { process, notify, directory }
    }
}

impl Program {
    /// The program with this configuration: `Program::with(&config).inside(lab.host()).start()`.
    pub fn with(config: &str) -> Launch<'_> {
        Launch { config, place: None, cgroup: None, arguments: Vec::new(), environment: Vec::new() }
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        config_path(&self.directory)
    }

    /// The directory of the configuration file, for files beside it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its control socket.
    pub fn control(&self) -> PathBuf {
        self.directory().join("control.sock")
    }

    /// Writes a new configuration, whole at one moment as a careful editor does, and tells nobody.
    pub fn write_config(&self, config: &str) {
        let new = self.directory.path().join("callsign.toml.new");
        fs::write(&new, config).unwrap();
        fs::rename(new, self.config_path()).unwrap();
    }

    /// Writes a new configuration and waits until the program, which notices by itself, has read it.
    #[track_caller]
    pub fn reload_by_change(&self, config: &str) {
        let mark = self.mark();
        self.write_config(config);
        self.wait_reloaded(mark);
    }

    /// Sends SIGHUP and waits until the program has read its configuration again.
    #[track_caller]
    pub fn reload_by_signal(&self) {
        let mark = self.mark();
        self.signal(Signal::SIGHUP);
        self.wait_reloaded(mark);
    }

    #[track_caller]
    fn wait_reloaded(&self, mark: Mark) {
        self.wait_after(mark, Source::Notify, "RELOADING=1");
        self.wait_after(mark, Source::Notify, "READY=1");
    }
}

impl Deref for Program {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Program {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Ends the thread that reads it.
        let _ = self.notify.shutdown(Shutdown::Both);
    }
}

/// A command of the program for its other subcommands: `callsign(&["check", path])`.
pub fn callsign(arguments: &[&str]) -> Command {
    let mut command = needs::command(CALLSIGN);
    command.args(arguments);
    command
}

fn config_path(directory: &TempDir) -> PathBuf {
    directory.path().join("callsign.toml")
}

fn follow_notifications(socket: UnixDatagram, process: &Process) {
    let log = process.log().clone();
    thread::spawn(move || {
        let mut message = [0; 4096];
        while let Ok(len @ 1..) = socket.recv(&mut message) {
            for line in String::from_utf8_lossy(&message[..len]).lines() {
                log.push(Source::Notify, line.to_owned());
            }
        }
    });
}
