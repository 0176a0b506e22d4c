//! Questions over HTTPS (RFC 8484, HTTP/2) and over QUIC (RFC 9250): hickory's connections.
//!
//! hickory takes a message and gives the octets of the reply as they came, after it has decoded them. So here, unlike over
//! UDP, TCP and TLS, a reply with a record whose data is not what its type says does not come through: it counts as
//! malformed, at once, and the next server is asked. Types that hickory does not know do come through.
//!
//! As with `tcp` one connection carries all questions and is kept for a while. The ID is 0 in both protocols, for it is
//! the HTTP or QUIC stream that tells which reply is whose.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{DnsRequest, DnsRequestOptions, Message};
use hickory_resolver::net::NetError;
use hickory_resolver::net::h2::HttpsClientStream;
use hickory_resolver::net::quic::QuicClientStream;
use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{RuntimeProvider, TokioRuntimeProvider};
use hickory_resolver::net::xfer::{DnsRequestSender, FirstAnswer};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::attempt::socket_address;
use super::multiplexer::STALLED;
use super::tcp::{CONNECT, PipelinedQuery, connect, copy, not_connected};
use super::{Connections, Traffic};
use crate::settings::{Transport, Upstream};

/// How long a connection stays open with nothing to do: it was costlier to make than one of TCP.
const IDLE: Duration = Duration::from_secs(30);
/// Questions at one connection at a time; servers allow 100 streams or more.
const WAITING: usize = 1024;

/// A connection.
#[derive(Clone)]
pub(super) enum Session {
    Https(HttpsClientStream),
    Quic(QuicClientStream),
}

/// What makes a connection to the server.
pub(super) fn dial(server: &Connections) -> impl Future<Output = io::Result<Session>> + Send + 'static {
    let upstream = server.upstream.clone();
    let tls = server.tls.clone();
    async move {
        let to = socket_address(upstream.address())?;
        let config = tls.config().await?;
        let name: Arc<str> = match upstream.name() {
            Some(name) => name.into(),
            None => upstream.address().ip().to_string().into(),
        };
        let made = match upstream.transport() {
            Transport::Https => {
                let provider = Provider { upstream: upstream.clone(), tokio: TokioRuntimeProvider::new() };
                let builder = HttpsClientStream::builder(config, provider);
                builder.build(to, name, upstream.path().into()).await.map(Session::Https)
            }
            // Its sockets are quinn's own.
            Transport::Quic if upstream.dial().is_some() => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "no Dial can be used over QUIC; use tls:// or https://",
                ));
            }
            Transport::Quic => {
                let builder = QuicClientStream::builder().crypto_config((*config).clone());
                builder.build(to, name).await.map(Session::Quic)
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        made.map_err(said)
    }
}

/// Connects as `tcp` does.
#[derive(Clone)]
struct Provider {
    upstream: Upstream,
    tokio: TokioRuntimeProvider,
}

impl RuntimeProvider for Provider {
    type Handle = <TokioRuntimeProvider as RuntimeProvider>::Handle;
    type Timer = <TokioRuntimeProvider as RuntimeProvider>::Timer;
    type Udp = <TokioRuntimeProvider as RuntimeProvider>::Udp;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.tokio.create_handle()
    }

    fn connect_tcp(
        &self,
        to: SocketAddr,
        _: Option<SocketAddr>,
        _: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Tcp>>>> {
        let upstream = self.upstream.clone();
        Box::pin(async move { connect(&upstream, to).await.map(AsyncIoTokioAsStd) })
    }

    fn bind_udp(
        &self,
        local: SocketAddr,
        to: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Udp>>>> {
        self.tokio.bind_udp(local, to)
    }
}

/// The task of a connection: as in `tcp`.
pub(super) async fn run(
    dial: impl Future<Output = io::Result<Session>> + Send,
    mut asks: mpsc::Receiver<PipelinedQuery>,
    traffic: Arc<Traffic>,
) {
    let connected = timeout(CONNECT, dial).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let error = match connected {
        Ok(session) => serve(session, &mut asks, &traffic).await,
        Err(error) => not_connected(error),
    };
    asks.close();
    while let Ok(asked) = asks.try_recv() {
        let _ = asked.reply.send(Err(copy(&error)));
    }
}

/// Serves until nobody needs it or the connection breaks.
async fn serve(session: Session, asks: &mut mpsc::Receiver<PipelinedQuery>, traffic: &Arc<Traffic>) -> io::Error {
    let mut requests = JoinSet::new();
    let mut wanted = true;
    while wanted || !requests.is_empty() {
        tokio::select! {
            asked = asks.recv(), if wanted && requests.len() < WAITING => match asked {
                Some(asked) => _ = requests.spawn(answer(session.clone(), asked, traffic.clone())),
                None => wanted = false,
            },
            Some(ended) = requests.join_next(), if !requests.is_empty() => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(_) => return io::ErrorKind::ConnectionAborted.into(),
            },
            () = sleep(IDLE), if requests.is_empty() => break,
        }
    }
    io::ErrorKind::ConnectionAborted.into()
}

/// Asks one question for one who waits; `Err` if the connection is of no more use.
async fn answer(session: Session, mut asked: PipelinedQuery, traffic: Arc<Traffic>) -> io::Result<()> {
    let query = asked.question.query(0, asked.edns);
    traffic.tap.query(true, &query);
    let result = tokio::select! {
        result = timeout(STALLED, session.exchange(&query)) => result.unwrap_or(Err(NetError::Timeout)),
        () = asked.reply.closed() => return Ok(()),
    };
    let (result, broken) = match result {
        Ok(message) if asked.question.is_answered_by(&message, 0) => (Ok(message), None),
        Ok(_) => {
            traffic.mismatched();
            (Err(io::Error::other("sent the reply to another question")), None)
        }
        Err(error) => {
            let is_of_use = matches!(error, NetError::Proto(_) | NetError::Msg(_) | NetError::Message(_));
            let error = said(error);
            let broken = (!is_of_use).then(|| copy(&error));
            (Err(error), broken)
        }
    };
    // Whoever does not wait any more does not care.
    let _ = asked.reply.send(result);
    broken.map_or(Ok(()), Err)
}

impl Session {
    async fn exchange(self, query: &[u8]) -> Result<Vec<u8>, NetError> {
        let message = Message::from_vec(query)?;
        let request = DnsRequest::new(message, DnsRequestOptions::default());
        let reply = match self {
            Session::Https(mut session) => session.send_message(request),
            Session::Quic(mut session) => session.send_message(request),
        };
        Ok(reply.first_answer().await?.into_buffer())
    }
}

/// hickory's error as one of ours.
fn said(error: NetError) -> io::Error {
    match error {
        NetError::Io(error) => copy(&error),
        NetError::Timeout => io::ErrorKind::TimedOut.into(),
        error => io::Error::other(error.to_string()),
    }
}
