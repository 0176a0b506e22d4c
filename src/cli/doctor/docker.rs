//! Docker: whether the engine answers, whether its containers ask callsign, and which of them were started too early for that.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::engine::{Container, Engine};
use super::facts::{Facts, is_absent};
use super::finding::Finding;

/// Docker's own resolver in containers of user networks.
const EMBEDDED: &str = "127.0.0.11";
/// So many containers are named.
const NAMED: usize = 8;

pub(super) fn reachable(facts: &Facts) -> Vec<Finding> {
    const ID: &str = "docker";
    vec![match facts.engine() {
        Ok(engine) => {
            let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
            Finding::ok(
                ID,
                format!(
                    "Docker {} answers at {}: {}, {} running",
                    engine.version,
                    engine.address,
                    count(engine.networks.len(), "bridge network"),
                    count(engine.containers.len(), "container")
                ),
            )
        }
        Err(absent) if !facts.is_docker && is_absent(absent.kind) => Finding::skipped(ID, "Docker: there is none"),
        Err(absent) => {
            let cure = match absent.kind {
                ErrorKind::PermissionDenied => {
                    "run as root, or add the user to the socket's group: `usermod -aG docker USER`"
                }
                ErrorKind::ConnectionRefused => {
                    "the daemon does not run: `systemctl start docker`; `journalctl -u docker` says why"
                }
                ErrorKind::InvalidInput => "name an engine of this host: socket = \"/var/run/docker.sock\" in [docker]",
                kind if is_absent(kind) => {
                    "start Docker: `systemctl start docker`; if its socket is elsewhere, write it as `socket` in [docker]"
                }
                _ => "`docker info` shows whether the engine is well; `systemctl restart docker` if it hangs",
            };
            let message = format!("Docker does not answer at {}", absent.message);
            if facts.is_docker { Finding::problem(ID, message, cure) } else { Finding::warning(ID, message, cure) }
        }
    }]
}

/// The engine, and where its containers are to ask; or why that is not looked at.
fn asked<'a>(facts: &'a Facts, id: &'static str) -> Result<(&'a Engine, Vec<IpAddr>), Finding> {
    let what = "Docker's `dns`";
    if !facts.is_docker {
        return Err(Finding::skipped(
            id,
            format!("{what}: callsign is not told to serve Docker ([docker], or --docker)"),
        ));
    }
    let engine =
        facts.engine().as_ref().map_err(|_| Finding::skipped(id, format!("{what}: Docker does not answer")))?;
    let listen = facts.valid().and_then(|config| config.docker.as_ref()).map(|docker| docker.listen.clone());
    let listen: Vec<IpAddr> = listen.unwrap_or_default().iter().map(callsign::table::Address::ip).collect();
    let gateways = || engine.networks.iter().flat_map(|network| network.gateways.clone()).collect();
    Ok((engine, if listen.is_empty() { gateways() } else { listen }))
}

pub(super) fn dns(facts: &Facts) -> Vec<Finding> {
    const ID: &str = "docker-dns";
    let (engine, ours) = match asked(facts, ID) {
        Ok(asked) => asked,
        Err(finding) => return vec![finding],
    };
    let daemon = &engine.daemon;
    let file = daemon.file.display();
    let ours_first = engine.gateway().filter(|gateway| ours.contains(gateway)).or_else(|| ours.first().copied());
    let wanted = ours_first.map_or_else(|| "172.17.0.1".to_owned(), |ip| ip.to_string());
    let write = format!("write {{ \"dns\": [\"{wanted}\"] }} in {file}, then `systemctl restart docker`");
    if let Some(Err(error)) = &daemon.dns {
        return vec![Finding::problem(ID, format!("{file} cannot be read: {error}"), write)];
    }
    let servers = daemon.servers();
    let is_ours = |server: &String| server.parse().is_ok_and(|ip| ours.contains(&ip));
    vec![match servers.iter().position(is_ours) {
        None if servers.is_empty() => {
            let own = engine.containers.iter().filter(|container| container.dns.iter().any(is_ours)).count();
            if own > 0 {
                let message = format!(
                    "Docker's daemon has no `dns`: only containers with `dns:` of their own ask callsign ({own} of {})",
                    engine.containers.len()
                );
                Finding::warning(ID, message, format!("if all are to ask it: {write}"))
            } else {
                Finding::problem(
                    ID,
                    format!("Docker's containers do not ask callsign: the daemon has no `dns` ({file})"),
                    write,
                )
            }
        }
        None => Finding::problem(
            ID,
            format!("Docker's containers ask {}, and callsign listens at {wanted}", servers.join(", ")),
            write,
        ),
        Some(_) if is_stale(daemon.started, daemon.changed) && !daemon.options.iter().any(is_ours) => Finding::problem(
            ID,
            format!("{file} was changed after Docker's daemon was started: its `dns` is not in force yet"),
            "systemctl restart docker",
        ),
        Some(0) => {
            Finding::ok(ID, format!("Docker's daemon sends its containers to callsign: dns = {}", servers.join(", ")))
        }
        Some(_) => Finding::warning(
            ID,
            format!("Docker's containers ask {} before callsign: names of containers fail there first", servers[0]),
            format!("write {wanted} first in {file}"),
        ),
    }]
}

