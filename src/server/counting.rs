//! The queries of a listener, counted.
//!
//! A listener is served by one thread, so that no two threads fight for its counters. Labels are bounded: types that are not
//! among the usual ones are one, and so are response codes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::wire::{rcode, rtype};

use super::observe::Origin;

const SOA: u16 = 6;
const MX: u16 = 15;
const HTTPS: u16 = 65;

/// The types that are counted by themselves; the rest is `other`.
const TYPES: [(u16, &str); 11] = [
    (rtype::A, "A"),
    (rtype::AAAA, "AAAA"),
    (rtype::PTR, "PTR"),
    (rtype::SRV, "SRV"),
    (rtype::TXT, "TXT"),
    (MX, "MX"),
    (rtype::CNAME, "CNAME"),
    (rtype::NS, "NS"),
    (SOA, "SOA"),
    (HTTPS, "HTTPS"),
    (rtype::ANY, "ANY"),
];
const ROWS: usize = TYPES.len() + 1;
/// Response codes from 0 on that are counted by themselves; then those above, and no reply.
const RCODES: usize = rcode::REFUSED as usize + 1;
const CODES: usize = RCODES + 2;
const CELLS: usize = CODES * Origin::ALL.len();

/// How many bounds the buckets of durations have: 250 µs, then each twice the one before.
pub const DURATION_BUCKETS: usize = 16;
/// The bounds of the buckets of sizes, octets.
pub const SIZE_BOUNDS: [u16; 14] = [0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16_000, 32_000, 48_000, 64_000];

/// A query to be counted.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    /// The type.
    pub rtype: u16,
    /// The query wants DNSSEC's records (DO).
    pub dnssec_ok: bool,
    /// Octets of the query.
    pub query_len: usize,
    /// Of the reply: its length, octets, and its response code.
    pub reply: Option<(usize, u16)>,
    /// Where the reply is from.
    pub origin: Origin,
    /// How long it took.
    pub duration: Duration,
}

/// The counters of one listener and one transport.
#[derive(Debug, Default)]
pub struct Counting {
    rows: [OnceLock<Box<[AtomicU64; CELLS]>>; ROWS],
    dnssec_ok: AtomicU64,
    durations: Histogram<{ DURATION_BUCKETS + 1 }>,
    query_sizes: Histogram<{ SIZE_BOUNDS.len() + 1 }>,
    reply_sizes: Histogram<{ SIZE_BOUNDS.len() + 1 }>,
}

#[derive(Debug)]
struct Histogram<const N: usize> {
    buckets: [AtomicU64; N],
    sum: AtomicU64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Histogram<N> {
        Histogram { buckets: [const { AtomicU64::new(0) }; N], sum: AtomicU64::new(0) }
    }
}

impl<const N: usize> Histogram<N> {
    fn add(&self, bucket: usize, value: u64) {
        add(&self.buckets[bucket], 1);
        add(&self.sum, value);
    }

    fn read(&self) -> Distribution {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Distribution { counts: self.buckets.iter().map(load).collect(), sum: load(&self.sum) }
    }
}

fn add(counter: &AtomicU64, value: u64) {
    counter.fetch_add(value, Ordering::Relaxed);
}

impl Counting {
    /// Counts a query.
    pub fn count(&self, query: &Counted) {
        let row = match query.rtype {
            rtype::A => 0,
            rtype::AAAA => 1,
            other => TYPES.iter().position(|(rtype, _)| *rtype == other).unwrap_or(TYPES.len()),
        };
        let code = match query.reply {
            Some((_, code)) => usize::from(code).min(RCODES),
            None => RCODES + 1,
        };
        let cells = self.rows[row].get_or_init(|| Box::new([const { AtomicU64::new(0) }; CELLS]));
        add(&cells[code * Origin::ALL.len() + query.origin as usize], 1);
        if query.dnssec_ok {
            add(&self.dnssec_ok, 1);
        }
        let micros = query.duration.as_micros() as u64;
        // The bucket n has what took at most 250·2ⁿ µs.
        let bucket = (u64::BITS - (micros.saturating_sub(1) / 250).leading_zeros()) as usize;
        self.durations.add(bucket.min(DURATION_BUCKETS), micros);
        self.query_sizes.add(size_bucket(query.query_len), query.query_len as u64);
        if let Some((len, _)) = query.reply {
            self.reply_sizes.add(size_bucket(len), len as u64);
        }
    }

