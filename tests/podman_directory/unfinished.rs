//! Files that are read while they are being written.

use std::time::Duration;

use crate::kit::{Kit, seen};

const OLD: &str =
    "10.88.0.1\nabc 10.88.0.2  web\ndef 10.88.0.3  db,sql\nghi 10.88.0.4 fd00::4 api\njkl 10.88.0.5  mail\n";
/// Without `def`.
const NEW: &str = "10.88.0.1\nabc 10.88.0.2  web\nghi 10.88.0.4 fd00::4 api\njkl 10.88.0.5  mail\n";

fn of(text: &str) -> Vec<String> {
    let mut kit = Kit::new();
    kit.write("podman", text);
    kit.settle();
    kit.endpoints("podman")
}

/// A directory with this as the file `podman`.
fn kit(text: &str) -> Kit {
    let mut kit = Kit::new();
    kit.write("podman", text);
    assert_eq!(kit.settle(), seen(&["new"]));
    kit
}

#[test]
fn a_file_read_at_any_moment_of_its_rewriting_loses_nothing() {
    for end in 0..=NEW.len() {
        let mut kit = kit(OLD);
        let before = kit.endpoints("podman");
        kit.write("podman", &NEW[..end]);
        let reading = kit.read();
        assert!(reading.again.is_some() && reading.left == 1, "at octet {end}: {reading:?}");
        assert_eq!(kit.endpoints("podman"), before, "at octet {end}");
        assert_eq!(kit.header("podman"), "10.88.0.1");
        kit.write("podman", NEW);
        assert_eq!(kit.settle(), seen(&["changed"]), "at octet {end}");
        assert_eq!(kit.endpoints("podman"), of(NEW));
    }
}

#[test]
fn a_file_read_at_every_moment_of_its_rewriting_loses_nothing() {
    let mut kit = kit(OLD);
    let before = kit.endpoints("podman");
    for end in 0..=NEW.len() {
        kit.write("podman", &NEW[..end]);
        // In writes of one octet, 20 ms apart.
        kit.read();
        kit.pass(Duration::from_millis(20));
        assert_eq!(kit.endpoints("podman"), before, "at octet {end}");
    }
    assert_eq!(kit.settle(), seen(&["changed"]));
    assert_eq!(kit.endpoints("podman"), of(NEW));
}

#[test]
fn additions_count_at_once_and_what_is_gone_after_another_look() {
    let mut kit = kit(OLD);
    kit.write("podman", format!("{NEW}mno 10.88.0.6  cache\nabc  fd00::2 www\n"));
    let reading = kit.read();
    assert_eq!(reading.changed, ["podman"]);
    let expected = [
        "abc 10.88.0.2,fd00::2 web,www",
        "def 10.88.0.3 db,sql",
        "ghi 10.88.0.4,fd00::4 api",
        "jkl 10.88.0.5 mail",
        "mno 10.88.0.6 cache",
    ];
    assert_eq!(kit.endpoints("podman"), expected);
    let mut waited = Duration::ZERO;
    while let Some(again) = kit.read().again {
        assert_eq!(kit.endpoints("podman"), expected);
        kit.pass(again);
        waited += again;
    }
    assert!((Duration::from_millis(25)..Duration::from_millis(30)).contains(&waited), "{waited:?}");
    assert_eq!(kit.endpoints("podman").len(), 4);
}

#[test]
fn what_is_back_at_the_second_look_was_never_gone() {
    let mut kit = kit(OLD);
    let revision = kit.snapshot("podman").revision();
    kit.write("podman", NEW);
    assert!(kit.read().again.is_some());
    kit.append("podman", "def 10.88.0.3  db,sql\n");
    assert_eq!(kit.settle(), seen(&[]));
    assert_eq!(kit.snapshot("podman").revision(), revision);
}

#[test]
fn a_line_counts_when_its_end_is_there() {
    let mut kit = kit(OLD);
    let before = kit.endpoints("podman");
    // It would be another container's address.
    kit.append("podman", "mno  fd00::6 c");
    for _ in 0..10 {
        assert!(kit.read().again.is_some());
        assert_eq!(kit.endpoints("podman"), before);
        kit.pass(Duration::from_millis(20));
    }
    kit.append("podman", "ache\n");
    assert_eq!(kit.settle(), seen(&["changed"]));
    assert_eq!(kit.endpoints("podman").last().unwrap(), "mno fd00::6 cache");
}

