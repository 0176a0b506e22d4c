//! T7: while a writer changes a network, readers see whole states alone, and forward and reverse agree.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use callsign::responder::{Client, Listener, Responder, ResponderOptions, Verdict};
use callsign::table::{Endpoint, Found, Network, Port, Protocol};
use hickory_proto::op::Message;
use hickory_proto::rr::RData;

/// Endpoints of a generation; generations differ in every address and, but for `all`, in every name.
const MEMBERS: u8 = 8;
const GENERATIONS: u8 = 4;

fn address(generation: u8, member: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, generation, member + 1).into()
}

fn generation(generation: u8) -> impl Iterator<Item = Endpoint> {
    (0..MEMBERS).map(move |member| {
        Endpoint::builder(format!("m{member}"))
            .ip(address(generation, member))
            .names([format!("g{generation}m{member}"), "all".to_owned()])
            .port(Port::named("http", 1000 + u16::from(generation), Protocol::Tcp))
            .build()
            .unwrap()
    })
}

/// The generation of an address.
fn of(address: IpAddr) -> u8 {
    let IpAddr::V4(v4) = address else { panic!("{address}") };
    v4.octets()[2]
}

fn ask(responder: &mut Responder, client: &Client<'_>, name: &str, rtype: u8) -> Message {
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, rtype, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    let mut out = [0; 1232];
    match responder.respond(&packet, client, &mut out) {
        Verdict::Reply(len) => Message::from_vec(&out[..len]).unwrap(),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn t7_readers_see_whole_states_while_a_writer_works() {
    let mut builder = Network::builder("net").subnet("10.0.0.0/16").domain("lan");
    for endpoint in generation(0) {
        builder = builder.endpoint(endpoint);
    }
    let network = Arc::new(builder.build().unwrap());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| read(&network, &done))).collect();
        for round in 1..=600_u32 {
            let next = (round % u32::from(GENERATIONS)) as u8;
            match round % 3 {
                0 => network.replace_all(generation(next)).unwrap(),
                1 => network.change(|change| generation(next).for_each(|endpoint| change.attach(endpoint))).unwrap(),
                _ => network
                    .change(|change| {
                        (0..MEMBERS).for_each(|member| assert!(change.detach(&format!("m{member}"))));
                        generation(next).for_each(|endpoint| change.attach(endpoint));
                    })
                    .unwrap(),
            };
        }
        done.store(true, Ordering::Release);
        let seen: u32 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert!(seen > 0);
    });
}

/// Reads until the writer is done, and at least once after that; gives how often.
fn read(network: &Arc<Network>, done: &AtomicBool) -> u32 {
    let listener = Listener::new(network.clone(), SocketAddr::from(([10, 0, 0, 1], 53)));
    let client = Client::udp(&listener, SocketAddr::from(([10, 0, 200, 1], 4000)));
    let mut responder = Responder::new(Arc::new(ResponderOptions::default()));
    let mut rounds = 0;
    loop {
        let last = done.load(Ordering::Acquire);
        // One reply: eight addresses of one generation.
        let reply = ask(&mut responder, &client, "all", 1);
        let addresses: Vec<IpAddr> = reply.answers.iter().filter_map(|record| record.data.ip_addr()).collect();
        assert_eq!(addresses.len(), usize::from(MEMBERS));
        assert!(addresses.iter().all(|&address| of(address) == of(addresses[0])), "{addresses:?}");

        // Ports of one generation, with addresses of the same.
        let reply = ask(&mut responder, &client, "_http._tcp.all", 33);
        let ports = reply.answers.iter().filter_map(|record| match &record.data {
            RData::SRV(service) => Some(service.port),
            _ => None,
        });
        let of_ports: Vec<u8> = ports.map(|port| (port - 1000) as u8).collect();
        let of_addresses: Vec<u8> = reply.additionals.iter().filter_map(|r| r.data.ip_addr()).map(of).collect();
        assert_eq!((of_ports.len(), of_addresses.len()), (MEMBERS.into(), MEMBERS.into()));
        assert!(of_ports.iter().chain(&of_addresses).all(|&generation| generation == of_ports[0]), "{reply:?}");

        // An address has its own name or, once it is gone, none.
        let first = addresses[0];
        let name = callsign::wire::reverse::name_of(first).to_string();
        let reply = ask(&mut responder, &client, &name, 12);
        let names: Vec<String> = reply.answers.iter().map(|record| record.data.to_string()).collect();
        let IpAddr::V4(v4) = first else { unreachable!() };
        let own = format!("g{}m{}.lan.", of(first), v4.octets()[3] - 1);
        assert!(names.is_empty() || names == [own], "{first}: {names:?}");

        // One snapshot: names, addresses and endpoints agree.
        let snapshot = network.snapshot();
        assert_eq!(snapshot.endpoint_count(), usize::from(MEMBERS));
        let Some(Found::Name { entry, .. }) = snapshot.find(b"\x03all\0") else { panic!("all is always there") };
        for endpoint in entry.endpoints() {
            assert_eq!(snapshot.endpoint(endpoint.id()), Some(endpoint));
            assert_eq!(snapshot.endpoint_at(endpoint.addresses()[0]), Some(endpoint));
            let Some(Found::Name { entry, .. }) = snapshot.find(endpoint.names()[0].as_wire()) else { panic!() };
            assert_eq!(entry.endpoints().collect::<Vec<_>>(), [endpoint]);
        }
        rounds += 1;
        if last {
            return rounds;
        }
    }
}
