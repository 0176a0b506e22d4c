//! What a configuration file says, as plain values.

use std::path::PathBuf;
use std::time::Duration;

use crate::table::{Network, Upstream};
use crate::wire::Name;
use crate::wire::reply::UDP_SIZE;

use super::lint::Claim;
use super::{DockerConfig, HostConfig, NetworkPolicies, OperationConfig, PodmanDirectoryConfig, Problem};

/// A configuration file's content.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Config {
    /// `[server]`.
    pub server: ServerConfig,
    /// `[cache]`.
    pub cache: CacheConfig,
    /// `[docker]`, if it is there.
    pub docker: Option<DockerConfig>,
    /// `[host]`, if it is there.
    pub host: Option<HostConfig>,
    /// `[podman]`, if it is there.
    pub podman: Option<PodmanDirectoryConfig>,
    /// Each `[[network]]` with `listen`, `subnets` or endpoints, in the order of the file, ready to be served. Its listen
    /// addresses have their ports.
    pub networks: Vec<Network>,
    /// Each other `[[network]]`: what it adds to the network of that name that Docker has.
    pub additions: NetworkPolicies,
    /// Each `[[forward]]`, in the order of the file.
    pub routes: Vec<RouteConfig>,
    /// `[control]`, `[metrics]` and `[log]`.
    pub operation: OperationConfig,
    /// What is allowed and most likely a mistake.
    pub warnings: Vec<Problem>,
    /// The same, where Docker is not followed: each addition then adds to nothing.
    pub warnings_without_docker: Vec<Problem>,
    /// What it relies on.
    pub(super) claims: Vec<Claim>,
}

/// `[server]`: what holds for all networks.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The port of listen addresses that have none of their own. Default: 53.
    pub port: u16,
    /// The number of worker threads; `None` for what the machine has.
    pub workers: Option<usize>,
    /// The servers for what no route, endpoint or network has its own for.
    pub upstreams: UpstreamsConfig,
    /// How several servers for a question are chosen between. Default: as listed.
    pub order: OrderConfig,
    /// What clients hear when no server answers. Default: SERVFAIL.
    pub unanswered: UnansweredConfig,
    /// Whether names are spelled at random in what is asked of upstreams. Default: false.
    pub case_randomization: bool,
    /// The time for one forwarded question, over all servers and attempts; `None` for the default, 4 s, or 3.5 s with Docker.
    pub timeout: Option<Duration>,
    /// Suffixes below which nothing is forwarded (answers.md S).
    pub never_forward: Vec<Name>,
    /// What `version.bind` says in class CH, at most 255 octets; `None` for REFUSED (answers.md P5).
    pub version: Option<String>,
    /// What `id.server` says in class CH, and the name server identifier (RFC 5001), at most 255 octets; `None` for REFUSED
    /// (answers.md P5), and no identifier.
    pub identity: Option<String>,
    /// The largest reply over UDP, octets (answers.md H5). Default: 1232.
    pub udp_size: u16,
    /// Whether the names of the host's /etc/hosts are answered to all who may forward (answers.md N13). Default: false.
    pub hosts: bool,
    /// `[server.limits]`.
    pub limits: LimitsConfig,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        ServerConfig {
            port: 53,
            workers: None,
            upstreams: UpstreamsConfig::default(),
            order: OrderConfig::default(),
            unanswered: UnansweredConfig::default(),
            case_randomization: false,
            timeout: None,
            never_forward: Vec::new(),
            version: None,
            identity: None,
            udp_size: UDP_SIZE,
            hosts: false,
            limits: LimitsConfig::default(),
        }
    }
}

/// The default servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamsConfig {
    /// `resolv_conf`: the name servers of this file, followed as it changes.
    ResolvConf(PathBuf),
    /// `upstreams`: these, in order; at least one.
    List(Vec<Upstream>),
}

impl Default for UpstreamsConfig {
    fn default() -> UpstreamsConfig {
        UpstreamsConfig::ResolvConf("/etc/resolv.conf".into())
    }
}

/// `order`: how several servers for a question are chosen between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OrderConfig {
    /// `"listed"`: the first that is up decides.
    #[default]
    Listed,
    /// `"fastest"`: equals, the quickest first.
    Fastest,
    /// `"round_robin"`: equals, each in turn.
    RoundRobin,
    /// `"strict"`: one after the other, each with an equal share of the time; the first reply counts.
    Strict,
}

/// `unanswered`: what clients hear when no server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum UnansweredConfig {
    /// `"servfail"`: that.
    #[default]
    ServFail,
    /// `"silence"`: nothing.
    Silence,
}

/// `[server.limits]`: each `None` for the server's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitsConfig {
    /// TCP connections at a time, in all.
    pub tcp_connections: Option<usize>,
    /// TCP connections at a time, of one client.
    pub tcp_connections_per_client: Option<usize>,
    /// Questions of one TCP connection that wait for their answers at a time.
    pub tcp_queries_per_connection: Option<usize>,
    /// Questions that wait for an upstream at a time, in all.
    pub forwards: Option<usize>,
    /// Questions that wait for an upstream at a time, of one client.
    pub forwards_per_client: Option<usize>,
    /// How long a TCP connection may be idle.
    pub tcp_idle: Option<Duration>,
}

/// `[cache]`: the cache of upstream answers; each `None` for its default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheConfig {
    /// Octets that it may take; 0 turns it off.
    pub size: Option<usize>,
    /// The least that a TTL counts, seconds.
    pub min_ttl: Option<u32>,
    /// The most that a TTL counts, seconds.
    pub max_ttl: Option<u32>,
    /// How long past its TTL an answer may be given when upstreams fail, seconds; 0 for not at all.
    pub stale_for: Option<u32>,
}

/// `[[forward]]`: a domain whose questions go to servers of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteConfig {
    /// The domain: it and all below it. The root stands for every name.
    pub domain: Name,
    /// Where its questions go.
    pub to: RouteTarget,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteTarget {
    /// `"system"`: to the default servers.
    System,
    /// To these, in order. Empty: nowhere, the names do not exist here.
    Servers(Vec<Upstream>),
}
