//! Which networks Podman has, as its own files say, for those that podman.toml speaks of.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use callsign::source::config::{PodmanConfig, Problem};
use nix::unistd::Uid;
use toml::de::DeTable;

/// The network that Podman has without a file.
const DEFAULT: &str = "podman";
/// Its configuration, of the distribution and of the machine.
const SYSTEM: [&str; 2] = ["/usr/share/containers/containers.conf", "/etc/containers/containers.conf"];

/// What the file says of networks that Podman does not have; nothing where it cannot be told.
pub(super) fn missing(config: &PodmanConfig) -> Vec<Problem> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let place = Place { is_root: Uid::effective().is_root(), home: variable("HOME") };
    let files = match variable("CONTAINERS_CONF") {
        Some(only) => vec![only],
        None => place.files(variable("XDG_CONFIG_HOME")),
    };
    let mut configured =
        files.into_iter().chain(variable("CONTAINERS_CONF_OVERRIDE")).filter_map(|file| configured(&file));
    let directory = configured.next_back().or_else(|| place.directory(variable("XDG_DATA_HOME")));
    directory.and_then(|directory| known(&directory)).map(|known| config.unknown_networks(&known)).unwrap_or_default()
}

/// Whose Podman it is.
struct Place {
    is_root: bool,
    home: Option<PathBuf>,
}

impl Place {
    /// The configuration files, the one that counts last at the end (containers.conf(5)).
    fn files(&self, config_home: Option<PathBuf>) -> Vec<PathBuf> {
        let own = config_home.or_else(|| Some(self.home.as_ref()?.join(".config"))).filter(|_| !self.is_root);
        let mains = SYSTEM.map(PathBuf::from).into_iter().chain(own.map(|own| own.join("containers/containers.conf")));
        mains.flat_map(with_additions).collect()
    }

    /// Where netavark's networks are, one file each, unless `network_config_dir` says otherwise.
    fn directory(&self, data_home: Option<PathBuf>) -> Option<PathBuf> {
        if self.is_root {
            return Some("/etc/containers/networks".into());
        }
        let data = data_home.or_else(|| Some(self.home.as_ref()?.join(".local/share")))?;
        Some(data.join("containers/storage/networks"))
    }
}

/// A file, and those of its directory `….d`, which are read behind it by their names.
fn with_additions(main: PathBuf) -> Vec<PathBuf> {
    let mut additions = main.clone().into_os_string();
    additions.push(".d");
    let files = fs::read_dir(additions).into_iter().flatten().flatten().map(|file| file.path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|end| end == "conf")).collect();
    files.sort();
    files.insert(0, main);
    files
}

/// The `network_config_dir` of a configuration file.
fn configured(file: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(file).ok()?;
    let document = DeTable::parse(&text).ok()?;
    let network = document.get_ref().get("network")?.get_ref().as_table()?;
    let directory = network.get("network_config_dir")?.get_ref().as_str()?;
    (!directory.is_empty()).then(|| directory.into())
}

/// The networks. A directory that is not there yet has none; where Podman itself was never, nothing can be told.
fn known(directory: &Path) -> Option<BTreeSet<String>> {
    let files = match fs::read_dir(directory) {
        Ok(files) => Some(files),
        Err(error) if error.kind() == ErrorKind::NotFound && directory.parent()?.exists() => None,
        Err(_) => return None,
    };
    let name = |file: fs::DirEntry| Some(file.file_name().to_str()?.strip_suffix(".json")?.to_owned());
    let names = files.into_iter().flatten().flatten().filter_map(name);
    Some(names.chain([DEFAULT.to_owned()]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_looked_for_where_podman_keeps_them() {
        let user = Place { is_root: false, home: Some("/home/a".into()) };
        let root = Place { is_root: true, home: Some("/root".into()) };
        let at = |path: &str| Some(PathBuf::from(path));
        assert_eq!(user.directory(None), at("/home/a/.local/share/containers/storage/networks"));
        assert_eq!(user.directory(at("/d")), at("/d/containers/storage/networks"));
        assert_eq!(root.directory(at("/d")), at("/etc/containers/networks"));
        assert!(user.files(None).contains(&"/home/a/.config/containers/containers.conf".into()));
        assert!(root.files(at("/c")).iter().all(|file| !file.starts_with("/c")));

        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("shop.json"), "").unwrap();
        fs::write(path("netavark.lock"), "").unwrap();
        let names = |directory: &Path| known(directory).map(|known| known.into_iter().collect::<Vec<_>>().join(" "));
        assert_eq!(names(directory.path()).as_deref(), Some("podman shop"));
        assert_eq!(names(&path("networks")).as_deref(), Some("podman"), "none was made yet");
        assert_eq!(names(Path::new("/nonexistent/networks")), None);

        fs::write(path("containers.conf"), "[network]\nnetwork_config_dir = \"/n\"\n").unwrap();
        assert_eq!(configured(&path("containers.conf")), at("/n"));
        fs::create_dir(path("containers.conf.d")).unwrap();
        for name in ["b.conf", "a.conf", "c.txt"] {
            fs::write(path("containers.conf.d").join(name), "[engine]\n").unwrap();
        }
        assert_eq!(configured(&path("containers.conf.d/a.conf")), None);
        let all = ["containers.conf", "containers.conf.d/a.conf", "containers.conf.d/b.conf"].map(path);
        assert_eq!(with_additions(path("containers.conf")), all);
    }
}
