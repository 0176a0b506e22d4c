//! Docker without root: the bridges are in the network namespace of rootlesskit, and so is callsign.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use crate::needs_root;
use crate::support::machine::{Machine, Outside, becomes, of_nslookup};
use crate::support::podman::NETAVARK;
use crate::support::process::{Finished, Process, Source, run};

/// Debian has it beside the documents.
const DOCKERD: &str = "/usr/share/docker.io/contrib/dockerd-rootless.sh";

/// A command of the machine's ordinary user.
fn as_user(machine: &Machine<'_>, words: &[&str]) -> Command {
    let mut command = machine.command("setpriv");
    command.args(["--reuid", "4000", "--regid", "4000", "--clear-groups"]).args(words);
    command.env("HOME", machine.base().join("home")).env("XDG_RUNTIME_DIR", "/run/user/4000");
    command.env("DOCKER_HOST", "unix:///run/user/4000/docker.sock");
    command
}

#[test]
fn rootless_docker_has_names_with_callsign_in_the_namespace_of_rootlesskit() {
    needs_root!(
        "ip",
        "unshare",
        "nsenter",
        "setpriv",
        "bash",
        "busybox",
        "getent",
        "dnsmasq",
        "iptables",
        "runc",
        "containerd",
        "/usr/bin/docker",
        "rootlesskit",
        "slirp4netns",
        "newuidmap",
        "/usr/share/docker.io/contrib/dockerd-rootless.sh",
        // Of the machine, which is the one that Podman's tests have.
        "/usr/lib/podman/netavark"
    );
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let machine = outside.machine(Path::new(NETAVARK));
    let docker = |words: &[&str]| run(as_user(&machine, &[&["/usr/bin/docker"], words].concat()));
    let succeeds = |words: &[&str]| -> String { docker(words).expect_success().stdout.trim().to_owned() };

    let _daemon = Process::spawn(as_user(&machine, &[DOCKERD, "--storage-driver", "vfs", "--dns", "172.17.0.1"]));
    let socket = machine.file("/run/user/4000/docker.sock");
    becomes("the engine answers", true, || {
        UnixStream::connect(&socket).is_ok() && docker(&["version"]).status.success()
    });
    let import = format!("tar -C {} -c . | docker import - busybox", machine.base().join("image").display());
    run(as_user(&machine, &["sh", "-c", &import])).expect_success();

    // As docs/docker.md has it.
    let program = machine.base().join("bin/callsign");
    let serve = format!(
        "exec nsenter --user --preserve-credentials --net --mount --target \"$(cat \"$XDG_RUNTIME_DIR/docker.pid\")\" \
         {} serve --docker",
        program.display()
    );
    let mut command = as_user(&machine, &["sh", "-c", &serve]);
    // It is found without.
    command.env_remove("DOCKER_HOST");
    let callsign = Process::spawn(command);
    callsign.wait_for(Source::Stderr, "172.17.0.1:53");

    succeeds(&["network", "create", "n1"]);
    for (name, network) in [("one", "bridge"), ("two", "bridge"), ("a1", "n1")] {
        succeeds(&["run", "--detach", "--init", "--name", name, "--network", network, "busybox", "sleep", "1000"]);
    }
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = succeeds(&["inspect", "--format", format, "two"]);
    let nslookup = |container: &str, name: &str| -> Finished { docker(&["exec", container, "nslookup", name]) };
    becomes("two", vec![address], || of_nslookup(&nslookup("one", "two")));
    becomes("host.docker.internal", vec!["172.17.0.1".to_owned()], || {
        of_nslookup(&nslookup("a1", "host.docker.internal"))
    });
    // Through slirp4netns, to the host's own.
    becomes("www.example.com", vec!["192.0.2.80".to_owned()], || of_nslookup(&nslookup("one", "www.example.com")));
    assert_eq!(of_nslookup(&nslookup("a1", "two")), Vec::<String>::new());
}
