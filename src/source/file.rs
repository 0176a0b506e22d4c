//! Reading a file that people write, of which anything may be true: a FIFO that nobody writes to, a device without an end, a
//! file of terabytes. Whoever serves reads it while it serves, and must neither wait nor run out of memory.

use std::fs::{self, File, FileType, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::fcntl::OFlag;

/// A file that was written to more recently than this may be half a file.
const QUIET: Duration = Duration::from_millis(50);

/// How long to wait until nobody has written to a file for 50 ms; `None` if that is so, or cannot be told. Who writes a file in
/// place truncates it first, and half of it may be valid.
pub fn unsettled(path: &Path) -> Option<Duration> {
    let written = fs::metadata(path).and_then(|metadata| metadata.modified()).ok()?;
    // A time in the future is that of another clock.
    let age = SystemTime::now().duration_since(written).ok()?;
    QUIET.checked_sub(age).filter(|left| !left.is_zero())
}

/// The content of a regular file of at most `most` octets.
///
/// # Errors
/// What the system says; or that it is no file but something else, or longer than that.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // To open a device or a FIFO does something already; a socket cannot be opened.
    check(&fs::metadata(path)?, most)?;
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    // It may be another one by now.
    let metadata = file.metadata()?;
    check(&metadata, most)?;
    read_at_most(file, most, metadata.len())
}

/// The same for whoever names the file and waits for the outcome: a pipe of theirs, as in `check /dev/stdin` and
/// `check <(generate)`, is read to its end.
///
/// # Errors
/// As [`read`].
#[cfg(feature = "config")]
pub(super) fn read_given(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    if path == Path::new("/dev/stdin") {
        // What is a socket, as under sshd, cannot be opened by its path.
        return read_at_most(io::stdin().lock(), most, 0);
    }
    if ["/dev/fd", "/proc/self/fd"].iter().any(|opened| path.starts_with(opened)) {
        return read_at_most(File::open(path)?, most, 0);
    }
    read(path, most)
}

/// Reads to the end; `expected` octets are likely.
fn read_at_most(file: impl Read, most: u64, expected: u64) -> io::Result<Vec<u8>> {
    let mut octets = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
    let len = file.take(most.saturating_add(1)).read_to_end(&mut octets)?;
    if len as u64 > most { Err(too_long(most)) } else { Ok(octets) }
}

fn check(metadata: &Metadata, most: u64) -> io::Result<()> {
    if !metadata.is_file() {
        return Err(io::Error::other(format!("it is {}, not a file", kind(metadata.file_type()))));
    }
    if metadata.len() > most { Err(too_long(most)) } else { Ok(()) }
}

fn too_long(most: u64) -> io::Error {
    let text = match most {
        1..1024 => format!("{most} octets"),
        _ => format!("{} MiB", most >> 20),
    };
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {text}"))
}

fn kind(file_type: FileType) -> &'static str {
    if file_type.is_dir() {
        "a directory"
    } else if file_type.is_fifo() {
        "a FIFO"
    } else if file_type.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}
