//! Sockets, workers, limits and a graceful stop: where responder and forwarder meet the clients.
//!
//! A [`Server`] owns a few worker threads. Each listen address of each network has one UDP and one TCP socket, served by
//! one of them; adding and removing networks touches no other network's sockets. Knows nothing of where names come from:
//! whoever runs the server fills its networks.

#[cfg(test)]
mod allocations;
mod batch;
mod builder;
mod change;
mod client_key;
mod connections;
mod counting;
mod datagrams;
mod exchange;
mod forwards;
mod held;
mod holder;
mod host;
mod host_view;
mod later;
mod listen;
mod namespace;
mod neighbors;
mod observe;
#[cfg(test)]
mod panics;
mod rate;
mod resolve;
mod shared;
mod sighting;
mod slot;
mod socket;
mod status;
mod stop;
mod tasks;
mod tcp;
mod udp;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use tokio::runtime::Handle;
use tracing::info;

use crate::forward::{ForwardOptions, Forwarder};
use crate::responder::{HostView, ResponderOptions};
use crate::settings::ServerSettings;
use crate::table::{NameTable, Snapshot, TableError};

pub use crate::settings::Limits;
pub use builder::ServerBuilder;
use change::Adopted;
pub use change::Applied;
#[doc(hidden)]
pub use counting::{Counted, Counting};
pub use counting::{Counts, DURATION_BUCKETS, Distribution, ListenerCounts, QueryCount, SIZE_BOUNDS};
#[doc(hidden)]
pub use holder::{Holder, Holders};
pub use host::listener;
pub use listen::{Listen, ListenerHandle};
pub use observe::{Observed, Observer, Origin};
pub use resolve::{Answer, AnswerRecord};
use shared::Shared;
pub use socket::ReadySocket;
pub use status::{LimitsHit, ListenerState, ListenerStatus, Status};
use worker::Worker;

/// Why a server could not be started or a network not be served. Sockets that cannot be bound are no error: they are tried
/// again, and [`Server::status`] tells of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A worker thread could not be started.
    #[error("cannot start a worker thread: {0}")]
    Worker(#[source] io::Error),
    /// The kernel gave no random octets for the cookie secret.
    #[error("no random octets from the kernel: {0}")]
    Random(String),
    /// The table does not take the network.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Two networks want one listen address.
    #[error("network \"{network}\" cannot listen on {address}: network \"{other}\" does")]
    AddressTaken {
        /// The network that came later.
        network: String,
        /// The address.
        address: String,
        /// The network that has it.
        other: String,
    },
    /// The server was shut down.
    #[error("the server was shut down")]
    Stopped,
}

/// A running server.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use callsign::server::Server;
/// use callsign::table::{Endpoint, Network};
///
/// let server = Server::builder().port(0).start().await?;
/// let web = server.add_network(Network::builder("web").listen("127.0.0.1").build()?).await?;
/// web.attach(Endpoint::builder("3f2a9c").address("172.18.0.2").name("db").build()?)?;
/// for listener in server.status().listeners {
///     println!("{listener}");
/// }
/// server.shutdown().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Dropping it without [`shutdown`](Server::shutdown) stops it too, but drops the queries that wait for an upstream.
///
/// # Descriptors
/// A query that waits for an upstream has a socket for each server that it is sent to. Sockets to upstreams take three
/// quarters of the process's soft limit on open files at most, as it is when the first query is forwarded, and waiting
/// client queries may take half of these: with a soft limit of 1,024 and one upstream server, at most 384 of them wait,
/// of one client or of all together, whatever [`Limits`] says. Further ones are answered at once: SERVFAIL. The program raises
/// its soft limit to the hard one; the library leaves that to its host, which does so before it starts a server.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    workers: Mutex<Vec<Worker>>,
    handles: Vec<Handle>,
    /// Ready-made sockets that no network has asked for yet.
    ready: Mutex<Vec<ReadySocket>>,
    host_view: Mutex<Option<Arc<HostView>>>,
    /// Counts slots, to spread them over the workers and to name those without a listen address.
    opened: AtomicUsize,
    /// Networks are added, changed and removed by one caller at a time.
    changing: Arc<tokio::sync::Mutex<Adopted>>,
}

