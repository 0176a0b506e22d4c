//! Docker, as its socket, its daemon's process and its daemon.json tell of it.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use callsign::source::docker::find_socket;
use ipnet::IpNet;
use serde_json::Value;

use super::facts::{Process, processes};

/// How long each answer may take. Inspecting a container that is being started waits for it.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many containers are inspected: each takes a millisecond or two, and all have to be done in 5 s.
const MAX_CONTAINERS: usize = 500;
/// The API of engines that do not say which they speak.
const OLDEST: &str = "1.24";

/// A Docker engine.
#[derive(Debug, Clone, Default)]
pub(super) struct Engine {
    pub(super) socket: PathBuf,
    pub(super) version: String,
    pub(super) networks: Vec<Bridge>,
    pub(super) containers: Vec<Container>,
    pub(super) daemon: Daemon,
}

/// A network of the driver `bridge`.
#[derive(Debug, Clone, Default)]
pub(super) struct Bridge {
    pub(super) name: String,
    /// The host's interface.
    pub(super) interface: String,
    pub(super) gateways: Vec<IpAddr>,
    /// The one that daemon.json names.
    pub(super) is_default: bool,
}

/// A container that runs, and has a network of its own.
#[derive(Debug, Clone, Default)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) started: Option<SystemTime>,
    /// `--dns`, `dns:`.
    pub(super) dns: Vec<String>,
    /// The text of its resolv.conf, if this user may read it.
    pub(super) resolv_conf: Option<String>,
}

/// dockerd, and what it was told.
#[derive(Debug, Clone, Default)]
pub(super) struct Daemon {
    /// When it was started, if its process can be seen.
    pub(super) started: Option<SystemTime>,
    /// `--dns` of its command line.
    pub(super) options: Vec<String>,
    pub(super) file: PathBuf,
    /// `dns` of daemon.json.
    ///
    /// # Errors
    /// It is no JSON, or cannot be read.
    pub(super) dns: Option<Result<Vec<String>, String>>,
    /// When daemon.json was last changed.
    pub(super) changed: Option<SystemTime>,
}

impl Daemon {
    /// The servers that containers are given, by what is written now.
    pub(super) fn servers(&self) -> Vec<String> {
        let file = self.dns.iter().filter_map(|dns| dns.as_ref().ok()).flatten();
        self.options.iter().chain(file).cloned().collect()
    }
}

/// Why there is no engine to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Absent {
    pub(super) message: String,
    pub(super) kind: ErrorKind,
}

impl Engine {
    /// Reads the engine.
    pub(super) fn read(configured: Option<&str>) -> Result<Engine, Absent> {
        let socket = find_socket(configured, |name| std::env::var_os(name));
        let socket = socket.map_err(|error| Absent { message: error.to_string(), kind: ErrorKind::InvalidInput })?;
        let get = |path: &str| {
            get(&socket, path)
                .map_err(|error| Absent { message: format!("{}: {error}", socket.display()), kind: error.kind() })
        };
        let answer = get("/version")?;
        let version = answer["Version"].as_str().unwrap_or_default().to_owned();
        let api = answer["ApiVersion"].as_str().unwrap_or(OLDEST).to_owned();
        let get = |path: &str| get(&format!("/v{api}{path}"));
        let networks = list(&get("/networks")?).iter().filter_map(Bridge::read).collect();
        let mut containers = Vec::new();
        for container in list(&get("/containers/json")?).iter().take(MAX_CONTAINERS) {
            let id = container["Id"].as_str().unwrap_or_default();
            // One that is gone by now, or that is just being stopped.
            if let Ok(inspected) = get(&format!("/containers/{id}/json")) {
                containers.extend(Container::read(&inspected));
            }
        }
        Ok(Engine { version, networks, containers, daemon: Daemon::read(), socket })
    }

    /// The default bridge's gateway, which daemon.json has to name.
    pub(super) fn gateway(&self) -> Option<IpAddr> {
        let default = self.networks.iter().find(|network| network.is_default)?;
        default.gateways.iter().copied().find(IpAddr::is_ipv4)
    }
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// `GET path`.
fn get(socket: &Path, path: &str) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // HTTP/1.0: the answer ends with the connection, in one piece.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let broken = || io::Error::new(ErrorKind::InvalidData, "no answer of a Docker engine");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    let body: Value = serde_json::from_str(body).map_err(|_| broken())?;
    if status != "200" {
        let message = body["message"].as_str().unwrap_or_default();
        return Err(io::Error::other(format!("GET {path}: {status} {message}")));
    }
    Ok(body)
}

