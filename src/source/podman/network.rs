//! One network: what was read of its file last, and how its endpoints get from there to what the file says now.

use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::table::{NameTable, Network, NetworkBuilder, Record, Settings, Snapshot, TableError};

use super::file_diff::{FileDiff, Problems};
use super::file_stamp::FileStamp;
use super::fingerprints::{Fingerprinter, Fingerprints};
use super::format::Header;
use super::lines::{Lines, Source};
use super::pending_removals::{CONFIRMED, PendingRemovals, Seen};

/// A file that ends within a line, or that is empty, is believed to be finished when nobody has written to it for so long.
const ABANDONED: Duration = Duration::from_millis(250);
/// How soon an unfinished file is read again, at first and later.
const AGAIN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));

/// A file of the directory, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundFile {
    /// Its name in the directory.
    pub(super) name: String,
    pub(super) is_internal: bool,
    pub(super) stamp: FileStamp,
}

/// What a reading needs to know besides the file.
pub(super) struct Place<'d> {
    pub(super) directory: &'d Path,
    pub(super) fingerprinter: &'d Fingerprinter,
    pub(super) table: &'d NameTable,
    /// Finishes the settings of a network.
    pub(super) finish: &'d dyn Fn(&str, NetworkBuilder) -> Result<Network, TableError>,
    pub(super) clock: Clock,
}

/// The time that waiting goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub(super) now: Instant,
    /// The time that files are stamped with; tests have none, and go by when they saw a stamp first.
    pub(super) wall: Option<SystemTime>,
}

/// What a look at a network's files came to.
#[derive(Debug)]
pub(super) enum ScanOutcome {
    /// All is as it was.
    Same,
    /// Endpoints were changed, in the table.
    Changed,
    /// The network is new, or its settings changed.
    New(Box<Network>),
    /// The files say nothing any more.
    Gone,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Watched {
    files: Vec<FoundFile>,
    /// Since when the files are like this.
    seen: Instant,
    /// True if the next change will give another stamp.
    is_settled: bool,
    /// True if something that the files say, or do not say, is not believed yet.
    is_waiting: bool,
    /// What the files no longer say, or say differently.
    pending: PendingRemovals,
    header: Header,
    /// The fingerprint of the first line that gave the header.
    header_fingerprint: u64,
    containers: Fingerprints,
    /// What the table should have; `None` if that is to be made anew.
    wanted: Option<Wanted>,
    /// True if the table was given this network.
    is_given: bool,
}

/// All of a network but its endpoints.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    settings: Settings,
    /// Aliases among them.
    records: Box<[Record]>,
}

impl Wanted {
    fn of(snapshot: &Snapshot) -> Wanted {
        Wanted { settings: snapshot.settings().clone(), records: snapshot.records().into() }
    }

    fn is_in(&self, snapshot: &Snapshot) -> bool {
        self.settings == *snapshot.settings() && *self.records == *snapshot.records()
    }
}

/// An open file of a network.
#[derive(Debug)]
pub(super) struct Opened {
    file: File,
    /// As it was when it was opened.
    stamp: FileStamp,
    is_internal: bool,
    /// True if nobody had written to it for long.
    is_abandoned: bool,
}

impl Watched {
    pub(super) fn new(now: Instant) -> Watched {
        Watched {
            files: Vec::new(),
            seen: now,
            is_settled: false,
            is_waiting: false,
            pending: PendingRemovals::default(),
            header: Header::default(),
            header_fingerprint: 0,
            containers: Fingerprints::default(),
            wanted: None,
            is_given: false,
        }
    }

    /// True if the table was given this network.
    pub(super) fn is_given(&self) -> bool {
        self.is_given
    }

    /// True if it listens somewhere, or may be about to.
    pub(super) fn is_served(&self) -> bool {
        self.is_waiting || self.is_given && self.header.listens()
    }

    /// When to look again without a signal.
    pub(super) fn again(&self, clock: Clock) -> Option<Duration> {
        if !self.is_waiting {
            return None;
        }
        let quiet = self.quiet(clock);
        let unfinished = quiet.clamp(AGAIN.0, AGAIN.1);
        Some(if quiet < CONFIRMED { unfinished.min(CONFIRMED - quiet + Duration::from_millis(1)) } else { unfinished })
    }

