//! The sandbox of `callsign serve`: what it gives up after its start, what it can do nevertheless, and what it says of what
//! it cannot. (`tests/aardvark/confined.rs` is the same for Podman's server.)

mod support;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::time::Instant;

use callsign::wire::rtype;
use nix::sys::signal::Signal;
use support::client::{Client, Query};
use support::confined::{NET_BIND_SERVICE, assert_confined};
use support::netns::Lab;
use support::process::{Finished, Source, run};
use support::program::{Program, callsign};
use support::upstream::{Scripted, a};
use support::{DEADLINE, free_port, needs};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// What the sandbox adds to an error.
const REMARK: &str = "the sandbox may be why";

fn config(port: u16, upstreams: &str, db: &str) -> String {
    format!(
        "[server]\nport = {port}\n{upstreams}\n\
         [[network]]\nname = \"shop\"\nlisten = [\"127.0.0.1\"]\ndomains = [\"internal\"]\n\
         endpoint = [{{ id = \"db-1\", names = [\"db\"], addresses = [\"{db}\"] }}]\n"
    )
}

/// A configuration of which nothing is forwarded.
fn local(port: u16, db: &str) -> String {
    config(port, "upstreams = [\"127.0.0.66:1\"]", db)
}

#[track_caller]
fn asked(port: u16, name: &str) -> Vec<String> {
    let reply = Client::new(SocketAddr::new(LOCAL, port)).udp(&Query::new(name, rtype::A));
    reply.addresses().iter().map(ToString::to_string).collect()
}

/// What a command says of a server.
#[track_caller]
fn command(program: &Program, words: &str) -> Finished {
    let mut words: Vec<&str> = words.split(' ').collect();
    let socket = program.control();
    words.extend(["--socket", socket.to_str().unwrap()]);
    run(callsign(&words))
}

/// False, and said, where the kernel has no Landlock.
fn has_landlock(program: &Program, test: &str) -> bool {
    let is_there = !program.wait_for(Source::Stderr, "confined").contains("landlock=\"none\"");
    if !is_there {
        needs::skip("Landlock", test);
    }
    is_there
}

#[test]
fn every_thread_gives_up_all_privileges_where_ports_are_high() {
    let port = free_port(&[LOCAL]);
    let program = Program::with(&local(port, "10.10.1.3")).start();
    // The main thread, a worker, and the two that follow the file.
    assert_confined(program.pid(), 0, 4);
    assert_eq!(asked(port, "db"), ["10.10.1.3"]);
    let confined = program.wait_for(Source::Stderr, "confined");
    assert!(confined.contains("capabilities=\"\" no_new_privs=true"), "{confined}");
    let status = command(&program, "status").expect_success().stdout;
    assert!(status.contains("sandbox  no capability, no_new_privs, "), "{status}");
    let json: serde_json::Value = serde_json::from_str(&command(&program, "status --json").stdout).unwrap();
    let json = &json["servers"][0];
    assert_eq!(json["confined"]["no_new_privs"], true, "{json}");
}

/// To give the socket to a group that root is not in takes a privilege, and so it is done before that is dropped. The log of
/// queries has a thread of its own, and its file is made anew where it was moved away.
#[test]
fn the_control_socket_its_group_the_state_and_the_query_log_are_there_in_the_sandbox() {
    needs_root!("ip");
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("queries.log");
    let port = free_port(&[LOCAL]);
    let more = format!("[control]\ncontrol_group = \"nogroup\"\n[log]\nqueries = \"all\"\nfile = {log:?}\n");
    let program = Program::with(&format!("{more}{}", local(port, "10.10.1.3"))).start();
    assert_confined(program.pid(), 0, 5);
    let nogroup = nix::unistd::Group::from_name("nogroup").unwrap().unwrap().gid.as_raw();
    assert_eq!(fs::metadata(program.control()).unwrap().gid(), nogroup);
    let written = |path: &Path| {
        let start = Instant::now();
        while !fs::read_to_string(path).is_ok_and(|text| text.contains("db")) {
            assert!(start.elapsed() < DEADLINE, "nothing in {}: {program:?}", path.display());
            assert_eq!(asked(port, "db"), ["10.10.1.3"]);
        }
    };
    written(&log);
    fs::rename(&log, place.path().join("queries.log.1")).unwrap();
    program.reload_by_signal();
    written(&log);
    command(&program, "name add legacy 10.1.2.3 --network shop --persist").expect_success();
    let mut kept = fs::read_dir(program.directory().join("state")).unwrap().flatten();
    assert!(kept.any(|file| file.file_name().to_string_lossy().starts_with("names-")), "{program:?}");
}

