//! What of an upstream's reply is kept, and for how long (RFC 2308, RFC 2181).
//!
//! Of the answer section only what answers the question is kept: the records of the asked name and type, and the aliases
//! that lead from the one to the other. A record of another name that stands among them is nobody's answer (MaginotDNS,
//! USENIX Security 2023). The other sections stay as they came, for clients that ask the same question; nothing in a reply
//! is ever used for another question.

use std::time::Duration;

use smallvec::SmallVec;

use super::Moment;
use super::answer::{Answer, Mark, Verdict};
use super::key::KeyRef;
use crate::forward::query::{extended_errors, same_question};
use crate::wire::message::{HEADER, Header, RecordRef, Section, flag, question_end, records, skip_name};
use crate::wire::rewrite::{Rewriter, expand};
use crate::wire::{class, is_below, rcode, rtype};

/// The least and the most that a TTL counts, seconds. The least is not for negative answers: a name that comes into being
/// is not to be hidden for longer than its zone says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::forward) struct Clamp {
    pub(in crate::forward) least: u32,
    pub(in crate::forward) most: u32,
}

/// Negative answers are kept for three hours at most, whatever their SOA says (RFC 2308 §5).
const NEGATIVE: u32 = 3 * 60 * 60;
/// Aliases that are followed in one answer.
const ALIASES: usize = 32;
const DNAME: u16 = 39;
const RRSIG: u16 = 46;

impl Clamp {
    /// What a TTL counts: one with its highest bit set is 0 (RFC 2181 §8).
    fn of(self, ttl: u32) -> u32 {
        let ttl = if ttl > i32::MAX as u32 { 0 } else { ttl };
        ttl.max(self.least).min(self.most)
    }

