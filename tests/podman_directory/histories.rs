//! Any history of what netavark does to its files, read at any moment of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed};

use crate::kit::Kit;
use crate::plain::{Plain, network_of, plain};

const NETWORKS: [&str; 2] = ["podman", "back"];
const NAMES: [&str; 5] = ["web", "db", "api", "mail", "web.v2"];
/// All of a history's waits together are less than what a file has to be at rest for.
const WAIT: Duration = Duration::from_micros(500);

#[derive(Debug, Clone)]
enum Step {
    /// A container starts: a line is added, after the first one where there is no file.
    Start { network: usize, id: usize, host: u8, names: Vec<usize>, cut: usize },
    /// A container stops: the file is emptied and the other lines are written again. The last one's goes with its file.
    Stop { network: usize, id: usize, cut: usize },
    /// The network gets other upstreams: all lines are written again.
    Upstreams { network: usize, last: u8, cut: usize },
    /// The network becomes internal.
    Internal { network: usize },
    /// The file is deleted.
    Delete { network: usize },
    /// Whoever wrote a part of what it has to write writes the rest.
    GoOn,
    /// Whoever wrote a part of what it has to write is killed.
    Kill,
    /// Time goes by.
    Wait,
    /// SIGHUP.
    Read,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let network = 0..NETWORKS.len();
    // Mostly in one write, now and then cut at any octet.
    let cut = || prop_oneof![3 => Just(usize::MAX), 2 => 0..160usize];
    let names = prop::collection::vec(0..NAMES.len(), 1..3);
    let step = prop_oneof![
        6 => (network.clone(), 0..6usize, 2..9u8, names, cut())
            .prop_map(|(network, id, host, names, cut)| Step::Start { network, id, host, names, cut }),
        4 => (network.clone(), 0..6usize, cut()).prop_map(|(network, id, cut)| Step::Stop { network, id, cut }),
        1 => (network.clone(), 1..4u8, cut()).prop_map(|(network, last, cut)| Step::Upstreams { network, last, cut }),
        1 => network.clone().prop_map(|network| Step::Internal { network }),
        1 => network.prop_map(|network| Step::Delete { network }),
        4 => Just(Step::GoOn),
        1 => Just(Step::Kill),
        1 => Just(Step::Wait),
        8 => Just(Step::Read),
    ];
    prop::collection::vec(step, 0..40)
}

/// A writer that has not written all yet.
struct Writer {
    network: usize,
    file: File,
    rest: Vec<u8>,
    /// What was in the table when it began, and is in what it writes: nobody may miss it in between.
    kept: BTreeMap<String, BTreeSet<String>>,
}

struct History {
    kit: Kit,
    writer: Option<Writer>,
}

