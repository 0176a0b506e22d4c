//! The commands, each against a program that runs.

use std::fs;
use std::time::Instant;

use nix::sys::signal::Signal;

use super::support::process::Source;
use super::*;

#[track_caller]
fn succeeds(program: &Program, words: &str) -> String {
    let (code, finished) = command(program, words);
    assert_eq!(code, Some(0), "{finished:?}");
    finished.stdout
}

#[track_caller]
fn json(program: &Program, words: &str) -> Value {
    let (_, finished) = command(program, &format!("{words} --json"));
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

#[test]
fn status_says_what_runs_and_exits_with_1_if_something_is_wrong() {
    let (program, port) = started("");
    let well = succeeds(&program, "status");
    assert!(well.starts_with(concat!("callsign ", env!("CARGO_PKG_VERSION"), ", all is well\n")), "{well}");
    for part in [
        &*format!("source   file {}", program.config_path().display()),
        &*format!("shop     127.0.0.1:{port}"),
        "3 (1 stopped)",
        "(0 a second)",
    ] {
        assert!(well.contains(part), "{part:?} in {well}");
    }
    // Its upstream does not answer.
    addresses(port, "www.example");
    let (code, wrong) = command(&program, "status");
    assert_eq!(code, Some(1), "{wrong:?}");
    assert!(wrong.stdout.contains("! upstream 127.0.0.66:1 does not answer"), "{wrong:?}");
    let status = json(&program, "status blog");
    assert_eq!((&status["api"], &status["silent"]), (&1.into(), &Value::Array(Vec::new())));
    let status = &status["servers"][0];
    assert_eq!(status["socket"], program.control().to_str().unwrap());
    assert_eq!(status["networks"].as_array().unwrap().len(), 1);
    assert_eq!((&status["api"], &status["queries"]), (&1.into(), &1.into()));
    let (code, none) = command(&program, "status shpo");
    assert_eq!((code, &*none.stderr), (Some(1), "callsign: there is no network \"shpo\"; there is blog, shop\n"));
}

#[test]
fn a_failed_reload_is_told_and_stays_told() {
    let (program, port) = started("");
    let mark = program.mark();
    program.write_config("[server]\nprot = 53\n");
    program.wait_after(mark, Source::Stderr, "not reloaded");
    let (code, status) = command(&program, "status");
    assert_eq!(code, Some(1));
    assert!(status.stdout.contains("callsign.toml:2: unknown key `prot`; did you mean `port`?"), "{status:?}");
    let (code, reload) = command(&program, "reload");
    assert_eq!(code, Some(1));
    assert!(reload.stderr.contains("callsign.toml:2: unknown key `prot`"), "{reload:?}");
    assert!(reload.stderr.contains("everything stays as it is"), "{reload:?}");
    assert_eq!(addresses(port, "db"), ["10.10.1.3"]);
    let failed = json(&program, "reload");
    assert!(failed["errors"][0].as_str().unwrap().contains("unknown key"), "{failed}");
    program.reload_by_change(&config(port, ""));
    assert!(succeeds(&program, "status").contains("all is well"));
}

#[test]
fn reload_waits_and_says_what_changed() {
    let (program, port) = started("");
    assert_eq!(succeeds(&program, "reload"), "reloaded: nothing changed\n");
    let changed = config(port, "").replace("10.10.1.3", "10.10.1.33").replace("\"blog\"", "\"news\"");
    // Read because it changed, before anybody orders it.
    program.reload_by_change(&changed);
    let said = succeeds(&program, "reload");
    assert!(said.starts_with("already in force since 20"), "{said}");
    let changes = " UTC (the file was read when it changed): news added; shop changed; blog removed\n";
    assert!(said.ends_with(changes), "{said}");
    assert_eq!(succeeds(&program, "reload"), "reloaded: nothing changed\n", "it was told");
    // Whoever comes first, the command or the watcher: what changed is said.
    fs::write(program.config_path(), config(port, "")).unwrap();
    let said = succeeds(&program, "reload");
    let by_command = said == "added: blog\nchanged: shop\nremoved: news\n";
    assert!(by_command || said.ends_with(": blog added; shop changed; news removed\n"), "{said}");
    assert_eq!(addresses(port, "db"), ["10.10.1.3"]);
}

#[test]
fn a_change_of_operation_is_one_and_what_cannot_be_put_into_force_is_wrong() {
    let (program, port) = started("");
    let taken = std::net::TcpListener::bind((LOCAL, 0)).unwrap();
    let missing = program.directory().join("none/queries.log");
    let more = format!(
        "[metrics]\nlisten = \"{}\"\n[log]\nqueries = \"all\"\nfile = \"{}\"\n",
        taken.local_addr().unwrap(),
        missing.display()
    );
    program.reload_by_change(&config(port, &more));
    let (code, reload) = command(&program, "reload");
    assert_eq!(code, Some(1), "{reload:?}");
    assert!(reload.stdout.ends_with("): log, metrics changed\n"), "{reload:?}");
    let (code, status) = command(&program, "status");
    assert_eq!(code, Some(1), "{status:?}");
    for wrong in ["! metrics are not served at 127.0.0.1:", "! queries are not logged: "] {
        assert!(status.stdout.contains(wrong), "{wrong:?} in {status:?}");
    }
    assert!(reload.stderr.contains("queries are not logged"), "{reload:?}");
    // The address comes free, and the directory comes into being: neither needs a restart.
    let address = taken.local_addr().unwrap();
    drop(taken);
    fs::create_dir(missing.parent().unwrap()).unwrap();
    let deadline = Instant::now() + DEADLINE;
    while std::net::TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "{program:?}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(super::hostile::scraped(address, "/health").0, 200);
    assert_eq!(succeeds(&program, "reload"), "reloaded: nothing changed\n");
    assert!(succeeds(&program, "status").contains("all is well"));
}

#[test]
fn check_warns_of_a_group_and_a_token_that_are_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("callsign.toml");
    let token = directory.path().join("token");
    let more = format!(
        "[control]\ncontrol_group = \"no-such-group\"\n[metrics]\nlisten = \"127.0.0.1:9153\"\ntoken_file = \"{}\"\n",
        token.display()
    );
    fs::write(&file, config(5300, &more)).unwrap();
    let check = || run(callsign(&["check", file.to_str().unwrap()])).stderr;
    let said = check();
    assert!(said.contains("there is no group \"no-such-group\" on this machine"), "{said}");
    assert!(said.contains("`token_file` names ") && said.contains("without it there is no page"), "{said}");
    fs::write(&token, "0123456789abcdef").unwrap();
    fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert!(check().contains("everybody can read "), "{}", check());
}

