//! What is installed: manual pages, completions, the link by which Podman takes callsign, and the Debian package on systems that
//! systemd has booted.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use callsign::wire::rtype;
use support::booted::Booted;
use support::client::{Client, Query, Reply};
use support::netns::{Lab, Namespace};
use support::process::{Finished, run};
use support::program::{CALLSIGN, callsign};
use support::{DEADLINE, needs};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn there_is_a_page_for_each_command_and_for_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    run(callsign(&["man", "--dir", directory.path().to_str().unwrap()])).expect_success();
    let help = run(callsign(&["--help"])).expect_success().stdout;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"serve") && commands.contains(&"podman"), "{help}");
    for command in commands.iter().filter(|&&command| command != "help") {
        let page = fs::read_to_string(directory.path().join(format!("callsign-{command}.1"))).expect(command);
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
    let serve = fs::read_to_string(directory.path().join("callsign-serve.1")).unwrap();
    assert!(serve.contains("no\\-sandbox") && serve.contains("Exits with 78"), "{serve}");
    let file = fs::read_to_string(directory.path().join("callsign.toml.5")).unwrap();
    assert!(file.contains(".SH [[network.endpoint]]\n") && file.contains("\\fBcase_randomization\\fR"), "{file}");
    let first = run(callsign(&["man"])).expect_success().stdout;
    assert!(first.contains(".TH callsign 1"), "{first}");
}

#[test]
fn bash_completes_commands_and_options() {
    needs!("bash");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("callsign.bash");
    fs::write(&file, run(callsign(&["completions", "bash"])).expect_success().stdout).unwrap();
    let script = "source \"$1\"; COMP_WORDS=(callsign serve --no); COMP_CWORD=2; _callsign callsign --no serve; echo ${COMPREPLY[@]}";
    let mut bash = needs::command("bash");
    bash.args(["-c", script, "bash"]).arg(&file);
    assert_eq!(run(bash).expect_success().stdout.trim(), "--no-sandbox");
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(run(callsign(&["completions", shell])).expect_success().stdout.contains("serve"), "{shell}");
    }
    assert_eq!(run(callsign(&["completions", "tcsh"])).status.code(), Some(2));
}

/// Podman's directory of helpers, as a containers.conf of the user names it.
struct Helpers {
    place: tempfile::TempDir,
}

impl Helpers {
    fn new() -> Helpers {
        let helpers = Helpers { place: tempfile::tempdir().unwrap() };
        let config = helpers.place.path().join("config/containers");
        fs::create_dir_all(&config).unwrap();
        let text = format!("[engine]\nhelper_binaries_dir = [{:?}, \"/nowhere\"]\n", helpers.directory());
        fs::write(config.join("containers.conf"), text).unwrap();
        helpers
    }

    fn directory(&self) -> PathBuf {
        self.place.path().join("libexec/podman")
    }

    fn link(&self) -> PathBuf {
        self.directory().join("aardvark-dns")
    }

    fn podman(&self, words: &[&str]) -> Finished {
        let mut command = callsign(&[&["podman"], words].concat());
        if words[0] != "status" {
            command.arg("--directory").arg(self.directory());
        }
        command.env("XDG_CONFIG_HOME", self.place.path().join("config"));
        run(command)
    }
}

