//! What the program shows of other hosts: two real ones, each with a real configuration.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use callsign::control::shapes::{Explained, Hosts, Names, Status};
use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bed::{Cluster, TTL, address_of, wait_or};
use crate::needs_root;
use crate::support::DEADLINE;
use crate::support::netns::Namespace;
use crate::support::process::{Finished, run};
use crate::support::program::{Program, callsign};

fn config(cluster: &Cluster, host: &str, number: u8, endpoints: &str) -> String {
    let (urls, ttl) = (cluster.urls(), TTL.as_secs());
    format!(
        r#"
        [store]
        etcd = {urls:?}
        insecure = true
        host = "{host}"
        ttl = {ttl}
        state = ""

        [metrics]
        listen = "127.0.0.1:9153"

        [[network]]
        name = "shop"
        listen = ["127.0.0.1"]
        subnets = ["10.88.{number}.0/24"]
        domains = ["internal"]
        share = "container"
        remote_subnets = ["10.88.0.0/16"]
        endpoint = [{endpoints}]
        "#
    )
}

fn say(program: &Program, words: &[&str]) -> Finished {
    let socket = program.control();
    let mut arguments = words.to_vec();
    arguments.extend(["--socket", socket.to_str().unwrap()]);
    run(callsign(&arguments))
}

#[track_caller]
fn json<T: DeserializeOwned>(program: &Program, words: &[&str]) -> T {
    let said = say(program, &[words, &["--json"]].concat());
    serde_json::from_str(&said.stdout)
        .unwrap_or_else(|error| panic!("{words:?}: {error}: {}{}", said.stdout, said.stderr))
}

/// What `callsign status` says of the one server that is asked.
#[track_caller]
fn status_of(program: &Program) -> Status {
    let mut said: Value = json(program, &["status"]);
    serde_json::from_value(said["servers"][0].take()).unwrap()
}

/// The fields of an object are those of its schema, and what it needs is there.
fn is_described(value: &Value, schema: &str) {
    let document: Value = serde_json::from_str(callsign::control::OPENAPI).unwrap();
    let schema = &document["components"]["schemas"][schema];
    let fields: BTreeSet<&String> = value.as_object().unwrap().keys().collect();
    let known: BTreeSet<&String> = schema["properties"].as_object().unwrap().keys().collect();
    assert!(fields.is_subset(&known), "{value:#}");
    for required in schema["required"].as_array().unwrap() {
        assert!(fields.iter().any(|field| field.as_str() == required), "no {required} in {value:#}");
    }
    if let Some(words) = schema["properties"]["state"]["enum"].as_array() {
        assert!(words.contains(&value["state"]), "{value:#}");
    }
}

fn metrics(namespace: &Namespace) -> String {
    let ask = "exec 3<>/dev/tcp/127.0.0.1/9153; printf 'GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n' >&3; cat <&3";
    namespace.run(&["bash", "-c", ask]).expect_success().stdout
}

fn state_of(program: &Program, host: &str) -> String {
    let hosts: Hosts = json(program, &["hosts"]);
    hosts.hosts.into_iter().find(|each| each.name == host).map(|each| each.state).unwrap_or_default()
}

