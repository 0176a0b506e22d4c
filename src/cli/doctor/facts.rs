//! What several checks look at: the configuration, the processes of callsign, the engine, and where callsign ought to listen.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use callsign::forward::{Destination, ForwardOptions, Forwarder, Upstreams};
use callsign::source::config::{Config, ConfigError};
use callsign::table::Upstream;

use super::arguments::Doctor;
use super::engine::{Absent, Engine, addresses_of};
use crate::cli::{docker, system};

/// Ticks of /proc a second (USER_HZ), on every architecture that Rust's std supports.
const TICKS: u64 = 100;
/// DNS, unless the configuration says otherwise.
const PORT: u16 = 53;
/// Where systemd-resolved lists the servers that it asks itself.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// What this host says.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) path: PathBuf,
    /// `None` without a file.
    pub(super) config: Option<Result<Config, ConfigError>>,
    /// True if Docker's networks are to be served.
    pub(super) is_docker: bool,
    /// The servers that run in this network.
    pub(super) servers: Vec<Process>,
    engine: OnceLock<Result<Engine, Absent>>,
}

/// An address that callsign ought to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    /// Whose it is.
    pub(super) network: String,
}

impl Facts {
    pub(super) fn gather(arguments: &Doctor) -> Facts {
        let servers: Vec<Process> = processes().into_iter().filter(Process::is_server).collect();
        let path = arguments.file.path();
        let is_there = path.exists() || arguments.file.given().is_some();
        let is_running_so = servers.iter().any(|server| server.words().iter().any(|word| word == "--docker"));
        let is_asked = arguments.docker || is_running_so;
        let config = is_there.then(|| docker::load(&path, is_asked));
        let is_docker = is_asked || matches!(&config, Some(Ok(config)) if config.docker.is_some());
        Facts { path, config, is_docker, servers, engine: OnceLock::new() }
    }

    /// The configuration, if there is a valid one.
    pub(super) fn valid(&self) -> Option<&Config> {
        self.config.as_ref().and_then(|config| config.as_ref().ok())
    }

    /// The engine, which is read once.
    pub(super) fn engine(&self) -> &Result<Engine, Absent> {
        let socket = self.valid().and_then(|config| config.docker.as_ref()?.socket.clone());
        self.engine.get_or_init(|| Engine::read(socket.as_deref()))
    }

    /// The port of addresses that have none.
    pub(super) fn port(&self) -> u16 {
        self.valid().map_or(PORT, |config| config.server.port)
    }

    /// Where callsign ought to listen: the file's networks, and Docker's gateways.
    pub(super) fn listeners(&self) -> Vec<Listener> {
        let mut listeners: Vec<Listener> = Vec::new();
        let mut add = |ip: IpAddr, port: u16, network: &str| {
            let address = SocketAddr::new(ip, port);
            if !listeners.iter().any(|listener| listener.address == address) {
                listeners.push(Listener { address, network: network.to_owned() });
            }
        };
        let port = self.port();
        for network in self.valid().into_iter().flat_map(|config| &config.networks) {
            for listen in &network.snapshot().settings().listen {
                add(listen.ip(), listen.port().unwrap_or(port), network.name());
            }
        }
        for listen in self.valid().and_then(|config| config.host.as_ref()).into_iter().flat_map(|host| &host.listen) {
            add(listen.ip(), listen.port().unwrap_or(port), "[host]");
        }
        if self.is_docker {
            let listen = self.valid().and_then(|config| config.docker.as_ref()).map(|docker| docker.listen.clone());
            let listen = listen.unwrap_or_default();
            for address in &listen {
                add(address.ip(), address.port().unwrap_or(port), "Docker");
            }
            if let (true, Ok(engine)) = (listen.is_empty(), self.engine()) {
                for network in &engine.networks {
                    // One that is not on the interface is on none: an isolated network has no gateway.
                    let own = addresses_of(&network.interface);
                    network.gateways.iter().filter(|ip| own.contains(ip)).for_each(|&ip| add(ip, port, &network.name));
                }
            }
        }
        listeners
    }

    /// The upstreams, each once, with who names it.
    pub(super) fn upstreams(&self) -> Vec<(Upstream, String)> {
        let mut upstreams: Vec<(Upstream, String)> = Vec::new();
        let mut add = |upstream: &Upstream, by: &str| {
            if !upstreams.iter().any(|(known, _)| known == upstream) {
                upstreams.push((upstream.clone(), by.to_owned()));
            }
        };
        let options = self.valid().map(|config| config.server.settings.forward.clone()).unwrap_or_default();
        let by = match &options.upstreams {
            Upstreams::System(path) => path.display().to_string(),
            _ => "the configuration".to_owned(),
        };
        let routes = options.routes.clone();
        // As the forwarder reads them.
        let choice = Forwarder::new(ForwardOptions { routes: Vec::new(), ..options }).choose(&[0], &[]);
        choice.servers.iter().for_each(|upstream| add(upstream, &by));
        if let Some(config) = self.valid() {
            for network in &config.networks {
                network
                    .snapshot()
                    .settings()
                    .upstreams
                    .iter()
                    .for_each(|upstream| add(upstream, &format!("network {}", network.name())));
            }
        }
        for route in &routes {
            if let Destination::Servers(servers) = &route.to {
                servers.iter().for_each(|upstream| add(upstream, &format!("the route of {}", route.domain)));
            }
        }
        upstreams
    }

    /// The servers that systemd-resolved asks, if it runs.
    pub(super) fn resolved_servers() -> Vec<String> {
        name_servers(Path::new(RESOLVED))
    }
}

fn name_servers(path: &Path) -> Vec<String> {
    system::nameservers(&fs::read_to_string(path).unwrap_or_default())
}

