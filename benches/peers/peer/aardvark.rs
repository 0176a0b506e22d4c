//! aardvark-dns: a directory with a file for each network, the first line its gateway, the others its containers.

use std::fmt::Write;
use std::process::Command;

use super::Job;
use crate::setup::LOCAL;

pub(super) fn configure(job: &Job<'_>, command: &mut Command) {
    let setup = job.setup;
    for (network, listen) in (0..).zip(setup.listen()) {
        let upstream = job.upstream_53.filter(|_| setup.forwards).map(|address| format!(" {address}"));
        let mut text = format!("{listen}{}\n", upstream.unwrap_or_default());
        if setup.networks == 1 {
            // It is this network's names and servers for a client that it knows. One of 500 networks would see them all.
            text.push_str("client 127.0.0.1  client\n");
        }
        for (name, address) in setup.names(network) {
            writeln!(text, "id-{network}-{name} {address}  {name}").expect("a string takes it");
        }
        job.write(&format!("net-{network}"), &text);
    }
    command.arg("--config").arg(job.directory);
    command.args(["--filter-search-domain", &format!(".{LOCAL}"), "-p", &job.port.to_string(), "run"]);
    command.env("RUST_LOG", "error");
}
