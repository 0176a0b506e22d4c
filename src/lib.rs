//! callsign
pub mod responder;
#[cfg(feature = "config")]
pub mod source;
pub mod table;
pub mod wire;
