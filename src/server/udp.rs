//! Serving one UDP socket.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tracing::warn;

use crate::responder::ClientTransport;

use super::datagrams::Datagrams;
use super::later::Later;
use super::rate::OncePerMinute;
use super::slot::Slot;
use super::tasks::{self, Job};
use super::worker::{Desk, Outcome, Place};

/// Batches that are served before the worker's other sockets have their turn.
const TURN: usize = 4;
/// The pause after a failed receive.
const PAUSE: Duration = Duration::from_millis(1);

/// Serves the socket until the slot is closed.
pub(super) async fn serve(slot: &Arc<Slot>, socket: &Arc<Datagrams>) {
    static LOGGED: OncePerMinute = OncePerMinute::new();
    let is_v6 = socket.local_addr().is_ok_and(|address| address.is_ipv6());
    let mut stopped = pin!(slot.stop().wait());
    let _outbox = CloseOutbox { slot, socket };
    let mut is_waiting = false;
    // `None` for a stop. A task has one waker all its life: left with the stop once, it need not be left again at each query.
    let mut next = |context: &mut Context<'_>| {
        socket.send_outbox(context.waker(), || drop_reply(slot));
        match socket.poll_readable(context) {
            _ if slot.stop().is_set() => Poll::Ready(None),
            Poll::Pending if !std::mem::replace(&mut is_waiting, true) => stopped.as_mut().poll(context).map(|()| None),
            ready => ready.map(Some),
        }
    };
    // The runtime refuses only when it ends.
    while let Some(Ok(mut ready)) = poll_fn(&mut next).await {
        // What a panic has left there is of another socket perhaps.
        Desk::with(|desk| desk.waiting.clear());
        let outcome = turn(slot, socket, is_v6);
        if let Ok(false) = outcome {
            ready.clear_ready();
        }
        if let Some(strays) = socket.strays() {
            while batch(slot, socket, &strays, is_v6).is_ok_and(|came| came.is_full) {}
        }
        let mut waiting = Desk::with(|desk| std::mem::take(&mut desk.waiting));
        for (receiver, later) in waiting.drain(..) {
            wait(slot, socket, receiver, later);
        }
        Desk::with(|desk| desk.waiting = waiting);
        match outcome {
            Ok(false) => {}
            // More is waiting, here perhaps for ever: let the worker's other sockets have their turn.
            Ok(true) => tokio::task::yield_now().await,
            Err(error) => {
                // The fate of some earlier reply, or the kernel lacks memory: not the end of the socket. The pause is for
                // an error that stays.
                if LOGGED.is_due() {
                    warn!(%error, "cannot receive; trying again");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Serves what is there, a few batches of it. False if nothing is left.
fn turn(slot: &Arc<Slot>, socket: &Datagrams, is_v6: bool) -> io::Result<bool> {
    for _ in 0..TURN {
        match batch(slot, socket, socket, is_v6) {
            // Where several come at a time, the next have come while these were answered, mostly: looking costs less than
            // asking the kernel to tell.
            Ok(Came { is_full: true, .. } | Came { count: 2.., has_waiting: false, .. }) => {}
            // A batch that is not full leaves nothing behind it: the kernel ended it because it found the socket empty, so
            // that no second receive is needed to hear that. What came since makes the socket ready anew, as each datagram
            // that comes does (epoll(7), edge-triggered), and the runtime looks at that only after this: nothing but this
            // thread takes its events.
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Receives a batch of what came to `source`, answers what can be answered at once, and sends the replies. Gives the number
/// of datagrams that came.
fn batch(slot: &Arc<Slot>, socket: &Datagrams, source: &impl AsRawFd, is_v6: bool) -> io::Result<Came> {
    Desk::with(|desk| {
        let mut batch = desk.batch.take().unwrap_or_default();
        let received = batch.receive(source, is_v6);
        if let Ok((count, _)) = received {
            let place = Place::of(slot);
            batch.make_room(place.largest_over_udp());
            slot.count_received(false, count);
            desk.tell_later(place.is_watched());
            let mut replies = 0;
            let mut unsent = batch.answer(|index, source, query, out| {
                let outcome = desk.respond(&place, (source, ClientTransport::Udp), query, out);
                desk.place_seen(index, replies);
                match outcome {
                    Outcome::Reply(len) => {
                        replies += 1;
                        Some(len)
                    }
                    Outcome::Ignore => None,
                    Outcome::Later(later) => {
                        desk.waiting.push((source, later));
                        None
                    }
                }
            });
            while batch.send(socket, &mut unsent).is_err() {
                // The socket is full: the reply goes another way or nowhere, and those behind it are tried as before.
                let Some(index) = unsent.next() else { break };
                if let Some((receiver, reply)) = batch.reply(index)
                    && !socket.send_aside(reply, receiver)
                {
                    drop_reply(slot);
                }
            }
        }
        desk.tell_seen(slot, &batch);
        desk.batch = Some(batch);
        received.map(|(count, is_full)| Came { count, is_full, has_waiting: !desk.waiting.is_empty() })
    })
}

/// What a receive has brought.
struct Came {
    count: usize,
    /// There may be more.
    is_full: bool,
    /// Queries of this turn wait to be asked elsewhere.
    has_waiting: bool,
}

/// Sends what is left when nobody serves the socket any more; later replies go out at once.
struct CloseOutbox<'s> {
    slot: &'s Slot,
    socket: &'s Datagrams,
}

impl Drop for CloseOutbox<'_> {
    fn drop(&mut self) {
        self.socket.close_outbox(|| drop_reply(self.slot));
    }
}

/// Counts a reply that could not be sent.
pub(super) fn drop_reply(slot: &Slot) {
    slot.server().dropped.fetch_add(1, Ordering::Relaxed);
}

/// Lets a query wait, or gives it what there is for one that finds no place.
fn wait(slot: &Arc<Slot>, socket: &Arc<Datagrams>, receiver: SocketAddr, later: Later) {
    match later.admit(slot) {
        Ok(permit) => tasks::run(Job { later, permit, slot: slot.clone(), socket: socket.clone(), receiver }),
        Err(Some(reply)) if !socket.send_soon(&reply, receiver) => drop_reply(slot),
        Err(_) => {}
    }
}
