//! A DNS client with nothing clever in it: it sends exactly what a test says, and decodes replies with hickory-proto, which
//! knows nothing of callsign's own reader and writer.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use callsign::wire::message::question_end;
use callsign::wire::{class, option, rcode};
use hickory_proto::op::{Edns, Message};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{RData, Record};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use socket2::{Domain, Socket, Type};

use super::DEADLINE;

/// A query, octet by octet as the test wants it: nothing is checked, so that a wrong one can be sent.
///
/// ```text
/// Query::new("db.internal", rtype::A).edns(1232).option(option::COOKIE, b"8 octets")
/// ```
#[derive(Debug, Clone)]
pub struct Query {
    id: u16,
    flags: u16,
    name: Vec<u8>,
    rtype: u16,
    class: u16,
    opt: Option<Opt>,
}

#[derive(Debug, Clone)]
struct Opt {
    size: u16,
    version: u8,
    flags: u16,
    options: Vec<u8>,
}

impl Query {
    /// A question in class IN with RD set, no EDNS, and an ID of its own. The name is split at its dots, with no escapes;
    /// its case is kept.
    pub fn new(name: &str, rtype: u16) -> Query {
        let labels: Vec<&[u8]> = name.split('.').filter(|label| !label.is_empty()).map(str::as_bytes).collect();
        Query::of_labels(&labels, rtype)
    }

    /// [`new`](Self::new) for a name of any octets.
    pub fn of_labels(labels: &[&[u8]], rtype: u16) -> Query {
        static NEXT_ID: AtomicU16 = AtomicU16::new(1);
        let mut name = Vec::new();
        for label in labels {
            name.push(u8::try_from(label.len()).expect("a label"));
            name.extend_from_slice(label);
        }
        name.push(0);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Query { id, flags: 0x0100, name, rtype, class: class::IN, opt: None }
    }

    /// The question for the name of an address.
    pub fn reverse(address: IpAddr) -> Query {
        let name = match address {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(v6) => {
                let nibbles = v6.octets().into_iter().rev().map(|octet| format!("{:x}.{:x}.", octet & 15, octet >> 4));
                format!("{}ip6.arpa", nibbles.collect::<String>())
            }
        };
        Query::new(&name, callsign::wire::rtype::PTR)
    }

    /// With this ID.
    pub fn id(mut self, id: u16) -> Query {
        self.id = id;
        self
    }

    /// In this class.
    pub fn class(mut self, class: u16) -> Query {
        self.class = class;
        self
    }

    /// With this flag word, the opcode in it: see [`callsign::wire::message::flag`].
    pub fn flags(mut self, flags: u16) -> Query {
        self.flags = flags;
        self
    }

    /// With this opcode.
    pub fn opcode(mut self, opcode: u8) -> Query {
        self.flags = self.flags & !0x7800 | u16::from(opcode) << 11;
        self
    }

    /// With an OPT that says that the client takes UDP replies of `size` octets.
    pub fn edns(mut self, size: u16) -> Query {
        self.opt = Some(Opt { size, version: 0, flags: 0, options: Vec::new() });
        self
    }

    /// With this EDNS version; after [`edns`](Self::edns).
    pub fn edns_version(self, version: u8) -> Query {
        self.with_opt(|opt| opt.version = version)
    }

    /// With DO set; after [`edns`](Self::edns).
    pub fn dnssec_ok(self) -> Query {
        self.with_opt(|opt| opt.flags |= 0x8000)
    }

    /// With one more EDNS option; after [`edns`](Self::edns).
    pub fn option(self, code: u16, value: &[u8]) -> Query {
        self.with_opt(|opt| {
            opt.options.extend(code.to_be_bytes());
            opt.options.extend((value.len() as u16).to_be_bytes());
            opt.options.extend(value);
        })
    }

    fn with_opt(mut self, change: impl FnOnce(&mut Opt)) -> Query {
        change(self.opt.as_mut().expect("edns() comes first"));
        self
    }

