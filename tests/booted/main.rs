//! `callsign host` on machines that real systemd has booted: 252, 257, and 258 or later; and with NetworkManager's dnsmasq.
//!
//! Skipped, loudly, without root and without the roots of `tests/roots`.

#[path = "../support/mod.rs"]
mod support;

mod bed;
mod dnsmasq;
mod resolved;
