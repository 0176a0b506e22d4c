//! The host's /etc/hosts, whose names can be answered to containers (answers.md N13).
//!
//! A file that changes is looked at, not watched, as the host's resolv.conf is: a look is one `stat`, and what is mounted over a
//! file gives no event.
//!
//! ```
//! use callsign::source::hosts::HostsFile;
//!
//! # let path = std::env::temp_dir().join(format!("callsign-hosts-{}", std::process::id()));
//! std::fs::write(&path, "127.0.0.1 localhost\n192.0.2.7 nas.example nas  # in the cellar\n")?;
//! let mut hosts = HostsFile::new(&path);
//! assert!(hosts.look());
//! let names = hosts.names().expect("the file was read");
//! assert!(names.names().any(|entry| entry.name().to_string() == "nas"));
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), std::io::Error>(())
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::source::file;
use crate::table::{Endpoint, Network, Snapshot, TableError, relative_names};

/// The longest file, octets, and the names of it that count: lists of names to block have some 200,000 lines, and no addresses
/// that count.
const MAX_SIZE: u64 = 16 << 20;
const MAX_NAMES: usize = 100_000;
/// The names of one address that count.
const MAX_NAMES_OF_ONE: usize = 1_000;
/// Mistakes that are told of one reading.
const MAX_TOLD: usize = 10;
/// A file that was changed less than this before it was read may change again and have the same stamp.
const SETTLED: Duration = Duration::from_secs(1);

/// A file in the format of hosts(5), and what was read of it. See the [module](self).
#[derive(Debug)]
pub struct HostsFile {
    path: PathBuf,
    /// Of the last reading, if it will tell the next change.
    stamp: Option<Stamp>,
    content: Option<Vec<u8>>,
    names: Option<Arc<Snapshot>>,
    /// What was told of the file, and is still so.
    told: BTreeSet<String>,
}

/// What differs when the file was replaced or written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
}

impl HostsFile {
    /// A file, of which nothing was read yet.
    pub fn new(path: impl Into<PathBuf>) -> HostsFile {
        HostsFile { path: path.into(), stamp: None, content: None, names: None, told: BTreeSet::new() }
    }

    /// The names, for [`Server::set_hosts`](https://docs.rs/callsign/latest/callsign/server/struct.Server.html#method.set_hosts); `None` until the file could be read.
    pub fn names(&self) -> Option<&Arc<Snapshot>> {
        self.names.as_ref()
    }