/// A process of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// The first 15 octets of its name.
    pub(super) name: String,
}

/// Every process that /proc shows.
pub(super) fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(Process::read).collect()
}

impl Process {
    fn read(pid: u32) -> Option<Process> {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned();
        Some(Process { pid, name })
    }

    /// Its command line.
    pub(super) fn words(&self) -> Vec<String> {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let words = line.split(|&octet| octet == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        words.filter(|word| !word.is_empty()).collect()
    }

    /// Its program; ` (deleted)` is behind it if the file is gone or was replaced.
    pub(super) fn program(&self) -> Option<String> {
        Some(fs::read_link(format!("/proc/{}/exe", self.pid)).ok()?.display().to_string())
    }

    /// True if it is in this network namespace, as far as can be told.
    pub(super) fn is_here(&self) -> bool {
        let network = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
        let theirs = network(&self.pid.to_string());
        theirs.is_none() || theirs == network("self")
    }

    /// True for a server of ours in this network: `callsign serve`, or Podman's.
    fn is_server(&self) -> bool {
        let words = || self.words();
        let is_ours = match self.name.as_str() {
            "callsign" => words().iter().any(|word| word == "serve"),
            "aardvark-dns" => self.program().is_some_and(|program| is_callsign(&program)),
            _ => false,
        };
        is_ours && self.pid != std::process::id() && self.is_here()
    }

    /// When it was started.
    pub(super) fn started(&self) -> Option<SystemTime> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The name, in parentheses, may have spaces. The start is the 22nd field.
        let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
        // The time of the boot in /proc/stat is in whole seconds only.
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        let uptime = Duration::try_from_secs_f64(uptime.split_whitespace().next()?.parse().ok()?).ok()?;
        SystemTime::now().checked_sub(uptime.checked_sub(Duration::from_millis(ticks * 1000 / TICKS))?)
    }

    /// The user that it runs as, and its groups.
    pub(super) fn user(&self) -> Option<(u32, Vec<u32>)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let numbers = |key: &str| -> Option<Vec<u32>> {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.split_whitespace().filter_map(|word| word.parse().ok()).collect())
        };
        // Real, effective, saved, file system.
        let user = *numbers("Uid:")?.get(1)?;
        let group = *numbers("Gid:")?.get(1)?;
        Some((user, [vec![group], numbers("Groups:").unwrap_or_default()].concat()))
    }

    /// True if modes of files do not keep it from reading them: it has CAP_DAC_OVERRIDE or CAP_DAC_READ_SEARCH.
    pub(super) fn ignores_modes(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let effective = effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
        effective.is_some_and(|set| set & (1 << 1 | 1 << 2) != 0)
    }

    /// What it belongs to: `docker.service`, `container 3f2a9c…`, by its control group.
    pub(super) fn unit(&self) -> Option<String> {
        unit_of(&fs::read_to_string(format!("/proc/{}/cgroup", self.pid)).ok()?)
    }
}

/// True for the path of our program.
pub(super) fn is_callsign(program: &str) -> bool {
    let program = program.strip_suffix(" (deleted)").unwrap_or(program);
    Path::new(program).file_name().is_some_and(|name| name == "callsign")
}

/// The unit or the container of a control group, as /proc/PID/cgroup has it.
fn unit_of(text: &str) -> Option<String> {
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let parts = paths.flat_map(|path| path.rsplit('/'));
    let unit = |part: &str| -> Option<String> {
        let is_id = |text: &str| text.len() == 64 && text.bytes().all(|octet| octet.is_ascii_hexdigit());
        let scope = part.strip_suffix(".scope").unwrap_or(part);
        let id = ["docker-", "libpod-", "crio-"].iter().find_map(|front| scope.strip_prefix(front)).unwrap_or(scope);
        if is_id(id) {
            return Some(format!("container {}", &id[..12]));
        }
        let is_manager = part == "init.scope" || part.starts_with("user@");
        (part.ends_with(".service") && !is_manager).then(|| part.to_owned())
    };
    parts.filter_map(unit).next()
}

/// True for an error that says that there is nothing.
pub(super) fn is_absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_belongs_to_its_unit_or_container() {
        let id = "3f2a9c00aa11".to_owned() + &"0".repeat(52);
        for (group, unit) in [
            ("0::/system.slice/dnsmasq.service\n", Some("dnsmasq.service")),
            ("12:pids:/x\n0::/system.slice/system-dnscrypt.slice/proxy@1.service/sub\n", Some("proxy@1.service")),
            (&format!("0::/system.slice/docker-{id}.scope\n"), Some("container 3f2a9c00aa11")),
            (&format!("0::/docker/{id}\n"), Some("container 3f2a9c00aa11")),
            (&format!("0::/machine.slice/libpod-{id}.scope/container\n"), Some("container 3f2a9c00aa11")),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/firefox.scope\n", None),
            ("0::/init.scope\n", None),
            ("", None),
        ] {
            assert_eq!(unit_of(group).as_deref(), unit, "{group}");
        }
    }

    #[test]
    fn this_process_is_seen_as_it_is() {
        let own = Process::read(std::process::id()).unwrap();
        let now = SystemTime::now();
        let started = own.started().unwrap();
        assert!(
            started <= now + Duration::from_secs(1) && now < started + Duration::from_secs(3600),
            "{started:?} {now:?}"
        );
        assert_eq!(own.user().unwrap().0, nix::unistd::Uid::effective().as_raw());
        assert!(own.is_here() && own.program().is_some());
        assert!(is_callsign("/usr/bin/callsign (deleted)") && !is_callsign("/usr/lib/podman/aardvark-dns"));
    }
}
