//! Answers of upstreams, kept until their TTLs are over and a while beyond.
//!
//! Kept per question *and* upstream group (see [`key`]), as messages that are ready to be copied (see [`entry`]); what is
//! kept of a reply is said in [`admission`]. The [`store`] and its eviction are quick_cache's, bounded by the octets that its
//! entries take. Knows nothing of sockets and tasks; the time is an argument.

mod admission;
mod clock;
mod entry;
mod inspect;
mod key;
mod store;

pub(super) use admission::{TtlBounds, seconds};
pub(super) use clock::Clock;
pub(super) use entry::{Age, Answer, write_failed};
pub use inspect::{CacheEntry, CacheState};
pub(super) use key::{BuildHashed, Key, KeyRef, Kind, QueryFlags};
pub(super) use store::{Cache, CachePolicy, Lookup};

/// The TTL of what is given past its TTL, seconds (RFC 8767 §4).
const STALE_TTL: u32 = 30;
