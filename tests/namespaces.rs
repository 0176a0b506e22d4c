//! The whole program in real network namespaces: bridges, containers with the resolvers of two C libraries and dig, and a
//! real upstream that counts. The first tests are of the harness itself, with dnsmasq in callsign's place.

mod support;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use callsign::wire::rtype;
use nix::sys::signal::Signal;
use support::client::{Client, Query};
use support::dnsmasq::Dnsmasq;
use support::netns::{Bridge, Lab, Namespace};
use support::process::Source;
use support::program::Program;

const UPSTREAM: &str = "10.99.0.1";

fn at_port_53(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), 53)
}

/// A host with the networks shop and blog, the internal network vault, and an upstream.
struct Site {
    upstream: Namespace,
    shop: Bridge,
    blog: Bridge,
    vault: Bridge,
    lab: Lab,
}

/// The configuration of a [`Site`]. On shop `db` and `api`, on blog `db` and `cms`, `proxy` on both, on vault `safe`.
const SITE: &str = r#"
[server]
upstreams = ["10.99.0.1"]

[[network]]
name = "shop"
listen = ["10.10.1.1", "fd00:10:1::1"]
subnets = ["10.10.1.0/24", "fd00:10:1::/64"]
domains = ["internal"]

  [[network.endpoint]]
  id = "shop-api-1"
  addresses = ["10.10.1.2", "fd00:10:1::2"]
  names = ["api"]

  [[network.endpoint]]
  id = "shop-db-1"
  addresses = ["10.10.1.3"]
  names = ["db", "database"]

  [[network.endpoint]]
  id = "proxy-1"
  addresses = ["10.10.1.6"]
  names = ["proxy"]

[[network]]
name = "blog"
listen = ["10.10.2.1"]
subnets = ["10.10.2.0/24"]

  [[network.endpoint]]
  id = "blog-db-1"
  addresses = ["10.10.2.3"]
  names = ["db"]

  [[network.endpoint]]
  id = "blog-cms-1"
  addresses = ["10.10.2.4"]
  names = ["cms"]

  [[network.endpoint]]
  id = "proxy-1"
  addresses = ["10.10.2.6"]
  names = ["proxy"]

[[network]]
name = "vault"
listen = ["10.10.3.1"]
subnets = ["10.10.3.0/24"]
internal = true

  [[network.endpoint]]
  id = "safe-1"
  addresses = ["10.10.3.2"]
  names = ["safe"]
"#;

impl Site {
    fn new() -> Site {
        let lab = Lab::new();
        Site {
            upstream: lab.outside("upstream", "10.99.0.254/24", "10.99.0.1/24"),
            shop: lab.bridge("shop", &["10.10.1.1/24", "fd00:10:1::1/64"]),
            blog: lab.bridge("blog", &["10.10.2.1/24"]),
            vault: lab.bridge("vault", &["10.10.3.1/24"]),
            lab,
        }
    }

    fn start_upstream(&self) -> Dnsmasq<'_> {
        let records = [("www.example.com", "192.0.2.80"), ("cms.example.com", "192.0.2.81")];
        Dnsmasq::start(Some(&self.upstream), at_port_53(UPSTREAM), &records)
    }

    fn start_callsign(&self) -> Program {
        Program::with(SITE).inside(self.lab.host()).start()
    }

    fn api(&self) -> Namespace {
        self.lab.container("api", &[(&self.shop, &["10.10.1.2/24", "fd00:10:1::2/64"])])
    }

    fn cms(&self) -> Namespace {
        self.lab.container("cms", &[(&self.blog, &["10.10.2.4/24"])])
    }

    fn proxy(&self) -> Namespace {
        self.lab.container("proxy", &[(&self.shop, &["10.10.1.6/24"]), (&self.blog, &["10.10.2.6/24"])])
    }

    fn safe(&self) -> Namespace {
        self.lab.container("safe", &[(&self.vault, &["10.10.3.2/24"])])
    }
}

/// What a program in a container makes of a name: its addresses, sorted, each once; none if it says that there is none.
fn resolved(addresses: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut addresses: Vec<String> = addresses.into_iter().filter(|text| text.parse::<IpAddr>().is_ok()).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// Through `dig`, which asks for one type and uses no search list unless told to.
fn dig(container: &Namespace, words: &[&str]) -> Vec<String> {
    let finished =
        container.run(&[&["dig", "-r", "+short", "+tries=1", "+timeout=5"], words].concat()).expect_success();
    resolved(finished.stdout.lines().map(str::to_owned))
}

/// Through glibc's `getaddrinfo`, which asks for A and AAAA at once and uses the search list.
fn getent(container: &Namespace, name: &str) -> Vec<String> {
    let finished = container.run(&["getent", "ahosts", name]);
    // 2 is "not found"; a server that fails or is silent gives 2 as well, after five seconds a try.
    assert!(matches!(finished.status.code(), Some(0 | 2)), "{finished:?}");
    resolved(finished.stdout.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned))
}

