//! A thousand containers: how soon they are served, what a change costs, how much memory they take, and a burst of events.

use std::fs;
use std::time::{Duration, Instant};

use crate::kit::*;

/// Containers, on networks of 100.
const CONTAINERS: usize = 1_000;
const PER_NETWORK: usize = 100;

fn network(number: usize) -> u8 {
    (1 + number / PER_NETWORK) as u8
}

fn container(number: usize) -> Container {
    let (project, service) = (format!("p{}", number / 8), format!("s{}", number % 8));
    Container::new(&format!("{project}-{service}-1"))
        .service(&project, &service, 1)
        .label("com.docker.compose.config-hash", "fc5ecbcae7e21637b8ddf5ea8cabf4bc2cc3f3e7e65fa854bd51ac8b53960a95")
        .label("com.docker.compose.project.working_dir", "/home/user/proj")
        .port("8080/tcp")
        .on(&format!("net{}", network(number)), &[&service, &format!("alias{number}")])
}

fn fill(engine: &Engine, prefix: u8) {
    for number in 1..=(CONTAINERS / PER_NETWORK) as u8 {
        engine.network(&format!("net{number}"), &format!("127.{prefix}.{number}."));
    }
    for number in 0..CONTAINERS {
        engine.run(container(number));
    }
}

/// Processor time that a process has used, of all its threads that live: what other programs do meanwhile does not count.
fn cpu_time(bed: &Bed) -> Duration {
    let of = |task: fs::DirEntry| {
        // A thread may end meanwhile.
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0)
    };
    let tasks = fs::read_dir(format!("/proc/{}/task", bed.program.pid())).unwrap();
    Duration::from_nanos(tasks.flatten().map(of).sum())
}

/// Private memory of a process, KiB.
fn private(bed: &Bed) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", bed.program.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_thousand_containers() {
    let prefix = prefix();
    let engine = Engine::start(Age::Engine28, prefix);
    fill(&engine, prefix);
    let port = crate::support::free_port(&[std::net::Ipv4Addr::LOCALHOST.into()]);
    let config = format!("[server]\nport = {port}\nworkers = 2\nupstreams = [\"127.0.0.66:1\"]\n{}", engine.section());
    let mark = Instant::now();
    let program = crate::support::program::Program::with(&config).start();
    let ready = mark.elapsed();
    let bed = Bed { engine, program, prefix, port };
    let address = |number: usize| bed.address(network(number), (2 + number % PER_NETWORK) as u8);
    for number in [0, 1, 499, CONTAINERS - 1] {
        // The aliases of a client's own network.
        let name = format!("alias{number}");
        assert_eq!(bed.look_up(&address(number), &name), address(number), "it is ready, so {name} is served");
    }
    let memory = private(&bed);
    let ready_cpu = cpu_time(&bed);
    println!("{CONTAINERS} containers: ready after {ready:?}, {ready_cpu:?} of CPU, {memory} KiB of private memory");
    // How soon that is depends on the machine; how much is asked does not. A container that its network names before the list
    // does is inspected twice.
    let inspected = |path: &str| {
        bed.engine.requests().iter().filter(|request| request.contains(path) && !request.contains("json?")).count()
    };
    let inspections = inspected("/containers/");
    assert!((CONTAINERS..=2 * CONTAINERS).contains(&inspections), "{inspections}");
    let networks = CONTAINERS / PER_NETWORK + 1;
    assert!(inspected("/networks/") <= networks, "{}", inspected("/networks/"));

    // One change, from the engine's event to the answer.
    let client = address(0);
    let mut changes = Vec::new();
    let (before, requests) = (cpu_time(&bed), bed.engine.requests().len());
    for round in 0..20 {
        let name = format!("extra{round}");
        let id = bed.engine.create(Container::new(&name).on("net1", &[]));
        let began = Instant::now();
        bed.engine.start_container(&id);
        while bed.look_up(&client, &name) != bed.address(1, 102) {
            assert!(began.elapsed() < crate::support::DEADLINE);
        }
        changes.push(began.elapsed());
        bed.engine.stop(&id);
        bed.engine.remove(&id);
    }
    changes.sort();
    let change_cpu = (cpu_time(&bed) - before) / changes.len() as u32;
    println!(
        "one change: median {:?}, longest {:?}; with its end {change_cpu:?} of CPU",
        changes[changes.len() / 2],
        changes[changes.len() - 1]
    );
    // Of a start and an end: the created container, its network, and its inspections, a few of which come too early. What
    // matters is that the other containers are not asked for.
    let per_change = (bed.engine.requests().len() - requests) / changes.len();
    assert!(per_change <= 30, "{per_change} requests for one change");
    // A build without optimization needs several times what the program needs.
    let slack = if cfg!(debug_assertions) { 8 } else { 1 };
    // Other programs' load is in these, and a pause of a second in either is no load.
    assert!(ready < Duration::from_secs(1) * slack, "{ready:?}");
    assert!(changes[changes.len() / 2] < Duration::from_millis(500), "{changes:?}");
    assert!(ready_cpu < Duration::from_secs(1) * slack, "{ready_cpu:?}");
    assert!(change_cpu < Duration::from_millis(20) * slack, "{change_cpu:?}");
    assert!(memory < 12 << 10, "{memory} KiB");
}

#[test]
fn docker_3_23_a_burst_of_3_000_events_leaves_nothing_wrong() {
    let bed = Bed::new(Age::Engine20, |engine, prefix| {
        engine.network("net1", &format!("127.{prefix}.1."));
        engine.run(Container::new("client").on("net1", &[]));
    });
    let client = bed.address(1, 2);
    let ids: Vec<String> = (0..100)
        .map(|number| bed.engine.run(Container::new(&format!("c{number}")).on("net1", &[&format!("a{number}")])))
        .collect();
    let before = bed.engine.events();
    // Restarts and renames, and in the end every third one is down.
    for round in 0..6 {
        for (number, id) in ids.iter().enumerate() {
            bed.engine.stop(id);
            bed.engine.rename(id, &format!("c{number}r{round}"));
            if round < 5 || number % 3 > 0 {
                bed.engine.start_container(id);
            }
        }
    }
    let events = bed.engine.events() - before;
    assert!(events >= 2_900, "{events} events");
    for (number, id) in ids.iter().enumerate() {
        let address = || bed.engine.address(id, &bed.engine.network_id("net1"));
        for name in [format!("a{number}"), format!("c{number}r5")] {
            let wanted = if number % 3 == 0 { format!("NODATA {name} is not running") } else { address() };
            bed.becomes(&client, &name, &wanted);
        }
        bed.becomes(&client, &format!("c{number}r4"), "SERVFAIL");
    }
}
