//! The ways by which a resolver is told to ask callsign for one domain, and for nothing else; and how each of them is undone.
//!
//! Not taken, as each of them hurts somebody: a drop-in with `DNS=` for systemd-resolved sends it every name of the host, and
//! breaks an administrator's own `DNS=`; the link docker0 loses its servers when it has no carrier, and the names leak; a
//! server in resolv.conf is asked for everything.

use std::net::SocketAddr;
use std::path::Path;

use callsign::wire::Name;
use ipnet::IpNet;

use super::steps::{Step, marked, run, run_or, until};
use crate::cli::host_names::{ANCHOR, DELEGATE, DNSMASQ, LINK, MARK, Owner, UNIT, UNIT_NAME, Way, link, owner, traces};
use crate::cli::system::{self, Resolver};

const UNIT_TEXT: &str = include_str!("../../../contrib/systemd/callsign-host.service");
/// The command in the unit that stands for this one.
const UNIT_COMMAND: &str = "/usr/bin/callsign host enable --boot";
/// Where `systemctl enable` links the unit.
const WANTS: &str = "/etc/systemd/system/systemd-resolved.service.wants";
/// The other end of the link, where the kernel has no dummy links.
const PEER: &str = "callsign1";
/// A link without an address does not count for systemd-resolved. Link-local, and no one else's on this link.
const LINK_ADDRESS: &str = "169.254.55.1/32";

/// Below these systemd-resolved validates nothing (its built-in negative trust anchors that people use).
const UNSIGNED: [&str; 9] = ["home.arpa", "internal", "intranet", "lan", "local", "private", "test", "corp", "home"];

/// More reverse zones than this are no list that a person can read.
const MAX_ZONES: usize = 256;

/// What is looked up at callsign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Routing {
    pub(super) domain: Name,
    pub(super) listen: SocketAddr,
    pub(super) reverse: Vec<IpNet>,
}

impl Routing {
    /// The domain and the reverse zones, without a dot at the end.
    fn zones(&self) -> Result<Vec<String>, String> {
        if self.domain.is_root() {
            return Err("the root is every name of the host; name a domain, such as containers.internal".to_owned());
        }
        let mut zones = vec![self.domain.to_string()];
        for subnet in &self.reverse {
            zones.extend(reverse_zones(subnet)?);
        }
        zones.dedup();
        if zones.len() > MAX_ZONES {
            return Err(format!(
                "{} reverse zones are more than {MAX_ZONES}; name fewer or smaller subnets",
                zones.len()
            ));
        }
        Ok(zones)
    }

    /// The steps that tell the resolver.
    ///
    /// # Errors
    /// What is asked for cannot be said.
    pub(super) fn steps(&self, way: Way, program: &Path) -> Result<Vec<Step>, String> {
        let zones = self.zones()?;
        Ok(match way {
            Way::Delegate => {
                let domains: Vec<String> = zones.iter().map(|zone| format!("~{zone}")).collect();
                let text = format!("[Delegate]\nDNS={}\nDomains={}\n", self.server(), domains.join(" "));
                let mut steps = Vec::new();
                let signed: Vec<&str> = zones.iter().map(String::as_str).filter(|zone| !is_unsigned(zone)).collect();
                if !signed.is_empty() {
                    steps.push(Step::Write { path: ANCHOR, text: format!("; {MARK}\n{}\n", signed.join("\n")) });
                } else if owner(ANCHOR)? == Owner::Ours {
                    steps.push(Step::Remove { path: ANCHOR, with_directory: true });
                }
                steps.push(Step::Write { path: DELEGATE, text: marked(&text) });
                steps.push(reload());
                steps
            }
            Way::Link => {
                let mut steps = Vec::new();
                if owner(UNIT)? == Owner::Ours {
                    // It may be at work just now, for what was asked for before.
                    steps.push(run(&["systemctl", "stop", UNIT_NAME]));
                }
                steps.extend(self.link_steps(&zones)?);
                let unit = UNIT_TEXT.replace(UNIT_COMMAND, &self.boot_command(program));
                steps.push(Step::Write { path: UNIT, text: marked(&unit) });
                steps.push(run(&["systemctl", "daemon-reload"]));
                steps.push(run(&["systemctl", "enable", UNIT_NAME]));
                steps
            }
            Way::Dnsmasq => {
                let (ip, port) = (self.listen.ip(), self.listen.port());
                let server = if port == 53 { ip.to_string() } else { format!("{ip}#{port}") };
                let lines: String = zones.iter().map(|zone| format!("server=/{zone}/{server}\n")).collect();
                vec![Step::Write { path: DNSMASQ, text: marked(&lines) }, reload_dnsmasq()]
            }
        })
    }

