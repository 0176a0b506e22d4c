//! Clients that mean no good, or that everything breaks under: others are answered as before, and memory is bounded.

use std::fs::File;
use std::io::{Seek, Write};
use std::net::UdpSocket;

use callsign::forward::{ForwardOptions, Forwarder, Question};
use callsign::server::ReadySocket;
use callsign::wire::message::flag;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt::Ipv4RecvErr};

use super::stopping::memory;
use super::*;

/// Octets that look like nothing, the same in each run (Marsaglia's xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        for (left, by) in [(true, 13), (false, 7), (true, 17)] {
            self.0 ^= if left { self.0 << by } else { self.0 >> by };
        }
        self.0
    }

    fn datagram(&mut self) -> Vec<u8> {
        let len = self.next() % 600;
        let mut octets: Vec<u8> = (0..len).map(|_| self.next() as u8).collect();
        if self.next().is_multiple_of(2) && len > 12 {
            // A good header, so that the rest is looked at.
            octets[2..12].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, (self.next() % 2) as u8]);
        }
        octets
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn garbage_over_udp_and_half_open_tcp_cost_a_good_client_no_answer() {
    let server = builder().workers(1).start().await.unwrap();
    server.add_network(shop().build().unwrap()).await.unwrap();
    let address = listening(&server, "shop");
    let asker = Asker::start(address, "127.0.0.2");
    let flood = Client::new(address).from("127.0.0.3".parse().unwrap()).udp_socket().unwrap();
    let mark = Client::new(address).from("127.0.0.3".parse().unwrap());
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let mut half_open = Vec::new();
    for turn in 0..150 {
        // No more at a time than the kernel has room for beside the good client's.
        for _ in 0..64 {
            flood.send(&noise.datagram()).unwrap();
        }
        mark.udp(&local());
        if turn % 3 == 0 {
            let mut connection = connect_from("127.0.0.4", address).unwrap();
            connection.stream.write_all(&noise.datagram()).unwrap();
            half_open.push(connection);
        }
    }
    assert!(asker.stop() > 0);
    assert_served(address);
}

#[test]
fn a_thousand_idle_connections_from_one_client_cost_others_nothing_and_little_memory() {
    alone(async {
        let (server, address) = shop_with(None, Limits::default()).await;
        assert_served(address);
        for most in [Limits::default().tcp_connections_per_client, 1000] {
            server.set_limits(limits(|limits| {
                limits.tcp_connections_per_client = most;
                limits.tcp_idle = Duration::from_secs(600);
                limits.tcp_message = Duration::from_secs(600);
            }));
            let asker = Asker::start(address, "127.0.0.2");
            let before = memory();
            let mut idle: Vec<Connection> = (0..1000).map(|_| connect_from("127.0.0.1", address).unwrap()).collect();
            // Some say nothing, some promise a long message. What was closed already cannot be written to.
            idle.iter_mut().step_by(2).for_each(|connection| _ = connection.stream.write_all(b"\x0f\xffhalf"));
            let own = |count: usize| (most..=most + 1).contains(&count);
            until("as many as may are taken", || own(server.status().tcp_connections));
            assert!(asker.stop() >= 2);
            let grown = memory().saturating_sub(before);
            assert!(grown < 16 << 20, "{grown} octets for {most} connections");
            assert_served_from("127.0.0.5", address);
            drop(idle);
            until("all are given back", || server.status().tcp_connections == 0);
        }
    });
}

#[track_caller]
pub(super) fn assert_served_from(source: &str, address: SocketAddr) {
    Asker::start(address, source).stop();
}

/// How many connections wait to be accepted at a socket; `table` is /proc/net/tcp.
fn waiting(table: &mut File, address: SocketAddr) -> usize {
    let mut lines = String::new();
    table.rewind().unwrap();
    io::Read::read_to_string(table, &mut lines).unwrap();
    let local = format!("0100007F:{:04X}", address.port());
    let mut words = lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listener = words.find(|words| words[1] == local && words[3] == "0A").expect("the listener");
    usize::from_str_radix(listener[4].split_once(':').unwrap().1, 16).unwrap()
}

