//! Sockets that cannot be bound yet, addresses that come later, and who may ask there (answers.md V4).

use std::net::{SocketAddrV6, TcpListener, UdpSocket};

use callsign::server::ListenerStatus;
use callsign::wire::ede;
use nix::net::if_::if_nametoindex;

use super::support::free_port;
use super::support::netns::{Lab, Namespace};
use super::*;
use crate::needs_root;

const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn listener(server: &Server, network: &str, tcp: bool) -> ListenerStatus {
    let mut listeners = server.status().listeners.into_iter();
    listeners.find(|listener| listener.network == network && listener.tcp == tcp).expect("a listener")
}

fn is_listening(listener: &ListenerStatus) -> bool {
    matches!(listener.state, ListenerState::Listening(_))
}

#[test]
fn a_socket_that_cannot_be_bound_is_reported_and_tried_again() {
    alone(async {
        let (server, other) = shop_with(None, Limits::default()).await;
        let address = SocketAddr::new(LOCALHOST, free_port(&[LOCALHOST]));
        let asker = Asker::start(other, "127.0.0.2");

        // One transport is in the way of nothing but itself.
        let occupant = UdpSocket::bind(address).unwrap();
        server.add_network(network("blog").listen(&address.to_string()).build().unwrap()).await.unwrap();
        let udp = listener(&server, "blog", false);
        assert!(
            udp.to_string().starts_with(&format!("blog: udp {address} not listening: Address already in use")),
            "{udp}"
        );
        assert!(is_listening(&listener(&server, "blog", true)));
        assert_eq!(Client::new(address).tcp(&local()).answers().len(), 1);
        // Each pause is twice the one before.
        until("it is tried four times", || match listener(&server, "blog", false).state {
            ListenerState::Failed { attempts, retry, .. } => {
                assert_eq!(retry, Duration::from_millis(100 << (attempts - 1)));
                attempts == 4
            }
            _ => panic!("the port is taken"),
        });
        drop(occupant);
        until("it listens", || is_listening(&listener(&server, "blog", false)));
        assert_served(address);
        server.remove_network("blog").await.unwrap();

        // The other one; removed while it waits.
        let occupant = TcpListener::bind(address).unwrap();
        server.add_network(network("blog").listen(&address.to_string()).build().unwrap()).await.unwrap();
        assert!(!is_listening(&listener(&server, "blog", true)));
        assert_eq!(Client::new(address).udp(&local()).answers().len(), 1);
        server.remove_network("blog").await.unwrap();
        drop(occupant);
        server.add_network(network("blog").listen(&address.to_string()).build().unwrap()).await.unwrap();
        assert_served(address);
        assert!(asker.stop() > 0);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn apply_moves_an_address_that_cannot_be_bound_yet() {
    let server = builder().start().await.unwrap();
    let address = SocketAddr::new(LOCALHOST, free_port(&[LOCALHOST]));
    let occupants = (UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap());
    let at = |name: &str| network(name).listen(&address.to_string()).build().unwrap();
    server.apply(vec![at("shop")]).await.unwrap();
    server.apply(vec![at("blog")]).await.unwrap();
    drop(occupants);
    until("it listens", || server.status().listeners.iter().all(is_listening));
    assert_eq!(listening(&server, "blog"), address);
    assert_served(address);
}

/// Does `work` in a thread of a lab's host, with a runtime of its own.
fn on_host(lab: &Lab, work: impl AsyncFnOnce() + Send) {
    lab.host().enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work());
    });
}

/// Asks for `db` from inside a namespace, over UDP and TCP; gives the status and the extended errors, which must be the same.
#[track_caller]
fn ask(from: &Namespace, server: SocketAddr) -> (String, Vec<u16>) {
    from.enter(|| {
        let client = Client::new(server);
        let query = local().edns(1232);
        let [udp, tcp] = [client.udp(&query), client.tcp(&query)].map(|reply| {
            let errors = reply.extended_errors().into_iter().map(|(code, _)| code).collect::<Vec<_>>();
            (reply.status(), errors)
        });
        assert_eq!(udp, tcp);
        udp
    })
}

fn answered() -> (String, Vec<u16>) {
    ("NOERROR".into(), vec![])
}

fn refused() -> (String, Vec<u16>) {
    ("REFUSED".into(), vec![ede::PROHIBITED])
}

#[test]
fn v4_who_may_ask_by_default_and_with_a_list() {
    needs_root!();
    let lab = Lab::new();
    let shop = lab.bridge("shop", &["10.10.1.1/24"]);
    let blog = lab.bridge("blog", &["10.10.2.1/24"]);
    let (near, far) =
        (lab.container("near", &[(&shop, &["10.10.1.2/24"])]), lab.container("far", &[(&blog, &["10.10.2.2/24"])]));
    on_host(&lab, async || {
        let server = builder().start().await.unwrap();
        let added = server.add_network(network("shop").listen("10.10.1.1").build().unwrap()).await.unwrap();
        let address = listening(&server, "shop");
        assert_eq!(ask(&near, address), answered(), "the interface's subnet");
        assert_eq!(ask(&far, address), refused());
        let host = Client::new(address);
        assert_eq!(host.udp(&local()).status(), "NOERROR", "the host itself");
        assert_eq!(
            host.from("10.10.2.1".parse().unwrap()).udp(&local()).status(),
            "NOERROR",
            "by any of its addresses"
        );
        // A refused client is not told whether a name exists, or where it would be asked for.
        let reply = far.enter(|| Client::new(address).udp(&Query::new("nothere", rtype::A)));
        assert_eq!((reply.status().as_str(), reply.flags().as_str()), ("REFUSED", "qr rd"));

        let listen = async |builder: NetworkBuilder| {
            server.apply(vec![builder.listen("10.10.1.1").build().unwrap()]).await.unwrap();
            assert_eq!(listening(&server, "shop"), address);
            (ask(&near, address), ask(&far, address))
        };
        assert_eq!(listen(network("shop").subnet("10.10.2.0/24")).await, (answered(), answered()));
        assert_eq!(listen(network("shop").allow("10.10.2.0/24")).await, (refused(), answered()));
        assert_eq!(listen(network("shop").allow("0.0.0.0/0").allow("::/0")).await, (answered(), answered()));
        assert_eq!(listen(network("shop")).await, (answered(), refused()));
        // An endpoint of the network may ask from wherever it is.
        added.attach(endpoint("far", "10.10.2.2")).unwrap();
        assert_eq!(ask(&far, address), answered());
    });
}

