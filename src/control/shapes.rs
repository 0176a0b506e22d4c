//! The JSON of the control socket and of `--json`: plain values, a promise to scripts. `docs/openapi.json` describes them.
//!
//! Version 1 may get further fields; none changes its meaning or goes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The version of the paths and of these shapes.
pub const VERSION: u32 = 1;

/// Why a request was not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong, and what to do.
    pub error: String,
    /// Each mistake, where there are several.
    #[serde(default)]
    pub details: Vec<String>,
}

/// What a server does now: `/v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`VERSION`].
    pub api: u32,
    /// The program's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since when it runs, RFC 3339.
    pub started: String,
    /// The same in seconds.
    pub uptime_seconds: u64,
    /// Where its networks come from.
    pub source: Source,
    /// What is wrong; empty if nothing is.
    pub problems: Vec<String>,
    /// Queries that it received since it started.
    pub queries: u64,
    /// Queries that it receives a second.
    pub queries_per_second: f64,
    /// Its networks, by name.
    pub networks: Vec<Network>,
    /// The host view, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_view: Option<HostView>,
    /// The upstreams that were asked lately.
    pub upstreams: Vec<Upstream>,
    /// What forwarding has come to.
    pub forwarding: Forwarding,
    /// Open TCP connections.
    pub tcp_connections: usize,
    /// Queries that wait for an upstream.
    pub waiting: usize,
    /// What the server has given up; absent if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confined: Option<Confined>,
    /// The store that connects this host with others; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Store>,
    /// Where queries are written to as dnstap, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dnstap: Option<Dnstap>,
}

/// The store that connects this host with others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// `live` while every change is seen as it happens, `away` while it does not answer, `starting` before it ever did.
    pub state: String,
    /// Since when, RFC 3339.
    pub since: Option<String>,
    /// Why it does not answer.
    pub error: Option<String>,
    /// The member that is asked, or was last.
    pub member: Option<String>,
    /// The revision up to which everything is known.
    pub revision: i64,
    /// When that was last known to be all that there is, RFC 3339.
    pub synced: Option<String>,
    /// True while what is known of other hosts comes from the state file.
    pub from_file: bool,
    /// This host's name.
    pub host: String,
    /// Whether this host's names are published: `claimed`, `unclaimed` (not yet), `doubtful` (a write was not answered), `refused`.
    pub claim: String,
    /// Why they are not.
    pub claim_error: Option<String>,
    /// Containers of this host that are published.
    pub published: usize,
    /// How many other hosts are in each state, as in [`RemoteHost`].
    pub hosts: BTreeMap<String, usize>,
    /// Containers of other hosts that are served.
    pub remote_containers: usize,
    /// True while names are kept of many hosts that vanished at once.
    pub holding: bool,
    /// Networks whose settings collide with another host's.
    pub conflicts: Vec<String>,
    /// Values and names of other hosts that were not taken, by reason.
    pub refused: BTreeMap<String, u64>,
}

/// `/v1/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hosts {
    /// [`VERSION`].
    pub api: u32,
    /// The store that connects them; `null` if there is none.
    pub store: Option<Store>,
    /// The other hosts, by name.
    pub hosts: Vec<RemoteHost>,
}

/// Another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteHost {
    /// Its name.
    pub name: String,
    /// `live`; `missing` (gone a moment ago) and `held` (gone with many others), whose names are answered; `lost`, whose names have no
    /// address; `leaving`.
    pub state: String,
    /// For how many seconds.
    pub seconds: u64,
    /// Where the ports that it publishes are reached.
    pub addresses: Vec<IpAddr>,
    /// Its callsign.
    pub version: String,
    /// Its shared networks.
    pub networks: Vec<String>,
    /// Its containers that are known here.
    pub containers: usize,
    /// Those of them that are on networks of this host, and so are served.
    pub served: usize,
    /// Values and names of it that were not taken.
    pub refused: u64,
    /// What a person should know of it.
    pub remark: Option<String>,
}

/// What `callsign status --json` writes: the servers that run, however many there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statuses {
    /// [`VERSION`].
    pub api: u32,
    /// Those that answered.
    pub servers: Vec<ServerStatus>,
    /// Sockets that somebody listens at and that did not answer.
    pub silent: Vec<SilentSocket>,
}

/// The status of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Its control socket.
    pub socket: String,
    /// What it says.
    #[serde(flatten)]
    pub status: Status,
}

