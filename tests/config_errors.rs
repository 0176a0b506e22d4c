//! The configuration file: every mistake, with its line and what to write instead.

use std::fs;

use callsign::source::config::Config;

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

/// Each mistake in one place, and all that is said of it.
#[test]
fn each_mistake_is_told_with_its_line_and_what_to_write() {
    const TO: &str =
        "write to = [\"10.0.0.53\"], to = \"system\" for the default servers, or to = [] to block the names";
    let network = |lines: &str| format!("[[network]]\nname = \"shop\"\nlisten = [\"10.0.0.1\"]\n{lines}");
    let endpoint = |lines: &str| network(&format!("[[network.endpoint]]\nid = \"a\"\n{lines}"));
    let server = |line: &str| format!("[server]\n{line}");
    let store = |line: &str| format!("[store]\netcd = [\"https://10.77.0.1:2379\"]\n{line}");
    let route = |lines: &str| format!("[[forward]]\n{lines}");
    for (text, expected) in [
        // The shape of the file.
        (
            "[network]\nname = \"a\"".to_owned(),
            "1: `network` cannot be a table; write [[network]], with two brackets, as there can be several",
        ),
        ("[[server]]".to_owned(), "1: `server` cannot be a list; write [server]"),
        (
            "[[networks]]".to_owned(),
            "1: unknown key `networks` in callsign.toml; did you mean `network`, or does it belong in [docker]?",
        ),
        (
            "network = [5]".to_owned(),
            "1: `network` cannot have a whole number in it; write [[network]], with two brackets, as there can be several",
        ),
        ("[server\n".to_owned(), "1: this is not TOML: unclosed table, expected `]`"),
        // [store]
        (
            "[store]".to_owned(),
            "1: [store] has no `etcd`; write etcd = [\"https://10.77.0.1:2379\", \"https://10.77.0.2:2379\"]",
        ),
        (
            "[store]\netcd = []".to_owned(),
            "2: `etcd` is empty; write etcd = [\"https://10.77.0.1:2379\", \"https://10.77.0.2:2379\"]",
        ),
        (
            "[store]\netcd = [\"10.77.0.1:2379\"]".to_owned(),
            "2: \"10.77.0.1:2379\" is no member of etcd; write etcd = [\"https://10.77.0.1:2379\", \"https://10.77.0.2:2379\"]",
        ),
        (
            "[store]\netcd = [\"https://u:p@10.77.0.1:2379\"]".to_owned(),
            "2: a password does not belong into an address: use user and password_file; write etcd = [\"https://10.77.0.1:2379\", \"https://10.77.0.2:2379\"]",
        ),
        (
            "[store]\netcd = [\"http://10.77.0.1:2379\"]".to_owned(),
            "2: http://10.77.0.1:2379 is asked without TLS, and whoever can read or change packets on the way can change names; use https, or, on a network of your own that is encrypted already, insecure = true; write etcd = [\"https://10.77.0.1:2379\", \"https://10.77.0.2:2379\"]",
        ),
        (
            store("password = \"secret\""),
            "3: unknown key `password` in [store]; a password does not belong into this file; write password_file = \"/etc/callsign/etcd-password\"",
        ),
        (store("cert = \"/a\""), "3: `cert` needs `key`; write key = \"/etc/callsign/host-a.key\", too"),
        (store("password_file = \"/a\""), "3: `password_file` needs `user`; write user = \"host-a\", too"),
        (store("prefix = \"callsign\""), "3: `prefix` is \"callsign\"; write prefix = \"/callsign\""),
        (
            store("host = \"host_a\""),
            "3: \"host_a\" is no host name; write letters, digits, hyphens and dots, as in host-b",
        ),
        (
            store("address = \"127.0.0.1\""),
            "3: no other host reaches this one at 127.0.0.1; write address = \"10.77.0.11\"",
        ),
        (store("ttl = 1"), "3: `ttl` is 1; write seconds, from 5 to 600"),
        (network("share = \"yes\""), "4: `share` is \"yes\"; write \"container\" or \"host\" or \"none\""),
        (
            network("share = \"host\"\naccept = [\"host b\"]"),
            "5: \"host b\" is no host name; write letters, digits, hyphens and dots, as in host-b",
        ),
        (
            "[[network]]\nname = \"*\"\nshare = \"host\"\nshare_as = \"x\"".to_owned(),
            "4: networks of different names cannot be one elsewhere; write `share_as` at the network that is meant",
        ),
        // [server]
        (server("port = 0"), "2: `port` is 0; write a number from 1 to 65535"),
        (server("port = 65536"), "2: `port` is 65536; write a number from 1 to 65535"),
        (server("port = \"53\""), "2: `port` cannot be a string; write port = 53"),
        (server("port = 5.3"), "2: `port` cannot be a number with a fraction; write port = 53"),
        (server("workers = 1000"), "2: `workers` is 1000; write a number from 1 to 256"),
        (
            server("fail_over = \"sequential\""),
            "2: `fail_over` is part of `order` now; write order = \"strict\" for \"sequential\", and leave it out else",
        ),
        (server("order = \"sequential\""), "2: `order` has no \"sequential\" any more; write \"listed\""),
        (server("unanswered = 1"), "2: `unanswered` cannot be a whole number; write unanswered = \"servfail\""),
        (server("order = 1"), "2: `order` cannot be a whole number; write order = \"listed\""),
        (
            server("order = \"any\""),
            "2: `order` is \"any\"; write \"listed\" or \"fastest\" or \"round_robin\" or \"strict\"",
        ),
        (server("timeout = 0"), "2: `timeout` is 0; write seconds, from 0.001 to 3600"),
        (server("timeout = nan"), "2: `timeout` is nan; write seconds, from 0.001 to 3600"),
        (server("timeout = true"), "2: `timeout` cannot be true or false; write timeout = 4"),
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
        (server("udp_size = 511"), "2: `udp_size` is 511; write a number from 512 to 4096"),
        (server("udp_size = 4097"), "2: `udp_size` is 4097; write a number from 512 to 4096"),
        (
            server("never_forward = [\"\u{301}a\"]"),
            "2: \"\u{301}a\" has no A-labels (IDNA 2008, UTS 46), which programs ask for; write it in letters and digits of a \
             language; write never_forward = [\"local\"]",
        ),
        (server("limits = { forwards = 0 }"), "2: `forwards` is 0; write a number from 1 to 1000000"),
        (server("limits = { tcp_idle = 4000 }"), "2: `tcp_idle` is 4000; write seconds, from 0.001 to 3600"),
        // [cache]
        (
            "[cache]\nsize = \"16 MB\"".to_owned(),
            "2: `size` is \"16 MB\"; write size = \"16 MiB\", or a number of KiB or GiB, or of octets",
        ),
        ("[cache]\nsize = -1".to_owned(), "2: `size` is -1; write a number from 0 to 1099511627776"),
        ("[cache]\nmax_ttl = \"1d\"".to_owned(), "2: `max_ttl` cannot be a string; write max_ttl = 86400"),
        ("[cache]\nmax_ttl = 5\nmin_ttl = 6".to_owned(), "3: `min_ttl` is 6 and `max_ttl` 5; write a lower `min_ttl`"),
        (server("max_ttl = 5"), "2: unknown key `max_ttl` in [server]; it belongs in [cache]"),
        // [docker]
        (
            "[docker]\nsocket = \"docker.sock\"".to_owned(),
            "2: `socket` is \"docker.sock\"; write socket = \"/var/run/docker.sock\", or socket = \"tcp://127.0.0.1:2375\" for a socket \
             proxy",
        ),
        (
            "[docker]\nnetworks = [\"!\"]".to_owned(),
            "2: \"!\" is no pattern: only * stands for other characters; write networks = [\"shop_*\", \"!secret\"]",
        ),
        ("[docker]\nhold = \"2 minutes\"".to_owned(), "2: `hold` is \"2 minutes\"; write seconds, from 0 to 3.5"),
        ("[docker]\ndomain = \"a..b\"".to_owned(), "2: \"a..b\" has an empty label; write domain = \"docker\""),
        (
            "[docker]\nlisten = [\"0.0.0.0\"]".to_owned(),
            "2: 0.0.0.0 is no gateway's address; write each one that containers ask",
        ),
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
        (
            "[[network]]\nname = \"shop\"\nlisten = [\"0.0.0.0\"]".to_owned(),
            "3: 0.0.0.0 is no gateway's address; write each one that containers ask",
        ),
        (network("gateways = [\"gw\"]"), "4: \"gw\" is not an IP address; write 172.18.0.2 or fd00::2"),
        (network("domains = [\"\"]"), "4: \"\" has an empty label; write domains = [\"internal\"]"),
        (network("hold = 4"), "4: `hold` is 4; write seconds, from 0 to 3.5"),
        (network("hold = \"2 minutes\""), "4: `hold` is \"2 minutes\"; write seconds, from 0 to 3.5"),
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
        (
            endpoint("addresses = [\"0.0.0.0\"]"),
            "6: 0.0.0.0 cannot be an endpoint's address: it stands for no single host",
        ),
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
        (endpoint("health = \"ill\""), "6: `health` is \"ill\"; write \"healthy\" or \"unhealthy\" or \"starting\""),
        (endpoint("state = \"on\""), "6: `state` is \"on\"; write \"up\" or \"starting\" or \"down\""),
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
fn a_reader_of_dnstap_is_a_socket_or_an_address_with_a_port() {
    let texts = [
        "/run/a.sock",
        "unix:run/a.sock",
        "unix:",
        "tcp:",
        "tcp:a",
        "tcp:10.0.0.1:0",
        "tcp:a:6000",
        "tcp:fd00::1:6000",
        "udp:a:1",
    ];
    for text in texts {
        let says = "write a socket, dnstap = \"unix:/run/dnstap.sock\", or \"tcp:ADDRESS:PORT\"";
        assert_eq!(problems(&format!("[log]\ndnstap = \"{text}\"")), [format!("2: `dnstap` is \"{text}\"; {says}")]);
    }
}

/// What can be read and cannot work.
#[test]
fn what_cannot_work_is_an_error() {
    const STAR: &str = "`*` stands for any name only as the whole first label; write it so, as in *.apps";
    let network = |lines: &str| format!("[[network]]\nname = \"shop\"\nlisten = [\"10.0.0.1\"]\n{lines}");
    let endpoint = |names: &str| network(&format!("[[network.endpoint]]\nid = \"a\"\nnames = [{names}]"));
    let twelve: String = (0..12).map(|number| format!("a{number} = \"a{}\"\n", number + 1)).collect();
    let names: Vec<String> = (0..10).map(|number| format!("a{number}")).collect();
    for (text, expected) in [
        (
            network("[network.aliases]\npayments = \"10.0.0.5\""),
            "5: alias \"payments\": 10.0.0.5 is an address, and an alias leads to a name; write an endpoint with addresses = \
             [\"10.0.0.5\"]"
                .to_owned(),
        ),
        (
            network("record = [{ name = \"pay\", type = \"cname\", value = \"fd00::5\" }]"),
            "4: alias \"pay\": fd00::5 is an address, and an alias leads to a name; write an endpoint with addresses = \
             [\"fd00::5\"]"
                .to_owned(),
        ),
        (
            network("[network.aliases]\na = \"b\"\nb = \"c.shop\"\nc = \"a\"\nd = \"elsewhere.example\""),
            "5: aliases lead in a circle: a -> b -> c.shop -> a; let one of them lead to a name elsewhere".to_owned(),
        ),
        (
            network("[network.aliases]\nb = \"c\"\nc = \"d.shop\"\nd = \"c\""),
            "5: aliases lead in a circle: c -> d.shop -> c; let one of them lead to a name elsewhere".to_owned(),
        ),
        (
            network("[network.aliases]\n\"*.x\" = \"y.x\""),
            "5: aliases lead in a circle: y.x -> y.x; let one of them lead to a name elsewhere".to_owned(),
        ),
        (
            network(&format!("[network.aliases]\n{twelve}")),
            format!("5: more than 8 aliases in a row: {}; write the last name at once", names.join(" -> ")),
        ),
        (endpoint("\"a.*.b\""), format!("6: \"a.*.b\": {STAR}")),
        (endpoint("\"web*\""), format!("6: \"web*\": {STAR}")),
        (endpoint("\"*.*.b\""), format!("6: \"*.*.b\": {STAR}")),
        (network("aliases = { \"a.*.b\" = \"x.example\" }"), format!("4: \"a.*.b\": {STAR}")),
        (network("record = [{ name = \"a.*\", type = \"TXT\", value = \"x\" }]"), format!("4: \"a.*\": {STAR}")),
        (network("domains = [\"*.internal.*\"]"), format!("4: \"*.internal.*\": {STAR}")),
        (
            "[[network]]\nname = \"*\"\nlisten = [\"10.0.0.1\"]".to_owned(),
            "2: `*` stands for every network of an engine; write this network's own name".to_owned(),
        ),
        (
            "[[network]]\nname = \"shop\"\nlisten = [\"fe80::1\"]".to_owned(),
            "3: fe80::1 is on every interface; write the one that is meant, as in [fe80::1%eth0]:53".to_owned(),
        ),
    ] {
        assert_eq!(problems(&text), [expected], "{text}");
    }
}

/// The warnings of a text, one a line, without the file's name.
#[track_caller]
fn warnings(text: &str) -> Vec<String> {
    let config = Config::parse(text, "callsign.toml").unwrap_or_else(|error| panic!("{text}\n{error}"));
    config
        .warnings
        .iter()
        .map(|warning| warning.to_string().strip_prefix("callsign.toml:").unwrap().to_owned())
        .collect()
}

/// What works, and surely is a mistake.
#[test]
fn what_surely_is_a_mistake_is_a_warning() {
    let network = |lines: &str| format!("[[network]]\nname = \"shop\"\nlisten = [\"10.0.0.1\"]\n{lines}\n");
    let endpoint = |lines: &str| network(&format!("[[network.endpoint]]\nid = \"a\"\n{lines}"));
    let two = |subnets: [&str; 2]| {
        format!(
            "{}[[network]]\nname = \"blog\"\nlisten = [\"10.0.0.2\"]\nsubnets = [\"{}\"]",
            network(&format!("subnets = [\"{}\"]", subnets[0])),
            subnets[1]
        )
    };
    let public = |domain: &str| {
        format!(
            "4: `{domain}` is a public top-level domain, and of all names below it only those of this network would exist; \
             write internal, or a domain of your own"
        )
    };
    let at = |listen: &str, upstream: &str| {
        network(&format!("upstreams = [\"{upstream}\"]")).replace("\"10.0.0.1\"", &format!("\"{listen}\""))
    };
    let own = |line: usize, server: &str| {
        format!(
            "{line}: {server} is where network \"shop\" listens (line 3), and callsign never asks itself; write another server"
        )
    };
    for (text, expected) in [
        (
            endpoint("names = [\"db\"]\n[network.aliases]\nDB = \"db.example.com\""),
            vec!["8: alias \"DB\" is never used, as endpoint \"a\" has that name; leave one of them out".to_owned()],
        ),
        (
            endpoint("names = [\"my db\"]"),
            vec![
                "6: \"my db\" has a space in it, and programs do not ask for such names; write one name a string, without \
                 spaces"
                    .to_owned(),
            ],
        ),
        (
            network("domains = [\"Local\"]"),
            vec![
                "4: `local` belongs to multicast DNS (RFC 6762), and many resolvers never ask a server for it; write internal"
                    .to_owned(),
            ],
        ),
        (network("domains = [\"dev\"]"), vec![public("dev")]),
        (network("domains = [\"de.\"]"), vec![public("de")]),
        (
            two(["10.0.0.0/8", "10.1.0.0/16"]),
            vec!["8: 10.1.0.0/16 overlaps 10.0.0.0/8 of network \"shop\" (line 4); give each network subnets of its own".to_owned()],
        ),
        (
            two(["fd00:1::/64", "fd00::/16"]),
            vec!["8: fd00::/16 overlaps fd00:1::/64 of network \"shop\" (line 4); give each network subnets of its own".to_owned()],
        ),
        (network("upstreams = [\"10.0.0.1\"]"), vec![own(4, "10.0.0.1:53")]),
        (endpoint("upstreams = [\"tcp://10.0.0.1\"]"), vec![own(6, "tcp://10.0.0.1:53")]),
        (
            network("[[forward]]\ndomain = \"corp.example\"\nto = [\"10.0.0.53\", \"10.0.0.1\"]"),
            vec![own(6, "10.0.0.1:53")],
        ),
        (network("[server]\nupstreams = [\"10.0.0.1:53\"]"), vec![own(5, "10.0.0.1:53")]),
        // In another form, and what reaches a listener without being its address (answers.md F4).
        (network("upstreams = [\"::ffff:10.0.0.1\"]"), vec![own(4, "[::ffff:10.0.0.1]:53")]),
        (at("127.0.0.1", "0.0.0.0"), vec![own(4, "0.0.0.0:53")]),
        (at("::1", "::"), vec![own(4, "[::]:53")]),
    ] {
        assert_eq!(warnings(&text), expected, "{text}");
    }
    // What is near to each of these, and is fine.
    for text in [
        endpoint(
            "names = [\"*.apps\", \"db.prod\"]\n[network.aliases]\n\"*.pay\" = \"payments.example\"\npay = \"payments.example\"",
        ),
        network("domains = [\"internal\", \"shop.dev\", \"corp\"]\nsubnets = [\"10.0.0.0/8\", \"10.1.0.0/16\"]"),
        two(["10.1.0.0/16", "10.2.0.0/16"]),
        network("upstreams = [\"10.0.0.1:5353\", \"tls://10.0.0.1\"]"),
        at("127.0.0.2", "0.0.0.0"),
        network("").replace("10.0.0.1", "[fe80::1%eth0]:53"),
        network("record = [{ name = \"My Printer._ipp._tcp\", type = \"SRV\", value = \"0 0 631 printer\" }]"),
    ] {
        assert_eq!(warnings(&text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn what_the_machine_lacks_is_told_when_it_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let there = directory.path().join("there");
    fs::write(&there, "").unwrap();
    let there = there.display();
    let text = format!(
        "[server]\nresolv_conf = \"/nonexistent/resolv.conf\"\n[cache]\nsize = \"1024 GiB\"\n[[forward]]\ndomain = \"a\"\n\
         to = [\"tls://10.0.0.53?ca={there}\", \"tls://10.0.0.54?ca=/nonexistent/ca.pem\"]\n"
    );
    let config = Config::parse(&text, "callsign.toml").unwrap();
    assert_eq!(config.warnings, []);
    let found = config.surroundings();
    let lines =
        |problems: &[callsign::source::config::Problem]| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        lines(&found.errors),
        [
            "callsign.toml:7: the CA file /nonexistent/ca.pem cannot be read: No such file or directory (os error 2); without it \
          this server is never asked"
        ]
    );
    let warnings = lines(&found.warnings);
    assert_eq!(warnings.len(), 2);
    assert_eq!(
        warnings[0],
        "callsign.toml:2: /nonexistent/resolv.conf cannot be read: No such file or directory (os error 2); until it is there \
         nothing is forwarded by default"
    );
    assert!(warnings[1].starts_with("callsign.toml:4: the cache may take 1048576 MiB, and there are "), "{warnings:?}");
    let fine = Config::parse(&format!("[server]\nresolv_conf = \"{there}\"\n[cache]\nsize = 1024\n"), "x").unwrap();
    assert_eq!(fine.surroundings(), Default::default());
}

/// Keys and forms of other programs' files.
#[test]
fn habits_get_a_sentence_that_helps() {
    const YAML: &str = "this is YAML, and the file is TOML: write [[network]], and below it name = \"shop\"";
    let network = |line: &str| format!("[[network]]\nname = \"shop\"\nlisten = [\"10.0.0.1\"]\n{line}");
    let endpoint = |line: &str| network(&format!("[[network.endpoint]]\nid = \"a\"\n{line}"));
    for (text, expected) in [
        (
            endpoint("ip = \"10.0.0.2\""),
            "6: unknown key `ip` in [[network.endpoint]]; write addresses = [\"172.18.0.2\"]".to_owned(),
        ),
        (
            endpoint("alias = \"db\""),
            "6: unknown key `alias` in [[network.endpoint]]; write names = [\"db\", \"database\"]; a name elsewhere goes into \
             [network.aliases]"
                .to_owned(),
        ),
        (
            endpoint("hostname = \"db\""),
            "6: unknown key `hostname` in [[network.endpoint]]; write names = [\"db\"]".to_owned(),
        ),
        (
            endpoint("dns = \"10.0.0.53\""),
            "6: unknown key `dns` in [[network.endpoint]]; write upstreams = [\"10.0.0.53\"]".to_owned(),
        ),
        (
            network("alias = \"db\""),
            "4: unknown key `alias` in [[network]]; write [network.aliases], and below it payments = \
             \"payments.example.com\""
                .to_owned(),
        ),
        (
            network("ip = \"10.0.0.1\""),
            "4: unknown key `ip` in [[network]]; write listen = [\"172.18.0.1\"]".to_owned(),
        ),
        (
            network("dns = [\"10.0.0.53\"]"),
            "4: unknown key `dns` in [[network]]; write upstreams = [\"10.0.0.53\"]".to_owned(),
        ),
        (
            "[server]\ndns = \"10.0.0.53\"".to_owned(),
            "2: unknown key `dns` in [server]; write upstreams = [\"10.0.0.53\"]".to_owned(),
        ),
        (
            "dns = \"10.0.0.53\"".to_owned(),
            "1: unknown key `dns` in callsign.toml; write [server], and below it upstreams = [\"10.0.0.53\"]".to_owned(),
        ),
        (
            "[[forward]]\ndomain = \"a\"\nto = []\nnameserver = \"10.0.0.53\"".to_owned(),
            "4: unknown key `nameserver` in [[forward]]; write to = [\"10.0.0.53\"]".to_owned(),
        ),
        ("# Networks\n\nnetworks:\n  - name: shop\n".to_owned(), format!("3: {YAML}")),
        ("---\nserver:\n  port: 53\n".to_owned(), format!("1: {YAML}")),
        ("- name: shop\n".to_owned(), format!("1: {YAML}")),
        ("port: 53\n".to_owned(), format!("1: {YAML}")),
    ] {
        assert_eq!(problems(&text), [expected], "{text}");
    }
    assert!(problems("[server\nport = 53").concat().contains("this is not TOML"), "TOML with a slip is no YAML");
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
            "13: `timeout` is \"5\"; write seconds, from 0.001 to 3600",
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
    fs::write(&path, b" \n").unwrap();
    let error = Config::load(&path).unwrap_err().to_string();
    let expected =
        "the file is empty, and is not used; write [[network]], or a comment (#) if nothing is meant to be in it";
    assert_eq!(error, format!("{}: {expected}", path.display()));
    fs::write(&path, b"[server]\n# \xff\n").unwrap();
    let error = Config::load(&path).unwrap_err().to_string();
    assert_eq!(error, format!("{}:2: this is not UTF-8; save the file as UTF-8", path.display()));
}

#[test]
fn the_page_needs_a_token_off_loopback_and_hosts_are_names_or_addresses() {
    let metrics = |lines: &str| format!("[metrics]\n{lines}\n");
    for (lines, expected) in [
        (
            "listen = \"0.0.0.0:9153\"\npage = true",
            "3: the page needs a token where it is not on loopback; write token_file = \"/etc/callsign/token\"",
        ),
        ("page = \"off\"", "2: `page` cannot be a string; write page = false"),
        ("token_file = 5", "2: `token_file` cannot be a whole number; write token_file = \"/etc/callsign/token\""),
        (
            "hosts = [\"dns.example.com:9153\", \"10.0.0.1\", \"http://x\"]",
            "2: \"dns.example.com:9153\" is no host; write names or addresses without a port, as in hosts = [\"dns.example.com\"]\n\
             2: \"http://x\" is no host; write names or addresses without a port, as in hosts = [\"dns.example.com\"]",
        ),
    ] {
        assert_eq!(problems(&metrics(lines)).join("\n"), expected, "{lines}");
    }
    let read = |lines: &str| Config::parse(&metrics(lines), "callsign.toml").unwrap().operation.metrics;
    let usual = read("listen = \"0.0.0.0:9153\"");
    assert!(usual.page && usual.token_file.is_none() && usual.hosts.is_empty());
    assert!(!read("listen = \"0.0.0.0:9153\"\npage = false").page);
    assert!(read("listen = \"[::ffff:127.0.0.1]:9153\"\npage = true").page);
    assert_eq!(read("listen = \"127.0.0.1:1\"\nhosts = [\"DNS.Example\", \"::1\"]").hosts, ["dns.example", "::1"]);
}