impl Bridge {
    fn read(network: &Value) -> Option<Bridge> {
        if network["Driver"] != "bridge" {
            return None;
        }
        let id = network["Id"].as_str()?;
        let option = |name: &str| network["Options"][name].as_str().map(str::to_owned);
        let interface =
            option("com.docker.network.bridge.name").unwrap_or_else(|| format!("br-{}", id.get(..12).unwrap_or(id)));
        let pools = list(&network["IPAM"]["Config"]);
        let subnets: Vec<IpNet> = pools.iter().filter_map(|pool| pool["Subnet"].as_str()?.parse().ok()).collect();
        let mut gateways: Vec<IpAddr> =
            pools.iter().filter_map(|pool| pool["Gateway"].as_str()?.split('/').next()?.parse().ok()).collect();
        // The list leaves them out; the interface has them.
        for ip in addresses_of(&interface) {
            if subnets.iter().any(|subnet| subnet.contains(&ip)) && !gateways.contains(&ip) {
                gateways.push(ip);
            }
        }
        Some(Bridge {
            name: network["Name"].as_str()?.to_owned(),
            interface,
            gateways,
            is_default: option("com.docker.network.bridge.default_bridge").as_deref() == Some("true"),
        })
    }
}

/// The addresses of an interface of this host.
pub(super) fn addresses_of(interface: &str) -> Vec<IpAddr> {
    let own = nix::ifaddrs::getifaddrs().into_iter().flatten().filter(|address| address.interface_name == interface);
    let ips = own.filter_map(|own| {
        let address = own.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    ips.collect()
}

impl Container {
    /// `None` for one that has the network of the host, of another container, or none.
    fn read(inspected: &Value) -> Option<Container> {
        let mode = inspected["HostConfig"]["NetworkMode"].as_str().unwrap_or_default();
        if mode == "host" || mode == "none" || mode.starts_with("container:") {
            return None;
        }
        let path = inspected["ResolvConfPath"].as_str().filter(|path| !path.is_empty());
        Some(Container {
            name: inspected["Name"].as_str()?.trim_start_matches('/').to_owned(),
            started: inspected["State"]["StartedAt"].as_str().and_then(moment),
            dns: list(&inspected["HostConfig"]["Dns"]).iter().filter_map(|ip| ip.as_str().map(str::to_owned)).collect(),
            resolv_conf: path.and_then(|path| fs::read_to_string(path).ok()),
        })
    }
}

impl Daemon {
    fn read() -> Daemon {
        // Rootless daemons have files of their own; this is about the host's.
        let process = processes().into_iter().find(|process| process.name == "dockerd" && process.is_here());
        let words = process.as_ref().map(Process::words).unwrap_or_default();
        let option = |name: &str| {
            let values = words.iter().enumerate().filter_map(|(at, word)| match word.strip_prefix(name)? {
                "" => words.get(at + 1).cloned(),
                rest => rest.strip_prefix('=').map(str::to_owned),
            });
            values.collect::<Vec<_>>()
        };
        let file =
            option("--config-file").pop().map_or_else(|| PathBuf::from("/etc/docker/daemon.json"), PathBuf::from);
        let dns = match fs::read(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => Some(Err(error.to_string())),
            Ok(octets) => Some(match serde_json::from_slice::<Value>(&octets) {
                Ok(value) => Ok(list(&value["dns"]).iter().filter_map(|ip| ip.as_str().map(str::to_owned)).collect()),
                Err(error) => Err(error.to_string()),
            }),
        };
        Daemon {
            started: process.and_then(|process| process.started()),
            options: option("--dns"),
            changed: fs::metadata(&file).ok().and_then(|metadata| metadata.modified().ok()),
            dns,
            file,
        }
    }
}

/// The moment of `2026-11-24T23:40:57.123456789Z`.
fn moment(text: &str) -> Option<SystemTime> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if year < 1970 || !(1..=12).contains(&month) {
        return None;
    }
    // Years begin in March: the leap day is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400 + hour * 3600 + minute * 60 + second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_docker_writes_them() {
        let seconds =
            |text| moment(text).map(|moment| moment.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
        // `date -u -d TEXT +%s`
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2000-02-29T00:00:00Z"), Some(951_782_400));
        assert_eq!(seconds("2026-11-24T23:40:57.123456789Z"), Some(1_795_563_657));
        assert_eq!(seconds("0001-01-01T00:00:00Z"), None, "a container that never started");
    }
}
