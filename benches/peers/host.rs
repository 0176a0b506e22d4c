//! callsign as a library: a process that fills a table, and changes it at a steady pace while it is asked.

use std::error::Error;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use callsign::server::Server;
use callsign::table::{Endpoint, Network};

use crate::setup::{LOCAL, Setup};

/// The lines that it prints: how many changes it has made.
pub(crate) const CHANGES: &str = "changes made: ";
/// Changes between two such lines.
const TOLD: u64 = 100;

/// Serves 127.0.0.1 until something fails.
pub(crate) fn serve(port: u16, setup: &Setup) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut network = Network::builder("peers").listen("127.0.0.1").subnet(&setup.subnet(0)).domain(LOCAL);
    for (name, address) in setup.names(0) {
        network = network.endpoint(endpoint(&format!("id-{name}"), &address.to_string(), [name])?);
    }
    let network = network.build()?;
    let server = runtime.block_on(Server::builder().port(port).workers(1).upstreams(Vec::new().into()).start())?;
    let network = runtime.block_on(server.add_network(network))?;
    match setup.changes {
        0 => loop {
            thread::park();
        },
        changes => change(&network, changes),
    }
}

/// An endpoint with three names comes and goes: each is a change.
fn change(network: &Arc<Network>, changes: u32) -> Result<(), Box<dyn Error>> {
    let guest = endpoint("guest", "10.200.0.1", ["guest", "guest-1", "guest-2"].map(str::to_owned))?;
    let pause = Duration::from_secs(1) / changes;
    let mut due = Instant::now();
    for made in 1_u64.. {
        // What is late is made up for: that many a second is what is measured.
        due += pause;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        match made % 2 {
            1 => network.attach(guest.clone())?,
            _ => network.detach("guest")?,
        };
        if made % TOLD == 0 {
            println!("{CHANGES}{made}");
        }
    }
    Ok(())
}

fn endpoint(id: &str, address: &str, names: impl IntoIterator<Item = String>) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::builder(id).address(address).names(names).build()?)
}
