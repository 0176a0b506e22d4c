//! One question on its way: attempts at the servers as the schedule says, all of them listened to until one reply counts.

use std::borrow::Cow;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tokio::time::timeout;

use super::failure::{Failure, best};
use super::message::{Asker, Meaning, Question, meaning};
use super::resolv_conf::SystemOptions;
use super::select::{self, Schedule, Step, Strict, UpstreamPool};
use super::transport::{
    Attempt, AttemptError, AttemptOptions, Received, Timer, has_ample_sockets, is_ours, is_unreachable, now,
    warn_of_want,
};
use crate::settings::{Order, Transport, Upstream};
use crate::wire::rcode;

/// How long a reply is waited for that comes after the deadline (answers.md F6).
const LATE: Duration = Duration::from_secs(5);

/// How questions are asked: of the options.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueryOptions {
    /// The time for one question.
    pub(super) timeout: Duration,
    /// How the servers are chosen between.
    pub(super) order: Order,
    /// Names in datagrams are spelled at random.
    pub(super) randomize_case: bool,
}

impl QueryOptions {
    /// Does as a resolv.conf wants its servers asked, and gives them in that way. Where they are strictly asked one after
    /// the other their order is our own options' matter.
    pub(super) fn follow(&mut self, options: &SystemOptions, servers: &Arc<[Upstream]>) -> Arc<[Upstream]> {
        if self.order != Order::Strict && options.rotate {
            self.order = Order::RoundRobin;
        }
        match options.use_vc {
            true => servers.iter().map(|server| Upstream::over(Transport::Tcp, server.address().clone())).collect(),
            false => servers.clone(),
        }
    }
}

/// What came of a question.
pub(super) struct QueryOutcome {
    pub(super) outcome: Result<Reply, Failure>,
    /// When.
    pub(super) at: Instant,
    /// The time was over, and there are sockets at which a reply may still come.
    pub(super) late: Option<Late>,
}

/// A reply.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) message: Arc<[u8]>,
    /// The place in the list of the server that gave it.
    pub(super) server: usize,
}

/// See [`Forwarder::ask`](super::Forwarder::ask). No `async fn`, whose future has its arguments
/// twice: there may be thousands.
pub(super) fn ask<'q>(
    question: &'q Question,
    client: Option<Asker>,
    pool: Arc<UpstreamPool>,
    options: QueryOptions,
    start: Instant,
) -> impl Future<Output = QueryOutcome> + Send + 'q {
    let mut plan = Plan::new(question, client, &pool, options, start);
    let mut attempts = QueryAttempts::new(question, client, &pool, options);
    async move {
        let mut timer = Timer::new();
        // Read again after each wait.
        let mut time = start;
        loop {
            // Before the schedule looks at the servers, so that no change is missed.
            let mut change = pin!(plan.is_watching().then(|| pool.changes.notified()));
            let until = match plan.next(time, &pool) {
                Step::Ask(server) => {
                    let event = attempts.ask(server, time);
                    plan.take(server, event, time);
                    continue;
                }
                Step::Repeat(server) => {
                    let event = attempts.repeat(server, time);
                    plan.take(server, event, time);
                    continue;
                }
                Step::Suspect(server) => {
                    pool.servers[server].suspect();
                    continue;
                }
                Step::Silent(server) => {
                    pool.servers[server].warn(&"is slow or does not answer: no reply within its share of the time");
                    continue;
                }
                Step::Give(server) => {
                    let reply = attempts.reply_of(server);
                    return QueryOutcome { outcome: reply.map_or_else(|| attempts.best(), Ok), at: time, late: None };
                }
                Step::Wait(until) => until,
                Step::End => return attempts.end(time),
            };
            // By hand: this is the larger part of what a question holds while it waits, and there may be thousands.
            let ended = poll_fn(|context| {
                if let Poll::Ready(ended) = first(&mut attempts.pending, context) {
                    return Poll::Ready(Some(ended));
                }
                let change = change.as_mut().as_pin_mut().map(|change| change.poll(context));
                let is_over = change.is_some_and(|change| change.is_ready()) || timer.poll(until, context).is_ready();
                if is_over { Poll::Ready(None) } else { Poll::Pending }
            });
            let Some((attempt, result)) = ended.await else {
                time = now();
                continue;
            };
            time = result.as_ref().map_or_else(|_| now(), |received| received.at);
            let server = attempt.server;
            let event = attempts.classify(attempt, result, time);
            plan.take(server, event, time);
        }
    }
}

