//! The general path: what the fast path does not read itself goes through hickory-proto.

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::opt::EdnsOption;

use super::edns::Edns;
use super::message::{Header, Malformed, question_end};

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
    let message = Message::from_vec(packet).map_err(|_| Malformed)?;
    let Some(opt) = message.edns else { return Ok(None) };
    let mut edns = Edns::new(opt.max_payload(), [0, opt.version(), u8::from(opt.flags().dnssec_ok) << 7, 0]);
    for (code, value) in &opt.options().options {
        if let EdnsOption::Unknown(_, value) = value {
            edns.add((*code).into(), value);
        }
    }
    Ok(Some(edns))
}
