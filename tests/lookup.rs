//! `callsign lookup` against a scripted server.

mod support;

use std::net::SocketAddr;

use callsign::wire::{Name, rtype};
use serde_json::{Value, json};
use support::netns::Lab;
use support::process::{Finished, run};
use support::program::{CALLSIGN, callsign};
use support::upstream::{Act, Query, Scripted, a, big_txt, record, refusing};
use tokio::runtime::Runtime;

/// A server that runs beside the test.
struct Server {
    scripted: Option<Scripted>,
    address: SocketAddr,
    runtime: Runtime,
}

impl Server {
    fn start(script: impl Fn(&Query) -> Vec<Act> + Send + Sync + 'static) -> Server {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let scripted = runtime.block_on(Scripted::start(script));
        Server { address: scripted.address(), scripted: Some(scripted), runtime }
    }

    /// Runs `callsign lookup words…` against it.
    #[track_caller]
    fn look_up(&self, words: &[&str]) -> Finished {
        look_up(self.address, words)
    }

    fn queries(&self) -> Vec<Query> {
        self.scripted.as_ref().unwrap().queries()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _runtime = self.runtime.enter();
        self.scripted = None;
    }
}

#[track_caller]
fn look_up(server: SocketAddr, words: &[&str]) -> Finished {
    run(callsign(&[&["lookup", "--server", &server.to_string()][..], words].concat()))
}

/// The lines of a result without how long it took.
fn lines(finished: &Finished) -> Vec<String> {
    let line = |line: &str| match line.split_once(" over ") {
        Some((front, back)) => format!("{front} over {}", &back[..3]),
        None => line.to_owned(),
    };
    finished.stdout.lines().map(line).collect()
}

fn qtype(query: &Query) -> u16 {
    let question = query.question();
    u16::from_be_bytes([question[question.len() - 4], question[question.len() - 3]])
}

fn name(query: &Query) -> String {
    let question = query.question();
    Name::from_wire(&question[..question.len() - 4]).unwrap().to_string()
}

#[test]
fn a_name_is_asked_for_both_families() {
    let server = Server::start(|query| match qtype(query) {
        rtype::A => vec![query.answer(&[a([10, 10, 1, 3]), a([10, 10, 1, 4])])],
        _ => vec![query.answer(&[])],
    });
    let found = server.look_up(&["db.Internal"]);
    let address = server.address;
    assert_eq!(found.status.code(), Some(0));
    assert_eq!(
        lines(&found),
        [
            &*format!("db.internal A: NOERROR (qr rd ra), {address} over UDP"),
            "  db.internal  300  IN  A  10.10.1.3",
            "  db.internal  300  IN  A  10.10.1.4",
            &*format!("db.internal AAAA: NOERROR, no data of this type (qr rd ra), {address} over UDP"),
        ]
    );
    assert_eq!(server.queries().len(), 2);
    assert!(server.queries().iter().all(|query| query.has_opt() && query.header().flags == 0x0100));
}

#[test]
fn json_is_stable() {
    let server = Server::start(|query| vec![query.answer(&[record(rtype::TXT, b"\x03a\"b\x02\x1b[")])]);
    let found = server.look_up(&["db", "txt", "--json"]);
    let mut document: Value = serde_json::from_str(&found.stdout).unwrap();
    assert!(document["lookups"][0]["milliseconds"].take().is_number());
    let expected = json!({
        "server": server.address.to_string(),
        "lookups": [{
            "name": "db",
            "server": server.address.to_string(),
            "type": "TXT",
            "transport": "udp",
            "milliseconds": null,
            "origin": "forwarded_or_cached",
            "status": "NOERROR",
            "flags": ["qr", "rd", "ra"],
            "answers": [{ "name": "db", "ttl": 300, "class": "IN", "type": "TXT", "data": "\"a\\\"b\" \"\\027[\"" }],
            "authority": [],
            "additional": [],
            "errors": [],
        }],
    });
    assert_eq!(document, expected);
}

