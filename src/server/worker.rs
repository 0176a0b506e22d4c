//! Worker threads: each a current-thread runtime, and what a worker keeps for itself.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use arc_swap::Guard;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tracing::error;

use crate::forward::{Asked, AskedEdns, CacheState, Forwarder, Reason};
use crate::responder::{Client, ClientTransport, Forward, Listener, Notes, Responder, ResponderOptions, Verdict};
use crate::table::SnapshotRef;
use crate::wire::message::{Header, flag};
use crate::wire::rcode;

use super::batch::Batch;
use super::exchange::Exchange;
use super::held::Held;
use super::later::Later;
use super::observe::Origin;
use super::sighting::{Sighting, origin_of};
use super::slot::Slot;
use super::tcp::Buffers;

/// What each worker thread does before it serves.
#[derive(Clone)]
pub(super) struct OnStart(Arc<dyn Fn(usize) + Send + Sync>);

impl OnStart {
    pub(super) fn new(start: impl Fn(usize) + Send + Sync + 'static) -> OnStart {
        OnStart(Arc::new(start))
    }
}

impl fmt::Debug for OnStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnStart")
    }
}

/// A thread that serves some of the listeners.
#[derive(Debug)]
pub(super) struct Worker {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(super) fn start(number: usize, on_start: Option<OnStart>) -> io::Result<Worker> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name(format!("callsign-{number}")).spawn(move || {
            if let Some(OnStart(start)) = on_start {
                start(number);
            }
            // Whether it was told to stop or the server is gone: both end the worker and everything on it.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Worker { handle, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Tells the thread to end, and gives it to be waited for.
    pub(super) fn stop(&mut self) -> Option<JoinHandle<()>> {
        self.stop.take();
        self.thread.take()
    }
}

/// What a worker thread keeps for itself and reuses from query to query.
pub(super) struct Desk {
    responder: Option<(Arc<ResponderOptions>, Responder)>,
    pub(super) batch: Option<Box<Batch>>,
    /// Queries of a turn that wait, none between two turns.
    pub(super) waiting: Vec<(SocketAddr, Later)>,
    pub(super) tcp: Option<Buffers>,
    /// What is to be told of a batch's queries once their replies were sent, while somebody wants to know.
    seen: Option<Vec<Seen>>,
}

/// A query of a batch.
struct Seen {
    listener: Arc<Listener>,
    client: SocketAddr,
    arrived: Instant,
    notes: Notes,
    /// Where its reply is from; `None` if there is none.
    origin: Option<Origin>,
    /// The places of the query and of the reply in the batch, once they are known.
    places: Option<(usize, usize)>,
}

thread_local! {
    static DESK: RefCell<Desk> = const { RefCell::new(Desk::NEW) };
}

/// Where and when a batch of queries is answered: what is looked up once for all of them.
pub(super) struct Place<'s> {
    slot: &'s Slot,
    listener: Guard<Arc<Listener>>,
    /// The listener's network, which its queries see alike.
    snapshot: SnapshotRef,
    options: Guard<Arc<ResponderOptions>>,
    /// Seconds since 1970, modulo 2^32.
    now: u32,
    /// Queries may wait for endpoints that are about to run (answers.md N11).
    may_hold: bool,
    /// When the batch came, if somebody wants to know of its queries.
    watched_since: Option<Instant>,
}

impl Place<'_> {
    pub(super) fn of(slot: &Slot) -> Place<'_> {
        let listener = slot.listener();
        let snapshot = listener.network().snapshot();
        let server = slot.server();
        Place {
            slot,
            listener,
            snapshot,
            options: server.responder_options(),
            now: unix_time(),
            may_hold: true,
            watched_since: (server.is_counting() || server.watching().is_some()).then(Instant::now),
        }
    }

    /// Octets that a reply over UDP may have.
    pub(super) fn largest_over_udp(&self) -> usize {
        self.options.largest_over_udp()
    }

    /// True if somebody wants to know of the queries.
    pub(super) fn is_watched(&self) -> bool {
        self.watched_since.is_some()
    }

    /// The same place, where queries may wait for endpoints that are about to run, or have waited long enough.
    pub(super) fn holding(self, may_hold: bool) -> Self {
        Place { may_hold, ..self }
    }
}

