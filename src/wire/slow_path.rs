//! The general path: what the fast path does not read itself goes through hickory-proto.

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::opt::EdnsOption;

use super::edns::Edns;
use super::message::{Header, Malformed, question_end, records};
use super::{option, rtype};

/// Among the option codes for local use (RFC 6891 §9).
const UNUSED: u16 = 65_001;

/// The EDNS part of a query whose header and question have been checked (one question, no answers, no authorities).
///
/// # Errors
/// When hickory-proto cannot read the packet: cut short, two OPT records, a record that is not what it says.
pub(crate) fn edns(packet: &[u8]) -> Result<Option<Edns>, Malformed> {
    let header = Header::read(packet).ok_or(Malformed)?;
    let end = question_end(packet).ok_or(Malformed)?;
    // A record takes at least 11 octets: a count that cannot be true is refused before anything is read for it.
    if usize::from(header.counts[3]) * 11 > packet.len() - end {
        return Err(Malformed);
    }
    // What is in a client subnet is not ours to judge (answers.md P3), but hickory-proto judges it.
    let message = Message::from_vec(packet)
        .or_else(|_| Message::from_vec(&without_client_subnet(packet)))
        .map_err(|_| Malformed)?;
    let Some(opt) = message.edns else { return Ok(None) };
    let mut edns = Edns::new(opt.max_payload(), [0, opt.version(), u8::from(opt.flags().dnssec_ok) << 7, 0]);
    for (code, value) in &opt.options().options {
        match value {
            EdnsOption::Unknown(_, value) => edns.add((*code).into(), value),
            EdnsOption::NSID(_) => edns.add(option::NSID, &[]),
            _ => {}
        }
    }
    Ok(Some(edns))
}

/// The packet with its client subnets marked as options that nobody knows.
#[cold]
fn without_client_subnet(packet: &[u8]) -> Vec<u8> {
    let mut copy = packet.to_vec();
    for opt in records(packet).flatten().filter(|record| record.rtype == rtype::OPT) {
        let mut at = opt.rdata().start;
        while at + 4 <= opt.range.end {
            let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
            if word(at) == option::CLIENT_SUBNET {
                copy[at..at + 2].copy_from_slice(&UNUSED.to_be_bytes());
            }
            at += 4 + usize::from(word(at + 2));
        }
    }
    copy
}
