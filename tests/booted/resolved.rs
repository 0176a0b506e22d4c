//! systemd-resolved.

use crate::bed::{ADMIN, Bed, ELSEWHERE, ISP, URL, VPN, WEB, machine, of_containers};
use crate::support::booted::Booted;
use crate::support::browser;
use crate::support::dnsmasq::Dnsmasq;
use crate::{needs_booted, needs_root};

#[test]
fn systemd_252_asks_callsign_by_a_link_of_its_own() {
    needs_booted!("bookworm");
    needs_root!("busybox");
    a_host("bookworm", "link");
}

#[test]
fn systemd_257_asks_callsign_by_a_link_of_its_own() {
    needs_booted!("trixie");
    needs_root!("busybox");
    a_host("trixie", "link");
}

#[test]
fn systemd_258_and_later_ask_callsign_by_a_delegate() {
    needs_booted!("forky");
    needs_root!("busybox");
    a_host("forky", "delegate");
}

/// What the name servers were asked.
struct Servers<'a> {
    isp: Dnsmasq<'a>,
    upstream: Dnsmasq<'a>,
}

impl Servers<'_> {
    /// Nothing got to callsign that it forwarded.
    #[track_caller]
    fn expect_none_asked(&self) {
        let mut queries = self.upstream.queries();
        // What the doctor asks.
        queries.retain(|query| query != "NS .");
        assert_eq!(queries, [""; 0]);
    }

    /// Nothing of the host but what is for callsign was asked of it, and nothing of containers was asked of the ISP.
    #[track_caller]
    fn expect_no_leak(&self) {
        self.expect_none_asked();
        assert_eq!(of_containers(self.isp.queries()), [""; 0]);
    }
}

