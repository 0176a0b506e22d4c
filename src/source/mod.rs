//! What keeps a table up to date: where networks and endpoints come from.
//!
//! A source makes [networks](crate::table::Network) out of what somebody else says, and notices when that changes. It
//! knows nothing of the server and its sockets: whoever runs both carries the networks from one to the other.

#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "config")]
pub mod file;
#[cfg(feature = "podman")]
pub mod podman;
