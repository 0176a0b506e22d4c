//! The file's tables, the keys of each, and how each is written: the one place that knows them all.

use crate::spelling::edits;

/// A kind of table.
#[derive(Debug)]
pub(super) struct Shape {
    /// Its heading, or what it is called.
    pub(super) heading: &'static str,
    /// Its keys.
    pub(super) keys: &'static [Key],
    /// Those of them that this kind of file does not have, because they are said elsewhere, and where.
    pub(super) elsewhere: (&'static [&'static str], &'static str),
}

/// A key, and an example of it.
#[derive(Debug)]
pub(super) struct Key(pub(super) &'static str, pub(super) &'static str);

/// Nothing is said elsewhere.
const NOTHING: (&[&str], &str) = (&[], "");

pub(super) static ROOT: Shape = Shape {
    heading: "callsign.toml",
    keys: &[
        Key("server", "[server]"),
        Key("cache", "[cache]"),
        Key("docker", "[docker]"),
        Key("host", "[host]"),
        Key("podman", "[podman]"),
        Key("network", "[[network]], with two brackets, as there can be several"),
        Key("forward", "[[forward]]"),
        Key("control", "[control]"),
        Key("metrics", "[metrics]"),
        Key("log", "[log]"),
    ],
    elsewhere: NOTHING,
};

pub(super) static SERVER: Shape = Shape {
    heading: "[server]",
    keys: &[
        Key("port", "port = 53"),
        Key("workers", "workers = 2"),
        Key("upstreams", "upstreams = [\"10.0.0.53\"]"),
        Key("resolv_conf", "resolv_conf = \"/etc/resolv.conf\""),
        Key("order", "order = \"listed\""),
        Key("unanswered", "unanswered = \"servfail\""),
        Key("case_randomization", "case_randomization = true"),
        Key("timeout", "timeout = 4"),
        Key("never_forward", "never_forward = [\"local\"]"),
        Key("version", "version = \"callsign\""),
        Key("identity", "identity = \"host-1\""),
        Key("udp_size", "udp_size = 1232"),
        Key("hosts", "hosts = true"),
        Key("limits", "[server.limits]"),
    ],
    elsewhere: NOTHING,
};

pub(super) static LIMITS: Shape = Shape {
    heading: "[server.limits]",
    keys: &[
        Key("tcp_connections", "tcp_connections = 1000"),
        Key("tcp_connections_per_client", "tcp_connections_per_client = 20"),
        Key("tcp_queries_per_connection", "tcp_queries_per_connection = 100"),
        Key("forwards", "forwards = 10000"),
        Key("forwards_per_client", "forwards_per_client = 500"),
        Key("tcp_idle", "tcp_idle = 10"),
    ],
    elsewhere: NOTHING,
};

pub(super) static CACHE: Shape = Shape {
    heading: "[cache]",
    keys: &[
        Key("size", "size = \"16 MiB\""),
        Key("min_ttl", "min_ttl = 0"),
        Key("max_ttl", "max_ttl = 86400"),
        Key("stale_for", "stale_for = 86400"),
    ],
    elsewhere: NOTHING,
};

pub(super) static DOCKER: Shape = Shape {
    heading: "[docker]",
    keys: &[
        Key("socket", "socket = \"/var/run/docker.sock\""),
        Key("networks", "networks = [\"shop_*\", \"!secret\"]"),
        Key("listen", "listen = [\"172.17.0.1\"]"),
        Key("domain", "domain = \"docker\""),
        Key("hold", "hold = \"2s\""),
    ],
    elsewhere: NOTHING,
};

pub(super) static HOST: Shape = Shape {
    heading: "[host]",
    keys: &[
        Key("listen", "listen = \"127.0.0.55\""),
        Key("domain", "domain = \"containers.internal\""),
        Key("answer", "answer = \"published\""),
        Key("allow", "allow = [\"127.0.0.0/8\"]"),
    ],
    elsewhere: NOTHING,
};

pub(super) static PODMAN: Shape = Shape {
    heading: "[podman]",
    keys: &[Key("directory", "directory = \"/run/containers/networks/aardvark-dns\"")],
    elsewhere: NOTHING,
};

/// The file beside Podman.
pub(super) static PODMAN_ROOT: Shape = Shape {
    heading: "podman.toml",
    keys: &[
        Key("server", "[server]"),
        Key("cache", "[cache]"),
        Key("network", "[[network]]"),
        Key("forward", "[[forward]]"),
        Key("control", "[control]"),
        Key("metrics", "[metrics]"),
        Key("log", "[log]"),
    ],
    elsewhere: NOTHING,
};

