//! Why a client gets its answer, for somebody who does not know DNS: first what it gets, then why, then what to do.
//!
//! The decision is made by the code that answers, on the same table. What is said of networks that the client does not see
//! is for whoever runs the server; a client is never told of it (answers.md V2).

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::forward::{Choice, Forwarder, Question, Reason};
use crate::responder::{Client, ClientIdentity, Explanation, Finding, HostView, Responder, ResponderOptions, Verdict};
use crate::server::listener;
use crate::settings::Upstream;
use crate::table::{Absence, Clients, Endpoint, EndpointState, Found, Health, NameTable, Network, Snapshot};
use crate::wire::message::flag;
use crate::wire::{Name, class, reverse, rtype};

use super::containers::{self, Attached, known_as, name_of};
use super::explain_host::{self, HOST};
use super::records::Said;
use super::shapes::{self, Explained, Forwarded, Searched, Technical, UpstreamSaid, VERSION};
use super::time;

/// The port that the client asks from; any but 0 is the same.
pub(super) const CLIENT_PORT: u16 = 50_000;
/// Docker's network whose gateway daemon.json names, and which has neither aliases nor a resolver of Docker's.
const DEFAULT_BRIDGE: &str = "bridge";
/// Of how many other networks that have a name it is said what to do.
const SHOWN_ELSEWHERE: usize = 3;
/// The size of the client's buffer over UDP.
pub(super) const BUFFER: usize = 4096;

/// What an explanation is of: a server's tables and settings, running or as its configuration would make them.
#[derive(Debug, Clone)]
pub struct World<'w> {
    /// The networks.
    pub table: &'w NameTable,
    /// The host view, if there is one.
    pub host_view: Option<Arc<HostView>>,
    /// The names of the host's /etc/hosts, if they are answered (answers.md N13).
    pub hosts: Option<Arc<Snapshot>>,
    /// Where the rest goes.
    pub forwarder: &'w Forwarder,
    /// The responder's options.
    pub responder: Arc<ResponderOptions>,
    /// The listeners, by network.
    pub listeners: Vec<(String, SocketAddr)>,
    /// The port of listeners that have none of their own.
    pub port: u16,
    /// Where networks and containers come from: `docker`, `podman` or `file`. It decides what is advised.
    pub kind: &'w str,
    /// The command that lists the containers.
    pub lists: &'w str,
}

impl World<'_> {
    pub(super) fn responder(&self) -> Responder {
        Responder::new(self.responder.clone()).with_hosts(self.hosts.clone())
    }
}

/// What is to be explained.
#[derive(Debug, Clone)]
pub struct Inquiry {
    /// The name.
    pub name: Name,
    /// The type.
    pub rtype: u16,
    /// Who asks: an address, or a container by name or ID; `host` for the host itself at the host view.
    pub from: String,
    /// The network whose listener is asked; the client's own if not given.
    pub network: Option<String>,
    /// What is to be said first of who asks, as that it is the host.
    pub note: Option<String>,
    /// What who asks is called where no network has its address, as that of a container which is left out.
    pub called: Option<String>,
}

/// Who asks, and where.
struct Asker {
    address: IpAddr,
    container: Option<Endpoint>,
    network: Arc<Network>,
    /// The networks that it sees.
    sees: Vec<Arc<Network>>,
}

/// An explanation, and what an upstream would be asked.
#[derive(Debug)]
pub struct Outcome {
    /// The explanation.
    pub explained: Explained,
    pending: Option<(Question, Choice)>,
}

/// Explains, without asking anybody.
///
/// # Errors
/// Who asks, or where, is not known; with what to write instead.
pub fn explain(world: &World<'_>, inquiry: &Inquiry) -> Result<Outcome, String> {
    if inquiry.from == HOST && inquiry.network.is_none() {
        if let Some(view) = &world.host_view {
            return Ok(explain_host::explain(world, view, inquiry));
        }
        if containers::find(world.table, HOST, world.lists).is_err() {
            return Err("there is no host view; write [host] into the configuration, or name an address".to_owned());
        }
    }
    let asker = asker(world, inquiry)?;
    let address = listen_address(world, &asker);
    let listener = listener(asker.network.clone(), address);
    let packet = packet(inquiry);
    let client = Client::udp(&listener, SocketAddr::new(asker.address, CLIENT_PORT));
    let mut out = [0; BUFFER];
    let (verdict, explanation) = world.responder().explain(&packet, &client, &mut out);
    let (choice, target) = match &verdict {
        Verdict::Forward(forward) => {
            let target = Name::from_wire(forward.target()).map_err(|error| error.to_string())?;
            (Some(world.forwarder.choose(forward.target(), &forward.upstreams)), Some(target))
        }
        _ => (None, None),
    };
    let said = match &verdict {
        Verdict::Reply(len) => Some(Said::read(&out[..*len])),
        _ => None,
    };
    let hold = match &verdict {
        Verdict::Hold(hold) => Some(*hold),
        _ => None,
    };
    let forward = choice.as_ref().zip(target.as_ref()).map(|(choice, target)| Forwarded {
        name: target.to_string(),
        by: choice.reason.to_string(),
        servers: choice.servers.iter().map(ToString::to_string).collect(),
    });
    let decision = match (&choice, &forward) {
        (Some(Choice { reason: Reason::Blocked(_), .. }), _) => "NXDOMAIN: a route blocks it".to_owned(),
        (Some(_), Some(forward)) if forward.name != inquiry.name.to_string() => {
            format!("forwarded as {}", forward.name)
        }
        (Some(_), _) => "forwarded".to_owned(),
        _ => explanation.decision.clone(),
    };
    let own = match (&verdict, &target) {
        (Verdict::Forward(forward), Some(target)) => world.forwarder.left_out(target.as_wire(), &forward.upstreams),
        _ => Vec::new(),
    };
    let told = Teller {
        own: &own,
        world,
        inquiry,
        asker: &asker,
        explanation: &explanation,
        said: said.as_ref(),
        choice: choice.as_ref(),
        hold,
    }
    .tell();
    let explained = Explained {
        api: VERSION,
        name: inquiry.name.to_string(),
        rtype: rtype::mnemonic(inquiry.rtype),
        client: shapes::Client {
            address: asker.address,
            container: asker.container.as_ref().map(name_of),
            id: asker.container.as_ref().map(|container| container.id().to_owned()),
            networks: asker.sees.iter().map(|network| network.name().to_owned()).collect(),
        },
        result: told.result.to_owned(),
        conclusion: told.conclusion,
        cause: inquiry.note.iter().cloned().chain(told.cause).reduce(|note, cause| format!("{note} {cause}")),
        nearest: told.nearest,
        advice: told.advice,
        upstream: None,
        technical: Technical {
            listener: address,
            network: explanation.network.clone(),
            client: explanation.client.to_string(),
            searched: explanation.searched.iter().map(searched).collect(),
            rule: explanation.rule.to_string(),
            decision,
            forward,
            answers: said.as_ref().map(|said| said.records.clone()).unwrap_or_default(),
            additional: said.as_ref().map(|said| said.additional.clone()).unwrap_or_default(),
            errors: said.map(|said| said.errors).unwrap_or_default(),
        },
    };
    let pending = choice.zip(target).filter(|(choice, _)| !matches!(choice.reason, Reason::Blocked(_)));
    let pending = pending.map(|(choice, target)| (question(&target, inquiry.rtype), choice));
    Ok(Outcome { explained, pending })
}

