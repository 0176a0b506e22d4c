//! The rules of `iptables-save -t filter`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Action, Chain, Fits, Packet, Rule, Table};

/// The tables `filter` of a text, as they are for a packet.
pub(super) fn tables(text: &str, packet: &Packet) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut is_filter = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            is_filter = name == "filter";
            if is_filter {
                tables.push(Table { name: "iptables".to_owned(), ..Table::default() });
            }
        }
        let Some(table) = tables.last_mut().filter(|_| is_filter) else { continue };
        if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split(' ');
            if let (Some(name), Some(policy)) = (words.next(), words.next()) {
                let drops_the_rest = (policy != "-").then_some(policy == "DROP");
                table.chains.insert(name.to_owned(), Chain { rules: Vec::new(), drops_the_rest });
            }
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let words = split(rule);
            if let Some((chain, words)) = words.split_first() {
                let rule = Rule { text: format!("-A {rule}"), ..read(words, packet) };
                table.chains.entry(chain.clone()).or_default().rules.push(rule);
            }
        }
    }
    tables
}

/// The words of a rule: quotes hold spaces together.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted, mut is_escaped) = (Vec::new(), String::new(), false, false);
    for char in line.chars() {
        match char {
            _ if is_escaped => {
                word.push(char);
                is_escaped = false;
            }
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(std::mem::take(&mut word)),
            _ => word.push(char),
        }
    }
    words.push(word);
    words
}

fn read(words: &[String], packet: &Packet) -> Rule {
    let (mut fits, mut action, mut is_negated) = (Fits::Yes, Action::Next, false);
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if word == "!" {
            is_negated = true;
            continue;
        }
        let mut value = || words.next().unwrap_or_default();
        let found = match word {
            "-j" => {
                action = target(value());
                Fits::Yes
            }
            "-g" => {
                action = Action::Goto(value().to_owned());
                Fits::Yes
            }
            "-i" => interface(value(), packet).into(),
            // A packet to this host leaves by none.
            "-o" => {
                value();
                Fits::No
            }
            "-s" => within(value(), packet.source),
            "-d" => within(value(), packet.destination),
            "-p" => matches!(value(), "udp" | "17" | "all").into(),
            "--dport" | "--dports" => ports(value(), packet.port),
            "--ctstate" | "--state" => value().split(',').any(|state| state == "NEW").into(),
            "--dst-type" => value().split(',').any(|kind| kind == "LOCAL").into(),
            // Names of matches, and what changes nothing.
            "-m" | "--comment" | "--reject-with" | "--log-prefix" | "--log-level" => {
                value();
                continue;
            }
            option if option.starts_with('-') => Fits::Maybe,
            // The value of an option that is not known.
            _ => continue,
        };
        fits = fits.and(found.negated(is_negated));
        is_negated = false;
    }
    Rule { fits, action, text: String::new() }
}

fn target(name: &str) -> Action {
    match name {
        "ACCEPT" => Action::Accept,
        "DROP" | "REJECT" => Action::Drop,
        "RETURN" => Action::Return,
        "LOG" | "NFLOG" | "MARK" | "CONNMARK" | "TRACE" | "AUDIT" | "SET" => Action::Next,
        chain => Action::Jump(chain.to_owned()),
    }
}

fn interface(pattern: &str, packet: &Packet) -> bool {
    match pattern.strip_suffix('+') {
        Some(front) => packet.interface.starts_with(front),
        None => packet.interface == pattern,
    }
}

fn within(net: &str, ip: IpAddr) -> Fits {
    match net.parse::<IpNet>().or_else(|error| net.parse::<IpAddr>().map(IpNet::from).map_err(|_| error)) {
        Ok(net) => net.contains(&ip).into(),
        Err(_) => Fits::Maybe,
    }
}

fn ports(list: &str, port: u16) -> Fits {
    let is_in = |part: &str| match part.split_once(':') {
        Some((first, last)) => (first.parse().unwrap_or(0)..=last.parse().unwrap_or(u16::MAX)).contains(&port),
        None => part.parse() == Ok(port) || part == "domain" && port == 53,
    };
    list.split(',').any(is_in).into()
}

#[cfg(test)]
mod tests {
    use super::super::tests::packet;
    use super::*;

    /// Whether the packet is dropped, and if that is certain.
    fn dropped(rules: &str) -> Option<bool> {
        let text = format!(
            "*nat\n:PREROUTING DROP [0:0]\nCOMMIT\n*filter\n:INPUT DROP [0:0]\n:ufw-user-input - [0:0]\n{rules}\nCOMMIT\n"
        );
        let tables = tables(&text, &packet());
        assert_eq!(tables.len(), 1);
        tables[0].verdict("INPUT").map(|blocked| blocked.is_certain)
    }

    #[test]
    fn rules_fit_as_iptables_fits_them() {
        for (rules, expected) in [
            ("", Some(true)),
            ("-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", Some(true)),
            ("-A INPUT -i lo -j ACCEPT", Some(true)),
            ("-A INPUT -p tcp -m multiport --dports 22,53,80 -j ACCEPT", Some(true)),
            ("-A INPUT -p udp -m multiport --dports 22,50:60 -j ACCEPT", None),
            ("-A INPUT -i docker+ -p udp -m udp --dport 53 -j ACCEPT", None),
            ("-A INPUT ! -i docker0 -j ACCEPT", Some(true)),
            ("-A INPUT -s 172.16.0.0/12 -m comment --comment \"from -j DROP containers\" -j ACCEPT", None),
            ("-A INPUT -s 10.0.0.0/8 -j ACCEPT", Some(true)),
            ("-A INPUT -m addrtype --dst-type LOCAL -p udp --dport 53 -j ACCEPT", None),
            ("-A INPUT -m set --match-set friends src -j ACCEPT", Some(false)),
            ("-A INPUT -j ufw-user-input\n-A ufw-user-input -i docker0 -p udp -m udp --dport 53 -j ACCEPT", None),
            ("-A INPUT -j ufw-user-input\n-A ufw-user-input -j RETURN", Some(true)),
            ("-A INPUT -j LOG --log-prefix \"x -j ACCEPT \"", Some(true)),
        ] {
            assert_eq!(dropped(rules), expected, "{rules}");
        }
        let text =
            "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -i docker0 -j REJECT --reject-with icmp-port-unreachable\nCOMMIT\n";
        let blocked = tables(text, &packet())[0].verdict("INPUT").unwrap();
        assert_eq!(
            blocked.by,
            "iptables, chain INPUT: -A INPUT -i docker0 -j REJECT --reject-with icmp-port-unreachable"
        );
    }
}
