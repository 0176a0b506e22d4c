//! An answer as it is kept, and how it is written for a client: into the client's buffer, without memory of its own.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use smallvec::SmallVec;

use super::STALE_TTL;
use super::clock::Timestamp;
use super::store::CachedFailure;
use crate::wire::message::{HEADER, Section, extended_errors, flag};
use crate::wire::relay::Asked;
use crate::wire::reply::{OPT_LEN, is_last_resort, opt};
use crate::wire::{ede, option, rcode};

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::forward) enum AnswerKind {
    /// There are such records.
    Records,
    /// The name has no such records (RFC 2308 §2.2).
    NoData,
    /// There is no such name (RFC 2308 §2.1).
    NoName,
}

/// Where a record's TTL lies in the message, and where the record ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct TtlOffset {
    pub(super) ttl: u16,
    pub(super) end: u16,
}

/// Those of the records of an answer, most of which have few.
pub(super) type Offsets = SmallVec<[TtlOffset; 4]>;

/// An upstream's answer, ready to be copied: the header's flags, the question in lower case, and all records but the OPT.
#[derive(Debug)]
pub(in crate::forward) struct Answer {
    pub(super) message: Box<[u8]>,
    /// The records in order.
    pub(super) offsets: Offsets,
    /// How many of them stand in each section.
    pub(super) counts: [u16; 3],
    /// Where the question ends.
    pub(super) question_end: usize,
    /// The upstream's extended errors, encoded options one behind the other.
    pub(super) errors: Box<[u8]>,
    pub(super) kind: AnswerKind,
    pub(super) stored: Timestamp,
    /// How long it is fresh, seconds.
    pub(super) lifetime: u32,
    /// The shortest TTL of the additional records, seconds.
    pub(super) extras_last: u32,
    /// It was asked for with AD or DO, so that its AD bit says something (RFC 6840 §5.7).
    pub(super) with_ad: bool,
    /// False once the name was said not to exist.
    pub(super) may_be_stale: AtomicBool,
    pub(super) hits: AtomicU8,
    pub(super) refreshing: AtomicBool,
}

/// Hits after which an answer is worth to be asked for again before it expires.
const POPULAR: u8 = 3;

/// How old an answer is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::forward) enum Age {
    /// So many seconds: its TTLs are that much less.
    Fresh(u32),
    /// Past its TTL: [`STALE_TTL`], and an extended error that says so.
    Stale,
}

impl Answer {
    /// Its age, if it is within its lifetime.
    pub(in crate::forward) fn fresh(&self, now: Timestamp) -> Option<Age> {
        let age = now.since(self.stored).as_secs();
        (age < u64::from(self.lifetime)).then_some(Age::Fresh(age as u32))
    }

    /// True if it may be given for want of a better one (RFC 8767 §4).
    pub(in crate::forward) fn is_usable_stale(&self, now: Timestamp, stale_for: Duration) -> bool {
        self.kind != AnswerKind::NoName
            && self.may_be_stale.load(Ordering::Relaxed)
            && now.since(self.stored) < Duration::from_secs(self.lifetime.into()).saturating_add(stale_for)
    }

    /// True if its AD bit would say something to a client that asks with AD or DO.
    pub(in crate::forward) fn is_with_ad(&self) -> bool {
        self.with_ad
    }

    pub(in crate::forward) fn kind(&self) -> AnswerKind {
        self.kind
    }

