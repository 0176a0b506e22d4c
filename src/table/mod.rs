//! table
mod address;
mod upstream;
pub use address::{Address, AddressError};
pub use upstream::Upstream;
