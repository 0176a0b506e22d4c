//! One question: attempts at the servers as `policy` says, all of them listened to until one has a reply.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tokio::time::timeout_at;

use super::attempt::{Manner, Problem, Received, attempt};
use super::datagram::is_ours;
use super::failure::{Failure, best};
use super::group::Group;
use super::health::Health;
use super::options::FailOver;
use super::order::Order;
use super::policy::{Policy, Step};
use super::query::{Meaning, Question, meaning};
use super::sequence::Sequence;
use super::server::now;
use super::system::SystemOptions;
use crate::table::{Transport, Upstream};
use crate::wire::rcode;

/// How questions are asked: of the options.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    /// The time for one question.
    pub(super) timeout: Duration,
    /// How the servers are chosen between.
    pub(super) order: Order,
    /// How one server follows another.
    pub(super) fail_over: FailOver,
    /// Names in datagrams are spelled at random.
    pub(super) randomize_case: bool,
}

impl Asking {
    /// Does as a resolv.conf wants its servers asked, and gives them in that way. Its `timeout` and `attempts` bound the
    /// whole time, as a resolver would take it that asks one server after the other. Where that is how they are asked their
    /// order and time are our own options' matter.
    pub(super) fn limit(&mut self, options: &SystemOptions, servers: &Arc<[Upstream]>) -> Arc<[Upstream]> {
        let is_ours = self.fail_over == FailOver::Sequential;
        if !is_ours && (options.timeout.is_some() || options.attempts.is_some()) {
            let turns = u32::from(options.attempts.unwrap_or(2)) * u32::try_from(servers.len()).unwrap_or(u32::MAX);
            let turn = Duration::from_secs(options.timeout.unwrap_or(5).into());
            self.timeout = self.timeout.min(turn.saturating_mul(turns));
        }
        if !is_ours && options.rotate {
            self.order = Order::RoundRobin;
        }
        match options.use_vc {
            true => servers.iter().map(|server| Upstream::over(Transport::Tcp, server.address().clone())).collect(),
            false => servers.clone(),
        }
    }
}

/// See [`Forwarder::ask`](super::Forwarder::ask).
pub(super) async fn ask(question: &Question, group: &Group, asking: Asking) -> Result<Vec<u8>, Failure> {
    let mut policy = Turns::new(question, group, asking);
    let mut round = Round::new(question, group, asking);
    loop {
        let until = match policy.next(now()) {
            Step::Ask(server) => {
                round.ask(server);
                continue;
            }
            Step::Late(server, sent) => {
                tracing::debug!(upstream = %group.servers[server].upstream, "slower than usual");
                group.servers[server].late(sent, now());
                continue;
            }
            Step::Leave(server, sent) => {
                round.leave(server, sent);
                continue;
            }
            Step::Wait(until) => until,
            Step::End => break,
        };
        let Ok((attempt, result)) = timeout_at(until.into(), first(&mut round.pending)).await else { continue };
        if let Some(reply) = round.judge(attempt, result, &mut policy) {
            round.was_answered();
            return Ok(reply);
        }
    }
    round.end()
}

/// Whose turn it is, by either policy.
#[expect(clippy::large_enum_variant, reason = "the larger one is the usual one")]
enum Turns {
    Adaptive(Policy),
    Sequential(Sequence),
}

impl Turns {
    fn new(question: &Question, group: &Group, asking: Asking) -> Turns {
        if asking.fail_over == FailOver::Sequential {
            let streams = group.servers.iter().map(|server| server.upstream.transport() != Transport::Plain);
            return Turns::Sequential(Sequence::new(streams, asking.timeout));
        }
        let plan = group.plan(asking.order, now());
        if let Some(probe) = plan.probe {
            group.servers[probe].probe(question, asking.timeout);
        }
        Turns::Adaptive(Policy::new(&plan.candidates, asking.timeout, now()))
    }

    fn next(&mut self, now: Instant) -> Step {
        match self {
            Turns::Adaptive(policy) => policy.next(now),
            Turns::Sequential(sequence) => sequence.next(now),
        }
    }

