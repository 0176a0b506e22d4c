//! The firewall: whether questions of containers reach port 53 of their bridge's gateway. Docker and Podman open nothing in INPUT.
//!
//! The rules are read, by `nft` and `iptables-save`, and followed for one packet of each bridge: a first UDP question. What a rule
//! looks at and is not known here may or may not fit: a block behind such a rule is a warning.

mod iptables;
mod nft;

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

use nix::unistd::Uid;

use super::engine::addresses_of;
use super::facts::Facts;
use super::finding::Finding;
use crate::cli::system;

const ID: &str = "firewall";
/// Chains deeper than this go round in a circle.
const MAX_DEPTH: usize = 32;

/// A question on its way from a container to the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Packet {
    /// The bridge, as the host sees it.
    interface: String,
    source: IpAddr,
    destination: IpAddr,
    port: u16,
}

/// Whether a packet is what a rule looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fits {
    Yes,
    No,
    /// The rule looks at something that is not known here.
    Maybe,
}

impl Fits {
    fn and(self, other: Fits) -> Fits {
        match (self, other) {
            (Fits::No, _) | (_, Fits::No) => Fits::No,
            (Fits::Yes, Fits::Yes) => Fits::Yes,
            _ => Fits::Maybe,
        }
    }

    fn negated(self, is_negated: bool) -> Fits {
        match self {
            Fits::Yes if is_negated => Fits::No,
            Fits::No if is_negated => Fits::Yes,
            same => same,
        }
    }
}

impl From<bool> for Fits {
    fn from(fits: bool) -> Fits {
        if fits { Fits::Yes } else { Fits::No }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Accept,
    Drop,
    Return,
    Jump(String),
    Goto(String),
    /// Counts, logs: the next rule decides.
    Next,
}

/// A rule, as it is for one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    fits: Fits,
    action: Action,
    text: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Chain {
    rules: Vec<Rule>,
    /// Of a chain that the kernel calls: what becomes of packets that no rule decides on. `None` for other chains.
    drops_the_rest: Option<bool>,
}

/// The chains of a table, by name, as they are for one packet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Table {
    /// `iptables`, `nft inet filter`.
    name: String,
    chains: BTreeMap<String, Chain>,
}

/// Why a packet does not get through.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Blocked {
    by: String,
    chain: String,
    is_certain: bool,
}

enum Walk {
    Accept,
    Drop(String),
    /// To the caller's next rule.
    Back,
}

impl Table {
    /// What becomes of the packet in a chain that the kernel calls.
    fn verdict(&self, chain: &str) -> Option<Blocked> {
        let mut is_certain = true;
        let by = match self.walk(chain, 0, &mut is_certain) {
            Walk::Accept => return None,
            Walk::Drop(text) => text,
            Walk::Back if self.chains.get(chain)?.drops_the_rest == Some(true) => "its policy, drop".to_owned(),
            Walk::Back => return None,
        };
        Some(Blocked { by: format!("{}, chain {chain}: {by}", self.name), chain: chain.to_owned(), is_certain })
    }

    fn walk(&self, chain: &str, depth: usize, is_certain: &mut bool) -> Walk {
        let Some(chain) = self.chains.get(chain).filter(|_| depth < MAX_DEPTH) else {
            *is_certain = false;
            return Walk::Back;
        };
        for rule in &chain.rules {
            match (rule.fits, &rule.action) {
                (Fits::No, _) | (_, Action::Next) | (Fits::Maybe, Action::Drop) => {}
                (Fits::Maybe, _) => *is_certain = false,
                (Fits::Yes, Action::Accept) => return Walk::Accept,
                (Fits::Yes, Action::Drop) => return Walk::Drop(rule.text.clone()),
                (Fits::Yes, Action::Return) => return Walk::Back,
                (Fits::Yes, Action::Goto(target)) => return self.walk(target, depth + 1, is_certain),
                (Fits::Yes, Action::Jump(target)) => match self.walk(target, depth + 1, is_certain) {
                    Walk::Back => {}
                    decided => return decided,
                },
            }
        }
        Walk::Back
    }
}

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    if !Uid::effective().is_root() {
        return vec![Finding::skipped(ID, "firewall: only root may read its rules")];
    }
    let packets = packets(facts);
    if packets.is_empty() {
        return vec![Finding::skipped(ID, "firewall: there is no bridge whose gateway callsign listens at")];
    }
    let rules = match Rules::read() {
        Ok(rules) => rules,
        Err(reason) => return vec![Finding::skipped(ID, format!("firewall: {reason}"))],
    };
    let blocked: Vec<(&Packet, Blocked)> =
        packets.iter().filter_map(|packet| Some((packet, rules.blocked(packet)?))).collect();
    let Some((packet, first)) = blocked.first() else {
        let names: Vec<&str> = packets.iter().map(|packet| packet.interface.as_str()).collect();
        return vec![Finding::ok(ID, format!("the firewall lets questions from {} through", names.join(", ")))];
    };
    let interfaces: Vec<&str> = blocked.iter().map(|(packet, _)| packet.interface.as_str()).collect();
    let message = format!(
        "the firewall {} questions of containers on {} to port {} of their gateway ({})",
        if first.is_certain { "drops" } else { "may drop" },
        interfaces.join(", "),
        packet.port,
        first.by
    );
    let cure = cure(&rules, first, &interfaces, packet.port);
    vec![if first.is_certain { Finding::problem(ID, message, cure) } else { Finding::warning(ID, message, cure) }]
}

