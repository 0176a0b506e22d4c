//! dnstap: what readers get of it, Debian's and one of the tests' own, and that none of them slows the server.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::hostile::{metrics, scraped};
use super::support::needs;
use super::support::process::Process;
use super::upstreams::{started_with, two};
use super::*;

fn setting(target: &str) -> String {
    format!("[log]\ndnstap = \"{target}\"\n")
}

/// Waits until `status` says of dnstap what it is to say.
#[track_caller]
fn until(program: &Program, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let status = get(&program.control(), "/v1/status");
        if is_so(&status["dnstap"]) {
            return status;
        }
        assert!(Instant::now() < deadline, "{}", status["dnstap"]);
        thread::sleep(Duration::from_millis(20));
    }
}

fn is_connected(dnstap: &Value) -> bool {
    dnstap["connected"] == true
}

/// A reader's end of a frame stream, after its handshake.
struct Reader<S>(S);

impl<S: Read + Write> Reader<S> {
    fn accept(mut stream: S) -> Reader<S> {
        let ready = control(&mut stream);
        assert_eq!(ready, [&[0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 22][..], b"protobuf:dnstap.Dnstap"].concat());
        // ACCEPT, of the same content.
        let accept = [&[0, 0, 0, 0, 0, 0, 0, 34, 0, 0, 0, 1][..], &ready[4..]].concat();
        stream.write_all(&accept).unwrap();
        assert_eq!(control(&mut stream)[..4], [0, 0, 0, 2], "START");
        Reader(stream)
    }

    /// The next frame.
    fn frame(&mut self) -> Vec<u8> {
        framed(&mut self.0)
    }
}

fn framed(stream: &mut impl Read) -> Vec<u8> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut frame).unwrap();
    frame
}

fn control(stream: &mut impl Read) -> Vec<u8> {
    assert_eq!(framed(stream), b"", "no control frame");
    framed(stream)
}

fn contains(frame: &[u8], text: &[u8]) -> bool {
    frame.windows(text.len()).any(|window| window == text)
}

/// Debian's capture, listening.
fn capture(directory: &Path) -> (Process, PathBuf, PathBuf) {
    let (socket, file) = (directory.join("dnstap.sock"), directory.join("dnstap.fstrm"));
    let mut command = Command::new(needs::path("fstrm_capture"));
    command.args(["-t", "protobuf:dnstap.Dnstap", "-u"]).arg(&socket).arg("-w").arg(&file);
    let process = Process::spawn(command);
    let deadline = Instant::now() + DEADLINE;
    while !socket.exists() {
        assert!(Instant::now() < deadline, "{process:?}");
        thread::sleep(Duration::from_millis(10));
    }
    (process, socket, file)
}

