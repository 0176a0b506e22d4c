//! The file beside Podman, `podman.toml`: what netavark's files cannot say.

use std::io;
use std::path::Path;

use toml::de::DeTable;

use crate::source::file;
use crate::table::NetworkBuilder;

use super::error::ConfigError;
use super::policy::{self, NetworkPolicies};
use super::section::Section;
use super::shape::{PODMAN_NETWORK, PODMAN_ROOT, PODMAN_SERVER};
use super::text::{self, Text};
use super::unique::Unique;
use super::values::{CacheConfig, RouteConfig, ServerConfig};
use super::{Problem, cache, forward, server};

/// The longest file, octets: it has no endpoints.
const MAX_SIZE: u64 = 16 << 20;

/// The content of a `podman.toml`. It has the sections of the [configuration file](super::Config), less what Podman says:
/// where networks listen, and who is on them.
///
/// ```
/// use callsign::source::config::PodmanConfig;
/// use callsign::table::Network;
///
/// let config = PodmanConfig::parse(
///     r#"
///     [[network]]
///     name = "*"                  # every network
///     ttl = 5
///
///     [[network]]
///     name = "shop"
///     aliases.payments = "payments.dev.example.com"
///     "#,
///     "podman.toml",
/// )?;
/// let shop = config.apply("shop", Network::builder("shop").listen("10.89.0.1")).build()?;
/// assert_eq!(shop.snapshot().settings().ttl, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct PodmanConfig {
    /// `[server]`. Its port means nothing: netavark says it.
    pub server: ServerConfig,
    /// `[cache]`.
    pub cache: CacheConfig,
    /// Each `[[network]]`, in the order of the file.
    pub networks: NetworkPolicies,
    /// Each `[[forward]]`, in the order of the file.
    pub routes: Vec<RouteConfig>,
    /// What is allowed and most likely a mistake.
    pub warnings: Vec<Problem>,
}

impl PodmanConfig {
    /// Reads a file, or to its end a pipe that this process has open: `/dev/stdin`, `/dev/fd/63`.
    ///
    /// # Errors
    /// [`ConfigError`] when the file cannot be read, is not UTF-8, or has problems.
    pub fn load(path: &Path) -> Result<PodmanConfig, ConfigError> {
        let origin = path.display().to_string();
        let octets = file::read_given(path, MAX_SIZE).map_err(|cause| ConfigError::unreadable(&origin, &cause))?;
        PodmanConfig::from_octets(&octets, &origin)
    }

    /// The content of a file, for [`PodmanConfig::from_octets`]. Whoever serves reads it so: it neither waits nor takes more memory
    /// than a file of 16 MiB.
    ///
    /// # Errors
    /// It cannot be read, is no regular file, or is longer.
    pub fn content(path: &Path) -> io::Result<Vec<u8>> {
        file::read(path, MAX_SIZE)
    }

    /// Reads the content of a file; `origin` as for [`PodmanConfig::parse`].
    ///
    /// # Errors
    /// [`ConfigError`] when it is not UTF-8, or has problems.
    pub fn from_octets(octets: &[u8], origin: &str) -> Result<PodmanConfig, ConfigError> {
        PodmanConfig::parse(text::utf8(octets, origin)?, origin)
    }

    /// Reads a text; `origin` is what its problems call it, mostly the path of its file.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems.
    pub fn parse(text: &str, origin: &str) -> Result<PodmanConfig, ConfigError> {
        let source = Text::new(text, origin);
        let (document, errors) = DeTable::parse_recoverable(text);
        let source = source.without_errors(errors)?;
        let root = Section::root(&source, &PODMAN_ROOT, document.get_ref());
        let mut config = PodmanConfig {
            server: server::read(&root, &PODMAN_SERVER),
            cache: cache::read(&root),
            networks: networks(&root),
            routes: forward::read(&root),
            warnings: Vec::new(),
        };
        config.warnings = source.finish()?;
        Ok(config)
    }

    /// Lets a network be as the file says: as of every network, then as of this one.
    pub fn apply(&self, network: &str, builder: NetworkBuilder) -> NetworkBuilder {
        self.networks.apply(network, builder)
    }
}

fn networks(root: &Section<'_>) -> NetworkPolicies {
    let mut names = Unique::default();
    let sections = root.tables("network", &PODMAN_NETWORK);
    NetworkPolicies(sections.iter().filter_map(|section| policy::read(section, &mut names, "Podman")).collect())
}
