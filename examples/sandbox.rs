//! One listener a container, as Docker has it: each container asks at 127.0.0.11, inside its own network namespace. No bridge
//! and no gateway address is needed, and who asks is known from the socket, whatever address a query comes from.
//!
//! Run it as root with `cargo run --example sandbox`. It makes two network namespaces with `ip netns` and removes them again.
//! Without root or `ip` it says so and ends.

use std::error::Error;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use callsign::server::{Listen, ReadySocket, Server};
use callsign::table::{Endpoint, Network};
use callsign::wire::{Query, message, rtype};
use nix::sched::{CloneFlags, setns};

/// Where a container asks, as Docker's do.
const RESOLVER: &str = "127.0.0.11:53";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    if !nix::unistd::Uid::effective().is_root() {
        println!("this example needs root: it makes network namespaces");
        return Ok(());
    }
    let Ok(web) = Sandbox::new("web") else {
        println!("this example needs `ip netns` (iproute2), and a kernel that lets root make network namespaces");
        return Ok(());
    };
    let db = Sandbox::new("db")?;

    let server = Server::builder().upstreams(Vec::new().into()).start().await?;
    let shop = server.add_network(Network::builder("shop").domain("internal").build()?).await?;
    let mut listeners = Vec::new();
    for (sandbox, name, address) in [(&web, "web", "10.10.1.2"), (&db, "db", "10.10.1.3")] {
        shop.attach(Endpoint::builder(format!("{name}-1")).name(name).address(address).build()?)?;
        // The sockets are made inside, and served out here.
        let [udp, tcp] = sandbox.run(|| -> std::io::Result<[ReadySocket; 2]> {
            Ok([UdpSocket::bind(RESOLVER)?.into(), TcpListener::bind(RESOLVER)?.into()])
        })?;
        for socket in [udp, tcp] {
            listeners.push(server.listen(&shop, Listen::socket(socket).for_endpoint(format!("{name}-1"))).await?);
        }
    }

    println!("web asks for db: {:?}", web.run(|| ask("db.internal"))?);
    println!("db asks for web: {:?}", db.run(|| ask("web"))?);

    // The container ends: its endpoint goes, and its listeners.
    shop.detach("db-1")?;
    for listener in listeners.split_off(2) {
        listener.close().await;
    }
    println!("web asks for db again: {:?}", web.run(|| ask("db.internal"))?);
    server.shutdown().await;
    Ok(())
}

/// Asks as a container would: the addresses that a name has.
fn ask(name: &str) -> std::io::Result<Vec<String>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let name = name.parse().map_err(std::io::Error::other)?;
    socket
        .send_to(&Query::build(7, &name, rtype::A), RESOLVER.parse::<SocketAddr>().map_err(std::io::Error::other)?)?;
    let mut reply = [0; 1232];
    let len = socket.recv(&mut reply)?;
    let answers = message::records(&reply[..len]).flatten().filter(|record| record.rtype == rtype::A);
    Ok(answers.map(|record| reply[record.rdata()].iter().map(u8::to_string).collect::<Vec<_>>().join(".")).collect())
}

/// A network namespace, in the place of a container; removed on drop.
struct Sandbox(String);

impl Sandbox {
    fn new(name: &str) -> Result<Sandbox, Box<dyn Error>> {
        let sandbox = Sandbox(format!("callsign-sandbox-{name}-{}", std::process::id()));
        ip(&["netns", "add", &sandbox.0])?;
        ip(&["-netns", &sandbox.0, "link", "set", "lo", "up"])?;
        Ok(sandbox)
    }

    /// Does something in a thread inside.
    fn run<T: Send>(&self, work: impl FnOnce() -> std::io::Result<T> + Send) -> std::io::Result<T> {
        let namespace = File::open(format!("/run/netns/{}", self.0))?;
        let inside = || {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            work()
        };
        thread::scope(|scope| scope.spawn(inside).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = ip(&["netns", "delete", &self.0]);
    }
}

fn ip(words: &[&str]) -> Result<(), Box<dyn Error>> {
    let status = Command::new("ip").args(words).stderr(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("ip {}: {status}", words.join(" ")).into()) }
}