impl History {
    /// The network's file, and whether it is internal.
    fn file(&self, network: usize) -> (PathBuf, bool) {
        let internal = self.kit.path(&format!("{}%int", NETWORKS[network]));
        if internal.exists() { (internal, true) } else { (self.kit.path(NETWORKS[network]), false) }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Start { network, id, host, names, cut } => {
                let names: Vec<&str> = names.iter().map(|&name| NAMES[name]).collect();
                let line = format!("ID{id} 10.8{network}.0.{host} fd00::{host} {}\n", names.join(","));
                let (path, _) = self.file(*network);
                let header = if path.exists() { String::new() } else { format!("10.8{network}.0.1\n") };
                let file = OpenOptions::new().append(true).create(true).open(path).unwrap();
                self.write(*network, file, header + &line, *cut, BTreeMap::new());
            }
            Step::Stop { network, id, cut } => self.rewrite(*network, *cut, |lines| {
                lines.retain(|line| !line.contains(&format!("ID{id} ")));
            }),
            Step::Upstreams { network, last, cut } => self.rewrite(*network, *cut, |lines| {
                if let Some(first) = lines.first_mut() {
                    *first = format!("{} 9.9.9.{last}", first.split(' ').next().unwrap_or_default());
                }
            }),
            Step::Internal { network } => {
                let name = NETWORKS[*network];
                let _ = fs::rename(self.kit.path(name), self.kit.path(&format!("{name}%int")));
            }
            Step::Delete { network } => {
                let _ = fs::remove_file(self.file(*network).0);
                self.writer.take_if(|writer| writer.network == *network);
            }
            Step::GoOn => {
                if let Some(mut writer) = self.writer.take() {
                    writer.file.write_all(&writer.rest).unwrap();
                }
            }
            Step::Kill => self.writer = None,
            Step::Wait => self.kit.pass(WAIT),
            Step::Read => self.read(),
        }
    }

    /// Empties the file and writes its lines again as `edit` leaves them, as netavark does it: with no lock.
    fn rewrite(&mut self, network: usize, cut: usize, edit: impl Fn(&mut Vec<String>)) {
        let (path, is_internal) = self.file(network);
        let Ok(old) = fs::read(&path) else { return };
        let mut lines: Vec<String> = String::from_utf8(old).unwrap().lines().map(str::to_owned).collect();
        edit(&mut lines);
        let new: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let file = File::create(&path).unwrap();
        if lines.len() <= 1 {
            fs::remove_file(path).unwrap();
            self.writer.take_if(|writer| writer.network == network);
            return;
        }
        let kept = match (self.kit.table.network(NETWORKS[network]), network_of(new.as_bytes(), is_internal)) {
            (Some(present), Some(new)) => names_of_both(&plain(&present.snapshot()), &new),
            _ => BTreeMap::new(),
        };
        self.write(network, file, new, cut, kept);
    }

    /// Writes so much, and has the rest written later; whoever was writing before is killed.
    fn write(
        &mut self,
        network: usize,
        mut file: File,
        text: String,
        cut: usize,
        kept: BTreeMap<String, BTreeSet<String>>,
    ) {
        let (now, rest) = text.as_bytes().split_at(cut.min(text.len()));
        file.write_all(now).unwrap();
        self.writer = (!rest.is_empty()).then(|| Writer { network, file, rest: rest.to_vec(), kept });
    }

    fn read(&mut self) {
        self.kit.read();
        let Some(writer) = &self.writer else { return };
        if writer.kept.is_empty() {
            return;
        }
        let now = plain(&self.kit.snapshot(NETWORKS[writer.network]));
        for (id, names) in &writer.kept {
            let present = now.containers.get(id).unwrap_or_else(|| panic!("{id} is missing"));
            let present: BTreeSet<String> = present.names.iter().map(ToString::to_string).collect();
            assert!(names.is_subset(&present), "{id} misses one of {names:?}: {present:?}");
        }
    }
}

/// The names that containers have in both.
fn names_of_both(a: &Plain, b: &Plain) -> BTreeMap<String, BTreeSet<String>> {
    let of_both = a.containers.iter().filter_map(|(id, container)| {
        let other = b.containers.get(id)?;
        let names = container.names.iter().filter(|name| other.names.contains(name));
        Some((id.clone(), names.map(ToString::to_string).collect()))
    });
    of_both.collect()
}

proptest! {
    #![proptest_config(Config {
        cases: 512,
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(53),
        ..Config::default()
    })]

    #[test]
    fn every_history_ends_in_what_the_files_say_and_loses_nothing_on_the_way(steps in steps()) {
        let mut history = History { kit: Kit::new(), writer: None };
        steps.iter().for_each(|step| history.step(step));
        history.writer = None;
        history.kit.settle();
        let mut anew = Kit::new();
        for (network, name) in NETWORKS.into_iter().enumerate() {
            let (path, is_internal) = history.file(network);
            let content = fs::read(&path).ok();
            if let Some(content) = &content {
                anew.write(path.file_name().unwrap().to_str().unwrap(), content);
            }
            let expected = content.and_then(|content| network_of(&content, is_internal));
            let present = history.kit.table.network(name).map(|network| plain(&network.snapshot()));
            prop_assert_eq!(present.is_some(), expected.is_some());
            if let (Some(mut present), Some(expected)) = (present, expected) {
                if expected.header.0.is_empty() {
                    // Two writers at once: the last good first line is in force.
                    present.header = expected.header.clone();
                }
                prop_assert_eq!(present, expected);
            }
        }
        // Whoever starts now reads the same.
        anew.settle();
        for name in NETWORKS {
            prop_assert_eq!(anew.table.network(name).is_some(), history.kit.table.network(name).is_some());
            if anew.table.network(name).is_some() {
                prop_assert_eq!(anew.endpoints(name), history.kit.endpoints(name));
            }
        }
    }
}

