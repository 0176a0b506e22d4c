//! The tables: a new key is a line here, a field of its section, and its use.

use crate::table::MAX_HOLD;
use crate::wire::reply::{UDP_SIZE_LARGEST, UDP_SIZE_PLAIN};

use super::ValueKind::{
    self, Flag, Map, Number, Octets, RequiredNumber, RequiredText, RequiredTexts, RequiredTextsOr, Seconds, Table,
    Tables, Text, TextOrTexts, Texts, Word,
};
use super::{KeySchema, TableSchema};

/// Seconds to live (RFC 2181 §8).
const TTL: ValueKind = Number(0, i32::MAX as i64);
/// A time to wait for something else.
const TIMEOUT: ValueKind = Seconds(0.001, 3600.0);
/// A time for which a query may be held.
const HOLD: ValueKind = Seconds(0.0, MAX_HOLD.as_secs_f64());
/// A number of things that are counted.
const COUNT: ValueKind = Number(1, 1_000_000);
/// A larger cache is most likely a mistake, octets.
const MAX_CACHE_OCTETS: i64 = 1 << 40;
/// Nothing is said elsewhere.
const NOTHING: (&[&str], &str) = (&[], "");

const fn key(
    name: &'static str,
    example: &'static str,
    value: ValueKind,
    default: &'static str,
    meaning: &'static str,
) -> KeySchema {
    KeySchema { name, example, value, default, meaning }
}

const fn table(heading: &'static str, about: &'static str, keys: &'static [KeySchema]) -> TableSchema {
    TableSchema { heading, about, keys, elsewhere: NOTHING }
}

pub(in crate::source::config) static ROOT: TableSchema = table(
    "callsign.toml",
    "The configuration file of `callsign serve`.",
    &[
        key("server", "[server]", Table(&SERVER), "", "The server as a whole."),
        key("cache", "[cache]", Table(&CACHE), "", "The cache of upstream answers."),
        key("docker", "[docker]", Table(&DOCKER), "", "Docker as a source of networks and containers."),
        key("host", "[host]", Table(&HOST), "", "The names of all containers on the host itself."),
        key("podman", "[podman]", Table(&PODMAN), "", "Podman's networks, for the host view."),
        key(
            "network",
            "[[network]], with two brackets, as there can be several",
            Tables(&NETWORK),
            "",
            "A network, or what is added to a network of Docker's.",
        ),
        key("forward", "[[forward]]", Tables(&FORWARD), "", "Upstreams for a domain."),
        key("store", "[store]", Table(&STORE), "", "An etcd cluster, through which hosts share the names of networks."),
        key("control", "[control]", Table(&CONTROL), "", "The control socket."),
        key("metrics", "[metrics]", Table(&METRICS), "", "Metrics, health and the page over HTTP."),
        key("log", "[log]", Table(&LOG), "", "The query log."),
    ],
);

