//! What tells that a file is another one, or was written to, without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

/// File systems take the time from a clock that ticks a few hundred times a second: two writes within a tick leave the same
/// stamp. A stamp that is older than this is past that.
const SETTLED: Duration = Duration::from_millis(100);
/// The same where the file system counts whole seconds.
const SETTLED_COARSE: Duration = Duration::from_secs(2);

/// What differs when a file was replaced, renamed or written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileStamp {
    dev: u64,
    ino: u64,
    size: u64,
    modified: (i64, i64),
    /// Of the content or of the inode: whatever is done to a file moves it, and nothing sets it back.
    changed: (i64, i64),
}

impl FileStamp {
    pub(super) fn of(metadata: &Metadata) -> FileStamp {
        FileStamp {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// How long ago the file was last changed; nothing if that lies in the future, as after the clock was set back.
    pub(super) fn age(&self, now: SystemTime) -> Duration {
        let (seconds, nanoseconds) = self.changed;
        let since_epoch = Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanoseconds).unwrap_or(0));
        now.duration_since(SystemTime::UNIX_EPOCH + since_epoch).unwrap_or_default()
    }

    /// True if the next change will give another stamp.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let is_coarse = self.changed.1 == 0 && self.modified.1 == 0;
        self.age(now) >= if is_coarse { SETTLED_COARSE } else { SETTLED }
    }
}
