//! Metrics, health and readiness.

use std::io::Write as _;
use std::net::UdpSocket;
use std::process::{Command, Stdio};

use super::hostile::{metrics, scraped};
use super::support::needs;
use super::*;

const METRICS: &str = "[metrics]\nlisten = \"127.0.0.1:0\"\n";

/// The value of a sample, by its name and labels as they are written.
fn sample(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// The sum of all samples of a name.
fn sum(text: &str, name: &str) -> f64 {
    let samples = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

#[test]
fn queries_are_counted_by_what_they_were() {
    let (program, port) = started(METRICS);
    let metrics = metrics(&program);
    for _ in 0..3 {
        addresses(port, "db");
    }
    Client::new(at(port)).tcp(&Query::new("nothere.internal", rtype::AAAA));
    addresses(port, "www.example");
    let (status, text) = scraped(metrics, "/metrics");
    assert_eq!(status, 200);
    let of = |labels: &str| sample(&text, &format!("callsign_queries_total{{network=\"shop\",{labels}}}"));
    assert_eq!(
        of("transport=\"udp\",family=\"ipv4\",type=\"A\",rcode=\"NOERROR\",origin=\"local\""),
        Some(3.0),
        "{text}"
    );
    assert_eq!(
        of("transport=\"tcp\",family=\"ipv4\",type=\"AAAA\",rcode=\"NXDOMAIN\",origin=\"local\""),
        Some(1.0),
        "{text}"
    );
    assert_eq!(
        of("transport=\"udp\",family=\"ipv4\",type=\"A\",rcode=\"SERVFAIL\",origin=\"upstream\""),
        Some(1.0),
        "{text}"
    );
    assert_eq!(sum(&text, "callsign_query_duration_seconds_count"), 5.0, "{text}");
    assert_eq!(sample(&text, "callsign_upstream_up{upstream=\"127.0.0.66:1\"}"), Some(0.0), "{text}");
    assert_eq!(sample(&text, "callsign_endpoints{network=\"shop\"}"), Some(3.0), "{text}");
    assert_eq!(sample(&text, "callsign_reloads_total{result=\"success\"}"), Some(1.0), "{text}");
    assert_eq!(sample(&text, "callsign_source_resyncs_total{kind=\"file\"}"), Some(1.0), "{text}");
    for name in
        ["process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "process_start_time_seconds"]
    {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name} in {text}");
    }
    assert!(!text.contains("coredns_") && !text.contains("www.example"), "{text}");
}

#[test]
fn labels_are_bounded_and_escaped_whatever_is_asked() {
    let port = free_port(&[LOCAL]);
    let config = format!(
        "{METRICS}compat = \"coredns\"\n[server]\nport = {port}\n[[network]]\nname = 'a\"b\\c'\nlisten = [\"127.0.0.1\"]\ndomains = [\"internal\"]\n"
    );
    let program = Program::with(&config).start();
    let metrics = metrics(&program);
    let socket = UdpSocket::bind((LOCAL, 0)).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    for rtype in (0..2000).map(|number| number * 31) {
        let query = Query::of_labels(&[format!("x\"\n{rtype}").as_bytes(), b"internal"], rtype).bytes();
        socket.send_to(&query, at(port)).unwrap();
        let _ = socket.recv(&mut [0; 512]).unwrap();
    }
    let (_, text) = scraped(metrics, "/metrics");
    assert!(text.lines().count() < 1000, "{} lines", text.lines().count());
    assert_eq!(sum(&text, "callsign_queries_total"), 2000.0);
    assert!(text.contains(r#"network="a\"b\\c""#), "{text}");
    check(&text);
}

/// promtool accepts the text; what it says of CoreDNS' own names is CoreDNS' business.
fn check(text: &str) {
    crate::needs!("promtool");
    let mut promtool = Command::new(needs::path("promtool"));
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| !line.starts_with("coredns_")).collect();
    assert!(ours.is_empty(), "{ours:?}");
}

#[test]
fn promtool_accepts_the_metrics() {
    let (program, port) = started(METRICS);
    addresses(port, "db");
    addresses(port, "www.example");
    check(&scraped(metrics(&program), "/metrics").1);
}

#[test]
fn health_fails_while_the_server_stops() {
    // It takes a query and says nothing, so that the stop waits for the answer.
    let silent = UdpSocket::bind((LOCAL, 0)).unwrap();
    let port = free_port(&[LOCAL, "127.0.0.2".parse().unwrap()]);
    let config = config(port, METRICS).replace("127.0.0.66:1", &silent.local_addr().unwrap().to_string());
    let program = Program::with(&config).start();
    let metrics = metrics(&program);
    let started = sample(&scraped(metrics, "/metrics").1, "process_start_time_seconds").unwrap();
    let client = UdpSocket::bind((LOCAL, 0)).unwrap();
    client.send_to(&Query::new("www.example", rtype::A).bytes(), at(port)).unwrap();
    silent.set_read_timeout(Some(DEADLINE)).unwrap();
    silent.recv(&mut [0; 512]).unwrap();
    // A change of the metrics does not make the process younger.
    let other = format!("{METRICS}page = false\n");
    let mark = program.mark();
    program.reload_by_change(&config.replace(METRICS, &other));
    let line = program.wait_after(mark, super::support::process::Source::Stderr, "metrics, health and readiness");
    let metrics: SocketAddr = line.split_once("address=").unwrap().1.trim().parse().unwrap();
    assert_eq!(sample(&scraped(metrics, "/metrics").1, "process_start_time_seconds"), Some(started));
    client.send_to(&Query::new("again.example", rtype::A).bytes(), at(port)).unwrap();
    silent.recv(&mut [0; 512]).unwrap();
    program.signal(nix::sys::signal::Signal::SIGTERM);
    program.wait_for(super::support::process::Source::Notify, "STOPPING=1");
    assert_eq!(scraped(metrics, "/health"), (503, "the server is about to stop\n".to_owned()));
    assert_eq!(scraped(metrics, "/ready").0, 503);
}

#[test]
fn limits_that_are_hit_are_counted() {
    let (program, port) = started(METRICS);
    let metrics = metrics(&program);
    let limit = "[server.limits]\ntcp_connections_per_client = 1\n";
    program.reload_by_change(&format!("{}\n{limit}", config(port, METRICS)));
    // The second one waits until the first is idle, and takes its place.
    let query = Query::new("db", rtype::A);
    let mut first = Client::new(at(port)).connect().unwrap();
    first.send(&query.bytes()).unwrap();
    first.receive().unwrap();
    Client::new(at(port)).tcp(&query);
    let (_, text) = scraped(metrics, "/metrics");
    let hit = |limit: &str| sample(&text, &format!("callsign_limits_hit_total{{limit=\"{limit}\"}}"));
    assert_eq!(hit("tcp_connections_per_client"), Some(1.0), "{text}");
    for limit in ["tcp_connections", "tcp_connections_waiting", "forwards", "forwards_per_client", "forwards_displaced"]
    {
        assert_eq!(hit(limit), Some(0.0), "{limit} in {text}");
    }
}

#[test]
fn open_metrics_are_given_to_those_who_want_them() {
    let (program, port) = started(METRICS);
    addresses(port, "db");
    let stream = std::net::TcpStream::connect(metrics(&program)).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nhost: x\r\naccept: application/openmetrics-text; version=1.0.0\r\nconnection: close\r\n\r\n";
    let (status, text) = exchange(stream, request);
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n") && text.contains("# TYPE callsign_queries counter"), "{text}");
}

#[test]
fn names_of_coredns_are_there_if_wanted() {
    let (program, port) = started("[metrics]\nlisten = \"127.0.0.1:0\"\ncompat = \"coredns\"\n");
    addresses(port, "db");
    addresses(port, "www.example");
    let (_, text) = scraped(metrics(&program), "/metrics");
    let request = "coredns_dns_requests_total{server=\"dns://.:53\",zone=\"shop\",view=\"\",proto=\"udp\",family=\"1\",type=\"A\"}";
    assert_eq!(sample(&text, request), Some(2.0), "{text}");
    let reply = "coredns_dns_responses_total{server=\"dns://.:53\",zone=\"shop\",view=\"\",rcode=\"SERVFAIL\",plugin=\"forward\"}";
    assert_eq!(sample(&text, reply), Some(1.0), "{text}");
    // A failure that is remembered is no denial.
    addresses(port, "www.example");
    let (_, again) = scraped(metrics(&program), "/metrics");
    let denied = "coredns_cache_hits_total{server=\"dns://.:53\",type=\"denial\",zones=\".\",view=\"\"}";
    assert_eq!(sample(&again, denied), Some(0.0), "{again}");
    assert_eq!(
        sample(&again, "coredns_forward_responses_total{to=\"127.0.0.66:1\",rcode=\"SERVFAIL\"}"),
        Some(1.0),
        "{again}"
    );
    for name in [
        "coredns_build_info",
        "coredns_panics_total",
        "coredns_dns_request_duration_seconds_bucket",
        "coredns_dns_response_size_bytes_bucket",
        "coredns_cache_entries",
        "coredns_cache_hits_total",
        "coredns_cache_misses_total",
        "coredns_forward_requests_total",
        "coredns_proxy_healthcheck_failures_total",
        "coredns_cache_evictions_total",
        "coredns_cache_drops_total",
        "coredns_forward_healthcheck_broken_total",
        "coredns_proxy_conn_cache_misses_total",
        "coredns_plugin_enabled",
        "coredns_acl_allowed_requests_total",
        "coredns_acl_filtered_requests_total",
        "coredns_acl_dropped_requests_total",
        "coredns_acl_blocked_requests_total",
        "coredns_reload_failed_total",
        "coredns_local_localhost_requests_total",
    ] {
        assert!(text.contains(&format!("\n{name}{{")) || text.contains(&format!("\n{name} ")), "{name} in {text}");
    }
}

#[test]
fn health_and_readiness() {
    let (program, port) = started(METRICS);
    let metrics = metrics(&program);
    let watcher = super::watching::watch(&program, "");
    super::watching::first(&watcher, port, |_| "db".to_owned());
    let counted = || sum(&scraped(metrics, "/metrics").1, "callsign_queries_total");
    // A query is counted after its reply.
    let mut before = counted();
    loop {
        let again = counted();
        if again == before {
            break;
        }
        before = again;
    }
    assert_eq!(scraped(metrics, "/health"), (200, "ok\n".to_owned()));
    let after = counted();
    assert_eq!(before, after, "a probe is no client's query");
    let mark = watcher.mark();
    addresses(port, "web");
    watcher.wait_after(mark, super::support::process::Source::Stdout, "\"web\"");
    let shown = watcher.lines(super::support::process::Source::Stdout);
    assert!(!shown.iter().any(|line| line.contains("\"localhost\"")), "{shown:?}");
    assert_eq!(scraped(metrics, "/ready"), (200, "ready\n".to_owned()));
    assert_eq!(scraped(metrics, "/other").0, 404);
    // Somebody has the address of another network; and a failed reload takes nothing down.
    let taken = UdpSocket::bind("127.0.0.5:0").unwrap();
    let other = format!("listen = [\"127.0.0.5:{}\"]", taken.local_addr().unwrap().port());
    program.reload_by_change(&config(port, METRICS).replace("listen = [\"127.0.0.2\"]", &other));
    let (status, missing) = scraped(metrics, "/ready");
    assert!(status == 503 && missing.starts_with("blog: udp 127.0.0.5:"), "{status} {missing}");
    assert_eq!(scraped(metrics, "/health").0, 200);
    program.reload_by_change("nonsense");
    assert_eq!(scraped(metrics, "/health").0, 200);
    assert!(scraped(metrics, "/metrics").1.contains("callsign_source_failed{kind=\"file\"} 1"));
    // Counted no longer, and not served, from the next reload on.
    program.reload_by_change(&config(port, ""));
    assert!(std::net::TcpStream::connect(metrics).is_err(), "nobody listens any more");
}
