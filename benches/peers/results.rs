//! What was measured, by server and round, and as JSON.

use std::fmt;

use serde_json::{Value, json};

use crate::about::About;
use crate::load::Load;
use crate::machine::Machine;
use crate::paced::Paced;
use crate::peer::Peer;
use crate::server::Server;
use crate::setup::Setup;
use crate::workload::Workload;

/// One server under one workload in one round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Taken {
    pub(crate) load: Option<Load>,
    pub(crate) paced: Option<Paced>,
    /// Resident memory afterwards, MB.
    pub(crate) resident: f64,
    /// Private memory afterwards, MB.
    pub(crate) private: f64,
    /// From the start of the server to its first answer, milliseconds.
    pub(crate) start: f64,
    /// Of callsign as a library: what loading the names took of that, milliseconds.
    pub(crate) loaded: Option<f64>,
    /// Of the same: what it takes to attach an endpoint, microseconds.
    pub(crate) attached: Option<f64>,
    /// And to detach it.
    pub(crate) detached: Option<f64>,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.load {
            Some(load) => write!(f, "{:.2} µs/query, {:.0} queries/s", load.cpu, load.qps)?,
            None => write!(f, "first answer after {:.1} ms", self.start)?,
        }
        if let Some(load) = self.load.filter(|load| load.lost > 0.0) {
            write!(f, ", {:.3} % lost", load.lost * 100.0)?;
        }
        if let Some(load) = self.load.filter(|load| load.changes > 0.0) {
            write!(f, ", {:.0} changes/s", load.changes)?;
        }
        if let Some(paced) = &self.paced {
            let Paced { median, p99, p99_of_all, p99_worst, asked, lost, .. } = paced;
            write!(f, "; at {asked:.0} queries/s {median:.1} µs median, p99 {p99:.1} µs")?;
            write!(f, " ({p99_of_all:.0} of all, {p99_worst:.0} at worst), {:.3} % lost", lost * 100.0)?;
        }
        write!(f, "; {:.1} MB private, {:.1} MB resident", self.private, self.resident)
    }
}

/// One server under one workload.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) workload: Workload,
    pub(crate) peer: Peer,
    pub(crate) setup: Setup,
    /// The program and its version.
    pub(crate) server: String,
    /// By round.
    pub(crate) taken: Vec<Taken>,
}

/// A figure of a measurement, where it was taken.
pub(crate) type Figure = fn(&Taken) -> Option<f64>;

/// The figures that are compared.
pub(crate) const CPU: Figure = |taken| Some(taken.load?.cpu);
pub(crate) const QPS: Figure = |taken| Some(taken.load?.qps);
pub(crate) const MEDIAN: Figure = |taken| Some(taken.paced?.median);
pub(crate) const P99: Figure = |taken| Some(taken.paced?.p99);
pub(crate) const P99_OF_ALL: Figure = |taken| Some(taken.paced?.p99_of_all);
pub(crate) const P99_WORST: Figure = |taken| Some(taken.paced?.p99_worst);
pub(crate) const PACED_CPU: Figure = |taken| Some(taken.paced?.cpu);
pub(crate) const RESIDENT: Figure = |taken| Some(taken.resident);
pub(crate) const PRIVATE: Figure = |taken| Some(taken.private);
pub(crate) const START: Figure = |taken| Some(taken.start);
pub(crate) const LOADED: Figure = |taken| taken.loaded;
pub(crate) const ATTACHED: Figure = |taken| taken.attached;
pub(crate) const DETACHED: Figure = |taken| taken.detached;
pub(crate) const CHANGES: Figure = |taken| Some(taken.load?.changes);

impl Row {
    /// The figure's median over the rounds.
    pub(crate) fn median(&self, figure: Figure) -> Option<f64> {
        median(self.taken.iter().filter_map(figure).collect())
    }

    /// The figure's lowest and highest.
    pub(crate) fn spread(&self, figure: Figure) -> (f64, f64) {
        spread(self.taken.iter().filter_map(figure))
    }

    /// Of each round the ratio to another row's figure in that round, and of these the median: what disturbs the machine
    /// for longer than a round disturbs both.
    pub(crate) fn ratio(&self, other: &Row, figure: Figure) -> Option<f64> {
        median(self.ratios(other, figure).collect())
    }

    /// The lowest and the highest of these ratios.
    pub(crate) fn ratio_spread(&self, other: &Row, figure: Figure) -> (f64, f64) {
        spread(self.ratios(other, figure))
    }

    fn ratios(&self, other: &Row, figure: Figure) -> impl Iterator<Item = f64> {
        let pairs = self.taken.iter().zip(&other.taken);
        pairs.filter_map(move |(this, other)| Some(figure(this)? / figure(other)?))
    }

