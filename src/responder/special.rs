//! Names that mean the same everywhere (answers.md S and P5).

use crate::wire::is_below;

/// True for `localhost` and below (RFC 6761 §6.3).
pub(super) fn is_localhost(name: &[u8]) -> bool {
    is_below(name, b"\x09localhost\x00")
}

/// True for names that never exist in the public DNS and are never asked there: `invalid` (RFC 6761), `onion` (RFC 7686),
/// `resolver.arpa` (RFC 9462), `alt` (RFC 9476).
pub(super) fn is_special(name: &[u8]) -> bool {
    [&b"\x07invalid\x00"[..], b"\x05onion\x00", b"\x08resolver\x04arpa\x00", b"\x03alt\x00"]
        .iter()
        .any(|suffix| is_below(name, suffix))
}

/// What a server says of itself in class CH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chaos {
    Version,
    Identity,
}

/// The questions that class CH is used for.
pub(super) fn chaos(name: &[u8]) -> Option<Chaos> {
    match name {
        b"\x07version\x04bind\x00" | b"\x07version\x06server\x00" => Some(Chaos::Version),
        b"\x08hostname\x04bind\x00" | b"\x02id\x06server\x00" => Some(Chaos::Identity),
        _ => None,
    }
}