pub(in crate::source::config) static SERVER: TableSchema = table(
    "[server]",
    "The server as a whole.",
    &[
        key("port", "port = 53", Number(1, u16::MAX as i64), "`53`", "The port of listen addresses that name none."),
        key(
            "workers",
            "workers = 2",
            Number(1, 256),
            "one a core, at most 4",
            "Worker threads. Changing it requires a restart.",
        ),
        key(
            "upstreams",
            "upstreams = [\"10.0.0.53\"]",
            Texts,
            "those of `resolv_conf`",
            "The [upstreams](#upstreams) for everything that is not a container's name.",
        ),
        key(
            "resolv_conf",
            "resolv_conf = \"/etc/resolv.conf\"",
            Text,
            "`\"/etc/resolv.conf\"`",
            "A file in the format of resolv.conf that names the upstreams. It is followed as it changes. Only without `upstreams`.",
        ),
        key(
            "order",
            "order = \"listed\"",
            Word(&["listed", "fastest", "round_robin", "strict"]),
            "`\"listed\"`",
            "Which of several upstreams is asked. `\"listed\"`: the first that is up decides, and the next one's answer counts only when it fails. `\"fastest\"` and `\"round_robin\"`: they are equals, and the first answer counts. `\"strict\"`: as listed, each with an equal share of `timeout`; the first reply counts, even an error, and nothing is remembered of dead upstreams.",
        ),
        key(
            "unanswered",
            "unanswered = \"servfail\"",
            Word(&["servfail", "silence"]),
            "`\"servfail\"`",
            "What a client gets when no upstream answers.",
        ),
        key(
            "case_randomization",
            "case_randomization = true",
            Flag,
            "`false`",
            "Randomize the case of names in queries to upstreams, against forged replies.",
        ),
        key(
            "timeout",
            "timeout = 4",
            TIMEOUT,
            "`4`, with Docker `3.5`",
            "Seconds until a forwarded query fails, over all upstreams.",
        ),
        key(
            "never_forward",
            "never_forward = [\"local\"]",
            Texts,
            "none",
            "Suffixes whose unknown names are NXDOMAIN here, and are never forwarded.",
        ),
        key("version", "version = \"callsign\"", Text, "refused", "The answer to `version.bind`."),
        key(
            "identity",
            "identity = \"host-1\"",
            Text,
            "refused",
            "The answer to `id.server`, and the name server identifier (NSID).",
        ),
        key(
            "udp_size",
            "udp_size = 1232",
            Number(UDP_SIZE_PLAIN as i64, UDP_SIZE_LARGEST as i64),
            "`1232`",
            "The largest reply over UDP, in octets.",
        ),
        key(
            "hosts",
            "hosts = true",
            Flag,
            "`false`",
            "Answer the names of the host's `/etc/hosts` to all containers that may forward. See [host.md](host.md#the-hosts-own-names-for-containers).",
        ),
        key("limits", "[server.limits]", Table(&LIMITS), "", "Limits."),
    ],
);

pub(in crate::source::config) static LIMITS: TableSchema = table(
    "[server.limits]",
    "What clients may have at a time.",
    &[
        key("tcp_connections", "tcp_connections = 1000", COUNT, "`1024`", "TCP connections of all clients."),
        key(
            "tcp_connections_per_client",
            "tcp_connections_per_client = 20",
            COUNT,
            "`64`",
            "TCP connections of one client. The oldest idle one is closed for a new one.",
        ),
        key(
            "tcp_queries_per_connection",
            "tcp_queries_per_connection = 100",
            COUNT,
            "`64`",
            "Queries in flight on one TCP connection.",
        ),
        key("tcp_idle", "tcp_idle = 10", TIMEOUT, "`10`", "Seconds until an idle TCP connection is closed."),
        key("forwards", "forwards = 10000", COUNT, "`4096`", "Forwarded queries in flight."),
        key(
            "forwards_per_client",
            "forwards_per_client = 500",
            COUNT,
            "`1024`",
            "Forwarded queries in flight of one client.",
        ),
    ],
);

pub(in crate::source::config) static CACHE: TableSchema = table(
    "[cache]",
    "The cache of upstream answers.",
    &[
        key("size", "size = \"16 MiB\"", Octets(MAX_CACHE_OCTETS), "`\"16 MiB\"`", "Its size; `0` turns it off."),
        key("min_ttl", "min_ttl = 0", TTL, "`0`", "The least TTL of a positive answer, in seconds."),
        key("max_ttl", "max_ttl = 86400", TTL, "`86400`", "The greatest TTL, in seconds."),
        key(
            "stale_for",
            "stale_for = 86400",
            TTL,
            "`86400`",
            "Seconds past its TTL for which an answer may still be given when upstreams fail (RFC 8767); `0` for never.",
        ),
    ],
);

pub(in crate::source::config) static DOCKER: TableSchema = table(
    "[docker]",
    "Docker as a source: its networks and containers are served. An empty table does the same as `callsign serve --docker`. See [docker.md](docker.md).",
    &[
        key(
            "socket",
            "socket = \"/var/run/docker.sock\"",
            Text,
            "`$DOCKER_HOST`, the current context, `/var/run/docker.sock`",
            "The engine's socket; or `tcp://127.0.0.1:2375`, a socket proxy by plain HTTP.",
        ),
        key(
            "networks",
            "networks = [\"shop_*\", \"!secret\"]",
            Texts,
            "all",
            "Patterns of the networks that are served: `*` stands for any characters, and `!` in front excludes. One that matches no network is a warning.",
        ),
        key(
            "listen",
            "listen = [\"172.17.0.1\"]",
            Texts,
            "the gateways of each bridge network",
            "Where to listen instead.",
        ),
        key("domain", "domain = \"docker\"", Text, "none", "A domain of every network."),
        key(
            "hold",
            "hold = \"2s\"",
            HOLD,
            "`0`",
            "How long a query for a container that was created and does not run yet waits for it.",
        ),
    ],
);