/// Through busybox, which has a resolver of its own and asks for A and AAAA.
fn nslookup(container: &Namespace, name: &str) -> Vec<String> {
    let finished = container.run(&["busybox", "nslookup", name]);
    // The first block names the server, whose address has a port.
    resolved(
        finished.stdout.lines().filter_map(|line| line.strip_prefix("Address:")).map(|text| text.trim().to_owned()),
    )
}

/// All three, which have to agree.
#[track_caller]
fn everyone_resolves(container: &Namespace, name: &str, addresses: &[&str]) {
    let with_dig = resolved([dig(container, &[name, "A"]), dig(container, &[name, "AAAA"])].concat());
    assert_eq!(with_dig, addresses, "dig {name}");
    assert_eq!(getent(container, name), addresses, "getent ahosts {name}");
    assert_eq!(nslookup(container, name), addresses, "busybox nslookup {name}");
}

/// The whole output of `dig`, whatever the answer.
#[track_caller]
fn dig_in_full(container: &Namespace, words: &[&str]) -> String {
    container.run(&[&["dig", "-r", "+tries=1", "+timeout=5"], words].concat()).expect_success().stdout
}

// The harness itself.

#[test]
fn harness_containers_resolve_through_their_gateway() {
    needs_root!("ip", "dnsmasq", "dig", "getent", "busybox");
    let site = Site::new();
    let records = [("db", "10.10.1.3"), ("both", "10.10.1.4"), ("both", "fd00:10:1::4")];
    let dnsmasq = Dnsmasq::start(Some(site.lab.host()), at_port_53("10.10.1.1"), &records);
    let api = site.api();
    everyone_resolves(&api, "db", &["10.10.1.3"]);
    everyone_resolves(&api, "both", &["10.10.1.4", "fd00:10:1::4"]);
    everyone_resolves(&api, "nothere", &[]);
    // One without an IPv6 address of its own is told of them all the same.
    everyone_resolves(&site.proxy(), "both", &["10.10.1.4", "fd00:10:1::4"]);
    assert_eq!(dig(&api, &["+tcp", "db"]), ["10.10.1.3"]);
    let reply = api.enter(|| Client::new(dnsmasq.address()).udp(&Query::new("db", rtype::A).edns(1232)));
    assert_eq!(reply.addresses(), ["10.10.1.3".parse::<IpAddr>().unwrap()]);
    assert_eq!((reply.status().as_str(), reply.edns().is_some()), ("NOERROR", true));
    let reply = api.enter(|| Client::new(dnsmasq.address()).tcp(&Query::new("db", rtype::AAAA)));
    assert_eq!((reply.status().as_str(), reply.answers().len()), ("NOERROR", 0));
}

#[test]
fn harness_the_upstream_counts() {
    needs_root!("ip", "dnsmasq", "dig");
    let site = Site::new();
    let upstream = site.start_upstream();
    assert_eq!(upstream.queries(), Vec::<String>::new());
    assert_eq!(dig(site.lab.host(), &["@10.99.0.1", "www.example.com", "A"]), ["192.0.2.80"]);
    assert_eq!(dig(site.lab.host(), &["@10.99.0.1", "www.example.com", "AAAA"]), Vec::<String>::new());
    assert_eq!(upstream.queries(), ["A www.example.com", "AAAA www.example.com"]);
}

#[test]
fn harness_containers_reach_no_other_network() {
    needs_root!("ip");
    let site = Site::new();
    let api = site.api();
    let reached = |address: &str| {
        let connected = api.enter(|| Client::new(at_port_53(address)).timeout(Duration::from_millis(200)).connect());
        // Nobody listens: a machine that is there says so.
        connected.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    };
    assert!(reached("10.10.1.1") && reached("fd00:10:1::1"));
    assert!(!reached(UPSTREAM), "the host forwards packets");
}

#[test]
fn harness_leaves_nothing_behind() {
    needs_root!("ip");
    let names = std::panic::catch_unwind(|| {
        let site = Site::new();
        let container = site.api();
        std::panic::panic_any([site.lab.host().name(), container.name()].map(str::to_owned));
    });
    let names = *names.unwrap_err().downcast::<[String; 2]>().unwrap();
    for name in names {
        for directory in ["/run/netns", "/etc/netns"] {
            assert!(!std::path::Path::new(directory).join(&name).exists(), "{directory}/{name}");
        }
    }
}

