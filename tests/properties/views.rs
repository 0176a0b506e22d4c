//! V2: nothing that a client gets depends on a network outside its view.

use std::net::SocketAddr;
use std::sync::Arc;

use callsign::responder::{Client, Forward, Listener, Responder, ResponderOptions, Verdict};
use callsign::table::{Clients, Endpoint, NameTable, Network, NetworkBuilder, Port, Protocol};
use hickory_proto::op::Message;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::cases;

/// Names that the open networks have too, and names that they do not have.
const NAMES: [&str; 10] =
    ["db", "web", "api", "secret", "*.secret", "deep.in.secret", "x.db", "*.web", "open", "hidden.lan"];
const SUFFIXES: [&str; 6] = ["", ".open", ".second", ".hidden", ".lan", ".hidden.lan"];
/// Where they ask, and from which address; the last one at a gateway of another network than its address is on.
const CLIENTS: [(&str, [u8; 4]); 4] =
    [("open", [10, 0, 1, 2]), ("open", [10, 0, 1, 3]), ("open", [10, 0, 1, 99]), ("second", [10, 0, 1, 3])];

fn endpoint(id: &str, address: [u8; 4], names: &[&str]) -> Endpoint {
    let port = Port::named("http", 80, Protocol::Tcp);
    Endpoint::builder(id).ip(address.into()).names(names).port(port).build().unwrap()
}

/// What every client here sees some of.
fn open() -> [NetworkBuilder; 2] {
    [
        Network::builder("open")
            .subnet("10.0.1.0/24")
            .domain("lan")
            .clients(Clients::Table)
            .endpoint(endpoint("one", [10, 0, 1, 2], &["db", "web"]))
            .endpoint(endpoint("two", [10, 0, 1, 3], &["web"]))
            .alias("far", "far.example.com"),
        Network::builder("second")
            .subnet("10.0.2.0/24")
            .clients(Clients::Table)
            .endpoint(endpoint("two", [10, 0, 2, 3], &["api"]))
            .endpoint(endpoint("three", [10, 0, 2, 4], &["db", "*.web"])),
    ]
}

#[derive(Debug, Clone)]
struct Hidden {
    /// Of ids that no client has; `three` is on a network of a view, but asks nothing here.
    endpoints: Vec<(&'static str, u8, Vec<&'static str>)>,
    internal: bool,
    domain: Option<&'static str>,
    alias: Option<&'static str>,
}

fn hidden() -> impl Strategy<Value = Hidden> {
    let endpoint = (select(vec!["h1", "h2", "three"]), 2_u8..9, vec(select(NAMES.to_vec()), 0..4));
    let domain = prop::option::of(select(vec!["lan", "secret", "hidden"]));
    let alias = prop::option::of(select(vec!["db", "secret", "far"]));
    (vec(endpoint, 1..5), any::<bool>(), domain, alias).prop_map(|(endpoints, internal, domain, alias)| Hidden {
        endpoints,
        internal,
        domain,
        alias,
    })
}

impl Hidden {
    fn network(&self) -> NetworkBuilder {
        let network = Network::builder("hidden").subnet("10.77.0.0/16").internal(self.internal).clients(Clients::Table);
        let network = self.domain.into_iter().fold(network, NetworkBuilder::domain);
        let network = self.alias.into_iter().fold(network, |network, alias| network.alias(alias, "x.hidden.test"));
        self.endpoints
            .iter()
            .fold(network, |network, (id, host, names)| network.endpoint(endpoint(id, [10, 77, 0, *host], names)))
    }
}

fn listeners(networks: impl IntoIterator<Item = NetworkBuilder>) -> Vec<Listener> {
    let table = NameTable::new();
    for network in networks {
        table.add(network.build().unwrap()).unwrap();
    }
    let address = SocketAddr::from(([10, 0, 0, 1], 53));
    CLIENTS.iter().map(|(network, _)| Listener::new(table.network(network).unwrap(), address)).collect()
}

fn packet(name: &str, rtype: u8) -> Vec<u8> {
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, rtype, 0, 1]);
    packet.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
    packet
}

/// All that a client learns: the reply, or what is asked elsewhere on its behalf.
fn learns(listener: &Listener, source: [u8; 4], packet: &[u8], tcp: bool) -> (Vec<u8>, String) {
    let source = SocketAddr::from((source, 4000));
    let client = if tcp { Client::tcp(listener, source, 100) } else { Client::udp(listener, source) };
    let mut out = vec![0; 4096];
    match Responder::new(Arc::new(ResponderOptions::default())).respond(packet, &client, &mut out) {
        Verdict::Reply(len) => (out[..len].to_vec(), String::new()),
        Verdict::Forward(forward) => {
            let Forward { aliases, preference, upstreams, .. } = &forward;
            (forward.target().to_vec(), format!("{aliases:?} {preference:?} {upstreams:?}"))
        }
        Verdict::Hold(_) | Verdict::Ignore => panic!("no answer"),
    }
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn v2_nothing_depends_on_a_network_outside_the_view(hidden in hidden()) {
        let with = listeners(open().into_iter().chain([hidden.network()]));
        let without = listeners(open());
        let names = NAMES.iter().chain(&["x.secret", "_http._tcp.secret", "_http._tcp.db", "_tcp.secret", "h1", "three", "in.secret", "far"]);
        let forward = names.flat_map(|name| SUFFIXES.map(|suffix| format!("{name}{suffix}")));
        let reverse = (0..10).map(|host| format!("{host}.0.77.10.in-addr.arpa"));
        let suffixes = SUFFIXES[1..].iter().map(|suffix| suffix[1..].to_owned());
        for (name, rtype) in forward.chain(reverse).chain(suffixes).flat_map(|name| [1, 12, 33, 255].map(|rtype| (name.clone(), rtype))) {
            let packet = packet(&name, rtype);
            for (index, (_, source)) in CLIENTS.into_iter().enumerate() {
                let tcp = rtype == 255;
                let got = learns(&with[index], source, &packet, tcp);
                prop_assert_eq!(&got, &learns(&without[index], source, &packet, tcp), "{} {}", name, rtype);
                if let Ok(reply) = Message::from_vec(&got.0) {
                    let text = format!("{:?}{:?}{:?}", reply.answers, reply.authorities, reply.additionals);
                    prop_assert!(!text.contains("10.77."), "{}", text);
                }
            }
        }
    }
}
