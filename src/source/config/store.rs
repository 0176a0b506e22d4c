//! `[store]`, through which hosts share the names of networks, and what networks say of it (answers.md N8b).

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeTable;

use crate::settings::{ForwardOptions, StoreOptions};
use crate::table::{HostOrigin, NetworkBuilder, Reach, Sharing, Spread, TableError};

use super::lint::{Claim, Kind, tables, text};
use super::network::is_addition;
use super::policy::{ANY, Step};
use super::schema::{NETWORK, STORE};
use super::section::Section;

/// Where the last known state is kept unless told otherwise.
const STATE: &str = "/var/lib/callsign/store.json";
/// The networks that engines make by themselves, with one subnet on every host.
const DEFAULT_BRIDGES: [&str; 2] = ["bridge", "podman"];
/// Their subnets.
const DEFAULT_SUBNETS: [&str; 2] = ["172.17.0.0/16", "10.88.0.0/16"];

/// `[store]`, if it is there. Its host's name is empty if the file has none.
pub(super) fn read(root: &Section<'_>, forward: &ForwardOptions) -> Option<StoreOptions> {
    let section = root.table("store", &STORE)?;
    let etcd = members(&section);
    let mut options = StoreOptions::new(host(&section).unwrap_or_default(), etcd);
    options.ca = path(&section, "ca");
    options.certificate = pair(&section, "cert", "key").map(|(cert, key)| (cert.into(), key.into()));
    options.user = pair(&section, "user", "password_file").map(|(user, file)| (user, file.into()));
    if let Some(prefix) = section.string("prefix") {
        let text = *prefix.get_ref();
        let is_path = text.starts_with('/') && !text.ends_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_path {
            let message = format!("`prefix` is {text:?}; write {}", section.example("prefix"));
            section.problem(&prefix.span(), message);
        }
        options.prefix = text.to_owned();
    }
    options.address = addresses(&section);
    times(&section, &mut options);
    options.state = match section.string("state").map(Spanned::into_inner) {
        Some("") => None,
        Some(path) => Some(path.into()),
        None => Some(STATE.into()),
    };
    // Names below a domain with servers of its own are these servers'. The route of all names reserves none.
    let domains = forward.routes.iter().map(|route| &route.domain).filter(|domain| !domain.is_root());
    options.reserved = domains.cloned().collect();
    Some(options)
}

fn members(section: &Section<'_>) -> Vec<String> {
    let Some(urls) = section.strings("etcd") else {
        if section.value("etcd").is_none() {
            section.problem(section.at(), format!("[store] has no `etcd`; write {}", section.example("etcd")));
        }
        return Vec::new();
    };
    if urls.is_empty()
        && let Some(value) = section.value("etcd")
    {
        section.problem(&value.span(), format!("`etcd` is empty; write {}", section.example("etcd")));
    }
    let is_insecure = section.flag("insecure").unwrap_or_default();
    for url in &urls {
        if let Err(message) = check_member(url.get_ref(), is_insecure) {
            section.problem(&url.span(), format!("{message}; write {}", section.example("etcd")));
        }
    }
    urls.into_iter().map(|url| url.into_inner().trim_end_matches('/').to_owned()).collect()
}

/// What is wrong with the address of a member.
fn check_member(url: &str, is_insecure: bool) -> Result<(), String> {
    let (is_tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return Err(format!("{url:?} is no member of etcd")),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        return Err("a password does not belong into an address: use user and password_file".to_owned());
    }
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "2379"));
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_host = host.parse::<IpAddr>().is_ok() || HostOrigin::new(host, Reach::Host).is_ok();
    if !is_host || port.parse::<u16>().is_err() || port == "0" {
        return Err(format!("{url:?} is no member of etcd"));
    }
    let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if !is_tls && !is_loopback && !is_insecure {
        return Err(format!(
            "{url} is asked without TLS, and whoever can read or change packets on the way can change names; use https, or, on a \
             network of your own that is encrypted already, insecure = true"
        ));
    }
    Ok(())
}

