//! What a network has in common with the network of the same name on other hosts (answers.md N8b).

use std::net::IpAddr;

use ipnet::IpNet;

use crate::wire::Name;

use super::{Reach, Settings};

/// Which endpoints of a name answer, when other hosts have it too (answers.md N8b).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Spread {
    /// This host's, while one of them is up and healthy.
    #[default]
    Local,
    /// Those of all hosts.
    All,
}

/// How a network is shared with other hosts. What it says is done by the source that connects the hosts; the table itself
/// follows [`spread`](Sharing::spread) and [`host`](Sharing::host).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sharing {
    /// Which addresses the other hosts get.
    pub reach: Reach,
    /// Its name for the other hosts; `None` for its own.
    pub name: Option<Box<str>>,
    /// See [`Spread`].
    pub spread: Spread,
    /// The hosts whose endpoints are taken: names, in which `*` stands for any characters.
    pub accept: Vec<Box<str>>,
    /// Where containers of other hosts may have their addresses, besides the network's subnets if it
    /// [spans hosts](Settings::spans_hosts).
    pub remote_subnets: Vec<IpNet>,
    /// This host's name, by which `NAME.HOST` finds its own endpoints; `None` for not at all.
    pub host: Option<Name>,
}

impl Sharing {
    /// A network that is shared with all hosts, and has no other policies.
    pub fn new(reach: Reach) -> Sharing {
        Sharing {
            reach,
            name: None,
            spread: Spread::Local,
            accept: vec!["*".into()],
            remote_subnets: Vec::new(),
            host: None,
        }
    }

    /// True if endpoints of a host are taken. Upper and lower case are the same.
    pub fn accepts(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.accept.iter().any(|pattern| matches(&pattern.to_ascii_lowercase(), &host))
    }
}

/// True if a name matches a pattern, in which `*` stands for any characters, none too.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    // There is a first part always.
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

/// Why a container's address of another host is not taken: see [`Settings::takes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Untaken {
    /// The network is not shared by the addresses of its containers.
    #[error("the network is not shared with share = \"container\" here")]
    NotShared,
    /// It lies in a subnet of this host's own bridge: this host's containers have such addresses.
    #[error(
        "it lies in this host's own subnet of the network; use share = \"host\", or list the subnet in remote_subnets"
    )]
    OwnSubnet,
    /// It lies elsewhere.
    #[error("it lies outside the network's remote_subnets")]
    Outside,
}

impl Settings {
    /// Which endpoints of a name answer, when other hosts have it too.
    pub(crate) fn spread(&self) -> Spread {
        self.sharing.as_ref().map_or(Spread::Local, |sharing| sharing.spread)
    }

    /// This host's name, where `NAME.HOST` is a name of its endpoints (answers.md N8b).
    pub(crate) fn own_host(&self) -> Option<&Name> {
        self.sharing.as_ref()?.host.as_ref()
    }

    /// The subnets of the network, and those that other hosts have of it.
    pub(crate) fn all_subnets(&self) -> impl Iterator<Item = &IpNet> {
        self.subnets.iter().chain(self.sharing.iter().flat_map(|sharing| &sharing.remote_subnets))
    }

    /// Whether a container of another host may have this address: it lies in [`Sharing::remote_subnets`], or in the network's own
    /// subnets if the network spans hosts.
    ///
    /// # Errors
    /// Why not.
    pub fn takes(&self, address: IpAddr) -> Result<(), Untaken> {
        let contains = |subnets: &[IpNet]| subnets.iter().any(|subnet| subnet.contains(&address));
        match &self.sharing {
            Some(sharing) if sharing.reach == Reach::Container => match contains(&self.subnets) {
                _ if contains(&sharing.remote_subnets) => Ok(()),
                true if self.spans_hosts => Ok(()),
                true => Err(Untaken::OwnSubnet),
                false => Err(Untaken::Outside),
            },
            _ => Err(Untaken::NotShared),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n8b_hosts_are_accepted_by_patterns() {
        let sharing = |accept: &[&str]| Sharing {
            accept: accept.iter().map(|pattern| (*pattern).into()).collect(),
            ..Sharing::new(Reach::Container)
        };
        for (accept, taken, left) in [
            (&["*"][..], &["host-a", "x.y"][..], &[][..]),
            (&["host-a"], &["host-a", "Host-A"], &["host-ab", "xhost-a", ""]),
            (&["host-*", "db1"], &["host-", "host-1", "db1"], &["ahost-1", "db11"]),
            (
                &["*.dc1.*.net"],
                &["a.dc1.example.net", "a.b.dc1..net"],
                &["dc1.example.net", "a.dc1.net", "a.dc1.x.nets"],
            ),
            (&["a*a"], &["aa", "aba"], &["a", "ab"]),
            (&[], &[], &["host-a"]),
        ] {
            let sharing = sharing(accept);
            taken.iter().for_each(|host| assert!(sharing.accepts(host), "{accept:?} {host}"));
            left.iter().for_each(|host| assert!(!sharing.accepts(host), "{accept:?} {host}"));
        }
    }
}
