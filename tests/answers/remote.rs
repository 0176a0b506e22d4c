//! Endpoints that other hosts have published (answers.md V7, N8b).

use std::sync::Arc;
use std::time::Instant;

use callsign::responder::{ClientIdentity, HostAnswer, HostView};
use callsign::table::{
    Clients, Endpoint, EndpointBuilder, Event, Health, HealthPolicy, HostOrigin, Merge, Network, NetworkBuilder, Port,
    Protocol, Reach, RefusedName, ReverseNames, Sharing, Spread, TableError, Untaken,
};
use hickory_proto::rr::RecordType::{A, AAAA, ANY, PTR, SRV};

use crate::kit::{World, blog, check, endpoint, named, shop};

const ID: &str = "3f2a9c0d1e4b5a697887766554433221100ffeeddccbbaa99887766554433221";

fn origin(host: &str, reach: Reach) -> Arc<HostOrigin> {
    Arc::new(HostOrigin::new(host, reach).unwrap().learned(41, Instant::now()))
}

/// A container of another host, at its own address.
fn remote(host: &str, id: &str, address: &str, names: &[&str]) -> EndpointBuilder {
    endpoint(id, &[address]).names(names).origin(origin(host, Reach::Container))
}

/// A container of another host, at that host's address.
fn behind(host: &str, id: &str, address: &str, name: &str) -> EndpointBuilder {
    endpoint(id, &[address]).name(name).origin(origin(host, Reach::Host))
}

fn http(number: u16) -> Port {
    Port::named("http", number, Protocol::Tcp)
}

fn built(endpoint: EndpointBuilder) -> Endpoint {
    endpoint.build().unwrap()
}

/// `shop`, which host-b and host-c have too: `queue` on host-b alone, `web` on both and here.
fn shared() -> NetworkBuilder {
    shop()
        .sharing(Some(sharing(Spread::Local)))
        .endpoint(built(remote("host-b", ID, "10.20.2.12", &["queue"]).port(http(8080))))
        .endpoint(built(remote("host-b", "webb", "10.20.2.4", &["web"])))
        .endpoint(built(remote("host-c", "webc", "10.20.3.4", &["web"])))
}

fn sharing(spread: Spread) -> Sharing {
    let mut sharing = Sharing::new(Reach::Container);
    sharing.spread = spread;
    sharing.remote_subnets = vec!["10.20.2.0/23".parse().unwrap()];
    sharing.host = Some("host-a".parse().unwrap());
    sharing
}

#[test]
fn v7_an_endpoint_of_another_host_is_never_a_client() {
    for clients in [Clients::Listener, Clients::Table] {
        let world = World::of([
            shared().clients(clients).allow("0.0.0.0/0"),
            blog().clients(clients).allow("0.0.0.0/0").endpoint(built(remote("host-b", ID, "10.10.2.77", &["own"]))),
        ]);
        // host-b's queue asks from its own address: it is nobody, here and at the gateway of another network.
        let there = world.client("shop", "10.20.2.12");
        assert!(!matches!(
            there.explain("db", A).client,
            ClientIdentity::Endpoint(_) | ClientIdentity::Elsewhere { .. }
        ));
        check(there.ask("own", A), "forward: own");
        let elsewhere = world.client("blog", "10.20.2.12").explain("site", A).client;
        assert!(!matches!(elsewhere, ClientIdentity::Endpoint(_) | ClientIdentity::Elsewhere { .. }), "{elsewhere:?}");
    }
}

#[test]
fn v7_an_address_of_this_host_stays_its_clients() {
    let world = World::of([shared(), blog()]);
    // Another host says that it has the proxy's address, and says so last.
    world.network("shop").attach(built(remote("host-b", "thief", "10.10.1.6", &["thief"]))).unwrap();
    let proxy = world.client("shop", "10.10.1.6");
    assert_eq!(proxy.explain("db", A).client, ClientIdentity::Endpoint("proxy-1".into()));
    check(proxy.ask("site", A), "NOERROR: site A 10.10.2.4");
    check(proxy.ask("6.1.10.10.in-addr.arpa", PTR), "NOERROR: 6.1.10.10.in-addr.arpa PTR proxy.internal");
}

