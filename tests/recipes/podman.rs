//! The pages with Podman.

use crate::bed::Outside;
use crate::{needs_booted, needs_engines, needs_root};

#[test]
fn podman() {
    needs_engines!();
    let outside = Outside::new();
    let _isp = outside.isp();
    let machine = outside.machine();
    machine.podman_images();
    machine.follow_page("podman");
    machine.undo("podman");
    assert!(!machine.booted.file("/usr/local/libexec/podman/aardvark-dns").exists());
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
