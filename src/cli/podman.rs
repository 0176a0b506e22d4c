//! `callsign podman`: the link by which Podman takes callsign for its DNS server, and its undo.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;
use toml::de::DeTable;

use super::arguments::{Podman, PodmanAction, PodmanLink, PodmanStatus};
use super::{NO, output};

/// What Podman's network tool looks for.
const NAME: &str = "aardvark-dns";
/// Where Podman looks for its helpers, in this order, unless containers.conf says otherwise.
const HELPERS: [&str; 4] =
    ["/usr/local/libexec/podman", "/usr/local/lib/podman", "/usr/libexec/podman", "/usr/lib/podman"];

/// Runs `callsign podman`.
pub(super) fn run(arguments: &Podman) -> ExitCode {
    let outcome = match &arguments.action {
        PodmanAction::Install(link) => install(link),
        PodmanAction::Remove(link) => remove(link),
        PodmanAction::Status(status) => return tell(status),
    };
    match outcome {
        Ok(text) => output::result(&text, 0),
        Err(message) => output::fail(message, NO),
    }
}

/// What is at the place of the link.
enum Found {
    Nothing,
    /// A link to a program named callsign, and which.
    Ours(PathBuf),
    Theirs,
}

fn look(link: &Path) -> Result<Found, String> {
    match fs::symlink_metadata(link) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(format!("{}: {error}", link.display())),
        Ok(metadata) if metadata.is_symlink() => {
            let target = fs::read_link(link).map_err(|error| format!("{}: {error}", link.display()))?;
            let is_ours = target.file_name().is_some_and(|name| name == "callsign");
            Ok(if is_ours { Found::Ours(target) } else { Found::Theirs })
        }
        Ok(_) => Ok(Found::Theirs),
    }
}

fn not_ours(link: &Path) -> String {
    format!(
        "{} is not a link to callsign, and is left alone; move it away, or name another directory with --directory",
        link.display()
    )
}

fn install(arguments: &PodmanLink) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|error| format!("where this program is cannot be told: {error}"))?;
    // What a program that was replaced while it runs is called by the kernel.
    if program.to_string_lossy().ends_with(" (deleted)") {
        return Err("this program was replaced while it ran; try again".to_owned());
    }
    let link = arguments.directory.join(NAME);
    let shown = (link.display(), program.display());
    match look(&link)? {
        Found::Theirs => return Err(not_ours(&link)),
        Found::Ours(target) if target == program => {
            return Ok(format!("{} is a link to {} already\n", shown.0, shown.1));
        }
        Found::Nothing | Found::Ours(_) => {}
    }
    let mut steps = format!("link {} -> {}\n", shown.0, shown.1);
    if !arguments.directory.exists() {
        steps = format!("make {}\n{steps}", arguments.directory.display());
    }
    if arguments.dry_run {
        return Ok(steps);
    }
    put(&arguments.directory, &link, &program).map_err(|error| refused(&link, &error))?;
    let mut text = steps;
    if !helpers().contains(&arguments.directory) {
        text.push_str(&format!(
            "Podman does not look there: add {:?} to helper_binaries_dir in containers.conf\n",
            arguments.directory
        ));
    }
    text.push_str(
        "Podman takes it the next time it starts its first container. To switch now, end the server that runs:\n",
    );
    text.push_str("  kill $(cat /run/containers/networks/aardvark-dns/aardvark.pid), and start a container\n");
    Ok(text)
}

/// Makes the link whole in one step, whatever of ours was there.
fn put(directory: &Path, link: &Path, program: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let new = directory.join(format!(".{NAME}.{}", std::process::id()));
    symlink(program, &new)?;
    fs::rename(&new, link).inspect_err(|_| _ = fs::remove_file(&new))
}

fn refused(link: &Path, error: &io::Error) -> String {
    let what = match error.kind() {
        io::ErrorKind::PermissionDenied => "; run this as root, or name a directory of your own with --directory",
        _ => "",
    };
    format!("{}: {error}{what}", link.display())
}

fn remove(arguments: &PodmanLink) -> Result<String, String> {
    let link = arguments.directory.join(NAME);
    match look(&link)? {
        Found::Nothing => return Ok(format!("{} is not there\n", link.display())),
        Found::Theirs => return Err(not_ours(&link)),
        Found::Ours(_) => {}
    }
    let steps = format!("remove {}\n", link.display());
    if arguments.dry_run {
        return Ok(steps);
    }
    fs::remove_file(&link).map_err(|error| refused(&link, &error))?;
    // One that has more in it stays.
    let _ = fs::remove_dir(&arguments.directory);
    Ok(format!("{steps}Podman starts its own server again from the next first container on\n"))
}

