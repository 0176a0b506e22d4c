//! A server works and stops under any executor, and without one.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};

use callsign::server::{Server, ServerError};
use callsign::table::Network;
use callsign::wire::rtype;

use crate::endpoint;
use crate::support::DEADLINE;

/// An executor that is not tokio's.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Woken(mpsc::SyncSender<()>);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            let _ = self.0.try_send(());
        }
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let waker = Waker::from(Arc::new(Woken(sender)));
    let (mut future, mut context) = (pin!(future), Context::from_waker(&waker));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => receiver.recv_timeout(DEADLINE).expect("the future is woken"),
        }
    }
}

#[test]
fn all_of_a_servers_life_needs_no_runtime_of_the_callers() {
    let started = Arc::new(AtomicUsize::new(0));
    let count = started.clone();
    let builder = Server::builder().port(0).workers(3).upstreams(Vec::new().into());
    let builder = builder.on_worker_start(move |number| _ = count.fetch_add(number, Ordering::Relaxed));
    let server = block_on(builder.start()).unwrap();
    let network = Network::builder("shop").subnet("10.10.1.0/24").listen("127.0.0.1");
    let shop = block_on(server.add_network(network.endpoint(endpoint("db", "10.10.1.3")).build().unwrap())).unwrap();
    let client = "10.10.1.3".parse().unwrap();
    for (name, count) in [("db", 1), ("www.example", 0)] {
        let answer = block_on(server.resolve(&shop, client, &name.parse().unwrap(), rtype::A)).unwrap();
        assert_eq!(answer.records.len(), count, "{answer}");
    }
    block_on(server.update(vec![shop.to_builder().ttl(5).build().unwrap()], &[])).unwrap();
    block_on(server.remove_network("shop")).unwrap();
    block_on(server.shutdown());
    // All threads have ended, so that each has begun.
    assert_eq!(started.load(Ordering::Relaxed), 1 + 2 + 3);
}

#[test]
fn shutdown_blocking_stops_all_and_a_second_one_returns_at_once() {
    let server = block_on(Server::builder().port(0).start()).unwrap();
    block_on(server.add_network(Network::builder("shop").listen("127.0.0.1").build().unwrap())).unwrap();
    server.shutdown_blocking();
    assert!(server.status().listeners.is_empty());
    server.shutdown_blocking();
    let added = block_on(server.add_network(Network::builder("blog").build().unwrap()));
    assert!(matches!(added, Err(ServerError::Stopped)));
}

#[test]
fn a_shutdown_that_is_dropped_half_way_takes_nothing_new_and_can_be_finished() {
    let server = block_on(Server::builder().port(0).start()).unwrap();
    block_on(server.add_network(Network::builder("shop").listen("127.0.0.1").build().unwrap())).unwrap();
    {
        let mut shutdown = pin!(server.shutdown());
        let _ = shutdown.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    let added = block_on(server.add_network(Network::builder("blog").build().unwrap()));
    assert!(matches!(added, Err(ServerError::Stopped)));
    server.shutdown_blocking();
    assert!(server.status().listeners.is_empty());
}
