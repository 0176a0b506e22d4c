//! Networks: their listeners, which of them are served, and what the file adds.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use callsign::wire::rtype;
use serde_json::Value;

use crate::kit::*;

#[test]
fn docker_2_2_listeners_come_and_go_with_networks() {
    let bed = Bed::new(Age::Engine20, |_, _| ());
    let mark = bed.program.mark();
    let id = bed.engine.network("shop", &format!("127.{}.1.", bed.prefix));
    bed.program.wait_after(mark, Source::Stderr, "network is served network=\"shop\"");
    let container = bed.engine.run(Container::new("db").on("shop", &[]));
    let db = bed.address(1, 2);
    bed.becomes(&db, "db", &db);
    let gateway = format!("{}:{}", bed.address(1, 1), bed.port).parse().unwrap();
    bed.becomes_at(1, &db, "db", &db);
    bed.engine.stop(&container);
    bed.engine.remove(&container);
    bed.engine.remove_network(&id);
    let is_closed = || Client::new(gateway).connect().is_err();
    eventually("nobody listens there", is_closed);
    // Made again, with the same gateway.
    bed.engine.network("shop", &format!("127.{}.1.", bed.prefix));
    bed.engine.run(Container::new("db").on("shop", &[]));
    bed.becomes_at(1, &db, "db", &db);
}

#[test]
fn only_the_networks_that_are_meant_are_served() {
    let bed = Bed::with(Age::Engine25, "networks = [\"shop_*\", \"!shop_secret\"]\n", |engine, prefix| {
        for (number, name) in [(1, "shop_front"), (2, "shop_secret"), (3, "blog")] {
            engine.network(name, &format!("127.{prefix}.{number}."));
            engine.run(Container::new(&format!("db-{name}")).on(name, &["db"]));
        }
        engine.run(Container::new("alone"));
    });
    let front = bed.address(1, 2);
    assert_eq!(bed.look_up(&front, "db"), front);
    for other in [bed.address(2, 2), bed.address(3, 2)] {
        assert_eq!(bed.look_up(&other, "db"), "SERVFAIL", "{other} is answered at the default bridge, and forwarded");
    }
    assert_eq!(bed.look_up(&bed.address(0, 2), "alone"), "SERVFAIL", "the default bridge is not meant, but listens");
    let gateway = |network: u8| format!("{}:{}", bed.address(network, 1), bed.port).parse().unwrap();
    assert!(Client::new(gateway(1)).connect().is_ok());
    assert!(Client::new(gateway(2)).connect().is_err() && Client::new(gateway(3)).connect().is_err());
    // Another choice at a reload.
    bed.program.reload_by_change(&bed.config("networks = [\"blog\"]\n"));
    let blog = bed.address(3, 2);
    bed.becomes(&blog, "db", &blog);
    bed.becomes(&front, "db", "SERVFAIL");
}

#[test]
fn a_label_keeps_networks_and_containers_out() {
    let bed = Bed::new(Age::Engine20, |engine, prefix| {
        engine.network("shop", &format!("127.{prefix}.1."));
        engine.make_network("off", &format!("127.{prefix}.2."), |body| {
            body["Labels"]["callsign.enable"] = "false".into()
        });
        engine.run(Container::new("on").on("shop", &[]));
        engine.run(Container::new("hidden").on("shop", &[]).label("callsign.enable", "false"));
        engine.run(Container::new("other").on("off", &[]));
    });
    let on = bed.address(1, 2);
    assert_eq!(bed.look_up(&on, "on"), on);
    assert_eq!(bed.look_up(&on, "hidden"), "SERVFAIL");
    let other = bed.address(2, 2);
    assert_eq!(bed.look_up(&other, "other"), "SERVFAIL");
}

