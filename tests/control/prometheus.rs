//! A real Prometheus that scrapes the program, with the alerts that are installed for it.

use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use super::hostile::metrics;
use super::support::needs;
use super::support::process::Process;
use super::support::upstream::{Scripted, a};
use super::*;

/// Prometheus evaluates every half second; the rest is the machine's load.
const PATIENCE: Duration = Duration::from_secs(60);

/// What Prometheus' API says; nothing while it does not listen yet.
fn api(port: u16, target: &str) -> Option<Value> {
    let stream = TcpStream::connect(at(port)).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    let (_, body) = exchange(stream, &format!("GET {target} HTTP/1.0\r\nhost: x\r\n\r\n"));
    serde_json::from_str(&body).ok()
}

#[track_caller]
fn until(what: &str, process: &Process, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "still not: {what}; {process:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_alert_fires_when_the_upstream_dies() {
    crate::needs!("prometheus");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let upstream = runtime.block_on(Scripted::start(|query| vec![query.answer(&[a([192, 0, 2, 1])])]));
    let (program, port) = {
        let port = free_port(&[LOCAL, "127.0.0.2".parse().unwrap()]);
        let config = config(port, "[metrics]\nlisten = \"127.0.0.1:0\"\n");
        (Program::with(&config.replace("127.0.0.66:1", &upstream.address().to_string())).start(), port)
    };
    assert_eq!(addresses(port, "www.example"), ["192.0.2.1"]);

    let directory = tempfile::tempdir().unwrap();
    // What has to hold for a minute has to for a second here.
    let rules = include_str!("../../contrib/prometheus/callsign.rules.yml").replace("for: 1m", "for: 1s");
    fs::write(directory.path().join("rules.yml"), rules).unwrap();
    let settings = format!(
        "global: {{ scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms }}\n\
         rule_files: [rules.yml]\n\
         scrape_configs: [{{ job_name: callsign, static_configs: [{{ targets: ['{}'] }}] }}]\n",
        metrics(&program)
    );
    let file = directory.path().join("prometheus.yml");
    fs::write(&file, settings).unwrap();
    let own = free_port(&[LOCAL]);
    let mut prometheus = Command::new(needs::path("prometheus"));
    prometheus.arg(format!("--config.file={}", file.display()));
    prometheus.arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
    prometheus.arg(format!("--web.listen-address=127.0.0.1:{own}"));
    let prometheus = Process::spawn(prometheus);

    let is_up = |value: &str| {
        let answer = api(own, "/api/v1/query?query=callsign_upstream_up").unwrap_or_default();
        answer["data"]["result"][0]["value"][1] == value
    };
    until("the upstream is seen to be up", &prometheus, || is_up("1"));
    let firing = |name: &str| {
        let alerts = api(own, "/api/v1/alerts").unwrap_or_default();
        let alerts = alerts["data"]["alerts"].as_array().cloned().unwrap_or_default();
        alerts.iter().any(|alert| alert["labels"]["alertname"] == name && alert["state"] == "firing")
    };
    assert!(!firing("CallsignUpstreamDown") && !firing("CallsignDown"));
    {
        let _runtime = runtime.enter();
        drop(upstream);
    }
    let mut number = 0;
    until("the alerts fire", &prometheus, || {
        number += 1;
        addresses(port, &format!("www{number}.example"));
        firing("CallsignUpstreamDown") && firing("CallsignNoUpstream")
    });
    // And the one of a server that is gone.
    drop(program);
    until("the server is missed", &prometheus, || firing("CallsignDown"));
}
