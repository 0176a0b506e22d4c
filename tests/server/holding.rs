//! N11: a question for the address of an endpoint that is about to run waits for it.

use std::net::UdpSocket;

use callsign::table::EndpointState;

use super::*;

/// A server of a network that holds questions, with a `db` that is about to start.
async fn about_to_start(hold: Duration, limits: Limits) -> (Server, SocketAddr) {
    let db = endpoint("db", "10.10.1.3").with_state(EndpointState::Starting);
    let shop = Network::builder("shop").listen("127.0.0.1").hold(hold).endpoint(db).build().unwrap();
    let server = builder().limits(limits).start().await.unwrap();
    server.add_network(shop).await.unwrap();
    let address = listening(&server, "shop");
    (server, address)
}

fn become_of_db(server: &Server, state: EndpointState) {
    server.table().network("shop").unwrap().update("db-1", |db| db.with_state(state)).unwrap();
}

/// Waits until so many questions wait.
#[track_caller]
fn waiting(server: &Server, count: usize) {
    until("the questions wait", || server.status().forwards == count);
}

fn nothing_comes(socket: &UdpSocket) -> bool {
    socket.set_nonblocking(true).unwrap();
    let outcome = socket.recv(&mut [0; 512]);
    socket.set_nonblocking(false).unwrap();
    outcome.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

fn receive(socket: &UdpSocket) -> Reply {
    let mut bytes = vec![0; 1232];
    let len = socket.recv(&mut bytes).expect("a reply");
    bytes.truncate(len);
    Reply::new(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn n11_an_answer_comes_when_the_endpoint_runs() {
    let (server, address) = about_to_start(Duration::from_millis(3500), Limits::default()).await;
    let udp = Client::new(address).udp_socket().unwrap();
    udp.send(&local().bytes()).unwrap();
    let mut tcp = Client::new(address).connect().unwrap();
    tcp.send(&local().bytes()).unwrap();
    // Behind it on the same connection, and not held up by it.
    tcp.send(&Query::new("nothere.shop", rtype::A).bytes()).unwrap();
    waiting(&server, 2);
    assert_eq!(Reply::new(tcp.receive().unwrap()).answers().len(), 0, "what is not held is answered first");
    // A change that is not the one they wait for.
    server.table().network("shop").unwrap().attach(endpoint("web", "10.10.1.5")).unwrap();
    assert!(nothing_comes(&udp));
    become_of_db(&server, EndpointState::Up);
    let started = Instant::now();
    for reply in [receive(&udp), Reply::new(tcp.receive().unwrap())] {
        assert_eq!(reply.addresses(), ["10.10.1.3".parse::<IpAddr>().unwrap()]);
    }
    assert!(started.elapsed() < Duration::from_millis(2000), "at once, and not at the end of the hold");
    waiting(&server, 0);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn n11_the_table_answers_as_it_is_when_the_time_is_over_or_the_endpoint_is_stopped() {
    let (server, address) = about_to_start(Duration::from_millis(50), Limits::default()).await;
    let reply = Client::new(address).udp(&local().edns(1232));
    assert_eq!(reply.status(), "NOERROR");
    assert_eq!(reply.extended_errors(), [(0, "db is not running".to_owned())]);
    server.shutdown().await;

    let (server, address) = about_to_start(Duration::from_millis(3500), Limits::default()).await;
    let udp = Client::new(address).udp_socket().unwrap();
    udp.send(&local().edns(1232).bytes()).unwrap();
    waiting(&server, 1);
    become_of_db(&server, EndpointState::Down);
    assert_eq!(receive(&udp).extended_errors(), [(0, "db is not running".to_owned())]);
    // Its name went: it is somebody else's, and nobody is there to be asked.
    become_of_db(&server, EndpointState::Starting);
    udp.send(&local().edns(1232).bytes()).unwrap();
    waiting(&server, 1);
    server.table().network("shop").unwrap().detach("db-1").unwrap();
    assert_eq!(receive(&udp).status(), "SERVFAIL");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn n11_a_held_question_has_one_of_its_clients_places() {
    let limits = limits(|limits| limits.forwards_per_client = 1);
    let (server, address) = about_to_start(Duration::from_millis(3500), limits).await;
    let udp = Client::new(address).udp_socket().unwrap();
    udp.send(&local().bytes()).unwrap();
    waiting(&server, 1);
    // The second one is told what the table says now.
    let reply = Client::new(address).udp(&local().edns(1232));
    assert_eq!(reply.extended_errors(), [(0, "db is not running".to_owned())]);
    become_of_db(&server, EndpointState::Up);
    assert_eq!(receive(&udp).answers().len(), 1);
    server.shutdown().await;
}
