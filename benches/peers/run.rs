//! One run: every workload, in rounds in which the servers take turns.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::Arguments;
use crate::about::About;
use crate::host;
use crate::load;
use crate::machine::Machine;
use crate::paced;
use crate::peer::Peer;
use crate::results::{Results, Taken};
use crate::server::{Server, Stage};
use crate::setup::Setup;
use crate::support::needs;
use crate::support::process::run;
use crate::workload::{Question, Workload};

/// What is the same in all of a run.
struct Run<'a> {
    machine: &'a Machine,
    directory: &'a Path,
    /// How long as many questions are asked as are answered.
    flood: Duration,
    /// How long latencies are measured.
    steady: Duration,
}

/// Measures what the arguments choose.
pub(crate) fn compare(machine: Machine, arguments: &Arguments) -> Results {
    let directory = TempDir::with_prefix("callsign-peers-").expect("a directory for the servers' files");
    let quick = arguments.quick;
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    let (rounds, flood, steady) = match quick {
        true => (1, Duration::from_millis(300), Duration::from_millis(250)),
        false => (arguments.rounds, seconds(arguments.seconds), seconds(arguments.steady_seconds)),
    };
    let binary = stripped(directory.path());
    let about = About::look(rounds, flood, steady);
    let mut results = Results { machine, about, binary, rows: Vec::new() };
    let machine = results.machine.clone();
    let run = Run { machine: &machine, directory: directory.path(), flood, steady };
    let mut stage = Stage::new(directory.path(), &machine);
    let has_upstream = stage.start_upstream();

    let is_chosen = |workload: &Workload| arguments.workload.is_empty() || arguments.workload.contains(workload);
    for workload in Workload::ALL.into_iter().filter(is_chosen) {
        if workload.is_forwarded() && !has_upstream {
            println!("peers: no {workload}, as knotd, the upstream, is missing; benches/install-peers installs it");
            continue;
        }
        let jobs = jobs(workload, arguments);
        if workload != Workload::Idle {
            // Started anew for each workload: none begins with the cache that another one filled.
            let servers: Vec<Server> =
                jobs.iter().filter_map(|(peer, setup)| stage.start(*peer, setup, workload)).collect();
            for round in 0..rounds {
                for setup in workload.setups(quick) {
                    let questions = run.questions(workload, &setup, round);
                    let mut servers: Vec<_> = servers.iter().filter(|server| server.setup == setup).collect();
                    // Another one begins each round: nobody comes always after the same server.
                    let count = servers.len().max(1);
                    servers.rotate_left(round as usize % count);
                    for server in servers {
                        take(&mut results, workload, round, server, Some((&run, &questions)));
                    }
                }
            }
        }
        // What can be told of a start only, as often as the rest. Each alone, and gone before the next one starts.
        for round in u32::from(workload != Workload::Idle)..rounds {
            let restarted = jobs.iter().filter(|(peer, _)| workload.restarts(*peer));
            let started = restarted.filter_map(|(peer, setup)| stage.start(*peer, setup, workload));
            started.for_each(|server| take(&mut results, workload, round, &server, None));
        }
    }
    results
}

/// Who is started, and with what.
fn jobs(workload: Workload, arguments: &Arguments) -> Vec<(Peer, Setup)> {
    let is_chosen = |peer: &Peer| {
        let is_ours = matches!(peer, Peer::Echo | Peer::Callsign | Peer::Library);
        arguments.peer.is_empty() || is_ours || arguments.peer.contains(peer)
    };
    let setups = workload.setups(arguments.quick);
    let of = |peer| setups.iter().map(move |setup| (peer, *setup));
    let all = Peer::ALL.into_iter().filter(is_chosen).flat_map(of);
    all.filter(|(peer, setup)| workload.is_for(*peer, setup, arguments.quick)).collect()
}

/// The questions of a round: for dnsperf, the same as its file, and for the latencies.
struct Questions {
    file: std::path::PathBuf,
    steady: Vec<Question>,
}

impl Run<'_> {
    fn questions(&self, workload: Workload, setup: &Setup, round: u32) -> Questions {
        let fast = workload.questions(setup, &format!("r{round}"), self.flood.as_secs() as u32 + 1);
        let file = self.directory.join("questions");
        load::write(&fast, &file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Questions { file, steady: workload.questions(setup, &format!("s{round}"), 1) }
    }

    fn measure(&self, workload: Workload, server: &Server, questions: &Questions) -> Taken {
        if workload.is_warm() {
            load::once(self.machine, server, &questions.file);
        }
        let load = load::drive(self.machine, server, &questions.file, self.flood);
        let paced = match workload.rate() {
            0 => None,
            rate => Some(paced::drive(server, &questions.steady, rate, self.steady).expect("a socket for latencies")),
        };
        Taken { load: Some(load), paced, ..of(server) }
    }
}

fn take(results: &mut Results, workload: Workload, round: u32, server: &Server, how: Option<(&Run<'_>, &Questions)>) {
    let taken = how.map_or_else(|| of(server), |(run, questions)| run.measure(workload, server, questions));
    eprintln!("round {}: {workload}: {}, {}: {taken}", round + 1, server.name, server.setup);
    results.add(workload, server, taken);
}

/// What can be said of a server that nobody asks.
fn of(server: &Server) -> Taken {
    Taken {
        load: None,
        paced: None,
        resident: server.resident(),
        private: server.private(),
        start: server.start.as_secs_f64() * 1e3,
        loaded: server.told(host::LOADED),
        attached: server.told(host::ATTACHED),
        detached: server.told(host::DETACHED),
    }
}

/// The size of the program without its symbols, MB. `None` where there is no `strip`.
fn stripped(directory: &Path) -> Option<f64> {
    let file = directory.join("callsign-stripped");
    let mut command = Command::new(needs::find("strip")?);
    command.arg("-o").arg(&file).arg(env!("CARGO_BIN_EXE_callsign"));
    run(command).expect_success();
    Some(fs::metadata(file).ok()?.len() as f64 / 1e6)
}
