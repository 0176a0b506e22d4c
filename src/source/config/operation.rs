//! `[control]`, `[metrics]` and `[log]`: what is shown of a server that runs, and to whom.

use std::net::SocketAddr;
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

/// `[metrics]`: metrics and health over HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricsConfig {
    /// Where they are served; `None` for nowhere.
    pub listen: Option<SocketAddr>,
    /// The names that CoreDNS has for them are there, too.
    pub coredns: bool,
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
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { queries: LoggedQueries::Off, json: false, file: None, sample: 1 }
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
    let listen = section.string("listen").and_then(parse);
    if listen.is_none() && section.value("listen").is_none() && section.value("compat").is_some() {
        section.warning(
            section.at(),
            format!("[metrics] without `listen` serves nothing; write {}", section.example("listen")),
        );
    }
    MetricsConfig { listen, coredns: section.choice("compat", &[("coredns", true)]).unwrap_or(false) }
}

fn log(root: &Section<'_>) -> LogConfig {
    let Some(section) = root.table("log", &LOG) else { return LogConfig::default() };
    let queries = [("off", LoggedQueries::Off), ("failed", LoggedQueries::Failed), ("all", LoggedQueries::All)];
    LogConfig {
        queries: section.choice("queries", &queries).unwrap_or_default(),
        json: section.choice("format", &[("text", false), ("json", true)]).unwrap_or(false),
        file: section.string("file").map(|file| PathBuf::from(*file.get_ref())),
        sample: section.number("sample").map_or(1, |sample| sample as u32),
    }
}
