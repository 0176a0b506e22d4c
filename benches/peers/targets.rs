//! What callsign is to reach, and whether it did in this run. A target is told as missed as plainly as it is told as met.

use std::fmt;

use crate::peer::Peer;
use crate::report::cell;
use crate::results::{CPU, Figure, P99, RESIDENT, Results, START};
use crate::setup::Setup;
use crate::workload::Workload;

/// See the module.
#[derive(Debug)]
pub(crate) struct Target {
    what: &'static str,
    unit: &'static str,
    bound: f64,
    /// `None` if it was not measured.
    measured: Option<f64>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target { what, unit, bound, measured } = self;
        let verdict = match measured {
            Some(measured) if measured <= bound => "met   ",
            Some(_) => "MISSED",
            None => "–     ",
        };
        write!(f, "{verdict}  {what}: {}{unit}, at most {bound}{unit}", cell(*measured, 2))
    }
}

/// All targets, in the order of the workloads.
pub(crate) fn of(results: &Results) -> Vec<Target> {
    use Workload::{Cached, Changes, Idle, Local, Mixed, Names, Networks, Uncached};
    let any = |_: &Setup| true;
    let beside = |what, workload, other, figure: Figure, bound| {
        let ours = results.row(workload, Peer::Callsign, any);
        let measured = ours.zip(results.row(workload, other, any)).and_then(|(ours, other)| ours.ratio(other, figure));
        Target { what, unit: " ×", bound, measured }
    };
    let growth = |what, workload, peer, from: fn(&Setup) -> bool, to: fn(&Setup) -> bool, bound| {
        let rows = results.row(workload, peer, to).zip(results.row(workload, peer, from));
        Target { what, unit: " ×", bound, measured: rows.and_then(|(to, from)| to.ratio(from, CPU)) }
    };
    let plain = |what, unit, is_it: fn(&Setup) -> bool, figure: Figure, bound| {
        let measured = results.row(Idle, Peer::Callsign, is_it).and_then(|row| row.median(figure));
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
            |setup| setup.changes == 0,
            |setup| setup.changes == 1000,
            1.1,
        ),
        growth(
            "500 networks, CPU beside one",
            Networks,
            Peer::Callsign,
            |setup| setup.networks == 1,
            |setup| setup.networks == 500,
            1.15,
        ),
        growth(
            "1,000,000 names, CPU beside 1,000",
            Names,
            Peer::Library,
            |setup| setup.names == 1000,
            |setup| setup.names == 1_000_000,
            1.15,
        ),
        plain("one idle network, resident memory", " MB", |setup| setup.networks == 1, RESIDENT, 6.0),
        plain("500 idle networks, resident memory", " MB", |setup| setup.networks == 500, RESIDENT, 40.0),
        plain("one network, start to the first answer", " ms", |setup| setup.networks == 1, START, 20.0),
        Target { what: "the program, stripped", unit: " MB", bound: 12.0, measured: results.binary },
    ]
}
