//! How it ends, what is left then, and how the next one starts.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use callsign::wire::rtype;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use crate::kit::{BLOG, Daemon, Home, SHOP, network, until};
use crate::support::client::{Query, Reply};
use crate::support::upstream::{self, Act, Gate, Scripted, a};

#[test]
fn when_no_network_is_left_it_ends() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    home.remove("shop");
    daemon.hang_up();
    assert!(matches!(daemon.wait(), WaitStatus::Exited(_, 0)));
    assert!(!home.pid_file().exists());
    assert!(home.client(SHOP).connect().is_err());
}

#[test]
fn when_told_to_stop_it_stops_and_removes_the_pid_file() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let home = Home::new();
        home.write("shop", &network(SHOP, "10.89.0.2"));
        let daemon = home.start();
        daemon.signal(signal);
        assert!(matches!(daemon.wait(), WaitStatus::Exited(_, 0)));
        assert!(!home.pid_file().exists());
    }
}

/// A server with one network, one question to which waits for an upstream: that, the gate before its answer, and whoever waits.
async fn with_a_question_under_way(home: &Home) -> (Daemon, Scripted, Gate, UdpSocket) {
    let gate = Gate::closed();
    let wait = gate.clone();
    let answer = move |query: &upstream::Query| vec![Act::Wait(wait.clone()), query.answer(&[a([192, 0, 2, 1])])];
    let upstream = Scripted::start(answer).await;
    home.configure(&format!("[server]\nupstreams = [\"{}\"]\n", upstream.address()));
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    let socket = home.client(SHOP).udp_socket().unwrap();
    socket.send(&Query::new("www.example.com", rtype::A).bytes()).unwrap();
    upstream.query(0).await;
    (daemon, upstream, gate, socket)
}

#[tokio::test(flavor = "multi_thread")]
async fn when_told_to_stop_it_answers_what_was_asked() {
    let home = Home::new();
    let (daemon, _upstream, gate, socket) = with_a_question_under_way(&home).await;
    daemon.signal(Signal::SIGTERM);
    until("the pid file is gone", || !home.pid_file().exists());
    gate.open();
    let mut reply = [0; 512];
    let len = socket.recv(&mut reply).unwrap();
    assert_eq!(Reply::new(reply[..len].to_vec()).answers().len(), 1);
    assert!(matches!(daemon.wait(), WaitStatus::Exited(_, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_no_network_is_left_it_ends_at_once_and_waits_for_no_upstream() {
    let home = Home::new();
    let (daemon, _upstream, _gate, _socket) = with_a_question_under_way(&home).await;
    home.remove("shop");
    let start = Instant::now();
    daemon.hang_up();
    assert!(matches!(daemon.wait(), WaitStatus::Exited(_, 0)));
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
}

#[test]
fn one_that_was_killed_is_followed_by_the_next() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    let first = daemon.pid;
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    // It could not remove it: netavark finds nobody of this number, and starts the next one.
    assert_eq!(fs::read_to_string(home.pid_file()).unwrap(), first.to_string());
    let next = home.start();
    assert_ne!(next.pid, first);
    assert_eq!(home.addresses(SHOP, "web"), ["10.89.0.2"]);
}

#[test]
fn a_pid_file_that_names_another_program_is_replaced_and_that_one_left_alone() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let mut other = Command::new("sleep").arg("600").spawn().unwrap();
    for text in [other.id().to_string(), "0".to_owned(), "-1".to_owned(), "no number".to_owned(), String::new()] {
        fs::write(home.pid_file(), text).unwrap();
        let daemon = home.start();
        assert_ne!(daemon.pid.as_raw(), other.id() as i32);
        assert_eq!(home.addresses(SHOP, "web"), ["10.89.0.2"]);
    }
    assert!(other.try_wait().unwrap().is_none(), "a SIGHUP would have ended it");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn the_pid_file_of_another_is_not_removed() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    fs::write(home.pid_file(), "1").unwrap();
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    assert_eq!(fs::read_to_string(home.pid_file()).unwrap(), "1");
}

#[test]
fn a_directory_that_is_gone_has_no_network_left_and_is_not_made_again() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    fs::remove_dir_all(home.directory()).unwrap();
    daemon.hang_up();
    assert!(matches!(daemon.wait(), WaitStatus::Exited(_, 0)));
    assert!(!home.directory().exists());
}

/// Nobody tells a server that its directory is gone, or finds it by the new one, and it has the gateway still.
#[test]
fn a_directory_that_was_removed_and_made_again_has_a_new_server() {
    let home = Home::new();
    for address in ["10.89.0.2", "10.89.0.3"] {
        home.write("shop", &network(SHOP, address));
        let old = home.start();
        fs::remove_dir_all(home.directory()).unwrap();
        fs::create_dir(home.directory()).unwrap();
        home.write("shop", &network(SHOP, "10.89.0.9"));
        let new = home.start();
        assert!(matches!(old.wait(), WaitStatus::Exited(_, 0)));
        assert_eq!(fs::read_to_string(home.pid_file()).unwrap(), new.pid.to_string());
        assert_eq!(home.addresses(SHOP, "web"), ["10.89.0.9"]);
    }
}

#[test]
fn a_server_that_sees_another_directory_in_the_place_of_its_own_ends_and_leaves_it_alone() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let old = home.start();
    fs::rename(home.directory(), home.path().join("old")).unwrap();
    fs::create_dir(home.directory()).unwrap();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    fs::write(home.pid_file(), "1").unwrap();
    old.hang_up();
    assert!(matches!(old.wait(), WaitStatus::Exited(_, 0)));
    assert_eq!(fs::read_to_string(home.pid_file()).unwrap(), "1");
}

