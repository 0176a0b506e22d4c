//! An upstream's reply made into the one for the client (answers.md F3, H1, H4, H5).
//!
//! The header and the OPT are ours, the question is the client's, and the records are the upstream's, byte for byte. They
//! keep their places as long as nothing in front of them changes its length, so that the compression pointers in them,
//! known or not, stay right. Behind a removed OPT, and behind alias records of ours, they are moved by `rewrite`.

use smallvec::SmallVec;

use super::message::{
    HEADER, Header, Malformed, RecordRef, Section, extended_errors, flag, question_end, records, same_question,
};
use super::reply::{self, OPT_LEN, ReplyEdns};
use super::rewrite::Rewriter;
use super::{Name, rcode, rtype};

/// What the client asked, as far as its reply depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its message ID.
    pub id: u16,
    /// The flag word of its header, of which RD and CD are copied; see [`flag`].
    pub flags: u16,
    /// Its question section: one uncompressed name, type and class.
    pub question: &'a [u8],
    /// The most octets that the reply may have (answers.md H5): 512 or more.
    pub limit: usize,
    /// Its EDNS, if it has any.
    pub edns: Option<AskedEdns<'a>>,
    /// The aliases from the question's name on, as (owner, target, TTL in seconds): the upstream was asked for the last
    /// one's target. Empty if it was asked for the question's name.
    pub aliases: &'a [(Name, Name, u32)],
}

/// The client's EDNS, and ours for it.
#[derive(Debug, Clone, Copy)]
pub struct AskedEdns<'a> {
    /// Its DO bit.
    pub dnssec_ok: bool,
    /// Options of ours for its OPT, such as a cookie, encoded one behind the other.
    pub options: &'a [u8],
}

impl<'a> From<&'a ReplyEdns> for AskedEdns<'a> {
    fn from(edns: &'a ReplyEdns) -> AskedEdns<'a> {
        AskedEdns { dnssec_ok: edns.dnssec_ok, options: &edns.options }
    }
}

/// Writes the reply for the client into `out`, which is emptied first.
///
/// The extended errors of the upstream are passed on where they fit. Records that do not fit are left out from the last
/// one on, with TC=1 if one of the answer (or of an empty answer's authority section) is among them. AD is the upstream's,
/// except behind an alias of ours, which nobody signed.
///
/// # Errors
/// [`Malformed`] if `reply` is no message or its records do not lie within it, or if the owner of a record that has to be
/// moved is no name.
/// `out` is of no use then.
pub fn relay(reply: &[u8], asked: &Asked<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let upstream = Header::read(reply).ok_or(Malformed)?;
    let opt = match upstream.counts[0] {
        // An error reply of a server that did not read the question; it has no records.
        0 => None,
        1 => opt(reply)?,
        _ => return Err(Malformed),
    };
    let limit = asked.limit.min(usize::from(u16::MAX));
    let opt_len = asked.edns.map_or(0, |_| OPT_LEN);
    let mut own_options = asked.edns.map_or(&[][..], |edns| edns.options);
    let empty = upstream.counts[1] == 0;
    let (counts, cut) = loop {
        out.clear();
        out.resize(HEADER, 0);
        out.extend_from_slice(asked.question);
        let room = limit.saturating_sub(opt_len + own_options.len());
        let mut copy = Copy { out, room, counts: [0; 3], cut: None };
        copy.all(reply, &upstream, asked)?;
        let Copy { counts, cut, .. } = copy;
        let cut = cut.is_some_and(|section| section == Section::Answer || section == Section::Authority && empty);
        if !cut || own_options.is_empty() || !reply::is_last_resort(limit) {
            break (counts, cut);
        }
        own_options = &[];
    };
    let mut code = upstream.rcode() | opt.as_ref().map_or(0, |opt| (opt.ttl >> 24) as u16) << 4;
    if code > flag::RCODE && asked.edns.is_none() {
        code = rcode::SERVFAIL;
    }
    let mut flags = flag::QR | flag::RA | asked.flags & (flag::RD | flag::CD) | code & flag::RCODE;
    flags |= upstream.flags & flag::TC | if cut { flag::TC } else { 0 };
    flags |= if asked.aliases.is_empty() { upstream.flags & flag::AD } else { flag::AA };
    let words = [asked.id, flags, 1, counts[0], counts[1], counts[2] + u16::from(asked.edns.is_some())];
    for (at, word) in words.iter().enumerate() {
        out[2 * at..2 * at + 2].copy_from_slice(&word.to_be_bytes());
    }
    if let Some(edns) = asked.edns {
        let start = out.len();
        out.extend_from_slice(&[0; OPT_LEN]);
        out.extend_from_slice(own_options);
        let errors = opt.map_or(&[][..], |opt| &reply[opt.rdata()]);
        for error in extended_errors(errors) {
            // Before anything else it is these that are left out (RFC 8914 §3).
            if out.len() + error.len() <= limit {
                out.extend_from_slice(error);
            }
        }
        let options = out.len() - start - OPT_LEN;
        out[start..start + OPT_LEN].copy_from_slice(&reply::opt(code, edns.dnssec_ok, options as u16));
    }
    Ok(())
}

