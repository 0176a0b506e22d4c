//! Addresses as people write them: an IP address, with a zone and a port where they matter.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// An IP address with an optional IPv6 zone and an optional port, as a listen address or an upstream is written:
/// `172.18.0.1`, `172.18.0.1:5300`, `fd00::1`, `[fd00::1]:5300`, `fe80::1%eth0`, `[fe80::1%eth0]:53`.
///
/// ```
/// use callsign::settings::Address;
///
/// let address: Address = "[fe80::1%eth0]:5300".parse()?;
/// assert_eq!((address.zone(), address.port()), (Some("eth0"), Some(5300)));
/// # Ok::<(), callsign::settings::AddressError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    ip: IpAddr,
    zone: Option<Box<str>>,
    port: Option<u16>,
}

/// A text that is no [`Address`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an address; write 172.18.0.1, 172.18.0.1:53, fd00::1 or [fd00::1%eth0]:53")]
pub struct AddressError(String);

impl Address {
    /// The address without zone and port.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The address that a connection to it reaches: IPv4 in IPv6 form is IPv4, and the unspecified address is this host's
    /// loopback address.
    #[cfg(any(feature = "config", feature = "server"))]
    pub(crate) fn reached(&self) -> IpAddr {
        match self.ip.to_canonical() {
            IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        }
    }

    /// The IPv6 zone: an interface's name or index.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The port, where one was given.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The same address at another port.
    pub fn with_port(mut self, port: u16) -> Address {
        self.port = Some(port);
        self
    }

    fn parse(text: &str) -> Option<Address> {
        if let Ok(ip) = text.parse() {
            return Some(Address { ip, zone: None, port: None });
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, tail) = rest.split_once(']')?;
                let port = match tail {
                    "" => None,
                    _ => Some(tail.strip_prefix(':')?),
                };
                (host, port)
            }
            None if text.matches(':').count() == 1 => {
                let (host, port) = text.split_once(':')?;
                (host, Some(port))
            }
            None => (text, None),
        };
        let port = match port {
            Some(digits) => Some(digits.parse().ok().filter(|&port: &u16| port != 0 && !digits.starts_with('+'))?),
            None => None,
        };
        let (ip, zone) = match host.split_once('%') {
            Some((ip, zone)) if !zone.is_empty() => (IpAddr::V6(ip.parse::<Ipv6Addr>().ok()?), Some(zone.into())),
            Some(_) => return None,
            None => (host.parse().ok()?, None),
        };
        if text.starts_with('[') && ip.is_ipv4() {
            return None;
        }
        Some(Address { ip, zone, port })
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        Address::parse(text).ok_or_else(|| AddressError(text.to_owned()))
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Address {
        Address { ip, zone: None, port: None }
    }
}

impl From<std::net::SocketAddr> for Address {
    fn from(socket: std::net::SocketAddr) -> Address {
        let zone = match socket {
            std::net::SocketAddr::V6(v6) if v6.scope_id() != 0 => Some(v6.scope_id().to_string().into()),
            _ => None,
        };
        Address { ip: socket.ip(), zone, port: Some(socket.port()) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zone = self.zone.as_deref().map(|zone| format!("%{zone}")).unwrap_or_default();
        match (self.ip, self.port) {
            (IpAddr::V6(ip), Some(port)) => write!(f, "[{ip}{zone}]:{port}"),
            (ip, Some(port)) => write!(f, "{ip}:{port}"),
            (ip, None) => write!(f, "{ip}{zone}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_and_back() {
        for text in ["172.18.0.1", "172.18.0.1:5300", "fd00::1", "[fd00::1]:5300", "fe80::1%eth0", "[fe80::1%eth0]:53"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("[fd00::1]".parse::<Address>().unwrap().to_string(), "fd00::1");
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "",
            "web",
            "172.18.0.300",
            "172.18.0.1:0",
            "172.18.0.1:x",
            "172.18.0.1:",
            "[fd00::1",
            "[1.2.3.4]:5",
            "fe80::1%",
            "1.2.3.4%eth0",
            "[fd00::1]53",
            "1.2.3.4:+5",
            "1.2.3.4:65536",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
