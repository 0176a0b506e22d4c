//! The bed itself: what it makes, and that nothing of it stays.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::support::docker::{Docker, EMBEDDED, GATEWAY};
use crate::support::machine::Outside;
use crate::{needs_docker, needs_root};

#[test]
fn containers_ask_the_gateway_and_dockers_own_resolver() {
    needs_docker!();
    let outside = Outside::new();
    let docker = Docker::start(&outside);
    docker.run(&["network", "create", "n1"]);
    let plain = docker.container("plain", &[]);
    let a1 = docker.container("a1", &["--network", "n1"]);
    assert_eq!((plain.servers(), a1.servers()), (vec![GATEWAY.to_owned()], vec![EMBEDDED.to_owned()]));
    // Docker's own names, from inside.
    assert_eq!(a1.resolves(EMBEDDED, "a1"), [a1.address_on("n1")]);
    assert_eq!(a1.nslookup("a1"), [a1.address_on("n1")]);
    assert_eq!(plain.resolves(GATEWAY, "a1"), ["connection refused"]);
}

#[test]
fn a_daemon_that_is_killed_is_started_again_beside_its_containers() {
    needs_docker!();
    let outside = Outside::new();
    let docker = Docker::with(&outside, &["--live-restore"]);
    let pid = docker.container("plain", &[]).pid;
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        docker.end_daemon(signal);
        assert!(docker.machine().is_alive(pid), "{signal}");
        assert!(docker.request("GET", "/_ping", None).is_err(), "{signal}");
        docker.start_daemon();
        assert_eq!(docker.running("plain").pid, pid, "{signal}");
    }
}

#[test]
fn nothing_is_left_behind() {
    needs_docker!();
    let left = std::panic::catch_unwind(|| {
        let outside = Outside::new();
        let docker = Docker::start(&outside);
        let container = docker.container("plain", &[]);
        let process = docker.machine().proc(container.pid, "");
        assert!(process.exists());
        let paths = [process, docker.machine().base().to_owned(), docker.group().expect("a tree of control groups")];
        assert!(paths[2].exists(), "{paths:?}");
        let namespace = Path::new("/run/netns").join(outside.host().name());
        std::panic::panic_any(([&paths[..], &[namespace]]).concat());
    });
    let left = *left.unwrap_err().downcast::<Vec<std::path::PathBuf>>().unwrap();
    for path in &left {
        assert!(!path.exists(), "{}", path.display());
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(left[1].to_str().unwrap()), "{mounts}");
}
