//! Any interleaving of events, losses, delays and answers ends in the state of the last full pass.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::source::docker::model::{Connected, Endpoint, Ipam, Pool};
use crate::table::NameTable;

/// What the engine has.
#[derive(Debug, Default)]
struct Engine {
    time: i64,
    networks: BTreeMap<String, u8>,
    containers: BTreeMap<String, Truth>,
    /// The id of the newest container of each number: none is ever used again.
    ids: BTreeMap<u8, String>,
}

#[derive(Debug, Clone)]
struct Truth {
    name: String,
    status: &'static str,
    started: i64,
    is_healthy: bool,
    /// By network: the endpoint's id and the host part of its address, while it is connected.
    networks: BTreeMap<String, Option<(String, u8)>>,
    links: Vec<String>,
}

/// Something that somebody does to the engine, or that happens between it and us.
#[derive(Debug, Clone)]
enum Step {
    MakeNetwork(u8),
    RemoveNetwork(u8),
    Create {
        container: u8,
        networks: Vec<u8>,
        link: Option<u8>,
    },
    Start(u8),
    End(u8),
    Remove(u8),
    Connect(u8, u8),
    Disconnect(u8, u8),
    Rename(u8, u8),
    Health(u8),
    /// An event comes that was made so many events ago, or the next one.
    Deliver(u8),
    /// The next event never comes.
    Lose,
    /// The next event comes twice.
    Double,
    /// Something is asked; the engine answers what is so now, and the answer is on its way.
    Ask,
    /// One of the answers on their way comes.
    Answer(u8),
    Fail(u8),
    Reconcile,
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    let (container, network) = (0..5u8, 0..3u8);
    prop_oneof![
        2 => network.clone().prop_map(Step::MakeNetwork),
        1 => network.clone().prop_map(Step::RemoveNetwork),
        4 => (container.clone(), prop::collection::vec(network.clone(), 1..3), prop::option::weighted(0.2, container.clone()))
            .prop_map(|(container, networks, link)| Step::Create { container, networks, link }),
        6 => container.clone().prop_map(Step::Start),
        4 => container.clone().prop_map(Step::End),
        2 => container.clone().prop_map(Step::Remove),
        2 => (container.clone(), network.clone()).prop_map(|(container, network)| Step::Connect(container, network)),
        2 => (container.clone(), network).prop_map(|(container, network)| Step::Disconnect(container, network)),
        1 => (container.clone(), 0..5u8).prop_map(|(container, name)| Step::Rename(container, name)),
        1 => container.prop_map(Step::Health),
        12 => (0..4u8).prop_map(Step::Deliver),
        2 => Just(Step::Lose),
        1 => Just(Step::Double),
        12 => Just(Step::Ask),
        10 => any::<u8>().prop_map(Step::Answer),
        1 => any::<u8>().prop_map(Step::Fail),
        1 => Just(Step::Reconcile),
        3 => Just(Step::Read),
    ]
}

fn network_id(number: u8) -> String {
    format!("{:064x}", 0xf0 + u32::from(number))
}

impl Engine {
    fn event(&mut self, change: Change) -> Event {
        self.time += 1;
        Event { change, time: self.time }
    }

    fn id(&self, container: u8) -> String {
        self.ids.get(&container).cloned().unwrap_or_default()
    }

    /// The lowest address that is free, so that they are used again.
    fn free(&self, network: &str) -> u8 {
        let used = |host: u8| {
            let at = |truth: &Truth| {
                truth.networks.get(network).is_some_and(|at| at.as_ref().is_some_and(|at| at.1 == host))
            };
            self.containers.values().any(at)
        };
        (2..).find(|host| !used(*host)).unwrap()
    }

    fn connect(&mut self, id: &str, network: &str) -> Option<Event> {
        let host = self.free(network);
        self.time += 1;
        let endpoint = format!("e{}", self.time);
        *self.containers.get_mut(id)?.networks.get_mut(network)? = Some((endpoint, host));
        Some(self.event(Change::Connected { container: id.to_owned(), network: network.to_owned() }))
    }

