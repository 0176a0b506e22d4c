//! Who counts as one client where shares are counted.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An IPv4 address, or the /64 of an IPv6 address: a host has as many addresses in its /64 as it likes (answers.md L2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ClientKey(IpAddr);

impl ClientKey {
    pub(super) fn of(client: IpAddr) -> ClientKey {
        ClientKey(match client.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
            v4 => v4,
        })
    }

    /// A number of its own: the address, or the upper half of an IPv6 one. No /64 of the Internet has the number of an IPv4
    /// address.
    pub(super) fn number(self) -> u64 {
        match self.0 {
            IpAddr::V4(v4) => v4.to_bits().into(),
            IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
        }
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l2_a_client_is_an_ipv4_address_or_an_ipv6_64() {
        let key = |text: &str| ClientKey::of(text.parse().unwrap());
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
        assert_eq!(key("10.0.0.1"), key("::ffff:10.0.0.1"));
        assert_eq!(key("fd00:0:0:1::1"), key("fd00:0:0:1:ffff::2"));
        assert_ne!(key("fd00:0:0:1::1"), key("fd00:0:0:2::1"));
        assert_eq!(key("fd00:0:0:1::1").to_string(), "fd00:0:0:1::/64");
        assert_eq!(key("10.0.0.1").to_string(), "10.0.0.1");
    }
}