// The program.

#[test]
fn v2_clients_see_their_own_network_only() {
    needs_root!("ip", "dnsmasq", "dig", "getent", "busybox");
    let site = Site::new();
    let upstream = site.start_upstream();
    let _callsign = site.start_callsign();
    let (api, cms) = (site.api(), site.cms());

    for name in ["db", "database", "db.shop", "db.internal", "DB.Shop.Internal", "shop-db-1"] {
        everyone_resolves(&api, name, &["10.10.1.3"]);
    }
    everyone_resolves(&api, "api", &["10.10.1.2", "fd00:10:1::2"]);
    everyone_resolves(&cms, "db", &["10.10.2.3"]);
    everyone_resolves(&cms, "db.blog", &["10.10.2.3"]);
    assert_eq!(upstream.queries(), Vec::<String>::new(), "names of ours went upstream");

    for name in ["cms", "cms.blog", "cms.internal", "db.blog", "blog-db-1"] {
        everyone_resolves(&api, name, &[]);
    }
    for name in ["api", "api.shop", "api.internal", "database", "shop-api-1"] {
        everyone_resolves(&cms, name, &[]);
    }
    assert_eq!(dig_in_full(&api, &["+short", "-x", "10.10.2.4"]), "");
    assert_eq!(dig_in_full(&cms, &["+short", "-x", "10.10.1.3"]), "");
    assert_eq!(dig_in_full(&cms, &["+short", "-x", "fd00:10:1::2"]), "");
}

#[test]
fn v1_a_container_on_two_networks_sees_both() {
    needs_root!("ip", "dnsmasq", "dig", "getent", "busybox");
    let site = Site::new();
    let upstream = site.start_upstream();
    let _callsign = site.start_callsign();
    let proxy = site.proxy();

    everyone_resolves(&proxy, "api", &["10.10.1.2", "fd00:10:1::2"]);
    everyone_resolves(&proxy, "cms", &["10.10.2.4"]);
    everyone_resolves(&proxy, "db.shop", &["10.10.1.3"]);
    everyone_resolves(&proxy, "db.blog", &["10.10.2.3"]);
    // V5: the network that it asks on is the nearest.
    everyone_resolves(&proxy, "db", &["10.10.1.3"]);
    proxy.set_resolv_conf("nameserver 10.10.2.1\n");
    everyone_resolves(&proxy, "db", &["10.10.2.3"]);
    everyone_resolves(&proxy, "api", &["10.10.1.2", "fd00:10:1::2"]);
    assert_eq!(dig_in_full(&proxy, &["+short", "-x", "10.10.1.3"]), "db.internal.\n");
    assert_eq!(dig_in_full(&proxy, &["+short", "-x", "10.10.2.4"]), "cms.\n");
    assert_eq!(upstream.queries(), Vec::<String>::new(), "names of ours went upstream");
}

#[test]
fn v3_a_stranger_sees_only_the_listener_network() {
    needs_root!("ip", "dnsmasq", "dig", "getent", "busybox");
    let site = Site::new();
    let _upstream = site.start_upstream();
    let _callsign = site.start_callsign();
    let stranger = site.lab.container("stranger", &[(&site.shop, &["10.10.1.99/24"])]);
    for client in [&stranger, site.lab.host()] {
        client.set_resolv_conf("nameserver 10.10.1.1\n");
        everyone_resolves(client, "db", &["10.10.1.3"]);
        everyone_resolves(client, "cms", &[]);
        everyone_resolves(client, "www.example.com", &["192.0.2.80"]);
    }
}

#[test]
fn v4_another_networks_gateway_refuses() {
    needs_root!("ip", "dnsmasq", "dig");
    let site = Site::new();
    let upstream = site.start_upstream();
    let _callsign = site.start_callsign();
    // The host answers on all of its addresses, whichever bridge a packet comes from: no way out of an internal network.
    let safe = site.safe();
    for name in ["db", "www.example.com"] {
        for transport in ["+notcp", "+tcp"] {
            let output = dig_in_full(&safe, &["@10.10.1.1", transport, name]);
            assert!(output.contains("status: REFUSED") && output.contains("EDE: 18"), "{output}");
        }
    }
    assert_eq!(upstream.queries(), Vec::<String>::new());
}

