//! How several upstreams are chosen between.

/// How one of several servers is chosen (answers.md F5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum Order {
    /// The first server that is up decides: a later one is asked a little early when an earlier one is late, but its answer
    /// counts only once every earlier one has failed for this query or has been waited for long enough. The later servers see
    /// practically no queries while the first is up.
    #[default]
    Listed,
    /// The servers are equals: the quickest first, and the first usable answer counts. The others are measured with a few
    /// copies of queries.
    Fastest,
    /// The servers are equals and take turns in being asked first; the first usable answer counts.
    RoundRobin,
    /// Strictly as listed, one after the other: each has an equal share of
    /// [`ForwardOptions::timeout`](super::ForwardOptions::timeout), nothing is remembered of servers or failures, and the
    /// first reply counts, whatever its response code.
    Strict,
}
