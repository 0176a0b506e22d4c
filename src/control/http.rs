//! HTTP/1.1 on a listening socket, within bounds: so many connections, requests of such a size, in such a time.
//!
//! Knows nothing of what is asked but how long it takes ([`Weight`]). What takes long has places of its own, and no others: the
//! rest is for what is answered at once, which therefore always gets through. A connection over the limit takes the place of
//! the one that has been sending its request for longest, or else of the oldest that is not worth more: who opens connections
//! and says nothing, or asks and reads nothing, keeps nobody out.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::shapes::Refusal;

/// Connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// Those of them that may follow something at a time, and those that may wait for something else than this server.
const MAX_STREAMING: usize = 32;
const MAX_WAITING: usize = 16;
/// The largest request body, octets.
const MAX_BODY: usize = 1 << 20;
/// The largest head of a request, octets.
const MAX_HEAD: usize = 16 * 1024;
/// How long a request may take to arrive: its head, and then its body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client may take nothing of what is sent to it.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);

/// A request, read whole.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    /// The parameters of the query string, decoded.
    pub(super) parameters: BTreeMap<String, String>,
    pub(super) headers: hyper::HeaderMap,
    pub(super) body: Bytes,
}

/// A reply: whole, or as it comes.
pub(super) struct Reply {
    status: StatusCode,
    content_type: &'static str,
    headers: Vec<(HeaderName, &'static str)>,
    content: Content,
}

enum Content {
    Whole(Bytes),
    Stream(mpsc::Receiver<Bytes>),
}

impl Reply {
    /// A JSON document.
    pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
        match serde_json::to_vec(value) {
            Ok(octets) => Reply::whole(status, "application/json", octets),
            Err(error) => Reply::whole(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
        }
    }

    /// Text of some kind.
    pub(super) fn whole(status: StatusCode, content_type: &'static str, content: impl Into<Bytes>) -> Reply {
        Reply { status, content_type, headers: Vec::new(), content: Content::Whole(content.into()) }
    }

    /// What comes until the sender is dropped. A client that takes nothing for [`STALL_TIMEOUT`] loses its connection.
    pub(super) fn stream(content_type: &'static str, content: mpsc::Receiver<Bytes>) -> Reply {
        Reply { status: StatusCode::OK, content_type, headers: Vec::new(), content: Content::Stream(content) }
    }

    /// With further headers.
    pub(super) fn with(mut self, headers: &[(HeaderName, &'static str)]) -> Reply {
        self.headers.extend_from_slice(headers);
        self
    }

    /// Why there is no answer.
    pub(super) fn refusal(status: StatusCode, error: impl Into<String>) -> Reply {
        Reply::json(status, &Refusal { error: error.into(), details: Vec::new() })
    }
}

/// How much of the connections a request takes, and whether it may be cut short for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// None is being answered.
    Idle,
    /// Answered at once. Where its client does not take the answer, it gives way.
    Quick,
    /// It may wait for somebody else, as an upstream: at most [`MAX_WAITING`] at a time.
    Waiting,
    /// Answered until its client has enough: at most [`MAX_STREAMING`] at a time.
    Streaming,
    /// Of somebody who is never turned away for others.
    Trusted,
}

impl Weight {
    const ALL: [Weight; 5] = [Weight::Idle, Weight::Quick, Weight::Waiting, Weight::Streaming, Weight::Trusted];

    /// How many there may be at a time, and what they do.
    fn limit(self) -> Option<(usize, &'static str)> {
        match self {
            Weight::Waiting => Some((MAX_WAITING, "requests are waiting for upstreams")),
            Weight::Streaming => Some((MAX_STREAMING, "clients are watching queries")),
            _ => None,
        }
    }
}

/// Answers requests.
pub(super) trait Handler: Send + Sync + 'static {
    /// What is known of the other end of a connection.
    type Peer: Clone + Send + Sync + 'static;

    /// How much a request takes.
    fn weight(&self, peer: &Self::Peer, asked: &Asked) -> Weight;

    /// Answers one request.
    fn answer(&self, peer: Self::Peer, asked: Asked) -> impl Future<Output = Reply> + Send;
}

/// A socket that connections come from.
pub(super) trait Accept: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// What is known of its other end.
    type Peer: Clone + Send + Sync + 'static;

