//! How this host was told to look up the names of its containers, and whether that works: what `callsign host` changes, and
//! `callsign doctor` looks at. Reads only.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use callsign::wire::message::Header;
use callsign::wire::{Name, rcode, rtype};

use super::question::{Question, Subject};
use super::system::{self, Resolver};

/// The first line of every file that is written, behind the file's sign of a comment.
pub(super) const MARK: &str = "written by callsign host enable";

/// systemd-resolved 258 or later.
pub(super) const DELEGATE: &str = "/etc/systemd/dns-delegate.d/callsign.dns-delegate";
/// Domains that systemd-resolved does not validate.
pub(super) const ANCHOR: &str = "/etc/dnssec-trust-anchors.d/callsign.negative";
/// Makes the link again at each boot.
pub(super) const UNIT: &str = "/etc/systemd/system/callsign-host.service";
pub(super) const UNIT_NAME: &str = "callsign-host.service";
/// NetworkManager's dnsmasq.
pub(super) const DNSMASQ: &str = "/etc/NetworkManager/dnsmasq.d/callsign.conf";

/// The link of our own that carries the servers for systemd-resolved before 258.
pub(super) const LINK: &str = "callsign0";

/// The first version of systemd-resolved that reads delegates, and the first in which a link may have servers without being
/// asked for all other names.
const DELEGATES: u32 = 258;
const DEFAULT_ROUTE: u32 = 240;

/// Whose a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// There is no file.
    Nobody,
    /// `callsign host enable` wrote it.
    Ours,
    /// Somebody else did.
    Theirs,
}

/// Whose the file at a path is.
///
/// # Errors
/// It is there, and cannot be read.
pub(super) fn owner(path: &str) -> Result<Owner, String> {
    match fs::read(path) {
        Ok(octets) => {
            let first = octets.split(|&octet| octet == b'\n').next().unwrap_or_default();
            let is_ours = String::from_utf8_lossy(first).trim_start_matches(['#', ';', ' ']).trim_end() == MARK;
            Ok(if is_ours { Owner::Ours } else { Owner::Theirs })
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Owner::Nobody),
        Err(error) => Err(format!("{path}: {error}")),
    }
}

/// How the resolver of this host is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Delegate,
    Link,
    Dnsmasq,
}

impl Way {
    /// For people and for `--json`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Way::Delegate => "delegate",
            Way::Link => "link",
            Way::Dnsmasq => "dnsmasq",
        }
    }

    /// The way for this host's resolver, if there is one.
    pub(super) fn of(resolver: &Resolver) -> Option<Way> {
        match resolver {
            // A delegate has no DNSOverTLS of its own, and callsign speaks none to the host.
            Resolver::Resolved { version, .. } if *version >= DELEGATES && !is_tls_forced() => Some(Way::Delegate),
            Resolver::Resolved { version, .. } if *version >= DEFAULT_ROUTE => Some(Way::Link),
            Resolver::Dnsmasq => Some(Way::Dnsmasq),
            _ => None,
        }
    }
}

/// True if systemd-resolved asks by TLS only.
fn is_tls_forced() -> bool {
    system::output(&["resolvectl", "dnsovertls"])
        .is_ok_and(|text| text.lines().any(|line| line.trim() == "Global: yes"))
}

/// Whose the link is, by its alias.
pub(super) fn link() -> Owner {
    match system::output(&["ip", "link", "show", "dev", LINK]) {
        Ok(text) if text.lines().any(|line| line.trim().strip_prefix("alias ") == Some(MARK)) => Owner::Ours,
        Ok(_) => Owner::Theirs,
        Err(_) => Owner::Nobody,
    }
}

/// What `callsign host enable` has left on this host, whole or in part: files, and the link.
///
/// # Errors
/// A file cannot be read.
pub(super) fn traces() -> Result<Vec<&'static str>, String> {
    let mut traces = Vec::new();
    for path in [DELEGATE, ANCHOR, UNIT, DNSMASQ] {
        if owner(path)? == Owner::Ours {
            traces.push(path);
        }
    }
    if link() == Owner::Ours {
        traces.push(LINK);
    }
    Ok(traces)
}

