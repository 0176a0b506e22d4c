//! Names that are added while the server runs: static addresses beside what the source says of a network.
//!
//! They belong to the network's name, not to the network: one that goes and comes back has them again. They stay over a
//! reload, go at their time or at a restart, and over that stay those that are to be kept, in a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use nix::fcntl::Flock;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tracing::{error, info};

use crate::server::Server;
use crate::table::{Event, Network, Record};
use crate::wire::{Name, NameError};

use super::shapes::{Added, AddedNames, Addition, VERSION};
use super::{socket, time};

/// The most that can be added.
const MAX_NAMES: usize = 10_000;
/// A time to live in years is as good as none.
const MAX_SECONDS: u64 = 366 * 86_400;

/// A network and a name on it.
type Key = (String, String);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    network: String,
    /// The name; in A-labels, if it has letters outside ASCII.
    name: String,
    /// The same with these letters, if it has some (answers.md N12).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    written: Option<String>,
    addresses: Vec<IpAddr>,
    ttl: Option<u32>,
    /// Seconds since 1970.
    until: Option<u64>,
    #[serde(skip)]
    persist: bool,
}

/// See the module.
pub(super) struct Names {
    server: Arc<Server>,
    /// Where those are written that are kept.
    file: Option<PathBuf>,
    /// The right to that file: no two servers have it.
    lock: Mutex<Option<Flock<File>>>,
    names: Mutex<BTreeMap<Key, Entry>>,
    /// The first that goes may be another one.
    changed: Notify,
}

impl Names {
    /// Those that were kept, in force.
    pub(super) fn load(server: Arc<Server>, file: Option<PathBuf>) -> Names {
        let mut lock = None;
        let kept = file.as_deref().filter(|file| file.exists()).map_or_else(Vec::new, |file| {
            let kept = take(file).and_then(|taken| {
                lock = Some(taken);
                read(file)
            });
            kept.unwrap_or_else(|error| {
                error!(file = %file.display(), %error, "the names that were kept cannot be read");
                Vec::new()
            })
        });
        let names = kept
            .into_iter()
            .map(|entry| ((entry.network.clone(), entry.name.clone()), Entry { persist: true, ..entry }));
        let names =
            Names { server, file, lock: Mutex::new(lock), names: Mutex::new(names.collect()), changed: Notify::new() };
        names.expire();
        names.server.table().networks().iter().for_each(|network| names.apply(network));
        names
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a name, or replaces one that was added.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn add(&self, addition: Addition) -> Result<Added, String> {
        let Addition { network, name, mut addresses, ttl, seconds, persist } = addition;
        // Each once, in the order in which they are given (answers.md N3).
        let mut known = BTreeSet::new();
        addresses.retain(|address| known.insert(*address));
        let Some(of) = self.server.table().network(&network) else {
            let mut known: Vec<String> =
                self.server.table().networks().iter().map(|network| network.name().to_owned()).collect();
            known.sort();
            return Err(format!(
                "there is no network {network:?}; there is {}",
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            ));
        };
        if addresses.is_empty() {
            return Err(format!("{name} has no address; write at least one"));
        }
        if persist && self.file.is_none() {
            return Err("there is no state directory to keep names in".to_owned());
        }
        if seconds.is_some_and(|seconds| seconds == 0 || seconds > MAX_SECONDS) {
            return Err(format!("a name stays from 1 to {MAX_SECONDS} seconds, or until it is removed"));
        }
        let until = seconds.map(|seconds| now().saturating_add(seconds));
        let (name, written) = spellings(&name)?;
        records(&name, &addresses, ttl)?;
        if is_special(&name) {
            return Err(format!("{name} is answered by itself (RFC 6761), whatever is added; choose another name"));
        }
        let entry = Entry { network: network.clone(), name: name.clone(), written, addresses, ttl, until, persist };
        let before = {
            let mut names = self.lock();
            if names.len() >= MAX_NAMES {
                return Err(format!("{MAX_NAMES} names were added already; remove some"));
            }
            names.insert((network.clone(), name.clone()), entry.clone())
        };
        if (persist || before.as_ref().is_some_and(|before| before.persist))
            && let Err(error) = self.save()
        {
            let key = (network, name);
            match before {
                Some(before) => self.lock().insert(key, before),
                None => self.lock().remove(&key),
            };
            return Err(format!("the name cannot be kept: {error}"));
        }
        self.apply(&of);
        self.changed.notify_one();
        info!(network = of.name(), name = entry.name, "a name was added");
        Ok(self.shape(&entry))
    }

    /// Removes names that were added, of one network or of all; gives those that went.
    pub(super) fn remove(&self, network: Option<&str>, name: &str) -> Result<Vec<Added>, String> {
        let (name, _) = spellings(name)?;
        let gone: Vec<Entry> = {
            let mut names = self.lock();
            let keys: Vec<Key> = names
                .keys()
                .filter(|key| key.1 == name && network.is_none_or(|network| network == key.0))
                .cloned()
                .collect();
            keys.iter().filter_map(|key| names.remove(key)).collect()
        };
        for entry in &gone {
            if let Some(network) = self.server.table().network(&entry.network) {
                self.apply(&network);
            }
            info!(network = entry.network, name = entry.name, "an added name was removed");
        }
        if gone.iter().any(|entry| entry.persist) {
            self.save().map_err(|error| format!("removed, but it is back after a restart: {error}"))?;
        }
        Ok(gone.iter().map(|entry| self.shape(entry)).collect())
    }

    /// All of them.
    pub(super) fn list(&self) -> AddedNames {
        AddedNames { api: VERSION, added: self.lock().values().map(|entry| self.shape(entry)).collect() }
    }

    fn shape(&self, entry: &Entry) -> Added {
        let until = entry.until.map(|until| time::rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(until)));
        Added {
            network: entry.network.clone(),
            name: entry.name.clone(),
            addresses: entry.addresses.clone(),
            ttl: entry.ttl,
            until,
            persist: entry.persist,
            served: self.server.table().network(&entry.network).is_some(),
        }
    }

