//! `callsign serve` and a configuration that changes: what follows, what stays, and that nobody notices.

mod support;

use std::collections::HashSet;
use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use callsign::wire::rtype;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use support::client::{Client, Query, Reply};
use support::free_port;
use support::process::{Process, Source};
use support::program::{Program, callsign};
use support::sockets::listening;

const SHOP: &str = "127.0.0.1";
const BLOG: &str = "127.0.0.2";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A network with one endpoint called db.
fn network(name: &str, listen: &str, db: &str) -> String {
    format!(
        "[[network]]\nname = \"{name}\"\nlisten = [\"{listen}\"]\ndomains = [\"internal\"]\n\
         endpoint = [{{ id = \"{name}-db-1\", names = [\"db\"], addresses = [\"{db}\"] }}]\n"
    )
}

fn server(port: u16) -> String {
    format!("[server]\nport = {port}\nupstreams = [\"127.0.0.66:1\"]\n")
}

/// The addresses of db at a listener.
#[track_caller]
fn db_at(listen: &str, port: u16) -> Vec<IpAddr> {
    Client::new(SocketAddr::new(ip(listen), port)).udp(&Query::new("db", rtype::A)).addresses()
}

/// The inodes of the program's sockets at an address, UDP and TCP.
fn inodes(program: &Program, listen: &str, port: u16) -> Vec<String> {
    listening(program.pid(), SocketAddr::new(ip(listen), port))
}

#[test]
fn a_changed_file_is_followed_and_sockets_that_stay_are_kept() {
    let port = free_port(&[ip(SHOP), ip(BLOG), ip("127.0.0.3")]);
    let program = Program::with(
        &[server(port), network("shop", SHOP, "10.10.1.3"), network("old", "127.0.0.3", "10.0.0.3")].concat(),
    )
    .start();
    assert_eq!(db_at(SHOP, port), [ip("10.10.1.3")]);
    let before = inodes(&program, SHOP, port);
    assert_eq!(before.len(), 2, "UDP and TCP");

    let mark = program.mark();
    program.reload_by_change(
        &[server(port), network("shop", SHOP, "10.10.1.4"), network("blog", BLOG, "10.10.2.3")].concat(),
    );
    let line = program.wait_after(mark, Source::Stderr, "reloaded");
    assert!(line.contains("added=\"blog\" changed=\"shop\" removed=\"old\" settings=false"), "{line}");
    assert_eq!((db_at(SHOP, port), db_at(BLOG, port)), (vec![ip("10.10.1.4")], vec![ip("10.10.2.3")]));
    assert_eq!(inodes(&program, SHOP, port), before, "the same sockets");
    let over_tcp = Client::new(SocketAddr::new(ip(SHOP), port)).tcp(&Query::new("db", rtype::A));
    assert_eq!(over_tcp.addresses(), [ip("10.10.1.4")]);

    // An address that goes to another network goes with its sockets.
    program.reload_by_change(
        &[server(port), network("shop", BLOG, "10.10.1.5"), network("blog", SHOP, "10.10.2.5")].concat(),
    );
    assert_eq!((db_at(SHOP, port), db_at(BLOG, port)), (vec![ip("10.10.2.5")], vec![ip("10.10.1.5")]));
    assert_eq!(inodes(&program, SHOP, port), before, "the same sockets");

    // Another port makes another listener, and the old one is gone.
    let other = free_port(&[ip(SHOP), ip(BLOG)]);
    program.reload_by_change(&[server(other), network("shop", SHOP, "10.10.1.6")].concat());
    assert_eq!(db_at(SHOP, other), [ip("10.10.1.6")]);
    assert!(inodes(&program, BLOG, other).is_empty());
}

