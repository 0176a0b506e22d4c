//! One network: what was read of its file last, and how its endpoints get from there to what the file says now.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::table::{Change, Endpoint, NameTable, Network, NetworkBuilder, Settings, Snapshot, TableError};

use super::digests::{Digester, Digests};
use super::format::{Container, Header, Problem};
use super::lines::{Line, Lines};
use super::stamp::Stamp;

/// What is missing from a file that was written to less than this ago may be about to be written again.
pub(super) const CONFIRMED: Duration = Duration::from_millis(25);
/// A file that ends within a line, or that is empty, is believed to be finished when nobody has written to it for so long.
pub(super) const ABANDONED: Duration = Duration::from_millis(250);
/// But nothing is waited for longer than this.
pub(super) const LONGEST: Duration = Duration::from_secs(2);
/// How soon an unfinished file is read again, at first and later.
const AGAIN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));
/// Problems of a file that are told in full.
const TOLD: usize = 5;

/// A file of the directory, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Its name in the directory.
    pub(super) name: String,
    pub(super) is_internal: bool,
    pub(super) stamp: Stamp,
}

/// What a reading needs to know besides the file.
pub(super) struct Place<'d> {
    pub(super) directory: &'d Path,
    pub(super) digester: &'d Digester,
    pub(super) table: &'d NameTable,
    /// Finishes the settings of a network.
    pub(super) finish: &'d dyn Fn(&str, NetworkBuilder) -> Result<Network, TableError>,
    /// The time, as far as waiting is concerned.
    pub(super) now: Instant,
}

/// What a look at a network's files came to.
#[derive(Debug)]
pub(super) enum Looked {
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
    files: Vec<Found>,
    /// Since when the files are like this.
    seen: Instant,
    /// True if the next change will give another stamp.
    is_settled: bool,
    /// Since when something that the files say is not believed yet.
    waiting: Option<Instant>,
    header: Header,
    /// The digest of the first line that gave the header.
    header_digest: u64,
    containers: Digests,
    /// What the table should have; `None` if that is to be made anew.
    settings: Option<Settings>,
    /// True if the table was given this network.
    is_given: bool,
}

/// The open files of a network.
type Open = Vec<(Found, Lines<File>)>;

impl Watched {
    pub(super) fn new(now: Instant) -> Watched {
        Watched {
            files: Vec::new(),
            seen: now,
            is_settled: false,
            waiting: None,
            header: Header::default(),
            header_digest: 0,
            containers: Digests::default(),
            settings: None,
            is_given: false,
        }
    }

    /// True if the table was given this network.
    pub(super) fn is_given(&self) -> bool {
        self.is_given
    }

    /// True if it listens somewhere, or may be about to.
    pub(super) fn is_served(&self) -> bool {
        self.waiting.is_some() || self.is_given && self.header.listens()
    }

    /// When to look again without a signal.
    pub(super) fn again(&self, now: Instant) -> Option<Duration> {
        self.waiting?;
        let quiet = self.quiet(now);
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
        found: Vec<Found>,
        is_renewed: bool,
    ) -> io::Result<Looked> {
        let is_same = self.files == found;
        let present = place.table.network(name);
        let is_applied = match (&self.settings, &present) {
            (None, _) => true,
            (Some(wanted), Some(present)) => present.snapshot().settings() == wanted,
            (Some(_), None) => false,
        };
        if is_same && self.is_settled && self.waiting.is_none() && is_applied && !is_renewed {
            return Ok(Looked::Same);
        }
        if !is_applied {
            // What was made of the files last did not get into the table: start over.
            self.containers = Digests::default();
            self.settings = None;
        }
        self.is_settled = false;
        if !is_same {
            self.seen = place.now;
            self.files = found;
        }
        let mut open = self.open(place)?;
        self.read(place, name, &mut open, present.filter(|_| self.settings.is_some()), is_renewed)
    }

