//! What was read of a file, without its text: of each container one number that all of its lines went into.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;
use hashbrown::HashTable;

/// Makes the digests. Randomly seeded, so that nobody can choose lines that look alike.
#[derive(Debug, Clone, Default)]
pub(super) struct Digester(RandomState);

/// The digest of each id, both as 64 bits: 16 octets a container, and two lines look alike once in 2^64.
#[derive(Debug, Clone, Default)]
pub(super) struct Digests(HashTable<(u64, u64)>);

impl Digester {
    /// What stands for an id, in any case.
    pub(super) fn id(&self, id: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        if id.iter().any(u8::is_ascii_uppercase) {
            hasher.write(&id.to_ascii_lowercase());
        } else {
            hasher.write(id);
        }
        hasher.finish()
    }

    /// The digest of what came before and a line.
    pub(super) fn fold(&self, before: u64, line: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write_u64(before);
        hasher.write(line);
        hasher.finish()
    }
}

impl Digests {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, id: u64) -> Option<u64> {
        self.0.find(id, |known| known.0 == id).map(|known| known.1)
    }

    /// Sets an id's digest, and gives the one that it had.
    pub(super) fn set(&mut self, id: u64, digest: u64) -> Option<u64> {
        match self.0.find_mut(id, |known| known.0 == id) {
            Some(known) => Some(std::mem::replace(&mut known.1, digest)),
            None => {
                self.0.insert_unique(id, (id, digest), |known| known.0);
                None
            }
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
