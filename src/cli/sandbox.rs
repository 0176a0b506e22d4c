//! The sandbox: what the program gives up once it has started.
//!
//! A server needs little after its start: to bind ports below 1024, to read its configuration, resolv.conf and certificate
//! authorities, and to write to a few directories. All else is dropped: capabilities but CAP_NET_BIND_SERVICE (or that one,
//! too), new privileges through exec (no_new_privs), and the rest of the file system (Landlock, where the kernel has it).
//!
//! All three are a thread's own and are inherited by the threads that it starts. So each worker enters the sandbox before
//! it does anything else, and the main thread once the first sockets are bound, before it starts any other thread.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use callsign::control::shapes::Confined;
use callsign::forward::Upstreams;
use callsign::source::config::{OperationConfig, ServerConfig};
use callsign::source::hosts;
use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, Scope, make_bitflags, path_beneath_rules,
};
use nix::sys::prctl;
use tracing::{info, warn};

/// Ports below this take a privilege.
pub(super) const UNPRIVILEGED: u16 = 1024;
/// What is added to an error that the sandbox may be the cause of.
const REMARK: &str = "the sandbox may be why: since its start callsign reaches only what its configuration needed then; \
                      restart it, or start it without a sandbox to find out";
/// What such an error says (EACCES), from Landlock as from file modes and low ports.
const DENIED: &[u8] = b"(os error 13)";
/// More symbolic links than this are a loop, as for the kernel.
const MAX_LINKS: usize = 40;

/// The default of `resolv_conf`.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where it leads to on hosts where a program manages it.
const MANAGED: [&str; 4] = ["/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf", "/run/connman"];
/// Where distributions keep the certificate authorities of the system, and none of its private keys.
const AUTHORITIES: [&str; 14] = [
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/ca-certificates",
    "/etc/certs",
    "/usr/lib/ssl",
    "/usr/local/share/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/share/pki",
    "/usr/share/ssl",
    "/var/lib/ca-certificates",
];
/// What the C library reads to look up users, groups and the host of a Docker engine, and what is harmless.
const LIBRARY: [&str; 12] = [
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    // Not /proc/self: that directory has another inode, which no rule is for, once the kernel was short of memory. What is
    // secret below /proc takes the right to trace a process, and Landlock refuses that for every process outside.
    "/proc",
    "/sys/fs/cgroup",
];

/// What a server needs after its start.
#[derive(Debug)]
pub(super) struct Needs {
    /// Some port is below 1024.
    is_privileged: bool,
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
}

impl Needs {
    /// What every server needs; `is_privileged` is true if it binds ports below 1024.
    pub(super) fn new(is_privileged: bool) -> Needs {
        let read = LIBRARY.iter().chain(&AUTHORITIES).chain(&MANAGED).map(PathBuf::from);
        let mut needs = Needs { is_privileged, read: read.collect(), write: Vec::new() };
        for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            let given = std::env::var_os(variable).unwrap_or_default();
            needs.read.extend(std::env::split_paths(&given).filter(|path| path.is_absolute()));
        }
        needs
    }

    /// Reads a file, also after it was replaced or a link on the way to it was turned elsewhere: what is allowed is the
    /// directory of each.
    pub(super) fn follow(&mut self, path: &Path) {
        self.read.extend(places(path));
    }

    /// Reads the files that the settings of every kind of server may name.
    pub(super) fn configured<'c>(
        &mut self,
        server: &ServerConfig,
        operation: &OperationConfig,
        ca_files: impl Iterator<Item = &'c Path>,
    ) {
        self.upstreams(&server.settings.forward.upstreams);
        ca_files.for_each(|path| self.follow(path));
        if let Some(token) = &operation.metrics.token_file {
            self.follow(token);
        }
        if server.hosts {
            self.follow(hosts::system());
        }
    }

    /// Reads the resolv.conf of the host, and the one that is asked, if that is said, also after it was replaced.
    fn upstreams(&mut self, upstreams: &Upstreams) {
        // A reload may come back to it.
        self.read.push(RESOLV_CONF.into());
        if let Upstreams::System(path) = upstreams {
            let mut places = places(path);
            let file = places.pop();
            // All of an /etc (a container's own, or the host's in a container) only where the file itself is there: a link
            // that leads out of it takes no more than its end.
            places.retain(|place| !place.ends_with("etc"));
            self.read.extend(places.into_iter().chain(file));
        }
    }

    /// Reads below a directory.
    pub(super) fn read(&mut self, directory: impl Into<PathBuf>) {
        self.read.push(directory.into());
    }

    /// Makes, writes and removes files below a directory.
    pub(super) fn write(&mut self, directory: impl Into<PathBuf>) {
        self.write.push(directory.into());
    }
}

/// The directory of a file, and of each file that a symbolic link leads to, the last one last.
fn places(path: &Path) -> Vec<PathBuf> {
    let mut places = Vec::new();
    let mut path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for _ in 0..MAX_LINKS {
        let Some(place) = path.parent().map(Path::to_owned) else { break };
        let target = fs::read_link(&path);
        places.push(place.clone());
        match target {
            Ok(target) => path = place.join(target),
            Err(_) => break,
        }
    }
    places
}

/// The confinement of the main thread, once it is in force.
static IN_FORCE: OnceLock<Confined> = OnceLock::new();

/// The confinement of this process; `None` before it is in force, and for good with `--no-sandbox`.
pub(super) fn in_force() -> Option<&'static Confined> {
    IN_FORCE.get()
}

