//! What docs/troubleshooting.md shows, for the tests which hold that it is what the program says.

/// Where a reader's containers come from, by the line before an example.
pub const DOCKER: &str = "Docker:";
pub const PODMAN: &str = "Podman:";
pub const FILE: &str = "Configuration file:";

const TEXT: &str = include_str!("../../docs/troubleshooting.md");

/// A command behind `callsign`, and what it prints first.
pub struct Example {
    pub words: String,
    pub output: String,
}

/// The examples below one of the lines, in their order.
pub fn examples(kind: &str) -> Vec<Example> {
    let begin = format!("\n{kind}\n\n```shell-session\n$ callsign ");
    let parts = TEXT.split(&begin).skip(1);
    let example = |part: &str| {
        let (example, _) = part.split_once("```").expect("an end");
        let (words, output) = example.split_once('\n').expect("an output");
        Example { words: words.to_owned(), output: output.to_owned() }
    };
    parts.map(example).collect()
}

/// The configuration that the examples of the file are of.
pub fn configuration() -> &'static str {
    let (_, rest) = TEXT.split_once("```toml\n").expect("a configuration");
    rest.split_once("```").expect("an end").0
}

/// Compares what is shown with what `explain` says, less what it says to those who know DNS.
#[track_caller]
pub fn assert_shown(kind: &str, explain: impl Fn(&str) -> String) {
    let examples = examples(kind);
    let (mut shown, mut said) = (String::new(), String::new());
    for Example { words, output } in &examples {
        let text = explain(words);
        let (people, _) = text.split_once("\n\n").unwrap_or_else(|| panic!("{words}: {text}"));
        shown += &format!("$ callsign {words}\n{output}\n");
        said += &format!("$ callsign {words}\n{people}\n\n");
    }
    assert!(shown == said, "docs/troubleshooting.md shows\n\n{shown}\nand the program says\n\n{said}");
    assert_eq!(examples.len(), 6, "the six situations");
}
