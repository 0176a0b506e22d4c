//! A map that is cheap to change a little and copy on every change.
//!
//! A tree by the bits of the key's hash: branches of eight, and leaves of up to 64 values that lie side by side. A copy of
//! the map is one pointer; a change then copies the leaf that it touches and the branches above it, and leaves the rest
//! shared. What counts is how many reference counts that touches, as at a million values each of them is a cache miss: a
//! flat array of leaves has thousands. The hash of a key is computed by the caller, once, and serves every map that the key
//! is looked up in.

use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, OnceLock};

use foldhash::fast::SeedableRandomState;

/// Values that a leaf holds before it is split.
const LEAF: usize = 64;
/// The hash bits that choose one of a branch's children; the topmost are used first.
const BITS: u32 = 3;
/// A leaf this deep is not split: the bits left are those of the tags.
const MAX_DEPTH: u32 = (u64::BITS - u8::BITS) / BITS;
/// Room is made for so many values at a time. Little, as leaves stay.
const ROOM: usize = 2;

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
    root: Node<V>,
    len: usize,
}

#[derive(Debug)]
enum Node<V> {
    Leaf(Arc<Leaf<V>>),
    Branch(Arc<[Node<V>; 1 << BITS]>),
}

/// Values, and of the first 64 the low octet of their hashes, which tells nearly always which one is worth comparing.
#[derive(Debug, Clone)]
struct Leaf<V> {
    tags: [u8; LEAF],
    values: Vec<V>,
}

impl<V> Clone for Shards<V> {
    fn clone(&self) -> Shards<V> {
        Shards { root: self.root.clone(), len: self.len }
    }
}

impl<V> Clone for Node<V> {
    fn clone(&self) -> Node<V> {
        match self {
            Node::Leaf(leaf) => Node::Leaf(leaf.clone()),
            Node::Branch(children) => Node::Branch(children.clone()),
        }
    }
}

impl<V> Default for Leaf<V> {
    fn default() -> Leaf<V> {
        Leaf { tags: [0; LEAF], values: Vec::new() }
    }
}

impl<V> Default for Shards<V> {
    fn default() -> Shards<V> {
        Shards { root: Node::Leaf(Arc::default()), len: 0 }
    }
}

impl<V: Keyed> Shards<V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &V> {
        let mut leaves = Vec::new();
        self.root.collect(&mut leaves);
        leaves.into_iter().flat_map(|leaf| &leaf.values)
    }

    pub(crate) fn get(&self, hash: u64, key: &V::Key) -> Option<&V> {
        let mut node = &self.root;
        let mut path = hash;
        loop {
            match node {
                Node::Branch(children) => node = &children[child_of(path)],
                Node::Leaf(leaf) => return leaf.find(hash, key).map(|at| &leaf.values[at]),
            }
            path <<= BITS;
        }
    }

    /// Puts a value in the place of the one with the same key, if there is one.
    pub(crate) fn insert(&mut self, value: V) {
        let hash = hash_of(value.key());
        let leaf = self.root.leaf_mut(hash, 0, true);
        match leaf.find(hash, value.key()) {
            Some(at) => leaf.values[at] = value,
            None => {
                leaf.push(hash, value);
                self.len += 1;
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
        let leaf = self.root.leaf_mut(hash, 0, true);
        match leaf.find(hash, key) {
            Some(at) => {
                if !change(&mut leaf.values[at]) {
                    leaf.remove(at);
                    self.len -= 1;
                }
            }
            None => {
                if let Some(value) = make().and_then(|mut value| change(&mut value).then_some(value)) {
                    leaf.push(hash, value);
                    self.len += 1;
                }
            }
        }
        if self.len == 0 {
            *self = Shards::default();
        }
    }

    /// Changes the present value in place; nothing happens if there is none.
    pub(crate) fn modify(&mut self, key: &V::Key, change: impl FnOnce(&mut V)) {
        let hash = hash_of(key);
        if self.get(hash, key).is_some() {
            let leaf = self.root.leaf_mut(hash, 0, false);
            if let Some(at) = leaf.find(hash, key) {
                change(&mut leaf.values[at]);
            }
        }
    }
}

fn child_of(path: u64) -> usize {
    (path >> (u64::BITS - BITS)) as usize
}

impl<V: Keyed> Node<V> {
    /// The leaf of a hash, copied if others hold it; with room for one more, if that is wanted.
    fn leaf_mut(&mut self, path: u64, depth: u32, room: bool) -> &mut Leaf<V> {
        if room
            && depth < MAX_DEPTH
            && let Node::Leaf(leaf) = self
            && leaf.values.len() >= LEAF
        {
            *self = leaf.split(depth);
        }
        match self {
            Node::Leaf(leaf) => Arc::make_mut(leaf),
            Node::Branch(children) => Arc::make_mut(children)[child_of(path)].leaf_mut(path << BITS, depth + 1, room),
        }
    }

    fn collect<'n>(&'n self, leaves: &mut Vec<&'n Leaf<V>>) {
        match self {
            Node::Leaf(leaf) => leaves.push(leaf),
            Node::Branch(children) => children.iter().for_each(|child| child.collect(leaves)),
        }
    }
}

