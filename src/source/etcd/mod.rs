//! The names of other hosts, through etcd: this host publishes what its shared networks have, and takes what the others publish.
//!
//! [`Store::start`] follows the store beside whatever else fills the table, and never stands in its way: endpoints of this host
//! are in the table before the store hears of them, and those of others stay in it while the store is away.
//!
//! # In the store
//!
//! A key for each host and one for each endpoint, all on one lease of the host's, so that they go when it dies. Each write is one
//! transaction that rewrites the host's key and compares its revision: one that comes late does nothing, a deletion that comes
//! with it is meant, and any other one is a loss.
//!
//! # When keys go
//!
//! Names of a host whose keys are gone are answered for 2 s, since it may be back; then they are known and have no address, for
//! [`linger`](StoreOptions::linger). If many hosts vanish at once, or this host's own lease goes at the same time, the store is to
//! blame, and their names are answered for [`hold`](StoreOptions::hold).

mod client;
mod follow;
mod host;
mod link;
mod own;
mod proto;
mod publish;
mod record;
mod replay;
mod state_file;
mod take;
mod world;

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::settings::{StoreOptions, StoreStatus};
use crate::table::{HostOrigin, NameTable, Reach};

use client::Member;
use follow::{Command, Follower, Talks};
use own::Identity;
#[doc(hidden)]
pub use replay::{replay_values, replay_watch};
use world::World;

/// How long a stop waits for the store to hear of it.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Why names cannot be shared as they are to be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is nobody to ask.
    #[error("[store] has no etcd to ask; write etcd = [\"https://10.77.0.1:2379\"]")]
    NoMember,
    /// An address is none.
    #[error("{0}")]
    Member(String),
    /// A host's name is none.
    #[error("\"{0}\" is no host name; write letters, digits, hyphens and dots, as in host = \"host-a\"")]
    Host(String),
    /// What the keys begin with cannot be that.
    #[error("\"{0}\" cannot be what keys begin with; write prefix = \"/callsign\"")]
    Prefix(String),
    /// The system gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(String),
}

/// Names shared with other hosts. See the [module](self).
pub struct Store {
    world: Arc<Mutex<World>>,
    commands: mpsc::UnboundedSender<Command>,
    ready: watch::Receiver<bool>,
    task: JoinHandle<()>,
    options: StoreOptions,
}

/// Looks at how a [`Store`] stands, for as long as it likes.
#[derive(Clone)]
pub struct StoreView(Arc<Mutex<World>>);

impl StoreView {
    /// How it stands; how it stood, once it has stopped.
    pub fn status(&self) -> StoreStatus {
        lock(&self.0).status(Instant::now())
    }
}

impl fmt::Debug for StoreView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreView").finish_non_exhaustive()
    }
}

/// What tells this host from others of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Machine {
    /// The same after a reboot: a hash of the machine's id.
    pub id: String,
    /// Another one after a reboot.
    pub boot: String,
}

impl Machine {
    /// A machine with this identity, started with this boot id.
    pub fn new(id: impl Into<String>, boot: impl Into<String>) -> Machine {
        Machine { id: id.into(), boot: boot.into() }
    }

    /// This one. A system without a machine's id is another one after each reboot.
    pub fn this() -> Machine {
        let read = |path: &str| {
            fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let boot = read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let id = read("/etc/machine-id").or_else(|| read("/var/lib/dbus/machine-id"));
        // The id itself is to be kept secret (machine-id(5)).
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"callsign store");
        let hash = ring::hmac::sign(&key, id.as_ref().unwrap_or(&boot).as_bytes());
        let id = hash.as_ref()[..16].iter().map(|octet| format!("{octet:02x}")).collect();
        Machine { id, boot }
    }
}

impl Store {
    /// Shares the networks of `table` that say so. Needs a tokio runtime, and stops when it is dropped.
    ///
    /// # Errors
    /// What is wrong with the options.
    pub fn start(options: StoreOptions, table: &NameTable) -> Result<Store, StoreError> {
        Store::start_on(&Machine::this(), options, table)
    }

    /// The same for another machine than this one.
    ///
    /// # Errors
    /// As [`start`](Store::start).
    pub fn start_on(machine: &Machine, options: StoreOptions, table: &NameTable) -> Result<Store, StoreError> {
        let members = check(&options)?;
        let mut octets = [0; 16];
        getrandom::fill(&mut octets).map_err(|error| StoreError::Random(error.to_string()))?;
        let random = u128::from_le_bytes(octets);
        let identity =
            Identity { machine: machine.id.clone(), boot: machine.boot.clone(), instance: format!("{random:032x}") };
        // Followed before it is read, so that nothing is missed.
        let feed = table.follow();
        let mut world = World::new(&options, identity, table, random as u64, Instant::now());
        world.publish(Instant::now());
        let world = Arc::new(Mutex::new(world));
        let (commands, received) = mpsc::unbounded_channel();
        let (is_ready, ready) = watch::channel(false);
        let talks = Talks { feed, commands: received, ready: is_ready };
        let follower = Follower::new(world.clone(), options.clone(), members, talks, (random >> 64) as u64);
        let task = tokio::spawn(follower.run());
        Ok(Store { world, commands, ready, task, options })
    }

