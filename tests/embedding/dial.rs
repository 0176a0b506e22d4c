//! From where upstreams are asked.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};

use callsign::server::Server;
use callsign::settings::{Dial, Upstream};
use callsign::table::Network;
use callsign::wire::rtype;
use socket2::{Domain, Socket, Type};

use crate::support::upstream::{Scripted, a};

/// Asks from one address of this machine, and counts the sockets.
#[derive(Debug)]
struct From(IpAddr, Mutex<Vec<&'static str>>);

impl From {
    fn socket(&self, to: SocketAddr, kind: Type, what: &'static str) -> io::Result<Socket> {
        self.1.lock().unwrap().push(what);
        let socket = Socket::new(Domain::for_address(to), kind, None)?;
        socket.bind(&SocketAddr::new(self.0, 0).into())?;
        Ok(socket)
    }
}

impl Dial for From {
    fn udp(&self, to: SocketAddr) -> io::Result<UdpSocket> {
        Ok(self.socket(to, Type::DGRAM, "udp")?.into())
    }

    fn tcp(&self, to: SocketAddr) -> io::Result<TcpStream> {
        Ok(self.socket(to, Type::STREAM, "tcp")?.into())
    }
}

#[tokio::test]
async fn a_networks_upstreams_are_asked_from_the_sockets_of_their_dial() {
    let upstream = Scripted::start(|query| vec![query.answer(&[a([192, 0, 2, 1])])]).await;
    let server = Server::builder().upstreams(Vec::new().into()).start().await.unwrap();
    for (number, scheme, kind) in [(2, "udp", "udp"), (3, "tcp", "tcp")] {
        let dial = Arc::new(From(IpAddr::from([127, 0, 0, number]), Mutex::default()));
        let server_at: Upstream = format!("{scheme}://{}", upstream.address()).parse().unwrap();
        assert_ne!(server_at, server_at.clone().dialed_by(dial.clone()), "they are kept apart");
        let network = Network::builder(scheme).upstreams([server_at.dialed_by(dial.clone())]).build().unwrap();
        let network = server.add_network(network).await.unwrap();
        let name = "www.example".parse().unwrap();
        let answer = server.resolve(&network, "127.0.0.1".parse().unwrap(), &name, rtype::A).await.unwrap();
        assert_eq!(answer.records[0].ip(), Some("192.0.2.1".parse().unwrap()), "{answer}");
        assert_eq!(upstream.queries().last().unwrap().from.ip(), dial.0);
        assert_eq!(*dial.1.lock().unwrap(), [kind]);
    }
    server.shutdown().await;
}

/// A dial that has no sockets.
#[derive(Debug)]
struct Nowhere;

impl Dial for Nowhere {
    fn udp(&self, _: SocketAddr) -> io::Result<UdpSocket> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn tcp(&self, _: SocketAddr) -> io::Result<TcpStream> {
        Err(io::ErrorKind::NotFound.into())
    }
}

#[tokio::test]
async fn a_dial_that_fails_counts_as_the_upstreams_failure() {
    let upstream = Scripted::start(|query| vec![query.answer(&[a([192, 0, 2, 1])])]).await;
    let server = Server::builder().upstreams(Vec::new().into()).start().await.unwrap();
    let upstream_at = Upstream::new(upstream.address().into());
    let network = Network::builder("shop").upstreams([upstream_at.clone().dialed_by(Arc::new(Nowhere)), upstream_at]);
    let network = server.add_network(network.build().unwrap()).await.unwrap();
    let name = "www.example".parse().unwrap();
    let answer = server.resolve(&network, "127.0.0.1".parse().unwrap(), &name, rtype::A).await.unwrap();
    assert_eq!(answer.records.len(), 1, "the next server is asked: {answer}");
    server.shutdown().await;
}
