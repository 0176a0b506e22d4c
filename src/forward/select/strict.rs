//! When one question goes to which server, where they are strictly asked one after the other
//! ([`Order::Strict`](crate::settings::Order::Strict)): a state machine without sockets and without a clock.
//!
//! Each server has an equal share of the time, in the order of the list, whatever is known of it. The next one has its turn
//! when that is over, or when the one before cannot be reached or sends something malformed. All that were asked are
//! listened to until the deadline, and the first reply counts.
//!
//! In its turn a server is sent the same datagram up to four times, for datagrams get lost: after an eighth of its share, and
//! then at doubling intervals. What is usual for it does not matter here, for nothing is remembered; its budget of repeats
//! counts nevertheless (answers.md F6).

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::ranking::Servers;
use super::schedule::Step;
use crate::forward::message::Asker;

/// Repeats of one question to one server.
const MAX_REPEATS: u32 = 3;
/// The part of its share after which a server is asked again.
const FIRST_REPEAT: u32 = 8;
/// In place of a time too long for the clock.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The state of one question.
#[derive(Debug)]
pub(in crate::forward) struct Strict {
    count: usize,
    /// Whose question it is.
    client: Option<Asker>,
    /// The next server in the list.
    next: usize,
    share: Duration,
    ends: Instant,
    turn: Option<Turn>,
    /// Servers that were asked and did not fail.
    listening: SmallVec<[usize; 4]>,
    /// The server whose reply is in hand.
    reply: Option<usize>,
    /// There is a reply, or a part of one: no further server is asked.
    has_reply: bool,
}

/// The server whose turn it is.
#[derive(Debug)]
struct Turn {
    server: usize,
    /// When its share is over.
    ends: Instant,
    repeats: u32,
    interval: Duration,
    repeat_at: Option<Instant>,
}

impl Strict {
    /// A question that begins `now` and may take `timeout`, to so many servers.
    pub(in crate::forward) fn new(count: usize, client: Option<Asker>, timeout: Duration, now: Instant) -> Strict {
        let share = (timeout / u32::try_from(count.max(1)).unwrap_or(u32::MAX)).min(A_DAY);
        let ends = now.checked_add(timeout).unwrap_or(now + A_DAY);
        Strict {
            count,
            client,
            next: 0,
            share,
            ends,
            turn: None,
            listening: SmallVec::new(),
            reply: None,
            has_reply: false,
        }
    }

    /// What to do `now`.
    pub(in crate::forward) fn next(&mut self, now: Instant, servers: &impl Servers) -> Step {
        if let Some(server) = self.reply {
            return Step::Give(server);
        }
        if now >= self.ends {
            return Step::End;
        }
        let Some(turn) = &mut self.turn else { return self.begin(now, servers) };
        if now >= turn.ends {
            let server = turn.server;
            self.turn = None;
            return Step::Silent(server);
        }
        if turn.repeat_at.is_some_and(|at| now >= at) {
            let may_repeat = servers.with(turn.server, |health| health.take_repeat(self.client, now));
            turn.repeats += u32::from(may_repeat);
            turn.interval *= 2;
            turn.repeat_at = (turn.repeats < MAX_REPEATS).then(|| now + turn.interval);
            if may_repeat {
                return Step::Repeat(turn.server);
            }
        }
        Step::Wait(turn.repeat_at.map_or(turn.ends, |at| at.min(turn.ends)))
    }

    fn begin(&mut self, now: Instant, servers: &impl Servers) -> Step {
        if self.next < self.count && !self.has_reply {
            let server = self.next;
            self.next += 1;
            self.listening.push(server);
            let interval = self.share / FIRST_REPEAT;
            // Over a connection nothing gets lost.
            let repeat_at = (!servers.timing(server).stream).then(|| now + interval);
            self.turn = Some(Turn { server, ends: now + self.share, repeats: 0, interval, repeat_at });
            return Step::Ask(server);
        }
        match self.listening.is_empty() {
            true => Step::End,
            false => Step::Wait(self.ends),
        }
    }

    /// The server replied, whatever it said, and its reply is in hand.
    pub(in crate::forward) fn answered(&mut self, server: usize) {
        self.reply = Some(server);
    }

    /// The server failed.
    pub(in crate::forward) fn failed(&mut self, server: usize) {
        self.listening.retain(|other| *other != server);
        if self.turn.as_ref().is_some_and(|turn| turn.server == server) {
            self.turn = None;
        }
    }

    /// The server replied, and the rest of its answer is being fetched; `with_reply` if what there is can be relayed.
    pub(in crate::forward) fn heard(&mut self, server: usize, with_reply: bool) {
        if let Some(turn) = self.turn.as_mut().filter(|turn| turn.server == server) {
            turn.repeat_at = None;
        }
        self.has_reply |= with_reply;
    }
}