    /// What it was told.
    pub fn options(&self) -> &StoreOptions {
        &self.options
    }

    /// Does as these options say from now on. Gives false, and does nothing, if they are about another store or another host:
    /// then this one is to be [shut down](Store::shutdown), and another one started.
    ///
    /// # Errors
    /// What is wrong with the options: the old ones stay in force.
    pub fn configure(&mut self, options: StoreOptions) -> Result<bool, StoreError> {
        let members = check(&options)?;
        if (&options.prefix, &options.host) != (&self.options.prefix, &self.options.host) {
            return Ok(false);
        }
        if options != self.options {
            self.options = options.clone();
            // It listens until it is dropped.
            let _ = self.commands.send(Command::Configure(Box::new(options), members));
        }
        Ok(true)
    }

    /// How it stands.
    pub fn status(&self) -> StoreStatus {
        lock(&self.world).status(Instant::now())
    }

    /// How it stands, for others to look at.
    pub fn view(&self) -> StoreView {
        StoreView(self.world.clone())
    }

    /// True once it is known what other hosts have, or has been [waited](StoreOptions::wait) for.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Waits until then. Cancelling it loses nothing.
    pub async fn ready(&mut self) {
        // It is there as long as the store is.
        let _ = self.ready.wait_for(|is_ready| *is_ready).await;
    }

    /// Withdraws what this host has published, and stops. What other hosts have is taken from the table. Takes 3 s at most.
    pub async fn shutdown(mut self) {
        let (done, is_done) = oneshot::channel();
        if self.commands.send(Command::Stop(done)).is_ok() {
            let _ = timeout(STOP_TIMEOUT, is_done).await;
        }
        self.task.abort();
        let _ = (&mut self.task).await;
        lock(&self.world).clear();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("options", &self.options).finish_non_exhaustive()
    }
}

/// What is wrong with options.
fn check(options: &StoreOptions) -> Result<Vec<Member>, StoreError> {
    let members: Result<Vec<Member>, String> = options.etcd.iter().map(|text| Member::parse(text)).collect();
    let members = members.map_err(StoreError::Member)?;
    if members.is_empty() {
        return Err(StoreError::NoMember);
    }
    let host = options.host.to_ascii_lowercase();
    if HostOrigin::new(&host, Reach::Host).is_err() || host.ends_with('.') {
        return Err(StoreError::Host(options.host.clone()));
    }
    let prefix = options.prefix.trim_end_matches('/');
    if !prefix.starts_with('/') || prefix.len() > 128 || prefix.contains("//") {
        return Err(StoreError::Prefix(options.prefix.clone()));
    }
    Ok(members)
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where this host is reached: what is said, or the address from which etcd is reached.
fn addresses(options: &StoreOptions, local: IpAddr) -> Vec<IpAddr> {
    match options.address.as_slice() {
        [] => Some(local).filter(|local| record::is_reachable(*local)).into_iter().collect(),
        given => given.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_make_no_sense_are_refused_with_what_to_write() {
        let options = |host: &str, etcd: &str| StoreOptions::new(host, vec![etcd.to_owned()]);
        let refused = |options: &StoreOptions| check(options).unwrap_err().to_string();
        assert!(check(&options("Host-A.dc1", "http://127.0.0.1:2379")).is_ok());
        assert!(refused(&options("host_a", "http://127.0.0.1:2379")).contains("host = \"host-a\""));
        assert!(refused(&options("", "http://127.0.0.1:2379")).contains("host name"));
        assert!(refused(&options("host-a", "127.0.0.1:2379")).contains("write https://"));
        assert!(refused(&StoreOptions::new("host-a", Vec::new())).contains("no etcd"));
        let prefix = |prefix: &str| StoreOptions { prefix: prefix.to_owned(), ..options("a", "http://127.0.0.1") };
        assert!(check(&prefix("/callsign/")).is_ok());
        for text in ["", "/", "callsign", "//x"] {
            assert!(refused(&prefix(text)).contains("prefix"), "{text}");
        }
    }

    #[test]
    fn a_machine_is_told_by_a_hash() {
        let machine = Machine::this();
        assert_eq!((machine.id.len(), Machine::this()), (32, machine.clone()));
        let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        assert_ne!(machine.id, id.trim(), "machine-id(5): it is not to be published");
    }
}
