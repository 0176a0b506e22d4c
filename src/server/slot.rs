//! A slot: one listen address with its UDP and its TCP socket, from the first attempt to bind to the end.
//!
//! The network that is answered at a slot can change while its sockets stay: a reload that moves an address from one
//! network to another loses no query.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::{debug, error, info, warn};

use crate::responder::{HostView, Listener};
use crate::settings::Address;
use crate::table::Network;

use super::counting::{Counting, ListenerCounts};
use super::datagrams::Datagrams;
use super::rate::OncePerMinute;
use super::shared::Shared;
use super::socket::{self, ReadySocket};
use super::status::{ListenerState, ListenerStatus};
use super::stop::Stop;
use super::{namespace, tcp, udp};

/// The pause after the first failed attempt to bind, and the longest one.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// How long a listen address may be on no interface before that is told: bridges come after their listeners.
const ABSENT: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Slot {
    server: Arc<Shared>,
    listener: ArcSwap<Listener>,
    /// The endpoint that it is for, if it is for one alone.
    endpoint: Option<Box<str>>,
    /// The address as configured; `None` for sockets that were handed in for the network.
    listen: Option<Address>,
    udp: Mutex<ListenerState>,
    tcp: Mutex<ListenerState>,
    /// Queries received, by transport.
    received: [AtomicU64; 2],
    /// What they were, counted while somebody wants it: of UDP and of TCP.
    counting: [Arc<Counting>; 2],
    /// Whether the UDP and the TCP socket were handed in and are not known to be in our network namespace.
    is_elsewhere: [AtomicBool; 2],
    /// Tells its tasks to take nothing new.
    stop: Stop,
    /// What serves its sockets.
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// True once somebody looks after [`ABSENT`] whether the address is on an interface.
    is_looked_after: AtomicBool,
    /// The last look at the host's addresses, for a refused client, that the listener's neighbours are of.
    looked: Mutex<Option<Instant>>,
}

/// What is answered at a slot.
#[derive(Debug)]
pub(super) enum Served {
    Network(Arc<Network>),
    HostView(Arc<HostView>),
}

impl From<&Arc<Network>> for Served {
    fn from(network: &Arc<Network>) -> Served {
        Served::Network(network.clone())
    }
}

impl From<&Arc<HostView>> for Served {
    fn from(view: &Arc<HostView>) -> Served {
        Served::HostView(view.clone())
    }
}

impl Served {
    fn at(&self, address: SocketAddr) -> Listener {
        match self {
            Served::Network(network) => Listener::new(network.clone(), address),
            Served::HostView(view) => Listener::of_host_view(view.clone(), address),
        }
    }
}

/// The two transports of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    fn of(socket: &ReadySocket) -> Transport {
        if matches!(socket, ReadySocket::Udp(_)) { Transport::Udp } else { Transport::Tcp }
    }
}

impl Slot {
    /// Opens a slot at a listen address, with whichever of its sockets are ready-made, and serves it on `worker`. A socket
    /// that cannot be made now is tried again until it can.
    pub(super) fn open(
        server: &Arc<Shared>,
        served: impl Into<Served>,
        listen: (Address, Option<Box<str>>),
        ready: Vec<ReadySocket>,
        worker: &Handle,
    ) -> Arc<Slot> {
        let slot = Slot::new(server, served.into(), Some(listen.0), listen.1);
        ready.iter().for_each(|socket| slot.take_in(socket));
        let mut ready: Vec<Option<ReadySocket>> = ready.into_iter().map(Some).collect();
        let mut take = |wanted: fn(&ReadySocket) -> bool| {
            ready.iter_mut().find(|socket| socket.as_ref().is_some_and(wanted)).and_then(Option::take)
        };
        let udp = take(|socket| matches!(socket, ReadySocket::Udp(_)));
        let tcp = take(|socket| matches!(socket, ReadySocket::Tcp(_)));
        let (udp, tcp) = match (udp, tcp, slot.address()) {
            (None, None, Ok(address)) if address.port() == 0 => match socket::bind_pair(address) {
                Ok((udp, tcp)) => (Ok(udp.into()), Ok(tcp.into())),
                Err(error) => (Err(io::Error::new(error.kind(), error.to_string())), Err(error)),
            },
            (udp, tcp, _) => {
                (udp.map_or_else(|| slot.bind(Transport::Udp), Ok), tcp.map_or_else(|| slot.bind(Transport::Tcp), Ok))
            }
        };
        slot.begin(Transport::Udp, udp, worker);
        slot.begin(Transport::Tcp, tcp, worker);
        slot
    }

