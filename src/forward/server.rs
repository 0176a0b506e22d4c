//! An upstream server as this process knows it: how it does, what was counted, and the connections to it. Shared by all
//! lists that it stands in.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::attempt::{Manner, attempt};
use super::health::Health;
use super::order::Candidate;
use super::query::{Meaning, Question, meaning};
use super::sockets::Sockets;
use super::stream::Streams;
use crate::table::{Transport, Upstream};

/// What making a connection adds to what is usual: a handshake or two.
const HANDSHAKES: u32 = 3;
/// But no more than this.
const LONGEST_HANDSHAKE: Duration = Duration::from_millis(500);

/// How an upstream server does, as plain values.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamStatus {
    /// The server.
    pub upstream: Upstream,
    /// True once it has answered, and as long as it does; false also while nothing is known of it.
    pub well: bool,
    /// The smoothed round-trip time, once it has answered.
    pub rtt: Option<Duration>,
    /// The time within which it usually answers: after that the next server is asked.
    pub usual: Duration,
    /// Queries sent to it, repeated ones and copies among them.
    pub queries: u64,
    /// Replies to them.
    pub replies: u64,
    /// Questions that it failed: errors, malformed replies, connections that broke.
    pub failures: u64,
    /// Questions that it had not answered within its usual time.
    pub late: u64,
    /// Messages that were not the reply to what was asked: guesses, or strays.
    pub mismatches: u64,
    /// Connections made to it.
    pub connections: u64,
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    queries: AtomicU64,
    replies: AtomicU64,
    failures: AtomicU64,
    late: AtomicU64,
    mismatches: AtomicU64,
    connections: AtomicU64,
}

impl Counters {
    /// A message that was not the reply.
    pub(super) fn mismatched(&self) {
        self.mismatches.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection is being made.
    pub(super) fn connecting(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) upstream: Upstream,
    pub(super) counters: Arc<Counters>,
    /// The connection to it.
    pub(super) streams: Streams,
    /// The UDP sockets to it that no question waits at.
    pub(super) sockets: Arc<Sockets>,
    /// What TLS needs to know, whatever runs over it.
    #[cfg(feature = "encrypted")]
    pub(super) tls: Arc<super::tls::Client>,
    health: Mutex<Health>,
    /// A copy of a question is under way.
    probing: AtomicBool,
}

impl Server {
    /// A server that nothing is known of.
    pub(super) fn new(upstream: Upstream) -> Server {
        Server {
            #[cfg(feature = "encrypted")]
            tls: Arc::new(super::tls::Client::new(&upstream)),
            upstream,
            counters: Arc::default(),
            streams: Streams::default(),
            sockets: Sockets::new(),
            health: Mutex::new(Health::new()),
            probing: AtomicBool::new(false),
        }
    }

    /// Looks at its health.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Health) -> T) -> T {
        look(&mut self.health.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// It as a question sees it.
    pub(super) fn candidate(&self, server: usize) -> Candidate {
        let (mut usual, well) = self.with(|health| (health.usual(), health.is_well()));
        let stream = self.upstream.transport() != Transport::Plain;
        if stream && !self.streams.is_open() {
            usual = (usual * HANDSHAKES).min(LONGEST_HANDSHAKE);
        }
        Candidate { server, usual, well, stream }
    }

    /// A message that was not the reply.
    pub(super) fn mismatched(&self) {
        self.counters.mismatched();
    }

    /// A query goes out.
    pub(super) fn asked(&self) {
        self.counters.queries.fetch_add(1, Ordering::Relaxed);
    }

    /// It answered, whatever it said; see [`Health::answered`].
    pub(super) fn answered(&self, rtt: Option<Duration>) {
        self.counters.replies.fetch_add(1, Ordering::Relaxed);
        self.with(|health| health.answered(rtt));
    }

    /// It failed a question, whoever else can answer it.
    pub(super) fn failed(&self) {
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// What was sent to it at `sent` has no answer within its usual time.
    pub(super) fn late(&self, sent: Instant, now: Instant) {
        self.counters.late.fetch_add(1, Ordering::Relaxed);
        self.with(|health| health.fell_silent(sent, now));
    }

    /// Sends it a copy of a question that nobody waits for, to see how it does. One at a time.
    pub(super) fn probe(self: &Arc<Server>, question: &Question, timeout: Duration) {
        if self.probing.swap(true, Ordering::Relaxed) {
            return;
        }
        let probe = Probe(self.clone());
        let question = question.clone();
        tokio::spawn(async move { probe.run(&question, timeout).await });
    }

    /// Its state, for people and metrics.
    pub(super) fn status(&self) -> UpstreamStatus {
        let (well, rtt, usual) = self.with(|health| (health.is_well(), health.rtt(), health.usual()));
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        UpstreamStatus {
            upstream: self.upstream.clone(),
            well,
            rtt,
            usual,
            queries: count(&counters.queries),
            replies: count(&counters.replies),
            failures: count(&counters.failures),
            late: count(&counters.late),
            mismatches: count(&counters.mismatches),
            connections: count(&counters.connections),
        }
    }
}

/// A copy of a question under way.
struct Probe(Arc<Server>);

impl Probe {
    async fn run(&self, question: &Question, timeout: Duration) {
        let (server, sent) = (&self.0, now());
        let usual = server.candidate(0).usual;
        let manner = Manner { connected: false, edns: true, randomize_case: false, newer_than: None };
        server.asked();
        let mut attempt = std::pin::pin!(attempt(server, question, manner));
        let result = match tokio::time::timeout(usual.min(timeout), &mut attempt).await {
            Ok(result) => result,
            Err(_) => {
                server.late(sent, now());
                let Ok(result) = tokio::time::timeout(timeout.saturating_sub(usual), attempt).await else { return };
                result
            }
        };
        match result {
            Ok(received) => {
                server.answered(received.reused.then(|| now() - sent));
                if matches!(meaning(&received.message), Meaning::Final | Meaning::Truncated { .. }) {
                    server.with(Health::helped);
                }
            }
            Err(error) => {
                tracing::debug!(upstream = %server.upstream, %error, "still not there");
                server.failed();
                server.with(|health| health.broke(sent, now()));
            }
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.probing.store(false, Ordering::Relaxed);
    }
}

/// The runtime's clock, which tests may hold.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
