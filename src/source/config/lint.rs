//! What a file says that can be read and does not work, or surely is a mistake: looked for in the whole file, once each part
//! of it was read.
//!
//! What depends on the machine (files, memory) is kept as a [`Claim`] with its line, and looked at when somebody asks.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::IpAddr;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::settings::{Address, Upstream};
use crate::table::{Found, Network};
use crate::wire::Name;

use super::Problem;
use super::network::is_addition;
use super::policy::ANY;
use super::section::Section;
use super::{store, tlds};

/// Aliases lead on so often at most (answers.md N9).
const MAX_ALIASES: usize = 8;

/// What a file relies on that the machine may not have. See [`Config::surroundings`](super::Config::surroundings).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Surroundings {
    /// What cannot work.
    pub errors: Vec<Problem>,
    /// What most likely is a mistake.
    pub warnings: Vec<Problem>,
}

/// What a line relies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    origin: String,
    line: usize,
    what: Claimed,
}

impl Claim {
    /// That a file of `[store]` can be read.
    pub(super) fn of_store(root: &Section<'_>, key: &'static str, path: &Spanned<&str>) -> Claim {
        let what = Claimed::StoreFile(key, path.get_ref().into());
        Claim { origin: root.origin().to_owned(), line: root.line(&path.span()), what }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Claimed {
    CaFile(PathBuf),
    /// A file of `[store]`, with its key.
    StoreFile(&'static str, PathBuf),
    ResolvConf(PathBuf),
    CacheSize(u64),
    TokenFile(PathBuf),
    ControlGroup(String),
}

/// The CA files among what a file relies on.
pub(super) fn ca_files(claims: &[Claim]) -> impl Iterator<Item = &Path> {
    claims.iter().filter_map(|claim| match &claim.what {
        Claimed::CaFile(path) => Some(&**path),
        _ => None,
    })
}

/// Looks whether the machine has what a file relies on.
pub(super) fn surroundings(claims: &[Claim]) -> Surroundings {
    let mut found = Surroundings::default();
    for Claim { origin, line, what } in claims {
        let problem = |message: String| Problem::new(origin, *line, message);
        match what {
            Claimed::CaFile(path) => {
                if let Err(error) = fs::File::open(path) {
                    let path = path.display();
                    found.errors.push(problem(format!(
                        "the CA file {path} cannot be read: {error}; without it this server is never asked"
                    )));
                }
            }
            Claimed::StoreFile(key, path) => {
                if let Err(error) = fs::File::open(path) {
                    let path = path.display();
                    found.errors.push(problem(format!(
                        "`{key}` names {path}, which cannot be read: {error}; without it etcd is never asked"
                    )));
                }
                let is_secret = ["key", "password_file"].contains(key);
                if is_secret && fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0) {
                    let path = path.display();
                    found.warnings.push(problem(format!("everybody can read {path}; do chmod o-r {path}")));
                }
            }
            Claimed::ResolvConf(path) => {
                if let Err(error) = fs::metadata(path) {
                    let path = path.display();
                    found.warnings.push(problem(format!(
                        "{path} cannot be read: {error}; until it is there nothing is forwarded by default"
                    )));
                }
            }
            Claimed::TokenFile(path) => {
                let shown = path.display();
                match fs::metadata(path) {
                    Err(error) => found.warnings.push(problem(format!(
                        "`token_file` names {shown}, which cannot be read: {error}; without it there is no page"
                    ))),
                    Ok(file) if file.permissions().mode() & 0o004 != 0 => {
                        found.warnings.push(problem(format!("everybody can read {shown}; do chmod o-r {shown}")));
                    }
                    Ok(_) => {}
                }
            }
            Claimed::ControlGroup(name) => {
                if !is_group(name) {
                    found.warnings.push(problem(format!(
                        "there is no group {name:?} on this machine, so there would be no control socket; do groupadd {name}"
                    )));
                }
            }
            Claimed::CacheSize(size) => {
                if let Some(memory) = memory().filter(|memory| size > memory) {
                    let (size, memory) = (size >> 20, memory >> 20);
                    found.warnings.push(problem(format!(
                        "the cache may take {size} MiB, and there are {memory} MiB of memory; write a smaller `size`"
                    )));
                }
            }
        }
    }
    found
}

/// True if the machine has a group of this name or number, or does not say.
#[cfg(feature = "control")]
fn is_group(name: &str) -> bool {
    name.parse::<u32>().is_ok() || !matches!(nix::unistd::Group::from_name(name), Ok(None))
}

#[cfg(not(feature = "control"))]
fn is_group(_: &str) -> bool {
    true
}

/// The memory of this machine, or less if our control group has less, octets.
fn memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let total = total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let directory = Path::new("/sys/fs/cgroup").join(own);
    let limits = directory.ancestors().filter_map(|group| fs::read_to_string(group.join("memory.max")).ok());
    limits.filter_map(|limit| limit.trim().parse().ok()).chain([total]).min()
}

/// The kinds of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// callsign.toml.
    Own,
    /// The file beside Podman.
    Podman,
}

