//! The README's configuration, `examples/two-networks.toml`, served as any user may and asked with `dig`, as a reader of the
//! README does. Only the ports and the upstreams of the example are changed: everything stays on loopback addresses.

mod support;

use std::fs;
use std::net::{IpAddr, SocketAddr};

use support::dnsmasq::Dnsmasq;
use support::process::run;
use support::program::{Program, callsign};
use support::{free_port, needs};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/two-networks.toml");

const SHOP: &str = "127.0.0.1";
const BLOG: &str = "127.0.0.2";

/// The example, running, with an upstream.
struct Example {
    port: u16,
    upstream: Dnsmasq<'static>,
    /// Runs until the test is over.
    _callsign: Program,
}

impl Example {
    fn start() -> Example {
        let [shop, blog] = [SHOP, BLOG].map(|ip| ip.parse::<IpAddr>().unwrap());
        let upstream = SocketAddr::new(shop, free_port(&[shop]));
        let records = [("payments.dev.example.com", "192.0.2.7"), ("wiki.corp.example", "192.0.2.8")];
        let port = free_port(&[shop, blog]);
        let mut config = fs::read_to_string(EXAMPLE).unwrap();
        for (text, instead) in [
            ("port = 5300", format!("port = {port}\nupstreams = [\"{upstream}\"]")),
            ("\"10.0.0.53\"", format!("\"{upstream}\"")),
        ] {
            assert_eq!(config.matches(text).count(), 1, "{text} in the example");
            config = config.replace(text, &instead);
        }
        Example { port, upstream: Dnsmasq::start(None, upstream, &records), _callsign: Program::with(&config).start() }
    }

    /// What `dig @server -p PORT words…` shows.
    #[track_caller]
    fn dig(&self, server: &str, words: &[&str]) -> Shown {
        // -r: without the user's own .digrc.
        let mut command = needs::command("dig");
        command.args(["-r", &format!("@{server}"), "-p", &self.port.to_string(), "+tries=1"]).args(words);
        Shown::new(run(command).expect_success().stdout)
    }
}

/// The output of `dig`.
#[derive(Debug)]
struct Shown {
    text: String,
}

impl Shown {
    #[track_caller]
    fn new(text: String) -> Shown {
        assert!(text.contains("->>HEADER<<-"), "no reply: {text}");
        Shown { text }
    }

    fn status(&self) -> &str {
        self.between("status: ", ",")
    }

    fn flags(&self) -> &str {
        self.between(";; flags: ", ";")
    }

    fn has_opt(&self) -> bool {
        self.text.contains(";; OPT PSEUDOSECTION:")
    }

