//! The signals that the server lives on.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGHUP from netavark, SIGTERM and SIGINT from operators. Several of one kind that come while nobody waits are one.
#[derive(Debug)]
pub(super) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Read,
    Stop,
}

impl Signals {
    /// Takes the signals from here on.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn take() -> io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next order. One to stop comes before one to read.
    pub(super) async fn next(&mut self) -> Order {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Order::Stop,
            _ = self.interrupt.recv() => Order::Stop,
            _ = self.hangup.recv() => Order::Read,
        }
    }
}
