//! `[docker]`.

use std::time::Duration;

use toml::Spanned;

use crate::settings::Address;
use crate::table::Network;

use super::schema::DOCKER;
use super::section::Section;

/// `[docker]`: that the networks and containers of a Docker engine are served, and how.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct DockerConfig {
    /// The engine's socket: a path, or `unix:///path`. `None` for `$DOCKER_HOST`, the current Docker context, or the usual
    /// places.
    pub socket: Option<String>,
    /// Patterns of the networks whose names are served, such as `shop_*`; one with `!` in front excludes. Empty for all.
    pub networks: Vec<String>,
    /// Where to listen instead of at each network's gateways. Empty for these.
    pub listen: Vec<Address>,
    /// A domain of every network.
    pub domain: Option<String>,
    /// How long a question for a container that is about to start may wait (answers.md N11). `None` for not at all.
    pub hold: Option<Duration>,
}

pub(super) fn read(root: &Section<'_>) -> Option<DockerConfig> {
    let section = root.table("docker", &DOCKER)?;
    let mut docker = DockerConfig {
        hold: section.seconds("hold"),
        listen: listen(&section),
        domain: domain(&section),
        ..DockerConfig::default()
    };
    if let Some(socket) = section.string("socket") {
        let path = socket.get_ref().strip_prefix("unix://").unwrap_or(socket.get_ref());
        if !path.starts_with('/') {
            let message = format!("`socket` is {:?}; write {}", socket.get_ref(), section.example("socket"));
            section.problem(&socket.span(), message);
        }
        docker.socket = Some(path.to_owned());
    }
    if let Some(patterns) = section.strings("networks") {
        for pattern in patterns {
            if pattern.get_ref().trim_start_matches('!').is_empty() {
                let message = format!("this pattern matches nothing; write {}", section.example("networks"));
                section.problem(&pattern.span(), message);
            }
            docker.networks.push((*pattern.get_ref()).to_owned());
        }
    }
    Some(docker)
}

fn listen(section: &Section<'_>) -> Vec<Address> {
    let addresses = section.list_of_some("listen", "leave it out for each network's gateway", str::parse::<Address>);
    for address in &addresses {
        let ip = address.get_ref().ip();
        if ip.is_unspecified() || ip.is_multicast() {
            let message = format!("{ip} is no gateway's address; write each one that containers ask");
            section.problem(&address.span(), message);
        }
    }
    addresses.into_iter().map(Spanned::into_inner).collect()
}

fn domain(section: &Section<'_>) -> Option<String> {
    let domain = section.string("domain")?;
    let network = Network::builder("alone").domain(domain.get_ref());
    section.check("domain", &domain.span(), network.build())?;
    Some((*domain.get_ref()).to_owned())
}
