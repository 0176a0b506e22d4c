//! An upstream server as this process knows it: its health, what was counted, and how to reach it. Shared by all pools that
//! it stands in.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::health::{Change, Health, Timing};
use super::probe;
use crate::forward::transport::{Attempt, Connections, Received, TapSlot, now};
use crate::settings::Upstream;

/// What making a connection adds to what is usual, until that was measured: a handshake or two.
const HANDSHAKES: u32 = 3;
/// But no more than this.
const MAX_HANDSHAKE: Duration = Duration::from_millis(500);

/// How an upstream server does, as plain values.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamStatus {
    /// The server.
    pub upstream: Upstream,
    /// True once it has answered, and until it is demoted (answers.md F7); false also while nothing is known of it.
    pub well: bool,
    /// True while it is passed over, because it does not answer (answers.md F7).
    pub demoted: bool,
    /// The smoothed round-trip time, once it has answered.
    pub rtt: Option<Duration>,
    /// The time within which it usually answers, once it has answered.
    pub usual: Option<Duration>,
    /// Queries sent to it, repeated ones, copies and probes among them.
    pub queries: u64,
    /// Replies to them.
    pub replies: u64,
    /// Questions that it failed: errors, malformed replies, connections that broke.
    pub failures: u64,
    /// Questions that it had not answered within its usual time.
    pub late: u64,
    /// Questions that it had not answered when their time was over.
    pub timeouts: u64,
    /// Datagrams that were sent to it again, as no reply had come.
    pub repeats: u64,
    /// Messages that were not the reply to what was asked: guesses, or strays.
    pub mismatches: u64,
    /// Connections made to it.
    pub connections: u64,
}

/// See the module.
#[derive(Debug)]
pub(in crate::forward) struct UpstreamState {
    pub(in crate::forward) connections: Arc<Connections>,
    health: Mutex<Health>,
    replies: AtomicU64,
    failures: AtomicU64,
    late: AtomicU64,
    timeouts: AtomicU64,
    repeats: AtomicU64,
    /// Told when something becomes known of it.
    changes: Arc<Notify>,
}

impl UpstreamState {
    /// A server that nothing is known of.
    pub(in crate::forward) fn new(upstream: Upstream, changes: Arc<Notify>, tap: TapSlot) -> UpstreamState {
        let [replies, failures, late, timeouts, repeats] = [const { AtomicU64::new(0) }; 5];
        let connections = Arc::new(Connections::new(upstream, tap));
        let health = Mutex::new(Health::new());
        UpstreamState { connections, health, replies, failures, late, timeouts, repeats, changes }
    }

    /// Which server it is.
    pub(in crate::forward) fn upstream(&self) -> &Upstream {
        self.connections.upstream()
    }

    /// Looks at its health.
    pub(in crate::forward) fn with<T>(&self, look: impl FnOnce(&mut Health) -> T) -> T {
        look(&mut self.health.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// It as a question sees it.
    pub(in crate::forward) fn timing(&self) -> Timing {
        let stream = !self.connections.is_datagram();
        let (mut timing, connecting) = self.with(|health| (health.timing(stream), health.expected_connecting()));
        if stream && !self.connections.is_open() {
            let with_handshakes = |expected: Duration| (expected * HANDSHAKES).min(expected + MAX_HANDSHAKE);
            timing.expected_rtt = connecting.or(timing.expected_rtt.map(with_handshakes));
        }
        timing
    }

    /// It replied to an attempt, whatever it said.
    pub(in crate::forward) fn answered(&self, attempt: &Attempt, received: &Received) {
        self.replies.fetch_add(1, Ordering::Relaxed);
        let now = received.at;
        let rtt = now.saturating_duration_since(attempt.sent);
        let reused = received.reused;
        // The way over TCP, after a datagram, does not say how fast the datagrams are.
        let is_measure = !attempt.options.connected;
        let change = self.with(|health| {
            if is_measure && !reused {
                health.connected(rtt);
            }
            health.earn_repeat(attempt.options.client, now);
            health.answered((is_measure && reused).then_some(rtt), attempt.is_repeated(), now)
        });
        self.tell(change, &"");
    }

    /// It failed a question, whatever others say to that.
    pub(in crate::forward) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// It had not answered a question when its time was over.
    pub(in crate::forward) fn timed_out(&self) {
        self.timeouts.fetch_add(1, Ordering::Relaxed);
    }

    /// It was sent a datagram again.
    pub(in crate::forward) fn repeated(&self) {
        self.repeats.fetch_add(1, Ordering::Relaxed);
    }

    /// It is later than usual with a question: a probe tells whether it replies at all.
    pub(in crate::forward) fn suspect(self: &Arc<Self>) {
        self.late.fetch_add(1, Ordering::Relaxed);
        let now = now();
        if let Some(at) = self.with(|health| health.suspect(now)) {
            probe::suspected(self, now, at);
        }
    }

    /// What was sent at `sent` showed that it cannot be reached, and why.
    pub(in crate::forward) fn unreachable(&self, sent: Instant, why: &dyn Display) {
        let change = self.with(|health| health.unreachable(sent, now()));
        self.tell(change, &format_args!("does not answer: {why}"));
    }

    /// The probe that was sent at `sent` was not answered, and what is said of that.
    pub(in crate::forward) fn probe_unanswered(&self, sent: Instant, what: &dyn Display) {
        let change = self.with(|health| health.probe_unanswered(sent, now()));
        self.tell(change, what);
    }

    /// It failed where nothing is remembered of that: it is only logged.
    pub(in crate::forward) fn warn(&self, what: &dyn Display) {
        let change = self.with(|health| health.warn(now())).then_some(Change::Demoted { log: true });
        self.tell(change, what);
    }

    /// Tells of a change: those who wait for one, and the log, `what` the server did if it is a failure.
    fn tell(&self, change: Option<Change>, what: &dyn Display) {
        let Some(change) = change else { return };
        self.changes.notify_waiters();
        let upstream = self.upstream();
        let address = upstream.address();
        match change {
            Change::Demoted { log: true } => {
                tracing::warn!(upstream = %upstream, "upstream {address} {what}");
            }
            Change::Back { log: true } => tracing::info!(upstream = %upstream, "upstream {address} answers again"),
            Change::Demoted { .. } => tracing::debug!(upstream = %upstream, "{what}"),
            Change::Back { .. } | Change::Met => tracing::debug!(upstream = %upstream, "answers"),
        }
    }

    /// Its state, for people and metrics.
    pub(in crate::forward) fn status(&self) -> UpstreamStatus {
        let timing = self.with(|health| health.timing(false));
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let traffic = self.connections.traffic();
        UpstreamStatus {
            upstream: self.upstream().clone(),
            well: timing.is_up(),
            demoted: timing.is_demoted(),
            rtt: timing.rtt,
            usual: timing.expected_rtt,
            queries: traffic.queries(),
            replies: count(&self.replies),
            failures: count(&self.failures),
            late: count(&self.late),
            timeouts: count(&self.timeouts),
            repeats: count(&self.repeats),
            mismatches: traffic.mismatches(),
            connections: traffic.connections(),
        }
    }
}
