//! The health of one server: how long its replies usually take, whether it replies at all, and how many repeats it may be
//! sent (answers.md F6, F7).
//!
//! No sockets and no clock: callers report what happened to a query, and when.
//!
//! A server is *unknown* until its first reply, then *up*, and *demoted* once it is proved that it cannot be reached.
//! Clients choose the questions, so the reply to a question proves nothing bad: no response code demotes a server, and
//! silence only raises a suspicion. A suspected server is sent a probe of our own; only when that stays unanswered for one
//! patience too, and nobody else had a reply meanwhile, is it demoted. A failed connection, a certificate that is not
//! accepted and an "unreachable" from the system demote at once. Any reply to anything brings the server back.

use std::time::{Duration, Instant};

use super::budget::Budget;
use crate::forward::message::Asker;

/// The shortest expected round-trip time. It bounds the first repeat (50 ms) from below.
const MIN_EXPECTED_RTT: Duration = Duration::from_millis(25);
/// The first repeat to a server that nothing is known of. One that needs a second for everything is then sent one query
/// and one probe, not two queries.
const UNKNOWN_REPEAT: Duration = Duration::from_millis(1100);
/// The latest first repeat.
const MAX_REPEAT: Duration = Duration::from_secs(2);
/// When a later server is asked as well, in a list whose order has a meaning.
const LISTED_HEDGE: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(1500)];
/// The same among equals, and where nothing is known.
const EQUALS_HEDGE: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];
const UNKNOWN_EQUALS_HEDGE: Duration = Duration::from_millis(100);
/// How long an earlier server is waited for while a later one has an answer, and where nothing is known.
const PATIENCE: [Duration; 2] = [Duration::from_millis(400), Duration::from_secs(2)];
const UNKNOWN_PATIENCE: Duration = Duration::from_millis(500);
/// So many replies in a row to repeated queries say how fast a server is, for want of better ones.
const REPEATED_IN_A_ROW: u32 = 4;
/// A demoted server is tried after 1, 2, 4, 8, 16, 30, 30 … seconds.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(30);
/// A server that goes and comes again and again is logged once in so long.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Clone)]
pub(in crate::forward) struct Health {
    /// Smoothed round-trip time and its mean deviation (RFC 6298 §2), once there was a reply.
    rtt: Option<(Duration, Duration)>,
    /// The same over a new connection, which had to be made first.
    connecting: Option<(Duration, Duration)>,
    state: State,
    last_reply: Option<Instant>,
    /// Replies in a row to queries that were sent more than once.
    repeated_in_a_row: u32,
    /// A probe is under way since then.
    probe: Option<Instant>,
    /// No further probe before this: late questions are no reason to flood a server with probes.
    next_probe: Option<Instant>,
    /// Repeats that the server may still be sent.
    repeats: Budget,
    /// When its failing was last logged, and whether its return is still to be.
    warned: Option<Instant>,
    is_warned: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unknown,
    Up,
    Demoted { retries: u32, retry_at: Instant },
}

/// Whether a server replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::forward) enum Standing {
    Unknown,
    Up,
    Demoted,
}

/// What became of a server, where that is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::forward) enum Change {
    /// Its first reply.
    Met,
    /// It was demoted. `log`: say so.
    Demoted { log: bool },
    /// It replied after it was demoted, or after its failing was logged. `log`: say so.
    Back { log: bool },
}

/// A server as one question sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::forward) struct Timing {
    pub(in crate::forward) standing: Standing,
    /// The smoothed round-trip time, once there was a reply.
    pub(in crate::forward) rtt: Option<Duration>,
    /// The time within which it usually replies, once there was a reply.
    pub(in crate::forward) expected_rtt: Option<Duration>,
    /// What is sent to it arrives, or is known not to: no datagrams.
    pub(in crate::forward) stream: bool,
}

impl Timing {
    pub(in crate::forward) fn is_up(&self) -> bool {
        self.standing == Standing::Up
    }

    pub(in crate::forward) fn is_demoted(&self) -> bool {
        self.standing == Standing::Demoted
    }

    /// The time from a query to its first repeat: twice the expected round-trip time.
    pub(in crate::forward) fn repeat(&self) -> Duration {
        self.expected_rtt.map_or(UNKNOWN_REPEAT, |expected| (2 * expected).min(MAX_REPEAT))
    }

