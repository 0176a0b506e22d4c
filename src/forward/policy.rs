//! Which server is asked next, and how long it is waited for: a state machine without sockets and without a clock.
//!
//! Servers are asked in order. Each gets a slice of the time, at most a second and short enough for two rounds over all of
//! them; then the next is asked, and after the last the first again with twice the slice, until the time is over. So a
//! dead first server costs a second and a lost packet does not lose the question. Servers whose slice is over are still
//! listened to: that a slice is short costs a packet, never an answer.
//!
//! A server that failed for good is not asked again for the same question. With an error reply in hand there is something
//! to tell the client, and the silent servers get two rounds, not all of the time.

use std::time::{Duration, Instant};

/// The longest first slice.
const FIRST_SLICE: Duration = Duration::from_secs(1);
/// Rounds after which an error reply in hand is as good as it gets.
const ROUNDS_WITH_A_REPLY: u32 = 2;
/// In place of a timeout too long for the clock.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask the server of this index.
    Ask(usize),
    /// Nothing, until then or until a server failed.
    Wait(Instant),
    /// Give up.
    End,
}

/// The state of one question.
#[derive(Debug)]
pub(super) struct Policy {
    /// True for each server that failed for good.
    failed: Vec<bool>,
    current: Option<usize>,
    round: u32,
    slice: Duration,
    slice_ends: Instant,
    deadline: Instant,
    has_reply: bool,
}

impl Policy {
    /// A question to `servers` servers that begins `now` and may take `timeout`.
    pub(super) fn new(servers: usize, timeout: Duration, now: Instant) -> Policy {
        let parts = u32::try_from(servers).unwrap_or(u32::MAX).saturating_mul(2).max(1);
        Policy {
            failed: vec![false; servers],
            current: None,
            round: 0,
            slice: FIRST_SLICE.min(timeout / parts),
            slice_ends: now,
            deadline: now.checked_add(timeout).unwrap_or(now + A_DAY),
            has_reply: false,
        }
    }

    /// What to do `now`.
    pub(super) fn next(&mut self, now: Instant) -> Step {
        if now >= self.deadline {
            return Step::End;
        }
        if now < self.slice_ends {
            return Step::Wait(self.slice_ends);
        }
        match self.following() {
            Some(server) => {
                self.current = Some(server);
                self.slice_ends = (now + self.slice).min(self.deadline);
                Step::Ask(server)
            }
            None => Step::End,
        }
    }

    /// The server failed for good; `with_reply` if it sent something that can be relayed.
    pub(super) fn failed(&mut self, server: usize, with_reply: bool, now: Instant) {
        self.failed[server] = true;
        self.has_reply |= with_reply;
        if self.current == Some(server) || self.failed.iter().all(|&failed| failed) {
            self.slice_ends = now;
        }
    }

    /// The next server that has not failed, in this round or the next.
    fn following(&mut self) -> Option<usize> {
        let from = self.current.map_or(0, |current| current + 1);
        let alive = |from: usize| (from..self.failed.len()).find(|&server| !self.failed[server]);
        if let Some(server) = alive(from) {
            return Some(server);
        }
        let first = alive(0)?;
        self.round += 1;
        self.slice = self.slice.saturating_mul(2);
        (!self.has_reply || self.round < ROUNDS_WITH_A_REPLY).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// What is asked when, in milliseconds, if nobody ever answers and `failures` (when, who, with a reply) happen.
    fn schedule(servers: usize, timeout: u32, failures: &[(u32, usize, bool)]) -> (Vec<(u32, usize)>, u32) {
        let start = Instant::now();
        let mut policy = Policy::new(servers, timeout * MS, start);
        let mut failures = failures.iter().copied().peekable();
        let (mut now, mut asked) = (0, Vec::new());
        loop {
            match policy.next(start + now * MS) {
                Step::Ask(server) => asked.push((now, server)),
                Step::End => return (asked, now),
                Step::Wait(until) => {
                    let until = u32::try_from((until - start).as_millis()).unwrap();
                    match failures.next_if(|failure| failure.0 <= until) {
                        Some((at, server, with_reply)) => {
                            now = now.max(at);
                            policy.failed(server, with_reply, start + now * MS);
                        }
                        None => now = until,
                    }
                }
            }
        }
    }

    #[test]
    fn f3_a_dead_first_server_costs_a_second() {
        assert_eq!(schedule(2, 5000, &[]), (vec![(0, 0), (1000, 1), (2000, 0), (4000, 1)], 5000));
    }

    #[test]
    fn f3_a_single_server_is_asked_again() {
        assert_eq!(schedule(1, 5000, &[]), (vec![(0, 0), (1000, 0), (3000, 0)], 5000));
    }

    #[test]
    fn f3_many_servers_all_get_a_turn_and_there_is_time_for_a_second_round() {
        let (asked, end) = schedule(10, 5000, &[]);
        assert_eq!(end, 5000);
        assert_eq!(asked[..10], std::array::from_fn::<_, 10, _>(|server| (250 * server as u32, server)));
        assert_eq!(asked[10], (2500, 0));
    }

    #[test]
    fn f3_a_failure_moves_on_at_once_and_for_good() {
        let (asked, end) = schedule(2, 5000, &[(10, 0, false)]);
        assert_eq!(asked, [(0, 0), (10, 1), (1010, 1), (3010, 1)]);
        assert_eq!(end, 5000);
    }

    #[test]
    fn f3_when_all_failed_it_is_over() {
        assert_eq!(schedule(2, 5000, &[(10, 0, false), (20, 1, true)]), (vec![(0, 0), (10, 1)], 20));
        // The silent first one fails during the second one's slice, the second one during its own.
        assert_eq!(schedule(2, 5000, &[(1500, 0, false), (1600, 1, false)]), (vec![(0, 0), (1000, 1)], 1600));
    }

    #[test]
    fn f3_a_late_failure_of_an_earlier_server_does_not_cut_the_slice_of_the_current_one() {
        let (asked, _) = schedule(2, 5000, &[(1500, 0, false)]);
        assert_eq!(asked, [(0, 0), (1000, 1), (2000, 1), (4000, 1)]);
    }

    #[test]
    fn f3_with_an_error_reply_in_hand_a_silent_server_gets_two_rounds() {
        assert_eq!(schedule(2, 9000, &[(1100, 1, true)]), (vec![(0, 0), (1000, 1), (1100, 0)], 3100));
    }

    #[test]
    fn nothing_to_ask_or_no_time_is_the_end() {
        assert_eq!(schedule(0, 5000, &[]), (vec![], 0));
        assert_eq!(schedule(3, 0, &[]), (vec![], 0));
        let now = Instant::now();
        assert_eq!(Policy::new(1, Duration::MAX, now).next(now), Step::Ask(0));
    }
}
