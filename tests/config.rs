//! The configuration file: every key, every error with its line, and following the file.

use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use std::{fs, thread};

use callsign::source::config::{Config, LimitsConfig, RouteTarget, ServerConfig, UpstreamsConfig, Watcher};
use callsign::table::{Health, HealthPolicy, Merge, Protocol, ReverseNames};
use callsign::wire::Name;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

#[track_caller]
fn parse(text: &str) -> Config {
    Config::parse(text, "callsign.toml").unwrap_or_else(|error| panic!("{error}"))
}

/// The problems of a text, one a line, without the file's name.
#[track_caller]
fn problems(text: &str) -> Vec<String> {
    match Config::parse(text, "callsign.toml") {
        Ok(config) => panic!("no problem: {config:?}"),
        Err(error) => {
            let lines: Vec<String> = error.to_string().lines().map(str::to_owned).collect();
            assert_eq!(lines.len(), error.problems().len(), "one line each");
            lines.iter().map(|line| line.strip_prefix("callsign.toml:").expect(line).to_owned()).collect()
        }
    }
}

#[test]
fn an_empty_file_is_valid_and_has_the_defaults() {
    let config = parse("");
    assert_eq!(config.server, ServerConfig::default());
    assert_eq!((config.server.port, config.server.timeout), (53, Duration::from_secs(5)));
    assert_eq!(config.server.upstreams, UpstreamsConfig::ResolvConf("/etc/resolv.conf".into()));
    assert!(config.networks.is_empty() && config.routes.is_empty() && config.warnings.is_empty());
}

#[test]
fn every_key_of_server() {
    let config = parse(
        r#"
        [server]
        port = 5300
        workers = 3
        upstreams = ["10.0.0.53", "[fd00::53]:5353"]
        timeout = 2.5
        never_forward = ["local", "home.arpa"]
        version = "callsign"
        identity = "host-1"
        [server.limits]
        tcp_connections = 1
        tcp_connections_per_client = 2
        tcp_queries_per_connection = 3
        forwards = 4
        forwards_per_client = 5
        tcp_idle = 6
        "#,
    );
    let server = config.server;
    assert_eq!((server.port, server.workers, server.timeout), (5300, Some(3), Duration::from_millis(2500)));
    let UpstreamsConfig::List(upstreams) = &server.upstreams else { panic!("{:?}", server.upstreams) };
    let upstreams: Vec<String> = upstreams.iter().map(ToString::to_string).collect();
    assert_eq!(upstreams, ["10.0.0.53:53", "[fd00::53]:5353"]);
    assert_eq!(server.never_forward, [name("local"), name("home.arpa")]);
    assert_eq!((server.version.as_deref(), server.identity.as_deref()), (Some("callsign"), Some("host-1")));
    let LimitsConfig { tcp_connections, tcp_connections_per_client, tcp_queries_per_connection, .. } = server.limits;
    assert_eq!((tcp_connections, tcp_connections_per_client), (Some(1), Some(2)));
    assert_eq!(tcp_queries_per_connection, Some(3));
    assert_eq!((server.limits.forwards, server.limits.forwards_per_client), (Some(4), Some(5)));
    assert_eq!(server.limits.tcp_idle, Some(Duration::from_secs(6)));

    let config = parse("[server]\nresolv_conf = \"/run/resolv.conf\"");
    assert_eq!(config.server.upstreams, UpstreamsConfig::ResolvConf("/run/resolv.conf".into()));
}

