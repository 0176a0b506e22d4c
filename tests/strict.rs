//! The strict policies, as an administrator depends on them who comes from a resolver that had no others: servers strictly
//! in order, the time divided by their number, no hedging, no memory of dead servers, the first answer counts whatever it
//! says, and no reply when all fail. What is asked when, without sockets, is tested beside the state machine
//! (`forward::strict`).

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use callsign::forward::{Counters, Failure, ForwardOptions, Forwarder, Order, Question, Unanswered};
use callsign::server::{ListenerState, Server};
use callsign::table::{Endpoint, Network, Upstream};
use callsign::wire::message::{Header, flag, records};
use callsign::wire::{rcode, rtype};
use support::DEADLINE;
use support::client::{Client, Query, Reply};
use support::upstream::{Act, Gate, Scripted, a, big_txt, refusing};

/// What a forwarder does under the strict policies, with this much time for a question.
fn strict(timeout: Duration, servers: &[SocketAddr]) -> ForwardOptions {
    ForwardOptions {
        timeout,
        order: Order::Strict,
        unanswered: Unanswered::Silence,
        stale_for: Duration::ZERO,
        upstreams: servers.iter().map(|&address| Upstream::new(address.into())).collect(),
        ..ForwardOptions::default()
    }
}

fn forwarder(timeout: Duration, servers: &[SocketAddr]) -> Arc<Forwarder> {
    Arc::new(Forwarder::new(strict(timeout, servers)))
}

/// Asks for a name through the cache.
async fn resolve(forwarder: &Arc<Forwarder>, label: &[u8; 3]) -> Result<Vec<u8>, Failure> {
    let name = [b"\x03", &label[..], b"\x00"].concat();
    let choice = forwarder.choose(&name, &[]);
    let question = Question { question: [&name[..], b"\x00\x01\x00\x01"].concat(), flags: flag::RD, dnssec_ok: false };
    forwarder.resolve(&question, &choice).await.map(|reply| reply.to_vec())
}

/// The last octet of the address in a reply: which server's it is.
fn whose(reply: &[u8]) -> u8 {
    let record = records(reply).next().unwrap().unwrap();
    reply[record.rdata()][3]
}

async fn server(number: u8) -> Scripted {
    Scripted::start(move |query| vec![query.answer(&[a([192, 0, 2, number])])]).await
}

/// More than any test needs that does not wait for its end.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn upstreams_are_asked_strictly_in_order_however_quick_they_are() {
    let (first, second) = (server(1).await, server(2).await);
    let forwarder = forwarder(LONG, &[first.address(), second.address()]);
    for number in 0..50 {
        let label = [b'a', b'0' + number / 10, b'0' + number % 10];
        assert_eq!(whose(&resolve(&forwarder, &label).await.unwrap()), 1);
    }
    assert_eq!((first.queries().len(), second.queries().len()), (50, 0), "no racing, and no copies either");
}

#[tokio::test]
async fn each_upstream_has_the_time_divided_by_their_number() {
    let (silent, other, last) = (Scripted::silent().await, Scripted::silent().await, server(3).await);
    let forwarder = forwarder(Duration::from_millis(900), &[silent.address(), other.address(), last.address()]);
    let start = Instant::now();
    assert_eq!(whose(&resolve(&forwarder, b"www").await.unwrap()), 3);
    assert!(start.elapsed() >= Duration::from_millis(600));
    // Each with its datagrams, for they get lost.
    assert!(silent.queries().len() >= 2 && other.queries().len() >= 2);
}

#[tokio::test]
async fn a_slow_upstream_is_not_hedged() {
    let gate = Gate::closed();
    let waiting = gate.clone();
    let slow = Scripted::start(move |query| vec![Act::Wait(waiting.clone()), query.answer(&[a([192, 0, 2, 1])])]).await;
    let second = server(2).await;
    // An eighth of its share is when it is asked again: later than the next one would be asked for being slow.
    let forwarder = forwarder(Duration::from_secs(4), &[slow.address(), second.address()]);
    let asking = tokio::spawn(async move { resolve(&forwarder, b"www").await });
    slow.query(1).await;
    gate.open();
    assert_eq!(whose(&asking.await.unwrap().unwrap()), 1);
    assert!(second.queries().is_empty());
}