pub(in crate::source::config) static HOST: TableSchema = table(
    "[host]",
    "The host view: the names of all containers, for the host itself. An empty table turns it on. See [host.md](host.md).",
    &[
        key(
            "listen",
            "listen = \"127.0.0.55\"",
            TextOrTexts,
            "`\"127.0.0.55\"`",
            "Where it listens. An address may have a port: `\"127.0.0.55:5300\"`.",
        ),
        key(
            "domain",
            "domain = \"containers.internal\"",
            Text,
            "`\"containers.internal\"`",
            "The domain that all names lie below: `web.shop.containers.internal`.",
        ),
        key(
            "answer",
            "answer = \"published\"",
            Word(&["containers", "published"]),
            "`\"containers\"`",
            "What a name gives: the containers' addresses, or, for hosts that cannot route to these, the addresses that their ports are published on.",
        ),
        key("allow", "allow = [\"127.0.0.0/8\"]", Texts, "the host itself", "Subnets that may ask."),
    ],
);

pub(in crate::source::config) static PODMAN: TableSchema = table(
    "[podman]",
    "Podman's networks, read for the host view alone, beside the server that answers them to containers. See [host.md](host.md#podman).",
    &[key(
        "directory",
        "directory = \"/run/containers/networks/aardvark-dns\"",
        RequiredText,
        "",
        "The directory that netavark writes them to.",
    )],
);

pub(in crate::source::config) static NETWORK: TableSchema = table(
    "[[network]]",
    "A network. One without `listen`, `subnets` and endpoints adds to the network of that name that Docker has, or, with the name `*`, to all of them.",
    &[
        key("name", "name = \"shop\"", RequiredText, "", "Its name."),
        key(
            "listen",
            "listen = [\"172.18.0.1\"]",
            Texts,
            "none",
            "The addresses to listen on: what the containers have as their name server. One may have a port: `\"127.0.0.1:5300\"`.",
        ),
        key("subnets", "subnets = [\"172.18.0.0/16\"]", Texts, "none", "Its subnets: whose clients belong to it."),
        key("gateways", "gateways = [\"172.18.0.1\"]", Texts, "`listen`", "Addresses of the host, for `host_names`."),
        key(
            "domains",
            "domains = [\"internal\"]",
            Texts,
            "none",
            "Domains that its names are found in, too: `db.internal`.",
        ),
        key("internal", "internal = true", Flag, "`false`", "Nothing is forwarded for clients of this network alone."),
        key(
            "upstreams",
            "upstreams = [\"10.0.0.53\"]",
            Texts,
            "the server's",
            "The [upstreams](#upstreams) of its clients.",
        ),
        key(
            "allow",
            "allow = [\"172.18.0.0/16\"]",
            Texts,
            "its subnets and the host",
            "Subnets whose clients may ask; `[\"0.0.0.0/0\", \"::/0\"]` for all. Link-local clients may ask over the network's own interface only.",
        ),
        key(
            "host_names",
            "host_names = [\"host.docker.internal\"]",
            Texts,
            "`host.docker.internal`, `host.containers.internal`",
            "Names of the host; `[]` for none.",
        ),
        key("ttl", "ttl = 0", TTL, "`0`", "TTL of its answers, in seconds."),
        key("negative_ttl", "negative_ttl = 0", TTL, "`0`", "TTL of its negative answers, in seconds."),
        key(
            "clients",
            "clients = \"listener\"",
            Word(&["identify", "listener", "table"]),
            "`\"listener\"`",
            "Who is known at this gateway. `\"listener\"`: the network's own endpoints. `\"table\"`: those of every network that says so, each with its own view. `\"identify\"`: as `\"table\"`, but the network's own names are seen by no client.",
        ),
        key(
            "merge",
            "merge = \"nearest\"",
            Word(&["nearest", "all"]),
            "`\"nearest\"`",
            "When several networks of a client know a name: the first one answers, or all do.",
        ),
        key(
            "ptr",
            "ptr = \"canonical\"",
            Word(&["canonical", "all"]),
            "`\"canonical\"`",
            "A reverse lookup gives the first name, or all.",
        ),
        key(
            "health",
            "health = \"prefer\"",
            Word(&["prefer", "ignore", "require"]),
            "`\"prefer\"`",
            "Healthy endpoints first; or health does not count; or only healthy ones are answered.",
        ),
        key(
            "hold",
            "hold = \"2s\"",
            HOLD,
            "`0`",
            "How long the first lookup of a container that is about to start waits for it.",
        ),
        key(
            "share",
            "share = \"container\"",
            Word(&["container", "host", "none"]),
            "`\"none\"`",
            "Shares its names with other hosts through the [store](#store). `\"container\"`: they get the containers' addresses, \
             and so need a way to these. `\"host\"`: they get this host's address and the published ports. See [hosts.md](hosts.md).",
        ),
        key("share_as", "share_as = \"shop\"", Text, "its `name`", "Its name for the other hosts."),
        key(
            "spread",
            "spread = \"local\"",
            Word(&["local", "all"]),
            "`\"local\"`",
            "Of a name that several hosts have, this host's containers answer as long as one is up and healthy; or all do.",
        ),
        key(
            "accept",
            "accept = [\"host-a\", \"db-*\"]",
            Texts,
            "all",
            "The hosts whose names are taken; `*` stands for any characters.",
        ),
        key(
            "remote_subnets",
            "remote_subnets = [\"10.88.0.0/16\"]",
            Texts,
            "none",
            "Where containers of other hosts may have their addresses. Docker's overlay networks need none.",
        ),
        key(
            "aliases",
            "[network.aliases]",
            Map,
            "none",
            "Names for names elsewhere: `payments = \"payments.dev.example.com\"`. Used while no endpoint has the name.",
        ),
        key("record", "[[network.record]]", Tables(&RECORD), "none", "Static records."),
        key("endpoint", "[[network.endpoint]]", Tables(&ENDPOINT), "none", "Endpoints: containers."),
    ],
);

