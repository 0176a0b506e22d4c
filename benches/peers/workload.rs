//! What is asked, and of servers that were started with what.

use std::fmt;

use callsign::wire::rtype;
use clap::ValueEnum;

use crate::peer::Peer;
use crate::setup::{LOCAL, REMOTE, Setup, host};

/// Different questions of a round, at most: more than a processor's cache has the answers of.
const QUESTIONS: u32 = 100_000;
/// New names a second of [`Workload::Uncached`]: more than any server answers here.
const NEW_NAMES: u32 = 100_000;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// The address of a name of the server's own
    Local,
    /// Local addresses, names without an IPv6 address, names of addresses, names that do not exist
    Mixed,
    /// The address of a name of the upstream's, of those that were asked for before
    Cached,
    /// The address of a name of the upstream's, each asked for once
    Uncached,
    /// Local addresses while the table changes 1,000 times a second
    Changes,
    /// Local addresses with 1 to 500 networks listening
    Networks,
    /// Local addresses of 10 to 1,000,000 names
    Names,
    /// Nothing: time to the first answer, and memory
    Idle,
}

/// A question for a record type.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) name: String,
    pub(crate) rtype: u16,
}

impl Workload {
    pub(crate) const ALL: [Workload; 8] = [
        Workload::Local,
        Workload::Mixed,
        Workload::Cached,
        Workload::Uncached,
        Workload::Changes,
        Workload::Networks,
        Workload::Names,
        Workload::Idle,
    ];

