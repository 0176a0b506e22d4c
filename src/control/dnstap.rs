//! dnstap (dnstap.info): queries and replies, of clients and of upstreams, as protocol buffers in frame streams to a reader at
//! a socket.
//!
//! A thread of its own connects, writes, and connects again, behind a bounded queue: a reader that stalls or is away slows no
//! answer. What does not fit is dropped and counted.

use std::fmt;
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use prost::Message as _;
use socket2::{Domain, SockAddr, Socket, Type};
use tracing::{info, warn};

use crate::forward::Tapped;
use crate::server::Observed;
use crate::settings::Transport;

/// Messages that wait to be written, and the octets in them.
const QUEUE: usize = 8192;
const MAX_QUEUED_LEN: usize = 8 * 1024 * 1024;
/// How long the reader may take to be connected to, to answer the handshake, and to take what is written.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time between two attempts to connect: at first, and at most.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(30);
/// How long the end waits for what is left to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often it is seen whether the reader is still there, where nothing is to be written.
const TICK: Duration = Duration::from_secs(1);
/// Messages that are written without being counted.
const MAX_UNFLUSHED: u64 = 512;
const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";

/// Where the reader listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnstapTarget {
    /// A unix socket.
    Unix(PathBuf),
    /// An address and a port.
    Tcp(SocketAddr),
}

impl fmt::Display for DnstapTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DnstapTarget::Unix(path) => write!(f, "unix:{}", path.display()),
            DnstapTarget::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// What a [`Dnstap`] has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DnstapStatus {
    /// True while there is a reader.
    pub connected: bool,
    /// Why there is none.
    pub error: Option<String>,
    /// Messages that were written.
    pub sent: u64,
    /// Messages that were not.
    pub dropped: u64,
}

/// A writer of dnstap. Dropping it writes what is left, for as long as a second.
#[derive(Debug)]
pub struct Dnstap {
    target: DnstapTarget,
    queue: Option<SyncSender<Item>>,
    shared: Arc<Shared>,
    thread: Thread,
    ended: Mutex<Receiver<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_closing: AtomicBool,
    is_connected: AtomicBool,
    error: Mutex<Option<String>>,
    queued_len: AtomicUsize,
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl Shared {
    fn set_error(&self, error: Option<String>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}

/// One or two messages, as they are kept until they are written.
#[derive(Debug)]
struct Item {
    kind: Kind,
    protocol: Protocol,
    initiator: Option<SocketAddr>,
    responder: SocketAddr,
    query_time: SystemTime,
    reply_time: SystemTime,
    query: Option<Box<[u8]>>,
    reply: Option<Box<[u8]>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Client,
    Forwarder,
}

/// `SocketProtocol` of dnstap.proto.
#[derive(Debug, Clone, Copy)]
enum Protocol {
    Udp = 1,
    Tcp = 2,
    Tls = 3,
    Https = 4,
    Quic = 7,
}

impl Item {
    fn len(&self) -> usize {
        [&self.query, &self.reply].into_iter().flatten().map(|message| message.len()).sum()
    }

    /// What is written of it.
    fn messages(self) -> impl Iterator<Item = Message> {
        // Message.Type: CLIENT_QUERY is 5 and CLIENT_RESPONSE 6, FORWARDER_QUERY 7 and FORWARDER_RESPONSE 8.
        let query_kind = if self.kind == Kind::Client { 5 } else { 7 };
        let base = Message {
            kind: query_kind,
            family: Some(if self.responder.is_ipv4() { 1 } else { 2 }),
            protocol: Some(self.protocol as i32),
            query_address: self.initiator.map(|address| octets(address.ip())),
            query_port: self.initiator.map(|address| address.port().into()),
            response_address: Some(octets(self.responder.ip())),
            response_port: Some(self.responder.port().into()),
            ..Message::default()
        };
        let (query_sec, query_nsec) = since_1970(self.query_time);
        let base = Message { query_time_sec: Some(query_sec), query_time_nsec: Some(query_nsec), ..base };
        let (reply_sec, reply_nsec) = since_1970(self.reply_time);
        let query = self.query.map(|query| Message { query_message: Some(query.into_vec()), ..base.clone() });
        let reply = self.reply.map(|reply| Message {
            kind: query_kind + 1,
            response_time_sec: Some(reply_sec),
            response_time_nsec: Some(reply_nsec),
            response_message: Some(reply.into_vec()),
            ..base
        });
        query.into_iter().chain(reply)
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn since_1970(time: SystemTime) -> (u64, u32) {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (since.as_secs(), since.subsec_nanos())
}

/// `Dnstap` of dnstap.proto, of which the whole is at github.com/dnstap/dnstap.pb.
#[derive(Clone, PartialEq, prost::Message)]
struct Frame {
    #[prost(bytes = "vec", optional, tag = "1")]
    identity: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    version: Option<Vec<u8>>,
    #[prost(message, optional, tag = "14")]
    message: Option<Message>,
    /// MESSAGE is 1.
    #[prost(int32, required, tag = "15")]
    kind: i32,
}

/// `Message` of dnstap.proto.
#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(int32, required, tag = "1")]
    kind: i32,
    #[prost(int32, optional, tag = "2")]
    family: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    protocol: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "4")]
    query_address: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "5")]
    response_address: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "6")]
    query_port: Option<u32>,
    #[prost(uint32, optional, tag = "7")]
    response_port: Option<u32>,
    #[prost(uint64, optional, tag = "8")]
    query_time_sec: Option<u64>,
    #[prost(fixed32, optional, tag = "9")]
    query_time_nsec: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "10")]
    query_message: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "12")]
    response_time_sec: Option<u64>,
    #[prost(fixed32, optional, tag = "13")]
    response_time_nsec: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "14")]
    response_message: Option<Vec<u8>>,
}

