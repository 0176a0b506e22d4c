//! What is left to the server once it serves, although Podman starts it as root.

use std::fs;
use std::os::unix::fs::symlink;

use crate::kit::{BLOG, Home, NOWHERE, SHOP, container, network, until};
use crate::support::confined::assert_confined;
use crate::support::needs;

#[test]
fn every_thread_is_confined_and_the_directory_is_served_nevertheless() {
    let home = Home::new();
    home.configure(NOWHERE);
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    // The main thread and two workers.
    assert_confined(daemon.pid.as_raw() as u32, 0, 3);

    home.append("shop", &container("bbb222", "10.89.0.3", "db"));
    home.write("blog", &network(BLOG, "10.89.1.2"));
    daemon.hang_up();
    until("the files are read", || home.addresses(SHOP, "db") == ["10.89.0.3"]);
    assert_eq!(home.addresses(BLOG, "web"), ["10.89.1.2"]);

    // The pid file is written in a directory of its own, and moved from there.
    fs::remove_file(home.pid_file()).unwrap();
    daemon.hang_up();
    until("the pid file is there again", || home.pid_file().exists());
    home.remove("shop");
    home.remove("blog");
    daemon.hang_up();
    daemon.wait();
    assert!(!home.pid_file().exists());
}

/// The server itself is made to read a file: its settings lead there.
#[test]
fn a_file_outside_is_out_of_reach_unless_there_is_no_sandbox() {
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("moved.toml");
    fs::write(&moved, format!("{NOWHERE}[[network]]\nname = \"*\"\nttl = 60\n")).unwrap();
    for (no_sandbox, ttl) in [("0", "0"), ("1", "60")] {
        let home = Home::new().environment("CALLSIGN_NO_SANDBOX", no_sandbox);
        home.configure(NOWHERE);
        home.write("shop", &network(SHOP, "10.89.0.2"));
        let daemon = home.start();
        if no_sandbox == "0" && !has_landlock() {
            needs::skip("Landlock", "a_file_outside_is_out_of_reach_unless_there_is_no_sandbox");
            continue;
        }
        fs::remove_file(home.config()).unwrap();
        symlink(&moved, home.config()).unwrap();
        home.append("shop", &container("bbb222", "10.89.0.3", "db"));
        daemon.hang_up();
        until("the files are read", || home.addresses(SHOP, "db") == ["10.89.0.3"]);
        until("the settings are read", || home.ask(SHOP, "web").answers() == [format!("web. {ttl} IN A 10.89.0.2")]);
    }
}

fn has_landlock() -> bool {
    fs::read_to_string("/sys/kernel/security/lsm").is_ok_and(|modules| modules.contains("landlock"))
        || fs::read_to_string("/proc/kallsyms").is_ok_and(|symbols| symbols.contains("landlock_create_ruleset"))
}
