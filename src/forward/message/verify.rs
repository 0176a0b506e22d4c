//! What counts as the reply to a question, and what that reply means (answers.md F3).

use super::Question;
pub(in crate::forward) use crate::wire::message::is_reply;
use crate::wire::message::{Header, Section, flag, question_end, records};
use crate::wire::{rcode, rtype};

impl Question {
    /// What becomes of a message that comes while this question waits for the reply to `id`: `None` if it is ignored, else
    /// whether it is an answer, or as good as one, and so relayed. For the fuzzer.
    #[doc(hidden)]
    pub fn judge(&self, message: &[u8], id: u16) -> Option<bool> {
        let is_relayed = || matches!(meaning(message), Meaning::Final { .. } | Meaning::Truncated { whole: true });
        self.is_answered_by(message, id).then(is_relayed)
    }

    /// True if `message` is the reply to this question asked with `id`.
    pub(in crate::forward) fn is_answered_by(&self, message: &[u8], id: u16) -> bool {
        is_reply(message, id, &self.question)
    }
}

/// What a matching reply means for the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::forward) enum Meaning {
    /// The reply, good or bad news.
    Final {
        /// There is no such name, or it has no such records.
        negative: bool,
    },
    /// There is more of it over TCP. `whole`: as far as it goes it can be relayed.
    Truncated {
        /// False if its records run over its end.
        whole: bool,
    },
    /// The server knows no EDNS (RFC 6891 §7): ask without.
    NoEdns,
    /// The server cannot help; the response code.
    Failed(u16),
    /// Its records do not lie within it.
    Malformed,
}

/// Reads a reply that [`Question::is_answered_by`] let through.
pub(in crate::forward) fn meaning(reply: &[u8]) -> Meaning {
    let Some(header) = Header::read(reply) else { return Meaning::Malformed };
    let mut edns = None;
    let mut whole = true;
    let mut has_answer = false;
    if header.counts[0] == 1 {
        let asked = question_end(reply).and_then(|end| reply.get(end - 4..end - 2));
        let asked = asked.map_or(0, |rtype| u16::from_be_bytes([rtype[0], rtype[1]]));
        // ANY, MAILA and MAILB ask for several types (RFC 1035 §3.2.3).
        let is_any = matches!(asked, 253..=255);
        for record in records(reply) {
            match record {
                Ok(record) if record.rtype == rtype::OPT => edns = edns.or(Some((record.ttl >> 24) as u16)),
                Ok(record) => has_answer |= record.section == Section::Answer && (is_any || record.rtype == asked),
                Err(_) => whole = false,
            }
        }
    } else if header.counts[3] > 0 {
        edns = Some(0);
    }
    if header.has(flag::TC) {
        return Meaning::Truncated { whole };
    }
    if !whole {
        return Meaning::Malformed;
    }
    match edns.unwrap_or(0) << 4 | header.rcode() {
        rcode::FORMERR if edns.is_none() => Meaning::NoEdns,
        failed @ (rcode::FORMERR | rcode::SERVFAIL | rcode::NOTIMP | rcode::REFUSED | rcode::BADVERS) => {
            Meaning::Failed(failed)
        }
        code => Meaning::Final { negative: code == rcode::NXDOMAIN || !has_answer },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::{HEADER, same_question};
    use crate::wire::reply::OPT_LEN;

    fn question() -> Question {
        Question { question: b"\x03wEb\x00\x00\x01\x00\x01".to_vec(), flags: 0xffff, dnssec_ok: true }
    }

    fn reply(change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut reply = question().query(7, true).to_vec();
        reply[2] |= 0x80;
        change(&mut reply);
        reply
    }

    #[test]
    fn f3_what_counts_as_the_reply() {
        let accepted = |change: fn(&mut Vec<u8>)| question().is_answered_by(&reply(change), 7);
        assert!(accepted(|_| ()));
        assert!(accepted(|r| r[HEADER + 1..HEADER + 4].make_ascii_uppercase()));
        assert!(!accepted(|r| r[1] = 8), "another ID");
        assert!(!accepted(|r| r[2] &= 0x7f), "a query");
        assert!(!accepted(|r| r[2] |= 0x28), "another opcode");
        assert!(!accepted(|r| r[HEADER + 1] = b'x'), "another name");
        assert!(!accepted(|r| r[HEADER + 6] = 28), "another type");
        assert!(!accepted(|r| r[HEADER + 8] = 3), "another class");
        assert!(!accepted(|r| r[5] = 2), "two questions");
        assert!(!accepted(|r| r.truncate(11)), "no header");
        assert!(!accepted(|r| r.truncate(HEADER + 3)), "half a question");
        assert!(!accepted(|r| r[5] = 0), "no question, NOERROR");
        assert!(accepted(|r| (r[3], r[5]) = (r[3] & 0xf0 | 1, 0)), "no question, FORMERR");
        // A pointer is no spelling of the question, and type and class have no case.
        assert!(!same_question(b"\x01a\x00\x00a\x00\x01", b"\x01a\x00\x00A\x00\x01"));
    }

    #[test]
    fn f3_what_a_reply_means() {
        let meaning = |change: fn(&mut Vec<u8>)| meaning(&reply(change));
        assert_eq!(meaning(|_| ()), Meaning::Final { negative: true });
        assert_eq!(meaning(|r| r[3] |= 3), Meaning::Final { negative: true });
        let with_answer = |r: &mut Vec<u8>| {
            let end = r.len() - OPT_LEN;
            r.splice(end..end, *b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x0a\x00\x00\x01");
            r[7] = 1;
        };
        assert_eq!(self::meaning(&reply(with_answer)), Meaning::Final { negative: false });
        assert_eq!(meaning(|r| r[3] |= 2), Meaning::Failed(rcode::SERVFAIL));
        assert_eq!(meaning(|r| r[3] |= 1), Meaning::Failed(rcode::FORMERR));
        assert_eq!(meaning(|r| (r[3], r[11], _) = (r[3] | 1, 0, r.truncate(HEADER + 9))), Meaning::NoEdns);
        // The low four bits of BADVERS are those of NOERROR.
        assert_eq!(meaning(|r| r[HEADER + 9 + 5] = 1), Meaning::Failed(rcode::BADVERS));
        assert_eq!(meaning(|r| r[7] = 1), Meaning::Malformed);
        assert_eq!(meaning(|r| r[2] |= 2), Meaning::Truncated { whole: true });
        assert_eq!(meaning(|r| (r[2], r[6]) = (r[2] | 2, 0xff)), Meaning::Truncated { whole: false });
    }
}
