//! The program as its user sees it: help, exit codes, `check` and `explain`. Nothing is listened on here.

mod support;

use std::fs;
use std::io::{Write, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
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
    let (code, help) = ran(&["help"]);
    assert_eq!((code, &help.stdout), (Some(0), &ran(&["--help"]).1.stdout));
    let (code, help) = ran(&["help", "check"]);
    assert_eq!((code, &help.stdout), (Some(0), &ran(&["check", "--help"]).1.stdout));
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
        &["lookup", "db", "@10.0.0.300"],
        &["lookup", "db", "@10.0.0.1", "@10.0.0.2"],
        &["lookup", "db", "@10.0.0.1", "--server", "10.0.0.2"],
        &["lookup", "@10.0.0.1"],
        &["lookup", "db", "A", "AAAA"],
        &["lookup", "-x", "db"],
        &["lookup", "-x", "10.0.0.1", "db"],
        &["serve", "a.toml", "--config", "b.toml"],
        &["explain", "db"],
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
    // A Podman of the test's own, which has the network.
    let podman = tempfile::tempdir().unwrap();
    let (conf, networks) = (podman.path().join("containers.conf"), podman.path().join("networks"));
    fs::write(&conf, format!("[network]\nnetwork_config_dir = {:?}\n", networks.display().to_string())).unwrap();
    fs::create_dir(&networks).unwrap();
    fs::write(networks.join("shop.json"), "{}").unwrap();
    let ran = |arguments: &[&str]| {
        let mut command = callsign(arguments);
        command.env("CONTAINERS_CONF", &conf);
        let finished = run(command);
        (finished.status.code(), finished)
    };
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
    // Podman has made none, and then no directory for them either.
    fs::remove_dir_all(&networks).unwrap();
    let (code, checked) = ran(&["check", "--podman", "--strict", "-q", example]);
    assert_eq!(code, Some(1));
    assert!(checked.stderr.contains("Podman has no network \"shop\"; `podman network ls` shows all"), "{checked:?}");
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
        let failed = if arguments[0] == "serve" { 78 } else { 1 };
        assert!(code == Some(failed) && checked.stderr.contains(&expected), "{checked:?}");
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
                   a network of Docker's";
    assert_eq!(checked.stderr, format!("{path}:1: {warning} (a warning)\n"));
    assert!(checked.stdout.contains("is valid"));

    // `--strict` fails on warnings, `--quiet` writes nothing else, in each kind of output.
    for (arguments, code, is_shown) in
        [(&["--strict"][..], 1, true), (&["--quiet"], 0, false), (&["-q", "--strict"], 1, false)]
    {
        let (ended, checked) = ran(&[&["check", &path][..], arguments].concat());
        assert_eq!((ended, !checked.stdout.is_empty()), (Some(code), is_shown), "{checked:?}");
        assert_eq!(checked.stderr, format!("{path}:1: {warning} (a warning)\n"));
        let (ended, checked) = ran(&[&["check", "--json", &path][..], arguments].concat());
        let document = parse(&checked);
        assert_eq!((ended, &document["valid"]), (Some(code), &json!(true)));
        assert_eq!(document["warnings"], json!([{ "line": 1, "message": warning }]));
        assert_eq!(document["networks"].is_array(), is_shown);
    }
    let (code, checked) = ran(&["check", "--strict", "--quiet", EXAMPLE]);
    assert_eq!((code, &*checked.stdout, &*checked.stderr), (Some(0), "", ""));
}

