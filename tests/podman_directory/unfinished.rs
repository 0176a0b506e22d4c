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
        // `def` never comes back, `jkl` does every other time, and each time the file is another one that says nothing new.
        let jkl = if round % 2 == 0 { "" } else { all[4] };
        let empty = "\n".repeat(round);
        kit.write("podman", format!("{}\n{}\n{}\n{jkl}\n{empty}", all[0], all[1], all[3]));
        assert_eq!(kit.read().again.is_some(), round < 200 || jkl.is_empty(), "round {round}");
        let ids: Vec<String> = kit.endpoints("podman").into_iter().map(|line| line[..3].to_owned()).collect();
        assert!(ids.contains(&"jkl".to_owned()), "round {round}");
        assert_eq!(ids.contains(&"def".to_owned()), round < 200, "round {round}");
        kit.pass(Duration::from_millis(10));
    }
}

/// Lines that others add, one each 10 ms, each to be read: the file is never at rest.
struct Others(usize);

impl Others {
    /// Adds one, reads, and gives the endpoints but those.
    fn one(&mut self, kit: &mut Kit) -> Vec<String> {
        let Others(count) = self;
        kit.append("podman", format!("other{count} 10.88.{}.{}  n{count}\n", 1 + *count / 250, *count % 250));
        *count += 1;
        assert_eq!(kit.read().changed, ["podman"]);
        kit.pass(Duration::from_millis(10));
        let mut endpoints = kit.endpoints("podman");
        endpoints.retain(|line| !line.starts_with("other"));
        endpoints
    }

    /// Adds some until the endpoints are these: after how many.
    fn until(&mut self, kit: &mut Kit, expected: &[&str]) -> usize {
        let first = self.0;
        while self.one(kit) != expected {
            assert!(self.0 < first + 250, "{:?}", kit.endpoints("podman"));
        }
        self.0 - first
    }

    /// The file without the lines that have this, as netavark writes it.
    fn without(kit: &Kit, what: &str) -> String {
        let text = std::fs::read_to_string(kit.path("podman")).unwrap();
        text.lines().filter(|line| !line.contains(what)).map(|line| format!("{line}\n")).collect()
    }
}

#[test]
fn a_container_that_is_gone_is_gone_soon_while_others_come() {
    for id in ["abc", "def", "jkl"] {
        let mut kit = kit(OLD);
        let mut others = Others(0);
        others.one(&mut kit);
        kit.write("podman", Others::without(&kit, id));
        let mut expected = of(OLD);
        assert_eq!(others.one(&mut kit), expected, "it may be written yet");
        expected.retain(|line| !line.starts_with(id));
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        assert!(others.until(&mut kit, &expected) <= 3, "{id}");
    }
}

#[test]
fn a_container_that_starts_again_elsewhere_is_there_only_at_once_while_others_come() {
    let mut kit = kit(OLD);
    let mut others = Others(0);
    for host in 100..150 {
        // The last one, which others follow; and the first one, which moves to the end.
        for (id, name) in [("jkl", "mail"), ("abc", "web")] {
            kit.write("podman", Others::without(&kit, id));
            kit.append("podman", format!("{id} 10.88.0.{host}  {name}\n"));
            let line = format!("{id} 10.88.0.{host} {name}");
            assert!(others.one(&mut kit).contains(&line), "{line}");
        }
    }
}

#[test]
fn a_container_that_takes_the_name_or_the_address_of_a_missing_one_takes_its_place_at_once() {
    for (line, name) in [("new 10.88.0.9  db,backend", "db,backend"), ("new 10.88.0.3  pg", "pg")] {
        let mut kit = kit(OLD);
        let mut others = Others(0);
        others.one(&mut kit);
        kit.write("podman", Others::without(&kit, "def"));
        kit.append("podman", format!("{line}\n"));
        let address = line.split(' ').nth(1).unwrap();
        let mut expected: Vec<String> = of(NEW);
        expected.push(format!("new {address} {name}"));
        assert_eq!(others.one(&mut kit), expected);
    }
}

#[test]
fn an_alias_that_others_have_as_well_takes_no_container_out() {
    let text = "10.88.0.1\nabc 10.88.0.2  web-1,web\ndef 10.88.0.3  web-2,web\n";
    let mut kit = kit(text);
    // One that wrote while the file was being written anew, with no lock: its line is about to be written over.
    kit.write("podman", "10.88.0.1\nabc 10.88.0.2  web-1,web\nnew 10.88.0.4  web-3,web\n");
    kit.read();
    assert_eq!(kit.endpoints("podman").len(), 3);
    kit.write("podman", text);
    assert_eq!(kit.settle(), seen(&["changed"]));
    assert_eq!(kit.endpoints("podman"), of(text));
}

#[test]
fn a_line_in_the_middle_of_a_rewriting_takes_nothing_out_however_slow_that_is() {
    let mut kit = kit(OLD);
    let before = of(OLD);
    // Others wrote their line behind the first ones, and the next ones are written over it, 20 ms apart.
    for (round, lines) in [2, 2, 3, 3, 4, 4].into_iter().enumerate() {
        let head: String = OLD.lines().take(lines).map(|line| format!("{line}\n")).collect();
        let tail = if round % 2 == 0 { format!("new{round} 10.88.0.{round}0  new\n") } else { String::new() };
        kit.write("podman", head + &tail);
        kit.read();
        let now = kit.endpoints("podman");
        assert!(before.iter().all(|line| now.contains(line)), "round {round}: {now:?}");
        kit.pass(Duration::from_millis(20));
    }
    kit.write("podman", OLD);
    kit.settle();
    assert_eq!(kit.endpoints("podman"), before);
}

#[test]
fn what_a_container_has_besides_counts_at_once_and_what_it_had_goes_later() {
    let mut kit = kit("10.88.0.1\nabc 10.88.0.2 fd00::2 web 8.8.8.8\ndef 10.88.0.3  db\n");
    let mut others = Others(0);
    kit.write("podman", "10.88.0.1\ndef 10.88.0.3  db\nabc 10.88.0.2 fd00::7 www 9.9.9.9\n");
    let expected = ["abc 10.88.0.2,fd00::7,fd00::2 www,web 9.9.9.9:53,8.8.8.8:53", "def 10.88.0.3 db"];
    assert_eq!(others.one(&mut kit), expected);
    assert!(others.until(&mut kit, &["abc 10.88.0.2,fd00::7 www 9.9.9.9:53", "def 10.88.0.3 db"]) <= 3);
    // What was half of the truth leaves no trace.
    kit.write("podman", "10.88.0.1\ndef 10.88.0.3  db\nabc 10.88.0.2  web\n");
    kit.read();
    kit.write("podman", "10.88.0.1\nabc 10.88.0.2 fd00::7 www 9.9.9.9\nabc  fd00::8 www\ndef 10.88.0.3  db\n");
    kit.settle();
    assert_eq!(kit.endpoints("podman"), ["abc 10.88.0.2,fd00::7,fd00::8 www 9.9.9.9:53", "def 10.88.0.3 db"]);
}
