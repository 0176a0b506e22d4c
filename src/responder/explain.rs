//! Why an answer is what it is, as a value.
//!
//! The decision tells a [`Trace`] what it does. The one of every day is `()`, whose methods do nothing and compile to
//! nothing; [`Recorder`] makes an [`Explanation`].

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::table::{Attachment, EndpointState, Found, Health, Matched};
use crate::wire::message::Header;
use crate::wire::{Query, message, rcode, rtype};

use super::Verdict;
use super::client::Client;
use super::rule::Rule;
use super::view::{UpstreamScope, View, VisibleNetwork};

/// What the decision tells about itself.
pub(super) trait Trace {
    fn is_on(&self) -> bool;
    fn question(&mut self, query: &Query<'_>);
    fn client(&mut self, view: &View<'_>, client: &Client<'_>);
    fn searched(&mut self, seat: &VisibleNetwork<'_>, found: Option<&Found<'_>>);
    fn address(&mut self, seat: &VisibleNetwork<'_>, holders: &[Arc<Attachment>]);
    /// The rule of answers.md that decided so far; the last one told counts.
    fn rule(&mut self, rule: Rule);
}

impl Trace for () {
    fn is_on(&self) -> bool {
        false
    }
    fn question(&mut self, _: &Query<'_>) {}
    fn client(&mut self, _: &View<'_>, _: &Client<'_>) {}
    fn searched(&mut self, _: &VisibleNetwork<'_>, _: Option<&Found<'_>>) {}
    fn address(&mut self, _: &VisibleNetwork<'_>, _: &[Arc<Attachment>]) {}
    fn rule(&mut self, _: Rule) {}
}

/// What a decision was about, for those who count or watch queries: see [`Responder::respond_noting`].
///
/// [`Responder::respond_noting`]: super::Responder::respond_noting
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notes {
    /// The rule that decided.
    pub rule: Rule,
    /// The type that was asked for; 0 if the query could not be read.
    pub rtype: u16,
    /// The query wants DNSSEC's records (DO).
    pub dnssec_ok: bool,
}

impl Trace for Notes {
    fn is_on(&self) -> bool {
        false
    }
    fn question(&mut self, query: &Query<'_>) {
        self.rtype = query.rtype();
        self.dnssec_ok = query.edns().is_some_and(|edns| edns.dnssec_ok());
    }
    fn client(&mut self, _: &View<'_>, _: &Client<'_>) {}
    fn searched(&mut self, _: &VisibleNetwork<'_>, _: Option<&Found<'_>>) {}
    fn address(&mut self, _: &VisibleNetwork<'_>, _: &[Arc<Attachment>]) {}
    fn rule(&mut self, rule: Rule) {
        self.rule = rule;
    }
}

/// Why a query got its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The question as text: name and type; `None` if the packet could not be read so far.
    pub question: Option<(String, String)>,
    /// Where the query arrived.
    pub listener: SocketAddr,
    /// The listener's network.
    pub network: String,
    /// Where the query came from.
    pub source: SocketAddr,
    /// Who the client is.
    pub client: ClientIdentity,
    /// The networks that were searched, in order, and what each knew.
    pub searched: Vec<Searched>,
    /// The rule of answers.md that decided.
    pub rule: Rule,
    /// What was decided, in words: `NOERROR, 1 answer`, `forwarded to …`, `ignored`.
    pub decision: String,
}

/// Who a client is (answers.md V1 to V4).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientIdentity {
    /// The endpoint of the listener's network with this id.
    Endpoint(String),
    /// An endpoint of another network of the table ([`Clients::Table`](crate::table::Clients::Table)).
    Elsewhere {
        /// Its id.
        id: String,
        /// The network that its address is on.
        network: String,
    },
    /// Who may ask the host view: it sees every network (answers.md V6).
    HostView,
    /// The host itself, by one of its addresses, in whichever network's subnet that lies (answers.md V2a).
    Host,
    /// Nobody that the network knows.
    Stranger,
    /// Nobody that is known, in a subnet of another network ([`Clients::Table`](crate::table::Clients::Table)).
    StrangerElsewhere {
        /// That network.
        network: String,
    },
    /// Nobody that may ask here.
    Forbidden,
}

/// One network, searched for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Searched {
    /// The network's name.
    pub network: String,
    /// What it knew.
    pub finding: Finding,
}

/// What a network knew of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// Nothing.
    Nothing,
    /// The name.
    Name {
        /// The name as the network has it.
        name: String,
        /// How it was matched: `as it stands`, `without .internal`, `by a wildcard`.
        how: String,
        /// The endpoints that carry it, with those that do not answer marked.
        endpoints: Vec<String>,
        /// The target, if it is an alias in force.
        alias: Option<String>,
    },
    /// A service of the endpoints of a name.
    Service {
        /// That name.
        name: String,
    },
    /// Only names below it.
    Parent,
    /// An address, held by these endpoints.
    Address {
        /// Their ids.
        endpoints: Vec<String>,
    },
}

/// Makes an [`Explanation`].
pub(super) struct Recorder {
    explanation: Explanation,
    /// The listener's network stands for the host view, and has nothing to be searched.
    is_host_view: bool,
}

impl Recorder {
    pub(super) fn new(client: &Client<'_>) -> Recorder {
        Recorder {
            is_host_view: client.listener.host_view().is_some(),
            explanation: Explanation {
                question: None,
                listener: client.listener.address(),
                network: client.listener.network().name().to_owned(),
                source: client.source,
                client: ClientIdentity::Stranger,
                searched: Vec::new(),
                rule: Rule::default(),
                decision: String::new(),
            },
        }
    }

