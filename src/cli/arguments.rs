//! The arguments, and the help that teaches them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use callsign::table::Address;
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::control::arguments as control;
use super::question::{Rtype, Subject};

/// What stands for standard input.
const STDIN: &str = "-";

/// Where the configuration is unless said otherwise.
pub(super) const CONFIG: &str = "/etc/callsign/callsign.toml";
/// What is said beside Podman's files, unless said otherwise.
pub(super) const PODMAN_CONFIG: &str = "/etc/callsign/podman.toml";

/// The DNS server of container networks
///
/// Containers find each other by name: callsign listens on the gateway address of each container network, answers the
/// names of that network to those who may see them, and forwards everything else to the host's resolvers.
#[derive(Debug, Parser)]
#[command(version, after_long_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  callsign serve callsign.toml               answer the networks of a file
  callsign check callsign.toml               is it valid, and what would be answered?
  callsign lookup db @10.10.1.1              ask a server for db
  callsign explain db --from 10.10.1.2       why does 10.10.1.2 get the answer it gets?
  callsign host enable                       the names of containers on this host itself
  callsign doctor                            what is wrong on this host?

Exit codes:
  0  success    1  failure (invalid, no such name, no answer)    2  usage error
  78  callsign serve: the configuration is invalid";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Serve(Serve),
    Check(Check),
    Lookup(Lookup),
    Explain(Explain),
    Host(super::host_routing::arguments::Host),
    Doctor(super::doctor::arguments::Doctor),
    Status(control::Status),
    Names(control::Names),
    Hosts(control::Hosts),
    Upstreams(control::Upstreams),
    Cache(control::Cache),
    Watch(control::Watch),
    Name(control::Name),
    Reload(control::Reload),
    Log(control::Log),
    Schema(Schema),
    Podman(Podman),
    Completions(Completions),
    #[command(hide = true)]
    Man(Man),
}

/// The configuration file, in one of the two places where people write it.
#[derive(Debug, Args)]
pub(super) struct File {
    /// The configuration file; `-` is standard input [default: /etc/callsign/callsign.toml]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Same as FILE
    #[arg(long, short, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
}

impl File {
    /// The file, or the usual one.
    pub(super) fn path(&self) -> PathBuf {
        self.given().unwrap_or_else(|| CONFIG.into())
    }

    /// The file, if one was named.
    pub(super) fn given(&self) -> Option<PathBuf> {
        self.file.as_deref().or(self.config.as_deref()).map(or_stdin)
    }
}

/// The file that an argument names.
pub(super) fn or_stdin(path: &Path) -> PathBuf {
    if path == Path::new(STDIN) { "/dev/stdin".into() } else { path.to_owned() }
}

/// Serve the networks of a configuration file until stopped
///
/// Listens on each network's addresses, UDP and TCP. Rereads the file when it changes and on SIGHUP: the changes
/// apply at once to all queries, unchanged listeners keep their sockets, and a file with an error changes nothing. Stops
/// on SIGTERM or SIGINT within a second; queries that wait for an upstream have most of that second to be answered.
///
/// Sandboxes itself once it has started: it keeps no capability but CAP_NET_BIND_SERVICE, and can reach only the files
/// that its configuration needs (Landlock). A reload that needs more requires a restart.
#[derive(Debug, Args)]
#[command(after_long_help = SERVE_EXAMPLES)]
pub(super) struct Serve {
    #[command(flatten)]
    pub(super) file: File,
    /// Serve Docker's networks and containers, too; then no file is needed
    ///
    /// Follows the engine at $DOCKER_HOST, in the current Docker context, or at /var/run/docker.sock, and listens on the gateway
    /// of each bridge network. The same as [docker] in the file, which says more.
    #[arg(long)]
    pub(super) docker: bool,
    /// Fail if a listen address cannot be bound at startup, instead of retrying it
    #[arg(long)]
    pub(super) require_listen: bool,
    /// Keep all privileges, and the whole file system within reach: to find out whether the sandbox is the cause of an error
    #[arg(long)]
    pub(super) no_sandbox: bool,
    /// How the log is written to standard error: lines for people, or one JSON object a line
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,
    /// What is logged: error, warn, info, debug or trace, also by module, as in info,callsign::forward=debug
    ///
    /// Without it: what the environment variable RUST_LOG says, else info.
    #[arg(long, value_name = "LEVEL")]
    pub(super) log_level: Option<String>,
}

