//! The host view (V6).

use callsign::responder::{Client, ClientIdentity, HostAnswer, HostView, HostViewBuilder, Listener, Responder, Rule};
use callsign::table::{Clients, EndpointState, NameTable, Network, NetworkBuilder, Port, Protocol, Record};
use hickory_proto::rr::DNSClass;
use hickory_proto::rr::RecordType::{self, A, AAAA, ANY, CNAME, HTTPS, PTR, SRV, TXT};

use crate::kit::{Asker, World, ask, blog, check, endpoint, named, shop};

/// The host view of the host itself, in a world.
fn host(world: &World) -> Asker<'_> {
    world.host_view(HostView::builder(), "127.0.0.1")
}

/// What Compose makes of a project `shop` with two networks, and of a project `blog` that is on one of them.
fn compose() -> [NetworkBuilder; 2] {
    let service = |id, address, service: &str, project: &str| {
        let names = [format!("{project}-{service}-1"), service.to_owned(), format!("{service}.{project}")];
        endpoint(id, &[address]).names(names).project(project).build().unwrap()
    };
    [
        Network::builder("shop_back")
            .internal(true)
            .subnet("172.20.2.0/24")
            .clients(Clients::Table)
            .endpoint(service("web-b", "172.20.2.2", "web", "shop"))
            .endpoint(service("db-b", "172.20.2.3", "db", "shop")),
        Network::builder("shop_front")
            .subnet("172.20.1.0/24")
            .clients(Clients::Table)
            .endpoint(service("web-f", "172.20.1.2", "web", "shop"))
            .endpoint(service("blog-f", "172.20.1.3", "web", "blog")),
    ]
}

#[test]
fn v6_names_of_every_network_are_qualified() {
    let world = World::example();
    let host = host(&world);
    check(host.ask("db.shop.containers.internal", A), "NOERROR: db.shop.containers.internal A 10.10.1.3");
    check(host.ask("DB.Blog.Containers.Internal", A), "NOERROR: db.blog.containers.internal A 10.10.2.3");
    check(host.ask("shop-db-1.shop.containers.internal", A), "NOERROR: shop-db-1.shop.containers.internal A 10.10.1.3");
    check(host.ask("api.shop.containers.internal", AAAA), "NOERROR: api.shop.containers.internal AAAA fd00:10:1::2");
    // A network's own suffixes mean nothing here, nor is a name found without its network.
    for name in ["db.internal.shop", "db.shop.shop", "db", "db.shop.internal.shop", "site.shop", "db.nowhere"] {
        let reply = host.ask(&format!("{name}.containers.internal"), A);
        check(reply, "NXDOMAIN (SOA containers.internal)");
    }
    assert_eq!(host.explain("db.shop.containers.internal", A).client, ClientIdentity::HostView);
}

#[test]
fn v6_other_types_are_no_data_and_browsers_ask_https() {
    let world = World::example();
    let host = host(&world);
    for rtype in [HTTPS, TXT, RecordType::MX, RecordType::from(65_280), CNAME] {
        check(host.ask("db.shop.containers.internal", rtype), "NOERROR (SOA containers.internal)");
    }
    check(host.ask("db.shop.containers.internal", AAAA), "NOERROR (SOA containers.internal)");
    check(host.ask("db.shop.containers.internal", ANY), "NOERROR: db.shop.containers.internal A 10.10.1.3");
    let world = World::of([shop().record(Record::parse("db", "TXT", "primary", None).unwrap())]);
    let host = self::host(&world);
    check(host.ask("db.shop.containers.internal", TXT), "NOERROR: db.shop.containers.internal TXT primary");
}