/// The lines that open the port, in the words of whoever manages the rules.
fn cure(rules: &Rules, blocked: &Blocked, interfaces: &[&str], port: u16) -> String {
    let line = |interface: &&str| match () {
        () if blocked.by.contains("firewalld") => {
            format!("firewall-cmd --permanent --zone=trusted --add-interface={interface}")
        }
        () if rules.iptables.contains("ufw-before-input") => format!("ufw allow in on {interface} to any port {port}"),
        () if blocked.by.starts_with("nft ") => {
            let table = blocked.by["nft ".len()..].split(',').next().unwrap_or_default();
            format!(
                "nft insert rule {table} {} iifname {interface} meta l4proto '{{ tcp, udp }}' th dport {port} accept",
                blocked.chain
            )
        }
        () => ["udp", "tcp"]
            .map(|transport| format!("iptables -I INPUT -i {interface} -p {transport} --dport {port} -j ACCEPT"))
            .join("\n"),
    };
    let mut lines: Vec<String> = interfaces.iter().map(line).collect();
    if blocked.by.contains("firewalld") {
        lines.push("firewall-cmd --reload".to_owned());
    }
    lines.join("\n")
}

/// A question for each bridge whose gateway callsign listens at.
fn packets(facts: &Facts) -> Vec<Packet> {
    let bridges = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let mut names: Vec<String> = bridges.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.extend(facts.engine().iter().flat_map(|engine| &engine.networks).map(|network| network.interface.clone()));
    // /sys may be that of another network.
    names.extend(nix::ifaddrs::getifaddrs().into_iter().flatten().map(|own| own.interface_name));
    names.sort();
    names.dedup();
    let listeners = facts.listeners();
    let packets = names.into_iter().filter(|name| name != "lo").filter_map(|interface| {
        let own = addresses_of(&interface);
        let listener =
            listeners.iter().find(|listener| own.contains(&listener.address.ip()) && listener.address.is_ipv4())?;
        let IpAddr::V4(gateway) = listener.address.ip() else { return None };
        // Any neighbour of it.
        let source = IpAddr::V4(std::net::Ipv4Addr::from(u32::from(gateway) ^ 2));
        Some(Packet { interface, source, destination: gateway.into(), port: listener.address.port() })
    });
    packets.collect()
}

/// The rules of this host, as text.
#[derive(Debug, Default)]
struct Rules {
    /// `nft -j list ruleset`.
    nft: Option<serde_json::Value>,
    /// `iptables-save -t filter`, and that of the older kind behind it.
    iptables: String,
}

impl Rules {
    fn read() -> Result<Rules, String> {
        let nft = system::output(&["nft", "--json", "list", "ruleset"]);
        let iptables = system::output(&["iptables-save", "-t", "filter"]);
        // Asking for tables that are not there would load the module for them.
        let has_legacy = fs::read_to_string("/proc/net/ip_tables_names").is_ok_and(|names| names.contains("filter"));
        let legacy = if has_legacy { system::output(&["iptables-legacy-save", "-t", "filter"]).ok() } else { None };
        if let (Err(nft), Err(iptables)) = (&nft, &iptables) {
            return Err(format!("its rules cannot be read: nft: {nft}; iptables-save: {iptables}"));
        }
        Ok(Rules {
            nft: nft.ok().and_then(|text| serde_json::from_str(&text).ok()),
            iptables: iptables.into_iter().chain(legacy).collect(),
        })
    }

