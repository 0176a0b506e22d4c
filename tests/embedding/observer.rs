//! What an observer is told of each query.

use std::net::UdpSocket;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use callsign::responder::Rule;
use callsign::server::{Listen, ListenerState, Observed, Observer, Origin, Server};
use callsign::table::Network;
use callsign::wire::{Query, rcode, rtype};

use crate::endpoint;
use crate::support::DEADLINE;

/// Who asked, what, the rule, the response code, the origin, and whether the client's reply was there when it was told.
type Told = (Option<String>, Option<String>, Rule, Option<u16>, Origin, bool);

#[derive(Debug)]
struct Notes {
    told: Mutex<Sender<Told>>,
    client: Arc<UdpSocket>,
}

impl Observer for Notes {
    fn observe(&self, query: &Observed<'_>) {
        let name = query.question().map(|question| question.to_name().to_string());
        // What was sent over loopback is there at once.
        let arrived = self.client.peek(&mut [0; 12]).is_ok();
        let told = (query.endpoint.map(String::from), name, query.rule, query.rcode(), query.origin, arrived);
        self.told.lock().unwrap().send(told).unwrap();
        assert!(query.query.len() > 12, "an observer that panics");
    }
}

#[tokio::test]
async fn a_query_is_told_of_after_its_reply_was_sent() {
    let client = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
    client.set_nonblocking(true).unwrap();
    let (sender, told) = channel();
    let observer = Arc::new(Notes { told: Mutex::new(sender), client: client.clone() });
    let server = Server::builder().port(0).workers(1).upstreams(Vec::new().into()).observer(observer);
    let server = server.start().await.unwrap();
    let network = Network::builder("shop").domain("internal").listen("127.0.0.1");
    let shop = server.add_network(network.endpoint(endpoint("db", "10.10.1.3")).build().unwrap()).await.unwrap();
    let own = UdpSocket::bind("127.0.0.1:0").unwrap();
    let own = server.listen(&shop, Listen::socket(own).for_endpoint("db-1")).await.unwrap();
    let listening = server.status().listeners.into_iter().find_map(|listener| match listener.state {
        ListenerState::Listening(address) if !listener.tcp && listener.endpoint.is_none() => Some(address),
        _ => None,
    });
    let (shared, own_address) = (listening.unwrap(), own.local_addr().unwrap());
    let next = async |packet: &[u8], to| {
        client.send_to(packet, to).unwrap();
        let observed = told.recv_timeout(DEADLINE).unwrap();
        // So that the next one's reply is the first to be there.
        while client.recv(&mut [0; 1232]).is_ok() {}
        observed
    };
    let query = |name: &str| Query::build(7, &name.parse().unwrap(), rtype::A);
    let name = |name: &str| Some(name.to_owned());
    let (who, what, _, code, origin, arrived) = next(&query("db.internal"), shared).await;
    assert_eq!((who, what, code, origin), (None, name("db.internal"), Some(rcode::NOERROR), Origin::Local));
    assert!(arrived, "the reply was sent before");
    let (who, what, rule, code, _, _) = next(&query("nothere.internal"), own_address).await;
    assert_eq!((who, what, code), (name("db-1"), name("nothere.internal"), Some(rcode::NXDOMAIN)));
    assert_eq!(rule, Rule::N5);
    // An observer that panics costs its query and no other. This one has no reply.
    let (_, what, rule, code, origin, _) = next(&[0; 12][..11], shared).await;
    assert_eq!((what, rule, code, origin), (None, Rule::P1, None, Origin::Dropped));
    assert_eq!(next(&query("db.internal"), shared).await.4, Origin::Local);
    own.close().await;
    server.shutdown().await;
}

#[tokio::test]
async fn local_answers_refusals_and_drops_are_counted_by_network() {
    let server = Server::builder().port(0).workers(1).upstreams(Vec::new().into()).start().await.unwrap();
    server.count_queries(true);
    let network = |name: &str| Network::builder(name).domain("internal").listen("127.0.0.1");
    let shop = network("shop").endpoint(endpoint("db", "10.10.1.3")).build().unwrap();
    server.add_network(shop).await.unwrap();
    server.add_network(network("blog").allow("192.0.2.0/24").build().unwrap()).await.unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    for listener in server.status().listeners.iter().filter(|listener| !listener.tcp) {
        let ListenerState::Listening(address) = listener.state else { panic!("{listener}") };
        client.send_to(b"no DNS", address).unwrap();
        client.send_to(&Query::build(7, &"db.internal".parse().unwrap(), rtype::A), address).unwrap();
        client.recv(&mut [0; 1232]).unwrap();
    }
    let count = |network: &str, origin: Origin| -> u64 {
        let own = server.query_counts().into_iter().filter(|listener| listener.network == network);
        own.flat_map(|listener| listener.counts.queries)
            .filter(|query| query.origin == origin)
            .map(|query| query.count)
            .sum()
    };
    // The worker counts once it has sent; a query behind it says that it has.
    let deadline = std::time::Instant::now() + DEADLINE;
    let counts = || {
        ["shop", "blog"]
            .map(|network| [Origin::Local, Origin::Refused, Origin::Dropped].map(|origin| count(network, origin)))
    };
    while counts() != [[1, 0, 1], [0, 1, 1]] {
        assert!(std::time::Instant::now() < deadline, "{:?}", counts());
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    server.shutdown().await;
}
