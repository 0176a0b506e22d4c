//! Where the endpoints of other hosts come from (answers.md V7, N8b).

use std::time::Instant;

use crate::wire::Name;

use super::TableError;

/// The addresses that other hosts have for the containers of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reach {
    /// The containers' own: packets for them are routed, or the network spans hosts.
    Container,
    /// Those of the host, and the ports that it publishes.
    Host,
}

/// The host that has published an endpoint, and when that was learned. An endpoint with an origin is remote: it is never a
/// client, joins no views (answers.md V7), and answers behind those of this host (answers.md N8b).
///
/// Give the endpoints that were learned together one `Arc` of it. Two origins are equal if host and reach are.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Instant;
/// use callsign::table::{Endpoint, HostOrigin, Reach};
///
/// let host_b = Arc::new(HostOrigin::new("host-b", Reach::Container)?.learned(41, Instant::now()));
/// let queue = Endpoint::builder("3f2a9c").origin(host_b).address("10.88.2.12").name("queue").build()?;
/// assert_eq!(queue.id(), "host-b/3f2a9c");
/// # Ok::<(), callsign::table::TableError>(())
/// ```
#[derive(Debug, Clone)]
pub struct HostOrigin {
    host: Name,
    reach: Reach,
    revision: u64,
    learned: Option<Instant>,
}

impl HostOrigin {
    /// An origin that was learned at revision 0, at a time that is not known.
    ///
    /// # Errors
    /// [`TableError::HostName`] if the host's name has other characters than letters, digits, hyphens and dots.
    pub fn new(host: &str, reach: Reach) -> Result<HostOrigin, TableError> {
        Ok(HostOrigin { host: host_name(host)?, reach, revision: 0, learned: None })
    }

    /// The same, learned from this revision of the store at this moment.
    #[must_use]
    pub fn learned(self, revision: u64, at: Instant) -> HostOrigin {
        HostOrigin { revision, learned: Some(at), ..self }
    }

    /// The host's name.
    pub fn host(&self) -> &Name {
        &self.host
    }

    /// Which addresses the endpoint is reached at.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// The store's revision at which the endpoint was learned.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// When it was learned.
    pub fn learned_at(&self) -> Option<Instant> {
        self.learned
    }
}

impl PartialEq for HostOrigin {
    fn eq(&self, other: &HostOrigin) -> bool {
        (&self.host, self.reach) == (&other.host, other.reach)
    }
}

impl Eq for HostOrigin {}

/// A host's name: letters, digits and hyphens, in one label or several.
///
/// # Errors
/// [`TableError::HostName`].
fn host_name(text: &str) -> Result<Name, TableError> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    let name = text.parse::<Name>().ok().filter(|name| is_plain && !name.is_root());
    name.ok_or_else(|| TableError::HostName(text.to_owned()))
}

/// Why the table does not take a name from another host: [`Snapshot::refuses`](super::Snapshot::refuses).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedName {
    /// It has a `*`, and would cover names that other hosts have.
    #[error("it is a wildcard")]
    Wildcard,
    /// `localhost`, a reverse name, or one with a label that begins with an underscore, as services have.
    #[error("it is reserved")]
    Reserved,
    /// The network has a static record or an alias of that name.
    #[error("a record or an alias has that name here")]
    Record,
    /// It is a name of the gateway (answers.md N10).
    #[error("it is a name of the gateway")]
    Gateway,
    /// It ends in this host's name, and so is this host's to give.
    #[error("it ends in this host's name")]
    OwnHost,
}
