//! What was read of a file, without its text: of each container one number that all of its lines went into.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Makes the fingerprints. Randomly seeded, so that nobody can choose lines that look alike.
#[derive(Debug, Clone, Default)]
pub(super) struct Fingerprinter(RandomState);

/// The fingerprint of each id, both as 64 bits: 16 octets a container, and two lines look alike once in 2^64.
#[derive(Debug, Clone, Default)]
pub(super) struct Fingerprints(HashTable<(u64, u64)>);

impl Fingerprinter {
    /// What stands for an id, in any case.
    pub(super) fn id(&self, id: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        // Every octet is looked at, with no branch in between: many at a time.
        if id.iter().fold(false, |found, octet| found | octet.is_ascii_uppercase()) {
            hasher.write(&id.to_ascii_lowercase());
        } else {
            hasher.write(id);
        }
        hasher.finish()
    }

    /// The fingerprint of what came before and a line.
    pub(super) fn fold(&self, before: u64, line: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write_u64(before);
        hasher.write(line);
        hasher.finish()
    }
}

impl Fingerprints {
    /// None yet, with room for so many.
    pub(super) fn with_capacity(count: usize) -> Fingerprints {
        Fingerprints(HashTable::with_capacity(count))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, id: u64) -> Option<u64> {
        self.0.find(id, |known| known.0 == id).map(|known| known.1)
    }

    /// Sets an id's fingerprint to what `next` makes of the one that it had, and gives both.
    pub(super) fn update(&mut self, id: u64, next: impl FnOnce(Option<u64>) -> u64) -> (Option<u64>, u64) {
        match self.0.entry(id, |known| known.0 == id, |known| known.0) {
            Entry::Occupied(mut known) => {
                let before = known.get().1;
                known.get_mut().1 = next(Some(before));
                (Some(before), known.get().1)
            }
            Entry::Vacant(place) => {
                let fingerprint = next(None);
                place.insert((id, fingerprint));
                (None, fingerprint)
            }
        }
    }

    pub(super) fn remove(&mut self, id: u64) {
        if let Ok(known) = self.0.find_entry(id, |known| known.0 == id) {
            known.remove();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().copied()
    }

    /// Gives back memory that a larger file has needed.
    pub(super) fn shrink(&mut self) {
        self.0.shrink_to_fit(|known| known.0);
    }
}
