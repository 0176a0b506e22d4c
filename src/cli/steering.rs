//! What the control socket knows of the program, and what it tells it to do.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use callsign::control::shapes::{Confined, Earlier, FailedReload, Reloaded, Source, VERSION};
use callsign::control::{
    self, Control, ControlOptions, Dnstap, DnstapTarget, Host, Hub, Metrics, MetricsOptions, PageOptions, Place,
    QueryLog, QueryLogOptions, SourceActivity,
};
use callsign::server::Server;
use callsign::settings::StoreStatus;
use callsign::source::config::{ControlConfig, DnstapConfig, LogConfig, LoggedQueries, MetricsConfig, OperationConfig};
use callsign::source::docker::Activity;
use callsign::source::etcd::StoreView;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::arguments::CONFIG;
use super::sandbox::Sandbox;
use super::{log, sandbox};

/// Reloads that wait for their turn.
const WAITING: usize = 8;
/// The pause before an address that could not be bound is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Somebody who wants the source to be read again, and to hear what came of it.
pub(super) type Order = oneshot::Sender<Reloaded>;

/// See the module.
#[derive(Debug)]
pub(super) struct Steering {
    hub: Arc<Hub>,
    orders: mpsc::Sender<Order>,
    /// The source without Docker.
    configured: Source,
    started: SystemTime,
    state: Mutex<State>,
    metrics: Mutex<Option<Metrics>>,
    /// Tries to serve metrics whose address could not be bound.
    retry: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct State {
    source: Source,
    read: Option<SystemTime>,
    /// What following Docker comes to.
    docker: Option<Arc<Activity>>,
    /// How other hosts are followed.
    store: Option<StoreView>,
    /// Readings that succeeded, and that failed.
    counts: (u64, u64),
    is_stopping: bool,
    /// What the last reading came to, and when it was.
    last: Reloaded,
    last_at: String,
    /// Somebody was told of it.
    is_last_told: bool,
    /// What those before it have changed, that nobody was told of.
    earlier: Option<Earlier>,
    /// What is wanted and not in force, by what it is of.
    troubles: BTreeMap<&'static str, String>,
    /// What is in force.
    operation: OperationConfig,
}

impl Steering {
    /// For a source of a kind (`file`, `podman`) at a path; and what it is told to do.
    pub(super) fn new(kind: &str, path: &Path) -> (Arc<Steering>, mpsc::Receiver<Order>) {
        let (orders, received) = mpsc::channel(WAITING);
        let configured = Source { kind: kind.to_owned(), path: path.display().to_string(), ..Source::default() };
        let state = Mutex::new(State { source: configured.clone(), ..State::default() });
        let (hub, started, metrics, retry) = (Arc::default(), SystemTime::now(), Mutex::default(), Mutex::default());
        (Arc::new(Steering { hub, orders, configured, started, state, metrics, retry }), received)
    }

    /// The source is the Docker engine at this socket, beside the configuration; `None` if it is the configuration alone.
    pub(super) fn set_docker(&self, socket: Option<String>) {
        let mut state = self.lock();
        let is_followed = state.source.connected.is_some();
        match socket {
            Some(socket) if is_followed && socket == state.source.path => {}
            Some(path) => {
                let connected = Some(false);
                // It has not answered yet, there.
                state.source = Source { kind: "docker".to_owned(), path, connected, ..Source::default() };
                state.read = None;
            }
            None if is_followed => state.source = self.configured.clone(),
            None => {}
        }
    }

    /// What following Docker comes to, where it is followed.
    pub(super) fn set_docker_activity(&self, activity: Option<Arc<Activity>>) {
        self.lock().docker = activity;
    }

    /// How other hosts are followed, where they are.
    pub(super) fn set_store(&self, store: Option<StoreView>) {
        self.lock().store = store;
    }

    /// Takes note of whether the Docker engine answers. What it says was just read, if it does.
    pub(super) fn note_docker(&self, is_connected: bool) {
        let mut state = self.lock();
        state.source.connected = Some(is_connected);
        if is_connected {
            state.read = Some(SystemTime::now());
            state.source.read = Some(control::now());
        }
    }

