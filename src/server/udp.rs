//! Serving one UDP socket.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tracing::debug;

use crate::responder::Transport;

use super::batch::{BATCH, Batch};
use super::datagrams::Datagrams;
use super::later::Later;
use super::slot::Slot;
use super::worker::{Desk, Outcome, Place};

/// Batches that are served before the worker's other sockets have their turn.
const TURN: usize = 4;
/// The pause after a failed receive.
const PAUSE: Duration = Duration::from_millis(1);

/// What a batch leaves to be done that has to wait.
#[derive(Default)]
struct Left {
    later: Vec<(SocketAddr, Later)>,
    /// Replies that the socket did not take at once.
    unsent: Vec<(SocketAddr, Vec<u8>)>,
}

/// Serves the socket until the slot is closed.
///
/// # Errors
/// When the runtime cannot take the socket.
pub(super) async fn serve(slot: &Arc<Slot>, socket: std::net::UdpSocket) -> io::Result<()> {
    let socket = Arc::new(Datagrams::new(socket)?);
    let is_v6 = socket.local_addr()?.is_ipv6();
    let mut stopped = pin!(slot.stop().wait());
    let mut is_waiting = false;
    // `None` for a stop. A task has one waker all its life: left with the stop once, it need not be left again at each query.
    let mut next = |context: &mut Context<'_>| match socket.poll_readable(context) {
        _ if slot.stop().is_set() => Poll::Ready(None),
        Poll::Pending if !std::mem::replace(&mut is_waiting, true) => stopped.as_mut().poll(context).map(|()| None),
        ready => ready.map(Some),
    };
    while let Some(ready) = poll_fn(&mut next).await {
        let mut ready = ready?;
        let mut left = Left::default();
        let outcome = turn(slot, &socket, is_v6, &mut left);
        if let Ok(false) = outcome {
            ready.clear_ready();
        }
        if !left.is_nothing() {
            finish(slot, &socket, left).await;
        }
        match outcome {
            Ok(false) => {}
            // More is waiting, here perhaps for ever: let the worker's other sockets have their turn.
            Ok(true) => tokio::task::yield_now().await,
            Err(error) => {
                // The fate of some earlier reply, or the kernel lacks memory: not the end of the socket. The pause is for
                // an error that stays.
                debug!(%error, "receiving");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    slot.leave(&socket);
    Ok(())
}

impl Left {
    fn is_nothing(&self) -> bool {
        self.later.is_empty() && self.unsent.is_empty()
    }
}

/// Serves what is there, a few batches of it. False if nothing is left.
fn turn(slot: &Arc<Slot>, socket: &Datagrams, is_v6: bool, left: &mut Left) -> io::Result<bool> {
    for _ in 0..TURN {
        match batch(slot, socket, is_v6, left) {
            // Where several come at a time, the next have come while these were answered, mostly: looking costs less than
            // asking the kernel to tell.
            Ok(2..) if left.is_nothing() => {}
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

/// Receives a batch, answers what can be answered at once, and sends the replies. Gives the number of datagrams that came.
fn batch(slot: &Arc<Slot>, socket: &Datagrams, is_v6: bool, left: &mut Left) -> io::Result<usize> {
    Desk::with(|desk| {
        let reply_size = slot.server().responder_options().largest_over_udp();
        let known = desk.batch.take().filter(|batch| batch.reply_size() == reply_size);
        let mut batch = known.unwrap_or_else(|| Box::new(Batch::new(reply_size)));
        let received = batch.receive(socket, is_v6);
        if received.is_ok() {
            let place = Place::of(slot);
            let mut unsent =
                batch.answer(|source, query, out| match desk.respond(&place, (source, Transport::Udp), query, out) {
                    Outcome::Reply(len) => Some(len),
                    Outcome::Ignore => None,
                    Outcome::Later(later) => {
                        left.later.push((source, later));
                        None
                    }
                });
            // The error says only that the socket is full; the rest is sent when it is not.
            let _ = batch.send(socket, &mut unsent);
            left.unsent.extend(unsent.filter_map(|index| batch.reply(index)));
        }
        desk.batch = Some(batch);
        received
    })
}

async fn finish(slot: &Arc<Slot>, socket: &Arc<Datagrams>, left: Left) {
    for (receiver, reply) in left.unsent {
        send(socket, receiver, &reply).await;
    }
    for (receiver, later) in left.later {
        match slot.server().usage.forward(later.client()) {
            None => {
                if let Some(reply) = later.overloaded(slot) {
                    send(socket, receiver, &reply).await;
                }
            }
            Some(permit) => {
                let (slot, socket) = (slot.clone(), socket.clone());
                tokio::spawn(async move {
                    if let Some(reply) = later.run(&slot).await {
                        send(&socket, receiver, &reply).await;
                    }
                    drop(permit);
                });
            }
        }
    }
}

async fn send(socket: &Datagrams, receiver: SocketAddr, reply: &[u8]) {
    if let Err(error) = socket.send_to(reply, receiver).await {
        debug!(%error, %receiver, "a reply could not be sent");
    }
}
