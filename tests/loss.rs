//! Upstreams behind bad paths and dead ones, in network namespaces with netem: how many questions are answered, and how
//! soon. What is compared is the forwarder with itself, on the same paths and at the same time.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use callsign::forward::{Choice, ForwardOptions, Forwarder, Question};
use callsign::table::Upstream;
use callsign::wire::message::{Header, flag};
use support::netns::{Lab, Namespace};

/// Of the way there and back together.
const RTT: Duration = Duration::from_millis(40);
const DEAD: &str = "loss 100%";

/// A machine beyond the host with a server that answers at once.
struct Machine {
    namespace: Namespace,
    address: SocketAddr,
}

impl Machine {
    /// The `number`th, behind a path of this kind each way.
    fn new(lab: &Lab, number: u8, path: &str) -> Machine {
        let (host, own) = (format!("10.99.{number}.254/24"), format!("10.99.{number}.1/24"));
        let namespace = lab.outside(&format!("up{number}"), &host, &own);
        let socket = namespace.enter(|| UdpSocket::bind(("0.0.0.0", 53)).unwrap());
        thread::spawn(move || answer(&socket));
        let machine = Machine { namespace, address: format!("10.99.{number}.1:53").parse().unwrap() };
        lab.host().impair(&format!("link{number}"), path);
        machine.set_path(path);
        machine
    }

    /// Changes the way back.
    fn set_path(&self, path: &str) {
        self.namespace.impair("eth0", path);
    }
}

/// Sends each query back as its reply, until the test ends.
fn answer(socket: &UdpSocket) {
    let mut message = [0; 512];
    while let Ok((len, from)) = socket.recv_from(&mut message) {
        message[2] |= 0x80;
        let _ = socket.send_to(&message[..len], from);
    }
}

/// A forwarder in the host's namespace.
struct Bench {
    forwarder: Arc<Forwarder>,
    choice: Arc<Choice>,
}

impl Bench {
    fn new(machines: &[&Machine]) -> Bench {
        let upstreams: Vec<_> = machines.iter().map(|machine| Upstream::new(machine.address.into())).collect();
        let forwarder = Forwarder::new(ForwardOptions { upstreams: upstreams.into(), ..ForwardOptions::default() });
        let choice = Arc::new(forwarder.choose(b"\x00", &[]));
        Bench { forwarder: Arc::new(forwarder), choice }
    }

    /// How long one question takes; `None` if it is not answered.
    async fn ask(&self) -> Option<Duration> {
        let question = b"\x03www\x07example\x00\x00\x01\x00\x01".to_vec();
        let question = Question { question, flags: flag::RD, dnssec_ok: false };
        let start = Instant::now();
        let reply = self.forwarder.ask(&question, &self.choice).await.ok()?;
        Header::read(&reply).is_some_and(|header| header.rcode() == 0).then(|| start.elapsed())
    }

    /// Asks `count` questions, one each `every`, whatever becomes of those before; each with when it was asked.
    async fn load(self: &Arc<Bench>, count: u32, every: Duration) -> Vec<(Duration, Option<Duration>)> {
        let start = Instant::now();
        let mut clock = tokio::time::interval(every);
        let mut asked = Vec::new();
        for _ in 0..count {
            clock.tick().await;
            let bench = self.clone();
            asked.push(tokio::spawn(async move { (start.elapsed(), bench.ask().await) }));
        }
        let mut done = Vec::new();
        for asked in asked {
            done.push(asked.await.unwrap());
        }
        done
    }
}

fn within<T: Send>(lab: &Lab, work: impl AsyncFnOnce() -> T + Send) -> T {
    lab.host().enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work())
    })
}

/// The 99th percentile; a question without an answer took for ever.
fn p99(times: impl Iterator<Item = Option<Duration>>) -> Duration {
    let mut times: Vec<_> = times.map(|time| time.unwrap_or(Duration::MAX)).collect();
    times.sort();
    times[times.len() * 99 / 100]
}

