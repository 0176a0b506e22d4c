//! Serving one TCP socket (answers.md C).
//!
//! Each connection is one task. It reads what is there into a buffer of its worker, answers at once what it can, and keeps
//! only what is left over: the beginning of a message, and replies that the client has not taken. An idle connection so keeps
//! no buffer at all. What has to wait for an upstream waits on its own. A client that stops in the middle of a message, or
//! that does not take its replies, loses its connection and costs nobody else anything.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use crate::responder::ClientTransport;

use super::client_key::ClientKey;
use super::connections::{Admission, Seat};
use super::rate::OncePerMinute;
use super::slot::Slot;
use super::worker::{Desk, Outcome, Place};
use crate::settings::Limits;

/// The pause after a failed accept, and the longest one: descriptors come back when connections end.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// The longest query, octets. No question needs more, and a client that promises more means no good.
const MAX_QUERY: usize = 4096;
/// What is read at a time, octets.
pub(super) const READ: usize = 8192;
/// Messages that are looked at of one connection before others have their turn.
const TURN: usize = 32;
/// Sends the reply to a query, or that there is none.
type Replies = UnboundedSender<Option<Vec<u8>>>;

/// Accepts connections until the slot is closed. A failed accept is never the end.
pub(super) async fn serve(slot: &Arc<Slot>, listener: &TcpListener) {
    static WARNED: OncePerMinute = OncePerMinute::new();
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = slot.stop().wait() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = FIRST_PAUSE;
                admit(slot, stream, peer);
            }
            Err(error) => {
                if WARNED.is_due() {
                    warn!(%error, "cannot accept a TCP connection; trying again");
                }
                tokio::select! {
                    () = slot.stop().wait() => return,
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(LAST_PAUSE),
                }
            }
        }
    }
}

/// Serves a connection, or lets it wait for its turn.
fn admit(slot: &Arc<Slot>, stream: TcpStream, peer: SocketAddr) {
    let server = slot.server();
    match server.connections.admit(ClientKey::of(slot.share_of(peer.ip()))) {
        Admission::Seated(seat) => drop(tokio::spawn(connection(slot.clone(), stream, peer, seat))),
        Admission::Waiting(waiting) => {
            let slot = slot.clone();
            tokio::spawn(async move {
                let patience = slot.server().limits().tcp_idle;
                let seat = tokio::select! {
                    () = slot.stop().wait() => return,
                    seat = timeout(patience, waiting.seat()) => seat,
                };
                match seat {
                    // A task of its own: this one has been small while it waited.
                    Ok(Some(seat)) => drop(tokio::spawn(connection(slot.clone(), stream, peer, seat))),
                    _ => debug!(%peer, "closed unread: too many connections"),
                }
            });
        }
        Admission::Refused => debug!(%peer, "closed unread: too many connections wait"),
    }
}

/// Serves one connection to its end.
async fn connection(slot: Arc<Slot>, stream: TcpStream, peer: SocketAddr, seat: Seat) {
    // Without it small replies would wait for the acknowledgement of earlier ones; a kernel that refuses is merely slower.
    let _ = stream.set_nodelay(true);
    let limits = slot.server().limits();
    let mut connection = Connection {
        peer,
        stream,
        seat,
        input: Vec::new(),
        message_since: None,
        unsent: VecDeque::new(),
        sent_of_first: 0,
        unsent_since: None,
        owed: 0,
        replies: None,
        idle_since: Instant::now(),
        reads: true,
        limits,
    };
    if let Err(error) = connection.run(&slot).await {
        debug!(%peer, %error, "connection ended");
    }
}

struct Connection {
    peer: SocketAddr,
    stream: TcpStream,
    seat: Seat,
    limits: Arc<Limits>,
    /// What was read and not looked at: part of a message, or messages that have to wait.
    input: Vec<u8>,
    /// When the first octet came of a message that is not there whole.
    message_since: Option<Instant>,
    /// Replies that the client has not taken, with their lengths in front.
    unsent: VecDeque<Vec<u8>>,
    sent_of_first: usize,
    /// Since when the client has not taken the first of them whole.
    unsent_since: Option<Instant>,
    /// Queries that wait for an upstream.
    owed: usize,
    /// Where their replies come from; made for the first of them.
    replies: Option<(Replies, UnboundedReceiver<Option<Vec<u8>>>)>,
    idle_since: Instant,
    /// False once the client has half-closed, or nothing new is to be taken.
    reads: bool,
}

/// The reply to one query that waits for an upstream. It is owed until this is dropped, with a reply or without one.
struct Owed {
    replies: Replies,
    reply: Option<Vec<u8>>,
}

impl Owed {
    fn settle(mut self, reply: Vec<u8>) {
        self.reply = Some(reply);
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        // A connection that is gone is a client that is gone.
        let _ = self.replies.send(self.reply.take());
    }
}

