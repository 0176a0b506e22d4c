//! The servers that a network or an endpoint wants its other questions sent to, as plain values.

use std::fmt;
use std::str::FromStr;

use super::{Address, AddressError};

/// An upstream server: for now plain DNS (UDP, and TCP for long answers) at an address, port 53 unless given.
///
/// ```
/// use callsign::table::Upstream;
///
/// let upstream: Upstream = "10.0.0.53".parse()?;
/// assert_eq!(upstream.to_string(), "10.0.0.53:53");
/// # Ok::<(), callsign::table::AddressError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upstream {
    address: Address,
}

impl Upstream {
    /// The server at `address`.
    pub fn new(address: Address) -> Upstream {
        let port = address.port().unwrap_or(53);
        Upstream { address: address.with_port(port) }
    }

    /// Its address, zone and port; the port is always there.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl FromStr for Upstream {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Upstream, AddressError> {
        Ok(Upstream::new(text.parse()?))
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}
