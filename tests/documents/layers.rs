//! The layers of docs/architecture.md are those of the code, and use each other as it says.

use std::collections::{BTreeMap, BTreeSet};

use crate::{code_spans, files, read};

/// What a module uses: others of its table; `None` is all of them.
type Uses = Option<BTreeSet<String>>;

/// A table of docs/architecture.md: each module, lowest first, with what it uses. The table's first column is headed so.
fn documented(heading: &str) -> Vec<(String, Uses)> {
    let text = read("docs/architecture.md");
    let (_, table) = text.split_once(&format!("\n| {heading} |")).expect("docs/architecture.md has this table");
    let rows =
        table.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let layer = code_spans(cells[0]).next().unwrap_or_else(|| panic!("no layer: {row}")).to_owned();
        let uses = cells.last().unwrap();
        (layer, (*uses != "all").then(|| code_spans(uses).map(String::from).collect()))
    })
    .collect()
}

/// The names that a text takes directly from a module, `crate::` or one below it: of `crate::a::b` and of
/// `crate::{a, b::{c, d}}`.
fn names_from<'t>(module: &str, code: &'t str) -> BTreeSet<&'t str> {
    let mut names = BTreeSet::new();
    for (at, path) in code.match_indices(module) {
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
    let documented = documented("layer");
    let layers: BTreeSet<&str> = documented.iter().map(|(layer, _)| layer.as_str()).collect();
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in files("src").into_iter().filter(|path| !["src/lib.rs", "src/main.rs"].contains(&path.as_str())) {
        let layer = path["src/".len()..].split(['/', '.']).next().unwrap().to_owned();
        let text = code(&read(&path));
        let names = names_from("crate::", &text).into_iter().filter(|name| layers.contains(name) && *name != layer);
        let others: Vec<String> = names.map(String::from).collect();
        used.entry(layer).or_default().extend(others);
    }
    assert_eq!(used.keys().map(String::as_str).collect::<BTreeSet<_>>(), layers, "the folders of src/, and the table");
    assert_uses(documented, &used);
}

/// Each module uses what its row says, and all of that stands above it.
fn assert_uses(documented: Vec<(String, Uses)>, used: &BTreeMap<String, BTreeSet<String>>) {
    let mut below = BTreeSet::new();
    for (module, uses) in documented {
        if let Some(uses) = uses {
            assert_eq!(used[&module], uses, "what `{module}` uses, and what docs/architecture.md says that it uses");
            assert!(uses.is_subset(&below), "`{module}` uses {uses:?}, of which not all stand above it in the table");
        }
        below.insert(module);
    }
}

/// A room knows the rooms below it, and nothing of the files that join them.
#[test]
fn the_rooms_of_forward_use_each_other_as_documented() {
    let documented = documented("room of `forward`");
    let rooms: BTreeSet<&str> = documented.iter().map(|(room, _)| room.as_str()).collect();
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in files("src/forward") {
        let Some((room, _)) = path["src/forward/".len()..].split_once('/') else { continue };
        let text = code(&read(&path));
        // `super::super::` leads out of a room from the files in it, but for modules of tests, which are a level deeper.
        let is_out = text.split("#[cfg(test)]").next().is_some_and(|text| text.contains("super::super::"));
        assert!(!is_out || path.ends_with("tests.rs"), "{path} leaves its room without saying where to");
        let names: BTreeSet<&str> = names_from("crate::forward::", &text)
            .into_iter()
            .filter(|name| *name != room && !name.is_empty())
            .collect();
        let others: BTreeSet<&str> = names.difference(&rooms).copied().collect();
        assert!(others.is_empty(), "{path} uses {others:?} of `forward`, which is above its rooms");
        used.entry(room.to_owned()).or_default().extend(names.into_iter().map(String::from));
    }
    assert_eq!(
        used.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        rooms,
        "the folders of src/forward/, and the table"
    );
    assert_uses(documented, &used);
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
    assert_eq!(names_from("crate::", &code(text)), BTreeSet::from(["a", "b", "c", "d", "g"]));
    assert_eq!(names_from("crate::g::", &code(text)), BTreeSet::from(["h"]));
}
