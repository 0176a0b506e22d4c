//! What a process and all below it use: some servers have processes of their own for their sockets.

use std::fs;
use std::time::Duration;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// The process, its children, theirs and so on.
fn tree(root: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // The fourth field of `stat` is the parent.
    let parents: Vec<(u32, u32)> = pids.filter_map(|pid| Some((pid, fields(pid)?.get(1)?.parse().ok()?))).collect();
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let of = found[next];
        found.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| pid));
        next += 1;
    }
    found
}

/// The processor time of all of them so far: user and system, also of threads that have ended. From their clocks
/// (clock_getcpuclockid(3)), which have no steps; `stat` tells the same time in steps of 10 ms.
pub(crate) fn cpu_time(root: u32) -> Duration {
    let used = |pid: u32| {
        let clock = clock_getcpuclockid(Pid::from_raw(pid as i32)).ok()?;
        clock_gettime(clock).ok().map(Duration::from)
    };
    tree(root).into_iter().filter_map(used).sum()
}

/// The resident memory of all of them, MB. What some of them share is counted once, in parts for each.
pub(crate) fn resident(root: u32) -> f64 {
    let processes = tree(root);
    // A server alone is told as `ps` tells it: what it shares with programs that are not measured is in its memory, too.
    let is_alone = processes.len() == 1;
    sum(&processes, |pid| match is_alone {
        true => kib(pid, "status", "VmRSS:"),
        false => kib(pid, "smaps_rollup", "Pss:").or_else(|| kib(pid, "status", "VmRSS:")),
    })
}

/// The private memory of all of them, MB: what is resident of no file (proc_pid_status(5), RssAnon). It is what the machine has
/// less of for a server; the pages of files the system takes back where memory is short. Processes that were forked and have
/// not written to a page share it: it is counted in parts for each.
pub(crate) fn private(root: u32) -> f64 {
    let processes = tree(root);
    let is_alone = processes.len() == 1;
    sum(&processes, |pid| match is_alone {
        true => kib(pid, "status", "RssAnon:"),
        false => kib(pid, "smaps_rollup", "Pss_Anon:").or_else(|| kib(pid, "status", "RssAnon:")),
    })
}

/// The sum of a figure in KiB, MB.
fn sum(processes: &[u32], kib: impl Fn(u32) -> Option<f64>) -> f64 {
    processes.iter().filter_map(|&pid| kib(pid)).sum::<f64>() * 1024.0 / 1e6
}

fn kib(pid: u32, file: &str, label: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

/// True if the process is there and has not ended.
pub(crate) fn is_running(pid: u32) -> bool {
    fields(pid).is_some_and(|fields| fields[0] != "Z")
}

/// The fields of a process's `stat` from the third on. `None` if it is gone.
fn fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second is the program's name, in parentheses, and may have any characters.
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}
