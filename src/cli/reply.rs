//! A reply as plain values: for people by `Display`, for programs as JSON. The field names are a promise to scripts.

use std::fmt;

use callsign::wire::message::Header;
use callsign::wire::{option, rcode, rtype};
use hickory_proto::op::Message;
use hickory_proto::rr;
use hickory_proto::rr::rdata::opt::EdnsOption;
use serde::Serialize;

use callsign::control::rdata;

/// Codes of extended errors (RFC 8914).
const STALE_ANSWER: u16 = 3;
const CACHED_ERROR: u16 = 13;
const STALE_NXDOMAIN: u16 = 19;
const NO_REACHABLE_AUTHORITY: u16 = 22;
const NETWORK_ERROR: u16 = 23;

/// What a server said.
#[derive(Debug, Serialize)]
pub(super) struct Reply {
    /// The response code's mnemonic.
    pub(super) status: String,
    /// The flags that are set, as dig names them.
    pub(super) flags: Vec<&'static str>,
    pub(super) answers: Vec<Record>,
    pub(super) authority: Vec<Record>,
    pub(super) additional: Vec<Record>,
    /// Extended errors (RFC 8914).
    pub(super) errors: Vec<ExtendedError>,
}

/// Where an answer is from, as far as its reply tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Origin {
    /// The server has authority for the name, whether it exists or not.
    Own,
    /// A cache gave it past its TTL, as no upstream answered (RFC 8914 §4.4, §4.20).
    StaleCache,
    /// A cache remembered the failure (RFC 8914 §4.14).
    CachedError,
    /// It was forwarded, and those who were asked failed (RFC 8914 §4.23, §4.24).
    NoUpstream,
    /// Another server's answer. Whether it was asked now or kept in a cache, a reply does not tell.
    ForwardedOrCached,
}

/// One record.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    pub(super) name: String,
    /// Seconds.
    pub(super) ttl: u32,
    pub(super) class: String,
    #[serde(rename = "type")]
    pub(super) rtype: String,
    /// In presentation format.
    pub(super) data: String,
}

/// One extended error.
#[derive(Debug, Serialize)]
pub(super) struct ExtendedError {
    pub(super) code: u16,
    /// What the code means.
    pub(super) name: &'static str,
    /// What the server says of it; may be empty.
    pub(super) text: String,
}

impl Reply {
    /// Reads a message.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub(super) fn read(message: &[u8]) -> Result<Reply, String> {
        let header = Header::read(message).ok_or("shorter than a header")?;
        let decoded = Message::from_vec(message).map_err(|error| rdata::printable(&error.to_string()))?;
        let names = ["qr", "aa", "tc", "rd", "ra", "ad", "cd"];
        let masks = [0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010];
        let set = names.into_iter().zip(masks).filter(|(_, mask)| header.has(*mask));
        Ok(Reply {
            status: rcode::mnemonic(decoded.metadata.response_code.into()).into_owned(),
            flags: set.map(|(name, _)| name).collect(),
            answers: records(&decoded.answers),
            authority: records(&decoded.authorities),
            additional: records(&decoded.additionals),
            errors: extended_errors(&decoded),
        })
    }

    /// Where the answer is from; `None` for an error that does not tell.
    pub(super) fn origin(&self) -> Option<Origin> {
        let has = |codes: &[u16]| self.errors.iter().any(|error| codes.contains(&error.code));
        if has(&[STALE_ANSWER, STALE_NXDOMAIN]) {
            Some(Origin::StaleCache)
        } else if has(&[CACHED_ERROR]) {
            Some(Origin::CachedError)
        } else if has(&[NO_REACHABLE_AUTHORITY, NETWORK_ERROR]) {
            Some(Origin::NoUpstream)
        } else if self.flags.contains(&"aa") {
            Some(Origin::Own)
        } else if matches!(&*self.status, "NOERROR" | "NXDOMAIN") {
            Some(Origin::ForwardedOrCached)
        } else {
            None
        }
    }

    /// True if there is an answer.
    pub(super) fn is_positive(&self) -> bool {
        self.status == "NOERROR" && !self.answers.is_empty()
    }
}

fn records(records: &[rr::Record]) -> Vec<Record> {
    let record = |record: &rr::Record| Record {
        name: rdata::name(&record.name),
        ttl: record.ttl,
        class: record.dns_class.to_string(),
        rtype: rtype::mnemonic(record.record_type().into()),
        data: rdata::text(&record.data),
    };
    records.iter().map(record).collect()
}

fn extended_errors(message: &Message) -> Vec<ExtendedError> {
    let options = message.edns.as_ref().map(|edns| &edns.options().options[..]).unwrap_or_default();
    let errors = options.iter().filter_map(|(code, value)| match value {
        EdnsOption::Unknown(_, value) if u16::from(*code) == option::EXTENDED_ERROR => {
            let (code, text) = value.split_first_chunk()?;
            let code = u16::from_be_bytes(*code);
            let text = rdata::printable(&String::from_utf8_lossy(text));
            Some(ExtendedError { code, name: rdata::meaning(code), text })
        }
        _ => None,
    });
    errors.collect()
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Own => "answered by the server itself",
            Origin::StaleCache => "from a cache, past its TTL",
            Origin::CachedError => "a failure that a cache remembers",
            Origin::NoUpstream => "forwarded, and no upstream answered",
            Origin::ForwardedOrCached => "forwarded or from a cache",
        })
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { name, ttl, class, rtype, data } = self;
        write!(f, "{name}  {ttl}  {class}  {rtype}  {data}")
    }
}

impl fmt::Display for ExtendedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.code, self.name)?;
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if self.status == "NOERROR" && self.answers.is_empty() {
            write!(f, ", no data of this type")?;
        }
        write!(f, " ({})", self.flags.join(" "))
    }
}
