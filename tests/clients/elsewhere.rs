//! Sockets that were made in another network namespace (answers.md F4): their addresses are not ours.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use callsign::server::{ReadySocket, Server};
use callsign::table::{Endpoint, Network, Upstream};
use callsign::wire::rtype;

use super::support::client::{Client, Query};
use super::support::netns::Lab;
use super::support::upstream::{Scripted, a};
use crate::needs_root;

fn sockets_at(address: SocketAddr) -> Vec<ReadySocket> {
    vec![UdpSocket::bind(address).unwrap().into(), TcpListener::bind(address).unwrap().into()]
}

/// A container's resolver has the address that the host's own upstream has: 127.0.0.11, each in its namespace.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn f4_an_address_of_another_namespace_is_not_ourselves() {
    needs_root!();
    let lab = Lab::new();
    let container = lab.outside("container", "10.99.0.254/24", "10.99.0.1/24");
    let upstream = Scripted::start_at("127.0.0.11", |query| vec![query.answer(&[a([192, 0, 2, 1])])]).await;
    let address = upstream.address();
    let server =
        Server::builder().upstreams(vec![Upstream::new(address.into())].into()).workers(1).start().await.unwrap();
    let db = Endpoint::builder("db-1").name("db").address("10.10.1.3").build().unwrap();
    let shop = Network::builder("shop").endpoint(db).build().unwrap();
    server.add_network_at(shop, container.enter(|| sockets_at(address))).await.unwrap();
    let inside =
        |query: Query| container.enter(|| [Client::new(address).udp(&query), Client::new(address).tcp(&query)]);
    for reply in inside(Query::new("db", rtype::A)).iter().chain(&inside(Query::new("www.example", rtype::A))) {
        assert_eq!((reply.status().as_str(), reply.addresses().len()), ("NOERROR", 1), "{reply:?}");
    }

    // One that was handed in and is in this namespace is ourselves.
    let own = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = own.local_addr().unwrap();
    let server = Server::builder().upstreams(vec![Upstream::new(address.into())].into()).start().await.unwrap();
    server.add_network_at(Network::builder("shop").build().unwrap(), vec![own.into()]).await.unwrap();
    let reply = Client::new(address).udp(&Query::new("www.example", rtype::A).edns(1232));
    let reasons = reply.extended_errors();
    assert_eq!((reply.status().as_str(), reasons[0].1.as_str()), ("SERVFAIL", "no upstream is configured"));
}
