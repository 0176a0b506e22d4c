//! callsign side by side with other DNS servers: what each spends on a query, in one run on one machine.
//!
//! ```sh
//! benches/install-peers                            # as root on Debian: dnsperf, and the servers
//! cargo bench --bench peers                        # about a quarter of an hour
//! cargo bench --bench peers -- --quick             # a minute, and rough figures
//! cargo bench --bench peers -- --workload local,mixed --peer knot,nsd
//! cargo bench --bench peers -- --publish           # and write docs/performance.md and its chart
//! ```
//!
//! Each server runs alone on one core, and a client drives it from another, over loopback. The figure that holds on a noisy
//! machine is the processor time that the server itself spends on a query (user and system, of all its processes), beside
//! what a bare UDP echo spends in the same round: no server on ordinary sockets can do with less. Queries per second are
//! here bounded by the client's core. [`paced`] says which of the latencies is quoted.
//!
//! A [`workload`] is what is asked, a [`peer`] who is asked, a [`setup`] what it is started with as a [`server`]. [`load`]
//! asks as fast as it can, [`paced`] at a steady rate; [`echo`] is the floor, and [`host`] callsign as a library.
//! [`precedence`] keeps other programs from the two cores as well as can be. What was measured are [`results`], [`about`] the
//! run; [`report`], [`chart`], [`publish`] and [`targets`] tell it.
//!
//! Peers that are not installed are left out: each is looked for where its environment variable says (`PEER_KNOT`,
//! `PEER_NSD`, `PEER_UNBOUND`, `PEER_BIND`, `PEER_DNSMASQ`, `PEER_AARDVARK`), where `benches/install-peers` puts what it
//! builds, and in PATH. Without `dnsperf`, or when started by `cargo test`, nothing is done.
//!
//! Nobody else is measured while the table changes 1,000 times a second: Knot and BIND would take updates over the network,
//! through a journal, and dnsmasq and aardvark-dns would read all their names again for each.

// What the tests have for starting and following programs.
#[path = "../../tests/support/mod.rs"]
mod support;

mod about;
mod chart;
mod echo;
mod host;
mod load;
mod machine;
mod paced;
mod peer;
mod precedence;

mod publish;
mod report;
mod results;
mod run;
mod server;
mod setup;
mod targets;
mod tree;
mod workload;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use machine::Machine;
use peer::Peer;
use precedence::Precedence;
use results::Results;
use setup::Setup;
use support::needs;
use workload::Workload;

/// What the command line says.
#[derive(Debug, Parser)]
#[command(
    name = "peers",
    bin_name = "cargo bench --bench peers --",
    about = "Compares callsign with other DNS servers: processor time per query, beside a UDP echo, latency, private and resident memory."
)]
pub(crate) struct Arguments {
    /// Measure each server this many times, in turn with the others
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Seconds of each measurement of latencies, at a steady rate
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=60))]
    steady_seconds: u32,
    /// One round of short measurements, with fewer sizes and peers: to see that it works
    #[arg(long, conflicts_with_all = ["rounds", "seconds", "steady_seconds"])]
    quick: bool,
    /// Only these workloads
    #[arg(long, value_delimiter = ',')]
    workload: Vec<Workload>,
    /// Only these servers, beside callsign and the echo
    #[arg(long, value_delimiter = ',')]
    peer: Vec<Peer>,
    /// Write peers.json and peers.svg to this directory
    #[arg(long, value_name = "DIRECTORY", default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/peers"))]
    out: PathBuf,
    /// Print what docs/performance.md has of it, too
    #[arg(long)]
    markdown: bool,
    /// Write that to docs/performance.md, and its chart to benches/peers.svg: of everything, and of a commit
    #[arg(long, conflicts_with_all = ["quick", "workload", "peer"])]
    publish: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    /// Only say that there is nothing to test
    #[arg(long, hide = true)]
    test: bool,
    /// Be the echo at this port of 127.0.0.1
    #[arg(long, hide = true, value_name = "PORT")]
    echo: Option<u16>,
    /// Be callsign as a library at this port of 127.0.0.1
    #[arg(long, hide = true, value_name = "PORT", requires_all = ["host_names", "host_changes"])]
    host: Option<u16>,
    #[arg(long, hide = true)]
    host_names: Option<u32>,
    #[arg(long, hide = true)]
    host_changes: Option<u32>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(port) = arguments.echo {
        let error = echo::serve(port);
        eprintln!("the echo ended: {error}");
        return ExitCode::FAILURE;
    }
    if let (Some(port), Some(names), Some(changes)) = (arguments.host, arguments.host_names, arguments.host_changes) {
        let setup = Setup { names, changes, ..Setup::PLAIN };
        return told(host::serve(port, &setup));
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
    if let Err(error) = may_begin(&arguments) {
        return told(Err(error));
    }
    let start = Instant::now();
    // Until the end of this function.
    let _precedence = Precedence::take();
    let results = run::compare(machine, &arguments);
    print!("{results}");
    println!("\nAll of it took {:.0} s.", start.elapsed().as_secs_f64());
    told(write(&results, &arguments))
}

/// Finds out now what would be in vain in a quarter of an hour.
fn may_begin(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    Peer::check_variables()?;
    fs::create_dir_all(&arguments.out).map_err(|error| format!("{}: {error}", arguments.out.display()))?;
    if arguments.publish { publish::may_be_written(arguments.rounds) } else { Ok(()) }
}

fn write(results: &Results, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let (json, svg) = (arguments.out.join("peers.json"), arguments.out.join("peers.svg"));
    fs::write(&json, format!("{:#}\n", results.json()))?;
    chart::write(results, &svg)?;
    println!("\n{}\n{}", json.display(), svg.display());
    if arguments.markdown {
        print!("\n{}", publish::section(results));
    }
    if arguments.publish { publish::rewrite(results, Path::new(env!("CARGO_MANIFEST_DIR"))) } else { Ok(()) }
}

fn told(result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}