const SERVE_EXAMPLES: &str = "\
Examples:
  callsign serve                                   what /etc/callsign/callsign.toml says
  callsign serve --docker                          the containers of this host's Docker, by name
  callsign serve examples/two-networks.toml --log-level debug
  systemctl reload callsign                        or: kill -HUP PID, or just save the file

With systemd: Type=notify, ExecReload=kill -HUP $MAINPID. With socket activation,
each socket is used by the network that listens on its address.
Port 53 needs root, or AmbientCapabilities=CAP_NET_BIND_SERVICE. Exits with 78 if the configuration
is invalid: RestartPreventExitStatus=2 78.";

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

/// Say whether a configuration file is valid, and what would be answered
///
/// Shows each network with its listeners, its domains, and every name with what it answers. All errors and warnings are reported
/// at once, each with its line and how to fix it. Exits with 1 if there is an error, with --strict also if there is a
/// warning.
#[derive(Debug, Args)]
#[command(after_long_help = CHECK_EXAMPLES)]
pub(super) struct Check {
    #[command(flatten)]
    pub(super) file: File,
    /// Check the settings for running as Podman's DNS server [default: /etc/callsign/podman.toml]
    #[arg(long)]
    pub(super) podman: bool,
    /// Ask Docker, and show its networks and containers, too; then no file is needed
    #[arg(long, conflicts_with = "podman")]
    pub(super) docker: bool,
    /// Fail on warnings too
    #[arg(long)]
    pub(super) strict: bool,
    /// Write errors and warnings only
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Write JSON
    #[arg(long)]
    pub(super) json: bool,
}

const CHECK_EXAMPLES: &str = "\
Examples:
  callsign check callsign.toml && systemctl reload callsign
  callsign check --strict --quiet callsign.toml      for scripts: silent unless something is wrong
  generate | callsign check -
  callsign check --podman
  callsign check --docker                      what would be served of this host's Docker now?
  callsign check callsign.toml --json | jq -r '.networks[].names[].name'";

/// Ask a DNS server, and show its answer
///
/// Without a type, a name is asked for its A and AAAA records, and an address for its name. Without a server, the first
/// nameserver of /etc/resolv.conf is asked, for the name and for the name below each domain of its search list, in the order
/// of the C library. A server that is named is asked for the name as it stands. Exits with 0 if there is an answer, with 1 if
/// there is none: no such name, no record of this type, an error, no reply.
#[derive(Debug, Args)]
#[command(
    after_long_help = LOOKUP_EXAMPLES,
    override_usage = "callsign lookup [OPTIONS] NAME [TYPE] [@SERVER]\n       callsign lookup [OPTIONS] -x ADDRESS [@SERVER]"
)]
pub(super) struct Lookup {
    /// A domain name or an IP address; the type of record (A, AAAA, SRV, TXT, PTR, ANY, TYPE65280, ...); the server
    #[arg(value_name = "NAME [TYPE] [@SERVER]", required_unless_present = "reverse")]
    pub(super) words: Vec<String>,
    /// Look up the name of an address
    #[arg(short = 'x', value_name = "ADDRESS")]
    pub(super) reverse: Option<IpAddr>,
    /// The server, at port 53 unless another is given: 10.10.1.1, 10.10.1.1:5300, [fd00::1]:5300; as @SERVER
    #[arg(long, short, value_name = "ADDR[:PORT]")]
    pub(super) server: Option<Address>,
    /// Write only the data of the answer, one record a line
    #[arg(long, conflicts_with = "json")]
    pub(super) short: bool,
    /// Always ask over TCP; by default, only truncated answers are retried over TCP
    #[arg(long)]
    pub(super) tcp: bool,
    /// Write JSON
    #[arg(long)]
    pub(super) json: bool,
}

const LOOKUP_EXAMPLES: &str = "\
Examples:
  callsign lookup db                                   as this host or container resolves it
  callsign lookup db @127.0.0.1:5300                   on the network that listens there
  callsign lookup _http._tcp.api SRV                   the port of a service
  callsign lookup -x 10.10.1.3                         the name of an address
  callsign lookup db A --short                         addresses alone, for scripts";

