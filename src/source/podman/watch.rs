//! Following the directory where nobody sends signals: netavark tells the server whose pid is in the directory, and no other.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

/// Follows a directory until it is dropped, also while it does not exist.
///
/// Start it before reading the directory, so that no change is missed.
#[derive(Debug)]
pub struct DirectoryWatcher {
    messages: Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

/// Why a directory cannot be followed.
#[derive(Debug, thiserror::Error)]
#[error("changes of {} are not noticed: {cause}", path.display())]
pub struct DirectoryWatchError {
    path: PathBuf,
    #[source]
    cause: Box<dyn std::error::Error + Send + Sync>,
}

enum Message {
    Changed,
    Stop,
}

impl DirectoryWatcher {
    /// Calls `changed`, on a thread of its own, each time that something in the directory at `path` has changed.
    ///
    /// # Errors
    /// [`DirectoryWatchError`] where the system has no inotify, or none left.
    pub fn new(path: &Path, changed: impl FnMut() + Send + 'static) -> Result<DirectoryWatcher, DirectoryWatchError> {
        let fail = |cause| DirectoryWatchError { path: path.to_owned(), cause };
        let path = std::path::absolute(path).map_err(|error| fail(error.into()))?;
        let (messages, inbox) = channel();
        let (outbox, watched) = (messages.clone(), path.clone());
        let notify = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| concerns(&event, &watched)) {
                // Nobody receives any more: the watcher is being dropped.
                let _ = outbox.send(Message::Changed);
            }
        })
        .map_err(|error| fail(error.into()))?;
        let mut follower = Follower { path, notify, watched: Vec::new() };
        follower.watch().map_err(|error| fail(error.into()))?;
        let thread = std::thread::Builder::new()
            .name("callsign-podman".to_owned())
            .spawn(move || follower.run(&inbox, changed))
            .map_err(|error| fail(error.into()))?;
        Ok(DirectoryWatcher { messages, thread: Some(thread) })
    }
}

impl Drop for DirectoryWatcher {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            // It panics only if `changed` does, which was reported then.
            let _ = thread.join();
        }
    }
}

/// True if something may have changed: in the directory, or on the way to it.
fn concerns(event: &Event, directory: &Path) -> bool {
    let is_reading = matches!(event.kind, EventKind::Access(kind) if !is_written(kind));
    let is_near = |path: &PathBuf| path.starts_with(directory) || directory.starts_with(path);
    event.need_rescan() || !is_reading && event.paths.iter().any(is_near)
}

fn is_written(kind: notify::event::AccessKind) -> bool {
    kind == notify::event::AccessKind::Close(notify::event::AccessMode::Write)
}

/// The thread's own.
struct Follower {
    path: PathBuf,
    notify: RecommendedWatcher,
    watched: Vec<PathBuf>,
}

impl Follower {
    fn run(mut self, inbox: &Receiver<Message>, mut changed: impl FnMut()) {
        while matches!(inbox.recv(), Ok(Message::Changed)) {
            // All that has happened by now is one change.
            for message in inbox.try_iter() {
                if matches!(message, Message::Stop) {
                    return;
                }
            }
            if let Err(error) = self.watch() {
                tracing::warn!(path = %self.path.display(), %error, "changes of this directory may go unnoticed");
            }
            changed();
        }
    }

    /// Watches the directory, and the nearest one above it that exists: there it is made, and removed.
    fn watch(&mut self) -> notify::Result<()> {
        let places = || {
            let above = self.path.ancestors().skip(1).find(|place| place.is_dir());
            let itself = Some(self.path.as_path()).filter(|path| path.is_dir());
            itself.into_iter().chain(above).map(Path::to_owned).collect::<Vec<_>>()
        };
        loop {
            let wanted = places();
            for directory in std::mem::take(&mut self.watched) {
                // It may be gone, and its watch with it.
                let _ = self.notify.unwatch(&directory);
            }
            for directory in &wanted {
                match self.notify.watch(directory, RecursiveMode::NonRecursive) {
                    Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
                    outcome => outcome?,
                }
                self.watched.push(directory.clone());
            }
            // What changed before the watches were there would go unnoticed.
            if wanted == places() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::RecvTimeoutError;
    use std::time::Duration;

    #[test]
    fn a_directory_is_followed_before_it_is_there_and_after_it_was_removed() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("networks/aardvark-dns");
        let (told, changes) = channel();
        let watcher = DirectoryWatcher::new(&path, move || _ = told.send(())).unwrap();
        let wait = |what: &str| {
            changes.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("not noticed: {what}"));
            // Until the watches are those of now, and nothing more is told.
            while changes.recv_timeout(Duration::from_millis(200)) != Err(RecvTimeoutError::Timeout) {}
        };
        std::fs::create_dir_all(&path).unwrap();
        wait("the directory");
        std::fs::write(path.join("podman"), "10.88.0.1\n").unwrap();
        wait("a file");
        std::fs::remove_dir_all(&path).unwrap();
        wait("its end");
        std::fs::create_dir(&path).unwrap();
        wait("another one");
        std::fs::write(path.join("podman"), "10.88.0.1\n").unwrap();
        wait("a file in it");
        drop(watcher);
    }
}
