//! The host program asks what a client would get.

use callsign::responder::ClientIdentity;
use callsign::server::{Server, ServerError};
use callsign::settings::Upstream;
use callsign::table::Network;
use callsign::wire::{rcode, rtype};

use crate::endpoint;
use crate::support::upstream::{Scripted, a};

#[tokio::test]
async fn an_answer_has_records_a_response_code_and_why() {
    let upstream = Scripted::start(|query| vec![query.answer(&[a([192, 0, 2, 1])])]).await;
    let upstreams = [Upstream::new(upstream.address().into())].into_iter().collect();
    let server = Server::builder().upstreams(upstreams).start().await.unwrap();
    let network = Network::builder("shop").subnet("10.10.1.0/24").domain("internal").alias("pay", "pay.example");
    let network = network.endpoint(endpoint("db", "10.10.1.3")).build().unwrap();
    let shop = server.add_network(network).await.unwrap();
    let resolve = async |client: &str, name: &str, rtype| {
        server.resolve(&shop, client.parse().unwrap(), &name.parse().unwrap(), rtype).await.unwrap()
    };

    let local = resolve("10.10.1.3", "db", rtype::A).await;
    assert_eq!((local.rcode, local.records.len()), (rcode::NOERROR, 1));
    assert_eq!(local.records[0].ip(), Some("10.10.1.3".parse().unwrap()));
    assert_eq!(local.explanation.client, ClientIdentity::Endpoint("db-1".to_owned()));

    let reverse = resolve("10.10.1.3", "3.1.10.10.in-addr.arpa", rtype::PTR).await;
    assert_eq!(reverse.records[0].rdata, b"\x02db\x08internal\x00", "names are in full");
    assert_eq!(resolve("10.10.1.9", "nothere.internal", rtype::A).await.rcode, rcode::NXDOMAIN);
    assert_eq!(resolve("192.0.2.77", "db", rtype::A).await.rcode, rcode::REFUSED, "v4: a stranger");

    let foreign = resolve("10.10.1.3", "www.example", rtype::A).await;
    assert_eq!(foreign.records[0].ip(), Some("192.0.2.1".parse().unwrap()));
    assert!(foreign.explanation.decision.starts_with("forwarded"), "{}", foreign.explanation);
    let alias = resolve("10.10.1.3", "pay", rtype::A).await;
    let types: Vec<_> = alias.records.iter().map(|record| record.rtype).collect();
    assert_eq!(types, [rtype::CNAME, rtype::A]);

    let hosts = Network::builder("hosts").endpoint(endpoint("nas", "192.0.2.7")).build().unwrap();
    server.set_hosts(Some(hosts.snapshot().clone()));
    let of_host = resolve("10.10.1.3", "nas", rtype::A).await;
    assert_eq!(of_host.records[0].ip(), Some("192.0.2.7".parse().unwrap()), "n13");

    let asked = upstream.queries().len();
    let explained = server.explain(&shop, "10.10.1.3".parse().unwrap(), &"other.example".parse().unwrap(), rtype::A);
    assert!(explained.unwrap().decision.starts_with("forwarded"));
    assert_eq!(upstream.queries().len(), asked, "explain asks nobody");

    server.shutdown().await;
    let stopped = server.resolve(&shop, "10.10.1.3".parse().unwrap(), &"db".parse().unwrap(), rtype::A).await;
    assert!(matches!(stopped, Err(ServerError::Stopped)));
}
