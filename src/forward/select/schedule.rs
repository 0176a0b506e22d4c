//! When one question goes to which server, and which answer counts (answers.md F5, F6): a state machine without sockets and
//! without a clock.
//!
//! The servers are asked in the order of their [`Ranking`]. All that were asked are listened to until the deadline; what
//! differs is when the next one is asked, and whose answer counts:
//!
//! - *Listed.* The first server decides. The next one is asked when the first is late or has failed, and its answer is held
//!   in hand until every earlier server has failed, is demoted, or was waited for as long as its patience. A negative answer
//!   is held longer: until the earlier servers have failed or are demoted, or for 2 s. So a failure costs one patience, and
//!   a name that only the first server knows is not denied by the second.
//! - *Equals.* The first answer counts. While no server is up the first two are asked at once; else the next one is asked
//!   when the one before is later than usual.
//!
//! A demoted server is asked once all others have failed or run out of patience, and nobody waits for it.
//!
//! # Repeats, and how they survive loss
//!
//! A server that does not reply is sent the same query again, after twice its expected round-trip time and then at doubling
//! intervals, at most seven times. No interval is longer than 0.5 s of 4 (an eighth of the timeout), so that all eight
//! queries go out in time up to an expected round-trip time of 0.25 s: where a fifth of the packets is lost each way, and so
//! 36 % of all exchanges, 0.36⁸ = 0.03 % of the questions have no answer in time. (With six repeats it would be 0.36⁷ =
//! 0.08 %, and one in six of 10,000 questions' worth would miss one in a thousand by chance.) Such a path needs 0.36 + 0.36² +
//! … + 0.36⁷ = 0.56 repeats a question, and each question that is answered earns one, so the budget grows faster than it is
//! spent; what is saved is enough for as many as can be lost at once (see `budget`). A server that never replies earns nothing:
//! it soon gets one query a question. To a server that nothing is known of, and that may be a slow one, intervals double up to
//! two fifths of the timeout.
//!
//! Over a connection nothing gets lost, but connections die unnoticed: there a query is repeated twice at most, over a new
//! connection, and not before a quarter of the timeout has passed.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::forward::message::Asker;
use crate::settings::Order;

use super::ranking::{Ranking, Servers};

/// Repeats of one question to one server: datagrams, and over connections.
const MAX_REPEATS: u32 = 7;
const MAX_STREAM_REPEATS: u32 = 2;
/// The least time to the next try where the budget is used up.
const NO_BUDGET_WAIT: Duration = Duration::from_millis(200);
/// How long a negative answer of a later server waits for the earlier ones.
const NEGATIVE_WAIT: Duration = Duration::from_secs(2);
/// In place of a timeout too long for the clock.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::forward) enum Step {
    /// Ask the server.
    Ask(usize),
    /// Ask it once more in the same way: the same datagram out of the same socket.
    Repeat(usize),
    /// The server is later than usual: suspect it.
    Suspect(usize),
    /// The server has had its share of the time and said nothing. It is still listened to.
    Silent(usize),
    /// The answer of this server, which is in hand, is the one that counts.
    Give(usize),
    /// Nothing, until then or until something happens.
    Wait(Instant),
    /// Give up.
    End,
}

/// How far a server is with the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    NotAsked,
    Waiting,
    /// Its reply was truncated, and the whole one is being fetched.
    Fetching,
    Answered {
        negative: bool,
    },
    Failed,
}

/// One server.
#[derive(Debug, Clone)]
struct Turn {
    progress: Progress,
    /// It was asked while nothing was known of it.
    is_unknown: bool,
    /// It was demoted when the question began, or was since.
    is_demoted: bool,
    is_stream: bool,
    sent_at: Instant,
    interval: Duration,
    repeats: u32,
    repeat_at: Option<Instant>,
    suspect_at: Option<Instant>,
    patience: Duration,
    patience_ends: Instant,
}

impl Turn {
    fn is_pending(&self) -> bool {
        matches!(self.progress, Progress::Waiting | Progress::Fetching)
    }
}

/// The state of one question.
#[derive(Debug)]
pub(in crate::forward) struct Schedule {
    is_listed: bool,
    /// Whose question it is.
    client: Option<Asker>,
    /// In the order of the list.
    turns: SmallVec<[Turn; 2]>,
    /// In the order in which they are asked.
    queue: SmallVec<[usize; 4]>,
    /// How many of these are not demoted, and how many were asked.
    in_use: usize,
    asked: usize,
    /// The first two are asked at once.
    race: bool,
    /// When the next server that is not demoted is asked.
    next_at: Instant,
    started: Instant,
    timeout: Duration,
    ends: Instant,
    /// There is an error that can be relayed.
    has_error: bool,
}