impl Dnstap {
    /// Starts the thread that connects and writes.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(target: DnstapTarget) -> io::Result<Arc<Dnstap>> {
        let (queue, items) = sync_channel(QUEUE);
        let (end, ended) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let writer = Writer::new(target.clone(), items, shared.clone());
        let thread = std::thread::Builder::new().name("dnstap".to_owned()).spawn(move || {
            writer.run();
            // Whoever has stopped waiting does not care.
            let _ = end.try_send(());
        })?;
        let (thread, ended) = (thread.thread().clone(), Mutex::new(ended));
        Ok(Arc::new(Dnstap { target, queue: Some(queue), shared, thread, ended }))
    }

    /// Where it writes to.
    pub fn target(&self) -> &DnstapTarget {
        &self.target
    }

    /// What it has done.
    pub fn status(&self) -> DnstapStatus {
        let shared = &self.shared;
        DnstapStatus {
            connected: shared.is_connected.load(Ordering::Relaxed),
            error: shared.error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            sent: shared.sent.load(Ordering::Relaxed),
            dropped: shared.dropped.load(Ordering::Relaxed),
        }
    }

    /// A client's query, and its reply if there is one.
    pub(super) fn client(&self, query: &Observed<'_>) {
        let now = SystemTime::now();
        let len = query.query.len() + query.reply.map_or(0, <[u8]>::len);
        self.put(len, 1 + u64::from(query.reply.is_some()), || Item {
            kind: Kind::Client,
            protocol: if query.tcp { Protocol::Tcp } else { Protocol::Udp },
            initiator: Some(canonical(query.client)),
            responder: canonical(query.listener),
            query_time: now.checked_sub(query.duration).unwrap_or(now),
            reply_time: now,
            query: Some(query.query.into()),
            reply: query.reply.map(Into::into),
        });
    }

    /// A message to or from an upstream.
    pub(super) fn forwarder(&self, tapped: &Tapped<'_>) {
        let now = SystemTime::now();
        let message = Some(tapped.message);
        let (query, reply) = if tapped.replied_after.is_none() { (message, None) } else { (None, message) };
        let address = tapped.upstream.address();
        self.put(tapped.message.len(), 1, || Item {
            kind: Kind::Forwarder,
            protocol: match tapped.transport {
                Transport::Plain => Protocol::Udp,
                Transport::Tcp => Protocol::Tcp,
                Transport::Tls => Protocol::Tls,
                Transport::Https => Protocol::Https,
                Transport::Quic => Protocol::Quic,
            },
            initiator: None,
            responder: SocketAddr::new(address.ip(), address.port().unwrap_or(53)),
            query_time: tapped.replied_after.and_then(|after| now.checked_sub(after)).unwrap_or(now),
            reply_time: now,
            query: query.map(Into::into),
            reply: reply.map(Into::into),
        });
    }

    /// Queues what holds so many octets in so many messages.
    fn put(&self, len: usize, messages: u64, item: impl FnOnce() -> Item) {
        let Some(queue) = &self.queue else { return };
        let shared = &self.shared;
        let is_room = shared.queued_len.fetch_add(len, Ordering::Relaxed) + len <= MAX_QUEUED_LEN;
        if !is_room || queue.try_send(item()).is_err() {
            shared.queued_len.fetch_sub(len, Ordering::Relaxed);
            shared.dropped.fetch_add(messages, Ordering::Relaxed);
        }
    }
}