    /// Does a step, and gives the events that tell of it.
    fn take(&mut self, step: &Step) -> Vec<Event> {
        let mut events = Vec::new();
        match step {
            Step::MakeNetwork(number) => {
                self.networks.insert(network_id(*number), *number);
                events.push(self.event(Change::NetworkChanged(network_id(*number))));
            }
            Step::RemoveNetwork(number) => {
                let id = network_id(*number);
                let is_used = self.containers.values().any(|truth| truth.networks.contains_key(&id));
                if !is_used && self.networks.remove(&id).is_some() {
                    events.push(self.event(Change::NetworkRemoved(id)));
                }
            }
            Step::Create { container, networks, link } => {
                let id = self.id(*container);
                let networks = networks.iter().map(|network| network_id(*network));
                let networks: BTreeMap<_, _> =
                    networks.filter(|id| self.networks.contains_key(id)).map(|id| (id, None)).collect();
                if !self.containers.contains_key(&id) {
                    let id = format!("{:064x}", self.time);
                    self.ids.insert(*container, id.clone());
                    let truth = Truth {
                        name: format!("c{container}"),
                        status: "created",
                        started: 0,
                        is_healthy: true,
                        networks,
                        links: link.iter().map(|target| format!("c{target}:link")).collect(),
                    };
                    self.containers.insert(id.clone(), truth);
                    events.push(self.event(Change::Created(id)));
                }
            }
            Step::Start(container) => {
                let id = self.id(*container);
                let Some(truth) = self.containers.get(&id).filter(|truth| truth.status != "running") else {
                    return events;
                };
                for network in truth.networks.keys().cloned().collect::<Vec<_>>() {
                    events.extend(self.connect(&id, &network));
                }
                self.time += 1;
                let started = self.time;
                if let Some(truth) = self.containers.get_mut(&id) {
                    (truth.status, truth.started) = ("running", started);
                }
                events.push(self.event(Change::Changed(id)));
            }
            Step::End(container) => {
                let id = self.id(*container);
                let Some(truth) = self.containers.get_mut(&id).filter(|truth| truth.status == "running") else {
                    return events;
                };
                truth.status = "exited";
                truth.networks.values_mut().for_each(|at| *at = None);
                let networks: Vec<String> = truth.networks.keys().cloned().collect();
                events.push(self.event(Change::Ended(id.clone())));
                for network in networks {
                    events.push(self.event(Change::Disconnected { container: id.clone(), network }));
                }
            }
            Step::Remove(container) => {
                let id = self.id(*container);
                if self.containers.get(&id).is_some_and(|truth| truth.status != "running") {
                    self.containers.remove(&id);
                    events.push(self.event(Change::Removed(id)));
                }
            }
            Step::Connect(container, network) => {
                let (id, network) = (self.id(*container), network_id(*network));
                if !self.networks.contains_key(&network) {
                    return events;
                }
                // On a stopped one there is no event (docker.md 3.9): that waits for the next pass.
                let is_meant = |truth: &&mut Truth| truth.status == "running" && !truth.networks.contains_key(&network);
                if let Some(truth) = self.containers.get_mut(&id).filter(is_meant) {
                    truth.networks.insert(network.clone(), None);
                    events.extend(self.connect(&id, &network));
                }
            }
            Step::Disconnect(container, network) => {
                let (id, network) = (self.id(*container), network_id(*network));
                let Some(truth) = self.containers.get_mut(&id) else { return events };
                if truth.networks.remove(&network).is_some() {
                    events.push(self.event(Change::Disconnected { container: id, network }));
                }
            }
            Step::Rename(container, name) => {
                let id = self.id(*container);
                if let Some(truth) = self.containers.get_mut(&id) {
                    truth.name = format!("n{name}");
                    events.push(self.event(Change::Changed(id)));
                }
            }
            Step::Health(container) => {
                let id = self.id(*container);
                if let Some(truth) = self.containers.get_mut(&id) {
                    truth.is_healthy = !truth.is_healthy;
                    events.push(self.event(Change::Changed(id)));
                }
            }
            _ => {}
        }
        events
    }

    fn endpoint(&self, truth: &Truth, network: &str) -> Endpoint {
        let mut endpoint =
            Endpoint { network_id: network.to_owned(), links: truth.links.clone(), ..Endpoint::default() };
        if let Some(Some((id, host))) = truth.networks.get(network) {
            endpoint.endpoint_id = id.clone();
            endpoint.ip_address = format!("10.{}.0.{host}", self.networks[network]);
        }
        endpoint
    }

    fn endpoints(&self, truth: &Truth) -> BTreeMap<String, Endpoint> {
        let name = |network: &str| format!("net{}", self.networks[network]);
        truth.networks.keys().map(|network| (name(network), self.endpoint(truth, network))).collect()
    }

    fn network(&self, id: &str) -> Option<model::Network> {
        let number = self.networks.get(id)?;
        let connected = self.containers.iter().filter_map(|(container, truth)| {
            let (endpoint, host) = truth.networks.get(id)?.clone()?;
            let connected = Connected {
                name: truth.name.clone(),
                endpoint_id: endpoint,
                ipv4_address: format!("10.{number}.0.{host}/16"),
                ipv6_address: String::new(),
            };
            Some((container.clone(), connected))
        });
        Some(model::Network {
            name: format!("net{number}"),
            id: id.to_owned(),
            driver: "bridge".to_owned(),
            ipam: Ipam { config: vec![Pool { subnet: format!("10.{number}.0.0/16"), ..Pool::default() }] },
            containers: connected.collect(),
            ..model::Network::default()
        })
    }

