//! Who is asked: each server's program, and how it is configured so that all do the same work.
//!
//! Each has the local names, forwards the rest to the upstream where it can, serves with one thread, logs no query and
//! validates nothing.

mod aardvark;
mod bind;
mod callsign;
mod dnsmasq;
mod knot;
mod nsd;
mod unbound;
mod zone;

use std::env;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use crate::setup::Setup;
use crate::support::needs;
use crate::support::process::run;

/// A server that is compared: one program, however it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// A UDP echo: the floor, always measured
    Echo,
    /// The program
    Callsign,
    /// callsign as a library, in a process of this benchmark's
    Library,
    /// Knot DNS
    Knot,
    /// NSD
    Nsd,
    /// Unbound
    Unbound,
    /// BIND
    Bind,
    /// dnsmasq
    Dnsmasq,
    /// aardvark-dns, Podman's
    Aardvark,
}

/// What a server is to do, and where it may write.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) setup: &'a Setup,
    /// The server's own, and empty.
    pub(crate) directory: &'a Path,
    /// Of all its addresses.
    pub(crate) port: u16,
    /// Where to forward, if it is to.
    pub(crate) upstream: Option<SocketAddr>,
    /// The same server at port 53 of another address, if there is one.
    pub(crate) upstream_53: Option<IpAddr>,
}

impl Job<'_> {
    /// Writes a file and gives its path.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.join(name);
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

impl Peer {
    pub(crate) const ALL: [Peer; 9] = [
        Peer::Echo,
        Peer::Callsign,
        Peer::Library,
        Peer::Knot,
        Peer::Nsd,
        Peer::Unbound,
        Peer::Bind,
        Peer::Dnsmasq,
        Peer::Aardvark,
    ];

    /// The program, and what it is called with to tell its version. `None` if it is not installed.
    pub(crate) fn program(self) -> Option<(PathBuf, Option<&'static str>)> {
        let (variable, name, argument) = match self {
            Peer::Echo | Peer::Library => return env::current_exe().ok().map(|program| (program, None)),
            Peer::Callsign => return Some((env!("CARGO_BIN_EXE_callsign").into(), Some("--version"))),
            _ => self.installed()?,
        };
        // First what `benches/install-peers` builds: distributions have an old aardvark-dns.
        let chosen = match env::var_os(variable) {
            Some(path) => Some(PathBuf::from(path)),
            None => cached(name).or_else(|| needs::find(name)),
        };
        Some((chosen.filter(|program| program.is_file())?, Some(argument)))
    }

    /// Of a program that is none of this project's: the variable that names its path, its own name, and the argument that
    /// has it tell its version.
    fn installed(self) -> Option<(&'static str, &'static str, &'static str)> {
        match self {
            Peer::Echo | Peer::Library | Peer::Callsign => None,
            Peer::Knot => Some(("PEER_KNOT", "knotd", "--version")),
            Peer::Nsd => Some(("PEER_NSD", "nsd", "-v")),
            Peer::Unbound => Some(("PEER_UNBOUND", "unbound", "-V")),
            Peer::Bind => Some(("PEER_BIND", "named", "-v")),
            Peer::Dnsmasq => Some(("PEER_DNSMASQ", "dnsmasq", "--version")),
            Peer::Aardvark => Some(("PEER_AARDVARK", "aardvark-dns", "--version")),
        }
    }

    /// An error if a variable names what is no program: who set it would miss that server without being told why.
    pub(crate) fn check_variables() -> Result<(), String> {
        for (variable, ..) in Peer::ALL.into_iter().filter_map(Peer::installed) {
            if let Some(path) = env::var_os(variable).map(PathBuf::from)
                && !fs::metadata(&path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
            {
                return Err(format!("{variable}: {} is no program", path.display()));
            }
        }
        Ok(())
    }

    pub(crate) fn label(self) -> &'static str {
        match self {
            Peer::Echo => "UDP echo",
            Peer::Callsign => "callsign",
            Peer::Library => "callsign (library)",
            Peer::Knot => "Knot DNS",
            Peer::Nsd => "NSD",
            Peer::Unbound => "Unbound",
            Peer::Bind => "BIND",
            Peer::Dnsmasq => "dnsmasq",
            Peer::Aardvark => "aardvark-dns",
        }
    }

    /// The label, and the version where the program tells one.
    pub(crate) fn name(self) -> String {
        let Some((program, Some(argument))) = self.program() else { return self.label().to_owned() };
        let mut command = Command::new(program);
        command.arg(argument);
        let finished = run(command);
        let said = finished.stdout + &finished.stderr;
        let is_version = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit());
        let version = said.split([' ', '\n', ',', '-']).find(is_version);
        format!("{} {}", self.label(), version.unwrap_or_default())
    }

    /// False if it has no way to do that.
    pub(crate) fn can(self, setup: &Setup) -> bool {
        match self {
            Peer::Echo => true,
            Peer::Callsign => setup.changes == 0,
            Peer::Library => setup.networks == 1 && !setup.forwards,
            // These forward nothing.
            Peer::Knot | Peer::Nsd => setup.changes == 0 && !setup.forwards,
            // It listens at addresses that an interface has.
            Peer::Bind => setup.changes == 0 && setup.networks == 1,
            Peer::Unbound | Peer::Dnsmasq | Peer::Aardvark => setup.changes == 0,
        }
    }

    /// Writes what the server reads, and gives the command its arguments.
    pub(crate) fn configure(self, job: &Job<'_>, command: &mut Command) {
        match self {
            Peer::Echo => _ = command.arg(format!("--echo={}", job.port)),
            Peer::Callsign => callsign::program(job, command),
            Peer::Library => callsign::library(job, command),
            Peer::Knot => knot::configure(job, command),
            Peer::Nsd => nsd::configure(job, command),
            Peer::Unbound => unbound::configure(job, command),
            Peer::Bind => bind::configure(job, command),
            Peer::Dnsmasq => dnsmasq::configure(job, command),
            Peer::Aardvark => aardvark::configure(job, command),
        }
    }

    /// The file in the server's directory that has its process ID, if it leaves the process that was started.
    pub(crate) fn pid_file(self) -> Option<&'static str> {
        (self == Peer::Aardvark).then_some("aardvark.pid")
    }
}

/// Knot as the upstream of others: every name of the zone exists.
pub(crate) fn configure_upstream(job: &Job<'_>, command: &mut Command) {
    knot::configure_upstream(job, command);
}

/// A program where `benches/install-peers` puts what no package has.
fn cached(name: &str) -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))?;
    Some(cache.join("callsign-peers/bin").join(name)).filter(|program| program.is_file())
}
