//! What is forwarded and to whom, by default and with AARDVARK_NO_PROXY and CALLSIGN_PODMAN_STRICT in the environment.

use std::time::{Duration, Instant};

use callsign::wire::{rcode, rtype};

use crate::kit::{Home, SHOP, network, until};
use crate::support::client::Query;
use crate::support::upstream::{Scripted, a};

/// An upstream whose every answer is this address.
async fn upstream(last: u8) -> Scripted {
    Scripted::start(move |query| vec![query.answer(&[a([192, 0, 2, last])])]).await
}

fn upstreams(servers: &[&Scripted]) -> String {
    let servers: Vec<String> = servers.iter().map(|server| format!("\"{}\"", server.address())).collect();
    format!("[server]\nupstreams = [{}]\n", servers.join(", "))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_is_forwarded_and_with_no_proxy_it_is_not() {
    let upstream = upstream(1).await;
    let home = Home::new();
    home.configure(&upstreams(&[&upstream]));
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    assert_eq!(home.addresses(SHOP, "www.example.com"), ["192.0.2.1"]);
    assert_eq!(home.addresses(SHOP, "nodots"), ["192.0.2.1"], "names without a dot, too");
    assert_eq!(home.ask(SHOP, "other.dns.podman").status(), "NXDOMAIN", "a domain of our own");
    drop(daemon);

    let asked = upstream.queries().len();
    for value in ["1", "0", ""] {
        let home = Home::new().environment("AARDVARK_NO_PROXY", value);
        home.configure(&(upstreams(&[&upstream]) + "[[network]]\nname = \"shop\"\ninternal = false\n"));
        home.write("shop", &network(SHOP, "10.89.0.2"));
        let _daemon = home.start();
        assert_eq!(home.ask(SHOP, "www.example.com").status(), "NXDOMAIN", "any value: {value:?}");
        assert_eq!(home.ask(SHOP, "nodots").status(), "NXDOMAIN");
        assert_eq!(home.addresses(SHOP, "web"), ["10.89.0.2"]);
    }
    assert_eq!(upstream.queries().len(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_internal_network_never_reaches_an_upstream() {
    let upstream = upstream(1).await;
    let home = Home::new();
    home.configure(&upstreams(&[&upstream]));
    home.write("shop%int", &(network(SHOP, "10.89.0.2")));
    let _daemon = home.start();
    assert_eq!(home.addresses(SHOP, "web"), ["10.89.0.2"]);
    assert_eq!(home.ask(SHOP, "www.example.com").status(), "NXDOMAIN");
    assert!(upstream.queries().is_empty());
}

/// Upstreams in order, the time divided by their number, and silence when none answers.
#[tokio::test(flavor = "multi_thread")]
async fn strict_forwards_as_the_program_did_that_is_replaced() {
    let (dead, alive) = (Scripted::silent().await, upstream(2).await);
    let home = Home::new().environment("CALLSIGN_PODMAN_STRICT", "1");
    home.configure(&(upstreams(&[&dead, &alive]) + "timeout = 1\n"));
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    for name in ["one.example", "two.example"] {
        let (asked, start) = (dead.queries().len(), Instant::now());
        assert_eq!(home.addresses(SHOP, name), ["192.0.2.2"]);
        assert!(start.elapsed() >= Duration::from_millis(490), "half of the time for the first: {:?}", start.elapsed());
        assert!(dead.queries().len() > asked, "asked first each time: it is not remembered that it is dead");
    }

    home.configure(&(upstreams(&[&dead]) + "timeout = 0.2\n"));
    daemon.hang_up();
    let query = Query::new("three.example", rtype::A);
    let client = home.client(SHOP).timeout(Duration::from_millis(1200));
    until("the settings are read", || client.udp_bytes(&query.bytes()).is_err());
    drop(daemon);

    let home = Home::new().environment("CALLSIGN_PODMAN_STRICT", "0");
    home.configure(&(upstreams(&[&dead]) + "timeout = 0.2\n"));
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let _daemon = home.start();
    assert_eq!(home.ask(SHOP, "three.example").status(), "SERVFAIL");
}

/// And each has the time that was always there: 5 s, divided by their number.
#[tokio::test(flavor = "multi_thread")]
async fn strict_gives_each_of_two_upstreams_half_of_5_seconds() {
    let (dead, alive) = (Scripted::silent().await, upstream(2).await);
    let home = Home::new().environment("CALLSIGN_PODMAN_STRICT", "1");
    home.configure(&upstreams(&[&dead, &alive]));
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let _daemon = home.start();
    let start = Instant::now();
    assert_eq!(home.addresses(SHOP, "www.example.com"), ["192.0.2.2"]);
    assert!(start.elapsed() >= Duration::from_millis(2490), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_answer_wins_whatever_its_rcode_with_strict_and_without_it_not() {
    let (refusing, knowing) = (Scripted::start(|query| vec![query.error(rcode::REFUSED)]).await, upstream(2).await);
    for (strict, expected) in [("1", "REFUSED"), ("0", "NOERROR")] {
        let home = Home::new().environment("CALLSIGN_PODMAN_STRICT", strict);
        home.configure(&upstreams(&[&refusing, &knowing]));
        home.write("shop", &network(SHOP, "10.89.0.2"));
        let _daemon = home.start();
        assert_eq!(home.ask(SHOP, "www.example.com").status(), expected, "strict = {strict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_upstream_is_failed_over_quickly_and_remembered() {
    let (dead, alive) = (Scripted::silent().await, upstream(2).await);
    let home = Home::new();
    home.configure(&upstreams(&[&dead, &alive]));
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let _daemon = home.start();
    let ask = |name: &str| {
        let start = Instant::now();
        assert_eq!(home.addresses(SHOP, name), ["192.0.2.2"]);
        start.elapsed()
    };
    let first = ask("first.example");
    assert!(first < Duration::from_secs(2), "{first:?}; it was 2.5 s");
    // From here on it is put aside, but for a look now and then.
    until("it is known to be dead", || {
        let before = dead.queries().len();
        ask(&format!("n{before}.example"));
        dead.queries().len() == before
    });
    let before = dead.queries().len();
    let rest: Duration = (0..10).map(|number| ask(&format!("later{number}.example"))).sum();
    assert!(dead.queries().len() - before < 5, "{} of 10 went to it", dead.queries().len() - before);
    assert!(rest < Duration::from_secs(2), "{rest:?}; it was 25 s");
}
