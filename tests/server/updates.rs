//! `Server::update`: some networks change, and the others neither notice nor cost anything.

use std::net::{TcpListener, UdpSocket};

use allocation_counter::measure;
use callsign::server::ServerError;
use callsign::table::{Event, TableError};

use super::networks::{LOCALHOST, db_at, names, network_at, sockets};
use super::support::free_port;
use super::*;

const NONE: [Vec<String>; 3] = [const { Vec::new() }; 3];

/// Three addresses with one free port.
fn addresses() -> [SocketAddr; 3] {
    let ips: [IpAddr; 3] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"].map(|ip| ip.parse().unwrap());
    let port = free_port(&ips);
    ips.map(|ip| SocketAddr::new(ip, port))
}

#[test]
fn an_update_is_about_the_networks_that_it_names() {
    alone(async {
        let server = builder().start().await.unwrap();
        let [first, second, third] = addresses();
        let both = vec![network_at("shop", &[first], "10.10.1.3"), network_at("blog", &[second], "10.10.2.3")];
        assert_eq!(names(server.update(both, &[]).await.unwrap())[0], ["shop", "blog"]);
        let before = [first, second].map(sockets);
        let asker = Asker::start(first, "127.0.0.1");
        let mut feed = server.table().follow();

        // Replaced in one step, with the sockets of the addresses that stay.
        let applied = server.update(vec![network_at("blog", &[third, second], "10.10.2.4")], &[]).await.unwrap();
        assert_eq!(names(applied), [vec![], vec!["blog".to_owned()], vec![]]);
        assert!(matches!(feed.try_next(), Some(Event::NetworkChanged { network, .. }) if &*network == "blog"));
        assert_eq!(feed.try_next(), None, "one change, of one network");
        assert_eq!([first, second, third].map(db_at), ["10.10.1.3", "10.10.2.4", "10.10.2.4"]);
        // The same again is nothing.
        let same = || vec![network_at("blog", &[third, second], "10.10.2.4")];
        assert_eq!(names(server.update(same(), &[]).await.unwrap()), NONE);
        assert_eq!(names(server.update(vec![], &[]).await.unwrap()), NONE);
        assert_eq!([first, second].map(sockets), before);

        // Removed, with its sockets; who is not there, or is given, cannot be.
        let removed = ["blog", "nobody"].map(str::to_owned);
        assert_eq!(names(server.update(vec![], &removed).await.unwrap()), [vec![], vec![], vec!["blog".to_owned()]]);
        assert!(sockets(second).is_empty() && sockets(third).is_empty());
        let applied = server.update(same(), &removed).await.unwrap();
        assert_eq!(names(applied), [vec!["blog".to_owned()], vec![], vec![]]);
        assert_eq!(db_at(third), "10.10.2.4");
        assert!(asker.stop() > 0);
        assert_eq!(sockets(first), before[0]);
    });
}

