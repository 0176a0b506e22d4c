//! Clients of the control socket and of the metrics that mean no good: DNS is answered meanwhile, and memory is bounded.

use std::io;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::thread;
use std::time::{Duration, Instant};

use super::support::process::Process;
use super::support::program::CALLSIGN;
use super::*;

/// The user who is nobody.
const NOBODY: u32 = 65_534;

fn is_closed(stream: &mut UnixStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let read = stream.read(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    match read {
        Ok(len) => len == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

#[test]
fn a_thousand_half_open_connections_keep_nobody_out() {
    let (program, port) = started("[metrics]\nlisten = \"127.0.0.1:0\"\n");
    let metrics = metrics(&program);
    let before = program.resident_kib();
    let mut half: Vec<UnixStream> = Vec::new();
    let mut scrapes: Vec<TcpStream> = Vec::new();
    for _ in 0..1000 {
        let mut stream = UnixStream::connect(program.control()).unwrap();
        // One that gave way already takes nothing.
        let _ = stream.write_all(b"GET /v1/status HTTP/1.1\r\nx-");
        half.push(stream);
        let mut scrape = TcpStream::connect(metrics).unwrap();
        let _ = scrape.write_all(b"GET /metrics HTT");
        scrapes.push(scrape);
    }
    assert_eq!(addresses(port, "db"), ["10.10.1.3"]);
    assert_eq!(get(&program.control(), "/v1/upstreams")["api"], 1);
    assert!(scraped(metrics, "/metrics").1.contains("callsign_build_info"));
    let open = half.iter_mut().map(is_closed).filter(|is_closed| !is_closed).count();
    assert!(open <= 64, "{open} connections");
    let grown = program.resident_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more");
    // They are not waited for for ever.
    let deadline = Instant::now() + DEADLINE;
    while !half.iter_mut().all(is_closed) {
        assert!(Instant::now() < deadline, "half a request is waited for for ever");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn huge_requests_are_refused() {
    let (program, port) = started("");
    let connect = || {
        let stream = UnixStream::connect(program.control()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    };
    // A body over the limit, said to be so and not; and a head without an end.
    let mut stream = connect();
    stream
        .write_all(b"POST /v1/added HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n")
        .unwrap();
    let chunk = [b"10000\r\n", &[b'x'; 0x10000][..], b"\r\n"].concat();
    // It may be refused before all of it is taken.
    let sent = (0..64).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    let mut reply = String::new();
    let _ = stream.read_to_string(&mut reply);
    assert!(reply.starts_with("HTTP/1.1 413") || sent < 64, "{reply:?} after {sent} chunks");
    let mut stream = connect();
    stream.write_all(b"GET /v1/status HTTP/1.1\r\n").unwrap();
    let line = format!("x-filler: {}\r\n", "y".repeat(1000));
    let sent = (0..10_000).take_while(|_| stream.write_all(line.as_bytes()).is_ok()).count();
    assert!(sent < 10_000, "ten megabytes of headers were taken");
    assert_eq!(addresses(port, "db"), ["10.10.1.3"]);
    assert!(program.resident_kib() < 100 * 1024, "{} KiB", program.resident_kib());
}

#[test]
fn a_watcher_that_never_reads_stops_nobody() {
    let (program, port) = started("");
    let mut lazy = UnixStream::connect(program.control()).unwrap();
    lazy.write_all(b"GET /v1/watch HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let (client, query) = (Client::new(at(port)), Query::new("db", rtype::A));
    let ask = || (0..10_000).for_each(|_| assert_eq!(client.udp(&query).addresses().len(), 1));
    ask();
    let before = program.resident_kib();
    ask();
    let grown = program.resident_kib().saturating_sub(before);
    assert!(grown < 4 * 1024, "{grown} KiB more");
    assert_eq!(get(&program.control(), "/v1/upstreams")["api"], 1);
    drop(lazy);
}

#[test]
fn whoever_may_open_the_socket_may_look_and_not_more() {
    crate::needs_root!();
    let (program, port) = started("");
    let as_nobody = |words: &[&str]| {
        let mut command = std::process::Command::new(CALLSIGN);
        command.args(words).arg("--socket").arg(program.control()).uid(NOBODY).gid(NOBODY);
        let mut process = Process::spawn(command);
        let status = process.wait_exit(DEADLINE);
        (status.code(), format!("{process:?}"))
    };
    let (code, said) = as_nobody(&["status"]);
    assert!(code == Some(1) && said.contains("may not be opened"), "{said}");
    // As somebody opens it to all by hand, or mounts it into a container.
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(program.directory(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(program.control(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let (code, said) = as_nobody(&["names"]);
    assert!(code == Some(0) && said.contains("shop-db-1"), "{said}");
    for words in [
        &["name", "add", "evil", "6.6.6.6", "--network", "shop"][..],
        &["name", "remove", "db"],
        &["cache", "flush", "--all"],
        &["reload"],
        &["log", "trace"],
    ] {
        let (code, said) = as_nobody(words);
        assert!(code == Some(1) && said.contains("may only read; changes need root"), "{said}");
    }
    assert!(addresses(port, "evil").is_empty());
}

#[test]
fn a_member_of_the_control_group_may_change_things_by_a_supplementary_group_too() {
    crate::needs_root!();
    // A group that every Debian has, and that nobody's account is in.
    let (program, port) = started("[control]\ncontrol_group = \"games\"\n");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(program.directory(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let socket = program.control();
    let change = |groups: &str| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", groups, CALLSIGN, "name", "add", "new", "10.9.9.9"]);
        command.args(["--network", "shop", "--socket", socket.to_str().unwrap()]);
        run(command)
    };
    let stranger = change("--clear-groups");
    assert!(stranger.stderr.contains("may not be opened"), "{stranger:?}");
    assert!(addresses(port, "new").is_empty());
    let member = change("--groups=60");
    assert_eq!(member.status.code(), Some(0), "{member:?}");
    assert_eq!(addresses(port, "new"), ["10.9.9.9"]);
}

/// Connections to which a request was sent whose answer nobody reads.
fn asking<S: Write>(count: usize, connect: impl Fn() -> S, request: &str) -> Vec<S> {
    let ask = |_| {
        let mut stream = connect();
        write!(stream, "GET {request} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        stream
    };
    (0..count).map(ask).collect()
}

#[test]
fn whoever_asks_much_of_the_page_takes_neither_metrics_nor_health_away() {
    // It takes every query, and answers none.
    let silent = std::net::UdpSocket::bind((LOCAL, 0)).unwrap();
    let port = free_port(&[LOCAL, "127.0.0.2".parse().unwrap()]);
    let config = config(port, "[metrics]\nlisten = \"127.0.0.1:0\"\n");
    let upstream = silent.local_addr().unwrap().to_string();
    let program = Program::with(&config.replace("127.0.0.66:1", &upstream)).start();
    let metrics = metrics(&program);
    let connect = || TcpStream::connect(metrics).unwrap();
    let slow = asking(64, connect, "/v1/explain?name=slow.example.com&from=web&ask=1");
    let watching = asking(64, connect, "/v1/watch");
    for _ in 0..6 {
        // Each of them is the newest of more connections than there may be.
        let states = asking(16, connect, "/v1/status");
        assert_eq!(scraped(metrics, "/health"), (200, "ok\n".to_owned()));
        assert!(scraped(metrics, "/metrics").1.contains("callsign_build_info"));
        drop(states);
    }
    // The first of them may have ended meanwhile.
    let more = asking(64, connect, "/v1/explain?name=slow.example.com&from=web&ask=1");
    let (status, busy) = scraped(metrics, "/v1/explain?name=other.example.com&from=web&ask=1");
    assert!(status == 503 && busy.contains("the server is busy: 16 "), "{status} {busy}");
    // Who does not want it to ask waits for nobody.
    let plain = "GET /v1/explain?name=other.example.com&from=web&ask=false HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert_eq!(exchange(connect(), plain).0, 200);
    drop((slow, watching, more));
}

#[test]
fn watchers_do_not_lock_out_who_may_change_things() {
    let (program, _port) = started("");
    let watching = asking(70, || UnixStream::connect(program.control()).unwrap(), "/v1/watch");
    let (code, status) = command(&program, "status");
    assert_eq!(code, Some(0), "{status:?}");
    let (code, reload) = command(&program, "reload");
    assert_eq!(code, Some(0), "{reload:?}");
    let (code, late) = command(&program, "watch");
    assert_eq!(code, Some(1));
    let busy = "callsign: the server is busy: 32 clients are watching queries, and no more may; try again later\n";
    assert_eq!(late.stderr, busy);
    // The same as a look without its text.
    let head = "HEAD /v1/upstreams HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert_eq!(exchange(UnixStream::connect(program.control()).unwrap(), head), (200, String::new()));
    drop(watching);
}

/// Where the program serves its metrics.
pub(crate) fn metrics(program: &Program) -> SocketAddr {
    let line = program.wait_for(super::support::process::Source::Stderr, "metrics, health and readiness");
    let (_, address) = line.split_once("address=").unwrap();
    address.trim().parse().unwrap()
}

/// What is served there.
pub(crate) fn scraped(metrics: SocketAddr, path: &str) -> (u16, String) {
    let stream = TcpStream::connect(metrics).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    exchange(stream, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
}