impl Outcome {
    /// One that needs nobody to be asked.
    pub(super) fn of(explained: Explained) -> Outcome {
        Outcome { explained, pending: None }
    }

    /// Asks the upstream that the query would go to, if it would go to one, and says what came of it.
    pub async fn ask(mut self, forwarder: &Forwarder) -> Explained {
        let Some((question, choice)) = self.pending.take() else { return self.explained };
        let started = Instant::now();
        let outcome = forwarder.ask_naming(&question, &choice).await;
        let ms = time::millis(started.elapsed());
        let explained = &mut self.explained;
        let who = explained.client.container.clone().unwrap_or_else(|| explained.client.address.to_string());
        let servers = choice.servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        explained.upstream = Some(match outcome {
            Ok((reply, upstream)) => {
                let said = Said::read(&reply);
                let name = &explained.name;
                explained.conclusion = match &*said.rcode {
                    "NOERROR" if said.answers.is_empty() => {
                        format!(
                            "{name} exists outside, and has no {} record there, says the upstream {upstream}.",
                            explained.rtype
                        )
                    }
                    "NOERROR" => {
                        format!("{who} gets {} for {name}, from the upstream {upstream}.", listed(&said.answers))
                    }
                    "NXDOMAIN" => format!(
                        "{name} does not exist: no container that {who} sees has that name, and the upstream {upstream} does not know it."
                    ),
                    code => format!("{who} gets an error ({code}) for {name}: the upstream {upstream} cannot answer."),
                };
                if !matches!(&*said.rcode, "NOERROR" | "NXDOMAIN") {
                    explained.result = "failed".to_owned();
                    explained.advice.push(format!("Check the upstream: callsign lookup {name} --server {upstream}"));
                }
                UpstreamSaid {
                    upstream: Some(upstream.to_string()),
                    rcode: Some(said.rcode),
                    answers: said.answers,
                    error: said.errors.into_iter().next(),
                    ms,
                }
            }
            Err(failure) => {
                explained.result = "failed".to_owned();
                explained.conclusion =
                    format!("{who} gets an error for {}: no upstream answers ({servers}).", explained.name);
                let advice = unreachable(&choice);
                if !explained.advice.contains(&advice) {
                    explained.advice.push(advice);
                }
                UpstreamSaid { upstream: None, rcode: None, answers: Vec::new(), error: Some(failure.to_string()), ms }
            }
        });
        self.explained
    }
}

/// What to do about upstreams that do not answer.
fn unreachable(choice: &Choice) -> String {
    let servers = choice.servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    match &choice.reason {
        Reason::System(path) => format!("Check that this host reaches {servers}, which {} names.", path.display()),
        reason => format!("Check that this host reaches {servers} ({reason}), or name another upstream."),
    }
}

/// Who asks.
fn asker(world: &World<'_>, inquiry: &Inquiry) -> Result<Asker, String> {
    let table = world.table;
    let asked = match &inquiry.network {
        Some(name) => Some(table.network(name).ok_or_else(|| {
            let names = table.networks().iter().map(|network| network.name().to_owned()).collect();
            format!("there is no network {name:?}; there is {}", or_none(names))
        })?),
        None => None,
    };
    let Ok(address) = inquiry.from.parse::<IpAddr>() else {
        let mut places = containers::find(table, &inquiry.from, world.lists)?;
        places.sort_by(|a, b| rank(&a.network, &a.endpoint).cmp(&rank(&b.network, &b.endpoint)));
        let on_asked =
            asked.as_ref().and_then(|asked| places.iter().position(|place| Arc::ptr_eq(&place.network, asked)));
        // Where it has no address it asks nothing. By a network without a gateway on this host it reaches no listener.
        let has_address = |place: &Attached| !place.endpoint.addresses().is_empty();
        let reaches = |place: &Attached| has_address(place) && way_out(&place.network) == WayOut::Gateway;
        let identified = |place: &Attached| has_address(place) && way_out(&place.network) == WayOut::Identity;
        let asks = places
            .iter()
            .position(reaches)
            .or_else(|| places.iter().position(identified))
            .or_else(|| places.iter().position(has_address));
        let place = places[on_asked.or(asks).unwrap_or(0)].clone();
        if world.kind == "docker"
            && asked.is_none()
            && has_address(&place)
            && way_out(&place.network) == WayOut::Nowhere
        {
            return Err(no_way_out(&place));
        }
        let address = place.endpoint.addresses().iter().min_by_key(|address| address.is_ipv6());
        let Some(&address) = address else {
            return Err(format!(
                "{} has no address on network {}, so it asks nothing there",
                inquiry.from,
                place.network.name()
            ));
        };
        let network =
            asked.or_else(|| asked_by_default(world, &place.network)).unwrap_or_else(|| place.network.clone());
        // At the listener of a network that it is not attached to it is an address as any other.
        let known = network.snapshot().endpoint(place.endpoint.id()).is_some()
            || way_out(&place.network) == WayOut::Identity
            || asked_by_default(world, &place.network).is_some_and(|other| Arc::ptr_eq(&other, &network));
        let container = Some(place.endpoint).filter(|_| known);
        let sees = seen_by(table, &network, container.as_ref());
        let container = container.map(|endpoint| containers::with_names(table, endpoint));
        return Ok(Asker { address, container, network, sees });
    };
    let address = address.to_canonical();
    let (network, own) = match asked {
        Some(network) => (network.clone(), network),
        None => {
            let own = network_of(table, address)?;
            (asked_by_default(world, &own).unwrap_or_else(|| own.clone()), own)
        }
    };
    let container = own.snapshot().endpoint_at(address).cloned();
    let sees = seen_by(table, if container.is_some() { &network } else { &own }, container.as_ref());
    let container = container.map(|endpoint| containers::with_names(table, endpoint));
    Ok(Asker { address, container, network, sees })
}

