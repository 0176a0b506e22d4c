//! Any packet: replies decode, keep ID and question, stay within their limit; the fast and the general path give the same
//! verdict and octets; what is read is what hickory-proto reads. See `fuzz/src/query.rs`, which checks all of it.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::{cases, query};

fn wire_name(labels: &[Vec<u8>]) -> Vec<u8> {
    let mut wire: Vec<u8> = labels.iter().flat_map(|label| [&[label.len() as u8][..], label].concat()).collect();
    wire.push(0);
    wire
}

/// Names that mean something to the fuzzers' table, in a random case, and names that mean nothing.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let known = select(vec![
        "db",
        "db.internal",
        "web.shop",
        "web.shop.corp.example",
        "api",
        "many",
        "worker",
        "x.apps",
        "y.x.apps",
        "apps",
        "a.b.c",
        "b.c",
        "payments",
        "primary",
        "loop",
        "_http._tcp.web",
        "_80._tcp.api",
        "_tcp.web",
        "_ldap._tcp.dir",
        "internal",
        "shop",
        "nothere.internal",
        "safe",
        "proxy",
        "proxy.vault",
        "3.1.10.10.in-addr.arpa",
        "250.1.10.10.in-addr.arpa",
        "1.10.10.in-addr.arpa",
        "1.0.0.127.in-addr.arpa",
        "localhost",
        "x.onion",
        "version.bind",
        "id.server",
        "host.docker.internal",
        "www.example.com",
        "",
    ]);
    let known = (known, any::<u64>()).prop_map(|(name, case)| {
        let labels: Vec<Vec<u8>> = name.split('.').filter(|label| !label.is_empty()).map(Vec::from).collect();
        let mut wire = wire_name(&labels);
        for (index, octet) in wire.iter_mut().enumerate().filter(|(_, octet)| octet.is_ascii_lowercase()) {
            *octet ^= u8::from(case >> (index % 64) & 1 == 1) << 5;
        }
        wire
    });
    let any_octets = vec(vec(any::<u8>(), 1..12), 0..6).prop_map(|labels| wire_name(&labels));
    let long = vec(vec(any::<u8>(), 50..=63), 4..=4).prop_map(|labels| wire_name(&labels));
    prop_oneof![8 => known, 2 => any_octets, 1 => long]
}

fn question() -> impl Strategy<Value = Vec<u8>> {
    let rtype = prop_oneof![
        4 => select(vec![1_u16, 28]),
        4 => select(vec![2_u16, 5, 6, 12, 15, 16, 33, 64, 65, 255]),
        1 => select(vec![41_u16, 250, 251, 252]),
        1 => any::<u16>(),
    ];
    let class = prop_oneof![8 => Just(1_u16), 1 => Just(3_u16), 1 => any::<u16>()];
    (name(), rtype, class)
        .prop_map(|(name, rtype, class)| [&name[..], &rtype.to_be_bytes(), &class.to_be_bytes()].concat())
}

fn record(name: &[u8], rtype: u16, class: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let (rtype, class, ttl) = (rtype.to_be_bytes(), class.to_be_bytes(), ttl.to_be_bytes());
    [name, &rtype, &class, &ttl, &(data.len() as u16).to_be_bytes(), data].concat()
}

fn option() -> impl Strategy<Value = Vec<u8>> {
    let option =
        |code: u16, value: Vec<u8>| [&code.to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), &value].concat();
    let lengths = select(vec![0_usize, 7, 8, 15, 16, 24, 40, 41]);
    let cookie = lengths.prop_flat_map(|len| vec(any::<u8>(), len));
    prop_oneof![
        3 => cookie.prop_map(move |value| option(10, value)),
        1 => Just(option(11, vec![])),
        1 => vec(Just(0), 0..40).prop_map(move |value| option(12, value)),
        1 => Just(option(8, vec![0, 1, 24, 0, 10, 0, 0])),
        2 => (any::<u16>(), vec(any::<u8>(), 0..20)).prop_map(move |(code, value)| option(code, value)),
    ]
}

