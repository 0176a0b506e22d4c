//! Asking upstreams (answers.md F3, H6), through `Forwarder::ask`, against scripted upstreams on real sockets.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use callsign::forward::{Failure, ForwardOptions, Forwarder, Question, Upstreams};
use callsign::table::Upstream;
use callsign::wire::message::{Header, flag, records};
use callsign::wire::{ede, rcode, rtype};
use support::upstream::{Act, Gate, Query, Scripted, a, big_txt, many_a, record, refusing};

const IP: [u8; 4] = [192, 0, 2, 1];

fn question() -> Question {
    Question { question: b"\x03wWw\x07example\x00\x00\x01\x00\x01".to_vec(), flags: flag::RD, dnssec_ok: false }
}

/// Asks `servers`. `timeout` in milliseconds.
async fn ask_within(timeout: u64, servers: &[SocketAddr]) -> Result<Vec<u8>, Failure> {
    let list = servers.iter().map(|&address| Upstream::new(address.into()));
    let options = ForwardOptions {
        timeout: Duration::from_millis(timeout),
        upstreams: list.collect::<Upstreams>(),
        ..ForwardOptions::default()
    };
    let forwarder = Forwarder::new(options);
    let choice = forwarder.choose(b"\x03www\x07example\x00", &[]);
    forwarder.ask(&question(), &choice).await
}

/// With more time than any test needs that does not wait for it to end.
async fn ask(servers: &[SocketAddr]) -> Result<Vec<u8>, Failure> {
    ask_within(60_000, servers).await
}

fn rcode_of(reply: &[u8]) -> u16 {
    Header::read(reply).unwrap().rcode()
}

/// The data of the answer records.
fn answers(reply: &[u8]) -> Vec<Vec<u8>> {
    let answers = records(reply).map(|record| record.expect("whole records"));
    answers.filter(|record| record.rtype != rtype::OPT).map(|record| reply[record.rdata()].to_vec()).collect()
}

#[tokio::test]
async fn f3_the_query_is_of_our_making_and_keeps_the_clients_question_and_bits() {
    let upstream = Scripted::start(|query| vec![query.answer(&[a(IP)])]).await;
    let forwarder = Forwarder::new(ForwardOptions {
        upstreams: vec![Upstream::new(upstream.address().into())].into(),
        ..ForwardOptions::default()
    });
    let choice = forwarder.choose(b"\x00", &[]);
    // An unknown type in an unknown class.
    let odd = b"\x03wWw\x07example\x00\xff\x08\xfe\x01".to_vec();
    for (flags, kept) in [(flag::RD, flag::RD), (0, flag::RD), (0xffff, flag::RD | flag::AD | flag::CD)] {
        for dnssec_ok in [false, true] {
            let asked = Question { question: odd.clone(), flags, dnssec_ok };
            let reply = forwarder.ask(&asked, &choice).await.unwrap();
            let query = upstream.queries().pop().unwrap();
            assert_eq!(reply, query.reply(0, &[a(IP)]), "the reply as it came");
            assert_eq!(query.header().flags, kept);
            assert_eq!(query.header().counts, [1, 0, 0, 1]);
            assert_eq!(query.question(), odd);
            let opt = [0, 0, 41, 0x04, 0xd0, 0, 0, if dnssec_ok { 0x80 } else { 0 }, 0, 0, 0];
            assert!(query.bytes.ends_with(&opt), "1232 octets, version 0, DO, no options");
        }
    }
    let queries = upstream.queries();
    let first = &queries[0];
    assert!(queries.iter().any(|query| query.header().id != first.header().id), "random IDs");
}