#[test]
fn a_server_whose_pid_file_was_removed_is_found_all_the_same() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    fs::remove_file(home.pid_file()).unwrap();
    home.write("blog", &network(BLOG, "10.90.0.2"));
    home.run().expect_success();
    assert_eq!(fs::read_to_string(home.pid_file()).unwrap(), daemon.pid.to_string());
    until("it was told", || home.client(BLOG).connect().is_ok());
    assert_eq!(home.addresses(SHOP, "web"), ["10.89.0.2"]);
}

/// The server is about to end, as the last container has gone, when the next one comes: whoever looks at what moment, there
/// is one server then, and it knows the container.
#[test]
fn a_container_that_comes_while_it_leaves_is_served() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let mut daemon = home.start();
    let named = || fs::read_to_string(home.pid_file()).ok().and_then(|text| text.parse().ok()).map(Pid::from_raw);
    let (mut kept, mut new) = (0, 0);
    for round in 0..150 {
        home.remove("shop");
        daemon.hang_up();
        // Each round a little later than the one before.
        let pause = Duration::from_micros(round * 20);
        let start = std::time::Instant::now();
        while start.elapsed() < pause {}
        // From here on as netavark does: write, read the pid file, signal, or start.
        let address = format!("10.89.0.{}", round + 2);
        home.write("shop", &network(SHOP, &address));
        let is_told = named().is_some_and(|pid| kill(pid, Signal::SIGHUP).is_ok());
        if !is_told {
            home.run().expect_success();
        }
        until("the container is known", || home.addresses_if_any(SHOP, "web") == [&*address]);
        until("there is a pid file", || named().is_some());
        let now = named().unwrap();
        if now == daemon.pid {
            kept += 1;
        } else {
            new += 1;
            std::mem::replace(&mut daemon, Daemon { pid: now }).wait();
        }
    }
    println!("{kept} rounds went on, {new} had a new server");
}

#[test]
fn many_starts_at_a_time_make_one_server() {
    let home = Home::new();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    home.write("blog", &network(BLOG, "10.90.0.2"));
    std::thread::scope(|scope| {
        let starts: Vec<_> = (0..10).map(|_| scope.spawn(|| home.run().expect_success())).collect();
        starts.into_iter().for_each(|start| _ = start.join().unwrap());
    });
    let daemon = home.daemon();
    assert_eq!((home.addresses(SHOP, "web").len(), home.addresses(BLOG, "web").len()), (1, 1));
    let ours = home.program().display().to_string();
    let running = fs::read_dir("/proc").unwrap().flatten().filter(|process| {
        fs::read_to_string(process.path().join("cmdline")).is_ok_and(|words| words.starts_with(&ours))
    });
    assert_eq!(running.count(), 1);
    drop(daemon);
}