/// Every server that is asked, and its line.
pub(super) type Servers = Vec<(Upstream, usize)>;

/// Looks at an endpoint.
pub(super) fn endpoint(section: &Section<'_>, servers: &mut Servers) {
    for name in texts(section.raw(), "names") {
        spaces(section, &name);
        wildcard(section, &name);
    }
    add_servers(section, section.raw(), "upstreams", servers);
}

/// Looks at a whole file but for its endpoints, whose servers are given. These are its networks. `port` is that of listen addresses that have none, `cache_size` the
/// cache's in octets.
pub(super) fn file(
    root: &Section<'_>,
    kind: Kind,
    port: u16,
    cache_size: usize,
    servers: Servers,
    networks: &[Network],
) -> Vec<Claim> {
    let mut lint = Lint { root, kind, port, servers, listeners: HashMap::new(), subnets: Vec::new() };
    let built: HashMap<&str, &Network> = networks.iter().map(|network| (network.name(), network)).collect();
    for (table, _) in tables(root.raw(), "network") {
        lint.network(table, text(table, "name").and_then(|name| built.get(name.get_ref()).copied()));
    }
    if let Some(DeValue::Table(server)) = root.raw().get("server").map(Spanned::get_ref) {
        add_servers(root, server, "upstreams", &mut lint.servers);
    }
    if let Some(DeValue::Table(host)) = root.raw().get("host").map(Spanned::get_ref) {
        lint.listeners(host, "host view");
        text(host, "domain").inspect(|domain| lint.domain(domain));
    }
    for (table, _) in tables(root.raw(), "forward") {
        add_servers(root, table, "to", &mut lint.servers);
    }
    lint.own_listeners();
    lint.overlaps();
    let mut claims = lint.claims(cache_size);
    claims.extend(store::lint(root, kind));
    claims
}

struct Lint<'s, 't> {
    root: &'s Section<'t>,
    kind: Kind,
    port: u16,
    servers: Servers,
    /// Who listens at an address, and where that is said.
    listeners: HashMap<(IpAddr, u16), (String, usize)>,
    /// Every subnet, with its network.
    subnets: Vec<(Spanned<IpNet>, &'t str)>,
}

impl<'t> Lint<'_, 't> {
    fn network(&mut self, table: &'t DeTable<'t>, built: Option<&Network>) {
        let name = text(table, "name");
        let is_network = self.kind == Kind::Own && !is_addition(table);
        if let Some(name) = name.as_ref().filter(|name| is_network && *name.get_ref() == ANY) {
            let message = "`*` stands for every network of an engine; write this network's own name";
            self.root.problem(&name.span(), message);
        }
        let name = name.map_or("", Spanned::into_inner);
        self.listeners(table, name);
        for domain in texts(table, "domains") {
            self.domain(&domain);
        }
        for subnet in texts(table, "subnets") {
            if let Ok(net) = subnet.get_ref().parse::<IpNet>() {
                self.subnets.push((Spanned::new(subnet.span(), net.trunc()), name));
            }
        }
        add_servers(self.root, table, "upstreams", &mut self.servers);
        for (record, _) in tables(table, "record") {
            if let Some(name) = text(record, "name") {
                wildcard(self.root, &name);
            }
        }
        self.aliases(&aliases_of(table), built);
    }

    fn listeners(&mut self, table: &'t DeTable<'t>, network: &str) {
        for listen in texts(table, "listen").chain(text(table, "listen")) {
            let Ok(address) = listen.get_ref().parse::<Address>() else { continue };
            if matches!(address.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local()) && address.zone().is_none() {
                let ip = address.ip();
                let message = format!("{ip} is on every interface; write the one that is meant, as in [{ip}%eth0]:53");
                self.root.problem(&listen.span(), message);
            }
            let whole = (address.ip().to_canonical(), address.port().unwrap_or(self.port));
            self.listeners.entry(whole).or_insert_with(|| (network.to_owned(), self.root.line(&listen.span())));
        }
    }

