//! callsign
pub mod table;
pub mod wire;
