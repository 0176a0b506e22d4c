//! For the fuzzer: whatever is in the store, and whatever a watch says, what is known stands.

use std::time::{Duration, Instant};

use prost::Message;

use crate::table::{NameTable, Network, Reach, Sharing};

use super::own::{Answer, Call, Identity};
use super::proto::{KeyValue, RangeResponse, ResponseHeader, WatchResponse};
use super::record::{EndpointRecord, HostRecord, Key, Keys};
use super::world::World;
use crate::settings::StoreOptions;

fn world() -> (World, NameTable) {
    let table = NameTable::new();
    for name in ["shop", "blog"] {
        let mut sharing = Sharing::new(Reach::Container);
        sharing.remote_subnets = vec!["10.0.0.0/8".parse().unwrap_or_default()];
        let network = Network::builder(name).sharing(Some(sharing)).domain("internal").build();
        if let Ok(network) = network {
            drop(table.add(network));
        }
    }
    let options = StoreOptions::new("host-a", vec!["http://127.0.0.1".to_owned()]);
    let identity = Identity { machine: "m".into(), boot: "b".into(), instance: "i".into() };
    let mut world = World::new(&options, identity, &table, 1, Instant::now());
    world.publish(Instant::now());
    (world, table)
}

/// Takes each line as a key, a tab and a value in the store.
///
/// # Panics
/// If a key is not written as it is read, a record is not read as it is written, or something of another host is nobody's.
pub fn replay_values(input: &[u8]) {
    let keys = Keys::new("/callsign", "host-a");
    let mut kvs = Vec::new();
    for (at, line) in input.split(|octet| *octet == b'\n').enumerate() {
        let (key, value) = line.split_at(line.iter().position(|octet| *octet == b'\t').unwrap_or(line.len()));
        let value = value.get(1..).unwrap_or_default();
        if let Ok(Key::Endpoint(host, place)) = keys.parse(key) {
            let written = keys.of_host(&host).own_endpoint(&place.network, &place.id);
            assert_eq!(written.as_bytes(), key);
        }
        if let Ok(record) = EndpointRecord::parse(value) {
            assert_eq!(EndpointRecord::parse(&record.to_value()), Ok(record));
        }
        if let Ok(record) = HostRecord::parse(value) {
            assert_eq!(HostRecord::parse(&record.to_value()), Ok(record));
        }
        let revision = i64::try_from(at).unwrap_or(i64::MAX) + 1;
        kvs.push(KeyValue { key: key.to_vec(), value: value.to_vec(), mod_revision: revision, ..KeyValue::default() });
    }
    let (mut world, table) = world();
    let header = ResponseHeader { cluster_id: 1, revision: i64::MAX, raft_term: 1 };
    let now = Instant::now();
    world.begin_list();
    world.listed(kvs, &header, super::link::Reason::Start, now);
    check(&table);
    // All is gone.
    world.live("", now);
    world.begin_list();
    world.listed(Vec::new(), &header, super::link::Reason::Reconcile, now);
    let later = now + Duration::from_secs(3_600);
    world.tick(later);
    world.tick(later + Duration::from_secs(3_600));
    assert_eq!(world.status(later).remote_endpoints, 0);
    assert!(table.networks().iter().all(|network| network.snapshot().endpoint_count() == 0));
}

/// Takes messages, each behind its length in two octets: of a watch; if the first octet is odd, a page of a reading.
///
/// # Panics
/// As [`replay_values`].
pub fn replay_watch(input: &[u8]) {
    let (mut world, table) = world();
    let mut now = Instant::now();
    let mut rest = input;
    world.begin_list();
    world.listed(Vec::new(), &ResponseHeader::default(), super::link::Reason::Start, now);
    world.live("", now);
    while let [kind, high, low, behind @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(behind.len());
        let (message, others) = behind.split_at(length);
        rest = others;
        now += Duration::from_millis(u64::from(*kind) * 10);
        if kind & 1 == 1 {
            let Ok(RangeResponse { header, kvs, .. }) = RangeResponse::decode(message) else { continue };
            world.begin_list();
            world.listed(kvs, &header.unwrap_or_default(), super::link::Reason::Reconcile, now);
        } else if let Ok(message) = WatchResponse::decode(message) {
            world.heard(message, kind & 2 == 2, now);
        }
        // The store agrees with all that we want.
        let since_start = world.since_start(now);
        match world.own.poll(since_start) {
            Some(Call::ReadHost) => world.own.answer(Answer::Host(None), since_start),
            Some(Call::Grant) => world.own.answer(Answer::Granted(1), since_start),
            Some(Call::Write(write)) => {
                world.own.answer(Answer::Written(write.expected.saturating_add(1)), since_start)
            }
            Some(Call::Revoke(_)) => world.own.answer(Answer::Revoked, since_start),
            None => {}
        }
        world.tick(now);
        check(&table);
    }
    let in_force = world.status(now).remote_endpoints;
    let networks = table.networks();
    let remote = networks.iter().map(|network| network.snapshot().endpoints().filter(|one| one.is_remote()).count());
    assert_eq!(remote.sum::<usize>(), in_force);
}

fn check(table: &NameTable) {
    for network in table.networks() {
        for endpoint in network.snapshot().endpoints() {
            assert!(endpoint.is_remote() && endpoint.id().contains('/'), "{endpoint:?}");
            let is_inside =
                |address: &std::net::IpAddr| matches!(address, std::net::IpAddr::V4(v4) if v4.octets()[0] == 10);
            let is_host = endpoint.origin().is_some_and(|origin| origin.reach() == Reach::Host);
            assert!(is_host || endpoint.addresses().iter().all(is_inside), "{endpoint:?}");
        }
    }
}
