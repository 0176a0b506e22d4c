//! Port 53: whether callsign has it where it ought to, and who else does.

use callsign::server::Holders;

use super::facts::{Facts, Listener, Process};
use super::finding::Finding;

const ID: &str = "port";

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let listeners = facts.listeners();
    if listeners.is_empty() {
        let reason = match (facts.is_docker, facts.engine()) {
            (true, Err(_)) => "Docker is away, whose gateways callsign listens at",
            _ => "no network says where to listen",
        };
        return vec![Finding::skipped(ID, format!("port {}: {reason}", facts.port()))];
    }
    let holders = Holders::default();
    let (mut findings, mut served, mut free) = (Vec::new(), 0, Vec::new());
    for listener in &listeners {
        let mut is_served = true;
        for tcp in [false, true] {
            let holder = holders.of(listener.address, tcp);
            let transport = if tcp { "TCP" } else { "UDP" };
            match holder.process() {
                Some((pid, name)) if is_ours(facts, pid, name) => {}
                Some((pid, name)) => {
                    let process = Process { pid, name: name.to_owned() };
                    let unit = process.unit().map(|unit| format!(", {unit}")).unwrap_or_default();
                    let message = format!(
                        "{transport} port {} of {} (network {}) is taken by {name} (pid {pid}{unit})",
                        listener.address.port(),
                        listener.address.ip(),
                        listener.network
                    );
                    findings.push(Finding::problem(ID, message, holder.cure()));
                    is_served = false;
                    // Mostly the same one has TCP, too.
                    break;
                }
                None if holder.is_taken() => {
                    let message = format!(
                        "{transport} port {} of {} (network {}) is taken by a process that this user may not see",
                        listener.address.port(),
                        listener.address.ip(),
                        listener.network
                    );
                    // Without root one cannot tell whether it is callsign.
                    let finding = Finding::warning(ID, message, "run `callsign doctor` as root to see whose it is");
                    findings.push(if facts.servers.is_empty() {
                        finding
                    } else {
                        Finding::skipped(ID, finding.message)
                    });
                    is_served = false;
                    break;
                }
                None => is_served = false,
            }
        }
        if is_served {
            served += 1;
        } else if findings.is_empty() {
            free.push(listener);
        }
    }
    // Without a server that is what `callsign` says.
    if !facts.servers.is_empty() && !free.is_empty() {
        findings.push(unserved(&free));
    }
    if findings.is_empty() {
        let message = match served {
            0 => format!("port {} is free where callsign is to listen", facts.port()),
            _ => format!("callsign listens at {served} of {} addresses", listeners.len()),
        };
        findings.push(Finding::ok(ID, message));
    }
    findings
}

fn is_ours(facts: &Facts, pid: u32, name: &str) -> bool {
    // systemd holds the sockets that it hands in.
    facts.servers.iter().any(|server| server.pid == pid) || pid == 1 && name == "systemd"
}

fn unserved(free: &[&Listener]) -> Finding {
    let named: Vec<String> =
        free.iter().take(5).map(|listener| format!("{} ({})", listener.address, listener.network)).collect();
    let more = if free.len() > 5 { format!(" and {} more", free.len() - 5) } else { String::new() };
    Finding::problem(
        ID,
        format!("callsign runs, and does not listen at {}{more}", named.join(", ")),
        "its log says why: `journalctl -u callsign`; `callsign status` shows each listener. It may have been started with another \
         configuration",
    )
}
