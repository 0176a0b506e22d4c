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

use crate::forward::{Asked, AskedEdns, CacheState, Reason};
use crate::responder::{Client, Forward, Listener, Notes, Responder, ResponderOptions, Transport, Verdict};
use crate::table::Snapshot;
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
pub(super) struct OnStart(Arc<dyn Fn() + Send + Sync>);

impl OnStart {
    pub(super) fn new(start: impl Fn() + Send + Sync + 'static) -> OnStart {
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
                start();
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
    pub(super) tcp: Option<Buffers>,
}

thread_local! {
    static DESK: RefCell<Desk> = const { RefCell::new(Desk { responder: None, batch: None, tcp: None }) };
}

/// Where and when a batch of queries is answered: what is looked up once for all of them.
pub(super) struct Place<'s> {
    slot: &'s Slot,
    listener: Guard<Arc<Listener>>,
    /// The listener's network, which its queries see alike.
    snapshot: Guard<Arc<Snapshot>>,
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

    /// The same place, where queries may wait for endpoints that are about to run, or have waited long enough.
    pub(super) fn holding(self, may_hold: bool) -> Self {
        Place { may_hold, ..self }
    }
}

/// What becomes of a query.
pub(super) enum Outcome {
    Reply(usize),
    Later(Later),
    Ignore,
}

impl Desk {
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

    /// Decides on one packet. Should that panic, it costs this packet its answer, and no listener its life.
    pub(super) fn respond(
        &mut self,
        place: &Place<'_>,
        from: (SocketAddr, Transport),
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
        (source, transport): (SocketAddr, Transport),
        packet: &[u8],
        out: &mut [u8],
    ) -> Outcome {
        let client = match transport {
            Transport::Udp => Client::udp(&place.listener, source),
            Transport::Tcp { idle } => Client::tcp(&place.listener, source, idle),
        }
        .seeing(&place.snapshot)
        .at(place.now);
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
            Verdict::Forward(forward) => forwarded(place.slot, &place.listener, forward, client.ip(), out),
            Verdict::Hold(hold) => {
                (Outcome::Later(Later::Start(Box::new(Held::new((source, transport), packet, hold)))), None)
            }
            Verdict::Ignore => (Outcome::Ignore, None),
        };
        if let Some(arrived) = place.watched_since {
            let sighting = Sighting {
                listener: &place.listener,
                client: source,
                tcp: transport != Transport::Udp,
                arrived,
                notes,
            };
            match &mut outcome {
                Outcome::Reply(len) => {
                    let reply = &out[..*len];
                    sighting.tell(
                        place.slot,
                        packet,
                        Some(reply),
                        origin.unwrap_or_else(|| origin_of(notes.rule, reply)),
                    );
                }
                Outcome::Ignore => sighting.tell(place.slot, packet, None, Origin::Dropped),
                Outcome::Later(Later::Upstream(exchange)) => exchange.kept = sighting.keep(place.slot, packet),
                // It is told of when it is decided on again.
                Outcome::Later(Later::Start(_)) => {}
            }
        }
        outcome
    }
}

/// Answers a question for the rest of the DNS, if that takes no asking.
fn forwarded(
    slot: &Slot,
    listener: &Listener,
    forward: Forward<'_>,
    client: IpAddr,
    out: &mut [u8],
) -> (Outcome, Option<Origin>) {
    let forwarder = &slot.server().forwarder;
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
        None => (Outcome::Later(Later::Upstream(Box::new(Exchange::new(forward, choice, client)))), None),
    }
}

fn is_refused(reply: &[u8]) -> bool {
    Header::read(reply).is_some_and(|header| header.rcode() == rcode::REFUSED && !header.has(flag::RA))
}

/// Seconds since 1970, modulo 2^32.
fn unix_time() -> u32 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}