#[test]
fn names_show_what_each_container_is_called_and_which_is_stopped() {
    let (program, _port) = started("");
    let names = succeeds(&program, "names shop");
    let rows: Vec<Vec<&str>> = names.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["network", "name", "answers", "container"]);
    assert!(rows.contains(&vec!["shop", "database", "10.10.1.3", "db"]), "{names}");
    assert!(rows.contains(&vec!["shop", "worker", "stopped", "worker", "(stopped)"]), "{names}");
    assert!(!names.contains("cms"), "{names}");
    assert_eq!(json(&program, "names")["networks"].as_array().unwrap().len(), 2);
}

#[test]
fn the_cache_is_shown_and_flushed() {
    let (program, port) = started("");
    assert_eq!(succeeds(&program, "cache show"), "nothing is cached\n");
    for name in ["a.example", "b.a.example", "other"] {
        addresses(port, name);
    }
    let shown = json(&program, "cache show a.example");
    assert_eq!((&shown["matching"], &shown["entries"][0]["state"]), (&1.into(), &"failed".into()), "{shown}");
    assert!(succeeds(&program, "cache show").contains("b.a.example"));
    assert_eq!(succeeds(&program, "cache flush a.example"), "1 answer flushed\n");
    assert_eq!(succeeds(&program, "cache flush --zone example"), "1 answer flushed\n");
    assert_eq!(succeeds(&program, "cache flush --all"), "1 answer flushed\n");
    let (code, _) = command(&program, "cache flush");
    assert_eq!(code, Some(2), "say what");
}

