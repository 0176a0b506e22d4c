//! A question's way through cache, coalescing and upstreams.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;
use tokio::time::timeout_at;

use super::cache::{Age, Answer, CachePolicy, KeyRef, Kind, Lookup, QueryFlags, TtlBounds, seconds, write_failed};
use super::coalesce::{Joined, LateWait, Leader, Outcome, ReplySource, Resolved, Waiter};
use super::counters::{Counters, Event};
use super::failure::Failure;
use super::request::{Late, QueryOptions, QueryOutcome, Reply};
use super::route::CompiledOptions;
use super::transport::now;
use super::{Asked, AskedEdns};
use super::{Asker, CacheEntry, CacheState, Choice, ForwardOptions, Forwarder, Order, Question, Unanswered};
use crate::wire::message::{HEADER, Header, flag};
use crate::wire::{ede, rcode};

/// What a client hears whose question cannot be asked because too many wait (answers.md L2).
pub(crate) const TOO_MANY: &str = "too many questions wait for upstreams";

impl CachePolicy {
    pub(super) fn new(options: &ForwardOptions) -> CachePolicy {
        CachePolicy {
            size: options.cache_size,
            clamp: TtlBounds { least: seconds(options.min_ttl), most: seconds(options.max_ttl) },
            stale_for: options.stale_for,
        }
    }
}

/// What kind of question it is. `None` if it is none.
fn kind(question: &[u8], flags: u16, dnssec_ok: bool) -> Option<Kind> {
    let (_, &[t0, t1, c0, c1]) = question.split_last_chunk::<4>()?;
    let (rtype, class) = (u16::from_be_bytes([t0, t1]), u16::from_be_bytes([c0, c1]));
    Some(Kind { rtype, class, bits: QueryFlags::of(flags, dnssec_ok) })
}

/// A name in lower case, in memory of its own only where it is very long.
fn lower_case(name: &[u8]) -> SmallVec<[u8; 256]> {
    let mut name = SmallVec::from_slice(name);
    name.make_ascii_lowercase();
    name
}

/// True if the AD bit of the answer says something to who asks so (RFC 6840 §5.7, §5.8).
fn wants_ad(flags: u16, dnssec_ok: bool) -> bool {
    dnssec_ok || flags & flag::AD != 0
}

/// What becomes of a question.
enum Begun {
    Known(Outcome),
    /// It is blocked or there is nobody to ask, which `ask` says.
    Unkeyed,
    /// It has to be asked; with what there is to give if that takes too long.
    First(Leader, Option<Arc<Answer>>, QueryOptions),
    /// It is asked already.
    Another(Waiter, Option<Arc<Answer>>),
}

impl Forwarder {
    /// Writes the reply to a question that can be answered at once, and gives its length: from the cache, from what is past
    /// its TTL if upstreams are known to fail, or the failure itself. `None` if upstreams have to be asked: see
    /// [`Forwarder::resolve`].
    ///
    /// `name` is the name of the client's question in lower case, `choice` what [`Forwarder::choose`] gave for it. Allocates
    /// nothing, except when it starts to ask for a popular answer that is about to expire; that needs a tokio runtime, and is
    /// left where there is none.
    pub fn cached(self: &Arc<Self>, name: &[u8], choice: &Choice, asked: &Asked<'_>, out: &mut [u8]) -> Option<usize> {
        self.cached_as(name, choice, asked, out).map(|(len, _)| len)
    }

    /// As [`Forwarder::cached`], and what the reply is made of.
    pub(crate) fn cached_as(
        self: &Arc<Self>,
        name: &[u8],
        choice: &Choice,
        asked: &Asked<'_>,
        out: &mut [u8],
    ) -> Option<(usize, CacheState)> {
        self.at_hand(name, choice, asked, false, out)
    }

    /// As [`Forwarder::cached`], for a question that must not be asked because too many are: whatever there is, however old
    /// within [`ForwardOptions::stale_for`].
    pub fn cached_or_stale(
        self: &Arc<Self>,
        name: &[u8],
        choice: &Choice,
        asked: &Asked<'_>,
        out: &mut [u8],
    ) -> Option<usize> {
        let len = self.at_hand(name, choice, asked, true, out).map(|(len, _)| len);
        if len.is_none() {
            self.counters.count(Event::Overloaded);
        }
        len
    }

