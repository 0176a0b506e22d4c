//! A query that is held until an endpoint runs (answers.md N11).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use crate::responder::ClientTransport;
use crate::wire::reply::UDP_SIZE_LARGEST;

use super::exchange::Exchange;
use super::later::Later;
use super::slot::Slot;
use super::worker::{Desk, Outcome, Place};

/// The time between two looks at a held query at least: a burst of changes costs one look.
const PAUSE: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug)]
pub(super) struct Held {
    from: (SocketAddr, ClientTransport),
    packet: Box<[u8]>,
    /// How long it waits.
    hold: Duration,
}

/// What came of a look.
enum Look {
    /// The reply; `None` for none at all.
    Reply(Option<Vec<u8>>),
    Forward(Box<Exchange>),
    Wait,
}

impl Held {
    pub(super) fn new(from: (SocketAddr, ClientTransport), packet: &[u8], hold: Duration) -> Held {
        Held { from, packet: packet.into(), hold }
    }

    pub(super) fn client(&self) -> IpAddr {
        self.from.0.ip().to_canonical()
    }

    /// Waits, and gives the reply, or the question to forward if the name is no longer ours.
    pub(super) async fn run(&self, slot: &Slot) -> Result<Option<Vec<u8>>, Box<Exchange>> {
        let ends = Instant::now() + self.hold;
        // Followed from before the first look: no change passes unseen between a look and the wait for the next one.
        let mut changes = slot.server().table.follow();
        loop {
            let looked = Instant::now();
            match self.look(slot, looked < ends) {
                Look::Reply(reply) => return Ok(reply),
                Look::Forward(exchange) => return Err(exchange),
                Look::Wait => {}
            }
            if timeout_at(ends, changes.next()).await.is_ok() {
                sleep_until((looked + PAUSE).min(ends)).await;
                while changes.try_next().is_some() {}
            }
        }
    }

    /// The reply of the table as it is, or the question to forward.
    pub(super) fn give_up(&self, slot: &Slot) -> Result<Option<Vec<u8>>, Box<Exchange>> {
        match self.look(slot, false) {
            Look::Reply(reply) => Ok(reply),
            Look::Forward(exchange) => Err(exchange),
            Look::Wait => Ok(None),
        }
    }

    /// Decides on the query again, for the last time if it may not wait.
    fn look(&self, slot: &Slot, may_hold: bool) -> Look {
        let mut out = vec![0; self.room()];
        match Desk::with(|desk| desk.respond(&Place::of(slot).holding(may_hold), self.from, &self.packet, &mut out)) {
            Outcome::Reply(len) => {
                out.truncate(len);
                Look::Reply(Some(out))
            }
            Outcome::Later(Later::Upstream(exchange)) => Look::Forward(Box::new(exchange)),
            Outcome::Later(Later::Start(_)) => Look::Wait,
            Outcome::Ignore => Look::Reply(None),
        }
    }

    /// Octets that the reply may have.
    fn room(&self) -> usize {
        match self.from.1 {
            ClientTransport::Udp => UDP_SIZE_LARGEST.into(),
            ClientTransport::Tcp { .. } => u16::MAX.into(),
        }
    }
}
