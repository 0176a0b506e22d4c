//! What a machine must have for a test, and the one way to go on without: loudly.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Returns from the test, with one loud line on stderr, where the process is not root, the kernel has no network
/// namespaces for it, or one of the named programs is missing: `needs_root!("dig", "dnsmasq")`.
///
/// In CI as root nothing is skipped: what is missing there fails the test that needs it.
#[macro_export]
macro_rules! needs_root {
    ($($program:literal),*) => {
        if !$crate::support::needs::met(std::any::type_name_of_val(&|| ()), true, &[$($program),*]) {
            return;
        }
    };
}

/// [`needs_root!`] for a test that needs programs only: `needs!("dig")`.
#[macro_export]
macro_rules! needs {
    ($($program:literal),+) => {
        if !$crate::support::needs::met(std::any::type_name_of_val(&|| ()), false, &[$($program),+]) {
            return;
        }
    };
}

/// True if the test is to run. `closure` is the type name of a closure in the test: the test's path and `::{{closure}}`.
pub fn met(closure: &str, root: bool, programs: &[&str]) -> bool {
    let is_root = is_root();
    if is_root_in_ci() {
        return true;
    }
    let mut missing = Vec::new();
    if root && !(is_root && has_namespaces()) {
        missing.push("root and network namespaces");
    }
    missing.extend(programs.iter().copied().filter(|program| find(program).is_none()));
    if !missing.is_empty() {
        skip(&missing.join(", "), closure.trim_end_matches("::{{closure}}"));
    }
    missing.is_empty()
}

/// Says that a test, or a part of one, is left out for want of something. `tests/all` lists these lines at its end.
pub fn skip(need: &str, what: &str) {
    // Not `eprintln!`: the test runner keeps that of a test that passes to itself.
    let _ = writeln!(std::io::stderr(), "SKIPPED (needs {need}): {what}");
}

/// The path of a program, given by name or by an absolute path, also where a user's PATH leaves the system's directories
/// out.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// The path of a program, or its bare name where it is not installed, for the error that this gives.
pub fn path(program: &str) -> PathBuf {
    find(program).unwrap_or_else(|| PathBuf::from(program))
}

/// A command of `program`, wherever it is installed.
pub fn command(program: &str) -> Command {
    Command::new(path(program))
}

/// True where nothing is skipped: what is missing fails the test that needs it.
pub fn is_root_in_ci() -> bool {
    is_root() && std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// True if this process is root.
pub fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|process| process.uid() == 0)
}

fn has_namespaces() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        let ip = |action: &str, name: &str| {
            let quiet = command("ip").args(["netns", action, name]).stderr(Stdio::null()).status();
            quiet.is_ok_and(|status| status.success())
        };
        let name = format!("callsign-{}-probe", std::process::id());
        ip("add", &name) && ip("delete", &name)
    })
}