#[cfg(test)]
mod tests {
    use super::super::ranking::tests::servers_of;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// What happens by itself, at a time in milliseconds.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        Answered(usize),
        Failed(usize),
        Heard(usize, bool),
    }
    use Event::{Answered, Failed, Heard};

    /// What was done when, with the times in milliseconds. The last is how it ended.
    fn run(count: usize, timeout: u32, events: &[(u32, Event)]) -> Vec<(u32, Step)> {
        let start = Instant::now();
        let servers = servers_of(&vec![0; count]);
        let mut strict = Strict::new(count, None, timeout * MS, start);
        let mut events = events.iter().copied().peekable();
        let (mut now, mut steps) = (0, Vec::new());
        loop {
            let step = strict.next(start + now * MS, &servers);
            let Step::Wait(until) = step else {
                steps.push((now, step));
                if matches!(step, Step::End | Step::Give(_)) {
                    return steps;
                }
                continue;
            };
            let until = u32::try_from((until - start).as_micros().div_ceil(1000)).unwrap();
            let Some((at, event)) = events.next_if(|event| event.0 <= until) else {
                now = until;
                continue;
            };
            now = now.max(at);
            match event {
                Answered(server) => strict.answered(server),
                Failed(server) => strict.failed(server),
                Heard(server, with_reply) => strict.heard(server, with_reply),
            }
        }
    }

    #[test]
    fn f5_the_time_is_divided_by_the_number_of_servers_in_their_order() {
        for count in 1..=5 {
            let steps = run(count, 5000, &[]);
            let share = 5000 / count as u32;
            for server in 0..count {
                let at = |wanted| steps.iter().find(|(_, step)| *step == wanted).unwrap().0;
                let near = |at: u32, turn: usize| at.abs_diff(turn as u32 * share) <= count as u32;
                assert!(near(at(Step::Ask(server)), server), "{steps:?}");
                // The last one's share ends with the question.
                assert!(server + 1 == count || near(at(Step::Silent(server)), server + 1), "{steps:?}");
            }
            let &(end, step) = steps.last().unwrap();
            assert!(step == Step::End && end.abs_diff(5000) <= count as u32, "{steps:?}");
        }
    }

    #[test]
    fn f6_a_datagram_is_repeated_at_doubling_intervals_within_the_share() {
        let steps = run(2, 4000, &[(2100, Answered(1))]);
        let first = [(0, Step::Ask(0)), (250, Step::Repeat(0)), (750, Step::Repeat(0)), (1750, Step::Repeat(0))];
        assert_eq!(steps[..4], first);
        assert_eq!(steps[4..], [(2000, Step::Silent(0)), (2000, Step::Ask(1)), (2100, Step::Give(1))]);
    }

    #[test]
    fn f6_a_reply_after_the_share_counts_while_the_question_lives() {
        let steps = run(2, 4000, &[(3000, Answered(0))]);
        assert_eq!(steps.last(), Some(&(3000, Step::Give(0))));
    }

    #[test]
    fn a_server_that_cannot_be_reached_is_left_at_once() {
        let steps = run(3, 3000, &[(10, Failed(0)), (20, Failed(1)), (30, Failed(2))]);
        assert_eq!(steps, [(0, Step::Ask(0)), (10, Step::Ask(1)), (20, Step::Ask(2)), (30, Step::End)]);
        // One that is only silent may still reply.
        let steps = run(2, 2000, &[(1010, Failed(1))]);
        assert_eq!(steps.last(), Some(&(2000, Step::End)));
    }

    #[test]
    fn with_a_part_of_a_reply_in_hand_nobody_else_is_asked() {
        let asked = |events: &[(u32, Event)]| {
            run(2, 2000, events).into_iter().filter(|(_, step)| matches!(step, Step::Ask(_))).count()
        };
        assert_eq!(asked(&[(10, Heard(0, true))]), 1);
        assert_eq!(run(2, 2000, &[(10, Heard(0, true)), (20, Failed(0))]).last(), Some(&(20, Step::End)));
        // What cannot be relayed is no reply.
        assert_eq!(asked(&[(10, Heard(0, false))]), 2);
    }

    #[test]
    fn nobody_to_ask_or_no_time_is_the_end_and_no_clock_is_too_short() {
        assert_eq!(run(0, 5000, &[]), [(0, Step::End)]);
        assert_eq!(run(1, 0, &[]), [(0, Step::End)]);
        let now = Instant::now();
        let mut strict = Strict::new(1, None, Duration::MAX, now);
        assert_eq!(strict.next(now, &servers_of(&[0])), Step::Ask(0));
        assert!(matches!(strict.next(now, &servers_of(&[0])), Step::Wait(_)));
    }
}
