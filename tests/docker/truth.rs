//! What the engine knows, at every moment: its containers and networks are read all the time, so that an answer can be held
//! against what was so when it was given.

use std::collections::HashMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::docker::Docker;

/// How much older than its question the truth of an answer may be.
const LAG: Duration = Duration::from_millis(100);

/// Between two readings.
const PAUSE: Duration = Duration::from_millis(5);

/// A container on a network.
#[derive(Debug, Clone)]
struct Endpoint {
    network: String,
    address: String,
    /// Its own name, its service's, and the aliases of that.
    names: Vec<String>,
    /// Its process is there, and the engine says that it runs.
    runs: bool,
    has_health_check: bool,
}

/// The state of the engine at some moment between two.
#[derive(Debug)]
struct Reading {
    from: Instant,
    to: Instant,
    endpoints: Vec<Endpoint>,
}

/// The readings so far.
pub(crate) struct Truth<'d, 'a> {
    docker: &'d Docker<'a>,
    networks: Vec<String>,
    /// The aliases of a service, by its name.
    aliases: HashMap<&'static str, Vec<&'static str>>,
    readings: Mutex<Vec<Reading>>,
}

/// An answer, and when it was asked for and came.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) name: String,
    pub(crate) asked: Instant,
    pub(crate) came: Instant,
    /// The addresses, or what went wrong.
    pub(crate) outcome: Result<Vec<String>, String>,
}

impl<'d, 'a> Truth<'d, 'a> {
    /// Of these networks, with nothing read yet.
    pub(crate) fn new(
        docker: &'d Docker<'a>,
        networks: &[&str],
        aliases: &[(&'static str, &[&'static str])],
    ) -> Truth<'d, 'a> {
        let networks = networks.iter().map(|&network| network.to_owned()).collect();
        let aliases = aliases.iter().map(|&(service, aliases)| (service, aliases.to_vec())).collect();
        Truth { docker, networks, aliases, readings: Mutex::default() }
    }

    /// Reads until `done`.
    pub(crate) fn read_until(&self, done: &AtomicBool) {
        while !done.load(Ordering::Relaxed) {
            let reading = self.read();
            self.readings.lock().unwrap().push(reading);
            thread::sleep(PAUSE);
        }
        let reading = self.read();
        self.readings.lock().unwrap().push(reading);
    }

    fn read(&self) -> Reading {
        let from = Instant::now();
        let mut endpoints = Vec::new();
        let containers = self.docker.get("/containers/json?all=1");
        for container in containers.as_array().expect("containers") {
            let id = container["Id"].as_str().expect("an id");
            let runs = container["State"] == "running" && self.is_alive(id);
            let names = self.names(container);
            let has_health_check = container["Status"].as_str().is_some_and(|status| status.contains("health"));
            let attached = container["NetworkSettings"]["Networks"].as_object().expect("networks");
            for (network, settings) in attached.iter().filter(|(network, _)| self.networks.contains(network)) {
                let address = settings["IPAddress"].as_str().unwrap_or_default().to_owned();
                endpoints.push(Endpoint {
                    network: network.clone(),
                    address,
                    names: names.clone(),
                    runs,
                    has_health_check,
                });
            }
        }
        // An address is given, and seen here, before the container runs.
        for network in &self.networks {
            let (status, body) = self.docker.request("GET", &format!("/networks/{network}"), None).expect("an engine");
            if status == 404 {
                continue;
            }
            for (id, endpoint) in body["Containers"].as_object().into_iter().flatten() {
                let address =
                    endpoint["IPv4Address"].as_str().unwrap_or_default().split('/').next().unwrap().to_owned();
                let of = containers.as_array().unwrap().iter().find(|container| container["Id"].as_str() == Some(id));
                let mut names = of.map(|container| self.names(container)).unwrap_or_default();
                names.extend(endpoint["Name"].as_str().map(str::to_owned));
                endpoints.push(Endpoint {
                    network: network.clone(),
                    address,
                    names,
                    runs: false,
                    has_health_check: false,
                });
            }
        }
        Reading { from, to: Instant::now(), endpoints }
    }

    fn names(&self, container: &Value) -> Vec<String> {
        let mut names: Vec<String> = container["Names"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| Some(name.as_str()?.trim_start_matches('/').to_owned()))
            .collect();
        let labels = &container["Labels"];
        if labels["com.docker.compose.oneoff"] == "False" {
            let service = labels["com.docker.compose.service"].as_str().unwrap_or_default();
            names.push(service.to_owned());
            names.extend(self.aliases.get(service).into_iter().flatten().map(|&alias| alias.to_owned()));
        }
        names
    }

    /// By the process that containerd started: the engine goes on calling a dead container running until it has cleaned up.
    fn is_alive(&self, id: &str) -> bool {
        let directory = "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby";
        let file = self.docker.machine().file(format!("{directory}/{id}/init.pid"));
        let pid = fs::read_to_string(file).ok().and_then(|pid| pid.trim().parse().ok());
        pid.is_some_and(|pid| self.docker.machine().is_alive(pid))
    }

    /// What is wrong with an answer, if anything is.
    pub(crate) fn fault(&self, answer: &Answer) -> Option<String> {
        let readings = self.readings.lock().unwrap();
        // From the last reading before the time in question to the first after it.
        let start = readings.partition_point(|reading| reading.to + LAG < answer.asked).saturating_sub(1);
        let end = readings.partition_point(|reading| reading.from <= answer.came);
        let readings = &readings[start..=end.min(readings.len() - 1)];
        let addresses = match &answer.outcome {
            Ok(addresses) => addresses,
            Err(error) => return Some(format!("{}: {error}", answer.name)),
        };
        let has_name = |endpoint: &&Endpoint| endpoint.names.contains(&answer.name);
        let named = || readings.iter().flat_map(|reading| &reading.endpoints).filter(has_name);
        for address in addresses {
            if !named().any(|endpoint| endpoint.address == *address) {
                return Some(format!("{} is not at {address}: {answer:?} {readings:#?}", answer.name));
            }
        }
        // What ran all the time.
        let runs = |reading: &Reading, network: &str, address: &str| {
            let mut endpoints = reading.endpoints.iter().filter(has_name);
            endpoints.any(|other| other.runs && other.network == network && other.address == address)
        };
        let is_steady =
            |endpoint: &&Endpoint| readings.iter().all(|reading| runs(reading, &endpoint.network, &endpoint.address));
        let steady: Vec<&Endpoint> = readings[0].endpoints.iter().filter(has_name).filter(is_steady).collect();
        // One network answers, whole. Those whose health is checked may be left out for others of them.
        let is_whole = |network: &str| {
            let is_of =
                |address: &String| named().any(|endpoint| endpoint.network == network && endpoint.address == *address);
            let mut of = steady.iter().filter(|endpoint| endpoint.network == network && !endpoint.has_health_check);
            addresses.iter().all(is_of) && of.all(|endpoint| addresses.contains(&endpoint.address))
        };
        if !steady.is_empty() && (addresses.is_empty() || !self.networks.iter().any(|network| is_whole(network))) {
            return Some(format!("{} is running: {answer:?} {steady:#?}", answer.name));
        }
        None
    }

    /// How many readings there are.
    pub(crate) fn readings(&self) -> usize {
        self.readings.lock().unwrap().len()
    }
}
