//! A scripted upstream: a DNS server on real sockets, UDP and TCP on one port chosen by the kernel, that answers each query
//! as a closure says and records what it got.
//!
//! Needs a tokio runtime; ends when dropped. A test holds replies back with a [`Gate`] and awaits queries with
//! [`Scripted::query`]; only a server that is to be slow waits for a length of time.
#![allow(dead_code, unreachable_pub)] // Each test program uses its own part of it, as a module.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use callsign::wire::message::{HEADER, Header, flag, question_end, records};
use callsign::wire::rtype;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A query as it came.
#[derive(Debug, Clone)]
pub struct Query {
    /// The whole message.
    pub bytes: Vec<u8>,
    /// Over TCP, not UDP.
    pub tcp: bool,
    /// How many came before it, over both; `usize::MAX` for a probe.
    pub number: usize,
    /// The sender.
    pub from: SocketAddr,
}

impl Query {
    pub fn header(&self) -> Header {
        Header::read(&self.bytes).expect("a header")
    }

    /// The question section: name as spelled, type, class.
    pub fn question(&self) -> &[u8] {
        &self.bytes[HEADER..question_end(&self.bytes).expect("a question")]
    }

    /// `. NS`: a probe of callsign's own.
    pub fn is_probe(&self) -> bool {
        self.question() == [0, 0, 2, 0, 1]
    }

    pub fn has_opt(&self) -> bool {
        records(&self.bytes).any(|record| record.expect("whole records").rtype == rtype::OPT)
    }

    /// A reply of this response code (low four bits) with these answer records and no OPT.
    pub fn reply(&self, rcode: u8, answers: &[Vec<u8>]) -> Vec<u8> {
        let header = self.header();
        let flags = flag::QR | flag::RA | header.flags & flag::RD | u16::from(rcode);
        let mut reply = Vec::new();
        for word in [header.id, flags, 1, answers.len() as u16, 0, 0] {
            reply.extend_from_slice(&word.to_be_bytes());
        }
        reply.extend_from_slice(self.question());
        reply.extend(answers.iter().flatten());
        reply
    }

    /// NOERROR with these records.
    pub fn answer(&self, answers: &[Vec<u8>]) -> Act {
        Act::Send(self.reply(0, answers))
    }

    /// A bare error.
    pub fn error(&self, rcode: u16) -> Act {
        Act::Send(self.reply(rcode as u8, &[]))
    }

    /// An error by a server that did not read the question: a header only.
    pub fn bare_error(&self, rcode: u16) -> Act {
        let mut reply = self.reply(rcode as u8, &[]);
        reply.truncate(HEADER);
        reply[5] = 0;
        Act::Send(reply)
    }

    /// Nothing but TC.
    pub fn truncated(&self) -> Act {
        self.answer(&[]).changed(|reply| reply[2] |= 0x02)
    }

    /// The right answer to another query.
    pub fn wrong_id(&self, answers: &[Vec<u8>]) -> Act {
        self.answer(answers).changed(|reply| reply[0] ^= 0xff)
    }

    /// The right ID with another question: the first octet of the name is another.
    pub fn wrong_question(&self, answers: &[Vec<u8>]) -> Act {
        self.answer(answers).changed(|reply| reply[HEADER + 1] ^= 0x55)
    }
}

/// What the upstream does for a query; a script gives any number, in order. None: the query is dropped.
#[derive(Debug, Clone)]
pub enum Act {
    /// These bytes as one message.
    Send(Vec<u8>),
    /// Waits until the gate is open.
    Wait(Gate),
    /// Waits for so long: a server that is slow.
    After(Duration),
    /// TCP: the length and half of the message, then the connection is closed. UDP: half of it.
    SendHalf(Vec<u8>),
    /// UDP: from another port than the query went to. TCP: not at all.
    SendFromElsewhere(Vec<u8>),
    /// TCP: octet by octet. UDP: at once.
    SendSlowly(Vec<u8>),
    /// TCP: the connection is closed.
    Close,
}

