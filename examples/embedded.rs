//! A container runtime links the library: it starts a server, attaches and detaches containers, and a client asks all the
//! while.
//!
//! Run it with `cargo run --example embedded`. It needs no privileges: the server listens on a loopback address, at a port
//! of the kernel's choice, and nothing is asked of anybody else.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use callsign::server::{ListenerState, Server};
use callsign::table::{Endpoint, Health, Network, Port, Protocol};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // On a real host the port is 53 and each network listens on its bridge's gateway address.
    let server = Server::builder().port(0).upstreams(Vec::new().into()).start().await?;
    let network = Network::builder("shop").subnet("10.10.1.0/24").domain("internal").listen("127.0.0.1").build()?;
    let shop = server.add_network(network).await?;
    let address = listening(&server).ok_or("no listener")?;
    println!("shop is answered at {address}");

    // A container starts: from this line on every query sees it.
    shop.attach(
        Endpoint::builder("3f2a9c")
            .address("10.10.1.3")
            .names(["db", "database"])
            .port(Port::named("postgres", 5432, Protocol::Tcp))
            .build()?,
    )?;
    show(address, "db", RecordType::A)?;
    show(address, "database.internal", RecordType::A)?;
    show(address, "_postgres._tcp.db", RecordType::SRV)?;

    // A second one with the same name: both are given, each first as often as the other.
    shop.attach(Endpoint::builder("77b0e1").address("10.10.1.4").name("db").build()?)?;
    show(address, "db", RecordType::A)?;

    // The first one's health check fails: it is left out while a healthy one is there.
    shop.update("3f2a9c", |db| db.with_health(Health::Unhealthy))?;
    show(address, "db", RecordType::A)?;

    // Several changes that become visible as one.
    shop.change(|change| {
        change.detach("3f2a9c");
        change.detach("77b0e1");
    })?;
    show(address, "db.internal", RecordType::A)?;

    server.shutdown().await;
    Ok(())
}

/// Where the server listens.
fn listening(server: &Server) -> Option<SocketAddr> {
    server.status().listeners.into_iter().find_map(|listener| match listener.state {
        ListenerState::Listening(address) => Some(address),
        _ => None,
    })
}

/// Asks as a container would, and prints the answer.
fn show(server: SocketAddr, name: &str, rtype: RecordType) -> Result<(), Box<dyn Error>> {
    let mut query = Message::query();
    query.add_query(Query::query(Name::from_ascii(name)?, rtype));
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.send_to(&query.to_vec()?, server)?;
    let mut buffer = [0; 1232];
    let len = socket.recv(&mut buffer)?;
    let reply = Message::from_vec(&buffer[..len])?;
    let answers: Vec<String> = reply.answers.iter().map(|record| record.data.to_string()).collect();
    println!("{name} {rtype}: {:?} {}", reply.metadata.response_code, answers.join(", "));
    Ok(())
}
