//! The log of queries: a line for each, or for one of so many, to standard error or a file.
//!
//! Lines are written by a thread of their own, behind a bounded queue: a slow disk slows no answer. What does not fit is
//! dropped, counted, and said in the log itself.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::error;

use crate::server::{Observed, Server};
use crate::wire::message::{Header, flag};
use crate::wire::{class, rcode, rtype};

use super::hub::{Event, is_failed};
use super::{time, watch};

/// Queries that wait to be written.
const QUEUE: usize = 4096;
/// How often the thread looks whether it is to end or to open its file anew.
const TICK: Duration = Duration::from_millis(500);

/// Which queries are logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryLogOptions {
    /// Only those that failed: an error, no such name, no reply.
    pub failed_only: bool,
    /// A JSON object a line, as `/v1/watch` gives them; else a line as CoreDNS writes it.
    pub json: bool,
    /// The file; standard error if there is none.
    pub file: Option<PathBuf>,
    /// One of so many is logged, at least 1.
    pub sample: u32,
}

/// A log of queries, written by a thread of its own. Dropping it writes what is left.
#[derive(Debug)]
pub struct QueryLog {
    options: QueryLogOptions,
    queue: Option<SyncSender<Event>>,
    seen: AtomicU64,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    dropped: AtomicU64,
    /// Those of them that the log has been told of.
    said: AtomicU64,
    reopen: AtomicBool,
}

impl QueryLog {
    /// Opens the log, and starts the thread that writes it. Clients are named by the tables of the server.
    ///
    /// # Errors
    /// The file cannot be opened, or there is no thread to be had.
    pub fn open(options: QueryLogOptions, server: &Arc<Server>) -> io::Result<Arc<QueryLog>> {
        let output = Output::open(options.file.clone())?;
        let (queue, events) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let (own, json, server) = (shared.clone(), options.json, Arc::downgrade(server));
        let thread = std::thread::Builder::new()
            .name("query-log".to_owned())
            .spawn(move || write_all(&events, output, &own, json.then_some(&server)))?;
        let (seen, thread) = (AtomicU64::new(0), Mutex::new(Some(thread)));
        Ok(Arc::new(QueryLog { options, queue: Some(queue), seen, shared, thread }))
    }

    /// The options that it was opened with.
    pub fn options(&self) -> &QueryLogOptions {
        &self.options
    }

