//! Serving one UDP socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tracing::debug;

use crate::responder::Transport;

use super::batch::{BATCH, Batch};
use super::exchange::Exchange;
use super::slot::{Slot, Stop, stopped};
use super::worker::{Desk, Outcome};

/// The pause after a failed receive.
const PAUSE: Duration = Duration::from_millis(1);

/// What a batch leaves to be done that has to wait.
struct Left {
    /// Datagrams that were received.
    received: usize,
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
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            ready = socket.readable() => ready?,
        }
        match socket.try_io(Interest::READABLE, || batch(slot, &socket, is_v6)) {
            Ok(left) => {
                let is_full = left.received == BATCH;
                finish(slot, &socket, left).await;
                if is_full {
                    // More is waiting, here perhaps for ever: let the worker's other sockets have their turn.
                    tokio::task::yield_now().await;
                }
            }
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

/// Receives a batch, answers what can be answered at once, and sends the replies.
fn batch(slot: &Arc<Slot>, socket: &UdpSocket, is_v6: bool) -> io::Result<Left> {
    Desk::with(|desk| {
        let mut batch = desk.batch.take().unwrap_or_else(|| Box::new(Batch::new()));
        let left = batch.receive(socket, is_v6).map(|received| {
            let mut exchanges = Vec::new();
            let listener = slot.listener();
            let mut unsent = batch.answer(|source, query, out| {
                match desk.respond(slot, &listener, (source, Transport::Udp), query, out) {
                    Outcome::Reply(len) => Some(len),
                    Outcome::Ignore => None,
                    Outcome::Forward(exchange) => {
                        exchanges.push((source, exchange));
                        None
                    }
                }
            });
            // The error says only that the socket is full; the rest is sent when it is not.
            let _ = socket.try_io(Interest::WRITABLE, || batch.send(socket, &mut unsent));
            let unsent = unsent.filter_map(|index| batch.reply(index)).collect();
            Left { received, exchanges, unsent }
        });
        desk.batch = Some(batch);
        left
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
