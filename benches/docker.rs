//! What Docker's containers gain: Docker's own resolver alone, beside the same with callsign behind it, on a real engine.
//!
//! ```sh
//! cargo bench --bench docker            # as root, with Docker installed; about a minute. `-- --quick`: once, with small sizes
//! ```
//!
//! Each row is measured from inside a container, once on an engine that asks the upstreams itself, once on an engine that asks
//! callsign, which asks the same upstreams. `cargo test` runs it with small sizes, to see that it works.

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::VecDeque;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use callsign::wire::rtype;
use clap::Parser;
use support::client::{Client, Query, Reply};
use support::docker::{Docker, EMBEDDED, GATEWAY};
use support::machine::{Network, Outside, UPSTREAM, at_port_53};
use support::program::Program;

#[derive(Debug, Parser)]
#[command(name = "docker", about = "Measures Docker's resolver alone, and with callsign behind it.")]
struct Arguments {
    /// Once, with small sizes: to see that it works
    #[arg(long)]
    quick: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    /// The same as --quick
    #[arg(long, hide = true)]
    test: bool,
}

struct Sizes {
    /// Questions with a silent first upstream, each of which takes Docker 4 s.
    silent: usize,
    /// Questions for one name.
    repeated: usize,
    /// How long questions are asked one after the other.
    steady: Duration,
}

/// An address of the upstream's machine where nobody answers.
const SILENT: &str = "10.99.0.2";

/// As many questions as Docker's resolver lets a container have in flight.
const DOCKERS_CAP: usize = 1024;

/// Questions at a time.
const MANY: usize = 1500;

/// Docker gives a server this long.
const DOCKERS_PATIENCE: Duration = Duration::from_secs(4);

fn main() {
    let arguments = Arguments::parse();
    needs_docker!();
    let sizes = if arguments.quick || arguments.test || !arguments.bench {
        Sizes { silent: 1, repeated: 20, steady: Duration::from_millis(100) }
    } else {
        Sizes { silent: 4, repeated: 20, steady: Duration::from_secs(3) }
    };
    let mut table = Table::default();
    println!("{:<62}{:>28}{:>28}", "", "Docker alone", "with callsign");

    table.row(
        "first of two upstreams silent: a query takes",
        [false, true].map(|callsign| silent(callsign, &sizes)),
        milliseconds,
    );
    table.row(
        &format!("one name {} times: queries to the upstream", sizes.repeated),
        [false, true].map(|callsign| repeated(callsign, &sizes)),
        |count| count.to_string(),
    );
    for (server, count) in [(EMBEDDED, DOCKERS_CAP), (EMBEDDED, MANY), (GATEWAY, MANY)] {
        let place = if server == GATEWAY { "the gateway" } else { server };
        let bursts =
            [false, true].map(|callsign| (callsign || server == EMBEDDED).then(|| burst(server, callsign, count)));
        // The fewer are left, the better.
        table.row(&format!("{count} queries at a time, upstream 1 s, at {place}"), bursts, Burst::to_string);
        if let ([_, Some(burst)], DOCKERS_CAP) = (bursts, count) {
            table.require(burst.answered == count, "callsign leaves queries unanswered that Docker alone has room for");
        }
    }
    steady(&mut table, &sizes);
    println!(
        "\nCPU is that of dockerd and callsign together. At the gateway ({GATEWAY}) Docker alone does not listen: its figures at \
         {EMBEDDED} stand beside callsign's, and are the target. Rows at {EMBEDDED} have none: there Docker's own work is in both \
         columns and callsign's in one, while that of the scripted upstream is in neither."
    );
    std::process::exit(table.end());
}

/// What was measured, and where callsign does worse.
#[derive(Default)]
struct Table {
    worse: Vec<String>,
    failed: Vec<String>,
}

impl Table {
    /// Prints a row; less is better. A row with one cell, or with a difference below a tenth, is no target.
    fn row<T: Copy + Measure>(&mut self, what: &str, cells: [impl Into<Option<T>>; 2], show: impl Fn(&T) -> String) {
        self.print(what, cells.map(Into::into), show, true);
    }

    /// Prints a row, which may be a target.
    fn print<T: Copy + Measure>(
        &mut self,
        what: &str,
        [alone, with]: [Option<T>; 2],
        show: impl Fn(&T) -> String,
        is_target: bool,
    ) {
        let shown = |cell: &Option<T>| cell.as_ref().map_or_else(|| "–".to_owned(), &show);
        let is_more = alone.zip(with).is_some_and(|(alone, with)| with.amount() > alone.amount() * 1.1);
        let is_worse = is_target && is_more;
        let mark = if is_worse { "  MISSED" } else { "" };
        println!("{what:<62}{:>28}{:>28}{mark}", shown(&alone), shown(&with));
        if is_worse {
            self.worse.push(format!("{what}: {} with callsign, {} without", shown(&with), shown(&alone)));
        }
    }

