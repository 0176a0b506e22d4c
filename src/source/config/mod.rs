//! The configuration file, `callsign.toml`: its values, its errors, and following its changes.
//!
//! A file is read whole or not at all. [`Config::load`] gives plain values and ready-made networks, or a [`ConfigError`]
//! with *every* problem of the file, each with its line and what to write instead; a key that is not known is a problem.
//! [`Watcher`] tells when the file's content has changed. Knows nothing of sockets, of the server or of a runtime.
//!
//! ```
//! use callsign::source::config::Config;
//!
//! let config = Config::parse(
//!     r#"
//!     [[network]]
//!     name = "shop"
//!     listen = ["10.10.1.1"]
//!     subnets = ["10.10.1.0/24"]
//!
//!       [[network.endpoint]]
//!       id = "shop-db-1"
//!       addresses = ["10.10.1.3"]
//!       names = ["db", "database"]
//!     "#,
//!     "callsign.toml",
//! )?;
//! assert_eq!(config.networks[0].snapshot().endpoint_count(), 1);
//!
//! let error = Config::parse("[server]\nprot = 53", "callsign.toml").unwrap_err();
//! assert_eq!(error.to_string(), "callsign.toml:2: unknown key `prot`; did you mean `port`?");
//! # Ok::<(), callsign::source::config::ConfigError>(())
//! ```

mod cache;
mod docker;
mod duplicate_check;
mod endpoint;
mod error;
mod forward;
mod host;
mod lint;
mod network;
mod operation;
mod podman;
mod policy;
mod record;
pub mod schema;
mod section;
mod server;
mod split;
mod store;
mod text;
mod tlds;
mod values;
mod watch;

use std::io;
use std::path::Path;
use std::sync::Arc;

use toml::de::DeTable;

pub use docker::DockerConfig;
pub use error::{ConfigError, Problem};
pub use host::{HostConfig, PodmanDirectoryConfig};
pub use lint::Surroundings;
pub use operation::{ControlConfig, DnstapConfig, LogConfig, LoggedQueries, MetricsConfig, OperationConfig};
pub use podman::PodmanConfig;
pub use policy::{NetworkPolicies, NetworkPolicy};
pub use values::{Config, ServerConfig};
pub use watch::{WatchError, Watcher};

use super::file;
use crate::table::{HostOrigin, Reach, Settings};
use duplicate_check::DuplicateCheck;
use lint::Servers;
use section::Section;
use split::{Block, Split};
use text::Text;

/// The longest file, octets: that of a million endpoints is a tenth of it.
const MAX_SIZE: u64 = 1 << 30;

impl Config {
    /// Reads a file, or a pipe that this process has open (`/dev/stdin`, `/dev/fd/63`) to its end.
    ///
    /// # Errors
    /// [`ConfigError`] when the file cannot be read, is not UTF-8, or has problems.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let origin = path.display().to_string();
        let octets = file::read_given(path, MAX_SIZE).map_err(|cause| ConfigError::unreadable(&origin, &cause))?;
        Config::from_octets(&octets, &origin)
    }

    /// The content of a file, for [`Config::from_octets`]. For a running server: it neither blocks nor takes more memory
    /// than a file of 1 GiB.
    ///
    /// # Errors
    /// It cannot be read, is no regular file, or is longer.
    pub fn content(path: &Path) -> io::Result<Vec<u8>> {
        file::read(path, MAX_SIZE)
    }

    /// Reads the content of a file; `origin` as for [`Config::parse`].
    ///
    /// # Errors
    /// [`ConfigError`] when it is empty, is not UTF-8, or has problems. (A *text* may be empty: it has the defaults.)
    pub fn from_octets(octets: &[u8], origin: &str) -> Result<Config, ConfigError> {
        if octets.trim_ascii().is_empty() {
            return Err(ConfigError::empty(origin));
        }
        Config::parse(text::utf8(octets, origin)?, origin)
    }

    /// Reads a text; `origin` is what its problems call it, mostly the path of its file.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems.
    pub fn parse(text: &str, origin: &str) -> Result<Config, ConfigError> {
        if let Some(split) = Split::of(text)
            && let Some(config) = Config::read(&split.outline, &split.endpoints, origin)?
        {
            return Ok(config);
        }
        Ok(Config::read(text, &[], origin)?.unwrap_or_default())
    }

    /// Reads a text, and endpoints that were split off it. `None` if what is wrong with them shows in the whole text only.
    fn read(text: &str, endpoints: &[Vec<Block<'_>>], origin: &str) -> Result<Option<Config>, ConfigError> {
        let source = Text::new(text, origin);
        let (document, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() && !endpoints.is_empty() {
            return Ok(None);
        }
        let source = source.without_errors(text, errors)?;
        let root = Section::root(&source, &schema::ROOT, document.get_ref());
        let mut config = Config { server: server::read(&root, &schema::SERVER), ..Config::default() };
        config.docker = docker::read(&root);
        let mut listeners = DuplicateCheck::default();
        config.host = host::read(&root, config.server.port, &mut listeners);
        config.podman = host::podman(&root);
        let mut servers = Servers::default();
        if network::read(&root, endpoints, listeners, &mut servers, &mut config).is_none() {
            return Ok(None);
        }
        config.store = store::read(&root, &config.server.settings.forward);
        if let Some(host) = config.store.as_ref().map(|store| store.host.clone()).filter(|host| !host.is_empty()) {
            config.name_host(&host);
        }
        config.operation = operation::read(&root);
        let cache_size = config.server.settings.forward.cache_size;
        config.claims = lint::file(&root, lint::Kind::Own, config.server.port, cache_size, servers, &config.networks);
        match source.finish() {
            Ok(warnings) => config.warnings = warnings,
            Err(error) => return Err(error.with_claims(config.claims)),
        }
        Ok(Some(config))
    }

    /// Says what this host is called where networks are shared with others: mostly the system's host name, where `[store]` has no
    /// `host` (answers.md N8b). Nothing comes of it without `[store]`, or if it is no host name; gives false then.
    pub fn name_host(&mut self, host: &str) -> bool {
        let (Some(store), Ok(origin)) = (&mut self.store, HostOrigin::new(host, Reach::Host)) else { return false };
        let host = origin.host();
        store.host = host.to_string();
        self.additions.name_host(host);
        for network in &self.networks {
            let name = |settings: &mut Settings| {
                if let Some(sharing) = &mut settings.sharing {
                    Arc::make_mut(sharing).host = Some(host.clone());
                }
            };
            // It is in no table, so that nobody can have removed it.
            _ = network.change(|change| change.settings(name));
        }
        true
    }

    /// Checks that this machine has what the file relies on: files that it names, and memory for its cache.
    pub fn surroundings(&self) -> Surroundings {
        lint::surroundings(&self.claims)
    }

    /// The CA files of its upstreams, which are read while the server runs.
    pub fn ca_files(&self) -> impl Iterator<Item = &Path> {
        lint::ca_files(&self.claims)
    }
}
