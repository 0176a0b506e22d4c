//! `[host]`, the host view (answers.md V6), and `[podman]`, whose networks it shows.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ipnet::IpNet;
use toml::Spanned;

use crate::settings::{Address, HOST_DOMAIN};
use crate::table::{Network, TableError};

use super::duplicate_check::DuplicateCheck;
use super::schema::{HOST, PODMAN};
use super::section::Section;

/// Where the host view listens unless told otherwise: a loopback address that no other program is known to take.
const LISTEN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 55);

/// `[host]`: the names of all networks, for the host itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostConfig {
    /// Where it listens, with ports. Default: 127.0.0.55.
    pub listen: Vec<Address>,
    /// The domain that all names lie below. Default: `containers.internal`.
    pub domain: String,
    /// Whether a name answers with the addresses that ports are published on, and not with the containers' own.
    pub published: bool,
    /// Who may ask; `None` for the host itself.
    pub allow: Option<Vec<IpNet>>,
}

impl Default for HostConfig {
    fn default() -> HostConfig {
        HostConfig {
            listen: vec![Address::from(IpAddr::from(LISTEN)).with_port(53)],
            domain: HOST_DOMAIN.to_owned(),
            published: false,
            allow: None,
        }
    }
}

/// `[podman]`: the directory that netavark writes Podman's networks to, read for the host view.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PodmanDirectoryConfig {
    /// The directory.
    pub directory: PathBuf,
}

/// `port`: of listen addresses without one; `listeners`: those of the whole file.
pub(super) fn read(root: &Section<'_>, port: u16, listeners: &mut DuplicateCheck<Address>) -> Option<HostConfig> {
    let section = root.table("host", &HOST)?;
    let answers = [("containers", false), ("published", true)];
    Some(HostConfig {
        listen: listen(&section, port, listeners),
        domain: domain(&section).unwrap_or_else(|| HOST_DOMAIN.to_owned()),
        published: section.choice("answer", &answers).unwrap_or_default(),
        allow: section.value("allow").map(|_| allow(&section)),
    })
}

fn listen(section: &Section<'_>, port: u16, listeners: &mut DuplicateCheck<Address>) -> Vec<Address> {
    let mut given = section.one_or_more("listen", str::parse::<Address>);
    if section.value("listen").is_none() {
        given.push(Spanned::new(section.at().clone(), Address::from(IpAddr::from(LISTEN))));
    }
    let mut listen = Vec::new();
    for address in given {
        let at = address.span();
        let address = address.into_inner();
        if address.ip().is_multicast() {
            section.problem(&at, format!("nobody can listen on {}; write {}", address.ip(), section.example("listen")));
            continue;
        }
        // With its port, so that another port at a reload is another listener.
        let port = address.port().unwrap_or(port);
        let whole = address.with_port(port);
        if let Err(known) = listeners.add(whole.clone(), section.line(&at)) {
            let message = format!("{whole} is listened on already (line {known}); write another address or port");
            section.problem(&at, message);
        }
        listen.push(whole);
    }
    listen
}

fn domain(section: &Section<'_>) -> Option<String> {
    let domain = section.string("domain")?;
    section.check("domain", &domain.span(), Network::builder("alone").domain(domain.get_ref()).build())?;
    Some((*domain.get_ref()).to_owned())
}

fn allow(section: &Section<'_>) -> Vec<IpNet> {
    let read = |text: &str| {
        let network = Network::builder("alone").allow(text).build()?;
        let allow = network.snapshot().settings().allow.clone();
        allow.and_then(|allow| allow.first().copied()).ok_or_else(|| TableError::Subnet(text.to_owned()))
    };
    let instead = "leave it out for the host itself";
    section.list_of_some("allow", instead, read).into_iter().map(Spanned::into_inner).collect()
}

pub(super) fn podman(root: &Section<'_>) -> Option<PodmanDirectoryConfig> {
    let section = root.table("podman", &PODMAN)?;
    let directory = section.required("directory")?;
    if !directory.get_ref().starts_with('/') {
        let message = format!("`directory` is {:?}; write {}", directory.get_ref(), section.example("directory"));
        section.problem(&directory.span(), message);
    }
    if root.value("host").is_none() {
        let message = "Podman's networks are answered in the host view only, and there is none; write [host], too";
        section.warning(section.at(), message);
    }
    Some(PodmanDirectoryConfig { directory: directory.get_ref().into() })
}
