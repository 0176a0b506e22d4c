//! callsign itself: its configuration, its processes, its version, and whether the host looks up names at it.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use callsign::control::client::Call;
use callsign::control::running as sockets;
use callsign::control::shapes::Status;
use callsign::server::Holders;

use super::block_on;
use super::facts::Facts;
use super::finding::Finding;
use crate::cli::arguments::PODMAN_LINK;
use crate::cli::host_names::{Standing, Trouble};
use crate::cli::system;

pub(super) fn configuration(facts: &Facts) -> Vec<Finding> {
    const ID: &str = "configuration";
    let path = facts.path.display();
    match &facts.config {
        None => vec![Finding::skipped(ID, format!("configuration: there is no {path}"))],
        Some(Err(error)) => {
            let problems = error.problems();
            let more = match problems.len() {
                0 | 1 => String::new(),
                count => format!(" (and {} more)", count - 1),
            };
            let first = problems.first().map_or_else(|| error.to_string(), ToString::to_string);
            let cure = format!(
                "`callsign check {path}` names every mistake; until then a reload changes nothing, and a start fails"
            );
            vec![Finding::problem(ID, format!("the configuration is not valid: {first}{more}"), cure)]
        }
        Some(Ok(config)) => {
            let found = config.surroundings();
            let cure = format!("callsign check {path}");
            let mut findings: Vec<Finding> =
                found.errors.iter().map(|problem| Finding::problem(ID, problem.to_string(), cure.as_str())).collect();
            let warnings = config.warnings.iter().chain(&found.warnings);
            findings.extend(warnings.map(|problem| Finding::warning(ID, problem.to_string(), cure.as_str())));
            if findings.is_empty() {
                findings.push(Finding::ok(ID, format!("{path} is valid")));
            }
            findings
        }
    }
}

pub(super) fn running(facts: &Facts) -> Vec<Finding> {
    const ID: &str = "callsign";
    if facts.servers.is_empty() {
        let is_podmans = fs::metadata(PODMAN_LINK).is_ok();
        return vec![match facts.config.is_some() || facts.is_docker {
            false if is_podmans => Finding::ok(ID, "callsign does not run: Podman starts it with the first container"),
            false => Finding::warning(
                ID,
                format!("callsign does not run, and {} is not there", facts.path.display()),
                "callsign serve --docker, or write a configuration",
            ),
            true => Finding::problem(
                ID,
                "callsign does not run",
                "systemctl start callsign; `journalctl -u callsign` says why it ended, if it did",
            ),
        }];
    }
    let mut findings = Vec::new();
    let own = fs::canonicalize("/proc/self/exe").map(|path| path.display().to_string()).unwrap_or_default();
    for server in &facts.servers {
        let program = server.program();
        if program.as_ref().is_some_and(|program| program.ends_with(" (deleted)")) {
            let message = format!("callsign was replaced on disk, and the old one still runs (pid {})", server.pid);
            findings.push(Finding::warning(ID, message, "systemctl restart callsign"));
        }
    }
    for socket in sockets() {
        match block_on(Call::get("/v1/status").send::<Status>(&socket)) {
            Ok(Ok((status, _))) if facts.servers.iter().any(|server| server.pid == status.pid) => {
                if status.version != env!("CARGO_PKG_VERSION")
                    && !findings.iter().any(|finding| finding.message.contains("replaced"))
                {
                    let message = format!(
                        "callsign {} runs (pid {}), and this is {}",
                        status.version,
                        status.pid,
                        env!("CARGO_PKG_VERSION")
                    );
                    findings.push(Finding::warning(
                        ID,
                        message,
                        format!("restart it, or remove the other one; this one is {own}"),
                    ));
                }
                findings.extend(status.problems.into_iter().map(|problem| {
                    Finding::warning(ID, format!("the running server says: {problem}"), "`callsign status` shows more")
                }));
            }
            _ => {}
        }
    }
    if findings.is_empty() {
        let pids: Vec<String> = facts.servers.iter().map(|server| server.pid.to_string()).collect();
        findings.push(Finding::ok(ID, format!("callsign runs (pid {})", pids.join(", "))));
    }
    findings
}

pub(super) fn host_names(facts: &Facts) -> Vec<Finding> {
    const ID: &str = "host-names";
    // What `host enable` never does, and people do.
    if let Some(server) = Facts::resolved_servers().into_iter().find(|server| is_ours(facts, server)) {
        return vec![Finding::problem(
            ID,
            format!(
                "systemd-resolved asks callsign at {server} for every name of this host: `DNS=` in resolved.conf does that, \
                 whatever `Domains=` says"
            ),
            "take it out of /etc/systemd/resolved.conf and resolved.conf.d, restart systemd-resolved, and run `callsign host enable`",
        )];
    }
    match Standing::read() {
        Err(message) => vec![Finding::skipped(ID, format!("names on this host: {message}"))],
        Ok(standing) if standing.traces.is_empty() => vec![Finding::skipped(
            ID,
            format!(
                "names of containers on this host itself: not enabled ({}); `callsign host enable` does it",
                standing.resolver.name()
            ),
        )],
        Ok(standing) if standing.problems.is_empty() => vec![Finding::ok(
            ID,
            format!("{} asks callsign for names below {}", standing.resolver.name(), standing.setting.zones.join(", ")),
        )],
        Ok(standing) => {
            standing.problems.into_iter().map(|Trouble { message, cure }| Finding::problem(ID, message, cure)).collect()
        }
    }
}

/// True for a server of resolved's that is callsign.
fn is_ours(facts: &Facts, server: &str) -> bool {
    let Ok(ip) = server.parse::<IpAddr>() else { return false };
    let address = SocketAddr::new(ip, 53);
    let holder = Holders::default().of(address, false);
    facts.listeners().iter().any(|listener| listener.address == address)
        || holder.process().is_some_and(|(pid, _)| facts.servers.iter().any(|server| server.pid == pid))
}

pub(super) fn versions(facts: &Facts) -> Vec<Finding> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut versions = vec![format!("callsign {}", env!("CARGO_PKG_VERSION")), format!("Linux {}", kernel.trim())];
    versions.extend(system::systemd_version("systemctl").map(|version| format!("systemd {version}")));
    versions.extend(facts.engine().as_ref().ok().map(|engine| format!("Docker {}", engine.version)));
    vec![Finding::ok("versions", versions.join(", "))]
}
