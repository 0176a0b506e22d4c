//! The host view beside Docker: what `dig` and `curl` on the host of the containers find.

use crate::support::docker::Docker;
use crate::support::machine::{Outside, becomes};
use crate::{needs_docker, needs_root};

const SHOP: &str = r#"
version: "3.7"
services:
  web:
    image: busybox
    command: ["/bin/busybox", "httpd", "-f", "-p", "8080"]
    init: true
    ports: ["127.0.0.1:18080:8080"]
  db:
    image: busybox
    command: ["sleep", "1000"]
    init: true
    networks: [back]
networks:
  back: { internal: true }
"#;

/// What `dig` on the host gets from the host view: the data of the answer, else the response code.
fn dig(docker: &Docker<'_>, words: &[&str]) -> Vec<String> {
    let arguments = [&["dig", "@127.0.0.55", "+noall", "+answer", "+comments", "+tries=1"], words].concat();
    let text = docker.machine().run(&arguments).expect_success().stdout;
    let records = text.lines().filter(|line| !line.starts_with(';') && !line.trim().is_empty());
    let mut data: Vec<String> = records
        .filter_map(|line| line.split_whitespace().last())
        .map(|word| word.trim_end_matches('.').to_owned())
        .collect();
    data.sort();
    if data.is_empty() {
        let status = text.lines().find_map(|line| line.split_once("status: ")?.1.split_once(','));
        data.extend(status.map(|(status, _)| status.to_owned()));
    }
    data
}

#[test]
fn v6_the_host_finds_the_containers_of_compose_by_name() {
    needs_docker!("docker-compose", "dig", "curl");
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    let program = docker.launch("[docker]\n[host]\n").start();
    let shop = docker.project("shop", SHOP);
    shop.run(&["up", "--detach"]);
    let (web, db) = (docker.running("shop_web_1"), docker.running("shop_db_1"));
    let (web_address, db_address) = (web.address_on("shop_default"), db.address_on("shop_back"));
    let at = |name: &str| dig(&docker, &[&format!("{name}.containers.internal")]);
    becomes("web.shop", vec![web_address.clone()], || at("web.shop"));
    becomes("db.shop", vec![db_address.clone()], || at("db.shop"));
    for name in ["web.shop_default", "shop_web_1.shop_default", &format!("{}.shop_default", web.short_id())] {
        assert_eq!(at(name), std::slice::from_ref(&web_address), "{name}");
    }
    assert_eq!(at("web.shop_back"), ["NXDOMAIN"]);
    assert_eq!(at("shop"), ["NOERROR"]);
    assert_eq!(dig(&docker, &["-x", &web_address]), ["shop_web_1.shop_default.containers.internal"]);
    assert_eq!(dig(&docker, &["web.shop.containers.internal", "HTTPS"]), ["NOERROR"]);
    assert_eq!(dig(&docker, &["www.example.com"]), ["REFUSED"]);
    // The name leads where it says.
    let page = |url: &str| {
        let address = at(url.split(':').next().unwrap()).concat();
        let resolve = format!("{}:{address}", url.replacen(':', ".containers.internal:", 1).trim_end_matches('/'));
        let url = format!("http://{}", url.replacen(':', ".containers.internal:", 1));
        let options = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--resolve"];
        docker.machine().run(&[&options[..], &[&resolve, &url]].concat()).expect_success().stdout.trim().to_owned()
    };
    becomes("the page", "404".to_owned(), || page("web.shop:8080/"));
    // A container that is stopped, and one that comes.
    shop.run(&["stop", "db"]);
    becomes("db.shop", vec!["NOERROR".to_owned()], || at("db.shop"));
    let extra = docker.container("extra", &["--network", "shop_default"]);
    becomes("extra", vec![extra.address_on("shop_default")], || at("extra.shop_default"));

    // For hosts that cannot route to containers: where ports are published.
    program.reload_by_change("[docker]\n[host]\nanswer = \"published\"\n");
    assert_eq!(at("web.shop"), ["127.0.0.1"]);
    assert_eq!(at("extra.shop_default"), ["NOERROR"]);
    let srv = docker.machine().run(&["dig", "@127.0.0.55", "+short", "_8080._tcp.web.shop.containers.internal", "SRV"]);
    let target = format!("0 1 18080 {}.shop_default.containers.internal.\n", web.short_id());
    assert_eq!(srv.expect_success().stdout, target);
    becomes("the page", "404".to_owned(), || page("web.shop:18080/"));
    let text = docker.machine().run(&["dig", "@127.0.0.55", "extra.shop_default.containers.internal"]);
    let text = text.expect_success().stdout;
    assert!(text.contains("extra publishes no port that is known here"), "{text}");
}
