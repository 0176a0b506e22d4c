//! BIND: authoritative, and a forwarder with a cache.

use std::fmt::Write;
use std::process::Command;

use super::{Job, zone};
use crate::setup::{LOCAL, REVERSE};

pub(super) fn configure(job: &Job<'_>, command: &mut Command) {
    let port = job.port;
    let forwarding = match job.upstream {
        Some(upstream) => format!(
            "recursion yes; forward only; recursive-clients 10000; forwarders {{ {} port {}; }};",
            upstream.ip(),
            upstream.port()
        ),
        None => "recursion no;".to_owned(),
    };
    let mut text = format!(
        "options {{ directory {:?}; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; pid-file none; \
         session-keyfile none; lock-file none; dnssec-validation no; empty-zones-enable no; notify no; \
         allow-query {{ any; }}; {forwarding} }};\n\
         controls {{ }};\nlogging {{ category default {{ null; }}; }};\n",
        job.directory
    );
    let mut zones = vec![(LOCAL, zone::local(job.setup))];
    if job.setup.reverse {
        zones.push((REVERSE, zone::reverse(job.setup)));
    }
    for (domain, content) in zones {
        job.write(&format!("{domain}.zone"), &content);
        writeln!(text, "zone {domain:?} {{ type primary; file \"{domain}.zone\"; }};").expect("a string takes it");
    }
    command.args(["-g", "-n", "1", "-c"]).arg(job.write("named.conf", &text));
}
