//! The rules of `nft -j list ruleset` (libnftables-json(5)).

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::{Action, Chain, Fits, Packet, Rule, Table};

/// Families whose chains see packets of IPv4.
const FAMILIES: [&str; 2] = ["ip", "inet"];

/// The tables, as they are for a packet, each with its chains that the kernel calls for what is for this host.
pub(super) fn tables(ruleset: &Value, packet: &Packet) -> Vec<(Table, Vec<String>)> {
    let mut tables: BTreeMap<(String, String), (Table, Vec<String>)> = BTreeMap::new();
    for item in ruleset["nftables"].as_array().into_iter().flatten() {
        let (is_chain, item) = match (&item["chain"], &item["rule"]) {
            (Value::Null, Value::Null) => continue,
            (Value::Null, rule) => (false, rule),
            (chain, _) => (true, chain),
        };
        let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
        let family = text("family");
        if !FAMILIES.contains(&family.as_str()) {
            continue;
        }
        let name = format!("nft {family} {}", text("table"));
        let (table, inputs) = tables.entry((family, text("table"))).or_default();
        table.name = name;
        if is_chain {
            let is_base = item["hook"].is_string();
            let drops_the_rest = is_base.then_some(item["policy"] == "drop");
            table.chains.entry(text("name")).or_default().drops_the_rest = drops_the_rest;
            if item["hook"] == "input" && item["type"] == "filter" {
                inputs.push(text("name"));
            }
        } else {
            let rules = read(item["expr"].as_array().map_or(&[][..], Vec::as_slice), packet);
            table.chains.entry(text("chain")).or_insert_with(Chain::default).rules.extend(rules);
        }
    }
    tables.into_values().collect()
}

/// A rule; none if it decides nothing.
fn read(expressions: &[Value], packet: &Packet) -> Option<Rule> {
    let (mut fits, mut action) = (Fits::Yes, Action::Next);
    for expression in expressions {
        let Some((kind, body)) = expression.as_object().and_then(|object| object.iter().next()) else { continue };
        match kind.as_str() {
            "match" => fits = fits.and(matches(body, packet)),
            "vmap" => {
                let (found, mapped) = mapped(body, packet);
                fits = fits.and(found);
                action = mapped;
            }
            // Those that count, log and mark are passed by.
            "counter" | "log" | "mangle" | "meter" | "notrack" | "ct helper" => {}
            verdict => match action_of(verdict, body) {
                Some(found) => action = found,
                // A limit, a match of iptables', a set, and what is to come.
                None => fits = fits.and(Fits::Maybe),
            },
        }
    }
    (action != Action::Next).then(|| Rule { fits, action, text: shown(expressions) })
}

fn action_of(verdict: &str, body: &Value) -> Option<Action> {
    let target = || body["target"].as_str().unwrap_or_default().to_owned();
    Some(match verdict {
        "accept" => Action::Accept,
        "drop" | "reject" => Action::Drop,
        "return" => Action::Return,
        "continue" => Action::Next,
        "jump" => Action::Jump(target()),
        "goto" => Action::Goto(target()),
        _ => return None,
    })
}

fn matches(body: &Value, packet: &Packet) -> Fits {
    let Some(value) = value_of(&body["left"], packet) else { return Fits::Maybe };
    match body["op"].as_str().unwrap_or("==") {
        "==" | "in" => value.is(&body["right"]),
        "!=" => value.is(&body["right"]).negated(true),
        _ => Fits::Maybe,
    }
}

/// The verdict that a map has for the packet.
fn mapped(body: &Value, packet: &Packet) -> (Fits, Action) {
    let entries = body["data"]["set"].as_array();
    let (Some(entries), Some(value)) = (entries, value_of(&body["key"], packet)) else {
        return (Fits::Maybe, Action::Accept);
    };
    for entry in entries {
        let (fits, verdict) = (value.is(&entry[0]), entry[1].as_object().and_then(|object| object.iter().next()));
        if let (Fits::Yes | Fits::Maybe, Some((verdict, body))) = (fits, verdict) {
            return match action_of(verdict, body) {
                Some(action) => (fits, action),
                None => (Fits::Maybe, Action::Accept),
            };
        }
    }
    (Fits::No, Action::Next)
}

