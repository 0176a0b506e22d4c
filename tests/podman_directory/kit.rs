//! A directory, a table that follows it, and a hand that writes as netavark does.

use std::fmt::Debug;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callsign::source::podman::{Directory, DirectoryReading};
use callsign::table::{Endpoint, Event, NameTable, Snapshot};

/// More readings than these in a row are without end.
const READINGS: usize = 1000;

pub(crate) struct Kit {
    pub(crate) scratch: tempfile::TempDir,
    pub(crate) directory: Directory,
    pub(crate) table: NameTable,
    time: Duration,
}

/// What happened to which networks, each as often as it happened.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) new: Vec<String>,
    pub(crate) removed: Vec<String>,
    /// Endpoints only.
    pub(crate) changed: Vec<String>,
    /// Settings, too.
    pub(crate) set: Vec<String>,
}

/// One of each kind that is named, of the network `podman`.
pub(crate) fn seen(kinds: &[&str]) -> Seen {
    let mut seen = Seen::default();
    for kind in kinds {
        match *kind {
            "new" => seen.new.push("podman".to_owned()),
            "removed" => seen.removed.push("podman".to_owned()),
            "changed" => seen.changed.push("podman".to_owned()),
            "set" => seen.set.push("podman".to_owned()),
            other => panic!("no such kind: {other}"),
        }
    }
    seen
}

impl Kit {
    /// An empty directory, and a clock that stands still.
    pub(crate) fn new() -> Kit {
        Kit::with(|directory| directory)
    }

    pub(crate) fn with(make: impl FnOnce(Directory) -> Directory) -> Kit {
        let scratch = tempfile::tempdir().unwrap();
        let mut directory = make(Directory::new(scratch.path()));
        directory.set_clock(Duration::ZERO);
        Kit { directory, scratch, table: NameTable::new(), time: Duration::ZERO }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.scratch.path().join(file)
    }

    /// Writes a whole file at once.
    pub(crate) fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(file), content).unwrap();
    }

    /// Adds to the end of a file, in one write.
    pub(crate) fn append(&self, file: &str, content: impl AsRef<[u8]>) {
        OpenOptions::new().append(true).open(self.path(file)).unwrap().write_all(content.as_ref()).unwrap();
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.time += time;
        self.directory.set_clock(self.time);
    }

    /// Reads once, and does with what it gives what a server does.
    pub(crate) fn read(&mut self) -> DirectoryReading {
        let mut reading = self.directory.read(&self.table);
        for name in &reading.removed {
            self.table.remove(name).unwrap();
        }
        for network in reading.networks.drain(..) {
            match self.table.network(network.name()) {
                Some(present) => drop(present.replace_with(&network).unwrap()),
                None => drop(self.table.add(network).unwrap()),
            }
        }
        reading
    }

    /// Reads, and again after as long as it says, until it says nothing: what that changed.
    pub(crate) fn settle(&mut self) -> Seen {
        let mut seen = Seen::default();
        let mut feed = self.table.follow();
        for _ in 0..READINGS {
            let reading = self.read();
            while let Some(event) = feed.try_next() {
                match event {
                    Event::NetworkAdded { network } => seen.new.push(network.into()),
                    Event::NetworkChanged { network, settings: true, .. } => seen.set.push(network.into()),
                    Event::NetworkChanged { network, .. } => seen.changed.push(network.into()),
                    Event::NetworkRemoved { network } => seen.removed.push(network.into()),
                    other => panic!("{other:?}"),
                }
            }
            let Some(again) = reading.again else { return seen };
            assert!(again >= Duration::from_millis(1), "it leaves the writer time");
            self.pass(again);
        }
        panic!("it never ends");
    }

    /// The network as it is now.
    pub(crate) fn snapshot(&self, network: &str) -> Arc<Snapshot> {
        let network = self.table.network(network).unwrap_or_else(|| panic!("no network {network}"));
        network.snapshot().clone()
    }

    /// Where a network listens, and its upstreams, in words.
    pub(crate) fn header(&self, network: &str) -> String {
        let snapshot = self.snapshot(network);
        let settings = snapshot.settings();
        let internal = if settings.internal { " internal" } else { "" };
        format!("{} {}{internal}", words(&settings.listen), words(settings.upstreams.iter())).trim_end().to_owned()
    }

    /// A network's endpoints in words, sorted: `id addresses names upstreams`.
    pub(crate) fn endpoints(&self, network: &str) -> Vec<String> {
        let snapshot = self.snapshot(network);
        let in_words = |endpoint: &Endpoint| {
            let (addresses, names) = (words(endpoint.addresses()), words(endpoint.names()));
            let upstreams = words(endpoint.upstreams().iter());
            format!("{} {addresses} {names} {upstreams}", endpoint.id()).trim_end().to_owned()
        };
        let mut all: Vec<String> = snapshot.endpoints().map(in_words).collect();
        all.sort();
        all
    }
}

fn words<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = all.into_iter().map(|word| word.to_string()).collect();
    words.join(",")
}

/// The warnings and errors that are logged while `act` runs.
pub(crate) fn logged(act: impl FnOnce()) -> Vec<String> {
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), act);
    std::mem::take(&mut *log.0.lock().unwrap())
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl tracing::field::Visit for Log {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0.lock().unwrap().push(format!("{value:?}"));
        }
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
