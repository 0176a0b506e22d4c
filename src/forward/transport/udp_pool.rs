//! Connected UDP sockets to one server, kept for a moment: to make one, to tell the runtime of it and to close it again costs
//! as much as all the rest of a question.
//!
//! # Why that does not make replies easier to forge
//!
//! Never more than one question waits at a socket, each with an ID of its own, so whoever forges has to hit one port and one ID
//! of 2^30.78 for each question as before (see `udp`). That the next question may wait at the same port tells nothing to those
//! who do not know the port, and what a guess at a port gains with the questions that come after, it loses with those that are
//! at other ports. Each datagram that comes is held against one question at most.
//!
//! What comes to a socket while no question waits there ends its use: it is closed and not taken again. The runtime tells of
//! it, so that no system call has to look. It may not have told yet of what came within the present turn of its loop, some
//! hundred microseconds: by that much, and no more, the time in which a guess can be right begins before the question is sent.
//! Such a guess is worth no more than one that is sent a moment later: it has to be of the right 2^30.78, and comes once.
//!
//! What could tell the port is time: the tricks that find open ports from afar (SAD DNS) take seconds at least. A socket is
//! used for two seconds and 64 questions at the most, and the one to be used is drawn at random. It is closed at once when
//! something came that was not the reply, when its question was sent more than once or given up, and when an error says that
//! the path to the server is another one now.
//!
//! The pool is only a cache: when descriptors run out, all pooled sockets are closed and the open is retried.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use smallvec::SmallVec;
use socket2::{Domain, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Handle, Id};

use super::random::random_u16;
use super::udp::{Permit, is_ours};
use crate::settings::Dial;

/// How long a socket is used.
const LIFE: Duration = Duration::from_secs(2);
/// For how many questions.
const USES: u32 = 64;
/// Octets of the receive buffer; the kernel takes twice as many, and one datagram of any size in any case.
const RECEIVED: usize = 4096;
/// Sockets without a question that are kept of one server and one runtime.
const IDLE: usize = 256;

/// The sockets to a server that no question waits at. Each belongs to the runtime that watches it.
#[derive(Debug, Default)]
pub(super) struct UdpPool(Mutex<SmallVec<[Idle; 2]>>);

#[derive(Debug)]
struct Idle {
    runtime: Id,
    sockets: Vec<PooledSocket>,
    /// A task will close those that are too old.
    is_watched: bool,
}

/// A socket of one question's own, as long as that waits. Watched for what comes to it, and not for room to send: there is
/// always room for one query, and to be told of that would cost a wake-up each time.
#[derive(Debug)]
pub(super) struct PooledSocket {
    socket: AsyncFd<UdpSocket>,
    pub(super) to: SocketAddr,
    made: Instant,
    uses: u32,
    /// Who waits for an error that comes alone: the address of its waker.
    told_of_errors: usize,
    _permit: Permit,
}

/// Those of all servers of the process.
static ALL: Mutex<Vec<Weak<UdpPool>>> = Mutex::new(Vec::new());

/// After an error that says that no socket was to be had: closes those that are kept for later. True if there were any, and
/// it is worth another attempt.
pub(super) fn make_room(error: &io::Error) -> bool {
    if !is_ours(error) {
        return false;
    }
    let mut is_any = false;
    for sockets in ALL.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade) {
        for idle in sockets.lists().iter_mut() {
            // Not the whole entry: the task that watches it is still there.
            is_any |= !std::mem::take(&mut idle.sockets).is_empty();
        }
    }
    is_any
}

impl PooledSocket {
    /// A new one. The kernel chooses a random port as it connects.
    pub(super) fn new(to: SocketAddr, dial: Option<&dyn Dial>, now: Instant) -> io::Result<PooledSocket> {
        let connect = || PooledSocket::connect(to, dial, now);
        connect().or_else(|error| if make_room(&error) { connect() } else { Err(error) })
    }

