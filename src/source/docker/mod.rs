//! A Docker engine: its networks and containers, followed by its events.
//!
//! [`Docker::changed`] waits until something has happened, and [`Docker::read`] brings a table in line with it, as
//! [`Directory::read`](crate::source::podman::Directory::read) does for Podman: changes that concern only endpoints are made at
//! once, and networks that are new or whose settings changed are returned for `Server::update`.
//!
//! # What is served
//!
//! Every bridge network listens at its gateways, the default bridge included. Overlay networks listen nowhere: their containers
//! ask through `docker_gwbridge`, and are identified by their address there. macvlan, ipvlan and plugin networks cannot reach
//! the host; their names are visible to containers that ask through another network. A container has the names that Docker gives
//! it (name, aliases, host name, short id), on the default bridge too, where Docker resolves nothing; the Compose names
//! `SERVICE.PROJECT` and `PROJECT-SERVICE-N`; and those of its label `callsign.names`.
//!
//! # When
//!
//! A created container has its names at once, without an address, from the list of containers: its inspection waits until the
//! start is through. A connected one is known before its first instruction, as its network is inspected at the event. One that
//! ends, is disconnected or removed loses its addresses from the event alone. Everything else is inspected when an event names
//! it. Since events may be lost without a sign, everything is compared each minute and after each loss of the connection. While
//! the engine is away, what is known stays.
//!
//! Only these are read, by GET: `/_ping`, `/events`, `/containers/json`, `/containers/ID/json`, `/networks`, `/networks/ID`.

mod activity;
mod engine;
mod events;
mod model;
mod names;
mod network;
mod pattern;
mod replay;
mod state;
mod swarm;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use crate::settings::Address;
use crate::table::{Health, NameTable, Network, NetworkBuilder, Protocol};

pub use activity::Activity;
use engine::Engine;
pub use engine::{EngineAddress, EngineError, Version, find_engine};
use events::Event;
use network::Interface;
#[doc(hidden)]
pub use replay::replay;
use state::{Answer, Ask, Request, Serving, State};

/// The pauses between two attempts to reach the engine: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Between two full passes.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(60);
/// Between two looks at what other hosts of a swarm have.
const SERVICES_INTERVAL: Duration = Duration::from_secs(2);
/// Until what failed is asked again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// An engine that has not begun to answer a subscription by then does so with the first event.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the first reading waits for inspections: that of a container which hangs never comes.
const START_TIMEOUT: Duration = Duration::from_secs(2);

/// How an engine's networks are served.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct DockerOptions {
    /// Where the engine listens: a path, `unix:///path` or `tcp://host:port`; `None` to [find it](find_engine) as Docker's own
    /// client does.
    pub socket: Option<String>,
    /// Patterns of the networks whose names are served, such as `shop_*`; one with `!` in front excludes. Empty for all. The
    /// default bridge's gateway answers in any case, unless it is excluded: it is the one that `daemon.json` names.
    pub networks: Vec<String>,
    /// Where to listen instead of at the networks' gateways; each address belongs to the network that it lies in, else to the
    /// default bridge.
    pub listen: Vec<Address>,
    /// A domain of every network.
    pub domain: Option<String>,
    /// How long a query for a container that is about to start may wait (answers.md N11).
    pub hold: Option<Duration>,
    /// Names that networks of others have: Docker's of these names are not served.
    pub taken: BTreeSet<String>,
    /// Where networks of others listen, each with the network's name: Docker's do not listen there.
    pub taken_addresses: BTreeMap<SocketAddr, String>,
    /// The port of listen addresses that name none, to compare them with those.
    pub port: u16,
}

/// Changes a network's settings before it is built.
type Template = dyn Fn(&str, NetworkBuilder) -> NetworkBuilder + Send;

