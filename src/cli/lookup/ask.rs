//! One question to one server, over UDP and TCP, as a stub resolver asks it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use callsign::wire::message::{Header, flag};
use serde::Serialize;

use crate::cli::question::Question;

/// How long each attempt over UDP waits; the packet is sent again for the next one.
const ATTEMPTS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(2)];
/// How long each step over TCP may take.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);

/// How a reply came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// A reply as it came.
pub(super) struct Answer {
    pub(super) message: Vec<u8>,
    pub(super) transport: Transport,
    pub(super) took: Duration,
}

/// Asks; a reply that is truncated over UDP is asked for again over TCP.
///
/// # Errors
/// Why there is no reply, in words.
pub(super) fn ask(server: SocketAddr, question: &Question, transport: Transport) -> Result<Answer, String> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(|error| format!("no random ID: {error}"))?;
    let id = u16::from_be_bytes(id);
    let start = Instant::now();
    let mut transport = transport;
    let mut message = Vec::new();
    if transport == Transport::Udp {
        message = over_udp(server, question, id).map_err(|error| describe(&error, "UDP"))?;
        if Header::read(&message).is_some_and(|header| header.has(flag::TC)) {
            transport = Transport::Tcp;
        }
    }
    if transport == Transport::Tcp {
        message = over_tcp(server, question, id).map_err(|error| describe(&error, "TCP"))?;
    }
    Ok(Answer { message, transport, took: start.elapsed() })
}

fn describe(error: &io::Error, transport: &str) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("nobody listens there over {transport}"),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!("no reply over {transport} within 5 s"),
        io::ErrorKind::UnexpectedEof => format!("the {transport} connection ended without a reply"),
        io::ErrorKind::InvalidData => format!("its {transport} reply is to something else"),
        _ => format!("{error}, over {transport}"),
    }
}

fn over_udp(server: SocketAddr, question: &Question, id: u16) -> io::Result<Vec<u8>> {
    // The kernel chooses a random port, and lets in what comes from the server only.
    let socket = match server {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
    }?;
    socket.connect(server)?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    for attempt in ATTEMPTS {
        socket.send(&question.packet(id))?;
        let deadline = Instant::now() + attempt;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            match socket.recv(&mut buffer) {
                Ok(len) if question.is_answered_by(id, &buffer[..len]) => {
                    buffer.truncate(len);
                    return Ok(buffer);
                }
                // Not the reply to this question: that one may still come.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn over_tcp(server: SocketAddr, question: &Question, id: u16) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, TCP_TIMEOUT)?;
    stream.set_read_timeout(Some(TCP_TIMEOUT))?;
    stream.set_write_timeout(Some(TCP_TIMEOUT))?;
    let packet = question.packet(id);
    let len = packet.len() as u16;
    stream.write_all(&[&len.to_be_bytes(), &packet[..]].concat())?;
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message)?;
    if question.is_answered_by(id, &message) { Ok(message) } else { Err(io::ErrorKind::InvalidData.into()) }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        })
    }
}
