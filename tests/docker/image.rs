//! callsign as a container: contrib/docker, as it is.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::docker::{Docker, GATEWAY};
use crate::support::machine::{Outside, becomes};
use crate::support::needs::skip;
use crate::{becomes_at, needs_docker, needs_root};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The static program, if it was built once; cargo sees to it that it is today's.
///
/// The first time takes a minute or two, and no test does that: `tests/all` has a step for it.
fn static_program() -> Option<String> {
    if !Path::new(ROOT).join("target/static").exists() {
        skip("the static program: contrib/docker/build --program dev", "callsign as a container");
        return None;
    }
    let output = Command::new(format!("{ROOT}/contrib/docker/build")).args(["--program", "dev"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

/// Builds the image as contrib/docker/build does.
fn build(docker: &Docker<'_>, program: &str) {
    let context = docker.machine().base().join("callsign");
    let outside = docker.machine().file(&context);
    fs::create_dir(&outside).unwrap();
    fs::copy(program, outside.join("callsign")).unwrap();
    for file in ["Dockerfile", "callsign.toml"] {
        fs::copy(Path::new(ROOT).join("contrib/docker").join(file), outside.join(file)).unwrap();
    }
    docker.run(&["build", "--tag", "callsign", context.to_str().unwrap()]);
}

#[test]
fn d9_1_the_image_serves_as_the_compose_file_runs_it() {
    needs_docker!("docker-compose");
    let Some(program) = static_program() else { return };
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::with(&outside, &["--dns", GATEWAY, "--live-restore"]);
    build(&docker, &program);
    let project = docker.project("callsign", include_str!("../../contrib/docker/compose.yaml"));
    project.run(&["up", "--detach"]);
    docker.run(&["network", "create", "n1"]);
    let plain = docker.container("plain", &[]);
    let a = docker.container("a1", &["--network", "n1"]);
    becomes_at!(plain, GATEWAY, "plain", [plain.address_on("bridge")]);
    becomes_at!(a, GATEWAY, "a1", [a.address_on("n1")]);
    becomes_at!(a, &docker.gateway("n1"), "a1", [a.address_on("n1")]);
    assert_eq!(plain.getent("www.example.com"), ["192.0.2.80"]);

    // Confined by Docker, and by itself.
    let status = docker.run(&["exec", "callsign", "callsign", "status"]);
    let sandbox = status.lines().find(|line| line.starts_with("sandbox")).unwrap_or_else(|| panic!("{status}"));
    assert!(sandbox.contains("cap_net_bind_service, no_new_privs, Landlock "), "{status}");
    let pid = docker.running("callsign").pid;
    let of_process = fs::read_to_string(docker.machine().proc(pid, "status")).unwrap();
    for line in ["CapEff:\t0000000000000400", "CapBnd:\t0000000000000400", "NoNewPrivs:\t1"] {
        assert!(of_process.contains(line), "{line:?} in {of_process}");
    }
    let refused = docker.try_run(&["exec", "callsign", "callsign", "man", "--dir", "/usr"]);
    assert!(refused.stderr.contains("Read-only file system"), "{refused:?}");
    assert!(!logs(&docker).contains("WARN"), "{}", logs(&docker));

    // The host's resolv.conf is replaced, as editors and network managers do.
    let _other = outside.other_upstream();
    let etc = docker.machine().file("/etc");
    fs::write(etc.join("resolv.conf.new"), "nameserver 10.99.0.2\n").unwrap();
    let replace = ["sh", "-c", "umount /etc/resolv.conf 2>/dev/null; mv /etc/resolv.conf.new /etc/resolv.conf"];
    docker.machine().run(&replace).expect_success();
    becomes_at!(plain, GATEWAY, "www.example.com", ["192.0.2.82"]);

    // A new daemon has a new socket.
    docker.end_daemon(Signal::SIGTERM);
    docker.start_daemon();
    let late = docker.container("late", &[]);
    becomes_at!(plain, GATEWAY, "late", [late.address_on("bridge")]);

    docker.run(&["stop", "callsign"]);
    assert_eq!(docker.get("/containers/callsign/json")["State"]["ExitCode"], 0, "{}", logs(&docker));
}

fn logs(docker: &Docker<'_>) -> String {
    let finished = docker.try_run(&["logs", "callsign"]);
    finished.stdout + &finished.stderr
}

#[test]
fn d9_2_a_resolv_conf_that_names_us_is_an_error_that_says_what_to_do() {
    needs_docker!();
    let Some(program) = static_program() else { return };
    let outside = Outside::new();
    let docker = Docker::start(&outside);
    build(&docker, &program);
    let etc = docker.machine().file("/etc/callsign");
    fs::create_dir(&etc).unwrap();
    fs::write(etc.join("callsign.toml"), "[docker]\nsocket = \"/host/run/docker.sock\"\n").unwrap();
    // As of docker.md §9.1, but for the host's resolv.conf.
    let options = "--network host --read-only --cap-drop ALL --cap-add NET_BIND_SERVICE --security-opt no-new-privileges \
                   --volume /run:/host/run:ro --volume /etc/callsign:/etc/callsign:ro";
    let options: Vec<&str> = options.split_whitespace().collect();
    docker.run(&[&["run", "--detach", "--name", "callsign"], &options[..], &["callsign"]].concat());
    let plain = docker.container("plain", &[]);
    becomes_at!(plain, GATEWAY, "plain", [plain.address_on("bridge")]);
    becomes_at!(plain, GATEWAY, "www.example.com", ["SERVFAIL"]);
    becomes("the log says what to do", (true, true), || {
        let logs = logs(&docker);
        (logs.contains("172.17.0.1"), logs.contains("`upstreams`") && logs.contains("`resolv_conf`"))
    });

    // Without the right to ask the engine, it says whom to be.
    docker.run(&["rm", "--force", "callsign"]);
    let options = ["--network", "host", "--user", "65534", "--cap-drop", "ALL", "--volume", "/run:/host/run:ro"];
    docker.run(&[&["run", "--detach", "--name", "callsign"], &options[..], &["callsign"]].concat());
    becomes("the log says what to do", true, || logs(&docker).contains("in the socket's group"));
}