    /// The server's observer.
    pub(super) fn hub(&self) -> Arc<Hub> {
        self.hub.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what a reading came to.
    pub(super) fn note(&self, mut reloaded: Reloaded) {
        for error in &mut reloaded.errors {
            if let Some(remark) = sandbox::remark(error.as_bytes()) {
                *error = format!("{error}; {remark}");
            }
        }
        let mut state = self.lock();
        // Of the start nobody needs to be told.
        if !state.is_last_told && state.counts.0 > 1 {
            state.keep_last();
        }
        let now = Some(control::now());
        state.last_at = now.clone().unwrap_or_default();
        state.is_last_told = false;
        if reloaded.errors.is_empty() {
            state.counts.0 += 1;
            state.source.failed = None;
            // Docker is read at other times.
            if state.source.connected.is_none() {
                state.read = Some(SystemTime::now());
                state.source.read = now;
            }
        } else {
            state.counts.1 += 1;
            state.source.failed = now.map(|at| FailedReload { at, errors: reloaded.errors.clone() });
        }
        state.last = Reloaded { api: VERSION, ..reloaded };
    }

    /// The server is about to stop: it is neither healthy nor ready any more.
    pub(super) fn stopping(&self) {
        self.lock().is_stopping = true;
    }

    /// What the last reading came to, to be told to who has ordered it.
    pub(super) fn last(&self) -> Reloaded {
        let mut state = self.lock();
        state.is_last_told = true;
        let mut last = state.last.clone();
        if last.errors.is_empty() {
            last.earlier = state.earlier.take();
        }
        last.problems = state.troubles.values().cloned().collect();
        last
    }

    /// Takes note of what is wanted and cannot be put into force; `None` once it is.
    pub(super) fn note_trouble(&self, of: &'static str, trouble: Option<String>) {
        let troubles = &mut self.lock().troubles;
        match trouble {
            Some(trouble) => _ = troubles.insert(of, trouble),
            None => _ = troubles.remove(of),
        }
    }

    /// Serves metrics as they are wanted, or no longer.
    async fn serve_metrics(self: &Arc<Steering>, server: &Arc<Server>, config: &MetricsConfig) {
        let retry = self.retry.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(retry) = retry {
            retry.abort();
        }
        let before = self.metrics().take();
        if let Some(before) = before {
            // Two cannot listen at one address.
            before.stop().await;
        }
        self.note_trouble("metrics", None);
        let Some(listen) = config.listen else { return };
        let page = PageOptions { token_file: config.token_file.clone(), hosts: config.hosts.clone() };
        let options = MetricsOptions { listen, coredns: config.coredns, page: config.page.then_some(page) };
        let Err(error) = self.open_metrics(server, &options) else { return };
        error!(address = %listen, %error, "metrics cannot be served; trying again");
        self.note_trouble("metrics", Some(format!("metrics are not served at {listen}: {error}")));
        // At a boot, an address may come later than the server.
        let (steering, server) = (Arc::downgrade(self), server.clone());
        let retry = tokio::spawn(async move {
            loop {
                sleep(RETRY).await;
                let Some(steering) = steering.upgrade() else { return };
                if steering.open_metrics(&server, &options).is_ok() {
                    return steering.note_trouble("metrics", None);
                }
            }
        });
        *self.retry.lock().unwrap_or_else(PoisonError::into_inner) = Some(retry);
    }

    fn open_metrics(self: &Arc<Steering>, server: &Arc<Server>, options: &MetricsOptions) -> std::io::Result<()> {
        let metrics = Metrics::start(server.clone(), self.clone(), self.hub.clone(), options)?;
        info!(address = %metrics.address(), "metrics, health and readiness");
        *self.metrics() = Some(metrics);
        Ok(())
    }

    fn metrics(&self) -> MutexGuard<'_, Option<Metrics>> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the control socket, confines the process, and puts the rest of what is said of operation into force. What cannot
    /// be opened is logged, and keeps nothing from being served. `name` is that of the socket, less its suffix.
    pub(super) async fn start(
        self: &Arc<Steering>,
        server: &Arc<Server>,
        name: &str,
        operation: &OperationConfig,
        sandbox: &Sandbox,
    ) -> Option<Control> {
        self.lock().operation = operation.clone();
        let options = options(name, &operation.control, &self.configured);
        let mut directories: Vec<PathBuf> = operation.log.file.iter().filter_map(|file| directory_of(file)).collect();
        if let Some(ControlOptions { place, state }) = &options {
            directories.extend(directory_of(&place.path));
            let state = state.as_deref().and_then(directory_of);
            if let Some(state) = state.as_ref().filter(|_| sandbox.is_in_use()) {
                // It could not be made later. Why it cannot be made at all is told once something is to be kept.
                let _ = fs::create_dir_all(state);
            }
            directories.extend(state);
        }
        // To give the socket to its group takes a privilege.
        let control = options.and_then(|options| self.open_control(server, options));
        sandbox.enter_last(&directories);
        // It is written by a thread of its own.
        self.log_queries(server, &operation.log);
        self.write_dnstap(operation.log.dnstap.as_ref());
        self.serve_metrics(server, &operation.metrics).await;
        control
    }

    fn open_control(self: &Arc<Steering>, server: &Arc<Server>, options: ControlOptions) -> Option<Control> {
        let path = options.place.path.clone();
        match Control::start(server.clone(), self.clone(), self.hub.clone(), options) {
            Ok(control) => {
                info!(socket = %control.path().display(), "control socket");
                Some(control)
            }
            Err(error) => {
                warn!(socket = %path.display(), %error, "there is no control socket");
                self.note_trouble(
                    "control",
                    Some(format!("there is no control socket at {}: {error}", path.display())),
                );
                None
            }
        }
    }

    /// Puts what a reload says of operation into force. What changed, and what cannot be changed, is given in a [`Reloaded`].
    pub(super) async fn change(self: &Arc<Steering>, server: &Arc<Server>, operation: &OperationConfig) -> Reloaded {
        let mut changes = Reloaded::default();
        let before = std::mem::replace(&mut self.lock().operation, operation.clone());
        if before.control != operation.control {
            let warning = "changing [control] requires a restart";
            warn!("{warning}");
            changes.warnings.push(warning.to_owned());
        }
        if before.metrics != operation.metrics {
            changes.operation.push("metrics".to_owned());
            self.serve_metrics(server, &operation.metrics).await;
        }
        let (log, dnstap) = (&operation.log, operation.log.dnstap.as_ref());
        if before.log.dnstap.as_ref() != dnstap {
            changes.operation.push("dnstap".to_owned());
            self.write_dnstap(dnstap);
        }
        let of_queries = |log: &LogConfig| {
            let mut log = log.clone();
            log.dnstap = None;
            log
        };
        let is_changed = of_queries(&before.log) != of_queries(log);
        if is_changed {
            changes.operation.push("log".to_owned());
        }
        if is_changed || self.lock().troubles.contains_key("log") {
            self.log_queries(server, log);
        }
        changes
    }

    fn write_dnstap(&self, target: Option<&DnstapConfig>) {
        let target = match target {
            None => None,
            Some(DnstapConfig::Unix(path)) => Some(DnstapTarget::Unix(path.clone())),
            Some(DnstapConfig::Tcp(address)) => Some(DnstapTarget::Tcp(*address)),
            Some(other) => return error!(?other, "dnstap cannot be sent there"),
        };
        let trouble = match target.map(Dnstap::start).transpose() {
            Ok(dnstap) => {
                self.hub.set_dnstap(dnstap);
                None
            }
            Err(error) => {
                error!(%error, "dnstap cannot be started");
                Some(format!("dnstap is not written: {error}"))
            }
        };
        self.note_trouble("dnstap", trouble);
    }

    /// Opens the query log's file again: it may have been moved away.
    pub(super) fn reopen_log(&self) {
        self.hub.reopen_log();
    }

    fn log_queries(&self, server: &Arc<Server>, log: &LogConfig) {
        self.note_trouble("log", None);
        if log.queries == LoggedQueries::Off {
            return self.hub.set_log(None);
        }
        let options = QueryLogOptions {
            failed_only: log.queries == LoggedQueries::Failed,
            json: log.json,
            file: log.file.clone(),
            sample: log.sample,
        };
        match QueryLog::open(options, server) {
            Ok(log) => self.hub.set_log(Some(log)),
            Err(error) => {
                error!(%error, "the query log cannot be opened");
                self.note_trouble("log", Some(format!("queries are not logged: {error}")));
            }
        }
    }
}

impl State {
    /// Keeps what the last reading has changed, so that it can be told later.
    fn keep_last(&mut self) {
        let Reloaded { added, changed, removed, settings, operation, errors, .. } = &self.last;
        let is_something = *settings || [added, changed, removed, operation].iter().any(|names| !names.is_empty());
        if !errors.is_empty() || !is_something {
            return;
        }
        let earlier = self.earlier.get_or_insert_default();
        earlier.at.clone_from(&self.last_at);
        earlier.settings |= settings;
        let all = [
            (&mut earlier.added, added),
            (&mut earlier.changed, changed),
            (&mut earlier.removed, removed),
            (&mut earlier.operation, operation),
        ];
        for (known, more) in all {
            known.extend(more.iter().cloned());
            known.sort();
            known.dedup();
        }
    }
}

impl Host for Steering {
    fn source(&self) -> Source {
        self.lock().source.clone()
    }

