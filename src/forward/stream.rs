//! Questions over a connection, TCP or TLS: two octets of length before each message (RFC 1035 §4.2.2, RFC 7858 §3.3).
//!
//! One connection to a server carries all questions at a time, pipelined (RFC 7766 §6.2.1.1): each with an ID of its own,
//! answered in any order. It stays open for a while for the next one, and is made anew when it ends, or when a question
//! finds that it does not answer any more.
//!
//! Not hickory's `DnsExchange`: that one takes no raw query, and passes on a reply only if it can decode the data of every
//! record in it, which a relay of unknown and odd types must not depend on (hickory-net 0.26.3, `DnsMultiplexer::poll_next`:
//! what does not decode is dropped and the question times out).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep_until, timeout};

use super::attempt::{Manner, Received, socket_address};
use super::datagram::random_id;
use super::query::Question;
use super::server::{Counters, Server, now};
use crate::table::Transport;

/// How long a connection may take to be made, its handshake among it.
pub(super) const CONNECT: Duration = Duration::from_secs(5);
/// How long a connection stays open with nothing to do (RFC 7766 §6.2.3: a few seconds).
const IDLE: Duration = Duration::from_secs(10);
/// A connection that has brought nothing for so long while questions wait is dead.
pub(super) const STALLED: Duration = Duration::from_secs(5);
/// Questions on their way to the task of a connection.
const QUEUE: usize = 64;
/// Questions that wait at one connection. More would make free IDs rare, and easy to guess.
const WAITING: usize = 4096;
/// No more questions are written behind so many octets that the server has not taken.
const UNSENT: usize = 64 * 1024;

/// TCP, or TLS over it.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
type Stream = Box<dyn Duplex>;

/// A question on its way to a connection.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) question: Question,
    /// With an OPT.
    pub(super) edns: bool,
    /// Where the reply goes.
    pub(super) reply: oneshot::Sender<io::Result<Vec<u8>>>,
}

/// The connection in use, if there is one. Its task ends by itself soon after this is dropped.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<Option<Connection>>);

#[derive(Debug, Clone)]
struct Connection {
    asks: mpsc::Sender<Asked>,
    opened: Instant,
}

