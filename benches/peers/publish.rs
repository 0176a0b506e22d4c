//! The tables of one run in docs/performance.md, between two markers, and its chart.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::about;
use crate::chart;
use crate::peer::Peer;
use crate::report::{P99_IS, RATIOS_ARE, cell, markdown};
use crate::results::{CPU, Figure, P99, P99_OF_ALL, PACED_CPU, PRIVATE, RESIDENT, Results, Row};
use crate::setup::{Setup, thousands};
use crate::targets;
use crate::workload::Workload;

/// What is between these lines is this module's.
const BEGIN: &str = "<!-- written by `cargo bench --bench peers -- --publish` -->\n";
const END: &str = "<!-- until here -->\n";
/// The chart, and the page that shows it.
const CHART: &str = "benches/peers.svg";
const PAGE: &str = "docs/performance.md";

/// Fewer rounds than these are no figures to publish.
const ROUNDS: u32 = 5;

/// An error if what is measured now is nothing to publish.
pub(crate) fn may_be_written(rounds: u32) -> Result<(), Box<dyn Error>> {
    if rounds < ROUNDS {
        return Err(format!("the tables are of {ROUNDS} rounds or more").into());
    }
    match about::commit() {
        Some((_, false)) => Ok(()),
        Some((_, true)) => Err("the tables are of a commit: commit what was changed first".into()),
        None => Err("the tables are of a commit: this is no clone of the repository, or git is missing".into()),
    }
}

/// Writes the chart and what is between the markers.
pub(crate) fn rewrite(results: &Results, root: &Path) -> Result<(), Box<dyn Error>> {
    let file = root.join(PAGE);
    let text = fs::read_to_string(&file)?;
    let (before, rest) =
        text.split_once(BEGIN).ok_or_else(|| format!("{PAGE} has no line that the tables begin after"))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| format!("{PAGE} has no line that the tables end before"))?;
    fs::write(&file, format!("{before}{BEGIN}{}{END}{after}", section(results)))?;
    chart::write(results, &root.join(CHART))
}

/// What the page has of a run.
pub(crate) fn section(results: &Results) -> String {
    let asked = [Workload::Local, Workload::Mixed, Workload::Cached, Workload::Uncached];
    let cpu = table(results, "CPU µs a query (÷ echo)", &asked, |row| {
        let ratio = results.floor(row.workload).and_then(|floor| row.ratio(floor, CPU));
        row.median(CPU).map(|figure| format!("{figure:.1} ({})", cell(ratio, 2)))
    });
    let p99 = table(results, "p99 latency, µs", &asked, |row| {
        row.median(P99).map(|figure| format!("{figure:.0} ({})", cell(row.median(P99_OF_ALL), 0)))
    });
    let mut text = String::new();
    let (steady, upstream) = (thousands(Workload::Local.rate()), thousands(Workload::Uncached.rate()));
    let (date, machine, medians) = (&results.about.date, &results.machine, results.about.medians());
    let commit = results.about.commit.as_ref().map_or("no commit", |(commit, _)| &commit[..commit.len().min(12)]);
    writeln!(
        text,
        "{date}, {commit}: {machine}. {medians}; {RATIOS_ARE}.\n\n{cpu}\nAt {steady} queries a second, {upstream} where each has to be forwarded; \
         {P99_IS}, and in parentheses is that of all questions:\n\n{p99}\nAs they grow, CPU µs a query, private \
         memory (RssAnon: what is of no file) and in parentheses resident memory (RSS: with the pages of files); networks at the \
         steady rate, all asked in turn:\n\n{}\n{}\n![The same as bars](../{CHART})",
        growth(results),
        shortcomings(results)
    )
    .expect("a string takes it");
    text
}

/// The targets that callsign missed, and who lost questions.
fn shortcomings(results: &Results) -> String {
    let targets = targets::of(results);
    let missed: Vec<String> = targets.iter().filter(|target| target.is_missed()).map(|it| format!("- {it}")).collect();
    let failures: Vec<String> = results.rows.iter().filter_map(Row::failures).collect();
    let targets = "callsign's targets (`benches/peers/targets.rs`)";
    let met = match missed.is_empty() {
        true => format!("All of {targets} were met.\n"),
        false => format!("Of {targets} it missed:\n\n{}\n", missed.join("\n")),
    };
    let lost = match failures.is_empty() {
        true => "No server left a question without the expected answer.".to_owned(),
        false => format!("Questions without the expected answer: {}.", failures.join("; ")),
    };
    format!("{met}\n{lost}\n")
}

/// A row for each workload, a column for each server.
fn table(results: &Results, title: &str, workloads: &[Workload], of: impl Fn(&Row) -> Option<String>) -> String {
    let is_there = |peer: &Peer| workloads.iter().any(|&workload| results.row(workload, *peer, |_| true).is_some());
    let peers: Vec<Peer> = Peer::ALL.into_iter().filter(is_there).collect();
    let name = |peer: &Peer| {
        let row = results.rows.iter().find(|row| row.peer == *peer);
        row.map_or_else(String::new, |row| row.server.clone())
    };
    let mut lines = vec![[title.to_owned()].into_iter().chain(peers.iter().map(name)).collect::<Vec<_>>()];
    for &workload in workloads {
        let of = |peer: &Peer| results.row(workload, *peer, |_| true).and_then(&of).unwrap_or_else(|| "–".to_owned());
        lines.push([workload.to_string()].into_iter().chain(peers.iter().map(of)).collect());
    }
    markdown(&lines)
}

/// A row for each server, a column for each size.
fn growth(results: &Results) -> String {
    type Is = fn(&Setup) -> bool;
    let columns: [(&str, Workload, Is); 4] = [
        ("1 network", Workload::Networks, |setup| setup.networks == 1),
        ("500 networks", Workload::Networks, |setup| setup.networks == 500),
        ("1,000 names", Workload::Names, |setup| setup.names == 1000),
        ("1,000,000 names", Workload::Names, |setup| setup.names == 1_000_000),
    ];
    let mut lines = vec![[""].into_iter().chain(columns.map(|column| column.0)).map(str::to_owned).collect::<Vec<_>>()];
    for peer in Peer::ALL.into_iter().filter(|peer| !matches!(peer, Peer::Echo | Peer::Library)) {
        let figures = columns.map(|(_, workload, is_it)| {
            // The names of a million are the library's: see `workload`.
            let peer = if (workload, peer) == (Workload::Names, Peer::Callsign) { Peer::Library } else { peer };
            let row = results.row(workload, peer, is_it);
            let figure = |figure: Figure| row.and_then(|row| row.median(figure));
            // dnsperf asks one address only.
            let cpu = if workload == Workload::Networks { PACED_CPU } else { CPU };
            match row {
                Some(_) => {
                    let [cpu, private, resident] =
                        [(cpu, 1), (PRIVATE, 0), (RESIDENT, 0)].map(|(of, digits)| cell(figure(of), digits));
                    format!("{cpu} µs, {private} ({resident}) MB")
                }
                None => "–".to_owned(),
            }
        });
        if figures.iter().any(|figure| figure != "–") {
            lines.push([peer.label().to_owned()].into_iter().chain(figures).collect());
        }
    }
    markdown(&lines)
}