pub(in crate::source::config) static RECORD: TableSchema = table(
    "[[network.record]]",
    "A static record of any type.",
    &[
        key("name", "name = \"db\"", RequiredText, "", "Its owner name."),
        key("type", "type = \"TXT\"", RequiredText, "", "Its type."),
        key("value", "value = \"primary\"", RequiredText, "", "Its data in presentation format."),
        key("ttl", "ttl = 60", TTL, "the network's", "Its TTL, in seconds."),
    ],
);

pub(in crate::source::config) static ENDPOINT: TableSchema = table(
    "[[network.endpoint]]",
    "A container on the network.",
    &[
        key(
            "id",
            "id = \"shop-db-1\"",
            RequiredText,
            "",
            "Its id, which is a name of it, too. An endpoint with the same id on two networks is one container on both, and sees the names of both.",
        ),
        key("addresses", "addresses = [\"172.18.0.2\"]", Texts, "none", "Its addresses."),
        key(
            "names",
            "names = [\"db\"]",
            Texts,
            "none",
            "Its names. A name may have dots, or be a wildcard such as `*.apps`.",
        ),
        key(
            "ports",
            "ports = [{ name = \"http\", port = 8080, protocol = \"tcp\" }]",
            Tables(&PORT),
            "none",
            "Its services: answers to `_http._tcp.api SRV`.",
        ),
        key(
            "health",
            "health = \"healthy\"",
            Word(&["healthy", "unhealthy", "starting"]),
            "`\"healthy\"`",
            "Its health: see `health` of the network. `\"starting\"`: it has not been healthy yet.",
        ),
        key(
            "state",
            "state = \"up\"",
            Word(&["up", "starting", "down"]),
            "`\"up\"`",
            "A stopped one (`\"down\"`) keeps its names, without data. `\"starting\"`: it is about to run.",
        ),
        key(
            "priority",
            "priority = 0",
            Number(i32::MIN as i64, i32::MAX as i64),
            "`0`",
            "Of an endpoint on several networks: the network with the highest priority comes first.",
        ),
        key(
            "upstreams",
            "upstreams = [\"10.0.0.53\"]",
            Texts,
            "the network's",
            "The [upstreams](#upstreams) of this endpoint.",
        ),
    ],
);

