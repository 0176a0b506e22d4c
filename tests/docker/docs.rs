//! What docs/docker.md tells people to do, done.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::support::docker::{Docker, EMBEDDED, GATEWAY};
use crate::support::machine::{Outside, becomes};
use crate::support::process::{Finished, Process, Source, run};
use crate::support::program::CALLSIGN;
use crate::support::socket_proxy::SocketProxy;
use crate::{becomes_at, needs_docker, needs_root};

/// The blocks of docs/docker.md in a language, without their indentation.
fn blocks(language: &str) -> Vec<String> {
    let page = include_str!("../../docs/docker.md");
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(found) = line.trim_start().strip_prefix("```").filter(|language| !language.is_empty()) else {
            continue;
        };
        let indentation = line.len() - line.trim_start().len();
        let block = lines.by_ref().take_while(|line| line.trim_start() != "```");
        let block: String = block.map(|line| format!("{}\n", line.get(indentation..).unwrap_or_default())).collect();
        if found == language {
            blocks.push(block);
        }
    }
    blocks
}

/// `callsign WORDS…` on the host of the engine, with the engine that is at the usual place there.
fn callsign(docker: &Docker<'_>, words: &[&str]) -> Finished {
    let mut command = docker.machine().command(CALLSIGN);
    command.args(words);
    run(command)
}

#[test]
fn switching_on_is_a_line_in_daemon_json_and_a_restart_and_going_back_is_too() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    // No option: the file alone.
    let docker = Docker::with(&outside, &[]);
    docker.container("old", &["--restart", "always"]);
    assert_eq!(docker.running("old").servers(), ["10.99.0.1"], "the host's");
    let _callsign = docker.serve();
    let file = docker.machine().file("/etc/docker/daemon.json");
    let restart = || {
        docker.end_daemon(Signal::SIGTERM);
        docker.start_daemon();
        let runs = || docker.get("/containers/old/json")["State"]["Running"] == true;
        becomes("the container is restarted by its policy", true, runs);
    };
    fs::write(&file, "{ \"dns\": [\"172.17.0.1\"] }\n").unwrap();
    restart();
    // One that was there before asks callsign from its restart on.
    let old = docker.running("old");
    assert_eq!(old.servers(), [GATEWAY]);
    becomes_at!(old, GATEWAY, "old", [old.address_on("bridge")]);
    fs::remove_file(&file).unwrap();
    restart();
    assert_eq!(docker.running("old").servers(), ["10.99.0.1"]);
}

#[test]
fn one_project_only_needs_a_line_of_its_services() {
    needs_docker!("docker-compose");
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::with(&outside, &[]);
    let _callsign = docker.serve();
    // The page's two files as one; its image is here under another name.
    let [one, two, ..] = &blocks("yaml")[..] else { panic!("two Compose files") };
    let (services, networks) = two.trim_start_matches("services:\n").split_once("networks:\n  sealed").unwrap();
    let command = "image: busybox\n    command: [\"sleep\", \"1000\"]";
    let db = "  db:\n    <<: *callsign\n    image: nginx\n";
    let file = format!("version: \"3.7\"\n{one}{db}{services}networks:\n  sealed{networks}");
    let project = docker.project("shop", &file.replace("image: nginx", command));
    project.run(&["up", "--detach"]);
    let web = docker.running("shop_web_1");
    becomes_at!(web, GATEWAY, "db", [docker.running("shop_db_1").address_on("shop_default")]);
    // What only callsign knows, through Docker's resolver.
    assert_eq!(web.servers(), [EMBEDDED]);
    becomes_at!(web, EMBEDDED, "host.docker.internal", [GATEWAY]);
    assert_eq!(docker.container("elsewhere", &[]).servers(), ["10.99.0.1"]);
    // On an internal network alone: at its own gateway.
    let vault = docker.running("shop_vault_1");
    becomes_at!(vault, EMBEDDED, "host.docker.internal", ["10.60.0.1"]);
    becomes_at!(vault, "10.60.0.1", "vault", [vault.address_on("shop_sealed")]);
}

#[test]
fn a_second_dns_server_is_a_net_below_that_is_asked_after_forwarded_negatives() {
    needs_docker!();
    let outside = Outside::new();
    let (_upstream, second) = (outside.upstream(), outside.other_upstream());
    let docker = Docker::with(&outside, &["--dns", GATEWAY, "--dns", "10.99.0.2"]);
    docker.run(&["network", "create", "n1"]);
    let callsign = docker.serve();
    let a = docker.container("a1", &["--network", "n1"]);
    docker.container("stopped", &["--network", "n1"]);
    docker.run(&["stop", "--time", "0", "stopped"]);
    becomes_at!(a, EMBEDDED, "www.example.com", ["192.0.2.80"]);
    becomes_at!(a, EMBEDDED, "stopped", [""; 0]);
    assert_eq!(a.resolves(EMBEDDED, "nosuch.example.com"), ["NXDOMAIN"]);
    assert_eq!(second.queries(), ["A nosuch.example.com"], "local names stay here");
    drop(callsign);
    becomes_at!(a, EMBEDDED, "www.example.com", ["192.0.2.82"]);
}

