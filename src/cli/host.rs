//! What `[host]` means for a server, and the host's /etc/hosts.

use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use callsign::responder::{HostAnswer, HostView};
use callsign::source::config::HostConfig;
use callsign::source::hosts::{self, HostsFile};
use callsign::source::podman::Directory;
use callsign::table::{NameTable, Snapshot};
use tokio::time::{Instant, sleep_until};

/// Between two looks at /etc/hosts.
const PAUSE: Duration = Duration::from_secs(1);

/// The host view of a configuration, which also sees the networks of these tables.
pub(super) fn view<'t>(
    config: &HostConfig,
    tables: impl IntoIterator<Item = &'t NameTable>,
) -> Result<HostView, String> {
    let answer = if config.published { HostAnswer::Published } else { HostAnswer::Containers };
    let mut view = HostView::builder().domain(&config.domain).answer(answer);
    for address in &config.listen {
        view = view.listen(&address.to_string());
    }
    for subnet in config.allow.iter().flatten() {
        view = view.allow(&subnet.to_string());
    }
    tables.into_iter().fold(view, |view, table| view.table(table)).build().map_err(|error| error.to_string())
}

/// The networks of Podman's directory as they are now.
pub(super) fn podman_table(directory: &Path) -> NameTable {
    let table = NameTable::new();
    for network in Directory::new(directory).read(&table).networks {
        // Each name is there once.
        let _ = table.add(network);
    }
    table
}

/// /etc/hosts, while its names are wanted (answers.md N13).
#[derive(Debug, Default)]
pub(super) struct Hosts {
    file: Option<HostsFile>,
    next: Option<Instant>,
}

impl Hosts {
    /// Follows the file, or no longer. True if there are other names now.
    pub(super) fn want(&mut self, is_wanted: bool) -> bool {
        match (&self.file, is_wanted) {
            (None, true) => {
                self.file = Some(HostsFile::new(hosts::system()));
                self.look();
                true
            }
            (Some(_), false) => {
                (self.file, self.next) = (None, None);
                true
            }
            _ => false,
        }
    }

    /// The names.
    pub(super) fn names(&self) -> Option<Arc<Snapshot>> {
        self.file.as_ref()?.names().cloned()
    }

    /// Waits until the file is to be looked at.
    pub(super) async fn due(&self) {
        match self.next {
            Some(next) => sleep_until(next).await,
            None => pending().await,
        }
    }

    /// Looks at the file. True if its names are others now.
    pub(super) fn look(&mut self) -> bool {
        self.next = Some(Instant::now() + PAUSE);
        self.file.as_mut().is_some_and(HostsFile::look)
    }
}