    fn at_hand(
        self: &Arc<Self>,
        name: &[u8],
        choice: &Choice,
        asked: &Asked<'_>,
        expired: bool,
        out: &mut [u8],
    ) -> Option<(usize, CacheState)> {
        if choice.servers.is_empty() || !asked.aliases.is_empty() {
            return None;
        }
        let dnssec_ok = asked.edns.is_some_and(|edns| edns.dnssec_ok);
        let key = self.cache.key(name, kind(asked.question, asked.flags, dnssec_ok)?, &choice.servers);
        debug_assert!(asked.question[..asked.question.len() - 4].eq_ignore_ascii_case(name));
        let wants_ad = wants_ad(asked.flags, dnssec_ok);
        let now = self.clock.now();
        let settings = self.settings.load();
        match self.cache.find(key, wants_ad, &settings.rules, now) {
            Lookup::Fresh(answer, age) => {
                let len = answer.write(age, wants_ad && choice.trusts_ad(), asked, out)?;
                self.counters.count(Event::Hit);
                if answer.hit(now) {
                    let (question, flags) = (asked.question.to_vec(), asked.flags);
                    self.prefetch(key, Question { question, flags, dnssec_ok }, choice);
                }
                Some((len, CacheState::Fresh))
            }
            Lookup::Stale(answer) => self.write_stale(&answer, asked, out),
            Lookup::Expired(answer) if expired => self.write_stale(&answer, asked, out),
            Lookup::Failed(failed) => {
                let len = write_failed(&failed, asked, out)?;
                self.counters.count(Event::CachedFailure);
                Some((len, CacheState::Failed))
            }
            Lookup::Expired(_) | Lookup::Nothing => None,
        }
    }

    fn write_stale(&self, answer: &Answer, asked: &Asked<'_>, out: &mut [u8]) -> Option<(usize, CacheState)> {
        let len = answer.write(Age::Stale, false, asked, out)?;
        self.counters.count(Event::Stale);
        Some((len, CacheState::Expired))
    }

    /// Gets the reply to a question: from the cache, from an identical question that is being asked, or by
    /// [`Forwarder::ask`]; for [`relay`](super::relay). Where that takes longer than [`ForwardOptions::stale_after`] or comes
    /// to nothing, an answer past its TTL takes its place, with TTLs of 30 s and extended error 3 (RFC 8767).
    ///
    /// Dropping the future ends the wait; the question stays asked, and its answer is kept. Needs a tokio runtime.
    ///
    /// # Errors
    /// As [`Forwarder::ask`]; and extended error 13 if the failure is one that was remembered.
    pub async fn resolve(self: &Arc<Self>, question: &Question, choice: &Choice) -> Result<Arc<Vec<u8>>, Failure> {
        self.resolve_by(question, choice, None, false).await.map(|resolved| Arc::new(resolved.message.to_vec()))
    }

    /// As [`Forwarder::resolve`], for a task that has nothing else to do and is never cut short: what has to be asked is
    /// asked by this future itself, and not by a task of its own. Dropping it ends the question for all who wait for it.
    /// What `client` uses up of repeats and sockets is taken from its share.
    pub(crate) fn resolve_here(
        self: &Arc<Self>,
        question: &Question,
        choice: &Choice,
        client: Asker,
    ) -> impl Future<Output = Result<Resolved, Failure>> {
        self.resolve_by(question, choice, Some(client), true)
    }

    async fn resolve_by(
        self: &Arc<Self>,
        question: &Question,
        choice: &Choice,
        client: Option<Asker>,
        here: bool,
    ) -> Outcome {
        let wants_ad = wants_ad(question.flags, question.dnssec_ok);
        let now = now();
        let outcome = match self.begin(question, choice, here, now) {
            Begun::Known(outcome) => return outcome,
            Begun::Unkeyed => return self.ask_alone(question, choice).await,
            Begun::First(leader, None, options) if here => {
                self.carry_out(question, choice, client, leader, (options, now)).await
            }
            Begun::First(leader, expired, options) => {
                let Some(waiter) = leader.wait() else { return self.ask_alone(question, choice).await };
                self.launch(question.clone(), choice.clone(), client, leader, (options, now));
                self.wait(waiter, expired, question).await
            }
            Begun::Another(waiter, expired) => self.wait(waiter, expired, question).await,
        };
        outcome.map(|reply| given(reply, wants_ad && choice.trusts_ad()))
    }

