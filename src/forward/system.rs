//! The host's resolv.conf, followed as it changes (answers.md F2): rewritten in place, replaced by a rename, reached through
//! a symlink that is pointed elsewhere, absent for a while.
//!
//! Without a watcher: inotify sees neither a retargeted symlink further up nor a file that is bind-mounted over. The file
//! is looked at when a question needs it, at most once per interval; a look is one `stat`.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use resolv_conf::{Config, ParseError};

use super::choice::distinct;
use crate::table::{Address, Upstream};

/// How many name servers of the file count (resolv.conf(5), MAXNS).
const SERVERS: usize = 3;
/// No more than this is read of the file; it is a few lines.
const LARGEST: u64 = 64 * 1024;
/// A file modified less than this before it was read may change again within the same tick of the file system's clock, and
/// still have the same stamp: it is read again at the next look.
const SETTLED: Duration = Duration::from_secs(1);

/// The name servers of a followed file.
#[derive(Debug)]
pub(super) struct System {
    /// The file.
    pub(super) path: Arc<Path>,
    recheck: Duration,
    servers: ArcSwap<Arc<[Upstream]>>,
    look: Mutex<Look>,
}

/// What the last look at the file found.
#[derive(Debug, Default)]
struct Look {
    at: Option<Instant>,
    /// Which file it was, in which state; `None` where the next look has to read it.
    stamp: Option<Stamp>,
    content: Option<Vec<u8>>,
}

/// What differs when the file was replaced or written to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    dev: u64,
    ino: u64,
    size: u64,
    modified: (i64, i64),
}

impl System {
    /// Starts to follow `path`. `known`: the servers until it can be read.
    pub(super) fn follow(path: Arc<Path>, recheck: Duration, known: Arc<[Upstream]>) -> System {
        let system = System { path, recheck, servers: ArcSwap::from_pointee(known), look: Mutex::default() };
        system.servers();
        system
    }

    /// The servers as last read.
    pub(super) fn known(&self) -> Arc<[Upstream]> {
        Arc::clone(&self.servers.load())
    }

    /// The servers, after a look at the file if the last one is long enough ago. While another thread looks, this one
    /// takes what is known.
    pub(super) fn servers(&self) -> Arc<[Upstream]> {
        let mut look = match self.look.try_lock() {
            Ok(look) => look,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => return self.known(),
        };
        let now = Instant::now();
        if look.at.is_none_or(|at| now.duration_since(at) >= self.recheck) {
            look.at = Some(now);
            if let Err(error) = self.look(&mut look) {
                // The servers stay: the file is often away for a moment when the network manager replaces it.
                tracing::debug!(path = %self.path.display(), %error, "cannot be read; its last name servers stay");
                look.stamp = None;
            }
        }
        self.known()
    }

    fn look(&self, look: &mut Look) -> io::Result<()> {
        let stamp = Stamp::of(&std::fs::metadata(&self.path)?);
        if look.stamp.as_ref() == Some(&stamp) {
            return Ok(());
        }
        let (content, stamp, settled) = read(&self.path)?;
        look.stamp = settled.then_some(stamp);
        if look.content.as_ref() == Some(&content) {
            return Ok(());
        }
        let servers = parse(&content, &self.path);
        if servers.is_empty() && !settled {
            // Most likely cut to nothing and about to be written: the next look tells.
            return Ok(());
        }
        look.content = Some(content);
        if *servers != **self.servers.load_full() {
            tracing::info!(path = %self.path.display(), servers = ?servers.iter().map(Upstream::to_string).collect::<Vec<_>>(), "name servers read");
            self.servers.store(Arc::new(servers));
        }
        Ok(())
    }
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Stamp {
        Stamp {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// The file's content, its stamp as of before it was read, and whether the stamp will tell the next change.
pub(super) fn read(path: &Path) -> io::Result<(Vec<u8>, Stamp, bool)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let settled = metadata
        .modified()
        .and_then(|modified| SystemTime::now().duration_since(modified).map_err(io::Error::other))
        .is_ok_and(|age| age >= SETTLED);
    let mut content = Vec::new();
    file.take(LARGEST).read_to_end(&mut content)?;
    Ok((content, Stamp::of(&metadata), settled))
}

/// The first three name servers, each once, on port 53. A `nameserver` line that cannot be used is logged and skipped.
///
/// Line by line, so that one that resolv-conf refuses for its zone (it knows letters and digits only; `br-lan` and
/// `eth0.5` are interfaces too) keeps its place in the order.
fn parse(content: &[u8], path: &Path) -> Arc<[Upstream]> {
    let mut servers = Vec::new();
    for (index, line) in content.split(|&octet| octet == b'\n').enumerate() {
        let (config, errors) = Config::parse_with_errors(line);
        let address = match (config.nameservers.first(), errors.first()) {
            (Some(server), _) => server.to_string().parse::<Address>().ok(),
            (None, Some(ParseError::InvalidIp(..))) => zoned(line),
            _ if line.trim_ascii_start().starts_with(b"nameserver") => None,
            _ => continue,
        };
        match address {
            Some(address) => servers.push(Upstream::new(address)),
            None if line.trim_ascii_start().starts_with(b"nameserver") => {
                let line = String::from_utf8_lossy(line);
                tracing::warn!(
                    "{}:{}: \"{}\" names no server; skipped",
                    path.display(),
                    index + 1,
                    line.escape_debug()
                );
            }
            None => {}
        }
    }
    let mut servers = distinct(servers.iter()).to_vec();
    servers.truncate(SERVERS);
    servers.into()
}

/// The address of a `nameserver` line with any zone.
fn zoned(line: &[u8]) -> Option<Address> {
    let mut words = std::str::from_utf8(line).ok()?.split([';', '#']).next()?.split_whitespace();
    let address: Address = words.nth(1)?.parse().ok()?;
    (address.zone().is_some() && address.port().is_none()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(content: &[u8]) -> Vec<String> {
        parse(content, Path::new("resolv.conf")).iter().map(Upstream::to_string).collect()
    }

    #[test]
    fn f2_resolv_conf_keeps_zones_and_skips_bad_lines() {
        let content = b"; comment \xff\nsearch a b\nnameserver fe80::1%eth0\nnameserver\nnameserver 1.2.3\n\
            nameserver \xff\nnameserver\tfe80::2%br-lan # x\noptions ndots:x rotate\n  nameserver 10.0.0.53 extra\n";
        assert_eq!(parsed(content), ["[fe80::1%eth0]:53", "[fe80::2%br-lan]:53", "10.0.0.53:53"]);
    }

    #[test]
    fn f2_the_first_three_name_servers_count_each_once() {
        let content =
            b"nameserver 10.0.0.1\nnameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver ::1\nnameserver 10.0.0.4";
        assert_eq!(parsed(content), ["10.0.0.1:53", "10.0.0.2:53", "[::1]:53"]);
        assert_eq!(parsed(b"sortlist 1.2.3.4\nnameserver [::1]:5"), [""; 0]);
    }
}
