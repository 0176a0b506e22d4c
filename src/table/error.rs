//! What can be wrong with a network or an endpoint.

use crate::wire::NameError;

use super::{AddressError, UpstreamError};

/// Why a network, an endpoint or a record was not taken. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// A name is not a domain name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A listen address is not an address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// An upstream is neither an address nor a URL.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// An endpoint's or a gateway's address is not an IP address.
    #[error("\"{0}\" is not an IP address; write 172.18.0.2 or fd00::2")]
    Ip(String),
    /// An address that means no one host cannot be an endpoint's.
    #[error("{0} cannot be an endpoint's address: it stands for no single host")]
    NoHost(std::net::IpAddr),
    /// A subnet or an entry of an allow list is no prefix.
    #[error("\"{0}\" is not a subnet; write 172.18.0.0/16 or fd00::/64")]
    Subnet(String),
    /// Where a port is published is no address with a port.
    #[error("\"{0}\" is not where a port can be published; write 127.0.0.1:8080 or [::1]:8080")]
    Published(String),
    /// A network has no name.
    #[error("a network needs a name")]
    NoNetworkName,
    /// A network's name has a control character, which no log or terminal is to be given.
    #[error("the network name {0:?} has a control character; leave it out")]
    NetworkName(String),
    /// An endpoint has no id.
    #[error("an endpoint needs an id")]
    NoId,
    /// A host's name has other characters than those of host names.
    #[error("\"{0}\" is no host name; write letters, digits, hyphens and dots, as in host-b")]
    HostName(String),
    /// The id of another host's endpoint cannot stand in names (answers.md T4).
    #[error("the id \"{id}\" of host {host} cannot be a name; take the container's id")]
    RemoteId {
        /// The host's name.
        host: String,
        /// The id that it has there.
        id: String,
    },
    /// `*` alone would answer every name there is.
    #[error("\"*\" alone would cover every name; write a parent, as in *.apps")]
    LoneWildcard,
    /// A TTL is over 2^31-1 seconds (RFC 2181 §8).
    #[error("a TTL of {0} seconds is too long; the longest is 2147483647")]
    Ttl(u32),
    /// A static record's type or value is not understood.
    #[error("{rtype} record of \"{name}\": {reason}")]
    Record {
        /// The record's owner name.
        name: String,
        /// Its type as written.
        rtype: String,
        /// What is wrong, and what to write.
        reason: String,
    },
    /// There is a network of this name already.
    #[error("there is a network \"{0}\" already")]
    NetworkExists(String),
    /// There is no such network.
    #[error("there is no network \"{0}\"")]
    NoNetwork(String),
    /// The network was removed from its table.
    #[error("network \"{0}\" was removed")]
    NetworkRemoved(String),
    /// There is no such endpoint on the network.
    #[error("network \"{network}\" has no endpoint \"{id}\"")]
    NoEndpoint {
        /// The network's name.
        network: String,
        /// The id that was looked for.
        id: String,
    },
}

/// The first mistake of what a builder collects.
#[derive(Debug, Clone, Default)]
pub(super) struct FirstError(Option<TableError>);

impl FirstError {
    /// Takes the value, or notes the mistake.
    pub(super) fn take<T>(&mut self, value: Result<T, impl Into<TableError>>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(error) => {
                self.0.get_or_insert(error.into());
                None
            }
        }
    }

    /// The mistake, if there was one.
    pub(super) fn into_result(self) -> Result<(), TableError> {
        self.0.map_or(Ok(()), Err)
    }
}
