//! The lines of a network's file: the first one, and a container's.
//!
//! What is wrong costs no more than itself: a bad address or name leaves the rest of its line, a line that cannot be read
//! leaves the rest of its file.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::settings::Address;
use crate::table::{Endpoint, Network, NetworkBuilder, TableError, relative_names};
use crate::wire::{Name, NameError};

use super::lines::{LONGEST_LINE, Line};

/// No more of a text than this is shown in a message.
const SHOWN: usize = 80;

/// The first line: where to listen, and the network's own upstreams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Header {
    listen: Vec<Address>,
    upstreams: Vec<Address>,
}

/// What is wrong with a line.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) line: usize,
    pub(super) what: String,
}

/// A container as its lines so far have it.
#[derive(Debug, Default)]
pub(super) struct Container {
    id: String,
    addresses: Vec<IpAddr>,
    names: Vec<Name>,
    upstreams: Vec<Address>,
    /// True once one of its lines could be read.
    is_some: bool,
}

/// What a container's lines say that was not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delta {
    /// Nothing: all of it was known, and perhaps more that the file will say again.
    Nothing,
    /// An address beside one that was known, a name or an upstream.
    More,
    /// Addresses, and none that was known: it was started again elsewhere.
    Moved,
}

impl Header {
    /// Adds a first line: `ip[,ip…]` and optionally ` dns[,dns…]`.
    pub(super) fn add(&mut self, line: &Line<'_>, problems: &mut Vec<Problem>) {
        let mut columns = line.text.split(|&octet| octet == b' ');
        for text in items(columns.next()) {
            match address(text) {
                Some(address) if self.listen.contains(&address) => {}
                Some(address) => self.listen.push(address),
                None => problems.push(Problem::new(line, "is no address to listen on", text)),
            }
        }
        add_upstreams(&mut self.upstreams, columns.next(), line, problems);
    }

    /// True if there is an address to listen on.
    pub(super) fn listens(&self) -> bool {
        !self.listen.is_empty()
    }

    /// The network as the line has it.
    pub(super) fn network(&self, name: &str, is_internal: bool) -> NetworkBuilder {
        let network = Network::builder(name).internal(is_internal);
        let network = self.listen.iter().fold(network, |network, address| network.listen(&address.to_string()));
        let upstreams = if is_internal { &[] } else { &self.upstreams[..] };
        upstreams.iter().fold(network, |network, address| network.upstream(&address.to_string()))
    }
}

impl Container {
    /// The container as it was read before.
    pub(super) fn of(endpoint: &Endpoint) -> Container {
        Container {
            id: endpoint.id().to_owned(),
            addresses: endpoint.addresses().to_vec(),
            names: endpoint.names().to_vec(),
            upstreams: endpoint.upstreams().iter().map(|upstream| upstream.address().clone()).collect(),
            is_some: true,
        }
    }

    /// Adds a line: `id v4[,v4…] v6[,v6…] name[,name…]` and optionally ` dns[,dns…]`, and whatever later versions write
    /// behind that.
    pub(super) fn add(&mut self, line: &Line<'_>, is_internal: bool, problems: &mut Vec<Problem>) {
        let mut columns = line.text.split(|&octet| octet == b' ');
        let id = columns.next().unwrap_or_default();
        if self.id.is_empty() {
            self.id = lower(id);
        }
        if line.is_cut {
            let what = format!("is longer than {LONGEST_LINE} octets");
            problems.push(Problem::new(line, &what, line.text));
            return;
        }
        let (Some(v4), Some(v6), Some(names)) = (columns.next(), columns.next(), columns.next()) else {
            problems.push(Problem::new(line, "has too few columns: id, IPv4, IPv6 and names are needed", line.text));
            return;
        };
        if id.is_empty() || std::str::from_utf8(id).is_err() {
            problems.push(Problem::new(line, "is no id", id));
            return;
        }
        self.is_some = true;
        for text in items(Some(v4)).chain(items(Some(v6))) {
            match address(text).map(|address| address.ip()).filter(is_one_host) {
                Some(ip) if self.addresses.contains(&ip) => {}
                Some(ip) => self.addresses.push(ip),
                None => problems.push(Problem::new(line, "is no address of a container", text)),
            }
        }
        for text in items(Some(names)) {
            match std::str::from_utf8(text).map(relative_names) {
                Ok(Ok(names)) => self.names.extend(names),
                Ok(Err(TableError::Name(NameError::NoALabels(_)))) => {
                    let what = "has no A-labels (IDNA 2008, UTS 46), so no program could ask for it";
                    problems.push(Problem::new(line, what, text));
                }
                Ok(Err(_)) | Err(_) => problems.push(Problem::new(line, "is no name of a container", text)),
            }
        }
        if !is_internal {
            add_upstreams(&mut self.upstreams, columns.next(), line, problems);
        }
    }