#[test]
fn every_key_of_a_network() {
    let config = parse(
        r#"
        [server]
        port = 5300
        [[network]]
        name = "shop"
        listen = ["10.10.1.1", "[fe80::1%eth0]:53"]
        subnets = ["10.10.1.0/24"]
        gateways = ["10.10.1.254"]
        domains = ["internal", "svc"]
        internal = true
        upstreams = ["10.0.0.53"]
        allow = ["10.0.0.0/8"]
        host_names = ["host.internal"]
        ttl = 5
        negative_ttl = 7
        merge = "all"
        ptr = "all"
        health = "require"
          [network.aliases]
          payments = "payments.dev.example.com"
          orders.eu = "orders.dev.example.com"
          [[network.record]]
          name = "db"
          type = "TXT"
          value = "primary"
          ttl = 60
        "#,
    );
    assert_eq!(config.warnings, []);
    assert_eq!(config.networks[0].name(), "shop");
    let snapshot = config.networks[0].snapshot();
    let settings = snapshot.settings();
    let listen: Vec<String> = settings.listen.iter().map(ToString::to_string).collect();
    // With the server's port, so that another one at a reload makes another listener.
    assert_eq!(listen, ["10.10.1.1:5300", "[fe80::1%eth0]:53"]);
    assert_eq!(settings.subnets, ["10.10.1.0/24".parse().unwrap()]);
    assert_eq!(settings.gateways, ["10.10.1.254".parse::<IpAddr>().unwrap()]);
    assert_eq!(settings.domains, [name("internal"), name("svc")]);
    assert!(settings.internal);
    assert_eq!(settings.upstreams[0].to_string(), "10.0.0.53:53");
    assert_eq!(settings.allow, Some(vec!["10.0.0.0/8".parse().unwrap()]));
    assert_eq!(settings.host_names, [name("host.internal")]);
    assert_eq!((settings.ttl, settings.negative_ttl), (5, 7));
    assert_eq!((settings.merge, settings.reverse_names), (Merge::All, ReverseNames::All));
    assert_eq!(settings.health, HealthPolicy::Require);
    let alias =
        |of: &str| snapshot.names().find(|entry| *entry.name() == name(of)).unwrap().alias().map(|(to, _)| to.clone());
    assert_eq!(alias("payments"), Some(name("payments.dev.example.com")));
    // TOML reads this as a table in a table.
    assert_eq!(alias("orders.eu"), Some(name("orders.dev.example.com")));
    let record = snapshot.records().iter().find(|record| *record.name() == name("db")).unwrap();
    assert_eq!((record.rdata(), record.ttl()), (&b"\x07primary"[..], Some(60)));
}