#[test]
fn c_running_out_of_descriptors_does_not_end_a_listener() {
    alone(async {
        let upstream = Scripted::start(|query| vec![query.answer(&[a([192, 0, 2, 1])])]).await;
        let upstreams = vec![Upstream::new(upstream.address().into())];
        // One worker: what it was told before a query was answered, it has seen.
        let server = builder().workers(1).upstreams(upstreams.into()).start().await.unwrap();
        server.add_network(shop().build().unwrap()).await.unwrap();
        let address = listening(&server, "shop");
        let udp = Client::new(address).udp_socket().unwrap();
        let ask = |query: Query| {
            udp.send(&query.bytes()).unwrap();
            let mut reply = vec![0; 1232];
            let len = udp.recv(&mut reply).expect("an answer over UDP");
            reply.truncate(len);
            Reply::new(reply).status()
        };
        // Nothing foreign as yet: the socket of one question would do for the next.
        assert_eq!(ask(local()), "NOERROR");

        let mut table = File::open("/proc/self/net/tcp").unwrap();
        let sockets: Vec<Socket> = (0..3).map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()).collect();
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 200, hard).unwrap();
        let filler: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        assert!(filler.len() < 200);
        let mut connections = sockets.into_iter().map(|socket| {
            socket.connect(&address.into()).unwrap();
            let mut connection = Connection { stream: socket.into() };
            connection.stream.set_read_timeout(Some(DEADLINE)).unwrap();
            connection.send(&local().bytes()).unwrap();
            connection
        });
        let mut connections: Vec<Connection> = connections.by_ref().collect();
        for _ in 0..200 {
            assert_eq!(ask(local()), "NOERROR");
        }
        assert_eq!(
            (waiting(&mut table, address), server.status().tcp_connections),
            (3, 0),
            "there was a descriptor left"
        );
        assert_eq!(ask(foreign()), "SERVFAIL");

        drop(filler);
        connections.iter_mut().for_each(|connection| _ = connection.receive().expect("an answer at last"));
        assert_served(address);
        assert_eq!(ask(foreign()), "NOERROR");
    });
}

/// Clients that ask for names that are never answered have all sockets to upstreams but those of the others.
#[test]
fn l4_silent_questions_of_two_clients_leave_others_sockets() {
    const DESCRIPTORS: u64 = 200;
    /// Half of the sockets that upstreams get, which are three quarters of the descriptors.
    const WAITING: usize = 75;
    alone(async {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, hard).unwrap();
        let upstream = Scripted::start(|query| match query.is_probe() || query.question()[1] != b'x' {
            true => vec![query.answer(&[a([192, 0, 2, 1])])],
            false => vec![],
        })
        .await;
        let upstreams = vec![Upstream::new(upstream.address().into())];
        let server = builder().workers(1).upstreams(upstreams.into()).start().await.unwrap();
        server.add_network(shop().build().unwrap()).await.unwrap();
        let address = listening(&server, "shop");
        let ask = |number: u32| {
            let client = Client::new(address).from("127.0.0.9".parse().unwrap());
            client.udp(&Query::new(&format!("good{number}.example"), rtype::A)).status()
        };
        // The server is known to answer.
        assert_eq!(ask(0), "NOERROR");
        for flooder in ["127.0.0.2", "127.0.0.3"] {
            let socket = Client::new(address).from(flooder.parse().unwrap()).udp_socket().unwrap();
            for number in 0..200 {
                socket.send(&Query::new(&format!("x{number}.{flooder}.example"), rtype::A).bytes()).unwrap();
            }
        }
        until("the flooders have all places", || server.status().forwards >= WAITING);
        for number in 1..10 {
            assert_eq!(ask(number), "NOERROR", "{number}");
        }
    });
}

