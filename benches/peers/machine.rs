//! The machine that is measured on, and which core does what.

use std::fmt;
use std::fs;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) kernel: String,
    /// The load average of the minute before.
    pub(crate) load: String,
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
        let processor = processor().unwrap_or_else(|| "an unknown processor".to_owned());
        let kernel = format!("Linux {}", read("/proc/sys/kernel/osrelease"));
        let load = read("/proc/loadavg").split(' ').next().unwrap_or("unknown").to_owned();
        Some(Machine { processor, kernel, load, server_core, client_core, upstream_core, cores })
    }

    /// How many cores may be used.
    pub(crate) fn cores(&self) -> usize {
        self.cores.len()
    }

    /// All cores, as `taskset` takes them.
    pub(crate) fn all_cores(&self) -> String {
        self.cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { processor, kernel, load, .. } = self;
        write!(f, "{processor}, {} cores, {kernel}, load average {load} before", self.cores())
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
