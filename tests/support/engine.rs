//! A Docker engine that is played: its HTTP API on a unix socket, for what a real one cannot be made to do in a test, or not
//! a thousand times. It answers as engines of several ages do, and tells what it was asked.
//!
//! What is played, and what real engines do, is in the comments; none of it knows callsign.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::shutdown;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::DEADLINE;

/// How an engine of an age answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// Engine 20.10: API 1.12 to 1.41. `die` before `disconnect`; aliases with the short id.
    Engine20,
    /// Engine 25: API 1.24 to 1.44. `disconnect` before `die`; DNSNames.
    Engine25,
    /// Engine 28: API 1.24 to 1.48. GwPriority.
    Engine28,
    /// Engine 29: API 1.44 to 1.52. Nothing of addresses outside of `Networks`.
    Engine29,
}

impl Age {
    fn api(self) -> (u32, u32) {
        match self {
            Age::Engine20 => (12, 41),
            Age::Engine25 => (24, 44),
            Age::Engine28 => (24, 48),
            Age::Engine29 => (44, 52),
        }
    }
}

/// A container that is to be made.
#[derive(Debug, Clone, Default)]
pub struct Container {
    name: String,
    hostname: Option<String>,
    labels: BTreeMap<String, String>,
    ports: Vec<String>,
    /// By port and protocol: the host's address and port.
    published: Vec<(String, String, u16)>,
    links: Vec<String>,
    /// `host` or `container:ID`: it has no network of its own.
    mode: Option<String>,
    /// By the network's name: the aliases, and the priority as a gateway.
    networks: Vec<(String, Vec<String>, i64)>,
}

impl Container {
    /// A container on the default bridge, unless it is put [on](Container::on) others.
    pub fn new(name: &str) -> Container {
        Container { name: name.to_owned(), ..Container::default() }
    }

    /// On a network, with aliases.
    pub fn on(self, network: &str, aliases: &[&str]) -> Container {
        self.with_priority(network, aliases, 0)
    }

    /// On a network, with aliases and a priority as a gateway.
    pub fn with_priority(mut self, network: &str, aliases: &[&str], priority: i64) -> Container {
        let aliases = aliases.iter().map(|&alias| alias.to_owned()).collect();
        self.networks.push((network.to_owned(), aliases, priority));
        self
    }

    /// With the network of the host, or of another container.
    pub fn with_network_of(mut self, mode: &str) -> Container {
        self.mode = Some(mode.to_owned());
        self
    }

