//! Zone files, for servers that read them.

use crate::setup::{LOCAL, Setup};

/// What a zone begins with.
const HEAD: &str = "@ 3600 SOA ns hostmaster 1 3600 600 86400 60\n@ 3600 NS ns\nns 3600 A 127.0.0.1\n";

/// The local names of the first network: a server of zones gives all its addresses the same.
pub(super) fn local(setup: &Setup) -> String {
    let names = setup.names(0).map(|(name, address)| format!("{name} 3600 A {address}\n"));
    format!("{HEAD}{}", names.collect::<String>())
}

/// The names of their addresses, in `10.in-addr.arpa`.
pub(super) fn reverse(setup: &Setup) -> String {
    let names = setup.names(0).map(|(name, address)| {
        let [_, b, c, d] = address.octets();
        format!("{d}.{c}.{b} 3600 PTR {name}.{LOCAL}.\n")
    });
    format!("{HEAD}{}", names.collect::<String>())
}

/// A zone where every name exists.
pub(super) fn wild() -> String {
    format!("{HEAD}* 3600 A 192.0.2.1\n")
}