#[test]
fn a_mounted_resolv_conf_takes_dockers_resolver_out_of_the_way() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::with(&outside, &["--live-restore"]);
    docker.run(&["network", "create", "n1"]);
    let _callsign = docker.serve();
    let etc = docker.machine().file("/etc/callsign");
    fs::create_dir(&etc).unwrap();
    fs::write(etc.join("resolv.conf"), "nameserver 172.17.0.1\n").unwrap();
    let mount = "/etc/callsign/resolv.conf:/etc/resolv.conf:ro";
    let network = {
        let a = docker.container("a1", &["--network", "n1", "--volume", mount]);
        let b = docker.container("b1", &["--network", "n1", "--volume", mount]);
        assert_eq!(a.servers(), [GATEWAY]);
        becomes_at!(a, GATEWAY, "b1", [b.address_on("n1")]);
        assert_eq!(a.getent("b1"), [b.address_on("n1")]);
        assert_eq!(a.getent("www.example.com"), ["192.0.2.80"]);
        (a.pid, b.address_on("n1"))
    };
    // Docker's own resolver is gone with the daemon; ours is not.
    docker.end_daemon(Signal::SIGKILL);
    let (pid, address) = network;
    let getent = ["nsenter", "--target", &pid.to_string(), "--mount", "--net", "/bin/getent", "ahosts", "b1"];
    let found = docker.machine().run(&getent).expect_success();
    assert!(found.stdout.starts_with(&address), "{found:?}");
}

#[test]
fn a_firewall_that_drops_input_needs_a_rule_for_each_bridge() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    docker.run(&["network", "create", "n1"]);
    let _callsign = docker.serve();
    let plain = docker.container("plain", &[]);
    let a = docker.container("a1", &["--network", "n1"]);
    becomes_at!(plain, GATEWAY, "plain", [plain.address_on("bridge")]);
    becomes_at!(a, GATEWAY, "a1", [a.address_on("n1")]);
    let iptables = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        docker.machine().run(&[&["iptables"], &words[..]].concat()).expect_success();
    };
    iptables("-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT");
    iptables("-P INPUT DROP");
    assert_eq!(
        plain.try_ask(GATEWAY, "plain", 1).map_err(|error| error.kind()).err(),
        Some(std::io::ErrorKind::WouldBlock)
    );
    let lines = blocks("sh").into_iter().flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>());
    let rules: Vec<String> = lines.filter(|line| line.starts_with("iptables ")).collect();
    assert_eq!(rules.len(), 4);
    for rule in rules {
        docker.machine().run(&["sh", "-c", &rule]).expect_success();
    }
    assert_eq!(plain.resolves(GATEWAY, "plain"), [plain.address_on("bridge")]);
    assert_eq!(a.resolves(GATEWAY, "a1"), [a.address_on("n1")]);
    assert_eq!(plain.resolves(GATEWAY, "www.example.com"), ["192.0.2.80"]);
}

#[test]
fn check_and_explain_ask_the_engine() {
    needs_docker!("docker-compose");
    let outside = Outside::new();
    let docker = Docker::start(&outside);
    docker.run(&["network", "create", "blog"]);
    let project = docker.project(
        "shop",
        "services:\n  web: { image: busybox, command: [sleep, '1000'] }\n  db: { image: busybox, command: [sleep, '1000'] }\n",
    );
    project.run(&["up", "--detach"]);
    let cms = docker.container("cms", &["--network", "blog"]);
    let (web, db) = (docker.running("shop_web_1"), docker.running("shop_db_1"));
    let address = db.address_on("shop_default");

    let check = callsign(&docker, &["check", "--docker"]).expect_success().stdout;
    for text in ["shop_default", "blog", "shop_db_1", &address, &docker.gateway("shop_default"), GATEWAY] {
        assert!(check.contains(text), "{text} in {check}");
    }
    for from in ["shop_web_1", web.short_id(), &web.id, &web.address_on("shop_default")] {
        let explained = callsign(&docker, &["explain", "db", "--from", from, "--docker"]).expect_success().stdout;
        assert!(explained.contains(&address) && explained.contains("shop_default"), "{from}: {explained}");
    }
    // Another project's: whose it is, and how to come by it.
    let explained = callsign(&docker, &["explain", "db", "--from", "cms", "--docker"]).stdout;
    assert!(explained.contains("shop_default") && explained.contains("docker network connect"), "{explained}");
    // A typo: the nearest name.
    let explained = callsign(&docker, &["explain", "dbb", "--from", "shop_web_1", "--docker"]).stdout;
    assert!(explained.contains("Did you mean db?"), "{explained}");
    let explained = callsign(&docker, &["explain", "db", "--from", "nobody", "--docker"]);
    assert!(!explained.status.success() && explained.stderr.contains("nobody"), "{explained:?}");
    drop(cms);
}