impl Drop for Dnstap {
    fn drop(&mut self) {
        self.queue.take();
        self.shared.is_closing.store(true, Ordering::Relaxed);
        self.thread.unpark();
        // It ends by itself soon after, whatever the reader does.
        let _ = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner).recv_timeout(LAST_WORDS);
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What the thread has.
struct Writer {
    target: DnstapTarget,
    items: Receiver<Item>,
    shared: Arc<Shared>,
    identity: Vec<u8>,
}

impl Writer {
    fn new(target: DnstapTarget, items: Receiver<Item>, shared: Arc<Shared>) -> Writer {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Writer { target, items, shared, identity: name.trim().as_bytes().to_vec() }
    }

    fn is_closing(&self) -> bool {
        self.shared.is_closing.load(Ordering::Relaxed)
    }

    fn run(self) {
        let mut retry = FIRST_RETRY;
        let mut is_warned = false;
        while !self.is_closing() {
            let outcome = self.connect().and_then(|stream| {
                info!(target = %self.target, "dnstap: connected");
                self.shared.set_error(None);
                self.shared.is_connected.store(true, Ordering::Relaxed);
                (retry, is_warned) = (FIRST_RETRY, false);
                let outcome = self.write_all(stream);
                self.shared.is_connected.store(false, Ordering::Relaxed);
                outcome
            });
            let Err(error) = outcome else { return };
            let error = match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => "the reader takes nothing".to_owned(),
                _ => error.to_string(),
            };
            if !std::mem::replace(&mut is_warned, true) {
                warn!(target = %self.target, error, "dnstap: not connected; trying again");
            }
            self.shared.set_error(Some(error));
            if !self.is_closing() {
                std::thread::park_timeout(retry);
                retry = (retry * 2).min(MAX_RETRY);
            }
        }
    }

    /// Connects, and agrees on what is written (the handshake of frame streams that go both ways).
    fn connect(&self) -> io::Result<Socket> {
        let (socket, address) = match &self.target {
            DnstapTarget::Unix(path) => (Socket::new(Domain::UNIX, Type::STREAM, None)?, SockAddr::unix(path)?),
            DnstapTarget::Tcp(address) => {
                (Socket::new(Domain::for_address(*address), Type::STREAM, None)?, SockAddr::from(*address))
            }
        };
        // Of a unix socket it is also the patience with a reader that accepts nothing.
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        match &self.target {
            DnstapTarget::Unix(_) => socket.connect(&address)?,
            DnstapTarget::Tcp(_) => socket.connect_timeout(&address, PATIENCE)?,
        }
        let mut stream = &socket;
        stream.write_all(&control(Control::Ready))?;
        expect(&mut stream, Control::Accept)?;
        stream.write_all(&control(Control::Start))?;
        Ok(socket)
    }

    /// Writes what comes until nothing does any more.
    fn write_all(&self, stream: Socket) -> io::Result<()> {
        let mut out = BufWriter::new(&stream);
        // Messages that may be in the buffer only.
        let mut unflushed = 0;
        let written = self.write_items(&mut out, &mut unflushed);
        if written.is_err() {
            self.shared.dropped.fetch_add(unflushed, Ordering::Relaxed);
            // Not tried again when it is dropped.
            let _ = out.into_parts();
        }
        written
    }

    fn write_items(&self, out: &mut BufWriter<&Socket>, unflushed: &mut u64) -> io::Result<()> {
        loop {
            let item = match self.items.try_recv() {
                Ok(item) => item,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    self.flush(out, unflushed)?;
                    let item = self.items.recv_timeout(TICK);
                    if is_closed(out.get_ref())? {
                        return Err(io::Error::other("the reader has gone"));
                    }
                    match item {
                        Ok(item) => item,
                        Err(RecvTimeoutError::Timeout) => continue,
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                }
            };
            if *unflushed >= MAX_UNFLUSHED {
                self.flush(out, unflushed)?;
            }
            self.shared.queued_len.fetch_sub(item.len(), Ordering::Relaxed);
            for message in item.messages() {
                *unflushed += 1;
                let frame = Frame {
                    identity: Some(self.identity.clone()),
                    version: Some(concat!("callsign ", env!("CARGO_PKG_VERSION")).into()),
                    message: Some(message),
                    kind: 1,
                };
                let frame = frame.encode_to_vec();
                out.write_all(&(frame.len() as u32).to_be_bytes())?;
                out.write_all(&frame)?;
            }
        }
        out.write_all(&control(Control::Stop))?;
        self.flush(out, unflushed)?;
        let mut stream = *out.get_ref();
        expect(&mut stream, Control::Finish)
    }

