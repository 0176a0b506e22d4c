//! The file's tables, and of each key how it is written, what its value may be, what holds without it and what it means: the
//! one place that knows them all. The reader takes its limits from here; `callsign schema`, docs/configuration.md and the
//! manual page are made of it.

mod tables;

use crate::spelling::edits;
use tables::ALL;
pub(super) use tables::{
    CACHE, CONTROL, DOCKER, ENDPOINT, FORWARD, HOST, LIMITS, LOG, METRICS, NETWORK, PODMAN, PODMAN_NETWORK,
    PODMAN_ROOT, PODMAN_SERVER, PORT, RECORD, ROOT, SERVER, STORE,
};

/// A table of the file.
#[derive(Debug)]
#[non_exhaustive]
pub struct TableSchema {
    /// As it is written: `[server]`.
    pub heading: &'static str,
    /// What it is for: a sentence in Markdown.
    pub about: &'static str,
    /// Its keys, in the order in which they are shown.
    pub keys: &'static [KeySchema],
    /// Keys that this kind of file does not have, because another program says them, and which.
    pub(super) elsewhere: (&'static [&'static str], &'static str),
}

/// A key of a table.
#[derive(Debug)]
#[non_exhaustive]
pub struct KeySchema {
    /// The key itself.
    pub name: &'static str,
    /// A line of TOML that sets it.
    pub example: &'static str,
    /// What its value may be.
    pub value: ValueKind,
    /// What holds without it, in Markdown; empty for nothing.
    pub default: &'static str,
    /// What it means: sentences in Markdown.
    pub meaning: &'static str,
}

/// What a value may be.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum ValueKind {
    /// A string.
    Text,
    /// A string that has to be there.
    RequiredText,
    /// `true` or `false`.
    Flag,
    /// A whole number within bounds, both included.
    Number(i64, i64),
    /// A whole number within bounds that has to be there.
    RequiredNumber(i64, i64),
    /// Seconds within bounds: a number, or a string with a unit such as `"2s"` or `"500ms"`.
    Seconds(f64, f64),
    /// Octets up to a bound: a number, or a string with a unit such as `"16 MiB"`.
    Octets(i64),
    /// One of a few words.
    Word(&'static [&'static str]),
    /// A list of strings.
    Texts,
    /// A list of strings that has to be there.
    RequiredTexts,
    /// A string, or a list of strings.
    TextOrTexts,
    /// A list of strings, or this word; it has to be there.
    RequiredTextsOr(&'static str),
    /// Any keys, each with a string.
    Map,
    /// A table.
    Table(&'static TableSchema),
    /// A list of tables.
    Tables(&'static TableSchema),
}

/// `callsign.toml` itself: its keys lead to all other tables.
pub fn callsign_toml() -> &'static TableSchema {
    &ROOT
}

/// `podman.toml` itself: its keys lead to all other tables.
pub fn podman_toml() -> &'static TableSchema {
    &PODMAN_ROOT
}

impl ValueKind {
    /// True if a table without it is an error.
    pub fn is_required(self) -> bool {
        use ValueKind::{RequiredNumber, RequiredText, RequiredTexts, RequiredTextsOr};
        matches!(self, RequiredText | RequiredNumber(..) | RequiredTexts | RequiredTextsOr(_))
    }
}

