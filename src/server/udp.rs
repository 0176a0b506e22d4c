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

use crate::responder::Transport;

use super::batch::{BATCH, Batch};
use super::datagrams::Datagrams;
use super::later::Later;
use super::rate::OncePerMinute;
use super::slot::Slot;
use super::worker::{Desk, Outcome, Place};

/// Batches that are served before the worker's other sockets have their turn.
const TURN: usize = 4;
/// The pause after a failed receive.
const PAUSE: Duration = Duration::from_millis(1);

/// Queries that wait, and where their replies go.
type Waiting = Vec<(SocketAddr, Later)>;

/// Serves the socket until the slot is closed.
pub(super) async fn serve(slot: &Arc<Slot>, socket: &Arc<Datagrams>) {
    static LOGGED: OncePerMinute = OncePerMinute::new();
    let is_v6 = socket.local_addr().is_ok_and(|address| address.is_ipv6());
    let mut stopped = pin!(slot.stop().wait());
    let mut is_waiting = false;
    // `None` for a stop. A task has one waker all its life: left with the stop once, it need not be left again at each query.
    let mut next = |context: &mut Context<'_>| match socket.poll_readable(context) {
        _ if slot.stop().is_set() => Poll::Ready(None),
        Poll::Pending if !std::mem::replace(&mut is_waiting, true) => stopped.as_mut().poll(context).map(|()| None),
        ready => ready.map(Some),
    };
    // The runtime refuses only when it ends.
    while let Some(Ok(mut ready)) = poll_fn(&mut next).await {
        let mut waiting = Vec::new();
        let outcome = turn(slot, socket, is_v6, &mut waiting);
        if let Ok(false) = outcome {
            ready.clear_ready();
        }
        if let Some(strays) = socket.strays() {
            while batch(slot, socket, &strays, is_v6, &mut waiting).is_ok_and(|count| count == BATCH) {}
        }
        for (receiver, later) in waiting {
            wait(slot, socket, receiver, later);
        }
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
fn turn(slot: &Arc<Slot>, socket: &Datagrams, is_v6: bool, waiting: &mut Waiting) -> io::Result<bool> {
    for _ in 0..TURN {
        match batch(slot, socket, socket, is_v6, waiting) {
            // Where several come at a time, the next have come while these were answered, mostly: looking costs less than
            // asking the kernel to tell.
            Ok(2..) if waiting.is_empty() => {}
            // A batch that is not full leaves nothing behind it: the kernel ended it because it found the socket empty, so
            // that no second receive is needed to hear that. What came since makes the socket ready anew, as each datagram
            // that comes does (epoll(7), edge-triggered), and the runtime looks at that only after this: nothing but this
            // thread takes its events.
            Ok(count) => return Ok(count == BATCH),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Receives a batch of what came to `source`, answers what can be answered at once, and sends the replies. Gives the number
/// of datagrams that came.
fn batch(
    slot: &Arc<Slot>,
    socket: &Datagrams,
    source: &impl AsRawFd,
    is_v6: bool,
    waiting: &mut Waiting,
) -> io::Result<usize> {
    Desk::with(|desk| {
        let reply_size = slot.server().responder_options().largest_over_udp();
        let known = desk.batch.take().filter(|batch| batch.reply_size() == reply_size);
        let mut batch = known.unwrap_or_else(|| Box::new(Batch::new(reply_size)));
        let received = batch.receive(source, is_v6);
        if received.is_ok() {
            let place = Place::of(slot);
            slot.count_received(false, *received.as_ref().unwrap_or(&0));
            let mut unsent =
                batch.answer(|source, query, out| match desk.respond(&place, (source, Transport::Udp), query, out) {
                    Outcome::Reply(len) => Some(len),
                    Outcome::Ignore => None,
                    Outcome::Later(later) => {
                        waiting.push((source, later));
                        None
                    }
                });
            while batch.send(socket, &mut unsent).is_err() {
                // The socket is full: the reply goes another way or nowhere, and those behind it are tried as before.
                let Some(index) = unsent.next() else { break };
                if let Some((receiver, reply)) = batch.reply(index)
                    && !socket.send_aside(reply, receiver)
                {
                    slot.server().dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        desk.batch = Some(batch);
        received
    })
}

/// Lets a query wait, or gives it what there is for one that finds no place.
fn wait(slot: &Arc<Slot>, socket: &Arc<Datagrams>, receiver: SocketAddr, later: Later) {
    let send = move |slot: &Slot, socket: &Datagrams, reply: &[u8]| {
        if !socket.send(reply, receiver) {
            slot.server().dropped.fetch_add(1, Ordering::Relaxed);
        }
    };
    match later.admit(slot) {
        Err(reply) => _ = reply.map(|reply| send(slot, socket, &reply)),
        Ok(permit) => {
            let socket = socket.clone();
            tokio::spawn(later.run(slot.clone(), permit, move |slot, reply| send(slot, &socket, &reply)));
        }
    }
}
