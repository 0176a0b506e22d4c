//! The pages with Docker.

use crate::bed::{Machine, Outside};
use crate::page::{Page, Step};
use crate::support::machine::becomes;
use crate::support::{browser, needs};
use crate::{needs_booted, needs_engines, needs_root};

/// A machine that has done the first two steps of compose.md.
#[track_caller]
fn switched_on(outside: &Outside) -> Machine {
    let machine = outside.machine();
    machine.switch_on();
    machine
}

#[test]
fn compose() {
    needs_engines!();
    let outside = Outside::new();
    let isp = outside.isp();
    let machine = outside.machine();
    machine.booted.run(&["systemctl", "start", "docker"]);
    machine.docker_images();
    machine.follow_page("compose");
    let page = Page::read("compose");
    let url = page.quoted_behind("Now open");
    if let Some(shown) = browser::open(outside.lab.host(), url, "the page in a browser") {
        assert!(shown.contains("<title>Welcome to nginx!</title>"), "{shown}");
    }
    let leaked: Vec<String> = isp.queries().into_iter().filter(|query| query.contains("containers.internal")).collect();
    assert_eq!(leaked, [""; 0]);
    machine.undo("compose");
    assert!(machine.shell("getent hosts web.shop.containers.internal").stdout.is_empty());
}

#[test]
fn shared_network() {
    needs_engines!();
    let outside = Outside::new();
    let _isp = outside.isp();
    let machine = switched_on(&outside);
    machine.follow_page("shared-network");
    machine.undo("shared-network");
}

#[test]
fn payments() {
    needs_engines!();
    let outside = Outside::new();
    let _isp = outside.isp();
    let machine = switched_on(&outside);
    machine.follow_page("payments");
}

#[test]
fn vpn() {
    needs_engines!();
    let outside = Outside::new();
    let (isp, vpn) = (outside.isp(), outside.vpn());
    let machine = switched_on(&outside);
    // As a VPN's program sets it.
    machine.booted.run(&["resolvectl", "dns", "tun0", "10.77.0.1"]);
    machine.booted.run(&["resolvectl", "domain", "tun0", "~corp.example"]);
    machine.follow_page("vpn");
    // What the page promises: each is asked for its own, also while the VPN is down.
    let of_corp = |queries: Vec<String>| queries.into_iter().filter(|query| query.contains("corp.example")).count();
    assert!(of_corp(vpn.queries()) > 0);
    drop(vpn);
    outside.lab.host().configure("link set tun0 down");
    let exec = |name: &str| machine.shell(&format!("docker compose exec web getent hosts {name}")).stdout;
    assert_eq!(exec("blog.corp.example"), "");
    assert!(exec("www.example.org").starts_with("192.0.2.1 "));
    assert_eq!(of_corp(isp.queries()), 0);
}

#[test]
fn kubernetes() {
    needs_engines!();
    let outside = Outside::new();
    let (_isp, _cluster) = (outside.isp(), outside.cluster());
    let machine = switched_on(&outside);
    machine.follow_page("kubernetes");
    // The other way: the cluster's name server asks this host.
    let [Step::Configuration(host)] = &Page::read("kubernetes").steps(|heading| heading == "The other way")[..] else {
        panic!("one piece of a configuration")
    };
    machine.booted.write("/etc/callsign/callsign.toml", &format!("[docker]\n{host}"));
    let ask = || {
        let dig = ["dig", "@10.99.0.254", "web.shop.containers.internal", "+short"];
        outside.provider().run(&dig).stdout.starts_with("172.")
    };
    becomes("a name of this host, seen from the cluster", true, ask);
}

#[test]
fn prometheus() {
    needs_engines!();
    crate::needs!("prometheus");
    let outside = Outside::new();
    let _isp = outside.isp();
    let machine = switched_on(&outside);
    // As in the image of Prometheus.
    std::fs::copy(needs::path("prometheus"), machine.booted.file("/root/image/bin/prometheus")).unwrap();
    machine.booted.run(&["bash", "-c", LIBRARIES]);
    let start =
        r#"ENTRYPOINT ["/bin/prometheus","--config.file=/etc/prometheus/prometheus.yml","--storage.tsdb.path=/tmp"]"#;
    machine.import("docker", "prom/prometheus", start);
    machine.import("docker", "grafana/grafana", r#"CMD ["/bin/sleep","100000"]"#);
    machine.follow_page("prometheus");
    // The files are where Grafana looks for them, and name one another.
    let cat = |file: &str| machine.shell(&format!("docker compose exec grafana cat {file}")).expect_success().stdout;
    let provisioning = "/etc/grafana/provisioning";
    assert!(cat(&format!("{provisioning}/datasources/callsign.yml")).contains("url: http://prometheus:9090"));
    let path = cat(&format!("{provisioning}/dashboards/callsign.yml"));
    let path = path.split_once("path: ").unwrap().1.split_once(" }").unwrap().0;
    let dashboard: serde_json::Value = serde_json::from_str(&cat(&format!("{path}/callsign.json"))).unwrap();
    assert_eq!(dashboard["title"], "callsign");
    let found = machine.shell("docker compose exec grafana getent hosts prometheus").stdout;
    assert!(found.starts_with("172."), "{found}");
}

const LIBRARIES: &str = "ldd /root/image/bin/prometheus | grep -o '/[^ ]*' | while read -r library; do \
                         cp -L --parents \"$library\" /root/image; done; true";

#[test]
fn sidecar() {
    needs_engines!();
    let outside = Outside::new();
    let _isp = outside.isp();
    let machine = outside.machine();
    // Nothing is installed.
    machine.booted.run(&["systemctl", "disable", "--now", "callsign"]);
    machine.booted.run(&["systemctl", "start", "docker"]);
    machine.docker_images();
    if machine.callsign_image() {
        machine.follow_page("sidecar");
        machine.undo("sidecar");
    }
}

#[test]
fn mac() {
    needs_engines!();
    let outside = Outside::new();
    let _isp = outside.isp();
    let machine = outside.machine();
    machine.booted.run(&["systemctl", "start", "docker"]);
    machine.docker_images();
    if !machine.callsign_image() {
        return;
    }
    let page = Page::read("mac");
    machine.follow(&page.steps(|heading| heading.starts_with("1. ") || heading.starts_with("2. ")));
    // Where macOS is told to ask, this machine is.
    machine.booted.run(&["callsign", "host", "enable", "--listen", "127.0.0.1:5300"]);
    machine.follow(&page.steps(|heading| heading.starts_with("3. ")));
    let file = machine.shell("cat /etc/resolver/containers.internal").stdout;
    assert_eq!(file, "nameserver 127.0.0.1\nport 5300\n");
    machine.undo("mac");
}
