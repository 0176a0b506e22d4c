//! A control group of the kernel that bounds the memory of a program, as a container's or a service's does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::needs;

/// A group; removed on drop, when its processes have ended.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
    is_v2: bool,
}

impl Cgroup {
    /// A group with this much memory, octets, and no swap. `None`, loudly, where the machine lets nobody make one.
    ///
    /// # Panics
    /// In CI as root, where the machine has a memory controller and the group cannot be made.
    pub fn with_memory(octets: u64) -> Option<Cgroup> {
        static GROUPS: AtomicU32 = AtomicU32::new(0);
        let name = format!("callsign-test-{}-{}", std::process::id(), GROUPS.fetch_add(1, Ordering::Relaxed));
        let root = Path::new("/sys/fs/cgroup");
        let is_v2 = has_word(&root.join("cgroup.controllers"), "memory");
        if is_v2 && needs::is_root_in_ci() {
            hand_down(root);
        }
        let root = if is_v2 { root.to_owned() } else { root.join("memory") };
        let cgroup = Cgroup { directory: root.join(name), is_v2 };
        let made = fs::create_dir(&cgroup.directory).and_then(|()| {
            let (memory, swap, no_swap) = if is_v2 {
                ("memory.max", "memory.swap.max", 0)
            } else {
                ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", octets)
            };
            fs::write(cgroup.directory.join(memory), octets.to_string())?;
            // Not there where the kernel has no accounting of swap.
            let _ = fs::write(cgroup.directory.join(swap), no_swap.to_string());
            Ok(())
        });
        if let Err(error) = made {
            let may_skip =
                may_skip(needs::is_root_in_ci(), is_v2, &fs::read_to_string("/proc/cgroups").unwrap_or_default());
            assert!(may_skip, "no memory cgroup at {}: {error}", cgroup.directory.display());
            needs::skip(&format!("a memory cgroup: {error}"), &cgroup.directory.display().to_string());
            return None;
        }
        Some(cgroup)
    }

    /// `inner`, in the group from its first instruction on. Without its environment.
    pub fn command(&self, inner: &Command) -> Command {
        let mut command = needs::command("sh");
        command.args(["-c", "echo $$ >\"$0\" && exec \"$@\""]).arg(self.directory.join("cgroup.procs"));
        command.arg(inner.get_program()).args(inner.get_args());
        command
    }

    /// Octets in use now.
    pub fn memory(&self) -> u64 {
        self.number(if self.is_v2 { "memory.current" } else { "memory.usage_in_bytes" })
    }

    /// The most octets that were in use at a time.
    pub fn most_memory(&self) -> u64 {
        self.number(if self.is_v2 { "memory.peak" } else { "memory.max_usage_in_bytes" })
    }

    /// How many processes were killed for want of memory.
    pub fn killed(&self) -> u64 {
        let file = self.directory.join(if self.is_v2 { "memory.events" } else { "memory.oom_control" });
        let text = fs::read_to_string(&file).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.unwrap_or_else(|| panic!("{}: {text}", file.display())).parse().unwrap()
    }

    fn number(&self, file: &str) -> u64 {
        fs::read_to_string(self.directory.join(file)).unwrap().trim().parse().unwrap()
    }
}

/// True if a test may go on without a group: in CI as root only where the kernel has no memory controller, of version 2 or, as
/// /proc/cgroups lists them, of version 1.
pub fn may_skip(is_root_in_ci: bool, is_v2: bool, proc_cgroups: &str) -> bool {
    let is_v1 = proc_cgroups.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some("memory") && words.next_back() == Some("1")
    });
    !(is_root_in_ci && (is_v2 || is_v1))
}

fn has_word(file: &Path, word: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.split_whitespace().any(|found| found == word))
}

/// Lets the groups below have the memory controller. In a container the processes are in the group itself, which must then
/// have none: they go into one below.
fn hand_down(root: &Path) {
    let control = root.join("cgroup.subtree_control");
    if has_word(&control, "memory") || fs::write(&control, "+memory").is_ok() {
        return;
    }
    let below = root.join("callsign-test-others");
    let _ = fs::create_dir(&below);
    for process in fs::read_to_string(root.join("cgroup.procs")).unwrap_or_default().lines() {
        // It may have ended.
        let _ = fs::write(below.join("cgroup.procs"), process);
    }
    // Whether it worked, the group that is made next shows.
    let _ = fs::write(&control, "+memory");
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // No panic in a drop: it may run in one.
        let _ = fs::remove_dir(&self.directory);
    }
}