/// A Docker engine, and what is known of it. See the [module](self). Needs a tokio runtime.
pub struct Docker {
    options: DockerOptions,
    template: Box<Template>,
    state: State,
    /// `None` while it is away.
    engine: Option<Engine>,
    presence: Presence,
    /// True if events are read, and all else is, too, or has been.
    is_subscribed: bool,
    follower: Option<JoinHandle<()>>,
    messages: (UnboundedSender<Message>, UnboundedReceiver<Message>),
    requests: JoinSet<(Request, Result<Answer, EngineError>)>,
    /// The first reading is over by then, whatever is still asked of containers.
    start_by: Instant,
    /// The next attempt to reach it, while there is no follower, and the pause after that.
    attempt: (Instant, Duration),
    reconcile_at: Instant,
    services_at: Instant,
    retry_at: Instant,
    activity: Arc<Activity>,
    /// When the oldest event happened that is not in force yet, in ns since 1970.
    pending_since: Option<i64>,
    /// True if it was said that it is away, and not that it is back.
    is_away_told: bool,
}

/// Whether the engine answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Presence {
    /// It was not reached yet, or not yet at the socket that is set now, or its networks and containers have not all been read.
    Starting,
    /// All that there is has been read once, but for containers that the engine says nothing of, and is followed.
    Following,
    /// It does not answer, or refuses to list its networks or containers: what is known stays in force.
    Away,
}

/// What the follower of events reports.
enum Message {
    Connected(Engine),
    /// From here on nothing is missed: now is the time to read all.
    Subscribed,
    Events(Vec<Event>),
    /// The stream of events has ended, as that of a proxy does after a time without events.
    Ended,
    Failed(EngineError),
}

/// What [`Docker::read`] found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Reading {
    /// Networks that are new, or whose settings changed, whole: for `Server::update`. Apply them before the next reading.
    pub networks: Vec<Network>,
    /// Names of networks that are gone: for `Server::update`.
    pub removed: Vec<String>,
    /// Names of networks of which only endpoints changed. These changes are in the table already.
    pub changed: Vec<String>,
    /// What a person should know of networks that are new.
    pub notices: Vec<String>,
}

/// A container that publishes a port of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Publisher {
    /// The container's name.
    pub container: String,
    /// Of which protocol the port is.
    pub protocol: Protocol,
    /// Where: an unspecified address is all of its family.
    pub address: SocketAddr,
}

impl Publisher {
    /// True if nobody else can listen at this address and port meanwhile, over UDP or TCP.
    pub fn is_at(&self, address: SocketAddr) -> bool {
        let is_same = self.address.ip() == address.ip()
            || self.address.ip().is_unspecified() && self.address.is_ipv4() == address.is_ipv4();
        is_same && self.address.port() == address.port() && self.protocol != Protocol::Sctp
    }
}

impl fmt::Display for Publisher {
    /// `container pihole publishes port 53/udp on all addresses`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Publisher { container, protocol, address } = self;
        let protocol = String::from_utf8_lossy(&protocol.label()[1..]).into_owned();
        write!(f, "container {container} publishes port {}/{protocol} on ", address.port())?;
        if address.ip().is_unspecified() { f.write_str("all addresses") } else { write!(f, "{}", address.ip()) }
    }
}

/// A container, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContainerStatus {
    /// Its id, 64 hex digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The Compose project that it belongs to.
    pub project: Option<String>,
    /// Its service in that project.
    pub service: Option<String>,
    /// True if it was made by `docker compose run`, and so does not have its service's names.
    pub is_one_off: bool,
    /// False if its label `callsign.enable` says so.
    pub is_enabled: bool,
    /// The engine's word for what it does: `running`, `exited`.
    pub status: String,
    /// True while it runs.
    pub is_running: bool,
    /// What its health check says; healthy without one.
    pub health: Health,
    /// Whose network it has: `host`, `none` or `container:ID`; else its own.
    pub network_mode: String,
    /// The networks that it is on, as they are called in the table, with its addresses there, in the order in which its queries
    /// search them (answers.md V2a).
    pub networks: Vec<(String, Vec<IpAddr>)>,
}

