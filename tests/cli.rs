//! The program as its user sees it: help, exit codes, `check` and `explain`. Nothing is listened on here.

mod support;

use std::fs;
use std::io::pipe;
use std::path::PathBuf;
use std::process::Stdio;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use support::needs;
use support::process::{Finished, run, run_with_input};
use support::program::{CALLSIGN, callsign};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/two-networks.toml");

/// Runs the program, and gives its exit code and what it wrote.
#[track_caller]
fn ran(arguments: &[&str]) -> (Option<i32>, Finished) {
    let finished = run(callsign(arguments));
    (finished.status.code(), finished)
}

/// A file of a directory that is gone after the test.
fn file(text: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("callsign.toml");
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

#[track_caller]
fn parse(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

#[test]
fn help_teaches_and_version_says_which() {
    let (code, help) = ran(&["--help"]);
    assert_eq!(code, Some(0));
    for part in ["serve", "check", "lookup", "explain", "Examples:", "Exit codes:"] {
        assert!(help.stdout.contains(part), "{part} in {}", help.stdout);
    }
    for command in ["serve", "check", "lookup", "explain"] {
        let (code, help) = ran(&[command, "--help"]);
        assert_eq!(code, Some(0));
        assert!(help.stdout.contains("Examples:"), "{}", help.stdout);
        assert!(help.stdout.contains(&format!("  callsign {command} ")), "{}", help.stdout);
    }
    let (code, version) = ran(&["--version"]);
    assert_eq!((code, &*version.stdout), (Some(0), concat!("callsign ", env!("CARGO_PKG_VERSION"), "\n")));
}

#[test]
fn what_cannot_be_understood_ends_with_2() {
    for arguments in [
        &[][..],
        &["dance"],
        &["serve", "--port", "53"],
        &["serve", "--log-format", "xml"],
        &["lookup"],
        &["lookup", "a..b"],
        &["lookup", "db", "NOTYPE"],
        &["lookup", "db", "--server", "10.0.0.300"],
        &["explain", "db"],
        &["explain", "db", "--from", "shop"],
        &["explain", "db", "--from", "10.10.1.2", "--network", "none", "--config", EXAMPLE],
        &["explain", "db", "--from", "192.0.2.1", "--config", EXAMPLE],
    ] {
        let (code, finished) = ran(arguments);
        assert_eq!((code, &*finished.stdout), (Some(2), ""), "{finished:?}");
        assert!(!finished.stderr.is_empty(), "{arguments:?}");
    }
    let (code, finished) = ran(&["serve", "--log-level", "loud=very", "--config", EXAMPLE]);
    assert_eq!(code, Some(2));
    assert!(finished.stderr.contains("write error, warn, info, debug or trace"), "{}", finished.stderr);
}

#[test]
fn check_shows_what_would_be_answered() {
    let (code, checked) = ran(&["check", EXAMPLE]);
    assert_eq!((code, &*checked.stderr), (Some(0), ""));
    let lines: Vec<&str> = checked.stdout.lines().map(str::trim_end).collect();
    assert_eq!(lines[0], format!("{EXAMPLE} is valid: 2 networks, 9 endpoints, 1 route"));
    for line in [
        "network shop",
        "  listens     127.0.0.1:5300",
        "  subnets     10.10.1.0/24, fd00:10:1::/64",
        "  domains     internal",
        "  host names  host.docker.internal, gateway.docker.internal, host.containers.internal",
        "  policies    ttl 0, negative_ttl 0, clients listener, merge nearest, ptr canonical, health prefer",
        "    api            10.10.1.2, fd00:10:1::2",
        "    payments       alias of payments.dev.example.com",
        "    web            10.10.1.4, 10.10.1.5",
        "    worker         not running",
        "network blog",
        "    db          10.10.2.3",
        "  corp.example  10.0.0.53:53",
        "  the rest      /etc/resolv.conf",
    ] {
        assert!(lines.contains(&line), "{line:?} in {}", checked.stdout);
    }
}

#[test]
fn check_shows_what_is_said_beside_podmans_files() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/podman.toml");
    let (code, checked) = ran(&["check", "--podman", example]);
    assert_eq!((code, &*checked.stderr), (Some(0), ""));
    let expected = format!(
        "{example} is valid: 2 routes

settings of every network
  domains     dns.podman
  host names  host.docker.internal, gateway.docker.internal, host.containers.internal
  policies    ttl 0, negative_ttl 5, clients table, merge all, ptr all, health prefer

settings of network shop
  subnets     10.89.0.0/24
  domains     dns.podman, shop.internal
  host names  host.docker.internal, gateway.docker.internal, host.containers.internal
  upstreams   10.0.0.53:53
  policies    ttl 0, negative_ttl 5, clients table, merge all, ptr all, health prefer
    _ldap._tcp.directory  SRV
    payments              alias of payments.dev.example.com

forwarded
  corp.example  10.0.0.53:53, 10.0.1.53:53
  ads.example   nowhere: blocked
  the rest      /etc/resolv.conf
"
    );
    assert_eq!(checked.stdout, expected);
    let (_, checked) = ran(&["check", "--podman", "--json", example]);
    let document = parse(&checked);
    assert_eq!(document["networks"][1]["policies"]["negative_ttl"], json!(5));
    assert_eq!(document["networks"][1]["names"][1]["alias"], json!("payments.dev.example.com"));
}

/// In the place of /etc is a directory of the test's own.
#[test]
fn check_says_that_there_are_no_settings_beside_podmans_files() {
    needs_root!("unshare", "mount");
    let directory = tempfile::tempdir().unwrap();
    let mount = format!("mount --bind {} /etc && exec \"$0\" \"$@\"", directory.path().display());
    let check = |arguments: &[&str]| {
        let mut command = needs::command("unshare");
        command.args(["--mount", "sh", "-c", &mount]).args([CALLSIGN, "check", "--podman"]).args(arguments);
        run(command)
    };
    let checked = check(&[]).expect_success();
    assert!(checked.stdout.starts_with("no file at /etc/callsign/podman.toml: the defaults hold\n"), "{checked:?}");
    let document = parse(&check(&["--json"]).expect_success());
    assert_eq!((&document["file"], &document["valid"]), (&Value::Null, &json!(true)));

    let named = check(&["/etc/other.toml"]);
    assert_eq!(named.status.code(), Some(1));
    assert!(named.stderr.starts_with("/etc/other.toml: cannot be read: "), "{named:?}");

    fs::create_dir(directory.path().join("callsign")).unwrap();
    fs::write(directory.path().join("callsign/podman.toml"), "[server]\nprot = 53\n").unwrap();
    assert!(check(&[]).stderr.starts_with("/etc/callsign/podman.toml:2: unknown key `prot`"));
}

#[test]
fn check_writes_json() {
    let (code, checked) = ran(&["check", EXAMPLE, "--json"]);
    let document = parse(&checked);
    assert_eq!((code, &document["valid"], &document["warnings"]), (Some(0), &json!(true), &json!([])));
    assert_eq!(document["routes"], json!([{ "domain": "corp.example", "to": ["10.0.0.53:53"] }]));
    let names = document["networks"][0]["names"].as_array().unwrap();
    let name = |wanted: &str| names.iter().find(|name| name["name"] == wanted).unwrap();
    assert_eq!(*name("db"), json!({ "name": "db", "addresses": ["10.10.1.3"], "running": true }));
    assert_eq!(name("payments")["alias"], "payments.dev.example.com");
    assert_eq!(name("worker")["running"], false);
}

#[test]
fn check_tells_every_mistake_and_ends_with_1() {
    let (_directory, path) = file("[server]\nprot = 53\n[[network]]\nname = \"a\"\nlisten = [\"x\"]\n");
    let (code, checked) = ran(&["check", &path]);
    assert_eq!((code, &*checked.stdout), (Some(1), ""));
    let expected = format!(
        "{path}:2: unknown key `prot`; did you mean `port`?\n\
         {path}:5: \"x\" is not an address; write 172.18.0.1, 172.18.0.1:53, fd00::1 or [fd00::1%eth0]:53\n"
    );
    assert_eq!(checked.stderr, expected);

    let (code, checked) = ran(&["check", &path, "--json"]);
    let document = parse(&checked);
    assert_eq!((code, &document["valid"], &document["errors"][0]["line"]), (Some(1), &json!(false), &json!(2)));

    let (code, checked) = ran(&["check", "/nonexistent/callsign.toml"]);
    assert_eq!(code, Some(1));
    assert!(checked.stderr.starts_with("/nonexistent/callsign.toml: cannot be read: "), "{}", checked.stderr);
}

#[test]
fn check_says_what_is_no_file_and_waits_for_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("callsign.toml");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let file = path.to_str().unwrap();
    for (arguments, path, why) in [
        (&["check", file][..], file, "it is a FIFO, not a file"),
        (&["check", "--podman", file], file, "it is a FIFO, not a file"),
        (&["check", "/dev/zero"], "/dev/zero", "it is a device, not a file"),
        (&["check", "/etc"], "/etc", "it is a directory, not a file"),
        (&["explain", "db", "--from", "10.0.0.2", "--config", file], file, "it is a FIFO, not a file"),
        (&["serve", "--config", file], file, "it is a FIFO, not a file"),
    ] {
        let (code, checked) = ran(arguments);
        let expected = format!("{path}: cannot be read: {why}");
        assert!(code == Some(1) && checked.stderr.contains(&expected), "{checked:?}");
    }
}

