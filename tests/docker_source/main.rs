//! `callsign serve --docker` with an engine that is played: what is served of its networks and containers, when, and what
//! is asked of it. Real engines are in `tests/docker`.

mod changes;
mod control;
mod daemon;
mod docs;
mod kit;
mod networks;
mod program;
mod proxy;
mod scale;
#[path = "../support/mod.rs"]
mod support;
mod swarm;
mod views;
