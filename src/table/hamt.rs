//! A map that is cheap to change a little and copy on every change.
//!
//! A tree by the bits of the key's hash: branches of up to 32 children, and leaves of up to 64 values that lie side by side.
//! A copy of the map is one pointer; a change then copies the leaf that it touches and the branches above it, and leaves
//! the rest shared.
//!
//! At a million values each pointer that is followed is a cache miss, and so is each reference count that a copied branch
//! touches: few levels make look-ups quick, small branches make changes cheap. A branch starts with two children and is
//! doubled as they fill, so that leaves are never nearly empty, whatever the size. The hash of a key is computed by the
//! caller, once, and serves every map that the key is looked up in.

use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, OnceLock};

use foldhash::fast::SeedableRandomState;

/// Values that a leaf holds before it is split.
const LEAF: usize = 64;
/// The most children of a branch. Their number is a power of two; as many bits of the hash choose between them, the topmost
/// bits first.
const BRANCH: usize = 32;
/// A leaf below so many bits is not split: the bits left are those of the tags.
const MAX_DEPTH: u32 = u64::BITS - u8::BITS - BRANCH.ilog2();
/// Room is made for so many values at a time. Much of it would be lost, as leaves stay; little costs time when many come.
const ROOM: usize = 8;

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
pub(crate) struct Hamt<V> {
    root: Node<V>,
    len: usize,
}

#[derive(Debug)]
enum Node<V> {
    Leaf(Arc<Leaf<V>>),
    Branch(Arc<[Node<V>]>),
}

/// Values, and of the first 64 the low octet of their hashes, which tells nearly always which one is worth comparing.
#[derive(Debug, Clone)]
struct Leaf<V> {
    tags: [u8; LEAF],
    values: Vec<V>,
}

impl<V> Clone for Hamt<V> {
    fn clone(&self) -> Hamt<V> {
        Hamt { root: self.root.clone(), len: self.len }
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

impl<V> Default for Hamt<V> {
    fn default() -> Hamt<V> {
        Hamt { root: Node::Leaf(Arc::default()), len: 0 }
    }
}

impl<V: Keyed> Hamt<V> {
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
                Node::Branch(children) => {
                    let bits = bits_of(children);
                    node = &children[child_of(path, bits)];
                    path <<= bits;
                }
                Node::Leaf(leaf) => return leaf.find(hash, key).map(|at| &leaf.values[at]),
            }
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
            *self = Hamt::default();
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

/// How many bits choose between these children.
fn bits_of<V>(children: &[Node<V>]) -> u32 {
    children.len().trailing_zeros()
}

fn child_of(path: u64, bits: u32) -> usize {
    (path >> (u64::BITS - bits)) as usize
}

impl<V: Keyed> Node<V> {
    /// The leaf of a hash, copied if others hold it; with room for one more, if that is wanted. `depth`: the bits of the
    /// hash that led here.
    fn leaf_mut(&mut self, path: u64, depth: u32, room: bool) -> &mut Leaf<V> {
        if room && depth < MAX_DEPTH {
            self.make_room(path, depth);
        }
        match self {
            Node::Leaf(leaf) => Arc::make_mut(leaf),
            Node::Branch(children) => {
                let bits = bits_of(children);
                Arc::make_mut(children)[child_of(path, bits)].leaf_mut(path << bits, depth + bits, room)
            }
        }
    }

    /// Makes two leaves of one that is full; of all of a branch, while that can have more children.
    fn make_room(&mut self, path: u64, depth: u32) {
        match self {
            Node::Leaf(leaf) if leaf.is_full() => *self = Node::Branch(Arc::new(self.halves(depth))),
            Node::Branch(children) if children.len() < BRANCH => {
                let bits = bits_of(children);
                if matches!(&children[child_of(path, bits)], Node::Leaf(leaf) if leaf.is_full()) {
                    *self = Node::Branch(children.iter().flat_map(|child| child.halves(depth + bits)).collect());
                }
            }
            _ => {}
        }
    }

    /// What is below this node by the next bit of the hash, after `depth` others.
    fn halves(&self, depth: u32) -> [Node<V>; 2] {
        match self {
            Node::Leaf(leaf) => leaf.halves(depth),
            Node::Branch(children) => {
                let (low, high) = children.split_at(children.len() / 2);
                [low, high].map(|half| match half {
                    [one] => one.clone(),
                    several => Node::Branch(several.into()),
                })
            }
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

/// A bit for each octet that is equal to the wanted one, the lowest for the first; perhaps also for one behind such a one.
/// Without a branch: at which octet it would be taken differs from key to key.
fn equal_octets(octets: &[u8; LEAF], wanted: u8) -> u64 {
    let wanted = spread(wanted);
    let (groups, _) = octets.as_chunks::<8>();
    groups.iter().rev().fold(0, |equal, group| {
        let differing = u64::from_le_bytes(*group) ^ wanted;
        // The high bit of each octet that is zero, and perhaps of one above it; the product gathers them in its top octet.
        let zero = differing.wrapping_sub(spread(1)) & !differing & spread(0x80);
        equal << 8 | (zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    })
}

impl<V: Keyed> Leaf<V> {
    fn find(&self, hash: u64, key: &V::Key) -> Option<usize> {
        let mut equal = equal_octets(&self.tags, hash as u8);
        while equal != 0 {
            let at = equal.trailing_zeros() as usize;
            if self.values.get(at).is_some_and(|value| value.key() == key) {
                return Some(at);
            }
            equal &= equal - 1;
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

    fn is_full(&self) -> bool {
        self.values.len() >= LEAF
    }

    /// The values by the next bit of their hashes, after `depth` others.
    fn halves(&self, depth: u32) -> [Node<V>; 2] {
        let mut halves: [Leaf<V>; 2] = Default::default();
        for value in &self.values {
            let hash = hash_of(value.key());
            halves[child_of(hash << depth, 1)].push(hash, value.clone());
        }
        halves.map(|leaf| Node::Leaf(Arc::new(leaf)))
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
        let mut map = Hamt::default();
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
        let mut map = Hamt::default();
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

    #[test]
    fn a_branch_is_doubled_whatever_its_children_are() {
        let mut leaf = Leaf::default();
        (0..200).for_each(|key| leaf.push(hash_of(&key), (key, key)));
        let [low, high] = leaf.halves(0);
        let deeper = Node::Branch(Arc::new(low.halves(1)));
        let doubled = [deeper, high].iter().flat_map(|child| child.halves(1)).collect();
        let map = Hamt { root: Node::Branch(doubled), len: 200 };
        for key in 0..200 {
            assert_eq!(map.get(hash_of(&key), &key), Some(&(key, key)));
        }
    }
}