#[test]
fn v4_an_address_may_come_after_its_listener() {
    needs_root!();
    let lab = Lab::new();
    on_host(&lab, async || {
        let server = builder().start().await.unwrap();
        let late = network("late").listen("10.10.5.1").listen("fd00:5::1");
        server.add_network(late.build().unwrap()).await.unwrap();
        let listeners = server.status().listeners;
        assert!(listeners.len() == 4 && listeners.iter().all(is_listening), "{listeners:?}");
        let addresses = listeners.iter().filter(|listener| !listener.tcp).map(|listener| match listener.state {
            ListenerState::Listening(address) => address,
            _ => unreachable!("they all listen"),
        });
        // The bridge comes, its address, and with the first query its subnet is known.
        let bridge = lab.bridge("late", &["10.10.5.1/24", "fd00:5::1/64"]);
        let container = lab.container("client", &[(&bridge, &["10.10.5.2/24", "fd00:5::2/64"])]);
        for address in addresses.clone() {
            assert_eq!(ask(&container, address), answered(), "{address}");
        }
        // Another subnet at the same address: who was refused a moment ago is let in.
        container.configure("address add 10.10.6.2/24 dev eth0\nroute add 10.10.5.1 dev eth0 src 10.10.6.2");
        lab.host().configure("route add 10.10.6.0/24 dev late");
        let address = addresses.clone().find(SocketAddr::is_ipv4).unwrap();
        assert_eq!(ask(&container, address), refused());
        lab.host().configure("address delete 10.10.5.1/24 dev late\naddress add 10.10.5.1/20 dev late");
        let by_udp = || container.enter(|| Client::new(address).udp(&local()).status());
        until("it is let in", || by_udp() == "NOERROR");
        assert_eq!(ask(&container, address), answered());
    });
}

#[test]
fn v4_a_network_that_is_added_as_its_bridge_comes_knows_its_subnet() {
    needs_root!();
    let lab = Lab::new();
    on_host(&lab, async || {
        let server = builder().start().await.unwrap();
        for number in 1..=3 {
            let name = format!("net{number}");
            let gateway = format!("10.10.{number}.1");
            let bridge = lab.bridge(&name, &[&format!("{gateway}/24")]);
            let container = lab.container(&name, &[(&bridge, &[&format!("10.10.{number}.2/24")])]);
            // It reads the interfaces; the next one must not make do with that.
            server.add_network(network(&name).listen(&gateway).build().unwrap()).await.unwrap();
            assert_eq!(ask(&container, listening(&server, &name)), answered());
        }
    });
}

#[test]
fn ipv6_link_local_addresses_are_listened_at_once_their_interface_is_there() {
    needs_root!();
    let lab = Lab::new();
    on_host(&lab, async || {
        let server = builder().start().await.unwrap();
        server.add_network(network("shop").listen("fe80::1%shop").listen("::1").build().unwrap()).await.unwrap();
        let failed = |listener: &&ListenerStatus| !is_listening(listener);
        let listeners = server.status().listeners;
        let unknown: Vec<String> = listeners.iter().filter(failed).map(ToString::to_string).collect();
        assert_eq!(unknown.len(), 2, "{listeners:?}");
        assert!(unknown[0].starts_with("shop: udp [fe80::1%shop]:0 not listening: "), "{unknown:?}");
        assert_served(listening(&server, "shop"));

        let bridge = lab.bridge("shop", &["10.10.1.1/24", "fe80::1/64"]);
        until("it listens", || server.status().listeners.iter().all(is_listening));
        let mut at = server.status().listeners.into_iter().filter_map(|listener| match listener.state {
            ListenerState::Listening(SocketAddr::V6(address)) if address.scope_id() != 0 => Some(address),
            _ => None,
        });
        let (udp, tcp) = (at.next().unwrap(), at.next().unwrap());
        assert_eq!(udp, tcp, "one port for both transports");
        assert_eq!(udp.scope_id(), if_nametoindex("shop").unwrap());

        let container = lab.container("client", &[(&bridge, &["10.10.1.2/24"])]);
        container.configure("address add fe80::2/64 dev eth0 nodad");
        let scope = container.enter(|| if_nametoindex("eth0").unwrap());
        assert_eq!(ask(&container, SocketAddrV6::new(*udp.ip(), udp.port(), 0, scope).into()), answered());
    });
}
