//! Where the queries of a server go that somebody watches or logs.
//!
//! The threads that answer copy a query into a bounded queue, and drop it where there is no room: whoever watches too slowly
//! misses some, and is told how many. While nobody watches, nothing is copied.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use crate::forward::{Tap, Tapped};
use crate::responder::Rule;
use crate::server::{Observed, Observer, Origin};
use crate::wire::message::{Header, question_end};
use crate::wire::{Name, rcode};

use super::dnstap::Dnstap;
use super::query_log::QueryLog;

/// Queries that a watcher may lag behind. Of a burst as many are shown; of a flood, which nobody reads, a few thousand a second.
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

/// The name of a packet's question with dots between its labels, in lower case: nothing is allocated, as this is done for each query
/// while somebody watches a name.
fn dotted<'t>(packet: &[u8], text: &'t mut [u8; 255]) -> Option<&'t [u8]> {
    let end = question_end(packet)?.checked_sub(4)?;
    let (mut rest, mut len) = (packet.get(12..end)?, 0);
    while let Some((&label, tail)) = rest.split_first().filter(|(label, _)| **label > 0) {
        let (label, tail) = tail.split_at_checked(label.into())?;
        if len > 0 {
            *text.get_mut(len)? = b'.';
            len += 1;
        }
        let place = text.get_mut(len..len + label.len())?;
        place.copy_from_slice(label);
        place.make_ascii_lowercase();
        len += label.len();
        rest = tail;
    }
    Some(&text[..len])
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