#[test]
fn a_pipe_of_the_callers_is_read_to_its_end() {
    let checked =
        run_with_input(callsign(&["check", "/dev/stdin"]), "[[network]]\nname = \"a\"\nlisten = [\"10.0.0.1\"]\n");
    assert!(checked.stdout.starts_with("/dev/stdin is valid: 1 network"), "{checked:?}");
    let checked = run_with_input(callsign(&["check", "--podman", "/dev/fd/0"]), "[server]\nprot = 53\n");
    assert!(checked.stderr.starts_with("/dev/fd/0:2: unknown key `prot`"), "{checked:?}");
}

#[test]
fn check_warns_and_is_content() {
    let (_directory, path) = file("[[network]]\nname = \"a\"\n");
    let (code, checked) = ran(&["check", &path]);
    assert_eq!(code, Some(0));
    let warning = "nobody can ask this network, as it listens nowhere; write listen = [\"172.18.0.1\"], or [docker] if it adds to \
                   a network of Docker's (a warning)";
    assert_eq!(checked.stderr, format!("{path}:1: {warning}\n"));
}

#[test]
fn nobody_reads_and_that_is_no_error() {
    for arguments in [&["check", EXAMPLE][..], &["check", EXAMPLE, "--json"], &["--help"]] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut command = callsign(arguments);
        command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    }
}

