//! A random history of several networks gives at every step the answers of a simple model.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use callsign::responder::{Client, Listener, Responder, ResponderOptions, Verdict};
use callsign::table::{Clients, Endpoint, Health, HostOrigin, Merge, NameTable, Network, Reach, Sharing, Spread};
use hickory_proto::op::Message;
use hickory_proto::rr::RData;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::cases;
use crate::model::{self, Answer, Kind, Member, Net, Soa};

const IDS: [&str; 5] = ["e1", "e2", "e3", "b", "dotted.id"];
const NAMES: [&str; 14] =
    ["a", "b", "c", "a.b", "x.a.b", "*.b", "*.a.b", "red", "lan", "a.lan", "b.red", "*.lan", "a.h1", "b.here"];
const STEMS: [&str; 28] = [
    "a.h1",
    "a.x.h1",
    "b.h1",
    "a.here",
    "b.here",
    "e1.h1",
    "h1",
    "here",
    "a",
    "b",
    "c",
    "a.b",
    "x.a.b",
    "y.x.a.b",
    "z.b",
    "z.y.b",
    "z.a.b",
    "*.b",
    "e1",
    "b.red",
    "a.lan",
    "dotted.id",
    "y.b",
    "id",
    "z.dotted.id",
    "nothere",
    "z.a",
    "z.y.z.a.b",
];
/// Other hosts; `here` is this one.
const HOSTS: [&str; 3] = ["h1", "b", "x.h1"];
const SUFFIXES: [&str; 10] =
    ["", "red", "lan", "red.lan", "blue", "tic.tac", "tac", "tic.tac.lan", "corp.test", "tic.tac.corp.test"];

fn nets(clients: [Clients; 4]) -> Vec<Net> {
    let net = |name: &str, domains: &[&str], internal, merges, third| Net {
        name: name.to_owned(),
        domains: domains.iter().map(|domain| domain.to_string()).collect(),
        clients: clients[usize::from(third) - 1],
        internal,
        merges,
        ttl: u32::from(third),
        negative_ttl: u32::from(third) * 100,
        subnet: [10, 0, third],
        own_host: (third != 2).then(|| "here".to_owned()),
        spreads: third == 3,
        endpoints: Vec::new(),
    };
    vec![
        net("red", &["lan"], false, false, 1),
        net("blue", &[], true, true, 2),
        net("tic.tac", &["lan", "corp.test"], true, true, 3),
        net("gw", &["hidden.test"], false, false, 4),
    ]
}

/// Addresses of a network's subnet, one that is in none, and one of IPv6.
fn addresses(third: u8) -> Vec<IpAddr> {
    let v6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, third.into()).into();
    (1..=4).map(|host| [10, 0, third, host].into()).chain([[192, 168, 7, 7].into(), v6]).collect()
}

/// An endpoint of another host has an address of its own, since who of several has one first is not told; and one of them
/// says that it has this host's, too.
fn remote_addresses(net: usize, host: &str, id: &str, addresses: &[IpAddr]) -> Vec<IpAddr> {
    let place = |all: &[&str], one: &str| all.iter().position(|each| *each == one).unwrap() as u8;
    let (host, id) = (place(&HOSTS, host), place(&IDS, id));
    let own = [10, 0, net as u8 + 1, 20 + 5 * host + id].into();
    let others = if (host, id) == (0, 0) { addresses } else { &[] };
    others.iter().copied().chain([own]).collect()
}

fn member(net: usize) -> impl Strategy<Value = Member> {
    let bias = prop_oneof![3 => Just(true), 1 => Just(false)];
    (
        select(IDS.to_vec()),
        subsequence(addresses(net as u8 + 1), 0..=3),
        subsequence(NAMES.to_vec(), 0..=3),
        bias.clone(),
        bias.clone(),
        -1..2,
        prop_oneof![3 => Just(None), 1 => select(HOSTS.to_vec()).prop_map(Some)],
        bias,
    )
        .prop_map(move |(id, addresses, names, running, healthy, priority, host, found)| Member {
            id: id.to_owned(),
            addresses: host.map_or_else(|| addresses.clone(), |host| remote_addresses(net, host, id, &addresses)),
            names: names.into_iter().map(str::to_owned).collect(),
            running,
            healthy,
            priority,
            host,
            lost: host.is_some() && !found,
        })
}