pub(super) static NETWORK: Shape = Shape {
    heading: "[[network]]",
    keys: &[
        Key("name", "name = \"shop\""),
        Key("listen", "listen = [\"172.18.0.1\"]"),
        Key("subnets", "subnets = [\"172.18.0.0/16\"]"),
        Key("gateways", "gateways = [\"172.18.0.1\"]"),
        Key("domains", "domains = [\"internal\"]"),
        Key("internal", "internal = true"),
        Key("upstreams", "upstreams = [\"10.0.0.53\"]"),
        Key("allow", "allow = [\"172.18.0.0/16\"]"),
        Key("host_names", "host_names = [\"host.docker.internal\"]"),
        Key("ttl", "ttl = 0"),
        Key("negative_ttl", "negative_ttl = 0"),
        Key("clients", "clients = \"listener\""),
        Key("merge", "merge = \"nearest\""),
        Key("ptr", "ptr = \"canonical\""),
        Key("health", "health = \"prefer\""),
        Key("hold", "hold = \"2s\""),
        Key("aliases", "[network.aliases]"),
        Key("record", "[[network.record]]"),
        Key("endpoint", "[[network.endpoint]]"),
    ],
    elsewhere: NOTHING,
};

pub(super) static RECORD: Shape = Shape {
    heading: "[[network.record]]",
    keys: &[
        Key("name", "name = \"db\""),
        Key("type", "type = \"TXT\""),
        Key("value", "value = \"primary\""),
        Key("ttl", "ttl = 60"),
    ],
    elsewhere: NOTHING,
};

pub(super) static ENDPOINT: Shape = Shape {
    heading: "[[network.endpoint]]",
    keys: &[
        Key("id", "id = \"shop-db-1\""),
        Key("addresses", "addresses = [\"172.18.0.2\"]"),
        Key("names", "names = [\"db\"]"),
        Key("ports", "ports = [{ name = \"http\", port = 8080, protocol = \"tcp\" }]"),
        Key("health", "health = \"healthy\""),
        Key("state", "state = \"up\""),
        Key("priority", "priority = 0"),
        Key("upstreams", "upstreams = [\"10.0.0.53\"]"),
    ],
    elsewhere: NOTHING,
};

pub(super) static PORT: Shape = Shape {
    heading: "ports",
    keys: &[
        Key("name", "name = \"http\""),
        Key("port", "port = 8080"),
        Key("protocol", "protocol = \"tcp\""),
        Key("published", "published = [\"127.0.0.1:8080\"]"),
    ],
    elsewhere: NOTHING,
};

pub(super) static FORWARD: Shape = Shape {
    heading: "[[forward]]",
    keys: &[Key("domain", "domain = \"corp.example\""), Key("to", "to = [\"10.0.0.53\"]")],
    elsewhere: NOTHING,
};

pub(super) static CONTROL: Shape = Shape {
    heading: "[control]",
    keys: &[
        Key("socket", "socket = \"/run/callsign/control.sock\""),
        Key("control_group", "control_group = \"adm\""),
        Key("state", "state = \"/var/lib/callsign\""),
    ],
    elsewhere: NOTHING,
};

pub(super) static METRICS: Shape = Shape {
    heading: "[metrics]",
    keys: &[Key("listen", "listen = \"127.0.0.1:9153\""), Key("compat", "compat = \"coredns\"")],
    elsewhere: NOTHING,
};

pub(super) static LOG: Shape = Shape {
    heading: "[log]",
    keys: &[
        Key("queries", "queries = \"failed\""),
        Key("format", "format = \"json\""),
        Key("file", "file = \"/var/log/callsign/queries.log\""),
        Key("sample", "sample = 100"),
    ],
    elsewhere: NOTHING,
};

/// `[server]` of the file beside Podman.
pub(super) static PODMAN_SERVER: Shape = Shape { elsewhere: (&["port"], "netavark says it"), ..SERVER };

/// `[[network]]` of the file beside Podman.
pub(super) static PODMAN_NETWORK: Shape = Shape { elsewhere: (&["listen", "endpoint"], "Podman says it"), ..NETWORK };

static ALL: [&Shape; 15] = [
    &ROOT, &SERVER, &LIMITS, &CACHE, &DOCKER, &HOST, &PODMAN, &NETWORK, &RECORD, &ENDPOINT, &PORT, &FORWARD, &CONTROL,
    &METRICS, &LOG,
];

impl Shape {
    /// How a key is written.
    pub(super) fn example(&self, key: &str) -> &'static str {
        self.keys.iter().find(|known| known.0 == key).map_or("", |known| known.1)
    }

    fn own_keys(&self) -> impl Iterator<Item = &'static Key> {
        self.keys.iter().filter(|key| !self.elsewhere.0.contains(&key.0))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|known| known.0 == key) && !self.elsewhere.0.contains(&key)
    }

    /// What to write for a key that other programs' files have.
    fn habit(&self, key: &str) -> Option<String> {
        let write = |key: &str| Some(self.example(key)).filter(|example| !example.is_empty());
        let instead = match (key.to_ascii_lowercase().as_str(), self.heading) {
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
        let homes: Vec<&str> = ALL.iter().filter(|shape| shape.has(key)).map(|shape| shape.heading).collect();
        let homes = homes.join(" or ");
        match nearest(key, self.own_keys().map(|known| known.0)) {
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
        let known: Vec<String> = self.own_keys().map(|Key(name, _)| format!("`{name}`")).collect();
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