#[test]
fn what_a_network_is_if_nothing_else_is_said() {
    let config = parse("[[network]]\nname = \"shop\"\nlisten = [\"10.10.1.1\"]");
    let snapshot = config.networks[0].snapshot();
    assert_eq!(snapshot.settings().gateways, ["10.10.1.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(snapshot.settings().host_names.len(), 3);
    let off = parse("[[network]]\nname = \"shop\"\nlisten = [\"10.10.1.1\"]\nhost_names = []");
    assert!(off.networks[0].snapshot().settings().host_names.is_empty(), "n10: an empty list turns them off");
}

#[test]
fn every_key_of_an_endpoint() {
    let config = parse(
        r#"
        [[network]]
        name = "shop"
        listen = ["10.10.1.1"]
          [[network.endpoint]]
          id = "shop-db-1"
          addresses = ["10.10.1.3", "fd00::3"]
          names = ["db", "*.apps"]
          ports = [{ name = "pg", port = 5432 }, { port = 53, protocol = "udp" }, { port = 9, protocol = "sctp" }]
          health = "unhealthy"
          state = "down"
          priority = -3
          upstreams = ["10.0.0.53"]
        "#,
    );
    let snapshot = config.networks[0].snapshot();
    let endpoint = snapshot.endpoint("shop-db-1").unwrap();
    assert_eq!(endpoint.addresses().len(), 2);
    assert_eq!(endpoint.names(), [name("db"), name("*.apps")]);
    let ports: Vec<_> = endpoint.ports().iter().map(|port| (port.name(), port.number(), port.protocol())).collect();
    let expected = [(Some("pg"), 5432, Protocol::Tcp), (None, 53, Protocol::Udp), (None, 9, Protocol::Sctp)];
    assert_eq!(ports, expected);
    assert_eq!((endpoint.health(), endpoint.is_running()), (Health::Unhealthy, false));
    assert_eq!((endpoint.priority(), endpoint.upstreams().len()), (-3, 1));
}

#[test]
fn every_form_of_a_route() {
    let config = parse(
        r#"
        forward = [
            { domain = "corp.example", to = ["10.0.0.53", "10.0.0.54:5353"] },
            { domain = ".", to = "system" },
            { domain = "ads.example", to = [] },
        ]
        "#,
    );
    let domains: Vec<String> = config.routes.iter().map(|route| route.domain.to_string()).collect();
    assert_eq!(domains, ["corp.example", ".", "ads.example"]);
    let RouteTarget::Servers(servers) = &config.routes[0].to else { panic!("{:?}", config.routes) };
    assert_eq!(servers.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.53:53", "10.0.0.54:5353"]);
    assert_eq!(config.routes[1].to, RouteTarget::System);
    assert_eq!(config.routes[2].to, RouteTarget::Servers(vec![]));
}

#[test]
fn what_is_legal_and_may_look_otherwise() {
    // N9: an endpoint takes an alias' name over. One id on two networks is one container.
    let config = parse(
        r#"
        [[network]]
        name = "shop"
        listen = ["10.10.1.1"]
        endpoint = [{ id = "a", names = ["payments"], addresses = ["10.10.1.2"] }]
        aliases = { payments = "payments.example" }
        [[network]]
        name = "blog"
        listen = ["10.10.1.1:54", "10.10.2.1"]
        endpoint = [{ id = "a", addresses = ["10.10.1.2"] }]
        "#,
    );
    assert_eq!(config.networks.len(), 2);
}

#[test]
fn warnings_are_no_errors() {
    let config = parse(
        r#"
[[network]]
name = "shop"
subnets = ["10.10.1.0/24"]
  [[network.endpoint]]
  id = "a"
  addresses = ["10.10.2.2", "fd00::2"]
"#,
    );
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "callsign.toml:2: nobody can ask this network, as it listens nowhere; write listen = [\"172.18.0.1\"]",
            "callsign.toml:7: 10.10.2.2 is in none of the subnets of \"shop\"; is it another network's?",
        ]
    );
}

/// Each mistake in one place, and all that is said of it.
#[test]
fn each_mistake_is_told_with_its_line_and_what_to_write() {
    const TO: &str =
        "write to = [\"10.0.0.53\"], to = \"system\" for the default servers, or to = [] to block the names";
    let network = |lines: &str| format!("[[network]]\nname = \"shop\"\nlisten = [\"10.0.0.1\"]\n{lines}");
    let endpoint = |lines: &str| network(&format!("[[network.endpoint]]\nid = \"a\"\n{lines}"));
    let server = |line: &str| format!("[server]\n{line}");
    let route = |lines: &str| format!("[[forward]]\n{lines}");
    for (text, expected) in [
        // The shape of the file.
        ("[network]\nname = \"a\"".to_owned(), "1: `network` cannot be a table; write [[network]]"),
        ("[[server]]".to_owned(), "1: `server` cannot be a list; write [server]"),
        ("[[networks]]".to_owned(), "1: unknown key `networks`; did you mean `network`?"),
        ("network = [5]".to_owned(), "1: `network` cannot have a whole number in it; write [[network]]"),
        ("[server\n".to_owned(), "1: this is not TOML: unclosed table, expected `]`"),
        // [server]
        (server("port = 0"), "2: `port` is 0; write a number from 1 to 65535"),
        (server("port = 65536"), "2: `port` is 65536; write a number from 1 to 65535"),
        (server("port = \"53\""), "2: `port` cannot be a string; write port = 53"),
        (server("port = 5.3"), "2: `port` cannot be a number with a fraction; write port = 53"),
        (server("workers = 1000"), "2: `workers` is 1000; write a number from 1 to 256"),
        (server("timeout = 0"), "2: `timeout` is 0; write seconds, from 0.001 to 3600"),
        (server("timeout = nan"), "2: `timeout` is nan; write seconds, from 0.001 to 3600"),
        (server("timeout = true"), "2: `timeout` cannot be true or false; write timeout = 5"),
        (
            server("upstreams = [\"10.0.0.300\"]"),
            "2: \"10.0.0.300\" is not an address; write 172.18.0.1, 172.18.0.1:53, fd00::1 or [fd00::1%eth0]:53",
        ),
        (
            server("upstreams = [5]"),
            "2: `upstreams` cannot have a whole number in it; write upstreams = [\"10.0.0.53\"]",
        ),
        (server("upstreams = \"10.0.0.53\""), "2: `upstreams` cannot be a string; write upstreams = [\"10.0.0.53\"]"),
        (
            server("upstreams = []"),
            "2: `upstreams` is empty; leave it out for those of /etc/resolv.conf, or write upstreams = [\"10.0.0.53\"]",
        ),
        (
            server("resolv_conf = \"resolv.conf\""),
            "2: `resolv_conf` is \"resolv.conf\"; write the whole path, from / on",
        ),
        (
            server("upstreams = [\"10.0.0.53\"]\nresolv_conf = \"/etc/resolv.conf\""),
            "3: `resolv_conf` and `upstreams` both name the default servers; write one of them",
        ),
        (server("never_forward = [\"a..b\"]"), "2: \"a..b\" has an empty label; write never_forward = [\"local\"]"),
        (server("version = \"\""), "2: `version` has 0 octets; write 1 to 255"),
        (server("limits = { forwards = 0 }"), "2: `forwards` is 0; write a number from 1 to 1000000"),
        (server("limits = { tcp_idle = 4000 }"), "2: `tcp_idle` is 4000; write seconds, from 0.001 to 3600"),
        // [[network]]
        ("[[network]]\nlisten = [\"10.0.0.1\"]".to_owned(), "1: [[network]] has no `name`; write name = \"shop\""),
        (
            "[[network]]\nname = \"\"\nlisten = [\"10.0.0.1\"]".to_owned(),
            "2: a network needs a name; write name = \"shop\"",
        ),
        (
            network("[[network]]\nname = \"shop\"\nlisten = [\"10.0.0.2\"]"),
            "5: there is a network \"shop\" already (line 2); write another name",
        ),
        (
            network("[[network]]\nname = \"blog\"\nlisten = [\"10.0.0.1:53\"]"),
            "6: 10.0.0.1:53 is listened on already (line 3); write another address or port",
        ),
        (network("subnet = [\"10.0.0.0/8\"]"), "4: unknown key `subnet`; did you mean `subnets`?"),
        (
            network("subnets = [\"10.0.0.0/33\"]"),
            "4: \"10.0.0.0/33\" is not a subnet; write 172.18.0.0/16 or fd00::/64",
        ),
        (network("allow = [\"all\"]"), "4: \"all\" is not a subnet; write 172.18.0.0/16 or fd00::/64"),
        (
            network("allow = []"),
            "4: `allow` is empty; leave it out for the default, or write allow = [\"172.18.0.0/16\"]",
        ),
        (network("gateways = [\"gw\"]"), "4: \"gw\" is not an IP address; write 172.18.0.2 or fd00::2"),
        (network("domains = [\"\"]"), "4: \"\" has an empty label; write domains = [\"internal\"]"),
        (network("internal = \"yes\""), "4: `internal` cannot be a string; write internal = true"),
        (network("host_names = [\"*\"]"), "4: \"*\" alone would cover every name; write a parent, as in *.apps"),
        (network("ttl = -1"), "4: `ttl` is -1; write a number from 0 to 2147483647"),
        (network("merge = \"both\""), "4: `merge` is \"both\"; write \"nearest\" or \"all\""),
        (network("ptr = \"first\""), "4: `ptr` is \"first\"; write \"canonical\" or \"all\""),
        (network("health = \"on\""), "4: `health` is \"on\"; write \"prefer\" or \"ignore\" or \"require\""),
        // Aliases and records.
        (
            network("aliases = { a = 5 }"),
            "4: the target of an alias cannot be a whole number; write a = \"db.example.com\"",
        ),
        (network("aliases = { a = \"x y\" }"), "4: alias \"a\": \"x y\" is not one name, as in db.example.com"),
        (network("aliases = { a = \"x\", A = \"y\" }"), "4: `a` is an alias already (line 4); write one target for it"),
        (
            network("aliases = { \"a..b\" = \"x\" }"),
            "4: \"a..b\" has an empty label; write payments = \"payments.example.com\"",
        ),
        (
            network("record = [{ name = \"a\", type = \"MX\", value = \"mail\" }]"),
            "4: MX record of \"a\": \"mail\" is not a preference and a name, as in 10 mail.example.com",
        ),
        (
            network("record = [{ name = \"a\", type = \"X\", value = \"mail\" }]"),
            "4: X record of \"a\": not a record type; write its mnemonic, as in TXT, or its number, as in TYPE65280",
        ),
        (
            network("record = [{ name = \"a\", type = \"TXT\" }]"),
            "4: [[network.record]] has no `value`; write value = \"primary\"",
        ),
        (
            network("record = [{ name = \"a..b\", type = \"TXT\", value = \"x\" }]"),
            "4: \"a..b\" has an empty label; write name = \"db\"",
        ),
        // [[network.endpoint]]
        (
            network("[[network.endpoint]]\nnames = [\"a\"]"),
            "4: [[network.endpoint]] has no `id`; write id = \"shop-db-1\"",
        ),
        (network("endpoint = [{ id = \"\" }]"), "4: an endpoint needs an id"),
        (
            endpoint("domains = [\"internal\"]"),
            "6: unknown key `domains` in [[network.endpoint]]; it belongs in [[network]]",
        ),
        (
            endpoint("addresses = [\"172.18.0.300\"]"),
            "6: \"172.18.0.300\" is not an IP address; write 172.18.0.2 or fd00::2",
        ),
        (endpoint("addresses = [\"0.0.0.0\"]"), "6: \"0.0.0.0\" is not an IP address; write 172.18.0.2 or fd00::2"),
        (
            endpoint("addresses = [\"10.0.0.2\"]\n[[network.endpoint]]\nid = \"b\"\naddresses = [\"10.0.0.2\"]"),
            "9: 10.0.0.2 is an endpoint's address already (line 6); write another address",
        ),
        (
            endpoint("[[network.endpoint]]\nid = \"a\""),
            "7: there is an endpoint \"a\" already (line 5); write another id",
        ),
        (endpoint("names = [\"a..b\"]"), "6: \"a..b\" has an empty label; write names = [\"db\"]"),
        (endpoint("ports = [{ name = \"http\" }]"), "6: this port has no number; write port = 8080"),
        (
            endpoint("ports = [{ port = 80, protocol = \"tpc\" }]"),
            "6: `protocol` is \"tpc\"; write \"tcp\" or \"udp\" or \"sctp\"",
        ),
        (
            endpoint("ports = [{ port = 80, name = \"_http\" }]"),
            "6: \"_http\" is not a service's name; write name = \"http\", up to 62 octets without a dot, and no _ in front",
        ),
        (endpoint("health = \"ill\""), "6: `health` is \"ill\"; write \"healthy\" or \"unhealthy\""),
        (endpoint("state = \"on\""), "6: `state` is \"on\"; write \"up\" or \"down\""),
        (endpoint("priority = \"high\""), "6: `priority` cannot be a string; write priority = 0"),
        // [[forward]]
        (route("to = []"), "1: [[forward]] has no `domain`; write domain = \"corp.example\""),
        (route("domain = \"a\""), &format!("1: [[forward]] has no `to`; {TO}")),
        (route("domain = \"a\"\nto = \"10.0.0.53\""), &format!("3: `to` is \"10.0.0.53\"; {TO}")),
        (route("domain = \"a\"\nto = 5"), &format!("3: `to` cannot be a whole number; {TO}")),
        (
            route("domain = \"a\"\nto = []\n[[forward]]\ndomain = \"A\"\nto = []"),
            "5: `a` has a route already (line 2); write one for it",
        ),
        (route("domain = \"a\"\nto = []\nx = 1"), "4: unknown key `x` in [[forward]]; known are `domain`, `to`"),
    ] {
        assert_eq!(problems(&text), [expected], "{text}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_their_lines() {
    let text = r#"[[network]]
name = "shop"
listen = ["127.0.0.1", "x"]
subnet = ["10.10.1.0/24"]
  [[network.endpoint]]
  id = "a"
  addresses = [
    "10.10.1.2",
    "10.10.1.300",
  ]
[server]
prot = 53
timeout = "5"
"#;
    assert_eq!(
        problems(text),
        [
            "3: \"x\" is not an address; write 172.18.0.1, 172.18.0.1:53, fd00::1 or [fd00::1%eth0]:53",
            "4: unknown key `subnet`; did you mean `subnets`?",
            "9: \"10.10.1.300\" is not an IP address; write 172.18.0.2 or fd00::2",
            "12: unknown key `prot`; did you mean `port`?",
            "13: `timeout` cannot be a string; write timeout = 5",
        ]
    );
    // Where TOML itself ends, nothing behind is guessed at.
    let lines: Vec<String> = problems("a = = 1\n[b\nx").iter().map(|line| line[..1].to_owned()).collect();
    assert_eq!(lines, ["1", "2", "3"]);
}

#[test]
fn a_problem_is_one_line_whatever_it_quotes() {
    let told = problems("[[network]]\nname = \"a\"\nlisten = [\"\\u001b[31m\\nx\"]");
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("3: \"\\u{1b}[31m\\nx\" is not an address"), "{told:?}");
}

#[test]
fn nesting_without_end_is_an_error_and_no_crash() {
    for text in [
        format!("x = {}", "[".repeat(100_000)),
        format!("x = {}", "{a = ".repeat(100_000)),
        format!("[{}]", vec!["a"; 100_000].join(".")),
        format!("[[network]]\nname = \"a\"\n[network.aliases]\n{} = \"x\"", vec!["a"; 100_000].join(".")),
    ] {
        assert!(Config::parse(&text, "callsign.toml").is_err());
    }
}

#[test]
fn a_file_that_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("callsign.toml");
    let error = Config::load(&path).unwrap_err().to_string();
    let expected = "cannot be read: No such file or directory (os error 2); write one, or name the file where it is";
    assert_eq!(error, format!("{}: {expected}", path.display()));
    fs::write(&path, b"[server]\n# \xff\n").unwrap();
    let error = Config::load(&path).unwrap_err().to_string();
    assert_eq!(error, format!("{}:2: this is not UTF-8; save the file as UTF-8", path.display()));
}

#[test]
fn the_example_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/two-networks.toml");
    let config = Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.warnings, []);
    assert_eq!(config.networks.iter().map(|network| network.name()).collect::<Vec<_>>(), ["shop", "blog"]);
    assert_eq!(config.routes.len(), 1);
}