    /// What a reboot has undone.
    ///
    /// # Errors
    /// See [`Routing::steps`].
    pub(super) fn boot_steps(&self) -> Result<Vec<Step>, String> {
        self.link_steps(&self.zones()?)
    }

    fn link_steps(&self, zones: &[String]) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        match link() {
            Owner::Theirs => {
                return Err(format!(
                    "there is a link {LINK} that callsign did not make (its alias is not \"{MARK}\"); it is left as it is: \
                     `ip link show {LINK}` tells what it is; rename or remove it"
                ));
            }
            Owner::Ours => {}
            Owner::Nobody => {
                let dummy = ["ip", "link", "add", LINK, "type", "dummy"];
                let pair = ["ip", "link", "add", LINK, "type", "veth", "peer", "name", PEER];
                steps.push(run_or(&dummy, &[&pair, &["ip", "link", "set", PEER, "up"]]));
            }
        }
        steps.push(run(&["ip", "link", "set", LINK, "alias", MARK]));
        if system::output(&["systemctl", "is-active", "NetworkManager.service"]).is_ok() {
            // Where udev does not tell it, it takes the link for a cable, and the address away.
            steps.push(until(&["nmcli", "--get-values", "DEVICE", "device"], LINK));
            steps.push(run(&["nmcli", "device", "set", LINK, "managed", "no"]));
        }
        steps.push(run(&["ip", "address", "replace", LINK_ADDRESS, "dev", LINK]));
        steps.push(run(&["ip", "link", "set", LINK, "up"]));
        // The server last: until it is known what it is for, it would be asked for everything.
        for setting in ["default-route", "dnssec", "dnsovertls", "llmnr", "mdns"] {
            steps.push(run(&["resolvectl", setting, LINK, "no"]));
        }
        let mut domains = vec!["resolvectl".to_owned(), "domain".to_owned(), LINK.to_owned()];
        domains.extend(zones.iter().map(|zone| format!("~{zone}")));
        steps.push(Step::Run(domains));
        steps.push(run(&["resolvectl", "dns", LINK, &self.server()]));
        // The kernel tells of a new link's carrier some time later; until then the names would go elsewhere.
        steps.push(until(&["resolvectl", "status", LINK], "Scopes: DNS"));
        Ok(steps)
    }

    fn server(&self) -> String {
        if self.listen.port() == 53 { self.listen.ip().to_string() } else { self.listen.to_string() }
    }

    /// The command of the unit: what was asked for now is done again at each boot, whatever the configuration says then.
    fn boot_command(&self, program: &Path) -> String {
        let mut words = vec![program.display().to_string()];
        words.extend(["host", "enable", "--boot", "--domain"].map(str::to_owned));
        words.extend([self.domain.to_string(), "--listen".to_owned(), self.listen.to_string()]);
        for subnet in &self.reverse {
            words.extend(["--reverse".to_owned(), subnet.to_string()]);
        }
        let escaped = words.iter().map(|word| {
            let word = word.replace('\\', "\\\\").replace('%', "%%").replace('$', "$$").replace('"', "\\\"");
            if word.contains(char::is_whitespace) { format!("\"{word}\"") } else { word }
        });
        escaped.collect::<Vec<_>>().join(" ")
    }
}

fn reload() -> Step {
    // Before 257 there is nothing to reload; then it only starts again.
    run(&["systemctl", "reload-or-restart", "systemd-resolved.service"])
}

fn reload_dnsmasq() -> Step {
    run(&["nmcli", "general", "reload", "dns-full"])
}