    /// The message.
    pub fn bytes(&self) -> Vec<u8> {
        let counts = [1, 0, 0, u16::from(self.opt.is_some())];
        let mut bytes: Vec<u8> = [self.id, self.flags].into_iter().chain(counts).flat_map(u16::to_be_bytes).collect();
        bytes.extend(self.question());
        if let Some(opt) = &self.opt {
            bytes.extend([0, 0, 41]);
            bytes.extend(opt.size.to_be_bytes());
            bytes.extend([0, opt.version]);
            bytes.extend(opt.flags.to_be_bytes());
            bytes.extend((opt.options.len() as u16).to_be_bytes());
            bytes.extend(&opt.options);
        }
        bytes
    }

    /// The question section.
    pub fn question(&self) -> Vec<u8> {
        [&self.name[..], &self.rtype.to_be_bytes(), &self.class.to_be_bytes()].concat()
    }
}

/// Sends queries to one server, each over a socket of its own.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    server: SocketAddr,
    source: SocketAddr,
    timeout: Duration,
}

impl Client {
    /// A client of `server` that waits up to [`DEADLINE`] for a reply.
    pub fn new(server: SocketAddr) -> Client {
        let source: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        Client { server, source: SocketAddr::new(source, 0), timeout: DEADLINE }
    }

    /// From this address of the machine.
    pub fn from(self, source: IpAddr) -> Client {
        self.sent_from(SocketAddr::new(source, 0))
    }

    /// From this address of the machine, with its scope.
    pub fn sent_from(mut self, source: SocketAddr) -> Client {
        self.source = source;
        self
    }

    /// Waiting this long for a reply.
    pub fn timeout(mut self, timeout: Duration) -> Client {
        self.timeout = timeout;
        self
    }

    /// The reply to `query` over UDP.
    ///
    /// # Panics
    /// If none comes, or it is not a message, or not to this query.
    #[track_caller]
    pub fn udp(&self, query: &Query) -> Reply {
        match self.udp_bytes(&query.bytes()) {
            Ok(bytes) => Reply::to(query, bytes),
            Err(error) => panic!("{query:?} to {} over UDP: {error}", self.server),
        }
    }

    /// The first datagram that comes back for `message`; an error of kind `WouldBlock` if none comes in time.
    pub fn udp_bytes(&self, message: &[u8]) -> io::Result<Vec<u8>> {
        let socket = self.udp_socket()?;
        socket.send(message)?;
        let mut buffer = vec![0; 65_535];
        let len = socket.recv(&mut buffer)?;
        buffer.truncate(len);
        Ok(buffer)
    }

    /// A socket that talks to the server alone, for more than one query.
    pub fn udp_socket(&self) -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind(self.source)?;
        socket.set_read_timeout(Some(self.timeout))?;
        socket.connect(self.server)?;
        Ok(socket)
    }

    /// The reply to `query` over TCP.
    ///
    /// # Panics
    /// If none comes, or it is not a message, or not to this query.
    #[track_caller]
    pub fn tcp(&self, query: &Query) -> Reply {
        let exchange = || {
            let mut connection = self.connect()?;
            connection.send(&query.bytes())?;
            connection.receive()
        };
        match exchange() {
            Ok(bytes) => Reply::to(query, bytes),
            Err(error) => panic!("{query:?} to {} over TCP: {error}", self.server),
        }
    }

    /// A connection.
    pub fn connect(&self) -> io::Result<Connection> {
        let stream = Socket::new(Domain::for_address(self.server), Type::STREAM, None)?;
        stream.bind(&self.source.into())?;
        stream.connect_timeout(&self.server.into(), self.timeout)?;
        let stream = TcpStream::from(stream);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        Ok(Connection { stream })
    }
}

/// A TCP connection to a server, for several queries or for half of one.
#[derive(Debug)]
pub struct Connection {
    /// The stream itself, for octets that are no whole message.
    pub stream: TcpStream,
}

impl Connection {
    /// Sends one message, its length before it.
    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let len = u16::try_from(message.len()).map_err(io::Error::other)?;
        self.stream.write_all(&[&len.to_be_bytes(), message].concat())
    }

    /// The next message; an error of kind `UnexpectedEof` if the server closes instead.
    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut len = [0; 2];
        self.stream.read_exact(&mut len)?;
        let mut message = vec![0; u16::from_be_bytes(len).into()];
        self.stream.read_exact(&mut message)?;
        Ok(message)
    }
}