/// Those of each network: mostly its own, as it is without a word, or those of the whole table as under Podman and Docker.
fn clients() -> impl Strategy<Value = [Clients; 4]> {
    use Clients::{Identify, Listener, Table};
    let mixed = || select(vec![Listener, Table, Identify]);
    prop_oneof![Just([Listener; 4]), Just([Table, Table, Table, Identify]), [mixed(), mixed(), mixed(), mixed()],]
}

#[derive(Debug, Clone)]
enum Step {
    Attach(usize, Member),
    Mark(usize, usize, bool, bool),
    Detach(usize, usize),
    ReplaceAll(usize, Vec<Member>),
    ReplaceHost(usize, &'static str, Vec<Member>),
    LoseHost(usize, &'static str, bool),
    Change(usize, Vec<Result<Member, usize>>),
}

fn step() -> impl Strategy<Value = Step> {
    (0..4_usize).prop_flat_map(|net| {
        let edit = prop_oneof![2 => member(net).prop_map(Ok), 1 => (0..IDS.len()).prop_map(Err)];
        prop_oneof![
            6 => member(net).prop_map(move |member| Step::Attach(net, member)),
            2 => (0..IDS.len(), any::<bool>(), any::<bool>()).prop_map(move |(id, up, well)| Step::Mark(net, id, up, well)),
            3 => (0..IDS.len()).prop_map(move |id| Step::Detach(net, id)),
            1 => vec(member(net), 0..5).prop_map(move |members| Step::ReplaceAll(net, members)),
            1 => (select(HOSTS.to_vec()), vec(member(net), 0..5))
                .prop_map(move |(host, members)| Step::ReplaceHost(net, host, members)),
            1 => (select(HOSTS.to_vec()), any::<bool>()).prop_map(move |(host, lost)| Step::LoseHost(net, host, lost)),
            2 => vec(edit, 1..4).prop_map(move |edits| Step::Change(net, edits)),
        ]
    })
}

fn endpoint(member: &Member) -> Endpoint {
    let health = if member.healthy { Health::Healthy } else { Health::Unhealthy };
    let builder = Endpoint::builder(&member.id).names(&member.names).health(health);
    let builder = builder.running(member.running).priority(member.priority);
    let builder = match member.host {
        Some(host) => builder.origin(Arc::new(HostOrigin::new(host, Reach::Container).unwrap())),
        None => builder,
    };
    member
        .addresses
        .iter()
        .fold(builder, |builder, address| builder.ip(*address))
        .build()
        .unwrap()
        .with_lost(member.lost)
}

struct World {
    model: Vec<Net>,
    networks: Vec<Arc<Network>>,
    listeners: Vec<Listener>,
    responder: Responder,
    out: Vec<u8>,
}

impl World {
    fn new(clients: [Clients; 4]) -> World {
        let table = NameTable::new();
        let model = nets(clients);
        let build = |net: &Net| {
            let [a, b, c] = net.subnet;
            let builder =
                Network::builder(&net.name).subnet(&format!("{a}.{b}.{c}.0/24")).allow("0.0.0.0/0").allow("::/0");
            let merge = if net.merges { Merge::All } else { Merge::Nearest };
            let mut sharing = Sharing::new(Reach::Container);
            sharing.host = net.own_host.as_ref().map(|host| host.parse().unwrap());
            sharing.spread = if net.spreads { Spread::All } else { Spread::Local };
            let builder = builder
                .sharing(Some(sharing))
                .merge(merge)
                .ttl(net.ttl)
                .negative_ttl(net.negative_ttl)
                .clients(net.clients);
            let builder =
                net.domains.iter().fold(builder.internal(net.internal), |builder, domain| builder.domain(domain));
            table.add(builder.build().unwrap()).unwrap()
        };
        let networks: Vec<Arc<Network>> = model.iter().map(build).collect();
        let address = SocketAddr::from(([10, 0, 0, 1], 53));
        let listeners = networks.iter().map(|network| Listener::new(network.clone(), address)).collect();
        let responder = Responder::new(Arc::new(ResponderOptions::default()));
        World { model, networks, listeners, responder, out: vec![0; 1232] }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Attach(net, member) => {
                self.networks[net].attach(endpoint(&member)).unwrap();
                self.model[net].attach(member);
            }
            Step::Mark(net, id, running, healthy) => {
                let health = if healthy { Health::Healthy } else { Health::Unhealthy };
                let updated = self.networks[net].update(IDS[id], |old| old.with_running(running).with_health(health));
                let old = self.model[net].endpoints.iter().find(|known| known.key() == IDS[id]).cloned();
                assert_eq!(updated.is_ok(), old.is_some());
                if let Some(old) = old {
                    self.model[net].attach(Member { running, healthy, ..old });
                }
            }
            Step::Detach(net, id) => {
                let known = self.model[net].endpoints.iter().any(|known| known.key() == IDS[id]);
                assert_eq!(self.networks[net].detach(IDS[id]).is_ok(), known);
                self.model[net].detach(IDS[id]);
            }
            Step::ReplaceAll(net, mut members) => {
                members.iter_mut().for_each(|member| (member.host, member.lost) = (None, false));
                self.networks[net].replace_all(members.iter().map(endpoint)).unwrap();
                self.model[net].replace(None, members);
            }
            Step::ReplaceHost(net, host, members) => {
                let name = host.parse().unwrap();
                let endpoints: Vec<Endpoint> = members.iter().map(endpoint).collect();
                self.networks[net].change(|change| change.replace_host(&name, endpoints)).unwrap();
                let of_host = members.into_iter().filter(|member| member.host == Some(host));
                self.model[net].replace(Some(host), of_host.collect());
            }
            Step::LoseHost(net, host, lost) => {
                let name = host.parse().unwrap();
                self.networks[net].change(|change| change.lose_host(&name, lost)).unwrap();
                let of_host = self.model[net].endpoints.iter().filter(|member| member.host == Some(host));
                // Attached anew, and so the last ones of several. One that is as it was stays in its place.
                let again: Vec<Member> = of_host.map(|member| Member { lost, ..member.clone() }).collect();
                again.into_iter().for_each(|member| self.model[net].attach(member));
            }
            Step::Change(net, edits) => {
                let make = |change: &mut callsign::table::Change<'_>| {
                    for edit in &edits {
                        match edit {
                            Ok(member) => change.attach(endpoint(member)),
                            Err(id) => _ = change.detach(IDS[*id]),
                        }
                    }
                };
                self.networks[net].change(make).unwrap();
                for edit in edits {
                    match edit {
                        Ok(member) => self.model[net].attach(member),
                        Err(id) => self.model[net].detach(IDS[id]),
                    }
                }
            }
        }
    }

