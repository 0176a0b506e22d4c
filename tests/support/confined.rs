//! What /proc says of a process that confines itself.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::DEADLINE;

/// The bit of CAP_NET_BIND_SERVICE (linux/capability.h).
pub const NET_BIND_SERVICE: u64 = 1 << 10;

/// Each thread's name, `CapInh CapPrm CapEff CapBnd CapAmb` and NoNewPrivs.
fn threads(pid: u32) -> Vec<(String, [u64; 5], bool)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap_or_else(|error| panic!("{pid}: {error}"));
    let status = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let read = |status: String| {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_else(|| panic!("{name}: {status}")).trim().to_owned()
        };
        let set = |name| u64::from_str_radix(&field(name), 16).unwrap();
        let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(set);
        (field("Name"), sets, field("NoNewPrivs") == "1")
    };
    status.map(read).collect()
}

/// Waits until every thread of a process has no more than these capabilities, to gain or in force, and no_new_privs; there
/// have to be as many threads at least.
///
/// # Panics
/// If it does not come to that, with the threads.
#[track_caller]
pub fn assert_confined(pid: u32, capabilities: u64, at_least: usize) {
    let is_root = nix::unistd::Uid::effective().is_root();
    // An ordinary user may not drop what it could gain; no_new_privs keeps it from that.
    let expected = |sets: &[u64; 5]| match is_root {
        true => *sets == [0, capabilities, capabilities, capabilities, 0],
        false => sets[..3] == [0, 0, 0] && sets[4] == 0,
    };
    let start = Instant::now();
    loop {
        let threads = threads(pid);
        if threads.len() >= at_least && threads.iter().all(|(_, sets, privs)| expected(sets) && *privs) {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "{threads:#x?}");
        thread::sleep(Duration::from_millis(1));
    }
}