/// A socket that did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilentSocket {
    /// Its path.
    pub socket: String,
    /// What came of asking.
    pub error: String,
}

/// What a process has given up after its start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confined {
    /// The capabilities that are left, such as `cap_net_bind_service`.
    pub capabilities: Vec<String>,
    /// No program that it executes gains a privilege.
    pub no_new_privs: bool,
    /// The version of Landlock, which keeps it from other files; `null` where the kernel has none.
    pub landlock: Option<i32>,
}

/// What is written as dnstap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dnstap {
    /// The reader: `unix:PATH` or `tcp:ADDRESS:PORT`.
    pub target: String,
    /// True while it is there.
    pub connected: bool,
    /// Why it is not.
    pub error: Option<String>,
    /// Messages that were written.
    pub sent: u64,
    /// Messages that were not, because there was no reader or it was too slow.
    pub dropped: u64,
}

/// Where the host finds the names of all networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostView {
    /// The domain that all names lie below.
    pub domain: String,
    /// True if names answer where ports are published, and not with the containers' addresses.
    pub published: bool,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// Queries that its listeners received since they are served.
    pub queries: u64,
}

/// Where the networks come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// `file`, `podman` or `docker`.
    pub kind: String,
    /// The file, the directory or the socket.
    pub path: String,
    /// When it was last read with success, RFC 3339; of a Docker engine, when it last told of a change.
    pub read: Option<String>,
    /// Whether the Docker engine answers; absent for other sources. While it does not, what was read before is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected: Option<bool>,
    /// The last reading, if that failed: what is served is what was read before.
    pub failed: Option<FailedReload>,
}

/// A reading that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedReload {
    /// When, RFC 3339.
    pub at: String,
    /// The mistakes, each with its place.
    pub errors: Vec<String>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Another one after each change of its settings, names or containers.
    pub revision: u64,
    /// True if its containers are answered from here only: nothing is forwarded.
    pub internal: bool,
    /// Its subnets.
    pub subnets: Vec<String>,
    /// Where it is answered.
    pub listeners: Vec<Listener>,
    /// Containers that are attached to it.
    pub containers: usize,
    /// Those of them that run.
    pub running: usize,
    /// Names that it knows.
    pub names: usize,
    /// Queries that its listeners received since it is served.
    pub queries: u64,
}

/// A listener of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The address and port.
    pub address: String,
    /// `udp` or `tcp`.
    pub transport: String,
    /// True if it is served.
    pub listening: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its address, as it is configured.
    pub address: String,
    /// `up` if it answers, `down` if it does not, `unknown` if it was not asked yet.
    pub state: String,
    /// The usual round-trip time, milliseconds.
    pub rtt_ms: Option<f64>,
    /// Queries sent to it, with those that were sent again.
    pub queries: u64,
    /// Replies to them.
    pub replies: u64,
    /// Queries that it failed: errors, malformed replies, broken connections.
    pub failures: u64,
    /// Queries that it did not answer within its usual time.
    pub late: u64,
    /// Queries that it had not answered when their time was over.
    #[serde(default)]
    pub timeouts: u64,
    /// Datagrams that were sent to it again, as no reply had come.
    #[serde(default)]
    pub repeats: u64,
    /// Connections made to it.
    pub connections: u64,
}

/// What forwarding has come to since the server started, and its cache.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Forwarding {
    /// Queries answered from the cache.
    pub hits: u64,
    /// Queries for which upstreams were asked.
    pub misses: u64,
    /// Queries answered from the cache past the TTL.
    pub stale: u64,
    /// Queries that waited for the answer to an identical one.
    pub coalesced: u64,
    /// Answers asked for again before they expired.
    pub prefetched: u64,
    /// Queries answered with a failure that was remembered.
    pub cached_failures: u64,
    /// Queries turned down because too many were waiting.
    pub overloaded: u64,
    /// Answers in the cache.
    pub entries: usize,
    /// Octets that they take.
    pub bytes: u64,
}

/// `/v1/names`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// [`VERSION`].
    pub api: u32,
    /// The networks, by name.
    pub networks: Vec<NetworkNames>,
}

/// The names of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkNames {
    /// The network.
    pub network: String,
    /// The domains that may be written behind its names.
    pub domains: Vec<String>,
    /// Its names, sorted.
    pub names: Vec<Name>,
}

