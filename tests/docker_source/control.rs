//! The server that follows Docker, by its control socket and its metrics.

use std::io::{Read, Write};
use std::net::TcpStream;

use callsign::wire::rtype;
use serde_json::Value;

use crate::kit::*;
use crate::support::DEADLINE;
use crate::support::process::{Finished, Process, run};
use crate::support::program::callsign;

/// An engine with web and db on `shop`.
fn shop() -> Bed {
    Bed::with(Age::Engine28, "[metrics]\nlisten = \"127.0.0.1:0\"\n", |engine, prefix| {
        engine.network("shop", &format!("127.{prefix}.1."));
        engine.run(Container::new("web").on("shop", &[]));
        engine.run(Container::new("db").on("shop", &["database"]));
    })
}

fn command(bed: &Bed, words: &str) -> Finished {
    let socket = bed.program.control();
    let mut words: Vec<&str> = words.split(' ').collect();
    words.extend(["--socket", socket.to_str().unwrap()]);
    run(callsign(&words))
}

fn source(bed: &Bed) -> Value {
    let finished = command(bed, "status --json");
    let status: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
    status["servers"][0]["source"].clone()
}

/// What is served for Prometheus and for health checks.
fn scraped(bed: &Bed, path: &str) -> String {
    let line = bed.program.wait_for(Source::Stderr, "metrics, health and readiness");
    let (_, address) = line.split_once("address=").unwrap();
    let mut stream = TcpStream::connect(address.trim()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

#[test]
fn status_names_and_metrics_have_dockers_networks_and_whether_it_answers() {
    let bed = shop();
    bed.becomes_at(1, &bed.address(1, 2), "db", &bed.address(1, 3));
    let socket = bed.engine.socket().display().to_string();
    let told = source(&bed);
    assert_eq!(
        (&told["kind"], &told["path"], &told["connected"]),
        (&"docker".into(), &socket.as_str().into(), &true.into()),
        "{told}"
    );
    assert!(told["read"].is_string(), "{told}");
    let well = command(&bed, "status").expect_success().stdout;
    for part in ["all is well", &format!("source   docker {socket}, connected, read "), "shop", "bridge"] {
        assert!(well.contains(part), "{part:?} in {well}");
    }
    let names = command(&bed, "names shop").expect_success().stdout;
    assert!(names.contains("database") && names.contains(&bed.address(1, 3)), "{names}");
    let why = command(&bed, "explain database --from web").expect_success().stdout;
    let expected =
        format!("web gets {} for database.\ndatabase is the container db on network shop.\n", bed.address(1, 3));
    assert!(why.starts_with(&expected), "{why}");
    let metrics = scraped(&bed, "/metrics");
    for sample in ["callsign_source_connected{kind=\"docker\"} 1.0\n", "callsign_endpoints{network=\"shop\"} 2.0\n"] {
        assert!(metrics.contains(sample), "{sample} in {metrics}");
    }
    let value = |metrics: &str, name: &str| -> Option<f64> {
        let name = format!("{name}{{kind=\"docker\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok())
    };
    let resyncs = value(&metrics, "callsign_source_resyncs_total").unwrap();
    assert!(resyncs >= 1.0, "{metrics}");
    bed.engine.run(Container::new("late").on("shop", &[]));
    let lag = || value(&scraped(&bed, "/metrics"), "callsign_source_lag_seconds");
    eventually("the lag is known", || lag().is_some());

    bed.engine.end();
    eventually("it is told that Docker is away", || source(&bed)["connected"] == false);
    let status = command(&bed, "status");
    assert_eq!(status.status.code(), Some(1), "{status:?}");
    assert!(status.stdout.contains(&format!("! Docker does not answer at {socket}; what was known")), "{status:?}");
    assert!(scraped(&bed, "/metrics").contains("callsign_source_connected{kind=\"docker\"} 0.0\n"));
    assert!(scraped(&bed, "/ready").starts_with("HTTP/1.1 200 "), "what is known is still served");

    bed.engine.listen();
    eventually("it is told that Docker is back", || source(&bed)["connected"] == true);
    let again = value(&scraped(&bed, "/metrics"), "callsign_source_resyncs_total").unwrap();
    assert!(again > resyncs, "{again}: all was read again when it was back");
    command(&bed, "status").expect_success();
}

#[test]
fn watch_names_the_container_that_asks() {
    let bed = shop();
    let (web, db) = (bed.address(1, 2), bed.address(1, 3));
    bed.becomes_at(1, &web, "db", &db);
    let socket = bed.program.control();
    let words = ["watch", "--json", "--from", "web", "--name", "db", "--socket", socket.to_str().unwrap()];
    let watch = Process::spawn(callsign(&words));
    // Until it is on, it shows nothing.
    eventually("the query is shown", || {
        bed.ask(1, &web, "db", rtype::A);
        !watch.lines(Source::Stdout).is_empty()
    });
    let query: Value = serde_json::from_str(&watch.lines(Source::Stdout)[0]).unwrap();
    assert_eq!(
        (&query["container"], &query["network"], &query["answers"][0], &query["why"]),
        (&"web".into(), &"shop".into(), &db.into(), &"a container's name".into()),
        "{query}"
    );
}

#[test]
fn without_its_first_answer_the_server_is_not_ready() {
    let bed = shop();
    assert!(scraped(&bed, "/ready").starts_with("HTTP/1.1 200 "));
    // The file alone is the source, and then Docker again, which is away.
    bed.program.reload_by_change(&format!("[server]\nport = {}\n", bed.port));
    let told = source(&bed);
    let config = bed.program.config_path().display().to_string();
    assert_eq!((&told["kind"], &told["path"]), (&"file".into(), &config.as_str().into()), "{told}");
    assert!(told["read"].is_string() && told.get("connected").is_none(), "{told}");
    bed.engine.end();
    bed.program.reload_by_change(&bed.config("[metrics]\nlisten = \"127.0.0.1:0\"\n"));
    let told = source(&bed);
    assert_eq!((&told["kind"], &told["connected"], &told["read"]), (&"docker".into(), &false.into(), &Value::Null));
    let status = command(&bed, "status");
    assert!(status.stdout.contains("! Docker has not answered yet at "), "{status:?}");
    bed.engine.listen();
    eventually("Docker was read", || source(&bed)["read"].is_string());
}

#[test]
fn names_that_were_added_stay_whatever_docker_changes() {
    let bed = shop();
    let (web, legacy) = (bed.address(1, 2), bed.address(1, 99));
    bed.becomes_at(1, &web, "db", &bed.address(1, 3));
    command(&bed, &format!("name add legacy {legacy} --network shop")).expect_success();
    bed.becomes_at(1, &web, "legacy", &legacy);
    // Another container.
    let cache = bed.engine.run(Container::new("cache").on("shop", &[]));
    bed.becomes_at(1, &web, "cache", &bed.address(1, 4));
    bed.becomes_at(1, &web, "legacy", &legacy);
    // Other settings of the network.
    bed.program.reload_by_change(&bed.config("[[network]]\nname = \"shop\"\naliases = { store = \"cache\" }\n"));
    bed.becomes_at(1, &web, "store", &bed.address(1, 4));
    bed.becomes_at(1, &web, "legacy", &legacy);
    // The network itself, anew.
    let ids: Vec<String> = ["web", "db"].iter().map(|name| bed.engine.container_id(name)).collect();
    for id in ids.iter().chain([&cache]) {
        bed.engine.stop(id);
        bed.engine.remove(id);
    }
    bed.engine.remove_network(&bed.engine.network_id("shop"));
    let served = || command(&bed, "names").expect_success().stdout.contains("shop");
    eventually("shop is gone", || !served());
    bed.engine.network("shop", &format!("127.{}.1.", bed.prefix));
    bed.engine.run(Container::new("web").on("shop", &[]));
    bed.becomes_at(1, &web, "legacy", &legacy);
    command(&bed, "name remove legacy --network shop").expect_success();
    bed.becomes_at(1, &web, "legacy", "SERVFAIL");
}

#[test]
fn another_socket_is_followed_at_once_and_what_is_known_stays_until_it_answers() {
    let bed = shop();
    let (web, db) = (bed.address(1, 2), bed.address(1, 3));
    bed.becomes_at(1, &web, "db", &db);
    let config = |socket: &str| {
        let config = bed.config("");
        let (before, _) = config.split_once("[docker]").unwrap();
        format!("{before}[docker]\nsocket = {socket:?}\n")
    };
    let mark = bed.program.mark();
    bed.program.reload_by_change(&config("/nowhere/docker.sock"));
    bed.program.wait_after(mark, Source::Stderr, "the containers known before keep their names");
    let told = source(&bed);
    assert_eq!((&told["path"], &told["connected"]), (&"/nowhere/docker.sock".into(), &false.into()), "{told}");
    bed.engine.run(Container::new("late").on("shop", &[]));
    assert_eq!(shown(&bed.ask(1, &web, "db", rtype::A)), db);
    // Another engine, where there is another container on a network of the same name.
    let other = Engine::start(Age::Engine28, bed.prefix);
    other.network("shop", &format!("127.{}.1.", bed.prefix));
    other.run(Container::new("store").on("shop", &[]));
    bed.program.reload_by_change(&config(&other.socket().display().to_string()));
    bed.becomes_at(1, &web, "store", &web);
    bed.becomes_at(1, &web, "db", "SERVFAIL");
    assert_eq!(shown(&bed.ask(1, &web, "late", rtype::A)), "SERVFAIL", "the old engine is followed no longer");
    eventually("status says that it is connected", || source(&bed)["connected"] == true);
}

#[test]
fn a_client_of_an_overlay_network_is_called_by_its_name() {
    let bed = Bed::new(Age::Engine20, |engine, prefix| {
        let overlay = |body: &mut Value| body["Driver"] = "overlay".into();
        engine.make_network("ovl", &format!("127.{prefix}.1."), overlay);
        engine.network("docker_gwbridge", &format!("127.{prefix}.2."));
        engine.make_network("vault", &format!("127.{prefix}.3."), |body| {
            overlay(body);
            body["Internal"] = true.into();
        });
        engine.network("back", &format!("127.{prefix}.4."));
        let oo = engine.run(Container::new("oo").on("ovl", &[]));
        engine.run(Container::new("pp").on("ovl", &[]));
        engine.run(Container::new("ovi").on("vault", &[]));
        engine.run(Container::new("db").on("back", &[]));
        engine.set_gateway_address(&engine.network_id("docker_gwbridge"), &oo, &format!("127.{prefix}.2.7"));
    });
    let (oo, pp) = (bed.address(2, 7), bed.address(1, 3));
    bed.becomes(&oo, "pp", &pp);
    for from in ["oo", &oo] {
        let told = command(&bed, &format!("explain pp --from {from}")).expect_success().stdout;
        assert!(told.starts_with(&format!("oo gets {pp} for pp.\n")), "{told}");
    }
    let told = command(&bed, "explain db --from oo").stdout;
    assert!(told.contains("\nAttach it: docker network connect back oo\n"), "{told}");
    let internal = command(&bed, "explain pp --from ovi");
    assert!(
        internal.stderr.contains("vault is an internal overlay network: its containers cannot reach"),
        "{internal:?}"
    );
    let id = bed.engine.container_id("oo");
    let names = command(&bed, "names --json").expect_success().stdout;
    assert!(!names.contains(&format!("\"name\":\"{id}\"")), "{names}");
    // As one is called whose query is watched, by its name, too.
    let socket = bed.program.control();
    let words = ["watch", "--json", "--from", "oo", "--socket", socket.to_str().unwrap()];
    let watch = Process::spawn(callsign(&words));
    eventually("the query is shown", || {
        bed.look_up(&oo, "pp");
        !watch.lines(Source::Stdout).is_empty()
    });
    let query: Value = serde_json::from_str(&watch.lines(Source::Stdout)[0]).unwrap();
    assert_eq!(query["container"], "oo", "{query}");
}
