//! `[docker]`.

use std::time::Duration;

use toml::Spanned;

use crate::settings::Address;
use crate::table::Network;

use super::error::Problem;
use super::schema::DOCKER;
use super::section::Section;

/// Characters of other kinds of patterns, which no network's name has.
const NO_PATTERN: [char; 7] = ['?', '[', ']', '{', '}', '!', '\\'];

/// `[docker]`: that the networks and containers of a Docker engine are served, and how.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct DockerConfig {
    /// Where the engine listens: a path, `unix:///path`, or `tcp://host:port` for a socket proxy. `None` for `$DOCKER_HOST`, the
    /// current Docker context, or the usual places.
    pub socket: Option<String>,
    /// Patterns of the networks whose names are served, such as `shop_*`; one with `!` in front excludes. Empty for all.
    pub networks: Vec<String>,
    /// Where to listen instead of at each network's gateways. Empty for these.
    pub listen: Vec<Address>,
    /// A domain of every network.
    pub domain: Option<String>,
    /// How long a query for a container that is about to start may wait (answers.md N11). `None` for not at all.
    pub hold: Option<Duration>,
    /// What to say of each of `networks` if it matches none.
    unmatched: Vec<Problem>,
}

impl DockerConfig {
    /// What to say of patterns that match no network: those of `networks` of which `is_unmatched` says so.
    pub fn unmatched(&self, is_unmatched: impl Fn(&str) -> bool) -> Vec<Problem> {
        let patterns = self.networks.iter().zip(&self.unmatched);
        patterns.filter(|(pattern, _)| is_unmatched(pattern)).map(|(_, problem)| problem.clone()).collect()
    }
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
        let text = *socket.get_ref();
        let is_path = text.strip_prefix("unix://").unwrap_or(text).starts_with('/');
        if !is_path && text.strip_prefix("tcp://").is_none_or(str::is_empty) {
            let message = format!(
                "`socket` is {text:?}; write {}, or socket = \"tcp://127.0.0.1:2375\" for a socket proxy",
                section.example("socket")
            );
            section.problem(&socket.span(), message);
        }
        docker.socket = Some(text.to_owned());
    }
    if let Some(patterns) = section.strings("networks") {
        for pattern in patterns {
            let text = *pattern.get_ref();
            let name = text.strip_prefix('!').unwrap_or(text);
            if name.is_empty() || name.contains(NO_PATTERN) {
                let message = format!(
                    "{text:?} is no pattern: only * stands for other characters; write {}",
                    section.example("networks")
                );
                section.problem(&pattern.span(), message);
            }
            let effect = match text.starts_with('!') {
                true => "so this excludes nothing",
                false => "so this serves nothing",
            };
            let message = format!("no network of Docker's matches {name:?} now, {effect}");
            docker.unmatched.push(section.note(&pattern.span(), message));
            docker.networks.push(text.to_owned());
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