#[test]
fn the_program_says_where_a_name_is_and_how_the_hosts_are() {
    needs_root!("etcd", "etcdctl");
    let mut cluster = Cluster::of(1);
    let (here, there) = (cluster.place("host-a"), cluster.place("host-b"));
    let web = r#"{ id = "web-1", names = ["web"], addresses = ["10.88.1.10"] }"#;
    let queue = r#"{ id = "queue-1", names = ["queue", "web"], addresses = ["10.88.2.12"] }"#;
    let a = Program::with(&config(&cluster, "host-a", 1, web)).inside(&here).start();
    let b = Program::with(&config(&cluster, "host-b", 2, queue)).inside(&there).start();
    let served = || status_of(&a).store.map_or(0, |store| store.remote_containers);
    wait_or(DEADLINE, || served() == 1, || say(&a, &["hosts"]).stdout);

    // Which hosts there are.
    let hosts: Value = json(&a, &["hosts"]);
    is_described(&hosts, "Hosts");
    is_described(&hosts["store"], "Store");
    is_described(&hosts["hosts"][0], "RemoteHost");
    assert_eq!(hosts["hosts"][0]["name"], "host-b");
    assert_eq!((&hosts["hosts"][0]["state"], &hosts["hosts"][0]["served"]), (&"live".into(), &1.into()));
    assert_eq!(hosts["hosts"][0]["addresses"][0], Value::from(address_of("host-b")));
    let text = say(&a, &["hosts"]).expect_success().stdout;
    assert!(text.starts_with("host-a etcd live at http://10.77.0.1:2379 since "), "{text}");
    assert!(text.contains("publishes 1 container as host-a; hosts: 1 live, 1 container served\n"), "{text}");
    let status = say(&a, &["status"]).expect_success().stdout;
    assert!(status.contains("all is well") && status.contains("\nstore    etcd live at "), "{status}");

    // Where a name is.
    let names: Names = json(&a, &["names"]);
    let name = |name: &str| names.networks[0].names.iter().find(|each| each.name == name).unwrap();
    assert_eq!(name("queue").containers[0].host.as_deref(), Some("host-b"));
    assert_eq!(name("web").containers[0].host, None);
    assert!(say(&a, &["names"]).stdout.contains("queue on host-b"), "{}", say(&a, &["names"]).stdout);
    let explained: Explained = json(&a, &["explain", "queue", "--from", "web"]);
    let cause = explained.cause.unwrap();
    let parts = ["queue on network shop is on host-b, learned ", " s ago at revision "];
    assert!(parts.iter().all(|part| cause.contains(part)), "{cause}");
    assert_eq!((&*explained.result, &*explained.conclusion), ("answered", "web gets 10.88.2.12 for queue."));
    let both: Explained = json(&a, &["explain", "web", "--from", "web"]);
    assert_eq!(
        both.cause.as_deref(),
        Some("web is web-1 of this host on network shop. It is on host-b, too; this host comes first.")
    );
    let error = say(&a, &["explain", "db", "--from", "queue"]);
    assert!(error.stderr.contains("\"queue\" is on host-b, and asks the callsign there"), "{}", error.stderr);
    let text = metrics(&here);
    for line in [
        "callsign_store_up 1",
        "callsign_store_claimed 1",
        "callsign_store_hosts{state=\"live\"} 1",
        "callsign_store_hosts{state=\"lost\"} 0",
        "callsign_store_remote_endpoints 1",
        "callsign_store_published_endpoints 1",
    ] {
        assert!(text.lines().any(|each| each == line || each.starts_with(&format!("{line}."))), "{line} in {text}");
    }

    // host-b is lost.
    b.signal(Signal::SIGKILL);
    wait_or(TTL + DEADLINE, || state_of(&a, "host-b") == "lost", || say(&a, &["hosts"]).stdout);
    let explained: Explained = json(&a, &["explain", "queue", "--from", "web"]);
    assert_eq!(explained.result, "unreachable");
    assert_eq!(explained.conclusion, "web gets no address for queue: its host host-b is not reachable.");
    assert!(explained.cause.unwrap().starts_with("queue on network shop was on host-b, learned "));
    assert_eq!(explained.technical.rule, "N8b");
    assert!(say(&a, &["names"]).stdout.contains("queue on host-b (unreachable)"));

    // etcd is away.
    cluster.kill(0);
    let problems = || status_of(&a).problems;
    let is_told =
        |problems: Vec<String>| problems.iter().any(|problem| problem.starts_with("etcd does not answer since "));
    wait_or(Duration::from_secs(30), || is_told(problems()), || format!("{:?}", problems()));
    assert!(metrics(&here).lines().any(|line| line.starts_with("callsign_store_up 0")));
    assert!(Path::new(&a.control()).exists());
}

#[test]
fn a_server_that_shares_nothing_says_so() {
    let program = Program::with("[server]\nport = 53").start();
    let said = say(&program, &["hosts"]);
    assert_eq!(said.status.code(), Some(1));
    assert_eq!(said.stdout, "this server shares names with no other host: its configuration has no [store]\n");
    let hosts: Hosts = json(&program, &["hosts"]);
    assert_eq!((hosts.store, hosts.hosts.len()), (None, 0));
    assert_eq!(status_of(&program).store, None);
}
