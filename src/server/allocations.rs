//! The whole way of a query for a known name, from the socket to the socket, takes nothing from the allocator; one that waits
//! for an upstream takes little.
//!
//! Allocations are counted by thread. So the runtime that serves the socket is driven by the thread that counts.

use std::net::UdpSocket;
use std::sync::Arc;

use allocation_counter::measure;
use tokio::runtime::{Builder, Runtime};

use crate::forward::{ForwardOptions, Forwarder, Upstreams};
use crate::responder::ResponderOptions;
use crate::table::{Endpoint, Network, Upstream};

use super::shared::Shared;
use super::slot::Slot;
use crate::settings::Limits;

/// `db A`, with the ID 7.
const QUERY: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x02db\0\0\x01\0\x01";

/// Queries at once: a batch that is full, and one that is not.
const QUERIES: usize = super::batch::BATCH + 5;

/// A slot that forwards to these upstreams, on the runtime, and a client of it.
fn open(runtime: &Runtime, upstreams: Vec<Upstream>) -> (Arc<Shared>, Arc<Slot>, tokio::net::UdpSocket) {
    let forwarding = ForwardOptions { upstreams: Upstreams::List(upstreams), ..Default::default() };
    runtime.block_on(async {
        let shared =
            Arc::new(Shared::new(0, Forwarder::new(forwarding), Limits::default(), ResponderOptions::default()));
        let db = Endpoint::builder("db").address("10.10.1.3").name("db").build().unwrap();
        let network = Network::builder("shop").subnet("10.10.1.0/24").listen("127.0.0.1").endpoint(db).build().unwrap();
        let network = shared.table.add(network).unwrap();
        let listen = network.snapshot().settings().listen[0].clone();
        let slot = Slot::open(&shared, &network, (listen, None), Vec::new(), runtime.handle());
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(slot.addresses().next().expect("a socket")).unwrap();
        client.set_nonblocking(true).unwrap();
        (shared, slot, tokio::net::UdpSocket::from_std(client).unwrap())
    })
}

/// 4,096 such queries are to fit in 64 MiB with all else, 2.8 kilobytes of the kernel's for each socket among it.
#[test]
fn l3_a_query_that_waits_takes_less_than_3_700_octets() {
    const COUNT: usize = 200;
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (shared, slot, client) = open(&runtime, vec![Upstream::new(silent.local_addr().unwrap().into())]);
    // As long as names can be: those are kept as long as the queries wait.
    let ask = |number: u8, count: usize| {
        let (client, forwards) = (&client, &shared.forwards);
        async move {
            for query in 0..count {
                let label = [&[63][..], &[b'x'; 63]].concat();
                let unique = [&[61, number, query as u8][..], &[b'x'; 59]].concat();
                let name = [&unique[..], &label.repeat(3)].concat();
                let query = [b"\0\x07\x01\0\0\x01\0\0\0\0\0\0", &name[..], b"\0\0\x01\0\x01"].concat();
                client.send(&query).await.unwrap();
                let before = forwards.count();
                while forwards.count() == before {
                    tokio::task::yield_now().await;
                }
            }
        }
    };
    // What is made once, is made.
    runtime.block_on(ask(0, 30));
    let taken = measure(|| runtime.block_on(ask(1, COUNT))).bytes_current / COUNT as i64;
    assert_eq!(shared.forwards.count(), COUNT + 30);
    assert!((1000..3700).contains(&taken), "{taken} octets each");
    slot.close();
}

#[test]
fn a_query_for_a_known_name_allocates_nothing_from_socket_to_socket() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (_, slot, client) = open(&runtime, Vec::new());
    let mut reply = [0; 512];
    let mut allocations = |times: usize| {
        let ask = async {
            for _ in 0..times {
                for _ in 0..QUERIES {
                    client.send(QUERY).await.unwrap();
                }
                for _ in 0..QUERIES {
                    let len = client.recv(&mut reply).await.unwrap();
                    assert!(reply[..len].ends_with(&[10, 10, 1, 3]), "{:?}", &reply[..len]);
                }
            }
        };
        measure(|| runtime.block_on(ask)).count_total
    };
    // What is made once a thread, and once a socket, is made.
    allocations(1);
    // The runtime takes a little each time it is entered, which a worker does once.
    assert_eq!(allocations(10), allocations(1));
    slot.close();
}
