//! The change feed tells what happened to a table, in order, and what came of each change.

use std::collections::BTreeSet;

use callsign::table::{Change, Endpoint, Event, Feed, NameTable, Network};

fn endpoint(id: &str, name: &str) -> Endpoint {
    Endpoint::builder(id).address("10.0.0.2").name(name).build().unwrap()
}

/// A network with the endpoint `old`, and a feed from then on.
fn shop() -> (std::sync::Arc<Network>, Feed) {
    let table = NameTable::new();
    let network = Network::builder("shop").endpoint(endpoint("old", "db")).build().unwrap();
    let network = table.add(network).unwrap();
    (network, table.follow())
}

/// What the feed says of one change: ids attached and detached; `None` if it says nothing.
fn told(make: impl FnOnce(&mut Change<'_>)) -> Option<(Vec<String>, Vec<String>)> {
    let (network, mut feed) = shop();
    let before = network.snapshot().revision();
    let after = network.change(make).unwrap();
    let texts = |ids: Vec<Box<str>>| ids.into_iter().map(String::from).collect();
    let told = feed.try_next().map(|event| match event {
        Event::NetworkChanged { attached, detached, revision, settings: false, .. } => {
            assert_eq!(revision, after);
            (texts(attached), texts(detached))
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(feed.try_next(), None);
    assert_eq!(told.is_some(), after > before, "a revision of its own and an event, or neither");
    told
}

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| id.to_string()).collect()
}

#[test]
fn an_endpoint_that_is_detached_and_attached_in_one_change_was_replaced() {
    let replaced = told(|change| {
        change.detach("old");
        change.attach(endpoint("old", "database"));
    });
    assert_eq!(replaced, Some((ids(&["old"]), ids(&[]))));
}

#[test]
fn an_endpoint_that_comes_and_goes_in_one_change_was_never_there() {
    let fleeting = |change: &mut Change<'_>| {
        change.attach(endpoint("new", "web"));
        change.detach("new");
    };
    assert_eq!(told(fleeting), None);
    let beside = told(|change| {
        fleeting(change);
        change.attach(endpoint("other", "web"));
    });
    assert_eq!(beside, Some((ids(&["other"]), ids(&[]))));
}

#[test]
fn each_endpoint_of_a_change_is_told_of_once() {
    let twice = told(|change| {
        for name in ["one", "two"] {
            change.attach(endpoint("new", name));
        }
        for _ in 0..2 {
            change.detach("old");
            change.attach(endpoint("old", "again"));
        }
        change.detach("old");
    });
    assert_eq!(twice, Some((ids(&["new"]), ids(&["old"]))));
}

/// However many threads add, change and remove a network of one name: it is added, then changed, revision by revision, then
/// removed, and then perhaps added again.
#[test]
fn a_network_is_told_of_in_the_order_of_its_life() {
    const LIVES: u32 = 150;
    const CHANGES: u32 = 1000;
    let table = NameTable::new();
    let mut feed = table.follow();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..LIVES {
                    let _ = table.add(Network::builder("shop").endpoint(endpoint("old", "db")).build().unwrap());
                    let _ = table.remove("shop");
                }
            });
        }
        for id in ["one", "two"] {
            let table = &table;
            scope.spawn(move || {
                for number in 0..CHANGES {
                    if let Some(network) = table.network("shop") {
                        let _ = network.attach(endpoint(id, &format!("n{number}")));
                    }
                }
            });
        }
    });
    let mut events = Vec::new();
    while let Some(event) = feed.try_next() {
        events.push(event);
    }
    assert!(!matches!(events[0], Event::Missed(_)), "more than the feed keeps");
    let (mut there, mut present) = (BTreeSet::new(), None);
    for (number, event) in events.into_iter().enumerate() {
        match event {
            Event::NetworkAdded { network } => {
                assert!(there.insert(network), "event {number}: added, and was there");
                present = None;
            }
            Event::NetworkRemoved { network } => {
                assert!(there.remove(&network), "event {number}: removed, and was not there");
            }
            Event::NetworkChanged { network, revision, .. } => {
                assert!(there.contains(&network), "event {number}: changed, and was not there");
                assert!(
                    present.is_none_or(|present| revision == present + 1),
                    "event {number}: {present:?} {revision}"
                );
                present = Some(revision);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(there.is_empty(), table.network("shop").is_none());
}
