//! `DIR/aardvark.pid`, which tells netavark whom to signal, and the lock that tells who serves the directory.
//!
//! netavark reads the file at any moment, and starts a server where the file is absent or names nobody. So two servers of
//! one directory can meet: a container comes just when the last one has gone and the server is about to end, or two
//! containers come at the same time. The lock, on the directory itself, has one of them serve, and ends with its holder
//! however that ends; the other one leaves the work to it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tracing::{debug, error, info};

/// The file's name; it is no network.
const NAME: &str = "aardvark.pid";
/// How long another server may take to end or to write the file, and the pause between two looks.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2);

/// The right to serve a directory, and its pid file.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    /// Held until the end; `None` where the file system knows no locks.
    _lock: Option<Flock<File>>,
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
        let mut file = File::open(directory)?;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(Claim::Ours(PidFile { path, _lock: Some(lock) })),
                Err((file, nix::Error::EWOULDBLOCK)) => file,
                Err((_, error)) => {
                    debug!(%error, "the directory cannot be locked");
                    return Ok(Claim::Ours(PidFile { path, _lock: None }));
                }
            };
            if let Some(pid) = read(&path)
                && is_beside_us(pid)
                && kill(pid, Signal::SIGHUP).is_ok()
            {
                return Ok(Claim::Theirs(pid));
            }
            if tokio::time::Instant::now() >= deadline {
                // It hangs, or serves the network namespace of an earlier boot of rootless networking. If it is in the way
                // the sockets will tell.
                info!("another server has this directory, and cannot be told of containers; starting beside it");
                return Ok(Claim::Ours(PidFile { path, _lock: None }));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Writes the file, whatever it said.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&self) -> io::Result<()> {
        fs::write(&self.path, process::id().to_string())
    }

    /// Writes the file unless there is one: another server's, which is to go on instead of us. False if that is so.
    pub(super) fn renew(&self) -> bool {
        let file = OpenOptions::new().write(true).create_new(true).open(&self.path);
        match file.and_then(|mut file| file.write_all(process::id().to_string().as_bytes())) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.is_ours(),
            Err(error) => {
                error!(path = %self.path.display(), %error, "cannot write the pid file: netavark will not find this server");
                true
            }
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
    let pid = fs::read_to_string(path).ok()?.trim_ascii().parse().ok()?;
    // 0 and -1 are many processes.
    (pid > 0).then(|| Pid::from_raw(pid))
}

/// True for another process under our name that lives in the same network namespace: a server elsewhere serves none of the
/// containers here, and a number that was used again may be anybody's.
fn is_beside_us(pid: Pid) -> bool {
    let network = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    let is_named = |command: Vec<u8>| {
        let program = command.split(|&octet| octet == 0).next().unwrap_or_default();
        program.rsplit(|&octet| octet == b'/').next() == Some(super::NAME.as_bytes())
    };
    pid != Pid::this()
        && fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(is_named)
        && network(&pid.to_string()).is_some_and(|theirs| Some(theirs) == network("self"))
}
