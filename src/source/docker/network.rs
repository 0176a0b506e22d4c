//! What a network is: who asks where, and where its gateways are. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::model;
use super::names;

/// Docker's network by which containers of overlay networks reach their host.
pub(super) const GATEWAY_BRIDGE: &str = "docker_gwbridge";
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
const DEFAULT_BRIDGE: &str = "com.docker.network.bridge.default_bridge";
const INHIBIT_IPV4: &str = "com.docker.network.bridge.inhibit_ipv4";
const GATEWAY_MODES: [&str; 2] =
    ["com.docker.network.bridge.gateway_mode_ipv4", "com.docker.network.bridge.gateway_mode_ipv6"];

/// An interface of the host, and an address of it.
pub(super) type Interface = (String, IpAddr);

/// What a network is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its containers reach its gateways, which are the host's.
    Bridge,
    /// It spans hosts: containers ask by way of the gateway bridge.
    Overlay,
    /// Its addresses tell who asks, and nothing else (answers.md V2a).
    Identity,
    /// Its containers do not reach the host by it: macvlan, ipvlan, and those of plugins.
    Unreachable,
}

/// A network, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) driver: String,
    pub(super) kind: Kind,
    pub(super) is_default: bool,
    pub(super) internal: bool,
    pub(super) subnets: Vec<IpNet>,
    pub(super) is_enabled: bool,
    pub(super) hold: Option<Duration>,
    /// One for each subnet that has one, as the engine's own record has it.
    configured: Vec<IpAddr>,
    /// Addresses of the network that other machines have: with `--default-gateway` the gateway of its containers is one.
    elsewhere: Vec<IpAddr>,
    /// Families without a gateway on the host.
    without_v4: bool,
    without_v6: bool,
    /// Of the bridge inside the subnets.
    of_interface: Vec<IpAddr>,
    /// As its containers have them.
    of_endpoints: BTreeSet<IpAddr>,
}

impl Network {
    /// `None` for what no container has an address on: `host`, `none`, and what is no network of containers. An overlay network
    /// has no driver until the swarm has given it its subnet.
    pub(super) fn read(network: &model::Network, interfaces: &[Interface]) -> Option<Network> {
        let model::Network { id, name, driver, options, .. } = network;
        if network.ingress || network.config_only || matches!(driver.as_str(), "host" | "null" | "") || id.is_empty() {
            return None;
        }
        let is = |option: &str| options.get(option).is_some_and(|value| value == "true");
        let kind = match driver.as_str() {
            "bridge" if name == GATEWAY_BRIDGE => Kind::Identity,
            "bridge" => Kind::Bridge,
            "overlay" => Kind::Overlay,
            _ => Kind::Unreachable,
        };
        let subnets: Vec<IpNet> = network
            .ipam
            .config
            .iter()
            .filter_map(|pool| pool.subnet.parse::<IpNet>().ok())
            // Where a plugin or DHCP gives the addresses, the engine says 0.0.0.0/0: no subnet of its own.
            .filter(|subnet| subnet.prefix_len() > 0)
            .map(|net| net.trunc())
            .collect();
        let bridge = options.get(BRIDGE_NAME).cloned().unwrap_or_else(|| format!("br-{}", id.get(..12).unwrap_or(id)));
        let of_interface = interfaces.iter().filter(|(interface, address)| {
            *interface == bridge && subnets.iter().any(|subnet| subnet.contains(address))
        });
        let isolated = |option: &str| options.get(option).is_some_and(|mode| mode == "isolated");
        Some(Network {
            id: id.clone(),
            name: name.clone(),
            driver: driver.clone(),
            kind,
            is_default: is(DEFAULT_BRIDGE) || kind == Kind::Bridge && name == "bridge",
            internal: network.internal,
            is_enabled: names::is_enabled(&network.labels),
            hold: names::hold(&network.labels),
            configured: names::parsed(network.ipam.config.iter().map(|pool| &pool.gateway)),
            elsewhere: names::parsed(network.ipam.config.iter().flat_map(|pool| pool.auxiliary_addresses.values())),
            without_v4: isolated(GATEWAY_MODES[0]) || is(INHIBIT_IPV4),
            without_v6: isolated(GATEWAY_MODES[1]),
            of_interface: of_interface.map(|(_, address)| *address).collect(),
            of_endpoints: BTreeSet::new(),
            subnets,
        })
    }