impl TableSchema {
    /// The keys that this kind of file has.
    pub fn own_keys(&self) -> impl Iterator<Item = &'static KeySchema> {
        self.keys.iter().filter(|key| !self.elsewhere.0.contains(&key.name))
    }

    /// What the value of a key may be.
    pub(super) fn value(&self, key: &str) -> Option<ValueKind> {
        self.keys.iter().find(|known| known.name == key).map(|known| known.value)
    }

    /// How a key is written.
    pub(super) fn example(&self, key: &str) -> &'static str {
        self.keys.iter().find(|known| known.name == key).map_or("", |known| known.example)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|known| known.name == key) && !self.elsewhere.0.contains(&key)
    }

    /// What to write for a key that other programs' files have.
    fn habit(&self, key: &str) -> Option<String> {
        let write = |key: &str| Some(self.example(key)).filter(|example| !example.is_empty());
        let instead = match (key.to_ascii_lowercase().as_str(), self.heading) {
            ("password", "[store]") => {
                return Some(
                    "a password does not belong into this file; write password_file = \"/etc/callsign/etcd-password\""
                        .to_owned(),
                );
            }
            ("ip" | "ips" | "ipv4" | "ipv6" | "ip_address" | "ipv4_address" | "ipv6_address", _) => {
                write("addresses").or_else(|| write("listen"))?
            }
            ("hostname" | "hostnames" | "container_name", "[[network.endpoint]]") => write("names")?,
            ("alias" | "aliases", "[[network.endpoint]]") => {
                return Some(
                    "write names = [\"db\", \"database\"]; a name elsewhere goes into [network.aliases]".to_owned(),
                );
            }
            ("alias", "[[network]]") => {
                return Some("write [network.aliases], and below it payments = \"payments.example.com\"".to_owned());
            }
            ("dns" | "dns_servers" | "nameserver" | "nameservers" | "resolver" | "resolvers", _) => write("upstreams")
                .or_else(|| write("to"))
                .unwrap_or("[server], and below it upstreams = [\"10.0.0.53\"]"),
            _ => return None,
        };
        Some(format!("write {instead}"))
    }

    /// What to say of a key that is not one of these.
    pub(super) fn unknown(&self, key: &str) -> String {
        if self.heading == SERVER.heading && key == "fail_over" {
            return "`fail_over` is part of `order` now; write order = \"strict\" for \"sequential\", and leave it out else"
                .to_owned();
        }
        let (elsewhere, who) = self.elsewhere;
        if elsewhere.contains(&key) {
            return format!("`{key}` is not for the {} of this file: {who}; leave it out", self.heading);
        }
        if let Some(instead) = self.habit(key) {
            return format!("unknown key `{key}` in {}; {instead}", self.heading);
        }
        let homes: Vec<&str> = ALL.iter().filter(|table| table.has(key)).map(|table| table.heading).collect();
        let homes = homes.join(" or ");
        match nearest(key, self.own_keys().map(|known| known.name)) {
            Some(near) if homes.is_empty() => return format!("unknown key `{key}`; did you mean `{near}`?"),
            Some(near) => {
                return format!(
                    "unknown key `{key}` in {}; did you mean `{near}`, or does it belong in {homes}?",
                    self.heading
                );
            }
            None if homes.is_empty() => {}
            None => return format!("unknown key `{key}` in {}; it belongs in {homes}", self.heading),
        }
        let known: Vec<String> = self.own_keys().map(|known| format!("`{}`", known.name)).collect();
        format!("unknown key `{}` in {}; known are {}", key, self.heading, known.join(", "))
    }
}

/// The word that somebody meant who wrote another one.
pub(super) fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let limit = if word.len() < 5 { 1 } else { 2 };
    let near = known.map(|known| (edits(word, known), known)).min_by_key(|(distance, _)| *distance);
    near.filter(|(distance, _)| *distance <= limit).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key() {
        assert_eq!(NETWORK.unknown("subnet"), "unknown key `subnet`; did you mean `subnets`?");
        assert_eq!(NETWORK.unknown("Listen"), "unknown key `Listen`; did you mean `listen`?");
        assert_eq!(SERVER.unknown("prot"), "unknown key `prot`; did you mean `port`?");
        assert_eq!(
            ROOT.unknown("networks"),
            "unknown key `networks` in callsign.toml; did you mean `network`, or does it belong in [docker]?"
        );
        assert_eq!(
            ENDPOINT.unknown("domains"),
            "unknown key `domains` in [[network.endpoint]]; it belongs in [[network]]"
        );
        assert_eq!(NETWORK.unknown("port"), "unknown key `port` in [[network]]; it belongs in [server] or ports");
        assert_eq!(
            SERVER.unknown("ports"),
            "unknown key `ports` in [server]; did you mean `port`, or does it belong in [[network.endpoint]]?"
        );
        assert_eq!(FORWARD.unknown("x"), "unknown key `x` in [[forward]]; known are `domain`, `to`");
    }
}
