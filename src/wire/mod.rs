//! DNS on the wire: names, queries read in place, replies written into the caller's buffer.
//!
//! Knows nothing of networks, sockets or clocks. Everything here works on byte slices; nothing here panics on any input.

mod codes;
pub mod message;
mod name;

pub use codes::{class, ede, option, rcode, rtype};
pub use name::{Labels, MAX_LABEL, MAX_NAME, Name, NameError};
