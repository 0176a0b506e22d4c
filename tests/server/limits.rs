//! What one client may take of the server: queries that wait for an upstream.

use std::net::UdpSocket;

use callsign::wire::ede;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::*;

/// Sends a question for a name of somebody else's, and gives its ID.
fn send_foreign(socket: &UdpSocket) -> [u8; 2] {
    let query = foreign().edns(1232).bytes();
    socket.send(&query).unwrap();
    [query[0], query[1]]
}

fn receive(socket: &UdpSocket) -> Reply {
    let mut bytes = vec![0; 1232];
    let len = socket.recv(&mut bytes).expect("a reply");
    bytes.truncate(len);
    Reply::new(bytes)
}

#[track_caller]
fn assert_overloaded(reply: &Reply) {
    assert_eq!(reply.status(), "SERVFAIL", "{reply:?}");
    assert_eq!(reply.extended_errors(), [(ede::OTHER, "too many questions wait for upstreams".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn l2_one_client_has_its_share_of_the_queries_that_wait() {
    let gate = Gate::closed();
    let upstream = upstream_behind(&gate).await;
    let limits = limits(|limits| limits.forwards_per_client = 2);
    let (server, address) = shop_with(Some(upstream.address()), limits).await;
    let [greedy, other] = ["127.0.0.1", "127.0.0.2"]
        .map(|source| Client::new(address).from(source.parse().unwrap()).udp_socket().unwrap());
    let waiting = [send_foreign(&greedy), send_foreign(&greedy)];
    asked(&upstream, 1).await;

    // Over UDP and over TCP, at once, and it is this client alone.
    let refused = send_foreign(&greedy);
    let reply = receive(&greedy);
    assert_eq!(reply.bytes[..2], refused);
    assert_overloaded(&reply);
    assert_overloaded(&Client::new(address).tcp(&foreign().edns(1232)));
    assert_served(address);
    send_foreign(&other);
    asked(&upstream, 2).await;
    let status = server.status();
    assert_eq!((status.forwards, status.limits_hit.forwards_per_client, status.limits_hit.forwards), (3, 2, 0));

    gate.open();
    let mut answered = [receive(&greedy), receive(&greedy)].map(|reply| {
        assert_eq!(reply.answers().len(), 1);
        [reply.bytes[0], reply.bytes[1]]
    });
    answered.sort();
    assert_eq!(answered, waiting);
    assert_eq!(receive(&other).answers().len(), 1);

    // What was taken comes back.
    until("none waits", || server.status().forwards == 0);
    for _ in 0..5 {
        send_foreign(&greedy);
        assert_eq!(receive(&greedy).status(), "NOERROR");
        until("none waits", || server.status().forwards == 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn l2_all_clients_together_have_a_number_of_queries_that_wait() {
    let gate = Gate::closed();
    let upstream = upstream_behind(&gate).await;
    let (server, address) = shop_with(Some(upstream.address()), limits(|limits| limits.forwards = 3)).await;
    let clients = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
        .map(|source| Client::new(address).from(source.parse().unwrap()).udp_socket().unwrap());
    for client in &clients {
        send_foreign(client);
    }
    asked(&upstream, 2).await;
    let next = Client::new(address).from("127.0.0.4".parse().unwrap());
    assert_overloaded(&next.udp(&foreign().edns(1232)));
    assert_eq!(next.udp(&foreign()).bytes.len(), foreign().bytes().len(), "without EDNS there is no room for a reason");
    assert_served(address);
    let hit = server.status().limits_hit;
    assert_eq!((hit.forwards, hit.forwards_per_client, hit.forwards_displaced), (2, 0, 0));
    // A raised limit counts from now on.
    server.set_limits(Limits::default());
    let late = next.udp_socket().unwrap();
    send_foreign(&late);
    asked(&upstream, 3).await;
    gate.open();
    for client in clients.iter().chain([&late]) {
        assert_eq!(receive(client).answers().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn l2_a_client_that_is_gone_gives_its_share_back() {
    let gate = Gate::closed();
    let upstream = upstream_behind(&gate).await;
    let (server, address) = shop_with(Some(upstream.address()), Limits::default()).await;
    let mut tcp = Client::new(address).connect().unwrap();
    tcp.send(&foreign().bytes()).unwrap();
    let udp = Client::new(address).udp_socket().unwrap();
    send_foreign(&udp);
    asked(&upstream, 1).await;
    socket2::SockRef::from(&tcp.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop((tcp, udp));
    gate.open();
    until("nothing is taken", || (server.status().forwards, server.status().tcp_connections) == (0, 0));
    assert_served(address);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn l2_one_networks_slow_questions_leave_another_its_half() {
    let gate = Gate::closed();
    let upstream = upstream_behind(&gate).await;
    let (server, shop) = shop_with(Some(upstream.address()), limits(|limits| limits.forwards = 16)).await;
    server.add_network(network("blog").listen("127.0.0.1").build().unwrap()).await.unwrap();
    let blog = listening(&server, "blog");
    // 8 sources that take all there is, and go on.
    let greedy: Vec<_> =
        (1..=8).map(|number| Client::new(shop).from(IpAddr::from([127, 0, 1, number])).udp_socket().unwrap()).collect();
    greedy.iter().for_each(|socket| (0..2).for_each(|_| _ = send_foreign(socket)));
    asked(&upstream, 15).await;
    assert_eq!(server.status().forwards, 16);
    // The other network gets its half, and those that give way are told.
    let other = Client::new(blog).from("127.0.2.1".parse().unwrap()).udp_socket().unwrap();
    (0..8).for_each(|_| _ = send_foreign(&other));
    asked(&upstream, 23).await;
    let displaced = greedy.iter().map(receive).inspect(assert_overloaded).count();
    assert_eq!((displaced, server.status().forwards), (8, 16));
    gate.open();
    for socket in greedy.iter().chain([&other; 8]) {
        assert_eq!(receive(socket).answers().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn l2_a_question_that_gives_way_after_a_second_costs_others_who_asked_the_same_nothing() {
    let gate = Gate::closed();
    let upstream = upstream_behind(&gate).await;
    let (server, address) = shop_with(Some(upstream.address()), limits(|limits| limits.forwards = 2)).await;
    let [first, second, third] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
        .map(|source| Client::new(address).from(source.parse().unwrap()).udp_socket().unwrap());
    let shared = foreign().bytes();
    first.send(&shared).unwrap();
    asked(&upstream, 0).await;
    let start = Instant::now();
    second.send(&shared).unwrap();
    until("both wait", || server.status().forwards == 2);
    // As long as none is old, a newer one is turned away; then the oldest of those that have most gives way.
    let mut refused = 0;
    while receive_within(&first, Duration::from_millis(1)).is_none() {
        send_foreign(&third);
        if let Some(reply) = receive_within(&third, Duration::from_millis(100)) {
            assert_overloaded(&reply);
            refused += 1;
        }
        assert!(start.elapsed() < DEADLINE);
    }
    assert!(start.elapsed() >= Duration::from_secs(1) && refused > 0, "{refused} in {:?}", start.elapsed());
    gate.open();
    second.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(receive(&second).answers().len(), 1, "its question is the one that gave way");
}

/// An upstream that answers no question of [`foreign`], and all others at once.
async fn upstream_for_quick_names() -> Scripted {
    Scripted::start(|query| {
        let is_slow = query.question().starts_with(b"\x09www");
        if is_slow { Vec::new() } else { vec![query.answer(&[a([192, 0, 2, 1])])] }
    })
    .await
}

/// Clients of two networks take all there is, and go on; one of a third network and one more of the first, with nothing that
/// waits, are answered all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn l2_two_networks_and_eight_clients_each_starve_neither_a_third_network_nor_a_ninth_client() {
    let upstream = upstream_for_quick_names().await;
    let (server, shop) = shop_with(Some(upstream.address()), limits(|limits| limits.forwards = 64)).await;
    for name in ["blog", "mail"] {
        server.add_network(network(name).listen("127.0.0.1").build().unwrap()).await.unwrap();
    }
    let [blog, mail] = ["blog", "mail"].map(|name| listening(&server, name));
    let greedy: Vec<_> = [(shop, 1), (blog, 2)]
        .into_iter()
        .flat_map(|(at, third)| (1..=8).map(move |number| (at, IpAddr::from([127, 0, third, number]))))
        .map(|(at, source)| Client::new(at).from(source).udp_socket().unwrap())
        .collect();
    let more = || greedy.iter().for_each(|socket| (0..4).for_each(|_| _ = send_foreign(socket)));
    more();
    until("all are taken", || server.status().forwards == 64);
    for (at, source) in [(mail, "127.0.3.1"), (shop, "127.0.1.9")] {
        for number in 0..20 {
            more();
            let query = Query::new(&format!("quick{number}.{source}.example"), rtype::A);
            let reply = Client::new(at).from(source.parse().unwrap()).udp(&query);
            assert_eq!((reply.status().as_str(), reply.answers().len()), ("NOERROR", 1), "{source}, question {number}");
        }
    }
}

/// Docker's resolver has as many in flight for one container.
#[test]
fn l2_1024_slow_questions_of_one_client_are_all_answered() {
    const QUESTIONS: usize = 1024;
    alone(async {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        let gate = Gate::closed();
        let upstream = upstream_behind(&gate).await;
        let (server, address) = shop_with(Some(upstream.address()), Limits::default()).await;
        let client = Client::new(address).udp_socket().unwrap();
        socket2::SockRef::from(&client).set_recv_buffer_size(8 << 20).unwrap();
        for number in 1..=QUESTIONS {
            send_foreign(&client);
            if number % 32 == 0 {
                until("they wait", || server.status().forwards == number);
            }
        }
        gate.open();
        for _ in 0..QUESTIONS {
            assert_eq!(receive(&client).status(), "NOERROR");
        }
    });
}

/// Where descriptors are few, they and not `forwards_per_client` are the bound of what one client has (answers.md L2, L4).
#[test]
fn l4_a_client_within_its_cap_does_not_take_all_sockets_to_upstreams() {
    // Three quarters of them are for upstreams.
    const DESCRIPTORS: u64 = 400;
    alone(async {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, hard).unwrap();
        let upstream = upstream_for_quick_names().await;
        let (server, address) = shop_with(Some(upstream.address()), Limits::default()).await;
        let greedy = Client::new(address).from("127.0.0.1".parse().unwrap()).udp_socket().unwrap();
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let (start, mut number) = (Instant::now(), 0);
        // Until after the first of its questions have had their time, and late answers to them are waited for.
        while start.elapsed() < Duration::from_secs(5) {
            for _ in 0..50 {
                send_foreign(&greedy);
            }
            let query = Query::new(&format!("quick{number}.example"), rtype::A);
            let reply = Client::new(address).from("127.0.0.2".parse().unwrap()).udp(&query);
            assert_eq!((reply.status().as_str(), reply.answers().len()), ("NOERROR", 1), "question {number}");
            assert!(open() < DESCRIPTORS as usize * 9 / 10, "{} descriptors are open", open());
            number += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(server.status().forwards <= DESCRIPTORS as usize * 3 / 8);
    });
}

fn receive_within(socket: &UdpSocket, time: Duration) -> Option<Reply> {
    socket.set_read_timeout(Some(time)).unwrap();
    let mut bytes = vec![0; 1232];
    let len = socket.recv(&mut bytes).ok()?;
    bytes.truncate(len);
    Some(Reply::new(bytes))
}