/// What the host is set to now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Setting {
    /// The way that it was told by.
    pub(super) way: Option<Way>,
    /// Where callsign is asked.
    pub(super) listen: Option<SocketAddr>,
    /// The domain and the reverse zones that it is asked for.
    pub(super) zones: Vec<String>,
}

impl Setting {
    /// That of this host.
    fn read(traces: &[&str]) -> Setting {
        let has = |trace: &str| traces.contains(&trace);
        if has(DELEGATE) {
            let text = fs::read_to_string(DELEGATE).unwrap_or_default();
            let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().to_owned();
            return Setting::of(Way::Delegate, &value("DNS="), &value("Domains="));
        }
        if has(LINK) {
            // `Link 7 (callsign0): ~containers.internal ~18.172.in-addr.arpa`
            let told = |what| {
                let text = system::output(&["resolvectl", what, LINK]).unwrap_or_default();
                text.split_once("):").map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
            };
            return Setting::of(Way::Link, &told("dns"), &told("domain"));
        }
        if has(DNSMASQ) {
            let text = fs::read_to_string(DNSMASQ).unwrap_or_default();
            let servers = text.lines().filter_map(|line| line.strip_prefix("server=/")?.split_once('/'));
            let (zones, servers): (Vec<_>, Vec<_>) = servers.unzip();
            let server = servers.first().copied().unwrap_or_default();
            let server = server.split_once('#').map_or(server.to_owned(), |(ip, port)| {
                if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
            });
            return Setting::of(Way::Dnsmasq, &server, &zones.join(" "));
        }
        Setting::default()
    }

    fn of(way: Way, server: &str, domains: &str) -> Setting {
        let server = server.split_whitespace().next().unwrap_or_default();
        let listen = server.parse().ok().or_else(|| Some(SocketAddr::new(server.parse().ok()?, 53)));
        let zones = domains.split_whitespace().map(|domain| domain.trim_start_matches('~').to_owned()).collect();
        Setting { way: Some(way), listen, zones }
    }
}

/// How the host stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) resolver: Resolver,
    /// What [`traces`] found. Empty if it was not told to ask callsign.
    pub(super) traces: Vec<&'static str>,
    pub(super) setting: Setting,
    /// What is wrong, and what to do. Nothing if it was not told.
    pub(super) problems: Vec<Trouble>,
}

/// Something that is wrong, and its cure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) message: String,
    pub(super) cure: String,
}

impl Standing {
    /// That of this host.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn read() -> Result<Standing, String> {
        let resolver = Resolver::find();
        let traces = traces()?;
        let setting = Setting::read(&traces);
        let mut problems = Vec::new();
        if !traces.is_empty() {
            problems.extend(halves(&traces, &setting, &resolver));
            problems.extend(unreached(&resolver));
            problems.extend(setting.listen.and_then(|server| unanswered(server, setting.zones.first())));
        }
        Ok(Standing { resolver, traces, setting, problems })
    }
}

/// What was done in part, or for another resolver than this one.
fn halves(traces: &[&str], setting: &Setting, resolver: &Resolver) -> Option<Trouble> {
    let has = |trace: &str| traces.contains(&trace);
    let cure = "run `callsign host enable` again, as root".to_owned();
    let trouble = |message: String| Some(Trouble { message, cure: cure.clone() });
    let wanted = Way::of(resolver);
    match setting.way {
        None => trouble(format!("only a part of `callsign host enable` is left: {}", traces.join(", "))),
        // A link is right for every version of it.
        Some(Way::Link) if !matches!(resolver, Resolver::Resolved { .. }) => {
            trouble(format!("the link {LINK} is for systemd-resolved, and this host asks {}", resolver.name()))
        }
        Some(Way::Link) if !has(UNIT) => {
            trouble(format!("the link {LINK} is lost at the next boot: {UNIT} is not there"))
        }
        Some(Way::Link) if setting.listen.is_none() || setting.zones.is_empty() => {
            trouble(format!("systemd-resolved has no server or no domain for the link {LINK}"))
        }
        Some(way @ (Way::Delegate | Way::Dnsmasq)) if wanted != Some(way) => {
            let file = if way == Way::Delegate { DELEGATE } else { DNSMASQ };
            trouble(format!("{file} is not for this host's resolver: {}", resolver.name()))
        }
        _ => None,
    }
}

