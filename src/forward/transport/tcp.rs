//! Questions over a connection, TCP or TLS: two octets of length before each message (RFC 1035 §4.2.2, RFC 7858 §3.3).
//!
//! One connection to a server carries all questions at a time, pipelined (RFC 7766 §6.2.1.1): each with an ID of its own,
//! answered in any order. It stays open for a while for the next one, and is made anew when it ends, or when a question
//! finds that it does not answer any more.
//!
//! Not hickory's `DnsExchange`: that one takes no raw query, and passes on a reply only if it can decode the data of every
//! record in it, which a relay of unknown and odd types must not depend on (hickory-net 0.26.3, `DnsMultiplexer::poll_next`:
//! what does not decode is dropped and the question times out).

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::attempt::{AttemptOptions, Received, said, socket_address};
use super::multiplexer::{Unanswered, serve};
use super::udp::is_ours;
use super::udp_pool::make_room;
use super::{Connections, Traffic, now};
use crate::forward::message::Question;
use crate::settings::{Transport, Upstream};

/// How long a connection may take to be made, its handshake among it.
pub(super) const CONNECT: Duration = Duration::from_secs(5);
/// Questions on their way to the task of a connection.
const QUEUE: usize = 64;
/// Connections to a server that takes one question on each, at a time; and for how long it is taken to be such a server.
const ALONE: usize = 64;
const ALONE_FOR: Duration = Duration::from_secs(60);

/// TCP, or TLS over it.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
pub(super) type Stream = Box<dyn Duplex>;

/// A question on its way to a connection.
#[derive(Debug)]
pub(super) struct PipelinedQuery {
    pub(super) question: Question,
    /// With an OPT.
    pub(super) edns: bool,
    /// Where the reply goes.
    pub(super) reply: oneshot::Sender<io::Result<Vec<u8>>>,
}

/// The connection in use, if there is one. Its task ends by itself soon after this is dropped.
#[derive(Debug)]
pub(super) struct Streams {
    slot: Mutex<Slot>,
    /// Room for connections with one question each.
    alone: Semaphore,
}

#[derive(Debug, Default)]
struct Slot {
    connection: Option<Connection>,
    /// Until then the server is taken to answer one question a connection.
    alone_until: Option<Instant>,
}

impl Default for Streams {
    fn default() -> Streams {
        Streams { slot: Mutex::default(), alone: Semaphore::new(ALONE) }
    }
}

#[derive(Debug, Clone)]
struct Connection {
    asks: mpsc::Sender<PipelinedQuery>,
    opened: Instant,
}

impl Streams {
    /// True if there is a connection, or one is being made.
    pub(super) fn is_open(&self) -> bool {
        self.slot().connection.as_ref().is_some_and(|connection| !connection.asks.is_closed())
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection in use and whether it was there already; or a new one, if there is none made later than said.
    fn get(&self, server: &Connections, newer_than: Option<Instant>) -> (Connection, bool) {
        let mut slot = self.slot();
        if let Some(connection) = slot.connection.as_ref()
            && !connection.asks.is_closed()
            && newer_than.is_none_or(|than| connection.opened > than)
        {
            return (connection.clone(), true);
        }
        let connection = Connection::open(server);
        slot.connection = Some(connection.clone());
        (connection, false)
    }

    /// True while the server is taken to answer one question a connection.
    fn is_alone(&self) -> bool {
        self.slot().alone_until.is_some_and(|until| now() < until)
    }
}

impl Connection {
    /// Starts the task that makes the connection.
    fn open(server: &Connections) -> Connection {
        let (asks, receiver) = mpsc::channel(QUEUE);
        server.traffic.connecting();
        let traffic = server.traffic.clone();
        match server.upstream.transport() {
            #[cfg(feature = "encrypted")]
            Transport::Https | Transport::Quic => {
                tokio::spawn(super::doh_doq::run(super::doh_doq::dial(server), receiver, traffic))
            }
            _ => tokio::spawn(run(dial(server), receiver, traffic)),
        };
        Connection { asks, opened: now() }
    }

