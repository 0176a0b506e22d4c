//! What the service manager is told (sd_notify): ready, reloading, stopping, and how it stands. Without one nothing is said.

use std::fmt;
use std::future::pending;
use std::time::SystemTime;

use callsign::server::{ListenerState, Server};
use sd_notify::NotifyState;
use tokio::time::sleep;
use tracing::debug;

use crate::cli::time::utc;

/// What the service manager knows of us.
#[derive(Debug, Default)]
pub(super) struct Supervisor {
    is_ready: bool,
    /// Why the last reload changed nothing, and since when reloads fail.
    failed: Option<(SystemTime, String)>,
    status: String,
}

impl Supervisor {
    /// A reload begins.
    pub(super) fn reloading(&self) {
        if !self.is_ready {
            // It is starting still, for systemd.
            return;
        }
        // Since systemd 253 with the time, in the same message.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// A reload is done; `mistake` is why it changed nothing.
    pub(super) fn reloaded(&mut self, mistake: Option<String>, server: &Server) {
        self.failed = mistake.map(|mistake| {
            let since = self.failed.take().map_or_else(SystemTime::now, |(since, _)| since);
            (since, mistake)
        });
        self.settled(server);
    }

    /// The start, or a reload, is done. The server is ready once it listens at some address, or has none to listen at.
    pub(super) fn settled(&mut self, server: &Server) {
        let sockets = Sockets::of(server);
        self.is_ready |= sockets.addresses > 0 || sockets.failed == 0;
        self.status = self.describe(&sockets);
        let status = NotifyState::Status(&self.status);
        if self.is_ready { tell(&[NotifyState::Ready, status]) } else { tell(&[status]) }
    }

    /// Looks at the sockets again, and tells what is new. False once all listen.
    pub(super) fn look(&mut self, server: &Server) -> bool {
        let sockets = Sockets::of(server);
        if self.status != self.describe(&sockets) {
            self.settled(server);
        }
        sockets.failed > 0
    }

    fn describe(&self, sockets: &Sockets) -> String {
        match &self.failed {
            Some((since, mistake)) => format!("Reloads fail since {}: {mistake}. {sockets}", utc(*since)),
            None => sockets.to_string(),
        }
    }
}

/// Where the server listens.
#[derive(Debug)]
struct Sockets {
    /// Addresses whose UDP socket is bound: stub resolvers ask over UDP, and TCP alone answers none of them.
    addresses: usize,
    /// Sockets of either transport that are not bound.
    failed: usize,
}

impl Sockets {
    fn of(server: &Server) -> Sockets {
        let (mut addresses, mut failed) = (0, 0);
        for listener in server.status().listeners {
            match listener.state {
                ListenerState::Listening(_) => addresses += usize::from(!listener.tcp),
                _ => failed += 1,
            }
        }
        Sockets { addresses, failed }
    }
}

impl fmt::Display for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sockets { addresses, failed } = self;
        write!(f, "Listening on {addresses} {}", if *addresses == 1 { "address" } else { "addresses" })?;
        match failed {
            0 => Ok(()),
            1 => f.write_str("; 1 socket could not be bound"),
            _ => write!(f, "; {failed} sockets could not be bound"),
        }
    }
}

/// Tells the service manager again and again that the server is alive, where it wants to hear that (WatchdogSec=): only after
/// each worker has answered. It runs beside the main loop, on the same thread, so that one that is stuck tells nothing.
pub(super) async fn watchdog(server: &Server) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return pending().await };
    loop {
        server.responds().await;
        tell(&[NotifyState::Watchdog]);
        // Half of it, as sd_watchdog_enabled(3) recommends.
        sleep(limit / 2).await;
    }
}

/// The stop begins.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "the service manager was not told");
    }
}