/// What `explain` says of the example.
#[track_caller]
fn explained(arguments: &str) -> String {
    let words: Vec<&str> = arguments.split(' ').collect();
    let (code, finished) = ran(&[&["explain", "--config", EXAMPLE][..], &words].concat());
    assert_eq!((code, &*finished.stderr), (Some(0), ""), "{finished:?}");
    finished.stdout
}

#[test]
fn explain_says_why() {
    assert_eq!(
        explained("db --from 10.10.1.2"),
        "question  db A\n\
         listener  127.0.0.1:5300 of network shop\n\
         client    10.10.1.2 is endpoint shop-api-1\n\
         searched  shop: db, matched as it stands: shop-db-1\n\
         decision  NOERROR, 1 answer (rule T1)\n\
         answer    db  0  IN  A  10.10.1.3\n"
    );
    let stranger = explained("db --from 10.10.2.77");
    assert!(stranger.contains("listener  127.0.0.2:5300 of network blog\n"), "{stranger}");
    assert!(stranger.contains("is no endpoint of this network"), "{stranger}");
    assert!(stranger.contains("answer    db  0  IN  A  10.10.2.3\n"), "{stranger}");
    // On both networks: at the listener of one, the names of the other are there too.
    let both = explained("cms --from 10.10.1.6");
    assert!(
        both.contains("searched  shop: nothing\nsearched  blog: cms, matched as it stands: blog-cms-1\n"),
        "{both}"
    );
    let service = explained("_http._tcp.api SRV --from 10.10.1.2");
    assert!(service.contains("besides   shop-api-1.internal  0  IN  A  10.10.1.2\n"), "{service}");
    let reverse = explained("10.10.1.3 --from 10.10.1.2");
    assert!(reverse.contains("answer    3.1.10.10.in-addr.arpa  0  IN  PTR  db.internal\n"), "{reverse}");
    let stopped = explained("worker --from 10.10.1.2");
    assert!(stopped.contains("error     0 (Other): worker is not running\n"), "{stopped}");
    // V4: the host may ask, others may not.
    let host = explained("db --from 127.0.0.1 --network shop");
    assert!(host.contains("decision  NOERROR, 1 answer (rule T1)\n"), "{host}");
    let forbidden = explained("db --from 192.0.2.1 --network shop");
    assert!(forbidden.contains("decision  REFUSED (rule V4)\n"), "{forbidden}");
}