#[test]
fn of_roots_capabilities_one_is_left_for_port_53_and_later_networks_are_bound_there() {
    needs_root!("ip");
    let lab = Lab::new();
    let network = |name: &str, listen: &str| format!("[[network]]\nname = \"{name}\"\nlisten = [\"{listen}\"]\n");
    let config = format!("[server]\nupstreams = [\"127.0.0.66:1\"]\n{}", network("shop", "127.0.0.1"));
    let program = Program::with(&config).inside(lab.host()).start();
    assert_confined(program.pid(), NET_BIND_SERVICE, 4);
    program.reload_by_change(&format!("{config}{}", network("blog", "127.0.0.2")));
    let served = program.wait_for(Source::Stderr, "network=\"blog\" listen=\"127.0.0.2:53\"");
    assert!(served.contains("network is served"), "{served}");
}

#[test]
fn a_low_port_that_a_reload_wants_is_refused_with_the_reason() {
    needs_root!("ip");
    let lab = Lab::new();
    let program = Program::with(&local(5300, "10.10.1.3")).inside(lab.host()).start();
    program.reload_by_change(&local(5300, "10.10.1.3").replace("127.0.0.1", "127.0.0.1:53"));
    let told = program.wait_for(Source::Stderr, "cannot listen; trying again");
    assert!(told.contains("Permission denied (os error 13)") && told.contains(REMARK), "{told}");
}

/// The server itself is made to read a file: its own configuration leads there.
#[test]
fn a_file_outside_is_out_of_reach_and_the_error_says_that_it_is_the_sandbox() {
    let port = free_port(&[LOCAL]);
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("moved.toml");
    fs::write(&moved, local(port, "10.10.1.4")).unwrap();
    let turn = |program: &Program, to: &Path| {
        let link = program.directory().join("link");
        symlink(to, &link).unwrap();
        fs::rename(link, program.config_path()).unwrap();
    };

    let program = Program::with(&local(port, "10.10.1.3")).start();
    if !has_landlock(&program, "a_file_outside_is_out_of_reach") {
        return;
    }
    for file in [&moved, Path::new("/etc/shadow"), Path::new("/etc/hostname")] {
        if fs::File::open(file).is_err() {
            // Not for this user, whatever the server does.
            continue;
        }
        let mark = program.mark();
        turn(&program, file);
        program.signal(Signal::SIGHUP);
        let told = program.wait_after(mark, Source::Stderr, "cannot be read");
        assert!(
            told.contains("Permission denied (os error 13)") && told.contains(REMARK),
            "{}: {told}",
            file.display()
        );
        assert_eq!(asked(port, "db"), ["10.10.1.3"]);
    }
    let ordered = command(&program, "reload");
    assert_eq!(ordered.status.code(), Some(1), "{ordered:?}");
    assert!(format!("{}{}", ordered.stdout, ordered.stderr).contains(REMARK), "{ordered:?}");
    drop(program);

    let free = Program::with(&local(port, "10.10.1.3")).arguments(&["--no-sandbox"]).start();
    free.wait_for(Source::Stderr, "there is no sandbox");
    let mark = free.mark();
    turn(&free, &moved);
    free.wait_after(mark, Source::Stderr, "reloaded");
    assert_eq!(asked(port, "db"), ["10.10.1.4"]);
}

/// As in a container that has the host's /etc and /run somewhere.
#[test]
fn of_an_etc_no_more_is_read_than_where_the_link_resolv_conf_leads() {
    let port = free_port(&[LOCAL]);
    let place = tempfile::tempdir().unwrap();
    let [etc, run] = ["etc", "run"].map(|name| place.path().join(name));
    fs::create_dir(&etc).unwrap();
    fs::create_dir(&run).unwrap();
    fs::write(run.join("resolv.conf"), "nameserver 127.0.0.66\n").unwrap();
    symlink("../run/resolv.conf", etc.join("resolv.conf")).unwrap();
    let own = |db: &str| config(port, &format!("resolv_conf = {:?}", etc.join("resolv.conf")), db);
    for directory in [&etc, &run] {
        fs::write(directory.join("other.toml"), own("10.10.1.4")).unwrap();
    }
    let program = Program::with(&own("10.10.1.3")).start();
    if !has_landlock(&program, "of_an_etc_no_more_is_read_than_where_the_link_resolv_conf_leads") {
        return;
    }
    for (directory, said) in [(&etc, REMARK), (&run, "INFO reloaded")] {
        let mark = program.mark();
        let link = program.directory().join("link");
        symlink(directory.join("other.toml"), &link).unwrap();
        fs::rename(link, program.config_path()).unwrap();
        program.wait_after(mark, Source::Stderr, said);
    }
    assert_eq!(asked(port, "db"), ["10.10.1.4"], "{program:?}");
}

