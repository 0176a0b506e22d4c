//! The name table: networks, their endpoints, and everything that a query needs to know of them in one snapshot.
//!
//! Knows nothing of queries or sockets. One sentence explains it: **a query sees exactly one snapshot of a network**, so a
//! change is seen whole or not at all, and forward and reverse names never disagree.

mod address_index;
mod attachment;
mod builder;
mod endpoint;
mod error;
mod feed;
mod hamt;
mod name_table;
mod names;
mod network;
mod origin;
mod record;
mod settings;
mod sharing;
mod snapshot;
mod zones;

pub use crate::settings::{Address, AddressError, Transport, Upstream, UpstreamError};
pub(crate) use attachment::Attachment;
pub use builder::NetworkBuilder;
#[cfg(any(feature = "config", feature = "docker", feature = "etcd", feature = "podman"))]
pub(crate) use endpoint::relative_names;
#[cfg(feature = "config")]
pub(crate) use endpoint::spellings;
pub use endpoint::{Endpoint, EndpointBuilder, EndpointState, Health, Port, Protocol};
pub use error::TableError;
pub use feed::{Event, Feed};
#[doc(hidden)]
pub use hamt::fix_hash_seed;
pub use name_table::NameTable;
pub(crate) use names::Absence;
pub use names::{NameEntry, RecordSet};
pub use network::{Change, Network, SnapshotRef};
pub use origin::{HostOrigin, Reach, RefusedName};
pub use record::Record;
pub use settings::{Clients, HealthPolicy, MAX_HOLD, Merge, ReverseNames, Settings};
#[cfg(feature = "docker")]
pub(crate) use sharing::matches;
pub use sharing::{Sharing, Spread, Untaken};
pub use snapshot::{Found, Matched, ServiceName, Snapshot, Suffix};