    fn ask(&mut self, listener: usize, source: IpAddr, name: &str, kind: Kind) -> Answer {
        let rtype = match kind {
            Kind::A => 1,
            Kind::Aaaa => 28,
            Kind::Ptr => 12,
        };
        // Recursion desired or not, in small letters or not.
        let is_odd = name.len() % 2 == 1;
        let name = if is_odd { name.to_ascii_uppercase() } else { name.to_owned() };
        let mut packet = vec![0, 7, u8::from(is_odd), 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            packet.push(label.len() as u8);
            packet.extend_from_slice(label.as_bytes());
        }
        packet.extend_from_slice(&[0, 0, rtype, 0, 1]);
        let client = Client::udp(&self.listeners[listener], SocketAddr::new(source, 4000));
        let len = match self.responder.respond(&packet, &client, &mut self.out) {
            Verdict::Reply(len) => len,
            Verdict::Forward(_) => return Answer::Forward,
            Verdict::Hold(_) | Verdict::Ignore => panic!("no answer"),
        };
        let reply = Message::from_vec(&self.out[..len]).unwrap();
        if u16::from(reply.metadata.response_code) == 5 {
            return Answer::Refused;
        }
        assert_eq!(self.out[12..packet.len()], packet[12..], "the question, letter by letter");
        let is_forwarding = model::view(&self.model, listener, source).iter().any(|net| !net.internal);
        let metadata = &reply.metadata;
        assert_eq!(
            (metadata.authoritative, metadata.recursion_desired, metadata.recursion_available, metadata.truncation),
            (true, is_odd, is_forwarding, false),
            "H1"
        );
        answer(&reply)
    }
}

