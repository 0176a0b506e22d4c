//! What a run was: when, of which source, built how, and how long each part of it took.

use std::env;
use std::process::Command;
use std::time::Duration;

use crate::support::needs;
use crate::support::process::run;

/// See the module.
#[derive(Debug)]
pub(crate) struct About {
    /// Year, month, day.
    pub(crate) date: String,
    /// The commit, and whether files were changed since. `None` outside of a repository.
    pub(crate) commit: Option<(String, bool)>,
    /// How the servers of this project were built: with optimization or not, and what the environment says of profiles.
    pub(crate) profile: String,
    pub(crate) rounds: u32,
    /// Of each measurement of throughput.
    pub(crate) flood: Duration,
    /// Of each measurement of latencies.
    pub(crate) steady: Duration,
}

impl About {
    pub(crate) fn look(rounds: u32, flood: Duration, steady: Duration) -> About {
        let date = said("date", &["+%F"]).unwrap_or_default();
        About { date, commit: commit(), profile: profile(), rounds, flood, steady }
    }

    /// For people: how what is told was measured.
    pub(crate) fn medians(&self) -> String {
        let (flood, steady) = (self.flood.as_secs_f64(), self.steady.as_secs_f64());
        let parts = format!("of {flood} s as fast as can be and {steady} s at a steady rate");
        match self.rounds {
            1 => format!("One round {parts}"),
            rounds => format!("Medians of {rounds} interleaved rounds {parts}"),
        }
    }
}

/// The commit that is checked out, and whether files were changed since.
pub(crate) fn commit() -> Option<(String, bool)> {
    let git = |arguments: &[&str]| said("git", &[&["-C", env!("CARGO_MANIFEST_DIR")], arguments].concat());
    let commit = git(&["rev-parse", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some((commit, !changed.is_empty()))
}

fn profile() -> String {
    let mut profile = if cfg!(debug_assertions) { "unoptimized".to_owned() } else { "optimized".to_owned() };
    let is_of_profiles = |name: &String| name.starts_with("CARGO_PROFILE_") || name == "RUSTFLAGS";
    let mut set: Vec<_> = env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect();
    set.retain(|(name, _)| is_of_profiles(name));
    set.sort();
    for (name, value) in set {
        profile += &format!(" {name}={}", value.to_string_lossy());
    }
    profile
}

/// What a program prints, if it is there and succeeds.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(needs::find(program)?);
    command.args(arguments);
    let finished = run(command);
    finished.status.success().then(|| finished.stdout.trim().to_owned())
}
