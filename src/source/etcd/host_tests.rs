//! Each row of the rules about other hosts, by name.

use super::*;
use crate::source::etcd::record::{Share, SharedNetwork};

const TTL: Duration = Duration::from_secs(10);
const HOLD: Duration = Duration::from_secs(60);
const LINGER: Duration = Duration::from_secs(300);

fn s(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// A store in which hosts write, and what a reader makes of it.
struct Bed {
    hosts: Hosts,
    keys: Keys,
    revision: i64,
}

impl Bed {
    fn new() -> Bed {
        let keys = Keys::new("/callsign", "host-a");
        let times = Times { ttl: TTL, hold: HOLD, linger: LINGER };
        Bed { hosts: Hosts::new(keys.clone(), times), keys, revision: 0 }
    }

    fn record(&self) -> HostRecord {
        let network = SharedNetwork { share: Share::Container, subnets: Vec::new() };
        HostRecord {
            v: 1,
            instance: "one".to_owned(),
            networks: BTreeMap::from([("shop".to_owned(), network)]),
            complete: true,
            ..HostRecord::default()
        }
    }

    fn host_put(&mut self, host: &str, record: &HostRecord) -> Event {
        let key = self.keys.of_host(host).own_host().into_bytes();
        Event::Put(Item { key, value: record.to_value(), revision: self.revision })
    }

    fn put(&mut self, host: &str, id: &str, name: &str) -> Event {
        let record = EndpointRecord { n: Box::new([name.into()]), ..EndpointRecord::default() };
        self.put_record(host, id, &record)
    }

    fn put_record(&mut self, host: &str, id: &str, record: &EndpointRecord) -> Event {
        let key = self.keys.of_host(host).own_endpoint("shop", id).into_bytes();
        Event::Put(Item { key, value: record.to_value(), revision: self.revision })
    }

    fn delete(&self, host: &str, id: Option<&str>) -> Event {
        let keys = self.keys.of_host(host);
        let key = id.map_or_else(|| keys.own_host(), |id| keys.own_endpoint("shop", id));
        Event::Deleted { key: key.into_bytes(), revision: self.revision }
    }

    /// One revision.
    fn at(&mut self, now: f64, make: impl FnOnce(&mut Bed) -> Vec<Event>) {
        self.revision += 1;
        let events = make(self);
        self.hosts.apply(&events, s(now));
    }

    /// A host comes with one endpoint that has a name.
    fn come(&mut self, now: f64, host: &str, name: &str) {
        let record = self.record();
        self.at(now, |bed| vec![bed.put(host, "1", name), bed.host_put(host, &record)]);
    }

    /// A host's lease ends: all its keys go in one revision.
    fn expire(&mut self, now: f64, host: &str) {
        self.at(now, |bed| vec![bed.delete(host, Some("1")), bed.delete(host, None)]);
    }

    /// `up`, `lost` or `-`.
    fn look(&self, host: &str, id: &str) -> &'static str {
        let place = Place { network: "shop".into(), id: id.into() };
        match self.hosts.shown(host, &place) {
            Some(shown) if shown.is_lost => "lost",
            Some(_) => "up",
            None => "-",
        }
    }

    fn name(&self, host: &str, id: &str) -> String {
        let place = Place { network: "shop".into(), id: id.into() };
        self.hosts.shown(host, &place).map(|shown| shown.known.record.n[0].to_string()).unwrap_or_default()
    }

    /// Lets time pass, as the deadlines say.
    fn until(&mut self, now: f64) {
        while let Some(deadline) = self.hosts.deadline().filter(|deadline| *deadline <= s(now)) {
            self.hosts.tick(deadline);
        }
        self.hosts.tick(s(now));
    }

    fn phase(&self, host: &str) -> Option<Phase> {
        self.hosts.iter().find(|(name, _)| &***name == host).map(|(_, host)| host.phase())
    }

    /// What the store has now, as a list.
    fn items(&self, events: Vec<Event>) -> Vec<Item> {
        events.into_iter().filter_map(|event| if let Event::Put(item) = event { Some(item) } else { None }).collect()
    }

    fn list(&mut self, now: f64, items: &[Item]) -> bool {
        let none = BTreeSet::new();
        let how = Listing { revision: self.revision, deleted: &none, is_other: false };
        self.hosts.list(items, &how, s(now))
    }
}