    /// Checks the file. True if its names have changed. If it cannot be read, or is too long, they stay as they are.
    pub fn look(&mut self) -> bool {
        let (content, stamp) = match self.read() {
            Ok(Some(read)) => read,
            Ok(None) => return false,
            Err(error) => {
                self.stamp = None;
                self.tell(BTreeSet::from([format!("cannot be read: {error}; its names stay as they were")]));
                return false;
            }
        };
        self.stamp = stamp;
        if self.content.as_ref() == Some(&content) {
            return false;
        }
        let parsed = parse(&content);
        self.content = Some(content);
        let (names, problems) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                self.tell(BTreeSet::from([format!("{error}; its names stay as they were")]));
                return false;
            }
        };
        self.tell(problems);
        tracing::info!(path = %self.path.display(), names = names.names().count(), "host names read");
        self.names = Some(names);
        true
    }

    /// The content, and the stamp if it can be relied on; `None` if nothing has changed.
    fn read(&self) -> std::io::Result<Option<(Vec<u8>, Option<Stamp>)>> {
        let metadata = std::fs::metadata(&self.path)?;
        let stamp = Stamp::of(&metadata);
        if self.stamp == Some(stamp) {
            return Ok(None);
        }
        let age =
            metadata.modified().and_then(|at| SystemTime::now().duration_since(at).map_err(std::io::Error::other));
        let content = file::read(&self.path, MAX_SIZE)?;
        Ok(Some((content, Some(stamp).filter(|_| age.is_ok_and(|age| age >= SETTLED)))))
    }

    /// Logs what is wrong, each thing once as long as it is so.
    fn tell(&mut self, problems: BTreeSet<String>) {
        let new: Vec<&String> = problems.difference(&self.told).collect();
        for problem in new.iter().take(MAX_TOLD) {
            tracing::warn!("{}: {problem}", self.path.display());
        }
        if new.len() > MAX_TOLD {
            tracing::warn!("{}: {} more mistakes", self.path.display(), new.len() - MAX_TOLD);
        }
        self.told = problems;
    }
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Stamp {
        Stamp {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// The path of the host's file.
pub fn system() -> &'static Path {
    Path::new("/etc/hosts")
}

/// The names of a file, each with its addresses, and what is wrong with it.
fn parse(content: &[u8]) -> Result<(Arc<Snapshot>, BTreeSet<String>), TableError> {
    let mut problems = BTreeSet::new();
    let mut hosts: BTreeMap<IpAddr, Vec<&str>> = BTreeMap::new();
    let mut count = 0;
    for line in content.split(|&octet| octet == b'\n') {
        let line = line.split(|&octet| octet == b'#').next().unwrap_or_default().trim_ascii();
        let Ok(line) = std::str::from_utf8(line) else {
            problems.insert(format!("\"{}\" is not UTF-8; left out", line.escape_ascii()));
            continue;
        };
        let mut words = line.split_ascii_whitespace();
        let Some(address) = words.next() else { continue };
        let Some(address) = address_of(address) else {
            problems.insert(format!("{:?} is not an address; its line is left out", shown(address)));
            continue;
        };
        if !is_one_host(address) {
            continue;
        }
        for name in words {
            if relative_names(name).is_err() || name.starts_with("*.") {
                problems.insert(format!("{:?} is not a host's name; left out", shown(name)));
            } else if count == MAX_NAMES {
                problems.insert(format!("there are more than {MAX_NAMES} names; the rest is left out"));
                break;
            } else {
                let names = hosts.entry(address).or_default();
                if names.len() == MAX_NAMES_OF_ONE {
                    problems.insert(format!(
                        "there are more than {MAX_NAMES_OF_ONE} names of {address}; the rest is left out"
                    ));
                    break;
                }
                count += 1;
                names.push(name);
            }
        }
    }
    let endpoints = hosts.into_iter().filter_map(|(address, names)| {
        // An id that is no name which anybody asks for.
        Endpoint::builder(format!("hosts file {address}")).ip(address).names(names).build().ok()
    });
    let network = endpoints.fold(Network::builder("hosts"), |network, endpoint| network.endpoint(endpoint)).build()?;
    let names = network.snapshot().clone();
    Ok((names, problems))
}

/// An address; the zone of one with a zone means nothing to containers.
fn address_of(text: &str) -> Option<IpAddr> {
    text.split('%').next()?.parse().ok()
}

/// False for addresses that mean the host itself, or no single one.
fn is_one_host(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let canonical = address.to_canonical();
    !(canonical.is_loopback() || canonical.is_unspecified() || address.is_multicast() || is_link_local)
}

/// A word for people, not longer than a name.
fn shown(word: &str) -> String {
    word.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &[u8]) -> (Vec<String>, Vec<String>) {
        let (snapshot, problems) = parse(text).unwrap();
        let mut names: Vec<String> = snapshot
            .names()
            .map(|entry| {
                format!(
                    "{} {}",
                    entry.name(),
                    entry
                        .endpoints()
                        .flat_map(Endpoint::addresses)
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join(" ")
                )
            })
            .filter(|name| !name.starts_with("hosts\\032file"))
            .collect();
        names.sort();
        (names, problems.into_iter().collect())
    }

    #[test]
    fn n13_every_form_of_a_line() {
        let text = b"# comment\n\n10.0.0.5\tNAS.example nas # cellar\n  fd00::5 nas\r\n10.0.0.5 media\n10.0.0.9\n";
        assert_eq!(
            names(text),
            (vec!["media 10.0.0.5".into(), "nas 10.0.0.5 fd00::5".into(), "nas.example 10.0.0.5".into()], vec![])
        );
    }

    #[test]
    fn n13_lines_that_mean_no_single_host_are_passed_over() {
        let text =
            b"127.0.0.1 localhost a\n127.0.1.1 me\n::1 b\n::ffff:127.0.0.1 c\n0.0.0.0 ads.example\n:: d\nff02::1 e\n\
            255.255.255.255 broadcasthost\nfe80::1%lo0 f\n";
        assert_eq!(names(text), (vec![], vec![]));
    }

    #[test]
    fn n13_a_mistake_costs_no_more_than_itself() {
        let text = b"10.0.0.300 a\n10.0.0.1 b b..c *.d * e\n\xff x\n10.0.0.2 g\xc3\xb6\n";
        let (found, problems) = names(text);
        assert_eq!(found, ["b 10.0.0.1", "e 10.0.0.1", "g\\195\\182 10.0.0.2", "xn--g-1ga 10.0.0.2"]);
        assert_eq!(
            problems,
            [
                "\"*\" is not a host's name; left out",
                "\"*.d\" is not a host's name; left out",
                "\"10.0.0.300\" is not an address; its line is left out",
                "\"\\xff x\" is not UTF-8; left out",
                "\"b..c\" is not a host's name; left out",
            ]
        );
    }

    #[test]
    fn n13_a_huge_file_is_bounded() {
        let line = |number: usize| format!("10.{}.{}.1 n{number} m{number}\n", number / 250, number % 250);
        let lines: String = (0..MAX_NAMES / 2 + 5).map(line).collect();
        let (snapshot, problems) = parse(lines.as_bytes()).unwrap();
        assert_eq!(snapshot.endpoint_count(), MAX_NAMES / 2);
        assert_eq!(
            problems.into_iter().collect::<Vec<_>>(),
            ["there are more than 100000 names; the rest is left out"]
        );
        // All of one address, in one line, as short as can be.
        let names: String = (0..MAX_NAMES + 5).map(|number| format!(" {number:x}")).collect();
        let (snapshot, problems) = parse(format!("10.0.0.1{names}").as_bytes()).unwrap();
        assert_eq!(snapshot.endpoints().flat_map(Endpoint::names).count(), MAX_NAMES_OF_ONE);
        assert_eq!(
            problems.into_iter().collect::<Vec<_>>(),
            ["there are more than 1000 names of 10.0.0.1; the rest is left out"]
        );
    }

    #[test]
    fn n13_the_file_is_followed_and_one_that_is_too_long_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        let mut hosts = HostsFile::new(&path);
        assert!(!hosts.look() && hosts.names().is_none(), "there is none yet");
        let count = |hosts: &HostsFile| hosts.names().unwrap().endpoint_count();
        std::fs::write(&path, "10.0.0.1 a\n").unwrap();
        assert!(hosts.look() && count(&hosts) == 1);
        assert!(!hosts.look());
        // Within the same tick of the file system's clock, and as long.
        std::fs::write(&path, "10.0.0.1 b\n").unwrap();
        assert!(hosts.look());
        std::fs::File::create(&path).unwrap().set_len(MAX_SIZE + 1).unwrap();
        assert!(!hosts.look() && count(&hosts) == 1);
        std::fs::write(&path, "").unwrap();
        assert!(hosts.look() && count(&hosts) == 0);
        std::fs::remove_file(&path).unwrap();
        assert!(!hosts.look() && count(&hosts) == 0);
    }
}