    /// Gives a message the TTLs that its records have when they are given from the cache. One whose records do not lie
    /// within it is left as it is.
    pub(in crate::forward) fn apply(self, message: &mut [u8]) {
        let Ok(found) = records(message).collect::<Result<SmallVec<[RecordRef; 8]>, _>>() else { return };
        for record in found.iter().filter(|record| record.rtype != rtype::OPT) {
            let clamp = match record.rtype {
                // Of a negative answer; see `admit`.
                rtype::SOA if record.section == Section::Authority => Clamp { least: 0, ..self },
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
pub(super) fn admit(reply: &[u8], key: KeyRef<'_>, clamp: Clamp, with_ad: bool, now: Moment) -> Option<Answer> {
    let header = Header::read(reply)?;
    let code = header.rcode();
    if header.counts[0] != 1 || header.has(flag::TC) || !matches!(code, rcode::NOERROR | rcode::NXDOMAIN) {
        return None;
    }
    let question = [key.name, &key.kind.rtype.to_be_bytes(), &key.kind.class.to_be_bytes()].concat();
    if !same_question(&reply[HEADER..question_end(reply)?], &question) {
        return None;
    }
    let records = records(reply).collect::<Result<Vec<_>, _>>().ok()?;
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
        _ => Some(soa_ttl(reply, &records, answer.chain.last()?, key.kind.class)?.min(NEGATIVE).min(clamp.most)),
    };

    let mut copy = Copy { message: vec![0; HEADER], marks: Vec::with_capacity(records.len()), counts: [0; 3] };
    copy.message.extend_from_slice(&question);
    let mut rewriter = Rewriter::default();
    rewriter.name_at(key.name, HEADER);
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
            _ => clamp.of(record.ttl),
        };
        match record.section {
            Section::Additional => extras_last = extras_last.min(ttl),
            _ => lifetime = lifetime.min(ttl),
        }
        copy.record(reply, record, ttl, in_place, &mut rewriter)?;
    }
    if lifetime == 0 || copy.message.len() > u16::MAX.into() {
        return None;
    }
    let flags = code | header.flags & flag::AD;
    copy.message[2..4].copy_from_slice(&flags.to_be_bytes());
    let verdict = match (negative, code) {
        (None, _) => Verdict::Records,
        (Some(_), rcode::NXDOMAIN) => Verdict::NoName,
        (Some(_), _) => Verdict::NoData,
    };
    Some(Answer {
        message: copy.message.into(),
        marks: copy.marks.into(),
        counts: copy.counts,
        question_end: HEADER + question.len(),
        errors: errors.into(),
        verdict,
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
    marks: Vec<Mark>,
    counts: [u16; 3],
}

impl Copy {
    fn record(
        &mut self,
        reply: &[u8],
        record: &RecordRef,
        ttl: u32,
        in_place: bool,
        rewriter: &mut Rewriter,
    ) -> Option<()> {
        let start = self.message.len();
        if in_place {
            self.message.extend_from_slice(&reply[record.range.clone()]);
        } else {
            rewriter.record(reply, record, &mut self.message).ok()?;
        }
        let ttl_at = skip_name(&self.message, start)? + 4;
        self.message[ttl_at..ttl_at + 4].copy_from_slice(&ttl.to_be_bytes());
        let mark = Mark { ttl: ttl_at.try_into().ok()?, end: self.message.len().try_into().ok()? };
        self.marks.push(mark);
        self.counts[record.section as usize] += 1;
        Some(())
    }
}

/// What the answer section says.
struct Chain {
    /// The asked name and the names that it is an alias for, in order.
    chain: Vec<Vec<u8>>,
    /// For each record whether it is part of the answer.
    kept: Vec<bool>,
    /// There are records of the asked type at the end of the chain.
    has_answer: bool,
}

impl Chain {
    fn read(reply: &[u8], records: &[RecordRef], key: KeyRef<'_>) -> Option<Chain> {
        let answers = records.iter().filter(|record| record.section == Section::Answer);
        let answers = answers.map(|record| Some((name_at(reply, record.range.start)?, record)));
        let answers = answers.collect::<Option<Vec<_>>>()?;
        let is_class = |record: &RecordRef| record.class == key.kind.class || key.kind.class == class::ANY;
        // ANY, MAILA and MAILB ask for several types (RFC 1035 §3.2.3); an OPT is no answer to anything.
        let is_any = matches!(key.kind.rtype, 253..=255);
        let is_type = |record: &RecordRef| record.rtype != rtype::OPT && (record.rtype == key.kind.rtype || is_any);

        let mut chain = vec![key.name.to_vec()];
        while let Some(last) = chain.last().filter(|_| chain.len() <= ALIASES) {
            let alias = answers.iter().find(|(owner, record)| {
                owner == last && record.rtype == rtype::CNAME && is_class(record) && !is_type(record)
            });
            let Some((_, record)) = alias else { break };
            let target = name_at(reply, record.rdata().start)?;
            if chain.contains(&target) {
                break;
            }
            chain.push(target);
        }
        let is_kept = |owner: &Vec<u8>, record: &RecordRef| {
            if !is_class(record) {
                return false;
            }
            if chain.contains(owner) {
                return is_type(record) || matches!(record.rtype, rtype::CNAME | RRSIG | DNAME);
            }
            // The DNAME that an alias was made of (RFC 6672), and its signature.
            let is_dname = match record.rtype {
                DNAME => true,
                RRSIG => reply[record.rdata()].starts_with(&DNAME.to_be_bytes()),
                _ => false,
            };
            is_dname && chain.iter().any(|name| is_below(name, owner))
        };
        let kept = answers.iter().map(|(owner, record)| is_kept(owner, record)).collect();
        let last = chain.last();
        let has_answer =
            answers.iter().any(|(owner, record)| Some(owner) == last && is_class(record) && is_type(record));
        Some(Chain { chain, kept, has_answer })
    }
}

/// How long a negative answer holds: the lesser of the SOA's TTL and its MINIMUM (RFC 2308 §5). The SOA has to be that of
/// a zone that `name` can be in.
fn soa_ttl(reply: &[u8], records: &[RecordRef], name: &[u8], class: u16) -> Option<u32> {
    records
        .iter()
        .filter(|record| record.section == Section::Authority && record.rtype == rtype::SOA && record.class == class)
        .filter(|record| name_at(reply, record.range.start).is_some_and(|owner| is_below(name, &owner)))
        .filter_map(|record| {
            let (_, minimum) = reply[record.rdata()].split_last_chunk::<4>()?;
            let ttl = if record.ttl > i32::MAX as u32 { 0 } else { record.ttl };
            // Two names and five numbers.
            (record.rdata().len() >= 22).then_some(ttl.min(u32::from_be_bytes(*minimum)))
        })
        .min()
}

/// The name at an octet of a message: in full, lower case.
fn name_at(message: &[u8], at: usize) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    expand(message, at, &mut name)?;
    name.make_ascii_lowercase();
    Some(name)
}

/// Whole seconds of an option, as far as a TTL goes (RFC 2181 §8).
pub(in crate::forward) fn seconds(duration: Duration) -> u32 {
    duration.as_secs().min(i32::MAX as u64) as u32
}