/// Sockets that are kept for the next question to one upstream are no reason not to ask another one.
#[test]
fn f_idle_sockets_make_room_where_none_is_left() {
    // Of the descriptors that the process may have, upstreams get three quarters.
    const DESCRIPTORS: u64 = 200;
    const SOCKETS: usize = 150;
    /// How long an idle socket is kept if nothing happens.
    const KEPT: Duration = Duration::from_secs(2);
    alone(async {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, hard).unwrap();
        let gate = Gate::closed();
        let first = upstream_behind(&gate).await;
        let second = Scripted::start(|query| vec![query.answer(&[a([192, 0, 2, 2])])]).await;
        let [first_asked, second_asked] = [&first, &second].map(|upstream| {
            let upstreams = vec![Upstream::new(upstream.address().into())].into();
            Arc::new(Forwarder::new(ForwardOptions { upstreams, ..ForwardOptions::default() }))
        });
        async fn ask(forwarder: &Forwarder) -> Vec<u8> {
            let question = b"\x03www\x07example\x00\x00\x01\x00\x01".to_vec();
            let question = Question { question, flags: flag::RD, dnssec_ok: false };
            forwarder.ask(&question, &forwarder.choose(b"\x00", &[])).await.expect("an answer")
        }

        let start = Instant::now();
        let asks: Vec<_> = (0..SOCKETS)
            .map(|_| {
                let forwarder = first_asked.clone();
                tokio::spawn(async move { ask(&forwarder).await })
            })
            .collect();
        asked(&first, SOCKETS - 1).await;
        gate.open();
        for ask in asks {
            ask.await.unwrap();
        }
        ask(&second_asked).await;
        assert!(start.elapsed() < KEPT, "it waited until the idle ones were too old");

        // The same where the process has no descriptor left, although it might have more sockets.
        let start = Instant::now();
        let _filler: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        ask(&first_asked).await;
        assert!(start.elapsed() < KEPT, "it waited until the idle ones were too old");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_reply_to_a_port_that_is_closed_does_not_end_a_listener() {
    let gate = Gate::closed();
    let upstream = upstream_behind(&gate).await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // With this the kernel reports each of them when next something is received or sent.
    setsockopt(&socket, Ipv4RecvErr, &true).unwrap();
    let upstreams = vec![Upstream::new(upstream.address().into())];
    let server = builder().upstreams(upstreams.into()).start().await.unwrap();
    let sockets = vec![ReadySocket::from(socket)];
    server.add_network_at(network("shop").build().unwrap(), sockets).await.unwrap();
    let client = Client::new(address);
    for number in 0..20 {
        let closed = client.udp_socket().unwrap();
        closed.send(&foreign().bytes()).unwrap();
        asked(&upstream, number).await;
    }
    gate.open();
    until("all replies are sent", || server.status().forwards == 0);
    for _ in 0..20 {
        assert_eq!(client.udp(&local()).answers().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_client_that_pipelines_over_all_its_connections_leaves_others_their_turn() {
    let server = builder().workers(1).start().await.unwrap();
    server.add_network(shop().build().unwrap()).await.unwrap();
    let address = listening(&server, "shop");
    // Half of them send messages of no octets, which nobody answers; half ask, and take the answers.
    let greedy: Vec<_> = (0..64)
        .map(|number| {
            let mut connection = connect_from("127.0.0.1", address).unwrap();
            let query = local().bytes();
            let asks = if number % 2 == 0 { 0 } else { 256 };
            let framed = [&(query.len() as u16).to_be_bytes()[..], &query].concat().repeat(asks);
            let burst = if asks == 0 { vec![0; 1 << 14] } else { framed };
            std::thread::spawn(move || {
                while connection.stream.write_all(&burst).is_ok() && (0..asks).all(|_| connection.receive().is_ok()) {}
            })
        })
        .collect();
    let asker = Asker::start(address, "127.0.0.2");
    let client = Client::new(address).from("127.0.0.3".parse().unwrap());
    let before = Instant::now();
    for _ in 0..100 {
        client.udp(&local());
    }
    // Without turns it is minutes.
    assert!(before.elapsed() < DEADLINE, "{:?}", before.elapsed());
    assert!(asker.stop() > 0);
    server.shutdown().await;
    greedy.into_iter().for_each(|thread| thread.join().unwrap());
}