#[test]
fn no_answer_is_1() {
    for (rcode, says) in
        [(3, "x A: NXDOMAIN (qr rd ra)"), (5, "x A: REFUSED (qr rd ra)"), (2, "x A: SERVFAIL (qr rd ra)")]
    {
        let server = Server::start(move |query| vec![query.error(rcode)]);
        let found = server.look_up(&["x", "A"]);
        assert_eq!(found.status.code(), Some(1));
        assert!(found.stdout.starts_with(says), "{}", found.stdout);
    }
    let server = Server::start(|query| vec![query.answer(&[])]);
    assert_eq!(server.look_up(&["x", "A"]).status.code(), Some(1), "no data");
    // A server that could not even read the question.
    let server = Server::start(|query| vec![query.bare_error(1)]);
    assert!(server.look_up(&["x", "A"]).stdout.starts_with("x A: FORMERR"));
}

#[test]
fn extended_errors_are_told() {
    // An OPT with an extended error: 15, Blocked.
    let opt = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x0b\x00\x0f\x00\x07\x00\x0fno \x1b!";
    let server = Server::start(move |query| {
        vec![query.error(3).changed(|reply| {
            reply.extend_from_slice(opt);
            reply[11] = 1;
        })]
    });
    let found = server.look_up(&["ads.example", "A"]);
    assert_eq!(lines(&found)[1], "  error 15 (Blocked): no \\u{1b}!");
    let document: Value = serde_json::from_str(&server.look_up(&["ads.example", "A", "--json"]).stdout).unwrap();
    let expected = json!([{ "code": 15, "name": "Blocked", "text": "no \\u{1b}!" }]);
    assert_eq!(document["lookups"][0]["errors"], expected);
}

#[test]
fn what_is_truncated_is_asked_for_over_tcp() {
    let server = Server::start(|query| vec![if query.tcp { query.answer(&[big_txt()]) } else { query.truncated() }]);
    let found = server.look_up(&["big", "TXT"]);
    assert_eq!(lines(&found)[0], format!("big TXT: NOERROR (qr rd ra), {} over TCP", server.address));
    assert!(found.stdout.len() > 4096);
    assert_eq!(server.queries().iter().map(|query| query.tcp).collect::<Vec<_>>(), [false, true]);
    let server = Server::start(|query| vec![query.answer(&[a([10, 0, 0, 1])])]);
    server.look_up(&["x", "A", "--tcp"]).expect_success();
    assert!(server.queries()[0].tcp);
}

#[test]
fn an_address_is_asked_for_its_name() {
    let server = Server::start(|query| vec![query.answer(&[record(rtype::PTR, b"\x02Db\x08internal\x00")])]);
    let found = server.look_up(&["10.10.1.3"]).expect_success();
    assert_eq!(lines(&found)[1], "  3.1.10.10.in-addr.arpa  300  IN  PTR  db.internal");
    assert_eq!(qtype(&server.queries()[0]), rtype::PTR);
    server.look_up(&["fd00::3"]).expect_success();
    assert!(server.queries()[1].question().ends_with(b"\x03ip6\x04arpa\x00\x00\x0c\x00\x01"));
}

#[test]
fn replies_to_other_questions_are_not_taken() {
    let server = Server::start(|query| {
        let forged = [a([6, 6, 6, 6])];
        vec![query.wrong_id(&forged), query.wrong_question(&forged), query.answer(&[a([10, 0, 0, 1])])]
    });
    let found = server.look_up(&["x", "A"]).expect_success();
    assert_eq!(lines(&found)[1], "  x  300  IN  A  10.0.0.1");
}

