//! How one server does: how fast it answers, what is slow for it, and whether it answers at all.
//!
//! No sockets and no clock: whoever asks a server says here what came of it, and when.
//!
//! A server is *unknown* until it has answered, *well* from then on, and *aside* when a query to it was not answered within
//! its usual time, when it could not be reached, or when it has failed several questions in a row that another server had
//! an answer to. Aside does not mean gone: it is asked after the others, and a copy of a question goes to it now and then,
//! at growing intervals, which nobody waits for. Any answer makes it well again.

use std::time::{Duration, Instant};

/// The shortest time that is called slow. Less would make every cache miss of an upstream slow.
const SHORTEST_USUAL: Duration = Duration::from_millis(50);
/// The longest time that is not called slow.
const LONGEST_USUAL: Duration = Duration::from_millis(500);
/// What is taken to be usual of a server that was never heard of.
const UNKNOWN_USUAL: Duration = Duration::from_millis(100);
/// So many questions in a row that a server failed and another one could answer put it aside.
const ERRORS: u32 = 3;
/// The time to the second probe of a server that is aside; the first one is sent with the next question.
const FIRST_BACK_OFF: Duration = Duration::from_millis(250);
/// The longest time between two probes: a VPN that comes up is noticed by then.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Health {
    /// Smoothed round-trip time and its mean deviation (RFC 6298 §2), once there was one.
    rtt: Option<(Duration, Duration)>,
    state: State,
    /// Questions in a row that it failed and another server answered.
    errors: u32,
}

/// Whether a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unknown,
    Well,
    /// Since then, after so many failures in a row; and when to try whether it is back.
    Aside {
        failures: u32,
        since: Instant,
        probe_at: Instant,
    },
}

impl Health {
    /// A server that nothing is known of.
    pub(super) fn new() -> Health {
        Health { rtt: None, state: State::Unknown, errors: 0 }
    }

    /// True if it is known to answer.
    pub(super) fn is_well(&self) -> bool {
        self.state == State::Well
    }

    /// True if it is known not to answer.
    pub(super) fn is_aside(&self) -> bool {
        matches!(self.state, State::Aside { .. })
    }

    /// The smoothed round-trip time, once it has answered.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt.map(|(smoothed, _)| smoothed)
    }

    /// The time within which it usually answers: about the 95th percentile, as the smoothed time and four times its mean
    /// deviation (RFC 6298), 50 to 500 ms.
    pub(super) fn usual(&self) -> Duration {
        match self.rtt {
            Some((smoothed, deviation)) => (smoothed + 4 * deviation).clamp(SHORTEST_USUAL, LONGEST_USUAL),
            None => UNKNOWN_USUAL,
        }
    }

    /// It answered, whatever it said. `rtt`: how long that took, where that tells how fast it is.
    pub(super) fn answered(&mut self, rtt: Option<Duration>) {
        if let Some(sample) = rtt {
            self.rtt = Some(match self.rtt {
                None => (sample, sample / 2),
                Some((smoothed, deviation)) => {
                    ((smoothed * 7 + sample) / 8, (deviation * 3 + smoothed.abs_diff(sample)) / 4)
                }
            });
        }
        if self.errors < ERRORS {
            self.state = State::Well;
        }
    }

    /// It had an answer to the question, good or bad news: it is of use.
    pub(super) fn helped(&mut self) {
        self.errors = 0;
        self.state = State::Well;
    }

    /// It failed a question that another server had an answer to.
    pub(super) fn failed_alone(&mut self, now: Instant) {
        self.errors += 1;
        if self.errors >= ERRORS {
            self.set_aside(now, now);
        }
    }

    /// What was sent to it at `sent` was not answered within its usual time, or not at all.
    pub(super) fn fell_silent(&mut self, sent: Instant, now: Instant) {
        self.set_aside(sent, now);
    }

    /// What was tried at `sent` showed that it cannot be reached.
    pub(super) fn broke(&mut self, sent: Instant, now: Instant) {
        self.set_aside(sent, now);
    }

    /// True once each time that it is to be tried whether the server is there: of one that is aside when its time has come,
    /// of one that is unknown at once. It stays untried for a while then, so that one probe is under way and not a flood.
    pub(super) fn take_probe(&mut self, now: Instant) -> bool {
        match &mut self.state {
            State::Well => false,
            State::Unknown => {
                self.state = State::Aside { failures: 1, since: now, probe_at: now + FIRST_BACK_OFF };
                true
            }
            State::Aside { failures, probe_at, .. } => {
                let due = now >= *probe_at;
                if due {
                    *probe_at = now + back_off(*failures).max(FIRST_BACK_OFF);
                }
                due
            }
        }
    }

    /// A failure of what was sent before it was put aside is the same failure, and does not count again: a hundred questions
    /// may be in flight when a server dies.
    fn set_aside(&mut self, sent: Instant, now: Instant) {
        let failures = match self.state {
            State::Aside { since, .. } if sent < since => return,
            State::Aside { failures, .. } => failures.saturating_add(1),
            _ => 1,
        };
        self.state = State::Aside { failures, since: now, probe_at: now + back_off(failures) };
    }
}

