//! What an answer is kept under: the question, as far as the answer depends on it, and the servers that gave it.

use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::quality::RandomState;
use quick_cache::Equivalent;

use crate::settings::Upstream;
use crate::wire::message::flag;

/// The bits of a query that its answer depends on, CD and DO, in one octet.
///
/// Not RD: upstreams are always asked to recurse (see [`Question`](crate::forward::Question)), so that a client that wants no
/// recursion cannot leave a referral, or a refusal, where others look for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::forward) struct QueryFlags(u8);

impl QueryFlags {
    /// From a header's flag word and the DO bit.
    pub(in crate::forward) fn of(flags: u16, dnssec_ok: bool) -> QueryFlags {
        let bit = |mask: u16, bit: u8| if flags & mask != 0 { bit } else { 0 };
        QueryFlags(bit(flag::CD, 1) | if dnssec_ok { 2 } else { 0 })
    }
}

/// A type, class and bits for which a name can have an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::forward) struct Kind {
    pub(in crate::forward) rtype: u16,
    pub(in crate::forward) class: u16,
    pub(in crate::forward) bits: QueryFlags,
}

impl Kind {
    /// Type and class as they stand behind a name.
    pub(in crate::forward) fn to_wire(self) -> [u8; 4] {
        let ([t0, t1], [c0, c1]) = (self.rtype.to_be_bytes(), self.class.to_be_bytes());
        [t0, t1, c0, c1]
    }

    fn to_bits(self) -> u64 {
        u64::from(self.rtype) << 24 | u64::from(self.class) << 8 | u64::from(self.bits.0)
    }
}

/// A key as it is looked up. It is hashed once, by [`KeyHasher::key`].
#[derive(Debug, Clone, Copy)]
pub(in crate::forward) struct KeyRef<'a> {
    hash: u64,
    /// Wire form, lower case.
    pub(in crate::forward) name: &'a [u8],
    pub(in crate::forward) kind: Kind,
    /// The upstream group: who is asked, in order. Lists are compared by what is in them, so that two groups that differ
    /// in anything share nothing (docs/architecture.md, decision 7), however they came about.
    pub(in crate::forward) group: &'a Arc<[Upstream]>,
}

/// A key as it is kept, by the cache and by those who wait.
#[derive(Debug, Clone, Eq)]
pub(in crate::forward) struct Key {
    hash: u64,
    name: Arc<[u8]>,
    kind: Kind,
    group: Arc<[Upstream]>,
}

/// What hashes keys, with a seed of its own.
#[derive(Debug, Clone, Default)]
pub(in crate::forward) struct KeyHasher(RandomState);

impl KeyHasher {
    /// The key of a question. `name` is in wire form, lower case.
    pub(in crate::forward) fn key<'a>(&self, name: &'a [u8], kind: Kind, group: &'a Arc<[Upstream]>) -> KeyRef<'a> {
        let mut hasher = self.0.build_hasher();
        // A valid name ends with its root label: no two of them run into what follows.
        hasher.write(name);
        // Names and kinds are the clients' choice, groups are not: of these the first server tells most apart, and the rest
        // is compared.
        let first = group.first().map_or(0, |server| match server.address().ip() {
            IpAddr::V4(v4) => v4.to_bits().into(),
            IpAddr::V6(v6) => v6.to_bits() as u64,
        });
        hasher.write_u64(kind.to_bits() ^ first.rotate_left(40));
        KeyRef { hash: hasher.finish(), name, kind, group }
    }
}

impl Key {
    pub(in crate::forward) fn borrowed(&self) -> KeyRef<'_> {
        KeyRef { hash: self.hash, name: &self.name, kind: self.kind, group: &self.group }
    }
}

impl KeyRef<'_> {
    pub(in crate::forward) fn to_key(self) -> Key {
        Key { hash: self.hash, name: self.name.into(), kind: self.kind, group: self.group.clone() }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.borrowed().equivalent(other)
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.hash == key.hash
            && self.kind == key.kind
            && *self.name == *key.name
            && (Arc::ptr_eq(self.group, &key.group) || self.group == &key.group)
    }
}

/// Takes the hash that a key has.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::forward) struct Hashed(u64);

/// See [`Hashed`].
pub(in crate::forward) type BuildHashed = BuildHasherDefault<Hashed>;

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys have one number to hash");
    }
}
