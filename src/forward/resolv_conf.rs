//! The host's resolv.conf, followed as it changes (answers.md F2): rewritten in place, replaced by a rename, reached through
//! a symlink that is pointed elsewhere, absent for a while.
//!
//! Without a watcher: inotify sees neither a retargeted symlink further up nor a file that is bind-mounted over. The file
//! is looked at when a question needs it, at most once per interval; a look is one `stat`.
//!
//! A file that names systemd-resolved's stub alone says nothing of where questions go, and who asks the stub may be asked by it:
//! then the file in which resolved writes its own servers is followed, too, and counts.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, Guard};
use resolv_conf::{Config, ParseError};

use super::route::distinct;
use crate::settings::{Address, RESOLV_CONF, Upstream, Upstreams};

/// Where systemd-resolved writes the servers that it asks.
const UPLINKS: &str = "/run/systemd/resolve/resolv.conf";
/// The addresses of its stub (systemd-resolved.service(8)).
const STUB: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 53), Ipv4Addr::new(127, 0, 0, 54)];
/// How many name servers of the file count (resolv.conf(5), MAXNS).
const SERVERS: usize = 3;
/// No more than this is read of the file; it is a few lines.
const LARGEST: u64 = 64 * 1024;
/// A file modified less than this before it was read may change again within the same tick of the file system's clock, and
/// still have the same stamp: it is read again at the next look.
const SETTLED: Duration = Duration::from_secs(1);

/// The name servers of a followed file.
#[derive(Debug)]
pub(super) struct ResolvConf {
    /// The file.
    pub(super) path: Arc<Path>,
    /// What counts instead where the file names resolved's stub alone.
    uplinks: PathBuf,
    recheck: Duration,
    read: ArcSwap<NameServers>,
    look: Mutex<Look>,
}

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NameServers {
    /// The name servers.
    pub(super) servers: Arc<[Upstream]>,
    /// The options that concern asking them.
    pub(super) options: SystemOptions,
}

/// The options of a resolv.conf that concern how its servers are asked (resolv.conf(5)). `ndots`, `search` and the like are
/// the business of who makes the question; `timeout` and `attempts` that of a resolver that asks one server after the other
/// and forgets what it asked (answers.md F6).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SystemOptions {
    /// `rotate`: the servers take turns in being asked first.
    pub rotate: bool,
    /// `use-vc`: they are asked over TCP.
    pub use_vc: bool,
    /// `edns0`: they know EDNS. Read, and without effect: every server is asked with EDNS first, and without it if it does
    /// not know it.
    pub edns0: bool,
    /// `trust-ad`: their AD bit can be trusted, and so can the way to them. Without it replies have AD=0.
    pub trust_ad: bool,
}

impl SystemOptions {
    /// Takes one word of an `options` line. Words that mean nothing here are passed over.
    fn add(&mut self, word: &str) {
        match word {
            "rotate" => self.rotate = true,
            "use-vc" => self.use_vc = true,
            "edns0" => self.edns0 = true,
            "trust-ad" => self.trust_ad = true,
            _ => {}
        }
    }
}

/// What the last look at the file found.
#[derive(Debug, Default)]
struct Look {
    at: Option<Instant>,
    /// Which file it was, in which state; `None` where the next look has to read it. The second one is of resolved's servers,
    /// where they count.
    stamp: Option<(Stamp, Option<Stamp>)>,
    /// The file names resolved's stub alone.
    is_stub: bool,
    content: Option<Vec<u8>>,
    /// It may not be read, which was said.
    is_refused: bool,
}

/// What differs when the file was replaced or written to.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    dev: u64,
    ino: u64,
    size: u64,
    modified: (i64, i64),
}

impl ResolvConf {
    /// Starts to follow `path`. `known`: what it says until it can be read.
    pub(super) fn follow(path: Arc<Path>, recheck: Duration, known: NameServers) -> ResolvConf {
        ResolvConf::follow_beside(path, UPLINKS.into(), recheck, known)
    }

    /// The same with another file of resolved's servers.
    fn follow_beside(path: Arc<Path>, uplinks: PathBuf, recheck: Duration, known: NameServers) -> ResolvConf {
        let system = ResolvConf { path, uplinks, recheck, read: ArcSwap::from_pointee(known), look: Mutex::default() };
        system.refresh();
        system
    }

    /// What it said when it was last read.
    pub(super) fn known(&self) -> Guard<Arc<NameServers>> {
        self.read.load()
    }

    /// Lets the next [`ResolvConf::refresh`] look at the file, however long ago the last look was.
    pub(super) fn look_again(&self) {
        self.look.lock().unwrap_or_else(PoisonError::into_inner).at = None;
    }