    /// What was counted so far.
    pub fn read(&self) -> Counts {
        let mut queries = Vec::new();
        for (row, cells) in self.rows.iter().enumerate() {
            let Some(cells) = cells.get() else { continue };
            let rtype = TYPES.get(row).map_or("other", |(_, name)| *name);
            for (cell, counter) in cells.iter().enumerate() {
                let count = counter.load(Ordering::Relaxed);
                let (code, origin) = (cell / Origin::ALL.len(), Origin::ALL[cell % Origin::ALL.len()]);
                if count > 0 {
                    let rcode = CODE_NAMES[code];
                    queries.push(QueryCount { rtype, rcode, origin, count });
                }
            }
        }
        Counts {
            queries,
            dnssec_ok: self.dnssec_ok.load(Ordering::Relaxed),
            durations: self.durations.read(),
            query_sizes: self.query_sizes.read(),
            reply_sizes: self.reply_sizes.read(),
        }
    }
}

const CODE_NAMES: [&str; CODES] = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "other", "none"];

fn size_bucket(len: usize) -> usize {
    SIZE_BOUNDS.iter().position(|&bound| len <= bound.into()).unwrap_or(SIZE_BOUNDS.len())
}

/// What was counted of the queries of a listener and a transport.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// How many, by what they were and what came of them.
    pub queries: Vec<QueryCount>,
    /// Those of them that asked for DNSSEC's records (DO).
    pub dnssec_ok: u64,
    /// How long they took, microseconds; the buckets' bounds are 250 · 2ⁿ.
    pub durations: Distribution,
    /// Their sizes, octets; the buckets' bounds are [`SIZE_BOUNDS`].
    pub query_sizes: Distribution,
    /// The sizes of their replies, the same.
    pub reply_sizes: Distribution,
}

impl Counts {
    /// Adds what another listener has counted.
    pub fn add(&mut self, other: &Counts) {
        for query in &other.queries {
            let same = |known: &&mut QueryCount| {
                (known.rtype, known.rcode, known.origin) == (query.rtype, query.rcode, query.origin)
            };
            match self.queries.iter_mut().find(same) {
                Some(known) => known.count += query.count,
                None => self.queries.push(query.clone()),
            }
        }
        self.dnssec_ok += other.dnssec_ok;
        self.durations.add(&other.durations);
        self.query_sizes.add(&other.query_sizes);
        self.reply_sizes.add(&other.reply_sizes);
    }
}

/// Queries that have in common what is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueryCount {
    /// The type; `other` for what is not usual.
    pub rtype: &'static str,
    /// The reply's code; `other` for one above REFUSED, `none` where there is no reply.
    pub rcode: &'static str,
    /// Where the answer is from.
    pub origin: Origin,
    /// How many.
    pub count: u64,
}

/// A histogram.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Distribution {
    /// How many fell into each bucket and no earlier one; the last is of those above all bounds.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: u64,
}

impl Distribution {
    fn add(&mut self, other: &Distribution) {
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.sum += other.sum;
    }
}

/// The counts of one listener and one transport, and whose they are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerCounts {
    /// The network.
    pub network: String,
    /// True for TCP, false for UDP.
    pub tcp: bool,
    /// True if the listener's address is an IPv6 address.
    pub ipv6: bool,
    /// The counts.
    pub counts: Counts,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(counting: &Counting, rtype: u16, reply: Option<(usize, u16)>, micros: u64) {
        let duration = Duration::from_micros(micros);
        counting.count(&Counted { rtype, dnssec_ok: false, query_len: 40, reply, origin: Origin::Local, duration });
    }

    #[test]
    fn labels_are_bounded_whatever_is_asked() {
        let counting = Counting::default();
        for rtype in 0..=u16::MAX {
            count(&counting, rtype, Some((100, rtype % 5000)), 1);
        }
        count(&counting, rtype::A, None, 1);
        let counts = counting.read();
        assert!(counts.queries.len() <= ROWS * CODES, "{}", counts.queries.len());
        assert_eq!(counts.queries.iter().map(|query| query.count).sum::<u64>(), 65_537);
        assert!(counts.queries.iter().any(|query| query.rcode == "none" && query.rtype == "A"));
    }

    #[test]
    fn what_is_measured_falls_into_its_bucket() {
        let counting = Counting::default();
        for (micros, bucket) in [(0, 0), (250, 0), (251, 1), (500, 1), (501, 2), (8_192_000, 15), (8_192_001, 16)] {
            let before = counting.read().durations.counts[bucket];
            count(&counting, rtype::A, Some((0, 0)), micros);
            assert_eq!(counting.read().durations.counts[bucket], before + 1, "{micros} µs");
        }
        assert_eq!((size_bucket(0), size_bucket(1), size_bucket(100), size_bucket(101)), (0, 1, 1, 2));
        assert_eq!((size_bucket(64_000), size_bucket(64_001)), (13, 14));
    }
}
