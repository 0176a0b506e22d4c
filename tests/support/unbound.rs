//! A real upstream: Debian's unbound, with names of its own, over plain DNS and, with a certificate, TLS and HTTPS.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::ops::Deref;
use std::path::Path;

use tempfile::TempDir;

use super::netns::Namespace;
use super::process::{Process, Source};

/// An unbound that asks nobody; killed on drop. It derefs to its [`Process`].
pub struct Unbound {
    process: Process,
    _directory: TempDir,
}

impl Unbound {
    /// Starts it inside `place` at port 53 of `ip`, and waits until it serves. `records` are lines of a zone file, below
    /// `domain`; every name below `wild` of that domain has the address 192.0.2.1.
    pub fn start(place: &Namespace, ip: IpAddr, domain: &str, records: &[String]) -> Unbound {
        Unbound::with(place, ip, domain, records, None)
    }

    /// The same, and at the ports 853 (TLS) and 443 (HTTPS) with a certificate and its key, PEM files both.
    pub fn encrypted(
        place: &Namespace,
        ip: IpAddr,
        domain: &str,
        records: &[String],
        (certificate, key): (&Path, &Path),
    ) -> Unbound {
        let settings = format!(
            "interface: {ip}@853\ninterface: {ip}@443\ntls-service-pem: {}\ntls-service-key: {}\n",
            certificate.display(),
            key.display()
        );
        Unbound::with(place, ip, domain, records, Some(&settings))
    }

    fn with(place: &Namespace, ip: IpAddr, domain: &str, records: &[String], settings: Option<&str>) -> Unbound {
        let directory = TempDir::with_prefix("callsign-").unwrap();
        let mut config = format!(
            "server:\ndirectory: \"{}\"\nchroot: \"\"\nusername: \"\"\npidfile: \"\"\ndo-daemonize: no\nuse-syslog: no\n\
             logfile: \"\"\nverbosity: 1\nmodule-config: iterator\nnum-threads: 1\naccess-control: 0.0.0.0/0 allow\n\
             # As written, each time.\nrrset-roundrobin: no\n\
             interface: {ip}\n{}local-zone: {domain} static\nlocal-zone: wild.{domain} redirect\n\
             local-data: 'wild.{domain} 300 IN A 192.0.2.1'\n",
            directory.path().display(),
            settings.unwrap_or_default()
        );
        for record in records {
            writeln!(config, "local-data: '{record}'").unwrap();
        }
        config.push_str("remote-control:\ncontrol-enable: no\n");
        let file = directory.path().join("unbound.conf");
        fs::write(&file, config).unwrap();
        let mut command = place.command("unbound");
        command.args(["-d", "-p", "-c"]).arg(&file);
        let process = Process::spawn(command);
        process.wait_for(Source::Stderr, "start of service");
        Unbound { process, _directory: directory }
    }
}

impl Deref for Unbound {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}
