//! A map that is cheap to change a little and copy on every change.
//!
//! The entries lie in shards behind `Arc`s. A copy of the map shares all shards; a change then copies the shards that it
//! touches, about a hundred entries each, and leaves the rest shared. The hash of a key is computed by the caller, once,
//! and serves every map that the key is looked up in.

use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, OnceLock};

use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;

/// A shard is split when the map has on average more entries than this a shard.
const SHARD_ENTRIES: usize = 128;

/// Randomly seeded once a process, so that nobody outside can choose names that collide.
static SEED: OnceLock<SeedableRandomState> = OnceLock::new();

/// The hash of a key, the same for every map.
pub(crate) fn hash_of(key: &(impl Hash + ?Sized)) -> u64 {
    SEED.get_or_init(SeedableRandomState::random).hash_one(key)
}

/// Makes the hashes the same in every process, for `benches/instructions` alone: whoever knows the seed can choose names
/// that collide. To be called before the first table is made.
#[doc(hidden)]
pub fn fix_hash_seed() {
    assert!(SEED.set(SeedableRandomState::fixed()).is_ok(), "a table was made already");
}

/// What an entry is found by.
pub(crate) trait Keyed: Clone {
    type Key: Hash + Eq + ?Sized;

    fn key(&self) -> &Self::Key;
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Shards<V> {
    shards: Box<[Arc<HashTable<V>>]>,
    len: usize,
}

impl<V> Clone for Shards<V> {
    fn clone(&self) -> Shards<V> {
        Shards { shards: self.shards.clone(), len: self.len }
    }
}

impl<V> Default for Shards<V> {
    fn default() -> Shards<V> {
        Shards { shards: Box::new([Arc::default()]), len: 0 }
    }
}

impl<V: Keyed> Shards<V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    pub(crate) fn get(&self, hash: u64, key: &V::Key) -> Option<&V> {
        self.shards[self.shard_of(hash)].find(hash, |value| value.key() == key)
    }

    /// Puts a value in the place of the one with the same key, if there is one.
    pub(crate) fn insert(&mut self, value: V) {
        let hash = hash_of(value.key());
        let shard = Arc::make_mut(&mut self.shards[self.shard_of(hash)]);
        match shard.find_mut(hash, |known| known.key() == value.key()) {
            Some(known) => *known = value,
            None => {
                shard.insert_unique(hash, value, |value| hash_of(value.key()));
                self.grow();
            }
        }
    }

    /// Takes out the value of a key; nothing happens, and nothing is copied, if there is none.
    pub(crate) fn remove(&mut self, key: &V::Key) {
        if self.get(hash_of(key), key).is_some() {
            self.edit(key, || None, |_| false);
        }
    }

    /// Changes the value of a key in place; one that `make` gives if there is none. It stays if `change` says so.
    pub(crate) fn edit(&mut self, key: &V::Key, make: impl FnOnce() -> Option<V>, change: impl FnOnce(&mut V) -> bool) {
        let hash = hash_of(key);
        let shard = Arc::make_mut(&mut self.shards[self.shard_of(hash)]);
        match shard.find_entry(hash, |value| value.key() == key) {
            Ok(mut entry) => {
                if !change(entry.get_mut()) {
                    entry.remove();
                    self.len -= 1;
                }
            }
            Err(_) => {
                if let Some(value) = make().and_then(|mut value| change(&mut value).then_some(value)) {
                    shard.insert_unique(hash, value, |value| hash_of(value.key()));
                    self.grow();
                }
            }
        }
    }

    /// Counts a value that came in.
    fn grow(&mut self) {
        self.len += 1;
        if self.len > SHARD_ENTRIES * self.shards.len() {
            self.split();
        }
    }

    /// Changes the present value in place; nothing happens if there is none.
    pub(crate) fn modify(&mut self, key: &V::Key, change: impl FnOnce(&mut V)) {
        let hash = hash_of(key);
        let index = self.shard_of(hash);
        if self.shards[index].find(hash, |value| value.key() == key).is_some()
            && let Some(value) = Arc::make_mut(&mut self.shards[index]).find_mut(hash, |value| value.key() == key)
        {
            change(value);
        }
    }

    /// The table inside a shard takes the low bits and the top seven: the shard is chosen by bits between.
    fn shard_of(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.shards.len() - 1)
    }

    /// Doubles the number of shards.
    fn split(&mut self) {
        let count = self.shards.len() * 2;
        let mut tables: Vec<HashTable<V>> = (0..count).map(|_| HashTable::with_capacity(SHARD_ENTRIES)).collect();
        for value in self.shards.iter().flat_map(|shard| shard.iter()) {
            let hash = hash_of(value.key());
            tables[(hash >> 32) as usize & (count - 1)]
                .insert_unique(hash, value.clone(), |value| hash_of(value.key()));
        }
        self.shards = tables.into_iter().map(Arc::new).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Keyed for (u32, u32) {
        type Key = u32;

        fn key(&self) -> &u32 {
            &self.0
        }
    }

    #[test]
    fn t7_a_copy_keeps_what_it_was() {
        let mut map = Shards::default();
        for key in 0..10_000 {
            map.insert((key, 1));
            map.insert((key, 0));
        }
        assert!(map.shards.len() >= 16);
        let before = map.clone();
        map.remove(&77);
        map.remove(&10_077);
        map.modify(&78, |value| value.1 = 9);
        assert_eq!((before.len(), map.len()), (10_000, 9_999));
        assert_eq!(before.get(hash_of(&77), &77), Some(&(77, 0)));
        assert_eq!(map.get(hash_of(&77), &77), None);
        assert_eq!((before.get(hash_of(&78), &78), map.get(hash_of(&78), &78)), (Some(&(78, 0)), Some(&(78, 9))));
        let shared = before.shards.iter().zip(&map.shards).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert!(shared >= map.shards.len() - 2, "only the touched shards are copied");
        assert_eq!(map.iter().count(), 9_999);
    }
}
