//! The race that is lost everywhere else: a container's first instruction asks for a name.

use std::thread;

use crate::support::docker::Docker;
use crate::support::machine::Outside;
use crate::{becomes_at, needs_docker, needs_root};

#[test]
fn d3_21_the_first_question_of_the_first_process_is_answered_with_its_own_view_100_of_100() {
    needs_docker!();
    let outside = Outside::new();
    let _upstream = outside.upstream();
    let docker = Docker::start(&outside);
    let _callsign = docker.serve();
    let db = docker.container("db", &[]);
    becomes_at!(db, crate::support::docker::GATEWAY, "db", [db.address_on("bridge")]);
    let address = db.address_on("bridge");

    // Its own name is in no view but its own network's, and there not before it is known.
    let ask = |number: usize| {
        let name = format!("first{number}");
        let script = format!("nslookup -type=a {name}; nslookup -type=a db; ip -4 -oneline address show eth0");
        let output = docker.run(&["run", "--rm", "--name", &name, "busybox", "sh", "-c", &script]);
        let own = output.lines().find_map(|line| line.split_once(" inet ")?.1.split_once('/')).expect("an address").0;
        let found: Vec<_> = output
            .lines()
            .filter_map(|line| line.strip_prefix("Address: "))
            .map(str::trim)
            .filter(|address| !address.ends_with(":53"))
            .collect();
        if found == [own, &address] { None } else { Some(output) }
    };
    let failed: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|worker| scope.spawn(move || (0..50).filter_map(|turn| ask(worker * 50 + turn)).collect::<Vec<_>>()))
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(failed.len(), 0, "{} of 100, the first: {}", failed.len(), failed[0]);
}
