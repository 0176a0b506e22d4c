//! The whole way of a query for a known name, from the socket to the socket, takes nothing from the allocator.
//!
//! Allocations are counted by thread. So the runtime that serves the socket is driven by the thread that counts.

use std::net::UdpSocket;
use std::sync::Arc;

use allocation_counter::measure;
use tokio::runtime::Builder;

use crate::forward::{ForwardOptions, Forwarder, Upstreams};
use crate::responder::ResponderOptions;
use crate::table::{Endpoint, Network};

use super::shared::Shared;
use super::slot::Slot;
use crate::settings::Limits;

/// `db A`, with the ID 7.
const QUERY: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x02db\0\0\x01\0\x01";

/// Queries at once: a batch that is full, and one that is not.
const QUERIES: usize = super::batch::BATCH + 5;

#[test]
fn a_query_for_a_known_name_allocates_nothing_from_socket_to_socket() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let forwarding = ForwardOptions { upstreams: Upstreams::List(Vec::new()), ..Default::default() };
    let (slot, client) = runtime.block_on(async {
        let shared =
            Arc::new(Shared::new(0, Forwarder::new(forwarding), Limits::default(), ResponderOptions::default()));
        let db = Endpoint::builder("db").address("10.10.1.3").name("db").build().unwrap();
        let network = Network::builder("shop").subnet("10.10.1.0/24").listen("127.0.0.1").endpoint(db).build().unwrap();
        let network = shared.table.add(network).unwrap();
        let listen = network.snapshot().settings().listen[0].clone();
        let slot = Slot::open(&shared, &network, listen, Vec::new(), runtime.handle());
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(slot.addresses().next().expect("a socket")).unwrap();
        client.set_nonblocking(true).unwrap();
        (slot, tokio::net::UdpSocket::from_std(client).unwrap())
    });
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
