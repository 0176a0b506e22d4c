//! A current netavark on a [`Machine`], called as Podman calls it, with networks and containers of a test's own making.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use super::client::{Query, Reply};
use super::machine::{Machine, Network, addresses, at_port_53};
use super::needs;
use super::process::{Finished, Process, run_with_input};

/// Where it is to keep its files, and those of the DNS server below.
const CONFIG: &str = "/run/netavark";

/// A container network.
#[derive(Debug, Clone)]
pub struct Bridge {
    name: &'static str,
    /// Each with its gateway.
    subnets: Vec<(&'static str, &'static str)>,
    internal: bool,
    servers: Vec<&'static str>,
}

impl Bridge {
    /// A network with these subnets and their gateways: `Bridge::new("shop", &[("10.10.1.0/24", "10.10.1.1")])`.
    pub fn new(name: &'static str, subnets: &[(&'static str, &'static str)]) -> Bridge {
        Bridge { name, subnets: subnets.to_vec(), internal: false, servers: Vec::new() }
    }

    /// With no way out.
    pub fn internal(mut self) -> Bridge {
        self.internal = true;
        self
    }

    /// With DNS servers of its own.
    pub fn servers(mut self, servers: &[&'static str]) -> Bridge {
        self.servers = servers.to_vec();
        self
    }

    fn json(&self) -> String {
        let subnets: Vec<String> = self
            .subnets
            .iter()
            .map(|(subnet, gateway)| format!(r#"{{"subnet": "{subnet}", "gateway": "{gateway}"}}"#))
            .collect();
        format!(
            r#""{name}": {{"name": "{name}", "id": "{name:0>64}", "driver": "bridge", "network_interface": "{name}0",
                "subnets": [{subnets}], "ipv6_enabled": {ipv6}, "internal": {internal}, "dns_enabled": true,
                "network_dns_servers": [{servers}], "ipam_options": {{"driver": "host-local"}}}}"#,
            name = self.name,
            subnets = subnets.join(", "),
            ipv6 = self.subnets.iter().any(|(subnet, _)| subnet.contains(':')),
            internal = self.internal,
            servers = quoted(&self.servers),
        )
    }
}

/// A container, with a network namespace of its name.
#[derive(Debug, Clone)]
pub struct Container {
    name: String,
    /// The networks that it is on, with its addresses there and its aliases.
    attached: Vec<(Bridge, Vec<String>, Vec<&'static str>)>,
    servers: Vec<&'static str>,
}

impl Container {
    /// A container on no network yet.
    pub fn new(name: &str) -> Container {
        Container { name: name.to_owned(), attached: Vec::new(), servers: Vec::new() }
    }

    /// On this network, too, with these addresses.
    pub fn on(mut self, bridge: &Bridge, addresses: &[&str]) -> Container {
        let addresses = addresses.iter().map(|&address| address.to_owned()).collect();
        self.attached.push((bridge.clone(), addresses, Vec::new()));
        self
    }

    /// With these aliases on the network that was named last.
    pub fn aliases(mut self, aliases: &[&'static str]) -> Container {
        self.attached.last_mut().expect("a network").2 = aliases.to_vec();
        self
    }

    /// With DNS servers of its own, as from `--dns`.
    pub fn servers(mut self, servers: &[&'static str]) -> Container {
        self.servers = servers.to_vec();
        self
    }

    /// Its id, 64 hex digits.
    fn id(&self) -> String {
        let hex: String = self.name.bytes().map(|octet| format!("{octet:02x}")).collect();
        format!("{hex:c<64}")
    }

    /// The first 12 digits, which Podman gives every container as an alias.
    pub fn short_id(&self) -> String {
        self.id()[..12].to_owned()
    }

    fn json(&self) -> String {
        let networks: Vec<String> = self
            .attached
            .iter()
            .enumerate()
            .map(|(index, (bridge, addresses, aliases))| {
                let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
                let short_id = self.short_id();
                let aliases = [aliases.as_slice(), &[short_id.as_str()]].concat();
                format!(
                    r#""{}": {{"static_ips": [{}], "aliases": [{}], "interface_name": "eth{index}"}}"#,
                    bridge.name,
                    quoted(&addresses),
                    quoted(&aliases)
                )
            })
            .collect();
        let bridges: Vec<String> = self.attached.iter().map(|(bridge, ..)| bridge.json()).collect();
        format!(
            r#"{{"container_id": "{}", "container_name": "{}", "dns_servers": [{}], "networks": {{{}}}, "network_info": {{{}}}}}"#,
            self.id(),
            self.name,
            quoted(&self.servers),
            networks.join(", "),
            bridges.join(", ")
        )
    }
}

fn quoted(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    quoted.join(", ")
}

/// Netavark on a machine.
pub struct Netavark<'a> {
    machine: &'a Machine<'a>,
    environment: Vec<(&'static str, &'static str)>,
}

impl<'a> Netavark<'a> {
    /// Without a firewall.
    pub fn new(machine: &'a Machine<'a>) -> Netavark<'a> {
        fs::create_dir(machine.file(CONFIG)).unwrap();
        Netavark { machine, environment: vec![("NETAVARK_FW", "none")] }
    }

