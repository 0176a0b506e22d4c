//! The names of other hosts, through a real etcd: its members and the hosts are namespaces on one bridge. The numbers in the names
//! of the tests' modules are those of the acceptance list of the feature.
//!
//! Skipped, loudly, without root and without Debian's `etcd-server` and `etcd-client`.

#[path = "../support/mod.rs"]
mod support;

mod bed;
mod claims;
#[cfg(feature = "cli")]
mod commands;
mod hostile;
mod outages;
#[cfg(feature = "cli")]
mod program;
mod roles;
mod sharing;
