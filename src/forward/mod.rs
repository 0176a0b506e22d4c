//! The rest of the DNS: every question that the name tables do not answer is asked here, of another server.
//!
//! [`Forwarder::choose`] says which servers a question goes to (answers.md F2, F4). If [`Forwarder::cached`] has the answer
//! it writes the client's reply at once, without allocating. Else [`Forwarder::resolve`] gets the answer, asking once
//! however many want it, and [`relay`] makes it into the client's reply (H1, H4, H5); what it is relayed from is the message
//! exactly as the upstream sent it. Beneath is [`Forwarder::ask`], which knows of no cache (F3).
//!
//! Knows nothing of networks' names, of listeners, or of who asked. Its rooms, from below: what is sent and what counts as its
//! reply is `message`; asking one server once is `transport`; which server is asked when, and whose answer counts, is
//! `select`; what is kept is `cache`. `route` says which servers a question goes to, with `resolv_conf` for the host's
//! own and `self_guard` against loops; `request` carries one question out, `coalesce` lets identical ones wait for it, and
//! `resolve` joins all of that.
//!
//! ```no_run
//! use callsign::forward::{ForwardOptions, Forwarder, Question, Upstreams};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! # use std::sync::Arc;
//! let forwarder = Arc::new(Forwarder::new(ForwardOptions { upstreams: Upstreams::system()?, ..ForwardOptions::default() }));
//! let choice = forwarder.choose(b"\x07example\x00", &[]);
//! let question = b"\x07example\x00\x00\x01\x00\x01".to_vec();
//! let reply = forwarder.resolve(&Question { question, flags: 0x0100, dnssec_ok: false }, &choice).await?;
//! # Ok(())
//! # }
//! ```

mod cache;
mod coalesce;
mod counters;
mod failure;
mod message;
mod request;
mod resolv_conf;
mod resolve;
mod route;
mod select;
mod self_guard;
mod transport;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

pub use crate::settings::{Destination, ForwardOptions, Order, Route, Unanswered, Upstreams};
pub use cache::{CacheEntry, CacheState};
pub(crate) use coalesce::{ReplySource, Resolved};
pub use counters::Counters;
pub use failure::Failure;
pub(crate) use message::Asker;
pub use message::Question;
pub use resolv_conf::{ForwardError, SystemOptions};
pub(crate) use resolve::TOO_MANY;
pub use route::{Choice, Reason};
pub use select::UpstreamStatus;
pub use transport::{Tap, Tapped};
pub(crate) use transport::{most_sockets, zone_index};

use crate::settings::Upstream;
pub use crate::wire::relay::{Asked, AskedEdns, relay};
use crate::wire::{ede, rcode};
use cache::{Cache, Clock};
use coalesce::InFlight;
use counters::StripedCounters;
use request::QueryOptions;
use route::CompiledOptions;
use select::UpstreamPools;
use self_guard::SelfGuard;

/// Sends questions to the servers that they belong to, and brings back what those say.
///
/// Shared as `Arc<Forwarder>`; all methods take `&self`, and none waits for another.
#[derive(Debug)]
pub struct Forwarder {
    settings: ArcSwap<CompiledOptions>,
    self_guard: SelfGuard,
    pools: UpstreamPools,
    cache: Cache,
    clock: Clock,
    in_flight: Arc<InFlight>,
    counters: StripedCounters,
}

impl Forwarder {
    /// A forwarder with these options. Reads the followed resolv.conf, if there is one.
    pub fn new(options: ForwardOptions) -> Forwarder {
        let settings = CompiledOptions::new(options, None);
        Forwarder {
            cache: Cache::new(settings.rules.size),
            settings: ArcSwap::from_pointee(settings),
            self_guard: SelfGuard::default(),
            pools: UpstreamPools::default(),
            clock: Clock::new(),
            in_flight: Arc::default(),
            counters: StripedCounters::default(),
        }
    }

    /// Replaces all options at once: a question is chosen for by the old ones or by the new ones, never by a mixture.
    /// Servers last read from a resolv.conf that stays the followed one are kept while it is absent.
    pub fn configure(&self, options: ForwardOptions) {
        let settings = CompiledOptions::new(options, Some(&self.settings.load()));
        self.cache.resize(settings.rules.size);
        self.settings.store(Arc::new(settings));
        self.self_guard.forget_warnings();
        self.warn_of_own();
    }

    /// Tells which addresses and ports this process listens on (answers.md F4). An upstream that is one of them is never
    /// asked; the log says so now, and again after each change of either side. A wildcard address stands for every address
    /// that the host has at this moment.
    pub fn set_own_addresses(&self, own: Vec<SocketAddr>) {
        self.self_guard.replace(own);
        self.warn_of_own();
    }

    /// The servers for a question (answers.md F2): of the route with the longest domain that `name` is below, else
    /// `preferred` joined in order without duplicates, else the default ones.
    ///
    /// `name` is in wire form, lower case. `preferred` is what the client's endpoint or else its networks want; empty, or
    /// of empty lists only, when they want nothing of their own. If every preferred server is one of our own listeners
    /// the choice is empty: their questions are not sent elsewhere instead.
    ///
    /// Allocates only to join several lists, to leave out one of our own addresses, or when it is time to look at the
    /// resolv.conf.
    pub fn choose(&self, name: &[u8], preferred: &[Arc<[Upstream]>]) -> Choice {
        let mut choice = self.settings.load().choose(name, preferred);
        choice.servers = self.self_guard.filter(choice.servers);
        if choice.reason == Reason::Preferred && preferred.len() > 1 {
            // Joined anew for each question: what the cache keeps of it is to be one list.
            choice.servers = self.pools.known_list(choice.servers);
        }
        choice
    }

