//! Podman's server by its control socket, `podman.sock`: it is looked into and steered as any other.

use serde_json::Value;

use crate::kit::{Home, NOWHERE, SHOP, container, network, until};
use crate::support::process::{Finished, Process, Source, run};
use crate::support::program::callsign;

/// A command about the server of a home.
pub(crate) fn ask(home: &Home, words: &str) -> Finished {
    let socket = home.path().join("podman.sock");
    let mut words: Vec<&str> = words.split(' ').collect();
    words.extend(["--socket", socket.to_str().unwrap()]);
    run(callsign(&words))
}

fn json(home: &Home, words: &str) -> Value {
    let finished = ask(home, &format!("{words} --json"));
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

#[test]
fn podmans_server_is_looked_into_and_steered() {
    let home = Home::new();
    home.configure(&format!("{NOWHERE}[metrics]\nlisten = \"127.0.0.1:0\"\n"));
    home.write("shop", &(network(SHOP, "10.89.0.2") + &container("bbb222", "10.89.0.3", "db,bbb222")));
    let daemon = home.start();
    until("the control socket", || home.path().join("podman.sock").exists());
    let status = json(&home, "status")["servers"][0].take();
    assert_eq!(
        (&status["source"]["kind"], &status["pid"]),
        (&"podman".into(), &daemon.pid.as_raw().into()),
        "{status}"
    );
    assert_eq!((&status["networks"][0]["name"], &status["networks"][0]["containers"]), (&"shop".into(), &2.into()));
    assert!(ask(&home, "names shop").expect_success().stdout.contains("10.89.0.3"));
    let why = ask(&home, "explain db --from web").expect_success().stdout;
    assert!(why.starts_with("web gets 10.89.0.3 for db.\ndb is the container bbb222 on network shop.\n"), "{why}");
    // Queries as they come.
    let socket = home.path().join("podman.sock");
    let watch = Process::spawn(callsign(&["watch", "--json", "--name", "db", "--socket", socket.to_str().unwrap()]));
    until("the query is shown", || {
        home.addresses(SHOP, "db");
        !watch.lines(Source::Stdout).is_empty()
    });
    let query: Value = serde_json::from_str(&watch.lines(Source::Stdout)[0]).unwrap();
    assert_eq!((&query["network"], &query["answers"][0]), (&"shop".into(), &"10.89.0.3".into()), "{query}");
    // A name that netavark knows nothing of stays when the network's file changes, and when its settings do.
    ask(&home, "name add legacy 10.89.0.99 --network shop").expect_success();
    home.append("shop", &container("ccc333", "10.89.0.4", "cache,ccc333"));
    let reloaded = json(&home, "reload");
    assert_eq!(
        (&reloaded["changed"][0], &reloaded["errors"]),
        (&"shop".into(), &Value::Array(Vec::new())),
        "{reloaded}"
    );
    assert_eq!(home.addresses(SHOP, "cache"), ["10.89.0.4"]);
    home.configure(&format!("{NOWHERE}[[network]]\nname = \"shop\"\nttl = 5\n"));
    ask(&home, "reload").expect_success();
    assert_eq!(home.addresses(SHOP, "legacy"), ["10.89.0.99"]);
    // A mistake in podman.toml is told, and stays told.
    home.configure("[server]\nprot = 53\n");
    let failed = ask(&home, "reload");
    assert!(
        failed.status.code() == Some(1) && failed.stderr.contains("podman.toml:2: unknown key `prot`"),
        "{failed:?}"
    );
    let status = ask(&home, "status");
    assert!(status.status.code() == Some(1) && status.stdout.contains("unknown key `prot`"), "{status:?}");
    // The last container ends the server, and the socket goes with it.
    home.remove("shop");
    daemon.hang_up();
    daemon.wait();
    assert!(!home.path().join("podman.sock").exists());
}
