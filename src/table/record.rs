//! Static records: data that a network gives to a name besides its endpoints' addresses (answers.md T5).

use hickory_proto::rr::{RData, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

use crate::wire::{Name, rtype};

use super::TableError;
use super::endpoint::{relative_names, spellings};

/// A static record: an owner name relative to the network, a type, and data in uncompressed wire form.
///
/// ```
/// use callsign::table::Record;
///
/// let record = Record::parse("db", "TXT", "\"primary since May\"", None)?;
/// assert_eq!(record.rdata(), b"\x11primary since May");
/// # Ok::<(), callsign::table::TableError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    name: Name,
    rtype: u16,
    rdata: Box<[u8]>,
    ttl: Option<u32>,
}

impl Record {
    /// From text: the type's mnemonic (or `TYPE65280`) and the data in presentation format (or `\# 2 0a0b`, RFC 3597).
    /// Names in the data are taken as they stand, with or without a final dot, and in A-labels if they have letters outside
    /// ASCII (answers.md N12). The TTL is in seconds; `None` for the network's.
    ///
    /// # Errors
    /// When the name, the type or the data is not understood, or the type is not one that a record can have.
    pub fn parse(name: &str, rtype: &str, value: &str, ttl: Option<u32>) -> Result<Record, TableError> {
        let fail = |reason: String| TableError::Record { name: name.to_owned(), rtype: rtype.to_owned(), reason };
        let number = rtype::parse(rtype).ok_or_else(|| {
            fail("not a record type; write its mnemonic, as in TXT, or its number, as in TYPE65280".into())
        })?;
        if number == 0 || matches!(number, rtype::OPT | 128..=255) {
            return Err(fail("no record can have this type".into()));
        }
        let rdata = match value.trim_start().strip_prefix("\\#") {
            Some(generic) => parse_generic(generic)
                .ok_or_else(|| fail(format!("\"{value}\" is not \\# LENGTH HEX, as in \\# 2 0a0b")))?,
            None => parse_rdata(number, value).map_err(fail)?,
        };
        if rdata.len() > u16::MAX as usize {
            return Err(fail("more than 65535 octets".into()));
        }
        if let Some(ttl) = ttl.filter(|&ttl| ttl > i32::MAX as u32) {
            return Err(TableError::Ttl(ttl));
        }
        // The last spelling is the name as it is written.
        let name = relative_names(name)?.pop().unwrap_or_else(Name::root);
        Ok(Record { name, rtype: number, rdata: rdata.into(), ttl })
    }

    /// The record, behind the same one of the name in A-labels if the name is written otherwise (answers.md N12).
    pub(super) fn with_a_labels(self) -> impl Iterator<Item = Record> {
        // A name whose octets are no text was written as octets, and stands for itself.
        let name = self.name.a_labels().ok().flatten();
        name.map(|name| Record { name, ..self.clone() }).into_iter().chain([self])
    }

    /// A remote alias: `name` answers as a CNAME to `target` while no endpoint carries `name` (answers.md N9).
    pub(crate) fn alias(name: &str, target: &str) -> Result<Record, TableError> {
        Record::parse(name, "CNAME", target, None)
    }

    /// The owner name, relative to the network.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The type's number.
    pub fn rtype(&self) -> u16 {
        self.rtype
    }

    /// The data in uncompressed wire form.
    pub fn rdata(&self) -> &[u8] {
        &self.rdata
    }

    /// The TTL in seconds; `None` for the network's.
    pub fn ttl(&self) -> Option<u32> {
        self.ttl
    }
}

/// `LENGTH HEX…` of RFC 3597 §5.
fn parse_generic(text: &str) -> Option<Vec<u8>> {
    let mut words = text.split_whitespace();
    let len: usize = words.next()?.parse().ok()?;
    let digits: Vec<u8> = words.flat_map(str::chars).map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let octets: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |octet, digit| octet << 4 | digit)).collect();
    (digits.len() == 2 * len).then_some(octets)
}

fn parse_rdata(rtype: u16, value: &str) -> Result<Vec<u8>, String> {
    const MX: u16 = 15;
    let name = |text: &str| match &spellings(text).map_err(|error| error.to_string())?[..] {
        [name, ..] => Ok(name.clone()),
        [] => Err(format!("\"{text}\" is no name")),
    };
    let words: Vec<&str> = value.split_whitespace().collect();
    // Types made of numbers and a name are read here: hickory-proto refuses `_` in their names.
    let (numbers, shape) = match rtype {
        rtype::NS | rtype::CNAME | rtype::PTR => (0, "one name, as in db.example.com"),
        MX => (1, "a preference and a name, as in 10 mail.example.com"),
        rtype::SRV => (3, "priority, weight, port and a name, as in 0 1 5432 db.example.com"),
        _ => {
            let data = RData::try_from_str(RecordType::from(rtype), value)
                .map_err(|error| format!("\"{value}\" is not its data in presentation format: {error}"))?;
            let mut out = Vec::new();
            let mut encoder = BinEncoder::new(&mut out);
            data.emit(&mut encoder).map_err(|error| error.to_string())?;
            return Ok(out);
        }
    };
    let wrong = || format!("\"{value}\" is not {shape}");
    if words.len() != numbers + 1 {
        return Err(wrong());
    }
    let mut out = Vec::new();
    for word in &words[..numbers] {
        out.extend_from_slice(&word.parse::<u16>().map_err(|_| wrong())?.to_be_bytes());
    }
    out.extend_from_slice(name(words[numbers])?.as_wire());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rdata(rtype: &str, value: &str) -> Vec<u8> {
        Record::parse("n", rtype, value, None).unwrap().rdata().to_vec()
    }

    #[test]
    fn t5_data_of_many_types() {
        assert_eq!(rdata("txt", "\"a b\" c"), b"\x03a b\x01c");
        assert_eq!(rdata("MX", "10 _mail.Example.com."), b"\x00\x0a\x05_mail\x07example\x03com\x00");
        assert_eq!(rdata("SRV", "0 1 80 web"), b"\0\0\0\x01\0\x50\x03web\x00");
        assert_eq!(rdata("A", "10.0.0.1"), [10, 0, 0, 1]);
        assert_eq!(rdata("TYPE65280", "\\# 3 0a0B 0c"), [10, 11, 12]);
        assert_eq!(rdata("CAA", "0 issue \"ca.example\""), b"\x00\x05issueca.example");
        assert!(rdata("HTTPS", "1 . alpn=h2").starts_with(b"\x00\x01\x00"));
    }

    #[test]
    fn t5_errors_say_what_to_write() {
        let error = |rtype: &str, value: &str| Record::parse("n", rtype, value, None).unwrap_err().to_string();
        assert_eq!(
            error("MX", "mail"),
            "MX record of \"n\": \"mail\" is not a preference and a name, as in 10 mail.example.com"
        );
        assert!(error("BOGUS", "x").contains("not a record type"));
        assert!(error("ANY", "x").contains("no record can have this type"));
        assert!(error("A", "10.0.0.300").contains("10.0.0.300"));
        assert!(error("TYPE65280", "\\# 2 0a").contains("LENGTH HEX"));
        assert_eq!(Record::parse("n", "A", "10.0.0.1", Some(u32::MAX)), Err(TableError::Ttl(u32::MAX)));
    }
}