    /// Notes what must not be so.
    fn require(&mut self, holds: bool, otherwise: &str) {
        if !holds {
            self.failed.push(otherwise.to_owned());
        }
    }

    /// Prints the targets that were missed, and gives the exit code: only what is refused or lost is a failure, since a
    /// second server behind Docker's own always costs something, and times depend on the machine.
    fn end(&self) -> i32 {
        for worse in &self.worse {
            println!("target missed: {worse}");
        }
        for failed in &self.failed {
            eprintln!("failed: {failed}");
        }
        i32::from(!self.failed.is_empty())
    }
}

/// Something of which less is better.
trait Measure {
    fn amount(&self) -> f64;
}

impl Measure for Duration {
    fn amount(&self) -> f64 {
        self.as_secs_f64()
    }
}

impl Measure for usize {
    fn amount(&self) -> f64 {
        *self as f64
    }
}

/// What came of many queries at a time.
#[derive(Debug, Clone, Copy)]
struct Burst {
    answered: usize,
    refused: usize,
    silent: usize,
}

impl Measure for Burst {
    fn amount(&self) -> f64 {
        (self.refused + self.silent) as f64
    }
}

impl std::fmt::Display for Burst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} answered", self.answered)?;
        for (count, what) in [(self.refused, "refused"), (self.silent, "silent")] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

/// An engine with these upstreams, with or without callsign.
struct Site<'a> {
    docker: Docker<'a>,
    callsign: Option<Program>,
}

impl<'a> Site<'a> {
    fn new(outside: &'a Outside, callsign: bool, upstreams: &[&str]) -> Site<'a> {
        let servers: Vec<&str> = if callsign { vec![GATEWAY] } else { upstreams.to_vec() };
        let options: Vec<&str> = servers.iter().flat_map(|server| ["--dns", server]).collect();
        let lines: String = upstreams.iter().map(|upstream| format!("nameserver {upstream}\n")).collect();
        outside.host().set_resolv_conf(&lines);
        let docker = Docker::with(outside, &options);
        docker.run(&["network", "create", "n1"]);
        let callsign = callsign.then(|| docker.serve());
        docker.container("db", &["--network", "n1"]);
        let site = Site { docker, callsign };
        if site.callsign.is_some() {
            let db = site.docker.running("db");
            support::machine::becomes("db", vec![db.address_on("n1")], || db.resolves(GATEWAY, "db"));
        }
        site
    }

    /// The container's network.
    fn inside(&self) -> Network {
        self.docker.running("db").network()
    }

    /// Processor time of all who answer, so far.
    fn cpu_time(&self) -> Duration {
        let daemon = cpu_time(&self.docker.machine().proc(self.docker.daemon(), "task"));
        let callsign =
            self.callsign.as_ref().map(|callsign| cpu_time(format!("/proc/{}/task", callsign.pid()).as_ref()));
        daemon + callsign.unwrap_or_default()
    }
}

/// Processor time of a process's threads, from the scheduler's own clock: finer than the 10 ms of `stat`.
fn cpu_time(tasks: &std::path::Path) -> Duration {
    let of = |task: fs::DirEntry| {
        // A thread may end meanwhile.
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0)
    };
    Duration::from_nanos(fs::read_dir(tasks).expect("a process that runs").flatten().map(of).sum())
}

fn silent(callsign: bool, sizes: &Sizes) -> Duration {
    let outside = Outside::new();
    let upstream = Upstream::start(&outside, Duration::ZERO);
    // It takes what comes, and answers nothing.
    let _deaf =
        outside.namespace().enter(|| UdpSocket::bind(at_port_53(SILENT)).expect("the upstream's other address"));
    let site = Site::new(&outside, callsign, &[SILENT, UPSTREAM]);
    let client = Client::new(at_port_53(EMBEDDED));
    let times = site.inside().enter(|| {
        let ask = |number| {
            let start = Instant::now();
            let reply = client.udp(&Query::new(&format!("silent{number}.example"), rtype::A));
            assert_eq!(reply.status(), "NOERROR");
            start.elapsed()
        };
        (0..sizes.silent).map(ask).collect()
    });
    drop(upstream);
    median(times)
}