    /// Takes over what the containers of the network as it was known before have said.
    pub(super) fn remember(&mut self, before: &Network) {
        self.of_endpoints = before.of_endpoints.iter().copied().filter(|gateway| self.contains(*gateway)).collect();
    }

    /// Notes a container's gateway. True if that makes another one the network's.
    pub(super) fn learn(&mut self, gateways: &[IpAddr]) -> bool {
        let before = self.gateways();
        let is_here = |gateway: &IpAddr| self.contains(*gateway) && !self.elsewhere.contains(gateway);
        let here: Vec<IpAddr> = gateways.iter().copied().filter(is_here).collect();
        self.of_endpoints.extend(here);
        self.gateways() != before
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.subnets.iter().any(|subnet| subnet.contains(&address))
    }

    /// The host's addresses on the network, one for each subnet: as configured, else the bridge's address, else as its
    /// containers have it, else the subnet's first (docker.md 2.4). The bridge comes before the containers, whose gateway may be
    /// another machine.
    pub(super) fn gateways(&self) -> Vec<IpAddr> {
        if self.kind != Kind::Bridge {
            return Vec::new();
        }
        let of = |subnet: &IpNet| {
            let inside = |address: &&IpAddr| subnet.contains(*address);
            self.configured
                .iter()
                .find(inside)
                .or_else(|| self.of_interface.iter().find(inside))
                .or_else(|| self.of_endpoints.iter().find(inside))
                .copied()
                .or_else(|| first_host(subnet))
        };
        let is_there = |subnet: &&IpNet| if subnet.addr().is_ipv4() { !self.without_v4 } else { !self.without_v6 };
        let gateways = self.subnets.iter().filter(is_there).filter_map(of);
        gateways.collect()
    }
}

