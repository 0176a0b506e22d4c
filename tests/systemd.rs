//! The units of contrib/systemd: what systemd-analyze says of them, and what they do under systemd itself, 252 and 257.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use callsign::wire::rtype;
use support::booted::Booted;
use support::client::{Client, Query};
use support::netns::{Lab, Namespace};
use support::process::{Finished, Source, run};
use support::program::Program;
use support::{DEADLINE, needs};

const SERVICE: &str = include_str!("../contrib/systemd/callsign.service");
const SOCKET: &str = include_str!("../contrib/systemd/callsign.socket");
const DROP_IN: &str = include_str!("../contrib/systemd/callsign-socket.conf");
const CONFIG: &str = "/etc/callsign/callsign.toml";
const ADDRESS: &str = "127.0.0.55";
const SUITES: [&str; 2] = ["bookworm", "trixie"];

/// A network at the address of callsign.socket, with a db.
fn config(db: &str) -> String {
    format!(
        "[server]\nupstreams = [\"127.0.0.66:1\"]\n[[network]]\nname = \"shop\"\nlisten = [\"{ADDRESS}\"]\n\
         endpoint = [{{ id = \"db-1\", names = [\"db\"], addresses = [\"{db}\"] }}]\n"
    )
}

/// What is said for db at the address, if anything.
fn db(network: &Namespace) -> Vec<String> {
    network.enter(|| {
        let client = Client::new(SocketAddr::new(ADDRESS.parse().unwrap(), 53)).timeout(DEADLINE);
        match client.udp_bytes(&Query::new("db", rtype::A).bytes()) {
            Ok(reply) => support::client::Reply::new(reply).addresses().iter().map(ToString::to_string).collect(),
            Err(_) => Vec::new(),
        }
    })
}