fn repeated(callsign: bool, sizes: &Sizes) -> usize {
    let outside = Outside::new();
    let upstream = Upstream::start(&outside, Duration::ZERO);
    let site = Site::new(&outside, callsign, &[UPSTREAM]);
    let client = Client::new(at_port_53(EMBEDDED));
    let before = upstream.questions("repeated.example");
    site.inside().enter(|| {
        for _ in 0..sizes.repeated {
            assert_eq!(client.udp(&Query::new("repeated.example", rtype::A)).status(), "NOERROR");
        }
    });
    upstream.questions("repeated.example") - before
}

/// Many questions for different names at a time, from one container, each of which the upstream answers after a second.
fn burst(server: &str, callsign: bool, count: usize) -> Burst {
    let outside = Outside::new();
    let _upstream = Upstream::start(&outside, Duration::from_secs(1));
    let site = Site::new(&outside, callsign, &[UPSTREAM]);
    let (answered, refused) = site.inside().enter(|| {
        let socket = Client::new(at_port_53(server)).udp_socket().expect("a socket");
        socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20).expect("a size");
        for number in 0..count {
            let query = Query::new(&format!("burst{number}.example"), rtype::A).id(number as u16);
            socket.send(&query.bytes()).expect("a datagram");
            if number % 50 == 49 {
                // As fast as a resolver reads: what its socket drops says nothing of its limits.
                thread::sleep(Duration::from_millis(5));
            }
        }
        let (mut answered, mut refused) = (0, 0);
        let deadline = Instant::now() + DOCKERS_PATIENCE + Duration::from_secs(2);
        let mut buffer = [0; 4096];
        while answered + refused < count && Instant::now() < deadline {
            socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a time");
            match socket.recv(&mut buffer) {
                Ok(len) if Reply::new(buffer[..len].to_vec()).status() == "NOERROR" => answered += 1,
                Ok(_) => refused += 1,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => {}
                Err(error) => panic!("{error}"),
            }
        }
        (answered, refused)
    });
    Burst { answered, refused, silent: count - answered - refused }
}

/// What a load of queries comes to.
#[derive(Debug, Clone, Copy)]
struct Load {
    /// Processor time a query.
    cpu: Duration,
    p50: Duration,
    p99: Duration,
    rate: Rate,
}

/// Queries a second, of which more is better.
#[derive(Debug, Clone, Copy)]
struct Rate(f64);

impl Measure for Rate {
    fn amount(&self) -> f64 {
        self.0.recip()
    }
}

/// Queries one after the other, and so many at a time, for a container's name and for one that is forwarded.
const AT_A_TIME: [usize; 2] = [1, 16];

/// Measures and prints what a query costs when nothing is wrong.
fn steady(table: &mut Table, sizes: &Sizes) {
    let names = [("container's name", "db"), ("name elsewhere, repeated", "www.example.com")];
    let loads = |callsign: bool, servers: &[&str]| -> Vec<Load> {
        let outside = Outside::new();
        let _upstream = Upstream::start(&outside, Duration::ZERO);
        let site = Site::new(&outside, callsign, &[UPSTREAM]);
        let each = names.iter().flat_map(|(_, name)| AT_A_TIME.map(|count| (*name, count)));
        each.flat_map(|(name, count)| servers.iter().map(move |server| (*server, name, count)))
            .map(|(server, name, count)| load(&site, server, name, count, sizes))
            .collect()
    };
    let alone = loads(false, &[EMBEDDED]);
    let with = loads(true, &[EMBEDDED, GATEWAY]);
    let rows = names.iter().flat_map(|(what, _)| AT_A_TIME.map(|count| (what, count)));
    for (number, (what, count)) in rows.enumerate() {
        let alone = alone[number];
        for (with, place) in [(with[2 * number], EMBEDDED), (with[2 * number + 1], "the gateway")] {
            let is_target = place != EMBEDDED;
            let what = format!("{what} at {place}, {count} at a time");
            let mut times = |of: &str, time: fn(&Load) -> Duration| {
                table.print(&format!("{what}: {of}"), [Some(time(&alone)), Some(time(&with))], microseconds, is_target);
            };
            times("CPU a query", |load| load.cpu);
            times("p50", |load| load.p50);
            times("p99", |load| load.p99);
            let rates = [Some(alone.rate), Some(with.rate)];
            table.print(&format!("{what}: queries/s"), rates, |rate| format!("{:.0}", rate.0), is_target);
        }
    }
}

