//! callsign: the program with a configuration file, and the library in a process of this benchmark's.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::process::Command;

use super::Job;
use crate::setup::LOCAL;

pub(super) fn program(job: &Job<'_>, command: &mut Command) {
    let file = job.write("callsign.toml", &configuration(job));
    command.args(["serve", "--config"]).arg(file);
}

pub(super) fn library(job: &Job<'_>, command: &mut Command) {
    let setup = job.setup;
    command.args([format!("--host={}", job.port), format!("--host-names={}", setup.names)]);
    command.arg(format!("--host-changes={}", setup.changes));
}

fn configuration(job: &Job<'_>) -> String {
    let setup = job.setup;
    // Where there is nothing to forward, not the machine's own servers all the same.
    let upstream = job.upstream.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 9).into());
    let workers = if setup.idle { "" } else { "workers = 1\n" };
    let mut text = format!("[server]\nport = {}\n{workers}upstreams = [\"{upstream}\"]\n", job.port);
    for (network, listen) in (0..).zip(setup.listen()) {
        let subnet = setup.subnet(network);
        let keys = format!("listen = [\"{listen}\"]\nsubnets = [\"{subnet}\"]\ndomains = [\"{LOCAL}\"]\n");
        write!(text, "\n[[network]]\nname = \"net-{network}\"\n{keys}").expect("a string takes it");
        for (name, address) in setup.names(network) {
            let keys = format!("id = \"id-{network}-{name}\"\naddresses = [\"{address}\"]\nnames = [\"{name}\"]\n");
            write!(text, "\n[[network.endpoint]]\n{keys}").expect("a string takes it");
        }
    }
    text
}
