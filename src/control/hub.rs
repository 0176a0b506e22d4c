//! Where the queries of a server go that somebody watches or logs.
//!
//! The threads that answer copy a query into a bounded queue, and drop it where there is no room: whoever watches too slowly
//! misses some, and is told how many. While nobody watches, nothing is copied.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use crate::forward::{Tap, Tapped};
use crate::responder::Rule;
use crate::server::{Observed, Observer, Origin};
use crate::wire::message::{Header, question_end};
use crate::wire::{Name, rcode};

use super::dnstap::Dnstap;
use super::query_log::QueryLog;

/// Queries that a watcher may lag behind. It takes them twenty times a second: more than 10,000 a second are not shown.
const QUEUE: usize = 512;
/// What is kept of a reply, octets: a message for people is shorter.
const KEPT: usize = 1232;

/// A query, kept beyond its moment.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) at: SystemTime,
    pub(super) network: Box<str>,
    pub(super) client: SocketAddr,
    pub(super) tcp: bool,
    pub(super) query: Box<[u8]>,
    pub(super) reply: Option<Box<[u8]>>,
    pub(super) reply_len: usize,
    pub(super) rule: Rule,
    pub(super) origin: Origin,
    pub(super) upstream: Option<Box<str>>,
    pub(super) duration: Duration,
}

impl Event {
    fn of(query: &Observed<'_>) -> Event {
        Event {
            at: SystemTime::now(),
            network: query.network.into(),
            client: query.client,
            tcp: query.tcp,
            query: query.query.into(),
            reply: query.reply.map(|reply| reply[..reply.len().min(KEPT)].into()),
            reply_len: query.reply.map_or(0, <[u8]>::len),
            rule: query.rule,
            origin: query.origin,
            upstream: query.upstream.map(|upstream| upstream.to_string().into()),
            duration: query.duration,
        }
    }

    /// The question's name and type, as text; `None` if it cannot be read.
    pub(super) fn question(&self) -> Option<(Name, u16)> {
        question(&self.query)
    }
}

/// The name, in lower case, and the type of a packet's question.
fn question(packet: &[u8]) -> Option<(Name, u16)> {
    let end = question_end(packet)?;
    let (name, tail) = packet.get(12..end)?.split_at_checked(end.checked_sub(16)?)?;
    let name = Name::from_wire(name).ok()?;
    Some((name, u16::from_be_bytes([tail[0], tail[1]])))
}

/// Which queries are wanted, by what came of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only {
    /// Those with an error for an answer, or none.
    Failed,
    /// Those of clients that may not ask, or that ask what is not answered.
    Refused,
    /// Those that are not answered from the tables.
    Forwarded,
    /// Those that are.
    Local,
}

impl Only {
    /// By its word.
    pub(super) fn parse(word: &str) -> Option<Only> {
        Some(match word {
            "failed" => Only::Failed,
            "refused" => Only::Refused,
            "forwarded" => Only::Forwarded,
            "local" => Only::Local,
            _ => return None,
        })
    }

    pub(super) fn has(self, query: &Observed<'_>) -> bool {
        match self {
            Only::Failed => is_failed(query),
            Only::Refused => query.origin == Origin::Refused,
            Only::Forwarded => matches!(query.origin, Origin::Upstream | Origin::Cache | Origin::Stale),
            Only::Local => query.origin == Origin::Local,
        }
    }
}

/// True if the client got no answer: an error, no such name, or nothing at all.
pub(super) fn is_failed(query: &Observed<'_>) -> bool {
    let code = query.reply.and_then(Header::read).map(|header| header.rcode());
    code != Some(rcode::NOERROR)
}

/// Which queries a watcher wants.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) network: Option<String>,
    /// The addresses of the container that is watched.
    pub(super) from: Option<RwLock<Vec<IpAddr>>>,
    pub(super) name: Option<Pattern>,
    pub(super) only: Option<Only>,
}