pub(in crate::source::config) static PORT: TableSchema = table(
    "ports",
    "A service of an endpoint.",
    &[
        key("name", "name = \"http\"", Text, "none", "The service's name."),
        key("port", "port = 8080", RequiredNumber(1, u16::MAX as i64), "", "The port."),
        key("protocol", "protocol = \"tcp\"", Word(&["tcp", "udp", "sctp"]), "`\"tcp\"`", "The protocol."),
        key(
            "published",
            "published = [\"127.0.0.1:8080\"]",
            Texts,
            "none",
            "Where the host publishes it, for a host view that answers so.",
        ),
    ],
);

pub(in crate::source::config) static FORWARD: TableSchema = table(
    "[[forward]]",
    "Upstreams for a domain and all names below it. The longest domain wins.",
    &[
        key("domain", "domain = \"corp.example\"", RequiredText, "", "The domain."),
        key(
            "to",
            "to = [\"10.0.0.53\"]",
            RequiredTextsOr("system"),
            "",
            "The [upstreams](#upstreams); `\"system\"` for the default ones; `[]` to answer NXDOMAIN.",
        ),
    ],
);

pub(in crate::source::config) static STORE: TableSchema = table(
    "[store]",
    "An etcd cluster, through which hosts share the names of those networks that say `share`. See [hosts.md](hosts.md).",
    &[
        key(
            "etcd",
            "etcd = [\"https://10.77.0.1:2379\", \"https://10.77.0.2:2379\"]",
            RequiredTexts,
            "",
            "The members of the cluster. One is asked at a time, and the next one when it fails.",
        ),
        key(
            "ca",
            "ca = \"/etc/callsign/etcd-ca.pem\"",
            Text,
            "the system's",
            "The certificate of the authority that signs the members' certificates.",
        ),
        key(
            "cert",
            "cert = \"/etc/callsign/host-a.pem\"",
            Text,
            "none",
            "This host's certificate. With etcd's authentication its common name is the user.",
        ),
        key("key", "key = \"/etc/callsign/host-a.key\"", Text, "none", "The key of `cert`."),
        key("user", "user = \"host-a\"", Text, "none", "The user of etcd's, where that is not told by `cert`."),
        key(
            "password_file",
            "password_file = \"/etc/callsign/etcd-password\"",
            Text,
            "none",
            "The file with the password of `user`.",
        ),
        key(
            "insecure",
            "insecure = true",
            Flag,
            "`false`",
            "Allows `http` to members that are not on this host. Only for networks that are encrypted already.",
        ),
        key(
            "prefix",
            "prefix = \"/callsign\"",
            Text,
            "`\"/callsign\"`",
            "What all keys begin with. Hosts that share names have the same one.",
        ),
        key(
            "host",
            "host = \"host-a\"",
            Text,
            "the system's host name",
            "This host's name among the others: letters, digits, hyphens and dots. `NAME.HOST` finds its containers.",
        ),
        key(
            "address",
            "address = \"10.77.0.11\"",
            TextOrTexts,
            "the one from which etcd is reached",
            "Where other hosts reach the ports that this one publishes, for `share = \"host\"`.",
        ),
        key(
            "ttl",
            "ttl = 30",
            Seconds(5.0, 600.0),
            "`30`",
            "Seconds after its last sign of life for which a host counts as alive.",
        ),
        key(
            "hold",
            "hold = 60",
            Seconds(10.0, 3600.0),
            "`60`, or twice `ttl`",
            "Seconds for which names are kept when many hosts vanish at once. At least twice `ttl`.",
        ),
        key(
            "linger",
            "linger = 300",
            Seconds(0.0, 604_800.0),
            "`300`",
            "Seconds for which names of a lost host are known and have no address, before they are unknown.",
        ),
        key(
            "wait",
            "wait = 5",
            Seconds(0.0, 60.0),
            "`5`",
            "Seconds for which a start waits for the other hosts' names.",
        ),
        key(
            "state",
            "state = \"/var/lib/callsign/store.json\"",
            Text,
            "`\"/var/lib/callsign/store.json\"`",
            "The file of the names that were known last, for a start without etcd; `\"\"` for none.",
        ),
    ],
);