    fn answer(&self, ask: &Ask) -> Answer {
        match ask {
            Ask::Networks => {
                let networks = self.networks.keys().filter_map(|id| self.network(id));
                Answer::Networks(
                    networks.map(|network| model::Network { containers: BTreeMap::new(), ..network }).collect(),
                )
            }
            Ask::Containers | Ask::Summary(_) => {
                let summary = |(id, truth): (&String, &Truth)| Summary {
                    id: id.clone(),
                    names: vec![format!("/{}", truth.name)],
                    state: truth.status.to_owned(),
                    status: format!("Up ({})", truth.is_healthy),
                    network_settings: model::NetworkSettings { networks: self.endpoints(truth), ..Default::default() },
                    ..Summary::default()
                };
                let is_meant = |id: &String| !matches!(ask, Ask::Summary(wanted) if wanted != id);
                Answer::Containers(self.containers.iter().filter(|(id, _)| is_meant(id)).map(summary).collect())
            }
            Ask::Network(id) | Ask::Services(id) => {
                self.network(id).map_or(Answer::Gone, |network| Answer::Network(Box::new(network), Vec::new()))
            }
            Ask::Container(id) => {
                let Some(truth) = self.containers.get(id) else { return Answer::Gone };
                let mut inspection = Inspection { name: format!("/{}", truth.name), ..Inspection::default() };
                inspection.state.status = truth.status.to_owned();
                inspection.state.running = truth.status == "running";
                inspection.state.started_at = format!("1970-01-01T00:00:00.{:09}Z", truth.started);
                inspection.state.health.status = if truth.is_healthy { "healthy" } else { "unhealthy" }.to_owned();
                inspection.network_settings.networks = self.endpoints(truth);
                Answer::Container(Box::new(inspection))
            }
        }
    }
}

/// The source, with its table.
#[derive(Default)]
struct Source {
    state: State,
    table: NameTable,
}

impl Source {
    /// Puts into the table what has changed.
    fn read(&mut self) {
        let delta = self.state.take_delta();
        for name in &delta.removed {
            let _ = self.table.remove(name);
        }
        for (name, builder) in delta.networks {
            let network = builder.build().unwrap();
            match self.table.network(&name) {
                Some(known) => drop(known.replace_with(&network).unwrap()),
                None => drop(self.table.add(network).unwrap()),
            }
        }
        for (name, endpoints) in delta.endpoints {
            let change = |change: &mut crate::table::Change<'_>| {
                for (id, endpoint) in endpoints {
                    match endpoint {
                        Some(endpoint) => change.attach(endpoint),
                        None => drop(change.detach(&id)),
                    }
                }
            };
            self.table.network(&name).expect("it was given").change(change).unwrap();
        }
    }

    /// Asks and is answered until nothing is left.
    fn settle(&mut self, engine: &Engine) {
        for _ in 0..1_000 {
            let Some(request) = self.state.poll() else { break };
            let answer = engine.answer(&request.ask);
            self.state.answer(request, answer);
        }
        assert!(self.state.is_settled(), "{:?}", self.state);
        self.read();
    }

    fn shown(&self) -> Vec<String> {
        let mut shown = Vec::new();
        for network in self.table.networks() {
            let snapshot = network.snapshot();
            shown.push(format!("{} {:?}", network.name(), snapshot.settings()));
            let mut endpoints: Vec<String> = snapshot.endpoints().map(|endpoint| format!("{endpoint:?}")).collect();
            endpoints.sort();
            shown.extend(endpoints);
        }
        shown
    }

    fn addresses_of(&self, id: &str, network: Option<&str>) -> usize {
        let networks =
            self.table.networks().into_iter().filter(|known| network.is_none_or(|name| known.name() == name));
        let count = |network: std::sync::Arc<crate::table::Network>| {
            network.snapshot().endpoint(id).map_or(0, |endpoint| endpoint.addresses().len())
        };
        networks.map(count).sum()
    }
}

fn anew(engine: &Engine) -> Vec<String> {
    let mut source = Source::default();
    source.state.reconcile();
    source.settle(engine);
    source.shown()
}