    /// Opens the file again, which may have been moved away.
    pub(super) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Relaxed);
    }

    /// Queries that were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn wants(&self, query: &Observed<'_>) -> bool {
        (!self.options.failed_only || is_failed(query))
            && (self.options.sample <= 1
                || self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.options.sample.into()))
    }

    pub(super) fn write(&self, event: impl FnOnce() -> Event) {
        let Some(queue) = &self.queue else { return };
        if queue.try_send(event()).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for QueryLog {
    fn drop(&mut self) {
        // The thread writes what is there, and ends.
        self.queue.take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// Where lines go.
struct Output {
    path: Option<PathBuf>,
    file: Option<BufWriter<File>>,
    /// The last write failed, which was said.
    is_failing: bool,
}

impl Output {
    fn open(path: Option<PathBuf>) -> io::Result<Output> {
        let mut output = Output { path, file: None, is_failing: false };
        output.reopen()?;
        Ok(output)
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            // Who asked what is nobody else's business.
            let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path);
            let file = file.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
            self.file = Some(BufWriter::new(file));
        }
        Ok(())
    }

    fn line(&mut self, line: &str) {
        let written = match &mut self.file {
            Some(file) => file.write_all(line.as_bytes()),
            None => io::stderr().write_all(line.as_bytes()),
        };
        self.note(written);
    }

    fn flush(&mut self) {
        let flushed = self.file.as_mut().map_or(Ok(()), Write::flush);
        self.note(flushed);
    }

    fn note(&mut self, outcome: io::Result<()>) {
        match outcome {
            Err(error) if !self.is_failing => {
                self.is_failing = true;
                error!(%error, "the query log cannot be written");
            }
            Err(_) => {}
            Ok(()) => self.is_failing = false,
        }
    }
}

/// `json`: the server by whose tables clients are named, if JSON is written.
fn write_all(events: &Receiver<Event>, mut output: Output, shared: &Shared, json: Option<&Weak<Server>>) {
    loop {
        let event = match events.try_recv() {
            Ok(event) => Some(event),
            Err(_) => {
                output.flush();
                match events.recv_timeout(TICK) {
                    Ok(event) => Some(event),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        if shared.reopen.swap(false, Ordering::Relaxed) {
            output.flush();
            let reopened = output.reopen();
            output.note(reopened);
        }
        if let Some(event) = event {
            output.line(&match json {
                Some(server) => json_line(&event, server),
                None => text_line(&event),
            });
        }
        let all = shared.dropped.load(Ordering::Relaxed);
        let dropped = all - shared.said.swap(all, Ordering::Relaxed);
        if dropped > 0 {
            output.line(&if json.is_some() {
                format!("{{\"dropped\":{dropped}}}\n")
            } else {
                format!("{dropped} queries are not in this log: it is written too slowly\n")
            });
        }
    }
}

fn json_line(event: &Event, server: &Weak<Server>) -> String {
    let server = server.upgrade();
    // Values of our own cannot fail to be written.
    let mut line =
        serde_json::to_string(&watch::query(event, server.as_ref().map(|server| server.table()))).unwrap_or_default();
    line.push('\n');
    line
}

/// A line as CoreDNS writes it by default, the time before it and our own words behind it: `{remote}:{port} - {id} "{type}
/// {class} {name} {proto} {size} {do} {bufsize}" {rcode} {rflags} {rsize} {duration}`.
fn text_line(event: &Event) -> String {
    let header = Header::read(&event.query);
    let (name, rtype) = match event.question() {
        Some((name, rtype)) => (format!("{name}."), rtype::mnemonic(rtype)),
        None => (".".to_owned(), "-".to_owned()),
    };
    let name = if name == ".." { ".".to_owned() } else { name };
    let edns = crate::wire::Query::parse(&event.query).ok().and_then(|query| query.edns().cloned());
    let (dnssec_ok, size) = edns.map_or((false, 512), |edns| (edns.dnssec_ok(), edns.udp_size()));
    let reply = event.reply.as_deref().and_then(Header::read);
    let code = reply.map_or("-".into(), |reply| rcode::mnemonic(reply.rcode()));
    let flags = reply.map_or_else(|| "-".to_owned(), |reply| flags(&reply));
    // Which of several it was.
    let upstream = event.upstream.as_ref().map(|upstream| format!(" {upstream}")).unwrap_or_default();
    format!(
        "{} {} - {} \"{rtype} {} {name} {} {} {dnssec_ok} {size}\" {code} {flags} {} {:.9}s {} {} {}{upstream}\n",
        time::rfc3339(event.at),
        event.client,
        header.map_or(0, |header| header.id),
        class_of(&event.query),
        if event.tcp { "tcp" } else { "udp" },
        event.query.len(),
        event.reply_len,
        event.duration.as_secs_f64(),
        event.network,
        event.origin,
        event.rule,
    )
}

fn class_of(query: &[u8]) -> String {
    let class = crate::wire::message::question_end(query)
        .and_then(|end| Some(u16::from_be_bytes(*query.get(end - 2..end)?.first_chunk()?)));
    match class {
        Some(class::IN) => "IN".to_owned(),
        Some(class::CH) => "CH".to_owned(),
        Some(other) => format!("CLASS{other}"),
        None => "-".to_owned(),
    }
}

fn flags(header: &Header) -> String {
    let names = [
        (flag::QR, "qr"),
        (flag::AA, "aa"),
        (flag::TC, "tc"),
        (flag::RD, "rd"),
        (flag::RA, "ra"),
        (flag::AD, "ad"),
        (flag::CD, "cd"),
    ];
    names.iter().filter(|(mask, _)| header.has(*mask)).map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}