/// True if the client got no answer: an error, no such name, nothing at all, or no address as the container is stopped.
pub(super) fn is_failed(query: &Observed<'_>) -> bool {
    if query.rule == Rule::N7 && query.origin == Origin::Local {
        return query.reply.is_none_or(|reply| reply.get(6..8) == Some(&[0, 0]));
    }
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
            && self.name.as_ref().is_none_or(|pattern| {
                let mut text = [0; 255];
                dotted(query.query, &mut text).is_some_and(|name| pattern.fits(name))
            })
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

    fn fits(&self, name: &[u8]) -> bool {
        let pattern = self.0.as_bytes();
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
    /// There was no room in the queue since it was last emptied: a query costs a look at this, and is counted.
    is_full: AtomicBool,
    dropped: AtomicU64,
    /// Those of them that the watcher was told of.
    told: AtomicU64,
}

impl Watcher {
    /// Takes a query, if it is wanted and there is room for it.
    fn see(&self, query: &Observed<'_>) {
        if !self.filter.wants(query) {
            return;
        }
        // Before anything is copied: where many more come than are taken, most end here.
        if !self.is_full.load(Ordering::Relaxed) {
            match self.queue.try_reserve() {
                Ok(place) => return place.send(Event::of(query)),
                Err(_) => self.is_full.store(true, Ordering::Relaxed),
            }
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// The queue was emptied.
    pub(super) fn go_on(&self) {
        self.is_full.store(false, Ordering::Relaxed);
    }

    /// How many queries were dropped since this was last asked.
    pub(super) fn take_dropped(&self) -> u64 {
        let dropped = self.dropped.load(Ordering::Relaxed);
        dropped - self.told.swap(dropped, Ordering::Relaxed)
    }
}

/// Where the queries of a server go that somebody watches or logs: its [`Observer`]. While nobody does, it is off.
#[derive(Default)]
pub struct Hub {
    /// Somebody watches or logs.
    is_on: AtomicBool,
    sinks: RwLock<Sinks>,
    /// There is a `dnstap`: messages to and from upstreams are wanted.
    is_tapped: AtomicBool,
    /// What was dropped of watchers that are gone.
    dropped: AtomicU64,
}

/// Who gets queries.
#[derive(Default)]
struct Sinks {
    watchers: Vec<Arc<Watcher>>,
    log: Option<Arc<QueryLog>>,
    dnstap: Option<Arc<Dnstap>>,
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
        let sinks = self.sinks();
        sinks.watchers.iter().for_each(|watcher| watcher.see(query));
        if let Some(log) = &sinks.log
            && log.wants(query)
        {
            log.write(|| Event::of(query));
        }
        if let Some(dnstap) = &sinks.dnstap {
            dnstap.client(query);
        }
    }
}

impl Tap for Hub {
    fn is_on(&self) -> bool {
        self.is_tapped.load(Ordering::Relaxed)
    }

    fn see(&self, message: &Tapped<'_>) {
        if let Some(dnstap) = &self.sinks().dnstap {
            dnstap.forwarder(message);
        }
    }
}

impl Hub {
    fn sinks(&self) -> RwLockReadGuard<'_, Sinks> {
        self.sinks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn sinks_mut(&self) -> RwLockWriteGuard<'_, Sinks> {
        self.sinks.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches, until what is given back is dropped.
    pub(super) fn watch(self: &Arc<Hub>, filter: Filter) -> Watching {
        let (queue, events) = mpsc::channel(QUEUE);
        let [dropped, told] = [const { AtomicU64::new(0) }; 2];
        let watcher = Arc::new(Watcher { filter, queue, is_full: AtomicBool::new(false), dropped, told });
        self.sinks_mut().watchers.push(watcher.clone());
        self.switch();
        Watching { hub: self.clone(), watcher, events }
    }

    /// Logs queries to this from here on; `None` for not at all.
    pub fn set_log(&self, log: Option<Arc<QueryLog>>) {
        let before = std::mem::replace(&mut self.sinks_mut().log, log);
        self.switch();
        // It writes what is left, with nobody kept waiting for the lock.
        drop(before);
    }

    /// Writes queries, and what upstreams are asked, to this from here on; `None` for not at all.
    pub fn set_dnstap(&self, dnstap: Option<Arc<Dnstap>>) {
        self.is_tapped.store(dnstap.is_some(), Ordering::Relaxed);
        let before = std::mem::replace(&mut self.sinks_mut().dnstap, dnstap);
        self.switch();
        // It may take a while, with nobody kept waiting for the lock.
        drop(before);
    }

    /// What queries are written to as dnstap.
    pub fn dnstap(&self) -> Option<Arc<Dnstap>> {
        self.sinks().dnstap.clone()
    }

    /// Opens the file of the log of queries again, which may have been moved away.
    pub fn reopen_log(&self) {
        if let Some(log) = self.log() {
            log.reopen();
        }
    }

    /// The log of queries.
    fn log(&self) -> Option<Arc<QueryLog>> {
        self.sinks().log.clone()
    }

    /// How many watch.
    pub(super) fn watchers(&self) -> usize {
        self.sinks().watchers.len()
    }

    /// Queries that the log has missed.
    pub(super) fn unlogged(&self) -> Option<u64> {
        self.log().map(|log| log.dropped())
    }

    /// Queries that watchers have missed.
    pub(super) fn dropped(&self) -> u64 {
        let of_watchers =
            self.sinks().watchers.iter().map(|watcher| watcher.dropped.load(Ordering::Relaxed)).sum::<u64>();
        self.dropped.load(Ordering::Relaxed) + of_watchers
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
        let mut sinks = self.hub.sinks_mut();
        sinks.watchers.retain(is_other);
        self.hub.dropped.fetch_add(self.watcher.dropped.load(Ordering::Relaxed), Ordering::Relaxed);
        drop(sinks);
        self.hub.switch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_the_whole_name_or_without_wildcards_a_part_of_it() {
        let fits = |pattern: &str, name: &str| Pattern::new(pattern).fits(name.as_bytes());
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
        // There is room again, and it is not seen before the watcher says so.
        hub.observe(&observed(query));
        assert_eq!(watching.watcher.take_dropped(), 1);
        watching.watcher.go_on();
        hub.observe(&observed(query));
        assert_eq!((watching.watcher.take_dropped(), watching.events.len()), (0, QUEUE));
        drop((watching, other));
        assert_eq!(hub.dropped(), 8, "also of those who are gone");
        assert!(!Observer::is_on(&*hub), "who looks no more costs nothing");
    }
}