#[test]
fn names_are_added_stay_over_a_reload_and_go() {
    let (mut program, port) = started("");
    succeeds(&program, "name add Legacy-DB 192.168.1.20 fd00::20 --network shop --ttl 7");
    succeeds(&program, "name add kept 192.168.1.21 --network shop --persist");
    succeeds(&program, "name add brief 192.168.1.22 --network shop --for 1s");
    let reply = Client::new(at(port)).udp(&Query::new("legacy-db", rtype::A));
    assert_eq!(reply.answers(), ["legacy-db. 7 IN A 192.168.1.20"]);
    assert_eq!(addresses(port, "legacy-db.internal"), ["192.168.1.20"]);
    // Beside what the configuration says of the same network, whatever that becomes.
    program.reload_by_change(&config(port, "").replace("10.10.1.3", "10.10.1.33"));
    assert_eq!(
        (addresses(port, "db"), addresses(port, "legacy-db")),
        (vec!["10.10.1.33".to_owned()], vec!["192.168.1.20".to_owned()])
    );
    // The network goes and comes back.
    program.reload_by_change(&config(port, "").replace("\"shop\"", "\"mall\""));
    assert!(addresses(port, "legacy-db").is_empty());
    assert!(succeeds(&program, "name list").contains("shop (not there)"));
    program.reload_by_change(&config(port, ""));
    let deadline = Instant::now() + DEADLINE;
    while addresses(port, "legacy-db").is_empty() || !addresses(port, "brief").is_empty() {
        assert!(Instant::now() < deadline, "{}", succeeds(&program, "name list"));
    }
    assert_eq!(succeeds(&program, "name remove legacy-db"), "removed legacy-db on shop\n");
    assert!(addresses(port, "legacy-db").is_empty());
    let (code, again) = command(&program, "name remove legacy-db");
    assert!(code == Some(1) && again.stderr.contains("was not added"), "{again:?}");
    let (code, wrong) = command(&program, "name add x 10.0.0.1 --network shpo");
    assert!(code == Some(1) && wrong.stderr.contains("there is no network \"shpo\"; there is blog, shop"), "{wrong:?}");
    program.signal(Signal::SIGTERM);
    assert!(program.wait_exit(DEADLINE).success());
    assert!(!program.control().exists(), "the socket is gone with the server");
    let files = fs::read_dir(program.directory().join("state")).unwrap().flatten().map(|entry| entry.path());
    let file = files.into_iter().find(|file| file.extension().is_some_and(|suffix| suffix == "json")).unwrap();
    let kept = fs::read_to_string(&file).unwrap();
    assert!(kept.contains("\"kept\"") && !kept.contains("legacy"), "{kept}");
    // The same server again.
    let mut again = callsign(&["serve", "--config", program.config_path().to_str().unwrap()]);
    again.env("CALLSIGN_RUNTIME_DIR", program.directory()).env("STATE_DIRECTORY", program.directory().join("state"));
    let next = super::support::process::Process::spawn(again);
    next.wait_for(Source::Stderr, "control socket");
    assert_eq!(addresses(port, "kept"), ["192.168.1.21"]);
    assert!(succeeds(&program, "name list").contains("kept over a restart"));
}

#[test]
fn the_log_level_is_set_at_run_time() {
    let (program, port) = started("");
    assert_eq!(succeeds(&program, "log callsign=debug"), "the server logs callsign=debug from here on\n");
    let mark = program.mark();
    program.reload_by_change(&config(port, "").replace("127.0.0.2", "127.0.0.3"));
    program.wait_after(mark, Source::Stderr, "DEBUG");
    let (code, wrong) = command(&program, "log info,calsign=debug");
    assert!(code == Some(1) && wrong.stderr.contains("nothing called \"calsign\" writes to this log"), "{wrong:?}");
    let (code, wrong) = command(&program, "log callsign=very");
    assert!(code == Some(1) && wrong.stderr.contains("write error, warn, info, debug or trace"), "{wrong:?}");
}

#[test]
fn explain_says_first_what_then_why_then_what_to_do() {
    let (program, _port) = started("");
    for (words, lines) in [
        ("db --from web", &["web gets 10.10.1.3 for db.", "db is the container shop-db-1 on network shop."][..]),
        (
            "worker --from web",
            &[
                "web gets no address for worker: its container is stopped.",
                "worker on network shop has the name, and is not running.",
            ],
        ),
        ("db AAAA --from web", &["db has no IPv6 address, and that is all right: it has an IPv4 address."]),
        (
            "dbb.internal --from web",
            &[
                "web gets \"no such name\" for dbb.internal.",
                "No container on network shop has that name.",
                "Did you mean db?",
            ],
        ),
        (
            "cms --from web --ask",
            &[
                "web gets an error for cms: no upstream answers (127.0.0.66:1).",
                "cms is on blog only; web is not attached to it.",
            ],
        ),
        ("db --from shop-web-1 --network shop", &["web gets 10.10.1.3 for db."]),
        ("db --from 10.10.1.77", &["10.10.1.77 gets 10.10.1.3 for db."]),
        ("db --from 192.0.2.1 --network shop", &["192.0.2.1 gets no answer: it may not ask on network shop."]),
    ] {
        let text = succeeds(&program, &format!("explain {words}"));
        for (index, line) in lines.iter().enumerate() {
            assert!(text.lines().nth(index).is_some_and(|said| said.starts_with(line)), "{line:?} in {text}");
        }
        let technical = text.find("\nquestion  ").unwrap_or_else(|| panic!("technical lines in {text}"));
        assert!(text.find("decision").is_some_and(|at| at > technical), "{text}");
    }
    let (code, unknown) = command(&program, "explain db --from wbe");
    assert_eq!((code, &*unknown.stderr), (Some(1), "callsign: there is no container \"wbe\"; did you mean web?\n"));
}