    /// The time after which a reply is late enough to be a reason for a probe.
    pub(in crate::forward) fn late(&self) -> Duration {
        let [least, _] = LISTED_HEDGE;
        self.expected_rtt.map_or(least, |expected| (3 * expected).max(least))
    }

    /// The time after which the next server of a list is asked as well.
    pub(in crate::forward) fn listed_hedge(&self) -> Duration {
        self.late().min(LISTED_HEDGE[1])
    }

    /// The same where the servers are equals.
    pub(in crate::forward) fn equals_hedge(&self) -> Duration {
        let [least, most] = EQUALS_HEDGE;
        self.expected_rtt.map_or(UNKNOWN_EQUALS_HEDGE, |expected| (2 * expected).clamp(least, most))
    }

    /// How long it is waited for while a later server has an answer.
    pub(in crate::forward) fn patience(&self) -> Duration {
        let [least, most] = PATIENCE;
        self.expected_rtt.map_or(UNKNOWN_PATIENCE, |expected| (4 * expected).clamp(least, most))
    }
}

impl Health {
    /// A server that nothing is known of.
    pub(in crate::forward) fn new() -> Health {
        Health {
            rtt: None,
            connecting: None,
            state: State::Unknown,
            last_reply: None,
            repeated_in_a_row: 0,
            probe: None,
            next_probe: None,
            repeats: Budget::new(),
            warned: None,
            is_warned: false,
        }
    }

    /// It as a question sees it.
    pub(in crate::forward) fn timing(&self, stream: bool) -> Timing {
        let standing = match self.state {
            State::Unknown => Standing::Unknown,
            State::Up => Standing::Up,
            State::Demoted { .. } => Standing::Demoted,
        };
        let rtt = self.rtt.or(self.connecting);
        Timing { standing, rtt: rtt.map(|(smoothed, _)| smoothed), expected_rtt: rtt.map(expected), stream }
    }

    /// The time within which it usually replies over a new connection, once it has.
    pub(in crate::forward) fn expected_connecting(&self) -> Option<Duration> {
        self.connecting.map(expected)
    }

    /// A reply over a new connection took so long, the making of the connection among it.
    pub(in crate::forward) fn connected(&mut self, sample: Duration) {
        self.connecting = Some(smoothed(self.connecting, sample));
    }

    /// It replied, whatever it said. `rtt`: how long that took, where that tells how fast it is. `repeated`: the query was
    /// sent more than once, and `rtt` counts from the last time.
    pub(in crate::forward) fn answered(
        &mut self,
        rtt: Option<Duration>,
        repeated: bool,
        now: Instant,
    ) -> Option<Change> {
        self.repeated_in_a_row = if repeated { self.repeated_in_a_row.saturating_add(1) } else { 0 };
        match (rtt, self.rtt) {
            // The reply may be that to an earlier datagram, and so is no measure (Karn's algorithm), but of a server that is
            // always asked twice: that has become slower.
            (Some(sample), Some((smoothed, _)))
                if repeated && (sample < smoothed || self.repeated_in_a_row < REPEATED_IN_A_ROW) => {}
            (Some(sample), known) => self.rtt = Some(smoothed(known, sample)),
            (None, _) => {}
        }
        self.last_reply = Some(now);
        let log = std::mem::take(&mut self.is_warned);
        match std::mem::replace(&mut self.state, State::Up) {
            State::Demoted { .. } => Some(Change::Back { log }),
            _ if log => Some(Change::Back { log }),
            State::Unknown => Some(Change::Met),
            State::Up => None,
        }
    }

    /// Takes one repeat for a client out of the server's budget. False if it is used up, as it soon is with a server that
    /// never replies.
    pub(in crate::forward) fn take_repeat(&mut self, client: Option<Asker>, now: Instant) -> bool {
        self.repeats.take(client, self.state == State::Up, now)
    }

    /// A reply to the client's question has earned a repeat.
    pub(in crate::forward) fn earn_repeat(&mut self, client: Option<Asker>, now: Instant) {
        self.repeats.earn(client, now);
    }

    /// It is later than usual with a question. If it is to be sent a probe, when: now, or one patience after the last one.
    pub(in crate::forward) fn suspect(&mut self, now: Instant) -> Option<Instant> {
        if matches!(self.state, State::Demoted { .. }) || self.probe.is_some() {
            return None;
        }
        let at = self.next_probe.map_or(now, |at| at.max(now));
        self.next_probe = Some(at + self.timing(false).patience());
        self.probe = Some(at);
        Some(at)
    }

