//! Hosts with Docker.

use std::fs;

use crate::bed::{Host, config, expect_first};
use crate::support::docker::{Docker, GATEWAY};
use crate::support::machine::{Outside, becomes};
use crate::support::process::{Finished, run};
use crate::support::program::{CALLSIGN, Program};
use crate::{needs_docker, needs_root};

/// What the doctor says on the machine of an engine.
fn doctor(docker: &Docker<'_>) -> Finished {
    let mut command = docker.machine().command(CALLSIGN);
    command.args(["doctor", "--docker"]);
    run(command)
}

#[test]
fn docker_is_not_there() {
    needs_root!("ip", "dnsmasq");
    let host = Host::new();
    let _upstream = host.upstream();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let section = format!("[docker]\nsocket = \"{}\"\n", socket.display());
    let callsign = Program::with(&format!("{}{section}", config(""))).inside(host.lab.host()).start();
    let said = host.doctor(&callsign.config_path());
    expect_first(&said, &["problem  Docker does not answer at ", "docker.sock"]);
    assert!(said.stdout.contains("systemctl start docker"), "{}", said.stdout);
    // A socket that nobody listens at any more.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    expect_first(&host.doctor(&callsign.config_path()), &["problem  Docker does not answer at ", "refused"]);
}

#[test]
fn d1_1_the_daemon_has_no_dns() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::with(&outside, &[]);
    let _callsign = serve(&docker);
    let said = doctor(&docker);
    expect_first(
        &said,
        &["problem", "Docker's containers do not ask callsign: the daemon has no `dns` (/etc/docker/daemon.json)"],
    );
    assert!(said.stdout.contains("{ \"dns\": [\"172.17.0.1\"] }"), "{}", said.stdout);

    // It is written, and the daemon not restarted.
    fs::write(docker.machine().file("/etc/docker/daemon.json"), "{ \"dns\": [\"172.17.0.1\"] }").unwrap();
    expect_first(&doctor(&docker), &["problem", "daemon.json was changed after Docker's daemon was started"]);
    fs::write(docker.machine().file("/etc/docker/daemon.json"), "{ \"dns\": [\"172.17.0.1\" }").unwrap();
    expect_first(&doctor(&docker), &["problem", "/etc/docker/daemon.json cannot be read"]);
}

#[test]
fn containers_are_older_than_the_daemons_dns() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::with(&outside, &["--live-restore"]);
    docker.container("old", &[]);
    docker.end_daemon(nix::sys::signal::Signal::SIGTERM);
    fs::write(docker.machine().file("/etc/docker/daemon.json"), format!("{{ \"dns\": [\"{GATEWAY}\"] }}")).unwrap();
    docker.start_daemon();
    docker.container("new", &[]);
    let _callsign = serve(&docker);
    let said = doctor(&docker);
    expect_first(&said, &["problem", "old was started before Docker's `dns` was set, and does not ask callsign"]);
    let cure = said.stdout.lines().nth(1).unwrap().trim();
    assert_eq!(cure, "docker restart old");
    docker.run(&["restart", "--time", "0", "old"]);
    let said = doctor(&docker);
    assert!(said.status.success(), "{}", said.stdout);
    assert!(said.stdout.contains("ok       all 2 running containers ask callsign"), "{}", said.stdout);
}

#[test]
fn d2_5_a_container_publishes_port_53() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    docker.container("pihole", &["--publish", "53:53/udp"]);
    let said = doctor(&docker);
    expect_first(&said, &["problem", "UDP port 53 of 172.17.0.1 (network bridge) is taken by docker-proxy (pid "]);
    assert!(said.stdout.contains("publish that on one address only"), "{}", said.stdout);
}

/// callsign on the machine, once it answers at the default bridge's gateway.
fn serve(docker: &Docker<'_>) -> crate::support::process::Process {
    let mut command = docker.machine().command(CALLSIGN);
    command.args(["serve", "--docker"]);
    let callsign = crate::support::process::Process::spawn(command);
    becomes("callsign listens", true, || {
        let sockets = docker.machine().run(&["cat", "/proc/net/udp"]).stdout;
        sockets.contains("010011AC:0035")
    });
    callsign
}