    /// The name in files.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Workload::Local => "local-a",
            Workload::Mixed => "local-mixed",
            Workload::Cached => "forwarded-cached",
            Workload::Uncached => "forwarded-uncached",
            Workload::Changes => "changes",
            Workload::Networks => "networks",
            Workload::Names => "names",
            Workload::Idle => "idle",
        }
    }

    /// True if an upstream has the answers.
    pub(crate) fn is_forwarded(self) -> bool {
        matches!(self, Workload::Cached | Workload::Uncached)
    }

    /// True if every question is asked once before what is measured.
    pub(crate) fn is_warm(self) -> bool {
        self == Workload::Cached
    }

    /// True if each question is for another name than all before.
    fn is_new(self) -> bool {
        self == Workload::Uncached
    }

    /// What servers are started with, one after the other.
    pub(crate) fn setups(self, quick: bool) -> Vec<Setup> {
        let plain = Setup::PLAIN;
        let networks = |networks| Setup { networks, names: 10, ..plain };
        match self {
            Workload::Local => vec![plain],
            Workload::Mixed => vec![Setup { reverse: true, ..plain }],
            Workload::Cached => vec![Setup { forwards: true, remembered: plain.names, ..plain }],
            Workload::Uncached => vec![Setup { forwards: true, ..plain }],
            Workload::Changes => vec![plain, Setup { changes: 1000, ..plain }],
            Workload::Networks if quick => [1, 500].map(networks).to_vec(),
            Workload::Networks => [1, 10, 100, 500].map(networks).to_vec(),
            Workload::Names if quick => [1000, 100_000].map(|names| Setup { names, ..plain }).to_vec(),
            Workload::Names => [10, 1000, 100_000, 1_000_000].map(|names| Setup { names, ..plain }).to_vec(),
            Workload::Idle => [1, 500].map(|count| Setup { idle: true, ..networks(count) }).to_vec(),
        }
    }

    /// True if the peer is measured with this setup: it can be, and it is not the floor once more.
    pub(crate) fn is_for(self, peer: Peer, setup: &Setup, quick: bool) -> bool {
        let is_ends = |value, ends: [u32; 2]| ends.contains(&value);
        let in_series = match self {
            Workload::Changes => matches!(peer, Peer::Library | Peer::Echo),
            Workload::Networks => peer == Peer::Callsign || is_ends(setup.networks, [1, 500]),
            Workload::Names => peer == Peer::Library || is_ends(setup.names, [1000, 1_000_000]),
            _ => true,
        };
        let is_chosen = match peer {
            Peer::Echo => self != Workload::Idle && *setup == self.setups(quick)[0],
            Peer::Library => matches!(self, Workload::Changes | Workload::Names),
            // The program would spend its time with a file of a million endpoints.
            Peer::Callsign => !matches!(self, Workload::Changes | Workload::Names),
            // The short form has other questions than how the others grow.
            Peer::Nsd | Peer::Bind | Peer::Unbound | Peer::Dnsmasq | Peer::Aardvark
                if quick && matches!(self, Workload::Networks | Workload::Names | Workload::Idle) =>
            {
                false
            }
            _ => peer.can(setup),
        };
        is_chosen && (peer == Peer::Echo || in_series)
    }

    /// True if starts of the peer are measured: to its first answer, and what it then says of its table.
    pub(crate) fn restarts(self, peer: Peer) -> bool {
        self == Workload::Idle || (self == Workload::Names && peer == Peer::Library)
    }

    /// Questions a second for the latencies: about half of what Knot and callsign get done here; less where an upstream has
    /// to be asked, whose core is the client's. 0 where they are not measured.
    pub(crate) fn rate(self) -> u32 {
        match self {
            Workload::Local | Workload::Mixed | Workload::Cached | Workload::Changes | Workload::Networks => 80_000,
            Workload::Uncached => 10_000,
            Workload::Names | Workload::Idle => 0,
        }
    }

    /// The questions for so many seconds. `part` is to be another one for each part of each round.
    pub(crate) fn questions(self, setup: &Setup, part: &str, seconds: u32) -> Vec<Question> {
        let a = |name| Question { name, rtype: rtype::A };
        let known = setup.names.min(QUESTIONS);
        // In no order that a table could be in, and each once: the factor has no divisor in common with a power of ten.
        let any = |index: u32| (u64::from(index) * 387_427 % u64::from(setup.names)) as u32;
        match self {
            _ if self.is_new() => (0..NEW_NAMES * seconds).map(|index| a(format!("{part}-{index}.{REMOTE}"))).collect(),
            Workload::Cached => (0..setup.remembered).map(|index| a(format!("{}.{REMOTE}", host(index)))).collect(),
            Workload::Mixed => (0..known).map(any).flat_map(|index| mixed(setup, index)).collect(),
            _ => (0..known).map(any).map(|index| a(format!("{}.{LOCAL}", host(index)))).collect(),
        }
    }

    /// The part of the answers that are to be NOERROR; the others are NXDOMAIN.
    pub(crate) fn found(self) -> f64 {
        if self == Workload::Mixed { 0.75 } else { 1.0 }
    }

    /// A name that a server which is ready answers, and that is not among the questions unless those are asked often.
    pub(crate) fn first_name(self) -> String {
        match self.is_forwarded() {
            true => format!("first.{REMOTE}"),
            false => format!("{}.{LOCAL}", host(0)),
        }
    }
}

/// Of one name: its address, the IPv6 address that it does not have, its address's name, and a name that is not there.
fn mixed(setup: &Setup, index: u32) -> [Question; 4] {
    let name = format!("{}.{LOCAL}", host(index));
    let [a, b, c, d] = setup.address(0, index).octets();
    [
        Question { name: name.clone(), rtype: rtype::A },
        Question { name, rtype: rtype::AAAA },
        Question { name: format!("{d}.{c}.{b}.{a}.in-addr.arpa"), rtype: rtype::PTR },
        Question { name: format!("nobody-{index}.{LOCAL}"), rtype: rtype::A },
    ]
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Workload::Local => "a local name",
            Workload::Mixed => "local, mixed",
            Workload::Cached => "forwarded, cached",
            Workload::Uncached => "forwarded, not cached",
            Workload::Changes => "1,000 changes a second",
            Workload::Networks => "networks listening",
            Workload::Names => "names",
            Workload::Idle => "idle",
        })
    }
}
