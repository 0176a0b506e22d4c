//! What observing costs the server: answers per second and CPU time per answer, without an observer, with one
//! `callsign watch`, and with metrics.
//!
//! ```sh
//! cargo bench --bench watching                     # about 20 s; with `-- --quick`, some windows only
//! ```
//!
//! The target: with one watcher at 100,000 queries a second, the server answers as many as without, within 3 %, and says what
//! it has not shown. The other rows are at full throughput, where every nanosecond shows.
//!
//! One run, in which short windows with and without take turns: whatever else the machine does is in both. Ratios are of the
//! medians. `cargo test` runs it with some windows only, to see that it works.

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use callsign::wire::rtype;
use clap::Parser;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use support::client::Query;
use support::free_port;
use support::program::Program;

#[derive(Debug, Parser)]
#[command(name = "watching", about = "Measures what it costs the server to be looked into.")]
struct Arguments {
    /// Some windows only: to see that it works
    #[arg(long)]
    quick: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    /// The same as --quick
    #[arg(long, hide = true)]
    test: bool,
}

/// Queries that are under way at a time.
const WINDOW: usize = 64;
/// Queries a second of the steady load, and how many of them are sent at once.
const STEADY: f64 = 100_000.0;
const BURST: usize = 32;
/// Answers with a watcher, of those without one, at the steady load.
const TARGET: f64 = 0.97;
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn main() {
    let arguments = Arguments::parse();
    let is_quick = arguments.quick || arguments.test || !arguments.bench;
    let time = Duration::from_millis(200);
    let windows = if is_quick { 2 } else { 25 };

    let port = free_port(&[LOCAL]);
    let config = |more: &str| {
        format!(
            "{more}[server]\nport = {port}\nworkers = 1\n[[network]]\nname = \"shop\"\nlisten = [\"127.0.0.1\"]\n\
             endpoint = [{{ id = \"db\", names = [\"db\"], addresses = [\"10.10.1.3\"] }}]\n"
        )
    };
    let program = Program::with(&config("")).start();
    let load = Load::new(SocketAddr::new(LOCAL, port), program.pid());
    load.run(time);

    let (mut alone, mut watched, mut counts) = (Vec::new(), Vec::new(), Counts::default());
    for _ in 0..windows {
        alone.push(load.run(time));
        let watcher = Watcher::start(&program.control());
        watched.push(load.run(time));
        counts.add(watcher.end());
    }
    let (mut steady, mut steady_watched, mut steady_counts) = (Vec::new(), Vec::new(), Counts::default());
    for _ in 0..windows {
        steady.push(load.steady(time));
        let watcher = Watcher::start(&program.control());
        steady_watched.push(load.steady(time));
        steady_counts.add(watcher.end());
    }
    let (mut off, mut counted) = (Vec::new(), Vec::new());
    for _ in 0..windows {
        off.push(load.run(time));
        program.reload_by_change(&config("[metrics]\nlisten = \"127.0.0.1:0\"\n"));
        counted.push(load.run(time));
        program.reload_by_change(&config(""));
    }

    let (alone, watched, off, counted) =
        (Figures::of(&alone), Figures::of(&watched), Figures::of(&off), Figures::of(&counted));
    println!("| | answers a second | processor time per answer |\n|---|---|---|");
    println!("| nobody watches | {alone} |\n| one watcher | {watched} |");
    println!("| ratio | {:.3} | {:.3} |", watched.rate / alone.rate, watched.cpu / alone.cpu);
    let (steady, steady_watched) = (Figures::of(&steady), Figures::of(&steady_watched));
    println!("| {STEADY:.0} a second, nobody watches | {steady} |\n| the same, one watcher | {steady_watched} |");
    let ratio = steady_watched.rate / steady.rate;
    println!("| ratio | {ratio:.3} | {:.3} |", steady_watched.cpu / steady.cpu);
    println!("| no metrics | {off} |\n| metrics | {counted} |");
    println!("| ratio | {:.3} | {:.3} |", counted.rate / off.rate, counted.cpu / off.cpu);
    let is_met = ratio >= TARGET && steady_counts.dropped > 0;
    println!(
        "\nOne watcher at {STEADY:.0} a second: {ratio:.3} of the answers (at least {TARGET}), {} shown, told of {} more: {}",
        steady_counts.shown,
        steady_counts.dropped,
        if is_met { "met" } else { "MISSED" }
    );
    println!(
        "\nThe watcher was shown {} queries, and told of {} more that it was not shown.",
        counts.shown, counts.dropped
    );
    assert!(is_quick || counts.shown > 0, "the watcher saw nothing");
}