    fn domain(&self, domain: &Spanned<&str>) {
        spaces(self.root, domain);
        wildcard(self.root, domain);
        let text = domain.get_ref().trim_end_matches('.').to_ascii_lowercase();
        let message = if text == "local" {
            "`local` belongs to multicast DNS (RFC 6762), and many resolvers never ask a server for it; write internal"
                .to_owned()
        } else if tlds::is_public(&text) {
            format!(
                "`{text}` is a public top-level domain, and of all names below it only those of this network would exist; \
                 write internal, or a domain of your own"
            )
        } else {
            return;
        };
        self.root.warning(&domain.span(), message);
    }

    fn aliases(&self, aliases: &[(String, Spanned<&str>)], built: Option<&Network>) {
        let mut reported: HashSet<Name> = HashSet::new();
        for (written, target) in aliases {
            spaces(self.root, &Spanned::new(target.span(), written));
            wildcard(self.root, &Spanned::new(target.span(), written));
            let (at, target) = (target.span(), target.get_ref());
            if let Ok(address) = target.trim_end_matches('.').parse::<IpAddr>() {
                let message = format!(
                    "alias \"{written}\": {address} is an address, and an alias leads to a name; write an endpoint with \
                     addresses = [\"{address}\"]"
                );
                self.root.problem(&at, message);
                continue;
            }
            let (Some(network), Ok(name)) = (built, written.parse::<Name>()) else { continue };
            if self.kind == Kind::Own {
                self.hidden(written, &name, network, &at);
            }
            self.circle(&name, network, &at, &mut reported);
        }
    }

    /// An alias that an endpoint's name hides (answers.md N9).
    fn hidden(&self, written: &str, name: &Name, network: &Network, at: &Range<usize>) {
        let snapshot = network.snapshot();
        let Some(Found::Name { entry, .. }) = snapshot.find(name.as_wire()) else { return };
        if let Some(endpoint) = entry.endpoints().next().filter(|_| entry.name() == name) {
            let id = endpoint.id();
            let message =
                format!("alias \"{written}\" is never used, as endpoint {id:?} has that name; leave one of them out");
            self.root.warning(at, message);
        }
    }

    /// Aliases that lead to each other without end, found as answers are found.
    fn circle(&self, name: &Name, network: &Network, at: &Range<usize>, reported: &mut HashSet<Name>) {
        let snapshot = network.snapshot();
        let mut way = vec![name.clone()];
        while let Some(Found::Name { entry, .. }) = snapshot.find(way[way.len() - 1].as_wire())
            && let Some((target, _)) = entry.alias()
        {
            let is_circle = way.contains(target);
            way.push(target.clone());
            if way.iter().any(|name| reported.contains(name)) {
                return;
            }
            if is_circle || way.len() > MAX_ALIASES + 1 {
                // What leads into the circle is not in it.
                let start = way.iter().position(|name| is_circle && *name == way[way.len() - 1]).unwrap_or(0);
                let names: Vec<String> = way[start..].iter().map(Name::to_string).collect();
                let names = names.join(" -> ");
                self.root.problem(
                    at,
                    match is_circle {
                        true => format!("aliases lead in a circle: {names}; let one of them lead to a name elsewhere"),
                        false => {
                            format!("more than {MAX_ALIASES} aliases in a row: {names}; write the last name at once")
                        }
                    },
                );
                reported.extend(way);
                return;
            }
        }
    }

    /// Servers that are listen addresses of this file (answers.md F4).
    fn own_listeners(&self) {
        for (server, at) in &self.servers {
            let address = server.address();
            let port = address.port().unwrap_or(server.transport().port());
            if let Some((network, line)) = self.listeners.get(&(address.reached(), port)) {
                let message = format!(
                    "{} is where network {network:?} listens (line {line}), and callsign never asks itself; write another server",
                    server
                );
                self.root.warning_in(*at, message);
            }
        }
    }

    /// Subnets of different networks that have addresses in common. Prefixes nest or are apart: in the order of their first
    /// addresses, wider before narrower, those that contain the next one are a stack.
    fn overlaps(&mut self) {
        self.subnets.sort_by_key(|(subnet, _)| {
            (subnet.get_ref().network(), subnet.get_ref().prefix_len(), subnet.span().start)
        });
        let mut around: Vec<&(Spanned<IpNet>, &str)> = Vec::new();
        for entry in &self.subnets {
            let (subnet, network) = entry;
            around.retain(|(outer, _)| outer.get_ref().contains(subnet.get_ref()));
            if let Some((other, of)) = around.iter().rev().find(|(_, other)| other != network) {
                let (first, second) =
                    if subnet.span().start > other.span().start { (other, subnet) } else { (subnet, other) };
                let of = if std::ptr::eq(first, other) { of } else { network };
                let message = format!(
                    "{} overlaps {} of network {of:?} (line {}); give each network subnets of its own",
                    second.get_ref(),
                    first.get_ref(),
                    self.root.line(&first.span())
                );
                self.root.warning(&second.span(), message);
            }
            around.push(entry);
        }
    }

