//! The forwarder's cache through a whole server: real sockets, scripted upstreams, and a clock of the cache's own that the
//! tests put forward.

#[path = "../support/mod.rs"]
mod support;

mod allocations;
mod coalescing;
mod failing;
mod hits;
mod isolation;
mod routes;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callsign::forward::{Counters, ForwardOptions};
use callsign::server::{Limits, ListenerState, Server};
use callsign::table::{Network, Upstream};
use support::DEADLINE;
use support::client::Client;
use support::upstream::Scripted;

/// The options of a forwarder that asks this upstream by default.
fn asking(upstream: &Scripted) -> ForwardOptions {
    ForwardOptions { upstreams: vec![Upstream::new(upstream.address().into())].into(), ..ForwardOptions::default() }
}

/// A server with one network and no names.
struct Served {
    server: Server,
    address: SocketAddr,
}

impl Served {
    async fn new(options: ForwardOptions) -> Served {
        Served::limited(options, Limits::default()).await
    }

    async fn limited(options: ForwardOptions, limits: Limits) -> Served {
        let server = Server::builder().port(0).forwarding(options).limits(limits).start().await.unwrap();
        server.add_network(Network::builder("web").listen("127.0.0.1").build().unwrap()).await.unwrap();
        let address = listening(&server, "web");
        Served { server, address }
    }

    fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// So many seconds pass, as far as the cache knows.
    fn pass(&self, seconds: u64) {
        self.server.put_cache_clock_forward(Duration::from_secs(seconds));
    }

    fn counters(&self) -> Counters {
        self.server.status().forwarding
    }
}

/// Where a network listens.
fn listening(server: &Server, network: &str) -> SocketAddr {
    let listeners = server.status().listeners;
    let own = listeners.iter().filter(|listener| listener.network == network);
    let mut address = own.map(|listener| match listener.state {
        ListenerState::Listening(address) => address,
        _ => panic!("{listener}"),
    });
    address.next().expect("a listener")
}

/// Waits until something is so, which is looked at again and again.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never came to be: {what}");
        tokio::task::yield_now().await;
    }
}

/// A message from behind its question on, with every TTL 0.
fn records_of(message: &[u8]) -> Vec<u8> {
    use callsign::wire::message::{question_end, records};
    let mut copy = message.to_vec();
    for record in records(message) {
        let record = record.unwrap();
        if record.rtype != callsign::wire::rtype::OPT {
            copy[record.fixed + 4..record.fixed + 8].fill(0);
        }
    }
    copy.split_off(question_end(message).unwrap())
}