    /// Opens the files, and takes their stamps anew.
    fn open(&mut self, place: &Place<'_>) -> io::Result<Open> {
        let mut open = Vec::new();
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
            let stamp = Stamp::of(&metadata);
            if stamp != found.stamp {
                found.stamp = stamp;
                self.seen = place.now;
            }
            open.push((found.clone(), Lines::new(file)));
        }
        Ok(open)
    }

    /// How long nobody has written to the files.
    fn quiet(&self, now: Instant) -> Duration {
        let clock = SystemTime::now();
        let youngest = self.files.iter().map(|found| found.stamp.age(clock)).min().unwrap_or_default();
        youngest.max(now.saturating_duration_since(self.seen))
    }

    fn read(
        &mut self,
        place: &Place<'_>,
        name: &str,
        open: &mut Open,
        present: Option<Arc<Network>>,
        is_renewed: bool,
    ) -> io::Result<Looked> {
        let quiet = self.quiet(place.now);
        let is_abandoned = quiet >= ABANDONED;
        let is_overdue = self.waiting.is_some_and(|since| place.now.saturating_duration_since(since) >= LONGEST);
        let mut problems = Problems::default();
        let is_internal = open.iter().any(|(found, _)| found.is_internal);
        let header = self.read_header(place, open, is_abandoned, &mut problems)?;
        if header.is_none() {
            // Just made, or just emptied to be written anew; or left like that.
            self.note(place.now, !is_abandoned, is_unmoved(open));
            return Ok(if is_abandoned { self.forget() } else { Looked::Same });
        }
        let is_new_header = header != Some(self.header_digest) || self.settings.is_none() || is_renewed;
        let fresh = is_new_header.then(|| (place.finish)(name, self.header.network(name, is_internal))).transpose();
        let fresh = fresh
            .map_err(io::Error::other)?
            .filter(|fresh| self.settings.as_ref() != Some(fresh.snapshot().settings()));
        self.header_digest = header.unwrap_or_default();

        let before = present.as_ref().map(|network| network.snapshot().clone());
        if let (Some(fresh), Some(before)) = (&fresh, &before) {
            copy_endpoints(before, fresh, &self.containers, place.digester);
        }
        let Some(target) = fresh.as_ref().or(present.as_deref()) else { return Ok(Looked::Same) };
        let revision = target.snapshot().revision();
        let (mut is_read, mut is_waiting) = (true, false);
        let changed = target.change(|change| {
            let mut pass = Pass {
                digester: place.digester,
                is_internal,
                before: before.as_deref(),
                known: &mut self.containers,
                read: Digests::default(),
                known_seen: 0,
                change,
                fresh: None,
                drafts: HashMap::new(),
                problems: &mut problems,
            };
            let is_whole = pass.stream(open, is_abandoned).unwrap_or_else(|error| {
                tracing::warn!(network = name, %error, "cannot be read to its end; what it said before stays");
                is_read = false;
                false
            }) && is_unmoved(open);
            let is_confirmed = is_whole && quiet >= CONFIRMED || is_abandoned || is_overdue;
            let is_all = pass.finish(is_confirmed && is_read);
            is_waiting = is_read && (!is_all || !is_whole && !is_abandoned);
        });
        problems.tell(&place.directory.join(name));
        // The network left the table since it was looked up: the next look finds that.
        let revised = changed.map_err(io::Error::other)?;
        if let Some(fresh) = &fresh {
            self.settings = Some(fresh.snapshot().settings().clone());
            self.is_given = true;
        }
        self.note(place.now, is_waiting, is_read && is_unmoved(open));
        Ok(match fresh {
            Some(fresh) => Looked::New(Box::new(fresh)),
            None if revised > revision => Looked::Changed,
            None => Looked::Same,
        })
    }

    /// Forgets all that was read.
    fn forget(&mut self) -> Looked {
        (self.containers, self.header, self.header_digest) = Default::default();
        self.settings = None;
        if mem::take(&mut self.is_given) { Looked::Gone } else { Looked::Same }
    }

    /// Notes whether something has to be waited for, and whether the files' stamps will tell the next change.
    fn note(&mut self, now: Instant, is_waiting: bool, is_unmoved: bool) {
        self.waiting = is_waiting.then(|| self.waiting.unwrap_or(now));
        let clock = SystemTime::now();
        self.is_settled = is_unmoved && self.files.iter().all(|found| found.stamp.is_settled(clock));
    }

    /// Reads the first lines, and gives their digest; `None` if there is no first line. If it names no address the last one
    /// that did stays in force.
    fn read_header(
        &mut self,
        place: &Place<'_>,
        open: &mut Open,
        is_abandoned: bool,
        problems: &mut Problems,
    ) -> io::Result<Option<u64>> {
        let mut header = Header::default();
        let mut found = Vec::new();
        let mut digest = None;
        for (file, lines) in open {
            let Some(line) = lines.next()?.filter(|line| line.is_whole || is_abandoned) else { continue };
            digest = Some(place.digester.fold(digest.unwrap_or(file.is_internal.into()), line.text));
            header.add(&line, &mut found);
        }
        if digest.is_some() && digest != Some(self.header_digest) {
            problems.add(found);
            if header.listens() || !self.header.listens() {
                self.header = header;
            }
        }
        Ok(digest)
    }
}