/// What is done to a network's containers, whole, while the file is never at rest.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Start,
    /// The container starts again: the same id at another address.
    Restart(prop::sample::Index),
    /// The container is made again: another id and another address, the same name.
    Replace(prop::sample::Index),
    Stop(prop::sample::Index),
}

fn deeds() -> impl Strategy<Value = Vec<(Deed, u64)>> {
    let deed = prop_oneof![
        2 => Just(Deed::Start),
        2 => any::<prop::sample::Index>().prop_map(Deed::Restart),
        2 => any::<prop::sample::Index>().prop_map(Deed::Replace),
        1 => any::<prop::sample::Index>().prop_map(Deed::Stop),
    ];
    prop::collection::vec((deed, 1..25u64), 1..30)
}

/// A container: its id, its address and its name, each but a number.
type Numbers = (usize, usize, usize);

fn in_words((id, host, name): Numbers) -> String {
    format!("id{id} 10.88.{}.{} c{name}", host / 250, host % 250)
}

proptest! {
    #![proptest_config(Config {
        cases: 128,
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(53),
        ..Config::default()
    })]

    #[test]
    fn a_file_that_is_never_at_rest_gives_what_is_new_at_once_and_nothing_old_for_long(deeds in deeds()) {
        let mut kit = Kit::new();
        let (mut present, mut next): (Vec<Numbers>, usize) = (Vec::new(), 1);
        // When containers were stopped that none has taken the place of.
        let mut stopped: BTreeMap<String, u64> = BTreeMap::new();
        let mut now = 0;
        kit.write("podman", "10.88.255.1\n");
        for (deed, pause) in deeds {
            let chosen = match deed {
                Deed::Start => None,
                Deed::Restart(index) | Deed::Replace(index) | Deed::Stop(index) => {
                    (!present.is_empty()).then(|| present.remove(index.index(present.len())))
                }
            };
            if let Some(chosen) = chosen {
                let text = fs::read_to_string(kit.path("podman")).unwrap();
                let rest = text.lines().filter(|line| !line.starts_with(&format!("id{} ", chosen.0)));
                kit.write("podman", rest.map(|line| format!("{line}\n")).collect::<String>());
            }
            let started = match (deed, chosen) {
                (Deed::Restart(_), Some((id, _, name))) => (id, next, name),
                (Deed::Replace(_), Some((_, _, name))) => (next, next, name),
                (_, chosen) => {
                    stopped.extend(chosen.map(|chosen| (in_words(chosen), now)));
                    (next, next, next)
                }
            };
            next += 1;
            present.push(started);
            let line = in_words(started).replacen(" c", "  c", 1);
            kit.append("podman", format!("{line}\n"));
            kit.read();

            let endpoints = kit.endpoints("podman");
            for &container in &present {
                prop_assert!(endpoints.contains(&in_words(container)), "{container:?} is missing: {endpoints:?}");
            }
            let old = endpoints.iter().filter(|line| !present.iter().any(|&container| in_words(container) == **line));
            for line in old {
                let Some(then) = stopped.get(line) else {
                    return Err(TestCaseError::fail(format!("{line} has a successor in {endpoints:?}")));
                };
                prop_assert!(now - then <= 60, "{line} was stopped {} ms ago", now - then);
            }
            now += pause;
            kit.pass(Duration::from_millis(pause));
        }
    }
}
