//! Records in the form in which they are copied into replies.
//!
//! A fragment is one record or more, each with the compression pointer `C0 0C` (the question's name) as its owner name.
//! A network's table holds them ready-made; [`super::ReplyWriter`] copies them and changes the pointer where the owner
//! lies elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::HEADER;
use super::{Name, class, rtype};

/// The pointer to the question's name (RFC 1035 §4.1.4).
pub const QUESTION: u16 = 0xc000 | HEADER as u16;
/// The octets of an A record in a fragment.
pub const A_LEN: usize = 16;
/// The octets of an AAAA record in a fragment.
pub const AAAA_LEN: usize = 28;

/// Appends a record of class IN whose data is the concatenation of `rdata`. TTL in seconds.
///
/// Data over 65,535 octets cannot be said in a record; it is the caller's to refuse it before.
pub fn push(out: &mut Vec<u8>, rtype: u16, ttl: u32, rdata: &[&[u8]]) {
    let len: usize = rdata.iter().map(|part| part.len()).sum();
    debug_assert!(len <= u16::MAX as usize);
    out.extend_from_slice(&QUESTION.to_be_bytes());
    out.extend_from_slice(&rtype.to_be_bytes());
    out.extend_from_slice(&class::IN.to_be_bytes());
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&(len as u16).to_be_bytes());
    for part in rdata {
        out.extend_from_slice(part);
    }
}

/// The A record of an address.
pub fn a(ttl: u32, address: Ipv4Addr) -> [u8; A_LEN] {
    let mut record = *b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\0\0\0\0";
    record[6..10].copy_from_slice(&ttl.to_be_bytes());
    record[12..].copy_from_slice(&address.octets());
    record
}

/// Appends the A or AAAA record of an address.
pub fn push_address(out: &mut Vec<u8>, ttl: u32, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => out.extend_from_slice(&a(ttl, v4)),
        IpAddr::V6(v6) => push(out, rtype::AAAA, ttl, &[&v6.octets()]),
    }
}

/// Appends a record whose data is a name: PTR, CNAME, NS.
pub fn push_name(out: &mut Vec<u8>, rtype: u16, ttl: u32, target: &Name) {
    push(out, rtype, ttl, &[target.as_wire()]);
}

/// The records of a fragment, one after the other.
pub fn iter(fragment: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = fragment;
    std::iter::from_fn(move || {
        let len = 12 + u16::from_be_bytes([*rest.get(10)?, *rest.get(11)?]) as usize;
        let (record, tail) = rest.split_at_checked(len)?;
        rest = tail;
        Some(record)
    })
}

/// The data of one record of a fragment.
pub fn rdata(record: &[u8]) -> &[u8] {
    &record[12..]
}

/// The type of one record of a fragment.
pub fn rtype_of(record: &[u8]) -> u16 {
    u16::from_be_bytes([record[2], record[3]])
}

/// The address in an A or AAAA record of a fragment.
pub fn address_of(record: &[u8]) -> Option<IpAddr> {
    let data = rdata(record);
    match rtype_of(record) {
        rtype::A => <[u8; 4]>::try_from(data).ok().map(|octets| Ipv4Addr::from(octets).into()),
        rtype::AAAA => <[u8; 16]>::try_from(data).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_again() {
        let mut fragment = Vec::new();
        push_address(&mut fragment, 5, "10.0.0.1".parse().unwrap());
        assert_eq!(fragment.len(), A_LEN);
        push_address(&mut fragment, 5, "fd00::1".parse().unwrap());
        assert_eq!(fragment.len(), A_LEN + AAAA_LEN);
        push_name(&mut fragment, rtype::PTR, 5, &"a.b".parse().unwrap());
        let records: Vec<_> = iter(&fragment).collect();
        assert_eq!(records.len(), 3);
        assert_eq!(address_of(records[1]), Some("fd00::1".parse().unwrap()));
        assert_eq!(rdata(records[2]), b"\x01a\x01b\x00");
        assert_eq!(iter(&fragment[..20]).count(), 1, "a cut fragment ends, it does not panic");
    }
}