pub(in crate::source::config) static CONTROL: TableSchema = table(
    "[control]",
    "The control socket, which `callsign status`, `watch` and the like talk to.",
    &[
        key(
            "socket",
            "socket = \"/run/callsign/control.sock\"",
            Text,
            "`\"/run/callsign/control.sock\"`",
            "Its path; `\"\"` for none.",
        ),
        key(
            "control_group",
            "control_group = \"adm\"",
            Text,
            "none",
            "The group whose members may open the socket and change things.",
        ),
        key(
            "state",
            "state = \"/var/lib/callsign\"",
            Text,
            "`\"/var/lib/callsign\"`",
            "The directory of names that are kept over a restart.",
        ),
    ],
);

pub(in crate::source::config) static METRICS: TableSchema = table(
    "[metrics]",
    "Metrics, health and the page over HTTP.",
    &[
        key("listen", "listen = \"127.0.0.1:9153\"", Text, "none: they are off", "Address and port."),
        key(
            "compat",
            "compat = \"coredns\"",
            Word(&["coredns"]),
            "none",
            "Adds the metric names of CoreDNS, for its dashboards.",
        ),
        key("page", "page = false", Flag, "`true`", "Serves the page at `/`, too."),
        key(
            "token_file",
            "token_file = \"/etc/callsign/token\"",
            Text,
            "none",
            "The file with the token that the page asks for. Off loopback there is no page without one.",
        ),
        key(
            "hosts",
            "hosts = [\"dns.example.com\"]",
            Texts,
            "none",
            "Names and addresses that the page may be reached by, besides `localhost` and the listener's address.",
        ),
    ],
);

pub(in crate::source::config) static LOG: TableSchema = table(
    "[log]",
    "The query log.",
    &[
        key(
            "queries",
            "queries = \"failed\"",
            Word(&["off", "failed", "all"]),
            "`\"off\"`",
            "Which queries are logged.",
        ),
        key(
            "format",
            "format = \"json\"",
            Word(&["text", "json"]),
            "`\"text\"`",
            "Lines for people, or one JSON object a line.",
        ),
        key(
            "file",
            "file = \"/var/log/callsign/queries.log\"",
            Text,
            "standard error",
            "The file. It is opened again on SIGHUP.",
        ),
        key("sample", "sample = 100", Number(1, 1_000_000), "`1`", "Log one query in so many."),
        key(
            "dnstap",
            "dnstap = \"unix:/run/dnstap.sock\"",
            Text,
            "none",
            "Where a reader of dnstap listens, `unix:PATH` or `tcp:ADDRESS:PORT`: it gets all queries and replies, of clients and of \
             upstreams, whatever `queries` and `sample` say.",
        ),
    ],
);

/// The file beside Podman.
pub(in crate::source::config) static PODMAN_ROOT: TableSchema = table(
    "podman.toml",
    "The settings of callsign under Podman.",
    &[
        key("server", "[server]", Table(&PODMAN_SERVER), "", "The server as a whole."),
        key("cache", "[cache]", Table(&CACHE), "", "The cache of upstream answers."),
        key("network", "[[network]]", Tables(&PODMAN_NETWORK), "", "What is added to a network of Podman's."),
        key("forward", "[[forward]]", Tables(&FORWARD), "", "Upstreams for a domain."),
        key("control", "[control]", Table(&CONTROL), "", "The control socket."),
        key("metrics", "[metrics]", Table(&METRICS), "", "Metrics, health and the page over HTTP."),
        key("log", "[log]", Table(&LOG), "", "The query log."),
    ],
);

/// `[server]` of the file beside Podman.
pub(in crate::source::config) static PODMAN_SERVER: TableSchema =
    TableSchema { elsewhere: (&["port"], "netavark says it"), ..SERVER };

/// `[[network]]` of the file beside Podman.
pub(in crate::source::config) static PODMAN_NETWORK: TableSchema = TableSchema {
    about: "What is added to the network of that name that Podman has, or, with the name `*`, to all of them.",
    elsewhere: (&["listen", "endpoint"], "Podman says it"),
    ..NETWORK
};

/// All tables of the configuration file, in the order of its documentation.
pub(super) static ALL: [&TableSchema; 16] = [
    &ROOT, &SERVER, &LIMITS, &CACHE, &DOCKER, &HOST, &PODMAN, &NETWORK, &RECORD, &ENDPOINT, &PORT, &FORWARD, &STORE,
    &CONTROL, &METRICS, &LOG,
];