#[test]
fn a_file_that_stays_without_a_line_end_is_taken_as_it_is() {
    let mut kit = kit(OLD);
    kit.write("podman", NEW.trim_end());
    let mut readings = Vec::new();
    while let Some(again) = kit.read().again {
        assert_eq!(kit.endpoints("podman"), of(OLD));
        readings.push(again);
        kit.pass(again);
    }
    assert_eq!(kit.endpoints("podman"), of(NEW));
    assert_eq!(readings[0], Duration::from_millis(5));
    assert!(readings.len() < 12, "not busily: {readings:?}");
    let waited: Duration = readings.iter().sum();
    assert!((Duration::from_millis(250)..Duration::from_millis(300)).contains(&waited), "{waited:?}");
    // A new network, likewise.
    kit.write("other", "10.89.0.1\nabc 10.89.0.2  web");
    kit.read();
    assert!(kit.endpoints("other").is_empty());
    kit.settle();
    assert_eq!(kit.endpoints("other"), ["abc 10.89.0.2 web"]);
}

#[test]
fn a_file_that_just_became_empty_is_read_again_and_one_that_stays_so_is_no_network() {
    let mut kit = kit(OLD);
    kit.write("podman", "");
    let reading = kit.read();
    assert_eq!((reading.left, reading.removed.len()), (1, 0));
    assert_eq!(kit.endpoints("podman"), of(OLD));
    kit.write("podman", OLD);
    assert_eq!(kit.settle(), seen(&[]));
    kit.write("podman", "");
    assert_eq!(kit.settle(), seen(&["removed"]));
    assert_eq!(kit.read().left, 0);
    kit.write("podman", NEW);
    assert_eq!(kit.settle(), seen(&["new"]));
    assert_eq!(kit.endpoints("podman"), of(NEW));
}

#[test]
fn a_file_that_was_just_made_is_a_network_to_come() {
    let mut kit = Kit::new();
    // netavark makes the file, writes its first line, and then the container's.
    kit.write("podman", "");
    let reading = kit.read();
    assert_eq!((reading.left, reading.networks.len()), (1, 0), "no reason to exit");
    assert!(reading.again.is_some());
    kit.append("podman", "10.88.0.1");
    assert_eq!(kit.read().left, 1);
    kit.append("podman", "\n");
    kit.read();
    assert_eq!(kit.header("podman"), "10.88.0.1");
    kit.append("podman", "abc 10.88.0.2  web\n");
    assert_eq!(kit.settle(), seen(&["changed"]));
    // One that nobody ever writes to is none.
    kit.write("other", "\n\n");
    assert_eq!(kit.read().left, 2);
    kit.settle();
    assert_eq!((kit.read().left, kit.table.networks().len()), (1, 1));
}

#[test]
fn settings_of_a_half_written_file_count_and_its_containers_stay() {
    let mut kit = kit(OLD);
    // As `podman network update --dns-add` writes it.
    let text = OLD.replacen("10.88.0.1", "10.88.0.1 9.9.9.9", 1);
    kit.write("podman", &text[..12]);
    kit.read();
    assert_eq!((kit.header("podman").as_str(), kit.endpoints("podman")), ("10.88.0.1", of(OLD)));
    kit.write("podman", &text[..45]);
    kit.read();
    assert_eq!((kit.header("podman").as_str(), kit.endpoints("podman")), ("10.88.0.1 9.9.9.9:53", of(OLD)));
    kit.write("podman", &text);
    assert_eq!(kit.settle(), seen(&[]));
}

#[test]
fn a_file_that_is_never_at_rest_loses_what_every_reading_misses() {
    let mut kit = kit(OLD);
    let all: Vec<&str> = OLD.lines().collect();
    for round in 0..250 {
        // `def` never comes back, `jkl` does every other time, and each time the file is another one.
        let jkl = if round % 2 == 0 { all[4] } else { "" };
        kit.write("podman", format!("{}\n{}\n{}\n{jkl}\nx{round} 10.88.1.{round}  x\n", all[0], all[1], all[3]));
        assert!(kit.read().again.is_some(), "round {round}");
        let ids: Vec<String> = kit.endpoints("podman").into_iter().map(|line| line[..3].to_owned()).collect();
        assert!(ids.contains(&"jkl".to_owned()), "round {round}");
        assert_eq!(ids.contains(&"def".to_owned()), round < 200, "round {round}");
        kit.pass(Duration::from_millis(10));
    }
}
