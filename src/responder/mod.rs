//! The decision: given a query and who asks, what is the answer?
//!
//! [`Responder::respond`] does no I/O, waits for nothing and takes the time as an argument: a packet and a [`Client`] go
//! in, a [`Verdict`] comes out, and the reply is written into the caller's buffer. Knows nothing of sockets, tasks or how
//! upstreams are asked. What is decided is written down in the project's contract of answers; the comments name its rules
//! (P packets, V views, N names, T types, H header, S special names, F forwarding).

mod answer;
mod client;
mod explain;
mod host;
mod lookup;
mod rule;
mod special;
mod view;

use crate::wire::message::{Malformed, flag, is_reply};
use crate::wire::relay::{self, Asked, AskedEdns};
use crate::wire::reply::{self, FailureReply, Options, ReplyEdns};
use crate::wire::{Edns, Name, Query, Rejected, ReplyWriter, class, cookie, ede, option, rcode, rtype};

pub use crate::settings::ResponderOptions;
use answer::ReplyDraft;
pub use client::{Client, ClientTransport, HostAddresses, Listener};
pub use explain::{ClientIdentity, Explanation, Finding, Notes, Searched};
use explain::{Recorder, Trace};
pub use host::{HOST_VIEW, HostAnswer, HostView, HostViewBuilder};
use lookup::Lookup;
pub use rule::Rule;
use view::View;
pub use view::{UpstreamLists, UpstreamScope};

/// What to do with a packet.
#[derive(Debug)]
// Not boxed: a question whose answer is in the forwarder's cache is to cost no allocation.
#[allow(clippy::large_enum_variant)]
pub enum Verdict<'p> {
    /// Send this many octets from the start of the buffer.
    Reply(usize),
    /// Ask upstream; nothing was written.
    Forward(Forward<'p>),
    /// Do not answer yet; nothing was written. The name is that of an endpoint that is about to start (answers.md N11): decide
    /// on the same packet again when the network has changed, and one last time, with [`Client::without_hold`], when
    /// this time has passed. Only networks with a [`hold`](crate::table::Settings::hold) cause it.
    Hold(std::time::Duration),
    /// Stay silent (answers.md P1).
    Ignore,
}

/// A query to forward, with what is needed to write its reply.
#[derive(Debug)]
#[non_exhaustive]
pub struct Forward<'p> {
    /// The client's query.
    pub query: Query<'p>,
    /// The remote aliases that led from the question to the name to ask for: owner, target, TTL in seconds (answers.md
    /// N9). Mostly empty: then the question itself is asked.
    pub aliases: Vec<(Name, Name, u32)>,
    /// Whose upstreams these are.
    pub preference: UpstreamScope,
    /// The upstreams that the client or its networks want asked, in order; empty for the host's.
    pub upstreams: UpstreamLists,
    /// The OPT of the reply, if the query had one.
    pub edns: Option<ReplyEdns>,
    /// The largest reply, octets.
    pub limit: usize,
}