    /// Asks without cache or coalescing.
    async fn ask_alone(&self, question: &Question, choice: &Choice) -> Outcome {
        // With `?` the future would have it twice.
        let asking = match self.start(question, choice, None, self.begin_now()) {
            Ok(asking) => asking,
            Err(failure) => return Err(failure),
        };
        asking.await.outcome.map(Resolved::from)
    }

    /// What there is to wait for. Apart from the wait, which holds nothing of what is needed here. `is_missed`: the caller
    /// has just looked into the cache, in vain.
    fn begin(self: &Arc<Self>, question: &Question, choice: &Choice, is_missed: bool, now: Instant) -> Begun {
        let kind = kind(&question.question, question.flags, question.dnssec_ok);
        let Some(kind) = kind.filter(|_| !choice.servers.is_empty()) else { return Begun::Unkeyed };
        let name = lower_case(question.name());
        let key = self.cache.key(&name, kind, &choice.servers);
        let settings = self.settings.load();
        let wants_ad = wants_ad(question.flags, question.dnssec_ok);
        let mut expired = None;
        let mut at_hand = || match self.outcome_at_hand(key, wants_ad, question, choice, &settings.rules, now) {
            Ok(outcome) => Some(outcome),
            Err(answer) => {
                expired = answer;
                None
            }
        };
        if !is_missed && let Some(outcome) = at_hand() {
            return Begun::Known(outcome);
        }
        match self.in_flight.join(key, settings.in_flight, now, &mut at_hand) {
            Joined::Known(outcome) => Begun::Known(outcome),
            Joined::First(leader) => {
                self.counters.count(Event::Miss);
                Begun::First(leader, expired, settings.query)
            }
            Joined::Another(waiter) => {
                // What is asked ahead of need is there as yet.
                if is_missed && let Some(outcome) = at_hand() {
                    return Begun::Known(outcome);
                }
                self.counters.count(Event::Coalesced);
                Begun::Another(waiter, expired)
            }
            Joined::Full => {
                self.counters.count(Event::Overloaded);
                Begun::Known(match &expired {
                    Some(answer) => Ok(self.stale(answer, question)),
                    None => Err(Failure::new(rcode::SERVFAIL, ede::OTHER, TOO_MANY)),
                })
            }
        }
    }

    /// The outcome, if it is known without asking; else what there is to give if asking takes too long.
    fn outcome_at_hand(
        &self,
        key: KeyRef<'_>,
        wants_ad: bool,
        question: &Question,
        choice: &Choice,
        rules: &CachePolicy,
        now: Instant,
    ) -> Result<Outcome, Option<Arc<Answer>>> {
        match self.cache.find(key, wants_ad, rules, self.clock.at(now)) {
            Lookup::Fresh(answer, age) => {
                self.counters.count(Event::Hit);
                let message = whole(&answer, age, wants_ad && choice.trusts_ad(), question);
                Ok(Ok(Resolved { message, from: ReplySource::Cache(CacheState::Fresh) }))
            }
            Lookup::Stale(answer) => Ok(Ok(self.stale(&answer, question))),
            Lookup::Failed(failed) => {
                self.counters.count(Event::CachedFailure);
                Ok(Err(Failure::new(failed.rcode, ede::CACHED_ERROR, failed.text.to_string())))
            }
            Lookup::Expired(answer) => Err(Some(answer)),
            Lookup::Nothing => Err(None),
        }
    }

    /// Waits for the outcome, or for as long as there is patience if there is something to give instead.
    async fn wait(&self, mut waiter: Waiter, expired: Option<Arc<Answer>>, question: &Question) -> Outcome {
        let Some(expired) = expired else { return waiter.outcome().await };
        let patience = self.settings.load().stale_after;
        // A clock that cannot say when is one that need not.
        let outcome = match waiter.started.checked_add(patience) {
            Some(until) => timeout_at(until, waiter.outcome()).await.ok(),
            None => Some(waiter.outcome().await),
        };
        let rules = self.settings.load().rules;
        match outcome {
            Some(Ok(reply)) if failure_code(&reply.message).is_none() => Ok(reply),
            // Another question for the name may have been told meanwhile that it does not exist.
            None | Some(_) if expired.is_usable_stale(self.clock.now(), rules.stale_for) => {
                Ok(self.stale(&expired, question))
            }
            Some(outcome) => outcome,
            None => waiter.outcome().await,
        }
    }