/// What an attempt has brought, for whoever plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// Nothing that changes the plan.
    Nothing,
    /// A reply that counts, if the server's does. `negative`: there is no such name or record.
    Answered { negative: bool },
    /// A part of a reply, of which the rest is being fetched; `with_reply` if the part can be relayed.
    Heard { with_reply: bool },
    /// The server is done with; `with_reply` if there is something to relay none the less.
    Failed { with_reply: bool },
}

/// Who is asked when.
enum Plan {
    Scheduled(Schedule),
    Strict(Strict),
}

impl Plan {
    fn new(
        question: &Question,
        client: Option<Asker>,
        pool: &Arc<UpstreamPool>,
        options: QueryOptions,
        now: Instant,
    ) -> Plan {
        if options.order == Order::Strict {
            return Plan::Strict(Strict::new(pool.servers.len(), client, options.timeout, now));
        }
        let ranking = pool.rank(options.order, now);
        for &(server, with_question) in &ranking.retries {
            select::retry(&pool.servers[server], with_question.then_some(question));
        }
        for &server in &ranking.unknown {
            pool.servers[server].suspect();
        }
        if let Some(server) = ranking.copy {
            select::copy(&pool.servers[server], question);
        }
        Plan::Scheduled(Schedule::new(options.order, &ranking, client, options.timeout, now))
    }

    fn next(&mut self, now: Instant, pool: &Arc<UpstreamPool>) -> Step {
        match self {
            Plan::Scheduled(schedule) => schedule.next(now, &**pool),
            Plan::Strict(strict) => strict.next(now, &**pool),
        }
    }

    fn is_watching(&self) -> bool {
        match self {
            Plan::Scheduled(schedule) => schedule.is_watching(),
            Plan::Strict(_) => false,
        }
    }

    fn take(&mut self, server: usize, event: Event, now: Instant) {
        match (self, event) {
            (_, Event::Nothing) => {}
            (Plan::Scheduled(schedule), Event::Answered { negative }) => schedule.answered(server, negative),
            (Plan::Scheduled(schedule), Event::Heard { .. }) => schedule.heard(server, now),
            (Plan::Scheduled(schedule), Event::Failed { with_reply }) => schedule.failed(server, with_reply, now),
            (Plan::Strict(strict), Event::Answered { .. }) => strict.answered(server),
            (Plan::Strict(strict), Event::Heard { with_reply }) => strict.heard(server, with_reply),
            (Plan::Strict(strict), Event::Failed { .. }) => strict.failed(server),
        }
    }
}

/// What is known of a server, as far as this question goes.
#[derive(Default)]
struct ServerOutcome {
    first_sent: Option<Instant>,
    no_edns: bool,
    reply: Option<Arc<[u8]>>,
    error: Option<AttemptError>,
}

/// All attempts at one question, and what came of them.
struct QueryAttempts<'a> {
    question: Cow<'a, Question>,
    client: Option<Asker>,
    pool: Arc<UpstreamPool>,
    options: QueryOptions,
    outcomes: SmallVec<[ServerOutcome; 2]>,
    pending: SmallVec<[Attempt; 1]>,
    /// A truncated reply, kept while the whole one is fetched: all that there is to say if that fails.
    truncated: Option<Reply>,
}

