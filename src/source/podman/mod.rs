//! Podman's directory: the networks and containers that netavark writes down for the DNS server, one file a network.
//!
//! [`Directory::read`] brings a table in line with the files; call it at every signal. A file that did not change costs one
//! `stat`. A changed one is read in pieces and compared line by line with what is known of it, and what differs becomes one
//! change of its network: queries see all of it or nothing. Of a file nothing is kept but a fingerprint of each container's lines.
//!
//! # What is read
//!
//! Every regular file but `aardvark.pid` is a network. Its name is the file's, less the suffix `%int`, which marks it internal.
//! If there is `x` as well as `x%int`, both count and the network is internal.
//!
//! ```text
//! 10.89.0.1,fd00::1 9.9.9.9                       where to listen; the network's own upstreams, if any
//! 68fb291b0318… 10.89.0.2 fd00::2 db,68fb291b0318 id, IPv4 and IPv6 addresses, names
//! 95655fb6832b… 10.89.0.3  web 8.8.8.8            no IPv6 address; upstreams of its own
//! ```
//!
//! A mistake is logged and costs no more than itself: an address or a name, a line. A first line that names no address to
//! listen on leaves the one before it in force. A file that cannot be read leaves its network as it is.
//!
//! # Files that are being written
//!
//! netavark adds a container with a single write to the end of the file. It deletes one by emptying the file and writing all
//! the others again, two writes a line, with no lock: whoever reads in between sees some first part of it. Therefore:
//!
//! - What a file adds is in the table when [`Directory::read`] returns: a container, or a name, an address or an upstream of
//!   one. A line counts when its `\n` is there.
//! - What cannot be beside it is gone at once: the old addresses of a container that has other ones only, and a missing
//!   container whose own name (the first one of its line) or whose address another one has now.
//! - All else that a file no longer has, or has differently, is taken out or changed when the file ends with a line end and
//!   nobody has written to it for 25 ms. Where it is written to all the time, when every reading for 25 ms has missed it and
//!   has seen as well what the file ended with before, or something new behind that: what is rewritten keeps its order.
//! - A file that ends within a line, or that is empty, is finished when nobody has written to it for 250 ms. Then its last line
//!   counts, and an empty file is no network.
//! - [`DirectoryReading::again`] says when to read again while any of this is waited for. What every reading for 2 s has found gone or
//!   different is taken out or changed in any case.
//! - A file that is gone is gone at once, and with the directory all of them.
//!
//! So a name that is in the file before and after it is rewritten is there for every query in between, unless the writer
//! pauses for 25 ms between two lines or for 250 ms within one, or needs more than 2 s in all; or it is in a later line of a
//! container whose first ones have other addresses only than were known, which netavark does not write.
//!
//! ```
//! use callsign::source::podman::Directory;
//! use callsign::table::NameTable;
//!
//! # let path = std::env::temp_dir().join(format!("callsign-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&path)?;
//! std::fs::write(path.join("podman"), "10.88.0.1\n68fb291b0318 10.88.0.2  db,database\n")?;
//!
//! let table = NameTable::new();
//! let mut directory = Directory::new(&path);
//! // A server would be given these with `Server::update`.
//! for network in directory.read(&table).networks {
//!     table.add(network)?;
//! }
//! let podman = table.network("podman").unwrap();
//! assert_eq!(podman.snapshot().endpoint("68fb291b0318").unwrap().names()[1].to_string(), "database");
//! # std::fs::remove_dir_all(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod file_diff;
mod file_stamp;
mod fingerprints;
mod format;
mod lines;
mod network;
mod pending_removals;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirEntry, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::table::{Clients, Merge, NameTable, Network, NetworkBuilder, ReverseNames, TableError};
use crate::wire::Name;

use file_stamp::FileStamp;
use fingerprints::Fingerprinter;
use network::{Clock, FoundFile, Place, ScanOutcome, Watched};
pub use watch::{DirectoryWatchError, DirectoryWatcher};

/// The file of the directory that is no network: whom netavark sends its signals to.
pub const PID_FILE: &str = "aardvark.pid";
/// What the name of an internal network's file ends in.
const INTERNAL: &str = "%int";
/// The domain of all networks unless another one is given.
pub const DOMAIN: &str = "dns.podman";

/// A directory that netavark writes to, and what was read of it. See the [module](self).
pub struct Directory {
    path: PathBuf,
    domain: Option<Name>,
    template: Box<Template>,
    /// True if the settings of all networks are to be made anew.
    is_renewed: bool,
    fingerprinter: Fingerprinter,
    networks: BTreeMap<String, Watched>,
    /// What this reading has logged of which file, and what the one before it had: that is not logged again.
    reported: BTreeMap<String, String>,
    reported_before: BTreeMap<String, String>,
    started: Instant,
    /// For tests: what the time is instead, since then.
    set: Option<Duration>,
}