    fn stale(&self, answer: &Answer, question: &Question) -> Resolved {
        self.counters.count(Event::Stale);
        let message = whole(answer, Age::Stale, false, question);
        Resolved { message, from: ReplySource::Cache(CacheState::Expired) }
    }

    /// Asks, whoever goes on waiting.
    fn launch(
        self: &Arc<Self>,
        question: Question,
        choice: Choice,
        client: Option<Asker>,
        leader: Leader,
        begin: (QueryOptions, Instant),
    ) {
        let forwarder = self.clone();
        tokio::spawn(async move { forwarder.carry_out(&question, &choice, client, leader, begin).await });
    }

    /// Asks, and takes note of the outcome before it is given out: who comes later finds it. No `async fn`, whose future has
    /// its arguments twice.
    #[expect(clippy::manual_async_fn, reason = "its future has the arguments twice")]
    fn carry_out<'q>(
        self: &'q Arc<Self>,
        question: &'q Question,
        choice: &'q Choice,
        client: Option<Asker>,
        leader: Leader,
        begin: (QueryOptions, Instant),
    ) -> impl Future<Output = Outcome> + Send + 'q {
        async move {
            let asking = match self.start(question, choice, client, begin) {
                Ok(asking) => asking,
                Err(failure) => {
                    leader.finish(&Err(failure.clone()));
                    return Err(failure);
                }
            };
            let asked = match leader.wait_for_late() {
                None => asking.await,
                // Rare, and so in memory of its own.
                Some(waiter) => match Box::pin(ask_beside(waiter, asking)).await {
                    Ok(asked) => asked,
                    Err(outcome) => {
                        leader.finish(&outcome);
                        return outcome;
                    }
                },
            };
            let settings = self.settings.load();
            let clamp = settings.rules.clamp;
            let outcome = asked.outcome.map(|mut reply| {
                // The first to ask hears of no other TTLs than those who come later (answers.md F8).
                clamp.apply(Arc::make_mut(&mut reply.message));
                Resolved::from(reply)
            });
            self.note(leader.key().borrowed(), question, choice, &outcome, &settings, asked.at);
            if let Some(late) = asked.late
                && let Some(lingering) = self.in_flight.linger(&leader, settings.in_flight)
            {
                self.wait_for_late(late, choice.clone(), lingering);
            }
            leader.finish(&outcome);
            outcome
        }
    }

    /// Keeps the answer that comes after the deadline, and gives it to those who have asked again meanwhile (answers.md F6).
    fn wait_for_late(self: &Arc<Self>, mut late: Late, choice: Choice, mut lingering: LateWait) {
        let forwarder = self.clone();
        tokio::spawn(async move {
            let answer = tokio::select! {
                biased;
                answer = late.answer() => answer,
                () = lingering.displaced() => None,
            };
            if let Some(mut reply) = answer {
                let settings = forwarder.settings.load();
                settings.rules.clamp.apply(Arc::make_mut(&mut reply.message));
                let outcome = Ok(Resolved::from(reply));
                forwarder.note(lingering.key().borrowed(), late.question(), &choice, &outcome, &settings, now());
                lingering.finish(&outcome);
            }
        });
    }

    /// True if a question that failed so is not to be answered.
    pub fn keeps_silent(&self, failure: &Failure) -> bool {
        let is_unanswered = matches!(failure.ede, ede::NO_REACHABLE_AUTHORITY | ede::NETWORK_ERROR);
        is_unanswered && self.settings.load().unanswered == Unanswered::Silence
    }

    fn note(
        &self,
        key: KeyRef<'_>,
        question: &Question,
        choice: &Choice,
        outcome: &Outcome,
        settings: &CompiledOptions,
        at: Instant,
    ) {
        let now = self.clock.at(at);
        let rules = settings.rules;
        let is_strict = settings.query.order == Order::Strict;
        let with_ad = wants_ad(question.flags, question.dnssec_ok);
        match outcome {
            Ok(reply) => match failure_code(&reply.message) {
                None => self.cache.replied(key, &reply.message, with_ad, &rules, now),
                Some(_) if is_strict => {}
                Some(code) => {
                    let text = format!("an upstream said {} a moment ago", rcode::mnemonic(code));
                    self.cache.failed(key, code, &text, &rules, now);
                }
            },
            Err(failure) => {
                // One that is remembered would be answered.
                if !is_strict && settings.unanswered != Unanswered::Silence {
                    self.cache.failed(key, failure.rcode, &failure.text, &rules, now);
                }
                // Perhaps these servers are not the system's any more.
                settings.recheck(choice);
            }
        }
    }

    /// Asks for an answer again before it expires.
    fn prefetch(self: &Arc<Self>, key: KeyRef<'_>, question: Question, choice: &Choice) {
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let most = self.settings.load().in_flight;
        let begin = self.begin_now();
        if let Some(leader) = self.in_flight.prefetch(key, most, begin.1) {
            self.counters.count(Event::Prefetched);
            self.launch(question, choice.clone(), None, leader, begin);
        }
    }

    /// The first `limit` entries of the cache by name, of those whose names (lower-cased wire form) are wanted; and how many
    /// are wanted in all.
    pub fn cache_entries(&self, limit: usize, is_wanted: impl Fn(&[u8]) -> bool) -> (Vec<CacheEntry>, usize) {
        self.cache.entries(limit, is_wanted, self.clock.now())
    }

    /// Takes the entries out of the cache whose names (lower-cased wire form) are wanted out, and gives how many went. A
    /// question that is being asked is not one of them: its answer is kept when it comes.
    pub fn flush_cache(&self, is_wanted: impl Fn(&[u8]) -> bool) -> usize {
        self.cache.flush(is_wanted)
    }

    /// What was done and is there, as plain values.
    pub fn counters(&self) -> Counters {
        let (entries, bytes) = self.cache.size();
        Counters { entries, bytes, in_flight: self.in_flight.count(), ..self.counters.sums() }
    }

    /// Takes note of a reply as if the question had been asked. For the fuzz target, whose upstream has no socket.
    #[doc(hidden)]
    pub fn take_reply(&self, question: &Question, choice: &Choice, reply: Vec<u8>) {
        if let Some(kind) = kind(&question.question, question.flags, question.dnssec_ok) {
            let name = lower_case(question.name());
            let reply = Reply { message: reply.into(), server: 0 };
            let key = self.cache.key(&name, kind, &choice.servers);
            self.note(key, question, choice, &Ok(reply.into()), &self.settings.load(), now());
        }
    }

    /// Lets the cache believe that so much time has passed. For tests: nothing else of time is changed.
    #[doc(hidden)]
    pub fn put_cache_clock_forward(&self, time: std::time::Duration) {
        self.clock.put_forward(time);
    }
}

