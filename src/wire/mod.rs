//! DNS on the wire: names, queries read in place, replies written into the caller's buffer.
//!
//! Knows nothing of networks, sockets or clocks. Everything here works on byte slices; nothing here panics on any input.

mod codes;
pub mod cookie;
mod edns;
pub mod message;
mod name;
mod query;
pub mod relay;
pub mod reply;
pub mod reverse;
pub(crate) mod rewrite;
pub mod rrset;
mod slow_path;

pub use codes::{class, ede, option, rcode, rtype};
pub use edns::{Cookie, Edns};
pub use name::{Labels, MAX_LABEL, MAX_NAME, Name, NameError};
pub(crate) use name::{is_below, is_label_start};
pub use query::{Query, Rejected};
pub use reply::ReplyWriter;
