//! Memory under everything that clients can do at once (answers.md L3): the program runs with its default limits in a control
//! group of 64 MiB, and lives.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use callsign::wire::message::HEADER;
use callsign::wire::rtype;
use socket2::{Domain, Socket, Type};

use super::support::DEADLINE;
use super::support::cgroup::{self, Cgroup};
use super::support::client::{Client, Query};
use super::support::netns::Lab;
use super::support::program::Program;
use super::support::spoof;
use super::support::upstream::record;
use crate::needs_root;

const SERVER: &str = "10.10.0.1:53";
const UPSTREAM: &str = "10.99.0.1:53";
/// How long the attack lasts: longer than any deadline of the server.
const ATTACK: Duration = Duration::from_secs(8);
/// The attackers' addresses, each with as many connections as it may have, and more.
const SOURCES: u8 = 16;
const CONNECTIONS: usize = 80;
/// Threads that flood, each from an address of its own, and how many of them ask for what nobody answers: enough for all
/// places there are (`forwards`), at 1,024 a client.
const FLOODS: usize = 10;
const SILENT: usize = 6;
/// Places of questions that wait, by default.
const FORWARDS: usize = 4096;

/// Tells threads to end when it is dropped, also by a panic.
struct StopGuard<'s>(&'s AtomicBool);

impl Drop for StopGuard<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A name whose answer over TCP is as long as can be.
fn config() -> String {
    let huge = "5a".repeat(60_000);
    format!(
        r#"
[server]
upstreams = ["10.99.0.1"]

[[network]]
name = "shop"
listen = ["10.10.0.1"]
subnets = ["10.10.0.0/16"]
domains = ["internal"]

  [[network.endpoint]]
  id = "db-1"
  addresses = ["10.10.1.9"]
  names = ["db"]

  [[network.record]]
  name = "huge"
  type = "TYPE65280"
  value = "\\# 60000 {huge}"
"#
    )
}

/// Answers with a kilobyte what does not begin with `silent`.
fn answer(upstream: &UdpSocket, stop: &AtomicBool) {
    let text = [255; 1].iter().chain(&[b'x'; 255]).copied().collect::<Vec<u8>>().repeat(4);
    let record = record(16, &text);
    let mut query = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let Ok((len, client)) = upstream.recv_from(&mut query) else { continue };
        let Some(end) = callsign::wire::message::question_end(&query[..len]) else { continue };
        if query[HEADER + 1..].starts_with(b"silent") {
            continue;
        }
        let header = [query[0], query[1], 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        let _ = upstream.send_to(&[&header, &query[HEADER..end], &record].concat(), client);
    }
}

/// Asks as fast as it can, for another name each time.
fn flood(source: IpAddr, prefix: &str, stop: &AtomicBool) {
    let socket = UdpSocket::bind((source, 0)).unwrap();
    socket.connect(SERVER).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut reply = [0; 2048];
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // As long as a name can be: it is kept as long as the question waits.
        let label = "x".repeat(60);
        let name = format!("{prefix}{number:09}.{source}.{label}.{label}.{label}.example");
        let _ = socket.send(&Query::new(&name, rtype::TXT).edns(1232).bytes());
        while socket.recv(&mut reply).is_ok() {}
        // More than the cache takes and the upstream answers, and not more than the machine's other tests can bear.
        thread::sleep(Duration::from_millis(3));
    }
}