#[test]
fn v7_an_id_of_another_host_joins_no_view() {
    let secret = |extra: Option<Endpoint>| {
        let network = Network::builder("secret").endpoint(named("secret-1", &["10.10.9.2"], &["secret"]));
        extra.into_iter().fold(network, NetworkBuilder::endpoint)
    };
    // As it stands, with another host's name in front, and the other way round: a local id like a remote one's.
    let thief = built(remote("host-b", "proxy-1", "10.10.9.9", &[]));
    let world = World::of([shared(), secret(Some(thief))]);
    check(world.client("shop", "10.10.1.6").ask("secret", A), "forward: secret");
    let odd = named("host-b/odd", &["10.10.1.88"], &["odd"]);
    let world = World::of([shared().endpoint(odd), secret(Some(built(remote("host-b", "odd", "10.10.9.9", &[]))))]);
    check(world.client("shop", "10.10.1.88").ask("secret", A), "forward: secret");
    // Also when the local one was on that network before.
    let world = World::of([
        shared().endpoint(named("host-b/odd", &["10.10.1.88"], &[])),
        secret(Some(named("host-b/odd", &["10.10.9.88"], &[]))),
    ]);
    check(world.client("shop", "10.10.1.88").ask("secret", A), "NOERROR: secret A 10.10.9.2");
    world.network("secret").detach("host-b/odd").unwrap();
    world.network("secret").attach(built(remote("host-b", "odd", "10.10.9.9", &[]))).unwrap();
    check(world.client("shop", "10.10.1.88").ask("secret", A), "forward: secret");
}

#[test]
fn v7_an_endpoint_of_this_host_wins_over_one_with_its_id() {
    let world = World::of([shared().endpoint(named("host-b/odd", &["10.10.1.88"], &["odd"]))]);
    let shop = world.network("shop");
    shop.attach(built(remote("host-b", "odd", "10.20.2.9", &["odd"]))).unwrap();
    check(world.client("shop", "10.10.1.2").ask("odd", A), "NOERROR: odd A 10.10.1.88");
    shop.change(|change| change.detach_host(&"host-b".parse().unwrap())).unwrap();
    check(world.client("shop", "10.10.1.2").ask("odd", A), "NOERROR: odd A 10.10.1.88");
}

#[test]
fn n8b_this_hosts_endpoints_answer_alone() {
    let world = World::of([shared()]);
    let client = world.client("shop", "10.10.1.2");
    check(client.ask("queue", A), "NOERROR: queue A 10.20.2.12");
    check(client.ask("queue.internal", AAAA), "NOERROR (SOA internal)");
    check(client.ask("web", A), "NOERROR: web A 10.10.1.4, web A 10.10.1.5");
    check(
        client.ask("_http._tcp.queue", SRV),
        &format!(
            "NOERROR: _http._tcp.queue SRV 0 1 8080 {}.host-b.internal + {0}.host-b.internal A 10.20.2.12",
            &ID[..12]
        ),
    );
    check(
        client.ask(&format!("{}.host-b.internal", &ID[..12]), A),
        &format!("NOERROR: {}.host-b.internal A 10.20.2.12", &ID[..12]),
    );
}

