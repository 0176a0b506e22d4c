//! Which server is asked when, and whose answer counts (answers.md F5, F6, F7).
//!
//! How one server does is [`health`], with the repeats that it may be sent in [`budget`]; in which order a question asks the
//! servers of a list is [`ranking`]; when, and which answer counts, is [`schedule`] or [`strict`]. These are state machines
//! without sockets and without a clock. [`pool`] holds the lists, [`state`] what is known of each server, and [`probe`] asks
//! one for our own sake.
//!
//! Knows nothing of caches, of who waits, or of what a client is told.

mod budget;
mod health;
mod pool;
mod probe;
mod ranking;
mod schedule;
mod state;
mod strict;

pub(super) use pool::{UpstreamPool, UpstreamPools};
pub(super) use probe::{copy, retry};
pub(super) use schedule::{Schedule, Step};
pub use state::UpstreamStatus;
pub(super) use strict::Strict;