impl<'a> QueryAttempts<'a> {
    fn new(
        question: &'a Question,
        client: Option<Asker>,
        pool: &Arc<UpstreamPool>,
        options: QueryOptions,
    ) -> QueryAttempts<'a> {
        let outcomes = pool.servers.iter().map(|_| ServerOutcome::default()).collect();
        let (question, pool) = (Cow::Borrowed(question), pool.clone());
        QueryAttempts { question, client, pool, options, outcomes, pending: SmallVec::new(), truncated: None }
    }

    /// Asks a server in the way that its transport begins with.
    fn ask(&mut self, server: usize, now: Instant) -> Event {
        let outcome = &self.outcomes[server];
        let (edns, randomize_case) = (!outcome.no_edns, self.options.randomize_case);
        let newer_than = outcome.first_sent;
        let client = self.client;
        self.attempt(server, AttemptOptions { edns, randomize_case, newer_than, client, ..AttemptOptions::USUAL }, now)
    }

    /// Asks a server again: the same datagram out of the same socket, or over a new connection.
    fn repeat(&mut self, server: usize, now: Instant) -> Event {
        let Some(index) = self.pending.iter().rposition(|attempt| attempt.server == server && attempt.is_datagram())
        else {
            return self.ask(server, now);
        };
        match self.pending[index].repeat() {
            Ok(()) => {
                self.pool.servers[server].repeated();
                Event::Nothing
            }
            Err(error) => {
                let attempt = self.pending.swap_remove(index);
                self.classify(attempt, Err(error), now)
            }
        }
    }

    fn attempt(&mut self, server: usize, options: AttemptOptions, now: Instant) -> Event {
        self.outcomes[server].first_sent.get_or_insert(now);
        match Attempt::start(server, &self.pool.servers[server].connections, &self.question, options, now) {
            Ok(attempt) => {
                self.pending.push(attempt);
                Event::Nothing
            }
            Err(error) => self.break_off(server, now, options, true, error),
        }
    }

    /// What an attempt's end means, and what is done next.
    fn classify(&mut self, attempt: Attempt, result: io::Result<Received>, now: Instant) -> Event {
        let (server, options, is_datagram) = (attempt.server, attempt.options, attempt.is_datagram());
        let received = match result {
            Ok(received) => received,
            Err(error) => return self.break_off(server, attempt.sent, options, is_datagram, error),
        };
        self.pool.servers[server].answered(&attempt, &received);
        attempt.finish(now);
        let reply = received.message;
        match meaning(&reply) {
            Meaning::NoEdns if options.edns => {
                self.outcomes[server].no_edns = true;
                self.attempt(server, AttemptOptions { edns: false, newer_than: None, ..options }, now)
            }
            found
                if is_datagram
                    && (received.cut || received.respelled || matches!(found, Meaning::Truncated { .. })) =>
            {
                let whole = matches!(found, Meaning::Truncated { whole: true }) && !received.cut && !received.respelled;
                if whole {
                    self.truncated.get_or_insert(Reply { message: reply, server });
                }
                match self.attempt(server, AttemptOptions { connected: true, newer_than: None, ..options }, now) {
                    Event::Nothing => Event::Heard { with_reply: whole },
                    event => event,
                }
            }
            Meaning::Truncated { whole: true } => self.answer(server, reply, false),
            Meaning::Final { negative } => self.answer(server, reply, negative),
            // The first reply counts, whatever it says.
            Meaning::NoEdns | Meaning::Failed(_) if self.options.order == Order::Strict => {
                self.answer(server, reply, false)
            }
            Meaning::NoEdns => self.fail(server, AttemptError::Failed { rcode: rcode::FORMERR, reply }),
            Meaning::Failed(rcode) => self.fail(server, AttemptError::Failed { rcode, reply }),
            Meaning::Truncated { whole: false } | Meaning::Malformed => self.fail(server, AttemptError::Malformed),
        }
    }

    fn answer(&mut self, server: usize, reply: Arc<[u8]>, negative: bool) -> Event {
        self.pending.retain(|attempt| attempt.server != server);
        self.outcomes[server].reply = Some(reply);
        Event::Answered { negative }
    }

    /// An attempt ended with an error of the system, of a connection or of a handshake.
    fn break_off(
        &mut self,
        server: usize,
        sent: Instant,
        options: AttemptOptions,
        is_datagram: bool,
        error: io::Error,
    ) -> Event {
        if is_ours(&error) {
            // The server has nothing to do with it: like a lost packet, it is sent again.
            warn_of_want(&error);
            self.outcomes[server].error.get_or_insert(AttemptError::Network(error));
            return Event::Nothing;
        }
        let state = &self.pool.servers[server];
        let is_unreachable = is_unreachable(&error, is_datagram);
        let error = AttemptError::Network(error);
        match (is_unreachable, self.options.order) {
            // The server has just answered a datagram, whatever its TCP does: it fails this question, and no other.
            _ if options.connected => {}
            (true, Order::Strict) => state.warn(&format_args!("does not answer: {error}")),
            (true, _) => state.unreachable(sent, &error),
            // It may be what was asked that made it hang up: a probe tells.
            (false, Order::Strict) => {}
            (false, _) => state.suspect(),
        }
        self.fail(server, error)
    }

    /// The server is done with.
    fn fail(&mut self, server: usize, error: AttemptError) -> Event {
        tracing::debug!(upstream = %self.pool.servers[server].upstream(), %error, "failed");
        self.pool.servers[server].failed();
        self.pending.retain(|attempt| attempt.server != server);
        let with_reply = self.truncated.is_some() || matches!(error, AttemptError::Failed { .. });
        self.outcomes[server].error = Some(error);
        Event::Failed { with_reply }
    }

    /// The time is over, or nobody is left to wait for.
    fn end(mut self, at: Instant) -> QueryOutcome {
        let outcome = self.best();
        for (server, state) in self.pool.servers.iter().enumerate() {
            if self.pending.iter().any(|attempt| attempt.server == server) {
                state.timed_out();
            }
        }
        let late = (!self.pending.is_empty() && has_ample_sockets()).then(|| {
            let question = Cow::Owned(self.question.into_owned());
            Late(QueryAttempts { question, ..self })
        });
        QueryOutcome { outcome, at, late }
    }

    /// The answer of a server, if there is one.
    fn reply_of(&mut self, server: usize) -> Option<Reply> {
        let message = self.outcomes[server].reply.take()?;
        Some(Reply { message, server })
    }

    /// The best of what there is without an answer.
    fn best(&mut self) -> Result<Reply, Failure> {
        if let Some(truncated) = self.truncated.take() {
            return Ok(truncated);
        }
        let servers = self.pool.servers.iter().map(|server| server.upstream());
        best(self.outcomes.iter_mut().map(|outcome| outcome.error.take()).collect(), servers)
    }
}

