//! A query, read where it lies.
//!
//! [`Query::parse`] takes one of two ways. The common query (one question, then nothing or one OPT with options that we
//! know) is read in place without allocation. Everything else goes the general way, through hickory-proto. Both give
//! the same [`Query`]; the property tests in `tests/properties/packets.rs` and the fuzz target `query` hold
//! them to it.

use super::edns::{Edns, EdnsError};
use super::message::{HEADER, Header, flag, question_end, questions_end, records_behind, skip_name};
use super::name::{MAX_NAME, Name, fmt_wire};
use super::reply::{OPT_LEN, opt};
use super::slow_path;
use super::{class, rcode, rtype};

/// A well-formed query with exactly one question, borrowed from its packet.
#[derive(Clone)]
pub struct Query<'a> {
    packet: &'a [u8],
    header: Header,
    name: [u8; MAX_NAME],
    name_len: u8,
    rtype: u16,
    class: u16,
    edns: Option<Edns>,
}

/// Why a packet is not a query to answer (answers.md P1 to P4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// Too short for a header, or a reply: stay silent (P1).
    #[error("no query: it is a reply, or too short for a header")]
    Silently,
    /// An opcode other than QUERY in a packet whose question cannot be read: NOTIMP (P2).
    #[error("opcode {} is not implemented", .0.opcode())]
    Opcode(Header),
    /// Not a well-formed query: FORMERR (P3).
    #[error("malformed query")]
    Malformed(Header),
    /// An incremental transfer, the one question that comes with an authority record (RFC 1995 §3): REFUSED (P4).
    #[error("incremental zone transfers are refused")]
    Transfer(Header),
}

impl Query<'_> {
    /// The packet of a query: one question of class IN, recursion desired, EDNS with 1,232 octets.
    ///
    /// ```
    /// use callsign::wire::{Query, rtype};
    ///
    /// let packet = Query::build(0xabcd, &"db.internal".parse()?, rtype::A);
    /// let query = Query::parse(&packet)?;
    /// assert_eq!((query.header().id, query.to_name().to_string().as_str()), (0xabcd, "db.internal"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn build(id: u16, name: &Name, rtype: u16) -> Vec<u8> {
        let mut packet = Vec::with_capacity(HEADER + name.as_wire().len() + 4 + OPT_LEN);
        packet.extend([id, flag::RD, 1, 0, 0, 1].into_iter().flat_map(u16::to_be_bytes));
        packet.extend_from_slice(name.as_wire());
        packet.extend([rtype, class::IN].into_iter().flat_map(u16::to_be_bytes));
        packet.extend_from_slice(&opt(rcode::NOERROR, false, 0));
        packet
    }
}