    /// Serves one socket that was handed in for a network.
    pub(super) fn adopt(
        server: &Arc<Shared>,
        network: &Arc<Network>,
        (socket, endpoint): (ReadySocket, Option<Box<str>>),
        worker: &Handle,
    ) -> Arc<Slot> {
        let slot = Slot::new(server, network.into(), None, endpoint);
        let transport = Transport::of(&socket);
        slot.take_in(&socket);
        slot.begin(transport, Ok(socket), worker);
        slot
    }

    fn new(server: &Arc<Shared>, served: Served, listen: Option<Address>, endpoint: Option<Box<str>>) -> Arc<Slot> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let not_yet = || Mutex::new(ListenerState::Failed { error: String::new(), attempts: 0, retry: Duration::ZERO });
        Arc::new(Slot {
            server: server.clone(),
            listener: ArcSwap::from_pointee(served.at(unknown)),
            listen,
            endpoint,
            udp: not_yet(),
            tcp: not_yet(),
            received: Default::default(),
            counting: Default::default(),
            is_elsewhere: Default::default(),
            stop: Stop::default(),
            tasks: Mutex::default(),
            is_looked_after: AtomicBool::new(false),
            looked: Mutex::default(),
        })
    }

    pub(super) fn server(&self) -> &Shared {
        &self.server
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.server
    }

    /// The listener, which names the network of the moment.
    pub(super) fn listener(&self) -> Guard<Arc<Listener>> {
        self.listener.load()
    }

    pub(super) fn network(&self) -> Arc<Network> {
        self.listener.load().network().clone()
    }

    /// The address whose share a client uses up: at a listener for one endpoint, which all have the same sources, that of the
    /// endpoint.
    pub(super) fn share_of(&self, client: IpAddr) -> IpAddr {
        let Some(id) = &self.endpoint else { return client };
        let snapshot = self.listener.load().network().snapshot();
        snapshot.endpoint(id).and_then(|endpoint| endpoint.addresses().first()).copied().unwrap_or(client)
    }

    /// Lets something else be answered here.
    pub(super) fn serve_instead(&self, served: impl Into<Served>) {
        let served = served.into();
        self.change_listener(|old| served.at(old.address()));
    }

    /// True if the host view is answered here.
    pub(super) fn is_host_view(&self) -> bool {
        self.listener.load().host_view().is_some()
    }

    /// Replaces the listener by one made of the present one: a change of the network and one of the address may meet.
    fn change_listener(&self, change: impl Fn(&Listener) -> Listener) {
        self.listener.rcu(|old| {
            let mut listener = change(old).with_host_addresses(self.server.host.addresses().clone());
            if let Some(id) = &self.endpoint {
                listener = listener.of_endpoint(id.clone());
            }
            self.server.host.introduce(&listener);
            listener
        });
    }

    /// Looks for the host's addresses again, unless that was done a moment ago. True if the listener knows perhaps more now
    /// than before.
    pub(super) fn look_around(&self, listener: &Listener) -> bool {
        let last = Some(self.server.host.look_again());
        let is_new = std::mem::replace(&mut *lock(&self.looked), last) != last;
        if is_new {
            self.server.host.introduce(listener);
        }
        is_new
    }

    /// Takes nothing new; what is under way is finished.
    pub(super) fn close(&self) {
        self.stop.set();
    }

    pub(super) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Waits, after [`close`](Slot::close), until nothing listens any more.
    pub(super) async fn closed(&self) {
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        for task in tasks {
            // A task that was cut off has closed its socket too.
            let _ = task.await;
        }
    }

    /// Notes whether a socket that was handed in is of our network namespace.
    fn take_in(&self, socket: &ReadySocket) {
        let is_here = self.server.namespace.is_some() && namespace::of(socket) == self.server.namespace;
        self.is_elsewhere(Transport::of(socket)).store(!is_here, Ordering::Relaxed);
    }

    fn is_elsewhere(&self, transport: Transport) -> &AtomicBool {
        &self.is_elsewhere[transport as usize]
    }

    fn is_here(&self, transport: Transport) -> bool {
        !self.is_elsewhere(transport).load(Ordering::Relaxed)
    }

    /// Keeps in mind that a socket is open still though it is no longer listened at. Not one of another network namespace,
    /// whose address means nothing here.
    fn leave(&self, socket: &Arc<Datagrams>) {
        if self.listen.is_some() && self.is_here(Transport::Udp) {
            self.server.leave(socket);
        }
    }

    /// The state of both transports.
    pub(super) fn status(&self) -> Vec<ListenerStatus> {
        // A socket that was handed in serves one transport; the other was never tried.
        let is_used = |state: &ListenerState| !matches!(state, ListenerState::Failed { attempts: 0, .. });
        let all = [Transport::Udp, Transport::Tcp].into_iter().map(|transport| self.status_of(transport));
        all.filter(|status| is_used(&status.state)).collect()
    }

    fn status_of(&self, transport: Transport) -> ListenerStatus {
        ListenerStatus {
            is_host_view: self.is_host_view(),
            network: self.network().name().to_owned(),
            listen: self.describe(),
            endpoint: self.endpoint.as_deref().map(str::to_owned),
            tcp: transport == Transport::Tcp,
            state: self.state(transport).clone(),
            queries: self.received[transport as usize].load(Ordering::Relaxed),
        }
    }

    /// Tells the observer that a transport came up, or failed.
    fn tell_of(&self, transport: Transport) {
        if let Some(observer) = &self.server.observer {
            observer.listener(&self.status_of(transport));
        }
    }

    /// Where queries of a transport are counted.
    pub(super) fn counting(&self, tcp: bool) -> &Arc<Counting> {
        &self.counting[usize::from(tcp)]
    }

    /// What was counted, of both transports.
    pub(super) fn counts(&self) -> impl Iterator<Item = ListenerCounts> {
        let (network, ipv6) = (self.network(), self.listener().address().is_ipv6());
        [false, true].into_iter().map(move |tcp| ListenerCounts {
            network: network.name().to_owned(),
            tcp,
            ipv6,
            counts: self.counting(tcp).read(),
        })
    }

    /// Counts queries that came.
    pub(super) fn count_received(&self, tcp: bool, queries: usize) {
        self.received[usize::from(tcp)].fetch_add(queries as u64, Ordering::Relaxed);
    }

    /// Queries that came over both transports.
    pub(super) fn received(&self) -> u64 {
        self.received.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// The addresses that it listens on in our network namespace.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let here = [Transport::Udp, Transport::Tcp].into_iter().filter(|&transport| self.is_here(transport));
        here.filter_map(|transport| match *self.state(transport) {
            ListenerState::Listening(address) => Some(address),
            ListenerState::Failed { .. } => None,
        })
    }

    fn describe(&self) -> String {
        match &self.listen {
            Some(listen) => listen.clone().with_port(listen.port().unwrap_or(self.server.port)).to_string(),
            None => self.listener.load().address().to_string(),
        }
    }

    fn address(&self) -> io::Result<SocketAddr> {
        match &self.listen {
            Some(listen) => socket::resolve(listen, self.server.port),
            None => Ok(self.listener.load().address()),
        }
    }

    fn bind(&self, transport: Transport) -> io::Result<ReadySocket> {
        let mut address = self.address()?;
        if address.port() == 0 {
            // The port that the kernel chose for the other transport, if that one listens already.
            address.set_port(self.listener.load().address().port());
        }
        match transport {
            Transport::Udp => match self.server.leftover(address) {
                Some(socket) => Ok(socket.into()),
                None => socket::bind_udp(address).map(ReadySocket::Udp),
            },
            Transport::Tcp => socket::bind_tcp(address).map(ReadySocket::Tcp),
        }
    }

    fn state(&self, transport: Transport) -> MutexGuard<'_, ListenerState> {
        lock(match transport {
            Transport::Udp => &self.udp,
            Transport::Tcp => &self.tcp,
        })
    }

    /// Starts serving a transport with the outcome of the first attempt to bind.
    fn begin(self: &Arc<Slot>, transport: Transport, socket: io::Result<ReadySocket>, worker: &Handle) {
        // The first attempt is part of adding the network: who waited for that finds it listening, or failed.
        let socket = self.note(transport, socket, 1);
        let task = worker.spawn(self.clone().run(transport, socket));
        lock(&self.tasks).push(task);
    }

    /// Looks after a while, once, whether there is an interface with the address that it listens on by now.
    fn look_after_address(self: &Arc<Slot>) {
        // A socket that was handed in may be of another network namespace.
        let address = self.listener.load().address();
        if self.listen.is_some()
            && !self.server.host.has(address.ip())
            && !self.is_looked_after.swap(true, Ordering::Relaxed)
        {
            let look = Handle::current().spawn(self.clone().tell_if_absent(address));
            lock(&self.tasks).push(look);
        }
    }

    /// Says that the address it listens on is still on no interface.
    async fn tell_if_absent(self: Arc<Slot>, address: SocketAddr) {
        tokio::select! {
            () = self.stop.wait() => return,
            () = tokio::time::sleep(ABSENT) => {}
        }
        self.server.host.forget();
        if !self.server.host.has(address.ip()) {
            let network = self.network();
            warn!(
                network = network.name(),
                %address,
                "the listen address is on no interface after {} s, so nobody can ask there; check `listen`, or make the bridge",
                ABSENT.as_secs()
            );
        }
    }

    /// Notes the outcome of an attempt to bind.
    fn note(&self, transport: Transport, socket: io::Result<ReadySocket>, attempts: u32) -> Option<ReadySocket> {
        let listening = socket.and_then(|socket| socket.local_addr().map(|address| (socket, address)));
        match listening {
            Ok((socket, address)) => {
                *self.state(transport) = ListenerState::Listening(address);
                self.change_listener(|old| old.moved_to(address));
                let network = self.network();
                if attempts > 1 {
                    info!(network = network.name(), %address, ?transport, "listening, after {attempts} attempts");
                } else {
                    debug!(network = network.name(), %address, ?transport, "listening");
                }
                self.tell_of(transport);
                Some(socket)
            }
            Err(error) => {
                let retry = retry_after(attempts);
                let (network, listen) = (self.network(), self.describe());
                if attempts == 1 {
                    self.tell_of_failure(transport, &error, &listen);
                } else {
                    debug!(network = network.name(), listen, ?transport, %error, attempts, "still cannot listen");
                }
                *self.state(transport) = ListenerState::Failed { error: error.to_string(), attempts, retry };
                if attempts == 1 {
                    self.tell_of(transport);
                }
                None
            }
        }
    }

    /// Says why a socket could not be bound, and of a port in use who has it.
    fn tell_of_failure(&self, transport: Transport, error: &io::Error, listen: &str) {
        let network = self.network();
        match self.address() {
            Ok(address) if error.kind() == io::ErrorKind::AddrInUse => {
                let holder = self.server.holders.of(address, transport == Transport::Tcp);
                if self.server.holders.is_news(&holder) {
                    error!(network = network.name(), listen, ?transport, "cannot listen; trying again: {holder}");
                } else {
                    // Its other sockets, at as many addresses as there are networks: status and metrics have each of ours.
                    debug!(network = network.name(), listen, ?transport, "cannot listen; trying again: {holder}");
                }
            }
            _ => warn!(network = network.name(), listen, ?transport, %error, "cannot listen; trying again"),
        }
    }

    async fn run(self: Arc<Slot>, transport: Transport, mut socket: Option<ReadySocket>) {
        let mut attempts = 1;
        loop {
            if socket.is_some() {
                self.look_after_address();
            }
            if let Some(socket) = socket {
                match self.serve(socket).await {
                    Ok(()) => return,
                    Err(error) => _ = self.note(transport, Err(error), attempts),
                }
            }
            if self.listen.is_none() {
                // Only its maker can make this socket again.
                return;
            }
            tokio::select! {
                () = self.stop.wait() => return,
                () = tokio::time::sleep(retry_after(attempts)) => {}
            }
            attempts = attempts.saturating_add(1);
            // What was in the way is gone perhaps because an interface came.
            self.server.host.forget();
            self.is_elsewhere(transport).store(false, Ordering::Relaxed);
            socket = self.note(transport, self.bind(transport), attempts);
            self.server.note_own_addresses();
        }
    }

    /// Serves a socket until the slot is closed.
    ///
    /// # Errors
    /// When the runtime cannot take the socket.
    async fn serve(self: &Arc<Slot>, socket: ReadySocket) -> io::Result<()> {
        match socket {
            ReadySocket::Udp(socket) => {
                let socket = Arc::new(Datagrams::new(socket, self.is_here(Transport::Udp))?);
                surviving(|| udp::serve(self, &socket)).await;
                self.leave(&socket);
            }
            ReadySocket::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                let listener = TcpListener::from_std(socket)?;
                surviving(|| tcp::serve(self, &listener)).await;
            }
        }
        Ok(())
    }
}

/// Does work to its end, from its beginning again where it panics: a bug costs the packet that it is met with, and not the
/// listener (answers.md L4).
async fn surviving<F: Future<Output = ()>>(work: impl Fn() -> F) {
    static LOGGED: OncePerMinute = OncePerMinute::new();
    loop {
        let mut working = pin!(work());
        // What it leaves half done is its own, and is dropped.
        let outcome = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| working.as_mut().poll(context))) {
            Ok(poll) => poll.map(|()| true),
            Err(_) => Poll::Ready(false),
        });
        if outcome.await {
            return;
        }
        if LOGGED.is_due() {
            error!("a bug: serving a socket panicked; going on with it");
        }
        tokio::task::yield_now().await;
    }
}

fn retry_after(attempts: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(LAST_RETRY)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is one value that is replaced: a panic leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test]
    async fn l4_a_panic_while_serving_does_not_end_a_listener() {
        let served = AtomicUsize::new(0);
        surviving(|| async {
            tokio::task::yield_now().await;
            let number = served.fetch_add(1, Ordering::Relaxed);
            assert!(number >= 3, "a packet that panics");
        })
        .await;
        assert_eq!(served.into_inner(), 4);
    }
}
