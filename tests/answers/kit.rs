//! A small world of networks, clients that ask in it, and answers in a form that reads well in an assertion.

use std::cell::RefCell;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use callsign::responder::{
    Client, Explanation, HostAddresses, HostViewBuilder, Listener, Responder, ResponderOptions, UpstreamScope, Verdict,
};
use callsign::table::{Endpoint, EndpointBuilder, NameTable, Network, NetworkBuilder, Port, Protocol};
use callsign::wire;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};

/// A cookie's client part, and what a query looks like that has it.
pub(crate) const CLIENT_COOKIE: [u8; 8] = *b"8 octets";

/// An endpoint with an id and its addresses.
pub(crate) fn endpoint(id: &str, addresses: &[&str]) -> EndpointBuilder {
    addresses.iter().fold(Endpoint::builder(id), |builder, address| builder.address(address))
}

/// A finished endpoint that is found by `names`.
pub(crate) fn named(id: &str, addresses: &[&str], names: &[&str]) -> Endpoint {
    endpoint(id, addresses).names(names).build().unwrap()
}

/// The network `shop` of the example: an API with both address families, a database, two replicas of `web`, a proxy that
/// is on `blog` too, a worker that is down, and a remote alias.
pub(crate) fn shop() -> NetworkBuilder {
    let web = |id, address| {
        endpoint(id, &[address]).name("web").port(Port::named("http", 80, Protocol::Tcp)).build().unwrap()
    };
    Network::builder("shop")
        .subnet("10.10.1.0/24")
        .subnet("fd00:10:1::/64")
        .listen("10.10.1.1")
        .domain("internal")
        .endpoint(
            endpoint("shop-api-1", &["10.10.1.2", "fd00:10:1::2"])
                .name("api")
                .port(Port::named("http", 8080, Protocol::Tcp))
                .build()
                .unwrap(),
        )
        .endpoint(named("shop-db-1", &["10.10.1.3"], &["db", "database"]))
        .endpoint(web("shop-web-1", "10.10.1.4"))
        .endpoint(web("shop-web-2", "10.10.1.5"))
        .endpoint(named("proxy-1", &["10.10.1.6"], &["proxy"]))
        .endpoint(endpoint("shop-worker-1", &["10.10.1.7"]).name("worker").running(false).build().unwrap())
        .alias("payments", "payments.dev.example.com")
}

/// The network `blog` of the example: a database of its own, a site, and the proxy. No domain.
pub(crate) fn blog() -> NetworkBuilder {
    Network::builder("blog")
        .subnet("10.10.2.0/24")
        .listen("10.10.2.1")
        .endpoint(named("blog-db-1", &["10.10.2.3"], &["db"]))
        .endpoint(named("blog-site-1", &["10.10.2.4"], &["site"]))
        .endpoint(named("proxy-1", &["10.10.2.6"], &["proxy"]))
}

/// Networks in a table, and one responder for all of them.
pub(crate) struct World {
    pub(crate) table: NameTable,
    pub(crate) responder: RefCell<Responder>,
    /// The largest reply over UDP that counts as sound.
    pub(crate) udp_size: u16,
}

impl World {
    pub(crate) fn of(networks: impl IntoIterator<Item = NetworkBuilder>) -> World {
        World::with(networks, |_| {})
    }

    pub(crate) fn with(
        networks: impl IntoIterator<Item = NetworkBuilder>,
        set: impl FnOnce(&mut ResponderOptions),
    ) -> World {
        let table = NameTable::new();
        for network in networks {
            table.add(network.build().unwrap()).unwrap();
        }
        let mut options = ResponderOptions::default();
        set(&mut options);
        let udp_size = options.udp_size;
        World { table, responder: RefCell::new(Responder::new(Arc::new(options))), udp_size }
    }

    /// `shop` and `blog`.
    pub(crate) fn example() -> World {
        World::of([shop(), blog()])
    }

    pub(crate) fn network(&self, name: &str) -> Arc<Network> {
        self.table.network(name).unwrap()
    }

