//! Whom one question is asked of, and when: a state machine without sockets and without a clock.
//!
//! The servers come in the order of `order`. The first is asked; when it has not answered within its usual time the next one
//! is asked too (*hedging*), and so on. When none of them is known to be well the first two are asked at once (*racing*). A
//! server that fails is done with, and the next one is asked at once. All that were asked are listened to until the end.
//!
//! Datagrams get lost. A server that does not answer is asked again, after twice its usual time at first and then at growing
//! intervals, none longer than a tenth of the whole time: with 5 s there are 10 to 12 tries, so that a path that loses 20 %
//! each way, and with it 36 % of all exchanges, loses one question in 25,000 even with a single server. Over a connection
//! nothing gets lost, but connections die unnoticed: there it is asked again, over a new one, after 1 s and 3 s.
//!
//! With something in hand that can be relayed (an error, a truncated reply) the others are waited for a while, and not until
//! the end of the time.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::order::Candidate;

/// Queries in datagrams to one server for one question. The arithmetic in `datagram` relies on it.
pub(super) const DATAGRAMS: u32 = 12;
/// The same over connections.
const CONNECTIONS: u32 = 3;
/// In place of a timeout too long for the clock.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask the server.
    Ask(usize),
    /// Nothing; but note that the server is slower than usual, and maybe dead. It was asked at that time.
    Late(usize, Instant),
    /// Do not listen to the server any more; its turn, which began at that time, is over.
    Leave(usize, Instant),
    /// Nothing, until then or until something happens.
    Wait(Instant),
    /// Give up.
    End,
}

/// A server's turn.
#[derive(Debug, Clone)]
struct Turn {
    candidate: Candidate,
    /// Queries sent to it.
    sent: u32,
    asked_at: Instant,
    interval: Duration,
    /// When to ask it again.
    again_at: Option<Instant>,
    /// When it is slower than usual, if that is still to be said.
    late_at: Option<Instant>,
    failed: bool,
}

/// The state of one question.
#[derive(Debug)]
pub(super) struct Policy {
    turns: SmallVec<[Turn; 4]>,
    /// How many of them have begun.
    begun: usize,
    /// When the next one does.
    next_at: Instant,
    timeout: Duration,
    ends: Instant,
    /// How long the others are waited for at most, once there is something to relay.
    patience: Option<Duration>,
    patient: bool,
}

impl Policy {
    /// A question to these servers that begins `now` and may take `timeout`.
    pub(super) fn new(candidates: &[Candidate], timeout: Duration, now: Instant) -> Policy {
        let turn = |&candidate: &Candidate| Turn {
            candidate,
            sent: 0,
            asked_at: now,
            interval: Duration::ZERO,
            again_at: None,
            late_at: None,
            failed: false,
        };
        Policy {
            turns: candidates.iter().map(turn).collect(),
            begun: 0,
            next_at: now,
            timeout,
            ends: now.checked_add(timeout).unwrap_or(now + A_DAY),
            patience: None,
            patient: false,
        }
    }

    /// What to do `now`.
    pub(super) fn next(&mut self, now: Instant) -> Step {
        self.lose_patience(now);
        if now >= self.ends {
            return Step::End;
        }
        for turn in &mut self.turns[..self.begun] {
            if turn.late_at.is_some_and(|at| now >= at) {
                turn.late_at = None;
                return Step::Late(turn.candidate.server, turn.asked_at);
            }
        }
        if self.begun < self.turns.len() && now >= self.next_at {
            return self.begin(now);
        }
        let longest = self.timeout / 10;
        for turn in &mut self.turns[..self.begun] {
            if turn.again_at.is_some_and(|at| now >= at) {
                turn.ask_again(now, longest);
                return Step::Ask(turn.candidate.server);
            }
        }
        if self.begun == self.turns.len() && self.turns.iter().all(|turn| turn.failed) {
            return Step::End;
        }
        let waits = self.turns[..self.begun].iter().flat_map(|turn| [turn.again_at, turn.late_at]).flatten();
        let next = (self.begun < self.turns.len()).then_some(self.next_at);
        Step::Wait(waits.chain(next).fold(self.ends, Instant::min))
    }

    /// The server failed for good; `with_reply` if it sent something that can be relayed.
    pub(super) fn failed(&mut self, server: usize, with_reply: bool, now: Instant) {
        self.stop(server, true);
        self.next_at = self.next_at.min(now);
        if with_reply {
            self.patience.get_or_insert(self.timeout / 5);
        }
    }

    /// The server answered, and the rest of its answer is being fetched: it is not asked again, and what there is can be
    /// relayed if `with_reply`.
    pub(super) fn heard(&mut self, server: usize, with_reply: bool) {
        self.stop(server, false);
        if with_reply {
            self.patience.get_or_insert(self.timeout / 2);
        }
    }

    fn stop(&mut self, server: usize, failed: bool) {
        if let Some(turn) = self.turns.iter_mut().find(|turn| turn.candidate.server == server) {
            turn.failed |= failed;
            turn.again_at = None;
            turn.late_at = None;
        }
    }

    fn begin(&mut self, now: Instant) -> Step {
        let race = self.begun == 0 && !self.turns[0].candidate.well;
        let turn = &mut self.turns[self.begun];
        let candidate = turn.candidate;
        let (tenth, fifth) = (self.timeout / 10, self.timeout / 5);
        turn.interval =
            if candidate.stream { (2 * candidate.usual).max(fifth) } else { (2 * candidate.usual).min(tenth) };
        turn.sent = 1;
        turn.asked_at = now;
        turn.again_at = Some(now + turn.interval);
        turn.late_at = Some(now + candidate.usual);
        self.begun += 1;
        self.next_at = if race { now } else { now + candidate.usual };
        Step::Ask(candidate.server)
    }

    /// Once every server was asked and there is something to relay, the others get their time and no more. One that is not
    /// known to be well gets a short one.
    fn lose_patience(&mut self, now: Instant) {
        let Some(patience) = self.patience.filter(|_| self.begun == self.turns.len() && !self.patient) else { return };
        self.patient = true;
        let waiting = self.turns.iter().filter(|turn| !turn.failed).map(|turn| turn.candidate);
        let fetching = self.turns.iter().any(|turn| !turn.failed && turn.again_at.is_none());
        let usual = waiting.clone().map(|candidate| candidate.usual).max().unwrap_or_default();
        let well = fetching || waiting.clone().any(|candidate| candidate.well);
        let patience = if well { patience } else { patience.min(4 * usual) };
        self.ends = now.checked_add(patience).map_or(self.ends, |ends| self.ends.min(ends));
    }
}

impl Turn {
    fn ask_again(&mut self, now: Instant, longest: Duration) {
        self.sent += 1;
        let (limit, interval) = match self.candidate.stream {
            true => (CONNECTIONS, self.interval * 2),
            false => (DATAGRAMS, (self.interval * 3 / 2).min(longest)),
        };
        self.interval = interval;
        self.again_at = (self.sent < limit).then_some(now + interval);
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
