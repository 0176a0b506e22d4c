//! Debian's Podman and netavark with callsign as their DNS server, on machines of their own: what the containers of a stock
//! Podman see, and what its operator does. `AARDVARK_DNS=/usr/lib/podman/aardvark-dns` runs the same against another server.

mod support;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use callsign::wire::rtype;
use nix::sys::signal::Signal;
use support::machine::{Machine, Outside, UPSTREAM, becomes, command_line};
use support::podman::{Container, NETAVARK, Podman};
use support::process::Process;

const SHOP: &str = "10.10.1.1";
const BLOG: &str = "10.10.2.1";

macro_rules! needs_podman {
    () => {
        needs_root!(
            "ip",
            "unshare",
            "nsenter",
            "setpriv",
            "bash",
            "busybox",
            "getent",
            "dnsmasq",
            "podman",
            "crun",
            "iptables",
            "/usr/lib/podman/netavark"
        );
    };
}

fn machine(outside: &Outside) -> Machine<'_> {
    outside.machine(Path::new(NETAVARK))
}

/// The networks shop and blog.
fn with_networks<'a>(podman: Podman<'a>) -> Podman<'a> {
    podman.network("shop", "10.10.1.0/24", &[]);
    podman.network("blog", "10.10.2.0/24", &[]);
    podman
}

/// Waits until the container resolves `name` at `server` so: see [`Container::resolves`].
#[track_caller]
fn resolves(container: &Container<'_>, server: &str, name: &str, expected: &[&str]) {
    becomes(name, expected.to_vec().iter().map(|&word| word.to_owned()).collect(), || container.resolves(server, name));
}