    /// Reads the files if they are not what they were, and brings the network's endpoints up to date.
    ///
    /// # Errors
    /// A file cannot be read: all stays as it was.
    pub(super) fn look(
        &mut self,
        place: &Place<'_>,
        name: &str,
        found: Vec<FoundFile>,
        is_renewed: bool,
    ) -> io::Result<ScanOutcome> {
        let is_same = self.files == found;
        let present = place.table.network(name);
        let is_applied = match (&self.wanted, &present) {
            (None, _) => true,
            (Some(wanted), Some(present)) => wanted.is_in(&present.snapshot()),
            (Some(_), None) => false,
        };
        if is_same && self.is_settled && !self.is_waiting && is_applied && !is_renewed {
            return Ok(ScanOutcome::Same);
        }
        if !is_applied {
            // What was made of the files last did not get into the table: start over.
            (self.containers, self.pending, self.wanted) = Default::default();
        }
        self.is_settled = false;
        if !is_same {
            self.seen = place.clock.now;
            self.files = found;
        }
        let mut open = self.open(place)?;
        self.read(place, name, &mut open, present.filter(|_| self.wanted.is_some()), is_renewed)
    }

    /// Opens the files, and takes their stamps anew.
    fn open(&mut self, place: &Place<'_>) -> io::Result<Vec<Lines<Opened>>> {
        let mut opened = Vec::new();
        for found in &mut self.files {
            // Not waiting for a writer, should it be a pipe since it was looked at.
            let file = File::options()
                .read(true)
                .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
                .open(place.directory.join(&found.name))?;
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::other("not a regular file"));
            }
            let stamp = FileStamp::of(&metadata);
            if stamp != found.stamp {
                found.stamp = stamp;
                self.seen = place.clock.now;
            }
            opened.push(Opened { file, stamp, is_internal: found.is_internal, is_abandoned: false });
        }
        let is_abandoned = self.quiet(place.clock) >= ABANDONED;
        Ok(opened.into_iter().map(|opened| Lines::new(Opened { is_abandoned, ..opened })).collect())
    }

    /// How long nobody has written to the files.
    fn quiet(&self, clock: Clock) -> Duration {
        let ages = self.files.iter().filter_map(|found| Some(found.stamp.age(clock.wall?)));
        ages.min().unwrap_or_default().max(clock.now.saturating_duration_since(self.seen))
    }

    fn read(
        &mut self,
        place: &Place<'_>,
        name: &str,
        open: &mut [Lines<Opened>],
        present: Option<Arc<Network>>,
        is_renewed: bool,
    ) -> io::Result<ScanOutcome> {
        let quiet = self.quiet(place.clock);
        let mut problems = Problems::default();
        let is_internal = open.iter().any(|lines| lines.source().is_internal);
        let header = self.read_header(place, open, &mut problems)?;
        if header.is_none() {
            // Just made, or just emptied to be written anew; or left like that.
            let is_abandoned = open.iter().all(|lines| lines.source().is_finished());
            self.pending.note_nothing();
            self.note(place.clock.now, open, !is_abandoned);
            return Ok(if is_abandoned { self.forget() } else { ScanOutcome::Same });
        }
        let is_new_header = header != Some(self.header_fingerprint) || self.wanted.is_none() || is_renewed;
        let fresh = is_new_header.then(|| (place.finish)(name, self.header.network(name, is_internal))).transpose();
        let fresh = fresh
            .map_err(io::Error::other)?
            .filter(|fresh| !self.wanted.as_ref().is_some_and(|wanted| wanted.is_in(&fresh.snapshot())));
        self.header_fingerprint = header.unwrap_or_default();

        let before = present.as_ref().map(|network| network.snapshot().clone());
        if let (Some(fresh), Some(before)) = (&fresh, &before) {
            copy_endpoints(before, fresh, &self.containers, place.fingerprinter);
        }
        let Some(target) = fresh.as_ref().or(present.as_deref()) else { return Ok(ScanOutcome::Same) };
        let revision = target.snapshot().revision();
        let mut is_waiting = false;
        let changed = target.change(|change| {
            let known = &mut self.containers;
            let mut diff =
                FileDiff::new(place.fingerprinter, is_internal, before.as_deref(), known, change, &mut problems);
            let streamed = diff.stream(open);
            let seen = Seen {
                now: place.clock.now,
                is_read: streamed.is_ok(),
                is_ended: open.iter().all(Lines::is_whole),
                is_unmoved: open.iter().all(|lines| lines.source().is_unmoved()),
                quiet,
            };
            diff.finish(&seen, &mut self.pending);
            // A file that cannot be read is read again at the next signal.
            is_waiting = seen.is_read && !(self.pending.is_empty() && seen.is_still());
            if let Err(error) = streamed {
                tracing::warn!(network = name, %error, "cannot be read to its end; what is not read stays as it was");
            }
        });
        problems.tell(&place.directory.join(name));
        // The network left the table since it was looked up: the next look finds that.
        let revised = changed.map_err(io::Error::other)?;
        if let Some(fresh) = &fresh {
            self.wanted = Some(Wanted::of(&fresh.snapshot()));
            self.is_given = true;
        }
        self.note(place.clock.now, open, is_waiting);
        Ok(match fresh {
            Some(fresh) => ScanOutcome::New(Box::new(fresh)),
            None if revised > revision => ScanOutcome::Changed,
            None => ScanOutcome::Same,
        })
    }

    /// Forgets all that was read.
    fn forget(&mut self) -> ScanOutcome {
        (self.containers, self.pending, self.header, self.header_fingerprint) = Default::default();
        self.wanted = None;
        if mem::take(&mut self.is_given) { ScanOutcome::Gone } else { ScanOutcome::Same }
    }

    /// Notes whether something has to be waited for, and whether the files' stamps will tell the next change.
    fn note(&mut self, now: Instant, open: &[Lines<Opened>], is_waiting: bool) {
        self.is_waiting = is_waiting;
        for (found, lines) in self.files.iter_mut().zip(open) {
            if let Some(stamp) = lines.source().moved() {
                found.stamp = stamp;
                self.seen = now;
                self.is_settled = false;
                return;
            }
        }
        let clock = SystemTime::now();
        self.is_settled = self.files.iter().all(|found| found.stamp.is_settled(clock));
    }

    /// Reads the first lines, and gives their fingerprint; `None` if there is no first line. If it names no address the last one
    /// that did stays in force.
    fn read_header(
        &mut self,
        place: &Place<'_>,
        open: &mut [Lines<Opened>],
        problems: &mut Problems,
    ) -> io::Result<Option<u64>> {
        let mut header = Header::default();
        let mut found = Vec::new();
        let mut fingerprint = None;
        for lines in open {
            let is_internal = lines.source().is_internal;
            let Some(line) = lines.next()? else { continue };
            fingerprint = Some(place.fingerprinter.fold(fingerprint.unwrap_or(is_internal.into()), line.text));
            header.add(&line, &mut found);
        }
        if fingerprint.is_some() && fingerprint != Some(self.header_fingerprint) {
            problems.add(found);
            if header.listens() || !self.header.listens() {
                self.header = header;
            }
        }
        Ok(fingerprint)
    }
}

