//! The pages of docs/recipes, done: their files are written and their commands run as they stand there, on machines that systemd
//! has booted, with Docker, Compose and Podman. What a command prints is what the page shows.
//!
//! The images are not those of the registries: they have the same names, and in them is busybox.
//!
//! Skipped, loudly, without root and without the root `engines` of `tests/roots`.

#[path = "../support/mod.rs"]
mod support;

mod bed;
mod docker;
mod page;
mod podman;

use std::fs;
use std::path::Path;

use page::Page;

/// The pages that are run, each by a test of its name.
const RUN: [&str; 10] =
    ["compose", "kubernetes", "mac", "payments", "podman", "prometheus", "quadlet", "shared-network", "sidecar", "vpn"];

#[test]
fn every_page_is_run_and_linked() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes");
    let names = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != "README.md").collect();
    names.sort();
    assert_eq!(names, RUN.map(|name| format!("{name}.md")));
    let index = fs::read_to_string(directory.join("README.md")).unwrap();
    for name in names {
        assert!(index.contains(&format!("({name})")), "docs/recipes/README.md does not link {name}");
    }
}

#[test]
fn every_block_of_the_pages_is_run_or_says_that_it_is_not() {
    let mut commands = 0;
    for name in RUN {
        let page = Page::read(name);
        assert!(page.unknown.is_empty(), "{name}: what are these lines for? {:?}", page.unknown);
        commands += page.commands();
    }
    assert!(commands > 60, "{commands}");
}

#[test]
fn what_a_page_shows_is_compared_line_by_line() {
    for (shown, printed, expected) in [
        ("a  b\n", "a b\n", true),
        ("a\n", "a\nb\n", false),
        ("a\n…\n", "a\n", true),
        ("…\nb\n…\n", "a\nb\nc\nd\n", true),
        ("…\nb\n", "a\nb\nc\n", false),
        ("10.89.0.… db…\n", "10.89.0.3 db\n", true),
        ("10.89.0.… db…\n", "10.88.0.3 db\n", false),
        ("…x…y\n", "1x2x3y\n", true),
        ("", "\n", true),
    ] {
        assert_eq!(page::is_shown(shown, printed), expected, "{shown:?} {printed:?}");
    }
}
