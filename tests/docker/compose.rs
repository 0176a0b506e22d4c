//! A Compose project of eight services beside another one: who resolves what, and what happens to that as they change.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::load::nothing_is_wrong_while;
use crate::support::docker::{Container, Docker, EMBEDDED, GATEWAY, Project};
use crate::support::machine::{Outside, becomes};
use crate::truth::Truth;
use crate::{becomes_at, needs_docker, needs_root};

const SHOP: &str = r#"
version: "3.7"
x-service: &service
  image: busybox
  command: ["sleep", "1000"]
  init: true
services:
  web:
    <<: *service
    networks: [front]
  api:
    <<: *service
    networks:
      front: {}
      back: { aliases: [backend] }
    healthcheck: { test: ["CMD", "cat", "/etc/resolv.conf"], interval: 1s }
  db:
    <<: *service
    networks:
      back: { aliases: [database] }
  cache:
    <<: *service
    networks: [back]
  queue:
    <<: *service
    networks: [back]
    labels: { callsign.names: "jobs, *.jobs" }
  worker:
    <<: *service
    networks: [front, back]
  proxy:
    <<: *service
    networks:
      front: {}
      shared: { aliases: [edge] }
  mail:
    <<: *service
    hostname: post
    networks: [shared]
networks:
  front: {}
  back: { internal: true }
  shared: { external: true }
"#;

const BLOG: &str = r#"
version: "3.7"
x-service: &service
  image: busybox
  command: ["sleep", "1000"]
  init: true
services:
  web:
    <<: *service
    networks:
      default: {}
      shared: { aliases: [journal] }
  db:
    <<: *service
networks:
  shared: { external: true }
"#;

