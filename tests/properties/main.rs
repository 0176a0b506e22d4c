//! What is true of any packet, any table and any history of it.
//!
//! The cases are drawn from a fixed seed: every run tries the same ones, and a failure fails again. Finding new ones is the
//! fuzzers' work (`fuzz/`), whose targets `query` and `table` hold the packets and the tables here to their promises.

mod histories;
mod model;
mod packets;
mod snapshots;
mod tables;
mod views;

// The fuzzers' own package has these as part of its library, where all of this is public.
#[allow(unreachable_pub)]
#[path = "../../fuzz/src/paths.rs"]
mod paths;
#[allow(unreachable_pub)]
#[path = "../../fuzz/src/query.rs"]
mod query;
#[allow(dead_code, unreachable_pub)]
#[path = "../../fuzz/src/table.rs"]
mod table;

use proptest::test_runner::{Config, RngAlgorithm, RngSeed};

/// So many cases, always the same ones.
fn cases(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(53),
        ..Config::default()
    }
}
