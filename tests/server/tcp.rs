//! Connections (answers.md C).

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use callsign::server::Limits;
use callsign::wire::message::flag;
use callsign::wire::{option, rtype};
use socket2::SockRef;

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
    for half in [&b"\x00"[..], &b"\x00\x20"[..], &b"\xff\xffhalf of it"[..]] {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn c_one_client_has_its_share_of_connections() {
    let (server, address) = shop_with(None, limits(|limits| limits.tcp_connections_per_client = 3)).await;
    let mut open: Vec<Connection> = (0..3).map(|_| connect_from("127.0.0.1", address).unwrap()).collect();
    until("three are taken", || server.status().tcp_connections == 3);
    assert_closed(&mut connect_from("127.0.0.1", address).unwrap());
    open.push(connect_from("127.0.0.2", address).unwrap());
    for connection in &mut open {
        let query = local();
        connection.send(&query.bytes()).unwrap();
        receive(connection, &query);
    }
    drop(open.remove(0));
    until("one is given back", || server.status().tcp_connections == 3);
    let mut next = connect_from("127.0.0.1", address).unwrap();
    let query = local();
    next.send(&query.bytes()).unwrap();
    receive(&mut next, &query);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn c_all_clients_together_have_a_number_of_connections() {
    let (server, address) = shop_with(None, limits(|limits| limits.tcp_connections = 4)).await;
    let sources = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"];
    let mut open = sources.map(|source| connect_from(source, address).unwrap());
    until("four are taken", || server.status().tcp_connections == 4);
    assert_closed(&mut connect_from("127.0.0.5", address).unwrap());
    for connection in &mut open {
        let query = local();
        connection.send(&query.bytes()).unwrap();
        receive(connection, &query);
    }
    // UDP needs no connection.
    Client::new(address).from("127.0.0.5".parse().unwrap()).udp(&local());
    // A lower limit takes nothing from those who are in.
    server.set_limits(limits(|limits| limits.tcp_connections = 1));
    let [mut first, ..] = open;
    let query = local();
    first.send(&query.bytes()).unwrap();
    receive(&mut first, &query);
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
