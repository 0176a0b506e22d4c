//! What may stand in a file once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

/// The things seen so far, and the line of each.
pub(super) struct DuplicateCheck<K> {
    lines: HashMap<K, usize>,
}

impl<K> Default for DuplicateCheck<K> {
    fn default() -> DuplicateCheck<K> {
        DuplicateCheck { lines: HashMap::new() }
    }
}

impl<K: Eq + Hash> DuplicateCheck<K> {
    /// Notes a thing.
    ///
    /// # Errors
    /// The line in which it stands already.
    pub(super) fn add(&mut self, thing: K, line: usize) -> Result<(), usize> {
        match self.lines.entry(thing) {
            Entry::Occupied(known) => Err(*known.get()),
            Entry::Vacant(place) => {
                place.insert(line);
                Ok(())
            }
        }
    }
}