#[test]
fn v6_domain_networks_and_what_is_between_exist() {
    let world = World::of([blog(), Network::builder("my.net").endpoint(named("a", &["10.9.0.2"], &["a.deep"]))]);
    let host = host(&world);
    for name in ["", "blog.", "net.", "my.net.", "deep.my.net."] {
        for rtype in [A, HTTPS, RecordType::SOA] {
            check(host.ask(&format!("{name}containers.internal"), rtype), "NOERROR (SOA containers.internal)");
        }
    }
    check(host.ask("a.deep.my.net.containers.internal", A), "NOERROR: a.deep.my.net.containers.internal A 10.9.0.2");
    check(host.ask("deep.net.containers.internal", A), "NXDOMAIN (SOA containers.internal)");
    check(host.ask("below.site.blog.containers.internal", A), "NXDOMAIN (SOA containers.internal)");
    world.table.remove("my.net").unwrap();
    check(host.ask("net.containers.internal", A), "NXDOMAIN (SOA containers.internal)");
}

#[test]
fn v6_compose_services_by_their_project() {
    let world = World::of(compose());
    let host = host(&world);
    // On both of its networks: the one that is not internal comes first.
    check(host.ask("web.shop.containers.internal", A), "NOERROR: web.shop.containers.internal A 172.20.1.2");
    check(host.ask("web.blog.containers.internal", A), "NOERROR: web.blog.containers.internal A 172.20.1.3");
    check(host.ask("db.shop.containers.internal", A), "NOERROR: db.shop.containers.internal A 172.20.2.3");
    check(host.ask("web.shop_back.containers.internal", A), "NOERROR: web.shop_back.containers.internal A 172.20.2.2");
    check(host.ask("db.blog.containers.internal", A), "NXDOMAIN (SOA containers.internal)");
    check(host.ask("shop.containers.internal", A), "NOERROR (SOA containers.internal)");
    // A network of the project's name comes first, where it knows the name.
    let own = Network::builder("shop").endpoint(named("x", &["10.9.0.2"], &["web"]));
    world.table.add(own.build().unwrap()).unwrap();
    check(host.ask("web.shop.containers.internal", A), "NOERROR: web.shop.containers.internal A 10.9.0.2");
    check(host.ask("db.shop.containers.internal", A), "NOERROR: db.shop.containers.internal A 172.20.2.3");
    // The dotted name of an endpoint that is of no project is a name on its network only.
    let dotted = Network::builder("other").endpoint(named("y", &["10.9.1.2"], &["api.example"]));
    world.table.add(dotted.build().unwrap()).unwrap();
    check(host.ask("api.example.containers.internal", A), "NXDOMAIN (SOA containers.internal)");
    check(
        host.ask("api.example.other.containers.internal", A),
        "NOERROR: api.example.other.containers.internal A 10.9.1.2",
    );
    // A project is gone with its last endpoint.
    world.network("shop_front").detach("blog-f").unwrap();
    check(host.ask("blog.containers.internal", A), "NXDOMAIN (SOA containers.internal)");
    check(host.ask("web.shop.containers.internal", A), "NOERROR: web.shop.containers.internal A 10.9.0.2");
    world.table.remove("shop_front").unwrap();
    world.table.remove("shop").unwrap();
    check(host.ask("web.shop.containers.internal", A), "NOERROR: web.shop.containers.internal A 172.20.2.2");
}

#[test]
fn v6_projects_survive_new_settings_of_their_network() {
    let world = World::of(compose());
    let [back, _] = compose();
    for ttl in [5, 9] {
        world.network("shop_back").replace_with(&back.clone().ttl(ttl).build().unwrap()).unwrap();
    }
    world.table.remove("shop_front").unwrap();
    let host = host(&world);
    check(host.ask("db.shop.containers.internal", A), "NOERROR: db.shop.containers.internal A 172.20.2.3");
    world.network("shop_back").replace_all([]).unwrap();
    check(host.ask("shop.containers.internal", A), "NXDOMAIN (SOA containers.internal)");
}

#[test]
fn v6_a_stopped_name_says_so_and_gives_way_to_one_that_runs() {
    let world = World::example();
    let host = self::host(&world);
    check(
        host.ask("worker.shop.containers.internal", A),
        "NOERROR (SOA containers.internal) [0 worker is not running]",
    );
    let world = World::of(compose());
    let front = world.network("shop_front");
    front.update("web-f", |web| web.with_running(false)).unwrap();
    let host = self::host(&world);
    check(host.ask("web.shop.containers.internal", A), "NOERROR: web.shop.containers.internal A 172.20.2.2");
}