/// What a packet has where a rule looks.
enum Found {
    Text(Vec<String>),
    Ip(IpAddr),
    Number(u64),
    /// It has no such thing: a port of TCP.
    Nothing,
}

fn value_of(left: &Value, packet: &Packet) -> Option<Found> {
    let text = |words: &[&str]| Some(Found::Text(words.iter().map(|&word| word.to_owned()).collect()));
    if let Some(key) = left["meta"]["key"].as_str() {
        return match key {
            "iifname" | "iif" => text(&[&packet.interface]),
            "iifkind" => text(&["bridge"]),
            "oifname" | "oif" => Some(Found::Nothing),
            "l4proto" => text(&["udp", "17"]),
            "nfproto" => text(&["ipv4", "2"]),
            "protocol" => text(&["ip"]),
            _ => None,
        };
    }
    if let Some(field) = left["payload"]["field"].as_str() {
        return match (left["payload"]["protocol"].as_str()?, field) {
            ("ip", "saddr") => Some(Found::Ip(packet.source)),
            ("ip", "daddr") => Some(Found::Ip(packet.destination)),
            ("ip", "protocol") => text(&["udp", "17"]),
            ("udp" | "th", "dport") => Some(Found::Number(packet.port.into())),
            ("ip6" | "tcp" | "icmp" | "icmpv6" | "sctp" | "esp" | "ah", _) => Some(Found::Nothing),
            _ => None,
        };
    }
    if left["ct"]["key"] == "state" {
        return text(&["new"]);
    }
    if left["fib"]["result"] == "type" && left["fib"]["flags"].to_string().contains("daddr") {
        return text(&["local"]);
    }
    None
}

impl Found {
    fn is(&self, right: &Value) -> Fits {
        if let Found::Nothing = self {
            return Fits::No;
        }
        let any = |values: &[Value]| {
            let all: Vec<Fits> = values.iter().map(|value| self.is(value)).collect();
            [Fits::Yes, Fits::Maybe].into_iter().find(|fits| all.contains(fits)).unwrap_or(Fits::No)
        };
        match right {
            Value::Array(values) => any(values),
            Value::Object(object) => match object.iter().next().map(|(kind, body)| (kind.as_str(), body)) {
                Some(("set", Value::Array(values))) => any(values),
                Some(("range", range)) => self.is_between(&range[0], &range[1]),
                Some(("prefix", prefix)) => {
                    let net = format!("{}/{}", prefix["addr"].as_str().unwrap_or_default(), prefix["len"]);
                    match (self, net.parse::<IpNet>()) {
                        (Found::Ip(ip), Ok(net)) => net.contains(ip).into(),
                        _ => Fits::Maybe,
                    }
                }
                _ => Fits::Maybe,
            },
            // The elements of a set by name, and what is masked, are not looked up.
            Value::String(text) if text.starts_with('@') => Fits::Maybe,
            Value::String(text) => match self {
                Found::Text(words) => words.iter().any(|word| fits_pattern(word, text)).into(),
                Found::Ip(ip) => text.parse().map_or(Fits::Maybe, |other: IpAddr| (other == *ip).into()),
                Found::Number(53) if text == "domain" => Fits::Yes,
                _ => Fits::Maybe,
            },
            Value::Number(number) => match self {
                Found::Number(own) => (number.as_u64() == Some(*own)).into(),
                Found::Text(words) => words.contains(&number.to_string()).into(),
                _ => Fits::Maybe,
            },
            _ => Fits::Maybe,
        }
    }

    fn is_between(&self, first: &Value, last: &Value) -> Fits {
        match (self, first.as_u64().zip(last.as_u64()), first.as_str().zip(last.as_str())) {
            (Found::Number(own), Some((first, last)), _) => (first..=last).contains(own).into(),
            (Found::Ip(ip), _, Some((first, last))) => match (first.parse::<IpAddr>(), last.parse::<IpAddr>()) {
                (Ok(first), Ok(last)) => (first..=last).contains(ip).into(),
                _ => Fits::Maybe,
            },
            _ => Fits::Maybe,
        }
    }
}

