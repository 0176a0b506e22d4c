//! A query that is not answered at once.

use std::net::IpAddr;
use std::sync::Arc;

use super::client_key::ClientKey;
use super::exchange::Exchange;
use super::forwards::Permit;
use super::held::Held;
use super::slot::Slot;

/// What a query waits for. It has a place among its client's waiting queries (answers.md L2).
#[derive(Debug)]
pub(super) enum Later {
    /// An upstream's answer.
    Upstream(Box<Exchange>),
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
        deliver: impl FnOnce(&Slot, Vec<u8>) + Send,
    ) -> impl Future<Output = ()> + Send {
        async move {
            // On the heap: a future that is moved to where it is pinned takes its place twice.
            let mut reply = Box::pin(self.reply(&slot));
            let given = tokio::select! {
                biased;
                reply = &mut reply => return reply.map(|reply| deliver(&slot, reply)).unwrap_or_default(),
                () = permit.displaced() => self.overloaded(&slot),
            };
            if let Some(reply) = given {
                deliver(&slot, reply);
            }
            if let Some(_lingering) = slot.server().forwards.linger() {
                reply.await;
            }
        }
    }

    /// Who waits.
    fn client(&self) -> IpAddr {
        match self {
            Later::Upstream(exchange) => exchange.client,
            Later::Start(held) => held.client(),
        }
    }

    /// The reply; `None` where the client is to hear nothing.
    async fn reply(&self, slot: &Slot) -> Option<Vec<u8>> {
        let another;
        let exchange = match self {
            Later::Upstream(exchange) => exchange,
            Later::Start(held) => match held.run(slot).await {
                // The name went away meanwhile, and is somebody else's now.
                Err(exchange) => {
                    another = exchange;
                    &another
                }
                Ok(reply) => return reply,
            },
        };
        exchange.reply(&slot.server().forwarder).await
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
