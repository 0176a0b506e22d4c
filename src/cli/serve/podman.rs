//! Podman's directory, read for the host view alone: its networks are answered at no gateway here, as the server that netavark
//! started does that.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use callsign::source::podman::{Directory, DirectoryWatcher};
use callsign::table::NameTable;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, warn};

/// The directory, and a table of its networks. It is no table of the server's: clients of other networks are nobody there.
#[derive(Debug)]
pub(super) struct Podman {
    path: PathBuf,
    directory: Directory,
    table: NameTable,
    changed: Arc<Notify>,
    _watcher: Option<DirectoryWatcher>,
    /// When to read again although nothing changed: a file was half written.
    again: Option<Instant>,
}

impl Podman {
    pub(super) fn new(path: &Path) -> Podman {
        let changed = Arc::new(Notify::new());
        let notify = changed.clone();
        // Before the directory is read, so that no change falls in between.
        let watcher = DirectoryWatcher::new(path, move || notify.notify_one());
        let watcher = watcher.inspect_err(|error| warn!("{error}; send SIGHUP after a change")).ok();
        let mut podman = Podman {
            path: path.to_owned(),
            directory: Directory::new(path),
            table: NameTable::new(),
            changed,
            _watcher: watcher,
            again: None,
        };
        podman.read();
        podman
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn table(&self) -> &NameTable {
        &self.table
    }

    /// Waits until there is something to [read](Podman::read). Cancelling it loses nothing.
    pub(super) async fn changed(&self) {
        match self.again {
            Some(again) => tokio::select! {
                () = self.changed.notified() => {}
                () = sleep_until(again) => {}
            },
            None => self.changed.notified().await,
        }
    }

    /// Brings the table in line with the files. True if a network came or went.
    pub(super) fn read(&mut self) -> bool {
        let reading = self.directory.read(&self.table);
        self.again = reading.again.map(|after| Instant::now() + after);
        debug!(networks = reading.networks.len(), removed = reading.removed.len(), "Podman's directory read");
        let is_any = !reading.networks.is_empty() || !reading.removed.is_empty();
        for name in &reading.removed {
            // One that was never there is gone as well.
            let _ = self.table.remove(name);
        }
        for network in reading.networks {
            let name = network.name().to_owned();
            let outcome = match self.table.network(&name) {
                Some(known) => known.replace_with(&network).map(drop),
                None => self.table.add(network).map(drop),
            };
            if let Err(error) = outcome {
                error!(network = name, %error, "the host view does not have it");
            }
        }
        is_any
    }
}