#[test]
fn rule_one_host_expires_up_for_2_s_then_down_then_forgotten_after_linger() {
    let mut bed = Bed::new();
    bed.come(0.0, "host-b", "queue");
    bed.expire(100.0, "host-b");
    bed.until(101.9);
    assert_eq!(bed.look("host-b", "1"), "up", "it may be back");
    bed.until(102.0);
    assert_eq!(bed.look("host-b", "1"), "lost");
    bed.until(401.9);
    assert_eq!(bed.look("host-b", "1"), "lost");
    bed.until(402.0);
    assert_eq!((bed.look("host-b", "1"), bed.phase("host-b")), ("-", None));
}

#[test]
fn rule_a_host_that_is_back_within_2_s_was_never_away() {
    let mut bed = Bed::new();
    bed.come(0.0, "host-b", "queue");
    bed.hosts.take_changed();
    bed.expire(100.0, "host-b");
    bed.come(101.0, "host-b", "queue");
    bed.until(150.0);
    assert_eq!((bed.look("host-b", "1"), bed.phase("host-b")), ("up", Some(Phase::Live)));
}

#[test]
fn rule_orderly_stop_removes_at_once_without_linger() {
    let mut bed = Bed::new();
    bed.come(0.0, "host-b", "queue");
    let leaving = HostRecord { leaving: true, ..bed.record() };
    bed.at(50.0, |bed| vec![bed.host_put("host-b", &leaving)]);
    assert_eq!(bed.look("host-b", "1"), "-");
    bed.expire(50.1, "host-b");
    assert_eq!(bed.phase("host-b"), None);
    // And it may come back.
    bed.come(60.0, "host-b", "queue");
    assert_eq!(bed.look("host-b", "1"), "up");
}

#[test]
fn rule_a_deletion_with_the_hosts_key_is_meant_and_any_other_is_a_loss() {
    let mut bed = Bed::new();
    bed.come(0.0, "host-b", "queue");
    let record = bed.record();
    bed.at(1.0, |bed| vec![bed.put("host-b", "2", "db"), bed.host_put("host-b", &record)]);
    bed.at(10.0, |bed| vec![bed.delete("host-b", Some("1")), bed.host_put("host-b", &record)]);
    assert_eq!(bed.look("host-b", "1"), "-", "a container ended");
    bed.at(20.0, |bed| vec![bed.delete("host-b", Some("2"))]);
    bed.until(21.9);
    assert_eq!(bed.look("host-b", "2"), "up", "somebody deleted it: its host puts it back");
    bed.at(21.95, |bed| vec![bed.put("host-b", "2", "db"), bed.host_put("host-b", &record)]);
    bed.until(30.0);
    assert_eq!(bed.look("host-b", "2"), "up");
    bed.at(40.0, |bed| vec![bed.delete("host-b", Some("2"))]);
    bed.until(42.0);
    assert_eq!(bed.look("host-b", "2"), "-", "its host did not");
}

#[test]
fn rule_many_lost_at_once_are_held_and_only_those_that_stay_away_are_dropped() {
    let mut bed = Bed::new();
    let names: Vec<String> = (0..20).map(|number| format!("host-{number}")).collect();
    names.iter().for_each(|host| bed.come(0.0, host, "web"));
    // One revision each, over ten seconds: the first are down before the rest is known.
    for (at, host) in names.iter().enumerate() {
        bed.until(100.0 + at as f64 * 0.5);
        bed.expire(100.0 + at as f64 * 0.5, host);
    }
    for host in &names {
        assert_eq!(bed.look(host, "1"), "up", "{host}");
        assert!(matches!(bed.phase(host), Some(Phase::Held(_))), "{host}");
    }
    names[..15].iter().for_each(|host| bed.come(112.0, host, "web"));
    bed.until(159.9);
    assert!(names.iter().all(|host| bed.look(host, "1") == "up"));
    bed.until(170.0);
    for host in &names[..15] {
        assert_eq!(bed.look(host, "1"), "up", "{host}");
    }
    for host in &names[15..] {
        assert_eq!(bed.look(host, "1"), "lost", "{host}");
    }
}

