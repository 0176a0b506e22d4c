//! A query that somebody wants to know of, from its arrival to its reply.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::responder::{Listener, Notes, Rule};
use crate::settings::Upstream;
use crate::wire::message::Header;
use crate::wire::rcode;

use super::counting::{Counted, Counting};
use super::observe::{Observed, Origin};
use super::shared::Shared;
use super::slot::Slot;

/// A query that is observed or counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sighting<'s> {
    pub(super) listener: &'s Arc<Listener>,
    pub(super) client: SocketAddr,
    pub(super) tcp: bool,
    pub(super) arrived: Instant,
    pub(super) notes: Notes,
}

impl Sighting<'_> {
    /// Counts and shows what came of it.
    pub(super) fn tell(&self, slot: &Slot, packet: &[u8], reply: Option<&[u8]>, origin: Origin) {
        tell(self, slot.server(), slot.counting(self.tcp), packet, (reply, origin, None));
    }

    /// Keeps it, with its packet, until its reply is known.
    pub(super) fn keep(self, slot: &Slot, packet: &[u8]) -> Kept {
        let kept = Waiting {
            server: slot.shared().clone(),
            counting: slot.counting(self.tcp).clone(),
            packet: packet.into(),
            listener: self.listener.clone(),
            client: self.client,
            tcp: self.tcp,
            arrived: self.arrived,
            notes: self.notes,
        };
        Kept(Mutex::new(Some(Box::new(kept))))
    }
}

/// A sighting whose reply is not known yet, if there is one.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Option<Box<Waiting>>>);

#[derive(Debug)]
struct Waiting {
    server: Arc<Shared>,
    counting: Arc<Counting>,
    packet: Box<[u8]>,
    listener: Arc<Listener>,
    client: SocketAddr,
    tcp: bool,
    arrived: Instant,
    notes: Notes,
}

impl Kept {
    /// Counts and shows what came of it, the first time.
    pub(super) fn tell(&self, reply: Option<&[u8]>, origin: Origin, upstream: Option<&Upstream>) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(kept) = kept {
            let Waiting { listener, client, tcp, arrived, notes, .. } = &*kept;
            let sighting = Sighting { listener, client: *client, tcp: *tcp, arrived: *arrived, notes: *notes };
            tell(&sighting, &kept.server, &kept.counting, &kept.packet, (reply, origin, upstream));
        }
    }
}

fn tell(
    sighting: &Sighting<'_>,
    server: &Shared,
    counting: &Counting,
    packet: &[u8],
    (reply, origin, upstream): (Option<&[u8]>, Origin, Option<&Upstream>),
) {
    let Sighting { listener, client, tcp, arrived, notes } = sighting;
    if server.hidden.has(*client) {
        return;
    }
    let duration = arrived.elapsed();
    let code = reply.and_then(Header::read).map(|header| match notes.rule {
        // Its upper bits lie in the OPT.
        Rule::H4 => rcode::BADVERS,
        _ => header.rcode(),
    });
    if server.is_counting() {
        counting.count(&Counted {
            rtype: notes.rtype,
            dnssec_ok: notes.dnssec_ok,
            query_len: packet.len(),
            reply: code.map(|code| (reply.map_or(0, <[u8]>::len), code)),
            origin,
            duration,
        });
    }
    if let Some(observer) = server.watching() {
        let mut observed = Observed::new(listener.network().name(), listener.address(), *client, packet);
        observed.endpoint = listener.endpoint();
        observed.tcp = *tcp;
        observed.reply = reply;
        observed.rule = notes.rule;
        observed.origin = origin;
        observed.upstream = upstream;
        observed.duration = duration;
        observer.observe(&observed);
    }
}

/// Where a reply is from that was made without the forwarder.
pub(super) fn origin_of(rule: Rule, reply: &[u8]) -> Origin {
    let is_refused = Header::read(reply).is_some_and(|header| header.rcode() == rcode::REFUSED);
    match rule {
        Rule::P1 | Rule::P2 | Rule::P3 | Rule::P4 | Rule::V4 | Rule::H4 | Rule::H7 => Origin::Refused,
        _ if is_refused => Origin::Refused,
        _ => Origin::Local,
    }
}
