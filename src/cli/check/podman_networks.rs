//! Which networks Podman has, as its own files say, for those that podman.toml speaks of.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use callsign::source::config::{PodmanConfig, Problem};
use nix::unistd::Uid;

/// The network that Podman has without a file.
const DEFAULT: &str = "podman";

/// What the file says of networks that Podman does not have; nothing where it cannot be told.
pub(super) fn missing(config: &PodmanConfig) -> Vec<Problem> {
    let home = env::var_os("HOME").map(PathBuf::from);
    match known(&directories(Uid::effective().is_root(), env::var_os("XDG_DATA_HOME").map(PathBuf::from), home)) {
        Some(known) => config.unknown_networks(&known),
        None => Vec::new(),
    }
}

/// Where netavark's networks are, one file each (containers.conf(5), `network_config_dir`).
fn directories(is_root: bool, data_home: Option<PathBuf>, home: Option<PathBuf>) -> Vec<PathBuf> {
    if is_root {
        return vec!["/etc/containers/networks".into()];
    }
    let data = data_home.or_else(|| Some(home?.join(".local/share")));
    data.into_iter().map(|data| data.join("containers/storage/networks")).collect()
}

fn known(directories: &[PathBuf]) -> Option<BTreeSet<String>> {
    let mut known = BTreeSet::from([DEFAULT.to_owned()]);
    for directory in directories {
        let files = fs::read_dir(directory).ok()?.flatten();
        known.extend(files.filter_map(|file| {
            Some(Path::new(&file.file_name()).file_name()?.to_str()?.strip_suffix(".json")?.to_owned())
        }));
    }
    Some(known).filter(|_| !directories.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_looked_for_where_podman_keeps_them() {
        let of_user = |data: Option<&str>| directories(false, data.map(PathBuf::from), Some("/home/a".into()));
        assert_eq!(of_user(None), [PathBuf::from("/home/a/.local/share/containers/storage/networks")]);
        assert_eq!(of_user(Some("/d")), [PathBuf::from("/d/containers/storage/networks")]);
        assert_eq!(directories(true, None, None), [PathBuf::from("/etc/containers/networks")]);
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("shop.json"), "").unwrap();
        fs::write(directory.path().join("netavark.lock"), "").unwrap();
        let known = known(&[directory.path().to_owned()]).unwrap();
        assert_eq!(known.into_iter().collect::<Vec<_>>(), ["podman", "shop"]);
        assert!(super::known(&["/nonexistent".into()]).is_none());
    }
}
