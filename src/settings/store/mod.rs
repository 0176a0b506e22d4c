//! The store that connects hosts: what it is told, and how it stands. `source::etcd` follows it.

mod options;
mod status;

pub use options::StoreOptions;
pub use status::{ClaimStatus, HostState, HostStatus, LinkStatus, StoreStatus};