impl Docker {
    /// An engine that was not asked yet.
    pub fn new(options: DockerOptions) -> Docker {
        let now = Instant::now();
        Docker {
            state: State::new(serving(&options)),
            options,
            template: Box::new(|_, network| network),
            engine: None,
            presence: Presence::Starting,
            is_subscribed: false,
            follower: None,
            messages: unbounded_channel(),
            requests: JoinSet::new(),
            start_by: now + START_TIMEOUT,
            attempt: (now, FIRST_PAUSE),
            reconcile_at: now + RECONCILE_INTERVAL,
            services_at: now + SERVICES_INTERVAL,
            retry_at: now + RETRY_PAUSE,
            activity: Arc::default(),
            pending_since: None,
            is_away_told: false,
        }
    }

    /// Sets the function that changes each network's settings from the next reading on. It gets the network's name, and what
    /// the engine says of it.
    pub fn set_template(&mut self, template: impl Fn(&str, NetworkBuilder) -> NetworkBuilder + Send + 'static) {
        self.template = Box::new(template);
        self.state.rebuild_all();
    }

    /// Sets how networks are served from the next reading on. Another socket is used at once; until the engine there has
    /// answered, what is known stays.
    pub fn set_options(&mut self, options: DockerOptions) {
        let is_elsewhere = options.socket != self.options.socket;
        self.state.configure(serving(&options));
        self.options = options;
        if is_elsewhere {
            self.leave();
        }
    }

    /// Ends the connection, and has it made again at once.
    fn leave(&mut self) {
        if let Some(follower) = &self.follower {
            follower.abort();
        }
        // What was asked of the engine there is not to be taken for an answer of this one.
        (self.messages, self.requests) = (unbounded_channel(), JoinSet::new());
        self.state.forsake();
        self.unfollow();
        self.attempt = (Instant::now(), FIRST_PAUSE);
        self.presence = Presence::Starting;
        self.is_away_told = false;
    }

    /// Whether the engine answers.
    pub fn presence(&self) -> Presence {
        self.presence
    }

    /// What following it has come to; it goes on being counted.
    pub fn activity(&self) -> Arc<Activity> {
        self.activity.clone()
    }

    /// Waits until there is something to [read](Docker::read), or the engine's [presence](Docker::presence) changes. Nothing
    /// is done between two calls of this, so call it in a loop. Cancelling it loses nothing.
    pub async fn changed(&mut self) {
        let before = self.presence;
        loop {
            self.send_requests();
            self.note_lag();
            let is_over = self.presence == Presence::Starting && self.start_by <= Instant::now();
            if self.is_subscribed && (self.state.is_settled() || is_over && self.state.is_listed()) {
                self.presence = Presence::Following;
                if std::mem::take(&mut self.is_away_told) {
                    tracing::info!("Docker answers again");
                }
            }
            if self.presence != before || self.presence != Presence::Starting && self.state.has_changes() {
                return;
            }
            let now = Instant::now();
            let never = now + RECONCILE_INTERVAL;
            let is_waiting = self.presence == Presence::Starting && self.is_subscribed && now < self.start_by;
            tokio::select! {
                biased;
                Some(message) = self.messages.1.recv() => {
                    self.receive(message);
                    // All that is there is one change.
                    while let Ok(message) = self.messages.1.try_recv() {
                        self.receive(message);
                    }
                }
                Some(done) = self.requests.join_next() => {
                    self.follow_up(done);
                    while let Some(done) = self.requests.try_join_next() {
                        self.follow_up(done);
                    }
                }
                () = sleep_until(self.start_by), if is_waiting => {}
                () = sleep_until(if self.follower.is_none() { self.attempt.0 } else { never }) => {
                    if self.follower.is_none() {
                        self.follow();
                    }
                }
                () = sleep_until(self.reconcile_at), if self.engine.is_some() => self.begin_pass(),
                () = sleep_until(self.services_at), if self.engine.is_some() && self.state.has_overlays() => {
                    self.state.poll_services();
                    self.services_at = Instant::now() + SERVICES_INTERVAL;
                }
                () = sleep_until(self.retry_at), if self.engine.is_some() && self.state.has_failed() => {
                    self.state.retry();
                    self.retry_at = Instant::now() + RETRY_PAUSE;
                }
            }
        }
    }

