//! Commands of the pages are real: what they name exists, and `callsign` prints what stands below it.

use std::path::Path;

use crate::{ROOT, code_spans, documents, fenced, prose, read};

/// The commands of a page: lines of its `sh` blocks, less their comments, and its code spans.
fn commands(text: &str) -> Vec<(usize, String)> {
    let blocks = fenced(text, "sh").into_iter().map(|(number, line)| (number, line.split(" #").next().unwrap()));
    let spans = prose(text).into_iter().flat_map(|(number, line)| code_spans(line).map(move |span| (number, span)));
    blocks.chain(spans).map(|(number, line)| (number, line.trim().to_owned())).collect()
}

/// The recipes of the justfile.
fn recipes() -> Vec<String> {
    let text = read("justfile");
    let heads = text.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()));
    heads.filter_map(|line| line.split_once(':')).map(|(head, _)| head.split(' ').next().unwrap().to_owned()).collect()
}

/// True if cargo finds a target of this name in a folder: `NAME.rs`, `NAME/main.rs`.
fn has_target(folder: &str, name: &str) -> bool {
    let folder = Path::new(ROOT).join(folder);
    folder.join(format!("{name}.rs")).is_file() || folder.join(name).join("main.rs").is_file()
}

/// What a command names that does not exist.
fn missing(command: &str) -> Vec<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let mut missing = Vec::new();
    // A name in capitals stands for any.
    let is_fixed = |name: &str| !name.chars().all(|char| char.is_ascii_uppercase());
    match &words[..] {
        ["just", recipe, ..] if is_fixed(recipe) && !recipes().contains(&(*recipe).to_owned()) => {
            missing.push(format!("justfile has no recipe {recipe}"));
        }
        ["cargo", ..] => {
            for (option, folder) in [("--test", "tests"), ("--bench", "benches"), ("--example", "examples")] {
                for pair in words.windows(2).filter(|pair| pair[0] == option && is_fixed(pair[1])) {
                    if !has_target(folder, pair[1]) {
                        missing.push(format!("there is no {folder}/{}", pair[1]));
                    }
                }
            }
            for pair in words.windows(2).filter(|pair| pair[0] == "--features" && is_fixed(pair[1])) {
                if !read("Cargo.toml").lines().any(|line| line.starts_with(&format!("{} = [", pair[1]))) {
                    missing.push(format!("there is no feature {}", pair[1]));
                }
            }
        }
        _ => {}
    }
    missing
}

#[test]
fn what_commands_name_exists() {
    let mut mistakes = Vec::new();
    let mut count = 0;
    for page in documents() {
        for (number, command) in commands(&read(&page)) {
            count += usize::from(command.starts_with("cargo ") || command.starts_with("just "));
            mistakes.extend(missing(&command).iter().map(|missing| format!("{page}:{number}: `{command}`: {missing}")));
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    assert!(count > 0);
    for nonsense in ["just nonsense", "cargo test --test nonsense", "cargo build --features nonsense"] {
        assert!(!missing(nonsense).is_empty(), "{nonsense}");
    }
}

/// Runs the commands `$ callsign …` of the pages' `console` blocks, and compares what they print.
#[cfg(feature = "cli")]
#[test]
fn callsign_prints_what_the_pages_show() {
    let mut count = 0;
    for page in documents() {
        let text = read(&page);
        let mut lines = fenced(&text, "console").into_iter().peekable();
        while let Some((number, line)) = lines.next() {
            let Some(arguments) = line.strip_prefix("$ callsign ") else { continue };
            let mut shown = String::new();
            while let Some((_, line)) = lines.next_if(|(_, line)| !line.starts_with("$ ")) {
                shown.push_str(line);
                shown.push('\n');
            }
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_callsign"));
            let output = command.args(arguments.split(' ')).current_dir(ROOT).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), shown, "{page}:{number}: {line}");
            count += 1;
        }
    }
    assert!(count > 0);
}