    /// The records of a section, `db. 0 IN A 10.10.1.3`, one space between the fields.
    fn section(&self, name: &str) -> Vec<String> {
        let lines = self.text.lines().skip_while(|line| *line != format!(";; {name} SECTION:")).skip(1);
        let records = lines.take_while(|line| !line.is_empty());
        records.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    fn answers(&self) -> Vec<String> {
        self.section("ANSWER")
    }

    /// The data of the answers, without owner, TTL, class and type.
    fn data(&self) -> Vec<String> {
        self.answers().iter().map(|record| record.splitn(5, ' ').last().unwrap().to_owned()).collect()
    }

    fn between(&self, start: &str, end: &str) -> &str {
        let found = self.text.split_once(start).and_then(|(_, rest)| rest.split_once(end));
        found.unwrap_or_else(|| panic!("no {start:?} in {}", self.text)).0
    }

    /// It exists and has none of this type: NOERROR, nothing but the SOA that says so.
    #[track_caller]
    fn assert_nodata(&self) {
        assert_eq!((self.status(), self.answers()), ("NOERROR", vec![]), "{}", self.text);
        self.assert_soa();
    }

    #[track_caller]
    fn assert_soa(&self) {
        let authority = self.section("AUTHORITY");
        assert_eq!(authority.len(), 1, "{}", self.text);
        assert!(authority[0].contains(" IN SOA "), "{}", self.text);
    }
}

#[test]
fn the_example_is_valid_as_it_stands() {
    run(callsign(&["check", EXAMPLE])).expect_success();
}

#[test]
fn each_network_has_its_own_db() {
    needs!("dig", "dnsmasq");
    let example = Example::start();
    for (server, address) in [(SHOP, "10.10.1.3"), (BLOG, "10.10.2.3")] {
        for transport in ["+notcp", "+tcp"] {
            let shown = example.dig(server, &["db", transport]);
            assert_eq!(shown.status(), "NOERROR", "{}", shown.text);
            assert_eq!(shown.answers(), [format!("db. 0 IN A {address}")]);
            assert_eq!(shown.flags(), "qr aa rd ra");
        }
    }
    for (server, name) in [(SHOP, "cms.internal"), (BLOG, "api.internal"), (BLOG, "database.internal")] {
        assert_eq!(example.dig(server, &[name]).status(), "NXDOMAIN", "{name} at {server}");
    }
}

#[test]
fn t1_aaaa_where_there_is_one_and_nodata_where_not() {
    needs!("dig", "dnsmasq");
    let example = Example::start();
    assert_eq!(example.dig(SHOP, &["api", "AAAA"]).answers(), ["api. 0 IN AAAA fd00:10:1::2"]);
    assert_eq!(example.dig(SHOP, &["api", "A"]).answers(), ["api. 0 IN A 10.10.1.2"]);
    example.dig(SHOP, &["db", "AAAA"]).assert_nodata();
}

#[test]
fn n1_every_spelling_of_a_name() {
    needs!("dig", "dnsmasq");
    let example = Example::start();
    for name in ["db", "db.internal", "db.shop", "db.shop.internal", "DB", "Db.Shop.INTERNAL", "database", "shop-db-1"]
    {
        let shown = example.dig(SHOP, &[name]);
        assert_eq!((shown.status(), shown.data()), ("NOERROR", vec!["10.10.1.3".to_owned()]), "{name}");
        // P6: asked for and answered in the client's own case.
        assert_eq!(shown.section("QUESTION"), [format!(";{name}. IN A")]);
        assert_eq!(shown.answers(), [format!("{name}. 0 IN A 10.10.1.3")]);
    }
}

#[test]
fn t2_replicas_take_turns() {
    needs!("dig", "dnsmasq");
    let example = Example::start();
    let replies: Vec<Vec<String>> = (0..8).map(|_| example.dig(SHOP, &["web"]).data()).collect();
    for reply in &replies {
        let mut sorted = reply.clone();
        sorted.sort();
        assert_eq!(sorted, ["10.10.1.4", "10.10.1.5"]);
    }
    let first = |address: &str| replies.iter().filter(|reply| reply[0] == address).count();
    assert_eq!((first("10.10.1.4"), first("10.10.1.5")), (4, 4), "{replies:?}");
}

#[test]
fn t3_the_name_of_an_address() {
    needs!("dig", "dnsmasq");
    let example = Example::start();
    let shown = example.dig(SHOP, &["-x", "10.10.1.3"]);
    assert_eq!(shown.answers(), ["3.1.10.10.in-addr.arpa. 0 IN PTR db.internal."]);
    assert_eq!(example.dig(SHOP, &["-x", "fd00:10:1::2"]).data(), ["api.internal."]);
    // Nobody has it, and its subnet is ours.
    assert_eq!(example.dig(SHOP, &["-x", "10.10.1.250"]).status(), "NXDOMAIN");
    assert_eq!(example.upstream.queries(), Vec::<String>::new());
}

#[test]
fn n5_an_unknown_name_of_ours_is_nxdomain() {
    needs!("dig", "dnsmasq");
    let example = Example::start();
    let shown = example.dig(SHOP, &["nothere.internal"]);
    assert_eq!((shown.status(), shown.answers()), ("NXDOMAIN", vec![]));
    assert_eq!(shown.flags(), "qr aa rd ra");
    shown.assert_soa();
    assert_eq!(example.upstream.queries(), Vec::<String>::new());
}

#[test]
fn t4_a_service_with_its_address() {
    needs!("dig", "dnsmasq");
    let example = Example::start();
    let shown = example.dig(SHOP, &["_http._tcp.api", "SRV"]);
    let answers = shown.answers();
    assert_eq!(answers.len(), 1, "{}", shown.text);
    let target = answers[0].strip_prefix("_http._tcp.api. 0 IN SRV 0 1 8080 ").expect(&shown.text);
    assert!(target.starts_with("shop-api-1."), "{}", shown.text);
    let additional = shown.section("ADDITIONAL");
    for record in ["A 10.10.1.2", "AAAA fd00:10:1::2"] {
        assert!(additional.contains(&format!("{target} 0 IN {record}")), "{}", shown.text);
    }
    // The target resolves, too.
    assert_eq!(example.dig(SHOP, &[target]).data(), ["10.10.1.2"]);
}

#[test]
fn h4_edns_only_if_asked_and_version_0_only() {
    needs!("dig", "dnsmasq");
    let example = Example::start();
    let with = example.dig(SHOP, &["db"]);
    assert!(with.has_opt() && with.text.contains("EDNS: version: 0, flags:; udp: 1232"), "{}", with.text);
    // H7: dig sends a client cookie and checks what comes back.
    assert!(with.text.contains("(good)"), "{}", with.text);
    let without = example.dig(SHOP, &["db", "+noedns"]);
    assert!(!without.has_opt(), "{}", without.text);
    assert_eq!(without.data(), ["10.10.1.3"]);

    let badvers = example.dig(SHOP, &["db", "+edns=1", "+noednsnegotiation"]);
    assert_eq!((badvers.status(), badvers.answers()), ("BADVERS", vec![]));
    assert!(badvers.text.contains("EDNS: version: 0,"), "{}", badvers.text);
    // As a client does that knows the newer version and speaks ours then.
    assert_eq!(example.dig(SHOP, &["db", "+edns=1"]).data(), ["10.10.1.3"]);
}

#[test]
fn p2_other_opcodes_are_not_implemented() {
    needs!("dig", "dnsmasq");
    let example = Example::start();
    for opcode in ["+opcode=15", "+opcode=notify", "+opcode=update"] {
        assert_eq!(example.dig(SHOP, &["db", opcode]).status(), "NOTIMP", "{opcode}");
    }
    assert_eq!(example.upstream.queries(), Vec::<String>::new());
}

#[test]
fn t5_types_that_a_container_has_not_are_nodata() {
    needs!("dig", "dnsmasq");
    let example = Example::start();
    for rtype in ["TXT", "MX", "NS", "SOA", "CNAME", "SRV", "HTTPS", "CAA", "TYPE65280"] {
        example.dig(SHOP, &["db", rtype]).assert_nodata();
    }
}

#[test]
fn t6_any_is_one_rrset_over_udp_and_all_over_tcp() {
    needs!("dig", "dnsmasq");
    let example = Example::start();
    assert_eq!(example.dig(SHOP, &["api", "ANY", "+notcp"]).answers(), ["api. 0 IN A 10.10.1.2"]);
    let mut all = example.dig(SHOP, &["api", "ANY", "+tcp"]).answers();
    all.sort();
    assert_eq!(all, ["api. 0 IN A 10.10.1.2", "api. 0 IN AAAA fd00:10:1::2"]);
}

#[test]
fn n7_a_stopped_container_keeps_its_name() {
    needs!("dig", "dnsmasq");
    let example = Example::start();
    let shown = example.dig(SHOP, &["worker"]);
    shown.assert_nodata();
    assert!(shown.text.contains("EDE: 0 (Other): (worker"), "{}", shown.text);
    assert!(shown.text.contains("is not running"), "{}", shown.text);
    assert_eq!(example.upstream.queries(), Vec::<String>::new());
}

#[test]
fn n9_an_alias_of_a_service_elsewhere() {
    needs!("dig", "dnsmasq");
    let example = Example::start();
    let answers = example.dig(SHOP, &["payments"]).answers();
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert_eq!(answers[0], "payments. 0 IN CNAME payments.dev.example.com.");
    assert!(answers[1].starts_with("payments.dev.example.com. "), "{answers:?}");
    assert!(answers[1].ends_with(" IN A 192.0.2.7"), "{answers:?}");
    // It is an alias of shop, not of blog.
    assert!(example.dig(BLOG, &["payments"]).answers().is_empty());
}

#[test]
fn f2_a_domain_with_a_route() {
    needs!("dig", "dnsmasq");
    let example = Example::start();
    let shown = example.dig(BLOG, &["wiki.corp.example"]);
    assert_eq!((shown.status(), shown.data()), ("NOERROR", vec!["192.0.2.8".to_owned()]));
    // H1: somebody else's answer.
    assert_eq!(shown.flags(), "qr rd ra");
    assert_eq!(example.upstream.queries(), ["A wiki.corp.example"]);
}

#[test]
fn proxy_is_on_both_networks() {
    needs!("dig", "dnsmasq");
    let example = Example::start();
    for (server, address) in [(SHOP, "10.10.1.6"), (BLOG, "10.10.2.6")] {
        assert_eq!(example.dig(server, &["proxy.internal"]).data(), [address]);
    }
}