#[test]
fn n8b_other_hosts_answer_while_none_here_is_up_and_healthy() {
    let world = World::of([shared()]);
    let (shop, client) = (world.network("shop"), world.client("shop", "10.10.1.2"));
    let others = "NOERROR: web A 10.20.2.4, web A 10.20.3.4";
    shop.update("shop-web-1", |web| web.with_running(false)).unwrap();
    check(client.ask("web", A), "NOERROR: web A 10.10.1.5");
    shop.update("shop-web-2", |web| web.with_health(Health::Unhealthy)).unwrap();
    check(client.ask("web", A), others);
    // One host's is not well: the other one's is.
    shop.update("host-b/webb", |web| web.with_health(Health::Unhealthy)).unwrap();
    check(client.ask("web", A), "NOERROR: web A 10.20.3.4");
    // None is: this host's again (answers.md N8).
    shop.update("host-c/webc", |web| web.with_health(Health::Starting)).unwrap();
    check(client.ask("web", A), "NOERROR: web A 10.10.1.5");
    shop.change(|change| change.settings(|settings| settings.health = HealthPolicy::Require)).unwrap();
    check(client.ask("web", A), "NOERROR (SOA web)");
    // Where health is not looked at, one that is up is enough.
    shop.change(|change| change.settings(|settings| settings.health = HealthPolicy::Ignore)).unwrap();
    check(client.ask("web", A), "NOERROR: web A 10.10.1.5");
    shop.detach("shop-web-2").unwrap();
    check(client.ask("web", A), others);
    shop.update("shop-web-1", |web| web.with_running(true)).unwrap();
    check(client.ask("web", A), "NOERROR: web A 10.10.1.4");
}

#[test]
fn n8b_all_answer_together_with_spread_all() {
    let world = World::of([shared().sharing(Some(sharing(Spread::All)))]);
    let (shop, client) = (world.network("shop"), world.client("shop", "10.10.1.2"));
    check(client.ask("web", A), "NOERROR: web A 10.10.1.4, web A 10.10.1.5, web A 10.20.2.4, web A 10.20.3.4");
    shop.change(|change| change.settings(|settings| settings.sharing = Some(Arc::new(sharing(Spread::Local)))))
        .unwrap();
    check(client.ask("web", A), "NOERROR: web A 10.10.1.4, web A 10.10.1.5");
}

#[test]
fn n8b_name_and_host_name_one_hosts_alone() {
    let world = World::of([shared()]);
    let client = world.client("shop", "10.10.1.2");
    check(client.ask("web.host-b", A), "NOERROR: web.host-b A 10.20.2.4");
    check(client.ask("web.host-c.internal", A), "NOERROR: web.host-c.internal A 10.20.3.4");
    check(client.ask("web.host-a.shop", A), "NOERROR: web.host-a.shop A 10.10.1.4, web.host-a.shop A 10.10.1.5");
    check(client.ask("db.host-b.internal", A), "NXDOMAIN (SOA internal)");
    check(client.ask("host-b.internal", A), "NOERROR (SOA internal)");
    // Not even by a container that is called so on another host; only host-b says what is on host-b.
    let shop = world.network("shop");
    shop.attach(built(remote("host-c", "liar", "10.20.3.66", &["web.host-b", "db.host-a", "queue"]))).unwrap();
    check(client.ask("web.host-b", A), "NOERROR: web.host-b A 10.20.2.4");
    check(client.ask("db.host-a", A), "NOERROR: db.host-a A 10.10.1.3");
    shop.detach("shop-db-1").unwrap();
    check(client.ask("db.host-a.internal", A), "NXDOMAIN (SOA internal)");
    check(client.ask("queue.host-b", A), "NOERROR: queue.host-b A 10.20.2.12");
}

#[test]
fn n8b_names_of_a_lost_host_are_known_and_not_forwarded() {
    let world = World::of([shared()]);
    let (shop, client) = (world.network("shop"), world.client("shop", "10.10.1.2"));
    let host_b = "host-b".parse().unwrap();
    let before = shop.snapshot().revision();
    shop.change(|change| change.lose_host(&host_b, true)).unwrap();
    assert_eq!(shop.snapshot().revision(), before + 1, "one change");
    check(client.ask("queue", A), "NOERROR (SOA queue) [0 queue was on host-b, which is not reachable]");
    check(
        client.ask("_http._tcp.queue", SRV),
        "NOERROR (SOA _http._tcp.queue) [0 queue was on host-b, which is not reachable]",
    );
    check(
        client.ask("queue.host-b.internal", A),
        "NOERROR (SOA internal) [0 queue.host-b was on host-b, which is not reachable]",
    );
    assert_eq!(client.explain("queue", A).rule.letter(), "N8b");
    // Others have the name: they answer.
    check(client.ask("web", A), "NOERROR: web A 10.10.1.4, web A 10.10.1.5");
    shop.change(|change| ["shop-web-1", "shop-web-2"].iter().for_each(|id| _ = change.detach(id))).unwrap();
    check(client.ask("web", A), "NOERROR: web A 10.20.3.4");
    // It is back, as it was.
    shop.change(|change| change.lose_host(&host_b, false)).unwrap();
    check(client.ask("queue", A), "NOERROR: queue A 10.20.2.12");
    check(client.ask("web", A), "NOERROR: web A 10.20.2.4, web A 10.20.3.4");
    // A container that was stopped before its host was lost is stopped when that is back.
    shop.update("host-b/webb", |web| web.with_running(false)).unwrap();
    for lost in [true, false] {
        shop.change(|change| change.lose_host(&host_b, lost)).unwrap();
    }
    check(client.ask("web.host-b", A), "NOERROR (SOA web.host-b) [0 web.host-b is not running]");
}

