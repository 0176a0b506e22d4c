//! The engine's own life: events that are lost, streams that are cut, daemons that end and come back; and what is asked.

use crate::kit::*;

fn shop(lines: &str) -> (Bed, String) {
    let bed = Bed::with(Age::Engine20, lines, |engine, prefix| {
        engine.network("shop", &format!("127.{prefix}.1."));
        engine.run(Container::new("client").on("shop", &[]));
    });
    let client = bed.address(1, 2);
    (bed, client)
}

#[test]
fn docker_3_23_lost_events_are_made_up_for_by_the_next_pass() {
    let (bed, client) = shop("");
    let gone = bed.engine.run(Container::new("gone").on("shop", &[]));
    bed.becomes(&client, "gone", &bed.address(1, 3));
    bed.engine.lose_events(true);
    bed.engine.stop(&gone);
    bed.engine.remove(&gone);
    bed.engine.run(Container::new("new").on("shop", &[]));
    bed.engine.network("blog", &format!("127.{}.2.", bed.prefix));
    bed.engine.run(Container::new("post").on("blog", &[]));
    assert_eq!(bed.look_up(&client, "gone"), bed.address(1, 3), "nothing tells");
    bed.engine.cut();
    bed.becomes(&client, "new", &bed.address(1, 3));
    bed.becomes(&client, "gone", "SERVFAIL");
    bed.becomes(&bed.address(2, 2), "post", &bed.address(2, 2));
}

#[test]
fn docker_3_24_while_the_daemon_is_away_everything_stays() {
    let (bed, client) = shop("");
    let db = bed.engine.run(Container::new("db").on("shop", &[]));
    bed.becomes(&client, "db", &bed.address(1, 3));
    bed.engine.wait_for_subscribers(1);
    let mark = bed.program.mark();
    bed.engine.end();
    bed.program.wait_after(mark, Source::Stderr, "Docker is away");
    assert_eq!(bed.look_up(&client, "db"), bed.address(1, 3));
    // A container died meanwhile, of which no event will ever tell (docker.md 3.25).
    bed.engine.die_unseen(&db);
    bed.engine.lose_events(true);
    bed.engine.run(Container::new("web").on("shop", &[]));
    bed.engine.lose_events(false);
    bed.engine.listen();
    bed.becomes(&client, "db", "NODATA db is not running");
    bed.becomes(&client, "web", &bed.address(1, 4));
    let log = bed.program.lines(Source::Stderr);
    let told = log.iter().filter(|line| line.contains("Docker is away")).count();
    assert_eq!(told, 1, "once, however often it is tried: {log:#?}");
}

#[test]
fn a_daemon_that_is_not_there_yet_keeps_nobody_waiting() {
    let prefix = prefix();
    let engine = Engine::start(Age::Engine20, prefix);
    engine.end();
    let port = crate::support::free_port(&[std::net::Ipv4Addr::LOCALHOST.into()]);
    let config = format!("[server]\nport = {port}\nupstreams = [\"127.0.0.66:1\"]\n{}", engine.section());
    // It is ready although the engine is away.
    let program = crate::support::program::Program::with(&config).start();
    program.wait_for(Source::Stderr, "is Docker installed and running?");
    engine.run(Container::new("db"));
    engine.listen();
    let bed = Bed { engine, program, prefix, port };
    eventually("the default bridge is served", || {
        let at = format!("{}:{port}", bed.address(0, 1)).parse().unwrap();
        let client = Client::new(at).from(bed.address(0, 2).parse().unwrap());
        client.udp_bytes(&Query::new("db", 1).bytes()).is_ok_and(|bytes| shown(&Reply::new(bytes)) == bed.address(0, 2))
    });
}

/// The program, following an engine as it is before anything was read of it.
fn follow(engine: Engine, prefix: u8) -> Bed {
    let port = crate::support::free_port(&[std::net::Ipv4Addr::LOCALHOST.into()]);
    let config = format!("[server]\nport = {port}\nupstreams = [\"127.0.0.66:1\"]\n{}", engine.section());
    let program = crate::support::program::Program::with(&config).start();
    Bed { engine, program, prefix, port }
}

#[test]
fn a_container_that_the_engine_hangs_on_does_not_hold_up_the_start() {
    let prefix = prefix();
    let engine = Engine::start(Age::Engine20, prefix);
    let db = engine.run(Container::new("db"));
    let hangs = engine.create(Container::new("hangs"));
    engine.begin_start(&hangs);
    let bed = follow(engine, prefix);
    let address = bed.engine.address(&db, &bed.engine.network_id("bridge"));
    assert_eq!(bed.look_up(&address, "db"), address, "it is ready, so this is served");
    bed.engine.finish_start(&hangs);
    bed.becomes(&address, "hangs", &bed.engine.address(&hangs, &bed.engine.network_id("bridge")));
}

