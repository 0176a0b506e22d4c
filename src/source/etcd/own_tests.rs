//! Each row of the rules about this host's claim, by name.

use super::*;

const TTL: Duration = Duration::from_secs(10);

fn s(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// A store that does what it is asked, and hosts that ask it.
#[derive(Default)]
struct Store {
    revision: i64,
    leases: i64,
    live: BTreeSet<i64>,
    kvs: BTreeMap<String, (Vec<u8>, i64, i64)>,
}

impl Store {
    fn item(&self, key: &str) -> Option<Item> {
        let (value, revision, _) = self.kvs.get(key)?;
        Some(Item { key: key.as_bytes().to_vec(), value: value.clone(), revision: *revision })
    }

    fn answer(&mut self, keys: &Keys, call: Call) -> (Answer, Vec<Event>) {
        let host = keys.own_host();
        match call {
            Call::ReadHost => (Answer::Host(self.item(&host)), Vec::new()),
            Call::Grant => {
                self.leases += 1;
                self.live.insert(self.leases);
                (Answer::Granted(self.leases), Vec::new())
            }
            Call::Revoke(lease) => (Answer::Revoked, self.revoke(lease)),
            Call::Write(write) => {
                if self.kvs.get(&host).map_or(0, |kv| kv.1) != write.expected {
                    return (Answer::Conflict(self.item(&host)), Vec::new());
                }
                if !self.live.contains(&write.lease) {
                    return (Answer::NoLease, Vec::new());
                }
                assert!(write.puts.len() + write.deletes.len() <= MAX_WRITE);
                self.revision += 1;
                let mut deletes = write.deletes;
                if write.clears {
                    assert!(write.puts.is_empty(), "etcd refuses a put into a range that the transaction deletes");
                    deletes.extend(self.kvs.keys().filter(|key| key.starts_with(&keys.own_endpoints())).cloned());
                }
                let mut events = self.delete(&deletes);
                for (key, value) in write.puts.into_iter().chain([(host, write.host)]) {
                    self.kvs.insert(key.clone(), (value.clone(), self.revision, write.lease));
                    events.push(Event::Put(Item { key: key.into_bytes(), value, revision: self.revision }));
                }
                (Answer::Written(self.revision), events)
            }
        }
    }

    fn delete(&mut self, keys: &[String]) -> Vec<Event> {
        let gone = keys.iter().filter(|key| self.kvs.remove(*key).is_some());
        gone.map(|key| Event::Deleted { key: key.clone().into_bytes(), revision: self.revision }).collect()
    }

    fn revoke(&mut self, lease: i64) -> Vec<Event> {
        self.live.remove(&lease);
        let keys: Vec<String> = self.kvs.iter().filter(|(_, kv)| kv.2 == lease).map(|(key, _)| key.clone()).collect();
        self.revision += 1;
        self.delete(&keys)
    }

    fn admin_deletes(&mut self, prefix: &str) -> Vec<Event> {
        let keys: Vec<String> = self.kvs.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
        self.revision += 1;
        self.delete(&keys)
    }

    fn endpoints(&self) -> Vec<(String, String)> {
        let of = |(key, kv): (&String, &(Vec<u8>, i64, i64))| {
            let id = key.split_once("/e/shop/")?.1.to_owned();
            Some((id, String::from_utf8_lossy(&kv.0).into_owned()))
        };
        self.kvs.iter().filter_map(of).collect()
    }

    fn record(&self, keys: &Keys) -> Option<HostRecord> {
        HostRecord::parse(&self.kvs.get(&keys.own_host())?.0).ok()
    }
}

fn keys() -> Keys {
    Keys::new("/callsign", "host-a")
}

fn own(machine: &str, instance: &str) -> Own {
    let identity = Identity { machine: machine.into(), boot: "boot".into(), instance: instance.into() };
    let mut own = Own::new(keys(), identity, TTL, 42);
    own.describe(vec!["10.77.0.11".parse().unwrap()], BTreeMap::new());
    own
}

fn want(own: &mut Own, now: f64, id: &str, value: Option<&str>) {
    own.want(keys().own_endpoint("shop", id), value.map(|value| value.as_bytes().to_vec()), s(now));
}

/// Asks until there is nothing to ask; the watch tells of all that happens.
fn settle(own: &mut Own, store: &mut Store, now: f64) {
    for _ in 0..1_000 {
        let Some(call) = own.poll(s(now)) else { return };
        let (answer, events) = store.answer(&keys(), call);
        own.answer(answer, s(now));
        own.observe(events, s(now));
    }
    panic!("asking has no end: {own:?}");
}

fn claimed(machine: &str, instance: &str, store: &mut Store) -> Own {
    let mut own = own(machine, instance);
    for id in ["1", "2", "3"] {
        want(&mut own, 0.0, id, Some("web"));
    }
    settle(&mut own, store, 0.0);
    assert!(matches!(own.standing(), Standing::Claimed { .. }), "{own:?}");
    own
}

#[test]
fn rule_a_set_of_many_is_whole_when_the_host_says_so() {
    let (mut own, mut store) = (own("m", "i"), Store::default());
    for id in 0..250 {
        want(&mut own, 0.0, &id.to_string(), Some("web"));
    }
    let mut writes = Vec::new();
    while let Some(call) = own.poll(s(0.0)) {
        if let Call::Write(write) = &call {
            writes.push((write.puts.len(), HostRecord::parse(&write.host).unwrap().complete));
        }
        let (answer, _) = store.answer(&keys(), call);
        own.answer(answer, s(0.0));
    }
    assert_eq!(writes, [(0, false), (100, false), (100, false), (50, true)]);
    assert_eq!(store.endpoints().len(), 250);
    assert!(store.kvs.values().all(|kv| kv.2 == 1), "all on one lease");
}

#[test]
fn rule_a_renaming_is_one_write() {
    let mut store = Store::default();
    let mut own = claimed("m", "i", &mut store);
    want(&mut own, 1.0, "1", Some("green"));
    want(&mut own, 1.0, "2", Some("blue"));
    want(&mut own, 1.0, "3", None);
    let Some(Call::Write(write)) = own.poll(s(1.0)) else { panic!() };
    assert_eq!((write.puts.len(), write.deletes.len()), (2, 1));
    let (answer, _) = store.answer(&keys(), Call::Write(write));
    own.answer(answer, s(1.0));
    assert_eq!(own.poll(s(1.0)), None);
    assert_eq!(store.endpoints(), [("1".into(), "green".into()), ("2".into(), "blue".into())]);
}

#[test]
fn rule_own_key_deleted_or_lease_gone_publishes_all_again_at_once() {
    let mut store = Store::default();
    let mut own = claimed("m", "i", &mut store);
    // An administrator deletes everything.
    let events = store.admin_deletes("/callsign/");
    own.observe(events, s(100.0));
    assert!(own.take_loss());
    assert!(own.deadline().unwrap() <= s(100.5), "within half a second");
    settle(&mut own, &mut store, 100.5);
    assert_eq!(store.endpoints().len(), 3);
    assert!(store.record(&keys()).unwrap().complete);
    // The lease is gone, which no error says.
    let lease = own.lease().unwrap();
    store.revoke(lease);
    own.kept_alive(lease, 0, s(200.0));
    assert!(own.take_loss());
    settle(&mut own, &mut store, 200.5);
    assert_eq!(store.endpoints().len(), 3);
    assert_ne!(own.lease(), Some(lease));
    assert!(!own.take_loss());
}

#[test]
fn rule_losses_in_a_row_back_off_to_30_s() {
    let mut store = Store::default();
    let mut own = claimed("m", "i", &mut store);
    let (mut now, mut longest) = (1.0, 0.0_f64);
    for _ in 0..12 {
        let events = store.admin_deletes("/callsign/");
        own.observe(events, s(now));
        let pause = own.deadline().unwrap().as_secs_f64() - now;
        longest = longest.max(pause);
        now += pause + 0.001;
        settle(&mut own, &mut store, now);
    }
    assert!((5.0..=30.0).contains(&longest), "{longest}");
    // A claim that has lasted is a good one.
    let events = store.admin_deletes("/callsign/");
    own.observe(events, s(now + 60.0));
    assert!(own.deadline().unwrap() <= s(now + 60.5));
}

#[test]
fn rule_one_key_that_somebody_else_changed_is_put_right() {
    let mut store = Store::default();
    let mut own = claimed("m", "i", &mut store);
    let events = store.admin_deletes("/callsign/v1/host-a/e/shop/2");
    own.observe(events, s(1.0));
    store.revision += 1;
    let (key, value) = (keys().own_endpoint("shop", "3"), b"evil".to_vec());
    store.kvs.insert(key.clone(), (value.clone(), store.revision, 0));
    own.observe([Event::Put(Item { key: key.into_bytes(), value, revision: store.revision })], s(1.0));
    assert!(!own.take_loss());
    settle(&mut own, &mut store, 1.0);
    assert!(store.endpoints().iter().all(|(_, value)| value == "web"), "{:?}", store.endpoints());
    assert_eq!(store.endpoints().len(), 3);
}

#[test]
fn rule_a_write_that_timed_out_and_was_done_is_known_by_its_number() {
    let mut store = Store::default();
    let mut own = claimed("m", "i", &mut store);
    want(&mut own, 1.0, "4", Some("db"));
    let call = own.poll(s(1.0)).unwrap();
    store.answer(&keys(), call);
    own.answer(Answer::Unknown, s(3.0));
    assert_eq!(own.standing(), Standing::Doubtful);
    let revision = store.revision;
    settle(&mut own, &mut store, 3.0);
    assert_eq!((store.revision, own.published()), (revision, 4), "it is not done twice");
}

#[test]
fn rule_a_write_that_timed_out_and_comes_late_does_nothing() {
    let mut store = Store::default();
    let mut own = claimed("m", "i", &mut store);
    // The put is stuck in a leader that hangs.
    want(&mut own, 1.0, "4", Some("db"));
    let zombie = own.poll(s(1.0)).unwrap();
    own.answer(Answer::Unknown, s(3.0));
    settle(&mut own, &mut store, 3.0);
    assert_eq!(store.endpoints().len(), 4, "it was done again");
    // The container ends, and its key is deleted. Then the leader wakes.
    want(&mut own, 4.0, "4", None);
    settle(&mut own, &mut store, 4.0);
    let (answer, events) = store.answer(&keys(), zombie);
    assert!(matches!(answer, Answer::Conflict(_)) && events.is_empty());
    assert_eq!(store.endpoints().len(), 3, "the key is not back");
}

#[test]
fn rule_a_late_write_with_other_content_is_not_taken_for_ours() {
    let mut store = Store::default();
    let mut own = claimed("m", "i", &mut store);
    want(&mut own, 1.0, "4", Some("old"));
    let zombie = own.poll(s(1.0)).unwrap();
    own.answer(Answer::Unknown, s(3.0));
    // It was not done, as far as is known.
    let (answer, _) = store.answer(&keys(), own.poll(s(3.0)).unwrap());
    own.answer(answer, s(3.0));
    want(&mut own, 3.0, "4", Some("new"));
    let next = own.poll(s(3.0)).unwrap();
    // It comes just before the next one.
    let (_, events) = store.answer(&keys(), zombie);
    own.observe(events, s(3.1));
    let (answer, _) = store.answer(&keys(), next);
    own.answer(answer, s(3.1));
    settle(&mut own, &mut store, 3.1);
    assert!(store.endpoints().contains(&("4".into(), "new".into())), "{:?}", store.endpoints());
}

#[test]
fn rule_reboot_takes_over_at_once_and_revokes_the_old_lease() {
    let mut store = Store::default();
    let before = claimed("m", "i", &mut store);
    let mut after = own("m", "after the reboot");
    want(&mut after, 0.0, "9", Some("web"));
    settle(&mut after, &mut store, 0.0);
    assert_eq!(store.endpoints(), [("9".into(), "web".into())], "the old set is gone");
    assert!(!store.live.contains(&before.lease().unwrap()), "so is its lease");
    assert_eq!(store.record(&keys()).unwrap().instance, "after the reboot");
}

#[test]
fn rule_another_machine_of_the_name_is_refused_and_tried_again_each_ttl() {
    let mut store = Store::default();
    let first = claimed("m", "i", &mut store);
    let mut second = own("other", "j");
    want(&mut second, 0.0, "9", Some("web"));
    settle(&mut second, &mut store, 0.0);
    let Standing::Refused(reason) = second.standing() else { panic!("{second:?}") };
    assert!(reason.contains("10.77.0.11") && reason.contains("`host` in [store]"), "{reason}");
    assert_eq!(second.take_notices().len(), 1);
    assert_eq!(second.deadline(), Some(TTL));
    settle(&mut second, &mut store, 10.0);
    assert!(second.take_notices().is_empty(), "it is said once");
    assert_eq!(store.endpoints().len(), 3);
    // The first one stops: it need not wait for its turn.
    let events = store.revoke(first.lease().unwrap());
    second.observe(events, s(12.0));
    settle(&mut second, &mut store, 12.0);
    assert_eq!(store.endpoints(), [("9".into(), "web".into())]);
}

#[test]
fn rule_taken_over_twice_in_ten_minutes_by_the_same_machine_id_stops() {
    let mut store = Store::default();
    let mut first = claimed("m", "i", &mut store);
    let mut clone = own("m", "j");
    for now in [100.0, 200.0] {
        settle(&mut clone, &mut store, now);
        let host = store.item(&keys().own_host()).unwrap();
        first.observe([Event::Put(host)], s(now));
        settle(&mut first, &mut store, now);
        let host = store.item(&keys().own_host()).unwrap();
        clone.observe([Event::Put(host)], s(now + 1.0));
    }
    let Standing::Refused(reason) = first.standing() else { panic!("{first:?}") };
    assert!(reason.contains("machine-id is not unique"), "{reason}");
    assert_eq!(first.deadline(), None, "it does not come back by itself");
}

#[test]
fn rule_paused_past_the_ttl_is_as_a_reboot_of_itself() {
    let mut store = Store::default();
    let mut own = claimed("m", "i", &mut store);
    store.revoke(own.lease().unwrap());
    want(&mut own, 100.0, "4", Some("db"));
    // It does not know yet, and writes.
    settle(&mut own, &mut store, 100.0);
    settle(&mut own, &mut store, 100.6);
    assert_eq!(store.endpoints().len(), 4);
}

#[test]
fn rule_a_restored_store_gets_the_set_again() {
    let mut store = Store::default();
    let mut own = claimed("m", "i", &mut store);
    let backup: BTreeMap<_, _> = store.kvs.clone();
    want(&mut own, 1.0, "4", Some("db"));
    settle(&mut own, &mut store, 1.0);
    store.kvs = backup;
    store.revision -= 1;
    own.start_over(s(2.0));
    settle(&mut own, &mut store, 2.0);
    assert_eq!(store.endpoints().len(), 4);
}

#[test]
fn rule_a_full_reading_finds_what_the_watch_has_missed() {
    let mut store = Store::default();
    let mut own = claimed("m", "i", &mut store);
    store.admin_deletes("/callsign/v1/host-a/e/shop/1");
    let items: Vec<Item> = store.kvs.keys().filter_map(|key| store.item(key)).collect();
    own.list(&items, store.revision, s(600.0));
    settle(&mut own, &mut store, 600.0);
    assert_eq!(store.endpoints().len(), 3);
    store.admin_deletes("/callsign/");
    own.list(&[], store.revision, s(1200.0));
    settle(&mut own, &mut store, 1200.5);
    assert_eq!(store.endpoints().len(), 3);
}

#[test]
fn rule_a_sign_of_life_each_ten_ttls() {
    let mut store = Store::default();
    let mut own = claimed("m", "i", &mut store);
    assert_eq!(own.deadline(), Some(10 * TTL));
    assert_eq!(own.poll(s(99.9)), None);
    settle(&mut own, &mut store, 100.0);
    assert_eq!(store.record(&keys()).unwrap().beat, 1);
    assert_eq!(own.deadline(), Some(20 * TTL));
}

#[test]
fn rule_an_orderly_stop_says_so_and_gives_the_lease_back() {
    let mut store = Store::default();
    let mut own = claimed("m", "i", &mut store);
    let (write, lease) = own.leave().unwrap();
    let (answer, _) = store.answer(&keys(), Call::Write(write));
    assert!(matches!(answer, Answer::Written(_)));
    assert!(store.record(&keys()).unwrap().leaving);
    store.revoke(lease);
    assert!(store.kvs.is_empty());
    assert_eq!(own.poll(s(1_000.0)), None);
}

#[test]
fn rule_a_key_that_is_no_record_names_no_owner() {
    let mut store = Store { revision: 7, ..Store::default() };
    store.kvs.insert(keys().own_host(), (b"garbage".to_vec(), 7, 0));
    claimed("m", "i", &mut store);
    assert_eq!(store.endpoints().len(), 3);
}

#[test]
fn rule_network_renamed_is_withdrawn_and_put_in_one_write() {
    let mut store = Store::default();
    let mut own = claimed("m", "i", &mut store);
    for id in ["1", "2", "3"] {
        want(&mut own, 1.0, id, None);
        own.want(keys().own_endpoint("store", id), Some(b"web".to_vec()), s(1.0));
    }
    let Some(Call::Write(write)) = own.poll(s(1.0)) else { panic!() };
    assert_eq!((write.puts.len(), write.deletes.len()), (3, 3));
}

#[test]
fn denied_is_said_and_tried_again() {
    let mut own = own("m", "i");
    assert_eq!(own.poll(s(0.0)), Some(Call::ReadHost));
    own.answer(Answer::Denied("etcd does not let host-a write".into()), s(0.0));
    assert_eq!(own.standing(), Standing::Refused("etcd does not let host-a write".into()));
    assert_eq!((own.poll(s(9.9)), own.poll(s(10.0))), (None, Some(Call::ReadHost)));
}
