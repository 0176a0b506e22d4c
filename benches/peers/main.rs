//! callsign side by side with other DNS servers: what each spends on a query, in one run on one machine.
//!
//! ```sh
//! benches/install-peers           # as root on Debian: dnsperf, and the servers
//! cargo bench --bench peers       # about four minutes; with `-- --quick`, half a minute and rough figures
//! ```
//!
//! Each server runs alone on one core, and `dnsperf` drives it from another, over loopback. The figure that holds on a
//! noisy machine is the processor time that the server itself spends on a query (user and system, of the whole process),
//! beside what a bare UDP echo spends in the same round: no server on ordinary sockets can do with less. Queries per second
//! are here bounded by the client's core.
//!
//! A [`workload`] is what is asked, a [`server`] who is asked, [`load`] asks, [`echo`] is the floor, [`report`] the table.
//! Peers that are not installed are left out, and without `dnsperf`, or when started by `cargo test`, nothing is done.

// What the tests have for starting and following programs.
#[path = "../../tests/support/mod.rs"]
mod support;

mod echo;
mod load;
mod machine;
mod report;
mod server;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tempfile::TempDir;

use machine::Machine;
use report::Report;
use server::{Server, Stage};
use support::needs;
use workload::Workload;

#[derive(Debug, Parser)]
#[command(
    name = "peers",
    about = "Compares callsign with other DNS servers: processor time per query, beside a UDP echo."
)]
struct Arguments {
    /// Measure each server this many times, in turn with the others
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// One round of one second: to see that it works
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// Write every measurement to this file, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    /// Only say that there is nothing to test
    #[arg(long, hide = true)]
    test: bool,
    /// Be the echo at this port of 127.0.0.1
    #[arg(long, hide = true, value_name = "PORT")]
    echo: Option<u16>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(port) = arguments.echo {
        let error = echo::serve(port);
        eprintln!("the echo ended: {error}");
        return ExitCode::FAILURE;
    }
    if arguments.test || !arguments.bench {
        println!("peers: a comparison, not a test; run it with `cargo bench --bench peers`");
        return ExitCode::SUCCESS;
    }
    let missing: Vec<_> =
        ["dnsperf", "taskset", "setpriv"].into_iter().filter(|program| needs::find(program).is_none()).collect();
    if !missing.is_empty() {
        println!("peers: not compared, as {} is missing; benches/install-peers installs it", missing.join(", "));
        return ExitCode::SUCCESS;
    }
    let Some(machine) = Machine::look() else {
        println!("peers: not compared, as it takes two cores, one for the server and one for the client");
        return ExitCode::SUCCESS;
    };
    let (rounds, seconds) = if arguments.quick { (1, 1) } else { (arguments.rounds, arguments.seconds) };
    let report = compare(machine, rounds, seconds);
    print!("{report}");
    match arguments.json.map(|file| (report.write_json(&file), file)) {
        Some((Err(error), file)) => {
            eprintln!("{}: {error}", file.display());
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn compare(machine: Machine, rounds: u32, seconds: u32) -> Report {
    let directory = TempDir::with_prefix("callsign-peers-").expect("a directory for the servers' files");
    let mut stage = Stage::new(directory.path(), &machine);
    let upstream = stage.upstream();
    let mut report = Report::new(machine, rounds, seconds);
    for workload in Workload::ALL {
        if workload.is_forwarded() && upstream.is_none() {
            println!("peers: no {workload}, as knotd, the upstream, is missing; benches/install-peers installs it");
            continue;
        }
        // Started anew for each workload: none begins with the cache that another one filled.
        let servers: Vec<Server> = stage.servers(workload);
        for round in 0..rounds {
            let questions = workload.questions(round, seconds);
            let file = stage.write("questions", &questions);
            for server in &servers {
                if workload.is_warm() {
                    load::once(&report.machine, server, &file);
                }
                let taken = load::drive(&report.machine, server, &file, Duration::from_secs(seconds.into()));
                eprintln!("round {}: {workload}: {}: {taken}", round + 1, server.name());
                report.add(workload, server, taken);
            }
        }
    }
    report
}