impl Forward<'_> {
    /// The name to ask for: lower-cased wire form.
    pub fn target(&self) -> &[u8] {
        self.aliases.last().map_or(self.query.name(), |(_, target, _)| target.as_wire())
    }

    /// Writes the reply that says that the name does not exist because `domain`, which it is or lies below, is blocked
    /// (answers.md H1, H3, H6), and gives its length. `negative_ttl` in seconds.
    pub fn blocked(&self, domain: &Name, negative_ttl: u32, out: &mut [u8]) -> usize {
        let mut edns = self.edns.clone();
        if let Some(edns) = &mut edns {
            reply::push_extended_error(&mut edns.options, ede::BLOCKED, &format!("{domain} is blocked here"));
        }
        let Forward { query, limit, .. } = self;
        let Some(mut writer) = ReplyWriter::start(out, query.header(), query.question_bytes(), edns.as_ref(), *limit)
        else {
            return reply::header_only(out, query.header(), rcode::NXDOMAIN).unwrap_or(0);
        };
        writer.set(flag::AA | flag::RA);
        if let Some(owner) = answer::push_aliases(&self.aliases, &mut writer) {
            let len = domain.as_wire().len();
            answer::push_soa((owner + self.target().len().saturating_sub(len), len), 0, negative_ttl, &mut writer);
        }
        writer.finish(rcode::NXDOMAIN)
    }

    /// The query to send upstream. `id` must be hard to guess.
    pub fn upstream_query(&self, id: u16) -> Vec<u8> {
        let question = self.upstream_question();
        let dnssec_ok = self.edns.as_ref().is_some_and(|edns| edns.dnssec_ok);
        relay::upstream_query(id, &question, self.query.header().flags, Some(dnssec_ok)).into_vec()
    }

    /// Writes the reply for the client, made of the upstream's reply to [`upstream_query`](Forward::upstream_query): our header
    /// and OPT, the client's question, the aliases that led away from it, and the upstream's records, as many as fit (answers.md
    /// F3, H1, H4, H5). `out` is emptied first.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use callsign::responder::{Client, Listener, Responder, ResponderOptions, Verdict};
    /// use callsign::table::{NameTable, Network};
    /// use callsign::wire::{Query, rtype};
    ///
    /// let shop = NameTable::new().add(Network::builder("shop").subnet("10.10.1.0/24").build()?)?;
    /// let listener = Listener::new(shop, "10.10.1.1:53".parse()?);
    /// let client = Client::udp(&listener, "10.10.1.2:40000".parse()?);
    /// let packet = Query::build(7, &"example.com".parse()?, rtype::A);
    /// let verdict = Responder::new(Arc::new(ResponderOptions::default())).respond(&packet, &client, &mut [0; 1232]);
    /// let Verdict::Forward(forward) = verdict else { panic!("it is not ours") };
    ///
    /// let mut upstream = forward.upstream_query(0x2a2a);
    /// // Send it, and take the first reply with this ID. Here it is the query itself, with QR set.
    /// upstream[2] |= 0x80;
    /// let mut reply = Vec::new();
    /// forward.relay(&upstream, 0x2a2a, &mut reply)?;
    /// assert_eq!(reply[..2], [0, 7]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Malformed`] if `reply` is not the reply to the query that was sent with this ID, or its records do not lie within it:
    /// wait for another one, or give the client what [`fail`](Forward::fail) writes.
    pub fn relay(&self, reply: &[u8], id: u16, out: &mut Vec<u8>) -> Result<(), Malformed> {
        if !is_reply(reply, id, &self.upstream_question()) {
            return Err(Malformed);
        }
        let Forward { query, edns, limit, aliases, .. } = self;
        let asked = Asked {
            id: query.header().id,
            flags: query.header().flags,
            question: query.question_bytes(),
            limit: *limit,
            edns: edns.as_ref().map(AskedEdns::from),
            aliases,
        };
        relay::relay(reply, &asked, out)
    }

    /// The question for the upstream: the client's, as spelled, or that of an alias's target.
    fn upstream_question(&self) -> Vec<u8> {
        let asked = self.query.question_bytes();
        match (self.aliases.last(), asked.split_last_chunk::<4>()) {
            (Some((_, target, _)), Some((_, tail))) => [target.as_wire(), tail].concat(),
            _ => asked.to_vec(),
        }
    }

    /// Writes the reply that says that asking failed, and why (answers.md H6), and gives its length.
    pub fn fail(&self, rcode: u16, error: u16, text: &str, out: &mut [u8]) -> usize {
        let failure = FailureReply { rcode, flags: flag::RA, error: Some((error, text)) };
        let Forward { query, edns, limit, .. } = self;
        reply::write_failure(out, query.header(), query.question_bytes(), edns.clone(), *limit, failure)
    }
}

