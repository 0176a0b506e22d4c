//! What the doctor says, and a host that is well.

use std::path::Path;

use serde_json::Value;

use crate::support::dnsmasq::Dnsmasq;
use crate::support::machine::at_port_53;
use crate::support::netns::{Lab, Namespace};
use crate::support::process::{Finished, run};
use crate::support::program::{CALLSIGN, Program};

/// The gateway of the host's only network.
pub(crate) const GATEWAY: &str = "10.10.1.1";

/// A host with a bridge and an upstream beyond it.
pub(crate) struct Host {
    pub(crate) lab: Lab,
    outside: Namespace,
}

impl Host {
    pub(crate) fn new() -> Host {
        let lab = Lab::new();
        let outside = lab.outside("upstream", "10.99.0.254/24", "10.99.0.1/24");
        lab.bridge("shop", &["10.10.1.1/24"]);
        lab.host().set_resolv_conf("nameserver 10.99.0.1\n");
        Host { lab, outside }
    }

    /// The upstream that its resolv.conf names.
    pub(crate) fn upstream(&self) -> Dnsmasq<'_> {
        Dnsmasq::start(Some(&self.outside), at_port_53("10.99.0.1"), &[])
    }

    /// callsign, with a network on the bridge and these lines for the server.
    pub(crate) fn callsign(&self, server: &str) -> Program {
        Program::with(&config(server)).inside(self.lab.host()).start()
    }

    /// What the doctor says of the host, with this configuration.
    pub(crate) fn doctor(&self, config: &Path) -> Finished {
        let mut command = self.lab.host().command(CALLSIGN);
        command.arg("doctor").arg(config);
        run(command)
    }

    /// The same as JSON.
    pub(crate) fn document(&self, config: &Path) -> Value {
        let mut command = self.lab.host().command(CALLSIGN);
        command.args(["doctor", "--json"]).arg(config);
        let said = run(command);
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }
}

pub(crate) fn config(server: &str) -> String {
    format!(
        "[server]\n{server}\n[[network]]\nname = \"shop\"\nlisten = [\"{GATEWAY}\"]\nsubnets = [\"10.10.1.0/24\"]\n"
    )
}

/// The first line has all these words; a problem also is the exit code.
#[track_caller]
pub(crate) fn expect_first(said: &Finished, words: &[&str]) {
    let first = said.stdout.lines().next().unwrap_or_default();
    assert!(words.iter().all(|word| first.contains(word)), "{words:?}\n{said:?}\n{}", said.stdout);
    assert_eq!(said.status.code(), Some(i32::from(first.starts_with("problem"))), "{}", said.stdout);
    let cure = said.stdout.lines().nth(1).unwrap_or_default();
    assert!(cure.starts_with("         "), "a cure is below it: {}", said.stdout);
}