/// Copies the endpoints that the files have given to a network, to one that takes its place.
fn copy_endpoints(from: &Snapshot, to: &Network, known: &Digests, digester: &Digester) {
    // A network that is in no table yet refuses nothing.
    let _ = to.change(|change| {
        let known = from.endpoints().filter(|endpoint| known.get(digester.id(endpoint.id().as_bytes())).is_some());
        known.cloned().for_each(|endpoint| change.attach(endpoint));
    });
}

/// False if one of the files was written to since it was opened.
fn is_unmoved(open: &Open) -> bool {
    let is_unmoved = |(found, lines): &(Found, Lines<File>)| {
        lines.source().metadata().is_ok_and(|metadata| Stamp::of(&metadata) == found.stamp)
    };
    open.iter().all(is_unmoved)
}

/// One pass over the files' lines, and the change that comes of it.
struct Pass<'p, 'n> {
    digester: &'p Digester,
    is_internal: bool,
    /// The network as it was.
    before: Option<&'p Snapshot>,
    known: &'p mut Digests,
    /// What this pass has read.
    read: Digests,
    /// How many of the known containers are there still.
    known_seen: usize,
    change: &'p mut Change<'n>,
    /// A container that was not known before. Lines of one id mostly stand together.
    fresh: Option<(u64, Draft)>,
    /// Known containers whose lines are not those that were known.
    drafts: HashMap<u64, Draft>,
    problems: &'p mut Problems,
}

/// A container that is being read.
struct Draft {
    container: Container,
    problems: Vec<Problem>,
    /// True if all that was known of it is there still, and more.
    is_extended: bool,
}

impl Draft {
    fn starting_from(endpoint: Option<&Endpoint>) -> Draft {
        let container = endpoint.map(Container::of).unwrap_or_default();
        Draft { container, problems: Vec::new(), is_extended: false }
    }
}

impl Pass<'_, '_> {
    /// Reads all lines; false if the last one may not be finished, and so does not count yet.
    fn stream(&mut self, open: &mut Open, is_abandoned: bool) -> io::Result<bool> {
        let mut is_whole = true;
        for (_, lines) in open {
            while let Some(line) = lines.next()? {
                if line.is_whole || is_abandoned {
                    self.line(&line);
                } else {
                    is_whole = false;
                }
            }
        }
        Ok(is_whole)
    }

