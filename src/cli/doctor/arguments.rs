//! The arguments of `callsign doctor`.

use clap::Args;

use crate::cli::arguments::File;

/// Check this host, and say what is right, what is wrong, and how to fix it
///
/// Checks the configuration, the container engines, port 53, the firewall, the upstreams, the clock, the permissions, and whether
/// the host itself looks up names of containers. Changes nothing; each check takes 5 seconds at most. As root it sees more: other users'
/// processes and the firewall. Exits with 1 if there is a problem.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(in crate::cli) struct Doctor {
    #[command(flatten)]
    pub(super) file: File,
    /// Docker is to be served, whatever the file says
    #[arg(long)]
    pub(super) docker: bool,
    /// Write JSON
    #[arg(long)]
    pub(super) json: bool,
}

const EXAMPLES: &str = "\
Examples:
  sudo callsign doctor                       what is wrong on this host?
  sudo callsign doctor --docker              of a server that runs as `callsign serve --docker`
  callsign doctor --json | jq -r '.checks[] | select(.verdict == \"problem\").cure'";
