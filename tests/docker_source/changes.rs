//! What happens to containers, in the orders that engines tell it in.

use callsign::wire::rtype;

use crate::kit::*;

/// An engine with a network `shop` at 127.PREFIX.1.0/24, and a client on it.
fn shop(age: Age) -> (Bed, String) {
    let bed = Bed::new(age, |engine, prefix| {
        engine.network("shop", &format!("127.{prefix}.1."));
        engine.run(Container::new("client").on("shop", &[]));
    });
    let client = bed.address(1, 2);
    (bed, client)
}

#[test]
fn docker_3_21_a_container_is_known_before_its_first_instruction() {
    for age in [Age::Engine20, Age::Engine29] {
        let (bed, client) = shop(age);
        let id = bed.engine.create(Container::new("db").on("shop", &["database"]));
        bed.becomes(&client, "db", "NODATA db is not running");
        bed.engine.begin_start(&id);
        // Its inspection is not answered yet; the network's is.
        let db = bed.address(1, 3);
        bed.becomes(&client, "db", &db);
        assert_eq!(bed.look_up(&db, "client"), client, "and it sees what its network has");
        bed.engine.finish_start(&id);
        bed.becomes(&client, "database", &db);
    }
}

#[test]
fn docker_3_21_so_is_one_of_the_default_bridge_that_nobody_has_inspected() {
    let bed = Bed::new(Age::Engine20, |engine, _| drop(engine.run(Container::new("client"))));
    let client = bed.address(0, 2);
    let id = bed.engine.create(Container::new("db"));
    bed.engine.begin_start(&id);
    bed.becomes(&client, "db", &bed.address(0, 3));
}

#[test]
fn n7_what_ends_loses_its_address_from_the_event_alone() {
    for age in [Age::Engine20, Age::Engine25] {
        let (bed, client) = shop(age);
        let id = bed.engine.run(Container::new("db").on("shop", &["database"]));
        bed.becomes(&client, "database", &bed.address(1, 3));
        // The inspection waits for the stop to be through.
        bed.engine.begin_stop(&id);
        bed.becomes(&client, "database", "NODATA database is not running");
        bed.engine.finish_stop(&id);
        bed.engine.start_container(&id);
        bed.becomes(&client, "database", &bed.address(1, 3));
        bed.engine.stop(&id);
        bed.becomes(&client, "database", "NODATA database is not running");
        bed.engine.remove(&id);
        bed.becomes(&client, "database", "SERVFAIL");
    }
}

#[test]
fn docker_3_6_and_3_7_starts_that_fail_leave_nothing() {
    let (bed, client) = shop(Age::Engine20);
    let id = bed.engine.create(Container::new("db").on("shop", &[]));
    bed.engine.begin_start(&id);
    bed.becomes(&client, "db", &bed.address(1, 3));
    bed.engine.fail_start(&id);
    bed.becomes(&client, "db", "NODATA db is not running");
    bed.engine.remove(&id);
    bed.becomes(&client, "db", "SERVFAIL");
    let other = bed.engine.run(Container::new("other").on("shop", &[]));
    bed.becomes(&client, "other", &bed.address(1, 3));
    assert_eq!(bed.engine.address(&other, &bed.engine.network_id("shop")), bed.address(1, 3), "its address was free");
}

#[test]
fn docker_3_8_and_3_9_networks_come_and_go_under_a_running_container() {
    let (bed, client) = shop(Age::Engine20);
    let id = bed.engine.run(Container::new("db"));
    bed.becomes(&bed.address(0, 2), "db", &bed.address(0, 2));
    assert_eq!(bed.look_up(&client, "db"), "SERVFAIL");
    let shop = bed.engine.network_id("shop");
    bed.engine.connect(&id, &shop, &["database"]);
    bed.becomes(&client, "database", &bed.address(1, 3));
    bed.engine.disconnect(&id, &shop);
    bed.becomes(&client, "database", "SERVFAIL");
    assert_eq!(bed.look_up(&bed.address(0, 2), "db"), bed.address(0, 2));
}

#[test]
fn docker_3_10_a_rename() {
    let (bed, client) = shop(Age::Engine20);
    let id = bed.engine.run(Container::new("e1").on("shop", &[]));
    bed.becomes(&client, "e1", &bed.address(1, 3));
    bed.engine.rename(&id, "e1new");
    bed.becomes(&client, "e1new", &bed.address(1, 3));
    assert_eq!(bed.look_up(&client, "e1"), "SERVFAIL");
}

#[test]
fn docker_3_16_a_recreated_container_is_never_away_while_a_replica_is_up() {
    let (bed, client) = shop(Age::Engine20);
    let web =
        |number: u32| Container::new(&format!("shop_web_{number}")).service("shop", "web", number).on("shop", &["web"]);
    let old = bed.engine.run(web(1));
    bed.engine.run(web(2));
    let (first, second) = (bed.address(1, 3), bed.address(1, 4));
    bed.becomes(&client, "web", &format!("{first} {second}"));
    let is_away = |what: &str| {
        let seen = bed.look_up(&client, "web");
        assert!(seen.contains(&second), "{what}: {seen}");
    };
    bed.engine.stop(&old);
    is_away("stopped");
    bed.engine.rename(&old, "0123456789ab_shop_web_1");
    is_away("renamed");
    bed.becomes(&client, "0123456789ab_shop_web_1", "NODATA 0123456789ab_shop_web_1 is not running");
    let new = bed.engine.create(web(1));
    bed.engine.begin_start(&new);
    is_away("made");
    bed.engine.finish_start(&new);
    bed.engine.remove(&old);
    bed.becomes(&client, "web", &format!("{first} {second}"));
    assert_eq!(bed.look_up(&client, "shop_web_1"), first);
}