#[test]
fn what_the_file_adds_to_dockers_networks() {
    let additions = "[[network]]\nname = \"*\"\nttl = 7\n[[network]]\nname = \"shop\"\ndomains = [\"corp.test\"]\n\
                     record = [{ name = \"note\", type = \"TXT\", value = \"hello\" }]\n\
                     aliases.payments = \"db\"\n[[network]]\nname = \"nowhere\"\nttl = 1\n";
    let bed = Bed::with(Age::Engine20, additions, |engine, prefix| {
        engine.network("shop", &format!("127.{prefix}.1."));
        engine.run(Container::new("db").on("shop", &[]));
    });
    let db = bed.address(1, 2);
    assert_eq!(bed.ask(1, &db, "db", rtype::A).answers(), [format!("db. 7 IN A {db}")]);
    assert_eq!(bed.look_up(&db, "db.corp.test"), db);
    assert_eq!(bed.ask(1, &db, "note", rtype::TXT).answers(), ["note. 7 IN TXT hello"]);
    assert_eq!(bed.ask(0, &bed.address(0, 9), "note", rtype::TXT).answers(), Vec::<String>::new());
    bed.program.wait_for(Source::Stderr, "Docker has no network \"nowhere\", so this adds to nothing");
    // Other additions hold at once, for containers that are there.
    bed.program.reload_by_change(&bed.config("[[network]]\nname = \"shop\"\nttl = 9\n"));
    bed.becomes(&db, "db.corp.test", "SERVFAIL");
    assert_eq!(bed.ask(1, &db, "db", rtype::A).answers(), [format!("db. 9 IN A {db}")]);
}

#[test]
fn a_network_that_the_file_has_itself_is_the_files() {
    let bed = Bed::new(Age::Engine20, |engine, prefix| {
        engine.network("shop", &format!("127.{prefix}.1."));
        engine.run(Container::new("db").on("shop", &[]));
    });
    let db = bed.address(1, 2);
    bed.becomes(&db, "db", &db);
    let own = format!(
        "[[network]]\nname = \"shop\"\nlisten = [\"{}\"]\nendpoint = [{{ id = \"x\", names = [\"db\"], addresses = [\"{db}\"] }}]\n",
        bed.address(9, 1)
    );
    let mark = bed.program.mark();
    bed.program.reload_by_change(&bed.config(&own));
    bed.program.wait_after(mark, Source::Stderr, "the file has a network \"shop\" of its own");
    let at_own = |name: &str| shown(&bed.ask(9, &db, name, rtype::A));
    assert_eq!(at_own("db"), db);
    bed.engine.run(Container::new("web").on("shop", &[]));
    // Given up again: Docker's is back.
    bed.program.reload_by_change(&bed.config(""));
    bed.becomes(&db, "web", &bed.address(1, 3));
    assert_eq!(bed.look_up(&db, "x"), "SERVFAIL");
}

#[test]
fn listen_and_domain_are_the_files_to_say() {
    let prefix = prefix();
    let engine = Engine::start(Age::Engine20, prefix);
    engine.network("shop", &format!("127.{prefix}.1."));
    engine.run(Container::new("db").on("shop", &[]));
    let port = crate::support::free_port(&[std::net::Ipv4Addr::LOCALHOST.into()]);
    let lines = format!("listen = [\"127.{prefix}.0.9\"]\ndomain = \"docker\"\n");
    let config = format!("[server]\nport = {port}\nupstreams = [\"127.0.0.66:1\"]\n{}{lines}", engine.section());
    let program = crate::support::program::Program::with(&config).start();
    let bed = Bed { engine, program, prefix, port };
    let db = bed.address(1, 2);
    let at = format!("{}:{port}", bed.address(0, 9)).parse().unwrap();
    let reply = Client::new(at).from(db.parse().unwrap()).udp(&Query::new("db.docker", rtype::A));
    assert_eq!(shown(&reply), db);
    for network in [0, 1] {
        let gateway = format!("{}:{port}", bed.address(network, 1)).parse().unwrap();
        assert!(Client::new(gateway).connect().is_err(), "nothing listens at {gateway}");
    }
}