/// What a window came to.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// Answers a second.
    rate: f64,
    /// The server's processor time per answer, microseconds: of all its threads.
    cpu: f64,
}

/// The medians of windows.
#[derive(Debug, Clone, Copy)]
struct Figures {
    rate: f64,
    cpu: f64,
}

impl Figures {
    fn of(windows: &[Window]) -> Figures {
        let median = |figure: fn(&Window) -> f64| {
            let mut all: Vec<f64> = windows.iter().map(figure).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        Figures { rate: median(|window| window.rate), cpu: median(|window| window.cpu) }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} | {:.2} µs", self.rate, self.cpu)
    }
}

/// A client that always has as many queries under way.
struct Load {
    socket: UdpSocket,
    query: Vec<u8>,
    server: u32,
}

impl Load {
    fn new(address: SocketAddr, server: u32) -> Load {
        let socket = UdpSocket::bind((LOCAL, 0)).expect("a socket");
        socket.connect(address).expect("an address");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        Load { socket, query: Query::new("db", rtype::A).bytes(), server }
    }

    fn run(&self, time: Duration) -> Window {
        let (start, before) = (Instant::now(), cpu_time(self.server));
        let (mut answers, mut reply) = (0_u32, [0; 512]);
        while start.elapsed() < time {
            let sent = (0..WINDOW).filter(|_| self.socket.send(&self.query).is_ok()).count();
            // One that is lost is not waited for any longer.
            answers += (0..sent).take_while(|_| self.socket.recv(&mut reply).is_ok()).count() as u32;
        }
        let (elapsed, spent) = (start.elapsed(), cpu_time(self.server) - before);
        let answers = f64::from(answers.max(1));
        Window { rate: answers / elapsed.as_secs_f64(), cpu: spent.as_secs_f64() * 1e6 / answers }
    }
}

impl Load {
    /// So many queries a second, whatever is answered. What a slow server does not answer in time is lost.
    fn steady(&self, time: Duration) -> Window {
        let (start, before) = (Instant::now(), cpu_time(self.server));
        let (mut sent, mut answers, mut reply) = (0.0, 0_u32, [0; 512]);
        self.socket.set_nonblocking(true).expect("a socket");
        loop {
            let elapsed = start.elapsed();
            if elapsed >= time {
                break;
            }
            if sent < elapsed.as_secs_f64() * STEADY {
                (0..BURST).for_each(|_| _ = self.socket.send(&self.query));
                sent += BURST as f64;
            } else {
                // The server may have only this processor.
                thread::yield_now();
            }
            while self.socket.recv(&mut reply).is_ok() {
                answers += 1;
            }
        }
        let elapsed = start.elapsed();
        self.socket.set_nonblocking(false).expect("a socket");
        // Those that are still under way count, and are not the next window's.
        while self.socket.recv(&mut reply).is_ok() {
            answers += 1;
        }
        let spent = cpu_time(self.server) - before;
        let answers = f64::from(answers.max(1));
        Window { rate: answers / elapsed.as_secs_f64(), cpu: spent.as_secs_f64() * 1e6 / answers }
    }
}

fn cpu_time(pid: u32) -> Duration {
    let clock = clock_getcpuclockid(Pid::from_raw(pid as i32)).expect("a process");
    clock_gettime(clock).expect("its clock").into()
}

#[derive(Debug, Default)]
struct Counts {
    shown: u64,
    dropped: u64,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.shown += other.shown;
        self.dropped += other.dropped;
    }
}

/// A watcher of all queries that reads as fast as they come.
struct Watcher {
    stream: UnixStream,
    thread: JoinHandle<Counts>,
}

impl Watcher {
    fn start(socket: &Path) -> Watcher {
        let mut stream = UnixStream::connect(socket).expect("the control socket");
        stream.write_all(b"GET /v1/watch HTTP/1.1\r\nhost: x\r\n\r\n").expect("a request");
        let mut lines = BufReader::new(stream.try_clone().expect("a descriptor"));
        // Once it is answered, the watch is on.
        let mut status = String::new();
        lines.read_line(&mut status).expect("a reply");
        assert!(status.contains(" 200 "), "{status}");
        let thread = thread::spawn(move || {
            let mut counts = Counts::default();
            for line in lines.lines().map_while(Result::ok) {
                if let Some(rest) = line.strip_prefix("{\"dropped\":") {
                    counts.dropped += rest.trim_end_matches('}').parse().unwrap_or(0);
                } else if line.starts_with("{\"time\"") {
                    counts.shown += 1;
                }
            }
            counts
        });
        Watcher { stream, thread }
    }

    fn end(self) -> Counts {
        self.stream.shutdown(std::net::Shutdown::Both).expect("a connection");
        self.thread.join().expect("counts")
    }
}