    /// A client at `source` that asks the listener of `network` over UDP.
    pub(crate) fn client(&self, network: &str, source: &str) -> Asker<'_> {
        let listener = Listener::new(self.network(network), "192.0.2.53:53".parse().unwrap());
        let source = SocketAddr::new(source.parse().unwrap(), 40_000);
        Asker { world: self, listener, source, tcp: false, waited: false, now: 0 }
    }

    /// A client at `source` that asks the host view over UDP, on a host with the address 192.0.2.53.
    pub(crate) fn host_view(&self, view: HostViewBuilder, source: &str) -> Asker<'_> {
        let view = view.table(&self.table).build().unwrap();
        let host = HostAddresses::default();
        host.set(vec!["192.0.2.53".parse().unwrap()]);
        let listener =
            Listener::of_host_view(Arc::new(view), "127.0.0.55:53".parse().unwrap()).with_host_addresses(host);
        let source = SocketAddr::new(source.parse().unwrap(), 40_000);
        Asker { world: self, listener, source, tcp: false, waited: false, now: 0 }
    }
}

/// A client of a [`World`].
pub(crate) struct Asker<'w> {
    world: &'w World,
    listener: Listener,
    pub(crate) source: SocketAddr,
    tcp: bool,
    waited: bool,
    now: u32,
}

impl Asker<'_> {
    pub(crate) fn tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    pub(crate) fn with_time(mut self, now: u32) -> Self {
        self.now = now;
        self
    }

    pub(crate) fn neighbours(self, neighbours: &[&str]) -> Self {
        self.listener.set_neighbours(neighbours.iter().map(|subnet| subnet.parse().unwrap()).collect());
        self
    }

    /// With the indices of the interfaces that carry the listener's address.
    pub(crate) fn interfaces(self, interfaces: &[u32]) -> Self {
        self.listener.set_interfaces(interfaces.to_vec());
        self
    }

    /// Having come in over the interface of this index, as the source's address says.
    pub(crate) fn over(mut self, interface: u32) -> Self {
        let SocketAddr::V6(source) = &mut self.source else { panic!("IPv4 has no scopes") };
        source.set_scope_id(interface);
        self
    }

    /// On a host with these addresses.
    pub(crate) fn on_host(mut self, addresses: &[&str]) -> Self {
        let host = HostAddresses::default();
        host.set(addresses.iter().map(|address| address.parse().unwrap()).collect());
        self.listener =
            Listener::new(self.listener.network().clone(), self.listener.address()).with_host_addresses(host);
        self
    }

    /// Asks the ordinary way: RD, and an OPT of 4,096 octets.
    /// The same client, which has waited as long as it may (answers.md N11).
    pub(crate) fn waited(self) -> Self {
        Asker { waited: true, ..self }
    }

    pub(crate) fn ask(&self, name: &str, rtype: RecordType) -> Outcome {
        self.send(&ask(name, rtype).packet())
    }

    /// Sends any octets, and holds the reply to what is true of every reply.
    pub(crate) fn send(&self, packet: &[u8]) -> Outcome {
        let mut out = vec![0xaa; 65_535];
        let mut responder = self.world.responder.borrow_mut();
        let outcome = Outcome::of(responder.respond(packet, &self.client(), &mut out), &out);
        if let Outcome::Reply(reply) = &outcome {
            reply.is_sound(packet, self.tcp, self.world.udp_size);
        }
        outcome
    }

    pub(crate) fn explain(&self, name: &str, rtype: RecordType) -> Explanation {
        self.explain_packet(&ask(name, rtype).packet())
    }

    pub(crate) fn explain_packet(&self, packet: &[u8]) -> Explanation {
        let mut out = vec![0; 65_535];
        self.world.responder.borrow_mut().explain(packet, &self.client(), &mut out).1
    }

    fn client(&self) -> Client<'_> {
        let client = match self.tcp {
            true => Client::tcp(&self.listener, self.source, 100),
            false => Client::udp(&self.listener, self.source),
        };
        let client = client.with_time(self.now);
        if self.waited { client.without_hold() } else { client }
    }
}

/// A query in the making.
pub(crate) struct Ask(pub(crate) Message);

/// A query with RD and an OPT of 4,096 octets. The name is split at its dots and otherwise taken as it stands.
pub(crate) fn ask(name: &str, rtype: RecordType) -> Ask {
    ask_labels(name.split('.').filter(|label| !label.is_empty()).map(str::as_bytes), rtype)
}

pub(crate) fn ask_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>, rtype: RecordType) -> Ask {
    let mut name = Name::from_labels(labels).unwrap();
    name.set_fqdn(true);
    let mut message = Message::new(0xabcd, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, rtype));
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    message.set_edns(edns);
    Ask(message)
}

