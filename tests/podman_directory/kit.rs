//! A directory, a table that follows it, and a hand that writes as netavark does.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use callsign::source::podman::{Directory, Reading};
use callsign::table::{NameTable, Network};

/// How long anything may take that takes milliseconds on an idle machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Kit {
    pub(crate) scratch: tempfile::TempDir,
    pub(crate) directory: Directory,
    pub(crate) table: NameTable,
}

/// What a reading said, in words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) new: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) changed: Vec<String>,
}

impl Kit {
    pub(crate) fn new() -> Kit {
        let scratch = tempfile::tempdir().unwrap();
        Kit { directory: Directory::new(scratch.path()), scratch, table: NameTable::new() }
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

    /// Reads once, and does with what it gives what a server does.
    pub(crate) fn read(&mut self) -> Reading {
        let mut reading = self.directory.read(&self.table);
        for name in &reading.removed {
            self.table.remove(name).unwrap();
        }
        for network in reading.networks.drain(..) {
            self.update(network);
        }
        reading
    }

    fn update(&self, network: Network) {
        match self.table.network(network.name()) {
            Some(present) => drop(present.replace_with(&network).unwrap()),
            None => drop(self.table.add(network).unwrap()),
        }
    }

    /// Reads, and again as long as it is asked for, by a clock that is put forward.
    pub(crate) fn settle(&mut self) -> Seen {
        let mut seen = Seen::default();
        let start = Instant::now();
        loop {
            let reading = self.directory.read(&self.table);
            seen.new.extend(reading.networks.iter().map(|network| network.name().to_owned()));
            seen.removed.extend(reading.removed.iter().cloned());
            seen.changed.extend(reading.changed.iter().cloned());
            for name in &reading.removed {
                self.table.remove(name).unwrap();
            }
            reading.networks.into_iter().for_each(|network| self.update(network));
            let Some(again) = reading.again else { return seen };
            assert!(start.elapsed() < DEADLINE, "it ends at some time");
            self.directory.put_clock_forward(again);
        }
    }

    /// A network's endpoints in words, sorted: `id addresses names upstreams`.
    pub(crate) fn endpoints(&self, network: &str) -> Vec<String> {
        let network = self.table.network(network).unwrap_or_else(|| panic!("no network {network}"));
        let snapshot = network.snapshot();
        let mut all: Vec<String> = snapshot
            .endpoints()
            .map(|endpoint| {
                let addresses: Vec<String> = endpoint.addresses().iter().map(ToString::to_string).collect();
                let names: Vec<String> = endpoint.names().iter().map(ToString::to_string).collect();
                let upstreams: Vec<String> = endpoint.upstreams().iter().map(ToString::to_string).collect();
                let parts = [endpoint.id(), &addresses.join(","), &names.join(","), &upstreams.join(",")];
                parts.join(" ").trim_end().to_owned()
            })
            .collect();
        all.sort();
        all
    }
}
