//! What the documents say is true: the rules that are cited exist, the layers are those of the code, links lead somewhere, and
//! commands do what is written below them. Nothing here needs a network, root, or a program besides callsign itself.

mod citations;
mod commands;
#[cfg(feature = "cli")]
mod configuration;
mod layers;
mod links;

use std::fs;
use std::path::{Path, PathBuf};

/// The repository's root.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A file of the repository as text.
#[track_caller]
fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files at or below a path, relative to the root, sorted; none if there is no such path.
fn files(path: &str) -> Vec<String> {
    let full = Path::new(ROOT).join(path);
    if full.is_file() {
        return vec![path.to_owned()];
    }
    let mut entries: Vec<PathBuf> =
        fs::read_dir(&full).map_or(vec![], |all| all.map(|entry| entry.unwrap().path()).collect());
    entries.sort();
    let relative = |entry: &Path| entry.strip_prefix(ROOT).unwrap().to_str().unwrap().to_owned();
    entries.iter().flat_map(|entry| files(&relative(entry))).collect()
}

/// The pages that people read: those of the root and of docs/.
fn documents() -> Vec<String> {
    let root = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"].map(String::from);
    root.into_iter().chain(files("docs").into_iter().filter(|path| path.ends_with(".md"))).collect()
}

/// The lines of a page outside its fenced blocks, with their numbers.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push((number, line));
        }
    }
    lines
}

/// The lines of a page's fenced blocks in a language, with their numbers.
fn fenced<'t>(text: &'t str, language: &str) -> Vec<(usize, &'t str)> {
    let mut open = None;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        match (line.trim_start().strip_prefix("```"), open) {
            (Some(info), None) => open = Some(info.trim()),
            (Some(_), Some(_)) => open = None,
            (None, Some(info)) if info == language => lines.push((number, line)),
            _ => {}
        }
    }
    lines
}

/// The code spans of a line: what stands between backquotes.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}
