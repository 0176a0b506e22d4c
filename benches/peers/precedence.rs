//! Before other programs: this process and all that it starts, servers and clients alike, as far as the system lets it.

use std::fs;
use std::path::Path;
use std::process::{Command, id};

use crate::support::process::run;

/// The highest priority of an ordinary process.
const HIGHEST: &str = "-20";
/// Linux weighs the processes of a session together, and their priorities only against each other (sched(7), "The autogroup
/// feature"): this is the session's. The kernel may lack it.
const AUTOGROUP: &str = "/proc/self/autogroup";

/// Given back on drop, as the session goes on.
#[derive(Debug)]
pub(crate) struct Precedence {
    /// The session's priority as it was.
    before: Option<String>,
}

impl Precedence {
    /// Takes it where this process may. To be called before it has other threads.
    pub(crate) fn take() -> Precedence {
        let mut command = Command::new("renice");
        command.args(["-n", HIGHEST, "-p", &id().to_string()]);
        let is_higher = run(command).status.success();
        let before =
            fs::read_to_string(AUTOGROUP).ok().and_then(|text| Some(text.trim().rsplit_once(' ')?.1.to_owned()));
        let before = before.filter(|_| is_higher && fs::write(AUTOGROUP, HIGHEST).is_ok());
        if !is_higher || (before.is_none() && Path::new(AUTOGROUP).exists()) {
            eprintln!("peers: not root: other programs may take the servers' time and the client's");
        }
        Precedence { before }
    }
}

impl Drop for Precedence {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // It fails only where the session is gone.
            let _ = fs::write(AUTOGROUP, before);
        }
    }
}
