//! The program under the name `aardvark-dns` at the sizes that matter: how fast it is there, how fast a container is known,
//! and what memory it takes; beside Podman's own program, where there is one.
//!
//! ```sh
//! cargo bench --bench podman                       # about a minute; with `-- --quick`, tiny sizes and some seconds
//! AARDVARK_DNS=/usr/lib/podman/aardvark-dns cargo bench --bench podman
//! ```
//!
//! Both are started as netavark starts them, from the same files, and seen from outside: by queries and by /proc. Without
//! AARDVARK_DNS the one in PATH is taken. `cargo test` runs it with tiny sizes, to see that it works.

// What the tests have for starting the program and for asking it.
#[path = "../tests/aardvark/kit.rs"]
#[allow(dead_code)]
mod kit;
#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use kit::{Daemon, Home, SHOP, container, network, until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use support::needs;
use support::program::CALLSIGN;

#[derive(Debug, Parser)]
#[command(name = "podman", about = "Measures the program under the name aardvark-dns.")]
struct Arguments {
    /// Tiny sizes: to see that it works
    #[arg(long)]
    quick: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    /// The same as --quick
    #[arg(long, hide = true)]
    test: bool,
}

/// How much of everything there is.
struct Sizes {
    /// Containers on the one large network.
    containers: usize,
    /// Networks, with 100 containers each.
    networks: usize,
    /// Reloads after which memory is looked at.
    reloads: usize,
    /// How often each time is taken; the median counts.
    times: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let sizes = if arguments.quick || arguments.test || !arguments.bench {
        Sizes { containers: 1000, networks: 20, reloads: 5, times: 3 }
    } else {
        Sizes { containers: 100_000, networks: 1000, reloads: 100, times: 11 }
    };
    // Two sockets for each network.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let peer = std::env::var_os("AARDVARK_DNS").map(PathBuf::from).or_else(|| needs::find("aardvark-dns"));
    let programs = [("callsign", Some(PathBuf::from(CALLSIGN))), ("aardvark-dns", peer)];
    let mut columns = Vec::new();
    for (name, program) in programs {
        match program {
            Some(program) => columns.push((name, measure(&program, &sizes))),
            None => println!("podman: {name} is not measured: name it in AARDVARK_DNS"),
        }
    }
    let Sizes { containers, networks, reloads, .. } = sizes;
    println!("\n{:<58}{}", "", columns.iter().map(|(name, _)| format!("{name:>20}")).collect::<String>());
    let rows = [
        "one network, one container: start to ready".to_owned(),
        "  private memory (resident)".to_owned(),
        format!("one network, {containers} containers: start to ready"),
        "  private memory (resident)".to_owned(),
        "  one container added: signal to answer".to_owned(),
        format!("  private memory (resident) after {reloads} reloads more"),
        format!("{networks} networks of 100 containers: start to ready"),
        "  one container added: signal to answer".to_owned(),
    ];
    for (index, row) in rows.iter().enumerate() {
        println!("{row:<58}{}", columns.iter().map(|(_, cells)| format!("{:>20}", cells[index])).collect::<String>());
    }
    ExitCode::SUCCESS
}

/// A column of the table.
fn measure(program: &Path, sizes: &Sizes) -> Vec<String> {
    let mut cells = Vec::new();
    idle(program, sizes, &mut cells);
    large(program, sizes, &mut cells);
    many(program, sizes, &mut cells);
    cells
}

fn idle(program: &Path, sizes: &Sizes, cells: &mut Vec<String>) {
    let home = home(program);
    home.write("shop", &network(SHOP, "10.0.0.2"));
    let starts = (0..sizes.times).map(|_| start(&home).1).collect();
    cells.push(milliseconds(median(starts)));
    let (daemon, _) = start(&home);
    assert_eq!(home.addresses(SHOP, "web"), ["10.0.0.2"]);
    cells.push(memory(&daemon));
}

fn large(program: &Path, sizes: &Sizes, cells: &mut Vec<String>) {
    let home = home(program);
    let lines: Vec<String> = (0..sizes.containers).map(line).collect();
    home.write("shop", &format!("{SHOP}\n{}", lines.concat()));
    let (daemon, took) = start(&home);
    assert_eq!(home.addresses(SHOP, &format!("c{}", sizes.containers - 1)).len(), 1);
    cells.push(milliseconds(took));
    cells.push(memory(&daemon));
    let mut next = sizes.containers;
    cells.push(added(&home, &daemon, "shop", SHOP, &mut next, sizes.times));
    for reload in 0..sizes.reloads {
        // One goes and one comes, as netavark rewrites the file.
        let rest = lines[reload + 1..].concat();
        home.write("shop", &format!("{SHOP}\n{rest}{}", line(next)));
        daemon.hang_up();
        known(&home, SHOP, next);
        next += 1;
    }
    cells.push(memory(&daemon));
}

fn many(program: &Path, sizes: &Sizes, cells: &mut Vec<String>) {
    let home = home(program);
    let gateway = |index: usize| format!("127.77.{}.{}", index / 250, 1 + index % 250);
    for index in 0..sizes.networks {
        let lines: String = (0..100).map(|of| line(index * 100 + of)).collect();
        home.write(&format!("net{index}"), &format!("{}\n{lines}", gateway(index)));
    }
    let (daemon, took) = start(&home);
    cells.push(milliseconds(took));
    let (middle, mut next) = (sizes.networks / 2, sizes.networks * 100);
    cells.push(added(&home, &daemon, &format!("net{middle}"), &gateway(middle), &mut next, sizes.times));
}

/// From the signal that tells of a new container to the first answer that has it.
fn added(home: &Home, daemon: &Daemon, network: &str, gateway: &str, next: &mut usize, times: usize) -> String {
    let add = |_| {
        home.append(network, &line(*next));
        let start = Instant::now();
        daemon.hang_up();
        known(home, gateway, *next);
        *next += 1;
        start.elapsed()
    };
    milliseconds(median((0..times).map(add).collect()))
}

fn known(home: &Home, gateway: &str, container: usize) {
    let name = format!("c{container}");
    until("a container is known", || home.addresses_if_any(gateway, &name).len() == 1);
}

fn home(program: &Path) -> Home {
    // Names that are not known yet are asked for: nobody else is to be.
    Home::of(program).environment("AARDVARK_NO_PROXY", "1").environment("RUST_LOG", "error")
}

/// As netavark starts it: until its parent has ended.
fn start(home: &Home) -> (Daemon, Duration) {
    let start = Instant::now();
    let status = home.run_command().status().expect("the program");
    let took = start.elapsed();
    assert!(status.success(), "{:?}", home.run_command());
    (home.daemon(), took)
}

/// A container's line: its id, an address, its name and its short id.
fn line(index: usize) -> String {
    // Spread over all 64 digits, as real ones are.
    let mut state = index as u64;
    let digits = std::iter::repeat_with(|| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        format!("{:016x}", (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb))
    });
    let id: String = digits.take(4).collect();
    let address = format!("10.{}.{}.{}", index >> 16 & 255, index >> 8 & 255, index & 255);
    container(&id, &address, &format!("c{index},{}", &id[..12]))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// Private memory, and resident memory in parentheses: what is of no file, and with the pages of files.
fn memory(daemon: &Daemon) -> String {
    let status = fs::read_to_string(daemon.proc("status")).expect("a running server");
    let mib = |label: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(label)).expect("a line of memory");
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number of kB");
        kib / 1024.0
    };
    format!("{:.1} ({:.1}) MiB", mib("RssAnon:"), mib("VmRSS:"))
}
