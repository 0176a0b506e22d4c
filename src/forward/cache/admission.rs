//! What of an upstream's reply is kept, and for how long (RFC 2308, RFC 2181).
//!
//! Of the answer section only what answers the question is kept: the records of the asked name and type, and the aliases
//! that lead from the one to the other. A record of another name that stands among them is nobody's answer (MaginotDNS,
//! USENIX Security 2023). The other sections stay as they came, for clients that ask the same question; nothing in a reply
//! is ever used for another question.

use std::time::Duration;

use smallvec::SmallVec;

use super::clock::Timestamp;
use super::entry::{Answer, AnswerKind, Offsets, TtlOffset};
use super::key::KeyRef;
use crate::wire::message::{
    HEADER, Header, RecordRef, Section, extended_errors, flag, question_end, records, skip_name,
};
use crate::wire::rewrite::{Rewriter, each_label};
use crate::wire::{class, is_below, rcode, rtype};

/// The least and the most that a TTL counts, seconds. The least is not for negative answers: a name that comes into being
/// is not to be hidden for longer than its zone says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::forward) struct TtlBounds {
    pub(in crate::forward) least: u32,
    pub(in crate::forward) most: u32,
}

/// Negative answers are kept for three hours at most, whatever their SOA says (RFC 2308 §5).
const NEGATIVE: u32 = 3 * 60 * 60;
/// The records of a message.
type Found = SmallVec<[RecordRef; 8]>;

/// Aliases that are followed in one answer.
const ALIASES: usize = 32;
const DNAME: u16 = 39;
const RRSIG: u16 = 46;

impl TtlBounds {
    /// What a TTL counts: one with its highest bit set is 0 (RFC 2181 §8).
    fn of(self, ttl: u32) -> u32 {
        let ttl = if ttl > i32::MAX as u32 { 0 } else { ttl };
        ttl.max(self.least).min(self.most)
    }

    /// Gives a message the TTLs that its records have when they are given from the cache. One whose records do not lie
    /// within it is left as it is.
    pub(in crate::forward) fn apply(self, message: &mut [u8]) {
        // Mostly there is nothing to change.
        let is_right = |record: &RecordRef| record.rtype == rtype::OPT || self.of(record.ttl) == record.ttl;
        if records(message).all(|record| record.is_ok_and(|record| is_right(&record))) {
            return;
        }
        let Ok(found) = records(message).collect::<Result<Found, _>>() else { return };
        for record in found.iter().filter(|record| record.rtype != rtype::OPT) {
            let clamp = match record.rtype {
                // Of a negative answer; see `admit`.
                rtype::SOA if record.section == Section::Authority => TtlBounds { least: 0, ..self },
                _ => self,
            };
            let ttl = clamp.of(record.ttl);
            if ttl != record.ttl {
                message[record.fixed + 4..record.fixed + 8].copy_from_slice(&ttl.to_be_bytes());
            }
        }
    }
}

