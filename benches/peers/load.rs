//! Throughput: one run of dnsperf, and what the server spent on it.

use std::fmt::Write;
use std::io;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use callsign::wire::rtype;

use crate::machine::Machine;
use crate::server::Server;
use crate::support::process::{Process, Source};
use crate::support::{DEADLINE, needs};
use crate::workload::Question;

/// Less processor time than this tells little: the machine had something else to do.
const ENOUGH: Duration = Duration::from_millis(100);
/// How often what was disturbed is measured again.
const ATTEMPTS: u32 = 3;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Load {
    /// Processor time of the server per answered query, microseconds.
    pub(crate) cpu: f64,
    /// Answers a second.
    pub(crate) qps: f64,
    /// Queries without an answer, of all.
    pub(crate) lost: f64,
    /// Answers that were NOERROR, of all.
    pub(crate) found: f64,
    /// Changes of the table a second, meanwhile.
    pub(crate) changes: f64,
}

/// Writes the questions as dnsperf reads them.
pub(crate) fn write(questions: &[Question], file: &Path) -> io::Result<()> {
    let mut text = String::new();
    for Question { name, rtype } in questions {
        let rtype = match *rtype {
            rtype::A => "A",
            rtype::AAAA => "AAAA",
            rtype::PTR => "PTR",
            other => unreachable!("nobody asks for type {other}"),
        };
        writeln!(text, "{name} {rtype}").expect("a string takes it");
    }
    std::fs::write(file, text)
}

/// Asks every question of the file once.
pub(crate) fn once(machine: &Machine, server: &Server, questions: &Path) {
    let mut command = dnsperf(machine, server, questions);
    command.args(["-n", "1"]);
    run(command, DEADLINE);
}

/// Asks the questions of the file, over and over where there is time, at the last of the server's addresses.
pub(crate) fn drive(machine: &Machine, server: &Server, questions: &Path, time: Duration) -> Load {
    let (mut load, mut spent) = attempt(machine, server, questions, time);
    for _ in 1..ATTEMPTS {
        if spent >= ENOUGH {
            break;
        }
        eprintln!("{}, {}: measured again, as it ran for {spent:?} only", server.name, server.setup);
        (load, spent) = attempt(machine, server, questions, time);
    }
    load
}

fn attempt(machine: &Machine, server: &Server, questions: &Path, time: Duration) -> (Load, Duration) {
    let mut command = dnsperf(machine, server, questions);
    command.args(["-l", &time.as_secs_f64().to_string()]);
    let (before, changes) = (server.cpu_time(), server.changes());
    let said = run(command, time + DEADLINE);
    let (spent, changes) = (server.cpu_time() - before, server.changes() - changes);

    let sent: f64 = figure(&said, "Queries sent:");
    let answered: f64 = figure(&said, "Queries completed:");
    let found: f64 = match said.contains("NOERROR ") {
        true => figure(&said, "NOERROR "),
        false => 0.0,
    };
    let seconds: f64 = figure(&said, "Run time (s):");
    assert!(answered > 0.0, "{} answered nothing:\n{said}", server.name);
    let load = Load {
        cpu: spent.as_secs_f64() * 1e6 / answered,
        qps: figure(&said, "Queries per second:"),
        lost: 1.0 - answered / sent,
        found: found / answered,
        changes: changes as f64 / seconds,
    };
    (load, spent)
}

fn dnsperf(machine: &Machine, server: &Server, questions: &Path) -> Command {
    let mut command = needs::command("taskset");
    command.args(["--cpu-list", &machine.client_core.to_string(), "dnsperf"]);
    // It waits for what is lost so many seconds, at the end of its time too.
    command.args(["-c", "8", "-T", "1", "-q", "200", "-t", "2", "-d"]).arg(questions);
    let address = server.addresses()[server.addresses().len() - 1];
    command.args(["-s", &address.ip().to_string(), "-p", &address.port().to_string()]);
    command
}

/// Runs it to its end and gives what it printed.
fn run(command: Command, within: Duration) -> String {
    let mut process = Process::spawn(command);
    let status = process.wait_exit(within);
    assert!(status.success(), "dnsperf failed: {process:?}");
    process.lines(Source::Stdout).join("\n")
}

/// The number behind a label of dnsperf's.
fn figure<T: FromStr>(said: &str, label: &str) -> T {
    let number = said.split_once(label).and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("dnsperf did not say {label:?}:\n{said}"))
}
