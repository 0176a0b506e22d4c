//! `callsign doctor`: looks at this host, and says in plain words what is right and what is not, with the line to write.
//!
//! Each check is a function of the [`Facts`], and runs in a thread of its own; one that takes longer than [`PATIENCE`] is not
//! waited for. Reads only: questions to upstreams and GETs to Docker's socket are all that leaves the process.

pub(super) mod arguments;
mod callsign;
mod docker;
mod engine;
mod facts;
mod finding;
mod firewall;
mod permissions;
mod podman;
mod port;
mod upstreams;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::control::text::Style;
use super::{NO, output};
use facts::Facts;
use finding::{Finding, Verdict};

/// How long a check may take.
const PATIENCE: Duration = Duration::from_secs(5);

type Check = fn(&Facts) -> Vec<Finding>;

/// Every check with its id. Of several problems the one that stands first here is the cause of those below it, more often than the
/// other way round.
const CHECKS: &[(&str, Check)] = &[
    ("configuration", callsign::configuration),
    ("permissions", permissions::check),
    ("port", port::check),
    ("callsign", callsign::running),
    ("loop", upstreams::loops),
    ("clock", upstreams::clock),
    ("upstreams", upstreams::check),
    ("firewall", firewall::check),
    ("docker", docker::reachable),
    ("docker-dns", docker::dns),
    ("docker-containers", docker::containers),
    ("podman", podman::check),
    ("host-names", callsign::host_names),
    ("versions", callsign::versions),
];

/// The document of `--json`.
#[derive(Debug, Serialize)]
struct Document {
    /// Of this document.
    version: u32,
    /// False if there is a problem.
    healthy: bool,
    /// Problems first.
    checks: Vec<Finding>,
}

pub(super) fn run(arguments: &arguments::Doctor) -> ExitCode {
    let document = Document::of(look(Arc::new(Facts::gather(arguments)), CHECKS, PATIENCE));
    let code = if document.healthy { 0 } else { NO };
    if arguments.json {
        return output::json(&document, code);
    }
    output::written(code, |out| document.show(out, Style::of_stdout()))
}

/// Runs all checks at a time, and gives what they found in the order of the list.
fn look(facts: Arc<Facts>, checks: &[(&'static str, Check)], patience: Duration) -> Vec<Finding> {
    let deadline = Instant::now() + patience;
    let answers = checks.iter().map(|&(_, check)| {
        let (sender, answer) = mpsc::channel();
        let facts = Arc::clone(&facts);
        thread::spawn(move || sender.send(check(&facts)));
        answer
    });
    // All are started before the first is waited for.
    let answers: Vec<_> = answers.collect();
    let found = checks.iter().zip(answers).flat_map(|(&(id, _), answer)| {
        answer.recv_timeout(deadline.saturating_duration_since(Instant::now())).unwrap_or_else(|error| {
            let message = match error {
                mpsc::RecvTimeoutError::Timeout => {
                    format!("could not be looked at within {} s", patience.as_secs_f32())
                }
                mpsc::RecvTimeoutError::Disconnected => "could not be looked at: the check failed".to_owned(),
            };
            vec![Finding::warning(
                id,
                format!("{id}: {message}"),
                "try it again; something on this host hangs or is overloaded",
            )]
        })
    });
    found.collect()
}

/// Runs what waits for sockets, in a thread of a check.
fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(future))
}

impl Document {
    fn of(mut checks: Vec<Finding>) -> Document {
        checks.sort_by_key(|finding| finding.verdict);
        Document { version: 1, healthy: checks.iter().all(|finding| finding.verdict != Verdict::Problem), checks }
    }

    fn show(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        for Finding { verdict, message, cure, .. } in &self.checks {
            let word = match verdict {
                Verdict::Problem => style.bad("problem"),
                Verdict::Warning => style.doubtful("warning"),
                Verdict::Ok => format!("{}     ", style.good("ok")),
                Verdict::Skipped => style.dim("skipped"),
            };
            writeln!(out, "{word}  {message}")?;
            if let Some(cure) = cure {
                cure.lines().try_for_each(|line| writeln!(out, "         {line}"))?;
            }
        }
        let problems = self.checks.iter().filter(|finding| finding.verdict == Verdict::Problem).count();
        match problems {
            0 => writeln!(out, "\nNothing is wrong."),
            1 => writeln!(out, "\n1 problem."),
            _ => writeln!(out, "\n{problems} problems."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(_: &Facts) -> Vec<Finding> {
        thread::sleep(Duration::from_secs(60));
        Vec::new()
    }

    fn broken(_: &Facts) -> Vec<Finding> {
        panic!("a check that fails");
    }

    fn fine(_: &Facts) -> Vec<Finding> {
        vec![Finding::ok("fine", "fine"), Finding::problem("fine", "not fine", "do it")]
    }

    #[test]
    fn a_check_that_hangs_or_fails_costs_nothing_but_itself() {
        let checks: &[(&str, Check)] = &[("slow", slow), ("broken", broken), ("fine", fine)];
        let found = look(Arc::new(Facts::default()), checks, Duration::from_millis(200));
        let told: Vec<_> = found.iter().map(|finding| (finding.id, finding.verdict)).collect();
        let wanted = [
            ("slow", Verdict::Warning),
            ("broken", Verdict::Warning),
            ("fine", Verdict::Ok),
            ("fine", Verdict::Problem),
        ];
        assert_eq!(told, wanted);
        let document = Document::of(found);
        assert_eq!((document.healthy, document.checks[0].message.as_str()), (false, "not fine"), "problems first");
    }

    #[test]
    fn the_document_is_stable() {
        let document = Document::of(vec![Finding::ok("clock", "right"), Finding::problem("port", "taken", "free it")]);
        let wanted = serde_json::json!({
            "version": 1,
            "healthy": false,
            "checks": [
                { "id": "port", "verdict": "problem", "message": "taken", "cure": "free it" },
                { "id": "clock", "verdict": "ok", "message": "right" },
            ],
        });
        assert_eq!(serde_json::to_value(&document).unwrap(), wanted);
    }
}