    /// True if it has replied to anything since then.
    pub(in crate::forward) fn has_replied_since(&self, then: Instant) -> bool {
        self.last_reply.is_some_and(|at| at > then)
    }

    /// The probe of that time had no reply within one patience. Demotes the server unless somebody else had one meanwhile.
    pub(in crate::forward) fn probe_unanswered(&mut self, sent: Instant, now: Instant) -> Option<Change> {
        self.probe = self.probe.filter(|&probe| probe != sent);
        if self.last_reply.is_some_and(|at| at >= sent) { None } else { self.demote(now) }
    }

    /// The probe is over.
    pub(in crate::forward) fn probe_ended(&mut self) {
        self.probe = None;
    }

    /// A probe is under way.
    #[cfg(test)]
    pub(in crate::forward) fn is_probed(&self) -> bool {
        self.probe.is_some()
    }

    /// What was sent at `sent` showed that it cannot be reached.
    pub(in crate::forward) fn unreachable(&mut self, sent: Instant, now: Instant) -> Option<Change> {
        if self.has_replied_since(sent) { None } else { self.demote(now) }
    }

    /// Takes note that its failing is logged; true if it is to be. A mode that remembers nothing else remembers this.
    pub(in crate::forward) fn warn(&mut self, now: Instant) -> bool {
        let log = self.warned.is_none_or(|at| now.saturating_duration_since(at) >= LOG_INTERVAL);
        if log {
            (self.warned, self.is_warned) = (Some(now), true);
        }
        log
    }

    /// True each time that a demoted server is to be tried: after 1, 2, 4 … 30 s.
    pub(in crate::forward) fn take_retry(&mut self, now: Instant) -> bool {
        let State::Demoted { retries, retry_at } = &mut self.state else { return false };
        let is_due = now >= *retry_at;
        if is_due {
            *retries += 1;
            *retry_at = now + retry_after(*retries);
        }
        is_due
    }

    fn demote(&mut self, now: Instant) -> Option<Change> {
        if matches!(self.state, State::Demoted { .. }) {
            return None;
        }
        self.state = State::Demoted { retries: 0, retry_at: now + retry_after(0) };
        self.repeats.void();
        Some(Change::Demoted { log: self.warn(now) })
    }
}

/// A round-trip time and its mean deviation with one more sample (RFC 6298 §2).
fn smoothed(known: Option<(Duration, Duration)>, sample: Duration) -> (Duration, Duration) {
    match known {
        None => (sample, sample / 2),
        Some((smoothed, deviation)) => ((smoothed * 7 + sample) / 8, (deviation * 3 + smoothed.abs_diff(sample)) / 4),
    }
}

/// Twice this, the first repeat, is no sooner than the retransmission of RFC 6298 §2.3.
fn expected((smoothed, deviation): (Duration, Duration)) -> Duration {
    (smoothed + 2 * deviation).max(MIN_EXPECTED_RTT)
}

