//! Docker, as its socket, its daemon's process and its daemon.json tell of it.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use callsign::source::docker::{EngineAddress, find_engine};
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
    /// Where it answers, for people.
    pub(super) address: String,
    /// `None` where it is asked over TCP.
    pub(super) socket: Option<PathBuf>,
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
        let absent = |message: String, kind| Absent { message, kind };
        let address = find_engine(configured, |name| std::env::var_os(name))
            .map_err(|error| absent(error.to_string(), ErrorKind::InvalidInput))?;
        let place = match &address {
            EngineAddress::Unix(path) => path.display().to_string(),
            EngineAddress::Tcp { host, port } => format!("tcp://{host}:{port}"),
            _ => "its address".to_owned(),
        };
        let failed = |error: io::Error| absent(format!("{place}: {error}"), error.kind());
        // Socket proxies allow this one always.
        let (head, _) = ask(&address, "/_ping").map_err(failed)?;
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
        };
        let api = header("Api-Version").unwrap_or_else(|| OLDEST.to_owned());
        // `Docker/20.10.24 (linux)`
        let server = header("Server").unwrap_or_default();
        let version = server.split(' ').next().unwrap_or_default().trim_start_matches("Docker/").to_owned();
        let get = |path: &str| get(&address, &format!("/v{api}{path}")).map_err(failed);
        let networks = list(&get("/networks")?).iter().filter_map(Bridge::read).collect();
        let mut containers = Vec::new();
        for container in list(&get("/containers/json")?).iter().take(MAX_CONTAINERS) {
            let id = container["Id"].as_str().unwrap_or_default();
            // One that is gone by now, or that is just being stopped.
            if let Ok(inspected) = get(&format!("/containers/{id}/json")) {
                containers.extend(Container::read(&inspected));
            }
        }
        let socket = match &address {
            EngineAddress::Unix(path) => Some(path.clone()),
            _ => None,
        };
        Ok(Engine { version, networks, containers, daemon: Daemon::read(), address: place.clone(), socket })
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

/// The JSON at a path.
fn get(address: &EngineAddress, path: &str) -> io::Result<Value> {
    let (_, body) = ask(address, path)?;
    serde_json::from_str(&body).map_err(|_| io::Error::new(ErrorKind::InvalidData, "no answer of a Docker engine"))
}

/// `GET path`: the head and the body of the answer.
fn ask(address: &EngineAddress, path: &str) -> io::Result<(String, String)> {
    match address {
        EngineAddress::Unix(socket) => {
            let stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            exchange(stream, path)
        }
        EngineAddress::Tcp { host, port } => {
            let ip = if host == "localhost" { Ok(Ipv4Addr::LOCALHOST.into()) } else { host.parse::<IpAddr>() };
            let ip = ip.map_err(|_| io::Error::other("only addresses are looked at, and no names"))?;
            let stream = TcpStream::connect_timeout(&SocketAddr::new(ip, *port), PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            exchange(stream, path)
        }
        _ => Err(io::Error::other("this kind of address is not known to doctor")),
    }
}

fn exchange(mut stream: impl Read + Write, path: &str) -> io::Result<(String, String)> {
    // HTTP/1.0: the answer ends with the connection, in one piece.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let broken = || io::Error::new(ErrorKind::InvalidData, "no answer of a Docker engine");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        let message =
            serde_json::from_str(body).unwrap_or(Value::Null)["message"].as_str().unwrap_or_default().to_owned();
        return Err(io::Error::other(format!("GET {path}: {status} {message}")));
    }
    Ok((head.to_owned(), body.to_owned()))
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
