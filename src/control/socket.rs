//! Where control sockets are, who may open them, and which of them a running server answers at.
//!
//! A server has its name in the directory by a lock that it holds as long as it lives: what a killed server leaves behind is
//! replaced, and two that start at once never take the socket from each other.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Group, Uid};

/// What the sockets' names end in.
const SUFFIX: &str = "sock";

/// Where a server's control socket is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The socket.
    pub path: PathBuf,
    /// The group whose members may open it, and may change things.
    pub group: Option<String>,
    /// If another server has this name already, take one of its own (`control-PID.sock`) instead of failing.
    pub or_another: bool,
}

/// The directory of the control sockets: `$CALLSIGN_RUNTIME_DIR`, else `/run/callsign` for root, `$XDG_RUNTIME_DIR/callsign`
/// for others; `None` where there is no such variable.
pub fn directory() -> Option<PathBuf> {
    if let Some(given) = given_directory() {
        return Some(given);
    }
    if Uid::effective().is_root() && !is_in_user_namespace() {
        return Some(PathBuf::from("/run/callsign"));
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty())?;
    Some(Path::new(&runtime).join("callsign"))
}

/// The directory that the environment names for all that is callsign's.
fn given_directory() -> Option<PathBuf> {
    std::env::var_os("CALLSIGN_RUNTIME_DIR").filter(|directory| !directory.is_empty()).map(PathBuf::from)
}

/// True for the root of a user namespace, as rootless Podman's server is: it is somebody else outside.
pub(super) fn is_in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.is_empty() && !map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// The directories in which servers have their sockets: [`directory`], and root's, whose servers others may be allowed to see.
pub fn directories() -> Vec<PathBuf> {
    match given_directory() {
        Some(given) => vec![given],
        None => {
            let mut directories = vec![PathBuf::from("/run/callsign")];
            directories.extend(directory().filter(|own| *own != directories[0]));
            directories
        }
    }
}

/// The control sockets of this machine at which somebody listens, sorted: those that may be opened, or if there is none of them,
/// those that may not be.
pub fn running() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = directories().iter().flat_map(|directory| sockets_in(directory)).collect();
    found.sort();
    let outcomes: Vec<(PathBuf, io::Result<()>)> = found
        .into_iter()
        .map(|path| {
            UnixStream::connect(&path)
                .map(drop)
                .map_or_else(|error| (path.clone(), Err(error)), |()| (path.clone(), Ok(())))
        })
        .collect();
    let of = |is_wanted: fn(&io::Result<()>) -> bool| -> Vec<PathBuf> {
        outcomes.iter().filter(|(_, outcome)| is_wanted(outcome)).map(|(path, _)| path.clone()).collect()
    };
    let open = of(Result::is_ok);
    // A socket that may not be opened has a server behind it, as far as can be told: somebody else's.
    let is_denied =
        |outcome: &io::Result<()>| outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    if open.is_empty() { of(is_denied) } else { open }
}

fn sockets_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|suffix| suffix == SUFFIX)).collect()
}

/// A socket that is listened at, and the right to its name. Dropping it removes the socket.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) path: PathBuf,
    pub(super) listener: Option<UnixListener>,
    inode: u64,
    lock: Option<Flock<File>>,
}

impl Socket {
    /// Takes a place.
    ///
    /// # Errors
    /// It is another server's, its group does not exist, or the directory cannot be written to.
    pub(super) fn bind(place: &Place) -> io::Result<Socket> {
        let parent = place.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        let (path, lock) = match lock(&place.path)? {
            Some(lock) => (place.path.clone(), lock),
            None if place.or_another => {
                sweep(parent);
                let stem = place.path.file_stem().unwrap_or_default().to_string_lossy();
                let path = parent.join(format!("{stem}-{}.{SUFFIX}", std::process::id()));
                let lock = lock(&path)?.ok_or_else(taken)?;
                (path, lock)
            }
            None => return Err(taken()),
        };
        let group = place.group.as_deref().map(group_id).transpose()?;
        // Its own from here on: what is there was left behind.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Bound under another name: nobody finds it before its mode is right.
        let hidden = path.with_extension("new");
        let _ = fs::remove_file(&hidden);
        let listener = UnixListener::bind(&hidden)?;
        let prepare = || {
            fs::set_permissions(&hidden, fs::Permissions::from_mode(if group.is_some() { 0o660 } else { 0o600 }))?;
            if let Some(group) = group {
                chown(&hidden, None, Some(group))?;
            }
            listener.set_nonblocking(true)?;
            fs::rename(&hidden, &path)?;
            fs::symlink_metadata(&path).map(|metadata| metadata.ino())
        };
        match prepare() {
            Ok(inode) => Ok(Socket { path, listener: Some(listener), inode, lock: Some(lock) }),
            Err(error) => {
                let _ = fs::remove_file(&hidden);
                Err(error)
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Somebody may have put another one there by hand.
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
        if let Some(lock) = self.lock.take() {
            // Removed while it is held: who waits for it finds that the name has another file, and tries again.
            let _ = fs::remove_file(lock_path(&self.path));
            drop(lock);
        }
    }
}

fn taken() -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, "another server has this control socket")
}

fn lock_path(socket: &Path) -> PathBuf {
    socket.with_extension("lock")
}

/// The lock of a name; `None` if another process holds it.
pub(super) fn lock(socket: &Path) -> io::Result<Option<Flock<File>>> {
    let path = lock_path(socket);
    loop {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
        let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return Ok(None) };
        // The one that was opened may have been removed before it was locked.
        let is_it = |there: fs::Metadata| lock.metadata().is_ok_and(|own| own.ino() == there.ino());
        if fs::symlink_metadata(&path).is_ok_and(is_it) {
            return Ok(Some(lock));
        }
    }
}

/// Removes what killed servers left of names of their own.
fn sweep(directory: &Path) {
    for path in sockets_in(directory) {
        let pid = path.file_stem().and_then(|stem| stem.to_str()?.rsplit_once('-')?.1.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
            && let Ok(Some(lock)) = lock(&path)
        {
            let _ = fs::remove_file(&path);
            let _ = fs::remove_file(lock_path(&path));
            drop(lock);
        }
    }
}

/// The number of a group, by its name or number.
fn group_id(name: &str) -> io::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let group = Group::from_name(name)?;
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("there is no group {name:?}"));
    group.map(|group| group.gid.as_raw()).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(directory: &Path) -> Place {
        Place { path: directory.join("deep/control.sock"), group: None, or_another: false }
    }

    #[test]
    fn one_server_has_a_name_and_what_a_killed_one_left_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let place = place(directory.path());
        fs::create_dir(directory.path().join("deep")).unwrap();
        drop(UnixListener::bind(&place.path).unwrap());
        assert!(place.path.exists(), "left behind");
        let first = Socket::bind(&place).unwrap();
        assert_eq!(fs::metadata(&first.path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Socket::bind(&place).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let second = Socket::bind(&Place { or_another: true, ..place.clone() }).unwrap();
        assert_ne!(second.path, first.path);
        drop(first);
        assert!(!place.path.exists());
        let third = Socket::bind(&place).unwrap();
        assert_eq!(third.path, place.path);
        drop((second, third));
        assert_eq!(fs::read_dir(directory.path().join("deep")).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn a_group_that_does_not_exist_is_an_error_that_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place { group: Some("no-such-group".to_owned()), ..place(directory.path()) };
        assert_eq!(Socket::bind(&place).unwrap_err().to_string(), "there is no group \"no-such-group\"");
    }
}
