//! A current netavark with callsign as its DNS server, without Podman: what Debian's netavark cannot pass on yet, and the
//! same life of the server. `AARDVARK_DNS=…` runs the tests against another server.

mod support;

use std::fs;
use std::net::{IpAddr, SocketAddr};

use callsign::wire::rtype;
use support::client::{Client, Query};
use support::machine::{Network, Outside, addresses, at_port_53, becomes, client_from, link_local};
use support::netavark::{Bridge, Container, Netavark, names, resolves};
use support::process::{Process, Source};

const SHOP: &str = "10.10.1.1";
const SHOP6: &str = "fd00:10:1::1";
const BLOG: &str = "10.10.2.1";

macro_rules! needs_netavark {
    () => {
        needs_root!("ip", "unshare", "nsenter", "setpriv", "bash", "busybox", "getent", "dnsmasq", "netavark");
    };
}

fn shop() -> Bridge {
    Bridge::new("shop", &[("10.10.1.0/24", SHOP), ("fd00:10:1::/64", SHOP6)])
}

fn blog() -> Bridge {
    Bridge::new("blog", &[("10.10.2.0/24", BLOG)])
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn names_of_a_network_are_its_containers_over_ipv4_and_ipv6() {
    needs_netavark!();
    let outside = Outside::new();
    let upstream = outside.upstream();
    let machine = outside.machine(&support::netavark::path());
    let netavark = Netavark::new(&machine);
    let (shop, blog) = (shop(), blog());

    let api = netavark.setup(&Container::new("api").on(&shop, &["10.10.1.2", "fd00:10:1::2"]));
    let web = Container::new("web").on(&shop, &["10.10.1.3", "fd00:10:1::3"]).aliases(&["www", "Store"]);
    netavark.setup(&web);
    let both = Container::new("both").on(&shop, &["10.10.1.4", "fd00:10:1::4"]).on(&blog, &["10.10.2.4"]);
    let both_network = netavark.setup(&both);
    let cms = netavark.setup(&Container::new("cms").on(&blog, &["10.10.2.3"]));

    for name in ["web", "www", "store", "STORE", "web.dns.podman", &web.short_id()] {
        for gateway in [SHOP, SHOP6] {
            becomes(name, words(&["10.10.1.3", "fd00:10:1::3"]), || resolves(&api, gateway, name));
        }
    }
    for name in ["web.dns.podman", "www", &web.short_id()] {
        assert_eq!(resolves(&cms, BLOG, name), ["NXDOMAIN"], "{name}");
    }
    assert_eq!(resolves(&cms, BLOG, "both"), ["10.10.2.4"]);
    // One that is on both sees both at either gateway.
    for gateway in [SHOP, BLOG] {
        assert_eq!(resolves(&both_network, gateway, "cms"), ["10.10.2.3"], "{gateway}");
        assert_eq!(resolves(&both_network, gateway, "web"), ["10.10.1.3", "fd00:10:1::3"], "{gateway}");
        let of_both = resolves(&both_network, gateway, "both");
        assert_eq!(of_both, ["10.10.1.4", "10.10.2.4", "fd00:10:1::4"], "{gateway}");
    }
    let mut all_names = words(&["web", "www", "store", &web.short_id()]);
    all_names.sort();
    for address in ["10.10.1.3", "fd00:10:1::3"] {
        assert_eq!(names(&api, SHOP, address), all_names, "{address}");
        assert_eq!(names(&cms, BLOG, address), Vec::<String>::new(), "{address}");
    }
    assert!(!upstream.queries().iter().any(|query| query.contains("dns.podman")), "{:?}", upstream.queries());
    assert_eq!(resolves(&cms, BLOG, "www.example.com"), ["192.0.2.80"]);

    netavark.teardown(&web);
    becomes("web, which is gone", words(&["NXDOMAIN"]), || resolves(&api, SHOP, "web"));
    assert_eq!(resolves(&api, SHOP, "both"), ["10.10.1.4", "fd00:10:1::4"]);
}

/// Neither of them needs a privilege for it: each uses an address that it has.
#[test]
fn v3a_v4_neither_another_network_by_its_link_nor_a_host_with_a_route_reads_names() {
    needs_netavark!();
    let outside = Outside::new();
    let upstream = outside.upstream();
    let machine = outside.machine(&support::netavark::path());
    let netavark = Netavark::new(&machine);
    let blog = Bridge::new("blog", &[("10.10.2.0/24", BLOG), ("fd00:10:2::/64", "fd00:10:2::1")]);
    let api = netavark.setup(&Container::new("api").on(&shop(), &["10.10.1.2", "fd00:10:1::2"]));
    let cms = netavark.setup(&Container::new("cms").on(&blog, &["10.10.2.3", "fd00:10:2::3"]));
    becomes("api", words(&["10.10.1.2", "fd00:10:1::2"]), || resolves(&api, SHOP6, "api"));

    let query = |name: &str| Query::new(name, rtype::A).edns(1232);
    let from_link = |network: &Network, server: &str, name: &str| {
        network.enter(|| told(client_from(link_local("eth0"), at_port_53(server)), &query(name)))
    };
    let refused = ["REFUSED 18 this client may not ask here", "REFUSED 18 this client may not ask here"];
    for name in ["api", "api.dns.podman", "www.example.com", "nothere.dns.podman"] {
        assert_eq!(from_link(&cms, SHOP6, name), refused, "{name}");
    }
    // At its own gateway it is a stranger: it sees that network, and no other that the container may be on.
    assert_eq!(from_link(&cms, "fd00:10:2::1", "cms"), ["10.10.2.3"; 2]);
    assert_eq!(from_link(&cms, "fd00:10:2::1", "api.dns.podman"), ["NXDOMAIN"; 2]);
    assert_eq!(from_link(&api, SHOP6, "api"), ["10.10.1.2"; 2]);
    // By its own address the container sees its own networks, whichever gateway it asks.
    assert_eq!(resolves(&cms, SHOP6, "cms"), ["10.10.2.3", "fd00:10:2::3"]);
    assert_eq!(resolves(&cms, SHOP6, "api.dns.podman"), ["NXDOMAIN"]);

    let asked = upstream.queries();
    for name in ["api", "api.dns.podman", "www.example.com"] {
        let ask = || told(Client::new(at_port_53(SHOP)), &query(name));
        assert_eq!(outside.neighbour().enter(ask), refused, "{name}");
    }
    assert_eq!(upstream.queries(), asked);
    // The host may, by any address of its own.
    for source in [[10, 10, 1, 1], [10, 10, 2, 1], [10, 99, 0, 254], [127, 0, 0, 1]] {
        let ask = || told(Client::new(at_port_53(SHOP)).from(source.into()), &query("api"));
        assert_eq!(machine.network().enter(ask), ["10.10.1.2"; 2], "{source:?}");
    }
}

/// What a client hears over UDP and over TCP: addresses, or a response code with its extended error.
fn told(client: Client, query: &Query) -> [String; 2] {
    [client.udp(query), client.tcp(query)].map(|reply| match reply.extended_errors().first() {
        Some((code, text)) => format!("{} {code} {text}", reply.status()),
        None if reply.status() == "NOERROR" => addresses(&reply).join(" "),
        None => reply.status(),
    })
}

#[test]
fn a_network_may_have_ipv6_alone() {
    needs_netavark!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let machine = outside.machine(&support::netavark::path());
    let netavark = Netavark::new(&machine);
    let six = Bridge::new("six", &[("fd00:10:6::/64", "fd00:10:6::1")]);
    let api = netavark.setup(&Container::new("api").on(&six, &["fd00:10:6::2"]));
    let gateway = "fd00:10:6::1";
    assert_eq!(resolves(&api, gateway, "api"), ["fd00:10:6::2"]);
    assert_eq!(resolves(&api, gateway, "www.example.com"), ["192.0.2.80"]);
}

#[test]
fn f2_a_containers_servers_come_before_its_networks_and_those_before_the_hosts() {
    needs_netavark!();
    let outside = Outside::new();
    let (upstream, other) = (outside.upstream(), outside.other_upstream());
    let machine = outside.machine(&support::netavark::path());
    let netavark = Netavark::new(&machine);
    let (shop, blog) = (shop(), blog().servers(&["10.99.0.2"]));

    let plain = netavark.setup(&Container::new("plain").on(&shop, &["10.10.1.2", "fd00:10:1::2"]));
    assert_eq!(resolves(&plain, SHOP, "www.example.com"), ["192.0.2.80"]);
    assert_eq!(other.queries(), Vec::<String>::new());
    let own = Container::new("own").on(&shop, &["10.10.1.3", "fd00:10:1::3"]).servers(&["10.99.0.2"]);
    let own = netavark.setup(&own);
    becomes("by the container's server", words(&["192.0.2.82"]), || resolves(&own, SHOP, "www.example.com"));
    assert_eq!(resolves(&plain, SHOP, "www.example.com"), ["192.0.2.80"]);

    let of_network = netavark.setup(&Container::new("of-network").on(&blog, &["10.10.2.3"]));
    becomes("by the network's server", words(&["192.0.2.82"]), || resolves(&of_network, BLOG, "www.example.com"));
    let own = Container::new("own-too").on(&blog, &["10.10.2.4"]).servers(&["10.99.0.1"]);
    let own = netavark.setup(&own);
    becomes("by the container's server", words(&["192.0.2.80"]), || resolves(&own, BLOG, "www.example.com"));

    // `podman network update --dns-add … --dns-drop …`.
    let asked = upstream.queries().len();
    netavark.update("blog", "10.99.0.1");
    becomes("by the network's other server", words(&["192.0.2.80"]), || resolves(&of_network, BLOG, "www.example.com"));
    netavark.update("shop", "10.99.0.2");
    becomes("by the network's new server", words(&["192.0.2.82"]), || resolves(&plain, SHOP, "www.example.com"));
    assert!(upstream.queries().len() >= asked);
}

#[test]
fn the_hosts_servers_are_the_first_three_of_resolv_conf_with_their_zones() {
    needs_netavark!();
    let outside = Outside::new();
    let (_upstream, link_local) = outside.link_local_upstream();
    let machine = outside.machine(&support::netavark::path());
    let netavark = Netavark::new(&machine);
    let resolv_conf = machine.file("/etc/resolv.conf");
    fs::write(&resolv_conf, format!("nameserver {link_local}\n")).unwrap();
    let api = netavark.setup(&Container::new("api").on(&blog(), &["10.10.2.2"]));
    assert_eq!(resolves(&api, BLOG, "www.example.com"), ["192.0.2.99"]);

    // Nobody is at the first three, and the fourth is none of the host's servers.
    let dead = "nameserver 127.0.0.2\nnameserver 127.0.0.3\nnameserver 127.0.0.4\n";
    fs::write(&resolv_conf, format!("{dead}nameserver {link_local}\n")).unwrap();
    becomes("without a server", words(&["SERVFAIL"]), || resolves(&api, BLOG, "other.example.com"));
    fs::write(&resolv_conf, format!("nameserver {link_local}\n{dead}")).unwrap();
    becomes("with one", words(&["NXDOMAIN"]), || resolves(&api, BLOG, "another.example.com"));
}

#[test]
fn f1_internal_networks_ignore_servers_and_never_reach_one() {
    needs_netavark!();
    let outside = Outside::new();
    let (upstream, other) = (outside.upstream(), outside.other_upstream());
    let machine = outside.machine(&support::netavark::path());
    let netavark = Netavark::new(&machine);
    let vault = Bridge::new("vault", &[("10.10.3.0/24", "10.10.3.1")]).internal().servers(&["10.99.0.2"]);
    let safe = Container::new("safe").on(&vault, &["10.10.3.2"]);
    let key = Container::new("key").on(&vault, &["10.10.3.3"]).servers(&["10.99.0.2"]);
    let (safe, key) = (netavark.setup(&safe), netavark.setup(&key));
    assert!(netavark.directory().join("vault%int").is_file());
    becomes("key", words(&["10.10.3.3"]), || resolves(&safe, "10.10.3.1", "key"));
    for container in [&safe, &key] {
        for name in ["www.example.com", "nothere", "nothere.dns.podman"] {
            assert_eq!(resolves(container, "10.10.3.1", name), ["NXDOMAIN"], "{name}");
        }
    }
    assert_eq!((upstream.queries(), other.queries()), (vec![], vec![]));
}

#[test]
fn dns_bind_port_moves_the_server_and_containers_do_not_notice() {
    needs_netavark!();
    needs_root!("nft");
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let machine = outside.machine(&support::netavark::path());
    // What podman sets for `dns_bind_port` of containers.conf.
    let netavark =
        Netavark::new(&machine).environment("NETAVARK_DNS_PORT", "5353").environment("NETAVARK_FW", "nftables");
    let api = netavark.setup(&Container::new("api").on(&shop(), &["10.10.1.2", "fd00:10:1::2"]));
    assert_eq!(resolves(&api, SHOP, "api"), ["10.10.1.2", "fd00:10:1::2"]);
    for gateway in [SHOP, SHOP6] {
        let server = SocketAddr::new(gateway.parse::<IpAddr>().unwrap(), 5353);
        // Not from the container, whose packets to this port the firewall does not expect.
        let reply = machine.network().enter(|| Client::new(server).udp(&Query::new("api.dns.podman", rtype::A)));
        assert_eq!(addresses(&reply), ["10.10.1.2"], "{server}");
    }
}

#[test]
fn aardvark_no_proxy_asks_nobody() {
    needs_netavark!();
    let outside = Outside::new();
    let upstream = outside.upstream();
    let machine = outside.machine(&support::netavark::path());
    let netavark = Netavark::new(&machine).environment("AARDVARK_NO_PROXY", "1");
    let api = netavark.setup(&Container::new("api").on(&blog(), &["10.10.2.2"]));
    assert_eq!(resolves(&api, BLOG, "api"), ["10.10.2.2"]);
    assert_eq!(resolves(&api, BLOG, "www.example.com"), ["NXDOMAIN"]);
    assert_eq!(upstream.queries(), Vec::<String>::new());
}

#[test]
fn twenty_set_up_at_once_resolve_each_other() {
    needs_netavark!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let machine = outside.machine(&support::netavark::path());
    let netavark = Netavark::new(&machine);
    let shop = shop();
    let containers: Vec<Container> = (10..30)
        .map(|number| {
            let addresses = [format!("10.10.1.{number}"), format!("fd00:10:1::{number}")];
            Container::new(&format!("c{number}")).on(&shop, &addresses.each_ref().map(String::as_str)).aliases(&["all"])
        })
        .collect();
    let setups: Vec<Process> = containers.iter().map(|container| netavark.spawn_setup(container)).collect();
    for mut setup in setups {
        assert!(setup.wait_exit(support::DEADLINE).success(), "{setup:?}");
    }
    for asking in 10..30 {
        let network = machine.network_named(&format!("c{asking}"));
        for number in 10..30 {
            let expected = words(&[&format!("10.10.1.{number}"), &format!("fd00:10:1::{number}")]);
            becomes("each", expected, || resolves(&network, SHOP, &format!("c{number}")));
        }
    }
    // All of them have one name, and not all of its addresses fit 512 octets: some come, and TCP has the rest.
    let network = machine.network_named("c10");
    let all = Query::new("all", rtype::AAAA);
    let cut = network.ask(at_port_53(SHOP), &all);
    assert_eq!((cut.flags().contains(" tc"), cut.bytes.len() <= 512), (true, true), "{cut:?}");
    assert!((1..20).contains(&cut.addresses().len()), "{cut:?}");
    let whole = network.enter(|| Client::new(at_port_53(SHOP)).tcp(&all));
    assert_eq!((whole.flags().contains(" tc"), whole.addresses().len()), (false, 20), "{whole:?}");

    assert_eq!(machine.processes("aardvark-dns --config").len(), 1);
    for container in &containers {
        netavark.teardown(container);
    }
    becomes("servers", Vec::new(), || machine.processes("aardvark-dns --config"));
    assert_eq!(netavark.server(), None);
}

#[test]
fn a_killed_server_is_started_again_with_the_next_setup() {
    needs_netavark!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let machine = outside.machine(&support::netavark::path());
    let netavark = Netavark::new(&machine);
    let api = netavark.setup(&Container::new("api").on(&shop(), &["10.10.1.2", "fd00:10:1::2"]));
    let server = netavark.server().expect("a pid file");
    machine.run(&["kill", "-KILL", &server.to_string()]).expect_success();
    becomes("alive", false, || machine.is_alive(server));
    let cms = netavark.setup(&Container::new("cms").on(&blog(), &["10.10.2.2"]));
    assert_ne!(netavark.server(), Some(server));
    assert_eq!(resolves(&cms, BLOG, "cms"), ["10.10.2.2"]);
    assert_eq!(resolves(&api, SHOP, "api"), ["10.10.1.2", "fd00:10:1::2"]);
}

/// Somebody cleans up below /run: netavark makes the directory again, and the server of before has the gateways still.
#[test]
fn a_removed_directory_keeps_no_container_from_starting() {
    needs_netavark!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let machine = outside.machine(&support::netavark::path());
    let netavark = Netavark::new(&machine);
    netavark.setup(&Container::new("api").on(&shop(), &["10.10.1.2", "fd00:10:1::2"]));
    let server = netavark.server().expect("a pid file");
    fs::remove_dir_all(netavark.directory()).unwrap();
    let web = netavark.setup(&Container::new("web").on(&shop(), &["10.10.1.3", "fd00:10:1::3"]));
    becomes("alive", false, || machine.is_alive(server));
    assert!(netavark.server().is_some_and(|new| machine.is_alive(new)));
    assert_eq!(resolves(&web, SHOP, "web"), ["10.10.1.3", "fd00:10:1::3"]);
}

#[test]
fn a_port_that_is_taken_fails_the_setup_and_says_which() {
    needs_netavark!();
    let outside = Outside::new();
    let machine = outside.machine(&support::netavark::path());
    let netavark = Netavark::new(&machine);
    let mut taken = machine.command("dnsmasq");
    taken.args(["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--port=53", "--user=root"]);
    taken.arg("--pid-file=");
    let taken = Process::spawn(taken);
    taken.wait_for(Source::Stderr, "started, version");
    let finished = netavark.try_setup(&Container::new("cms").on(&blog(), &["10.10.2.2"]));
    assert!(!finished.status.success(), "{finished:?}");
    let said = format!("{}{}", finished.stdout, finished.stderr);
    for part in [
        "Error starting server",
        "failed to bind udp listener on 10.10.2.1:53: IO error: Address already in use (os error 98)",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(machine.processes("aardvark-dns --config"), Vec::<u32>::new());
}
