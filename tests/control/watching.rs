//! `callsign watch` and the query log: what they show of queries.

use std::fs;
use std::time::{Duration, Instant};

use super::support::process::{Process, Source};
use super::*;

/// A `callsign watch` that is on.
pub(crate) fn watch(program: &Program, words: &str) -> Process {
    let socket = program.control();
    let mut all = vec!["watch", "--json", "--socket", socket.to_str().unwrap()];
    all.extend(words.split_whitespace());
    let before = get(&socket, "/v1/status")["queries"].as_u64();
    assert!(before.is_some());
    Process::spawn(callsign(&all))
}

/// Asks until a watcher shows it: nothing else says that it is on.
pub(crate) fn first(process: &Process, port: u16, name: impl Fn(u32) -> String) -> Value {
    let deadline = Instant::now() + DEADLINE;
    for number in 0.. {
        addresses(port, &name(number));
        if let Some(line) = process.lines(Source::Stdout).first() {
            return serde_json::from_str(line).unwrap();
        }
        assert!(Instant::now() < deadline, "nothing is shown: {process:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    unreachable!("there are enough numbers")
}

#[test]
fn every_query_is_shown_with_who_what_and_why() {
    let (program, port) = started("");
    let process = watch(&program, "--name db");
    let query = first(&process, port, |_| "db".to_owned());
    assert_eq!(
        [&query["network"], &query["name"], &query["type"], &query["rcode"], &query["from"], &query["rule"]],
        ["shop", "db", "A", "NOERROR", "local", "T1"]
    );
    assert_eq!((&query["answers"][0], &query["why"]), (&"10.10.1.3".into(), &"a container's name".into()));
    let mark = process.mark();
    addresses(port, "web");
    addresses(port, "dbb.internal");
    let next = process.wait_after(mark, Source::Stdout, "dbb.internal");
    assert!(next.contains("no container that the client sees has this name"), "{next}");
    assert!(!process.lines(Source::Stdout).iter().any(|line| line.contains("\"web\"")), "{process:?}");
}

#[test]
fn only_what_failed_and_what_is_forwarded() {
    let (program, port) = started("");
    let (failed, forwarded) = (watch(&program, "--only failed"), watch(&program, "--only forwarded"));
    assert_eq!(first(&failed, port, |_| "nothere.internal".to_owned())["rcode"], "NXDOMAIN");
    // A container that is stopped is no answer either.
    let mark = failed.mark();
    addresses(port, "worker");
    failed.wait_after(mark, Source::Stdout, "\"worker\"");
    let query = first(&forwarded, port, |number| format!("www{number}.example"));
    assert_eq!((&query["from"], &query["rcode"]), (&"upstream".into(), &"SERVFAIL".into()), "{query}");
    assert!(query["why"].as_str().unwrap().contains("no upstream could answer"), "{query}");
    assert!(query["ms"].as_f64().is_some());
}

#[test]
fn what_is_logged_of_queries_is_what_is_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("queries.log");
    let log = format!("[log]\nqueries = \"failed\"\nfile = \"{}\"\n", file.display());
    let (program, port) = started(&log);
    addresses(port, "db");
    addresses(port, "nothere.internal");
    let text = wait_for(&file, "nothere.internal.");
    assert!(!text.contains(" db. "), "{text}");
    let line = text.lines().next().unwrap();
    let fields: Vec<&str> = line.split(' ').collect();
    // {time} {remote}:{port} - {id} "{type} {class} {name} {proto} {size} {do} {bufsize}" {rcode} {rflags} {rsize} {duration}
    assert_eq!((fields[2], fields[4], fields[5], fields[7]), ("-", "\"A", "IN", "udp"), "{line}");
    assert_eq!((fields[11], &fields[15..]), ("NXDOMAIN", &["shop", "local", "N5"][..]), "{line}");
    // Moved away, as logrotate does it.
    let old = directory.path().join("queries.log.1");
    fs::rename(&file, &old).unwrap();
    program.reload_by_signal();
    for number in 0..1000 {
        addresses(port, &format!("again{number}.internal"));
        if file.exists() {
            break;
        }
    }
    wait_for(&file, "again");
    // As JSON, all of them, from the next reload on.
    let other = directory.path().join("queries.json");
    let log = format!("[log]\nqueries = \"all\"\nformat = \"json\"\nfile = \"{}\"\n", other.display());
    program.reload_by_change(&config(port, &log));
    addresses(port, "db");
    let line: Value = serde_json::from_str(wait_for(&other, "\n").lines().next().unwrap()).unwrap();
    assert_eq!((&line["name"], &line["answers"][0]), (&"db".into(), &"10.10.1.3".into()));
    assert!(line.as_object().unwrap().contains_key("container"), "{line}");
}

pub(crate) fn wait_for(file: &Path, text: &str) -> String {
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let content = fs::read_to_string(file).unwrap_or_default();
        if content.contains(text) {
            return content;
        }
        assert!(std::time::Instant::now() < deadline, "no {text:?} in {content:?}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
