//! A server's settings, as plain values with defaults: no I/O, and in every build. The configuration file is read straight
//! into them, and embedders fill them by hand. Knows nothing of networks, which have settings of their own in
//! [`table`](crate::table).

mod address;
mod dial;
mod forward;
mod limits;
mod order;
mod responder;
mod store;
mod upstream;

pub use address::{Address, AddressError};
pub use dial::Dial;
#[cfg(feature = "server")]
pub(crate) use forward::RESOLV_CONF;
pub use forward::{Destination, ForwardOptions, Route, Unanswered, Upstreams};
pub use limits::Limits;
pub use order::Order;
pub(crate) use responder::HOST_DOMAIN;
pub use responder::ResponderOptions;
pub use store::{ClaimStatus, HostState, HostStatus, LinkStatus, StoreOptions, StoreStatus};
pub use upstream::{Transport, Upstream, UpstreamError};

/// What holds for all networks of a server. [`Server::configure`](https://docs.rs/callsign/latest/callsign/server/struct.Server.html#method.configure)
/// puts it into force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerSettings {
    /// Where queries are forwarded to, and the cache.
    pub forward: ForwardOptions,
    /// What is answered beside the names of networks.
    pub responder: ResponderOptions,
    /// The limits on clients.
    pub limits: Limits,
}
