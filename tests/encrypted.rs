//! Encrypted upstreams (issue: DNS over TLS, HTTPS, QUIC): who is believed, what comes through, and that nothing is ever
//! asked in another way than the URL says. Scripted servers with certificates of a test's own authority.

mod support;

use std::sync::Arc;
use std::time::Duration;

use callsign::forward::{Choice, Failure, ForwardOptions, Forwarder, Question};
use callsign::wire::message::{Header, flag, question_end, records};
use callsign::wire::{ede, rcode, rtype};
use rustls::ServerConfig;
use support::certificates::{Authority, Identity};
use support::encrypted::{https, quic, tls};
use support::upstream::{Act, Gate, Query, Scripted, a, big_txt, many_a, record};

const IP: [u8; 4] = [192, 0, 2, 1];
const NAME: &str = "dns.corp.example";
/// Scheme and protocol of each.
const ALL: [(&str, &str); 3] = [("tls", "dot"), ("https", "h2"), ("quic", "doq")];

fn question() -> Question {
    Question { question: b"\x03wWw\x07example\x00\x00\x01\x00\x01".to_vec(), flags: flag::RD, dnssec_ok: false }
}

fn forwarder(timeout: u64, upstreams: &[String]) -> (Forwarder, Choice) {
    let upstreams: Vec<_> = upstreams.iter().map(|text| text.parse().unwrap()).collect();
    let timeout = Duration::from_millis(timeout);
    let forwarder =
        Forwarder::new(ForwardOptions { timeout, upstreams: upstreams.into(), ..ForwardOptions::default() });
    let choice = forwarder.choose(b"\x03www\x07example\x00", &[]);
    (forwarder, choice)
}

async fn ask(upstreams: &[String]) -> Result<Vec<u8>, Failure> {
    let (forwarder, choice) = forwarder(20_000, upstreams);
    forwarder.ask(&question(), &choice).await
}

async fn start(
    scheme: &str,
    config: Arc<ServerConfig>,
    script: impl Fn(&Query) -> Vec<Act> + Send + Sync + 'static,
) -> Scripted {
    match scheme {
        "tls" => tls(config, script).await,
        "https" => https(config, script).await,
        _ => quic(config, script).await,
    }
}

fn url(scheme: &str, server: &Scripted, rest: &str) -> String {
    let path = if scheme == "https" { "/dns-query" } else { "" };
    format!("{scheme}://{}{path}{rest}", server.address())
}

fn trusting(authority: &Authority) -> String {
    format!("?ca={}#{NAME}", authority.file().display())
}

fn answers(reply: &[u8]) -> Vec<Vec<u8>> {
    let answers = records(reply).map(|record| record.expect("whole records"));
    answers.filter(|record| record.rtype != rtype::OPT).map(|record| reply[record.rdata()].to_vec()).collect()
}

#[tokio::test]
async fn the_reply_comes_as_it_was_sent_and_the_question_as_it_was_asked() {
    let authority = Authority::new();
    let identity = authority.identity(&[NAME]);
    for (scheme, alpn) in ALL {
        // An unknown type, 40 addresses and 4 KiB of text.
        let sent = [vec![record(65_280, b"\xc0\xff"), big_txt()], many_a(40)].concat();
        let script = move |query: &Query| vec![query.answer(&sent)];
        let server = start(scheme, identity.server(alpn), script).await;
        let asked = Question { flags: 0xffff, dnssec_ok: true, ..question() };
        let (forwarder, choice) = forwarder(20_000, &[url(scheme, &server, &trusting(&authority))]);
        let reply = forwarder.ask(&asked, &choice).await.unwrap();
        let query = server.query(0).await;
        assert_eq!(answers(&reply).len(), 42, "{scheme}");
        assert_eq!(
            reply[2..],
            query.reply(0, &[vec![record(65_280, b"\xc0\xff"), big_txt()], many_a(40)].concat())[2..]
        );
        assert_eq!(query.question(), asked.question, "{scheme}: spelled as the client did");
        assert_eq!(query.header().flags, flag::RD | flag::CD | flag::AD, "{scheme}");
        assert!(query.bytes.ends_with(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0]), "{scheme}: {:?}", query.bytes);
    }
}

