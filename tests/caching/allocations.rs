//! A hit takes nothing from the allocator, from the packet to the reply.

use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use callsign::forward::{Asked, AskedEdns, ForwardOptions, Forwarder, Question};
use callsign::responder::{Client, Listener, Responder, ResponderOptions, Verdict};
use callsign::table::{Endpoint, NameTable, Network, Upstream};
use callsign::wire::message::{Header, flag};
use callsign::wire::{option, rtype};

use super::asking;
use super::support::client::Query;
use super::support::upstream::{Scripted, a, many_a, record, refusing};

const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What the server does with a packet that can be answered at once (`server::worker`).
fn answer(
    responder: &mut Responder,
    forwarder: &Arc<Forwarder>,
    listener: &Listener,
    packet: &[u8],
    out: &mut [u8],
) -> Option<usize> {
    let client = Client::udp(listener, "10.10.1.2:4000".parse().unwrap());
    let Verdict::Forward(forward) = responder.respond(packet, &client, out) else { panic!("not forwarded") };
    let choice = forwarder.choose(forward.target(), &forward.upstreams);
    let asked = Asked {
        id: forward.query.header().id,
        flags: forward.query.header().flags,
        question: forward.query.question_bytes(),
        limit: forward.limit,
        edns: forward.edns.as_ref().map(|edns| AskedEdns { dnssec_ok: edns.dnssec_ok, options: &edns.options }),
        aliases: &forward.aliases,
    };
    forwarder.cached(forward.query.name(), &choice, &asked, out)
}

#[tokio::test]
async fn a_hit_allocates_nothing() {
    let upstream = Scripted::start(|query| {
        let soa = || record(rtype::SOA, &[&[0; 18][..], &600_u32.to_be_bytes()].concat());
        vec![match query.question()[1] {
            b'm' => query.answer(&many_a(70)),
            b'n' => query.answer(&[soa()]).changed(|reply| {
                reply[3] |= 3;
                reply[6..10].copy_from_slice(&[0, 0, 0, 1]);
            }),
            b'f' => query.error(2),
            _ => query.answer(&[a([192, 0, 2, 1])]),
        }]
    })
    .await;
    let endpoint = |upstream: Option<String>| {
        let endpoint = Endpoint::builder("client").name("client").address("10.10.1.2");
        upstream.iter().fold(endpoint, |endpoint, upstream| endpoint.upstream(upstream)).build().unwrap()
    };
    let directory = tempfile::tempdir().unwrap();
    let resolv_conf = directory.path().join("resolv.conf");
    std::fs::write(&resolv_conf, format!("nameserver {}\n", refusing().ip())).unwrap();
    let system = callsign::forward::Upstreams::resolv_conf(&resolv_conf).unwrap();
    // From the options, from the endpoint, and from a resolv.conf, whose server is not there: a failure is a hit too.
    for (options, upstream, is_there) in [
        (asking(&upstream), None, true),
        (ForwardOptions { upstreams: vec![].into(), ..asking(&upstream) }, Some(upstream.address().to_string()), true),
        (ForwardOptions { upstreams: system, recheck: A_DAY, ..ForwardOptions::default() }, None, false),
    ] {
        let preferred: Vec<Arc<[Upstream]>> = upstream.iter().map(|text| [text.parse().unwrap()].into()).collect();
        let table = NameTable::new();
        let network = Network::builder("web").subnet("10.10.1.0/24").listen("10.10.1.1").endpoint(endpoint(upstream));
        let listener = Listener::new(table.add(network.build().unwrap()).unwrap(), "10.10.1.1:53".parse().unwrap());
        let forwarder = Arc::new(Forwarder::new(options));
        let mut responder = Responder::new(Arc::new(ResponderOptions::default()));
        let mut out = vec![0; 1232];
        for name in ["www.example", "many.example", "none.example", "fails.example"] {
            let plain = Query::new(name, rtype::A);
            let choice = forwarder.choose(b"\x00", &preferred);
            let question = Question { question: plain.question(), flags: flag::RD, dnssec_ok: false };
            // Several failures in a row are remembered for longer than this test takes.
            for _ in 0..7 {
                let _ = forwarder.resolve(&question, &choice).await;
                forwarder.put_cache_clock_forward(Duration::from_secs(30));
            }
            let _ = forwarder.resolve(&question, &choice).await;
            // After a failure the resolv.conf is looked at once more.
            forwarder.choose(b"\x00", &preferred);
            for query in
                [&plain, &plain.clone().edns(512), &plain.clone().edns(4096).option(option::COOKIE, b"8 octets")]
            {
                let packet = query.bytes();
                // Three times to become popular, and then some.
                for _ in 0..5 {
                    let mut len = None;
                    let count =
                        measure(|| len = answer(&mut responder, &forwarder, &listener, &packet, &mut out)).count_total;
                    assert_eq!(count, 0, "{query:?}");
                    let header = Header::read(&out[..len.expect("a hit")]).unwrap();
                    let has_answer = is_there && ["www.example", "many.example"].contains(&name);
                    assert_eq!(header.counts[1] > 0, has_answer, "{query:?} {header:?}");
                }
            }
        }
    }
}

#[test]
fn the_cache_takes_no_more_memory_than_it_says() {
    const SIZE: usize = 4 << 20;
    let upstreams = || vec!["192.0.2.53".parse().unwrap()].into();
    let options = ForwardOptions { upstreams: upstreams(), cache_size: SIZE, ..ForwardOptions::default() };
    for answers in [1, 40] {
        let mut forwarder = None;
        let taken = measure(|| {
            let filled = Arc::new(Forwarder::new(options.clone()));
            // Several times what there is room for, under distinct names.
            for number in 0..if answers == 1 { 100_000 } else { 10_000 } {
                let name = [b"\x0c", format!("{number:012}").as_bytes(), b"\x07example\x00"].concat();
                let question = [&name[..], &[0, 1, 0, 1]].concat();
                let mut reply = vec![0, 7, 0x81, 0x80, 0, 1, 0, answers, 0, 0, 0, 0];
                reply.extend_from_slice(&question);
                reply.extend(many_a(answers).concat());
                let choice = filled.choose(&name, &[]);
                filled.take_reply(&Question { question, flags: flag::RD, dnssec_ok: false }, &choice, reply);
            }
            forwarder = Some(filled);
        });
        let counters = forwarder.unwrap().counters();
        assert!(counters.bytes as usize > SIZE * 9 / 10 && counters.bytes as usize <= SIZE, "{counters:?}");
        let (least, most) = (SIZE as i64 / 2, SIZE as i64 * 11 / 10);
        assert!((least..most).contains(&taken.bytes_current), "{answers}: {} for {counters:?}", taken.bytes_current);
        println!("{answers} answers: {} octets for {counters:?}", taken.bytes_current);
    }
}