#[test]
fn n8b_a_name_that_is_stopped_here_and_lost_there_is_not_running() {
    let world = World::of([shared()]);
    let (shop, client) = (world.network("shop"), world.client("shop", "10.10.1.2"));
    shop.attach(built(remote("host-b", "workerb", "10.20.2.7", &["worker"]))).unwrap();
    check(client.ask("worker", A), "NOERROR: worker A 10.20.2.7");
    shop.change(|change| change.lose_host(&"host-b".parse().unwrap(), true)).unwrap();
    check(client.ask("worker", A), "NOERROR (SOA worker) [0 worker is not running]");
}

#[test]
fn n8b_a_host_goes_in_one_change() {
    let world = World::of([shared()]);
    let (shop, client) = (world.network("shop"), world.client("shop", "10.10.1.2"));
    let mut feed = world.table.follow();
    shop.change(|change| change.detach_host(&"host-b".parse().unwrap())).unwrap();
    let Some(Event::NetworkChanged { attached, mut detached, .. }) = feed.try_next() else { panic!("no event") };
    detached.sort();
    assert_eq!((attached.len(), detached), (0, vec![format!("host-b/{ID}").into(), "host-b/webb".into()]));
    assert_eq!(feed.try_next(), None);
    check(client.ask("queue.internal", A), "NXDOMAIN (SOA internal)");
    check(client.ask("web.host-b.internal", A), "NXDOMAIN (SOA internal)");
    check(client.ask("host-b.internal", A), "NXDOMAIN (SOA internal)");
    check(client.ask("web.host-c", A), "NOERROR: web.host-c A 10.20.3.4");
}

#[test]
fn n8b_a_host_is_replaced_alone() {
    let world = World::of([shared()]);
    let (shop, client) = (world.network("shop"), world.client("shop", "10.10.1.2"));
    let host_b = "host-b".parse().unwrap();
    let again = [
        built(remote("host-b", "webb", "10.20.2.4", &["web"])),
        built(remote("host-b", "new", "10.20.2.13", &["new"])),
        // Not host-b's: not taken.
        built(remote("host-c", "other", "10.20.3.13", &["other"])),
    ];
    shop.change(|change| change.replace_host(&host_b, again.clone())).unwrap();
    check(client.ask("new", A), "NOERROR: new A 10.20.2.13");
    check(client.ask("queue.internal", A), "NXDOMAIN (SOA internal)");
    check(client.ask("other.internal", A), "NXDOMAIN (SOA internal)");
    check(client.ask("web.host-c", A), "NOERROR: web.host-c A 10.20.3.4");
    // The same at a later revision is no change.
    let before = shop.snapshot().revision();
    shop.change(|change| change.replace_host(&host_b, again[..2].to_vec())).unwrap();
    assert_eq!(shop.snapshot().revision(), before);
    // A source of this host starts over: other hosts' endpoints are none of its business.
    shop.replace_all([named("shop-db-1", &["10.10.1.3"], &["db"])]).unwrap();
    check(client.ask("new", A), "NOERROR: new A 10.20.2.13");
    shop.replace_with(&crate::kit::shop().build().unwrap()).unwrap();
    check(client.ask("new", A), "NOERROR: new A 10.20.2.13");
}

