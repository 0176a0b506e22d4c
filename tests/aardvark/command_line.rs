//! The arguments.

use std::fs;

use serde_json::Value;

use crate::kit::{Home, SHOP, container, network};
use crate::support::process::{Finished, run};
use crate::support::program::{CALLSIGN, callsign};

fn ran(home: &Home, arguments: &[&str]) -> (Option<i32>, Finished) {
    let finished = run(home.command(arguments));
    (finished.status.code(), finished)
}

#[test]
fn version_is_one_line_with_the_name() {
    let home = Home::new();
    for option in ["--version", "-V"] {
        let (code, finished) = ran(&home, &[option]);
        assert_eq!((code, finished.stdout), (Some(0), format!("aardvark-dns {}\n", env!("CARGO_PKG_VERSION"))));
    }
}

#[test]
fn the_subcommand_version_is_pretty_json_in_its_order() {
    let (code, finished) = ran(&Home::new(), &["version"]);
    assert_eq!(code, Some(0));
    let lines: Vec<&str> = finished.stdout.lines().collect();
    let keys: Vec<&str> = lines[1..lines.len() - 1].iter().map(|line| line.split('"').nth(1).unwrap()).collect();
    assert_eq!(keys, ["version", "commit", "build_time", "target"], "{}", finished.stdout);
    assert!(lines[1].starts_with("  \""), "indented: {}", finished.stdout);
    let document: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(document["version"], env!("CARGO_PKG_VERSION"));
    let time = document["build_time"].as_str().unwrap();
    let form: String = time.chars().map(|char| if char.is_ascii_digit() { '0' } else { char }).collect();
    assert_eq!(form, "0000-00-00T00:00:00+00:00", "RFC 3339");
    assert!(document["target"].as_str().unwrap().contains("linux"));
}

#[test]
fn help_is_given_and_names_the_options() {
    let home = Home::new();
    for arguments in [&["help"][..], &["-h"], &["--help"]] {
        let (code, finished) = ran(&home, arguments);
        assert_eq!(code, Some(0));
        for word in ["--config", "--port", "--filter-search-domain", "5533", ".dns.podman", "RUST_LOG"] {
            assert!(finished.stdout.contains(word), "{word} in {}", finished.stdout);
        }
    }
}

#[test]
fn what_cannot_be_understood_ends_with_2() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let directory = home.directory();
    let directory = directory.to_str().unwrap();
    for arguments in [
        &[][..],
        &["serve"],
        &["--config", directory],
        &["--config", directory, "-p", "port", "run"],
        &["--config", directory, "-p", "65536", "run"],
        // Options stand before the subcommand.
        &["run", "--config", directory],
        &["run"],
    ] {
        let (code, finished) = ran(&home, arguments);
        assert_eq!(code, Some(2), "{arguments:?}");
        assert!(!finished.stderr.is_empty());
    }
    assert!(!home.pid_file().exists());
}

#[test]
fn the_port_is_5533_unless_said_otherwise() {
    let mut home = Home::new();
    // An address of its own: the port is the same in every run of this test.
    let gateway = format!("127.53.{}.1", std::process::id() % 250);
    home.write("shop", &network(&gateway, "10.89.0.2"));
    let directory = home.directory();
    run(home.command(&["-c", directory.to_str().unwrap(), "run"])).expect_success();
    let _daemon = home.daemon();
    home.port = 5533;
    assert_eq!(home.addresses(&gateway, "web"), ["10.89.0.2"]);
}

#[test]
fn the_search_domain_is_dns_podman_unless_said_otherwise() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    assert_eq!(home.addresses(SHOP, "web.dns.podman"), ["10.89.0.2"]);
    drop(daemon);

    let (directory, port) = (home.directory(), home.port.to_string());
    for option in ["-f", "--filter-search-domain"] {
        let words = ["-c", directory.to_str().unwrap(), "--port", &port, option, ".lan", "run"];
        run(home.command(&words)).expect_success();
        let _daemon = home.daemon();
        assert_eq!(home.addresses(SHOP, "web.lan"), ["10.89.0.2"]);
    }
}

#[test]
fn an_installed_copy_is_as_good_as_a_link() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    fs::remove_file(home.program()).unwrap();
    // Another name of the same file, or the same octets where the file systems are two.
    fs::hard_link(CALLSIGN, home.program()).or_else(|_| fs::copy(CALLSIGN, home.program()).map(drop)).unwrap();
    let _daemon = home.start();
    assert_eq!(home.addresses(SHOP, "web"), ["10.89.0.2"]);
}

#[test]
fn the_name_is_the_only_switch() {
    let finished = run(callsign(&["--help"]));
    assert!(finished.stdout.contains("explain") && !finished.stdout.contains("netavark"), "{}", finished.stdout);
    let home = Home::new().environment("AARDVARK_NO_PROXY", "1");
    let finished = run(home.command(&["--help"]));
    assert!(!finished.stdout.contains("explain") && finished.stdout.contains("netavark"), "{}", finished.stdout);
}

#[test]
fn the_command_line_stays_what_callers_look_for() {
    let home = Home::new();
    home.write("shop", &(network(SHOP, "10.89.0.2") + &container("bbb222", "10.89.0.3", "db")));
    let daemon = home.start();
    let words = fs::read_to_string(daemon.proc("cmdline")).unwrap();
    let (directory, port) = (home.directory(), home.port);
    let expected = format!("aardvark-dns --config {} -p {port} run", directory.display());
    assert!(words.trim_end_matches('\0').replace('\0', " ").ends_with(&expected), "{words:?}");
    assert_eq!(fs::read_to_string(daemon.proc("comm")).unwrap(), "aardvark-dns\n");
}