    fn connect(to: SocketAddr, dial: Option<&dyn Dial>, now: Instant) -> io::Result<PooledSocket> {
        let permit = Permit::take()?;
        let socket = match dial {
            None => Socket::new(Domain::for_address(to), Type::DGRAM.nonblocking(), None)?,
            Some(dial) => {
                let socket = Socket::from(dial.udp(to)?);
                socket.set_nonblocking(true)?;
                socket
            }
        };
        // What waits at it is read at once; a flood of forgeries at thousands of sockets is not to take the kernel's memory.
        socket.set_recv_buffer_size(RECEIVED)?;
        socket.connect(&to.into())?;
        let socket = watched(socket.into())?;
        Ok(PooledSocket { socket, to, made: now, uses: 0, told_of_errors: 0, _permit: permit })
    }

    /// Sends a query.
    pub(super) fn send(&self, query: &[u8]) -> io::Result<()> {
        Ok(send(self.socket.as_raw_fd(), query, MsgFlags::MSG_DONTWAIT).map(drop)?)
    }

    /// The first datagram that `take` takes, or an error that says what the system knows of the server.
    pub(super) fn poll_receive<T>(
        &mut self,
        buffer: &mut [u8],
        context: &mut Context<'_>,
        mut take: impl FnMut(&[u8]) -> Option<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            // Of an error alone the runtime hears as of a connection that is closed, which is told to who waits to write.
            let (mut ready, is_error) = match self.socket.poll_read_ready(context) {
                Poll::Ready(ready) => (ready?, false),
                Poll::Pending => {
                    let who = context.waker().data() as usize;
                    if self.told_of_errors == who && !self.is_ready(Interest::ERROR) {
                        return Poll::Pending;
                    }
                    self.told_of_errors = who;
                    (ready!(self.socket.poll_write_ready(context))?, true)
                }
            };
            let taken = match recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(len) => take(&buffer[..len]),
                Err(Errno::EINTR) => None,
                Err(Errno::EAGAIN) => {
                    ready.clear_ready();
                    if is_error {
                        // It was told of before, and the runtime does not forget it: only a datagram counts from here on.
                        return Poll::Pending;
                    }
                    None
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            };
            if let Some(taken) = taken {
                // Mostly nothing is behind it, and another receive would only hear that. If there is something, the next
                // datagram that comes makes the socket ready anew, and both are read then.
                ready.clear_ready();
                return Poll::Ready(Ok(taken));
            }
        }
    }

    /// True if nothing came since the last reply, and no error, as far as the runtime has heard.
    fn is_silent(&self) -> bool {
        !self.is_ready(Interest::READABLE) && !self.is_ready(Interest::ERROR)
    }

    /// What the runtime has heard of.
    fn is_ready(&self, interest: Interest) -> bool {
        self.socket.try_io(interest, |_| Ok(())).is_ok()
    }

    fn is_usable(&self, now: Instant) -> bool {
        self.uses < USES && now.saturating_duration_since(self.made) < LIFE
    }
}

/// Has the runtime watch a socket for something to read.
// Deprecated as it takes types that may close or change their descriptor meanwhile. A `UdpSocket` does neither: it owns its
// descriptor, and nothing here takes it out. What is to be used instead is `unsafe`, which this library has nowhere.
#[allow(deprecated)]
fn watched(socket: UdpSocket) -> io::Result<AsyncFd<UdpSocket>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

impl UdpPool {
    /// None as yet, to one server.
    pub(super) fn new() -> Arc<UdpPool> {
        let sockets = Arc::new(UdpPool::default());
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == all.capacity() {
            all.retain(|sockets| sockets.strong_count() > 0);
        }
        all.push(Arc::downgrade(&sockets));
        sockets
    }

    /// One of those that are there.
    pub(super) fn take(&self, to: SocketAddr, now: Instant) -> io::Result<Option<PooledSocket>> {
        let runtime = Handle::current().id();
        let mut lists = self.lists();
        let Some(idle) = lists.iter_mut().find(|idle| idle.runtime == runtime) else { return Ok(None) };
        while !idle.sockets.is_empty() {
            let drawn = usize::from(random_u16()?) % idle.sockets.len();
            let socket = idle.sockets.swap_remove(drawn);
            if socket.to == to && socket.is_usable(now) && socket.is_silent() {
                return Ok(Some(socket));
            }
        }
        Ok(None)
    }

