//! Slow, dead and choosy upstreams on real sockets (answers.md F5 to F9), in real time: how soon a question is answered, by
//! whom, and how often the servers are asked. What is asked when, without sockets, is tested beside the state machines
//! (`forward::schedule`, `forward::health`).

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use callsign::forward::{Failure, ForwardOptions, Forwarder, Order, Question, Unanswered};
use callsign::table::Upstream;
use callsign::wire::message::{Header, flag, records};
use callsign::wire::{ede, rcode, rtype};
use support::DEADLINE;
use support::log::Log;
use support::upstream::{Act, Gate, Query, Scripted, a, record, refusing};

const MS: Duration = Duration::from_millis(1);
/// What a busy machine may add to a time.
const NOISE: Duration = Duration::from_millis(300);

fn forwarder(servers: &[SocketAddr], change: impl FnOnce(&mut ForwardOptions)) -> Arc<Forwarder> {
    let upstreams = servers.iter().map(|&address| Upstream::new(address.into())).collect();
    let mut options = ForwardOptions { upstreams, ..ForwardOptions::default() };
    change(&mut options);
    Arc::new(Forwarder::new(options))
}

fn listed(servers: &[&Scripted]) -> Arc<Forwarder> {
    forwarder(&servers.iter().map(|server| server.address()).collect::<Vec<_>>(), |_| {})
}

/// A question for the A record of a name of one label.
fn question(label: &str) -> Question {
    let name = [&[label.len() as u8], label.as_bytes(), b"\x00"].concat();
    Question { question: [&name[..], b"\x00\x01\x00\x01"].concat(), flags: flag::RD, dnssec_ok: false }
}

async fn resolve(forwarder: &Arc<Forwarder>, question: &Question) -> Result<Vec<u8>, Failure> {
    let choice = forwarder.choose(question.question.split_last_chunk::<4>().unwrap().0, &[]);
    forwarder.resolve(question, &choice).await.map(|reply| reply.to_vec())
}

/// Whose answer it is: the last octet of its address; 0 if it has none.
fn whose(reply: &[u8]) -> u8 {
    let mut records = records(reply).map(|record| record.expect("whole records"));
    records.find(|record| record.rtype == rtype::A).map_or(0, |record| reply[record.rdata()][3])
}

/// A server that answers after so long.
async fn server(number: u8, after: Duration) -> Scripted {
    Scripted::start(move |query| vec![Act::After(after), query.answer(&[a([192, 0, 2, number])])]).await
}

/// A server that knows no name.
async fn denying(after: Duration) -> Scripted {
    Scripted::start(move |query| {
        let soa = record(rtype::SOA, &[&[0; 18][..], &300_u32.to_be_bytes()].concat());
        let mut reply = query.reply(3, &[soa]);
        // It stands in the authority section.
        reply[6..10].copy_from_slice(&[0, 0, 0, 1]);
        vec![Act::After(after), Act::Send(reply)]
    })
    .await
}

fn is_probe(query: &Query) -> bool {
    query.is_probe()
}

/// Waits until something is so, which is looked at again and again.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never came to be: {what}");
        tokio::time::sleep(MS).await;
    }
}

/// Up to three times until the times are good: other programs of a busy machine may be in the way of one. What is no matter
/// of time is asserted by the attempt.
async fn eventually(mut attempt: impl AsyncFnMut() -> Result<(), String>) {
    let mut said = Vec::new();
    for _ in 0..3 {
        match attempt().await {
            Ok(()) => return,
            Err(times) => said.push(times),
        }
    }
    panic!("{said:#?}");
}

