//! What was measured, as a table for people and as JSON.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::load::Taken;
use crate::machine::Machine;
use crate::server::Server;
use crate::workload::Workload;

/// See the module.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    rounds: u32,
    seconds: u32,
    rows: Vec<Row>,
}

/// One server under one workload.
#[derive(Debug)]
struct Row {
    workload: Workload,
    server: String,
    is_floor: bool,
    /// By round.
    taken: Vec<Taken>,
}

impl Row {
    fn median(&self, of: impl Fn(&Taken) -> f64) -> f64 {
        median(self.taken.iter().map(of).collect())
    }

    fn spread(&self) -> (f64, f64) {
        let cpu = || self.taken.iter().map(|taken| taken.cpu);
        (cpu().fold(f64::INFINITY, f64::min), cpu().fold(0.0, f64::max))
    }

    fn worst(&self, of: impl Fn(&Taken) -> f64) -> f64 {
        self.taken.iter().map(of).fold(0.0, f64::max)
    }
}

impl Report {
    pub(crate) fn new(machine: Machine, rounds: u32, seconds: u32) -> Report {
        Report { machine, rounds, seconds, rows: Vec::new() }
    }

    /// Adds a measurement, the next round's of this server under this workload.
    pub(crate) fn add(&mut self, workload: Workload, server: &Server, taken: Taken) {
        match self.rows.iter_mut().find(|row| row.workload == workload && row.server == server.name()) {
            Some(row) => row.taken.push(taken),
            None => {
                let (server, is_floor) = (server.name().to_owned(), server.is_floor());
                self.rows.push(Row { workload, server, is_floor, taken: vec![taken] });
            }
        }
    }

    /// Of each round the ratio to what the echo took in that round, and of these the median: what disturbs the machine for
    /// longer than a round disturbs both.
    fn ratio(&self, row: &Row) -> f64 {
        let floor = self.rows.iter().find(|other| other.is_floor && other.workload == row.workload);
        let floor = floor.map_or(&[][..], |floor| &floor.taken);
        median(row.taken.iter().zip(floor).map(|(taken, floor)| taken.cpu / floor.cpu).collect())
    }

    /// Writes everything that was measured.
    pub(crate) fn write_json(&self, file: &Path) -> io::Result<()> {
        let rows: Vec<Value> = self.rows.iter().map(|row| self.row_json(row)).collect();
        let report = json!({
            "machine": self.machine.description,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "results": rows,
        });
        fs::write(file, format!("{report:#}\n"))
    }

    fn row_json(&self, row: &Row) -> Value {
        let of = |figure: fn(&Taken) -> f64| row.taken.iter().map(figure).collect::<Vec<_>>();
        json!({
            "workload": row.workload.id(),
            "server": row.server,
            "cpu_us_per_query": row.median(|taken| taken.cpu),
            "ratio_to_echo": self.ratio(row),
            "queries_per_second": row.median(|taken| taken.qps),
            "by_round": {
                "cpu_us_per_query": of(|taken| taken.cpu),
                "queries_per_second": of(|taken| taken.qps),
                "lost": of(|taken| taken.lost),
                "failed": of(|taken| taken.failed),
            },
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine.description)?;
        writeln!(f, "Medians of {} rounds of {} s; lowest to highest CPU in parentheses.", self.rounds, self.seconds)?;
        for workload in Workload::ALL {
            let rows: Vec<_> = self.rows.iter().filter(|row| row.workload == workload).collect();
            if rows.is_empty() {
                continue;
            }
            writeln!(f, "\n| {:<21} | CPU µs/query        | ÷ echo |     QPS |", workload.to_string())?;
            writeln!(f, "|{:-<23}|{:-<21}|{:->7}:|{:->8}:|", "", "", "", "")?;
            for row in &rows {
                let (low, high) = row.spread();
                let cpu = format!("{:.2} ({low:.2}–{high:.2})", row.median(|taken| taken.cpu));
                let qps = row.median(|taken| taken.qps);
                writeln!(f, "| {:<21} | {cpu:<19} | {:>6.2} | {qps:>7.0} |", row.server, self.ratio(row))?;
            }
            for row in rows {
                let (lost, failed) = (row.worst(|taken| taken.lost), row.worst(|taken| taken.failed));
                // dnsperf's last queries are cut off by its end.
                if lost > 0.001 || failed > 0.0 {
                    let [lost, failed] = [lost, failed].map(|share| share * 100.0);
                    writeln!(f, "{}: {lost:.2} % lost, {failed:.2} % not NOERROR in its worst round", row.server)?;
                }
            }
        }
        Ok(())
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => f64::NAN,
        count if count % 2 == 0 => (figures[count / 2 - 1] + figures[count / 2]) / 2.0,
        count => figures[count / 2],
    }
}
