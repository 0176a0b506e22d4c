//! Which upstreams a question goes to (answers.md F2, F4), through `Forwarder::choose`: no sockets.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use callsign::forward::{Destination, ForwardError, ForwardOptions, Forwarder, Reason, Route, Upstreams};
use callsign::table::Upstream;
use callsign::wire::Name;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn servers(list: &[&str]) -> Arc<[Upstream]> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn route(domain: &str, to: &[&str]) -> Route {
    Route { domain: name(domain), to: Destination::Servers(servers(to)) }
}

fn listed(list: &[&str], routes: Vec<Route>) -> ForwardOptions {
    ForwardOptions { upstreams: servers(list).to_vec().into(), routes, ..ForwardOptions::default() }
}

fn chosen(forwarder: &Forwarder, question: &str, preferred: &[Arc<[Upstream]>]) -> String {
    forwarder.choose(name(question).as_wire(), preferred).to_string()
}

#[test]
fn f2_the_most_specific_route_then_preferred_then_default() {
    let system = Route { domain: name("public.corp.example"), to: Destination::System };
    let routes = vec![
        route("corp.example", &["10.0.0.53"]),
        route("lab.corp.example", &["10.0.1.53", "10.0.1.54:5300"]),
        route("ads.example", &[]),
        system,
    ];
    let forwarder = Forwarder::new(listed(&["9.9.9.9"], routes));
    let preferred = [servers(&["10.9.0.1"])];
    for (question, expected) in [
        ("a.corp.example", "route corp.example: 10.0.0.53:53"),
        ("corp.example", "route corp.example: 10.0.0.53:53"),
        ("x.y.lab.corp.example", "route lab.corp.example: 10.0.1.53:53, 10.0.1.54:5300"),
        ("www.public.corp.example", "route public.corp.example: 9.9.9.9:53"),
        ("ads.example", "route ads.example: blocked"),
        ("xcorp.example", "upstreams of the endpoint or its networks: 10.9.0.1:53"),
        (".", "upstreams of the endpoint or its networks: 10.9.0.1:53"),
    ] {
        assert_eq!(chosen(&forwarder, question, &preferred), expected, "{question}");
    }
    assert_eq!(chosen(&forwarder, "example", &[]), "default upstreams: 9.9.9.9:53");
    assert_eq!(chosen(&forwarder, "example", &[servers(&[])]), "default upstreams: 9.9.9.9:53");
}

#[test]
fn f2_a_route_for_the_root_takes_everything() {
    let forwarder = Forwarder::new(listed(&["9.9.9.9"], vec![route(".", &["10.0.0.53"]), route("a", &["10.0.0.54"])]));
    assert_eq!(chosen(&forwarder, "b", &[servers(&["10.9.0.1"])]), "route .: 10.0.0.53:53");
    assert_eq!(chosen(&forwarder, "x.a", &[]), "route a: 10.0.0.54:53");
}