/// What becomes of a query.
#[expect(clippy::large_enum_variant, reason = "what waits is not to take memory of its own")]
pub(super) enum Outcome {
    Reply(usize),
    Later(Later),
    Ignore,
}

impl Desk {
    const NEW: Desk = Desk { responder: None, batch: None, waiting: Vec::new(), tcp: None, seen: None };

    /// Lends the thread's desk. Nothing may wait meanwhile.
    pub(super) fn with<T>(work: impl FnOnce(&mut Desk) -> T) -> T {
        DESK.with_borrow_mut(work)
    }

    fn responder(&mut self, place: &Place<'_>) -> &mut Responder {
        let options = &*place.options;
        if !self.responder.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, options)) {
            self.responder = None;
        }
        let new = || Responder::new(options.clone()).with_hosts(place.slot.server().hosts());
        &mut self.responder.get_or_insert_with(|| (options.clone(), new())).1
    }

    /// Begins a batch: its queries are told of by [`tell_seen`](Desk::tell_seen), if at all.
    pub(super) fn tell_later(&mut self, is_watched: bool) {
        self.seen = is_watched.then(Vec::new);
    }

    /// Says where the query that was decided on last stands in the batch, and its reply, if there is one.
    pub(super) fn place_seen(&mut self, query: usize, reply: usize) {
        if let Some(seen) = self.seen.as_mut().and_then(|seen| seen.last_mut()) {
            seen.places.get_or_insert((query, reply));
        }
    }

    /// Tells of the queries of a batch, whose replies were sent.
    pub(super) fn tell_seen(&mut self, slot: &Slot, batch: &Batch) {
        for Seen { listener, client, arrived, notes, origin, places } in self.seen.take().into_iter().flatten() {
            let Some((query, reply)) = places else { continue };
            let sighting = Sighting { listener: &listener, client, tcp: false, arrived, notes };
            let reply = origin.and_then(|_| batch.reply(reply)).map(|(_, reply)| reply);
            let tell = || sighting.tell(slot, batch.query(query), reply, origin.unwrap_or(Origin::Dropped));
            // It costs the observer this query, and the next one nothing.
            if catch_unwind(AssertUnwindSafe(tell)).is_err() {
                error!(source = %client, network = listener.network().name(), "a bug: observing this query panicked");
            }
        }
    }

    /// Decides on one packet. Should that panic, it costs this packet its answer, and no listener its life.
    pub(super) fn respond(
        &mut self,
        place: &Place<'_>,
        from: (SocketAddr, ClientTransport),
        packet: &[u8],
        out: &mut [u8],
    ) -> Outcome {
        // What a panic can leave half done is the reply, which is not sent, and the responder, which is made anew.
        catch_unwind(AssertUnwindSafe(|| self.decide(place, from, packet, out))).unwrap_or_else(|_| {
            self.responder = None;
            let network = place.listener.network().name();
            error!(source = %from.0, network, "a bug: answering this query panicked");
            Outcome::Ignore
        })
    }

    fn decide(
        &mut self,
        place: &Place<'_>,
        (source, transport): (SocketAddr, ClientTransport),
        packet: &[u8],
        out: &mut [u8],
    ) -> Outcome {
        let client = match transport {
            ClientTransport::Udp => Client::udp(&place.listener, source),
            ClientTransport::Tcp { idle } => Client::tcp(&place.listener, source, idle),
        }
        .with_snapshot(&place.snapshot)
        .with_time(place.now);
        let client = if place.may_hold { client } else { client.without_hold() };
        let responder = self.responder(place);
        let mut respond = |out: &mut [u8]| match place.watched_since {
            None => (responder.respond(packet, &client, out), Notes::default()),
            Some(_) => responder.respond_noting(packet, &client, out),
        };
        let (mut verdict, mut notes) = respond(out);
        if let Verdict::Reply(len) = verdict {
            // Perhaps an address or an interface came since the neighbours were looked at.
            if is_refused(&out[..len]) && place.slot.look_around(&place.listener) {
                (verdict, notes) = respond(out);
            }
        }
        let (mut outcome, origin) = match verdict {
            Verdict::Reply(len) => (Outcome::Reply(len), None),
            Verdict::Forward(forward) => {
                let client = place.slot.share_of(client.ip());
                forwarded(&place.slot.server().forwarder, &place.listener, forward, client, out)
            }
            Verdict::Hold(hold) => {
                (Outcome::Later(Later::Start(Box::new(Held::new((source, transport), packet, hold)))), None)
            }
            Verdict::Ignore => (Outcome::Ignore, None),
        };
        if let Some(arrived) = place.watched_since {
            let sighting = Sighting {
                listener: &place.listener,
                client: source,
                tcp: transport != ClientTransport::Udp,
                arrived,
                notes,
            };
            match &mut outcome {
                Outcome::Reply(len) => {
                    let reply = &out[..*len];
                    let origin = origin.unwrap_or_else(|| origin_of(notes.rule, reply));
                    self.tell(place.slot, &sighting, packet, Some((reply, origin)));
                }
                Outcome::Ignore => self.tell(place.slot, &sighting, packet, None),
                Outcome::Later(Later::Upstream(exchange)) => exchange.kept = sighting.keep(place.slot, packet),
                // It is told of when it is decided on again.
                Outcome::Later(Later::Start(_)) => {}
            }
        }
        outcome
    }
}

