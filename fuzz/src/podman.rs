//! The files of Podman's directory: whatever they say, what is in the table is what a plain reading of them gives, no matter
//! what they said before.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use callsign::source::podman::{Directory, Reading};
use callsign::table::{Endpoint, NameTable, Snapshot};
use callsign::wire::Name;

/// Stands between what the file says first and what it says later.
const LATER: &[u8] = b"\n---\n";

/// A network as its file has it: see [`network_of`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plain {
    /// Where to listen; the network's upstreams.
    pub header: (Vec<String>, Vec<String>),
    /// By id.
    pub containers: BTreeMap<String, PlainContainer>,
}

/// A container as its lines have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlainContainer {
    /// Each once, in the order of the file, as all the others.
    pub addresses: Vec<IpAddr>,
    /// Its names.
    pub names: Vec<Name>,
    /// Its own upstreams.
    pub upstreams: Vec<String>,
}

/// Takes the input as a file, or as what it says first and later. An octet in front tells when the network is internal, and
/// how often the files are read.
pub fn run(input: &[u8]) {
    let Some((&bits, content)) = input.split_first() else { return };
    SCRATCH.with(|scratch| check(scratch.path(), bits, content));
}

thread_local! {
    static SCRATCH: Scratch = Scratch::new();
}

/// The directory of a thread: made once, as that takes longer than what is done in it. In memory, where there is a file
/// system for that.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let path = base.join(format!("callsign-podman-{}-{:?}", std::process::id(), std::thread::current().id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    /// The directory, which is empty.
    fn path(&self) -> &Path {
        // What an input that failed has left.
        fs::read_dir(&self.0).unwrap().for_each(|file| fs::remove_file(file.unwrap().path()).unwrap());
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn check(path: &Path, bits: u8, content: &[u8]) {
    let at = content.windows(LATER.len()).position(|window| window == LATER);
    let (first, later) = at.map_or((None, content), |at| (Some(&content[..=at]), &content[at + LATER.len()..]));
    let file = |bit: u8| path.join(if bits & bit > 0 { "net%int" } else { "net" });

    let table = NameTable::new();
    // Mostly so that few readings find nothing new; now and then at each of the times at which something is believed.
    let step = Duration::from_millis(if bits & 12 == 12 { 20 } else { 260 });
    let mut follower = Follower::new(path, step);
    let mut before = None;
    if let Some(first) = first {
        fs::write(file(1), first).unwrap();
        follower.settle(&table);
        before = network_of(first, bits & 1 > 0);
        assert_eq!(in_table(&table), before);
        fs::rename(file(1), file(2)).unwrap();
    }
    fs::write(file(2), later).unwrap();
    let mut after = network_of(later, bits & 2 > 0);
    follower.read(&table);
    if let (Some(before), Some(after)) = (&before, &after) {
        nothing_of_both_is_missing(&table, before, after);
    }
    follower.settle(&table);
    let anew = NameTable::new();
    Follower::new(path, step).settle(&anew);

    assert_eq!(in_table(&anew), after);
    if let (Some(before), Some(after)) = (before, &mut after)
        && after.header.0.is_empty()
    {
        // The last first line that was good stays in force.
        after.header = before.header;
        if bits & 2 > 0 {
            after.header.1.clear();
        } else {
            // Which upstreams it has depends on what it was before.
            after.header.1 = in_table(&table).unwrap().header.1;
        }
    }
    assert_eq!(in_table(&table), after);
}

/// A directory with a clock that it goes by.
struct Follower {
    directory: Directory,
    time: Duration,
    /// The shortest time between two readings.
    step: Duration,
}

impl Follower {
    fn new(path: &Path, step: Duration) -> Follower {
        let mut directory = Directory::new(path);
        directory.set_clock(Duration::ZERO);
        Follower { directory, time: Duration::ZERO, step }
    }

    fn read(&mut self, table: &NameTable) -> Option<Duration> {
        let Reading { networks, removed, again, .. } = self.directory.read(table);
        removed.iter().for_each(|name| table.remove(name).unwrap());
        for network in networks {
            match table.network(network.name()) {
                Some(present) => drop(present.replace_with(&network).unwrap()),
                None => drop(table.add(network).unwrap()),
            }
        }
        again
    }

    fn settle(&mut self, table: &NameTable) {
        while let Some(again) = self.read(table) {
            assert!(self.time < Duration::from_secs(10), "it ends at some time");
            // Whoever is late finds the same in the end.
            self.time += again.max(self.step);
            self.directory.set_clock(self.time);
        }
        let revision = table.network("net").map(|network| network.snapshot().revision());
        assert_eq!(self.read(table), None);
        assert_eq!(table.network("net").map(|network| network.snapshot().revision()), revision, "nothing has changed");
    }
}

fn nothing_of_both_is_missing(table: &NameTable, before: &Plain, after: &Plain) {
    let now = in_table(table).unwrap();
    for (id, container) in &before.containers {
        let Some(later) = after.containers.get(id) else { continue };
        let kept = now.containers.get(id).unwrap_or_else(|| panic!("{id} is missing"));
        for name in container.names.iter().filter(|name| later.names.contains(name)) {
            assert!(kept.names.contains(name), "{name} of {id} is missing");
        }
    }
}

/// What the table has.
fn in_table(table: &NameTable) -> Option<Plain> {
    Some(plain(&table.network("net")?.snapshot()))
}

/// A network of a table in the same form as a file's.
pub fn plain(snapshot: &Snapshot) -> Plain {
    let settings = snapshot.settings();
    let in_words = |endpoint: &Endpoint| PlainContainer {
        addresses: endpoint.addresses().to_vec(),
        names: endpoint.names().to_vec(),
        upstreams: endpoint.upstreams().iter().map(ToString::to_string).collect(),
    };
    Plain {
        header: (
            settings.listen.iter().map(ToString::to_string).collect(),
            settings.upstreams.iter().map(ToString::to_string).collect(),
        ),
        containers: snapshot.endpoints().map(|endpoint| (endpoint.id().to_owned(), in_words(endpoint))).collect(),
    }
}

/// Reads a file by the plainest means. `None` if it has no line: then it is no network.
pub fn network_of(content: &[u8], is_internal: bool) -> Option<Plain> {
    let lines = content.split(|&octet| octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut lines = lines.filter(|line| !line.is_empty());
    let mut network = Plain::default();
    let mut header = lines.next()?.split(|&octet| octet == b' ');
    add(&mut network.header.0, column(header.next()).filter_map(|item| Some(with_zone(address(item)?))));
    let upstreams = |column_of_them| column(column_of_them).filter_map(|item| Some(server(address(item)?)));
    if !is_internal {
        add(&mut network.header.1, upstreams(header.next()));
    }
    for line in lines {
        let columns: Vec<&[u8]> = line.split(|&octet| octet == b' ').collect();
        let (Ok(id), [_, v4, v6, names, rest @ ..]) = (std::str::from_utf8(columns[0]), &columns[..]) else { continue };
        if id.is_empty() {
            continue;
        }
        let container = network.containers.entry(id.to_ascii_lowercase()).or_default();
        let hosts = column(Some(v4)).chain(column(Some(v6))).filter_map(|item| Some(address(item)?.0));
        add(&mut container.addresses, hosts.filter(|ip| !is_nobody(ip)));
        for item in column(Some(names)).filter_map(|item| std::str::from_utf8(item).ok()) {
            let Ok(name) = item.parse::<Name>() else { continue };
            let in_a_labels = if item.is_ascii() { Ok(None) } else { name.a_labels() };
            let names: Vec<Name> = in_a_labels.into_iter().flatten().chain([name]).collect();
            let is_one = |name: &Name| !matches!(name.to_string().as_str(), "." | "*");
            // One that cannot be spelled in A-labels is no name.
            if (item.is_ascii() || names.len() == 2) && names.iter().all(is_one) {
                add(&mut container.names, names.into_iter());
            }
        }
        if !is_internal {
            add(&mut container.upstreams, upstreams(rest.first().copied()));
        }
    }
    Some(network)
}

fn add<T: PartialEq>(to: &mut Vec<T>, items: impl Iterator<Item = T>) {
    for item in items {
        if !to.contains(&item) {
            to.push(item);
        }
    }
}

fn column(column: Option<&[u8]>) -> impl Iterator<Item = &[u8]> {
    column.unwrap_or_default().split(|&octet| octet == b',').filter(|item| !item.is_empty())
}

/// An address and its zone.
fn address(item: &[u8]) -> Option<(IpAddr, Option<&str>)> {
    let text = std::str::from_utf8(item).ok()?;
    match text.split_once('%') {
        None => Some((text.parse().ok()?, None)),
        Some((ip, zone)) => {
            let is_zone =
                !zone.is_empty() && zone.chars().all(|char| char.is_ascii_alphanumeric() || "._-".contains(char));
            Some((ip.parse::<Ipv6Addr>().ok()?.into(), Some(zone).filter(|_| is_zone)?.into()))
        }
    }
}

fn with_zone((ip, zone): (IpAddr, Option<&str>)) -> String {
    zone.map_or(ip.to_string(), |zone| format!("{ip}%{zone}"))
}

fn server(address: (IpAddr, Option<&str>)) -> String {
    if address.0.is_ipv4() { format!("{}:53", with_zone(address)) } else { format!("[{}]:53", with_zone(address)) }
}

/// True for what stands for no single host.
fn is_nobody(ip: &IpAddr) -> bool {
    ip.is_unspecified() || ip.is_multicast() || *ip == IpAddr::from([255, 255, 255, 255])
}