/// Say why a client gets the answer it gets
///
/// First what it gets, then why, then what to do; the technical details come last. It is computed by the code that answers, from
/// the running server's tables or, if none is running, from the configuration file. No query is sent unless --ask is given.
#[derive(Debug, Args)]
#[command(after_long_help = EXPLAIN_EXAMPLES)]
pub(super) struct Explain {
    /// A domain name, or an IP address to look up the name of
    pub(super) name: Subject,
    /// The type of record; A unless given, PTR for an address
    #[arg(value_name = "TYPE")]
    pub(super) rtype: Option<Rtype>,
    /// Who asks: a container's name or ID, or an address; `host` is this host, asking the host view
    #[arg(long, value_name = "CONTAINER")]
    pub(super) from: String,
    /// The network whose listener is asked [default: the one that the client's address belongs to]
    #[arg(long, value_name = "NETWORK")]
    pub(super) network: Option<String>,
    /// Ask the upstream, too, if the question goes to one
    #[arg(long)]
    pub(super) ask: bool,
    /// Explain from Docker's current networks and containers, instead of the running server
    #[arg(long, conflicts_with = "socket")]
    pub(super) docker: bool,
    /// Explain what this configuration would do, instead of the running server; `-` is standard input
    #[arg(long, short, value_name = "FILE", conflicts_with = "socket")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) target: control::Target,
}

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  callsign explain db --from web                       what is db for the container web?
  callsign explain db --from 127.0.0.1 --network shop  and for the host, asking shop's listener?
  callsign explain web.shop.containers.internal --from host    and at the host view?
  callsign explain www.example.com --from web --ask    which upstream, and what does it say?
  callsign explain db --from shop-web-1 --docker       what is db for this container of Docker's?
  callsign explain db --from 10.10.1.2 -c new.toml     what would it be with another configuration?";

/// Write the configuration file's keys, for editors and documentation
#[derive(Debug, Args)]
#[command(after_long_help = SCHEMA_EXAMPLES)]
pub(super) struct Schema {
    /// A JSON Schema, or Markdown tables
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = SchemaFormat::Json)]
    pub(super) format: SchemaFormat,
    /// Of podman.toml, instead of callsign.toml
    #[arg(long)]
    pub(super) podman: bool,
}

/// How the keys are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SchemaFormat {
    Json,
    Markdown,
}

const SCHEMA_EXAMPLES: &str = "\
Examples:
  callsign schema > /etc/callsign/callsign.schema.json
  callsign schema --podman
  callsign schema --format markdown                    the tables of docs/configuration.md

Editors with a TOML language server (taplo, tombi) check and complete a file whose first line is:
  #:schema ./callsign.schema.json";

/// Make callsign Podman's DNS server, or undo that
///
/// Podman starts the first program named aardvark-dns that it finds in its directories of helpers. `install` puts a link to
/// callsign into the first of them, and `remove` takes it away; what somebody else has put there is left alone.
#[derive(Debug, Args)]
#[command(after_long_help = PODMAN_EXAMPLES)]
pub(super) struct Podman {
    #[command(subcommand)]
    pub(super) action: PodmanAction,
}

#[derive(Debug, Subcommand)]
pub(super) enum PodmanAction {
    /// Put the link into Podman's directory
    Install(PodmanLink),
    /// Take the link away
    Remove(PodmanLink),
    /// Say which program Podman starts, and which runs; exits with 1 if Podman starts another one
    Status(PodmanStatus),
}

/// Where the link is.
#[derive(Debug, Args)]
pub(super) struct PodmanLink {
    /// The directory, which has to be among the helper_binaries_dir of containers.conf
    #[arg(long, value_name = "DIR", default_value = PODMAN_DIRECTORY)]
    pub(super) directory: PathBuf,
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct PodmanStatus {
    /// Write JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Where Podman looks first, unless containers.conf says otherwise.
pub(super) const PODMAN_DIRECTORY: &str = "/usr/local/libexec/podman";
/// The link there by which callsign is its DNS server.
pub(super) const PODMAN_LINK: &str = "/usr/local/libexec/podman/aardvark-dns";

const PODMAN_EXAMPLES: &str = "\
Examples:
  callsign podman install --dry-run            what would be done?
  callsign podman install                      takes effect when Podman next starts a server
  callsign podman status
  callsign podman remove";

/// Write a shell's completions to standard output
#[derive(Debug, Args)]
#[command(after_long_help = COMPLETIONS_EXAMPLES)]
pub(super) struct Completions {
    #[arg(value_enum)]
    pub(super) shell: clap_complete::Shell,
}

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  callsign completions bash > /etc/bash_completion.d/callsign
  callsign completions zsh > ~/.zfunc/_callsign
  callsign completions fish > ~/.config/fish/completions/callsign.fish";

/// Write the manual pages: callsign(1) to standard output, or all of them to a directory
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The directory for callsign.1, callsign-serve.1 and so on, and callsign.toml.5
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
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