/// The steps that undo what is there of all ways but one.
///
/// # Errors
/// See [`traces`].
pub(super) fn undo(keep: Option<Way>, resolver: &Resolver) -> Result<Vec<Step>, String> {
    let traces = traces()?;
    let mut steps = Vec::new();
    let has = |trace: &str| traces.contains(&trace);
    if keep != Some(Way::Link) {
        if has(UNIT) {
            steps.push(run(&["systemctl", "disable", "--now", UNIT_NAME]));
            steps.push(Step::Remove { path: UNIT, with_directory: false });
            steps.push(Step::RemoveEmpty { path: WANTS });
            steps.push(run(&["systemctl", "daemon-reload"]));
        }
        if has(LINK) {
            steps.push(run(&["ip", "link", "delete", LINK]));
        }
    }
    if keep != Some(Way::Delegate) {
        let files = [DELEGATE, ANCHOR].into_iter().filter(|path| has(path));
        let files: Vec<Step> = files.map(|path| Step::Remove { path, with_directory: true }).collect();
        if !files.is_empty() {
            steps.extend(files);
            if matches!(resolver, Resolver::Resolved { .. }) {
                steps.push(reload());
            }
        }
    }
    if keep != Some(Way::Dnsmasq) && has(DNSMASQ) {
        // The directory is NetworkManager's.
        steps.push(Step::Remove { path: DNSMASQ, with_directory: false });
        if *resolver == Resolver::Dnsmasq {
            steps.push(reload_dnsmasq());
        }
    }
    Ok(steps)
}

/// What to write by hand for a resolver that is not known, or that cannot be told.
pub(super) fn by_hand(routing: &Routing) -> Result<String, String> {
    let (zones, server) = (routing.zones()?, routing.listen);
    let (ip, port) = (server.ip(), server.port());
    let mut text =
        "Nothing was changed: this host has neither systemd-resolved (240 or later) nor NetworkManager with \
                    dns=dnsmasq. A resolver that can send one domain elsewhere takes one of these:\n\n"
            .to_owned();
    let dnsmasq = if port == 53 { ip.to_string() } else { format!("{ip}#{port}") };
    let unbound = if port == 53 { ip.to_string() } else { format!("{ip}@{port}") };
    for (title, lines) in [
        (
            "dnsmasq (a file in /etc/dnsmasq.d)",
            &(|zone: &str| format!("server=/{zone}/{dnsmasq}\n")) as &dyn Fn(&str) -> String,
        ),
        ("unbound (a file in /etc/unbound/unbound.conf.d)", &|zone: &str| {
            format!(
                "server:\n    do-not-query-localhost: no\n    domain-insecure: \"{zone}\"\nforward-zone:\n    name: \"{zone}\"\n    \
                 forward-addr: {unbound}\n"
            )
        }),
    ] {
        text += &format!("{title}:\n");
        for zone in &zones {
            text.extend(lines(zone).lines().map(|line| format!("    {line}\n")));
        }
        text.push('\n');
    }
    text += "A plain /etc/resolv.conf cannot: its first server is asked for every name. Install systemd-resolved, or give single \
             programs their server.\n";
    Ok(text)
}

/// The zones that reverse look-ups of a subnet are in: whole octets of IPv4, whole digits of IPv6.
fn reverse_zones(subnet: &IpNet) -> Result<Vec<String>, String> {
    let unit = if subnet.addr().is_ipv4() { 8 } else { 4 };
    let whole = subnet.prefix_len().div_ceil(unit) * unit;
    if whole == 0 {
        return Err(format!("{subnet} is every address; name the subnets of the containers"));
    }
    let parts = subnet.trunc().subnets(whole).map_err(|error| format!("{subnet}: {error}"))?;
    let zone = |part: IpNet| {
        let labels = callsign::wire::reverse::name_of(part.network()).to_string();
        let hidden = usize::from((part.max_prefix_len() - whole) / unit);
        labels.splitn(hidden + 1, '.').last().unwrap_or_default().to_owned()
    };
    Ok(parts.map(zone).collect())
}

