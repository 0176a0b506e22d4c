//! Following the file: a thread that tells when its content has changed, however that came about.
//!
//! What is watched is directories, not the file: a file that is replaced by rename is another file. Watched are the
//! directory of the path, that of each symbolic link on the way and that of the file at its end, or the nearest directory
//! that exists; so a link that is turned to another file (as Kubernetes does with mounted configurations) and a directory
//! that is deleted and made again are followed, too.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::MAX_SIZE;
use crate::source::file;

/// Events that follow each other faster than this are one change: an editor's save is many.
const QUIET: Duration = Duration::from_millis(50);
/// But a change is not waited for longer than this.
const LONGEST: Duration = Duration::from_millis(500);
/// More symbolic links than this are taken for a loop, as the kernel does.
const MAX_LINKS: usize = 40;

/// Follows one file until it is dropped.
///
/// Start it before reading the file, so that no change is missed.
#[derive(Debug)]
pub struct Watcher {
    messages: Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

/// Why a file cannot be followed. Reading it again on demand still works.
#[derive(Debug, thiserror::Error)]
#[error("changes of {} are not noticed: {cause}", path.display())]
pub struct WatchError {
    path: PathBuf,
    #[source]
    cause: Box<dyn std::error::Error + Send + Sync>,
}

enum Message {
    Event(Event),
    /// The file was read elsewhere, and said this; `None` if it could not be read.
    Read(Option<Vec<u8>>),
    Stop,
}

impl Watcher {
    /// Calls `changed` each time that the file at `path` has another content than before, cannot be read any more, or can be
    /// read again, on a thread of its own.
    ///
    /// # Errors
    /// [`WatchError`] where the system has no inotify, or none left.
    pub fn new(path: &Path, changed: impl FnMut() + Send + 'static) -> Result<Watcher, WatchError> {
        let fail = |cause| WatchError { path: path.to_owned(), cause };
        let absolute = std::path::absolute(path).map_err(|error| fail(error.into()))?;
        let (messages, inbox) = channel();
        let outbox = messages.clone();
        let notify = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if let Ok(event) = event
                && tells_of_a_change(&event)
            {
                // Nobody receives any more: the watcher is being dropped.
                let _ = outbox.send(Message::Event(event));
            }
        })
        .map_err(|error| fail(error.into()))?;
        let mut follower =
            Follower { path: absolute, notify, watched: BTreeSet::new(), places: BTreeSet::new(), content: None };
        follower.watch().map_err(|error| fail(error.into()))?;
        follower.content = file::read(&follower.path, MAX_SIZE).ok();
        let thread = std::thread::Builder::new()
            .name("callsign-config".to_owned())
            .spawn(move || follower.run(&inbox, changed))
            .map_err(|error| fail(error.into()))?;
        Ok(Watcher { messages, thread: Some(thread) })
    }

    /// Says that the file was read for another reason than a call of `changed`, and what it said, `None` if it could not be
    /// read: the next content is compared with that. Without it a file that is changed, read on demand and changed back at
    /// once would seem unchanged.
    pub fn note(&self, content: Option<Vec<u8>>) {
        // A thread that is gone follows nothing any more.
        let _ = self.messages.send(Message::Read(content));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            // It panics only if `changed` does, which was reported then.
            let _ = thread.join();
        }
    }
}

