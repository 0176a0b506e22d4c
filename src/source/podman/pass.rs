//! One pass over a network's lines, and the change of the network that comes of it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::mem;
use std::path::Path;
use std::time::Instant;

use crate::table::{Change, Endpoint, Snapshot};

use super::digests::{Digester, Digests};
use super::format::{Container, Problem, lower};
use super::lines::{Line, Lines};
use super::network::{LONGEST, Opened};

/// Problems of a file that are told in full.
const TOLD: usize = 5;

/// One pass over the files' lines, and the change that comes of it.
pub(super) struct Pass<'p, 'n> {
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

impl<'p, 'n> Pass<'p, 'n> {
    pub(super) fn new(
        digester: &'p Digester,
        is_internal: bool,
        before: Option<&'p Snapshot>,
        known: &'p mut Digests,
        change: &'p mut Change<'n>,
        problems: &'p mut Problems,
    ) -> Pass<'p, 'n> {
        let read = Digests::with_capacity(known.len());
        let drafts = HashMap::new();
        Pass { digester, is_internal, before, known, read, known_seen: 0, change, fresh: None, drafts, problems }
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
        let hash = self.digester.id(line.first_column());
        let start = u64::from(self.is_internal);
        let (before, digest) = self.read.update(hash, |before| self.digester.fold(before.unwrap_or(start), line.text));
        let known = self.known.get(hash);
        if known.is_some() && before.is_none() {
            self.known_seen += 1;
        }
        match known {
            None => self.add_fresh(hash, line, before.is_some()),
            Some(known) if known == digest => {
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
        match draft.container.endpoint() {
            Some(endpoint) => self.change.attach(endpoint),
            None => drop(self.change.detach(&id)),
        }
    }

    /// Applies what was read: what is new at once, what is gone or different if that is confirmed, or was so in every reading
    /// for long. False if something is not applied yet; that is noted as `missing`.
    pub(super) fn finish(mut self, is_confirmed: bool, missing: &mut HashMap<u64, Instant>, now: Instant) -> bool {
        if let Some((_, draft)) = self.fresh.take() {
            self.apply(draft);
        }
        let drafts = mem::take(&mut self.drafts);
        let different = drafts.iter().filter(|(_, draft)| !draft.is_extended).map(|(&id, _)| id);
        let before = mem::take(missing);
        let lost = self.gone().into_iter().chain(different);
        let lost = lost.map(|id| (id, before.get(&id).copied().unwrap_or(now)));
        let is_long_ago = |since: &Instant| now.saturating_duration_since(*since) >= LONGEST;
        let (lost, later): (HashMap<_, _>, _) = lost.partition(|(_, since)| is_confirmed || is_long_ago(since));
        *missing = later;

        self.detach(lost.keys().copied().filter(|id| !drafts.contains_key(id)).collect());
        for (id, draft) in drafts {
            if draft.is_extended || lost.contains_key(&id) {
                self.apply(draft);
            }
        }
        if missing.is_empty() {
            self.read.shrink();
            *self.known = self.read;
            return true;
        }
        for id in lost.into_keys() {
            self.known.remove(id);
        }
        for (id, digest) in self.read.iter().filter(|(id, _)| !missing.contains_key(id)) {
            self.known.update(id, |_| digest);
        }
        false
    }

    /// The known containers that were not read.
    fn gone(&self) -> Vec<u64> {
        if self.known_seen == self.known.len() {
            return Vec::new();
        }
        self.known.iter().map(|(id, _)| id).filter(|&id| self.read.get(id).is_none()).collect()
    }

    fn detach(&mut self, mut gone: HashSet<u64>) {
        for endpoint in self.before.into_iter().flat_map(Snapshot::endpoints) {
            if gone.is_empty() {
                break;
            }
            if gone.remove(&self.digester.id(endpoint.id().as_bytes())) {
                self.change.detach(endpoint.id());
            }
        }
    }
}

/// What is wrong with a file's lines, collected: the first few are told, the others counted.
#[derive(Debug, Default)]
pub(super) struct Problems {
    told: Vec<Problem>,
    more: usize,
}

impl Problems {
    pub(super) fn add(&mut self, problems: Vec<Problem>) {
        for problem in problems {
            if self.told.len() < TOLD {
                self.told.push(problem);
            } else {
                self.more += 1;
            }
        }
    }

    pub(super) fn tell(&self, path: &Path) {
        for problem in &self.told {
            tracing::warn!("{}:{}: {}; skipped", path.display(), problem.line, problem.what);
        }
        if self.more > 0 {
            tracing::warn!("{}: {} more mistakes like these; skipped", path.display(), self.more);
        }
    }
}
