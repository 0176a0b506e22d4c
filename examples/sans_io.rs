//! The responder without any I/O: octets and a client go in, a verdict comes out. This is how a runtime with sockets of its
//! own, a test or a simulation drives it.
//!
//! Run it with `cargo run --example sans_io --no-default-features`. It opens no socket and reads no clock.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use callsign::responder::{Client, Listener, Responder, ResponderOptions, Verdict};
use callsign::table::{Endpoint, NameTable, Network, Port, Protocol};
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};

fn main() -> Result<(), Box<dyn Error>> {
    // Who is where. The proxy is on both networks: one id makes it one endpoint.
    let table = NameTable::new();
    let shop = table.add(
        Network::builder("shop")
            .subnet("10.10.1.0/24")
            .domain("internal")
            .listen("10.10.1.1")
            .endpoint(Endpoint::builder("shop-db-1").address("10.10.1.3").names(["db", "database"]).build()?)
            .endpoint(Endpoint::builder("proxy-1").address("10.10.1.6").name("proxy").build()?)
            .alias("payments", "payments.dev.example.com")
            .build()?,
    )?;
    let blog = table.add(
        Network::builder("blog")
            .subnet("10.10.2.0/24")
            .listen("10.10.2.1")
            .endpoint(Endpoint::builder("blog-db-1").address("10.10.2.3").name("db").build()?)
            .endpoint(Endpoint::builder("proxy-1").address("10.10.2.6").name("proxy").build()?)
            .build()?,
    )?;

    // A listener is a place to ask. Where its octets come from is the caller's business.
    let at_shop = Listener::new(shop.clone(), "10.10.1.1:53".parse()?);
    let mut responder = Responder::new(Arc::new(ResponderOptions::default()));

    // The database of shop is a client of shop. Its own names are answered with authority, in any spelling and under the
    // network's domain; a type that there is no data of is an empty answer; an address has its name.
    let db = "10.10.1.3:40000".parse()?;
    show(&mut responder, &at_shop, db, "db", RecordType::A)?;
    show(&mut responder, &at_shop, db, "DB.internal", RecordType::A)?;
    show(&mut responder, &at_shop, db, "db", RecordType::AAAA)?;
    show(&mut responder, &at_shop, db, "3.1.10.10.in-addr.arpa", RecordType::PTR)?;

    // Under the network's own domain nothing is asked elsewhere; other names are, and so is what an alias stands for.
    show(&mut responder, &at_shop, db, "nothere.internal", RecordType::A)?;
    show(&mut responder, &at_shop, db, "example.com", RecordType::A)?;
    show(&mut responder, &at_shop, db, "payments", RecordType::A)?;

    // A change is seen whole by the very next query, and by those alone who may see it: not by the database of shop, but
    // by the proxy, which is on blog as well.
    let site = Endpoint::builder("blog-site-1").address("10.10.2.4").name("site");
    blog.attach(site.port(Port::named("http", 80, Protocol::Tcp)).build()?)?;
    let proxy = "10.10.1.6:40000".parse()?;
    show(&mut responder, &at_shop, db, "site", RecordType::A)?;
    show(&mut responder, &at_shop, proxy, "site", RecordType::A)?;
    show(&mut responder, &at_shop, proxy, "_http._tcp.site", RecordType::SRV)?;

    // The same decision, and why.
    let packet = query("site", RecordType::A)?;
    let mut out = [0; 1232];
    let (_, explanation) = responder.explain(&packet, &Client::udp(&at_shop, proxy), &mut out);
    println!("\n{explanation}");
    Ok(())
}

/// Asks and prints what came of it.
fn show(
    responder: &mut Responder,
    listener: &Listener,
    source: SocketAddr,
    name: &str,
    rtype: RecordType,
) -> Result<(), Box<dyn Error>> {
    println!("{} asks for {name} {rtype}", source.ip());
    let packet = query(name, rtype)?;
    let mut out = [0; 1232];
    match responder.respond(&packet, &Client::udp(listener, source), &mut out) {
        Verdict::Reply(len) => {
            // Here a server would send the octets.
            let reply = Message::from_vec(&out[..len])?;
            println!("    {}", reply.metadata.response_code);
            for record in reply.answers.iter().chain(&reply.additionals) {
                println!("    {record}");
            }
        }
        Verdict::Forward(forward) => {
            // Here it would ask an upstream, or answer that it could not: `forward.fail` writes that reply.
            let target = callsign::wire::Name::from_wire(forward.target())?;
            println!("    not ours: {target} is to be asked upstream (whose: {:?})", forward.preference);
        }
        // Only networks with `hold` do that.
        Verdict::Hold(_) => println!("    not yet"),
        Verdict::Ignore => println!("    no reply at all"),
    }
    Ok(())
}

fn query(name: &str, rtype: RecordType) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name)?, rtype));
    Ok(message.to_vec()?)
}