#[test]
fn networks_that_do_not_reach_the_host_listen_nowhere_which_is_said_once() {
    let bed = Bed::new(Age::Engine20, |engine, prefix| {
        let driver = |driver: &'static str| move |body: &mut Value| body["Driver"] = driver.into();
        engine.make_network("lan", &format!("127.{prefix}.1."), driver("macvlan"));
        engine.make_network("host", "", |body| {
            body["Driver"] = "host".into();
            body["IPAM"]["Config"] = Value::Array(Vec::new());
        });
        engine.run(Container::new("printer").on("lan", &[]).on("bridge", &[]));
        engine.run(Container::new("scanner").on("lan", &[]));
    });
    let printer = bed.address(0, 2);
    assert_eq!(bed.look_up(&printer, "scanner"), bed.address(1, 3), "known to one who asks by another network");
    // Its subnet is the LAN's: another machine there is no stranger of it (answers.md V2a).
    assert_ne!(bed.look_up(&bed.address(1, 77), "scanner"), bed.address(1, 3));
    let gateway = format!("{}:{}", bed.address(1, 1), bed.port).parse().unwrap();
    assert!(Client::new(gateway).connect().is_err());
    bed.engine.wait_for_subscribers(1);
    let mark = bed.program.mark();
    bed.engine.cut();
    bed.program.wait_after(mark, Source::Stderr, "Docker answers");
    bed.engine.run(Container::new("later"));
    bed.becomes(&printer, "later", &bed.address(0, 3));
    let told = bed.program.lines(Source::Stderr).iter().filter(|line| line.contains("do not reach this host")).count();
    assert_eq!(told, 1);
}

#[test]
fn docker_1_24_two_networks_of_one_name_are_both_served() {
    let bed = Bed::new(Age::Engine20, |engine, prefix| {
        engine.network("twin", &format!("127.{prefix}.1."));
        engine.run(Container::new("one").on("twin", &[]));
    });
    let (one, two) = (bed.address(1, 2), bed.address(2, 2));
    bed.becomes(&one, "one", &one);
    let second = bed.engine.network("twin", &format!("127.{}.2.", bed.prefix));
    let id = bed.engine.create(Container::new("two").on("bridge", &[]));
    bed.engine.start_container(&id);
    bed.engine.connect(&id, &second, &[]);
    // The network of the gateway that is asked comes first.
    bed.becomes(&two, "two", &bed.address(0, 2));
    bed.becomes_at(2, &two, "two", &two);
    assert_eq!(bed.look_up(&one, "two"), "SERVFAIL");
    assert_eq!(bed.look_up(&one, "one"), one);
}

#[test]
fn a_pattern_that_matches_no_network_is_a_warning() {
    let patterns = "networks = [\"shop_*\", \"!shop_secert\", \"nosuch_*\"]\n";
    let bed = Bed::with(Age::Engine25, patterns, |engine, prefix| {
        engine.network("shop_front", &format!("127.{prefix}.1."));
        engine.network("shop_secret", &format!("127.{prefix}.2."));
    });
    let wrong = [
        "no network of Docker's matches \"shop_secert\" now, so this excludes nothing",
        "no network of Docker's matches \"nosuch_*\" now, so this serves nothing",
    ];
    for text in wrong {
        bed.program.wait_for(Source::Stderr, text);
    }
    let checked = bed.check();
    assert_eq!(checked.status.code(), Some(0));
    for text in wrong {
        assert!(checked.stderr.contains(&format!("callsign.toml:6: {text}")), "{}", checked.stderr);
    }
    assert!(!checked.stderr.contains("\"shop_*\""), "{}", checked.stderr);
    // Said anew for other patterns.
    let mark = bed.program.mark();
    bed.program.reload_by_change(&bed.config("networks = [\"blog\"]\n"));
    bed.program.wait_after(mark, Source::Stderr, "no network of Docker's matches \"blog\" now");
}