#[test]
fn f1_an_internal_network_never_reaches_the_upstream() {
    needs_root!("ip", "dnsmasq", "dig", "getent", "busybox");
    let site = Site::new();
    let upstream = site.start_upstream();
    let _callsign = site.start_callsign();
    let safe = site.safe();
    let stranger = site.lab.container("stranger", &[(&site.vault, &["10.10.3.99/24"])]);
    for client in [&safe, &stranger] {
        everyone_resolves(client, "safe", &["10.10.3.2"]);
        for name in ["www.example.com", "db", "api.internal", "nothere"] {
            everyone_resolves(client, name, &[]);
        }
        for question in [&["www.example.com", "TXT"], &["www.example.com", "TYPE65280"], &["-x", "192.0.2.80"]] {
            for transport in ["+notcp", "+tcp"] {
                let output = dig_in_full(client, &[&question[..], &[transport]].concat());
                assert!(output.contains("status: NXDOMAIN") && output.contains("EDE: 15"), "{output}");
            }
        }
    }
    assert_eq!(upstream.queries(), Vec::<String>::new());
}

#[test]
fn f1_everything_else_goes_upstream() {
    needs_root!("ip", "dnsmasq", "dig", "getent", "busybox");
    let site = Site::new();
    let upstream = site.start_upstream();
    let _callsign = site.start_callsign();
    let (api, cms) = (site.api(), site.cms());
    everyone_resolves(&api, "www.example.com", &["192.0.2.80"]);
    everyone_resolves(&cms, "www.example.com", &["192.0.2.80"]);
    assert_eq!(dig(&api, &["+tcp", "cms.example.com"]), ["192.0.2.81"]);
    everyone_resolves(&api, "nothere.example.net", &[]);
    let queries = upstream.queries();
    for query in ["A www.example.com", "AAAA www.example.com", "A cms.example.com", "A nothere.example.net"] {
        assert!(queries.iter().any(|seen| seen == query), "{query} in {queries:?}");
    }
}

#[test]
fn queries_come_over_udp_and_tcp_and_both_families() {
    needs_root!("ip", "dig", "getent", "busybox");
    let site = Site::new();
    let _callsign = site.start_callsign();
    let api = site.api();
    for gateway in ["@10.10.1.1", "@fd00:10:1::1"] {
        for transport in ["+notcp", "+tcp"] {
            assert_eq!(dig(&api, &[gateway, transport, "db"]), ["10.10.1.3"], "{gateway} {transport}");
        }
    }
    // A container without IPv4, which is no endpoint.
    let six = site.lab.container("six", &[(&site.shop, &["fd00:10:1::9/64"])]);
    six.set_resolv_conf("nameserver fd00:10:1::1\n");
    assert_eq!(dig(&six, &["api", "AAAA"]), ["fd00:10:1::2"]);
    assert_eq!(nslookup(&six, "api"), ["10.10.1.2", "fd00:10:1::2"]);
    let found = six.run(&["getent", "ahostsv6", "api"]).expect_success();
    assert!(found.stdout.starts_with("fd00:10:1::2 "), "{found:?}");
}

#[test]
fn n1_search_domains_find_the_same_names() {
    needs_root!("ip", "dnsmasq", "getent", "dig");
    let site = Site::new();
    let upstream = site.start_upstream();
    let _callsign = site.start_callsign();
    let api = site.api();
    for (search, canonical) in [("internal", "db.internal"), ("shop.internal", "db.shop.internal"), ("shop", "db.shop")]
    {
        api.set_resolv_conf(&format!("search {search}\nnameserver 10.10.1.1\n"));
        let found = api.run(&["getent", "ahosts", "db"]).expect_success();
        // With the name that was found: it came by way of the search list.
        assert!(
            found.stdout.lines().any(|line| line.split_whitespace().eq(["10.10.1.3", "STREAM", canonical])),
            "{found:?}"
        );
        assert_eq!(dig(&api, &["+search", "db"]), ["10.10.1.3"]);
    }
    assert_eq!(upstream.queries(), Vec::<String>::new());

    // A search domain of the site, above: the bare name is tried when that has said no.
    api.set_resolv_conf("search example.net\nnameserver 10.10.1.1\n");
    assert_eq!(getent(&api, "db"), ["10.10.1.3"]);
    assert!(upstream.queries().iter().all(|query| query.ends_with(" db.example.net")), "{:?}", upstream.queries());
}