/// A query, without memory of its own if its name is not very long.
pub(crate) type UpstreamQuery = SmallVec<[u8; 88]>;

/// The query for an upstream: our header and OPT, for what the client sent in options was for us (hop by hop). `question` is
/// name, type and class in wire form, `flags` are the client's, of which CD and AD count, and `dnssec_ok` is its DO bit, or
/// `None` for a query without an OPT. RD is always set: the same answer is then right for all who ask (answers.md F9).
pub(crate) fn upstream_query(id: u16, question: &[u8], flags: u16, dnssec_ok: Option<bool>) -> UpstreamQuery {
    let mut query = UpstreamQuery::with_capacity(HEADER + question.len() + OPT_LEN);
    let flags = flag::RD | flags & (flag::CD | flag::AD);
    for word in [id, flags, 1, 0, 0, u16::from(dnssec_ok.is_some())] {
        query.extend_from_slice(&word.to_be_bytes());
    }
    query.extend_from_slice(question);
    if let Some(dnssec_ok) = dnssec_ok {
        query.extend_from_slice(&reply::opt(rcode::NOERROR, dnssec_ok, 0));
    }
    query
}

/// The OPT of a message whose records all lie within it.
fn opt(reply: &[u8]) -> Result<Option<RecordRef>, Malformed> {
    let mut opt = None;
    for record in records(reply) {
        let record = record?;
        if record.rtype == rtype::OPT && opt.is_none() {
            opt = Some(record);
        }
    }
    Ok(opt)
}

/// What writes records behind the question of a client.
fn rewriter_for(asked: &Asked<'_>) -> Rewriter {
    let mut rewriter = Rewriter::default();
    if let Some(name) = asked.question.len().checked_sub(4) {
        rewriter.name_at(&asked.question[..name], HEADER);
        if !asked.aliases.is_empty() {
            // Ours are in lower case, and owned by the question's name however the client spelled it.
            rewriter.name_at(&asked.question[..name].to_ascii_lowercase(), HEADER);
        }
    }
    rewriter
}

/// The records on their way to the client.
struct Copy<'a> {
    out: &'a mut Vec<u8>,
    /// The length that `out` may have with records.
    room: usize,
    /// How many were written, by section.
    counts: [u16; 3],
    /// The section of the first that did not fit.
    cut: Option<Section>,
}

impl Copy<'_> {
    /// Writes the aliases and the records of `reply` in order, as many as fit.
    fn all(&mut self, reply: &[u8], upstream: &Header, asked: &Asked<'_>) -> Result<(), Malformed> {
        // Made when the first record moves, which mostly none does.
        let mut rewriter = None;
        for (owner, target, ttl) in asked.aliases {
            let write = |out: &mut Vec<u8>| {
                rewriter.get_or_insert_with(|| rewriter_for(asked)).cname(owner, target, *ttl, out);
                Ok(())
            };
            if !self.fits(Section::Answer, write)? {
                return Ok(());
            }
        }
        if upstream.counts[0] == 0 {
            return Ok(());
        }
        let question = question_end(reply).and_then(|end| reply.get(HEADER..end)).ok_or(Malformed)?;
        let mut in_place = asked.aliases.is_empty() && same_question(question, asked.question);
        for record in records(reply) {
            let record = record?;
            if record.rtype == rtype::OPT {
                in_place = false;
                continue;
            }
            let write = |out: &mut Vec<u8>| {
                if in_place {
                    out.extend_from_slice(&reply[record.range.clone()]);
                    return Ok(());
                }
                rewriter.get_or_insert_with(|| rewriter_for(asked)).record(reply, &record, out)
            };
            if !self.fits(record.section, write)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes a record and counts it; takes it back and returns false if it does not fit.
    fn fits(
        &mut self,
        section: Section,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Malformed>,
    ) -> Result<bool, Malformed> {
        let before = self.out.len();
        write(self.out)?;
        if self.out.len() > self.room {
            self.out.truncate(before);
            self.cut = Some(section);
            return Ok(false);
        }
        self.counts[section as usize] += 1;
        Ok(true)
    }
}
