//! UDP and TCP to upstreams, beyond a single question: forgeries, spelling at random, connections that are kept, and how
//! servers are chosen between, by what `Forwarder::upstreams` says of them.

mod support;

use std::collections::HashSet;
use std::time::Duration;

use callsign::forward::{Choice, Failure, ForwardOptions, Forwarder, Order, Question, UpstreamStatus};
use callsign::wire::message::{Header, flag, records};
use callsign::wire::rcode;
use support::upstream::{Act, Gate, Query, Scripted, a, big_txt, many_a};

const IP: [u8; 4] = [192, 0, 2, 1];
const EVIL: [u8; 4] = [6, 6, 6, 6];

struct Asker {
    forwarder: Forwarder,
    choice: Choice,
}

impl Asker {
    fn new(upstreams: &[String], options: ForwardOptions) -> Asker {
        let upstreams: Vec<_> = upstreams.iter().map(|text| text.parse().unwrap()).collect();
        let forwarder = Forwarder::new(ForwardOptions { upstreams: upstreams.into(), ..options });
        let choice = forwarder.choose(b"\x03www\x07example\x00", &[]);
        Asker { forwarder, choice }
    }

    async fn ask(&self) -> Result<Vec<u8>, Failure> {
        let question = b"\x03wWw\x07example\x00\x00\x01\x00\x01".to_vec();
        self.forwarder.ask(&Question { question, flags: flag::RD, dnssec_ok: false }, &self.choice).await
    }

    async fn answer(&self) -> Vec<Vec<u8>> {
        answers(&self.ask().await.unwrap())
    }

    fn status(&self, server: &Scripted) -> UpstreamStatus {
        let address = server.address();
        let mut status = self.forwarder.upstreams().into_iter();
        status.find(|status| status.upstream.address().port() == Some(address.port())).unwrap()
    }
}

/// Plenty of time.
fn patient() -> ForwardOptions {
    ForwardOptions { timeout: Duration::from_secs(60), ..ForwardOptions::default() }
}

fn answers(reply: &[u8]) -> Vec<Vec<u8>> {
    records(reply).map(|record| reply[record.expect("whole records").rdata()].to_vec()).collect()
}

fn plain(server: &Scripted) -> String {
    server.address().to_string()
}

fn tcp(server: &Scripted) -> String {
    format!("tcp://{}", server.address())
}

#[tokio::test]
async fn forgeries_are_counted_and_the_wait_goes_on() {
    let forged = [a(EVIL)];
    let script = move |query: &Query| {
        let elsewhere = query.reply(0, &forged);
        vec![
            query.wrong_id(&forged),
            query.wrong_question(&forged),
            query.answer(&forged).changed(|reply| reply.truncate(11)),
            Act::SendFromElsewhere(elsewhere),
            query.answer(&[a(IP)]),
        ]
    };
    let server = Scripted::start(script).await;
    let asker = Asker::new(&[plain(&server)], patient());
    assert_eq!(asker.answer().await, [IP]);
    // That from elsewhere the kernel has dropped: nobody saw it.
    assert_eq!(asker.status(&server).mismatches, 3);
    let asker = Asker::new(&[tcp(&server)], patient());
    assert_eq!(asker.answer().await, [IP]);
    assert_eq!(asker.status(&server).mismatches, 3);
}

#[tokio::test]
async fn each_query_has_an_id_of_its_own_and_each_socket_a_random_port() {
    let server = Scripted::start(|query| vec![query.answer(&[a(IP)])]).await;
    for _ in 0..64 {
        // With no socket that is left of an earlier question: `forwarding` has a test of those.
        Asker::new(&[plain(&server)], patient()).ask().await.unwrap();
    }
    let queries = server.queries();
    let ports: HashSet<_> = queries.iter().map(|query| query.from.port()).collect();
    let ids: HashSet<_> = queries.iter().map(|query| query.header().id).collect();
    // 64 draws of 28,232 and of 65,536: four of them twice or more once in 10^6 runs and more.
    assert!(ports.len() > queries.len() - 4 && ids.len() > queries.len() - 4, "{} {}", ports.len(), ids.len());
    let differences: HashSet<_> =
        queries.windows(2).map(|pair| pair[1].from.port().wrapping_sub(pair[0].from.port())).collect();
    assert!(differences.len() > 32, "not one after the other");
}

