//! What is sent to an upstream, what counts as the reply to it, and what that reply means (answers.md F3).
//!
//! Octets only: knows nothing of sockets, of servers, or of who asked.

mod query;
mod verify;

pub(crate) use query::Asker;
pub use query::Question;
pub(super) use verify::{Meaning, is_reply, meaning};
