//! Networks that come, change and go while others are asked.

use std::net::{TcpListener, UdpSocket};

use callsign::responder::{HOST_VIEW, HostView};
use callsign::server::{Applied, ReadySocket, ServerError, Status};
use callsign::table::TableError;

use super::support::free_port;
use super::*;

pub(super) const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// The inodes of the sockets that listen at an address, UDP's and TCP's.
pub(super) fn sockets(address: SocketAddr) -> Vec<String> {
    super::support::sockets::listening("self", address)
}

/// A network `name` at `listen`, whose `db` is `db`.
pub(super) fn network_at(name: &str, listen: &[SocketAddr], db: &str) -> Network {
    let builder = Network::builder(name).endpoint(endpoint("db", db));
    listen.iter().fold(builder, |builder, address| builder.listen(&address.to_string())).build().unwrap()
}

/// The address that a server gives for `db`, over UDP and TCP.
#[track_caller]
pub(super) fn db_at(server: SocketAddr) -> String {
    let client = Client::new(server);
    let (udp, tcp) = (client.udp(&local()), client.tcp(&local()));
    assert_eq!(udp.addresses(), tcp.addresses());
    udp.addresses().first().map_or(udp.status(), ToString::to_string)
}

pub(super) fn names(applied: Applied) -> [Vec<String>; 3] {
    [applied.added, applied.changed, applied.removed]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn networks_come_and_go_without_touching_the_sockets_of_others() {
    let (server, address) = shop_with(None, Limits::default()).await;
    let before = sockets(address);
    assert_eq!(before.len(), 2);
    let asker = Asker::start(address, "127.0.0.1");
    for turn in 0..200 {
        let name = format!("net{}", turn % 7);
        let added = server.add_network(network(&name).listen("127.0.0.3").build().unwrap()).await.unwrap();
        if turn % 20 == 0 {
            assert_served(listening(&server, added.name()));
        }
        server.remove_network(&name).await.unwrap();
    }
    assert!(asker.stop() > 0);
    assert_eq!(sockets(address), before);
    assert_eq!(server.status().listeners.len(), 2);
}

#[test]
fn an_address_is_free_as_soon_as_its_network_is_removed() {
    alone(async {
        let server = builder().start().await.unwrap();
        let port = free_port(&[LOCALHOST]);
        let address = SocketAddr::new(LOCALHOST, port);
        for turn in 0..50 {
            let db = format!("10.0.0.{turn}");
            server.add_network(network_at("shop", &[address], &db)).await.unwrap();
            // Listening at once, not after the pause that follows a failed attempt.
            assert_eq!(listening(&server, "shop"), address);
            assert_eq!(db_at(address), db);
            server.remove_network("shop").await.unwrap();
            drop((UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap()));
        }
    });
}

#[test]
fn a_network_that_comes_back_listens_at_once_though_a_query_of_the_old_one_still_waits() {
    alone(async {
        let gate = Gate::closed();
        let upstream = upstream_behind(&gate).await;
        let upstreams = vec![Upstream::new(upstream.address().into())];
        let server = builder().upstreams(upstreams.into()).start().await.unwrap();
        let address = SocketAddr::new(LOCALHOST, free_port(&[LOCALHOST]));
        server.add_network(network_at("shop", &[address], "10.0.0.1")).await.unwrap();
        let waiting = Client::new(address).udp_socket().unwrap();
        waiting.send(&foreign().bytes()).unwrap();
        asked(&upstream, 0).await;
        server.remove_network("shop").await.unwrap();
        for db in ["10.0.0.2", "10.0.0.3"] {
            server.add_network(network_at("shop", &[address], db)).await.unwrap();
            assert_eq!(listening(&server, "shop"), address);
            assert_eq!(db_at(address), db);
            server.remove_network("shop").await.unwrap();
        }
        gate.open();
        assert!(waiting.recv(&mut [0; 512]).is_ok(), "the query is answered though its network is gone");
        until("the socket is closed", || sockets(address).is_empty());
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_network_is_added_whole_or_not_at_all() {
    let server = builder().start().await.unwrap();
    let port = free_port(&[LOCALHOST, "127.0.0.2".parse().unwrap()]);
    let [first, second] = ["127.0.0.1", "127.0.0.2"].map(|ip| SocketAddr::new(ip.parse().unwrap(), port));
    server.add_network(network_at("shop", &[first], "10.0.0.1")).await.unwrap();
    let before = server.status();
    let error = server.add_network(network_at("blog", &[second, first], "10.0.0.2")).await.unwrap_err();
    assert_eq!(error.to_string(), format!("network \"blog\" cannot listen on {first}: network \"shop\" does"));
    let error = server.add_network(network_at("shop", &[second], "10.0.0.2")).await.unwrap_err();
    assert!(matches!(error, ServerError::Table(TableError::NetworkExists(_))), "{error}");
    assert!(matches!(server.remove_network("blog").await.unwrap_err(), ServerError::Table(TableError::NoNetwork(_))));
    assert_eq!((server.status(), server.table().networks().len()), (before, 1));
    assert_eq!(db_at(first), "10.0.0.1");
    assert!(sockets(second).is_empty());
}

#[test]
fn apply_keeps_the_sockets_of_addresses_that_stay() {
    alone(async {
        let server = builder().start().await.unwrap();
        let ips: [IpAddr; 3] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"].map(|ip| ip.parse().unwrap());
        let port = free_port(&ips);
        let [first, second, third] = ips.map(|ip| SocketAddr::new(ip, port));
        let shop = |listen: &[SocketAddr]| network_at("shop", listen, "10.10.1.3");
        let blog = |listen: &[SocketAddr]| network_at("blog", listen, "10.10.2.3");

        let applied = server.apply(vec![shop(&[first, second]), blog(&[third])]).await.unwrap();
        assert_eq!(names(applied), [vec!["shop".to_owned(), "blog".into()], vec![], vec![]]);
        let before = [first, second, third].map(sockets);
        assert!(before.iter().all(|sockets| sockets.len() == 2), "{before:?}");
        assert_eq!([first, second, third].map(db_at), ["10.10.1.3", "10.10.1.3", "10.10.2.3"]);

        // The same again: nothing happens.
        let asker = Asker::start(first, "127.0.0.1");
        let applied = server.apply(vec![blog(&[third]), shop(&[second, first])]).await.unwrap();
        assert_eq!(names(applied), [vec![], vec!["shop".to_owned()], vec![]], "the order of its addresses");
        let applied = server.apply(vec![shop(&[second, first]), blog(&[third])]).await.unwrap();
        assert_eq!(names(applied), [const { Vec::<String>::new() }; 3]);
        assert_eq!([first, second, third].map(sockets), before);

        // An address goes from one network to another, and back again.
        for _ in 0..20 {
            server.apply(vec![shop(&[first]), blog(&[third, second])]).await.unwrap();
            assert_eq!([second, third].map(db_at), ["10.10.2.3", "10.10.2.3"]);
            server.apply(vec![shop(&[first, second]), blog(&[third])]).await.unwrap();
            assert_eq!([second, third].map(db_at), ["10.10.1.3", "10.10.2.3"]);
        }
        assert!(asker.stop() > 0);
        assert_eq!([first, second, third].map(sockets), before);

        // A network goes, and its address with another network stays; an address goes with its network.
        let applied = server.apply(vec![blog(&[first])]).await.unwrap();
        assert_eq!(names(applied), [vec![], vec!["blog".to_owned()], vec!["shop".to_owned()]]);
        assert_eq!(db_at(first), "10.10.2.3");
        assert_eq!(sockets(first), before[0]);
        assert!(sockets(second).is_empty() && sockets(third).is_empty());
        assert_eq!(names(server.apply(vec![]).await.unwrap())[2], ["blog"]);
        assert!(sockets(first).is_empty());
        assert!(server.status().listeners.is_empty() && server.table().networks().is_empty());
    });
}

#[test]
fn apply_can_go_from_one_address_to_all_and_back() {
    alone(async {
        let server = builder().start().await.unwrap();
        let one = SocketAddr::new(LOCALHOST, free_port(&["0.0.0.0".parse().unwrap()]));
        let all = SocketAddr::new("0.0.0.0".parse().unwrap(), one.port());
        for listen in [one, all, one] {
            server.apply(vec![network_at("shop", &[listen], "10.0.0.1")]).await.unwrap();
            assert_eq!(listening(&server, "shop"), listen);
            assert_eq!(db_at(one), "10.0.0.1");
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn apply_of_what_cannot_be_changes_nothing() {
    let server = builder().start().await.unwrap();
    let port = free_port(&[LOCALHOST]);
    let address = SocketAddr::new(LOCALHOST, port);
    server.apply(vec![network_at("shop", &[address], "10.0.0.1")]).await.unwrap();
    let before: Status = server.status();
    let changed = || network_at("shop", &[address], "10.0.0.9");
    let error = server.apply(vec![changed(), network_at("blog", &[address], "10.0.0.2")]).await.unwrap_err();
    assert!(matches!(error, ServerError::AddressTaken { .. }), "{error}");
    let error = server.apply(vec![changed(), network_at("shop", &[], "10.0.0.2")]).await.unwrap_err();
    assert!(matches!(error, ServerError::Table(TableError::NetworkExists(_))), "{error}");
    assert_eq!((server.status(), db_at(address)), (before, "10.0.0.1".to_owned()));
}

#[test]
fn ready_made_sockets_are_taken_for_their_addresses() {
    alone(async {
        let address = SocketAddr::new(LOCALHOST, free_port(&[LOCALHOST]));
        let (udp, tcp) = (UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap());
        let unused = UdpSocket::bind("127.0.0.2:0").unwrap();
        let before = sockets(address);
        let ready: Vec<ReadySocket> = vec![unused.into(), tcp.into(), udp.into()];
        let server = builder().sockets(ready).start().await.unwrap();
        server.add_network(network_at("shop", &[address], "10.0.0.1")).await.unwrap();
        assert_eq!(listening(&server, "shop"), address);
        assert_eq!(db_at(address), "10.0.0.1");
        assert_eq!((sockets(address), before.len()), (before, 2));
        // Once closed it is made like any other.
        server.remove_network("shop").await.unwrap();
        server.add_network(network_at("shop", &[address], "10.0.0.2")).await.unwrap();
        assert_eq!(listening(&server, "shop"), address);
        assert_eq!(db_at(address), "10.0.0.2");
    });
}

#[test]
fn a_network_is_served_at_the_sockets_that_come_with_it() {
    alone(async {
        let server = builder().start().await.unwrap();
        let (udp, tcp) = (UdpSocket::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let (at_udp, at_tcp) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
        let sockets_of = vec![ReadySocket::from(udp), ReadySocket::from(tcp)];
        server.add_network_at(network("shop").build().unwrap(), sockets_of).await.unwrap();
        assert_eq!(Client::new(at_udp).udp(&local()).answers().len(), 1);
        assert_eq!(Client::new(at_tcp).tcp(&local()).answers().len(), 1);
        let listeners: Vec<String> = server.status().listeners.iter().map(ToString::to_string).collect();
        assert_eq!(listeners.len(), 2);
        assert!(
            listeners.contains(&format!("shop: udp {at_udp}")) && listeners.contains(&format!("shop: tcp {at_tcp}"))
        );
        // They stay through a change of the networks that keeps theirs, and go with it.
        server.apply(vec![network("shop").build().unwrap()]).await.unwrap();
        assert_eq!(Client::new(at_udp).udp(&local()).answers().len(), 1);
        server.apply(vec![]).await.unwrap();
        assert!(sockets(at_udp).is_empty() && sockets(at_tcp).is_empty());
    });
}

#[test]
fn five_hundred_networks_take_no_threads() {
    alone(async {
        let server = builder().workers(2).start().await.unwrap();
        server.apply(vec![network("net0").listen("127.0.0.1").build().unwrap()]).await.unwrap();
        // A new thread names itself.
        until("both workers run", || super::stopping::threads().len() == 2);
        let all = (0..500).map(|number: usize| {
            let listen = format!("127.0.{}.{}", number / 250, 1 + number % 250);
            let own = endpoint("own", &format!("10.{}.{}.1", number / 250, number % 250));
            network(&format!("net{number}")).listen(&listen).endpoint(own).build().unwrap()
        });
        server.apply(all.collect()).await.unwrap();
        for number in 0..500 {
            let address = listening(&server, &format!("net{number}"));
            let own = Client::new(address).udp(&Query::new("own", rtype::A)).addresses();
            assert_eq!(own, [format!("10.{}.{}.1", number / 250, number % 250).parse::<IpAddr>().unwrap()]);
        }
        assert_eq!(super::stopping::threads().len(), 2);
        server.shutdown().await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn v6_the_host_view_is_no_network_and_keeps_its_addresses() {
    let server = builder().start().await.unwrap();
    let port = free_port(&[LOCALHOST]);
    let address = SocketAddr::new(LOCALHOST, port);
    let view = |listen: SocketAddr| HostView::builder().listen(&listen.to_string()).build().unwrap();
    server.set_host_view(Some(view(address))).await.unwrap();
    let before = sockets(address);
    assert_eq!(before.len(), 2);
    let db = |reply: Reply| reply.addresses().first().map(ToString::to_string);
    let ask = || db(Client::new(address).udp(&Query::new("db.host view.containers.internal", rtype::A)));

    // A network that is called as the view is, which comes and goes in each way that there is.
    let network = || network_at(HOST_VIEW, &[], "10.0.0.9");
    server.apply(vec![network()]).await.unwrap();
    assert_eq!(ask().as_deref(), Some("10.0.0.9"));
    server.update(vec![network()], &[HOST_VIEW.to_owned()]).await.unwrap();
    server.remove_network(HOST_VIEW).await.unwrap();
    server.add_network(network()).await.unwrap();
    assert_eq!(ask().as_deref(), Some("10.0.0.9"));
    server.apply(Vec::new()).await.unwrap();
    assert_eq!(ask(), None);
    assert_eq!(sockets(address), before);

    // An address is of a network or of the view.
    for name in ["shop", HOST_VIEW] {
        let taken = server.update(vec![network_at(name, &[address], "10.0.0.9")], &[]).await;
        assert!(matches!(taken, Err(ServerError::AddressTaken { .. })), "{taken:?}");
        let taken = server.add_network(network_at(name, &[address], "10.0.0.9")).await;
        assert!(matches!(taken, Err(ServerError::AddressTaken { .. })), "{taken:?}");
    }
    let other = SocketAddr::new("127.0.0.2".parse().unwrap(), free_port(&["127.0.0.2".parse().unwrap()]));
    server.add_network(network_at("shop", &[other], "10.0.0.9")).await.unwrap();
    let taken = server.set_host_view(Some(view(other))).await;
    assert!(matches!(taken, Err(ServerError::AddressTaken { .. })), "{taken:?}");
    assert_eq!(sockets(address), before, "nothing is changed then");
    server.set_host_view(None).await.unwrap();
    assert_eq!(sockets(address), Vec::<String>::new());
    server.shutdown().await;
}
