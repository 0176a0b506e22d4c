//! What netavark's files do not say: podman.toml and the environment. A container is never refused for them: what cannot
//! be used is logged, and the defaults hold.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use callsign::forward::{ForwardOptions, Order, Unanswered};
use callsign::source::config::{ConfigError, PodmanConfig, Surroundings};
use callsign::source::file;
use callsign::table::NetworkBuilder;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::arguments::Job;
use crate::cli::sandbox::{Needs, UNPRIVILEGED};

/// The time for a question as the program takes it that this one replaces.
const STRICT_TIMEOUT: Duration = Duration::from_secs(5);

/// The settings in force.
#[derive(Debug)]
pub(super) struct Overrides {
    path: PathBuf,
    no_proxy: bool,
    strict: bool,
    /// What the file said when it was last read, good or bad; `None` without a file.
    content: Option<Vec<u8>>,
    config: Arc<PodmanConfig>,
    /// What is wrong with the file, if it cannot be used.
    mistakes: Vec<String>,
    /// When to read it again without a signal: somebody was writing it.
    again: Option<Instant>,
}

impl Overrides {
    /// Those that hold at the start.
    pub(super) fn read(job: &Job) -> Overrides {
        let mut overrides = Overrides {
            path: job.config.clone(),
            no_proxy: job.no_proxy,
            strict: job.strict,
            content: None,
            config: Arc::default(),
            mistakes: Vec::new(),
            again: None,
        };
        overrides.read_content();
        overrides
    }

    pub(super) fn config(&self) -> &PodmanConfig {
        &self.config
    }

    /// What is wrong with the file; nothing where there is none.
    pub(super) fn mistakes(&self) -> &[String] {
        &self.mistakes
    }

    /// When the file is to be read again without a signal.
    pub(super) fn again(&self) -> Option<Instant> {
        self.again
    }

    /// Reads the file again, unless somebody is writing it. True if other settings hold now.
    pub(super) fn read_again(&mut self) -> bool {
        self.again = file::unsettled(&self.path).map(|left| Instant::now() + left);
        self.again.is_none() && self.read_content()
    }

    fn read_content(&mut self) -> bool {
        let content = match PodmanConfig::content(&self.path) {
            Ok(content) => Some(content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let error = ConfigError::unreadable(&self.origin(), &error);
                error!("{error}; what it said stays in force");
                self.mistakes = vec![error.to_string()];
                return false;
            }
        };
        if content == self.content {
            return false;
        }
        let config = content.as_ref().map(|content| PodmanConfig::from_octets(content, &self.origin()));
        self.content = content;
        self.mistakes.clear();
        match config.transpose() {
            Ok(config) => {
                match &config {
                    Some(config) => {
                        let Surroundings { errors, warnings, .. } = config.surroundings();
                        config.warnings.iter().chain(&errors).chain(&warnings).for_each(|warning| warn!("{warning}"));
                        info!(path = self.origin(), "settings read");
                    }
                    None => info!(path = self.origin(), "there are no settings any more: the defaults hold"),
                }
                self.config = Arc::new(config.unwrap_or_default());
                true
            }
            Err(error) => {
                error.problems().iter().for_each(|problem| error!("{problem}"));
                self.mistakes = error.problems().iter().map(ToString::to_string).collect();
                error!(path = self.origin(), "has errors and is not used: what held before holds, or the defaults");
                false
            }
        }
    }

    /// What is said of forwarding.
    pub(super) fn forwarding(&self) -> ForwardOptions {
        let server = &self.config.server;
        let mut options = server.settings.forward.clone();
        if self.strict {
            options.order = Order::Strict;
            if !server.has_timeout {
                options.timeout = STRICT_TIMEOUT;
            }
            options.unanswered = Unanswered::Silence;
            // An old answer instead of silence would be a reply.
            options.stale_for = Duration::ZERO;
        }
        options
    }

    /// The last word on the settings of a network.
    pub(super) fn template(&self) -> impl Fn(&str, NetworkBuilder) -> NetworkBuilder + Send + 'static {
        let (config, no_proxy) = (self.config.clone(), self.no_proxy);
        move |name, builder| {
            let builder = config.apply(name, builder);
            if no_proxy { builder.internal(true) } else { builder }
        }
    }

    /// What the server needs after its start.
    pub(super) fn needs(&self, job: &Job) -> Needs {
        let mut needs = Needs::new((1..UNPRIVILEGED).contains(&job.port));
        needs.follow(&self.path);
        needs.write(&job.directory);
        needs.configured(&self.config.server, &self.config.operation, self.config.ca_files());
        needs
    }

    fn origin(&self) -> String {
        self.path.display().to_string()
    }
}