impl Filter {
    fn wants(&self, query: &Observed<'_>) -> bool {
        self.only.is_none_or(|only| only.has(query))
            && self.network.as_deref().is_none_or(|network| network == query.network)
            && self.from.as_ref().is_none_or(|from| {
                let ip = query.client.ip().to_canonical();
                from.read().unwrap_or_else(PoisonError::into_inner).contains(&ip)
            })
            && self
                .name
                .as_ref()
                .is_none_or(|pattern| question(query.query).is_some_and(|(name, _)| pattern.fits(&name.to_string())))
    }
}

/// A pattern of names: with `*` for any characters and `?` for one it is the whole name, without them a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(String);

impl Pattern {
    pub(super) fn new(text: &str) -> Pattern {
        let text = text.to_ascii_lowercase();
        Pattern(if text.contains(['*', '?']) { text } else { format!("*{text}*") })
    }

    fn fits(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut pos) = (0, 0);
        // Where the last `*` stands, and how far it reaches: it is let reach further where the rest does not fit.
        let mut star: Option<(usize, usize)> = None;
        while pos < name.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at, pos));
                    at += 1;
                }
                Some(&octet) if octet == b'?' || octet == name[pos] => {
                    at += 1;
                    pos += 1;
                }
                _ => {
                    let Some((begin, reach)) = star else { return false };
                    star = Some((begin, reach + 1));
                    (at, pos) = (begin + 1, reach + 1);
                }
            }
        }
        pattern[at..].iter().all(|&octet| octet == b'*')
    }
}

/// Somebody who watches.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) filter: Filter,
    queue: mpsc::Sender<Event>,
    dropped: AtomicU64,
}

impl Watcher {
    /// How many queries were dropped since this was last asked.
    pub(super) fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

/// Where the queries of a server go that somebody watches or logs: its [`Observer`]. While nobody does, it is off.
#[derive(Default)]
pub struct Hub {
    /// Somebody watches or logs.
    is_on: AtomicBool,
    watchers: RwLock<Vec<Arc<Watcher>>>,
    log: RwLock<Option<Arc<QueryLog>>>,
    dnstap: RwLock<Option<Arc<Dnstap>>>,
    /// There is a `dnstap`: messages to and from upstreams are wanted.
    is_tapped: AtomicBool,
    dropped: AtomicU64,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("is_on", &self.is_on).finish_non_exhaustive()
    }
}