/// Everything, on one machine: a boot takes as long as all the rest.
fn a_host(suite: &str, way: &str) {
    let bed = Bed::new();
    let _web = bed.web();
    let servers = Servers { isp: bed.isp(), upstream: bed.upstream() };
    let (admin, vpn) = (bed.admin(), bed.vpn());
    let mut machine = machine(&bed, suite, |_| {});
    connect(&machine);
    let before = machine.files();
    assert_eq!(machine.getent(ELSEWHERE), [ISP]);
    assert_eq!(machine.status()["enabled"], false);

    let shown = machine.run(&["callsign", "host", "enable", "--dry-run", "--reverse", "10.10.1.0/24"]);
    assert_eq!((machine.files(), links(&machine)), (before.clone(), String::new()), "{shown}");
    let done = machine.run(&["callsign", "host", "enable", "--reverse", "10.10.1.0/24"]);
    assert!(done.starts_with(&shown), "each step is printed, in a dry run too:\n{shown}\n{done}");
    assert!(!done.contains("But "), "{done}");

    machine.expect_web();
    if let Some(document) = browser::open(bed.lab.host(), URL, "the page of a container in a browser") {
        assert!(document.contains("<p>This is <b>web.shop.containers.internal:8080</b></p>"), "{document}");
    }
    assert!(machine.run(&["getent", "hosts", "10.10.1.2"]).contains("shop"), "a reverse look-up");
    assert_eq!(machine.getent(ELSEWHERE), [ISP]);
    assert!(machine.getent("nosuch.example.org").is_empty());
    // A single label is not sent to a routing domain.
    assert!(machine.getent("web").is_empty());
    servers.expect_no_leak();
    let status = machine.status();
    assert_eq!((&status["working"], &status["way"]), (&true.into(), &way.into()), "{status}");
    assert_eq!(status["zones"], serde_json::json!(["containers.internal", "1.10.10.in-addr.arpa"]), "{status}");
    assert!(!machine.run(&["cat", "/run/systemd/resolve/resolv.conf"]).contains("127.0.0.55"), "Docker copies that");

    // Again, with another domain: nothing of the first is left.
    machine.run(&["callsign", "host", "enable", "--domain", "docker", "--listen", "127.0.0.56"]);
    assert_eq!(machine.getent("web.shop.docker"), ["10.10.1.2"]);
    machine.run(&["callsign", "host", "enable"]);
    machine.expect_web();
    assert!(machine.getent("web.shop.docker").is_empty());

    // Beside an administrator's own server, and a VPN that wants everything.
    machine.write("/etc/systemd/resolved.conf.d/admin.conf", "[Resolve]\nDNS=10.99.0.4\nDomains=~.\n");
    machine.restart_resolved();
    machine.expect_web();
    assert_eq!(machine.getent(ELSEWHERE), [ADMIN]);
    machine.run(&["rm", "/etc/systemd/resolved.conf.d/admin.conf"]);
    machine.restart_resolved();
    machine.run(&["resolvectl", "dns", "link2", "10.77.0.1"]);
    machine.run(&["resolvectl", "domain", "link2", "~."]);
    machine.expect_web();
    assert_eq!(machine.getent(ELSEWHERE), [VPN]);
    machine.run(&["resolvectl", "revert", "link2"]);
    assert_eq!((of_containers(admin.queries()), of_containers(vpn.queries())), (vec![], vec![]));

    // A host that validates, and one that asks by TLS only.
    for (setting, domain) in
        [("DNSSEC=yes", "containers.internal"), ("DNSSEC=yes", "docker"), ("DNSOverTLS=yes", "containers.internal")]
    {
        machine.write("/etc/systemd/resolved.conf.d/strict.conf", &format!("[Resolve]\n{setting}\n"));
        machine.restart_resolved();
        let listen = if domain == "docker" { "127.0.0.56" } else { "127.0.0.55" };
        machine.run(&["callsign", "host", "enable", "--domain", domain, "--listen", listen]);
        let name = format!("web.shop.{domain}");
        let state = || machine.try_run(&["sh", "-c", &format!("resolvectl query {name}; resolvectl status")]);
        assert_eq!(machine.getent(&name), ["10.10.1.2"], "{setting}: {:?}", state());
    }
    machine.run(&["rm", "-r", "/etc/systemd/resolved.conf.d"]);
    machine.restart_resolved();
    machine.run(&["callsign", "host", "enable"]);
    machine.expect_web();
    assert_eq!(machine.status()["way"], way);

    // callsign stopped: at once, and nothing leaks.
    machine.run(&["systemctl", "stop", "callsign"]);
    let asked = of_containers(servers.isp.queries()).len();
    machine.expect_no_web();
    let status = machine.status();
    assert!(status["problems"][0]["message"].as_str().unwrap().contains("nobody answers at 127.0.0.55:53"), "{status}");
    let said = doctor(&machine);
    assert!(said.starts_with("problem  callsign does not run\n"), "{said}");
    assert!(
        said.contains("\nproblem  nobody answers at 127.0.0.55:53, where names below containers.internal are asked"),
        "{said}"
    );
    assert_eq!(machine.getent(ELSEWHERE), [ISP]);
    assert_eq!(of_containers(servers.isp.queries()).len(), asked);
    machine.run(&["systemctl", "start", "callsign"]);
    machine.expect_web();

    // The resolver stops and starts, and the machine does.
    machine.run(&["systemctl", "reset-failed", "systemd-resolved"]);
    machine.run(&["systemctl", "stop", "systemd-resolved"]);
    machine.run(&["systemctl", "start", "systemd-resolved"]);
    machine.expect_web();
    machine.power_off();
    if way == "link" {
        // As the network's namespace outlives the machine.
        bed.lab.host().configure("link delete callsign0");
    }
    machine.boot(bed.lab.host());
    connect(&machine);
    machine.expect_web();
    assert_eq!(machine.getent(ELSEWHERE), [ISP]);
    assert_eq!(machine.status()["working"], true);
    let said = doctor(&machine);
    assert!(said.ends_with("\nNothing is wrong.\n"), "{said}");
    assert!(
        said.contains("ok       systemd-resolved ")
            && said.contains("asks callsign for names below containers.internal, 1.10.10.in-addr.arpa\n"),
        "{said}"
    );
    servers.expect_none_asked();

    let undone = machine.run(&["callsign", "host", "disable"]);
    assert_untouched(&machine, &before, &undone);
    assert!(machine.getent(WEB).is_empty());
    assert!(of_containers(servers.isp.queries()).len() > asked, "as on any host");
    assert_eq!(
        machine.run(&["callsign", "host", "disable"]),
        "Nothing to undo: this host was not told to ask callsign.\n"
    );

    if way == "link" {
        halves(&machine, &before);
        loops(&machine);
        nothing_known(&machine, &before);
    }
}

/// What `callsign doctor` says.
fn doctor(machine: &Booted) -> String {
    machine.try_run(&["callsign", "doctor"]).stdout
}

