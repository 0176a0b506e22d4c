//! DNS messages in words: the response code, the answer's records, the extended errors.

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{Record, RecordType};

use crate::wire::message::Header;
use crate::wire::{option, rcode, rtype};

use super::rdata;

/// What a message says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The response code's mnemonic.
    pub(super) rcode: String,
    /// The answer's records, each with its owner, TTL and class.
    pub(super) records: Vec<String>,
    /// The additional records.
    pub(super) additional: Vec<String>,
    /// Their data: addresses as they are, others with their type.
    pub(super) answers: Vec<String>,
    /// Extended errors (RFC 8914).
    pub(super) errors: Vec<String>,
}

impl Said {
    /// Reads a message; one that cannot be read has a response code and nothing else.
    pub(super) fn read(message: &[u8]) -> Said {
        let Ok(decoded) = Message::from_vec(message) else {
            let code = Header::read(message).map(|header| rcode::mnemonic(header.rcode()).into_owned());
            return Said { rcode: code.unwrap_or_default(), ..Said::default() };
        };
        let options = decoded.edns.as_ref().map(|edns| &edns.options().options[..]).unwrap_or_default();
        let errors = options.iter().filter_map(|(code, value)| match value {
            EdnsOption::Unknown(_, value) if u16::from(*code) == option::EXTENDED_ERROR => {
                let (code, text) = value.split_first_chunk()?;
                let text = rdata::printable(&String::from_utf8_lossy(text));
                let code = u16::from_be_bytes(*code);
                let separator = if text.is_empty() { "" } else { ": " };
                Some(format!("{code} ({}){separator}{text}", rdata::meaning(code)))
            }
            _ => None,
        });
        Said {
            rcode: rcode::mnemonic(decoded.metadata.response_code.into()).into_owned(),
            records: decoded.answers.iter().map(record).collect(),
            additional: decoded.additionals.iter().map(record).collect(),
            answers: decoded.answers.iter().map(data).collect(),
            errors: errors.collect(),
        }
    }
}

/// A record with all that it has.
fn record(record: &Record) -> String {
    let rtype = rtype::mnemonic(record.record_type().into());
    format!(
        "{}  {}  {}  {rtype}  {}",
        rdata::name(&record.name),
        record.ttl,
        record.dns_class,
        rdata::text(&record.data)
    )
}

/// A record's data, which says of an address by itself what it is.
fn data(record: &Record) -> String {
    let text = rdata::text(&record.data);
    match record.record_type() {
        RecordType::A | RecordType::AAAA => text,
        other => format!("{} {text}", rtype::mnemonic(other.into())),
    }
}