/// All names of the answer to a reverse look-up, sorted, the final dot off.
fn names_of(container: &Container<'_>, server: &str, address: &str) -> Vec<String> {
    let octets: Vec<&str> = address.split('.').rev().collect();
    let reply = container.ask(server, &format!("{}.in-addr.arpa", octets.join(".")), rtype::PTR);
    let names = reply.answers();
    let mut names: Vec<String> = names
        .iter()
        .filter_map(|record| record.rsplit_once(' '))
        .map(|(_, name)| name.trim_end_matches('.').to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn containers_resolve_each_other_by_name_alias_and_short_id_and_not_across_networks() {
    needs_podman!();
    let outside = Outside::new();
    let upstream = outside.upstream();
    let machine = machine(&outside);
    let podman = with_networks(Podman::new(&machine));

    let api = podman.container("api", &["--network", "shop"]);
    let web = podman.container("web", &["--network", "shop", "--network-alias", "www", "--network-alias", "Store"]);
    let cms = podman.container("cms", &["--network", "blog"]);

    let address = web.address_on("shop");
    for name in ["web", "www", "store", "WEB", "web.dns.podman", "store.dns.podman", web.short_id()] {
        resolves(&api, SHOP, name, &[&address]);
        assert_eq!(api.getent(name), std::slice::from_ref(&address), "getent {name}");
        assert_eq!(api.nslookup(name), std::slice::from_ref(&address), "nslookup {name}");
    }
    // This Podman writes the host's servers behind it.
    assert_eq!(api.servers()[0], SHOP);
    assert_eq!(cms.getent("web"), Vec::<String>::new());
    assert_eq!(cms.nslookup("web"), Vec::<String>::new());
    let asked = upstream.queries();
    for name in ["web.dns.podman", web.short_id(), "www"] {
        assert_eq!(cms.resolves(BLOG, name), ["NXDOMAIN"], "{name}");
    }
    assert_eq!(cms.ask(BLOG, "web.dns.podman", rtype::AAAA).status(), "NXDOMAIN");
    // A name below the networks' domain is nobody's else's; one without a dot may be the host's.
    let asked_now = upstream.queries();
    assert!(!asked_now[asked.len()..].iter().any(|query| query.contains("dns.podman")), "{asked_now:?}");
    // What the containers have no name for is the upstream's, as it is.
    assert_eq!(cms.getent("www.example.com"), ["192.0.2.80"]);
    assert_eq!(cms.nslookup("www.example.com"), ["192.0.2.80"]);
    assert!(upstream.queries().contains(&"A www.example.com".to_owned()));
}

#[test]
fn t1_a_name_without_data_is_not_a_name_that_is_not_there() {
    needs_podman!();
    let outside = Outside::new();
    let upstream = outside.upstream();
    let machine = machine(&outside);
    let podman = with_networks(Podman::new(&machine));
    let web = podman.container("web", &["--network", "shop"]);
    for rtype in [rtype::AAAA, rtype::TXT, rtype::SRV] {
        let reply = web.ask(SHOP, "web", rtype);
        assert_eq!((reply.status().as_str(), reply.answers().len(), reply.authority().len()), ("NOERROR", 0, 1));
    }
    let reply = web.ask(SHOP, "web", rtype::A);
    assert_eq!(reply.answers(), [format!("web. 0 IN A {}", web.address_on("shop"))]);
    assert!(!upstream.queries().iter().any(|query| query.ends_with(" web")));
}

#[test]
fn connect_and_disconnect_reach_running_containers() {
    needs_podman!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let machine = machine(&outside);
    let podman = with_networks(Podman::new(&machine));
    let web = podman.container("web", &["--network", "shop"]);
    let cms = podman.container("cms", &["--network", "blog"]);
    resolves(&cms, BLOG, "web", &["NXDOMAIN"]);

    podman.run(&["network", "connect", "--alias", "shopfront", "blog", "web"]);
    let on_blog = web.address_on("blog");
    for name in ["web", "shopfront", "web.dns.podman"] {
        resolves(&cms, BLOG, name, &[&on_blog]);
    }
    // Of both its networks, whichever gateway it asks.
    resolves(&web, SHOP, "cms", &[&cms.address_on("blog")]);
    resolves(&web, BLOG, "cms", &[&cms.address_on("blog")]);
    // `merge = all`: itself, on both.
    resolves(&web, SHOP, "web", &[&web.address_on("shop"), &on_blog]);

    podman.run(&["network", "disconnect", "blog", "web"]);
    for name in ["web.dns.podman", "shopfront"] {
        resolves(&cms, BLOG, name, &["NXDOMAIN"]);
    }
    resolves(&web, SHOP, "cms", &["NXDOMAIN"]);
    resolves(&web, SHOP, "web", &[&web.address_on("shop")]);
}

#[test]
fn stop_start_and_remove_are_seen() {
    needs_podman!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let machine = machine(&outside);
    let podman = with_networks(Podman::new(&machine));
    let api = podman.container("api", &["--network", "shop"]);
    let first = podman.container("web-1", &["--network", "shop", "--network-alias", "web"]);
    let second = podman.container("web-2", &["--network", "shop", "--network-alias", "web"]);
    resolves(&api, SHOP, "web", &[&first.address_on("shop"), &second.address_on("shop")]);

    podman.run(&["stop", "--time", "0", "web-1"]);
    resolves(&api, SHOP, "web", &[&second.address_on("shop")]);
    podman.run(&["start", "web-1"]);
    resolves(&api, SHOP, "web-1", &[&podman.running("web-1").address_on("shop")]);
    podman.run(&["rm", "--force", "--time", "0", "web-1", "web-2"]);
    for name in ["web.dns.podman", "web-1", "web-2"] {
        resolves(&api, SHOP, name, &["NXDOMAIN"]);
    }
}

#[test]
fn f1_an_internal_network_never_reaches_the_upstream() {
    needs_podman!();
    needs_root!("netavark");
    let outside = Outside::new();
    let upstream = outside.upstream();
    // Debian's netavark does not tell its DNS server which networks are internal.
    let machine = outside.machine(&support::needs::path("netavark"));
    let podman = with_networks(Podman::new(&machine));
    podman.network("vault", "10.10.3.0/24", &["--internal"]);
    let safe = podman.container("safe", &["--network", "vault"]);
    let key = podman.container("key", &["--network", "vault"]);
    let vault = "10.10.3.1";

    resolves(&safe, vault, "key", &[&key.address_on("vault")]);
    for name in ["www.example.com", "nothere", "nothere.dns.podman"] {
        assert_eq!(safe.resolves(vault, name), ["NXDOMAIN"], "{name}");
    }
    assert_eq!(safe.ask(vault, "www.example.com", rtype::TXT).status(), "NXDOMAIN");
    assert_eq!(safe.ask(vault, "1.2.0.192.in-addr.arpa", rtype::PTR).status(), "NXDOMAIN");
    assert_eq!(upstream.queries(), Vec::<String>::new());

    // Another network that is not internal lets the same container out.
    podman.run(&["network", "connect", "shop", "safe"]);
    becomes("safe on shop, too", vec!["192.0.2.80".to_owned()], || safe.resolves(SHOP, "www.example.com"));
    assert_eq!(key.resolves(vault, "www.example.com"), ["NXDOMAIN"]);
}

#[test]
fn a_container_with_dns_servers_of_its_own_uses_them() {
    needs_podman!();
    let outside = Outside::new();
    let (upstream, other) = (outside.upstream(), outside.other_upstream());
    let machine = machine(&outside);
    let podman = with_networks(Podman::new(&machine));
    // This Podman writes the server into the container's resolv.conf; later ones tell netavark: see tests/netavark.rs.
    let web = podman.container("web", &["--network", "shop", "--dns", "10.99.0.2"]);
    assert_eq!(web.getent("www.example.com"), ["192.0.2.82"]);
    assert_eq!(web.nslookup("www.example.com"), ["192.0.2.82"]);
    assert_eq!(upstream.queries(), Vec::<String>::new());
    assert!(!other.queries().is_empty());
}

#[test]
fn t3_addresses_have_all_names_of_their_container() {
    needs_podman!();
    let outside = Outside::new();
    let upstream = outside.upstream();
    let machine = machine(&outside);
    let podman = with_networks(Podman::new(&machine));
    let api = podman.container("api", &["--network", "shop"]);
    let web = podman.container("web", &["--network", "shop", "--network-alias", "www"]);
    let cms = podman.container("cms", &["--network", "blog"]);
    let address = web.address_on("shop");

    let mut expected = vec!["web".to_owned(), "www".to_owned(), web.short_id().to_owned()];
    expected.sort();
    becomes("names of the address", expected.clone(), || names_of(&api, SHOP, &address));
    assert_eq!(names_of(&cms, BLOG, &address), Vec::<String>::new());
    // busybox asks for PTR where it is given an address.
    let printed = api.exec(&["nslookup", &address]).stdout;
    assert!(expected.iter().any(|name| printed.contains(&format!("name = {name}"))), "{printed}");
    assert!(!upstream.queries().iter().any(|query| query.starts_with("PTR 1.1.10")), "{:?}", upstream.queries());
}

#[test]
fn thirty_started_at_once_resolve_each_other() {
    needs_podman!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let machine = machine(&outside);
    let podman = with_networks(Podman::new(&machine));
    let names: Vec<String> = (0..30).map(|number| format!("c{number}")).collect();
    let starts: Vec<Process> = names.iter().map(|name| podman.spawn_container(name, &["--network", "shop"])).collect();
    for mut start in starts {
        assert!(start.wait_exit(2 * support::DEADLINE).success(), "{start:?}");
    }
    let containers: Vec<Container<'_>> = names.iter().map(|name| podman.running(name)).collect();
    let of_all: Vec<String> = containers.iter().map(|container| container.address_on("shop")).collect();
    for container in &containers {
        for (name, address) in names.iter().zip(&of_all) {
            resolves(container, SHOP, name, &[address]);
        }
    }
    // One server, whoever was first.
    assert_eq!(machine.processes("aardvark-dns --config").len(), 1);
    assert!(machine.is_alive(podman.server().expect("a pid file")));

    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    podman.run(&[&["rm", "--force", "--time", "0"], &all[..]].concat());
    becomes("servers", Vec::new(), || machine.processes("aardvark-dns --config"));
}

#[test]
fn the_server_lives_as_long_as_there_are_containers() {
    needs_podman!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let machine = machine(&outside);
    let podman = with_networks(Podman::new(&machine));
    assert_eq!(podman.server(), None);
    podman.container("web", &["--network", "shop"]);
    let server = podman.server().expect("a pid file");
    let words = command_line(&machine.proc(server, "cmdline"));
    let expected = "aardvark-dns --config /run/containers/networks/aardvark-dns -p 53 run";
    assert!(words.ends_with(expected), "{words}");
    let cms = podman.container("cms", &["--network", "blog"]);
    assert_eq!(podman.server(), Some(server));

    podman.run(&["rm", "--force", "--time", "0", "web"]);
    resolves(&cms, BLOG, "cms", &[&cms.address_on("blog")]);
    assert_eq!(podman.server(), Some(server));
    podman.run(&["rm", "--force", "--time", "0", "cms"]);
    becomes("the server and its pid file", (false, false), || {
        (machine.is_alive(server), podman.directory().join("aardvark.pid").exists())
    });
    // And again, from nothing.
    let web = podman.container("web", &["--network", "shop"]);
    resolves(&web, SHOP, "web", &[&web.address_on("shop")]);
    assert_ne!(podman.server(), Some(server));
}

#[test]
fn no_descriptor_of_the_caller_is_kept() {
    needs_podman!();
    let outside = Outside::new();
    let machine = machine(&outside);
    let podman = with_networks(Podman::new(&machine));
    fs::write(machine.file("/run/held"), "").unwrap();
    let run = "exec 7</run/held 9>>/run/held 42<>/run/held; podman run -d --name web --network shop busybox sleep 1000";
    let finished = machine.run(&["bash", "-c", run]).expect_success();
    assert_eq!(finished.stderr, "", "podman is to say nothing that it did not say before");
    let server = podman.server().expect("a pid file");

    let descriptors = fs::read_dir(machine.proc(server, "fd")).unwrap().map(|entry| entry.unwrap());
    let open: Vec<(u32, String)> = descriptors
        .map(|entry| {
            let number = entry.file_name().to_str().unwrap().parse().unwrap();
            (number, fs::read_link(entry.path()).unwrap().display().to_string())
        })
        .collect();
    assert!(!open.iter().any(|(_, what)| what.contains("/run/held")), "{open:?}");
    // Nothing of podman's or netavark's either: pipes have the other end in them.
    // It keeps its directory open, and the lock of its control socket.
    let own = ["/run/containers/networks/aardvark-dns", "/run/callsign/podman.lock"];
    let inherited = |(number, what): &&(u32, String)| {
        *number > 2 && !own.contains(&&**what) && (what.starts_with("pipe:") || what.starts_with('/'))
    };
    assert_eq!(open.iter().filter(inherited).collect::<Vec<_>>(), Vec::<&(u32, String)>::new(), "of {open:?}");
    for number in 0..3 {
        assert!(open.contains(&(number, "/dev/null".to_owned())), "{number} of {open:?}");
    }
    // A session of its own: no terminal's end is its end. The sixth field of stat, behind the name in parentheses.
    let stat = fs::read_to_string(machine.proc(server, "stat")).unwrap();
    let session = stat.rsplit_once(") ").unwrap().1.split_whitespace().nth(3).unwrap();
    assert_eq!(session, server.to_string());
}

#[test]
fn a_killed_server_is_started_again_with_the_next_container() {
    needs_podman!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let machine = machine(&outside);
    let podman = with_networks(Podman::new(&machine));
    let web = podman.container("web", &["--network", "shop"]);
    let server = podman.server().expect("a pid file");
    machine.run(&["kill", "-KILL", &server.to_string()]).expect_success();
    becomes("alive", false, || machine.is_alive(server));

    let cms = podman.container("cms", &["--network", "blog"]);
    assert_ne!(podman.server(), Some(server));
    resolves(&cms, BLOG, "cms", &[&cms.address_on("blog")]);
    resolves(&web, SHOP, "web", &[&web.address_on("shop")]);
}

#[test]
fn sigterm_ends_the_server_and_its_pid_file() {
    needs_podman!();
    let outside = Outside::new();
    let machine = machine(&outside);
    let podman = with_networks(Podman::new(&machine));
    podman.container("web", &["--network", "shop"]);
    let server = podman.server().expect("a pid file");
    machine.run(&["kill", &format!("-{}", Signal::SIGTERM as i32), &server.to_string()]).expect_success();
    becomes("the server and its pid file", (false, None), || (machine.is_alive(server), podman.server()));
}

#[test]
fn a_port_that_is_taken_is_an_error_that_podman_shows() {
    needs_podman!();
    let outside = Outside::new();
    let machine = machine(&outside);
    let podman = with_networks(Podman::new(&machine));
    let mut taken = machine.command("dnsmasq");
    taken.args([
        "--no-daemon",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--port=53",
        "--user=root",
        "--pid-file=",
    ]);
    let taken = Process::spawn(taken);
    taken.wait_for(support::process::Source::Stderr, "started, version");
    // This netavark shows what its child says and goes on; later ones fail: see tests/netavark.rs.
    let finished = podman.try_run(&["run", "--rm", "--network", "shop", "busybox", "cat"]);
    assert!(finished.stderr.contains("10.10.1.1:53"), "{finished:?}");
    assert!(finished.stderr.contains("Address already in use (os error 98)"), "{finished:?}");
    assert_eq!(podman.server().filter(|&server| machine.is_alive(server)), None);
}

#[test]
fn the_log_goes_to_syslog() {
    needs_podman!();
    let outside = Outside::new();
    let machine = machine(&outside);
    let podman = with_networks(Podman::new(&machine));
    let path = machine.file("/dev/log");
    let log = UnixDatagram::bind(&path).unwrap();
    // Read all the time: others write there, too, and wait where nobody reads.
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = [0; 4096];
        while let Ok(len) = log.recv(&mut line) {
            let line = String::from_utf8_lossy(&line[..len]).into_owned();
            if line.contains("aardvark-dns[") && tell.send(line).is_err() {
                break;
            }
        }
    });
    // Netavark passes its own level on, which is Podman's.
    podman.run(&[
        "--log-level",
        "debug",
        "run",
        "--detach",
        "--name",
        "web",
        "--network",
        "shop",
        "busybox",
        "sleep",
        "1000",
    ]);
    let line = told.recv_timeout(support::DEADLINE).expect("a line");
    assert!(line.starts_with('<'), "{line}");
}

