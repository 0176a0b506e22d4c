//! From the command to the ready octet.

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use callsign::wire::rtype;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{getsid, mkfifo};

use crate::kit::{BLOG, Home, SHOP, network, until};
use crate::needs_root;
use crate::support::client::Query;
use crate::support::needs;
use crate::support::process::run;

#[test]
fn when_the_parent_has_ended_every_gateway_answers_over_udp_and_tcp() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    home.write("blog", &network(&format!("{BLOG},127.0.0.3"), "10.90.0.2"));
    let _daemon = home.start();
    for (gateway, expected) in [(SHOP, "10.89.0.2"), (BLOG, "10.90.0.2"), ("127.0.0.3", "10.90.0.2")] {
        let query = Query::new("web", rtype::A);
        assert_eq!(home.client(gateway).udp(&query).addresses(), [expected.parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!(home.client(gateway).tcp(&query).addresses(), [expected.parse::<std::net::IpAddr>().unwrap()]);
    }
}

#[test]
fn the_pid_file_is_a_decimal_number_and_no_newline() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    assert_eq!(fs::read_to_string(home.pid_file()).unwrap(), daemon.pid.to_string());
}

#[test]
fn what_is_in_the_place_of_the_pid_file_is_replaced_not_written_to() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let precious = home.path().join("precious");
    fs::write(&precious, "of somebody else").unwrap();
    for what in ["a FIFO", "a link", "a link to nothing", "a device"] {
        let _ = fs::remove_file(home.pid_file());
        match what {
            "a FIFO" => mkfifo(&home.pid_file(), Mode::S_IRWXU).unwrap(),
            "a link" => symlink(&precious, home.pid_file()).unwrap(),
            "a link to nothing" => symlink("/nonexistent/pid", home.pid_file()).unwrap(),
            _ => symlink("/dev/zero", home.pid_file()).unwrap(),
        }
        let daemon = home.start();
        assert!(fs::symlink_metadata(home.pid_file()).unwrap().is_file(), "{what}");
        assert_eq!(fs::read_to_string(home.pid_file()).unwrap(), daemon.pid.to_string());
    }
    assert_eq!(fs::read_to_string(precious).unwrap(), "of somebody else");
    let files = fs::read_dir(home.directory()).unwrap();
    let mut left: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["aardvark.pid", "shop"], "nothing else is left");
}

#[test]
fn whoever_reads_the_pid_file_finds_a_number_or_no_file() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    std::thread::scope(|scope| {
        let starts = scope.spawn(|| {
            for _ in 0..20 {
                let daemon = home.start();
                // Over the file of one that was killed, and where there is none.
                daemon.signal(Signal::SIGKILL);
                daemon.wait();
                let daemon = home.start();
                daemon.signal(Signal::SIGTERM);
                daemon.wait();
            }
        });
        while !starts.is_finished() {
            match fs::read_to_string(home.pid_file()) {
                Ok(text) => assert!(text.parse::<u32>().is_ok(), "{text:?}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
            }
        }
    });
}

#[test]
fn it_leaves_the_callers_session_streams_and_directory() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let mut command = home.run_command();
    command.current_dir(home.path());
    // That this returns is the end of its standard output and error.
    run(command).expect_success();
    let daemon = home.daemon();
    assert_eq!(getsid(Some(daemon.pid)).unwrap(), daemon.pid, "a session of its own");
    assert_eq!(fs::read_link(daemon.proc("cwd")).unwrap(), Path::new("/"), "a working directory pins its mount");
    for (number, leads_to) in daemon.descriptors() {
        if number.parse::<u32>().unwrap() < 3 {
            assert_eq!(leads_to, Path::new("/dev/null"), "descriptor {number}");
        }
    }
}

#[test]
fn a_relative_directory_is_the_callers() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let port = home.port.to_string();
    let mut command = home.command(&["-c", "networks", "-p", &port, "run"]);
    command.current_dir(home.path());
    run(command).expect_success();
    let daemon = home.daemon();
    home.write("blog", &network(BLOG, "10.90.0.2"));
    daemon.hang_up();
    until("it listens there", || home.client(BLOG).connect().is_ok());
}

#[test]
fn no_descriptor_of_the_caller_is_kept() {
    let home = Home::new().prefix(&["sh", "-c", "exec 3>pinned 9>>pinned; exec \"$0\" \"$@\""]);
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let mut command = home.run_command();
    command.current_dir(home.path());
    run(command).expect_success();
    let pinned = home.path().join("pinned");
    assert!(pinned.exists());
    let daemon = home.daemon();
    let kept: Vec<_> = daemon.descriptors().into_iter().filter(|(_, leads_to)| *leads_to == pinned).collect();
    assert!(kept.is_empty(), "{kept:?}");
}

#[test]
fn a_gateway_that_is_taken_ends_it_with_the_message_that_users_know() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    home.write("blog", &network(BLOG, "10.90.0.2"));
    let message = |transport: &str, gateway: &str| {
        format!(
            "failed to bind {transport} listener on {gateway}:{}: IO error: Address already in use (os error 98)",
            home.port
        )
    };
    let expect = |failures: &[String]| {
        let finished = home.run();
        assert_eq!(finished.status.code(), Some(1));
        let expected = format!("Error starting server {}\nError from child process\n", failures.join("\n"));
        assert_eq!((finished.stdout.as_str(), finished.stderr), ("", expected));
        assert!(!home.pid_file().exists(), "it would name nobody, and later anybody");
    };
    let udp = UdpSocket::bind((SHOP, home.port)).unwrap();
    expect(&[message("udp", SHOP)]);
    let tcp = TcpListener::bind((BLOG, home.port)).unwrap();
    expect(&[message("tcp", BLOG), message("udp", SHOP)]);
    drop(udp);
    expect(&[message("tcp", BLOG)]);
    drop(tcp);
    let _daemon = home.start();
}

