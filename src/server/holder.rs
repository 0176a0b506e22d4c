//! Who has a port that we cannot bind, as /proc shows it, and what to do about it.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A look at every process is good for so long: a thousand listeners fail in one go, too.
const FRESH: Duration = Duration::from_secs(1);
/// What was said of a holder need not be said again for so long: it is in the way of many listeners at a time.
const TOLD: Duration = Duration::from_secs(10);
/// The state of a TCP socket that listens, as /proc/net/tcp has it.
const TCP_LISTEN: &str = "0A";

/// The process that has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// `None` where /proc does not show whose the socket is: it is another user's, or another PID namespace's.
    process: Option<Process>,
    is_taken: bool,
    tcp: bool,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    pid: u32,
    name: String,
    /// The command line, its words separated by spaces.
    command: String,
}

/// The processes that have sockets, as they were when last looked at.
#[derive(Debug, Default)]
pub struct Holders {
    seen: Mutex<Option<(Instant, Owners)>>,
    /// When what was last said of whom, by process and port.
    told: Mutex<HashMap<(Option<u32>, u16), Instant>>,
}

/// The process of each socket, by inode.
type Owners = Arc<HashMap<u64, u32>>;

impl Holders {
    /// Who has the port of `address`. The process's own sockets count too: two listeners may be in each other's way.
    pub fn of(&self, address: SocketAddr, tcp: bool) -> Holder {
        let inodes = sockets_at(address, tcp);
        let processes = if inodes.is_empty() { Arc::default() } else { self.processes() };
        let pid = inodes.iter().find_map(|inode| processes.get(inode)).copied();
        Holder { process: pid.and_then(Process::read), is_taken: !inodes.is_empty(), tcp, port: address.port() }
    }

    /// True if nothing was said of this one just now: then it is to be.
    pub(super) fn is_news(&self, holder: &Holder) -> bool {
        let key = (holder.process.as_ref().map(|process| process.pid), holder.port);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| at.elapsed() < TOLD);
        told.insert(key, Instant::now()).is_none()
    }

    fn processes(&self) -> Owners {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &*seen {
            Some((at, processes)) if at.elapsed() < FRESH => processes.clone(),
            _ => {
                let processes = Arc::new(socket_owners());
                *seen = Some((Instant::now(), processes.clone()));
                processes
            }
        }
    }
}

/// Reads /proc/PID/fd of every process that lets us.
fn socket_owners() -> HashMap<u64, u32> {
    let mut owners = HashMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        for descriptor in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(descriptor.path()) else { continue };
            let inode = target.to_str().and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']'));
            if let Some(inode) = inode.and_then(|inode| inode.parse().ok()) {
                owners.insert(inode, pid);
            }
        }
    }
    owners
}

/// The inodes of the sockets in the way of `address` in this network namespace.
fn sockets_at(address: SocketAddr, tcp: bool) -> Vec<u64> {
    let tables: [&str; 2] = if tcp { ["tcp", "tcp6"] } else { ["udp", "udp6"] };
    let mut inodes = Vec::new();
    for table in tables {
        let text = fs::read_to_string(Path::new("/proc/self/net").join(table)).unwrap_or_default();
        inodes.extend(text.lines().skip(1).filter_map(|line| in_the_way(line, address, tcp)));
    }
    inodes
}

/// The inode of the socket of a line of /proc/net/{udp,tcp}{,6}, if it keeps `address` from being bound.
fn in_the_way(line: &str, address: SocketAddr, tcp: bool) -> Option<u64> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else { return None };
    let (ip, port) = local.split_once(':')?;
    let ip = ip_of(ip)?;
    // A socket of IPv6 at no address in particular takes IPv4 too, unless it was told not to.
    let is_there = ip.is_unspecified() && (ip.is_ipv6() || address.is_ipv4())
        || ip.to_canonical() == address.ip().to_canonical()
        || address.ip().is_unspecified();
    let is_it = u16::from_str_radix(port, 16).ok()? == address.port() && is_there && (!tcp || state == TCP_LISTEN);
    // 0 is the remains of a connection, which nobody holds.
    inode.parse().ok().filter(|&inode| is_it && inode != 0)
}

/// An address as the kernel prints it: words of 32 bits, each as a number of this machine.
fn ip_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let octets: [u8; 16] = [word(0)?, word(8)?, word(16)?, word(24)?].concat().try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

impl Holder {
    /// Its process and the name of that, where /proc shows them.
    pub fn process(&self) -> Option<(u32, &str)> {
        self.process.as_ref().map(|process| (process.pid, process.name.as_str()))
    }

    /// What to do about it.
    pub fn cure(&self) -> String {
        let Holder { process, tcp, port, .. } = self;
        let known = process.as_ref().and_then(|process| process.advice(*port));
        let command = if *tcp { "ss -ltnp" } else { "ss -lunp" };
        known.unwrap_or_else(|| format!("stop it, or listen on another address or port (`{command}` lists all)"))
    }

    /// True if somebody has it: /proc shows a socket.
    pub fn is_taken(&self) -> bool {
        self.is_taken
    }
}