/// The message that an upstream would have sent: answer, TTLs, extended errors.
fn whole(answer: &Answer, age: Age, authenticated: bool, question: &Question) -> Arc<[u8]> {
    let mut out = vec![0; usize::from(u16::MAX)];
    let asked = Asked {
        id: 0,
        flags: question.flags,
        question: &question.question,
        limit: out.len(),
        edns: Some(AskedEdns { dnssec_ok: question.dnssec_ok, options: &[] }),
        aliases: &[],
    };
    let len = answer.write(age, authenticated, &asked, &mut out).unwrap_or(0);
    out[..len].into()
}

/// The response code of a reply that says that the server cannot help.
fn failure_code(reply: &[u8]) -> Option<u16> {
    let code = Header::read(reply)?.rcode();
    matches!(code, rcode::FORMERR | rcode::SERVFAIL | rcode::NOTIMP | rcode::REFUSED).then_some(code)
}

/// The reply as it is given to one who waited for it: with AD only where that says something to him (RFC 6840 §5.8).
fn given(reply: Resolved, authenticated: bool) -> Resolved {
    if authenticated { reply } else { Resolved { message: without_ad(reply.message), ..reply } }
}

impl From<Reply> for Resolved {
    fn from(reply: Reply) -> Resolved {
        Resolved { message: reply.message, from: ReplySource::Upstream(reply.server) }
    }
}

/// The reply with AD=0.
fn without_ad(mut reply: Arc<[u8]>) -> Arc<[u8]> {
    let has_ad = reply.len() >= HEADER && reply[3] & flag::AD as u8 != 0;
    if has_ad {
        Arc::make_mut(&mut reply)[3] &= !(flag::AD as u8);
    }
    reply
}

/// Asks while somebody else still waits for an answer to the same question. The error is the outcome if that comes first.
async fn ask_beside(mut waiter: Waiter, asking: impl Future<Output = QueryOutcome>) -> Result<QueryOutcome, Outcome> {
    tokio::select! {
        biased;
        outcome = waiter.outcome() => Err(outcome),
        asked = asking => Ok(asked),
    }
}
