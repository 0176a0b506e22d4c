//! `--docker` on the command line: serve without a file, check, explain.

use callsign::wire::rtype;

use crate::kit::*;
use crate::support::engine::host;
use crate::support::program::{Program, callsign};

/// Two projects, whose engine is found by DOCKER_HOST.
fn projects() -> (Engine, u8) {
    let prefix = prefix();
    let engine = Engine::start(Age::Engine28, prefix);
    for (number, project) in [(1, "shop"), (2, "blog")] {
        let network = format!("{project}_default");
        engine.network(&network, &format!("127.{prefix}.{number}."));
        for service in ["db", "web"] {
            let container = Container::new(&format!("{project}-{service}-1")).service(project, service, 1);
            engine.run(container.on(&network, &[service]));
        }
        let only = Container::new(&format!("{project}-only-1")).service(project, "only", 1);
        engine.run(only.on(&network, &[&format!("{project}only")]));
    }
    (engine, prefix)
}

fn ran(engine: &Engine, arguments: &[&str]) -> Finished {
    let mut command = callsign(arguments);
    command.env("DOCKER_HOST", host(&engine.socket()));
    run(command)
}

#[test]
fn serve_follows_the_engine_of_the_environment() {
    let (engine, prefix) = projects();
    let port = crate::support::free_port(&[std::net::Ipv4Addr::LOCALHOST.into()]);
    let socket = host(&engine.socket());
    let config = format!("[server]\nport = {port}\nupstreams = [\"127.0.0.66:1\"]\n");
    let program = Program::with(&config).arguments(&["--docker"]).environment("DOCKER_HOST", &socket).start();
    let bed = Bed { engine, program, prefix, port };
    assert_eq!(bed.look_up(&bed.address(1, 3), "db"), bed.address(1, 2));
    assert_eq!(bed.look_up(&bed.address(2, 3), "db"), bed.address(2, 2));
    // A reload of a file without [docker] goes on following it.
    bed.program.reload_by_signal();
    assert_eq!(bed.look_up(&bed.address(1, 3), "db"), bed.address(1, 2));
}

#[test]
fn docker_may_be_followed_no_longer() {
    let bed = Bed::new(Age::Engine25, |engine, _| drop(engine.run(Container::new("db"))));
    let db = bed.address(0, 2);
    assert_eq!(bed.look_up(&db, "db"), db);
    bed.program.reload_by_change(&format!("[server]\nport = {}\n", bed.port));
    let gateway = format!("{}:{}", bed.address(0, 1), bed.port).parse().unwrap();
    assert!(Client::new(gateway).connect().is_err(), "its networks are gone");
    bed.program.reload_by_change(&bed.config(""));
    eventually("they are back", || Client::new(gateway).connect().is_ok());
    assert_eq!(bed.ask(0, &db, "db", rtype::A).addresses().len(), 1);
}

#[test]
fn check_shows_what_would_be_served_now() {
    let (engine, prefix) = projects();
    let checked = ran(&engine, &["check", "--docker"]).expect_success();
    assert!(checked.stdout.contains("3 networks, 6 endpoints"), "{}", checked.stdout);
    for line in [
        "network blog_default".to_owned(),
        format!("  listens     127.{prefix}.1.1"),
        format!("    shop-db-1     127.{prefix}.1.2"),
    ] {
        assert!(checked.stdout.contains(&line), "{line}: {}", checked.stdout);
    }
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("callsign.toml");
    let text = "[[network]]\nname = \"shop_default\"\ndomains = [\"corp.test\"]\n[[network]]\nname = \"shop_defalt\"\nttl = 1\n\
                [[network]]\nname = \"blog_default\"\nlisten = [\"127.9.9.9\"]\n";
    std::fs::write(&file, text).unwrap();
    let checked = ran(&engine, &["check", "--docker", file.to_str().unwrap()]).expect_success();
    assert!(checked.stdout.contains("  domains     corp.test"), "{}", checked.stdout);
    let warnings = checked.stderr;
    assert!(warnings.contains("callsign.toml:5: Docker has no network \"shop_defalt\""), "{warnings}");
    assert!(warnings.contains("the file has a network \"blog_default\" of its own"), "{warnings}");
    // Without Docker the same file says that nobody can ask.
    let checked = run(callsign(&["check", file.to_str().unwrap()])).expect_success();
    assert!(checked.stderr.contains("callsign.toml:1: nobody can ask this network"), "{}", checked.stderr);
}