    pub(super) fn finish(mut self, verdict: &Verdict<'_>, out: &[u8]) -> Explanation {
        self.explanation.decision = match verdict {
            Verdict::Ignore => "ignored".to_owned(),
            Verdict::Hold(hold) => format!("held for up to {} s until an endpoint runs", hold.as_secs_f32()),
            Verdict::Forward(forward) => {
                let whose = match forward.preference {
                    UpstreamScope::Endpoint => "the endpoint's own upstreams",
                    UpstreamScope::Networks => "its networks' upstreams",
                    UpstreamScope::Host => "the host's upstreams",
                };
                match &forward.aliases[..] {
                    [.., (_, target, _)] => format!("forwarded as {target} to {whose}"),
                    [] => format!("forwarded to {whose}"),
                }
            }
            Verdict::Reply(len) => describe(&out[..*len]),
        };
        self.explanation
    }
}

/// A reply in a few words.
fn describe(reply: &[u8]) -> String {
    let Some(header) = Header::read(reply) else { return "ignored".to_owned() };
    let high = message::records(reply)
        .flatten()
        .find(|record| record.rtype == rtype::OPT)
        .map_or(0, |opt| (opt.ttl >> 24) as u16);
    let number = high << 4 | header.rcode();
    let code = rcode::mnemonic(number);
    match (number, header.counts[1]) {
        (0, 0) => format!("{code}, no data of this type"),
        (0, 1) => format!("{code}, 1 answer"),
        (0, answers) => format!("{code}, {answers} answers"),
        _ => code.into_owned(),
    }
}

impl Trace for Recorder {
    fn is_on(&self) -> bool {
        true
    }

    fn question(&mut self, query: &Query<'_>) {
        self.explanation.question = Some((query.to_name().to_string(), rtype::mnemonic(query.rtype())));
    }

    fn client(&mut self, view: &View<'_>, client: &Client<'_>) {
        self.explanation.client = match view.endpoint() {
            _ if !view.is_allowed(client) => ClientIdentity::Forbidden,
            Some(attachment) => {
                let id = attachment.endpoint().id().to_owned();
                match view.home() {
                    Some(network) => ClientIdentity::Elsewhere { id, network: network.to_owned() },
                    None => ClientIdentity::Endpoint(id),
                }
            }
            None if view.search().is_some() => ClientIdentity::HostView,
            None => match view.home() {
                Some(network) => ClientIdentity::StrangerElsewhere { network: network.to_owned() },
                None if client.listener.is_host(client.ip()) => ClientIdentity::Host,
                None => ClientIdentity::Stranger,
            },
        };
    }