/// Hosts that were told by hand, in the way that does not work.
fn loops(machine: &Booted) {
    machine.write(
        "/etc/systemd/resolved.conf.d/drop-in.conf",
        "[Resolve]\nDNS=127.0.0.55\nDomains=~containers.internal\n",
    );
    machine.restart_resolved();
    let said = doctor(machine);
    assert!(
        said.starts_with("problem  systemd-resolved asks callsign at 127.0.0.55 for every name of this host"),
        "{said}"
    );
    let config = machine.run(&["cat", "/etc/callsign/callsign.toml"]);
    let stub = config.replace("upstreams = [\"10.99.0.2\"]", "resolv_conf = \"/etc/resolv.conf\"");
    machine.write("/etc/callsign/callsign.toml", &stub);
    let said = doctor(machine);
    assert!(said.starts_with("problem  an upstream leads back to callsign: "), "{said}");
    assert!(said.lines().next().unwrap().contains("127.0.0.55"), "{said}");
    machine.write("/etc/callsign/callsign.toml", &config);
    machine.run(&["rm", "-r", "/etc/systemd/resolved.conf.d"]);
    machine.restart_resolved();
}

/// The ISP's server, as a DHCP client sets it.
fn connect(machine: &Booted) {
    machine.run(&["resolvectl", "dns", "link0", "10.99.0.1"]);
}

fn links(machine: &Booted) -> String {
    machine.run(&["sh", "-c", "ip -oneline link show | grep callsign || true"])
}

#[track_caller]
fn assert_untouched(machine: &Booted, before: &[String], undone: &str) {
    assert_eq!(machine.files(), before, "{undone}");
    assert_eq!(links(machine), "", "{undone}");
    let status = machine.run(&["resolvectl", "status"]);
    assert!(!status.contains("127.0.0.55") && !status.contains("containers.internal"), "{status}");
    assert_eq!(machine.status()["traces"], serde_json::json!([]));
}

/// An enable that failed half-way is undone, too, and is seen.
fn halves(machine: &Booted, before: &[String]) {
    machine.run(&["callsign", "host", "enable"]);
    machine.run(&["ip", "link", "delete", "callsign0"]);
    let status = machine.status();
    assert_eq!((&status["enabled"], &status["working"]), (&true.into(), &false.into()), "{status}");
    assert!(status["problems"][0]["message"].as_str().unwrap().contains("only a part"), "{status}");
    let undone = machine.run(&["callsign", "host", "disable"]);
    assert_untouched(machine, before, &undone);
    // A unit of somebody else: nothing is done at all, and it stays.
    machine.write("/etc/systemd/system/callsign-host.service", "[Unit]\n");
    let refused = machine.try_run(&["callsign", "host", "enable"]);
    assert!(!refused.status.success() && refused.stderr.contains("it is left as it is"), "{refused:?}");
    assert_eq!((refused.stdout.as_str(), links(machine).as_str()), ("", ""));
    machine.run(&["callsign", "host", "disable"]);
    assert_eq!(machine.run(&["cat", "/etc/systemd/system/callsign-host.service"]), "[Unit]\n");
    machine.run(&["rm", "/etc/systemd/system/callsign-host.service"]);
    // A link of somebody else.
    machine.run(&["ip", "link", "add", "callsign0", "type", "veth", "peer", "name", "callsign1"]);
    let refused = machine.try_run(&["callsign", "host", "enable"]);
    assert!(refused.stderr.contains("there is a link callsign0 that callsign did not make"), "{refused:?}");
    machine.run(&["callsign", "host", "disable"]);
    assert!(links(machine).contains("callsign0"));
    machine.run(&["ip", "link", "delete", "callsign0"]);
}

/// A host whose resolver is not known: nothing is changed, and what to write is shown.
fn nothing_known(machine: &Booted, before: &[String]) {
    machine.run(&["systemctl", "stop", "systemd-resolved"]);
    let shown = machine.try_run(&["callsign", "host", "enable"]);
    assert_eq!(shown.status.code(), Some(1), "{shown:?}");
    assert!(shown.stdout.contains("Nothing was changed"), "{shown:?}");
    assert!(shown.stdout.contains("server=/containers.internal/127.0.0.55\n"), "{shown:?}");
    assert!(shown.stdout.contains("forward-addr: 127.0.0.55\n"), "{shown:?}");
    assert_eq!((machine.files(), links(machine)), (before.to_vec(), String::new()));
}