#[test]
fn debians_readers_understand_what_is_written() {
    crate::needs!("fstrm_capture", "dnstap-ldns");
    let directory = tempfile::tempdir().unwrap();
    let (mut capture, socket, file) = capture(directory.path());
    let upstreams = two();
    let (mut program, port) = started_with(&upstreams, &setting(&format!("unix:{}", socket.display())));
    until(&program, is_connected);
    addresses(port, "db");
    Client::new(at(port)).tcp(&Query::new("web", rtype::A));
    assert_eq!(addresses(port, "www.example"), ["192.0.2.1"]);
    program.signal(Signal::SIGTERM);
    assert!(program.wait_exit(DEADLINE).success());
    capture.signal(Signal::SIGTERM);
    assert!(capture.wait_exit(DEADLINE).success(), "{capture:?}");

    let mut reader = Command::new(needs::path("dnstap-ldns"));
    reader.arg("-y").arg("-r").arg(&file);
    let text = run(reader).expect_success().stdout;
    let messages: Vec<&str> = text.split("---\n").filter(|message| !message.trim().is_empty()).collect();
    let find = |kind: &str, name: &str| -> &str {
        let is_it = |message: &&&str| {
            message.contains(&format!("  type: {kind}\n"))
                && message.contains(&format!(";; QUESTION SECTION:\n    ;{name}."))
        };
        messages.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} of {name} in {text}"))
    };
    let query = find("CLIENT_QUERY", "db");
    for line in [
        "version: \"callsign 0.1.0\"",
        "  query_time: !!timestamp ",
        "  socket_family: INET",
        "  socket_protocol: UDP",
        "  query_address: \"127.0.0.1\"",
        "  response_address: \"127.0.0.1\"",
        &format!("  response_port: {port}"),
    ] {
        assert!(query.contains(line), "{line} is not in {query}");
    }
    let reply = find("CLIENT_RESPONSE", "db");
    assert!(reply.contains("  response_time: !!timestamp ") && reply.contains("\t10.10.1.3"), "{reply}");
    assert!(find("CLIENT_RESPONSE", "web").contains("  socket_protocol: TCP\n"));
    // Both were asked, and both replies are there, each with its server.
    let of = |kind: &str, port: u16| {
        let port = format!("  response_port: {port}\n");
        messages.iter().any(|message| message.contains(&format!("  type: {kind}\n")) && message.contains(&port))
    };
    for port in [upstreams.refusing.port(), upstreams.answering.port()] {
        assert!(of("FORWARDER_QUERY", port) && of("FORWARDER_RESPONSE", port), "{port} in {text}");
    }
    let mut answers = messages.iter().filter(|message| message.contains("  type: FORWARDER_RESPONSE\n"));
    let answering = format!("  response_port: {}\n", upstreams.answering.port());
    assert!(answers.any(|message| message.contains("\t192.0.2.1") && message.contains(&answering)), "{text}");
}

#[test]
fn readers_over_tcp_come_and_go() {
    let listener = TcpListener::bind((LOCAL, 0)).unwrap();
    let target = format!("tcp:{}", listener.local_addr().unwrap());
    let (program, port) = started(&setting(&target));
    let mut reader = Reader::accept(listener.accept().unwrap().0);
    addresses(port, "db");
    // The query is the first message, and the reply the next.
    let frames = [reader.frame(), reader.frame()];
    assert!(frames.iter().all(|frame| contains(frame, b"\x02db\0")), "{frames:?}");
    assert!(!contains(&frames[0], &[10, 10, 1, 3]) && contains(&frames[1], &[10, 10, 1, 3]), "{frames:?}");
    // It is missed when it goes, and found again when it is back.
    drop(reader);
    let status = until(&program, |dnstap| dnstap["connected"] == false && dnstap["error"].is_string());
    assert!(status["problems"].to_string().contains(&format!("dnstap has no reader at {target}: ")), "{status}");
    let mut reader = Reader::accept(listener.accept().unwrap().0);
    until(&program, is_connected);
    addresses(port, "web");
    while !contains(&reader.frame(), &[10, 10, 1, 2]) {}
    // Nothing is written any more, and the reader is told so, once it is not wanted.
    program.reload_by_change(&config(port, ""));
    assert_eq!(control(&mut reader.0), [0, 0, 0, 3], "STOP");
    reader.0.write_all(&[0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 5]).unwrap();
    assert_eq!(reader.0.read(&mut [0]).unwrap(), 0);
    assert!(get(&program.control(), "/v1/status")["dnstap"].is_null());
}

#[test]
fn a_reader_that_stalls_slows_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dnstap.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let target = format!("unix:{}", path.display());
    let (program, port) = started(&format!("{}[metrics]\nlisten = \"127.0.0.1:0\"\n", setting(&target)));
    let metrics = metrics(&program);
    let stalled = Reader::accept(listener.accept().unwrap().0);
    let (client, query) = (Client::new(at(port)), Query::new("db", rtype::A));
    let before = program.resident_kib();
    // More than the socket and the queue have room for.
    for _ in 0..20_000 {
        assert_eq!(client.udp(&query).addresses().len(), 1);
    }
    let status = until(&program, |dnstap| dnstap["dropped"].as_u64() > Some(1000));
    let grown = program.resident_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more");
    let (_, text) = scraped(metrics, "/metrics");
    let dropped =
        text.lines().find_map(|line| line.strip_prefix("callsign_dnstap_dropped_total ")?.parse::<f64>().ok());
    assert!(dropped >= status["dnstap"]["dropped"].as_f64(), "{text}");
    drop(stalled);
}