#[test]
fn a_bad_file_changes_nothing_and_says_so() {
    let port = free_port(&[ip(SHOP)]);
    let program = Program::with(&[server(port), network("shop", SHOP, "10.10.1.3")].concat()).start();
    let before = inodes(&program, SHOP, port);
    let path = program.config_path();

    let mark = program.mark();
    program.write_config("[server]\nport = 0\n[[network]]\nnam = \"shop\"\n");
    for mistake in ["2: `port` is 0; write a number from 1 to 65535", "4: unknown key `nam`; did you mean `name`?"] {
        program.wait_after(mark, Source::Stderr, &format!("{}:{mistake}", path.display()));
    }
    program.wait_after(mark, Source::Stderr, "not reloaded: the file has errors, so everything stays as it is");
    program.wait_after(mark, Source::Notify, "READY=1");
    assert_eq!(db_at(SHOP, port), [ip("10.10.1.3")]);

    // By signal it is read, and refused, again; and a file that is gone is one that cannot be read.
    for again in ["[server\n", ""] {
        if again.is_empty() {
            fs::remove_file(&path).unwrap();
        } else {
            program.write_config(again);
        }
        let mark = program.mark();
        program.signal(Signal::SIGHUP);
        program.wait_after(mark, Source::Stderr, "not reloaded");
        assert_eq!(db_at(SHOP, port), [ip("10.10.1.3")]);
    }
    assert_eq!(inodes(&program, SHOP, port), before, "the same sockets");

    program.reload_by_change(&[server(port), network("shop", SHOP, "10.10.1.9")].concat());
    assert_eq!(db_at(SHOP, port), [ip("10.10.1.9")]);
}

/// Truncated and not written again: by a writer that is killed, or because the disk is full.
#[test]
fn an_empty_file_changes_nothing() {
    let port = free_port(&[ip(SHOP)]);
    let program = Program::with(&[server(port), network("shop", SHOP, "10.10.1.3")].concat()).start();
    for (content, by_signal) in [("", false), ("", true), (" \n", false)] {
        let mark = program.mark();
        fs::write(program.config_path(), content).unwrap();
        if by_signal {
            program.signal(Signal::SIGHUP);
        }
        program.wait_after(mark, Source::Stderr, "callsign.toml: the file is empty, and is not used");
        program.wait_after(mark, Source::Stderr, "not reloaded: the file has errors, so everything stays as it is");
        program.wait_after(mark, Source::Notify, "READY=1");
        assert_eq!(db_at(SHOP, port), [ip("10.10.1.3")]);
    }
    program.reload_by_change(&[server(port), network("shop", SHOP, "10.10.1.4")].concat());
    assert_eq!(db_at(SHOP, port), [ip("10.10.1.4")]);
}

#[test]
fn another_number_of_workers_is_said_to_need_a_restart() {
    let port = free_port(&[ip(SHOP)]);
    let shop = network("shop", SHOP, "10.10.1.3");
    let program = Program::with(&[server(port), shop.clone()].concat()).start();
    let mark = program.mark();
    program.reload_by_change(&[server(port), "workers = 7\n".to_owned(), shop].concat());
    let warning = program.wait_after(mark, Source::Stderr, "changing `workers` requires a restart");
    assert!(warning.contains("WARN"), "{warning}");
}

/// As where the disk is full: the first part of a file is valid.
#[test]
fn a_file_that_has_no_network_any_more_is_warned_of() {
    let port = free_port(&[ip(SHOP)]);
    let program = Program::with(&[server(port), network("shop", SHOP, "10.10.1.3")].concat()).start();
    let mark = program.mark();
    program.reload_by_change(&server(port));
    program.wait_after(mark, Source::Stderr, "removed=\"shop\"");
    let warning = program.wait_after(mark, Source::Stderr, "there is no network: nothing is answered");
    assert!(warning.contains("WARN"), "{warning}");
}