impl Observer for Hub {
    fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    fn observe(&self, query: &Observed<'_>) {
        for watcher in self.watchers.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if !watcher.filter.wants(query) {
                continue;
            }
            // Before anything is copied: where many more come than are taken, most end here.
            match watcher.queue.try_reserve() {
                Ok(place) => place.send(Event::of(query)),
                Err(_) => {
                    watcher.dropped.fetch_add(1, Ordering::Relaxed);
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        if let Some(log) = &*self.log.read().unwrap_or_else(PoisonError::into_inner)
            && log.wants(query)
        {
            log.write(|| Event::of(query));
        }
        if let Some(dnstap) = &*self.dnstap.read().unwrap_or_else(PoisonError::into_inner) {
            dnstap.client(query);
        }
    }
}

impl Tap for Hub {
    fn is_on(&self) -> bool {
        self.is_tapped.load(Ordering::Relaxed)
    }

    fn see(&self, message: &Tapped<'_>) {
        if let Some(dnstap) = &*self.dnstap.read().unwrap_or_else(PoisonError::into_inner) {
            dnstap.forwarder(message);
        }
    }
}

impl Hub {
    /// Watches, until what is given back is dropped.
    pub(super) fn watch(self: &Arc<Hub>, filter: Filter) -> Watching {
        let (queue, events) = mpsc::channel(QUEUE);
        let watcher = Arc::new(Watcher { filter, queue, dropped: AtomicU64::new(0) });
        self.watchers.write().unwrap_or_else(PoisonError::into_inner).push(watcher.clone());
        self.switch();
        Watching { hub: self.clone(), watcher, events }
    }

    /// Logs queries to this from here on; `None` for not at all.
    pub fn set_log(&self, log: Option<Arc<QueryLog>>) {
        *self.log.write().unwrap_or_else(PoisonError::into_inner) = log;
        self.switch();
    }

    /// Writes queries, and what upstreams are asked, to this from here on; `None` for not at all.
    pub fn set_dnstap(&self, dnstap: Option<Arc<Dnstap>>) {
        self.is_tapped.store(dnstap.is_some(), Ordering::Relaxed);
        let before = std::mem::replace(&mut *self.dnstap.write().unwrap_or_else(PoisonError::into_inner), dnstap);
        self.switch();
        // It may take a while, with nobody kept waiting for the lock.
        drop(before);
    }

    /// What queries are written to as dnstap.
    pub fn dnstap(&self) -> Option<Arc<Dnstap>> {
        self.dnstap.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens the file of the log of queries again, which may have been moved away.
    pub fn reopen_log(&self) {
        if let Some(log) = self.log() {
            log.reopen();
        }
    }

    /// The log of queries.
    fn log(&self) -> Option<Arc<QueryLog>> {
        self.log.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many watch.
    pub(super) fn watchers(&self) -> usize {
        self.watchers.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Queries that the log has missed.
    pub(super) fn unlogged(&self) -> Option<u64> {
        self.log().map(|log| log.dropped())
    }

    /// Queries that watchers have missed.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn switch(&self) {
        let is_on = self.watchers() > 0 || self.log().is_some() || self.dnstap().is_some();
        self.is_on.store(is_on, Ordering::Relaxed);
    }
}

/// A watch under way; ended when dropped.
pub(super) struct Watching {
    hub: Arc<Hub>,
    pub(super) watcher: Arc<Watcher>,
    pub(super) events: mpsc::Receiver<Event>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        let is_other = |watcher: &Arc<Watcher>| !Arc::ptr_eq(watcher, &self.watcher);
        self.hub.watchers.write().unwrap_or_else(PoisonError::into_inner).retain(is_other);
        self.hub.switch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_the_whole_name_or_without_wildcards_a_part_of_it() {
        let fits = |pattern: &str, name: &str| Pattern::new(pattern).fits(name);
        assert!(fits("db", "db") && fits("DB", "old-db.internal") && !fits("db", "web"));
        assert!(fits("*.internal", "db.internal") && !fits("*.internal", "internal") && !fits("db.*", "a.db.b"));
        assert!(fits("d?", "db") && !fits("d?", "d") && fits("*a*b*", "xaxxbx") && !fits("*a*b", "xaxxbx"));
        assert!(fits("", "anything") && fits("*", "") && !fits("?", ""));
    }

    fn observed(query: &[u8]) -> Observed<'_> {
        Observed::new("shop", "10.10.1.1:53".parse().unwrap(), "10.10.1.2:4000".parse().unwrap(), query)
    }

    #[test]
    fn a_watcher_that_takes_nothing_is_told_what_it_missed() {
        let hub = Arc::new(Hub::default());
        let query = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x02db\0\0\x01\0\x01";
        assert!(!Observer::is_on(&*hub));
        let mut watching = hub.watch(Filter { name: Some(Pattern::new("db")), ..Filter::default() });
        let other = hub.watch(Filter { network: Some("blog".to_owned()), ..Filter::default() });
        assert!(Observer::is_on(&*hub));
        for _ in 0..QUEUE + 7 {
            hub.observe(&observed(query));
        }
        assert_eq!((watching.watcher.take_dropped(), watching.watcher.take_dropped()), (7, 0));
        assert_eq!(hub.dropped(), 7);
        assert_eq!(watching.events.try_recv().unwrap().question().unwrap().0.to_string(), "db");
        assert_eq!(watching.events.len(), QUEUE - 1);
        assert_eq!(other.events.len(), 0);
        drop((watching, other));
        assert!(!Observer::is_on(&*hub), "who looks no more costs nothing");
    }
}