#[test]
fn errors_of_json_logs_say_it_in_a_field() {
    let port = free_port(&[LOCAL]);
    let program = Program::with(&local(port, "10.10.1.3")).arguments(&["--log-format", "json"]).start();
    if program.wait_for(Source::Stderr, "\"confined\"").contains("\"landlock\":\"none\"") {
        return needs::skip("Landlock", "errors_of_json_logs_say_it_in_a_field");
    }
    let link = program.directory().join("link");
    symlink("/etc/hostname", &link).unwrap();
    fs::rename(link, program.config_path()).unwrap();
    let told = program.wait_for(Source::Stderr, "cannot be read");
    let told: serde_json::Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
    assert!(told["sandbox"].as_str().is_some_and(|remark| remark.starts_with(REMARK)), "{told}");
}

/// Two upstreams at port 53 of a namespace, each with an address of its own for every name.
async fn upstreams(lab: &Lab) -> [Scripted; 2] {
    let start = |listen: [u8; 4], answer: [u8; 4]| {
        let address = SocketAddr::from((listen, 53));
        let (udp, tcp) = lab.host().enter(|| (UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap()));
        udp.set_nonblocking(true).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let (udp, tcp) = (tokio::net::UdpSocket::from_std(udp), tokio::net::TcpListener::from_std(tcp));
        Scripted::on(udp.unwrap(), tcp.unwrap(), move |query| vec![query.answer(&[a(answer)])])
    };
    [start([127, 0, 0, 201], [192, 0, 2, 1]), start([127, 0, 0, 202], [192, 0, 2, 2])]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resolv_conf_that_is_replaced_is_followed_where_it_is_and_where_a_link_leads() {
    needs_root!("ip");
    let lab = Lab::new();
    let _upstreams = upstreams(&lab).await;
    let place = tempfile::tempdir().unwrap();
    let [file, managed] = ["resolv.conf", "managed"].map(|name| place.path().join(name));
    fs::create_dir(&managed).unwrap();
    let write = |path: &Path, server: &str| {
        let new = path.with_extension("new");
        fs::write(&new, format!("nameserver {server}\n")).unwrap();
        fs::rename(new, path).unwrap();
    };
    let text = config(5300, &format!("resolv_conf = {file:?}"), "10.10.1.3");
    let serves = |program: &Program, address: &str| {
        let start = Instant::now();
        let mut number = 0;
        loop {
            number += 1;
            // Each a name that no cache has.
            let name = format!("n{number}.{address}.example");
            if lab.host().enter(|| asked(5300, &name)) == [address] {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "not {address}: {program:?}");
        }
    };

    write(&file, "127.0.0.201");
    let program = Program::with(&text).inside(lab.host()).start();
    assert_confined(program.pid(), 0, 4);
    serves(&program, "192.0.2.1");
    write(&file, "127.0.0.202");
    serves(&program, "192.0.2.2");
    drop(program);

    write(&managed.join("stub.conf"), "127.0.0.201");
    fs::remove_file(&file).unwrap();
    symlink("managed/stub.conf", &file).unwrap();
    let program = Program::with(&text).inside(lab.host()).start();
    serves(&program, "192.0.2.1");
    write(&managed.join("stub.conf"), "127.0.0.202");
    serves(&program, "192.0.2.2");

    // Where it did not lead at the start: the servers stay, and the log says why.
    if has_landlock(&program, "a_resolv_conf_that_is_replaced") {
        let elsewhere = tempfile::tempdir().unwrap();
        write(&elsewhere.path().join("resolv.conf"), "127.0.0.201");
        let link = place.path().join("link");
        symlink(elsewhere.path().join("resolv.conf"), &link).unwrap();
        fs::rename(link, &file).unwrap();
        serves(&program, "192.0.2.2");
        let start = Instant::now();
        while !program.lines(Source::Stderr).iter().any(|line| line.contains("its last name servers stay")) {
            assert!(start.elapsed() < DEADLINE, "{program:?}");
            serves(&program, "192.0.2.2");
        }
        let told = program.wait_for(Source::Stderr, "its last name servers stay");
        assert!(told.contains("WARN") && told.contains(REMARK), "{told}");
    }
}