impl Ask {
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Message)) -> Ask {
        change(&mut self.0);
        self
    }

    pub(crate) fn without_edns(self) -> Ask {
        self.with(|message| message.edns = None)
    }

    pub(crate) fn edns(self, change: impl FnOnce(&mut Edns)) -> Ask {
        self.with(|message| change(message.edns.get_or_insert_default()))
    }

    /// With another UDP size; any value, which hickory-proto would not write.
    pub(crate) fn packet_of_size(self, size: u16) -> Vec<u8> {
        let mut packet = self.edns(|edns| _ = edns.set_max_payload(0x7a7a)).packet();
        let at = packet.windows(2).rposition(|pair| pair == [0x7a, 0x7a]).unwrap();
        packet[at..at + 2].copy_from_slice(&size.to_be_bytes());
        packet
    }

    pub(crate) fn option(self, code: u16, value: &[u8]) -> Ask {
        self.edns(|edns| edns.options_mut().insert(EdnsOption::Unknown(code, value.to_vec())))
    }

    pub(crate) fn class(self, class: DNSClass) -> Ask {
        self.with(|message| _ = message.queries[0].set_query_class(class))
    }

    pub(crate) fn packet(&self) -> Vec<u8> {
        self.0.to_vec().unwrap()
    }
}

/// What came of a packet.
#[derive(Debug)]
pub(crate) enum Outcome {
    Reply(Box<Reply>),
    Forward(Forwarded),
    Ignored,
    Held(std::time::Duration),
}

#[derive(Debug)]
pub(crate) struct Forwarded {
    pub(crate) target: wire::Name,
    /// Owner, target, TTL.
    pub(crate) aliases: Vec<(String, String, u32)>,
    pub(crate) preference: UpstreamScope,
    pub(crate) upstreams: Vec<String>,
    pub(crate) limit: usize,
    /// The reply to a failure, SERVFAIL with extended error 23.
    pub(crate) failed: Box<Reply>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) message: Message,
}

impl Outcome {
    fn of(verdict: Verdict<'_>, out: &[u8]) -> Outcome {
        match verdict {
            Verdict::Ignore => Outcome::Ignored,
            Verdict::Hold(hold) => Outcome::Held(hold),
            Verdict::Reply(len) => Outcome::Reply(Box::new(Reply::read(&out[..len]))),
            Verdict::Forward(forward) => {
                let mut out = [0; 1232];
                let len = forward.fail(wire::rcode::SERVFAIL, wire::ede::NETWORK_ERROR, "no route", &mut out);
                Outcome::Forward(Forwarded {
                    target: wire::Name::from_wire(forward.target()).unwrap(),
                    aliases: forward.aliases.iter().map(|(a, b, ttl)| (a.to_string(), b.to_string(), *ttl)).collect(),
                    preference: forward.preference.clone(),
                    upstreams: forward.upstreams.iter().flat_map(|list| list.iter()).map(|u| u.to_string()).collect(),
                    limit: forward.limit,
                    failed: Box::new(Reply::read(&out[..len])),
                })
            }
        }
    }

    #[track_caller]
    pub(crate) fn reply(self) -> Reply {
        match self {
            Outcome::Reply(reply) => *reply,
            other => panic!("no reply, but: {other}"),
        }
    }

    #[track_caller]
    pub(crate) fn forwarded(self) -> Forwarded {
        match self {
            Outcome::Forward(forwarded) => forwarded,
            other => panic!("not forwarded, but: {other}"),
        }
    }

    /// The addresses of the answer section in their order.
    #[track_caller]
    pub(crate) fn addresses(self) -> Vec<IpAddr> {
        self.reply().message.answers.iter().filter_map(|record| record.data.ip_addr()).collect()
    }
}

/// `NOERROR: db A 10.10.1.3`, answers sorted; then in parentheses the SOA's owner, additional records behind a `+`, `TC`,
/// and the extended error in brackets. `forward: payments > payments.dev.example.com` and `ignored` for the other ends.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Ignored => f.write_str("ignored"),
            Outcome::Held(hold) => write!(f, "held for {} s", hold.as_secs_f32()),
            Outcome::Reply(reply) => reply.fmt(f),
            Outcome::Forward(forwarded) => {
                write!(f, "forward: ")?;
                for (owner, _, _) in &forwarded.aliases {
                    write!(f, "{owner} > ")?;
                }
                write!(f, "{}", forwarded.target)
            }
        }
    }
}