    /// Gives a network its names.
    fn apply(&self, network: &Network) {
        let names = self.lock();
        let own = names.values().filter(|entry| entry.network == network.name());
        // They were read when they came.
        let records = own
            .flat_map(|entry| {
                let spellings = [Some(&entry.name), entry.written.as_ref()].into_iter().flatten();
                spellings.flat_map(|name| records(name, &entry.addresses, entry.ttl).unwrap_or_default())
            })
            .collect();
        // A network that is gone meanwhile needs none.
        let _ = network.set_added_records(records);
    }

    /// Takes out those whose time is over, and gives when the next one goes.
    fn expire(&self) -> Option<u64> {
        let now = now();
        let (gone, next) = {
            let mut names = self.lock();
            let gone = take_over(&mut names, now);
            (gone, names.values().filter_map(|entry| entry.until).min())
        };
        for entry in &gone {
            if let Some(network) = self.server.table().network(&entry.network) {
                self.apply(&network);
            }
            info!(network = entry.network, name = entry.name, "the time of an added name is over");
        }
        if gone.iter().any(|entry| entry.persist)
            && let Err(error) = self.save()
        {
            error!(%error, "the names that are kept cannot be written");
        }
        next
    }

    /// Keeps them in force: on networks that come, and not beyond their time.
    pub(super) async fn keep(self: Arc<Names>) {
        let mut feed = self.server.table().follow();
        loop {
            let next = self.expire();
            let wait = next.map(|until| Duration::from_secs(until.saturating_sub(now()).max(1)));
            let over = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = feed.next() => match event {
                    Event::NetworkAdded { network } => {
                        if let Some(network) = self.server.table().network(&network) {
                            self.apply(&network);
                        }
                    }
                    Event::Missed(_) => self.server.table().networks().iter().for_each(|network| self.apply(network)),
                    _ => {}
                },
                () = over => {}
                () = self.changed.notified() => {}
            }
        }
    }

    fn save(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        {
            let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            if lock.is_none() {
                *lock = Some(take(file)?);
            }
        }
        let names = self.lock();
        let kept: Vec<&Entry> = names.values().filter(|entry| entry.persist).collect();
        write(file, &serde_json::to_vec_pretty(&kept)?)
    }
}

/// Takes those out whose time is over.
fn take_over(names: &mut BTreeMap<Key, Entry>, now: u64) -> Vec<Entry> {
    let is_over = |entry: &Entry| entry.until.is_some_and(|until| until <= now);
    let gone = names.values().filter(|entry| is_over(entry)).cloned().collect();
    names.retain(|_, entry| !is_over(entry));
    gone
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A name as it is asked for, and as it was written if that has letters outside ASCII.
fn spellings(text: &str) -> Result<(String, Option<String>), String> {
    let name: Name = text.parse().map_err(|error: NameError| error.to_string())?;
    let a_labels = name.a_labels().map_err(|error| error.to_string())?;
    Ok(match a_labels {
        Some(ascii) => (ascii.to_string(), Some(name.to_string())),
        None => (name.to_string(), None),
    })
}

/// True for names that no container is asked for (answers.md S).
fn is_special(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    matches!(last, "localhost" | "invalid")
}

/// Takes the right to a file.
fn take(file: &Path) -> io::Result<Flock<File>> {
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    socket::lock(file)?.ok_or_else(|| {
        let text = format!("another server keeps its names in {}; name another `state` in [control]", file.display());
        io::Error::new(io::ErrorKind::ResourceBusy, text)
    })
}

/// The records of a name.
fn records(name: &str, addresses: &[IpAddr], ttl: Option<u32>) -> Result<Vec<Record>, String> {
    let record =
        |address: &IpAddr| Record::parse(name, if address.is_ipv4() { "A" } else { "AAAA" }, &address.to_string(), ttl);
    addresses.iter().map(record).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

fn read(file: &Path) -> io::Result<Vec<Entry>> {
    match fs::read(file) {
        Ok(octets) => Ok(serde_json::from_slice(&octets)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Replaces a file in one step.
fn write(file: &Path, octets: &[u8]) -> io::Result<()> {
    let new = file.with_extension("new");
    let mut output = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    output.write_all(octets)?;
    output.sync_all()?;
    fs::rename(new, file)
}