#[test]
fn rule_two_hosts_of_few_are_no_mass() {
    let mut bed = Bed::new();
    let names = ["host-b", "host-c", "host-d"];
    names.iter().for_each(|host| bed.come(0.0, host, "web"));
    bed.expire(100.0, "host-b");
    bed.expire(100.1, "host-c");
    bed.until(102.2);
    assert_eq!([bed.look("host-b", "1"), bed.look("host-c", "1"), bed.look("host-d", "1")], ["lost", "lost", "up"]);
    // The third within a TTL.
    bed.expire(105.0, "host-d");
    assert!(names.iter().all(|host| bed.look(host, "1") == "up"));
}

#[test]
fn rule_hosts_that_go_with_our_own_lease_are_held() {
    let mut bed = Bed::new();
    bed.come(0.0, "host-b", "web");
    bed.expire(100.0, "host-b");
    bed.until(102.5);
    assert_eq!(bed.look("host-b", "1"), "lost");
    bed.hosts.own_lost(s(103.0));
    assert_eq!(bed.look("host-b", "1"), "up");
    // In the other order, too.
    bed.come(104.0, "host-b", "web");
    bed.until(200.0);
    bed.hosts.own_lost(s(200.0));
    bed.expire(205.0, "host-b");
    bed.until(264.9);
    assert_eq!(bed.look("host-b", "1"), "up");
    bed.until(265.0);
    assert_eq!(bed.look("host-b", "1"), "lost");
}

#[test]
fn rule_a_set_is_shown_when_it_is_complete_and_what_was_known_stays_until_then() {
    let mut bed = Bed::new();
    bed.come(0.0, "host-b", "queue");
    let half = HostRecord { complete: false, instance: "two".to_owned(), ..bed.record() };
    // A reboot: the old set is deleted with the takeover.
    bed.at(10.0, |bed| vec![bed.host_put("host-b", &half), bed.delete("host-b", Some("1"))]);
    assert_eq!(bed.name("host-b", "1"), "queue");
    bed.at(10.1, |bed| vec![bed.put("host-b", "2", "db"), bed.host_put("host-b", &half)]);
    assert_eq!((bed.look("host-b", "1"), bed.look("host-b", "2")), ("up", "-"));
    let whole = HostRecord { complete: true, ..half };
    bed.at(10.2, |bed| vec![bed.put("host-b", "3", "web"), bed.host_put("host-b", &whole)]);
    assert_eq!([bed.look("host-b", "1"), bed.look("host-b", "2"), bed.look("host-b", "3")], ["-", "up", "up"]);
}

#[test]
fn rule_a_renaming_of_two_names_is_one_change() {
    let mut bed = Bed::new();
    let record = bed.record();
    bed.at(0.0, |bed| {
        vec![bed.put("host-b", "1", "blue"), bed.put("host-b", "2", "green"), bed.host_put("host-b", &record)]
    });
    bed.hosts.take_changed();
    bed.at(1.0, |bed| {
        vec![bed.put("host-b", "1", "green"), bed.put("host-b", "2", "blue"), bed.host_put("host-b", &record)]
    });
    let changed = bed.hosts.take_changed();
    assert_eq!((changed.len(), changed["shop"].len()), (1, 2));
    assert_eq!((bed.name("host-b", "1"), bed.name("host-b", "2")), ("green".into(), "blue".into()));
}

