//! What is true of any packet, any table and any history of it.
//!
//! The cases are drawn from a fixed seed: every run tries the same ones, and a failure fails again. Finding new ones is the
//! fuzzers' work (`fuzz/`), whose target `query` holds the packets here to its promises.

mod histories;
mod model;
mod packets;
mod snapshots;
mod views;

// The fuzzers' own package has it as part of its library, where all of this is public.
#[allow(unreachable_pub)]
#[path = "../../fuzz/src/query.rs"]
mod query;

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