    /// Applies to `table` what has changed of endpoints only, and gives the rest.
    pub fn read(&mut self, table: &NameTable) -> Reading {
        let delta = self.state.take_delta();
        let mut reading = Reading { removed: delta.removed, notices: delta.notices, ..Reading::default() };
        for (name, builder) in delta.networks {
            reading.networks.extend(self.finish(&name, builder));
        }
        for (name, endpoints) in delta.endpoints {
            let changed = table.network(&name).is_some_and(|network| {
                let change = network.change(|change| {
                    for (id, endpoint) in endpoints {
                        match endpoint {
                            Some(endpoint) => change.attach(endpoint),
                            None => drop(change.detach(&id)),
                        }
                    }
                });
                change.is_ok()
            });
            if changed {
                reading.changed.push(name);
            } else {
                // It was refused when it was given: another network had its address, which may be free now.
                reading.networks.extend(self.network(&name));
            }
        }
        reading
    }

    /// A network as it is to be served now.
    pub fn network(&self, name: &str) -> Option<Network> {
        self.finish(name, self.state.whole(name)?)
    }

    /// Reads once all that there is, without following it. What the engine does not say of one container or network is a
    /// notice.
    ///
    /// # Errors
    /// The engine does not answer, or refuses to list its networks or containers.
    pub async fn load(&mut self) -> Result<Reading, EngineError> {
        let address = self.find_engine()?;
        self.warn_of(&address);
        self.engine = Some(Engine::connect(address).await?);
        self.state.reconcile();
        let (mut are_services_read, mut failures) = (false, Vec::new());
        loop {
            self.send_requests();
            match self.requests.join_next().await {
                Some(done) => match self.apply_answer(done) {
                    Some((Ask::Networks | Ask::Containers, error)) => return Err(error),
                    Some((_, error)) => failures.push(format!("{error}; it is left out")),
                    None => {}
                },
                None if self.state.poll_services() && !are_services_read => are_services_read = true,
                None => break,
            }
        }
        self.state.rebuild_all();
        let mut reading = self.read(&NameTable::new());
        reading.notices.append(&mut failures);
        Ok(reading)
    }

    /// Every container that is known.
    pub fn containers(&self) -> Vec<ContainerStatus> {
        let status = |(id, container): (&str, &names::Container)| ContainerStatus {
            id: id.to_owned(),
            name: container.name.clone(),
            project: container.project.clone(),
            service: container.service.clone(),
            is_one_off: container.is_one_off,
            is_enabled: container.is_enabled,
            status: container.status.clone(),
            is_running: container.condition == names::Condition::Up,
            health: container.health,
            network_mode: container.network_mode.clone(),
            networks: self
                .state
                .in_order(container)
                .into_iter()
                .map(|(network, at)| (network.to_owned(), at.addresses.clone()))
                .collect(),
        };
        self.state.containers().map(status).collect()
    }

    /// What events told is in force once all that was asked for it is answered, and read.
    fn note_lag(&mut self) {
        if let Some(happened) = self.pending_since
            && !self.state.has_changes()
            && self.state.is_settled()
        {
            self.activity.caught_up(happened);
            self.pending_since = None;
        }
    }

    /// Why a network of Docker's has no listener of its own, for people; `None` if it has one, or is not Docker's.
    pub fn why_no_listener(&self, network: &str) -> Option<String> {
        self.state.why_no_listener(network)
    }

    /// Which running containers publish this port of the host, and where.
    pub fn publishers(&self, port: u16) -> Vec<Publisher> {
        let mut publishers = Vec::new();
        let running = self.state.containers().filter(|(_, container)| container.condition == names::Condition::Up);
        for (container, offered) in running.flat_map(|(_, each)| each.ports.iter().map(move |port| (each, port))) {
            let sockets = offered.published().iter().filter(|socket| socket.port() == port);
            publishers.extend(sockets.map(|socket| Publisher {
                container: container.name.clone(),
                protocol: offered.protocol(),
                address: *socket,
            }));
        }
        publishers
    }

    /// Which of the patterns of networks match none that there is.
    pub fn unmatched_patterns(&self) -> Vec<&str> {
        let patterns = self.options.networks.iter().map(String::as_str);
        patterns.filter(|pattern| !self.state.network_names().any(|name| pattern::is_about(pattern, name))).collect()
    }

