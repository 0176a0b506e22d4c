//! A query that is not answered at once.

use std::cell::Cell;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use crate::forward::{Failure, Resolved};

use super::client_key::ClientKey;
use super::exchange::Exchange;
use super::forwards::Permit;
use super::held::Held;
use super::slot::Slot;

/// What a query waits for. It has a place among its client's waiting queries (answers.md L2).
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all wait for upstreams, and none is to take memory of its own")]
pub(super) enum Later {
    /// An upstream's answer.
    Upstream(Exchange),
    /// The start of an endpoint.
    Start(Box<Held>),
}

impl Later {
    /// A place among the queries that wait.
    ///
    /// # Errors
    /// The reply where there is none (answers.md L2); `None` where the client is to hear nothing.
    pub(super) fn admit(&self, slot: &Slot) -> Result<Permit, Option<Vec<u8>>> {
        let (server, client) = (slot.server(), ClientKey::of(slot.share_of(self.client())));
        let sockets = match self {
            Later::Upstream(exchange) => exchange.servers(),
            Later::Start(_) => 1,
        };
        let permit = server.forwards.admit(&slot.network(), client, sockets, &server.limits());
        permit.ok_or_else(|| self.overloaded(slot))
    }

    /// Waits, and delivers the reply if the client is to hear anything. A query that has to give way meanwhile is answered at
    /// once; others may have asked the same, and that they get their answer, it is finished all the same.
    ///
    /// No `async fn`, whose future has its arguments twice: there may be thousands.
    #[expect(clippy::manual_async_fn, reason = "its future has the arguments twice")]
    pub(super) fn run(
        self,
        slot: Arc<Slot>,
        mut permit: Permit,
        deliver: impl FnOnce(&Slot, &[u8]) + Send,
    ) -> impl Future<Output = ()> + Send {
        async move {
            let mut outcome = pin!(self.outcome(&slot));
            let came = tokio::select! {
                biased;
                came = &mut outcome => Some(came),
                () = permit.displaced() => None,
            };
            if let Some(came) = came {
                return self.give(came, &slot, deliver);
            }
            if let Some(reply) = self.overloaded(&slot) {
                deliver(&slot, &reply);
            }
            if let Some(_lingering) = slot.server().forwards.linger() {
                outcome.await;
            }
        }
    }

    /// Delivers what came of it.
    fn give(&self, came: Came, slot: &Slot, deliver: impl FnOnce(&Slot, &[u8])) {
        match (came, self) {
            (Came::Answer(resolved), Later::Upstream(exchange)) => {
                // Taken out for as long: whoever observes the query may do anything.
                let mut out = REPLY.take();
                if exchange.write(&slot.server().forwarder, resolved, &mut out) {
                    deliver(slot, &out);
                }
                REPLY.set(out);
            }
            (Came::Reply(reply), _) => _ = reply.map(|reply| deliver(slot, &reply)),
            (Came::Answer(_), Later::Start(_)) => {}
        }
    }

    /// Who waits.
    fn client(&self) -> IpAddr {
        match self {
            Later::Upstream(exchange) => exchange.client,
            Later::Start(held) => held.client(),
        }
    }

    /// Waits for what comes of it.
    async fn outcome(&self, slot: &Slot) -> Came {
        match self {
            Later::Upstream(exchange) => Came::Answer(exchange.resolve(&slot.server().forwarder).await),
            // Rare, and so in memory of its own.
            Later::Start(held) => Came::Reply(Box::pin(started(held, slot)).await),
        }
    }

    /// The reply when too many queries wait already; `None` where the client is to hear nothing.
    fn overloaded(&self, slot: &Slot) -> Option<Vec<u8>> {
        match self {
            Later::Upstream(exchange) => Some(exchange.overloaded(&slot.server().forwarder)),
            Later::Start(held) => match held.give_up(slot) {
                Err(exchange) => Some(exchange.overloaded(&slot.server().forwarder)),
                Ok(reply) => reply,
            },
        }
    }
}

/// What came of a query that waited.
enum Came {
    /// The upstream's answer, of which the reply is to be made.
    Answer(Result<Resolved, Failure>),
    /// The reply; `None` where the client is to hear nothing.
    Reply(Option<Vec<u8>>),
}

thread_local! {
    /// Where a reply is written.
    static REPLY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The reply to a query that waits for a start.
async fn started(held: &Held, slot: &Slot) -> Option<Vec<u8>> {
    match held.run(slot).await {
        // The name went away meanwhile, and is somebody else's now.
        Err(exchange) => exchange.reply(&slot.server().forwarder).await,
        Ok(reply) => reply,
    }
}