#[test]
fn a_socket_proxy_is_a_way_to_the_engine() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    docker.run(&["network", "create", "n1"]);
    let proxy = docker.machine().network().enter(|| SocketProxy::start(&docker.socket()));
    let callsign = docker.launch("[docker]\n").environment("DOCKER_HOST", proxy.host()).start();
    let a = docker.container("a1", &["--network", "n1"]);
    becomes_at!(a, GATEWAY, "a1", [a.address_on("n1")]);
    let b = docker.container("b1", &["--network", "n1", "--network-alias", "bee"]);
    becomes_at!(a, GATEWAY, "bee", [b.address_on("n1")]);
    docker.run(&["rm", "--force", "b1"]);
    becomes_at!(a, GATEWAY, "bee", ["NXDOMAIN"]);
    let check = docker.machine().run(&["env", &format!("DOCKER_HOST={}", proxy.host()), CALLSIGN, "check", "--docker"]);
    let check = check.expect_success().stdout;
    assert!(check.contains("a1") && check.contains(&a.address_on("n1")), "{check}");
    assert_eq!(proxy.refused(), Vec::<String>::new(), "{callsign:?}");
}

/// Commands of the page that other tests run, in substance: which.
const RUN_ELSEWHERE: [(&str, &str); 5] = [
    ("contrib/docker/build", "image::d9_1"),
    ("docker compose --file contrib/docker/compose.yaml up --detach", "image::d9_1"),
    ("iptables ", "a_firewall_that_drops_input_needs_a_rule_for_each_bridge"),
    ("DOCKER_HOST=tcp://127.0.0.1:2375 callsign serve --docker", "a_socket_proxy_is_a_way_to_the_engine"),
    ("nsenter --user --preserve-credentials", "rootless"),
];

#[test]
fn every_command_of_the_page_does_what_it_says() {
    needs_docker!("docker-compose");
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    // The program and the image, as people have them.
    let machine = docker.machine();
    let shell = |script: &str| {
        let path = Path::new(CALLSIGN).parent().unwrap().display();
        machine.run(&["sh", "-c", &format!("PATH={path}:$PATH; {script}")])
    };
    docker.run(&["create", "--name", "template", "busybox", "sleep", "1000"]);
    docker.run(&["commit", "--change", "CMD [\"sleep\", \"1000\"]", "template", "nginx"]);
    docker.run(&["rm", "template"]);
    fs::create_dir(machine.file("/etc/callsign")).unwrap();
    let services = "version: \"3.7\"\nservices:\n  \
                    web: { image: busybox, container_name: shop-web-1, command: [sleep, '1000'], init: true }\n  db: { image: busybox, command: [sleep, '1000'] }\n";
    let project = docker.project("shop", services);
    project.run(&["up", "--detach"]);
    let address = docker.running("shop_db_1").address_on("shop_default");
    let mut serving = None;
    for line in blocks("sh").iter().flat_map(|block| block.lines()) {
        if RUN_ELSEWHERE.iter().any(|(start, _)| line.starts_with(start)) {
            continue;
        }
        if line == "callsign serve --docker" {
            let mut command = machine.command(CALLSIGN);
            command.args(["serve", "--docker"]);
            let callsign = Process::spawn(command);
            callsign.wait_for(Source::Stderr, "network is served network=\"shop_default\"");
            serving = Some(callsign);
            continue;
        }
        let done = shell(line).expect_success().stdout;
        match line.split(' ').take(2).collect::<Vec<_>>()[..] {
            ["ip", _] => assert!(done.contains("inet 172.17.0.1/16"), "{done}"),
            ["callsign", "check"] => assert!(done.contains(&address) && done.contains("shop-web-1"), "{done}"),
            ["callsign", "explain"] => {
                assert!(done.starts_with(&format!("shop-web-1 gets {address} for db.\n")), "{done}")
            }
            ["docker", "exec"] => assert!(done.contains(&address), "{done}"),
            ["docker", "restart"] => assert_eq!(done.trim(), "shop-web-1"),
            ["docker", "run"] => {
                let container = docker.get(&format!("/containers/{}/json", done.trim()));
                assert_eq!(container["HostConfig"]["NetworkMode"], "shop_default", "{line}");
            }
            ["echo", _] => {
                let file = fs::read_to_string(machine.file("/etc/callsign/resolv.conf")).unwrap();
                assert_eq!(file, "nameserver 172.17.0.1\n");
            }
            _ => panic!("what is {line:?} to do?"),
        }
    }
    assert!(serving.is_some(), "the page says how to serve");
    for (number, block) in blocks("toml").iter().enumerate() {
        let file = format!("/etc/callsign/page{number}.toml");
        fs::write(machine.file(&file), block).unwrap();
        let checked = callsign(&docker, &["check", "--docker", &file]).expect_success();
        let expected = if number == 0 { "payments" } else { "the rest  192.0.2.1" };
        assert!(checked.stdout.contains(expected), "{checked:?}");
    }
    for block in blocks("json") {
        let settings: serde_json::Value = serde_json::from_str(&block).unwrap();
        assert_eq!(settings["dns"][0], GATEWAY);
    }
    for (number, block) in blocks("yaml").iter().enumerate() {
        let project = docker.project(&format!("page{number}"), &format!("version: \"3.7\"\n{block}"));
        project.run(&["config", "--quiet"]);
    }
}
