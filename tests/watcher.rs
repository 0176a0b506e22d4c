//! Following the configuration file, however it is written.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use callsign::source::config::Watcher;

/// A watcher, and the content of its file at each call.
fn follow(path: &Path) -> (Watcher, Receiver<String>) {
    let (sender, calls) = channel();
    let file = path.to_owned();
    let watcher = Watcher::new(path, move || {
        let _ = sender.send(fs::read_to_string(&file).unwrap_or_default());
    });
    (watcher.unwrap(), calls)
}

#[track_caller]
fn next(calls: &Receiver<String>) -> String {
    calls.recv_timeout(Duration::from_secs(20)).expect("a call")
}

fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

#[test]
fn the_file_is_followed_however_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("callsign.toml");
    fs::write(&path, "1").unwrap();
    let (_watcher, calls) = follow(&path);
    replace(&path, "2");
    assert_eq!(next(&calls), "2");
    fs::write(&path, "3").unwrap();
    assert_eq!(next(&calls), "3");
    // What changes nothing, or is somebody else's, is no change: the next call is for what follows.
    replace(&path, "3");
    fs::write(directory.path().join("other.toml"), "x").unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "3").unwrap();
    fs::hard_link(directory.path().join("other.toml"), directory.path().join("callsign.link")).unwrap();
    fs::rename(directory.path().join("callsign.link"), &path).unwrap();
    while next(&calls) != "x" {}
    fs::remove_file(&path).unwrap();
    replace(&path, "4");
    // On a slow machine that it was gone may have been told of by itself.
    while next(&calls) != "4" {}
    assert!(calls.try_recv().is_err());
}

#[test]
fn a_file_that_goes_and_comes_back_as_it_was_is_told_of_both_times() {
    let directory = tempfile::tempdir().unwrap();
    let (path, aside) = (directory.path().join("callsign.toml"), directory.path().join("aside"));
    fs::write(&path, "1").unwrap();
    let (watcher, calls) = follow(&path);
    for is_read_elsewhere in [false, true] {
        fs::rename(&path, &aside).unwrap();
        assert_eq!(next(&calls), "", "it is gone");
        if is_read_elsewhere {
            watcher.note(None);
        }
        fs::rename(&aside, &path).unwrap();
        assert_eq!(next(&calls), "1");
    }
    // Where only the reader elsewhere failed: the next event finds the file as it was.
    watcher.note(None);
    replace(&path, "1");
    assert_eq!(next(&calls), "1");
}

/// A daemon may hold its file open for ever.
#[test]
fn a_file_that_is_never_closed_is_told_of_after_a_silence() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("callsign.toml");
    fs::write(&path, "1").unwrap();
    let (_watcher, calls) = follow(&path);
    let mut file = fs::File::options().append(true).open(&path).unwrap();
    for said in ["1 and 2", "1 and 2 and 3"] {
        let begin = Instant::now();
        file.write_all(&said.as_bytes()[said.len() - " and 2".len()..]).unwrap();
        assert_eq!(next(&calls), said);
        assert!(begin.elapsed() >= Duration::from_millis(50), "not within the silence");
    }
    // What was told of is no change when it is closed.
    drop(file);
    replace(&path, "4");
    assert_eq!(next(&calls), "4");
}

/// A reload on demand in between must not hide that the file went back to what it was.
#[test]
fn a_change_that_was_read_elsewhere_and_undone_is_a_change() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("callsign.toml");
    fs::write(&path, "1").unwrap();
    let (watcher, calls) = follow(&path);
    fs::write(&path, "2").unwrap();
    watcher.note(Some(b"2".to_vec()));
    fs::write(&path, "1").unwrap();
    // On a slow machine the first change may have been told of by itself.
    while next(&calls) != "1" {}
}

#[test]
fn a_file_that_comes_later_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("etc/callsign/callsign.toml");
    let (_watcher, calls) = follow(&path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    replace(&path, "1");
    assert_eq!(next(&calls), "1");
    fs::remove_dir_all(directory.path().join("etc")).unwrap();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    replace(&path, "2");
    assert_eq!(next(&calls), "2");
    // A directory that is moved away and another in its place.
    let (old, new) = (directory.path().join("etc/callsign"), directory.path().join("etc/new"));
    fs::create_dir(&new).unwrap();
    fs::write(new.join("callsign.toml"), "3").unwrap();
    fs::rename(&old, directory.path().join("etc/old")).unwrap();
    fs::rename(&new, &old).unwrap();
    assert_eq!(next(&calls), "3");
}

#[test]
fn symbolic_links_are_followed_as_they_turn() {
    // As Kubernetes mounts a ConfigMap: the file links into a directory that is itself a link, which is replaced.
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for number in ["1", "2"] {
        fs::create_dir(at(number)).unwrap();
        fs::write(at(number).join("callsign.toml"), number).unwrap();
    }
    symlink("1", at("..data")).unwrap();
    symlink("..data/callsign.toml", at("callsign.toml")).unwrap();
    let (_watcher, calls) = follow(&at("callsign.toml"));
    symlink("2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    assert_eq!(next(&calls), "2");
    // The file at the end of the links, in a directory that was not on the way before.
    fs::write(at("2").join("callsign.toml"), "2b").unwrap();
    assert_eq!(next(&calls), "2b");
    // A link to itself leads nowhere; then one that is made in place.
    fs::remove_file(at("callsign.toml")).unwrap();
    symlink("callsign.toml", at("callsign.toml")).unwrap();
    fs::remove_file(at("callsign.toml")).unwrap();
    symlink(at("1/callsign.toml"), at("callsign.toml")).unwrap();
    assert_eq!(next(&calls), "1");
}

#[test]
fn a_watcher_ends_when_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("callsign.toml");
    let (watcher, calls) = follow(&path);
    drop(watcher);
    // The callback went with it.
    assert!(calls.recv().is_err());
}