#[test]
fn t1_a_name_with_one_family_resolves_in_one_try() {
    needs_root!("ip", "dnsmasq", "getent", "busybox");
    let site = Site::new();
    let upstream = site.start_upstream();
    let _callsign = site.start_callsign();
    let api = site.api();
    // One attempt, and a second until it is given up: glibc asks for A and AAAA at once and waits for both.
    api.set_resolv_conf("nameserver 10.10.1.1\noptions attempts:1 timeout:1\n");
    assert_eq!(getent(&api, "db"), ["10.10.1.3"]);
    // Exit 0 only if neither of its questions got an error.
    let found = api.run(&["busybox", "nslookup", "db"]).expect_success();
    assert!(!found.stdout.contains("can't find"), "{found:?}");
    assert_eq!(upstream.queries(), Vec::<String>::new());
}

#[test]
fn t3_getent_finds_the_name_of_an_address() {
    needs_root!("ip", "dnsmasq", "getent", "dig");
    let site = Site::new();
    let upstream = site.start_upstream();
    let _callsign = site.start_callsign();
    let api = site.api();
    for (address, name) in
        [("10.10.1.3", "db.internal"), ("10.10.1.2", "api.internal"), ("fd00:10:1::2", "api.internal")]
    {
        let found = api.run(&["getent", "hosts", address]).expect_success();
        assert!(found.stdout.split_whitespace().eq([address, name]), "{found:?}");
    }
    for address in ["10.10.1.250", "fd00:10:1::250"] {
        let output = dig_in_full(&api, &["-x", address]);
        assert!(output.contains("status: NXDOMAIN"), "{output}");
    }
    assert_eq!(upstream.queries(), Vec::<String>::new());
}

/// [`SITE`] without blog.
fn without_blog() -> String {
    let (start, rest) = SITE.split_once("[[network]]\nname = \"blog\"").unwrap();
    let (_, end) = rest.split_once("[[network]]\n").unwrap();
    format!("{start}[[network]]\n{end}")
}

#[test]
fn networks_come_and_go_with_the_configuration() {
    needs_root!("ip", "dig");
    let site = Site::new();
    let callsign = Program::with(&without_blog()).inside(site.lab.host()).start();
    let (api, cms) = (site.api(), site.cms());
    let refuses = |gateway: &str| {
        let connected = cms.enter(|| Client::new(at_port_53(gateway)).connect());
        connected.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    };
    assert_eq!(dig(&api, &["db"]), ["10.10.1.3"]);
    assert!(refuses("10.10.2.1"), "blog is served before it is configured");

    callsign.write_config(SITE);
    callsign.reload_by_signal();
    assert_eq!(dig(&cms, &["db"]), ["10.10.2.3"]);
    assert_eq!(dig(&api, &["db"]), ["10.10.1.3"]);

    callsign.reload_by_change(&without_blog());
    assert!(refuses("10.10.2.1"), "blog is served after it was removed");
    assert_eq!(dig(&api, &["db"]), ["10.10.1.3"]);

    callsign.reload_by_change(&SITE.replace("10.10.2.3", "10.10.2.33"));
    assert_eq!(dig(&cms, &["db"]), ["10.10.2.33"]);
}

#[test]
fn a_listener_may_come_before_its_bridge() {
    needs_root!("ip", "dig");
    let lab = Lab::new();
    let _callsign = Program::with(SITE).inside(lab.host()).start();
    // Made, removed and made again, as a runtime does when the last container leaves and the next one comes.
    for round in ["first", "second"] {
        let shop = lab.bridge("shop", &["10.10.1.1/24", "fd00:10:1::1/64"]);
        let api = lab.container(round, &[(&shop, &["10.10.1.2/24", "fd00:10:1::2/64"])]);
        for gateway in ["@10.10.1.1", "@fd00:10:1::1"] {
            for transport in ["+notcp", "+tcp"] {
                assert_eq!(dig(&api, &[gateway, transport, "db"]), ["10.10.1.3"], "{round}: {gateway} {transport}");
            }
        }
        lab.remove_bridge(shop);
    }
}

#[test]
fn sigterm_stops_it_within_a_second() {
    needs_root!("ip", "dig");
    let site = Site::new();
    let mut callsign = site.start_callsign();
    let api = site.api();
    assert_eq!(dig(&api, &["db"]), ["10.10.1.3"]);
    // An idle connection does not hold it up.
    let mut idle = api.enter(|| Client::new(at_port_53("10.10.1.1")).connect().unwrap());
    idle.send(&Query::new("db", rtype::A).bytes()).unwrap();
    idle.receive().unwrap();
    callsign.signal(Signal::SIGTERM);
    let status = callsign.wait_exit(Duration::from_secs(1));
    assert!(status.success(), "{status}: {callsign:?}");
    callsign.wait_for(Source::Notify, "STOPPING=1");
}