    fn find_engine(&self) -> Result<EngineAddress, EngineError> {
        find_engine(self.options.socket.as_deref(), |name| std::env::var_os(name))
    }

    fn warn_of(&mut self, address: &EngineAddress) {
        if let Some(warning) = address.warning() {
            self.state.note(warning);
        }
    }

    fn begin_pass(&mut self) {
        self.activity.resynced();
        self.state.reconcile();
        self.reconcile_at = Instant::now() + RECONCILE_INTERVAL;
    }

    /// Sends the requests that are due.
    fn send_requests(&mut self) {
        let Some(engine) = &self.engine else { return };
        while let Some(request) = self.state.poll() {
            let engine = engine.clone();
            self.requests.spawn(async move {
                let answer = answer(&engine, &request.ask).await;
                (request, answer)
            });
        }
    }

    /// Applies an answer; gives the request if it failed.
    fn apply_answer(
        &mut self,
        done: Result<(Request, Result<Answer, EngineError>), JoinError>,
    ) -> Option<(Ask, EngineError)> {
        // A request ends with an answer, or with the runtime.
        let (request, answer) = done.ok()?;
        tracing::trace!(ask = ?request.ask, "Docker answers");
        match answer {
            Ok(answer) => self.state.answer(request, answer),
            Err(error) if error.is_gone() => self.state.answer(request, Answer::Gone),
            Err(error) => {
                tracing::debug!(%error, "a request to Docker failed");
                self.retry_at = self.retry_at.max(Instant::now() + RETRY_PAUSE);
                let ask = request.ask.clone();
                self.state.answer(request, Answer::Failed);
                return Some((ask, error));
            }
        }
        None
    }

    fn follow_up(&mut self, done: Result<(Request, Result<Answer, EngineError>), JoinError>) {
        // Without its lists nothing is known of an engine.
        if let Some((Ask::Networks | Ask::Containers, error)) = self.apply_answer(done) {
            self.set_away(&error);
        }
    }

    fn set_away(&mut self, error: &EngineError) {
        match self.presence {
            Presence::Following => {
                tracing::warn!("Docker is away ({}); its containers keep their names; retrying", error.brief());
            }
            Presence::Starting if self.state.is_empty() => {
                tracing::warn!("Docker does not answer ({error}); none of its containers is known yet; retrying");
            }
            Presence::Starting => {
                tracing::warn!(
                    "Docker does not answer ({error}); the containers known before keep their names; retrying"
                );
            }
            Presence::Away => {}
        }
        self.is_away_told |= self.presence != Presence::Away;
        self.presence = Presence::Away;
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Connected(engine) => {
                tracing::info!(api = %engine.version(), "Docker answers");
                self.is_away_told = false;
                self.engine = Some(engine);
            }
            Message::Subscribed => {
                self.begin_pass();
                self.state.retry();
                self.is_subscribed = true;
                self.start_by = Instant::now() + START_TIMEOUT;
            }
            Message::Events(events) => {
                self.attempt.1 = FIRST_PAUSE;
                for event in &events {
                    tracing::trace!(?event, "event");
                    self.state.event(event);
                    let time = Some(event.time).filter(|time| *time > 0);
                    self.pending_since = self.pending_since.into_iter().chain(time).min();
                }
            }
            // Whether it is away shows at the next attempt.
            Message::Ended => {
                tracing::debug!("Docker's events have ended");
                if self.start_by <= Instant::now() {
                    self.attempt.1 = FIRST_PAUSE;
                }
                self.unfollow();
            }
            Message::Failed(error) => {
                self.unfollow();
                self.set_away(&error);
            }
        }
    }

    fn follow(&mut self) {
        let messages = self.messages.0.clone();
        let address = self.find_engine();
        if let Ok(address) = &address {
            self.warn_of(address);
        }
        self.follower = Some(tokio::spawn(async move {
            let end = match address {
                Ok(address) => follow(address, &messages).await,
                Err(error) => Err(error),
            };
            // No receiver any more: it is being dropped.
            let _ = messages.send(end.map_or_else(Message::Failed, |()| Message::Ended));
        }));
    }

    /// Ends the subscription; it is made again after a pause.
    fn unfollow(&mut self) {
        (self.follower, self.engine, self.is_subscribed) = (None, None, false);
        let pause = self.attempt.1;
        self.attempt = (Instant::now() + pause, (pause * 2).min(MAX_PAUSE));
    }

    /// The network, as the template has it; without the template if that does not fit.
    fn finish(&self, name: &str, network: NetworkBuilder) -> Option<Network> {
        let built = (self.template)(name, network.clone()).build().or_else(|error| {
            tracing::error!(network = name, %error, "what is configured for this network is left out");
            network.build()
        });
        built.inspect_err(|error| tracing::error!(network = name, %error, "not served")).ok()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Some(follower) = &self.follower {
            follower.abort();
        }
    }
}