    /// What it says, after a look at the file if the last one is long enough ago. While another thread looks, this one
    /// takes what is known.
    pub(super) fn refresh(&self) -> Guard<Arc<NameServers>> {
        let mut look = match self.look.try_lock() {
            Ok(look) => look,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => return self.known(),
        };
        let now = Instant::now();
        if look.at.is_none_or(|at| now.duration_since(at) >= self.recheck) {
            look.at = Some(now);
            if let Err(error) = self.look_at_file(&mut look) {
                // The servers stay: the file is often away for a moment when the network manager replaces it. One that may
                // not be read any more does not come back by itself.
                let path = self.path.display();
                if error.kind() == io::ErrorKind::PermissionDenied && !look.is_refused {
                    tracing::warn!(%path, %error, "cannot be read; its last name servers stay");
                } else {
                    tracing::debug!(%path, %error, "cannot be read; its last name servers stay");
                }
                look.is_refused = error.kind() == io::ErrorKind::PermissionDenied;
                look.stamp = None;
            } else {
                look.is_refused = false;
            }
        }
        self.known()
    }

    fn look_at_file(&self, look: &mut Look) -> io::Result<()> {
        let metadata = std::fs::metadata(&self.path)?;
        if !metadata.is_file() {
            // Opening a pipe would wait for somebody to write into it.
            return Err(io::Error::other("not a regular file"));
        }
        let uplinks = look.is_stub.then(|| std::fs::metadata(&self.uplinks).ok().map(|uplinks| Stamp::of(&uplinks)));
        if look.stamp.as_ref() == Some(&(Stamp::of(&metadata), uplinks.flatten())) {
            return Ok(());
        }
        let (mut content, stamp, mut settled) = read(&self.path)?;
        let mut servers = parse(&content, &self.path);
        let (mut path, mut of_uplinks) = (&*self.path, None);
        look.is_stub = servers.is_stub();
        if look.is_stub {
            match self::read(&self.uplinks) {
                Ok((uplinks, stamp, is_settled)) => {
                    (servers, path, of_uplinks) = (parse(&uplinks, &self.uplinks), &*self.uplinks, Some(stamp));
                    settled &= is_settled;
                    content.extend_from_slice(&uplinks);
                }
                Err(error) => {
                    tracing::debug!(path = %self.uplinks.display(), %error, "cannot be read; systemd-resolved's stub is asked");
                }
            }
        }
        look.stamp = settled.then_some((stamp, of_uplinks));
        if look.content.as_ref() == Some(&content) {
            return Ok(());
        }
        let read = servers;
        if read.servers.is_empty() && !settled {
            // Most likely cut to nothing and about to be written: the next look tells.
            return Ok(());
        }
        look.content = Some(content);
        if read != **self.known() {
            let servers: Vec<String> = read.servers.iter().map(Upstream::to_string).collect();
            tracing::debug!(path = %path.display(), options = ?read.options, "options read");
            if path == &*self.path {
                tracing::info!(path = %path.display(), servers = servers.join(" "), "name servers read");
            } else {
                let stub = self.path.display();
                tracing::info!(
                    path = %path.display(),
                    servers = servers.join(" "),
                    "name servers read: {stub} names systemd-resolved's stub alone, and these are the servers that it asks"
                );
            }
            self.read.store(Arc::new(read));
        }
        Ok(())
    }
}

