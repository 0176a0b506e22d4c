//! Records moved to another place in a message: compression pointers in them are resolved, all else stays byte for byte.
//!
//! Pointers may stand in owner names, and in the data of the types that RFC 3597 §4 lists; the data of any other type is
//! copied as it is. Not done by decoding and encoding with hickory, which refuses the whole message for one record whose
//! data it cannot read.

use std::collections::HashMap;

use super::message::{Malformed, RecordRef, skip_name};
use super::{MAX_LABEL, MAX_NAME, Name};

/// More pointers in one name than labels it can have: not sent by an honest server, and costly to follow.
const POINTERS: usize = 128;
/// Offsets from here on do not fit a pointer.
const POINTER_REACH: usize = 0x4000;

/// Writes names and records into a message, owner names compressed against each other as a whole.
#[derive(Debug, Default)]
pub(crate) struct Rewriter {
    owners: HashMap<Box<[u8]>, u16>,
}

impl Rewriter {
    /// Remembers that the message being written has `name` (wire form, as spelled there) at octet `at`.
    pub(crate) fn name_at(&mut self, name: &[u8], at: usize) {
        if at < POINTER_REACH && name.len() > 2 {
            self.owners.entry(name.into()).or_insert(at as u16);
        }
    }

    /// Appends a CNAME record of class IN.
    pub(crate) fn cname(&mut self, owner: &Name, target: &Name, ttl: u32, out: &mut Vec<u8>) {
        self.owner(owner.as_wire(), out);
        out.extend_from_slice(&[0, 5, 0, 1]);
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&(target.as_wire().len() as u16).to_be_bytes());
        self.name_at(target.as_wire(), out.len());
        out.extend_from_slice(target.as_wire());
    }

    /// Appends `record` of `message`. On an error what was appended of it is for the caller to cut off.
    pub(crate) fn record(&mut self, message: &[u8], record: &RecordRef, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let mut owner = Vec::with_capacity(MAX_NAME);
        expand(message, record.range.start, &mut owner).ok_or(Malformed)?;
        self.owner(&owner, out);
        let rdata = record.rdata();
        out.extend_from_slice(&message[record.fixed..rdata.start]);
        let start = out.len();
        if expand_rdata(message, record, out).is_none() {
            // Not what its type says: then there is nothing in it to resolve either.
            out.truncate(start);
            out.extend_from_slice(&message[rdata]);
        }
        let len = u16::try_from(out.len() - start).map_err(|_| Malformed)?;
        out[start - 2..start].copy_from_slice(&len.to_be_bytes());
        Ok(())
    }

    fn owner(&mut self, name: &[u8], out: &mut Vec<u8>) {
        match self.owners.get(name) {
            Some(at) => out.extend_from_slice(&(0xc000 | at).to_be_bytes()),
            None => {
                self.name_at(name, out.len());
                out.extend_from_slice(name);
            }
        }
    }
}

/// A part of a record's data.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// So many octets.
    Octets(usize),
    /// A length octet and so many octets.
    Text,
    /// A name that may be compressed.
    Name,
}

/// The parts of a type's data up to its last compressible name (RFC 3597 §4, and DNAME of RFC 2672); what follows has none.
fn layout(rtype: u16) -> &'static [Part] {
    use Part::{Name, Octets, Text};
    match rtype {
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, NXT, DNAME
        2 | 3 | 4 | 5 | 7 | 8 | 9 | 12 | 30 | 39 => &[Name],
        // SOA, MINFO, RP
        6 | 14 | 17 => &[Name, Name],
        // MX, AFSDB, RT
        15 | 18 | 21 => &[Octets(2), Name],
        // SIG
        24 => &[Octets(18), Name],
        // PX
        26 => &[Octets(2), Name, Name],
        // SRV
        33 => &[Octets(6), Name],
        // NAPTR
        35 => &[Octets(4), Text, Text, Text, Name],
        _ => &[],
    }
}

/// Appends the data of `record` with its names in full; `None` if it is not of its type's layout.
pub(crate) fn expand_rdata(message: &[u8], record: &RecordRef, out: &mut Vec<u8>) -> Option<()> {
    let rdata = record.rdata();
    let mut at = rdata.start;
    for part in layout(record.rtype) {
        let end = match *part {
            Part::Octets(count) => at + count,
            Part::Text => at + 1 + usize::from(*message.get(at)?),
            Part::Name => skip_name(message, at)?,
        };
        if end > rdata.end {
            return None;
        }
        match part {
            Part::Name => expand(message, at, out)?,
            _ => out.extend_from_slice(&message[at..end]),
        }
        at = end;
    }
    out.extend_from_slice(&message[at..rdata.end]);
    Some(())
}

/// Appends the name at octet `at` of `message` in full, as it is spelled there. `None` if it is no name: pointers lead
/// only backwards (RFC 1035 §4.1.4), so that following them ends.
pub(crate) fn expand(message: &[u8], at: usize, out: &mut Vec<u8>) -> Option<()> {
    each_label(message, at, |label| out.extend_from_slice(label))
}

/// Gives the labels of the name at octet `at` of `message`, each behind its length, the root's among them. `None` as in
/// [`expand`]; what was given until then is no name.
pub(crate) fn each_label(message: &[u8], mut at: usize, mut give: impl FnMut(&[u8])) -> Option<()> {
    let (mut all, mut pointers) = (0, 0);
    loop {
        let len = usize::from(*message.get(at)?);
        if len >= 0xc0 {
            let target = (len & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
            pointers += 1;
            if target >= at || pointers > POINTERS {
                return None;
            }
            at = target;
            continue;
        }
        if len > MAX_LABEL {
            return None;
        }
        let label = message.get(at..at + 1 + len)?;
        at += label.len();
        all += label.len();
        if all > MAX_NAME {
            return None;
        }
        give(label);
        if len == 0 {
            return Some(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_full_or_none() {
        let message = b"\x01a\x00\x01b\xc0\x00\xc0\x03\xc0\x09\xc0\x08";
        let expanded = |at| {
            let mut out = Vec::new();
            expand(message, at, &mut out).map(|()| out)
        };
        assert_eq!(expanded(7).as_deref(), Some(&b"\x01b\x01a\x00"[..]));
        assert_eq!(expanded(9), None, "to itself");
        assert_eq!(expanded(14), None, "past the end");
        // Labels and pointers that lead backwards each time, and yet for ever: the name gets too long.
        let spiral = [[63; 64].as_slice(), &[0xc0, 0]].concat();
        assert_eq!(expand(&spiral, 0, &mut Vec::new()), None);
        // 200 pointers, each to the one before.
        let mut chain = vec![0, 0];
        for target in 0..200_u16 {
            chain.extend_from_slice(&(0xc000 | (target * 2)).to_be_bytes());
        }
        assert_eq!(expand(&chain, chain.len() - 2, &mut Vec::new()), None);
        assert_eq!(expand(&chain, 128 * 2, &mut Vec::new()), Some(()));
    }
}