/// Why a container of Docker's cannot ask by the network that it is on, and what to do.
fn no_way_out(place: &Attached) -> String {
    let (who, network) = (name_of(&place.endpoint), place.network.name());
    let snapshot = place.network.snapshot();
    let settings = snapshot.settings();
    match (settings.spans_hosts, settings.internal) {
        (true, true) => format!(
            "{network} is an internal overlay network: its containers cannot reach callsign; attach {who} to a bridge \
             network, too"
        ),
        (true, false) => format!(
            "{who} is on overlay network {network}, and Docker does not say (yet) at which address of docker_gwbridge; \
             try again"
        ),
        // A bridge has a subnet of its own.
        _ if !settings.subnets.is_empty() => format!(
            "{who} is on bridge network {network}, whose bridge has no address on this host (inhibit_ipv4, or gateway mode \
             isolated), so it cannot ask callsign; attach it to another bridge network, too"
        ),
        _ => format!(
            "{who} is on network {network}, which is no bridge network (macvlan, ipvlan or a plugin's) and does not reach \
             this host, so it cannot ask callsign; attach it to a bridge network, too"
        ),
    }
}

/// How queries of a network's containers reach this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WayOut {
    /// Directly.
    Gateway,
    /// It is the way of other networks' containers (answers.md V2a).
    Identity,
    /// Not by this network.
    Nowhere,
}

fn way_out(network: &Network) -> WayOut {
    let snapshot = network.snapshot();
    let settings = snapshot.settings();
    match settings.clients {
        Clients::Identify => WayOut::Identity,
        // Docker's networks have their subnets, those that reach the host.
        Clients::Table
            if settings.listen.is_empty() && (settings.gateways.is_empty() || settings.subnets.is_empty()) =>
        {
            WayOut::Nowhere
        }
        _ => WayOut::Gateway,
    }
}

/// The network at whose listener a client asks that has none on its own: Docker's default bridge, which daemon.json names.
fn asked_by_default(world: &World<'_>, own: &Network) -> Option<Arc<Network>> {
    if world.kind != "docker" || !own.snapshot().settings().listen.is_empty() {
        return None;
    }
    world.table.network(DEFAULT_BRIDGE).filter(|bridge| !bridge.snapshot().settings().listen.is_empty())
}

/// The order of a container's networks (answers.md V1).
fn rank<'n>(network: &'n Network, endpoint: &Endpoint) -> (Reverse<i32>, bool, &'n str) {
    (Reverse(endpoint.priority()), network.snapshot().settings().internal, network.name())
}

/// The networks that a client sees: its container's, or else the listener's.
fn seen_by(table: &NameTable, network: &Arc<Network>, container: Option<&Endpoint>) -> Vec<Arc<Network>> {
    let Some(container) = container else { return vec![network.clone()] };
    let mut sees: Vec<_> = table
        .networks()
        .into_iter()
        .filter(|network| way_out(network) != WayOut::Identity)
        .filter_map(|network| Some((network.snapshot().endpoint(container.id())?.clone(), network)))
        .collect();
    sees.sort_by_key(|(endpoint, each)| {
        let (priority, internal, name) = rank(each, endpoint);
        (!Arc::ptr_eq(each, network), priority, internal, name.to_owned())
    });
    sees.into_iter().map(|(_, network)| network).collect()
}

/// The network of an address that is not told.
fn network_of(table: &NameTable, address: IpAddr) -> Result<Arc<Network>, String> {
    let all = table.networks();
    let holds = |network: &&Arc<Network>| network.snapshot().endpoint_at(address).is_some();
    let contains =
        |network: &&Arc<Network>| network.snapshot().settings().subnets.iter().any(|subnet| subnet.contains(&address));
    let holders: Vec<_> = all.iter().filter(holds).collect();
    let candidates = if holders.is_empty() { all.iter().filter(contains).collect() } else { holders };
    let names =
        |networks: &[&Arc<Network>]| or_none(networks.iter().map(|network| network.name().to_owned()).collect());
    match candidates[..] {
        [only] => Ok(only.clone()),
        [] => {
            let all: Vec<_> = all.iter().collect();
            Err(format!("{address} is on no network; name the one that it asks with --network: {}", names(&all)))
        }
        _ => Err(format!(
            "{address} is on several networks; name the one that it asks with --network: {}",
            names(&candidates)
        )),
    }
}

