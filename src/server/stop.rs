//! Telling the tasks of a slot to take nothing new.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// A stop, set once. To look whether it is costs a load, which a task can afford for every query.
#[derive(Debug, Default)]
pub(super) struct Stop {
    is_set: AtomicBool,
    waiting: Notify,
}

impl Stop {
    pub(super) fn set(&self) {
        self.is_set.store(true, Ordering::Release);
        self.waiting.notify_waiters();
    }

    pub(super) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    /// Waits until it is set.
    pub(super) async fn wait(&self) {
        // In this order: a stop that the look misses finds this waiter, who counts from here on, polled or not.
        let told = self.waiting.notified();
        if !self.is_set() {
            told.await;
        }
    }
}