/// The address that Docker gives a bridge unless told otherwise.
fn first_host(subnet: &IpNet) -> Option<IpAddr> {
    match subnet {
        IpNet::V4(subnet) => subnet.hosts().next().map(IpAddr::V4),
        // The first is the routers' anycast address.
        IpNet::V6(subnet) => subnet.hosts().nth(1).map(IpAddr::V6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIDGE: &str = include_str!("../../../tests/docker_samples/network-inspect-bridge.json");
    const BACK: &str = include_str!("../../../tests/docker_samples/network-inspect-proj_back.json");
    const LIST: &str = include_str!("../../../tests/docker_samples/networks-list.json");
    const OVERLAY: &str = include_str!("../../../tests/docker_samples/swarm-network-verbose-worker.json");
    const PODMAN: &str = include_str!("../../../tests/docker_samples/podman-network-inspect.json");

    fn read(text: &str, interfaces: &[Interface]) -> Option<Network> {
        Network::read(&serde_json::from_str(text).unwrap(), interfaces)
    }

    fn gateways(network: &Network) -> Vec<String> {
        network.gateways().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn docker_2_4_where_the_gateway_is_found() {
        let back = read(BACK, &[]).unwrap();
        assert!(back.internal && !back.is_default);
        assert_eq!(gateways(&back), ["172.21.0.1"], "as the engine's record has it");

        let mut bridge = read(BRIDGE, &[]).unwrap();
        assert!(bridge.is_default);
        assert_eq!(gateways(&bridge), ["172.17.0.1"], "the subnet's first address");
        let at = |interface: &str, address: &str| (interface.to_owned(), address.parse().unwrap());
        let interfaces = [at("eth0", "172.17.9.9"), at("docker0", "10.0.0.1"), at("docker0", "172.17.0.77")];
        bridge = read(BRIDGE, &interfaces).unwrap();
        assert_eq!(gateways(&bridge), ["172.17.0.77"], "the bridge's address inside the subnet");
        assert!(!bridge.learn(&["172.17.0.254".parse().unwrap()]), "with --default-gateway that is another machine");
        // Where the interfaces are not to be seen.
        bridge = read(BRIDGE, &[]).unwrap();
        assert!(!bridge.learn(&["10.9.9.9".parse().unwrap()]));
        assert!(bridge.learn(&["172.17.0.88".parse().unwrap()]));
        assert_eq!(gateways(&bridge), ["172.17.0.88"], "what a container has as its gateway");
        let mut anew = read(BRIDGE, &[]).unwrap();
        anew.remember(&bridge);
        assert_eq!(anew, bridge);
    }

    #[test]
    fn docker_2_4_a_gateway_that_another_machine_has_is_not_the_hosts() {
        let pool = r#"{"Subnet": "10.80.0.0/24", "AuxiliaryAddresses": {"DefaultGatewayIPv4": "10.80.0.254"}}"#;
        let text = format!(r#"{{"Name": "dg", "Id": "x", "Driver": "bridge", "IPAM": {{"Config": [{pool}]}}}}"#);
        let mut network = read(&text, &[]).unwrap();
        assert!(!network.learn(&["10.80.0.254".parse().unwrap()]));
        assert_eq!(gateways(&network), ["10.80.0.1"]);
    }

    #[test]
    fn two_families() {
        let pools = r#""Config": [{"Subnet": "10.50.1.0/24", "Gateway": "10.50.1.1"}, {"Subnet": "fd50:1::/64"}]"#;
        let text =
            format!(r#"{{"Name": "n1", "Id": "x", "Driver": "bridge", "IPAM": {{{pools}}}, "Options": OPTIONS}}"#);
        let with = |options: &str| gateways(&read(&text.replace("OPTIONS", options), &[]).unwrap());
        assert_eq!(with("null"), ["10.50.1.1", "fd50:1::1"]);
        // docker.md 2.6.
        assert_eq!(with(r#"{"com.docker.network.bridge.gateway_mode_ipv4": "isolated"}"#), ["fd50:1::1"]);
        assert_eq!(with(r#"{"com.docker.network.bridge.gateway_mode_ipv6": "isolated"}"#), ["10.50.1.1"]);
        assert_eq!(with(r#"{"com.docker.network.bridge.inhibit_ipv4": "true"}"#), ["fd50:1::1"]);
    }

    #[test]
    fn v2a_a_network_without_addresses_of_the_engines_has_no_strangers() {
        let text = r#"{"Name": "dhcp", "Id": "x", "Driver": "macvlan", "IPAM": {"Config": [{"Subnet": "0.0.0.0/0"}, {"Subnet": "::/0"}]}}"#;
        assert_eq!(read(text, &[]).unwrap().subnets, []);
    }

    #[test]
    fn which_networks_containers_reach_us_by() {
        let list: Vec<model::Network> = serde_json::from_str(LIST).unwrap();
        let read: Vec<Option<Network>> = list.iter().map(|network| Network::read(network, &[])).collect();
        for (network, read) in list.iter().zip(&read) {
            match network.driver.as_str() {
                "host" | "null" => assert_eq!(*read, None),
                "bridge" => assert_eq!(read.as_ref().unwrap().kind, Kind::Bridge),
                other => panic!("{other}"),
            }
        }
        let overlay = self::read(OVERLAY, &[]).unwrap();
        assert_eq!((overlay.kind, gateways(&overlay)), (Kind::Overlay, vec![]));
        let renamed = |driver: &str, name: &str| {
            let text = BACK.replace("\"bridge\"", &format!("{driver:?}")).replace("proj_back", name);
            self::read(&text, &[]).unwrap()
        };
        assert_eq!(renamed("macvlan", "lan").kind, Kind::Unreachable);
        assert_eq!(gateways(&renamed("macvlan", "lan")), Vec::<String>::new());
        assert_eq!(renamed("bridge", "docker_gwbridge").kind, Kind::Identity);
        assert_eq!(self::read(&OVERLAY.replace("\"Driver\": \"overlay\"", "\"Driver\": \"\""), &[]), None);
        assert_eq!(self::read(&OVERLAY.replace("\"Ingress\": false", "\"Ingress\": true"), &[]), None);
        assert_eq!(gateways(&self::read(PODMAN, &[]).unwrap()), ["10.89.0.1"]);
    }
}