impl<'a> Query<'a> {
    /// Reads a packet. The opcode may be any: see [`Query::opcode`].
    ///
    /// # Errors
    /// [`Rejected`] says what to do with the packet instead of answering it.
    #[inline]
    pub fn parse(packet: &'a [u8]) -> Result<Query<'a>, Rejected> {
        let (mut query, end) = Query::question(packet)?;
        match Query::edns_in_place(packet, &query.header, end) {
            Some(edns) => query.edns = edns,
            None => query.edns = slow_path::edns(packet).map_err(|_| query.reject())?,
        }
        Ok(query)
    }

    /// Reads a packet the general way only. For the tests that compare both.
    #[doc(hidden)]
    pub fn parse_general(packet: &'a [u8]) -> Result<Query<'a>, Rejected> {
        let (mut query, _) = Query::question(packet)?;
        query.edns = slow_path::edns(packet).map_err(|_| query.reject())?;
        Ok(query)
    }

    /// Reads header and question; gives the octets that they take.
    // Inlined, as is `parse`: a query is large, and would be copied at each return.
    #[inline(always)]
    fn question(packet: &'a [u8]) -> Result<(Query<'a>, usize), Rejected> {
        let header = Header::read(packet).filter(|header| !header.has(flag::QR)).ok_or(Rejected::Silently)?;
        let reject = if header.opcode() == 0 { Rejected::Malformed(header) } else { Rejected::Opcode(header) };
        let [questions, answers, authorities, _] = header.counts;
        if questions != 1 || answers != 0 || authorities > 1 {
            return Err(reject);
        }
        let end = question_end(packet).ok_or(reject)?;
        let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let rtype = word(end - 4);
        if authorities > 0 {
            let is_transfer = rtype == rtype::IXFR && header.opcode() == 0;
            return Err(if is_transfer { Rejected::Transfer(header) } else { reject });
        }
        let spelled = &packet[HEADER..end - 4];
        let mut name = [0; MAX_NAME];
        let lowered = &mut name[..spelled.len()];
        lowered.copy_from_slice(spelled);
        // Length octets are at most 63, below `A`: lower-casing the whole wire form leaves them alone.
        lowered.make_ascii_lowercase();
        let query =
            Query { packet, header, name, name_len: spelled.len() as u8, rtype, class: word(end - 2), edns: None };
        Ok((query, end))
    }

    /// The OPT of a common query, or none; `None` if the packet has to go the general way.
    #[inline]
    fn edns_in_place(packet: &[u8], header: &Header, at: usize) -> Option<Option<Edns>> {
        match header.counts[3] {
            0 => (at == packet.len()).then_some(None),
            1 if packet.get(at) == Some(&0) => {
                let fixed = skip_name(packet, at)?;
                let field = packet.get(fixed..fixed + 10)?;
                let word = |at: usize| u16::from_be_bytes([field[at], field[at + 1]]);
                let options = &packet[fixed + 10..];
                if word(0) != rtype::OPT || word(8) as usize != options.len() {
                    return None;
                }
                match Edns::new(word(2), [field[4], field[5], field[6], field[7]]).with_options(options) {
                    Ok(edns) => Some(Some(edns)),
                    Err(EdnsError) => None,
                }
            }
            _ => None,
        }
    }

    fn reject(&self) -> Rejected {
        if self.opcode() == 0 { Rejected::Malformed(self.header) } else { Rejected::Opcode(self.header) }
    }

    /// The packet's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The opcode; 0 is QUERY.
    pub fn opcode(&self) -> u8 {
        self.header.opcode()
    }

    /// The question's name: lower-cased wire form.
    pub fn name(&self) -> &[u8] {
        &self.name[..self.name_len as usize]
    }

    /// The question's name as a value of its own.
    pub fn to_name(&self) -> Name {
        Name::from_checked(self.name())
    }

    /// The question's type.
    pub fn rtype(&self) -> u16 {
        self.rtype
    }

    /// The question's class.
    pub fn class(&self) -> u16 {
        self.class
    }

    /// The question section as received, case included: name, type, class.
    pub fn question_bytes(&self) -> &'a [u8] {
        &self.packet[HEADER..HEADER + self.name_len as usize + 4]
    }

    /// The EDNS part, if the query has an OPT.
    pub fn edns(&self) -> Option<&Edns> {
        self.edns.as_ref()
    }

    /// The packet it was read from.
    pub fn packet(&self) -> &'a [u8] {
        self.packet
    }
}

impl Rejected {
    /// The question of a rejected packet and what its OPT says of the sender, if there is an OPT that can be found (answers.md
    /// P3): an error without one reads as "no EDNS here" (RFC 6891 §7). The question is empty if there is none, more than one,
    /// or one that cannot be repeated.
    pub fn found_in(packet: &[u8]) -> Option<(&[u8], Edns)> {
        let end = questions_end(packet)?;
        let is_one = Header::read(packet)?.counts[0] == 1 && question_end(packet) == Some(end);
        let question = if is_one { &packet[HEADER..end] } else { &[] };
        let opt = records_behind(packet, Some(end)).flatten().find(|record| record.rtype == rtype::OPT)?;
        Some((question, Edns::new(opt.class, opt.ttl.to_be_bytes())))
    }
}