/// The sans-I/O responder: one a worker.
///
/// ```
/// use std::sync::Arc;
/// use callsign::responder::{Client, Listener, Responder, ResponderOptions, Verdict};
/// use callsign::table::{Endpoint, NameTable, Network};
///
/// let db = Endpoint::builder("shop-db-1").address("10.10.1.3").name("db").build()?;
/// let shop = NameTable::new().add(Network::builder("shop").subnet("10.10.1.0/24").endpoint(db).build()?)?;
///
/// let listener = Listener::new(shop, "10.10.1.1:53".parse()?);
/// let client = Client::udp(&listener, "10.10.1.2:40000".parse()?);
/// let query = b"\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02db\x00\x00\x01\x00\x01";
/// let mut out = [0; 1232];
/// let verdict = Responder::new(Arc::new(ResponderOptions::default())).respond(query, &client, &mut out);
/// let Verdict::Reply(len) = verdict else { panic!("db is known here") };
/// assert!(out[..len].ends_with(&[10, 10, 1, 3]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Responder {
    options: std::sync::Arc<ResponderOptions>,
    hosts: Option<std::sync::Arc<crate::table::Snapshot>>,
    rotation: Rotation,
}

impl Responder {
    /// A responder with the given options.
    pub fn new(options: std::sync::Arc<ResponderOptions>) -> Responder {
        Responder { options, hosts: None, rotation: Rotation::default() }
    }

    /// The same responder, which also answers these names, after those of the client's networks, if it may forward: the host's
    /// /etc/hosts (answers.md N13).
    #[must_use]
    pub fn with_hosts(mut self, hosts: Option<std::sync::Arc<crate::table::Snapshot>>) -> Responder {
        self.hosts = hosts;
        self
    }

    /// Decides on one packet. `out` takes the reply: [`ResponderOptions::udp_size`] octets suffice over UDP, 65,535 over TCP;
    /// a smaller buffer truncates the reply.
    pub fn respond<'p>(&mut self, packet: &'p [u8], client: &Client<'_>, out: &mut [u8]) -> Verdict<'p> {
        self.decide(packet, Query::parse, client, out, &mut ())
    }