impl Process {
    fn read(pid: u32) -> Option<Process> {
        let file = |name: &str| fs::read(format!("/proc/{pid}/{name}")).ok();
        let text = |octets: Vec<u8>| {
            let text = String::from_utf8_lossy(&octets).replace(|char: char| char.is_control(), " ");
            text.trim_end().to_owned()
        };
        Some(Process { pid, name: text(file("comm")?), command: file("cmdline").map(text).unwrap_or_default() })
    }

    /// What to do about a program that is known to be in the way.
    fn advice(&self, port: u16) -> Option<String> {
        // The kernel keeps 15 octets of a name.
        let advice = match &*self.name {
            "systemd-resolve" => {
                "it is systemd-resolved's stub: write DNSStubListener=no in /etc/systemd/resolved.conf \
                                  and restart it, or listen on another address"
                    .to_owned()
            }
            "dnsmasq" if self.command.contains("libvirt") => {
                "it is libvirt's dnsmasq, which serves a virtual network: listen on another address than its bridge's, \
                 or stop that network with `virsh net-destroy`"
                    .to_owned()
            }
            "dnsmasq" => {
                "write bind-interfaces and the interfaces to serve in /etc/dnsmasq.conf, and restart it".to_owned()
            }
            "docker-proxy" | "rootlessport" | "conmon" | "pasta" | "pasta.avx2" | "slirp4netns" => format!(
                "it publishes port {port} of a container: publish that on one address only, as in -p 192.0.2.1:{port}:{port}"
            ),
            _ => return None,
        };
        Some(advice)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holder { process, tcp, port, .. } = self;
        let (transport, command) = if *tcp { ("TCP", "ss -ltnp") } else { ("UDP", "ss -lunp") };
        match process {
            Some(process) if process.pid == std::process::id() => {
                write!(f, "this process has {transport} port {port} there already, for another listener")
            }
            Some(process) => {
                write!(f, "{} (pid {}) has {transport} port {port}; {}", process.name, process.pid, self.cure())
            }
            None => write!(
                f,
                "another process has {transport} port {port}, and /proc does not show which (a sandbox or another user's); run as \
                 root: {command} 'sport = :{port}'"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    fn holder(name: &str, command: &str) -> String {
        let process = Process { pid: 812, name: name.to_owned(), command: command.to_owned() };
        Holder { process: Some(process), is_taken: true, tcp: false, port: 53 }.to_string()
    }

    #[test]
    fn a_port_in_use_is_found_with_its_process() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind("[::1]:0").unwrap();
        let any = UdpSocket::bind("[::]:0").unwrap();
        let holders = Holders::default();
        let told = |address: SocketAddr, tcp| holders.of(address, tcp).process.map(|process| process.pid);
        let own = Some(std::process::id());
        assert_eq!(told(udp.local_addr().unwrap(), false), own);
        assert_eq!(told(tcp.local_addr().unwrap(), true), own);
        let port = any.local_addr().unwrap().port();
        assert_eq!(told(([127, 0, 0, 1], port).into(), false), own, "a socket of IPv6 is in the way of IPv4");
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(told(free, false), None);
    }

    #[test]
    fn a_line_of_the_kernels_table_counts_if_it_is_in_the_way() {
        let at = "127.0.0.53:53".parse().unwrap();
        let local = format!("{:08X}", u32::from_ne_bytes([127, 0, 0, 53]));
        let line = |local: &str, state: &str, inode: &str| {
            format!(
                " 42: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  101        0 {inode} 2 0 0"
            )
        };
        assert_eq!(in_the_way(&line(&format!("{local}:0035"), "07", "77"), at, false), Some(77));
        assert_eq!(in_the_way(&line("00000000:0035", "07", "77"), at, false), Some(77));
        assert_eq!(in_the_way(&line(&format!("{}:0035", "0".repeat(32)), "07", "77"), at, false), Some(77));
        assert_eq!(in_the_way(&line(&format!("{local}:0036"), "07", "77"), at, false), None, "another port");
        assert_eq!(in_the_way(&line(&format!("{local}:0035"), "01", "77"), at, true), None, "a connection");
        assert_eq!(in_the_way(&line(&format!("{local}:0035"), "06", "0"), at, false), None, "nobody's");
        assert_eq!(in_the_way("nonsense", at, false), None);
    }

    #[test]
    fn known_programs_get_a_sentence() {
        assert!(holder("systemd-resolve", "").starts_with(
            "systemd-resolve (pid 812) has UDP port 53; it is systemd-resolved's stub: write DNSStubListener=no"
        ));
        let libvirt = "/usr/sbin/dnsmasq --conf-file=/var/lib/libvirt/dnsmasq/default.conf";
        assert!(holder("dnsmasq", libvirt).contains("libvirt's dnsmasq"));
        assert!(holder("dnsmasq", "/usr/sbin/dnsmasq").contains("bind-interfaces"));
        assert!(holder("docker-proxy", "").contains("publishes port 53 of a container"));
        assert!(
            holder("python3", "").ends_with("stop it, or listen on another address or port (`ss -lunp` lists all)")
        );
        let nobody = Holder { process: None, is_taken: true, tcp: true, port: 53 }.to_string();
        assert!(
            nobody.contains("another process has TCP port 53") && nobody.ends_with("ss -ltnp 'sport = :53'"),
            "{nobody}"
        );
    }
}