/// `br-*` is every name that begins so.
fn fits_pattern(word: &str, pattern: &str) -> bool {
    pattern.strip_suffix('*').map_or(word == pattern, |front| word.starts_with(front))
}

/// What a rule does, for people: its verdict, and what it looks at.
fn shown(expressions: &[Value]) -> String {
    let kinds = expressions.iter().filter_map(|expression| expression.as_object()?.iter().next());
    let words = kinds.filter_map(|(kind, body)| match kind.as_str() {
        "match" => Some(body["right"].to_string().trim_matches('"').to_owned()),
        "drop" | "reject" => Some(kind.clone()),
        _ => None,
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::packet;
    use super::*;

    /// Whether the packet is dropped, and if that is certain, by rules behind which all is dropped.
    fn dropped(rules: &[Value]) -> Option<bool> {
        let mut items = vec![
            json!({"metainfo": {"version": "1.0.6"}}),
            json!({"chain": {"family": "inet", "table": "f", "name": "input", "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}}),
            json!({"chain": {"family": "inet", "table": "f", "name": "forward", "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}}),
            json!({"chain": {"family": "inet", "table": "f", "name": "dns"}}),
            json!({"rule": {"family": "inet", "table": "f", "chain": "dns", "expr": [{"accept": null}]}}),
        ];
        items.extend(
            rules.iter().map(|expr| json!({"rule": {"family": "inet", "table": "f", "chain": "input", "expr": expr}})),
        );
        let tables = tables(&json!({ "nftables": items }), &packet());
        assert_eq!((tables.len(), &tables[0].1[..]), (1, &["input".to_owned()][..]));
        tables[0].0.verdict("input").map(|blocked| blocked.is_certain)
    }

    fn matching(left: Value, right: Value) -> Value {
        json!({"match": {"op": "==", "left": left, "right": right}})
    }

    #[test]
    fn rules_fit_as_nftables_fits_them() {
        let iifname = json!({"meta": {"key": "iifname"}});
        let dport = json!({"payload": {"protocol": "udp", "field": "dport"}});
        let saddr = json!({"payload": {"protocol": "ip", "field": "saddr"}});
        let accept = json!({"accept": null});
        for (rule, expected) in [
            (json!([accept]), None),
            (json!([matching(iifname.clone(), json!("lo")), accept]), Some(true)),
            (
                json!([matching(iifname.clone(), json!("docker*")), {"counter": {"packets": 0, "bytes": 0}}, accept]),
                None,
            ),
            (json!([{"match": {"op": "!=", "left": iifname, "right": "eth0"}}, accept]), None),
            (json!([matching(dport.clone(), json!({"set": [22, {"range": [50, 60]}]})), accept]), None),
            (json!([matching(dport.clone(), json!(54)), accept]), Some(true)),
            (json!([matching(dport, json!("@open")), accept]), Some(false)),
            (
                json!([matching(json!({"payload": {"protocol": "tcp", "field": "dport"}}), json!(53)), accept]),
                Some(true),
            ),
            (json!([matching(saddr.clone(), json!({"prefix": {"addr": "172.16.0.0", "len": 12}})), accept]), None),
            (json!([matching(saddr, json!({"prefix": {"addr": "10.0.0.0", "len": 8}})), accept]), Some(true)),
            (json!([matching(json!({"ct": {"key": "state"}}), json!(["established", "related"])), accept]), Some(true)),
            (json!([{"xt": {"type": "match", "name": "multiport"}}, accept]), Some(false)),
            (json!([{"jump": {"target": "dns"}}]), None),
            (
                json!([{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["invalid", {"drop": null}], ["new", {"goto": {"target": "dns"}}]]}}}]),
                None,
            ),
            (
                json!([{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["established", {"accept": null}]]}}}]),
                Some(true),
            ),
            (
                json!([matching(json!({"meta": {"key": "l4proto"}}), json!({"set": ["tcp", "udp"]})), {"reject": {"type": "icmp"}}]),
                Some(true),
            ),
        ] {
            assert_eq!(dropped(std::slice::from_ref(&rule)), expected, "{rule}");
        }
    }
}
