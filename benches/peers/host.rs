//! callsign as a library: a process that fills a table, and changes it at a steady pace while it is asked.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use callsign::server::Server;
use callsign::table::{Endpoint, Network, TableError};

use crate::setup::{LOCAL, Setup};

/// A line that it prints: how many changes it has made.
pub(crate) const CHANGES: &str = "changes made: ";
/// Another: what it took to make the names and load them, milliseconds.
pub(crate) const LOADED: &str = "names loaded, ms: ";
/// And what it takes then to attach an endpoint of three names, microseconds, in the median.
pub(crate) const ATTACHED: &str = "an endpoint attached, µs: ";
/// And to detach it.
pub(crate) const DETACHED: &str = "an endpoint detached, µs: ";
/// The id of the endpoint that comes and goes.
const GUEST: &str = "guest";
/// Changes between two lines that tell how many there were.
const TOLD: u64 = 100;
/// Pairs of changes that are timed: so few that a server's start is not longer by them.
const TIMED: usize = 100;

/// Serves 127.0.0.1 until something fails.
pub(crate) fn serve(port: u16, setup: &Setup) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let network = Network::builder("peers").listen("127.0.0.1").subnet(&setup.subnet(0)).domain(LOCAL).build()?;
    let server = runtime.block_on(Server::builder().port(port).workers(1).upstreams(Vec::new().into()).start())?;
    let network = runtime.block_on(server.add_network(network))?;
    let start = Instant::now();
    network.replace_all(endpoints(setup))?;
    println!("{LOADED}{:.1}", start.elapsed().as_secs_f64() * 1e3);
    let (attach, detach) = timed(&network)?;
    println!("{ATTACHED}{:.2}", attach.as_secs_f64() * 1e6);
    println!("{DETACHED}{:.2}", detach.as_secs_f64() * 1e6);
    match setup.changes {
        0 => loop {
            thread::park();
        },
        changes => change(&network, changes),
    }
}

/// Two names each: the id is one. They are made as the table takes them, so that they are in memory once.
fn endpoints(setup: &Setup) -> impl Iterator<Item = Endpoint> {
    let mut names = setup.names(0);
    std::iter::from_fn(move || {
        let (id, address) = names.next()?;
        Some(endpoint(&id, address.into(), names.next().map(|(name, _)| name)))
    })
}

/// One that comes and goes, with three names.
fn guest() -> Endpoint {
    endpoint(GUEST, [10, 200, 0, 1].into(), ["guest-1", "guest-2"].map(str::to_owned))
}

/// What it takes to attach an endpoint and to detach it, each in the median.
fn timed(network: &Network) -> Result<(Duration, Duration), TableError> {
    let (mut attaching, mut detaching) = (Vec::with_capacity(TIMED), Vec::with_capacity(TIMED));
    for guest in vec![guest(); TIMED] {
        let start = Instant::now();
        network.attach(guest)?;
        let attached = Instant::now();
        network.detach(GUEST)?;
        detaching.push(attached.elapsed());
        attaching.push(attached - start);
    }
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[TIMED / 2]
    };
    Ok((median(attaching), median(detaching)))
}

/// An endpoint comes and goes: each is a change.
fn change(network: &Arc<Network>, changes: u32) -> Result<(), Box<dyn Error>> {
    let guest = guest();
    let pause = Duration::from_secs(1) / changes;
    let mut due = Instant::now();
    for made in 1_u64.. {
        // What is late is made up for: that many a second is what is measured.
        due += pause;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        match made % 2 {
            1 => network.attach(guest.clone())?,
            _ => network.detach(GUEST)?,
        };
        if made % TOLD == 0 {
            println!("{CHANGES}{made}");
        }
    }
    Ok(())
}

fn endpoint(id: &str, address: IpAddr, names: impl IntoIterator<Item = String>) -> Endpoint {
    Endpoint::builder(id).ip(address).names(names).build().expect("names and addresses as they are to be")
}