/// The time to the next try after so many.
fn retry_after(retries: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << retries.min(16)).min(MAX_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn expected(health: &Health) -> Duration {
        health.timing(false).expected_rtt.unwrap()
    }

    #[test]
    fn f5_what_is_usual_follows_what_was_measured() {
        let (mut health, now) = (Health::new(), Instant::now());
        let timing = health.timing(false);
        assert_eq!((timing.listed_hedge(), timing.patience()), (200 * MS, 500 * MS), "where nothing is known");
        for _ in 0..50 {
            health.answered(Some(MS), false, now);
        }
        assert_eq!(expected(&health), 25 * MS);
        let timing = health.timing(false);
        assert_eq!((timing.repeat(), timing.listed_hedge(), timing.patience()), (50 * MS, 200 * MS, 400 * MS));
        // A fifth of the answers are cache misses.
        for index in 0..50 {
            health.answered(Some(if index % 5 == 0 { 100 * MS } else { MS }), false, now);
        }
        assert!((60 * MS..200 * MS).contains(&expected(&health)), "{:?}", expected(&health));
        for _ in 0..100 {
            health.answered(Some(3000 * MS), false, now);
        }
        let timing = health.timing(false);
        assert_eq!((timing.repeat(), timing.listed_hedge(), timing.patience()), (2000 * MS, 1500 * MS, 2000 * MS));
        assert!(timing.late() > 8000 * MS, "slow as ever is not late");
    }

    #[test]
    fn f6_a_reply_to_a_repeated_query_only_says_that_a_server_is_slower() {
        let (mut health, now) = (Health::new(), Instant::now());
        health.answered(Some(600 * MS), true, now);
        assert_eq!(health.timing(false).rtt, Some(600 * MS), "the first is better than nothing");
        health.answered(Some(600 * MS), false, now);
        for _ in 0..3 {
            health.answered(Some(1400 * MS), true, now);
            assert_eq!(health.timing(false).rtt, Some(600 * MS), "it may be the reply to the first one");
        }
        health.answered(Some(1400 * MS), true, now);
        assert_eq!(health.timing(false).rtt, Some(700 * MS), "it is always asked twice");
        health.answered(Some(MS), true, now);
        assert_eq!(health.timing(false).rtt, Some(700 * MS));
    }

    #[test]
    fn f5_a_reply_over_a_new_connection_says_what_the_next_one_needs() {
        let (mut health, now) = (Health::new(), Instant::now());
        health.connected(600 * MS);
        health.answered(None, false, now);
        assert_eq!(expected(&health), 1200 * MS, "better than nothing for one that is kept");
        health.answered(Some(100 * MS), false, now);
        assert_eq!((expected(&health), health.expected_connecting()), (200 * MS, Some(1200 * MS)));
    }

    #[test]
    fn f7_only_an_unanswered_probe_demotes_a_silent_server() {
        let (mut health, now) = (Health::new(), Instant::now());
        assert_eq!(health.answered(Some(MS), false, now), Some(Change::Met));
        // A name that it never answers: any number of questions, and one probe at a time.
        assert_eq!(health.suspect(now), Some(now));
        assert!((0..100).all(|_| health.suspect(now + 300 * MS).is_none()));
        // The probe had its reply.
        assert_eq!(health.answered(Some(MS), false, now + MS), None);
        health.probe_ended();
        assert!(health.timing(false).is_up());
        assert_eq!(health.suspect(now + 100 * MS), Some(now + 400 * MS), "not at once again");
        // The probe had none, but another question had.
        health.answered(Some(MS), false, now + 500 * MS);
        assert_eq!(health.probe_unanswered(now + 400 * MS, now + 800 * MS), None);
        assert!(health.timing(false).is_up());
        // Nobody had one.
        assert_eq!(health.suspect(now + 900 * MS), Some(now + 900 * MS));
        assert_eq!(health.probe_unanswered(now + 900 * MS, now + 1300 * MS), Some(Change::Demoted { log: true }));
        assert!(health.timing(false).is_demoted() && health.suspect(now + 2000 * MS).is_none());
        assert_eq!(health.timing(false).rtt, Some(MS), "what it was is still the best guess");
        assert_eq!(health.answered(None, false, now + 2000 * MS), Some(Change::Back { log: true }));
        assert!(health.timing(false).is_up());
    }

    #[test]
    fn f7_unreachable_demotes_at_once_unless_it_is_old_news() {
        let (mut health, now) = (Health::new(), Instant::now());
        health.answered(Some(MS), false, now + 10 * MS);
        assert_eq!(health.unreachable(now, now + 20 * MS), None, "it has replied since");
        assert_eq!(health.unreachable(now + 10 * MS, now + 20 * MS), Some(Change::Demoted { log: true }));
        assert_eq!(health.unreachable(now + 15 * MS, now + 21 * MS), None, "once");
    }

    #[test]
    fn f7_a_demoted_server_is_tried_after_1_2_4_and_so_on_to_30_s() {
        let (mut health, start) = (Health::new(), Instant::now());
        assert!(!health.take_retry(start));
        health.unreachable(start, start);
        let mut tries = Vec::new();
        for second in 0..150 {
            if health.take_retry(start + Duration::from_secs(second)) {
                tries.push(second);
            }
        }
        assert_eq!(tries, [1, 3, 7, 15, 31, 61, 91, 121]);
        health.answered(None, false, start);
        assert!(!health.take_retry(start + Duration::from_secs(1000)));
    }

    #[test]
    fn f7_a_server_that_goes_and_comes_is_logged_once_a_minute() {
        let (mut health, start) = (Health::new(), Instant::now());
        let mut logged = Vec::new();
        for second in 0..130 {
            let now = start + Duration::from_secs(second);
            let gone = health.unreachable(now, now);
            let back = health.answered(None, false, now);
            match (gone, back) {
                (Some(Change::Demoted { log: gone }), Some(Change::Back { log: back })) if gone == back => {
                    logged.extend(gone.then_some(second));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(logged, [0, 60, 120]);
    }
}