/// Reads a reply to the question of `key`. `None` if it is not one to be kept: an error, truncated, a negative answer
/// without SOA, of TTL 0, or not what it should be.
pub(super) fn admit(reply: &[u8], key: KeyRef<'_>, bounds: TtlBounds, with_ad: bool, now: Timestamp) -> Option<Answer> {
    let header = Header::read(reply)?;
    let code = header.rcode();
    if header.counts[0] != 1 || header.has(flag::TC) || !matches!(code, rcode::NOERROR | rcode::NXDOMAIN) {
        return None;
    }
    let question_end = question_end(reply)?;
    let (name, tail) = reply[HEADER..question_end].split_last_chunk::<4>()?;
    if *tail != key.kind.to_wire() || !name.eq_ignore_ascii_case(key.name) {
        return None;
    }
    let records = records(reply).collect::<Result<Found, _>>().ok()?;
    let mut errors = Vec::new();
    for record in &records {
        match record.rtype {
            // An extended response code is an error.
            rtype::OPT if record.ttl >> 24 != 0 => return None,
            rtype::OPT => extended_errors(&reply[record.rdata()]).for_each(|error| errors.extend_from_slice(error)),
            rtype::TSIG => return None,
            _ => {}
        }
    }
    let answer = Chain::read(reply, &records, key)?;
    let negative = match (code, answer.has_answer) {
        (rcode::NOERROR, true) => None,
        (rcode::NXDOMAIN, true) => return None,
        _ => Some(soa_ttl(reply, &records, answer.last(), key.kind.class)?.min(NEGATIVE).min(bounds.most)),
    };

    // As long as it is kept, of its own length: its size is what the cache is bounded by.
    let opts = records.iter().filter(|record| record.rtype == rtype::OPT).map(|record| record.range.len());
    let room = reply.len() - opts.sum::<usize>();
    let mut copy = Copy { message: Vec::with_capacity(room), offsets: SmallVec::new(), counts: [0; 3] };
    copy.message.resize(HEADER, 0);
    copy.message.extend_from_slice(key.name);
    copy.message.extend_from_slice(tail);
    // Made when the first record moves.
    let mut rewriter: Option<Rewriter> = None;
    let mut in_place = true;
    let mut kept = answer.kept.iter();
    let mut lifetime = negative.unwrap_or(u32::MAX);
    let mut extras_last = u32::MAX;
    for record in &records {
        let is_kept = match record.section {
            Section::Answer => *kept.next()?,
            _ => record.rtype != rtype::OPT,
        };
        if !is_kept {
            // What follows moves: compression pointers have to be resolved from here on.
            in_place = false;
            continue;
        }
        let ttl = match (record.section, negative) {
            (Section::Authority, Some(negative)) if record.rtype == rtype::SOA => negative,
            _ => bounds.of(record.ttl),
        };
        match record.section {
            Section::Additional => extras_last = extras_last.min(ttl),
            _ => lifetime = lifetime.min(ttl),
        }
        let rewriter = (!in_place).then(|| {
            rewriter.get_or_insert_with(|| {
                let mut rewriter = Rewriter::default();
                rewriter.name_at(key.name, HEADER);
                rewriter
            })
        });
        copy.record(reply, record, ttl, rewriter)?;
    }
    if lifetime == 0 || copy.message.len() > u16::MAX.into() {
        return None;
    }
    let flags = code | header.flags & flag::AD;
    copy.message[2..4].copy_from_slice(&flags.to_be_bytes());
    let kind = match (negative, code) {
        (None, _) => AnswerKind::Records,
        (Some(_), rcode::NXDOMAIN) => AnswerKind::NoName,
        (Some(_), _) => AnswerKind::NoData,
    };
    Some(Answer {
        message: copy.message.into(),
        offsets: copy.offsets,
        counts: copy.counts,
        question_end,
        errors: errors.into(),
        kind,
        stored: now,
        lifetime,
        extras_last,
        with_ad,
        may_be_stale: true.into(),
        hits: 0.into(),
        refreshing: false.into(),
    })
}

/// The message being built.
struct Copy {
    message: Vec<u8>,
    offsets: Offsets,
    counts: [u16; 3],
}

impl Copy {
    /// Adds a record: as it is, or by the rewriter where it moves.
    fn record(&mut self, reply: &[u8], record: &RecordRef, ttl: u32, rewriter: Option<&mut Rewriter>) -> Option<()> {
        let start = self.message.len();
        let fixed = match rewriter {
            None => {
                self.message.extend_from_slice(&reply[record.range.clone()]);
                record.fixed
            }
            // Its owner may be spelled out, even where it comes to stand at the octet where it stood.
            Some(rewriter) => {
                rewriter.record(reply, record, &mut self.message).ok()?;
                skip_name(&self.message, start)?
            }
        };
        let ttl_at = fixed + 4;
        self.message[ttl_at..ttl_at + 4].copy_from_slice(&ttl.to_be_bytes());
        let offset = TtlOffset { ttl: ttl_at.try_into().ok()?, end: self.message.len().try_into().ok()? };
        self.offsets.push(offset);
        self.counts[record.section as usize] += 1;
        Some(())
    }
}

/// What the answer section says. Names are places in the message.
struct Chain {
    /// The asked name and the names that it is an alias for, in order.
    names: SmallVec<[usize; 4]>,
    /// For each record whether it is part of the answer.
    kept: SmallVec<[bool; 16]>,
    /// There are records of the asked type at the end of the chain.
    has_answer: bool,
}