#[test]
fn rule_a_full_reading_is_diffed_and_never_clears() {
    let mut bed = Bed::new();
    let record = bed.record();
    bed.come(0.0, "host-b", "queue");
    bed.come(0.0, "host-c", "db");
    bed.hosts.take_changed();
    bed.revision = 100;
    let (b, c) = (bed.host_put("host-b", &record), bed.put("host-b", "1", "queue"));
    let items = bed.items(vec![b, c]);
    assert!(bed.list(10.0, &items));
    let changed = bed.hosts.take_changed();
    assert_eq!(
        changed["shop"].iter().map(|(host, _)| &**host).collect::<Vec<_>>(),
        ["host-b"],
        "a newer revision of it"
    );
    assert_eq!(
        (bed.look("host-b", "1"), bed.look("host-c", "1")),
        ("up", "up"),
        "host-c is missing, as if it had expired"
    );
    assert!(!bed.list(10.1, &items), "the second time there is nothing new");
    assert!(bed.hosts.take_changed().is_empty());
    bed.until(12.1);
    assert_eq!((bed.look("host-b", "1"), bed.look("host-c", "1")), ("up", "lost"));
}

#[test]
fn rule_what_the_watch_says_during_a_full_reading_is_newer() {
    let mut bed = Bed::new();
    let record = bed.record();
    bed.revision = 1;
    let items = [bed.host_put("host-b", &record), bed.put("host-b", "1", "queue"), bed.put("host-b", "2", "db")];
    let items = bed.items(items.into());
    bed.list(0.0, &items);
    // While a list at revision 1 is under way:
    bed.at(1.0, |bed| {
        vec![bed.delete("host-b", Some("1")), bed.put("host-b", "2", "new"), bed.host_put("host-b", &record)]
    });
    let deleted = BTreeSet::from([bed.keys.of_host("host-b").own_endpoint("shop", "1").into_bytes()]);
    let how = Listing { revision: 1, deleted: &deleted, is_other: false };
    assert!(!bed.hosts.list(&items, &how, s(1.1)));
    assert_eq!((bed.look("host-b", "1"), bed.name("host-b", "2")), ("-", "new".into()));
}

#[test]
fn rule_a_restored_store_is_believed_although_its_revisions_are_lower() {
    let mut bed = Bed::new();
    bed.revision = 1_000;
    bed.come(0.0, "host-b", "new");
    bed.revision = 10;
    let record = HostRecord { seq: 3, ..bed.record() };
    let items = [bed.host_put("host-b", &record), bed.put("host-b", "1", "old"), bed.put("host-b", "2", "db")];
    let items = bed.items(items.into());
    let none = BTreeSet::new();
    bed.hosts.list(&items, &Listing { revision: 10, deleted: &none, is_other: true }, s(1.0));
    assert_eq!((bed.name("host-b", "1"), bed.look("host-b", "2")), ("old".into(), "up"));
}

#[test]
fn rule_one_revision_may_mean_two_things_after_a_restore() {
    let mut bed = Bed::new();
    bed.come(0.0, "host-b", "one");
    let (record, revision) = (bed.record(), bed.revision);
    // Another history, which the watch did not notice, with the same revision.
    let items = [bed.host_put("host-b", &record), bed.put("host-b", "1", "two")];
    let items = bed.items(items.into());
    bed.revision = revision + 100;
    assert!(bed.list(600.0, &items));
    assert_eq!(bed.name("host-b", "1"), "two");
}

#[test]
fn rule_a_state_file_is_shown_until_the_store_says_otherwise() {
    let mut bed = Bed::new();
    bed.come(0.0, "host-b", "queue");
    bed.come(0.0, "host-c", "db");
    let saved = bed.hosts.to_items();
    let mut later = Bed::new();
    later.hosts.restore(&saved, s(0.0));
    assert_eq!((later.look("host-b", "1"), later.look("host-c", "1")), ("up", "up"));
    later.until(250.0);
    assert_eq!(later.look("host-c", "1"), "up", "etcd is away: nothing is taken away");
    // The store is there again, and host-c is not in it.
    let record = later.record();
    later.revision = 50;
    let items = [later.host_put("host-b", &record), later.put("host-b", "1", "queue")];
    let items = later.items(items.into());
    later.list(250.0, &items);
    later.until(252.1);
    assert_eq!((later.look("host-b", "1"), later.look("host-c", "1")), ("up", "lost"));
}

