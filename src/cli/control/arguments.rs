//! The arguments of the commands that talk to a running server.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

/// Which server, and how its answer is written.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Target {
    /// The server's control socket, by path or name (podman) [default: the running server's]
    #[arg(long, value_name = "SOCKET")]
    pub(in crate::cli) socket: Option<String>,
    /// Write JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// Show what the running servers do, and what is wrong
///
/// Version, configuration and its last reload, networks with their listeners, queries a second, upstreams. Exits with 1 if
/// something is wrong.
#[derive(Debug, Args)]
pub(in crate::cli) struct Status {
    /// Show this network only
    #[arg(value_name = "NETWORK")]
    pub(super) network: Option<String>,
    #[command(flatten)]
    pub(super) target: Target,
}

/// Show the names that are answered, and which container has each
#[derive(Debug, Args)]
pub(in crate::cli) struct Names {
    /// Show this network only
    #[arg(value_name = "NETWORK")]
    pub(super) network: Option<String>,
    #[command(flatten)]
    pub(super) target: Target,
}

/// Show the other hosts that share names with this one, and the state of the store
#[derive(Debug, Args)]
pub(in crate::cli) struct Hosts {
    #[command(flatten)]
    pub(super) target: Target,
}

/// Show the upstreams: whether they answer, and how fast
#[derive(Debug, Args)]
pub(in crate::cli) struct Upstreams {
    #[command(flatten)]
    pub(super) target: Target,
}

/// Show or flush the cache of upstream answers
#[derive(Debug, Args)]
pub(in crate::cli) struct Cache {
    #[command(subcommand)]
    pub(super) command: CacheCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum CacheCommand {
    /// Show what is in the cache
    Show {
        /// Show this name only
        #[arg(value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Take answers out of the cache, so that upstreams are asked again
    Flush(Flush),
}

#[derive(Debug, Args)]
pub(super) struct Flush {
    #[command(flatten)]
    pub(super) what: What,
    #[command(flatten)]
    pub(super) target: Target,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct What {
    /// This name
    #[arg(value_name = "NAME")]
    pub(super) name: Option<String>,
    /// This name and all below it
    #[arg(long, value_name = "DOMAIN")]
    pub(super) zone: Option<String>,
    /// Everything
    #[arg(long)]
    pub(super) all: bool,
}

/// Show queries as they are answered, until interrupted
///
/// One line a query: when, by which container, what, the answer, and why. The server is not slowed: where more come than can
/// be shown, the rest is counted.
#[derive(Debug, Args)]
#[command(after_long_help = WATCH_EXAMPLES)]
pub(in crate::cli) struct Watch {
    /// Queries that reach this network's listeners
    #[arg(long, value_name = "NETWORK")]
    pub(super) network: Option<String>,
    /// Queries of this container, by name, ID or address
    #[arg(long, value_name = "CONTAINER")]
    pub(super) from: Option<String>,
    /// Queries for names that contain this, or match it with * and ?
    #[arg(long, value_name = "PATTERN")]
    pub(super) name: Option<String>,
    /// Queries of this kind
    #[arg(long, value_enum, value_name = "KIND")]
    pub(super) only: Option<Only>,
    #[command(flatten)]
    pub(super) target: Target,
}

const WATCH_EXAMPLES: &str = "\
Examples:
  callsign watch                              every query
  callsign watch --from web --only failed     what web asks for and does not get
  callsign watch --name '*.example.com' --json | jq -r .name";

/// Which queries are shown.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Only {
    /// Those that got an error, no such name, or no reply
    Failed,
    /// Those that this server does not answer
    Refused,
    /// Those that went to an upstream
    Forwarded,
    /// Those answered here, without an upstream
    Local,
}

impl Only {
    pub(super) fn word(self) -> &'static str {
        match self {
            Only::Failed => "failed",
            Only::Refused => "refused",
            Only::Forwarded => "forwarded",
            Only::Local => "local",
        }
    }
}

/// Add, remove or list names while the server runs
#[derive(Debug, Args)]
pub(in crate::cli) struct Name {
    #[command(subcommand)]
    pub(super) command: NameCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum NameCommand {
    Add(NameAdd),
    Remove(NameRemove),
    /// List the names that were added
    List {
        #[command(flatten)]
        target: Target,
    },
}

/// Add a name to a network, or replace one that was added
///
/// It survives a reload, and with --persist a restart, too.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  callsign name add legacy-db 192.168.1.20 --network shop
  callsign name add api 10.10.1.9 fd00::9 --network shop --for 10m")]
pub(super) struct NameAdd {
    /// The name, as containers ask for it
    pub(super) name: String,
    /// Its addresses
    #[arg(required = true, value_name = "ADDRESS")]
    pub(super) addresses: Vec<IpAddr>,
    /// The network on which it is answered
    #[arg(long, value_name = "NETWORK")]
    pub(super) network: String,
    /// Its TTL in seconds; the network's unless given
    #[arg(long, value_name = "SECONDS")]
    pub(super) ttl: Option<u32>,
    /// How long to keep it: 90s, 10m, 2h, 7d [default: until it is removed]
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(super) time: Option<Duration>,
    /// Keep it over a restart
    #[arg(long)]
    pub(super) persist: bool,
    #[command(flatten)]
    pub(super) target: Target,
}

/// Remove a name that was added
#[derive(Debug, Args)]
pub(super) struct NameRemove {
    /// The name
    pub(super) name: String,
    /// On this network only
    #[arg(long, value_name = "NETWORK")]
    pub(super) network: Option<String>,
    #[command(flatten)]
    pub(super) target: Target,
}

/// Make the server reread its configuration, and show what changed
///
/// Waits until it is done. Exits with 1 if there are errors; then nothing changes.
#[derive(Debug, Args)]
pub(in crate::cli) struct Reload {
    #[command(flatten)]
    pub(super) target: Target,
}

/// Set what the running server logs, until it restarts
#[derive(Debug, Args)]
pub(in crate::cli) struct Log {
    /// error, warn, info, debug or trace, also by module, as in info,callsign::forward=debug
    #[arg(value_name = "LEVEL")]
    pub(super) level: String,
    #[command(flatten)]
    pub(super) target: Target,
}

/// A time with its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    let seconds = units.into_iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(seconds).filter(|&seconds| seconds > 0)
    });
    seconds.map(Duration::from_secs).ok_or_else(|| "write a number and s, m, h or d, as in 10m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("2d"), Ok(Duration::from_secs(172_800)));
        for text in ["10", "m", "0s", "-1s", "1w", "99999999999999999d", ""] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
