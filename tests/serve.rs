//! `callsign serve` from its start to its end: readiness, logs, ready-made sockets, limits, and a stop in time.

mod support;

use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use callsign::wire::rtype;
use nix::sys::signal::Signal;
use serde_json::Value;
use support::client::{Client, Query, Reply};
use support::process::{Process, Source, run};
use support::program::{CALLSIGN, Program, callsign};
use support::sockets::listening;
use support::upstream::{Act, Gate, Scripted, a};
use support::{DEADLINE, free_port, needs};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// One network at 127.0.0.1, with a db.
fn config(port: u16, upstream: &str) -> String {
    format!(
        "[server]\nport = {port}\nupstreams = [\"{upstream}\"]\n\
         [[network]]\nname = \"shop\"\nlisten = [\"127.0.0.1\"]\ndomains = [\"internal\"]\n\
         endpoint = [{{ id = \"db-1\", names = [\"db\"], addresses = [\"10.10.1.3\"] }}]\n"
    )
}

/// A configuration of which nothing is forwarded.
fn local(port: u16) -> String {
    config(port, "127.0.0.66:1")
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::new(LOCAL, port)
}

#[track_caller]
fn assert_serves(port: u16) {
    for reply in
        [Client::new(at(port)).udp(&Query::new("db", rtype::A)), Client::new(at(port)).tcp(&Query::new("db", rtype::A))]
    {
        assert_eq!(reply.addresses(), ["10.10.1.3".parse::<IpAddr>().unwrap()]);
    }
}

#[test]
fn it_tells_when_it_is_ready_and_what_it_serves() {
    let port = free_port(&[LOCAL]);
    let mut program = Program::with(&local(port)).start();
    assert_serves(port);
    program.wait_for(Source::Notify, "STATUS=Listening on 1 address");
    let started = program.wait_for(Source::Stderr, "callsign starts");
    assert!(started.contains(concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"")), "{started}");
    let network = program.wait_for(Source::Stderr, "network is served");
    assert!(network.contains(&format!("network=\"shop\" listen=\"127.0.0.1:{port}\" endpoints=1")), "{network}");
    program.signal(Signal::SIGINT);
    assert!(program.wait_exit(Duration::from_secs(1)).success());
    program.wait_for(Source::Notify, "STOPPING=1");
    assert_eq!(program.lines(Source::Stdout), Vec::<String>::new(), "logs go to standard error");
}

#[test]
fn logs_for_machines_are_one_json_object_a_line() {
    let port = free_port(&[LOCAL]);
    let mut program = Program::with(&local(port)).arguments(&["--log-format", "json", "--log-level", "debug"]).start();
    assert_serves(port);
    program.signal(Signal::SIGTERM);
    assert!(program.wait_exit(DEADLINE).success());
    let lines: Vec<Value> =
        program.lines(Source::Stderr).iter().map(|line| serde_json::from_str(line).expect(line)).collect();
    let network = lines.iter().find(|line| line["message"] == "network is served").unwrap();
    assert_eq!((&network["network"], &network["level"]), (&"shop".into(), &"INFO".into()));
    assert!(lines.iter().any(|line| line["level"] == "DEBUG"));
}

#[test]
fn the_environment_sets_the_level_and_the_argument_wins() {
    let port = free_port(&[LOCAL]);
    let program = Program::with(&local(port)).environment("RUST_LOG", "warn").start();
    assert_eq!(program.lines(Source::Stderr), Vec::<String>::new());
    drop(program);
    let program =
        Program::with(&local(port)).environment("RUST_LOG", "warn").arguments(&["--log-level", "info"]).start();
    program.wait_for(Source::Stderr, "network is served");
}

#[test]
fn a_bad_file_at_the_start_is_told_and_ends_with_78() {
    let mut program = Program::with("[server]\nprot = 5\ntimeout = 0\n").spawn();
    assert_eq!(program.wait_exit(DEADLINE).code(), Some(78));
    program.wait_for(Source::Stderr, "callsign.toml:2: unknown key `prot`; did you mean `port`?");
    program.wait_for(Source::Stderr, "callsign.toml:3: `timeout` is 0; write seconds, from 0.001 to 3600");
    let gone = run(callsign(&["serve", "--config", "/nonexistent/callsign.toml"]));
    assert_eq!(gone.status.code(), Some(78));
    assert!(gone.stderr.contains("/nonexistent/callsign.toml: cannot be read"), "{}", gone.stderr);
}

/// systemd sets the variable for whatever it starts, and children inherit it.
#[test]
fn lines_have_priorities_only_where_standard_error_is_the_journal() {
    let port = free_port(&[LOCAL]);
    let program = Program::with(&local(port)).environment("JOURNAL_STREAM", "8:12345").start();
    let line = program.wait_for(Source::Stderr, "network is served");
    assert!(line.starts_with("20") && line.contains(" INFO "), "{line}");
}