impl Schedule {
    /// A question that begins `now` and may take `timeout`.
    pub(in crate::forward) fn new(
        order: Order,
        ranking: &Ranking,
        client: Option<Asker>,
        timeout: Duration,
        now: Instant,
    ) -> Schedule {
        let turn = Turn {
            progress: Progress::NotAsked,
            is_unknown: false,
            is_demoted: false,
            is_stream: false,
            sent_at: now,
            interval: Duration::ZERO,
            repeats: 0,
            repeat_at: None,
            suspect_at: None,
            patience: Duration::ZERO,
            patience_ends: now,
        };
        let mut turns: SmallVec<[Turn; 2]> = ranking.servers.iter().map(|_| turn.clone()).collect();
        for &server in &ranking.servers[ranking.in_use..] {
            turns[server].is_demoted = true;
        }
        let is_listed = order == Order::Listed;
        Schedule {
            is_listed,
            client,
            turns,
            queue: ranking.servers.clone(),
            in_use: ranking.in_use,
            asked: 0,
            race: !is_listed && !ranking.is_led,
            next_at: now,
            started: now,
            timeout,
            ends: now.checked_add(timeout).unwrap_or(now + A_DAY),
            has_error: false,
        }
    }

    /// What to do `now`.
    pub(in crate::forward) fn next(&mut self, now: Instant, servers: &impl Servers) -> Step {
        self.look(servers, now);
        if let Some(server) = self.decided(now) {
            return Step::Give(server);
        }
        if now >= self.ends {
            // Better one that nobody has confirmed than none.
            let in_hand = self.turns.iter().position(|turn| matches!(turn.progress, Progress::Answered { .. }));
            return in_hand.map_or(Step::End, Step::Give);
        }
        for (server, turn) in self.turns.iter_mut().enumerate() {
            if turn.suspect_at.is_some_and(|at| now >= at) {
                turn.suspect_at = Some(now + turn.patience);
                return Step::Suspect(server);
            }
        }
        if let Some(at) = self.asks_at(now)
            && now >= at
        {
            return self.ask(now, servers);
        }
        if let Some(server) = self.repeat(now, servers) {
            return Step::Repeat(server);
        }
        if self.asked == self.turns.len() && self.is_hopeless(now) {
            return Step::End;
        }
        Step::Wait(self.wakes_at(now))
    }

    /// True if [`Schedule::next`] has to be called, too, when something becomes known of a server.
    pub(in crate::forward) fn is_watching(&self) -> bool {
        let is_watched = |turn: &Turn| match turn.progress {
            Progress::Waiting => turn.is_unknown,
            Progress::Answered { .. } => true,
            _ => false,
        };
        self.has_error || self.turns.iter().any(is_watched)
    }

    /// The server has an answer, which is in hand. `negative`: it says that there is no such name or record.
    pub(in crate::forward) fn answered(&mut self, server: usize, negative: bool) {
        self.turns[server].progress = Progress::Answered { negative };
        self.stop(server);
    }

    /// The server failed for good; `with_reply` if it sent something that can be relayed.
    pub(in crate::forward) fn failed(&mut self, server: usize, with_reply: bool, now: Instant) {
        self.turns[server].progress = Progress::Failed;
        self.stop(server);
        self.next_at = self.next_at.min(now);
        self.has_error |= with_reply;
    }

    /// The server replied, and the rest of its answer is being fetched: that has a patience of its own.
    pub(in crate::forward) fn heard(&mut self, server: usize, now: Instant) {
        let turn = &mut self.turns[server];
        turn.progress = Progress::Fetching;
        turn.patience_ends = now + turn.patience;
        self.stop(server);
    }

    fn stop(&mut self, server: usize) {
        let turn = &mut self.turns[server];
        (turn.repeat_at, turn.suspect_at) = (None, None);
    }

    /// Takes note of what has become known of servers since they were asked.
    fn look(&mut self, servers: &impl Servers, now: Instant) {
        if !self.is_watching() {
            return;
        }
        for (server, turn) in self.turns.iter_mut().enumerate().filter(|(_, turn)| turn.is_pending()) {
            let timing = servers.timing(server);
            if timing.is_demoted() && !turn.is_demoted {
                turn.is_demoted = true;
                turn.suspect_at = None;
                self.next_at = self.next_at.min(now);
            }
            let is_news = std::mem::replace(&mut turn.is_unknown, timing.expected_rtt.is_none()) && timing.is_up();
            if is_news && !turn.is_stream {
                // A probe came back and the question did not: it was lost, or it is a hard one.
                turn.interval = turn.interval.min(timing.repeat());
                turn.repeat_at = turn.repeat_at.map(|at| at.min(turn.sent_at + turn.interval));
            }
        }
    }