#[test]
fn v6_a_change_is_seen_at_once() {
    let world = World::example();
    let host = host(&world);
    let name = "new.blog.containers.internal";
    check(host.ask(name, A), "NXDOMAIN (SOA containers.internal)");
    world.network("blog").attach(named("n", &["10.10.2.9"], &["new"])).unwrap();
    check(host.ask(name, A), "NOERROR: new.blog.containers.internal A 10.10.2.9");
    world.network("blog").detach("n").unwrap();
    check(host.ask(name, A), "NXDOMAIN (SOA containers.internal)");
    world.table.remove("blog").unwrap();
    check(host.ask("db.blog.containers.internal", A), "NXDOMAIN (SOA containers.internal)");
}

#[test]
fn v6_what_lies_outside_is_refused_and_never_forwarded() {
    let world = World::example();
    let host = host(&world);
    let refused = "REFUSED [20 the host view has names below containers.internal only, and forwards nothing]";
    for name in ["www.example.com", "internal", "metadata.google.internal", "db", "db.internal", "db.shop", "."] {
        check(host.ask(name, A), refused);
    }
    check(host.ask("8.8.8.8.in-addr.arpa", PTR), refused);
    check(host.ask("arpa", PTR), refused);
    check(host.send(&ask("db.shop.containers.internal", A).class(DNSClass::HS).packet()), refused);
    // Without EDNS there is room for the code alone.
    check(host.send(&ask("www.example.com", A).without_edns().packet()), "REFUSED");
    let reply = host.ask("db.shop.containers.internal", A).reply();
    assert!(reply.message.metadata.authoritative && !reply.message.metadata.recursion_available);
    let reply = host.ask("www.example.com", A).reply();
    assert!(!reply.message.metadata.authoritative && !reply.message.metadata.recursion_available);
    // What is special everywhere is so here.
    check(host.ask("localhost", A), "NOERROR: localhost A 127.0.0.1");
    check(host.ask("1.0.0.127.in-addr.arpa", PTR), "NOERROR: 1.0.0.127.in-addr.arpa PTR localhost");
    assert_eq!(host.explain("www.example.com", A).rule, Rule::V6Outside);
}

#[test]
fn v6_reverse_names_of_all_networks() {
    let world = World::example();
    let host = host(&world);
    check(host.ask("3.1.10.10.in-addr.arpa", PTR), "NOERROR: 3.1.10.10.in-addr.arpa PTR db.shop.containers.internal");
    check(host.ask("4.2.10.10.in-addr.arpa", PTR), "NOERROR: 4.2.10.10.in-addr.arpa PTR site.blog.containers.internal");
    let v6 = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.1.0.0.0.0.d.f.ip6.arpa";
    check(host.ask(v6, PTR), &format!("NOERROR: {v6} PTR api.shop.containers.internal"));
    check(host.ask("3.1.10.10.in-addr.arpa", A), "NOERROR (SOA 3.1.10.10.in-addr.arpa)");
    // Nobody's in a known subnet, and what stands above addresses in it.
    check(host.ask("99.1.10.10.in-addr.arpa", PTR), "NXDOMAIN (SOA 99.1.10.10.in-addr.arpa)");
    check(host.ask("1.10.10.in-addr.arpa", PTR), "NOERROR (SOA 1.10.10.in-addr.arpa)");
}

#[test]
fn v6_an_address_that_two_networks_have_belongs_to_who_runs() {
    let on = |network: &str, state| {
        let endpoint = endpoint("id", &["10.7.0.2"]).name(network).state(state).build().unwrap();
        Network::builder(network).endpoint(endpoint)
    };
    let world = World::of([on("a", EndpointState::Down), on("b", EndpointState::Up)]);
    let answer = "NOERROR: 2.0.7.10.in-addr.arpa PTR b.b.containers.internal";
    check(host(&world).ask("2.0.7.10.in-addr.arpa", PTR), answer);
}

