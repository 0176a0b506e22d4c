//! From a client through the server to an upstream and back (answers.md F, N9, H).

use callsign::forward::{Destination, ForwardOptions, Route};
use callsign::responder::ResponderOptions;
use callsign::wire::message::{HEADER, flag, question_end};
use callsign::wire::{ede, option};

use super::support::free_port;
use super::support::upstream::{big_txt, many_a, record, refusing};
use super::*;

/// An upstream whose address records all name it: 192.0.2.`number`.
async fn upstream(number: u8) -> Scripted {
    Scripted::start(move |query| vec![query.answer(&[a([192, 0, 2, number])])]).await
}

fn is_from(number: u8) -> [IpAddr; 1] {
    [IpAddr::from([192, 0, 2, number])]
}

fn both(client: Client, query: &Query) -> [Reply; 2] {
    [client.udp(query), client.tcp(query)]
}

/// Asks for two names of somebody else's, one over UDP and one over TCP: no cache has the answers.
fn both_foreign(client: Client) -> [Reply; 2] {
    [client.udp(&foreign().edns(1232)), client.tcp(&foreign().edns(1232))]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn f1_a_query_of_an_internal_network_never_reaches_an_upstream() {
    let upstream = upstream(1).await;
    let (server, address) = shop_with(Some(upstream.address()), Limits::default()).await;
    let internal = network("vault").internal(true).listen("127.0.0.1").alias("out", "www.example").build().unwrap();
    server.add_network(internal).await.unwrap();
    let vault = Client::new(listening(&server, "vault"));
    for name in ["www.example", "db.example", "out", "."] {
        for reply in both(vault, &Query::new(name, rtype::A).edns(1232)) {
            let error = reply.extended_errors();
            let error = error.iter().map(|(code, _)| *code).collect::<Vec<_>>();
            // An alias stands, but what it stands for is not asked for.
            let expected = if name == "out" { &reply.status() } else { "NXDOMAIN" };
            assert_eq!((reply.status().as_str(), error), (expected, vec![ede::BLOCKED]), "{name}: {reply:?}");
            assert!(reply.addresses().is_empty() && !reply.flags().contains("ra"), "{name}: {reply:?}");
        }
    }
    assert_eq!(vault.udp(&local()).flags(), "qr aa rd", "H1: no RA where nothing is forwarded");
    assert!(upstream.queries().is_empty());
    // The server does ask it, for others.
    let [udp, tcp] = both_foreign(Client::new(address));
    assert_eq!([udp.flags(), tcp.flags()], ["qr rd ra", "qr rd ra"], "H1: neither ours nor signed");
    assert_eq!(upstream.queries().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn f2_a_query_goes_to_the_upstream_of_its_route_its_endpoint_its_network_or_all() {
    let [default, routed, networks, endpoints] =
        [upstream(1).await, upstream(2).await, upstream(3).await, upstream(4).await];
    let at = |upstream: &Scripted| upstream.address().to_string();
    let route = Route {
        domain: "corp.example".parse().unwrap(),
        to: Destination::Servers(vec![Upstream::new(routed.address().into())].into()),
    };
    let server =
        builder().upstreams(vec![at(&default).parse().unwrap()].into()).routes(vec![route]).start().await.unwrap();
    server.add_network(network("shop").listen("127.0.0.1").build().unwrap()).await.unwrap();
    let own = Endpoint::builder("cms-1").address("127.0.0.9").upstream(&at(&endpoints)).build().unwrap();
    let blog = network("blog").listen("127.0.0.1").upstream(&at(&networks)).endpoint(own);
    server.add_network(blog.build().unwrap()).await.unwrap();
    let shop = Client::new(listening(&server, "shop"));
    let blog = Client::new(listening(&server, "blog"));
    let cms = blog.from("127.0.0.9".parse().unwrap());

    assert_eq!(shop.udp(&foreign()).addresses(), is_from(1));
    assert_eq!(blog.udp(&foreign()).addresses(), is_from(3));
    assert_eq!(cms.udp(&foreign()).addresses(), is_from(4));
    for client in [shop, blog, cms] {
        for name in ["corp.example", "www.CORP.example"] {
            assert_eq!(client.udp(&Query::new(name, rtype::A)).addresses(), is_from(2));
        }
        assert_ne!(client.udp(&Query::new("notcorp.example", rtype::A)).addresses(), is_from(2));
    }
    // All of it can be replaced while the server runs.
    server.set_forwarding(ForwardOptions {
        upstreams: vec![at(&routed).parse().unwrap()].into(),
        ..ForwardOptions::default()
    });
    assert_eq!(shop.udp(&foreign()).addresses(), is_from(2));
    assert_eq!(shop.tcp(&Query::new("corp.example", rtype::A)).addresses(), is_from(2));
    assert_eq!(cms.udp(&Query::new("corp.example", rtype::A)).addresses(), is_from(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn f3_records_come_back_octet_for_octet() {
    // Types that nobody knows, their data like compression pointers.
    let odd = [record(65_280, b"\xc0\x0c\xff\x00odd"), record(65_281, b"\x00"), record(rtype::TXT, b"\x03AbC")];
    let answers = odd.clone();
    let upstream = Scripted::start(move |query| {
        vec![query.answer(&answers).changed(|reply| reply[3] |= 0x20)] // AD
    })
    .await;
    let (server, address) = shop_with(Some(upstream.address()), Limits::default()).await;
    let client = Client::new(address);
    let query = |name: &str| Query::new(name, 65_280).flags(flag::RD | flag::CD | flag::AD);
    let over_tcp = query("wwW.Example");
    let query = query("wWw.Example.net");
    for (query, reply) in [(&query, client.udp(&query)), (&over_tcp, client.tcp(&over_tcp))] {
        assert_eq!(reply.flags(), "qr rd ra ad cd");
        assert_eq!(reply.bytes[HEADER..], [query.question(), odd.concat()].concat(), "{reply:?}");
    }
    let status = &server.status().upstreams[..];
    let [seen] = status else { panic!("one upstream was asked: {status:?}") };
    assert_eq!(seen.upstream, Upstream::new(upstream.address().into()));
    assert!(seen.well && seen.rtt.is_some() && seen.replies == 2 && seen.failures == 0, "{seen:?}");
    // What the upstream was asked: the client's question and its bits, an ID and an OPT of ours.
    client.udp(&query.clone().edns(4096).dnssec_ok().option(option::COOKIE, b"8 octets"));
    let asked = upstream.queries().pop().unwrap();
    assert_eq!(asked.question(), query.question());
    assert_eq!(asked.header().flags & (flag::RD | flag::CD | flag::AD), flag::RD | flag::CD | flag::AD);
    let opt = &asked.bytes[question_end(&asked.bytes).unwrap()..];
    assert_eq!(opt, b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00", "size 1232, DO, and no option of the client's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn f3_what_is_too_long_for_udp_is_whole_over_tcp() {
    let upstream = Scripted::start(|query| match query.tcp {
        false => vec![query.truncated()],
        true => vec![query.answer(&[big_txt()])],
    })
    .await;
    let (_server, address) = shop_with(Some(upstream.address()), Limits::default()).await;
    let client = Client::new(address);
    let query = Query::new("www.example", rtype::TXT);
    let [udp, tcp] = both(client, &query);
    assert_eq!((udp.flags().as_str(), udp.answers().len()), ("qr tc rd ra", 0));
    assert_eq!((tcp.flags().as_str(), tcp.answers().len()), ("qr rd ra", 1));
    let [udp, tcp] = both(client, &query.edns(4096));
    assert!(udp.flags().contains("tc") && udp.edns().is_some() && udp.bytes.len() <= 1232);
    assert!(!tcp.flags().contains("tc") && tcp.edns().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn n9_a_remote_alias_stands_until_an_endpoint_has_the_name() {
    let upstream = Scripted::start(|query| vec![query.answer(&many_a(40))]).await;
    let upstreams = vec![Upstream::new(upstream.address().into())];
    let server = builder().upstreams(upstreams.into()).start().await.unwrap();
    let shop = network("shop").listen("127.0.0.1").alias("payments", "payments.dev.example").build().unwrap();
    let shop = server.add_network(shop).await.unwrap();
    let client = Client::new(listening(&server, "shop"));
    let query = Query::new("PayMents", rtype::A);
    let is_alias = |reply: &Reply| {
        let first = reply.answers().into_iter().next().expect("an alias");
        assert_eq!(first, "PayMents. 0 IN CNAME payments.dev.example.", "{reply:?}");
        assert_eq!(reply.question(), query.question());
    };

    let [udp, tcp] = both(client, &query);
    is_alias(&udp);
    is_alias(&tcp);
    assert_eq!((tcp.answers().len(), tcp.flags().contains("tc")), (41, false));
    assert!(udp.bytes.len() <= 512 && udp.flags().contains("tc") && udp.answers().len() > 20, "{udp:?}");
    assert_eq!(client.udp(&query.clone().edns(1232)).answers().len(), 41);
    assert_eq!(upstream.queries()[0].question(), Query::new("payments.dev.example", rtype::A).question());

    let asked = upstream.queries().len();
    shop.attach(endpoint("payments", "10.10.1.7")).unwrap();
    for reply in both(client, &query) {
        assert_eq!(reply.addresses(), ["10.10.1.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(reply.answers().len(), 1);
    }
    assert_eq!(upstream.queries().len(), asked, "a name of ours is not asked for");
    shop.detach("payments-1").unwrap();
    is_alias(&client.udp(&query));
}

#[test]
fn f4_our_own_listener_is_never_asked() {
    alone(async {
        let port = free_port(&["127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap()]);
        let [first, second] = ["127.0.0.1", "127.0.0.2"].map(|ip| format!("{ip}:{port}"));
        let server = builder().upstreams(vec![first.parse().unwrap()].into()).start().await.unwrap();
        let shop = |upstream: Option<&str>| {
            let builder = network("shop").listen(&first);
            upstream.into_iter().fold(builder, NetworkBuilder::upstream).build().unwrap()
        };
        let client = Client::new(first.parse().unwrap());
        let assert_unasked = |reply: &Reply| {
            assert_eq!(reply.status(), "SERVFAIL", "{reply:?}");
            assert_eq!(
                reply.extended_errors(),
                [(ede::NO_REACHABLE_AUTHORITY, "no upstream is configured".to_owned())]
            );
        };
        server.apply(vec![shop(None)]).await.unwrap();
        both_foreign(client).iter().for_each(assert_unasked);
        // An upstream becomes ours when a network comes to listen there; and is another's again when that goes.
        server.apply(vec![shop(Some(&second)), network("blog").listen(&second).build().unwrap()]).await.unwrap();
        both_foreign(client).iter().for_each(assert_unasked);
        let other = upstream(3).await;
        server.set_forwarding(ForwardOptions {
            upstreams: vec![Upstream::new(other.address().into())].into(),
            ..ForwardOptions::default()
        });
        assert_eq!(Client::new(second.parse().unwrap()).udp(&foreign()).addresses(), is_from(3));
        server.apply(vec![shop(Some(&second))]).await.unwrap();
        let reply = client.udp(&foreign().edns(1232));
        assert_eq!(reply.extended_errors(), [(ede::NETWORK_ERROR, format!("{second}: connection refused"))]);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn h6_when_all_upstreams_are_dead_the_reply_says_so() {
    let (_server, address) = shop_with(Some(refusing()), Limits::default()).await;
    for reply in both_foreign(Client::new(address)) {
        assert_eq!((reply.status().as_str(), reply.flags().as_str()), ("SERVFAIL", "qr rd ra"));
        let text = format!("{}: connection refused", refusing());
        assert_eq!(reply.extended_errors(), [(ede::NETWORK_ERROR, text)]);
    }
    let reply = Client::new(address).udp(&foreign());
    assert!(reply.edns().is_none() && reply.status() == "SERVFAIL");

    let silent = Scripted::silent().await;
    let upstreams = vec![Upstream::new(silent.address().into())];
    let quick = builder().upstreams(upstreams.into()).forward_timeout(Duration::from_millis(50)).start().await.unwrap();
    quick.add_network(shop().build().unwrap()).await.unwrap();
    for reply in both_foreign(Client::new(listening(&quick, "shop"))) {
        let text = format!("{}: timed out", silent.address());
        assert_eq!((reply.status(), reply.extended_errors()), ("SERVFAIL".into(), vec![(22, text)]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn h7_forwarded_replies_have_our_opt_and_our_cookie() {
    let upstream = upstream(1).await;
    let (server, address) = shop_with(Some(upstream.address()), Limits::default()).await;
    let client = Client::new(address);
    let cookie = |reply: &Reply| match &reply.options(option::COOKIE)[..] {
        [cookie] => {
            assert_eq!((cookie.len(), &cookie[..8]), (24, &b"8 octets"[..]));
            // What depends on the client and the secret, not on the second.
            (cookie[8..12].to_vec(), reply.edns().unwrap().max_payload())
        }
        other => panic!("{other:?}"),
    };
    let with = |query: Query| query.edns(4096).option(option::COOKIE, b"8 octets");
    let [udp, tcp] = both(client, &with(foreign()));
    assert_eq!(cookie(&udp), (vec![1, 0, 0, 0], 1232));
    assert_eq!(cookie(&tcp), cookie(&client.udp(&with(local()))), "the same as for a name of ours");
    assert_eq!((udp.addresses(), udp.status()), (is_from(1).to_vec(), "NOERROR".into()));
    // Options of the responder are replaced, its secret stays: a cookie that the client was given is still good.
    let before = client.udp(&with(local())).options(option::COOKIE).remove(0);
    let mut options = ResponderOptions::default();
    options.version = Some("callsign".into());
    server.set_responder_options(options);
    let query = local().edns(1232).option(option::COOKIE, &before);
    assert_eq!(client.udp(&query).status(), "NOERROR");
    let version = Query::new("version.bind", rtype::TXT).class(3);
    assert_eq!(client.udp(&version).status(), "NOERROR");
    for reply in both(client, &foreign()) {
        assert!(reply.edns().is_none(), "H4: no OPT was asked for");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn h5_replies_over_udp_have_the_size_that_is_set() {
    let upstream = Scripted::start(|query| vec![query.answer(&many_a(60))]).await;
    let (server, address) = shop_with(Some(upstream.address()), Limits::default()).await;
    let big = network("large").listen("127.0.0.1").record(record_of("big", 3000)).build().unwrap();
    server.add_network(big).await.unwrap();
    let (client, large) = (Client::new(address), Client::new(listening(&server, "large")));
    let query = foreign().edns(4096);
    // Of ours, from upstream, from the cache.
    for (udp_size, is_whole) in [(1232, [false, true, true]), (4096, [true; 3]), (512, [false; 3])] {
        let mut options = ResponderOptions::default();
        options.udp_size = udp_size;
        server.set_responder_options(options);
        let replies =
            [large.udp(&Query::new("big", 65_280).edns(4096)), client.udp(&foreign().edns(4096)), client.udp(&query)];
        assert!(replies.iter().all(|reply| reply.bytes.len() <= udp_size.into()), "{replies:?}");
        assert_eq!(replies.map(|reply| !reply.flags().contains("tc")), is_whole, "{udp_size}");
    }
}
