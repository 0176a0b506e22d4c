//! Which of several upstreams an answer is from: said by `watch`, the query log and `explain`.

use super::support::process::Source;
use super::support::upstream::{Scripted, a};
use super::watching::{first, wait_for, watch};
use super::*;

/// Two upstreams, the first of which refuses everything; they end when this is dropped.
pub(crate) struct Two {
    pub(crate) refusing: SocketAddr,
    pub(crate) answering: SocketAddr,
    _upstreams: (Scripted, Scripted),
    _runtime: tokio::runtime::Runtime,
}

pub(crate) fn two() -> Two {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let refusing = runtime.block_on(Scripted::start(|query| vec![query.error(5)]));
    let answering = runtime.block_on(Scripted::start(|query| vec![query.answer(&[a([192, 0, 2, 1])])]));
    Two {
        refusing: refusing.address(),
        answering: answering.address(),
        _upstreams: (refusing, answering),
        _runtime: runtime,
    }
}

/// A program that asks them, and the port of its listeners.
pub(crate) fn started_with(upstreams: &Two, more: &str) -> (Program, u16) {
    let port = free_port(&[LOCAL, "127.0.0.2".parse().unwrap()]);
    let both = format!("\"{}\", \"{}\"", upstreams.refusing, upstreams.answering);
    (Program::with(&config(port, more).replace("\"127.0.0.66:1\"", &both)).start(), port)
}

#[test]
fn the_upstream_that_answered_is_named_among_several() {
    let upstreams = two();
    let answering = upstreams.answering.to_string();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("queries.log");
    let log = format!("[log]\nqueries = \"all\"\nfile = \"{}\"\n", file.display());
    let (program, port) = started_with(&upstreams, &log);
    let process = watch(&program, "--only forwarded");
    let query = first(&process, port, |number| format!("www{number}.example"));
    assert_eq!((&query["from"], &query["upstream"]), (&"upstream".into(), &Value::from(&*answering)), "{query}");
    assert!(wait_for(&file, ".example.").contains(&format!(" shop upstream F1 {answering}\n")));
    // What is in the cache is no upstream's any more.
    let mark = process.mark();
    addresses(port, query["name"].as_str().unwrap());
    let again: Value = serde_json::from_str(&process.wait_after(mark, Source::Stdout, "cache")).unwrap();
    assert!(again["from"] == "cache" && again["upstream"].is_null(), "{again}");
    let (code, said) = command(&program, "explain other.example --from web --ask");
    assert_eq!(code, Some(0), "{said:?}");
    let conclusion = format!("web gets 192.0.2.1 for other.example, from the upstream {answering}.\n");
    assert!(said.stdout.starts_with(&conclusion), "{said:?}");
    assert!(said.stdout.contains(&format!("\nsaid      {answering}: NOERROR after ")), "{said:?}");
}

#[test]
fn an_error_is_of_the_upstream_that_said_it() {
    let upstreams = two();
    let port = free_port(&[LOCAL, "127.0.0.2".parse().unwrap()]);
    let refusing = upstreams.refusing.to_string();
    let program = Program::with(&config(port, "").replace("127.0.0.66:1", &refusing)).start();
    let process = watch(&program, "--only failed");
    let query = first(&process, port, |number| format!("www{number}.example"));
    assert_eq!((&query["rcode"], &query["upstream"]), (&"REFUSED".into(), &Value::from(&*refusing)), "{query}");
    let (_, said) = command(&program, "explain other.example --from web --ask");
    assert!(said.stdout.contains(&format!("the upstream {refusing} cannot answer")), "{said:?}");
    assert!(said.stdout.contains(&format!("callsign lookup other.example --server {refusing}\n")), "{said:?}");
}