impl Chain {
    fn read(reply: &[u8], records: &[RecordRef], key: KeyRef<'_>) -> Option<Chain> {
        let answers = || records.iter().filter(|record| record.section == Section::Answer);
        if !answers().all(|record| is_name(reply, record.range.start)) {
            return None;
        }
        let is_class = |record: &RecordRef| record.class == key.kind.class || key.kind.class == class::ANY;
        // ANY, MAILA and MAILB ask for several types (RFC 1035 §3.2.3); an OPT is no answer to anything.
        let is_any = matches!(key.kind.rtype, 253..=255);
        let is_type = |record: &RecordRef| record.rtype != rtype::OPT && (record.rtype == key.kind.rtype || is_any);

        let mut names: SmallVec<[usize; 4]> = SmallVec::new();
        let mut last = HEADER;
        names.push(last);
        while names.len() <= ALIASES {
            let alias = answers().find(|record| {
                record.rtype == rtype::CNAME
                    && is_class(record)
                    && !is_type(record)
                    && is_same_name(reply, record.range.start, last)
            });
            let Some(record) = alias else { break };
            let target = record.rdata().start;
            if !is_name(reply, target) {
                return None;
            }
            if names.iter().any(|&name| is_same_name(reply, name, target)) {
                break;
            }
            names.push(target);
            last = target;
        }
        let is_kept = |record: &RecordRef| {
            if !is_class(record) {
                return false;
            }
            if names.iter().any(|&name| is_same_name(reply, name, record.range.start)) {
                return is_type(record) || matches!(record.rtype, rtype::CNAME | RRSIG | DNAME);
            }
            // The DNAME that an alias was made of (RFC 6672), and its signature.
            let is_dname = match record.rtype {
                DNAME => true,
                RRSIG => reply[record.rdata()].starts_with(&DNAME.to_be_bytes()),
                _ => false,
            };
            is_dname && names.iter().any(|&name| is_name_below(reply, name, record.range.start))
        };
        let kept = answers().map(is_kept).collect();
        let has_answer = answers()
            .any(|record| is_class(record) && is_type(record) && is_same_name(reply, record.range.start, last));
        Some(Chain { names, kept, has_answer })
    }

    /// Where the name stands that the chain ends with.
    fn last(&self) -> usize {
        self.names.last().copied().unwrap_or(HEADER)
    }
}

/// How long a negative answer holds: the lesser of the SOA's TTL and its MINIMUM (RFC 2308 §5). The SOA has to be that of
/// a zone that `name` can be in.
fn soa_ttl(reply: &[u8], records: &[RecordRef], name: usize, class: u16) -> Option<u32> {
    records
        .iter()
        .filter(|record| record.section == Section::Authority && record.rtype == rtype::SOA && record.class == class)
        .filter(|record| is_name_below(reply, name, record.range.start))
        .filter_map(|record| {
            let (_, minimum) = reply[record.rdata()].split_last_chunk::<4>()?;
            let ttl = if record.ttl > i32::MAX as u32 { 0 } else { record.ttl };
            // Two names and five numbers.
            (record.rdata().len() >= 22).then_some(ttl.min(u32::from_be_bytes(*minimum)))
        })
        .min()
}

/// Where a name begins that may begin with a compression pointer.
fn beginning(message: &[u8], at: usize) -> usize {
    match message.get(at..at + 2) {
        // One step is enough to find those that stand for the question's name, or for an alias' target.
        Some(&[high, low]) if high >= 0xc0 => usize::from(high & 0x3f) << 8 | usize::from(low),
        _ => at,
    }
}

/// True if there is a name at an octet of a message. The question's is known to be one.
fn is_name(message: &[u8], at: usize) -> bool {
    beginning(message, at) == HEADER || each_label(message, at, |_| ()).is_some()
}

/// The name at an octet of a message: in full, lower case.
fn name_at(message: &[u8], at: usize) -> Option<SmallVec<[u8; 256]>> {
    let mut name = SmallVec::new();
    each_label(message, at, |label| name.extend_from_slice(label))?;
    name.make_ascii_lowercase();
    Some(name)
}

/// True if the names at two octets of a message are the same.
fn is_same_name(message: &[u8], one: usize, other: usize) -> bool {
    let is_same = || Some(name_at(message, one)? == name_at(message, other)?);
    beginning(message, one) == beginning(message, other) || is_same() == Some(true)
}

/// True if the name at an octet of a message is the other one, or below it.
fn is_name_below(message: &[u8], name: usize, other: usize) -> bool {
    let is_below = || Some(is_below(&name_at(message, name)?, &name_at(message, other)?));
    is_below() == Some(true)
}

/// Whole seconds of an option, as far as a TTL goes (RFC 2181 §8).
pub(in crate::forward) fn seconds(duration: Duration) -> u32 {
    duration.as_secs().min(i32::MAX as u64) as u32
}