impl NameServers {
    /// True if these are systemd-resolved's stub and nothing else.
    fn is_stub(&self) -> bool {
        let is_stub = |server: &Upstream| {
            let address = server.address();
            STUB.iter().any(|stub| IpAddr::V4(*stub) == address.ip()) && address.port().is_none_or(|port| port == 53)
        };
        !self.servers.is_empty() && self.servers.iter().all(is_stub)
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

/// Why an option cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// The file with the name servers exists and cannot be read.
    #[error("{}: cannot be read; check its permissions, or list the upstreams in the configuration", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

impl Upstreams {
    /// The host's name servers: `/etc/resolv.conf`, followed as it changes. It may be absent as yet.
    ///
    /// # Errors
    /// [`ForwardError::Unreadable`] if it is there and cannot be read.
    pub fn system() -> Result<Upstreams, ForwardError> {
        Upstreams::resolv_conf(RESOLV_CONF)
    }

    /// The same for another file in the form of resolv.conf(5).
    ///
    /// # Errors
    /// [`ForwardError::Unreadable`] if it is there and cannot be read.
    pub fn resolv_conf(path: impl AsRef<Path>) -> Result<Upstreams, ForwardError> {
        let path = path.as_ref().to_owned();
        match read(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(ForwardError::Unreadable { path, cause }),
            _ => Ok(Upstreams::System(path)),
        }
    }
}

/// The file's content, its stamp as of before it was read, and whether the stamp will tell the next change.
fn read(path: &Path) -> io::Result<(Vec<u8>, Stamp, bool)> {
    // Not waiting for a writer, should it be a pipe since it was looked at.
    let file = File::options().read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits()).open(path)?;
    let metadata = file.metadata()?;
    let settled = metadata
        .modified()
        .and_then(|modified| SystemTime::now().duration_since(modified).map_err(io::Error::other))
        .is_ok_and(|age| age >= SETTLED);
    let mut content = Vec::new();
    file.take(LARGEST).read_to_end(&mut content)?;
    Ok((content, Stamp::of(&metadata), settled))
}

/// The first three name servers, each once, on port 53, and the options. A `nameserver` line that cannot be used is logged and skipped.
///
/// Line by line, so that one that resolv-conf refuses for its zone (it knows letters and digits only; `br-lan` and
/// `eth0.5` are interfaces too) keeps its place in the order.
fn parse(content: &[u8], path: &Path) -> NameServers {
    let mut servers = Vec::new();
    let mut options = SystemOptions::default();
    for (index, line) in content.split(|&octet| octet == b'\n').enumerate() {
        for word in option_words(line) {
            options.add(word);
        }
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
    NameServers { servers: servers.into(), options }
}

/// The words of an `options` line.
fn option_words(line: &[u8]) -> impl Iterator<Item = &str> {
    let line = line.split(|&octet| octet == b';' || octet == b'#').next().unwrap_or_default();
    let mut words = std::str::from_utf8(line).unwrap_or_default().split_ascii_whitespace();
    let is_options = words.next() == Some("options");
    words.filter(move |_| is_options)
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
        parse(content, Path::new("resolv.conf")).servers.iter().map(Upstream::to_string).collect()
    }

    #[test]
    fn f2_options_that_concern_asking_are_read_and_others_mean_nothing() {
        let options = |text: &str| parse(text.as_bytes(), Path::new("resolv.conf")).options;
        let none = SystemOptions::default();
        assert_eq!(options("nameserver 10.0.0.1\n# options rotate\noption rotate\nsearch rotate\n"), none);
        assert_eq!(
            options("options ndots:2 rotate\n  options\tuse-vc edns0 trust-ad timeout:2 ; attempts:3\n"),
            SystemOptions { rotate: true, use_vc: true, edns0: true, trust_ad: true }
        );
        assert_eq!(options("options timeout:1 attempts:1 timeout:x attempts\noptions ü rotate:1"), none);
    }

    #[test]
    fn f2_behind_resolveds_stub_are_the_servers_that_it_asks() {
        let directory = tempfile::tempdir().unwrap();
        let (path, uplinks) = (directory.path().join("resolv.conf"), directory.path().join("uplinks"));
        let write = |path: &Path, text: &str| {
            // Whole at one moment, as resolved does.
            let new = directory.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(new, path).unwrap();
        };
        write(&path, "nameserver 127.0.0.53\noptions edns0 trust-ad\n");
        let known = NameServers::default();
        let system = ResolvConf::follow_beside(path.as_path().into(), uplinks.clone(), Duration::ZERO, known);
        let servers = || system.refresh().servers.iter().map(Upstream::to_string).collect::<Vec<_>>();
        assert_eq!(servers(), ["127.0.0.53:53"], "there is nothing else yet");
        write(&uplinks, "nameserver 10.0.0.53\nnameserver fe80::1%eth0\n");
        assert_eq!(servers(), ["10.0.0.53:53", "[fe80::1%eth0]:53"]);
        assert!(!system.refresh().options.trust_ad, "options are of the file that counts");
        write(&uplinks, "nameserver 10.0.0.54\n");
        assert_eq!(servers(), ["10.0.0.54:53"], "followed as it changes");
        write(&path, "nameserver 127.0.0.54\n");
        assert_eq!(servers(), ["10.0.0.54:53"]);
        for (text, expected) in [
            ("nameserver 127.0.0.53\nnameserver 10.0.0.1\n", &["127.0.0.53:53", "10.0.0.1:53"][..]),
            ("nameserver 10.0.0.1\n", &["10.0.0.1:53"]),
            ("nameserver 127.0.0.1\n", &["127.0.0.1:53"]),
        ] {
            write(&path, text);
            assert_eq!(servers(), expected, "a file that names anything else counts by itself");
        }
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