#[test]
fn explain_says_where_a_question_would_go() {
    let routed = explained("www.corp.example --from 10.10.1.2");
    assert!(routed.contains("decision  forwarded (rule F1)\nupstream  route corp.example: 10.0.0.53:53\n"), "{routed}");
    let alias = explained("payments --from 10.10.1.2");
    assert!(alias.contains("decision  forwarded as payments.dev.example.com (rule F1)\n"), "{alias}");
    assert!(alias.contains("upstream  /etc/resolv.conf: "), "{alias}");

    let (_directory, path) = file(
        "[server]\nupstreams = [\"10.0.0.53\"]\n[[network]]\nname = \"a\"\nlisten = [\"10.0.0.53\", \"10.0.0.54\"]\n\
         subnets = [\"10.0.0.0/8\"]\n[[forward]]\ndomain = \"ads.example\"\nto = []\n",
    );
    let blocked = ran(&["explain", "x.ads.example", "--from", "10.1.1.1", "--config", &path]).1.stdout;
    assert!(blocked.contains("decision  NXDOMAIN: a route blocks it"), "{blocked}");
    // F4: never to ourselves.
    let own = ran(&["explain", "www.example", "--from", "10.1.1.1", "--config", &path]).1.stdout;
    assert!(own.contains("upstream  default upstreams: no upstream\n"), "{own}");
}

#[test]
fn explain_writes_json() {
    let document: Value = serde_json::from_str(&explained("db --from 10.10.1.2 --json")).unwrap();
    assert_eq!(document["client"], json!({ "address": "10.10.1.2", "is": "endpoint", "endpoint": "shop-api-1" }));
    assert_eq!((&document["network"], &document["rule"]), (&json!("shop"), &json!("T1")));
    assert_eq!(document["searched"][0]["found"], "name");
    assert_eq!(document["reply"]["answers"][0]["data"], "10.10.1.3");
    let document: Value = serde_json::from_str(&explained("www.corp.example --from 10.10.1.2 --json")).unwrap();
    let expected = json!({ "name": "www.corp.example", "by": "route corp.example", "servers": ["10.0.0.53:53"] });
    assert_eq!((&document["forward"], &document["reply"]), (&expected, &Value::Null));
}

#[test]
fn explain_asks_for_the_network_where_it_cannot_know() {
    let (_, none) = ran(&["explain", "db", "--from", "192.0.2.1", "--config", EXAMPLE]);
    let says = format!(
        "callsign: 192.0.2.1 is on no network of {EXAMPLE}; name the one that it asks with --network: blog, shop\n"
    );
    assert_eq!(none.stderr, says);
    let (_directory, path) = file(
        "[[network]]\nname = \"a\"\nlisten = [\"10.0.0.1\"]\nsubnets = [\"10.0.0.0/8\"]\n\
         [[network]]\nname = \"b\"\nlisten = [\"10.0.0.2\"]\nsubnets = [\"10.0.0.0/16\"]\n",
    );
    let (code, several) = ran(&["explain", "db", "--from", "10.0.0.9", "--config", &path]);
    assert_eq!(code, Some(2));
    assert!(several.stderr.contains("is on several networks; name the one that it asks with --network: a, b"));
    let (code, _) = ran(&["explain", "db", "--from", "10.0.0.9", "--network", "b", "--config", &path]);
    assert_eq!(code, Some(0));
}
