//! The pages with Podman.

use crate::bed::{Machine, Outside};
use crate::support::machine::becomes;
use crate::{needs_booted, needs_engines, needs_root};

#[test]
fn podman() {
    needs_engines!();
    let outside = Outside::new();
    let _isp = outside.isp();
    let machine = outside.machine();
    machine.podman_images();
    machine.follow_page("podman");
    confined(&machine);
    machine.undo("podman");
    assert!(!machine.booted.file("/usr/local/libexec/podman/aardvark-dns").exists());
}

/// Podman starts the server as root: what is left of that.
#[track_caller]
fn confined(machine: &Machine) {
    let pid = machine.shell("cat /run/containers/networks/aardvark-dns/aardvark.pid").expect_success().stdout;
    let status = machine.shell(&format!("cat /proc/{}/status", pid.trim())).expect_success().stdout;
    let bind = "0000000000000400";
    for (name, value) in [("CapEff", bind), ("CapPrm", bind), ("CapBnd", bind), ("NoNewPrivs", "1")] {
        assert!(status.contains(&format!("{name}:\t{value}\n")), "{name} {value} in {status}");
    }
    let told = machine.shell("callsign status --socket /run/callsign/podman.sock").expect_success().stdout;
    assert!(told.contains("sandbox  cap_net_bind_service, no_new_privs, Landlock "), "{told}");
    // Root may read it, and the server may not.
    machine.shell("ln -sf /etc/shadow /etc/callsign/podman.toml").expect_success();
    machine.shell("podman run --rm --network shop docker.io/library/nginx true || true");
    let log = "journalctl --boot --identifier aardvark-dns --output cat --no-pager";
    becomes("the log says that it was refused", true, || {
        let log = machine.shell(log).stdout;
        log.lines().any(|line| line.contains("podman.toml") && line.contains("Permission denied (os error 13)"))
    });
}

#[test]
fn quadlet() {
    needs_engines!();
    let outside = Outside::new();
    let _isp = outside.isp();
    let machine = outside.machine();
    machine.podman_images();
    machine.follow_page("quadlet");
    let server = machine.shell("readlink /proc/$(cat /run/containers/networks/aardvark-dns/aardvark.pid)/exe").stdout;
    assert_eq!(server, "/usr/bin/callsign\n");
    machine.undo("quadlet");
}
