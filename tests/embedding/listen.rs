//! Listeners that are opened and closed one by one, and that follow a network's listen addresses.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use callsign::responder::HostView;
use callsign::server::{Listen, ListenerState, Observed, Observer, Server, ServerError};
use callsign::table::Network;
use callsign::wire::message::Header;
use callsign::wire::{Query, rcode, rtype};

use crate::endpoint;
use crate::support::DEADLINE;

/// A server that asks nobody, and its network of three endpoints without a listen address.
async fn shop() -> (Server, Arc<Network>) {
    let server = Server::builder().port(0).workers(1).upstreams(Vec::new().into()).start().await.unwrap();
    let network = Network::builder("shop").subnet("10.10.1.0/24").domain("internal");
    let network = network.endpoint(endpoint("db", "10.10.1.3")).endpoint(endpoint("api", "10.10.1.4"));
    let shop = server.add_network(network.build().unwrap()).await.unwrap();
    (server, shop)
}

/// The response code and the last octets of the reply to an A query.
fn ask(server: SocketAddr, name: &str) -> (u16, Vec<u8>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.send_to(&Query::build(7, &name.parse().unwrap(), rtype::A), server).unwrap();
    let mut reply = [0; 1232];
    let len = socket.recv(&mut reply).unwrap();
    let header = Header::read(&reply[..len]).unwrap();
    (header.rcode(), vec![header.counts[1] as u8])
}

fn is_free(address: SocketAddr) -> bool {
    UdpSocket::bind(address).is_ok()
}

#[tokio::test]
async fn a_listener_is_closed_when_close_returns_and_no_other_with_it() {
    let (server, shop) = shop().await;
    shop.change(|change| change.settings(|settings| settings.allow = Some(vec!["127.0.0.0/8".parse().unwrap()])))
        .unwrap();
    let one = server.listen(&shop, Listen::address("127.0.0.1".parse().unwrap())).await.unwrap();
    let two = server.listen(&shop, Listen::socket(UdpSocket::bind("127.0.0.1:0").unwrap())).await.unwrap();
    let (first, second) = (one.local_addr().unwrap(), two.local_addr().unwrap());
    assert_eq!((one.status().len(), two.status().len()), (2, 1), "an address is served over UDP and TCP");
    for address in [first, second] {
        assert_eq!(ask(address, "db.internal"), (rcode::NOERROR, vec![1]));
    }
    one.close().await;
    assert!(is_free(first));
    assert_eq!(ask(second, "db.internal").0, rcode::NOERROR);
    // They stay whatever becomes of the listen addresses.
    server.apply(vec![shop.to_builder().build().unwrap()]).await.unwrap();
    assert_eq!(ask(second, "db.internal").0, rcode::NOERROR);
    server.remove_network("shop").await.unwrap();
    assert!(is_free(second) && two.status().is_empty());
    two.close().await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_listener_for_one_endpoint_takes_every_client_for_that() {
    let (server, shop) = shop().await;
    let blog = server.add_network(Network::builder("blog").build().unwrap()).await.unwrap();
    blog.attach(endpoint("api", "10.10.2.4")).unwrap();
    blog.attach(endpoint("site", "10.10.2.5")).unwrap();
    let listen = async |id: &str| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.listen(&shop, Listen::socket(socket).for_endpoint(id)).await.unwrap()
    };
    let (db, api, nobody) = (listen("db-1").await, listen("api-1").await, listen("gone-1").await);
    let ask = |listener: &callsign::server::ListenerHandle, name| ask(listener.local_addr().unwrap(), name);
    assert_eq!(ask(&db, "api.internal"), (rcode::NOERROR, vec![1]));
    assert_eq!(ask(&api, "site"), (rcode::NOERROR, vec![1]), "api is on blog too");
    assert_eq!(ask(&db, "site"), (rcode::SERVFAIL, vec![0]), "db is not, and there is no upstream");
    assert_eq!(ask(&nobody, "db.internal"), (rcode::REFUSED, vec![0]));
    shop.detach("db-1").unwrap();
    assert_eq!(ask(&db, "api.internal"), (rcode::REFUSED, vec![0]), "it is an endpoint no more");
    assert_eq!(api.status()[0].endpoint.as_deref(), Some("api-1"));
    drop((db, api, nobody));
    server.shutdown().await;
}

#[tokio::test]
async fn v4_an_allow_list_looks_at_the_endpoints_own_addresses() {
    let (server, shop) = shop().await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let db = server.listen(&shop, Listen::socket(socket).for_endpoint("db-1")).await.unwrap();
    let allow = |list: &str| {
        let list = vec![list.parse().unwrap()];
        shop.change(|change| change.settings(|settings| settings.allow = Some(list))).unwrap();
    };
    allow("10.10.1.3/32");
    assert_eq!(ask(db.local_addr().unwrap(), "api.internal").0, rcode::NOERROR);
    allow("127.0.0.0/8");
    assert_eq!(ask(db.local_addr().unwrap(), "api.internal").0, rcode::REFUSED);
    db.close().await;
    server.shutdown().await;
}

