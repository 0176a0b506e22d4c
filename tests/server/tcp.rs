//! Connections (answers.md C).

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use callsign::server::Limits;
use callsign::wire::message::flag;
use callsign::wire::{option, rtype};
use socket2::SockRef;

use super::floods::assert_served_from;
use super::*;

/// Receives the reply to `query` next.
#[track_caller]
fn receive(connection: &mut Connection, query: &Query) -> Reply {
    let bytes = connection.receive().unwrap_or_else(|error| panic!("no reply to {query:?}: {error}"));
    assert_eq!(bytes[..2], query.bytes()[..2], "the reply to another query");
    Reply::new(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn c_pipelined_queries_are_answered_as_they_are_ready() {
    let gate = Gate::closed();
    let upstream = upstream_behind(&gate).await;
    let (_server, address) = shop_with(Some(upstream.address()), Limits::default()).await;
    let mut connection = Client::new(address).connect().unwrap();
    let (slow, quick) = (foreign(), [local(), local(), local()]);
    connection.send(&slow.bytes()).unwrap();
    quick.iter().for_each(|query| connection.send(&query.bytes()).unwrap());
    for query in &quick {
        assert_eq!(receive(&mut connection, query).answers().len(), 1);
    }
    gate.open();
    assert_eq!(receive(&mut connection, &slow).addresses(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn c_one_connection_takes_any_number_of_queries() {
    let (_server, address) = shop_with(None, Limits::default()).await;
    let mut connection = Client::new(address).connect().unwrap();
    let mut writer = Connection { stream: connection.stream.try_clone().unwrap() };
    let queries: Vec<Query> = (0..3000).map(|_| local()).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| queries.iter().for_each(|query| writer.send(&query.bytes()).unwrap()));
        queries.iter().for_each(|query| assert_eq!(receive(&mut connection, query).answers().len(), 1));
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn c_the_time_for_a_message_is_that_of_one_message() {
    const TIME: Duration = Duration::from_millis(500);
    let (_server, address) = shop_with(None, limits(|limits| limits.tcp_message = TIME)).await;
    let mut connection = Client::new(address).connect().unwrap();
    // Whatever is there always ends in the middle of a message, and for longer than one message may take.
    let framed = |query: &Query| [&(query.bytes().len() as u16).to_be_bytes()[..], &query.bytes()].concat();
    let mut query = local();
    connection.stream.write_all(&framed(&query)[..7]).unwrap();
    let start = Instant::now();
    while start.elapsed() < 3 * TIME {
        let next = local();
        connection.stream.write_all(&[&framed(&query)[7..], &framed(&next)[..7]].concat()).unwrap();
        assert_eq!(receive(&mut connection, &query).answers().len(), 1);
        query = next;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn c_a_message_may_come_in_single_octets() {
    let (_server, address) = shop_with(None, Limits::default()).await;
    let mut connection = Client::new(address).connect().unwrap();
    for query in [local(), local()] {
        let framed = [&(query.bytes().len() as u16).to_be_bytes()[..], &query.bytes()].concat();
        framed.iter().for_each(|octet| connection.stream.write_all(&[*octet]).unwrap());
        assert_eq!(receive(&mut connection, &query).answers().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn c_after_a_half_close_pending_answers_still_come_and_then_the_end() {
    // The second half-close cuts a message in two.
    for tail in [&b""[..], &b"\x00"[..], &b"\x00\x20half"[..]] {
        let gate = Gate::closed();
        let upstream = upstream_behind(&gate).await;
        let (server, address) = shop_with(Some(upstream.address()), Limits::default()).await;
        let mut connection = Client::new(address).connect().unwrap();
        let (slow, quick) = (foreign(), local());
        connection.send(&slow.bytes()).unwrap();
        connection.send(&quick.bytes()).unwrap();
        connection.stream.write_all(tail).unwrap();
        connection.stream.shutdown(Shutdown::Write).unwrap();
        receive(&mut connection, &quick);
        asked(&upstream, 0).await;
        gate.open();
        assert_eq!(receive(&mut connection, &slow).answers().len(), 1);
        assert_eq!(connection.stream.read(&mut [0; 1]).unwrap(), 0);
        until("the connection is given back", || server.status().tcp_connections == 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn c_a_reset_in_a_message_ends_that_connection_alone() {
    let (server, address) = shop_with(None, Limits::default()).await;
    let mut other = connect_from("127.0.0.2", address).unwrap();
    for half in [&b"\x00"[..], &b"\x00\x20"[..], &b"\x00\x20half of it"[..]] {
        let mut connection = Client::new(address).connect().unwrap();
        connection.stream.write_all(half).unwrap();
        until("the connection is taken", || server.status().tcp_connections == 2);
        SockRef::from(&connection.stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(connection);
        until("the connection is given back", || server.status().tcp_connections == 1);
        let query = local();
        other.send(&query.bytes()).unwrap();
        receive(&mut other, &query);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn c_a_message_that_does_not_end_ends_its_connection() {
    let limits = limits(|limits| {
        limits.tcp_message = Duration::from_millis(100);
        limits.tcp_idle = Duration::from_secs(600);
    });
    let (_server, address) = shop_with(None, limits).await;
    for half in [&b"\x00"[..], &b"\x00\x20"[..], &b"\x0f\xffhalf of it"[..]] {
        let mut connection = Client::new(address).connect().unwrap();
        let query = local();
        connection.send(&query.bytes()).unwrap();
        receive(&mut connection, &query);
        connection.stream.write_all(half).unwrap();
        assert_closed(&mut connection);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn c_an_idle_connection_is_closed_but_not_one_that_waits_for_an_upstream() {
    let gate = Gate::closed();
    let upstream = upstream_behind(&gate).await;
    let limits = limits(|limits| {
        limits.tcp_message = Duration::from_secs(600);
        limits.tcp_idle = Duration::from_millis(100);
    });
    let (_server, address) = shop_with(Some(upstream.address()), limits).await;
    let mut waiting = Client::new(address).connect().unwrap();
    let slow = foreign();
    waiting.send(&slow.bytes()).unwrap();
    asked(&upstream, 0).await;
    // Three times as long as a connection may be idle.
    for _ in 0..3 {
        assert_closed(&mut Client::new(address).connect().unwrap());
    }
    gate.open();
    assert_eq!(receive(&mut waiting, &slow).answers().len(), 1);
    assert_closed(&mut waiting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn p1_what_is_no_query_is_passed_over_on_a_connection_too() {
    let (_server, address) = shop_with(None, Limits::default()).await;
    let mut connection = Client::new(address).connect().unwrap();
    let query = local();
    for nothing in [&b""[..], &b"eleven octe"[..], &local().flags(flag::QR).bytes()] {
        connection.send(nothing).unwrap();
    }
    connection.send(&query.bytes()).unwrap();
    receive(&mut connection, &query);
}

/// Asks over a connection, which has to be served.
#[track_caller]
fn ask(connection: &mut Connection) {
    let query = local();
    connection.send(&query.bytes()).unwrap();
    receive(connection, &query);
}

/// Connections that have all been served once, the first of them first.
fn served(count: usize, source: &str, address: SocketAddr) -> Vec<Connection> {
    let connect = |_| {
        let mut connection = connect_from(source, address).unwrap();
        ask(&mut connection);
        // The next one is idle for less long, by the clock that the server has.
        let now = Instant::now();
        until("a millisecond is over", || now.elapsed() >= Duration::from_millis(2));
        connection
    };
    (0..count).map(connect).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn c_over_its_cap_a_clients_longest_idle_connection_gives_way() {
    let (server, address) = shop_with(None, limits(|limits| limits.tcp_connections_per_client = 3)).await;
    let mut open = served(3, "127.0.0.1", address);
    let mut other = served(1, "127.0.0.2", address);
    // Used again, it is not the one that has been idle for longest.
    ask(&mut open[0]);
    let mut next = connect_from("127.0.0.1", address).unwrap();
    ask(&mut next);
    assert_closed(&mut open[1]);
    for connection in [&mut next, &mut open[0], &mut other[0]] {
        ask(connection);
    }
    ask(&mut open[2]);
    assert_eq!(server.status().tcp_connections, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn c_while_none_is_idle_a_new_connection_waits_unread_and_the_257th_is_closed() {
    let gate = Gate::closed();
    let upstream = upstream_behind(&gate).await;
    let limits = limits(|limits| {
        limits.tcp_connections_per_client = 2;
        limits.tcp_idle = Duration::from_secs(600);
    });
    let upstreams = vec![Upstream::new(upstream.address().into())];
    // However slow the machine is, they wait until the gate opens.
    let starting = builder().upstreams(upstreams.into()).limits(limits).forward_timeout(Duration::from_secs(600));
    let server = starting.start().await.unwrap();
    server.add_network(shop().build().unwrap()).await.unwrap();
    let address = listening(&server, "shop");
    let mut busy = [(); 2].map(|()| connect_from("127.0.0.1", address).unwrap());
    let slow = [foreign(), foreign()];
    busy.iter_mut().zip(&slow).for_each(|(connection, query)| connection.send(&query.bytes()).unwrap());
    asked(&upstream, 1).await;
    let mut waiting: Vec<Connection> = (0..256).map(|_| connect_from("127.0.0.1", address).unwrap()).collect();
    waiting.iter_mut().for_each(|connection| connection.send(&local().bytes()).unwrap());
    assert_closed(&mut connect_from("127.0.0.1", address).unwrap());
    assert_served_from("127.0.0.2", address);
    until("the busy ones alone are served", || server.status().tcp_connections == 2);
    // As soon as the busy ones are done they make room, one after the other for all who wait.
    gate.open();
    busy.iter_mut().zip(&slow).for_each(|(connection, query)| _ = receive(connection, query));
    for connection in &mut waiting {
        assert_eq!(Reply::new(connection.receive().expect("an answer")).answers().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn c_a_query_that_has_arrived_is_answered_before_its_connection_gives_way() {
    let (_server, address) = shop_with(None, limits(|limits| limits.tcp_connections_per_client = 4)).await;
    // Each asks, and all are over the cap, again and again: no query is lost.
    let threads: Vec<_> = (0..32)
        .map(|_| {
            std::thread::spawn(move || {
                for _ in 0..20 {
                    let mut connection = connect_from("127.0.0.1", address).unwrap();
                    ask(&mut connection);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn c_over_the_servers_cap_the_client_that_has_most_loses_its_longest_idle_connection() {
    let (server, address) = shop_with(None, limits(|limits| limits.tcp_connections = 4)).await;
    let mut large = served(3, "127.0.0.1", address);
    let mut small = served(1, "127.0.0.2", address);
    let mut next = connect_from("127.0.0.3", address).unwrap();
    ask(&mut next);
    assert_closed(&mut large[0]);
    for connection in large[1..].iter_mut().chain([&mut small[0], &mut next]) {
        ask(connection);
    }
    // A lower limit takes nothing from those who are in.
    server.set_limits(limits(|limits| limits.tcp_connections = 1));
    ask(&mut large[1]);
    assert_eq!(server.status().tcp_connections, 4);
}

#[test]
fn c_18_addresses_cannot_take_all_connections() {
    alone(async {
        const SOURCES: u8 = 18;
        let gate = Gate::closed();
        let upstream = upstream_behind(&gate).await;
        let limits = limits(|limits| {
            limits.tcp_connections = 72;
            limits.tcp_message = Duration::from_secs(600);
            limits.tcp_idle = Duration::from_secs(600);
        });
        let (server, address) = shop_with(Some(upstream.address()), limits).await;
        // Those that say nothing, those that stop in the middle of a message, and those that ask what nobody answers.
        for say in [0, 1, 2] {
            let mut held: Vec<Connection> = Vec::new();
            for number in (0..72).map(|number| number % SOURCES + 1) {
                let mut connection = connect_from(&format!("127.0.1.{number}"), address).unwrap();
                match say {
                    0 => {}
                    1 => connection.stream.write_all(b"\x00\x20half").unwrap(),
                    _ => connection.send(&foreign().bytes()).unwrap(),
                }
                held.push(connection);
            }
            until("all are taken", || server.status().tcp_connections == 72);
            let start = Instant::now();
            // More of them, who want their share again, and one who asks.
            let _more: Vec<Connection> =
                (1..=SOURCES).map(|number| connect_from(&format!("127.0.1.{number}"), address).unwrap()).collect();
            let mut good = connect_from("127.0.0.9", address).unwrap();
            ask(&mut good);
            assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
            drop(held);
        }
        gate.open();
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn c_a_query_of_more_than_4096_octets_ends_its_connection() {
    let (_server, address) = shop_with(None, limits(|limits| limits.tcp_message = Duration::from_secs(600))).await;
    let mut connection = Client::new(address).connect().unwrap();
    let query = local().edns(1232);
    let padding = 4096 - query.bytes().len() - 4;
    let longest = query.option(option::PADDING, &vec![0; padding]);
    assert_eq!(longest.bytes().len(), 4096);
    connection.send(&longest.bytes()).unwrap();
    receive(&mut connection, &longest);
    // What came before it is answered. Not one octet of it need come.
    let last = local();
    connection.stream.write_all(&[&framed(&last)[..], &4097_u16.to_be_bytes()].concat()).unwrap();
    receive(&mut connection, &last);
    assert_closed(&mut connection);
}

fn framed(query: &Query) -> Vec<u8> {
    [&(query.bytes().len() as u16).to_be_bytes()[..], &query.bytes()].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn c_a_connection_is_not_read_while_too_many_of_its_queries_wait() {
    let gate = Gate::closed();
    let upstream = upstream_behind(&gate).await;
    let limits = limits(|limits| limits.tcp_queries_per_connection = 2);
    let (server, address) = shop_with(Some(upstream.address()), limits).await;
    let mut connection = Client::new(address).connect().unwrap();
    let queries = [foreign(), foreign(), foreign(), local()];
    queries.iter().for_each(|query| connection.send(&query.bytes()).unwrap());
    asked(&upstream, 1).await;
    assert_served(address);
    assert_eq!((upstream.queries().len(), server.status().forwards), (2, 2));
    gate.open();
    let mut ids: Vec<Vec<u8>> = queries.iter().map(|_| connection.receive().unwrap()[..2].to_vec()).collect();
    let mut asked = queries.map(|query| query.bytes()[..2].to_vec());
    ids.sort();
    asked.sort();
    assert_eq!(ids, asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn c_a_client_that_takes_no_replies_loses_its_connection_and_costs_nobody_anything() {
    // One worker, which all clients share.
    let limits = limits(|limits| limits.tcp_message = Duration::from_millis(200));
    let server = builder().workers(1).limits(limits).start().await.unwrap();
    server.add_network(shop().build().unwrap()).await.unwrap();
    let address = listening(&server, "shop");
    let asker = Asker::start(address, "127.0.0.2");
    let mut deaf = connect_from("127.0.0.1", address).unwrap();
    let query = local();
    deaf.send(&query.bytes()).unwrap();
    receive(&mut deaf, &query);
    let huge = Query::new("huge", 65_280).bytes();
    // It may be closed before it has sent them all: their replies have more than a gibibyte.
    let _ = (0..20_000).try_for_each(|_| deaf.send(&huge));
    until("the asker's connections are the only ones", || server.status().tcp_connections <= 1);
    asker.stop();
    until("the connection is given back", || server.status().tcp_connections == 0);
}

/// What all clients together leave untaken is bounded: it is those that take nothing who lose their connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn c_clients_that_take_no_replies_cost_one_that_reads_nothing() {
    const ASKED: usize = 60;
    let (server, address) = shop_with(None, limits(|limits| limits.tcp_message = Duration::from_secs(600))).await;
    let huge = framed(&Query::new("huge", 65_280));
    let deaf = |source: u8| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 1, source], 0)).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        let mut connection = Connection { stream: socket.into() };
        // One that is closed meanwhile cannot be written to.
        let _ = connection.stream.write_all(&huge.repeat(64));
        connection
    };
    // Each within its own bound, all of them together beyond what there is: 40 of two connections.
    let mut held: Vec<Connection> = (1..=40).flat_map(|source| [deaf(source), deaf(source)]).collect();
    until("some have lost their connections", || server.status().tcp_connections < held.len());
    for _ in 0..3 {
        let mut reading = connect_from("127.0.0.2", address).unwrap();
        reading.stream.write_all(&huge.repeat(ASKED)).unwrap();
        for number in 0..ASKED {
            let reply = reading.receive().unwrap_or_else(|error| panic!("no reply to question {number}: {error}"));
            assert!(reply.len() > 65_000);
        }
        held.extend((41..=50).map(deaf));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn c_keepalive_is_answered_over_tcp_when_asked_for() {
    let (_server, address) = shop_with(None, limits(|limits| limits.tcp_idle = Duration::from_secs(7))).await;
    let client = Client::new(address);
    let asked = || local().edns(1232).option(option::TCP_KEEPALIVE, b"");
    assert_eq!(client.tcp(&asked()).options(option::TCP_KEEPALIVE), [vec![0, 70]]);
    assert!(client.tcp(&local().edns(1232)).options(option::TCP_KEEPALIVE).is_empty());
    assert!(client.udp(&asked()).options(option::TCP_KEEPALIVE).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn h5_a_reply_over_tcp_has_up_to_65535_octets() {
    let (_server, address) = shop_with(None, Limits::default()).await;
    let client = Client::new(address);
    let reply = client.tcp(&Query::new("huge", 65_280));
    assert_eq!((reply.bytes.len(), reply.flags().as_str()), (65_535, "qr aa rd ra"));
    let reply = client.tcp(&Query::new("huge", 65_280).edns(1232));
    assert_eq!((reply.answers().len(), reply.flags().as_str()), (0, "qr aa tc rd ra"), "there is no room for the OPT");
    assert_eq!(client.tcp(&Query::new("larger", 65_280)).flags(), "qr aa tc rd ra");
    assert_eq!(client.udp(&Query::new("huge", 65_280)).flags(), "qr aa tc rd ra");
    assert!(client.tcp(&Query::new("huge", rtype::A)).answers().is_empty());
}