/// What a file names and the machine lacks.
#[test]
fn check_looks_for_the_files_that_are_named() {
    let (_directory, path) = file("[server]\nresolv_conf = \"/nonexistent/resolv.conf\"\n");
    let (code, checked) = ran(&["check", "-q", &path]);
    assert_eq!(code, Some(0));
    assert!(checked.stderr.starts_with(&format!("{path}:2: /nonexistent/resolv.conf cannot be read: ")), "{checked:?}");
    let (_directory, path) = file("[server]\nupstreams = [\"tls://10.0.0.53?ca=/nonexistent/ca.pem\"]\n");
    let (code, checked) = ran(&["check", &path]);
    assert_eq!((code, &*checked.stdout), (Some(1), ""));
    assert!(
        checked.stderr.starts_with(&format!("{path}:2: the CA file /nonexistent/ca.pem cannot be read: ")),
        "{checked:?}"
    );
    let (code, checked) = ran(&["check", "--podman", "--json", &path]);
    assert_eq!((code, &parse(&checked)["errors"][0]["line"]), (Some(1), &json!(2)));
}

/// A mistake elsewhere in the file hides nothing of it.
#[test]
fn check_looks_at_the_machine_also_where_the_file_has_a_mistake() {
    let text = "[server]\nresolv_conf = \"/nonexistent/resolv.conf\"\nprot = 53\n\
                [[forward]]\ndomain = \"corp.example\"\nto = [\"tls://10.0.0.53?ca=/nonexistent/ca.pem\"]\n";
    let (_directory, path) = file(text);
    for kind in [&[][..], &["--podman"]] {
        let (code, checked) = ran(&[&["check", &path][..], kind].concat());
        let says = [
            "3: unknown key `prot`",
            "6: the CA file /nonexistent/ca.pem cannot",
            "2: /nonexistent/resolv.conf cannot",
        ];
        let lines: Vec<&str> = checked.stderr.lines().collect();
        assert_eq!((code, lines.len()), (Some(1), 3), "{checked:?}");
        for (line, says) in lines.iter().zip(says) {
            assert!(line.starts_with(&format!("{path}:{says}")), "{line}");
        }
    }
}

#[test]
fn check_takes_the_file_in_every_way() {
    let valid = "[[network]]\nname = \"a\"\nlisten = [\"10.0.0.1\"]\n";
    let (_directory, path) = file(valid);
    let shown = ran(&["check", &path]).1.stdout;
    assert!(shown.starts_with(&format!("{path} is valid: 1 network")));
    for arguments in [&["check", "-c", &path][..], &["check", "--config", &path]] {
        assert_eq!(ran(arguments).1.stdout, shown);
    }
    let checked = run_with_input(callsign(&["check", "-"]), valid);
    assert!(checked.stdout.starts_with("/dev/stdin is valid: 1 network"), "{checked:?}");
    let checked = run_with_input(callsign(&["check", "-c", "-", "--podman"]), "[server]\nprot = 53\n");
    assert_eq!((checked.status.code(), checked.stderr.starts_with("/dev/stdin:2: unknown key")), (Some(1), true));
    let explained =
        run_with_input(callsign(&["explain", "db", "--from", "10.0.0.2", "--network", "a", "-c", "-"]), valid);
    assert!(explained.stdout.contains("of network a"), "{explained:?}");
    // Standard input of a program that sshd starts is a socket, which has no path.
    let (ours, theirs) = UnixStream::pair().unwrap();
    (&ours).write_all(valid.as_bytes()).unwrap();
    drop(ours);
    let output = callsign(&["check", "-"]).stdin(OwnedFd::from(theirs)).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// In the place of /etc is a directory of the test's own.
#[test]
fn check_knows_the_networks_of_podman() {
    needs_root!("unshare", "mount");
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("containers/networks")).unwrap();
    fs::create_dir_all(directory.path().join("callsign")).unwrap();
    fs::write(directory.path().join("containers/networks/shop.json"), "{}").unwrap();
    let networks = ["shop", "podman", "*", "shpo", "other"].map(|name| format!("[[network]]\nname = \"{name}\"\n"));
    fs::write(directory.path().join("callsign/podman.toml"), networks.concat()).unwrap();
    let mount = format!("mount --bind {} /etc && exec \"$0\" check --podman -q \"$@\"", directory.path().display());
    let check = |arguments: &[&str]| {
        let mut command = needs::command("unshare");
        command.args(["--mount", "sh", "-c", &mount, CALLSIGN]).args(arguments);
        run(command)
    };
    let checked = check(&[]).expect_success();
    let told: Vec<&str> =
        checked.stderr.lines().map(|line| line.strip_prefix("/etc/callsign/podman.toml:").unwrap()).collect();
    assert_eq!(
        told,
        [
            "8: Podman has no network \"shpo\"; did you mean \"shop\"? (a warning)",
            "10: Podman has no network \"other\"; `podman network ls` shows all (a warning)",
        ]
    );
    assert_eq!(check(&["--strict"]).status.code(), Some(1));
    // Where Podman keeps none, which there are is not known.
    fs::remove_dir_all(directory.path().join("containers")).unwrap();
    assert_eq!(check(&[]).expect_success().stderr, "");
}