#[test]
fn podmans_link_is_made_once_told_and_taken_back() {
    let helpers = Helpers::new();
    let status = helpers.podman(&["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(status.stdout.starts_with("Podman finds no aardvark-dns"), "{status:?}");

    let planned = helpers.podman(&["install", "--dry-run"]).expect_success();
    let link = format!("link {} -> {CALLSIGN}\n", helpers.link().display());
    assert_eq!(planned.stdout, format!("make {}\n{link}", helpers.directory().display()));
    assert!(!helpers.directory().exists(), "nothing is done");

    let done = helpers.podman(&["install"]).expect_success();
    assert!(done.stdout.contains(&link) && !done.stdout.contains("does not look there"), "{done:?}");
    assert_eq!(fs::read_link(helpers.link()).unwrap(), Path::new(CALLSIGN));
    let again = helpers.podman(&["install"]).expect_success();
    assert_eq!(again.stdout, format!("{} is a link to {CALLSIGN} already\n", helpers.link().display()));
    // It is what Podman starts: under that name.
    let version = run(Command::new(helpers.link()).arg("--version").to_owned_command()).expect_success();
    assert!(version.stdout.starts_with("aardvark-dns "), "{version:?}");
    let status = helpers.podman(&["status"]);
    assert_eq!(status.status.code(), Some(0), "{status:?}");
    assert!(status.stdout.starts_with(&format!("Podman starts callsign, by {}\n", helpers.link().display())));
    let json: serde_json::Value = serde_json::from_str(&helpers.podman(&["status", "--json"]).stdout).unwrap();
    assert_eq!(json["starts"]["is_callsign"], true, "{json}");

    assert!(helpers.podman(&["remove", "--dry-run"]).expect_success().stdout.starts_with("remove "));
    assert!(helpers.link().exists());
    helpers.podman(&["remove"]).expect_success();
    assert!(!helpers.directory().exists());
    assert!(helpers.podman(&["remove"]).expect_success().stdout.ends_with("is not there\n"));
}

#[test]
fn podmans_link_of_another_callsign_is_turned_and_what_is_not_ours_is_left_alone() {
    let helpers = Helpers::new();
    fs::create_dir_all(helpers.directory()).unwrap();
    symlink("/opt/old/callsign", helpers.link()).unwrap();
    helpers.podman(&["install"]).expect_success();
    assert_eq!(fs::read_link(helpers.link()).unwrap(), Path::new(CALLSIGN));
    fs::remove_file(helpers.link()).unwrap();

    for put in [
        (|link: &Path| fs::write(link, "#!/bin/sh\n").unwrap()) as fn(&Path),
        |link: &Path| symlink("/usr/bin/env", link).unwrap(),
        |link: &Path| fs::create_dir(link).unwrap(),
    ] {
        put(&helpers.link());
        for action in ["install", "remove"] {
            let refused = helpers.podman(&[action]);
            assert_eq!(refused.status.code(), Some(1));
            assert!(refused.stderr.contains("is not a link to callsign, and is left alone"), "{refused:?}");
        }
        assert!(fs::symlink_metadata(helpers.link()).is_ok());
        let _ = fs::remove_file(helpers.link()).or_else(|_| fs::remove_dir(helpers.link()));
    }
}

trait ToOwnedCommand {
    fn to_owned_command(&mut self) -> Command;
}

impl ToOwnedCommand for Command {
    fn to_owned_command(&mut self) -> Command {
        let mut command = Command::new(self.get_program());
        command.args(self.get_args());
        command
    }
}

// The package.

const CONFIG: &str = "/etc/callsign/callsign.toml";
const ADDRESS: &str = "127.0.0.55";

/// The packages of two versions, made once; `None`, and said, where they cannot be made.
fn packages() -> Option<&'static [PathBuf; 2]> {
    static PACKAGES: OnceLock<Option<[PathBuf; 2]>> = OnceLock::new();
    let packages = PACKAGES.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("packages-{}", std::process::id()));
        let cargo_deb = run_quietly(needs::command("cargo").args(["deb", "--version"]));
        if !cargo_deb || ["dpkg-shlibdeps", "strip"].iter().any(|program| needs::find(program).is_none()) {
            return None;
        }
        fs::create_dir_all(&directory).unwrap();
        // Without what debuggers read: that is nine tenths of it, and all of it is compressed.
        let program = directory.join("callsign");
        assert!(run_quietly(Command::new("strip").arg(CALLSIGN).arg("-o").arg(&program)));
        Some(["0.9.0", "0.9.1"].map(|version| {
            let package = directory.join(format!("callsign_{version}.deb"));
            let mut command = Command::new(Path::new(ROOT).join("packaging/deb"));
            command.arg(&program).arg(&package).args(["--no-strip", "--fast", "--deb-version", version]);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            package
        }))
    });
    if packages.is_none() {
        needs::skip("cargo-deb and dpkg-dev", "the Debian package");
    }
    packages.as_ref()
}