fn host(section: &Section<'_>) -> Option<String> {
    let host = section.string("host")?;
    let origin = section.check("host", &host.span(), HostOrigin::new(host.get_ref(), Reach::Host))?;
    Some(origin.host().to_string())
}

fn path(section: &Section<'_>, key: &str) -> Option<PathBuf> {
    Some(section.string(key)?.into_inner().into())
}

/// Two keys of which neither means anything without the other.
fn pair(section: &Section<'_>, first: &str, second: &str) -> Option<(String, String)> {
    match (section.string(first), section.string(second)) {
        (Some(first), Some(second)) => Some((first.into_inner().to_owned(), second.into_inner().to_owned())),
        (Some(alone), None) if section.value(second).is_none() => {
            section
                .problem(&alone.span(), format!("`{first}` needs `{second}`; write {}, too", section.example(second)));
            None
        }
        (None, Some(alone)) if section.value(first).is_none() => {
            section
                .problem(&alone.span(), format!("`{second}` needs `{first}`; write {}, too", section.example(first)));
            None
        }
        _ => None,
    }
}

fn addresses(section: &Section<'_>) -> Vec<IpAddr> {
    let parse = |text: &str| text.parse::<IpAddr>().map_err(|_| TableError::Ip(text.to_owned()));
    let addresses = section.one_or_more("address", parse);
    for address in &addresses {
        let ip = address.get_ref();
        if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() {
            let message = format!("no other host reaches this one at {ip}; write {}", section.example("address"));
            section.problem(&address.span(), message);
        }
    }
    addresses.into_iter().map(Spanned::into_inner).collect()
}

fn times(section: &Section<'_>, options: &mut StoreOptions) {
    for (key, time) in [("ttl", &mut options.ttl), ("linger", &mut options.linger), ("wait", &mut options.wait)] {
        if let Some(given) = section.seconds(key) {
            *time = given;
        }
    }
    let least = 2 * options.ttl;
    options.hold = options.hold.max(least);
    let Some(hold) = section.seconds("hold") else { return };
    if hold < least
        && let Some(value) = section.value("hold")
    {
        let least = least.as_secs_f64();
        let message = format!("`hold` is less than twice `ttl`, so it counts as {least} s; write {least} or more");
        section.warning(&value.span(), message);
    }
    options.hold = hold.max(least);
}

/// What a network says of being shared, as steps of its builder.
pub(super) fn steps(section: &Section<'_>, steps: &mut Vec<Step>) {
    let words = [("container", Some(Reach::Container)), ("host", Some(Reach::Host)), ("none", None)];
    if let Some(reach) = section.choice("share", &words) {
        steps.push(Box::new(move |builder| builder.sharing(reach.map(Sharing::new))));
    }
    if let Some(name) = section.string("share_as") {
        let text = (*name.get_ref()).to_owned();
        if text.is_empty() || text.chars().any(char::is_control) {
            section.problem(&name.span(), format!("`share_as` is {text:?}; write {}", section.example("share_as")));
        }
        steps.push(edit(move |sharing| sharing.name = Some(text.as_str().into())));
    }
    if let Some(spread) = section.choice("spread", &[("local", Spread::Local), ("all", Spread::All)]) {
        steps.push(edit(move |sharing| sharing.spread = spread));
    }
    let pattern = |text: &str| {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.*".contains(&byte));
        if is_plain && !text.is_empty() { Ok(text.to_owned()) } else { Err(TableError::HostName(text.to_owned())) }
    };
    let accept = section.list_of_some("accept", "leave it out for all hosts", pattern);
    if !accept.is_empty() {
        let accept: Vec<String> = accept.into_iter().map(Spanned::into_inner).collect();
        steps
            .push(edit(move |sharing| sharing.accept = accept.iter().map(|pattern| pattern.as_str().into()).collect()));
    }
    let subnet = |text: &str| {
        let subnet = text.parse::<IpNet>().map(|subnet| subnet.trunc());
        subnet.map_err(|_| TableError::Subnet(text.to_owned()))
    };
    let subnets = section.list_of_some("remote_subnets", "leave it out", subnet);
    if !subnets.is_empty() {
        let subnets: Vec<IpNet> = subnets.into_iter().map(Spanned::into_inner).collect();
        steps.push(edit(move |sharing| sharing.remote_subnets = subnets.clone()));
    }
}