/// Takes in an event, and checks what goes off at once.
fn deliver(source: &mut Source, event: &Event) {
    let is_old = |id: &str| source.state.is_old(id, event.time);
    let off = match &event.change {
        Change::Ended(id) if !is_old(id) => Some((id.clone(), None)),
        Change::Removed(id) => Some((id.clone(), None)),
        Change::Disconnected { container, network } if !is_old(container) => {
            Some((container.clone(), source.state.networks.get(network).map(|known| known.network.name.clone())))
        }
        _ => None,
    };
    source.state.event(event);
    if let Some((id, network)) = off
        && (network.is_some() || !matches!(event.change, Change::Disconnected { .. }))
    {
        source.read();
        assert_eq!(source.addresses_of(&id, network.as_deref()), 0, "{event:?}");
    }
}

/// V2: older engines allow two networks of one name. A container whose network is not known yet is on no
/// other one, although that has the name.
#[test]
fn v2_an_unknown_network_is_not_the_known_one_of_its_name() {
    let (mut engine, mut source) = (Engine::default(), Source::default());
    engine.take(&Step::MakeNetwork(0));
    source.state.reconcile();
    source.settle(&engine);
    for step in [Step::MakeNetwork(1), Step::Create { container: 0, networks: vec![1], link: None }, Step::Start(0)] {
        engine.take(&step);
    }
    let id = engine.id(0);
    // The inspection comes before the network.
    let mut settings = Inspection::default();
    if let Answer::Container(inspection) = engine.answer(&Ask::Container(id.clone())) {
        settings = *inspection;
    }
    let endpoints = std::mem::take(&mut settings.network_settings.networks);
    settings.network_settings.networks = endpoints.into_values().map(|at| ("net0".to_owned(), at)).collect();
    source.state.event(&Event { change: Change::Changed(id.clone()), time: engine.time });
    let request = source.state.poll().expect("the container is asked for");
    assert_eq!(request.ask, Ask::Container(id.clone()));
    source.state.answer(request, Answer::Container(Box::new(settings)));
    source.read();
    assert_eq!(source.addresses_of(&id, Some("net0")), 0);
    // Then the network comes, and has the container.
    source.state.event(&Event { change: Change::NetworkChanged(network_id(1)), time: engine.time });
    source.settle(&engine);
    assert_eq!(source.addresses_of(&id, Some("net0")), 0);
    assert_eq!(source.addresses_of(&id, Some("net1")), 1);
}

proptest! {
    #[test]
    fn whatever_comes_between_the_last_pass_counts(steps in prop::collection::vec(step(), 0..120)) {
        let (mut engine, mut source) = (Engine::default(), Source::default());
        let mut events: VecDeque<Event> = VecDeque::new();
        let mut on_their_way: Vec<(Request, Answer)> = Vec::new();
        source.state.reconcile();
        for step in &steps {
            events.extend(engine.take(step));
            match step {
                Step::Deliver(behind) => {
                    let at = usize::from(*behind).min(events.len().saturating_sub(1));
                    if let Some(event) = events.remove(at) {
                        deliver(&mut source, &event);
                    }
                }
                Step::Lose => drop(events.pop_front()),
                Step::Double => {
                    if let Some(event) = events.pop_front() {
                        deliver(&mut source, &event);
                        deliver(&mut source, &event);
                    }
                }
                Step::Ask => {
                    if let Some(request) = source.state.poll() {
                        let answer = engine.answer(&request.ask);
                        on_their_way.push((request, answer));
                    }
                }
                Step::Answer(which) if !on_their_way.is_empty() => {
                    let (request, answer) = on_their_way.remove(usize::from(*which) % on_their_way.len());
                    source.state.answer(request, answer);
                }
                Step::Fail(which) if !on_their_way.is_empty() => {
                    let (request, _) = on_their_way.remove(usize::from(*which) % on_their_way.len());
                    source.state.answer(request, Answer::Failed);
                }
                Step::Reconcile => source.state.reconcile(),
                Step::Read => source.read(),
                _ => {}
            }
        }
        for (request, answer) in on_their_way {
            source.state.answer(request, answer);
        }
        source.state.retry();
        source.state.reconcile();
        source.settle(&engine);
        prop_assert_eq!(source.shown(), anew(&engine));
        // What comes late is asked about, and changes nothing.
        events.iter().for_each(|event| deliver(&mut source, event));
        source.settle(&engine);
        prop_assert_eq!(source.shown(), anew(&engine));
    }

    #[test]
    fn events_in_order_need_no_pass(steps in prop::collection::vec(step(), 0..60)) {
        let (mut engine, mut source) = (Engine::default(), Source::default());
        source.state.reconcile();
        source.settle(&engine);
        for step in &steps {
            let events = engine.take(step);
            if !events.is_empty() {
                events.iter().for_each(|event| deliver(&mut source, event));
                source.settle(&engine);
                prop_assert_eq!(source.shown(), anew(&engine));
            }
        }
    }
}
