//! Which files are networks, and what of them is read when.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use callsign::source::podman::PID_FILE;
use callsign::table::NameTable;

use crate::kit::{Kit, logged, seen};

const TWO: &str = "10.88.0.1\nabc 10.88.0.2  web 8.8.8.8\ndef 10.88.0.3  db\n";

#[test]
fn every_regular_file_but_the_pid_file_is_a_network() {
    let mut kit = Kit::new();
    for name in ["podman", "my-net", "Upper", "with space", ".hidden", "aardvark.pid2", "10.0", "%", "ü"] {
        kit.write(name, TWO);
    }
    kit.write(PID_FILE, "4711");
    fs::create_dir(kit.path("directory")).unwrap();
    let _socket = UnixListener::bind(kit.path("socket")).unwrap();
    // Opening it for reading would wait for somebody who writes.
    nix::unistd::mkfifo(&kit.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("/dev/zero", kit.path("device")).unwrap();
    symlink(kit.path("nothing"), kit.path("dangling")).unwrap();
    symlink(kit.path("podman"), kit.path("link")).unwrap();
    kit.write("%int", TWO);
    fs::write(kit.scratch.path().join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff")), TWO)
        .unwrap();

    let mut lines = logged(|| drop(kit.settle()));
    lines.sort();
    let path = kit.scratch.path().display();
    assert_eq!(
        lines,
        [
            format!("{path}/%int: is no name of a network, and is left out"),
            format!("{path}/\u{fffd}: is no name of a network, and is left out"),
        ]
    );
    assert_eq!(logged(|| drop(kit.settle())), [""; 0], "that is said once");
    let names: Vec<String> = kit.table.networks().iter().map(|network| network.name().to_owned()).collect();
    assert_eq!(
        names,
        ["%", ".hidden", "10.0", "Upper", "aardvark.pid2", "link", "my-net", "podman", "with space", "ü"]
    );
    assert_eq!(kit.read().left, 10);
}

#[test]
fn the_suffix_marks_an_internal_network_and_upstreams_on_it_are_ignored() {
    let mut kit = Kit::new();
    kit.write("podman%int", "10.88.0.1 9.9.9.9\nabc 10.88.0.2  web 8.8.8.8\n");
    assert_eq!(kit.settle(), seen(&["new"]));
    assert_eq!(kit.header("podman"), "10.88.0.1  internal");
    assert_eq!(kit.endpoints("podman"), ["abc 10.88.0.2 web"]);
}

#[test]
fn a_network_that_becomes_internal_keeps_its_containers() {
    let mut kit = Kit::new();
    kit.write("podman", TWO);
    kit.settle();
    fs::rename(kit.path("podman"), kit.path("podman%int")).unwrap();
    assert!(kit.read().removed.is_empty());
    assert_eq!(kit.header("podman"), "10.88.0.1  internal", "at once: nothing may be forwarded");
    assert_eq!(kit.endpoints("podman").len(), 2);
    kit.settle();
    assert_eq!(kit.endpoints("podman"), ["abc 10.88.0.2 web", "def 10.88.0.3 db"], "their upstreams are gone");
    fs::rename(kit.path("podman%int"), kit.path("podman")).unwrap();
    kit.settle();
    assert_eq!(kit.header("podman"), "10.88.0.1");
    assert_eq!(kit.endpoints("podman"), ["abc 10.88.0.2 web 8.8.8.8:53", "def 10.88.0.3 db"]);
}

#[test]
fn a_network_that_is_there_twice_is_internal_and_both_files_count() {
    let mut kit = Kit::new();
    kit.write("podman", "10.88.0.1 9.9.9.9\nabc 10.88.0.2  web 8.8.8.8\n");
    kit.write("podman%int", "10.88.0.1,fd00::1\ndef 10.88.0.3  db\nabc  fd00::2 web\n");
    assert_eq!(kit.settle(), seen(&["new"]));
    assert_eq!(kit.header("podman"), "10.88.0.1,fd00::1  internal");
    assert_eq!(kit.endpoints("podman"), ["abc 10.88.0.2,fd00::2 web", "def 10.88.0.3 db"]);
    fs::remove_file(kit.path("podman%int")).unwrap();
    kit.settle();
    assert_eq!(kit.header("podman"), "10.88.0.1 9.9.9.9:53");
    assert_eq!(kit.endpoints("podman"), ["abc 10.88.0.2 web 8.8.8.8:53"]);
}

/// Octets that this thread has read so far.
fn octets_read() -> u64 {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[test]
fn a_file_that_did_not_change_is_not_read() {
    let mut kit = Kit::new();
    let lines: String =
        (0..10_000).map(|number| format!("id{number} 10.88.{}.{}  n{number}\n", number / 250, number % 250)).collect();
    kit.write("podman", format!("10.88.255.1\n{lines}"));
    kit.settle();
    let mut read = || {
        let before = octets_read();
        kit.read();
        octets_read() - before
    };
    // Read again as long as another write could have the same time stamp.
    let start = Instant::now();
    while read() > 4096 {
        assert!(start.elapsed() < Duration::from_secs(60), "it is not read for ever");
    }
    assert!((0..3).all(|_| read() < 4096));
    kit.append("podman", "new 10.89.0.1  new\n");
    let before = octets_read();
    assert_eq!(kit.settle(), seen(&["changed"]));
    assert!(octets_read() - before > 100_000);
}

#[test]
fn two_writes_within_one_tick_of_the_clock_are_two_changes() {
    let mut kit = Kit::new();
    for number in 0..200 {
        kit.write("podman", format!("10.88.0.1\nabc 10.88.0.{}  web\n", 100 + number % 100));
        kit.settle();
        kit.write("podman", format!("10.88.0.1\nabc 10.88.0.{}  web\n", 100 + (number + 1) % 100));
        kit.settle();
        assert_eq!(kit.endpoints("podman"), [format!("abc 10.88.0.{} web", 100 + (number + 1) % 100)]);
    }
}

#[test]
fn a_changed_file_is_one_change_that_touches_what_differs() {
    let mut kit = Kit::new();
    kit.write("podman", "10.88.0.1\nsame 10.88.0.2  same\ngone 10.88.0.3  gone\nother 10.88.0.4  other\n");
    kit.settle();
    let before = kit.snapshot("podman");
    kit.write("podman", "10.88.0.1\nother 10.88.0.5  other\nnew 10.88.0.3  new\nsame 10.88.0.2  same\n");
    let reading = kit.read();
    // That `gone` is missing is believed: another one has its address.
    assert_eq!((&reading.changed[..], reading.again), (&["podman".to_owned()][..], None));
    let after = kit.snapshot("podman");
    assert_eq!(kit.endpoints("podman"), ["new 10.88.0.3 new", "other 10.88.0.5 other", "same 10.88.0.2 same"]);
    // All together: nobody has seen `other` without an address.
    assert_eq!(after.revision(), before.revision() + 1);
    assert_eq!(kit.settle(), seen(&[]));
}

#[test]
fn a_file_that_is_gone_is_gone_at_once() {
    let mut kit = Kit::new();
    kit.write("podman", TWO);
    kit.write("other", "10.89.0.1\n");
    kit.settle();
    fs::remove_file(kit.path("podman")).unwrap();
    let reading = kit.read();
    assert_eq!((reading.removed, reading.left, reading.again), (vec!["podman".to_owned()], 1, None));
    fs::remove_file(kit.path("other")).unwrap();
    let reading = kit.read();
    assert_eq!((reading.left, reading.again), (0, None), "no network is left");
}

#[test]
fn what_cannot_be_read_keeps_its_last_good_state() {
    let mut kit = Kit::new();
    kit.write("podman", TWO);
    kit.settle();
    let endpoints = kit.endpoints("podman");
    // Reading fails, root or not.
    fs::remove_file(kit.path("podman")).unwrap();
    symlink("/proc/self/mem", kit.path("podman")).unwrap();
    let lines = logged(|| {
        let reading = kit.read();
        assert_eq!((reading.left, reading.again), (1, None));
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("/podman: cannot be read, and its network stays as it was: "), "{lines:?}");
    assert_eq!(logged(|| drop(kit.settle())), [""; 0], "that is said once");
    assert_eq!(kit.endpoints("podman"), endpoints);
    // Looking at it fails.
    fs::remove_file(kit.path("podman")).unwrap();
    symlink("podman", kit.path("podman")).unwrap();
    let lines = logged(|| assert_eq!(kit.read().left, 1));
    assert!(lines[0].contains("/podman: cannot be looked at, and stays as it was: "), "{lines:?}");
    assert_eq!(kit.endpoints("podman"), endpoints);
    // It recovers.
    fs::remove_file(kit.path("podman")).unwrap();
    kit.write("podman", "10.88.0.1\nabc 10.88.0.7  web\n");
    kit.settle();
    assert_eq!(kit.endpoints("podman"), ["abc 10.88.0.7 web"]);
}

#[test]
fn a_directory_that_cannot_be_read_keeps_its_networks() {
    let mut kit = Kit::new();
    kit.write("podman", TWO);
    kit.settle();
    let aside = kit.scratch.path().with_extension("aside");
    fs::rename(kit.scratch.path(), &aside).unwrap();
    // Reading fails, root or not.
    symlink(kit.scratch.path(), kit.scratch.path()).unwrap();
    let reading = kit.read();
    assert_eq!(reading.error.unwrap().raw_os_error(), Some(nix::libc::ELOOP));
    assert_eq!((reading.left, reading.removed.len()), (1, 0));
    assert_eq!(kit.endpoints("podman").len(), 2);
    fs::remove_file(kit.scratch.path()).unwrap();
    fs::rename(&aside, kit.scratch.path()).unwrap();
    assert_eq!(kit.settle(), seen(&[]));
    assert!(kit.read().error.is_none());
}

#[test]
fn a_directory_that_is_gone_has_no_networks_until_it_is_made_again() {
    let mut kit = Kit::new();
    kit.write("podman", TWO);
    // A file that is half written is gone with it, too.
    kit.write("other", "10.89.0.1\nabc 10.89");
    kit.read();
    fs::remove_dir_all(kit.scratch.path()).unwrap();
    let lines = logged(|| {
        let reading = kit.read();
        assert_eq!((reading.left, reading.again), (0, None), "no network is left");
        assert_eq!(reading.removed, ["other", "podman"]);
        assert!(reading.error.is_none());
        assert_eq!(kit.settle(), seen(&[]));
    });
    assert_eq!(lines, [format!("{}/: is gone, and all networks with it", kit.scratch.path().display())]);
    fs::create_dir(kit.scratch.path()).unwrap();
    assert_eq!(kit.read().left, 0);
    kit.write("podman", "10.88.0.1\nghi 10.88.0.4  api\n");
    assert_eq!(kit.settle(), seen(&["new"]));
    assert_eq!(kit.endpoints("podman"), ["ghi 10.88.0.4 api"]);
}

#[test]
fn a_network_that_did_not_get_into_the_table_is_given_again() {
    let mut kit = Kit::new();
    kit.write("podman", TWO);
    assert_eq!(kit.directory.read(&kit.table).networks.len(), 1);
    assert_eq!(kit.settle(), seen(&["new"]));
    // Its new settings did not, either.
    kit.write("podman", TWO.replace("10.88.0.1", "10.88.0.254"));
    assert_eq!(kit.directory.read(&kit.table).networks.len(), 1);
    assert_eq!(kit.settle(), seen(&["set"]));
    assert_eq!(kit.header("podman"), "10.88.0.254");
    assert_eq!(kit.endpoints("podman").len(), 2);
    // Another table, as of another server.
    kit.table = NameTable::new();
    assert_eq!(kit.settle(), seen(&["new"]));
    assert_eq!(kit.endpoints("podman").len(), 2);
}