#[tokio::test]
async fn records_with_odd_data_come_through_over_tls() {
    let authority = Authority::new();
    let odd = vec![record(rtype::A, b"12345"), record(rtype::SRV, b"x")];
    let sent = odd.clone();
    let server = tls(authority.identity(&[NAME]).server("dot"), move |query| vec![query.answer(&sent)]).await;
    let reply = ask(&[url("tls", &server, &trusting(&authority))]).await.unwrap();
    assert_eq!(reply, server.query(0).await.reply(0, &odd));
}

#[tokio::test]
async fn one_connection_serves_many_questions_in_any_order() {
    let authority = Authority::new();
    for (scheme, alpn) in ALL {
        let gate = Gate::closed();
        let held = gate.clone();
        // The first is answered last; over TLS it is also the order of one connection that is changed: by the script.
        let script = move |query: &Query| match query.number {
            0 if scheme != "tls" => vec![Act::Wait(held.clone()), query.answer(&[a(IP)])],
            _ => vec![query.answer(&[a(IP)])],
        };
        let server = start(scheme, authority.identity(&[NAME]).server(alpn), script).await;
        let (forwarder, choice) = forwarder(20_000, &[url(scheme, &server, &trusting(&authority))]);
        let question = question();
        let first = async {
            let reply = forwarder.ask(&question, &choice).await;
            assert_eq!(answers(&reply.unwrap()), [IP]);
        };
        let others = async {
            server.query(0).await;
            for _ in 0..20 {
                assert_eq!(answers(&forwarder.ask(&question, &choice).await.unwrap()), [IP]);
            }
            gate.open();
        };
        tokio::join!(first, others);
        let from: Vec<_> = server.queries().iter().map(|query| query.from).collect();
        // Not one more than is needed, but for a connection that is asked again on a slow machine.
        assert!(from.iter().collect::<std::collections::HashSet<_>>().len() <= 2, "{scheme}: {from:?}");
        let status = &forwarder.upstreams()[0];
        assert!(status.well && status.replies >= 21, "{status:?}");
    }
}

#[tokio::test]
async fn who_is_not_who_it_should_be_is_not_asked() {
    let log = support::log::Log::listen();
    let (authority, other) = (Authority::new(), Authority::new());
    let trusted = trusting(&authority);
    let ca = format!("?ca={}", authority.file().display());
    let pinned = |identity: &Identity| format!("?pin-sha256={}", identity.pin());
    let good = authority.identity(&[NAME]);
    let cases: Vec<(&str, Identity, String, &str)> = vec![
        ("another name", authority.identity(&["evil.example"]), trusted.clone(), "not valid for name"),
        ("the name, but asked for the address", authority.identity(&[NAME]), ca.clone(), "not valid for name"),
        ("expired", authority.expired(&[NAME]), trusted.clone(), "expired"),
        ("another authority", other.identity(&[NAME]), trusted.clone(), "BadSignature|UnknownIssuer"),
        ("self-signed", Identity::self_signed(&[NAME]), trusted.clone(), "BadSignature|UnknownIssuer"),
        ("nobody that the system knows", authority.identity(&[NAME]), format!("#{NAME}"), "UnknownIssuer|authorities"),
        ("another key", authority.identity(&[NAME]), pinned(&good), "pinned"),
    ];
    for (scheme, alpn) in ALL {
        for (case, identity, rest, said) in &cases {
            let server = start(scheme, identity.server(alpn), |query| vec![query.answer(&[a(IP)])]).await;
            let failure = ask(&[url(scheme, &server, rest)]).await.unwrap_err();
            assert_eq!((failure.rcode, failure.ede), (rcode::SERVFAIL, ede::NETWORK_ERROR), "{scheme}, {case}");
            // The log has what is wrong with it, and clients hear that it is (answers.md H6).
            let lines = log.of(server.address());
            assert!(
                lines.len() == 1 && said.split('|').any(|said| lines[0].contains(said)),
                "{scheme}, {case}: {lines:?}"
            );
            let address = server.address();
            let told = ["TLS handshake failed", "connection failed"].map(|text| format!("{address}: {text}"));
            assert!(told.contains(&failure.text.to_string()), "{scheme}, {case}: {failure}");
            assert_eq!(server.queries().len(), 0, "{scheme}, {case}");
        }
    }
}