#[track_caller]
fn until(machine: &Booted, what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > DEADLINE {
            let log = machine.try_run(&["journalctl", "--no-pager", "--lines", "40", "--unit", "callsign"]);
            panic!("not {what}: {}", log.stdout);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The properties of the service, one `NAME=VALUE` a line.
fn properties(machine: &Booted, names: &str) -> String {
    machine.run(&["systemctl", "show", "callsign", "--property", names])
}

fn main_pid(machine: &Booted) -> String {
    machine.run(&["systemctl", "show", "callsign", "--property", "MainPID", "--value"]).trim().to_owned()
}

/// A machine with the service, which is not started yet.
fn machine(suite: &str, network: &Namespace) -> Booted {
    let mut machine = Booted::new(suite);
    machine.prepare(CONFIG, &config("10.10.1.3"));
    machine.prepare("/etc/systemd/system/callsign.service", SERVICE);
    machine.boot(network);
    machine
}

/// True if this kernel has Landlock: then a server of the test's own says that it is in force.
fn has_landlock() -> bool {
    let program = Program::with(&config("10.10.1.3").replace("[server]", "[server]\nport = 5399")).start();
    !program.wait_for(Source::Stderr, "confined").contains("landlock=\"none\"")
}

fn analyze(words: &[&str], root: &Path) -> Finished {
    let mut command = needs::command("systemd-analyze");
    command.args(words).arg(format!("--root={}", root.display())).env("SYSTEMD_COLORS", "0");
    run(command)
}

#[test]
fn the_units_are_valid_and_expose_little() {
    needs!("systemd-analyze");
    let root = tempfile::tempdir().unwrap();
    let system = root.path().join("etc/systemd/system");
    fs::create_dir_all(system.join("callsign.service.d")).unwrap();
    fs::write(system.join("callsign.service"), SERVICE).unwrap();
    fs::write(system.join("callsign.socket"), SOCKET).unwrap();
    // At most 1.7, in tenths.
    let service = analyze(&["security", "--offline=yes", "--threshold=17", "callsign.service"], root.path());
    assert!(service.status.success(), "{}", service.stdout);
    fs::write(system.join("callsign.service.d/socket.conf"), DROP_IN).unwrap();
    let sockets = analyze(&["security", "--offline=yes", "--threshold=12", "callsign.service"], root.path());
    assert!(sockets.status.success(), "{}", sockets.stdout);

    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/systemd");
    let units = ["callsign.service", "callsign.socket", "callsign-host.service"].map(|unit| directory.join(unit));
    let mut command = needs::command("systemd-analyze");
    command.args(["verify", "--man=no"]).args(units);
    let verified = run(command);
    // What is not installed on this machine is no mistake of the units.
    let mistakes: Vec<&str> = verified
        .stderr
        .lines()
        .filter(|line| !line.contains("is not executable: No such file or directory") && line.contains("callsign"))
        .collect();
    assert_eq!(mistakes, Vec::<&str>::new());
}

#[test]
fn it_starts_answers_reloads_and_restarts_as_a_user_of_its_own() {
    for suite in SUITES {
        needs_booted!(suite);
        let lab = Lab::new();
        let network = lab.host();
        let machine = machine(suite, network);
        machine.run(&["systemctl", "start", "callsign"]);
        assert_eq!(db(network), ["10.10.1.3"], "{suite}: it is ready when it answers");

        let status = fs::read_to_string(machine.file(&format!("/proc/{}/status", main_pid(&machine)))).unwrap();
        let (bind, none) = ("0000000000000400", "0000000000000000");
        for (name, value) in [
            ("CapEff", bind),
            ("CapPrm", bind),
            ("CapBnd", bind),
            ("CapAmb", none),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ] {
            assert!(status.contains(&format!("{name}:\t{value}\n")), "{suite}: {name} {value} in {status}");
        }
        let warnings =
            ["journalctl", "--unit", "callsign", "--priority", "warning", "--output", "cat", "--no-pager", "--quiet"];
        assert_eq!(machine.run(&warnings), "", "{suite}: the unit allows what the sandbox takes");
        assert!(!status.contains("Uid:\t0\t"), "{suite}: {status}");
        // Root finds the control socket, and what is added is kept in the state directory.
        let told = machine.run(&["callsign", "status"]);
        assert!(told.contains("all is well") && told.contains("cap_net_bind_service, no_new_privs"), "{suite}: {told}");
        // The unit allows the system calls that it takes.
        assert!(told.contains("no_new_privs, Landlock ") || !has_landlock(), "{suite}: {told}");
        machine.run(&["callsign", "name", "add", "legacy", "10.1.2.3", "--network", "shop", "--persist"]);
        assert!(machine.file("/var/lib/callsign/names-control.json").exists(), "{suite}");

        machine.write(CONFIG, &config("10.10.1.4"));
        machine.run(&["systemctl", "reload", "callsign"]);
        until(&machine, "reloaded", || db(network) == ["10.10.1.4"]);
        machine.run(&["systemctl", "restart", "callsign"]);
        assert_eq!(db(network), ["10.10.1.4"], "{suite}");
        let legacy = machine.run(&["callsign", "lookup", "legacy", &format!("@{ADDRESS}"), "--short"]);
        assert_eq!(legacy.trim(), "10.1.2.3", "{suite}: kept over a restart");

        // Priorities: what is said to be wrong is found by those who look for what is wrong.
        machine.write(CONFIG, "[server]\nprot = 53\n");
        until(&machine, "an error of priority 3", || {
            let errors = ["journalctl", "--unit", "callsign", "--priority", "3..3", "--output", "cat", "--no-pager"];
            machine.run(&errors).contains("unknown key `prot`")
        });
        assert_eq!(db(network), ["10.10.1.4"], "{suite}: a mistake changes nothing");
        let state = machine.run(&["systemctl", "show", "callsign", "--property", "StatusText"]);
        assert!(state.contains("unknown key `prot`"), "{suite}: {state}");
    }
}

/// host.md Z3: the reason stays in sight, and is not hidden by the limit of restarts.
#[test]
fn a_mistake_in_the_file_is_78_and_not_tried_again() {
    for suite in SUITES {
        needs_booted!(suite);
        let lab = Lab::new();
        let machine = machine(suite, lab.host());
        machine.write(CONFIG, "[server]\nprot = 53\n");
        assert!(!machine.try_run(&["systemctl", "start", "callsign"]).status.success());
        // RestartSec is a second; a restart would have been scheduled at once.
        let shown = properties(&machine, "Result,ExecMainStatus,NRestarts,ActiveState");
        for line in ["Result=exit-code", "ExecMainStatus=78", "NRestarts=0", "ActiveState=failed"] {
            assert!(shown.lines().any(|shown| shown == line), "{suite}: {shown}");
        }
        let told = machine.try_run(&["systemctl", "status", "callsign"]).stdout;
        assert!(told.contains("callsign.toml:2: unknown key `prot`; did you mean `port`?"), "{suite}: {told}");
    }
}

#[test]
fn with_the_socket_unit_it_has_no_capability_and_loses_no_query_over_a_restart() {
    for suite in SUITES {
        needs_booted!(suite);
        let lab = Lab::new();
        let network = lab.host();
        let mut machine = Booted::new(suite);
        machine.prepare(CONFIG, &config("10.10.1.3"));
        machine.prepare("/etc/systemd/system/callsign.service", SERVICE);
        machine.prepare("/etc/systemd/system/callsign.socket", SOCKET);
        machine.prepare("/etc/systemd/system/callsign.service.d/socket.conf", DROP_IN);
        machine.boot(network);
        machine.run(&["systemctl", "start", "callsign.socket"]);
        machine.run(&["systemctl", "start", "callsign.service"]);
        assert_eq!(db(network), ["10.10.1.3"], "{suite}");
        let before = main_pid(&machine);
        let status = fs::read_to_string(machine.file(&format!("/proc/{before}/status"))).unwrap();
        for set in ["CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert!(status.contains(&format!("{set}:\t0000000000000000")), "{suite}: {status}");
        }

        let is_restarted = AtomicBool::new(false);
        let (asked, answered) = thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let (mut asked, mut answered) = (0, 0);
                // From before the restart until after it.
                while asked < 40 || !is_restarted.load(Ordering::Relaxed) {
                    asked += 1;
                    answered += usize::from(db(network) == ["10.10.1.3"]);
                    thread::sleep(Duration::from_millis(10));
                }
                (asked, answered)
            });
            machine.run(&["systemctl", "restart", "callsign.service"]);
            is_restarted.store(true, Ordering::Relaxed);
            asking.join().unwrap()
        });
        assert_eq!(answered, asked, "{suite}");
        assert_ne!(main_pid(&machine), before, "{suite}");
    }
}

#[test]
fn a_server_that_is_stuck_is_started_again_by_the_watchdog() {
    let suite = "bookworm";
    needs_booted!(suite);
    let lab = Lab::new();
    let network = lab.host();
    let mut machine = Booted::new(suite);
    machine.prepare(CONFIG, &config("10.10.1.3"));
    machine.prepare("/etc/systemd/system/callsign.service", SERVICE);
    machine.prepare("/etc/systemd/system/callsign.service.d/watchdog.conf", "[Service]\nWatchdogSec=2s\n");
    machine.boot(network);
    machine.run(&["systemctl", "start", "callsign"]);
    let before = main_pid(&machine);
    machine.run(&["bash", "-c", &format!("kill -STOP {before}")]);
    until(&machine, "started again", || {
        let now = main_pid(&machine);
        now != before && now != "0" && properties(&machine, "ActiveState").trim() == "ActiveState=active"
    });
    assert_eq!(db(network), ["10.10.1.3"]);
    let log = machine.run(&["journalctl", "--unit", "callsign", "--output", "cat", "--no-pager"]);
    assert!(log.contains("Watchdog timeout"), "{log}");
}