#[test]
fn an_engine_that_does_not_answer_is_an_error_that_says_what_to_do() {
    let directory = tempfile::TempDir::new().unwrap();
    let check = |variable: &str, value: &str| {
        let mut command = callsign(&["check", "--docker"]);
        command
            .env_remove("DOCKER_HOST")
            .env_remove("DOCKER_CONTEXT")
            .env("HOME", directory.path())
            .env(variable, value);
        let finished = run(command);
        assert_eq!(finished.status.code(), Some(1));
        finished.stderr
    };
    let nowhere = check("DOCKER_HOST", "unix:///nowhere/docker.sock");
    assert!(
        nowhere.contains("/nowhere/docker.sock") && nowhere.contains("is Docker installed and running?"),
        "{nowhere}"
    );
    let remote = check("DOCKER_HOST", "ssh://root@host");
    assert!(
        remote.contains("callsign needs a unix socket or plain HTTP: write unix:///var/run/docker.sock"),
        "{remote}"
    );
    let context = check("DOCKER_CONTEXT", "faraway");
    assert!(context.contains("no Docker context \"faraway\"; see `docker context ls`"), "{context}");
}

#[test]
fn the_engine_is_found_as_dockers_own_client_finds_it() {
    let (engine, _) = projects();
    let home = tempfile::TempDir::new().unwrap();
    let meta = home.path().join(".docker/contexts/meta/0123");
    std::fs::create_dir_all(&meta).unwrap();
    let context = serde_json::json!({
        "Name": "rootless", "Metadata": {}, "Endpoints": {"docker": {"Host": host(&engine.socket()), "SkipTLSVerify": false}},
    });
    std::fs::write(meta.join("meta.json"), context.to_string()).unwrap();
    let check = |variables: &[(&str, &str)]| {
        let mut command = callsign(&["check", "--docker"]);
        command.env_remove("DOCKER_HOST").env_remove("DOCKER_CONTEXT").env("HOME", home.path());
        command.envs(variables.iter().copied());
        run(command)
    };
    check(&[("DOCKER_CONTEXT", "rootless")]).expect_success();
    std::fs::write(home.path().join(".docker/config.json"), r#"{"currentContext": "rootless"}"#).unwrap();
    check(&[]).expect_success();
    // DOCKER_HOST comes before any context.
    let finished = check(&[("DOCKER_HOST", "unix:///nowhere/docker.sock")]);
    assert!(finished.stderr.contains("/nowhere/docker.sock"), "{}", finished.stderr);
}

#[test]
fn explain_takes_containers_by_name_and_id() {
    let (engine, prefix) = projects();
    let id = engine.container_id("shop-web-1");
    for from in ["shop-web-1", &id, &id[..12], &format!("127.{prefix}.1.3")] {
        let told = ran(&engine, &["explain", "db", "--from", from, "--docker"]).expect_success();
        assert!(
            told.stdout.contains(&format!("db. 0 IN A 127.{prefix}.1.2"))
                || told.stdout.contains(&format!("127.{prefix}.1.2")),
            "{}",
            told.stdout
        );
        assert!(told.stdout.contains("shop_default"), "{}", told.stdout);
    }
    let unknown = ran(&engine, &["explain", "db", "--from", "shop-wep-1", "--docker"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        unknown.stderr.contains("there is no container \"shop-wep-1\"; did you mean shop-web-1?"),
        "{}",
        unknown.stderr
    );
    let address = run(callsign(&["explain", "db", "--from", "proj-web-1", "--config", "examples/two-networks.toml"]));
    assert!(address.stderr.contains("with --docker, --from may be a container of Docker's"), "{}", address.stderr);
}

#[test]
fn explain_says_where_else_a_name_is_and_what_is_nearly_it() {
    let (engine, _) = projects();
    let explain =
        |name: &str| ran(&engine, &["explain", name, "--from", "shop-web-1", "--docker"]).expect_success().stdout;
    let other = explain("blogonly");
    assert!(
        other.contains("blogonly is on blog_default (project blog) only; shop-web-1 is not attached to it."),
        "{other}"
    );
    assert!(other.contains("\nAttach it: docker network connect blog_default shop-web-1\n"), "{other}");
    assert!(
        other
            .contains("\nOr give it the name here: docker network connect --alias blogonly shop_default blog-only-1\n"),
        "{other}"
    );
    let typo = explain("shopomly");
    assert!(typo.contains("\nDid you mean shoponly?\n"), "{typo}");
    let found = explain("db");
    assert!(found.contains("\ndb is the container shop-db-1 on network shop_default.\n\n"), "{found}");
    let outside = explain("www.example.com");
    assert!(!outside.contains("Did you mean") && !outside.contains("network connect"), "{outside}");
    let outsider = ["explain", "db", "--from", "192.0.2.9", "--docker"];
    let unknown = ran(&engine, &outsider);
    assert!(
        unknown.stderr.contains("192.0.2.9 is on no network; name the one that it asks with --network: "),
        "{unknown:?}"
    );
    let refused = ran(&engine, &[&outsider[..], &["--network", "blog_default"]].concat()).expect_success().stdout;
    assert!(refused.contains("REFUSED") && !refused.contains("Did you mean"), "{refused}");
}

#[test]
fn v2a_explain_asks_from_the_network_that_the_container_searches_first() {
    let prefix = prefix();
    let engine = Engine::start(Age::Engine28, prefix);
    engine.make_network("back", &format!("127.{prefix}.1."), |body| body["Internal"] = true.into());
    engine.network("front", &format!("127.{prefix}.2."));
    engine.network("wide", &format!("127.{prefix}.3."));
    for network in ["back", "front", "wide"] {
        engine.run(Container::new(&format!("db-{network}")).on(network, &["db"]));
    }
    engine.run(Container::new("web").on("back", &[]).on("front", &[]));
    engine.run(Container::new("gw").on("front", &[]).with_priority("wide", &[], 5));
    for (from, listener, answer) in [("web", "front", 2), ("gw", "wide", 3)] {
        let told = ran(&engine, &["explain", "db", "--from", from, "--docker"]).expect_success().stdout;
        assert!(told.contains(&format!("of network {listener}\n")), "{told}");
        assert!(told.contains(&format!("127.{prefix}.{answer}.2")), "{told}");
    }
}

#[test]
fn labels_that_are_wrong_are_named_once() {
    let bed = Bed::new(Age::Engine25, |engine, prefix| {
        engine.make_network("shop", &format!("127.{prefix}.1."), |body| {
            body["Labels"]["callsign.hold"] = "9s".into();
            body["Labels"]["callsign.names"] = "x".into();
        });
        engine
            .run(Container::new("web").label("callsign.ports", "http:80").label("callsign.hold", "1s").on("shop", &[]));
    });
    let wrong = [
        "network shop: label callsign.hold: \"9s\" is longer than a query may wait; 3.5 s is used",
        "network shop: label callsign.names is one of containers and has no effect on a network",
        "container web: label callsign.ports: \"http:80\" is not a port with a name and is ignored",
        "container web: label callsign.hold is one of networks and has no effect on a container",
    ];
    let checked = ran(&bed.engine, &["check", "--docker"]).expect_success();
    for text in wrong {
        assert!(checked.stderr.contains(text), "{}", checked.stderr);
        bed.program.wait_for(Source::Stderr, text);
    }
    let id = bed.engine.container_id("web");
    bed.engine.rename(&id, "store");
    bed.becomes(&bed.address(1, 2), "store", &bed.address(1, 2));
    let log = bed.program.lines(Source::Stderr);
    for text in wrong {
        assert_eq!(log.iter().filter(|line| line.contains(text)).count(), 1, "{log:#?}");
    }
    assert!(!log.iter().any(|line| line.contains("container store: ")), "{log:#?}");
}

#[test]
fn check_says_of_which_container_a_name_is_and_why_one_is_left_out() {
    let prefix = prefix();
    let engine = Engine::start(Age::Engine28, prefix);
    engine.network("shop", &format!("127.{prefix}.1."));
    engine.make_network("off", &format!("127.{prefix}.2."), |body| body["Labels"]["callsign.enable"] = "false".into());
    let web =
        |number: u32| Container::new(&format!("shop-web-{number}")).service("shop", "web", number).on("shop", &["web"]);
    engine.run(web(1));
    let sick = engine.run(web(2));
    engine.set_health(&sick, "unhealthy");
    engine.run(Container::new("hidden").label("callsign.enable", "false").on("shop", &[]));
    engine.run(Container::new("away").on("off", &[]));
    let old = engine.run(Container::new("old").on("shop", &[]));
    engine.stop(&old);
    let one_off = Container::new("shop-web-run-1").service("shop", "web", 1).label("com.docker.compose.oneoff", "True");
    engine.run(one_off.on("shop", &[]));
    engine.run(Container::new("node").with_network_of("host"));
    engine.run(Container::new("side").with_network_of(&format!("container:{sick}")));
    let checked = ran(&engine, &["check", "--docker"]).expect_success().stdout;
    for line in [
        format!("    web             127.{prefix}.1.2 (shop-web-1, shop-web-2)"),
        format!("    shop-web-1      127.{prefix}.1.2"),
        "    old             not running".to_owned(),
        "  shop-web-1: running, service web of shop".to_owned(),
        "  shop-web-2: running, unhealthy, service web of shop\n    left out: it is unhealthy, so web, web.shop on shop is answered without it"
            .to_owned(),
        "  hidden: running\n    left out: its label callsign.enable says so".to_owned(),
        "  away: running\n    left out: it is on off only, which `networks` in [docker] or a label leaves out".to_owned(),
        "  old: exited\n    left out: it does not run, so its names have no address".to_owned(),
        "    left out: it is a one-off (`docker compose run`), so it is not called web".to_owned(),
        "  node: running\n    left out: it has the host's network".to_owned(),
        format!("    left out: it has the network of container {}", &sick[..12]),
    ] {
        assert!(checked.contains(&line), "{line}\n---\n{checked}");
    }
    let json = ran(&engine, &["check", "--docker", "--json"]).expect_success().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let hidden = json["containers"].as_array().unwrap().iter().find(|container| container["name"] == "hidden").unwrap();
    assert_eq!(hidden["left_out"], serde_json::json!(["its label callsign.enable says so"]));
}

#[test]
fn an_engine_that_is_stopped_is_an_error_within_5_s() {
    let engine = Engine::start(Age::Engine28, prefix());
    engine.pause(true);
    let checked = ran(&engine, &["check", "--docker"]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(checked.stderr.contains("Docker does not answer: no answer to /_ping within 5 s"), "{}", checked.stderr);
}

#[test]
fn explain_knows_whose_queries_those_of_a_shared_network_are() {
    let (engine, prefix) = projects();
    let web = engine.container_id("shop-web-1");
    engine.run(Container::new("alone"));
    engine.run(Container::new("node").with_network_of("host"));
    engine.run(Container::new("side").with_network_of(&format!("container:{web}")));
    engine.run(Container::new("island").with_network_of("none"));
    engine.make_network("lan", &format!("127.{prefix}.3."), |body| body["Driver"] = "macvlan".into());
    engine.run(Container::new("scanner").on("lan", &[]));
    engine.make_network("inh", &format!("127.{prefix}.4."), |body| {
        body["Options"]["com.docker.network.bridge.inhibit_ipv4"] = "true".into();
    });
    engine.run(Container::new("inhc").on("inh", &[]));
    engine.run(Container::new("hidden").label("callsign.enable", "false").on("shop_default", &[]));
    let explain = |name: &str, from: &str| ran(&engine, &["explain", name, "--from", from, "--docker"]);
    // docker.md 1.10: it asks as that container.
    let side = explain("db", "side").expect_success().stdout;
    assert!(side.starts_with(&format!("shop-web-1 gets 127.{prefix}.1.2 for db.\n")), "{side}");
    assert!(side.contains("side has the network of container shop-web-1, and asks as that."), "{side}");
    // docker.md 1.6: as the host, at the default bridge's gateway.
    let node = explain("alone", "node").expect_success().stdout;
    assert!(node.contains(&format!("127.{prefix}.0.1 gets 127.{prefix}.0.2 for alone.\n")), "{node}");
    assert!(
        node.contains(&format!("node has the host's network, so it asks as the host, 127.{prefix}.0.1.")),
        "{node}"
    );
    assert!(node.contains("of network bridge\n"), "{node}");
    // One that is left out is an address of its network like any other.
    let hidden = explain("db", "hidden").expect_success().stdout;
    assert!(hidden.starts_with(&format!("hidden gets 127.{prefix}.1.2 for db.\n")), "{hidden}");
    assert!(hidden.contains("hidden is left out (its label callsign.enable says so), so it asks as 127."), "{hidden}");
    let says = |from: &str, what: &str| {
        let told = explain("db", from);
        assert!(told.status.code() == Some(2) && told.stderr.contains(what), "{from}: {told:?}");
    };
    says("island", "island has no network (`--network none`), so it asks nothing");
    says("scanner", "scanner is on network lan, which is no bridge network (macvlan, ipvlan or a plugin's)");
    says("inhc", "inhc is on bridge network inh, whose bridge has no address on this host");
    engine.stop(&web);
    says("shop-web-1", "shop-web-1 is stopped (exited), so it asks nothing; start it: docker start shop-web-1");
    says("side", "shop-web-1 is stopped (exited), so it asks nothing");
    engine.create(Container::new("crt"));
    says("crt", "crt was never started, so it asks nothing; start it: docker start crt");
    let stopped = explain("crt", "alone").expect_success().stdout;
    assert!(stopped.starts_with("alone gets no address for crt: its container does not run yet.\n"), "{stopped}");
    says("nosuch", "there is no container \"nosuch\"; see `callsign check --docker`");
    says(&web[..3], "an ID needs at least 4 digits");
}

#[test]
fn explain_of_an_overlay_client_is_of_its_gateway_bridge() {
    let prefix = prefix();
    let engine = Engine::start(Age::Engine20, prefix);
    engine.make_network("ovl", &format!("127.{prefix}.1."), |body| body["Driver"] = "overlay".into());
    let bridge = engine.network("docker_gwbridge", &format!("127.{prefix}.2."));
    let task = engine.run(Container::new("web.1.snjsxiwddvp4sx9p2ap3hbytf").on("ovl", &[]));
    engine.run(Container::new("db").on("ovl", &["database"]));
    engine.set_gateway_address(&bridge, &task, &format!("127.{prefix}.2.7"));
    let told = ran(&engine, &["explain", "database", "--from", "web.1.snjsxiwddvp4sx9p2ap3hbytf", "--docker"]);
    let told = told.expect_success().stdout;
    for text in [
        format!("gets 127.{prefix}.1.3 for database."),
        format!("listener  127.{prefix}.0.1:53 of network bridge\n"),
        format!("client    127.{prefix}.2.7 "),
        "searched  ovl: ".to_owned(),
    ] {
        assert!(told.contains(&text), "{text}: {told}");
    }
}

#[test]
fn explain_says_where_dotted_names_are() {
    let (engine, _) = projects();
    let explain =
        |name: &str| ran(&engine, &["explain", name, "--from", "shop-web-1", "--docker"]).expect_success().stdout;
    for name in ["db.blog_default", "db.blog"] {
        let told = explain(name);
        assert!(told.contains(&format!("{name} is on blog_default (project blog) only")), "{told}");
        assert!(told.contains("Attach it: docker network connect blog_default shop-web-1\n"), "{told}");
    }
    let swapped = explain("wbe.shop");
    assert!(swapped.contains("\nDid you mean web.shop?\n"), "{swapped}");
    let other = explain("foo.shop");
    assert!(!other.contains("Did you mean"), "{other}");
}

#[test]
fn explain_names_every_project_that_has_the_name_and_says_why_a_container_is_left_out() {
    let prefix = prefix();
    let engine = Engine::start(Age::Engine28, prefix);
    for (number, project) in [(1, "other"), (2, "shop")] {
        engine.network(&format!("{project}_default"), &format!("127.{prefix}.{number}."));
        let db = Container::new(&format!("{project}_db_1")).service(project, "db", 1);
        engine.run(db.on(&format!("{project}_default"), &["db"]));
    }
    engine.network("n1", &format!("127.{prefix}.3."));
    engine.make_network("off", &format!("127.{prefix}.4."), |body| body["Labels"]["callsign.enable"] = "false".into());
    engine.run(Container::new("aa").on("n1", &[]));
    engine.run(Container::new("offc").on("off", &[]));
    engine.run(Container::new("bb"));
    let explain =
        |name: &str, from: &str| ran(&engine, &["explain", name, "--from", from, "--docker"]).expect_success().stdout;
    let several = explain("db", "aa");
    for text in [
        "db is on other_default (project other) and shop_default (project shop) only; aa is not attached to them.\n",
        "\nAttach it to one of them: docker network connect other_default aa, or docker network connect shop_default aa\n",
        "\nOr give one of them the name here: docker network connect --alias db n1 other_db_1, or docker network connect \
         --alias db n1 shop_db_1\n",
    ] {
        assert!(several.contains(text), "{text}: {several}");
    }
    // One whose network is left out, as a name and as the client.
    let why = "it is on off only, which `networks` in [docker] or a label leaves out";
    let name = explain("offc", "aa");
    assert!(name.contains(&format!("There is a container offc, which is left out: {why}.")), "{name}");
    let client = explain("bb", "offc");
    assert!(client.contains(&format!("offc is left out ({why}), so it asks as 127.{prefix}.4.2")), "{client}");
    assert!(client.contains("bb is on bridge only, whose names offc does not see."), "{client}");
    assert!(client.contains(&format!("listener  127.{prefix}.0.1:53 of network bridge\n")), "{client}");
    // An address that nobody has.
    let stranger = explain("aa", &format!("127.{prefix}.1.99"));
    assert!(
        stranger.contains(&format!("127.{prefix}.1.99 is no container, and sees network other_default.")),
        "{stranger}"
    );
    let advice = format!("\nA container on network n1 would see it; the host can ask 127.{prefix}.3.1.\n");
    assert!(stranger.contains(&advice), "{stranger}");
}

#[test]
fn n8_explain_says_where_dockers_own_resolver_gives_another_answer() {
    let prefix = prefix();
    let engine = Engine::start(Age::Engine28, prefix);
    engine.network("n1", &format!("127.{prefix}.1."));
    engine.run(Container::new("aa").on("n1", &[]));
    let sick = engine.run(Container::new("un1").on("n1", &["svc"]));
    engine.run(Container::new("un2").on("n1", &["svc"]));
    let alone = engine.run(Container::new("plain"));
    let explain =
        |name: &str, from: &str| ran(&engine, &["explain", name, "--from", from, "--docker"]).expect_success().stdout;
    assert!(!explain("svc", "aa").contains("127.0.0.11"), "both give the same");
    engine.set_health(&sick, "unhealthy");
    let told = explain("svc", "aa");
    assert!(told.starts_with(&format!("aa gets 127.{prefix}.1.4 for svc.\n")), "{told}");
    let there = format!("\nAt 127.0.0.11 it may get 127.{prefix}.1.3, too: there Docker's resolver answers by itself");
    assert!(told.contains(&there), "{told}");
    engine.set_health(&alone, "unhealthy");
    assert!(!explain("plain", "plain").contains("127.0.0.11"), "the default bridge has no resolver of Docker's");
}

#[test]
fn f4_a_resolv_conf_that_names_callsign_itself_is_told_of_with_what_to_do() {
    let prefix = prefix();
    let engine = Engine::start(Age::Engine28, prefix);
    engine.run(Container::new("c1"));
    let directory = tempfile::TempDir::new().unwrap();
    let (file, resolv) = (directory.path().join("callsign.toml"), directory.path().join("resolv.conf"));
    std::fs::write(&resolv, format!("nameserver 127.{prefix}.0.1\n")).unwrap();
    std::fs::write(&file, format!("[server]\nresolv_conf = {resolv:?}\n")).unwrap();
    let (file, resolv) = (file.to_str().unwrap(), resolv.display());
    let checked = ran(&engine, &["check", "--docker", file]).expect_success();
    let said = format!("{resolv}: this is only callsign itself (127.{prefix}.0.1:53), so nobody is left to ask");
    assert!(checked.stderr.contains(&said) && checked.stderr.contains("set `upstreams` in [server]"), "{checked:?}");
    let told = ran(&engine, &["explain", "www.example.com", "--from", "c1", "--docker", "--config", file]);
    let told = told.expect_success().stdout;
    let said = format!("{resolv} names only callsign itself (127.{prefix}.0.1:53), so nobody is left to ask.\n");
    assert!(told.contains(&said) && told.contains("Set `upstreams` in [server]"), "{told}");
    assert!(!told.contains("no upstream is configured"), "{told}");
}

#[test]
fn explain_says_that_a_name_is_the_files_alias() {
    let (engine, prefix) = projects();
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("callsign.toml");
    let text = "[server]\nupstreams = [\"127.0.0.66\"]\n[[network]]\nname = \"shop_default\"\naliases = { ext = \"www.example.com\" }\n";
    std::fs::write(&file, text).unwrap();
    let from = format!("127.{prefix}.1.3");
    let arguments = ["explain", "ext", "--from", &from, "--docker", "--config", file.to_str().unwrap()];
    let told = ran(&engine, &arguments).expect_success().stdout;
    assert!(
        told.starts_with("ext stands for www.example.com, which the upstream 127.0.0.66:53 is asked for.\n"),
        "{told}"
    );
}