#[tokio::test]
async fn names_spelled_at_random_come_back_as_the_client_spelled_them() {
    let random = || ForwardOptions { case_randomization: true, ..patient() };
    let server = Scripted::start(|query| vec![query.answer(&[a(IP)])]).await;
    let asker = Asker::new(&[plain(&server)], random());
    for _ in 0..20 {
        let reply = asker.ask().await.unwrap();
        assert_eq!(&reply[12..25], b"\x03wWw\x07example\x00");
    }
    let queries = server.queries();
    let spellings: HashSet<_> = queries.iter().map(|query| query.question().to_vec()).collect();
    assert!(spellings.len() > 10 && queries.iter().all(|query| !query.tcp));

    // A server that does not keep the spelling, or a forger who does not know it: asked over TCP, as the client spells it.
    let folds = Scripted::start(|query| match query.tcp {
        false => vec![query.answer(&[a(EVIL)]).changed(|reply| {
            for octet in &mut reply[13..24] {
                *octet ^= u8::from(octet.is_ascii_alphabetic()) << 5;
            }
        })],
        true => vec![query.answer(&[a(IP)])],
    })
    .await;
    let asker = Asker::new(&[plain(&folds)], random());
    let reply = asker.ask().await.unwrap();
    assert_eq!((answers(&reply), &reply[12..25]), (vec![IP.to_vec()], &b"\x03wWw\x07example\x00"[..]));
    assert_eq!(asker.status(&folds).mismatches, 1);
}

#[tokio::test]
async fn tcp_is_one_connection_for_all_and_any_order() {
    // The first reply comes behind all others: it is sent for the last query.
    let first = std::sync::Arc::new(std::sync::Mutex::new(None));
    let script = move |query: &Query| match query.number {
        0 => {
            *first.lock().unwrap() = Some(query.answer(&[a([192, 0, 2, 0])]));
            vec![]
        }
        10 => vec![query.answer(&[a(IP)]), first.lock().unwrap().take().unwrap()],
        _ => vec![query.answer(&[a(IP)])],
    };
    let server = Scripted::start(script).await;
    let asker = Asker::new(&[tcp(&server)], patient());
    let first = async { assert_eq!(asker.answer().await, [[192, 0, 2, 0]]) };
    let others = async {
        server.query(0).await;
        for _ in 0..10 {
            assert_eq!(asker.answer().await, [IP]);
        }
    };
    tokio::join!(first, others);
    let from: HashSet<_> = server.queries().iter().map(|query| query.from).collect();
    assert_eq!((from.len(), asker.status(&server).connections), (1, 1));
    assert!(server.queries().iter().all(|query| query.tcp));
}

#[tokio::test]
async fn tcp_that_the_server_closed_is_made_anew_and_nobody_notices() {
    // It closes after each reply, as servers without pipelining do.
    let server = Scripted::start(|query| vec![query.answer(&[big_txt()]), Act::Close]).await;
    let asker = Asker::new(&[tcp(&server)], patient());
    for _ in 0..5 {
        assert_eq!(asker.answer().await[0].len(), 17 * 256);
    }
    assert_eq!(asker.status(&server).failures, 0);
}

#[tokio::test]
async fn tcp_that_takes_one_question_a_connection_gets_one() {
    let server = Scripted::start(|query| vec![query.answer(&[a(IP)]), Act::Close]).await;
    let asker = std::sync::Arc::new(Asker::new(&[tcp(&server)], patient()));
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let asker = asker.clone();
        asking.spawn(async move { asker.answer().await });
    }
    for answers in asking.join_all().await {
        assert_eq!(answers, [IP]);
    }
}

#[tokio::test]
async fn tcp_octet_by_octet_is_read_and_half_a_reply_is_none() {
    let slow = Scripted::start(|query| vec![Act::SendSlowly(query.reply(0, &many_a(40)))]).await;
    assert_eq!(Asker::new(&[tcp(&slow)], patient()).answer().await.len(), 40);
    let half = Scripted::start(|query| vec![Act::SendHalf(query.reply(0, &many_a(40)))]).await;
    let failure = Asker::new(&[tcp(&half)], patient()).ask().await.unwrap_err();
    assert_eq!(failure.rcode, rcode::SERVFAIL);
    let good = Scripted::start(|query| vec![query.answer(&[a(IP)])]).await;
    assert_eq!(Asker::new(&[tcp(&half), plain(&good)], patient()).answer().await, [IP]);
}