impl Act {
    /// The same message with something changed.
    pub fn changed(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Act {
        if let Act::Send(message) | Act::SendHalf(message) = &mut self {
            change(message);
        }
        self
    }
}

/// Opened once by the test, for all that wait at it.
#[derive(Debug, Clone)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub fn closed() -> Gate {
        Gate(Arc::new(watch::Sender::new(false)))
    }

    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub async fn wait(&self) {
        let _ = self.0.subscribe().wait_for(|&open| open).await;
    }
}

/// The running server.
pub struct Scripted {
    address: SocketAddr,
    seen: Seen,
    tasks: Vec<JoinHandle<()>>,
}

pub type Seen = Arc<watch::Sender<Vec<Query>>>;
pub type Script = Arc<dyn Fn(&Query) -> Vec<Act> + Send + Sync>;

impl Scripted {
    /// Starts a server on 127.0.0.1.
    pub async fn start(script: impl Fn(&Query) -> Vec<Act> + Send + Sync + 'static) -> Scripted {
        Scripted::start_at("127.0.0.1", script).await
    }

    /// Starts a server on another address of this host, such as `127.0.0.2` or `::1`.
    pub async fn start_at(ip: &str, script: impl Fn(&Query) -> Vec<Act> + Send + Sync + 'static) -> Scripted {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((ip, 0)).await.expect("a UDP socket");
            // The port may be taken for TCP; then another.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        Scripted::on(udp, tcp, script)
    }

    /// Starts a server on these sockets, which have one address.
    pub fn on(
        udp: UdpSocket,
        tcp: TcpListener,
        script: impl Fn(&Query) -> Vec<Act> + Send + Sync + 'static,
    ) -> Scripted {
        let address = udp.local_addr().unwrap();
        let seen = Arc::new(watch::Sender::new(Vec::new()));
        let script: Script = Arc::new(script);
        let tasks = vec![
            tokio::spawn(serve_udp(Arc::new(udp), script.clone(), seen.clone())),
            tokio::spawn(serve_tcp(tcp, script, seen.clone())),
        ];
        Scripted { address, seen, tasks }
    }

    /// A server that takes datagrams only: its TCP port refuses.
    pub async fn without_tcp(script: impl Fn(&Query) -> Vec<Act> + Send + Sync + 'static) -> Scripted {
        let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a UDP socket");
        let address = udp.local_addr().unwrap();
        Scripted::of(address, script, move |script, seen| serve_udp(Arc::new(udp), script, seen))
    }

