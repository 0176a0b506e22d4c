//! A network is changed while it is served.

use callsign::table::{Clients, Event, MAX_HOLD, NameTable, Network, Record, TableError};
use callsign::wire::rtype;

use crate::{NO_SUCH_NAME, ONE_ANSWER, endpoint, outcome, reply};

fn shop(table: &NameTable) -> std::sync::Arc<Network> {
    let network = Network::builder("shop").subnet("10.10.1.0/24").listen("10.10.1.1").domain("internal");
    table.add(network.endpoint(endpoint("db", "10.10.1.3")).build().unwrap()).unwrap()
}

#[test]
fn settings_records_and_endpoints_change_in_one_step() {
    let table = NameTable::new();
    let shop = shop(&table);
    let mut feed = table.follow();
    let note = Record::parse("note", "TXT", "hello", None).unwrap();
    shop.change(|change| {
        change.attach(endpoint("api", "10.10.1.4"));
        change.settings(|settings| settings.domains.push("corp".parse().unwrap()));
        change.add_record(note.clone());
        assert_eq!(change.records(), std::slice::from_ref(&note));
        change.detach("db-1");
    })
    .unwrap();
    for (name, rtype, expected) in [
        ("api.corp", rtype::A, ONE_ANSWER),
        ("api.internal", rtype::A, ONE_ANSWER),
        ("note.corp", rtype::TXT, ONE_ANSWER),
        ("db.internal", rtype::A, NO_SUCH_NAME),
    ] {
        assert_eq!(outcome(&reply(&shop, "10.10.1.9", name, rtype)), expected, "{name}");
    }
    let changed = |attached: &[&str], detached: &[&str], revision| Event::NetworkChanged {
        network: "shop".into(),
        revision,
        attached: attached.iter().map(|&id| id.into()).collect(),
        detached: detached.iter().map(|&id| id.into()).collect(),
        settings: true,
    };
    assert_eq!(feed.try_next(), Some(changed(&["api-1"], &["db-1"], 2)));

    shop.change(|change| assert!(change.remove_record(&note))).unwrap();
    assert_eq!(outcome(&reply(&shop, "10.10.1.9", "note.corp", rtype::TXT)), NO_SUCH_NAME);
    assert_eq!(feed.try_next(), Some(changed(&[], &[], 3)));
    let same = shop.change(|change| assert!(!change.remove_record(&note))).unwrap();
    assert_eq!((same, feed.try_next()), (3, None), "nothing came of it");
}

#[test]
fn n12_a_record_that_is_added_and_removed_is_so_in_a_labels_too() {
    let shop = shop(&NameTable::new());
    let record = Record::parse("bücher", "TXT", "x", None).unwrap();
    shop.change(|change| change.add_record(record.clone())).unwrap();
    for (name, count) in [("bücher.internal", 1), ("xn--bcher-kva.internal", 1)] {
        assert_eq!(outcome(&reply(&shop, "10.10.1.9", name, rtype::TXT)).1, count, "{name}");
    }
    shop.change(|change| assert!(change.remove_record(&record))).unwrap();
    assert!(shop.snapshot().records().is_empty());
}

#[test]
fn gateways_follow_the_listen_addresses_unless_they_are_others() {
    let shop = shop(&NameTable::new());
    shop.change(|change| change.listen(["10.10.1.254".parse().unwrap()])).unwrap();
    assert_eq!(shop.snapshot().settings().gateways, ["10.10.1.254".parse::<std::net::IpAddr>().unwrap()]);
    let given = ["10.10.1.7".parse::<std::net::IpAddr>().unwrap()];
    shop.change(|change| change.settings(|settings| settings.gateways = given.to_vec())).unwrap();
    shop.change(|change| change.listen(["10.10.1.1".parse().unwrap()])).unwrap();
    assert_eq!(shop.snapshot().settings().gateways, given);
    let rebuilt = shop.to_builder().listen("10.10.1.2").build().unwrap();
    assert_eq!(rebuilt.snapshot().settings().gateways, given);
}

#[test]
fn settings_beyond_their_bounds_count_as_these() {
    let shop = shop(&NameTable::new());
    shop.change(|change| {
        change.settings(|settings| {
            (settings.ttl, settings.hold) = (u32::MAX, MAX_HOLD * 2);
        });
    })
    .unwrap();
    let snapshot = shop.snapshot();
    assert_eq!((snapshot.settings().ttl, snapshot.settings().hold), (i32::MAX as u32, MAX_HOLD));
}

#[test]
fn what_was_changed_meanwhile_stays_when_a_network_is_replaced_by_its_builder() {
    let table = NameTable::new();
    let shop = shop(&table);
    shop.attach(endpoint("web", "10.10.1.5")).unwrap();
    let builder = shop.to_builder().ttl(30).endpoint(endpoint("web", "10.10.1.6"));
    shop.attach(endpoint("late", "10.10.1.7")).unwrap();
    shop.detach("db-1").unwrap();
    let note = Record::parse("note", "TXT", "hello", None).unwrap();
    shop.change(|change| change.add_record(note)).unwrap();

    shop.replace_with(&builder.build().unwrap()).unwrap();
    let snapshot = shop.snapshot();
    let mut ids: Vec<_> = snapshot.endpoints().map(|endpoint| endpoint.id()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["late-1", "web-1"], "one was attached and one detached meanwhile");
    assert_eq!(snapshot.endpoint("web-1").unwrap().addresses(), ["10.10.1.6".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!((snapshot.settings().ttl, snapshot.records().len()), (30, 1), "the record was added meanwhile");

    // A network that was built from nothing replaces everything.
    shop.replace_with(&Network::builder("shop").build().unwrap()).unwrap();
    assert_eq!(shop.snapshot().endpoint_count(), 0);
}

#[test]
fn an_endpoint_on_two_networks_keeps_its_view_when_one_of_them_changes_its_settings() {
    let table = NameTable::new();
    let shop = shop(&table);
    let blog = table.add(Network::builder("blog").build().unwrap()).unwrap();
    blog.attach(endpoint("site", "10.10.2.4")).unwrap();
    blog.attach(endpoint("proxy", "10.10.2.6")).unwrap();
    shop.change(|change| {
        change.attach(endpoint("proxy", "10.10.1.6"));
        change.settings(|settings| settings.clients = Clients::Table);
    })
    .unwrap();
    shop.change(|change| change.settings(|settings| settings.ttl = 5)).unwrap();
    assert_eq!(outcome(&reply(&shop, "10.10.1.6", "site", rtype::A)), ONE_ANSWER);
    let outcome = |name| outcome(&reply(&blog, "10.10.2.6", name, rtype::A));
    assert_eq!(outcome("db.internal"), ONE_ANSWER);
}

#[test]
fn a_network_name_with_a_control_character_is_refused() {
    let error = Network::builder("shop\u{1b}[2J").build().unwrap_err();
    assert_eq!(error, TableError::NetworkName("shop\u{1b}[2J".to_owned()));
    assert!(!error.to_string().chars().any(char::is_control), "{error}");
}