#[tokio::test]
async fn f3_questions_that_wait_at_the_same_time_have_ports_of_their_own() {
    const QUESTIONS: usize = 16;
    let gate = Gate::closed();
    let waiting = gate.clone();
    let upstream = Scripted::start(move |query| vec![Act::Wait(waiting.clone()), query.answer(&[a(IP)])]).await;
    let options =
        ForwardOptions { upstreams: vec![Upstream::new(upstream.address().into())].into(), ..Default::default() };
    let forwarder = std::sync::Arc::new(Forwarder::new(options));
    let asks: Vec<_> = (0..QUESTIONS)
        .map(|_| {
            let forwarder = forwarder.clone();
            tokio::spawn(async move { forwarder.ask(&question(), &forwarder.choose(b"\x00", &[])).await })
        })
        .collect();
    upstream.query(QUESTIONS - 1).await;
    gate.open();
    for ask in asks {
        assert!(ask.await.unwrap().is_ok());
    }
    // A repeat has the port and the ID of what it repeats.
    let queries = upstream.queries();
    let asked: std::collections::HashSet<_> = queries.iter().map(|query| (query.header().id, query.from)).collect();
    let ports: std::collections::HashSet<_> = queries.iter().map(|query| query.from).collect();
    assert_eq!((asked.len(), ports.len()), (QUESTIONS, QUESTIONS));
    // One after the other they may have the same, but not for long.
    for _ in 0..200 {
        forwarder.ask(&question(), &forwarder.choose(b"\x00", &[])).await.unwrap();
    }
    let mut uses = std::collections::HashMap::new();
    upstream.queries().iter().for_each(|query| *uses.entry(query.from.port()).or_insert(0) += 1);
    assert!(uses.values().all(|&uses| uses <= 64), "{uses:?}");
}

#[tokio::test]
async fn f3_mismatched_replies_are_ignored_and_the_wait_goes_on() {
    let wrong = [a([6, 6, 6, 6])];
    let upstream = Scripted::start(move |query| {
        vec![
            query.wrong_id(&wrong),
            query.wrong_question(&wrong),
            query.answer(&wrong).changed(|reply| reply[2] &= 0x7f), // a query
            query.answer(&wrong).changed(|reply| reply[2] |= 0x20), // a reply to a NOTIFY
            query.answer(&wrong).changed(|reply| reply[5] = 0),     // of no question
            query.answer(&wrong).changed(|reply| reply.truncate(5)),
            query.answer(&wrong).changed(|reply| reply.clear()),
            query.answer(&[a(IP)]).changed(|reply| reply[13..16].make_ascii_uppercase()),
        ]
    })
    .await;
    let reply = ask(&[upstream.address()]).await.unwrap();
    assert_eq!(answers(&reply), [IP]);
}

#[tokio::test]
async fn f3_an_ipv6_upstream_with_a_zone() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return; // A host without IPv6.
    }
    let upstream = Scripted::start_at("::1", |q| vec![if q.tcp { q.answer(&[a(IP)]) } else { q.truncated() }]).await;
    let zoned = format!("[::1%lo]:{}", upstream.address().port());
    let options = ForwardOptions { upstreams: vec![zoned.parse().unwrap()].into(), ..ForwardOptions::default() };
    let forwarder = Forwarder::new(options);
    let reply = forwarder.ask(&question(), &forwarder.choose(b"\x00", &[])).await.unwrap();
    assert_eq!(answers(&reply), [IP]);
}

#[tokio::test]
async fn f3_a_silent_server_does_not_keep_the_next_one_from_being_asked() {
    let (silent, good) = (Scripted::silent().await, Scripted::start(|query| vec![query.answer(&[a(IP)])]).await);
    for servers in [[silent.address(), good.address()], [good.address(), silent.address()]] {
        assert_eq!(answers(&ask(&servers).await.unwrap()), [IP]);
    }
    silent.query(0).await;
}

#[tokio::test]
async fn f5_a_late_reply_of_the_first_server_is_taken() {
    let gate = Gate::closed();
    let held = gate.clone();
    let late = Scripted::start(move |query| vec![Act::Wait(held.clone()), query.answer(&[a(IP)])]).await;
    let silent = Scripted::silent().await;
    let servers = [late.address(), silent.address()];
    let (reply, ()) = tokio::join!(ask_within(10_000, &servers), async {
        silent.query(0).await;
        gate.open();
    });
    assert_eq!(answers(&reply.unwrap()), [IP]);
}

#[tokio::test]
async fn f3_a_lost_packet_does_not_lose_the_question() {
    let lossy = Scripted::start(|query| if query.number == 0 { vec![] } else { vec![query.answer(&[a(IP)])] }).await;
    let reply = ask_within(10_000, &[lossy.address()]).await.unwrap();
    assert_eq!(answers(&reply), [IP]);
}

