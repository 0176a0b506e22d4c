//! Reading whole messages: the header, and the records one after the other where they lie.

use std::ops::Range;

use super::name::{MAX_LABEL, wire_len};
use super::{option, rcode};

/// The length of a message's header (RFC 1035 §4.1.1): 12 octets.
pub const HEADER: usize = 12;

/// The header's bits (RFC 1035 §4.1.1, RFC 4035 §3), as masks of the 16-bit flag word.
pub mod flag {
    /// The message is a reply.
    pub const QR: u16 = 0x8000;
    /// Authoritative answer.
    pub const AA: u16 = 0x0400;
    /// Truncated.
    pub const TC: u16 = 0x0200;
    /// Recursion desired.
    pub const RD: u16 = 0x0100;
    /// Recursion available.
    pub const RA: u16 = 0x0080;
    /// Authentic data.
    pub const AD: u16 = 0x0020;
    /// Checking disabled.
    pub const CD: u16 = 0x0010;
    /// The opcode's bits.
    pub const OPCODE: u16 = 0x7800;
    /// The response code's bits.
    pub const RCODE: u16 = 0x000f;
}

/// A message's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Message ID.
    pub id: u16,
    /// The flag word; see [`flag`].
    pub flags: u16,
    /// QDCOUNT, ANCOUNT, NSCOUNT, ARCOUNT as received; the message may hold fewer records.
    pub counts: [u16; 4],
}

impl Header {
    /// Reads the first 12 octets; `None` if there are fewer.
    pub fn read(message: &[u8]) -> Option<Header> {
        let header = message.get(..HEADER)?;
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        Some(Header { id: word(0), flags: word(2), counts: [word(4), word(6), word(8), word(10)] })
    }

    /// True if all bits of `mask` are set.
    pub fn has(&self, mask: u16) -> bool {
        self.flags & mask == mask
    }

    /// The opcode: 0 is QUERY.
    pub fn opcode(&self) -> u8 {
        ((self.flags & flag::OPCODE) >> 11) as u8
    }

    /// The response code's low four bits.
    pub fn rcode(&self) -> u16 {
        self.flags & flag::RCODE
    }
}

/// The section of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Section {
    Answer,
    Authority,
    Additional,
}

/// Where a record lies in its message, and its fixed fields.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordRef {
    /// The section it stands in.
    pub section: Section,
    /// All of it, owner name to the end of its data.
    pub range: Range<usize>,
    /// Where its TYPE field starts, right behind the owner name; class, TTL and RDLENGTH follow at +2, +4, +8.
    pub fixed: usize,
    /// Type.
    pub rtype: u16,
    /// Class.
    pub class: u16,
    /// TTL, seconds; for an OPT extended rcode, version and flags.
    pub ttl: u32,
}

impl RecordRef {
    /// Where its data lies.
    pub fn rdata(&self) -> Range<usize> {
        self.fixed + 10..self.range.end
    }
}

/// The message ends too early, or something in it is not what its place says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message")]
pub struct Malformed;

/// The end of the question of a message with exactly one: uncompressed name, type, class.
pub fn question_end(message: &[u8]) -> Option<usize> {
    let end = HEADER + wire_len(message.get(HEADER..)?)? + 4;
    (end <= message.len()).then_some(end)
}

/// The position after the name that starts at `at`, which may end in a compression pointer. The pointer is not followed.
pub fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let len = *message.get(at)? as usize;
        match len {
            0 => return Some(at + 1),
            0xc0.. => return (at + 2 <= message.len()).then_some(at + 2),
            _ if len > MAX_LABEL => return None,
            _ => at += 1 + len,
        }
    }
}

/// The end of the questions, however many the header says that there are; their names may end in compression pointers.
pub(crate) fn questions_end(message: &[u8]) -> Option<usize> {
    let [questions, ..] = Header::read(message)?.counts;
    let end = (0..questions).try_fold(HEADER, |at, _| Some(skip_name(message, at)? + 4))?;
    (end <= message.len()).then_some(end)
}

