//! Knot DNS: authoritative, and the upstream of the others.

use std::fmt::Write;
use std::process::Command;

use super::{Job, zone};
use crate::setup::{LOCAL, REMOTE, REVERSE};

pub(super) fn configure(job: &Job<'_>, command: &mut Command) {
    let mut zones = vec![(LOCAL, zone::local(job.setup))];
    if job.setup.reverse {
        zones.push((REVERSE, zone::reverse(job.setup)));
    }
    let listen: Vec<String> = job.setup.listen().iter().map(|address| format!("{address}@{}", job.port)).collect();
    write(job, &listen, &zones, command);
}

pub(super) fn configure_upstream(job: &Job<'_>, command: &mut Command) {
    let mut listen = vec![format!("127.0.0.1@{}", job.port)];
    listen.extend(job.upstream_53.map(|address| format!("{address}@53")));
    write(job, &listen, &[(REMOTE, zone::wild())], command);
}

fn write(job: &Job<'_>, listen: &[String], zones: &[(&str, String)], command: &mut Command) {
    let own = job.directory.display();
    let mut text = format!(
        "server:\n  listen: [{}]\n  rundir: {own}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         database:\n  storage: {own}\n\
         log:\n  - target: stderr\n    any: warning\n\
         template:\n  - id: default\n    storage: {own}\n    zonefile-sync: -1\n    journal-content: none\n\
         zone:\n",
        listen.join(", ")
    );
    for (domain, content) in zones {
        job.write(&format!("{domain}.zone"), content);
        write!(text, "  - domain: {domain}\n    file: {domain}.zone\n").expect("a string takes it");
    }
    command.arg("--config").arg(job.write("knot.conf", &text));
}
