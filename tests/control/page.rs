//! The page of the metrics listener: over HTTP, and in a browser (tests/browser).

use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;

use super::hostile::metrics;
use super::support::needs;
use super::*;

const METRICS: &str = "[metrics]\nlisten = \"127.0.0.1:0\"\n";
const TOKEN: &str = "correct horse battery staple";
/// The version of playwright-core that tests/all installs.
const PLAYWRIGHT: &str = "1.65.1";

/// Two networks whose containers have addresses that a test can ask from; web is on both.
fn page_config(port: u16, more: &str) -> String {
    format!(
        r#"
        {more}
        [server]
        port = {port}
        upstreams = ["127.0.0.66:1"]

        [[network]]
        name = "shop"
        listen = ["127.0.0.1"]
        subnets = ["127.10.0.0/16"]
        domains = ["internal"]
        endpoint = [
          {{ id = "shop-db-1", names = ["db", "database", "shop-db-1"], addresses = ["127.10.0.3"] }},
          {{ id = "shop-web-1", names = ["web", "shop-web-1"], addresses = ["127.10.0.2"] }},
          {{ id = "shop-worker-1", names = ["worker"], addresses = ["127.10.0.4"], state = "down" }},
        ]

        [[network]]
        name = "blog"
        listen = ["127.0.0.2"]
        subnets = ["127.11.0.0/16"]
        endpoint = [
          {{ id = "blog-cms-1", names = ["cms"], addresses = ["127.11.0.3"] }},
          {{ id = "shop-web-1", names = ["web", "shop-web-1"], addresses = ["127.11.0.2"] }},
        ]
        "#
    )
}

fn page_started(more: &str) -> (Program, u16) {
    let port = free_port(&[LOCAL, "127.0.0.2".parse().unwrap(), "127.0.0.3".parse().unwrap()]);
    (Program::with(&page_config(port, more)).start(), port)
}

/// The head and the body of a reply.
fn fetch(to: SocketAddr, method: &str, path: &str, headers: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let host = if headers.contains("host:") { String::new() } else { format!("host: {to}\r\n") };
    write!(stream, "{method} {path} HTTP/1.1\r\n{host}connection: close\r\n{headers}\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {reply:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn status(to: SocketAddr, path: &str, headers: &str) -> u16 {
    fetch(to, "GET", path, headers).0
}

#[test]
fn the_page_tells_browsers_to_load_and_run_nothing_else() {
    let (program, _) = page_started(METRICS);
    let at = metrics(&program);
    let (code, head, html) = fetch(at, "GET", "/", "");
    assert_eq!(code, 200);
    assert!(html.starts_with("<!doctype html>"), "{html}");
    for expected in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self';",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "x-content-type-options: nosniff",
        "x-frame-options: deny",
        "cache-control: no-store",
        "cross-origin-resource-policy: same-origin",
    ] {
        assert!(head.contains(expected), "{expected} in {head}");
    }
    assert!(!head.contains("unsafe") && !head.contains("access-control"), "{head}");
    // All that it names is there, and nothing more is loaded.
    let names = html.split(['"', '\'']).filter(|word| word.starts_with('/')).collect::<Vec<_>>();
    assert_eq!(names.len(), 3, "{names:?}");
    for name in names {
        let (code, head, _) = fetch(at, "GET", name, "");
        assert!(code == 200 && head.contains("content-security-policy"), "{name}: {head}");
    }
    assert_eq!(fetch(at, "GET", "/page/mod.rs", "").0, 404);
    assert_eq!(fetch(at, "GET", "/page/../mod.rs", "").0, 404);
}

#[test]
fn the_page_answers_to_its_own_names_only() {
    let hosts = "hosts = [\"DNS.example.com\"]\n";
    let (program, _) = page_started(&format!("{METRICS}{hosts}"));
    let at = metrics(&program);
    for host in ["localhost", "localhost:1", "127.0.0.1:9153", "[::1]", "dns.example.com:443"] {
        assert_eq!(status(at, "/", &format!("host: {host}\r\n")), 200, "{host}");
    }
    for host in ["evil.example", "10.9.9.9", "localhost.evil.example", ""] {
        for path in ["/", "/page/main.js", "/v1/names", "/v1/watch"] {
            let (code, _, body) = fetch(at, "GET", path, &format!("host: {host}\r\n"));
            assert!(code == 421 && body.contains("`hosts` in [metrics]"), "{host}: {code} {body}");
        }
    }
    // Scripts of other sites get nothing; a link from there is all right.
    for site in ["cross-site", "same-site"] {
        let from = format!("sec-fetch-site: {site}\r\n");
        assert_eq!([status(at, "/", &from), status(at, "/v1/status", &from)], [200, 403]);
    }
    assert_eq!(status(at, "/v1/status", "sec-fetch-site: same-origin\r\n"), 200);
    // Whoever measures may call it what they like.
    assert_eq!(status(at, "/health", "host: callsign.monitoring.svc\r\n"), 200);
}