impl fmt::Debug for Docker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Docker")
            .field("options", &self.options)
            .field("presence", &self.presence)
            .finish_non_exhaustive()
    }
}

fn serving(options: &DockerOptions) -> Serving {
    Serving {
        patterns: options.networks.clone(),
        listen: options.listen.clone(),
        domain: options.domain.clone(),
        hold: options.hold,
        port: options.port,
        taken: options.taken.clone(),
        taken_addresses: options.taken_addresses.clone(),
    }
}

/// Reads events, and does nothing else: an engine whose events are not read loses them, and is slowed down by it.
async fn follow(address: EngineAddress, messages: &UnboundedSender<Message>) -> Result<(), EngineError> {
    let report = |message| {
        // No receiver any more: it is being dropped.
        let _ = messages.send(message);
    };
    let engine = Engine::connect(address).await?;
    report(Message::Connected(engine.clone()));
    let mut subscription = std::pin::pin!(engine.events());
    let mut events = match timeout(SUBSCRIBE_TIMEOUT, &mut subscription).await {
        Ok(events) => events?,
        Err(_) => {
            report(Message::Subscribed);
            subscription.await?
        }
    };
    report(Message::Subscribed);
    while let Some(lines) = events.next().await {
        let events: Vec<Event> = lines.split(|octet| *octet == b'\n').filter_map(Event::parse).collect();
        if !events.is_empty() {
            report(Message::Events(events));
        }
    }
    Ok(())
}

/// What the engine says.
async fn answer(engine: &Engine, ask: &Ask) -> Result<Answer, EngineError> {
    match ask {
        Ask::Networks => engine.get("/networks").await.map(Answer::Networks),
        Ask::Containers => engine.get("/containers/json?all=1").await.map(Answer::Containers),
        Ask::Summary(id) => {
            let filters = engine::escaped(&serde_json::json!({ "id": [id] }).to_string());
            engine.get(&format!("/containers/json?all=1&filters={filters}")).await.map(Answer::Containers)
        }
        Ask::Network(id) => engine.get(&format!("/networks/{}", engine::escaped(id))).await.map(network),
        Ask::Services(id) => engine.get(&format!("/networks/{}?verbose=true", engine::escaped(id))).await.map(network),
        Ask::Container(id) => {
            engine.get(&format!("/containers/{}/json", engine::escaped(id))).await.map(Answer::Container)
        }
    }
}

fn network(network: model::Network) -> Answer {
    // Else they are not looked at, and there may be thousands.
    let needs_interfaces = network.driver == "bridge" && network.ipam.config.iter().any(|pool| pool.gateway.is_empty());
    let interfaces = if needs_interfaces { interfaces() } else { Vec::new() };
    Answer::Network(Box::new(network), interfaces)
}

/// The addresses of this host's interfaces.
fn interfaces() -> Vec<Interface> {
    let addresses = getifaddrs().map(|addresses| {
        let address = |interface: nix::ifaddrs::InterfaceAddress| {
            let address = interface.address?;
            let ip: IpAddr = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
                (Some(v4), _) => v4.ip().into(),
                (_, Some(v6)) => v6.ip().into(),
                _ => return None,
            };
            Some((interface.interface_name, ip))
        };
        addresses.filter_map(address).collect()
    });
    addresses.unwrap_or_default()
}