#[test]
fn v6_services_with_names_of_the_view() {
    let world = World::example();
    let host = host(&world);
    check(
        host.ask("_http._tcp.api.shop.containers.internal", SRV),
        "NOERROR: _http._tcp.api.shop.containers.internal SRV 0 1 8080 shop-api-1.shop.containers.internal \
         + shop-api-1.shop.containers.internal A 10.10.1.2, shop-api-1.shop.containers.internal AAAA fd00:10:1::2",
    );
    check(host.ask("_tcp.api.shop.containers.internal", SRV), "NOERROR (SOA containers.internal)");
    check(host.ask("_dns._udp.api.shop.containers.internal", SRV), "NXDOMAIN (SOA containers.internal)");
    // Each replica comes first in turn (T2).
    let firsts: Vec<String> = (0..4)
        .map(|_| host.ask("_http._tcp.web.shop.containers.internal", SRV).reply().message.answers[0].data.to_string())
        .collect();
    assert!(firsts[0] == firsts[2] && firsts[0] != firsts[1], "{firsts:?}");
    let world = World::of(compose());
    world
        .network("shop_front")
        .update("web-f", |_| {
            let port = Port::named("http", 80, Protocol::Tcp);
            endpoint("web-f", &["172.20.1.2"]).name("web.shop").project("shop").port(port).build().unwrap()
        })
        .unwrap();
    check(
        self::host(&world).ask("_80._tcp.web.shop.containers.internal", SRV),
        "NOERROR: _80._tcp.web.shop.containers.internal SRV 0 1 80 web-f.shop_front.containers.internal \
         + web-f.shop_front.containers.internal A 172.20.1.2",
    );
}

#[test]
fn v6_an_alias_is_for_the_client_to_follow() {
    let world = World::of([shop().alias("data", "db").alias("far", "payments").alias("loop", "loop")]);
    let host = host(&world);
    let alias = "NOERROR: payments.shop.containers.internal CNAME payments.dev.example.com";
    check(host.ask("payments.shop.containers.internal", A), alias);
    check(host.ask("payments.shop.containers.internal", CNAME), alias);
    check(
        host.ask("far.shop.containers.internal", A),
        "NOERROR: far.shop.containers.internal CNAME payments.dev.example.com",
    );
    // One of what is on the network is that.
    check(host.ask("data.shop.containers.internal", A), "NOERROR: data.shop.containers.internal A 10.10.1.3");
    check(host.ask("loop.shop.containers.internal", A), "NOERROR: loop.shop.containers.internal CNAME loop");
}

#[test]
fn v6_only_the_host_itself_may_ask_unless_told_otherwise() {
    let world = World::example();
    let from = |view: HostViewBuilder, source: &str| {
        world.host_view(view, source).ask("db.shop.containers.internal", A).to_string()
    };
    let (answer, refused) =
        ("NOERROR: db.shop.containers.internal A 10.10.1.3", "REFUSED [18 this client may not ask here]");
    for source in ["127.0.0.1", "127.8.8.8", "::1", "192.0.2.53", "::ffff:192.0.2.53"] {
        assert_eq!(from(HostView::builder(), source), answer, "{source}");
    }
    // An endpoint is a stranger like any other: it has a view of its own elsewhere.
    for source in ["192.0.2.54", "10.10.1.3", "169.254.1.1", "fe80::1"] {
        assert_eq!(from(HostView::builder(), source), refused, "{source}");
    }
    let allowed = || HostView::builder().allow("192.0.2.54").allow("169.254.0.0/16");
    assert_eq!(from(allowed(), "192.0.2.54"), answer);
    assert_eq!(from(allowed(), "169.254.1.1"), answer);
    assert_eq!(from(allowed(), "127.0.0.1"), refused, "the list replaces the default");
    let stranger = world.host_view(HostView::builder(), "192.0.2.54");
    assert_eq!(stranger.explain("db.shop.containers.internal", A).searched, [], "nothing is looked up for it");
}

