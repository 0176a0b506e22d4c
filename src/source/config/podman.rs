//! The file beside Podman, `podman.toml`: what netavark's files cannot say.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use toml::de::DeTable;

use crate::source::file;
use crate::table::{Network, NetworkBuilder};

use super::duplicate_check::DuplicateCheck;
use super::error::ConfigError;
use super::lint::{self, Claim, Servers, Surroundings};
use super::policy::{self, NetworkPolicies, NetworkPolicy};
use super::schema::{PODMAN_NETWORK, PODMAN_ROOT, PODMAN_SERVER};
use super::section::Section;
use super::text::{self, Text};
use super::values::ServerConfig;
use super::{OperationConfig, Problem, operation, schema, server};

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
    /// `[server]`, `[cache]` and `[[forward]]`. The port means nothing: netavark says it.
    pub server: ServerConfig,
    /// Each `[[network]]`, in the order of the file.
    pub networks: NetworkPolicies,
    /// `[control]`, `[metrics]` and `[log]`.
    pub operation: OperationConfig,
    /// What is allowed and most likely a mistake.
    pub warnings: Vec<Problem>,
    origin: String,
    /// What it relies on.
    claims: Vec<Claim>,
}

impl PodmanConfig {
    /// Reads a file, or a pipe that this process has open (`/dev/stdin`, `/dev/fd/63`) to its end.
    ///
    /// # Errors
    /// [`ConfigError`] when the file cannot be read, is not UTF-8, or has problems.
    pub fn load(path: &Path) -> Result<PodmanConfig, ConfigError> {
        let origin = path.display().to_string();
        let octets = file::read_given(path, MAX_SIZE).map_err(|cause| ConfigError::unreadable(&origin, &cause))?;
        PodmanConfig::from_octets(&octets, &origin)
    }

    /// The content of a file, for [`PodmanConfig::from_octets`]. For a running server: it neither blocks nor takes more memory
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
    /// [`ConfigError`] when it is empty, is not UTF-8, or has problems. (A *text* may be empty: it has the defaults.)
    pub fn from_octets(octets: &[u8], origin: &str) -> Result<PodmanConfig, ConfigError> {
        if octets.trim_ascii().is_empty() {
            return Err(ConfigError::empty(origin));
        }
        PodmanConfig::parse(text::utf8(octets, origin)?, origin)
    }

    /// Reads a text; `origin` is what its problems call it, mostly the path of its file.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems.
    pub fn parse(text: &str, origin: &str) -> Result<PodmanConfig, ConfigError> {
        let source = Text::new(text, origin);
        let (document, errors) = DeTable::parse_recoverable(text);
        let source = source.without_errors(text, errors)?;
        let root = Section::root(&source, &PODMAN_ROOT, document.get_ref());
        let mut config = PodmanConfig {
            server: server::read(&root, &PODMAN_SERVER),
            networks: networks(&root),
            operation: operation::read(&root),
            warnings: Vec::new(),
            origin: origin.to_owned(),
            claims: Vec::new(),
        };
        let build = |policy: &NetworkPolicy| config.apply(policy.name(), Network::builder(policy.name())).build().ok();
        let built: Vec<Network> = config.networks.iter().filter_map(build).collect();
        config.claims = lint::file(
            &root,
            lint::Kind::Podman,
            config.server.port,
            config.server.settings.forward.cache_size,
            Servers::default(),
            &built,
        );
        match source.finish() {
            Ok(warnings) => config.warnings = warnings,
            Err(error) => return Err(error.with_claims(config.claims)),
        }
        Ok(config)
    }

    /// Checks that this machine has what the file relies on: files that it names, and memory for its cache.
    pub fn surroundings(&self) -> Surroundings {
        lint::surroundings(&self.claims)
    }

    /// The CA files of its upstreams, which are read while the server runs.
    pub fn ca_files(&self) -> impl Iterator<Item = &Path> {
        lint::ca_files(&self.claims)
    }

    /// A warning for each network that it speaks of and that is not one of these.
    pub fn unknown_networks(&self, known: &BTreeSet<String>) -> Vec<Problem> {
        let unknown = self.networks.iter().filter(|policy| !policy.is_for_all() && !known.contains(policy.name()));
        let problem = |policy: &NetworkPolicy| {
            let name = policy.name();
            let message = match schema::nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("Podman has no network {name:?}; did you mean {near:?}?"),
                None => format!("Podman has no network {name:?}; `podman network ls` shows all"),
            };
            Problem::new(&self.origin, policy.line, message)
        };
        unknown.map(problem).collect()
    }

    /// Lets a network be as the file says: as of every network, then as of this one.
    pub fn apply(&self, network: &str, builder: NetworkBuilder) -> NetworkBuilder {
        self.networks.apply(network, builder)
    }
}

fn networks(root: &Section<'_>) -> NetworkPolicies {
    let mut names = DuplicateCheck::default();
    let sections = root.tables("network", &PODMAN_NETWORK);
    NetworkPolicies::new(sections.iter().filter_map(|section| policy::read(section, &mut names, "Podman")).collect())
}
