//! `[server]`.

use std::path::PathBuf;

use crate::table::{Upstream, spellings};
use crate::wire::reply::{UDP_SIZE_LARGEST, UDP_SIZE_PLAIN};

use super::section::Section;
use super::shape::{LIMITS, Shape};
use super::values::{LimitsConfig, OrderConfig, ServerConfig, UnansweredConfig, UpstreamsConfig};

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
    server.order = order(&section).unwrap_or_default();
    let unanswered = [("servfail", UnansweredConfig::ServFail), ("silence", UnansweredConfig::Silence)];
    server.unanswered = section.choice("unanswered", &unanswered).unwrap_or_default();
    server.case_randomization = section.flag("case_randomization").unwrap_or_default();
    server.timeout = section.seconds("timeout");
    let suffixes = section.list("never_forward", spellings);
    server.never_forward = suffixes.into_iter().flat_map(toml::Spanned::into_inner).collect();
    server.version = text(&section, "version");
    server.identity = text(&section, "identity");
    if let Some(size) = section.number("udp_size", UDP_SIZE_PLAIN.into()..=UDP_SIZE_LARGEST.into()) {
        server.udp_size = size as u16;
    }
    server.hosts = section.flag("hosts").unwrap_or_default();
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

fn order(section: &Section<'_>) -> Option<OrderConfig> {
    let orders = [
        ("listed", OrderConfig::Listed),
        ("fastest", OrderConfig::Fastest),
        ("round_robin", OrderConfig::RoundRobin),
        ("strict", OrderConfig::Strict),
    ];
    let order = section.value("order")?;
    if order.get_ref().as_str() == Some("sequential") {
        section.problem(&order.span(), "`order` has no \"sequential\" any more; write \"listed\"");
        return None;
    }
    section.choice("order", &orders)
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