    fn flush(&self, out: &mut BufWriter<&Socket>, unflushed: &mut u64) -> io::Result<()> {
        out.flush()?;
        self.shared.sent.fetch_add(std::mem::take(unflushed), Ordering::Relaxed);
        Ok(())
    }
}

/// True if the reader has closed the connection, which a write does not tell at once.
fn is_closed(socket: &Socket) -> io::Result<bool> {
    match recv(socket.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
        Ok(len) => Ok(len == 0),
        Err(Errno::EAGAIN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The control frames of frame streams (farsightsec.github.io/fstrm).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    Accept = 1,
    Start = 2,
    Stop = 3,
    Ready = 4,
    Finish = 5,
}

/// A control frame: no length, its own length, its kind, and what is written, where that is said.
fn control(kind: Control) -> Vec<u8> {
    let mut body = (kind as u32).to_be_bytes().to_vec();
    if matches!(kind, Control::Ready | Control::Start) {
        body.extend(1_u32.to_be_bytes());
        body.extend((CONTENT_TYPE.len() as u32).to_be_bytes());
        body.extend(CONTENT_TYPE);
    }
    [&[0; 4][..], &(body.len() as u32).to_be_bytes(), &body].concat()
}

/// Reads a control frame of this kind.
fn expect(stream: &mut impl Read, kind: Control) -> io::Result<()> {
    const MAX_LEN: u32 = 512;
    let mut word = || -> io::Result<u32> {
        let mut octets = [0; 4];
        stream.read_exact(&mut octets)?;
        Ok(u32::from_be_bytes(octets))
    };
    let wrong = || io::Error::other("the reader does not speak frame streams");
    let (escape, len, found) = (word()?, word()?, word()?);
    if escape != 0 || !(4..=MAX_LEN).contains(&len) || found != kind as u32 {
        return Err(wrong());
    }
    let mut rest = vec![0; len as usize - 4];
    stream.read_exact(&mut rest)?;
    // What the reader takes, if it says so.
    let is_taken = rest.is_empty() || rest.windows(CONTENT_TYPE.len()).any(|field| field == CONTENT_TYPE);
    if is_taken { Ok(()) } else { Err(io::Error::other("the reader does not take dnstap")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_frames_are_what_frame_streams_say() {
        assert_eq!(control(Control::Stop), [0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 3]);
        let ready = control(Control::Ready);
        assert_eq!(ready[..20], [0, 0, 0, 0, 0, 0, 0, 34, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 22]);
        assert_eq!(&ready[20..], CONTENT_TYPE);
        let read = |octets: &[u8], kind| expect(&mut &*octets, kind).map_err(|error| error.to_string());
        assert_eq!(read(&ready, Control::Ready), Ok(()));
        assert_eq!(read(&control(Control::Finish), Control::Finish), Ok(()));
        assert!(read(&control(Control::Finish), Control::Accept).unwrap_err().contains("frame streams"));
        assert!(read(b"HTTP/1.1 400 Bad Request\r\n", Control::Accept).unwrap_err().contains("frame streams"));
        let other = [&[0; 4][..], &[0, 0, 0, 14, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2], b"xx"].concat();
        assert!(read(&other, Control::Accept).unwrap_err().contains("does not take dnstap"));
        assert!(read(&ready[..10], Control::Ready).is_err());
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let dnstap = Dnstap::start(DnstapTarget::Unix(directory.path().join("nobody"))).unwrap();
        let client = "10.10.1.2:4000".parse().unwrap();
        let listener = "10.10.1.1:53".parse().unwrap();
        let query = vec![0; 64 * 1024];
        let observed = Observed::new("shop", listener, client, &query);
        let fit = MAX_QUEUED_LEN / query.len();
        for _ in 0..fit + 3 {
            dnstap.client(&observed);
        }
        assert_eq!(dnstap.status().dropped, 3, "octets are bounded");
        let small = Observed::new("shop", listener, client, b"");
        for _ in 0..QUEUE - fit + 4 {
            dnstap.client(&small);
        }
        assert_eq!(dnstap.status().dropped, 7, "and so are messages");
    }
}