    async fn ask(&self, question: &Question, edns: bool) -> io::Result<Vec<u8>> {
        let (reply, received) = oneshot::channel();
        let asked = PipelinedQuery { question: question.clone(), edns, reply };
        match self.asks.send(asked).await {
            Ok(()) => received.await.unwrap_or_else(|_| Err(ErrorKind::ConnectionAborted.into())),
            Err(_) => Err(ErrorKind::ConnectionAborted.into()),
        }
    }
}

/// Asks over the connection in use, or over a new one; once more over a new one if that in use turns out to have ended, as
/// servers do with idle ones (RFC 7766 §6.2.4). A server that hangs up on questions is asked each over a connection of its
/// own for a while.
pub(super) async fn exchange(
    server: &Connections,
    question: &Question,
    options: AttemptOptions,
) -> io::Result<Received> {
    let whole = |message: Vec<u8>, reused| Received {
        message: message.into(),
        at: now(),
        cut: false,
        respelled: false,
        reused,
    };
    let streams = &server.streams;
    let mut newer_than = options.newer_than;
    let mut again = true;
    while !streams.is_alone() {
        let (connection, reused) = streams.get(server, newer_than);
        match connection.ask(question, options.edns).await {
            // A question that finds a connection being made waits for that too.
            Ok(message) => return Ok(whole(message, reused && again)),
            Err(error) if error.get_ref().is_some_and(|cause| cause.is::<Unanswered>()) => {
                streams.slot().alone_until = Some(now() + ALONE_FOR);
            }
            Err(_) if reused && again => {
                newer_than = newer_than.max(Some(connection.opened));
                again = false;
            }
            Err(error) => return Err(error),
        }
    }
    let _room = streams.alone.acquire().await.map_err(io::Error::other)?;
    Connection::open(server).ask(question, options.edns).await.map(|message| whole(message, false))
}

/// What makes a connection to the server.
fn dial(server: &Connections) -> impl Future<Output = io::Result<Stream>> + Send + 'static {
    let upstream = server.upstream.clone();
    #[cfg(feature = "encrypted")]
    let tls = server.tls.clone();
    async move {
        let to = socket_address(upstream.address())?;
        let stream = connect(&upstream, to).await?;
        match upstream.transport() {
            #[cfg(feature = "encrypted")]
            Transport::Tls => Ok(Box::new(tls.handshake(stream).await?) as Stream),
            Transport::Plain | Transport::Tcp => Ok(Box::new(stream) as Stream),
            _ => Err(ErrorKind::Unsupported.into()),
        }
    }
}

/// A TCP connection to an upstream.
pub(super) async fn connect(upstream: &Upstream, to: SocketAddr) -> io::Result<TcpStream> {
    let stream = match connect_once(upstream, to).await {
        Err(error) if make_room(&error) => connect_once(upstream, to).await?,
        connected => connected?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn connect_once(upstream: &Upstream, to: SocketAddr) -> io::Result<TcpStream> {
    let Some(dial) = upstream.dial() else { return TcpStream::connect(to).await };
    let socket = dial.tcp(to)?;
    socket.set_nonblocking(true)?;
    TcpSocket::from_std_stream(socket).connect(to).await
}

/// The task of a connection: makes it and serves it; those who ask meanwhile wait, and hear of it when it fails.
async fn run(
    dial: impl Future<Output = io::Result<Stream>> + Send,
    mut asks: mpsc::Receiver<PipelinedQuery>,
    traffic: Arc<Traffic>,
) {
    let connected = timeout(CONNECT, dial).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
    let error = match connected {
        Ok(stream) => serve(stream, &mut asks, &traffic).await,
        Err(error) => not_connected(error),
    };
    asks.close();
    while let Ok(asked) = asks.try_recv() {
        // Whoever does not wait any more does not care.
        let _ = asked.reply.send(Err(copy(&error)));
    }
}

/// No connection could be made: the system, a handshake or a certificate says why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotConnected(pub(super) String);

/// Why no connection could be made. A want of our own is none of the server's.
pub(super) fn not_connected(error: io::Error) -> io::Error {
    if is_ours(&error) { error } else { io::Error::new(error.kind(), NotConnected(said(&error))) }
}

/// The same error for one more who asked.
pub(super) fn copy(error: &io::Error) -> io::Error {
    match (error.get_ref(), error.raw_os_error()) {
        (Some(cause), _) => match cause.downcast_ref::<NotConnected>() {
            Some(NotConnected(text)) => io::Error::new(error.kind(), NotConnected(text.clone())),
            None => io::Error::new(error.kind(), cause.to_string()),
        },
        (None, Some(code)) => io::Error::from_raw_os_error(code),
        (None, None) => error.kind().into(),
    }
}