/// Has the last word on a network's settings.
type Template = dyn Fn(&str, NetworkBuilder) -> NetworkBuilder + Send;

/// What a reading of the directory found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct DirectoryReading {
    /// Networks that are new, or whose settings changed, whole: for `Server::update`. Apply them before the next reading; one
    /// that is not in the table then is given again.
    pub networks: Vec<Network>,
    /// Names of networks that are gone: for `Server::update`.
    pub removed: Vec<String>,
    /// Names of networks of which only endpoints changed. These changes are in the table already.
    pub changed: Vec<String>,
    /// Read again after so long, signal or not: a file seems to be half written.
    pub again: Option<Duration>,
    /// How many networks there are that listen somewhere, with those that are about to be written.
    pub left: usize,
    /// Why the directory could not be read, if it could not: all is as it was then. That there is none is no error: it has no
    /// networks.
    pub error: Option<io::Error>,
}

impl Directory {
    /// A directory, of which nothing was read yet.
    pub fn new(path: impl Into<PathBuf>) -> Directory {
        Directory {
            path: path.into(),
            domain: DOMAIN.parse().ok(),
            template: Box::new(|_, network| network),
            is_renewed: false,
            fingerprinter: Fingerprinter::default(),
            networks: BTreeMap::new(),
            reported: BTreeMap::new(),
            reported_before: BTreeMap::new(),
            started: Instant::now(),
            set: None,
        }
    }

    /// Sets the domain of all networks, with or without a leading dot. Default: `.dns.podman`; an empty one means none.
    /// One that is not a domain name is logged, and also means none.
    #[must_use]
    pub fn filter_domain(mut self, domain: &str) -> Directory {
        let text = domain.strip_prefix('.').unwrap_or(domain);
        let parsed: Result<Name, _> = text.parse();
        self.domain = match parsed {
            Ok(name) => Some(name).filter(|name| !name.is_root()),
            Err(_) if text.is_empty() => None,
            Err(error) => {
                tracing::warn!(%error, "the search domain {domain:?} is no domain name; networks have no domain");
                None
            }
        };
        self
    }

    /// Sets who has the last word on each network's settings: it gets the network's name, and what the file says of it.
    #[must_use]
    pub fn template(mut self, template: impl Fn(&str, NetworkBuilder) -> NetworkBuilder + Send + 'static) -> Directory {
        self.set_template(template);
        self
    }

    /// Sets who has the last word on each network's settings from the next reading on.
    pub fn set_template(&mut self, template: impl Fn(&str, NetworkBuilder) -> NetworkBuilder + Send + 'static) {
        self.template = Box::new(template);
        self.is_renewed = true;
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what has changed since the last reading, applies to `table` what is a change of endpoints only, and gives the
    /// rest. Never fails as a whole: what cannot be read is logged, and stays as it is.
    pub fn read(&mut self, table: &NameTable) -> DirectoryReading {
        let mut reading = DirectoryReading::default();
        self.reported_before = std::mem::take(&mut self.reported);
        match self.list() {
            Ok(found) => self.read_all(table, found, &mut reading),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.tell("", "is gone, and all networks with it".to_owned());
                self.read_all(table, BTreeMap::new(), &mut reading);
            }
            Err(error) => {
                self.tell("", format!("cannot be read, and stays as it was: {error}"));
                reading.error = Some(error);
            }
        }
        let clock = self.clock();
        reading.left = self.networks.values().filter(|watched| watched.is_served()).count();
        reading.again = self.networks.values().filter_map(|watched| watched.again(clock)).min();
        reading
    }

    /// Stops the clock that waiting goes by at this time since the start. For tests.
    #[doc(hidden)]
    pub fn set_clock(&mut self, time: Duration) {
        self.set = Some(time);
    }

    fn clock(&self) -> Clock {
        match self.set {
            Some(time) => Clock { now: self.started + time, wall: None },
            None => Clock { now: Instant::now(), wall: Some(SystemTime::now()) },
        }
    }

    fn read_all(
        &mut self,
        table: &NameTable,
        mut found: BTreeMap<String, Vec<FoundFile>>,
        reading: &mut DirectoryReading,
    ) {
        let is_renewed = std::mem::take(&mut self.is_renewed);
        let mut gone: Vec<String> = self.networks.keys().filter(|name| !found.contains_key(*name)).cloned().collect();
        gone.retain(|name| {
            // It may have been renamed while the directory was read, and so be missing from the list under both names.
            let files = find(&self.path, name);
            let is_gone = files.is_empty();
            if !is_gone {
                found.insert(name.clone(), files);
            }
            is_gone
        });
        // What cannot be looked at stays.
        found.retain(|_, files| !files.is_empty());
        for (name, files) in found {
            match self.look(table, &name, files, is_renewed) {
                Ok(ScanOutcome::Same) => {}
                Ok(ScanOutcome::Changed) => reading.changed.push(name),
                Ok(ScanOutcome::New(network)) => reading.networks.push(*network),
                Ok(ScanOutcome::Gone) => reading.removed.push(name),
                Err(error) if error.kind() == ErrorKind::NotFound => gone.push(name),
                Err(error) => self.tell(&name, format!("cannot be read, and its network stays as it was: {error}")),
            }
        }
        for name in gone {
            if self.networks.remove(&name).is_some_and(|watched| watched.is_given()) {
                reading.removed.push(name);
            }
        }
    }

