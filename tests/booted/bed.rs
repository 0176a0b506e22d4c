//! A host with one container, an ISP whose name server logs what it is asked, and callsign with an upstream of its own, which
//! logs, too: what is not for callsign and gets there anyway is seen there.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::booted::Booted;
use crate::support::dnsmasq::Dnsmasq;
use crate::support::machine::at_port_53;
use crate::support::netns::{Lab, Namespace};
use crate::support::process::Process;

/// The container's name on the host.
pub(crate) const WEB: &str = "web.shop.containers.internal";
const WEB_ADDRESS: &str = "10.10.1.2";
/// Its page, and what that is: in a browser the script puts the name into it that it was asked for by.
pub(crate) const URL: &str = "http://web.shop.containers.internal:8080/";
const PAGE: &str = "<!doctype html><title>shop</title><p>This is <b></b></p>\
    <script>document.querySelector(\"b\").textContent = location.host</script>\n";
/// A name elsewhere, and what each of the name servers says that it has.
pub(crate) const ELSEWHERE: &str = "www.example.org";
pub(crate) const ISP: &str = "192.0.2.1";
pub(crate) const ADMIN: &str = "192.0.2.4";
pub(crate) const VPN: &str = "192.0.2.3";

/// What is outside the machine.
pub(crate) struct Bed {
    pub(crate) lab: Lab,
    outside: Namespace,
    /// Behind a cable of its own, `link2` of the host.
    vpn: Namespace,
    container: Namespace,
    /// What the container's web server has.
    pages: TempDir,
}

impl Bed {
    pub(crate) fn new() -> Bed {
        let lab = Lab::new();
        let outside = lab.outside("isp", "10.99.0.254/24", "10.99.0.1/24");
        outside.configure("address add 10.99.0.2/24 dev eth0\naddress add 10.99.0.4/24 dev eth0");
        let bridge = lab.bridge("shop", &["10.10.1.1/24"]);
        let container = lab.container("web", &[(&bridge, &["10.10.1.2/24"])]);
        let vpn = lab.outside("vpn", "10.77.0.254/24", "10.77.0.1/24");
        let pages = TempDir::with_prefix("callsign-").unwrap();
        fs::write(pages.path().join("index.html"), PAGE).unwrap();
        Bed { lab, outside, vpn, container, pages }
    }

    fn server(&self, ip: &str, address: &str) -> Dnsmasq<'_> {
        Dnsmasq::start(Some(&self.outside), at_port_53(ip), &[(ELSEWHERE, address)])
    }

    /// The name server of the host's only connection.
    pub(crate) fn isp(&self) -> Dnsmasq<'_> {
        self.server("10.99.0.1", ISP)
    }

    /// Whom callsign asks.
    pub(crate) fn upstream(&self) -> Dnsmasq<'_> {
        self.server("10.99.0.2", "192.0.2.2")
    }

    pub(crate) fn vpn(&self) -> Dnsmasq<'_> {
        Dnsmasq::start(Some(&self.vpn), at_port_53("10.77.0.1"), &[(ELSEWHERE, VPN)])
    }

    /// A server that an administrator has written into resolved.conf.
    pub(crate) fn admin(&self) -> Dnsmasq<'_> {
        self.server("10.99.0.4", ADMIN)
    }

    /// The container's web server.
    pub(crate) fn web(&self) -> Process {
        let pages = self.pages.path().to_str().unwrap();
        let web = self.container.spawn(&["busybox", "httpd", "-f", "-p", "8080", "-h", pages]);
        let port = || self.container.run(&["cat", "/proc/net/tcp6"]).stdout.contains(":1F90");
        crate::support::machine::becomes("port 8080 is listened on", true, port);
        web
    }
}

/// The machine of a suite on the bed's host, with callsign as a service, and booted.
pub(crate) fn machine(bed: &Bed, suite: &str, prepare: impl FnOnce(&Booted)) -> Booted {
    let mut machine = Booted::new(suite);
    machine.prepare("/etc/callsign/callsign.toml", CONFIG);
    machine.prepare("/etc/systemd/system/callsign.service", SERVICE);
    prepare(&machine);
    machine.boot(bed.lab.host());
    machine.run(&["systemctl", "enable", "--now", "callsign"]);
    machine
}

/// A network and the host view; and for a domain that resolvers validate, a network that answers below it.
const CONFIG: &str = r#"
[server]
upstreams = ["10.99.0.2"]

[host]

[[network]]
name = "shop"
listen = ["10.10.1.1"]
subnets = ["10.10.1.0/24"]

  [[network.endpoint]]
  id = "shop-web-1"
  addresses = ["10.10.1.2"]
  names = ["web"]

[[network]]
name = "signed"
listen = ["127.0.0.56"]
domains = ["docker"]

  [[network.endpoint]]
  id = "shop-web-2"
  addresses = ["10.10.1.2"]
  names = ["web.shop"]
"#;

const SERVICE: &str = "\
[Service]
Type=notify
ExecStart=/usr/bin/callsign serve
[Install]
WantedBy=multi-user.target
";

/// Look-ups of programs on the machine.
impl Booted {
    /// The addresses that the C library finds, in order; none if it finds none.
    pub(crate) fn getent(&self, name: &str) -> Vec<String> {
        let _ = self.try_run(&["resolvectl", "flush-caches"]);
        self.getent_cached(name)
    }

    pub(crate) fn getent_cached(&self, name: &str) -> Vec<String> {
        let text = self.try_run(&["getent", "ahostsv4", name]).stdout;
        let mut found: Vec<String> =
            text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
        found.dedup();
        found
    }

    /// The container's name is found, and its web server reached by it.
    #[track_caller]
    pub(crate) fn expect_web(&self) {
        let state = || {
            self.try_run(&[
                "sh",
                "-c",
                "callsign host status; resolvectl status; journalctl -b -u callsign-host -u callsign -o cat",
            ])
        };
        assert_eq!(self.getent(WEB), [WEB_ADDRESS], "{:?}", state());
        let page = self.run(&["curl", "--silent", "--show-error", "--fail", "--max-time", "20", URL]);
        assert_eq!(page, PAGE);
    }

    /// Nothing is found of the container, and that is said at once.
    #[track_caller]
    pub(crate) fn expect_no_web(&self) {
        let start = Instant::now();
        assert!(self.getent(WEB).is_empty());
        // A server that is waited for takes 5 s and more.
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    }

    /// Restarts systemd-resolved, as often as one likes.
    #[track_caller]
    pub(crate) fn restart_resolved(&self) {
        self.run(&["systemctl", "reset-failed", "systemd-resolved"]);
        self.run(&["systemctl", "restart", "systemd-resolved"]);
    }

    /// `callsign host status --json`.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        let output = self.try_run(&["callsign", "host", "status", "--json"]);
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }
}

/// The queries that are about names of containers, of some.
pub(crate) fn of_containers(queries: Vec<String>) -> Vec<String> {
    queries
        .into_iter()
        .filter(|query| query.contains("containers.internal") || query.contains("10.10.in-addr.arpa"))
        .collect()
}
