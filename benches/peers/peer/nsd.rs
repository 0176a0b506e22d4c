//! NSD: authoritative.

use std::fmt::Write;
use std::process::Command;

use super::{Job, zone};
use crate::setup::{LOCAL, REVERSE};

pub(super) fn configure(job: &Job<'_>, command: &mut Command) {
    let own = job.directory.display();
    // As short as the answers of the others. Without the last line it answers one subnet 200 times a second and no more.
    let mut text = format!(
        "server:\n  server-count: 1\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{own}\"\n  database: \"\"\n  \
         pidfile: \"\"\n  zonelistfile: \"{own}/zone.list\"\n  xfrdfile: \"{own}/xfrd.state\"\n  xfrdir: \"{own}\"\n  \
         do-ip6: no\n  minimal-responses: yes\n  rrl-ratelimit: 0\n"
    );
    for address in job.setup.listen() {
        writeln!(text, "  ip-address: {address}@{}", job.port).expect("a string takes it");
    }
    text.push_str("remote-control:\n  control-enable: no\n");
    let mut zones = vec![(LOCAL, zone::local(job.setup))];
    if job.setup.reverse {
        zones.push((REVERSE, zone::reverse(job.setup)));
    }
    for (domain, content) in zones {
        job.write(&format!("{domain}.zone"), &content);
        write!(text, "zone:\n  name: {domain}\n  zonefile: {domain}.zone\n").expect("a string takes it");
    }
    command.args(["-d", "-c"]).arg(job.write("nsd.conf", &text));
}