/// The containers that a name stands for.
type Entry = (&'static str, &'static [&'static str]);

/// The names of each network. What is in no line of a network does not exist there.
const NAMES: [(&str, &[Entry]); 4] = [
    (
        "shop_front",
        &[
            ("web", &["shop_web_1", "shop_web_2"]),
            ("shop_web_1", &["shop_web_1"]),
            ("shop_web_2", &["shop_web_2"]),
            ("api", &["shop_api_1"]),
            ("shop_api_1", &["shop_api_1"]),
            ("worker", &["shop_worker_1"]),
            ("proxy", &["shop_proxy_1"]),
        ],
    ),
    (
        "shop_back",
        &[
            ("api", &["shop_api_1"]),
            ("shop_api_1", &["shop_api_1"]),
            ("backend", &["shop_api_1"]),
            ("db", &["shop_db_1"]),
            ("database", &["shop_db_1"]),
            ("cache", &["shop_cache_1"]),
            ("queue", &["shop_queue_1"]),
            ("jobs", &["shop_queue_1"]),
            ("one.jobs", &["shop_queue_1"]),
            ("worker", &["shop_worker_1"]),
            // The one-off is nobody's `db`.
            ("oneoff", &["oneoff"]),
        ],
    ),
    (
        "shared",
        &[
            ("proxy", &["shop_proxy_1"]),
            ("edge", &["shop_proxy_1"]),
            ("mail", &["shop_mail_1"]),
            ("post", &["shop_mail_1"]),
            ("web", &["blog_web_1"]),
            ("journal", &["blog_web_1"]),
            ("blog_web_1", &["blog_web_1"]),
        ],
    ),
    (
        "blog_default",
        &[
            ("web", &["blog_web_1"]),
            ("blog_web_1", &["blog_web_1"]),
            ("db", &["blog_db_1"]),
            ("blog_db_1", &["blog_db_1"]),
        ],
    ),
];

/// The networks of each container, in Docker's order: internal ones last, then by name.
const CONTAINERS: [(&str, &[&str]); 12] = [
    ("shop_web_1", &["shop_front"]),
    ("shop_web_2", &["shop_front"]),
    ("shop_api_1", &["shop_front", "shop_back"]),
    ("shop_db_1", &["shop_back"]),
    ("shop_cache_1", &["shop_back"]),
    ("shop_queue_1", &["shop_back"]),
    ("shop_worker_1", &["shop_front", "shop_back"]),
    ("shop_proxy_1", &["shared", "shop_front"]),
    ("shop_mail_1", &["shared"]),
    ("blog_web_1", &["blog_default", "shared"]),
    ("blog_db_1", &["blog_default"]),
    ("oneoff", &["shop_back"]),
];

/// Both projects, up, with two replicas of `web`, and a one-off of `db`.
fn projects<'d, 'a>(docker: &'d Docker<'a>) -> [Project<'d, 'a>; 2] {
    docker.run(&["network", "create", "shared"]);
    let (shop, blog) = (docker.project("shop", SHOP), docker.project("blog", BLOG));
    thread::scope(|scope| {
        scope.spawn(|| blog.run(&["up", "--detach"]));
        shop.run(&["up", "--detach", "--scale", "web=2"]);
    });
    shop.run(&["run", "--detach", "--name", "oneoff", "db"]);
    [shop, blog]
}

/// What a container gets for a name by the tables.
fn expected(addresses: &BTreeMap<(&str, &str), String>, networks: &[&str], name: &str) -> Vec<String> {
    for network in networks {
        // `NAME.NETWORK` is that network's alone.
        let (_, names) = NAMES.iter().find(|(of, _)| of == network).unwrap();
        let bare = name.strip_suffix(&format!(".{network}")).unwrap_or(name);
        if let Some((_, containers)) = names.iter().find(|(name, _)| *name == bare) {
            let mut found: Vec<_> =
                containers.iter().map(|&container| addresses[&(container, *network)].clone()).collect();
            found.sort();
            return found;
        }
    }
    vec!["NXDOMAIN".to_owned()]
}

#[test]
fn each_container_resolves_what_it_should_and_nothing_else() {
    needs_docker!("docker-compose");
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    let _callsign = docker.serve();
    let _projects = projects(&docker);
    let running: Vec<(Container<'_, '_>, &[&str])> =
        CONTAINERS.iter().map(|&(name, networks)| (docker.running(name), networks)).collect();
    let mut addresses = BTreeMap::new();
    for ((container, networks), (name, _)) in running.iter().zip(CONTAINERS) {
        for &network in *networks {
            addresses.insert((name, network), container.address_on(network));
        }
    }
    let mut names: Vec<String> = Vec::new();
    for (network, of) in NAMES {
        names.extend(of.iter().flat_map(|(name, _)| [(*name).to_owned(), format!("{name}.{network}")]));
    }
    names.sort();
    names.dedup();
    let mut asked = 0;
    for ((container, networks), (own, _)) in running.iter().zip(CONTAINERS) {
        for name in &names {
            let expected = expected(&addresses, networks, name);
            becomes(&format!("{name} for {own}"), expected.clone(), || container.resolves(GATEWAY, name));
            // Docker's resolver says the same of what it knows, and asks us for the rest.
            assert_eq!(container.resolves(EMBEDDED, name), expected, "{name} for {own} by Docker");
            asked += 1;
        }
    }
    println!("{asked} pairs of a container and a name");

    // `SERVICE.PROJECT`, wherever one of the project is seen.
    let proxy = docker.running("shop_proxy_1");
    let replicas = expected(&addresses, &["shop_front"], "web");
    becomes_at!(proxy, GATEWAY, "web.shop", replicas);
    becomes_at!(proxy, GATEWAY, "web.blog", [&addresses[&("blog_web_1", "shared")]]);
    becomes_at!(docker.running("shop_db_1"), GATEWAY, "db.shop", [&addresses[&("shop_db_1", "shop_back")]]);
    becomes_at!(docker.running("shop_db_1"), GATEWAY, "db.blog", ["NXDOMAIN"]);
    // Internal alone: nothing beyond. With another network beside it: the world.
    becomes_at!(docker.running("shop_db_1"), GATEWAY, "www.example.com", ["NXDOMAIN"]);
    becomes_at!(docker.running("shop_api_1"), GATEWAY, "www.example.com", ["192.0.2.80"]);
}

#[test]
fn d3_16_and_d3_17_no_answer_is_ever_wrong_while_the_projects_change() {
    needs_docker!("docker-compose");
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    let _callsign = docker.serve();
    let [shop, blog] = projects(&docker);
    docker.run(&["rm", "--force", "oneoff"]);
    let networks = ["shop_front", "shop_back", "shared"];
    docker.container("client", &["--network", "shared"]);
    docker.run(&["network", "connect", "shop_front", "client"]);
    docker.run(&["network", "connect", "shop_back", "client"]);
    let client = docker.running("client");
    for (network, name) in networks.iter().zip(["web.shop", "db", "journal"]) {
        becomes(network, false, || client.resolves(GATEWAY, name).iter().any(|found| found == "NXDOMAIN"));
    }
    let aliases: [(&str, &[&str]); 4] =
        [("api", &["backend"]), ("db", &["database"]), ("proxy", &["edge"]), ("queue", &["jobs"])];
    let truth = Truth::new(&docker, &networks, &aliases);
    let names = [
        "web",
        "api",
        "db",
        "database",
        "worker",
        "proxy",
        "edge",
        "mail",
        "queue",
        "jobs",
        "shop_web_1",
        "shop_web_2",
        "shop_web_3",
        "shop_db_1",
        "shop_queue_1",
        "shop_line_1",
        "cache",
    ];
    nothing_is_wrong_while(&truth, &client.network(), &names, || {
        // The renamed, stopped one still carries the alias `web`: see docker.md §3.16.
        shop.run(&["up", "--detach", "--force-recreate", "--scale", "web=2", "web", "db", "api"]);
        shop.run(&["up", "--detach", "--scale", "web=3", "web"]);
        shop.run(&["up", "--detach", "--scale", "web=1", "web"]);
        shop.run(&["up", "--detach", "--scale", "web=2", "web"]);
        shop.run(&["restart", "--timeout", "0", "db", "cache", "web"]);
        shop.run(&["run", "--detach", "--name", "oneoff", "db"]);
        docker.run(&["rename", "shop_queue_1", "shop_line_1"]);
        docker.run(&["restart", "--time", "0", "shop_line_1"]);
        docker.run(&["rename", "shop_line_1", "shop_queue_1"]);
        docker.run(&["rm", "--force", "oneoff"]);
        blog.run(&["down", "--timeout", "0"]);
        shop.run(&["stop", "--timeout", "0", "mail"]);
        shop.run(&["start", "mail"]);
    });
    // Its own networks go with the project.
    docker.run(&["network", "disconnect", "shop_front", "client"]);
    docker.run(&["network", "disconnect", "shop_back", "client"]);
    becomes_at!(client, GATEWAY, "web", ["NXDOMAIN"]);
    let truth = Truth::new(&docker, &["shared"], &aliases);
    nothing_is_wrong_while(&truth, &client.network(), &["mail", "proxy", "edge", "web", "client"], || {
        shop.run(&["down", "--timeout", "0"]);
        becomes_at!(client, GATEWAY, "edge", ["NXDOMAIN"]);
    });
    for name in names {
        assert_eq!(client.resolves(GATEWAY, name), ["NXDOMAIN"], "{name} after `down`");
    }
}

#[test]
fn n11_compose_up_lets_no_query_fail_between_create_and_start() {
    needs_docker!("docker-compose");
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    docker.run(&["network", "create", "shop"]);
    let _callsign = docker.launch("[docker]\nhold = \"3.5s\"\n").start();
    let client = docker.container("client", &["--network", "shop"]);
    becomes_at!(client, GATEWAY, "client", [client.address_on("shop")]);
    let services = "version: \"3.7\"\nservices:\n  db: { image: busybox, command: [sleep, '1000'] }\n  \
                    web: { image: busybox, command: [sleep, '1000'], depends_on: [db] }\n\
                    networks: { default: { external: true, name: shop } }\n";
    let project = docker.project("shop", services);
    for name in ["db", "web"] {
        let done = AtomicBool::new(false);
        let answers = thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let mut answers: Vec<Vec<String>> = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    answers.push(client.resolves(GATEWAY, name));
                }
                answers
            });
            project.run(&["up", "--detach", name]);
            done.store(true, Ordering::Relaxed);
            asking.join().unwrap()
        });
        let address = docker.running(&format!("shop_{name}_1")).address_on("shop");
        // First it does not exist. The first query that comes when it does waits for the address.
        let known = answers.iter().position(|answer| answer != &["NXDOMAIN"]).unwrap_or(answers.len());
        assert!(known > 0, "it was asked before it was made: {answers:?}");
        for answer in &answers[known..] {
            assert_eq!(*answer, [address.as_str()], "{name}: {:?}", &answers[known..]);
        }
        becomes_at!(client, GATEWAY, name, [address]);
    }
}
