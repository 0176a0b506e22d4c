//! The steps that change a host: each is printed, and then taken. Files of others are neither overwritten nor removed.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::cli::host_names::{MARK, Owner, owner};
use crate::cli::output;
use crate::cli::system;

/// How long a step may take: a service that is restarted may have to stop first.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long what was told may take to have its effect, and the pause between two looks.
const WAIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Writes a file whole, and its directory if there is none. The text begins with the [`MARK`].
    Write { path: &'static str, text: String },
    /// Removes a file that has the mark; and its directory, if that is empty then and `with_directory` is set.
    Remove { path: &'static str, with_directory: bool },
    /// Removes a directory, if it is there and empty.
    RemoveEmpty { path: &'static str },
    /// Runs a program.
    Run(Vec<String>),
    /// Runs a program, and others one after the other if that fails.
    RunOr(Vec<String>, Vec<Vec<String>>),
    /// Runs a program again and again until its output has this text.
    Until(Vec<String>, &'static str),
}

/// [`Step::Run`] of these words.
pub(super) fn run(words: &[&str]) -> Step {
    Step::Run(owned(words))
}

/// [`Step::Until`] of these words.
pub(super) fn until(words: &[&str], text: &'static str) -> Step {
    Step::Until(owned(words), text)
}

/// [`Step::RunOr`] of these words.
pub(super) fn run_or(words: &[&str], otherwise: &[&[&str]]) -> Step {
    Step::RunOr(owned(words), otherwise.iter().map(|words| owned(words)).collect())
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// A text with the mark above it, where `#` begins a comment.
pub(super) fn marked(text: &str) -> String {
    format!("# {MARK}\n{text}")
}

/// Prints the steps and, unless it is a dry run, takes them. Before the first one it is made sure that no file of others is
/// in the way.
///
/// # Errors
/// Which step failed, and why.
pub(super) fn take(steps: &[Step], dry_run: bool) -> Result<(), String> {
    for step in steps {
        if let Step::Write { path, .. } | Step::Remove { path, .. } = step
            && owner(path)? == Owner::Theirs
        {
            return Err(format!(
                "{path} is there, and its first line is not \"# {MARK}\"; it is left as it is: move it away first"
            ));
        }
    }
    for step in steps {
        step.print();
        if !dry_run {
            step.take()?;
        }
    }
    Ok(())
}

impl Step {
    fn print(&self) {
        let line = |text: &str| output::line(text);
        match self {
            Step::Write { path, text } => {
                line(&format!("write {path}"));
                text.lines().for_each(|text| line(&format!("    {text}")));
            }
            Step::Remove { path, .. } => line(&format!("remove {path}")),
            Step::RemoveEmpty { path } => line(&format!("remove {path}, if it is empty")),
            Step::Run(words) => line(&format!("run {}", words.join(" "))),
            Step::Until(words, text) => line(&format!("wait until {} says \"{text}\"", words.join(" "))),
            Step::RunOr(words, otherwise) => {
                let otherwise: Vec<String> = otherwise.iter().map(|words| words.join(" ")).collect();
                line(&format!("run {}, or else {}", words.join(" "), otherwise.join("; ")));
            }
        }
    }

    fn take(&self) -> Result<(), String> {
        match self {
            Step::Write { path, text } => write(Path::new(path), text).map_err(|error| format!("{path}: {error}")),
            Step::Remove { path, with_directory } => {
                match fs::remove_file(path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(format!("{path}: {error}")),
                    _ => {}
                }
                if let Some(directory) = Path::new(path).parent().filter(|_| *with_directory) {
                    // Files of others keep it.
                    let _ = fs::remove_dir(directory);
                }
                Ok(())
            }
            Step::RemoveEmpty { path } => {
                let _ = fs::remove_dir(path);
                Ok(())
            }
            Step::Run(words) => call(words).map(drop),
            Step::Until(words, text) => {
                let deadline = Instant::now() + WAIT;
                while !call(words)?.contains(text) {
                    if Instant::now() > deadline {
                        let words = words.join(" ");
                        return Err(format!("`{words}` does not say \"{text}\" within {} s", WAIT.as_secs()));
                    }
                    thread::sleep(LOOK);
                }
                Ok(())
            }
            Step::RunOr(words, otherwise) => call(words).map(drop).or_else(|first| {
                otherwise
                    .iter()
                    .try_for_each(|words| call(words).map(drop))
                    .map_err(|second| format!("{first}; and {second}"))
            }),
        }
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, text)?;
    // Whatever the umask: resolvers do not run as root.
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

fn call(words: &[String]) -> Result<String, String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    system::output_within(&words, PATIENCE).map_err(|error| format!("`{}`: {error}", words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_somebody_else_is_neither_overwritten_nor_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path: &'static str = directory.path().join("file").display().to_string().leak();
        let write = Step::Write { path, text: marked("ours\n") };
        let remove = Step::Remove { path, with_directory: false };
        assert_eq!(owner(path), Ok(Owner::Nobody));
        take(std::slice::from_ref(&write), true).unwrap();
        assert_eq!(owner(path), Ok(Owner::Nobody), "a dry run");
        take(std::slice::from_ref(&write), false).unwrap();
        assert_eq!(
            (owner(path), fs::read_to_string(path).unwrap().as_str()),
            (Ok(Owner::Ours), "# written by callsign host enable\nours\n")
        );
        take(&[write.clone(), remove.clone()], false).unwrap();
        assert_eq!(owner(path), Ok(Owner::Nobody));
        for text in ["", "# theirs\n# written by callsign host enable\n", "# written by callsign host enable, once\n"] {
            fs::write(path, text).unwrap();
            for steps in [[write.clone()], [remove.clone()]] {
                let error = take(&steps, false).unwrap_err();
                assert!(error.contains("it is left as it is"), "{error}");
                assert_eq!(fs::read_to_string(path).unwrap(), text);
            }
        }
    }

    #[test]
    fn the_second_program_runs_where_the_first_one_fails() {
        assert_eq!(run_or(&["false"], &[&["true"], &["true"]]).take(), Ok(()));
        assert_eq!(run_or(&["true"], &[&["false"]]).take(), Ok(()));
        let error = run_or(&["false"], &[&["true"], &["false"]]).take().unwrap_err();
        assert_eq!(error, "`false`: false: exit status: 1; and `false`: false: exit status: 1");
    }
}
