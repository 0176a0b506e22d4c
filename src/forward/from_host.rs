//! Reading the host's name servers when a server is built.

use std::io;
use std::path::{Path, PathBuf};

use crate::settings::{RESOLV_CONF, Upstreams};

/// Why an option cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// The file with the name servers exists and cannot be read.
    #[error("{}: cannot be read; check its permissions, or list the upstreams in the configuration", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

impl Upstreams {
    /// The host's name servers: `/etc/resolv.conf`, followed as it changes. It may be absent as yet.
    ///
    /// # Errors
    /// [`ForwardError::Unreadable`] if it is there and cannot be read.
    pub fn system() -> Result<Upstreams, ForwardError> {
        Upstreams::resolv_conf(RESOLV_CONF)
    }

    /// The same for another file in the form of resolv.conf(5).
    ///
    /// # Errors
    /// [`ForwardError::Unreadable`] if it is there and cannot be read.
    pub fn resolv_conf(path: impl AsRef<Path>) -> Result<Upstreams, ForwardError> {
        let path = path.as_ref().to_owned();
        match super::system::read(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(ForwardError::Unreadable { path, cause }),
            _ => Ok(Upstreams::System(path)),
        }
    }
}