impl Desk {
    /// Tells of a query, at once or after its batch.
    fn tell(&mut self, slot: &Slot, sighting: &Sighting<'_>, packet: &[u8], reply: Option<(&[u8], Origin)>) {
        let origin = reply.map(|(_, origin)| origin);
        match &mut self.seen {
            Some(seen) => {
                let Sighting { listener, client, arrived, notes, .. } = *sighting;
                seen.push(Seen { listener: listener.clone(), client, arrived, notes, origin, places: None });
            }
            None => sighting.tell(slot, packet, reply.map(|(reply, _)| reply), origin.unwrap_or(Origin::Dropped)),
        }
    }
}

/// Answers a question for the rest of the DNS, if that takes no asking.
pub(super) fn forwarded(
    forwarder: &Arc<Forwarder>,
    listener: &Listener,
    forward: Forward<'_>,
    client: IpAddr,
    out: &mut [u8],
) -> (Outcome, Option<Origin>) {
    let choice = forwarder.choose(forward.target(), &forward.upstreams);
    if let Reason::Blocked(domain) = &choice.reason {
        let negative_ttl = listener.network().snapshot().settings().negative_ttl;
        return (Outcome::Reply(forward.blocked(domain, negative_ttl, out)), Some(Origin::Local));
    }
    let asked = Asked {
        id: forward.query.header().id,
        flags: forward.query.header().flags,
        question: forward.query.question_bytes(),
        limit: forward.limit,
        edns: forward.edns.as_ref().map(AskedEdns::from),
        aliases: &forward.aliases,
    };
    match forwarder.cached_as(forward.query.name(), &choice, &asked, out) {
        Some((len, CacheState::Expired)) => (Outcome::Reply(len), Some(Origin::Stale)),
        Some((len, _)) => (Outcome::Reply(len), Some(Origin::Cache)),
        None => (Outcome::Later(Later::Upstream(Exchange::new(forward, choice, client))), None),
    }
}

fn is_refused(reply: &[u8]) -> bool {
    Header::read(reply).is_some_and(|header| header.rcode() == rcode::REFUSED && !header.has(flag::RA))
}

/// Seconds since 1970, modulo 2^32.
fn unix_time() -> u32 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}