    /// Keeps a socket whose question was answered.
    pub(super) fn put(self: &Arc<UdpPool>, mut socket: PooledSocket, now: Instant) {
        socket.uses += 1;
        if !socket.is_usable(now) {
            return;
        }
        let runtime = Handle::current().id();
        let mut lists = self.lists();
        let place = match lists.iter().position(|idle| idle.runtime == runtime) {
            Some(place) => place,
            None => {
                // Those of runtimes that have ended among them.
                lists.retain(|idle| idle.sockets.iter().any(|socket| socket.is_usable(now)));
                lists.push(Idle { runtime, sockets: Vec::new(), is_watched: false });
                lists.len() - 1
            }
        };
        let idle = &mut lists[place];
        if idle.sockets.len() < IDLE {
            idle.sockets.push(socket);
        }
        if !std::mem::replace(&mut idle.is_watched, true) {
            let sockets = Arc::downgrade(self);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(LIFE).await;
                    let Some(sockets) = sockets.upgrade() else { return };
                    if !sockets.close_old(runtime, super::now()) {
                        return;
                    }
                }
            });
        }
    }

    /// Closes what is too old to be used. False if nothing is left.
    fn close_old(&self, runtime: Id, now: Instant) -> bool {
        let mut lists = self.lists();
        if let Some(idle) = lists.iter_mut().find(|idle| idle.runtime == runtime) {
            idle.sockets.retain(|socket| socket.is_usable(now));
            if !idle.sockets.is_empty() {
                return true;
            }
        }
        lists.retain(|idle| idle.runtime != runtime);
        false
    }

    fn lists(&self) -> MutexGuard<'_, SmallVec<[Idle; 2]>> {
        // Every change of the lists leaves them whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::super::now;
    use super::*;

    /// The first message of these.
    async fn receive(socket: &mut PooledSocket, wanted: &[u8]) -> io::Result<usize> {
        let take = |message: &[u8]| (message == wanted).then_some(message.len());
        std::future::poll_fn(|context| socket.poll_receive(&mut [0; 64], context, take)).await
    }

    fn here() -> (std::net::UdpSocket, SocketAddr) {
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        (server, address)
    }

    #[tokio::test]
    async fn a_socket_is_used_for_two_seconds_or_64_questions() {
        let (sockets, (_server, to), start) = (UdpPool::new(), here(), now());
        let mut uses = 0;
        let mut socket = Some(PooledSocket::new(to, None, now()).unwrap());
        while let Some(used) = socket {
            uses += 1;
            sockets.put(used, start);
            socket = sockets.take(to, start).unwrap();
        }
        assert_eq!(uses, USES);
        let (young, later) = (PooledSocket::new(to, None, now()).unwrap(), now() + LIFE);
        sockets.put(young, start);
        let young = sockets.take(to, start + LIFE - Duration::from_millis(1)).unwrap().expect("young enough");
        sockets.put(young, start);
        assert!(sockets.take(to, later).unwrap().is_none());
        sockets.put(PooledSocket::new(to, None, now()).unwrap(), later + LIFE);
        assert!(sockets.take(to, start).unwrap().is_none(), "too old to be kept");
    }

    #[tokio::test]
    async fn nothing_is_left_open_that_is_not_used() {
        let (sockets, (_server, to), start) = (UdpPool::new(), here(), now());
        for _ in 0..IDLE + 10 {
            sockets.put(PooledSocket::new(to, None, now()).unwrap(), start);
        }
        assert_eq!(sockets.lists()[0].sockets.len(), IDLE);
        assert!(sockets.close_old(Handle::current().id(), start), "they are young");
        assert_eq!(sockets.lists()[0].sockets.len(), IDLE);
        assert!(!sockets.close_old(Handle::current().id(), now() + LIFE));
        assert!(sockets.lists().is_empty());
    }

    #[tokio::test]
    async fn a_socket_is_used_for_its_own_address_and_runtime_only() {
        let (sockets, (_server, to), (_other, elsewhere)) = (UdpPool::new(), here(), here());
        sockets.put(PooledSocket::new(to, None, now()).unwrap(), now());
        assert!(sockets.take(elsewhere, now()).unwrap().is_none());
        sockets.put(PooledSocket::new(to, None, now()).unwrap(), now());
        let others = sockets.clone();
        let another = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { others.take(to, now()).unwrap().is_none() })
        });
        assert!(another.join().unwrap());
        assert!(sockets.take(to, now()).unwrap().is_some());
    }

    #[tokio::test]
    async fn what_came_while_no_question_waited_meets_no_question() {
        let (sockets, (server, to)) = (UdpPool::new(), here());
        let socket = PooledSocket::new(to, None, now()).unwrap();
        let port = socket.socket.get_ref().local_addr().unwrap();
        // The runtime hears of what comes to both at the same time.
        let mut witness = PooledSocket::new(to, None, now()).unwrap();
        sockets.put(socket, now());
        server.send_to(b"a forgery for whatever is asked next", port).unwrap();
        server.send_to(b"a witness", witness.socket.get_ref().local_addr().unwrap()).unwrap();
        receive(&mut witness, b"a witness").await.unwrap();
        assert!(sockets.take(to, now()).unwrap().is_none());
    }

    #[tokio::test]
    async fn the_reply_to_one_question_does_not_wake_the_next_one() {
        let (sockets, (server, to)) = (UdpPool::new(), here());
        let mut socket = PooledSocket::new(to, None, now()).unwrap();
        server.send_to(b"a reply", socket.socket.get_ref().local_addr().unwrap()).unwrap();
        assert_eq!(receive(&mut socket, b"a reply").await.unwrap(), 7);
        sockets.put(socket, now());
        let mut socket = sockets.take(to, now()).unwrap().expect("nothing came since");
        let mut context = Context::from_waker(Waker::noop());
        assert!(socket.poll_receive(&mut [0; 16], &mut context, |_| Some(())).is_pending());
        assert!(socket.is_silent());
    }

    #[tokio::test]
    async fn a_stray_behind_a_reply_is_read_before_the_next_reply() {
        let (server, to) = here();
        let mut socket = PooledSocket::new(to, None, now()).unwrap();
        let port = socket.socket.get_ref().local_addr().unwrap();
        for message in [&b"a reply"[..], b"a stray"] {
            server.send_to(message, port).unwrap();
        }
        assert_eq!(receive(&mut socket, b"a reply").await.unwrap(), 7);
        server.send_to(b"the next reply", port).unwrap();
        let mut read = Vec::new();
        let take = |message: &[u8]| {
            read.push(message.to_vec());
            (message == b"the next reply").then_some(())
        };
        let (mut buffer, mut take) = ([0; 64], take);
        std::future::poll_fn(|context| socket.poll_receive(&mut buffer, context, &mut take)).await.unwrap();
        assert_eq!(read, [&b"a stray"[..], b"the next reply"]);
    }

    #[tokio::test]
    async fn that_nobody_is_there_is_heard_at_once() {
        let (server, to) = here();
        drop(server);
        let mut socket = PooledSocket::new(to, None, now()).unwrap();
        socket.send(b"a query").unwrap();
        assert_eq!(receive(&mut socket, b"").await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn the_socket_is_drawn_at_random() {
        let (sockets, (_server, to), start) = (UdpPool::new(), here(), now());
        for _ in 0..16 {
            sockets.put(PooledSocket::new(to, None, now()).unwrap(), start);
        }
        let mut ports = std::collections::HashSet::new();
        for _ in 0..64 {
            let socket = sockets.take(to, start).unwrap().unwrap();
            ports.insert(socket.socket.get_ref().local_addr().unwrap().port());
            sockets.put(socket, start);
        }
        // Three or fewer of 16 in 64 draws: less than once in 10^40 runs.
        assert!(ports.len() > 3, "{ports:?}");
    }
}
