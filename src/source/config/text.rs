//! The text of a file: where its lines are, and what was found wrong with it so far.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use super::error::{ConfigError, Problem};

/// The content of a file as text.
pub(super) fn utf8<'t>(octets: &'t [u8], origin: &str) -> Result<&'t str, ConfigError> {
    std::str::from_utf8(octets).map_err(|error| {
        let line = 1 + octets[..error.valid_up_to()].iter().filter(|&&octet| octet == b'\n').count();
        ConfigError::new(vec![Problem::new(origin, line, "this is not UTF-8; save the file as UTF-8")])
    })
}

/// The text being read. Problems are collected, not thrown: reading goes on behind each.
pub(super) struct Text<'t> {
    origin: &'t str,
    /// The number of the first line.
    first: usize,
    /// The offset at which each line starts.
    starts: Vec<usize>,
    notes: Rc<Notes>,
}

/// What was found wrong with a file, in all its pieces.
#[derive(Default)]
struct Notes {
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl<'t> Text<'t> {
    pub(super) fn new(text: &'t str, origin: &'t str) -> Text<'t> {
        Text { origin, first: 1, starts: starts(text), notes: Rc::default() }
    }

    /// A piece of the same file that starts at the line `first`.
    pub(super) fn piece(&self, text: &str, first: usize) -> Text<'t> {
        Text { origin: self.origin, first, starts: starts(text), notes: self.notes.clone() }
    }

    /// The file, as its problems call it.
    pub(super) fn origin(&self) -> &str {
        self.origin
    }

    /// The number of the line, from 1, that holds an offset.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.first - 1 + self.starts.partition_point(|&start| start <= offset)
    }

    /// Notes a problem at a place.
    pub(super) fn problem(&self, at: &Range<usize>, message: impl AsRef<str>) {
        self.notes.problems.borrow_mut().push(Problem::new(self.origin, self.line(at.start), message));
    }

    /// Notes what is allowed, and most likely a mistake.
    pub(super) fn warning(&self, at: &Range<usize>, message: impl AsRef<str>) {
        self.warning_in(self.line(at.start), message);
    }

    /// The same, by the number of the line.
    pub(super) fn warning_in(&self, line: usize, message: impl AsRef<str>) {
        self.notes.warnings.borrow_mut().push(Problem::new(self.origin, line, message));
    }

    /// A problem at a place that is noted nowhere yet.
    pub(super) fn note(&self, at: &Range<usize>, message: impl AsRef<str>) -> Problem {
        Problem::new(self.origin, self.line(at.start), message)
    }

    /// Itself, if it is TOML. What the parser saw behind a mistake is a guess: else only the parser's own errors are told.
    pub(super) fn without_errors(self, text: &str, errors: Vec<toml::de::Error>) -> Result<Text<'t>, ConfigError> {
        if errors.is_empty() {
            return Ok(self);
        }
        if let Some(line) = yaml_at(text) {
            let message = "this is YAML, and the file is TOML: write [[network]], and below it name = \"shop\"";
            self.notes.problems.borrow_mut().push(Problem::new(self.origin, line, message));
            return Err(self.into_error());
        }
        errors.iter().for_each(|error| self.syntax_error(error));
        Err(self.into_error())
    }

    /// Notes an error of the TOML parser. Of several in one line the first counts: the others follow from it.
    fn syntax_error(&self, error: &toml::de::Error) {
        let line = self.line(error.span().map_or(0, |span| span.start));
        let mut problems = self.notes.problems.borrow_mut();
        if problems.iter().all(|known| known.line() != Some(line)) {
            problems.push(Problem::new(self.origin, line, format!("this is not TOML: {}", error.message())));
        }
    }

    /// The problems as an error.
    pub(super) fn into_error(self) -> ConfigError {
        ConfigError::new(in_order(&self.notes.problems))
    }

    /// The warnings, if there was no problem.
    pub(super) fn finish(self) -> Result<Vec<Problem>, ConfigError> {
        if self.notes.problems.borrow().is_empty() {
            Ok(in_order(&self.notes.warnings))
        } else {
            Err(self.into_error())
        }
    }
}

/// The offset at which each line starts.
fn starts(text: &str) -> Vec<usize> {
    let ends = text.bytes().enumerate().filter(|(_, octet)| *octet == b'\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(ends).collect()
}

/// The line, from 1, in which a text that is not TOML begins as YAML does: with `---`, `- item` or `key: value`.
fn yaml_at(text: &str) -> Option<usize> {
    let mut lines = text.lines().map(str::trim).zip(1..);
    let (first, line) = lines.find(|(line, _)| !line.is_empty() && !line.starts_with('#'))?;
    let key = first.split_once(':').filter(|(_, rest)| rest.is_empty() || rest.starts_with(' ')).map(|(key, _)| key);
    let is_word =
        |key: &str| !key.is_empty() && key.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"_-".contains(&octet));
    (first == "---" || first.starts_with("- ") || key.is_some_and(is_word)).then_some(line)
}

/// In the order of lines; tables are read in another one.
fn in_order(problems: &RefCell<Vec<Problem>>) -> Vec<Problem> {
    let mut problems = problems.take();
    problems.sort_by_key(Problem::line);
    problems
}