impl Streams {
    /// True if there is a connection, or one is being made.
    pub(super) fn is_open(&self) -> bool {
        self.slot().as_ref().is_some_and(|connection| !connection.asks.is_closed())
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection in use and whether it was there already; or a new one, if there is none made later than said.
    fn get(&self, server: &Server, newer_than: Option<Instant>) -> (Connection, bool) {
        let mut slot = self.slot();
        if let Some(connection) = slot.as_ref()
            && !connection.asks.is_closed()
            && newer_than.is_none_or(|than| connection.opened > than)
        {
            return (connection.clone(), true);
        }
        let (asks, receiver) = mpsc::channel(QUEUE);
        server.counters.connecting();
        let counters = server.counters.clone();
        match server.upstream.transport() {
            #[cfg(feature = "encrypted")]
            Transport::Https | Transport::Quic => {
                tokio::spawn(super::session::run(super::session::dial(server), receiver, counters))
            }
            _ => tokio::spawn(run(dial(server), receiver, counters)),
        };
        let connection = Connection { asks, opened: now() };
        *slot = Some(connection.clone());
        (connection, false)
    }
}

/// Asks over the connection in use, or over a new one; once more over a new one if that in use turns out to have ended, as
/// servers do with idle ones (RFC 7766 §6.2.4).
pub(super) async fn exchange(server: &Server, question: &Question, manner: Manner) -> io::Result<Received> {
    let mut newer_than = manner.newer_than;
    let mut again = true;
    loop {
        let (connection, reused) = server.streams.get(server, newer_than);
        let (reply, received) = oneshot::channel();
        let asked = Asked { question: question.clone(), edns: manner.edns, reply };
        let result = match connection.asks.send(asked).await {
            Ok(()) => received.await.unwrap_or_else(|_| Err(io::ErrorKind::ConnectionAborted.into())),
            Err(_) => Err(io::ErrorKind::ConnectionAborted.into()),
        };
        match result {
            Err(_) if reused && again => {
                newer_than = newer_than.max(Some(connection.opened));
                again = false;
            }
            Err(error) => return Err(error),
            // A question that finds a connection being made waits for that too.
            Ok(message) => return Ok(Received { message, cut: false, respelled: false, reused }),
        }
    }
}

/// What makes a connection to the server.
fn dial(server: &Server) -> impl Future<Output = io::Result<Stream>> + Send + 'static {
    let upstream = server.upstream.clone();
    #[cfg(feature = "encrypted")]
    let tls = server.tls.clone();
    async move {
        let stream = TcpStream::connect(socket_address(upstream.address())?).await?;
        stream.set_nodelay(true)?;
        match upstream.transport() {
            #[cfg(feature = "encrypted")]
            Transport::Tls => Ok(Box::new(tls.handshake(stream).await?) as Stream),
            Transport::Plain | Transport::Tcp => Ok(Box::new(stream) as Stream),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// The task of a connection: makes it and serves it; those who ask meanwhile wait, and hear of it when it fails.
async fn run(
    dial: impl Future<Output = io::Result<Stream>> + Send,
    mut asks: mpsc::Receiver<Asked>,
    counters: Arc<Counters>,
) {
    let connected = timeout(CONNECT, dial).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let error = match connected {
        Ok(stream) => serve(stream, &mut asks, &counters).await,
        Err(error) => error,
    };
    asks.close();
    while let Ok(asked) = asks.try_recv() {
        // Whoever does not wait any more does not care.
        let _ = asked.reply.send(Err(copy(&error)));
    }
}

/// The same error for one more who asked.
pub(super) fn copy(error: &io::Error) -> io::Error {
    match error.get_ref() {
        Some(cause) => io::Error::new(error.kind(), cause.to_string()),
        None => error.kind().into(),
    }
}

/// Serves a connection until it ends or nobody needs it; says how it ended.
async fn serve(stream: Stream, asks: &mut mpsc::Receiver<Asked>, counters: &Counters) -> io::Error {
    let (read, write) = tokio::io::split(stream);
    let mut exchange = Pipeline {
        read,
        write,
        received: Vec::new(),
        unsent: Vec::new(),
        unflushed: false,
        waiting: HashMap::default(),
        heard: now(),
    };
    let error = match exchange.run(asks, counters).await {
        Ok(()) => io::ErrorKind::ConnectionAborted.into(),
        Err(error) => error,
    };
    for (_, asked) in exchange.waiting.drain() {
        let _ = asked.reply.send(Err(copy(&error)));
    }
    error
}

/// A connection and the questions that wait at it.
struct Pipeline {
    read: ReadHalf<Stream>,
    write: WriteHalf<Stream>,
    /// Octets of a message that is not whole yet: at most one message and one read more.
    received: Vec<u8>,
    unsent: Vec<u8>,
    unflushed: bool,
    waiting: HashMap<u16, Asked, foldhash::fast::RandomState>,
    /// When something last came or went: a reply, a question, the connection itself.
    heard: Instant,
}

impl Pipeline {
    async fn run(&mut self, asks: &mut mpsc::Receiver<Asked>, counters: &Counters) -> io::Result<()> {
        let mut wanted = true;
        loop {
            if !wanted && self.waiting.is_empty() {
                return Ok(());
            }
            let quiet = if self.waiting.is_empty() { IDLE } else { STALLED };
            if self.waiting.len() >= WAITING {
                self.waiting.retain(|_, asked| !asked.reply.is_closed());
            }
            let is_room = self.unsent.len() < UNSENT && self.waiting.len() < WAITING;
            self.received.reserve(2048);
            let flushing = self.unsent.is_empty();
            tokio::select! {
                asked = asks.recv(), if wanted && is_room => match asked {
                    Some(asked) => self.ask(asked)?,
                    None => wanted = false,
                },
                read = self.read.read_buf(&mut self.received) => {
                    if read? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.heard = now();
                    self.take_messages(counters);
                }
                written = push(&mut self.write, &self.unsent), if self.unflushed || !self.unsent.is_empty() => {
                    self.unsent.drain(..written?);
                    self.unflushed = !self.unsent.is_empty() || !flushing;
                }
                () = sleep_until((self.heard + quiet).into()) => {
                    let stalled = !self.waiting.is_empty();
                    return if stalled { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) };
                }
            }
        }
    }

    /// Writes a question, with an ID that no other one has.
    fn ask(&mut self, asked: Asked) -> io::Result<()> {
        if self.waiting.is_empty() {
            self.heard = now();
        }
        let place = loop {
            if let Entry::Vacant(place) = self.waiting.entry(random_id()?) {
                break place;
            }
        };
        let query = asked.question.query(*place.key(), asked.edns);
        self.unsent.extend_from_slice(&(query.len() as u16).to_be_bytes());
        self.unsent.extend_from_slice(&query);
        place.insert(asked);
        Ok(())
    }

    /// Gives each whole message to who asked for it. What nobody asked for is counted and left out.
    fn take_messages(&mut self, counters: &Counters) {
        let mut at = 0;
        while let Some(message) = framed(&self.received[at..]) {
            at += 2 + message.len();
            let id = message.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
            match self.waiting.get(&id) {
                Some(asked) if asked.question.is_answered_by(message, id) => {
                    if let Some(asked) = self.waiting.remove(&id) {
                        let _ = asked.reply.send(Ok(message.to_vec()));
                    }
                }
                _ => counters.mismatched(),
            }
        }
        self.received.drain(..at);
    }
}

/// Writes some of it; with nothing to write, sees to it that all that was written is on its way. May be dropped at any time.
async fn push(write: &mut WriteHalf<Stream>, unsent: &[u8]) -> io::Result<usize> {
    if unsent.is_empty() {
        write.flush().await?;
        return Ok(0);
    }
    match write.write(unsent).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        written => Ok(written),
    }
}

/// The first message, if it is whole.
fn framed(octets: &[u8]) -> Option<&[u8]> {
    let (len, rest) = octets.split_first_chunk()?;
    rest.get(..usize::from(u16::from_be_bytes(*len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_stream() {
        assert_eq!(framed(b""), None);
        assert_eq!(framed(b"\x00"), None);
        assert_eq!(framed(b"\x00\x00"), Some(&b""[..]));
        assert_eq!(framed(b"\x00\x03ab"), None);
        assert_eq!(framed(b"\x00\x02abc"), Some(&b"ab"[..]));
    }
}