#[test]
fn a_server_that_is_not_there_is_an_error_that_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none.sock");
    let finished = run(callsign(&["status", "--socket", path.to_str().unwrap()]));
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.starts_with(&format!("callsign: no server listens at {}", path.display())), "{finished:?}");
    let json = run(callsign(&["names", "--json", "--socket", path.to_str().unwrap()]));
    let document: Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(document["error"].as_str().unwrap().contains("no server listens"), "{json:?}");
}

#[test]
fn several_servers_are_found_and_named() {
    let (first, port) = started("");
    let second_port = free_port(&[LOCAL, "127.0.0.2".parse().unwrap()]);
    let directory = first.directory().to_owned();
    let directory = directory.to_str().unwrap();
    let second = Program::with(&config(second_port, "")).environment("CALLSIGN_RUNTIME_DIR", directory).start();
    let own = first.directory().join(format!("control-{}.sock", second.pid()));
    assert!(own.exists(), "the second has a socket of its own: {second:?}");
    let mut status = callsign(&["status", "--json"]);
    status.env("CALLSIGN_RUNTIME_DIR", directory);
    let found: Value = serde_json::from_str(&run(status).stdout).unwrap();
    let pids: Vec<u64> =
        found["servers"].as_array().unwrap().iter().map(|status| status["pid"].as_u64().unwrap()).collect();
    assert!(pids.contains(&first.pid().into()) && pids.contains(&second.pid().into()), "{pids:?}");
    let mut names = callsign(&["names"]);
    names.env("CALLSIGN_RUNTIME_DIR", directory);
    let names = run(names);
    assert_eq!(names.status.code(), Some(2));
    assert!(names.stderr.contains("several servers are running; name one with --socket: "), "{names:?}");
    assert!(names.stderr.contains(own.to_str().unwrap()), "{names:?}");
    assert_eq!(addresses(port, "db"), addresses(second_port, "db"));
    // One that hangs, and a socket of another program, hide no other.
    let foreign = std::os::unix::net::UnixListener::bind(first.directory().join("dnstap.sock")).unwrap();
    second.signal(Signal::SIGSTOP);
    let within = |words: &[&str]| {
        let mut command = callsign(words);
        command.env("CALLSIGN_RUNTIME_DIR", directory);
        run(command)
    };
    let status = within(&["status"]);
    second.signal(Signal::SIGCONT);
    assert_eq!(status.status.code(), Some(1));
    let path = first.directory().join("control.sock");
    assert!(status.stdout.starts_with(&format!("{}\ncallsign ", path.display())), "{status:?}");
    assert_eq!(status.stdout.matches("the server does not answer").count(), 2, "{status:?}");
    drop(second);
    let names = within(&["names", "shop"]);
    assert!(names.stdout.contains("database"), "{names:?}");
    assert!(names.stderr.contains("dnstap.sock does not answer, and is left out"), "{names:?}");
    drop(foreign);
    drop(first);
    let none = within(&["names"]);
    assert!(none.stderr.contains(&format!("has a control socket in {directory};")), "{none:?}");
}

#[test]
fn n12_and_n3_a_name_that_is_added_is_found_as_it_is_asked_for() {
    let (program, port) = started("");
    let added = succeeds(&program, "name add Bücher 10.1.1.1 10.1.1.1 --network shop");
    assert!(added.contains("xn--bcher-kva"), "{added}");
    assert_eq!(addresses(port, "xn--bcher-kva"), ["10.1.1.1"]);
    assert_eq!(addresses(port, "bücher"), ["10.1.1.1"]);
    let explained = succeeds(&program, "explain bücher --from web");
    assert!(explained.starts_with("web gets 10.1.1.1 for xn--bcher-kva."), "{explained}");
    assert_eq!(succeeds(&program, "name remove bücher"), "removed xn--bcher-kva on shop\n");
    assert!(addresses(port, "xn--bcher-kva").is_empty());
    let (code, special) = command(&program, "name add localhost 10.1.1.1 --network shop");
    assert!(code == Some(1) && special.stderr.contains("is answered by itself"), "{special:?}");
}

#[test]
fn two_servers_do_not_keep_their_names_in_one_file() {
    let (first, port) = started("");
    let state = first.directory().join("state");
    let start = |port: u16| {
        let config = config(port, &format!("[control]\nstate = \"{}\"\n", state.display()));
        Program::with(&config).start()
    };
    succeeds(&first, "name add one 10.1.1.1 --network shop --persist");
    let second_port = free_port(&[LOCAL, "127.0.0.2".parse().unwrap()]);
    let second = start(second_port);
    succeeds(&second, "name add two 10.1.1.2 --network shop --persist");
    let files = fs::read_dir(&state).unwrap().flatten();
    let kept: Vec<String> = files
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "json"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    assert!(kept.len() == 2 && kept.concat().contains("\"one\"") && kept.concat().contains("\"two\""), "{kept:?}");
    assert_eq!(addresses(port, "one"), ["10.1.1.1"]);
}