    fn last_sync(&self) -> Option<SystemTime> {
        self.lock().read
    }

    fn source_activity(&self) -> SourceActivity {
        let state = self.lock();
        match &state.docker {
            Some(docker) => SourceActivity { resyncs: docker.resyncs(), lag: docker.lag() },
            // Everything is read each time.
            None => SourceActivity { resyncs: state.counts.0, lag: None },
        }
    }

    fn reloads(&self) -> (u64, u64) {
        self.lock().counts
    }

    fn problems(&self) -> Vec<String> {
        self.lock().troubles.values().cloned().collect()
    }

    fn started(&self) -> SystemTime {
        self.started
    }

    fn is_stopping(&self) -> bool {
        self.lock().is_stopping
    }

    fn reload(&self) -> Pin<Box<dyn Future<Output = Reloaded> + Send + '_>> {
        Box::pin(async {
            let (order, done) = oneshot::channel();
            let is_taken = self.orders.send(order).await.is_ok();
            match done.await {
                Ok(reloaded) if is_taken => reloaded,
                _ => Reloaded { errors: vec!["the server is about to stop".to_owned()], ..Reloaded::default() },
            }
        })
    }

    fn confined(&self) -> Option<Confined> {
        sandbox::in_force().cloned()
    }

    fn store(&self) -> Option<StoreStatus> {
        let store = self.lock().store.clone();
        store.map(|store| store.status())
    }

