//! The server as a library: real sockets, well-behaved clients, and those that are not.

#[path = "../support/mod.rs"]
mod support;

mod binding;
mod floods;
mod holding;
mod limits;
mod networks;
mod relayed;
mod stopping;
mod tcp;
mod updates;

use std::future::Future;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use callsign::forward::Upstreams;
use callsign::server::{Limits, ListenerState, Server, ServerBuilder};
use callsign::table::{Endpoint, Network, NetworkBuilder, Record, Upstream};
use callsign::wire::rtype;
use socket2::{Domain, Socket, Type};

use support::DEADLINE;
use support::client::{Client, Connection, Query, Reply};
use support::upstream::{Act, Gate, Scripted, a};

/// A server whose networks listen at ports of the kernel's choice and that asks nobody.
fn builder() -> ServerBuilder {
    Server::builder().port(0).upstreams(Upstreams::List(Vec::new()))
}

/// A server that asks one upstream, with the network of [`shop`].
async fn shop_with(upstream: Option<SocketAddr>, limits: Limits) -> (Server, SocketAddr) {
    let upstreams = upstream.into_iter().map(|address| Upstream::new(address.into())).collect();
    let server = builder().upstreams(upstreams).limits(limits).start().await.unwrap();
    server.add_network(shop().build().unwrap()).await.unwrap();
    let address = listening(&server, "shop");
    (server, address)
}

/// A network at 127.0.0.1 with an endpoint `db`, and a name `huge` whose reply is the longest there can be.
fn shop() -> NetworkBuilder {
    // The rest is the header, the question and the record's own header.
    let rest = 12 + 5 + 1 + 4 + 12;
    let huge = record_of("huge", 65_535 - rest);
    network("shop").listen("127.0.0.1").record(huge).record(record_of("larger", 65_535))
}

/// A network with an endpoint `db` at 10.10.1.3.
fn network(name: &str) -> NetworkBuilder {
    Network::builder(name).domain("internal").endpoint(endpoint("db", "10.10.1.3"))
}

fn endpoint(name: &str, address: &str) -> Endpoint {
    Endpoint::builder(format!("{name}-1")).name(name).address(address).build().unwrap()
}

/// A record of a type that nobody knows, with that much data.
fn record_of(name: &str, len: usize) -> Record {
    Record::parse(name, "TYPE65280", &format!("\\# {len} {}", "5a".repeat(len)), None).unwrap()
}

/// An upstream that answers once the gate is open.
async fn upstream_behind(gate: &Gate) -> Scripted {
    let gate = gate.clone();
    Scripted::start(move |query| vec![Act::Wait(gate.clone()), query.answer(&[a([192, 0, 2, 1])])]).await
}

/// Waits until an upstream has got the query of this number, from 0.
async fn asked(upstream: &Scripted, number: usize) {
    tokio::time::timeout(DEADLINE, upstream.query(number)).await.expect("the upstream is asked");
}

/// The default limits with something changed.
fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

/// Where a network listens.
#[track_caller]
fn listening(server: &Server, network: &str) -> SocketAddr {
    let listeners = server.status().listeners;
    let at =
        listeners.iter().filter(|listener| listener.network == network).find_map(|listener| match listener.state {
            ListenerState::Listening(address) => Some(address),
            _ => None,
        });
    at.unwrap_or_else(|| panic!("{network} does not listen: {listeners:?}"))
}

/// A question for a name of the network.
fn local() -> Query {
    Query::new("db", rtype::A)
}

/// A question for a name of somebody else's: another one each time, which no cache knows and nobody else waits for.
fn foreign() -> Query {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    Query::new(&format!("www{:06}.example", NEXT.fetch_add(1, Ordering::Relaxed)), rtype::A)
}

/// Asks for `db`, over UDP and TCP.
#[track_caller]
fn assert_served(server: SocketAddr) {
    let client = Client::new(server);
    for reply in [client.udp(&local()), client.tcp(&local())] {
        assert_eq!((reply.status(), reply.answers().len()), ("NOERROR".into(), 1), "{reply:?}");
    }
}

/// A connection from a certain address of this machine.
fn connect_from(source: &str, server: SocketAddr) -> io::Result<Connection> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source.parse::<IpAddr>().unwrap(), 0).into())?;
    socket.connect(&server.into())?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    Ok(Connection { stream })
}

/// Reads to the end of a connection that the server is to close without a word more.
#[track_caller]
fn assert_closed(connection: &mut Connection) {
    match connection.stream.read(&mut [0; 1]) {
        Ok(0) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        other => panic!("not closed: {other:?}"),
    }
}

/// Waits until something is so, which is looked at again and again.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never came to be: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A client that asks one question after the other, by turns over UDP and TCP, until it is told to stop. It gives up at the
/// first that is not answered.
struct Asker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
}

impl Asker {
    fn start(server: SocketAddr, source: &str) -> Asker {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, source) = (stop.clone(), source.to_owned());
        let thread = std::thread::spawn(move || {
            let udp = Client::new(server).from(source.parse().unwrap()).udp_socket().unwrap();
            let mut answers = 0;
            while !told.load(Ordering::Relaxed) || answers == 0 {
                let query = local().bytes();
                udp.send(&query).unwrap();
                let mut reply = [0; 512];
                let len = udp.recv(&mut reply).expect("an answer over UDP");
                assert_eq!(reply[..2], query[..2], "the reply to another query");
                assert!(reply[..len].ends_with(&[10, 10, 1, 3]));
                let mut tcp = connect_from(&source, server).unwrap();
                tcp.send(&query).unwrap();
                assert!(tcp.receive().expect("an answer over TCP").ends_with(&[10, 10, 1, 3]));
                answers += 2;
            }
            answers
        });
        Asker { stop, thread: Some(thread) }
    }

    /// The number of answers that it got, to as many questions.
    #[track_caller]
    fn stop(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().unwrap().join() {
            Ok(answers) => answers,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Runs the rest of a test in a process of its own, where nothing else opens files or starts threads or processes. One that
/// is just being started has all sockets open for a moment, so that a port is not free though its socket was closed.
#[track_caller]
fn alone(test: impl Future<Output = ()>) {
    const MARK: &str = "CALLSIGN_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        return runtime.block_on(test);
    }
    let name = std::thread::current().name().expect("the test's name").to_owned();
    let mut again = Command::new(std::env::current_exe().unwrap());
    let output = again.args([&name, "--exact", "--nocapture"]).env(MARK, "1").output().unwrap();
    assert!(output.status.success(), "{name}, alone:\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{name} was not run");
}