fn connect(source: IpAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.connect_timeout(&SERVER.parse::<SocketAddr>().unwrap().into(), Duration::from_secs(1))?;
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Opens connections from one address and holds them: some promise the longest message there is and send all of a long one
/// but its end, some ask for long answers and take none. Those that are closed are opened again.
fn hold(source: IpAddr, stop: &AtomicBool) {
    let query = Query::new("huge", 65_280).bytes();
    let huge = [&(query.len() as u16).to_be_bytes()[..], &query].concat().repeat(64);
    let says = [[&b"\xff\xff"[..], &[0; 4000]].concat(), [&b"\x10\x00"[..], &[0; 4095]].concat(), huge, Vec::new()];
    let mut held: Vec<Option<TcpStream>> = (0..CONNECTIONS).map(|_| None).collect();
    while !stop.load(Ordering::Relaxed) {
        for (number, place) in held.iter_mut().enumerate() {
            if place.is_none()
                && let Ok(mut stream) = connect(source)
            {
                // Perhaps it is closed already.
                let _ = stream.write_all(&says[number % says.len()]);
                *place = Some(stream);
            }
            let is_open = |stream: &TcpStream| match stream.peek(&mut [0]) {
                Ok(octets) => octets > 0,
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            };
            if !place.as_ref().is_some_and(is_open) {
                *place = None;
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Without the group the next test checks nothing of L3.
#[test]
fn l3_a_missing_group_fails_in_ci_where_the_kernel_has_a_memory_controller() {
    let (v1, off) = ("#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t4\t18\t1\n", "memory\t0\t18\t0\n");
    for (is_root_in_ci, is_v2, proc_cgroups, may) in [
        (true, true, "", false),
        (true, false, v1, false),
        (true, false, off, true),
        (true, false, "", true),
        (false, true, v1, true),
    ] {
        assert_eq!(
            cgroup::may_skip(is_root_in_ci, is_v2, proc_cgroups),
            may,
            "{is_root_in_ci} {is_v2} {proc_cgroups:?}"
        );
    }
}

#[test]
fn l3_in_64_mib_the_program_lives_whatever_clients_do() {
    needs_root!();
    let Some(cgroup) = Cgroup::with_memory(64 << 20) else { return };
    let lab = Lab::new();
    let shop = lab.bridge("shop", &["10.10.0.1/16"]);
    let upstream = lab.outside("upstream", "10.99.0.254/24", "10.99.0.1/24");
    let good = lab.container("good", &[(&shop, &["10.10.1.2/16"])]);
    let evil = lab.container("evil", &[(&shop, &["10.10.3.1/16"])]);
    let sources: Vec<IpAddr> = (1..=SOURCES).map(|number| IpAddr::from([10, 10, 3, number])).collect();
    let more: Vec<String> = sources[1..].iter().map(|source| format!("address add {source}/16 dev eth0\n")).collect();
    evil.configure(&more.concat());
    let program = Program::with(&config()).inside(lab.host()).within(&cgroup).start();
    let at_rest = cgroup.memory();

    let stop = &AtomicBool::new(false);
    let (asked, descriptors) = thread::scope(|scope| {
        scope.spawn(|| {
            upstream.enter(|| {
                let socket = UdpSocket::bind(UPSTREAM).unwrap();
                socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                answer(&socket, stop);
            })
        });
        for &source in &sources {
            let evil = &evil;
            scope.spawn(move || evil.enter(|| hold(source, stop)));
        }
        for (number, &source) in sources.iter().enumerate().take(FLOODS) {
            let (evil, prefix) = (&evil, if number < SILENT { "silent" } else { "cached" });
            scope.spawn(move || evil.enter(|| flood(source, prefix, stop)));
        }
        scope.spawn(|| {
            evil.enter(|| {
                for number in (0..=u16::MAX).cycle() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let [high, low] = number.to_be_bytes();
                    if let Ok(socket) = spoof::socket_from(IpAddr::from([10, 10, 128 | high, low])) {
                        let _ = socket.send_to(&Query::new("db", rtype::A).bytes(), SERVER);
                    }
                    thread::sleep(Duration::from_millis(4));
                }
            })
        });
        good.enter(|| {
            let (end, client) = (Instant::now() + ATTACK, Client::new(SERVER.parse().unwrap()));
            let query = || Query::new("db.internal", rtype::A);
            let _stop = StopGuard(stop);
            let (mut asked, mut descriptors) = (0, 0);
            // Until all places have been taken at a time, too, however slow the machine is.
            while Instant::now() < end || descriptors <= FORWARDS && Instant::now() < end + DEADLINE {
                // As a stub asks: again where there is no answer. The flood fills the socket's receive buffer, whoever reads
                // it, and a busy machine reads it slowly.
                let patient = client.timeout(Duration::from_secs(2));
                asked += u32::from(patient.udp_bytes(&query().bytes()).is_ok());
                descriptors = descriptors.max(program.descriptors());
            }
            (asked, descriptors)
        })
    });

    assert_eq!(cgroup.killed(), 0, "{program:?}");
    // A question that waits has a socket.
    assert!(descriptors > FORWARDS, "only {descriptors} descriptors were open at a time");
    assert!(asked > 0, "the good client was answered {asked} times");
    let (client, query) = (Client::new(SERVER.parse().unwrap()), Query::new("db", rtype::A));
    good.enter(|| {
        // What the flood has left in the socket's receive buffer may be in the way of the first one.
        until("it answers after it", || client.timeout(Duration::from_secs(1)).udp_bytes(&query.bytes()).is_ok());
        for reply in [client.udp(&query), client.tcp(&query)] {
            assert_eq!(reply.addresses().len(), 1, "after it");
        }
    });
    println!(
        "at rest {} KiB, at most {} KiB, after it {} KiB; {asked} rounds of the good client; {descriptors} descriptors",
        at_rest >> 10,
        cgroup.most_memory() >> 10,
        cgroup.memory() >> 10
    );
    // What connections took comes back; what the cache has stays.
    let deadline = Instant::now() + DEADLINE;
    while program.descriptors() > 64 {
        assert!(Instant::now() < deadline, "{} descriptors are open", program.descriptors());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until something is so, which is looked at again and again.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never came to be: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn c_memory_of_16_times_64_connections_is_little_and_used_again() {
    needs_root!();
    let lab = Lab::new();
    let shop = lab.bridge("shop", &["10.10.0.1/16"]);
    let evil = lab.container("evil", &[(&shop, &["10.10.3.1/16"])]);
    let more: Vec<String> = (2..=SOURCES).map(|number| format!("address add 10.10.3.{number}/16 dev eth0\n")).collect();
    evil.configure(&more.concat());
    let program = Program::with(&config()).inside(lab.host()).start();
    // Some of its own may be added, of no connection.
    let most = program.descriptors() + 16;
    let is_closed = || program.descriptors() <= most;
    // Sends the same over each connection, and gives those that the server does not end.
    let hold = |octets: &[u8]| -> Vec<TcpStream> {
        let sources = (1..=SOURCES).flat_map(|number| [IpAddr::from([10, 10, 3, number]); 64]);
        let connections = sources.map(|source| connect(source).unwrap());
        let send = |mut stream: TcpStream| stream.write_all(octets).map(|()| stream).ok();
        connections.filter_map(send).collect()
    };
    evil.enter(|| {
        let [promised, half] = [&[0xff, 0xff][..], &[&b"\x10\x00"[..], &[0; 4095]].concat()];
        let rounds = [promised, half, half, half].map(|octets| {
            let before = program.private_memory();
            let held = hold(octets);
            match octets {
                // A promise of 65,535 octets ends the connection.
                [0xff, ..] => until("they are closed", is_closed),
                _ => until("all are there", || program.descriptors() > held.len()),
            }
            let during = program.private_memory();
            drop(held);
            until("they are closed", is_closed);
            [before, during, program.private_memory()].map(|octets| octets >> 10)
        });
        println!("KiB before, with the connections, and after them: {rounds:?}");
        let [[before, during, after], [_, held, _], .., [.., last]] = rounds;
        assert!(during < before + 2048 && after < before + 1024, "{rounds:?}");
        assert!(held < before + 8192, "{rounds:?}");
        // The allocator keeps it for those who come next: it grows no further.
        assert!(last < held + 1024, "{rounds:?}");
    });
}
