//! What is asked.

use std::fmt::{self, Write};
use std::net::Ipv4Addr;

/// Names in a workload that asks for the same ones again and again.
pub(crate) const NAMES: u32 = 1000;
/// Names a second in one that never does: more than any server answers here.
const NEW_NAMES: u32 = 100_000;
/// The zone of local names.
pub(crate) const LOCAL: &str = "internal";
/// The zone of the upstream, where every name exists. Not `test` or `example`, which resolvers treat as special.
pub(crate) const REMOTE: &str = "wild.peers-of-callsign.net";

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    /// The address of a name of the server's own.
    Local,
    /// The address of a name of the upstream's, of those that were asked for before.
    Cached,
    /// The address of a name of the upstream's, each asked for once.
    Uncached,
}

impl Workload {
    pub(crate) const ALL: [Workload; 3] = [Workload::Local, Workload::Cached, Workload::Uncached];

    /// The name in files.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Workload::Local => "local-a",
            Workload::Cached => "forwarded-cached",
            Workload::Uncached => "forwarded-uncached",
        }
    }

    /// True if an upstream has the answers.
    pub(crate) fn is_forwarded(self) -> bool {
        self != Workload::Local
    }

    /// True if every question is asked once before what is measured.
    pub(crate) fn is_warm(self) -> bool {
        self == Workload::Cached
    }

    /// The questions of a round of so many seconds, for dnsperf.
    pub(crate) fn questions(self, round: u32, seconds: u32) -> String {
        let mut text = String::new();
        let mut ask = |name: fmt::Arguments<'_>| writeln!(text, "{name} A").expect("a string takes it");
        match self {
            Workload::Local => (0..NAMES).for_each(|index| ask(format_args!("{}.{LOCAL}", host(index)))),
            Workload::Cached => (0..NAMES).for_each(|index| ask(format_args!("{}.{REMOTE}", host(index)))),
            Workload::Uncached => {
                (0..NEW_NAMES * seconds).for_each(|index| ask(format_args!("r{round}-{index}.{REMOTE}")))
            }
        }
        text
    }

    /// A name that a server which is ready answers, and that is not among the questions unless those are asked often.
    pub(crate) fn first_name(self) -> String {
        match self {
            Workload::Local => format!("{}.{LOCAL}", host(0)),
            Workload::Cached | Workload::Uncached => format!("first.{REMOTE}"),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Workload::Local => "local A",
            Workload::Cached => "forwarded, cached",
            Workload::Uncached => "forwarded, not cached",
        })
    }
}

/// The label of a name that is asked for often.
fn host(index: u32) -> String {
    format!("host-{index}")
}

/// The local names with their addresses.
pub(crate) fn local_names() -> impl Iterator<Item = (String, Ipv4Addr)> {
    let first = u32::from(Ipv4Addr::new(10, 10, 1, 0));
    (0..NAMES).map(move |index| (host(index), Ipv4Addr::from(first + index)))
}