#[test]
fn a_listener_of_the_file_costs_dockers_network_that_listener_alone() {
    let bed = Bed::new(Age::Engine28, |engine, prefix| {
        engine.network("n1", &format!("127.{prefix}.1."));
        engine.run(Container::new("db").on("n1", &[]));
    });
    let db = bed.address(1, 2);
    let own = format!(
        "[[network]]\nname = \"mine\"\nlisten = [\"{}\"]\nendpoint = [{{ id = \"x\", names = [\"printer\"], addresses = [\"192.0.2.7\"] }}]\n",
        bed.address(1, 1)
    );
    let said = format!("network \"n1\" does not listen on {}: network \"mine\" of the file does", bed.address(1, 1));
    // At a reload the file's network gets the address.
    bed.becomes_at(1, &db, "db", &db);
    let mark = bed.program.mark();
    bed.program.reload_by_change(&bed.config(&own));
    bed.program.wait_after(mark, Source::Stderr, &said);
    let printer = |bed: &Bed| shown(&bed.ask(1, "127.0.0.1", "printer", rtype::A));
    assert_eq!(printer(&bed), "192.0.2.7");
    bed.becomes(&db, "db", &db);
    // So it has at a start.
    let config = bed.config(&own);
    let checked = bed.check();
    assert_eq!(checked.status.code(), Some(0), "{}", checked.stderr);
    assert!(checked.stderr.contains(&said), "{}", checked.stderr);
    let Bed { engine, program, prefix, port } = bed;
    drop(program);
    let program = crate::support::program::Program::with(&config).start();
    let bed = Bed { engine, program, prefix, port };
    bed.program.wait_for(Source::Stderr, &said);
    assert_eq!(printer(&bed), "192.0.2.7");
    bed.becomes(&db, "db", &db);
    // And Docker's network gets it back.
    bed.program.reload_by_change(&bed.config(""));
    bed.becomes_at(1, &db, "db", &db);
}

#[test]
fn docker_2_4_the_listener_stays_at_the_bridge_where_another_machine_is_the_gateway() {
    let bed = Bed::new(Age::Engine20, |engine, prefix| {
        engine.make_network("dg", &format!("127.{prefix}.1."), |body| {
            let pool = body["IPAM"]["Config"][0].as_object_mut().unwrap();
            pool.remove("Gateway");
            let other = format!("127.{prefix}.1.254");
            pool.insert("AuxiliaryAddresses".to_owned(), serde_json::json!({ "DefaultGatewayIPv4": other }));
        });
    });
    bed.engine.run(Container::new("db").label("callsign.names", "database").on("dg", &[]));
    // Its label is known by its inspection, as its gateway is.
    let db = bed.address(1, 2);
    bed.becomes(&db, "database", &db);
    bed.becomes_at(1, &db, "database", &db);
}

#[test]
fn docker_2_5_the_container_that_publishes_the_port_is_named_and_one_cause_is_one_error() {
    let prefix = prefix();
    let engine = Engine::start(Age::Engine20, prefix);
    for number in 1..=4 {
        engine.network(&format!("n{number}"), &format!("127.{prefix}.{number}."));
    }
    // One process has the port at all gateways but one.
    let port = crate::support::free_port(&[Ipv4Addr::LOCALHOST.into()]);
    let gateway = |network: u8| (Ipv4Addr::new(127, prefix, network, 1), port);
    let held: Vec<(UdpSocket, TcpListener)> = (1..=4)
        .map(|number| (UdpSocket::bind(gateway(number)).unwrap(), TcpListener::bind(gateway(number)).unwrap()))
        .collect();
    let pihole = engine.run(Container::new("pihole").publish("53/udp", "0.0.0.0", port));
    let config = format!("[server]\nport = {port}\nupstreams = [\"127.0.0.66:1\"]\n{}", engine.section());
    let program = crate::support::program::Program::with(&config).start();
    let bed = Bed { engine, program, prefix, port };
    let said = |network: u8| {
        format!(
            "network \"n{network}\" cannot listen on {}:{port}: container pihole publishes port {port}/udp on all addresses; \
             publish it on another address of the host only",
            bed.address(network, 1)
        )
    };
    for network in 1..=4 {
        bed.program.wait_for(Source::Stderr, &said(network));
    }
    let log = bed.program.lines(Source::Stderr);
    let count = |text: &str| log.iter().filter(|line| line.contains("ERROR") && line.contains(text)).count();
    assert_eq!(count("cannot listen"), 1, "one process has all the ports: {log:#?}");
    let checked = bed.check();
    assert!(checked.stderr.contains(&said(2)) && checked.status.success(), "{}", checked.stderr);
    // Once it is gone they listen.
    drop(held);
    bed.engine.stop(&pihole);
    bed.engine.run(Container::new("db").on("n1", &[]));
    bed.becomes_at(1, &bed.address(1, 2), "db", &bed.address(1, 2));
    assert!(!bed.check().stderr.contains("pihole"));
}

