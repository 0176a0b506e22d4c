//! One pass over a network's lines, and the change of the network that comes of it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::mem;
use std::net::IpAddr;
use std::path::Path;

use crate::table::{Change, Endpoint, Snapshot};
use crate::wire::Name;

use super::fingerprints::{Fingerprinter, Fingerprints};
use super::format::{Container, Delta, Problem, lower};
use super::lines::{Line, Lines};
use super::network::Opened;
use super::pending_removals::{PendingRemovals, Seen};

/// Problems of a file that are reported in full.
const MAX_REPORTED: usize = 5;
/// Stands for the lines of a container that has more in the table than its lines say.
const MERGED: u64 = 0;

/// One pass over the files' lines, and the change that comes of it.
pub(super) struct FileDiff<'p, 'n> {
    fingerprinter: &'p Fingerprinter,
    is_internal: bool,
    /// The network as it was.
    before: Option<&'p Snapshot>,
    known: &'p mut Fingerprints,
    /// What this pass has read.
    read: Fingerprints,
    /// How many of the known containers are there still.
    known_seen: usize,
    change: &'p mut Change<'n>,
    /// A container that was not known before. Lines of one id mostly stand together.
    fresh: Option<(u64, Draft)>,
    /// Known containers whose lines are not those that were known.
    drafts: HashMap<u64, Draft>,
    /// The id of the last line.
    last: Option<u64>,
    /// What containers have that came, or moved, after others were known.
    taken_addresses: HashSet<IpAddr>,
    taken_names: HashSet<Name>,
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

impl<'p, 'n> FileDiff<'p, 'n> {
    pub(super) fn new(
        fingerprinter: &'p Fingerprinter,
        is_internal: bool,
        before: Option<&'p Snapshot>,
        known: &'p mut Fingerprints,
        change: &'p mut Change<'n>,
        problems: &'p mut Problems,
    ) -> FileDiff<'p, 'n> {
        let read = Fingerprints::with_capacity(known.len());
        FileDiff {
            fingerprinter,
            is_internal,
            before,
            known,
            read,
            known_seen: 0,
            change,
            fresh: None,
            drafts: HashMap::new(),
            last: None,
            taken_addresses: HashSet::new(),
            taken_names: HashSet::new(),
            problems,
        }
    }