/// What to add to a line about an error, if the sandbox may have caused it.
pub(super) fn remark(line: &[u8]) -> Option<&'static str> {
    in_force().filter(|_| line.windows(DENIED.len()).any(|part| part == DENIED)).map(|_| REMARK)
}

/// The sandbox, to be entered by each thread.
#[derive(Debug, Clone)]
pub(super) struct Sandbox(Option<Arc<Needs>>);

impl Sandbox {
    /// A sandbox in which there is what is needed; `None` for one that changes nothing (`--no-sandbox`).
    pub(super) fn new(needs: Option<Needs>) -> Sandbox {
        Sandbox(needs.map(Arc::new))
    }

    /// True if it confines.
    pub(super) fn is_in_use(&self) -> bool {
        self.0.is_some()
    }

    /// Confines this thread and those that it starts. What does not exist now is not allowed later.
    pub(super) fn enter(&self) {
        if let Some(needs) = &self.0 {
            needs.confine(&[]);
        }
    }

    /// Confines the main thread, the last of those that run, and says what holds. It may write to `directories`, too.
    pub(super) fn enter_last(&self, directories: &[PathBuf]) {
        let Some(needs) = &self.0 else {
            warn!("there is no sandbox: the server keeps all its privileges (--no-sandbox, CALLSIGN_NO_SANDBOX)");
            return;
        };
        let (landlock, trouble) = needs.confine(directories);
        for trouble in trouble {
            warn!("{trouble}");
        }
        let left = caps::read(None, CapSet::Permitted).unwrap_or_default();
        let mut capabilities: Vec<String> = left.iter().map(|one| one.to_string().to_ascii_lowercase()).collect();
        capabilities.sort();
        let no_new_privs = prctl::get_no_new_privs().unwrap_or(false);
        let confinement = IN_FORCE.get_or_init(|| Confined { capabilities, no_new_privs, landlock });
        let Confined { capabilities, no_new_privs, landlock } = confinement;
        let landlock = landlock.map_or_else(|| "none".to_owned(), |abi| abi.to_string());
        info!(capabilities = capabilities.join(" "), no_new_privs, landlock, "confined");
    }
}

impl Needs {
    /// Confines this thread. Gives the version of Landlock that is in force, and what could not be given up.
    fn confine(&self, directories: &[PathBuf]) -> (Option<i32>, Vec<String>) {
        let mut trouble = Vec::new();
        if let Err(error) = prctl::set_no_new_privs() {
            trouble.push(format!("no_new_privs cannot be set: {error}"));
        }
        let landlock = self.restrict(directories).map_err(|error| trouble.push(error)).ok();
        let kept = self.is_privileged.then_some(Capability::CAP_NET_BIND_SERVICE).into_iter().collect();
        if let Err(error) = drop_capabilities(&kept) {
            trouble.push(format!("capabilities cannot be dropped: {error}"));
        }
        (landlock, trouble)
    }

    /// Puts Landlock in force, and gives its version.
    fn restrict(&self, directories: &[PathBuf]) -> Result<i32, String> {
        let status = self.ruleset(directories).and_then(RulesetCreated::restrict_self);
        let status = status.map_err(|error| format!("the file system is not confined: {error}"))?;
        match status.landlock {
            LandlockStatus::Available { effective_abi, kernel_abi } => Ok(kernel_abi.unwrap_or(effective_abi as i32)),
            _ => Err("the file system is not confined: this kernel has no Landlock".to_owned()),
        }
    }

    /// Files, and signals to processes outside. Sockets are left alone: which servers will be asked is not known in advance.
    fn ruleset(&self, directories: &[PathBuf]) -> Result<RulesetCreated, RulesetError> {
        let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
        let write = read
            | make_bitflags!(AccessFs::{
                WriteFile | Truncate | MakeReg | MakeDir | MakeSock | RemoveFile | RemoveDir | Refer
            });
        let null = make_bitflags!(AccessFs::{ReadFile | WriteFile});
        Ruleset::default()
            // Without it (before Linux 5.19) no file could be moved into its place from another directory, as Podman's pid
            // file is.
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::Refer)?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI::V5))?
            .scope(Scope::Signal)?
            .create()?
            .add_rules(path_beneath_rules(&self.read, read))?
            .add_rules(path_beneath_rules(self.write.iter().chain(directories), write))?
            .add_rules(path_beneath_rules(["/dev/null"], null))
    }
}

/// Drops all capabilities of this thread but those kept, from each of its sets.
fn drop_capabilities(kept: &CapsHashSet) -> Result<(), caps::errors::CapsError> {
    let held = caps::read(None, CapSet::Permitted)?;
    // What could be gained by executing a program that has it. It takes a privilege to drop that, and no_new_privs does the
    // same for who has none.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for capability in caps::all().difference(kept) {
            // It fails for one that this kernel does not know.
            let _ = caps::drop(None, CapSet::Bounding, *capability);
        }
    }
    let left: CapsHashSet = held.intersection(kept).copied().collect();
    caps::clear(None, CapSet::Ambient)?;
    // Only what changes: a service may have nothing to drop, and a filter of system calls that refuses to drop it. What is
    // inheritable and kept gives nothing to who may gain no privileges.
    if !caps::read(None, CapSet::Inheritable)?.is_subset(kept) {
        caps::clear(None, CapSet::Inheritable)?;
    }
    for set in [CapSet::Effective, CapSet::Permitted] {
        if caps::read(None, set)? != left {
            caps::set(None, set, &left)?;
        }
    }
    Ok(())
}