#[test]
fn n8b_a_container_behind_its_host_answers_with_what_that_publishes() {
    let world = World::of([shared()
        .endpoint(built(
            behind("host-b", "api2", "10.77.0.12", "api2")
                .port(http(80).published_at(["10.77.0.12:30080".parse().unwrap()])),
        ))
        .endpoint(built(behind("host-c", "mute", "10.77.0.13", "mute").port(http(80))))]);
    let (shop, client) = (world.network("shop"), world.client("shop", "10.10.1.2"));
    check(client.ask("api2", A), "NOERROR: api2 A 10.77.0.12");
    check(
        client.ask("_http._tcp.api2", SRV),
        "NOERROR: _http._tcp.api2 SRV 0 1 30080 api2.host-b.internal + api2.host-b.internal A 10.77.0.12",
    );
    check(
        client.ask("_80._tcp.api2", SRV),
        "NOERROR: _80._tcp.api2 SRV 0 1 30080 api2.host-b.internal + api2.host-b.internal A 10.77.0.12",
    );
    // A host's address is no container's.
    check(client.ask("12.0.77.10.in-addr.arpa", PTR), "forward: 12.0.77.10.in-addr.arpa");
    let closed = "[0 mute runs on host-c and publishes no port]";
    check(client.ask("mute", A), &format!("NOERROR (SOA mute) {closed}"));
    check(client.ask("_http._tcp.mute", SRV), &format!("NOERROR (SOA _http._tcp.mute) {closed}"));
    // What nobody can reach stands behind what is not well.
    shop.attach(built(remote("host-b", "muteb", "10.20.2.66", &["mute"]).health(Health::Unhealthy))).unwrap();
    check(client.ask("mute", A), "NOERROR: mute A 10.20.2.66");
}

#[test]
fn n8b_reverse_names_of_other_hosts_containers() {
    for (policy, expected) in [
        (ReverseNames::Canonical, "NOERROR: 12.2.20.10.in-addr.arpa PTR queue.internal"),
        (ReverseNames::All, "NOERROR: 12.2.20.10.in-addr.arpa PTR queue"),
    ] {
        let world = World::of([shared().reverse_names(policy)]);
        let client = world.client("shop", "10.10.1.2");
        check(client.ask("12.2.20.10.in-addr.arpa", PTR), expected);
        // Unknown addresses of the other hosts' subnets are ours, too.
        check(client.ask("99.3.20.10.in-addr.arpa", PTR), "NXDOMAIN (SOA 99.3.20.10.in-addr.arpa)");
    }
}

#[test]
fn n8b_names_that_are_this_hosts_are_not_taken() {
    let mut whole = sharing(Spread::All);
    whole.host = Some("host-a".parse().unwrap());
    let world = World::of([shared()
        .sharing(Some(whole))
        .record(callsign::table::Record::parse("note", "TXT", "hello", None).unwrap())]);
    let (shop, client) = (world.network("shop"), world.client("shop", "10.10.1.2"));
    let names = [
        ("payments", Some(RefusedName::Record)),
        ("payments.internal", Some(RefusedName::Record)),
        ("note.shop", Some(RefusedName::Record)),
        ("host.docker.internal", Some(RefusedName::Gateway)),
        ("host.docker", Some(RefusedName::Gateway)),
        ("*.apps", Some(RefusedName::Wildcard)),
        ("localhost", Some(RefusedName::Reserved)),
        ("x.localhost", Some(RefusedName::Reserved)),
        ("localhost.internal", Some(RefusedName::Reserved)),
        ("77.1.10.10.in-addr.arpa", Some(RefusedName::Reserved)),
        ("_http._tcp.api", Some(RefusedName::Reserved)),
        ("db.host-a", Some(RefusedName::OwnHost)),
        ("db", None),
        ("fine", None),
    ];
    let liar = names.iter().fold(remote("host-b", "liar", "10.20.2.66", &[]), |liar, (name, _)| liar.name(name));
    shop.attach(built(liar)).unwrap();
    let host_b = origin("host-b", Reach::Container);
    for (name, refused) in names {
        let name: callsign::wire::Name = name.parse().unwrap();
        assert_eq!(shop.snapshot().refuses(&host_b, &name), refused, "{name}");
        let text = format!("{}", client.ask(&name.to_string(), A));
        assert_eq!(text.contains("10.20.2.66"), refused.is_none(), "{text}");
    }
    check(client.ask("payments", A), "forward: payments > payments.dev.example.com");
    check(client.ask("x.apps.internal", A), "NXDOMAIN (SOA internal)");
    check(client.ask("fine.host-b", A), "NOERROR: fine.host-b A 10.20.2.66");
    // A record that comes later takes its name away.
    let record = callsign::table::Record::parse("fine", "A", "192.0.2.1", None).unwrap();
    shop.set_added_records(vec![record]).unwrap();
    check(client.ask("fine", A), "NOERROR: fine A 192.0.2.1");
    shop.set_added_records(Vec::new()).unwrap();
    check(client.ask("fine", A), "NOERROR: fine A 10.20.2.66");
}

