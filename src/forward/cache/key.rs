//! What an answer is kept under: the question, as far as the answer depends on it, and the servers that gave it.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

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

/// A key as it is looked up.
#[derive(Debug, Clone, Copy)]
pub(in crate::forward) struct KeyRef<'a> {
    /// Wire form, lower case.
    pub(in crate::forward) name: &'a [u8],
    pub(in crate::forward) kind: Kind,
    /// The upstream group: who is asked, in order. Lists are compared by what is in them, so that two groups that differ
    /// in anything share nothing (design.md, decision 7), however they came about.
    pub(in crate::forward) group: &'a Arc<[Upstream]>,
}

/// A key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::forward) struct Key {
    name: Box<[u8]>,
    kind: Kind,
    group: Arc<[Upstream]>,
}

impl Key {
    pub(in crate::forward) fn borrowed(&self) -> KeyRef<'_> {
        KeyRef { name: &self.name, kind: self.kind, group: &self.group }
    }
}

impl KeyRef<'_> {
    pub(in crate::forward) fn to_key(self) -> Key {
        Key { name: self.name.into(), kind: self.kind, group: self.group.clone() }
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // A valid name ends with its root label: no two of them run into what follows.
        state.write(self.name);
        self.kind.hash(state);
        self.group.hash(state);
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.kind == key.kind
            && *self.name == *key.name
            && (Arc::ptr_eq(self.group, &key.group) || self.group == &key.group)
    }
}
