//! Records as text: presentation format (RFC 1035 §5), safe on a terminal whatever octets a server sends.

use std::fmt::Write;

use crate::wire::Name;
use hickory_proto::rr::{self, RData};

/// The data of a record.
pub fn text(data: &RData) -> String {
    match data {
        RData::A(a) => a.0.to_string(),
        RData::AAAA(aaaa) => aaaa.0.to_string(),
        RData::CNAME(target) => name(&target.0),
        RData::NS(target) => name(&target.0),
        RData::PTR(target) => name(&target.0),
        RData::MX(mx) => format!("{} {}", mx.preference, name(&mx.exchange)),
        RData::SRV(srv) => format!("{} {} {} {}", srv.priority, srv.weight, srv.port, name(&srv.target)),
        RData::SOA(soa) => format!(
            "{} {} {} {} {} {} {}",
            name(&soa.mname),
            name(&soa.rname),
            soa.serial,
            soa.refresh,
            soa.retry,
            soa.expire,
            soa.minimum
        ),
        RData::TXT(txt) => {
            let strings: Vec<String> = txt.txt_data.iter().map(|string| quoted(string)).collect();
            strings.join(" ")
        }
        RData::Unknown { rdata, .. } => generic(&rdata.anything),
        other => printable(&other.to_string()),
    }
}

/// A name. hickory-proto's own text form turns `xn--` into what it looks like, which is not what was sent.
pub fn name(name: &rr::Name) -> String {
    let mut wire: Vec<u8> = Vec::new();
    for label in name.iter() {
        wire.push(label.len() as u8);
        wire.extend_from_slice(label);
    }
    wire.push(0);
    match Name::from_wire(&wire) {
        Ok(name) => name.to_string(),
        Err(_) => printable(&name.to_ascii()),
    }
}

/// A character-string in quotes.
fn quoted(octets: &[u8]) -> String {
    let mut text = String::from("\"");
    for &octet in octets {
        // Writing to memory does not fail.
        let _ = match octet {
            b'"' | b'\\' => write!(text, "\\{}", octet as char),
            b' '..=b'~' => write!(text, "{}", octet as char),
            _ => write!(text, "\\{octet:03}"),
        };
    }
    text.push('"');
    text
}

/// Data of a type without a format (RFC 3597 §5).
fn generic(octets: &[u8]) -> String {
    let mut text = format!("\\# {}", octets.len());
    if !octets.is_empty() {
        text.push(' ');
    }
    for octet in octets {
        let _ = write!(text, "{octet:02x}");
    }
    text
}

/// Text without control characters.
pub fn printable(text: &str) -> String {
    let mut out = String::new();
    for char in text.chars() {
        if char.is_control() { out.extend(char.escape_default()) } else { out.push(char) }
    }
    out
}

/// The meaning of an extended error's code, by the IANA registry.
pub fn meaning(code: u16) -> &'static str {
    const MEANINGS: [&str; 31] = [
        "Other",
        "Unsupported DNSKEY Algorithm",
        "Unsupported DS Digest Type",
        "Stale Answer",
        "Forged Answer",
        "DNSSEC Indeterminate",
        "DNSSEC Bogus",
        "Signature Expired",
        "Signature Not Yet Valid",
        "DNSKEY Missing",
        "RRSIGs Missing",
        "No Zone Key Bit Set",
        "NSEC Missing",
        "Cached Error",
        "Not Ready",
        "Blocked",
        "Censored",
        "Filtered",
        "Prohibited",
        "Stale NXDOMAIN Answer",
        "Not Authoritative",
        "Not Supported",
        "No Reachable Authority",
        "Network Error",
        "Invalid Data",
        "Signature Expired before Valid",
        "Too Early",
        "Unsupported NSEC3 Iterations Value",
        "Unable to conform to policy",
        "Synthesized",
        "Invalid Query Type",
    ];
    MEANINGS.get(usize::from(code)).copied().unwrap_or("Unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_from_a_server_are_safe_on_a_terminal() {
        assert_eq!(quoted(b"a \"b\" \x1b[31m\xff"), "\"a \\\"b\\\" \\027[31m\\255\"");
        assert_eq!(printable("x\x1b[31m\n"), "x\\u{1b}[31m\\n");
        assert_eq!((generic(b""), generic(b"\x0a\x0b")), ("\\# 0".to_owned(), "\\# 2 0a0b".to_owned()));
    }

    #[test]
    fn names_are_shown_as_they_were_sent() {
        let sent = rr::Name::from_ascii("XN--bcher-kva.example.").unwrap();
        assert_eq!(name(&sent), "xn--bcher-kva.example");
        assert_eq!(name(&rr::Name::root()), ".");
    }
}
