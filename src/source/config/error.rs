//! What is wrong with a configuration file.

use std::fmt;
use std::io;

use super::lint::{self, Claim, Surroundings};

/// Every problem of a configuration file, in the order of its lines; `Display` gives one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
    /// What the file relies on, as far as it could be read.
    claims: Vec<Claim>,
}

/// One problem: `callsign.toml:14: "172.18.0.300" is not an IP address; write 172.18.0.2 or fd00::2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    origin: String,
    line: Option<usize>,
    message: String,
}

impl ConfigError {
    pub(super) fn new(problems: Vec<Problem>) -> ConfigError {
        ConfigError { problems, claims: Vec::new() }
    }

    pub(super) fn with_claims(self, claims: Vec<Claim>) -> ConfigError {
        ConfigError { claims, ..self }
    }

    /// The same as of a file without errors: see [`Config::surroundings`](super::Config::surroundings).
    pub fn surroundings(&self) -> Surroundings {
        lint::surroundings(&self.claims)
    }

    /// The error of a file that could not be read, with what to do about it.
    pub fn unreadable(origin: &str, cause: &io::Error) -> ConfigError {
        let remedy = match cause.kind() {
            io::ErrorKind::NotFound => "; write one, or name the file where it is",
            io::ErrorKind::PermissionDenied => "; let this user read it",
            _ => "",
        };
        let message = format!("cannot be read: {cause}{remedy}");
        ConfigError::new(vec![Problem { origin: origin.to_owned(), line: None, message }])
    }

    /// The error of a file that has nothing in it: it was truncated and not written again, perhaps as the disk is full.
    pub(super) fn empty(origin: &str) -> ConfigError {
        let message =
            "the file is empty, and is not used; write [[network]], or a comment (#) if nothing is meant to be in it";
        ConfigError::new(vec![Problem { origin: origin.to_owned(), line: None, message: message.to_owned() }])
    }

    /// The error that has these problems, if there are any.
    pub fn of(problems: Vec<Problem>) -> Option<ConfigError> {
        (!problems.is_empty()).then(|| ConfigError::new(problems))
    }

    /// All problems, at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl Problem {
    /// A problem in one line, whatever the text that it quotes has in it.
    pub(super) fn new(origin: &str, line: usize, message: impl AsRef<str>) -> Problem {
        let mut text = String::new();
        for char in message.as_ref().chars() {
            if char.is_control() { text.extend(char.escape_default()) } else { text.push(char) }
        }
        Problem { origin: origin.to_owned(), line: Some(line), message: text }
    }

    /// One that is found where what the file says meets the rest of the machine. `origin`: whose it is, such as `Docker`.
    pub fn of(origin: &str, message: String) -> Problem {
        Problem { origin: origin.to_owned(), line: None, message }
    }

    /// The file, as it was named by whoever had it read.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The line, from 1; `None` if it is the file as a whole.
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// What is wrong, and what to write instead.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.origin, self.message),
            None => write!(f, "{}: {}", self.origin, self.message),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if index > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