fn text(name: &impl ToString) -> String {
    name.to_string().trim_end_matches('.').to_ascii_lowercase()
}

fn answer(reply: &Message) -> Answer {
    let code = u16::from(reply.metadata.response_code);
    if let [soa] = &reply.authorities[..] {
        let RData::SOA(data) = &soa.data else { panic!("{soa:?}") };
        assert!(reply.answers.is_empty());
        assert_eq!(soa.ttl, data.minimum, "RFC 2308 §3");
        let soa = Soa { owner: text(&soa.name), minimum: data.minimum };
        return match code {
            0 => Answer::NoData(soa),
            3 => Answer::NxDomain(soa),
            other => panic!("{other}"),
        };
    }
    assert_eq!((code, reply.authorities.len()), (0, 0));
    if let [pointer] = &reply.answers[..]
        && let RData::PTR(name) = &pointer.data
    {
        return Answer::Pointer(pointer.ttl, text(&name.0));
    }
    let mut groups: Vec<(u32, BTreeSet<IpAddr>)> = Vec::new();
    for record in &reply.answers {
        if groups.last().is_none_or(|(ttl, _)| *ttl != record.ttl) {
            groups.push((record.ttl, BTreeSet::new()));
        }
        let address = record.data.ip_addr().expect("an address");
        assert!(groups.last_mut().is_some_and(|(_, group)| group.insert(address)), "each once");
    }
    Answer::Addresses(groups)
}

/// Every question that is asked, of which each step asks a part.
fn questions() -> Vec<(String, Kind)> {
    let mut all = Vec::new();
    for stem in STEMS {
        for suffix in SUFFIXES {
            let name = if suffix.is_empty() { stem.to_owned() } else { format!("{stem}.{suffix}") };
            all.push((name.clone(), Kind::A));
            all.push((name, Kind::Aaaa));
        }
    }
    all.extend(SUFFIXES.iter().filter(|suffix| !suffix.is_empty()).map(|suffix| (suffix.to_string(), Kind::A)));
    for address in [1, 2, 3, 4].into_iter().flat_map(|third| (0..6).chain(19..22).map(move |host| [10, 0, third, host]))
    {
        all.push((format!("{}.{}.{}.{}.in-addr.arpa", address[3], address[2], address[1], address[0]), Kind::Ptr));
    }
    all.push(("7.7.168.192.in-addr.arpa".to_owned(), Kind::Ptr));
    all.push(("7.7.168.192.in-addr.arpa".to_owned(), Kind::A));
    all
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn a_history_gives_the_answers_of_the_model(clients in clients(), steps in vec(step(), 1..24)) {
        let mut world = World::new(clients);
        let questions = questions();
        // A stride that has no factor in common with the number of questions visits all of them, and each by every client.
        let mut at = 0;
        for step in steps {
            world.take(step);
            for round in 0..160 {
                at += 37;
                let (name, kind) = &questions[at % questions.len()];
                let listener = round % 4;
                // Mostly from the listener's network; from others, too.
                let home = if at % 5 < 3 { listener } else { at / 7 % 4 };
                let third = home as u8 + 1;
                let sources = [addresses(third), vec![[10, 0, third, 9].into(), [192, 0, 2, 1].into()]].concat();
                let source = sources[at / 3 % sources.len()];
                let expected = model::answer(&world.model, listener, source, name, *kind);
                let got = world.ask(listener, source, name, *kind);
                prop_assert_eq!(got, expected, "{} {:?} at {} from {}: {:#?}", name, kind, listener, source, world.model);
            }
        }
    }
}
