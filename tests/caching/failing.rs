//! Upstreams that fail: failures remembered (RFC 9520), answers past their TTL (RFC 8767), too many questions.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use callsign::forward::ForwardOptions;
use callsign::server::Limits;
use callsign::wire::{ede, rcode, rtype};

use super::support::client::{Query, Reply};
use super::support::upstream::{Act, Gate, Scripted, a, record, refusing};
use super::{Served, asking, until};

const IP: [u8; 4] = [192, 0, 2, 1];

/// What the upstream does at the moment.
const ANSWERS: u8 = 0;
const FAILS: u8 = 1;
const SILENT: u8 = 2;
const DENIES: u8 = 3;

/// An upstream whose state the test sets.
async fn moody() -> (Scripted, Arc<AtomicU8>) {
    let mood = Arc::new(AtomicU8::new(ANSWERS));
    let own = mood.clone();
    let upstream = Scripted::start(move |query| match own.load(Ordering::Relaxed) {
        ANSWERS => vec![query.answer(&[a(IP)])],
        FAILS => vec![query.error(rcode::SERVFAIL)],
        DENIES => {
            let soa = record(rtype::SOA, &[&[0; 18][..], &1_u32.to_be_bytes()].concat());
            vec![Act::Send(query.reply(3, &[soa])).changed(|reply| reply[6..10].copy_from_slice(&[0, 0, 0, 1]))]
        }
        _ => vec![],
    })
    .await;
    (upstream, mood)
}

fn www() -> Query {
    Query::new("www.example", rtype::A).edns(1232)
}

/// Lets the question fail often enough to be remembered for 30 s, which is longer than a test takes.
fn fail_for_long(served: &Served) {
    for _ in 0..6 {
        served.client().udp(&www());
        served.pass(30);
    }
    served.client().udp(&www());
}