#[test]
fn an_address_goes_from_one_network_to_another_in_one_update() {
    alone(async {
        let server = builder().start().await.unwrap();
        let [first, second, third] = addresses();
        let shop = |listen: &[SocketAddr]| network_at("shop", listen, "10.10.1.3");
        let blog = |listen: &[SocketAddr]| network_at("blog", listen, "10.10.1.3");
        server.update(vec![shop(&[first, second]), blog(&[third])], &[]).await.unwrap();
        let before = [first, second, third].map(sockets);
        let asker = Asker::start(second, "127.0.0.1");
        for _ in 0..20 {
            server.update(vec![shop(&[first]), blog(&[second, third])], &[]).await.unwrap();
            // A swap.
            server.update(vec![shop(&[second, third]), blog(&[first])], &[]).await.unwrap();
            server.update(vec![shop(&[first, second]), blog(&[third])], &[]).await.unwrap();
        }
        // From a network that goes.
        server.update(vec![blog(&[first, second, third])], &["shop".to_owned()]).await.unwrap();
        assert!(asker.stop() > 0);
        assert_eq!([first, second, third].map(sockets), before);
        let listeners = server.status().listeners;
        assert_eq!(listeners.iter().filter(|listener| listener.network == "blog").count(), 6, "{listeners:?}");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_update_that_cannot_be_changes_nothing() {
    let server = builder().start().await.unwrap();
    let [first, second, third] = addresses();
    let both = vec![network_at("shop", &[first], "10.10.1.3"), network_at("blog", &[second], "10.10.2.3")];
    server.update(both, &[]).await.unwrap();
    let before = server.status();
    let changed = |listen: &[SocketAddr]| network_at("blog", listen, "10.0.0.9");
    // By a network that the update is not about, and by another one that it is about.
    let error = server.update(vec![changed(&[second, first])], &[]).await.unwrap_err();
    assert_eq!(error.to_string(), format!("network \"blog\" cannot listen on {first}: network \"shop\" does"));
    let shop = network_at("shop", &[third], "10.0.0.9");
    let error = server.update(vec![shop, changed(&[second, third])], &[]).await.unwrap_err();
    assert!(matches!(error, ServerError::AddressTaken { .. }), "{error}");
    let error = server.update(vec![changed(&[second]), changed(&[third])], &["shop".to_owned()]).await.unwrap_err();
    assert!(matches!(error, ServerError::Table(TableError::NetworkExists(_))), "{error}");
    assert_eq!((server.status(), server.table().networks().len()), (before, 2));
    assert_eq!([first, second].map(db_at), ["10.10.1.3", "10.10.2.3"]);
    assert!(sockets(third).is_empty());
    server.shutdown().await;
    assert!(matches!(server.update(vec![], &[]).await, Err(ServerError::Stopped)));
}

#[test]
fn sockets_that_were_handed_in_stay_through_an_update_and_go_with_their_network() {
    alone(async {
        let server = builder().start().await.unwrap();
        let (udp, tcp) = (UdpSocket::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let at = [udp.local_addr().unwrap(), tcp.local_addr().unwrap()];
        server.add_network_at(network("shop").build().unwrap(), vec![udp.into(), tcp.into()]).await.unwrap();
        let [address, ..] = addresses();
        server.update(vec![network_at("shop", &[address], "10.0.0.9")], &[]).await.unwrap();
        assert_eq!(Client::new(at[0]).udp(&local()).addresses(), ["10.0.0.9".parse::<IpAddr>().unwrap()]);
        assert_eq!(server.status().listeners.len(), 4);
        server.update(vec![], &["shop".to_owned()]).await.unwrap();
        assert!(server.status().listeners.is_empty());
        assert!([at[0], at[1], address].iter().all(|&address| sockets(address).is_empty()));
    });
}

/// The octets that are allocated while one of so many networks is replaced.
fn cost_among(networks: usize) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let port = free_port(&[LOCALHOST]);
    let one = |number: usize, db: &str| {
        let listen = SocketAddr::new([127, 1, (number / 250) as u8, (1 + number % 250) as u8].into(), port);
        // An endpoint on a thousand networks would have its list of them written anew: each has its own.
        let own = endpoint(&format!("db{number:04}"), db);
        Network::builder(format!("net{number:04}")).endpoint(own).listen(&listen.to_string()).build().unwrap()
    };
    let server = runtime.block_on(builder().start()).unwrap();
    let all = (0..networks).map(|number| one(number, "10.10.1.3")).collect();
    assert_eq!(runtime.block_on(server.update(all, &[])).unwrap().added.len(), networks);
    // The least of some: now and then a map of the table's grows.
    let cost = |last: u8| {
        let (changed, mut applied) = (vec![one(1, &format!("10.10.1.{last}"))], None);
        let cost = measure(|| applied = Some(runtime.block_on(server.update(changed, &[]))));
        assert_eq!(names(applied.unwrap().unwrap())[1], ["net0001"]);
        cost.bytes_total
    };
    (10..20).map(cost).min().unwrap()
}

#[test]
fn one_network_of_a_thousand_is_updated_at_the_price_of_one_of_ten() {
    // Less than an octet for each of the others.
    let compare = || {
        let (many, few) = (cost_among(1000), cost_among(10));
        assert!(many < few + 900, "{many} octets, {few} among ten");
    };
    alone(async move { std::thread::spawn(compare).join().unwrap() });
}
