//! The end of a server: what is under way is finished, and nothing stays.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};

use callsign::server::ServerError;

use super::*;

/// The names of this process's threads that a server started.
pub(super) fn threads() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir("/proc/self/task")
        .unwrap()
        // A thread may end between the two.
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("callsign-"))
        .collect();
    names.sort();
    names
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Resident memory of this process in octets.
pub(super) fn memory() -> usize {
    let pages: usize =
        fs::read_to_string("/proc/self/statm").unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn a_stop_sends_the_answers_that_are_under_way() {
    alone(async {
        let gate = Gate::closed();
        let upstream = upstream_behind(&gate).await;
        let limits = limits(|limits| limits.drain = DEADLINE);
        let (server, address) = shop_with(Some(upstream.address()), limits).await;
        let client = Client::new(address);
        let mut idle = client.connect().unwrap();
        let half = client.connect().unwrap();
        let (mut tcp, udp) = (client.connect().unwrap(), client.udp_socket().unwrap());
        until("all are taken", || server.status().tcp_connections == 3);
        { &half.stream }.write_all(b"\x00\x20half").unwrap();
        tcp.send(&foreign().bytes()).unwrap();
        udp.send(&foreign().bytes()).unwrap();
        asked(&upstream, 1).await;
        let stop = server.shutdown();
        tokio::pin!(stop);
        // Idle connections are closed at once, and so are those in the middle of a message: nothing new is taken.
        tokio::select! {
            biased;
            () = &mut stop => panic!("two queries wait"),
            done = tokio::task::spawn_blocking(move || {
                assert_closed(&mut idle);
                let mut half = half;
                assert_closed(&mut half);
                until("new connections are refused", || client.connect().is_err());
            }) => done.unwrap(),
        }
        gate.open();
        stop.await;
        let reply = Reply::new(tcp.receive().unwrap());
        assert_eq!(reply.answers().len(), 1, "{reply:?}");
        assert_eq!(tcp.stream.read(&mut [0; 1]).unwrap(), 0);
        assert!(udp.recv(&mut [0; 512]).is_ok());
        // The kernel lists a thread a moment longer than its end.
        until("its threads have ended", || threads().is_empty());
        let _free = (UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap());
    });
}

#[test]
fn a_stop_waits_no_longer_than_it_is_told_to() {
    alone(async {
        let upstream = Scripted::silent().await;
        let limits = limits(|limits| limits.drain = Duration::from_millis(50));
        let (server, address) = shop_with(Some(upstream.address()), limits).await;
        let client = Client::new(address);
        let (mut tcp, udp) = (client.connect().unwrap(), client.udp_socket().unwrap());
        tcp.send(&foreign().bytes()).unwrap();
        udp.send(&foreign().bytes()).unwrap();
        asked(&upstream, 1).await;
        // The forwards would wait for five seconds.
        let before = Instant::now();
        server.shutdown().await;
        assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
        assert_closed(&mut tcp);
        // The kernel lists a thread a moment longer than its end.
        until("its threads have ended", || threads().is_empty());
        assert_eq!(server.status().forwards, 0);
    });
}

#[test]
fn a_stopped_server_takes_no_networks() {
    alone(async {
        let (server, address) = shop_with(None, Limits::default()).await;
        server.shutdown().await;
        let error = server.add_network(network("blog").listen("127.0.0.1").build().unwrap()).await.unwrap_err();
        assert!(matches!(error, ServerError::Stopped), "{error}");
        let error = server.apply(vec![]).await.unwrap_err();
        assert!(matches!(error, ServerError::Stopped), "{error}");
        server.remove_network("shop").await.unwrap();
        server.shutdown().await;
        assert!(server.status().listeners.is_empty());
        let _free = (UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap());
    });
}

#[test]
fn a_server_that_is_dropped_ends_too() {
    alone(async {
        let gate = Gate::closed();
        let upstream = upstream_behind(&gate).await;
        let before = descriptors();
        let (server, address) = shop_with(Some(upstream.address()), Limits::default()).await;
        let client = Client::new(address);
        let (mut tcp, udp) = (client.connect().unwrap(), client.udp_socket().unwrap());
        tcp.send(&foreign().bytes()).unwrap();
        udp.send(&foreign().bytes()).unwrap();
        asked(&upstream, 1).await;
        drop(server);
        assert_closed(&mut tcp);
        until("its threads have ended", || threads().is_empty());
        drop((tcp, udp));
        until("its descriptors are closed", || descriptors() == before);
        let _free = (UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap());
    });
}

#[test]
fn two_servers_in_one_process_know_nothing_of_each_other() {
    alone(async {
        let (first, at_first) = shop_with(None, Limits::default()).await;
        let (second, at_second) = shop_with(None, Limits::default()).await;
        let with_both = threads().len();
        assert_served(at_first);
        assert_served(at_second);
        assert_eq!(first.status().listeners.len(), 2);
        let asker = Asker::start(at_second, "127.0.0.1");
        first.shutdown().await;
        assert!(asker.stop() > 0);
        assert_eq!(threads().len() * 2, with_both);
        second.shutdown().await;
        // The kernel lists a thread a moment longer than its end.
        until("its threads have ended", || threads().is_empty());
    });
}

#[test]
fn a_server_started_again_and_again_leaves_nothing_behind() {
    alone(async {
        let upstream = Scripted::start(|query| vec![query.answer(&[a([192, 0, 2, 1])])]).await;
        let once = async || {
            let (server, address) = shop_with(Some(upstream.address()), Limits::default()).await;
            assert_served(address);
            assert_eq!(Client::new(address).tcp(&foreign()).answers().len(), 1);
            server.shutdown().await;
        };
        // What the process allocates once for all.
        for _ in 0..10 {
            once().await;
        }
        until("the upstream's connections are closed", || descriptors() < 100);
        let (descriptors_before, memory_before) = (descriptors(), memory());
        for _ in 0..50 {
            once().await;
        }
        // The kernel lists a thread a moment longer than its end.
        until("its threads have ended", || threads().is_empty());
        until("its descriptors are closed", || descriptors() == descriptors_before);
        let grown = memory().saturating_sub(memory_before);
        assert!(grown < 8 << 20, "{grown} octets more");
    });
}