#[test]
fn a_network_that_has_no_listener_is_not_said_to_be_served() {
    let bed = Bed::with(Age::Engine20, "networks = [\"!blog\"]\n", |engine, prefix| {
        let subnet = |number: u8| format!("127.{prefix}.{number}.");
        let driver = |driver: &'static str| move |body: &mut Value| body["Driver"] = driver.into();
        engine.make_network("off", &subnet(1), |body| body["Labels"]["callsign.enable"] = "false".into());
        engine.make_network("lan", &subnet(2), driver("macvlan"));
        engine.make_network("ovl", &subnet(3), driver("overlay"));
        engine.make_network("vault", &subnet(4), |body| {
            body["Driver"] = "overlay".into();
            body["Internal"] = true.into();
        });
        engine.make_network("inh", &subnet(5), |body| {
            body["Options"]["com.docker.network.bridge.inhibit_ipv4"] = "true".into();
        });
        engine.network("docker_gwbridge", &subnet(6));
        engine.network("blog", &subnet(7));
        for (name, driver) in [("host", "host"), ("none", "null")] {
            engine.make_network(name, "", |body| {
                body["Driver"] = driver.into();
                body["IPAM"]["Config"] = Value::Array(Vec::new());
            });
        }
    });
    bed.program.wait_for(Source::Stderr, "network is served network=\"bridge\"");
    let checked = bed.check().expect_success().stdout;
    for (network, why) in [
        ("off", "left out by its label callsign.enable"),
        ("blog", "left out by `networks` in [docker]"),
        ("lan", "macvlan: its containers do not reach this host by it"),
        ("ovl", "an overlay network: its containers ask at other gateways"),
        ("vault", "an internal overlay network: its containers cannot reach this host"),
        ("inh", "its bridge has no address on this host"),
        ("docker_gwbridge", "it only tells which container of an overlay network asks"),
    ] {
        let line = bed.program.wait_for(Source::Stderr, &format!("network has no listener: {why}"));
        assert!(line.contains(&format!("network=\"{network}\"")), "{line}");
        let (_, shown) = checked.split_once(&format!("\nnetwork {network}")).unwrap_or_else(|| panic!("{checked}"));
        let shown = shown.split("\n\n").next().unwrap();
        assert!(shown.contains(&format!("\n  no listener {why}\n")) && !shown.contains("host names"), "{shown}");
        let log = bed.program.lines(Source::Stderr);
        let is_wrong = |line: &&String| line.contains("served") && line.contains(&format!("network=\"{network}\""));
        assert_eq!(log.iter().find(is_wrong), None);
    }
    // Those of containers without a network of their own: once each.
    let log = bed.program.lines(Source::Stderr);
    for text in ["its containers have the host's network", "its containers have no network"] {
        assert_eq!(log.iter().filter(|line| line.contains(text)).count(), 1, "{text}: {log:#?}");
    }
}

#[test]
fn a_reload_says_that_dockers_settings_or_additions_changed() {
    let bed = Bed::new(Age::Engine20, |engine, prefix| {
        engine.network("n1", &format!("127.{prefix}.1."));
    });
    let reload = |lines: &str| {
        let mark = bed.program.mark();
        bed.program.reload_by_change(&bed.config(lines));
        bed.program.wait_after(mark, Source::Stderr, "reloaded")
    };
    let addition = "[[network]]\nname = \"n1\"\nhold = \"1s\"\n";
    for lines in ["hold = \"1s\"\n", "networks = [\"n1\"]\n", addition, &addition.replace("1s", "2s"), ""] {
        let line = reload(lines);
        assert!(line.contains("settings=true"), "{lines}: {line}");
    }
    reload(addition);
    let line = reload(&format!("# Another line.\n{addition}"));
    assert!(line.contains("reloaded: nothing changed"), "{line}");
}