    fn look(
        &mut self,
        table: &NameTable,
        name: &str,
        files: Vec<FoundFile>,
        is_renewed: bool,
    ) -> io::Result<ScanOutcome> {
        let clock = self.clock();
        let (domain, template) = (&self.domain, &self.template);
        let finish = |name: &str, network: NetworkBuilder| finish(name, network, domain.as_ref(), template);
        let place = Place { directory: &self.path, fingerprinter: &self.fingerprinter, table, finish: &finish, clock };
        let watched = self.networks.entry(name.to_owned()).or_insert_with(|| Watched::new(clock.now));
        match watched.look(&place, name, files, is_renewed) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Deleted since the directory was read, or renamed.
                let files = find(&self.path, name);
                if files.is_empty() { Err(error) } else { watched.look(&place, name, files, is_renewed) }
            }
            looked => looked,
        }
    }

    /// The files of all networks.
    fn list(&mut self) -> io::Result<BTreeMap<String, Vec<FoundFile>>> {
        let mut networks: BTreeMap<String, Vec<FoundFile>> = BTreeMap::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let file = entry.file_name();
            if file == PID_FILE {
                continue;
            }
            let metadata = match metadata(&entry) {
                Ok(metadata) if metadata.is_file() => Ok(metadata),
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                // Gone by now, or not for us: as if it were not there.
                _ => continue,
            };
            let Some((file, name)) = file.to_str().and_then(|file| Some((file, FoundFile::network_of(file)?))) else {
                self.tell(&file.to_string_lossy(), "is no name of a network, and is left out".to_owned());
                continue;
            };
            let files = networks.entry(name.to_owned()).or_default();
            match metadata {
                Ok(metadata) => files.push(FoundFile::new(file.to_owned(), &metadata)),
                Err(error) => self.tell(name, format!("cannot be looked at, and stays as it was: {error}")),
            }
        }
        for files in networks.values_mut() {
            files.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(networks)
    }

    /// Logs what is wrong with a file, once as long as nothing else is.
    fn tell(&mut self, file: &str, what: String) {
        if self.reported_before.get(file) != Some(&what) {
            tracing::warn!("{}: {what}", self.path.join(file).display());
        }
        self.reported.insert(file.to_owned(), what);
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("path", &self.path).field("domain", &self.domain).finish_non_exhaustive()
    }
}

impl FoundFile {
    fn new(name: String, metadata: &Metadata) -> FoundFile {
        FoundFile { is_internal: name.ends_with(INTERNAL), name, stamp: FileStamp::of(metadata) }
    }

    /// The network that a file is of.
    fn network_of(file: &str) -> Option<&str> {
        Some(file.strip_suffix(INTERNAL).unwrap_or(file)).filter(|name| !name.is_empty())
    }
}

/// The files of one network.
fn find(directory: &Path, name: &str) -> Vec<FoundFile> {
    let files = [name.to_owned(), format!("{name}{INTERNAL}")].into_iter().filter(|file| file != PID_FILE);
    let found = files.filter_map(|file| {
        let metadata = fs::metadata(directory.join(&file)).ok().filter(Metadata::is_file)?;
        Some(FoundFile::new(file, &metadata))
    });
    found.collect()
}

/// Of the file that a link leads to, too. One system call for what is no link.
fn metadata(entry: &DirEntry) -> io::Result<Metadata> {
    let metadata = entry.metadata()?;
    if metadata.is_symlink() { fs::metadata(entry.path()) } else { Ok(metadata) }
}

/// Podman's answers, as settings of one of its networks: what holds where nobody says otherwise, but for its domain.
pub fn defaults(network: NetworkBuilder) -> NetworkBuilder {
    network.clients(Clients::Table).merge(Merge::All).reverse_names(ReverseNames::All).ttl(0)
}

/// The settings of a network, of which `network` is what its file says.
fn finish(
    name: &str,
    network: NetworkBuilder,
    domain: Option<&Name>,
    template: &Template,
) -> Result<Network, TableError> {
    let network = domain.into_iter().fold(defaults(network), |network, domain| network.domain(&domain.to_string()));
    template(name, network.clone()).build().or_else(|error| {
        tracing::error!(network = name, %error, "what is configured for this network is left out");
        network.build()
    })
}
