//! Every fuzz target over its committed corpus: what a fuzzer has found once stays found, on every test run and without one.

// The fuzzer's own package has it as its library, where all of this is public.
#[allow(unreachable_pub)]
#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn entries(directory: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn targets_hold_for_their_corpora() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for (name, run) in fuzz::TARGETS {
        let corpus = entries(&directory.join("corpus").join(name));
        assert!(!corpus.is_empty(), "fuzz/corpus/{name} has no seeds");
        for file in corpus {
            // Shown if this file makes the target panic.
            println!("{}", file.display());
            run(&fs::read(file).unwrap());
        }
    }
    let programs = entries(&directory.join("fuzz_targets"));
    let programs: BTreeSet<_> = programs.iter().filter_map(|file| file.file_stem()?.to_str()).collect();
    assert_eq!(programs, fuzz::TARGETS.iter().map(|(name, _)| *name).collect(), "fuzz_targets/ and TARGETS");
}