#[test]
fn v6_the_domain_can_be_another() {
    let world = World::example();
    let host = world.host_view(HostView::builder().domain("test"), "127.0.0.1");
    check(host.ask("db.shop.test", A), "NOERROR: db.shop.test A 10.10.1.3");
    check(
        host.ask("db.shop.containers.internal", A),
        "REFUSED [20 the host view has names below test only, and forwards nothing]",
    );
    check(host.ask("3.1.10.10.in-addr.arpa", PTR), "NOERROR: 3.1.10.10.in-addr.arpa PTR db.shop.test");
    assert!(HostView::builder().domain("a..b").build().is_err());
    assert!(HostView::builder().domain(".").build().is_err());
}

#[test]
fn v6_network_names_in_any_spelling() {
    let world = World::of([
        Network::builder("Shop_Default").endpoint(named("a", &["10.8.0.2"], &["web"])),
        Network::builder("bücher").endpoint(named("b", &["10.8.1.2"], &["web"])),
        Network::builder("no..name").endpoint(named("c", &["10.8.2.2"], &["web"])),
    ]);
    let host = host(&world);
    check(
        host.ask("web.shop_default.containers.internal", A),
        "NOERROR: web.shop_default.containers.internal A 10.8.0.2",
    );
    check(host.ask("web.xn--bcher-kva.containers.internal", A), "NOERROR: web.bücher.containers.internal A 10.8.1.2");
    // The parser of these tests shows A-labels as what they stand for.
    let reverse = host.ask("2.1.8.10.in-addr.arpa", PTR).reply();
    assert_eq!(reverse.to_string(), "NOERROR: 2.1.8.10.in-addr.arpa PTR web.bücher.containers.internal");
    assert!(reverse.bytes.windows(13).any(|octets| octets == b"xn--bcher-kva"));
    // A network whose name is none in the DNS has no place here, and its addresses no names.
    check(host.ask("2.2.8.10.in-addr.arpa", PTR), "NOERROR (SOA 2.2.8.10.in-addr.arpa)");
}

#[test]
fn v6_of_networks_with_one_name_the_first_table_counts() {
    let network = |id: &str, address: &str, name: &str| {
        Network::builder("shop").endpoint(named(id, &[address], &[name, &format!("only-{id}")])).build().unwrap()
    };
    let (first, second) = (NameTable::new(), NameTable::new());
    first.add(network("a", "10.6.0.2", "web")).unwrap();
    second.add(network("b", "10.6.1.2", "web")).unwrap();
    let world = World::of([]);
    let host = world.host_view(HostView::builder().table(&first).table(&second), "127.0.0.1");
    check(host.ask("web.shop.containers.internal", A), "NOERROR: web.shop.containers.internal A 10.6.0.2");
    check(host.ask("only-b.shop.containers.internal", A), "NOERROR: only-b.shop.containers.internal A 10.6.1.2");
    check(host.ask("2.1.6.10.in-addr.arpa", PTR), "NOERROR: 2.1.6.10.in-addr.arpa PTR web.shop.containers.internal");
    // What is stopped on the first does not hide what runs on the second (N7).
    first.network("shop").unwrap().update("a", |a| a.with_running(false)).unwrap();
    check(host.ask("web.shop.containers.internal", A), "NOERROR: web.shop.containers.internal A 10.6.1.2");
    let view = HostView::builder().table(&first).table(&second).build().unwrap();
    let namesakes = view.namesakes();
    let of = |table: &NameTable| std::sync::Arc::as_ptr(&table.network("shop").unwrap());
    assert_eq!(
        namesakes.iter().map(|(a, b)| (a.as_ref() as *const _, b.as_ref() as *const _)).collect::<Vec<_>>(),
        [(of(&first), of(&second))]
    );
}

#[test]
fn v6_networks_that_only_identify_are_not_seen() {
    let world = World::of([Network::builder("docker_gwbridge")
        .clients(Clients::Identify)
        .subnet("172.18.0.0/16")
        .endpoint(named("a", &["172.18.0.3"], &["web"]))]);
    let host = host(&world);
    check(host.ask("web.docker_gwbridge.containers.internal", A), "NXDOMAIN (SOA containers.internal)");
    check(host.ask("docker_gwbridge.containers.internal", A), "NXDOMAIN (SOA containers.internal)");
    let outside = host.ask("3.0.18.172.in-addr.arpa", PTR).to_string();
    assert!(outside.starts_with("REFUSED [20"), "{outside}");
}

