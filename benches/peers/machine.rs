//! The machine that is measured on, and which core does what.

use std::fs;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// For people: processor, kernel, load.
    pub(crate) description: String,
    /// The core of the server that is measured.
    pub(crate) server_core: usize,
    /// The core of dnsperf.
    pub(crate) client_core: usize,
    /// The core of the upstream: the client's, where there is no third one.
    pub(crate) upstream_core: usize,
    cores: Vec<usize>,
}

impl Machine {
    /// Looks at the machine, and keeps this process and its children off the server's core. `None` if there are not two
    /// cores to have.
    pub(crate) fn look() -> Option<Machine> {
        let this = Pid::from_raw(0);
        let allowed = sched_getaffinity(this).ok()?;
        let cores: Vec<_> = (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false)).collect();
        let &[server_core, client_core, ..] = &cores[..] else { return None };
        let upstream_core = cores.get(2).copied().unwrap_or(client_core);
        let mut others = CpuSet::new();
        cores[1..].iter().try_for_each(|&core| others.set(core)).ok()?;
        sched_setaffinity(this, &others).ok()?;
        let description = format!(
            "{}, {} cores, Linux {}, load average {} before",
            processor().unwrap_or_else(|| "an unknown processor".to_owned()),
            cores.len(),
            read("/proc/sys/kernel/osrelease"),
            read("/proc/loadavg").split(' ').next().unwrap_or("unknown"),
        );
        Some(Machine { description, server_core, client_core, upstream_core, cores })
    }

    /// All cores, as `taskset` takes them.
    pub(crate) fn all_cores(&self) -> String {
        self.cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
    }
}

fn processor() -> Option<String> {
    let info = read("/proc/cpuinfo");
    let line = info.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
}

fn read(file: &str) -> String {
    fs::read_to_string(file).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}