/// False for what happens all the time and changes nothing: opening, reading.
fn tells_of_a_change(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// True for writing: more may follow at once, and until then it may be half a file.
fn is_writing(event: &Event) -> bool {
    matches!(event.kind, EventKind::Modify(ModifyKind::Data(_)))
}

/// The thread's own.
struct Follower {
    path: PathBuf,
    notify: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    /// The links and the file on the way, each in a watched directory.
    places: BTreeSet<PathBuf>,
    /// What the file said when it was last told of, or read elsewhere; `None` if it could not be read then.
    content: Option<Vec<u8>>,
}

impl Follower {
    fn run(mut self, inbox: &Receiver<Message>, mut changed: impl FnMut()) {
        while self.wait(inbox).is_ok() {
            if let Err(error) = self.watch() {
                tracing::warn!(path = %self.path.display(), %error, "changes of this file may go unnoticed");
            }
            let content = file::read(&self.path, MAX_SIZE).ok();
            if self.content != content {
                self.content = content;
                changed();
            }
        }
    }

    /// Waits until something happened to the file and then all is quiet.
    fn wait(&mut self, inbox: &Receiver<Message>) -> Result<(), RecvTimeoutError> {
        loop {
            match inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)? {
                Message::Read(content) => self.content = content,
                Message::Stop => return Err(RecvTimeoutError::Disconnected),
                Message::Event(event) if self.concerns(&event) => break,
                Message::Event(_) => {}
            }
        }
        let last = Instant::now() + LONGEST;
        let mut quiet = Instant::now() + QUIET;
        loop {
            match inbox.recv_timeout(quiet.saturating_duration_since(Instant::now())) {
                Ok(Message::Read(content)) => self.content = content,
                Ok(Message::Stop) => return Err(RecvTimeoutError::Disconnected),
                Ok(Message::Event(event)) if self.concerns(&event) => {
                    let next = Instant::now() + QUIET;
                    // A writer that does not pause is waited for, however long it takes.
                    quiet = if is_writing(&event) { next } else { next.min(last).max(quiet) };
                }
                Ok(Message::Event(_)) => {}
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// True if the file may have another content after this.
    fn concerns(&self, event: &Event) -> bool {
        if event.need_rescan() {
            return true;
        }
        let is_ours = |path: &PathBuf| self.places.contains(path) || self.watched.contains(path);
        let Some(path) = event.paths.iter().find(|path| is_ours(path)) else { return false };
        match event.kind {
            // A new file is written to next; a new link is whole at once.
            EventKind::Create(CreateKind::File) => {
                fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink() || found.nlink() > 1)
            }
            // It may have become readable.
            EventKind::Modify(ModifyKind::Metadata(_)) => self.content.is_none(),
            _ => true,
        }
    }

    /// Watches the directories that matter now.
    fn watch(&mut self) -> notify::Result<()> {
        loop {
            for directory in std::mem::take(&mut self.watched) {
                // It may be gone, and its watch with it.
                let _ = self.notify.unwatch(&directory);
            }
            self.places = places(&self.path);
            for directory in self.places.iter().filter_map(|place| place.parent()) {
                if self.watched.insert(directory.to_owned()) {
                    match self.notify.watch(directory, RecursiveMode::NonRecursive) {
                        Err(error) if is_gone(&error) => {}
                        outcome => outcome?,
                    }
                }
            }
            // What changed before the watches were there would go unnoticed.
            if self.places == places(&self.path) {
                return Ok(());
            }
        }
    }
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

/// Each symbolic link on the way to a file and the file itself, or the first of them that does not exist; all by paths
/// without links in their directories.
fn places(path: &Path) -> BTreeSet<PathBuf> {
    let mut places = BTreeSet::new();
    let mut current = PathBuf::from("/");
    // What is left of the way, the next part last.
    let mut ahead: Vec<OsString> = parts(path);
    let mut links = 0;
    while let Some(part) = ahead.pop() {
        if part == ".." {
            current.pop();
            continue;
        }
        let next = current.join(&part);
        match fs::symlink_metadata(&next) {
            Ok(found) if found.is_symlink() => {
                places.insert(next.clone());
                links += 1;
                let Ok(target) = fs::read_link(&next) else { break };
                if links > MAX_LINKS {
                    break;
                }
                if target.is_absolute() {
                    current = PathBuf::from("/");
                }
                ahead.extend(parts(&target));
            }
            Ok(_) => {
                if ahead.is_empty() {
                    places.insert(next.clone());
                }
                current = next;
            }
            Err(_) => {
                places.insert(next);
                break;
            }
        }
    }
    places
}

/// The parts of a path, the first one last.
fn parts(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    names.collect()
}
