//! What a server is started with: how many networks, names and changes, and which they are.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// The zone of local names.
pub(crate) const LOCAL: &str = "internal";
/// The zone of the upstream, where every name exists. Not `test` or `example`, which resolvers treat as special.
pub(crate) const REMOTE: &str = "wild.peers-of-callsign.net";
/// The zone of the names of all addresses here.
pub(crate) const REVERSE: &str = "10.in-addr.arpa";

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setup {
    /// Networks, each with a listen address of its own.
    pub(crate) networks: u32,
    /// Names of each network.
    pub(crate) names: u32,
    /// True if the addresses have names, too.
    pub(crate) reverse: bool,
    /// True if everything else is forwarded.
    pub(crate) forwards: bool,
    /// Names of the upstream's that are asked for often.
    pub(crate) remembered: u32,
    /// Changes of the table, a second.
    pub(crate) changes: u32,
    /// True if nothing is asked: then it is started as it comes, and not with one thread.
    pub(crate) idle: bool,
}

impl Setup {
    /// One network of 1,000 names.
    pub(crate) const PLAIN: Setup =
        Setup { networks: 1, names: 1000, reverse: false, forwards: false, remembered: 0, changes: 0, idle: false };

    /// Where a server listens, a network each.
    pub(crate) fn listen(&self) -> Vec<Ipv4Addr> {
        match self.networks {
            1 => vec![Ipv4Addr::LOCALHOST],
            // No address of an interface, but Linux has all of 127.0.0.0/8.
            many => (0..many as u16)
                .map(|index| Ipv4Addr::from([127, 0, 1 + (index / 250) as u8, (index % 250 + 1) as u8]))
                .collect(),
        }
    }

    /// The same, for a function that takes any address.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.listen().into_iter().map(IpAddr::V4).collect()
    }

    /// The subnet of a network.
    pub(crate) fn subnet(&self, network: u32) -> String {
        match self.networks {
            1 => "10.0.0.0/8".to_owned(),
            _ => format!("{}/24", self.address(network, 0)),
        }
    }

    /// The address of a name of a network.
    pub(crate) fn address(&self, network: u32, index: u32) -> Ipv4Addr {
        let first = if self.networks == 1 { [10, 10, 1, 0] } else { [10, 100, 0, 0] };
        Ipv4Addr::from(u32::from_be_bytes(first) + network * 256 + index)
    }

    /// The names of a network with their addresses.
    pub(crate) fn names(&self, network: u32) -> impl Iterator<Item = (String, Ipv4Addr)> {
        let setup = *self;
        (0..setup.names).map(move |index| (host(index), setup.address(network, index)))
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setup { changes: 1.., .. } => write!(f, "{} changes/s", thousands(self.changes)),
            Setup { networks: 2.., .. } => write!(f, "{} networks", self.networks),
            Setup { names: 10, networks: 1, .. } => f.write_str("1 network, 10 names"),
            _ => write!(f, "{} names", thousands(self.names)),
        }
    }
}

/// The label of a name.
pub(crate) fn host(index: u32) -> String {
    format!("host-{index}")
}

/// A number as people read it: 1,000,000.
pub(crate) fn thousands(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