    fn claims(&self, cache_size: usize) -> Vec<Claim> {
        let claim = |line, what| Claim { origin: self.root.origin().to_owned(), line, what };
        let ca_file =
            |(server, line): &(Upstream, usize)| Some(claim(*line, Claimed::CaFile(server.ca_file()?.to_owned())));
        let mut claims: Vec<Claim> = self.servers.iter().filter_map(ca_file).collect();
        let table = |key: &str| self.root.raw().get(key).and_then(|value| value.get_ref().as_table());
        if let Some(path) = table("server").and_then(|server| text(server, "resolv_conf")) {
            claims.push(claim(self.root.line(&path.span()), Claimed::ResolvConf(path.get_ref().into())));
        }
        if let Some(path) = table("metrics").and_then(|metrics| text(metrics, "token_file")) {
            claims.push(claim(self.root.line(&path.span()), Claimed::TokenFile(path.get_ref().into())));
        }
        if let Some(group) = table("control").and_then(|control| text(control, "control_group")) {
            claims.push(claim(self.root.line(&group.span()), Claimed::ControlGroup((*group.get_ref()).to_owned())));
        }
        if let Some(size) = table("cache").and_then(|cache| cache.get("size")) {
            claims.push(claim(self.root.line(&size.span()), Claimed::CacheSize(cache_size as u64)));
        }
        claims
    }
}

fn spaces(section: &Section<'_>, name: &Spanned<&str>) {
    let text = name.get_ref();
    if text.contains(char::is_whitespace) {
        let message = format!(
            "{text:?} has a space in it, and programs do not ask for such names; write one name a string, without spaces"
        );
        section.warning(&name.span(), message);
    }
}

fn wildcard(section: &Section<'_>, name: &Spanned<&str>) {
    let text = name.get_ref();
    let rest = text.strip_prefix("*.").unwrap_or(text);
    // `*` alone has an error of its own.
    if *text != ANY && rest.contains('*') {
        let message =
            format!("{text:?}: `*` stands for any name only as the whole first label; write it so, as in *.apps");
        section.problem(&name.span(), message);
    }
}

fn add_servers(section: &Section<'_>, table: &DeTable<'_>, key: &str, servers: &mut Servers) {
    for server in texts(table, key) {
        // What is none was told where it was read.
        servers.extend(server.get_ref().parse().ok().map(|upstream| (upstream, section.line(&server.span()))));
    }
}

/// Each alias with its target: of `[network.aliases]`, where `db.prod` is a table in a table, and of records.
fn aliases_of<'t>(network: &'t DeTable<'t>) -> Vec<(String, Spanned<&'t str>)> {
    fn visit<'t>(table: &'t DeTable<'t>, front: &str, found: &mut Vec<(String, Spanned<&'t str>)>) {
        for (key, value) in table {
            let name = format!("{front}{}", key.get_ref());
            match value.get_ref() {
                DeValue::String(target) => found.push((name, Spanned::new(value.span(), target))),
                // Longer than any name.
                DeValue::Table(table) if name.len() < 1024 => visit(table, &format!("{name}."), found),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    if let Some(DeValue::Table(table)) = network.get("aliases").map(Spanned::get_ref) {
        visit(table, "", &mut found);
    }
    for (record, _) in tables(network, "record") {
        let is_alias = text(record, "type").is_some_and(|text| text.get_ref().eq_ignore_ascii_case("CNAME"));
        if let (true, Some(name), Some(value)) = (is_alias, text(record, "name"), text(record, "value")) {
            found.push((name.into_inner().to_owned(), value));
        }
    }
    found
}

pub(super) fn tables<'t>(table: &'t DeTable<'t>, key: &str) -> impl Iterator<Item = (&'t DeTable<'t>, Range<usize>)> {
    let array = table.get(key).and_then(|value| value.get_ref().as_array());
    let items = array.into_iter().flat_map(|array| array.iter());
    items.filter_map(|item| Some((item.get_ref().as_table()?, item.span())))
}

pub(super) fn texts<'t>(table: &'t DeTable<'t>, key: &str) -> impl Iterator<Item = Spanned<&'t str>> {
    let array = table.get(key).and_then(|value| value.get_ref().as_array());
    let items = array.into_iter().flat_map(|array| array.iter());
    items.filter_map(|item| Some(Spanned::new(item.span(), item.get_ref().as_str()?)))
}

pub(super) fn text<'t>(table: &'t DeTable<'t>, key: &str) -> Option<Spanned<&'t str>> {
    let value = table.get(key)?;
    Some(Spanned::new(value.span(), value.get_ref().as_str()?))
}