    /// The next connection.
    fn next(&mut self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;
}

/// Serves connections for ever. Dropping the future ends those that are open.
pub(super) async fn serve<A: Accept, H: Handler<Peer = A::Peer>>(mut listener: A, handler: Arc<H>) {
    let connections = Arc::new(Connections::default());
    let mut tasks = JoinSet::new();
    loop {
        let next = listener.next().await;
        while tasks.try_join_next().is_some() {}
        match next {
            Ok((stream, peer)) => {
                if let Some(place) = Connections::place(&connections) {
                    tasks.spawn(connection(stream, peer, handler.clone(), place));
                }
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection for control or metrics; trying again");
                sleep(PAUSE).await;
            }
        }
    }
}

/// The connections that there are.
#[derive(Default)]
struct Connections(Mutex<(u64, BTreeMap<u64, Arc<State>>)>);

/// How a connection does.
#[derive(Default)]
struct State {
    /// The [`Weight`] of the request that is being answered.
    weight: AtomicU8,
    /// It is to end.
    end: Notify,
}

impl State {
    fn weight(&self) -> Weight {
        Weight::ALL[usize::from(self.weight.load(Ordering::Relaxed)) % Weight::ALL.len()]
    }

    fn set(&self, weight: Weight) {
        self.weight.store(weight as u8, Ordering::Relaxed);
    }
}

/// A place among the connections; given back when dropped.
struct Place {
    connections: Arc<Connections>,
    number: u64,
    state: Arc<State>,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Arc<State>>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more: the oldest of those that ask nothing gives way, or else the oldest that is answered at once. `None`
    /// if there is no such one.
    fn place(connections: &Arc<Connections>) -> Option<Place> {
        let mut lock = connections.lock();
        let (next, places) = &mut *lock;
        if places.len() >= MAX_CONNECTIONS {
            let oldest = |weight| places.iter().find(|(_, state)| state.weight() == weight).map(|(&number, _)| number);
            let oldest = oldest(Weight::Idle).or_else(|| oldest(Weight::Quick));
            let state = places.remove(&oldest?)?;
            state.end.notify_one();
        }
        *next += 1;
        let (number, state) = (*next, Arc::new(State::default()));
        places.insert(number, state.clone());
        Some(Place { connections: connections.clone(), number, state })
    }

    /// Takes a request of a connection on.
    ///
    /// # Errors
    /// There are as many of its weight as may be.
    fn admit(&self, state: &State, weight: Weight) -> Result<(), Reply> {
        // Under the lock, so that two do not take the last place.
        let lock = self.lock();
        if let Some((limit, what)) = weight.limit()
            && lock.1.values().filter(|other| other.weight() == weight).count() >= limit
        {
            let text = format!("the server is busy: {limit} {what}, and no more may; try again later");
            return Err(Reply::refusal(StatusCode::SERVICE_UNAVAILABLE, text));
        }
        state.set(weight);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().1.remove(&self.number);
    }
}

async fn connection<S, H>(stream: S, peer: H::Peer, handler: Arc<H>, place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let (state, connections) = (place.state.clone(), place.connections.clone());
    let service = service_fn(|request: Request<Incoming>| {
        let (handler, peer, state, connections) = (handler.clone(), peer.clone(), state.clone(), connections.clone());
        async move {
            let asked = match read(request).await {
                Ok(asked) => asked,
                Err(refusal) => return Ok::<_, Infallible>(response(*refusal, &state)),
            };
            let reply = match connections.admit(&state, handler.weight(&peer, &asked)) {
                Ok(()) => handler.answer(peer, asked).await,
                Err(refusal) => refusal,
            };
            Ok(response(reply, &state))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(REQUEST_TIMEOUT).max_buf_size(MAX_HEAD).pipeline_flush(true);
    let io = Watched { stream, stalled: None, state: state.clone() };
    let served = http.serve_connection(TokioIo::new(io), service);
    tokio::select! {
        () = state.end.notified() => {}
        outcome = served => if let Err(error) = outcome {
            debug!(%error, "a control or metrics connection ended");
        }
    }
    drop(place);
}

/// Reads the body of a request.
async fn read(request: Request<Incoming>) -> Result<Asked, Box<Reply>> {
    let refuse = |status, text: String| Box::new(Reply::refusal(status, text));
    let (head, body) = request.into_parts();
    let body = match timeout(REQUEST_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, format!("a request has at most {MAX_BODY} octets")));
        }
        Ok(Err(error)) => return Err(refuse(StatusCode::BAD_REQUEST, error.to_string())),
        Err(_) => return Err(refuse(StatusCode::REQUEST_TIMEOUT, "the request took too long to arrive".to_owned())),
    };
    let parameters = parameters(head.uri.query().unwrap_or_default())
        .ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "the query string is not percent-encoded UTF-8".to_owned()))?;
    let path = head.uri.path().to_owned();
    Ok(Asked { method: head.method, path, parameters, headers: head.headers, body })
}

/// The parameters of a query string; `None` if it is malformed.
#[doc(hidden)]
pub fn parameters(query: &str) -> Option<BTreeMap<String, String>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| Some((decode(key)?, decode(value)?)))
        .collect()
}