impl Opened {
    /// The file's stamp now, if it is another one than when it was opened.
    fn moved(&self) -> Option<FileStamp> {
        let stamp = FileStamp::of(&self.file.metadata().ok()?);
        (stamp != self.stamp).then_some(stamp)
    }

    fn is_unmoved(&self) -> bool {
        self.moved().is_none()
    }
}

impl Read for Opened {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.file.read(into)
    }
}

impl Source for Opened {
    fn is_finished(&self) -> bool {
        self.is_abandoned && self.is_unmoved()
    }
}

/// Copies the endpoints that the files have given to a network, to one that takes its place.
fn copy_endpoints(from: &Snapshot, to: &Network, known: &Fingerprints, fingerprinter: &Fingerprinter) {
    // A network that is in no table yet refuses nothing.
    let _ = to.change(|change| {
        let known = from.endpoints().filter(|endpoint| known.get(fingerprinter.id(endpoint.id().as_bytes())).is_some());
        known.cloned().for_each(|endpoint| change.attach(endpoint));
    });
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_a_file_ends_in_counts_only_if_nobody_has_written_to_it_since_it_was_opened() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let mut writer = File::options().append(true).open(&path).unwrap();
        writer.write_all(b"first\nabc 10.88.0.2").unwrap();
        let open = |is_abandoned| {
            let file = File::open(&path).unwrap();
            let stamp = FileStamp::of(&file.metadata().unwrap());
            Lines::new(Opened { file, stamp, is_internal: false, is_abandoned })
        };
        for (is_abandoned, is_written, counts) in
            [(true, false, true), (false, false, false), (true, true, false), (false, true, false)]
        {
            let mut lines = open(is_abandoned);
            assert_eq!(lines.next().unwrap().unwrap().text, b"first");
            if is_written {
                writer.write_all(b"1").unwrap();
            }
            assert_eq!(lines.source().is_unmoved(), !is_written);
            assert_eq!(lines.next().unwrap().is_some(), counts, "{is_abandoned} {is_written}");
            assert_eq!(lines.is_whole(), counts);
        }
    }
}