/// Queries that are left out of what is counted and observed; see [`Server::hide_queries_of`].
#[derive(Debug)]
#[must_use = "dropped, its queries are counted"]
pub struct Hidden {
    shared: Arc<Shared>,
    client: SocketAddr,
}

impl Drop for Hidden {
    fn drop(&mut self) {
        self.shared.hidden.remove(self.client);
    }
}

impl Server {
    /// A builder for a server. [`ServerBuilder::start`] starts it.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// The networks. Adding or removing one here does not open or close its sockets: use the server's methods.
    pub fn table(&self) -> &NameTable {
        &self.shared.table
    }

    /// What forwards the rest of the DNS: its cache, its upstreams.
    pub fn forwarder(&self) -> &Arc<Forwarder> {
        &self.shared.forwarder
    }

    /// The responder's options in force, the cookie secret among them.
    pub fn responder_options(&self) -> Arc<ResponderOptions> {
        self.shared.responder_options().clone()
    }

    /// Leaves queries from this address out of what is counted and observed, until what is given back is dropped: for probes of
    /// the server's own process.
    pub fn hide_queries_of(&self, client: SocketAddr) -> Hidden {
        self.shared.hidden.add(client);
        Hidden { shared: self.shared.clone(), client }
    }

    /// Turns the counting of queries, by type, response code and origin, on or off; see
    /// [`query_counts`](Server::query_counts).
    pub fn count_queries(&self, is_wanted: bool) {
        self.shared.is_counting.store(is_wanted, Ordering::Relaxed);
    }

    /// The counts of each open listener, from the times when [`count_queries`](Server::count_queries) was on.
    pub fn query_counts(&self) -> Vec<ListenerCounts> {
        self.shared.slots().values().flat_map(|slot| slot.counts()).collect()
    }

    /// The port of listen addresses that name none.
    pub fn port(&self) -> u16 {
        self.shared.port
    }

