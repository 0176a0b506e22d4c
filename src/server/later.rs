//! A query that is not answered at once.

use std::net::IpAddr;

use super::exchange::Exchange;
use super::held::Held;
use super::slot::Slot;

/// What a query waits for. It has a place among its client's waiting queries (answers.md L2).
#[derive(Debug)]
pub(super) enum Later {
    /// An upstream's answer.
    Upstream(Box<Exchange>),
    /// The start of an endpoint.
    Start(Held),
}

impl Later {
    /// Who waits.
    pub(super) fn client(&self) -> IpAddr {
        match self {
            Later::Upstream(exchange) => exchange.client,
            Later::Start(held) => held.client(),
        }
    }

    /// Waits, and gives the reply; `None` where the client is to hear nothing.
    pub(super) async fn run(self, slot: &Slot) -> Option<Vec<u8>> {
        let exchange = match self {
            Later::Upstream(exchange) => exchange,
            Later::Start(held) => match held.run(slot).await {
                // The name went away meanwhile, and is somebody else's now.
                Err(exchange) => exchange,
                Ok(reply) => return reply,
            },
        };
        exchange.run(&slot.server().forwarder).await
    }

    /// The reply when too many queries wait already; `None` where the client is to hear nothing.
    pub(super) fn overloaded(&self, slot: &Slot) -> Option<Vec<u8>> {
        match self {
            Later::Upstream(exchange) => Some(exchange.overloaded(&slot.server().forwarder)),
            Later::Start(held) => match held.give_up(slot) {
                Err(exchange) => Some(exchange.overloaded(&slot.server().forwarder)),
                Ok(reply) => reply,
            },
        }
    }
}