/// It took no longer than that.
fn within(took: Duration, most: Duration) -> Result<(), String> {
    if took <= most { Ok(()) } else { Err(format!("{took:?}, not {most:?}")) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f6_slow_upstreams_answer_and_6_s_are_for_the_next_who_asks() {
    let slow = |delay: u64, most: usize| async move {
        let delay = Duration::from_millis(delay);
        eventually(async || {
            let upstream = server(1, delay).await;
            let forwarder = listed(&[&upstream]);
            let start = Instant::now();
            assert_eq!(whose(&resolve(&forwarder, &question("www")).await.unwrap()), 1, "{delay:?}");
            within(start.elapsed(), delay + NOISE)?;
            let datagrams = upstream.queries().len() + upstream.probes().len();
            assert!(datagrams <= most, "{delay:?}: {datagrams}");
            Ok(())
        })
        .await;
    };
    let slower = eventually(async || {
        let upstream = server(1, Duration::from_secs(6)).await;
        let forwarder = listed(&[&upstream]);
        let start = Instant::now();
        let failure = resolve(&forwarder, &question("www")).await.unwrap_err();
        let took = start.elapsed();
        assert!(took >= 4000 * MS, "{took:?}");
        assert_eq!((failure.rcode, failure.ede), (rcode::SERVFAIL, ede::NO_REACHABLE_AUTHORITY));
        // An answer in place of the failure.
        let failed = forwarder.counters().bytes;
        until("the late answer is kept", || forwarder.counters().bytes != failed).await;
        let asked = upstream.queries().len();
        let reply = resolve(&forwarder, &question("www")).await.unwrap();
        assert_eq!((whose(&reply), upstream.queries().len()), (1, asked), "from the cache");
        within(took, 4000 * MS + NOISE)
    });
    tokio::join!(slow(300, 2), slow(1000, 2), slow(1800, 3), slow(2500, 3), slow(3500, 4), slower);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f6_a_late_answer_is_given_to_who_has_asked_again() {
    let (first, second) = (Gate::closed(), Gate::closed());
    let gates = (first.clone(), second.clone());
    let upstream = Scripted::start(move |query| {
        // Repeats come out of the same socket: only the question that is asked again is behind the second gate.
        static FIRST: OnceLock<SocketAddr> = OnceLock::new();
        let is_first = query.is_probe() || *FIRST.get_or_init(|| query.from) == query.from;
        vec![Act::Wait(if is_first { &gates.0 } else { &gates.1 }.clone()), query.answer(&[a([192, 0, 2, 1])])]
    })
    .await;
    // Failures are not remembered, so that the question is asked again at once.
    let forwarder = forwarder(&[upstream.address()], |options| {
        (options.timeout, options.unanswered) = (Duration::from_secs(1), Unanswered::Silence);
    });
    resolve(&forwarder, &question("www")).await.unwrap_err();
    let again = tokio::spawn({
        let forwarder = forwarder.clone();
        async move { resolve(&forwarder, &question("www")).await }
    });
    let from = upstream.queries()[0].from;
    until("it is asked again", || upstream.queries().iter().any(|query| query.from != from)).await;
    first.open();
    assert_eq!(whose(&again.await.unwrap().expect("the late answer")), 1);
    until("nothing is in flight", || forwarder.counters().in_flight == 0).await;
    let asked = upstream.queries().len();
    assert_eq!(whose(&resolve(&forwarder, &question("www")).await.unwrap()), 1);
    assert_eq!(upstream.queries().len(), asked, "from the cache");
    drop(second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f5_names_that_only_the_company_knows_are_found_40_of_40() {
    // A public resolver behind it that is quicker, and one that is slower.
    let found = |behind: Duration, company: Duration| async move {
        let (company, public) = (server(1, company).await, denying(behind).await);
        let forwarder = listed(&[&company, &public]);
        for number in 0..40 {
            let reply = resolve(&forwarder, &question(&format!("n{number}"))).await.unwrap();
            assert_eq!(whose(&reply), 1, "{number}");
        }
        public.queries().len()
    };
    let (quick, slow, late) = tokio::join!(found(5 * MS, 20 * MS), found(50 * MS, 20 * MS), found(5 * MS, 300 * MS));
    assert!(quick < 4 && slow < 4, "names of the company are not told: {quick} {slow}");
    // It was not known as yet how slow it is.
    assert!(late < 6, "{late}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f5_a_first_server_dead_from_the_start_costs_one_patience_once() {
    let log = Log::listen();
    eventually(async || {
        let (dead, second) = (Scripted::silent().await, server(2, 20 * MS).await);
        let forwarder = listed(&[&dead, &second]);
        let mut took = Vec::new();
        for number in 0..20 {
            let start = Instant::now();
            assert_eq!(whose(&resolve(&forwarder, &question(&format!("n{number}"))).await.unwrap()), 2);
            took.push(start.elapsed());
        }
        assert!(took[0] >= 490 * MS, "{took:?}");
        within(took[0], 600 * MS)?;
        took[1..].iter().try_for_each(|took| within(*took, 120 * MS))?;
        assert_eq!(dead.queries().len(), 1, "it is passed over");
        let address = dead.address();
        let why = "no reply to a query, nor to a probe within 500ms";
        assert_eq!(log.of(address), [format!("WARN upstream {address} is slow or does not answer: {why}")]);
        Ok(())
    })
    .await;
}

/// As over TLS on a long way: it closes each connection after a reply, and to make another one and ask takes longer than the
/// patience for a stranger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f5_a_first_server_over_tcp_that_is_slow_and_closes_connections_answers_once_it_is_known() {
    let first =
        Scripted::start(|query| vec![Act::After(600 * MS), query.answer(&[a([192, 0, 2, 1])]), Act::Close]).await;
    let second = server(2, MS).await;
    let upstreams = [format!("tcp://{}", first.address()), second.address().to_string()];
    let upstreams = upstreams.iter().map(|text| text.parse().unwrap()).collect();
    let forwarder = Arc::new(Forwarder::new(ForwardOptions { upstreams, ..ForwardOptions::default() }));
    resolve(&forwarder, &question("stranger")).await.unwrap();
    let is_known = || forwarder.upstreams().iter().any(|status| status.well && status.usual > Some(600 * MS));
    until("it is known how slow it is", is_known).await;
    let told = second.queries().len();
    for number in 0..3 {
        assert_eq!(whose(&resolve(&forwarder, &question(&format!("n{number}"))).await.unwrap()), 1, "{number}");
    }
    assert_eq!(second.queries().len(), told, "names of the company are not told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f5_a_negative_answer_waits_for_the_first_server_until_it_is_known_to_be_dead() {
    eventually(async || {
        let (dead, second) = (Scripted::silent().await, denying(MS).await);
        let forwarder = listed(&[&dead, &second]);
        let start = Instant::now();
        let reply = resolve(&forwarder, &question("www")).await.unwrap();
        assert_eq!(Header::read(&reply).unwrap().rcode(), rcode::NXDOMAIN);
        assert!(start.elapsed() >= 490 * MS, "{:?}", start.elapsed());
        within(start.elapsed(), 800 * MS)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f7_a_server_that_dies_is_demoted_logged_once_and_used_again_when_it_is_back() {
    let log = Log::listen();
    let is_dead = Arc::new(AtomicBool::new(false));
    let state = is_dead.clone();
    let first = Scripted::start(move |query| match state.load(Ordering::Relaxed) {
        true => vec![],
        false => vec![query.answer(&[a([192, 0, 2, 1])])],
    })
    .await;
    let second = server(2, 20 * MS).await;
    let forwarder = listed(&[&first, &second]);
    for number in 0..10 {
        assert_eq!(whose(&resolve(&forwarder, &question(&format!("a{number}"))).await.unwrap()), 1);
    }
    assert_eq!(second.queries().len(), 0);
    is_dead.store(true, Ordering::Relaxed);
    // Those in flight wait for one patience at most.
    let asking: Vec<_> = (0..50)
        .map(|number| {
            let forwarder = forwarder.clone();
            tokio::spawn(async move {
                let start = Instant::now();
                let reply = resolve(&forwarder, &question(&format!("b{number}"))).await.unwrap();
                (whose(&reply), start.elapsed())
            })
        })
        .collect();
    for asked in asking {
        let (whose, took) = asked.await.unwrap();
        assert!(whose == 2 && took < 400 * MS + NOISE, "{whose} {took:?}");
    }
    until("it is demoted", || !forwarder.upstreams().iter().all(|upstream| upstream.well)).await;
    let start = Instant::now();
    for number in 0..10 {
        assert_eq!(whose(&resolve(&forwarder, &question(&format!("c{number}"))).await.unwrap()), 2);
    }
    assert!(start.elapsed() < 10 * 20 * MS + NOISE, "{:?}", start.elapsed());
    is_dead.store(false, Ordering::Relaxed);
    let mut number = 0;
    while !forwarder.upstreams().iter().all(|upstream| upstream.well) {
        assert!(start.elapsed() < DEADLINE);
        resolve(&forwarder, &question(&format!("d{number}"))).await.unwrap();
        number += 1;
    }
    assert!(start.elapsed() >= 300 * MS, "tried after 1 s: {:?}", start.elapsed());
    assert_eq!(whose(&resolve(&forwarder, &question("back")).await.unwrap()), 1);
    let address = first.address();
    let lines = log.of(address);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with(&format!("WARN upstream {address} is slow or does not answer: no reply")),
        "{lines:?}"
    );
    assert_eq!(lines[1], format!("INFO upstream {address} answers again"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f7_a_port_that_nobody_listens_on_is_demoted_and_logged_with_what_the_system_said() {
    let log = Log::listen();
    let second = server(2, MS).await;
    // A port 1 of its own, so that no other test's lines are of it.
    let nobody: SocketAddr = "127.0.0.67:1".parse().unwrap();
    let forwarder = forwarder(&[nobody, second.address()], |_| {});
    for number in 0..5 {
        assert_eq!(whose(&resolve(&forwarder, &question(&format!("n{number}"))).await.unwrap()), 2);
    }
    assert_eq!(log.of(nobody), ["WARN upstream 127.0.0.67:1 does not answer: connection refused"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f7_strict_remembers_nothing_and_logs_it_once() {
    let log = Log::listen();
    let (dead, second) = (Scripted::silent().await, server(2, MS).await);
    let strict = |options: &mut ForwardOptions| (options.order, options.timeout) = (Order::Strict, 200 * MS);
    let forwarder = forwarder(&[dead.address(), second.address()], strict);
    for number in 0..3 {
        assert_eq!(whose(&resolve(&forwarder, &question(&format!("n{number}"))).await.unwrap()), 2);
    }
    assert!(dead.queries().len() >= 3 && dead.probes().is_empty());
    let address = dead.address();
    let line = format!("WARN upstream {address} is slow or does not answer: no reply within its share of the time");
    assert_eq!(log.of(address), [line]);
}

/// One client asks 100 questions a second that the first server refuses, and another its own: they stay with the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f7_questions_that_are_refused_move_nobody_elses() {
    let first = Scripted::start(|query| {
        let is_refused = query.header().flags & flag::RD == 0 || query.question()[1] == b'x';
        vec![if is_refused { query.error(rcode::REFUSED) } else { query.answer(&[a([192, 0, 2, 1])]) }]
    })
    .await;
    let second = server(2, MS).await;
    let forwarder = listed(&[&first, &second]);
    let flooder = forwarder.clone();
    let flood = tokio::spawn(async move {
        let mut clock = tokio::time::interval(10 * MS);
        for number in 0.. {
            clock.tick().await;
            // With RD=0, and for names that it refuses to whoever asks.
            let label = if number % 2 == 0 { format!("r{number}") } else { format!("x{number}") };
            let asked = Question { flags: if number % 2 == 0 { 0 } else { flag::RD }, ..question(&label) };
            let _ = resolve(&flooder, &asked).await;
        }
    });
    let mut clock = tokio::time::interval(40 * MS);
    for number in 0..25 {
        clock.tick().await;
        assert_eq!(whose(&resolve(&forwarder, &question(&format!("n{number}"))).await.unwrap()), 1, "{number}");
    }
    flood.abort();
    assert!(forwarder.upstreams().iter().all(|upstream| upstream.well));
    assert!(second.queries().iter().all(|query| query.question()[1] == b'x'), "no upstream is asked with RD=0");
}

/// One client asks for names whose answers the first server truncates, and that has no TCP port.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f7_truncated_answers_of_a_server_without_tcp_move_nobody_elses() {
    let log = Log::listen();
    let first = Scripted::without_tcp(|query| match query.question()[1] {
        b'x' => vec![query.truncated()],
        _ => vec![query.answer(&[a([192, 0, 2, 1])])],
    })
    .await;
    let second = server(2, MS).await;
    for order in [Order::Listed, Order::Fastest, Order::Strict] {
        let forwarder = forwarder(&[first.address(), second.address()], |options| options.order = order);
        for number in 0..20 {
            resolve(&forwarder, &question(&format!("x{number}"))).await.unwrap();
            let reply = resolve(&forwarder, &question(&format!("n{number}"))).await.unwrap();
            assert!(order == Order::Fastest || whose(&reply) == 1, "{order:?}: {number}");
        }
        let first = Upstream::new(first.address().into());
        let status = forwarder.upstreams().into_iter().find(|status| status.upstream == first).unwrap();
        assert!(order == Order::Fastest || status.well, "{order:?}: it answers every datagram");
    }
    assert_eq!(log.of(first.address()), [""; 0]);
}

/// A server that changes the spelling of names is asked over TCP, and it has none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f7_a_server_that_lower_cases_and_has_no_tcp_stays_well() {
    let log = Log::listen();
    let lowering =
        |query: &Query| query.answer(&[a([192, 0, 2, 1])]).changed(|reply| reply[12..].make_ascii_lowercase());
    let upstream = Scripted::without_tcp(move |query| vec![lowering(query)]).await;
    let forwarder = forwarder(&[upstream.address()], |options| options.case_randomization = true);
    let failure =
        resolve(&forwarder, &question("abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz")).await.unwrap_err();
    assert!(failure.text.ends_with("connection refused"), "{failure}");
    assert!(forwarder.upstreams()[0].well);
    assert_eq!(log.of(upstream.address()), [""; 0]);
}

/// One client asks for names that the first server never answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f7_names_that_are_never_answered_move_nobody_elses() {
    let first = Scripted::start(|query| match is_probe(query) || query.question()[1] != b'x' {
        true => vec![query.answer(&[a([192, 0, 2, 1])])],
        false => vec![],
    })
    .await;
    let second = server(2, MS).await;
    let forwarder = listed(&[&first, &second]);
    let mut clock = tokio::time::interval(25 * MS);
    let mut tarpit = Vec::new();
    for number in 0..60 {
        clock.tick().await;
        let flooder = forwarder.clone();
        let asked = question(&format!("x{number}"));
        tarpit.push(tokio::spawn(async move { resolve(&flooder, &asked).await.map(|reply| whose(&reply)) }));
        if number % 10 == 9 {
            assert_eq!(whose(&resolve(&forwarder, &question(&format!("n{number}"))).await.unwrap()), 1, "{number}");
        }
    }
    for asked in tarpit {
        assert_eq!(asked.await.unwrap(), Ok(2), "the next server's answer counts for this question");
    }
    assert!(forwarder.upstreams().iter().all(|upstream| upstream.well));
    assert!((1..=8).contains(&first.probes().len()), "{}", first.probes().len());
}

#[tokio::test]
async fn f9_neither_rd_nor_ad_splits_what_is_asked_once() {
    let upstream = server(1, 100 * MS).await;
    let forwarder = listed(&[&upstream]);
    let asked = [0, flag::RD, flag::AD, flag::RD | flag::AD].map(|flags| {
        let (forwarder, asked) = (forwarder.clone(), Question { flags, ..question("www") });
        tokio::spawn(async move { resolve(&forwarder, &asked).await.map(|reply| whose(&reply)) })
    });
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Ok(1));
    }
    assert_eq!((upstream.queries().len(), forwarder.counters().coalesced), (1, 3));
    assert_eq!(upstream.queries()[0].header().flags & flag::RD, flag::RD);
    // Later ones neither, where the answer is there; one that wants AD asks for it once.
    resolve(&forwarder, &Question { flags: 0, ..question("www") }).await.unwrap();
    assert_eq!(upstream.queries().len(), 1);
    for _ in 0..2 {
        resolve(&forwarder, &Question { flags: flag::AD, ..question("www") }).await.unwrap();
        assert_eq!(upstream.queries().len(), 2);
    }
}

#[tokio::test]
async fn f9_who_did_not_ask_for_ad_does_not_get_it() {
    let signed = |query: &Query| query.answer(&[a([192, 0, 2, 1])]).changed(|reply| reply[3] |= flag::AD as u8);
    let upstream = Scripted::start(move |query| vec![Act::After(50 * MS), signed(query)]).await;
    let forwarder = listed(&[&upstream]);
    let asked = |flags| {
        let (forwarder, asked) = (forwarder.clone(), Question { flags, ..question("www") });
        tokio::spawn(async move { Header::read(&resolve(&forwarder, &asked).await.unwrap()).unwrap().has(flag::AD) })
    };
    let first = asked(flag::AD);
    upstream.query(0).await;
    let second = asked(0);
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (true, false));
}

#[tokio::test]
async fn f8_a_first_reply_is_clamped_as_those_from_the_cache() {
    let ttl = |ttl: u32| {
        let mut record = a([192, 0, 2, 1]);
        record[6..10].copy_from_slice(&ttl.to_be_bytes());
        record
    };
    let upstream = Scripted::start(move |query| vec![query.answer(&[ttl(i32::MAX as u32), ttl(60)])]).await;
    let forwarder = listed(&[&upstream]);
    let ttls = |reply: Vec<u8>| {
        let records = records(&reply).map(|record| record.unwrap()).filter(|record| record.rtype == rtype::A);
        records.map(|record| record.ttl).collect::<Vec<_>>()
    };
    let first = ttls(resolve(&forwarder, &question("www")).await.unwrap());
    let second = ttls(resolve(&forwarder, &question("www")).await.unwrap());
    assert_eq!((&first, upstream.queries().len()), (&vec![86_400, 60], 1));
    assert!(second == first || second == [86_399, 59], "{second:?}");
    let top = Scripted::start(move |query| vec![query.answer(&[ttl(0x8000_0000)])]).await;
    assert_eq!(ttls(resolve(&listed(&[&top]), &question("www")).await.unwrap()), [0]);
}

#[tokio::test]
async fn h6_what_clients_hear_of_an_upstream_is_its_address_and_port() {
    let upstreams = ["https://127.0.0.66:1/SECRET-profile?ca=/etc/SECRET.pem#SECRET.example", "tcp://127.0.0.66:1"];
    let upstreams: Vec<Upstream> = upstreams.iter().map(|text| text.parse().unwrap()).collect();
    let options = ForwardOptions { upstreams: upstreams.into(), timeout: 2000 * MS, ..ForwardOptions::default() };
    let forwarder = Arc::new(Forwarder::new(options));
    // When it happens, and when it is remembered.
    for _ in 0..2 {
        let failure = resolve(&forwarder, &question("www")).await.unwrap_err();
        assert_eq!(failure.rcode, rcode::SERVFAIL);
        let text = failure.text.to_string();
        assert!(text.contains("127.0.0.66:1: connection") && !text.contains("SECRET") && !text.contains('/'), "{text}");
    }
    let failure = resolve(&self::forwarder(&[refusing()], |_| {}), &question("www")).await.unwrap_err();
    assert_eq!(failure.text, "127.0.0.66:1: connection refused");
}