/// A name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// As it is asked for.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// What it stands for, if it is an alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The types of its other records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<String>,
    /// The containers that have it.
    pub containers: Vec<Container>,
}

/// A container that has a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its ID.
    pub id: String,
    /// `up`, `unhealthy`, `starting`, `stopped` or, on another host, `unreachable`.
    pub state: String,
    /// The host that it is on; absent for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// `/v1/containers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Containers {
    /// [`VERSION`].
    pub api: u32,
    /// The networks, by name.
    pub networks: Vec<NetworkContainers>,
}

/// The containers of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkContainers {
    /// The network.
    pub network: String,
    /// Its revision, as in [`Network`].
    pub revision: u64,
    /// The containers that are attached to it, sorted by name.
    pub containers: Vec<Attached>,
}

/// A container that is attached to a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// Its name.
    pub name: String,
    /// Its ID: the same on every network that it is attached to.
    pub id: String,
    /// `up`, `unhealthy`, `starting`, `stopped` or, on another host, `unreachable`.
    pub state: String,
    /// The host that it is on; absent for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its addresses on this network.
    pub addresses: Vec<IpAddr>,
    /// Its names on this network, the canonical one first.
    pub names: Vec<String>,
}

/// `/v1/upstreams`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Upstreams {
    /// [`VERSION`].
    pub api: u32,
    /// Those that were asked lately.
    pub upstreams: Vec<Upstream>,
}

/// `/v1/cache`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cache {
    /// [`VERSION`].
    pub api: u32,
    /// Entries that match, which may be more than are listed.
    pub matching: usize,
    /// The first of them, by name.
    pub entries: Vec<CacheEntry>,
}

/// An entry of the cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CacheEntry {
    /// The name that was asked for.
    pub name: String,
    /// The type.
    #[serde(rename = "type")]
    pub rtype: String,
    /// `fresh`, `expired` (given only while upstreams fail) or `failed` (a failure that is remembered).
    pub state: String,
    /// The response code.
    pub rcode: String,
    /// Seconds until it expires; negative once it has.
    pub ttl: i64,
    /// The records of the answer, as text.
    pub answers: Vec<String>,
    /// The upstreams that it is kept for.
    pub upstreams: Vec<String>,
}

/// What was flushed: `DELETE /v1/cache`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flushed {
    /// [`VERSION`].
    pub api: u32,
    /// Entries that went.
    pub removed: usize,
}

/// A name to be added: `POST /v1/added`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addition {
    /// The network.
    pub network: String,
    /// The name, relative to the network.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its TTL in seconds; the network's if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
    /// After so many seconds it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// It is kept over a restart.
    #[serde(default)]
    pub persist: bool,
}

/// A name that was added while the server runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// The network.
    pub network: String,
    /// The name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its TTL in seconds; `None` for the network's.
    pub ttl: Option<u32>,
    /// When it goes, RFC 3339.
    pub until: Option<String>,
    /// It is kept over a restart.
    pub persist: bool,
    /// False while there is no such network.
    pub served: bool,
}

/// `/v1/added`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedNames {
    /// [`VERSION`].
    pub api: u32,
    /// The names that were added, by network and name.
    pub added: Vec<Added>,
}

/// What a reload came to: `POST /v1/reload`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// [`VERSION`].
    pub api: u32,
    /// Networks that are new.
    pub added: Vec<String>,
    /// Networks that changed.
    pub changed: Vec<String>,
    /// Networks that went.
    pub removed: Vec<String>,
    /// True if settings that are not of one network changed.
    pub settings: bool,
    /// What changed of how the server is looked into: `metrics`, `log`, `dnstap`.
    #[serde(default)]
    pub operation: Vec<String>,
    /// What changed before, by readings that nobody was told of: of a file that was read because it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Earlier>,
    /// What is allowed, and most likely a mistake.
    pub warnings: Vec<String>,
    /// What is asked for and not in force, such as an address of the metrics that cannot be bound.
    #[serde(default)]
    pub problems: Vec<String>,
    /// Why nothing was changed; empty on success.
    pub errors: Vec<String>,
}

/// What readings before this one have changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// When the last of them was, RFC 3339.
    pub at: String,
    /// Networks that were new.
    pub added: Vec<String>,
    /// Networks that changed.
    pub changed: Vec<String>,
    /// Networks that went.
    pub removed: Vec<String>,
    /// True if settings that are not of one network changed.
    pub settings: bool,
    /// As [`Reloaded::operation`].
    pub operation: Vec<String>,
}

