//! Port 53: whether callsign has it where it ought to, and who else does.

use callsign::server::Holders;

use super::facts::{Facts, Listener, Process};
use super::finding::Finding;

const ID: &str = "port";
/// So many addresses are named.
const NAMED: usize = 5;

/// Who has an address, over UDP and TCP.
enum State {
    /// callsign has both.
    Served,
    /// Nobody has one of them.
    Free,
    /// Somebody else has one of them.
    Taken(Finding),
}

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
        match state(facts, listener, &holders) {
            State::Served => served += 1,
            State::Free => free.push(listener),
            State::Taken(finding) => findings.push(finding),
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

fn state(facts: &Facts, listener: &Listener, holders: &Holders) -> State {
    let mut state = State::Served;
    for (tcp, transport) in [(false, "UDP"), (true, "TCP")] {
        let holder = holders.of(listener.address, tcp);
        let (ip, port) = (listener.address.ip(), listener.address.port());
        let taken = format!("{transport} port {port} of {ip} (network {}) is taken by", listener.network);
        match holder.process() {
            Some((pid, name)) if is_ours(facts, pid, name) => {}
            Some((pid, name)) => {
                let unit = Process { pid, name: name.to_owned() }.unit().map(|unit| format!(", {unit}"));
                let message = format!("{taken} {name} (pid {pid}{})", unit.unwrap_or_default());
                return State::Taken(Finding::problem(ID, message, holder.cure()));
            }
            // It may be callsign, where that runs.
            None if holder.is_taken() && !facts.servers.is_empty() => {
                return State::Taken(Finding::skipped(ID, format!("{taken} a process that only root may see")));
            }
            None if holder.is_taken() => {
                let cure = "run `callsign doctor` as root to see whose it is";
                return State::Taken(Finding::warning(ID, format!("{taken} a process that only root may see"), cure));
            }
            None => state = State::Free,
        }
    }
    state
}

fn is_ours(facts: &Facts, pid: u32, name: &str) -> bool {
    // systemd holds the sockets that it hands in.
    facts.servers.iter().any(|server| server.pid == pid) || pid == 1 && name == "systemd"
}

fn unserved(free: &[&Listener]) -> Finding {
    let named: Vec<String> =
        free.iter().take(NAMED).map(|listener| format!("{} ({})", listener.address, listener.network)).collect();
    let more = if free.len() > NAMED { format!(" and {} more", free.len() - NAMED) } else { String::new() };
    Finding::problem(
        ID,
        format!("callsign runs, and does not listen at {}{more}", named.join(", ")),
        "its log says why: `journalctl -u callsign`; `callsign status` shows each listener. It may have been started with another \
         configuration",
    )
}