#[track_caller]
fn assert_stale(reply: &Reply) {
    assert_eq!((reply.status(), reply.addresses()), ("NOERROR".into(), vec![IP.into()]));
    assert_eq!((reply.message.answers[0].ttl, reply.extended_errors()), (30, vec![(ede::STALE_ANSWER, String::new())]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_remembered_and_said_to_be_one() {
    let (upstream, mood) = moody().await;
    mood.store(FAILS, Ordering::Relaxed);
    let served = Served::new(asking(&upstream)).await;
    let first = served.client().udp(&www());
    assert_eq!((first.status(), first.extended_errors()), ("SERVFAIL".into(), vec![]), "as the upstream said it");
    fail_for_long(&served);
    let asked = (upstream.queries().len(), served.counters().cached_failures);
    for reply in [served.client().udp(&www()), served.client().tcp(&www())] {
        let text = "an upstream said SERVFAIL a moment ago".to_owned();
        assert_eq!((reply.status(), reply.extended_errors()), ("SERVFAIL".into(), vec![(ede::CACHED_ERROR, text)]));
    }
    assert_eq!((upstream.queries().len(), served.counters().cached_failures), (asked.0, asked.1 + 2));
    served.pass(30);
    mood.store(ANSWERS, Ordering::Relaxed);
    assert_eq!(served.client().udp(&www()).addresses(), [IpAddr::from(IP)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_reached_is_a_failure_too() {
    let upstreams = vec![callsign::table::Upstream::new(refusing().into())].into();
    let served = Served::new(ForwardOptions { upstreams, ..ForwardOptions::default() }).await;
    let code = || served.client().udp(&www()).extended_errors()[0].0;
    assert_eq!(code(), ede::NETWORK_ERROR);
    fail_for_long(&served);
    assert_eq!(code(), ede::CACHED_ERROR);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_answer_is_given_when_the_upstream_goes_silent() {
    let (upstream, mood) = moody().await;
    let options = ForwardOptions {
        stale_after: Duration::from_millis(20),
        timeout: Duration::from_millis(500),
        ..asking(&upstream)
    };
    let served = Served::new(options).await;
    served.client().udp(&www());
    served.pass(300);
    mood.store(SILENT, Ordering::Relaxed);
    let asked = std::time::Instant::now();
    assert_stale(&served.client().udp(&www()));
    assert!(asked.elapsed() >= Duration::from_millis(20), "it was asked first");
    until("asking is given up", || served.counters().in_flight == 0).await;
    // The failure is remembered: at once, without asking.
    mood.store(FAILS, Ordering::Relaxed);
    fail_for_long(&served);
    let (queries, stale) = (upstream.queries().len(), served.counters().stale);
    for reply in [served.client().udp(&www()), served.client().tcp(&www())] {
        assert_stale(&reply);
    }
    assert_eq!((upstream.queries().len(), served.counters().stale), (queries, stale + 2));
    // It is back.
    mood.store(ANSWERS, Ordering::Relaxed);
    served.pass(30);
    assert_eq!(served.client().udp(&www()).extended_errors(), []);
    // Not for ever.
    mood.store(FAILS, Ordering::Relaxed);
    served.pass(300 + 24 * 60 * 60);
    assert_eq!(served.client().udp(&www()).status(), "SERVFAIL");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_reply_is_no_better_than_an_old_answer() {
    let (upstream, mood) = moody().await;
    let served = Served::new(asking(&upstream)).await;
    served.client().udp(&www());
    served.pass(300);
    mood.store(FAILS, Ordering::Relaxed);
    assert_stale(&served.client().udp(&www()));
    // Unless the operator wants none.
    let served = Served::new(ForwardOptions { stale_for: Duration::ZERO, ..asking(&upstream) }).await;
    mood.store(ANSWERS, Ordering::Relaxed);
    served.client().udp(&www());
    served.pass(300);
    mood.store(FAILS, Ordering::Relaxed);
    assert_eq!(served.client().udp(&www()).status(), "SERVFAIL");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_gone_is_not_given_back() {
    let (upstream, mood) = moody().await;
    let served = Served::new(asking(&upstream)).await;
    served.client().udp(&www());
    mood.store(DENIES, Ordering::Relaxed);
    // The question that finds out is one for another type.
    assert_eq!(served.client().udp(&Query::new("www.example", rtype::AAAA)).status(), "NXDOMAIN");
    mood.store(FAILS, Ordering::Relaxed);
    served.pass(300);
    assert_eq!(served.client().udp(&www()).status(), "SERVFAIL");
}

/// Also where the upstream says it in a way that is not cached: without an SOA.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_gone_without_an_soa_is_not_given_back() {
    let mood = Arc::new(AtomicU8::new(0));
    let now = mood.clone();
    let upstream = Scripted::start(move |query| match now.load(Ordering::Relaxed) {
        0 => vec![query.answer(&[a(IP)])],
        1 => vec![query.error(rcode::NXDOMAIN)],
        _ => vec![query.error(rcode::SERVFAIL)],
    })
    .await;
    let served = Served::new(asking(&upstream)).await;
    served.client().udp(&www());
    mood.store(1, Ordering::Relaxed);
    assert_eq!(served.client().udp(&Query::new("www.example", rtype::AAAA)).status(), "NXDOMAIN");
    mood.store(2, Ordering::Relaxed);
    served.pass(300);
    assert_eq!(served.client().udp(&www()).status(), "SERVFAIL");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_questions_are_turned_down_at_once_or_get_old_answers() {
    let gate = Gate::closed();
    let held = gate.clone();
    let upstream = Scripted::start(move |query| match query.question()[1] {
        b'h' => vec![Act::Wait(held.clone()), query.answer(&[a(IP)])],
        _ => vec![query.answer(&[a(IP)])],
    })
    .await;
    let mut limits = Limits::default();
    (limits.forwards, limits.forwards_per_client) = (1, 1);
    let options = ForwardOptions { timeout: Duration::from_secs(60), ..asking(&upstream) };
    let served = Served::limited(options, limits).await;
    served.client().udp(&www());
    until("it is done", || served.server.status().forwards == 0).await;
    served.pass(300);
    let client = served.client();
    let held = tokio::task::spawn_blocking(move || client.udp(&Query::new("held.example", rtype::A)));
    upstream.query(1).await;
    for _ in 0..2 {
        assert_stale(&served.client().udp(&www()));
        assert_stale(&served.client().tcp(&www()));
        let refused = served.client().udp(&Query::new("new.example", rtype::A).edns(1232));
        assert_eq!((refused.status(), refused.extended_errors()[0].0), ("SERVFAIL".into(), ede::OTHER));
    }
    assert_eq!((upstream.queries().len(), served.counters().overloaded), (2, 2));
    gate.open();
    assert_eq!(held.await.unwrap().addresses(), [IpAddr::from(IP)]);
}