/// Up to three times: other programs of a busy machine may be in the way of one.
fn eventually(mut attempt: impl FnMut() -> Result<String, String>) {
    let mut said = Vec::new();
    for _ in 0..3 {
        match attempt() {
            Ok(figures) => return println!("{figures}"),
            Err(figures) => said.push(figures),
        }
    }
    panic!("{said:#?}");
}

fn path() -> String {
    format!("delay {}ms", RTT.as_millis() / 2)
}

#[test]
fn a_path_that_loses_a_fifth_each_way_loses_hardly_a_question() {
    needs_root!("ip", "tc");
    for machines in [1, 2] {
        let lab = Lab::new();
        let machines: Vec<_> = (0..machines).map(|number| Machine::new(&lab, number, "delay 10ms loss 20%")).collect();
        let bench = Arc::new(Bench::new(&machines.iter().collect::<Vec<_>>()));
        let done = within(&lab, async || bench.load(10_000, Duration::from_micros(500)).await);
        let answered = done.iter().filter(|(_, time)| time.is_some_and(|time| time < Duration::from_secs(5))).count();
        let queries: u64 = bench.forwarder.upstreams().iter().map(|upstream| upstream.queries).sum();
        println!("{} upstreams: {answered} of 10000 answered, {queries} queries", machines.len());
        println!("p99 {:?}", p99(done.into_iter().map(|(_, time)| time)));
        assert!(answered >= 9_990, "{answered}");
    }
}

#[test]
fn one_of_two_dead_from_the_start_is_not_noticed() {
    needs_root!("ip", "tc");
    let lab = Lab::new();
    let (one, two) = (Machine::new(&lab, 0, &path()), Machine::new(&lab, 1, &path()));
    eventually(|| {
        one.set_path(&path());
        let measure = || {
            let bench = Arc::new(Bench::new(&[&one, &two]));
            within(&lab, async || {
                let first = bench.ask().await;
                (first.unwrap_or(Duration::MAX), bench.load(1000, Duration::from_millis(4)).await)
            })
        };
        let (_, alive) = measure();
        one.set_path(DEAD);
        let (first, dead) = measure();
        let (alive, dead) = (p99(alive.into_iter().map(|(_, time)| time)), p99(dead.into_iter().map(|(_, time)| time)));
        let figures = format!("first answer {first:?}, p99 {dead:?}; both alive {alive:?}");
        let good = first < RTT + Duration::from_millis(50) && dead <= alive.mul_f64(1.2);
        if good { Ok(figures) } else { Err(figures) }
    });
}

#[test]
fn one_of_two_that_dies_under_load_is_noticed_for_half_a_second() {
    needs_root!("ip", "tc");
    let lab = Lab::new();
    // The first is the quicker one: it is the one in use.
    let (one, two) = (Machine::new(&lab, 0, "delay 15ms"), Machine::new(&lab, 1, &path()));
    eventually(|| {
        one.set_path("delay 15ms");
        let bench = Arc::new(Bench::new(&[&one, &two]));
        let slower = Arc::new(Bench::new(&[&two]));
        let (alive, done) = within(&lab, async || {
            let alive = slower.load(500, Duration::from_millis(4)).await;
            bench.load(250, Duration::from_millis(4)).await;
            one.set_path(DEAD);
            (alive, bench.load(500, Duration::from_millis(4)).await)
        });
        let alive = p99(alive.into_iter().map(|(_, time)| time));
        let during = p99(done.iter().filter(|(at, _)| *at < Duration::from_millis(500)).map(|&(_, time)| time));
        let after = p99(done.iter().filter(|(at, _)| *at >= Duration::from_millis(500)).map(|&(_, time)| time));
        let slow = done.iter().filter(|(_, time)| time.is_none_or(|time| time > alive.mul_f64(1.2))).count();
        let figures = format!("p99 after 500 ms {after:?}, before {during:?} ({slow} slow); other one alone {alive:?}");
        if after <= alive.mul_f64(1.2) && during < Duration::from_millis(500) { Ok(figures) } else { Err(figures) }
    });
}
