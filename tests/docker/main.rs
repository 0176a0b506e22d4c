//! `callsign serve --docker` beside Debian's Docker Engine: each test has an engine of its own, on a machine of its own.
//! The numbers in the names of the tests are those of the observations that they hold callsign to.
//!
//! Skipped, loudly, without root and without Docker.

#[path = "../support/mod.rs"]
mod support;

mod bed;
mod changes;
mod compose;
mod daemon;
mod docs;
mod first;
mod host;
mod image;
mod load;
mod networks;
mod podman;
mod rootless;
mod swarm;
mod truth;
mod views;
