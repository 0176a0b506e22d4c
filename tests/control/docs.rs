//! docs/troubleshooting.md: what it shows is what the program says, and what is installed for Prometheus and Grafana works.

use std::fs;

use super::support::needs;
use super::*;

#[test]
fn what_troubleshooting_shows_is_what_explain_says() {
    let text = include_str!("../../docs/troubleshooting.md");
    let block = |kind: &'static str| text.split(kind).skip(1).map(|rest| rest.split("```").next().unwrap());
    let port = free_port(&[LOCAL, "127.0.0.2".parse().unwrap()]);
    let config = block("```toml\n").next().unwrap().replacen("[server]", &format!("[server]\nport = {port}"), 1);
    let program = Program::with(&config).start();
    let mut shown = 0;
    for example in block("```shell-session\n") {
        let (line, expected) = example.split_once('\n').unwrap();
        let Some(words) = line.strip_prefix("$ callsign ").filter(|_| !expected.is_empty()) else { continue };
        let (code, said) = command(&program, words);
        assert_eq!(code, Some(0), "{said:?}");
        let (people, _) = said.stdout.split_once("\n\n").unwrap();
        assert_eq!(format!("{people}\n"), expected, "{words}");
        shown += 1;
    }
    assert_eq!(shown, 6, "the six situations");
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
