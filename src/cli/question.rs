//! What is asked: a name and a type from the command line, as a query on the wire.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use callsign::wire::message::{Header, flag, question_end};
use callsign::wire::{Name, NameError, class, reverse, rtype};
use idna::AsciiDenyList;
use idna::uts46::{Hyphens, Uts46};

/// The size of UDP replies that we take.
const UDP_SIZE: u16 = 1232;

/// What the question is about: a name, or an address whose name is wanted.
#[derive(Debug, Clone)]
pub(super) enum Subject {
    Name(Name),
    Address(IpAddr),
}

impl FromStr for Subject {
    type Err = NameError;

    /// Letters outside ASCII are asked for as programs do, in A-labels, if there are any for them (answers.md N12). Octets that
    /// are written as `\DDD` stay as they are.
    fn from_str(text: &str) -> Result<Subject, NameError> {
        if let Ok(address) = text.parse() {
            return Ok(Subject::Address(address));
        }
        let name: Name = text.parse()?;
        let a_labels = if text.is_ascii() { None } else { name.a_labels().ok().flatten() };
        Ok(Subject::Name(a_labels.unwrap_or(name)))
    }
}

/// A record type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rtype(u16);

impl FromStr for Rtype {
    type Err = String;

    fn from_str(text: &str) -> Result<Rtype, String> {
        rtype::parse(text).map(Rtype).ok_or_else(|| "no record type; write A, AAAA, SRV, ... or TYPE65280".to_owned())
    }
}

/// A question of class IN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    name: Name,
    rtype: u16,
}

impl Question {
    /// The question about `subject`; `default` is the type to ask a name for if none is given.
    pub(super) fn new(subject: &Subject, rtype: Option<Rtype>, default: u16) -> Question {
        match (subject, rtype) {
            (Subject::Name(name), rtype) => {
                Question { name: name.clone(), rtype: rtype.map_or(default, |rtype| rtype.0) }
            }
            (Subject::Address(address), None) => Question { name: reverse::name_of(*address), rtype: rtype::PTR },
            // With a type, the digits are a name like any other.
            (Subject::Address(address), Some(rtype)) => {
                let name = address.to_string().parse().unwrap_or_else(|_: NameError| reverse::name_of(*address));
                Question { name, rtype: rtype.0 }
            }
        }
    }

    /// The query: recursion desired, with EDNS, so that extended errors are told.
    pub(super) fn packet(&self, id: u16) -> Vec<u8> {
        let mut packet: Vec<u8> = [id, flag::RD, 1, 0, 0, 1].into_iter().flat_map(u16::to_be_bytes).collect();
        packet.extend_from_slice(self.name.as_wire());
        packet.extend(self.rtype.to_be_bytes());
        packet.extend(class::IN.to_be_bytes());
        packet.push(0);
        packet.extend([rtype::OPT, UDP_SIZE, 0, 0, 0].into_iter().flat_map(u16::to_be_bytes));
        packet
    }

    /// True if a message is the reply to the query with this ID. A server that could not read the question may leave it out.
    pub(super) fn is_answered_by(&self, id: u16, reply: &[u8]) -> bool {
        let Some(header) = Header::read(reply).filter(|header| header.id == id && header.has(flag::QR)) else {
            return false;
        };
        if header.counts[0] == 0 {
            return header.rcode() != 0;
        }
        let asked = self.packet(id);
        let ends = (question_end(&asked), question_end(reply));
        matches!(ends, (Some(own), Some(theirs)) if asked[12..own].eq_ignore_ascii_case(&reply[12..theirs]))
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, rtype::mnemonic(self.rtype))
    }
}

impl Question {
    /// The name.
    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    /// The type's number.
    pub(super) fn rtype(&self) -> u16 {
        self.rtype
    }

    /// The name, with what its A-labels stand for: `büro.example (xn--bro-hoa.example)`.
    pub(super) fn unicode_name(&self) -> String {
        let name = self.name.to_string();
        let (unicode, _) = Uts46::new().to_unicode(name.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow);
        if unicode == name { name } else { format!("{unicode} ({name})") }
    }

    /// The type's mnemonic.
    pub(super) fn type_name(&self) -> String {
        rtype::mnemonic(self.rtype)
    }
}