fn or_none(mut names: Vec<String>) -> String {
    names.sort();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The listener that the client would ask: one of its network, of its family if there is one.
fn listen_address(world: &World<'_>, asker: &Asker) -> SocketAddr {
    let snapshot = asker.network.snapshot();
    let configured = snapshot.settings().listen.iter();
    let configured = configured.map(|address| SocketAddr::new(address.ip(), address.port().unwrap_or(world.port)));
    let running = world.listeners.iter().filter(|(network, _)| network == asker.network.name());
    let all: Vec<SocketAddr> = running.map(|(_, address)| *address).chain(configured).collect();
    let of_family = all.iter().find(|address| address.is_ipv4() == asker.address.is_ipv4());
    let unspecified: IpAddr =
        if asker.address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    of_family.or(all.first()).copied().unwrap_or(SocketAddr::new(unspecified, world.port))
}

/// The query, with EDNS, so that extended errors are told.
pub(super) fn packet(inquiry: &Inquiry) -> Vec<u8> {
    let mut packet: Vec<u8> = [1, flag::RD, 1, 0, 0, 1].into_iter().flat_map(u16::to_be_bytes).collect();
    packet.extend_from_slice(&question(&inquiry.name, inquiry.rtype).question);
    packet.push(0);
    packet.extend([rtype::OPT, BUFFER as u16, 0, 0, 0].into_iter().flat_map(u16::to_be_bytes));
    packet
}

fn question(name: &Name, rtype: u16) -> Question {
    let mut question = name.as_wire().to_vec();
    question.extend(rtype.to_be_bytes());
    question.extend(class::IN.to_be_bytes());
    Question { question, flags: flag::RD, dnssec_ok: false }
}

pub(super) fn searched(searched: &crate::responder::Searched) -> Searched {
    let found = match searched.finding {
        Finding::Name { .. } => "name",
        Finding::Service { .. } => "service",
        Finding::Parent => "parent",
        Finding::Address { .. } => "address",
        _ => "nothing",
    };
    Searched { network: searched.network.clone(), found: found.to_owned(), text: searched.finding.to_string() }
}

/// What is said to people.
#[derive(Default)]
struct Told {
    result: &'static str,
    conclusion: String,
    cause: Option<String>,
    nearest: Option<String>,
    advice: Vec<String>,
}

struct Teller<'t> {
    world: &'t World<'t>,
    inquiry: &'t Inquiry,
    asker: &'t Asker,
    explanation: &'t Explanation,
    said: Option<&'t Said>,
    choice: Option<&'t Choice>,
    /// Upstreams that are left out, as they are this server itself.
    own: &'t [Upstream],
    hold: Option<std::time::Duration>,
}

