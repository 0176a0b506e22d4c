//! callsign
#[cfg(feature = "server")]
pub mod forward;
pub mod table;
pub mod wire;