#[test]
fn a_watchdog_hears_of_it_again_and_again() {
    let port = free_port(&[LOCAL]);
    let program = Program::with(&local(port)).environment("WATCHDOG_USEC", "20000").start();
    for _ in 0..3 {
        let mark = program.mark();
        program.wait_after(mark, Source::Notify, "WATCHDOG=1");
    }
    drop(program);
    // That of another process, which was inherited.
    let other =
        Program::with(&local(port)).environment("WATCHDOG_USEC", "20000").environment("WATCHDOG_PID", "1").start();
    assert_serves(port);
    assert!(!other.lines(Source::Notify).contains(&"WATCHDOG=1".to_owned()));
}

#[test]
fn without_a_network_it_waits_for_one() {
    let port = free_port(&[LOCAL]);
    let program = Program::with("# None as yet.\n").start();
    program.wait_for(Source::Stderr, "there is no network: nothing is answered until the file has one");
    program.reload_by_change(&local(port));
    assert_serves(port);
}

#[test]
fn an_empty_file_at_the_start_is_an_error() {
    let mut program = Program::with("\n").spawn();
    assert_eq!(program.wait_exit(DEADLINE).code(), Some(78));
    program.wait_for(Source::Stderr, "callsign.toml: the file is empty, and is not used; write [[network]]");
}