    fn failed(&mut self, server: usize, with_reply: bool, now: Instant) {
        match self {
            Turns::Adaptive(policy) => policy.failed(server, with_reply, now),
            Turns::Sequential(sequence) => sequence.failed(server, with_reply),
        }
    }

    fn heard(&mut self, server: usize, with_reply: bool) {
        match self {
            Turns::Adaptive(policy) => policy.heard(server, with_reply),
            Turns::Sequential(sequence) => sequence.heard(server, with_reply),
        }
    }
}

/// The most sockets that one question has open to one server.
const SOCKETS: usize = 3;

/// An attempt under way.
struct Attempt<'a> {
    server: usize,
    sent: Instant,
    manner: Manner,
    future: Pin<Box<dyn Future<Output = io::Result<Received>> + Send + 'a>>,
}

/// What is known of a server, as far as this question goes.
#[derive(Default)]
struct Known {
    first_sent: Option<Instant>,
    no_edns: bool,
    problem: Option<Problem>,
}

/// All attempts at one question, and what came of them.
struct Round<'a> {
    question: &'a Question,
    group: &'a Group,
    asking: Asking,
    known: SmallVec<[Known; 4]>,
    pending: Vec<Attempt<'a>>,
    /// A truncated reply, kept while the whole one is fetched: all that there is to say if that fails.
    truncated: Option<Vec<u8>>,
}

impl<'a> Round<'a> {
    fn new(question: &'a Question, group: &'a Group, asking: Asking) -> Round<'a> {
        let known = group.servers.iter().map(|_| Known::default()).collect();
        Round { question, group, asking, known, pending: Vec::new(), truncated: None }
    }

    /// Asks a server in the way that its transport begins with.
    fn ask(&mut self, server: usize) {
        let known = &self.known[server];
        let randomize_case = self.asking.randomize_case;
        let manner = Manner { connected: false, edns: !known.no_edns, randomize_case, newer_than: known.first_sent };
        self.attempt(server, manner);
    }

    fn attempt(&mut self, server: usize, manner: Manner) {
        let (asked, question, sent) = (&self.group.servers[server], self.question, now());
        asked.asked();
        self.known[server].first_sent.get_or_insert(sent);
        // Each datagram has a socket of its own: of those to one server only the latest are still listened to.
        let datagrams = || self.pending.iter().filter(|attempt| attempt.server == server && !attempt.manner.connected);
        if datagrams().count() >= SOCKETS
            && let Some(oldest) = datagrams().map(|attempt| attempt.sent).min()
        {
            self.pending
                .retain(|attempt| attempt.server != server || attempt.manner.connected || attempt.sent != oldest);
        }
        self.pending.push(Attempt { server, sent, manner, future: Box::pin(attempt(asked, question, manner)) });
    }

    /// What an attempt's end means: the reply, or what is done next.
    fn judge(&mut self, tried: Ended, result: io::Result<Received>, policy: &mut Turns) -> Option<Vec<u8>> {
        let Ended { server, sent, manner } = tried;
        let received = match result {
            Ok(received) => received,
            Err(error) if is_ours(&error) => {
                // The server has nothing to do with it: like a lost packet, it is sent again.
                self.known[server].problem.get_or_insert(Problem::Network(error));
                return None;
            }
            Err(error) => {
                self.group.servers[server].with(|health| health.broke(sent, now()));
                self.fail(server, Problem::Network(error), policy);
                return None;
            }
        };
        let datagram = !manner.connected && self.group.servers[server].upstream.transport() == Transport::Plain;
        // The way over TCP, after a datagram, does not say how fast the datagrams are.
        let is_measure = received.reused && !manner.connected;
        self.group.servers[server].answered(is_measure.then(|| now() - sent));
        let reply = received.message;
        match meaning(&reply) {
            Meaning::NoEdns if manner.edns => {
                self.known[server].no_edns = true;
                self.attempt(server, Manner { edns: false, newer_than: None, ..manner });
            }
            found if datagram && (received.cut || received.respelled || matches!(found, Meaning::Truncated { .. })) => {
                let whole = matches!(found, Meaning::Truncated { whole: true }) && !received.cut && !received.respelled;
                if whole {
                    self.truncated.get_or_insert(reply);
                }
                policy.heard(server, whole);
                self.attempt(server, Manner { connected: true, newer_than: None, ..manner });
            }
            Meaning::Truncated { whole: true } | Meaning::Final => {
                self.group.servers[server].with(Health::helped);
                return Some(reply);
            }
            // The first answer counts, whatever it says.
            Meaning::NoEdns | Meaning::Failed(_) if self.asking.fail_over == FailOver::Sequential => {
                return Some(reply);
            }
            Meaning::NoEdns => self.fail(server, Problem::Failed { rcode: rcode::FORMERR, reply }, policy),
            Meaning::Failed(rcode) => self.fail(server, Problem::Failed { rcode, reply }, policy),
            Meaning::Truncated { whole: false } | Meaning::Malformed => self.fail(server, Problem::Malformed, policy),
        }
        None
    }

    /// The server's turn is over, and it was silent.
    fn leave(&mut self, server: usize, sent: Instant) {
        tracing::debug!(upstream = %self.group.servers[server].upstream, "no reply within its share of the time");
        self.group.servers[server].late(sent, now());
        self.pending.retain(|attempt| attempt.server != server);
    }

    /// The server is done with.
    fn fail(&mut self, server: usize, problem: Problem, policy: &mut Turns) {
        tracing::debug!(upstream = %self.group.servers[server].upstream, %problem, "failed");
        self.group.servers[server].failed();
        self.pending.retain(|attempt| attempt.server != server);
        let with_reply = self.truncated.is_some() || matches!(problem, Problem::Failed { .. });
        policy.failed(server, with_reply, now());
        self.known[server].problem = Some(problem);
    }

    /// Somebody had the answer: who failed before that failed alone.
    fn was_answered(&self) {
        for (known, server) in self.known.iter().zip(&self.group.servers) {
            if matches!(known.problem, Some(Problem::Failed { .. } | Problem::Malformed)) {
                server.with(|health| health.failed_alone(now()));
            }
        }
    }

    /// The best of what there is.
    fn end(self) -> Result<Vec<u8>, Failure> {
        let servers = self.group.servers.iter().map(|server| &server.upstream);
        let problems: Vec<_> = self.known.into_iter().map(|known| known.problem).collect();
        self.truncated.map_or_else(|| best(problems, servers), Ok)
    }
}

