//! The daemon stops, is killed, and comes back: no name of a running container is ever away at the gateway (docker.md §3.24).

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use callsign::wire::rtype;
use nix::sys::signal::Signal;

use crate::support::client::{Client, Query, Reply};
use crate::support::docker::{Docker, GATEWAY};
use crate::support::machine::{Network, Outside, addresses, at_port_53, becomes};
use crate::support::process::Source;
use crate::{becomes_at, needs_docker, needs_root};

const NO_ADDRESS: [&str; 0] = [];
const NXDOMAIN: [&str; 1] = ["NXDOMAIN"];

/// A running container that is watched.
struct Watched {
    name: String,
    address: String,
    network: Network,
    pid: u32,
}

impl Watched {
    /// Waits until it sees itself.
    fn new(docker: &Docker<'_>, name: &str, options: &[&str]) -> Watched {
        let container = docker.container(name, &[&["--network", "n1"], options].concat());
        let address = container.address_on("n1");
        becomes_at!(container, GATEWAY, name, [&address]);
        Watched { name: name.to_owned(), address, network: container.network().hold(), pid: container.pid }
    }

    /// Asks for its name, from inside and at the gateway, while `work` goes on and as long as it lives. Each answer has to have
    /// its address. The number of answers.
    fn is_never_away(&self, docker: &Docker<'_>, work: impl FnOnce()) -> usize {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let mut answers = 0;
                while !done.load(Ordering::Relaxed) {
                    let (asked, found) = (Instant::now(), self.ask());
                    // If it lives now, it lived when it was answered.
                    if docker.machine().is_alive(self.pid) {
                        assert_eq!(found, [self.address.as_str()], "{} after {:?}", self.name, asked.elapsed());
                        answers += 1;
                    }
                    thread::sleep(Duration::from_millis(5).saturating_sub(asked.elapsed()));
                }
                answers
            });
            let outcome = catch_unwind(AssertUnwindSafe(work));
            done.store(true, Ordering::Relaxed);
            let answers = asking.join().unwrap_or_else(|panic| resume_unwind(panic));
            outcome.unwrap_or_else(|panic| resume_unwind(panic));
            answers
        })
    }

    fn ask(&self) -> Vec<String> {
        let query = Query::new(&self.name, rtype::A).edns(1232).bytes();
        let client = Client::new(at_port_53(GATEWAY)).timeout(Duration::from_secs(5));
        match self.network.enter(|| client.udp_bytes(&query)).map(Reply::new) {
            Ok(reply) if reply.status() == "NOERROR" => addresses(&reply),
            Ok(reply) => vec![reply.status()],
            Err(error) => vec![error.to_string()],
        }
    }
}

#[test]
fn d3_24_with_live_restore_the_names_stay_while_the_daemon_is_stopped_and_killed() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::with(&outside, &["--dns", GATEWAY, "--live-restore"]);
    docker.run(&["network", "create", "n1"]);
    let callsign = docker.serve();
    let db = Watched::new(&docker, "db", &[]);
    for (round, signal) in [Signal::SIGTERM, Signal::SIGKILL].into_iter().enumerate() {
        let mark = callsign.mark();
        let answers = db.is_never_away(&docker, || {
            docker.end_daemon(signal);
            callsign.wait_after(mark, Source::Stderr, "Docker is away");
            docker.start_daemon();
            // It is followed again.
            let next = format!("after-{signal}");
            let late = docker.container(&next, &["--network", "n1"]);
            becomes_at!(late, GATEWAY, &next, [late.address_on("n1")]);
        });
        assert!(answers > 100, "{answers}");
        let said = callsign.lines(Source::Stderr).iter().filter(|line| line.contains("Docker is away")).count();
        assert_eq!(said, round + 1, "once each time: {callsign:?}");
    }
}

#[test]
fn d3_25_a_container_that_died_under_a_dead_daemon_has_no_address() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::with(&outside, &["--dns", GATEWAY, "--live-restore"]);
    docker.run(&["network", "create", "n1"]);
    let _callsign = docker.serve();
    let dies = docker.container("dies", &["--network", "n1"]).pid;
    {
        let lives = docker.container("lives", &["--network", "n1"]);
        becomes_at!(lives, GATEWAY, "dies", [docker.running("dies").address_on("n1")]);
    }
    docker.end_daemon(Signal::SIGKILL);
    docker.signal(dies, Signal::SIGKILL);
    becomes("dies is alive", false, || docker.machine().is_alive(dies));
    docker.start_daemon();
    let lives = docker.running("lives");
    becomes_at!(lives, GATEWAY, "dies", NO_ADDRESS);
    becomes_at!(lives, GATEWAY, "lives", [lives.address_on("n1")]);
    docker.run(&["rm", "dies"]);
    becomes_at!(lives, GATEWAY, "dies", NXDOMAIN);
}

#[test]
fn d3_24_without_live_restore_names_stay_as_long_as_their_containers_run_and_come_back_with_them() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    docker.run(&["network", "create", "n1"]);
    let _callsign = docker.serve();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let name = format!("db-{}", signal as i32);
        let db = Watched::new(&docker, &name, &["--restart", "always"]);
        let answers = db.is_never_away(&docker, || {
            docker.end_daemon(signal);
            docker.start_daemon();
        });
        assert!(answers > 0);
        let runs = || docker.get(&format!("/containers/{name}/json"))["State"]["Running"] == true;
        becomes("the container is restarted by its policy", true, runs);
        let db = docker.running(&name);
        becomes_at!(db, GATEWAY, &name, [db.address_on("n1")]);
        docker.run(&["rm", "--force", &name]);
    }
}
