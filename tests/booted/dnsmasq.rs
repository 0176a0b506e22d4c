//! NetworkManager with a dnsmasq of its own.

use crate::bed::{Bed, ELSEWHERE, ISP, WEB, machine, of_containers};
use crate::support::machine::becomes;
use crate::{needs_booted, needs_root};

#[test]
fn networkmanagers_dnsmasq_asks_callsign() {
    needs_booted!("trixie");
    needs_root!("busybox");
    let bed = Bed::new();
    let _web = bed.web();
    let (isp, upstream) = (bed.isp(), bed.upstream());
    let machine = machine(&bed, "trixie", |machine| {
        machine.prepare("/etc/NetworkManager/conf.d/dns.conf", "[main]\ndns=dnsmasq\n");
    });
    machine.run(&["systemctl", "mask", "--now", "systemd-resolved"]);
    machine.run(&["rm", "/etc/resolv.conf"]);
    let settings = "ipv4.method manual ipv4.addresses 10.99.0.254/24 ipv4.dns 10.99.0.1 ipv6.method disabled";
    let add: Vec<&str> =
        "nmcli connection add type ethernet ifname link0 con-name isp".split(' ').chain(settings.split(' ')).collect();
    machine.run(&["systemctl", "restart", "NetworkManager"]);
    machine.run(&add);
    machine.run(&["nmcli", "connection", "up", "isp"]);
    becomes("a name elsewhere", vec![ISP.to_owned()], || machine.getent(ELSEWHERE));
    let before = machine.files();

    machine.run(&["callsign", "host", "enable", "--reverse", "10.10.1.0/24"]);
    becomes("the container's name", vec!["10.10.1.2".to_owned()], || machine.getent(WEB));
    machine.expect_web();
    assert!(machine.run(&["getent", "hosts", "10.10.1.2"]).contains("shop"));
    assert_eq!(machine.getent(ELSEWHERE), [ISP]);
    assert_eq!(upstream.queries(), [""; 0]);
    let status = machine.status();
    assert_eq!((&status["working"], &status["way"]), (&true.into(), &"dnsmasq".into()), "{status}");
    assert_eq!(status["zones"], serde_json::json!(["containers.internal", "1.10.10.in-addr.arpa"]), "{status}");

    let asked = of_containers(isp.queries()).len();
    machine.run(&["systemctl", "stop", "callsign"]);
    // dnsmasq remembers what it was told.
    machine.run(&["nmcli", "general", "reload", "dns-full"]);
    becomes("a name elsewhere", vec![ISP.to_owned()], || machine.getent(ELSEWHERE));
    // Not at once: dnsmasq waits for a server that refuses as for one that is silent.
    assert!(machine.getent(WEB).is_empty());
    assert_eq!(of_containers(isp.queries()).len(), asked);

    machine.run(&["callsign", "host", "disable"]);
    assert_eq!(machine.files(), before);
    becomes("a name elsewhere", vec![ISP.to_owned()], || machine.getent(ELSEWHERE));
    assert!(machine.getent(WEB).is_empty());
    assert!(of_containers(isp.queries()).len() > asked, "as on any host");
}
