//! Unbound: local data, and a forwarder with a cache.

use std::fmt::Write;
use std::process::Command;

use super::Job;
use crate::setup::{LOCAL, REVERSE};

pub(super) fn configure(job: &Job<'_>, command: &mut Command) {
    let mut text = format!(
        "server:\n  do-ip6: no\n  so-rcvbuf: 1m\n  num-threads: 1\n  module-config: iterator\n  do-not-query-localhost: no\n  \
         username: \"\"\n  chroot: \"\"\n  directory: \"\"\n  pidfile: \"\"\n  use-syslog: no\n  do-daemonize: no\n  \
         local-zone: \"{LOCAL}.\" static\n"
    );
    let mut add = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string takes it");
    for address in job.setup.listen() {
        add(format_args!("  interface: {address}@{}", job.port));
    }
    for (name, address) in job.setup.names(0) {
        add(format_args!("  local-data: \"{name}.{LOCAL}. 3600 A {address}\""));
    }
    if job.setup.reverse {
        add(format_args!("  local-zone: \"{REVERSE}.\" static"));
        for (name, address) in job.setup.names(0) {
            add(format_args!("  local-data-ptr: \"{address} 3600 {name}.{LOCAL}\""));
        }
    }
    if job.upstream.is_some() {
        add(format_args!("  outgoing-range: 4096\n  num-queries-per-thread: 2048"));
    }
    add(format_args!("remote-control:\n  control-enable: no"));
    if let Some(upstream) = job.upstream {
        add(format_args!("forward-zone:\n  name: \".\"\n  forward-addr: {}@{}", upstream.ip(), upstream.port()));
    }
    command.args(["-d", "-p", "-c"]).arg(job.write("unbound.conf", &text));
}
