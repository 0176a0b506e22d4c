//! Before other programs: this process and all that it starts, servers and clients alike, as far as the system lets it.

use std::fs;
use std::path::Path;
use std::process::{Command, exit, id};
use std::thread;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::support::process::run;

/// The highest priority of an ordinary process.
const HIGHEST: &str = "-20";
/// Linux weighs the processes of a session together, and their priorities only against each other (sched(7), "The autogroup
/// feature"): this is the session's. The kernel may lack it.
const AUTOGROUP: &str = "/proc/self/autogroup";

/// Given back on drop, and when a signal ends this process, as the session goes on.
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
        if let Some(before) = before.clone() {
            thread::spawn(move || give_back_at_signal(&before));
        }
        Precedence { before }
    }
}

impl Drop for Precedence {
    fn drop(&mut self) {
        self.before.iter().for_each(|before| give_back(before));
    }
}

fn give_back(before: &str) {
    // It fails only where the session is gone.
    let _ = fs::write(AUTOGROUP, before);
}

/// Ends this process as one of these signals would have; the servers end with it.
fn give_back_at_signal(before: &str) {
    let runtime = Builder::new_current_thread().enable_io().build().expect("a runtime for signals");
    let number = runtime.block_on(async {
        let [mut hangup, mut interrupt, mut terminate] =
            [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()]
                .map(|kind| signal(kind).expect("signals can be waited for"));
        tokio::select! {
            _ = hangup.recv() => SignalKind::hangup(),
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
        }
        .as_raw_value()
    });
    give_back(before);
    // As a shell tells it.
    exit(128 + number)
}