/// A watcher, and the content of its file at each call.
fn follow(path: &Path) -> (Watcher, Receiver<String>) {
    let (sender, calls) = channel();
    let file = path.to_owned();
    let watcher = Watcher::new(path, move || {
        let _ = sender.send(fs::read_to_string(&file).unwrap_or_default());
    });
    (watcher.unwrap(), calls)
}

#[track_caller]
fn next(calls: &Receiver<String>) -> String {
    calls.recv_timeout(Duration::from_secs(20)).expect("a call")
}

fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

#[test]
fn the_file_is_followed_however_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("callsign.toml");
    fs::write(&path, "1").unwrap();
    let (_watcher, calls) = follow(&path);
    replace(&path, "2");
    assert_eq!(next(&calls), "2");
    fs::write(&path, "3").unwrap();
    assert_eq!(next(&calls), "3");
    // What changes nothing, or is somebody else's, is no change: the next call is for what follows.
    replace(&path, "3");
    fs::write(directory.path().join("other.toml"), "x").unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "3").unwrap();
    fs::hard_link(directory.path().join("other.toml"), directory.path().join("callsign.link")).unwrap();
    fs::rename(directory.path().join("callsign.link"), &path).unwrap();
    assert_eq!(next(&calls), "x");
    fs::remove_file(&path).unwrap();
    replace(&path, "4");
    assert_eq!(next(&calls), "4");
    assert!(calls.try_recv().is_err());
}