#[test]
fn lists_that_a_socket_proxy_refuses_are_named_and_asked_for_again() {
    for path in ["containers/json", "networks"] {
        let prefix = prefix();
        let engine = Engine::start(Age::Engine20, prefix);
        let db = engine.run(Container::new("db").label("callsign.names", "database"));
        engine.forbid(Some(path));
        let mut check = crate::support::program::callsign(&["check", "--docker"]);
        check.env("DOCKER_HOST", crate::support::engine::host(&engine.socket()));
        let checked = crate::support::process::run(check);
        assert_eq!(checked.status.code(), Some(1), "{path}: {}", checked.stdout);
        assert!(checked.stderr.contains(&format!("/{path}")), "{path}: {}", checked.stderr);
        assert!(checked.stderr.contains("forbidden by the proxy"), "{path}: {}", checked.stderr);

        let bed = follow(engine, prefix);
        let line = bed.program.wait_for(Source::Stderr, "Docker does not answer");
        assert!(line.contains(&format!("/{path}")) && line.contains("forbidden by the proxy"), "{line}");
        bed.engine.forbid(None);
        let address = bed.engine.address(&db, &bed.engine.network_id("bridge"));
        bed.becomes_at(0, &address, "database", &address);
    }
}

#[test]
fn only_what_a_socket_proxy_may_allow_is_asked() {
    let (bed, client) = shop("");
    let db = bed.engine.run(Container::new("db").on("shop", &[]));
    bed.becomes(&client, "db", &bed.address(1, 3));
    bed.engine.stop(&db);
    bed.engine.remove(&db);
    bed.becomes(&client, "db", "SERVFAIL");
    for request in bed.engine.requests() {
        let path = request.strip_prefix("GET ").unwrap_or_else(|| panic!("{request}"));
        let path = path.strip_prefix("/v1.41").unwrap_or(path);
        let kinds = ["/_ping", "/events?", "/containers/json?all=1", "/networks"];
        let is_inspection = path.starts_with("/containers/") && path.ends_with("/json");
        assert!(is_inspection || kinds.iter().any(|kind| path.starts_with(kind)), "{request}");
    }
}

#[test]
fn what_is_as_it_was_is_not_inspected_again() {
    let (bed, client) = shop("");
    for number in 0..20 {
        bed.engine.run(Container::new(&format!("c{number}")).on("shop", &[]));
    }
    bed.becomes(&client, "c19", &bed.address(1, 22));
    let count = |what: &dyn Fn(&str) -> bool| bed.engine.requests().iter().filter(|request| what(request)).count();
    let is_list = |request: &str| request.ends_with("/containers/json?all=1");
    let inspections = || count(&|request| request.contains("/containers/") && !is_list(request));
    // The first passes after events inspect what these were about.
    let mut number = 0;
    eventually("a pass inspects one container, that came and went meanwhile", || {
        bed.engine.wait_for_subscribers(1);
        let (lists, so_far) = (count(&is_list), inspections());
        bed.engine.cut();
        eventually("a pass begins", || count(&is_list) > lists);
        // What the pass has to find out comes with what happens next.
        number += 1;
        let name = format!("last{number}");
        let last = bed.engine.run(Container::new(&name).on("shop", &[]));
        bed.becomes(&client, &name, &bed.address(1, 23));
        bed.engine.stop(&last);
        bed.engine.remove(&last);
        bed.becomes(&client, &name, "SERVFAIL");
        inspections() - so_far <= 6
    });
}

#[test]
fn that_the_daemon_answers_again_is_said() {
    let (bed, client) = shop("");
    bed.engine.wait_for_subscribers(1);
    // Its connection stays, and so nothing tells but the next answer.
    bed.engine.forbid(Some("networks"));
    bed.engine.cut();
    let mark = bed.program.mark();
    bed.program.wait_for(Source::Stderr, "Docker is away");
    bed.engine.forbid(None);
    bed.program.wait_after(mark, Source::Stderr, "Docker answers again");
    assert_eq!(bed.look_up(&client, "client"), client);
}

#[test]
fn an_engine_that_answered_before_needs_no_advice_how_to_install_it() {
    let (bed, _) = shop("");
    bed.engine.wait_for_subscribers(1);
    bed.engine.end();
    let line = bed.program.wait_for(Source::Stderr, "Docker is away");
    assert!(line.contains("its containers keep their names; retrying") && !line.contains("installed"), "{line}");
}