/// Says what came and what should have come, as text.
#[track_caller]
pub(crate) fn check(outcome: Outcome, expected: &str) {
    assert_eq!(outcome.to_string(), expected);
}

fn text(record: &Record) -> String {
    format!("{} {} {}", owner(&record.name), record.record_type(), record.data.to_string().trim_end_matches('.'))
}

pub(crate) fn owner(name: &Name) -> String {
    name.to_string().trim_end_matches('.').to_lowercase()
}

impl Reply {
    fn read(bytes: &[u8]) -> Reply {
        let message = Message::from_vec(bytes).unwrap_or_else(|error| panic!("undecodable: {error}: {bytes:02x?}"));
        Reply { bytes: bytes.to_vec(), message }
    }

    /// What is true of every reply (answers.md P3, P6, H1, H4, H5).
    fn is_sound(&self, packet: &[u8], tcp: bool, udp_size: u16) {
        let (reply, message) = (&self.bytes, &self.message);
        assert_eq!(reply[..2], packet[..2], "the ID");
        assert_eq!(message.metadata.message_type, MessageType::Response);
        assert_eq!(reply[2] & 0x79, packet[2] & 0x79, "opcode and RD are the query's");
        assert_eq!(reply[3] & 0x10, packet[3] & 0x10, "CD is the query's");
        assert_eq!(reply[3] & 0x60, 0, "Z and AD are 0");
        let asked =
            Message::from_vec(packet).ok().filter(|asked| !message.queries.is_empty() && asked.queries.len() == 1);
        if let Some(asked) = asked {
            let end = 12 + wire_len(&packet[12..]) + 4;
            assert_eq!(reply[12..end], packet[12..end], "the question's octets");
            assert_eq!(message.edns.is_some(), asked.edns.is_some(), "an OPT if and only if the query had one");
        }
        if let Some(edns) = &message.edns {
            assert_eq!((edns.max_payload(), edns.version()), (1232, 0));
        }
        let opt = packet_opt_size(packet);
        let limit = if tcp { 65_535 } else { opt.map_or(512, |size| size.clamp(512, udp_size)).into() };
        assert!(reply.len() <= limit, "{} octets, limit {limit}", reply.len());
    }

    /// The response code, the OPT's high bits included.
    pub(crate) fn rcode(&self) -> u16 {
        self.message.metadata.response_code.into()
    }

    pub(crate) fn soa(&self) -> Option<&Record> {
        self.message.authorities.iter().find(|record| record.record_type() == RecordType::SOA)
    }

    /// An option of the OPT.
    pub(crate) fn option(&self, code: u16) -> Option<Vec<u8>> {
        let options = self.message.edns.as_ref()?.options();
        options.options.iter().find_map(|(known, option)| match option {
            EdnsOption::Unknown(_, value) if u16::from(*known) == code => Some(value.clone()),
            EdnsOption::NSID(value) if u16::from(*known) == code => Some(value.as_ref().to_vec()),
            _ => None,
        })
    }

    /// The extended error: code and text.
    pub(crate) fn extended_error(&self) -> Option<(u16, String)> {
        let option = self.option(15)?;
        let (code, text) = option.split_first_chunk()?;
        Some((u16::from_be_bytes(*code), String::from_utf8(text.to_vec()).unwrap()))
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sorted = |records: &[Record]| {
            let mut texts: Vec<String> = records.iter().map(text).collect();
            texts.sort();
            texts.join(", ")
        };
        write!(f, "{}", wire::rcode::mnemonic(self.rcode()))?;
        if !self.message.answers.is_empty() {
            write!(f, ": {}", sorted(&self.message.answers))?;
        }
        if let Some(soa) = self.soa() {
            write!(f, " (SOA {})", owner(&soa.name))?;
        }
        if !self.message.additionals.is_empty() {
            write!(f, " + {}", sorted(&self.message.additionals))?;
        }
        if self.message.metadata.truncation {
            write!(f, " TC")?;
        }
        if let Some((code, text)) = self.extended_error() {
            write!(f, " [{code} {text}]")?;
        }
        Ok(())
    }
}

fn wire_len(name: &[u8]) -> usize {
    let mut at = 0;
    while name[at] != 0 {
        at += 1 + name[at] as usize;
    }
    at + 1
}

/// The UDP size in the OPT of a packet that hickory-proto can read.
fn packet_opt_size(packet: &[u8]) -> Option<u16> {
    Some(Message::from_vec(packet).ok()?.edns?.max_payload())
}
