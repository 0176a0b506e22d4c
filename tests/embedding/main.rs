//! callsign as a crate that links it uses it: by its public items alone, a module for each seam. Nothing here needs the
//! program.

mod change;
#[cfg(feature = "server")]
mod dial;
#[cfg(feature = "server")]
mod listen;
#[cfg(feature = "server")]
mod observer;
#[cfg(feature = "cli")]
mod public;
mod relay;
#[cfg(feature = "server")]
mod resolve;
#[cfg(feature = "server")]
mod shutdown;

#[cfg(feature = "server")]
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use callsign::responder::{Client, Listener, Responder, ResponderOptions, Verdict};
use callsign::table::{Endpoint, Network};
use callsign::wire::{Query, rcode};

fn endpoint(name: &str, address: &str) -> Endpoint {
    Endpoint::builder(format!("{name}-1")).name(name).address(address).build().unwrap()
}

/// The reply that a client of a network gets at its listener.
fn reply(network: &Arc<Network>, client: &str, name: &str, rtype: u16) -> Vec<u8> {
    reply_at(&Listener::new(network.clone(), "10.10.1.1:53".parse().unwrap()), client, name, rtype)
}

fn reply_at(listener: &Listener, client: &str, name: &str, rtype: u16) -> Vec<u8> {
    let packet = Query::build(7, &name.parse().unwrap(), rtype);
    let client = Client::udp(listener, format!("{client}:40000").parse().unwrap());
    let mut out = vec![0; 1232];
    match Responder::new(Arc::new(ResponderOptions::default())).respond(&packet, &client, &mut out) {
        Verdict::Reply(len) => out.truncate(len),
        other => panic!("no reply: {other:?}"),
    }
    out
}

/// Response code and number of answers.
fn outcome(reply: &[u8]) -> (u16, u16) {
    let header = callsign::wire::message::Header::read(reply).unwrap();
    (header.rcode(), header.counts[1])
}

const NO_SUCH_NAME: (u16, u16) = (rcode::NXDOMAIN, 0);
const ONE_ANSWER: (u16, u16) = (rcode::NOERROR, 1);