/// Look-ups that do not reach the resolver.
pub(super) fn unreached(resolver: &Resolver) -> Option<Trouble> {
    matches!(resolver, Resolver::Resolved { in_use: false, .. }).then(|| Trouble {
        message:
            "look-ups of this host do not reach systemd-resolved: neither does /etc/resolv.conf name 127.0.0.53, nor \
                  nsswitch.conf `resolve`"
                .to_owned(),
        cure: "ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf".to_owned(),
    })
}

/// Whether somebody answers for a domain at a server.
pub(super) fn unanswered(server: SocketAddr, domain: Option<&String>) -> Option<Trouble> {
    let domain: Name = domain?.parse().ok()?;
    let listen = if server.port() == 53 { server.ip().to_string() } else { server.to_string() };
    let cure = format!(
        "write [host] with listen = \"{listen}\" and domain = \"{domain}\" in callsign.toml, and start callsign"
    );
    match ask(server, &domain) {
        Err(message) => Some(Trouble {
            message: format!("nobody answers at {server}, where names below {domain} are asked: {message}"),
            cure,
        }),
        Ok(rcode::REFUSED) => {
            Some(Trouble { message: format!("whoever listens at {server} refuses to answer for {domain}"), cure })
        }
        Ok(_) => None,
    }
}

/// How long an answer from this host may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The response code to a question for a domain's SOA.
fn ask(server: SocketAddr, domain: &Name) -> Result<u16, String> {
    let question = Question::new(&Subject::Name(domain.clone()), None, rtype::SOA);
    let reply = || -> std::io::Result<u16> {
        // From the address itself: a loopback address may be firewalled from others.
        let socket = UdpSocket::bind(SocketAddr::new(server.ip(), 0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let id = std::process::id() as u16;
        socket.send(&question.packet(id))?;
        let mut buffer = [0; 1232];
        loop {
            let len = socket.recv(&mut buffer)?;
            if question.is_answered_by(id, &buffer[..len]) {
                return Ok(Header::read(&buffer[..len]).map_or(rcode::SERVFAIL, |header| header.rcode()));
            }
        }
    };
    reply().map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("no reply within {} s", PATIENCE.as_secs()),
        ErrorKind::AddrNotAvailable => "this host has no such address".to_owned(),
        _ => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_read_as_it_was_written() {
        let setting = Setting::of(Way::Link, "127.0.0.55:5300", "~containers.internal ~18.172.in-addr.arpa");
        assert_eq!(setting.listen, Some("127.0.0.55:5300".parse().unwrap()));
        assert_eq!(setting.zones, ["containers.internal", "18.172.in-addr.arpa"]);
        assert_eq!(Setting::of(Way::Delegate, "127.0.0.55", "~docker").listen, Some("127.0.0.55:53".parse().unwrap()));
        assert_eq!(Setting::of(Way::Link, "", "").listen, None);
    }

    #[test]
    fn halves_are_told_and_wholes_are_not() {
        let resolved = |version| Resolver::Resolved { version, in_use: true };
        let setting = |way| Setting::of(way, "127.0.0.55", "~containers.internal");
        let told = |traces: &[&str], setting: &Setting, resolver| {
            halves(traces, setting, &resolver).map(|trouble| trouble.message)
        };
        assert_eq!(told(&[LINK, UNIT], &setting(Way::Link), resolved(257)), None);
        assert_eq!(told(&[DNSMASQ], &setting(Way::Dnsmasq), Resolver::Dnsmasq), None);
        assert!(told(&[LINK], &setting(Way::Link), resolved(257)).unwrap().contains("lost at the next boot"));
        assert!(told(&[UNIT], &Setting::default(), resolved(257)).unwrap().contains("only a part"));
        assert!(told(&[DELEGATE], &setting(Way::Delegate), resolved(252)).unwrap().contains("systemd-resolved 252"));
        assert!(told(&[DNSMASQ], &setting(Way::Dnsmasq), Resolver::Other).unwrap().contains("/etc/resolv.conf"));
    }
}