#[test]
fn rule_a_host_that_is_kept_alive_by_somebody_else_is_lost_without_a_beat() {
    let mut bed = Bed::new();
    bed.come(0.0, "host-b", "queue");
    let record = HostRecord { ttl: Some(20), ..bed.record() };
    bed.at(1.0, |bed| vec![bed.host_put("host-b", &record)]);
    bed.until(600.9);
    assert_eq!(bed.look("host-b", "1"), "up");
    bed.until(602.0);
    assert_eq!(bed.look("host-b", "1"), "lost", "30 of its own TTLs");
    bed.at(610.0, |bed| vec![bed.host_put("host-b", &record)]);
    assert_eq!(bed.look("host-b", "1"), "up");
}

#[test]
fn rule_one_container_on_two_hosts_for_a_minute_is_a_migration() {
    let mut bed = Bed::new();
    let (record, id) = (bed.record(), "ab".repeat(32));
    let endpoint = |since| EndpointRecord { n: Box::new(["web".into()]), since, ..EndpointRecord::default() };
    bed.at(0.0, |bed| vec![bed.put_record("host-b", &id, &endpoint(100)), bed.host_put("host-b", &record)]);
    bed.at(50.0, |bed| vec![bed.put_record("host-c", &id, &endpoint(200)), bed.host_put("host-c", &record)]);
    bed.until(109.0);
    assert_eq!((bed.look("host-b", &id), bed.look("host-c", &id)), ("up", "up"));
    assert!(bed.hosts.take_notices().is_empty());
    bed.until(110.0);
    assert_eq!((bed.look("host-b", &id), bed.look("host-c", &id)), ("-", "up"), "the one that was seen last");
    let notices = bed.hosts.take_notices();
    assert!(notices.len() == 1 && notices[0].contains("host-b and host-c"), "{notices:?}");
    // It ends there: the older one counts again.
    bed.hosts.take_changed();
    bed.at(120.0, |bed| vec![bed.delete("host-c", Some(&id)), bed.host_put("host-c", &record)]);
    assert_eq!(bed.look("host-b", &id), "up");
    assert!(bed.hosts.take_changed()["shop"].contains(&("host-b".into(), id.clone().into())));
    // Names that people gave are each host's own.
    bed.at(200.0, |bed| vec![bed.put("host-b", "web-1", "web"), bed.host_put("host-b", &record)]);
    bed.at(200.0, |bed| vec![bed.put("host-c", "web-1", "web"), bed.host_put("host-c", &record)]);
    bed.until(290.0);
    assert_eq!((bed.look("host-b", "web-1"), bed.look("host-c", "web-1")), ("up", "up"));
}

#[test]
fn rule_a_bad_value_costs_that_key_alone_and_is_said_once() {
    let mut bed = Bed::new();
    bed.come(0.0, "host-b", "queue");
    let record = bed.record();
    for at in 1..4 {
        bed.at(f64::from(at), |bed| {
            let key = bed.keys.of_host("host-b").own_endpoint("shop", "bad").into_bytes();
            let bad = Event::Put(Item { key, value: b"{".to_vec(), revision: bed.revision });
            vec![bad, bed.put("host-b", "2", "db"), bed.host_put("host-b", &record)]
        });
    }
    assert_eq!([bed.look("host-b", "1"), bed.look("host-b", "2"), bed.look("host-b", "bad")], ["up", "up", "-"]);
    assert_eq!(bed.hosts.refused()[&Refusal::Value], 3);
    let notices = bed.hosts.take_notices();
    assert!(notices.len() == 1 && notices[0].contains("/shop/bad is not taken"), "{notices:?}");
}