#[tokio::test]
async fn f6_a_reply_after_its_share_counts_while_the_question_lives() {
    let gate = Gate::closed();
    let (waiting, opening) = (gate.clone(), gate.clone());
    let late = Scripted::start(move |query| vec![Act::Wait(waiting.clone()), query.answer(&[a([192, 0, 2, 1])])]).await;
    // The turn of the second is when the first replies.
    let second = Scripted::start(move |_| {
        opening.open();
        vec![]
    })
    .await;
    let forwarder = forwarder(Duration::from_secs(1), &[late.address(), second.address()]);
    assert_eq!(whose(&resolve(&forwarder, b"www").await.unwrap()), 1);
    second.query(0).await;
}

/// Another program's connected UDP socket replies to nobody but the sender of the first datagram: the kernel answers all
/// others by ICMP.
#[tokio::test]
async fn f6_a_connected_socket_of_another_program_has_its_whole_share() {
    let first = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let second = server(2).await;
    let forwarder = forwarder(Duration::from_millis(1200), &[first.local_addr().unwrap(), second.address()]);
    let deaf = tokio::spawn(async move {
        let mut datagrams = Vec::new();
        loop {
            let mut datagram = vec![0; 512];
            let (len, from) = first.recv_from(&mut datagram).await.unwrap();
            first.connect(from).await.unwrap();
            datagrams.push((datagram[..len].to_vec(), from));
            if datagrams.len() == 3 {
                return (datagrams, first);
            }
        }
    });
    let start = Instant::now();
    assert_eq!(whose(&resolve(&forwarder, b"www").await.unwrap()), 2);
    assert!(start.elapsed() >= Duration::from_millis(600), "{:?}", start.elapsed());
    let (datagrams, _first) = deaf.await.unwrap();
    assert!(datagrams.iter().all(|datagram| *datagram == datagrams[0]), "the same query out of the same socket");
}

#[tokio::test]
async fn there_is_no_memory_of_dead_upstreams() {
    let (dead, second) = (Scripted::silent().await, server(2).await);
    let forwarder = forwarder(Duration::from_millis(200), &[dead.address(), second.address()]);
    for label in [b"aaa", b"bbb", b"ccc"] {
        let before = dead.queries().len();
        let start = Instant::now();
        assert_eq!(whose(&resolve(&forwarder, label).await.unwrap()), 2);
        assert!(start.elapsed() >= Duration::from_millis(100), "it has its time again");
        assert!(dead.queries().len() > before, "the dead one is asked first again");
    }
}

#[tokio::test]
async fn failures_are_not_remembered() {
    let upstream = Scripted::start(|query| match query.number {
        0 => vec![query.error(rcode::SERVFAIL)],
        1..5 => vec![],
        _ => vec![query.answer(&[a([192, 0, 2, 1])])],
    })
    .await;
    let forwarder = forwarder(Duration::from_millis(200), &[upstream.address()]);
    assert_eq!(Header::read(&resolve(&forwarder, b"www").await.unwrap()).unwrap().rcode(), rcode::SERVFAIL);
    // Asked four times at the most, in vain.
    assert!(resolve(&forwarder, b"www").await.is_err());
    let reply = loop {
        if let Ok(reply) = resolve(&forwarder, b"www").await {
            break reply;
        }
    };
    assert_eq!(whose(&reply), 1);
    let Counters { cached_failures, .. } = forwarder.counters();
    assert_eq!(cached_failures, 0);
}