    fn set_log_level(&self, level: &str) -> Result<(), String> {
        log::set_level(level)?;
        info!(level, "log level set");
        Ok(())
    }
}

fn directory_of(file: &Path) -> Option<PathBuf> {
    std::path::absolute(file).ok()?.parent().map(Path::to_owned)
}

/// Where the socket is, and the state; `None` for none. What a service manager says of directories is not for Podman's
/// server: its service is whichever one started a container first.
fn options(name: &str, config: &ControlConfig, source: &Source) -> Option<ControlOptions> {
    let is_podman = source.kind == "podman";
    let given = |name: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty() && !is_podman)?.into_string().ok()?;
        // There may be several, with colons between them (systemd.exec(5)).
        value.split(':').next().map(PathBuf::from)
    };
    let group = config.control_group.clone();
    let place = match &config.socket {
        Some(path) if path.as_os_str().is_empty() => return None,
        Some(path) => Place { path: path.clone(), group, or_another: false },
        None => Place {
            path: control::directory().or_else(|| given("RUNTIME_DIRECTORY"))?.join(format!("{name}.sock")),
            group,
            or_another: true,
        },
    };
    let state = config.state.clone().or_else(|| given("STATE_DIRECTORY")).or_else(state_directory);
    Some(ControlOptions { place, state: state.map(|state| state.join(names_file(name, source))) })
}

/// The file of a server's names: a server has the same one after a restart, whatever its socket is called then, and another one
/// than a server of another configuration.
fn names_file(name: &str, source: &Source) -> String {
    if source.kind == "podman" || source.path == CONFIG {
        return format!("names-{name}.json");
    }
    let path = std::path::absolute(&source.path).unwrap_or_else(|_| source.path.clone().into());
    // FNV-1a: the same in every version.
    let mix = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
    let hash = path.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, mix);
    format!("names-{name}-{hash:016x}.json")
}

/// The directory of what is kept over a restart: `/var/lib/callsign` for root, `~/.local/state/callsign` for others.
fn state_directory() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if control::directory().is_some_and(|directory| directory == Path::new("/run/callsign")) {
        return Some(PathBuf::from("/var/lib/callsign"));
    }
    let state = variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")))?;
    Some(state.join("callsign"))
}