/// An octet in each octet of a word.
const fn spread(octet: u8) -> u64 {
    u64::from_le_bytes([octet; 8])
}

impl<V: Keyed> Leaf<V> {
    fn find(&self, hash: u64, key: &V::Key) -> Option<usize> {
        let wanted = spread(hash as u8);
        let (groups, _) = self.tags.as_chunks::<8>();
        for (group, tags) in groups.iter().enumerate().take(self.values.len().div_ceil(8)) {
            let differing = u64::from_le_bytes(*tags) ^ wanted;
            // The high bit of each octet that is zero, and perhaps of one above it, which the comparison sorts out.
            let mut equal = differing.wrapping_sub(spread(1)) & !differing & spread(0x80);
            while equal != 0 {
                let at = group * 8 + equal.trailing_zeros() as usize / 8;
                if self.values.get(at).is_some_and(|value| value.key() == key) {
                    return Some(at);
                }
                equal &= equal - 1;
            }
        }
        (LEAF..self.values.len()).find(|&at| self.values[at].key() == key)
    }

    fn push(&mut self, hash: u64, value: V) {
        if self.values.len() == self.values.capacity() {
            self.values.reserve_exact(ROOM);
        }
        if let Some(tag) = self.tags.get_mut(self.values.len()) {
            *tag = hash as u8;
        }
        self.values.push(value);
    }

    fn remove(&mut self, at: usize) {
        self.values.swap_remove(at);
        // The last value has come here.
        if let Some(moved) = self.values.get(at)
            && let Some(tag) = self.tags.get_mut(at)
        {
            *tag = hash_of(moved.key()) as u8;
        }
    }

    /// The values one level further down.
    fn split(&self, depth: u32) -> Node<V> {
        let mut children: [Leaf<V>; 1 << BITS] = Default::default();
        for value in &self.values {
            let hash = hash_of(value.key());
            children[child_of(hash << (depth * BITS))].push(hash, value.clone());
        }
        Node::Branch(Arc::new(children.map(|leaf| Node::Leaf(Arc::new(leaf)))))
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
        let before = map.clone();
        map.remove(&77);
        map.remove(&10_077);
        map.modify(&78, |value| value.1 = 9);
        assert_eq!((before.len(), map.len()), (10_000, 9_999));
        assert_eq!(before.get(hash_of(&77), &77), Some(&(77, 0)));
        assert_eq!(map.get(hash_of(&77), &77), None);
        assert_eq!((before.get(hash_of(&78), &78), map.get(hash_of(&78), &78)), (Some(&(78, 0)), Some(&(78, 9))));
        let (mut old, mut new) = (Vec::new(), Vec::new());
        before.root.collect(&mut old);
        map.root.collect(&mut new);
        assert!(new.len() >= 10_000 / LEAF);
        let shared = old.iter().zip(&new).filter(|(a, b)| std::ptr::eq(**a, **b)).count();
        assert!(shared >= new.len() - 2, "only the touched leaves are copied");
        assert_eq!(map.iter().count(), 9_999);
    }

    #[test]
    fn what_went_in_comes_out_in_any_order() {
        let mut map = Shards::default();
        (0..2_000).for_each(|key| map.insert((key, key)));
        for key in (0..2_000).step_by(3) {
            map.remove(&key);
        }
        for key in 0..2_000 {
            let expected = (key % 3 != 0).then_some((key, key));
            assert_eq!(map.get(hash_of(&key), &key), expected.as_ref());
        }
        (0..2_000).for_each(|key| map.remove(&key));
        assert_eq!((map.len(), map.iter().count()), (0, 0));
        assert!(matches!(map.root, Node::Leaf(_)), "an empty map is small again");
    }
}