#[test]
fn a_file_that_comes_later_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("etc/callsign/callsign.toml");
    let (_watcher, calls) = follow(&path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "1").unwrap();
    assert_eq!(next(&calls), "1");
    fs::remove_dir_all(directory.path().join("etc")).unwrap();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "2").unwrap();
    assert_eq!(next(&calls), "2");
    // A directory that is moved away and another in its place.
    let (old, new) = (directory.path().join("etc/callsign"), directory.path().join("etc/new"));
    fs::create_dir(&new).unwrap();
    fs::write(new.join("callsign.toml"), "3").unwrap();
    fs::rename(&old, directory.path().join("etc/old")).unwrap();
    fs::rename(&new, &old).unwrap();
    assert_eq!(next(&calls), "3");
}

#[test]
fn symbolic_links_are_followed_as_they_turn() {
    // As Kubernetes mounts a ConfigMap: the file links into a directory that is itself a link, which is replaced.
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for number in ["1", "2"] {
        fs::create_dir(at(number)).unwrap();
        fs::write(at(number).join("callsign.toml"), number).unwrap();
    }
    symlink("1", at("..data")).unwrap();
    symlink("..data/callsign.toml", at("callsign.toml")).unwrap();
    let (_watcher, calls) = follow(&at("callsign.toml"));
    symlink("2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    assert_eq!(next(&calls), "2");
    // The file at the end of the links, in a directory that was not on the way before.
    fs::write(at("2").join("callsign.toml"), "2b").unwrap();
    assert_eq!(next(&calls), "2b");
    // A link to itself leads nowhere; then one that is made in place.
    fs::remove_file(at("callsign.toml")).unwrap();
    symlink("callsign.toml", at("callsign.toml")).unwrap();
    fs::remove_file(at("callsign.toml")).unwrap();
    symlink(at("1/callsign.toml"), at("callsign.toml")).unwrap();
    assert_eq!(next(&calls), "1");
}

#[test]
fn a_watcher_ends_when_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("callsign.toml");
    let (watcher, calls) = follow(&path);
    thread::spawn(move || drop(watcher)).join().unwrap();
    // The callback went with it.
    assert!(calls.recv().is_err());
}
