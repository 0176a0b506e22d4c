//! Asking: one run of dnsperf, and what the server spent on it.

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use crate::machine::Machine;
use crate::server::Server;
use crate::support::process::{Process, Source};
use crate::support::{DEADLINE, needs};

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Taken {
    /// Processor time of the server per answered query, microseconds.
    pub(crate) cpu: f64,
    /// Answers a second.
    pub(crate) qps: f64,
    /// Queries without an answer, of all.
    pub(crate) lost: f64,
    /// Answers that were not NOERROR, of all.
    pub(crate) failed: f64,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} µs/query, {:.0} queries/s", self.cpu, self.qps)?;
        let (lost, failed) = (self.lost * 100.0, self.failed * 100.0);
        if lost + failed > 0.0 { write!(f, ", {lost:.3} % lost, {failed:.3} % failed") } else { Ok(()) }
    }
}

/// Asks every question of the file once.
pub(crate) fn once(machine: &Machine, server: &Server, questions: &Path) {
    let mut command = dnsperf(machine, server, questions);
    command.args(["-n", "1"]);
    run(command, DEADLINE);
}

/// Asks the questions of the file, over and over where there is time.
pub(crate) fn drive(machine: &Machine, server: &Server, questions: &Path, time: Duration) -> Taken {
    let mut command = dnsperf(machine, server, questions);
    command.args(["-l", &time.as_secs().to_string()]);
    let before = server.cpu_time();
    let said = run(command, time + DEADLINE);
    let spent = server.cpu_time() - before;

    let sent: f64 = figure(&said, "Queries sent:");
    let answered: f64 = figure(&said, "Queries completed:");
    let good: f64 = match said.contains("NOERROR ") {
        true => figure(&said, "NOERROR "),
        false => 0.0,
    };
    assert!(answered > 0.0, "{} answered nothing:\n{said}", server.name());
    Taken {
        cpu: spent.as_secs_f64() * 1e6 / answered,
        qps: figure(&said, "Queries per second:"),
        lost: 1.0 - answered / sent,
        failed: 1.0 - good / answered,
    }
}

fn dnsperf(machine: &Machine, server: &Server, questions: &Path) -> Command {
    let mut command = needs::command("taskset");
    command.args(["--cpu-list", &machine.client_core.to_string(), "dnsperf"]);
    // It waits for what is lost so many seconds, at the end of its time too.
    command.args(["-c", "8", "-T", "1", "-q", "200", "-t", "2", "-d"]).arg(questions);
    command.args(["-s", &server.address().ip().to_string(), "-p", &server.address().port().to_string()]);
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
