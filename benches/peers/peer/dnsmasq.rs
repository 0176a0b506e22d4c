//! dnsmasq: a file of hosts, and a forwarder with a cache.

use std::process::Command;

use super::Job;
use crate::setup::LOCAL;
use crate::support::needs;

/// Names that its cache holds unless it is told otherwise. More than what is asked for would do it wrong: with room for
/// 10,000 a name that is not cached costs it nearly three times as much.
const CACHE: u32 = 150;

pub(super) fn configure(job: &Job<'_>, command: &mut Command) {
    let hosts: String = job.setup.names(0).map(|(name, address)| format!("{address} {name}.{LOCAL}\n")).collect();
    let hosts = job.write("hosts", &hosts);
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-", "--pid-file="]);
    command.args(["--no-resolv", "--no-hosts", "--no-poll", "--bogus-priv"]);
    let cache = CACHE.max(2 * job.setup.remembered);
    // Its default is 150, too, fewer than the questions that are asked at a time here.
    command.arg("--dns-forward-max=1000");
    command.args([format!("--local=/{LOCAL}/"), format!("--cache-size={cache}"), format!("--port={}", job.port)]);
    command.args(job.setup.listen().iter().map(|address| format!("--listen-address={address}")));
    command.arg(format!("--addn-hosts={}", hosts.display()));
    if needs::is_root() {
        // Not the account of the package: it may be missing, and could not read the names.
        command.arg("--user=root");
    }
    if let Some(upstream) = job.upstream {
        command.arg(format!("--server={}#{}", upstream.ip(), upstream.port()));
    }
}