/// A question whose time is over.
pub(super) struct Late(QueryAttempts<'static>);

impl Late {
    /// The first answer to come within [`LATE`]. Where the list has a meaning a negative one counts only of the first
    /// server that is still listened to.
    pub(super) async fn answer(&mut self) -> Option<Reply> {
        let Late(attempts) = self;
        let first_server = attempts.pending.iter().map(|attempt| attempt.server).min()?;
        let is_listed = attempts.options.order == Order::Listed;
        let wait = async {
            while !attempts.pending.is_empty() {
                let (attempt, result) = poll_fn(|context| first(&mut attempts.pending, context)).await;
                let server = attempt.server;
                match attempts.classify(attempt, result, now()) {
                    Event::Answered { negative: true } if is_listed && server > first_server => {}
                    Event::Answered { .. } => return attempts.reply_of(server),
                    _ => {}
                }
            }
            None
        };
        timeout(LATE, wait).await.ok().flatten()
    }

    /// What is waited for.
    pub(super) fn question(&self) -> &Question {
        &self.0.question
    }
}

/// The first attempt to end, taken out of `pending`. While there is none, for ever.
fn first(pending: &mut SmallVec<[Attempt; 1]>, context: &mut Context<'_>) -> Poll<(Attempt, io::Result<Received>)> {
    for index in 0..pending.len() {
        if let Poll::Ready(result) = pending[index].poll(context) {
            return Poll::Ready((pending.swap_remove(index), result));
        }
    }
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f2_the_options_of_a_resolv_conf_are_honoured() {
        let servers: Arc<[Upstream]> = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap()).into();
        let usual = QueryOptions { timeout: Duration::from_secs(4), order: Order::Listed, randomize_case: false };
        let followed_by = |mut options: QueryOptions, change: fn(&mut SystemOptions)| {
            let mut system = SystemOptions::default();
            change(&mut system);
            let servers = options.follow(&system, &servers);
            (options.timeout.as_secs(), options.order, servers[1].to_string())
        };
        let followed = |change| followed_by(usual, change);
        assert_eq!(followed(|_| ()), (4, Order::Listed, "10.0.0.2:53".to_owned()));
        let all = |options: &mut SystemOptions| {
            (options.rotate, options.use_vc) = (true, true);
        };
        assert_eq!(followed(all), (4, Order::RoundRobin, "tcp://10.0.0.2:53".to_owned()));
        let strict = QueryOptions { order: Order::Strict, ..usual };
        assert_eq!(followed_by(strict, all), (4, Order::Strict, "tcp://10.0.0.2:53".to_owned()));
    }
}