#[test]
fn failures_are_json_too() {
    let (_directory, path) = file("[server]\nprot = 53\n");
    let from = ["--from", "192.0.2.1", "--json", "--config"];
    let explain = |path: &str| ran(&[&["explain", "db"][..], &from, &[path]].concat());
    let (code, explained) = explain(&path);
    let expected = json!([{ "line": 2, "message": "unknown key `prot`; did you mean `port`?" }]);
    assert_eq!((code, &parse(&explained)["errors"], &*explained.stderr), (Some(1), &expected, ""));
    let (code, explained) = explain("/nonexistent");
    assert_eq!((code, &parse(&explained)["valid"]), (Some(1), &json!(false)));
    let (code, explained) = explain(EXAMPLE);
    assert_eq!((code, &*explained.stderr), (Some(2), ""));
    assert!(parse(&explained)["error"].as_str().unwrap().contains(": 192.0.2.1 is on no network; "), "{explained:?}");
    for arguments in [&["lookup", "a..b", "--json"][..], &["lookup", "--json"], &["explain", "db", "--json"]] {
        let (code, failed) = ran(arguments);
        assert_eq!((code, parse(&failed)["error"].is_string(), &*failed.stderr), (Some(2), true, ""), "{arguments:?}");
    }
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
        "api gets 10.10.1.3 for db.\n\
         db is the container shop-db-1 on network shop.\n\
         \n\
         question  db A\n\
         listener  127.0.0.1:5300 of network shop\n\
         client    10.10.1.2 is endpoint shop-api-1\n\
         searched  shop: db, matched as it stands: shop-db-1\n\
         decision  NOERROR, 1 answer (rule T1)\n\
         answer    db  0  IN  A  10.10.1.3\n"
    );
    // In A-labels, as programs ask (answers.md N12).
    let international = explained("BÜRO.internal --from 10.10.1.2");
    assert!(international.contains("\nquestion  xn--bro-hoa.internal A\n"), "{international}");
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
    let client = json!({ "address": "10.10.1.2", "container": "api", "id": "shop-api-1", "networks": ["shop"] });
    assert_eq!((&document["api"], &document["client"], &document["result"]), (&json!(1), &client, &json!("answered")));
    let technical = &document["technical"];
    assert_eq!((&technical["network"], &technical["rule"]), (&json!("shop"), &json!("T1")));
    assert_eq!(technical["searched"][0]["found"], "name");
    assert_eq!(technical["answers"], json!(["db  0  IN  A  10.10.1.3"]));
    let document: Value = serde_json::from_str(&explained("www.corp.example --from 10.10.1.2 --json")).unwrap();
    let expected = json!({ "name": "www.corp.example", "by": "route corp.example", "servers": ["10.0.0.53:53"] });
    assert_eq!((&document["technical"]["forward"], &document["result"]), (&expected, &json!("forwarded")));
}

#[test]
fn explain_asks_for_the_network_where_it_cannot_know() {
    let (_, none) = ran(&["explain", "db", "--from", "192.0.2.1", "--config", EXAMPLE]);
    let says = format!(
        "callsign: {EXAMPLE}: 192.0.2.1 is on no network; name the one that it asks with --network: blog, shop\n"
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
