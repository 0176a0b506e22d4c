//! Tasks for queries that wait, kept for the next ones.
//!
//! To make a task takes more than all that a query does in it: room for its future, of some kilobytes, is allocated, filled and
//! given back. Most queries come one at a time or a few, and find a task that the ones before have left.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use super::datagrams::Datagrams;
use super::forwards::Permit;
use super::later::Later;
use super::lock;
use super::slot::Slot;
use super::udp::drop_reply;

/// Tasks of a worker that are kept without a query.
const MAX_IDLE: usize = 32;

/// A query that waits, and where its reply goes.
pub(super) struct Job {
    pub(super) later: Later,
    pub(super) permit: Permit,
    pub(super) slot: Arc<Slot>,
    pub(super) socket: Arc<Datagrams>,
    pub(super) receiver: SocketAddr,
}

/// Where a task without a query finds the next one.
#[derive(Default)]
struct Inbox {
    job: Option<Job>,
    waker: Option<Waker>,
}

/// The tasks of a thread that have no query.
#[derive(Default)]
struct Idle {
    /// Where they wait, the last one for the shortest time.
    waiting: Vec<Arc<Mutex<Inbox>>>,
    /// Where nobody waits at present.
    free: Vec<Arc<Mutex<Inbox>>>,
}

thread_local! {
    static IDLE: RefCell<Idle> = RefCell::default();
}

/// Lets a query wait in a task of this thread's runtime.
pub(super) fn run(job: Job) {
    let (inbox, is_new) = IDLE.with_borrow_mut(|idle| match idle.waiting.pop() {
        Some(inbox) => (inbox, false),
        None => (idle.free.pop().unwrap_or_default(), true),
    });
    let waker = {
        let mut inbox = lock(&inbox);
        inbox.job = Some(job);
        inbox.waker.take()
    };
    if is_new {
        tokio::spawn(work(inbox));
    } else if let Some(waker) = waker {
        waker.wake();
    }
}

/// One query after the other, as long as the task is kept. The inbox is not held while there is one: there may be thousands.
async fn work(inbox: Arc<Mutex<Inbox>>) {
    let mut inbox = Some(inbox);
    while let Some(own) = inbox.take() {
        let job = next(&own).await;
        IDLE.with_borrow_mut(|idle| idle.leave(own));
        wait(job).await;
        inbox = IDLE.with_borrow_mut(Idle::enter);
    }
}

fn wait(job: Job) -> impl Future<Output = ()> + Send {
    let Job { later, permit, slot, socket, receiver } = job;
    later.run(slot, permit, move |slot, reply| {
        if !socket.send_soon(reply, receiver) {
            drop_reply(slot);
        }
    })
}

impl Idle {
    /// A place to wait for the next query, unless enough tasks do.
    fn enter(&mut self) -> Option<Arc<Mutex<Inbox>>> {
        if self.waiting.len() >= MAX_IDLE {
            return None;
        }
        let inbox = self.free.pop().unwrap_or_default();
        self.waiting.push(inbox.clone());
        Some(inbox)
    }

    /// Gives a place back.
    fn leave(&mut self, inbox: Arc<Mutex<Inbox>>) {
        if self.free.len() < MAX_IDLE {
            self.free.push(inbox);
        }
    }
}

/// The next query.
fn next(inbox: &Mutex<Inbox>) -> impl Future<Output = Job> {
    poll_fn(|context| {
        let mut inbox = lock(inbox);
        match inbox.job.take() {
            Some(job) => Poll::Ready(job),
            None => {
                inbox.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
}
