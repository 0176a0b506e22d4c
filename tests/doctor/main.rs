//! `callsign doctor` on broken hosts, each made by a test: the first line names the cause.

#[path = "../support/mod.rs"]
mod support;

mod bed;
mod docker;
mod hosts;
