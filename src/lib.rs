//! callsign
pub mod responder;
pub mod table;
pub mod wire;