/// True if systemd-resolved takes unsigned answers below this domain by itself.
fn is_unsigned(zone: &str) -> bool {
    let is_below = |domain: &str| zone == domain || zone.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    let is_private = |zone: &str| {
        let labels: Vec<&str> = zone.strip_suffix(".in-addr.arpa").unwrap_or_default().rsplit('.').collect();
        match labels[..] {
            ["10", ..] | ["192", "168", ..] => true,
            ["172", second, ..] => second.parse::<u8>().is_ok_and(|second| (16..32).contains(&second)),
            _ => zone.ends_with(".d.f.ip6.arpa"),
        }
    };
    UNSIGNED.into_iter().any(is_below) || is_private(zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(subnet: &str) -> Vec<String> {
        reverse_zones(&subnet.parse().unwrap()).unwrap()
    }

    #[test]
    fn reverse_zones_are_those_of_the_subnet_and_of_no_other() {
        assert_eq!(zones("10.0.0.0/8"), ["10.in-addr.arpa"]);
        assert_eq!(zones("172.18.0.0/16"), ["18.172.in-addr.arpa"]);
        assert_eq!(zones("10.89.0.0/24"), ["0.89.10.in-addr.arpa"]);
        assert_eq!(zones("10.89.0.0/23"), ["0.89.10.in-addr.arpa", "1.89.10.in-addr.arpa"]);
        assert_eq!(zones("172.16.0.0/12").len(), 16);
        assert_eq!(zones("172.16.0.0/12")[15], "31.172.in-addr.arpa");
        assert_eq!(zones("10.1.2.4/31"), ["4.2.1.10.in-addr.arpa", "5.2.1.10.in-addr.arpa"]);
        assert_eq!(zones("fd00:10::/32"), ["0.1.0.0.0.0.d.f.ip6.arpa"]);
        assert!(reverse_zones(&"0.0.0.0/0".parse().unwrap()).is_err());
    }

    #[test]
    fn what_resolved_would_validate_gets_a_negative_trust_anchor() {
        for zone in [
            "containers.internal",
            "internal",
            "test",
            "18.172.in-addr.arpa",
            "0.168.192.in-addr.arpa",
            "0.d.f.ip6.arpa",
        ] {
            assert!(is_unsigned(zone), "{zone}");
        }
        for zone in ["docker", "xinternal", "15.172.in-addr.arpa", "64.100.in-addr.arpa", "0.2.ip6.arpa"] {
            assert!(!is_unsigned(zone), "{zone}");
        }
    }

    fn routing(domain: &str, listen: &str) -> Routing {
        Routing {
            domain: domain.parse().unwrap(),
            listen: listen.parse().unwrap(),
            reverse: vec!["172.18.0.0/16".parse().unwrap()],
        }
    }

    fn text_of(steps: &[Step], wanted: &str) -> String {
        let text = steps.iter().find_map(|step| match step {
            Step::Write { path, text } if *path == wanted => Some(text.clone()),
            _ => None,
        });
        text.unwrap_or_default()
    }

    #[test]
    fn a_delegate_routes_the_domain_and_the_reverse_zones_alone() {
        let program = Path::new("/usr/bin/callsign");
        let steps = routing("containers.internal", "127.0.0.55:53").steps(Way::Delegate, program).unwrap();
        let text = "# written by callsign host enable\n[Delegate]\nDNS=127.0.0.55\nDomains=~containers.internal ~18.172.in-addr.arpa\n";
        assert_eq!((text_of(&steps, DELEGATE).as_str(), text_of(&steps, ANCHOR).as_str()), (text, ""));
        let steps = routing("docker", "127.0.0.55:5300").steps(Way::Delegate, program).unwrap();
        assert!(text_of(&steps, DELEGATE).contains("\nDNS=127.0.0.55:5300\nDomains=~docker "));
        assert_eq!(text_of(&steps, ANCHOR), "; written by callsign host enable\ndocker\n");
    }

    #[test]
    fn every_name_of_the_host_is_never_routed() {
        for way in [Way::Delegate, Way::Link, Way::Dnsmasq] {
            let error = routing(".", "127.0.0.55:53").steps(way, Path::new("/usr/bin/callsign")).unwrap_err();
            assert!(error.starts_with("the root is every name"), "{error}");
        }
    }

    #[test]
    fn dnsmasq_gets_a_line_for_each_zone() {
        let program = Path::new("/usr/bin/callsign");
        let steps = routing("containers.internal", "127.0.0.55:5300").steps(Way::Dnsmasq, program).unwrap();
        let text = "# written by callsign host enable\nserver=/containers.internal/127.0.0.55#5300\nserver=/18.172.in-addr.arpa/127.0.0.55#5300\n";
        assert_eq!(text_of(&steps, DNSMASQ), text);
    }

    #[test]
    fn the_unit_does_again_what_was_asked_for() {
        let routing = routing("containers.internal", "127.0.0.55:53");
        let command = routing.boot_command(Path::new("/opt/100% my tools/callsign"));
        assert_eq!(
            command,
            "\"/opt/100%% my tools/callsign\" host enable --boot --domain containers.internal --listen 127.0.0.55:53 --reverse \
             172.18.0.0/16"
        );
        assert!(UNIT_TEXT.contains(&format!("\nExecStart={UNIT_COMMAND}\n")), "{UNIT_TEXT}");
    }
}
