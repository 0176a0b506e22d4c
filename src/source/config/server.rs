//! `[server]`.

use std::path::PathBuf;

use crate::settings::{ForwardOptions, Limits, Order, ResponderOptions, Unanswered, Upstream, Upstreams};
use crate::table::spellings;

use super::schema::{LIMITS, TableSchema};
use super::section::Section;
use super::values::ServerConfig;
use super::{cache, forward};

/// The longest string of a TXT record (RFC 1035 §3.3).
const MAX_TEXT: usize = 255;

/// Reads `[server]`, `[cache]` and `[[forward]]`; `schema` is that of the first in this kind of file.
pub(super) fn read(root: &Section<'_>, schema: &'static TableSchema) -> ServerConfig {
    let mut server = ServerConfig::default();
    if let Some(section) = root.table("server", schema) {
        if schema.has("port")
            && let Some(port) = section.number("port")
        {
            server.port = port as u16;
        }
        server.workers = count(&section, "workers");
        server.hosts = section.flag("hosts").unwrap_or_default();
        server.has_timeout = section.value("timeout").is_some();
        forwarding(&section, &mut server.settings.forward);
        answers(&section, &mut server.settings.responder);
        if let Some(section) = section.table("limits", &LIMITS) {
            limits(&section, &mut server.settings.limits);
        }
    }
    cache::read(root, &mut server.settings.forward);
    server.settings.forward.routes = forward::read(root);
    server
}

fn forwarding(section: &Section<'_>, options: &mut ForwardOptions) {
    options.upstreams = upstreams(section);
    options.order = order(section).unwrap_or_default();
    let unanswered = [("servfail", Unanswered::ServFail), ("silence", Unanswered::Silence)];
    options.unanswered = section.choice("unanswered", &unanswered).unwrap_or_default();
    options.case_randomization = section.flag("case_randomization").unwrap_or_default();
    if let Some(timeout) = section.seconds("timeout") {
        options.timeout = timeout;
    }
}

fn answers(section: &Section<'_>, options: &mut ResponderOptions) {
    let suffixes = section.list("never_forward", spellings);
    options.never_forward = suffixes.into_iter().flat_map(toml::Spanned::into_inner).collect();
    options.version = text(section, "version");
    options.identity = text(section, "identity");
    if let Some(size) = section.number("udp_size") {
        options.udp_size = size as u16;
    }
}

fn limits(section: &Section<'_>, limits: &mut Limits) {
    let counts = [
        ("tcp_connections", &mut limits.tcp_connections),
        ("tcp_connections_per_client", &mut limits.tcp_connections_per_client),
        ("tcp_queries_per_connection", &mut limits.tcp_queries_per_connection),
        ("forwards", &mut limits.forwards),
        ("forwards_per_client", &mut limits.forwards_per_client),
    ];
    for (key, limit) in counts {
        if let Some(count) = count(section, key) {
            *limit = count;
        }
    }
    if let Some(idle) = section.seconds("tcp_idle") {
        limits.tcp_idle = idle;
    }
}

fn order(section: &Section<'_>) -> Option<Order> {
    let orders = [
        ("listed", Order::Listed),
        ("fastest", Order::Fastest),
        ("round_robin", Order::RoundRobin),
        ("strict", Order::Strict),
    ];
    let order = section.value("order")?;
    if order.get_ref().as_str() == Some("sequential") {
        section.problem(&order.span(), "`order` has no \"sequential\" any more; write \"listed\"");
        return None;
    }
    section.choice("order", &orders)
}

fn count(section: &Section<'_>, key: &str) -> Option<usize> {
    section.number(key).map(|number| number as usize)
}

fn text(section: &Section<'_>, key: &str) -> Option<String> {
    let text = section.string(key)?;
    if !(1..=MAX_TEXT).contains(&text.get_ref().len()) {
        let message = format!("`{key}` has {} octets; write 1 to {MAX_TEXT}", text.get_ref().len());
        section.problem(&text.span(), message);
    }
    Some((*text.get_ref()).to_owned())
}

fn upstreams(section: &Section<'_>) -> Upstreams {
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
            Upstreams::default()
        }
        Some(path) => Upstreams::System(PathBuf::from(*path.get_ref())),
        None if list.is_empty() => Upstreams::default(),
        None => Upstreams::List(list.into_iter().map(toml::Spanned::into_inner).collect()),
    }
}
