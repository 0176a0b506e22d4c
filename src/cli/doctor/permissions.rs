//! Whether the user that callsign runs as may read what the configuration names.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::User;

use super::facts::Facts;
use super::finding::Finding;
use crate::cli::system;

const ID: &str = "permissions";

/// Who reads: a user, and its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reader {
    /// For people.
    name: String,
    /// `None` for one that systemd makes at the start: it owns nothing.
    user: Option<u32>,
    groups: Vec<u32>,
    /// Modes do not matter: root, unless it has given up the capabilities for that.
    is_almighty: bool,
}

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let Some(reader) = reader(facts) else {
        return vec![Finding::skipped(ID, "permissions: callsign does not run, and there is no callsign.service")];
    };
    if reader.is_almighty {
        return vec![Finding::ok(ID, "callsign runs as root, and may read everything")];
    }
    let mut files: Vec<PathBuf> = facts.config.iter().map(|_| facts.path.clone()).collect();
    files.extend(facts.upstreams().iter().filter_map(|(upstream, _)| Some(upstream.ca_file()?.to_owned())));
    let mut findings: Vec<Finding> = files
        .iter()
        .filter_map(|file| fs::canonicalize(file).ok())
        .filter_map(|file| {
            let (place, needed) = refused(&file, &reader, READ)?;
            let cure = format!("chmod o+{needed} {}", place.display());
            Some(Finding::problem(
                ID,
                format!("callsign runs as {}, which may not read {}", reader.name, file.display()),
                cure,
            ))
        })
        .collect();
    if let Some(podman) = facts.valid().and_then(|config| config.podman.as_ref())
        && let Ok(directory) = fs::canonicalize(&podman.directory)
        && refused(&directory, &reader, READ).is_some()
    {
        findings.push(Finding::problem(
            ID,
            format!("callsign runs as {}, which may not read Podman's {}", reader.name, directory.display()),
            "`systemctl edit callsign`, and write: [Service] DynamicUser=no User=root (it drops root's privileges by itself)",
        ));
    }
    if let (true, Ok(engine)) = (facts.is_docker, facts.engine())
        && let Some(socket) = &engine.socket
        && refused(socket, &reader, WRITE).is_some()
    {
        findings.push(Finding::problem(
            ID,
            format!("callsign runs as {}, which may not use Docker's socket {}", reader.name, socket.display()),
            "`systemctl edit callsign`, and write: [Service] SupplementaryGroups=docker (which is as much as root)",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(ID, format!("callsign runs as {}, and may read what it needs", reader.name)));
    }
    findings
}

/// Whoever runs callsign: the running process, or else the unit's user.
fn reader(facts: &Facts) -> Option<Reader> {
    let running = facts.servers.iter().find_map(|server| Some((server.user()?, server.ignores_modes())));
    if let Some(((user, groups), is_almighty)) = running {
        let known = User::from_uid(user.into()).ok().flatten();
        let name = known.map_or_else(|| format!("user {user}"), |known| known.name);
        return Some(Reader { name, user: Some(user), groups, is_almighty });
    }
    let shown =
        system::output(&["systemctl", "show", "callsign.service", "--property=LoadState,User,DynamicUser"]).ok()?;
    let value = |key: &str| shown.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().to_owned();
    if value("LoadState=") != "loaded" {
        return None;
    }
    let name = value("User=");
    if name.is_empty() && value("DynamicUser=") != "yes" {
        return Some(Reader { name: "root".to_owned(), user: Some(0), groups: vec![0], is_almighty: false });
    }
    let known = User::from_name(&name).ok().flatten();
    Some(Reader {
        name: if name.is_empty() { "a user of its own".to_owned() } else { name },
        user: known.as_ref().map(|user| user.uid.as_raw()),
        groups: known.iter().map(|user| user.gid.as_raw()).collect(),
        is_almighty: false,
    })
}

const READ: u32 = 4;
const WRITE: u32 = 2;
const SEARCH: u32 = 1;

/// The file or directory on the way to a file that keeps a reader from it, and what is missing, as chmod has it.
fn refused(file: &Path, reader: &Reader, wanted: u32) -> Option<(PathBuf, char)> {
    let mut way: Vec<&Path> = file.ancestors().skip(1).collect();
    way.reverse();
    let closed = way.into_iter().find(|directory| !allows(directory, reader, SEARCH));
    if let Some(directory) = closed {
        return Some((directory.to_owned(), 'x'));
    }
    (!allows(file, reader, wanted)).then(|| (file.to_owned(), if wanted == WRITE { 'w' } else { 'r' }))
}

/// By the bits of its mode; what cannot be looked at is taken to allow it.
fn allows(path: &Path, reader: &Reader, wanted: u32) -> bool {
    let Ok(metadata) = fs::metadata(path) else { return true };
    let shift = match () {
        () if reader.user == Some(metadata.uid()) => 6,
        () if reader.groups.contains(&metadata.gid()) => 3,
        () => 0,
    };
    metadata.mode() >> shift & wanted == wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_reader_needs_every_directory_and_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let (file, mode) = (directory.path().join("callsign.toml"), fs::Permissions::from_mode);
        fs::write(&file, "").unwrap();
        let own = nix::unistd::Uid::effective().as_raw();
        let stranger = Reader { name: "stranger".into(), user: Some(own + 1), groups: vec![], is_almighty: false };
        let owner = Reader { name: "owner".into(), user: Some(own), groups: vec![], is_almighty: false };
        fs::set_permissions(directory.path(), mode(0o755)).unwrap();
        for (bits, expected) in [(0o644, None), (0o640, Some((file.clone(), 'r')))] {
            fs::set_permissions(&file, mode(bits)).unwrap();
            assert_eq!(refused(&file, &stranger, READ), expected);
            assert_eq!(refused(&file, &owner, READ), None);
        }
        fs::set_permissions(&file, mode(0o644)).unwrap();
        fs::set_permissions(directory.path(), mode(0o700)).unwrap();
        assert_eq!(refused(&file, &stranger, READ), Some((directory.path().to_owned(), 'x')));
        let group = Reader { groups: vec![fs::metadata(&file).unwrap().gid()], ..stranger };
        fs::set_permissions(directory.path(), mode(0o750)).unwrap();
        fs::set_permissions(&file, mode(0o640)).unwrap();
        assert_eq!(refused(&file, &group, READ), None);
        assert_eq!(refused(&file, &group, WRITE), Some((file, 'w')));
    }
}