#[test]
fn rule_another_version_skips_that_host() {
    let mut bed = Bed::new();
    bed.come(0.0, "host-b", "queue");
    bed.at(1.0, |bed| {
        let key = bed.keys.of_host("host-b").own_host().into_bytes();
        vec![Event::Put(Item { key, value: br#"{"v":2}"#.to_vec(), revision: bed.revision })]
    });
    assert_eq!(bed.look("host-b", "1"), "-");
    let trouble = bed.hosts.iter().next().and_then(|(_, host)| host.trouble());
    assert_eq!(trouble, Some(Refusal::Version));
}

#[test]
fn limits_are_each_hosts_own() {
    let mut bed = Bed::new();
    let record = bed.record();
    bed.come(0.0, "host-b", "queue");
    bed.at(1.0, |bed| {
        let many: Vec<Event> = (0..MAX_OF_HOST + 500).map(|id| bed.put("host-c", &format!("c{id}"), "web")).collect();
        many.into_iter().chain([bed.host_put("host-c", &record)]).collect()
    });
    bed.at(2.0, |bed| {
        let name = "a".repeat(60);
        let big = EndpointRecord { n: (0..60).map(|_| name.clone().into()).collect(), ..EndpointRecord::default() };
        let many: Vec<Event> = (0..3_000).map(|id| bed.put_record("host-d", &format!("d{id}"), &big)).collect();
        many.into_iter().chain([bed.host_put("host-d", &record)]).collect()
    });
    let counts: Vec<usize> = bed.hosts.iter().map(|(_, host)| host.endpoints()).collect();
    assert_eq!(counts[..2], [1, MAX_OF_HOST]);
    assert!(counts[2] < 1_200, "4 MiB of values: {}", counts[2]);
    assert_eq!(bed.hosts.take_notices().len(), 2, "once each");
    // What goes makes room.
    bed.at(3.0, |bed| {
        vec![bed.delete("host-c", Some("c0")), bed.put("host-c", "new", "new"), bed.host_put("host-c", &record)]
    });
    assert_eq!(bed.look("host-c", "new"), "up");
    bed.at(4.0, |bed| vec![bed.put("host-c", "newer", "new"), bed.host_put("host-c", &record)]);
    assert_eq!(bed.look("host-c", "newer"), "-");
}

#[test]
fn hosts_beyond_the_limit_are_not_taken() {
    let mut bed = Bed::new();
    for number in 0..=MAX_HOSTS {
        bed.come(0.0, &format!("h{number}"), "web");
    }
    assert_eq!(bed.hosts.iter().count(), MAX_HOSTS);
    assert_eq!(bed.hosts.refused()[&Refusal::Limit], 2);
}

/// What happens to the store.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// A container comes, or gets another name.
    Put(usize, usize, usize),
    /// A container ends.
    End(usize, usize),
    /// All that a host has goes with its lease.
    Expire(usize),
    /// A host begins to tell all anew, and has told all.
    TakeOver(usize),
    Complete(usize),
    /// A host says that it stops.
    Leave(usize),
    /// Somebody deletes a container's key.
    Meddle(usize, usize),
    /// From here on the watch says nothing, until everything is read.
    Cut,
    List,
    /// Tenths of seconds.
    Wait(u32),
}

fn acts() -> impl proptest::strategy::Strategy<Value = Vec<Act>> {
    use proptest::prelude::*;
    let (host, id) = (0..4_usize, 0..4_usize);
    let act = prop_oneof![
        5 => (host.clone(), id.clone(), 0..3_usize).prop_map(|(host, id, name)| Act::Put(host, id, name)),
        3 => (host.clone(), id.clone()).prop_map(|(host, id)| Act::End(host, id)),
        1 => host.clone().prop_map(Act::Expire),
        1 => host.clone().prop_map(Act::TakeOver),
        2 => host.clone().prop_map(Act::Complete),
        1 => host.clone().prop_map(Act::Leave),
        1 => (host, id).prop_map(|(host, id)| Act::Meddle(host, id)),
        1 => Just(Act::Cut),
        1 => Just(Act::List),
        2 => (0..50_u32).prop_map(Act::Wait),
    ];
    proptest::collection::vec(act, 0..60)
}

/// The store of the acts, and a reader of it that may have missed some.
struct World {
    bed: Bed,
    store: BTreeMap<Vec<u8>, Item>,
    records: BTreeMap<usize, HostRecord>,
    is_cut: bool,
    now: f64,
}

impl World {
    fn revise(&mut self, host: usize, make: impl FnOnce(&mut Bed, &str) -> Vec<Event>, says_so: bool) {
        let name = format!("host-{}", char::from(b'b' + host as u8));
        self.bed.revision += 1;
        let mut events = make(&mut self.bed, &name);
        if says_so && let Some(record) = self.records.get(&host) {
            let put = self.bed.host_put(&name, &record.clone());
            events.push(put);
        }
        events.retain(|event| match event {
            Event::Put(item) => {
                self.store.insert(item.key.clone(), item.clone());
                true
            }
            Event::Deleted { key, .. } => self.store.remove(key).is_some(),
        });
        if !self.is_cut {
            self.bed.hosts.apply(&events, s(self.now));
        }
    }

    fn list(&mut self) {
        let items: Vec<Item> = self.store.values().cloned().collect();
        self.bed.list(self.now, &items);
        self.is_cut = false;
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Put(host, id, name) => {
                let record = self.bed.record();
                self.records.entry(host).or_insert(record);
                self.revise(host, |bed, host| vec![bed.put(host, &id.to_string(), ["web", "db", "api"][name])], true);
            }
            Act::End(host, id) => self.revise(host, |bed, host| vec![bed.delete(host, Some(&id.to_string()))], true),
            Act::Meddle(host, id) => {
                self.revise(host, |bed, host| vec![bed.delete(host, Some(&id.to_string()))], false)
            }
            Act::Expire(host) => {
                self.records.remove(&host);
                self.revise(host, Bed::all_gone, false);
            }
            Act::TakeOver(host) => {
                let record = HostRecord { complete: false, ..self.bed.record() };
                self.records.insert(host, record);
                self.revise(host, |bed, host| (0..4).map(|id| bed.delete(host, Some(&id.to_string()))).collect(), true);
            }
            Act::Complete(host) => {
                if let Some(record) = self.records.get_mut(&host) {
                    record.complete = true;
                    self.revise(host, |_, _| Vec::new(), true);
                }
            }
            Act::Leave(host) => {
                if let Some(record) = self.records.get_mut(&host) {
                    record.leaving = true;
                    self.revise(host, |_, _| Vec::new(), true);
                    self.records.remove(&host);
                    self.revise(host, Bed::all_gone, false);
                }
            }
            Act::Cut => self.is_cut = true,
            Act::List => self.list(),
            Act::Wait(tenths) => {
                self.now += f64::from(tenths) / 10.0;
                self.bed.until(self.now);
            }
        }
    }
}

impl Bed {
    fn all_gone(&mut self, host: &str) -> Vec<Event> {
        (0..4).map(|id| self.delete(host, Some(&id.to_string()))).chain([self.delete(host, None)]).collect()
    }
}

proptest::proptest! {
    #[test]
    fn what_is_shown_in_the_end_is_what_the_store_has_whatever_was_missed(acts in acts()) {
        let mut world = World {
            bed: Bed::new(),
            store: BTreeMap::new(),
            records: BTreeMap::new(),
            is_cut: false,
            now: 0.0,
        };
        acts.into_iter().for_each(|act| world.act(act));
        (0..4).for_each(|host| world.act(Act::Complete(host)));
        world.list();
        // Nothing is left of what was held, lost or put back.
        world.act(Act::Wait(10 * (HOLD + LINGER + MISSING).as_secs() as u32));
        (0..4).for_each(|host| world.act(Act::Complete(host)));
        for host in 0..4 {
            let name = format!("host-{}", char::from(b'b' + host as u8));
            for id in 0..4 {
                let key = world.bed.keys.of_host(&name).own_endpoint("shop", &id.to_string());
                let stored = world.store.get(key.as_bytes()).filter(|_| world.records.contains_key(&host));
                let stored = stored.and_then(|item| EndpointRecord::parse(&item.value).ok());
                let name_there = stored.map(|record| record.n[0].to_string()).unwrap_or_default();
                let place = id.to_string();
                proptest::prop_assert_eq!(world.bed.name(&name, &place), name_there.clone(), "{} {}", name, place);
                proptest::prop_assert_eq!(world.bed.look(&name, &place), if name_there.is_empty() { "-" } else { "up" });
            }
        }
    }
}