    fn searched(&mut self, seat: &VisibleNetwork<'_>, found: Option<&Found<'_>>) {
        let finding = match found {
            None => Finding::Nothing,
            Some(Found::Parent { .. }) => Finding::Parent,
            Some(Found::Service { entry, .. }) => Finding::Service { name: entry.name().to_string() },
            Some(Found::Name { entry, how }) => {
                let serving: Vec<&str> =
                    entry.serving(seat.snapshot().settings()).map(|owner| owner.endpoint().id()).collect();
                let describe = |endpoint: &crate::table::Endpoint| match endpoint.id() {
                    id if serving.contains(&id) => id.to_owned(),
                    id if endpoint.is_lost() => format!("{id} (its host is not reachable)"),
                    id if endpoint.is_running() && endpoint.is_closed() => format!("{id} (publishes no port)"),
                    id if endpoint.state() == EndpointState::Starting => format!("{id} (starting)"),
                    id if endpoint.is_running() && endpoint.health() == Health::Healthy => {
                        format!("{id} (on another host)")
                    }
                    id if endpoint.is_running() => format!("{id} (unhealthy)"),
                    id => format!("{id} (not running)"),
                };
                Finding::Name {
                    name: entry.name().to_string(),
                    how: match how {
                        Matched::Whole => "as it stands".to_owned(),
                        Matched::Without(suffix) => format!("without .{}", suffix.name()),
                        Matched::Wildcard => "by a wildcard".to_owned(),
                    },
                    endpoints: entry.endpoints().map(describe).collect(),
                    alias: entry.alias().map(|(target, _)| target.to_string()),
                }
            }
        };
        self.push(seat, finding);
    }

    fn address(&mut self, seat: &VisibleNetwork<'_>, holders: &[Arc<Attachment>]) {
        let endpoints: Vec<String> = holders.iter().map(|holder| holder.endpoint().id().to_owned()).collect();
        self.push(seat, if endpoints.is_empty() { Finding::Nothing } else { Finding::Address { endpoints } });
    }

    fn rule(&mut self, rule: Rule) {
        self.explanation.rule = rule;
    }
}

impl Recorder {
    fn push(&mut self, seat: &VisibleNetwork<'_>, finding: Finding) {
        if self.is_host_view && seat.name().is_none() {
            return;
        }
        let network = seat.name().unwrap_or(&self.explanation.network).to_owned();
        self.explanation.searched.push(Searched { network, finding });
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Nothing => f.write_str("nothing"),
            Finding::Parent => f.write_str("only names below it"),
            Finding::Service { name } => write!(f, "a service of {name}"),
            Finding::Address { endpoints } => write!(f, "the address of {}", endpoints.join(", ")),
            Finding::Name { name, how, endpoints, alias } => {
                write!(f, "{name}, matched {how}")?;
                match alias {
                    Some(target) => write!(f, ": an alias of {target}"),
                    None if endpoints.is_empty() => f.write_str(": static records"),
                    None => write!(f, ": {}", endpoints.join(", ")),
                }
            }
        }
    }
}

impl fmt::Display for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientIdentity::Endpoint(id) => write!(f, "is endpoint {id}"),
            ClientIdentity::Elsewhere { id, network } => {
                write!(f, "is endpoint {id} of network {network}, not of this one: it sees its own networks")
            }
            ClientIdentity::HostView => f.write_str("sees every network, by NAME.NETWORK and the view's domain"),
            ClientIdentity::Host => {
                f.write_str("is an address of this host, which is no endpoint: it sees this network only")
            }
            ClientIdentity::Stranger => f.write_str("is no endpoint of this network: it sees this network only"),
            ClientIdentity::StrangerElsewhere { network } => {
                write!(f, "is no endpoint, but in a subnet of network {network}: it sees that network only")
            }
            ClientIdentity::Forbidden => f.write_str("may not ask here: it is not in the network's allow list"),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, rtype)) = &self.question {
            writeln!(f, "question  {name} {rtype}")?;
        }
        let of = if self.client == ClientIdentity::HostView { "the" } else { "network" };
        writeln!(f, "listener  {} of {of} {}", self.listener, self.network)?;
        writeln!(f, "client    {} {}", self.source.ip(), self.client)?;
        for Searched { network, finding } in &self.searched {
            writeln!(f, "searched  {network}: {finding}")?;
        }
        write!(f, "decision  {} (rule {})", self.decision, self.rule)
    }
}