#[tokio::test]
async fn who_is_who_it_should_be_is_asked() {
    let authority = Authority::new();
    let ca = format!("?ca={}", authority.file().display());
    let (good, own) = (authority.identity(&[NAME]), Identity::self_signed(&["whatever.example"]));
    let cases = [
        ("by name", authority.identity(&["x.example", NAME]), format!("{ca}#{NAME}")),
        ("by address", authority.identity(&["127.0.0.1"]), ca.clone()),
        ("by its key alone", Identity::self_signed(&["whatever.example"]), String::new()),
        ("by all", authority.identity(&[NAME]), String::new()),
    ];
    for (scheme, alpn) in ALL {
        for (case, identity, rest) in &cases {
            let rest = match *case {
                "by its key alone" => format!("?pin-sha256={}&pin-sha256={}", good.pin(), identity.pin()),
                "by all" => format!("{ca}&pin-sha256={}&pin-sha256={}#{NAME}", own.pin(), identity.pin()),
                _ => rest.clone(),
            };
            let server = start(scheme, identity.server(alpn), |query| vec![query.answer(&[a(IP)])]).await;
            let reply = ask(&[url(scheme, &server, &rest)]).await;
            assert_eq!(answers(&reply.unwrap_or_else(|error| panic!("{scheme}, {case}: {error}"))), [IP]);
        }
    }
}

#[tokio::test]
async fn encrypted_means_encrypted() {
    // A server of plain DNS, UDP and TCP, where TLS, HTTPS or QUIC should be.
    let script = |query: &Query| match question_end(&query.bytes) {
        Some(_) => vec![query.answer(&[a(IP)])],
        None => vec![],
    };
    let plain = Scripted::start(script).await;
    for (scheme, _) in ALL {
        let (forwarder, choice) = forwarder(1000, &[url(scheme, &plain, &format!("#{NAME}"))]);
        let failure = forwarder.ask(&question(), &choice).await.unwrap_err();
        assert_eq!(failure.rcode, rcode::SERVFAIL, "{scheme}");
    }
    // What came is no DNS: the parts of handshakes. In clear there is not a word of the question.
    for query in plain.queries() {
        assert!(!query.bytes.windows(7).any(|octets| octets.eq_ignore_ascii_case(b"example")), "{query:?}");
    }
}

#[tokio::test]
async fn a_broken_connection_is_made_anew() {
    let authority = Authority::new();
    for (scheme, alpn) in ALL {
        let script = |query: &Query| match query.number {
            2 => vec![Act::Close],
            _ => vec![query.answer(&[a(IP)])],
        };
        let server = start(scheme, authority.identity(&[NAME]).server(alpn), script).await;
        let (forwarder, choice) = forwarder(20_000, &[url(scheme, &server, &trusting(&authority))]);
        for question in [question(), question(), question(), question()] {
            let reply = forwarder.ask(&question, &choice).await;
            assert_eq!(answers(&reply.unwrap_or_else(|error| panic!("{scheme}: {error}"))), [IP]);
        }
        assert_eq!(server.queries().len(), 5, "{scheme}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_help_is_passed_over() {
    let authority = Authority::new();
    let good = Scripted::start(|query| vec![query.answer(&[a(IP)])]).await;
    let bad: [fn(&Query) -> Vec<Act>; 9] = [
        |query| vec![query.error(rcode::SERVFAIL)],
        |query| vec![query.error(rcode::REFUSED)],
        |query| vec![query.bare_error(rcode::NOTIMP)],
        |query| vec![query.wrong_question(&[a(IP)])],
        |query| vec![query.answer(&[a(IP)]).changed(|reply| reply[7] = 9)],
        |query| vec![query.answer(&[a(IP)]).changed(|reply| reply[4..].fill(0xff))],
        |query| vec![Act::SendHalf(query.reply(0, &many_a(40)))],
        |_| vec![Act::Close],
        |_| vec![],
    ];
    for (scheme, alpn) in ALL {
        for (index, bad) in bad.into_iter().enumerate() {
            let server = start(scheme, authority.identity(&[NAME]).server(alpn), bad).await;
            let plain = good.address().to_string();
            let reply = ask(&[url(scheme, &server, &trusting(&authority)), plain]).await;
            assert_eq!(answers(&reply.unwrap()), [IP], "{scheme}, {index}");
        }
    }
}

#[tokio::test]
async fn a_reply_octet_by_octet_is_a_reply() {
    let authority = Authority::new();
    let script = |query: &Query| vec![Act::SendSlowly(query.reply(0, &many_a(40)))];
    let server = tls(authority.identity(&[NAME]).server("dot"), script).await;
    let reply = ask(&[url("tls", &server, &trusting(&authority))]).await.unwrap();
    assert_eq!(answers(&reply).len(), 40);
    assert!(!Header::read(&reply).unwrap().has(flag::TC));
}
