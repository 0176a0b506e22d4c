//! `DIR/aardvark.pid`, which tells netavark whom to signal, and the lock that tells who serves the directory.
//!
//! netavark reads the file at any moment, and starts a server where the file is absent or names nobody. So two servers of
//! one directory can meet: a container comes just when the last one has gone and the server is about to end, or two
//! containers come at the same time. The lock, on the directory itself, has one of them serve, and ends with its holder
//! however that ends; the other one leaves the work to it. Anybody who may read the directory can lock it, too: a lock of
//! another user's counts for nothing.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use callsign::source::file;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tracing::{debug, error, info};

use super::siblings::{is_beside_us, is_locked_by_strangers, tell_servers_of};

/// The file's name; it is no network.
const NAME: &str = "aardvark.pid";
/// How long another server may take to end or to write the file, and the pause between two looks.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2);
/// When one that the file does not lead to is looked for: it is not just about to end.
const SUSPICIOUS: Duration = Duration::from_secs(1);
/// More than the longest number.
const LONGEST: u64 = 32;

/// The right to serve a directory, and its pid file.
#[derive(Debug)]
pub(super) struct PidFile {
    directory: PathBuf,
    path: PathBuf,
    hold: Hold,
}

/// The directory that was claimed, open until the end on purpose: the lock on it lives as long as the descriptor, and only
/// an open directory is sure to be told from one that is made in its place. (What a daemon must not keep is its caller's.)
#[derive(Debug)]
enum Hold {
    Locked(Flock<File>),
    /// Where the file system knows no locks, or somebody has it who cannot be told of containers.
    Open(File),
}

/// Who serves a directory.
#[derive(Debug)]
pub(super) enum Claim {
    /// This process.
    Ours(PidFile),
    /// That one, which was told to read the directory.
    Theirs(Pid),
}

impl PidFile {
    /// Claims a directory. Another server of it that is about to end is waited for.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub(super) async fn claim(directory: &Path) -> io::Result<Claim> {
        let path = directory.join(NAME);
        // Not waiting for a writer, should it be a pipe.
        let mut file = File::options().read(true).custom_flags(OFlag::O_DIRECTORY.bits()).open(directory)?;
        let ours = |hold| Claim::Ours(PidFile { directory: directory.to_owned(), path: path.clone(), hold });
        let inode = file.metadata()?.ino();
        let start = tokio::time::Instant::now();
        let mut is_looked_for = false;
        loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(ours(Hold::Locked(lock))),
                Err((file, nix::Error::EWOULDBLOCK)) => file,
                Err((file, error)) => {
                    debug!(%error, "the directory cannot be locked");
                    return Ok(ours(Hold::Open(file)));
                }
            };
            if let Some(pid) = read(&path)
                && is_beside_us(pid)
                && kill(pid, Signal::SIGHUP).is_ok()
            {
                return Ok(Claim::Theirs(pid));
            }
            if is_locked_by_strangers(inode) {
                info!("another user has locked this directory; starting without a lock");
                return Ok(ours(Hold::Open(file)));
            }
            if start.elapsed() >= SUSPICIOUS && !is_looked_for {
                // Somebody has removed its pid file: told to look, it writes it again.
                is_looked_for = tell_servers_of(directory);
            }
            if start.elapsed() >= PATIENCE {
                // It hangs, or serves the network namespace of an earlier boot of rootless networking. If it is in the way
                // the sockets will tell.
                info!("another server has this directory, and cannot be told of containers; starting beside it");
                return Ok(ours(Hold::Open(file)));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Writes the file, whatever it said.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&self) -> io::Result<()> {
        self.write_aside(|new| fs::rename(new, &self.path))
    }

    /// Writes the file unless there is one: another server's, which is to go on instead of us. False if that is so.
    pub(super) fn renew(&self) -> bool {
        if self.path.exists() {
            return self.is_ours();
        }
        match self.write_aside(|new| fs::hard_link(new, &self.path)) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.is_ours(),
            // The directory is gone, and its networks with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => {
                error!(path = %self.path.display(), %error, "cannot write the pid file: netavark will not find this server");
                true
            }
        }
    }

    /// Writes the file elsewhere and has it put in its place: whoever looks finds a whole number, and nobody writes to what
    /// stood there. Elsewhere is a directory below, as each file beside it would be a network.
    fn write_aside(&self, put: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let aside = self.directory.join(format!(".{NAME}.{}", process::id()));
        match fs::create_dir(&aside) {
            // Of an earlier process of this number, which was killed here.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        let new = aside.join(NAME);
        let outcome = fs::write(&new, process::id().to_string()).and_then(|()| put(&new));
        if let Err(error) = fs::remove_dir_all(&aside) {
            debug!(path = %aside.display(), %error, "cannot be removed");
        }
        outcome
    }

    /// True if another directory is in the place of the one that was claimed: this one was removed or renamed, and who
    /// writes to the other knows nothing of this server.
    pub(super) fn is_replaced(&self) -> bool {
        let held = match &self.hold {
            Hold::Locked(directory) => directory.metadata(),
            Hold::Open(directory) => directory.metadata(),
        };
        match (held, fs::metadata(&self.directory)) {
            (Ok(held), Ok(there)) => (held.dev(), held.ino()) != (there.dev(), there.ino()),
            _ => false,
        }
    }

    /// Removes the file, if it is ours.
    pub(super) fn remove(&self) {
        if self.is_ours()
            && let Err(error) = fs::remove_file(&self.path)
        {
            error!(path = %self.path.display(), %error, "cannot remove the pid file");
        }
    }

    fn is_ours(&self) -> bool {
        read(&self.path) == Some(Pid::this())
    }
}

fn read(path: &Path) -> Option<Pid> {
    let text = String::from_utf8(file::read(path, LONGEST).ok()?).ok()?;
    let pid = text.trim_ascii().parse().ok()?;
    // 0 and -1 are many processes.
    (pid > 0).then(|| Pid::from_raw(pid))
}
