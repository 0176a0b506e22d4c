//! What is answered from the cache, and what is not.

use std::collections::HashSet;

use callsign::forward::ForwardOptions;
use callsign::wire::message::flag;
use callsign::wire::{option, rtype};

use super::support::client::{Query, Reply};
use super::support::upstream::{Scripted, a, big_txt, many_a, record};
use super::{Served, asking, records_of};

const IP: [u8; 4] = [192, 0, 2, 1];

fn www() -> Query {
    Query::new("www.example", rtype::A)
}

fn ttl(reply: &Reply) -> u32 {
    reply.message.answers[0].ttl
}

/// An SOA of `example.`, where the question is for a name right below it: TTL and MINIMUM.
fn soa(ttl: u32, minimum: u32) -> Vec<u8> {
    let mut record = record(rtype::SOA, &[&[0; 2][..], &[0; 16], &minimum.to_be_bytes()].concat());
    record[1] += 4;
    record[6..10].copy_from_slice(&ttl.to_be_bytes());
    record
}

/// A reply with an authority section instead of an answer.
fn negative(query: &super::support::upstream::Query, rcode: u8, authority: &[Vec<u8>]) -> Vec<u8> {
    let mut reply = query.reply(rcode, authority);
    reply[6..10].copy_from_slice(&[0, 0, 0, authority.len() as u8]);
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_asked_once_in_its_ttl() {
    let upstream = Scripted::start(|query| vec![query.answer(&[a(IP)])]).await;
    let served = Served::new(asking(&upstream)).await;
    let client = served.client();
    assert_eq!(ttl(&client.udp(&www())), 300);
    served.pass(100);
    assert!((150..=200).contains(&ttl(&client.udp(&www()))));
    served.pass(100);
    assert!((50..=100).contains(&ttl(&client.tcp(&www()))));
    assert_eq!(upstream.queries().len(), 1);
    served.pass(100);
    assert_eq!(ttl(&client.udp(&www())), 300);
    assert_eq!(upstream.queries().len(), 2);
    let counters = served.counters();
    assert_eq!((counters.hits, counters.misses, counters.entries, counters.in_flight), (2, 2, 1, 0));
    assert!((100..2000).contains(&counters.bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_has_the_clients_id_spelling_size_and_options() {
    let upstream = Scripted::start(|query| vec![query.answer(&many_a(70))]).await;
    let served = Served::new(asking(&upstream)).await;
    let client = served.client();
    assert_eq!(client.tcp(&www()).addresses().len(), 70);
    let spelled = Query::new("wWw.eXample", rtype::A);
    let plain = client.udp(&spelled);
    assert_eq!((plain.question(), plain.flags().as_str()), (&spelled.question()[..], "qr tc rd ra"));
    assert!(plain.bytes.len() <= 512 && plain.edns().is_none());
    let wide = client.udp(&www().edns(4096).option(option::COOKIE, b"8 octets"));
    assert!(wide.bytes.len() <= 1232 && wide.bytes.len() > 1100);
    assert_eq!(wide.options(option::COOKIE)[0].len(), 24, "a cookie of ours");
    assert_eq!(client.tcp(&www().edns(512)).addresses().len(), 70);
    assert_eq!(upstream.queries().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn options_and_sizes_do_not_split_the_key_and_the_bits_that_matter_do() {
    let upstream = Scripted::start(|query| {
        let rtype = query.question().split_last_chunk::<4>().unwrap().1;
        vec![query.answer(&[record(u16::from_be_bytes([rtype[0], rtype[1]]), &IP)])]
    })
    .await;
    let served = Served::new(asking(&upstream)).await;
    let client = served.client();
    let subnet = [0, 1, 24, 0, 10, 0, 0];
    let alike = [
        www(),
        www().edns(512),
        www().edns(4096).option(option::CLIENT_SUBNET, &subnet),
        www().edns(1232),
        // Upstreams are always asked to recurse (F9).
        www().flags(0),
    ];
    alike.iter().for_each(|query| drop(client.udp(query)));
    assert_eq!(upstream.queries().len(), 1);
    let others = [
        www().edns(1232).dnssec_ok(),
        www().flags(flag::RD | flag::CD),
        Query::new("www.example", 65_280),
        Query::new("ww.example", rtype::A),
    ];
    for (count, query) in others.iter().enumerate() {
        for _ in 0..2 {
            client.udp(query);
            assert_eq!(upstream.queries().len(), count + 2, "{query:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ad_is_kept_for_those_who_ask_for_it() {
    let upstream = Scripted::start(|query| {
        let asked = query.header().has(flag::AD);
        vec![query.answer(&[a(IP)]).changed(|reply| reply[3] |= if asked { flag::AD as u8 } else { 0 })]
    })
    .await;
    let served = Served::new(asking(&upstream)).await;
    let (without, with) = (www(), www().flags(flag::RD | flag::AD));
    for (query, flags, asked) in
        [(&without, "qr rd ra", 1), (&with, "qr rd ra ad", 2), (&with, "qr rd ra ad", 2), (&without, "qr rd ra", 2)]
    {
        assert_eq!((served.client().udp(query).flags().as_str(), upstream.queries().len()), (flags, asked));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_any_kind_come_from_the_cache_byte_for_byte() {
    let rrsig = record(46, &[&[0, 1, 13, 2][..], &[7; 60]].concat());
    for answers in [
        many_a(40),
        vec![a(IP), rrsig],
        vec![big_txt()],
        vec![record(65_280, b"\xc0\x0c\xff\0"), record(65_280, b"")],
        vec![record(rtype::A, b"five!")],
    ] {
        let rtype = u16::from_be_bytes([answers[0][2], answers[0][3]]);
        let sent = answers.clone();
        let upstream = Scripted::start(move |q| vec![if q.tcp { q.answer(&sent) } else { q.truncated() }]).await;
        let served = Served::new(asking(&upstream)).await;
        let query = Query::new("www.example", rtype).edns(1232).dnssec_ok();
        let ask = || {
            let mut connection = served.client().connect().unwrap();
            connection.send(&query.bytes()).unwrap();
            connection.receive().unwrap()
        };
        let (first, second) = (ask(), ask());
        assert_eq!(records_of(&first), records_of(&second));
        assert!(records_of(&second).starts_with(&records_of(&upstream.query(1).await.reply(0, &answers))));
        assert_eq!((upstream.queries().len(), served.counters().hits), (2, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn negative_answers_are_kept_as_long_as_their_soa_says_and_not_without() {
    for (code, status) in [(3, "NXDOMAIN"), (0, "NOERROR")] {
        let upstream = Scripted::start(move |query| match query.question()[1] {
            b'w' => vec![super::support::upstream::Act::Send(negative(query, code, &[soa(600, 60)]))],
            _ => vec![super::support::upstream::Act::Send(negative(query, code, &[]))],
        })
        .await;
        let served = Served::new(asking(&upstream)).await;
        for count in [1, 1] {
            assert_eq!(served.client().udp(&www()).status(), status);
            assert_eq!(upstream.queries().len(), count);
        }
        let reply = served.client().udp(&www());
        assert!(reply.message.authorities[0].ttl <= 60, "what another cache may make of it");
        served.pass(60);
        served.client().udp(&www());
        assert_eq!(upstream.queries().len(), 2);
        for count in [3, 4] {
            assert_eq!(served.client().udp(&Query::new("soaless.example", rtype::A)).status(), status);
            assert_eq!(upstream.queries().len(), count);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_for_now_is_not_kept() {
    let upstream = Scripted::start(|query| match query.question()[1] {
        b't' => vec![query.answer(&[a(IP)]).changed(|reply| {
            let at = reply.len() - 10;
            reply[at..at + 4].fill(0);
        })],
        _ => vec![query.answer(&[a(IP)]).changed(|reply| reply[2] |= 2)],
    })
    .await;
    let served = Served::new(asking(&upstream)).await;
    for (name, queries) in [("ttl-0.example", 2), ("cut.example", 4)] {
        let before = upstream.queries().len();
        for _ in 0..2 {
            served.client().udp(&Query::new(name, rtype::A));
        }
        // The truncated one is asked for over TCP as well.
        assert_eq!(upstream.queries().len() - before, queries, "{name}");
    }
    assert_eq!(served.counters().entries, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_popular_answer_is_asked_for_before_it_expires() {
    let upstream = Scripted::start(|query| vec![query.answer(&[a(IP)])]).await;
    let served = Served::new(asking(&upstream)).await;
    for _ in 0..5 {
        served.client().udp(&www());
    }
    served.pass(280);
    assert!(ttl(&served.client().udp(&www())) <= 20, "whoever sees to it does not wait for it");
    upstream.query(1).await;
    super::until("the new answer is kept", || ttl(&served.client().udp(&www())) > 290).await;
    assert_eq!((upstream.queries().len(), served.counters().prefetched), (2, 1));
    // One that nobody asks for is not.
    served.pass(280);
    served.client().udp(&www());
    assert_eq!(upstream.queries().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_stays_within_its_bounds_and_can_be_off() {
    let upstream = Scripted::start(|query| vec![query.answer(&[a(IP)])]).await;
    let options = |cache_size| ForwardOptions { cache_size, ..asking(&upstream) };
    let served = Served::new(options(64 << 10)).await;
    for index in 0..1000 {
        served.client().udp(&Query::new(&format!("{index}.example"), rtype::A));
    }
    let counters = served.counters();
    assert!(counters.bytes <= 64 << 10 && counters.entries > 50, "{counters:?}");
    served.server.set_forwarding(options(0));
    assert_eq!((served.counters().bytes, served.counters().entries), (0, 0));
    for _ in 0..3 {
        served.client().udp(&www());
    }
    // Each is asked for; a query that is repeated, as the answer is late, has the ID of the first.
    let asked = upstream.queries();
    let ids: HashSet<u16> =
        asked.iter().filter(|query| query.question() == www().question()).map(|query| query.header().id).collect();
    assert_eq!((ids.len(), served.counters().hits, served.counters().entries), (3, 0, 0));
}