#[test]
fn an_unprivileged_user_has_it_too() {
    needs_podman!();
    needs_root!("slirp4netns", "newuidmap");
    let outside = Outside::new();
    let upstream = outside.upstream();
    let machine = machine(&outside);
    let podman = with_networks(Podman::rootless(&machine));
    let api = podman.container("api", &["--network", "shop"]);
    let web = podman.container("web", &["--network", "shop", "--network-alias", "www"]);
    let cms = podman.container("cms", &["--network", "blog"]);
    let address = web.address_on("shop");
    for name in ["web", "www", "web.dns.podman", web.short_id()] {
        resolves(&api, SHOP, name, &[&address]);
        assert_eq!((api.getent(name), api.nslookup(name)), (vec![address.clone()], vec![address.clone()]), "{name}");
    }
    assert_eq!(cms.resolves(BLOG, "web.dns.podman"), ["NXDOMAIN"]);
    // Through slirp4netns, whose own resolver is the first of the rootless network's resolv.conf.
    assert_eq!(cms.getent("www.example.com"), ["192.0.2.80"]);
    assert!(upstream.queries().contains(&"A www.example.com".to_owned()));
    assert_ne!(UPSTREAM, "10.0.2.3");

    let [server] = machine.processes("aardvark-dns --config")[..] else { panic!("one server") };
    let status = fs::read_to_string(machine.proc(server, "status")).unwrap();
    assert!(status.contains("\nUid:\t4000\t4000\t4000\t4000\n"), "{status}");
    podman.run(&["network", "connect", "blog", "web"]);
    becomes("web on blog", vec![web.address_on("blog")], || cms.resolves(BLOG, "web"));
    podman.run(&["rm", "--force", "--time", "0", "api", "web", "cms"]);
    becomes("servers", Vec::new(), || machine.processes("aardvark-dns --config"));
}