#[test]
fn the_file_is_named_with_or_without_an_option() {
    let port = free_port(&[LOCAL]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("callsign.toml");
    fs::write(&path, local(port)).unwrap();
    for words in [&["serve"][..], &["serve", "-c"], &["serve", "--config"]] {
        let mut command = callsign(words);
        command.arg(&path);
        let process = Process::spawn(command);
        process.wait_for(Source::Stderr, "network is served");
        assert_serves(port);
    }
    let process = Process::spawn_with_input(callsign(&["serve", "-"]), &local(port));
    process.wait_for(Source::Stderr, "network is served");
    assert_serves(port);
}

#[test]
fn a_misspelt_level_is_an_error_that_names_the_levels() {
    let port = free_port(&[LOCAL]);
    let says = |level: &str| format!("{level:?} is not a level; write error, warn, info, debug or trace");
    for (level, word) in [("loud", "loud"), ("info,callsign=debgu", "debgu"), ("", "")] {
        let mut program = Program::with(&local(port)).arguments(&["--log-level", level]).spawn();
        assert_eq!(program.wait_exit(DEADLINE).code(), Some(2));
        program.wait_for(Source::Stderr, &says(word));
    }
    let mut program = Program::with(&local(port)).environment("RUST_LOG", "debgu").spawn();
    assert_eq!(program.wait_exit(DEADLINE).code(), Some(2));
    assert_eq!(program.lines(Source::Stderr), [format!("callsign: RUST_LOG \"debgu\": {}", says("debgu"))]);
}

#[test]
fn a_start_that_fails_says_why_at_every_level() {
    for level in ["off", "error", "callsign::forward=trace", "trace"] {
        let mut program = Program::with("[server]\nprot = 5\n").arguments(&["--log-level", level]).spawn();
        assert_eq!(program.wait_exit(DEADLINE).code(), Some(78), "an invalid configuration");
        let lines = program.lines(Source::Stderr);
        assert_eq!(lines.iter().filter(|line| line.contains("unknown key `prot`")).count(), 1, "{level}: {lines:?}");
    }
}

#[test]
fn a_port_in_use_is_told_with_who_has_it_and_taken_when_it_is_free() {
    let port = free_port(&[LOCAL]);
    let other = UdpSocket::bind(at(port)).unwrap();
    let program = Program::with(&local(port)).spawn();
    let told = program.wait_for(Source::Stderr, "cannot listen; trying again");
    let name = fs::read_to_string("/proc/self/comm").unwrap();
    let who = format!("{} (pid {}) has UDP port {port}; stop it, or listen on", name.trim_end(), std::process::id());
    assert!(told.contains("ERROR") && told.contains(&who) && told.contains("`ss -lunp` lists all"), "{told}");
    program.wait_for(Source::Notify, "STATUS=Listening on 0 addresses; 1 socket could not be bound");
    let reply = Client::new(at(port)).tcp(&Query::new("db", rtype::A));
    assert_eq!(reply.status(), "NOERROR", "what could be bound is served");
    let mark = program.mark();
    drop(other);
    program.wait_for(Source::Stderr, "listening, after");
    program.wait_after(mark, Source::Notify, "STATUS=Listening on 1 address");
    assert_serves(port);
}

/// What could be bound is served, but TCP alone answers no stub resolver.
#[test]
fn it_is_not_ready_before_udp_is_bound_and_is_without_tcp() {
    let port = free_port(&[LOCAL]);
    let udp = UdpSocket::bind(at(port)).unwrap();
    let program = Program::with(&local(port)).spawn();
    program.wait_for(Source::Notify, "STATUS=Listening on 0 addresses; 1 socket could not be bound");
    assert_eq!(Client::new(at(port)).tcp(&Query::new("db", rtype::A)).status(), "NOERROR");
    assert!(!program.lines(Source::Notify).contains(&"READY=1".to_owned()));
    drop(udp);
    program.wait_for(Source::Notify, "READY=1");
    assert_serves(port);

    let port = free_port(&[LOCAL]);
    let _tcp = TcpListener::bind(at(port)).unwrap();
    let program = Program::with(&local(port)).start();
    program.wait_for(Source::Notify, "STATUS=Listening on 1 address; 1 socket could not be bound");
}

#[test]
fn it_is_ready_once_something_listens() {
    let port = free_port(&[LOCAL]);
    let (udp, tcp) = (UdpSocket::bind(at(port)).unwrap(), TcpListener::bind(at(port)).unwrap());
    let program = Program::with(&local(port)).spawn();
    program.wait_for(Source::Notify, "STATUS=Listening on 0 addresses; 2 sockets could not be bound");
    // A reload in between makes it no readier.
    let mark = program.mark();
    program.signal(Signal::SIGHUP);
    program.wait_after(mark, Source::Stderr, "reloaded: nothing changed");
    program.wait_after(mark, Source::Notify, "STATUS=Listening on 0 addresses");
    let notified = program.lines(Source::Notify);
    assert!(!notified.iter().any(|line| line == "READY=1" || line == "RELOADING=1"), "{notified:?}");
    drop((udp, tcp));
    program.wait_for(Source::Notify, "READY=1");
    assert_serves(port);
}

#[test]
fn require_listen_makes_a_port_in_use_the_end_of_the_start() {
    let port = free_port(&[LOCAL]);
    let other = TcpListener::bind(at(port)).unwrap();
    let mut program = Program::with(&local(port)).arguments(&["--require-listen"]).spawn();
    assert_eq!(program.wait_exit(DEADLINE).code(), Some(1));
    program.wait_for(
        Source::Stderr,
        &format!("--require-listen: shop: tcp 127.0.0.1:{port} not listening: Address already in use"),
    );
    assert!(!program.lines(Source::Notify).contains(&"READY=1".to_owned()));
    drop(other);
    Program::with(&local(port)).arguments(&["--require-listen"]).start();
}

#[test]
fn a_listen_address_that_stays_on_no_interface_is_told_once() {
    let port = free_port(&[LOCAL]);
    // TEST-NET-1 (RFC 5737); and 127.0.0.1, which is there.
    let config = local(port).replace("listen = [\"127.0.0.1\"]", "listen = [\"127.0.0.1\", \"192.0.2.77\"]");
    let program = Program::with(&config).start();
    program.wait_for(Source::Stderr, "network is served");
    assert!(!program.lines(Source::Stderr).iter().any(|line| line.contains("WARN")), "bridges come later: {program:?}");
    let told = program.wait_for(Source::Stderr, "the listen address is on no interface after 10 s");
    assert!(told.contains("WARN") && told.contains(&format!("address=192.0.2.77:{port}")), "{told}");
    // The other transport has had its time too, by the next reload.
    program.reload_by_signal();
    let lines = program.lines(Source::Stderr);
    assert_eq!(lines.iter().filter(|line| line.contains("on no interface")).count(), 1, "{lines:?}");
}

#[test]
fn the_limit_of_open_files_is_raised_as_far_as_it_may_be() {
    let port = free_port(&[LOCAL]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("callsign.toml");
    fs::write(&path, local(port)).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -S -n 200; ulimit -H -n 700; exec \"$0\" serve --config \"$1\"", CALLSIGN]).arg(&path);
    let process = Process::spawn(command);
    process.wait_for(Source::Stderr, "network is served");
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["700", "700"]);
}

/// A program that makes sockets as a service manager does, tells which, and becomes the program under test.
const ACTIVATE: &str = r#"
import os, socket, sys
port, path, program = int(sys.argv[1]), sys.argv[2], sys.argv[3]
sockets = []
for kind, address in (socket.SOCK_DGRAM, "127.0.0.1"), (socket.SOCK_STREAM, "127.0.0.1"), (socket.SOCK_DGRAM, "127.0.0.9"):
    one = socket.socket(socket.AF_INET, kind)
    one.bind((address, port))
    if kind == socket.SOCK_STREAM:
        one.listen()
    sockets.append(os.fdopen(os.dup(one.fileno()), "rb", closefd=False).fileno())
