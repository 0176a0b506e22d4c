//! docs/troubleshooting.md: what it shows is what the program says, and what is installed for Prometheus and Grafana works.

use std::fs;

use super::support::{needs, troubleshooting};
use super::*;

#[test]
fn what_troubleshooting_shows_of_a_file_is_what_explain_says() {
    let port = free_port(&[LOCAL, "127.0.0.2".parse().unwrap()]);
    // Nobody answers there.
    let config = troubleshooting::configuration().replacen("[server]", &format!("[server]\nport = {port}"), 1);
    let config = config.replace("172.18.0.1\"", "127.0.0.1\"").replace("172.19.0.1\"", "127.0.0.2\"");
    let program = Program::with(&config.replace("\"10.0.0.53\"", "\"127.0.0.66:1\"")).start();
    troubleshooting::assert_shown(troubleshooting::FILE, |words| {
        let (code, said) = command(&program, words);
        assert_eq!(code, Some(0), "{said:?}");
        said.stdout.replace("127.0.0.66:1", "10.0.0.53:53")
    });
}

#[test]
fn promtool_accepts_the_alerts_and_their_tests() {
    crate::needs!("promtool");
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/prometheus");
    for arguments in [["check", "rules", "callsign.rules.yml"], ["test", "rules", "callsign.test.yml"]] {
        let mut promtool = needs::command("promtool");
        promtool.args(arguments).current_dir(directory);
        run(promtool).expect_success();
    }
}

#[test]
fn every_query_of_the_dashboard_is_one_and_asks_for_metrics_that_there_are() {
    let dashboard: Value = serde_json::from_str(include_str!("../../contrib/grafana/callsign.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let queries = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<String> =
        queries.map(|query| query["expr"].as_str().unwrap().replace("$__rate_interval", "5m")).collect();
    let (program, port) = started("[metrics]\nlisten = \"127.0.0.1:0\"\n");
    addresses(port, "db");
    addresses(port, "www.example");
    let (_, metrics) = super::hostile::scraped(super::hostile::metrics(&program), "/metrics");
    for query in &queries {
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in words.filter(|word| word.starts_with("callsign_") || word.starts_with("process_")) {
            // A round-trip time is there once an upstream has answered.
            let is_there = metrics.contains(&format!("\n{name}")) || name == "callsign_upstream_rtt_seconds";
            assert!(is_there, "{name} of {query}");
        }
    }
    crate::needs!("promtool");
    let rules: Vec<String> = queries
        .iter()
        .enumerate()
        .map(|(number, query)| format!("  - record: q{number}\n    expr: {query:?}\n"))
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dashboard.yml");
    fs::write(&file, format!("groups:\n- name: dashboard\n  rules:\n{}", rules.concat())).unwrap();
    let mut promtool = needs::command("promtool");
    promtool.args(["check", "rules"]).arg(file);
    run(promtool).expect_success();
}
