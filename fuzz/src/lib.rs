//! What each fuzz target does with its input. `fuzz_targets/` gives it what the engine invents, `tests/fuzz_replay.rs` of the
//! package `callsign`, which includes this file, the committed corpus on every test run.
//!
//! A target that needs a feature of `callsign` has it named in this package's `Cargo.toml` and as `required-features` of
//! the test `fuzz_replay`.
//!
//! A target panics where a promise is broken, and does nothing else that can be seen.

pub mod access;
pub mod cache;
pub mod config;
pub mod control;
pub mod docker;
pub mod name;
mod paths;
pub mod podman;
pub mod query;
pub mod store_values;
pub mod store_watch;
pub mod table;
pub mod upstream_reply;

/// A target's name, which is also that of its corpus, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("access", access::run),
    ("cache", cache::run),
    ("config", config::run),
    ("control", control::run),
    ("docker", docker::run),
    ("name", name::run),
    ("podman", podman::run),
    ("query", query::run),
    ("store_values", store_values::run),
    ("store_watch", store_watch::run),
    ("table", table::run),
    ("upstream_reply", upstream_reply::run),
];