fn opt() -> impl Strategy<Value = Vec<u8>> {
    let size = prop_oneof![select(vec![0_u16, 511, 512, 1231, 1232, 1233, 4096]), any::<u16>()];
    let ttl = prop_oneof![4 => select(vec![0_u32, 0x8000]), 1 => Just(0x1_0000), 1 => any::<u32>()];
    // Its length, and that of its last option, say now and then more than is there, or less.
    let off = || prop_oneof![6 => Just(0_i16), 1 => -5_i16..=5];
    (size, ttl, vec(option(), 0..4), off(), off()).prop_map(|(size, ttl, mut options, by, last_by)| {
        if let Some(last) = options.last_mut() {
            let len = i16::from_be_bytes([last[2], last[3]]);
            last[2..4].copy_from_slice(&len.saturating_add(last_by).to_be_bytes());
        }
        let data = options.concat();
        let mut opt = record(&[0], 41, size, ttl, &data);
        opt[9..11].copy_from_slice(&(data.len() as i16).saturating_add(by).to_be_bytes());
        opt
    })
}

fn additional() -> impl Strategy<Value = Vec<u8>> {
    let owner = prop_oneof![Just(vec![0xc0, 12]), Just(vec![0]), name()];
    let a = owner.prop_map(|owner| record(&owner, 1, 1, 60, &[10, 0, 0, 1]));
    let any = (name(), any::<u16>(), any::<u16>(), vec(any::<u8>(), 0..30))
        .prop_map(|(owner, rtype, class, data)| record(&owner, rtype, class, 60, &data));
    prop_oneof![6 => opt(), 2 => a, 1 => any]
}

/// A packet that is a query as far as its parts are in order, with counts that are true.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let flags =
        prop_oneof![6 => Just(0x0100_u16), 2 => any::<u16>().prop_map(|flags| flags & 0x07ff), 1 => any::<u16>()];
    let additionals = prop_oneof![3 => vec(additional(), 0..=1), 1 => vec(additional(), 0..5)];
    (any::<u16>(), flags, question(), additionals).prop_map(|(id, flags, question, additionals)| {
        let counts = [0, 1, 0, 0, 0, 0, 0, additionals.len() as u8];
        [&id.to_be_bytes()[..], &flags.to_be_bytes(), &counts, &question, &additionals.concat()].concat()
    })
}

/// Where it comes from: see `fuzz/src/query.rs`.
fn who() -> impl Strategy<Value = u8> {
    prop_oneof![20 => 0_u8..16, 1 => 16_u8..32]
}

#[derive(Debug, Clone)]
enum Mutation {
    Set(Index, u8),
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Remove(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (any::<Index>(), select(vec![0_u8, 1, 12, 63, 64, 0x80, 0xc0, 0xff]))
            .prop_map(|(at, to)| Mutation::Set(at, to)),
        (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        any::<Index>().prop_map(Mutation::Cut),
        (any::<Index>(), vec(any::<u8>(), 1..4)).prop_map(|(at, octets)| Mutation::Insert(at, octets)),
        any::<Index>().prop_map(Mutation::Remove),
    ]
}

fn mutate(mut packet: Vec<u8>, mutations: Vec<Mutation>) -> Vec<u8> {
    for mutation in mutations {
        let len = packet.len();
        match mutation {
            _ if len == 0 => {}
            Mutation::Set(at, to) => packet[at.index(len)] = to,
            Mutation::Flip(at, bit) => packet[at.index(len)] ^= 1 << bit,
            Mutation::Cut(at) => packet.truncate(at.index(len)),
            Mutation::Insert(at, octets) => {
                let at = at.index(len);
                packet.splice(at..at, octets);
            }
            Mutation::Remove(at) => drop(packet.remove(at.index(len))),
        }
    }
    packet
}

fn run(who: u8, packet: &[u8]) {
    query::run(&[&[who], packet].concat());
}

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn queries_are_answered_soundly_and_alike_on_both_paths(who in who(), packet in packet()) {
        run(who, &packet);
    }

    #[test]
    fn damaged_queries_are_answered_soundly_and_alike_on_both_paths(
        who in who(),
        packet in packet(),
        mutations in vec(mutation(), 1..4),
    ) {
        run(who, &mutate(packet, mutations));
    }

    #[test]
    fn any_octets_are_answered_soundly_and_alike_on_both_paths(who in who(), packet in vec(any::<u8>(), 0..80)) {
        run(who, &packet);
    }
}
