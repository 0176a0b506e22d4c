//! What a configuration file says, as plain values.

use crate::settings::{ServerSettings, StoreOptions};
use crate::table::Network;

use super::lint::Claim;
use super::{DockerConfig, HostConfig, NetworkPolicies, OperationConfig, PodmanDirectoryConfig, Problem};

/// A configuration file's content.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Config {
    /// `[server]`, `[cache]` and `[[forward]]`.
    pub server: ServerConfig,
    /// `[docker]`, if it is there.
    pub docker: Option<DockerConfig>,
    /// `[host]`, if it is there.
    pub host: Option<HostConfig>,
    /// `[store]`, if it is there. The host's name is empty if the file has none: see [`Config::name_host`].
    pub store: Option<StoreOptions>,
    /// `[podman]`, if it is there.
    pub podman: Option<PodmanDirectoryConfig>,
    /// Each `[[network]]` with `listen`, `subnets` or endpoints, in the order of the file, ready to be served. Its listen
    /// addresses have their ports.
    pub networks: Vec<Network>,
    /// Each other `[[network]]`: what it adds to the network of that name that Docker has.
    pub additions: NetworkPolicies,
    /// `[control]`, `[metrics]` and `[log]`.
    pub operation: OperationConfig,
    /// What is allowed and most likely a mistake.
    pub warnings: Vec<Problem>,
    /// The same, where Docker is not followed: each addition then adds to nothing.
    pub warnings_without_docker: Vec<Problem>,
    /// What it relies on.
    pub(super) claims: Vec<Claim>,
}

/// `[server]`, `[cache]` and `[[forward]]`: what holds for all networks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The port of listen addresses that have none of their own. Default: 53.
    pub port: u16,
    /// The number of worker threads; `None` for what the machine has.
    pub workers: Option<usize>,
    /// What [`Server::configure`](https://docs.rs/callsign/latest/callsign/server/struct.Server.html#method.configure) puts into
    /// force.
    pub settings: ServerSettings,
    /// The file sets the timeout of forwarded questions.
    pub has_timeout: bool,
    /// The names of the host's /etc/hosts are answered to all who may forward (answers.md N13).
    pub hosts: bool,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        ServerConfig { port: 53, workers: None, settings: ServerSettings::default(), has_timeout: false, hosts: false }
    }
}