#[tokio::test]
async fn tcp_that_answers_no_more_is_given_up_for_a_new_connection() {
    let server = Scripted::start(|query| match query.number {
        1 => vec![Act::Wait(Gate::closed())],
        _ => vec![query.answer(&[a(IP)])],
    })
    .await;
    let options = ForwardOptions { timeout: Duration::from_secs(5), ..ForwardOptions::default() };
    let asker = Asker::new(&[tcp(&server)], options);
    assert_eq!(asker.answer().await, [IP]);
    assert_eq!(asker.answer().await, [IP]);
    assert_eq!(asker.status(&server).connections, 2);
}

#[tokio::test]
async fn garbage_of_any_length_is_no_reply() {
    const LENGTHS: [usize; 8] = [0, 1, 11, 12, 13, 100, 1232, 4095];
    let script = |query: &Query| {
        let len = LENGTHS[query.number % LENGTHS.len()];
        vec![Act::Send((0..len).map(|octet| (octet * 7) as u8).collect()), query.answer(&[a(IP)])]
    };
    let server = Scripted::start(script).await;
    for upstream in [plain(&server), tcp(&server)] {
        let asker = Asker::new(&[upstream], patient());
        for _ in LENGTHS {
            assert_eq!(asker.answer().await, [IP]);
        }
        assert!(asker.status(&server).mismatches >= 8);
    }
}

#[tokio::test]
async fn f7_an_error_passes_one_question_on_and_moves_no_other() {
    let fails = Scripted::start(|query| vec![query.error(rcode::SERVFAIL)]).await;
    let good = Scripted::start(|query| vec![query.answer(&[a(IP)])]).await;
    let asker = Asker::new(&[plain(&fails), plain(&good)], patient());
    for _ in 0..50 {
        assert_eq!(asker.answer().await, [IP]);
    }
    assert!(asker.status(&fails).well && asker.status(&good).well);
    assert_eq!((fails.queries().len(), good.queries().len()), (50, 50));
}

/// What hangs up on some questions is no reason to leave it; what hangs up on everybody is.
#[tokio::test]
async fn f7_a_connection_that_ends_at_work_demotes_only_a_server_that_hangs_up_on_a_probe_too() {
    let good = Scripted::start(|query| vec![query.answer(&[a([192, 0, 2, 2])])]).await;
    for hangs_up_on_probes in [false, true] {
        let first = Scripted::start(move |query| match query.is_probe() && !hangs_up_on_probes {
            true => vec![query.answer(&[])],
            false => vec![Act::Close],
        })
        .await;
        let asker = Asker::new(&[tcp(&first), plain(&good)], patient());
        let deadline = std::time::Instant::now() + support::DEADLINE;
        for number in 0.. {
            assert_eq!(asker.answer().await, [[192, 0, 2, 2]]);
            // It has had its probe, and a question after that.
            let (status, probes) = (asker.status(&first), first.probes().len());
            let is_decided =
                if hangs_up_on_probes { number > 5 && !status.well } else { status.replies > 0 && number > 50 };
            if probes > 0 && is_decided {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{status:?}");
            tokio::task::yield_now().await;
        }
        assert_eq!(asker.status(&first).well, !hangs_up_on_probes);
    }
}

#[tokio::test]
async fn in_turn_means_that_each_gets_its_share() {
    let one = Scripted::start(|query| vec![query.answer(&[a(IP)])]).await;
    let two = Scripted::start(|query| vec![query.answer(&[a(IP)])]).await;
    let options = ForwardOptions { order: Order::RoundRobin, ..patient() };
    let asker = Asker::new(&[plain(&one), plain(&two)], options);
    for _ in 0..100 {
        let reply = asker.ask().await.unwrap();
        assert!(Header::read(&reply).is_some());
    }
    for server in [&one, &two] {
        assert!((40..=60).contains(&server.queries().len()), "{}", server.queries().len());
    }
}
