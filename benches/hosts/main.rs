//! What it costs a host to know the names of many others: how long it reads them, in what memory, and what changes cost.
//!
//! ```sh
//! cargo bench --bench hosts                       # 200 hosts, then 1,000; about 3 min
//! cargo bench --bench hosts -- --hosts 50         # as many
//! ```
//!
//! Three members of a real etcd on loopback have what so many hosts would have written, keys and transactions as
//! docs/hosts.md has them. `callsign serve` follows them, and so does this program, whose table tells when a change is in
//! force. Bars are those of the project for 200 hosts of 250 containers. `cargo test` runs it with a few hosts, to see that
//! it works.

#[path = "../../tests/support/mod.rs"]
mod support;

mod etcd;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use callsign::control::client::Call;
use callsign::control::shapes::Status;
use callsign::settings::StoreOptions;
use callsign::source::etcd::Store;
use callsign::table::{Event, NameTable, Network, Reach, Sharing};
use clap::Parser;
use etcd::{Cluster, Publisher};
use support::free_port;
use support::program::Program;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Changes a second, of all hosts together.
const CHANGES: u32 = 100;
/// Publishers that make them.
const PUBLISHERS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Parser)]
#[command(name = "hosts", about = "Measures what it costs to know the names of other hosts.")]
struct Arguments {
    /// So many hosts, and no others
    #[arg(long)]
    hosts: Option<usize>,
    /// Containers of each
    #[arg(long, default_value_t = 250)]
    containers: usize,
    /// A few hosts only: to see that it works
    #[arg(long)]
    quick: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    /// The same as --quick
    #[arg(long, hide = true)]
    test: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !Cluster::is_installed() {
        println!("SKIPPED (needs etcd): what other hosts' names cost");
        return ExitCode::SUCCESS;
    }
    let is_quick = arguments.quick || arguments.test || !arguments.bench;
    let mut is_good = true;
    let sizes = match arguments.hosts {
        _ if is_quick => vec![(3, 20)],
        Some(hosts) => vec![(hosts, arguments.containers)],
        // The second is as many as callsign takes.
        None => vec![(200, 250), (1000, 200)],
    };
    for (hosts, containers) in sizes {
        let measured = measure(hosts, containers, Duration::from_secs(if is_quick { 1 } else { 20 }));
        println!("{hosts} hosts of {containers} containers\n{measured}");
        if !is_quick && (hosts, containers) == (200, 250) {
            is_good &= measured.meets_the_bars();
        }
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What was seen.
struct Measured {
    /// From the start of the program until it serves all names.
    sync: Duration,
    /// Of the program, above one without a store: octets.
    resident: u64,
    /// Share of a core while nothing changes, and with changes.
    quiet: f64,
    busy: f64,
    /// From the write until the change is in force, in order.
    latencies: Vec<Duration>,
    /// Changes that were made.
    changes: usize,
    /// What etcd's members took meanwhile, of a core.
    etcd: f64,
    /// How long all hosts took to write what they have.
    loading: Duration,
}

impl Measured {
    fn percentile(&self, percent: usize) -> Duration {
        let at = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).copied().unwrap_or_default()
    }

    fn meets_the_bars(&self) -> bool {
        let mut is_good = true;
        let mut bar = |what: &str, is_met: bool| {
            if !is_met {
                println!("BAR NOT MET: {what}");
            }
            is_good &= is_met;
        };
        bar("all names within 2 s", self.sync < Duration::from_secs(2));
        bar("60 MiB above an idle server", self.resident < 60 << 20);
        bar("99 % of the changes in force within 100 ms", self.percentile(99) < Duration::from_millis(100));
        bar("5 % of a core with 100 changes a second", self.busy < 0.05);
        bar("every change was seen", self.latencies.len() == self.changes);
        is_good
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        let most = self.latencies.last().copied().unwrap_or_default();
        writeln!(f, "  written to etcd in     {:.1} s", self.loading.as_secs_f64())?;
        writeln!(f, "  all names served after {:.2} s", self.sync.as_secs_f64())?;
        writeln!(
            f,
            "  resident memory        {:.1} MiB above a server without a store",
            self.resident as f64 / 1_048_576.0
        )?;
        writeln!(f, "  CPU while quiet        {:.2} % of a core", self.quiet * 100.0)?;
        writeln!(
            f,
            "  CPU with changes       {:.2} % of a core, etcd's members {:.0} %",
            self.busy * 100.0,
            self.etcd * 100.0
        )?;
        writeln!(
            f,
            "  changes in force after p50 {}, p99 {}, at most {} ({} of {} at {CHANGES} a second)",
            ms(self.percentile(50)),
            ms(self.percentile(99)),
            ms(most),
            self.latencies.len(),
            self.changes
        )
    }
}

fn measure(hosts: usize, containers: usize, time: Duration) -> Measured {
    let cluster = Cluster::start(3);
    let started = Instant::now();
    let publishers: Vec<Publisher> = (0..PUBLISHERS.min(hosts))
        .map(|at| {
            let own = (0..hosts).filter(move |host| host % PUBLISHERS == at);
            Publisher::new(cluster.url(at), own, containers)
        })
        .collect();
    let loaders = publishers.into_iter().map(|mut publisher| {
        thread::spawn(move || {
            publisher.load();
            publisher
        })
    });
    let loaders: Vec<_> = loaders.collect();
    let publishers: Vec<Publisher> = loaders.into_iter().map(|loader| loader.join().unwrap()).collect();
    let loading = started.elapsed();
    let all = hosts * containers;

    let idle = resident(&Program::with(&config("")).start());
    let store = format!("[store]\netcd = {:?}\nhost = \"reader\"\nttl = 600\nstate = \"\"\n", cluster.urls());
    let started = Instant::now();
    let program = Program::with(&config(&store)).start();
    wait_for(&program, all);
    let sync = started.elapsed();
    let resident = resident(&program).saturating_sub(idle);

    let table = NameTable::new();
    let reader = Reader::start(&cluster, &table, all);
    let before = cpu(program.pid());
    thread::sleep(time / 4);
    let quiet = (cpu(program.pid()) - before).as_secs_f64() / (time / 4).as_secs_f64();

    let (before, members) = (cpu(program.pid()), cluster.pids().iter().map(|pid| cpu(*pid)).sum::<Duration>());
    let began = Instant::now();
    let sent: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let count = publishers.len() as u32;
    let makers = publishers.into_iter().enumerate().map(|(at, mut publisher)| {
        let sent = sent.clone();
        thread::spawn(move || {
            let every = Duration::from_secs(1) * count / CHANGES;
            let mut next = began + every * at as u32 / count;
            while next < began + time {
                thread::sleep(next.saturating_duration_since(Instant::now()));
                let id = publisher.next_change();
                sent.lock().unwrap().insert(id, Instant::now());
                publisher.make_change();
                next += every;
            }
        })
    });
    makers.collect::<Vec<_>>().into_iter().for_each(|maker| maker.join().unwrap());
    let elapsed = began.elapsed();
    let share = |time: Duration| time.as_secs_f64() / elapsed.as_secs_f64();
    let busy = share(cpu(program.pid()) - before);
    let etcd = share(cluster.pids().iter().map(|pid| cpu(*pid)).sum::<Duration>() - members);
    let sent = std::mem::take(&mut *sent.lock().unwrap());
    let latencies = reader.latencies(&sent);
    Measured { sync, resident, quiet, busy, latencies, changes: sent.len(), etcd, loading }
}

fn config(store: &str) -> String {
    let port = free_port(&[LOCAL]);
    format!(
        "{store}[server]\nport = {port}\n[[network]]\nname = \"shop\"\nlisten = [\"127.0.0.1\"]\ndomains = [\"internal\"]\n\
         share = \"container\"\nremote_subnets = [\"10.0.0.0/8\"]\n"
    )
}

/// Waits until the program serves so many containers of other hosts.
fn wait_for(program: &Program, all: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = runtime.block_on(Call::get("/v1/status").send::<Status>(&program.control()));
        let served = status.ok().and_then(|(status, _)| Some(status.store?.remote_containers)).unwrap_or_default();
        if served >= all {
            return;
        }
        assert!(Instant::now() < deadline, "{served} of {all} containers are served");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Follows the store in this process, and notes when each endpoint was last attached.
struct Reader {
    is_done: Arc<AtomicBool>,
    attached: thread::JoinHandle<HashMap<String, Vec<Instant>>>,
    store: thread::JoinHandle<()>,
}

impl Reader {
    fn start(cluster: &Cluster, table: &NameTable, all: usize) -> Reader {
        let mut sharing = Sharing::new(Reach::Container);
        sharing.remote_subnets = vec!["10.0.0.0/8".parse().unwrap()];
        let network = table.add(Network::builder("shop").sharing(Some(sharing)).build().unwrap()).unwrap();
        let is_done = Arc::new(AtomicBool::new(false));
        let store = thread::spawn({
            let (table, is_done, urls) = (table.clone(), is_done.clone(), cluster.urls());
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let mut options = StoreOptions::new("watcher", urls);
                    options.ttl = Duration::from_secs(600);
                    let _store = Store::start(options, &table).unwrap();
                    while !is_done.load(Ordering::Relaxed) {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                });
            }
        });
        let deadline = Instant::now() + PATIENCE;
        while network.snapshot().endpoint_count() < all {
            assert!(Instant::now() < deadline, "{} of {all} are known", network.snapshot().endpoint_count());
            thread::sleep(Duration::from_millis(10));
        }
        let mut feed = table.follow();
        let attached = thread::spawn({
            let is_done = is_done.clone();
            move || {
                let mut seen: HashMap<String, Vec<Instant>> = HashMap::new();
                while !is_done.load(Ordering::Relaxed) {
                    match feed.next_timeout(Duration::from_millis(100)) {
                        Some(Event::NetworkChanged { attached, .. }) => {
                            let now = Instant::now();
                            attached.into_iter().for_each(|id| seen.entry(id.into()).or_default().push(now));
                        }
                        Some(Event::Missed(count)) => panic!("missed {count} events"),
                        _ => {}
                    }
                }
                seen
            }
        });
        Reader { is_done, attached, store }
    }

    /// How long each of these changes took, in order.
    fn latencies(self, sent: &HashMap<String, Instant>) -> Vec<Duration> {
        // What was written last is under way.
        thread::sleep(Duration::from_secs(1));
        self.is_done.store(true, Ordering::Relaxed);
        let seen = self.attached.join().unwrap();
        self.store.join().unwrap();
        let mut latencies: Vec<Duration> = sent
            .iter()
            .filter_map(|(id, sent)| Some(seen.get(id)?.iter().find(|at| *at >= sent)?.duration_since(*sent)))
            .collect();
        latencies.sort_unstable();
        latencies
    }
}

/// Resident memory of a program, octets.
fn resident(program: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// The processor time of a process so far.
fn cpu(pid: u32) -> Duration {
    let pid = nix::unistd::Pid::from_raw(pid as i32);
    let clock = nix::time::clock_getcpuclockid(pid).unwrap();
    nix::time::clock_gettime(clock).unwrap().into()
}
