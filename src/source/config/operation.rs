//! `[control]`, `[metrics]` and `[log]`: what is shown of a server that runs, and to whom.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use toml::Spanned;

use super::schema::{CONTROL, LOG, METRICS};
use super::section::Section;

/// `[control]`, `[metrics]` and `[log]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperationConfig {
    /// `[control]`.
    pub control: ControlConfig,
    /// `[metrics]`.
    pub metrics: MetricsConfig,
    /// `[log]`.
    pub log: LogConfig,
}

/// `[control]`: the control socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ControlConfig {
    /// Where it is; `None` for the usual place, the empty path for none.
    pub socket: Option<PathBuf>,
    /// The group whose members may open it and change things; `None` for nobody but the server's user and root.
    pub control_group: Option<String>,
    /// The directory of the names that are kept over a restart; `None` for the usual one.
    pub state: Option<PathBuf>,
}

/// `[metrics]`: metrics, health and the page over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricsConfig {
    /// Where they are served; `None` for nowhere.
    pub listen: Option<SocketAddr>,
    /// Whether they are also served under CoreDNS's names.
    pub coredns: bool,
    /// The page is served there, too.
    pub page: bool,
    /// The file with the token that the page asks for; `None` for no token, and for no page unless `listen` is loopback.
    pub token_file: Option<PathBuf>,
    /// Names and addresses by which the page may be asked for, beside its own and those of loopback.
    pub hosts: Vec<String>,
}

impl Default for MetricsConfig {
    fn default() -> MetricsConfig {
        MetricsConfig { listen: None, coredns: false, page: true, token_file: None, hosts: Vec::new() }
    }
}

/// `[log]`: the log of queries.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogConfig {
    /// Which queries are logged.
    pub queries: LoggedQueries,
    /// True for a JSON object a line.
    pub json: bool,
    /// The file; `None` for standard error.
    pub file: Option<PathBuf>,
    /// One of so many is logged.
    pub sample: u32,
    /// Where all queries are written to as dnstap, and what upstreams are asked; `None` for nowhere.
    pub dnstap: Option<DnstapConfig>,
}

/// `dnstap`: where a reader of it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnstapConfig {
    /// `"unix:PATH"`.
    Unix(PathBuf),
    /// `"tcp:ADDRESS:PORT"`.
    Tcp(SocketAddr),
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { queries: LoggedQueries::Off, json: false, file: None, sample: 1, dnstap: None }
    }
}

/// `queries`: which queries are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LoggedQueries {
    /// `"off"`: none.
    #[default]
    Off,
    /// `"failed"`: those that got an error, no such name, or no reply.
    Failed,
    /// `"all"`: all.
    All,
}

pub(super) fn read(root: &Section<'_>) -> OperationConfig {
    OperationConfig { control: control(root), metrics: metrics(root), log: log(root) }
}

fn control(root: &Section<'_>) -> ControlConfig {
    let Some(section) = root.table("control", &CONTROL) else { return ControlConfig::default() };
    let path = |key| section.string(key).map(|path| PathBuf::from(*path.get_ref()));
    let group = section.string("control_group").filter(|group| {
        let is_there = !group.get_ref().is_empty();
        if !is_there {
            section.problem(
                &group.span(),
                format!("`control_group` is empty; leave it out, or write {}", section.example("control_group")),
            );
        }
        is_there
    });
    ControlConfig {
        socket: path("socket"),
        control_group: group.map(|group| (*group.get_ref()).to_owned()),
        state: path("state"),
    }
}

fn metrics(root: &Section<'_>) -> MetricsConfig {
    let Some(section) = root.table("metrics", &METRICS) else { return MetricsConfig::default() };
    let parse = |listen: Spanned<&str>| {
        let address = listen.get_ref().parse();
        if address.is_err() {
            let message = format!(
                "`listen` is {:?}; write an address and a port, as in {}",
                listen.get_ref(),
                section.example("listen")
            );
            section.problem(&listen.span(), message);
        }
        address.ok()
    };
    let listen: Option<SocketAddr> = section.string("listen").and_then(parse);
    let is_used = ["compat", "page", "token_file", "hosts"].iter().any(|key| section.value(key).is_some());
    if listen.is_none() && section.value("listen").is_none() && is_used {
        section.warning(
            section.at(),
            format!("[metrics] without `listen` serves nothing; write {}", section.example("listen")),
        );
    }
    let page = section.flag("page");
    let token_file = section.string("token_file").map(|file| PathBuf::from(*file.get_ref()));
    if let (Some(true), Some(listen), None) = (page, listen, &token_file)
        && !listen.ip().to_canonical().is_loopback()
        && let Some(page) = section.value("page")
    {
        let message =
            format!("the page needs a token where it is not on loopback; write {}", section.example("token_file"));
        section.problem(&page.span(), message);
    }
    let hosts = section.strings("hosts").unwrap_or_default();
    let hosts = hosts.into_iter().filter_map(|host| match host_name(host.get_ref()) {
        Some(name) => Some(name),
        None => {
            let example = section.example("hosts");
            let message =
                format!("{:?} is no host; write names or addresses without a port, as in {example}", host.get_ref());
            section.problem(&host.span(), message);
            None
        }
    });
    MetricsConfig {
        listen,
        coredns: section.choice("compat", &[("coredns", true)]).unwrap_or(false),
        page: page.unwrap_or(true),
        hosts: hosts.collect(),
        token_file,
    }
}

/// A host as a browser names it: an address, or a name in lower case.
fn host_name(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    let is_name =
        !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(&octet));
    is_name.then(|| text.to_ascii_lowercase())
}

fn log(root: &Section<'_>) -> LogConfig {
    let Some(section) = root.table("log", &LOG) else { return LogConfig::default() };
    let queries = [("off", LoggedQueries::Off), ("failed", LoggedQueries::Failed), ("all", LoggedQueries::All)];
    LogConfig {
        queries: section.choice("queries", &queries).unwrap_or_default(),
        json: section.choice("format", &[("text", false), ("json", true)]).unwrap_or(false),
        file: section.string("file").map(|file| PathBuf::from(*file.get_ref())),
        sample: section.number("sample").map_or(1, |sample| sample as u32),
        dnstap: section.string("dnstap").and_then(|target| {
            let found = dnstap(target.get_ref());
            if found.is_none() {
                let written = target.get_ref();
                let example = section.example("dnstap");
                section.problem(
                    &target.span(),
                    format!("`dnstap` is {written:?}; write a socket, {example}, or \"tcp:ADDRESS:PORT\""),
                );
            }
            found
        }),
    }
}

/// `unix:PATH`, with an absolute path, or `tcp:ADDRESS:PORT`.
fn dnstap(text: &str) -> Option<DnstapConfig> {
    match text.split_once(':')? {
        ("unix", path) if path.starts_with('/') => Some(DnstapConfig::Unix(path.into())),
        ("tcp", address) => {
            address.parse().ok().filter(|address: &SocketAddr| address.port() > 0).map(DnstapConfig::Tcp)
        }
        _ => None,
    }
}
