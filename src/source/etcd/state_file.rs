//! The last known state, in a file: what the other hosts have while etcd is away at the start.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::host::Item;
use crate::source::file;

/// The octets of the file, at most: all that is taken from other hosts, and some more.
const MAX_FILE: u64 = 256 << 20;
/// Those of a password.
const MAX_SECRET: u64 = 4 << 10;
const VERSION: u32 = 1;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    v: u32,
    /// What the keys begin with.
    pub root: String,
    pub cluster_id: u64,
    pub term: u64,
    pub revision: i64,
    /// Seconds since 1970.
    saved: u64,
    items: Vec<(String, String, i64)>,
}

impl Saved {
    pub(super) fn new(root: &str, cluster_id: u64, term: u64, revision: i64, items: Vec<Item>) -> Saved {
        let text = |octets: Vec<u8>| String::from_utf8(octets).ok();
        let items = items.into_iter().filter_map(|item| Some((text(item.key)?, text(item.value)?, item.revision)));
        let saved = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        Saved { v: VERSION, root: root.to_owned(), cluster_id, term, revision, saved, items: items.collect() }
    }

    /// What it says of the store.
    pub(super) fn items(&self) -> Vec<Item> {
        let item = |(key, value, revision): &(String, String, i64)| Item {
            key: key.clone().into_bytes(),
            value: value.clone().into_bytes(),
            revision: *revision,
        };
        self.items.iter().map(item).collect()
    }

    /// When it was written.
    pub(super) fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.saved)).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// # Errors
    /// It cannot be read, or is not such a file.
    pub(super) fn read(path: &Path) -> io::Result<Saved> {
        let saved: Saved = serde_json::from_slice(&file::read(path, MAX_FILE)?)?;
        match saved.v {
            VERSION => Ok(saved),
            _ => Err(io::Error::other("another version of callsign has written it")),
        }
    }

    /// Replaces the file: whoever reads it finds the old one or the new one whole. It is nobody else's to read.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let result = serde_json::to_vec(self).map_err(io::Error::other).and_then(|text| {
            // One that was left behind may be somebody's link.
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(&beside)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&beside, path)
        });
        if result.is_err() {
            let _ = fs::remove_file(&beside);
        }
        result
    }
}

/// A password, from a file of its own.
///
/// # Errors
/// It cannot be read, or has none.
pub(super) fn read_secret(path: &Path) -> io::Result<String> {
    let text = String::from_utf8(file::read(path, MAX_SECRET)?).map_err(io::Error::other)?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() { Err(io::Error::other("there is no password in it")) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn saved() -> Saved {
        let item = Item { key: b"/callsign/v1/host-b/host".to_vec(), value: b"{\"v\":1}".to_vec(), revision: 7 };
        Saved::new("/callsign/v1/", u64::MAX, 2, 7, vec![item])
    }

    #[test]
    fn the_file_is_replaced_whole_and_ours_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.json");
        fs::write(directory.path().join("store.json.new"), "half").unwrap();
        saved().write(&path).unwrap();
        saved().write(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        let read = Saved::read(&path).unwrap();
        assert_eq!((read.items(), read.revision, read.cluster_id), (saved().items(), 7, u64::MAX));
    }

    #[test]
    fn what_is_no_such_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.json");
        assert!(Saved::read(&path).is_err());
        for text in ["", "{", "{\"v\":1}", "\u{0}"] {
            fs::write(&path, text).unwrap();
            assert!(Saved::read(&path).is_err(), "{text}");
        }
        let other = Saved { v: 2, ..saved() };
        other.write(&path).unwrap();
        assert!(Saved::read(&path).unwrap_err().to_string().contains("another version"));
    }
}