#[test]
fn docker_3_17_a_one_off_is_not_its_service() {
    let (bed, client) = shop(Age::Engine20);
    bed.engine.run(Container::new("shop_db_1").service("shop", "db", 1).on("shop", &["db"]));
    bed.becomes(&client, "db", &bed.address(1, 3));
    let one_off =
        Container::new("shop_db_run_0a1b").service("shop", "db", 1).label("com.docker.compose.oneoff", "True");
    bed.engine.run(one_off.on("shop", &[]));
    bed.becomes(&client, "shop_db_run_0a1b", &bed.address(1, 4));
    for name in ["db", "db.shop", "shop-db-1"] {
        assert_eq!(bed.look_up(&client, name), bed.address(1, 3), "{name}");
    }
}

#[test]
fn docker_3_15_aliases_that_compose_takes_back_before_the_start_are_none() {
    let (bed, client) = shop(Age::Engine20);
    let shop = bed.engine.network_id("shop");
    // As Compose does: made with the service's alias, and put on the network anew without it.
    let one_off = bed.engine.create(Container::new("one-off").on("shop", &["db"]));
    bed.becomes(&client, "db", "NODATA db is not running");
    bed.engine.pause(true);
    bed.engine.disconnect(&one_off, &shop);
    bed.engine.attach(&one_off, &shop, &[]);
    bed.engine.begin_start(&one_off);
    bed.engine.pause(false);
    // It is known by its address, and does not have the name.
    bed.becomes(&bed.address(1, 3), "client", &client);
    assert_eq!(bed.look_up(&client, "db"), "NODATA db is not running");
    bed.engine.finish_start(&one_off);
    bed.becomes(&client, "one-off", &bed.address(1, 3));
    assert_eq!(bed.look_up(&client, "db"), "SERVFAIL");
}

#[test]
fn n8_health_is_followed() {
    let (bed, client) = shop(Age::Engine25);
    let [one, two] = ["one", "two"].map(|name| bed.engine.run(Container::new(name).on("shop", &["db"])));
    let (first, second) = (bed.address(1, 3), bed.address(1, 4));
    bed.becomes(&client, "db", &format!("{first} {second}"));
    bed.engine.set_health(&one, "unhealthy");
    bed.becomes(&client, "db", &second);
    bed.engine.set_health(&two, "starting");
    bed.becomes(&client, "db", &format!("{first} {second}"));
    bed.engine.set_health(&one, "healthy");
    bed.becomes(&client, "db", &first);
}

#[test]
fn an_address_that_another_container_gets_sees_as_that_one() {
    let (bed, client) = shop(Age::Engine20);
    bed.engine.network("blog", &format!("127.{}.2.", bed.prefix));
    let first = bed.engine.run(Container::new("first").on("shop", &[]).on("blog", &[]));
    bed.engine.run(Container::new("post").on("blog", &[]));
    let (address, post) = (bed.address(1, 3), bed.address(2, 3));
    bed.becomes(&address, "post", &post);
    bed.engine.stop(&first);
    let second = bed.engine.create(Container::new("second").on("shop", &[]));
    bed.engine.begin_start(&second);
    bed.becomes(&client, "second", &address);
    assert_eq!(bed.look_up(&address, "post"), "SERVFAIL", "the second is not on that network");
    bed.engine.finish_start(&second);
    bed.becomes(&address, "post", "SERVFAIL");
}

#[test]
fn n11_a_query_is_held_from_the_moment_that_its_container_is_created() {
    for age in [Age::Engine20, Age::Engine29] {
        let bed = Bed::with(age, "hold = \"3s\"\n", |engine, prefix| {
            engine.network("shop", &format!("127.{prefix}.1."));
            engine.run(Container::new("client").on("shop", &[]));
        });
        let client = bed.address(1, 2);
        // As `docker compose up` does: created, and started a while later. No inspection is answered in between.
        let db =
            Container::new("shop-db-1").service("shop", "db", 1).label("callsign.names", "store").on("shop", &["db"]);
        let id = bed.engine.create_locked(db);
        let asked_before = bed.engine.requests().len();
        eventually("the created container is known", || {
            bed.ask(0, &client, "shop-db-1", rtype::TXT).status() == "NOERROR"
        });
        let inspected = format!("/containers/{id}/json");
        let is_answered = bed.engine.requests()[..asked_before].iter().any(|request| request.ends_with(&inspected));
        assert!(!is_answered, "its inspection says nothing yet");
        for name in ["shop-db-1", "db", "db.shop", "store", "db.shop"] {
            assert_eq!(
                bed.ask(0, &client, name, rtype::TXT).status(),
                "NOERROR",
                "{age:?}: {name} waits for its container"
            );
        }
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| bed.look_up(&client, "db"));
            bed.engine.start_container(&id);
            assert_eq!(waiting.join().unwrap(), bed.address(1, 3), "{age:?}");
        });
    }
}

#[test]
fn a_one_off_that_was_just_created_is_not_its_service() {
    let (bed, client) = shop(Age::Engine28);
    let one_off = Container::new("shop-db-run-1").service("shop", "db", 1).label("com.docker.compose.oneoff", "True");
    let id = bed.engine.create_locked(one_off.on("shop", &[]));
    bed.becomes(&client, "shop-db-run-1", "NODATA shop-db-run-1 is not running");
    assert_eq!(bed.look_up(&client, "db"), "SERVFAIL");
    bed.engine.start_container(&id);
    bed.becomes(&client, "shop-db-run-1", &bed.address(1, 3));
    assert_eq!(bed.look_up(&client, "db"), "SERVFAIL");
}