    fn line(&mut self, line: &Line<'_>) {
        let hash = self.digester.id(line.first_column());
        let before = self.read.get(hash);
        let digest = self.digester.fold(before.unwrap_or(self.is_internal.into()), line.text);
        self.read.set(hash, digest);
        let known = self.known.get(hash);
        if known.is_some() && before.is_none() {
            self.known_seen += 1;
        }
        match known {
            None => self.add_fresh(hash, line, before.is_some()),
            Some(known) if known == digest => {
                self.drafts.remove(&hash);
            }
            Some(known) => {
                let snapshot = self.before;
                let draft = self.drafts.entry(hash).or_insert_with(|| {
                    let is_extended = before == Some(known);
                    let id = String::from_utf8_lossy(line.first_column()).to_ascii_lowercase();
                    let endpoint = snapshot.filter(|_| is_extended).and_then(|snapshot| snapshot.endpoint(&id));
                    Draft { is_extended, ..Draft::starting_from(endpoint) }
                });
                draft.container.add(line, self.is_internal, &mut draft.problems);
            }
        }
    }

    /// Adds a line of a container that was not known; `is_again` if it is not its first one.
    fn add_fresh(&mut self, hash: u64, line: &Line<'_>, is_again: bool) {
        if let Some((_, draft)) = self.fresh.take_if(|(last, _)| *last != hash) {
            self.apply(draft);
        }
        let change = &self.change;
        let (_, draft) = self.fresh.get_or_insert_with(|| {
            let id = String::from_utf8_lossy(line.first_column()).to_ascii_lowercase();
            let endpoint = if is_again { change.endpoint(&id) } else { None };
            (hash, Draft::starting_from(endpoint))
        });
        draft.container.add(line, self.is_internal, &mut draft.problems);
    }

    fn apply(&mut self, draft: Draft) {
        self.problems.add(draft.problems);
        let id = draft.container.id().to_owned();
        match draft.container.endpoint() {
            Some(endpoint) => self.change.attach(endpoint),
            None => drop(self.change.detach(&id)),
        }
    }

    /// Applies what was read: what is new at once, what is gone or different only if that is confirmed. False if something
    /// is not applied yet.
    fn finish(mut self, is_confirmed: bool) -> bool {
        if let Some((_, draft)) = self.fresh.take() {
            self.apply(draft);
        }
        let is_lost = self.known_seen < self.known.len() || self.drafts.values().any(|draft| !draft.is_extended);
        let is_all = is_confirmed || !is_lost;
        let drafts = mem::take(&mut self.drafts);
        if !is_all {
            for (id, digest) in self.read.iter() {
                if self.known.get(id).is_none() || drafts.get(&id).is_some_and(|draft| draft.is_extended) {
                    self.known.set(id, digest);
                }
            }
        } else {
            self.detach_gone();
            self.read.shrink();
            *self.known = mem::take(&mut self.read);
        }
        for draft in drafts.into_values().filter(|draft| is_all || draft.is_extended) {
            self.apply(draft);
        }
        is_all
    }

    fn detach_gone(&mut self) {
        if self.known_seen == self.known.len() {
            return;
        }
        let endpoints = self.before.into_iter().flat_map(Snapshot::endpoints);
        for endpoint in endpoints {
            let hash = self.digester.id(endpoint.id().as_bytes());
            if self.known.get(hash).is_some() && self.read.get(hash).is_none() {
                self.change.detach(endpoint.id());
            }
        }
    }
}

/// What is wrong with a file's lines, collected: the first few are told, the others counted.
#[derive(Debug, Default)]
struct Problems {
    told: Vec<Problem>,
    more: usize,
}

impl Problems {
    fn add(&mut self, problems: Vec<Problem>) {
        for problem in problems {
            if self.told.len() < TOLD {
                self.told.push(problem);
            } else {
                self.more += 1;
            }
        }
    }

    fn tell(&self, path: &Path) {
        for problem in &self.told {
            tracing::warn!("{}:{}: {}; skipped", path.display(), problem.line, problem.what);
        }
        if self.more > 0 {
            tracing::warn!("{}: {} more mistakes like these; skipped", path.display(), self.more);
        }
    }
}