    /// With a variable in its environment, which the DNS server inherits.
    pub fn environment(mut self, name: &'static str, value: &'static str) -> Netavark<'a> {
        self.environment.retain(|(other, _)| *other != name);
        self.environment.push((name, value));
        self
    }

    /// Makes the container's network namespace and connects it, which has to succeed.
    #[track_caller]
    pub fn setup(&self, container: &Container) -> Network {
        self.try_setup(container).expect_success();
        self.machine.network_named(&container.name)
    }

    /// The same, however it ends.
    #[track_caller]
    pub fn try_setup(&self, container: &Container) -> Finished {
        self.machine.run(&["ip", "netns", "add", &container.name]).expect_success();
        run_with_input(self.command(&["setup", &namespace(container)]), &container.json())
    }

    /// The same for a container with a namespace, not waited for.
    pub fn spawn_setup(&self, container: &Container) -> Process {
        self.machine.run(&["ip", "netns", "add", &container.name]).expect_success();
        Process::spawn_with_input(self.command(&["setup", &namespace(container)]), &container.json())
    }

    /// Disconnects the container.
    #[track_caller]
    pub fn teardown(&self, container: &Container) {
        run_with_input(self.command(&["teardown", &namespace(container)]), &container.json()).expect_success();
    }

    /// Gives a network other DNS servers.
    #[track_caller]
    pub fn update(&self, network: &str, servers: &str) {
        run_with_input(self.command(&["update", network, "--network-dns-servers", servers]), "").expect_success();
    }

    fn command(&self, words: &[&str]) -> std::process::Command {
        let programs = self.machine.base().join("bin");
        let mut command = self.machine.command(programs.join("netavark"));
        command.args(["--config", CONFIG, "--aardvark-binary"]).arg(programs.join("aardvark-dns")).args(words);
        command.envs(self.environment.iter().copied());
        command
    }

    /// The directory that it keeps for the DNS server.
    pub fn directory(&self) -> PathBuf {
        self.machine.file(CONFIG).join("aardvark-dns")
    }

    /// The DNS server's process ID, if its file names one.
    pub fn server(&self) -> Option<u32> {
        fs::read_to_string(self.directory().join("aardvark.pid")).ok()?.parse().ok()
    }
}

fn namespace(container: &Container) -> String {
    format!("/run/netns/{}", container.name)
}

/// The netavark that [`needs_root!`](crate::needs_root) found: the one in PATH.
pub fn path() -> PathBuf {
    needs::path("netavark")
}

/// The addresses of both families that a container gets for `name` from the gateway `server`; `NXDOMAIN` and the like where
/// there is an error instead.
#[track_caller]
pub fn resolves(container: &Network, server: &str, name: &str) -> Vec<String> {
    use callsign::wire::rtype;
    let replies = [rtype::A, rtype::AAAA].map(|rtype| container.ask(at_port_53(server), &Query::new(name, rtype)));
    match replies.iter().find(|reply| reply.status() != "NOERROR") {
        Some(error) => vec![error.status()],
        None => replies.iter().flat_map(addresses).collect(),
    }
}

/// The names that the gateway `server` has for an address, as they stand in the answer.
#[track_caller]
pub fn names(container: &Network, server: &str, address: &str) -> Vec<String> {
    let address: IpAddr = address.parse().unwrap();
    let reply: Reply = container.ask(at_port_53(server), &Query::reverse(address));
    let mut names: Vec<String> = reply
        .answers()
        .iter()
        .filter_map(|record| record.rsplit_once(' '))
        .map(|(_, name)| name.trim_end_matches('.').to_owned())
        .collect();
    names.sort();
    names
}