/// The records of a message with one question, in order. Stops behind the first error.
pub fn records(message: &[u8]) -> Records<'_> {
    records_behind(message, question_end(message))
}

/// The same of a message whose questions end there.
pub(crate) fn records_behind(message: &[u8], questions_end: Option<usize>) -> Records<'_> {
    let counts = Header::read(message).map_or([0; 4], |header| header.counts);
    Records { message, at: questions_end.ok_or(Malformed), left: [counts[1], counts[2], counts[3]] }
}

/// See [`records`].
#[derive(Debug, Clone)]
pub struct Records<'a> {
    message: &'a [u8],
    at: Result<usize, Malformed>,
    left: [u16; 3],
}

impl Iterator for Records<'_> {
    type Item = Result<RecordRef, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.left.iter().position(|&left| left > 0)?;
        let record = self.at.and_then(|at| {
            let section = [Section::Answer, Section::Authority, Section::Additional][index];
            record_at(self.message, at, section).ok_or(Malformed)
        });
        match &record {
            Ok(record) => {
                self.left[index] -= 1;
                self.at = Ok(record.range.end);
            }
            Err(_) => self.left = [0; 3],
        }
        Some(record)
    }
}

fn record_at(message: &[u8], start: usize, section: Section) -> Option<RecordRef> {
    let fixed = skip_name(message, start)?;
    let field = message.get(fixed..fixed + 10)?;
    let word = |at: usize| u16::from_be_bytes([field[at], field[at + 1]]);
    let end = fixed + 10 + word(8) as usize;
    (end <= message.len()).then(|| RecordRef {
        section,
        range: start..end,
        fixed,
        rtype: word(0),
        class: word(2),
        ttl: u32::from_be_bytes([field[4], field[5], field[6], field[7]]),
    })
}

/// True if `message` is the reply to a question asked with `id`: anything else on the socket is somebody's guess or a
/// stray, and is ignored.
pub(crate) fn is_reply(message: &[u8], id: u16, question: &[u8]) -> bool {
    let Some(header) = Header::read(message) else { return false };
    if header.id != id || !header.has(flag::QR) || header.opcode() != 0 {
        return false;
    }
    match header.counts[0] {
        // Servers that did not get as far as the question.
        0 => matches!(header.rcode(), rcode::FORMERR | rcode::SERVFAIL | rcode::NOTIMP | rcode::REFUSED),
        1 => question_end(message).is_some_and(|end| same_question(&message[HEADER..end], question)),
        _ => false,
    }
}

/// True if the questions are the same: names without ASCII case (answers.md P6), type and class exactly.
///
/// Length octets are below `A`, so that folding the whole name cannot make two of them equal.
pub(crate) fn same_question(one: &[u8], other: &[u8]) -> bool {
    match (one.split_last_chunk::<4>(), other.split_last_chunk::<4>()) {
        (Some((one, one_tail)), Some((other, other_tail))) => one_tail == other_tail && one.eq_ignore_ascii_case(other),
        _ => false,
    }
}

/// The options in the data of an OPT, each with its code and its whole encoding; stops at the first that is cut short.
fn options(rdata: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = rdata;
    std::iter::from_fn(move || {
        let head = rest.get(..4)?;
        let len = 4 + usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (whole, tail) = rest.split_at_checked(len)?;
        rest = tail;
        Some((u16::from_be_bytes([head[0], head[1]]), whole))
    })
}

/// The extended errors among the options of an OPT, each whole.
pub(crate) fn extended_errors(rdata: &[u8]) -> impl Iterator<Item = &[u8]> {
    options(rdata).filter(|&(code, _)| code == option::EXTENDED_ERROR).map(|(_, whole)| whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_are_cut_short_end_the_list() {
        let rdata = [0, 10, 0, 1, 9, 0, 15, 0, 2, 0, 22, 0, 15, 0, 9, 1];
        assert_eq!(options(&rdata).map(|(code, _)| code).collect::<Vec<_>>(), [10, 15]);
        assert_eq!(extended_errors(&rdata).collect::<Vec<_>>(), [&rdata[5..11]]);
    }
}