#[test]
fn a_taken_gateway_of_ipv6_is_written_in_brackets() {
    let Ok(taken) = UdpSocket::bind(("::1", 0)) else { return needs::skip("IPv6", "a taken gateway of IPv6") };
    let mut home = Home::new();
    home.port = taken.local_addr().unwrap().port();
    home.write("shop", &network("::1", "10.89.0.2"));
    let finished = home.run();
    let expected = format!("failed to bind udp listener on [::1]:{}: IO error: Address already in use", home.port);
    assert!(finished.stderr.contains(&expected), "{}", finished.stderr);
}

#[test]
fn an_empty_directory_ends_it_with_an_error() {
    let home = Home::new();
    let message = format!("there is no network in {}\nError from child process\n", home.directory().display());
    let expect = || {
        let finished = home.run();
        assert_eq!(finished.status.code(), Some(1));
        assert_eq!((finished.stdout.as_str(), &finished.stderr), ("", &message));
        assert!(!home.pid_file().exists());
    };
    expect();
    // A file that says nothing is no network, when it was given the time to be written.
    home.write("shop", "");
    expect();
}

#[test]
fn a_server_that_dies_before_it_is_ready_fails_the_start_and_its_pid_file_is_there_before_it_reads() {
    let home = Home::new();
    // It gives somebody the time to write the rest.
    home.write("shop", "");
    let finished = std::thread::scope(|scope| {
        let start = scope.spawn(|| home.run());
        until("there is a pid file", || home.pid_file().exists());
        home.daemon().signal(Signal::SIGKILL);
        start.join().unwrap()
    });
    assert_eq!((finished.status.code(), &*finished.stderr), (Some(1), "Error from child process\n"));
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let _daemon = home.start();
}

/// What is said of a directory that cannot be used.
#[track_caller]
fn expect_unusable(home: &Home, why: &str) {
    let finished = home.run();
    let expected = format!(
        "Error creating aardvark pid: the directory {} of --config cannot be used: {why}\nError from child process\n",
        home.directory().display()
    );
    assert_eq!((finished.status.code(), finished.stderr), (Some(1), expected));
}

#[test]
fn a_directory_that_is_none_is_named() {
    let home = Home::new();
    fs::remove_dir(home.directory()).unwrap();
    expect_unusable(&home, "No such file or directory (os error 2)");
    fs::write(home.directory(), "").unwrap();
    expect_unusable(&home, "Not a directory (os error 20)");
    fs::remove_file(home.directory()).unwrap();
    mkfifo(&home.directory(), Mode::S_IRWXU).unwrap();
    expect_unusable(&home, "Not a directory (os error 20)");
}

#[test]
fn a_directory_that_cannot_be_written_to_is_named() {
    needs_root!("setpriv");
    let home = Home::new().prefix(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    expect_unusable(&home, "Permission denied (os error 13)");
}

#[test]
fn a_signal_that_the_caller_has_blocked_or_ignored_is_taken_all_the_same() {
    // `nohup`, and its like.
    let home = Home::new().prefix(&["sh", "-c", "trap '' HUP TERM; exec \"$0\" \"$@\""]);
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    home.remove("shop");
    daemon.hang_up();
    daemon.wait();
}

/// Podman without root: a user's own user and network namespaces, in which it may listen on port 53.
#[test]
fn an_unprivileged_user_can_run_it_in_the_rootless_network_namespace() {
    needs_root!("unshare", "setpriv", "ip", "nsenter");
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let namespaces = ["unshare", "--user", "--map-root-user", "--net"];
    let mut probe = needs::command("setpriv");
    probe.args(&user[1..]).args(namespaces).arg("true");
    if !run(probe).status.success() {
        return needs::skip("namespaces for users", "a server without root");
    }
    let inside = ["sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""];
    let mut home = Home::new().prefix(&[&user[..], &namespaces, &inside].concat());
    home.port = 53;
    home.write("shop", &network("10.89.0.1", "10.89.0.2"));
    let mut own = needs::command("chown");
    own.args(["-R", "65534:65534"]).arg(home.path());
    run(own).expect_success();
    let daemon = home.start();

    let mut ask = needs::command("nsenter");
    ask.args([
        "-t",
        &daemon.pid.to_string(),
        "-n",
        "sh",
        "-c",
        "ip address add 10.89.0.1/24 dev lo && exec \"$0\" \"$@\"",
    ]);
    ask.args([crate::support::program::CALLSIGN, "lookup", "web", "A", "--server", "10.89.0.1"]);
    let answer = run(ask).expect_success();
    assert!(answer.stdout.contains("10.89.0.2"), "{}", answer.stdout);
    home.remove("shop");
    daemon.hang_up();
    daemon.wait();
    assert!(!home.pid_file().exists());
}
