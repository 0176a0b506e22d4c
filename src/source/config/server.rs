//! `[server]`.

use std::path::PathBuf;

use crate::table::Upstream;
use crate::wire::Name;

use super::section::Section;
use super::shape::{LIMITS, Shape};
use super::values::{FailOverConfig, LimitsConfig, OrderConfig, ServerConfig, UnansweredConfig, UpstreamsConfig};

/// The longest string of a TXT record (RFC 1035 §3.3).
const MAX_TEXT: usize = 255;

/// `shape` is that of the section in this kind of file.
pub(super) fn read(root: &Section<'_>, shape: &'static Shape) -> ServerConfig {
    let mut server = ServerConfig::default();
    let Some(section) = root.table("server", shape) else { return server };
    if shape.has("port")
        && let Some(port) = section.number("port", 1..=u16::MAX.into())
    {
        server.port = port as u16;
    }
    server.workers = count(&section, "workers", 256);
    server.upstreams = upstreams(&section);
    let orders = [
        ("fastest", OrderConfig::Fastest),
        ("sequential", OrderConfig::Sequential),
        ("round_robin", OrderConfig::RoundRobin),
    ];
    server.order = section.choice("order", &orders).unwrap_or_default();
    let fail_overs = [("adaptive", FailOverConfig::Adaptive), ("sequential", FailOverConfig::Sequential)];
    server.fail_over = section.choice("fail_over", &fail_overs).unwrap_or_default();
    let unanswered = [("servfail", UnansweredConfig::ServFail), ("silence", UnansweredConfig::Silence)];
    server.unanswered = section.choice("unanswered", &unanswered).unwrap_or_default();
    server.case_randomization = section.flag("case_randomization").unwrap_or_default();
    server.timeout = section.seconds("timeout");
    server.never_forward =
        section.list("never_forward", str::parse::<Name>).into_iter().map(toml::Spanned::into_inner).collect();
    server.version = text(&section, "version");
    server.identity = text(&section, "identity");
    if let Some(limits) = section.table("limits", &LIMITS) {
        server.limits = LimitsConfig {
            tcp_connections: count(&limits, "tcp_connections", 1_000_000),
            tcp_connections_per_client: count(&limits, "tcp_connections_per_client", 1_000_000),
            tcp_queries_per_connection: count(&limits, "tcp_queries_per_connection", 1_000_000),
            forwards: count(&limits, "forwards", 1_000_000),
            forwards_per_client: count(&limits, "forwards_per_client", 1_000_000),
            tcp_idle: limits.seconds("tcp_idle"),
        };
    }
    server
}

fn count(section: &Section<'_>, key: &str, most: i64) -> Option<usize> {
    section.number(key, 1..=most).map(|number| number as usize)
}

fn text(section: &Section<'_>, key: &str) -> Option<String> {
    let text = section.string(key)?;
    if !(1..=MAX_TEXT).contains(&text.get_ref().len()) {
        let message = format!("`{key}` has {} octets; write 1 to {MAX_TEXT}", text.get_ref().len());
        section.problem(&text.span(), message);
    }
    Some((*text.get_ref()).to_owned())
}

fn upstreams(section: &Section<'_>) -> UpstreamsConfig {
    let instead = "leave it out for those of /etc/resolv.conf";
    let list = section.list_of_some("upstreams", instead, str::parse::<Upstream>);
    let path = section.string("resolv_conf");
    if let (Some(path), true) = (&path, section.value("upstreams").is_some()) {
        let message = "`resolv_conf` and `upstreams` both name the default servers; write one of them";
        section.problem(&path.span(), message);
    }
    match path {
        Some(path) if !path.get_ref().starts_with('/') => {
            let message = format!("`resolv_conf` is {:?}; write the whole path, from / on", path.get_ref());
            section.problem(&path.span(), message);
            UpstreamsConfig::default()
        }
        Some(path) => UpstreamsConfig::ResolvConf(PathBuf::from(*path.get_ref())),
        None if list.is_empty() => UpstreamsConfig::default(),
        None => UpstreamsConfig::List(list.into_iter().map(toml::Spanned::into_inner).collect()),
    }
}