/// The level of the log: `PUT /v1/log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLevel {
    /// `error`, `warn`, `info`, `debug` or `trace`, also by module: `info,callsign::forward=debug`.
    pub level: String,
}

/// A query as it was answered, one line of `/v1/watch`; or that the watcher was too slow for some.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Watched {
    /// A query.
    Query(Box<Query>),
    /// Queries that are not shown.
    Dropped {
        /// How many.
        dropped: u64,
    },
}

/// A query as it was answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Query {
    /// When its reply was made, RFC 3339.
    pub time: String,
    /// The network whose listener was asked.
    pub network: String,
    /// The client's address.
    pub client: SocketAddr,
    /// The client's container, by name.
    pub container: Option<String>,
    /// `udp` or `tcp`.
    pub transport: String,
    /// The name; empty if the query could not be read.
    pub name: String,
    /// The type.
    #[serde(rename = "type")]
    pub rtype: String,
    /// The response code; `None` if nothing was answered.
    pub rcode: Option<String>,
    /// The records of the answer, as text.
    pub answers: Vec<String>,
    /// The rule that decided, by the letter of docs/answers.md.
    pub rule: String,
    /// The same in words.
    pub why: String,
    /// Where the answer is from: `local`, `cache`, `stale`, `upstream`, `refused`, `dropped`.
    pub from: String,
    /// The upstream that answered, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// Milliseconds from its arrival to its reply.
    pub ms: f64,
}

/// Why a client gets its answer: `/v1/explain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// [`VERSION`].
    pub api: u32,
    /// The name.
    pub name: String,
    /// The type.
    #[serde(rename = "type")]
    pub rtype: String,
    /// Who asks.
    pub client: Client,
    /// What the client gets: one word for programs. `answered`, `no_such_name`, `no_such_record`, `not_running`, `held`,
    /// `forwarded`, `refused`, `blocked`, `failed` or `ignored`.
    pub result: String,
    /// What the client gets.
    pub conclusion: String,
    /// Why.
    pub cause: Option<String>,
    /// A name that the client sees and that is spelled alike.
    pub nearest: Option<String>,
    /// What to do, if something should be done.
    pub advice: Vec<String>,
    /// What the upstream said, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<UpstreamSaid>,
    /// How it was decided, for those who know DNS.
    pub technical: Technical,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// Its container, by name.
    pub container: Option<String>,
    /// Its container's ID.
    pub id: Option<String>,
    /// The networks that it sees, in order.
    pub networks: Vec<String>,
}

/// What an upstream said when it was asked for an explanation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpstreamSaid {
    /// The one whose reply it is; `None` if none answered.
    #[serde(default)]
    pub upstream: Option<String>,
    /// The response code; `None` if none answered.
    pub rcode: Option<String>,
    /// The records of the answer, as text.
    pub answers: Vec<String>,
    /// Why there is no answer.
    pub error: Option<String>,
    /// How long it took, milliseconds.
    pub ms: f64,
}

/// How an answer was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Technical {
    /// Where the query would arrive.
    pub listener: SocketAddr,
    /// The listener's network.
    pub network: String,
    /// Who the client is to that network.
    pub client: String,
    /// What each network knows, in the order in which they are searched.
    pub searched: Vec<Searched>,
    /// The rule that decided, by the letter of docs/answers.md.
    pub rule: String,
    /// What was decided.
    pub decision: String,
    /// Where the query goes, if it is forwarded: the rule that chose, and the servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forwarded>,
    /// The records of the answer, as text.
    pub answers: Vec<String>,
    /// The records that come besides, as text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional: Vec<String>,
    /// Extended errors of the reply (RFC 8914).
    pub errors: Vec<String>,
}

/// What a network knows of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Searched {
    /// The network.
    pub network: String,
    /// `nothing`, `name`, `service`, `parent` or `address`.
    pub found: String,
    /// The same in words.
    pub text: String,
}

/// Where a query is forwarded to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarded {
    /// The name that is asked for: the query's, or what it is an alias of.
    pub name: String,
    /// The rule that chose the servers.
    pub by: String,
    /// The servers in the order in which they are asked.
    pub servers: Vec<String>,
}
