//! Queries from addresses that nobody has (answers.md L1): their replies wait in the kernel for a neighbor that never
//! answers, and fill the socket that they were sent by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use callsign::wire::rtype;

use super::support::client::{Client, Query, Reply};
use super::support::netns::Lab;
use super::support::program::Program;
use super::support::spoof;
use crate::needs_root;

const CONFIG: &str = r#"
[server]
upstreams = ["127.0.0.9"]

[[network]]
name = "shop"
listen = ["10.10.0.1", "fd00:10::1"]
subnets = ["10.10.0.0/16", "fd00:10::/64"]

  [[network.endpoint]]
  id = "db-1"
  addresses = ["10.10.1.9"]
  names = ["db"]
"#;

/// Spoofed queries a second.
const RATE: u32 = 1000;
/// Spoofed queries: for several times as long as the kernel waits for a neighbor.
const SPOOFED: u32 = 8000;
/// The good client's pause between two queries.
const PAUSE: Duration = Duration::from_millis(10);

/// The `number`th address that nobody has.
fn nobody(server: IpAddr, number: u32) -> IpAddr {
    match server {
        IpAddr::V4(_) => Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(10, 10, 2, 0)) + number).into(),
        IpAddr::V6(_) => {
            Ipv6Addr::from_bits("fd00:10::1:0:0".parse::<Ipv6Addr>().unwrap().to_bits() + u128::from(number)).into()
        }
    }
}

/// Asks `server` from one spoofed address after the other, until all are done.
fn flood(server: SocketAddr) {
    let start = Instant::now();
    let query = Query::new("db", rtype::A).bytes();
    for number in 0..SPOOFED {
        // In step with the clock, whatever a query takes.
        thread::sleep((start + number * Duration::from_secs(1) / RATE).saturating_duration_since(Instant::now()));
        let socket = spoof::socket_from(nobody(server.ip(), number)).unwrap();
        socket.send_to(&query, server).unwrap();
    }
}

/// Asks at a steady pace until it is told to stop; gives the number of queries and of answers.
fn ask(socket: &UdpSocket, stop: &AtomicBool) -> (usize, usize) {
    let (mut asked, mut answered) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let query = Query::new("db", rtype::A).bytes();
        socket.send(&query).unwrap();
        asked += 1;
        let mut reply = [0; 512];
        // A reply that comes after its time is none.
        while let Ok(len) = socket.recv(&mut reply) {
            if reply[..2] == query[..2] {
                assert_eq!(Reply::new(reply[..len].to_vec()).addresses().len(), 1);
                answered += 1;
                break;
            }
        }
        thread::sleep(PAUSE);
    }
    (asked, answered)
}

fn good_client_keeps_its_answers(server: &str) {
    let server = SocketAddr::new(server.parse().unwrap(), 53);
    let lab = Lab::new();
    let shop = lab.bridge("shop", &["10.10.0.1/16", "fd00:10::1/64"]);
    let good = lab.container("good", &[(&shop, &["10.10.1.2/16", "fd00:10::2/64"])]);
    let evil = lab.container("evil", &[(&shop, &["10.10.1.3/16", "fd00:10::3/64"])]);
    let _program = Program::with(CONFIG).inside(lab.host()).start();
    let stop = AtomicBool::new(false);
    let (asked, answered) = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            good.enter(|| {
                let socket = Client::new(server).timeout(Duration::from_secs(1)).udp_socket().unwrap();
                ask(&socket, &stop)
            })
        });
        evil.enter(|| flood(server));
        stop.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });
    assert!(asked > 100, "only {asked} queries were asked");
    assert_eq!(answered, asked, "answers to the good client's queries");
}

#[test]
fn l1_spoofed_queries_cost_a_good_client_no_answer_over_ipv4() {
    needs_root!();
    good_client_keeps_its_answers("10.10.0.1");
}

#[test]
fn l1_spoofed_queries_cost_a_good_client_no_answer_over_ipv6() {
    needs_root!();
    good_client_keeps_its_answers("fd00:10::1");
}