    /// A server of another kind: `serve` with the script and the place for queries.
    pub fn of<F: Future<Output = ()> + Send + 'static>(
        address: SocketAddr,
        script: impl Fn(&Query) -> Vec<Act> + Send + Sync + 'static,
        serve: impl FnOnce(Script, Seen) -> F,
    ) -> Scripted {
        let seen = Arc::new(watch::Sender::new(Vec::new()));
        let tasks = vec![tokio::spawn(serve(Arc::new(script), seen.clone()))];
        Scripted { address, seen, tasks }
    }

    /// A server that drops every query.
    pub async fn silent() -> Scripted {
        Scripted::start(|_| vec![]).await
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All queries so far, but probes.
    pub fn queries(&self) -> Vec<Query> {
        self.seen.borrow().iter().filter(|query| !query.is_probe()).cloned().collect()
    }

    /// The probes so far: `. NS`, which callsign asks of its own accord.
    pub fn probes(&self) -> Vec<Query> {
        self.seen.borrow().iter().filter(|query| query.is_probe()).cloned().collect()
    }

    /// The query of this number (from 0), as soon as it came.
    pub async fn query(&self, number: usize) -> Query {
        let nth = |seen: &Vec<Query>| seen.iter().filter(|query| !query.is_probe()).nth(number).cloned();
        let mut seen = self.seen.subscribe();
        let seen = seen.wait_for(|seen| nth(seen).is_some()).await.expect("the sender is ours");
        nth(&seen).expect("it was there")
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Records the query and asks the script about it.
pub fn acts(script: &Script, seen: &watch::Sender<Vec<Query>>, bytes: &[u8], tcp: bool, from: SocketAddr) -> Vec<Act> {
    let mut query = Query { bytes: bytes.to_vec(), tcp, number: 0, from };
    seen.send_modify(|queries| {
        query.number = match query.is_probe() {
            true => usize::MAX,
            false => queries.iter().filter(|query| !query.is_probe()).count(),
        };
        queries.push(query.clone());
    });
    script(&query)
}

async fn serve_udp(socket: Arc<UdpSocket>, script: Script, seen: Seen) {
    let mut datagram = vec![0; 65_535];
    loop {
        // An error here is the ICMP of a client that closed its socket.
        let Ok((len, from)) = socket.recv_from(&mut datagram).await else { continue };
        let (acts, socket) = (acts(&script, &seen, &datagram[..len], false, from), socket.clone());
        tokio::spawn(async move {
            for act in acts {
                match act {
                    Act::Send(message) | Act::SendSlowly(message) => _ = socket.send_to(&message, from).await,
                    Act::SendFromElsewhere(message) => {
                        let elsewhere = UdpSocket::bind((socket.local_addr().unwrap().ip(), 0)).await.unwrap();
                        let _ = elsewhere.send_to(&message, from).await;
                    }
                    Act::SendHalf(message) => _ = socket.send_to(&message[..message.len() / 2], from).await,
                    Act::Wait(gate) => gate.wait().await,
                    Act::After(time) => tokio::time::sleep(time).await,
                    Act::Close => {}
                }
            }
        });
    }
}

async fn serve_tcp(listener: TcpListener, script: Script, seen: Seen) {
    loop {
        let Ok((stream, from)) = listener.accept().await else { continue };
        let (script, seen) = (script.clone(), seen.clone());
        tokio::spawn(async move { serve_connection(stream, from, script, seen).await });
    }
}

/// Serves until the client hangs up or the script does.
pub async fn serve_connection(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    from: SocketAddr,
    script: Script,
    seen: Seen,
) -> std::io::Result<()> {
    loop {
        let mut message = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut message).await?;
        for act in acts(&script, &seen, &message, true, from) {
            match act {
                Act::Send(message) => {
                    stream.write_u16(message.len() as u16).await?;
                    stream.write_all(&message).await?;
                    stream.flush().await?;
                }
                Act::SendHalf(message) => {
                    stream.write_u16(message.len() as u16).await?;
                    stream.write_all(&message[..message.len() / 2]).await?;
                    return stream.flush().await;
                }
                Act::SendSlowly(message) => {
                    let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
                    for octet in framed {
                        stream.write_u8(octet).await?;
                        stream.flush().await?;
                        tokio::task::yield_now().await;
                    }
                }
                Act::SendFromElsewhere(_) => {}
                Act::Wait(gate) => gate.wait().await,
                Act::After(time) => tokio::time::sleep(time).await,
                Act::Close => return Ok(()),
            }
        }
    }
}

/// A resource record owned by the question's name: `C0 0C`, type, class IN, TTL 300, data.
pub fn record(rtype: u16, rdata: &[u8]) -> Vec<u8> {
    let mut record = vec![0xc0, HEADER as u8];
    for word in [rtype, 1, 0, 300, rdata.len() as u16] {
        record.extend_from_slice(&word.to_be_bytes());
    }
    record.extend_from_slice(rdata);
    record
}

/// An A record owned by the question's name.
pub fn a(ip: [u8; 4]) -> Vec<u8> {
    record(rtype::A, &ip)
}

/// As many A records: 10.0.0.0, 10.0.0.1, ...
pub fn many_a(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|last| a([10, 0, 0, last])).collect()
}

/// A TXT record of at least 4 KiB of text.
pub fn big_txt() -> Vec<u8> {
    let text = [&[255; 1][..], &[b'x'; 255]].concat();
    record(rtype::TXT, &text.repeat(17))
}

/// A place where nothing listens, so that the kernel refuses at once: port 1 of a loopback address of its own.
pub fn refusing() -> SocketAddr {
    "127.0.0.66:1".parse().unwrap()
}