#[test]
fn f2_preferred_lists_are_joined_in_order_without_duplicates() {
    let forwarder = Forwarder::new(listed(&["9.9.9.9"], vec![]));
    let (one, two) = (servers(&["10.0.0.1", "10.0.0.2"]), servers(&["10.0.0.2:53", "10.0.0.3"]));
    let choice = forwarder.choose(b"\x01a\x00", &[servers(&[]), one.clone(), two]);
    assert_eq!(choice.reason, Reason::Preferred);
    assert_eq!(choice.servers, servers(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    let choice = forwarder.choose(b"\x01a\x00", &[one.clone(), servers(&[])]);
    assert!(Arc::ptr_eq(&choice.servers, &one), "a single list is not copied");
}

#[test]
fn f2_options_are_replaced_as_a_whole() {
    let forwarder = Forwarder::new(listed(&["9.9.9.9"], vec![route("a", &["10.0.0.1"])]));
    forwarder.configure(listed(&["8.8.8.8"], vec![route("b", &["10.0.0.2"])]));
    assert_eq!(chosen(&forwarder, "a", &[]), "default upstreams: 8.8.8.8:53");
    assert_eq!(chosen(&forwarder, "b", &[]), "route b: 10.0.0.2:53");
}

/// A directory with a resolv.conf in it, and a forwarder that looks at it on each question.
struct Followed {
    directory: tempfile::TempDir,
    forwarder: Forwarder,
}

impl Followed {
    fn new(content: Option<&str>) -> Followed {
        let directory = tempfile::tempdir().unwrap();
        if let Some(content) = content {
            fs::write(directory.path().join("resolv.conf"), content).unwrap();
        }
        let forwarder = Forwarder::new(Followed::options(directory.path()));
        Followed { directory, forwarder }
    }

    fn options(directory: &Path) -> ForwardOptions {
        let upstreams = Upstreams::resolv_conf(directory.join("resolv.conf")).unwrap();
        ForwardOptions { upstreams, recheck: Duration::ZERO, ..ForwardOptions::default() }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    fn servers(&self) -> Vec<String> {
        self.forwarder.choose(b"\x01a\x00", &[]).servers.iter().map(Upstream::to_string).collect()
    }
}

/// Writes a file as if an hour ago.
fn write_old(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    let file = fs::File::options().append(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
}

#[test]
fn f2_resolv_conf_rewritten_in_place() {
    let followed = Followed::new(Some("nameserver 10.0.0.1\n"));
    assert_eq!(followed.servers(), ["10.0.0.1:53"]);
    // Same file, same size, and as where the file system's clock ticks slower than this loop, the same time.
    let tick = SystemTime::now() + Duration::from_secs(60);
    for last in 2..9 {
        let file = fs::File::create(followed.path("resolv.conf")).unwrap();
        (&file).write_all(format!("nameserver 10.0.0.{last}\n").as_bytes()).unwrap();
        file.set_modified(tick).unwrap();
        assert_eq!(followed.servers(), [format!("10.0.0.{last}:53")]);
    }
    assert_eq!(
        followed.forwarder.choose(b"\x00", &[]).to_string(),
        format!("{}: 10.0.0.8:53", followed.path("resolv.conf").display())
    );
}

#[test]
fn f2_resolv_conf_replaced_by_rename() {
    let followed = Followed::new(None);
    for (file, last) in [("one", 1), ("two", 2)] {
        write_old(&followed.path(file), &format!("nameserver 10.0.0.{last}\n"));
        fs::rename(followed.path(file), followed.path("resolv.conf")).unwrap();
        assert_eq!(followed.servers(), [format!("10.0.0.{last}:53")]);
    }
}

#[test]
fn f2_resolv_conf_symlink_retargeted() {
    let followed = Followed::new(None);
    for (directory, last) in [("one", 1), ("two", 2)] {
        fs::create_dir(followed.path(directory)).unwrap();
        write_old(&followed.path(directory).join("real.conf"), &format!("nameserver 10.0.0.{last}\n"));
    }
    // The file itself is a link through a directory that is a link, and only the latter changes.
    std::os::unix::fs::symlink("current/real.conf", followed.path("resolv.conf")).unwrap();
    for (directory, expected) in [("one", "10.0.0.1:53"), ("two", "10.0.0.2:53")] {
        let _ = fs::remove_file(followed.path("current"));
        std::os::unix::fs::symlink(directory, followed.path("current")).unwrap();
        assert_eq!(followed.servers(), [expected]);
    }
}

#[test]
fn f2_resolv_conf_absent_for_a_while() {
    let followed = Followed::new(None);
    assert_eq!(followed.servers(), [""; 0]);
    write_old(&followed.path("resolv.conf"), "nameserver 10.0.0.1\n");
    assert_eq!(followed.servers(), ["10.0.0.1:53"]);
    fs::remove_file(followed.path("resolv.conf")).unwrap();
    assert_eq!(followed.servers(), ["10.0.0.1:53"], "the last good ones");
    followed.forwarder.configure(Followed::options(followed.directory.path()));
    assert_eq!(followed.servers(), ["10.0.0.1:53"], "a reload does not lose them");
    write_old(&followed.path("resolv.conf"), "nameserver 10.0.0.2\n");
    assert_eq!(followed.servers(), ["10.0.0.2:53"]);
}

#[test]
fn f2_resolv_conf_without_servers() {
    let followed = Followed::new(Some("nameserver 10.0.0.1\n"));
    fs::write(followed.path("resolv.conf"), "").unwrap();
    assert_eq!(followed.servers(), ["10.0.0.1:53"], "just cut to nothing: about to be written");
    write_old(&followed.path("resolv.conf"), "# none\n");
    assert_eq!(followed.servers(), [""; 0], "none for good");
    assert!(followed.forwarder.choose(b"\x00", &[]).to_string().ends_with("resolv.conf: no upstream"));
}

#[test]
fn f2_resolv_conf_is_looked_at_once_per_interval() {
    let followed = Followed::new(Some("nameserver 10.0.0.1\n"));
    let hourly = ForwardOptions { recheck: Duration::from_secs(3600), ..Followed::options(followed.directory.path()) };
    followed.forwarder.configure(hourly);
    assert_eq!(followed.servers(), ["10.0.0.1:53"]);
    fs::write(followed.path("resolv.conf"), "nameserver 10.0.0.2\n").unwrap();
    assert_eq!(followed.servers(), ["10.0.0.1:53"]);
}

#[test]
fn f2_an_unreadable_resolv_conf_is_an_error_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let error = Upstreams::resolv_conf(directory.path()).unwrap_err();
    assert!(matches!(&error, ForwardError::Unreadable { path, .. } if path == directory.path()));
    assert!(error.to_string().starts_with(&directory.path().display().to_string()), "{error}");
}

/// Collects the messages of warnings. For all threads: tracing remembers whether anyone listens to a call site, and with one
/// subscriber of one thread it is the first thread to pass there that decides.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    fn listen() -> Warnings {
        static ALL: OnceLock<Warnings> = OnceLock::new();
        let listen = || {
            let warnings = Warnings::default();
            tracing::subscriber::set_global_default(warnings.clone()).unwrap();
            warnings
        };
        ALL.get_or_init(listen).clone()
    }

    /// Those that speak of `upstream`, once.
    fn take(&self, upstream: &str) -> Vec<String> {
        self.0.lock().unwrap().extract_if(.., |message| message.contains(upstream)).collect()
    }
}

impl tracing::field::Visit for Warnings {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0.lock().unwrap().push(format!("{value:?}"));
        }
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

fn own(text: &str) -> Vec<SocketAddr> {
    vec![text.parse().unwrap()]
}

#[test]
fn f4_an_upstream_that_is_ourselves_is_left_out() {
    let routes = || vec![route("a", &["127.0.0.1:5300"])];
    let forwarder = Forwarder::new(listed(&["127.0.0.1:5300", "9.9.9.9"], routes()));
    forwarder.set_own_addresses(own("127.0.0.1:5300"));
    assert_eq!(chosen(&forwarder, "b", &[]), "default upstreams: 9.9.9.9:53");
    assert_eq!(chosen(&forwarder, "a", &[]), "route a: no upstream", "not the defaults' instead, and not blocked");
    assert_eq!(
        chosen(&forwarder, "b", &[servers(&["127.0.0.1:5300"])]),
        "upstreams of the endpoint or its networks: no upstream"
    );
    forwarder.set_own_addresses(own("127.0.0.1:53"));
    assert_eq!(chosen(&forwarder, "a", &[]), "route a: 127.0.0.1:5300");
}

#[test]
fn f4_it_is_logged_at_the_start_and_on_every_change_and_not_per_question() {
    let warnings = Warnings::listen();
    let expected = "upstream 127.0.0.1:5301 is this server itself and is left out; name the resolvers to ask in \
                    `upstreams`, or a file that lists them in `resolv_conf` (in a container: the host's, mounted)";
    let forwarder = Forwarder::new(listed(&["9.9.9.9"], vec![route("a", &["127.0.0.1:5301"])]));
    assert_eq!(warnings.take("127.0.0.1:5301"), [""; 0]);
    forwarder.set_own_addresses(own("127.0.0.1:5301"));
    assert_eq!(warnings.take("127.0.0.1:5301"), [expected]);
    chosen(&forwarder, "a", &[]);
    assert_eq!(warnings.take("127.0.0.1:5301"), [""; 0]);
    forwarder.configure(listed(&["127.0.0.1:5301"], vec![]));
    assert_eq!(warnings.take("127.0.0.1:5301"), [expected]);
    let preferred = [servers(&["127.0.0.1:5301"])];
    forwarder.set_own_addresses(own("0.0.0.0:5301"));
    assert_eq!(warnings.take("127.0.0.1:5301"), [expected]);
    forwarder.configure(listed(&["9.9.9.9"], vec![]));
    assert_eq!(warnings.take("127.0.0.1:5301"), [""; 0]);
    chosen(&forwarder, "b", &preferred);
    chosen(&forwarder, "b", &preferred);
    assert_eq!(warnings.take("127.0.0.1:5301"), [expected], "a network's own upstream: when it first matters");
}