/// Half of a file may be valid, and lacks the other half's networks. A signal comes in the middle.
#[test]
fn a_file_that_is_being_written_is_waited_for() {
    let port = free_port(&[ip(SHOP), ip(BLOG)]);
    let (shop, blog) = (network("shop", SHOP, "10.10.1.3"), network("blog", BLOG, "10.10.2.3"));
    let program = Program::with(&[server(port), shop.clone(), blog.clone()].concat()).start();
    // Until the machine lets the test write as fast as it means to.
    for attempt in 0..50 {
        let address = format!("10.10.1.{}", 100 + attempt);
        let mark = program.mark();
        let mut file = fs::File::create(program.config_path()).unwrap();
        program.signal(Signal::SIGHUP);
        let mut last = Instant::now();
        let mut longest = Duration::ZERO;
        for part in [server(port), shop.replace("10.10.1.3", &address), blog.clone()] {
            // The program waits for 50 ms without a write.
            std::thread::sleep(Duration::from_millis(15));
            file.write_all(part.as_bytes()).unwrap();
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        drop(file);
        program.wait_after(mark, Source::Stderr, "changed=\"shop");
        assert_eq!((db_at(SHOP, port), db_at(BLOG, port)), (vec![ip(&address)], vec![ip("10.10.2.3")]));
        let lines = program.lines(Source::Stderr);
        let is_whole = !lines.iter().any(|line| line.contains("removed=\"blog\"") || line.contains("ERROR"));
        if is_whole && longest < Duration::from_millis(40) {
            return;
        }
        assert!(longest >= Duration::from_millis(40), "{lines:?}");
    }
    panic!("the machine is too busy to write three lines in a row: {program:?}");
}

#[test]
fn a_failed_reload_stays_in_the_status_until_one_succeeds() {
    let port = free_port(&[ip(SHOP)]);
    let good = [server(port), network("shop", SHOP, "10.10.1.3")].concat();
    let program = Program::with(&good).start();
    let path = program.config_path();
    let fails = |text: &str| {
        let mark = program.mark();
        program.write_config(text);
        program.wait_after(mark, Source::Stderr, "ERROR not reloaded");
        program.wait_after(mark, Source::Notify, "STATUS=Reloads fail since ")
    };
    let first = fails("[server]\nport = 0\nworkers = 0\n");
    // The first mistake, and a time as of `date -u`.
    let (since, rest) = first.strip_prefix("STATUS=Reloads fail since ").unwrap().split_once(" UTC: ").unwrap();
    let mistake = format!("{}:2: `port` is 0; write a number from 1 to 65535. Listening on 1 address", path.display());
    assert_eq!((since.len(), rest), ("2026-11-24 20:31:05".len(), &*mistake));
    // Another mistake, and the time of the first.
    let second = fails("[server]\nprot = 1\n");
    assert!(second.contains(since) && second.contains(":2: unknown key `prot`; did you mean `port`?"), "{second}");
    let mark = program.mark();
    program.write_config(&good);
    assert_eq!(program.wait_after(mark, Source::Notify, "STATUS="), "STATUS=Listening on 1 address");
}

/// Neither needs a signal: moving the file away is a failed reload, and putting it back is one that succeeds.
#[test]
fn a_file_that_is_moved_away_is_in_the_status_until_it_is_put_back() {
    let port = free_port(&[ip(SHOP)]);
    let program = Program::with(&[server(port), network("shop", SHOP, "10.10.1.3")].concat()).start();
    let (path, aside) = (program.config_path(), program.config_path().with_extension("aside"));
    for by_signal in [false, true] {
        let mark = program.mark();
        fs::rename(&path, &aside).unwrap();
        program.wait_after(mark, Source::Notify, "STATUS=Reloads fail since ");
        if by_signal {
            let mark = program.mark();
            program.signal(Signal::SIGHUP);
            program.wait_after(mark, Source::Notify, "STATUS=Reloads fail since ");
        }
        assert_eq!(db_at(SHOP, port), [ip("10.10.1.3")], "what it said stays in force");
        let mark = program.mark();
        fs::rename(&aside, &path).unwrap();
        program.wait_after(mark, Source::Notify, "STATUS=Listening on ");
    }
}

#[test]
fn a_signal_reloads_and_what_is_the_same_is_not_touched() {
    let port = free_port(&[ip(SHOP)]);
    let config = [server(port), network("shop", SHOP, "10.10.1.3")].concat();
    let program = Program::with(&config).start();
    let mark = program.mark();
    program.reload_by_signal();
    program.wait_after(mark, Source::Stderr, "reloaded: nothing changed reason=\"SIGHUP\"");
    // Settings of the server count, too.
    let mark = program.mark();
    program.reload_by_change(&config.replace("[server]\n", "[server]\nnever_forward = [\"example\"]\n"));
    let line = program.wait_after(mark, Source::Stderr, "reloaded");
    assert!(line.contains("changed=\"\" removed=\"\" settings=true"), "{line}");
    let reply = Client::new(SocketAddr::new(ip(SHOP), port)).udp(&Query::new("x.example", rtype::A));
    assert_eq!((reply.status(), reply.flags()), ("NXDOMAIN".to_owned(), "qr aa rd ra".to_owned()));
}

/// What a client saw that asked all the time.
#[derive(Debug)]
struct Seen {
    asked: usize,
    answered: usize,
    took: Duration,
}

/// Asks for db a thousand times a second until `done`, and then waits for what is still to come.
fn ask_all_the_time(listen: &str, port: u16, addresses: &[IpAddr], done: &AtomicBool) -> Seen {
    const EVERY: Duration = Duration::from_millis(1);
    let socket = Client::new(SocketAddr::new(ip(listen), port)).udp_socket().unwrap();
    let (mut open, mut asked, mut answered) = (HashSet::new(), 0_usize, 0);
    let mut buffer = [0; 512];
    let start = Instant::now();
    let mut next = start;
    let mut last = Instant::now();
    loop {
        let now = Instant::now();
        let is_done = done.load(Ordering::Acquire);
        if is_done && open.is_empty() || now - last > Duration::from_secs(5) {
            return Seen { asked, answered, took: start.elapsed() };
        }
        if !is_done && now >= next {
            let id = asked as u16;
            socket.send(&Query::new("db", rtype::A).id(id).bytes()).unwrap();
            open.insert(id);
            asked += 1;
            next += EVERY;
        }
        // The wait for the next reply is what paces the questions.
        let wait = next.saturating_duration_since(now).clamp(Duration::from_micros(50), EVERY);
        socket.set_read_timeout(Some(wait)).unwrap();
        match socket.recv(&mut buffer) {
            Ok(len) => {
                let reply = Reply::new(buffer[..len].to_vec());
                assert_eq!((reply.status(), reply.addresses().len()), ("NOERROR".to_owned(), 1), "{reply:?}");
                assert!(addresses.contains(&reply.addresses()[0]), "{reply:?}");
                assert!(open.remove(&u16::from_be_bytes([buffer[0], buffer[1]])), "a reply that was not asked for");
                answered += 1;
                last = Instant::now();
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_client_that_asks_through_20_reloads_sees_every_answer() {
    let port = free_port(&[ip(SHOP), ip(BLOG)]);
    let addresses = [ip("10.10.1.3"), ip("10.10.1.4")];
    // Each reload changes the answer, and lets another network come or go.
    let config = |reload: usize| {
        let shop = network("shop", SHOP, &addresses[reload % 2].to_string());
        let blog = if reload % 4 < 2 { network("blog", BLOG, "10.10.2.3") } else { String::new() };
        [server(port), shop, blog].concat()
    };
    let program = Program::with(&config(0)).start();
    let before = inodes(&program, SHOP, port);
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let client = scope.spawn(|| ask_all_the_time(SHOP, port, &addresses, &done));
        for reload in 1..=20 {
            program.reload_by_change(&config(reload));
            assert_eq!(db_at(SHOP, port), [addresses[reload % 2]], "reload {reload} is in force");
        }
        done.store(true, Ordering::Release);
        client.join().unwrap()
    });
    assert_eq!(seen.answered, seen.asked, "{seen:?}");
    // As many as it was to ask, less what a busy machine made it late.
    assert!(seen.asked as f64 >= 0.25 * 1000.0 * seen.took.as_secs_f64(), "{seen:?}");
    assert_eq!(inodes(&program, SHOP, port), before, "the same sockets");
}

#[test]
fn a_file_that_becomes_a_fifo_changes_nothing_and_is_not_waited_for() {
    let port = free_port(&[ip(SHOP)]);
    let program = Program::with(&[server(port), network("shop", SHOP, "10.10.1.3")].concat()).start();
    let mark = program.mark();
    fs::remove_file(program.config_path()).unwrap();
    mkfifo(&program.config_path(), Mode::S_IRWXU).unwrap();
    program.reload_by_signal();
    program.wait_after(mark, Source::Stderr, "cannot be read: it is a FIFO, not a file");
    assert_eq!(db_at(SHOP, port), [ip("10.10.1.3")]);
    // Who follows the file is there still.
    fs::remove_file(program.config_path()).unwrap();
    program.write_config(&[server(port), network("shop", SHOP, "10.10.1.4")].concat());
    // That the FIFO came may be told twice, by the signal and by the change.
    let deadline = Instant::now() + support::DEADLINE;
    while db_at(SHOP, port) != [ip("10.10.1.4")] {
        assert!(Instant::now() < deadline, "the new file is never read");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `serve --config <(generate)`: there is nothing more to read from it later.
#[test]
fn a_pipe_that_the_program_was_given_is_read_once() {
    let port = free_port(&[ip(SHOP)]);
    let config = [server(port), network("shop", SHOP, "10.10.1.3")].concat();
    let program = Process::spawn_with_input(callsign(&["serve", "--config", "/dev/stdin"]), &config);
    program.wait_for(Source::Stderr, "network is served");
    program.signal(Signal::SIGHUP);
    program.wait_for(Source::Stderr, "not reloaded");
    assert_eq!(db_at(SHOP, port), [ip("10.10.1.3")]);
}
