//! Writing a reply into the caller's buffer, never beyond its limit.

use std::ops::Deref;

use smallvec::SmallVec;

use super::edns::Edns;
use super::message::{HEADER, Header, Section, flag};
use super::{class, option, rtype};

/// The UDP payload size that we announce, to clients and to upstreams, and that replies have at most unless told otherwise
/// (answers.md H4, H5), octets: no fragments on any usual path (DNS flag day 2020).
pub const UDP_SIZE: u16 = 1232;
/// The largest size that replies over UDP can be given (answers.md H5), octets.
pub const UDP_SIZE_LARGEST: u16 = 4096;
/// The smallest size that every client takes (RFC 1035 §4.2.1), octets.
pub const UDP_SIZE_PLAIN: u16 = 512;

/// The largest reply for a client over UDP, octets: `largest`, which is ours, or its own size; 512 without EDNS (answers.md
/// H5).
pub fn udp_limit(edns: Option<&Edns>, largest: usize) -> usize {
    edns.map_or(UDP_SIZE_PLAIN.into(), |edns| largest.min(edns.udp_size().into()))
}

/// True for the limit of replies over TCP. There is no larger message that could be asked for again: an answer that fits only
/// without options such as a cookie goes without them.
pub fn is_last_resort(limit: usize) -> bool {
    limit >= usize::from(u16::MAX)
}

/// Encoded EDNS options for one reply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(SmallVec<[u8; 64]>);

impl Options {
    /// None.
    pub fn new() -> Options {
        Options::default()
    }
}

impl Deref for Options {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Appends one EDNS option whose data is the concatenation of `data`.
pub fn push_option(options: &mut Options, code: u16, data: &[&[u8]]) {
    let len: usize = data.iter().map(|part| part.len()).sum();
    options.0.extend_from_slice(&code.to_be_bytes());
    options.0.extend_from_slice(&(len as u16).to_be_bytes());
    for part in data {
        options.0.extend_from_slice(part);
    }
}

/// Appends an extended error (RFC 8914 §2). A text is cut to 128 octets, at a character's end.
pub fn push_extended_error(options: &mut Options, code: u16, text: &str) {
    let mut end = text.len().min(128);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    push_option(options, option::EXTENDED_ERROR, &[&code.to_be_bytes(), &text.as_bytes()[..end]]);
}

/// The OPT of a reply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplyEdns {
    /// The query's DO bit, copied (RFC 6891 §6.1.4).
    pub dnssec_ok: bool,
    /// Encoded options.
    pub options: Options,
}

/// The octets of an OPT without options.
pub const OPT_LEN: usize = 11;

/// An OPT record up to its options, of which `options` octets follow: our size, the high bits of `rcode`, version 0, DO
/// (RFC 6891 §6.1.2).
pub fn opt(rcode: u16, dnssec_ok: bool, options: u16) -> [u8; OPT_LEN] {
    let mut opt = [0; OPT_LEN];
    opt[1..3].copy_from_slice(&rtype::OPT.to_be_bytes());
    opt[3..5].copy_from_slice(&UDP_SIZE.to_be_bytes());
    opt[5] = (rcode >> 4) as u8;
    opt[7] = u8::from(dnssec_ok) << 7;
    opt[9..].copy_from_slice(&options.to_be_bytes());
    opt
}

/// A reply being written: header, the question as received, whole records up to the limit, and the OPT, for which room
/// is kept from the start.
#[derive(Debug)]
pub struct ReplyWriter<'b> {
    out: &'b mut [u8],
    at: usize,
    limit: usize,
    edns: Option<&'b ReplyEdns>,
    /// The options that are still to be written.
    options: &'b [u8],
    /// True if options give way to answers.
    is_last_resort: bool,
    questions: u16,
    counts: [u16; 3],
    flags: u16,
}

