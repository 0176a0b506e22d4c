//! Routes through a whole server: blocked names, reverse zones, and what the resolv.conf says.

use std::sync::Arc;
use std::time::Duration;

use callsign::forward::{Asked, Destination, ForwardOptions, Forwarder, Question, Route, Upstreams};
use callsign::table::{Endpoint, Network, Upstream};
use callsign::wire::message::{Header, flag};
use callsign::wire::{ede, rtype};

use super::support::client::Query;
use super::support::upstream::{Scripted, a, record};
use super::{Served, asking, listening};

fn route(domain: &str, to: &[&Scripted]) -> Route {
    let to = to.iter().map(|upstream| Upstream::new(upstream.address().into())).collect();
    Route { domain: domain.parse().unwrap(), to: Destination::Servers(to) }
}

#[tokio::test(flavor = "multi_thread")]
async fn f2_h3_a_blocked_name_does_not_exist_and_says_for_how_long() {
    let upstream = Scripted::start(|query| vec![query.answer(&[a([192, 0, 2, 1])])]).await;
    let routes = vec![route("ads.example", &[]), route("good.ads.example", &[&upstream])];
    let served = Served::new(ForwardOptions { routes, ..asking(&upstream) }).await;
    for name in ["ads.example", "x.Ads.example"] {
        for reply in [
            served.client().udp(&Query::new(name, rtype::A).edns(1232)),
            served.client().tcp(&Query::new(name, 65_280).edns(1232)),
        ] {
            assert_eq!((reply.status(), reply.flags()), ("NXDOMAIN".into(), "qr aa rd ra".into()));
            let soa = reply.authority()[0].to_ascii_lowercase();
            assert_eq!(soa, "ads.example. 0 in soa ads.example. hostmaster.ads.example. 0 3600 600 86400 0");
            assert_eq!(reply.extended_errors(), [(ede::BLOCKED, "ads.example is blocked here".to_owned())]);
        }
    }
    assert_eq!(upstream.queries().len(), 0);
    assert_eq!(served.client().udp(&Query::new("x.good.ads.example", rtype::A)).addresses().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f2_n9_an_alias_of_ours_into_a_blocked_domain() {
    let served = Served::new(ForwardOptions {
        routes: vec![route("example", &[])],
        upstreams: vec![].into(),
        ..ForwardOptions::default()
    })
    .await;
    let network = Network::builder("shop").listen("127.0.0.1").negative_ttl(7).alias("orders", "x.example");
    served.server.add_network(network.build().unwrap()).await.unwrap();
    let client = super::support::client::Client::new(listening(&served.server, "shop"));
    let reply = client.udp(&Query::new("orders", rtype::A));
    assert_eq!(reply.status(), "NXDOMAIN");
    assert_eq!(reply.answers(), ["orders. 0 IN CNAME x.example."]);
    assert_eq!(reply.authority(), ["example. 7 IN SOA example. hostmaster.example. 0 3600 600 86400 7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f2_private_reverse_zones_follow_routes() {
    let pointing = |name: &'static [u8]| Scripted::start(move |query| vec![query.answer(&[record(rtype::PTR, name)])]);
    let (office, home) = (pointing(b"\x06office\0").await, pointing(b"\x04home\0").await);
    let routes = vec![route("10.in-addr.arpa", &[&office]), route("d.f.ip6.arpa", &[&office])];
    let served = Served::new(ForwardOptions { routes, ..asking(&home) }).await;
    let endpoint = Endpoint::builder("db-1").name("db").address("10.10.1.3").build().unwrap();
    let network = Network::builder("shop").subnet("10.10.1.0/24").listen("127.0.0.1").endpoint(endpoint);
    served.server.add_network(network.build().unwrap()).await.unwrap();
    let client = super::support::client::Client::new(listening(&served.server, "shop"));
    for (address, name) in [
        ("10.10.1.3", Some("db.")),
        ("10.10.1.4", None),
        ("10.10.2.3", Some("office.")),
        ("192.168.1.1", Some("home.")),
        ("fd00::1", Some("office.")),
        ("fe80::1", Some("home.")),
    ] {
        // The second time from the cache.
        for _ in 0..2 {
            let reply = client.udp(&Query::reverse(address.parse().unwrap()));
            let names: Vec<String> = reply.message.answers.iter().map(|record| record.data.to_string()).collect();
            assert_eq!(names.first().map(String::as_str), name, "{address}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f2_a_resolv_conf_whose_servers_fail_is_looked_at_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("resolv.conf");
    // A server of resolv.conf has port 53: nobody listens there at this address, and none is needed that does.
    std::fs::write(&path, "nameserver 127.0.0.66\n").unwrap();
    let options = ForwardOptions {
        upstreams: Upstreams::resolv_conf(&path).unwrap(),
        recheck: Duration::from_secs(3600),
        ..ForwardOptions::default()
    };
    let served = Served::new(options).await;
    std::fs::write(&path, "nameserver 127.0.0.67\n").unwrap();
    let text = |name| served.client().udp(&Query::new(name, rtype::A).edns(1232)).extended_errors()[0].1.clone();
    assert!(text("one.example").starts_with("127.0.0.66:53"));
    assert!(text("two.example").starts_with("127.0.0.67:53"));
}

#[test]
fn f2_the_options_of_a_resolv_conf_go_with_its_servers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("resolv.conf");
    std::fs::write(&path, "nameserver 192.0.2.53\noptions rotate timeout:2 attempts:3 use-vc trust-ad edns0\n")
        .unwrap();
    let routes = vec![
        Route { domain: "a".parse().unwrap(), to: Destination::System },
        Route { domain: "b".parse().unwrap(), to: Destination::Servers(["192.0.2.1".parse().unwrap()].into()) },
    ];
    let upstreams = Upstreams::resolv_conf(&path).unwrap();
    let forwarder = Forwarder::new(ForwardOptions { routes, upstreams, ..ForwardOptions::default() });
    for name in [&b"\x01a\x00"[..], b"\x01x\x00"] {
        let system = forwarder.choose(name, &[]).system.unwrap();
        assert!(system.rotate && system.use_vc && system.trust_ad && system.edns0);
    }
    assert_eq!(forwarder.choose(b"\x01b\x00", &[]).system, None);
}

#[test]
fn f2_ad_is_passed_on_where_the_resolv_conf_trusts_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("resolv.conf");
    let question = b"\x03www\x07example\x00\x00\x01\x00\x01";
    let name = question.split_last_chunk::<4>().unwrap().0;
    let reply = [&[0, 7, 0x81, 0xa0, 0, 1, 0, 1, 0, 0, 0, 0][..], question, &a([192, 0, 2, 1])].concat();
    let listed = Upstreams::List(vec!["192.0.2.53".parse().unwrap()]);
    for (content, expected) in [(Some("options edns0\n"), 0), (Some("options trust-ad\n"), flag::AD), (None, flag::AD)]
    {
        let upstreams = match content {
            Some(options) => {
                std::fs::write(&path, format!("nameserver 192.0.2.53\n{options}")).unwrap();
                Upstreams::resolv_conf(&path).unwrap()
            }
            None => listed.clone(),
        };
        let forwarder = Arc::new(Forwarder::new(ForwardOptions { upstreams, ..ForwardOptions::default() }));
        let choice = forwarder.choose(name, &[]);
        let flags = flag::RD | flag::AD;
        let asked = Question { question: question.to_vec(), flags, dnssec_ok: false };
        forwarder.take_reply(&asked, &choice, reply.clone());
        let asked = Asked { id: 7, flags, question, limit: 512, edns: None, aliases: &[] };
        let mut out = [0; 512];
        forwarder.cached(name, &choice, &asked, &mut out).unwrap();
        assert_eq!(Header::read(&out).unwrap().flags & flag::AD, expected, "{content:?}");
    }
}