impl Connection {
    /// Serves until the client ends, is idle for too long, breaks off in a message, takes no replies, or has to give way; or
    /// the slot is closed.
    async fn run(&mut self, slot: &Arc<Slot>) -> io::Result<()> {
        let notice = self.seat.notice();
        let mut given = pin!(notice.given(false));
        let mut stopped = pin!(slot.stop().wait());
        let mut timer = pin!(sleep_until(self.idle_since + self.limits.tcp_idle));
        loop {
            if !self.reads && self.owed == 0 && self.unsent.is_empty() {
                return Ok(());
            }
            let deadline = self.deadline();
            if let Some(deadline) = deadline
                && deadline < timer.deadline()
            {
                timer.as_mut().reset(deadline);
            }
            let has_message = whole_message(&self.input)?.is_some();
            tokio::select! {
                biased;
                () = &mut stopped, if self.reads => self.reads = false,
                at_once = &mut given => {
                    if at_once {
                        return Ok(());
                    }
                    given.set(notice.given(true));
                    self.finish(slot)?;
                }
                reply = next(&mut self.replies), if self.owed > 0 => self.settle(reply)?,
                ready = self.stream.writable(), if !self.unsent.is_empty() => {
                    ready?;
                    self.flush()?;
                }
                ready = readable(&self.stream, has_message), if self.may_read() => {
                    ready?;
                    self.turn(slot)?;
                }
                // Mostly the deadline has moved on: the timer is set anew only when it has gone off.
                () = &mut timer, if deadline.is_some() => match deadline {
                    Some(deadline) if deadline > Instant::now() => timer.as_mut().reset(deadline),
                    _ => return Ok(()),
                },
            }
        }
    }