    /// The servers that [`choose`](Forwarder::choose) leaves out for a question, as they are this process itself
    /// (answers.md F4).
    pub fn left_out(&self, name: &[u8], preferred: &[Arc<[Upstream]>]) -> Vec<Upstream> {
        self.self_guard.among(&self.settings.load().choose(name, preferred).servers)
    }

    /// Asks the chosen servers in their [`Order`], and returns the reply that counts: the message as it came. Its records are
    /// known to lie within it.
    ///
    /// A server has failed for the question when it answers SERVFAIL, REFUSED, NOTIMP or FORMERR, cannot be reached, or sends
    /// something malformed; then, or when it is late, the next one is asked while its own reply stays welcome. When none has
    /// a usable reply but one gave an error or a truncated reply, the best of these is returned as `Ok`.
    ///
    /// Dropping the future ends all that was sent for it. Connections and sockets stay open for a few seconds, probes go to
    /// servers that are suspected or demoted, and copies of some questions to demoted ones: these are tasks of the tokio
    /// runtime that this is called in, which needs I/O and time.
    ///
    /// # Errors
    /// [`Failure`] when there is nothing to relay; it says what the client is to be told.
    pub async fn ask(&self, question: &Question, choice: &Choice) -> Result<Vec<u8>, Failure> {
        // With `?` the future would have it twice.
        let asking = match self.start(question, choice, None, self.begin_now()) {
            Ok(asking) => asking,
            Err(failure) => return Err(failure),
        };
        asking.await.outcome.map(|reply| reply.message.to_vec())
    }

    /// As [`Forwarder::ask`], and which server the reply is from.
    ///
    /// # Errors
    /// As [`Forwarder::ask`].
    pub async fn ask_naming(&self, question: &Question, choice: &Choice) -> Result<(Vec<u8>, Upstream), Failure> {
        let reply = self.start(question, choice, None, self.begin_now())?.await.outcome?;
        Ok((reply.message.to_vec(), choice.servers[reply.server].clone()))
    }

    /// How a question is asked, and when it begins, if that is now.
    fn begin_now(&self) -> (QueryOptions, Instant) {
        (self.settings.load().query, transport::now())
    }

    /// As [`Forwarder::ask`], with what is needed to wait for a late answer.
    ///
    /// # Errors
    /// As there, if there is nobody to ask.
    fn start<'q>(
        &self,
        question: &'q Question,
        choice: &Choice,
        client: Option<Asker>,
        (mut options, now): (QueryOptions, Instant),
    ) -> Result<impl Future<Output = request::QueryOutcome> + Send + use<'q>, Failure> {
        if let Reason::Blocked(domain) = &choice.reason {
            return Err(Failure::new(rcode::NXDOMAIN, ede::BLOCKED, format!("{domain} is blocked here")));
        }
        if choice.servers.is_empty() {
            return Err(Failure::new(rcode::SERVFAIL, ede::NO_REACHABLE_AUTHORITY, "no upstream is configured"));
        }
        let servers = match &choice.system {
            Some(system) => options.follow(system, &choice.servers),
            None => choice.servers.clone(),
        };
        Ok(request::ask(question, client, self.pools.of(&servers, now), options, now))
    }

    /// Shows all messages to and from upstreams to a tap, probes among them; the first call counts. While the tap is
    /// [off](Tap::is_on), and where there is none, a question costs the same.
    pub fn set_tap(&self, tap: Arc<dyn Tap>) {
        self.pools.set_tap(tap);
    }

    /// How each upstream server does that was asked lately, sorted by address.
    pub fn upstreams(&self) -> Vec<UpstreamStatus> {
        self.pools.status()
    }

    /// Logs each configured upstream that is one of our own addresses, whether or not a question for it comes.
    fn warn_of_own(&self) {
        for servers in self.settings.load().configured() {
            self.self_guard.filter(servers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a question below `example` where nobody is asked.
    async fn failure(routes: Vec<Route>) -> Failure {
        let forwarder =
            Forwarder::new(ForwardOptions { routes, upstreams: vec![].into(), ..ForwardOptions::default() });
        let choice = forwarder.choose(b"\x03www\x07example\x00", &[]);
        let question = b"\x03www\x07example\x00\x00\x01\x00\x01".to_vec();
        forwarder.ask(&Question { question, flags: 0, dnssec_ok: false }, &choice).await.unwrap_err()
    }

    #[tokio::test]
    async fn h6_a_blocked_name_does_not_exist() {
        let block = Route { domain: "example".parse().unwrap(), to: Destination::Servers([].into()) };
        let expected = Failure::new(rcode::NXDOMAIN, ede::BLOCKED, "example is blocked here");
        assert_eq!(failure(vec![block]).await, expected);
    }

    #[tokio::test]
    async fn h6_without_an_upstream_the_failure_says_so() {
        let expected = Failure::new(rcode::SERVFAIL, ede::NO_REACHABLE_AUTHORITY, "no upstream is configured");
        assert_eq!(failure(vec![]).await, expected);
    }

    #[test]
    fn a_forwarder_is_shared_between_threads_and_its_question_between_tasks() {
        fn sendable<T: Send>(value: T) -> T {
            value
        }
        let forwarder = sendable(Arc::new(Forwarder::new(ForwardOptions::default())));
        let choice = forwarder.choose(b"\x00", &[]);
        let question = Question { question: vec![], flags: 0, dnssec_ok: false };
        drop(sendable(forwarder.ask(&question, &choice)));
    }
}
