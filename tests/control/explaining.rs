//! What `callsign explain` says where the cause is not the usual one, and whom it takes for who asks.

use super::*;

/// An alias, an internal network, two containers of one name, and gateways.
fn started() -> (Program, u16) {
    let port = free_port(&[LOCAL, "127.0.0.2".parse().unwrap(), "127.0.0.3".parse().unwrap()]);
    let config = format!(
        r#"
        [server]
        port = {port}
        upstreams = ["127.0.0.66:1"]

        [[network]]
        name = "int"
        listen = ["127.0.0.1"]
        subnets = ["172.18.0.0/16"]
        gateways = ["172.18.0.1"]
        internal = true
        endpoint = [
          {{ id = "c1", names = ["a"], addresses = ["172.18.0.2"], health = "unhealthy" }},
          {{ id = "c2", names = ["b", "a"], addresses = ["172.18.0.3"], health = "unhealthy" }},
          {{ id = "c3", names = ["database"], addresses = ["172.18.0.4"] }},
        ]
        [[network.record]]
        name = "orders"
        type = "CNAME"
        value = "orders.example.com"

        [[network]]
        name = "ext"
        listen = ["127.0.0.2"]
        subnets = ["172.19.0.0/16"]
        gateways = ["172.19.0.1"]
        domains = ["internal"]
        endpoint = [{{ id = "z1", names = ["z"], addresses = ["172.19.0.2"] }}]
        [[network.record]]
        name = "orders"
        type = "CNAME"
        value = "orders.example.com"
        "#
    );
    (Program::with(&config).start(), port)
}

#[track_caller]
fn says(program: &Program, words: &str, lines: &[&str]) {
    let (code, said) = command(program, &format!("explain {words}"));
    assert_eq!(code, Some(0), "{said:?}");
    for (index, line) in lines.iter().enumerate() {
        assert!(said.stdout.lines().nth(index).is_some_and(|text| text == *line), "{line:?} in {}", said.stdout);
    }
}

#[test]
fn an_alias_of_a_name_outside_is_one_of_the_clients_own_network() {
    let (program, _port) = started();
    says(
        &program,
        "orders --from z",
        &[
            "orders stands for orders.example.com, which the upstream 127.0.0.66:1 is asked for.",
            "Network ext has orders as an alias of orders.example.com.",
            "",
        ],
    );
}

#[test]
fn clients_of_an_internal_network_are_told_the_cause() {
    let (program, _port) = started();
    let nothing = "c1 gets \"no such name\" for z: its network is internal.";
    says(&program, "z --from c1", &[nothing, "z is on ext only; c1 is not attached to it."]);
    let (_, typo) = command(&program, "explain databse --from c3");
    assert!(typo.stdout.contains("\nDid you mean database?\n"), "{typo:?}");
    assert!(!typo.stdout.contains("attach it to a network that is not internal"), "{typo:?}");
}

#[test]
fn who_asks_is_told_apart_from_another_container_of_that_name() {
    let (program, _port) = started();
    let (_, told) = command(&program, "explain a --from c1");
    // Addresses rotate (T2).
    let gets = ["c1 gets 172.18.0.2 and 172.18.0.3 for a.\n", "c1 gets 172.18.0.3 and 172.18.0.2 for a.\n"];
    assert!(gets.iter().any(|gets| told.stdout.starts_with(gets)), "{told:?}");
    let cause = "\nAll 2 containers with the name a on network int (c1 and c2) are unhealthy; all are answered.\n";
    assert!(told.stdout.contains(cause), "{told:?}");
}

#[test]
fn names_that_are_answered_by_themselves_have_their_own_causes() {
    let (program, _port) = started();
    says(
        &program,
        "host.docker.internal AAAA --from z",
        &["host.docker.internal has no IPv6 address here, and that is all right: it has an IPv4 address."],
    );
    says(
        &program,
        "localhost TXT --from z",
        &[
            "z gets no TXT record for localhost.",
            "localhost always means the container that asks: it has addresses only.",
        ],
    );
    let (_, loopback) = command(&program, "explain 127.0.0.1 --from z");
    assert!(loopback.stdout.contains("127.0.0.1 is the loopback address of whoever asks: localhost."), "{loopback:?}");
    let (_, invalid) = command(&program, "explain x.invalid --from z");
    assert!(invalid.stdout.contains("x.invalid is a name that nobody has"), "{invalid:?}");
    assert!(!invalid.stdout.contains("No container"), "{invalid:?}");
}

#[test]
fn an_address_is_told_as_an_address() {
    let (program, _port) = started();
    let (_, free) = command(&program, "explain 172.18.0.77 --from c1");
    assert!(!free.stdout.contains("has that name"), "{free:?}");
    let (_, others) = command(&program, "explain 172.18.0.4 --from z");
    assert!(
        others.stdout.contains("172.18.0.4 is the address of c3 on network int; z does not see that."),
        "{others:?}"
    );
}

#[test]
fn by_the_listener_of_another_network_a_container_is_an_address_as_any_other() {
    let (program, _port) = started();
    let (_, said) = command(&program, "explain database --from c3 --network ext --json");
    let explained: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(explained["client"]["container"], Value::Null, "{explained}");
    assert_eq!(explained["client"]["networks"], serde_json::json!(["ext"]), "{explained}");
    assert!(!said.stdout.contains("on its networks"), "{said:?}");
}

#[test]
fn an_address_that_was_added_to_a_containers_name_is_told() {
    let (program, _port) = started();
    assert_eq!(command(&program, "name add database 10.1.1.1 --network int").0, Some(0));
    let (_, said) = command(&program, "explain database --from c3");
    assert!(said.stdout.contains("The network has a record with 10.1.1.1 for it, too."), "{said:?}");
}
