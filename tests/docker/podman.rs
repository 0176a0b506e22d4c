//! Podman's Docker-compatible service as the engine: tolerated, although Podman has its own way. Its events have another form
//! (docker.md §7).

use std::path::Path;

use callsign::wire::rtype;

use crate::needs_root;
use crate::support::client::Query;
use crate::support::machine::{Network, Outside, addresses, at_port_53, becomes};
use crate::support::podman::{NETAVARK, Podman};
use crate::support::process::Process;
use crate::support::program::Program;

const SHOP: &str = "10.10.1.1";
const BLOG: &str = "10.10.2.1";

/// The same as for a container of Docker.
fn resolves(network: &Network, server: &str, name: &str) -> Vec<String> {
    let reply = network.ask(at_port_53(server), &Query::new(name, rtype::A).edns(1232));
    if reply.status() == "NOERROR" { addresses(&reply) } else { vec![reply.status()] }
}

#[test]
fn d7_podmans_service_gives_right_names_and_views() {
    needs_root!(
        "ip",
        "unshare",
        "nsenter",
        "setpriv",
        "bash",
        "busybox",
        "getent",
        "dnsmasq",
        "podman",
        "crun",
        "iptables",
        "/usr/lib/podman/netavark"
    );
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let machine = outside.machine(Path::new(NETAVARK));
    let podman = Podman::new(&machine);
    // Without Podman's own DNS server: the gateways' ports are ours.
    podman.network("shop", "10.10.1.0/24", &["--disable-dns"]);
    podman.network("blog", "10.10.2.0/24", &["--disable-dns"]);
    let socket = machine.base().join("shared/podman.sock");
    let host = format!("unix://{}", socket.display());
    let _service = Process::spawn(podman.command(&["system", "service", "--time", "0", &host]));
    becomes("the service's socket", true, || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    let before = podman.container("before", &["--network", "shop"]);
    let _callsign = Program::with("[docker]\n").inside(machine.network()).environment("DOCKER_HOST", host).start();
    let resolved = |network: &Network, server, name: &str, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|&word| word.to_owned()).collect();
        becomes(name, expected, || resolves(network, server, name));
    };
    resolved(&before.network, SHOP, "before", &[&before.address_on("shop")]);

    // Aliases, the short id and the name, of a container that comes later.
    let web = podman.container("web", &["--network", "shop", "--network-alias", "www"]);
    let cms = podman.container("cms", &["--network", "blog"]);
    machine.network_of(1).keep_bridge_addresses();
    for name in ["web", "www", web.short_id()] {
        resolved(&before.network, SHOP, name, &[&web.address_on("shop")]);
    }
    resolved(&cms.network, BLOG, "cms", &[&cms.address_on("blog")]);
    for name in ["web", "www", "web.shop"] {
        resolved(&cms.network, BLOG, name, &["NXDOMAIN"]);
    }
    // The event of these names no network, and has the container's id where Docker's has the network's.
    podman.run(&["network", "connect", "blog", "web"]);
    resolved(&cms.network, BLOG, "web", &[&web.address_on("blog")]);
    resolved(&web.network, BLOG, "cms", &[&cms.address_on("blog")]);
    resolved(&web.network, SHOP, "before", &[&before.address_on("shop")]);
    podman.run(&["network", "disconnect", "blog", "web"]);
    resolved(&cms.network, BLOG, "web", &["NXDOMAIN"]);
    resolved(&before.network, SHOP, "web", &[&web.address_on("shop")]);

    let address = web.address_on("shop");
    podman.run(&["rename", "web", "store"]);
    resolved(&before.network, SHOP, "store", &[&address]);
    podman.run(&["stop", "--time", "0", "store"]);
    resolved(&before.network, SHOP, "store", &[]);
    podman.run(&["rm", "store"]);
    resolved(&before.network, SHOP, "store", &["NXDOMAIN"]);
    resolved(&before.network, SHOP, "www.example.com", &["192.0.2.80"]);
}