impl Teller<'_> {
    fn tell(&self) -> Told {
        let (name, who) = (self.inquiry.name.to_string(), self.who());
        if matches!(self.explanation.client, ClientIdentity::Forbidden) {
            return Told {
                result: "refused",
                conclusion: format!("{who} gets no answer: it may not ask on network {}.", self.asker.network.name()),
                cause: Some(format!(
                    "{} is in no subnet of the network and not on its `allow` list.",
                    self.asker.address
                )),
                advice: vec![format!(
                    "If it should be answered, add it to `allow` of network {}.",
                    self.asker.network.name()
                )],
                ..Told::default()
            };
        }
        if let Some(choice) = self.choice {
            return self.forwarded(choice);
        }
        if let Some(hold) = self.hold {
            return Told {
                result: "held",
                conclusion: format!(
                    "{who} waits up to {} s for {name}: its container is about to start.",
                    hold.as_secs_f64()
                ),
                cause: Some("It gets the address as soon as the container is up.".to_owned()),
                ..Told::default()
            };
        }
        let Some(said) = self.said else {
            return Told {
                result: "ignored",
                conclusion: format!("{who} gets no reply for {name}."),
                ..Told::default()
            };
        };
        match &*said.rcode {
            "NOERROR" if !said.answers.is_empty() => Told {
                result: "answered",
                conclusion: format!("{who} gets {} for {name}.", listed(&said.answers)),
                cause: self.what_it_is(),
                advice: self.embedded_resolver().into_iter().collect(),
                ..Told::default()
            },
            "NOERROR" => self.nothing_of_this_type(),
            "NXDOMAIN" if self.is_blocked_inside() => self.blocked_inside(),
            "NXDOMAIN" => self.unknown(),
            "REFUSED" => Told {
                result: "refused",
                conclusion: format!("{who} is refused an answer for {name}."),
                cause: Some("This server does not answer such a query.".to_owned()),
                ..Told::default()
            },
            code => Told {
                result: "failed",
                conclusion: format!("{who} gets an error ({code}) for {name}."),
                cause: said.errors.first().map(|error| format!("The server says: {error}.")),
                ..Told::default()
            },
        }
    }

    fn who(&self) -> String {
        let by_address = || self.inquiry.called.clone().unwrap_or_else(|| self.asker.address.to_string());
        self.asker.container.as_ref().map_or_else(by_address, |asker| self.told_apart(asker))
    }

    /// What who asks is called: its name, or what tells it apart where another container has that name.
    fn told_apart(&self, asker: &Endpoint) -> String {
        let name = name_of(asker);
        let has_it = |endpoint: &Endpoint| endpoint.names().iter().any(|each| each.to_string() == name);
        let is_others = self.asker.sees.iter().any(|network| {
            network.snapshot().endpoints().any(|each| each.id() != asker.id() && !each.is_remote() && has_it(each))
        });
        if is_others { known_as(asker) } else { name }
    }

    fn is_blocked_inside(&self) -> bool {
        self.explanation.rule.to_string() == "F1"
    }

    /// Of a name that only an upstream could know, which is not asked from an internal network.
    fn blocked_inside(&self) -> Told {
        let (name, who) = (self.inquiry.name.to_string(), self.who());
        let (elsewhere, mut advice) = self.elsewhere();
        let nearest = if elsewhere.is_none() { self.nearest() } else { None };
        match (&elsewhere, &nearest) {
            (Some(_), _) => {}
            (None, Some(near)) => advice.push(format!("Did you mean {near}?")),
            (None, None) => {
                advice.push(format!("To let {who} reach the outside, attach it to a network that is not internal."));
            }
        }
        let inside = format!(
            "{name} is not a container that {who} sees, and from an internal network nothing is asked outside."
        );
        Told {
            result: "blocked",
            conclusion: format!("{who} gets \"no such name\" for {name}: its network is internal."),
            cause: Some(elsewhere.unwrap_or(inside)),
            advice,
            nearest,
        }
    }

    /// The name's containers on the network that answers, and that network.
    fn holders(&self) -> Option<(Arc<Network>, Vec<Endpoint>)> {
        let found = self
            .explanation
            .searched
            .iter()
            .find(|each| matches!(each.finding, Finding::Name { .. } | Finding::Service { .. }))?;
        let network = self.world.table.network(&found.network)?;
        let holders = holders_of(&network, &self.inquiry.name);
        Some((network, holders))
    }

    /// What a name that is answered is.
    fn what_it_is(&self) -> Option<String> {
        let name = &self.inquiry.name;
        let address = self.explanation.searched.iter().find_map(|each| match &each.finding {
            Finding::Address { endpoints } => Some((each.network.clone(), self.known_as(&each.network, endpoints))),
            _ => None,
        });
        if let Some((network, ids)) = address {
            return Some(format!("It is the address of {ids} on network {network}."));
        }
        if let Some((network, holders)) = self.holders() {
            if holders.is_empty() {
                return Some(format!("Network {} has a record for it.", network.name()));
            }
            let serving: Vec<&Endpoint> = holders.iter().filter(|holder| holder.answers()).collect();
            if let Some(text) = self.on_other_hosts(&network, &serving) {
                return Some(text);
            }
            let network = network.name();
            let (unhealthy, healthy): (Vec<&Endpoint>, Vec<&Endpoint>) =
                serving.into_iter().partition(|holder| holder.health() == crate::table::Health::Unhealthy);
            let mut text = match &healthy[..] {
                [] => match &unhealthy[..] {
                    [one] => format!(
                        "{name} is the container {} on network {network}, which is unhealthy and answered all the same.",
                        known_as(one)
                    ),
                    many => format!(
                        "All {} containers with the name {name} on network {network} ({}) are unhealthy; all are answered.",
                        many.len(),
                        ids(many)
                    ),
                },
                [one] => format!("{name} is the container {} on network {network}.", known_as(one)),
                _ => format!("{name} is {} containers on network {network}: {}.", healthy.len(), ids(&healthy)),
            };
            if let Some(said) = self.said {
                let own: Vec<String> = holders.iter().flat_map(Endpoint::addresses).map(ToString::to_string).collect();
                let is_added = |answer: &&String| answer.parse::<IpAddr>().is_ok() && !own.contains(answer);
                let added: Vec<String> = said.answers.iter().filter(is_added).cloned().collect();
                if !added.is_empty() {
                    text.push_str(&format!(" The network has a record with {} for it, too.", listed(&added)));
                }
            }
            if !healthy.is_empty() && !unhealthy.is_empty() {
                text.push_str(&format!(" {} is left out: it is unhealthy.", ids(&unhealthy)));
            }
            return Some(text);
        }
        match self.explanation.rule.to_string().as_str() {
            "N10" => Some(format!("{name} is this host, as network {} reaches it.", self.asker.network.name())),
            "S" if self.inquiry.rtype == rtype::PTR => Some(match address_of(&self.inquiry.name) {
                Some(address) => format!("{address} is the loopback address of whoever asks: localhost."),
                None => "It is the loopback address of whoever asks: localhost.".to_owned(),
            }),
            "S" => Some(format!("{name} always means the container that asks.")),
            _ => None,
        }
    }

    /// Where Docker's own resolver gives another answer than callsign, that it does.
    fn embedded_resolver(&self) -> Option<String> {
        let (network, holders) = self.holders()?;
        // The default bridge has none.
        if self.world.kind != "docker" || self.asker.container.is_none() || network.name() == DEFAULT_BRIDGE {
            return None;
        }
        let answered = &self.said?.answers;
        let is_left_out = |address: &&IpAddr| {
            let is_asked_for = if address.is_ipv4() { rtype::A } else { rtype::AAAA } == self.inquiry.rtype;
            is_asked_for && !answered.contains(&address.to_string())
        };
        let is_sick = |holder: &&Endpoint| holder.health() == Health::Unhealthy && holder.is_running();
        let running = holders.iter().filter(is_sick).filter(|holder| !holder.is_remote());
        let left_out: Vec<String> =
            running.flat_map(Endpoint::addresses).filter(is_left_out).map(ToString::to_string).collect();
        (!left_out.is_empty()).then(|| {
            format!(
                "At 127.0.0.11 it may get {}, too: there Docker's resolver answers by itself, and does not look at health. \
                 To have callsign answer, mount a resolv.conf (docs/docker.md, \"All names from callsign\").",
                listed(&left_out)
            )
        })
    }

    /// What a name is that other hosts have, too: whose containers answer (answers.md N8b). `None` if none has it.
    fn on_other_hosts(&self, network: &Network, holders: &[&Endpoint]) -> Option<String> {
        let snapshot = network.snapshot();
        let Some(Found::Name { entry, .. } | Found::Service { entry, .. }) = snapshot.find(self.inquiry.name.as_wire())
        else {
            return None;
        };
        if !holders.iter().any(|holder| holder.is_remote()) {
            return None;
        }
        let serving: Vec<&Endpoint> = entry.serving(snapshot.settings()).map(|owner| owner.endpoint()).collect();
        let (remote, local): (Vec<&Endpoint>, Vec<&Endpoint>) =
            serving.into_iter().partition(|endpoint| endpoint.is_remote());
        let (name, network) = (&self.inquiry.name, network.name());
        let other_hosts = || {
            let mut hosts: Vec<String> = holders.iter().filter_map(|holder| containers::host_of(holder)).collect();
            hosts.sort();
            hosts.dedup();
            listed(&hosts)
        };
        Some(match (&local[..], &remote[..]) {
            (_, []) => {
                let ids = ids(&local);
                let others = other_hosts();
                format!(
                    "{name} is {ids} of this host on network {network}. It is on {others}, too; this host comes first."
                )
            }
            ([], remote) => {
                let places: Vec<String> = remote.iter().map(|endpoint| learned(endpoint)).collect();
                let is_here = holders.iter().any(|holder| !holder.is_remote());
                let here = if is_here { " What this host has of it is not healthy." } else { "" };
                format!("{name} on network {network} is on {}.{here}", listed(&places))
            }
            (local, remote) => {
                let places: Vec<String> = remote.iter().map(|endpoint| learned(endpoint)).collect();
                format!("{name} is {} of this host on network {network}, and on {}.", ids(local), listed(&places))
            }
        })
    }

    /// Containers of a network by their IDs, for people.
    fn known_as(&self, network: &str, ids: &[String]) -> String {
        let snapshot = self.world.table.network(network).map(|network| network.snapshot());
        let endpoint = |id: &String| snapshot.as_ref().and_then(|snapshot| snapshot.endpoint(id).map(known_as));
        ids.iter().map(|id| endpoint(id).unwrap_or_else(|| id.clone())).collect::<Vec<_>>().join(", ")
    }

    /// Of a name whose containers are on other hosts, and cannot be reached (answers.md N8b). `None` if that is not why.
    fn unreachable(&self, network: &Network, holders: &[Endpoint]) -> Option<Told> {
        let (name, who) = (self.inquiry.name.to_string(), self.who());
        let snapshot = network.snapshot();
        let Some(Found::Name { entry, .. } | Found::Service { entry, .. }) = snapshot.find(self.inquiry.name.as_wire())
        else {
            return None;
        };
        let (why, cause, advice) = match entry.absence() {
            _ if !entry.is_down() => return None,
            Absence::Stopped => return None,
            Absence::Lost(host) => {
                let lost = holders.iter().find(|holder| holder.is_lost()).map(learned).unwrap_or_default();
                (
                    format!("its host {host} is not reachable"),
                    format!(
                        "{name} on network {} was on {lost}. etcd has not heard of {host} for too long.",
                        network.name()
                    ),
                    format!("See how the hosts are, and whether callsign runs on {host}: callsign hosts"),
                )
            }
            Absence::Closed(host) => (
                format!("it runs on {host} and publishes no port"),
                format!(
                    "Network {} is shared by the addresses of hosts, so only published ports are reached.",
                    network.name()
                ),
                format!("Publish its port on {host}, or share the network there with share = \"container\"."),
            ),
        };
        Some(Told {
            result: "unreachable",
            conclusion: format!("{who} gets no address for {name}: {why}."),
            cause: Some(cause),
            advice: vec![advice],
            ..Told::default()
        })
    }

    fn nothing_of_this_type(&self) -> Told {
        let (name, who) = (self.inquiry.name.to_string(), self.who());
        let rtype = rtype::mnemonic(self.inquiry.rtype);
        let Some((network, holders)) = self.holders() else {
            let rule = self.explanation.rule.to_string();
            let is_parent = self.explanation.searched.iter().any(|each| matches!(each.finding, Finding::Parent));
            let missing = match self.inquiry.rtype {
                rtype::AAAA if rule == "N10" => Some(("IPv6", "IPv4")),
                rtype::A if rule == "N10" => Some(("IPv4", "IPv6")),
                _ => None,
            };
            if let Some((missing, other)) = missing {
                return Told {
                    result: "no_such_record",
                    conclusion: format!(
                        "{name} has no {missing} address here, and that is all right: it has an {other} address."
                    ),
                    cause: Some(format!("{name} is this host, as network {} reaches it.", self.asker.network.name())),
                    advice: vec!["Nothing to do. Programs ask for both, and use the one that there is.".to_owned()],
                    ..Told::default()
                };
            }
            let cause = match &*rule {
                "N10" => format!(
                    "{name} is this host, as network {} reaches it: it has addresses only.",
                    self.asker.network.name()
                ),
                "S" => format!("{name} always means the container that asks: it has addresses only."),
                _ if is_parent => format!("{name} is only the end of other names, and has no records of its own."),
                _ => format!("{name} is known here, and has no record of this type."),
            };
            return Told {
                result: "no_such_record",
                conclusion: format!("{who} gets no {rtype} record for {name}."),
                cause: Some(cause),
                ..Told::default()
            };
        };
        if let Some(told) = self.unreachable(&network, &holders) {
            return told;
        }
        let network = network.name().to_owned();
        if !holders.is_empty() && holders.iter().all(|holder| !holder.is_running()) {
            let names: Vec<String> = holders.iter().map(name_of).collect();
            let start = match self.world.kind {
                "docker" | "podman" => format!("Start it: {} start {}", self.world.kind, names.join(" ")),
                _ => "Start it; in the configuration it has `state = \"down\"`.".to_owned(),
            };
            let is_starting = holders.iter().any(|holder| holder.state() == EndpointState::Starting);
            let (state, why) = match is_starting {
                true => ("does not run yet", "was never started, or is being restarted"),
                false => ("is stopped", "is not running"),
            };
            return Told {
                result: "not_running",
                conclusion: format!("{who} gets no address for {name}: its container {state}."),
                cause: Some(format!("{} on network {network} has the name, and {why}.", names.join(" and "))),
                advice: vec![start],
                ..Told::default()
            };
        }
        let addresses: Vec<IpAddr> = holders.iter().flat_map(Endpoint::addresses).copied().collect();
        let missing = match self.inquiry.rtype {
            rtype::AAAA if addresses.iter().any(IpAddr::is_ipv4) => Some(("IPv6", "IPv4")),
            rtype::A if addresses.iter().any(IpAddr::is_ipv6) => Some(("IPv4", "IPv6")),
            _ => None,
        };
        match missing {
            Some((missing, other)) => Told {
                result: "no_such_record",
                conclusion: format!(
                    "{name} has no {missing} address, and that is all right: it has an {other} address."
                ),
                cause: Some(format!(
                    "{name} on network {network} has {}. Programs ask for both, and use the one that there is.",
                    listed(&addresses.iter().map(ToString::to_string).collect::<Vec<_>>())
                )),
                advice: vec![format!("Nothing to do. For {missing}, give network {network} an {missing} subnet.")],
                ..Told::default()
            },
            None => Told {
                result: "no_such_record",
                conclusion: format!("{who} gets no {rtype} record for {name}."),
                cause: Some(format!("Network {network} knows {name}, and has no record of this type for it.")),
                ..Told::default()
            },
        }
    }

    /// Of a name that is ours and that nobody has.
    fn unknown(&self) -> Told {
        let (name, who) = (self.inquiry.name.to_string(), self.who());
        let (elsewhere, advice) = self.elsewhere();
        let nearest = if elsewhere.is_none() { self.nearest() } else { None };
        let more = match (&elsewhere, &nearest) {
            (Some(_), _) => None,
            (None, Some(near)) => Some(format!("Did you mean {near}?")),
            (None, None) => self.perhaps_stopped(),
        };
        let cause = elsewhere.or_else(|| {
            Some(match address_of(&self.inquiry.name) {
                Some(address) => format!("No container on {} has the address {address}.", self.seen()),
                None if self.explanation.rule.to_string() == "S" => {
                    format!("{name} is a name that nobody has, by RFC 6761: it is neither looked up nor asked outside.")
                }
                None => format!("No container on {} has that name.", self.seen()),
            })
        });
        Told {
            result: "no_such_name",
            conclusion: format!("{who} gets \"no such name\" for {name}."),
            cause,
            advice: advice.into_iter().chain(more).collect(),
            nearest,
        }
    }

    fn forwarded(&self, choice: &Choice) -> Told {
        let (name, who) = (self.inquiry.name.to_string(), self.who());
        if let Reason::Blocked(domain) = &choice.reason {
            return Told {
                result: "blocked",
                conclusion: format!("{who} gets \"no such name\" for {name}: it is blocked here."),
                cause: Some(format!("The configuration sends {domain} nowhere (`[[forward]]` with an empty `to`).")),
                ..Told::default()
            };
        }
        if let Some((network, target)) = self.alias_here() {
            return self.forwarded_alias(choice, &network, &target);
        }
        let (elsewhere, mut advice) = self.elsewhere();
        let nearest = if elsewhere.is_none() { self.nearest() } else { None };
        let servers: Vec<String> = choice.servers.iter().map(ToString::to_string).collect();
        let conclusion = match &servers[..] {
            [] if !self.own.is_empty() => {
                format!("{who} gets an error for {name}: the only upstream for it is callsign itself.")
            }
            [] => format!("{who} gets an error for {name}: no upstream is configured for it."),
            _ => format!(
                "{who} has no container {name} on its networks, so the query goes to the upstream {}.",
                servers.join(" or ")
            ),
        };

        let states = self.world.forwarder.upstreams();
        let is_down = |server: &&String| {
            states
                .iter()
                .any(|state| state.upstream.to_string() == **server && super::look::is_up(state) == Some(false))
        };
        let down: Vec<&String> = servers.iter().filter(is_down).collect();
        let mut cause = elsewhere;
        if servers.is_empty() && !self.own.is_empty() {
            cause = Some(format!("{}, so nobody is left to ask.", self.names_itself(&choice.reason)));
            advice = vec![
                "Set `upstreams` in [server], or `resolv_conf` to a file that names the resolvers to ask.".to_owned(),
            ];
        } else if servers.is_empty()
            && let Reason::System(path) = &choice.reason
        {
            cause = Some(format!("{} names no server.", path.display()));
            advice = vec!["Set `upstreams` in [server].".to_owned()];
        } else if !down.is_empty() {
            let text = format!(
                "The upstream {} does not answer.",
                down.iter().map(|text| text.as_str()).collect::<Vec<_>>().join(" and ")
            );
            cause = Some(cause.map_or(text.clone(), |cause| format!("{cause} {text}")));
            if down.len() == servers.len() {
                advice.push(unreachable(choice));
            }
        } else if cause.is_none() {
            cause = Some(match &choice.reason {
                Reason::Route(domain) => format!("The configuration sends {domain} there."),
                Reason::System(path) => format!("{} names it, as for this host itself.", path.display()),
                _ => "The configuration names this upstream.".to_owned(),
            });
        }
        match &nearest {
            Some(near) => advice.push(format!("Did you mean {near}?")),
            // No container has a name with dots, unless somebody has written one.
            None if advice.is_empty() && !name.contains('.') => advice.extend(self.perhaps_stopped()),
            None => {}
        }
        let result = if servers.is_empty() { "failed" } else { "forwarded" };
        Told { result, conclusion, cause, nearest, advice }
    }

    /// That an upstream is this server.
    fn names_itself(&self, reason: &Reason) -> String {
        let own: Vec<String> = self.own.iter().map(ToString::to_string).collect();
        let own = own.join(", ");
        match reason {
            Reason::System(path) => format!("{} names only callsign itself ({own})", path.display()),
            reason => format!("Only callsign itself ({own}) is asked ({reason})"),
        }
    }

    /// The network that the client sees which has the name as an alias, and what it stands for (answers.md N9).
    fn alias_here(&self) -> Option<(String, String)> {
        self.explanation.searched.iter().find_map(|each| {
            let network = self.world.table.network(&each.network)?;
            let snapshot = network.snapshot();
            let (Found::Name { entry, .. } | Found::Service { entry, .. }) =
                snapshot.find(self.inquiry.name.as_wire())?
            else {
                return None;
            };
            let (target, _) = entry.alias()?;
            Some((each.network.clone(), target.to_string()))
        })
    }

    /// Of an alias of a name outside.
    fn forwarded_alias(&self, choice: &Choice, network: &str, target: &str) -> Told {
        let (name, who) = (self.inquiry.name.to_string(), self.who());
        let servers: Vec<String> = choice.servers.iter().map(ToString::to_string).collect();
        let (result, conclusion) = match &servers[..] {
            [] => ("failed", format!("{who} gets an error for {name}: no upstream is configured for {target}.")),
            servers => (
                "forwarded",
                format!("{name} stands for {target}, which the upstream {} is asked for.", servers.join(" or ")),
            ),
        };
        let cause = Some(format!("Network {network} has {name} as an alias of {target}."));
        Told { result, conclusion, cause, ..Told::default() }
    }

    /// That networks which the client does not see have the name, and what to do about it.
    fn elsewhere(&self) -> (Option<String>, Vec<String>) {
        let (name, who) = (self.inquiry.name.to_string(), self.who());
        let mut networks: Vec<String> = self
            .world
            .table
            .networks()
            .into_iter()
            .filter(|network| !self.asker.sees.iter().any(|seen| Arc::ptr_eq(seen, network)))
            .filter(|network| matches!(network.snapshot().find(self.inquiry.name.as_wire()), Some(Found::Name { .. })))
            .map(|network| network.name().to_owned())
            .collect();
        networks.sort();
        if networks.is_empty()
            && let Some(address) = address_of(&self.inquiry.name)
            && let Some(place) = containers::at(self.world.table, None, address)
            && !self.asker.sees.iter().any(|seen| Arc::ptr_eq(seen, &place.network))
        {
            let (whose, network) = (known_as(&place.endpoint), place.network.name());
            let cause = format!("{address} is the address of {whose} on network {network}; {who} does not see that.");
            return (Some(cause), Vec::new());
        }
        if networks.is_empty() {
            return (None, Vec::new());
        }
        let with_project = |network: &String| match self.project_on(network) {
            Some(project) => format!("{network} (project {project})"),
            None => network.clone(),
        };
        let named = listed(&networks.iter().map(with_project).collect::<Vec<_>>());
        let several = networks.len() > 1;
        let cause = match (&self.asker.container, &self.inquiry.called) {
            (Some(_), _) => {
                format!("{name} is on {named} only; {who} is not attached to {}.", if several { "them" } else { "it" })
            }
            (None, Some(_)) => format!("{name} is on {named} only, whose names {who} does not see."),
            (None, None) => format!("{name} is on {named} only; {who} is no container, and sees {}.", self.seen()),
        };
        let shown = &networks[..networks.len().min(SHOWN_ELSEWHERE)];
        let choice = |commands: Vec<String>| commands.join(", or ");
        let which = if several { " to one of them" } else { "" };
        let advice = match (self.world.kind, &self.asker.container) {
            (kind @ ("docker" | "podman"), Some(container)) => {
                let who = name_of(container);
                let attach = |network: &String| format!("{kind} network connect {network} {who}");
                format!("Attach it{which}: {}", choice(shown.iter().map(attach).collect()))
            }
            (_, Some(container)) => {
                format!(
                    "Give {} an endpoint on network {}, or {name} one on {}.",
                    container.id(),
                    networks[0],
                    self.asker.network.name()
                )
            }
            _ if self.inquiry.called.is_some() => "To have it served, see why it is left out.".to_owned(),
            _ => self.who_would_see(&networks[0]),
        };
        let aliases: Vec<String> = shown.iter().filter_map(|network| self.alias(network)).collect();
        let of_one = if several { "one of them" } else { "it" };
        let alias = (!aliases.is_empty()).then(|| format!("Or give {of_one} the name here: {}", choice(aliases)));
        (Some(cause), [Some(advice), alias].into_iter().flatten().collect())
    }

    /// Who gets an answer for a name of this network, told to one who does not.
    fn who_would_see(&self, network: &str) -> String {
        let snapshot = self.world.table.network(network).map(|network| network.snapshot());
        let listen = snapshot.as_ref().and_then(|snapshot| snapshot.settings().listen.first());
        match listen {
            Some(listen) => format!("A container on network {network} would see it; the host can ask {listen}."),
            None => format!("A container on network {network} would see it."),
        }
    }

    /// How Docker gives a container of another network the name where the client asks. The default bridge has no aliases.
    fn alias(&self, elsewhere: &str) -> Option<String> {
        let (name, here) = (&self.inquiry.name, self.asker.network.name());
        if self.world.kind != "docker" || self.asker.container.is_none() || here == DEFAULT_BRIDGE {
            return None;
        }
        let holder = holders_of(&*self.world.table.network(elsewhere)?, name).first().map(name_of)?;
        Some(format!("docker network connect --alias {name} {here} {holder}"))
    }

    /// That Podman says nothing of containers that are stopped.
    fn perhaps_stopped(&self) -> Option<String> {
        let text = "A container that is stopped has no name with Podman. See whether it is: podman ps --all";
        (self.world.kind == "podman").then(|| text.to_owned())
    }

    /// The Compose project of the container that has the name on a network of Docker's.
    fn project_on(&self, network: &str) -> Option<String> {
        let holders = holders_of(&*self.world.table.network(network)?, &self.inquiry.name);
        holders.iter().find_map(containers::project_of).filter(|_| self.world.kind == "docker")
    }

    /// The networks that the client sees, in words.
    fn seen(&self) -> String {
        let names: Vec<&str> = self.asker.sees.iter().map(|network| network.name()).collect();
        match names[..] {
            [one] => format!("network {one}"),
            _ => format!("the networks {}", names.join(", ")),
        }
    }

    /// A name that the client sees and that is spelled alike.
    fn nearest(&self) -> Option<String> {
        let name = self.inquiry.name.to_string();
        let mut known = Vec::new();
        let mut asked = vec![name.clone()];
        for network in &self.asker.sees {
            let snapshot = network.snapshot();
            known.extend(snapshot.names().map(|entry| entry.name().to_string()));
            let domains = snapshot.settings().domains.iter().map(ToString::to_string);
            asked.extend(
                domains
                    .chain([network.name().to_owned()])
                    .filter_map(|suffix| Some(name.strip_suffix(&suffix)?.strip_suffix('.')?.to_owned())),
            );
        }
        asked.iter().find_map(|asked| containers::nearest(asked, known.iter().cloned()))
    }
}

