//! 1, 3 and 4 with the program: two hosts with bridges and containers, routes between them, `dig` and `curl`.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::bed::{Cluster, wait, wait_or};
use crate::needs_root;
use crate::support::DEADLINE;
use crate::support::netns::{Bridge, Lab, Namespace};
use crate::support::process::{Process, Source};
use crate::support::program::Program;

/// A host: its own bridge `shop`, a container on it, and a way to the others' containers.
struct Machine {
    container: Namespace,
    _bridge: Bridge,
    lab: Lab,
    number: u8,
}

impl Machine {
    fn new(cluster: &Cluster, number: u8) -> Machine {
        let lab = Lab::new();
        let bridge = lab.bridge("shop", &[&format!("10.88.{number}.1/24")]);
        let container = lab.container("app", &[(&bridge, &[&format!("10.88.{number}.10/24")])]);
        cluster.join(lab.host(), &format!("10.77.0.{}", 10 + number));
        let other = 3 - number;
        lab.host().configure(&format!("route add 10.88.{other}.0/24 via 10.77.0.{}", 10 + other));
        lab.host().run(&["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]).expect_success();
        Machine { container, _bridge: bridge, lab, number }
    }

    fn config(&self, cluster: &Cluster, store: &str) -> String {
        let number = self.number;
        let name = if number == 1 { "web" } else { "queue" };
        let letter = char::from(b'a' + number - 1);
        format!(
            r#"
[store]
etcd = {:?}
insecure = true
host = "host-{letter}"
ttl = "5s"
hold = "10s"
linger = "60s"
{store}

[[network]]
name = "shop"
listen = ["10.88.{number}.1"]
subnets = ["10.88.{number}.0/24"]
domains = ["internal"]
share = "container"
remote_subnets = ["10.88.0.0/16"]

  [[network.endpoint]]
  id = "{name}-1"
  addresses = ["10.88.{number}.10"]
  names = ["{name}"]
  ports = [{{ name = "http", port = 8080, protocol = "tcp" }}]
"#,
            cluster.urls()
        )
    }

    fn start(&self, config: &str) -> Program {
        Program::with(config).inside(self.lab.host()).start()
    }

    /// A server in the container that says whose it is.
    fn serve(&self, directory: &std::path::Path, text: &str) -> Process {
        let pages = directory.join(text);
        std::fs::create_dir(&pages).unwrap();
        std::fs::write(pages.join("index.html"), text).unwrap();
        self.container.spawn(&["busybox", "httpd", "-f", "-p", "8080", "-h", pages.to_str().unwrap()])
    }

    fn dig(&self, words: &[&str]) -> String {
        let words: Vec<&str> =
            ["dig", "+short", "+time=2", "+tries=1"].into_iter().chain(words.iter().copied()).collect();
        self.container.run(&words).stdout.trim().to_owned()
    }

    #[track_caller]
    fn expect(&self, name: &str, address: &str) {
        wait_or(DEADLINE, || self.dig(&[name]) == address, || format!("{name}: {:?}", self.dig(&[name])));
    }

    fn curl(&self, url: &str) -> String {
        let done = self.container.run(&["curl", "--silent", "--show-error", "--max-time", "5", url]);
        (done.stdout + &done.stderr).trim().to_owned()
    }
}

#[test]
fn a1_containers_of_two_hosts_find_and_reach_each_other() {
    needs_root!("etcd", "etcdctl", "dig", "busybox", "curl");
    let mut cluster = Cluster::of(1);
    let (one, two) = (Machine::new(&cluster, 1), Machine::new(&cluster, 2));
    let state = format!("state = {:?}", cluster.path().join("one/store.json"));
    let a = one.start(&one.config(&cluster, &state));
    let b = two.start(&two.config(&cluster, "state = \"\""));
    one.expect("queue.internal", "10.88.2.10");
    two.expect("web.internal", "10.88.1.10");
    let _servers = [one.serve(cluster.path(), "this is web"), two.serve(cluster.path(), "this is queue")];
    wait_or(
        DEADLINE,
        || one.curl("http://queue.internal:8080/") == "this is queue",
        || one.curl("http://queue.internal:8080/"),
    );
    wait_or(
        DEADLINE,
        || two.curl("http://web.internal:8080/") == "this is web",
        || two.curl("http://web.internal:8080/"),
    );
    assert_eq!(one.dig(&["-x", "10.88.2.10"]), "queue.internal.");
    assert_eq!(one.dig(&["_http._tcp.queue.internal", "SRV"]), "0 1 8080 queue-1.host-b.internal.");
    // What people look at.
    let hosts = crate::support::process::run({
        let mut command = one.lab.host().command(crate::support::program::CALLSIGN);
        command.args(["hosts", "--socket"]).arg(a.control());
        command
    });
    let hosts = hosts.expect_success().stdout;
    assert!(hosts.contains("host-b") && hosts.contains("live"), "{hosts}");
    // A reload changes what is shared; the other host sees it.
    b.reload_by_change(&two.config(&cluster, "state = \"\"").replace("\"queue\"", "\"jobs\""));
    one.expect("jobs.internal", "10.88.2.10");
    assert_eq!(one.dig(&["queue.internal"]), "");
    // etcd is gone, and this host's callsign starts again: names of the other host are there, from its file.
    let saved = cluster.path().join("one/store.json");
    wait("the state is written", Duration::from_secs(60), || {
        std::fs::read_to_string(&saved).is_ok_and(|text| text.contains("jobs"))
    });
    cluster.kill(0);
    a.signal(Signal::SIGKILL);
    drop(a);
    let a = one.start(&one.config(&cluster, &state));
    a.wait_for(Source::Stderr, "as they were last known");
    assert_eq!(one.dig(&["jobs.internal"]), "10.88.2.10");
    assert_eq!(one.dig(&["web.internal"]), "10.88.1.10");
    cluster.start_all("existing");
    // An orderly stop is seen at once.
    wait("the other host is there again", DEADLINE, || cluster.keys().contains("/callsign/v1/host-b/host"));
    a.wait_for(Source::Stderr, "etcd is followed again");
    b.signal(Signal::SIGTERM);
    let stopped = Instant::now();
    one.expect("jobs.internal", "");
    assert!(stopped.elapsed() < Duration::from_secs(5), "{:?}", stopped.elapsed());
    assert!(one.container.run(&["dig", "jobs.internal"]).stdout.contains("NXDOMAIN"));
}

#[test]
fn a4_a_program_that_is_killed_is_lost_and_its_names_go_to_no_upstream() {
    needs_root!("etcd", "etcdctl", "dig");
    let cluster = Cluster::of(1);
    let (one, two) = (Machine::new(&cluster, 1), Machine::new(&cluster, 2));
    let _a = one.start(&one.config(&cluster, "state = \"\""));
    let b = two.start(&two.config(&cluster, "state = \"\""));
    one.expect("queue", "10.88.2.10");
    drop(b);
    one.expect("queue", "");
    let answer = one.container.run(&["dig", "+ednsopt=15", "queue"]).stdout;
    assert!(answer.contains("NOERROR") && answer.contains("queue was on host-b, which is not reachable"), "{answer}");
}

#[test]
fn without_etcd_and_without_a_file_names_of_other_hosts_are_a_failure_and_not_unknown() {
    needs_root!("etcd", "etcdctl", "dig");
    let mut cluster = Cluster::of(1);
    cluster.kill(0);
    let one = Machine::new(&cluster, 1);
    let _a = one.start(&one.config(&cluster, "state = \"\"\nwait = \"1s\""));
    assert_eq!(one.dig(&["web.internal"]), "10.88.1.10");
    let ask = || one.container.run(&["dig", "queue.internal"]).stdout;
    wait_or(DEADLINE, || ask().contains("SERVFAIL"), ask);
    cluster.start_all("existing");
    wait_or(DEADLINE, || ask().contains("NXDOMAIN"), ask);
}