/// Asks for a name from inside the container, with so many queries in flight.
fn load(site: &Site<'_>, server: &str, name: &str, count: usize, sizes: &Sizes) -> Load {
    let (mut times, cpu, took) = site.inside().enter(|| {
        let socket = Client::new(at_port_53(server)).udp_socket().expect("a socket");
        let mut buffer = [0; 4096];
        let mut sent = vec![Instant::now(); count];
        let send = |id: usize, sent: &mut [Instant]| {
            sent[id] = Instant::now();
            socket.send(&Query::new(name, rtype::A).id(id as u16).bytes()).expect("a datagram");
        };
        let mut receive = |sent: &[Instant]| {
            let len = socket.recv(&mut buffer).expect("a reply");
            let id = usize::from(u16::from_be_bytes([buffer[0], buffer[1]]));
            let took = sent[id].elapsed();
            assert_eq!(Reply::new(buffer[..len].to_vec()).addresses().len(), 1, "{name} at {server}");
            (id, took)
        };
        for _ in 0..20 {
            send(0, &mut sent);
            receive(&sent);
        }
        let (before, start) = (site.cpu_time(), Instant::now());
        (0..count).for_each(|id| send(id, &mut sent));
        let (mut times, mut in_flight) = (Vec::new(), count);
        while in_flight > 0 {
            let (id, took) = receive(&sent);
            times.push(took);
            if start.elapsed() < sizes.steady {
                send(id, &mut sent);
            } else {
                in_flight -= 1;
            }
        }
        (times, site.cpu_time() - before, start.elapsed())
    });
    times.sort();
    Load {
        cpu: cpu / times.len() as u32,
        p50: times[times.len() / 2],
        p99: times[times.len() * 99 / 100],
        rate: Rate(times.len() as f64 / took.as_secs_f64()),
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn milliseconds(time: &Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn microseconds(time: &Duration) -> String {
    format!("{:.0} µs", time.as_secs_f64() * 1e6)
}

/// An upstream that has an address for every name, after a while, and counts.
struct Upstream {
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    /// What was asked, in wire form.
    questions: Mutex<Vec<Vec<u8>>>,
    in_flight: Mutex<VecDeque<(Instant, SocketAddr, Vec<u8>)>>,
    ends: AtomicBool,
}

impl Upstream {
    fn start(outside: &Outside, delay: Duration) -> Upstream {
        let socket =
            outside.namespace().enter(|| UdpSocket::bind(at_port_53(UPSTREAM)).expect("the upstream's address"));
        socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20).expect("a size");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time");
        let state = Arc::new(State::default());
        let (receiver, sender) = (socket.try_clone().expect("a socket"), socket);
        let (received, sent) = (state.clone(), state.clone());
        let threads = vec![
            thread::spawn(move || receive(&receiver, &received, delay)),
            thread::spawn(move || {
                if !delay.is_zero() {
                    send(&sender, &sent);
                }
            }),
        ];
        Upstream { state, threads }
    }

    /// How often a name was asked for.
    fn questions(&self, name: &str) -> usize {
        let query = Query::new(name, rtype::A);
        let question = query.question();
        let is_it = |asked: &&Vec<u8>| asked.eq_ignore_ascii_case(&question);
        self.state.questions.lock().unwrap().iter().filter(is_it).count()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.state.ends.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().expect("the upstream"));
    }
}

fn receive(socket: &UdpSocket, state: &State, delay: Duration) {
    let mut buffer = [0; 4096];
    while !state.ends.load(Ordering::Relaxed) {
        let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
        let Some(reply) = reply(&buffer[..len]) else { continue };
        let end = callsign::wire::message::question_end(&buffer[..len]).expect("a question");
        state.questions.lock().unwrap().push(buffer[12..end].to_vec());
        if delay.is_zero() {
            let _ = socket.send_to(&reply, from);
        } else {
            state.in_flight.lock().unwrap().push_back((Instant::now() + delay, from, reply));
        }
    }
}

/// Sends what is due.
fn send(socket: &UdpSocket, state: &State) {
    while !state.ends.load(Ordering::Relaxed) {
        let mut in_flight = state.in_flight.lock().unwrap();
        while in_flight.front().is_some_and(|(due, ..)| *due <= Instant::now()) {
            if let Some((_, from, reply)) = in_flight.pop_front() {
                let _ = socket.send_to(&reply, from);
            }
        }
        drop(in_flight);
        thread::sleep(Duration::from_millis(1));
    }
}

/// 192.0.2.80 for every question of type A, nothing for others.
fn reply(query: &[u8]) -> Option<Vec<u8>> {
    let end = callsign::wire::message::question_end(query)?;
    let is_a = query[end - 4..end] == [0, 1, 0, 1];
    let mut reply = query[..end].to_vec();
    reply[2] |= 0x80;
    reply[3] = 0x80;
    reply[4..12].copy_from_slice(&[0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    if is_a {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 192, 0, 2, 80]);
    }
    Some(reply)
}