    /// Replaces all settings, for all queries from now on: the forwarding options, the responder's options and the limits.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use callsign::server::Server;
    /// use callsign::settings::ServerSettings;
    ///
    /// let server = Server::builder().start().await?;
    /// let mut settings = ServerSettings::default();
    /// settings.limits.forwards_per_client = 100;
    /// server.configure(settings);
    /// # server.shutdown().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn configure(&self, settings: ServerSettings) {
        self.set_forwarding(settings.forward);
        self.set_responder_options(settings.responder);
        self.set_limits(settings.limits);
    }

    /// Replaces where questions are forwarded to, for all queries from here on.
    pub fn set_forwarding(&self, options: ForwardOptions) {
        self.shared.forwarder.configure(options);
    }

    /// Replaces the limits. Whatever already exceeds a lowered limit stays until it ends by itself.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.set_limits(limits);
    }

    /// Replaces the responder's options. The cookie secret stays the server's own.
    pub fn set_responder_options(&self, options: ResponderOptions) {
        let cookie_secret = self.shared.responder_options().cookie_secret;
        self.shared.set_responder_options(ResponderOptions { cookie_secret, ..options });
    }

    /// Replaces the names that are answered to all who may forward, after those of their networks: the host's /etc/hosts
    /// (answers.md N13).
    pub fn set_hosts(&self, hosts: Option<Arc<Snapshot>>) {
        self.shared.set_hosts(hosts);
    }

    /// The names set by [`set_hosts`](Server::set_hosts).
    pub fn hosts(&self) -> Option<Arc<Snapshot>> {
        self.shared.hosts()
    }

    /// What the server is doing now.
    pub fn status(&self) -> Status {
        let (mut listeners, mut queries) = (Vec::<ListenerStatus>::new(), self.shared.received.load(Ordering::Relaxed));
        for slot in self.shared.slots().values() {
            listeners.extend(slot.status());
            queries += slot.received();
        }
        listeners.sort_by(|a, b| (&a.network, &a.listen, a.tcp).cmp(&(&b.network, &b.listen, b.tcp)));
        Status {
            queries,
            listeners,
            tcp_connections: self.shared.connections.count(),
            forwards: self.shared.forwards.count(),
            dropped_replies: self.shared.dropped.load(Ordering::Relaxed),
            limits_hit: self.shared.limits_hit(),
            forwarding: self.shared.forwarder.counters(),
            upstreams: self.shared.forwarder.upstreams(),
        }
    }

    /// Lets the cache of upstream answers believe that so much time has passed. For tests.
    #[doc(hidden)]
    pub fn put_cache_clock_forward(&self, time: std::time::Duration) {
        self.shared.forwarder.put_cache_clock_forward(time);
    }

    /// Stops: logs that, accepts nothing new, gives queries that wait for an upstream up to [`Limits::drain`] to finish, then
    /// ends all threads and closes all sockets. Works under any executor. A second call waits for the first. If the future is
    /// dropped, the server goes on stopping, and dropping the server ends what is left.
    pub async fn shutdown(&self) {
        if !self.shared.is_stopping.swap(true, Ordering::Relaxed) {
            info!("stopping: answering what was asked");
            if let Some(observer) = &self.shared.observer {
                observer.stopping();
            }
        }
        let _turn = self.changing.lock().await;
        let shared = self.shared.clone();
        let drain = shared.limits().drain;
        let drained = async move {
            let all = shared.slots().keys().cloned().collect();
            shared.close(all).await;
            shared.drained().await;
        };
        // Timers are the workers'. Whoever is not done by then is cut off.
        let _ = self.worker(0).spawn(async move { tokio::time::timeout(drain, drained).await }).await;
        let threads: Vec<_> = self.workers().drain(..).filter_map(|mut worker| worker.stop()).collect();
        let (ended, all_ended) = tokio::sync::oneshot::channel::<()>();
        let join = move || {
            threads.into_iter().for_each(|thread| drop(thread.join()));
            drop(ended);
        };
        // A thread, for joining blocks. Without it the workers end all the same.
        if let Ok(joining) = std::thread::Builder::new().name("callsign-stop".into()).spawn(join) {
            let _ = all_ended.await;
            // It has nothing left to do.
            let _ = joining.join();
        }
    }

    /// The same for a host without an executor: blocks this thread, which must not be one of the server's own.
    pub fn shutdown_blocking(&self) {
        block_on(self.shutdown());
    }

    /// Waits until each worker thread has run a new task, which shows that none is stuck. It takes microseconds; if a worker
    /// is stuck, it never returns.
    pub async fn responds(&self) {
        for worker in &self.handles {
            // Where the server was shut down there is nothing to wait for.
            let _ = worker.spawn(async {}).await;
        }
    }

    fn workers(&self) -> MutexGuard<'_, Vec<Worker>> {
        lock(&self.workers)
    }

    fn check_running(&self) -> Result<(), ServerError> {
        if self.shared.is_stopping.load(Ordering::Relaxed) { Err(ServerError::Stopped) } else { Ok(()) }
    }

    fn worker(&self, number: usize) -> &Handle {
        &self.handles[number % self.handles.len()]
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Slots and what they share hold each other; the workers end when they are dropped.
        self.shared.slots().clear();
    }
}

/// Polls a future on this thread to its end.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let (mut future, mut context) = (pin!(future), Context::from_waker(&waker));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is changed by one call that a panic does not interrupt.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_server_responds_unless_a_worker_is_stuck() {
        let server = Server::builder().workers(2).start().await.unwrap();
        server.responds().await;
        let (release, held) = channel::<()>();
        server.worker(1).spawn(async move { held.recv() });
        assert!(timeout(Duration::from_millis(50), server.responds()).await.is_err());
        drop(release);
        server.responds().await;
        server.shutdown().await;
        server.responds().await;
    }

    #[tokio::test]
    async fn each_worker_begins_with_what_was_asked_for() {
        let (tell, told) = channel();
        let begin = move |_| tell.send(std::thread::current().name().map(str::to_owned)).unwrap();
        let server = Server::builder().workers(2).on_worker_start(begin).start().await.unwrap();
        server.responds().await;
        let mut names: Vec<String> = told.try_iter().flatten().collect();
        names.sort();
        assert_eq!(names, ["callsign-1", "callsign-2"]);
    }
}
