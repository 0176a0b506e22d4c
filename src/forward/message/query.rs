//! What is asked, and the query that an upstream is sent for it (answers.md F3).

use std::ops::Range;

use crate::wire::message::HEADER;
use crate::wire::relay::{UpstreamQuery, upstream_query};

/// A client's question, as much of it as an upstream gets to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// QNAME as the client spelled it (uncompressed), QTYPE and QCLASS, in wire form: at most 259 octets.
    pub question: Vec<u8>,
    /// The flag word of the client's header, of which CD and AD count; see [`flag`](crate::wire::message::flag). RD does not: an upstream is always
    /// asked to recurse, so that the same answer is right for all who ask the question, whatever their RD (answers.md F9).
    pub flags: u16,
    /// The client's DO bit (RFC 3225).
    pub dnssec_ok: bool,
}

impl Question {
    /// QNAME as spelled; all there is if it is no question.
    pub(crate) fn name(&self) -> &[u8] {
        self.question.split_last_chunk::<4>().map_or(&self.question, |(name, _)| name)
    }

    /// Where the name stands in its query.
    pub(in crate::forward) fn name_at(&self) -> Range<usize> {
        HEADER..HEADER + self.question.len().saturating_sub(4)
    }

    /// The query in wire form. Its header and its OPT are ours: what the client sent in options was for us (hop by hop).
    pub(in crate::forward) fn query(&self, id: u16, edns: bool) -> UpstreamQuery {
        upstream_query(id, &self.question, self.flags, edns.then_some(self.dnssec_ok))
    }
}

/// Who asks, where that matters: a number that stands for a client. The forwarder does not know what is behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Asker(u64);

impl Asker {
    /// Different clients have different numbers.
    pub(crate) const fn new(number: u64) -> Asker {
        Asker(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::reply::OPT_LEN;

    fn question() -> Question {
        Question { question: b"\x03wEb\x00\x00\x01\x00\x01".to_vec(), flags: 0xffff, dnssec_ok: true }
    }

    #[test]
    fn f3_the_query_is_of_our_making() {
        let unrecursive = Question { flags: 0, ..question() };
        assert_eq!(unrecursive.query(7, true)[2..4], [0x01, 0x00], "f9: asked to recurse always");
        let mut expected = vec![0, 7, 0x01, 0x30, 0, 1, 0, 0, 0, 0, 0, 1];
        expected.extend_from_slice(&question().question);
        expected.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0]);
        assert_eq!(question().query(7, true).to_vec(), expected);
        let without = question().query(7, false);
        assert_eq!((without.len(), without[11]), (expected.len() - OPT_LEN, 0));
    }
}