    /// What the lines say that an endpoint, as it was read before, does not have.
    pub(super) fn delta(&self, endpoint: Option<&Endpoint>) -> Delta {
        let known = endpoint.map(Container::of).unwrap_or_default();
        if !self.addresses.is_empty() && !self.addresses.iter().any(|ip| known.addresses.contains(ip)) {
            return Delta::Moved;
        }
        let is_more = self.addresses.iter().any(|ip| !known.addresses.contains(ip))
            || self.names.iter().any(|name| !known.names.contains(name))
            || self.upstreams.iter().any(|upstream| !known.upstreams.contains(upstream));
        if is_more { Delta::More } else { Delta::Nothing }
    }

    /// The container with what the endpoint has besides.
    pub(super) fn with(mut self, endpoint: Option<&Endpoint>) -> Container {
        let known = endpoint.map(Container::of).unwrap_or_default();
        self.is_some |= known.is_some;
        add_missing(&mut self.addresses, known.addresses);
        add_missing(&mut self.names, known.names);
        add_missing(&mut self.upstreams, known.upstreams);
        self
    }

    /// Its addresses.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The name that it was made with: netavark writes it before the aliases.
    pub(super) fn own_name(&self) -> Option<&Name> {
        self.names.first()
    }

    /// The id, lower-cased.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The endpoint, if one of the lines could be read.
    pub(super) fn endpoint(self) -> Option<Endpoint> {
        if !self.is_some {
            return None;
        }
        let endpoint = self.addresses.into_iter().fold(Endpoint::builder(self.id), |endpoint, ip| endpoint.ip(ip));
        let endpoint = self.names.into_iter().fold(endpoint, |endpoint, name| endpoint.relative_name(name));
        let endpoint =
            self.upstreams.iter().fold(endpoint, |endpoint, upstream| endpoint.upstream(&upstream.to_string()));
        // Every part was looked at before.
        endpoint.build().ok()
    }
}

impl Problem {
    fn new(line: &Line<'_>, what: &str, text: &[u8]) -> Problem {
        let mut shown = String::new();
        for char in String::from_utf8_lossy(&text[..text.len().min(SHOWN)]).chars() {
            // Writing into a String cannot fail.
            let _ = write!(shown, "{}", char.escape_debug());
        }
        let more = if text.len() > SHOWN { "…" } else { "" };
        Problem { line: line.number, what: format!("\"{shown}{more}\" {what}") }
    }
}

/// An id as the table has it.
pub(super) fn lower(id: &[u8]) -> String {
    let mut id = match std::str::from_utf8(id) {
        Ok(id) => id.to_owned(),
        Err(_) => String::from_utf8_lossy(id).into_owned(),
    };
    id.make_ascii_lowercase();
    id
}

/// The items of a column; an empty one has none.
fn items(column: Option<&[u8]>) -> impl Iterator<Item = &[u8]> {
    let column = column.filter(|column| !column.is_empty());
    column.into_iter().flat_map(|column| column.split(|&octet| octet == b','))
}

/// An IP address, with a zone or without, and without a port.
fn address(text: &[u8]) -> Option<Address> {
    let text = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('['))?;
    // What an interface is called; anything else might read as something else once a port is written behind it.
    let is_zone = |zone: &str| zone.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"._-".contains(&octet));
    text.parse().ok().filter(|address: &Address| address.port().is_none() && address.zone().is_none_or(is_zone))
}

fn is_one_host(ip: &IpAddr) -> bool {
    let is_broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !ip.is_unspecified() && !ip.is_multicast() && !is_broadcast
}

fn add_missing<T: PartialEq>(to: &mut Vec<T>, items: Vec<T>) {
    for item in items {
        if !to.contains(&item) {
            to.push(item);
        }
    }
}

/// Adds the upstreams of a column, which the line need not have.
fn add_upstreams(to: &mut Vec<Address>, column: Option<&[u8]>, line: &Line<'_>, problems: &mut Vec<Problem>) {
    for text in items(column) {
        match address(text).map(|address| address.with_port(53)) {
            Some(address) if to.contains(&address) => {}
            Some(address) => to.push(address),
            None => problems.push(Problem::new(line, "is no address of a DNS server", text)),
        }
    }
}
