//! Queries of our own to a server, to see whether it replies (answers.md F7). Nobody waits for them.
//!
//! A probe is `. NS` with RD=1, over the server's transport: it tells a server nothing of what clients ask, and no client
//! chooses it. It goes to a suspected server, where it decides, and is repeated as questions are, for datagrams get lost. It
//! goes to a demoted one now and then, where a copy of a real question goes along: some servers answer names and no probes.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep_until, timeout};

use super::health::Health;
use super::state::UpstreamState;
use crate::forward::message::Question;
use crate::forward::transport::{
    Attempt, AttemptError, AttemptOptions, Received, is_ours, is_unreachable, now, warn_of_want,
};
use crate::wire::message::flag;

/// How long a reply is listened to: also a late one says that the server is there.
const LISTEN: Duration = Duration::from_secs(5);

/// `. NS`.
fn question() -> Question {
    Question { question: vec![0, 0, 2, 0, 1], flags: flag::RD, dnssec_ok: false }
}

/// Probes a server that is suspected since then, at that time, unless it has replied to something until then. It is demoted
/// if it does not reply within its patience.
pub(super) fn suspected(server: &Arc<UpstreamState>, since: Instant, at: Instant) {
    let probe = Suspicion { server: server.clone(), is_open: true };
    tokio::spawn(probe.run(since, at));
}

/// Tries whether a demoted server is back, by a probe and by a copy of a question.
pub(in crate::forward) fn retry(server: &Arc<UpstreamState>, copied: Option<&Question>) {
    for question in copied.cloned().into_iter().chain([question()]) {
        let server = server.clone();
        tokio::spawn(async move {
            // Over a connection of its own: one that is there is as old as the trouble.
            let Some(mut query) = Query::send(&server, &question, Some(now())) else { return };
            if let Ok(result) = timeout(LISTEN, query.wait()).await {
                query.end(&server, result);
            }
        });
    }
}

/// Sends a server a copy of a question, to see how fast it is.
pub(in crate::forward) fn copy(server: &Arc<UpstreamState>, question: &Question) {
    let (server, question) = (server.clone(), question.clone());
    tokio::spawn(async move {
        let Some(mut query) = Query::send(&server, &question, None) else { return };
        let late = server.timing().late();
        match timeout(late, query.wait()).await {
            Ok(result) => query.end(&server, result),
            Err(_) => server.suspect(),
        }
    });
}

/// A query under way.
struct Query(Attempt);

impl Query {
    /// Asks; over a connection that is no older than said. `None` if it could not be sent, which is dealt with.
    fn send(server: &Arc<UpstreamState>, question: &Question, newer_than: Option<Instant>) -> Option<Query> {
        let (sent, options) = (now(), AttemptOptions { newer_than, ..AttemptOptions::USUAL });
        match Attempt::start(0, &server.connections, question, options, sent) {
            Ok(attempt) => Some(Query(attempt)),
            Err(error) => {
                match is_ours(&error) {
                    true => warn_of_want(&error),
                    false => server.unreachable(sent, &AttemptError::Network(error)),
                }
                None
            }
        }
    }

    async fn wait(&mut self) -> io::Result<Received> {
        poll_fn(|context| self.0.poll(context)).await
    }

    /// Waits, and sends the datagram again at doubling intervals. It decides about the server: whether it is repeated is not
    /// a matter of what clients have left of the server's budget.
    async fn wait_and_repeat(&mut self, first: Duration) -> io::Result<Received> {
        let mut interval = first;
        while self.0.is_datagram() {
            if let Ok(result) = timeout(interval, self.wait()).await {
                return result;
            }
            self.0.repeat()?;
            interval *= 2;
        }
        self.wait().await
    }

    /// Waits for as long as the server is worth; `None` if it says nothing until then.
    async fn wait_patiently(&mut self, server: &UpstreamState) -> Option<io::Result<Received>> {
        let timing = server.timing();
        timeout(timing.patience(), self.wait_and_repeat(timing.repeat())).await.ok()
    }

    fn end(self, server: &UpstreamState, result: io::Result<Received>) {
        let Query(attempt) = self;
        match result {
            Ok(received) => {
                server.answered(&attempt, &received);
                attempt.finish(received.at);
            }
            Err(error) if is_ours(&error) => warn_of_want(&error),
            Err(error) => {
                tracing::debug!(upstream = %server.upstream(), %error, "still not there");
                if is_unreachable(&error, attempt.is_datagram()) {
                    server.unreachable(attempt.sent, &AttemptError::Network(error));
                }
            }
        }
    }
}

/// A probe that decides.
struct Suspicion {
    server: Arc<UpstreamState>,
    is_open: bool,
}

impl Suspicion {
    async fn run(mut self, since: Instant, at: Instant) {
        let server = self.server.clone();
        if at > since {
            sleep_until(at.into()).await;
            if server.with(|health| health.has_replied_since(since)) {
                return;
            }
        }
        let Some(mut query) = Query::send(&server, &question(), None) else { return };
        let mut result = query.wait_patiently(&server).await;
        if !matches!(result, Some(Ok(_))) && !query.0.is_datagram() && server.connections.is_open() {
            // It may be the connection that is dead, and not the server.
            let Some(another) = Query::send(&server, &question(), Some(query.0.sent)) else { return };
            query = another;
            result = query.wait_patiently(&server).await;
        }
        match result {
            Some(Err(error)) if !is_ours(&error) && !is_unreachable(&error, query.0.is_datagram()) => {
                // It hangs up on everybody.
                self.is_open = false;
                let error = AttemptError::Network(error);
                server.probe_unanswered(at, &format!("does not answer: {error}"));
            }
            Some(result) => query.end(&server, result),
            None => {
                self.is_open = false;
                let patience = server.timing().patience();
                let silence = format!("no reply to a query, nor to a probe within {patience:?}");
                server.probe_unanswered(at, &format!("is slow or does not answer: {silence}"));
                if let Ok(result) = timeout(LISTEN, query.wait()).await {
                    query.end(&server, result);
                }
            }
        }
    }
}

impl Drop for Suspicion {
    fn drop(&mut self) {
        if self.is_open {
            self.server.with(Health::probe_ended);
        }
    }
}