fn run_quietly(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// A machine without the program that booted.sh puts there: the package brings its own.
fn machine(suite: &str, network: &Namespace, packages: &[PathBuf]) -> Booted {
    let mut machine = Booted::new(suite);
    machine.boot(network);
    machine.run(&["umount", "/usr/bin/callsign"]);
    machine.run(&["rm", "/usr/bin/callsign"]);
    for package in packages {
        let to = machine.file("/root").join(package.file_name().unwrap());
        fs::copy(package, to).unwrap();
    }
    machine
}

fn install(machine: &Booted, package: &Path) {
    let package = Path::new("/root").join(package.file_name().unwrap());
    // Not each file to the disk by itself: the machine is thrown away.
    machine.run(&["dpkg", "--force-unsafe-io", "--install", package.to_str().unwrap()]);
}

fn config(db: &str) -> String {
    format!(
        "# Edited.\n[server]\nupstreams = [\"127.0.0.66:1\"]\n[[network]]\nname = \"shop\"\nlisten = [\"{ADDRESS}\"]\n\
         endpoint = [{{ id = \"db-1\", names = [\"db\"], addresses = [\"{db}\"] }}]\n"
    )
}

fn db(network: &Namespace) -> Vec<String> {
    network.enter(|| {
        let client = Client::new(SocketAddr::new(ADDRESS.parse().unwrap(), 53)).timeout(DEADLINE);
        match client.udp_bytes(&Query::new("db", rtype::A).bytes()) {
            Ok(reply) => Reply::new(reply).addresses().iter().map(ToString::to_string).collect(),
            Err(_) => Vec::new(),
        }
    })
}

fn state(machine: &Booted) -> String {
    let shown = machine.try_run(&["systemctl", "is-active", "callsign"]).stdout;
    let enabled = machine.try_run(&["systemctl", "is-enabled", "callsign"]).stdout;
    format!("{} {}", shown.trim(), enabled.trim())
}

fn left_behind(machine: &Booted) -> Vec<String> {
    let find = "find / /run -xdev -name '*callsign*' -not -path '/root/*' -not -path '/proc/*' -not -path '/sys/*'";
    machine.run(&["bash", "-c", find]).lines().map(str::to_owned).collect()
}

#[test]
fn the_package_installs_upgrades_and_goes_without_a_trace() {
    let Some(packages) = packages() else { return };
    for suite in ["bookworm", "trixie"] {
        needs_booted!(suite);
        let lab = Lab::new();
        let network = lab.host();
        let machine = machine(suite, network, packages);
        assert_eq!(left_behind(&machine), Vec::<String>::new(), "{suite}: before");

        install(&machine, &packages[0]);
        assert_eq!(state(&machine), "active enabled", "{suite}");
        let log = machine.run(&["journalctl", "--unit", "callsign", "--output", "cat", "--no-pager"]);
        assert!(log.contains("there is no network: nothing is answered until the file has one"), "{suite}: {log}");
        for file in [
            "/usr/share/man/man1/callsign-serve.1.gz",
            "/usr/share/man/man5/callsign.toml.5.gz",
            "/usr/share/bash-completion/completions/callsign",
            "/usr/share/zsh/vendor-completions/_callsign",
            "/usr/share/fish/vendor_completions.d/callsign.fish",
            "/usr/share/doc/callsign/examples/two-networks.toml",
            "/usr/share/doc/callsign/callsign.socket",
        ] {
            // Debian's minimal systems leave documents out when they are told to; these are not.
            assert!(machine.file(file).exists(), "{suite}: {file}");
        }
        machine.write(CONFIG, &config("10.10.1.3"));
        machine.run(&["systemctl", "reload", "callsign"]);
        machine.run(&["callsign", "status"]);
        assert_eq!(db(network), ["10.10.1.3"], "{suite}");
        machine.run(&["callsign", "podman", "install"]);

        // An upgrade keeps what was edited, and the new program runs.
        let pid = |machine: &Booted| machine.run(&["systemctl", "show", "callsign", "--property", "MainPID"]);
        let before = pid(&machine);
        install(&machine, &packages[1]);
        assert_eq!(state(&machine), "active enabled", "{suite}");
        assert_ne!(pid(&machine), before, "{suite}");
        assert_eq!(fs::read_to_string(machine.file(CONFIG)).unwrap(), config("10.10.1.3"), "{suite}");
        assert_eq!(db(network), ["10.10.1.3"], "{suite}");
        assert!(machine.run(&["callsign", "podman", "status"]).starts_with("Podman starts callsign"), "{suite}");

        // What an administrator has turned off stays off.
        machine.run(&["systemctl", "disable", "--now", "callsign"]);
        install(&machine, &packages[0]);
        assert_eq!(state(&machine), "inactive disabled", "{suite}");
        machine.run(&["systemctl", "enable", "--now", "callsign"]);

        machine.run(&["dpkg", "--remove", "callsign"]);
        assert!(machine.file(CONFIG).exists(), "{suite}: the configuration stays");
        assert!(!machine.file("/usr/local/libexec/podman/aardvark-dns").exists(), "{suite}");
        assert!(db(network).is_empty(), "{suite}");
        install(&machine, &packages[1]);
        assert_eq!(state(&machine), "active enabled", "{suite}");
        assert_eq!(db(network), ["10.10.1.3"], "{suite}");
        machine.run(&["dpkg", "--purge", "callsign"]);
        assert_eq!(left_behind(&machine), Vec::<String>::new(), "{suite}: after");
    }
}

/// The package, the host's resolver and a container, on each generation of systemd.
#[test]
fn with_the_package_the_host_finds_containers_and_purging_it_leaves_nothing() {
    let Some(packages) = packages() else { return };
    for suite in ["bookworm", "trixie", "forky"] {
        needs_booted!(suite);
        needs_root!("busybox");
        let lab = Lab::new();
        let bridge = lab.bridge("shop", &["10.10.1.1/24"]);
        let container = lab.container("web", &[(&bridge, &["10.10.1.2/24"])]);
        let pages = tempfile::tempdir().unwrap();
        fs::write(pages.path().join("index.html"), "the shop\n").unwrap();
        let served = pages.path().to_str().unwrap();
        let _web = container.spawn(&["busybox", "httpd", "-f", "-p", "8080", "-h", served]);
        let machine = machine(suite, lab.host(), packages);
        let etc = machine.files();
        install(&machine, &packages[0]);
        machine.write(
            CONFIG,
            "[server]\nupstreams = [\"127.0.0.66:1\"]\n[host]\n[[network]]\nname = \"shop\"\nlisten = [\"10.10.1.1\"]\n\
             endpoint = [{ id = \"web-1\", names = [\"web\"], addresses = [\"10.10.1.2\"] }]\n",
        );
        machine.run(&["systemctl", "reload", "callsign"]);
        machine.run(&["callsign", "host", "enable"]);
        let name = "web.shop.containers.internal";
        let hosts = machine.run(&["getent", "hosts", name]);
        assert!(hosts.starts_with("10.10.1.2 "), "{suite}: {hosts}");
        let page = machine.run(&["curl", "--silent", "--max-time", "20", &format!("http://{name}:8080/")]);
        assert_eq!(page, "the shop\n", "{suite}");
        machine.run(&["dpkg", "--purge", "callsign"]);
        assert_eq!(left_behind(&machine), Vec::<String>::new(), "{suite}");
        let changed = |path: &String| !etc.contains(path) && !path.starts_with("/etc/systemd/system");
        let changed: Vec<String> = machine.files().into_iter().filter(changed).collect();
        assert_eq!(changed, Vec::<String>::new(), "{suite}");
        let status = machine.run(&["resolvectl", "status"]);
        assert!(!status.contains("containers.internal"), "{suite}: {status}");
        let links = machine.run(&["ip", "-oneline", "link", "show"]);
        assert!(!links.contains("callsign"), "{suite}: {links}");
    }
}

#[test]
fn an_upgrade_loses_no_query_with_the_socket_unit() {
    let Some(packages) = packages() else { return };
    let suite = "bookworm";
    needs_booted!(suite);
    let lab = Lab::new();
    let network = lab.host();
    let machine = machine(suite, network, packages);
    install(&machine, &packages[0]);
    machine.write(CONFIG, &config("10.10.1.3"));
    machine.run(&["systemctl", "stop", "callsign"]);
    let drop_in = "/etc/systemd/system/callsign.service.d/socket.conf";
    machine.run(&["install", "-D", "/usr/share/doc/callsign/callsign-socket.conf", drop_in]);
    let socket = "/etc/systemd/system/callsign.socket";
    machine.run(&["install", "-D", "-m", "644", "/usr/share/doc/callsign/callsign.socket", socket]);
    machine.run(&["systemctl", "daemon-reload"]);
    machine.run(&["systemctl", "enable", "--now", "callsign.socket"]);
    machine.run(&["systemctl", "start", "callsign"]);
    assert_eq!(db(network), ["10.10.1.3"]);
    let is_done = AtomicBool::new(false);
    let (asked, answered) = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut asked, mut answered) = (0, 0);
            while asked < 40 || !is_done.load(Ordering::Relaxed) {
                asked += 1;
                answered += usize::from(db(network) == ["10.10.1.3"]);
                thread::sleep(Duration::from_millis(10));
            }
            (asked, answered)
        });
        install(&machine, &packages[1]);
        is_done.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });
    assert_eq!(answered, asked);
    assert_eq!(state(&machine), "active enabled");
}