/// The kernel's clocks are this exact.
const EXACT: Duration = Duration::from_millis(100);

/// True if something was started before something else was changed.
fn is_stale(started: Option<SystemTime>, changed: Option<SystemTime>) -> bool {
    matches!((started, changed), (Some(started), Some(changed)) if started + EXACT < changed)
}

pub(super) fn containers(facts: &Facts) -> Vec<Finding> {
    const ID: &str = "docker-containers";
    let (engine, ours) = match asked(facts, ID) {
        Ok(asked) => asked,
        Err(finding) => {
            return vec![Finding { message: finding.message.replace("Docker's `dns`", "containers"), ..finding }];
        }
    };
    let is_ours = |server: &String| server.parse().is_ok_and(|ip| ours.contains(&ip));
    if !engine.daemon.servers().iter().any(is_ours) {
        return vec![Finding::skipped(ID, "containers: the daemon's `dns` is not callsign")];
    }
    let set = [engine.daemon.changed, engine.daemon.started].into_iter().flatten().min();
    let old: Vec<&str> = engine
        .containers
        .iter()
        .filter(|container| container.dns.is_empty() && !container.asks(&ours, set))
        .map(|container| container.name.as_str())
        .collect();
    let own: Vec<&Container> = engine
        .containers
        .iter()
        .filter(|container| !container.dns.is_empty() && !container.dns.iter().any(is_ours))
        .collect();
    let mut findings = Vec::new();
    if !old.is_empty() {
        let message = format!(
            "{} {} started before Docker's `dns` was set, and {} not ask callsign",
            names(&old),
            if old.len() == 1 { "was" } else { "were" },
            if old.len() == 1 { "does" } else { "do" }
        );
        findings.push(Finding::problem(ID, message, format!("docker restart {}", old.join(" "))));
    }
    if !own.is_empty() {
        let names = names(&own.iter().map(|container| container.name.as_str()).collect::<Vec<_>>());
        let message = format!(
            "{names} {} `dns` of {} own, and not callsign's",
            if own.len() == 1 { "has" } else { "have" },
            if own.len() == 1 { "its" } else { "their" }
        );
        findings.push(Finding::warning(
            ID,
            message,
            "leave `dns:` and `--dns` out where the container is to ask callsign",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(ID, format!("all {} running containers ask callsign", engine.containers.len())));
    }
    findings
}

fn names(all: &[&str]) -> String {
    let more = if all.len() > NAMED { format!(" and {} more", all.len() - NAMED) } else { String::new() };
    format!("{}{more}", all[..all.len().min(NAMED)].join(", "))
}

impl Container {
    /// True if it asks one of these addresses, as far as can be told. `set` is when the daemon's `dns` was.
    fn asks(&self, ours: &[IpAddr], set: Option<SystemTime>) -> bool {
        let is_early = || is_stale(self.started, set);
        let Some(text) = &self.resolv_conf else { return !is_early() };
        let servers = crate::cli::system::nameservers(text);
        if servers.iter().all(|server| server == EMBEDDED) {
            // Newer engines write behind it whom it asks.
            return match text.lines().find(|line| line.contains("ExtServers:")) {
                Some(line) => ours.iter().any(|ip| line.contains(&ip.to_string())),
                None => !is_early(),
            };
        }
        servers.iter().any(|server| server.parse().is_ok_and(|ip| ours.contains(&ip)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_asks_whom_its_resolv_conf_names() {
        let ours: [IpAddr; 1] = [[172, 17, 0, 1].into()];
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let asks = |resolv_conf: &str, started| {
            let container =
                Container { resolv_conf: Some(resolv_conf.to_owned()), started: at(started), ..Container::default() };
            container.asks(&ours, at(100))
        };
        assert!(asks("nameserver 172.17.0.1\n", 1), "whenever it was started");
        assert!(!asks("nameserver 192.0.2.1\n", 200));
        assert!(asks("nameserver 127.0.0.11\noptions ndots:0\n", 200));
        assert!(!asks("nameserver 127.0.0.11\noptions ndots:0\n", 1));
        assert!(asks("nameserver 127.0.0.11\n# ExtServers: [host(172.17.0.1)]\n", 1));
        assert!(!asks("nameserver 127.0.0.11\n# ExtServers: [192.0.2.1]\n", 200));
        let unreadable = Container { started: at(1), ..Container::default() };
        assert!(!unreadable.asks(&ours, at(100)) && unreadable.asks(&ours, None));
    }
}
