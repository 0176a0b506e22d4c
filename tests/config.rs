//! The configuration file: every key, and what it makes.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use callsign::settings::{Destination, ForwardOptions, Limits, Order, Route, Unanswered, Upstreams};
use callsign::source::config::{Config, DnstapConfig, LoggedQueries, OperationConfig, ServerConfig};
use callsign::table::{Clients, Health, HealthPolicy, Merge, Network, Protocol, Reach, ReverseNames, Spread};
use callsign::wire::Name;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

#[track_caller]
fn parse(text: &str) -> Config {
    Config::parse(text, "callsign.toml").unwrap_or_else(|error| panic!("{error}"))
}

/// What a file says of forwarding.
#[track_caller]
fn forward_of(text: &str) -> ForwardOptions {
    parse(text).server.settings.forward
}

/// Its routes.
fn routes(config: &Config) -> &[Route] {
    &config.server.settings.forward.routes
}

#[test]
fn an_empty_file_is_valid_and_has_the_defaults() {
    let config = parse("");
    assert_eq!(config.server, ServerConfig::default());
    assert_eq!((config.server.port, config.server.workers, config.server.has_timeout), (53, None, false));
    assert_eq!(config.server.settings.forward, ForwardOptions::default());
    assert_eq!(config.server.settings.limits, Limits::default());
    assert!(config.networks.is_empty() && config.warnings.is_empty());
}

#[test]
fn every_key_of_server() {
    let config = parse(
        r#"
        [server]
        port = 5300
        workers = 3
        upstreams = ["10.0.0.53", "[fd00::53]:5353"]
        order = "round_robin"
        unanswered = "silence"
        case_randomization = true
        timeout = 2.5
        never_forward = ["local", "home.arpa"]
        version = "callsign"
        identity = "host-1"
        udp_size = 4096
        [server.limits]
        tcp_connections = 1
        tcp_connections_per_client = 2
        tcp_queries_per_connection = 3
        forwards = 4
        forwards_per_client = 5
        tcp_idle = 6
        "#,
    );
    let ServerConfig { port, workers, settings, has_timeout, .. } = config.server;
    assert_eq!((port, workers, has_timeout), (5300, Some(3), true));
    let forward = settings.forward;
    assert_eq!(forward.timeout, Duration::from_millis(2500));
    assert_eq!((forward.order, forward.case_randomization), (Order::RoundRobin, true));
    assert_eq!(forward.unanswered, Unanswered::Silence);
    let Upstreams::List(upstreams) = &forward.upstreams else { panic!("{:?}", forward.upstreams) };
    let upstreams: Vec<String> = upstreams.iter().map(ToString::to_string).collect();
    assert_eq!(upstreams, ["10.0.0.53:53", "[fd00::53]:5353"]);
    let answers = settings.responder;
    assert_eq!(answers.never_forward, [name("local"), name("home.arpa")]);
    assert_eq!((answers.version.as_deref(), answers.identity.as_deref()), (Some("callsign"), Some("host-1")));
    assert_eq!(answers.udp_size, 4096);
    let limits = settings.limits;
    assert_eq!((limits.tcp_connections, limits.tcp_connections_per_client), (1, 2));
    assert_eq!(limits.tcp_queries_per_connection, 3);
    assert_eq!((limits.forwards, limits.forwards_per_client), (4, 5));
    assert_eq!(limits.tcp_idle, Duration::from_secs(6));

    for (text, order) in [
        ("listed", Order::Listed),
        ("fastest", Order::Fastest),
        ("round_robin", Order::RoundRobin),
        ("strict", Order::Strict),
    ] {
        assert_eq!(forward_of(&format!("[server]\norder = {text:?}")).order, order);
    }
    let forward = forward_of("[server]\nresolv_conf = \"/run/resolv.conf\"");
    assert_eq!(forward.upstreams, Upstreams::System("/run/resolv.conf".into()));
}

