//! The arguments that netavark gives: `aardvark-dns --config DIR -p PORT run`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::NAME;
use crate::cli::arguments::PODMAN_CONFIG;

/// The DNS server of Podman's networks: callsign, under the name that netavark looks for
///
/// netavark starts it for the first container of a network that has DNS, and it ends with the last one. It reads the
/// directory's files again on SIGHUP.
#[derive(Debug, Parser)]
#[command(name = NAME, bin_name = NAME, version, after_help = MORE)]
pub(super) struct Arguments {
    /// The directory with one file for each network
    #[arg(long, short, value_name = "DIR")]
    config: Option<PathBuf>,
    /// The port to listen on, at the gateway of each network
    #[arg(long, short, value_name = "PORT", default_value_t = 5533)]
    port: u16,
    /// The domain of all containers: `db.dns.podman` is `db`
    #[arg(long, short, value_name = "DOMAIN", default_value = ".dns.podman")]
    filter_search_domain: String,
    #[command(subcommand)]
    pub(super) command: Command,
}

const MORE: &str = "\
Environment:
  RUST_LOG                 how much is logged: error, warn, info (unless said otherwise), debug or trace
  AARDVARK_NO_PROXY        set: nothing is forwarded, unknown names do not exist
  CALLSIGN_PODMAN_STRICT   1: upstreams strictly in order, and no reply when none answers
  CALLSIGN_PODMAN_CONFIG   the file with all further settings, instead of /etc/callsign/podman.toml
  CALLSIGN_NO_SANDBOX      1: all privileges are kept, to find out whether the sandbox is the cause of an error

The log goes to syslog. `callsign check --podman` tells whether the file with the settings is valid.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve the networks of the directory, in the background, until there is none
    Run,
    /// Tell version, commit, time of build and target, as JSON
    Version,
}

/// What `run` is to do.
#[derive(Debug)]
pub(super) struct Job {
    /// The directory.
    pub(super) directory: PathBuf,
    /// The port of all listeners.
    pub(super) port: u16,
    /// `-f`.
    pub(super) domain: String,
    /// AARDVARK_NO_PROXY: nothing is forwarded.
    pub(super) no_proxy: bool,
    /// CALLSIGN_PODMAN_STRICT: forwards as the program that this one replaces does.
    pub(super) strict: bool,
    /// CALLSIGN_PODMAN_CONFIG, or its default.
    pub(super) config: PathBuf,
    /// CALLSIGN_NO_SANDBOX: privileges are kept.
    pub(super) no_sandbox: bool,
    /// RUST_LOG.
    pub(super) log: Option<String>,
}

impl Arguments {
    /// What the arguments of `run` and the environment ask for.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn job(self) -> Result<Job, String> {
        let directory =
            self.config.ok_or_else(|| format!("{NAME}: run needs --config DIR, before it; see {NAME} --help"))?;
        let variable = |name: &str| std::env::var_os(name);
        // The server leaves the working directory.
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        Ok(Job {
            directory: absolute(directory),
            port: self.port,
            domain: self.filter_search_domain,
            no_proxy: variable("AARDVARK_NO_PROXY").is_some(),
            strict: variable("CALLSIGN_PODMAN_STRICT").is_some_and(|value| value == "1"),
            config: absolute(
                variable("CALLSIGN_PODMAN_CONFIG")
                    .filter(|path| !path.is_empty())
                    .map_or_else(|| PathBuf::from(PODMAN_CONFIG), PathBuf::from),
            ),
            no_sandbox: variable("CALLSIGN_NO_SANDBOX").is_some_and(|value| value == "1"),
            log: std::env::var("RUST_LOG").ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_make_sense() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