/// Where a container of another host is, and since when that is known.
fn learned(endpoint: &Endpoint) -> String {
    let Some(origin) = endpoint.origin() else { return known_as(endpoint) };
    let since = origin.learned_at().map(|at| format!("{} s ago ", at.elapsed().as_secs())).unwrap_or_default();
    format!("{}, learned {since}at revision {}", origin.host(), origin.revision())
}

/// The address that a reverse name is of.
fn address_of(name: &Name) -> Option<IpAddr> {
    let net = reverse::prefix_of(name.as_wire())?;
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

/// The containers that have a name on a network.
fn holders_of(network: &Network, name: &Name) -> Vec<Endpoint> {
    match network.snapshot().find(name.as_wire()) {
        Some(Found::Name { entry, .. } | Found::Service { entry, .. }) => entry.endpoints().cloned().collect(),
        _ => Vec::new(),
    }
}

fn ids(endpoints: &[&Endpoint]) -> String {
    listed(&endpoints.iter().map(|endpoint| known_as(endpoint)).collect::<Vec<_>>())
}

/// `a`, `a and b`, `a, b and c`; of many the first few.
pub(super) fn listed(words: &[String]) -> String {
    const SHOWN: usize = 4;
    match words {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [some @ .., last] if words.len() <= SHOWN => format!("{} and {last}", some.join(", ")),
        many => format!("{} and {} more", many[..SHOWN].join(", "), many.len() - SHOWN),
    }
}