    /// Counts a hit. True for one of those who hit a popular answer in the last tenth of its time: that one is to ask for
    /// it again.
    pub(in crate::forward) fn hit(&self, now: Timestamp) -> bool {
        // Written to a few times only, so that workers do not fight for the cache line of a popular answer.
        if self.hits.load(Ordering::Relaxed) < POPULAR {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let lifetime = Duration::from_secs(self.lifetime.into());
        now.since(self.stored) >= lifetime - lifetime / 10
            && !self.refreshing.load(Ordering::Relaxed)
            && !self.refreshing.swap(true, Ordering::Relaxed)
    }

    /// Octets that it takes.
    pub(super) fn size(&self) -> usize {
        let spilled = if self.offsets.spilled() { size_of_val(&*self.offsets) } else { 0 };
        size_of::<Answer>() + self.message.len() + spilled + self.errors.len()
    }

    /// Writes the reply for a client, as [`relay`](crate::forward::relay) would, and gives its length. `None` if the buffer
    /// has no room for header, question and OPT, or the question is of another length.
    ///
    /// `authenticated`: whether the AD bit may be passed on.
    pub(in crate::forward) fn write(
        &self,
        age: Age,
        authenticated: bool,
        asked: &Asked<'_>,
        out: &mut [u8],
    ) -> Option<usize> {
        let stale = age == Age::Stale;
        let limit = asked.limit.min(out.len()).min(u16::MAX.into());
        let mut own_options = asked.edns.map_or(&[][..], |edns| edns.options);
        let opt_len = asked.edns.map_or(0, |_| OPT_LEN + if stale { STALE_ERROR.len() } else { 0 });
        let (count, cut) = loop {
            let reserved = opt_len + own_options.len();
            let room = limit.checked_sub(reserved).filter(|&room| room >= self.question_end)?;
            let count = match self.message.len() <= room {
                true => self.offsets.len(),
                false => self.offsets.partition_point(|offset| usize::from(offset.end) <= room),
            };
            let (_, cut) = self.sections(count);
            let cut = cut == Some(Section::Answer) || cut == Some(Section::Authority) && self.counts[0] == 0;
            if !cut || own_options.is_empty() || !is_last_resort(asked.limit) {
                break (count, cut);
            }
            own_options = &[];
        };
        let count = match age {
            Age::Fresh(age) if age >= self.extras_last => count.min(self.before_expired(age)),
            _ => count,
        };
        let (counts, _) = self.sections(count);
        let offsets = &self.offsets[..count];
        let end = offsets.last().map_or(self.question_end, |offset| offset.end.into());
        out[..end].copy_from_slice(&self.message[..end]);
        if HEADER + asked.question.len() != self.question_end {
            return None;
        }
        out[HEADER..self.question_end].copy_from_slice(asked.question);
        for offset in offsets {
            let ttl = &mut out[usize::from(offset.ttl)..usize::from(offset.ttl) + 4];
            let left = match age {
                Age::Fresh(age) => u32::from_be_bytes([ttl[0], ttl[1], ttl[2], ttl[3]]).saturating_sub(age),
                Age::Stale => STALE_TTL,
            };
            ttl.copy_from_slice(&left.to_be_bytes());
        }
        let own = u16::from_be_bytes([self.message[2], self.message[3]]);
        let mut flags = flag::QR | flag::RA | asked.flags & (flag::RD | flag::CD) | own & flag::RCODE;
        flags |= if authenticated && !stale { own & flag::AD } else { 0 };
        flags |= if cut { flag::TC } else { 0 };
        let words = [asked.id, flags, 1, counts[0], counts[1], counts[2] + u16::from(asked.edns.is_some())];
        for (place, word) in out.chunks_exact_mut(2).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        let Some(edns) = asked.edns else { return Some(end) };
        let mut opt = Opt { out, start: end, at: end + OPT_LEN, limit };
        opt.push(own_options);
        if stale {
            opt.push(&STALE_ERROR);
        }
        for error in extended_errors(&self.errors) {
            opt.push(error);
        }
        Some(opt.finish(edns.dnssec_ok))
    }

    /// How many records there are before the first additional one whose TTL is over: what follows it may point into it.
    fn before_expired(&self, age: u32) -> usize {
        let extras = usize::from(self.counts[0]) + usize::from(self.counts[1]);
        let ttl = |offset: &TtlOffset| {
            self.message[offset.ttl.into()..].first_chunk().map_or(0, |ttl| u32::from_be_bytes(*ttl))
        };
        let expired = self.offsets.iter().skip(extras).position(|offset| ttl(offset) <= age);
        expired.map_or(self.offsets.len(), |index| extras + index)
    }

    /// How many of the first `count` records stand in each section, and the section of the one behind them.
    fn sections(&self, count: usize) -> ([u16; 3], Option<Section>) {
        let mut left = count;
        let mut cut = None;
        let sections = [Section::Answer, Section::Authority, Section::Additional];
        let counts = std::array::from_fn(|index| {
            let own = usize::from(self.counts[index]);
            let taken = own.min(left);
            left -= taken;
            if taken < own && cut.is_none() {
                cut = Some(sections[index]);
            }
            taken as u16
        });
        (counts, cut)
    }
}

/// Writes the reply that says that asking failed a moment ago, with extended error 13, and gives its length. `None` if the
/// buffer has no room for header, question and OPT.
pub(in crate::forward) fn write_failed(failed: &CachedFailure, asked: &Asked<'_>, out: &mut [u8]) -> Option<usize> {
    let limit = asked.limit.min(out.len());
    let end = HEADER + asked.question.len();
    if end + asked.edns.map_or(0, |edns| OPT_LEN + edns.options.len()) > limit {
        return None;
    }
    let flags = flag::QR | flag::RA | asked.flags & (flag::RD | flag::CD) | failed.rcode & flag::RCODE;
    let words = [asked.id, flags, 1, 0, 0, u16::from(asked.edns.is_some())];
    for (place, word) in out.chunks_exact_mut(2).zip(words) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    out[HEADER..end].copy_from_slice(asked.question);
    let Some(edns) = asked.edns else { return Some(end) };
    let mut opt = Opt { out, start: end, at: end + OPT_LEN, limit };
    opt.push(edns.options);
    let before = opt.at;
    let len = (2 + failed.text.len()) as u16;
    opt.push(&[0, option::EXTENDED_ERROR as u8, (len >> 8) as u8, len as u8, 0, ede::CACHED_ERROR as u8]);
    if opt.at > before && !opt.push(failed.text.as_bytes()) {
        opt.at = before;
    }
    Some(opt.finish(edns.dnssec_ok))
}

/// Extended error 3 without a text (RFC 8914 §4.4), as an option.
const STALE_ERROR: [u8; 6] = [0, option::EXTENDED_ERROR as u8, 0, 2, 0, ede::STALE_ANSWER as u8];

/// An OPT being written behind the records.
struct Opt<'a> {
    out: &'a mut [u8],
    start: usize,
    at: usize,
    limit: usize,
}

impl Opt<'_> {
    /// Adds encoded options. False if they do not fit.
    fn push(&mut self, options: &[u8]) -> bool {
        let end = self.at + options.len();
        let fits = end <= self.limit;
        if fits {
            self.out[self.at..end].copy_from_slice(options);
            self.at = end;
        }
        fits
    }

    fn finish(self, dnssec_ok: bool) -> usize {
        let len = (self.at - self.start - OPT_LEN) as u16;
        self.out[self.start..self.start + OPT_LEN].copy_from_slice(&opt(rcode::NOERROR, dnssec_ok, len));
        self.at
    }
}