#[test]
fn n8b_a_longer_spelling_of_a_name_wins_nothing() {
    // As the names stand, they would win over this host's `db` (answers.md N2).
    let liar =
        remote("host-b", "liar", "10.20.2.66", &["db.internal", "api.shop", "db.shop.internal", "extra.internal"]);
    let world = World::of([shared().endpoint(built(liar))]);
    let client = world.client("shop", "10.10.1.2");
    check(client.ask("db.internal", A), "NOERROR: db.internal A 10.10.1.3");
    check(client.ask("api.shop", A), "NOERROR: api.shop A 10.10.1.2");
    check(client.ask("db.shop.internal", A), "NOERROR: db.shop.internal A 10.10.1.3");
    check(client.ask("extra.internal", A), "NOERROR: extra.internal A 10.20.2.66");
    // Nor does a host that is called like the domain.
    let world = World::of([shared().endpoint(built(remote("internal", "liar", "10.20.2.66", &["db", "more"])))]);
    let client = world.client("shop", "10.10.1.2");
    check(client.ask("db.internal", A), "NOERROR: db.internal A 10.10.1.3");
    check(client.ask("more.internal", A), "NOERROR: more.internal A 10.20.2.66");
}

#[test]
fn n8b_what_is_lost_gives_way_on_another_network() {
    for merge in [Merge::Nearest, Merge::All] {
        let world = World::of([shared().merge(merge), blog().endpoint(named("queue-1", &["10.10.2.99"], &["queue"]))]);
        let (shop, proxy) = (world.network("shop"), world.client("shop", "10.10.1.6"));
        shop.change(|change| change.lose_host(&"host-b".parse().unwrap(), true)).unwrap();
        check(proxy.ask("queue", A), "NOERROR: queue A 10.10.2.99");
    }
}

#[test]
fn n8b_the_host_view_has_them_too() {
    let published = http(80).published_at(["10.77.0.12:30080".parse().unwrap()]);
    let world = World::of([shared().endpoint(built(remote("host-b", "api2", "10.20.2.8", &["api2"]).port(published)))]);
    let view = |answer| HostView::builder().domain("test").answer(answer);
    let host = world.host_view(view(HostAnswer::Containers), "127.0.0.1");
    check(host.ask("api2.shop.test", A), "NOERROR: api2.shop.test A 10.20.2.8");
    check(host.ask("api2.host-b.shop.test", ANY), "NOERROR: api2.host-b.shop.test A 10.20.2.8");
    check(host.ask("8.2.20.10.in-addr.arpa", PTR), "NOERROR: 8.2.20.10.in-addr.arpa PTR api2.shop.test");
    check(host.ask("99.2.20.10.in-addr.arpa", PTR), "NXDOMAIN (SOA 99.2.20.10.in-addr.arpa)");
    let host = world.host_view(view(HostAnswer::Published), "127.0.0.1");
    check(host.ask("api2.shop.test", A), "NOERROR: api2.shop.test A 10.77.0.12");
    check(
        host.ask("_http._tcp.api2.shop.test", SRV),
        "NOERROR: _http._tcp.api2.shop.test SRV 0 1 30080 api2.host-b.shop.test + api2.host-b.shop.test A 10.77.0.12",
    );
    world.network("shop").change(|change| change.lose_host(&"host-b".parse().unwrap(), true)).unwrap();
    check(host.ask("api2.shop.test", A), "NOERROR (SOA test) [0 api2 was on host-b, which is not reachable]");
}