    /// Who drops a packet. Each table has its say, and one is enough.
    fn blocked(&self, packet: &Packet) -> Option<Blocked> {
        let of_iptables = iptables::tables(&self.iptables, packet);
        let by_iptables = of_iptables.iter().filter_map(|table| table.verdict("INPUT"));
        // What iptables made has matches that nft does not show: iptables itself does.
        let of_nft = self.nft.as_ref().map(|nft| nft::tables(nft, packet)).unwrap_or_default();
        let by_nft = of_nft.iter().filter(|(table, _)| of_iptables.is_empty() || table.name != "nft ip filter");
        let by_nft = by_nft.flat_map(|(table, inputs)| inputs.iter().filter_map(|chain| table.verdict(chain)));
        let mut all: Vec<Blocked> = by_iptables.chain(by_nft).collect();
        all.sort_by_key(|blocked| !blocked.is_certain);
        all.into_iter().next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn packet() -> Packet {
        Packet {
            interface: "docker0".to_owned(),
            source: [172, 17, 0, 3].into(),
            destination: [172, 17, 0, 1].into(),
            port: 53,
        }
    }

    #[test]
    fn a_chain_decides_as_the_kernel_does() {
        let rule = |fits, action| Rule { fits, action, text: "rule".to_owned() };
        let table = |input: Vec<Rule>, other: Vec<Rule>, drops| Table {
            name: "iptables".to_owned(),
            chains: [
                ("INPUT".to_owned(), Chain { rules: input, drops_the_rest: Some(drops) }),
                ("other".to_owned(), Chain { rules: other, drops_the_rest: None }),
            ]
            .into(),
        };
        let jump = || Action::Jump("other".to_owned());
        for (input, other, drops, expected) in [
            (vec![], vec![], false, None),
            (vec![], vec![], true, Some(true)),
            (vec![rule(Fits::Yes, Action::Accept)], vec![], true, None),
            (vec![rule(Fits::No, Action::Accept)], vec![], true, Some(true)),
            (vec![rule(Fits::Maybe, Action::Accept)], vec![], true, Some(false)),
            (vec![rule(Fits::Maybe, Action::Drop)], vec![], false, None),
            (vec![rule(Fits::Yes, Action::Next), rule(Fits::Yes, Action::Drop)], vec![], false, Some(true)),
            (vec![rule(Fits::Yes, jump())], vec![rule(Fits::Yes, Action::Accept)], true, None),
            (
                vec![rule(Fits::Yes, jump())],
                vec![rule(Fits::Yes, Action::Return), rule(Fits::Yes, Action::Accept)],
                true,
                Some(true),
            ),
            (vec![rule(Fits::Yes, jump())], vec![rule(Fits::Yes, jump())], true, Some(false)),
            (
                vec![rule(Fits::Yes, Action::Goto("other".to_owned())), rule(Fits::Yes, Action::Accept)],
                vec![],
                true,
                Some(true),
            ),
        ] {
            let found = table(input.clone(), other.clone(), drops).verdict("INPUT").map(|blocked| blocked.is_certain);
            assert_eq!(found, expected, "{input:?} {other:?} {drops}");
        }
    }

    #[test]
    fn the_cure_is_in_the_words_of_who_manages_the_rules() {
        let blocked = |by: &str| Blocked { by: by.to_owned(), chain: "input".to_owned(), is_certain: true };
        let rules = |iptables: &str| Rules { nft: None, iptables: iptables.to_owned() };
        let told = |rules: &Rules, by: &str| cure(rules, &blocked(by), &["docker0"], 53);
        assert_eq!(
            told(&rules(""), "iptables, chain INPUT: its policy, drop"),
            "iptables -I INPUT -i docker0 -p udp --dport 53 -j ACCEPT\niptables -I INPUT -i docker0 -p tcp --dport 53 -j ACCEPT"
        );
        assert_eq!(
            told(&rules(":ufw-before-input - [0:0]"), "iptables, chain INPUT"),
            "ufw allow in on docker0 to any port 53"
        );
        assert!(told(&rules(""), "nft inet firewalld, chain filter_INPUT: x").starts_with("firewall-cmd --permanent"));
        assert_eq!(
            told(&rules(""), "nft inet f, chain input: its policy, drop"),
            "nft insert rule inet f input iifname docker0 meta l4proto '{ tcp, udp }' th dport 53 accept"
        );
    }
}