    /// Reads all lines.
    pub(super) fn stream(&mut self, open: &mut [Lines<Opened>]) -> io::Result<()> {
        for lines in open {
            while let Some(line) = lines.next()? {
                self.line(&line);
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &Line<'_>) {
        let hash = self.fingerprinter.id(line.first_column());
        self.last = Some(hash);
        let start = u64::from(self.is_internal);
        let (before, fingerprint) =
            self.read.update(hash, |before| self.fingerprinter.fold(before.unwrap_or(start), line.text));
        let known = self.known.get(hash);
        if known.is_some() && before.is_none() {
            self.known_seen += 1;
        }
        match known {
            None => self.add_fresh(hash, line, before.is_some()),
            Some(known) if known == fingerprint => {
                if !self.drafts.is_empty() {
                    self.drafts.remove(&hash);
                }
            }
            Some(known) => {
                let snapshot = self.before;
                let draft = self.drafts.entry(hash).or_insert_with(|| {
                    let is_extended = before == Some(known);
                    let id = lower(line.first_column());
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
            let endpoint = if is_again { change.endpoint(&lower(line.first_column())) } else { None };
            (hash, Draft::starting_from(endpoint))
        });
        draft.container.add(line, self.is_internal, &mut draft.problems);
    }

    fn apply(&mut self, draft: Draft) {
        self.problems.add(draft.problems);
        let id = draft.container.id().to_owned();
        if !self.known.is_empty() {
            self.taken_addresses.extend(draft.container.addresses());
            self.taken_names.extend(draft.container.own_name().cloned());
        }
        match draft.container.endpoint() {
            Some(endpoint) => self.change.attach(endpoint),
            None => drop(self.change.detach(&id)),
        }
    }

    /// Applies what was read: what is new at once, what is gone or different when it is believed.
    pub(super) fn finish(mut self, seen: &Seen, pending: &mut PendingRemovals) {
        if let Some((_, draft)) = self.fresh.take() {
            self.apply(draft);
        }
        let drafts = mem::take(&mut self.drafts);
        let news_of = |draft: &Draft| match draft.is_extended {
            true => Delta::More,
            false => draft.container.delta(self.change.endpoint(draft.container.id())),
        };
        let drafts: Vec<(u64, Delta, Draft)> =
            drafts.into_iter().map(|(id, draft)| (id, news_of(&draft), draft)).collect();
        let has_delta =
            self.read.len() > self.known_seen || drafts.iter().any(|(_, delta, _)| *delta != Delta::Nothing);
        pending.note(seen, has_delta || pending.is_last(|id| self.read.get(id)));

        let (mut doubtful, mut merged) = (HashSet::new(), Vec::new());
        for (id, delta, draft) in drafts {
            match delta {
                _ if draft.is_extended || pending.is_believed(id, seen) => self.apply(draft),
                Delta::Moved if seen.is_still() => self.apply(draft),
                Delta::More if seen.is_still() => {
                    self.merge(draft);
                    merged.push(id);
                    doubtful.insert(id);
                }
                _ => drop(doubtful.insert(id)),
            }
        }
        self.detach_gone(seen, pending, &mut doubtful);
        let last = self.last.and_then(|id| Some((id, self.read.get(id)?)));
        pending.keep(doubtful.into_iter(), last, seen);
        if pending.is_empty() {
            self.read.shrink();
            *self.known = self.read;
            return;
        }
        for (id, fingerprint) in self.read.iter().filter(|(id, _)| !pending.has(*id)) {
            self.known.update(id, |_| fingerprint);
        }
        for id in merged {
            self.known.update(id, |_| MERGED);
        }
    }

    /// Adds what a draft says to what was known.
    fn merge(&mut self, draft: Draft) {
        let container = draft.container;
        let known = self.change.endpoint(container.id());
        if let Some(endpoint) = container.with(known).endpoint() {
            self.change.attach(endpoint);
        }
    }

    /// Takes out the containers that were not read: if that is believed, or if another one has come in their place, under the
    /// name that they were made with or at an address of theirs. The others are doubtful.
    fn detach_gone(&mut self, seen: &Seen, pending: &PendingRemovals, doubtful: &mut HashSet<u64>) {
        if self.known_seen == self.known.len() {
            return;
        }
        let gone = self.known.iter().map(|(id, _)| id).filter(|&id| self.read.get(id).is_none());
        let (believed, mut unsure): (HashSet<u64>, HashSet<u64>) = gone.partition(|&id| pending.is_believed(id, seen));
        believed.iter().for_each(|&id| self.known.remove(id));
        let is_taken = !self.taken_addresses.is_empty() || !self.taken_names.is_empty();
        let is_succession = is_taken && seen.is_still();
        let mut left = believed.len() + if is_succession { unsure.len() } else { 0 };
        for endpoint in self.before.into_iter().flat_map(Snapshot::endpoints) {
            if left == 0 {
                break;
            }
            let id = self.fingerprinter.id(endpoint.id().as_bytes());
            if believed.contains(&id) {
                left -= 1;
                self.change.detach(endpoint.id());
            } else if is_succession && unsure.contains(&id) {
                left -= 1;
                if self.is_succeeded(endpoint) {
                    self.change.detach(endpoint.id());
                    self.known.remove(id);
                    unsure.remove(&id);
                }
            }
        }
        doubtful.extend(unsure);
    }

    fn is_succeeded(&self, endpoint: &Endpoint) -> bool {
        endpoint.names().first().is_some_and(|name| self.taken_names.contains(name))
            || endpoint.addresses().iter().any(|ip| self.taken_addresses.contains(ip))
    }
}

/// What is wrong with a file's lines, collected: the first few are reported, the others counted.
#[derive(Debug, Default)]
pub(super) struct Problems {
    reported: Vec<Problem>,
    more: usize,
}

impl Problems {
    pub(super) fn add(&mut self, problems: Vec<Problem>) {
        for problem in problems {
            if self.reported.len() < MAX_REPORTED {
                self.reported.push(problem);
            } else {
                self.more += 1;
            }
        }
    }

    pub(super) fn tell(&self, path: &Path) {
        for problem in &self.reported {
            tracing::warn!("{}:{}: {}; skipped", path.display(), problem.line, problem.what);
        }
        if self.more > 0 {
            tracing::warn!("{}: {} more mistakes like these; skipped", path.display(), self.more);
        }
    }
}
