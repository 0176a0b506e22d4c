//! The arguments of `callsign host`.

use std::net::SocketAddr;
use std::path::PathBuf;

use callsign::settings::Address;
use callsign::source::config::HostConfig;
use callsign::wire::Name;
use clap::{Args, Subcommand};
use ipnet::IpNet;

use crate::cli::arguments::CONFIG;

/// The port of an address that is given without one.
const PORT: u16 = 53;

/// Let this host look up the names of its containers
///
/// Tells the host's resolver to ask callsign for one domain, and only for that one: systemd-resolved (240 or later) or
/// NetworkManager with dns=dnsmasq. On other hosts it changes nothing, and shows the lines to add.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(in crate::cli) struct Host {
    #[command(subcommand)]
    pub(super) action: Action,
}

const EXAMPLES: &str = "\
Examples:
  callsign host enable --dry-run           what would be done?
  callsign host enable                     curl http://web.shop.containers.internal:8080/ works
  callsign host enable --reverse 172.16.0.0/12
  callsign host status
  callsign host disable                    undo all of it";

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    Enable(Enable),
    Disable(Disable),
    Status(Status),
}

/// Send the host's lookups in the domain to callsign
///
/// Needs root. Each step is printed. Files of others are never overwritten: what this command writes begins with the line
/// "written by callsign host enable".
#[derive(Debug, Args)]
pub(super) struct Enable {
    #[command(flatten)]
    pub(super) place: Place,
    /// Also send reverse lookups of this subnet; may be repeated [default: the subnets of the configuration's networks]
    #[arg(long, value_name = "SUBNET")]
    pub(super) reverse: Vec<IpNet>,
    /// Print the steps, and take none
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Only make what a reboot has undone: for callsign-host.service
    #[arg(long, hide = true)]
    pub(super) boot: bool,
}

/// Undo all that `callsign host enable` has done
///
/// Also what is left of an attempt that failed half-way.
#[derive(Debug, Args)]
pub(super) struct Disable {
    /// Print the steps, and take none
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// Say how this host looks names up, whether callsign is asked, and whether it answers
///
/// Exits with 0 if the names of containers can be looked up on this host.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Write JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What is looked up, and where.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The domain whose names callsign is asked for [default: that of [host], else containers.internal]
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<Name>,
    /// Where callsign listens for the host [default: that of [host], else 127.0.0.55]
    #[arg(long, value_name = "ADDR[:PORT]")]
    listen: Option<Address>,
    /// The configuration file, which is read for [host] and its networks' subnets if it is there
    #[arg(long, short, value_name = "FILE", default_value = CONFIG)]
    pub(super) config: PathBuf,
}

impl Place {
    /// The domain: as given, else as `[host]` says.
    pub(super) fn domain(&self, host: &HostConfig) -> Name {
        self.domain.clone().unwrap_or_else(|| host.domain.parse().expect("`[host]` was read"))
    }

    /// Where callsign listens: as given, else as `[host]` says.
    pub(super) fn listen(&self, host: &HostConfig) -> SocketAddr {
        let address = self.listen.as_ref().unwrap_or(&host.listen[0]);
        SocketAddr::new(address.ip(), address.port().unwrap_or(PORT))
    }
}
