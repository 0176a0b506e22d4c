//! A panic while a query is answered costs that query and nothing else (answers.md L4): a real packet on a real socket.
//!
//! What panics is the host program's log, which the library calls while it answers: it warns of an upstream of the network
//! that is one of our own addresses.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Builder;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::forward::{ForwardOptions, Forwarder, Upstreams};
use crate::responder::ResponderOptions;
use crate::table::{Endpoint, Network};

use super::shared::Shared;
use super::slot::Slot;
use crate::settings::Limits;

const OURSELVES: &str = "192.0.2.53:53";

/// `db A` and `www.example A`, without their IDs.
const LOCAL: &[u8] = b"\x01\0\0\x01\0\0\0\0\0\0\x02db\0\0\x01\0\x01";
const FOREIGN: &[u8] = b"\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01";

/// A log that panics at warnings, and counts errors.
#[derive(Clone, Default)]
struct Panicking {
    warnings: Arc<AtomicUsize>,
    errors: Arc<AtomicUsize>,
}

impl Subscriber for Panicking {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }
    fn event(&self, event: &Event<'_>) {
        if *event.metadata().level() == Level::ERROR {
            self.errors.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.warnings.fetch_add(1, Ordering::Relaxed);
        panic!("a log that panics");
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn l4_a_panic_while_answering_costs_that_packet_and_no_other() {
    // Of one thread, so that the log is this test's alone.
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let log = Panicking::default();
    let _log = tracing::subscriber::set_default(log.clone());
    runtime.block_on(async {
        let forwarding = ForwardOptions { upstreams: Upstreams::List(Vec::new()), ..Default::default() };
        let shared =
            Arc::new(Shared::new(0, Forwarder::new(forwarding), Limits::default(), ResponderOptions::default()));
        shared.forwarder.set_own_addresses(vec![OURSELVES.parse().unwrap()]);
        let db = Endpoint::builder("db").address("10.10.1.3").name("db").build().unwrap();
        let network = Network::builder("shop").subnet("10.10.1.0/24").listen("127.0.0.1").endpoint(db);
        let network = shared.table.add(network.upstream(OURSELVES).build().unwrap()).unwrap();
        let listen = network.snapshot().settings().listen[0].clone();
        let slot = Slot::open(&shared, &network, listen, Vec::new(), runtime.handle());
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(slot.addresses().next().expect("a socket")).unwrap();
        client.set_nonblocking(true).unwrap();
        let client = tokio::net::UdpSocket::from_std(client).unwrap();
        let send = async |id: u8, query: &[u8]| {
            client.send(&[&[0, id][..], query].concat()).await.unwrap();
        };
        let receive = async || {
            let mut reply = [0; 512];
            let received = tokio::time::timeout(std::time::Duration::from_secs(10), client.recv(&mut reply));
            received.await.expect("a reply").unwrap();
            (reply[1], reply[3] & 15)
        };
        // In one batch, in this order: nothing runs before this task waits.
        for (id, query) in [(1, LOCAL), (2, FOREIGN), (3, LOCAL)] {
            send(id, query).await;
        }
        assert_eq!([receive().await, receive().await], [(1, 0), (3, 0)]);
        assert_eq!((log.warnings.load(Ordering::Relaxed), log.errors.load(Ordering::Relaxed)), (1, 1));
        // It is warned of once: the same question is answered now, with SERVFAIL, for there is nobody else to ask.
        send(4, FOREIGN).await;
        assert_eq!(receive().await, (4, 2));
    });
}