    /// When the connection ends if nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let message = self.message_since.filter(|_| self.reads);
        let waits = self.unsent_since.into_iter().chain(message).min().map(|since| since + self.limits.tcp_message);
        // A connection that waits for an upstream is not idle.
        waits.or_else(|| (self.owed == 0).then_some(self.idle_since + self.limits.tcp_idle))
    }

    fn may_read(&self) -> bool {
        self.reads && self.unsent.is_empty() && self.owed < self.limits.tcp_queries_per_connection
    }

    /// Answers what has arrived by now, and takes nothing new.
    fn finish(&mut self, slot: &Arc<Slot>) -> io::Result<()> {
        if self.may_read() {
            self.turn(slot)?;
        }
        while self.may_read() && whole_message(&self.input)?.is_some() {
            self.turn(slot)?;
        }
        self.reads = false;
        Ok(())
    }

    /// Answers some of the messages that are there; reads if there is none.
    fn turn(&mut self, slot: &Arc<Slot>) -> io::Result<()> {
        Desk::with(|desk| {
            let mut buffers = desk.tcp.take().unwrap_or_default();
            let result = self.turn_with(slot, desk, &mut buffers);
            desk.tcp = Some(buffers);
            result
        })
    }

    fn turn_with(&mut self, slot: &Arc<Slot>, desk: &mut Desk, buffers: &mut Buffers) -> io::Result<()> {
        let mut len = self.input.len();
        buffers.input[..len].copy_from_slice(&self.input);
        if whole_message(&self.input)?.is_none() {
            match self.stream.try_read(&mut buffers.input[len..]) {
                // The end, perhaps in the middle of a message.
                Ok(0) => {
                    self.reads = false;
                    return Ok(());
                }
                Ok(count) => len += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        let place = Place::of(slot);
        let (mut start, mut written, mut messages) = (0, 0, 0);
        let end = loop {
            let message = match whole_message(&buffers.input[start..len]) {
                Ok(Some(message)) if messages < TURN && self.may_read() => start + 2..start + 2 + message,
                Ok(_) => break Ok(()),
                // What came before it is answered.
                Err(error) => break Err(error),
            };
            start = message.end;
            messages += 1;
            if let Some(reply) =
                self.answer(slot, (desk, &place), &buffers.input[message], &mut buffers.output[written..])
            {
                written += reply;
            }
            if written > buffers.output.len() / 2 {
                self.send(&buffers.output[..written])?;
                written = 0;
            }
        };
        self.send(&buffers.output[..written])?;
        if start > 0 {
            // Its message is whole; what is left over, if anything, began just now.
            self.message_since = None;
        }
        self.keep(&buffers.input[start..len]);
        if messages > 0 {
            self.idle_since = Instant::now();
            self.note_state(true);
        }
        end
    }

    /// Answers one message into `out`, its length in front, and gives how much that is; or has an upstream asked.
    fn answer(
        &mut self,
        slot: &Arc<Slot>,
        (desk, place): (&mut Desk, &Place<'_>),
        message: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        // In units of 100 ms, as RFC 7828 §3.1 says it.
        let idle = u16::try_from(self.limits.tcp_idle.as_millis() / 100).unwrap_or(u16::MAX);
        let (length, out) = out.split_at_mut(2);
        let out = &mut out[..usize::from(u16::MAX)];
        slot.count_received(true, 1);
        let len = match desk.respond(place, (self.peer, ClientTransport::Tcp { idle }), message, out) {
            Outcome::Reply(len) => len,
            Outcome::Ignore => return None,
            Outcome::Later(later) => match later.admit(slot) {
                Ok(permit) => {
                    let (replies, _) = self.replies.get_or_insert_with(unbounded_channel);
                    let owed = Owed { replies: replies.clone(), reply: None };
                    self.owed += 1;
                    tokio::spawn(later.run(slot.clone(), permit, |_, reply| owed.settle(reply.to_vec())));
                    return None;
                }
                Err(reply) => {
                    let reply = reply?;
                    out[..reply.len()].copy_from_slice(&reply);
                    reply.len()
                }
            },
        };
        length.copy_from_slice(&(len as u16).to_be_bytes());
        Some(2 + len)
    }

    /// Keeps what was read and not looked at.
    fn keep(&mut self, rest: &[u8]) {
        // Of exactly that length, and of none for nothing: what a client does not send costs no memory.
        self.input = rest.to_vec();
        let is_half = !rest.is_empty() && matches!(whole_message(rest), Ok(None));
        if !is_half {
            self.message_since = None;
        } else if self.message_since.is_none() {
            self.message_since = Some(Instant::now());
            if self.owed == 0 && self.unsent.is_empty() {
                self.seat.set_idle(true);
            }
        }
    }

    /// Takes note of whether answers are owed.
    fn note_state(&self, was_asked: bool) {
        if self.owed > 0 || !self.unsent.is_empty() {
            self.seat.set_busy();
        } else if was_asked {
            self.seat.set_idle(self.message_since.is_some());
        }
    }

    /// A query that waited for an upstream is done with.
    fn settle(&mut self, reply: Option<Vec<u8>>) -> io::Result<()> {
        self.owed -= 1;
        self.idle_since = Instant::now();
        if let Some(reply) = reply {
            self.send(&framed(&reply))?;
        }
        self.note_state(true);
        Ok(())
    }

    /// Sends what the client takes at once, and keeps the rest.
    fn send(&mut self, replies: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        while self.unsent.is_empty() && sent < replies.len() {
            match self.stream.try_write(&replies[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let rest = &replies[sent..];
        if rest.is_empty() {
            return Ok(());
        }
        if !self.seat.hold(rest.len()) {
            return Err(io::Error::other("the client takes none of its replies"));
        }
        self.unsent_since.get_or_insert_with(Instant::now);
        self.unsent.push_back(rest.to_vec());
        Ok(())
    }

    /// Sends what the client takes of what was kept.
    fn flush(&mut self) -> io::Result<()> {
        while let Some(first) = self.unsent.front() {
            match self.stream.try_write(&first[self.sent_of_first..]) {
                Ok(count) => self.sent_of_first += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if self.sent_of_first == first.len() {
                self.seat.taken(first.len());
                self.unsent.pop_front();
                self.sent_of_first = 0;
                self.unsent_since = (!self.unsent.is_empty()).then(Instant::now);
            }
        }
        self.unsent = VecDeque::new();
        self.idle_since = Instant::now();
        self.note_state(true);
        Ok(())
    }
}

/// What a worker reads connections into and writes their replies in.
pub(super) struct Buffers {
    input: Box<[u8]>,
    /// Room for a longest reply behind what makes it be sent.
    output: Box<[u8]>,
}

impl Default for Buffers {
    fn default() -> Buffers {
        let longest = 2 + usize::from(u16::MAX);
        Buffers { input: vec![0; READ].into(), output: vec![0; 2 * longest].into() }
    }
}

/// The length of the first message, if it is there whole.
///
/// # Errors
/// If it is too long to be a query.
fn whole_message(octets: &[u8]) -> io::Result<Option<usize>> {
    let Some((length, rest)) = octets.split_first_chunk() else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes(*length));
    if len > MAX_QUERY {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a query of {len} octets")));
    }
    Ok((len <= rest.len()).then_some(len))
}

/// A message as it goes over TCP: its length in two octets, then itself (RFC 1035 §4.2.2).
fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

/// Waits until there is something to look at, read already or not.
async fn readable(stream: &TcpStream, has_message: bool) -> io::Result<()> {
    if has_message {
        // More is behind it, perhaps for ever: let the worker's other tasks have their turn.
        tokio::task::yield_now().await;
        return Ok(());
    }
    stream.readable().await
}

/// The next reply from upstream.
async fn next(replies: &mut Option<(Replies, UnboundedReceiver<Option<Vec<u8>>>)>) -> Option<Vec<u8>> {
    match replies {
        // There is always a reply: the connection has a sender itself.
        Some((_, replies)) => replies.recv().await.flatten(),
        None => pending().await,
    }
}
