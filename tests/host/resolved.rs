//! A resolv.conf that names systemd-resolved's stub alone.

use std::net::SocketAddr;

use callsign::wire::rtype;

use crate::support::client::{Client, Query};
use crate::support::netns::Lab;
use crate::support::process::{Process, Source};
use crate::support::program::CALLSIGN;
use crate::{becomes, needs_root};

#[test]
fn f2_behind_resolveds_stub_the_servers_that_it_asks_are_asked() {
    needs_root!("ip", "sh", "mount", "dnsmasq");
    let lab = Lab::new();
    let host = lab.host();
    host.set_resolv_conf("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n");
    host.configure("address add 10.99.0.1/24 dev lo\naddress add 10.99.0.2/24 dev lo");
    // Each tells which one was asked.
    let upstreams = ["10.99.0.1", "10.99.0.2"].map(|address| {
        let answer = format!("--address=/www.example/{address}");
        let listen = format!("--listen-address={address}");
        let upstream = host.spawn(&[
            "dnsmasq",
            "--keep-in-foreground",
            "--no-resolv",
            "--no-hosts",
            "--conf-file=/dev/null",
            "--bind-interfaces",
            "--log-facility=-",
            "--pid-file=",
            &listen,
            &answer,
        ]);
        upstream.wait_for(Source::Stderr, "started");
        upstream
    });
    let directory = tempfile::tempdir().unwrap();
    let uplinks = directory.path().join("resolv.conf");
    std::fs::write(&uplinks, "nameserver 10.99.0.1\n").unwrap();
    let config = directory.path().join("callsign.toml");
    std::fs::write(&config, "[[network]]\nname = \"shop\"\nlisten = [\"127.0.0.9\"]\n").unwrap();
    // `ip netns exec` has given the shell mounts of its own.
    let mut command = host.command("sh");
    command.args(["-c", "mount -t tmpfs none /run && mkdir -p /run/systemd && ln -s \"$1\" /run/systemd/resolve && exec \"$2\" serve \"$3\""]);
    command.arg("sh").arg(directory.path()).arg(CALLSIGN).arg(&config);
    let process = Process::spawn(command);
    process.wait_for(Source::Stderr, "network is served");
    let ask = || {
        let server: SocketAddr = "127.0.0.9:53".parse().unwrap();
        host.enter(|| Client::new(server).udp(&Query::new("www.example", rtype::A))).addresses()
    };
    assert_eq!(ask(), ["10.99.0.1".parse::<std::net::IpAddr>().unwrap()]);
    let told = process.wait_for(Source::Stderr, "name servers read");
    assert!(told.contains("/etc/resolv.conf names systemd-resolved's stub alone"), "{told}");
    // Followed as it changes.
    std::fs::write(&uplinks, "nameserver 10.99.0.2\n").unwrap();
    becomes(vec!["10.99.0.2".parse::<std::net::IpAddr>().unwrap()], ask);
    drop(upstreams);
}