    /// As [`respond`](Responder::respond), and also says which rule decided on what type of query. Costs a few instructions.
    pub fn respond_noting<'p>(
        &mut self,
        packet: &'p [u8],
        client: &Client<'_>,
        out: &mut [u8],
    ) -> (Verdict<'p>, Notes) {
        let mut notes = Notes::default();
        let verdict = self.decide(packet, Query::parse, client, out, &mut notes);
        (verdict, notes)
    }

    /// The same, by the general path alone. For the tests that compare both.
    #[doc(hidden)]
    pub fn respond_general<'p>(&mut self, packet: &'p [u8], client: &Client<'_>, out: &mut [u8]) -> Verdict<'p> {
        self.decide(packet, Query::parse_general, client, out, &mut ())
    }

    /// Decides on one packet and says why.
    pub fn explain<'p>(&mut self, packet: &'p [u8], client: &Client<'_>, out: &mut [u8]) -> (Verdict<'p>, Explanation) {
        let mut recorder = Recorder::new(client);
        let verdict = self.decide(packet, Query::parse, client, out, &mut recorder);
        let explanation = recorder.finish(&verdict, out);
        (verdict, explanation)
    }

    fn decide<'p>(
        &mut self,
        packet: &'p [u8],
        parse: impl FnOnce(&'p [u8]) -> Result<Query<'p>, Rejected>,
        client: &Client<'_>,
        out: &mut [u8],
        trace: &mut impl Trace,
    ) -> Verdict<'p> {
        if client.source.port() == 0 {
            trace.rule(Rule::P1);
            return Verdict::Ignore;
        }
        let parsed = parse(packet);
        let query = match &parsed {
            Ok(query) => query,
            Err(rejected) => return self.reject(packet, *rejected, client, out, trace),
        };
        trace.question(query);
        let view = View::of(client, query.name());
        let edns = if query.edns().is_some() { self.reply_edns(query, client) } else { None };
        let limit = self.limit(query.edns(), client);
        let (rcode, error, flags) = match self.refusal(query, client, &view, trace) {
            Some((rcode, error)) => (rcode, error, if view.may_forward() { flag::RA } else { 0 }),
            None if query.class() == class::CH && special::chaos(query.name()).is_some() => {
                trace.rule(Rule::P5);
                return self.chaos(query, edns, limit, out);
            }
            None => {
                let place = if query.class() == class::IN {
                    lookup::find(&view, query, &self.options, self.hosts.as_deref(), trace)
                } else if view.may_forward() {
                    trace.rule(Rule::P5);
                    Lookup::elsewhere()
                } else {
                    trace.rule(if view.search().is_some() { Rule::V6Outside } else { Rule::F1Internal });
                    Lookup::not_forwarded(&view)
                };
                let (over_tcp, may_hold) = (client.is_tcp(), client.hold);
                let draft = ReplyDraft { query, view: &view, edns, limit, over_tcp, may_hold };
                return draft.write(place, &mut self.rotation, out, trace);
            }
        };
        // A refused client is told nothing, not even whether it could have been served.
        let flags = if rcode == rcode::REFUSED && error.is_some() { 0 } else { flags };
        let failure = FailureReply { rcode, flags, error };
        Verdict::Reply(reply::write_failure(out, query.header(), query.question_bytes(), edns, limit, failure))
    }

    /// The questions that are turned down whatever name they ask for.
    fn refusal(
        &self,
        query: &Query<'_>,
        client: &Client<'_>,
        view: &View<'_>,
        trace: &mut impl Trace,
    ) -> Option<(u16, Option<(u16, &'static str)>)> {
        if trace.is_on() {
            trace.client(view, client);
        }
        let (rule, refusal) = if !view.is_allowed(client) {
            (Rule::V4, (rcode::REFUSED, Some((ede::PROHIBITED, "this client may not ask here"))))
        } else if query.opcode() != 0 {
            (Rule::P2, (rcode::NOTIMP, None))
        } else if query.edns().is_some_and(|edns| edns.version() > 0) {
            (Rule::H4, (rcode::BADVERS, None))
        } else if query.edns().is_some_and(|edns| edns.has_bad_cookie()) {
            (Rule::H7, (rcode::FORMERR, None))
        } else if matches!(query.rtype(), rtype::AXFR | rtype::IXFR) {
            (Rule::P4, (rcode::REFUSED, None))
        } else if matches!(query.rtype(), rtype::OPT | rtype::TSIG) {
            (Rule::P4, (rcode::FORMERR, None))
        } else {
            return None;
        };
        trace.rule(rule);
        Some(refusal)
    }

    /// `version.bind` and its like (answers.md P5).
    fn chaos<'p>(&self, query: &Query<'p>, edns: Option<ReplyEdns>, limit: usize, out: &mut [u8]) -> Verdict<'p> {
        let text = match special::chaos(query.name()) {
            Some(special::Chaos::Version) => self.options.version.as_deref(),
            _ => self.options.identity.as_deref(),
        };
        let Some(text) = text else {
            let failure = FailureReply { rcode: rcode::REFUSED, flags: 0, error: None };
            let len = reply::write_failure(out, query.header(), query.question_bytes(), edns, limit, failure);
            return Verdict::Reply(len);
        };
        let Some(mut reply) = ReplyWriter::start(out, query.header(), query.question_bytes(), edns.as_ref(), limit)
        else {
            return Verdict::Ignore;
        };
        reply.set(flag::AA);
        if matches!(query.rtype(), rtype::TXT | rtype::ANY) {
            reply.push_chaos_text(text.as_bytes());
        }
        Verdict::Reply(reply.finish(rcode::NOERROR))
    }

    /// The largest reply, octets (answers.md H5).
    fn limit(&self, edns: Option<&Edns>, client: &Client<'_>) -> usize {
        match client.transport {
            ClientTransport::Udp => reply::udp_limit(edns, self.options.largest_over_udp()),
            ClientTransport::Tcp { .. } => u16::MAX.into(),
        }
    }

    /// The OPT of the reply (answers.md H4, H7, C).
    fn reply_edns(&self, query: &Query<'_>, client: &Client<'_>) -> Option<ReplyEdns> {
        let edns = query.edns()?;
        let mut options = Options::new();
        if let Some(cookie) = edns.cookie() {
            let server = cookie::server_cookie(&self.options.cookie_secret, cookie, client.ip(), client.now);
            reply::push_option(&mut options, option::COOKIE, &[&cookie.client, &server]);
        }
        if let (true, ClientTransport::Tcp { idle }) = (edns.wants_keepalive(), client.transport) {
            reply::push_option(&mut options, option::TCP_KEEPALIVE, &[&idle.to_be_bytes()]);
        }
        if let (true, Some(identity)) = (edns.wants_nsid(), &self.options.identity) {
            reply::push_option(&mut options, option::NSID, &[identity.as_bytes()]);
        }
        Some(ReplyEdns { dnssec_ok: edns.dnssec_ok(), options })
    }

    /// Answers a packet that is no query to be answered: header only, unless its OPT can be found (answers.md P3).
    #[cold]
    fn reject(
        &self,
        packet: &[u8],
        rejected: Rejected,
        client: &Client<'_>,
        out: &mut [u8],
        trace: &mut impl Trace,
    ) -> Verdict<'static> {
        let (rule, header, rcode) = match rejected {
            Rejected::Silently => {
                trace.rule(Rule::P1);
                return Verdict::Ignore;
            }
            Rejected::Opcode(header) => (Rule::P2, header, rcode::NOTIMP),
            Rejected::Malformed(header) => (Rule::P3, header, rcode::FORMERR),
            Rejected::Transfer(header) => (Rule::P4, header, rcode::REFUSED),
        };
        let (rule, rcode) =
            if View::of(client, &[0]).is_allowed(client) { (rule, rcode) } else { (Rule::V4, rcode::REFUSED) };
        trace.rule(rule);
        let Some((question, edns)) = Rejected::found_in(packet) else {
            return reply::header_only(out, &header, rcode).map_or(Verdict::Ignore, Verdict::Reply);
        };
        let limit = self.limit(Some(&edns), client);
        let edns = ReplyEdns { dnssec_ok: edns.dnssec_ok(), options: Options::new() };
        let failure = FailureReply { rcode, flags: 0, error: None };
        Verdict::Reply(reply::write_failure(out, &header, question, Some(edns), limit, failure))
    }
}

