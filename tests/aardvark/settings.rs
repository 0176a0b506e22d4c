//! What is said beside the files: podman.toml.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::kit::{Home, SHOP, container, network, until};
use crate::needs_root;

#[test]
fn settings_of_networks_hold_and_are_read_again_with_each_signal() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    // No file at all: the defaults.
    let daemon = home.start();
    let ttl = || home.ask(SHOP, "web").answers().concat();
    assert_eq!(ttl(), "web. 0 IN A 10.89.0.2");

    home.configure("[[network]]\nname = \"*\"\nttl = 60\n[[network.record]]\nname = \"note\"\ntype = \"A\"\nvalue = \"10.0.0.9\"\n");
    daemon.hang_up();
    until("the settings are read", || ttl() == "web. 60 IN A 10.89.0.2");
    assert_eq!(home.addresses(SHOP, "note"), ["10.0.0.9"]);

    // With a mistake: what held before holds.
    home.configure("[[network]]\nname = \"*\"\nttl = \"long\"\n");
    home.append("shop", &container("bbb222", "10.89.0.3", "db"));
    daemon.hang_up();
    until("the files are read", || home.addresses(SHOP, "db") == ["10.89.0.3"]);
    assert_eq!(ttl(), "web. 60 IN A 10.89.0.2");

    fs::remove_file(home.config()).unwrap();
    daemon.hang_up();
    until("the defaults hold", || ttl() == "web. 0 IN A 10.89.0.2");
}

/// A record is no setting of the network: nothing else changes with it.
#[test]
fn a_record_that_alone_comes_and_goes_is_applied_with_the_next_signal() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    let record =
        "[[network]]\nname = \"shop\"\n[[network.record]]\nname = \"note\"\ntype = \"A\"\nvalue = \"10.0.0.9\"\n";
    home.configure(record);
    daemon.hang_up();
    until("the record is read", || home.addresses(SHOP, "note") == ["10.0.0.9"]);
    home.configure("[[network]]\nname = \"shop\"\n");
    daemon.hang_up();
    until("the record is gone", || home.addresses(SHOP, "note").is_empty());
}

#[test]
fn settings_with_a_mistake_keep_no_container_from_starting() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    for text in ["[[network]\n", "[server]\nport = 53\n", "\u{0}"] {
        home.configure(text);
        let _daemon = home.start();
        assert_eq!(home.ask(SHOP, "web").answers(), ["web. 0 IN A 10.89.0.2"]);
    }
}

/// What else may be at the path of the file, and that must neither be waited for nor read to its end.
fn put_no_file(path: &Path, what: &str) {
    let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
    match what {
        "a FIFO" => mkfifo(path, Mode::S_IRWXU).unwrap(),
        "a directory" => fs::create_dir(path).unwrap(),
        "a socket" => drop(UnixListener::bind(path).unwrap()),
        "a device" => symlink("/dev/zero", path).unwrap(),
        "too long" => fs::File::create(path).unwrap().set_len(1 << 40).unwrap(),
        other => panic!("{other}"),
    }
}

const NO_FILES: [&str; 5] = ["a FIFO", "a directory", "a socket", "a device", "too long"];

#[test]
fn settings_that_are_no_file_keep_no_container_from_starting() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    for what in NO_FILES {
        put_no_file(&home.config(), what);
        let _daemon = home.start();
        assert_eq!(home.ask(SHOP, "web").answers(), ["web. 0 IN A 10.89.0.2"], "{what}");
    }
}

#[test]
fn settings_that_become_no_file_leave_in_force_what_they_said() {
    let home = Home::new();
    home.configure("[[network]]\nname = \"*\"\nttl = 60\n");
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    for (number, what) in NO_FILES.into_iter().enumerate() {
        put_no_file(&home.config(), what);
        let name = format!("db{number}");
        home.append("shop", &container(&name, "10.89.0.3", &name));
        daemon.hang_up();
        until("the files are read", || home.addresses(SHOP, &name) == ["10.89.0.3"]);
        assert_eq!(home.ask(SHOP, "web").answers(), ["web. 60 IN A 10.89.0.2"], "{what}");
    }
}

/// The names of the host's /etc/hosts, followed as it changes, with no signal for it (answers.md N13).
#[test]
fn n13_the_hosts_file_is_answered_under_podman_too() {
    needs_root!("unshare");
    let home = Home::new();
    let hosts = home.path().join("hosts");
    fs::write(&hosts, "192.0.2.7 printer web\n127.0.1.1 me\n").unwrap();
    let mount = format!("mount --bind {} /etc/hosts && exec \"$0\" \"$@\"", hosts.to_str().unwrap());
    let home = home.prefix(&["unshare", "--mount", "sh", "-c", &mount]);
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    home.configure("[server]\nhosts = true\nupstreams = [\"127.0.0.66:1\"]\n");
    daemon.hang_up();
    until("the names are answered", || home.addresses_if_any(SHOP, "printer") == ["192.0.2.7"]);
    assert_eq!(home.addresses(SHOP, "web"), ["10.89.0.2"], "a container's name comes first");
    assert!(home.addresses_if_any(SHOP, "me").is_empty());
    fs::write(&hosts, "192.0.2.8 printer\n").unwrap();
    until("the file is followed", || home.addresses_if_any(SHOP, "printer") == ["192.0.2.8"]);
}