    /// What went wrong in the worst round, if it is worth telling.
    pub(crate) fn failures(&self) -> Option<String> {
        let expected = if self.peer == Peer::Echo { 1.0 } else { self.workload.found() };
        let loads = || self.taken.iter().filter_map(|taken| taken.load);
        let lost = loads().map(|load| load.lost).fold(0.0, f64::max);
        let paced = || self.taken.iter().filter_map(|taken| taken.paced);
        let found = loads().map(|load| load.found).chain(paced().map(|paced| paced.found));
        let wrong = found.map(|found| (found - expected).abs()).fold(0.0, f64::max);
        let late = paced().map(|paced| paced.lost).fold(0.0, f64::max);
        let rate = f64::from(self.workload.rate());
        let asked = paced().map(|paced| paced.asked).fold(rate, f64::min);
        let mut told = Vec::new();
        // dnsperf's last queries are cut off by its end, and so is the last turn through the questions.
        if lost > 0.001 {
            told.push(format!("{:.2} % lost", lost * 100.0));
        }
        if wrong > 0.001 {
            told.push(format!("{:.2} % with another response code than expected", wrong * 100.0));
        }
        if late > 0.001 {
            told.push(format!("{:.2} % lost at the steady rate", late * 100.0));
        }
        // The client was kept from running for more than a moment.
        if asked < rate * 0.95 {
            told.push(format!("only {asked:.0} asked a second at the steady rate"));
        }
        (!told.is_empty()).then(|| format!("{}, {}: {} in its worst round", self.server, self.setup, told.join(", ")))
    }

    fn json(&self, floor: Option<&Row>) -> Value {
        let of = |figure: Figure| self.taken.iter().map(figure).collect::<Vec<_>>();
        json!({
            "workload": self.workload.id(),
            "server": self.server,
            "networks": self.setup.networks,
            "names": self.setup.names,
            "changes_per_second": self.setup.changes,
            "cpu_us_per_query": self.median(CPU),
            "ratio_to_echo": floor.and_then(|floor| self.ratio(floor, CPU)),
            "queries_per_second": self.median(QPS),
            "steady_rate": self.workload.rate(),
            "latency_median_us": self.median(MEDIAN),
            "latency_p99_us": self.median(P99),
            "latency_p99_us_of_all": self.median(P99_OF_ALL),
            "latency_p99_us_worst": self.spread(P99_WORST).1,
            "cpu_us_per_query_at_steady_rate": self.median(PACED_CPU),
            "resident_mb": self.median(RESIDENT),
            "private_mb": self.median(PRIVATE),
            "start_ms": self.median(START),
            "names_loaded_ms": self.median(LOADED),
            "attach_us": self.median(ATTACHED),
            "detach_us": self.median(DETACHED),
            "by_round": {
                "cpu_us_per_query": of(CPU),
                "queries_per_second": of(QPS),
                "lost": of(|taken| Some(taken.load?.lost)),
                "noerror": of(|taken| Some(taken.load?.found)),
                "noerror_at_steady_rate": of(|taken| Some(taken.paced?.found)),
                "changes_per_second": of(CHANGES),
                "latency_median_us": of(MEDIAN),
                "latency_p99_us": of(P99),
                "latency_p99_us_of_all": of(P99_OF_ALL),
                "latency_p99_us_worst": of(P99_WORST),
                "asked_per_second_at_steady_rate": of(|taken| Some(taken.paced?.asked)),
                "cpu_us_per_query_at_steady_rate": of(PACED_CPU),
                "lost_at_steady_rate": of(|taken| Some(taken.paced?.lost)),
                "resident_mb": of(RESIDENT),
                "private_mb": of(PRIVATE),
                "start_ms": of(START),
            },
        })
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) about: About,
    /// Of the program without its symbols, MB.
    pub(crate) binary: Option<f64>,
    pub(crate) rows: Vec<Row>,
}

impl Results {
    /// Adds a measurement, the next round's of this server under this workload.
    pub(crate) fn add(&mut self, workload: Workload, server: &Server, taken: Taken) {
        let is_it = |row: &&mut Row| row.workload == workload && row.peer == server.peer && row.setup == server.setup;
        match self.rows.iter_mut().find(is_it) {
            Some(row) => row.taken.push(taken),
            None => {
                let Server { peer, setup, name, .. } = server;
                self.rows.push(Row { workload, peer: *peer, setup: *setup, server: name.clone(), taken: vec![taken] });
            }
        }
    }

    /// The rows of a workload.
    pub(crate) fn of(&self, workload: Workload) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.workload == workload)
    }

    /// The row of a peer under a workload, the one whose setup fits.
    pub(crate) fn row(&self, workload: Workload, peer: Peer, is_it: impl Fn(&Setup) -> bool) -> Option<&Row> {
        self.of(workload).find(|row| row.peer == peer && is_it(&row.setup))
    }

    /// What a workload's rows are measured by.
    pub(crate) fn floor(&self, workload: Workload) -> Option<&Row> {
        self.row(workload, Peer::Echo, |_| true)
    }

    /// Everything that was measured.
    pub(crate) fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(|row| row.json(self.floor(row.workload))).collect();
        let Results { machine, about, .. } = self;
        json!({
            "date": about.date,
            "commit": about.commit.as_ref().map(|(commit, _)| commit),
            "changed_since_commit": about.commit.as_ref().map(|(_, is_changed)| is_changed),
            "profile": about.profile,
            "processor": machine.processor,
            "cores": machine.cores(),
            "kernel": machine.kernel,
            "load_average_before": machine.load,
            "rounds": about.rounds,
            "seconds": about.flood.as_secs_f64(),
            "steady_seconds": about.steady.as_secs_f64(),
            "binary_mb": self.binary,
            "results": rows,
        })
    }
}

fn spread(figures: impl Iterator<Item = f64>) -> (f64, f64) {
    figures.fold((f64::INFINITY, 0.0), |(low, high), figure| (low.min(figure), high.max(figure)))
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => None,
        count if count % 2 == 0 => Some((figures[count / 2 - 1] + figures[count / 2]) / 2.0),
        count => Some(figures[count / 2]),
    }
}
