//! The messages that go to upstreams and come from them, for who wants to see them.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::settings::{Transport, Upstream};

/// Sees the messages to and from upstreams; see [`Forwarder::set_tap`](crate::forward::Forwarder::set_tap).
///
/// It is called by whoever sends or receives: what it does delays the question.
pub trait Tap: fmt::Debug + Send + Sync {
    /// False while there is nothing to see. Asked for each message.
    fn is_on(&self) -> bool {
        true
    }

    /// Sees one message.
    fn see(&self, message: &Tapped<'_>);
}

/// A message to an upstream, or its reply.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Tapped<'m> {
    /// The server.
    pub upstream: &'m Upstream,
    /// How it went: [`Transport::Tcp`] also where a server of datagrams was asked for the rest of its reply.
    pub transport: Transport,
    /// The message in wire form.
    pub message: &'m [u8],
    /// How long before it its query was sent, if it is a reply; `None` if it is a query.
    pub replied_after: Option<Duration>,
}

/// The tap of a forwarder, once there is one.
pub(in crate::forward) type TapSlot = Arc<OnceLock<Arc<dyn Tap>>>;

/// Where the messages of one server can be seen.
#[derive(Debug)]
pub(super) struct TapPoint {
    upstream: Upstream,
    slot: TapSlot,
}

impl TapPoint {
    pub(super) fn new(upstream: Upstream, slot: TapSlot) -> TapPoint {
        TapPoint { upstream, slot }
    }

    /// A query goes out; `connected` if it does so over a connection.
    pub(super) fn query(&self, connected: bool, message: &[u8]) {
        self.see(connected, message, None);
    }

    /// A reply came to a query that was sent so long ago.
    pub(super) fn reply(&self, connected: bool, message: &[u8], after: Duration) {
        self.see(connected, message, Some(after));
    }

    fn see(&self, connected: bool, message: &[u8], replied_after: Option<Duration>) {
        let Some(tap) = self.slot.get().filter(|tap| tap.is_on()) else { return };
        let transport = match self.upstream.transport() {
            Transport::Plain if connected => Transport::Tcp,
            transport => transport,
        };
        tap.see(&Tapped { upstream: &self.upstream, transport, message, replied_after });
    }
}