impl std::fmt::Debug for Query<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut name = String::new();
        fmt_wire(self.name(), &mut name)?;
        f.debug_struct("Query")
            .field("id", &self.header.id)
            .field("name", &name)
            .field("rtype", &self.rtype)
            .field("class", &self.class)
            .field("edns", &self.edns)
            .finish()
    }
}

impl PartialEq for Query<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.header, self.name(), self.rtype, self.class, &self.edns)
            == (other.header, other.name(), other.rtype, other.class, &other.edns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(counts: [u8; 4], rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0xab, 0xcd, 1, 0, 0, counts[0], 0, counts[1], 0, counts[2], 0, counts[3]];
        packet.extend_from_slice(rest);
        packet
    }

    const WEB_A: &[u8] = b"\x03WeB\x00\x00\x01\x00\x01";

    #[test]
    fn p1_short_packets_and_replies_are_ignored() {
        assert_eq!(Query::parse(&[0; 11]), Err(Rejected::Silently));
        let mut reply = query([1, 0, 0, 0], WEB_A);
        reply[2] |= 0x80;
        assert_eq!(Query::parse(&reply), Err(Rejected::Silently));
    }

    #[test]
    fn p3_what_is_malformed() {
        let opt = |n: usize| [&b"\0\0\x29\x04\xd0\0\0\0\0\0\0"[..]].repeat(n).concat();
        for (what, packet) in [
            ("no question", query([0, 0, 0, 0], b"")),
            ("two questions", query([2, 0, 0, 0], &[WEB_A, WEB_A].concat())),
            ("an answer", query([1, 1, 0, 0], WEB_A)),
            ("an authority", query([1, 0, 1, 0], WEB_A)),
            ("truncated", query([1, 0, 0, 0], &WEB_A[..6])),
            ("no class", query([1, 0, 0, 0], &WEB_A[..7])),
            ("a label of 64", query([1, 0, 0, 0], &[&[64][..], &[b'x'; 64], &[0, 0, 1, 0, 1]].concat())),
            ("a name of 256", query([1, 0, 0, 0], &[&b"\x01x".repeat(126)[..], b"\x02xx\0\0\x01\0\x01"].concat())),
            ("a pointer", query([1, 0, 0, 0], b"\xc0\x0c\x00\x01\x00\x01")),
            ("two OPT", query([1, 0, 0, 2], &[WEB_A, &opt(2)].concat())),
            ("additional missing", query([1, 0, 0, 1], WEB_A)),
        ] {
            assert!(matches!(Query::parse(&packet), Err(Rejected::Malformed(_))), "{what}");
        }
        // 65,535 questions and 65,535 records, in 12 octets: nothing may be allocated for them.
        let mut greedy = query([0, 0, 0, 0], b"");
        greedy[4..].fill(0xff);
        assert!(matches!(Query::parse(&greedy), Err(Rejected::Malformed(_))));
    }

    #[test]
    fn p7_names_are_lowered_and_the_question_is_kept() {
        let packet = query([1, 0, 0, 0], WEB_A);
        let query = Query::parse(&packet).unwrap();
        assert_eq!(query.name(), b"\x03web\x00");
        assert_eq!(query.question_bytes(), WEB_A);
    }

    #[test]
    fn odd_packets_take_the_general_way() {
        // An A record before the OPT, and an ill-formed client subnet in it.
        let a = b"\x01x\x00\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x01\x02\x03\x04";
        let opt = b"\0\0\x29\x04\xd0\0\0\x80\0\0\x0b\0\x08\0\x07\0\x09\x18\x00\x0a\x00\x00";
        let packet = query([1, 0, 0, 2], &[WEB_A, a, opt].concat());
        let query = Query::parse(&packet).unwrap();
        let edns = query.edns().unwrap();
        assert_eq!((edns.udp_size(), edns.dnssec_ok(), edns.version()), (1232, true, 0));
    }
}
