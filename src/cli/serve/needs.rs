//! What `serve` needs after its start, as its configuration and its surroundings say.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use callsign::source::config::Config;

use crate::cli::sandbox::{Needs, UNPRIVILEGED};

/// `handed`: the sockets that were handed in, each with true for TCP and its address.
pub(super) fn needs(path: &Path, config: &Config, handed: &[(bool, SocketAddr)]) -> Needs {
    let mut needs = Needs::new(binds_low_ports(config, handed));
    needs.follow(path);
    needs.configured(&config.server, &config.operation, config.ca_files());
    if let Some(podman) = &config.podman {
        needs.follow(&podman.directory);
        // Podman makes it, and what is above it, when its first container starts.
        needs.read(podman.directory.ancestors().find(|path| path.is_dir()).unwrap_or(&podman.directory));
    }
    if let Some(store) = &config.store {
        let files = [store.ca.as_ref(), store.user.as_ref().map(|(_, password)| password)];
        let certificate = store.certificate.iter().flat_map(|(certificate, key)| [certificate, key]);
        files.into_iter().flatten().chain(certificate).for_each(|path| needs.follow(path));
        if let Some(directory) = store.state.as_deref().and_then(Path::parent) {
            // It could not be made later. Why it cannot be made at all is told once something is to be kept.
            let _ = std::fs::create_dir_all(directory);
            needs.write(directory);
        }
    }
    if config.docker.is_some() {
        // Its contexts. The socket itself is no file that is opened.
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let directory = variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker")));
        directory.into_iter().for_each(|directory| needs.read(directory));
    }
    needs
}

/// True if the server binds ports below 1024, now or when a network comes: not if all that it listens at has been handed in.
fn binds_low_ports(config: &Config, handed: &[(bool, SocketAddr)]) -> bool {
    let is_low = |port: u16| (1..UNPRIVILEGED).contains(&port);
    let is_handed = |tcp: bool, address: SocketAddr| handed.contains(&(tcp, address));
    let host = config.host.iter().flat_map(|host| host.listen.clone());
    let listen = config.networks.iter().flat_map(|network| network.snapshot().settings().listen.clone()).chain(host);
    let listen: Vec<SocketAddr> =
        listen.map(|address| SocketAddr::new(address.ip(), address.port().unwrap_or(config.server.port))).collect();
    let is_all_handed = config.docker.is_none()
        && !listen.is_empty()
        && listen.iter().all(|&address| is_handed(false, address) && is_handed(true, address));
    let metrics = config.operation.metrics.listen;
    let is_server_low = is_low(config.server.port) || listen.iter().any(|address| is_low(address.port()));
    !is_all_handed && is_server_low || metrics.is_some_and(|address| is_low(address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, "callsign.toml").unwrap()
    }

    const NETWORK: &str = "[[network]]\nname = \"shop\"\nlisten = [\"127.0.0.1\"]\n";

    #[test]
    fn no_capability_is_kept_where_all_ports_are_high_or_all_sockets_are_handed_in() {
        let high = format!("[server]\nport = 5300\n{NETWORK}");
        let low = format!("[server]\nport = 53\n{NETWORK}");
        let mixed = high.replace("127.0.0.1", "127.0.0.1:53");
        let at: SocketAddr = "127.0.0.1:53".parse().unwrap();
        let both = [(false, at), (true, at)];
        assert!(!binds_low_ports(&config(&high), &[]));
        assert!(binds_low_ports(&config(&low), &[]) && binds_low_ports(&config(&mixed), &[]));
        assert!(!binds_low_ports(&config(&low), &both));
        assert!(binds_low_ports(&config(&low), &both[..1]), "TCP is bound here");
        assert!(binds_low_ports(&config(&format!("{low}[docker]\n")), &both), "gateways come later");
        assert!(binds_low_ports(&config("[server]\nport = 53\n"), &[]), "networks come later");
    }
}