    /// The server whose answer counts, if one does by now.
    fn decided(&self, now: Instant) -> Option<usize> {
        let mut is_unsure = false;
        for (server, turn) in self.turns.iter().enumerate() {
            match turn.progress {
                Progress::Answered { negative } => {
                    let may_be_given = !(negative && is_unsure) || now >= self.started + NEGATIVE_WAIT;
                    return may_be_given.then_some(server);
                }
                _ if !self.is_listed || turn.is_demoted => {}
                Progress::Failed => {}
                Progress::NotAsked => return None,
                Progress::Waiting | Progress::Fetching if now < turn.patience_ends => return None,
                Progress::Waiting | Progress::Fetching => is_unsure = true,
            }
        }
        None
    }

    /// When the next server is asked, if there is one.
    fn asks_at(&self, now: Instant) -> Option<Instant> {
        if self.asked == self.turns.len() {
            return None;
        }
        if self.asked < self.in_use || !self.is_listed {
            return Some(self.next_at);
        }
        // Only demoted ones are left: when nobody else is waited for any more.
        let pending = self.turns.iter().filter(|turn| turn.is_pending() && !turn.is_demoted);
        Some(pending.map(|turn| turn.patience_ends).max().unwrap_or(now))
    }

    fn ask(&mut self, now: Instant, servers: &impl Servers) -> Step {
        let server = self.queue[self.asked];
        let timing = servers.timing(server);
        let is_alone = self.turns.len() == 1;
        let turn = &mut self.turns[server];
        turn.progress = Progress::Waiting;
        turn.is_unknown = timing.expected_rtt.is_none();
        turn.is_stream = timing.stream;
        turn.interval = timing.repeat();
        if turn.is_stream {
            turn.interval = turn.interval.max(self.timeout / 4);
        }
        turn.sent_at = now;
        turn.repeat_at = now.checked_add(turn.interval);
        let late = match () {
            // Where another server could take its place a server is suspected until it has replied.
            () if turn.is_unknown && !is_alone => Duration::ZERO,
            () if self.is_listed => timing.late(),
            // Later than this it is the answer of another one that counts.
            () => timing.equals_hedge(),
        };
        turn.suspect_at = if turn.is_demoted { None } else { now.checked_add(late) };
        turn.patience = timing.patience();
        turn.patience_ends = now + turn.patience;
        self.asked += 1;
        self.next_at = match self.is_listed {
            true => now + timing.listed_hedge(),
            false if std::mem::take(&mut self.race) => now,
            false => now + timing.equals_hedge(),
        };
        Step::Ask(server)
    }

    /// The server that is to be asked again, if there is one and its budget allows.
    fn repeat(&mut self, now: Instant, servers: &impl Servers) -> Option<usize> {
        for (server, turn) in self.turns.iter_mut().enumerate() {
            if turn.repeat_at.is_none_or(|at| now < at) {
                continue;
            }
            if !servers.with(server, |health| health.take_repeat(self.client, now)) {
                // Many questions may be lost at once, and the replies to others earn their repeats in a moment.
                turn.repeat_at = Some(now + turn.interval.max(NO_BUDGET_WAIT));
                continue;
            }
            let longest = if turn.is_unknown { self.timeout * 2 / 5 } else { self.timeout / 8 };
            turn.interval = (turn.interval * 2).min(longest.max(turn.interval));
            turn.repeats += 1;
            let most = if turn.is_stream { MAX_STREAM_REPEATS } else { MAX_REPEATS };
            turn.repeat_at = (turn.repeats < most).then(|| now + turn.interval);
            turn.sent_at = now;
            return Some(server);
        }
        None
    }

    /// True if nobody will answer any more; or if there is an error to relay, and those that have not failed are known not
    /// to reply.
    fn is_hopeless(&self, now: Instant) -> bool {
        self.turns.iter().all(|turn| match turn.progress {
            Progress::Failed => true,
            Progress::Waiting => self.has_error && turn.is_demoted && now >= turn.patience_ends,
            _ => false,
        })
    }

    fn wakes_at(&self, now: Instant) -> Instant {
        let turns = self.turns.iter();
        let timers = turns.flat_map(|turn| {
            let patience = turn.is_pending().then_some(turn.patience_ends).filter(|at| *at > now);
            [turn.repeat_at, turn.suspect_at, patience]
        });
        let negative = self.is_watching().then_some(self.started + NEGATIVE_WAIT).filter(|at| *at > now);
        timers.flatten().chain(self.asks_at(now)).chain(negative).fold(self.ends, Instant::min)
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