/// Whose turn it is to come first, for each set of addresses and of services (answers.md T2).
///
/// A set is known by the place in memory of its records, or of who offers them: they stay where they are as long as the set
/// does not change. The counts are the responder's own, so that workers share nothing. There is room for the sets that were asked for last; one
/// that comes anew starts anywhere, so that no address is preferred even if sets drive each other out.
#[derive(Debug)]
struct Rotation {
    groups: Box<[[Turn; TURNS_A_GROUP]]>,
    drawn: u64,
}

/// A set and its count.
#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    set: usize,
    count: u32,
}

/// Sets that fall into one group keep out of each other's way as long as they are no more than this.
const TURNS_A_GROUP: usize = 8;

impl Default for Rotation {
    fn default() -> Rotation {
        Rotation { groups: vec![Default::default(); 1024].into(), drawn: 0 }
    }
}

impl Rotation {
    /// The index of the record to start with, out of `count`. `set` tells sets apart, such as their place in memory.
    fn next(&mut self, set: usize, count: usize) -> usize {
        if count < 2 {
            return 0;
        }
        let group = mix64(set as u64) as usize % self.groups.len();
        let group = &mut self.groups[group];
        let known = group.iter().position(|turn| turn.set == set);
        let place = known.unwrap_or_else(|| {
            self.drawn += 1;
            group[TURNS_A_GROUP - 1] = Turn { set, count: mix64(self.drawn) as u32 };
            TURNS_A_GROUP - 1
        });
        // The one that was asked for last stands first; the last one gives way to a new one.
        group[..=place].rotate_right(1);
        let turn = &mut group[0];
        let first = turn.count as usize % count;
        turn.count = turn.count.wrapping_add(1);
        first
    }
}

/// Makes neighbouring numbers far ones (the finish of SplitMix64).
fn mix64(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}