/// A reply, as hickory-proto reads it.
#[derive(Debug, Clone)]
pub struct Reply {
    /// As it came.
    pub bytes: Vec<u8>,
    /// As it reads.
    pub message: Message,
}

impl Reply {
    /// Decodes a reply.
    ///
    /// # Panics
    /// If it is not one message from its first octet to its last.
    #[track_caller]
    pub fn new(bytes: Vec<u8>) -> Reply {
        let mut decoder = BinDecoder::new(&bytes);
        let message = Message::read(&mut decoder).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"));
        assert!(decoder.is_empty(), "{} octets behind the message: {bytes:02x?}", decoder.len());
        Reply { message, bytes }
    }

    /// Decodes a reply that has to be one to `query`.
    #[track_caller]
    fn to(query: &Query, bytes: Vec<u8>) -> Reply {
        let reply = Reply::new(bytes);
        assert_eq!(reply.message.metadata.id, query.id, "the ID of {reply:?}");
        assert!(reply.flags().starts_with("qr"), "no reply: {reply:?}");
        reply
    }

    /// The response code by its mnemonic, the upper bits in OPT included: `NXDOMAIN`, `BADVERS`.
    pub fn status(&self) -> String {
        rcode::mnemonic(self.message.metadata.response_code.into()).into_owned()
    }

    /// The flags that are set, as dig prints them: `qr aa rd ra`.
    pub fn flags(&self) -> String {
        let word = u16::from_be_bytes([self.bytes[2], self.bytes[3]]);
        let names = ["qr", "aa", "tc", "rd", "ra", "z", "ad", "cd"];
        let masks = [0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0040, 0x0020, 0x0010];
        let set = names.into_iter().zip(masks).filter(|(_, mask)| word & mask != 0).map(|(name, _)| name);
        set.collect::<Vec<_>>().join(" ")
    }

    /// The question section, as it came; empty if there is none.
    pub fn question(&self) -> &[u8] {
        let end = if self.message.queries.is_empty() { None } else { question_end(&self.bytes) };
        &self.bytes[12..end.unwrap_or(12)]
    }

    /// The answer section, one record a line: `db.internal. 0 IN A 10.10.1.3`.
    pub fn answers(&self) -> Vec<String> {
        lines(&self.message.answers)
    }

    /// The authority section, like [`answers`](Self::answers).
    pub fn authority(&self) -> Vec<String> {
        lines(&self.message.authorities)
    }

    /// The additional section without OPT, like [`answers`](Self::answers).
    pub fn additional(&self) -> Vec<String> {
        lines(&self.message.additionals)
    }

    /// The addresses of the answer section, in order.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let address = |record: &Record| match record.data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        };
        self.message.answers.iter().filter_map(address).collect()
    }

    /// The OPT.
    pub fn edns(&self) -> Option<&Edns> {
        self.message.edns.as_ref()
    }

    /// The values of the EDNS options with this code, in order.
    pub fn options(&self, code: u16) -> Vec<Vec<u8>> {
        let options = self.edns().map(|edns| &edns.options().options[..]).unwrap_or_default();
        let value = |option: &EdnsOption| Vec::try_from(option).expect("an option that was decoded encodes");
        options.iter().filter(|(of, _)| u16::from(*of) == code).map(|(_, option)| value(option)).collect()
    }

    /// The extended errors (RFC 8914): code and text.
    pub fn extended_errors(&self) -> Vec<(u16, String)> {
        let read = |value: Vec<u8>| {
            let (code, text) = value.split_first_chunk().expect("an extended error has a code");
            (u16::from_be_bytes(*code), String::from_utf8_lossy(text).into_owned())
        };
        self.options(option::EXTENDED_ERROR).into_iter().map(read).collect()
    }
}

fn lines(records: &[Record]) -> Vec<String> {
    records.iter().map(ToString::to_string).collect()
}