#[tokio::test]
async fn f6_a_repeat_is_the_same_datagram_out_of_the_same_socket() {
    for case_randomization in [false, true] {
        let third = Scripted::start(|query| if query.number < 2 { vec![] } else { vec![query.answer(&[a(IP)])] }).await;
        let options = ForwardOptions {
            upstreams: vec![Upstream::new(third.address().into())].into(),
            case_randomization,
            ..ForwardOptions::default()
        };
        let forwarder = Forwarder::new(options);
        let reply = forwarder.ask(&question(), &forwarder.choose(b"\x00", &[])).await.unwrap();
        assert_eq!((answers(&reply), &reply[12..25]), (vec![IP.to_vec()], &b"\x03wWw\x07example\x00"[..]));
        let queries = third.queries();
        assert!(queries.len() >= 3);
        assert!(queries.iter().all(|query| (&query.bytes, query.from) == (&queries[0].bytes, queries[0].from)));
        // What was sent more than once may have another reply on its way: the socket serves no other question.
        forwarder.ask(&question(), &forwarder.choose(b"\x00", &[])).await.unwrap();
        assert_ne!(third.queries().last().unwrap().from, queries[0].from);
    }
}

#[tokio::test]
async fn f3_a_refused_port_moves_on_at_once() {
    let good = Scripted::start(|query| vec![query.answer(&[a(IP)])]).await;
    assert_eq!(answers(&ask(&[refusing(), good.address()]).await.unwrap()), [IP]);
    // Long before the time is over, or it would be said to have timed out.
    let failure = ask(&[refusing()]).await.unwrap_err();
    assert_eq!((failure.rcode, failure.ede), (rcode::SERVFAIL, ede::NETWORK_ERROR));
    assert_eq!(failure.text, "127.0.0.66:1: connection refused");
}

#[tokio::test]
async fn f3_a_server_that_cannot_help_is_passed_over() {
    for code in [rcode::SERVFAIL, rcode::REFUSED, rcode::NOTIMP] {
        for bare in [false, true] {
            let bad = Scripted::start(move |q| vec![if bare { q.bare_error(code) } else { q.error(code) }]).await;
            let good = Scripted::start(|query| vec![query.answer(&[a(IP)])]).await;
            let reply = ask(&[bad.address(), good.address()]).await.unwrap();
            assert_eq!(answers(&reply), [IP], "{code}");
            bad.query(0).await;
        }
    }
}

#[tokio::test]
async fn f3_nxdomain_and_nodata_are_answers() {
    for code in [rcode::NXDOMAIN, rcode::NOERROR] {
        let first = Scripted::start(move |query| vec![query.error(code)]).await;
        let second = Scripted::silent().await;
        let reply = ask(&[first.address(), second.address()]).await.unwrap();
        assert_eq!((rcode_of(&reply), answers(&reply).len()), (code, 0));
    }
}

#[tokio::test]
async fn f3_when_all_fail_the_best_error_is_relayed() {
    let refuses = Scripted::start(|query| vec![query.error(rcode::REFUSED)]).await;
    let fails = Scripted::start(|query| vec![query.error(rcode::SERVFAIL)]).await;
    for order in [[refuses.address(), fails.address()], [fails.address(), refuses.address()]] {
        let reply = ask(&[order[0], refusing(), order[1]]).await.unwrap();
        assert_eq!(rcode_of(&reply), rcode::SERVFAIL);
    }
}

#[tokio::test]
async fn f3_a_server_without_edns_is_asked_again_without() {
    for bare in [false, true] {
        let old = Scripted::start(move |query| match (query.has_opt(), bare) {
            (true, true) => vec![query.bare_error(rcode::FORMERR)],
            (true, false) => vec![query.error(rcode::FORMERR)],
            (false, _) => vec![query.answer(&[a(IP)])],
        })
        .await;
        let reply = ask(&[old.address()]).await.unwrap();
        assert_eq!(answers(&reply), [IP]);
        assert!(old.query(0).await.has_opt() && !old.query(1).await.has_opt());
    }
    let broken = Scripted::start(|query| vec![query.error(rcode::FORMERR)]).await;
    assert_eq!(rcode_of(&ask(&[broken.address()]).await.unwrap()), rcode::FORMERR);
    assert!(!broken.query(1).await.has_opt());
}

#[tokio::test]
async fn f3_a_truncated_reply_is_fetched_over_tcp() {
    let big = Scripted::start(|query| match query.tcp {
        false => vec![query.truncated()],
        // Over TCP too only the reply to the question counts.
        true => {
            vec![query.wrong_id(&[]), query.wrong_question(&[]), query.answer(&[vec![big_txt()], many_a(40)].concat())]
        }
    })
    .await;
    let reply = ask(&[big.address()]).await.unwrap();
    assert_eq!(answers(&reply).len(), 41);
    let (udp, tcp) = (big.query(0).await, big.query(1).await);
    assert!(!udp.tcp && tcp.tcp);
    assert_eq!(udp.question(), tcp.question());
    assert!(tcp.has_opt());
}