#[tokio::test]
async fn the_first_answer_counts_whatever_its_rcode() {
    for code in [rcode::SERVFAIL, rcode::REFUSED, rcode::NOTIMP, rcode::FORMERR, rcode::NXDOMAIN] {
        let first = Scripted::start(move |query| vec![query.error(code)]).await;
        let second = server(2).await;
        let forwarder = forwarder(LONG, &[first.address(), second.address()]);
        let reply = resolve(&forwarder, b"www").await.unwrap();
        assert_eq!(Header::read(&reply).unwrap().rcode(), code);
        assert!(second.queries().is_empty(), "{}", rcode::mnemonic(code));
    }
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_has_no_answer() {
    let second = server(2).await;
    let forwarder = forwarder(LONG, &[refusing(), second.address()]);
    let start = Instant::now();
    assert_eq!(whose(&resolve(&forwarder, b"www").await.unwrap()), 2);
    assert!(start.elapsed() < DEADLINE, "at once");
}

#[tokio::test]
async fn a_long_answer_is_fetched_of_the_upstream_that_has_it_and_what_there_is_of_it_is_an_answer() {
    let second = server(2).await;
    let whole = Scripted::start(|query| match query.tcp {
        true => vec![query.answer(&[big_txt()])],
        false => vec![query.truncated()],
    })
    .await;
    let forwarder_of = |first: &Scripted| forwarder(Duration::from_secs(2), &[first.address(), second.address()]);
    assert!(resolve(&forwarder_of(&whole), b"www").await.unwrap().len() > 4096);
    let cut = Scripted::start(|query| if query.tcp { vec![Act::Close] } else { vec![query.truncated()] }).await;
    assert!(Header::read(&resolve(&forwarder_of(&cut), b"www").await.unwrap()).unwrap().has(flag::TC));
    assert!(second.queries().is_empty());
}

/// A server with one local name, under these options.
async fn serve(options: ForwardOptions) -> (Server, Client) {
    let server = Server::builder().port(0).forwarding(options).start().await.unwrap();
    let local = Endpoint::builder("db-1").name("db").address("10.10.1.3").build().unwrap();
    let network = Network::builder("shop").listen("127.0.0.1").endpoint(local).build().unwrap();
    server.add_network(network).await.unwrap();
    let ListenerState::Listening(address) = server.status().listeners[0].state.clone() else { panic!("not listening") };
    (server, Client::new(address))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn there_is_no_reply_when_all_fail() {
    let dead = Scripted::silent().await;
    let (server, client) = serve(strict(Duration::from_millis(100), &[dead.address(), refusing()])).await;
    let (foreign, local) = (Query::new("www.example", rtype::A), Query::new("db", rtype::A));
    let mut tcp = client.connect().unwrap();
    let udp = client.udp_socket().unwrap();
    // Twice: nor when it was tried a moment ago.
    for _ in 0..2 {
        let before = dead.queries().len();
        tcp.send(&foreign.bytes()).unwrap();
        udp.send(&foreign.bytes()).unwrap();
        dead.query(before).await;
        while server.status().forwards > 0 {
            tokio::task::yield_now().await;
        }
    }
    // What comes first is the reply to what was asked last.
    tcp.send(&local.bytes()).unwrap();
    udp.send(&local.bytes()).unwrap();
    let mut datagram = [0; 512];
    let len = udp.recv(&mut datagram).unwrap();
    for reply in [datagram[..len].to_vec(), tcp.receive().unwrap()] {
        assert_eq!(Reply::new(reply).addresses(), ["10.10.1.3".parse::<std::net::IpAddr>().unwrap()]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_name_without_a_dot_that_nobody_knows_is_forwarded() {
    let upstream = server(1).await;
    let (_server, client) = serve(strict(LONG, &[upstream.address()])).await;
    let reply = client.udp(&Query::new("nobody", rtype::A));
    assert_eq!(reply.addresses(), ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(upstream.queries()[0].question(), b"\x06nobody\x00\x00\x01\x00\x01");
}
