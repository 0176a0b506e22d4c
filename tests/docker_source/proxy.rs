//! An engine behind a socket proxy, which speaks plain HTTP over TCP.

use callsign::wire::rtype;

use crate::kit::*;
use crate::support::program::{Program, callsign};
use crate::support::socket_proxy::SocketProxy;

/// An engine with `db` on `shop`, behind a proxy.
fn shop() -> (Engine, SocketProxy, u8) {
    let prefix = prefix();
    let engine = Engine::start(Age::Engine28, prefix);
    engine.network("shop", &format!("127.{prefix}.1."));
    engine.run(Container::new("db").on("shop", &["database"]));
    let proxy = SocketProxy::start(&engine.socket());
    (engine, proxy, prefix)
}

fn serve(engine: Engine, host: &str, prefix: u8) -> Bed {
    let port = crate::support::free_port(&[std::net::Ipv4Addr::LOCALHOST.into()]);
    let config = format!("[server]\nport = {port}\nupstreams = [\"127.0.0.66:1\"]\n[docker]\nsocket = {host:?}\n");
    let program = Program::with(&config).arguments(&["--log-level", "debug"]).start();
    Bed { engine, program, prefix, port }
}

#[test]
fn an_engine_is_followed_through_a_socket_proxy_that_allows_only_reading() {
    let (engine, proxy, prefix) = shop();
    let bed = serve(engine, &proxy.host(), prefix);
    let db = bed.address(1, 2);
    assert_eq!(bed.look_up(&db, "database"), db);
    let web = bed.engine.run(Container::new("web").on("shop", &[]));
    bed.becomes(&db, "web", &bed.address(1, 3));
    bed.engine.stop(&web);
    bed.becomes(&db, "web", "NODATA web is not running");
    bed.engine.remove(&web);
    bed.becomes(&db, "web", "SERVFAIL");
    assert_eq!(proxy.refused(), Vec::<String>::new());
    let log = bed.program.lines(Source::Stderr);
    assert!(!log.iter().any(|line| line.contains("not encrypted")), "it is on loopback: {log:#?}");
}

#[test]
fn a_stream_of_events_that_the_proxy_cuts_is_no_engine_that_is_away() {
    let (engine, proxy, prefix) = shop();
    let bed = serve(engine, &proxy.host(), prefix);
    let db = bed.address(1, 2);
    bed.becomes(&db, "db", &db);
    bed.engine.wait_for_subscribers(1);
    let mark = bed.program.mark();
    proxy.cut();
    bed.program.wait_after(mark, Source::Stderr, "Docker answers");
    bed.engine.run(Container::new("web").on("shop", &[]));
    bed.becomes(&db, "web", &bed.address(1, 3));
    let log = bed.program.lines(Source::Stderr);
    assert!(!log.iter().any(|line| line.contains("Docker is away")), "{log:#?}");
}

#[test]
fn docker_host_may_be_a_socket_proxy() {
    let (_engine, proxy, prefix) = shop();
    let check = |host: &str| {
        let mut command = callsign(&["check", "--docker"]);
        command.env("DOCKER_HOST", host).env_remove("DOCKER_TLS_VERIFY").env_remove("DOCKER_TLS");
        run(command)
    };
    let checked = check(&proxy.host()).expect_success();
    assert!(checked.stdout.contains(&format!("127.{prefix}.1.2")), "{}", checked.stdout);
    assert!(!checked.stderr.contains("not encrypted"), "{}", checked.stderr);
    // Linux takes 0.0.0.0 for this host; nothing says that it is loopback.
    let checked = check(&format!("tcp://0.0.0.0:{}", proxy.port())).expect_success();
    let warning = format!("tcp://0.0.0.0:{} is not on loopback: the connection is not encrypted", proxy.port());
    assert!(checked.stderr.contains(&warning) && checked.stderr.contains("root"), "{}", checked.stderr);
    let port = proxy.port();
    drop(proxy);
    let mut command = callsign(&["check", "--docker"]);
    command.env("DOCKER_HOST", format!("tcp://127.0.0.1:{port}")).env("DOCKER_TLS_VERIFY", "1");
    let checked = run(command);
    assert_eq!(checked.status.code(), Some(1));
    assert!(
        checked.stderr.contains("by TLS, which callsign does not speak; run callsign on the engine's host"),
        "{checked:?}"
    );
}

#[test]
fn tcp_off_loopback_is_warned_of_by_the_server_once() {
    let (engine, proxy, prefix) = shop();
    let bed = serve(engine, &format!("tcp://0.0.0.0:{}", proxy.port()), prefix);
    bed.program.wait_for(Source::Stderr, "is not on loopback: the connection is not encrypted");
    bed.engine.wait_for_subscribers(1);
    let mark = bed.program.mark();
    proxy.cut();
    bed.program.wait_after(mark, Source::Stderr, "Docker answers");
    bed.engine.run(Container::new("web").on("shop", &[]));
    bed.becomes(&bed.address(1, 2), "web", &bed.address(1, 3));
    let log = bed.program.lines(Source::Stderr);
    assert_eq!(log.iter().filter(|line| line.contains("not encrypted")).count(), 1, "{log:#?}");
}

#[test]
fn what_a_proxy_refuses_is_named_with_what_to_allow() {
    let (engine, _proxy, prefix) = shop();
    engine.forbid(Some("networks"));
    let proxy = SocketProxy::start(&engine.socket());
    let bed = serve(engine, &proxy.host(), prefix);
    let line = bed.program.wait_for(Source::Stderr, "Docker does not answer");
    for text in ["/networks", "403", "a socket proxy has to allow GET of /_ping, /events, /containers and /networks"] {
        assert!(line.contains(text), "{text}: {line}");
    }
    assert!(line.contains("none of its containers is known yet"), "{line}");
    bed.engine.forbid(None);
    bed.becomes_at(0, &bed.address(1, 2), "db", &bed.address(1, 2));
    // Known from here on, so that it is said in other words.
    bed.engine.wait_for_subscribers(1);
    let mark = bed.program.mark();
    bed.engine.end();
    bed.program.wait_after(mark, Source::Stderr, "Docker is away");
    assert_eq!(bed.ask(0, &bed.address(1, 2), "db", rtype::A).addresses().len(), 1);
}