# Out of the way of the places that they go to.
high = [os.dup2(one, 50 + index) for index, one in enumerate(sockets)]
for index, one in enumerate(high):
    os.dup2(one, 3 + index, inheritable=True)
print(" ".join(str(os.fstat(3 + index).st_ino) for index in range(2)), flush=True)
os.environ.update(LISTEN_FDS="3", LISTEN_PID=str(os.getpid()))
os.execv(program, [program, "serve", "--config", path])
"#;

#[test]
fn sockets_of_a_service_manager_are_used() {
    needs!("python3");
    let port = free_port(&[LOCAL, "127.0.0.9".parse().unwrap()]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("callsign.toml");
    fs::write(&path, local(port)).unwrap();
    let mut command = needs::command("python3");
    command.args(["-c", ACTIVATE, &port.to_string()]).arg(&path).arg(CALLSIGN);
    let process = Process::spawn(command);
    process.wait_for(Source::Stderr, "network is served");
    let unused = process.wait_for(Source::Stderr, "no network listens on the address of this socket");
    assert!(unused.contains(&format!("address=127.0.0.9:{port} transport=\"UDP\"")), "{unused}");
    assert_serves(port);
    // Those that were handed in, and no others beside them.
    let handed = process.lines(Source::Stdout).concat();
    let own = listening(process.pid(), at(port));
    assert_eq!(own.join(" "), handed);
}

#[test]
fn a_stop_answers_what_was_asked_and_takes_less_than_a_second() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let gate = Gate::closed();
    let held = gate.clone();
    let upstream = runtime
        .block_on(Scripted::start(move |query| vec![Act::Wait(held.clone()), query.answer(&[a([192, 0, 2, 1])])]));
    let port = free_port(&[LOCAL]);
    let mut program = Program::with(&config(port, &upstream.address().to_string())).start();
    // Over UDP and TCP, and a connection that asks nothing.
    let query = Query::new("www.example", rtype::A);
    let udp = Client::new(at(port)).udp_socket().unwrap();
    udp.send(&query.bytes()).unwrap();
    let mut tcp = Client::new(at(port)).connect().unwrap();
    tcp.send(&query.bytes()).unwrap();
    let _idle = Client::new(at(port)).connect().unwrap();
    runtime.block_on(upstream.query(1));

    let begin = Instant::now();
    program.signal(Signal::SIGTERM);
    program.wait_for(Source::Notify, "STOPPING=1");
    gate.open();
    let mut buffer = [0; 512];
    let len = udp.recv(&mut buffer).unwrap();
    assert_eq!(Reply::new(buffer[..len].to_vec()).answers().len(), 1);
    assert_eq!(Reply::new(tcp.receive().unwrap()).answers().len(), 1);
    assert!(program.wait_exit(DEADLINE).success());
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}: {program:?}", begin.elapsed());
    program.wait_for(Source::Stderr, "stopped");
    let _runtime = runtime.enter();
    drop(upstream);
}

#[test]
fn a_stop_does_not_wait_for_an_upstream_that_says_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let upstream = runtime.block_on(Scripted::silent());
    let port = free_port(&[LOCAL]);
    let mut program = Program::with(&config(port, &upstream.address().to_string())).start();
    Client::new(at(port)).udp_socket().unwrap().send(&Query::new("www.example", rtype::A).bytes()).unwrap();
    let mut idle = std::net::TcpStream::connect(at(port)).unwrap();
    runtime.block_on(upstream.query(0));
    let begin = Instant::now();
    program.signal(Signal::SIGTERM);
    assert!(program.wait_exit(DEADLINE).success());
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}: {program:?}", begin.elapsed());
    idle.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(idle.read(&mut [0; 1]).unwrap_or(0), 0, "idle connections are closed");
    let _runtime = runtime.enter();
    drop(upstream);
}

#[test]
fn a_second_signal_stops_at_once() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let upstream = runtime.block_on(Scripted::silent());
    let port = free_port(&[LOCAL]);
    let mut program = Program::with(&config(port, &upstream.address().to_string())).start();
    Client::new(at(port)).udp_socket().unwrap().send(&Query::new("www.example", rtype::A).bytes()).unwrap();
    runtime.block_on(upstream.query(0));
    program.signal(Signal::SIGTERM);
    program.wait_for(Source::Notify, "STOPPING=1");
    program.signal(Signal::SIGINT);
    assert!(program.wait_exit(DEADLINE).success());
    program.wait_for(Source::Stderr, "stopped at once");
    let _runtime = runtime.enter();
    drop(upstream);
}