#[test]
fn every_type_has_a_text() {
    for (rtype, data, text) in [
        (rtype::SRV, &b"\0\0\0\x01\x1f\x90\x03api\x00"[..], "SRV  0 1 8080 api"),
        (15, b"\0\x0a\x04mail\x00", "MX  10 mail"),
        (rtype::CNAME, b"\x08xn--a.b!\x01c\x00", "CNAME  xn--a\\.b!.c"),
        (rtype::AAAA, &[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3], "AAAA  fd00::3"),
        (rtype::SOA, &[&b"\x01a\x00\x01b\x00"[..], &[0, 0, 0, 1].repeat(5)].concat(), "SOA  a b 1 1 1 1 1"),
        (65280, b"\x0a\x0b", "TYPE65280  \\# 2 0a0b"),
    ] {
        let data = data.to_vec();
        let server = Server::start(move |query| vec![query.answer(&[record(rtype, &data)])]);
        let found = server.look_up(&["x", &format!("TYPE{rtype}")]).expect_success();
        assert_eq!(lines(&found)[1], format!("  x  300  IN  {text}"));
    }
}

#[test]
fn no_reply_is_1_and_says_why() {
    let nobody = look_up(refusing(), &["x"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert_eq!(nobody.stderr, format!("callsign: x A: {}: nobody listens there over UDP\n", refusing()));
    let document: Value = serde_json::from_str(&look_up(refusing(), &["x", "--json"]).stdout).unwrap();
    assert_eq!(document["lookups"][0]["failure"], "nobody listens there over UDP");

    let closes = Server::start(|query| if query.tcp { vec![Act::Close] } else { vec![query.truncated()] });
    let ended = closes.look_up(&["x", "A"]);
    assert!(ended.stderr.ends_with("the TCP connection ended without a reply\n"), "{}", ended.stderr);

    let malformed = Server::start(|query| vec![query.answer(&[]).changed(|reply| reply[7] = 1)]);
    let read = malformed.look_up(&["x", "A"]);
    assert_eq!(read.status.code(), Some(1));
    assert!(read.stderr.contains("its reply is malformed"), "{}", read.stderr);
    let zone = run(callsign(&["lookup", "x", "--server", "fe80::1%nowhere"]));
    assert_eq!(zone.status.code(), Some(1));
    assert_eq!(zone.stderr, "callsign: fe80::1%nowhere: there is no interface \"nowhere\" here\n");
}

#[test]
fn the_server_is_named_with_an_at_sign_too() {
    let server = Server::start(|query| vec![query.answer(&[a([10, 10, 1, 3])])]);
    let at = format!("@{}", server.address);
    for words in [["db", "A", &*at], ["db", &*at, "A"], [&*at, "db", "A"]] {
        let found = run(callsign(&[&["lookup"][..], &words].concat())).expect_success();
        assert_eq!(lines(&found)[1], "  db  300  IN  A  10.10.1.3");
    }
    assert_eq!(server.queries().len(), 3);
}

#[test]
fn x_is_the_name_of_an_address() {
    let server = Server::start(|query| vec![query.answer(&[record(rtype::PTR, b"\x02db\x08internal\x00")])]);
    let found = server.look_up(&["-x", "10.10.1.3", "--short"]).expect_success();
    assert_eq!((&*found.stdout, qtype(&server.queries()[0])), ("db.internal\n", rtype::PTR));
    server.look_up(&["-x", "fd00::3"]).expect_success();
}

#[test]
fn short_is_the_data_alone() {
    let server = Server::start(|query| match qtype(query) {
        rtype::A => vec![query.answer(&[a([10, 10, 1, 3]), a([10, 10, 1, 4])])],
        rtype::TXT => vec![query.error(3)],
        _ => vec![query.answer(&[])],
    });
    let found = server.look_up(&["db", "--short"]).expect_success();
    assert_eq!((&*found.stdout, &*found.stderr), ("10.10.1.3\n10.10.1.4\n", ""));
    let found = server.look_up(&["db", "TXT", "--short"]);
    assert_eq!((found.status.code(), &*found.stdout), (Some(1), ""));
}

#[test]
fn where_an_answer_is_from_is_said_as_far_as_it_can_be_told() {
    const AA: u8 = 0x04;
    // An OPT with an extended error of this code.
    let with_error = |code: u8| {
        move |reply: &mut Vec<u8>| {
            reply.extend_from_slice(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x06\x00\x0f\x00\x02\x00");
            reply.push(code);
            reply[11] = 1;
        }
    };
    let own: fn(&Query) -> Act = |query| query.answer(&[a([10, 0, 0, 1])]).changed(|reply| reply[2] |= AA);
    let own_error: fn(&Query) -> Act = |query| query.error(3).changed(|reply| reply[2] |= AA);
    let other: fn(&Query) -> Act = |query| query.answer(&[a([10, 0, 0, 1])]);
    let stale = move |query: &Query| query.answer(&[a([10, 0, 0, 1])]).changed(with_error(3));
    let cached_error = move |query: &Query| query.error(2).changed(with_error(13));
    let unreachable = move |query: &Query| query.error(2).changed(with_error(22));
    let failing = move |query: &Query| query.error(2).changed(with_error(23));
    let error: fn(&Query) -> Act = |query| query.error(2);
    type Script = Box<dyn Fn(&Query) -> Act + Send + Sync>;
    let scripts: [(Script, Value, &str); 8] = [
        (Box::new(own), json!("own"), ", answered by the server itself"),
        (Box::new(own_error), json!("own"), ", answered by the server itself"),
        (Box::new(other), json!("forwarded_or_cached"), ", forwarded or from a cache"),
        (Box::new(stale), json!("stale_cache"), ", from a cache, past its TTL"),
        (Box::new(cached_error), json!("cached_error"), ", a failure that a cache remembers"),
        (Box::new(unreachable), json!("no_upstream"), ", forwarded, and no upstream answered"),
        (Box::new(failing), json!("no_upstream"), ", forwarded, and no upstream answered"),
        (Box::new(error), Value::Null, " ms"),
    ];
    for (script, origin, text) in scripts {
        let server = Server::start(move |query| vec![script(query)]);
        let document: Value = serde_json::from_str(&server.look_up(&["db", "A", "--json"]).stdout).unwrap();
        assert_eq!(document["lookups"][0]["origin"], origin);
        let found = server.look_up(&["db", "A"]);
        assert!(found.stdout.lines().next().unwrap().ends_with(text), "{text}: {}", found.stdout);
    }
}

/// In a namespace with a resolv.conf of its own, at whose server only `db.b.example` exists.
#[test]
fn the_search_list_is_followed_as_the_c_library_does() {
    needs_root!("getent");
    let lab = Lab::new();
    // getaddrinfo looks for addresses of IPv4 where the host has one besides loopback.
    lab.bridge("shop", &["10.10.1.1/24"]);
    let host = lab.host();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let scripted = host.enter(|| {
        runtime.block_on(async {
            let udp = tokio::net::UdpSocket::bind("127.0.0.53:53").await.unwrap();
            let tcp = tokio::net::TcpListener::bind("127.0.0.53:53").await.unwrap();
            Scripted::on(udp, tcp, |query: &Query| {
                let is_it = name(query) == "db.b.example" && qtype(query) == rtype::A;
                vec![if is_it { query.answer(&[a([10, 10, 1, 3])]) } else { query.error(3) }]
            })
        })
    });
    host.set_resolv_conf("nameserver 127.0.0.53\nsearch a.example b.example c.example\noptions ndots:2\n");
    let look_up = |wanted: &str| {
        let before = scripted.queries().len();
        let found = host.run(&[CALLSIGN, "lookup", wanted, "A", "--short"]);
        let asked: Vec<String> = scripted.queries()[before..].iter().map(name).collect();
        (found.status.code(), found.stdout, asked)
    };
    let (code, answer, asked) = look_up("db");
    assert_eq!((code, &*answer), (Some(0), "10.10.1.3\n"));
    assert_eq!(asked, ["db.a.example", "db.b.example"]);
    // The C library itself asks for the same.
    let before = scripted.queries().len();
    host.run(&["getent", "ahostsv4", "db"]).expect_success();
    assert_eq!(scripted.queries()[before..].iter().map(name).collect::<Vec<_>>(), ["db.a.example", "db.b.example"]);
    let (code, _, asked) = look_up("x.y");
    assert_eq!(
        (code, asked),
        (Some(1), ["x.y.a.example", "x.y.b.example", "x.y.c.example", "x.y"].map(str::to_owned).into())
    );
    let (_, _, asked) = look_up("x.y.z");
    assert_eq!(asked[0], "x.y.z");
    let (_, _, asked) = look_up("db.");
    assert_eq!(asked, ["db"]);
    // A server that is named is asked for the name as it stands.
    let before = scripted.queries().len();
    host.run(&[CALLSIGN, "lookup", "db", "A", "@127.0.0.53"]);
    assert_eq!(scripted.queries()[before..].iter().map(name).collect::<Vec<_>>(), ["db"]);
    let _runtime = runtime.enter();
    drop(scripted);
}

/// As programs do; and the name is shown as people read it.
#[test]
fn n12_letters_outside_ascii_are_asked_for_in_a_labels() {
    let server = Server::start(|query| vec![query.answer(&[a([10, 10, 1, 3])])]);
    for text in ["BÜRO.", "büro", "xn--bro-hoa"] {
        let found = server.look_up(&[text, "A"]).expect_success();
        assert!(found.stdout.starts_with("büro (xn--bro-hoa) A: NOERROR"), "{}", found.stdout);
        assert_eq!(server.queries().last().map(name).unwrap(), "xn--bro-hoa", "{text}");
    }
    // Octets are octets, and what has no A-labels is asked for as it is written.
    for text in [r"b\195\188ro", "\u{378}"] {
        server.look_up(&[text, "A"]).expect_success();
        assert_eq!(server.queries().last().map(name).unwrap(), text.parse::<Name>().unwrap().to_string());
    }
}

/// In a namespace with three servers: one where nobody listens, one that refuses, and one that answers.
#[test]
fn the_next_nameserver_is_asked_as_the_c_library_does() {
    needs_root!();
    let lab = Lab::new();
    let host = lab.host();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let start = |address: &'static str, script: fn(&Query) -> Act| {
        host.enter(|| {
            runtime.block_on(async {
                let udp = tokio::net::UdpSocket::bind((address, 53)).await.unwrap();
                let tcp = tokio::net::TcpListener::bind((address, 53)).await.unwrap();
                Scripted::on(udp, tcp, move |query: &Query| vec![script(query)])
            })
        })
    };
    let refuses = start("127.0.0.54", |query| query.error(5));
    let answers = start("127.0.0.55", |query| match qtype(query) {
        rtype::A => query.answer(&[a([10, 10, 1, 3])]),
        _ => query.answer(&[]),
    });
    host.set_resolv_conf("nameserver 127.0.0.53\nnameserver 127.0.0.54\nnameserver 127.0.0.55\n");
    let found = host.run(&[CALLSIGN, "lookup", "db."]).expect_success();
    assert!(found.stdout.starts_with("db A: NOERROR (qr rd ra), 127.0.0.55:53 over UDP"), "{found:?}");
    let told: Vec<&str> = found.stderr.lines().collect();
    assert_eq!(
        told,
        [
            "callsign: db A: 127.0.0.53:53: nobody listens there over UDP; asking 127.0.0.54:53",
            "callsign: db A: 127.0.0.54:53: REFUSED; asking 127.0.0.55:53",
            "callsign: db AAAA: 127.0.0.54:53: REFUSED; asking 127.0.0.55:53",
        ]
    );
    assert_eq!((refuses.queries().len(), answers.queries().len()), (2, 2));
    let _runtime = runtime.enter();
    drop((refuses, answers));
}

#[test]
fn without_a_server_the_hosts_own_is_asked() {
    // Which one that is, is the host's affair; that it is one, is in the document, if there is such a file.
    let found = run(callsign(&["lookup", "localhost", "A", "--json"]));
    match std::fs::read("/etc/resolv.conf") {
        Ok(_) => {
            let document: Value = serde_json::from_str(&found.stdout).unwrap();
            assert!(document["server"].as_str().unwrap().ends_with(":53"), "{document}");
        }
        Err(_) => assert!(found.stderr.contains("name a server, as in @10.10.1.1"), "{found:?}"),
    }
}