fn decode(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&octet, tail)) = rest.split_first() {
        rest = tail;
        octets.push(match octet {
            b'+' => b' ',
            b'%' => {
                let (digits, tail) = rest.split_at_checked(2)?;
                rest = tail;
                let digit = |octet: u8| (octet as char).to_digit(16);
                (digit(digits[0])? << 4 | digit(digits[1])?) as u8
            }
            octet => octet,
        });
    }
    String::from_utf8(octets).ok()
}

/// A parameter as it is written in a query string.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(octet as char),
            _ => out.push_str(&format!("%{octet:02X}")),
        }
    }
    out
}

fn response(reply: Reply, state: &Arc<State>) -> Response<Sent> {
    let Reply { status, content_type, headers: further, content } = reply;
    let mut response = Response::new(Sent { content, state: state.clone() });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(hyper::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(hyper::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    for (name, value) in further {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The body of a reply. When it is sent the connection is idle.
struct Sent {
    content: Content,
    state: Arc<State>,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.content {
            Content::Whole(octets) if octets.is_empty() => Poll::Ready(None),
            Content::Whole(octets) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(octets))))),
            Content::Stream(receiver) => receiver.poll_recv(context).map(|octets| octets.map(Frame::data).map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Whole(octets) if octets.is_empty())
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match &self.content {
            Content::Whole(octets) => hyper::body::SizeHint::with_exact(octets.len() as u64),
            Content::Stream(_) => hyper::body::SizeHint::default(),
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.state.set(Weight::Idle);
    }
}

/// A connection that ends when what is written to it is not taken.
struct Watched<S> {
    stream: S,
    /// Ends the wait for a client that takes nothing.
    stalled: Option<Pin<Box<tokio::time::Sleep>>>,
    state: Arc<State>,
}

impl<S> Watched<S> {
    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALL_TIMEOUT)));
        if stalled.as_mut().poll(context).is_ready() {
            self.state.end.notify_one();
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, octets);
        self.watch(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_malformed_ones_refused() {
        let all = parameters("name=a%2Bb+c&from=w%C3%A9b&ask").unwrap();
        let expected = [("ask", ""), ("from", "wéb"), ("name", "a+b c")];
        assert!(all.iter().map(|(key, value)| (&**key, &**value)).eq(expected), "{all:?}");
        assert_eq!(parameters("name=%ff"), None);
        assert_eq!(parameters("name=%f"), None);
        assert_eq!(parameters("name=%+1"), None);
        for text in ["a b&c=d%", "wéb", ""] {
            assert_eq!(parameters(&format!("x={}", encode(text))).unwrap()["x"], text);
        }
    }

    #[test]
    fn who_asks_nothing_gives_way_and_who_is_answered_stays() {
        let connections = Arc::new(Connections::default());
        let mut places: Vec<Place> = (0..MAX_CONNECTIONS).map(|_| Connections::place(&connections).unwrap()).collect();
        places[0].state.set(Weight::Quick);
        let late = Connections::place(&connections).unwrap();
        assert_eq!(connections.lock().1.len(), MAX_CONNECTIONS);
        assert!(connections.lock().1.contains_key(&places[0].number));
        assert!(!connections.lock().1.contains_key(&places[1].number), "the oldest of the idle ones");
        places.iter().chain([&late]).for_each(|place| place.state.set(Weight::Trusted));
        assert!(Connections::place(&connections).is_none());
        places[7].state.set(Weight::Quick);
        let later = Connections::place(&connections).unwrap();
        assert!(!connections.lock().1.contains_key(&places[7].number), "who does not take a quick answer");
        drop(later);
        places.clear();
        assert_eq!(connections.lock().1.len(), 1);
    }

    #[test]
    fn what_takes_long_leaves_places_for_what_does_not() {
        let connections = Arc::new(Connections::default());
        let places: Vec<Place> = (0..MAX_CONNECTIONS).map(|_| Connections::place(&connections).unwrap()).collect();
        let admitted = |weight| {
            let idle = places.iter().filter(|place| place.state.weight() == Weight::Idle);
            idle.take_while(|place| connections.admit(&place.state, weight).is_ok()).count()
        };
        assert_eq!((admitted(Weight::Streaming), admitted(Weight::Waiting)), (MAX_STREAMING, MAX_WAITING));
        assert_eq!(admitted(Weight::Trusted), MAX_CONNECTIONS - MAX_STREAMING - MAX_WAITING);
        places[0].state.set(Weight::Idle);
        assert!(connections.admit(&places[0].state, Weight::Streaming).is_ok(), "one has gone");
    }
}
