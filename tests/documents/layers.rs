//! The layers of docs/architecture.md are those of the code, and use each other as it says.

use std::collections::{BTreeMap, BTreeSet};

use crate::{code_spans, files, read};

/// The table of docs/architecture.md: each layer, lowest first, with the layers that it uses. `None` is all of them.
fn documented() -> Vec<(String, Option<BTreeSet<String>>)> {
    let text = read("docs/architecture.md");
    let (_, section) = text.split_once("\n## Layers\n").expect("docs/architecture.md has a section Layers");
    let rows =
        section.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let layer = code_spans(cells[0]).next().unwrap_or_else(|| panic!("no layer: {row}")).to_owned();
        let uses = cells.last().unwrap();
        (layer, (*uses != "all").then(|| code_spans(uses).map(String::from).collect()))
    })
    .collect()
}

/// The names that a text takes directly from the crate's root: of `crate::a::b` and of `crate::{a, b::{c, d}}`.
fn from_root(code: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for (at, path) in code.match_indices("crate::") {
        if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '$' || before == '_') {
            continue;
        }
        let behind = &code[at + path.len()..];
        let name_at =
            |text: &'_ str| text.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(text.len());
        let Some(group) = behind.strip_prefix('{') else {
            names.insert(&behind[..name_at(behind)]);
            continue;
        };
        let (mut depth, mut starts) = (0, true);
        for (at, char) in group.char_indices() {
            match char {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => starts = true,
                _ if starts && !char.is_whitespace() => {
                    names.insert(&group[at..at + name_at(&group[at..])]);
                    starts = false;
                }
                _ => {}
            }
        }
    }
    names
}

/// A program's text without its comments.
fn code(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| line.split_once(" // ").map_or(line, |(code, _)| code)).collect::<Vec<_>>().join("\n")
}

#[test]
fn layers_use_each_other_as_documented() {
    let documented = documented();
    let layers: BTreeSet<&str> = documented.iter().map(|(layer, _)| layer.as_str()).collect();
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in files("src").into_iter().filter(|path| !["src/lib.rs", "src/main.rs"].contains(&path.as_str())) {
        let layer = path["src/".len()..].split(['/', '.']).next().unwrap().to_owned();
        let text = code(&read(&path));
        let names = from_root(&text).into_iter().filter(|name| layers.contains(name) && *name != layer);
        let others: Vec<String> = names.map(String::from).collect();
        used.entry(layer).or_default().extend(others);
    }
    assert_eq!(used.keys().map(String::as_str).collect::<BTreeSet<_>>(), layers, "the folders of src/, and the table");
    let mut below = BTreeSet::new();
    for (layer, uses) in documented {
        if let Some(uses) = uses {
            assert_eq!(used[&layer], uses, "what `{layer}` uses, and what docs/architecture.md says that it uses");
            assert!(uses.is_subset(&below), "`{layer}` uses {uses:?}, of which not all stand above it in the table");
        }
        below.insert(layer);
    }
}

/// What several commands need stands beside them.
#[test]
fn no_command_reaches_into_anothers_folder() {
    let folder = |path: &str| path.strip_prefix("src/cli/")?.split_once('/').map(|(folder, _)| folder.to_owned());
    let files = files("src/cli");
    let folders: BTreeSet<String> = files.iter().filter_map(|path| folder(path)).collect();
    assert!(folders.contains("serve") && folders.contains("aardvark"), "{folders:?}");
    for path in files {
        let text = code(&read(&path));
        for other in folders.iter().filter(|other| Some(*other) != folder(&path).as_ref()) {
            assert!(!text.contains(&format!("crate::cli::{other}::")), "{path} reaches into {other}/");
        }
    }
}

#[test]
fn uses_are_found_in_every_form() {
    let text = "use crate::a::b;\nuse crate::{b, c::{x, y},\n    d as e};\n// crate::f\nlet x = crate::g::h(); // crate::i\nmycrate::j;";
    assert_eq!(from_root(&code(text)), BTreeSet::from(["a", "b", "c", "d", "g"]));
}