#[test]
fn v6_a_question_waits_for_a_start_where_its_network_says_so() {
    let hold = std::time::Duration::from_secs(2);
    let starting = endpoint("a", &[]).name("web").state(EndpointState::Starting).build().unwrap();
    let world = World::of([Network::builder("shop").hold(hold).endpoint(starting)]);
    check(host(&world).ask("web.shop.containers.internal", A), "held for 2 s");
    check(
        host(&world).waited().ask("web.shop.containers.internal", A),
        "NOERROR (SOA containers.internal) [0 web is not running]",
    );
}

#[test]
fn v6_a_name_that_is_too_long_for_the_view_is_left_out() {
    let label = "x".repeat(63);
    let name = [&label[..]; 3].join(".");
    let world = World::of([Network::builder(&label[..50]).endpoint(named("a", &["10.5.0.2"], &[&name]))]);
    check(host(&world).ask("2.0.5.10.in-addr.arpa", PTR), "NOERROR (SOA 2.0.5.10.in-addr.arpa)");
}

/// `web` publishes a port on all addresses and one on one address, `db` none, on a network of Docker's.
fn publishing() -> World {
    let published = |sockets: &[&str]| sockets.iter().map(|socket| socket.parse().unwrap()).collect::<Vec<_>>();
    let http = Port::named("http", 80, Protocol::Tcp).published_at(published(&["0.0.0.0:8080", "[::]:8080"]));
    let admin = Port::new(9000, Protocol::Tcp).published_at(published(&["192.0.2.53:9001"]));
    let web = endpoint("web-1", &["172.20.1.2"]).name("web").port(http).port(admin);
    let web = web.port(Port::new(9999, Protocol::Tcp)).build().unwrap();
    let local = Port::new(53, Protocol::Udp).published_at(published(&["127.0.0.1:5353"]));
    let dns = endpoint("dns-1", &["172.20.1.4"]).name("dns").port(local);
    World::of([Network::builder("shop")
        .subnet("172.20.1.0/24")
        .endpoint(web)
        .endpoint(dns.build().unwrap())
        .endpoint(named("db-1", &["172.20.1.3"], &["db"]))
        .endpoint(endpoint("off-1", &["172.20.1.5"]).name("off").running(false).build().unwrap())
        .record(Record::parse("static", "A", "192.0.2.1", None).unwrap())])
}

#[test]
fn v6_published_gives_where_ports_are_published() {
    let world = publishing();
    let host = world.host_view(HostView::builder().answer(HostAnswer::Published), "127.0.0.1");
    let web = "web.shop.containers.internal";
    check(host.ask(web, A), &format!("NOERROR: {web} A 127.0.0.1, {web} A 192.0.2.53"));
    check(host.ask(web, AAAA), &format!("NOERROR: {web} AAAA ::1"));
    check(host.ask(web, HTTPS), "NOERROR (SOA containers.internal)");
    let dns = "dns.shop.containers.internal";
    check(host.ask(dns, A), &format!("NOERROR: {dns} A 127.0.0.1"));
    check(host.ask(dns, AAAA), "NOERROR (SOA containers.internal)");
    let reason = "NOERROR (SOA containers.internal) [0 db publishes no port that is known here]";
    check(host.ask("db.shop.containers.internal", A), reason);
    check(host.ask("db.shop.containers.internal", AAAA), reason);
    check(host.ask("off.shop.containers.internal", A), "NOERROR (SOA containers.internal) [0 off is not running]");
    check(host.ask("static.shop.containers.internal", A), "NOERROR: static.shop.containers.internal A 192.0.2.1");
    check(host.ask("nothere.shop.containers.internal", A), "NXDOMAIN (SOA containers.internal)");
}

