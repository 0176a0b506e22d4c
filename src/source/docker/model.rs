//! What is read of the engine's JSON, field by field: everything else is skipped, and null, absent and empty are one.
//!
//! Engines differ in what they leave out or write as null, so every field has a default and no word is an enumeration: a
//! state that is not known yet must not cost the whole inspection.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// Reads null as the default.
fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Labels and options.
pub(super) type Labels = BTreeMap<String, String>;
/// A key without a value, as `ExposedPorts` has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Empty {}

/// `GET /containers/ID/json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Inspection {
    #[serde(deserialize_with = "null_as_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) state: State,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) host_config: HostConfig,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) config: Config,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) network_settings: NetworkSettings,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct State {
    #[serde(deserialize_with = "null_as_default")]
    pub(super) status: String,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) running: bool,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) restarting: bool,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) started_at: String,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) health: Health,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Health {
    #[serde(deserialize_with = "null_as_default")]
    pub(super) status: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct HostConfig {
    /// `host`, `none`, `container:ID`, `default`, or a network.
    #[serde(deserialize_with = "null_as_default")]
    pub(super) network_mode: String,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) links: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Config {
    #[serde(deserialize_with = "null_as_default")]
    pub(super) hostname: String,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) labels: Labels,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) exposed_ports: BTreeMap<String, Empty>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct NetworkSettings {
    /// By the network's name.
    #[serde(deserialize_with = "null_as_default")]
    pub(super) networks: BTreeMap<String, Endpoint>,
    /// By port and protocol, `80/tcp`: where the host publishes it; null where it does not. Not in the list.
    #[serde(deserialize_with = "ports")]
    pub(super) ports: BTreeMap<String, Vec<Binding>>,
}

/// Where a port is published.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Binding {
    /// Empty for all addresses.
    #[serde(deserialize_with = "null_as_default")]
    pub(super) host_ip: String,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) host_port: String,
}

/// Published ports, where null is none.
fn ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Vec<Binding>>, D::Error> {
    let ports: Option<BTreeMap<String, Option<Vec<Binding>>>> = Option::deserialize(deserializer)?;
    let ports = ports.unwrap_or_default().into_iter();
    Ok(ports.map(|(port, bindings)| (port, bindings.unwrap_or_default())).collect())
}

/// A container on a network, as an inspection and the list of containers have it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Endpoint {
    #[serde(deserialize_with = "null_as_default")]
    pub(super) aliases: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) links: Vec<String>,
    /// Since API 1.44: all names, those that the engine makes among them.
    #[serde(rename = "DNSNames", deserialize_with = "null_as_default")]
    pub(super) dns_names: Vec<String>,
    /// Since API 1.48.
    #[serde(deserialize_with = "null_as_default")]
    pub(super) gw_priority: i64,
    #[serde(rename = "NetworkID", deserialize_with = "null_as_default")]
    pub(super) network_id: String,
    #[serde(rename = "EndpointID", deserialize_with = "null_as_default")]
    pub(super) endpoint_id: String,
    #[serde(rename = "IPAddress", deserialize_with = "null_as_default")]
    pub(super) ip_address: String,
    #[serde(rename = "GlobalIPv6Address", deserialize_with = "null_as_default")]
    pub(super) global_ipv6_address: String,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) gateway: String,
    #[serde(rename = "IPv6Gateway", deserialize_with = "null_as_default")]
    pub(super) ipv6_gateway: String,
}

/// An entry of `GET /containers/json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Summary {
    #[serde(deserialize_with = "null_as_default")]
    pub(super) id: String,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) names: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) state: String,
    /// `Up 2 minutes (healthy)`.
    #[serde(deserialize_with = "null_as_default")]
    pub(super) status: String,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) labels: Labels,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) host_config: HostConfig,
    /// Without aliases.
    #[serde(deserialize_with = "null_as_default")]
    pub(super) network_settings: NetworkSettings,
}

/// `GET /networks/ID`, and an entry of `GET /networks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Network {
    #[serde(deserialize_with = "null_as_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) id: String,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) driver: String,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) internal: bool,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) ingress: bool,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) config_only: bool,
    #[serde(rename = "IPAM", deserialize_with = "null_as_default")]
    pub(super) ipam: Ipam,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) options: Labels,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) labels: Labels,
    /// By the container's id. Not in the list.
    #[serde(deserialize_with = "null_as_default")]
    pub(super) containers: BTreeMap<String, Connected>,
    /// With `?verbose=true`, of overlay networks: by the service's name.
    #[serde(deserialize_with = "null_as_default")]
    pub(super) services: BTreeMap<String, Service>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Ipam {
    #[serde(deserialize_with = "null_as_default")]
    pub(super) config: Vec<Pool>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Pool {
    #[serde(deserialize_with = "null_as_default")]
    pub(super) subnet: String,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) gateway: String,
    /// By what they are for.
    #[serde(deserialize_with = "null_as_default")]
    pub(super) auxiliary_addresses: Labels,
}

/// A container on a network, as the network's inspection has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Connected {
    #[serde(deserialize_with = "null_as_default")]
    pub(super) name: String,
    #[serde(rename = "EndpointID", deserialize_with = "null_as_default")]
    pub(super) endpoint_id: String,
    /// With its prefix length.
    #[serde(rename = "IPv4Address", deserialize_with = "null_as_default")]
    pub(super) ipv4_address: String,
    /// With its prefix length.
    #[serde(rename = "IPv6Address", deserialize_with = "null_as_default")]
    pub(super) ipv6_address: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Service {
    /// An address, or `<nil>`.
    #[serde(rename = "VIP", deserialize_with = "null_as_default")]
    pub(super) vip: String,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) tasks: Vec<Task>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Task {
    #[serde(deserialize_with = "null_as_default")]
    pub(super) name: String,
    #[serde(rename = "EndpointID", deserialize_with = "null_as_default")]
    pub(super) endpoint_id: String,
    #[serde(rename = "EndpointIP", deserialize_with = "null_as_default")]
    pub(super) endpoint_ip: String,
}
