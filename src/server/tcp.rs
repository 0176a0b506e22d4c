//! Serving one TCP socket (answers.md C).
//!
//! Each connection has a reader and a writer. The reader takes one message after the other and answers at once what it
//! can; what has to wait for an upstream waits on its own, and the writer sends each reply when it is there. A client that
//! stops in the middle of a message, or that does not take its replies, loses its connection and costs nobody else anything.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::limits::{Limits, Permit};
use super::slot::Slot;
use super::worker::{Desk, framed};

/// The pause after a failed accept, and the longest one: descriptors come back when connections end.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// A listener that can accept nothing says so no more often than this.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// Replies that wait to be written on one connection.
const WAITING_REPLIES: usize = 16;
/// Messages that are read of one connection before others have their turn.
const TURN: usize = 16;
/// What is read of a connection at a time, octets.
const READ_BUFFER: usize = 2048;

/// Accepts connections until the slot is closed.
///
/// # Errors
/// When the runtime cannot take the socket. A failed accept is never the end (answers.md C).
pub(super) async fn serve(slot: &Arc<Slot>, socket: std::net::TcpListener) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from_std(socket)?;
    let mut pause = FIRST_PAUSE;
    let mut warned: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = slot.stop().wait() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = FIRST_PAUSE;
                match slot.server().usage.connection(peer.ip().to_canonical()) {
                    Some(permit) => drop(tokio::spawn(connection(slot.clone(), stream, peer, permit))),
                    None => debug!(%peer, "too many connections: closed"),
                }
            }
            Err(error) => {
                if warned.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
                    warned = Some(Instant::now());
                    warn!(%error, "cannot accept a connection; going on");
                }
                tokio::select! {
                    () = slot.stop().wait() => return Ok(()),
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(LAST_PAUSE),
                }
            }
        }
    }
}

/// Serves one connection to its end.
async fn connection(slot: Arc<Slot>, stream: TcpStream, peer: SocketAddr, permit: Permit) {
    // Without it small replies would wait for the acknowledgement of earlier ones; a kernel that refuses is merely slower.
    let _ = stream.set_nodelay(true);
    let limits = slot.server().usage.limits();
    let (read, write) = stream.into_split();
    let (replies, waiting) = mpsc::channel(WAITING_REPLIES);
    let reader =
        Reader { slot, peer, read: BufReader::with_capacity(READ_BUFFER, read), replies, limits: limits.clone() };
    // The writer ends when the reader and every query that waits for an upstream have dropped their senders, or when the
    // client takes nothing more; then nobody reads for it either.
    tokio::select! {
        () = writer(write, waiting, limits.tcp_message) => {}
        () = async {
            if let Err(error) = reader.run().await {
                debug!(%peer, %error, "connection ended");
            }
            std::future::pending::<()>().await
        } => {}
    }
    drop(permit);
}

/// Sends the replies as they come.
async fn writer(mut write: OwnedWriteHalf, mut replies: mpsc::Receiver<Vec<u8>>, patience: Duration) {
    while let Some(reply) = replies.recv().await {
        if !matches!(timeout(patience, write.write_all(&reply)).await, Ok(Ok(()))) {
            return;
        }
    }
}

struct Reader {
    slot: Arc<Slot>,
    peer: SocketAddr,
    read: BufReader<OwnedReadHalf>,
    replies: mpsc::Sender<Vec<u8>>,
    limits: Arc<Limits>,
}

impl Reader {
    /// Reads until the client ends, is idle for too long, breaks off in a message, or the slot is closed.
    async fn run(mut self) -> io::Result<()> {
        let slot = self.slot.clone();
        let in_flight = Arc::new(Semaphore::new(self.limits.tcp_queries_per_connection));
        // In units of 100 ms, as RFC 7828 §3.1 says it.
        let idle = u16::try_from(self.limits.tcp_idle.as_millis() / 100).unwrap_or(u16::MAX);
        for turn in (1..=TURN).cycle() {
            if turn == TURN {
                // More is read already, perhaps, and more than that behind it: let the worker's other tasks have theirs.
                tokio::task::yield_now().await;
            }
            let first = tokio::select! {
                biased;
                () = slot.stop().wait() => return Ok(()),
                first = timeout(self.limits.tcp_idle, self.read.read_u8()) => first,
            };
            let first = match first {
                Ok(Ok(first)) => first,
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Ok(Err(error)) => return Err(error),
                // A connection that waits for an upstream is not idle.
                Err(_) if in_flight.available_permits() < self.limits.tcp_queries_per_connection => continue,
                Err(_) => return Ok(()),
            };
            let message = tokio::select! {
                biased;
                () = slot.stop().wait() => return Ok(()),
                message = timeout(self.limits.tcp_message, self.message(first)) => message??,
            };
            let answered = Desk::with(|desk| desk.respond_tcp(&self.slot, self.peer, idle, &message));
            match answered {
                Ok(None) => {}
                Ok(Some(reply)) => self.send(reply).await?,
                Err(later) => {
                    let Ok(turn) = in_flight.clone().acquire_owned().await else { return Ok(()) };
                    match self.slot.server().usage.forward(later.client()) {
                        None => {
                            if let Some(reply) = later.overloaded(&self.slot) {
                                self.send(framed(&reply)).await?;
                            }
                        }
                        Some(permit) => {
                            let (slot, replies) = (self.slot.clone(), self.replies.clone());
                            tokio::spawn(async move {
                                if let Some(reply) = later.run(&slot).await {
                                    // A writer that is gone is a client that is gone.
                                    let _ = replies.send(framed(&reply)).await;
                                }
                                drop((turn, permit));
                            });
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The rest of a message whose length's first octet was read. Memory is taken as octets come, not as they are promised.
    async fn message(&mut self, first: u8) -> io::Result<Vec<u8>> {
        let len = u16::from_be_bytes([first, self.read.read_u8().await?]);
        let mut message = Vec::new();
        (&mut self.read).take(len.into()).read_to_end(&mut message).await?;
        if message.len() < len.into() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(message)
    }

    async fn send(&self, reply: Vec<u8>) -> io::Result<()> {
        self.replies.send(reply).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