impl<'b> ReplyWriter<'b> {
    /// Starts the reply to a query with the given header and question, which is empty where none can be repeated.
    ///
    /// `limit` is the largest size of the whole reply, octets; a buffer that is smaller limits it too. Options that do not fit
    /// beside header and question are left out. `None` if not even these and an OPT without options fit: a buffer of 512
    /// octets always suffices for them.
    pub fn start(
        out: &'b mut [u8],
        header: &Header,
        question: &[u8],
        edns: Option<&'b ReplyEdns>,
        limit: usize,
    ) -> Option<ReplyWriter<'b>> {
        let is_last_resort = is_last_resort(limit);
        let limit = limit.min(out.len()).min(u16::MAX.into()).checked_sub(edns.map_or(0, |_| OPT_LEN))?;
        let at = HEADER + question.len();
        let room = limit.checked_sub(at)?;
        let options = edns.map_or(&[][..], |edns| &edns.options);
        let options = if options.len() <= room { options } else { &[] };
        let limit = limit - options.len();
        out[..2].copy_from_slice(&header.id.to_be_bytes());
        out[HEADER..at].copy_from_slice(question);
        let flags = flag::QR | (header.flags & (flag::OPCODE | flag::RD | flag::CD));
        let questions = u16::from(!question.is_empty());
        Some(ReplyWriter { out, at, limit, edns, options, is_last_resort, questions, counts: [0; 3], flags })
    }

    /// Sets bits of [`flag`], such as AA.
    pub fn set(&mut self, flags: u16) {
        self.flags |= flags;
    }

    /// Where the next record will start.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Adds one record of a [fragment](super::rrset) to a section, its owner name at octet `owner` of the message (12
    /// for the question's name). False if it does not fit; if it was an answer, the reply is then marked as truncated.
    #[inline]
    pub fn push(&mut self, section: Section, owner: usize, record: &[u8]) -> bool {
        let Some(room) = self.room(section, owner, record.len()) else { return false };
        room[2..].copy_from_slice(&record[2..]);
        true
    }

    /// Adds one record of class IN whose data is the concatenation of `rdata`; TTL in seconds. See
    /// [`push`](ReplyWriter::push).
    pub fn push_rdata(&mut self, section: Section, owner: usize, rtype: u16, ttl: u32, rdata: &[&[u8]]) -> bool {
        let len: usize = rdata.iter().map(|part| part.len()).sum();
        let Some(room) = self.room(section, owner, 12 + len) else { return false };
        room[2..4].copy_from_slice(&rtype.to_be_bytes());
        room[4..6].copy_from_slice(&class::IN.to_be_bytes());
        room[6..10].copy_from_slice(&ttl.to_be_bytes());
        room[10..12].copy_from_slice(&(len as u16).to_be_bytes());
        let mut at = 12;
        for part in rdata {
            room[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        true
    }

    /// Adds a TXT record of class CH with one string of at most 255 octets, as `version.bind` has (RFC 4892 §2).
    pub fn push_chaos_text(&mut self, text: &[u8]) -> bool {
        let start = self.at;
        let text = &text[..text.len().min(255)];
        let pushed = self.push_rdata(Section::Answer, HEADER, rtype::TXT, 0, &[&[text.len() as u8], text]);
        if pushed {
            self.out[start + 4..start + 6].copy_from_slice(&class::CH.to_be_bytes());
        }
        pushed
    }

    /// Makes room for a record of `len` octets and writes its owner.
    #[inline(always)]
    fn room(&mut self, section: Section, owner: usize, len: usize) -> Option<&mut [u8]> {
        let section = section as usize;
        debug_assert!(self.counts[section + 1..].iter().all(|&count| count == 0), "sections come in order");
        let end = self.at + len;
        // A pointer has 14 bits: an owner beyond them cannot be said, and is left out like one that does not fit.
        if (end > self.limit || owner >= 0x4000) && !self.give_way(section, owner, end) {
            return None;
        }
        let room = &mut self.out[self.at..end];
        room[..2].copy_from_slice(&(0xc000 | owner as u16).to_be_bytes());
        self.at = end;
        self.counts[section] += 1;
        Some(room)
    }

    /// Lets the options give way to an answer that ends at `end`, where there is no larger message. False if it does not fit
    /// so either; the reply is then marked as truncated.
    #[cold]
    fn give_way(&mut self, section: usize, owner: usize, end: usize) -> bool {
        let is_answer = section == Section::Answer as usize;
        if is_answer && self.is_last_resort && end <= self.limit + self.options.len() {
            self.limit += std::mem::take(&mut self.options).len();
        }
        let fits = end <= self.limit && owner < 0x4000;
        if is_answer && !fits {
            self.flags |= flag::TC;
        }
        fits
    }

    /// How many answers there are so far.
    pub fn answers(&self) -> u16 {
        self.counts[0]
    }

    /// True once an answer record was left out.
    pub fn is_truncated(&self) -> bool {
        self.flags & flag::TC != 0
    }

    /// Writes the OPT and the header, and gives the reply's length. The response code's high bits need the OPT.
    pub fn finish(mut self, rcode: u16) -> usize {
        let mut additional = self.counts[2];
        if let Some(edns) = self.edns {
            let (head, options) = (self.at + OPT_LEN, self.options.len());
            self.out[self.at..head].copy_from_slice(&opt(rcode, edns.dnssec_ok, options as u16));
            self.at = head + options;
            self.out[head..self.at].copy_from_slice(self.options);
            additional += 1;
        }
        let mut put = |at: usize, word: u16| self.out[at..at + 2].copy_from_slice(&word.to_be_bytes());
        put(2, self.flags | (rcode & flag::RCODE));
        put(4, self.questions);
        put(6, self.counts[0]);
        put(8, self.counts[1]);
        put(10, additional);
        self.at
    }
}

/// What is wrong, for the reply of a query that gets no records: response code and extended error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureReply<'a> {
    /// The response code.
    pub rcode: u16,
    /// Bits of [`flag`], such as RA.
    pub flags: u16,
    /// The extended error's code and text (RFC 8914), for clients with EDNS.
    pub error: Option<(u16, &'a str)>,
}

/// Writes a reply without records, and gives its length; 0 if the buffer has fewer than 12 octets.
pub fn write_failure(
    out: &mut [u8],
    header: &Header,
    question: &[u8],
    mut edns: Option<ReplyEdns>,
    limit: usize,
    failure: FailureReply<'_>,
) -> usize {
    if let (Some(edns), Some((code, text))) = (&mut edns, failure.error) {
        push_extended_error(&mut edns.options, code, text);
    }
    let Some(mut reply) = ReplyWriter::start(out, header, question, edns.as_ref(), limit) else {
        return header_only(out, header, failure.rcode).unwrap_or(0);
    };
    reply.set(failure.flags);
    reply.finish(failure.rcode)
}

/// Writes the reply to a packet whose question cannot be repeated: header only, no question (answers.md P2, P3).
/// `None` if the buffer has fewer than 12 octets.
pub fn header_only(out: &mut [u8], header: &Header, rcode: u16) -> Option<usize> {
    let out = out.get_mut(..HEADER)?;
    let flags = flag::QR | (header.flags & (flag::OPCODE | flag::RD | flag::CD)) | (rcode & flag::RCODE);
    out.fill(0);
    out[..2].copy_from_slice(&header.id.to_be_bytes());
    out[2..4].copy_from_slice(&flags.to_be_bytes());
    Some(HEADER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::rrset;

    #[test]
    fn h5_whole_records_only_and_the_opt_is_kept() {
        let header = Header { id: 7, flags: flag::RD, counts: [1, 0, 0, 1] };
        let mut record = Vec::new();
        rrset::push_address(&mut record, 0, "10.0.0.1".parse().unwrap());
        let mut out = [0; 100];
        // Header 12, question 9, OPT 11: 68 octets are left, four records of 16.
        let edns = ReplyEdns::default();
        let mut reply = ReplyWriter::start(&mut out, &header, b"\x03web\0\0\x01\0\x01", Some(&edns), 4096).unwrap();
        let taken = (0..10).filter(|_| reply.push(Section::Answer, HEADER, &record)).count();
        assert_eq!(taken, 4);
        assert!(reply.is_truncated());
        let len = reply.finish(0);
        assert_eq!(len, 12 + 9 + 4 * 16 + 11);
        let message = hickory_proto::op::Message::from_vec(&out[..len]).unwrap();
        assert_eq!((message.answers.len(), message.edns.is_some()), (4, true));
        assert!(message.metadata.truncation);
    }

    #[test]
    fn h5_options_give_way_to_an_answer_over_tcp_and_to_the_question_always() {
        let header = Header { id: 7, flags: flag::RD, counts: [1, 0, 0, 1] };
        let question = b"\x03web\0\0\x01\0\x01";
        let mut edns = ReplyEdns::default();
        push_option(&mut edns.options, option::COOKIE, &[&[7; 24]]);
        let written = |limit: usize, rdata: usize| {
            let mut out = vec![0; limit];
            let mut reply = ReplyWriter::start(&mut out, &header, question, Some(&edns), limit)?;
            reply.push_rdata(Section::Answer, HEADER, rtype::TXT, 0, &[&vec![0; rdata]]);
            let is_truncated = reply.is_truncated();
            Some((reply.finish(0), is_truncated))
        };
        // Header 12, question 9, record 12 and its data, OPT 11, cookie 28.
        let tcp = usize::from(u16::MAX);
        assert_eq!(written(tcp, tcp - 72), Some((tcp, false)), "with its cookie");
        assert_eq!(written(tcp, tcp - 71), Some((tcp - 27, false)), "without");
        assert_eq!(written(tcp, tcp - 44), Some((tcp, false)));
        assert_eq!(written(tcp, tcp - 43), Some((60, true)));
        // Over UDP it is cut, and asked for again.
        assert_eq!(written(512, 512 - 72), Some((512, false)));
        assert_eq!(written(512, 512 - 71), Some((60, true)));
        assert_eq!(written(59, 0), Some((44, false)), "no room for the cookie");
        assert_eq!(written(31, 0), None);
    }

    #[test]
    fn a_buffer_that_is_too_small_is_refused() {
        let header = Header { id: 7, flags: 0, counts: [1, 0, 0, 0] };
        assert!(ReplyWriter::start(&mut [0; 20], &header, b"\x03web\0\0\x01\0\x01", None, 512).is_none());
        assert!(header_only(&mut [0; 11], &header, 1).is_none());
    }

    #[test]
    fn h6_a_long_text_is_cut_at_a_character() {
        let mut options = Options::new();
        push_extended_error(&mut options, 0, &"é".repeat(100));
        assert_eq!(options.len(), 4 + 2 + 128);
        options.0.clear();
        push_extended_error(&mut options, 0, &format!("x{}", "é".repeat(100)));
        assert_eq!(options.len(), 4 + 2 + 127);
    }
}