#[tokio::test]
async fn sockets_follow_the_listen_addresses_of_a_change() {
    let (server, shop) = shop().await;
    let other = server.add_network(Network::builder("other").build().unwrap()).await.unwrap();
    let listening = || -> Vec<SocketAddr> {
        let all = server.status().listeners.into_iter().filter(|listener| !listener.tcp);
        let addresses = all.filter_map(|listener| match listener.state {
            ListenerState::Listening(address) => Some(address),
            _ => None,
        });
        addresses.collect()
    };
    let port = crate::support::free_port(&["127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap()]);
    let [one, two]: [SocketAddr; 2] = [([127, 0, 0, 1], port).into(), ([127, 0, 0, 2], port).into()];
    server.change(&shop, |change| change.listen([one.into(), two.into()])).await.unwrap();
    assert_eq!(listening(), [one, two]);
    server.change(&shop, |change| change.listen([two.into()])).await.unwrap();
    assert_eq!(listening(), [two]);
    assert!(is_free(one));
    // What another network has is refused, and nothing is changed.
    let revision = other.snapshot().revision();
    let taken = server.change(&other, |change| change.listen([two.into()])).await;
    assert!(matches!(taken, Err(ServerError::AddressTaken { .. })), "{taken:?}");
    assert_eq!(other.snapshot().revision(), revision);
    let taken = server.listen(&other, Listen::address(two.into())).await;
    assert!(matches!(taken, Err(ServerError::AddressTaken { .. })));
    // A network of another table is refused.
    let stranger = Arc::new(Network::builder("shop").build().unwrap());
    assert!(matches!(server.change(&stranger, |_| ()).await, Err(ServerError::Table(_))));
    server.shutdown().await;
}

#[tokio::test]
async fn the_host_view_and_a_listener_do_not_take_each_others_address() {
    let (server, shop) = shop().await;
    let port = crate::support::free_port(&["127.0.0.1".parse().unwrap()]);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let view = || HostView::builder().listen(&address.to_string()).build().unwrap();
    let listener = server.listen(&shop, Listen::address(address.into())).await.unwrap();
    let taken = server.set_host_view(Some(view())).await;
    assert!(matches!(taken, Err(ServerError::AddressTaken { .. })), "{taken:?}");
    listener.close().await;
    server.set_host_view(Some(view())).await.unwrap();
    let db = || ask(address, "db.shop.containers.internal");
    assert_eq!(db(), (rcode::NOERROR, vec![1]));
    let taken = server.listen(&shop, Listen::address(address.into())).await.map(|_| ());
    assert!(matches!(taken, Err(ServerError::AddressTaken { .. })), "{taken:?}");
    let taken = server.change(&shop, |change| change.listen([address.into()])).await;
    assert!(matches!(taken, Err(ServerError::AddressTaken { .. })), "{taken:?}");
    // A network that says it listens there, and does not, does not close it either.
    shop.change(|change| change.listen([address.into()])).unwrap();
    server.change(&shop, |change| change.listen([])).await.unwrap();
    assert_eq!(db(), (rcode::NOERROR, vec![1]));
    server.shutdown().await;
}

/// Notes what it hears of listeners.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl Observer for Heard {
    fn observe(&self, _: &Observed<'_>) {}

    fn listener(&self, listener: &callsign::server::ListenerStatus) {
        let state = if matches!(listener.state, ListenerState::Listening(_)) { "up" } else { "failed" };
        self.0.lock().unwrap().push(format!(
            "{} {} {state}",
            listener.network,
            if listener.tcp { "tcp" } else { "udp" }
        ));
    }

    fn stopping(&self) {
        self.0.lock().unwrap().push("stopping".to_owned());
    }
}

#[tokio::test]
async fn an_observer_hears_when_a_listener_comes_up_or_fails() {
    let heard = Arc::new(Heard::default());
    let server = Server::builder().port(0).observer(heard.clone()).start().await.unwrap();
    let take = || std::mem::take(&mut *heard.0.lock().unwrap());
    let held = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = held.local_addr().unwrap().to_string();
    server.add_network(Network::builder("shop").listen(&listen).build().unwrap()).await.unwrap();
    let first = take();
    assert_eq!(first, ["shop udp failed", "shop tcp up"]);
    drop(held);
    let deadline = std::time::Instant::now() + DEADLINE;
    let mut then = take();
    while then.is_empty() {
        assert!(std::time::Instant::now() < deadline, "it never came up");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        then = take();
    }
    assert_eq!(then, ["shop udp up"]);
    server.shutdown().await;
    assert_eq!(take(), ["stopping"]);
}