#[test]
fn v6_published_services_have_the_published_port() {
    let world = publishing();
    let host = world.host_view(HostView::builder().answer(HostAnswer::Published), "127.0.0.1");
    let (name, target) = ("_http._tcp.web.shop.containers.internal", "web-1.shop.containers.internal");
    let besides = format!("{target} A 127.0.0.1, {target} A 192.0.2.53, {target} AAAA ::1");
    check(host.ask(name, SRV), &format!("NOERROR: {name} SRV 0 1 8080 {target} + {besides}"));
    let name = "_9000._tcp.web.shop.containers.internal";
    check(host.ask(name, SRV), &format!("NOERROR: {name} SRV 0 1 9001 {target} + {besides}"));
    check(
        host.ask("_9999._tcp.web.shop.containers.internal", SRV),
        "NOERROR (SOA containers.internal) [0 web does not publish 9999]",
    );
    // The target is a name of the view, too.
    check(host.ask(target, A), &format!("NOERROR: {target} A 127.0.0.1, {target} A 192.0.2.53"));
}

#[test]
fn v6_explain_says_where_was_looked() {
    let world = World::example();
    let text = host(&world).explain("db.shop.containers.internal", A).to_string();
    assert_eq!(
        text,
        "question  db.shop.containers.internal A\n\
         listener  127.0.0.55:53 of the host view\n\
         client    127.0.0.1 sees every network, by NAME.NETWORK and the view's domain\n\
         searched  shop: db, matched as it stands: shop-db-1\n\
         decision  NOERROR, 1 answer (rule V6)"
    );
}

#[test]
fn v6_listeners_of_networks_know_nothing_of_the_view() {
    let world = World::example();
    check(world.client("shop", "10.10.1.2").ask("db.blog.containers.internal", A), "NXDOMAIN (SOA internal)");
    check(
        world.client("blog", "10.10.2.3").ask("db.shop.containers.internal", A),
        "forward: db.shop.containers.internal",
    );
}

/// A malformed packet to the view is answered like any other.
#[test]
fn v6_malformed_packets() {
    let view = HostView::builder().build().unwrap();
    let listener = Listener::of_host_view(view.into(), "127.0.0.55:53".parse().unwrap());
    let client = Client::udp(&listener, "127.0.0.1:40000".parse().unwrap());
    let mut responder = Responder::new(Default::default());
    let mut out = [0; 512];
    let packet = b"\xab\xcd\x01\0\0\x02\0\0\0\0\0\0";
    let verdict = responder.respond(packet, &client, &mut out);
    assert!(matches!(verdict, callsign::responder::Verdict::Reply(12)), "{verdict:?}");
    assert_eq!(out[3] & 0xf, 1, "FORMERR");
}

#[test]
fn v6_one_network_of_five_hundred_is_searched() {
    let network = |number: usize| {
        let name = |host: usize| format!("c{number}-{host}");
        let endpoints = (2..22).map(|host| {
            let name = name(host);
            let address = format!("10.{}.{}.{host}", number / 250, number % 250);
            let builder = endpoint(&name, &[&address]).name(&name).name(format!("{name}.p{number}"));
            builder.project(&format!("p{number}")).build().unwrap()
        });
        let network = Network::builder(format!("n{number}")).clients(Clients::Table);
        endpoints.fold(network, NetworkBuilder::endpoint)
    };
    let world = World::of((0..500).map(network));
    let host = host(&world);
    for number in [0, 250, 499] {
        let address = format!("10.{}.{}.7", number / 250, number % 250);
        for name in [format!("c{number}-7.n{number}"), format!("c{number}-7.p{number}")] {
            let name = format!("{name}.containers.internal");
            check(host.ask(&name, A), &format!("NOERROR: {name} A {address}"));
            // One network is searched, however many there are.
            assert_eq!(host.explain(&name, A).searched.len(), 1);
        }
        let reverse: Vec<&str> = address.split('.').rev().collect();
        let reverse = format!("{}.in-addr.arpa", reverse.join("."));
        let name = format!("c{number}-7.n{number}.containers.internal");
        check(host.ask(&reverse, PTR), &format!("NOERROR: {reverse} PTR {name}"));
    }
}
