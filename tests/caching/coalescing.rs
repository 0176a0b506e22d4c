//! Identical questions at the same time.

use std::sync::Arc;
use std::time::Duration;

use callsign::forward::{ForwardOptions, Forwarder, Question};
use callsign::wire::message::flag;
use callsign::wire::{ede, option, rcode, rtype};

use super::support::client::Query;
use super::support::upstream::{Act, Gate, Scripted, a};
use super::{Served, asking, until};

const IP: [u8; 4] = [192, 0, 2, 1];

fn question(name: &[u8]) -> Question {
    Question { question: [name, &[0, 1, 0, 1]].concat(), flags: flag::RD, dnssec_ok: false }
}

/// An upstream that answers when the gate is opened.
async fn gated(gate: &Gate) -> Scripted {
    let gate = gate.clone();
    Scripted::start(move |query| vec![Act::Wait(gate.clone()), query.answer(&[a(IP)])]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_clients_ask_and_the_upstream_is_asked_once() {
    let gate = Gate::closed();
    let upstream = gated(&gate).await;
    let served = Served::new(ForwardOptions { timeout: Duration::from_secs(60), ..asking(&upstream) }).await;
    let asking: Vec<_> = (0..100_u16)
        .map(|index| {
            let client = served.client();
            let name = if index % 2 == 0 { "www.example" } else { "wwW.exAmple" };
            let query = match index % 5 {
                0 => Query::new(name, rtype::A),
                size => {
                    Query::new(name, rtype::A).edns(512 * size).option(option::COOKIE, &index.to_be_bytes().repeat(4))
                }
            };
            tokio::task::spawn_blocking(move || {
                let reply = if index % 3 == 0 { client.tcp(&query) } else { client.udp(&query) };
                assert_eq!((reply.question(), reply.addresses().len()), (&query.question()[..], 1));
                assert_eq!(reply.edns().is_some(), index % 5 > 0);
            })
        })
        .collect();
    until("a hundred wait", || served.server.status().forwards == 100).await;
    // One permit each; the question itself is one.
    until("all have joined", || served.counters().coalesced == 99).await;
    assert_eq!((served.counters().in_flight, served.counters().misses), (1, 1));
    gate.open();
    for asked in asking {
        asked.await.unwrap();
    }
    // A repeat, on a slow machine, is the same datagram.
    let queries = upstream.queries();
    assert!(queries.iter().all(|query| (&query.bytes, query.from) == (&queries[0].bytes, queries[0].from)));
    assert_eq!(served.counters().in_flight, 0);
}

#[tokio::test]
async fn whoever_stops_waiting_ends_it_for_nobody_else() {
    let gate = Gate::closed();
    let upstream = gated(&gate).await;
    let forwarder = Arc::new(Forwarder::new(asking(&upstream)));
    let asked = question(b"\x03www\x07example\x00");
    let choice = forwarder.choose(asked.question.split_last_chunk::<4>().unwrap().0, &[]);
    let mut waiting: Vec<_> = (0..3)
        .map(|_| {
            let (forwarder, asked, choice) = (forwarder.clone(), asked.clone(), choice.clone());
            tokio::spawn(async move { forwarder.resolve(&asked, &choice).await })
        })
        .collect();
    until("two have joined the first", || forwarder.counters().coalesced == 2).await;
    waiting.remove(0).abort();
    gate.open();
    for waiting in waiting {
        assert!(waiting.await.unwrap().is_ok());
    }
    // All stop, and the answer is kept none the less.
    let other = question(b"\x05other\x00");
    tokio::select! {
        biased;
        _ = forwarder.resolve(&other, &choice) => panic!("it takes more than one poll"),
        () = std::future::ready(()) => {}
    }
    until("the answer is kept", || forwarder.counters().in_flight == 0).await;
    assert_eq!(forwarder.resolve(&other, &choice).await.map(|reply| reply[7]), Ok(1));
    assert_eq!(upstream.queries().len(), 2);
}

#[tokio::test]
async fn questions_that_differ_are_asked_each_and_not_without_bound() {
    let gate = Gate::closed();
    let upstream = gated(&gate).await;
    let forwarder = Arc::new(Forwarder::new(ForwardOptions { in_flight: 3, ..asking(&upstream) }));
    let choice = forwarder.choose(b"\x00", &[]);
    let asked = question(b"\x01a\x00");
    let others = [
        Question { flags: flag::RD | flag::CD, ..asked.clone() },
        Question { dnssec_ok: true, ..asked.clone() },
        asked,
    ];
    let waiting = others.map(|asked| {
        let (forwarder, choice) = (forwarder.clone(), choice.clone());
        tokio::spawn(async move { forwarder.resolve(&asked, &choice).await })
    });
    upstream.query(2).await;
    let failure = forwarder.resolve(&question(b"\x01b\x00"), &choice).await.unwrap_err();
    assert_eq!((failure.rcode, failure.ede), (rcode::SERVFAIL, ede::OTHER));
    assert_eq!(forwarder.counters().overloaded, 1);
    gate.open();
    for waiting in waiting {
        assert!(waiting.await.unwrap().is_ok());
    }
    assert!(forwarder.resolve(&question(b"\x01b\x00"), &choice).await.is_ok());
}