#[test]
fn every_key_of_the_cache() {
    let forward = forward_of("[cache]\nsize = \"64 MiB\"\nmin_ttl = 5\nmax_ttl = 3600\nstale_for = 0");
    assert_eq!((forward.cache_size, forward.min_ttl), (64 << 20, Duration::from_secs(5)));
    assert_eq!((forward.max_ttl, forward.stale_for), (Duration::from_secs(3600), Duration::ZERO));
    for (text, size) in [("0", 0), ("1000", 1000), ("\"1 KiB\"", 1024), ("\"2 GiB\"", 2 << 30)] {
        assert_eq!(forward_of(&format!("[cache]\nsize = {text}")).cache_size, size);
    }
}

#[test]
fn every_key_of_the_control_socket_the_metrics_and_the_log() {
    let operation = parse(
        "[control]\nsocket = \"/run/a.sock\"\ncontrol_group = \"dns\"\nstate = \"/var/lib/a\"\n[metrics]\n\
         listen = \"[::1]:9153\"\ncompat = \"coredns\"\n[log]\nqueries = \"failed\"\nformat = \"json\"\n\
         file = \"/var/log/a\"\nsample = 100\ndnstap = \"unix:/run/dnstap.sock\"",
    )
    .operation;
    let path = |text: &str| Some(Path::new(text).to_path_buf());
    let (control, metrics, log) = (operation.control, operation.metrics, operation.log);
    assert_eq!((control.socket, control.state), (path("/run/a.sock"), path("/var/lib/a")));
    assert_eq!(control.control_group.as_deref(), Some("dns"));
    assert_eq!((metrics.listen, metrics.coredns), ("[::1]:9153".parse().ok(), true));
    assert_eq!((log.queries, log.json, log.file, log.sample), (LoggedQueries::Failed, true, path("/var/log/a"), 100));
    assert_eq!(log.dnstap, Some(DnstapConfig::Unix("/run/dnstap.sock".into())));
    for address in ["10.0.0.1:6000", "[fd00::1]:6000"] {
        let log = parse(&format!("[log]\ndnstap = \"tcp:{address}\"")).operation.log;
        assert_eq!(log.dnstap, Some(DnstapConfig::Tcp(address.parse().unwrap())));
    }
    assert_eq!(parse("").operation, OperationConfig::default());
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
        clients = "table"
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
    assert_eq!(settings.clients, Clients::Table);
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
fn n11_a_hold_is_seconds_or_a_time_with_its_unit() {
    for (written, expected) in
        [("2", 2000), ("0.25", 250), ("\"2s\"", 2000), ("\"1.5 s\"", 1500), ("\"500ms\"", 500), ("0", 0)]
    {
        let text = format!("[[network]]\nname = \"shop\"\nlisten = [\"10.10.1.1\"]\nhold = {written}\n");
        let config = parse(&text);
        assert_eq!(config.networks[0].snapshot().settings().hold, Duration::from_millis(expected), "{written}");
    }
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
    let domains: Vec<String> = routes(&config).iter().map(|route| route.domain.to_string()).collect();
    assert_eq!(domains, ["corp.example", ".", "ads.example"]);
    let Destination::Servers(servers) = &routes(&config)[0].to else { panic!("{:?}", routes(&config)) };
    assert_eq!(servers.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.53:53", "10.0.0.54:5353"]);
    assert_eq!(routes(&config)[1].to, Destination::System);
    assert_eq!(routes(&config)[2].to, Destination::Servers([].into()));
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

#[test]
fn the_example_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/two-networks.toml");
    let config = Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.warnings, []);
    assert_eq!(config.networks.iter().map(|network| network.name()).collect::<Vec<_>>(), ["shop", "blog"]);
    assert_eq!(routes(&config).len(), 1);
}

/// The parser takes some ten times the memory of what it reads: endpoints are read one by one.
#[test]
fn many_endpoints_are_read_in_little_more_memory_than_they_are_kept_in() {
    const COUNT: usize = 10_000;
    let mut text = "[[network]]\nname = \"big\"\nlisten = [\"10.255.0.1\"]\nsubnets = [\"10.0.0.0/8\"]\n".to_owned();
    for number in 0..COUNT {
        text += &format!(
            "[[network.endpoint]]\nid = \"container-{number}\"\naddresses = [\"10.{}.{}.1\"]\nnames = [\"name-{number}\"]\n\
             [[network.endpoint.ports]]\nport = 80\n",
            number / 256,
            number % 256
        );
    }
    let mut config = None;
    let taken = allocation_counter::measure(|| config = Some(parse(&text)));
    let config = config.unwrap();
    assert_eq!(config.warnings, []);
    let snapshot = config.networks[0].snapshot();
    assert_eq!(snapshot.endpoint_count(), COUNT);
    assert_eq!(snapshot.endpoint("container-9999").unwrap().ports().len(), 1);
    let (peak, kept) = (taken.bytes_max as usize / COUNT, taken.bytes_current as usize / COUNT);
    assert!(peak <= kept + 500, "{peak} octets for each endpoint to read it, {kept} to keep it");
}

/// Whatever is read one by one or in the whole text: mistakes have their lines.
#[test]
fn mistakes_in_endpoints_are_told_with_their_lines() {
    let good = "[[network]]\nname = \"a\"\nlisten = [\"10.0.0.1\"]\n[[network.endpoint]]\nid = \"1\"\n\n[[network.endpoint]]\nid = \"2\"\n";
    let problems = |text: &str| Config::parse(text, "x").unwrap_err().to_string();
    assert_eq!(
        problems(&good.replace("\"2\"", "\"1\"")),
        "x:8: there is an endpoint \"1\" already (line 5); write another id"
    );
    assert!(problems(&good.replace("id = \"2\"", "id = ")).starts_with("x:8: this is not TOML: "));
    assert!(problems(&format!("{good}id = \"3\"\n")).starts_with("x:9: this is not TOML: duplicate key"));
    // A list of both kinds is none in TOML.
    let both = good.replace("listen", "endpoint = [{ id = \"3\" }]\nlisten");
    assert!(problems(&both).contains("this is not TOML: "), "{}", problems(&both));
    let dotted = good.replace("listen", "endpoint.id = \"3\"\nlisten");
    assert!(problems(&dotted).contains("this is not TOML: "), "{}", problems(&dotted));
}

#[test]
fn docker_and_what_is_added_to_its_networks() {
    let config = parse(
        r#"
        [docker]
        socket = "unix:///run/user/1000/docker.sock"
        networks = ["shop_*", "!secret"]
        listen = ["172.17.0.1"]
        domain = "docker"
        hold = "1.5s"
        [[network]]
        name = "*"
        ttl = 5
        [[network]]
        name = "shop_default"
        domains = ["internal"]
        [[network]]
        name = "own"
        listen = ["10.10.1.1"]
        [[network]]
        name = "silent"
        subnets = ["10.10.2.0/24"]
        "#,
    );
    let docker = config.docker.as_ref().unwrap();
    assert_eq!(docker.socket.as_deref(), Some("unix:///run/user/1000/docker.sock"));
    assert_eq!(docker.networks, ["shop_*", "!secret"]);
    assert_eq!((docker.listen[0].to_string(), docker.domain.as_deref()), ("172.17.0.1".to_owned(), Some("docker")));
    assert_eq!(docker.hold, Some(Duration::from_millis(1500)));
    let names: Vec<&str> = config.networks.iter().map(|network| network.name()).collect();
    assert_eq!(names, ["own", "silent"], "the others are no networks by themselves");
    let built = |name: &str| config.additions.apply(name, Network::builder(name)).build().unwrap();
    let shop = built("shop_default");
    assert_eq!((shop.snapshot().settings().ttl, shop.snapshot().settings().domains.len()), (5, 1));
    assert_eq!(built("blog").snapshot().settings().ttl, 5);
    let unmatched: Vec<String> = config.additions.unmatched(|_| false).iter().map(ToString::to_string).collect();
    assert_eq!(unmatched, ["callsign.toml:12: Docker has no network \"shop_default\", so this adds to nothing"]);
    assert_eq!(config.additions.unmatched(|name| name == "shop_default"), []);
    assert!(parse("").docker.is_none() && parse("[docker]").docker.is_some());
}

#[test]
fn n12_names_outside_ascii_are_read_in_both_spellings() {
    let config = parse(
        r#"
        [server]
        never_forward = ["straße"]

        [[network]]
        name = "shop"
        listen = ["10.10.1.1"]
        domains = ["größe.example"]
        aliases = { "naïve" = "münchen.example" }

          [[network.endpoint]]
          id = "db-1"
          names = ["bücher"]

        [[forward]]
        domain = "zürich.example"
        to = "system"
        "#,
    );
    assert_eq!(config.server.settings.responder.never_forward, ["xn--strae-oqa", "straße"].map(name));
    assert_eq!(
        routes(&config).iter().map(|route| route.domain.clone()).collect::<Vec<_>>(),
        ["xn--zrich-kva.example", "zürich.example"].map(name)
    );
    let snapshot = config.networks[0].snapshot();
    assert_eq!(snapshot.settings().domains, ["xn--gre-6ka8i.example", "größe.example"].map(name));
    assert_eq!(snapshot.endpoint("db-1").unwrap().names(), ["xn--bcher-kva", "bücher"].map(name));
    let records: Vec<_> = snapshot.records().iter().map(|record| (record.name().clone(), record.rdata())).collect();
    let target = name("xn--mnchen-3ya.example");
    assert_eq!(records, ["xn--nave-6pa", "naïve"].map(|alias| (name(alias), target.as_wire())));
}

#[test]
fn the_store_and_what_networks_say_of_being_shared() {
    let text = r#"
        [store]
        etcd = ["https://10.77.0.1:2379", "https://etcd-2.example.net", "http://localhost:2379/", "https://[fd00::1]:2379"]
        ca = "/etc/callsign/etcd-ca.pem"
        cert = "/etc/callsign/host-a.pem"
        key = "/etc/callsign/host-a.key"
        host = "Host-A"
        address = "10.77.0.11"
        ttl = 20
        linger = "60s"
        wait = 1.5

        [[forward]]
        domain = "corp.example"
        to = ["10.0.0.53"]

        [[forward]]
        domain = "."
        to = ["10.0.0.54"]

        [[network]]
        name = "shop"
        listen = ["10.88.1.1"]
        subnets = ["10.88.1.0/24"]
        share = "container"
        share_as = "store"
        spread = "all"
        accept = ["host-b", "db-*"]
        remote_subnets = ["10.88.0.0/16"]

          [[network.endpoint]]
          id = "shop-db-1"
          addresses = ["10.88.1.3"]
          names = ["db"]

        [[network]]
        name = "own"
        listen = ["10.88.2.1"]

        [[network]]
        name = "*"
        share = "host"

        [[network]]
        name = "secret"
        share = "none"
    "#;
    let mut config = Config::parse(text, "callsign.toml").unwrap();
    let store = config.store.clone().unwrap();
    assert_eq!(
        store.etcd,
        ["https://10.77.0.1:2379", "https://etcd-2.example.net", "http://localhost:2379", "https://[fd00::1]:2379"]
    );
    assert_eq!((&*store.host, &*store.prefix, store.user), ("host-a", "/callsign", None));
    assert_eq!(store.certificate, Some(("/etc/callsign/host-a.pem".into(), "/etc/callsign/host-a.key".into())));
    assert_eq!(store.address, ["10.77.0.11".parse::<std::net::IpAddr>().unwrap()]);
    let seconds = [store.ttl, store.hold, store.linger, store.wait].map(|time| time.as_secs_f64());
    assert_eq!(seconds, [20.0, 60.0, 60.0, 1.5]);
    assert_eq!(store.state.as_deref(), Some(std::path::Path::new("/var/lib/callsign/store.json")));
    assert_eq!(store.reserved, ["corp.example".parse().unwrap()]);
    let sharing = |config: &Config| config.networks[0].snapshot().settings().sharing.clone().unwrap();
    let shop = sharing(&config);
    assert_eq!((shop.reach, shop.name.as_deref(), shop.spread), (Reach::Container, Some("store"), Spread::All));
    assert_eq!((shop.accepts("host-b"), shop.accepts("db-7"), shop.accepts("host-c")), (true, true, false));
    assert_eq!(shop.remote_subnets, ["10.88.0.0/16".parse().unwrap()]);
    assert_eq!(shop.host, "host-a".parse().ok());
    assert_eq!(config.networks[1].snapshot().settings().sharing, None);
    // Another name for the host: the endpoints are found by it.
    assert!(config.name_host("other"));
    assert_eq!(sharing(&config).host, "other".parse().ok());
    assert!(config.networks[0].snapshot().find(b"\x02db\x05other\x00").is_some());
    assert!(!config.name_host("no_host"));
    // What a network of Docker's gets.
    let added = |name: &str| {
        let network = config.additions.apply(name, Network::builder(name)).build().unwrap();
        let snapshot = network.snapshot();
        snapshot.settings().sharing.as_ref().map(|sharing| (sharing.reach, sharing.host.clone()))
    };
    assert_eq!(added("any"), Some((Reach::Host, "other".parse().ok())));
    assert_eq!(added("secret"), None);
    // Without a name in the file the host has none, until somebody gives it one.
    let mut config = Config::parse(&text.replace("host = \"Host-A\"", ""), "callsign.toml").unwrap();
    assert_eq!((config.store.as_ref().unwrap().host.as_str(), sharing(&config).host.clone()), ("", None));
    assert!(config.name_host("host-b"));
    assert_eq!(
        (config.store.as_ref().unwrap().host.as_str(), sharing(&config).host.clone()),
        ("host-b", "host-b".parse().ok())
    );
    assert!(!Config::default().name_host("host-b"), "there is no store");
}

#[test]
fn warnings_of_what_cannot_be_shared() {
    let warnings = |text: &str| {
        let config = Config::parse(text, "callsign.toml").unwrap();
        let all = config.warnings.iter().map(|warning| warning.to_string());
        all.map(|warning| warning.strip_prefix("callsign.toml:").unwrap().to_owned()).collect::<Vec<_>>()
    };
    let store = "[store]\netcd = [\"https://10.77.0.1:2379\"]\n";
    let shop = "[[network]]\nname = \"shop\"\nlisten = [\"10.88.1.1\"]\nsubnets = [\"10.88.1.0/24\"]\n";
    assert_eq!(
        warnings(store),
        ["1: no network is shared, so no name is; write share = \"container\" in a [[network]]"]
    );
    let shared = format!("{shop}share = \"container\"\n");
    assert_eq!(
        warnings(&format!("{shared}remote_subnets = [\"10.88.2.0/24\"]")),
        [
            "5: `share` means nothing without [store]; write [store], and below it etcd = [\"https://10.77.0.1:2379\", \"https://10.77.0.2:2379\"]"
        ]
    );
    assert_eq!(
        warnings(&format!("{shop}spread = \"all\"")),
        ["5: `spread` means nothing without `share`; write share = \"container\""]
    );
    assert_eq!(
        warnings(&format!("{store}{shared}")),
        [
            "7: no container of another host is taken without the subnets that those have; write remote_subnets = [\"10.88.0.0/16\"]"
        ]
    );
    for bridge in [
        "[[network]]\nname = \"bridge\"\nshare = \"container\"".to_owned(),
        shared.replace("10.88.1.0/24", "172.17.0.0/16"),
    ] {
        let warnings = warnings(&format!("{store}{bridge}"));
        assert!(warnings.len() == 1 && warnings[0].contains("has the same subnet on every host"), "{warnings:?}");
    }
    let network = "[[network]]\nname = \"*\"\nshare = \"host\"\n";
    assert_eq!(
        warnings(&format!("{store}ttl = 60\nhold = 100\n{network}")),
        ["4: `hold` is less than twice `ttl`, so it counts as 120 s; write 120 or more"]
    );
    // What all networks of Docker's have, one of them may have otherwise.
    assert_eq!(warnings(&format!("{store}{network}[[network]]\nname = \"shop\"\nspread = \"all\"")), [""; 0]);
}