fn edit(edit: impl Fn(&mut Sharing) + Send + Sync + 'static) -> Step {
    Box::new(move |builder: NetworkBuilder| builder.edit_sharing(&edit))
}

/// Looks at what networks say of being shared, and gives what `[store]` relies on.
pub(super) fn lint(root: &Section<'_>, kind: Kind) -> Vec<Claim> {
    let store = root.raw().get("store").and_then(|store| store.get_ref().as_table());
    let networks: Vec<&DeTable<'_>> = tables(root.raw(), "network").map(|(table, _)| table).collect();
    let shares = |table: &DeTable<'_>| text(table, "share").is_some_and(|share| *share.get_ref() != "none");
    let of_all = networks.iter().copied().find(|table| text(table, "name").is_some_and(|name| *name.get_ref() == ANY));
    let is_shared_by_all = of_all.is_some_and(shares);
    for table in &networks {
        network(root, kind, table, store.is_some(), is_shared_by_all);
    }
    let Some(store) = store else { return Vec::new() };
    if !networks.iter().any(|table| shares(table))
        && let Some((key, _)) = root.raw().get_key_value("store")
    {
        let message =
            format!("no network is shared, so no name is; write {} in a [[network]]", NETWORK.example("share"));
        root.warning(&key.span(), message);
    }
    let files = ["ca", "cert", "key", "password_file"].into_iter().filter_map(|key| Some((key, text(store, key)?)));
    files.map(|(key, path)| Claim::of_store(root, key, &path)).collect()
}

fn network(root: &Section<'_>, kind: Kind, table: &DeTable<'_>, has_store: bool, is_shared_by_all: bool) {
    let name = text(table, "name").map_or("", Spanned::into_inner);
    let share = text(table, "share");
    let Some(share) = share else {
        let is_shared = is_shared_by_all && (kind == Kind::Podman || is_addition(table));
        for key in ["share_as", "spread", "accept", "remote_subnets"] {
            if let Some((written, _)) = table.get_key_value(key).filter(|_| !is_shared) {
                let message = format!("`{key}` means nothing without `share`; write {}", NETWORK.example("share"));
                root.warning(&written.span(), message);
            }
        }
        return;
    };
    if name == ANY
        && let Some(name) = text(table, "share_as")
    {
        let message =
            "networks of different names cannot be one elsewhere; write `share_as` at the network that is meant";
        root.problem(&name.span(), message);
    }
    if *share.get_ref() == "none" {
        return;
    }
    if !has_store {
        let message =
            format!("`share` means nothing without [store]; write [store], and below it {}", STORE.example("etcd"));
        root.warning(&share.span(), message);
    }
    if *share.get_ref() == "container" && !table.contains_key("remote_subnets") {
        let mut subnets = super::lint::texts(table, "subnets");
        let is_default =
            DEFAULT_BRIDGES.contains(&name) || subnets.any(|subnet| DEFAULT_SUBNETS.contains(subnet.get_ref()));
        if is_default {
            let message = "this network has the same subnet on every host, so containers of other hosts cannot be told from this \
                           one's and are not taken; write share = \"host\", or give each host a subnet of its own and list them in \
                           remote_subnets";
            root.warning(&share.span(), message);
        } else if kind == Kind::Own && !is_addition(table) {
            let message = format!(
                "no container of another host is taken without the subnets that those have; write {}",
                NETWORK.example("remote_subnets")
            );
            root.warning(&share.span(), message);
        }
    }
}
