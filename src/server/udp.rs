//! Serving one UDP socket.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tracing::debug;

use crate::responder::Transport;

use super::batch::{BATCH, Batch};
use super::exchange::Exchange;
use super::slot::{Slot, Stop, stopped};
use super::worker::{Desk, Outcome, Place};

/// The pause after a failed receive.
const PAUSE: Duration = Duration::from_millis(1);

/// What a batch leaves to be done that has to wait.
#[derive(Default)]
struct Left {
    exchanges: Vec<(SocketAddr, Box<Exchange>)>,
    /// Replies that the socket did not take at once.
    unsent: Vec<(SocketAddr, Vec<u8>)>,
}

/// Serves the socket until the slot is closed.
///
/// # Errors
/// When the runtime cannot take the socket.
pub(super) async fn serve(slot: &Arc<Slot>, socket: std::net::UdpSocket, mut stop: Stop) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = Arc::new(UdpSocket::from_std(socket)?);
    let is_v6 = socket.local_addr()?.is_ipv6();
    let mut stopped = pin!(stopped(&mut stop));
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => break,
            // Nobody else waits for this: the place that there is for one waiter costs less than a list of them.
            ready = poll_fn(|context| socket.poll_recv_ready(context)) => ready?,
        }
        let mut left = Left::default();
        let outcome = socket.try_io(Interest::READABLE, || {
            // A batch that is not full leaves nothing behind it, which is told as if the next receive had said so already:
            // it saves that system call. The kernel ended the batch because it found the socket empty. What came since
            // makes the socket ready anew, as each datagram that comes does (epoll(7): edge-triggered, of packets), and
            // the runtime looks at that after this: nothing but this thread takes this socket's events in between.
            match batch(slot, &socket, is_v6, &mut left)? {
                BATCH => Ok(()),
                _ => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        if !left.is_nothing() {
            finish(slot, &socket, left).await;
        }
        match outcome {
            // More is waiting, here perhaps for ever: let the worker's other sockets have their turn.
            Ok(()) => tokio::task::yield_now().await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
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
        self.exchanges.is_empty() && self.unsent.is_empty()
    }
}

/// Receives a batch, answers what can be answered at once, and sends the replies. Gives the number of datagrams that came.
fn batch(slot: &Arc<Slot>, socket: &UdpSocket, is_v6: bool, left: &mut Left) -> io::Result<usize> {
    Desk::with(|desk| {
        let mut batch = desk.batch.take().unwrap_or_else(|| Box::new(Batch::new()));
        let received = batch.receive(socket, is_v6);
        if received.is_ok() {
            let place = Place::of(slot);
            let mut unsent =
                batch.answer(|source, query, out| match desk.respond(&place, (source, Transport::Udp), query, out) {
                    Outcome::Reply(len) => Some(len),
                    Outcome::Ignore => None,
                    Outcome::Forward(exchange) => {
                        left.exchanges.push((source, exchange));
                        None
                    }
                });
            // The error says only that the socket is full; the rest is sent when it is not.
            let _ = socket.try_io(Interest::WRITABLE, || batch.send(socket, &mut unsent));
            left.unsent.extend(unsent.filter_map(|index| batch.reply(index)));
        }
        desk.batch = Some(batch);
        received
    })
}

async fn finish(slot: &Arc<Slot>, socket: &Arc<UdpSocket>, left: Left) {
    for (receiver, reply) in left.unsent {
        send(socket, receiver, &reply).await;
    }
    for (receiver, exchange) in left.exchanges {
        match slot.server().usage.forward(exchange.client) {
            None => send(socket, receiver, &exchange.overloaded(&slot.server().forwarder)).await,
            Some(permit) => {
                let (slot, socket) = (slot.clone(), socket.clone());
                tokio::spawn(async move {
                    if let Some(reply) = exchange.run(&slot.server().forwarder).await {
                        send(&socket, receiver, &reply).await;
                    }
                    drop(permit);
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, receiver: SocketAddr, reply: &[u8]) {
    if let Err(error) = socket.send_to(reply, receiver).await {
        debug!(%error, %receiver, "a reply could not be sent");
    }
}