#[test]
fn the_page_reads_and_changes_nothing() {
    let (program, port) = page_started(METRICS);
    let at = metrics(&program);
    // What it reads is what the control socket gives.
    for path in ["/v1/containers", "/v1/names?network=shop", "/v1/explain?name=db&from=web"] {
        let body = fetch(at, "GET", path, "").2;
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), get(&program.control(), path), "{path}");
    }
    let changes = [
        ("POST", "/v1/added"),
        ("DELETE", "/v1/cache?all=yes"),
        ("POST", "/v1/reload"),
        ("PUT", "/v1/log"),
        ("POST", "/v1/status"),
        ("OPTIONS", "/v1/status"),
    ];
    for (method, path) in changes {
        assert_eq!(fetch(at, method, path, "content-length: 0\r\n").0, 405, "{method} {path}");
    }
    for path in ["/v1/added", "/v1/reload", "/v1/log", "/nothing"] {
        assert_eq!(status(at, path, ""), 404, "{path}");
    }
    assert_eq!(addresses(port, "db"), ["127.10.0.3"]);
}

#[test]
fn a_token_is_asked_for_off_loopback() {
    let everywhere = "[metrics]\nlisten = \"0.0.0.0:0\"\n";
    let local = |program: &Program| SocketAddr::new(LOCAL, metrics(program).port());
    let (program, port) = page_started(everywhere);
    let at = local(&program);
    let (code, _, body) = fetch(at, "GET", "/", "");
    assert!(code == 403 && body.contains("`token_file` in [metrics]"), "{code} {body}");
    assert_eq!([status(at, "/v1/names", ""), status(at, "/metrics", "")], [403, 200]);

    let file = program.directory().join("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let mark = program.mark();
    program.reload_by_change(&page_config(port, &format!("{everywhere}token_file = {file:?}\n")));
    let line = program.wait_after(mark, super::support::process::Source::Stderr, "metrics, health and readiness");
    let at = SocketAddr::new(LOCAL, line.rsplit_once(':').unwrap().1.trim().parse().unwrap());
    let (code, head, body) = fetch(at, "GET", "/", "");
    assert!(code == 401 && head.contains("www-authenticate: basic realm="), "{head}");
    assert!(!body.contains(TOKEN) && !body.contains("doctype"), "{body}");
    for path in ["/page/main.js", "/v1/names", "/v1/watch"] {
        assert_eq!([status(at, path, ""), status(at, path, "authorization: Bearer wrong\r\n")], [401, 401], "{path}");
    }
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    assert_eq!([status(at, "/", &bearer), status(at, "/v1/names", &bearer)], [200, 200]);
    assert_eq!(status(at, "/metrics", ""), 200, "Prometheus needs none");
    // It may be replaced at any time; and one that is no good opens nothing.
    fs::write(&file, "another one, as long as it must be").unwrap();
    assert_eq!(status(at, "/", &bearer), 401);
    fs::write(&file, "").unwrap();
    assert_eq!([status(at, "/", ""), status(at, "/", "authorization: Bearer \r\n")], [503, 503]);
    program.wait_for(super::support::process::Source::Stderr, "its token cannot be used");
}

#[test]
fn there_is_no_page_where_none_is_wanted() {
    let (program, _) = page_started(&format!("{METRICS}page = false\n"));
    let at = metrics(&program);
    assert_eq!([status(at, "/", ""), status(at, "/v1/status", ""), status(at, "/page/main.js", "")], [404; 3]);
    assert_eq!(status(at, "/metrics", ""), 200);
}

#[test]
fn tabs_that_never_read_stop_neither_dns_nor_prometheus() {
    let (program, port) = page_started(METRICS);
    let at = metrics(&program);
    let before = program.resident_kib();
    let mut tabs = Vec::new();
    for _ in 0..32 {
        let mut tab = TcpStream::connect(at).unwrap();
        write!(tab, "GET /v1/watch HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut byte = [0];
        tab.read_exact(&mut byte).unwrap();
        tabs.push(tab);
    }
    let (code, _, body) = fetch(at, "GET", "/v1/watch", "");
    assert!(code == 503 && body.contains("32 clients are watching"), "{code} {body}");
    let (client, query) = (Client::new(super::at(port)), Query::new("db", rtype::A));
    (0..5000).for_each(|_| assert_eq!(client.udp(&query).addresses().len(), 1));
    assert_eq!([status(at, "/metrics", ""), status(at, "/health", ""), status(at, "/v1/status", "")], [200; 3]);
    let grown = program.resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB more");
    // Closed, they make room.
    drop(tabs);
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let mut tab = TcpStream::connect(at).unwrap();
        write!(tab, "GET /v1/watch HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut line = [0; 12];
        tab.read_exact(&mut line).unwrap();
        if line.ends_with(b"200") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "closed tabs are still counted");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Where tests/all keeps playwright-core; `None`, said loudly, where it is not or does not run.
fn playwright(scenario: &str) -> Option<PathBuf> {
    let skip = |need: &str| needs::skip(need, &format!("the page in a browser: {scenario}"));
    let version = String::from_utf8(needs::command("node").arg("--version").output().ok()?.stdout).ok()?;
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major < Some(20) {
        skip("Node.js 20");
        return None;
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let directory = cache.join(format!("callsign/playwright-core-{PLAYWRIGHT}"));
    if directory.join("node_modules/playwright-core").is_dir() {
        return Some(directory);
    }
    skip("playwright-core");
    None
}

/// Runs a scenario of tests/browser/page.mjs against a program.
fn browse(scenario: &str, program: &Program, port: u16) {
    let Some(playwright) = playwright(scenario) else { return };
    let mut node = needs::command("node");
    node.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/page.mjs")).arg(scenario);
    node.env("PLAYWRIGHT", playwright).env("CHROMIUM", needs::path("chromium"));
    node.env("PAGE", format!("http://127.0.0.1:{}/", metrics(program).port()));
    node.env("CONFIG", program.config_path()).env("DNS", port.to_string()).env("TOKEN", TOKEN);
    let output = node.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{scenario}: {said}\n{program:?}");
}

#[test]
fn a_browser_shows_a_container_that_starts_and_its_query_with_the_reason_and_explains() {
    crate::needs!("chromium", "node");
    let (program, port) = page_started(METRICS);
    browse("looks", &program, port);
}

#[test]
fn a_browser_executes_nothing_of_a_hostile_name() {
    crate::needs!("chromium", "node");
    let (program, port) = page_started(METRICS);
    browse("hostile", &program, port);
}

#[test]
fn a_browser_scrolls_10_000_containers() {
    crate::needs!("chromium", "node");
    let port = free_port(&[LOCAL]);
    let mut config = format!("{METRICS}[server]\nport = {port}\n");
    for network in 0..500 {
        let subnet = format!("10.{}.{}", network / 250, network % 250);
        writeln!(config, "[[network]]\nname = \"net-{network:03}\"\nsubnets = [\"{subnet}.0/24\"]").unwrap();
        // One listener is enough.
        let listen = if network == 0 { "\"127.0.0.1\"" } else { "" };
        writeln!(config, "listen = [{listen}]\nendpoint = [").unwrap();
        for host in 0..20 {
            let name = format!("net-{network:03}-box-{host}");
            writeln!(
                config,
                "{{ id = \"{name}\", names = [\"{name}\", \"box-{host}\"], addresses = [\"{subnet}.{}\"] }},",
                host + 2
            )
            .unwrap();
        }
        config.push_str("]\n");
    }
    let program = Program::with(&config).start();
    browse("many", &program, port);
}

#[test]
fn a_browser_without_a_mouse() {
    crate::needs!("chromium", "node");
    let (program, port) = page_started(METRICS);
    browse("keyboard", &program, port);
}

#[test]
fn a_browser_on_a_phone() {
    crate::needs!("chromium", "node");
    let (program, port) = page_started(METRICS);
    browse("phone", &program, port);
}

#[test]
fn a_browser_gives_the_token_as_password() {
    crate::needs!("chromium", "node");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    fs::write(&file, TOKEN).unwrap();
    let (program, port) = page_started(&format!("[metrics]\nlisten = \"0.0.0.0:0\"\ntoken_file = {file:?}\n"));
    browse("token", &program, port);
}

#[test]
fn a_browser_that_another_site_leads_here_gets_nothing() {
    crate::needs!("chromium", "node");
    let (program, port) = page_started(METRICS);
    browse("rebinding", &program, port);
}

#[test]
fn a_browser_tells_that_the_server_is_away_and_goes_on_when_it_is_back() {
    crate::needs!("chromium", "node");
    let (program, port) = page_started(METRICS);
    browse("away", &program, port);
}

#[test]
fn a_browser_shows_a_flood_in_few_rows_and_says_what_was_dropped() {
    crate::needs!("chromium", "node");
    let (program, port) = page_started(METRICS);
    browse("flood", &program, port);
}