/// What `status` says.
#[derive(Debug, Serialize)]
struct Status {
    /// The first program of that name in Podman's directories, with where it leads.
    starts: Option<Program>,
    /// Servers that run, in this and other network namespaces.
    running: Vec<Server>,
}

#[derive(Debug, Serialize)]
struct Program {
    path: PathBuf,
    leads_to: PathBuf,
    is_callsign: bool,
}

#[derive(Debug, Serialize)]
struct Server {
    pid: u32,
    /// `None` where that is not shown to this user.
    is_callsign: Option<bool>,
}

fn tell(arguments: &PodmanStatus) -> ExitCode {
    let starts = helpers().into_iter().map(|directory| directory.join(NAME)).find_map(program);
    let status = Status { starts, running: servers() };
    let code = if status.starts.as_ref().is_some_and(|program| program.is_callsign) { 0 } else { NO };
    if arguments.json {
        return output::json(&status, code);
    }
    let mut text = match &status.starts {
        None => "Podman finds no aardvark-dns: its containers have no names\n".to_owned(),
        Some(Program { path, is_callsign: true, .. }) => format!("Podman starts callsign, by {}\n", path.display()),
        Some(Program { path, leads_to, .. }) => {
            let leads_to = if leads_to == path { String::new() } else { format!(" ({})", leads_to.display()) };
            format!(
                "Podman starts {}{leads_to}, which is not callsign; see `callsign podman install`\n",
                path.display()
            )
        }
    };
    if status.running.is_empty() {
        text.push_str("No server runs: there is none without a container that has a network with names\n");
    }
    for Server { pid, is_callsign } in &status.running {
        let what = match is_callsign {
            Some(true) => "callsign",
            Some(false) => "another program; it ends with its last container",
            None => "of another user",
        };
        text.push_str(&format!("Process {pid} serves: {what}\n"));
    }
    output::result(&text, code)
}

fn program(path: PathBuf) -> Option<Program> {
    // A link that leads nowhere is passed over by Podman, too.
    let leads_to = fs::canonicalize(&path).ok()?;
    let is_callsign = leads_to.file_name().is_some_and(|name| name == "callsign")
        || std::env::current_exe().is_ok_and(|own| own == leads_to);
    Some(Program { path, leads_to, is_callsign })
}

/// The processes with that name.
fn servers() -> Vec<Server> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    let is_server = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let first = line.split(|&octet| octet == 0).next().unwrap_or_default();
        Path::new(&*String::from_utf8_lossy(first)).file_name().is_some_and(|name| name == NAME)
    };
    let is_callsign = |pid: &u32| {
        let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        // One that was replaced has ` (deleted)` behind it.
        Some(program.file_name()?.to_str()?.starts_with("callsign"))
    };
    let mut servers: Vec<Server> =
        pids.filter(is_server).map(|pid| Server { pid, is_callsign: is_callsign(&pid) }).collect();
    servers.sort_by_key(|server| server.pid);
    servers
}

/// The directories in which Podman looks for its helpers, as the containers.conf of this user say (containers.conf(5)): the
/// last one that has the key counts.
fn helpers() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = ["/usr/share/containers/containers.conf", "/etc/containers/containers.conf"]
        .map(PathBuf::from)
        .into_iter()
        .chain(parts(Path::new("/etc/containers/containers.conf.d")))
        .collect();
    let home = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".config")));
    if let Some(home) = home {
        files.push(home.join("containers/containers.conf"));
        files.extend(parts(&home.join("containers/containers.conf.d")));
    }
    let said = files.iter().filter_map(|file| helpers_of(&fs::read_to_string(file).ok()?)).next_back();
    said.unwrap_or_else(|| HELPERS.map(PathBuf::from).to_vec())
}

fn parts(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut parts: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "conf")).collect();
    parts.sort();
    parts
}

fn helpers_of(containers_conf: &str) -> Option<Vec<PathBuf>> {
    let file = DeTable::parse(containers_conf).ok()?;
    let engine = file.get_ref().get("engine")?.get_ref().as_table()?;
    let directories = engine.get("helper_binaries_dir")?.get_ref().as_array()?;
    Some(directories.iter().filter_map(|directory| directory.get_ref().as_str()).map(PathBuf::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directories_of_containers_conf() {
        let text = "[engine]\nhelper_binaries_dir = [\"/a\", \"/b\"]\n";
        assert_eq!(helpers_of(text), Some(vec!["/a".into(), "/b".into()]));
        assert_eq!(helpers_of("[engine]\n# helper_binaries_dir = []\n"), None);
        assert_eq!(helpers_of("[engine\n"), None);
    }
}
