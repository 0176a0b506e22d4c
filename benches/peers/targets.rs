//! What callsign is to reach, and whether it did in this run. A target is told as missed as plainly as it is told as met.

use std::fmt;

use crate::peer::Peer;
use crate::report::cell;
use crate::results::{ATTACHED, CHANGES, CPU, DETACHED, Figure, LOADED, P99, PACED_CPU, PRIVATE, Results, START};
use crate::setup::Setup;
use crate::workload::Workload;

/// See the module.
#[derive(Debug)]
pub(crate) struct Target {
    what: &'static str,
    unit: &'static str,
    bound: Bound,
    /// `None` if it was not measured.
    measured: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn is_kept(self, measured: f64) -> bool {
        match self {
            Bound::AtMost(most) => measured <= most,
            Bound::AtLeast(least) => measured >= least,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::AtMost(most) => write!(f, "at most {most}"),
            Bound::AtLeast(least) => write!(f, "at least {least}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target { what, unit, bound, measured } = self;
        let verdict = match measured {
            Some(_) if self.is_missed() => "MISSED",
            Some(_) => "met   ",
            None => "–     ",
        };
        write!(f, "{verdict}  {what}: {}{unit}, {bound}{unit}", cell(*measured, 2))
    }
}

impl Target {
    /// False, too, of what was not measured.
    pub(crate) fn is_missed(&self) -> bool {
        self.measured.is_some_and(|measured| !self.bound.is_kept(measured))
    }
}

/// All targets, in the order of the workloads.
pub(crate) fn of(results: &Results) -> Vec<Target> {
    use Bound::{AtLeast, AtMost};
    use Workload::{Cached, Changes, Idle, Local, Mixed, Names, Networks, Uncached};
    let any = |_: &Setup| true;
    let is_thousand: fn(&Setup) -> bool = |setup| setup.names == 1000;
    let is_million: fn(&Setup) -> bool = |setup| setup.names == 1_000_000;
    let beside = |what, workload, other, figure: Figure, bound| {
        let ours = results.row(workload, Peer::Callsign, any);
        let measured = ours.zip(results.row(workload, other, any)).and_then(|(ours, other)| ours.ratio(other, figure));
        Target { what, unit: " ×", bound: AtMost(bound), measured }
    };
    let growth = |what, workload, peer, figure: Figure, from: fn(&Setup) -> bool, to: fn(&Setup) -> bool, bound| {
        let rows = results.row(workload, peer, to).zip(results.row(workload, peer, from));
        Target { what, unit: " ×", bound: AtMost(bound), measured: rows.and_then(|(to, from)| to.ratio(from, figure)) }
    };
    let plain = |what, unit, is_it: fn(&Setup) -> bool, figure: Figure, bound| {
        let measured = results.row(Idle, Peer::Callsign, is_it).and_then(|row| row.median(figure));
        Target { what, unit, bound: AtMost(bound), measured }
    };
    let library = |what, unit, workload, is_it: fn(&Setup) -> bool, figure: Figure, bound| {
        let measured = results.row(workload, Peer::Library, is_it).and_then(|row| row.median(figure));
        Target { what, unit, bound, measured }
    };
    vec![
        beside("a local name, CPU beside the echo", Local, Peer::Echo, CPU, 1.10),
        beside("a local name, CPU beside Knot", Local, Peer::Knot, CPU, 1.0),
        beside("a local name, p99 beside Knot", Local, Peer::Knot, P99, 1.0),
        beside("local, mixed, CPU beside Knot", Mixed, Peer::Knot, CPU, 1.0),
        beside("forwarded and cached, CPU beside the echo", Cached, Peer::Echo, CPU, 1.25),
        beside("forwarded and cached, CPU beside Unbound", Cached, Peer::Unbound, CPU, 1.0),
        beside("not cached, CPU beside Unbound", Uncached, Peer::Unbound, CPU, 1.0),
        beside("not cached, CPU beside dnsmasq", Uncached, Peer::Dnsmasq, CPU, 1.0),
        growth(
            "1,000 changes a second, CPU with the changes beside the quiet table",
            Changes,
            Peer::Library,
            CPU,
            |setup| setup.changes == 0,
            |setup| setup.changes == 1000,
            1.1,
        ),
        library(
            "the changes that came meanwhile",
            " a second",
            Changes,
            |setup| setup.changes == 1000,
            CHANGES,
            AtLeast(950.0),
        ),
        growth(
            "500 networks asked in turn, CPU beside one at the same rate",
            Networks,
            Peer::Callsign,
            PACED_CPU,
            |setup| setup.networks == 1,
            |setup| setup.networks == 500,
            1.15,
        ),
        growth("1,000,000 names, CPU beside 1,000", Names, Peer::Library, CPU, is_thousand, is_million, 1.15),
        Target {
            what: "1,000,000 names, private memory beside 10 names",
            unit: " bytes a name",
            bound: AtMost(250.0),
            measured: bytes_a_name(results),
        },
        library("1,000,000 names, made and loaded", " ms", Names, is_million, LOADED, AtMost(2000.0)),
        library("1,000 names, attach an endpoint", " µs", Names, is_thousand, ATTACHED, AtMost(20.0)),
        library("1,000 names, detach it", " µs", Names, is_thousand, DETACHED, AtMost(20.0)),
        library("1,000,000 names, attach an endpoint", " µs", Names, is_million, ATTACHED, AtMost(100.0)),
        library("1,000,000 names, detach it", " µs", Names, is_million, DETACHED, AtMost(100.0)),
        plain("one idle network, private memory", " MB", |setup| setup.networks == 1, PRIVATE, 3.0),
        plain("500 idle networks, private memory", " MB", |setup| setup.networks == 500, PRIVATE, 10.0),
        plain("one network, start to the first answer", " ms", |setup| setup.networks == 1, START, 20.0),
        Target { what: "the program, stripped", unit: " MB", bound: AtMost(12.0), measured: results.binary },
    ]
}

/// What a name takes of private memory, as callsign grows by them.
fn bytes_a_name(results: &Results) -> Option<f64> {
    let row = |names: u32| results.row(Workload::Names, Peer::Library, move |setup| setup.names == names);
    let (few, many) = (10, 1_000_000);
    let grown = row(many)?.median(PRIVATE)? - row(few)?.median(PRIVATE)?;
    Some(grown * 1e6 / f64::from(many - few))
}
