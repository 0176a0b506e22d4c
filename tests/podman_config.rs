//! podman.toml: what may be said beside Podman's files, and what not.

use std::path::Path;

use callsign::settings::{Destination, Order, Upstreams};
use callsign::source::config::PodmanConfig;
use callsign::table::{Network, NetworkBuilder, Settings};
use callsign::wire::rtype;

#[track_caller]
fn parse(text: &str) -> PodmanConfig {
    PodmanConfig::parse(text, "podman.toml").unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn problems(text: &str) -> Vec<String> {
    let error = PodmanConfig::parse(text, "podman.toml").expect_err("a mistake");
    error.problems().iter().map(ToString::to_string).collect()
}

/// A network as it comes from Podman.
fn from_podman(name: &str) -> NetworkBuilder {
    Network::builder(name)
        .listen("10.89.0.1")
        .domain("dns.podman")
        .upstream("10.89.0.53")
        .allow("0.0.0.0/0")
        .allow("::/0")
}

fn strings<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(T::to_string).collect()
}

fn settings(config: &PodmanConfig, name: &str) -> Settings {
    let network = config.apply(name, from_podman(name)).build().unwrap();
    network.snapshot().settings().clone()
}

#[test]
fn an_empty_file_changes_nothing() {
    let config = parse("");
    assert!(
        config.networks.is_empty() && config.server.settings.forward.routes.is_empty() && config.warnings.is_empty()
    );
    let untouched = from_podman("shop").build().unwrap();
    assert_eq!(settings(&config, "shop"), *untouched.snapshot().settings());
}

#[test]
fn the_sections_of_the_configuration_file_hold_here_too() {
    let config = parse(
        r#"
        [server]
        workers = 3
        upstreams = ["10.0.0.53"]
        order = "strict"
        limits.forwards = 100

        [cache]
        size = 0

        [[forward]]
        domain = "corp.example"
        to = []
        "#,
    );
    assert_eq!((config.server.workers, config.server.settings.forward.order), (Some(3), Order::Strict));
    assert_eq!(config.server.settings.limits.forwards, 100);
    assert_eq!(config.server.settings.forward.upstreams, Upstreams::List(vec!["10.0.0.53".parse().unwrap()]));
    assert_eq!(config.server.settings.forward.cache_size, 0);
    assert_eq!(config.server.settings.forward.routes[0].to, Destination::Servers([].into()));
}

#[test]
fn a_network_is_as_said_of_all_then_as_said_of_it() {
    let config = parse(
        r#"
        [[network]]
        name = "shop"
        ttl = 1
        allow = ["10.89.0.0/24"]
        upstreams = ["10.0.0.53"]
        domains = ["shop.internal"]

        [[network]]
        name = "*"
        ttl = 60
        negative_ttl = 5
        merge = "nearest"
        "#,
    );
    let [shop, blog] = ["shop", "blog"].map(|name| settings(&config, name));
    assert_eq!((shop.ttl, blog.ttl), (1, 60));
    assert_eq!((shop.negative_ttl, blog.negative_ttl), (5, 5));
    assert_eq!(strings(&shop.domains), ["dns.podman", "shop.internal"], "besides Podman's");
    assert_eq!(strings(&shop.upstreams), ["10.0.0.53:53"], "instead of Podman's");
    assert_eq!(strings(&blog.upstreams), ["10.89.0.53:53"]);
    assert_eq!(strings(shop.allow.as_deref().unwrap()), ["10.89.0.0/24"], "instead of what was said");
    assert_eq!(strings(blog.allow.as_deref().unwrap()), ["0.0.0.0/0", "::/0"]);
    assert_eq!(strings(&shop.listen), ["10.89.0.1"]);
}

#[test]
fn what_podman_says_is_not_for_this_file() {
    assert_eq!(
        problems(
            "[server]\nport = 53\n[[network]]\nname = \"a\"\nlisten = [\"10.0.0.1\"]\n[[network.endpoint]]\nid = \"x\""
        ),
        [
            "podman.toml:2: `port` is not for the [server] of this file: netavark says it; leave it out",
            "podman.toml:5: `listen` is not for the [[network]] of this file: Podman says it; leave it out",
            "podman.toml:6: `endpoint` is not for the [[network]] of this file: Podman says it; leave it out",
        ]
    );
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let text = "[[network]]\nttl = -1\n[[network]]\nname = \"a\"\nsubnet = []\n[[network]]\nname = \"a\"\n[[network]]\nname = \"\"\n";
    assert_eq!(
        problems(text),
        [
            "podman.toml:1: [[network]] has no `name`; write name = \"shop\"",
            "podman.toml:2: `ttl` is -1; write a number from 0 to 2147483647",
            "podman.toml:5: unknown key `subnet`; did you mean `subnets`?",
            "podman.toml:7: network \"a\" is here already (line 4); say all of it there",
            "podman.toml:9: write the network's name as Podman has it, or name = \"*\" for every network",
        ]
    );
    assert_eq!(problems("[server\n"), ["podman.toml:1: this is not TOML: unclosed table, expected `]`"]);
    let error = PodmanConfig::from_octets(b"\n\xff", "podman.toml").unwrap_err();
    assert_eq!(error.to_string(), "podman.toml:2: this is not UTF-8; save the file as UTF-8");
}

#[test]
fn the_example_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/podman.toml");
    let config = PodmanConfig::load(&path).unwrap_or_else(|error| panic!("{error}"));
    assert!(config.warnings.is_empty());
    assert_eq!(config.server.settings.forward.routes.len(), 2);
    let shop = config.apply("shop", from_podman("shop")).build().unwrap();
    let snapshot = shop.snapshot();
    assert_eq!((snapshot.settings().negative_ttl, snapshot.settings().subnets.len()), (5, 1));
    let records: Vec<_> = snapshot.records().iter().map(|record| (record.name().to_string(), record.rtype())).collect();
    let expected = [("_ldap._tcp.directory", rtype::SRV), ("payments", rtype::CNAME)];
    assert_eq!(records, expected.map(|(name, rtype)| (name.to_owned(), rtype)));
}