#[test]
fn n8b_which_addresses_are_taken() {
    let settings = |spans, change: fn(&mut Sharing)| {
        let network = shop().sharing(Some(sharing(Spread::Local))).edit_sharing(change).spans_hosts(spans).build();
        let network = network.unwrap();
        let snapshot = network.snapshot();
        ["10.10.1.77", "10.20.2.77", "192.0.2.1"].map(|address| snapshot.settings().takes(address.parse().unwrap()))
    };
    assert_eq!(settings(false, |_| ()), [Err(Untaken::OwnSubnet), Ok(()), Err(Untaken::Outside)]);
    assert_eq!(settings(true, |_| ()), [Ok(()), Ok(()), Err(Untaken::Outside)]);
    let listed = |sharing: &mut Sharing| sharing.remote_subnets.push("10.10.0.0/16".parse().unwrap());
    assert_eq!(settings(false, listed), [Ok(()), Ok(()), Err(Untaken::Outside)]);
    assert_eq!(settings(true, |sharing| sharing.reach = Reach::Host), [Err(Untaken::NotShared); 3]);
}

#[test]
fn an_origin_and_its_endpoints_have_plain_names() {
    for bad in ["", ".", "host b", "host/b", "*.b", "host_b", "a..b", "größe"] {
        assert!(matches!(HostOrigin::new(bad, Reach::Host), Err(TableError::HostName(_))), "{bad}");
    }
    assert_eq!(HostOrigin::new("Host-B.dc1", Reach::Host).unwrap().host().to_string(), "host-b.dc1");
    for bad in ["", "a..b", &"x".repeat(64)] {
        assert!(remote("host-b", bad, "10.0.0.1", &[]).build().is_err(), "{bad}");
    }
    // Where a port is published is where this host reaches it.
    let port = http(80).published_at([
        "0.0.0.0:1".parse().unwrap(),
        "127.0.0.1:2".parse().unwrap(),
        "10.0.0.1:3".parse().unwrap(),
    ]);
    let endpoint = built(behind("host-b", "x", "10.0.0.1", "x").port(port));
    assert_eq!(endpoint.ports()[0].published(), ["10.0.0.1:3".parse().unwrap()]);
    let (id, origin) = (endpoint.id(), endpoint.origin().unwrap());
    assert_eq!((id, origin.revision(), origin.learned_at().is_some()), ("host-b/x", 41, true));
}

#[test]
fn n8b_until_other_hosts_are_known_nothing_is_unknown() {
    let world = World::of([shared(), blog()]);
    let (shop, client) = (world.network("shop"), world.client("shop", "10.10.1.2"));
    let not_ready = "SERVFAIL [14 the names of other hosts are not known yet]";
    shop.change(|change| change.await_remote(true)).unwrap();
    check(client.ask("nothere.internal", A), not_ready);
    assert_eq!(client.explain("nothere.internal", A).rule.letter(), "N8b");
    // What is known, what is not ours, and what is elsewhere are as ever.
    check(client.ask("db.internal", A), "NOERROR: db.internal A 10.10.1.3");
    check(client.ask("nothere", A), "forward: nothere");
    check(client.ask("shop.internal", A), "NOERROR (SOA internal)");
    let host = world.host_view(HostView::builder().domain("test"), "127.0.0.1");
    check(host.ask("nothere.shop.test", A), not_ready);
    check(host.ask("nothere.blog.test", A), "NXDOMAIN (SOA test)");
    // A reload is no reason to forget it.
    shop.replace_with(&crate::kit::shop().build().unwrap()).unwrap();
    check(client.ask("nothere.internal", A), not_ready);
    shop.change(|change| change.await_remote(false)).unwrap();
    check(client.ask("nothere.internal", A), "NXDOMAIN (SOA internal)");
}