/// The time to the next probe after so many failures in a row.
fn back_off(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        _ => FIRST_BACK_OFF.saturating_mul(1 << (failures - 2).min(16)).min(LONGEST_BACK_OFF),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_usual_follows_what_was_measured_and_has_bounds() {
        let mut health = Health::new();
        assert_eq!(health.usual(), UNKNOWN_USUAL);
        for _ in 0..50 {
            health.answered(Some(MS));
        }
        assert_eq!(health.usual(), SHORTEST_USUAL);
        // A fifth of the answers are cache misses.
        for index in 0..50 {
            health.answered(Some(if index % 5 == 0 { 100 * MS } else { MS }));
        }
        assert!((100 * MS..300 * MS).contains(&health.usual()), "{:?}", health.usual());
        for _ in 0..50 {
            health.answered(Some(3000 * MS));
        }
        assert_eq!(health.usual(), LONGEST_USUAL);
    }

    #[test]
    fn aside_after_one_silence_and_well_after_one_answer() {
        let (mut health, now) = (Health::new(), Instant::now());
        health.answered(Some(MS));
        assert!(health.is_well());
        health.fell_silent(now, now + 50 * MS);
        assert!(health.is_aside());
        assert_eq!(health.rtt(), Some(MS), "what it was is still the best guess");
        health.answered(None);
        assert!(health.is_well());
    }

    #[test]
    fn questions_in_flight_when_it_dies_are_one_failure() {
        let (mut health, now) = (Health::new(), Instant::now());
        for question in 0..100 {
            health.fell_silent(now + question * MS / 10, now + 50 * MS);
        }
        assert!(health.take_probe(now + 50 * MS), "at once");
        assert!(!health.take_probe(now + 51 * MS), "one at a time");
    }

    #[test]
    fn probes_become_rare_but_not_too_rare() {
        let (mut health, mut now) = (Health::new(), Instant::now());
        let mut probes = Vec::new();
        let start = now;
        while now - start < 60_000 * MS {
            if health.take_probe(now) {
                probes.push((now - start).as_millis());
                health.fell_silent(now, now + 100 * MS);
            }
            now += 10 * MS;
        }
        assert_eq!(probes[..5], [0, 350, 950, 2050, 4150]);
        assert!((9..=12).contains(&probes.len()), "{probes:?}");
        assert!(probes.windows(2).all(|pair| pair[1] - pair[0] <= 10_200));
    }

    #[test]
    fn errors_count_only_in_a_row_and_only_where_another_could() {
        let (mut health, now) = (Health::new(), Instant::now());
        for _ in 0..5 {
            health.failed_alone(now);
            health.failed_alone(now);
            health.helped();
        }
        assert!(health.is_well());
        for _ in 0..ERRORS {
            health.failed_alone(now);
        }
        assert!(health.is_aside());
        health.answered(Some(MS));
        assert!(health.is_aside(), "one more error is no recovery");
        health.helped();
        assert!(health.is_well());
    }
}
