//! A page of docs/recipes, as what is to be done: files and commands, in their order.

use std::fs;
use std::path::Path;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A file, below its name.
    File { path: String, text: String },
    /// A command, and what is shown below it.
    Command { line: String, shown: String },
    /// A piece of callsign's configuration that belongs to no file of the page.
    Configuration(String),
}

/// A page.
#[derive(Debug)]
pub(crate) struct Page {
    name: String,
    text: String,
    /// Each with the heading that it is below.
    steps: Vec<(String, Step)>,
    /// The first lines of blocks of which nobody knows what to do with them.
    pub(crate) unknown: Vec<String>,
}

impl Page {
    #[track_caller]
    pub(crate) fn read(name: &str) -> Page {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes").join(format!("{name}.md"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut page = Page { name: name.to_owned(), text: text.clone(), steps: Vec::new(), unknown: Vec::new() };
        let (mut heading, mut before) = ("", "");
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.starts_with('#') {
                heading = line.trim_start_matches('#').trim();
            }
            if let Some(language) = line.trim_start().strip_prefix("```") {
                let indentation = line.len() - line.trim_start().len();
                let block = lines.by_ref().take_while(|line| line.trim_start() != "```");
                let block = block.map(|line| format!("{}\n", line.get(indentation..).unwrap_or_default()));
                page.add(heading, before, language, &block.collect::<String>());
            }
            if !line.trim().is_empty() {
                before = line;
            }
        }
        page
    }

    /// Adds a block; `before` is the line before it.
    fn add(&mut self, heading: &str, before: &str, language: &str, block: &str) {
        let lower = before.to_lowercase();
        if ["[untested]", "[untested]:"].iter().any(|end| lower.ends_with(end)) {
            return;
        }
        let path = before.trim().strip_prefix('`').and_then(|rest| rest.strip_suffix("`:"));
        let mut add = |step| self.steps.push((heading.to_owned(), step));
        match (path, language) {
            (Some(path), _) => add(Step::File { path: path.to_owned(), text: block.to_owned() }),
            (None, "shell-session") => {
                let mut commands: Vec<(String, String)> = Vec::new();
                for line in block.lines() {
                    match (line.strip_prefix("$ "), commands.last_mut()) {
                        (Some(command), _) => commands.push((command.to_owned(), String::new())),
                        (None, Some((_, shown))) => *shown += &format!("{line}\n"),
                        (None, None) => self.unknown.push(line.to_owned()),
                    }
                }
                for (line, shown) in commands {
                    self.steps.push((heading.to_owned(), Step::Command { line, shown }));
                }
            }
            (None, "toml") => add(Step::Configuration(block.to_owned())),
            // The image, which every test of Docker builds in its own way.
            (None, "sh") if block == "contrib/docker/build\n" => {}
            (None, _) => self.unknown.push(block.lines().next().unwrap_or_default().to_owned()),
        }
    }

    /// What is to be done below the headings that `is_wanted` takes.
    #[track_caller]
    pub(crate) fn steps(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<Step> {
        let steps = self.steps.iter().filter(|(heading, _)| is_wanted(heading)).map(|(_, step)| step.clone());
        let steps: Vec<Step> = steps.collect();
        assert!(!steps.is_empty(), "{}: there are no such headings", self.name);
        steps
    }

    pub(crate) fn commands(&self) -> usize {
        self.steps.iter().filter(|(_, step)| matches!(step, Step::Command { .. })).count()
    }

    /// What stands between backquotes behind `words` in the prose.
    #[track_caller]
    pub(crate) fn quoted_behind(&self, words: &str) -> &str {
        let found = self.text.split_once(&format!("{words} `")).and_then(|(_, rest)| rest.split_once('`'));
        found.unwrap_or_else(|| panic!("{}: {words} what?", self.name)).0
    }
}

/// True if a page that shows `shown` shows what was printed. `…` stands for anything within a line, alone in a line for any
/// lines. One space is as good as many.
pub(crate) fn is_shown(shown: &str, printed: &str) -> bool {
    let lines = |text: &str| -> Vec<String> {
        text.trim_end().lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    are_lines(&lines(shown), &lines(printed))
}

fn are_lines(shown: &[String], printed: &[String]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((any, rest)) if any == "…" => (0..=printed.len()).any(|from| are_lines(rest, &printed[from..])),
        Some((line, rest)) => {
            printed.split_first().is_some_and(|(first, others)| is_line(line, first) && are_lines(rest, others))
        }
    }
}

fn is_line(shown: &str, printed: &str) -> bool {
    let Some((front, mut rest)) = shown.split_once('…') else { return shown == printed };
    let Some(mut left) = printed.strip_prefix(front) else { return false };
    while let Some((middle, behind)) = rest.split_once('…') {
        let Some(at) = left.find(middle) else { return false };
        (left, rest) = (&left[at + middle.len()..], behind);
    }
    left.ends_with(rest)
}