    pub fn label(mut self, key: &str, value: &str) -> Container {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With the labels of Compose.
    pub fn service(self, project: &str, service: &str, number: u32) -> Container {
        self.label("com.docker.compose.project", project)
            .label("com.docker.compose.service", service)
            .label("com.docker.compose.container-number", &number.to_string())
            .label("com.docker.compose.oneoff", "False")
    }

    pub fn hostname(mut self, hostname: &str) -> Container {
        self.hostname = Some(hostname.to_owned());
        self
    }

    /// Exposes a port: `80/tcp`.
    pub fn port(mut self, port: &str) -> Container {
        self.ports.push(port.to_owned());
        self
    }

    /// Publishes a port, `53/udp`, at an address and a port of the host.
    pub fn publish(mut self, port: &str, address: &str, at: u16) -> Container {
        self.published.push((port.to_owned(), address.to_owned(), at));
        self
    }

    /// `--link TARGET:ALIAS` on the default bridge.
    pub fn link(mut self, target: &str, alias: &str) -> Container {
        self.links.push(format!("/{target}:/{}/{alias}", self.name));
        self
    }
}

/// A network.
#[derive(Debug)]
struct Network {
    name: String,
    body: Value,
    /// In front of the host's part of its addresses, such as `127.50.1.`.
    prefix: String,
    services: Value,
    /// Entries of `Containers` that are no endpoints of containers' own: those of the gateway bridge.
    others: BTreeMap<String, Value>,
}

#[derive(Debug)]
struct Running {
    made: Container,
    name: String,
    /// `created`, `running`, `paused`, `restarting`, `exited`.
    status: String,
    started: u64,
    health: Option<String>,
    /// By the network's id; the endpoint's id and the address while it is connected.
    networks: BTreeMap<String, Attached>,
    /// An inspection waits for the end of a start or a stop, as it does for the container's lock.
    is_locked: bool,
}

#[derive(Debug, Clone, Default)]
struct Attached {
    aliases: Vec<String>,
    priority: i64,
    connected: Option<(String, String)>,
}

#[derive(Debug)]
struct World {
    age: Age,
    /// Counts everything that has a number, and is the time.
    count: u64,
    networks: BTreeMap<String, Network>,
    containers: BTreeMap<String, Running>,
    subscribers: Vec<UnixStream>,
    /// Events that are not told.
    lossy: bool,
    requests: Vec<String>,
    events: u64,
    /// True if nothing is answered for the moment, and everybody waits.
    is_paused: bool,
    /// The path that is refused, as a socket proxy does.
    forbidden: Option<&'static str>,
}

/// An engine, which ends when it is dropped.
#[derive(Debug)]
pub struct Engine {
    directory: TempDir,
    shared: Arc<Shared>,
    listening: Mutex<Option<UnixListener>>,
}

#[derive(Debug)]
struct Shared {
    world: Mutex<World>,
    changed: Condvar,
}

impl Engine {
    /// An engine with the default bridge, whose subnet is `127.PREFIX.0.0/24`, and which answers.
    pub fn start(age: Age, prefix: u8) -> Engine {
        let world = World {
            age,
            count: 1,
            networks: BTreeMap::new(),
            containers: BTreeMap::new(),
            subscribers: Vec::new(),
            lossy: false,
            requests: Vec::new(),
            events: 0,
            is_paused: false,
            forbidden: None,
        };
        let engine = Engine {
            directory: TempDir::with_prefix("engine-").unwrap(),
            shared: Arc::new(Shared { world: Mutex::new(world), changed: Condvar::new() }),
            listening: Mutex::default(),
        };
        engine.make_network("bridge", &format!("127.{prefix}.0."), |body| {
            // docker.md 2.4: the default bridge has no gateway there.
            body["IPAM"]["Config"][0].as_object_mut().unwrap().remove("Gateway");
            body["Options"]["com.docker.network.bridge.default_bridge"] = "true".into();
            body["Options"]["com.docker.network.bridge.name"] = "docker0".into();
        });
        engine.listen();
        engine
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    /// `[docker]` of a configuration.
    pub fn section(&self) -> String {
        format!("[docker]\nsocket = {:?}\n", self.socket())
    }

    /// Answers from here on.
    pub fn listen(&self) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        let shared = self.shared.clone();
        *self.listening.lock().unwrap() = Some(listener.try_clone().unwrap());
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let shared = shared.clone();
                thread::spawn(move || shared.serve(stream));
            }
        });
    }

    /// Ends, as a daemon does: its socket is gone, and the streams of events are cut within a chunk.
    pub fn end(&self) {
        std::fs::remove_file(self.socket()).unwrap();
        if let Some(listener) = self.listening.lock().unwrap().take() {
            // Wakes its thread, and ends it.
            let _ = shutdown(listener.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        }
        self.cut();
    }

    /// Cuts the streams of events.
    pub fn cut(&self) {
        for mut stream in self.world().subscribers.drain(..) {
            let _ = stream.write_all(b"40\r\n{\"Type\":");
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Whether events are lost.
    pub fn lose_events(&self, lossy: bool) {
        self.world().lossy = lossy;
    }

    /// Whether everybody who asks waits.
    pub fn pause(&self, is_paused: bool) {
        self.world().is_paused = is_paused;
        self.shared.changed.notify_all();
    }

    /// Which path is refused from now on, as a socket proxy does.
    pub fn forbid(&self, path: Option<&'static str>) {
        self.world().forbidden = path;
    }

    /// How many events were told so far.
    pub fn events(&self) -> u64 {
        self.world().events
    }

    /// What was asked so far: `GET /v1.41/networks`.
    pub fn requests(&self) -> Vec<String> {
        self.world().requests.clone()
    }

    /// Waits until there are as many subscribers.
    #[track_caller]
    pub fn wait_for_subscribers(&self, count: usize) {
        let (world, timeout) = self
            .shared
            .changed
            .wait_timeout_while(self.world(), DEADLINE, |world| world.subscribers.len() != count)
            .unwrap();
        assert!(!timeout.timed_out(), "{} subscribers", world.subscribers.len());
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().unwrap()
    }

    // Networks.

    /// Makes a bridge network of the subnet `PREFIX0/24`, whose gateway is `PREFIX1`.
    pub fn network(&self, name: &str, prefix: &str) -> String {
        self.make_network(name, prefix, |_| ())
    }

    /// Makes a network, whose inspection `change` has the last word on.
    pub fn make_network(&self, name: &str, prefix: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut world = self.world();
        let id = world.id();
        let mut body = json!({
            "Name": name, "Id": id, "Scope": "local", "Driver": "bridge", "EnableIPv6": false,
            "IPAM": {"Driver": "default", "Options": null,
                     "Config": [{"Subnet": format!("{prefix}0/24"), "Gateway": format!("{prefix}1")}]},
            "Internal": false, "Attachable": false, "Ingress": false, "ConfigFrom": {"Network": ""},
            "ConfigOnly": false, "Options": {}, "Labels": {},
        });
        change(&mut body);
        let network = Network {
            name: name.to_owned(),
            body,
            prefix: prefix.to_owned(),
            services: Value::Null,
            others: BTreeMap::new(),
        };
        world.networks.insert(id.clone(), network);
        world.tell_of_network("create", &id, None);
        id
    }

    /// Removes a network, which nobody is on.
    pub fn remove_network(&self, id: &str) {
        let mut world = self.world();
        world.tell_of_network("destroy", id, None);
        world.networks.remove(id);
    }

    /// What an overlay network's verbose inspection says of services.
    pub fn set_services(&self, network: &str, services: Value) {
        self.world().networks.get_mut(network).unwrap().services = services;
    }

    /// The address of a container on the gateway bridge. No event tells of it.
    pub fn set_gateway_address(&self, bridge: &str, container: &str, address: &str) {
        let mut world = self.world();
        let endpoint = world.id();
        let entry = json!({
            "Name": "gateway_652591d96969", "EndpointID": endpoint, "MacAddress": "", "IPv4Address": format!("{address}/16"),
            "IPv6Address": "",
        });
        world.networks.get_mut(bridge).unwrap().others.insert(container.to_owned(), entry);
    }

    // Containers.

    /// Creates a container.
    pub fn create(&self, container: Container) -> String {
        self.world().create(container)
    }

    /// Creates a container, of which no inspection is answered until it was started: Compose starts it at once, and its lock is
    /// held again before anybody can ask (docker.md 3.20).
    pub fn create_locked(&self, container: Container) -> String {
        let mut world = self.world();
        let id = world.create(container);
        world.containers.get_mut(&id).unwrap().is_locked = true;
        id
    }

    /// Creates and starts one.
    pub fn run(&self, container: Container) -> String {
        let id = self.create(container);
        self.start_container(&id);
        id
    }

    /// Starts a container: connects it, then runs it.
    pub fn start_container(&self, id: &str) {
        self.begin_start(id);
        self.finish_start(id);
    }

    /// Connects a container to its networks and tells of it. Until its start is through no inspection is answered, as its lock
    /// is held (docker.md 3.20).
    pub fn begin_start(&self, id: &str) {
        let mut world = self.world();
        world.containers.get_mut(id).unwrap().is_locked = true;
        world.connect_all(id);
    }

    /// The container runs.
    pub fn finish_start(&self, id: &str) {
        let mut world = self.world();
        world.run(id);
        drop(world);
        self.shared.changed.notify_all();
    }

    /// The start fails behind its connections (docker.md 3.7): no `start`, no `die`.
    pub fn fail_start(&self, id: &str) {
        let mut world = self.world();
        world.disconnect_all(id);
        world.containers.get_mut(id).unwrap().is_locked = false;
        drop(world);
        self.shared.changed.notify_all();
    }

    /// The process ends; the container stays.
    pub fn stop(&self, id: &str) {
        self.begin_stop(id);
        self.finish_stop(id);
    }

    /// The process ends. Until the stop is through no inspection is answered.
    pub fn begin_stop(&self, id: &str) {
        let mut world = self.world();
        world.containers.get_mut(id).unwrap().is_locked = true;
        if world.age == Age::Engine20 {
            world.tell_of_container("die", id, &[]);
        } else {
            world.disconnect_all(id);
            world.tell_of_container("die", id, &[]);
        }
    }

    /// The stop is through.
    pub fn finish_stop(&self, id: &str) {
        let mut world = self.world();
        world.disconnect_all(id);
        let container = world.containers.get_mut(id).unwrap();
        container.status = "exited".to_owned();
        container.is_locked = false;
        drop(world);
        self.shared.changed.notify_all();
    }

    /// Ends a process while nobody looks: its address stays in its inspection (docker.md 3.25).
    pub fn die_unseen(&self, id: &str) {
        self.world().containers.get_mut(id).unwrap().status = "exited".to_owned();
    }

    /// Removes a stopped container.
    pub fn remove(&self, id: &str) {
        let mut world = self.world();
        world.tell_of_container("destroy", id, &[]);
        world.containers.remove(id);
    }

    /// Renames a container.
    pub fn rename(&self, id: &str, name: &str) {
        let mut world = self.world();
        let container = world.containers.get_mut(id).unwrap();
        let old = std::mem::replace(&mut container.name, name.to_owned());
        world.tell_of_container("rename", id, &[("oldName", &format!("/{old}"))]);
    }

    /// Sets what a health check says.
    pub fn set_health(&self, id: &str, health: &str) {
        let mut world = self.world();
        world.containers.get_mut(id).unwrap().health = Some(health.to_owned());
        world.tell_of_container(&format!("health_status: {health}"), id, &[]);
    }

    /// Connects a running container to a network.
    pub fn connect(&self, id: &str, network: &str, aliases: &[&str]) {
        let mut world = self.world();
        let aliases = aliases.iter().map(|&alias| alias.to_owned()).collect();
        let attached = Attached { aliases, ..Attached::default() };
        world.containers.get_mut(id).unwrap().networks.insert(network.to_owned(), attached);
        world.connect(id, network);
    }

    /// Puts a container that does not run on a network: no event tells of it.
    pub fn attach(&self, id: &str, network: &str, aliases: &[&str]) {
        let aliases = aliases.iter().map(|&alias| alias.to_owned()).collect();
        let attached = Attached { aliases, ..Attached::default() };
        self.world().containers.get_mut(id).unwrap().networks.insert(network.to_owned(), attached);
    }

    /// Disconnects a running container, of which it tells twice (docker.md 3.9).
    pub fn disconnect(&self, id: &str, network: &str) {
        let mut world = self.world();
        world.containers.get_mut(id).unwrap().networks.remove(network);
        world.tell_of_network("disconnect", network, Some(id));
        world.tell_of_network("disconnect", network, Some(id));
    }

    /// A container's address on a network.
    #[track_caller]
    pub fn address(&self, id: &str, network: &str) -> String {
        let world = self.world();
        world.containers[id].networks[network].connected.clone().expect("it is connected").1
    }

    /// The id of a container's endpoint on a network.
    #[track_caller]
    pub fn endpoint_id(&self, id: &str, network: &str) -> String {
        let world = self.world();
        world.containers[id].networks[network].connected.clone().expect("it is connected").0
    }

    /// The id of the container of this name.
    #[track_caller]
    pub fn container_id(&self, name: &str) -> String {
        let world = self.world();
        let found = world.containers.iter().find(|(_, container)| container.name == name);
        found.unwrap_or_else(|| panic!("no container {name}")).0.clone()
    }

    /// The id of the network of this name.
    #[track_caller]
    pub fn network_id(&self, name: &str) -> String {
        self.world().network_id(name)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.listening.lock().unwrap().is_some() {
            self.end();
        }
    }
}

impl World {
    fn id(&mut self) -> String {
        self.count += 1;
        // The short ids differ, too.
        format!("{:012x}{:052x}", self.count, 0)
    }

    fn network_id(&self, name: &str) -> String {
        let found = self.networks.iter().find(|(_, network)| network.name == name);
        found.unwrap_or_else(|| panic!("no network {name}")).0.clone()
    }

    fn create(&mut self, container: Container) -> String {
        let id = self.id();
        let default = [("bridge".to_owned(), Vec::new(), 0)];
        let networks = match container.mode {
            None if container.networks.is_empty() => &default[..],
            _ => &container.networks,
        };
        let networks = networks
            .iter()
            .map(|(network, aliases, priority)| {
                let attached = Attached { aliases: aliases.clone(), priority: *priority, connected: None };
                (self.network_id(network), attached)
            })
            .collect();
        let running = Running {
            name: container.name.clone(),
            status: "created".to_owned(),
            started: 0,
            health: None,
            networks,
            is_locked: false,
            made: container,
        };
        self.containers.insert(id.clone(), running);
        self.tell_of_container("create", &id, &[]);
        id
    }

    fn connect_all(&mut self, id: &str) {
        let networks: Vec<String> = self.containers[id].networks.keys().cloned().collect();
        networks.iter().for_each(|network| self.connect(id, network));
    }

    fn connect(&mut self, id: &str, network: &str) {
        let endpoint = self.id();
        let used = |at: &Running| at.networks.get(network)?.connected.as_ref().map(|(_, address)| address.clone());
        let used: BTreeSet<String> = self.containers.values().filter_map(used).collect();
        let prefix = self.networks[network].prefix.clone();
        // The lowest that is free, so that addresses are used again.
        let address = (2..=254).map(|host| format!("{prefix}{host}")).find(|address| !used.contains(address));
        let address = address.expect("an address");
        let container = self.containers.get_mut(id).unwrap();
        container.networks.get_mut(network).unwrap().connected = Some((endpoint, address));
        self.tell_of_network("connect", network, Some(id));
    }

    fn run(&mut self, id: &str) {
        self.count += 1;
        let now = self.count;
        let container = self.containers.get_mut(id).unwrap();
        (container.status, container.started, container.is_locked) = ("running".to_owned(), now, false);
        self.tell_of_container("start", id, &[]);
    }

    fn disconnect_all(&mut self, id: &str) {
        let container = self.containers.get_mut(id).unwrap();
        let connected = container.networks.iter_mut().filter_map(|(id, at)| at.connected.take().map(|_| id.clone()));
        let networks: Vec<String> = connected.collect();
        networks.iter().for_each(|network| self.tell_of_network("disconnect", network, Some(id)));
    }

    // Events.

    fn tell_of_container(&mut self, action: &str, id: &str, more: &[(&str, &str)]) {
        let container = &self.containers[id];
        let mut attributes: BTreeMap<&str, &str> =
            container.made.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        attributes.extend([("image", "busybox"), ("name", container.name.as_str())]);
        attributes.extend(more.iter().copied());
        let event = json!({
            "status": action, "id": id, "from": "busybox", "Type": "container", "Action": action,
            "Actor": {"ID": id, "Attributes": attributes},
        });
        self.tell(event);
    }

    fn tell_of_network(&mut self, action: &str, id: &str, container: Option<&str>) {
        let network = &self.networks[id];
        let mut attributes = json!({"name": network.name, "type": network.body["Driver"]});
        if let Some(container) = container {
            attributes["container"] = container.into();
        }
        self.tell(json!({"Type": "network", "Action": action, "Actor": {"ID": id, "Attributes": attributes}}));
    }

    fn tell(&mut self, mut event: Value) {
        self.count += 1;
        event["scope"] = "local".into();
        event["timeNano"] = self.count.into();
        if self.lossy {
            return;
        }
        self.events += 1;
        let text = format!("{event}\n");
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        self.subscribers.retain_mut(|stream| stream.write_all(chunk.as_bytes()).is_ok());
    }

    // Answers.

    fn endpoint(&self, id: &str, network: &str, at: &Attached, is_list: bool) -> Value {
        let container = &self.containers[id];
        let is_default = self.networks[network].name == "bridge";
        let short = id[..12].to_owned();
        let mut aliases = at.aliases.clone();
        if self.age == Age::Engine20 && !is_default {
            aliases.push(short.clone());
        }
        let (endpoint, address) = at.connected.clone().unwrap_or_default();
        // Before the first start the network is known by its name alone.
        let network_id = if container.started == 0 && at.connected.is_none() { "" } else { network };
        let other =
            self.networks[network].body["IPAM"]["Config"][0]["AuxiliaryAddresses"]["DefaultGatewayIPv4"].as_str();
        let gateway = match other {
            _ if address.is_empty() => String::new(),
            Some(other) => other.to_owned(),
            None => format!("{}1", self.networks[network].prefix),
        };
        let mut value = json!({
            "IPAMConfig": null, "Links": null, "Aliases": if is_list || is_default { Value::Null } else { aliases.clone().into() },
            "NetworkID": network_id, "EndpointID": endpoint, "Gateway": gateway, "IPAddress": address,
            "IPPrefixLen": if address.is_empty() { 0 } else { 24 }, "IPv6Gateway": "", "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0, "MacAddress": "", "DriverOpts": null,
        });
        if self.age != Age::Engine20 {
            let mut names = vec![container.name.clone()];
            names.extend(aliases);
            names.push(short);
            names.extend(container.made.hostname.clone());
            value["DNSNames"] = if is_list || is_default { Value::Null } else { names.into() };
        }
        if matches!(self.age, Age::Engine28 | Age::Engine29) {
            value["GwPriority"] = at.priority.into();
        }
        value
    }

    fn endpoints(&self, id: &str, is_list: bool) -> Value {
        let endpoints = self.containers[id].networks.iter();
        endpoints
            .map(|(network, at)| (self.networks[network].name.clone(), self.endpoint(id, network, at, is_list)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    fn inspection(&self, id: &str) -> Value {
        let container = &self.containers[id];
        let is = |status: &str| container.status == status;
        let ports: serde_json::Map<_, _> = container.made.ports.iter().map(|port| (port.clone(), json!({}))).collect();
        let published = container.made.published.iter().filter(|_| is("running"));
        let published: serde_json::Map<_, _> = published
            .map(|(port, address, at)| (port.clone(), json!([{"HostIp": address, "HostPort": at.to_string()}])))
            .collect();
        let mut settings = json!({"Networks": self.endpoints(id, false), "Ports": published});
        if self.age != Age::Engine29 {
            settings["IPAddress"] = "".into();
        }
        let mut inspection = json!({
            "Id": id, "Name": format!("/{}", container.name), "Path": "/bin/sleep", "Args": ["1000"],
            "State": {
                "Status": container.status, "Running": is("running") || is("paused") || is("restarting"),
                "Paused": is("paused"), "Restarting": is("restarting"), "Dead": false,
                "StartedAt": if container.started == 0 { "0001-01-01T00:00:00Z".to_owned() }
                             else { format!("1970-01-01T00:00:00.{:09}Z", container.started) },
            },
            "HostConfig": {"NetworkMode": container.made.mode.as_deref().unwrap_or("bridge"), "Links": container.made.links},
            "Config": {
                "Hostname": container.made.hostname.clone().unwrap_or_else(|| id[..12].to_owned()),
                "Labels": container.made.labels, "ExposedPorts": ports, "Env": ["A=b"], "Cmd": ["/bin/sleep", "1000"],
            },
            "NetworkSettings": settings, "Mounts": [],
        });
        if let Some(health) = &container.health {
            inspection["State"]["Health"] = json!({"Status": health, "FailingStreak": 0, "Log": []});
        }
        inspection
    }

    fn summary(&self, id: &str) -> Value {
        let container = &self.containers[id];
        let status = match &container.health {
            Some(health) => format!("Up {} seconds ({health})", self.count),
            None => format!("Up {} seconds", self.count),
        };
        json!({
            "Id": id, "Names": [format!("/{}", container.name)], "Image": "busybox", "Created": 1, "Ports": [],
            "Labels": container.made.labels, "State": container.status, "Status": status,
            "HostConfig": {"NetworkMode": container.made.mode.as_deref().unwrap_or("bridge")},
            "NetworkSettings": {"Networks": self.endpoints(id, true)}, "Mounts": [],
        })
    }

    fn network_inspection(&self, id: &str, is_list: bool, is_verbose: bool) -> Value {
        let network = &self.networks[id];
        let mut body = network.body.clone();
        let mut containers = serde_json::Map::new();
        if !is_list {
            for (container, running) in &self.containers {
                let connected = running.networks.get(id).and_then(|at| at.connected.clone());
                if let Some((endpoint, address)) = connected {
                    let entry = json!({
                        "Name": running.name, "EndpointID": endpoint, "MacAddress": "",
                        "IPv4Address": format!("{address}/24"), "IPv6Address": "",
                    });
                    containers.insert(container.clone(), entry);
                }
            }
            containers.extend(network.others.clone());
            if network.body["Driver"] == "overlay" {
                containers.insert(
                    format!("lb-{}", network.name),
                    json!({"Name": "x-endpoint", "IPv4Address": "10.0.1.8/24"}),
                );
            }
        }
        body["Containers"] = containers.into();
        if is_verbose {
            body["Services"] = network.services.clone();
        }
        body
    }
}

impl Shared {
    fn serve(&self, stream: UnixStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut request, mut line) = (String::new(), String::new());
        while reader.read_line(&mut line).is_ok_and(|octets| octets > 2) {
            if request.is_empty() {
                request = line.trim_end().to_owned();
            }
            line.clear();
        }
        let Some(request) = request.strip_suffix(" HTTP/1.1") else { return };
        self.world.lock().unwrap().requests.push(request.to_owned());
        let world = self.world.lock().unwrap();
        let world = self.changed.wait_while(world, |world| world.is_paused).unwrap();
        let Some(path) = request.strip_prefix("GET ") else {
            return respond(stream, 403, &json!({"message": "only GET is allowed"}));
        };
        let (oldest, newest) = world.age.api();
        if path == "/_ping" {
            let head = format!("HTTP/1.1 200 OK\r\nApi-Version: 1.{newest}\r\nContent-Length: 2\r\n\r\nOK");
            return drop((&stream).write_all(head.as_bytes()));
        }
        let (version, path) = path.strip_prefix("/v1.").and_then(|rest| rest.split_once('/')).expect(path);
        let version: u32 = version.parse().unwrap();
        if !(oldest..=newest).contains(&version) {
            let message = format!("client version 1.{version} is too old or too new: 1.{oldest} to 1.{newest}");
            return respond(stream, 400, &json!({ "message": message }));
        }
        drop(world);
        self.answer(stream, path);
    }

    fn answer(&self, mut stream: UnixStream, path: &str) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<&str> = path.split('/').collect();
        let mut world = self.world.lock().unwrap();
        if world.forbidden == Some(path) {
            return respond(stream, 403, &json!({"message": "forbidden by the proxy"}));
        }
        let known = |is_known: bool, what: &str| match is_known {
            true => None,
            false => Some(json!({"message": format!("No such {what}")})),
        };
        match parts[..] {
            ["events"] => {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
                stream.write_all(head.as_bytes()).unwrap();
                world.subscribers.push(stream);
                self.changed.notify_all();
            }
            ["networks"] => {
                let list: Vec<Value> =
                    world.networks.keys().map(|id| world.network_inspection(id, true, false)).collect();
                drop(world);
                respond(stream, 200, &list.into());
            }
            // By its id or its name.
            ["networks", name] => {
                let is_meant = |(id, network): &(&String, &Network)| *id == name || network.name == name;
                let id = world.networks.iter().find(is_meant).map(|(id, _)| id.clone());
                match (id, known(false, "network")) {
                    (Some(id), _) => {
                        respond(stream, 200, &world.network_inspection(&id, false, query == "verbose=true"))
                    }
                    (None, message) => respond(stream, 404, &message.unwrap_or_default()),
                }
            }
            ["containers", "json"] => {
                // The one filter that is asked for: `{"id":["…"]}`.
                let wanted = query
                    .split_once("filters=%7B%22id%22%3A%5B%22")
                    .map(|(_, rest)| rest.strip_suffix("%22%5D%7D").unwrap_or_else(|| panic!("{query}")).to_owned());
                let is_wanted = |id: &&String| wanted.as_ref().is_none_or(|wanted| *id == wanted);
                let list: Vec<Value> = world.containers.keys().filter(is_wanted).map(|id| world.summary(id)).collect();
                drop(world);
                respond(stream, 200, &list.into());
            }
            ["containers", id, "json"] => {
                let is_locked =
                    |world: &mut World| world.containers.get(id).is_some_and(|container| container.is_locked);
                world = self.changed.wait_while(world, is_locked).unwrap();
                match known(world.containers.contains_key(id), "container") {
                    Some(message) => respond(stream, 404, &message),
                    None => respond(stream, 200, &world.inspection(id)),
                }
            }
            _ => respond(stream, 404, &json!({"message": "page not found"})),
        }
    }
}

fn respond(mut stream: UnixStream, status: u16, body: &Value) {
    let body = body.to_string();
    let head =
        format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    // Whoever asked may have gone.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}

/// Waits until `is` holds.
#[track_caller]
pub fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is() {
        assert!(Instant::now() < deadline, "not so within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The path of an engine's socket, as DOCKER_HOST has it.
pub fn host(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}
