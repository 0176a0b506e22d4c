//! A connection at work: questions are written one behind the other, and each message that comes goes to who asked for it.
//!
//! One task owns it all and waits for whatever comes first: a question, octets of a reply, room to write, or the end of its
//! patience. What it holds is bounded: by the questions that wait, and by one message and one read of what comes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::random::random_u16;
use super::tcp::{PipelinedQuery, Stream, copy};
use super::{Traffic, now};

/// How long a connection stays open with nothing to do (RFC 7766 §6.2.3: a few seconds).
const IDLE: Duration = Duration::from_secs(10);
/// No more questions are written behind so many octets that the server has not taken.
const UNSENT: usize = 64 * 1024;
/// Questions that wait at one connection. More would make free IDs rare, and easy to guess.
const WAITING: usize = 4096;
/// A connection that has brought nothing for so long while questions wait is dead. Longer than a question lives and its
/// late answer is waited for (answers.md F6).
pub(super) const STALLED: Duration = Duration::from_secs(10);

/// The server hung up with some questions answered and some not: it may be one that takes one at a time.
#[derive(Debug, thiserror::Error)]
#[error("closed the connection before it had answered all questions")]
pub(super) struct Unanswered;

/// Serves a connection until it ends or nobody needs it; says how it ended.
pub(super) async fn serve(stream: Stream, asks: &mut mpsc::Receiver<PipelinedQuery>, traffic: &Traffic) -> io::Error {
    let (read, write) = tokio::io::split(stream);
    let mut exchange = Multiplexer {
        read,
        write,
        received: Vec::new(),
        unsent: Vec::new(),
        unflushed: false,
        waiting: HashMap::default(),
        answered: false,
        heard: now(),
    };
    let error = match exchange.run(asks, traffic).await {
        Ok(()) => ErrorKind::ConnectionAborted.into(),
        Err(error) => error,
    };
    let hung_up = matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
    let unanswered = hung_up && (exchange.answered || exchange.waiting.len() > 1);
    for (_, asked) in exchange.waiting.drain() {
        let error = if unanswered { io::Error::new(error.kind(), Unanswered) } else { copy(&error) };
        let _ = asked.reply.send(Err(error));
    }
    error
}

/// A connection and the questions that wait at it.
struct Multiplexer {
    read: ReadHalf<Stream>,
    write: WriteHalf<Stream>,
    /// Octets of a message that is not whole yet: at most one message and one read more.
    received: Vec<u8>,
    unsent: Vec<u8>,
    unflushed: bool,
    waiting: HashMap<u16, PipelinedQuery, foldhash::fast::RandomState>,
    /// There was a reply.
    answered: bool,
    /// When something last came or went: a reply, a question, the connection itself.
    heard: Instant,
}

impl Multiplexer {
    async fn run(&mut self, asks: &mut mpsc::Receiver<PipelinedQuery>, traffic: &Traffic) -> io::Result<()> {
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
                    Some(asked) => self.ask(asked, traffic)?,
                    None => wanted = false,
                },
                read = self.read.read_buf(&mut self.received) => {
                    if read? == 0 {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                    self.heard = now();
                    self.take_messages(traffic);
                }
                written = push(&mut self.write, &self.unsent), if self.unflushed || !self.unsent.is_empty() => {
                    self.unsent.drain(..written?);
                    self.unflushed = !self.unsent.is_empty() || !flushing;
                }
                () = sleep_until((self.heard + quiet).into()) => {
                    let stalled = !self.waiting.is_empty();
                    return if stalled { Err(ErrorKind::TimedOut.into()) } else { Ok(()) };
                }
            }
        }
    }

    /// Writes a question, with an ID that no other one has.
    fn ask(&mut self, asked: PipelinedQuery, traffic: &Traffic) -> io::Result<()> {
        if self.waiting.is_empty() {
            self.heard = now();
        }
        let place = loop {
            if let Entry::Vacant(place) = self.waiting.entry(random_u16()?) {
                break place;
            }
        };
        let query = asked.question.query(*place.key(), asked.edns);
        traffic.tap.query(true, &query);
        self.unsent.extend_from_slice(&(query.len() as u16).to_be_bytes());
        self.unsent.extend_from_slice(&query);
        place.insert(asked);
        Ok(())
    }

    /// Gives each whole message to who asked for it. What nobody asked for is counted and left out.
    fn take_messages(&mut self, traffic: &Traffic) {
        let mut at = 0;
        while let Some(message) = framed(&self.received[at..]) {
            at += 2 + message.len();
            let id = message.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
            match self.waiting.get(&id) {
                Some(asked) if asked.question.is_answered_by(message, id) => {
                    self.answered = true;
                    if let Some(asked) = self.waiting.remove(&id) {
                        let _ = asked.reply.send(Ok(message.to_vec()));
                    }
                }
                _ => traffic.mismatched(),
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
        0 => Err(ErrorKind::WriteZero.into()),
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