#[tokio::test]
async fn f3_a_datagram_larger_than_any_that_we_asked_for_is_fetched_over_tcp() {
    let big = Scripted::start(|query| vec![query.answer(&[big_txt()])]).await;
    let reply = ask(&[big.address()]).await.unwrap();
    assert_eq!(answers(&reply)[0].len(), 17 * 256);
    assert!(big.query(1).await.tcp);
}

#[tokio::test]
async fn f3_records_with_odd_data_come_back_over_tcp_as_they_are() {
    // An A record of five octets, an SRV record of one, and a type that nobody knows.
    let odd = vec![record(rtype::A, b"12345"), record(rtype::SRV, b"x"), record(65_280, b"\xc0\xff")];
    let sent = odd.clone();
    let upstream = Scripted::start(move |q| vec![if q.tcp { q.answer(&sent) } else { q.truncated() }]).await;
    let reply = ask(&[upstream.address()]).await.unwrap();
    assert_eq!(reply, upstream.query(1).await.reply(0, &odd));
}

#[tokio::test]
async fn f3_when_tcp_fails_the_next_server_is_asked() {
    let good = Scripted::start(|query| vec![query.answer(&[a(IP)])]).await;
    let failures: [fn(&Query) -> Act; 4] = [
        |query| Act::SendHalf(query.reply(0, &many_a(40))),
        |_| Act::Close,
        |query| query.error(rcode::SERVFAIL),
        |query| query.answer(&[]).changed(|reply| reply[7] = 1),
    ];
    for fails in failures {
        let cut = Scripted::start(move |q| vec![if q.tcp { fails(q) } else { q.truncated() }]).await;
        assert_eq!(answers(&ask(&[cut.address(), good.address()]).await.unwrap()), [IP]);
    }
}

#[tokio::test]
async fn f3_a_truncated_reply_is_better_than_none() {
    let cut = Scripted::start(|query| match query.tcp {
        false => vec![query.answer(&[a(IP)]).changed(|reply| reply[2] |= 0x02)],
        true => vec![Act::Close],
    })
    .await;
    let fails = Scripted::start(|query| vec![query.error(rcode::SERVFAIL)]).await;
    let reply = ask(&[cut.address(), fails.address()]).await.unwrap();
    assert!(Header::read(&reply).unwrap().has(flag::TC));
    assert_eq!(answers(&reply), [IP]);

    // Also when TCP does not fail but hangs.
    let hangs = Scripted::start(|query| if query.tcp { vec![] } else { vec![query.truncated()] }).await;
    let reply = ask_within(300, &[hangs.address()]).await.unwrap();
    assert!(Header::read(&reply).unwrap().has(flag::TC));
}

#[tokio::test]
async fn f3_a_malformed_reply_is_a_failure_of_its_server() {
    let garbage: [fn(&mut Vec<u8>); 3] =
        [|reply| reply[7] = 9, |reply| reply.truncate(reply.len() - 1), |reply| reply[6..12].fill(0xff)];
    for garbage in garbage {
        let bad = Scripted::start(move |query| vec![query.answer(&[a(IP)]).changed(garbage)]).await;
        let good = Scripted::start(|query| vec![query.answer(&[a(IP)])]).await;
        assert_eq!(answers(&ask(&[bad.address(), good.address()]).await.unwrap()), [IP]);
        let failure = ask(&[bad.address()]).await.unwrap_err();
        assert_eq!((failure.rcode, failure.ede), (rcode::SERVFAIL, ede::NETWORK_ERROR));
        assert_eq!(failure.text, format!("{}: sent a malformed reply", bad.address()));
    }
}

#[tokio::test]
async fn h6_when_nobody_replies_the_failure_says_so() {
    let silent = Scripted::silent().await;
    let failure = ask_within(200, &[silent.address()]).await.unwrap_err();
    assert_eq!((failure.rcode, failure.ede), (rcode::SERVFAIL, ede::NO_REACHABLE_AUTHORITY));
    assert_eq!(failure.text, format!("{}: timed out", silent.address()));
}