/// Which attempt has ended.
struct Ended {
    server: usize,
    sent: Instant,
    manner: Manner,
}

/// The first attempt to end, taken out of `pending`. While there is none, for ever.
async fn first(pending: &mut Vec<Attempt<'_>>) -> (Ended, io::Result<Received>) {
    poll_fn(|context| {
        for index in 0..pending.len() {
            if let Poll::Ready(result) = pending[index].future.as_mut().poll(context) {
                let Attempt { server, sent, manner, .. } = pending.swap_remove(index);
                return Poll::Ready((Ended { server, sent, manner }, result));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f2_the_options_of_a_resolv_conf_are_honoured() {
        let servers: Arc<[Upstream]> = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap()).into();
        let usual = Asking {
            timeout: Duration::from_secs(5),
            order: Order::Fastest,
            fail_over: FailOver::Adaptive,
            randomize_case: false,
        };
        let limited_of = |mut asking: Asking, change: fn(&mut SystemOptions)| {
            let mut options = SystemOptions::default();
            change(&mut options);
            let servers = asking.limit(&options, &servers);
            (asking.timeout.as_secs(), asking.order, servers[1].to_string())
        };
        let limited = |change| limited_of(usual, change);
        assert_eq!(limited(|_| ()), (5, Order::Fastest, "10.0.0.2:53".to_owned()));
        let all = |options: &mut SystemOptions| {
            (options.timeout, options.attempts, options.rotate, options.use_vc) = (Some(1), Some(1), true, true);
        };
        assert_eq!(limited(all), (2, Order::RoundRobin, "tcp://10.0.0.2:53".to_owned()));
        assert_eq!(limited(|options| options.attempts = Some(1)).0, 5, "never longer");
        let strict = Asking { fail_over: FailOver::Sequential, ..usual };
        assert_eq!(limited_of(strict, all), (5, Order::Fastest, "tcp://10.0.0.2:53".to_owned()));
    }
}
