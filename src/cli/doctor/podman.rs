//! Podman: whether callsign is its DNS server.

use std::fs;
use std::path::Path;

use super::facts::{Facts, is_callsign, processes};
use super::finding::Finding;
use crate::cli::arguments::PODMAN_LINK;
use crate::cli::system;

const ID: &str = "podman";

pub(super) fn check(_facts: &Facts) -> Vec<Finding> {
    let version = match system::output(&["podman", "--version"]) {
        Ok(text) => text.trim().rsplit(' ').next().unwrap_or_default().to_owned(),
        Err(_) => return vec![Finding::skipped(ID, "Podman: there is none")],
    };
    let link = Path::new(PODMAN_LINK);
    let Ok(target) = fs::canonicalize(link) else {
        return vec![match fs::symlink_metadata(link) {
            Ok(_) => Finding::problem(
                ID,
                format!(
                    "{PODMAN_LINK} leads nowhere: containers of Podman have no DNS server of callsign's, or none at all"
                ),
                format!("ln -sf \"$(command -v callsign)\" {PODMAN_LINK}"),
            ),
            Err(_) => Finding::skipped(
                ID,
                format!("Podman {version}: callsign is not its DNS server ({PODMAN_LINK} is not there)"),
            ),
        }];
    };
    if !is_callsign(&target.display().to_string()) {
        return vec![Finding::skipped(ID, format!("Podman {version}: {PODMAN_LINK} is not callsign"))];
    }
    let other = processes().into_iter().find(|process| {
        process.name == "aardvark-dns" && process.program().is_some_and(|program| !is_callsign(&program))
    });
    vec![match other {
        Some(other) => Finding::warning(
            ID,
            format!(
                "Podman {version} still runs another aardvark-dns (pid {}): callsign takes over when it has ended",
                other.pid
            ),
            format!("kill {}, and start a container", other.pid),
        ),
        None => Finding::ok(ID, format!("Podman {version} starts callsign as its DNS server")),
    }]
}
